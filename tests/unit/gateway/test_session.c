#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "gateway/session.h"
#include "mesh/base/limits.h"
#include "mesh/base/mem.h"
#include "mesh/base/metrics.h"
#include "tests/support/gateway_world.h"

static struct world *started(void)
{
    struct world *world = world_new(NULL, 1);
    world_start(world);
    return world;
}

/* A token in the request: welcome comes at once, and resuming from the record needs no frame. */
static void is_welcomed_and_resumed_without_a_frame(void **state)
{
    (void)state;
    struct world *world = started();
    struct world_conv *conv = world_conv(world, "c1", "alice bob");
    for (int i = 0; i < 5; i++)
        world_say(world, conv, "bob");
    struct world_link *link = world_connect(world, "alice", NULL, false);
    world_run(world, 1);
    assert_int_equal(world_count(link, "\"type\":\"welcome\""), 1);
    assert_int_equal(world_count(link, "\"epoch\":\"abcdef01\""), 1);
    assert_int_equal(world_count(link, "\"type\":\"message\""), 0);
    world_run(world, 100);
    world_expect_seqs(link, "c1", 1, 5);
    assert_int_equal(world_count(link, "\"conversations\":1,\"missed\":5"), 1);
    world_close(&link);
    world_free(&world);
}

/* `connect` soon enough brings the positions that count. */
static void uses_the_resume_map_of_an_early_connect(void **state)
{
    (void)state;
    struct world *world = started();
    struct world_conv *conv = world_conv(world, "c1", "alice bob");
    for (int i = 0; i < 9; i++)
        world_say(world, conv, "bob");
    struct world_link *link = world_connect(world, "alice", NULL, false);
    world_run(world, 10);
    world_send(link, "{\"type\":\"connect\",\"id\":7,\"resume\":{\"c1\":6,\"nowhere\":3}}");
    world_run(world, 100);
    assert_int_equal(world_count(link, "\"type\":\"welcome\""), 2);
    assert_int_equal(world_count(link, "\"type\":\"welcome\",\"id\":7"), 1);
    world_expect_seqs(link, "c1", 7, 9);
    assert_int_equal(world_count(link, "\"conversations\":1,\"missed\":3"), 1);
    world_close(&link);
    world_free(&world);
}

/* A late `connect` as first frame begins the resume anew, from what the client says. */
static void takes_a_late_connect_as_a_new_beginning(void **state)
{
    (void)state;
    struct world *world = started();
    struct world_conv *conv = world_conv(world, "c1", "alice bob");
    world_say(world, conv, "bob");
    struct world_link *link = world_connect(world, "alice", NULL, false);
    world_run(world, 200);
    world_send(link, "{\"type\":\"connect\",\"id\":7,\"resume\":{\"c1\":0}}");
    world_run(world, 100);
    assert_int_equal(world_count(link, "\"type\":\"message\""), 2);
    assert_int_equal(world_count(link, "\"type\":\"resumed\""), 2);
    world_say(world, conv, "bob");
    world_run(world, 10);
    assert_int_equal(world_count(link, "\"type\":\"message\""), 3);
    world_close(&link);
    world_free(&world);
}

/* Removed just before a late `connect` that does not name the conversation: what this connection
 * was given of it counts, so the client is told that it ended. */
static void tells_of_a_removal_before_a_late_connect(void **state)
{
    (void)state;
    struct world *world = started();
    struct world_conv *conv = world_conv(world, "c1", "alice bob");
    world_say(world, conv, "bob");
    struct world_link *link = world_connect(world, "alice", NULL, false);
    world_run(world, 200);
    world->drop_percent = 100;
    world_remove(world, conv, "alice");
    world->drop_percent = 0;
    world_send(link, "{\"type\":\"connect\",\"resume\":{}}");
    world_run(world, 1000);
    assert_int_equal(world_count(link, "\"type\":\"message\""), 1);
    assert_int_equal(world_count(link, "\"type\":\"member\",\"conv\":\"c1\",\"seq\":2"), 1);
    assert_int_equal(world_count(link, "\"type\":\"resumed\""), 2);
    world_close(&link);
    world_free(&world);
}

/* Positions of another history mean nothing: reset, then everything. */
static void resets_a_resume_of_another_epoch(void **state)
{
    (void)state;
    struct world *world = started();
    struct world_conv *conv = world_conv(world, "c1", "alice bob");
    for (int i = 0; i < 3; i++)
        world_say(world, conv, "bob");
    struct world_link *link = world_connect(world, "alice", NULL, false);
    world_send(link, "{\"type\":\"connect\",\"resume\":{\"c1\":3},\"epoch\":\"00000000\"}");
    world_run(world, 100);
    assert_int_equal(world_count(link, "\"type\":\"reset\""), 1);
    world_expect_seqs(link, "c1", 1, 3);
    world_close(&link);
    world_free(&world);
}

