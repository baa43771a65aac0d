/* What a client asks for: each request becomes one message to the leader of its shard. */
#include "gateway/direct.h"
#include "gateway/fence.h"
#include "gateway/large.h"
#include "gateway/redelivery.h"
#include "gateway/session_call.h"

#include "mesh/wire/key.h"

/* Pages (history, members) of one session in flight are few, since each may be large. */
#define HISTORY_COUNT  100u /* Where the client says none. */
#define PAGE_CALLS_MAX 32u
#define SEQ_MAX        (UINT64_C(1) << 53)

/* ---- Changes ---- */

static void put_result(struct session *session, const struct client_call *call,
                       const struct msg_result *result)
{
    struct buf *text = session->gateway->text;
    buf_clear(text);
    /* Where the gateway asked twice, the second answer is the first one for the client. */
    bool dup = result->dup != 0 && !call->base.request.is_doubtful;
    if (call->type == CLIENT_SEND || call->type == CLIENT_EDIT || call->type == CLIENT_DELETE ||
        call->type == CLIENT_REACT)
        client_put_sent(text, session_call_id(call), session_call_conv(call),
                        session_call_cid(call), result->seq, result->ts, dup);
    else if (call->type == CLIENT_CREATE)
        client_put_conversation(text, session_call_id(call), session_call_conv(call), call->kind,
                                session_call_title(call), result->seq, dup);
    else
        client_put_ok(text, session_call_id(call));
    session_put(session);
}

static void on_result(struct gateway *gateway, struct request *request, enum rc rc,
                      const void *data)
{
    (void)gateway;
    const struct client_call *call = (const struct client_call *)request;
    const struct msg_result *result = data;
    struct session *session = session_request_done((struct session_request *)request);
    if (session == NULL)
        return;
    if (rc == RC_OK && call->is_making)
        session_list_note_made(session, session_call_conv(call));
    if (rc == RC_OK)
        put_result(session, call, result);
    else if (result != NULL)
        session_call_fail(session, call, rc, result->detail, result->hint_ms);
    else
        session_call_fail(session, call, rc, (struct slice){0}, 0);
}

/* What changes members or info must never be repeated, even where the machine finds nothing to do
 * the second time: others may have changed the same in between, and theirs would be undone. */
static void submit(struct session *session, const struct client_request *request, struct slice conv,
                   const struct record_desc *desc, const void *command, enum request_repeat repeat)
{
    struct client_call *call = session_call_begin(session, request, conv, MSG_RESULT, on_result);
    if (call == NULL)
        return;
    struct buf *record = session->gateway->record;
    buf_clear(record);
    record_encode(record, desc, command);
    struct msg_submit message = {.req = call->base.request.id,
                                 .shard = call->base.request.shard,
                                 .command = buf_slice(record)};
    session_call_send(session, call, &msg_submit_desc, &message, repeat);
}

/* The conversation of a send: named, or the direct one with `to`, whose id is put into `direct`. */
static struct slice conv_of(const struct session *session, const struct client_request *request,
                            char direct[KEY_DIRECT_SIZE])
{
    if (request->to.base == NULL)
        return request->conv;
    key_direct(session_user(session), request->to, direct);
    return slice_of(direct, KEY_DIRECT_SIZE);
}

void session_refuse_send(struct session *session, const struct client_request *request,
                         uint64_t retry_ms)
{
    char direct[KEY_DIRECT_SIZE];
    if (session->user != NULL)
        fence_put_up(&session->fences, conv_of(session, request, direct), request->cid,
                     calls_next_id(session->gateway), RC_RATE_LIMITED, retry_ms,
                     gateway_now_us(session->gateway));
    session_put_error(session, request->id, RC_RATE_LIMITED, NULL, retry_ms);
}

static void on_send(struct session *session, const struct client_request *request)
{
    char direct[KEY_DIRECT_SIZE];
    struct slice conv = conv_of(session, request, direct);
    struct msg_cmd_send command = {.conv = conv,
                                   .user = session_user(session),
                                   .device = slice_string(session->device),
                                   .peer = request->to,
                                   .cid = request->cid,
                                   .body = request->body,
                                   .reply_to = request->reply_to};
    submit(session, request, conv, &msg_cmd_send_desc, &command, REPEAT_IF_UNDONE);
}

