/* Replicas that a leader fills with state: a founder with some groups, and routers that the test
 * is.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs those above. */
#include <cmocka.h>

#include <stdio.h>

#include "mesh/base/mem.h"
#include "mesh/wire/key.h"
#include "tests/support/raft_rig.h"
#include "tests/support/router_rig.h"

#define SHARDS      (LIMIT_TRANSFERS_MAX + 1u)
#define SERVER_OF   100u /* Server ids: so many a router, and one for each group. */
#define REPLIES_MAX 256u

struct rig {
    struct router_rig base; /* First: it is cast. */
    struct reply {
        char from[LIMIT_NODE_ID_SIZE_MAX + 1];
        bool is_raft;
        struct msg_raft raft;
        struct msg_chunk_ack ack;
    } replies[REPLIES_MAX]; /* Of the others, given between turns. */
    uint32_t reply_count;
    uint32_t chunks[8];   /* That went to router 2, 3 ... */
    uint32_t installs[8]; /* Likewise, words that all of a state was sent. */
};

/* A replica that has nothing: it refuses what follows an entry, and takes every chunk. */
static void on_message(struct router_rig *base, struct slice to, uint32_t number,
                       struct record_reader message)
{
    struct rig *rig = (struct rig *)base;
    struct reply *reply = &rig->replies[rig->reply_count];
    struct msg_raft m;
    struct msg_chunk chunk;
    assert_true(rig->reply_count < REPLIES_MAX - 1);
    snprintf(reply->from, sizeof(reply->from), "%.*s", SLICE_ARGS(to));
    if (number == MSG_RAFT) {
        assert_int_equal(record_decode(&message, &msg_raft_desc, &m), RC_OK);
        rig->installs[m.to / SERVER_OF % 8] += m.type == RAFT_RIG_INSTALL;
        if (m.type != RAFT_RIG_APPEND || m.a == 0)
            return;
        reply->is_raft = true;
        reply->raft = (struct msg_raft){.group = m.group,
                                        .to = m.from,
                                        .from = m.to,
                                        .type = RAFT_RIG_APPEND_RESULT,
                                        .term = m.term,
                                        .a = m.a,
                                        .stamp = m.stamp};
        rig->reply_count++;
    } else if (number == MSG_CHUNK) {
        assert_int_equal(record_decode(&message, &msg_chunk_desc, &chunk), RC_OK);
        rig->chunks[chunk.to / SERVER_OF]++;
        reply->is_raft = false;
        reply->ack = (struct msg_chunk_ack){.group = chunk.group,
                                            .from = chunk.to,
                                            .transfer = chunk.transfer,
                                            .next = chunk.number + 1};
        rig->reply_count++;
    }
}

static void run(struct rig *rig, uint64_t ms)
{
    for (uint64_t at = 0; at < ms; at += 20) {
        router_rig_run(&rig->base, 20);
        uint32_t count = rig->reply_count;
        rig->reply_count = 0;
        for (uint32_t i = 0; i < count; i++) {
            const struct reply *reply = &rig->replies[i];
            if (reply->is_raft)
                router_rig_hear(&rig->base, reply->from, &msg_raft_desc, &reply->raft);
            else
                router_rig_hear(&rig->base, reply->from, &msg_chunk_ack_desc, &reply->ack);
        }
    }
}

/* The router `number` is taken into the cluster and says that it holds replicas ready. */
static void join(struct rig *rig, uint32_t number, uint32_t first_group, uint32_t end_group)
{
    char node[LIMIT_NODE_ID_SIZE_MAX + 1];
    snprintf(node, sizeof(node), "r%u", number % 10);
    const struct msg_join join = {.req = 1, .node = slice_string(node), .weight = 100};
    router_rig_meet(&rig->base, node, true);
    router_rig_hear(&rig->base, node, &msg_join_desc, &join);
    run(rig, 1000);
    for (uint32_t group = first_group; group < end_group; group++) {
        const struct msg_replica_prepared prepared = {
            .group = group, .server = (uint64_t)number * SERVER_OF + group};
        router_rig_hear(&rig->base, node, &msg_replica_prepared_desc, &prepared);
    }
    run(rig, 2000);
}

/* A conversation in each group, and so many entries that no log has its beginning any more. */
static void fill(struct rig *rig)
{
    for (uint32_t group = 0; group < SHARDS; group++) {
        char conv[16];
        uint32_t i = 0;
        do
            snprintf(conv, sizeof(conv), "c%u", i++);
        while (key_conv_shard(router_rig_cluster, SHARDS, slice_string(conv)) != group);
        const struct msg_cmd_create create = {
            .conv = slice_string(conv), .user = slice_string("alice"), .kind = CONV_GROUP};
        const struct msg_cmd_send send = {
            .conv = slice_string(conv), .user = slice_string("alice"), .body = slice_string("1")};
        router_rig_submit(&rig->base, group, &msg_cmd_create_desc, &create);
        for (uint32_t sent = 0; sent < 4 * ROUTER_RIG_TRUNCATE; sent++) {
            run(rig, 40);
            router_rig_submit(&rig->base, group, &msg_cmd_send_desc, &send);
        }
    }
}

static int setup(void **state)
{
    struct rig *rig = mem_new(struct rig);
    router_rig_init(&rig->base, SHARDS);
    rig->base.on_message = on_message;
    router_rig_open(&rig->base, "r1", true);
    run(rig, 3000);
    fill(rig);
    *state = rig;
    return 0;
}

static int teardown(void **state)
{
    struct rig *rig = *state;
    router_rig_fini(&rig->base);
    mem_free(rig);
    return 0;
}

/* It got all chunks, and died before it could say that it uses them. As many transfers as there may
 * be at a time would wait for it, and whoever is to take its place would wait for them. */
static void a_transfer_does_not_wait_for_a_router_that_is_gone(void **state)
{
    struct rig *rig = *state;
    join(rig, 2, 0, SHARDS);
    assert_true(rig->chunks[2] >= LIMIT_TRANSFERS_MAX);
    router_rig_meet(&rig->base, "r2", false);
    run(rig, 1000);
    join(rig, 3, SHARDS - 1, SHARDS);
    assert_true(rig->chunks[3] > 0);
}

/* One that is slow to use what it got does not keep another of its group from it. */
static void two_replicas_of_a_group_are_told_side_by_side(void **state)
{
    struct rig *rig = *state;
    join(rig, 2, 0, 1);
    assert_true(rig->installs[2] > 0);
    join(rig, 3, 0, 1);
    assert_true(rig->chunks[3] > 0);
    assert_true(rig->installs[3] > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(a_transfer_does_not_wait_for_a_router_that_is_gone),
        TEST(two_replicas_of_a_group_are_told_side_by_side),
#undef TEST
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
