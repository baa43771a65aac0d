/* The `presence` request: one question to each shard that a named user is of, and one answer when
 * all have come.
 *
 * Questions do not wait in line with sends (calls.h): a new leader does not know who is online for
 * as long as its grace lasts, and refuses to say, while it takes sends at once. So a question that
 * is refused, or finds no leader, is asked again at the next retry, until request_ms are over. */
#include "gateway/presence.h"

#include "gateway/session.h"
#include "mesh/base/check.h"
#include "mesh/base/mem.h"

#include <stdlib.h>

enum asked_state {
    ASKED_NOT_YET,
    ASKED_IN_FLIGHT,
    ASKED_ANSWERED,
};

/* One user asked about. Those of one shard are always in the same state. */
struct asked {
    uint32_t shard;
    uint32_t at; /* In query->names, so also his place in the order asked. */
    uint32_t size;
    uint8_t state;  /* enum asked_state. */
    uint8_t status; /* enum presence_status. */
    uint64_t last_seen;
};

struct query {
    struct gateway *gateway;
    struct session *session; /* NULL: answered, or gone. */
    struct list in_session;
    struct list node; /* On the gateway's, by deadline. */
    uint64_t deadline_us;
    struct buf *id;
    struct buf *names;
    struct asked *asked; /* By shard, until all is there. */
    uint32_t count;
    uint32_t missing; /* How many are not answered. */
    uint32_t pending; /* Requests in flight. */
};

struct query_call {
    struct request request;
    struct query *query;
    uint32_t first; /* In query->asked. */
    uint32_t count;
};

static struct slice name_of(const struct query *query, const struct asked *asked)
{
    return slice_of(query->names->bytes + asked->at, asked->size);
}

static int by_shard(const void *a, const void *b)
{
    uint32_t x = ((const struct asked *)a)->shard;
    uint32_t y = ((const struct asked *)b)->shard;
    return x < y ? -1 : x > y;
}

static int by_place(const void *a, const void *b)
{
    uint32_t x = ((const struct asked *)a)->at;
    uint32_t y = ((const struct asked *)b)->at;
    return x < y ? -1 : x > y;
}

/* ---- The end ---- */

/* Nobody waits for it any more; it goes with the last answer on its way. */
static void leave(struct query *query)
{
    if (query->session != NULL)
        query->session->query_count--;
    query->session = NULL;
    list_remove(&query->in_session);
    list_remove(&query->node);
    if (query->pending > 0)
        return;
    buf_unref(&query->id);
    buf_unref(&query->names);
    mem_free(query->asked);
    mem_free(query);
}

static struct slice id_of(const struct query *query)
{
    return query->id->size > 0 ? buf_slice(query->id) : (struct slice){0};
}

static void reply(struct query *query)
{
    struct session *session = query->session;
    struct buf *text = session->gateway->text;
    qsort(query->asked, query->count, sizeof(*query->asked), by_place);
    buf_clear(text);
    client_put_presence_list_begin(text, id_of(query));
    for (uint32_t i = 0; i < query->count; i++) {
        const struct asked *asked = &query->asked[i];
        struct msg_presence_item item = {
            .user = name_of(query, asked), .status = asked->status, .last_seen = asked->last_seen};
        client_put_presence_list_item(text, &item, i == 0);
    }
    client_put_presence_list_end(text);
    leave(query); /* First, for the session may be closed by what it is told. */
    session_put(session);
}

static void refuse(struct query *query)
{
    struct session *session = query->session;
    buf_clear(session->gateway->text);
    client_put_error(session->gateway->text, id_of(query), RC_TIMEOUT, NULL, LIMIT_RETRY_AFTER_MS);
    leave(query);
    session_put(session);
}

void presence_query_forsake(struct session *session)
{
    LIST_EACH(node, &session->queries)
    leave(LIST_ENTRY(node, struct query, in_session));
}

/* ---- Questions ---- */

static void set_state(struct query *query, uint32_t first, uint32_t count, enum asked_state state)
{
    for (uint32_t i = first; i < first + count; i++)
        query->asked[i].state = (uint8_t)state;
    query->gateway->presence.must_ask |= state == ASKED_NOT_YET;
}

/* RC_CORRUPT where the answer is not about whom was asked. */
static enum rc take(const struct query_call *call, const struct msg_presences *answer)
{
    struct record_reader r = record_reader_of(answer->items);
    for (uint32_t i = 0; i < call->count; i++) {
        struct asked *asked = &call->query->asked[call->first + i];
        struct msg_presence_item item;
        enum rc rc = record_decode(&r, &msg_presence_item_desc, &item);
        if (rc != RC_OK)
            return rc;
        if (!slice_equal(item.user, name_of(call->query, asked)))
            return RC_CORRUPT;
        asked->status = presence_status_of(item.status);
        asked->last_seen = item.last_seen;
    }
    return RC_OK;
}

