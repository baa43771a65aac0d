#include "nodes/router/router_private.h"

#include <stdio.h>

#include "mesh/base/check.h"
#include "mesh/base/log.h"
#include "mesh/base/mem.h"
#include "mesh/base/metrics.h"

void pending_push(struct pending_list *list, const struct pending *pending)
{
    if (list->count == list->capacity) {
        list->capacity = list->capacity == 0 ? 64 : list->capacity * 2;
        list->items = mem_resize(list->items, list->capacity * sizeof(*list->items));
    }
    list->items[list->count++] = *pending;
}

void pending_list_fini(struct pending_list *list)
{
    mem_free(list->items);
    memset(list, 0, sizeof(*list));
}

void shard_wake(struct router *router, struct shard *shard)
{
    if (list_is_empty(&shard->work))
        list_append(&router->work, &shard->work);
}

enum rc shard_queue(struct router *router, struct shard *shard, struct slice command,
                    const struct pending *pending)
{
    if (shard->queued.count >= LIMIT_SHARD_QUEUE_COUNT ||
        shard->commands->size + command.size > router->options.queue_bytes_max)
        return RC_FULL;
    buf_append_slice(shard->commands, command);
    pending_push(&shard->queued, pending);
    shard_wake(router, shard);
    return RC_OK;
}

/* ---- Results and events of applying ---- */

static void answer_pending(struct router *router, const struct pending *pending,
                           const struct machine_result *result)
{
    if (pending->pass != NULL)
        owed_on_result(router, pending->pass, result->rc);
    /* A gateway that restarted meanwhile has no use for the answers of its former life. */
    if (pending->watcher == NULL || pending->req == 0 ||
        pending->watcher->incarnation != pending->incarnation)
        return;
    struct msg_result answer = {
        .req = pending->req,
        .rc = result->rc,
        .conv = result->conv,
        .seq = result->seq,
        .ts = result->ts,
        .dup = result->dup,
    };
    if (result->detail != NULL)
        answer.detail = slice_string(result->detail);
    if (result->rc == RC_UNAVAILABLE)
        answer.hint_ms = LIMIT_RETRY_AFTER_MS;
    watchers_result(&router->watchers, pending->watcher, &answer);
}

struct applying {
    struct router *router;
    struct shard *shard;
};

static void on_result(void *context, uint64_t index, uint32_t nth,
                      const struct machine_result *result)
{
    const struct applying *applying = context;
    struct shard *shard = applying->shard;
    metric_add(commands_total, 1);
    if (result->dup)
        metric_add(duplicates_total, 1);
    if (index == shard->flying_index && nth < shard->flying.count)
        answer_pending(applying->router, &shard->flying.items[nth], result);
}

static void on_entry(void *context, struct slice conv, const struct msg_entry *fields,
                     struct slice entry)
{
    struct router *router = ((const struct applying *)context)->router;
    if (fields->type == ENTRY_MESSAGE)
        metric_add(messages_total, 1);
    struct msg_event_entry event = {.conv = conv, .entry = entry};
    watchers_publish(&router->watchers, &router->watchers.convs, conv, &msg_event_entry_desc,
                     &event);
}

static void on_receipt(void *context, const struct msg_event_receipt *receipt)
{
    struct router *router = ((const struct applying *)context)->router;
    watchers_publish(&router->watchers, &router->watchers.convs, receipt->conv,
                     &msg_event_receipt_desc, receipt);
}

static void on_user(void *context, const struct msg_event_user *event)
{
    struct router *router = ((const struct applying *)context)->router;
    watchers_publish(&router->watchers, &router->watchers.users, event->user, &msg_event_user_desc,
                     event);
}

static enum rc apply_committed(struct router *router, struct shard *shard)
{
    struct applying applying = {.router = router, .shard = shard};
    const struct machine_listener listener = {
        .context = &applying,
        .on_result = on_result,
        .on_entry = on_entry,
        .on_receipt = on_receipt,
        .on_user = on_user,
    };
    uint64_t now_ms = env_now_ms(router->env);
    uint64_t index;
    struct slice data;
    while (raft_group_next_committed(shard->group, &index, &data)) {
        enum rc rc = machine_apply(shard->machine, index, data, router->batch, &listener);
        if (rc != RC_OK) {
            log_error("apply_failed", "shard=%u index=%lu reason=\"%s\"", shard->id, index,
                      rc_sentence(rc));
            return rc;
        }
        raft_group_applied(shard->group, now_ms, index);
        if (index == shard->flying_index) {
            shard->flying_index = 0;
            shard->flying.count = 0;
        }
    }
    return RC_OK;
}

