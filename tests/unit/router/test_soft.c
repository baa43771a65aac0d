/* What gateways ask of a router and hear from it, of receipts, typing and presence: a whole router
 * that leads all there is, on a store in memory, over a bus that takes notes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs those above. */
#include <cmocka.h>

#include <stdio.h>

#include "mesh/base/crypto.h"
#include "mesh/base/mem.h"
#include "mesh/wire/key.h"
#include "nodes/router/online.h"
#include "nodes/router/router.h"
#include "storage/mem_kv.h"

#define SHARDS   2u
#define TOLD_MAX 8192u

/* A message that a gateway was sent, or that was published to it. */
struct told {
    char gateway[LIMIT_NODE_ID_SIZE_MAX + 1];
    uint32_t number;
    struct buf *record;
    bool is_taken;
};

struct rig {
    struct env env;
    struct bus bus;
    uint64_t now_us, wall_ms;
    uint64_t hello_us; /* When gateways said hello last. */
    uint64_t random;
    struct kv *kv;
    struct router *router;
    struct bus_handler handler;
    struct told told[TOLD_MAX];
    uint32_t told_count;
    uint64_t req;
};

static const uint8_t cluster[16] = "a test's cluster";

static uint64_t now_us(struct env *env)
{
    return ((struct rig *)(void *)env)->now_us;
}

static uint64_t wall_ms(struct env *env)
{
    return ((struct rig *)(void *)env)->wall_ms;
}

static uint64_t random_bits(struct env *env)
{
    struct rig *rig = (struct rig *)(void *)env;
    return rig->random = rig->random * UINT64_C(6364136223846793005) + 1442695040888963407u;
}

/* ---- The router, and time ---- */

static enum rc take_note(struct bus *bus, struct slice node, struct buf *bytes)
{
    struct rig *rig = (struct rig *)(void *)((char *)bus - offsetof(struct rig, bus));
    struct packet packet;
    assert_int_equal(packet_decode(buf_slice(bytes), &packet), RC_OK);
    while (!record_reader_at_end(&packet.messages)) {
        uint32_t number;
        const uint8_t *from = packet.messages.at;
        assert_int_equal(record_peek(&packet.messages, &number), RC_OK);
        assert_int_equal(record_skip(&packet.messages), RC_OK);
        if (number == MSG_BEAT)
            continue;
        assert_true(rig->told_count < TOLD_MAX);
        struct told *told = &rig->told[rig->told_count++];
        told->is_taken = false;
        told->number = number;
        told->record = buf_new(64);
        buf_append(told->record, from, (size_t)(packet.messages.at - from));
        snprintf(told->gateway, sizeof(told->gateway), "%.*s", SLICE_ARGS(node));
    }
    return RC_OK;
}

static void forget_told(struct rig *rig)
{
    for (uint32_t i = 0; i < rig->told_count; i++)
        buf_unref(&rig->told[i].record);
    rig->told_count = 0;
}

static void turn(struct rig *rig)
{
    router_turn(rig->router);
    mem_kv_complete_sync(rig->kv);
    router_turn(rig->router);
    mem_kv_complete_sync(rig->kv);
    router_turn(rig->router);
}

static void hear(struct rig *rig, const char *gateway, const struct record_desc *desc,
                 const void *message)
{
    struct packet_sender sender = {.node = slice_string(gateway), .incarnation = 1};
    struct packet packet;
    struct buf *bytes = buf_new(128);
    memcpy(sender.cluster, cluster, sizeof(cluster));
    packet_begin(bytes, &sender, 0);
    record_encode(bytes, desc, message);
    assert_int_equal(packet_decode(buf_slice(bytes), &packet), RC_OK);
    rig->handler.on_request(rig->handler.context, slice_string(gateway), &packet);
    buf_unref(&bytes);
    turn(rig);
}

static void hello(struct rig *rig, const char *gateway)
{
    const struct msg_hello message = {.version = MESSAGES_VERSION, .links = 1};
    hear(rig, gateway, &msg_hello_desc, &message);
}

