#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "gateway/core.h"
#include "gateway/large.h"
#include "mesh/base/limits.h"
#include "mesh/base/metrics.h"
#include "tests/support/gateway_world.h"

#define FANOUT 5u /* In larger conversations nobody is pushed what he did not open. */

#define LOUD  3u  /* Crowds: with alice and bob no more than FANOUT, */
#define CROWD 98u /* or many more. */

static struct world *new_world_of(struct gateway_options *options, uint64_t seed)
{
    options->fanout_members = FANOUT;
    options->connections_per_user_max = 0;
    options->reconnects_per_minute_max = 0;
    struct world *world = world_new(options, seed);
    world_start(world);
    return world;
}

static struct world *new_world(uint64_t seed)
{
    struct gateway_options options;
    gateway_options_init(&options);
    return new_world_of(&options, seed);
}

/* For clients that are read slowly: so much may wait for one. */
static struct world *new_narrow_world(uint32_t outbox_bytes, uint64_t seed)
{
    struct gateway_options options;
    gateway_options_init(&options);
    options.outbox_bytes_max = outbox_bytes;
    return new_world_of(&options, seed);
}

static struct world_conv *new_conv(struct world *world, const char *name, uint64_t crowd)
{
    struct world_conv *conv = world_conv(world, name, "alice bob");
    conv->crowd = crowd;
    return conv;
}

static uint32_t entries(const struct world_link *link)
{
    return world_count(link, "\"type\":\"message\"") + world_count(link, "\"type\":\"member\"");
}

static uint32_t activities(const struct world_link *link)
{
    return world_count(link, "\"type\":\"activity\"");
}

static void send(struct world *world, struct world_link *link, const char *type)
{
    char frame[128];
    snprintf(frame, sizeof(frame), "{\"type\":\"%s\",\"id\":\"%s\",\"conv\":\"c1\"}", type, type);
    world_send(link, frame);
    world_run(world, 10);
}

/* Who has not opened it is told that it moved on, at most once a second, and of the last state;
 * who has is given the entries. */
static void streams_to_who_has_it_open(void **state)
{
    (void)state;
    struct world *world = new_world(1);
    struct world_conv *conv = new_conv(world, "c1", CROWD);
    struct world_link *alice = world_connect(world, "alice", NULL, false);
    struct world_link *bob = world_connect(world, "bob", NULL, false);
    world_run(world, 100);
    send(world, bob, "open");
    assert_int_equal(world_count(bob, "{\"type\":\"ok\",\"id\":\"open\"}"), 1);
    for (int i = 0; i < 500; i++) {
        world_say(world, conv, "somebody");
        world_run(world, 5);
    }
    world_run(world, 1500);
    world_expect_seqs(bob, "c1", 1, 500);
    assert_int_equal(activities(bob), 0);
    assert_int_equal(entries(alice), 0);
    assert_in_range(activities(alice), 3, 4);
    assert_int_equal(
        world_count(alice, "{\"type\":\"activity\",\"conv\":\"c1\",\"head\":500,\"unread\":500}"),
        1);
    world_run(world, 5000); /* And no more while nothing happens. */
    assert_in_range(activities(alice), 3, 4);
    world_close(&alice);
    world_close(&bob);
    world_free(&world);
}

/* For the webhook: who rests is online, and his pong proves that he was told. */
static void a_pong_proves_what_was_told(void **state)
{
    (void)state;
    struct world *world = new_world(3);
    world->has_webhook = true;
    struct world_conv *conv = new_conv(world, "c1", CROWD);
    struct world_link *alice = world_connect(world, "alice", NULL, false);
    world_run(world, 2000);
    world_say(world, conv, "somebody");
    world_say(world, conv, "somebody");
    world_run(world, 500);
    assert_int_equal(activities(alice), 1);
    assert_int_equal(alice->pings, 1);
    assert_int_equal(world->givens, 0);
    session_on_pong(alice->session, slice_string("g"));
    world_run(world, 2000);
    assert_int_equal(world->givens, 1);
    assert_int_equal(world->last_given, 2);
    assert_int_equal(entries(alice), 0);
    world_close(&alice);
    world_free(&world);
}