#define TIGHT 64u /* Bytes for entries; for replies 32 times as much. */

static struct world *tight(void)
{
    struct gateway_options options;
    gateway_options_init(&options);
    options.outbox_bytes_max = TIGHT;
    options.frames_per_second_max = 0;
    struct world *world = world_new(&options, 1);
    world_start(world);
    return world;
}

static size_t frame_size(const char *payload)
{
    size_t size = strlen(payload);
    return size + (size < 126 ? 2 : 4);
}

/* The client stops reading, and asks until exactly `left` bytes of room are left for replies. */
static void fill(struct world *world, struct world_link *link, size_t left)
{
    world_send(link, "{\"type\":\"ping\"}");
    world_run(world, 1);
    size_t pong = frame_size(link->frames[link->count - 1]);
    link->is_blocked = true;
    size_t room = TIGHT * 32 - left;
    for (; room >= 3 * pong; room -= pong)
        world_send(link, "{\"type\":\"ping\"}");
    char ping[256];
    int id_size = (int)(room - pong - strlen(",\"id\":\"\""));
    snprintf(ping, sizeof(ping), "{\"type\":\"ping\",\"id\":\"%0*d\"}", id_size, 7);
    world_send(link, ping);
    assert_int_equal(link->code, 0);
}

/* Where there is no room to say that another history begins, the session ends there. */
static void closes_4010_where_a_reset_finds_no_room(void **state)
{
    (void)state;
    struct world *world = tight();
    struct world_link *link = world_connect(world, "alice", NULL, false);
    world_run(world, 100);
    fill(world, link, frame_size(link->frames[0])); /* Just enough for the next welcome. */
    world_send(link, "{\"type\":\"connect\",\"epoch\":\"00000000\"}");
    assert_int_equal(link->code, 0);
    world_run(world, 10);
    assert_int_equal(link->code, 4010);
    world_close(&link);
    world_free(&world);
}

/* Likewise where he is told that he is in a conversation after all. */
static void closes_4010_where_a_correction_finds_no_room(void **state)
{
    (void)state;
    struct world *world = tight();
    world_conv(world, "c1", "alice bob");
    struct world_link *link = world_connect(world, "alice", NULL, false);
    world_run(world, 100);
    struct msg_event_user event = {
        .user = slice_string("alice"), .conv = slice_string("c1"), .seq = 1, .gone = 1};
    world_publish(world, 0, &msg_event_user_desc, &event);
    world_run(world, 10);
    assert_int_equal(world_count(link, "\"gone\":true"), 1);
    fill(world, link, 10);
    event.gone = 0;
    world_publish(world, 0, &msg_event_user_desc, &event);
    world_run(world, 10);
    assert_int_equal(link->code, 4010);
    world_close(&link);
    world_free(&world);
}

/* More than a thousand missed: the gap first, then the newest thousand. */
static void announces_a_gap_before_the_newest(void **state)
{
    (void)state;
    struct world *world = started();
    struct world_conv *conv = world_conv(world, "c1", "alice bob");
    for (int i = 0; i < 1500; i++)
        world_say(world, conv, "bob");
    struct world_link *link = world_connect(world, "alice", NULL, false);
    world_run(world, 200);
    assert_int_equal(world_count(link, "\"type\":\"gap\""), 1);
    assert_int_equal(world_count(link, "\"from\":1,\"to\":500"), 1);
    world_expect_seqs(link, "c1", 501, 1500);
    assert_int_equal(world_count(link, "\"conversations\":1,\"missed\":1500"), 1);
    world_close(&link);
    world_free(&world);
}

/* No token in the request, and `connect` with one: as if it had been there. */
static void connects_with_a_token_in_the_first_frame(void **state)
{
    (void)state;
    struct world *world = started();
    struct world_conv *conv = world_conv(world, "c1", "alice bob");
    world_say(world, conv, "bob");
    struct world_link *link = world_connect(world, NULL, NULL, false);
    world_send(link, "{\"type\":\"ping\",\"id\":1}");
    char *token = world_token(world, "alice");
    char frame[1024];
    snprintf(frame, sizeof(frame),
             "{\"type\":\"connect\",\"id\":2,\"token\":\"%s\",\"device\":\"phone\"}", token);
    world_send(link, frame);
    world_run(world, 100);
    assert_int_equal(world_count(link, "\"code\":\"unauthorized\""), 1);
    assert_int_equal(world_count(link, "\"device\":\"phone\""), 1);
    world_expect_seqs(link, "c1", 1, 1);
    mem_free(token);
    world_close(&link);
    world_free(&world);
}

