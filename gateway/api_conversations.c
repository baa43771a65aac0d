/* Conversations: made, shown, changed, ended. */
#include "gateway/api_private.h"
#include "gateway/direct.h"

#include "mesh/base/check.h"
#include "mesh/base/mem.h"
#include "mesh/wire/key.h"

bool api_author(struct api_call *call, const struct client_request *request, struct slice *ret_from)
{
    *ret_from = call->is_server ? request->from : api_asker(call);
    if (call->is_server || request->from.base == NULL || slice_equal(request->from, *ret_from))
        return true;
    api_fail(call, RC_FORBIDDEN, "from is whoever the token is for", 0);
    return false;
}

/* ---- Create ---- */

/* What the answer says of it. */
struct creation {
    enum conv_kind kind;
    uint32_t title_size;
    char conv[LIMIT_CONV_SIZE_MAX];
    uint32_t conv_size;
    char title[LIMIT_TITLE_SIZE_MAX];
};

static void on_created(struct api_call *call, struct api_request *request, enum rc rc,
                       const void *answer)
{
    const struct msg_result *result = answer;
    const struct creation *c = call->work;
    if (rc != RC_OK) {
        api_fail_request(call, request, rc, answer);
        return;
    }
    struct slice title = c->title_size > 0 ? slice_of(c->title, c->title_size) : (struct slice){0};
    bool is_again = result->dup != 0 && !request->request.is_doubtful;
    client_put_conversation(call->text, (struct slice){0}, slice_of(c->conv, c->conv_size), c->kind,
                            title, result->seq, is_again);
    api_answer(call, is_again ? 200 : 201);
}

static void keep_conv(struct creation *c, struct slice conv)
{
    CHECK(conv.size <= sizeof(c->conv));
    memcpy(c->conv, conv.base, conv.size);
    c->conv_size = conv.size;
}

/* `ret_members` is who is not `from`, who may be one of the `named`. NULL, or what is wrong. */
static const char *choose_direct(struct creation *c, struct buf *named, struct slice conv,
                                 struct slice *from, struct buf **ret_members)
{
    struct direct direct;
    const char *mistake = direct_choose(&direct, *from, buf_slice(named), conv);
    if (mistake != NULL)
        return mistake;
    keep_conv(c, slice_of(direct.conv, sizeof(direct.conv)));
    *from = direct.from;
    *ret_members = direct_members(&direct);
    return NULL;
}

static void choose_group(struct creation *c, struct gateway *gateway,
                         const struct client_request *request, struct slice from)
{
    char made[KEY_GROUP_SIZE];
    struct slice conv = request->conv;
    if (conv.base == NULL) {
        gateway_name_group(gateway, from, request->cid, made);
        conv = slice_of(made, sizeof(made));
    }
    keep_conv(c, conv);
}

void api_create(struct api_call *call, struct slice body)
{
    struct client_request request;
    struct slice from;
    if (!api_read_body(call, body, CLIENT_CREATE, &request) || !api_author(call, &request, &from))
        return;
    struct creation *c = mem_new(struct creation);
    call->work = c;
    call->free_work = mem_free;
    c->kind = request.kind;
    c->title_size = request.title.size;
    if (request.title.size > 0)
        memcpy(c->title, request.title.base, request.title.size);
    struct buf *named = client_users(&call->gateway->decoder, &request);
    struct buf *members = NULL; /* Of a direct one. */
    const char *mistake = NULL;
    if (request.body.base != NULL && from.base == NULL) /* Whom members name first says nothing. */
        mistake = "a first message has a sender: from";
    else if (c->kind == CONV_DIRECT)
        mistake = choose_direct(c, named, request.conv, &from, &members);
    else
        choose_group(c, call->gateway, &request, from);
    if (mistake != NULL) {
        api_fail(call, RC_BAD_REQUEST, mistake, 0);
        buf_unref(&named);
        return;
    }
    struct msg_cmd_create command = {
        .conv = slice_of(c->conv, c->conv_size),
        .user = from,
        .kind = c->kind,
        .members = buf_slice(members != NULL ? members : named),
        .title = request.title,
        .meta = request.meta,
        .cid = request.cid,
        .body = request.body,
        .history = client_history(request.history),
        .retain_ms = request.retain_ms,
        .retain_count = request.retain_count,
        .as_server = call->is_server,
    };
    /* Without a cid the second is a conflict, or its message there twice. */
    bool is_same =
        request.cid.base != NULL || (c->kind == CONV_DIRECT && request.body.base == NULL);
    api_submit_conv(call, command.conv, &msg_cmd_create_desc, &command,
                    is_same ? REPEAT_FREELY : REPEAT_NEVER, on_created);
    buf_unref(&members);
    buf_unref(&named);
}

