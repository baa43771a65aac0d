/* requests - what gateways and other routers ask of a router.
 *
 * Reads are answered at once: between turns the store holds everything that was applied, and a
 * shard answers only while it is led here. Changes are checked, queued and answered when their
 * entry is applied. Whatever comes is decoded first; what cannot be decoded ends that packet, since
 * where the next message begins is then unknown. */
#include "mesh/base/log.h"
#include "mesh/base/metrics.h"
#include "mesh/wire/key.h"
#include "nodes/router/router_private.h"

struct asking {
    struct router *router;
    struct watcher *watcher;
    struct router_peer *peer; /* Where it is another router. */
};

/* The shard a request names, where this router may serve it; else *ret_rc says why not. */
struct shard *requests_serving(struct router *router, uint64_t shard, enum rc *ret_rc)
{
    *ret_rc = RC_BAD_REQUEST;
    if (shard >= router->options.shards)
        return NULL;
    *ret_rc = RC_NOT_LEADER;
    return shard_serves(router, &router->shards[shard]) ? &router->shards[shard] : NULL;
}

struct shard *requests_serving_conv(struct router *router, uint64_t shard, struct slice conv,
                                    enum rc *ret_rc)
{
    *ret_rc = RC_BAD_REQUEST;
    if (!key_conv_is_valid(conv) ||
        key_conv_shard(router->options.cluster, router->options.shards, conv) != shard)
        return NULL;
    return requests_serving(router, shard, ret_rc);
}

struct shard *requests_serving_user(struct router *router, uint64_t shard, struct slice user,
                                    enum rc *ret_rc)
{
    *ret_rc = RC_BAD_REQUEST;
    if (!key_user_is_valid(user) ||
        key_user_shard(router->options.cluster, router->options.shards, user) != shard)
        return NULL;
    return requests_serving(router, shard, ret_rc);
}

/* A read that the store could not serve ends the replica, or the router: it would lie otherwise. */
static void check_read(struct router *router, struct shard *shard, enum rc rc)
{
    if (rc != RC_OK)
        router_shard_failed(router, shard, rc);
}

void requests_beat(struct router *router, struct watcher *watcher)
{
    buf_clear(router->answer);
    for (uint32_t i = 0; i < router->options.shards; i++) {
        const struct shard *shard = &router->shards[i];
        record_put_u64(router->answer,
                       shard_serves(router, shard) ? raft_group_term(shard->group) : 0);
    }
    struct msg_beat beat = {
        .shards = router->options.shards,
        .terms = buf_slice(router->answer),
        .webhook = router->push != NULL,
        .missing = slice_string(router->remembered.missing),
    };
    watchers_tell(&router->watchers, watcher, &msg_beat_desc, &beat);
}

static void on_hello(struct asking *a, const struct msg_hello *hello)
{
    a->watcher->heard_us = env_now_us(a->router->env);
    bool is_new = !a->watcher->is_leased;
    a->watcher->is_leased = true;
    a->watcher->is_linked = hello->links != 0;
    a->watcher->sessions = hello->sessions;
    a->watcher->users = hello->users;
    /* A gateway whose link is not up waits for a packet of ours: not for the beat. */
    if (is_new || hello->links == 0)
        requests_beat(a->router, a->watcher);
}

static void on_user_open(struct asking *a, const struct msg_user_open *request)
{
    struct msg_user_convs answer = {0};
    enum rc rc;
    struct shard *shard = requests_serving_user(a->router, request->shard, request->user, &rc);
    buf_clear(a->router->answer);
    if (shard != NULL && request->limit >= 1 && request->limit <= LIMIT_USER_CONVS_PAGE) {
        if (request->peek == 0) {
            watchers_follow(&a->router->watchers, &a->router->watchers.users, shard->id,
                            request->user, a->watcher);
            online_open(&a->router->online, shard->id, request->user);
        }
        buf_clear(a->router->answer_left);
        check_read(a->router, shard,
                   machine_user_convs(shard->machine, request, &answer, a->router->answer,
                                      a->router->answer_left));
        if (request->device.size > 0) {
            struct msg_event_device event = {.user = request->user,
                                             .device = request->device,
                                             .session = request->session,
                                             .age_ms = request->age_ms};
            watchers_publish(&a->router->watchers, &a->router->watchers.users, request->user,
                             &msg_event_device_desc, &event);
        }
    } else {
        answer.rc = shard != NULL ? RC_BAD_REQUEST : rc;
    }
    answer.req = request->req;
    watchers_answer(&a->router->watchers, a->watcher, &msg_user_convs_desc, &answer);
}