static void send_connect_for(struct world *world, struct world_link *link, uint64_t lifetime_s,
                             const char *fields)
{
    char frame[1024];
    struct buf *token = buf_new(256);
    assert_int_equal(auth_sign(&world->auth, slice_string("alice"), slice_string("phone"),
                               env_wall_ms(&world->env) / 1000, lifetime_s, token),
                     RC_OK);
    snprintf(frame, sizeof(frame), "{\"type\":\"connect\",\"id\":9,\"token\":\"%.*s\"%s}",
             SLICE_ARGS(buf_slice(token)), fields);
    world_send(link, frame);
    buf_unref(&token);
}

static void send_connect(struct world *world, struct world_link *link, const char *fields)
{
    send_connect_for(world, link, 3600, fields);
}

/* A connection is good for as long as its token, however lively it is, however far away that is. */
static void closes_4501_when_the_token_expires(void **state)
{
    (void)state;
    static const uint64_t lifetimes_s[] = {5, 100};
    for (size_t i = 0; i < 2; i++) {
        struct world *world = started();
        struct world_link *link = world_connect(world, NULL, NULL, false);
        send_connect_for(world, link, lifetimes_s[i], "");
        for (uint64_t s = 1; s < lifetimes_s[i]; s++) { /* A token's times are whole seconds. */
            assert_int_equal(link->code, 0);
            world_run(world, 990);
            world_send(link, "{\"type\":\"ping\"}");
        }
        world_run(world, 2000 + lifetimes_s[i] * 10);
        assert_int_equal(link->code, 4501);
        world_close(&link);
        world_free(&world);
    }
}

/* What `connect` brings counts instead of the request's. */
static void takes_a_token_that_lasts_longer(void **state)
{
    (void)state;
    struct world *world = started();
    struct world_link *link = world_connect(world, "alice", "phone", false);
    session_set_expiry(link->session, env_wall_ms(&world->env) / 1000 + 2);
    world_run(world, 10);
    send_connect_for(world, link, 10, "");
    world_run(world, 8900);
    assert_int_equal(link->code, 0);
    world_run(world, 2200);
    assert_int_equal(link->code, 4501);
    world_close(&link);
    world_free(&world);
}

/* A token that is bound to another device is refused with the request's id, then 4501. */
static void refuses_a_connect_for_another_device(void **state)
{
    (void)state;
    struct world *world = started();
    struct world_link *said = world_connect(world, NULL, NULL, false);
    struct world_link *asked = world_connect(world, NULL, "car", false);
    struct world_link *good = world_connect(world, NULL, NULL, false);
    send_connect(world, said, ",\"device\":\"car\"");
    send_connect(world, asked, "");
    send_connect(world, good, "");
    world_run(world, 100);
    struct world_link *refused[] = {said, asked};
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(refused[i]->count, 1);
        assert_int_equal(
            world_count(refused[i], "{\"type\":\"error\",\"id\":9,\"code\":\"unauthorized\""), 1);
        assert_int_equal(refused[i]->code, 4501);
    }
    assert_int_equal(world_count(good, "\"device\":\"phone\""), 1);
    world_close(&said);
    world_close(&asked);
    world_close(&good);
    world_free(&world);
}

/* A bad token, or none in time: 4501. */
static void closes_4501_without_a_good_token(void **state)
{
    (void)state;
    struct world *world = started();
    struct world_link *bad = world_connect(world, NULL, NULL, false);
    struct world_link *none = world_connect(world, NULL, NULL, false);
    world_send(bad, "{\"type\":\"connect\",\"id\":2,\"token\":\"a.b.c\"}");
    assert_int_equal(world_count(bad, "\"code\":\"unauthorized\""), 1);
    assert_int_equal(bad->code, 4501);
    world_run(world, 9900);
    assert_int_equal(none->code, 0);
    world_run(world, 200);
    assert_int_equal(none->code, 4501);
    world_close(&bad);
    world_close(&none);
    world_free(&world);
}

/* One device, one connection: the newer one stays. */
static void replaces_the_older_connection_of_a_device(void **state)
{
    (void)state;
    struct world *world = started();
    world_conv(world, "c1", "alice bob");
    struct world_link *first = world_connect(world, "alice", "phone", false);
    struct world_link *other = world_connect(world, "alice", "tv", false);
    world_run(world, 100);
    struct world_link *second = world_connect(world, "alice", "phone", false);
    world_run(world, 100);
    assert_int_equal(first->code, 4509);
    assert_int_equal(other->code, 0);
    assert_int_equal(second->code, 0);
    assert_int_equal(gateway_health(world->gateway).users, 1);
    world_close(&first);
    world_close(&other);
    world_close(&second);
    world_free(&world);
}

