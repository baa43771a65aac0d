#include "nodes/logger.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LINE_SIZE_MAX 4096u
#define TIME_SIZE     32u

static char node_set[32];
static bool json_set;

static const char *const level_names[] = {"debug", "info", "warn", "error"};

/* A line being written: what does not fit is left out, and the newline always fits. */
struct line {
    char *bytes;
    size_t size, size_max;
};

static void put_byte(struct line *l, char byte)
{
    if (l->size < l->size_max)
        l->bytes[l->size++] = byte;
}

static void put_text(struct line *l, const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++)
        put_byte(l, (unsigned char)text[i] < 0x20 || text[i] == 0x7f ? '?' : text[i]);
}

static void put_string(struct line *l, const char *text)
{
    put_text(l, text, strlen(text));
}

/* Text within JSON quotes. */
static void put_json_text(struct line *l, const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (text[i] == '"' || text[i] == '\\')
            put_byte(l, '\\');
        put_text(l, text + i, 1);
    }
}

/* A pair that does not fit is left out as a whole: what is written stays JSON. */
static void put_json_pair(struct line *l, const char *name, size_t name_size, const char *value,
                          size_t value_size)
{
    size_t start = l->size;
    if (l->size > 1)
        put_byte(l, ',');
    put_byte(l, '"');
    put_json_text(l, name, name_size);
    put_string(l, "\":\"");
    put_json_text(l, value, value_size);
    put_byte(l, '"');
    if (l->size == l->size_max)
        l->size = start;
}

/* Does a pair begin here: letters, digits and _, then '='? Returns the size of its name, or 0. */
static size_t name_size_at(const char *at)
{
    size_t size = strspn(at, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_");
    return at[size] == '=' ? size : 0;
}

/* Where the value that begins here ends: at its closing quote, else before the next name. */
static const char *end_of_value(const char *value)
{
    const char *end = *value == '"' ? strchr(value + 1, '"') : NULL;
    while (end != NULL && end[1] != ' ' && end[1] != '\0')
        end = strchr(end + 1, '"');
    if (end != NULL)
        return end + 1;
    for (end = value; *end != '\0' && !(*end == ' ' && name_size_at(end + 1) != 0);)
        end++;
    return end;
}

/* `a=1 b="two words" c=3`; a sentence without quotes reaches to the next name. */
static void put_json_fields(struct line *l, const char *fields)
{
    const char *at = fields;
    while (*at != '\0') {
        size_t name_size = name_size_at(at);
        const char *name = name_size != 0 ? at : "message";
        const char *value = name_size != 0 ? at + name_size + 1 : at;
        const char *end = end_of_value(value);
        size_t quotes = end > value + 1 && *value == '"' && end[-1] == '"';
        put_json_pair(l, name, name_size != 0 ? name_size : 7, value + quotes,
                      (size_t)(end - value) - 2 * quotes);
        at = end + (*end == ' ');
    }
}

size_t logger_format(char *line, size_t size, bool json, const char *time, const char *node,
                     enum log_level level, const char *event, const char *fields)
{
    struct line l = {.bytes = line, .size_max = size - 4}; /* Room for "}, newline and NUL. */
    const char *name = level_names[level];
    if (json) {
        put_byte(&l, '{');
        put_json_pair(&l, "time", 4, time, strlen(time));
        put_json_pair(&l, "level", 5, name, strlen(name));
        put_json_pair(&l, "event", 5, event, strlen(event));
        put_json_pair(&l, "self", 4, node, strlen(node));
        put_json_fields(&l, fields);
        l.bytes[l.size++] = '}';
    } else {
        const char *const parts[] = {time, " ", name, " ", event, " self=", node, " ", fields};
        for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
            put_string(&l, parts[i]);
    }
    l.bytes[l.size++] = '\n';
    l.bytes[l.size] = '\0';
    return l.size;
}

static void write_line(enum log_level level, const char *event, const char *fields)
{
    char line[LINE_SIZE_MAX], stamp[TIME_SIZE], whole[TIME_SIZE + 16];
    struct timespec now;
    struct tm utc;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(whole, sizeof(whole), "%s.%03ldZ", stamp, now.tv_nsec / 1000000);
    size_t size =
        logger_format(line, sizeof(line), json_set, whole, node_set, level, event, fields);
    /* Where stderr cannot be written there is nobody to tell. */
    ssize_t written = write(STDERR_FILENO, line, size);
    (void)written;
}

void logger_start(const char *node, const char *level, const char *format)
{
    enum log_level least = LOG_INFO;
    for (size_t i = 0; i < sizeof(level_names) / sizeof(level_names[0]); i++)
        if (strcmp(level, level_names[i]) == 0)
            least = (enum log_level)i;
    snprintf(node_set, sizeof(node_set), "%s", node);
    json_set = strcmp(format, "json") == 0;
    log_set(write_line, least);
}