/* To every gateway, not to those that follow the user: right after a change of leaders nobody does
 * yet. */
static void on_user_kick(struct asking *a, const struct msg_user_kick *request)
{
    struct watchers *watchers = &a->router->watchers;
    struct msg_result answer = {.req = request->req};
    enum rc rc;
    if (requests_serving_user(a->router, request->shard, request->user, &rc) == NULL) {
        answer.rc = rc;
    } else {
        struct msg_event_device event = {.user = request->user, .kick = 1};
        struct watcher *watcher;
        for (size_t at = 0; (watcher = map_next(&watchers->by_id, &at)) != NULL;)
            if (watcher->is_leased)
                watchers_tell(watchers, watcher, &msg_event_device_desc, &event);
    }
    watchers_result(watchers, a->watcher, &answer);
}

static void on_user_close(struct asking *a, const struct msg_user_close *request)
{
    watchers_unfollow(&a->router->watchers, &a->router->watchers.users, request->user, a->watcher);
}

static void on_watch(struct asking *a, const struct msg_watch *request)
{
    struct msg_watched answer = {.conv = request->conv};
    enum rc rc;
    struct shard *shard = requests_serving_conv(a->router, request->shard, request->conv, &rc);
    buf_clear(a->router->answer);
    if (shard != NULL) {
        check_read(a->router, shard,
                   machine_watch(shard->machine, request, a->router->options.resume_count_max,
                                 &answer, a->router->answer));
        if (answer.rc == RC_OK && answer.until == 0)
            watchers_follow(&a->router->watchers, &a->router->watchers.convs, shard->id,
                            request->conv, a->watcher);
    } else {
        answer.rc = rc;
    }
    answer.req = request->req;
    answer.conv = request->conv;
    watchers_answer(&a->router->watchers, a->watcher, &msg_watched_desc, &answer);
}

static void on_fetch(struct asking *a, const struct msg_fetch *request)
{
    struct msg_fetched answer = {0};
    enum rc rc;
    struct shard *shard = requests_serving_conv(a->router, request->shard, request->conv, &rc);
    buf_clear(a->router->answer);
    if (shard != NULL && request->limit >= 1 && request->limit <= LIMIT_RESUME_COUNT)
        check_read(a->router, shard, machine_fetch(shard->machine, request, &answer));
    else
        answer.rc = shard != NULL ? RC_BAD_REQUEST : rc;
    answer.req = request->req;
    answer.conv = request->conv;
    watchers_answer(&a->router->watchers, a->watcher, &msg_fetched_desc, &answer);
}

/* The heads of the conversations, and the gateway follows them all (again). */
static void on_rewatch(struct asking *a, const struct msg_rewatch *request)
{
    struct router *router = a->router;
    struct msg_rewatched answer = {.req = request->req};
    enum rc rc;
    struct shard *shard = requests_serving(router, request->shard, &rc);
    buf_clear(router->answer);
    answer.rc = shard != NULL ? RC_OK : rc;
    struct record_reader convs = record_reader_of(request->convs);
    struct slice key;
    while (answer.rc == RC_OK && !record_reader_at_end(&convs)) {
        uint64_t head = 0;
        if (record_get_slice(&convs, &key) != RC_OK ||
            requests_serving_conv(router, request->shard, key, &rc) == NULL) {
            answer.rc = RC_BAD_REQUEST;
            break;
        }
        check_read(router, shard, machine_head(shard->machine, key, &head));
        record_put_u64(router->answer, head);
        if (head == 0)
            continue;
        watchers_follow(&router->watchers, &router->watchers.convs, shard->id, key, a->watcher);
        soft_on_rewatch(router, a->watcher, shard->id, key);
    }
    if (answer.rc == RC_OK)
        answer.heads = buf_slice(router->answer);
    watchers_answer(&router->watchers, a->watcher, &msg_rewatched_desc, &answer);
}

