/* Who is online: asked of the shards of all users named, and told in the order asked. */
#include "gateway/api_private.h"
#include "gateway/presence.h"

#include "mesh/base/mem.h"
#include "mesh/wire/key.h"

/* One user. What is not heard of him stays offline. */
struct asked {
    uint32_t at; /* In names. */
    uint32_t size;
    uint32_t shard;
    uint32_t status; /* enum presence_status. */
    uint64_t last_seen;
};

struct inquiry {
    struct buf *names;
    uint32_t count;
    bool is_one; /* Told without a list around. */
    struct asked items[];
};

static void inquiry_free(void *work)
{
    struct inquiry *inquiry = work;
    buf_unref(&inquiry->names);
    mem_free(inquiry);
}

static struct slice name_of(const struct inquiry *inquiry, const struct asked *asked)
{
    return slice_of(inquiry->names->bytes + asked->at, asked->size);
}

static void tell(struct api_call *call)
{
    const struct inquiry *inquiry = call->work;
    struct buf *out = call->text;
    if (!inquiry->is_one)
        client_put_presence_list_begin(out, (struct slice){0});
    for (uint32_t i = 0; i < inquiry->count; i++) {
        const struct asked *asked = &inquiry->items[i];
        struct msg_presence_item item = {.user = name_of(inquiry, asked),
                                         .status = asked->status,
                                         .last_seen = asked->last_seen};
        client_put_presence_list_item(out, &item, i == 0);
    }
    if (!inquiry->is_one)
        client_put_presence_list_end(out);
    api_answer(call, 200);
}

/* A shard answers in the order asked: that of the items. */
static void on_presences(struct api_call *call, struct api_request *request, enum rc rc,
                         const void *answer)
{
    struct inquiry *inquiry = call->work;
    if (rc != RC_OK) {
        api_fail_request(call, request, rc, answer);
        return;
    }
    struct record_reader r = record_reader_of(((const struct msg_presences *)answer)->items);
    struct msg_presence_item item;
    for (uint32_t i = 0; i < inquiry->count; i++) {
        struct asked *asked = &inquiry->items[i];
        if (asked->shard != request->request.shard)
            continue;
        if (record_decode(&r, &msg_presence_item_desc, &item) != RC_OK ||
            !slice_equal(item.user, name_of(inquiry, asked)))
            break; /* A router of another version. */
        asked->status = presence_status_of(item.status);
        asked->last_seen = item.last_seen;
    }
    if (call->pending == 1) /* This one was the last. */
        tell(call);
}

/* All of the shard of items[first]. */
static void ask_shard(struct api_call *call, uint32_t first)
{
    const struct inquiry *inquiry = call->work;
    struct api_request *request = api_request_new(call, MSG_PRESENCES, REPEAT_FREELY, on_presences);
    struct buf *names = call->gateway->record;
    request->request.shard = inquiry->items[first].shard;
    buf_clear(names);
    for (uint32_t i = first; i < inquiry->count; i++)
        if (inquiry->items[i].shard == request->request.shard)
            record_put_slice(names, name_of(inquiry, &inquiry->items[i]));
    struct msg_presence_query message = {
        .req = request->request.id, .shard = request->request.shard, .users = buf_slice(names)};
    api_request_send(request, &msg_presence_query_desc, &message);
}

static bool is_first_of_shard(const struct inquiry *inquiry, uint32_t index)
{
    for (uint32_t i = 0; i < index; i++)
        if (inquiry->items[i].shard == inquiry->items[index].shard)
            return false;
    return true;
}

static void ask_all(struct api_call *call)
{
    struct inquiry *inquiry = call->work;
    for (uint32_t i = 0; i < inquiry->count; i++) {
        struct asked *asked = &inquiry->items[i];
        enum rc rc = routers_user_shard(call->gateway, name_of(inquiry, asked), &asked->shard);
        if (rc != RC_OK) {
            api_fail(call, rc, NULL, LIMIT_RETRY_AFTER_MS);
            return;
        }
    }
    for (uint32_t i = 0; i < inquiry->count && !call->is_answered; i++)
        if (is_first_of_shard(inquiry, i))
            ask_shard(call, i);
}

static struct inquiry *inquiry_new(struct api_call *call, uint32_t count)
{
    struct inquiry *inquiry = mem_zero(sizeof(*inquiry) + count * sizeof(inquiry->items[0]));
    inquiry->names = buf_new(count * 16);
    call->work = inquiry;
    call->free_work = inquiry_free;
    return inquiry;
}

static void add_name(struct inquiry *inquiry, struct slice name)
{
    struct asked *asked = &inquiry->items[inquiry->count++];
    asked->at = (uint32_t)inquiry->names->size;
    asked->size = name.size;
    buf_append_slice(inquiry->names, name);
}

void api_presence(struct api_call *call, struct slice body)
{
    struct client_request request;
    struct slice user;
    if (!api_read_body(call, body, CLIENT_PRESENCE, &request))
        return;
    struct inquiry *inquiry = inquiry_new(call, request.user_count);
    for (uint32_t at = 0; client_users_next(&call->gateway->decoder, &request, &at, &user);)
        add_name(inquiry, user);
    ask_all(call);
}

void api_presence_of(struct api_call *call, struct slice body)
{
    (void)body;
    struct inquiry *inquiry = inquiry_new(call, 1);
    inquiry->is_one = true;
    add_name(inquiry, api_name(&call->user));
    ask_all(call);
}
