/* client: what requests are taken, what is refused and with which sentence, and every frame out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "gateway/client.h"
#include "mesh/base/limits.h"

struct fixture {
    struct client_decoder decoder;
    struct client_request request;
    const char *reason;
    struct buf *out;
};

static int setup(void **state)
{
    static struct fixture f;
    client_decoder_init(&f.decoder);
    f.out = buf_new(0);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    client_decoder_fini(&f->decoder);
    buf_unref(&f->out);
    return 0;
}

static enum rc decode(struct fixture *f, const char *text)
{
    f->reason = NULL;
    return client_decode(&f->decoder, slice_string(text), &f->request, &f->reason);
}

static void take(struct fixture *f, const char *text)
{
    if (decode(f, text) != RC_OK)
        fail_msg("refused (%s): %s", f->reason, text);
}

static void refuse(struct fixture *f, const char *text, const char *reason)
{
    if (decode(f, text) != RC_BAD_REQUEST)
        fail_msg("taken: %s", text);
    assert_string_equal(f->reason, reason);
}

#define EXPECT_SLICE(slice, text) assert_true(slice_equals(slice, text))

/* The hot one, with its fields in any order and some that nobody knows. */
static void a_send_is_read_whatever_the_order_of_its_fields(void **state)
{
    struct fixture *f = *state;
    take(f,
         " {\"body\" : {\"t\": \"hi \\u00e9\"} ,\"x\":[1],\"cid\":\"c1\",\"reply_to\":7,\"id\":5,"
         "\"conv\":\"g~1\",\"type\":\"send\"} ");
    assert_int_equal(f->request.type, CLIENT_SEND);
    EXPECT_SLICE(f->request.id, "5");
    EXPECT_SLICE(f->request.conv, "g~1");
    EXPECT_SLICE(f->request.cid, "c1");
    EXPECT_SLICE(f->request.body, "{\"t\": \"hi \\u00e9\"}");
    assert_int_equal(f->request.reply_to, 7);
    assert_null(f->request.to.base);
    take(f,
         "{\"type\":\"send\",\"id\":\"a\\\"b\",\"to\":\"b\xc3\xb6\",\"cid\":\"c\",\"body\":null}");
    EXPECT_SLICE(f->request.id, "\"a\\\"b\"");
    EXPECT_SLICE(f->request.to, "b\xc3\xb6");
    EXPECT_SLICE(f->request.body, "null");
}

/* Each of send's rules, by its sentence. */
static void a_send_that_breaks_a_rule_is_refused(void **state)
{
    struct fixture *f = *state;
    refuse(f, "{\"type\":\"send\",\"conv\":\"c\",\"body\":1}", "cid is required");
    refuse(f, "{\"type\":\"send\",\"conv\":\"c\",\"cid\":\"1\"}", "body is required");
    refuse(f, "{\"type\":\"send\",\"cid\":\"1\",\"body\":1}", "send needs either conv or to");
    refuse(f, "{\"type\":\"send\",\"conv\":\"c\",\"to\":\"u\",\"cid\":\"1\",\"body\":1}",
           "send needs either conv or to");
    refuse(f, "{\"type\":\"send\",\"conv\":\"c\",\"cid\":1,\"body\":1}",
           "cid must be 1 to 64 bytes without control characters");
    refuse(f, "{\"type\":\"send\",\"conv\":\"c\",\"cid\":\"\",\"body\":1}",
           "cid must be 1 to 64 bytes without control characters");
    refuse(f, "{\"type\":\"send\",\"conv\":\"c d\",\"cid\":\"1\",\"body\":1}",
           "conv must be 1 to 128 bytes of [A-Za-z0-9._:~@-]");
    refuse(f, "{\"type\":\"send\",\"to\":\"a\\u0000b\",\"cid\":\"1\",\"body\":1}",
           "to must be 1 to 128 bytes without control characters");
    refuse(f, "{\"type\":\"send\",\"conv\":\"c\",\"cid\":\"1\",\"body\":1,\"reply_to\":-1}",
           "reply_to must be an integer from 0 to 2^53 - 1");
    refuse(f, "{\"type\":\"send\",\"conv\":\"c\",\"cid\":\"1\",\"body\":1,\"reply_to\":1.5}",
           "reply_to must be an integer from 0 to 2^53 - 1");
}

/* 64 bytes of cid pass and 65 do not, counted after unescaping. */
static void a_cid_is_measured_without_its_escapes(void **state)
{
    struct fixture *f = *state;
    char text[1024];
    char cid[400] = "";
    for (int i = 0; i < 64; i++)
        strcat(cid, "\\u0061");
    snprintf(text, sizeof(text), "{\"type\":\"send\",\"to\":\"u\",\"cid\":\"%s\",\"body\":1}", cid);
    take(f, text);
    assert_int_equal(f->request.cid.size, 64);
    snprintf(text, sizeof(text), "{\"type\":\"send\",\"to\":\"u\",\"cid\":\"%sa\",\"body\":1}",
             cid);
    refuse(f, text, "cid must be 1 to 64 bytes without control characters");
}

/* Half a surrogate pair is passed on where nobody reads the text, and refused, with the id, where
 * somebody does. */
static void half_a_pair_is_refused_in_what_is_read(void **state)
{
    struct fixture *f = *state;
    static const char half[] = "a surrogate escape is not paired";
    take(f, "{\"type\":\"send\",\"to\":\"u\",\"cid\":\"1\",\"body\":{\"\\udc00\":\"\\ud83d\"},"
            "\"\\ud83d\":1,\"title\":\"\\ud83d\"}");
    EXPECT_SLICE(f->request.body, "{\"\\udc00\":\"\\ud83d\"}");
    take(f, "{\"type\":\"info\",\"conv\":\"c\",\"meta\":\"x\\ud83d\"}");
    EXPECT_SLICE(f->request.meta, "\"x\\ud83d\"");
    static const char *const bad[] = {
        "\"type\":\"send\",\"to\":\"\\ud83d\",\"cid\":\"1\",\"body\":1}",
        "\"type\":\"send\",\"conv\":\"\\ud83d\",\"cid\":\"1\",\"body\":1}",
        "\"type\":\"send\",\"to\":\"u\",\"cid\":\"x\\ude00\",\"body\":1}",
        "\"type\":\"create\",\"members\":[],\"title\":\"\\ud83d\"}",
        "\"type\":\"info\",\"conv\":\"c\",\"title\":\"\\ud83d x\"}",
        "\"type\":\"react\",\"conv\":\"c\",\"seq\":1,\"emoji\":\"\\ud83d\"}",
        "\"type\":\"connect\",\"device\":\"\\ude00\\ud83d\"}",
        "\"type\":\"connect\",\"token\":\"\\ud83d\"}",
        "\"type\":\"connect\",\"epoch\":\"\\ud83d\"}",
        "\"type\":\"members\",\"conv\":\"c\",\"after\":\"\\ud83d\"}",
        "\"type\":\"role\",\"conv\":\"c\",\"user\":\"\\ud83d\",\"role\":\"admin\"}",
        "\"type\":\"status\",\"status\":\"\\ud83d\"}",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char text[256];
        snprintf(text, sizeof(text), "{\"id\":7,%s", bad[i]);
        refuse(f, text, half);
        EXPECT_SLICE(f->request.id, "7");
    }
    refuse(f, "{\"type\":\"add\",\"conv\":\"c\",\"users\":[\"\\ud83d\"]}",
           "users must be an array of user names");
    refuse(f, "{\"type\":\"connect\",\"resume\":{\"\\ud83d\":1}}",
           "resume must be an object of conv to seq");
    refuse(f, "{\"type\":\"\\ud83d\"}", "type is not known");
    take(f, "{\"type\":\"create\",\"members\":[],\"title\":\"\\ud83d\\ude00\"}");
    EXPECT_SLICE(f->request.title, "\xf0\x9f\x98\x80");
}

