/* raft_group - one shard's replica of a Raft group: libraft's pure core, our storage around it.
 *
 * The only file that knows libraft (0.22.1, raft_step with io and fsm NULL). It keeps hard state
 * and log in the store's meta and log families, through the batch that the router writes once a
 * turn, and tells the core what is durable when the sync that followed is reported. Guards that
 * libraft leaves to its users live here, each with a sentence at its place: our own barrier after
 * election (G1), and the term raised when an only voter starts (G10). Those about peers (G8, G9,
 * the split before a CHANGE entry) come with the messages, which an only voter has none of. Raft:
 * Ongaro and Ousterhout 2014; sections below are of Ongaro's thesis.
 *
 *   happy path      submit -> collect (entry into the batch) -> synced -> commit -> next_committed
 *   failure modes   a log that fails its checksum or has a hole: RC_CORRUPT. A step that fails, or
 *                   RAFT_UNAVAILABLE: RC_INTERNAL, final, told by whatever is called next. The
 *                   process ends; a log is never truncated or begun anew by itself
 *   on stop         nothing: what is not durable was not acknowledged
 *
 * Loop thread only. Times are monotonic milliseconds and never go back. */
#ifndef NODES_ROUTER_RAFT_GROUP_H
#define NODES_ROUTER_RAFT_GROUP_H

#include <stdbool.h>

#include "mesh/base/buf.h"
#include "storage/kv.h"

struct raft_group;

struct raft_group_options {
    uint32_t shard;
    uint64_t self;       /* Raft server id of this router, > 0. */
    const char *address; /* Node id of this router. */
    uint32_t election_ms, heartbeat_ms;
    uint32_t seed;
};

/* Put the first configuration (this router alone, voter) as entry 1 into `batch`, for a shard that
 * has nothing in the store. Write the batch and sync before raft_group_open(). */
void raft_group_bootstrap(const struct raft_group_options *options, struct kv_batch *batch);

/* Load hard state and log and start the core. RC_NOT_FOUND: the store holds nothing of this shard;
 * RC_CORRUPT: hard state without log, a hole, or a checksum that fails. G10: where this router is
 * the only voter, the term is raised before the core starts. `applied` is the machine's applied
 * index. */
MUST_CHECK enum rc raft_group_open(const struct raft_group_options *options, struct kv *kv,
                                   uint64_t applied, uint64_t now_ms,
                                   struct raft_group **ret_group);
void raft_group_free(struct raft_group **group);

/* Propose one entry (not empty), whose bytes are copied. RC_NOT_LEADER; RC_AGAIN: one is in flight
 * already; RC_UNAVAILABLE: led, but the barrier of this term is not applied yet. */
MUST_CHECK enum rc raft_group_submit(struct raft_group *group, uint64_t now_ms, struct buf *entry,
                                     uint64_t *ret_index);

/* Time passed: call when raft_group_due_ms() says so; earlier does nothing. Due is ENV_NEVER where
 * no time is awaited: the leader of itself alone. */
MUST_CHECK enum rc raft_group_tick(struct raft_group *group, uint64_t now_ms);
uint64_t raft_group_due_ms(const struct raft_group *group);

/* Put what must be persisted (new entries, term, vote) into `batch`. True where there was anything:
 * then a sync must follow the write. */
bool raft_group_collect(struct raft_group *group, struct kv_batch *batch);
/* Everything collected up to and including mark is durable. The mark is what raft_group_mark() said
 * when the sync was begun. */
uint64_t raft_group_mark(const struct raft_group *group);
MUST_CHECK enum rc raft_group_on_durable(struct raft_group *group, uint64_t now_ms, uint64_t mark);

/* The next committed entry to apply, in order; false where there is none. `data` is empty for a
 * barrier or a configuration. It lives until raft_group_applied(). */
bool raft_group_next_committed(struct raft_group *group, uint64_t *ret_index,
                               struct slice *ret_data);
/* Tell that it was applied, before the next is asked for. */
void raft_group_applied(struct raft_group *group, uint64_t now_ms, uint64_t index);

/* Drop the log up to `index` (applied, its state in this batch or an earlier one) and move the
 * snapshot mark there, in `batch`; tells the core. */
MUST_CHECK enum rc raft_group_truncate(struct raft_group *group, uint64_t now_ms, uint64_t index,
                                       struct kv_batch *batch);

bool raft_group_is_ready(
    const struct raft_group *group); /* Leads, and its own barrier is applied. */
const char *raft_group_state_name(const struct raft_group *group);
uint64_t raft_group_term(const struct raft_group *group);
uint64_t raft_group_commit_index(const struct raft_group *group);
uint64_t raft_group_last_index(const struct raft_group *group);
uint64_t raft_group_first_index(const struct raft_group *group); /* Of the log kept. */

#endif
