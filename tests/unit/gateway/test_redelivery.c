#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "mesh/base/limits.h"
#include "tests/support/gateway_world.h"

#define WAIT_MS 1000u

static struct world *new_world(uint32_t outbox_bytes)
{
    struct gateway_options options;
    gateway_options_init(&options);
    options.redeliver_ms = WAIT_MS;
    if (outbox_bytes != 0)
        options.outbox_bytes_max = outbox_bytes;
    struct world *world = world_new(&options, 1);
    world_start(world);
    return world;
}

static void ack(struct world_link *link, const char *conv, uint64_t seq)
{
    char frame[96];
    snprintf(frame, sizeof(frame), "{\"type\":\"ack\",\"conv\":\"%s\",\"seq\":%lu}", conv,
             (unsigned long)seq);
    world_send(link, frame);
}

static void say(struct world *world, struct world_link *link, const char *conv)
{
    static unsigned count;
    char frame[128];
    count++;
    snprintf(frame, sizeof(frame),
             "{\"type\":\"send\",\"id\":%u,\"conv\":\"%s\",\"cid\":\"s%u\",\"body\":1}", count,
             conv, count);
    world_send(link, frame);
    world_run(world, 20);
}

static uint32_t copies(const struct world_link *link, const char *conv, uint64_t seq)
{
    char text[96];
    snprintf(text, sizeof(text), "\"conv\":\"%s\",\"seq\":%lu,", conv, (unsigned long)seq);
    return world_count(link, text);
}

/* Everything beyond the ack cursor comes again each time, five times, and then 4008. */
static void gives_again_what_is_not_acknowledged(void **state)
{
    (void)state;
    struct world *world = new_world(0);
    struct world_conv *conv = world_conv(world, "c1", "alice bob");
    struct world_link *alice = world_connect(world, "alice", NULL, false);
    world_run(world, 100);
    for (int i = 0; i < 10; i++)
        world_say(world, conv, "bob");
    world_run(world, 100);
    ack(alice, "c1", 7);
    world_run(world, 900);
    assert_int_equal(copies(alice, "c1", 8), 1);
    for (uint32_t times = 1; times <= LIMIT_REDELIVER_COUNT; times++) {
        world_run(world, times == 1 ? 200 : WAIT_MS);
        assert_int_equal(copies(alice, "c1", 7), 1);
        assert_int_equal(copies(alice, "c1", 8), 1 + times);
        assert_int_equal(copies(alice, "c1", 10), 1 + times);
        assert_int_equal(alice->code, 0);
    }
    world_run(world, WAIT_MS);
    assert_int_equal(alice->code, 4008);
    assert_int_equal(copies(alice, "c1", 8), 1 + LIMIT_REDELIVER_COUNT);
    world_close(&alice);
    world_free(&world);
}

/* Live entries come behind those that come again, in order. */
static void goes_on_in_order_after_giving_again(void **state)
{
    (void)state;
    struct world *world = new_world(0);
    struct world_conv *conv = world_conv(world, "c1", "alice bob");
    struct world_link *alice = world_connect(world, "alice", NULL, false);
    world_run(world, 100);
    for (int i = 0; i < 3; i++)
        world_say(world, conv, "bob");
    world_run(world, 10);
    ack(alice, "c1", 1);
    uint32_t before = alice->count;
    for (int i = 0; i < 1100; i++) {
        if (i % 10 == 0)
            world_say(world, conv, "bob");
        world_run(world, 1);
    }
    uint64_t last = 3;
    uint32_t jumps = 0;
    for (uint32_t i = before; i < alice->count; i++) {
        unsigned long seq;
        if (sscanf(alice->frames[i], "{\"type\":\"message\",\"conv\":\"c1\",\"seq\":%lu", &seq) !=
            1)
            continue;
        jumps += seq == 2;
        assert_true(seq == last + 1 || seq == 2);
        last = seq;
    }
    assert_int_equal(jumps, 1);
    assert_int_equal(last, conv->head);
    world_close(&alice);
    world_free(&world);
}

/* A client that never acknowledges may do without. */
static void leaves_alone_who_never_acknowledges(void **state)
{
    (void)state;
    struct world *world = new_world(0);
    struct world_conv *conv = world_conv(world, "c1", "alice bob");
    struct world_link *alice = world_connect(world, "alice", NULL, false);
    world_run(world, 100);
    for (int i = 0; i < 10; i++)
        world_say(world, conv, "bob");
    world_run(world, 20 * WAIT_MS);
    world_expect_seqs(alice, "c1", 1, 10);
    assert_int_equal(alice->code, 0);
    world_close(&alice);
    world_free(&world);
}

