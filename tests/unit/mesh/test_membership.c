/* The versioned table: which record is taken, who is up, and what a stranger cannot do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "mesh/base/limits.h"
#include "mesh/base/mem.h"
#include "mesh/endpoint.h"
#include "mesh/membership.h"

#define MS     1000ull
#define SILENT ((uint64_t)LIMIT_MEMBER_SILENT_MS * MS)
#define SECOND 1000000ull

static const char ours[16] = "cluster-of-ours";
static const char theirs[16] = "another-cluster";

/* What the table told, newest last. */
struct told {
    struct membership *m;
    uint32_t ups, downs, gones;
    char last[16];
};

static void on_member(void *context, const struct msg_node *node, enum member_event event)
{
    struct told *t = context;
    t->ups += event == MEMBER_EVENT_UP;
    t->downs += event == MEMBER_EVENT_DOWN;
    t->gones += event == MEMBER_EVENT_GONE;
    snprintf(t->last, sizeof(t->last), "%.*s", SLICE_ARGS(node->id));
}

static struct msg_node router(const char *id, uint64_t incarnation, uint64_t counter)
{
    return (struct msg_node){.id = slice_string(id),
                             .role = NODE_ROUTER,
                             .version = 1,
                             .incarnation = incarnation,
                             .counter = counter,
                             .gossip = slice_string("tcp://127.0.0.1:7400"),
                             .request = slice_string("tcp://127.0.0.1:7401"),
                             .publish = slice_string("tcp://127.0.0.1:7402"),
                             .cluster = slice_of(ours, 16)};
}

static struct msg_node gateway(const char *id)
{
    return (struct msg_node){
        .id = slice_string(id), .role = NODE_GATEWAY, .version = 1, .incarnation = 1};
}

static struct told *table_of(struct msg_node self)
{
    struct told *t = mem_new(struct told);
    struct membership_handler handler = {.context = t, .on_member = on_member};
    t->m = membership_new(&self, &handler);
    return t;
}

static void drop(struct told *t)
{
    membership_free(&t->m);
    mem_free(t);
}

static void put(struct told *t, struct msg_node node, uint64_t now_us, enum rc expected)
{
    assert_int_equal(membership_merge_node(t->m, &node, now_us), expected);
}

static enum rc merge(struct told *t, struct slice gossip)
{
    bool answer;
    return membership_merge(t->m, gossip, 0, &answer);
}

/* The rule everything rests on. */
static void only_a_higher_incarnation_and_counter_is_taken(void **state)
{
    (void)state;
    struct told *t = table_of(router("r1", 1, 1));
    put(t, router("r2", 5, 5), 0, RC_OK);
    put(t, router("r2", 5, 4), 0, RC_OK);
    put(t, router("r2", 4, 9), 0, RC_OK);
    assert_int_equal(membership_get(t->m, slice_string("r2"))->counter, 5);
    put(t, router("r2", 5, 6), 0, RC_OK);
    assert_int_equal(membership_get(t->m, slice_string("r2"))->counter, 6);
    assert_int_equal(t->ups, 1);
    drop(t);
}

/* An old record that still travels does not keep a node alive. */
static void a_node_is_down_after_silence_even_if_old_records_arrive(void **state)
{
    (void)state;
    struct told *t = table_of(router("r1", 1, 1));
    put(t, router("r2", 5, 5), 0, RC_OK);
    put(t, router("r2", 5, 5), SILENT - 1, RC_OK);
    assert_int_equal(membership_tick(t->m, SILENT - 1), SILENT);
    assert_true(membership_is_up(t->m, slice_string("r2")));
    membership_tick(t->m, SILENT);
    assert_false(membership_is_up(t->m, slice_string("r2")));
    assert_int_equal(t->downs, 1);
    assert_int_equal(membership_count_up(t->m), 0);
    drop(t);
}

