/* recent - the cursors that moved within the last seconds, by conversation.
 *
 * A receipt is told once, on a channel that may drop it, by a leader that may die before it does.
 * Whoever watches a conversation again is told these once more: every replica notes what it
 * applies, so a new leader knows what the old one told last. Receipts are cursors: one that comes
 * again changes nothing.
 *
 * Bounded: RECENT_MAX conversations; beyond, the one that changed longest ago is forgotten.
 *
 * Loop thread only. */
#ifndef NODES_ROUTER_RECENT_H
#define NODES_ROUTER_RECENT_H

#include "nodes/router/tally.h"

#define RECENT_MAX 16384u

struct recent {
    struct map convs;  /* struct recent_conv */
    struct list order; /* The same, that which changed last at the end. */
};

void recent_init(struct recent *r);
void recent_fini(struct recent *r);

/* This was applied. Forgets what is old. */
void recent_note(struct recent *r, const struct msg_event_receipt *receipt, uint64_t now_us);
/* Tell them to a gateway that watches `conv` of `shard` again; those of a large group by a tally,
 * to all. */
void recent_tell(const struct recent *r, uint32_t shard, struct slice conv, uint64_t now_us,
                 struct watchers *watchers, struct watcher *watcher, struct tally *tally);

#endif
