#include "nodes/router/router_private.h"

#include <stdio.h>

#include "mesh/base/check.h"
#include "mesh/base/log.h"
#include "mesh/base/mem.h"
#include "mesh/base/metrics.h"

#define SYNC_INLINE_COUNT_MAX 16u /* More commands than this in a turn: there is load. */

static void watch_leadership(struct router *router, struct shard *shard)
{
    bool ready = raft_group_is_ready(shard->group);
    if (ready == shard->was_ready)
        return;
    shard->was_ready = ready;
    router->beats_due = true;
    if (ready) {
        metric_add(elections_total, 1);
        metric_add(shards_led, 1);
        log_debug("shard_led", "shard=%u term=%lu", shard->id, raft_group_term(shard->group));
    } else {
        metric_add(shards_led, -1);
        log_info("shard_lost", "shard=%u term=%lu", shard->id, raft_group_term(shard->group));
        shard_refuse_waiting(router, shard);
    }
}

/* ---- Durability ---- */

static void on_synced(void *context, enum rc rc)
{
    struct router *router = context;
    router->is_syncing = false;
    uint64_t now_ms = env_now_ms(router->env);
    for (uint32_t i = 0; i < router->syncing_count; i++) {
        struct shard *shard = router->syncing[i];
        if (rc == RC_OK)
            rc = raft_group_on_durable(shard->group, now_ms, shard->mark);
        shard_wake(router, shard);
    }
    router->syncing_count = 0;
    for (struct shard *shard;
         (shard = LIST_FIRST(&router->gathering, struct shard, gathering)) != NULL;) {
        list_remove(&shard->gathering);
        shard_wake(router, shard);
    }
    if (rc != RC_OK) {
        log_error("sync_failed", "reason=\"%s\"", rc_sentence(rc));
        router_fail(router);
    }
}

static void begin_sync(struct router *router)
{
    if (router->is_syncing || router->unsynced_count == 0)
        return;
    struct shard **free_array = router->syncing;
    router->syncing = router->unsynced;
    router->syncing_count = router->unsynced_count;
    router->unsynced = free_array;
    router->unsynced_count = 0;
    for (uint32_t i = 0; i < router->syncing_count; i++) {
        struct shard *shard = router->syncing[i];
        shard->in_unsynced = false;
        shard->mark = raft_group_mark(shard->group);
    }
    router->is_syncing = true;
    /* Under load the wait is used to decode what comes next. With little to do it is used for
     * nothing, and waking a thread and being woken by it is most of what a message costs. */
    enum rc rc;
    if (router->packed_count <= SYNC_INLINE_COUNT_MAX &&
        router->kv->ops->sync_inline(router->kv, &rc))
        on_synced(router, rc);
    else
        router->kv->ops->sync(router->kv, on_synced, router);
}

static void collect(struct router *router, struct shard *shard)
{
    if (!raft_group_collect(shard->group, router->batch) || shard->in_unsynced)
        return;
    shard->in_unsynced = true;
    router->unsynced[router->unsynced_count++] = shard;
}

/* The log's prefix goes once enough of it is applied: its state is in this batch or an earlier one,
 * and batches survive in order (kv.h), so the state is never behind the log that is left. */
static enum rc truncate(struct router *router, struct shard *shard)
{
    uint64_t applied = machine_applied(shard->machine);
    uint64_t first = raft_group_first_index(shard->group);
    if (applied < first || applied - first + 1 < router->options.truncate_count)
        return RC_OK;
    return raft_group_truncate(shard->group, env_now_ms(router->env), applied, router->batch);
}

/* ---- The turn ---- */

static void tick_groups(struct router *router)
{
    uint64_t now_ms = env_now_ms(router->env);
    if (now_ms < router->next_tick_ms)
        return;
    uint64_t next_ms = UINT64_MAX;
    for (uint32_t i = 0; i < router->options.shards; i++) {
        struct shard *shard = &router->shards[i];
        if (raft_group_due_ms(shard->group) <= now_ms) {
            if (raft_group_tick(shard->group, now_ms) != RC_OK)
                router_fail(router);
            shard_wake(router, shard);
        }
        uint64_t due_ms = raft_group_due_ms(shard->group);
        if (owed_is_waiting(shard)) { /* An outbox pass failed: again, when its time has come. */
            uint64_t again_ms = shard->pass_not_before_us / 1000 + 1;
            if (again_ms <= now_ms)
                shard_wake(router, shard);
            else if (again_ms < due_ms)
                due_ms = again_ms;
        }
        if (due_ms < next_ms)
            next_ms = due_ms;
    }
    /* No finer than the heartbeat's tenth, or staggered timers would wake us group by group. */
    uint64_t least_ms = now_ms + LIMIT_HEARTBEAT_MS / 10;
    router->next_tick_ms = next_ms < least_ms ? least_ms : next_ms;
}