/* Opened, it goes on from where the device stands; closed, it rests again. */
static void goes_on_from_its_cursor_when_opened(void **state)
{
    (void)state;
    struct world *world = new_world(2);
    struct world_conv *conv = new_conv(world, "c1", CROWD);
    struct world_link *alice = world_connect(world, "alice", NULL, false);
    world_run(world, 100);
    for (int i = 0; i < 20; i++)
        world_say(world, conv, "somebody");
    world_run(world, 100);
    assert_int_equal(entries(alice), 0);
    send(world, alice, "open");
    world_run(world, 50);
    world_expect_seqs(alice, "c1", 1, 20);
    world_say(world, conv, "somebody");
    world_run(world, 5);
    world_expect_seqs(alice, "c1", 1, 21);
    send(world, alice, "close");
    assert_int_equal(world_count(alice, "{\"type\":\"ok\",\"id\":\"close\"}"), 1);
    world_say(world, conv, "somebody");
    world_run(world, 1500);
    world_expect_seqs(alice, "c1", 1, 21);
    assert_int_equal(world_count(alice, "\"head\":22,"), 1);
    send(world, alice, "open");
    world_run(world, 50);
    world_expect_seqs(alice, "c1", 1, 22);
    world_close(&alice);
    world_free(&world);
}

/* More than a resume replays is a gap, as on a resume; what retention removed is another. */
static void announces_a_gap_when_opened(void **state)
{
    (void)state;
    struct world *world = new_world(3);
    struct world_conv *conv = new_conv(world, "c1", CROWD);
    struct world_link *alice = world_connect(world, "alice", NULL, false);
    world_run(world, 100);
    for (int i = 0; i < 3000; i++) {
        world_say(world, conv, "somebody");
        world_turn(world);
    }
    conv->trimmed = 500;
    send(world, alice, "open");
    world_run(world, 300);
    assert_int_equal(world_count(alice, "\"type\":\"gap\",\"conv\":\"c1\",\"from\":1,\"to\":500,"
                                        "\"head\":3000,\"trimmed\":true}"),
                     1);
    assert_int_equal(world_count(alice, "\"type\":\"gap\",\"conv\":\"c1\",\"from\":501,"
                                        "\"to\":2000,\"head\":3000}"),
                     1);
    world_expect_seqs(alice, "c1", 2001, 3000);
    world_close(&alice);
    world_free(&world);
}

static struct world_link *resume_at(struct world *world, uint64_t seq)
{
    char frame[96];
    struct world_link *alice = world_connect(world, "alice", NULL, false);
    snprintf(frame, sizeof(frame), "{\"type\":\"connect\",\"resume\":{\"c1\":%lu}}",
             (unsigned long)seq);
    world_send(alice, frame);
    world_run(world, 100);
    assert_int_equal(world_count(alice, "\"type\":\"resumed\""), 1);
    return alice;
}

/* It rests at once: one `activity` where it moved beyond the resume point, and no entries; also
 * where the router sends some. */
static void tells_once_on_resume(void **state)
{
    (void)state;
    for (int is_old = 0; is_old < 2; is_old++) {
        struct world *world = new_world(4);
        world->is_old = is_old != 0;
        struct world_conv *conv = new_conv(world, "c1", CROWD);
        for (int i = 0; i < 7; i++)
            world_say(world, conv, i == 4 ? "alice" : "somebody");
        struct world_link *alice = resume_at(world, 5);
        assert_int_equal(
            world_count(alice, "\"activity\",\"conv\":\"c1\",\"head\":7,\"unread\":2}"), 1);
        assert_int_equal(world_count(alice, "\"resumed\",\"conversations\":1,\"missed\":0"), 1);
        world_close(&alice);
        alice = resume_at(world, 7);
        assert_int_equal(activities(alice), 0);
        world_say(world, conv, "somebody");
        world_run(world, 100);
        assert_int_equal(activities(alice), 1);
        assert_int_equal(entries(alice), 0);
        send(world, alice, "open");
        world_run(world, 100);
        world_expect_seqs(alice, "c1", 8, 8);
        world_close(&alice);
        world_free(&world);
    }
}

/* It grows beyond the limit while people are online: the entry that does it is the last one that
 * all are given. It shrinks: they are given what they do not have. */
