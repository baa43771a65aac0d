#include "tests/sim/cluster.h"

#include <stdio.h>
#include <string.h>

#include "mesh/base/check.h"
#include "mesh/base/limits.h"
#include "mesh/base/mem.h"
#include "storage/mem_kv.h"

struct flight {
    struct sim_node *to;
    struct sim_node *from;
    uint64_t to_incarnation, from_incarnation;
    bool is_published;
    struct buf *packet;
};

static uint64_t sim_now_us(struct env *env)
{
    return ((struct sim_node *)env)->cluster->world->now_us;
}

static uint64_t sim_wall_ms(struct env *env)
{
    return 1700000000000u + ((struct sim_node *)env)->cluster->world->now_us / 1000;
}

static uint64_t sim_random(struct env *env)
{
    return world_random(((struct sim_node *)env)->cluster->world);
}

static void turn(void *context, uint64_t incarnation);

static void wake_at(struct sim_node *node, uint64_t at_us)
{
    struct world *world = node->cluster->world;
    uint64_t delay = at_us > world->now_us ? at_us - world->now_us : 0;
    world_after(world, delay, turn, node, node->incarnation);
}

void cluster_wake(struct sim_node *node)
{
    if (!node->is_alive || node->turn_planned)
        return;
    node->turn_planned = true;
    wake_at(node, node->cluster->world->now_us + world_between(node->cluster->world, 1, 200));
}

static void sync_done(void *context, uint64_t incarnation)
{
    struct sim_node *node = context;
    if (!node->is_alive || node->incarnation != incarnation)
        return;
    mem_kv_complete_sync(node->kv);
    cluster_wake(node);
}

static void turn(void *context, uint64_t incarnation)
{
    struct sim_node *node = context;
    struct world *world = node->cluster->world;
    if (!node->is_alive || node->incarnation != incarnation)
        return;
    node->turn_planned = false;
    uint64_t due;
    if (node->role == NODE_ROUTER) {
        bool was_syncing = mem_kv_sync_is_pending(node->kv);
        router_turn(node->router);
        if (router_is_failed(node->router))
            world_violation(world, "router %s failed without a disk fault", node->id);
        if (!was_syncing && mem_kv_sync_is_pending(node->kv))
            world_after(world, world_between(world, 50, node->cluster->faults.sync_us_max),
                        sync_done, node, node->incarnation);
        due = router_due_us(node->router);
    } else {
        gateway_turn(node->gateway);
        due = gateway_due_us(node->gateway);
    }
    if (due <= world->now_us)
        cluster_wake(node);
    else if (due != ENV_NEVER && (node->wake_us <= world->now_us || due < node->wake_us)) {
        node->wake_us = due;
        wake_at(node, due);
    }
}

static void arrive(void *context, uint64_t argument)
{
    (void)argument;
    struct flight *flight = context;
    struct sim_node *to = flight->to;
    if (to->is_alive && to->incarnation == flight->to_incarnation && flight->from->is_alive &&
        flight->from->incarnation == flight->from_incarnation) {
        struct packet packet;
        enum rc rc = packet_decode(buf_slice(flight->packet), &packet);
        CHECK(rc == RC_OK);
        struct slice from = slice_string(flight->from->id);
        if (flight->is_published)
            to->handler.on_publish(to->handler.context, from, &packet);
        else
            to->handler.on_request(to->handler.context, from, &packet);
        cluster_wake(to);
    }
}

static void flight_drop(void *thing)
{
    struct flight *flight = thing;
    buf_unref(&flight->packet);
    mem_free(flight);
}

static struct sim_node *find(struct cluster *c, struct slice id)
{
    for (uint32_t i = 0; i < c->node_count; i++)
        if (slice_equals(id, c->nodes[i].id))
            return &c->nodes[i];
    return NULL;
}

