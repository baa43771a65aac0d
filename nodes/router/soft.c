/* soft - what a router keeps in memory only (typing, presence, tallies), and how it hangs together
 * with the shards and with what gateways ask. */
#include "mesh/wire/key.h"
#include "nodes/router/router_private.h"

#define BUSY_COUNT 64u /* Commands packed in a turn, or waiting in a shard: presence waits. */

static struct shard *shard_of(void *context, uint32_t id)
{
    struct router *router = context;
    return &router->shards[id];
}

/* A read that the store could not serve ends the replica, or the router. */
static bool is_read(struct router *router, struct shard *shard, enum rc rc)
{
    if (rc != RC_OK)
        router_shard_failed(router, shard, rc);
    return rc == RC_OK;
}

/* ---- Ports ---- */

static bool serves(void *context, uint32_t id)
{
    return shard_serves(context, shard_of(context, id));
}

static bool is_settled(void *context, uint32_t id)
{
    const struct shard *shard = shard_of(context, id);
    return router_now_ms(context) >= shard->led_ms + ONLINE_SETTLE_MS;
}

static uint64_t last_seen(void *context, uint32_t id, struct slice user)
{
    struct shard *shard = shard_of(context, id);
    uint64_t ts = 0;
    if (!shard_is_here(shard) ||
        !is_read(context, shard, machine_last_seen(shard->machine, user, &ts)))
        return 0;
    return ts;
}

static bool see(void *context, uint32_t id, struct slice user, uint64_t ts)
{
    struct router *router = context;
    struct shard *shard = shard_of(context, id);
    if (shard->queued.count >= BUSY_COUNT)
        return false;
    const struct msg_cmd_seen seen = {.user = user, .ts = ts};
    const struct pending nobody = {0};
    buf_clear(router->command);
    record_encode(router->command, &msg_cmd_seen_desc, &seen);
    return shard_queue(router, shard, buf_slice(router->command), &nobody) == RC_OK;
}

static bool read_tally(void *context, uint32_t id, struct slice conv,
                       struct msg_event_tally *ret_tally)
{
    struct shard *shard = shard_of(context, id);
    return shard_serves(context, shard) &&
           is_read(context, shard, machine_tally(shard->machine, conv, ret_tally)) &&
           ret_tally->seq != 0;
}

/* ---- Life and turn ---- */

void soft_init(struct router *router)
{
    const struct online_port port = {
        .context = router,
        .serves = serves,
        .is_settled = is_settled,
        .last_seen = last_seen,
        .see = see,
    };
    struct watchers *watchers = &router->watchers;
    typing_init(&router->typing, watchers);
    tally_init(&router->tally, watchers, read_tally, router);
    recent_init(&router->recent);
    online_init(&router->online, watchers, router->env, router->options.shards, &port);
    watchers->on_user_left = online_on_left;
    watchers->context = &router->online;
}

void soft_fini(struct router *router)
{
    router->watchers.on_user_left = NULL;
    typing_fini(&router->typing);
    tally_fini(&router->tally);
    recent_fini(&router->recent);
    online_fini(&router->online);
}

void soft_keep(struct router *router, bool (*keeps)(const void *context, uint32_t shard))
{
    typing_keep(&router->typing, keeps, router);
    tally_keep(&router->tally, keeps, router);
    online_keep(&router->online, keeps, router);
}

void soft_turn(struct router *router)
{
    uint64_t now_us = env_now_us(router->env);
    bool is_busy = router->packed_count > BUSY_COUNT || watchers_are_busy(&router->watchers);
    typing_turn(&router->typing, now_us);
    tally_turn(&router->tally, now_us);
    online_turn(&router->online, is_busy);
}

uint64_t soft_due_us(const struct router *router)
{
    uint64_t due_us = typing_due_us(&router->typing);
    uint64_t tally_us = tally_due_us(&router->tally);
    uint64_t online_us = online_due_us(&router->online);
    if (tally_us < due_us)
        due_us = tally_us;
    return online_us < due_us ? online_us : due_us;
}

/* ---- What applying brings about ---- */

/* Who sent his message, or is a member no longer, does not type. */
void soft_on_entry(struct router *router, const struct shard *shard, struct slice conv,
                   const struct msg_entry *entry)
{
    bool is_gone = entry->type == ENTRY_MEMBER &&
                   (entry->change == MEMBER_REMOVE || entry->change == MEMBER_LEAVE);
    if (entry->type == ENTRY_MESSAGE || is_gone)
        typing_set(&router->typing, shard->id, conv, is_gone ? entry->user : entry->from, false,
                   env_now_us(router->env));
}

/* In a large group the numbers are told now and then, and what somebody has read to his own
 * devices, whose unread counts follow it; nothing else. */
void soft_on_receipt(struct router *router, const struct shard *shard,
                     const struct msg_event_receipt *receipt)
{
    bool is_large = receipt->members > LIMIT_RECEIPTS_MEMBERS;
    soft_on_followed_receipt(router, receipt);
    if (is_large)
        tally_mark(&router->tally, shard->id, receipt->conv);
    if (!is_large || receipt->read != 0)
        watchers_publish(&router->watchers, &router->watchers.convs, receipt->conv,
                         &msg_event_receipt_desc, receipt);
}