static void follows_its_size(void **state)
{
    (void)state;
    struct world *world = new_world(5);
    struct world_conv *conv = new_conv(world, "c1", LOUD);
    struct world_link *alice = world_connect(world, "alice", NULL, false);
    struct world_link *bob = world_connect(world, "bob", NULL, false);
    world_run(world, 100);
    world_say(world, conv, "somebody");
    send(world, bob, "open");
    world_run(world, 10);
    for (uint64_t round = 0; round < 5; round++) {
        world_crowd(world, conv, CROWD);
        world_say(world, conv, "somebody");
        world_say(world, conv, "somebody");
        world_run(world, 10);
        world_expect_seqs(alice, "c1", 1, 2 + 4 * round);
        world_expect_seqs(bob, "c1", 1, 4 + 4 * round);
        world_run(world, 1200);
        assert_int_equal(activities(alice), 1 + round);
        world_crowd(world, conv, LOUD);
        world_run(world, 50);
        world_expect_seqs(alice, "c1", 1, 5 + 4 * round);
        world_expect_seqs(bob, "c1", 1, 5 + 4 * round);
    }
    assert_int_equal(activities(bob), 0);
    world_close(&alice);
    world_close(&bob);
    world_free(&world);
}

/* Unread is what was said beyond what the user has read, on whichever device, or said himself. */
static void counts_what_is_unread(void **state)
{
    (void)state;
    struct world *world = new_world(6);
    struct world_conv *conv = new_conv(world, "c1", CROWD);
    struct world_link *alice = world_connect(world, "alice", "phone", false);
    world_run(world, 100);
    world_say(world, conv, "somebody");
    world_crowd(world, conv, CROWD + 1); /* No message. */
    world_say(world, conv, "somebody");
    world_run(world, 1100);
    assert_int_equal(world_count(alice, "\"head\":3,\"unread\":2"), 1);
    world_read(world, conv, "alice", 2);
    world_run(world, 1100);
    assert_int_equal(world_count(alice, "\"type\":\"receipt\""), 1); /* She read it elsewhere. */
    world_say(world, conv, "somebody");
    world_run(world, 1100);
    assert_int_equal(world_count(alice, "\"head\":4,\"unread\":2"), 1);
    world_say(world, conv, "alice");
    world_run(world, 1100);
    assert_int_equal(world_count(alice, "\"head\":5,\"unread\":0"), 1);
    world_say(world, conv, "somebody");
    world_run(world, 1100);
    assert_int_equal(world_count(alice, "\"head\":6,\"unread\":1"), 1);
    world_close(&alice);
    world_free(&world);
}

/* Who sends without having opened it is answered, in order, and hears of it like others. */
static void answers_sends_of_who_has_not_opened_it(void **state)
{
    (void)state;
    struct world *world = new_world(7);
    new_conv(world, "c1", CROWD);
    struct world_link *alice = world_connect(world, "alice", NULL, false);
    world_run(world, 100);
    for (int i = 1; i <= 20; i++) {
        char frame[128];
        snprintf(frame, sizeof(frame),
                 "{\"type\":\"send\",\"conv\":\"c1\",\"cid\":\"x%d\",\"body\":1}", i);
        world_send(alice, frame);
    }
    world_run(world, 100);
    uint32_t next = 1;
    for (uint32_t i = 0; i < alice->count; i++) {
        char expected[32];
        snprintf(expected, sizeof(expected), "\"seq\":%u,", next);
        if (strstr(alice->frames[i], "\"type\":\"sent\"") != NULL) {
            assert_non_null(strstr(alice->frames[i], expected));
            next++;
        }
    }
    assert_int_equal(next, 21);
    assert_int_equal(entries(alice), 0);
    world_run(world, 1100);
    assert_int_equal(world_count(alice, "\"head\":20,\"unread\":0"), 1);
    world_close(&alice);
    world_free(&world);
}

/* Removed, he is told so once and nothing more, at the log's position; added again, he is told. */
static void tells_a_resting_member_of_his_removal(void **state)
{
    (void)state;
    for (int news_are_lost = 0; news_are_lost < 2; news_are_lost++) {
        struct world *world = new_world(8);
        struct world_conv *conv = new_conv(world, "c1", CROWD);
        struct world_link *alice = world_connect(world, "alice", NULL, false);
        struct world_link *tablet = world_connect(world, "alice", "tablet", false);
        world_run(world, 100);
        send(world, tablet, "open");
        world_say(world, conv, "somebody");
        world_run(world, 1100);
        world_remove(world, conv, "alice");
        if (news_are_lost) { /* What her list says, behind the entry. */
            buf_unref(&world->packets[world->packet_count - 1].bytes);
            world->packet_count--;
        }
        world_say(world, conv, "somebody");
        world_run(world, 3000);
        assert_int_equal(activities(alice), 1);
        assert_int_equal(world_count(alice, "\"conv\":\"c1\",\"gone\":true"), 1);
        world_expect_seqs(tablet, "c1", 1, 2); /* It had the conversation open. */
        assert_int_equal(world_count(tablet, "\"head\":"), 0);
        world_add(world, conv, "alice");
        world_run(world, 100);
        assert_int_equal(world_count(alice, "{\"type\":\"conversation\",\"conv\":\"c1\"}"), 1);
        assert_int_equal(activities(alice), 2);
        assert_int_equal(activities(tablet), 1);
        assert_int_equal(entries(alice), 0);
        send(world, alice, "open");
        world_run(world, 100);
        world_expect_seqs(alice, "c1", 1, 4);
        world_close(&alice);
        world_close(&tablet);
        world_free(&world);
    }
}