static enum rc carry(struct bus *bus, struct slice id, struct buf *packet, bool is_published)
{
    struct sim_node *from =
        (struct sim_node *)(void *)((char *)bus - offsetof(struct sim_node, bus));
    struct cluster *c = from->cluster;
    struct sim_node *to = find(c, id);
    if (to == NULL || !to->is_alive)
        return is_published ? RC_OK : RC_NOT_FOUND;
    if (is_published && c->faults.on && world_chance(c->world, c->faults.publish_loss)) {
        c->losses++;
        return RC_OK;
    }
    uint64_t at = c->world->now_us + world_between(c->world, 30, 600);
    if (c->faults.on && world_chance(c->world, c->faults.slow_packet))
        at += world_between(c->world, 1000, 100000);
    uint64_t *last = &to->last_delivery_us[from->index][is_published];
    if (at < *last)
        at = *last;
    *last = at;
    struct flight *flight = mem_new(struct flight);
    flight->to = to;
    flight->from = from;
    flight->to_incarnation = to->incarnation;
    flight->from_incarnation = from->incarnation;
    flight->is_published = is_published;
    /* A copy: what the sender does with his buf afterwards is his. */
    flight->packet = buf_new(packet->size);
    buf_append(flight->packet, packet->bytes, packet->size);
    world_carry(c->world, at - c->world->now_us, arrive, flight, flight_drop);
    return RC_OK;
}

static enum rc sim_send(struct bus *bus, struct slice node, struct buf *packet)
{
    return carry(bus, node, packet, false);
}

static enum rc sim_publish(struct bus *bus, struct slice node, struct buf *packet)
{
    return carry(bus, node, packet, true);
}

/* ---- Discovery: everyone learns of everyone a little later ---- */

struct news {
    struct sim_node *to;
    struct sim_node *about;
    uint64_t to_incarnation, about_incarnation;
    bool up;
};

static void tell(void *context, uint64_t argument)
{
    (void)argument;
    struct news *news = context;
    struct sim_node *to = news->to;
    bool is_current =
        news->about->incarnation == news->about_incarnation && news->about->is_alive == news->up;
    if (to->is_alive && to->incarnation == news->to_incarnation && is_current) {
        struct msg_node node = {
            .id = slice_string(news->about->id),
            .role = news->about->role,
            .version = MESSAGES_VERSION,
            .incarnation = news->about->incarnation,
            .cluster = slice_of(to->cluster->cluster_id, 16),
        };
        to->handler.on_peer(to->handler.context, &node, news->up);
        cluster_wake(to);
    }
}

static void spread(struct cluster *c, struct sim_node *to, struct sim_node *about, bool up)
{
    struct news *news = mem_new(struct news);
    *news = (struct news){.to = to,
                          .about = about,
                          .to_incarnation = to->incarnation,
                          .about_incarnation = about->incarnation,
                          .up = up};
    uint64_t delay =
        up ? world_between(c->world, 1000, 600000) : world_between(c->world, 2500000, 3000000);
    world_carry(c->world, delay, tell, news, mem_free);
}

static void spread_all(struct cluster *c, struct sim_node *node, bool up)
{
    for (uint32_t i = 0; i < c->node_count; i++) {
        struct sim_node *other = &c->nodes[i];
        if (other == node || !other->is_alive || other->role == node->role)
            continue;
        spread(c, other, node, up);
        if (up)
            spread(c, node, other, up);
    }
}

/* ---- Life ---- */

static void start_router(struct cluster *c, struct sim_node *node)
{
    struct router_options options = {
        .node = node->id,
        .incarnation = node->incarnation,
        .shards = c->shards,
        .resume_count_max = 50, /* Tiny, so that gaps happen. */
        .queue_bytes_max = LIMIT_SHARD_QUEUE_BYTES,
        .truncate_count = 8, /* Tiny, so that the log is truncated all the time. */
    };
    memcpy(options.cluster, c->cluster_id, sizeof(options.cluster));
    if (node->kv == NULL)
        node->kv = mem_kv_new();
    enum rc rc = router_new(&options, &node->env, &node->bus, node->kv, &node->router);
    if (rc != RC_OK)
        world_violation(c->world, "router %s does not start again: %s", node->id, rc_sentence(rc));
    node->handler = router_bus_handler(node->router);
}