/* g1 and g2 say hello all the time. */
static void pass(struct rig *rig, uint64_t ms)
{
    for (uint64_t at = 0; at < ms; at += 50) {
        rig->now_us += 50000;
        rig->wall_ms += 50;
        turn(rig);
        if (rig->now_us >= rig->hello_us + LIMIT_HELLO_MS * 1000) {
            rig->hello_us = rig->now_us;
            hello(rig, "g1");
            hello(rig, "g2");
        }
    }
}

static int setup(void **state)
{
    struct rig *rig = mem_new(struct rig);
    crypto_start();
    rig->env = (struct env){.now_us = now_us, .wall_ms = wall_ms, .random = random_bits};
    rig->bus = (struct bus){.send = take_note, .publish = take_note};
    rig->now_us = 1000000;
    rig->wall_ms = 1700000000000;
    rig->kv = mem_kv_new();
    struct router_options options = {
        .node = "r1",
        .incarnation = 1,
        .shards = SHARDS,
        .resume_count_max = LIMIT_RESUME_COUNT,
        .queue_bytes_max = LIMIT_SHARD_QUEUE_BYTES,
        .truncate_count = LIMIT_LOG_TRUNCATE_COUNT,
        .replicas = 1,
        .epoch = "00c0ffee",
        .weight = 100,
        .grace_ms = LIMIT_ROUTER_GRACE_MS,
    };
    memcpy(options.cluster, cluster, sizeof(cluster));
    struct kv_batch *batch = rig->kv->ops->batch_new(rig->kv);
    router_bootstrap(&options, &rig->env, batch);
    assert_int_equal(rig->kv->ops->write(rig->kv, batch), RC_OK);
    rig->kv->ops->batch_free(&batch);
    assert_int_equal(router_new(&options, &rig->env, &rig->bus, rig->kv, &rig->router), RC_OK);
    rig->handler = router_bus_handler(rig->router);
    for (uint32_t i = 0; i < 100 && router_health(rig->router).shards_led < SHARDS; i++) {
        rig->now_us += 10000;
        turn(rig);
    }
    assert_int_equal(router_health(rig->router).shards_led, SHARDS);
    hello(rig, "g1");
    hello(rig, "g2");
    *state = rig;
    return 0;
}

static int teardown(void **state)
{
    struct rig *rig = *state;
    assert_false(router_is_failed(rig->router));
    forget_told(rig);
    router_free(&rig->router);
    rig->kv->ops->close(&rig->kv);
    mem_free(rig);
    return 0;
}

/* The next message of this kind that a gateway got and the test did not look at yet, as `desc` has
 * it. */
static bool next(struct rig *rig, const char *gateway, uint32_t number,
                 const struct record_desc *desc, void *message)
{
    for (uint32_t i = 0; i < rig->told_count; i++) {
        struct told *told = &rig->told[i];
        if (told->is_taken || told->number != number || strcmp(told->gateway, gateway) != 0)
            continue;
        told->is_taken = true;
        struct record_reader r = record_reader_of(buf_slice(told->record));
        assert_int_equal(record_decode(&r, desc, message), RC_OK);
        return true;
    }
    return false;
}

#define NEXT(rig, gateway, x, X, message) next(rig, gateway, MSG_##X, &msg_##x##_desc, message)

static uint32_t shard_of_conv(const char *conv)
{
    return key_conv_shard(cluster, SHARDS, slice_string(conv));
}

static uint32_t shard_of_user(const char *user)
{
    return key_user_shard(cluster, SHARDS, slice_string(user));
}

/* ---- Short ways to say things ---- */

static enum rc submit_to(struct rig *rig, uint32_t shard, const struct record_desc *desc,
                         const void *command, uint64_t *ret_seq)
{
    struct msg_result result;
    struct buf *bytes = buf_new(128);
    record_encode(bytes, desc, command);
    const struct msg_submit submit = {
        .req = ++rig->req,
        .shard = shard,
        .command = buf_slice(bytes),
    };
    hear(rig, "g1", &msg_submit_desc, &submit);
    buf_unref(&bytes);
    bool is_answered = NEXT(rig, "g1", result, RESULT, &result);
    for (uint32_t i = 0; i < 4 && !is_answered;
         i++) { /* A creation waits for the lists of users. */
        turn(rig);
        is_answered = NEXT(rig, "g1", result, RESULT, &result);
    }
    assert_true(is_answered);
    assert_int_equal(result.req, rig->req);
    if (ret_seq != NULL)
        *ret_seq = result.seq;
    return (enum rc)result.rc;
}

