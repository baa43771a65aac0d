#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "mesh/base/mem.h"
#include "tests/unit/gateway/failover_world.h"

/* Alice and a conversation that r1 leads. */
static struct world_conv *conv;
static struct world_link *alice;

static struct world *start(const struct gateway_options *options)
{
    struct world *world = failover_new(options);
    world_start(world);
    conv = failover_conv(0, "alice bob");
    alice = world_connect(world, "alice", NULL, false);
    world_run(world, 200);
    return world;
}

static void stop(struct world *world)
{
    if (alice != NULL)
        world_close(&alice);
    world_run(world, 2);
    world_free(&world);
}

static void expect_log(const char *text)
{
    assert_string_equal(failover_log(), text);
}

/* Refused by a router that leads no longer, a send goes to the next leader; the client sees a
 * pause.
 */
static void a_refused_send_goes_to_the_next_leader(void **state)
{
    (void)state;
    struct world *world = start(NULL);
    failover_depose(0);
    failover_say(alice, conv, "a");
    world_run(world, 300);
    assert_int_equal(failover_sent(alice) + failover_errors(alice), 0);
    failover_take_over(1);
    world_run(world, FAILOVER_QUICK);
    assert_int_equal(failover_sent(alice), 1);
    assert_int_equal(failover_errors(alice), 0);
    expect_log("a");
    stop(world);
}

/* So does one that comes while nobody leads, and everything else that a client may ask. */
static void what_comes_while_nobody_leads_waits(void **state)
{
    (void)state;
    struct world *world = start(NULL);
    char frame[160];
    static const char *const frames[] = {
        "{\"type\":\"history\",\"id\":1,\"conv\":\"%s\"}",
        "{\"type\":\"members\",\"id\":2,\"conv\":\"%s\"}",
        "{\"type\":\"conversations\",\"id\":3,\"after\":\"%s\"}",
        "{\"type\":\"add\",\"id\":4,\"conv\":\"%s\",\"users\":[\"eve\"]}",
        "{\"type\":\"info\",\"id\":5,\"conv\":\"%s\",\"title\":\"t\"}",
        "{\"type\":\"create\",\"id\":6,\"conv\":\"%s\",\"kind\":\"group\",\"members\":[\"bob\"]}",
        "{\"type\":\"read\",\"id\":7,\"conv\":\"%s\",\"seq\":1}",
    };
    failover_depose(0);
    failover_depose(1);
    world_beat(world, 0);
    world_beat(world, 1);
    world_run(world, 2);
    for (size_t i = 0; i < sizeof(frames) / sizeof(frames[0]); i++) {
        snprintf(frame, sizeof(frame), frames[i], conv->name);
        world_send(alice, frame);
    }
    uint32_t before = alice->count;
    world_run(world, 500);
    assert_int_equal(alice->count, before);
    failover_take_over(1);
    world_run(world, FAILOVER_QUICK + 2);
    assert_int_equal(failover_errors(alice), 0);
    assert_int_equal(world_count(alice, "\"type\":\"history\",\"id\":1"), 1);
    assert_int_equal(world_count(alice, "\"type\":\"members\",\"id\":2"), 1);
    assert_int_equal(world_count(alice, "\"type\":\"conversations\",\"id\":3"), 1);
    assert_int_equal(world_count(alice, "\"type\":\"ok\",\"id\":4"), 1);
    assert_int_equal(world_count(alice, "\"type\":\"ok\",\"id\":5"), 1);
    assert_int_equal(world_count(alice, "\"type\":\"conversation\",\"id\":6"), 1);
    assert_int_equal(world_count(alice, "\"type\":\"ok\",\"id\":7"), 1);
    stop(world);
}

/* Reads in flight with a router that is deposed, or dies, are asked of the next one. */
static void reads_move_with_the_lead(void **state)
{
    (void)state;
    struct world *world = start(NULL);
    char frame[160];
    snprintf(frame, sizeof(frame), "{\"type\":\"history\",\"id\":1,\"conv\":\"%s\"}", conv->name);
    failover_depose(0);
    world_send(alice, frame);
    world_run(world, 20);
    failover_take_over(1);
    world_run(world, FAILOVER_QUICK);
    assert_int_equal(world_count(alice, "\"type\":\"history\""), 1);
    failover_kill(1);
    world_send(alice, frame);
    world_run(world, 20);
    failover_take_over(0);
    world_run(world, FAILOVER_QUICK);
    assert_int_equal(world_count(alice, "\"type\":\"history\""), 2);
    assert_int_equal(failover_errors(alice), 0);
    stop(world);
}

