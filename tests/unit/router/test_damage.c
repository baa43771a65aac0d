/* What a router does with a replica whose rows are damaged: a founder, a second router that has not
 * got its copy yet, and a bus that takes notes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs those above. */
#include <cmocka.h>

#include <stdio.h>

#include "mesh/base/crypto.h"
#include "mesh/base/mem.h"
#include "nodes/router/router.h"
#include "storage/keyspace.h"
#include "storage/mem_kv.h"
#include "storage/raft_log.h"
#include "storage/rows.h"
#include "tests/support/raft_rig.h"

#define SHARDS 1u
#define COPY   77u /* Server id of the replica that r2 holds ready. */

struct rig {
    struct env env;
    struct bus bus;
    uint64_t now_us;
    struct kv *kv;
    struct router *router;
    struct bus_handler handler;
    uint32_t appends;  /* Messages that went to r2's replica. */
    uint64_t prepared; /* Server id of the replica that the router holds ready. */
};

static const uint8_t cluster[16] = {7, 7, 7, 1};

static uint64_t clock_us(struct env *env)
{
    return ((struct rig *)(void *)env)->now_us;
}

static uint64_t clock_wall_ms(struct env *env)
{
    return 1700000000000 + clock_us(env) / 1000;
}

static uint64_t random_bits(struct env *env)
{
    (void)env;
    return 4711;
}

static enum rc take_note(struct bus *bus, struct slice node, struct buf *bytes)
{
    struct rig *rig = (struct rig *)(void *)((char *)bus - offsetof(struct rig, bus));
    struct packet packet;
    struct msg_raft raft;
    uint32_t number;
    (void)node;
    assert_int_equal(packet_decode(buf_slice(bytes), &packet), RC_OK);
    while (!record_reader_at_end(&packet.messages)) {
        assert_int_equal(record_peek(&packet.messages, &number), RC_OK);
        if (number == MSG_REPLICA_PREPARED) {
            struct msg_replica_prepared prepared;
            assert_int_equal(record_decode(&packet.messages, &msg_replica_prepared_desc, &prepared),
                             RC_OK);
            rig->prepared = prepared.server;
            continue;
        }
        if (number != MSG_RAFT) {
            assert_int_equal(record_skip(&packet.messages), RC_OK);
            continue;
        }
        assert_int_equal(record_decode(&packet.messages, &msg_raft_desc, &raft), RC_OK);
        rig->appends += raft.group == 0 && raft.to == COPY;
    }
    return RC_OK;
}

static enum rc drop(struct bus *bus, struct slice node, struct buf *packet)
{
    (void)bus;
    (void)node;
    (void)packet;
    return RC_OK;
}

static void run(struct rig *rig, uint64_t ms)
{
    for (uint64_t i = 0; i < ms; i += 20) {
        rig->now_us += 20000;
        router_turn(rig->router);
        mem_kv_complete_sync(rig->kv);
    }
}

static void hear(struct rig *rig, const char *from, const struct record_desc *desc,
                 const void *message)
{
    struct packet_sender sender = {.node = slice_string(from), .incarnation = 1};
    struct packet packet;
    struct buf *bytes = buf_new(128);
    memcpy(sender.cluster, cluster, sizeof(cluster));
    packet_begin(bytes, &sender, 0);
    record_encode(bytes, desc, message);
    assert_int_equal(packet_decode(buf_slice(bytes), &packet), RC_OK);
    rig->handler.on_request(rig->handler.context, slice_string(from), &packet);
    buf_unref(&bytes);
}

static void is_there(struct rig *rig, const char *id, bool up)
{
    const struct msg_node node = {.id = slice_string(id),
                                  .role = NODE_ROUTER,
                                  .incarnation = 1,
                                  .cluster = slice_of(cluster, sizeof(cluster))};
    rig->handler.on_peer(rig->handler.context, &node, up);
}

/* What a gateway asks to have done in shard 0. */
static void submit(struct rig *rig, const struct record_desc *desc, const void *command)
{
    struct buf *bytes = buf_new(128);
    record_encode(bytes, desc, command);
    const struct msg_submit submit = {.command = buf_slice(bytes)};
    hear(rig, "g1", &msg_submit_desc, &submit);
    buf_unref(&bytes);
    run(rig, 100);
}

static bool is_stored(struct rig *rig, enum kv_family family, struct slice key)
{
    struct buf *row = buf_new(0);
    enum rc rc = rig->kv->ops->get(rig->kv, family, key, row);
    buf_unref(&row);
    return rc == RC_OK;
}

