#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mesh/base/metrics.h"
#include "tests/unit/gateway/failover_world.h"

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

static void beat_with_missing(struct world *world, uint32_t router, const char *missing)
{
    struct buf *terms = buf_new(64);
    for (uint32_t i = 0; i < WORLD_SHARDS; i++)
        record_put_u64(terms, world->leaders[i] == router ? world->terms[i] : 0);
    struct msg_beat beat = {
        .shards = WORLD_SHARDS, .terms = buf_slice(terms), .missing = slice_string(missing)};
    world_publish(world, router, &msg_beat_desc, &beat);
    buf_unref(&terms);
    world_run(world, 50);
}

static void says_missing(struct world *world, uint32_t up, const char *names)
{
    struct gateway_health health = gateway_health(world->gateway);
    assert_int_equal(health.routers_up, up);
    assert_string_equal(health.missing, names);
    assert_true(health.up == (health.reason == NULL));
}

/* Whom routers miss is missing where this gateway does not hear him either; each is named once. */
static void names_the_routers_that_nobody_hears(void **state)
{
    (void)state;
    struct world *world = world_new(NULL, 1);
    says_missing(world, 0, "");
    assert_string_equal(gateway_health(world->gateway).reason, "no router is heard");
    world_start(world);
    says_missing(world, 2, "");
    beat_with_missing(world, 0, "r2 r3 r4");
    beat_with_missing(world, 1, "r3 r5 \"");
    says_missing(world, 2, "r3 r4 r5");
    world_run(world, 300); /* The beats that follow miss nobody. */
    says_missing(world, 2, "");
    for (uint32_t i = 0; i < 2; i++) {
        struct msg_node node = {.id = slice_string(world->routers[i].name),
                                .role = NODE_ROUTER,
                                .incarnation = world->routers[i].incarnation};
        world->routers[i].is_down = true;
        world->handler.on_peer(world->handler.context, &node, false);
    }
    struct gateway_health health = gateway_health(world->gateway);
    assert_int_equal(health.routers_up, 0);
    assert_int_equal(strlen(health.missing), 5); /* Those it heard once: r1 and r2. */
    assert_string_equal(health.reason, "no router is heard");
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

/* The bus counts what passes it: counted here as well, every packet would be two. */
static void packets_are_counted_by_the_bus_alone(void **state)
{
    (void)state;
    int64_t in = metric_get(packets_in_total), out = metric_get(packets_out_total);
    struct world *world = world_new(NULL, 1);
    world_start(world);
    world_run(world, 1000);
    assert_true(gateway_health(world->gateway).up); /* So much was said and heard. */
    assert_int_equal(metric_get(packets_in_total), in);
    assert_int_equal(metric_get(packets_out_total), out);
    assert_int_equal(metric_get(routers_up), gateway_health(world->gateway).routers_up);
    world_free(&world);
}

static void tell_peer(struct world *world, uint32_t router, uint64_t incarnation, bool up)
{
    struct msg_node node = {.id = slice_string(world->routers[router].name),
                            .role = NODE_ROUTER,
                            .incarnation = incarnation,
                            .cluster = slice_of(world_cluster, 16)};
    world->handler.on_peer(world->handler.context, &node, up);
}

/* A router that goes takes its leaderships along at once; what it owed waits for the next leader.
 */
static void what_a_router_owed_when_it_went_the_next_one_pays(void **state)
{
    (void)state;
    struct world *world = failover_new(NULL);
    world_start(world);
    struct world_conv *conv = failover_conv(0, "alice bob");
    struct world_link *alice = world_connect(world, "alice", NULL, false);
    world_run(world, 200);
    failover_kill(0);
    failover_say(alice, conv, "a");
    world_run(world, 5);
    tell_peer(world, 0, 100, false);
    world_turn(world);
    assert_false(gateway_health(world->gateway).up);
    assert_int_equal(gateway_health(world->gateway).shards_led, WORLD_SHARDS / 2);
    failover_say(alice, conv, "b");
    world_run(world, 300);
    assert_int_equal(failover_sent(alice) + failover_errors(alice), 0);
    failover_take_over(1);
    world_run(world, FAILOVER_QUICK + 3);
    assert_int_equal(failover_sent(alice), 2);
    assert_string_equal(failover_log(), "a b");
    assert_true(gateway_health(world->gateway).up);
    world_close(&alice);
    world_free(&world);
}

/* What a router claims, shard by shard, whatever the model says. */
static void claim(struct world *world, uint32_t router, uint32_t shard, uint64_t term)
{
    struct buf *terms = buf_new(64);
    for (uint32_t i = 0; i < WORLD_SHARDS; i++)
        record_put_u64(terms, i == shard                    ? term
                              : world->leaders[i] == router ? world->terms[i]
                                                            : 0);
    struct msg_beat beat = {.shards = WORLD_SHARDS, .terms = buf_slice(terms)};
    world_publish(world, router, &msg_beat_desc, &beat);
    buf_unref(&terms);
}

/* Two routers claim one shard: the higher term wins, whichever beat comes last, and the deposed
 * one's later word that it does not lead changes nothing. */
static void believes_the_higher_term(void **state)
{
    (void)state;
    struct world *world = failover_new(NULL);
    world_start(world);
    struct world_conv *conv = failover_conv(0, "alice bob");
    uint32_t shard = failover_shard(conv);
    struct world_link *alice = world_connect(world, "alice", NULL, false);
    world_run(world, 200);
    world->leaders[shard] = 1;
    world->terms[shard] = 7;
    world_beat(world, 1);
    world_turn(world);
    for (uint64_t term = 0; term < 7; term++) {
        claim(world, 0, shard, term); /* Late, or of one who does not know yet. */
        failover_say(alice, conv, term % 2 == 0 ? "a" : "b");
        world_run(world, 2);
        assert_int_equal(world->submits, term + 1); /* None went to the wrong one first. */
    }
    assert_int_equal(failover_sent(alice), 7);
    world_close(&alice);
    world_free(&world);
}

/* A hole in the link of one router is none in that of another. */
static void a_hole_concerns_the_shards_of_its_router(void **state)
{
    (void)state;
    struct world *world = failover_new(NULL);
    world_start(world);
    failover_conv(0, "alice bob");
    failover_conv(1, "alice bob");
    failover_conv(1, "alice bob");
    struct world_link *alice = world_connect(world, "alice", NULL, false);
    world_run(world, 400);
    assert_int_equal(world->rewatches, 0);
    world->routers[0].link_seq++;
    world_run(world, 300);
    assert_int_equal(world->rewatches, 1);
    world->routers[0].is_silent = true;
    world_run(world, 2500);
    assert_int_equal(gateway_health(world->gateway).shards_led, WORLD_SHARDS / 2);
    world->routers[0].is_silent = false;
    world_run(world, 300);
    assert_int_equal(world->rewatches, 2);
    world_close(&alice);
    world_free(&world);
}

/* A router comes back with a higher incarnation while the other leads its shards: nothing waits,
 * nothing is watched again. Late news of its former life, up or down, change nothing either. */
static void a_router_that_returns_disturbs_nobody(void **state)
{
    (void)state;
    struct world *world = failover_new(NULL);
    world_start(world);
    struct world_conv *conv = failover_conv(0, "alice bob");
    struct world_link *alice = world_connect(world, "alice", NULL, false);
    world_run(world, 200);
    failover_kill(0);
    world_run(world, 500);
    failover_take_over(1);
    world_run(world, 20);
    uint32_t rewatches = world->rewatches;
    failover.moods[0] = MOOD_FINE;
    world->routers[0].is_silent = false;
    world_restart(world, 0);
    world_run(world, 300);
    tell_peer(world, 0, 100, false);
    tell_peer(world, 0, 100, true);
    world_run(world, 300);
    failover_say(alice, conv, "a");
    world_run(world, FAILOVER_QUICK);
    assert_int_equal(failover_sent(alice), 1);
    assert_int_equal(world->rewatches, rewatches);
    assert_true(gateway_health(world->gateway).up);
    world->leaders[failover_shard(conv)] = 0; /* And it may lead again. */
    world->terms[failover_shard(conv)]++;
    world_beat(world, 0);
    world_turn(world);
    failover_say(alice, conv, "b");
    world_run(world, FAILOVER_QUICK);
    assert_int_equal(failover_sent(alice), 2);
    assert_int_equal(world->submits, 2);
    world_close(&alice);
    world_free(&world);
}

/* The welcome waits for no leader. Conversations on shards that are led are resumed at once, the
 * others with their leader, and only then it is told that all are. */
static void resumes_shard_by_shard(void **state)
{
    (void)state;
    struct world *world = failover_new(NULL);
    struct world_conv *here = failover_conv(0, "u0 bob");
    struct world_conv *there = failover_conv(1, "u0 bob");
    world_say(world, here, "bob");
    world_say(world, there, "bob");
    uint32_t list;
    assert_int_equal(0, world->leaders[0]);
    char user[8];
    for (uint32_t i = 0;; i++) { /* Whose list r1 has. */
        snprintf(user, sizeof(user), "v%u", i);
        list = key_user_shard(world_cluster, WORLD_SHARDS, slice_string(user));
        if (world->leaders[list] == 0)
            break;
    }
    snprintf(here->members[0], sizeof(here->members[0]), "%s", user);
    snprintf(there->members[0], sizeof(there->members[0]), "%s", user);
    world->routers[1].is_silent = true;
    world_start(world);
    struct world_link *link = world_connect(world, user, NULL, false);
    world_run(world, 300);
    assert_int_equal(world_count(link, "\"type\":\"welcome\""), 1);
    world_expect_seqs(link, here->name, 1, 1);
    failover_say(link, here, "a");
    failover_say(link, there, "b");
    world_run(world, 300);
    assert_int_equal(world_count(link, "\"type\":\"sent\",\"id\":\"a\""), 1);
    assert_int_equal(failover_sent(link) + failover_errors(link), 1);
    assert_int_equal(world_count(link, "\"type\":\"resumed\""), 0);
    assert_false(gateway_health(world->gateway).up);
    world->routers[1].is_silent = false;
    world_run(world, 300);
    world_expect_seqs(link, there->name, 1, 1);
    assert_int_equal(world_count(link, "\"type\":\"resumed\""), 1);
    assert_int_equal(failover_sent(link), 2);
    assert_true(gateway_health(world->gateway).up);
    world_close(&link);
    world_free(&world);
}

/* What resuming asked a router that died is asked of the next one as soon as it claims: neither the
 * answer nor the end of the dead one is waited for. */
static void resuming_moves_with_the_lead(void **state)
{
    (void)state;
    struct world *world = failover_new(NULL);
    world_start(world);
    struct world_conv *one = failover_conv(0, "alice bob");
    struct world_conv *two = failover_conv(1, "alice bob");
    world_say(world, one, "bob");
    world_say(world, two, "bob");
    failover_kill(0);
    struct world_link *alice = world_connect(world, "alice", NULL, false);
    world_run(world, 300);
    assert_int_equal(world_count(alice, "\"type\":\"resumed\""), 0);
    failover_take_over(1);
    world_run(world, 10);
    world_expect_seqs(alice, one->name, 1, 1);
    world_expect_seqs(alice, two->name, 1, 1);
    assert_int_equal(world_count(alice, "\"type\":\"resumed\""), 1);
    world_close(&alice);
    world_free(&world);
}

/* A watch asked for again of a router that then dies does not keep the next one from being asked.
 */
static void watches_again_with_the_next_leader(void **state)
{
    (void)state;
    struct world *world = failover_new(NULL);
    world_start(world);
    struct world_conv *conv = failover_conv(0, "alice bob");
    struct world_link *alice = world_connect(world, "alice", NULL, false);
    world_run(world, 300);
    failover.moods[0] = MOOD_DEAF;
    world->routers[0].link_seq++;
    world_beat(world, 0);
    world_run(world, 20);
    failover_kill(0);
    world_run(world, 500);
    failover_take_over(1);
    world_run(world, FAILOVER_QUICK);
    assert_int_equal(world->rewatches, 1);
    world_say(world, conv, "bob");
    world_run(world, FAILOVER_QUICK);
    world_expect_seqs(alice, conv->name, 1, 1);
    world_close(&alice);
    world_free(&world);
}

static void tell_device(struct world *world, const char *user, uint64_t session, uint64_t age_ms)
{
    uint32_t shard = key_user_shard(world_cluster, WORLD_SHARDS, slice_string(user));
    struct msg_event_device event = {.user = slice_string(user),
                                     .device = slice_string("phone"),
                                     .session = session,
                                     .age_ms = age_ms};
    world_publish(world, world->leaders[shard], &msg_event_device_desc, &event);
}

/* Users whose lists are on shards of different routers: each hears of his own devices. After a
 * change of leaders sessions are announced again, older than they are, so that one that began
 * elsewhere meanwhile is told of in answer. */
static void announces_devices_again_to_a_new_leader(void **state)
{
    (void)state;
    struct world *world = failover_new(NULL);
    world_start(world);
    const char *users[2] = {NULL, NULL};
    static char names[64][8];
    for (uint32_t i = 0; users[0] == NULL || users[1] == NULL; i++) {
        snprintf(names[i], sizeof(names[i]), "w%u", i);
        uint32_t shard = key_user_shard(world_cluster, WORLD_SHARDS, slice_string(names[i]));
        users[world->leaders[shard]] = names[i];
    }
    struct world_link *links[2];
    for (uint32_t i = 0; i < 2; i++) {
        links[i] = world_connect(world, users[i], "phone", false);
        world_run(world, 100);
        assert_int_equal(failover.opened, i + 1);
        tell_device(world, users[i], failover.opened_session, 100);
    }
    world_run(world, 500);
    failover.opened = 0;
    failover_kill(0);
    failover_take_over(1);
    world_run(world, 10);
    assert_int_equal(failover.opened, 1);
    assert_in_range(failover.opened_age_ms, 1600, 1900);
    tell_device(world, users[0], 1, 5000); /* An older one elsewhere: it is told of ours. */
    world_run(world, 5);
    assert_int_equal(links[0]->code, 0);
    assert_int_equal(failover.opened, 2);
    assert_in_range(failover.opened_age_ms, 600, 900);
    tell_device(world, users[0], 2, 10);
    tell_device(world, users[1], 3, 10);
    world_run(world, 5);
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(links[i]->code, 4509);
        world_close(&links[i]);
    }
    world_free(&world);
}

