/* logger - where log lines go: stderr, one line an event.
 *
 *     2026-01-31T12:00:00.000Z info peer_up self=r1 node=g1 role=gateway
 *     {"time":"2026-01-31T12:00:00.000Z","level":"info","event":"peer_up","self":"r1","node":"g1"}
 *
 * `self` is the node that logs. A line is one write(), so lines of several threads and processes do
 * not mix. Control characters in a field become '?', so that no client's name can forge a line. */
#ifndef NODES_LOGGER_H
#define NODES_LOGGER_H

#include <stdbool.h>
#include <stddef.h>

#include "mesh/base/log.h"

/* Set the process's sink. `node` is copied. May be called again, for another level or format. */
void logger_start(const char *node, const char *level, const char *format);

/* One line, with a newline and a NUL, cut at `size`; returns its length. Pure, for tests. */
size_t logger_format(char *line, size_t size, bool json, const char *time, const char *node,
                     enum log_level level, const char *event, const char *fields);

#endif