/* A token in the request, and the device in `connect` only. */
static void takes_the_device_from_connect(void **state)
{
    (void)state;
    struct world *world = started();
    world_conv(world, "c1", "alice bob");
    struct world_link *first = world_connect(world, "alice", "phone", false);
    struct world_link *link = world_connect(world, "alice", NULL, false);
    world_run(world, 10);
    world_send(link, "{\"type\":\"connect\",\"id\":7,\"device\":\"phone\"}");
    world_run(world, 100);
    assert_int_equal(link->code, 0);
    assert_int_equal(world_count(link, "\"device\":\"phone\""), 1);
    assert_int_equal(world_count(link, "\"type\":\"resumed\""), 1);
    assert_int_equal(first->code, 4509);
    struct world_link *late = world_connect(world, "alice", NULL, false);
    world_run(world, 100);
    /* It is open, as the default device; what was delivered to that is nothing to the other. */
    world_send(late, "{\"type\":\"ack\",\"conv\":\"c1\",\"seq\":1}");
    world_send(late, "{\"type\":\"connect\",\"id\":7,\"device\":\"phone\"}");
    world_run(world, 100);
    assert_int_equal(world_count(late, "\"device\":\"default\""), 1);
    assert_int_equal(world_count(late, "\"device\":\"phone\""), 1);
    assert_int_equal(world_count(late, "\"type\":\"resumed\""), 2);
    assert_int_equal(link->code, 4509);
    struct world_link *other = world_connect(world, "alice", "tv", false);
    world_run(world, 100);
    world_send(other, "{\"type\":\"connect\",\"id\":7,\"device\":\"car\"}");
    assert_int_equal(other->code, 4501); /* It said something else before. */
    world_close(&first);
    world_close(&link);
    world_close(&late);
    world_close(&other);
    world_free(&world);
}

/* Two that name no device in the request, but each another one in `connect`: both stay. */
static void replaces_none_before_connect_names_devices(void **state)
{
    (void)state;
    struct world *world = started();
    struct world_link *unnamed = world_connect(world, "alice", NULL, false);
    world_run(world, 100);
    struct world_link *one = world_connect(world, "alice", NULL, false);
    struct world_link *two = world_connect(world, "alice", NULL, false);
    world_run(world, 10);
    world_send(one, "{\"type\":\"connect\",\"device\":\"phone\"}");
    world_send(two, "{\"type\":\"connect\",\"device\":\"tv\"}");
    world_run(world, 100);
    assert_int_equal(unnamed->code, 0);
    assert_int_equal(one->code, 0);
    assert_int_equal(two->code, 0);
    world_close(&unnamed);
    world_close(&one);
    world_close(&two);
    world_free(&world);
}

/* Where neither names one they are one device, and the older goes: whichever is resumed first. */
static void replaces_the_older_of_two_that_name_no_device(void **state)
{
    (void)state;
    struct world *world = started();
    for (int i = 0; i < 3; i++) {
        struct world_link *older = world_connect(world, "alice", NULL, false);
        struct world_link *newer = world_connect(world, "alice", NULL, false);
        world_run(world, 10);
        assert_int_equal(older->code, 0);
        if (i == 1)
            world_send(newer, "{\"type\":\"ping\"}");
        if (i == 2)
            world_send(newer, "{\"type\":\"connect\"}");
        world_run(world, 100);
        assert_int_equal(older->code, 4509);
        assert_int_equal(newer->code, 0);
        world_close(&older);
        world_close(&newer);
    }
    world_free(&world);
}

/* A device that came in `connect` counts like any other; so does the default one. */
static void refuses_too_many_devices_named_by_connect(void **state)
{
    (void)state;
    struct world *world = started();
    struct world_link *links[8];
    char device[16];
    for (int i = 0; i < 8; i++) {
        snprintf(device, sizeof(device), "d%d", i);
        links[i] = world_connect(world, "alice", i < 5 ? device : NULL, false);
    }
    world_send(links[5], "{\"type\":\"connect\",\"device\":\"d5\"}");
    world_send(links[6], "{\"type\":\"connect\",\"device\":\"d0\"}");
    assert_int_equal(links[5]->code, 4029);
    assert_int_equal(links[6]->code, 0);
    assert_int_equal(links[0]->code, 4509);
    assert_int_equal(links[7]->code, 0);
    world_send(links[7], "{\"type\":\"conversations\",\"id\":1}");
    assert_int_equal(links[7]->code, 4029);
    for (int i = 0; i < 8; i++)
        world_close(&links[i]);
    world_free(&world);
}

/* A sixth device, or an eleventh connection within a minute: 4029. */
static void refuses_too_many_connections_of_a_user(void **state)
{
    (void)state;
    struct world *world = started();
    struct world_link *links[12];
    char device[16];
    for (int i = 0; i < 12; i++) {
        snprintf(device, sizeof(device), "d%d", i < 6 ? i : 0);
        links[i] = world_connect(world, "alice", device, false);
    }
    assert_int_equal(links[4]->code, 0);
    assert_int_equal(links[5]->code, 4029);
    assert_int_equal(links[9]->code, 0);
    assert_int_equal(links[10]->code, 4029);
    for (int i = 0; i < 12; i++)
        world_close(&links[i]);
    world_run(world, 61000);
    struct world_link *again = world_connect(world, "alice", "d0", false);
    assert_int_equal(again->code, 0);
    world_close(&again);
    world_free(&world);
}

