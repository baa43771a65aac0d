/* api: what each request asks of routers, and what becomes of their answers; no router and no
 * socket is real. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>

#include "gateway/api.h"
#include "gateway/core.h"
#include "gateway/session.h"
#include "mesh/base/mem.h"
#include "mesh/wire/key.h"
#include "tests/support/gateway_world.h"

#define ASKED_MAX 64u
#define SECOND    1000u

/* One message that the gateway sent to a router. */
struct asked {
    uint32_t router;
    uint32_t number;
    struct buf *bytes; /* The record. */
};

/* One request to the API and its answer. */
struct reply {
    struct api_call *call;
    unsigned status; /* 0: none yet. */
    uint32_t retry_s;
    char allow[32];
    char body[8192];
};

static struct {
    struct world *world;
    struct asked asked[ASKED_MAX];
    uint32_t asked_count;
    char key[API_KEY_SIZE + 1];
} rig;

/* ---- The routers, played by the tests ---- */

static bool is_question(uint32_t number)
{
    return number == MSG_SUBMIT || number == MSG_FETCH || number == MSG_MEMBERS ||
           number == MSG_SUMMARY || number == MSG_USER_OPEN || number == MSG_USER_KICK ||
           number == MSG_PRESENCE_QUERY || number == MSG_STATUS_REQUEST || number == MSG_UNTOLD;
}

static enum rc on_sent(struct bus *bus, struct slice node, struct buf *bytes)
{
    (void)bus;
    struct packet packet;
    assert_int_equal(packet_decode(buf_slice(bytes), &packet), RC_OK);
    struct record_reader r = packet.messages;
    while (!record_reader_at_end(&r)) {
        uint32_t number;
        const uint8_t *from = r.at;
        assert_int_equal(record_peek(&r, &number), RC_OK);
        assert_int_equal(record_skip(&r), RC_OK);
        if (!is_question(number))
            continue;
        assert_true(rig.asked_count < ASKED_MAX);
        struct asked *asked = &rig.asked[rig.asked_count++];
        asked->router = slice_equals(node, "r1") ? 0 : 1;
        asked->number = number;
        asked->bytes = buf_new(0);
        buf_append(asked->bytes, from, (size_t)(r.at - from));
    }
    return RC_OK;
}

/* The question asked as the `index`th, decoded. */
static void read_asked(uint32_t index, const struct record_desc *desc, void *message)
{
    assert_true(index < rig.asked_count);
    assert_int_equal(rig.asked[index].number, desc->number);
    struct record_reader r = record_reader_of(buf_slice(rig.asked[index].bytes));
    assert_int_equal(record_decode(&r, desc, message), RC_OK);
}

/* The command that was submitted last. */
static void read_command(const struct record_desc *desc, void *command)
{
    struct msg_submit submit;
    read_asked(rig.asked_count - 1, &msg_submit_desc, &submit);
    struct record_reader r = record_reader_of(submit.command);
    assert_int_equal(record_decode(&r, desc, command), RC_OK);
}

static uint64_t last_req(void)
{
    struct msg_submit submit; /* All questions begin with req. */
    struct record_reader r = record_reader_of(buf_slice(rig.asked[rig.asked_count - 1].bytes));
    assert_int_equal(r.at[0] >> 4, 9); /* An array. */
    r.at += 1;
    uint64_t number;
    assert_int_equal(record_get_u64(&r, &number), RC_OK);
    assert_int_equal(record_get_u64(&r, &submit.req), RC_OK);
    return submit.req;
}

static void answer_from(uint32_t router, const struct record_desc *desc, const void *message)
{
    struct world *world = rig.world;
    struct packet_sender sender = {.node = slice_string(world->routers[router].name),
                                   .incarnation = world->routers[router].incarnation};
    struct packet packet;
    struct buf *bytes = buf_new(256);
    memcpy(sender.cluster, world_cluster, 16);
    packet_begin(bytes, &sender, 0);
    record_encode(bytes, desc, message);
    assert_int_equal(packet_decode(buf_slice(bytes), &packet), RC_OK);
    world->handler.on_request(world->handler.context, sender.node, &packet);
    buf_unref(&bytes);
    world_turn(world);
}

/* The router asked last answers. */
static void answer(const struct record_desc *desc, const void *message)
{
    answer_from(rig.asked[rig.asked_count - 1].router, desc, message);
}

static void answer_result(enum rc rc, uint64_t seq)
{
    struct msg_result result = {.req = last_req(), .rc = rc, .seq = seq, .ts = 7};
    answer(&msg_result_desc, &result);
}

/* ---- The client, likewise ---- */

static void keep(struct reply *reply, const struct api_answer *answer)
{
    assert_int_equal(reply->status, 0);
    assert_true(answer->body.size < sizeof(reply->body));
    reply->status = answer->status;
    reply->retry_s = answer->retry_s;
    memcpy(reply->allow, answer->allow, sizeof(reply->allow));
    snprintf(reply->body, sizeof(reply->body), "%.*s", SLICE_ARGS(answer->body));
}

static void on_answer(void *context, const struct api_answer *answer)
{
    struct reply *reply = context;
    reply->call = NULL;
    keep(reply, answer);
}

static enum api_method method_of(const char *name)
{
    static const char *const names[] = {"", "GET", "POST", "PATCH", "DELETE"};
    for (unsigned i = 1; i < 5; i++)
        if (strcmp(names[i], name) == 0)
            return (enum api_method)i;
    return API_OTHER;
}

static void ask_as(struct reply *reply, const char *bearer, const char *method, const char *path,
                   const char *query, const char *body)
{
    char authorization[1024];
    struct api_answer refusal;
    struct buf *out = buf_new(0);
    snprintf(authorization, sizeof(authorization), "Bearer %s", bearer);
    struct api_head head = {.method = method_of(method),
                            .path = slice_string(path),
                            .query = slice_string(query),
                            .authorization = slice_string(authorization)};
    *reply = (struct reply){.status = 0};
    reply->call = api_open(rig.world->gateway, &head, out, &refusal);
    if (reply->call == NULL)
        keep(reply, &refusal);
    else
        api_start(reply->call, slice_string(body), on_answer, reply);
    buf_unref(&out);
    world_turn(rig.world);
}

static void ask(struct reply *reply, const char *method, const char *path, const char *body)
{
    ask_as(reply, rig.key, method, path, "", body);
}

static void ask_as_user(struct reply *reply, const char *user, const char *method, const char *path,
                        const char *body)
{
    char *token = world_token(rig.world, user);
    ask_as(reply, token, method, path, "", body);
    mem_free(token);
}

static void expect(const struct reply *reply, unsigned status, const char *part)
{
    if (reply->status != status || strstr(reply->body, part) == NULL)
        fail_msg("not %u with %s: %u %s", status, part, reply->status, reply->body);
}