/* His removal is lost with the packet that held it: before anything is told the leader is asked, so
 * he hears of no entry that came after. */
static void asks_after_a_hole(void **state)
{
    (void)state;
    struct world *world = new_world(9);
    struct world_conv *conv = new_conv(world, "c1", CROWD);
    struct world_link *alice = world_connect(world, "alice", NULL, false);
    struct world_link *bob = world_connect(world, "bob", NULL, false);
    world_run(world, 100);
    world->drop_percent = 100;
    world_remove(world, conv, "alice");
    world->drop_percent = 0;
    world_say(world, conv, "somebody");
    world_run(world, 3000);
    assert_int_equal(activities(alice), 0);
    assert_int_equal(world_count(alice, "\"conv\":\"c1\",\"gone\":true"), 1);
    assert_int_equal(world_count(bob, "\"head\":2,\"unread\":1"), 1);
    world_close(&alice);
    world_close(&bob);
    world_free(&world);
}

/* A new leader, and an entry that nobody was told of: it is found, and told. */
static void follows_the_leader(void **state)
{
    (void)state;
    struct world *world = new_world(10);
    struct world_conv *conv = new_conv(world, "c1", CROWD);
    struct world_link *alice = world_connect(world, "alice", NULL, false);
    world_run(world, 100);
    uint32_t shard = world_shard(world, conv);
    for (uint32_t i = 1; i <= 6; i++) {
        char expected[64];
        world_lead(world, shard, 1 - world->leaders[shard]);
        world_say(world, conv, "somebody");
        world_run(world, 1500);
        snprintf(expected, sizeof(expected), "\"head\":%u,\"unread\":%u", i, i);
        assert_int_equal(world_count(alice, expected), 1);
    }
    assert_int_equal(entries(alice), 0);
    world_close(&alice);
    world_free(&world);
}

/* Its refusals are those of its leader. */
static void refuses_to_open_what_is_not_his(void **state)
{
    (void)state;
    struct world *world = new_world(11);
    struct world_conv *conv = world_conv(world, "c1", "bob");
    struct world_link *alice = world_connect(world, "alice", NULL, false);
    world_run(world, 100);
    send(world, alice, "open");
    assert_int_equal(world_count(alice, "\"id\":\"open\",\"code\":\"forbidden\""), 1);
    world_send(alice, "{\"type\":\"open\",\"id\":2,\"conv\":\"nowhere\"}");
    world_run(world, 10);
    assert_int_equal(world_count(alice, "\"id\":2,\"code\":\"not_found\""), 1);
    world->is_mute = true;
    world_send(alice, "{\"type\":\"open\",\"id\":3,\"conv\":\"c1\"}");
    world_run(world, 6000);
    assert_int_equal(world_count(alice, "\"id\":3,\"code\":\"unavailable\""), 1);
    world->is_mute = false;
    send(world, alice, "close");
    assert_int_equal(world_count(alice, "\"id\":\"close\",\"code\":\"forbidden\""), 1);
    world_send(alice, "{\"type\":\"typing\",\"id\":4,\"conv\":\"c1\",\"on\":true}");
    world_run(world, 10);
    assert_int_equal(world_count(alice, "\"id\":4,\"code\":\"forbidden\""), 1);
    world_say(world, conv, "bob");
    world_run(world, 100);
    assert_int_equal(entries(alice), 0);
    world_close(&alice);
    world_free(&world);
}

/* Whoever types when it is opened is told, except the one who opens; then it is told as it
 * changes, to those who have it open. */
