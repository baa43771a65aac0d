#include "nodes/folder.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
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