/* Two readers could take two different ones. */
static void a_key_that_comes_twice_is_refused(void **state)
{
    struct fixture *f = *state;
    refuse(f, "{\"id\":3,\"type\":\"ack\",\"conv\":\"a\",\"conv\":\"b\",\"seq\":1}",
           "a key comes twice");
    EXPECT_SLICE(f->request.id, "3");
    refuse(f, "{\"type\":\"ack\",\"conv\":\"a\",\"\\u0063onv\":\"b\",\"seq\":1}",
           "a key comes twice");
    refuse(f, "{\"type\":\"ping\",\"type\":\"ping\"}", "a key comes twice");
}

/* Not JSON, no object, no type: each has its sentence, and the id is kept where there is one. */
static void a_frame_that_is_no_request_is_refused(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(decode(f, "{\"type\":\"ping\""), RC_BAD_REQUEST);
    assert_non_null(f->reason);
    refuse(f, "[]", "a request must be a JSON object");
    refuse(f, "\"ping\"", "a request must be a JSON object");
    refuse(f, "{\"id\":1}", "type is required");
    EXPECT_SLICE(f->request.id, "1");
    refuse(f, "{\"id\":1,\"type\":7}", "type must be a string");
    refuse(f, "{\"id\":1,\"type\":\"sing\"}", "type is not known");
    EXPECT_SLICE(f->request.id, "1");
    refuse(f, "{\"id\":{},\"type\":\"ping\"}",
           "id must be a number or a string of at most 64 bytes");
    refuse(f, "{\"id\":true,\"type\":\"ping\"}",
           "id must be a number or a string of at most 64 bytes");
    refuse(f,
           "{\"type\":\"ping\",\"id\":\"0123456789012345678901234567890123456789012345678901234567"
           "89abc\"}",
           "id must be a number or a string of at most 64 bytes");
    assert_null(f->request.id.base);
}

/* A text that nests too deep is not malformed but too large. */
static void a_frame_that_nests_too_deep_is_too_large(void **state)
{
    struct fixture *f = *state;
    char text[200] = "{\"a\":";
    memset(text + 5, '[', 100);
    assert_int_equal(decode(f, text), RC_TOO_LARGE);
}

/* Keys are compared as what they mean. */
static void a_key_with_escapes_is_the_key(void **state)
{
    struct fixture *f = *state;
    take(f, "{\"t\\u0079pe\":\"p\\u0069ng\",\"\\u0069d\":1}");
    assert_int_equal(f->request.type, CLIENT_PING);
    EXPECT_SLICE(f->request.id, "1");
}

/* connect: everything is optional; resume is walked pair by pair. */
static void a_connect_carries_where_each_conversation_stands(void **state)
{
    struct fixture *f = *state;
    take(f, "{\"type\":\"connect\"}");
    assert_null(f->request.resume.raw.base);
    assert_false(f->request.has_batch);
    take(f, "{\"type\":\"connect\",\"token\":\"a.b.c\",\"device\":\"phone\",\"epoch\":\"e\","
            "\"batch\":true,\"resume\":{\"c1\":105,\"c\\u0032\":0}}");
    EXPECT_SLICE(f->request.token, "a.b.c");
    EXPECT_SLICE(f->request.device, "phone");
    EXPECT_SLICE(f->request.epoch, "e");
    assert_true(f->request.has_batch && f->request.batch);
    for (int round = 0; round < 2; round++) { /* Walking it again is the same again. */
        uint32_t at = 0;
        struct slice first, second;
        uint64_t seq;
        assert_true(client_resume_next(&f->decoder, &f->request, &at, &first, &seq));
        assert_int_equal(seq, 105);
        assert_true(client_resume_next(&f->decoder, &f->request, &at, &second, &seq));
        assert_int_equal(seq, 0);
        EXPECT_SLICE(first, "c1");
        EXPECT_SLICE(second, "c2");
        assert_false(client_resume_next(&f->decoder, &f->request, &at, &second, &seq));
    }
}

/* Each of connect's rules. */
static void a_connect_that_breaks_a_rule_is_refused(void **state)
{
    struct fixture *f = *state;
    const char *resume = "resume must be an object of conv to seq";
    refuse(f, "{\"type\":\"connect\",\"resume\":[]}", resume);
    refuse(f, "{\"type\":\"connect\",\"resume\":{\"a b\":1}}", resume);
    refuse(f, "{\"type\":\"connect\",\"resume\":{\"a\":\"1\"}}", resume);
    refuse(f, "{\"type\":\"connect\",\"resume\":{\"a\":9007199254740992}}", resume);
    refuse(f, "{\"type\":\"connect\",\"batch\":1}", "batch must be true or false");
    refuse(f, "{\"type\":\"connect\",\"token\":\"\"}", "token must be a string of 1 to 8192 bytes");
    refuse(f, "{\"type\":\"connect\",\"device\":\"\\u0001\"}",
           "device must be 1 to 64 bytes without control characters");
    refuse(f, "{\"type\":\"connect\",\"epoch\":1}", "epoch must be a string of at most 64 bytes");
}