static void start_gateway(struct cluster *c, struct sim_node *node)
{
    struct gateway_options options;
    gateway_options_init(&options);
    options.node = node->id;
    options.incarnation = node->incarnation;
    options.connections_per_user_max = 0;
    options.reconnects_per_minute_max = 0;
    options.outbox_bytes_max = 8192; /* Tiny, so that clients fall behind. */
    node->gateway = gateway_new(&options, &c->auth, &node->env, &node->bus);
    node->handler = gateway_bus_handler(node->gateway);
}

void cluster_start(struct cluster *c, struct sim_node *node)
{
    CHECK(!node->is_alive);
    node->incarnation++;
    node->is_alive = true;
    node->turn_planned = false;
    node->wake_us = 0;
    memset(node->last_delivery_us, 0, sizeof(node->last_delivery_us));
    if (node->role == NODE_ROUTER)
        start_router(c, node);
    else
        start_gateway(c, node);
    world_note(c->world, "%s starts, incarnation %lu", node->id, node->incarnation);
    spread_all(c, node, true);
    cluster_wake(node);
}

void cluster_crash(struct cluster *c, struct sim_node *node)
{
    CHECK(node->is_alive);
    world_note(c->world, "%s crashes", node->id);
    c->crashes++;
    node->is_alive = false;
    if (node->role == NODE_ROUTER) {
        router_free(&node->router);
        mem_kv_crash(node->kv, world_between(c->world, 0, mem_kv_unsynced(node->kv)));
    } else {
        c->on_gateway_down(c->context, node); /* The links die first. */
        gateway_free(&node->gateway);
    }
    spread_all(c, node, false);
}

static void add(struct cluster *c, enum node_role role, const char *prefix, uint32_t number)
{
    struct sim_node *node = &c->nodes[c->node_count];
    node->index = c->node_count++;
    node->cluster = c;
    node->role = role;
    node->incarnation = 1000;
    node->env = (struct env){.now_us = sim_now_us, .wall_ms = sim_wall_ms, .random = sim_random};
    node->bus = (struct bus){.send = sim_send, .publish = sim_publish};
    snprintf(node->id, sizeof(node->id), "%s%u", prefix, number);
}

void cluster_init(struct cluster *c, struct world *world, uint32_t gateways, uint32_t shards)
{
    CHECK(gateways + 1 <= CLUSTER_NODES_MAX);
    memset(c, 0, sizeof(*c));
    c->world = world;
    c->gateway_count = gateways;
    c->shards = shards;
    c->faults = (struct cluster_faults){.sync_us_max = 500};
    for (uint32_t i = 0; i < 16; i++)
        c->cluster_id[i] = (uint8_t)(i + 1);
    add(c, NODE_ROUTER, "r", 1);
    for (uint32_t i = 0; i < gateways; i++)
        add(c, NODE_GATEWAY, "g", i + 1);
}

void cluster_fini(struct cluster *c)
{
    for (uint32_t i = 0; i < c->node_count; i++) {
        struct sim_node *node = &c->nodes[i];
        if (node->is_alive && node->role == NODE_GATEWAY)
            c->on_gateway_down(c->context, node);
        gateway_free(&node->gateway);
        router_free(&node->router);
        if (node->kv != NULL)
            node->kv->ops->close(&node->kv);
    }
}

struct sim_node *cluster_router(struct cluster *c)
{
    return &c->nodes[0];
}

struct sim_node *cluster_gateway(struct cluster *c, uint32_t index)
{
    CHECK(index < c->gateway_count);
    return &c->nodes[1 + index];
}