static struct buf *names_of(const char *prefix, uint32_t count)
{
    struct buf *names = buf_new(64);
    char name[32];
    for (uint32_t i = 0; i < count; i++) {
        snprintf(name, sizeof(name), "%s%u", prefix, i);
        record_put_slice(names, slice_string(name));
    }
    return names;
}

/* The group "c" of alice and m0, m1, …; both gateways watch it. */
static void create(struct rig *rig, uint32_t others)
{
    struct buf *names = names_of("m", others);
    const struct msg_cmd_create create = {
        .conv = slice_string("c"),
        .user = slice_string("alice"),
        .kind = CONV_GROUP,
        .members = buf_slice(names),
    };
    assert_int_equal(submit_to(rig, shard_of_conv("c"), &msg_cmd_create_desc, &create, NULL),
                     RC_OK);
    buf_unref(&names);
    const char *const gateways[] = {"g1", "g2"};
    for (uint32_t i = 0; i < 2; i++) {
        struct msg_watched watched;
        const struct msg_watch watch = {
            .req = ++rig->req,
            .shard = shard_of_conv("c"),
            .conv = slice_string("c"),
            .user = slice_string("alice"),
            .from_known = 1,
        };
        hear(rig, gateways[i], &msg_watch_desc, &watch);
        assert_true(NEXT(rig, gateways[i], watched, WATCHED, &watched));
        assert_int_equal(watched.rc, RC_OK);
    }
}

static uint64_t say(struct rig *rig, const char *user)
{
    uint64_t seq;
    const struct msg_cmd_send send = {
        .conv = slice_string("c"),
        .user = slice_string(user),
        .body = slice_string("1"),
    };
    assert_int_equal(submit_to(rig, shard_of_conv("c"), &msg_cmd_send_desc, &send, &seq), RC_OK);
    return seq;
}

static void move(struct rig *rig, const char *user, uint64_t delivered, uint64_t read)
{
    const struct msg_cmd_cursor cursor = {
        .conv = slice_string("c"),
        .user = slice_string(user),
        .delivered = delivered,
        .read = read,
    };
    assert_int_equal(submit_to(rig, shard_of_conv("c"), &msg_cmd_cursor_desc, &cursor, NULL),
                     RC_OK);
}

static void type_in(struct rig *rig, uint32_t shard, const char *user, bool on)
{
    const struct msg_typing typing = {
        .shard = shard,
        .conv = slice_string("c"),
        .user = slice_string(user),
        .on = on,
    };
    hear(rig, "g1", &msg_typing_desc, &typing);
}

static void assert_typing(struct rig *rig, const char *user, uint64_t on)
{
    struct msg_event_typing event;
    const char *const gateways[] = {"g1", "g2"};
    for (uint32_t i = 0; i < 2; i++) {
        assert_true(NEXT(rig, gateways[i], event_typing, EVENT_TYPING, &event));
        assert_true(slice_equals(event.conv, "c"));
        assert_true(slice_equals(event.user, user));
        assert_int_equal(event.on, on);
    }
}

static void assert_quiet(struct rig *rig, uint32_t number)
{
    for (uint32_t i = 0; i < rig->told_count; i++)
        if (rig->told[i].number == number && !rig->told[i].is_taken)
            fail_msg("%s was told of %u", rig->told[i].gateway, number);
}

static void user_open(struct rig *rig, const char *gateway, const char *user, bool peek)
{
    struct msg_user_convs convs;
    const struct msg_user_open open = {
        .req = ++rig->req,
        .shard = shard_of_user(user),
        .user = slice_string(user),
        .limit = 1,
        .peek = peek,
    };
    hear(rig, gateway, &msg_user_open_desc, &open);
    assert_true(NEXT(rig, gateway, user_convs, USER_CONVS, &convs));
    assert_int_equal(convs.rc, RC_OK);
}

