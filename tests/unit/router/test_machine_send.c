/* machine: sending, creating, and the cid that makes both happen once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "mesh/base/limits.h"
#include "tests/support/machine_rig.h"

static int setup(void **state)
{
    rig_setup(state);
    struct rig *rig = *state;
    rig_create(rig, "c", "alice", "bob carol");
    return 0;
}

static uint64_t head_of(struct rig *rig, struct slice conv)
{
    uint64_t head;
    assert_int_equal(machine_head(rig->machine, conv, &head), RC_OK);
    return head;
}

static struct rig_result send_to(struct rig *rig, const char *user, const char *peer,
                                 const char *cid)
{
    struct msg_cmd_send c = {
        .conv = rig_direct(user, peer),
        .user = slice_string(user),
        .peer = slice_string(peer),
        .cid = slice_string(cid),
        .body = slice_string("\"hello\""),
    };
    return rig_do(rig, &msg_cmd_send_desc, &c);
}

/* Messages get the next seqs, in the order sent. */
static void messages_are_numbered_in_order(void **state)
{
    struct rig *rig = *state;
    assert_int_equal(rig_send(rig, "c", "alice", "1", "1").seq, 4);
    assert_int_equal(rig_send(rig, "c", "bob", "1", "2").seq, 5);
    assert_int_equal(rig_send(rig, "c", "alice", "2", "3").seq, 6);
    assert_int_equal(head_of(rig, slice_string("c")), 6);
}

/* Only members send, and only to what exists. */
static void strangers_are_refused(void **state)
{
    struct rig *rig = *state;
    assert_int_equal(rig_send(rig, "c", "mallory", "1", "1").rc, RC_FORBIDDEN);
    assert_int_equal(rig_send(rig, "nowhere", "alice", "1", "1").rc, RC_NOT_FOUND);
    rig_member(rig, "c", "bob", MEMBER_LEAVE, NULL, 0);
    assert_int_equal(rig_send(rig, "c", "bob", "1", "1").rc, RC_FORBIDDEN);
}

/* A reply goes to an entry that is there. */
static void a_reply_beyond_the_end_is_refused(void **state)
{
    struct rig *rig = *state;
    struct msg_cmd_send c = {
        .conv = slice_string("c"),
        .user = slice_string("alice"),
        .body = slice_string("1"),
        .reply_to = 4,
    };
    assert_int_equal(rig_do(rig, &msg_cmd_send_desc, &c).rc, RC_BAD_REQUEST);
    c.reply_to = 3;
    assert_int_equal(rig_do(rig, &msg_cmd_send_desc, &c).rc, RC_OK);
    c.reply_to = 4;
    assert_int_equal(rig_do(rig, &msg_cmd_send_desc, &c).rc, RC_OK);
    c.conv = rig_direct("alice", "zoe");
    c.peer = slice_string("zoe");
    assert_int_equal(rig_do(rig, &msg_cmd_send_desc, &c).rc, RC_BAD_REQUEST);
    assert_int_equal(head_of(rig, c.conv), 0);
}

/* The same cid gets the first answer, within a turn, after it, and after a restart. */
static void a_cid_is_taken_once(void **state)
{
    struct rig *rig = *state;
    struct msg_cmd_send c = {
        .conv = slice_string("c"),
        .user = slice_string("alice"),
        .cid = slice_string("x"),
        .body = slice_string("1"),
    };
    rig_add(rig, &msg_cmd_send_desc, &c);
    c.body = slice_string("\"another body\"");
    rig_add(rig, &msg_cmd_send_desc, &c);
    rig_apply(rig);
    rig_write(rig);
    assert_false(rig->results[0].dup);
    uint64_t ts = rig->results[0].ts;
    rig->ts += 1000;
    for (int i = 0; i < 3; i++) {
        struct rig_result r = i == 0 ? rig->results[1] : rig_send(rig, "c", "alice", "x", "2");
        assert_int_equal(r.rc, RC_OK);
        assert_true(r.dup);
        assert_int_equal(r.seq, 4);
        assert_int_equal(r.ts, ts);
        rig_reopen(rig);
    }
    assert_int_equal(head_of(rig, slice_string("c")), 4);
    /* Another sender's cid, and the same in another conversation, are others. */
    assert_false(rig_send(rig, "c", "bob", "x", "1").dup);
    assert_false(send_to(rig, "alice", "bob", "x").dup);
}