static void on_unwatch(struct asking *a, const struct msg_unwatch *request)
{
    watchers_unfollow(&a->router->watchers, &a->router->watchers.convs, request->conv, a->watcher);
}

/* A gateway's command may be any but those that leaders give themselves, and of users it may only
 * have one forgotten. Lists of users are told by those who lead conversations, and by nobody else.
 */
static bool may_submit(const struct asking *a, enum message_number number, enum machine_key kind,
                       struct slice command)
{
    if (a->peer != NULL)
        return number == MSG_CMD_INDEX;
    if (number == MSG_CMD_SEEN) {
        struct record_reader r = record_reader_of(command);
        struct msg_cmd_seen seen;
        return record_decode(&r, &msg_cmd_seen_desc, &seen) == RC_OK && seen.erase != 0;
    }
    return kind == MACHINE_KEY_CONV && number != MSG_CMD_TOLD && number != MSG_CMD_PUSHED &&
           number != MSG_CMD_TRIM;
}

/* *ret_hint_ms, where it is refused: try again after so long; 0: not known. *ret_detail likewise:
 * why, or NULL. */
static enum rc queue_command(struct asking *a, const struct msg_submit *request,
                             uint32_t *ret_hint_ms, const char **ret_detail)
{
    enum message_number number;
    struct slice key;
    enum machine_key kind;
    enum rc rc = machine_check_command(request->command, &number, &key, &kind, ret_detail);
    if (rc != RC_OK)
        return rc;
    if (!may_submit(a, number, kind, request->command))
        return RC_FORBIDDEN;
    struct shard *shard = kind == MACHINE_KEY_USER
                              ? requests_serving_user(a->router, request->shard, key, &rc)
                              : requests_serving_conv(a->router, request->shard, key, &rc);
    if (shard == NULL)
        return rc;
    if (number == MSG_CMD_SEND &&
        (*ret_hint_ms = rates_take(&a->router->rates, router_now_ms(a->router), key)) != 0) {
        metric_add(rate_limited_total, 1);
        return RC_RATE_LIMITED;
    }
    const struct pending pending = {
        .watcher = a->watcher,
        .incarnation = a->watcher->incarnation,
        .req = request->req,
        .is_for_lists = number == MSG_CMD_CREATE || number == MSG_CMD_MEMBER,
    };
    if (number == MSG_CMD_SEEN)
        online_erase(&a->router->online, key);
    return shard_queue(a->router, shard, request->command, &pending);
}

static void on_submit(struct asking *a, const struct msg_submit *request)
{
    uint32_t hint_ms = 0;
    const char *detail = NULL;
    enum rc rc = queue_command(a, request, &hint_ms, &detail);
    if (rc == RC_OK)
        return;
    metric_add(refused_total, 1);
    if (request->req == 0)
        return;
    struct msg_result answer = {
        .req = request->req,
        .rc = rc == RC_FULL ? RC_UNAVAILABLE : rc,
        .hint_ms = rc == RC_FULL ? LIMIT_RETRY_AFTER_MS : hint_ms,
    };
    if (detail != NULL)
        answer.detail = slice_string(detail);
    watchers_result(&a->router->watchers, a->watcher, &answer);
}

static void on_members(struct asking *a, const struct msg_members *request)
{
    struct msg_members_page answer = {0};
    enum rc rc;
    struct shard *shard = requests_serving_conv(a->router, request->shard, request->conv, &rc);
    buf_clear(a->router->answer);
    if (shard != NULL && request->limit >= 1 && request->limit <= LIMIT_MEMBERS_PAGE_MAX)
        check_read(a->router, shard,
                   machine_members(shard->machine, request, &answer, a->router->answer));
    else
        answer.rc = shard != NULL ? RC_BAD_REQUEST : rc;
    answer.req = request->req;
    watchers_answer(&a->router->watchers, a->watcher, &msg_members_page_desc, &answer);
}