static enum entry_type change_of(enum client_request_type type)
{
    switch (type) {
    case CLIENT_EDIT:
        return ENTRY_EDIT;
    case CLIENT_DELETE:
        return ENTRY_DELETE;
    default:
        return ENTRY_REACTION;
    }
}

/* Without a cid a deletion may come twice, since there is nothing left for the second; an edit or a
 * reaction may not, or it would undo what came in between. */
static void on_change(struct session *session, const struct client_request *request)
{
    struct msg_cmd_change command = {.conv = request->conv,
                                     .user = session_user(session),
                                     .device = slice_string(session->device),
                                     .type = change_of(request->type),
                                     .target = request->seq,
                                     .cid = request->cid,
                                     .body = request->body,
                                     .emoji = request->emoji,
                                     .on = request->type == CLIENT_REACT && request->on};
    enum request_repeat repeat = REPEAT_NEVER;
    if (request->cid.base != NULL)
        repeat = REPEAT_IF_UNDONE;
    else if (request->type == CLIENT_DELETE)
        repeat = REPEAT_FREELY;
    submit(session, request, request->conv, &msg_cmd_change_desc, &command, repeat);
}

static void on_cursor(struct session *session, const struct client_request *request)
{
    uint64_t read = request->type == CLIENT_READ ? request->seq : 0;
    redelivery_on_ack(session, request->conv, request->seq);
    if (request->id.base == NULL) {
        receipts_note(session, request->conv, request->seq, read);
        return;
    }
    struct msg_cmd_cursor command = {.conv = request->conv,
                                     .user = session_user(session),
                                     .device = slice_string(session->device),
                                     .delivered = request->seq,
                                     .read = read};
    submit(session, request, request->conv, &msg_cmd_cursor_desc, &command, REPEAT_FREELY);
}

/* The users a request names, as a sequence; the single `user` where there is no list. */
static struct buf *users_of(struct session *session, const struct client_request *request,
                            uint32_t *ret_count, struct slice *ret_last)
{
    struct buf *users = buf_new(256);
    uint32_t at = 0;
    *ret_count = 0;
    if (request->users.raw.base == NULL && request->user.base != NULL) {
        record_put_slice(users, request->user);
        *ret_last = request->user;
        *ret_count = 1;
        return users;
    }
    while (request->users.raw.base != NULL &&
           client_users_next(&session->gateway->decoder, request, &at, ret_last)) {
        record_put_slice(users, *ret_last);
        ++*ret_count;
    }
    return users;
}

static void on_create(struct session *session, const struct client_request *request)
{
    char made[KEY_GROUP_SIZE];
    struct direct direct;
    struct slice conv = request->conv;
    struct slice last = {0};
    uint32_t count;
    struct client_request as = *request;
    struct buf *members = users_of(session, request, &count, &last);
    if (as.kind == 0)
        as.kind = CONV_GROUP;
    if (as.kind == CONV_DIRECT) {
        const char *mistake =
            direct_choose(&direct, session_user(session), buf_slice(members), conv);
        if (mistake != NULL) {
            session_put_error(session, request->id, RC_BAD_REQUEST, mistake, 0);
            buf_unref(&members);
            return;
        }
        conv = slice_of(direct.conv, sizeof(direct.conv));
        struct buf *other = direct_members(&direct);
        buf_unref(&members);
        members = other;
    } else if (conv.base == NULL) {
        gateway_name_group(session->gateway, session_user(session), request->cid, made);
        conv = slice_of(made, sizeof(made));
    }
    struct msg_cmd_create command = {.conv = conv,
                                     .user = session_user(session),
                                     .device = slice_string(session->device),
                                     .kind = as.kind,
                                     .members = buf_slice(members),
                                     .title = request->title,
                                     .meta = request->meta,
                                     .cid = request->cid,
                                     .body = request->body,
                                     .history = client_history(request->history),
                                     .retain_ms = request->retain_ms,
                                     .retain_count = request->retain_count};
    /* Without a cid the second is a conflict, or its message there twice. */
    bool is_same = as.cid.base != NULL || (as.kind == CONV_DIRECT && as.body.base == NULL);
    submit(session, &as, conv, &msg_cmd_create_desc, &command,
           is_same ? REPEAT_FREELY : REPEAT_NEVER);
    buf_unref(&members);
}

