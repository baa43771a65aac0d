/* router_private - what the parts of the router share: router.c (life and turn), shard.c (a group's
 * commands), requests.c (what other nodes ask), owed.c (what conversations owe the lists of users),
 * retention.c (what goes with time), soft.c (what is in memory only), router_peers.c (the other
 * routers), remembered.c (where they are to be looked for), replicas.c (replicas that come and go),
 * control.c (the list of routers), moves.c (placement), digests.c (comparing replicas), health.c
 * and report.c (how it is). Nobody else includes this. */
#ifndef NODES_ROUTER_ROUTER_PRIVATE_H
#define NODES_ROUTER_ROUTER_PRIVATE_H

#include "nodes/router/online.h"
#include "nodes/router/rates.h"
#include "nodes/router/recent.h"
#include "nodes/router/ring.h"
#include "nodes/router/router.h"
#include "nodes/router/router_peers.h"
#include "nodes/router/shard.h"
#include "nodes/router/typing.h"
#include "nodes/router/watchers.h"
#include "storage/peers_row.h"

/* The committed list of routers, as this router last heard it, and what follows from it. */
struct table {
    uint64_t version; /* 0: not heard yet. */
    uint32_t replicas;
    struct table_router {
        char node[LIMIT_NODE_ID_SIZE_MAX + 1];
        char zone[LIMIT_NODE_ID_SIZE_MAX + 1];
        uint32_t weight;
        enum router_state state;
    } * routers; /* By node id. */
    uint32_t count;
    struct ring_router *active; /* Those that hold replicas, by node id. */
    uint32_t active_count;
    uint16_t *places; /* Of each group, table.replicas of them: indices into `active`. */
};

/* The other routers of the cluster, as they stand in the store or go there with this turn's batch.
 */
struct remembered {
    struct peers_row row;
    uint64_t version;  /* Raised whenever it changes. */
    bool is_due;       /* The list or an address changed. */
    uint64_t due_ms;   /* When to look again. */
    uint64_t heard_ms; /* When one of them was there last; at first, the start. */
    uint64_t again_ms; /* When to say again that none is. */
    /* Names of those that are not there, by spaces; some of them where they are many. */
    char missing[16 * (LIMIT_NODE_ID_SIZE_MAX + 1)];
};

/* Where the walk over conversations with retention is. */
struct retention {
    uint64_t next_us;  /* When the next one begins. */
    uint32_t place;    /* The shard. */
    struct buf *after; /* The conversation; empty: the shard's first is next. */
};

struct router {
    struct router_options options;
    char node[LIMIT_NODE_ID_SIZE_MAX + 1];
    char zone[LIMIT_NODE_ID_SIZE_MAX + 1];
    char epoch[9];
    struct env *env;
    struct bus *bus;
    struct kv *kv;
    struct shard *shards; /* options.shards of them, then the control group. */
    struct watchers watchers;
    struct router_peers peers;
    struct remembered remembered;
    struct table table;
    struct kv_batch *batch;
    struct list work;        /* Shards with something to do in this turn. */
    struct list gathering;   /* Shards whose commands wait for the running sync to end. */
    struct list touched;     /* Shards whose machine has something in the batch. */
    struct shard **unsynced; /* Written, no sync begun yet. */
    uint32_t unsynced_count;
    struct shard **syncing; /* Covered by the running sync. */
    uint32_t syncing_count;
    bool is_syncing;
    bool must_sync;        /* Something of no shard was written. */
    uint32_t packed_count; /* Commands that this turn packed into entries. */
    bool is_failed;
    bool is_draining;
    uint64_t draining_ms; /* Since when. */
    uint64_t next_tick_ms, ticked_ms;
    uint64_t health_due_ms; /* When health.c looks again. */
    uint64_t next_beat_us;
    bool beats_due;          /* Leadership changed: beat at once. */
    bool lost_any;           /* Of a shard: who watched it here watches elsewhere. */
    struct buf *answer;      /* Sequences of the answer being made, */
    struct buf *answer_left; /* and where it has two, the other. */
    struct buf *command;     /* The command being made. */

    struct map asked;        /* struct remote: commands given to other routers. */
    uint64_t ask_id;         /* The last one given out. */
    bool control_changed;    /* An entry of the control group was applied. */
    uint64_t control_due_ms; /* When control.c looks again. */
    uint64_t table_due_ms;   /* When the control group's leader tells the list again. */
    uint32_t filling;        /* Groups led here whose newcomers are catching up. */
    uint64_t moves_done, bytes_moved;
    struct retention retention;
    uint32_t in_flight; /* Commands of all shards that are queued or in a log. */
    struct rates rates;
    struct push *push; /* NULL: there is no webhook. */
    struct typing typing;
    struct tally tally;
    struct recent recent;
    struct online online;
};