static void on_summary(struct asking *a, const struct msg_summary *request)
{
    struct msg_summaries answer = {0};
    enum rc rc;
    struct shard *shard = requests_serving(a->router, request->shard, &rc);
    buf_clear(a->router->answer);
    if (shard != NULL)
        check_read(a->router, shard,
                   machine_summary(shard->machine, request, &answer, a->router->answer));
    else
        answer.rc = rc;
    answer.req = request->req;
    watchers_answer(&a->router->watchers, a->watcher, &msg_summaries_desc, &answer);
}

static void on_readers(struct asking *a, const struct msg_readers *request)
{
    struct msg_readers_page answer = {0};
    enum rc rc;
    struct shard *shard = requests_serving_conv(a->router, request->shard, request->conv, &rc);
    buf_clear(a->router->answer);
    if (shard != NULL)
        check_read(a->router, shard,
                   machine_readers(shard->machine, request, &answer, a->router->answer));
    else
        answer.rc = rc;
    answer.req = request->req;
    watchers_answer(&a->router->watchers, a->watcher, &msg_readers_page_desc, &answer);
}

static void on_untold(struct asking *a, const struct msg_untold *request)
{
    struct msg_untold_convs answer = {.req = request->req};
    enum rc rc;
    struct shard *shard = requests_serving(a->router, request->shard, &rc);
    bool is_all = true;
    buf_clear(a->router->answer);
    if (shard != NULL) {
        check_read(a->router, shard,
                   machine_owed_to(shard->machine, request->user, a->router->answer, &is_all));
        answer.rc = is_all ? RC_OK : RC_UNAVAILABLE;
        answer.convs = buf_slice(a->router->answer);
    } else {
        answer.rc = rc;
    }
    watchers_answer(&a->router->watchers, a->watcher, &msg_untold_convs_desc, &answer);
}

static void on_status_request(struct asking *a, const struct msg_status_request *request)
{
    struct router *router = a->router;
    buf_clear(router->answer);
    report_write(router, router->answer);
    struct msg_status_reply answer = {.req = request->req, .json = buf_slice(router->answer)};
    watchers_answer(&router->watchers, a->watcher, &msg_status_reply_desc, &answer);
}

static void on_join(struct asking *a, const struct msg_join *request)
{
    control_on_join(a->router, a->watcher, request);
}

static void on_operate(struct asking *a, const struct msg_operate *request)
{
    control_on_operate(a->router, a->watcher, request);
}