/* ack and read alike. */
static void a_cursor_needs_conv_and_seq(void **state)
{
    struct fixture *f = *state;
    take(f, "{\"type\":\"ack\",\"conv\":\"c\",\"seq\":9007199254740991}");
    assert_true(f->request.has_seq && f->request.seq == 9007199254740991u);
    take(f, "{\"type\":\"read\",\"conv\":\"c\",\"seq\":0}");
    assert_int_equal(f->request.type, CLIENT_READ);
    refuse(f, "{\"type\":\"ack\",\"conv\":\"c\"}", "seq is required");
    refuse(f, "{\"type\":\"ack\",\"seq\":1}", "conv is required");
    refuse(f, "{\"type\":\"ack\",\"conv\":\"c\",\"seq\":\"1\"}",
           "seq must be an integer from 0 to 2^53 - 1");
}

/* history pages by number, the lists by name. */
static void paging_is_by_seq_or_by_name(void **state)
{
    struct fixture *f = *state;
    take(f, "{\"type\":\"history\",\"conv\":\"c\",\"after\":0,\"limit\":50}");
    assert_true(f->request.has_after && f->request.has_limit && !f->request.has_before);
    assert_int_equal(f->request.limit, 50);
    take(f, "{\"type\":\"history\",\"conv\":\"c\",\"before\":10}");
    assert_int_equal(f->request.before, 10);
    take(f, "{\"type\":\"conversations\",\"after\":\"dm:x\"}");
    EXPECT_SLICE(f->request.after_name, "dm:x");
    take(f, "{\"type\":\"members\",\"conv\":\"c\",\"after\":\"J\\u00f6rg\"}");
    EXPECT_SLICE(f->request.after_name, "J\xc3\xb6rg");
    refuse(f, "{\"type\":\"history\",\"conv\":\"c\",\"after\":1,\"before\":2}",
           "after and before exclude each other");
    refuse(f, "{\"type\":\"history\",\"conv\":\"c\",\"before\":0}",
           "before must be an integer from 1 to 2^53 - 1");
    refuse(f, "{\"type\":\"history\",\"conv\":\"c\",\"limit\":0}",
           "limit must be an integer from 1 to 2^53 - 1");
    refuse(f, "{\"type\":\"history\",\"conv\":\"c\",\"after\":\"1\"}",
           "after must be an integer from 0 to 2^53 - 1");
    refuse(f, "{\"type\":\"conversations\",\"after\":1}", "after must be a conversation id");
    refuse(f, "{\"type\":\"members\",\"conv\":\"c\",\"after\":1}", "after must be a user name");
}

/* create with everything it may have. */
static void a_create_names_its_members(void **state)
{
    struct fixture *f = *state;
    take(f, "{\"type\":\"create\",\"conv\":\"g1\",\"kind\":\"group\",\"members\":[\"bob\","
            "\"c\\u0061rl\"],"
            "\"title\":\"T\",\"meta\":{\"a\":1},\"body\":\"hi\",\"cid\":\"x\"}");
    assert_int_equal(f->request.kind, CONV_GROUP);
    assert_int_equal(f->request.user_count, 2);
    EXPECT_SLICE(f->request.meta, "{\"a\":1}");
    EXPECT_SLICE(f->request.body, "\"hi\"");
    uint32_t at = 0;
    struct slice user;
    assert_true(client_users_next(&f->decoder, &f->request, &at, &user));
    EXPECT_SLICE(user, "bob");
    assert_true(client_users_next(&f->decoder, &f->request, &at, &user));
    EXPECT_SLICE(user, "carl");
    assert_false(client_users_next(&f->decoder, &f->request, &at, &user));
    take(f, "{\"type\":\"create\",\"members\":[]}");
    assert_int_equal(f->request.kind, CONV_GROUP);
    take(f, "{\"type\":\"create\",\"kind\":\"direct\",\"members\":[\"bob\"]}");
    assert_int_equal(f->request.kind, CONV_DIRECT);
}

/* Each of create's rules. */
static void a_create_that_breaks_a_rule_is_refused(void **state)
{
    struct fixture *f = *state;
    refuse(f, "{\"type\":\"create\"}", "members is required");
    refuse(f, "{\"type\":\"create\",\"members\":\"bob\"}",
           "members must be an array of user names");
    refuse(f, "{\"type\":\"create\",\"members\":[1]}", "members must be an array of user names");
    refuse(f, "{\"type\":\"create\",\"members\":[\"\"]}", "members must be an array of user names");
    refuse(f, "{\"type\":\"create\",\"members\":[],\"kind\":\"x\"}",
           "kind must be direct or group");
    refuse(f, "{\"type\":\"create\",\"members\":[],\"kind\":1}", "kind must be direct or group");
    refuse(f, "{\"type\":\"create\",\"members\":[],\"title\":\"a\\u0000\"}",
           "title must be a string without NUL");
}

static void append_repeated(struct buf *out, const char *text, size_t count)
{
    for (size_t i = 0; i < count; i++)
        buf_append_string(out, text);
}

/* Title, meta and lists have limits of their own, told as too_large. */
static void what_exceeds_its_limit_is_too_large(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *lead, *unit, *end;
        size_t count_max;
    } cases[] = {
        {"{\"type\":\"info\",\"conv\":\"c\",\"title\":\"", "x", "\"}", LIMIT_TITLE_SIZE_MAX},
        {"{\"type\":\"info\",\"conv\":\"c\",\"meta\":\"", "x", "\"}", LIMIT_META_SIZE_MAX - 2},
        {"{\"type\":\"create\",\"members\":[\"a\"", ",\"b\"", "]}", LIMIT_CREATE_MEMBERS_MAX - 1},
        {"{\"type\":\"presence\",\"users\":[\"a\"", ",\"b\"", "]}", LIMIT_PRESENCE_USERS - 1},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        for (size_t over = 0; over < 2; over++) {
            buf_clear(f->out);
            buf_append_string(f->out, cases[i].lead);
            append_repeated(f->out, cases[i].unit, cases[i].count_max + over);
            buf_append_string(f->out, cases[i].end);
            enum rc rc = client_decode(&f->decoder, buf_slice(f->out), &f->request, &f->reason);
            assert_int_equal(rc, over ? RC_TOO_LARGE : RC_OK);
        }
}