static void user_close(struct rig *rig, const char *gateway, const char *user)
{
    const struct msg_user_close close = {
        .shard = shard_of_user(user),
        .user = slice_string(user),
    };
    hear(rig, gateway, &msg_user_close_desc, &close);
}

static enum rc query(struct rig *rig, uint32_t shard, struct slice users,
                     struct msg_presence_item *ret_first)
{
    struct msg_presences presences;
    const struct msg_presence_query request = {.req = ++rig->req, .shard = shard, .users = users};
    hear(rig, "g1", &msg_presence_query_desc, &request);
    assert_true(NEXT(rig, "g1", presences, PRESENCES, &presences));
    assert_int_equal(presences.req, rig->req);
    struct record_reader r = record_reader_of(presences.items);
    if (presences.rc == RC_OK && ret_first != NULL)
        assert_int_equal(record_decode(&r, &msg_presence_item_desc, ret_first), RC_OK);
    return (enum rc)presences.rc;
}

static enum rc query_user(struct rig *rig, const char *user, struct msg_presence_item *ret_item)
{
    struct buf *users = buf_new(32);
    record_put_slice(users, slice_string(user));
    enum rc rc = query(rig, shard_of_user(user), buf_slice(users), ret_item);
    buf_unref(&users);
    return rc;
}

static void watch_user(struct rig *rig, const char *gateway, const char *user, bool on)
{
    struct buf *users = buf_new(32);
    record_put_slice(users, slice_string(user));
    const struct msg_presence_watch request = {
        .shard = shard_of_user(user),
        .users = buf_slice(users),
        .on = on,
    };
    hear(rig, gateway, &msg_presence_watch_desc, &request);
    buf_unref(&users);
}

static void assert_presence(struct rig *rig, const char *gateway, const char *user, uint64_t status)
{
    struct msg_event_presence event;
    assert_true(NEXT(rig, gateway, event_presence, EVENT_PRESENCE, &event));
    assert_true(slice_equals(event.user, user));
    assert_int_equal(event.status, status);
}

/* ---- Who may submit what ---- */

/* What leaders give themselves, and what routers give each other, is not for gateways. */
static void gateways_submit_only_what_is_theirs(void **state)
{
    struct rig *rig = *state;
    uint32_t c = shard_of_conv("c");
    uint32_t bob = shard_of_user("bob");
    const struct msg_cmd_told told = {.conv = slice_string("c"), .seq = 1};
    const struct msg_cmd_trim trim = {.conv = slice_string("c"), .upto = 1};
    const struct msg_cmd_pushed pushed = {.conv = slice_string("c"), .seq = 1};
    const struct msg_cmd_index index = {
        .user = slice_string("bob"), .conv = slice_string("c"), .seq = 1};
    const struct msg_cmd_seen seen = {.user = slice_string("bob"), .ts = 1};
    assert_int_equal(submit_to(rig, c, &msg_cmd_told_desc, &told, NULL), RC_FORBIDDEN);
    assert_int_equal(submit_to(rig, c, &msg_cmd_trim_desc, &trim, NULL), RC_FORBIDDEN);
    assert_int_equal(submit_to(rig, c, &msg_cmd_pushed_desc, &pushed, NULL), RC_FORBIDDEN);
    assert_int_equal(submit_to(rig, bob, &msg_cmd_index_desc, &index, NULL), RC_FORBIDDEN);
    assert_int_equal(submit_to(rig, bob, &msg_cmd_seen_desc, &seen, NULL), RC_FORBIDDEN);
}

