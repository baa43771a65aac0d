#include "nodes/folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define PATH_SIZE_MAX 1024u

enum rc folder_make(const char *path, struct sentence *sentence)
{
    char part[PATH_SIZE_MAX];
    int size = snprintf(part, sizeof(part), "%s", path);
    if (size <= 0 || (size_t)size >= sizeof(part))
        return sentence_write(sentence, RC_CONFIG, "the path of a folder has 1 to %zu bytes",
                              sizeof(part) - 1);
    for (char *at = part + 1;; at++) {
        if (*at != '/' && *at != '\0')
            continue;
        char kept = *at;
        *at = '\0';
        if (mkdir(part, 0700) != 0 && errno != EEXIST)
            return sentence_write(sentence, RC_CONFIG, "cannot make the folder %s: %s", part,
                                  strerror(errno));
        *at = kept;
        if (kept == '\0')
            break;
    }
    struct stat status;
    if (stat(path, &status) != 0 || !S_ISDIR(status.st_mode) ||
        access(path, R_OK | W_OK | X_OK) != 0)
        return sentence_write(sentence, RC_CONFIG, "%s is not a folder that can be written", path);
    return RC_OK;
}

static bool is_mark(const char *name, const char *const *marks)
{
    for (; *marks != NULL; marks++)
        if (strcmp(name, *marks) == 0)
            return true;
    return false;
}

/* What an empty folder may hold: itself, its parent, and what a new file system begins with. */
static bool is_nothing(const char *name)
{
    static const char *const names[] = {".", "..", "lost+found", NULL};
    return is_mark(name, names);
}

enum rc folder_is_ours(const char *path, const char *const *marks, struct sentence *sentence)
{
    DIR *folder = opendir(path);
    if (folder == NULL)
        return sentence_write(sentence, RC_CONFIG, "%s cannot be read: %s", path, strerror(errno));
    bool has_files = false, has_mark = false;
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        has_files = has_files || !is_nothing(entry->d_name);
        has_mark = has_mark || is_mark(entry->d_name, marks);
    }
    closedir(folder);
    if (has_files && !has_mark)
        return sentence_write(sentence, RC_CONFIG,
                              "%s holds files that are none of ours: name an empty or a new folder",
                              path);
    return RC_OK;
}

/* What the folder's files of this suffix hold; of what cannot be read, nothing. */
static uint64_t bytes_of(const char *path, const char *suffix)
{
    uint64_t bytes = 0;
    DIR *folder = opendir(path);
    if (folder == NULL)
        return 0;
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        struct stat status;
        const char *dot = strrchr(entry->d_name, '.');
        if (dot != NULL && strcmp(dot, suffix) == 0 &&
            fstatat(dirfd(folder), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) == 0)
            bytes += (uint64_t)status.st_size;
    }
    closedir(folder);
    return bytes;
}

enum rc folder_has_room(const char *path, uint64_t bytes_min, const char *suffix,
                        struct sentence *sentence)
{
    struct statvfs disk;
    if (statvfs(path, &disk) != 0)
        return sentence_write(sentence, RC_IO, "%s: %s", path, strerror(errno));
    uint64_t free_bytes = (uint64_t)disk.f_bavail * disk.f_frsize;
    uint64_t wanted = bytes_min + bytes_of(path, suffix);
    if (free_bytes >= wanted)
        return RC_OK;
    return sentence_write(sentence, RC_NO_SPACE,
                          "the disk of %s is full: %llu MiB are free, %llu MiB are needed", path,
                          (unsigned long long)(free_bytes >> 20),
                          (unsigned long long)((wanted + (1 << 20) - 1) >> 20));
}
