#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "mesh/base/limits.h"
#include "mesh/base/metrics.h"
#include "mesh/wire/key.h"
#include "tests/support/gateway_world.h"

/* For clients that are read slowly: so much may wait for one. */
static struct world *new_narrow_world(uint32_t outbox_bytes, uint64_t seed)
{
    struct gateway_options options;
    gateway_options_init(&options);
    options.outbox_bytes_max = outbox_bytes;
    struct world *world = world_new(&options, seed);
    world_start(world);
    return world;
}

static void cross_the_seam(uint64_t before_ms, uint64_t count, bool is_alone)
{
    struct world *world = world_new(NULL, before_ms);
    world_start(world);
    world->delay_us_max = 7000;
    struct world_conv *conv = world_conv(world, "c1", "alice bob");
    struct world_link *bob = is_alone ? NULL : world_connect(world, "bob", NULL, false);
    world_run(world, 100);
    world_say(world, conv, "bob");
    struct world_link *alice = world_connect(world, "alice", NULL, false);
    world_run(world, before_ms);
    for (uint64_t i = 0; i < count; i++) {
        world_say(world, conv, "bob");
        world_run(world, 1);
    }
    world_run(world, 1000);
    world_expect_seqs(alice, "c1", 1, 1 + count);
    world_close(&alice);
    if (!is_alone) {
        world_expect_seqs(bob, "c1", 1, 1 + count);
        world_close(&bob);
    }
    world_free(&world);
}

/* Entries enter the log before, during and after the resume, at every moment of it. A single one
 * must not depend on the next to be noticed. */
static void closes_the_seam_at_every_interleaving(void **state)
{
    (void)state;
    for (uint64_t before_ms = 0; before_ms < 80; before_ms++) {
        cross_the_seam(before_ms, 1, true);
        cross_the_seam(before_ms, 1, false);
        cross_the_seam(before_ms, 10, false);
    }
}

/* A published packet is lost: the next beat shows the hole, and the entry is read from the log. */
static void repairs_a_hole(void **state)
{
    (void)state;
    struct world *world = world_new(NULL, 3);
    world_start(world);
    struct world_conv *conv = world_conv(world, "c1", "alice bob");
    struct world_link *alice = world_connect(world, "alice", NULL, false);
    world_run(world, 500);
    int64_t holes = metric_get(link_holes_total);
    world->drop_percent = 100;
    world_say(world, conv, "bob");
    world->drop_percent = 0;
    world_run(world, 600);
    world_expect_seqs(alice, "c1", 1, 1);
    assert_int_equal(metric_get(link_holes_total) - holes, 1);
    world_close(&alice);
    world_free(&world);
}

/* A new term on another router: what was missed between the two is read, then it is live again. */
static void follows_the_leader(void **state)
{
    (void)state;
    struct world *world = world_new(NULL, 4);
    world_start(world);
    struct world_conv *conv = world_conv(world, "c1", "alice bob");
    struct world_link *alice = world_connect(world, "alice", NULL, false);
    world_run(world, 200);
    uint32_t shard = world_shard(world, conv);
    for (uint32_t i = 0; i < 6; i++) {
        world_lead(world, shard, 1 - world->leaders[shard]);
        world_say(world, conv, "bob"); /* Nobody watches there yet. */
        world_run(world, 300);
        world_say(world, conv, "bob");
        world_run(world, 20);
    }
    world_expect_seqs(alice, "c1", 1, 12);
    world_close(&alice);
    world_free(&world);
}