/* One acknowledgement, of whatever conversation and kind, and all are awaited; each that moves the
 * cursor on begins the wait anew, and forgives the times before. */
static void awaits_all_conversations_after_the_first_ack(void **state)
{
    (void)state;
    struct world *world = new_world(0);
    struct world_conv *one = world_conv(world, "c1", "alice bob");
    struct world_conv *two = world_conv(world, "c2", "alice bob");
    struct world_link *alice = world_connect(world, "alice", NULL, false);
    world_run(world, 100);
    for (int i = 0; i < 20; i++)
        world_say(world, one, "bob");
    world_say(world, two, "bob");
    world_run(world, 10);
    world_send(alice, "{\"type\":\"read\",\"id\":1,\"conv\":\"c2\",\"seq\":1}");
    for (uint64_t seq = 1; seq < 20; seq++) {
        world_run(world, WAIT_MS / 2 + 10);
        ack(alice, "c1", seq);
    }
    world_expect_seqs(alice, "c1", 1, 20);
    world_run(world, 3 * WAIT_MS + 100);
    assert_int_equal(copies(alice, "c1", 19), 1);
    assert_int_equal(copies(alice, "c1", 20), 4);
    assert_int_equal(copies(alice, "c2", 1), 1);
    ack(alice, "c1", 20);
    world_run(world, 10 * WAIT_MS);
    assert_int_equal(copies(alice, "c1", 20), 4);
    assert_int_equal(alice->code, 0);
    world_say(world, one, "bob");
    world_run(world, 5 * WAIT_MS + 100);
    assert_int_equal(copies(alice, "c1", 21), 6);
    assert_int_equal(alice->code, 0);
    world_close(&alice);
    world_free(&world);
}

/* What it had from an earlier connection is not expected to be acknowledged. */
static void begins_at_the_resume_point(void **state)
{
    (void)state;
    struct world *world = new_world(0);
    struct world_conv *conv = world_conv(world, "c1", "alice bob");
    struct world_conv *other = world_conv(world, "c2", "alice bob");
    for (int i = 0; i < 10; i++)
        world_say(world, conv, "bob");
    world_say(world, other, "bob");
    struct world_link *alice = world_connect(world, "alice", NULL, false);
    world_send(alice, "{\"type\":\"connect\",\"resume\":{\"c1\":10}}");
    world_run(world, 100);
    ack(alice, "c2", 1);
    world_run(world, 3 * WAIT_MS);
    world_expect_seqs(alice, "c1", 1, 0);
    world_expect_seqs(alice, "c2", 1, 1);
    world_close(&alice);
    world_free(&world);
}

/* While nothing can be written to it a client cannot acknowledge either; nor can it what is still
 * on its way from the log. */
static void waits_for_a_slow_client(void **state)
{
    (void)state;
    struct world *world = new_world(4096);
    world->page = 10;
    struct world_conv *conv = world_conv(world, "c1", "alice bob");
    struct world_link *alice = world_connect(world, "alice", NULL, false);
    world_run(world, 100);
    world_say(world, conv, "bob");
    world_run(world, 10);
    ack(alice, "c1", 1);
    alice->is_blocked = true;
    for (int i = 0; i < 500; i++)
        world_say(world, conv, "bob");
    for (int i = 0; i < 8; i++) { /* It reads a little every second. */
        world_run(world, WAIT_MS);
        alice->is_blocked = false;
        session_on_writable(alice->session);
        world_turn(world);
        alice->is_blocked = true;
    }
    alice->is_blocked = false;
    session_on_writable(alice->session);
    world_run(world, WAIT_MS - 100);
    world_expect_seqs(alice, "c1", 1, 501);
    world_run(world, 200);
    assert_int_equal(copies(alice, "c1", 2), 2); /* Now it could have. */
    assert_int_equal(alice->code, 0);
    world_close(&alice);
    world_free(&world);
}