/* A cut that heals: the same process is up again. */
static void a_silent_node_comes_back_with_a_higher_counter(void **state)
{
    (void)state;
    struct told *t = table_of(router("r1", 1, 1));
    put(t, router("r2", 5, 5), 0, RC_OK);
    membership_tick(t->m, SILENT);
    put(t, router("r2", 5, 6), SILENT + 1, RC_OK);
    assert_true(membership_is_up(t->m, slice_string("r2")));
    assert_int_equal(t->ups, 2);
    drop(t);
}

/* A restart is told even when nobody noticed the death. */
static void a_new_incarnation_is_told_as_up_again(void **state)
{
    (void)state;
    struct told *t = table_of(router("r1", 1, 1));
    put(t, router("r2", 5, 5), 0, RC_OK);
    put(t, router("r2", 6, 1), 1, RC_OK);
    assert_int_equal(t->ups, 2);
    assert_int_equal(t->downs, 0);
    drop(t);
}

/* A clock that went back while a node was away does not lock it out for ever. */
static void a_lower_incarnation_is_taken_once_the_old_one_is_long_down(void **state)
{
    (void)state;
    struct told *t = table_of(router("r1", 1, 1));
    put(t, router("r2", 50, 5), 0, RC_OK);
    membership_tick(t->m, SILENT);
    put(t, router("r2", 40, 1), SILENT + 1, RC_OK);
    assert_false(membership_is_up(t->m, slice_string("r2")));
    put(t, router("r2", 40, 2), 2 * SILENT, RC_OK);
    assert_true(membership_is_up(t->m, slice_string("r2")));
    assert_int_equal(membership_get(t->m, slice_string("r2"))->incarnation, 40);
    drop(t);
}

/* Who says goodbye is down at once, and his goodbye is passed on. */
static void a_leaving_node_is_down_at_once_and_still_told(void **state)
{
    (void)state;
    struct told *t = table_of(router("r1", 1, 1));
    struct msg_node leaving = router("r2", 5, 6);
    leaving.leaving = 1;
    put(t, router("r2", 5, 5), 0, RC_OK);
    put(t, leaving, 1, RC_OK);
    assert_int_equal(t->downs, 1);
    struct buf *gossip = buf_new(64);
    membership_encode(t->m, gossip);
    assert_non_null(memmem(gossip->bytes, gossip->size, "r2", 2));
    membership_tick(t->m, SILENT + 1);
    assert_int_equal(t->downs, 1);
    put(t, router("r2", 7, 1), SILENT + 2, RC_OK);
    assert_int_equal(t->ups, 2);
    buf_unref(&gossip);
    drop(t);
}

/* The dead are not passed on, or they would never die. */
static void a_silent_node_is_not_passed_on_and_forgotten_later(void **state)
{
    (void)state;
    struct told *t = table_of(router("r1", 1, 1));
    put(t, router("r2", 5, 5), 0, RC_OK);
    membership_tick(t->m, SILENT);
    struct buf *gossip = buf_new(64);
    membership_encode(t->m, gossip);
    assert_null(memmem(gossip->bytes, gossip->size, "r2", 2));
    membership_tick(t->m, SILENT + MEMBERSHIP_FORGET_MS * MS);
    assert_int_equal(membership_count(t->m), 0);
    assert_int_equal(t->gones, 1);
    buf_unref(&gossip);
    drop(t);
}

/* Two clusters whose seeds were mixed up stay two clusters. */
static void a_foreign_cluster_is_refused(void **state)
{
    (void)state;
    struct told *t = table_of(router("r1", 1, 1));
    struct msg_node foreigner = router("r9", 1, 1);
    foreigner.cluster = slice_of(theirs, 16);
    put(t, foreigner, 0, RC_MISMATCH);
    assert_int_equal(membership_count(t->m), 0);
    struct told *other = table_of(foreigner);
    put(other, gateway("g9"), 0,
        RC_OK); /* Knows no cluster yet: would be taken from anybody else. */
    struct buf *gossip = buf_new(64);
    membership_encode(other->m, gossip);
    assert_int_equal(merge(t, buf_slice(gossip)), RC_MISMATCH);
    assert_int_equal(membership_count(t->m), 0);
    assert_null(membership_foreigner(t->m)); /* It is alone: who of the two went astray? */
    foreigner = router("r8", 1, 1);
    foreigner.cluster = slice_of(theirs, 16);
    put(other, foreigner, 0, RC_OK);
    buf_clear(gossip);
    membership_encode(other->m, gossip);
    assert_int_equal(merge(t, buf_slice(gossip)), RC_MISMATCH);
    assert_string_equal(membership_foreigner(t->m), "r9");
    buf_unref(&gossip);
    drop(other);
    drop(t);
}