/* Sends of two users, one a millisecond, while leadership is handed over: none is refused, none
 * executed twice, and each user's stand in the order sent. `refusal` is what the old leader says.
 */
static void hand_over(enum mood refusal, uint64_t delay_us_max)
{
    struct world *world = start(NULL);
    struct world_link *bob = world_connect(world, "bob", NULL, false);
    world_run(world, 100);
    world->delay_us_max = delay_us_max;
    char cid[16];
    for (int i = 0; i < 300; i++) {
        snprintf(cid, sizeof(cid), "a%03d", i);
        failover_say(alice, conv, cid);
        if (i % 3 == 0) {
            snprintf(cid, sizeof(cid), "b%03d", i);
            failover_say(bob, conv, cid);
        }
        if (i == 100 && refusal == MOOD_FINE)
            failover_depose(0);
        else if (i == 100)
            failover.moods[0] = refusal;
        if (i == 200 && refusal != MOOD_FINE)
            failover_depose(0);
        if (i == 200)
            failover_take_over(1);
        world_run(world, 1);
    }
    world_run(world, 200);
    assert_int_equal(failover_errors(alice) + failover_errors(bob), 0);
    assert_int_equal(failover_sent(alice), 300);
    assert_int_equal(failover_sent(bob), 100);
    assert_int_equal(world_count(alice, "\"dup\""), 0);
    const char *last[2] = {"", ""};
    for (uint32_t i = 0; i < failover.executed_count; i++) {
        const char *what = failover.executed[i].what;
        assert_true(strcmp(what, last[what[0] == 'b']) > 0);
        last[what[0] == 'b'] = what;
    }
    assert_int_equal(failover.executed_count, 400);
    world_close(&bob);
    stop(world);
}

static void a_hand_over_keeps_the_order(void **state)
{
    (void)state;
    for (uint64_t delay_us = 0; delay_us < 20000; delay_us += 5000) {
        hand_over(MOOD_FINE, delay_us);
        hand_over(MOOD_BUSY, delay_us);
    }
}

/* The leader dies with sends in its log of which nobody heard, and others that it never got. All
 * are answered by the next one as if for the first time, and stand once and in order. */
static void a_death_costs_nothing_but_time(void **state)
{
    (void)state;
    struct world *world = start(NULL);
    failover_say(alice, conv, "a");
    world_run(world, FAILOVER_QUICK);
    failover.moods[0] = MOOD_MUTE;
    failover_say(alice, conv, "b");
    world_run(world, FAILOVER_QUICK);
    failover_say(alice, conv, "c");
    world_run(world, FAILOVER_QUICK);
    failover_kill(0);
    failover_say(alice, conv, "d");
    world_run(world, 800);
    failover_say(alice, conv, "e");
    failover_take_over(1);
    failover_say(alice, conv, "f");
    world_run(world, FAILOVER_QUICK + 3);
    assert_int_equal(failover_sent(alice), 6);
    assert_int_equal(failover_errors(alice), 0);
    assert_int_equal(world_count(alice, "\"dup\""), 0);
    expect_log("a b c d e f");
    stop(world);
}

/* A duplicate that the client made itself is told as one. */
static void a_true_duplicate_is_told(void **state)
{
    (void)state;
    struct world *world = start(NULL);
    failover_say(alice, conv, "a");
    world_run(world, FAILOVER_QUICK);
    failover_depose(0);
    failover_say(alice, conv, "a");
    world_run(world, 20);
    failover_take_over(1);
    world_run(world, FAILOVER_QUICK);
    assert_int_equal(failover_sent(alice), 2);
    assert_int_equal(world_count(alice, "\"dup\":true"), 1);
    stop(world);
}

/* A packet was lost, what came behind it was not, and then the leader dies: the lost send must not
 * be repeated behind the other. Whatever waits behind it is refused with it. */