/* A cid is remembered for seven days of log time to the millisecond, across the buckets. */
static void a_cid_is_forgotten_after_seven_days(void **state)
{
    struct rig *rig = *state;
    for (uint64_t offset = 0; offset < LIMIT_DEDUP_MS; offset += LIMIT_DEDUP_MS / 7) {
        rig->ts += offset + LIMIT_DEDUP_MS;
        struct rig_result first = rig_send(rig, "c", "alice", "x", "1");
        assert_false(first.dup);
        rig->ts += LIMIT_DEDUP_MS - 1;
        rig_send(rig, "c", "bob", NULL, "1"); /* Moves the clock. */
        assert_int_equal(rig_send(rig, "c", "alice", "x", "1").seq, first.seq);
        rig->ts += 1;
        struct rig_result later = rig_send(rig, "c", "alice", "x", "1");
        assert_false(later.dup);
        assert_true(later.seq > first.seq);
    }
}

/* Forgotten cids leave the store: rows do not gather for ever. */
static void forgotten_cids_leave_the_store(void **state)
{
    struct rig *rig = *state;
    char cid[32];
    for (int week = 0; week < 6; week++) {
        for (int i = 0; i < 20; i++) {
            snprintf(cid, sizeof(cid), "%d-%d", week, i);
            rig_send(rig, "c", "alice", cid, "1");
        }
        rig->ts += LIMIT_DEDUP_MS;
    }
    rig_send(rig, "c", "alice", "last", "1");
    uint32_t rows = 0;
    struct slice key;
    struct slice value;
    struct kv_iterator *iterator =
        rig->kv->ops->iterate(rig->kv, KV_DEDUP, slice_of("", 0), slice_of("\xff", 1), false);
    while (rig->kv->ops->next(iterator, &key, &value))
        rows++;
    assert_int_equal(rig->kv->ops->iterator_free(&iterator), RC_OK);
    assert_true(rows <= 21);
}

/* Without a cid nothing is remembered. */
static void without_a_cid_each_send_is_new(void **state)
{
    struct rig *rig = *state;
    assert_int_equal(rig_send(rig, "c", "alice", NULL, "1").seq, 4);
    assert_int_equal(rig_send(rig, "c", "alice", NULL, "1").seq, 5);
}

/* The first message to a user makes the conversation: two members join, then it. */
static void the_first_message_makes_the_direct_conversation(void **state)
{
    struct rig *rig = *state;
    uint32_t before = rig->entries;
    assert_int_equal(send_to(rig, "alice", "zoe", "1").seq, 3);
    assert_int_equal(rig->entries - before, 3);
    assert_int_equal(send_to(rig, "zoe", "alice", "1").seq, 4);
    assert_true(send_to(rig, "alice", "zoe", "1").dup);
    assert_int_equal(send_to(rig, "alice", "alice", "1").seq, 2);
    assert_int_equal(send_to(rig, "alice", "alice", "2").seq, 3);
}

/* Two first messages in one entry make one conversation. */
static void two_first_messages_in_one_turn_meet(void **state)
{
    struct rig *rig = *state;
    struct msg_cmd_send c = {
        .conv = rig_direct("alice", "zoe"),
        .user = slice_string("alice"),
        .peer = slice_string("zoe"),
        .cid = slice_string("1"),
        .body = slice_string("1"),
    };
    rig_add(rig, &msg_cmd_send_desc, &c);
    c.user = slice_string("zoe");
    c.peer = slice_string("alice");
    rig_add(rig, &msg_cmd_send_desc, &c);
    rig_apply(rig);
    rig_write(rig);
    assert_int_equal(rig->results[0].seq, 3);
    assert_int_equal(rig->results[1].seq, 4);
}

/* Creating a group: the members, then title and meta, then the message, all in one. */
static void a_group_is_created_whole(void **state)
{
    struct rig *rig = *state;
    struct buf *names = rig_names("bob alice bob carol");
    struct msg_cmd_create c = {
        .conv = slice_string("new"),
        .user = slice_string("alice"),
        .kind = CONV_GROUP,
        .members = buf_slice(names),
        .title = slice_string("Title"),
        .cid = slice_string("1"),
        .body = slice_string("1"),
    };
    struct rig_result r = rig_do(rig, &msg_cmd_create_desc, &c);
    assert_int_equal(r.rc, RC_OK);
    assert_int_equal(r.seq, 5); /* Three joined, info, message: names given twice count once. */
    struct msg_members request = {.conv = c.conv, .user = c.user, .limit = LIMIT_MEMBERS_PAGE_MAX};
    struct msg_members_page page;
    assert_int_equal(machine_members(rig->machine, &request, &page, rig->into), RC_OK);
    assert_int_equal(page.total, 3);
    struct record_reader members = record_reader_of(page.members);
    struct msg_member member;
    assert_int_equal(record_decode(&members, &msg_member_desc, &member), RC_OK);
    assert_true(slice_equals(member.user, "alice"));
    assert_int_equal(member.role, ROLE_OWNER);
    assert_int_equal(member.joined, 1);
    assert_int_equal(record_decode(&members, &msg_member_desc, &member), RC_OK);
    assert_int_equal(member.role, ROLE_MEMBER);
    /* The creator's retry with the same cid is answered as the first time; any other conflicts. */
    r = rig_do(rig, &msg_cmd_create_desc, &c);
    assert_int_equal(r.rc, RC_OK);
    assert_true(r.dup);
    assert_int_equal(r.seq, 5);
    c.user = slice_string("bob");
    assert_int_equal(rig_do(rig, &msg_cmd_create_desc, &c).rc, RC_CONFLICT);
    c.user = slice_string("alice");
    c.cid = slice_string("2");
    assert_int_equal(rig_do(rig, &msg_cmd_create_desc, &c).rc, RC_CONFLICT);
    c.cid = (struct slice){0};
    assert_int_equal(rig_do(rig, &msg_cmd_create_desc, &c).rc, RC_CONFLICT);
    assert_int_equal(head_of(rig, c.conv), 5);
    buf_unref(&names);
}

