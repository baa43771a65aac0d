/* outbox - what one client has yet to receive: a queue of shared frames.
 *
 * One entry goes to many clients, so the outbox holds references, not copies. Two kinds of frames:
 * those with an owner (entries of a conversation; the owner is the session's pair) can be read
 * again from the log, those without (replies, gaps) cannot. A client that reads too slowly meets
 * RC_FULL for the first kind; its session then drops what has an owner, leaves the live stream and
 * catches up at the client's pace, so nothing is lost and no slow reader costs the others memory.
 *
 * Two frames fit into the struct itself, so that a session that is served each turn never
 * allocates. Loop thread only. */
#ifndef GATEWAY_OUTBOX_H
#define GATEWAY_OUTBOX_H

#include <stdbool.h>
#include <stdint.h>

#include "mesh/base/buf.h"
#include "mesh/base/rc.h"

#define OUTBOX_INLINE     2u
#define OUTBOX_WRITE_SIZE 65536u /* Gathered for one write, unless a single frame is larger. */

struct outbox_frame {
    struct buf *frame;
    void *owner;  /* NULL: must be delivered from here. */
    uint64_t seq; /* The entry's position; 0 where it is none (a receipt). */
};

struct outbox {
    struct outbox_frame *frames; /* Ring of `capacity`, a power of two; `small` or on the heap. */
    struct outbox_frame small[OUTBOX_INLINE];
    uint32_t capacity;
    uint32_t head;  /* Index of the oldest frame. */
    uint32_t count; /* Frames held. */
    uint32_t bytes; /* Sum of their sizes. */
};

void outbox_init(struct outbox *o);
void outbox_fini(struct outbox *o); /* Drops the references of what was not written. */

/* Queue `frame` last. Takes a reference of its own. RC_FULL, and nothing changed, where that would
 * make more than bytes_max; but an empty outbox takes one frame of any size. */
MUST_CHECK enum rc outbox_push(struct outbox *o, struct buf *frame, void *owner, uint64_t seq,
                               uint32_t bytes_max);

/* Remove every frame with an owner, oldest first, telling each. */
void outbox_drop_owned(struct outbox *o, void (*on_drop)(void *owner, uint64_t seq));
/* The owner dies: its frames stay, and can no longer be dropped. */
void outbox_disown(struct outbox *o, const void *owner);

/* The next write: as many of the oldest frames as go into OUTBOX_WRITE_SIZE, at least one. A single
 * frame is pointed at; several are gathered in `scratch`, for a `batch` client as one frame with an
 * array of all payloads. Returns their number; *ret_bytes lives until the next call on o or
 * scratch. */
uint32_t outbox_gather(const struct outbox *o, bool batch, struct buf *scratch,
                       struct slice *ret_bytes);
/* The oldest `count` frames were written. */
void outbox_consume(struct outbox *o, uint32_t count);

#endif