/* Its routers have said nothing yet. */
static void make_world(void)
{
    char line[API_KEY_LINE_SIZE_MAX + 1];
    struct gateway_options options;
    gateway_options_init(&options);
    options.request_ms = 2 * SECOND;
    rig.world = world_new(&options, 1);
    rig.world->bus.send = on_sent;
    rig.asked_count = 0;
    api_key_make("test", rig.key, line);
    assert_int_equal(api_key_add(&rig.world->auth.api_keys, slice_string(line)), RC_OK);
}

static int setup(void **state)
{
    (void)state;
    make_world();
    world_start(rig.world);
    assert_true(routers_are_known(rig.world->gateway));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    world_run(rig.world, 5 * SECOND); /* Whatever is in flight ends. */
    assert_int_equal(rig.world->gateway->api.call_count, 0);
    world_free(&rig.world);
    for (uint32_t i = 0; i < rig.asked_count; i++)
        buf_unref(&rig.asked[i].bytes);
    return 0;
}

/* ---- Who may ---- */

/* Nothing is asked of anybody for who is nobody. */
static void who_is_unknown_is_refused(void **state)
{
    (void)state;
    static const char *const bearers[] = {"", "x", "cmk_", "a.b.c",
                                          "cmk_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"};
    struct reply reply;
    for (size_t i = 0; i < sizeof(bearers) / sizeof(bearers[0]); i++) {
        ask_as(&reply, bearers[i], "GET", "/v1/cluster", "", "");
        expect(&reply, 401, "\"unauthorized\"");
    }
    assert_int_equal(rig.asked_count, 0);
}

/* A key that is taken out of the config is no longer good: at the next request. */
static void a_key_that_is_withdrawn_is_refused(void **state)
{
    (void)state;
    struct reply reply;
    rig.world->auth.api_keys.count = 0;
    ask(&reply, "GET", "/v1/cluster", "");
    expect(&reply, 401, "the API key is not known");
}

/* What is the operator's, and what is another user's, is refused to a token. */
static void a_token_reaches_its_own_user_only(void **state)
{
    (void)state;
    static const struct {
        const char *method, *path;
    } refused[] = {
        {"DELETE", "/v1/conversations/c"},      {"DELETE", "/v1/users/bob"},
        {"GET", "/v1/users/bob/conversations"}, {"GET", "/v1/cluster"},
        {"POST", "/v1/users/bob/disconnect"},
    };
    struct reply reply;
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        ask_as_user(&reply, "alice", refused[i].method, refused[i].path, "");
        expect(&reply, 403, "\"forbidden\"");
    }
    assert_int_equal(rig.asked_count, 0);
    ask_as_user(&reply, "alice", "POST", "/v1/users/alice/disconnect", "");
    struct msg_user_kick kick;
    read_asked(0, &msg_user_kick_desc, &kick);
    assert_true(slice_equals(kick.user, "alice"));
    answer_result(RC_OK, 0);
    expect(&reply, 200, "{\"type\":\"ok\"}");
}

/* A token speaks in its user's name, a key in the one it names, both without a device. */
static void a_message_is_from_who_may_say_so(void **state)
{
    (void)state;
    struct reply reply;
    struct msg_cmd_send command;
    ask_as_user(&reply, "alice", "POST", "/v1/conversations/c/messages", "{\"body\":[1, 2]}");
    read_command(&msg_cmd_send_desc, &command);
    assert_true(slice_equals(command.user, "alice"));
    assert_true(slice_equals(command.body, "[1, 2]"));
    assert_null(command.device.base);
    assert_int_equal(command.cid.size, 22); /* Drawn. */
    answer_result(RC_OK, 5);
    expect(&reply, 201, "\"seq\":5,\"ts\":7}");

    ask(&reply, "POST", "/v1/conversations/c/messages",
        "{\"from\":\"bob\",\"body\":1,\"cid\":\"x\",\"reply_to\":3}");
    read_command(&msg_cmd_send_desc, &command);
    assert_true(slice_equals(command.user, "bob"));
    assert_true(slice_equals(command.cid, "x"));
    assert_int_equal(command.reply_to, 3);
    struct msg_result again = {.req = last_req(), .rc = RC_OK, .seq = 5, .ts = 7, .dup = 1};
    answer(&msg_result_desc, &again);
    expect(&reply, 200, "\"cid\":\"x\",\"seq\":5,\"ts\":7,\"dup\":true}");

    uint32_t asked = rig.asked_count;
    ask(&reply, "POST", "/v1/conversations/c/messages", "{\"body\":1}");
    expect(&reply, 400, "from is required");
    ask_as_user(&reply, "alice", "POST", "/v1/conversations/c/messages",
                "{\"from\":\"bob\",\"body\":1}");
    expect(&reply, 403, "\"forbidden\"");
    assert_int_equal(rig.asked_count, asked);
}

/* ---- What is asked ---- */

/* One is added, x. */
static void expect_added(const char *path, const char *body, enum member_role role)
{
    struct reply reply;
    struct msg_cmd_member member;
    struct slice user;
    ask(&reply, "POST", path, body);
    read_command(&msg_cmd_member_desc, &member);
    assert_int_equal(member.change, MEMBER_ADD);
    assert_int_equal(member.role, role);
    struct record_reader users = record_reader_of(member.users);
    assert_int_equal(record_get_slice(&users, &user), RC_OK);
    assert_true(slice_equals(user, "x") && record_reader_at_end(&users));
    answer_result(RC_OK, 9);
    expect(&reply, 200, "{\"type\":\"ok\"}");
}

/* Changes by the operator bear as_server and no user; those of a token its user and no as_server.
 */
