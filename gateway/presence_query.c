#include "gateway/presence_query.h"

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
    struct msg_presence_item *item;
    uint32_t shard;
    enum asked_state state;
};

struct presence_query {
    struct gateway *gateway;
    void (*on_done)(void *context, enum rc rc, const struct msg_presence_item *items,
                    uint32_t count); /* NULL: nobody waits. */
    void *context;
    struct list node; /* On the gateway's, by deadline. */
    uint64_t deadline_us;
    struct buf *users;
    struct msg_presence_item *items; /* In the order asked; the names are those in `users`. */
    struct asked *asked;             /* By shard. */
    uint32_t count;
    uint32_t missing; /* How many are not answered. */
    uint32_t pending; /* Requests in flight. */
};

struct query_call {
    struct request request;
    struct presence_query *query;
    uint32_t first; /* In query->asked. */
    uint32_t count;
};

/* ---- The end ---- */

/* Nobody waits for it any more; it goes with the last answer on its way. */
static void leave(struct presence_query *query)
{
    query->on_done = NULL;
    list_remove(&query->node);
    if (query->pending > 0)
        return;
    buf_unref(&query->users);
    mem_free(query->items);
    mem_free(query->asked);
    mem_free(query);
}

static void finish(struct presence_query *query, enum rc rc)
{
    query->on_done(query->context, rc, query->items, rc == RC_OK ? query->count : 0);
    leave(query);
}

void presence_query_cancel(struct presence_query **query)
{
    struct presence_query *taken = *query;
    *query = NULL;
    if (taken != NULL)
        leave(taken);
}

void presence_query_put(const struct msg_presence_item *items, uint32_t count, struct slice id,
                        struct buf *out)
{
    client_put_presence_list_begin(out, id);
    for (uint32_t i = 0; i < count; i++)
        client_put_presence_list_item(out, &items[i], i == 0);
    client_put_presence_list_end(out);
}

/* ---- Questions ---- */

static void set_state(const struct query_call *call, enum asked_state state)
{
    for (uint32_t i = call->first; i < call->first + call->count; i++)
        call->query->asked[i].state = state;
    call->query->gateway->presence.must_ask |= state == ASKED_NOT_YET;
}

/* RC_CORRUPT where the answer is not about whom was asked. */
static enum rc take(const struct query_call *call, const struct msg_presences *answer)
{
    struct record_reader r = record_reader_of(answer->items);
    for (uint32_t i = call->first; i < call->first + call->count; i++) {
        struct msg_presence_item *item = call->query->asked[i].item;
        struct msg_presence_item said;
        enum rc rc = record_decode(&r, &msg_presence_item_desc, &said);
        if (rc != RC_OK)
            return rc;
        if (!slice_equal(said.user, item->user))
            return RC_CORRUPT;
        item->status = presence_status_of(said.status);
        item->last_seen = said.last_seen;
    }
    return RC_OK;
}

static void on_presences(struct gateway *gateway, struct request *request, enum rc rc,
                         const void *answer)
{
    const struct query_call *call = (const struct query_call *)request;
    struct presence_query *query = call->query;
    query->pending--;
    if (query->on_done == NULL) {
        leave(query);
        return;
    }
    if (rc == RC_OK)
        rc = take(call, answer);
    set_state(call, rc == RC_OK ? ASKED_ANSWERED : ASKED_NOT_YET);
    gateway->retry_now |= rc == RC_NOT_LEADER; /* The next leader may be there already. */
    if (rc == RC_OK)
        query->missing -= call->count;
    if (query->missing == 0)
        finish(query, RC_OK);
}

static void ask(struct presence_query *query, uint32_t first, uint32_t count)
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
    for (uint32_t i = first; i < first + count; i++)
        record_put_slice(gateway->record, query->asked[i].item->user);
    struct msg_presence_query message = {
        .req = call->request.id, .shard = call->request.shard, .users = buf_slice(gateway->record)};
    enum rc rc = calls_send(gateway, &call->request, &msg_presence_query_desc, &message);
    set_state(call, rc == RC_OK ? ASKED_IN_FLIGHT : ASKED_NOT_YET);
    if (rc == RC_OK)
        query->pending++;
    else
        mem_free(call);
}

/* One question for each shard of which nobody was asked. */
static void ask_missing(struct presence_query *query)
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
    ask_missing(LIST_ENTRY(node, struct presence_query, node));
}

void presence_query_turn(struct gateway *gateway)
{
    struct presence_query *query;
    while ((query = LIST_FIRST(&gateway->presence.queries, struct presence_query, node)) != NULL &&
           gateway_now_us(gateway) >= query->deadline_us)
        finish(query, RC_TIMEOUT);
}

uint64_t presence_query_due_us(const struct gateway *gateway)
{
    const struct presence_query *query =
        LIST_FIRST(&gateway->presence.queries, struct presence_query, node);
    return query != NULL ? query->deadline_us : ENV_NEVER;
}

/* ---- The request ---- */

static int by_shard(const void *a, const void *b)
{
    uint32_t x = ((const struct asked *)a)->shard;
    uint32_t y = ((const struct asked *)b)->shard;
    return x < y ? -1 : x > y;
}

static uint32_t count_of(struct slice users)
{
    struct record_reader r = record_reader_of(users);
    struct slice user;
    uint32_t count = 0;
    while (record_get_slice(&r, &user) == RC_OK)
        count++;
    return count;
}

static void read_users(struct presence_query *query)
{
    struct record_reader r = record_reader_of(buf_slice(query->users));
    query->items = mem_zero(query->count * sizeof(*query->items));
    query->asked = mem_zero(query->count * sizeof(*query->asked));
    for (uint32_t i = 0; i < query->count; i++) {
        struct asked *asked = &query->asked[i];
        asked->item = &query->items[i];
        enum rc rc = record_get_slice(&r, &asked->item->user);
        CHECK(rc == RC_OK); /* It was counted. */
        rc = routers_user_shard(query->gateway, asked->item->user, &asked->shard);
        CHECK(rc == RC_OK); /* Routers are known. */
    }
    qsort(query->asked, query->count, sizeof(*query->asked), by_shard);
}

enum rc presence_query(struct gateway *gateway, struct slice users,
                       void (*on_done)(void *context, enum rc rc,
                                       const struct msg_presence_item *items, uint32_t count),
                       void *context, struct presence_query **ret_query)
{
    if (!routers_are_known(gateway))
        return RC_UNAVAILABLE;
    struct presence_query *query = mem_new(struct presence_query);
    query->gateway = gateway;
    query->on_done = on_done;
    query->context = context;
    query->deadline_us = gateway_now_us(gateway) + gateway->options.request_ms * UINT64_C(1000);
    list_append(&gateway->presence.queries, &query->node);
    query->users = buf_new(users.size);
    buf_append_slice(query->users, users);
    query->count = query->missing = count_of(users);
    CHECK(query->count > 0);
    read_users(query);
    ask_missing(query);
    *ret_query = query;
    return RC_OK;
}
