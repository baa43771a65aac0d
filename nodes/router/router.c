#include "nodes/router/router_private.h"

#include <stdio.h>

#include "mesh/base/check.h"
#include "mesh/base/log.h"
#include "mesh/base/mem.h"
#include "mesh/base/metrics.h"

#define SYNC_INLINE_COUNT_MAX  16u /* More commands than this in a turn: there is load. */
#define SYNC_INLINE_SHARDS_MAX 8u  /* Likewise, of shards with something to sync. */

#define KEPT_FACTOR_MAX       64u     /* Times truncate_count: entries kept for who is slow. */
#define KEPT_FOR_TRANSFER_MAX 100000u /* Entries kept while a state is under way. */

void router_shard_failed(struct router *router, struct shard *shard, enum rc rc)
{
    if (rc == RC_CORRUPT && shard_is_here(shard) && raft_group_is_spared(shard->group)) {
        log_error("replica_damaged", "shard=%u; it ends and is made anew from the others",
                  shard->id);
        replicas_end(router, shard);
        return;
    }
    log_error("shard_failed", "shard=%u reason=\"%s\"", shard->id, rc_sentence(rc));
    router_fail(router);
}

static void watch_leadership(struct router *router, struct shard *shard)
{
    bool ready = raft_group_is_ready(shard->group);
    if (ready == shard->was_ready)
        return;
    shard->was_ready = ready;
    router->beats_due = true;
    moves_on_ready(router, shard, ready);
    router_push_ready(router, shard, ready);
    if (ready) {
        metric_add(elections_total, 1);
        log_debug("shard_led", "shard=%u term=%lu", shard->id, raft_group_term(shard->group));
    } else {
        router->lost_any = true;
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
        if (rc != RC_OK || shard->group == NULL || shard->mark == 0)
            continue; /* Its replica ended meanwhile. */
        enum rc failed = raft_group_on_durable(shard->group, now_ms, shard->mark);
        if (failed != RC_OK)
            router_shard_failed(router, shard, failed);
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
    if (router->is_syncing || (router->unsynced_count == 0 && !router->must_sync))
        return;
    router->must_sync = false;
    struct shard **free_array = router->syncing;
    router->syncing = router->unsynced;
    router->syncing_count = router->unsynced_count;
    router->unsynced = free_array;
    router->unsynced_count = 0;
    for (uint32_t i = 0; i < router->syncing_count; i++) {
        struct shard *shard = router->syncing[i];
        shard->in_unsynced = false;
        shard->mark = shard->group != NULL ? raft_group_mark(shard->group) : 0;
    }
    router->is_syncing = true;
    /* Under load the wait is used to decode what comes next. With little to do it is used for
     * nothing, and waking a thread and being woken by it is most of what a message costs. */
    enum rc rc;
    if (router->packed_count <= SYNC_INLINE_COUNT_MAX &&
        router->syncing_count <= SYNC_INLINE_SHARDS_MAX &&
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
 * and batches survive in order (kv.h), so the state is never behind the log that is left. Some of
 * what is applied stays, for those who are a little behind; a leader keeps more for who is alive
 * and slow, within bounds, and all of it while it sends somebody its state: a log dropped meanwhile
 * would make that vain. */
static enum rc truncate(struct router *router, struct shard *shard)
{
    uint64_t count = router->options.truncate_count;
    uint64_t applied = raft_group_applied_index(shard->group);
    uint64_t first = raft_group_first_index(shard->group);
    if (applied < first + 2 * count)
        return RC_OK;
    uint64_t to = applied - count;
    bool is_alone = raft_group_due_ms(shard->group) == ENV_NEVER;
    for (uint32_t i = 0; i < LIMIT_REPLICAS_MAX && !is_alone; i++)
        if (shard->moves.outs[i] != NULL && applied - first < KEPT_FOR_TRANSFER_MAX)
            return RC_OK;
    uint64_t least = raft_group_least_match(shard->group, router_now_ms(router));
    if (least < to && applied - first < KEPT_FACTOR_MAX * count)
        to = least;
    if (to < first + count / 2)
        return RC_OK;
    return raft_group_truncate(shard->group, router_now_ms(router), to, router->batch);
}

/* ---- The turn ---- */

/* When one shard needs a turn though nothing comes in. */
static uint64_t shard_due_ms(const struct router *router, const struct shard *shard)
{
    uint64_t due_ms = raft_group_due_ms(shard->group);
    uint64_t moves_ms = moves_due_ms(router, shard);
    if (moves_ms < due_ms)
        due_ms = moves_ms;
    if (owed_is_waiting(shard)) { /* An outbox pass failed: again, when its time has come. */
        uint64_t again_ms = shard->pass_not_before_us / 1000 + 1;
        if (again_ms < due_ms)
            due_ms = again_ms;
    }
    return due_ms;
}

/* No finer than the heartbeat's quarter, or staggered timers would wake us group by group, and each
 * send packets of its own. */
static void tick_by(struct router *router, uint64_t due_ms)
{
    uint64_t least_ms = router->ticked_ms + LIMIT_HEARTBEAT_MS / 4;
    if (due_ms < least_ms)
        due_ms = least_ms;
    if (due_ms < router->next_tick_ms)
        router->next_tick_ms = due_ms;
}

static void tick_groups(struct router *router)
{
    uint64_t now_ms = env_now_ms(router->env);
    if (now_ms < router->next_tick_ms)
        return;
    uint64_t next_ms = UINT64_MAX;
    for (uint32_t i = 0; i <= router->options.shards; i++) {
        struct shard *shard = &router->shards[i];
        if (!shard_is_here(shard))
            continue;
        if (shard_due_ms(router, shard) <= now_ms) {
            enum rc rc = raft_group_tick(shard->group, now_ms);
            if (rc != RC_OK)
                router_shard_failed(router, shard, rc);
            shard_wake(router, shard);
        }
        uint64_t due_ms = shard_due_ms(router, shard);
        if (due_ms < next_ms)
            next_ms = due_ms;
    }
    router->ticked_ms = now_ms;
    router->next_tick_ms = UINT64_MAX;
    tick_by(router, next_ms);
}

static void turn_shard(struct router *router, struct shard *shard)
{
    if (!shard_is_here(shard))
        return;
    if (raft_group_is_installing(shard->group)) {
        replicas_switch(router, shard);
        collect(router, shard);
        return; /* What is in the machine is of the state that was. */
    }
    enum rc rc = shard_apply(router, shard);
    if (rc == RC_OK) {
        watch_leadership(router, shard);
        rc = shard_submit(router, shard);
    }
    if (rc == RC_OK) {
        moves_turn(router, shard);
    }
    if (rc != RC_OK)
        router_shard_failed(router, shard, rc);
    if (!shard_is_here(shard) || router->is_failed)
        return;
    machine_flush(shard->machine, router->batch);
    rc = truncate(router, shard);
    if (rc != RC_OK)
        router_shard_failed(router, shard, rc);
    if (!shard_is_here(shard))
        return;
    collect(router, shard);
    tick_by(router, shard_due_ms(router, shard));
}

static bool is_led(const void *context, uint32_t shard)
{
    const struct router *router = context;
    return router->shards[shard].was_ready;
}

static void beat_all(struct router *router)
{
    uint64_t now_us = env_now_us(router->env);
    if (now_us < router->next_beat_us && !router->beats_due)
        return;
    router->next_beat_us = now_us + (uint64_t)LIMIT_BEAT_MS * 1000;
    router_peers_turn(router, router->beats_due);
    owed_expire(router);
    router->beats_due = false;
    if (router->lost_any) {
        watchers_keep(&router->watchers, is_led, router);
        soft_keep(router, is_led);
    }
    router->lost_any = false;
    watchers_expire(&router->watchers, now_us);
    retention_turn(router);
    rates_turn(&router->rates, now_us / 1000, is_led, router);
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
            /* Both read the store, so before anything is applied. */
            owed_turn(router, shard);
            replicas_turn(router, shard);
            list_append(&router->touched, &shard->touched);
        }
        turn_shard(router, shard);
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
    control_turn(router);
    remembered_turn(router);
    health_turn(router);
    if (router->push != NULL)
        push_turn(router->push);
    turn_shards(router);
    write_batch(router);
    LIST_EACH(node, &router->touched)
    {
        struct shard *shard = LIST_ENTRY(node, struct shard, touched);
        list_remove(node);
        if (router->is_failed)
            continue;
        replicas_written(router, shard);
        if (router->is_failed || shard->group == NULL)
            continue; /* A state that came and cannot be opened leaves no machine. */
        machine_written(shard->machine);
        if (owed_is_waiting(shard) && shard->pass_not_before_us == 0)
            shard_wake(router, shard); /* What it owes can be read from the next turn on. */
        if (shard->pass == NULL && !machine_owes(shard->machine))
            shard_release(router, shard, UINT64_MAX); /* They changed nothing that is owed. */
    }
    if (router->is_failed)
        return; /* What was applied may not be stored: nothing of this turn is said. */
    beat_all(router);
    soft_turn(router);
    watchers_flush(&router->watchers, router->bus);
    begin_sync(router);
}

uint64_t router_due_us(struct router *router)
{
    if (!list_is_empty(&router->work) || router->beats_due)
        return 0;
    uint64_t tick_us =
        router->next_tick_ms > UINT64_MAX / 1000 ? UINT64_MAX : router->next_tick_ms * 1000;
    uint64_t push_us = router->push != NULL ? push_due_us(router->push) : ENV_NEVER;
    if (push_us < tick_us)
        tick_us = push_us;
    uint64_t soft_us = soft_due_us(router);
    if (soft_us < tick_us)
        tick_us = soft_us;
    return tick_us < router->next_beat_us ? tick_us : router->next_beat_us;
}

/* ---- Life ---- */

void router_bootstrap(const struct router_options *options, struct env *env, struct kv_batch *batch)
{
    for (uint32_t i = 0; i <= options->shards; i++) {
        const struct raft_group_options group = {
            .shard = i < options->shards ? i : CONTROL_GROUP,
            .address = options->node,
        };
        raft_group_bootstrap(&group, env_random(env) >> 1 | 1, batch);
    }
}

static void shard_init(struct shard *shard, uint32_t id)
{
    shard->id = id;
    list_init(&shard->work);
    list_init(&shard->touched);
    list_init(&shard->gathering);
    shard->commands = buf_new(0);
}

/* A replica that is damaged is made anew from the others, where the log of any group here knows of
 * others; where this router was ever alone, there is nobody to have it from. */
static enum rc open_all(struct router *router)
{
    struct raft_group_server servers[LIMIT_SERVERS_MAX];
    bool has_others = false;
    enum rc damage = RC_OK;
    for (uint32_t i = 0; i <= router->options.shards; i++) {
        struct shard *shard = &router->shards[i];
        enum rc rc = replicas_open(router, shard);
        if (rc == RC_CORRUPT) {
            log_error("replica_damaged", "shard=%u reason=\"%s\"", shard->id, rc_sentence(rc));
            shard->is_broken = true;
            damage = rc;
        } else if (rc != RC_OK && rc != RC_NOT_FOUND) {
            return rc;
        }
        if (shard->group != NULL)
            has_others |= raft_group_servers(shard->group, 0, servers) > 1;
    }
    return has_others ? RC_OK : damage;
}

static void init_parts(struct router *router)
{
    const struct router_options *options = &router->options;
    struct packet_sender sender = {
        .node = slice_string(router->node),
        .incarnation = options->incarnation,
    };
    memcpy(sender.cluster, options->cluster, sizeof(sender.cluster));
    list_init(&router->work);
    list_init(&router->touched);
    list_init(&router->gathering);
    watchers_init(&router->watchers, &sender);
    soft_init(router);
    router_peers_init(router);
    owed_init(router);
    retention_init(router);
    rates_init(&router->rates, options->shards, options->messages_max, router_now_ms(router));
    uint32_t groups = options->shards + 1;
    router->shards = mem_zero(groups * sizeof(*router->shards));
    router->unsynced = mem_zero(groups * sizeof(*router->unsynced));
    router->syncing = mem_zero(groups * sizeof(*router->syncing));
    router->batch = router->kv->ops->batch_new(router->kv);
    router->answer = buf_new(4096);
    router->answer_left = buf_new(0);
    router->command = buf_new(1024);
    for (uint32_t i = 0; i < groups; i++)
        shard_init(&router->shards[i], i < options->shards ? i : CONTROL_GROUP);
    router_push_init(router);
    remembered_init(router);
}

enum rc router_new(const struct router_options *options, struct env *env, struct bus *bus,
                   struct kv *kv, struct router **ret_router)
{
    CHECK(options->shards > 0 && options->shards <= LIMIT_SHARDS_MAX);
    CHECK(options->replicas > 0 && options->replicas <= LIMIT_REPLICAS_MAX);
    struct router *router = mem_new(struct router);
    router->options = *options;
    snprintf(router->node, sizeof(router->node), "%s", options->node);
    snprintf(router->epoch, sizeof(router->epoch), "%s", options->epoch);
    snprintf(router->zone, sizeof(router->zone), "%s", options->zone != NULL ? options->zone : "");
    router->options.node = router->node;
    router->options.epoch = router->epoch;
    router->options.zone = router->zone;
    router->env = env;
    router->bus = bus;
    router->kv = kv;
    init_parts(router);
    enum rc rc = open_all(router);
    if (rc == RC_OK) {
        *ret_router = router;
        return RC_OK;
    }
    log_error("shards_unusable", "reason=\"%s\"", rc_sentence(rc));
    router_free(&router);
    return rc;
}

void router_free(struct router **router)
{
    struct router *taken = *router;
    *router = NULL;
    if (taken == NULL)
        return;
    for (uint32_t i = 0; i <= taken->options.shards; i++) {
        struct shard *shard = &taken->shards[i];
        owed_pass_free(&shard->pass);
        shard->was_ready = false; /* Nobody is told any more. */
        replicas_close(taken, shard);
        buf_unref(&shard->commands);
        pending_list_fini(&shard->queued);
        pending_list_fini(&shard->flying);
        mem_free(shard->held);
    }
    mem_free(taken->shards);
    mem_free(taken->unsynced);
    mem_free(taken->syncing);
    taken->kv->ops->batch_free(&taken->batch);
    push_free(&taken->push);
    owed_fini(taken);
    retention_fini(taken);
    rates_fini(&taken->rates);
    control_fini(taken);
    router_peers_fini(taken);
    soft_fini(taken);
    watchers_fini(&taken->watchers);
    buf_unref(&taken->answer);
    buf_unref(&taken->answer_left);
    buf_unref(&taken->command);
    mem_free(taken);
}

void router_drain(struct router *router)
{
    router->is_draining = true;
    router->draining_ms = router_now_ms(router);
    router->beats_due = true;
    if (router->push != NULL)
        push_stop(router->push);
    for (uint32_t i = 0; i <= router->options.shards; i++) {
        router->shards[i].moves.next_ms = 0;
        if (router->shards[i].group != NULL)
            shard_wake(router, &router->shards[i]);
    }
}

static uint32_t count_duty(const struct router *router, enum moves_duty duty)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i <= router->options.shards; i++)
        count += moves_duty(router, &router->shards[i]) == duty;
    return count;
}

bool router_is_drained(const struct router *router)
{
    return count_duty(router, MOVES_AWAITED) == 0;
}

uint32_t router_count_alone(const struct router *router)
{
    return count_duty(router, MOVES_ALONE);
}

bool router_is_failed(const struct router *router)
{
    return router->is_failed;
}

/* ---- What the bus tells ---- */

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
    if (node->role == NODE_ROUTER)
        router_peers_on_node(context, node, up);
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
