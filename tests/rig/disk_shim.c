/* disk_shim - makes a node's disk slow or broken: preloaded, it stands between the program and
 * fsync, fdatasync.
 *
 * The rig maps the same file (RIG_DISK) and writes into it; no signal, no restart. The counter
 * proves that the syncs which matter do pass through here. To RIG_SYNCED goes how much of which
 * file is on the disk for certain: the rest is what a loss of power may take. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* In the byte order of the machine; tests/rig/disk.js knows the offsets. */
struct control {
    _Atomic uint32_t delay_us; /* Every sync takes so much longer. */
    _Atomic uint32_t fail;     /* So many syncs fail with EIO from now on. */
    _Atomic uint32_t syncs;    /* Seen so far. */
    _Atomic uint32_t failed;   /* Of these, with EIO. */
};

/* One in RIG_SYNCED: a sync that succeeded. */
struct synced {
    uint64_t inode;
    uint64_t size; /* When it began. */
};

static struct control *control;
static int synced_fd = -1;

__attribute__((constructor)) static void map_control(void)
{
    const char *path = getenv("RIG_DISK"), *synced_path = getenv("RIG_SYNCED");
    int fd = path != NULL ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (synced_path != NULL)
        synced_fd = open(synced_path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return;
    void *base = mmap(NULL, sizeof(*control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (base != MAP_FAILED)
        control = base;
}

/* Takes one of the failures that are left, if there are any. */
static int must_fail(void)
{
    uint32_t left = atomic_load(&control->fail);
    while (left > 0)
        if (atomic_compare_exchange_weak(&control->fail, &left, left - 1))
            return 1;
    return 0;
}

/* A failed sync is not tried: like Linux, which drops the pages and says so once. */
static int before_sync(void)
{
    if (control == NULL)
        return 0;
    atomic_fetch_add(&control->syncs, 1);
    uint32_t delay_us = atomic_load(&control->delay_us);
    struct timespec rest = {.tv_sec = delay_us / 1000000, .tv_nsec = (delay_us % 1000000) * 1000L};
    while (delay_us > 0 && nanosleep(&rest, &rest) != 0 && errno == EINTR)
        continue;
    if (!must_fail())
        return 0;
    atomic_fetch_add(&control->failed, 1);
    errno = EIO;
    return -1;
}

static int pass_on(const char *name, int fd)
{
    int (*real)(int);
    struct stat before;
    *(void **)&real = dlsym(RTLD_NEXT, name);
    int is_known = synced_fd >= 0 && fstat(fd, &before) == 0;
    int result = real(fd);
    if (result == 0 && is_known) {
        const struct synced synced = {.inode = before.st_ino, .size = (uint64_t)before.st_size};
        /* A record that is not written is a sync that did not happen: never too much. */
        if (write(synced_fd, &synced, sizeof(synced)) < 0)
            return -1;
    }
    return result;
}

int fsync(int fd)
{
    return before_sync() != 0 ? -1 : pass_on("fsync", fd);
}

int fdatasync(int fd)
{
    return before_sync() != 0 ? -1 : pass_on("fdatasync", fd);
}