/* Decode the next message as the named type and handle it. */
#define DECODED(x, X, handled)                                                                     \
    case MSG_##X: {                                                                                \
        struct msg_##x message;                                                                    \
        if (record_decode(r, &msg_##x##_desc, &message) != RC_OK)                                  \
            return RC_CORRUPT;                                                                     \
        handled;                                                                                   \
        return RC_OK;                                                                              \
    }
#define CASE(x, X)      DECODED(x, X, on_##x(a, &message))
#define SOFT_CASE(x, X) DECODED(x, X, soft_on_##x(a->router, a->watcher, &message))

static enum rc on_message(struct asking *a, struct record_reader *r)
{
    uint32_t number;
    if (record_peek(r, &number) != RC_OK)
        return RC_CORRUPT;
    switch (number) {
        CASE(hello, HELLO)
        CASE(user_open, USER_OPEN)
        CASE(user_close, USER_CLOSE)
        CASE(user_kick, USER_KICK)
        CASE(watch, WATCH)
        CASE(fetch, FETCH)
        CASE(rewatch, REWATCH)
        CASE(unwatch, UNWATCH)
        CASE(submit, SUBMIT)
        CASE(members, MEMBERS)
        CASE(summary, SUMMARY)
        SOFT_CASE(typing, TYPING)
        SOFT_CASE(look, LOOK)
        SOFT_CASE(given, GIVEN)
        CASE(readers, READERS)
        CASE(untold, UNTOLD)
        SOFT_CASE(presence_query, PRESENCE_QUERY)
        SOFT_CASE(presence_watch, PRESENCE_WATCH)
        SOFT_CASE(user_status, USER_STATUS)
        CASE(status_request, STATUS_REQUEST)
        CASE(join, JOIN)
        CASE(operate, OPERATE)
    default:
        return record_skip(r); /* Of a newer version: not ours to judge. */
    }
}

/* ---- What other routers say ---- */

static void on_raft(struct asking *a, const struct msg_raft *message)
{
    replicas_on_raft(a->router, slice_string(a->peer->id), message);
}

static void on_router_beat(struct asking *a, const struct msg_router_beat *message)
{
    router_peers_on_beat(a->router, a->peer, message);
}

static void on_table(struct asking *a, const struct msg_table *message)
{
    control_on_table(a->router, message);
}

static void on_replica_prepare(struct asking *a, const struct msg_replica_prepare *message)
{
    replicas_on_prepare(a->router, a->peer, message);
}

static void on_replica_prepared(struct asking *a, const struct msg_replica_prepared *message)
{
    moves_on_prepared(a->router, a->peer, message);
}

static void on_replica_gone(struct asking *a, const struct msg_replica_gone *message)
{
    moves_on_gone(a->router, a->peer, message);
}

static void on_replica_drop(struct asking *a, const struct msg_replica_drop *message)
{
    replicas_on_drop(a->router, message);
}

static void on_chunk(struct asking *a, const struct msg_chunk *message)
{
    replicas_on_chunk(a->router, a->peer, message);
}

static void on_chunk_ack(struct asking *a, const struct msg_chunk_ack *message)
{
    replicas_on_ack(a->router, message);
}

static void on_joined(struct asking *a, const struct msg_joined *message)
{
    (void)a; /* The list that follows says it better. */
    (void)message;
}

static void on_result(struct asking *a, const struct msg_result *message)
{
    owed_on_answer(a->router, message);
}

static enum rc on_peer_message(struct asking *a, struct record_reader *r)
{
    uint32_t number;
    if (record_peek(r, &number) != RC_OK)
        return RC_CORRUPT;
    switch (number) {
        CASE(raft, RAFT)
        CASE(router_beat, ROUTER_BEAT)
        CASE(table, TABLE)
        CASE(replica_prepare, REPLICA_PREPARE)
        CASE(replica_prepared, REPLICA_PREPARED)
        CASE(replica_gone, REPLICA_GONE)
        CASE(replica_drop, REPLICA_DROP)
        CASE(chunk, CHUNK)
        CASE(chunk_ack, CHUNK_ACK)
        CASE(joined, JOINED)
        CASE(result, RESULT)
    default:
        return on_message(a, r); /* What gateways ask, too. */
    }
}

void requests_on_packet(struct router *router, struct slice from, const struct packet *packet)
{
    if (!slice_equal(packet->cluster,
                     slice_of(router->options.cluster, sizeof(router->options.cluster)))) {
        metric_add(packets_bad_total, 1);
        return;
    }
    struct asking asking = {
        .router = router,
        .watcher = watchers_get(&router->watchers, from, packet->incarnation),
        .peer = router_peers_get(router, from),
    };
    if (asking.watcher == NULL) {
        metric_add(packets_bad_total, 1);
        return;
    }
    if (!asking.watcher->is_leased) /* What it follows before its first hello ends, too. */
        asking.watcher->heard_us = env_now_us(router->env);
    struct record_reader messages = packet->messages;
    while (!record_reader_at_end(&messages) && !router->is_failed) {
        enum rc rc = asking.peer != NULL ? on_peer_message(&asking, &messages)
                                         : on_message(&asking, &messages);
        if (rc != RC_OK) {
            metric_add(packets_bad_total, 1);
            return;
        }
    }
}
