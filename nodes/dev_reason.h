/* dev_reason - why a node of a dev cluster ended, as far as its log tells. */
#ifndef NODES_DEV_REASON_H
#define NODES_DEV_REASON_H

#include <stdbool.h>
#include <stddef.h>

/* What a line complains of: the reason of one of level error (text or JSON), or a sentence that is
 * no log line at all, without "chatmesh: ". False for every other line. Cut at `size`. Pure. */
bool dev_reason_of_line(const char *line, char *reason, size_t size);

/* The last complaint in the file behind the first `from` bytes, which older processes wrote. */
bool dev_reason_read(const char *path, long from, char *reason, size_t size);

#endif
