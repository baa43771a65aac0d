#include "tests/support/router_rig.h"

#include "mesh/base/check.h"
#include "mesh/base/crypto.h"

#define TURN_US 20000u

const uint8_t router_rig_cluster[16] = {7, 7, 7, 1};

static uint64_t clock_us(struct env *env)
{
    return ((struct router_rig *)(void *)env)->now_us;
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

static enum rc say(struct bus *bus, struct slice to, struct buf *bytes)
{
    struct router_rig *rig = (void *)((char *)bus - offsetof(struct router_rig, bus));
    struct packet packet;
    enum rc rc = packet_decode(buf_slice(bytes), &packet);
    CHECK(rc == RC_OK);
    while (!record_reader_at_end(&packet.messages)) {
        uint32_t number;
        rc = record_peek(&packet.messages, &number);
        CHECK(rc == RC_OK);
        if (rig->on_message != NULL)
            rig->on_message(rig, to, number, packet.messages);
        rc = record_skip(&packet.messages);
        CHECK(rc == RC_OK);
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

void router_rig_init(struct router_rig *rig, uint32_t shards)
{
    crypto_start();
    *rig = (struct router_rig){
        .env = {.now_us = clock_us, .wall_ms = clock_wall_ms, .random = random_bits},
        .bus = {.send = say, .publish = drop},
        .now_us = 1000000,
        .kv = mem_kv_new(),
        .shards = shards,
    };
}

void router_rig_fini(struct router_rig *rig)
{
    router_free(&rig->router);
    rig->kv->ops->close(&rig->kv);
}

void router_rig_open(struct router_rig *rig, const char *node, bool founds)
{
    struct router_options options = {
        .node = node,
        .incarnation = 9,
        .shards = rig->shards,
        .resume_count_max = 10,
        .queue_bytes_max = 65536,
        .truncate_count = ROUTER_RIG_TRUNCATE,
        .messages_max = 1000,
        .replicas = 3,
        .epoch = "0badcafe",
        .weight = 100,
        .grace_ms = 20000,
    };
    memcpy(options.cluster, router_rig_cluster, sizeof(router_rig_cluster));
    struct kv_batch *batch = rig->kv->ops->batch_new(rig->kv);
    if (founds)
        router_bootstrap(&options, &rig->env, batch);
    enum rc rc = rig->kv->ops->write(rig->kv, batch);
    CHECK(rc == RC_OK);
    rig->kv->ops->batch_free(&batch);
    rc = router_new(&options, &rig->env, &rig->bus, rig->kv, &rig->router);
    CHECK(rc == RC_OK);
    rig->handler = router_bus_handler(rig->router);
}

void router_rig_kill(struct router_rig *rig)
{
    router_free(&rig->router);
    mem_kv_crash(rig->kv, 0);
}

void router_rig_run(struct router_rig *rig, uint64_t ms)
{
    for (uint64_t us = 0; us < ms * 1000; us += TURN_US) {
        rig->now_us += TURN_US;
        router_turn(rig->router);
        mem_kv_complete_sync(rig->kv);
    }
}

void router_rig_meet(struct router_rig *rig, const char *node, bool up)
{
    const struct msg_node record = {
        .id = slice_string(node),
        .role = NODE_ROUTER,
        .incarnation = 1,
        .cluster = slice_of(router_rig_cluster, sizeof(router_rig_cluster)),
    };
    rig->handler.on_peer(rig->handler.context, &record, up);
}

void router_rig_hear(struct router_rig *rig, const char *from, const struct record_desc *desc,
                     const void *message)
{
    struct packet_sender sender = {.node = slice_string(from), .incarnation = 1};
    struct packet packet;
    struct buf *bytes = buf_new(128);
    memcpy(sender.cluster, router_rig_cluster, sizeof(router_rig_cluster));
    packet_begin(bytes, &sender, 0);
    record_encode(bytes, desc, message);
    enum rc rc = packet_decode(buf_slice(bytes), &packet);
    CHECK(rc == RC_OK);
    rig->handler.on_request(rig->handler.context, slice_string(from), &packet);
    buf_unref(&bytes);
}

void router_rig_submit(struct router_rig *rig, uint32_t shard, const struct record_desc *desc,
                       const void *command)
{
    struct buf *bytes = buf_new(128);
    record_encode(bytes, desc, command);
    const struct msg_submit submit = {.shard = shard, .command = buf_slice(bytes)};
    router_rig_hear(rig, "g1", &msg_submit_desc, &submit);
    buf_unref(&bytes);
}