static void on_presences(struct gateway *gateway, struct request *request, enum rc rc,
                         const void *answer)
{
    const struct query_call *call = (const struct query_call *)request;
    struct query *query = call->query;
    query->pending--;
    if (query->session == NULL) {
        leave(query);
        return;
    }
    if (rc == RC_OK)
        rc = take(call, answer);
    set_state(query, call->first, call->count, rc == RC_OK ? ASKED_ANSWERED : ASKED_NOT_YET);
    gateway->retry_now |= rc == RC_NOT_LEADER; /* The next leader may be there already. */
    if (rc == RC_OK)
        query->missing -= call->count;
    if (query->missing == 0)
        reply(query);
}

static void ask(struct query *query, uint32_t first, uint32_t count)
{
    struct gateway *gateway = query->gateway;
    struct query_call *call = mem_new(struct query_call);
    call->query = query;
    call->first = first;
    call->count = count;
    call->request.id = calls_next_id(gateway);
    call->request.shard = query->asked[first].shard;
    call->request.answer_number = MSG_PRESENCES;
    call->request.on_done = on_presences;
    buf_clear(gateway->record);
    for (uint32_t i = 0; i < count; i++)
        record_put_slice(gateway->record, name_of(query, &query->asked[first + i]));
    struct msg_presence_query message = {
        .req = call->request.id, .shard = call->request.shard, .users = buf_slice(gateway->record)};
    enum rc rc = calls_send(gateway, &call->request, &msg_presence_query_desc, &message);
    set_state(query, first, count, rc == RC_OK ? ASKED_IN_FLIGHT : ASKED_NOT_YET);
    if (rc == RC_OK)
        query->pending++;
    else
        mem_free(call);
}

/* One question for each shard of which nobody was asked. */
static void ask_missing(struct query *query)
{
    for (uint32_t at = 0; at < query->count;) {
        uint32_t count = 1;
        while (at + count < query->count &&
               query->asked[at + count].shard == query->asked[at].shard)
            count++;
        if (query->asked[at].state == ASKED_NOT_YET)
            ask(query, at, count);
        at += count;
    }
}

void presence_query_retry(struct gateway *gateway)
{
    if (!gateway->presence.must_ask)
        return;
    gateway->presence.must_ask = false; /* Until one is refused again. */
    LIST_EACH(node, &gateway->presence.queries)
    ask_missing(LIST_ENTRY(node, struct query, node));
}

void presence_query_turn(struct gateway *gateway)
{
    struct query *query;
    while ((query = LIST_FIRST(&gateway->presence.queries, struct query, node)) != NULL &&
           gateway_now_us(gateway) >= query->deadline_us)
        refuse(query);
}

uint64_t presence_query_due_us(const struct gateway *gateway)
{
    const struct query *query = LIST_FIRST(&gateway->presence.queries, struct query, node);
    return query != NULL ? query->deadline_us : ENV_NEVER;
}

/* ---- The request ---- */

static struct query *query_new(struct session *session, const struct client_request *request)
{
    struct gateway *gateway = session->gateway;
    struct query *query = mem_new(struct query);
    query->gateway = gateway;
    query->session = session;
    list_append(&session->queries, &query->in_session);
    session->query_count++;
    list_append(&gateway->presence.queries, &query->node);
    query->deadline_us = gateway_now_us(gateway) + gateway->options.request_ms * UINT64_C(1000);
    query->id = buf_new(0);
    buf_append_slice(query->id, request->id);
    query->names = buf_new(0);
    query->asked = mem_zero(request->user_count * sizeof(*query->asked));
    return query;
}

void presence_query(struct session *session, const struct client_request *request)
{
    struct gateway *gateway = session->gateway;
    struct slice user;
    if (session->query_count >= PRESENCE_QUERIES_MAX || !routers_are_known(gateway)) {
        bool is_known = routers_are_known(gateway);
        session_put_error(session, request->id, is_known ? RC_RATE_LIMITED : RC_UNAVAILABLE, NULL,
                          is_known ? LIMIT_BEAT_MS : LIMIT_RETRY_AFTER_MS);
        return;
    }
    struct query *query = query_new(session, request);
    for (uint32_t at = 0; client_users_next(&gateway->decoder, request, &at, &user);) {
        struct asked *asked = &query->asked[query->count++];
        asked->at = (uint32_t)query->names->size;
        asked->size = user.size;
        buf_append_slice(query->names, user);
        enum rc rc = routers_user_shard(gateway, user, &asked->shard);
        CHECK(rc == RC_OK); /* Routers are known. */
    }
    query->missing = query->count;
    qsort(query->asked, query->count, sizeof(*query->asked), by_shard);
    ask_missing(query);
}