/* A gateway is told nothing but seeds. */
static void a_gateway_takes_the_cluster_of_the_first_router(void **state)
{
    (void)state;
    struct told *t = table_of(gateway("g1"));
    put(t, gateway("g2"), 0, RC_OK);
    assert_int_equal(membership_self(t->m)->cluster.size, 0);
    put(t, router("r1", 1, 1), 0, RC_OK);
    assert_memory_equal(membership_self(t->m)->cluster.base, ours, 16);
    struct msg_node foreigner = router("r9", 1, 1);
    foreigner.cluster = slice_of(theirs, 16);
    put(t, foreigner, 0, RC_MISMATCH);
    drop(t);
}

/* Two processes under one name: the older one is to stop, the newer one not. */
static void the_older_of_two_living_namesakes_is_superseded(void **state)
{
    (void)state;
    struct told *older = table_of(router("r1", 100, 1));
    struct told *newer = table_of(router("r1", 200, 1));
    for (uint64_t i = 1; i <= 7; i++) {
        put(older, router("r1", 200, i), i * SECOND / 2, RC_OK);
        put(newer, router("r1", 100, 10 + i), i * SECOND / 2, RC_OK);
    }
    assert_true(membership_is_superseded(older->m));
    assert_false(membership_is_superseded(newer->m));
    drop(older);
    drop(newer);
}

/* A gateway that is given the id of a router: the gateway goes, whoever came first, once it sees
 * that the router lives; nobody else takes it for the router meanwhile. */
static void a_gateway_gives_way_to_the_router_of_its_id(void **state)
{
    (void)state;
    struct msg_node gateway = router("r1", 200, 1);
    gateway.role = NODE_GATEWAY;
    struct told *g = table_of(gateway);
    struct told *r = table_of(router("r1", 100, 1));
    struct told *other = table_of(router("r2", 100, 1));
    put(other, router("r1", 100, 1), 0, RC_OK);
    put(g, router("r1", 100, 1), 0, RC_OK);
    put(g, router("r1", 100, 1), SECOND, RC_OK);
    assert_false(membership_is_superseded(g->m)); /* It may be dead. */
    put(g, router("r1", 100, 2), SECOND, RC_OK);
    assert_true(membership_is_superseded(g->m));
    for (uint64_t i = 1; i <= 7; i++) {
        gateway.counter = i;
        put(r, gateway, i * SECOND / 2, RC_OK);
        put(other, gateway, i * SECOND / 2, RC_OK);
        put(other, router("r1", 100, i), i * SECOND / 2, RC_OK);
    }
    assert_false(membership_is_superseded(r->m));
    size_t at = 0;
    const struct msg_node *held = membership_next_up(other->m, &at);
    assert_non_null(held);
    assert_int_equal(held->role, NODE_ROUTER);
    drop(g);
    drop(r);
    drop(other);
}

/* After the clock went back, echoes of the previous life are newer than we are, but they stand
 * still. */
static void echoes_of_the_previous_life_do_not_supersede(void **state)
{
    (void)state;
    struct told *t = table_of(router("r1", 100, 1));
    for (uint64_t i = 1; i <= 4; i++)
        put(t, router("r1", 200, i), i * SECOND / 2, RC_OK);
    put(t, router("r1", 200, 4), SILENT + SECOND, RC_OK);
    assert_false(membership_is_superseded(t->m));
    drop(t);
}