static void changes_say_who_makes_them(void **state)
{
    (void)state;
    struct reply reply;
    struct msg_cmd_info info;
    struct msg_cmd_member member;
    struct msg_cmd_change change;
    ask(&reply, "PATCH", "/v1/conversations/c",
        "{\"title\":\"t\",\"history\":\"joined\",\"retain_ms\":null,\"retain_count\":5}");
    read_command(&msg_cmd_info_desc, &info);
    assert_true(slice_equals(info.title, "t") && info.user.base == NULL);
    assert_int_equal(info.as_server, 1);
    assert_int_equal(info.history, HISTORY_JOINED);
    assert_true(info.retain_ms == RETAIN_FOREVER && info.retain_count == 5);
    answer_result(RC_OK, 9);
    expect(&reply, 200, "{\"type\":\"ok\"}");

    ask_as_user(&reply, "alice", "POST", "/v1/conversations/c/members",
                "{\"users\":[\"x\",\"y\"],\"role\":\"admin\"}");
    read_command(&msg_cmd_member_desc, &member);
    assert_true(slice_equals(member.user, "alice"));
    assert_int_equal(member.as_server, 0);
    assert_int_equal(member.change, MEMBER_ADD);
    assert_int_equal(member.role, ROLE_ADMIN);
    answer_result(RC_FORBIDDEN, 0);
    expect(&reply, 403, "\"forbidden\"");
    expect_added("/v1/conversations/c/members", "{\"user\":\"x\"}", ROLE_MEMBER);
    expect_added("/v1/conversations/c/members/x", "", ROLE_MEMBER);
    expect_added("/v1/conversations/c/members/x", "{}", ROLE_MEMBER);
    expect_added("/v1/conversations/c/members/x", "{\"role\":\"admin\"}", ROLE_ADMIN);

    ask(&reply, "PATCH", "/v1/conversations/c/members/x", "{\"role\":\"owner\"}");
    read_command(&msg_cmd_member_desc, &member);
    assert_int_equal(member.change, MEMBER_ROLE);
    assert_int_equal(member.role, ROLE_OWNER);
    answer_result(RC_OK, 9);

    ask(&reply, "DELETE", "/v1/conversations/c/members/x", "");
    read_command(&msg_cmd_member_desc, &member);
    assert_int_equal(member.change, MEMBER_REMOVE);
    answer_result(RC_OK, 9);
    ask_as_user(&reply, "x", "DELETE", "/v1/conversations/c/members/x", "");
    read_command(&msg_cmd_member_desc, &member);
    assert_int_equal(member.change, MEMBER_LEAVE);
    answer_result(RC_OK, 9);

    ask(&reply, "PATCH", "/v1/conversations/c/messages/12", "{\"body\":true,\"cid\":\"e\"}");
    read_command(&msg_cmd_change_desc, &change);
    assert_int_equal(change.type, ENTRY_EDIT);
    assert_int_equal(change.target, 12);
    assert_int_equal(change.as_server, 1);
    answer_result(RC_OK, 20);
    expect(&reply, 200, "{\"type\":\"sent\",\"conv\":\"c\",\"cid\":\"e\",\"seq\":20,\"ts\":7}");
    ask_as_user(&reply, "x", "DELETE", "/v1/conversations/c/messages/12", "");
    read_command(&msg_cmd_change_desc, &change);
    assert_int_equal(change.type, ENTRY_DELETE);
    assert_true(slice_equals(change.user, "x") && change.as_server == 0);
    answer_result(RC_CONFLICT, 0);
    expect(&reply, 409, "\"conflict\"");
}

/* Pages: what the query says is what the router is asked, within its limits. */
static void pages_are_asked_as_the_query_says(void **state)
{
    (void)state;
    struct reply reply;
    struct msg_fetch fetch;
    struct msg_members members;
    ask_as(&reply, rig.key, "GET", "/v1/conversations/c/messages", "after=7&limit=9999", "");
    read_asked(0, &msg_fetch_desc, &fetch);
    assert_true(fetch.after == 7 && fetch.before == 0 && fetch.limit == LIMIT_HISTORY_COUNT_MAX);
    assert_null(fetch.user.base);
    struct msg_fetched fetched = {.req = fetch.req, .rc = RC_OK, .head = 9, .more = 1};
    answer(&msg_fetched_desc, &fetched);
    expect(&reply, 200,
           "{\"type\":\"history\",\"conv\":\"c\",\"entries\":[],\"head\":9,\"more\":true}");

    fetched.rc = RC_NOT_FOUND;
    ask_as(&reply, rig.key, "GET", "/v1/conversations/c/messages", "before=4", "");
    read_asked(1, &msg_fetch_desc, &fetch);
    assert_true(fetch.before == 4 && fetch.limit == 100);
    fetched.req = fetch.req;
    answer(&msg_fetched_desc, &fetched);
    expect(&reply, 404, "\"not_found\"");
    ask_as(&reply, rig.key, "GET", "/v1/conversations/c/messages", "", "");
    read_asked(2, &msg_fetch_desc, &fetch);
    assert_true(fetch.before == UINT64_C(1) << 53);
    fetched.req = fetch.req;
    answer(&msg_fetched_desc, &fetched);

    ask_as(&reply, rig.key, "GET", "/v1/conversations/c/members", "after=%C3%BC+x&limit=3", "");
    read_asked(3, &msg_members_desc, &members);
    assert_true(slice_equals(members.after, "\xc3\xbc x") && members.limit == 3);
    struct msg_members_page page = {.req = members.req, .rc = RC_OK, .total = 5};
    answer(&msg_members_page_desc, &page);
    expect(&reply, 200, "\"members\":[],\"total\":5,\"more\":false}");

    static const char *const bad[] = {
        "after=x", "after=-1",         "before=0",        "limit=0",
        "limit=",  "after=1&before=2", "after=1&after=1", "limit=99999999999999999999999"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ask_as(&reply, rig.key, "GET", "/v1/conversations/c/messages", bad[i], "");
        expect(&reply, 400, "\"bad_request\"");
    }
    ask_as(&reply, rig.key, "GET", "/v1/users/u/conversations", "after=a%20b", "");
    expect(&reply, 400, "after is the last conversation");
    assert_int_equal(rig.asked_count, 4);
}

/* The page of one is asked for from right before him, and is about nobody else. */
static void a_member_is_the_first_behind_the_name_before(void **state)
{
    (void)state;
    static const struct {
        const char *name, *before; /* Without what it is filled up with. */
    } cases[] = {
        {" ", ""},
        {"b ", "b"},
        {"bob", "boa"},
        {"b!", "b "},
        {"b\xc2\xa0", "b~"},
        {"\xe4\x80\x80", "\xe3\xbf\xbf"},
        {"\xc3\x80", "\xc2\xbf"},
        {"\xe0\xa0\x80", "\xdf\xbf"},
        {"\xee\x80\x80", "\xed\x9f\xbf"},
        {"\xf0\x90\x80\x80", "\xef\xbf\xbf"},
        {"\xf1\x80\x80\x80", "\xf0\xbf\xbf\xbf"},
    };
    struct reply reply;
    struct msg_members members;
    for (uint32_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char path[64];
        size_t size = strlen(cases[i].before);
        snprintf(path, sizeof(path), "/v1/conversations/c/members/%s", cases[i].name);
        ask(&reply, "GET", path, "");
        read_asked(i, &msg_members_desc, &members);
        assert_int_equal(members.limit, 1);
        assert_true(members.after.size == (i < 2 ? size : LIMIT_USER_SIZE_MAX));
        assert_true(members.after.size == 0 || key_user_is_valid(members.after));
        assert_true(slice_equals(slice_of(members.after.base, size), cases[i].before));
        struct buf *item = buf_new(64);
        struct msg_member member = {
            .user = slice_string(i % 2 ? cases[i].name : "z"), .role = ROLE_ADMIN, .joined = 3};
        record_encode(item, &msg_member_desc, &member);
        struct msg_members_page page = {
            .req = members.req, .rc = RC_OK, .members = buf_slice(item), .total = 5, .more = 1};
        answer(&msg_members_page_desc, &page);
        buf_unref(&item);
        expect(&reply, i % 2 ? 200 : 404,
               i % 2 ? "\"role\":\"admin\",\"joined\":3}" : "\"not_found\"");
    }
}

/* A path is split where slashes were sent, and its parts are decoded afterwards: a name reaches
 * exactly the one who has it. */