static void a_lost_send_is_not_repeated_behind_a_later_one(void **state)
{
    (void)state;
    struct world *world = start(NULL);
    struct world_conv *other = failover_conv(0, "alice bob");
    failover.moods[0] = MOOD_DEAF;
    failover_say(alice, conv, "a");
    world_run(world, FAILOVER_QUICK);
    failover.moods[0] = MOOD_MUTE;
    failover_say(alice, conv, "b");
    world_run(world, FAILOVER_QUICK);
    failover_kill(0);
    world_run(world, 10);
    world_beat(world, 1);
    world_run(world, 800);
    failover_say(alice, conv, "c");
    failover_say(alice, other, "d");
    world_run(world, 10);
    failover_take_over(1);
    world_run(world, FAILOVER_QUICK + 3);
    assert_int_equal(world_count(alice, "\"type\":\"sent\",\"id\":\"b\""), 1);
    assert_int_equal(world_count(alice, "\"dup\""), 0);
    assert_int_equal(world_count(alice, "\"type\":\"error\",\"id\":\"a\""), 1);
    assert_int_equal(world_count(alice, "\"retry_after_ms\":250"), failover_errors(alice));
    if (failover_shard(other) != failover_shard(conv))
        assert_int_equal(world_count(alice, "\"type\":\"sent\",\"id\":\"d\""), 1);
    assert_null(failover_find("a"));
    failover_say(alice, conv, "a");
    failover_say(alice, conv, "c");
    world_run(world, FAILOVER_QUICK);
    assert_non_null(failover_find("c"));
    assert_true(failover_find("c")->seq > failover_find("a")->seq);
    assert_true(failover_find("a")->seq > failover_find("b")->seq);
    stop(world);
}

/* Refused, and surely not executed; but a later one is under way, of which nobody knows yet. */
static void a_refused_send_waits_for_what_became_of_a_later_one(void **state)
{
    (void)state;
    struct world *world = start(NULL);
    uint32_t shard = failover_shard(conv);
    world_run(world, 20); /* The next beat is not due. */
    world->leaders[shard] = NOBODY;
    failover_say(alice, conv, "a");
    world_run(world, 1);
    world->leaders[shard] = 0; /* After all. */
    failover.delay_us = 100000;
    failover_say(alice, conv, "b");
    world_run(world, 1);
    world_beat(world, 0);
    world_run(world, 90);
    assert_int_equal(failover_errors(alice), 0);
    expect_log("b");
    world_run(world, 20);
    assert_int_equal(failover_sent(alice), 1);
    assert_int_equal(world_count(alice, "\"type\":\"error\",\"id\":\"a\""), 1);
    expect_log("b");
    stop(world);
}

/* What is not idempotent is repeated after a refusal, which says that it was not executed, and not
 * after a death, which says nothing. */
static void a_change_of_members_is_repeated_only_after_a_refusal(void **state)
{
    (void)state;
    struct world *world = start(NULL);
    char frame[160];
    snprintf(frame, sizeof(frame),
             "{\"type\":\"add\",\"id\":1,\"conv\":\"%s\",\"users\":[\"eve\"]}", conv->name);
    failover_depose(0);
    world_send(alice, frame);
    world_run(world, 20);
    failover_take_over(1);
    world_run(world, FAILOVER_QUICK);
    assert_int_equal(world_count(alice, "\"type\":\"ok\",\"id\":1"), 1);
    assert_int_equal(failover.executed_count, 1);
    failover.moods[1] = MOOD_MUTE;
    world_send(alice, frame);
    world_run(world, FAILOVER_QUICK);
    failover_kill(1);
    world_run(world, 500);
    failover_take_over(0);
    failover_say(alice, conv, "a"); /* It waits for nobody. */
    world_run(world, FAILOVER_QUICK);
    assert_int_equal(failover_sent(alice), 1);
    assert_int_equal(failover_errors(alice), 0);
    struct msg_node node = {.id = slice_string("r2"), .role = NODE_ROUTER, .incarnation = 100};
    world->handler.on_peer(world->handler.context, &node, false);
    world_run(world, 2);
    assert_int_equal(world_count(alice, "\"code\":\"unavailable\""), 1);
    assert_int_equal(failover.executed_count, 3);
    stop(world);
}

static void change(const char *type, const char *cid)
{
    char frame[256];
    snprintf(frame, sizeof(frame),
             "{\"type\":\"%s\",\"id\":\"%s\",\"conv\":\"%s\",\"seq\":1,\"body\":1,\"emoji\":\"x\"%"
             "s%s%s}",
             type, type, conv->name, cid != NULL ? ",\"cid\":\"" : "", cid != NULL ? cid : "",
             cid != NULL ? "\"" : "");
    world_send(alice, frame);
}