/* add, remove and role: one user and a list of one are the same. */
static void users_may_be_one_or_many(void **state)
{
    struct fixture *f = *state;
    const char *const texts[] = {
        "{\"type\":\"add\",\"conv\":\"c\",\"users\":[\"bob\"]}",
        "{\"type\":\"add\",\"conv\":\"c\",\"user\":\"b\\u006fb\",\"role\":\"admin\"}",
        "{\"type\":\"remove\",\"conv\":\"c\",\"user\":\"bob\"}",
        "{\"type\":\"role\",\"conv\":\"c\",\"user\":\"bob\",\"role\":\"owner\"}",
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        take(f, texts[i]);
        assert_int_equal(f->request.user_count, 1);
        uint32_t at = 0;
        struct slice user;
        assert_true(client_users_next(&f->decoder, &f->request, &at, &user));
        EXPECT_SLICE(user, "bob");
        assert_false(client_users_next(&f->decoder, &f->request, &at, &user));
    }
    refuse(f, "{\"type\":\"add\",\"conv\":\"c\"}", "users must name at least one user");
    refuse(f, "{\"type\":\"remove\",\"conv\":\"c\",\"users\":[]}",
           "users must name at least one user");
    refuse(f, "{\"type\":\"add\",\"conv\":\"c\",\"user\":\"a\",\"users\":[\"b\"]}",
           "users and user exclude each other");
    refuse(f, "{\"type\":\"role\",\"conv\":\"c\",\"user\":\"a\"}", "role is required");
    refuse(f, "{\"type\":\"role\",\"conv\":\"c\",\"role\":\"owner\"}", "user is required");
    refuse(f, "{\"type\":\"role\",\"conv\":\"c\",\"user\":\"a\",\"role\":\"king\"}",
           "role must be owner, admin or member");
}

/* What remains, each with the least it needs. */
static void every_request_is_known(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *text;
        enum client_request_type type;
    } cases[] = {
        {"{\"type\":\"leave\",\"conv\":\"c\"}", CLIENT_LEAVE},
        {"{\"type\":\"info\",\"conv\":\"c\",\"title\":\"\"}", CLIENT_INFO},
        {"{\"type\":\"typing\",\"conv\":\"c\",\"on\":false}", CLIENT_TYPING},
        {"{\"type\":\"edit\",\"conv\":\"c\",\"seq\":1,\"body\":2}", CLIENT_EDIT},
        {"{\"type\":\"delete\",\"conv\":\"c\",\"seq\":1}", CLIENT_DELETE},
        {"{\"type\":\"react\",\"conv\":\"c\",\"seq\":1,\"emoji\":\"+1\"}", CLIENT_REACT},
        {"{\"type\":\"open\",\"conv\":\"c\"}", CLIENT_OPEN},
        {"{\"type\":\"close\",\"conv\":\"c\"}", CLIENT_CLOSE},
        {"{\"type\":\"receipts\",\"conv\":\"c\",\"seq\":1}", CLIENT_RECEIPTS},
        {"{\"type\":\"presence\",\"users\":[\"a\"]}", CLIENT_PRESENCE},
        {"{\"type\":\"watch\",\"users\":[\"a\"]}", CLIENT_WATCH},
        {"{\"type\":\"unwatch\",\"users\":[\"a\"]}", CLIENT_UNWATCH},
        {"{\"type\":\"status\",\"status\":\"away\"}", CLIENT_STATUS},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        take(f, cases[i].text);
        assert_int_equal(f->request.type, cases[i].type);
        assert_int_equal(f->request.on, cases[i].type != CLIENT_TYPING);
    }
    refuse(f, "{\"type\":\"info\",\"conv\":\"c\"}",
           "info needs title, meta, history, retain_ms or retain_count");
    refuse(f, "{\"type\":\"status\",\"status\":\"gone\"}", "status must be online, away or busy");
    refuse(f, "{\"type\":\"typing\",\"conv\":\"c\",\"on\":1}", "on must be true or false");
}

/* edit, delete and react name the message they change, and may have a cid. */
static void a_change_names_its_message(void **state)
{
    struct fixture *f = *state;
    take(f, "{\"type\":\"edit\",\"conv\":\"c\",\"seq\":7,\"body\":{\"t\": 1},\"cid\":\"k\"}");
    assert_int_equal(f->request.seq, 7);
    EXPECT_SLICE(f->request.body, "{\"t\": 1}");
    EXPECT_SLICE(f->request.cid, "k");
    take(f, "{\"type\":\"delete\",\"conv\":\"c\",\"seq\":7}");
    assert_null(f->request.cid.base);
    take(f, "{\"type\":\"react\",\"conv\":\"c\",\"seq\":7,\"emoji\":\"\\ud83d\\udc4d\","
            "\"on\":false,\"cid\":\"k\"}");
    EXPECT_SLICE(f->request.emoji, "\xf0\x9f\x91\x8d");
    assert_false(f->request.on);
    EXPECT_SLICE(f->request.cid, "k");
}

/* Each of their rules, by its sentence. */
static void a_change_that_breaks_a_rule_is_refused(void **state)
{
    struct fixture *f = *state;
    refuse(f, "{\"type\":\"edit\",\"conv\":\"c\",\"seq\":1}", "body is required");
    refuse(f, "{\"type\":\"edit\",\"conv\":\"c\",\"seq\":0,\"body\":1}", "seq must be at least 1");
    refuse(f, "{\"type\":\"edit\",\"seq\":1,\"body\":1}", "conv is required");
    refuse(f, "{\"type\":\"edit\",\"conv\":\"c\",\"seq\":1,\"body\":1,\"cid\":\"\"}",
           "cid must be 1 to 64 bytes without control characters");
    refuse(f, "{\"type\":\"delete\",\"conv\":\"c\"}", "seq is required");
    refuse(f, "{\"type\":\"delete\",\"conv\":\"c\",\"seq\":0}", "seq must be at least 1");
    refuse(f, "{\"type\":\"react\",\"conv\":\"c\",\"seq\":1}", "emoji is required");
    refuse(f, "{\"type\":\"react\",\"conv\":\"c\",\"seq\":0,\"emoji\":\"x\"}",
           "seq must be at least 1");
    static const char *const emojis[] = {"1", "\"\"", "\"a\\nb\"",
                                         "\"123456789012345678901234567890123\""};
    for (size_t i = 0; i < sizeof(emojis) / sizeof(emojis[0]); i++) {
        char text[160];
        snprintf(text, sizeof(text), "{\"type\":\"react\",\"conv\":\"c\",\"seq\":1,\"emoji\":%s}",
                 emojis[i]);
        refuse(f, text, "emoji must be 1 to 32 bytes without control characters");
    }
    take(f, "{\"type\":\"react\",\"conv\":\"c\",\"seq\":1,"
            "\"emoji\":\"12345678901234567890123456789012\"}");
}

/* Null is as good as nothing where it is no value; what is required is missed all the same. */
static void null_is_left_out(void **state)
{
    struct fixture *f = *state;
    take(f, "{\"type\":\"send\",\"to\":\"b\",\"conv\":null,\"cid\":\"c\",\"body\":1,"
            "\"reply_to\":null}");
    assert_null(f->request.conv.base);
    assert_int_equal(f->request.reply_to, 0);
    take(f, "{\"type\":\"history\",\"conv\":\"c\",\"before\":null,\"limit\":null}");
    assert_false(f->request.has_before);
    assert_int_equal(decode(f, "{\"type\":\"history\",\"conv\":null}"), RC_BAD_REQUEST);
    assert_int_equal(decode(f, "{\"type\":\"history\",\"conv\":null,\"conv\":\"c\"}"),
                     RC_BAD_REQUEST);
}