static void a_name_in_a_path_is_that_name(void **state)
{
    (void)state;
    static const struct {
        const char *part, *user;
    } cases[] = {
        {"..%2F..%2Ft2", "../../t2"},
        {"..", ".."},
        {".", "."},
        {"%2e%2e", ".."},
        {"a%2Fb", "a/b"},
        {"x%2F..%2Fbob", "x/../bob"},
        {"%2Fbob", "/bob"},
        {"bob%2F", "bob/"},
        {"a%252Fb", "a%2Fb"},
        {"a+b", "a+b"},
        {"a%20b", "a b"},
    };
    struct reply reply;
    struct msg_cmd_member member;
    for (uint32_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char path[96];
        snprintf(path, sizeof(path), "/v1/conversations/t1/members/%s", cases[i].part);
        ask(&reply, "DELETE", path, "");
        assert_int_equal(rig.asked_count, i + 1);
        read_command(&msg_cmd_member_desc, &member);
        assert_true(slice_equals(member.conv, "t1"));
        struct record_reader names = record_reader_of(member.users);
        struct slice name;
        assert_int_equal(record_get_slice(&names, &name), RC_OK);
        assert_true(slice_equals(name, cases[i].user));
        answer_result(RC_OK, 1);
        expect(&reply, 200, "\"ok\"");
    }
    static const char *const bad[] = {"/v1/users/%zz", "/v1/users/a%00b", "/v1/users/%0a",
                                      "/v1/conversations/a%2Fb", "/v1/users/%"};
    uint32_t asked = rig.asked_count;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ask(&reply, "DELETE", bad[i], "");
        expect(&reply, 400, "\"bad_request\"");
    }
    ask(&reply, "DELETE", "/v1/users//../conversations/t4", "");
    expect(&reply, 404, "\"not_found\"");
    ask(&reply, "DELETE", "/v1/conversations/t1/members/", "");
    expect(&reply, 404, "\"not_found\"");
    assert_int_equal(rig.asked_count, asked);
}

/* A body belongs to methods that have one; whether the path knows the method comes first. */
static void a_body_where_none_belongs_is_refused(void **state)
{
    (void)state;
    static const struct {
        enum api_method method;
        const char *path;
        unsigned status;
    } cases[] = {
        {API_DELETE, "/v1/conversations/c", 400}, {API_GET, "/v1/cluster", 400},
        {API_OTHER, "/v1/conversations/c", 405},  {API_DELETE, "/v1/presence", 405},
        {API_DELETE, "/v1/nothing", 404},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buf *out = buf_new(0);
        struct api_answer refusal;
        struct api_head head = {
            .method = cases[i].method, .path = slice_string(cases[i].path), .has_body = true};
        assert_null(api_open(rig.world->gateway, &head, out, &refusal));
        assert_int_equal(refusal.status, cases[i].status);
        assert_true((refusal.allow[0] != '\0') == (refusal.status == 405));
        buf_unref(&out);
    }
}

/* What a path is, and what it is not. */
static void paths_are_what_the_table_says(void **state)
{
    (void)state;
    static const struct {
        const char *method, *path;
        unsigned status;
        const char *allow;
    } cases[] = {
        {"GET", "/v1", 404, ""},
        {"GET", "/v1/", 404, ""},
        {"GET", "/v1/conversations/", 404, ""},
        {"GET", "/v1/conversations//messages", 404, ""},
        {"GET", "/v1/conversations/c/messages/", 404, ""},
        {"DELETE", "/v1/users/a/b", 404, ""},
        {"GET", "/v1/CLUSTER", 404, ""},
        {"PUT", "/v1/cluster", 405, "GET"},
        {"GET", "/v1/conversations", 405, "POST"},
        {"POST", "/v1/conversations/c", 405, "GET, PATCH, DELETE"},
        {"GET", "/v1/users/conversations", 405, "DELETE"},
        {"GET", "/v1/conversations/a b", 400, ""},
        {"DELETE", "/v1/conversations/c/messages/0", 400, ""},
        {"DELETE", "/v1/conversations/c/messages/1x", 400, ""},
        {"DELETE", "/v1/conversations/c/messages/9007199254740992", 400, ""},
        {"DELETE", "/v1/users/a\x01", 400, ""},
    };
    struct reply reply;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        ask(&reply, cases[i].method, cases[i].path, "");
        if (reply.status != cases[i].status || strcmp(reply.allow, cases[i].allow) != 0)
            fail_msg("%s %s: %u \"%s\"", cases[i].method, cases[i].path, reply.status, reply.allow);
    }
    assert_int_equal(rig.asked_count, 0);
}

/* A group takes the id it is given, or one is drawn; a direct conversation has its own, whoever
 * asks for it. */
static void a_conversation_gets_its_id(void **state)
{
    (void)state;
    struct reply reply;
    struct msg_cmd_create create;
    char direct[KEY_DIRECT_SIZE];
    key_direct(slice_string("a"), slice_string("b"), direct);
    ask(&reply, "POST", "/v1/conversations",
        "{\"conv\":\"c1\",\"members\":[\"a\"],\"retain_ms\":5}");
    read_command(&msg_cmd_create_desc, &create);
    assert_true(slice_equals(create.conv, "c1") && create.user.base == NULL);
    assert_true(create.as_server == 1 && create.kind == CONV_GROUP && create.retain_ms == 5);
    answer_result(RC_CONFLICT, 0);
    expect(&reply, 409, "\"conflict\"");

    ask(&reply, "POST", "/v1/conversations",
        "{\"members\":[],\"from\":\"a\",\"title\":\"\\u0054\"}");
    read_command(&msg_cmd_create_desc, &create);
    assert_true(create.conv.size == KEY_GROUP_SIZE && key_conv_is_valid(create.conv));
    assert_true(slice_equals(create.user, "a") && slice_equals(create.title, "T"));
    answer_result(RC_OK, 3);
    expect(&reply, 201, "\"kind\":\"group\",\"title\":\"T\",\"head\":3}");

    static const char *const ways[] = {
        "{\"kind\":\"direct\",\"members\":[\"a\",\"b\"]}",
        "{\"kind\":\"direct\",\"members\":[\"b\",\"a\"]}",
        "{\"kind\":\"direct\",\"from\":\"a\",\"members\":[\"b\"]}",
        "{\"kind\":\"direct\",\"from\":\"a\",\"members\":[\"a\",\"b\"]}",
        "{\"kind\":\"direct\",\"from\":\"b\",\"members\":[\"a\",\"b\",\"a\"]}",
    };
    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
        ask(&reply, "POST", "/v1/conversations", ways[i]);
        read_command(&msg_cmd_create_desc, &create);
        assert_true(slice_equal(create.conv, slice_of(direct, sizeof(direct))));
        struct record_reader members = record_reader_of(create.members);
        struct slice member;
        assert_int_equal(record_get_slice(&members, &member), RC_OK);
        assert_false(slice_equal(member, create.user));
        assert_true(record_reader_at_end(&members));
        struct msg_result again = {.req = last_req(), .rc = RC_OK, .seq = 2, .dup = 1};
        answer(&msg_result_desc, &again);
        expect(&reply, 200, "\"kind\":\"direct\",\"title\":null,\"head\":2,\"dup\":true}");
    }
    static const char *const bad[] = {
        "{\"kind\":\"direct\",\"members\":[]}",
        "{\"kind\":\"direct\",\"members\":[\"a\"]}",
        "{\"kind\":\"direct\",\"members\":[\"a\",\"a\"]}",
        "{\"kind\":\"direct\",\"members\":[\"a\",\"b\",\"c\"]}",
        "{\"kind\":\"direct\",\"from\":\"a\",\"members\":[]}",
        "{\"kind\":\"direct\",\"from\":\"a\",\"members\":[\"b\",\"c\"]}",
        "{\"kind\":\"direct\",\"conv\":\"other\",\"members\":[\"a\",\"b\"]}",
        "{\"members\":[],\"body\":1}",
        "{}",
        "[]",
        "",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ask(&reply, "POST", "/v1/conversations", bad[i]);
        expect(&reply, 400, "\"bad_request\"");
    }
}

