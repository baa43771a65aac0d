/* What a router does with a replica whose rows are damaged: a founder, a second router that has not
 * got its copy yet. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs those above. */
#include <cmocka.h>

#include <stdio.h>

#include "mesh/base/crypto.h"
#include "mesh/base/mem.h"
#include "storage/keyspace.h"
#include "storage/raft_log.h"
#include "storage/rows.h"
#include "tests/support/raft_rig.h"
#include "tests/support/router_rig.h"

#define SHARDS 1u
#define COPY   77u /* Server id of the replica that r2 holds ready. */

struct rig {
    struct router_rig base; /* First: it is cast. */
    uint32_t appends;       /* Messages that went to r2's replica. */
    uint64_t prepared;      /* Server id of the replica that the router holds ready. */
};

static void take_note(struct router_rig *base, struct slice to, uint32_t number,
                      struct record_reader message)
{
    struct rig *rig = (struct rig *)base;
    struct msg_raft raft;
    struct msg_replica_prepared prepared;
    (void)to;
    if (number == MSG_RAFT) {
        assert_int_equal(record_decode(&message, &msg_raft_desc, &raft), RC_OK);
        rig->appends += raft.group == 0 && raft.to == COPY;
    } else if (number == MSG_REPLICA_PREPARED) {
        assert_int_equal(record_decode(&message, &msg_replica_prepared_desc, &prepared), RC_OK);
        rig->prepared = prepared.server;
    }
}

static bool is_stored(struct rig *rig, enum kv_family family, struct slice key)
{
    struct buf *row = buf_new(0);
    enum rc rc = rig->base.kv->ops->get(rig->base.kv, family, key, row);
    buf_unref(&row);
    return rc == RC_OK;
}

static struct rig *rig_new(void)
{
    struct rig *rig = mem_new(struct rig);
    router_rig_init(&rig->base, SHARDS);
    rig->base.on_message = take_note;
    return rig;
}

/* One that was taken in and holds nothing yet. */
static int setup_newcomer(void **state)
{
    struct rig *rig = rig_new();
    router_rig_open(&rig->base, "r2", false);
    router_rig_run(&rig->base, 1000);
    *state = rig;
    return 0;
}

/* A founder that leads a shard with one conversation, and is its only voter; r2 was added as a copy
 * of all groups, and has nothing yet. */
static int setup(void **state)
{
    struct rig *rig = rig_new();
    router_rig_open(&rig->base, "r1", true);
    router_rig_run(&rig->base, 3000);

    const struct msg_cmd_create create = {
        .conv = slice_string("c"), .user = slice_string("alice"), .kind = CONV_GROUP};
    const struct msg_cmd_send send = {
        .conv = slice_string("c"), .user = slice_string("alice"), .body = slice_string("1")};
    router_rig_submit(&rig->base, 0, &msg_cmd_create_desc, &create);
    router_rig_submit(&rig->base, 0, &msg_cmd_send_desc, &send);

    const struct msg_join join = {.req = 1, .node = slice_string("r2"), .weight = 100};
    router_rig_meet(&rig->base, "r2", true);
    router_rig_hear(&rig->base, "r2", &msg_join_desc, &join);
    router_rig_run(&rig->base, 1000);
    for (uint64_t group = 0; group <= CONTROL_GROUP; group += CONTROL_GROUP) {
        const struct msg_replica_prepared prepared = {.group = group, .server = COPY};
        router_rig_hear(&rig->base, "r2", &msg_replica_prepared_desc, &prepared);
    }
    router_rig_run(&rig->base, 1000);
    assert_true(rig->appends > 0);
    *state = rig;
    return 0;
}

/* r1 has this router, which holds nothing, begin a replica and sends it a state of one row. */
static void send_state(struct rig *rig, const struct keyspace_key *key, struct slice row)
{
    const struct msg_replica_prepare prepare = {.group = 0, .term = 3};
    struct buf *rows = buf_new(64);
    router_rig_meet(&rig->base, "r1", true);
    router_rig_hear(&rig->base, "r1", &msg_replica_prepare_desc, &prepare);
    router_rig_run(&rig->base, 100);
    assert_int_not_equal(rig->prepared, 0);
    record_put_u64(rows, KV_STATE);
    record_put_slice(rows, slice_of(key->bytes + KEYSPACE_HEADER_SIZE - 1,
                                    key->size - KEYSPACE_HEADER_SIZE + 1));
    record_put_slice(rows, row);
    const struct msg_chunk chunk = {
        .group = 0,
        .to = rig->prepared,
        .transfer = 9,
        .applied = 50,
        .last = 1,
        .check = crypto_crc32c(0, rows->bytes, rows->size),
        .rows = buf_slice(rows),
    };
    router_rig_hear(&rig->base, "r1", &msg_chunk_desc, &chunk);
    router_rig_run(&rig->base, 100);
    buf_unref(&rows);
}

/* A configuration as libraft encodes it: r1's replica `leader` votes, ours is a copy. */
static void put_conf(struct buf *into, uint64_t leader, uint64_t copy)
{
    const uint64_t count = 2;
    char address[2 * LIMIT_NODE_ID_SIZE_MAX + 8];
    buf_append_byte(into, 1);
    buf_append(into, &count, sizeof(count));
    buf_append(into, &leader, sizeof(leader));
    int size = snprintf(address, sizeof(address), "r1/%lx", (unsigned long)leader);
    buf_append(into, address, (size_t)size + 1);
    buf_append_byte(into, 1); /* RAFT_VOTER */
    buf_append(into, &copy, sizeof(copy));
    size = snprintf(address, sizeof(address), "r2/%lx", (unsigned long)copy);
    buf_append(into, address, (size_t)size + 1);
    buf_append_byte(into, 0); /* RAFT_STANDBY */
}