/* The ack cursor lies before a gap: that is announced again, not read. */
static void announces_a_gap_again(void **state)
{
    (void)state;
    struct world *world = new_world(0);
    struct world_conv *conv = world_conv(world, "c1", "alice bob");
    conv->crowd = 1000; /* Large: it rests before it streams. */
    struct world_link *alice = world_connect(world, "alice", NULL, false);
    world_run(world, 100);
    ack(alice, "c1", 0);
    for (int i = 0; i < 1500; i++) {
        world_say(world, conv, "bob");
        world_turn(world);
    }
    world_send(alice, "{\"type\":\"open\",\"conv\":\"c1\"}");
    world_run(world, WAIT_MS - 100);
    assert_int_equal(world_count(alice, "\"gap\",\"conv\":\"c1\",\"from\":1,\"to\":500,"), 1);
    world_expect_seqs(alice, "c1", 501, 1500);
    world_run(world, 300);
    assert_int_equal(world_count(alice, "\"gap\",\"conv\":\"c1\",\"from\":1,\"to\":500,"), 2);
    assert_int_equal(copies(alice, "c1", 501), 2);
    assert_int_equal(copies(alice, "c1", 500), 0);
    world_send(alice, "{\"type\":\"close\",\"conv\":\"c1\"}");
    world_run(world, 10 * WAIT_MS); /* Closed, it is given nothing. */
    assert_int_equal(copies(alice, "c1", 501), 2);
    assert_int_equal(alice->code, 0);
    world_close(&alice);
    world_free(&world);
}

/* What the client sent it has, whether what others said before it is acknowledged already or
 * later; on the user's other device it is awaited like any other. */
static void awaits_no_acknowledgement_of_what_it_sent_itself(void **state)
{
    (void)state;
    struct world *world = new_world(0);
    struct world_conv *conv = world_conv(world, "c1", "alice bob");
    struct world_link *alice = world_connect(world, "alice", "a", false);
    struct world_link *other = world_connect(world, "alice", "b", false);
    world_run(world, 100);
    world_say(world, conv, "bob");
    world_run(world, 20);
    ack(alice, "c1", 1);
    ack(other, "c1", 1);
    say(world, alice, "c1");
    say(world, alice, "c1");
    world_say(world, conv, "bob");
    world_run(world, 20);
    say(world, alice, "c1");
    say(world, alice, "c1");
    ack(alice, "c1", 4);
    world_run(world, 10 * WAIT_MS);
    world_expect_seqs(alice, "c1", 1, 6);
    assert_int_equal(alice->code, 0);
    assert_int_equal(copies(other, "c1", 2), 1 + LIMIT_REDELIVER_COUNT);
    assert_int_equal(other->code, 4008);
    world_close(&alice);
    world_close(&other);
    world_free(&world);
}

/* The first acknowledgement may come after it. */
static void awaits_nothing_sent_before_the_first_ack(void **state)
{
    (void)state;
    struct world *world = new_world(0);
    struct world_conv *conv = world_conv(world, "c1", "alice bob");
    world_conv(world, "c2", "alice bob");
    struct world_link *alice = world_connect(world, "alice", NULL, false);
    world_run(world, 100);
    world_say(world, conv, "bob");
    world_run(world, 20);
    say(world, alice, "c1");
    say(world, alice, "c2");
    ack(alice, "c1", 1);
    world_run(world, 10 * WAIT_MS);
    assert_int_equal(copies(alice, "c1", 2), 1);
    assert_int_equal(copies(alice, "c2", 1), 1);
    assert_int_equal(alice->code, 0);
    world_close(&alice);
    world_free(&world);
}

/* It acknowledges nothing of what others said before it or after. */
static void still_awaits_what_others_said_around_it(void **state)
{
    (void)state;
    struct world *world = new_world(0);
    struct world_conv *conv = world_conv(world, "c1", "alice bob");
    struct world_link *alice = world_connect(world, "alice", NULL, false);
    world_run(world, 100);
    ack(alice, "c1", 0);
    say(world, alice, "c1");
    world_say(world, conv, "bob");
    world_run(world, 20);
    say(world, alice, "c1");
    world_run(world, WAIT_MS + 100);
    assert_int_equal(copies(alice, "c1", 1), 1);
    assert_int_equal(copies(alice, "c1", 2), 2);
    assert_int_equal(copies(alice, "c1", 3), 2);
    ack(alice, "c1", 2);
    world_run(world, 2 * WAIT_MS);
    assert_int_equal(copies(alice, "c1", 3), 2);
    world_say(world, conv, "bob");
    world_run(world, WAIT_MS + 100);
    assert_int_equal(copies(alice, "c1", 3), 2);
    assert_int_equal(copies(alice, "c1", 4), 2);
    world_run(world, 6 * WAIT_MS);
    assert_int_equal(alice->code, 4008);
    world_close(&alice);
    world_free(&world);
}