/* Ten malformed frames in a row end it; a good one in between begins the count anew. */
static void closes_4500_after_ten_malformed_frames_in_a_row(void **state)
{
    (void)state;
    struct world *world = started();
    struct world_link *link = world_connect(world, "alice", NULL, false);
    for (int i = 0; i < 9; i++)
        world_send(link, i % 2 == 0 ? "nonsense" : "{\"type\":\"dance\"}");
    world_send(link, "{\"type\":\"ping\"}");
    for (int i = 0; i < 9; i++)
        session_on_bad(link->session);
    world_run(world, 1);
    assert_int_equal(link->code, 0);
    assert_int_equal(world_count(link, "\"code\":\"bad_request\""), 18);
    session_on_bad(link->session);
    assert_int_equal(link->code, 4500);
    world_close(&link);
    world_free(&world);
}

/* A send is answered with its seq, and comes back as an event like everybody's. */
static void answers_a_send_and_delivers_it_to_the_sender_too(void **state)
{
    (void)state;
    struct world *world = started();
    world_conv(world, "c1", "alice bob");
    struct world_link *alice = world_connect(world, "alice", NULL, false);
    struct world_link *bob = world_connect(world, "bob", NULL, true);
    world_run(world, 100);
    world_send(alice, "{\"type\":\"send\",\"id\":\"a\",\"conv\":\"c1\",\"cid\":\"x\",\"body\":1}");
    world_run(world, 10);
    assert_int_equal(world_count(alice, "\"type\":\"sent\",\"id\":\"a\",\"conv\":\"c1\""), 1);
    world_expect_seqs(alice, "c1", 1, 1);
    assert_int_equal(world_count(bob, "\"type\":\"message\""), 1);
    world_close(&alice);
    world_close(&bob);
    world_free(&world);
}

/* Without an answer in time, or with a refusal, the client learns when to try again. */
static void answers_unavailable_where_no_router_does(void **state)
{
    (void)state;
    struct world *world = started();
    world_conv(world, "c1", "alice bob");
    struct world_link *link = world_connect(world, "alice", NULL, false);
    world_run(world, 100);
    world->refusal = RC_FORBIDDEN;
    world_send(link, "{\"type\":\"send\",\"id\":1,\"conv\":\"c1\",\"cid\":\"x\",\"body\":1}");
    world_run(world, 10);
    assert_int_equal(world_count(link, "\"code\":\"forbidden\""), 1);
    world->is_mute = true;
    world_send(link, "{\"type\":\"send\",\"id\":2,\"conv\":\"c1\",\"cid\":\"x\",\"body\":1}");
    world_run(world, 5100);
    assert_int_equal(world_count(link, "\"code\":\"unavailable\""), 1);
    assert_int_equal(world_count(link, "\"retry_after_ms\":250"), 1);
    world_close(&link);
    world_free(&world);
}

/* The first cursor leaves at once, the last one a second later, and at the close. */
static void coalesces_receipts(void **state)
{
    (void)state;
    struct world *world = started();
    world_conv(world, "c1", "alice bob");
    struct world_link *link = world_connect(world, "alice", NULL, false);
    world_run(world, 100);
    char frame[80];
    for (int i = 1; i <= 50; i++) {
        snprintf(frame, sizeof(frame), "{\"type\":\"ack\",\"conv\":\"c1\",\"seq\":%d}", i);
        world_send(link, frame);
        world_run(world, 10);
    }
    assert_int_equal(world->cursors, 1);
    assert_int_equal(world->last_cursor.delivered, 1);
    world_run(world, 600);
    assert_int_equal(world->cursors, 2);
    assert_int_equal(world->last_cursor.delivered, 50);
    world_send(link, "{\"type\":\"read\",\"conv\":\"c1\",\"seq\":50}");
    world_close(&link);
    world_run(world, 2);
    assert_int_equal(world->cursors, 3);
    assert_int_equal(world->last_cursor.read, 50);
    world_free(&world);
}

/* Silence is met with a ping, then with 4008; any frame is a sign of life. */
static void pings_and_then_closes_the_silent(void **state)
{
    (void)state;
    struct world *world = started();
    struct world_link *mute = world_connect(world, "alice", NULL, false);
    struct world_link *alive = world_connect(world, "bob", NULL, false);
    world_run(world, 26000);
    assert_int_equal(mute->pings, 1);
    session_on_pong(alive->session, slice_string("p"));
    world_run(world, 35000);
    assert_int_equal(mute->code, 4008);
    assert_int_equal(alive->code, 0);
    world_close(&mute);
    world_close(&alive);
    world_free(&world);
}

