#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mesh/base/limits.h"
#include "mesh/base/metrics.h"
#include "mesh/wire/key.h"
#include "tests/support/gateway_world.h"

/* Up only once every shard has a leader that is heard, and down when one falls silent. */
static void is_up_while_every_leader_is_heard(void **state)
{
    (void)state;
    struct world *world = world_new(NULL, 1);
    assert_false(gateway_health(world->gateway).up);
    world->routers[1].is_silent = true;
    world_start(world);
    assert_false(gateway_health(world->gateway).up);
    assert_int_equal(gateway_health(world->gateway).shards_led, WORLD_SHARDS / 2);
    world->routers[1].is_silent = false;
    world_run(world, 300);
    assert_true(gateway_health(world->gateway).up);
    world->routers[0].is_silent = true;
    world_run(world, 2300);
    assert_false(gateway_health(world->gateway).up);
    world_free(&world);
}

/* Silence, a hole and a new incarnation each bring the watched conversations to be asked for again.
 */
static void watches_again_whenever_something_may_be_missed(void **state)
{
    (void)state;
    struct world *world = world_new(NULL, 1);
    world_start(world);
    struct world_conv *conv = world_conv(world, "c1", "alice bob");
    uint32_t leader = world->leaders[world_shard(world, conv)];
    struct world_link *alice = world_connect(world, "alice", NULL, false);
    world_run(world, 500);
    assert_int_equal(world->rewatches, 0);
    world->routers[leader].is_silent = true;
    world_run(world, 2500);
    world->routers[leader].is_silent = false;
    world_run(world, 400);
    assert_int_equal(world->rewatches, 1);
    world->routers[leader].link_seq += 5;
    world_run(world, 400);
    assert_int_equal(world->rewatches, 2);
    world_restart(world, leader);
    world_run(world, 400);
    assert_int_equal(world->rewatches, 3);
    world_say(world, conv, "bob");
    world_run(world, 5);
    world_expect_seqs(alice, "c1", 1, 1);
    world_close(&alice);
    world_free(&world);
}

/* Packets of another cluster, of an unknown node, or of nonsense change nothing. */
static void refuses_foreign_and_broken_packets(void **state)
{
    (void)state;
    struct world *world = world_new(NULL, 1);
    world_start(world);
    int64_t bad = metric_get(packets_bad_total);
    struct packet_sender sender = {.node = slice_string("r1"), .incarnation = 100};
    struct buf *bytes = buf_new(64);
    struct packet packet;
    packet_begin(bytes, &sender, 99);
    assert_int_equal(packet_decode(buf_slice(bytes), &packet), RC_OK);
    world->handler.on_publish(world->handler.context, slice_string("r1"), &packet);
    world->handler.on_request(world->handler.context, slice_string("r1"), &packet);
    buf_clear(bytes);
    memcpy(sender.cluster, world_cluster, 16);
    packet_begin(bytes, &sender, 0);
    buf_append_string(bytes, "nonsense");
    assert_int_equal(packet_decode(buf_slice(bytes), &packet), RC_OK);
    world->handler.on_request(world->handler.context, slice_string("stranger"), &packet);
    world->handler.on_request(world->handler.context, slice_string("r1"), &packet);
    assert_int_equal(metric_get(packets_bad_total) - bad, 4);
    assert_true(gateway_health(world->gateway).up);
    buf_unref(&bytes);
    world_free(&world);
}

/* A router that goes takes its leaderships along at once, and what it owed is answered. */
static void fails_requests_of_a_router_that_is_gone(void **state)
{
    (void)state;
    struct world *world = world_new(NULL, 1);
    world_start(world);
    struct world_conv *conv = world_conv(world, "c1", "alice bob");
    uint32_t leader = world->leaders[world_shard(world, conv)];
    struct world_link *alice = world_connect(world, "alice", NULL, false);
    world_run(world, 200);
    world->is_mute = true;
    world_send(alice, "{\"type\":\"send\",\"id\":1,\"conv\":\"c1\",\"cid\":\"x\",\"body\":1}");
    world_run(world, 5);
    struct msg_node node = {.id = slice_string(world->routers[leader].name),
                            .role = NODE_ROUTER,
                            .incarnation = world->routers[leader].incarnation};
    world->handler.on_peer(world->handler.context, &node, false);
    world_turn(world);
    assert_int_equal(world_count(alice, "\"code\":\"unavailable\""), 1);
    world_send(alice, "{\"type\":\"send\",\"id\":2,\"conv\":\"c1\",\"cid\":\"x\",\"body\":1}");
    world_turn(world);
    assert_int_equal(world_count(alice, "\"code\":\"unavailable\""), 2);
    assert_false(gateway_health(world->gateway).up);
    world_close(&alice);
    world_free(&world);
}

/* What the leader before was asked is answered as soon as another claims to lead: a router that
 * died is told of by discovery only seconds later. */
static void fails_requests_that_a_new_leader_overtakes(void **state)
{
    (void)state;
    struct world *world = world_new(NULL, 2);
    world_start(world);
    struct world_conv *conv = world_conv(world, "c1", "alice bob");
    uint32_t shard = world_shard(world, conv);
    struct world_link *alice = world_connect(world, "alice", NULL, false);
    world_run(world, 200);
    world->is_mute = true;
    world_send(alice, "{\"type\":\"send\",\"id\":1,\"conv\":\"c1\",\"cid\":\"x\",\"body\":1}");
    world_run(world, 5);
    world->leaders[shard] = 1 - world->leaders[shard];
    world->terms[shard]++;
    world_beat(world, world->leaders[shard]);
    world_turn(world);
    assert_int_equal(world_count(alice, "\"code\":\"unavailable\""), 1);
    assert_int_equal(world_count(alice, "\"retry_after_ms\":250"), 1);
    world->is_mute = false;
    world_send(alice, "{\"type\":\"send\",\"id\":2,\"conv\":\"c1\",\"cid\":\"x\",\"body\":1}");
    world_run(world, 20);
    assert_int_equal(world_count(alice, "\"type\":\"sent\""), 1);
    world_close(&alice);
    world_free(&world);
}

/* A session that comes before any router is welcomed, with the epoch, once one is heard. */
static void waits_for_the_first_router(void **state)
{
    (void)state;
    struct world *world = world_new(NULL, 1);
    struct world_conv *conv = world_conv(world, "c1", "alice bob");
    world_say(world, conv, "bob");
    struct world_link *alice = world_connect(world, "alice", NULL, false);
    world_run(world, 300);
    assert_int_equal(alice->count, 0);
    world_start(world);
    world_run(world, 600);
    assert_int_equal(world_count(alice, "\"epoch\":\"abcdef01\""), 1);
    world_expect_seqs(alice, "c1", 1, 1);
    world_close(&alice);
    world_free(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(is_up_while_every_leader_is_heard),
        cmocka_unit_test(watches_again_whenever_something_may_be_missed),
        cmocka_unit_test(refuses_foreign_and_broken_packets),
        cmocka_unit_test(fails_requests_of_a_router_that_is_gone),
        cmocka_unit_test(fails_requests_that_a_new_leader_overtakes),
        cmocka_unit_test(waits_for_the_first_router),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