/* Changes, erasing and ending of conversations are; and having a user forgotten. */
static void gateways_submit_changes_and_erasures(void **state)
{
    struct rig *rig = *state;
    uint32_t c = shard_of_conv("none");
    const struct msg_cmd_change change = {
        .conv = slice_string("none"),
        .user = slice_string("bob"),
        .type = ENTRY_REACTION,
        .target = 1,
        .emoji = slice_string("+"),
        .on = 1,
    };
    const struct msg_cmd_erase erase = {.conv = slice_string("none"), .user = slice_string("bob")};
    const struct msg_cmd_drop drop = {.conv = slice_string("none")};
    const struct msg_cmd_seen seen = {.user = slice_string("bob"), .erase = 1};
    assert_int_equal(submit_to(rig, c, &msg_cmd_change_desc, &change, NULL), RC_NOT_FOUND);
    assert_int_equal(submit_to(rig, c, &msg_cmd_erase_desc, &erase, NULL), RC_NOT_FOUND);
    assert_int_equal(submit_to(rig, c, &msg_cmd_drop_desc, &drop, NULL), RC_NOT_FOUND);
    assert_int_equal(submit_to(rig, shard_of_user("bob"), &msg_cmd_seen_desc, &seen, NULL), RC_OK);
    assert_int_equal(submit_to(rig, 1 - shard_of_user("bob"), &msg_cmd_seen_desc, &seen, NULL),
                     RC_BAD_REQUEST);
}

/* ---- Receipts ---- */

/* In a small group every cursor that moves is told to everybody. */
static void a_small_group_hears_every_receipt(void **state)
{
    struct rig *rig = *state;
    struct msg_event_receipt receipt;
    create(rig, LIMIT_RECEIPTS_MEMBERS - 1);
    uint64_t seq = say(rig, "alice");
    move(rig, "m0", seq, 0);
    assert_true(NEXT(rig, "g2", event_receipt, EVENT_RECEIPT, &receipt));
    assert_int_equal(receipt.delivered, seq);
    assert_int_equal(receipt.read, 0);
    move(rig, "m0", 0, seq);
    assert_true(NEXT(rig, "g2", event_receipt, EVENT_RECEIPT, &receipt));
    assert_int_equal(receipt.read, seq);
    assert_int_equal(receipt.messages, 1);
    pass(rig, 2000);
    assert_quiet(rig, MSG_EVENT_TALLY);
}

/* In a large one only what somebody has read, for his own devices; and numbers, once a second. */
static void a_large_group_hears_numbers(void **state)
{
    struct rig *rig = *state;
    struct msg_event_receipt receipt;
    struct msg_event_tally tally;
    create(rig, LIMIT_RECEIPTS_MEMBERS);
    uint64_t seq = say(rig, "alice");
    pass(rig, 1000);
    move(rig, "m0", seq, 0);
    assert_quiet(rig, MSG_EVENT_RECEIPT);
    assert_true(NEXT(rig, "g2", event_tally, EVENT_TALLY, &tally));
    assert_true(slice_equals(tally.conv, "c"));
    assert_int_equal(tally.seq, seq);
    assert_int_equal(tally.delivered, 1);
    assert_int_equal(tally.read, 0);
    assert_int_equal(tally.total, LIMIT_RECEIPTS_MEMBERS);
    move(rig, "m0", 0, seq);
    assert_true(NEXT(rig, "g2", event_receipt, EVENT_RECEIPT, &receipt));
    assert_int_equal(receipt.read, seq);
    move(rig, "m1", seq, 0);
    move(rig, "m2", 0, seq);
    pass(rig, 900);
    assert_false(NEXT(rig, "g2", event_tally, EVENT_TALLY, &tally));
    pass(rig, 100);
    assert_true(NEXT(rig, "g2", event_tally, EVENT_TALLY, &tally));
    assert_int_equal(tally.delivered, 3);
    assert_int_equal(tally.read, 2);
    assert_false(NEXT(rig, "g2", event_tally, EVENT_TALLY, &tally));
}