/* For the webhook: the pong of one who never acknowledges tells that he has read what he was given
 * before the ping. One who acknowledges is asked for nothing, nor is anybody where nobody wants to
 * know. */
static void a_pong_proves_what_was_read(void **state)
{
    (void)state;
    struct world *world = started();
    struct world_conv *conv = world_conv(world, "c1", "alice bob carol");
    struct world_link *alice = world_connect(world, "alice", NULL, false);
    struct world_link *bob = world_connect(world, "bob", NULL, false);
    world_run(world, 200);
    world_send(bob, "{\"type\":\"ack\",\"conv\":\"c1\",\"seq\":1}");
    world_say(world, conv, "carol");
    world_run(world, 5000);
    assert_int_equal(alice->pings, 0);
    world->has_webhook = true;
    world_run(world, 2000);
    world_say(world, conv, "carol");
    world_run(world, 200);
    world_say(world, conv, "carol");
    world_run(world, 500);
    assert_int_equal(alice->pings, 1); /* For both. */
    assert_int_equal(world->givens, 0);
    world_say(world, conv, "carol"); /* Behind the ping. */
    world_run(world, 10000);
    session_on_pong(alice->session, slice_string("p")); /* To another one. */
    world_run(world, 100);
    assert_int_equal(world->givens, 0);
    session_on_pong(alice->session, slice_string("g"));
    session_on_pong(alice->session, slice_string("g")); /* Once is enough. */
    world_run(world, 100);
    assert_int_equal(world->givens, 1);
    assert_int_equal(world->last_given, 3);
    world_run(world, 500);
    assert_int_equal(alice->pings, 2);
    session_on_pong(alice->session, slice_string("g"));
    world_run(world, 1000);
    assert_int_equal(world->givens, 2);
    assert_int_equal(world->last_given, 4);
    assert_int_equal(alice->pings, 2);
    assert_int_equal(bob->pings, 0);
    alice->is_blocked = true; /* It has not even got it. */
    world_say(world, conv, "carol");
    world_run(world, 3000);
    assert_int_equal(alice->pings, 2);
    world_close(&alice);
    world_close(&bob);
    world_free(&world);
}

/* A new leader knows nothing of what was proven: that is proven again, where it is young enough to
 * matter. */
static void a_new_leader_is_given_proof_again(void **state)
{
    (void)state;
    struct world *world = started();
    world->has_webhook = true;
    struct world_conv *conv = world_conv(world, "c1", "alice bob");
    struct world_link *alice = world_connect(world, "alice", NULL, false);
    world_run(world, 2000);
    world_say(world, conv, "bob");
    world_run(world, 500);
    session_on_pong(alice->session, slice_string("g"));
    world_run(world, 500);
    assert_int_equal(world->givens, 1);
    uint32_t shard = world_shard(world, conv);
    for (uint32_t times = 1; times <= 2; times++) {
        world_lead(world, shard, (world->leaders[shard] + 1) % WORLD_ROUTERS);
        world_run(world, 3000);
        assert_int_equal(alice->pings, 1 + times);
        session_on_pong(alice->session, slice_string("g"));
        world_run(world, 100);
        assert_int_equal(world->givens, 1 + times);
        assert_int_equal(world->last_given, 1);
    }
    world_run(world, 5000);
    world_lead(world, shard, (world->leaders[shard] + 1) % WORLD_ROUTERS);
    world_run(world, 5000);
    assert_int_equal(alice->pings, 3);
    world_close(&alice);
    world_free(&world);
}

/* Each client hears when to come back, and is closed by then. */
static void drains_with_1012(void **state)
{
    (void)state;
    struct world *world = started();
    struct world_link *links[20];
    char user[16];
    for (int i = 0; i < 20; i++) {
        snprintf(user, sizeof(user), "u%d", i);
        links[i] = world_connect(world, user, NULL, false);
    }
    world_run(world, 100);
    gateway_drain(world->gateway, 2000);
    world_run(world, 500);
    int early = 0;
    for (int i = 0; i < 20; i++) {
        assert_int_equal(world_count(links[i], "\"type\":\"server_restart\""), 1);
        early += links[i]->code != 0;
    }
    assert_in_range(early, 1, 19);
    world_run(world, 1600);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(links[i]->code, 1012);
        world_close(&links[i]);
    }
    assert_true(gateway_is_drained(world->gateway));
    struct world_link *late = world_connect(world, "late", NULL, false);
    assert_int_equal(late->code, 1012);
    world_close(&late);
    world_free(&world);
}

