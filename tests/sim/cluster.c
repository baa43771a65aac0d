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
    bool is_late; /* It waited for a process that was stopped. */
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
    mem_kv_complete_sync(node->disk);
    cluster_wake(node);
}

/* False: it failed, and its process is gone. */
static bool turn_router(struct sim_node *node)
{
    struct cluster *c = node->cluster;
    bool was_syncing = mem_kv_sync_is_pending(node->disk);
    router_turn(node->router);
    if (router_is_failed(node->router)) {
        if (!node->disk_fails)
            world_violation(c->world, "router %s failed without a disk fault", node->id);
        world_note(c->world, "%s ends itself: its disk failed", node->id);
        c->disk_failures++;
        cluster_crash(c, node);
        c->on_disk_failed(c->disk_context, node);
        return false;
    }
    if (!was_syncing && mem_kv_sync_is_pending(node->disk))
        world_after(c->world, world_between(c->world, 50, c->faults.sync_us_max), sync_done, node,
                    node->incarnation);
    return true;
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
    uint64_t due;
    if (node->role == NODE_ROUTER) {
        if (!turn_router(node))
            return;
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

static const char *message_name(uint32_t number)
{
    switch (number) {
#define M(x, X, n)                                                                                 \
    case n:                                                                                        \
        return #x;
        MESSAGES(M)
#undef M
    default:
        return "?";
    }
}

/* For the reader of a story: what is in a packet. */
static void note_packet(const struct flight *flight, const struct packet *packet)
{
    struct world *world = flight->to->cluster->world;
    if (!world->verbose)
        return;
    char names[160] = "";
    size_t size = 0;
    struct record_reader r = packet->messages;
    uint32_t number;
    while (size < sizeof(names) - 24 && !record_reader_at_end(&r) &&
           record_peek(&r, &number) == RC_OK && record_skip(&r) == RC_OK)
        size += (size_t)snprintf(names + size, sizeof(names) - size, " %s", message_name(number));
    world_note(world, "%s -> %s:%s", flight->from->id, flight->to->id, names);
}

static void flight_drop(void *thing)
{
    struct flight *flight = thing;
    buf_unref(&flight->packet);
    mem_free(flight);
}

static void arrive(void *context, uint64_t argument);

/* It waits in the socket of the stopped process, behind those that came before. */
static void arrive_later(struct flight *flight)
{
    struct world *world = flight->to->cluster->world;
    struct flight *late = mem_new(struct flight);
    *late = *flight;
    late->is_late = true;
    flight->packet = NULL; /* Handed over. */
    world_carry(world, flight->to->stopped_until_us - world->now_us, arrive, late, flight_drop);
}

static void arrive(void *context, uint64_t argument)
{
    (void)argument;
    struct flight *flight = context;
    struct sim_node *to = flight->to;
    if (flight->to->cluster->world->now_us <= to->stopped_until_us && !flight->is_late) {
        arrive_later(flight);
        return;
    }
    const struct sim_node *sender = flight->from;
    bool is_said = sender->is_alive && sender->incarnation == flight->from_incarnation;
    /* What a process said before it was killed may still be in the kernel's hands. */
    is_said = is_said || sender->last_words == flight->from_incarnation;
    if (to->is_alive && to->incarnation == flight->to_incarnation && is_said) {
        struct packet packet;
        enum rc rc = packet_decode(buf_slice(flight->packet), &packet);
        CHECK(rc == RC_OK);
        struct slice from = slice_string(flight->from->id);
        note_packet(flight, &packet);
        if (flight->is_published)
            to->handler.on_publish(to->handler.context, from, &packet);
        else
            to->handler.on_request(to->handler.context, from, &packet);
        cluster_wake(to);
    }
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
    const struct sim_node *gateway = from->role == NODE_GATEWAY ? from : to;
    enum sim_channel channel = from->role == NODE_GATEWAY ? CHANNEL_UP
                               : is_published             ? CHANNEL_PUBLISH
                                                          : CHANNEL_DOWN;
    const struct sim_cut *cut = &gateway->cuts[channel];
    if (c->world->now_us < cut->until_us && !cut->holds) {
        c->losses++;
        return RC_OK;
    }
    uint64_t at = c->world->now_us < cut->until_us ? cut->until_us : c->world->now_us;
    at += world_between(c->world, 30, 600);
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
    bool is_rumour; /* Said of one who lives. */
};

static void tell(void *context, uint64_t argument)
{
    (void)argument;
    struct news *news = context;
    struct sim_node *to = news->to;
    if (news->is_rumour && !news->up && !to->cluster->faults.on)
        return;
    bool is_current = news->about->incarnation == news->about_incarnation &&
                      (news->is_rumour ? news->about->is_alive : news->about->is_alive == news->up);
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

static void say(struct cluster *c, struct sim_node *to, struct sim_node *about, bool up,
                bool is_rumour, uint64_t delay_us)
{
    struct news *news = mem_new(struct news);
    *news = (struct news){.to = to,
                          .about = about,
                          .to_incarnation = to->incarnation,
                          .about_incarnation = about->incarnation,
                          .up = up,
                          .is_rumour = is_rumour};
    world_carry(c->world, delay_us, tell, news, mem_free);
}

static void spread(struct cluster *c, struct sim_node *to, struct sim_node *about, bool up)
{
    say(c, to, about, up, false,
        up ? world_between(c->world, 1000, 600000) : world_between(c->world, 2500000, 3000000));
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

/* ---- Faults ---- */

void cluster_cut(struct cluster *c, struct sim_node *gateway, unsigned channels, uint64_t us,
                 bool holds, bool is_heard_of)
{
    CHECK(gateway->role == NODE_GATEWAY);
    world_note(c->world, "%s: channels %u are %s for %.1f s", gateway->id, channels,
               holds ? "stalled" : "cut", (double)us / 1e6);
    c->cuts++;
    c->stalls += holds;
    for (unsigned i = 0; i < CHANNEL_COUNT; i++)
        if ((channels >> i & 1) != 0)
            gateway->cuts[i] = (struct sim_cut){.until_us = c->world->now_us + us, .holds = holds};
    if (!is_heard_of)
        return;
    say(c, gateway, cluster_router(c), false, true, us / 2);
    say(c, gateway, cluster_router(c), true, true, us + world_between(c->world, 1000, 600000));
}

void cluster_stop(struct cluster *c, uint64_t us)
{
    struct sim_node *router = cluster_router(c);
    if (!router->is_alive || c->world->now_us <= router->stopped_until_us)
        return;
    world_note(c->world, "%s stands still for %.1f s", router->id, (double)us / 1e6);
    router->stopped_until_us = c->world->now_us + us;
}

void cluster_break_disk(struct cluster *c, bool at_write, uint32_t countdown)
{
    struct sim_node *router = cluster_router(c);
    if (!router->is_alive || router->disk_fails)
        return;
    world_note(c->world, "%s: its disk fails after %u more %s", router->id, countdown,
               at_write ? "writes" : "syncs");
    router->disk_fails = true;
    if (at_write)
        mem_kv_fail_write(router->disk, countdown, RC_IO);
    else
        mem_kv_fail_sync(router->disk, countdown, RC_IO);
}

void cluster_heal(struct cluster *c)
{
    c->faults.on = false;
    c->faults.sync_us_max = 500;
    for (uint32_t i = 0; i < c->node_count; i++) {
        struct sim_node *node = &c->nodes[i];
        memset(node->cuts, 0, sizeof(node->cuts));
        if (node->is_alive && node->disk_fails)
            cluster_crash(c, node); /* It is replaced before it fails by itself. */
        if (node->role == NODE_GATEWAY && cluster_router(c)->is_alive)
            say(c, node, cluster_router(c), true, true, world_between(c->world, 1000, 600000));
    }
}

/* ---- Life ---- */

static void start_router(struct cluster *c, struct sim_node *node)
{
    struct router_options options = {
        .node = node->id,
        .incarnation = node->incarnation,
        .shards = c->shards,
        .resume_count_max = c->limits.resume_count_max,
        .queue_bytes_max = c->limits.queue_bytes_max,
        .truncate_count = c->limits.truncate_count,
    };
    memcpy(options.cluster, c->cluster_id, sizeof(options.cluster));
    if (node->kv == NULL) {
        node->disk = mem_kv_new();
        node->kv = tap_new(node->disk, &c->listener);
    }
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
    options.outbox_bytes_max = c->limits.outbox_bytes_max;
    options.request_ms = c->limits.request_ms;
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
    node->is_draining = false;
    node->stopped_until_us = 0;
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
    if (world_chance(c->world, 0.5))
        node->last_words = node->incarnation;
    for (uint32_t i = 0; i < c->node_count; i++) /* A new connection does not wait for the old. */
        memset(c->nodes[i].last_delivery_us[node->index], 0,
               sizeof(c->nodes[i].last_delivery_us[node->index]));
    if (node->role == NODE_ROUTER) {
        router_free(&node->router);
        mem_kv_crash(node->disk, world_between(c->world, 0, mem_kv_unsynced(node->disk)));
        node->disk_fails = false;
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
    /* Tiny, so that gaps happen, the log is truncated all the time and clients fall behind. */
    c->limits = (struct cluster_limits){
        .resume_count_max = (uint32_t)world_between(world, 3, 60),
        .queue_bytes_max = world_chance(world, 0.3) ? (uint32_t)world_between(world, 300, 4000)
                                                    : LIMIT_SHARD_QUEUE_BYTES,
        .truncate_count = (uint32_t)world_between(world, 1, 24),
        .outbox_bytes_max = (uint32_t)world_between(world, 3000, 20000),
        .request_ms = (uint32_t)world_between(world, 300, 5000)};
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
