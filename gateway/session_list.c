/* The `conversations` request: the user's list, then a summary of each conversation from its shard,
 * then everything in order of activity, of which one page is sent. One at a time for a session. */
#include "gateway/session.h"

#include "mesh/base/mem.h"

#include <stdlib.h>

/* A summary bears the last message, which may be large: so few in one request, and beyond
 * LIST_BYTES_MAX they are kept without it. A page is cut short at LIST_REPLY_BYTES, a longer list
 * at LIST_CONVS_MAX. */
#define LIST_CONVS_MAX     10000u
#define LIST_SUMMARY_COUNT 16u
#define LIST_BYTES_MAX     4194304u
#define LIST_REPLY_BYTES   1048576u
#define LIST_LIMIT_MAX     500u

struct list_conv {
    uint32_t shard;
    uint32_t at; /* In op->names. */
    uint32_t size;
};

struct list_item {
    uint64_t ts; /* Of the newest message. */
    uint32_t at; /* In op->items. */
    uint32_t size;
};

struct list_op {
    struct gateway *gateway;
    struct session *session; /* NULL: gone. */
    struct buf *names;
    struct buf *items; /* summary_item records. */
    struct list_conv *convs;
    struct list_item *found;
    uint32_t conv_count;
    uint32_t found_count;
    uint32_t pending; /* Requests in flight. */
    uint64_t limit;
    enum rc rc;        /* The first failure, */
    uint64_t retry_ms; /* and when to ask again. */
    struct buf *id;
    struct buf *after;
};

struct list_call {
    struct session_request base;
    struct list_op *op;
};

static struct slice id_of(const struct list_op *op)
{
    return op->id->size > 0 ? buf_slice(op->id) : (struct slice){0};
}

static void op_free(struct list_op *op)
{
    buf_unref(&op->names);
    buf_unref(&op->items);
    buf_unref(&op->id);
    buf_unref(&op->after);
    mem_free(op->convs);
    mem_free(op->found);
    mem_free(op);
}

static int by_shard(const void *a, const void *b)
{
    uint32_t x = ((const struct list_conv *)a)->shard;
    uint32_t y = ((const struct list_conv *)b)->shard;
    return x < y ? -1 : x > y;
}

static struct msg_summary_item item_of(const struct list_op *op, const struct list_item *place)
{
    struct msg_summary_item item;
    struct record_reader r = record_reader_of(slice_of(op->items->bytes + place->at, place->size));
    if (record_decode(&r, &msg_summary_item_desc, &item) != RC_OK)
        return (struct msg_summary_item){0}; /* Never: encoded by us. */
    return item;
}

/* Ties by id: answers of several routers come in any order, and pages must not. */
static int by_activity(const void *a, const void *b, void *context)
{
    const struct list_op *op = context;
    const struct list_item *x = a;
    const struct list_item *y = b;
    if (x->ts != y->ts)
        return x->ts > y->ts ? -1 : 1;
    struct slice first = item_of(op, x).conv, second = item_of(op, y).conv;
    uint32_t common = first.size < second.size ? first.size : second.size;
    int order = memcmp(first.base, second.base, common);
    return order != 0 ? order : first.size < second.size ? -1 : first.size > second.size;
}

/* Where the page begins; found_count where `after` is not in the list. */
static uint32_t first_of_page(const struct list_op *op)
{
    if (op->after->size == 0)
        return 0;
    for (uint32_t i = 0; i < op->found_count; i++)
        if (slice_equal(item_of(op, &op->found[i]).conv, buf_slice(op->after)))
            return i + 1;
    return op->found_count;
}

static void reply(struct list_op *op)
{
    struct session *session = op->session;
    struct buf *text = op->gateway->text;
    if (op->rc != RC_OK) {
        session_put_error(session, id_of(op), op->rc, NULL, op->retry_ms);
        return;
    }
    if (op->found_count > 0)
        qsort_r(op->found, op->found_count, sizeof(*op->found), by_activity, op);
    uint32_t first = first_of_page(op);
    uint32_t at = first;
    buf_clear(text);
    client_put_conversations_begin(text, id_of(op));
    while (at < op->found_count && at - first < op->limit && text->size < LIST_REPLY_BYTES) {
        struct msg_summary_item item = item_of(op, &op->found[at]);
        client_put_conversations_item(text, &item, at == first);
        at++;
    }
    client_put_conversations_end(text, at < op->found_count);
    session_put(session);
}

static void finish_if_done(struct list_op *op)
{
    if (op->pending > 0)
        return;
    if (op->session != NULL) {
        op->session->is_listing = false;
        reply(op);
    }
    op_free(op);
}

/* The answer to one of the op's requests is there. */
static struct list_op *op_done(struct request *request)
{
    struct list_call *call = (struct list_call *)request;
    struct list_op *op = call->op;
    if (session_request_done(&call->base) == NULL)
        op->session = NULL;
    op->pending--;
    return op;
}

static struct list_call *call_new(struct list_op *op,
                                  void (*on_done)(struct gateway *, struct request *, enum rc,
                                                  const void *))
{
    struct list_call *call = mem_new(struct list_call);
    call->op = op;
    call->base.request.on_done = on_done;
    call->base.request.may_wait = true;
    call->base.request.repeat = REPEAT_FREELY;
    return call;
}

static void op_fail(struct list_op *op, const struct request *request, enum rc rc)
{
    op->rc = rc;
    op->retry_ms = routers_retry_ms(op->gateway, request->shard);
}

