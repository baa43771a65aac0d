/* A user's list, then a summary of each conversation from its shard, then everything in order of
 * activity, of which one page is told. */
#include "gateway/conv_list.h"

#include "mesh/base/mem.h"

#include <stdlib.h>

/* A summary bears the last message, which may be large: so few in one request, and beyond
 * LIST_BYTES_MAX they are kept without it. A page is cut short at LIST_REPLY_BYTES, a longer list
 * at LIST_CONVS_MAX. */
#define LIST_CONVS_MAX     10000u
#define LIST_SUMMARY_COUNT 16u
#define LIST_BYTES_MAX     4194304u
#define LIST_REPLY_BYTES   1048576u

struct list_conv {
    uint32_t shard;
    uint32_t at; /* In list->names. */
    uint32_t size;
};

struct list_item {
    uint64_t ts; /* Of the newest entry. */
    uint32_t at; /* In list->items. */
    uint32_t size;
};

struct conv_list {
    struct gateway *gateway;
    void (*on_done)(void *context, struct conv_list *list, enum rc rc, uint64_t retry_ms);
    void *context;
    bool is_abandoned;
    struct buf *user;
    struct buf *after;
    struct buf *names;
    struct buf *items; /* summary_item records. */
    struct list_conv *convs;
    struct list_item *found;
    uint32_t conv_count;
    uint32_t added_count; /* The first of convs, by conv_list_add(). */
    uint32_t found_count;
    uint32_t first;   /* Of the page, in found. */
    uint32_t pending; /* Requests in flight, and 1 while it begins. */
    uint64_t limit;
    enum rc rc;        /* The first failure, */
    uint64_t retry_ms; /* and when to ask again. */
};

struct list_call {
    struct request request;
    struct conv_list *list;
};

static void list_free(struct conv_list *list)
{
    buf_unref(&list->user);
    buf_unref(&list->after);
    buf_unref(&list->names);
    buf_unref(&list->items);
    mem_free(list->convs);
    mem_free(list->found);
    mem_free(list);
}

static int by_shard(const void *a, const void *b)
{
    uint32_t x = ((const struct list_conv *)a)->shard;
    uint32_t y = ((const struct list_conv *)b)->shard;
    return x < y ? -1 : x > y;
}

static struct msg_summary_item item_of(const struct conv_list *list, const struct list_item *place)
{
    struct msg_summary_item item;
    struct record_reader r =
        record_reader_of(slice_of(list->items->bytes + place->at, place->size));
    if (record_decode(&r, &msg_summary_item_desc, &item) != RC_OK)
        return (struct msg_summary_item){0}; /* Never: encoded by us. */
    return item;
}

/* Ties by id: answers of several routers come in any order, and pages must not. */
static int by_activity(const void *a, const void *b, void *context)
{
    const struct conv_list *list = context;
    const struct list_item *x = a;
    const struct list_item *y = b;
    if (x->ts != y->ts)
        return x->ts > y->ts ? -1 : 1;
    struct slice first = item_of(list, x).conv, second = item_of(list, y).conv;
    uint32_t common = first.size < second.size ? first.size : second.size;
    int order = memcmp(first.base, second.base, common);
    return order != 0 ? order : first.size < second.size ? -1 : first.size > second.size;
}

/* Put all in order, and find where the page begins. An `after` that is not there must be told: an
 * empty page would say that all has been seen. */
static enum rc find_page(struct conv_list *list)
{
    if (list->found_count > 0)
        qsort_r(list->found, list->found_count, sizeof(*list->found), by_activity, list);
    list->first = 0;
    if (list->after->size == 0)
        return RC_OK;
    for (uint32_t i = 0; i < list->found_count; i++) {
        if (!slice_equal(item_of(list, &list->found[i]).conv, buf_slice(list->after)))
            continue;
        list->first = i + 1;
        return RC_OK;
    }
    return RC_NOT_FOUND;
}

const char *conv_list_reason(enum rc rc)
{
    return rc == RC_NOT_FOUND ? "after is not in the list, or not any more: begin anew without it"
                              : NULL;
}