/* With a cid a group that names no id has that of its creator and the cid, so that a request which
 * comes again meets it. */
static void a_group_made_again_is_the_same(void **state)
{
    (void)state;
    static const struct {
        const char *body, *creator;
    } cases[] = {
        {"{\"members\":[\"b\"],\"cid\":\"k\",\"from\":\"a\"}", "a"},
        {"{\"members\":[\"b\"],\"cid\":\"k\"}", NULL},
    };
    struct reply reply;
    for (size_t i = 0; i < 4; i++) {
        struct msg_cmd_create create;
        char id[KEY_GROUP_SIZE];
        const char *creator = cases[i % 2].creator;
        key_group_of(world_cluster, creator != NULL ? slice_string(creator) : (struct slice){0},
                     slice_string("k"), id);
        ask(&reply, "POST", "/v1/conversations", cases[i % 2].body);
        read_command(&msg_cmd_create_desc, &create);
        assert_true(slice_equal(create.conv, slice_of(id, sizeof(id))));
        struct msg_result result = {.req = last_req(), .rc = RC_OK, .seq = 3, .dup = i / 2};
        answer(&msg_result_desc, &result);
        expect(&reply, i < 2 ? 201 : 200, i < 2 ? "\"head\":3}" : "\"head\":3,\"dup\":true}");
    }
}

/* A conversation that the summary leaves out is looked for in the log: is it not there, or not the
 * asker's? */
static void what_is_not_shown_is_explained(void **state)
{
    (void)state;
    struct reply reply;
    ask_as_user(&reply, "eve", "GET", "/v1/conversations/c", "");
    assert_int_equal(rig.asked[0].number, MSG_SUMMARY);
    struct msg_summaries none = {.req = last_req(), .rc = RC_OK};
    answer(&msg_summaries_desc, &none);
    struct msg_fetch fetch;
    read_asked(1, &msg_fetch_desc, &fetch);
    assert_true(slice_equals(fetch.user, "eve") && fetch.limit == 1);
    struct msg_fetched refused = {.req = fetch.req, .rc = RC_FORBIDDEN};
    answer(&msg_fetched_desc, &refused);
    expect(&reply, 403, "\"forbidden\"");
}

/* A list is asked for without following the user: to look at him does not make him online. */
static void a_list_is_only_looked_at(void **state)
{
    (void)state;
    struct reply reply;
    ask(&reply, "GET", "/v1/users/bob/conversations", "");
    struct msg_user_open open;
    read_asked(0, &msg_user_open_desc, &open);
    assert_int_equal(open.peek, 1);
    assert_int_equal(open.past, 0);
    struct msg_user_convs convs = {.req = open.req, .rc = RC_OK};
    answer(&msg_user_convs_desc, &convs);
    expect(&reply, 200, "{\"type\":\"conversations\",\"conversations\":[],\"more\":false}");
    ask_as(&reply, rig.key, "GET", "/v1/users/bob/conversations", "after=c", "");
    convs.req = last_req();
    answer(&msg_user_convs_desc, &convs);
    expect(&reply, 404, "\"not_found\",\"message\":\"after is not in the list");
}

/* ---- Presence ---- */

static void answer_presences(uint32_t index, uint64_t status)
{
    struct msg_presence_query query;
    read_asked(index, &msg_presence_query_desc, &query);
    struct record_reader r = record_reader_of(query.users);
    struct msg_presence_item item = {.status = status, .last_seen = index + 1};
    struct buf *items = buf_new(64);
    while (record_get_slice(&r, &item.user) == RC_OK)
        record_encode(items, &msg_presence_item_desc, &item);
    struct msg_presences presences = {.req = query.req, .rc = RC_OK, .items = buf_slice(items)};
    answer_from(rig.asked[index].router, &msg_presences_desc, &presences);
    buf_unref(&items);
}

/* Each shard is asked once, and the answer has the order of the question, with its repetitions. */
static void presence_is_gathered_in_the_order_asked(void **state)
{
    (void)state;
    struct reply reply;
    ask(&reply, "POST", "/v1/presence",
        "{\"users\":[\"a\",\"b\",\"c\",\"d\",\"e\",\"f\",\"g\",\"a\"]}");
    assert_in_range(rig.asked_count, 2, WORLD_SHARDS);
    for (uint32_t i = 0; i < rig.asked_count; i++) {
        assert_int_equal(reply.status, 0);
        answer_presences(i, PRESENCE_AWAY);
    }
    expect(&reply, 200,
           "{\"type\":\"presence_list\",\"users\":[{\"user\":\"a\",\"status\":\"away\"");
    const char *at = reply.body;
    for (const char *name = "abcdefga"; *name != '\0'; name++) {
        char item[32];
        snprintf(item, sizeof(item), "{\"user\":\"%c\"", *name);
        at = strstr(at, item);
        assert_non_null(at);
        at++;
    }
    ask(&reply, "GET", "/v1/users/zoe/presence", "");
    answer_presences(rig.asked_count - 1, PRESENCE_ONLINE);
    expect(&reply, 200, "{\"user\":\"zoe\",\"status\":\"online\"");
    ask(&reply, "POST", "/v1/presence", "{\"users\":[]}");
    expect(&reply, 400, "\"bad_request\"");
}

static void refuse_presences(uint32_t index)
{
    struct msg_presence_query query;
    read_asked(index, &msg_presence_query_desc, &query);
    struct msg_presences refused = {.req = query.req, .rc = RC_UNAVAILABLE};
    answer_from(rig.asked[index].router, &msg_presences_desc, &refused);
}