/* With a cid an edit, a deletion and a reaction are as safe as a send, and in order with sends. */
static void a_change_with_a_cid_is_executed_once_and_in_order(void **state)
{
    (void)state;
    struct world *world = start(NULL);
    failover.moods[0] = MOOD_MUTE;
    failover_say(alice, conv, "a");
    change("edit", "b");
    world_run(world, FAILOVER_QUICK);
    failover.moods[0] = MOOD_DEAF;
    change("react", "c");
    failover_say(alice, conv, "d");
    world_run(world, FAILOVER_QUICK);
    failover_kill(0);
    change("delete", "e");
    world_run(world, 800);
    failover_take_over(1);
    world_run(world, FAILOVER_QUICK + 3);
    assert_int_equal(failover_sent(alice), 5);
    assert_int_equal(failover_errors(alice), 0);
    assert_int_equal(world_count(alice, "\"dup\""), 0);
    assert_int_equal(failover.questions, 5);
    expect_log("a b c d e");
    stop(world);
}

/* Without one nobody can be asked: what became of an edit or a reaction stays unknown, a deletion
 * is made again. */
static void a_change_without_a_cid_is_repeated_only_where_that_is_harmless(void **state)
{
    (void)state;
    struct world *world = start(NULL);
    failover.moods[0] = MOOD_MUTE;
    change("edit", NULL);
    change("react", NULL);
    change("delete", NULL);
    world_run(world, FAILOVER_QUICK);
    assert_int_equal(failover.executed_count, 3);
    failover_kill(0);
    world_run(world, 500);
    failover_take_over(1);
    struct msg_node node = {.id = slice_string("r1"), .role = NODE_ROUTER, .incarnation = 100};
    world->handler.on_peer(world->handler.context, &node, false);
    world_run(world, FAILOVER_QUICK);
    assert_int_equal(
        world_count(alice, "\"type\":\"error\",\"id\":\"edit\",\"code\":\"unavailable\""), 1);
    assert_int_equal(
        world_count(alice, "\"type\":\"error\",\"id\":\"react\",\"code\":\"unavailable\""), 1);
    assert_int_equal(world_count(alice, "\"type\":\"sent\",\"id\":\"delete\""), 1);
    assert_int_equal(failover.executed_count, 4);
    stop(world);
}

/* A former leader that answers late what it refused is heard. */
static void a_late_refusal_is_a_reason_to_repeat(void **state)
{
    (void)state;
    struct world *world = start(NULL);
    char frame[160];
    snprintf(frame, sizeof(frame), "{\"type\":\"info\",\"id\":1,\"conv\":\"%s\",\"title\":\"t\"}",
             conv->name);
    failover_depose(0);
    world_send(alice, frame);
    world_turn(world); /* The refusal is on its way when the other one claims. */
    failover_take_over(1);
    world_run(world, FAILOVER_QUICK);
    assert_int_equal(world_count(alice, "\"type\":\"ok\",\"id\":1"), 1);
    assert_int_equal(failover.executed_count, 1);
    stop(world);
}

/* Nobody leads until the deadline: `unavailable`, soon again where there was a leader just now, and
 * those behind it are refused with it, so that the client can send all of them again in order. */
static void fails_at_the_deadline_together_with_those_behind(void **state)
{
    (void)state;
    struct gateway_options options;
    gateway_options_init(&options);
    options.request_ms = 1000;
    struct world *world = start(&options);
    struct world_conv *other = failover_conv(0, "alice bob");
    failover_depose(0);
    failover_say(alice, conv, "a");
    world_run(world, 500);
    failover_say(alice, conv, "b");
    failover_say(alice, other, "c");
    world_run(world, 499);
    assert_int_equal(failover_errors(alice), 0);
    world_run(world, 5);
    assert_int_equal(failover_errors(alice), 2);
    assert_int_equal(world_count(alice, "\"retry_after_ms\":250"), 2);
    assert_int_equal(world_count(alice, "\"id\":\"c\""), 0);
    failover_say(alice, conv, "a");
    failover_say(alice, conv, "b");
    world_run(world, 100);
    failover_take_over(1);
    world_run(world, FAILOVER_QUICK);
    expect_log("c a b");
    assert_int_equal(failover_sent(alice), 3);
    stop(world);
}

