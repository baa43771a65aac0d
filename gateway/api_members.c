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

static void ask_members(struct api_call *call,
                        void (*on_done)(struct api_call *, struct api_request *, enum rc,
                                        const void *))
{
    struct api_request *request = api_request_new(call, MSG_MEMBERS_PAGE, REPEAT_FREELY, on_done);
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

void api_members(struct api_call *call, struct slice body)
{
    (void)body;
    ask_members(call, on_members);
}

/* The valid name that sorts right before this one: none lies between, so that a page after it
 * begins with this one where that is a member. Empty: this one is the first of all. */
static void name_before(const struct api_name *name, struct api_name *ret_before)
{
    /* Where the character before is not the number below. */
    static const char *const steps[][2] = {{" ", NULL},
                                           {"\xc2\xa0", "~"},
                                           {"\xe0\xa0\x80", "\xdf\xbf"},
                                           {"\xee\x80\x80", "\xed\x9f\xbf"},
                                           {"\xf0\x90\x80\x80", "\xef\xbf\xbf"}};
    static const char *const last[] = {"~", "\xdf\xbf", "\xef\xbf\xbf", "\xf4\x8f\xbf\xbf"};
    uint32_t at = name->size - 1;
    *ret_before = *name;
    while (((uint8_t)name->bytes[at] & 0xc0) == 0x80)
        at--;
    struct slice point = slice_of(name->bytes + at, name->size - at);
    size_t step = 0;
    while (step < sizeof(steps) / sizeof(steps[0]) && !slice_equals(point, steps[step][0]))
        step++;
    if (step == 0) { /* A space: what it is put behind is right before. */
        ret_before->size = at;
        return;
    }
    if (step < sizeof(steps) / sizeof(steps[0])) {
        ret_before->size = at + (uint32_t)strlen(steps[step][1]);
        memcpy(ret_before->bytes + at, steps[step][1], ret_before->size - at);
    } else {
        uint32_t low = name->size - 1;
        for (; low > at && (uint8_t)name->bytes[low] == 0x80; low--)
            ret_before->bytes[low] = (char)0xbf;
        ret_before->bytes[low]--;
    }
    while (ret_before->size < LIMIT_USER_SIZE_MAX) {
        uint32_t room = LIMIT_USER_SIZE_MAX - ret_before->size;
        uint32_t size = room < 4 ? room : 4;
        memcpy(ret_before->bytes + ret_before->size, last[size - 1], size);
        ret_before->size += size;
    }
}

static void on_member(struct api_call *call, struct api_request *request, enum rc rc,
                      const void *data)
{
    const struct msg_members_page *answer = data;
    struct msg_member member;
    if (rc != RC_OK) {
        api_fail_request(call, request, rc, data);
        return;
    }
    struct record_reader r = record_reader_of(answer->members);
    if (record_reader_at_end(&r) || record_decode(&r, &msg_member_desc, &member) != RC_OK ||
        !slice_equal(member.user, api_name(&call->user))) {
        api_fail(call, RC_NOT_FOUND, "he is not a member", 0);
        return;
    }
    client_put_member(call->text, &member);
    api_answer(call, 200);
}

/* Routers tell of one member as a page of one. */
void api_member(struct api_call *call, struct slice body)
{
    (void)body;
    name_before(&call->user, &call->after);
    call->limit = 1;
    ask_members(call, on_member);
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

static enum member_role added_role(const struct client_request *request)
{
    return request->role.base != NULL ? client_role(request->role) : ROLE_MEMBER;
}

void api_add(struct api_call *call, struct slice body)
{
    struct client_request request;
    if (!api_read_body(call, body, CLIENT_ADD, &request))
        return;
    struct buf *users = client_users(&call->gateway->decoder, &request);
    submit(call, MEMBER_ADD, buf_slice(users), added_role(&request));
    buf_unref(&users);
}

/* It may have a body, for the role. */
void api_add_one(struct api_call *call, struct slice body)
{
    struct client_request request = {.type = CLIENT_ADD};
    if (body.size == 0 || api_read_body(call, body, CLIENT_ADD, &request))
        submit_one(call, MEMBER_ADD, added_role(&request));
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