/* Its answer comes before the news that the conversation is there. */
static void knows_what_it_sent_to_begin_a_conversation(void **state)
{
    (void)state;
    struct world *world = new_world(0);
    struct world_conv *one = world_conv(world, "c1", "alice bob");
    struct world_conv *two = world_conv(world, "c2", "bob");
    struct world_link *alice = world_connect(world, "alice", NULL, false);
    world_run(world, 100);
    world_say(world, one, "bob");
    world_run(world, 20);
    ack(alice, "c1", 1);
    say(world, alice, "c2");
    say(world, alice, "c2");
    world_add(world, two, "alice");
    world_run(world, 100);
    assert_int_equal(copies(alice, "c2", 2), 1);
    ack(alice, "c2", 3); /* The entry that lets her in. */
    world_run(world, 10 * WAIT_MS);
    say(world, alice, "c2");
    world_run(world, 10 * WAIT_MS);
    assert_int_equal(copies(alice, "c2", 2), 1);
    assert_int_equal(copies(alice, "c2", 4), 1);
    assert_int_equal(alice->code, 0);
    world_close(&alice);
    world_free(&world);
}

/* Erased meanwhile and in again, he sees nothing of what was, and is told so. */
static void announces_what_it_may_not_see_again(void **state)
{
    (void)state;
    struct world *world = new_world(0);
    struct world_conv *one = world_conv(world, "c1", "alice bob");
    struct world_conv *two = world_conv(world, "c2", "alice bob");
    struct world_link *alice = world_connect(world, "alice", NULL, false);
    world_run(world, 100);
    for (int i = 0; i < 5; i++)
        world_say(world, one, "bob");
    world_say(world, two, "bob");
    world_run(world, 100);
    ack(alice, "c2", 1);
    one->hidden = 6;
    world_run(world, WAIT_MS - 100);
    for (int i = 0; i < 3; i++)
        world_say(world, one, "bob"); /* 6 is missed: what was before is given again just then. */
    world_run(world, 300);
    assert_int_equal(world_count(alice, "\"type\":\"gap\",\"conv\":\"c1\",\"from\":1,\"to\":6,"
                                        "\"head\":8,\"trimmed\":true}"),
                     1);
    assert_true(copies(alice, "c1", 8) >= 1);
    world_close(&alice);
    world_free(&world);
}

/* The same where its leader, asked meanwhile, knew of no such member. */
static void announces_what_it_may_not_see_when_it_comes_back(void **state)
{
    (void)state;
    struct world *world = new_world(0);
    struct world_conv *one = world_conv(world, "c1", "alice bob");
    struct world_conv *two = world_conv(world, "c2", "alice bob");
    struct world_link *alice = world_connect(world, "alice", NULL, false);
    world_run(world, 100);
    for (int i = 0; i < 3; i++)
        world_say(world, one, "bob");
    world_say(world, two, "bob");
    world_run(world, 100);
    ack(alice, "c2", 1);
    one->members[0][0] = '\0';
    world_run(world, WAIT_MS + 500);
    one->hidden = one->head;
    world_add(world, one, "alice");
    world_run(world, 100);
    assert_int_equal(world_count(alice, "\"type\":\"gap\",\"conv\":\"c1\",\"from\":1,\"to\":3,"
                                        "\"head\":4,\"trimmed\":true}"),
                     1);
    assert_int_equal(copies(alice, "c1", 4), 1);
    world_close(&alice);
    world_free(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gives_again_what_is_not_acknowledged),
        cmocka_unit_test(goes_on_in_order_after_giving_again),
        cmocka_unit_test(leaves_alone_who_never_acknowledges),
        cmocka_unit_test(awaits_all_conversations_after_the_first_ack),
        cmocka_unit_test(begins_at_the_resume_point),
        cmocka_unit_test(waits_for_a_slow_client),
        cmocka_unit_test(announces_a_gap_again),
        cmocka_unit_test(awaits_no_acknowledgement_of_what_it_sent_itself),
        cmocka_unit_test(awaits_nothing_sent_before_the_first_ack),
        cmocka_unit_test(still_awaits_what_others_said_around_it),
        cmocka_unit_test(knows_what_it_sent_to_begin_a_conversation),
        cmocka_unit_test(announces_what_it_may_not_see_again),
        cmocka_unit_test(announces_what_it_may_not_see_when_it_comes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
