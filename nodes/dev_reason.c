#include "nodes/dev_reason.h"

#include <stdio.h>
#include <string.h>

#define LINE_SIZE_MAX 8192u
#define TAIL_SIZE     65536 /* What ended a node stands at the end of its log. */

static bool starts(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* A text line begins with its time, then the level (nodes/logger.h). NULL: it is none. */
static const char *after_time(const char *line)
{
    size_t size = strspn(line, "0123456789-:.T");
    return size > 20 && starts(line + size, "Z ") ? line + size + 2 : NULL;
}

/* Without the quotes around it, if any. `from` may lie within `reason`. */
static void copy(char *reason, size_t size, const char *from, size_t count)
{
    if (count > 1 && from[0] == '"' && from[count - 1] == '"') {
        from++;
        count -= 2;
    }
    if (count >= size)
        count = size - 1;
    memmove(reason, from, count);
    reason[count] = '\0';
}

/* Up to the end of the JSON string; an escaped character stands for itself. */
static void copy_json(char *reason, size_t size, const char *from)
{
    size_t count = 0;
    for (; *from != '\0' && *from != '"' && count + 1 < size; from++) {
        if (*from == '\\' && from[1] != '\0')
            from++;
        reason[count++] = *from;
    }
    copy(reason, size, reason, count);
}

bool dev_reason_of_line(const char *line, char *reason, size_t size)
{
    size_t count = strcspn(line, "\r\n");
    const char *level = after_time(line);
    if (count == 0)
        return false;
    if (level != NULL) {
        const char *field = strstr(level, " reason=");
        const char *from = field != NULL ? field + strlen(" reason=") : level + strlen("error ");
        if (!starts(level, "error "))
            return false;
        copy(reason, size, from, count - (size_t)(from - line));
    } else if (starts(line, "{\"time\":")) {
        const char *field = strstr(line, "\"reason\":\"");
        if (field == NULL)
            field = strstr(line, "\"event\":\"");
        if (strstr(line, "\"level\":\"error\"") == NULL || field == NULL)
            return false;
        copy_json(reason, size, strchr(field, ':') + 2);
    } else {
        const char *from = starts(line, "chatmesh: ") ? line + strlen("chatmesh: ") : line;
        copy(reason, size, from, count - (size_t)(from - line));
    }
    return true;
}

bool dev_reason_read(const char *path, long from, char *reason, size_t size)
{
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return false;
    bool is_found = false, is_whole = true;
    long end = fseek(f, 0, SEEK_END) == 0 ? ftell(f) : -1;
    if (end > TAIL_SIZE && from < end - TAIL_SIZE) {
        from = end - TAIL_SIZE;
        is_whole = false; /* We begin within a line. */
    }
    char line[LINE_SIZE_MAX];
    if (end >= 0 && fseek(f, from, SEEK_SET) == 0) {
        while (fgets(line, sizeof(line), f) != NULL) {
            if (is_whole && dev_reason_of_line(line, reason, size))
                is_found = true;
            is_whole = strchr(line, '\n') != NULL;
        }
    }
    fclose(f);
    return is_found;
}
