#include "tests/sim/cluster.h"

#include <stdio.h>
#include <string.h>

#include "mesh/base/check.h"
#include "mesh/base/limits.h"
#include "mesh/base/mem.h"
#include "nodes/router/join.h"
#include "tests/sim/cluster_private.h"

/* ---- The ports and the turn ---- */

static uint64_t sim_now_us(struct env *env)
{
    const struct sim_node *node = (const struct sim_node *)env;
    return node->read_us != 0 ? node->read_us : node->cluster->world->now_us;
}

static void sim_refresh(struct env *env)
{
    ((struct sim_node *)env)->read_us = 0;
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
    if (!node->is_alive || node->turn_planned || node->role == NODE_OPERATOR)
        return;
    node->turn_planned = true;
    wake_at(node, node->cluster->world->now_us + world_between(node->cluster->world, 1, 200));
}

static void turn(void *context, uint64_t incarnation)
{
    struct sim_node *node = context;
    struct world *world = node->cluster->world;
    if (!node->is_alive || node->incarnation != incarnation)
        return;
    if (world->now_us <= node->stopped_until_us) {
        wake_at(node, node->stopped_until_us + 1);
        return;
    }
    node->turn_planned = false;
    world->speaker = node->id;
    uint64_t due;
    if (node->role == NODE_ROUTER) {
        if (!cluster_turn_router(node))
            return;
        due = cluster_router_due_us(node);
    } else {
        gateway_turn(node->gateway);
        due = gateway_due_us(node->gateway);
    }
    env_refresh(&node->env);
    if (due <= world->now_us)
        cluster_wake(node);
    else if (due != ENV_NEVER && (node->wake_us <= world->now_us || due < node->wake_us)) {
        node->wake_us = due;
        wake_at(node, due);
    }
}

/* ---- Life ---- */

static void start_gateway(struct cluster *c, struct sim_node *node)
{
    struct gateway_options options;
    gateway_options_init(&options);
    options.node = node->id;
    options.incarnation = node->incarnation;
    options.connections_per_user_max = 0;
    options.reconnects_per_minute_max = 0;
    options.outbox_bytes_max = c->limits.outbox_bytes_max;
    options.request_ms = c->limits.request_ms;
    options.fanout_members = c->limits.fanout_members;
    options.redeliver_ms = c->limits.redeliver_ms;
    node->gateway = gateway_new(&options, &c->auth, &node->env, &node->bus);
    node->handler = gateway_bus_handler(node->gateway);
}

void cluster_start(struct cluster *c, struct sim_node *node)
{
    CHECK(!node->is_alive && !node->is_removed);
    node->incarnation++;
    node->is_alive = true;
    node->is_expected = true;
    node->turn_planned = false;
    node->wake_us = 0;
    node->is_draining = false;
    node->stopped_until_us = 0;
    node->read_us = 0;
    for (uint32_t i = 0; i < CLUSTER_NODES_MAX; i++)
        for (uint32_t channel = 0; channel < CHANNEL_COUNT; channel++)
            node->ways[i][channel].last_us = 0;
    world_note(c->world, "%s starts, incarnation %lu", node->id, node->incarnation);
    c->world->speaker = node->id;
    if (node->role == NODE_ROUTER)
        cluster_start_router(c, node);
    else
        start_gateway(c, node);
    cluster_spread(c, node, true);
    cluster_wake(node);
}

void cluster_crash(struct cluster *c, struct sim_node *node)
{
    CHECK(node->is_alive);
    world_note(c->world, "%s crashes", node->id);
    c->crashes++;
    node->is_alive = false;
    if (world_chance(c->world, 0.5))
        node->last_words = node->incarnation;
    cluster_reset_ways(c, node); /* A new connection does not wait for the old. */
    if (node->role == NODE_ROUTER) {
        cluster_kill_router(c, node);
    } else {
        c->on_gateway_down(c->context, node); /* The links die first. */
        gateway_free(&node->gateway);
    }
    cluster_spread(c, node, false);
}

void cluster_stop(struct cluster *c, struct sim_node *node, uint64_t us)
{
    if (!node->is_alive || c->world->now_us <= node->stopped_until_us)
        return;
    world_note(c->world, "%s stands still for %.1f s", node->id, (double)us / 1e6);
    node->stopped_until_us = c->world->now_us + us;
    if (world_chance(c->world, 0.5))
        node->read_us = c->world->now_us;
}

/* ---- Who is there ---- */