/* Every other request reaches its reply. */
static void answers_each_kind_of_request(void **state)
{
    (void)state;
    struct world *world = started();
    struct world_conv *one = world_conv(world, "c1", "alice bob");
    struct world_conv *two = world_conv(world, "c2", "alice bob");
    world_say(world, one, "bob");
    world_run(world, 5);
    world_say(world, two, "bob");
    struct world_link *link = world_connect(world, "alice", NULL, false);
    world_run(world, 100);
    world_send(link, "{\"type\":\"history\",\"id\":1,\"conv\":\"c1\"}");
    world_send(link, "{\"type\":\"conversations\",\"id\":2}");
    world_send(link, "{\"type\":\"create\",\"id\":3,\"kind\":\"group\",\"members\":[\"bob\"]}");
    world_send(link, "{\"type\":\"create\",\"id\":4,\"kind\":\"direct\",\"members\":[\"bob\"]}");
    world_send(link, "{\"type\":\"add\",\"id\":5,\"conv\":\"c1\",\"users\":[\"eve\"]}");
    world_send(link, "{\"type\":\"leave\",\"id\":6,\"conv\":\"c1\"}");
    world_send(link, "{\"type\":\"members\",\"id\":7,\"conv\":\"c1\"}");
    world_send(link, "{\"type\":\"info\",\"id\":8,\"conv\":\"c1\",\"title\":\"t\"}");
    world_send(link, "{\"type\":\"ping\",\"id\":9}");
    world_send(link, "{\"type\":\"typing\",\"id\":10,\"conv\":\"c1\",\"on\":true}");
    world_send(link, "{\"type\":\"ack\",\"id\":11,\"conv\":\"c1\",\"seq\":1}");
    world_run(world, 20);
    assert_int_equal(world_count(link, "\"type\":\"history\",\"id\":1"), 1);
    assert_int_equal(world_count(link, "\"type\":\"conversations\",\"id\":2"), 1);
    for (uint32_t i = 0; i < link->count; i++) {
        const char *list = strstr(link->frames[i], "\"type\":\"conversations\"");
        if (list != NULL) /* The newest activity first. */
            assert_true(strstr(list, "\"c2\"") < strstr(list, "\"c1\""));
    }
    assert_int_equal(world_count(link, "\"id\":3,\"conv\":\"g:"), 1);
    assert_int_equal(world_count(link, "\"id\":4,\"conv\":\"dm:"), 1);
    assert_int_equal(world_count(link, "\"type\":\"ok\",\"id\":5"), 1);
    assert_int_equal(world_count(link, "\"type\":\"ok\",\"id\":6"), 1);
    assert_int_equal(world_count(link, "\"type\":\"members\",\"id\":7"), 1);
    assert_int_equal(world_count(link, "\"type\":\"ok\",\"id\":8"), 1);
    assert_int_equal(world_count(link, "\"type\":\"pong\",\"id\":9"), 1);
    assert_int_equal(world_count(link, "\"type\":\"ok\",\"id\":10"), 1);
    assert_int_equal(world_count(link, "\"type\":\"ok\",\"id\":11"), 1);
    world_close(&link);
    world_free(&world);
}

/* Frames beyond the rate are refused with the time to wait. */
static void limits_the_frame_rate(void **state)
{
    (void)state;
    struct gateway_options options;
    gateway_options_init(&options);
    options.frames_per_second_max = 5;
    struct world *world = world_new(&options, 1);
    world_start(world);
    struct world_link *link = world_connect(world, "alice", NULL, false);
    for (int i = 0; i < 8; i++)
        world_send(link, "{\"type\":\"ping\"}");
    world_run(world, 1100);
    world_send(link, "{\"type\":\"ping\"}");
    world_run(world, 1);
    assert_int_equal(world_count(link, "\"code\":\"rate_limited\""), 3);
    assert_int_equal(world_count(link, "\"type\":\"pong\""), 6);
    world_close(&link);
    world_free(&world);
}

/* Added and removed again while it still waits for its list, which says that he left: it has what
 * it was given then, though no record says so. */
static void goes_on_behind_what_it_was_given_while_it_resumed(void **state)
{
    (void)state;
    struct world *world = started();
    struct world_conv *conv = world_conv(world, "c1", "bob");
    for (int i = 0; i < 5; i++)
        world_say(world, conv, "bob");
    world->is_vague = true;
    struct world_link *link = world_connect(world, "alice", NULL, false);
    world_run(world, 100);
    world_add(world, conv, "alice");
    world_run(world, 100);
    world_remove(world, conv, "alice");
    world_run(world, 100);
    world_expect_seqs(link, "c1", 1, 7);
    assert_int_equal(world_count(link, "\"gone\":true"), 1);
    assert_int_equal(world_count(link, "\"type\":\"resumed\""), 0);
    world->is_vague = false;
    world_run(world, 10000);
    assert_int_equal(world_count(link, "\"type\":\"resumed\""), 1);
    world_expect_seqs(link, "c1", 1, 7);
    assert_int_equal(world_count(link, "\"gone\":true"), 1);
    world_close(&link);
    world_free(&world);
}