/* A result may be published, beside the entry it tells of, as soon as the link is up. */
static void takes_results_from_either_channel(void **state)
{
    (void)state;
    struct world *world = failover_new(NULL);
    world_start(world);
    struct world_conv *conv = failover_conv(0, "alice bob");
    struct world_link *alice = world_connect(world, "alice", NULL, false);
    world_run(world, 200);
    failover.publishes = true;
    failover_say(alice, conv, "a");
    world_run(world, FAILOVER_QUICK);
    assert_int_equal(failover_sent(alice), 1);
    /* Sent before the router knew that the link is down: lost, and asked for. */
    world->drop_percent = 100;
    failover_say(alice, conv, "b");
    world_run(world, FAILOVER_QUICK);
    world->drop_percent = 0;
    failover.publishes = false;
    world_run(world, 400);
    assert_int_equal(failover_sent(alice), 2);
    assert_int_equal(failover_errors(alice), 0);
    assert_string_equal(failover_log(), "a b");
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
        cmocka_unit_test(names_the_routers_that_nobody_hears),
        cmocka_unit_test(watches_again_whenever_something_may_be_missed),
        cmocka_unit_test(refuses_foreign_and_broken_packets),
        cmocka_unit_test(packets_are_counted_by_the_bus_alone),
        cmocka_unit_test(what_a_router_owed_when_it_went_the_next_one_pays),
        cmocka_unit_test(believes_the_higher_term),
        cmocka_unit_test(a_hole_concerns_the_shards_of_its_router),
        cmocka_unit_test(a_router_that_returns_disturbs_nobody),
        cmocka_unit_test(resumes_shard_by_shard),
        cmocka_unit_test(resuming_moves_with_the_lead),
        cmocka_unit_test(watches_again_with_the_next_leader),
        cmocka_unit_test(announces_devices_again_to_a_new_leader),
        cmocka_unit_test(takes_results_from_either_channel),
        cmocka_unit_test(waits_for_the_first_router),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