void conv_list_put(struct conv_list *list, struct slice id, struct buf *out)
{
    uint32_t first = list->first;
    uint32_t at = first;
    size_t begin = out->size;
    client_put_conversations_begin(out, id);
    while (at < list->found_count && at - first < list->limit &&
           out->size - begin < LIST_REPLY_BYTES) {
        struct msg_summary_item item = item_of(list, &list->found[at]);
        client_put_conversations_item(out, &item, at == first);
        at++;
    }
    client_put_conversations_end(out, at < list->found_count);
}

/* One of what it waits for is done. */
static void step_done(struct conv_list *list)
{
    if (--list->pending > 0)
        return;
    if (!list->is_abandoned) {
        if (list->rc == RC_OK)
            list->rc = find_page(list);
        list->on_done(list->context, list, list->rc, list->retry_ms);
    }
    list_free(list);
}

static struct list_call *call_new(struct conv_list *list,
                                  void (*on_done)(struct gateway *, struct request *, enum rc,
                                                  const void *))
{
    struct list_call *call = mem_new(struct list_call);
    call->list = list;
    call->request.id = calls_next_id(list->gateway);
    call->request.on_done = on_done;
    call->request.may_wait = true;
    call->request.repeat = REPEAT_FREELY;
    return call;
}

static void list_fail(struct conv_list *list, uint32_t shard, enum rc rc)
{
    list->rc = rc;
    list->retry_ms = routers_retry_ms(list->gateway, shard);
}

static void send(struct list_call *call, const struct record_desc *desc, const void *message)
{
    struct conv_list *list = call->list;
    enum rc rc = calls_send(list->gateway, &call->request, desc, message);
    if (rc == RC_OK) {
        list->pending++;
        return;
    }
    list_fail(list, call->request.shard, rc);
    mem_free(call);
}

/* ---- Summaries ---- */

static void on_summaries(struct gateway *gateway, struct request *request, enum rc rc,
                         const void *data)
{
    (void)gateway;
    struct conv_list *list = ((struct list_call *)request)->list;
    if (rc != RC_OK) {
        list_fail(list, request->shard, rc);
        step_done(list);
        return;
    }
    struct record_reader r = record_reader_of(((const struct msg_summaries *)data)->items);
    struct msg_summary_item item;
    while (list->found_count < list->conv_count && !record_reader_at_end(&r) &&
           record_decode(&r, &msg_summary_item_desc, &item) == RC_OK) {
        struct msg_entry last = {0};
        struct record_reader lr = record_reader_of(item.last);
        if (item.last.size == 0 || record_decode(&lr, &msg_entry_desc, &last) != RC_OK ||
            list->items->size + item.last.size > LIST_BYTES_MAX)
            item.last = (struct slice){0};
        size_t at = list->items->size;
        record_encode(list->items, &msg_summary_item_desc, &item);
        uint64_t ts = item.last_ts != 0 ? item.last_ts : last.ts; /* 0: from an older router. */
        list->found[list->found_count++] = (struct list_item){
            .ts = ts, .at = (uint32_t)at, .size = (uint32_t)(list->items->size - at)};
    }
    step_done(list);
}

static void ask_summary(struct conv_list *list, const struct list_conv *convs, uint32_t count)
{
    struct list_call *call = call_new(list, on_summaries);
    struct request *request = &call->request;
    request->shard = convs[0].shard;
    request->answer_number = MSG_SUMMARIES;
    buf_clear(list->gateway->record);
    for (uint32_t i = 0; i < count; i++)
        record_put_slice(list->gateway->record,
                         slice_of(list->names->bytes + convs[i].at, convs[i].size));
    struct msg_summary message = {.req = request->id,
                                  .shard = request->shard,
                                  .user = buf_slice(list->user),
                                  .convs = buf_slice(list->gateway->record)};
    send(call, &msg_summary_desc, &message);
}

static void ask_summaries(struct conv_list *list)
{
    if (list->conv_count > 0)
        qsort(list->convs, list->conv_count, sizeof(*list->convs), by_shard);
    list->found = mem_zero((list->conv_count + 1) * sizeof(*list->found));
    for (uint32_t at = 0; at < list->conv_count && list->rc == RC_OK;) {
        uint32_t count = 1;
        while (at + count < list->conv_count && count < LIST_SUMMARY_COUNT &&
               list->convs[at + count].shard == list->convs[at].shard)
            count++;
        ask_summary(list, &list->convs[at], count);
        at += count;
    }
}