/* Told that there is one while it still waits for its list, it is told also that there is none. */
static void hears_of_the_end_of_what_it_heard_of(void **state)
{
    (void)state;
    struct world *world = started();
    struct world_conv *conv = world_conv(world, "c1", "bob");
    world->is_mute = true;
    struct world_link *link = world_connect(world, "alice", NULL, false);
    world_run(world, 100);
    world_add(world, conv, "alice");
    world_run(world, 100);
    assert_int_equal(world_count(link, "{\"type\":\"conversation\",\"conv\":\"c1\"}"), 1);
    conv->is_ended = true;
    world->is_mute = false;
    world_run(world, 10000);
    assert_int_equal(world_count(link, "\"type\":\"resumed\""), 1);
    assert_int_equal(world_count(link, "\"conv\":\"c1\",\"gone\":true"), 1);
    world_close(&link);
    world_free(&world);
}

/* His list may be asked for again before it knows that he is out, as he was told. */
static void is_not_told_that_he_is_in_by_an_old_list(void **state)
{
    (void)state;
    const char *in = "{\"type\":\"conversation\",\"conv\":\"c1\"}";
    struct world *world = started();
    struct world_conv *conv = world_conv(world, "c1", "alice bob");
    struct world_link *link = world_connect(world, "alice", NULL, false);
    world_run(world, 100);
    world_say(world, conv, "bob");
    world_remove(world, conv, "alice");
    world_run(world, 100);
    assert_int_equal(world_count(link, "\"gone\":true"), 1);
    world->is_late = true;
    for (uint32_t shard = 0; shard < WORLD_SHARDS; shard++)
        world_lead(world, shard, 1 - world->leaders[shard]);
    uint32_t watches = world->watches;
    world_run(world, 1000);
    assert_true(world->watches > watches);
    assert_int_equal(world_count(link, in), 0);
    assert_int_equal(world_count(link, "\"gone\":true"), 1);
    /* In again, he is told so, though by a list alone. */
    conv->removed_at[0] = 0;
    for (uint32_t shard = 0; shard < WORLD_SHARDS; shard++)
        world_lead(world, shard, 1 - world->leaders[shard]);
    world_run(world, 1000);
    assert_int_equal(world_count(link, in), 1);
    world_say(world, conv, "bob");
    world_run(world, 100);
    world_expect_seqs(link, "c1", 1, 3);
    world_close(&link);
    world_free(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(is_welcomed_and_resumed_without_a_frame),
        cmocka_unit_test(uses_the_resume_map_of_an_early_connect),
        cmocka_unit_test(takes_a_late_connect_as_a_new_beginning),
        cmocka_unit_test(tells_of_a_removal_before_a_late_connect),
        cmocka_unit_test(resets_a_resume_of_another_epoch),
        cmocka_unit_test(closes_4010_where_a_reset_finds_no_room),
        cmocka_unit_test(closes_4010_where_a_correction_finds_no_room),
        cmocka_unit_test(announces_a_gap_before_the_newest),
        cmocka_unit_test(connects_with_a_token_in_the_first_frame),
        cmocka_unit_test(refuses_a_connect_for_another_device),
        cmocka_unit_test(closes_4501_without_a_good_token),
        cmocka_unit_test(closes_4501_when_the_token_expires),
        cmocka_unit_test(takes_a_token_that_lasts_longer),
        cmocka_unit_test(replaces_the_older_connection_of_a_device),
        cmocka_unit_test(takes_the_device_from_connect),
        cmocka_unit_test(replaces_none_before_connect_names_devices),
        cmocka_unit_test(replaces_the_older_of_two_that_name_no_device),
        cmocka_unit_test(refuses_too_many_devices_named_by_connect),
        cmocka_unit_test(refuses_too_many_connections_of_a_user),
        cmocka_unit_test(closes_4500_after_ten_malformed_frames_in_a_row),
        cmocka_unit_test(answers_a_send_and_delivers_it_to_the_sender_too),
        cmocka_unit_test(answers_unavailable_where_no_router_does),
        cmocka_unit_test(coalesces_receipts),
        cmocka_unit_test(goes_on_behind_what_it_was_given_while_it_resumed),
        cmocka_unit_test(hears_of_the_end_of_what_it_heard_of),
        cmocka_unit_test(is_not_told_that_he_is_in_by_an_old_list),
        cmocka_unit_test(pings_and_then_closes_the_silent),
        cmocka_unit_test(a_pong_proves_what_was_read),
        cmocka_unit_test(a_new_leader_is_given_proof_again),
        cmocka_unit_test(drains_with_1012),
        cmocka_unit_test(answers_each_kind_of_request),
        cmocka_unit_test(limits_the_frame_rate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