static void open_router(struct rig *rig, const char *node, bool founds)
{
    struct router_options options = {
        .node = node,
        .incarnation = 9,
        .shards = SHARDS,
        .resume_count_max = 10,
        .queue_bytes_max = 65536,
        .truncate_count = 16,
        .messages_max = 1000,
        .replicas = 3,
        .epoch = "0badcafe",
        .weight = 100,
        .grace_ms = 20000,
    };
    memcpy(options.cluster, cluster, sizeof(cluster));
    struct kv_batch *batch = rig->kv->ops->batch_new(rig->kv);
    if (founds)
        router_bootstrap(&options, &rig->env, batch);
    assert_int_equal(rig->kv->ops->write(rig->kv, batch), RC_OK);
    rig->kv->ops->batch_free(&batch);
    assert_int_equal(router_new(&options, &rig->env, &rig->bus, rig->kv, &rig->router), RC_OK);
    rig->handler = router_bus_handler(rig->router);
}

static struct rig *rig_new(void)
{
    struct rig *rig = mem_new(struct rig);
    crypto_start();
    rig->env = (struct env){.now_us = clock_us, .wall_ms = clock_wall_ms, .random = random_bits};
    rig->bus = (struct bus){.send = take_note, .publish = drop};
    rig->now_us = 1000000;
    rig->kv = mem_kv_new();
    return rig;
}

/* One that was taken in and holds nothing yet. */
static int setup_newcomer(void **state)
{
    struct rig *rig = rig_new();
    open_router(rig, "r2", false);
    run(rig, 1000);
    *state = rig;
    return 0;
}

/* A founder that leads a shard with one conversation, and is its only voter; r2 was added as a copy
 * of all groups, and has nothing yet. */
static int setup(void **state)
{
    struct rig *rig = rig_new();
    open_router(rig, "r1", true);
    run(rig, 3000);

    const struct msg_cmd_create create = {
        .conv = slice_string("c"), .user = slice_string("alice"), .kind = CONV_GROUP};
    const struct msg_cmd_send send = {
        .conv = slice_string("c"), .user = slice_string("alice"), .body = slice_string("1")};
    submit(rig, &msg_cmd_create_desc, &create);
    submit(rig, &msg_cmd_send_desc, &send);

    const struct msg_join join = {.req = 1, .node = slice_string("r2"), .weight = 100};
    is_there(rig, "r2", true);
    hear(rig, "r2", &msg_join_desc, &join);
    run(rig, 1000);
    for (uint64_t group = 0; group <= CONTROL_GROUP; group += CONTROL_GROUP) {
        const struct msg_replica_prepared prepared = {.group = group, .server = COPY};
        hear(rig, "r2", &msg_replica_prepared_desc, &prepared);
    }
    run(rig, 1000);
    assert_true(rig->appends > 0);
    *state = rig;
    return 0;
}

/* r1 has this router, which holds nothing, begin a replica and sends it a state of one row. */
static void send_state(struct rig *rig, const struct keyspace_key *key, struct slice row)
{
    const struct msg_replica_prepare prepare = {.group = 0, .term = 3};
    struct buf *rows = buf_new(64);
    is_there(rig, "r1", true);
    hear(rig, "r1", &msg_replica_prepare_desc, &prepare);
    run(rig, 100);
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
    hear(rig, "r1", &msg_chunk_desc, &chunk);
    run(rig, 100);
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
    router_free(&rig->router);
    rig->kv->ops->close(&rig->kv);
    mem_free(rig);
    return 0;
}

static void damage(struct rig *rig, enum kv_family family, struct slice key)
{
    struct kv_batch *batch = rig->kv->ops->batch_new(rig->kv);
    assert_true(is_stored(rig, family, key));
    kv_put(batch, family, key, slice_string("damaged"));
    assert_int_equal(rig->kv->ops->write(rig->kv, batch), RC_OK);
    rig->kv->ops->batch_free(&batch);
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
    hear(rig, "g1", &msg_fetch_desc, &fetch);
    run(rig, 100);
    assert_true(router_is_failed(rig->router));
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
    router_free(&rig->router);
    mem_kv_crash(rig->kv, 0);
    open_router(rig, "r1", false);
    is_there(rig, "r2", true);
    struct msg_raft message = {
        .group = 0, .from = COPY, .to = 5, .type = RAFT_RIG_VOTE, .term = 100, .a = 1, .b = 1};
    hear(rig, "r2", &msg_raft_desc, &message);
    run(rig, 100);
    assert_true(is_stored(rig, KV_STATE, keyspace_slice(&whole)));
    message.type = RAFT_RIG_APPEND;
    hear(rig, "r2", &msg_raft_desc, &message);
    run(rig, 100);
    assert_false(is_stored(rig, KV_STATE, keyspace_slice(&whole)));
    assert_false(router_is_failed(rig->router));
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
    hear(rig, "r1", &msg_raft_desc, &install);
    assert_false(router_is_failed(rig->router));
    run(rig, 100);
    assert_true(router_is_failed(rig->router));
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