/* Who has read what is answered to members. */
static void readers_are_answered(void **state)
{
    struct rig *rig = *state;
    struct msg_readers_page page;
    struct msg_reader reader;
    create(rig, 2);
    uint64_t seq = say(rig, "alice");
    move(rig, "m1", 0, seq);
    struct msg_readers request = {
        .req = 77,
        .shard = shard_of_conv("c"),
        .conv = slice_string("c"),
        .user = slice_string("alice"),
        .seq = seq,
    };
    hear(rig, "g1", &msg_readers_desc, &request);
    assert_true(NEXT(rig, "g1", readers_page, READERS_PAGE, &page));
    assert_int_equal(page.req, 77);
    assert_int_equal(page.rc, RC_OK);
    assert_int_equal(page.total, 2);
    struct record_reader r = record_reader_of(page.read);
    assert_int_equal(record_decode(&r, &msg_reader_desc, &reader), RC_OK);
    assert_true(slice_equals(reader.user, "m1"));
    assert_true(record_reader_at_end(&r));
    request.user = slice_string("mallory");
    hear(rig, "g1", &msg_readers_desc, &request);
    assert_true(NEXT(rig, "g1", readers_page, READERS_PAGE, &page));
    assert_int_equal(page.rc, RC_FORBIDDEN);
    request.shard = 1 - shard_of_conv("c");
    hear(rig, "g1", &msg_readers_desc, &request);
    assert_true(NEXT(rig, "g1", readers_page, READERS_PAGE, &page));
    assert_int_equal(page.rc, RC_BAD_REQUEST);
}

/* ---- Typing ---- */

/* That a member types is told to all who watch, until he stops, by himself or by his message. */
static void typing_of_members_is_told(void **state)
{
    struct rig *rig = *state;
    create(rig, 2);
    type_in(rig, shard_of_conv("c"), "m0", true);
    assert_typing(rig, "m0", 1);
    pass(rig, LIMIT_TYPING_GAP_MS);
    say(rig, "m0");
    assert_typing(rig, "m0", 0);
    pass(rig, LIMIT_TYPING_GAP_MS);
    type_in(rig, shard_of_conv("c"), "m1", true);
    assert_typing(rig, "m1", 1);
    pass(rig, LIMIT_TYPING_MS);
    assert_typing(rig, "m1", 0);
    assert_quiet(rig, MSG_EVENT_TYPING);
}

/* Who is no member types unseen, and so does who asks the wrong shard, and who was removed. */
static void typing_of_others_is_dropped(void **state)
{
    struct rig *rig = *state;
    create(rig, 2);
    type_in(rig, shard_of_conv("c"), "mallory", true);
    type_in(rig, shard_of_conv("c"), "", true);
    type_in(rig, 1 - shard_of_conv("c"), "m0", true);
    type_in(rig, SHARDS, "m0", true);
    assert_quiet(rig, MSG_EVENT_TYPING);
    type_in(rig, shard_of_conv("c"), "m1", true);
    assert_typing(rig, "m1", 1);
    struct buf *names = buf_new(16);
    record_put_slice(names, slice_string("m1"));
    const struct msg_cmd_member remove = {
        .conv = slice_string("c"),
        .user = slice_string("alice"),
        .change = MEMBER_REMOVE,
        .users = buf_slice(names),
    };
    assert_int_equal(submit_to(rig, shard_of_conv("c"), &msg_cmd_member_desc, &remove, NULL),
                     RC_OK);
    buf_unref(&names);
    type_in(rig, shard_of_conv("c"), "m1", true);
    pass(rig, LIMIT_TYPING_GAP_MS);
    assert_typing(rig, "m1", 0);
    assert_quiet(rig, MSG_EVENT_TYPING);
}

/* Who opens a conversation learns where it is and who types; others are refused. */
static void looking_answers_who_types(void **state)
{
    struct rig *rig = *state;
    struct msg_looked looked;
    struct slice name;
    struct msg_look look = {
        .req = 5,
        .shard = shard_of_conv("c"),
        .conv = slice_string("c"),
        .user = slice_string("m1"),
    };
    hear(rig, "g1", &msg_look_desc, &look);
    assert_true(NEXT(rig, "g1", looked, LOOKED, &looked));
    assert_int_equal(looked.rc, RC_NOT_FOUND);
    create(rig, 2);
    type_in(rig, shard_of_conv("c"), "m0", true);
    uint64_t seq = say(rig, "alice");
    hear(rig, "g1", &msg_look_desc, &look);
    assert_true(NEXT(rig, "g1", looked, LOOKED, &looked));
    assert_int_equal(looked.req, 5);
    assert_int_equal(looked.rc, RC_OK);
    assert_int_equal(looked.head, seq);
    struct record_reader r = record_reader_of(looked.typing);
    assert_int_equal(record_get_slice(&r, &name), RC_OK);
    assert_true(slice_equals(name, "m0"));
    assert_true(record_reader_at_end(&r));
    look.user = slice_string("mallory");
    hear(rig, "g1", &msg_look_desc, &look);
    assert_true(NEXT(rig, "g1", looked, LOOKED, &looked));
    assert_int_equal(looked.rc, RC_FORBIDDEN);
}