/* ---- From the queue into the log ---- */

/* Leadership is gone: what waits gets `unavailable`, its outcome unknown; a retry with the same cid
 * finds out. */
static void refuse_waiting(struct router *router, struct shard *shard)
{
    const struct machine_result refused = {.rc = RC_UNAVAILABLE};
    for (uint32_t i = 0; i < shard->flying.count; i++)
        answer_pending(router, &shard->flying.items[i], &refused);
    for (uint32_t i = 0; i < shard->queued.count; i++)
        answer_pending(router, &shard->queued.items[i], &refused);
    metric_add(refused_total, shard->flying.count + shard->queued.count);
    shard->flying.count = 0;
    shard->flying_index = 0;
    shard->queued.count = 0;
    buf_clear(shard->commands);
}

/* Pack all that is queued into one entry, or as much as LIMIT_ENTRY_SIZE_MAX allows: the loop over
 * the records finds the cut. */
static struct buf *pack(struct router *router, struct shard *shard, uint32_t *ret_count)
{
    struct record_reader r = record_reader_of(buf_slice(shard->commands));
    const uint8_t *start = r.at;
    uint32_t count = 0;
    if (shard->commands->size <= LIMIT_ENTRY_SIZE_MAX) {
        count = shard->queued.count;
        r.at = r.end;
    } else {
        while (count < shard->queued.count) {
            struct record_reader next = r;
            enum rc rc = record_skip(&next);
            CHECK(rc == RC_OK); /* Commands were checked before they were queued. */
            if (count > 0 && (size_t)(next.at - start) > LIMIT_ENTRY_SIZE_MAX)
                break;
            r = next;
            count++;
        }
    }
    size_t size = (size_t)(r.at - start);
    struct msg_batch batch = {
        .ts = env_wall_ms(router->env),
        .count = count,
        .commands = slice_of(start, size),
    };
    struct buf *entry = buf_new(size + 64);
    record_encode(entry, &msg_batch_desc, &batch);
    *ret_count = count;
    return entry;
}

static void drop_packed(struct shard *shard, uint32_t count, size_t size)
{
    shard->flying.count = 0;
    for (uint32_t i = 0; i < count; i++)
        pending_push(&shard->flying, &shard->queued.items[i]);
    shard->queued.count -= count;
    memmove(shard->queued.items, shard->queued.items + count,
            shard->queued.count * sizeof(*shard->queued.items));
    shard->commands->size -= size;
    memmove(shard->commands->bytes, shard->commands->bytes + size, shard->commands->size);
}

static enum rc submit_queued(struct router *router, struct shard *shard)
{
    if (shard->queued.count == 0 || shard->flying_index != 0)
        return RC_OK;
    /* Group commit: what is written while a sync runs waits for the next one anyway. So it is
     * packed when that one can begin: fewer and larger entries, one write and one sync for all
     * shards. */
    if (router->is_syncing) {
        if (list_is_empty(&shard->gathering))
            list_append(&router->gathering, &shard->gathering);
        return RC_OK;
    }
    uint32_t count;
    struct buf *entry = pack(router, shard, &count);
    struct record_reader r = record_reader_of(buf_slice(entry));
    struct msg_batch batch;
    enum rc rc = record_decode(&r, &msg_batch_desc, &batch);
    CHECK(rc == RC_OK);
    uint64_t index;
    rc = raft_group_submit(shard->group, env_now_ms(router->env), entry, &index);
    buf_unref(&entry);
    if (rc == RC_AGAIN)
        return RC_OK; /* The barrier is still in flight; its commit wakes this shard again. */
    if (rc == RC_NOT_LEADER || rc == RC_UNAVAILABLE) {
        refuse_waiting(router, shard);
        return RC_OK;
    }
    if (rc != RC_OK)
        return rc;
    drop_packed(shard, count, batch.commands.size);
    shard->flying_index = index;
    metric_add(entries_total, 1);
    return RC_OK;
}

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
        refuse_waiting(router, shard);
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
        shard->in_syncing = false;
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
        shard->in_syncing = true;
        shard->mark = raft_group_mark(shard->group);
    }
    router->is_syncing = true;
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
    enum rc rc = apply_committed(router, shard);
    if (rc != RC_OK)
        return rc;
    watch_leadership(router, shard);
    rc = submit_queued(router, shard);
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
