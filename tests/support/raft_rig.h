/* raft_rig - up to five replicas of one Raft group, their disks, clocks and network in one thread.
 *
 * Every node has a store in memory, a clock of its own that runs as fast as all others, and a turn
 * as the router has it: what is committed is applied, what must be stored goes into one batch, it
 * is written, what was said leaves, a sync begins. Messages wait in a queue until their time comes;
 * a test may cut links, delay, lose, double, keep or forge them. The state machine is a digest of
 * what was applied, one row of the store, written with the log as a shard's is.
 *
 * What Raft promises is watched at every step: one entry at one index, one leader a term, never two
 * leases, and no lease left when another leader commits. The first thing that went wrong is kept as
 * a sentence (raft_rig_violation). */
#ifndef TESTS_SUPPORT_RAFT_RIG_H
#define TESTS_SUPPORT_RAFT_RIG_H

#include <stdbool.h>

#include "mesh/base/limits.h"
#include "nodes/router/raft_group.h"
#include "storage/kv.h"

#define RAFT_RIG_NODES       5u
#define RAFT_RIG_SHARD       5u
#define RAFT_RIG_ENTRIES_MAX 8192u
#define RAFT_RIG_TERMS_MAX   4096u
#define RAFT_RIG_TEXT_SIZE   24u

/* Types of msg_raft, as libraft numbers them; tests do not include its header. */
enum {
    RAFT_RIG_APPEND = 1,
    RAFT_RIG_APPEND_RESULT = 2,
    RAFT_RIG_VOTE = 3,
    RAFT_RIG_VOTE_RESULT = 4,
    RAFT_RIG_INSTALL = 5,
    RAFT_RIG_TIMEOUT_NOW = 6,
};

struct raft_rig;

struct raft_rig_state {
    uint64_t applied, digest;
};

struct raft_rig_node {
    struct raft_rig *rig;
    char address[LIMIT_NODE_ID_SIZE_MAX + 1];
    uint64_t ahead_ms; /* Its clock, before the rig's. */
    struct kv *kv;
    struct kv_batch *batch;    /* NULL while it is down. */
    struct raft_group *group;  /* NULL: down, or no replica here. */
    uint64_t server;           /* Of the replica; 0: none. */
    struct raft_rig_state now; /* Of the machine, with what the running turn applied. */
    struct raft_rig_state transferred;
    bool has_transferred;
    bool is_woken;
    bool needs_sync, is_syncing;
    bool is_held; /* The test's: no sync ends. */
    uint64_t synced_ms, syncing_mark;
};

struct raft_rig_packet {
    uint32_t from, to; /* Nodes. */
    uint64_t due_ms;
    bool is_sent; /* The turn that said it was written. */
    struct buf *record;
    struct msg_raft message; /* Of the record. */
};

struct raft_rig_entry {
    bool is_known; /* Committed: some replica applied it. */
    uint64_t hash; /* Of term, type and data. */
    char text[RAFT_RIG_TEXT_SIZE];
};

struct raft_rig {
    struct raft_rig_node nodes[RAFT_RIG_NODES];
    uint64_t now_ms;
    uint64_t next_server;
    uint32_t sync_ms, delay_ms; /* The least; chance adds to it. */
    bool is_cut[RAFT_RIG_NODES][RAFT_RIG_NODES];

    /* Chance, by the rig's seed; 0: none. */
    uint64_t random;
    uint32_t loss_percent, double_percent, delay_more_ms, sync_more_ms;

    /* Asked of every message when it leaves; false: it is lost. NULL: none is. */
    bool (*filter)(void *context, const struct raft_rig_packet *packet);
    void *context;

    /* Kept back by raft_rig_keep(); record NULL: none yet. */
    struct raft_rig_packet kept;
    uint64_t keep_type;
    uint32_t keep_to;

    struct raft_rig_packet *packets;
    uint32_t packet_count, packet_capacity;
    struct raft_rig_entry entries[RAFT_RIG_ENTRIES_MAX];
    uint64_t committed; /* The highest index known. */
    uint64_t leaders[RAFT_RIG_TERMS_MAX];
    uint32_t bad_requests;
    uint32_t delivered;
    uint32_t failures; /* Calls that failed where none may. */
    bool is_lawless;   /* Forged messages are about: nothing is watched. */
    char violation[160];
};

/* All disks empty, all nodes up. The rig is freed by raft_rig_fini(), at any time. */
void raft_rig_init(struct raft_rig *rig, uint64_t seed);
void raft_rig_fini(struct raft_rig *rig);