/* A client that takes nothing costs a bounded outbox; once it reads, it gets everything. */
static void lets_a_slow_client_catch_up(void **state)
{
    (void)state;
    struct world *world = new_narrow_world(4096, 5);
    struct world_conv *conv = world_conv(world, "c1", "alice bob");
    struct world_link *alice = world_connect(world, "alice", NULL, false);
    struct world_link *bob = world_connect(world, "bob", NULL, false);
    world_run(world, 200);
    alice->is_blocked = true;
    for (int i = 0; i < 500; i++) {
        world_say(world, conv, "bob");
        world_run(world, 1);
    }
    alice->is_blocked = false;
    session_on_writable(alice->session);
    world_say(world, conv, "bob");
    world_run(world, 500);
    world_expect_seqs(alice, "c1", 1, 501);
    world_expect_seqs(bob, "c1", 1, 501);
    alice->is_blocked = true;
    world_say(world, conv, "bob");
    for (int i = 0; i < 100; i++) { /* A byte a second. */
        alice->arrived++;
        world_run(world, 1000);
        assert_int_equal(alice->code, 0);
    }
    world_run(world, 18000);
    assert_int_equal(alice->code, 0);
    world_run(world, 24000);
    assert_int_equal(alice->code, 4010);
    world_close(&alice);
    world_close(&bob);
    world_free(&world);
}

/* It takes something again in the very moment in which it is given up. Nothing is awaited of one
 * that has never acknowledged, so there is no time by which to look at it again. */
static void a_slow_client_may_take_something_as_it_is_closed(void **state)
{
    (void)state;
    struct world *world = world_new(NULL, 5);
    world_start(world);
    struct world_conv *conv = world_conv(world, "c1", "alice bob");
    struct world_link *alice = world_connect(world, "alice", NULL, false);
    world_run(world, 200);
    alice->is_blocked = true;
    world_say(world, conv, "bob");
    world_run(world, LIMIT_STALL_MS - 100);
    assert_int_equal(alice->code, 0);
    alice->is_blocked = false; /* Nobody was told yet. */
    world_run(world, 10000);
    assert_int_equal(alice->code, 4010);
    world_expect_seqs(alice, "c1", 1, 1);
    world_close(&alice);
    world_free(&world);
}

/* Who is removed gets that entry and nothing beyond; who is added sees it from the start. */
static void follows_changes_of_membership(void **state)
{
    (void)state;
    struct world *world = world_new(NULL, 6);
    world_start(world);
    struct world_conv *conv = world_conv(world, "c1", "alice bob");
    struct world_link *alice = world_connect(world, "alice", NULL, false);
    struct world_link *eve = world_connect(world, "eve", NULL, false);
    world_run(world, 200);
    world_say(world, conv, "bob");
    world_add(world, conv, "eve");
    world_run(world, 50);
    assert_int_equal(world_count(eve, "{\"type\":\"conversation\",\"conv\":\"c1\"}"), 1);
    world_expect_seqs(eve, "c1", 1, 2);
    world_remove(world, conv, "alice");
    world_say(world, conv, "bob");
    world_run(world, 50);
    world_expect_seqs(alice, "c1", 1, 3);
    world_expect_seqs(eve, "c1", 1, 4);
    assert_int_equal(world_count(alice, "\"gone\":true"), 1);
    world_close(&alice);
    /* Whoever was removed while away still gets what came before. */
    alice = world_connect(world, "alice", NULL, false);
    world_send(alice, "{\"type\":\"connect\",\"resume\":{\"c1\":1}}");
    world_run(world, 100);
    world_expect_seqs(alice, "c1", 2, 3);
    assert_int_equal(world_count(alice, "\"type\":\"resumed\""), 1);
    world_close(&alice);
    world_close(&eve);
    world_free(&world);
}

/* He reads slowly, is removed and watches again to learn whether for good; before the answer comes
 * his removal is dropped from the full outbox. The answer must not take him past it. */
static void tells_of_a_removal_that_was_dropped_while_watching_again(void **state)
{
    (void)state;
    struct world *world = new_narrow_world(2048, 9);
    struct world_conv *one = world_conv(world, "c1", "alice bob");
    struct world_conv *two = world_conv(world, "c2", "alice bob");
    struct world_link *alice = world_connect(world, "alice", NULL, false);
    world_run(world, 200);
    alice->is_blocked = true;
    world->drop_percent = 100;
    world_say(world, one, "bob");
    world_remove(world, one, "alice");
    world->drop_percent = 0;
    uint32_t watches = world->watches;
    while (world->watches == watches)
        world_run(world, 1);
    struct world_packet *answer = &world->packets[world->packet_count - 1];
    assert_false(answer->is_published);
    answer->due_us += 50000;
    for (int i = 0; i < 30; i++)
        world_say(world, two, "bob");
    world_run(world, 100);
    alice->is_blocked = false;
    session_on_writable(alice->session);
    world_run(world, 1000);
    world_expect_seqs(alice, "c1", 1, 2);
    world_expect_seqs(alice, "c2", 1, 30);
    world_close(&alice);
    world_free(&world);
}

