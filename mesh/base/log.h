/* log - one line an event, to a sink that nodes/ sets.
 *
 * Only nodes/ decides where lines go and which levels pass. Lower layers return errors and count;
 * they log state changes (a peer came, a leader was elected), never an error they also return, and
 * never tokens, keys or message bodies.
 *
 *     log_info("peer_up", "node=%.*s incarnation=%lu", SLICE_ARGS(id), n);
 *
 * `event` is one snake_case word; the rest is key=value. Any thread. */
#ifndef MESH_BASE_LOG_H
#define MESH_BASE_LOG_H

enum log_level {
    LOG_DEBUG,
    LOG_INFO,
    LOG_WARN,
    LOG_ERROR,
};

typedef void (*log_sink)(enum log_level level, const char *event, const char *fields);

void log_set(log_sink sink, enum log_level least); /* NULL: silence, as in unit tests. */
void log_line(enum log_level level, const char *event, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#define log_debug(event, ...) log_line(LOG_DEBUG, event, __VA_ARGS__)
#define log_info(event, ...)  log_line(LOG_INFO, event, __VA_ARGS__)
#define log_warn(event, ...)  log_line(LOG_WARN, event, __VA_ARGS__)
#define log_error(event, ...) log_line(LOG_ERROR, event, __VA_ARGS__)

#endif