/* ---- Replicas ---- */

/* The group's first replica, at `node`, which leads at once. */
void raft_rig_bootstrap(struct raft_rig *rig, uint32_t node);
/* An empty replica that waits to be added. Returns its server id. */
uint64_t raft_rig_begin(struct raft_rig *rig, uint32_t node);
/* Nothing is left of the replica. */
void raft_rig_erase(struct raft_rig *rig, uint32_t node);
/* Bootstrap at node 0 and make `count` voters of nodes 0 … count - 1, node 0 leading. */
void raft_rig_start(struct raft_rig *rig, uint32_t count);
/* One change by the leader, driven until it is committed and stored by all voters. */
enum rc raft_rig_change(struct raft_rig *rig, uint32_t leader, uint32_t node,
                        enum raft_group_role role);
/* Standby, caught up, voter. */
enum rc raft_rig_join(struct raft_rig *rig, uint32_t leader, uint32_t node);
enum rc raft_rig_remove(struct raft_rig *rig, uint32_t leader, uint64_t server);

/* The process dies; the newest `lose_count` batches that are not synced are lost. */
void raft_rig_crash(struct raft_rig *rig, uint32_t node, uint64_t lose_count);
/* It starts again. What raft_group_open() says; RC_NOT_FOUND leaves it without a replica. */
enum rc raft_rig_restart(struct raft_rig *rig, uint32_t node);

/* ---- Time and messages ---- */

/* Let everything happen that happens within so many milliseconds. */
void raft_rig_run(struct raft_rig *rig, uint64_t ms);
/* Until `is_done` says so, at most `ms`. */
bool raft_rig_run_until(struct raft_rig *rig, uint64_t ms,
                        bool (*is_done)(struct raft_rig *rig, uint32_t node), uint32_t node);
/* One turn of a node, its sync if it is due, no time, no messages. */
void raft_rig_turn(struct raft_rig *rig, uint32_t node);
uint64_t raft_rig_clock(const struct raft_rig *rig, uint32_t node);
uint64_t raft_rig_random(struct raft_rig *rig, uint64_t below);
/* Give a message to where it belongs, now. */
enum rc raft_rig_deliver(struct raft_rig *rig, uint32_t from, uint32_t to,
                         const struct msg_raft *message);
/* The next message of this type to this node is not sent but kept, in place of any kept before. */
void raft_rig_keep(struct raft_rig *rig, uint64_t type, uint32_t to);
enum rc raft_rig_give_kept(struct raft_rig *rig); /* Deliver it, as often as wanted. */
/* A message as `from` might say it to `to`, in the term of the latter. */
struct msg_raft raft_rig_message(struct raft_rig *rig, uint64_t type, uint32_t from, uint32_t to);
void raft_rig_cut_off(struct raft_rig *rig, uint32_t node, bool is_cut);
void raft_rig_drop_all(struct raft_rig *rig); /* What is under way is lost. */

/* ---- Commands, state, questions ---- */

enum rc raft_rig_submit(struct raft_rig *rig, uint32_t node, const char *text, uint64_t *ret_index);
/* Submit and run until all replicas that are up have applied it. False: not within 3 s. */
bool raft_rig_say(struct raft_rig *rig, uint32_t node, const char *text);
/* Drop the log of a node up to `index`, in its next turn's batch. */
void raft_rig_truncate(struct raft_rig *rig, uint32_t node, uint64_t index);
/* The state of one node is copied beside another's own, as a transfer would. */
void raft_rig_transfer_state(struct raft_rig *rig, uint32_t from, uint32_t to);

bool raft_rig_leads(struct raft_rig *rig, uint32_t node);    /* Or believes so. */
bool raft_rig_is_ready(struct raft_rig *rig, uint32_t node); /* Leads and serves. */
bool raft_rig_has_lease(struct raft_rig *rig, uint32_t node);
bool raft_rig_is_even(struct raft_rig *rig, uint32_t node); /* It applied all that is committed. */
bool raft_rig_all_even(struct raft_rig *rig, uint32_t unused);
uint32_t raft_rig_leader(struct raft_rig *rig); /* That is ready, or RAFT_RIG_NODES. */
uint32_t raft_rig_node_of(const struct raft_rig *rig, uint64_t server);
const char *raft_rig_violation(const struct raft_rig *rig); /* NULL: none. */

#endif