/* A shard that has had no leader for more than five seconds is not soon asked again. */
static void tells_to_wait_longer_where_nobody_led_for_long(void **state)
{
    (void)state;
    struct world *world = start(NULL);
    failover_depose(0);
    world_beat(world, 0);
    world_run(world, 200);
    failover_say(alice, conv, "a");
    world_run(world, 5010);
    assert_int_equal(world_count(alice, "\"retry_after_ms\":1000"), 1);
    stop(world);
}

/* A router that leads and has too much to do says so to the client. */
static void passes_on_that_a_queue_is_full(void **state)
{
    (void)state;
    struct world *world = start(NULL);
    failover.moods[0] = MOOD_FULL;
    failover_say(alice, conv, "a");
    world_run(world, FAILOVER_QUICK);
    assert_int_equal(world_count(alice, "\"retry_after_ms\":777"), 1);
    stop(world);
}

/* Results lost in a hole of the link are asked for, and nobody notices. */
static void repairs_a_hole_with_results_in_it(void **state)
{
    (void)state;
    struct world *world = start(NULL);
    failover.moods[0] = MOOD_MUTE;
    failover_say(alice, conv, "a");
    world_run(world, FAILOVER_QUICK);
    failover.moods[0] = MOOD_DEAF;
    failover_say(alice, conv, "b");
    world_run(world, FAILOVER_QUICK);
    failover.moods[0] = MOOD_FINE;
    world->routers[0].link_seq++;
    world_run(world, 350);
    assert_int_equal(failover_sent(alice), 2);
    assert_int_equal(failover_errors(alice), 0);
    assert_int_equal(world_count(alice, "\"dup\""), 0);
    assert_int_equal(failover.questions, 2);
    expect_log("a b");
    stop(world);
}

/* Questions may be lost too: they are asked again, and others wait no longer than that. */
static void asks_again_where_no_answer_comes(void **state)
{
    (void)state;
    struct world *world = start(NULL);
    failover.moods[0] = MOOD_MUTE;
    failover_say(alice, conv, "a");
    world_run(world, FAILOVER_QUICK);
    world->routers[0].link_seq++;
    world_run(world, 1000);
    failover.moods[0] = MOOD_FINE;
    failover_say(alice, conv, "b");
    world_run(world, 1000);
    assert_int_equal(failover_sent(alice), 2);
    assert_int_equal(failover_errors(alice), 0);
    expect_log("a b");
    stop(world);
}

/* What the bus does not take did not leave: it waits, in order, and is not asked about. */
static void keeps_what_the_bus_does_not_take(void **state)
{
    (void)state;
    struct world *world = start(NULL);
    failover.moods[0] = MOOD_GONE;
    char cid[8];
    for (int i = 0; i < 20; i++) {
        snprintf(cid, sizeof(cid), "%c", 'a' + i);
        failover_say(alice, conv, cid);
        world_run(world, 1);
    }
    world_run(world, 100);
    failover.moods[0] = MOOD_FINE;
    world_run(world, 30);
    assert_int_equal(failover_sent(alice), 20);
    assert_int_equal(failover.questions, 0);
    expect_log("a b c d e f g h i j k l m n o p q r s t");
    stop(world);
}

/* Whoever says that he leads and does not is asked by one request at a time. */
static void probes_a_leader_that_is_not_ready(void **state)
{
    (void)state;
    struct world *world = start(NULL);
    failover.moods[0] = MOOD_BUSY;
    char cid[8];
    for (int i = 0; i < 100; i++) {
        snprintf(cid, sizeof(cid), "a%02d", i);
        failover_say(alice, conv, cid);
    }
    world_run(world, 10);
    uint32_t before = world->submits;
    world_run(world, 200);
    assert_in_range(world->submits - before, 5, 12);
    failover.moods[0] = MOOD_FINE;
    world_run(world, 30);
    assert_int_equal(failover_sent(alice), 100);
    stop(world);
}

/* A new leader gets as much as its queue holds, the rest as it answers. */
static void fills_a_new_leader_by_and_by(void **state)
{
    (void)state;
    struct world *world = start(NULL);
    failover_depose(0);
    world_beat(world, 0);
    world_run(world, 2);
    char cid[16];
    for (int i = 0; i < 2500; i++) {
        snprintf(cid, sizeof(cid), "%04d", i);
        failover_say(alice, conv, cid);
    }
    world_run(world, 50);
    failover_take_over(1);
    world_turn(world);
    assert_in_range(failover.executed_count, 1, CALLS_WINDOW_COUNT);
    world_run(world, 50);
    assert_int_equal(failover_sent(alice), 2500);
    for (uint32_t i = 1; i < failover.executed_count; i++)
        assert_true(strcmp(failover.executed[i].what, failover.executed[i - 1].what) > 0);
    stop(world);
}