static struct sim_node *add(struct cluster *c, unsigned role, const char *prefix, uint32_t number)
{
    CHECK(c->node_count < CLUSTER_NODES_MAX);
    struct sim_node *node = &c->nodes[c->node_count];
    node->index = c->node_count++;
    node->cluster = c;
    node->role = role;
    node->incarnation = 1000;
    node->env = (struct env){
        .now_us = sim_now_us, .wall_ms = sim_wall_ms, .random = sim_random, .refresh = sim_refresh};
    node->bus = cluster_bus();
    snprintf(node->id, sizeof(node->id), "%s%u", prefix, number);
    return node;
}

/* Not from the generator, so that what else a seed draws stays as it was. In every second seed
 * groups are large, or become so. */
static void draw_delivery(struct cluster *c, uint64_t draw)
{
    c->limits.fanout_members = draw % 2 == 0 ? 2 + (uint32_t)(draw / 2 % 5) : LIMIT_FANOUT_MEMBERS;
    c->limits.redeliver_ms =
        draw / 16 % 3 == 0 ? 300 + (uint32_t)(draw / 64 % 3000) : LIMIT_REDELIVER_MS;
}

/* Not from the generator either. A direct conversation always goes at once: it has two members. */
static void draw_parts(struct cluster *c, uint64_t draw)
{
    if (draw / 8 % 4 == 0)
        return;
    c->limits.drop_members = 2 + (uint32_t)(draw / 128 % 2);
    c->limits.erase_entries = 4 + (uint32_t)(draw / 256 % 60);
}

void cluster_init(struct cluster *c, struct world *world, const struct cluster_options *options)
{
    CHECK(options->routers >= 1 && options->routers <= CLUSTER_ROUTERS_MAX);
    CHECK(options->shards <= CLUSTER_SHARDS_MAX && options->replicas <= LIMIT_REPLICAS_MAX);
    CHECK(options->gateways >= 1 && options->gateways <= CLUSTER_GATEWAYS_MAX);
    memset(c, 0, sizeof(*c));
    c->world = world;
    c->options = *options;
    c->faults = (struct cluster_faults){.sync_us_max = 500};
    /* Tiny, so that gaps happen, the log is truncated all the time and clients fall behind. */
    c->limits = (struct cluster_limits){
        .resume_count_max = (uint32_t)world_between(world, 3, 60),
        .queue_bytes_max = world_chance(world, 0.3) ? (uint32_t)world_between(world, 300, 4000)
                                                    : LIMIT_SHARD_QUEUE_BYTES,
        .truncate_count = options->routers == 1 ? (uint32_t)world_between(world, 1, 24)
                                                : (uint32_t)world_between(world, 8, 64),
        .outbox_bytes_max = (uint32_t)world_between(world, 3000, 20000),
        .request_ms = (uint32_t)world_between(world, 300, 5000),
        .grace_ms = world_chance(world, 0.5) ? (uint32_t)world_between(world, 2000, 8000)
                                             : LIMIT_ROUTER_GRACE_MS};
    draw_delivery(c, world->random_state);
    draw_parts(c, world->random_state);
    for (uint32_t i = 0; i < 16; i++)
        c->cluster_id[i] = (uint8_t)(i + 1);
    for (uint32_t i = 0; i < options->routers; i++)
        add(c, NODE_ROUTER, "r", i + 1);
    for (uint32_t i = 0; i < options->gateways; i++)
        add(c, NODE_GATEWAY, "g", i + 1);
    c->nodes[0].is_founder = true;
    for (uint32_t place = 0; place <= options->shards; place++)
        c->homes[place] = 1; /* What it begins with. */
    add(c, NODE_OPERATOR, "op", 1)->is_alive = true;
}

void cluster_fini(struct cluster *c)
{
    for (uint32_t i = 0; i < c->node_count; i++) {
        struct sim_node *node = &c->nodes[i];
        if (node->is_alive && node->role == NODE_GATEWAY)
            c->on_gateway_down(c->context, node);
        gateway_free(&node->gateway);
        join_free(&node->join);
        router_free(&node->router);
        if (node->kv != NULL)
            node->kv->ops->close(&node->kv);
    }
}

struct sim_node *cluster_router(struct cluster *c, uint32_t index)
{
    CHECK(index < c->options.routers);
    return &c->nodes[index];
}

struct sim_node *cluster_gateway(struct cluster *c, uint32_t index)
{
    CHECK(index < c->options.gateways);
    return &c->nodes[c->options.routers + index];
}

struct sim_node *cluster_operator(struct cluster *c)
{
    return &c->nodes[c->node_count - 1];
}

struct sim_node *cluster_find(struct cluster *c, struct slice id)
{
    for (uint32_t i = 0; i < c->node_count; i++)
        if (slice_equals(id, c->nodes[i].id))
            return &c->nodes[i];
    return NULL;
}
