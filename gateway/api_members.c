/* Who is in a conversation: listed, added, removed, given a role. */
#include "gateway/api_private.h"

static void on_members(struct api_call *call, struct api_request *request, enum rc rc,
                       const void *data)
{
    const struct msg_members_page *answer = data;
    if (rc != RC_OK) {
        api_fail_request(call, request, rc, data);
        return;
    }
    client_put_members(call->text, (struct slice){0}, api_name(&call->conv), answer->members,
                       answer->total, answer->more != 0);
    api_answer(call, 200);
}

void api_members(struct api_call *call, struct slice body)
{
    (void)body;
    struct api_request *request =
        api_request_new(call, MSG_MEMBERS_PAGE, REPEAT_FREELY, on_members);
    if (!api_request_to_conv(&request, api_name(&call->conv)))
        return;
    struct msg_members message = {.req = request->request.id,
                                  .shard = request->request.shard,
                                  .conv = api_name(&call->conv),
                                  .user = api_asker(call),
                                  .after = api_name(&call->after),
                                  .limit = api_limit(call, LIMIT_MEMBERS_PAGE_MAX)};
    api_request_send(request, &msg_members_desc, &message);
}

/* Never repeated, as over a WebSocket: others may have changed the same in between. */
static void submit(struct api_call *call, enum member_change change, struct slice users,
                   enum member_role role)
{
    struct msg_cmd_member command = {.conv = api_name(&call->conv),
                                     .user = api_asker(call),
                                     .change = change,
                                     .users = users,
                                     .role = role,
                                     .as_server = call->is_server};
    api_submit_conv(call, command.conv, &msg_cmd_member_desc, &command, REPEAT_NEVER,
                    api_on_changed);
}

static void submit_one(struct api_call *call, enum member_change change, enum member_role role)
{
    struct buf *users = buf_new(256);
    record_put_slice(users, api_name(&call->user));
    submit(call, change, buf_slice(users), role);
    buf_unref(&users);
}

void api_add(struct api_call *call, struct slice body)
{
    struct client_request request;
    if (!api_read_body(call, body, CLIENT_ADD, &request))
        return;
    struct buf *users = client_users(&call->gateway->decoder, &request);
    enum member_role role = request.role.base != NULL ? client_role(request.role) : ROLE_MEMBER;
    submit(call, MEMBER_ADD, buf_slice(users), role);
    buf_unref(&users);
}

void api_set_role(struct api_call *call, struct slice body)
{
    struct client_request request;
    if (api_read_body(call, body, CLIENT_ROLE, &request))
        submit_one(call, MEMBER_ROLE, client_role(request.role));
}

/* Who removes himself leaves: that takes no role. */
void api_remove(struct api_call *call, struct slice body)
{
    (void)body;
    bool is_himself = slice_equal(api_asker(call), api_name(&call->user));
    submit_one(call, is_himself ? MEMBER_LEAVE : MEMBER_REMOVE, ROLE_MEMBER);
}