static enum rc turn_shard(struct router *router, struct shard *shard)
{
    enum rc rc = shard_apply(router, shard);
    if (rc != RC_OK)
        return rc;
    watch_leadership(router, shard);
    rc = shard_submit(router, shard);
    if (rc != RC_OK)
        return rc;
    machine_flush(shard->machine, router->batch);
    rc = truncate(router, shard);
    if (rc != RC_OK)
        return rc;
    collect(router, shard);
    return RC_OK;
}

static void beat_all(struct router *router)
{
    uint64_t now_us = env_now_us(router->env);
    if (now_us < router->next_beat_us && !router->beats_due)
        return;
    router->next_beat_us = now_us + (uint64_t)LIMIT_BEAT_MS * 1000;
    router->beats_due = false;
    watchers_expire(&router->watchers, now_us);
    size_t at = 0;
    for (struct watcher *w; (w = map_next(&router->watchers.by_id, &at)) != NULL;)
        if (w->is_leased)
            requests_beat(router, w);
}

/* Shards that are woken while the list is walked (an outbox pass feeds another shard) are appended
 * and so reached in the same turn; the walk is bounded since each shard's queue is. */
static void turn_shards(struct router *router)
{
    for (struct shard *shard;
         (shard = LIST_FIRST(&router->work, struct shard, work)) != NULL && !router->is_failed;) {
        list_remove(&shard->work);
        if (list_is_empty(&shard->touched)) {
            owed_turn(router, shard); /* Reads the store, so before anything is applied. */
            list_append(&router->touched, &shard->touched);
        }
        if (turn_shard(router, shard) != RC_OK)
            router_fail(router);
    }
}

static void write_batch(struct router *router)
{
    if (router->is_failed || router->kv->ops->batch_count(router->batch) == 0)
        return;
    enum rc rc = router->kv->ops->write(router->kv, router->batch);
    if (rc != RC_OK) {
        log_error("write_failed", "reason=\"%s\"", rc_sentence(rc));
        router_fail(router);
    }
}

void router_turn(struct router *router)
{
    if (router->is_failed)
        return;
    router->packed_count = 0;
    tick_groups(router);
    turn_shards(router);
    write_batch(router);
    LIST_EACH(node, &router->touched)
    {
        struct shard *shard = LIST_ENTRY(node, struct shard, touched);
        list_remove(node);
        if (router->is_failed)
            continue;
        machine_written(shard->machine);
        if (owed_is_waiting(shard) && shard->pass_not_before_us == 0)
            shard_wake(router, shard); /* What it owes can be read from the next turn on. */
    }
    if (router->is_failed)
        return; /* What was applied may not be stored: nothing of this turn is said. */
    beat_all(router);
    watchers_flush(&router->watchers, router->bus);
    begin_sync(router);
}

uint64_t router_due_us(struct router *router)
{
    if (!list_is_empty(&router->work) || router->beats_due)
        return 0;
    uint64_t tick_us =
        router->next_tick_ms > UINT64_MAX / 1000 ? UINT64_MAX : router->next_tick_ms * 1000;
    return tick_us < router->next_beat_us ? tick_us : router->next_beat_us;
}

/* ---- Life ---- */

static enum rc shard_open(struct router *router, uint32_t id)
{
    struct shard *shard = &router->shards[id];
    shard->id = id;
    list_init(&shard->work);
    list_init(&shard->touched);
    list_init(&shard->gathering);
    shard->commands = buf_new(0);
    enum rc rc = machine_open(router->kv, id, router->options.cluster, &shard->machine);
    if (rc != RC_OK)
        return rc;
    const struct raft_group_options options = {
        .shard = id,
        .self = 1,
        .address = router->node,
        .election_ms = LIMIT_ELECTION_MS,
        .heartbeat_ms = LIMIT_HEARTBEAT_MS,
        .seed = (uint32_t)env_random(router->env),
    };
    uint64_t applied = machine_applied(shard->machine);
    uint64_t now_ms = env_now_ms(router->env);
    rc = raft_group_open(&options, router->kv, applied, now_ms, &shard->group);
    if (rc == RC_NOT_FOUND && applied == 0) {
        raft_group_bootstrap(&options, router->batch);
        rc = router->kv->ops->write(router->kv, router->batch);
        if (rc == RC_OK)
            rc = raft_group_open(&options, router->kv, applied, now_ms, &shard->group);
    }
    if (rc == RC_NOT_FOUND)
        rc = RC_CORRUPT; /* State without a log: refused, never begun anew (thesis, section 3.8). */
    if (rc == RC_OK)
        shard_wake(router, shard);
    return rc;
}