static inline void router_fail(struct router *router)
{
    router->is_failed = true;
}

/* By the number of its group; NULL where there is none such. */
static inline struct shard *router_shard(struct router *router, uint64_t group)
{
    if (group == CONTROL_GROUP)
        return &router->shards[router->options.shards];
    return group < router->options.shards ? &router->shards[group] : NULL;
}

static inline struct shard *router_control(const struct router *router)
{
    return &router->shards[router->options.shards];
}

static inline uint32_t router_place(const struct router *router, const struct shard *shard)
{
    return (uint32_t)(shard - router->shards);
}

static inline uint64_t router_now_ms(const struct router *router)
{
    return env_now_ms(router->env);
}

/* Something of this group's store is damaged, or its core gave up: where the group goes on without
 * this replica, the replica ends; else the router does, and leaves its disk as it is. */
void router_shard_failed(struct router *router, struct shard *shard, enum rc rc);

/* ---- shard.c ---- */

void shard_wake(struct router *router, struct shard *shard);

/* A replica is here, and it is not about to end. */
static inline bool shard_is_here(const struct shard *shard)
{
    return shard->group != NULL && shard->fate == SHARD_STAYS;
}

/* Led, and a majority was heard lately: reads may be answered, and leadership claimed. */
static inline bool shard_serves(const struct router *router, const struct shard *shard)
{
    return shard->was_ready && shard_is_here(shard) &&
           raft_group_has_lease(shard->group, router_now_ms(router));
}

/* Queue a checked command for a shard that is ready. RC_FULL: the shard's queue is. */
MUST_CHECK enum rc shard_queue(struct router *router, struct shard *shard, struct slice command,
                               const struct pending *pending);

/* Apply what has committed, and answer those who wait for it. RC_CORRUPT, RC_IO. */
MUST_CHECK enum rc shard_apply(struct router *router, struct shard *shard);
/* Pack what is queued into one entry of the log, where none is on its way. */
MUST_CHECK enum rc shard_submit(struct router *router, struct shard *shard);
/* Answer what waits for the lists of users, where an outbox pass up to this number is done. */
void shard_release(struct router *router, struct shard *shard, uint64_t pass);
/* Leadership is gone: what waits gets `unavailable`. */
void shard_refuse_waiting(struct router *router, struct shard *shard);

/* ---- requests.c ---- */

void requests_on_packet(struct router *router, struct slice from, const struct packet *packet);
void requests_beat(struct router *router, struct watcher *watcher);
/* The shard a request names, where this router may serve it, and where the key is one of it; else
 * *ret_rc says why not: RC_BAD_REQUEST, RC_NOT_LEADER. */
struct shard *requests_serving(struct router *router, uint64_t shard, enum rc *ret_rc);
struct shard *requests_serving_conv(struct router *router, uint64_t shard, struct slice conv,
                                    enum rc *ret_rc);
struct shard *requests_serving_user(struct router *router, uint64_t shard, struct slice user,
                                    enum rc *ret_rc);

/* ---- owed.c ---- */

bool owed_is_waiting(const struct shard *shard); /* Something is owed and no pass is under way. */
void owed_turn(struct router *router, struct shard *shard);
void owed_on_result(struct router *router, struct owed_pass *pass, enum rc rc);
void owed_pass_free(struct owed_pass **pass);
/* A router answered a command that a pass gave it. */
void owed_on_answer(struct router *router, const struct msg_result *result);
void owed_expire(struct router *router); /* Those that no router answered. */
void owed_init(struct router *router);
void owed_fini(struct router *router);

/* ---- retention.c ---- */

void retention_init(struct router *router);
void retention_fini(struct router *router);
void retention_turn(struct router *router); /* After the turn's batch is written. */

/* ---- soft.c ---- */

void soft_init(struct router *router);
void soft_fini(struct router *router);
/* Forget what belongs to shards that `keeps` says no to. */
void soft_keep(struct router *router, bool (*keeps)(const void *context, uint32_t shard));
void soft_turn(struct router *router); /* After the turn's batch is written. */
uint64_t soft_due_us(const struct router *router);
/* A new entry, or a cursor that moved, of a shard that is led here. */
void soft_on_entry(struct router *router, const struct shard *shard, struct slice conv,
                   const struct msg_entry *entry);
void soft_on_receipt(struct router *router, const struct shard *shard,
                     const struct msg_event_receipt *receipt);