static void tells_who_types(void **state)
{
    (void)state;
    for (int is_large = 0; is_large < 2; is_large++) {
        struct world *world = new_world(12);
        struct world_conv *conv = new_conv(world, "c1", is_large ? CROWD : LOUD);
        struct world_link *alice = world_connect(world, "alice", NULL, false);
        struct world_link *bob = world_connect(world, "bob", NULL, false);
        struct world_link *tablet = world_connect(world, "bob", "tablet", false);
        world_run(world, 100);
        world_type(world, conv, "bob", true);
        world_run(world, 5);
        assert_int_equal(world_count(alice, "\"type\":\"typing\""), is_large ? 0 : 1);
        send(world, alice, "open");
        send(world, bob, "open");
        assert_int_equal(
            world_count(alice,
                        "{\"type\":\"typing\",\"conv\":\"c1\",\"user\":\"bob\",\"on\":true}"),
            is_large ? 1 : 2);
        world_run(world, 50);
        world_type(world, conv, "bob", false);
        world_run(world, 5);
        assert_int_equal(world_count(alice, "\"user\":\"bob\",\"on\":false}"), 1);
        assert_int_equal(world_count(bob, "\"type\":\"typing\""), 0);
        assert_int_equal(world_count(tablet, "\"type\":\"typing\""), 0);
        world_close(&alice);
        world_close(&bob);
        world_close(&tablet);
        world_free(&world);
    }
}

/* The close overtakes the answer to the open, and still is the last word. */
static void stays_closed_when_closed_at_once(void **state)
{
    (void)state;
    struct world *world = new_world(13);
    struct world_conv *conv = new_conv(world, "c1", CROWD);
    struct world_link *alice = world_connect(world, "alice", NULL, false);
    world_run(world, 100);
    world_send(alice, "{\"type\":\"open\",\"id\":1,\"conv\":\"c1\"}");
    world_send(alice, "{\"type\":\"close\",\"id\":2,\"conv\":\"c1\"}");
    world_run(world, 10);
    assert_int_equal(world_count(alice, "\"type\":\"ok\""), 2);
    world_say(world, conv, "somebody");
    world_run(world, 100);
    assert_int_equal(entries(alice), 0);
    assert_int_equal(activities(alice), 1);
    world_close(&alice);
    world_free(&world);
}

/* Entries that a slow client was not written before it closed the conversation are told as
 * activity; an activity that was dropped is told again. */
static void tells_again_what_a_slow_client_was_not_written(void **state)
{
    (void)state;
    struct world *world = new_narrow_world(4096, 14);
    struct world_conv *conv = new_conv(world, "c1", CROWD);
    struct world_conv *other = new_conv(world, "c2", 0);
    struct world_link *alice = world_connect(world, "alice", NULL, false);
    world_run(world, 100);
    send(world, alice, "open");
    alice->is_blocked = true;
    for (int i = 0; i < 10; i++)
        world_say(world, conv, "somebody");
    world_run(world, 10);
    send(world, alice, "close");
    world_run(world, 1500);
    for (int i = 0; i < 200; i++)
        world_say(world, other, "bob");
    world_run(world, 3000);
    alice->is_blocked = false;
    session_on_writable(alice->session);
    world_run(world, 3000);
    world_expect_seqs(alice, "c2", 1, 200);
    world_expect_seqs(alice, "c1", 1, 0);
    assert_true(world_count(alice, "\"conv\":\"c1\",\"head\":10,\"unread\":10") >= 1);
    send(world, alice, "open");
    world_run(world, 100);
    world_expect_seqs(alice, "c1", 1, 10);
    world_close(&alice);
    world_free(&world);
}

/* Who reads slowly while it grows is given what the others were, and then rests like them. */
static void goes_on_up_to_the_entry_that_made_it_large(void **state)
{
    (void)state;
    for (uint32_t page = 1; page <= 64; page *= 4) {
        struct world *world = new_narrow_world(4096, 20);
        world->page = page;
        struct world_conv *conv = new_conv(world, "c1", LOUD);
        struct world_link *alice = world_connect(world, "alice", NULL, false);
        world_run(world, 100);
        alice->is_blocked = true;
        for (int i = 0; i < 400; i++)
            world_say(world, conv, "somebody");
        world_run(world, 100);
        world_crowd(world, conv, CROWD);
        for (int i = 0; i < 10; i++)
            world_say(world, conv, "somebody");
        world_run(world, 100);
        alice->is_blocked = false;
        session_on_writable(alice->session);
        world_run(world, 3000);
        assert_int_equal(entries(alice), 401);
        world_expect_seqs(alice, "c1", 1, 401);
        assert_int_equal(world_count(alice, "\"head\":411,\"unread\":410"), 1);
        world_say(world, conv, "somebody");
        world_run(world, 1500);
        assert_int_equal(entries(alice), 401);
        assert_int_equal(world_count(alice, "\"head\":412,"), 1);
        send(world, alice, "open");
        world_run(world, 100);
        assert_int_equal(entries(alice), 412);
        world_close(&alice);
        world_free(&world);
    }
}