enum rc router_new(const struct router_options *options, struct env *env, struct bus *bus,
                   struct kv *kv, struct router **ret_router)
{
    CHECK(options->shards > 0 && options->shards <= LIMIT_SHARDS_MAX);
    struct router *router = mem_new(struct router);
    router->options = *options;
    snprintf(router->node, sizeof(router->node), "%s", options->node);
    router->options.node = router->node;
    router->env = env;
    router->bus = bus;
    router->kv = kv;
    list_init(&router->work);
    list_init(&router->touched);
    list_init(&router->gathering);
    struct packet_sender sender = {
        .node = slice_string(router->node),
        .incarnation = options->incarnation,
    };
    memcpy(sender.cluster, options->cluster, sizeof(sender.cluster));
    watchers_init(&router->watchers, &sender);
    router->shards = mem_zero(options->shards * sizeof(*router->shards));
    router->unsynced = mem_zero(options->shards * sizeof(*router->unsynced));
    router->syncing = mem_zero(options->shards * sizeof(*router->syncing));
    router->batch = kv->ops->batch_new(kv);
    router->answer = buf_new(4096);
    router->command = buf_new(1024);
    for (uint32_t i = 0; i < options->shards; i++) {
        enum rc rc = shard_open(router, i);
        if (rc != RC_OK) {
            log_error("shard_unusable", "shard=%u reason=\"%s\"", i, rc_sentence(rc));
            router_free(&router);
            return rc;
        }
    }
    *ret_router = router;
    return RC_OK;
}

void router_free(struct router **router)
{
    struct router *taken = *router;
    *router = NULL;
    if (taken == NULL)
        return;
    for (uint32_t i = 0; i < taken->options.shards; i++) {
        struct shard *shard = &taken->shards[i];
        owed_pass_free(&shard->pass);
        raft_group_free(&shard->group);
        machine_free(&shard->machine);
        buf_unref(&shard->commands);
        pending_list_fini(&shard->queued);
        pending_list_fini(&shard->flying);
    }
    mem_free(taken->shards);
    mem_free(taken->unsynced);
    mem_free(taken->syncing);
    taken->kv->ops->batch_free(&taken->batch);
    watchers_fini(&taken->watchers);
    buf_unref(&taken->answer);
    buf_unref(&taken->command);
    mem_free(taken);
}

bool router_is_failed(const struct router *router)
{
    return router->is_failed;
}

/* ---- What the node and `status` see ---- */

static void on_request(void *context, struct slice from, const struct packet *packet)
{
    requests_on_packet(context, from, packet);
}

static void on_publish(void *context, struct slice from, const struct packet *packet)
{
    (void)context;
    (void)from;
    (void)packet;
    metric_add(packets_bad_total, 1); /* Routers subscribe to nothing. */
}

static void on_peer(void *context, const struct msg_node *node, bool up)
{
    (void)context;
    log_info(up ? "peer_up" : "peer_down", "node=%.*s role=%s", SLICE_ARGS(node->id),
             node->role == NODE_ROUTER ? "router" : "gateway");
}

struct bus_handler router_bus_handler(struct router *router)
{
    return (struct bus_handler){
        .context = router,
        .on_request = on_request,
        .on_publish = on_publish,
        .on_peer = on_peer,
    };
}

struct router_health router_health(const struct router *router)
{
    struct router_health health = {
        .shards_total = router->options.shards,
        .conversations_watched = router->watchers.convs.count,
    };
    for (uint32_t i = 0; i < router->options.shards; i++)
        health.shards_led += router->shards[i].was_ready;
    size_t at = 0;
    for (const struct watcher *w; (w = map_next(&router->watchers.by_id, &at)) != NULL;)
        health.gateways += w->is_leased;
    return health;
}

void router_shard_status(const struct router *router, uint32_t shard,
                         struct router_shard_status *ret_status)
{
    CHECK(shard < router->options.shards);
    const struct shard *s = &router->shards[shard];
    *ret_status = (struct router_shard_status){
        .shard = shard,
        .state = raft_group_state_name(s->group),
        .term = raft_group_term(s->group),
        .commit_index = raft_group_commit_index(s->group),
        .applied_index = machine_applied(s->machine),
        .entries = raft_group_last_index(s->group) + 1 - raft_group_first_index(s->group),
    };
}