/* What a peer tells ends in connections and logs, so it is judged to the letter. */
static void records_that_are_not_valid_are_refused(void **state)
{
    (void)state;
    struct told *t = table_of(router("r1", 1, 1));
    struct msg_node bad = router("", 1, 1);
    put(t, bad, 0, RC_CORRUPT);
    bad = router("sixteen-bytes-id", 1, 1);
    put(t, bad, 0, RC_CORRUPT);
    bad = router("r2", 1, 1);
    bad.role = 3;
    put(t, bad, 0, RC_CORRUPT);
    bad = router("r2", 1, 1);
    bad.request = slice_string("inproc://here");
    put(t, bad, 0, RC_CORRUPT);
    bad = router("r2", 1, 1);
    bad.publish = slice_string("tcp://*:7400");
    put(t, bad, 0, RC_CORRUPT);
    bad = router("r2", 1, 1);
    bad.gossip = (struct slice){0};
    put(t, bad, 0, RC_CORRUPT);
    bad = router("r2", 1, 1);
    bad.cluster = slice_string("short");
    put(t, bad, 0, RC_CORRUPT);
    bad = router("r2", 1, 1);
    bad.zone = slice_string("a\nlog line");
    put(t, bad, 0, RC_CORRUPT);
    bad = gateway("g1");
    bad.http = slice_string("http://x\x1b[2J");
    put(t, bad, 0, RC_CORRUPT);
    assert_int_equal(membership_count(t->m), 0);
    drop(t);
}

/* Bytes that are no gossip, or end too soon. */
static void gossip_that_is_garbage_or_cut_short_is_refused(void **state)
{
    (void)state;
    struct told *t = table_of(router("r1", 1, 1));
    struct told *other = table_of(router("r2", 1, 1));
    struct buf *gossip = buf_new(64);
    membership_encode(other->m, gossip);
    assert_int_equal(merge(t, slice_string("garbage")), RC_CORRUPT);
    assert_int_equal(membership_count(t->m), 0);
    gossip->size -= 3;
    assert_int_equal(merge(t, buf_slice(gossip)), RC_CORRUPT);
    buf_unref(&gossip);
    drop(other);
    drop(t);
}

static bool wants_answer(struct told *t, struct told *sender)
{
    bool answer;
    struct buf *gossip = buf_new(64);
    membership_encode(sender->m, gossip);
    assert_int_equal(membership_merge(t->m, buf_slice(gossip), 0, &answer), RC_OK);
    buf_unref(&gossip);
    return answer;
}

/* Who is known and can be gossiped to is not answered: he hears of everything by himself. */
static void newcomers_and_those_out_of_reach_want_an_answer(void **state)
{
    (void)state;
    struct told *t = table_of(router("r1", 1, 1));
    struct told *r2 = table_of(router("r2", 5, 1));
    struct told *g1 = table_of(gateway("g1"));
    struct told *r2_older = table_of(router("r2", 4, 9));
    assert_true(wants_answer(t, r2));
    assert_false(wants_answer(t, r2));
    assert_true(wants_answer(t, g1));
    assert_true(wants_answer(t, g1));
    assert_true(wants_answer(t, r2_older));
    drop(r2_older);
    drop(g1);
    drop(r2);
    drop(t);
}

/* The table is bounded; the dead make room for the living. */
static void a_full_table_forgets_the_longest_dead_and_else_refuses(void **state)
{
    (void)state;
    struct told *t = table_of(router("r1", 1, 1));
    char id[16];
    for (uint32_t i = 0; i < LIMIT_MEMBERS_MAX; i++) {
        snprintf(id, sizeof(id), "n%u", i);
        put(t, router(id, 1, 1), 0, RC_OK);
    }
    put(t, router("late", 1, 1), 1, RC_FULL);
    for (uint32_t i = 1; i < LIMIT_MEMBERS_MAX; i++) {
        snprintf(id, sizeof(id), "n%u", i);
        put(t, router(id, 1, 2), SILENT - 1, RC_OK);
    }
    membership_tick(t->m, SILENT);
    put(t, router("late", 1, 1), SILENT, RC_OK);
    assert_null(membership_get(t->m, slice_string("n0")));
    assert_int_equal(t->gones, 1);
    drop(t);
}