void soft_on_followed_receipt(struct router *router, const struct msg_event_receipt *receipt)
{
    recent_note(&router->recent, receipt, env_now_us(router->env));
}

/* ---- What gateways ask ---- */

void soft_on_rewatch(struct router *router, struct watcher *watcher, uint32_t shard,
                     struct slice conv)
{
    recent_tell(&router->recent, shard, conv, env_now_us(router->env), &router->watchers, watcher,
                &router->tally);
}

void soft_on_typing(struct router *router, struct watcher *watcher,
                    const struct msg_typing *message)
{
    (void)watcher;
    uint64_t answer;
    uint64_t head;
    enum rc rc;
    struct shard *shard = requests_serving_conv(router, message->shard, message->conv, &rc);
    if (shard == NULL ||
        !is_read(router, shard,
                 machine_look(shard->machine, message->conv, message->user, &answer, &head)))
        return;
    if (answer == RC_OK)
        typing_set(&router->typing, shard->id, message->conv, message->user, message->on != 0,
                   env_now_us(router->env));
}

void soft_on_look(struct router *router, struct watcher *watcher, const struct msg_look *request)
{
    struct msg_looked answer = {.req = request->req};
    enum rc rc;
    struct shard *shard = requests_serving_conv(router, request->shard, request->conv, &rc);
    answer.rc = rc;
    if (shard != NULL && !is_read(router, shard,
                                  machine_look(shard->machine, request->conv, request->user,
                                               &answer.rc, &answer.head)))
        return;
    buf_clear(router->answer);
    if (answer.rc == RC_OK) {
        typing_list(&router->typing, request->conv, router->answer);
        answer.typing = buf_slice(router->answer);
    }
    watchers_answer(&router->watchers, watcher, &msg_looked_desc, &answer);
}

void soft_on_given(struct router *router, struct watcher *watcher, const struct msg_given *message)
{
    (void)watcher;
    enum rc rc;
    if (router->push == NULL || !key_user_is_valid(message->user) ||
        requests_serving_conv(router, message->shard, message->conv, &rc) == NULL)
        return;
    push_on_given(router->push, message->conv, message->user, message->seq);
}

/* The next name of a sequence, where it is a user of this shard. RC_BAD_REQUEST. */
static enum rc next_user(const struct router *router, const struct shard *shard,
                         struct record_reader *names, struct slice *ret_name)
{
    if (record_get_slice(names, ret_name) != RC_OK || !key_user_is_valid(*ret_name) ||
        key_user_shard(router->options.cluster, router->options.shards, *ret_name) != shard->id)
        return RC_BAD_REQUEST;
    return RC_OK;
}

/* RC_UNAVAILABLE: one of them is not known yet. */
static enum rc put_presences(struct router *router, const struct shard *shard, struct slice users,
                             struct buf *into)
{
    struct record_reader names = record_reader_of(users);
    for (uint32_t count = 0; !record_reader_at_end(&names); count++) {
        struct slice name;
        struct msg_presence_item item;
        enum rc rc = next_user(router, shard, &names, &name);
        if (rc != RC_OK || count == LIMIT_PRESENCE_USERS)
            return RC_BAD_REQUEST;
        if (!online_get(&router->online, shard->id, name, &item))
            return RC_UNAVAILABLE;
        record_encode(into, &msg_presence_item_desc, &item);
    }
    return RC_OK;
}

void soft_on_presence_query(struct router *router, struct watcher *watcher,
                            const struct msg_presence_query *request)
{
    struct msg_presences answer = {.req = request->req};
    enum rc rc;
    const struct shard *shard = requests_serving(router, request->shard, &rc);
    buf_clear(router->answer);
    if (shard != NULL)
        rc = put_presences(router, shard, request->users, router->answer);
    answer.rc = rc;
    if (rc == RC_OK)
        answer.items = buf_slice(router->answer);
    watchers_answer(&router->watchers, watcher, &msg_presences_desc, &answer);
}

/* A gateway that watches many begins anew with a new leader in several of these. */
void soft_on_presence_watch(struct router *router, struct watcher *watcher,
                            const struct msg_presence_watch *request)
{
    enum rc rc;
    const struct shard *shard = requests_serving(router, request->shard, &rc);
    struct record_reader names = record_reader_of(request->users);
    struct slice name;
    while (shard != NULL && !record_reader_at_end(&names) &&
           next_user(router, shard, &names, &name) == RC_OK) {
        if (request->on != 0)
            online_watch(&router->online, shard->id, name, watcher);
        else
            online_unwatch(&router->online, name, watcher);
    }
}

void soft_on_user_status(struct router *router, struct watcher *watcher,
                         const struct msg_user_status *message)
{
    (void)watcher;
    enum rc rc;
    const struct shard *shard = requests_serving_user(router, message->shard, message->user, &rc);
    if (shard != NULL)
        online_set(&router->online, shard->id, message->user, message->status, message->age_ms);
}