/* What was not written yet when it grew is read again, where it is dropped then. */
static void gives_again_what_was_dropped_after_it_grew(void **state)
{
    (void)state;
    struct world *world = new_narrow_world(4096, 21);
    struct world_conv *conv = new_conv(world, "c1", LOUD);
    struct world_conv *other = new_conv(world, "c2", 0);
    struct world_link *alice = world_connect(world, "alice", NULL, false);
    world_run(world, 100);
    alice->is_blocked = true;
    for (int i = 0; i < 10; i++)
        world_say(world, conv, "somebody");
    world_crowd(world, conv, CROWD);
    world_say(world, conv, "somebody");
    world_run(world, 1500);
    for (int i = 0; i < 200; i++)
        world_say(world, other, "bob");
    world_run(world, 1500);
    alice->is_blocked = false;
    session_on_writable(alice->session);
    world_run(world, 3000);
    world_expect_seqs(alice, "c1", 1, 11);
    world_expect_seqs(alice, "c2", 1, 200);
    assert_true(world_count(alice, "\"conv\":\"c1\",\"head\":12,\"unread\":11") >= 1);
    send(world, alice, "open");
    world_run(world, 100);
    world_expect_seqs(alice, "c1", 1, 12);
    world_close(&alice);
    world_free(&world);
}

/* What retention removes before it has come there is a gap, and what is behind that is given. */
static void goes_on_behind_what_is_removed_meanwhile(void **state)
{
    (void)state;
    struct world *world = new_narrow_world(4096, 22);
    struct world_conv *conv = new_conv(world, "c1", LOUD);
    struct world_link *alice = world_connect(world, "alice", NULL, false);
    world_run(world, 100);
    alice->is_blocked = true;
    for (int i = 0; i < 400; i++)
        world_say(world, conv, "somebody");
    world_run(world, 100);
    world_crowd(world, conv, CROWD);
    world_say(world, conv, "somebody");
    world_run(world, 100);
    conv->trimmed = 300;
    alice->is_blocked = false;
    session_on_writable(alice->session);
    world_run(world, 3000);
    assert_int_equal(world_count(alice, "\"to\":300,\"head\":402,\"trimmed\":true}"), 1);
    assert_int_equal(world_count(alice, "\"seq\":300,"), 0);
    for (uint64_t seq = 301; seq <= 401; seq++) {
        char text[32];
        snprintf(text, sizeof(text), "\"seq\":%lu,", (unsigned long)seq);
        assert_int_equal(world_count(alice, text), 1);
    }
    assert_int_equal(world_count(alice, "\"seq\":402,"), 0);
    assert_true(world_count(alice, "\"head\":402,\"unread\"") >= 1);
    world_close(&alice);
    world_free(&world);
}

static void delay_stream(struct world *world, uint64_t ms)
{
    for (uint32_t i = 0; i < world->packet_count; i++)
        if (world->packets[i].is_published)
            world->packets[i].due_us = world->now_us + ms * 1000;
}

/* That a conversation is large may be known before the stream has come there. */
static void streams_on_up_to_where_an_answer_says_it_is_large(void **state)
{
    (void)state;
    struct world *world = new_world(23);
    struct world_conv *conv = new_conv(world, "c1", LOUD);
    struct world_link *alice = world_connect(world, "alice", NULL, false);
    world_run(world, 100);
    world_say(world, conv, "somebody");
    world_run(world, 10);
    for (int i = 0; i < 5; i++)
        world_say(world, conv, "somebody");
    world_crowd(world, conv, CROWD);
    delay_stream(world, 200);
    struct world_link *bob = world_connect(world, "bob", NULL, false);
    world_run(world, 150);
    assert_int_equal(world_count(bob, "\"head\":7,"), 1);
    world_expect_seqs(alice, "c1", 1, 1);
    world_run(world, 100);
    world_expect_seqs(alice, "c1", 1, 7);
    world_say(world, conv, "somebody");
    world_run(world, 1500);
    world_expect_seqs(alice, "c1", 1, 7);
    assert_int_equal(world_count(alice, "\"head\":8,"), 1);
    assert_int_equal(entries(bob), 0);
    assert_int_equal(world->fetches, 0);
    world_close(&alice);
    world_close(&bob);
    world_free(&world);
}