/* ---- Show ---- */

/* A summary leaves out what is not there and what is not the asker's: which of the two it is a read
 * of the log tells. */
static void on_looked(struct api_call *call, struct api_request *request, enum rc rc,
                      const void *answer)
{
    if (rc == RC_OK)
        api_fail(call, RC_NOT_FOUND, "there is no such conversation", 0);
    else
        api_fail_request(call, request, rc, answer);
}

static void look(struct api_call *call)
{
    struct api_request *request = api_request_new(call, MSG_FETCHED, REPEAT_FREELY, on_looked);
    if (!api_request_to_conv(&request, api_name(&call->conv)))
        return;
    struct msg_fetch message = {.req = request->request.id,
                                .shard = request->request.shard,
                                .conv = api_name(&call->conv),
                                .user = api_asker(call),
                                .limit = 1,
                                .present = 1};
    api_request_send(request, &msg_fetch_desc, &message);
}

static void on_summary(struct api_call *call, struct api_request *request, enum rc rc,
                       const void *answer)
{
    if (rc != RC_OK) {
        api_fail_request(call, request, rc, answer);
        return;
    }
    struct record_reader r = record_reader_of(((const struct msg_summaries *)answer)->items);
    struct msg_summary_item item;
    if (record_decode(&r, &msg_summary_item_desc, &item) != RC_OK) {
        look(call);
        return;
    }
    client_put_conversations_item(call->text, &item, true);
    api_answer(call, 200);
}

void api_show(struct api_call *call, struct slice body)
{
    (void)body;
    struct api_request *request = api_request_new(call, MSG_SUMMARIES, REPEAT_FREELY, on_summary);
    if (!api_request_to_conv(&request, api_name(&call->conv)))
        return;
    struct buf *record = call->gateway->record;
    buf_clear(record);
    record_put_slice(record, api_name(&call->conv));
    struct msg_summary message = {.req = request->request.id,
                                  .shard = request->request.shard,
                                  .user = api_asker(call),
                                  .convs = buf_slice(record)};
    api_request_send(request, &msg_summary_desc, &message);
}

/* ---- Change ---- */

void api_change(struct api_call *call, struct slice body)
{
    struct client_request request;
    if (!api_read_body(call, body, CLIENT_INFO, &request))
        return;
    struct msg_cmd_info command = {
        .conv = request.conv,
        .user = api_asker(call),
        .title = request.title,
        .meta = request.meta,
        .history = client_history(request.history),
        .retain_ms = client_retention(request.has_retain_ms, request.retain_ms),
        .retain_count = client_retention(request.has_retain_count, request.retain_count),
        .as_server = call->is_server,
    };
    api_submit_conv(call, request.conv, &msg_cmd_info_desc, &command, REPEAT_NEVER, api_on_changed);
}

/* ---- End it ---- */

struct drop {
    uint64_t deadline_us;
};

static void drop_some(struct api_call *call);

static void on_dropped(struct api_call *call, struct api_request *request, enum rc rc,
                       const void *answer)
{
    const struct drop *drop = call->work;
    const struct msg_result *result = answer;
    if (rc != RC_OK)
        api_fail_request(call, request, rc, answer);
    else if (result->seq == 0)
        api_answer_ok(call);
    else if (gateway_now_us(call->gateway) < drop->deadline_us)
        drop_some(call);
    else
        api_fail(call, RC_UNAVAILABLE, "not all is removed yet: send it again", 0);
}

static void drop_some(struct api_call *call)
{
    struct msg_cmd_drop command = {.conv = api_name(&call->conv)};
    api_submit_conv(call, command.conv, &msg_cmd_drop_desc, &command, REPEAT_FREELY, on_dropped);
}

void api_drop(struct api_call *call, struct slice body)
{
    (void)body;
    struct drop *drop = mem_new(struct drop);
    drop->deadline_us = gateway_now_us(call->gateway) + API_STEPS_US;
    call->work = drop;
    call->free_work = mem_free;
    drop_some(call);
}