/* A new leader, and before it is asked for heads the conversation was ended; its members' lists
 * have told of that already. Nothing would come any more of what is waited for. */
static void asks_anew_what_became_of_a_conversation_that_is_not_there(void **state)
{
    (void)state;
    struct gateway_options options;
    gateway_options_init(&options);
    for (options.fanout_members = 1; options.fanout_members <= 100; options.fanout_members += 99) {
        struct world *world = world_new(&options, 4);
        world_start(world);
        struct world_conv *conv = world_conv(world, "c1", "alice bob");
        struct world_link *alice = world_connect(world, "alice", NULL, false);
        world_run(world, 200);
        world_say(world, conv, "bob");
        world_run(world, 1500);
        uint32_t shard = world_shard(world, conv);
        conv->is_ended = true;
        world_lead(world, shard, 1 - world->leaders[shard]);
        world_run(world, 1500);
        assert_int_equal(world_count(alice, "\"conv\":\"c1\",\"gone\":true"), 1);
        world_close(&alice);
        world_free(&world);
    }
}

/* He is added, and before his gateway has asked for anything of it the conversation was ended. What
 * he was told of is to be taken back. */
static void tells_of_the_end_of_what_had_only_been_announced(void **state)
{
    (void)state;
    struct world *world = world_new(NULL, 4);
    world_start(world);
    struct world_conv *conv = world_conv(world, "c1", "bob");
    struct world_link *alice = world_connect(world, "alice", NULL, false);
    world_run(world, 200);
    world_add(world, conv, "alice");
    conv->is_ended = true;
    world_run(world, 500);
    assert_int_equal(world_count(alice, "\"conversation\",\"conv\":\"c1\"}"), 1);
    assert_int_equal(world_count(alice, "\"conv\":\"c1\",\"gone\":true"), 1);
    world_close(&alice);
    world_free(&world);
}

/* The news of the end overtake the entry that adds him, and what comes behind it is gone by then.
 */
static void tells_of_the_end_behind_an_older_beginning(void **state)
{
    (void)state;
    struct world *world = world_new(NULL, 4);
    world_start(world);
    struct world_conv *conv = world_conv(world, "c1", "bob");
    struct world_link *alice = world_connect(world, "alice", NULL, false);
    world_run(world, 200);
    world->page = 1;
    world_add(world, conv, "alice");
    for (int i = 0; i < 3; i++)
        world_say(world, conv, "bob");
    const struct msg_event_user gone = {
        .user = slice_string("alice"), .conv = slice_string("c1"), .gone = 1, .seq = 5};
    uint32_t shard = key_user_shard(world_cluster, WORLD_SHARDS, gone.user);
    world_publish(world, world->leaders[shard], &msg_event_user_desc, &gone);
    while (world_count(alice, "\"change\":\"joined\"") == 0)
        world_turn(world);
    assert_int_equal(world_count(alice, "\"conv\":\"c1\",\"gone\":true"), 1);
    conv->is_ended = true;
    world_run(world, 500);
    assert_int_equal(world_count(alice, "\"conv\":\"c1\",\"gone\":true"), 2);
    world_close(&alice);
    world_free(&world);
}