/* A leader that does not know yet who is online is asked again, and it alone. */
static void presence_waits_for_who_knows(void **state)
{
    (void)state;
    struct reply reply;
    ask(&reply, "POST", "/v1/presence", "{\"users\":[\"a\",\"b\",\"c\",\"d\",\"e\",\"f\",\"g\"]}");
    uint32_t asked = rig.asked_count;
    for (uint32_t i = 1; i < asked; i++)
        answer_presences(i, PRESENCE_ONLINE);
    refuse_presences(0);
    for (uint32_t i = asked; i < asked + 3; i++) {
        world_run(rig.world, LIMIT_BEAT_MS + 5);
        assert_int_equal(reply.status, 0);
        assert_int_equal(rig.asked_count, i + 1);
        refuse_presences(i);
    }
    world_run(rig.world, LIMIT_BEAT_MS + 5);
    answer_presences(rig.asked_count - 1, PRESENCE_ONLINE);
    expect(&reply, 200, "{\"user\":\"g\",\"status\":\"online\"");
}

/* One shard that cannot be had is an answer for all, once request_ms are over. */
static void presence_fails_as_a_whole(void **state)
{
    (void)state;
    struct reply reply;
    ask(&reply, "POST", "/v1/presence", "{\"users\":[\"a\",\"b\",\"c\",\"d\",\"e\",\"f\",\"g\"]}");
    for (uint32_t i = 1; i < rig.asked_count; i++)
        answer_presences(i, PRESENCE_ONLINE);
    world_run(rig.world, rig.world->options.request_ms - 100);
    assert_int_equal(reply.status, 0);
    world_run(rig.world, 200);
    expect(&reply, 503, "\"unavailable\"");
    assert_true(reply.retry_s >= 1);
}

/* Before routers are known nobody can be asked. */
static void presence_needs_routers(void **state)
{
    (void)state;
    struct reply reply;
    world_free(&rig.world);
    make_world();
    ask(&reply, "GET", "/v1/users/zoe/presence", "");
    expect(&reply, 503, "\"unavailable\"");
}

/* ---- What takes steps ---- */

static void answer_convs(const char *const *convs, uint64_t more)
{
    struct msg_user_open open;
    struct buf *names = buf_new(64);
    read_asked(rig.asked_count - 1, &msg_user_open_desc, &open);
    assert_true(open.peek == 1 && open.past == 1);
    for (size_t i = 0; convs[i] != NULL; i++)
        record_put_slice(names, slice_string(convs[i]));
    struct msg_user_convs page = {
        .req = open.req, .rc = RC_OK, .convs = buf_slice(names), .more = more};
    answer(&msg_user_convs_desc, &page);
    buf_unref(&names);
}

/* All shards are asked of what his list has yet to be told; the first one owes it `conv`. */
static void answer_untold(const char *conv)
{
    uint32_t asked = rig.asked_count;
    for (uint32_t i = 0; i < WORLD_SHARDS; i++) {
        struct msg_untold request;
        struct buf *names = buf_new(64);
        uint32_t at = asked - WORLD_SHARDS + i;
        assert_int_equal(rig.asked_count, asked); /* Nothing goes on before all have said. */
        read_asked(at, &msg_untold_desc, &request);
        assert_true(slice_equals(request.user, "bob"));
        if (request.shard == 0 && conv != NULL)
            record_put_slice(names, slice_string(conv));
        struct msg_untold_convs untold = {.req = request.req, .convs = buf_slice(names)};
        answer_from(rig.asked[at].router, &msg_untold_convs_desc, &untold);
        buf_unref(&names);
    }
}

/* The last question of this conversation is answered. */
static void answer_erase(const char *conv, uint64_t after, enum rc rc, uint64_t seq)
{
    struct msg_submit submit;
    struct msg_cmd_erase command;
    uint32_t at = rig.asked_count;
    do {
        read_asked(--at, &msg_submit_desc, &submit);
        struct record_reader r = record_reader_of(submit.command);
        assert_int_equal(record_decode(&r, &msg_cmd_erase_desc, &command), RC_OK);
    } while (!slice_equals(command.conv, conv));
    assert_true(slice_equals(command.user, "bob"));
    assert_int_equal(command.after, after);
    struct msg_result result = {.req = submit.req, .rc = rc, .seq = seq, .ts = 7};
    if (rc == RC_UNAVAILABLE)
        result.hint_ms = LIMIT_RETRY_AFTER_MS; /* The router has too much to do. */
    answer_from(rig.asked[at].router, &msg_result_desc, &result);
}

/* He is logged out, then forgotten where his list does not know yet, then page by page forgotten in
 * all conversations of it at once, in each as often as it takes; at last it is forgotten when he
 * was seen. */
static void a_user_is_erased_step_by_step(void **state)
{
    (void)state;
    struct reply reply;
    struct msg_user_open open;
    struct msg_cmd_seen seen;
    ask(&reply, "DELETE", "/v1/users/bob", "");
    assert_int_equal(rig.asked[0].number, MSG_USER_KICK);
    answer_result(RC_OK, 0);
    answer_untold("c0");
    answer_erase("c0", 0, RC_OK, 256);
    answer_erase("c0", 256, RC_OK, 0);
    read_asked(rig.asked_count - 1, &msg_user_open_desc, &open);
    assert_true(open.after.size == 0); /* Now the list, from its beginning. */
    answer_convs((const char *const[]){"c1", "c2", NULL}, 1);
    answer_erase("c1", 0, RC_OK, 256);
    answer_erase("c2", 0, RC_NOT_FOUND, 0); /* It is gone meanwhile. */
    answer_erase("c1", 256, RC_OK, 0);
    read_asked(rig.asked_count - 1, &msg_user_open_desc, &open);
    assert_true(slice_equals(open.after, "c2"));
    answer_convs((const char *const[]){"c3", NULL}, 0);
    answer_erase("c3", 0, RC_OK, 0);
    read_command(&msg_cmd_seen_desc, &seen);
    assert_true(slice_equals(seen.user, "bob") && seen.erase == 1);
    assert_int_equal(reply.status, 0);
    answer_result(RC_OK, 0);
    expect(&reply, 200, "{\"type\":\"ok\"}");
}

/* Some at a time, and as one is done the next begins. */
static void conversations_are_erased_some_at_a_time(void **state)
{
    (void)state;
    struct reply reply;
    char names[20][8];
    const char *convs[21] = {NULL};
    for (uint32_t i = 0; i < 20; i++) {
        snprintf(names[i], sizeof(names[i]), "c%u", i);
        convs[i] = names[i];
    }
    ask(&reply, "DELETE", "/v1/users/bob", "");
    answer_result(RC_OK, 0);
    answer_untold(NULL);
    answer_convs(convs, 0);
    assert_int_equal(rig.asked_count, 2 + WORLD_SHARDS + 16);
    for (uint32_t i = 0; i < 4; i++)
        answer_erase(convs[i], 0, RC_OK, 0);
    assert_int_equal(rig.asked_count, 2 + WORLD_SHARDS + 20);
    for (uint32_t i = 4; i < 20; i++)
        answer_erase(convs[i], 0, RC_OK, 0);
    assert_int_equal(rig.asked_count, 2 + WORLD_SHARDS + 20 + 1);
    answer_result(RC_OK, 0);
    expect(&reply, 200, "{\"type\":\"ok\"}");
}

/* A step for which there is no room waits until another one is done; where there is none, it says
 * so. */