/* ---- Presence ---- */

/* Right after its election a leader does not know who is offline; then it does. */
static void a_new_leader_does_not_guess(void **state)
{
    struct rig *rig = *state;
    struct msg_presence_item item;
    assert_int_equal(query_user(rig, "bob", NULL), RC_UNAVAILABLE);
    watch_user(rig, "g2", "bob", true);
    user_open(rig, "g1", "alice", false);
    assert_int_equal(query_user(rig, "alice", &item), RC_OK);
    assert_int_equal(item.status, PRESENCE_ONLINE);
    pass(rig, ONLINE_SETTLE_MS);
    assert_int_equal(query_user(rig, "bob", &item), RC_OK);
    assert_int_equal(item.status, PRESENCE_OFFLINE);
    assert_int_equal(item.last_seen, 0);
    assert_quiet(rig, MSG_EVENT_PRESENCE);
    pass(rig, LIMIT_PRESENCE_GRACE_MS);
    assert_presence(rig, "g2", "bob", PRESENCE_OFFLINE);
}

/* Who watches is told of coming, status and going; when he went is stored, and survives. */
static void coming_and_going_is_told_and_stored(void **state)
{
    struct rig *rig = *state;
    struct msg_presence_item item;
    pass(rig, ONLINE_SETTLE_MS);
    watch_user(rig, "g2", "bob", true);
    assert_presence(rig, "g2", "bob", PRESENCE_OFFLINE);
    user_open(rig, "g1", "bob", false);
    assert_presence(rig, "g2", "bob", PRESENCE_ONLINE);
    pass(rig, LIMIT_PRESENCE_MS);
    const struct msg_user_status status = {
        .shard = shard_of_user("bob"),
        .user = slice_string("bob"),
        .status = PRESENCE_BUSY,
    };
    hear(rig, "g1", &msg_user_status_desc, &status);
    assert_presence(rig, "g2", "bob", PRESENCE_BUSY);
    uint64_t left_ms = rig->wall_ms;
    user_close(rig, "g1", "bob");
    pass(rig, LIMIT_PRESENCE_GRACE_MS - 50);
    assert_quiet(rig, MSG_EVENT_PRESENCE);
    pass(rig, 100);
    assert_presence(rig, "g2", "bob", PRESENCE_OFFLINE);
    watch_user(rig, "g2", "bob", false);
    pass(rig, 2 * LIMIT_PRESENCE_MS); /* No longer in memory. */
    assert_int_equal(query_user(rig, "bob", &item), RC_OK);
    assert_int_equal(item.status, PRESENCE_OFFLINE);
    assert_int_equal(item.last_seen, left_ms);
    const struct msg_cmd_seen seen = {.user = slice_string("bob"), .erase = 1};
    assert_int_equal(submit_to(rig, shard_of_user("bob"), &msg_cmd_seen_desc, &seen, NULL), RC_OK);
    assert_int_equal(query_user(rig, "bob", &item), RC_OK);
    assert_int_equal(item.last_seen, 0);
    user_open(rig, "g1", "bob", false);
    assert_quiet(rig, MSG_EVENT_PRESENCE);
}

/* A gateway that lists somebody's conversations does not have him. */
static void a_peek_makes_nobody_online(void **state)
{
    struct rig *rig = *state;
    struct msg_presence_item item;
    pass(rig, ONLINE_SETTLE_MS);
    user_open(rig, "g1", "bob", true);
    assert_int_equal(query_user(rig, "bob", &item), RC_OK);
    assert_int_equal(item.status, PRESENCE_OFFLINE);
}