void soft_on_followed_receipt(struct router *router, const struct msg_event_receipt *receipt);
/* What it may have missed of a conversation that it follows again. */
void soft_on_rewatch(struct router *router, struct watcher *watcher, uint32_t shard,
                     struct slice conv);
/* What gateways ask. */
void soft_on_typing(struct router *router, struct watcher *watcher,
                    const struct msg_typing *message);
void soft_on_look(struct router *router, struct watcher *watcher, const struct msg_look *request);
void soft_on_given(struct router *router, struct watcher *watcher, const struct msg_given *message);
void soft_on_presence_query(struct router *router, struct watcher *watcher,
                            const struct msg_presence_query *request);
void soft_on_presence_watch(struct router *router, struct watcher *watcher,
                            const struct msg_presence_watch *request);
void soft_on_user_status(struct router *router, struct watcher *watcher,
                         const struct msg_user_status *message);

/* ---- replicas.c ---- */

/* Open what the store holds of the group. RC_NOT_FOUND: nothing. */
MUST_CHECK enum rc replicas_open(struct router *router, struct shard *shard);
void replicas_close(struct router *router, struct shard *shard); /* Frees; the store keeps it. */
void replicas_on_raft(struct router *router, struct slice from, const struct msg_raft *message);
void replicas_on_prepare(struct router *router, struct router_peer *peer,
                         const struct msg_replica_prepare *message);
void replicas_on_drop(struct router *router, const struct msg_replica_drop *message);
void replicas_on_chunk(struct router *router, struct router_peer *peer,
                       const struct msg_chunk *chunk);
void replicas_on_ack(struct router *router, const struct msg_chunk_ack *ack);
/* Put the end of this replica into the batch. */
void replicas_end(struct router *router, struct shard *shard);
/* State transfers go on; a replica without a leader says that it exists. In the shard's turn. */
void replicas_turn(struct router *router, struct shard *shard);
/* The core took an InstallSnapshot: put the switch to the new generation into the batch. */
void replicas_switch(struct router *router, struct shard *shard);
void replicas_written(struct router *router, struct shard *shard); /* Its fate comes true. */

/* ---- control.c ---- */

void control_turn(struct router *router);
void control_fini(struct router *router);
void control_on_table(struct router *router, const struct msg_table *table);
void control_on_join(struct router *router, struct watcher *watcher, const struct msg_join *join);
void control_on_operate(struct router *router, struct watcher *watcher,
                        const struct msg_operate *operate);
void control_answer_join(struct router *router, const struct pending *pending, enum rc rc);
/* Who drains and is a member of a group led here, for a beat: places in the list. */
void control_put_counted(const struct router *router, struct buf *into);
/* The target of a group: node ids in order of preference. Returns how many. */
uint32_t control_targets(const struct router *router, const struct shard *shard,
                         const char *ret_nodes[LIMIT_REPLICAS_MAX]);

/* ---- remembered.c ---- */

void remembered_init(struct router *router);
void remembered_changed(struct router *router); /* The list did, or where a router listens. */
void remembered_turn(struct router *router);    /* Before the turn's batch is written. */

/* ---- moves.c ---- */

void moves_turn(struct router *router, struct shard *shard);
void moves_on_prepared(struct router *router, struct router_peer *peer,
                       const struct msg_replica_prepared *message);
void moves_on_gone(struct router *router, struct router_peer *peer,
                   const struct msg_replica_gone *message);
void moves_on_ready(struct router *router, struct shard *shard, bool ready);
uint64_t moves_due_ms(const struct router *router, const struct shard *shard);

/* What a router that is about to stop owes a group. */
enum moves_duty {
    MOVES_FREE,    /* Nothing: others go on without it. */
    MOVES_AWAITED, /* It leads, or its vote is needed, until another one can do without. */
    MOVES_ALONE,   /* It leads, and nobody could take that. */
};
enum moves_duty moves_duty(const struct router *router, const struct shard *shard);

/* ---- router_push.c ---- */

void router_push_init(struct router *router);
void router_push_ready(struct router *router, const struct shard *shard, bool ready);

/* ---- health.c ---- */

void health_turn(struct router *router); /* Before the turn's batch is written. */

/* ---- report.c ---- */

void report_write(struct router *router, struct buf *into); /* One JSON object, for `status`. */

/* ---- digests.c ---- */

void digests_note(struct shard *shard);                  /* After an entry was applied. */
void digests_put(struct shard *shard, struct buf *into); /* For a beat. */
void digests_on_other(struct router *router, struct shard *shard, struct slice node, uint64_t index,
                      uint64_t digest);

#endif