/* What newcomers see and how long entries are kept: 0 and null are for ever. */
static void a_conversation_may_say_what_it_keeps(void **state)
{
    struct fixture *f = *state;
    take(f, "{\"type\":\"create\",\"members\":[\"b\"],\"history\":\"joined\",\"retain_ms\":5000,"
            "\"retain_count\":null}");
    EXPECT_SLICE(f->request.history, "joined");
    assert_int_equal(f->request.retain_ms, 5000);
    assert_int_equal(f->request.retain_count, 0);
    assert_true(f->request.has_retain_count);
    take(f, "{\"type\":\"create\",\"members\":[\"b\"]}");
    assert_null(f->request.history.base);
    assert_false(f->request.has_retain_ms);
    take(f, "{\"type\":\"info\",\"conv\":\"c\",\"retain_ms\":0}");
    assert_true(f->request.has_retain_ms);
    take(f, "{\"type\":\"info\",\"conv\":\"c\",\"history\":\"all\"}");
    refuse(f, "{\"type\":\"info\",\"conv\":\"c\",\"history\":\"none\"}",
           "history must be all or joined");
    refuse(f, "{\"type\":\"info\",\"conv\":\"c\",\"retain_ms\":-1}",
           "retain_ms must be null or an integer from 0 to 2^53 - 1");
    refuse(f, "{\"type\":\"create\",\"members\":[\"b\"],\"retain_count\":\"9\"}",
           "retain_count must be null or an integer from 0 to 2^53 - 1");
}

/* presence, watch and unwatch take 1 to 500 users, receipts an entry. */
static void presence_is_asked_of_some_users(void **state)
{
    struct fixture *f = *state;
    static const char *const types[] = {"presence", "watch", "unwatch"};
    for (size_t i = 0; i < 3; i++) {
        for (unsigned count = 0; count <= LIMIT_PRESENCE_USERS + 1; count += LIMIT_PRESENCE_USERS) {
            struct buf *text = buf_new(0);
            buf_append_format(text, "{\"type\":\"%s\",\"users\":[", types[i]);
            for (unsigned u = 0; u < count; u++)
                buf_append_format(text, "%s\"u%u\"", u > 0 ? "," : "", u);
            buf_append_string(text, "]}");
            enum rc rc = client_decode(&f->decoder, buf_slice(text), &f->request, &f->reason);
            assert_int_equal(rc, count == 0 ? RC_BAD_REQUEST : RC_OK);
            if (count == LIMIT_PRESENCE_USERS) {
                text->size -= 2;
                buf_append_string(text, ",\"one more\"]}");
                rc = client_decode(&f->decoder, buf_slice(text), &f->request, &f->reason);
                assert_int_equal(rc, RC_TOO_LARGE);
                assert_string_equal(f->reason, "at most 500 users may be named");
            }
            buf_unref(&text);
        }
    }
    refuse(f, "{\"type\":\"presence\"}", "users is required");
    refuse(f, "{\"type\":\"watch\",\"users\":[\"\"]}", "users must be an array of user names");
    refuse(f, "{\"type\":\"watch\",\"users\":[]}", "users must name at least one user");
    refuse(f, "{\"type\":\"status\"}", "status is required");
    refuse(f, "{\"type\":\"status\",\"status\":\"offline\"}",
           "status must be online, away or busy");
    refuse(f, "{\"type\":\"receipts\",\"conv\":\"c\"}", "seq is required");
    refuse(f, "{\"type\":\"receipts\",\"conv\":\"c\",\"seq\":0}", "seq must be at least 1");
    refuse(f, "{\"type\":\"open\"}", "conv is required");
    refuse(f, "{\"type\":\"close\",\"conv\":\"\"}",
           "conv must be 1 to 128 bytes of [A-Za-z0-9._:~@-]");
}

/* Statuses by name; offline is none that one may set. */
static void a_status_has_one_name(void **state)
{
    (void)state;
    assert_int_equal(client_status(slice_string("online")), PRESENCE_ONLINE);
    assert_int_equal(client_status(slice_string("away")), PRESENCE_AWAY);
    assert_int_equal(client_status(slice_string("busy")), PRESENCE_BUSY);
    assert_int_equal(client_status(slice_string("offline")), PRESENCE_OFFLINE);
}

/* Roles by name. */
static void a_role_has_one_name(void **state)
{
    (void)state;
    assert_int_equal(client_role(slice_string("member")), ROLE_MEMBER);
    assert_int_equal(client_role(slice_string("admin")), ROLE_ADMIN);
    assert_int_equal(client_role(slice_string("owner")), ROLE_OWNER);
    assert_int_equal(client_role(slice_string("Owner")), 0);
    assert_int_equal(client_role((struct slice){0}), 0);
}

/* ---- What goes out ---- */

static void expect_out(struct fixture *f, const char *expected)
{
    const char *reason;
    if (!slice_equals(buf_slice(f->out), expected))
        fail_msg("\n%.*s\ninstead of\n%s", SLICE_ARGS(buf_slice(f->out)), expected);
    assert_int_equal(json_check(buf_slice(f->out), &reason), RC_OK);
    buf_clear(f->out);
}

static const struct slice absent;

/* Replies bear the id as it came, and none where none came. */
static void replies_bear_the_id_as_it_came(void **state)
{
    struct fixture *f = *state;
    client_put_ok(f->out, slice_string("\"a\\n\""));
    expect_out(f, "{\"type\":\"ok\",\"id\":\"a\\n\"}");
    client_put_ok(f->out, absent);
    expect_out(f, "{\"type\":\"ok\"}");
    client_put_pong(f->out, slice_string("1"), 5);
    expect_out(f, "{\"type\":\"pong\",\"id\":1,\"ts\":5}");
    client_put_sent(f->out, slice_string("1"), slice_string("c"), slice_string("k"), 7, 8, false);
    expect_out(f, "{\"type\":\"sent\",\"id\":1,\"conv\":\"c\",\"cid\":\"k\",\"seq\":7,\"ts\":8}");
    client_put_sent(f->out, absent, slice_string("c"), absent, 7, 8, true);
    expect_out(f, "{\"type\":\"sent\",\"conv\":\"c\",\"seq\":7,\"ts\":8,\"dup\":true}");
}

