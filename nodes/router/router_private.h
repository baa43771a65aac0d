/* router_private - what the parts of the router share: router.c (life and turn), shard.c (a shard's
 * commands), requests.c (what gateways ask), owed.c (what conversations owe the lists of users).
 * Nobody else includes this. */
#ifndef NODES_ROUTER_ROUTER_PRIVATE_H
#define NODES_ROUTER_ROUTER_PRIVATE_H

#include "nodes/router/router.h"
#include "nodes/router/shard.h"
#include "nodes/router/watchers.h"

struct router {
    struct router_options options;
    char node[LIMIT_NODE_ID_SIZE_MAX + 1];
    struct env *env;
    struct bus *bus;
    struct kv *kv;
    struct shard *shards; /* options.shards of them. */
    struct watchers watchers;
    struct kv_batch *batch;
    struct list work;        /* Shards with something to do in this turn. */
    struct list gathering;   /* Shards whose commands wait for the running sync to end. */
    struct list touched;     /* Shards whose machine has something in the batch. */
    struct shard **unsynced; /* Written, no sync begun yet. */
    uint32_t unsynced_count;
    struct shard **syncing; /* Covered by the running sync. */
    uint32_t syncing_count;
    bool is_syncing;
    uint32_t packed_count; /* Commands that this turn packed into entries. */
    bool is_failed;
    uint64_t next_tick_ms;
    uint64_t next_beat_us;
    bool beats_due;      /* Leadership changed: beat at once. */
    struct buf *answer;  /* Sequences of the answer being made. */
    struct buf *command; /* The command being made. */
};

static inline void router_fail(struct router *router)
{
    router->is_failed = true;
}

void shard_wake(struct router *router, struct shard *shard);

/* Queue a checked command for a shard that is ready. RC_FULL: the shard's queue is. */
MUST_CHECK enum rc shard_queue(struct router *router, struct shard *shard, struct slice command,
                               const struct pending *pending);

/* Apply what has committed, and answer those who wait for it. RC_CORRUPT, RC_IO. */
MUST_CHECK enum rc shard_apply(struct router *router, struct shard *shard);
/* Pack what is queued into one entry of the log, where none is on its way. */
MUST_CHECK enum rc shard_submit(struct router *router, struct shard *shard);
/* Leadership is gone: what waits gets `unavailable`. */
void shard_refuse_waiting(struct router *router, struct shard *shard);

/* requests.c */
void requests_on_packet(struct router *router, struct slice from, const struct packet *packet);
void requests_beat(struct router *router, struct watcher *watcher);

/* owed.c */
bool owed_is_waiting(const struct shard *shard); /* Something is owed and no pass is under way. */
void owed_turn(struct router *router, struct shard *shard);
void owed_on_result(struct router *router, struct owed_pass *pass, enum rc rc);
void owed_pass_free(struct owed_pass **pass);

#endif