static void an_erasure_goes_on_with_what_there_is_room_for(void **state)
{
    (void)state;
    struct reply reply;
    const char *convs[] = {"c0", "c1", "c2", "c3", "c4", "c5", NULL};
    ask(&reply, "DELETE", "/v1/users/bob", "");
    answer_result(RC_OK, 0);
    answer_untold(NULL);
    answer_convs(convs, 0);
    uint32_t asked = rig.asked_count;
    for (uint32_t i = 2; i < 6; i++)
        answer_erase(convs[i], 0, RC_UNAVAILABLE, 0);
    answer_erase("c1", 0, RC_OK, 256); /* It goes on itself. */
    assert_int_equal(rig.asked_count, asked + 1);
    answer_erase("c0", 0, RC_OK, 0);
    assert_int_equal(rig.asked_count, asked + 2); /* Two at a time from now on. */
    answer_erase("c1", 256, RC_OK, 0);
    for (uint32_t i = 2; i < 5; i++)
        answer_erase(convs[i], 0, RC_OK, 0);
    assert_int_equal(rig.asked_count, asked + 5);
    assert_int_equal(reply.status, 0);
    answer_erase("c5", 0, RC_UNAVAILABLE, 0);
    expect(&reply, 503, "\"unavailable\"");
}

/* A step that fails ends it; who asks again begins again. */
static void an_erasure_that_fails_may_be_repeated(void **state)
{
    (void)state;
    struct reply reply;
    ask(&reply, "DELETE", "/v1/users/bob", "");
    answer_result(RC_OK, 0);
    answer_untold(NULL);
    answer_convs((const char *const[]){"c1", NULL}, 0);
    answer_result(RC_INTERNAL, 0);
    expect(&reply, 500, "\"internal\"");
    ask(&reply, "DELETE", "/v1/users/bob", "");
    answer_result(RC_OK, 0);
    answer_untold(NULL);
    answer_convs((const char *const[]){NULL}, 0);
    answer_result(RC_OK, 0);
    expect(&reply, 200, "{\"type\":\"ok\"}");
}

/* It does not go on for ever: after a while who asked is told to ask again. */
static void a_long_erasure_is_told_to_come_again(void **state)
{
    (void)state;
    struct reply reply;
    uint64_t seq = 0;
    ask(&reply, "DELETE", "/v1/users/bob", "");
    answer_result(RC_OK, 0);
    answer_untold(NULL);
    answer_convs((const char *const[]){"c1", NULL}, 0);
    while (reply.status == 0 && seq < 50) {
        world_run(rig.world, SECOND);
        answer_result(RC_OK, ++seq);
    }
    expect(&reply, 503, "send it again");
    assert_in_range(seq, 19, 21);
}

/* A conversation is dropped with as many commands as it takes. */
static void a_conversation_is_dropped_step_by_step(void **state)
{
    (void)state;
    struct reply reply;
    struct msg_cmd_drop drop;
    ask(&reply, "DELETE", "/v1/conversations/c", "");
    for (unsigned i = 0; i < 3; i++) {
        read_command(&msg_cmd_drop_desc, &drop);
        assert_true(slice_equals(drop.conv, "c"));
        answer_result(RC_OK, 5);
    }
    answer_result(RC_OK, 0);
    expect(&reply, 200, "{\"type\":\"ok\"}");
    assert_int_equal(rig.asked_count, 4);
    ask(&reply, "DELETE", "/v1/conversations/c", "");
    answer_result(RC_NOT_FOUND, 0);
    expect(&reply, 404, "\"not_found\"");
}

/* ---- The cluster ---- */

static void answer_status(uint32_t index, const char *json)
{
    struct msg_status_request request;
    read_asked(index, &msg_status_request_desc, &request);
    struct msg_status_reply reply = {.req = request.req, .json = slice_string(json)};
    answer_from(rig.asked[index].router, &msg_status_reply_desc, &reply);
}

/* All who want to know at a time cost one question to each router, and who comes soon after none.
 */
static void routers_are_asked_once_for_all(void **state)
{
    (void)state;
    struct reply replies[3];
    ask(&replies[0], "GET", "/v1/cluster", "");
    ask(&replies[1], "GET", "/v1/cluster", "");
    assert_int_equal(rig.asked_count, WORLD_ROUTERS);
    answer_status(0, "{\"id\":\"r1\",\"shards\":{\"total\":4,\"led\":2}}");
    assert_int_equal(replies[0].status, 0);
    answer_status(0, "{\"id\":\"r1\"}"); /* Twice counts once. */
    assert_int_equal(replies[0].status, 0);
    answer_status(1, "{\"id\":\"r2\",\"shards\":{\"total\":4,\"led\":2}}");
    for (unsigned i = 0; i < 2; i++) {
        expect(&replies[i], 200, "{\"cluster\":\"abcdef01");
        expect(&replies[i], 200, "{\"id\":\"g1\",\"role\":\"gateway\"");
        expect(&replies[i], 200, "{\"id\":\"r2\",\"role\":\"router\"");
        expect(&replies[i], 200, "\"shards\":{\"total\":4,\"led\":4}");
    }
    ask(&replies[2], "GET", "/v1/cluster", "");
    expect(&replies[2], 200, "\"shards\":{\"total\":4,\"led\":4}");
    assert_int_equal(rig.asked_count, WORLD_ROUTERS);
    world_run(rig.world, SECOND);
    ask(&replies[2], "GET", "/v1/cluster", "");
    assert_int_equal(rig.asked_count, 2 * WORLD_ROUTERS);
    world_run(rig.world, 2 * SECOND);
    assert_int_equal(replies[2].status, 200);
}

/* A router that says nothing, or what is no JSON, is left out, and nobody waits for it for long. */
static void the_cluster_is_shown_without_who_is_silent(void **state)
{
    (void)state;
    struct reply reply;
    ask(&reply, "GET", "/v1/cluster", "");
    answer_status(0, "{\"id\":");
    world_run(rig.world, 900);
    assert_int_equal(reply.status, 0);
    world_run(rig.world, 200);
    expect(&reply, 200, "\"routers\":[]}");
    answer_status(1, "{}"); /* Too late, for nobody. */
}

/* ---- When it is too much, or nobody is there ---- */

/* Each asker has so many requests a second; the next second is his again, and others have theirs.
 */
static void who_asks_too_often_is_told_to_wait(void **state)
{
    (void)state;
    struct reply reply;
    rig.world->gateway->options.frames_per_second_max = 3;
    for (unsigned i = 0; i < 3; i++) {
        ask(&reply, "DELETE", "/v1/users/a\x01", "");
        expect(&reply, 400, "");
    }
    ask(&reply, "DELETE", "/v1/users/a\x01", "");
    expect(&reply, 429, "\"rate_limited\"");
    assert_int_equal(reply.retry_s, 1);
    ask_as_user(&reply, "test", "GET", "/v1/cluster", "");
    expect(&reply, 403, "");
    world_run(rig.world, SECOND + 1);
    ask(&reply, "DELETE", "/v1/users/a\x01", "");
    expect(&reply, 400, "");
}