static void on_member_change(struct session *session, const struct client_request *request,
                             enum member_change change)
{
    enum member_role role = ROLE_MEMBER;
    if (request->role.base != NULL)
        role = client_role(request->role);
    struct client_request as = *request;
    if (change == MEMBER_LEAVE)
        as.user = session_user(session);
    struct slice last = {0};
    uint32_t count;
    struct buf *users = users_of(session, &as, &count, &last);
    if (count == 0 || role == 0 || (change == MEMBER_ROLE && request->role.base == NULL)) {
        session_put_error(session, request->id, RC_BAD_REQUEST,
                          count == 0 ? "users are missing" : "role is none of ours", 0);
    } else {
        struct msg_cmd_member command = {.conv = request->conv,
                                         .user = session_user(session),
                                         .change = change,
                                         .users = buf_slice(users),
                                         .role = role};
        submit(session, request, request->conv, &msg_cmd_member_desc, &command, REPEAT_NEVER);
    }
    buf_unref(&users);
}

static void on_info(struct session *session, const struct client_request *request)
{
    struct msg_cmd_info command = {
        .conv = request->conv,
        .user = session_user(session),
        .title = request->title,
        .meta = request->meta,
        .history = client_history(request->history),
        .retain_ms = client_retention(request->has_retain_ms, request->retain_ms),
        .retain_count = client_retention(request->has_retain_count, request->retain_count)};
    submit(session, request, request->conv, &msg_cmd_info_desc, &command, REPEAT_NEVER);
}

/* ---- Reads ---- */

static uint64_t clamp_limit(const struct client_request *request, uint64_t otherwise, uint64_t max)
{
    uint64_t limit = request->has_limit && request->limit > 0 ? request->limit : otherwise;
    return limit < max ? limit : max;
}

static void on_page(struct gateway *gateway, struct request *request, enum rc rc, const void *data)
{
    const struct client_call *call = (const struct client_call *)request;
    struct session *session = session_request_done((struct session_request *)request);
    if (session == NULL)
        return;
    if (rc != RC_OK) {
        session_call_fail(session, call, rc, (struct slice){0}, 0);
        return;
    }
    buf_clear(gateway->text);
    if (call->type == CLIENT_HISTORY) {
        const struct msg_fetched *answer = data;
        client_put_history(gateway->text, session_call_id(call), session_call_conv(call),
                           answer->entries, answer->head, answer->more != 0);
    } else if (call->type == CLIENT_RECEIPTS) {
        client_put_receipts(gateway->text, session_call_id(call), session_call_conv(call),
                            call->seq, data);
    } else {
        const struct msg_members_page *answer = data;
        client_put_members(gateway->text, session_call_id(call), session_call_conv(call),
                           answer->members, answer->total, answer->more != 0);
    }
    session_put(session);
}

/* Pages may be large: a client that does not read what it has asked for gets no more of them. */
static bool may_page(struct session *session, const struct client_request *request)
{
    if (session->page_count < PAGE_CALLS_MAX && session_has_room(session))
        return true;
    session_call_refuse(session, request, RC_RATE_LIMITED, LIMIT_BEAT_MS);
    return false;
}

static void on_history(struct session *session, const struct client_request *request)
{
    if (!may_page(session, request))
        return;
    struct client_call *call =
        session_call_begin(session, request, request->conv, MSG_FETCHED, on_page);
    if (call == NULL)
        return;
    bool is_newest = !request->has_after && !request->has_before;
    struct msg_fetch message = {.req = call->base.request.id,
                                .shard = call->base.request.shard,
                                .conv = request->conv,
                                .user = session_user(session),
                                .after = request->after,
                                .before = is_newest ? SEQ_MAX : request->before,
                                .limit =
                                    clamp_limit(request, HISTORY_COUNT, LIMIT_HISTORY_COUNT_MAX),
                                .present = 1};
    session_call_send(session, call, &msg_fetch_desc, &message, REPEAT_FREELY);
}

static void on_members(struct session *session, const struct client_request *request)
{
    if (!may_page(session, request))
        return;
    struct client_call *call =
        session_call_begin(session, request, request->conv, MSG_MEMBERS_PAGE, on_page);
    if (call == NULL)
        return;
    struct msg_members message = {.req = call->base.request.id,
                                  .shard = call->base.request.shard,
                                  .conv = request->conv,
                                  .user = session_user(session),
                                  .after = request->after_name,
                                  .limit =
                                      clamp_limit(request, HISTORY_COUNT, LIMIT_MEMBERS_PAGE_MAX)};
    session_call_send(session, call, &msg_members_desc, &message, REPEAT_FREELY);
}