static uint64_t next_random(struct env *env)
{
    static uint64_t x = 88172645463325252ull; /* xorshift64 (Marsaglia 2003): the same every run. */
    (void)env;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return x;
}

static struct env env = {.random = next_random};

/* Few are all told each round; of many, some are drawn. */
static void targets_are_all_of_few_and_a_draw_of_many(void **state)
{
    (void)state;
    struct told *t = table_of(router("r0", 1, 1));
    const struct msg_node *targets[MEMBERSHIP_TARGETS_MAX];
    char id[16];
    put(t, gateway("g1"), 0, RC_OK); /* Has no gossip endpoint: never a target. */
    for (uint32_t i = 1; i < MEMBERSHIP_TARGETS_ALL; i++) {
        snprintf(id, sizeof(id), "r%u", i);
        put(t, router(id, 1, 1), 0, RC_OK);
    }
    assert_int_equal(membership_targets(t->m, &env, targets), MEMBERSHIP_TARGETS_ALL - 1);
    put(t, router("r50", 1, 1), 0, RC_OK);
    assert_int_equal(membership_targets(t->m, &env, targets), MEMBERSHIP_TARGETS);
    membership_tick(t->m, SILENT);
    assert_int_equal(membership_targets(t->m, &env, targets), 1);
    drop(t);
}

#define CROWD 200u

/* A crowd of tables that gossip as discovery does: push to targets, in rounds. */
static void crowd_round(struct told **crowd, uint64_t now_us, uint32_t dead)
{
    struct buf *gossip = buf_new(65536);
    for (uint32_t i = 0; i < CROWD; i++) {
        const struct msg_node *targets[MEMBERSHIP_TARGETS_MAX];
        bool answer;
        if (i == dead)
            continue;
        membership_tick(crowd[i]->m, now_us);
        membership_advance(crowd[i]->m);
        buf_clear(gossip);
        membership_encode(crowd[i]->m, gossip);
        size_t count = membership_targets(crowd[i]->m, &env, targets);
        for (size_t k = 0; k < count; k++) {
            char id[16];
            snprintf(id, sizeof(id), "%.*s", SLICE_ARGS(targets[k]->id));
            uint32_t to = (uint32_t)strtoul(id + 1, NULL, 10);
            if (to != dead)
                assert_int_equal(membership_merge(crowd[to]->m, buf_slice(gossip), now_us, &answer),
                                 RC_OK);
        }
    }
    buf_unref(&gossip);
}

/* 200 routers that know one seed know each other soon; a death is noticed by all; nobody flaps. */
static void a_crowd_converges_and_notices_a_death(void **state)
{
    (void)state;
    struct told *crowd[CROWD];
    char id[CROWD][16];
    uint64_t now_us = 0;
    for (uint32_t i = 0; i < CROWD; i++) {
        snprintf(id[i], sizeof(id[i]), "r%u", i);
        crowd[i] = table_of(router(id[i], 1, 1));
        if (i > 0) { /* The seed heard of everybody, and everybody of the seed. */
            put(crowd[0], router(id[i], 1, 1), 0, RC_OK);
            put(crowd[i], router("r0", 1, 1), 0, RC_OK);
        }
    }
    for (uint32_t round = 0; round < 8; round++)
        crowd_round(crowd, now_us += SECOND / 2, CROWD);
    for (uint32_t i = 0; i < CROWD; i++)
        assert_int_equal(membership_count_up(crowd[i]->m), CROWD - 1);
    for (uint32_t round = 0; round < 10; round++)
        crowd_round(crowd, now_us += SECOND / 2, 7);
    for (uint32_t i = 0; i < CROWD; i++) {
        if (i != 7) {
            assert_int_equal(membership_count_up(crowd[i]->m), CROWD - 2);
            assert_string_equal(crowd[i]->last, "r7");
            assert_int_equal(crowd[i]->downs, 1);
        }
        drop(crowd[i]);
    }
}