/* An error has its code, a sentence, and when to try again. */
static void an_error_says_what_and_when(void **state)
{
    struct fixture *f = *state;
    client_put_error(f->out, slice_string("1"), RC_UNAVAILABLE, NULL, 1000);
    expect_out(f,
               "{\"type\":\"error\",\"id\":1,\"code\":\"unavailable\",\"message\":\"not available "
               "at the moment, try again\",\"retry_after_ms\":1000}");
    client_put_error(f->out, absent, RC_BAD_REQUEST, "a \"key\"", 0);
    expect_out(f, "{\"type\":\"error\",\"code\":\"bad_request\",\"message\":\"a \\\"key\\\"\"}");
}

/* The frames of connecting. */
static void connecting_has_its_frames(void **state)
{
    struct fixture *f = *state;
    struct client_welcome welcome = {
        .id = slice_string("1"),
        .session = slice_string("s"),
        .user = slice_string("a\"b"),
        .device = slice_string("d"),
        .gateway = slice_string("g1"),
        .epoch = slice_string("e"),
        .ping_ms = 25000,
        .max_frame = 131072,
        .ts = 9,
    };
    client_put_welcome(f->out, &welcome);
    expect_out(
        f, "{\"type\":\"welcome\",\"id\":1,\"session\":\"s\",\"user\":\"a\\\"b\",\"device\":\"d\","
           "\"gateway\":\"g1\",\"epoch\":\"e\",\"ping_ms\":25000,\"max_frame\":131072,\"ts\":9}");
    static const char *const urls[] = {"wss://a/ws", "wss://b/ws"};
    welcome = (struct client_welcome){.urls = urls, .url_count = 2};
    client_put_welcome(f->out, &welcome);
    expect_out(f, "{\"type\":\"welcome\",\"session\":\"\",\"user\":\"\",\"device\":\"\","
                  "\"gateway\":\"\",\"epoch\":\"\",\"ping_ms\":0,\"max_frame\":0,\"ts\":0,"
                  "\"urls\":[\"wss://a/ws\",\"wss://b/ws\"]}");
    client_put_reset(f->out);
    expect_out(f, "{\"type\":\"reset\"}");
    client_put_gap(f->out, slice_string("c"), 1, 2, 3, true);
    expect_out(f,
               "{\"type\":\"gap\",\"conv\":\"c\",\"from\":1,\"to\":2,\"head\":3,\"trimmed\":true}");
    client_put_resumed(f->out, 12, 37);
    expect_out(f, "{\"type\":\"resumed\",\"conversations\":12,\"missed\":37}");
    client_put_server_restart(f->out, 250);
    expect_out(f, "{\"type\":\"server_restart\",\"reconnect_after_ms\":250}");
    client_put_receipt(f->out, slice_string("c"), slice_string("u"), 5, 0);
    expect_out(f, "{\"type\":\"receipt\",\"conv\":\"c\",\"user\":\"u\",\"delivered\":5}");
    client_put_conversation_event(f->out, slice_string("c"), true);
    expect_out(f, "{\"type\":\"conversation\",\"conv\":\"c\",\"gone\":true}");
    client_put_conversation(f->out, slice_string("1"), slice_string("c"), CONV_GROUP,
                            slice_string("T"), 4, false);
    expect_out(f, "{\"type\":\"conversation\",\"id\":1,\"conv\":\"c\",\"kind\":\"group\","
                  "\"title\":\"T\",\"head\":4}");
    client_put_conversation(f->out, slice_string("1"), slice_string("c"), CONV_DIRECT,
                            (struct slice){0}, 4, true);
    expect_out(f, "{\"type\":\"conversation\",\"id\":1,\"conv\":\"c\",\"kind\":\"direct\","
                  "\"title\":null,\"head\":4,\"dup\":true}");
}

static const struct msg_entry message = {
    .type = ENTRY_MESSAGE,
    .seq = 5,
    .ts = 6,
    .from = {"al", 2},
    .cid = {"k", 1},
    .body = {"{ \"x\":1}", 8},
};

#define MESSAGE_JSON                                                                               \
    "{\"type\":\"message\",\"conv\":\"c\",\"seq\":5,\"ts\":6,\"from\":\"al\",\"cid\":\"k\","       \
    "\"body\":{ \"x\":1}}"

/* A body is passed on byte for byte; the other kinds have their own fields. */
static void an_entry_is_written_as_its_event(void **state)
{
    struct fixture *f = *state;
    struct slice conv = slice_string("c");
    client_put_entry(f->out, conv, &message);
    expect_out(f, MESSAGE_JSON);
    struct msg_entry reply = message;
    reply.reply_to = 3;
    client_put_entry(f->out, conv, &reply);
    expect_out(f, "{\"type\":\"message\",\"conv\":\"c\",\"seq\":5,\"ts\":6,\"from\":\"al\","
                  "\"cid\":\"k\",\"body\":{ \"x\":1},\"reply_to\":3}");
    static const struct {
        enum member_change change;
        const char *name;
    } changes[] = {{MEMBER_ADD, "joined"},
                   {MEMBER_REMOVE, "left"},
                   {MEMBER_ROLE, "role"},
                   {MEMBER_LEAVE, "left"}};
    for (size_t i = 0; i < 4; i++) {
        char expected[200];
        struct msg_entry member = {.type = ENTRY_MEMBER,
                                   .seq = 1,
                                   .ts = 2,
                                   .from = slice_string("a"),
                                   .change = changes[i].change,
                                   .user = slice_string("b"),
                                   .role = ROLE_ADMIN};
        client_put_entry(f->out, conv, &member);
        snprintf(expected, sizeof(expected),
                 "{\"type\":\"member\",\"conv\":\"c\",\"seq\":1,\"ts\":2,\"from\":\"a\",\"change\":"
                 "\"%s\",\"user\":\"b\",\"role\":\"admin\"}",
                 changes[i].name);
        expect_out(f, expected);
    }
    struct msg_entry info = {.type = ENTRY_INFO,
                             .seq = 1,
                             .ts = 2,
                             .from = slice_string("a"),
                             .title = slice_string("T"),
                             .meta = slice_string("[1]")};
    client_put_entry(f->out, conv, &info);
    expect_out(f, "{\"type\":\"info\",\"conv\":\"c\",\"seq\":1,\"ts\":2,\"from\":\"a\","
                  "\"title\":\"T\",\"meta\":[1]}");
}