static void on_receipts(struct session *session, const struct client_request *request)
{
    if (!may_page(session, request))
        return;
    struct client_call *call =
        session_call_begin(session, request, request->conv, MSG_READERS_PAGE, on_page);
    if (call == NULL)
        return;
    struct msg_readers message = {.req = call->base.request.id,
                                  .shard = call->base.request.shard,
                                  .conv = request->conv,
                                  .user = session_user(session),
                                  .seq = request->seq};
    session_call_send(session, call, &msg_readers_desc, &message, REPEAT_FREELY);
}

static void on_conversations(struct session *session, const struct client_request *request)
{
    if (may_page(session, request))
        session_list_conversations(session, request);
}

static void on_presence(struct session *session, const struct client_request *request)
{
    if (may_page(session, request))
        session_ask_presence(session, request);
}

/* ---- What is answered here ---- */

static void put_ok(struct session *session, const struct client_request *request)
{
    buf_clear(session->gateway->text);
    client_put_ok(session->gateway->text, request->id);
    session_put(session);
}

static void on_ping(struct session *session, const struct client_request *request)
{
    struct gateway *gateway = session->gateway;
    buf_clear(gateway->text);
    client_put_pong(gateway->text, request->id, env_wall_ms(gateway->env));
    session_put(session);
}

static void on_typing(struct session *session, const struct client_request *request)
{
    session_typing(session, request->conv, request->on);
    if (request->id.base != NULL)
        large_confirm(session, request);
}

static void on_status(struct session *session, const struct client_request *request)
{
    users_set_status(session->gateway, session->user, client_status(request->status));
    put_ok(session, request);
}

static void on_add(struct session *session, const struct client_request *request)
{
    on_member_change(session, request, MEMBER_ADD);
}

static void on_remove(struct session *session, const struct client_request *request)
{
    on_member_change(session, request, MEMBER_REMOVE);
}

static void on_leave(struct session *session, const struct client_request *request)
{
    on_member_change(session, request, MEMBER_LEAVE);
}

static void on_role(struct session *session, const struct client_request *request)
{
    on_member_change(session, request, MEMBER_ROLE);
}

static void (*const handlers[CLIENT_REQUEST_COUNT])(struct session *,
                                                    const struct client_request *) = {
    [CLIENT_CONNECT] = session_on_connect,
    [CLIENT_SEND] = on_send,
    [CLIENT_ACK] = on_cursor,
    [CLIENT_READ] = on_cursor,
    [CLIENT_HISTORY] = on_history,
    [CLIENT_CONVERSATIONS] = on_conversations,
    [CLIENT_CREATE] = on_create,
    [CLIENT_ADD] = on_add,
    [CLIENT_REMOVE] = on_remove,
    [CLIENT_LEAVE] = on_leave,
    [CLIENT_ROLE] = on_role,
    [CLIENT_MEMBERS] = on_members,
    [CLIENT_INFO] = on_info,
    [CLIENT_PING] = on_ping,
    [CLIENT_TYPING] = on_typing,
    [CLIENT_EDIT] = on_change,
    [CLIENT_DELETE] = on_change,
    [CLIENT_REACT] = on_change,
    [CLIENT_OPEN] = large_on_open,
    [CLIENT_CLOSE] = large_on_close,
    [CLIENT_RECEIPTS] = on_receipts,
    [CLIENT_PRESENCE] = on_presence,
    [CLIENT_WATCH] = presence_watch,
    [CLIENT_UNWATCH] = presence_unwatch,
    [CLIENT_STATUS] = on_status,
};

void session_on_request(struct session *session, const struct client_request *request)
{
    if (request->id.size > SESSION_CALL_ID_SIZE_MAX) {
        session_put_error(session, (struct slice){0}, RC_BAD_REQUEST, "id is too long", 0);
    } else if (request->type == CLIENT_CONNECT) {
        session_on_connect(session, request);
    } else if (session->state == SESSION_NEW) {
        session_put_error(session, request->id, RC_UNAUTHORIZED, "connect must come first", 0);
    } else {
        if (session->state == SESSION_GREETED)
            session_resume(session, NULL); /* It wants nothing else: from the server's record. */
        if (session->state != SESSION_CLOSED)
            handlers[request->type](session, request);
    }
}