/* What the client was told of c1 goes on one by one, or says where it does not, up to `last`. */
static void expect_whole(const struct world_link *link, uint64_t last, uint32_t gaps)
{
    static const char gap[] = "{\"type\":\"gap\",\"conv\":\"c1\",\"from\":%lu,\"to\":%lu";
    static const char seq[] = "\"conv\":\"c1\",\"seq\":";
    unsigned long next = 1;
    for (uint32_t i = 0; i < link->count; i++) {
        unsigned long from;
        unsigned long to;
        const char *entry = strstr(link->frames[i], seq);
        if (sscanf(link->frames[i], gap, &from, &to) == 2)
            gaps--;
        else if (entry != NULL)
            from = to = strtoul(entry + strlen(seq), NULL, 10);
        else
            continue;
        assert_int_equal(from, next);
        next = to + 1;
    }
    assert_int_equal(next, last + 1);
    assert_int_equal(gaps, 0);
}

static void say_many(struct world *world, struct world_conv *conv, int count)
{
    for (int i = 0; i < count; i++)
        world_say(world, conv, "bob");
}

static void read_again(struct world *world, struct world_link *link)
{
    link->is_blocked = false;
    session_on_writable(link->session);
    world_run(world, 2000);
}

/* A slow client, removed and added again, has his removal and then a gap on the way to him when the
 * outbox is full. What is dropped in front of the gap takes the gap with it. */
static void tells_of_a_gap_only_behind_what_it_follows(void **state)
{
    (void)state;
    struct world *world = new_narrow_world(2048, 10);
    struct world_conv *one = world_conv(world, "c1", "alice bob");
    struct world_conv *two = world_conv(world, "c2", "alice bob");
    struct world_link *alice = world_connect(world, "alice", NULL, false);
    world_run(world, 200);
    alice->is_blocked = true;
    world->drop_percent = 100;
    world_say(world, one, "bob");
    world_remove(world, one, "alice");
    world_add(world, one, "alice");
    say_many(world, one, 1200);
    world->drop_percent = 0;
    world_run(world, 600);
    say_many(world, two, 30); /* Live, so that nothing but the outbox bounds it. */
    world_run(world, 100);
    read_again(world, alice);
    expect_whole(alice, 1203, 1);
    world_expect_seqs(alice, "c2", 1, 30);
    world_close(&alice);
    world_free(&world);
}

/* The outbox is full when the answer with the gap comes: it is asked for again, and what was missed
 * is counted once. */
static void asks_again_for_a_gap_that_found_no_room(void **state)
{
    (void)state;
    struct gateway_options options;
    gateway_options_init(&options);
    options.outbox_bytes_max = 2048;
    options.frames_per_second_max = 0;
    struct world *world = world_new(&options, 11);
    world_start(world);
    struct world_conv *conv = world_conv(world, "c1", "alice bob");
    say_many(world, conv, 1200);
    struct world_link *alice = world_connect(world, "alice", NULL, false);
    world_run(world, 10);
    alice->is_blocked = true;
    while (world->watches == 0)
        world_run(world, 1);
    for (int i = 0; i < 60; i++) /* Replies may exceed the bound for entries. */
        world_send(alice, "{\"type\":\"ping\"}");
    world_run(world, 100);
    assert_int_equal(world->watches, 1);
    read_again(world, alice);
    assert_int_equal(world->watches, 2);
    expect_whole(alice, 1200, 1);
    assert_int_equal(world_count(alice, "\"conversations\":1,\"missed\":1200"), 1);
    world_close(&alice);
    world_free(&world);
}

/* A thousand sessions behind at one cursor cost one read of the log. */
static void shares_one_fetch(void **state)
{
    (void)state;
    struct world *world = world_new(NULL, 8);
    world_start(world);
    struct world_conv *conv = world_conv(world, "c1", "u0 u1 u2 u3 u4 u5 u6 u7");
    struct world_link *links[40];
    char name[16];
    char device[16];
    for (int i = 0; i < 40; i++) {
        snprintf(name, sizeof(name), "u%d", i / 5);
        snprintf(device, sizeof(device), "d%d", i % 5);
        links[i] = world_connect(world, name, device, false);
    }
    world_run(world, 300);
    world->fetches = 0;
    world->drop_percent = 100;
    for (int i = 0; i < 5; i++)
        world_say(world, conv, "u1");
    world->drop_percent = 0;
    world_run(world, 600);
    assert_int_equal(world->fetches, 1);
    for (int i = 0; i < 40; i++) {
        world_expect_seqs(links[i], "c1", 1, 5);
        world_close(&links[i]);
    }
    world_free(&world);
}