/* So many may wait for an answer, no more; what is refused is not asked. */
static void so_many_wait_and_no_more(void **state)
{
    (void)state;
    struct api_head head = {.method = API_GET, .path = slice_string("/v1/cluster"), .is_dev = true};
    struct api_call *calls[API_CALLS_MAX];
    struct api_answer refusal;
    struct buf *out = buf_new(0);
    for (uint32_t i = 0; i < API_CALLS_MAX; i++) {
        calls[i] = api_open(rig.world->gateway, &head, out, &refusal);
        assert_non_null(calls[i]);
    }
    assert_null(api_open(rig.world->gateway, &head, out, &refusal));
    assert_int_equal(refusal.status, 503);
    assert_true(refusal.retry_s >= 1);
    api_abandon(&calls[0]);
    calls[0] = api_open(rig.world->gateway, &head, out, &refusal);
    assert_non_null(calls[0]);
    for (uint32_t i = 0; i < API_CALLS_MAX; i++)
        api_abandon(&calls[i]);
    buf_unref(&out);
}

/* A router that does not answer is 503 when its time is over. */
static void without_an_answer_it_is_unavailable(void **state)
{
    (void)state;
    struct reply reply;
    ask(&reply, "GET", "/v1/conversations/c/messages", "");
    world_run(rig.world, 3 * SECOND);
    expect(&reply, 503, "\"unavailable\"");
    assert_true(reply.retry_s >= 1);
}

/* A router's sentence is the client's, and when it wants the request again is Retry-After. */
static void what_a_router_says_is_passed_on(void **state)
{
    (void)state;
    struct reply reply;
    ask(&reply, "POST", "/v1/conversations/c/messages", "{\"from\":\"a\",\"body\":1}");
    struct msg_result busy = {.req = last_req(),
                              .rc = RC_UNAVAILABLE,
                              .detail = slice_string("a \"busy\" shard"),
                              .hint_ms = 2500};
    answer(&msg_result_desc, &busy);
    expect(&reply, 503, "\"message\":\"a \\\"busy\\\" shard\"");
    assert_int_equal(reply.retry_s, 3);
}

/* Who goes is answered no more, at any step of any request; nothing is asked on his behalf. */
static void who_goes_is_forgotten(void **state)
{
    (void)state;
    static const char *const requests[][3] = {
        {"GET", "/v1/users/u/conversations", ""},
        {"GET", "/v1/cluster", ""},
        {"POST", "/v1/presence", "{\"users\":[\"a\",\"b\",\"c\",\"d\",\"e\"]}"},
        {"DELETE", "/v1/users/bob", ""},
        {"PATCH", "/v1/conversations/c", "{\"title\":\"t\"}"},
        {"POST", "/v1/conversations", "{\"members\":[]}"},
    };
    struct reply reply;
    for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
        ask(&reply, requests[i][0], requests[i][1], requests[i][2]);
        assert_non_null(reply.call);
        api_abandon(&reply.call);
        uint32_t asked = rig.asked_count;
        if (rig.asked[asked - 1].number == MSG_USER_KICK)
            answer_result(RC_OK, 0);
        world_run(rig.world, 3 * SECOND);
        assert_int_equal(reply.status, 0);
        assert_int_equal(rig.asked_count, asked);
        assert_int_equal(rig.world->gateway->api.call_count, 0);
        assert_true(list_is_empty(&rig.world->gateway->presence.queries));
    }
}

/* A gateway may go while requests are on their way. */
static void the_gateway_may_go_with_requests_under_way(void **state)
{
    (void)state;
    struct reply replies[4];
    ask(&replies[0], "GET", "/v1/users/u/conversations", "");
    ask(&replies[1], "GET", "/v1/cluster", "");
    ask(&replies[2], "POST", "/v1/presence", "{\"users\":[\"a\",\"b\",\"c\"]}");
    ask(&replies[3], "DELETE", "/v1/users/bob", "");
    for (unsigned i = 0; i < 4; i++)
        api_abandon(&replies[i].call);
    world_free(&rig.world);
    for (uint32_t i = 0; i < rig.asked_count; i++)
        buf_unref(&rig.asked[i].bytes);
    rig.asked_count = 0;
    setup(state); /* For the teardown. */
}

/* ---- Logging out ---- */

/* A user who is logged out loses every session here, and nobody else does. */
static void who_is_kicked_is_closed_with_4503(void **state)
{
    (void)state;
    struct world_link *phone = world_connect(rig.world, "bob", "phone", false);
    struct world_link *laptop = world_connect(rig.world, "bob", "laptop", false);
    struct world_link *other = world_connect(rig.world, "alice", "phone", false);
    world_run(rig.world, 100);
    struct msg_event_device kick = {.user = slice_string("bob"), .kick = 1};
    world_publish(rig.world, 0, &msg_event_device_desc, &kick);
    world_run(rig.world, 2);
    assert_int_equal(phone->code, CLOSE_LOGGED_OUT);
    assert_int_equal(laptop->code, CLOSE_LOGGED_OUT);
    assert_int_equal(other->code, 0);
    world_close(&phone);
    world_close(&laptop);
    world_close(&other);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(who_is_unknown_is_refused),
        TEST(a_key_that_is_withdrawn_is_refused),
        TEST(a_token_reaches_its_own_user_only),
        TEST(a_message_is_from_who_may_say_so),
        TEST(changes_say_who_makes_them),
        TEST(pages_are_asked_as_the_query_says),
        TEST(a_member_is_the_first_behind_the_name_before),
        TEST(a_name_in_a_path_is_that_name),
        TEST(a_body_where_none_belongs_is_refused),
        TEST(paths_are_what_the_table_says),
        TEST(a_conversation_gets_its_id),
        TEST(a_group_made_again_is_the_same),
        TEST(what_is_not_shown_is_explained),
        TEST(a_list_is_only_looked_at),
        TEST(presence_is_gathered_in_the_order_asked),
        TEST(presence_waits_for_who_knows),
        TEST(presence_fails_as_a_whole),
        TEST(presence_needs_routers),
        TEST(a_user_is_erased_step_by_step),
        TEST(conversations_are_erased_some_at_a_time),
        TEST(an_erasure_goes_on_with_what_there_is_room_for),
        TEST(an_erasure_that_fails_may_be_repeated),
        TEST(a_long_erasure_is_told_to_come_again),
        TEST(a_conversation_is_dropped_step_by_step),
        TEST(routers_are_asked_once_for_all),
        TEST(the_cluster_is_shown_without_who_is_silent),
        TEST(who_asks_too_often_is_told_to_wait),
        TEST(so_many_wait_and_no_more),
        TEST(without_an_answer_it_is_unavailable),
        TEST(what_a_router_says_is_passed_on),
        TEST(who_goes_is_forgotten),
        TEST(the_gateway_may_go_with_requests_under_way),
        TEST(who_is_kicked_is_closed_with_4503),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
