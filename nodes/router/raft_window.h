/* raft_window - the Raft entries of one shard that are not applied yet, in order.
 *
 * libraft's core keeps no entries, only their terms, so what is on its way (submitted, being
 * stored, committed) waits here and leaves when it is applied; the log in the store keeps it for
 * later. An entry is held as the row it is stored as, so its bytes are copied once.
 *
 * Bounded by what the core has in flight: one packed entry and a barrier for a leader, and what it
 * lets a leader send for a follower. */
#ifndef NODES_ROUTER_RAFT_WINDOW_H
#define NODES_ROUTER_RAFT_WINDOW_H

#include "mesh/base/buf.h"
#include "storage/raft_log.h"

struct raft_window_entry {
    uint64_t index;
    enum raft_log_type type;
    uint64_t term;
    uint64_t mark;       /* Of the batch it went into; 0: of none yet. */
    struct buf *row;     /* Owned. */
    uint32_t data_start; /* Where the data begins in the row; it ends with it. */
};

struct raft_window {
    uint32_t shard;
    uint64_t applied; /* Index of the last entry that left; the first held is the next. */
    struct raft_window_entry *entries;
    uint32_t start, count, capacity; /* The window within the array. */
};

void raft_window_init(struct raft_window *w, uint32_t shard, uint64_t applied);
void raft_window_fini(struct raft_window *w);

/* Append a copy; its index must be raft_window_last() + 1. */
void raft_window_push(struct raft_window *w, const struct raft_log_entry *entry);
void raft_window_pop(struct raft_window *w); /* The first was applied. */
/* Drop the entries from `index` on. */
void raft_window_drop(struct raft_window *w, uint64_t index);

/* The entries from `index` on go into the batch of this mark. */
void raft_window_mark(struct raft_window *w, uint64_t index, uint64_t mark);

/* NULL where it is not held. Valid until the next push. */
const struct raft_window_entry *raft_window_at(const struct raft_window *w, uint64_t index);
struct slice raft_window_data(const struct raft_window_entry *entry);

static inline uint64_t raft_window_last(const struct raft_window *w)
{
    return w->applied + w->count;
}

#endif
