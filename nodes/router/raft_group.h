/* raft_group - one shard's replica of a Raft group: libraft's pure core, our storage around it.
 *
 * The only module that knows libraft (0.22.1, raft_step with io and fsm NULL). It keeps hard state
 * and log in the store's meta and log families, through the batch that the router writes once a
 * turn, and tells the core what is durable when the sync that followed is reported. Messages leave
 * through `send`, held back while the term or vote they rest on is not durable. Guards that libraft
 * leaves to its users live here, each with a sentence at its place: our own barrier after election
 * (G1), the term of a refused pre-vote (G8), entries that come again after they were dropped from
 * the log (G9), the term raised when an only voter starts (G10), a configuration first in its
 * message. Raft: Ongaro and Ousterhout 2014; sections below are of Ongaro's thesis.
 *
 *   happy path      submit -> collect (entry into the batch), sent -> synced, answered -> commit ->
 *                   next_committed
 *   failure modes   a log that fails its checksum or has a hole: RC_CORRUPT. A step that fails, or
 *                   RAFT_UNAVAILABLE: RC_INTERNAL, final, told by whatever is called next. The
 *                   process ends; a log is never truncated or begun anew by itself
 *   on stop         nothing: what is not durable was not acknowledged
 *
 * Files: raft_group.c (steps, persistence, commit), raft_group_load.c (birth and restart),
 * raft_group_wire.c (messages out), raft_group_receive.c (messages in), raft_group_peers.c (who is
 * where, leases, changes).
 *
 * Loop thread only. Times are monotonic milliseconds and never go back. */
#ifndef NODES_ROUTER_RAFT_GROUP_H
#define NODES_ROUTER_RAFT_GROUP_H

#include <stdbool.h>

#include "mesh/base/buf.h"
#include "mesh/base/limits.h"
#include "mesh/wire/messages.h"
#include "storage/kv.h"

struct raft_group;

struct raft_group_options {
    uint32_t shard;
    const char *address; /* Node id of this router. */
    uint32_t election_ms, heartbeat_ms;
    uint32_t lease_ms; /* Below election_ms by as much as clocks may differ in speed. */
    uint32_t seed;
    void *context;
    /* An encoded msg_raft for node `to`. To be packed, and sent after the turn's batch is written.
     */
    void (*send)(void *context, struct slice to, struct slice record);
};

/* ---- Birth and end of a replica: put into `batch`, to be written before it is opened ---- */

/* The first of its group: the configuration (this router alone, voter) as entry 1. `self` is the
 * new server id, > 0. */
void raft_group_bootstrap(const struct raft_group_options *options, uint64_t self,
                          struct kv_batch *batch);
/* An empty one that waits to be added to its group. */
void raft_group_begin(uint32_t shard, uint64_t self, struct kv_batch *batch);
/* Nothing is left of it, its server id included. */
void raft_group_erase(uint32_t shard, struct kv_batch *batch);

/* Load hard state and log and start the core. RC_NOT_FOUND: the store holds nothing of this shard;
 * RC_CORRUPT: hard state without log, a hole, or a checksum that fails. G10: where this router is
 * the only voter, the term is raised before the core starts. `applied` is the machine's applied
 * index; it may be beyond the log after a state transfer. */
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

/* Does it come from a leader: one that most voters elected? */
bool raft_group_is_of_leader(const struct msg_raft *message);
/* Does it speak of a transferred state? */
bool raft_group_is_install(const struct msg_raft *message);
/* A message came from node `from`. RC_BAD_REQUEST: it is malformed, dropped. An InstallSnapshot is
 * to be given only when the state it speaks of was transferred (transfer.h). */
MUST_CHECK enum rc raft_group_receive(struct raft_group *group, uint64_t now_ms, struct slice from,
                                      const struct msg_raft *message);

/* ---- Persistence ---- */

/* Put what must be persisted (new entries, term, vote, a new snapshot mark) into `batch`. True
 * where there was anything: then a sync must follow the write. */
bool raft_group_collect(struct raft_group *group, struct kv_batch *batch);
/* Everything collected up to and including mark is durable. The mark is what raft_group_mark() said
 * when the sync was begun. */
uint64_t raft_group_mark(const struct raft_group *group);
MUST_CHECK enum rc raft_group_on_durable(struct raft_group *group, uint64_t now_ms, uint64_t mark);

/* ---- Commit ---- */

/* The next committed entry to apply, in order; false where there is none. `data` is empty for a
 * barrier or a configuration. It lives until raft_group_applied(). After a state transfer the first
 * ones may be in the state already: the machine skips them. */
bool raft_group_next_committed(struct raft_group *group, uint64_t *ret_index,
                               struct slice *ret_data);