/* A retry is known by its cid though the group was created without a message. */
static void a_retry_without_a_message_is_known(void **state)
{
    struct rig *rig = *state;
    struct msg_cmd_create c = {
        .conv = slice_string("new"),
        .user = slice_string("alice"),
        .kind = CONV_GROUP,
        .cid = slice_string("1"),
    };
    assert_int_equal(rig_do(rig, &msg_cmd_create_desc, &c).seq, 1);
    struct rig_result r = rig_do(rig, &msg_cmd_create_desc, &c);
    assert_int_equal(r.rc, RC_OK);
    assert_true(r.dup);
    assert_int_equal(r.seq, 1);
    /* A first message of the same cid is a message. */
    struct msg_cmd_send send = {
        .conv = slice_string("new"),
        .user = slice_string("alice"),
        .cid = slice_string("1"),
        .body = slice_string("1"),
    };
    r = rig_do(rig, &msg_cmd_send_desc, &send);
    assert_int_equal(r.rc, RC_OK);
    assert_false(r.dup);
    assert_int_equal(r.seq, 2);
    assert_true(rig_do(rig, &msg_cmd_send_desc, &send).dup);
    assert_int_equal(rig_do(rig, &msg_cmd_create_desc, &c).seq, 1);
}

/* A direct conversation may be opened again and again; a body is then a message. */
static void a_direct_conversation_is_opened_twice(void **state)
{
    struct rig *rig = *state;
    struct buf *names = rig_names("zoe");
    struct msg_cmd_create c = {
        .conv = rig_direct("alice", "zoe"),
        .user = slice_string("alice"),
        .kind = CONV_DIRECT,
        .members = buf_slice(names),
    };
    struct rig_result r = rig_do(rig, &msg_cmd_create_desc, &c);
    assert_int_equal(r.seq, 2);
    assert_false(r.dup);
    r = rig_do(rig, &msg_cmd_create_desc, &c);
    assert_int_equal(r.rc, RC_OK);
    assert_true(r.dup);
    assert_int_equal(r.seq, 2);
    c.body = slice_string("1");
    c.cid = slice_string("1");
    r = rig_do(rig, &msg_cmd_create_desc, &c);
    assert_int_equal(r.seq, 3);
    assert_false(r.dup);
    r = rig_do(rig, &msg_cmd_create_desc, &c);
    assert_int_equal(r.seq, 3);
    assert_true(r.dup);
    buf_unref(&names);
}

/* Keys decide the throughput: a message costs its entry and its deduplication row; the head, the
 * sender's cursor and the applied index are put once a turn. */
static void a_message_costs_two_keys(void **state)
{
    struct rig *rig = *state;
    rig_create(rig, "new", "alice", "bob");
    for (char cid[2] = "a"; cid[0] < 'k'; cid[0]++) {
        struct msg_cmd_send c = {
            .conv = slice_string("new"),
            .user = slice_string("alice"),
            .cid = slice_string(cid),
            .body = slice_string("1"),
        };
        rig_add(rig, &msg_cmd_send_desc, &c);
    }
    rig_apply(rig);
    machine_flush(rig->machine, rig->batch);
    assert_int_equal(rig->kv->ops->batch_count(rig->batch), 10 * 2 + 3);
    rig_write(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(messages_are_numbered_in_order, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(strangers_are_refused, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(a_reply_beyond_the_end_is_refused, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(a_cid_is_taken_once, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(a_cid_is_forgotten_after_seven_days, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(forgotten_cids_leave_the_store, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(without_a_cid_each_send_is_new, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(the_first_message_makes_the_direct_conversation, setup,
                                        rig_teardown),
        cmocka_unit_test_setup_teardown(two_first_messages_in_one_turn_meet, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(a_group_is_created_whole, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(a_retry_without_a_message_is_known, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(a_direct_conversation_is_opened_twice, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(a_message_costs_two_keys, setup, rig_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