static bool parses(const char *text, struct endpoint *e)
{
    return endpoint_parse(slice_string(text), e) == RC_OK;
}

/* Loopback is judged by number: names may lead anywhere. */
static void endpoints_are_taken_apart_to_the_letter(void **state)
{
    (void)state;
    struct endpoint e;
    char text[ENDPOINT_SIZE_MAX + 1];
    assert_true(parses("tcp://127.0.0.1:7400", &e) && e.is_loopback && e.port == 7400);
    assert_true(parses("tcp://127.8.9.10:1", &e) && e.is_loopback);
    assert_true(parses("tcp://[::1]:7400", &e) && e.is_loopback && e.is_ipv6);
    assert_true(parses("ipc:///run/chatmesh/r1", &e) && e.is_loopback && e.is_ipc);
    assert_true(parses("tcp://127.evil.example:7400", &e) && !e.is_loopback);
    assert_true(parses("tcp://localhost:7400", &e) && !e.is_loopback);
    assert_true(parses("tcp://10.0.0.1:7400", &e) && !e.is_loopback && !e.is_wildcard);
    assert_true(parses("tcp://*:7400", &e) && e.is_wildcard && !e.is_loopback);
    assert_true(parses("tcp://0.0.0.0:7400", &e) && e.is_wildcard);
    assert_true(parses("tcp://[::]:*", &e) && e.is_wildcard && e.port == 0);
    endpoint_print(&e, text);
    assert_string_equal(text, "tcp://[::]:*");
    static const char *const bad[] = {"",
                                      "tcp://",
                                      "tcp://host",
                                      "tcp://:7400",
                                      "tcp://host:65536",
                                      "tcp://host:-1",
                                      "tcp://h st:1",
                                      "tcp://eth0;1.2.3.4:80",
                                      "tcp://[127.0.0.1]:80",
                                      "inproc://x",
                                      "pgm://x:1",
                                      "ipc://",
                                      "ipc://*",
                                      "udp://x:1"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(parses(bad[i], &e));
    assert_false(endpoint_is_reachable(slice_string("tcp://host:0")));
    assert_false(endpoint_is_reachable(slice_string("tcp://*:7400")));
    char longest[200] = "tcp://";
    memset(longest + 6, 'a', 150);
    memcpy(longest + 156, ":1", 3);
    assert_false(parses(longest, &e));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_a_higher_incarnation_and_counter_is_taken),
        cmocka_unit_test(a_node_is_down_after_silence_even_if_old_records_arrive),
        cmocka_unit_test(a_silent_node_comes_back_with_a_higher_counter),
        cmocka_unit_test(a_new_incarnation_is_told_as_up_again),
        cmocka_unit_test(a_lower_incarnation_is_taken_once_the_old_one_is_long_down),
        cmocka_unit_test(a_leaving_node_is_down_at_once_and_still_told),
        cmocka_unit_test(a_silent_node_is_not_passed_on_and_forgotten_later),
        cmocka_unit_test(a_foreign_cluster_is_refused),
        cmocka_unit_test(a_gateway_takes_the_cluster_of_the_first_router),
        cmocka_unit_test(the_older_of_two_living_namesakes_is_superseded),
        cmocka_unit_test(a_gateway_gives_way_to_the_router_of_its_id),
        cmocka_unit_test(echoes_of_the_previous_life_do_not_supersede),
        cmocka_unit_test(records_that_are_not_valid_are_refused),
        cmocka_unit_test(gossip_that_is_garbage_or_cut_short_is_refused),
        cmocka_unit_test(newcomers_and_those_out_of_reach_want_an_answer),
        cmocka_unit_test(a_full_table_forgets_the_longest_dead_and_else_refuses),
        cmocka_unit_test(targets_are_all_of_few_and_a_draw_of_many),
        cmocka_unit_test(a_crowd_converges_and_notices_a_death),
        cmocka_unit_test(endpoints_are_taken_apart_to_the_letter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