/* ---- The list ---- */

static bool is_added(const struct conv_list *list, struct slice conv)
{
    for (uint32_t i = 0; i < list->added_count; i++) {
        const struct list_conv *added = &list->convs[i];
        if (slice_equal(slice_of(list->names->bytes + added->at, added->size), conv))
            return true;
    }
    return false;
}

static void add_conv(struct conv_list *list, struct slice conv)
{
    uint32_t shard;
    if (list->conv_count >= LIST_CONVS_MAX || is_added(list, conv) ||
        routers_conv_shard(list->gateway, conv, &shard) != RC_OK)
        return;
    if ((list->conv_count & (list->conv_count - 1)) == 0) /* Doubled at each power of two. */
        list->convs = mem_resize(list->convs, (list->conv_count + 1) * 2 * sizeof(*list->convs));
    list->convs[list->conv_count++] =
        (struct list_conv){.shard = shard, .at = (uint32_t)list->names->size, .size = conv.size};
    buf_append_slice(list->names, conv);
}

static void on_page(struct gateway *gateway, struct request *request, enum rc rc, const void *data);

/* Only asked for, not followed: whose list it is need not be here. */
static void ask_page(struct conv_list *list, struct slice after)
{
    uint32_t shard;
    enum rc rc = routers_user_shard(list->gateway, buf_slice(list->user), &shard);
    if (rc != RC_OK) {
        list->rc = rc;
        list->retry_ms = LIMIT_RETRY_AFTER_MS;
        return;
    }
    struct list_call *call = call_new(list, on_page);
    call->request.shard = shard;
    call->request.answer_number = MSG_USER_CONVS;
    struct msg_user_open message = {.req = call->request.id,
                                    .shard = shard,
                                    .user = buf_slice(list->user),
                                    .after = after,
                                    .limit = LIMIT_USER_CONVS_PAGE,
                                    .peek = 1};
    send(call, &msg_user_open_desc, &message);
}

static void on_page(struct gateway *gateway, struct request *request, enum rc rc, const void *data)
{
    (void)gateway;
    struct conv_list *list = ((struct list_call *)request)->list;
    const struct msg_user_convs *page = data;
    if (rc != RC_OK) {
        list_fail(list, request->shard, rc);
    } else if (!list->is_abandoned) {
        struct record_reader r = record_reader_of(page->convs);
        struct slice conv = {0};
        while (record_get_slice(&r, &conv) == RC_OK)
            add_conv(list, conv);
        if (page->more != 0 && conv.size > 0 && list->conv_count < LIST_CONVS_MAX)
            ask_page(list, conv);
        else
            ask_summaries(list);
    }
    step_done(list);
}

/* ---- Life ---- */

static struct buf *copy(struct slice bytes)
{
    struct buf *b = buf_new(bytes.size);
    buf_append_slice(b, bytes);
    return b;
}

struct conv_list *conv_list_new(struct gateway *gateway, struct slice user, struct slice after,
                                uint64_t limit,
                                void (*on_done)(void *context, struct conv_list *list, enum rc rc,
                                                uint64_t retry_ms),
                                void *context)
{
    struct conv_list *list = mem_new(struct conv_list);
    list->gateway = gateway;
    list->on_done = on_done;
    list->context = context;
    list->user = copy(user);
    list->after = copy(after);
    list->names = buf_new(0);
    list->items = buf_new(0);
    list->limit = limit == 0 ? LIMIT_CONVERSATIONS_PAGE : limit;
    if (list->limit > CONV_LIST_LIMIT_MAX)
        list->limit = CONV_LIST_LIMIT_MAX;
    list->pending = 1;
    return list;
}

void conv_list_add(struct conv_list *list, struct slice conv)
{
    add_conv(list, conv);
    list->added_count = list->conv_count;
}

void conv_list_start(struct conv_list *list)
{
    ask_page(list, (struct slice){0});
    step_done(list);
}

void conv_list_abandon(struct conv_list **list)
{
    struct conv_list *taken = *list;
    *list = NULL;
    if (taken != NULL)
        taken->is_abandoned = true; /* Freed with its last request. */
}