static int teardown(void **state)
{
    struct rig *rig = *state;
    router_rig_fini(&rig->base);
    mem_free(rig);
    return 0;
}

static void damage(struct rig *rig, enum kv_family family, struct slice key)
{
    struct kv_batch *batch = rig->base.kv->ops->batch_new(rig->base.kv);
    assert_true(is_stored(rig, family, key));
    kv_put(batch, family, key, slice_string("damaged"));
    assert_int_equal(rig->base.kv->ops->write(rig->base.kv, batch), RC_OK);
    rig->base.kv->ops->batch_free(&batch);
}

static struct keyspace_key entry_key(uint64_t seq)
{
    const struct keyspace keys = {.shard = 0, .generation = 1};
    struct keyspace_key key;
    keyspace_entry(&key, &keys, slice_string("c"), seq);
    return key;
}

/* One bit of one message is wrong, and somebody reads it. Were the replica given up, all that is
 * right would go with it, and nobody could ever lead the group: a copy does not vote. So the router
 * ends, and its disk stays as it is. */
static void the_only_voter_is_not_given_up_for_a_damaged_row(void **state)
{
    struct rig *rig = *state;
    const struct keyspace_key damaged = entry_key(2), whole = entry_key(1);
    uint8_t hard[RAFT_LOG_META_KEY_SIZE];
    damage(rig, KV_STATE, keyspace_slice(&damaged));
    const struct msg_fetch fetch = {
        .req = 7, .conv = slice_string("c"), .user = slice_string("alice"), .limit = 10};
    router_rig_hear(&rig->base, "g1", &msg_fetch_desc, &fetch);
    router_rig_run(&rig->base, 100);
    assert_true(router_is_failed(rig->base.router));
    assert_true(is_stored(rig, KV_STATE, keyspace_slice(&whole)));
    assert_true(is_stored(rig, KV_META, raft_log_hard_key(hard, 0)));
}

/* Who is elected without a replica that could not be opened has all that it had; who only asks for
 * votes may lack some of it, and what is left of it is all there is. */
static void a_damaged_replica_is_erased_for_a_leader_not_for_a_candidate(void **state)
{
    struct rig *rig = *state;
    const struct keyspace_key whole = entry_key(1);
    uint8_t hard[RAFT_LOG_META_KEY_SIZE];
    damage(rig, KV_META, raft_log_hard_key(hard, 0));
    router_rig_kill(&rig->base);
    router_rig_open(&rig->base, "r1", false);
    router_rig_meet(&rig->base, "r2", true);
    struct msg_raft message = {
        .group = 0, .from = COPY, .to = 5, .type = RAFT_RIG_VOTE, .term = 100, .a = 1, .b = 1};
    router_rig_hear(&rig->base, "r2", &msg_raft_desc, &message);
    router_rig_run(&rig->base, 100);
    assert_true(is_stored(rig, KV_STATE, keyspace_slice(&whole)));
    message.type = RAFT_RIG_APPEND;
    router_rig_hear(&rig->base, "r2", &msg_raft_desc, &message);
    router_rig_run(&rig->base, 100);
    assert_false(is_stored(rig, KV_STATE, keyspace_slice(&whole)));
    assert_false(router_is_failed(rig->base.router));
}

/* Rows are checked one by one as they come, what they mean only when the state is opened. One that
 * cannot be has no machine to go on with: the router ends, and begins anew from what it stored. */
static void a_state_that_cannot_be_opened_ends_the_router(void **state)
{
    struct rig *rig = *state;
    const struct keyspace keys = {.shard = 0, .generation = 0};
    const struct row_user wrong = {.last_seen = 5};
    struct keyspace_key key;
    struct buf *row = buf_new(64);
    struct buf *conf = buf_new(64);
    keyspace_name(&key, &keys, KEYSPACE_OWED, slice_string("c"));
    rows_encode(row, keyspace_slice(&key), &row_user_desc, &wrong);
    send_state(rig, &key, buf_slice(row));
    put_conf(conf, 88, rig->prepared);
    const struct msg_raft install = {.group = 0,
                                     .from = 88,
                                     .to = rig->prepared,
                                     .type = RAFT_RIG_INSTALL,
                                     .term = 3,
                                     .a = 40,
                                     .b = 2,
                                     .c = 1,
                                     .conf = buf_slice(conf)};
    router_rig_hear(&rig->base, "r1", &msg_raft_desc, &install);
    assert_false(router_is_failed(rig->base.router));
    router_rig_run(&rig->base, 100);
    assert_true(router_is_failed(rig->base.router));
    buf_unref(&row);
    buf_unref(&conf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(the_only_voter_is_not_given_up_for_a_damaged_row),
        TEST(a_damaged_replica_is_erased_for_a_leader_not_for_a_candidate),
        cmocka_unit_test_setup_teardown(a_state_that_cannot_be_opened_ends_the_router,
                                        setup_newcomer, teardown),
#undef TEST
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