static void call_sent(struct list_op *op, struct list_call *call, enum rc rc)
{
    if (rc == RC_OK) {
        session_request_add(op->session, &call->base);
        op->pending++;
        return;
    }
    op_fail(op, &call->base.request, rc);
    mem_free(call);
}

/* ---- Summaries ---- */

static void on_summaries(struct gateway *gateway, struct request *request, enum rc rc,
                         const void *data)
{
    (void)gateway;
    struct list_op *op = op_done(request);
    if (rc != RC_OK) {
        op_fail(op, request, rc);
        finish_if_done(op);
        return;
    }
    struct record_reader r = record_reader_of(((const struct msg_summaries *)data)->items);
    struct msg_summary_item item;
    while (op->found_count < op->conv_count && !record_reader_at_end(&r) &&
           record_decode(&r, &msg_summary_item_desc, &item) == RC_OK) {
        struct msg_entry last = {0};
        struct record_reader lr = record_reader_of(item.last);
        if (item.last.size == 0 || record_decode(&lr, &msg_entry_desc, &last) != RC_OK ||
            op->items->size + item.last.size > LIST_BYTES_MAX)
            item.last = (struct slice){0};
        size_t at = op->items->size;
        record_encode(op->items, &msg_summary_item_desc, &item);
        op->found[op->found_count++] = (struct list_item){
            .ts = last.ts, .at = (uint32_t)at, .size = (uint32_t)(op->items->size - at)};
    }
    finish_if_done(op);
}

static void ask_summary(struct list_op *op, const struct list_conv *convs, uint32_t count)
{
    struct list_call *call = call_new(op, on_summaries);
    struct request *request = &call->base.request;
    request->id = calls_next_id(op->gateway);
    request->shard = convs[0].shard;
    request->answer_number = MSG_SUMMARIES;
    buf_clear(op->gateway->record);
    for (uint32_t i = 0; i < count; i++)
        record_put_slice(op->gateway->record,
                         slice_of(op->names->bytes + convs[i].at, convs[i].size));
    struct msg_summary message = {.req = request->id,
                                  .shard = request->shard,
                                  .user = session_user(op->session),
                                  .convs = buf_slice(op->gateway->record)};
    call_sent(op, call, calls_send(op->gateway, request, &msg_summary_desc, &message));
}

static void ask_summaries(struct list_op *op)
{
    if (op->conv_count > 0)
        qsort(op->convs, op->conv_count, sizeof(*op->convs), by_shard);
    op->found = mem_zero((op->conv_count + 1) * sizeof(*op->found));
    for (uint32_t at = 0; at < op->conv_count && op->rc == RC_OK;) {
        uint32_t count = 1;
        while (at + count < op->conv_count && count < LIST_SUMMARY_COUNT &&
               op->convs[at + count].shard == op->convs[at].shard)
            count++;
        ask_summary(op, &op->convs[at], count);
        at += count;
    }
}

/* ---- The list ---- */

static void add_conv(struct list_op *op, struct slice conv)
{
    uint32_t shard;
    if (op->conv_count >= LIST_CONVS_MAX || routers_conv_shard(op->gateway, conv, &shard) != RC_OK)
        return;
    if ((op->conv_count & (op->conv_count - 1)) == 0) /* Doubled at each power of two. */
        op->convs = mem_resize(op->convs, (op->conv_count + 1) * 2 * sizeof(*op->convs));
    op->convs[op->conv_count++] =
        (struct list_conv){.shard = shard, .at = (uint32_t)op->names->size, .size = conv.size};
    buf_append_slice(op->names, conv);
}

static void on_page(struct gateway *gateway, struct request *request, enum rc rc, const void *data);

static void ask_page(struct list_op *op, struct slice after)
{
    struct list_call *call = call_new(op, on_page);
    call_sent(
        op, call,
        users_call_open(op->gateway, &call->base.request, session_user(op->session), after, NULL));
}

static void on_page(struct gateway *gateway, struct request *request, enum rc rc, const void *data)
{
    (void)gateway;
    struct list_op *op = op_done(request);
    const struct msg_user_convs *page = data;
    if (rc != RC_OK) {
        op_fail(op, request, rc);
    } else if (op->session != NULL) {
        struct record_reader r = record_reader_of(page->convs);
        struct slice conv = {0};
        while (record_get_slice(&r, &conv) == RC_OK)
            add_conv(op, conv);
        if (page->more != 0 && conv.size > 0 && op->conv_count < LIST_CONVS_MAX)
            ask_page(op, conv);
        else
            ask_summaries(op);
    }
    finish_if_done(op);
}

void session_list_conversations(struct session *session, const struct client_request *request)
{
    if (session->is_listing) {
        session_put_error(session, request->id, RC_RATE_LIMITED, "one list at a time",
                          LIMIT_BEAT_MS);
        return;
    }
    struct list_op *op = mem_new(struct list_op);
    op->gateway = session->gateway;
    op->session = session;
    op->names = buf_new(0);
    op->items = buf_new(0);
    op->id = buf_new(0);
    op->after = buf_new(0);
    buf_append_slice(op->id, request->id);
    buf_append_slice(op->after, request->after_name);
    op->limit =
        request->has_limit && request->limit > 0 ? request->limit : LIMIT_CONVERSATIONS_PAGE;
    if (op->limit > LIST_LIMIT_MAX)
        op->limit = LIST_LIMIT_MAX;
    session->is_listing = true;
    ask_page(op, (struct slice){0});
    finish_if_done(op);
}