/* Tell that it was applied, before the next is asked for. */
void raft_group_applied(struct raft_group *group, uint64_t now_ms, uint64_t index);

/* Drop the log up to `index` (applied, its state in this batch or an earlier one) and move the
 * snapshot mark there, in `batch`; tells the core. */
MUST_CHECK enum rc raft_group_truncate(struct raft_group *group, uint64_t now_ms, uint64_t index,
                                       struct kv_batch *batch);

/* ---- State transfer ---- */

/* Leader: a replica that entries of the log cannot help; `after` is 0 or the last one returned. 0:
 * none. */
uint64_t raft_group_wants_state(const struct raft_group *group, uint64_t after);
/* Leader: the state was transferred, say so. RC_NOT_LEADER; RC_NOT_FOUND: it is no member. */
MUST_CHECK enum rc raft_group_install(struct raft_group *group, uint64_t now_ms, uint64_t server);
/* Follower: the core took an InstallSnapshot in this turn: what raft_group_collect() will put is to
 * share a batch with the switch to the transferred state. */
bool raft_group_is_installing(const struct raft_group *group);
bool raft_group_is_busy_installing(const struct raft_group *group); /* Until it is durable. */

/* ---- Members ---- */

enum raft_group_role { RAFT_GROUP_STANDBY, RAFT_GROUP_VOTER, RAFT_GROUP_SPARE };

struct raft_group_server {
    uint64_t id;
    char node[LIMIT_NODE_ID_SIZE_MAX + 1];
    enum raft_group_role role;
    uint64_t match; /* Leader: highest index known to be stored there. */
    bool is_live;   /* Leader: answered within the election timeout. */
};

/* The newest configuration, committed or not. Returns how many, at most LIMIT_SERVERS_MAX. */
uint32_t raft_group_servers(const struct raft_group *group, uint64_t now_ms,
                            struct raft_group_server ret_servers[LIMIT_SERVERS_MAX]);
/* Is this server id in the committed configuration? */
bool raft_group_is_member(const struct raft_group *group, uint64_t server);
/* Does the node count in the committed configuration, or in the newest? */
bool raft_group_counts(const struct raft_group *group, struct slice node);
/* Does the group go on when this replica is no more, whatever is lost with it? Then most of the
 * voters are others: one of them has everything that is committed, and they can elect. */
bool raft_group_is_spared(const struct raft_group *group);
uint64_t raft_group_conf_index(const struct raft_group *group); /* Of the newest configuration. */
bool raft_group_is_changing(const struct raft_group *group); /* Not committed; or transferring. */

/* Leader: one step: add `server` at `node`, or change its role, or (node empty) take it out.
 * RC_NOT_LEADER; RC_UNAVAILABLE; RC_AGAIN: a change or an entry is in flight; RC_FULL. */
MUST_CHECK enum rc raft_group_change(struct raft_group *group, uint64_t now_ms, uint64_t server,
                                     struct slice node, enum raft_group_role role);

/* Hand leadership over to this voter. Served on until the voters know of it; then nothing is taken
 * until the other leads, or the attempt is given up after election_ms. RC_NOT_LEADER; RC_NOT_FOUND:
 * it is no voter; RC_AGAIN: one is under way. */
MUST_CHECK enum rc raft_group_transfer(struct raft_group *group, uint64_t now_ms, uint64_t server);

/* ---- Questions ---- */

bool raft_group_leads(const struct raft_group *group); /* Ready or not. */
bool raft_group_is_ready(
    const struct raft_group *group); /* Leads, its own barrier is applied, hands nothing over. */
/* A majority answered what was sent within lease_ms (section 6.4.1; by the time of sending, so that
 * an answer that was long under way proves nothing). Reads may be answered. */
bool raft_group_has_lease(const struct raft_group *group, uint64_t now_ms);
uint64_t raft_group_self(const struct raft_group *group);
struct slice raft_group_leader_node(const struct raft_group *group); /* Empty: unknown. */
uint64_t raft_group_heard_ms(const struct raft_group *group);   /* When it last heard a leader. */
uint64_t raft_group_heard_term(const struct raft_group *group); /* Of that leader. */
const char *raft_group_state_name(const struct raft_group *group);
uint64_t raft_group_term(const struct raft_group *group);
uint64_t raft_group_commit_index(const struct raft_group *group);
uint64_t raft_group_applied_index(const struct raft_group *group); /* Told by raft_group_applied. */
uint64_t raft_group_last_index(const struct raft_group *group);
uint64_t raft_group_first_index(const struct raft_group *group); /* Of the log kept. */
/* Leader: the lowest index stored at a replica that is live; UINT64_MAX where there is none. */
uint64_t raft_group_least_match(const struct raft_group *group, uint64_t now_ms);

#endif
