/* raft_log_load - read back what a crash left of a shard's Raft log, and refuse what does not fit.
 *
 * A node that forgot its vote may vote twice in one term and elect two leaders, and one that forgot
 * a part of its log may elect a leader that lacks what was acknowledged (Ongaro's thesis,
 * section 3.8). So parts that do not fit are RC_CORRUPT, never mended and never begun anew. */
#ifndef STORAGE_RAFT_LOG_LOAD_H
#define STORAGE_RAFT_LOG_LOAD_H

#include <stdbool.h>

#include "storage/kv.h"
#include "storage/raft_log.h"

struct raft_log_loaded {
    struct raft_log_hard hard;
    bool has_snapshot; /* Of an index above 0. */
    bool began_empty;  /* There is a mark of index 0: the log may be empty. */
    struct raft_log_snapshot
        snapshot;             /* Zero where there is none; conf points into the row below. */
    struct buf *snapshot_row; /* Owned. */
    uint64_t first_index;     /* Of the entries, were there one. */
    uint64_t last_index;      /* Of the last entry, or of the snapshot. */
};

/* Read the shard's hard state and snapshot mark into `loaded`, then each entry, in order, to
 * `visit`, whose slices live until it returns and whose error ends the walk. To be freed in any
 * case. RC_NOT_FOUND: there is nothing of this shard. RC_CORRUPT: a seal is broken; there is a log
 * without hard state or the reverse; an index is missing; a term falls or is above the hard
 * state's; the first entry of all is not a configuration; the log is empty and was not begun so.
 * RC_IO. */
MUST_CHECK enum rc raft_log_load(struct kv *kv, uint32_t shard, struct raft_log_loaded *loaded,
                                 enum rc (*visit)(void *context,
                                                  const struct raft_log_entry *entry),
                                 void *context);
void raft_log_loaded_fini(struct raft_log_loaded *loaded);

#endif
