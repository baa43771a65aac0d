/* shard - see shard.h; what happens to commands between a gateway's request and its answer. */
#include "mesh/base/check.h"
#include "mesh/base/log.h"
#include "mesh/base/mem.h"
#include "mesh/base/metrics.h"
#include "nodes/router/router_private.h"

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
        shard->commands->size + command.size > router->options.queue_bytes_max ||
        (router->options.in_flight_max != 0 && pending->watcher != NULL &&
         router->in_flight >= router->options.in_flight_max))
        return RC_FULL;
    router->in_flight++;
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
    if (pending->is_join) {
        control_answer_join(router, pending, result->rc);
        return;
    }
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
    watchers_result(&router->watchers, pending->watcher, &answer);
}

static bool must_hold(const struct shard *shard, const struct pending *pending,
                      const struct machine_result *result)
{
    return pending->is_for_lists && result->rc == RC_OK && !result->dup && shard->was_ready &&
           machine_owes(shard->machine) && shard->held_count < SHARD_HELD_MAX;
}

/* The pass under way, where there is one, was gathered before: the next one has its rows. */
static void hold(struct shard *shard, const struct pending *pending,
                 const struct machine_result *result)
{
    CHECK(result->conv.size <= LIMIT_CONV_SIZE_MAX);
    shard->held = mem_resize(shard->held, (shard->held_count + 1) * sizeof(*shard->held));
    struct held *held = &shard->held[shard->held_count++];
    *held = (struct held){
        .pending = *pending,
        .seq = result->seq,
        .ts = result->ts,
        .pass = shard->passes + 1,
        .conv_size = result->conv.size,
    };
    memcpy(held->conv, result->conv.base, result->conv.size);
}

void shard_release(struct router *router, struct shard *shard, uint64_t pass)
{
    uint32_t count = 0;
    for (; count < shard->held_count && shard->held[count].pass <= pass; count++) {
        const struct held *held = &shard->held[count];
        const struct machine_result result = {
            .rc = RC_OK,
            .conv = slice_of(held->conv, held->conv_size),
            .seq = held->seq,
            .ts = held->ts,
        };
        answer_pending(router, &held->pending, &result);
    }
    shard->held_count -= count;
    if (count > 0)
        memmove(shard->held, shard->held + count, shard->held_count * sizeof(*shard->held));
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
    if (index != shard->flying_index || nth >= shard->flying.count)
        return;
    const struct pending *pending = &shard->flying.items[nth];
    if (must_hold(shard, pending, result))
        hold(shard, pending, result);
    else
        answer_pending(applying->router, pending, result);
}

static void on_entry(void *context, const struct msg_event_entry *event,
                     const struct msg_entry *fields)
{
    struct router *router = ((const struct applying *)context)->router;
    if (fields->type == ENTRY_MESSAGE) {
        metric_add(messages_total, 1);
        rates_count(&router->rates, ((const struct applying *)context)->shard->id);
        if (router->push != NULL)
            push_note(router->push, ((const struct applying *)context)->shard->id, event->conv,
                      fields->seq);
    }
    watchers_publish(&router->watchers, &router->watchers.convs, event->conv, &msg_event_entry_desc,
                     event);
    soft_on_entry(router, ((const struct applying *)context)->shard, event->conv, fields);
}

static void on_followed_entry(void *context, const struct msg_event_entry *event,
                              const struct msg_entry *fields)
{
    (void)context;
    (void)event;
    if (fields->type == ENTRY_MESSAGE)
        metric_add(messages_total, 1);
}

static void on_receipt(void *context, const struct msg_event_receipt *receipt)
{
    const struct applying *applying = context;
    soft_on_receipt(applying->router, applying->shard, receipt);
}

static void on_followed_receipt(void *context, const struct msg_event_receipt *receipt)
{
    soft_on_followed_receipt(((const struct applying *)context)->router, receipt);
}

static void on_user(void *context, const struct msg_event_user *event)
{
    struct router *router = ((const struct applying *)context)->router;
    watchers_publish(&router->watchers, &router->watchers.users, event->user, &msg_event_user_desc,
                     event);
}

enum rc shard_apply(struct router *router, struct shard *shard)
{
    struct applying applying = {.router = router, .shard = shard};
    /* Only who leads tells the gateways. The entries that a new leader applies before it is ready
     * are in what they ask for when it claims. */
    const struct machine_listener leads = {
        .context = &applying,
        .on_result = on_result,
        .on_entry = on_entry,
        .on_receipt = on_receipt,
        .on_user = on_user,
    };
    const struct machine_listener follows = {
        .context = &applying,
        .on_result = on_result,
        .on_entry = on_followed_entry,
        .on_receipt = on_followed_receipt,
    };
    const struct machine_listener listener = shard->was_ready ? leads : follows;
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
        digests_note(shard);
        raft_group_applied(shard->group, now_ms, index);
        router->control_changed |= shard->id == CONTROL_GROUP;
        if (index == shard->flying_index) {
            router->in_flight -= shard->flying.count;
            shard->flying_index = 0;
            shard->flying.count = 0;
        }
    }
    return RC_OK;
}

/* ---- From the queue into the log ---- */

/* Leadership is gone. What is in the log may be carried out yet: unavailable, and a retry with the
 * same cid finds out. What was queued was not: not leader, and it may go to the next one as it is.
 */
void shard_refuse_waiting(struct router *router, struct shard *shard)
{
    const struct machine_result unknown = {.rc = RC_UNAVAILABLE};
    const struct machine_result untouched = {.rc = RC_NOT_LEADER};
    shard_release(router, shard, UINT64_MAX); /* The next leader tells the lists. */
    for (uint32_t i = 0; i < shard->flying.count; i++)
        answer_pending(router, &shard->flying.items[i], &unknown);
    for (uint32_t i = 0; i < shard->queued.count; i++)
        answer_pending(router, &shard->queued.items[i], &untouched);
    metric_add(refused_total, shard->flying.count + shard->queued.count);
    router->in_flight -= shard->flying.count + shard->queued.count;
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

enum rc shard_submit(struct router *router, struct shard *shard)
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
        shard_refuse_waiting(router, shard);
        return RC_OK;
    }
    if (rc != RC_OK)
        return rc;
    drop_packed(shard, count, batch.commands.size);
    shard->flying_index = index;
    router->packed_count += count;
    metric_add(entries_total, 1);
    return RC_OK;
}