/* A client that has no room for one more activity is told later, and the gateway goes on. */
static void tells_later_who_has_no_room(void **state)
{
    (void)state;
    struct world *world = new_narrow_world(100, 16); /* One of them. */
    struct world_conv *convs[3] = {new_conv(world, "c1", CROWD), new_conv(world, "c2", CROWD),
                                   new_conv(world, "c3", CROWD)};
    struct world_link *alice = world_connect(world, "alice", NULL, false);
    struct world_link *bob = world_connect(world, "bob", NULL, false);
    world_run(world, 100);
    alice->is_blocked = true;
    for (int i = 0; i < 3; i++)
        world_say(world, convs[i], "somebody");
    world_run(world, 3000);
    assert_int_equal(activities(alice), 0);
    assert_int_equal(activities(bob), 3);
    alice->is_blocked = false;
    session_on_writable(alice->session);
    world_run(world, 3000);
    assert_int_equal(activities(alice), 3);
    world_close(&alice);
    world_close(&bob);
    world_free(&world);
}

/* A late `connect` begins the resume anew; what the client has open stays open. */
static void stays_open_beyond_a_late_connect(void **state)
{
    (void)state;
    struct world *world = new_world(17);
    struct world_conv *conv = new_conv(world, "c1", CROWD);
    struct world_link *alice = world_connect(world, "alice", NULL, false);
    world_run(world, 100);
    send(world, alice, "open");
    world_send(alice, "{\"type\":\"connect\",\"resume\":{}}");
    world_run(world, 100);
    assert_int_equal(world_count(alice, "\"type\":\"resumed\""), 2);
    world_say(world, conv, "somebody");
    world_run(world, 100);
    world_expect_seqs(alice, "c1", 1, 1);
    world_close(&alice);
    world_free(&world);
}

#define DEVICES 2000u

/* However many rest, a gateway tells so many a second, in turn; and who waits in another large
 * conversation does not wait for the giant's round. */
static void spends_a_bounded_share_on_telling(void **state)
{
    (void)state;
    static struct world_link *links[DEVICES];
    struct world *world = new_world(15);
    struct world_conv *giant = new_conv(world, "c1", 100000);
    struct world_conv *other = world_conv(world, "c2", "carol");
    other->crowd = CROWD;
    for (uint32_t i = 0; i < DEVICES; i++) {
        char name[16];
        snprintf(name, sizeof(name), "d%u", i);
        links[i] = world_connect(world, "alice", name, false);
    }
    struct world_link *carol = world_connect(world, "carol", NULL, false);
    world_run(world, 2000);
    int64_t before = metric_get(activities_total);
    world_say(world, giant, "somebody");
    world_say(world, other, "somebody");
    world_run(world, 40);
    int64_t told = metric_get(activities_total) - before;
    uint32_t a_tick = LIMIT_ACTIVITY_PER_SEC * LARGE_TICK_MS / 1000;
    assert_in_range(told, a_tick, 2 * a_tick);
    assert_int_equal(world_count(carol, "\"conv\":\"c2\",\"head\":1,"), 1);
    world_run(world, 1000);
    assert_int_equal(metric_get(activities_total) - before, DEVICES + 1);
    for (uint32_t i = 0; i < DEVICES; i++) {
        assert_int_equal(activities(links[i]), 1);
        world_close(&links[i]);
    }
    world_close(&carol);
    world_free(&world);
}

/* What a client knows of c1: entries in order, or a gap, or that it moved on. */
static void expect_whole(const struct world_link *link, uint64_t head)
{
    uint64_t cursor = 0;
    uint64_t told = 0;
    for (uint32_t i = 0; i < link->count; i++) {
        unsigned long from;
        unsigned long to;
        const char *frame = link->frames[i];
        if (sscanf(frame, "{\"type\":\"gap\",\"conv\":\"c1\",\"from\":%lu,\"to\":%lu", &from,
                   &to) == 2) {
            assert_int_equal(from, cursor + 1);
            cursor = to;
        } else if (sscanf(frame, "{\"type\":\"activity\",\"conv\":\"c1\",\"head\":%lu", &to) == 1) {
            told = to > told ? to : told;
        } else if (strstr(frame, "\"conv\":\"c1\",\"seq\":") != NULL &&
                   strstr(frame, "\"type\":\"sent\"") == NULL) {
            assert_int_equal(sscanf(strstr(frame, "\"seq\":"), "\"seq\":%lu", &to), 1);
            assert_int_equal(to, cursor + 1);
            cursor = to;
        }
    }
    if (cursor != head)
        assert_int_equal(told, head);
}