/* What waits is bounded; what is beyond is refused at once. */
static void refuses_what_exceeds_the_bound(void **state)
{
    (void)state;
    struct world *world = start(NULL);
    const size_t size = 120000;
    char *frame = mem_alloc(size + 256);
    failover_depose(0);
    world_beat(world, 0);
    world_run(world, 2);
    uint32_t fits = CALLS_KEPT_BYTES_MAX / (uint32_t)size;
    for (uint32_t i = 0; i < fits + 20; i++) {
        int head = snprintf(
            frame, 256, "{\"type\":\"send\",\"id\":%u,\"conv\":\"%s\",\"cid\":\"%u\",\"body\":\"",
            i, conv->name, i);
        memset(frame + head, 'x', size);
        strcpy(frame + head + size, "\"}");
        world_send(alice, frame);
    }
    world_run(world, 1);
    assert_in_range(failover_errors(alice), 1, 20);
    assert_int_equal(world_count(alice, "\"retry_after_ms\":250"), failover_errors(alice));
    mem_free(frame);
    stop(world);
}

/* Who waits may go: what he has sent is sent, and nobody is answered. */
static void survives_the_session(void **state)
{
    (void)state;
    struct world *world = start(NULL);
    failover_depose(0);
    failover_say(alice, conv, "a");
    world_run(world, 10);
    failover_say(alice, conv, "b");
    world_close(&alice);
    world_run(world, 10);
    failover_take_over(1);
    world_run(world, FAILOVER_QUICK);
    expect_log("a b");
    failover_kill(1);
    stop(world); /* And so may the gateway. */
}

/* A change of members that waits for a leader does not outlive its session: who is told nothing
 * asks elsewhere, and has changed his mind by the time there is a leader. */
static void a_change_of_members_ends_with_its_session(void **state)
{
    (void)state;
    struct world *world = start(NULL);
    char frame[160];
    snprintf(frame, sizeof(frame),
             "{\"type\":\"remove\",\"id\":1,\"conv\":\"%s\",\"users\":[\"bob\"]}", conv->name);
    failover_depose(0);
    world_send(alice, frame);
    failover_say(alice, conv, "a"); /* What is known by its cid goes on. */
    world_run(world, 10);
    world_close(&alice);
    world_run(world, 10);
    failover_take_over(1);
    world_run(world, FAILOVER_QUICK);
    assert_int_equal(failover.executed_count, 1);
    expect_log("a");
    stop(world);
}

/* Nobody answers a cursor: where the leader changes soon after it left it leaves again. */
static void repeats_a_cursor_across_a_change(void **state)
{
    (void)state;
    struct world *world = start(NULL);
    char frame[160];
    snprintf(frame, sizeof(frame), "{\"type\":\"read\",\"conv\":\"%s\",\"seq\":7}", conv->name);
    failover_kill(0);
    world_send(alice, frame);
    world_run(world, 900);
    failover_take_over(1);
    assert_int_equal(world->cursors, 0);
    world_run(world, 2200);
    assert_int_equal(world->cursors, 1);
    assert_int_equal(world->last_cursor.read, 7);
    world_run(world, 5000);
    assert_int_equal(world->cursors, 1);
    stop(world);
}

/* Chance decides about moods, leaders and delays, but loses no packet: every send of every user is
 * answered by `sent`, executed once, and in the order sent. */