/* What later entries made of a message stands with it; a body that is gone is null. */
static void a_message_bears_its_marks(void **state)
{
    struct fixture *f = *state;
    struct buf *marks = buf_new(0);
    struct buf *reactions = buf_new(0);
    struct msg_reaction_count up = {.emoji = slice_string("\xf0\x9f\x91\x8d"), .count = 2};
    struct msg_reaction_count down = {.emoji = slice_string("-1"), .count = 1};
    record_encode(reactions, &msg_reaction_count_desc, &up);
    record_encode(reactions, &msg_reaction_count_desc, &down);
    struct msg_marks all = {.edited = 7, .edited_ts = 70, .reactions = buf_slice(reactions)};
    record_encode(marks, &msg_marks_desc, &all);
    struct msg_entry entry = message;
    entry.reply_to = 3;
    entry.marks = buf_slice(marks);
    client_put_entry(f->out, slice_string("c"), &entry);
    expect_out(f, "{\"type\":\"message\",\"conv\":\"c\",\"seq\":5,\"ts\":6,\"from\":\"al\","
                  "\"cid\":\"k\",\"body\":{ \"x\":1},\"reply_to\":3,"
                  "\"edited\":{\"seq\":7,\"ts\":70},\"reactions\":[{\"emoji\":"
                  "\"\xf0\x9f\x91\x8d\",\"count\":2},{\"emoji\":\"-1\",\"count\":1}]}");
    buf_clear(marks);
    record_encode(marks, &msg_marks_desc, &(struct msg_marks){.deleted = 8});
    entry = message;
    entry.body = absent;
    entry.marks = buf_slice(marks);
    client_put_entry(f->out, slice_string("c"), &entry);
    expect_out(f, "{\"type\":\"message\",\"conv\":\"c\",\"seq\":5,\"ts\":6,\"from\":\"al\","
                  "\"cid\":\"k\",\"body\":null,\"deleted\":true}");
    buf_unref(&marks);
    buf_unref(&reactions);
}

/* Edits, deletions and reactions are entries, and name the message. */
static void a_change_is_written_as_its_event(void **state)
{
    struct fixture *f = *state;
    struct msg_entry entry = {.type = ENTRY_EDIT,
                              .seq = 9,
                              .ts = 2,
                              .from = slice_string("a"),
                              .target = 5,
                              .cid = slice_string("k"),
                              .body = slice_string("[1]")};
    client_put_entry(f->out, slice_string("c"), &entry);
    expect_out(f, "{\"type\":\"edit\",\"conv\":\"c\",\"seq\":9,\"ts\":2,\"from\":\"a\","
                  "\"cid\":\"k\",\"target\":5,\"body\":[1]}");
    struct buf *marks = buf_new(0);
    record_encode(marks, &msg_marks_desc, &(struct msg_marks){.edited = 11, .edited_ts = 3});
    entry.body = absent;
    entry.marks = buf_slice(marks);
    client_put_entry(f->out, slice_string("c"), &entry);
    expect_out(f, "{\"type\":\"edit\",\"conv\":\"c\",\"seq\":9,\"ts\":2,\"from\":\"a\","
                  "\"cid\":\"k\",\"target\":5,\"body\":null,\"edited\":{\"seq\":11,\"ts\":3}}");
    buf_unref(&marks);
    entry.type = ENTRY_DELETE;
    entry.marks = absent;
    entry.cid = absent;
    client_put_entry(f->out, slice_string("c"), &entry);
    expect_out(f, "{\"type\":\"delete\",\"conv\":\"c\",\"seq\":9,\"ts\":2,\"from\":\"a\","
                  "\"target\":5}");
    entry.type = ENTRY_REACTION;
    entry.emoji = slice_string("+1");
    entry.on = 1;
    client_put_entry(f->out, slice_string("c"), &entry);
    expect_out(f, "{\"type\":\"reaction\",\"conv\":\"c\",\"seq\":9,\"ts\":2,\"from\":\"a\","
                  "\"target\":5,\"emoji\":\"+1\",\"on\":true}");
}

/* The operator is nobody: no `from`. */
static void an_entry_of_the_operator_bears_no_from(void **state)
{
    struct fixture *f = *state;
    struct msg_entry entry = {.type = ENTRY_DELETE, .seq = 9, .ts = 2, .target = 5};
    client_put_entry(f->out, slice_string("c"), &entry);
    expect_out(f, "{\"type\":\"delete\",\"conv\":\"c\",\"seq\":9,\"ts\":2,\"target\":5}");
    entry.from = slice_string("");
    client_put_entry(f->out, slice_string("c"), &entry);
    expect_out(f, "{\"type\":\"delete\",\"conv\":\"c\",\"seq\":9,\"ts\":2,\"target\":5}");
}

/* Events that are no entries, each with its fields. */
static void soft_events_have_their_fields(void **state)
{
    struct fixture *f = *state;
    struct slice conv = slice_string("c");
    client_put_typing(f->out, conv, slice_string("u"), true);
    expect_out(f, "{\"type\":\"typing\",\"conv\":\"c\",\"user\":\"u\",\"on\":true}");
    client_put_activity(f->out, conv, 9, 3);
    expect_out(f, "{\"type\":\"activity\",\"conv\":\"c\",\"head\":9,\"unread\":3}");
    struct msg_event_tally tally = {
        .conv = conv, .seq = 7, .delivered = 30, .read = 20, .total = 50};
    client_put_tally(f->out, &tally);
    expect_out(f, "{\"type\":\"receipt\",\"conv\":\"c\",\"seq\":7,\"delivered_count\":30,"
                  "\"read_count\":20,\"total\":50}");
    struct msg_presence_item item = {.user = slice_string("u"), .status = PRESENCE_AWAY};
    client_put_presence(f->out, &item);
    expect_out(f, "{\"type\":\"presence\",\"user\":\"u\",\"status\":\"away\"}");
    item.status = PRESENCE_OFFLINE;
    item.last_seen = 99;
    client_put_presence(f->out, &item);
    expect_out(f, "{\"type\":\"presence\",\"user\":\"u\",\"status\":\"offline\",\"last_seen\":99}");
}