/* Chance decides about loss, delay, leaders, restarts and slow clients: everybody gets everything.
 */
static void run_random(uint64_t seed)
{
    struct gateway_options options;
    gateway_options_init(&options);
    options.outbox_bytes_max = 2048;
    options.reconnects_per_minute_max = 0;
    struct world *world = world_new(&options, seed);
    struct world_link *links[12];
    char name[16];
    for (int i = 0; i < 4; i++) {
        snprintf(name, sizeof(name), "c%d", i);
        world_conv(world, name, "u0 u1 u2 u3");
    }
    world_start(world);
    world->page = 1 + (uint32_t)(world_random(world) % 20);
    world->delay_us_max = 1 + world_random(world) % 30000;
    world->drop_percent = (uint32_t)(world_random(world) % 30);
    for (int i = 0; i < 12; i++) {
        char device[16];
        snprintf(name, sizeof(name), "u%d", i % 4);
        snprintf(device, sizeof(device), "d%d", i / 4);
        links[i] = world_connect(world, name, device, world_random(world) % 2 == 0);
        world_run(world, world_random(world) % 40);
    }
    for (int step = 0; step < 600; step++) {
        uint64_t dice = world_random(world) % 100;
        struct world_link *link = links[world_random(world) % 12];
        if (dice < 60)
            world_say(world, &world->convs[world_random(world) % 4], "u1");
        else if (dice < 62)
            world_lead(world, (uint32_t)(world_random(world) % WORLD_SHARDS),
                       (uint32_t)(world_random(world) % WORLD_ROUTERS));
        else if (dice < 63)
            world_restart(world, (uint32_t)(world_random(world) % WORLD_ROUTERS));
        else if (dice < 70)
            link->is_blocked = !link->is_blocked;
        if (!link->is_blocked)
            session_on_writable(link->session);
        world_run(world, world_random(world) % 8);
    }
    world->drop_percent = 0;
    for (int i = 0; i < 12; i++) {
        links[i]->is_blocked = false;
        session_on_writable(links[i]->session);
    }
    world_run(world, 8000);
    for (int i = 0; i < 12; i++)
        assert_int_equal(links[i]->code, 0);
    for (uint32_t c = 0; c < 4; c++)
        for (int i = 0; i < 12; i++)
            world_expect_seqs(links[i], world->convs[c].name, 1, world->convs[c].head);
    for (int i = 0; i < 12; i++)
        world_close(&links[i]);
    world_run(world, 2);
    world_free(&world);
}

static void delivers_everything_once_and_in_order(void **state)
{
    (void)state;
    const char *chosen = getenv("SEED");
    uint64_t first = chosen != NULL ? strtoull(chosen, NULL, 10) : 1;
    uint64_t last = chosen != NULL ? first : 200;
    for (uint64_t seed = first; seed <= last; seed++) {
        print_message("seed %lu\n", (unsigned long)seed);
        run_random(seed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(closes_the_seam_at_every_interleaving),
        cmocka_unit_test(repairs_a_hole),
        cmocka_unit_test(follows_the_leader),
        cmocka_unit_test(lets_a_slow_client_catch_up),
        cmocka_unit_test(a_slow_client_may_take_something_as_it_is_closed),
        cmocka_unit_test(follows_changes_of_membership),
        cmocka_unit_test(tells_of_a_removal_that_was_dropped_while_watching_again),
        cmocka_unit_test(asks_anew_what_became_of_a_conversation_that_is_not_there),
        cmocka_unit_test(tells_of_the_end_of_what_had_only_been_announced),
        cmocka_unit_test(tells_of_the_end_behind_an_older_beginning),
        cmocka_unit_test(tells_of_a_gap_only_behind_what_it_follows),
        cmocka_unit_test(asks_again_for_a_gap_that_found_no_room),
        cmocka_unit_test(shares_one_fetch),
        cmocka_unit_test(delivers_everything_once_and_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