static void run_random(uint64_t seed)
{
    struct world *world = start(NULL);
    struct world_link *links[4];
    char user[8], cid[16];
    world->seed = seed;
    struct world_conv *convs[2] = {failover_conv(0, "u0 u1 u2 u3"),
                                   failover_conv(1, "u0 u1 u2 u3")};
    for (int i = 0; i < 4; i++) {
        snprintf(user, sizeof(user), "u%d", i);
        links[i] = world_connect(world, user, NULL, false);
    }
    world_run(world, 100);
    world->delay_us_max = 1 + world_random(world) % 10000;
    uint32_t sent[4] = {0};
    for (int step = 0; step < 1500; step++) {
        uint64_t dice = world_random(world) % 1000;
        uint32_t router = (uint32_t)(world_random(world) % 2);
        uint32_t i = (uint32_t)(world_random(world) % 4);
        if (dice < 700) {
            snprintf(cid, sizeof(cid), "%u-%04u", i, sent[i]++);
            failover_say(links[i], convs[world_random(world) % 2], cid);
        } else if (dice < 705) {
            failover_depose(router);
        } else if (dice < 730) {
            failover_take_over(router);
        } else if (dice < 740) {
            failover.moods[router] = MOOD_BUSY;
        } else if (dice < 790) {
            failover.moods[router] = MOOD_FINE;
        } else if (dice < 792) {
            world->routers[router].link_seq++;
        }
        world_run(world, world_random(world) % 3);
    }
    failover.moods[0] = failover.moods[1] = MOOD_FINE;
    failover_take_over(1);
    world_run(world, 2000);
    uint32_t total = 0;
    for (int i = 0; i < 4; i++) {
        total += sent[i];
        if (failover_sent(links[i]) + failover_errors(links[i]) != sent[i])
            fail_msg("seed %lu: u%d", (unsigned long)seed, i);
    }
    uint32_t errors = 0;
    for (int i = 0; i < 4; i++)
        errors += failover_errors(links[i]);
    if (failover.executed_count < total - errors || failover.executed_count > total)
        fail_msg("seed %lu: executed %u of %u", (unsigned long)seed, failover.executed_count,
                 total);
    const char *last[4][WORLD_SHARDS];
    memset(last, 0, sizeof(last));
    for (uint32_t i = 0; i < failover.executed_count; i++) {
        const struct executed *e = &failover.executed[i];
        const char **before = &last[e->what[0] - '0'][e->shard];
        if (*before != NULL && strcmp(e->what, *before) <= 0)
            fail_msg("seed %lu: %s behind %s", (unsigned long)seed, e->what, *before);
        *before = e->what;
    }
    for (int i = 0; i < 4; i++)
        world_close(&links[i]);
    stop(world);
}

static void executes_everything_once_and_in_order(void **state)
{
    (void)state;
    const char *chosen = getenv("SEED");
    uint64_t first = chosen != NULL ? strtoull(chosen, NULL, 10) : 1;
    uint64_t last = chosen != NULL ? first : 100;
    for (uint64_t seed = first; seed <= last; seed++)
        run_random(seed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_refused_send_goes_to_the_next_leader),
        cmocka_unit_test(what_comes_while_nobody_leads_waits),
        cmocka_unit_test(reads_move_with_the_lead),
        cmocka_unit_test(a_hand_over_keeps_the_order),
        cmocka_unit_test(a_death_costs_nothing_but_time),
        cmocka_unit_test(a_true_duplicate_is_told),
        cmocka_unit_test(a_lost_send_is_not_repeated_behind_a_later_one),
        cmocka_unit_test(a_refused_send_waits_for_what_became_of_a_later_one),
        cmocka_unit_test(a_change_of_members_is_repeated_only_after_a_refusal),
        cmocka_unit_test(a_change_with_a_cid_is_executed_once_and_in_order),
        cmocka_unit_test(a_change_without_a_cid_is_repeated_only_where_that_is_harmless),
        cmocka_unit_test(a_late_refusal_is_a_reason_to_repeat),
        cmocka_unit_test(fails_at_the_deadline_together_with_those_behind),
        cmocka_unit_test(tells_to_wait_longer_where_nobody_led_for_long),
        cmocka_unit_test(passes_on_that_a_queue_is_full),
        cmocka_unit_test(repairs_a_hole_with_results_in_it),
        cmocka_unit_test(asks_again_where_no_answer_comes),
        cmocka_unit_test(keeps_what_the_bus_does_not_take),
        cmocka_unit_test(probes_a_leader_that_is_not_ready),
        cmocka_unit_test(fills_a_new_leader_by_and_by),
        cmocka_unit_test(refuses_what_exceeds_the_bound),
        cmocka_unit_test(survives_the_session),
        cmocka_unit_test(a_change_of_members_ends_with_its_session),
        cmocka_unit_test(repeats_a_cursor_across_a_change),
        cmocka_unit_test(executes_everything_once_and_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