/* Who has got and read an entry, and who is online. */
static void people_are_listed(void **state)
{
    struct fixture *f = *state;
    struct buf *readers = buf_new(0);
    record_encode(readers, &msg_reader_desc, &(struct msg_reader){slice_string("a"), 5});
    record_encode(readers, &msg_reader_desc, &(struct msg_reader){slice_string("b"), 6});
    struct msg_readers_page page = {.delivered = buf_slice(readers), .total = 50};
    client_put_receipts(f->out, slice_string("1"), slice_string("c"), 7, &page);
    expect_out(f,
               "{\"type\":\"receipts\",\"id\":1,\"conv\":\"c\",\"seq\":7,\"delivered\":[{\"user\":"
               "\"a\",\"ts\":5},{\"user\":\"b\",\"ts\":6}],\"read\":[],\"total\":50}");
    page.more = 1;
    client_put_receipts(f->out, absent, slice_string("c"), 7, &page);
    expect_out(f, "{\"type\":\"receipts\",\"conv\":\"c\",\"seq\":7,\"delivered\":[{\"user\":"
                  "\"a\",\"ts\":5},{\"user\":\"b\",\"ts\":6}],\"read\":[],\"total\":50,"
                  "\"more\":true}");
    struct msg_presence_item items[2] = {
        {.user = slice_string("u"), .status = PRESENCE_BUSY},
        {.user = slice_string("v"), .status = PRESENCE_ONLINE, .last_seen = 4}};
    client_put_presence_list_begin(f->out, slice_string("1"));
    client_put_presence_list_item(f->out, &items[0], true);
    client_put_presence_list_item(f->out, &items[1], false);
    client_put_presence_list_end(f->out);
    expect_out(f, "{\"type\":\"presence_list\",\"id\":1,\"users\":[{\"user\":\"u\",\"status\":"
                  "\"busy\"},{\"user\":\"v\",\"status\":\"online\",\"last_seen\":4}]}");
    buf_unref(&readers);
}

/* A type from the future still takes its place. */
static void an_unknown_entry_keeps_its_seq(void **state)
{
    struct fixture *f = *state;
    struct msg_entry entry = {.type = 99, .seq = 1, .ts = 2, .from = slice_string("a")};
    client_put_entry(f->out, slice_string("c"), &entry);
    expect_out(f, "{\"type\":\"entry\",\"conv\":\"c\",\"seq\":1,\"ts\":2,\"from\":\"a\"}");
}

/* A history page is the events, in order. */
static void a_history_page_holds_the_events(void **state)
{
    struct fixture *f = *state;
    struct buf *entries = buf_new(0);
    client_put_history(f->out, slice_string("1"), slice_string("c"), buf_slice(entries), 9, false);
    expect_out(f, "{\"type\":\"history\",\"id\":1,\"conv\":\"c\",\"entries\":[],\"head\":9,"
                  "\"more\":false}");
    record_encode(entries, &msg_entry_desc, &message);
    record_encode(entries, &msg_entry_desc, &message);
    client_put_history(f->out, absent, slice_string("c"), buf_slice(entries), 9, true);
    expect_out(f, "{\"type\":\"history\",\"conv\":\"c\",\"entries\":[" MESSAGE_JSON "," MESSAGE_JSON
                  "],\"head\":9,\"more\":true}");
    buf_unref(&entries);
}

/* The conversation list and the member page. */
static void lists_are_written_item_by_item(void **state)
{
    struct fixture *f = *state;
    struct buf *records = buf_new(0);
    record_encode(records, &msg_entry_desc, &message);
    struct msg_summary_item direct = {.conv = slice_string("c"),
                                      .kind = CONV_DIRECT,
                                      .head = 5,
                                      .read = 4,
                                      .unread = 1,
                                      .members = 2,
                                      .peer = slice_string("bob"),
                                      .last = buf_slice(records)};
    struct msg_summary_item group = {.conv = slice_string("g"),
                                     .kind = CONV_GROUP,
                                     .title = slice_string("T"),
                                     .meta = slice_string("{}"),
                                     .members = 1};
    client_put_conversations_begin(f->out, slice_string("1"));
    client_put_conversations_item(f->out, &direct, true);
    client_put_conversations_item(f->out, &group, false);
    client_put_conversations_end(f->out, false);
    expect_out(
        f, "{\"type\":\"conversations\",\"id\":1,\"conversations\":[{\"conv\":\"c\",\"kind\":"
           "\"direct\",\"title\":null,\"head\":5,\"read\":4,\"unread\":1,\"members\":2,\"peer\":"
           "\"bob\","
           "\"last\":" MESSAGE_JSON "},{\"conv\":\"g\",\"kind\":\"group\",\"title\":\"T\","
           "\"head\":0,\"read\":0,\"unread\":0,\"members\":1,\"meta\":{},\"last\":null}],\"more\":"
           "false}");
    buf_clear(records);
    record_encode(records, &msg_member_desc,
                  &(struct msg_member){slice_string("a"), ROLE_OWNER, 1});
    record_encode(records, &msg_member_desc,
                  &(struct msg_member){slice_string("b"), ROLE_MEMBER, 2});
    client_put_members(f->out, absent, slice_string("c"), buf_slice(records), 2, false);
    expect_out(f, "{\"type\":\"members\",\"conv\":\"c\",\"members\":[{\"user\":\"a\",\"role\":"
                  "\"owner\",\"joined\":1},{\"user\":\"b\",\"role\":\"member\",\"joined\":2}],"
                  "\"total\":2,\"more\":false}");
    buf_unref(&records);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_send_is_read_whatever_the_order_of_its_fields),
        TEST(a_send_that_breaks_a_rule_is_refused),
        TEST(a_cid_is_measured_without_its_escapes),
        TEST(half_a_pair_is_refused_in_what_is_read),
        TEST(a_key_that_comes_twice_is_refused),
        TEST(a_frame_that_is_no_request_is_refused),
        TEST(a_frame_that_nests_too_deep_is_too_large),
        TEST(a_key_with_escapes_is_the_key),
        TEST(a_connect_carries_where_each_conversation_stands),
        TEST(a_connect_that_breaks_a_rule_is_refused),
        TEST(a_cursor_needs_conv_and_seq),
        TEST(paging_is_by_seq_or_by_name),
        TEST(a_create_names_its_members),
        TEST(a_create_that_breaks_a_rule_is_refused),
        TEST(what_exceeds_its_limit_is_too_large),
        TEST(users_may_be_one_or_many),
        TEST(every_request_is_known),
        TEST(a_change_names_its_message),
        TEST(a_change_that_breaks_a_rule_is_refused),
        TEST(null_is_left_out),
        TEST(a_conversation_may_say_what_it_keeps),
        TEST(presence_is_asked_of_some_users),
        TEST(a_status_has_one_name),
        TEST(a_role_has_one_name),
        TEST(replies_bear_the_id_as_it_came),
        TEST(an_error_says_what_and_when),
        TEST(connecting_has_its_frames),
        TEST(an_entry_is_written_as_its_event),
        TEST(a_message_bears_its_marks),
        TEST(a_change_is_written_as_its_event),
        TEST(an_entry_of_the_operator_bears_no_from),
        TEST(soft_events_have_their_fields),
        TEST(people_are_listed),
        TEST(an_unknown_entry_keeps_its_seq),
        TEST(a_history_page_holds_the_events),
        TEST(lists_are_written_item_by_item),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