/* It opens, closes, grows, shrinks, loses packets and leaders, and its client stops reading: nobody
 * is given an entry out of order, and in the end everybody has all, or knows that there is more. */
static void loses_nothing_at_any_seed(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 300; seed++) {
        struct gateway_options options;
        gateway_options_init(&options);
        options.fanout_members = FANOUT;
        options.outbox_bytes_max = 3000;
        struct world *world = world_new(&options, seed);
        world->page = 1 + (uint32_t)(world_random(world) % 50);
        world->is_old = world_random(world) % 4 == 0;
        world_start(world);
        world->delay_us_max = world_random(world) % 20000;
        world->drop_percent = (uint32_t)(world_random(world) % 20);
        struct world_conv *conv = new_conv(world, "c1", LOUD);
        struct world_link *links[2] = {world_connect(world, "alice", NULL, false),
                                       world_connect(world, "bob", NULL, false)};
        for (int step = 0; step < 400; step++) {
            struct world_link *link = links[world_random(world) % 2];
            uint64_t dice = world_random(world) % 100;
            if (dice < 60)
                world_say(world, conv, dice < 10 ? "alice" : "somebody");
            else if (dice < 66)
                world_send(link, "{\"type\":\"open\",\"conv\":\"c1\"}");
            else if (dice < 72)
                world_send(link, "{\"type\":\"close\",\"conv\":\"c1\"}");
            else if (dice < 76)
                world_crowd(world, conv, conv->crowd == LOUD ? CROWD : LOUD);
            else if (dice < 78)
                world_lead(world, world_shard(world, conv), (uint32_t)(world_random(world) % 2));
            else if (dice < 79)
                conv->trimmed = world_random(world) % (conv->head + 1);
            else if (dice < 83)
                link->is_blocked = true;
            else if (link->is_blocked) {
                link->is_blocked = false;
                session_on_writable(link->session);
            }
            world_run(world, world_random(world) % 30);
        }
        world->drop_percent = 0;
        for (int i = 0; i < 2; i++) {
            links[i]->is_blocked = false;
            session_on_writable(links[i]->session);
        }
        world_run(world, 5000);
        for (int i = 0; i < 2; i++) {
            expect_whole(links[i], conv->head);
            assert_int_equal(links[i]->code, 0);
        }
        for (int i = 0; i < 2; i++)
            world_close(&links[i]);
        world_free(&world);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(streams_to_who_has_it_open),
        cmocka_unit_test(a_pong_proves_what_was_told),
        cmocka_unit_test(goes_on_from_its_cursor_when_opened),
        cmocka_unit_test(announces_a_gap_when_opened),
        cmocka_unit_test(tells_once_on_resume),
        cmocka_unit_test(follows_its_size),
        cmocka_unit_test(counts_what_is_unread),
        cmocka_unit_test(answers_sends_of_who_has_not_opened_it),
        cmocka_unit_test(tells_a_resting_member_of_his_removal),
        cmocka_unit_test(asks_after_a_hole),
        cmocka_unit_test(follows_the_leader),
        cmocka_unit_test(refuses_to_open_what_is_not_his),
        cmocka_unit_test(tells_who_types),
        cmocka_unit_test(stays_closed_when_closed_at_once),
        cmocka_unit_test(tells_again_what_a_slow_client_was_not_written),
        cmocka_unit_test(goes_on_up_to_the_entry_that_made_it_large),
        cmocka_unit_test(gives_again_what_was_dropped_after_it_grew),
        cmocka_unit_test(goes_on_behind_what_is_removed_meanwhile),
        cmocka_unit_test(streams_on_up_to_where_an_answer_says_it_is_large),
        cmocka_unit_test(tells_later_who_has_no_room),
        cmocka_unit_test(stays_open_beyond_a_late_connect),
        cmocka_unit_test(spends_a_bounded_share_on_telling),
        cmocka_unit_test(loses_nothing_at_any_seed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