/* A gateway that is dead takes its users with it within 10 s in all. */
static void a_dead_gateway_takes_its_users_with_it(void **state)
{
    struct rig *rig = *state;
    struct msg_event_presence event;
    pass(rig, ONLINE_SETTLE_MS);
    hello(rig, "g3");
    user_open(rig, "g3", "bob", false);
    user_open(rig, "g3", "carol", false);
    user_open(rig, "g1", "carol", false);
    watch_user(rig, "g2", "bob", true);
    watch_user(rig, "g2", "carol", true);
    assert_presence(rig, "g2", "bob", PRESENCE_ONLINE);
    assert_presence(rig, "g2", "carol", PRESENCE_ONLINE);
    pass(rig, LIMIT_GATEWAY_LEASE_MS - 100);
    assert_quiet(rig, MSG_EVENT_PRESENCE);
    pass(rig, 1000);
    assert_presence(rig, "g2", "bob", PRESENCE_OFFLINE);
    assert_false(NEXT(rig, "g2", event_presence, EVENT_PRESENCE, &event));
}

/* So does one that died before it ever said hello. */
static void a_gateway_without_a_hello_is_not_for_ever(void **state)
{
    struct rig *rig = *state;
    struct msg_presence_item item;
    pass(rig, ONLINE_SETTLE_MS);
    user_open(rig, "g3", "bob", false);
    pass(rig, LIMIT_GATEWAY_LEASE_MS - 500);
    assert_int_equal(query_user(rig, "bob", &item), RC_OK);
    assert_int_equal(item.status, PRESENCE_ONLINE);
    pass(rig, 1000);
    assert_int_equal(query_user(rig, "bob", &item), RC_OK);
    assert_int_equal(item.status, PRESENCE_OFFLINE);
}

/* Too many users in one question, one of another shard, or what is no list: refused. */
static void malformed_questions_are_refused(void **state)
{
    struct rig *rig = *state;
    pass(rig, ONLINE_SETTLE_MS);
    struct buf *users = buf_new(4096);
    for (uint32_t i = 0; i <= LIMIT_PRESENCE_USERS; i++) {
        record_put_slice(users, slice_string("bob"));
        if (i == LIMIT_PRESENCE_USERS - 1)
            assert_int_equal(query(rig, shard_of_user("bob"), buf_slice(users), NULL), RC_OK);
    }
    assert_int_equal(query(rig, shard_of_user("bob"), buf_slice(users), NULL), RC_BAD_REQUEST);
    buf_clear(users);
    record_put_slice(users, slice_string("bob"));
    assert_int_equal(query(rig, 1 - shard_of_user("bob"), buf_slice(users), NULL), RC_BAD_REQUEST);
    assert_int_equal(query(rig, SHARDS, buf_slice(users), NULL), RC_BAD_REQUEST);
    buf_clear(users);
    record_put_slice(users, slice_of("\n", 1));
    assert_int_equal(query(rig, 0, buf_slice(users), NULL), RC_BAD_REQUEST);
    assert_int_equal(query(rig, 0, slice_string("nonsense"), NULL), RC_BAD_REQUEST);
    assert_int_equal(query(rig, 0, (struct slice){0}, NULL), RC_OK);
    const struct msg_presence_watch watch = {.users = slice_string("nonsense"), .on = 1};
    hear(rig, "g1", &msg_presence_watch_desc, &watch);
    assert_quiet(rig, MSG_EVENT_PRESENCE);
    buf_unref(&users);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(gateways_submit_only_what_is_theirs),
        TEST(gateways_submit_changes_and_erasures),
        TEST(a_small_group_hears_every_receipt),
        TEST(a_large_group_hears_numbers),
        TEST(readers_are_answered),
        TEST(typing_of_members_is_told),
        TEST(typing_of_others_is_dropped),
        TEST(looking_answers_who_types),
        TEST(a_new_leader_does_not_guess),
        TEST(coming_and_going_is_told_and_stored),
        TEST(a_peek_makes_nobody_online),
        TEST(a_dead_gateway_takes_its_users_with_it),
        TEST(a_gateway_without_a_hello_is_not_for_ever),
        TEST(malformed_questions_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
