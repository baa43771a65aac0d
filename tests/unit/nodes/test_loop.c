/* The clock of a node, where a machine slept: a time namespace stands in for that. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs those above. */
#include <cmocka.h>

#include <fcntl.h>
#include <sched.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "mesh/base/crypto.h"
#include "nodes/loop.h"

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif

#define SLEPT_S 1000u

enum { SEES_SLEEP, SEES_NONE, CANNOT_TELL };

static uint64_t clock_s(clockid_t id)
{
    struct timespec now;
    clock_gettime(id, &now);
    return (uint64_t)now.tv_sec;
}

/* In a process that was born after the machine slept for SLEPT_S. */
static int look(void)
{
    if (clock_s(CLOCK_BOOTTIME) < clock_s(CLOCK_MONOTONIC) + SLEPT_S)
        return CANNOT_TELL;
    crypto_start();
    struct loop *loop = loop_new();
    uint64_t now_s = env_now_us(loop_env(loop)) / 1000000;
    loop_free(&loop);
    return now_s + 1 >= clock_s(CLOCK_BOOTTIME) ? SEES_SLEEP : SEES_NONE;
}

static int wait_for(pid_t child)
{
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : CANNOT_TELL;
}

/* Its children are born where the time of sleep is longer. */
static int look_from_elsewhere(void)
{
    static const char offset[] = "boottime 1000 0\n";
    if (unshare(CLONE_NEWTIME) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWTIME) != 0)
        return CANNOT_TELL;
    int file = open("/proc/self/timens_offsets", O_WRONLY | O_CLOEXEC);
    if (file < 0 || write(file, offset, sizeof(offset) - 1) != (ssize_t)sizeof(offset) - 1)
        return CANNOT_TELL;
    close(file);
    pid_t child = fork();
    if (child == 0)
        _exit(look());
    return child > 0 ? wait_for(child) : CANNOT_TELL;
}

/* A lease is over when others may have elected. A clock that stands still while the machine sleeps
 * would let it live on, and what is read would be of the time before. */
static void the_time_that_a_machine_slept_counts(void **state)
{
    (void)state;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        _exit(look_from_elsewhere());
    int seen = wait_for(child);
    if (seen == CANNOT_TELL)
        skip(); /* This system lets us have no time of our own. */
    assert_int_equal(seen, SEES_SLEEP);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_time_that_a_machine_slept_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
