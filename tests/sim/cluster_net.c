/* Packets on their way, and what discovery tells. */
#include <stdio.h>
#include <string.h>

#include "mesh/base/check.h"
#include "mesh/base/mem.h"
#include "tests/sim/cluster_private.h"

#define SHORT_US 1000000u /* What is held for less is there soon after all healed. */

/* ---- Packets ---- */

struct flight {
    struct sim_node *to;
    struct sim_node *from;
    uint64_t to_incarnation, from_incarnation;
    bool is_published;
    bool is_late; /* It waited for a process that was stopped. */
    struct buf *packet;
};

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
    if (to->cluster->world->now_us <= to->stopped_until_us && !flight->is_late) {
        arrive_later(flight);
        return;
    }
    const struct sim_node *sender = flight->from;
    bool is_said = sender->is_alive && sender->incarnation == flight->from_incarnation;
    /* What a process said before it was killed may still be in the kernel's hands. */
    is_said = is_said || sender->last_words == flight->from_incarnation;
    if (!to->is_alive || to->incarnation != flight->to_incarnation || !is_said)
        return;
    struct packet packet;
    enum rc rc = packet_decode(buf_slice(flight->packet), &packet);
    CHECK(rc == RC_OK);
    struct slice from = slice_string(flight->from->id);
    note_packet(flight, &packet);
    to->cluster->world->speaker = to->id;
    env_refresh(&to->env); /* As the bus does. */
    if (flight->is_published)
        to->handler.on_publish(to->handler.context, from, &packet);
    else
        to->handler.on_request(to->handler.context, from, &packet);
    cluster_wake(to);
}

static bool is_lost(struct cluster *c, const struct sim_node *from, const struct sim_node *to,
                    bool is_published)
{
    const struct sim_way *way = &to->ways[from->index][is_published];
    bool is_cut = c->world->now_us < way->cut_until_us && !way->holds;
    return is_cut ||
           (is_published && c->faults.on && world_chance(c->world, c->faults.publish_loss));
}

/* When what is sent now arrives. */
static uint64_t arrival_us(struct cluster *c, struct sim_way *way)
{
    uint64_t at = c->world->now_us < way->cut_until_us ? way->cut_until_us : c->world->now_us;
    at += world_between(c->world, 30, 600);
    if (c->faults.on && world_chance(c->world, c->faults.slow_packet))
        at += world_between(c->world, 1000, 100000);
    if (at < way->last_us)
        at = way->last_us;
    way->last_us = at;
    return at;
}

static enum rc carry(struct bus *bus, struct slice id, struct buf *packet, bool is_published)
{
    struct sim_node *from =
        (struct sim_node *)(void *)((char *)bus - offsetof(struct sim_node, bus));
    struct cluster *c = from->cluster;
    struct sim_node *to = cluster_find(c, id);
    if (to == NULL || !to->is_alive)
        return is_published ? RC_OK : RC_NOT_FOUND;
    if (from->role == NODE_ROUTER && to->role == NODE_ROUTER && c->faults.on &&
        world_chance(c->world, c->faults.full_queue)) {
        c->losses++;
        return RC_FULL;
    }
    if (is_lost(c, from, to, is_published)) {
        c->losses++;
        return RC_OK;
    }
    struct flight *flight = mem_new(struct flight);
    flight->to = to;
    flight->from = from;
    flight->to_incarnation = to->incarnation;
    flight->from_incarnation = from->incarnation;
    flight->is_published = is_published;
    /* A copy: what the sender does with his buf afterwards is his. */
    flight->packet = buf_new(packet->size);
    buf_append(flight->packet, packet->bytes, packet->size);
    uint64_t at = arrival_us(c, &to->ways[from->index][is_published]);
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

struct bus cluster_bus(void)
{
    return (struct bus){.send = sim_send, .publish = sim_publish};
}

void cluster_reset_ways(struct cluster *c, const struct sim_node *node)
{
    for (uint32_t i = 0; i < c->node_count; i++)
        for (uint32_t channel = 0; channel < CHANNEL_COUNT; channel++)
            c->nodes[i].ways[node->index][channel].last_us = 0;
}

void cluster_cut(struct cluster *c, struct sim_node *from, struct sim_node *to, unsigned channels,
                 uint64_t us, bool holds)
{
    CHECK(from != to);
    world_note(c->world, "%s -> %s: channels %u are %s for %.1f s", from->id, to->id, channels,
               holds ? "stalled" : "cut", (double)us / 1e6);
    c->stalls += holds && us > SHORT_US;
    for (uint32_t i = 0; i < CHANNEL_COUNT; i++) {
        struct sim_way *way = &to->ways[from->index][i];
        if ((channels >> i & 1) == 0)
            continue;
        way->cut_until_us = c->world->now_us + us;
        way->holds = holds;
    }
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
    if (!to->is_alive || to->incarnation != news->to_incarnation || !is_current)
        return;
    struct msg_node node = {
        .id = slice_string(news->about->id),
        .role = news->about->role,
        .version = MESSAGES_VERSION,
        .incarnation = news->about->incarnation,
        .cluster = slice_of(to->cluster->cluster_id, 16),
    };
    to->cluster->world->speaker = to->id;
    to->handler.on_peer(to->handler.context, &node, news->up);
    cluster_wake(to);
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

static uint64_t news_delay_us(struct cluster *c, bool up)
{
    if (!up)
        return world_between(c->world, 2500000, 3000000);
    return world_between(c->world, 1000, world_chance(c->world, 0.5) ? 20000 : 600000);
}

/* Gateways have nothing to say to each other, and the operator comes and goes. */
static bool are_peers(const struct sim_node *a, const struct sim_node *b)
{
    if (a == b || a->role == NODE_OPERATOR || b->role == NODE_OPERATOR)
        return false;
    return a->role == NODE_ROUTER || b->role == NODE_ROUTER;
}

void cluster_spread(struct cluster *c, struct sim_node *node, bool up)
{
    for (uint32_t i = 0; i < c->node_count; i++) {
        struct sim_node *other = &c->nodes[i];
        if (!are_peers(other, node) || !other->is_alive)
            continue;
        say(c, other, node, up, false, news_delay_us(c, up));
        if (up)
            say(c, node, other, up, false, news_delay_us(c, up));
    }
}

void cluster_rumour(struct cluster *c, struct sim_node *to, struct sim_node *about,
                    uint64_t down_after_us, uint64_t up_after_us)
{
    if (!are_peers(to, about))
        return;
    say(c, to, about, false, true, down_after_us);
    say(c, to, about, true, true, up_after_us);
}

static void heal_ways(struct cluster *c, struct sim_node *to)
{
    for (uint32_t i = 0; i < c->node_count; i++) {
        struct sim_node *from = &c->nodes[i];
        for (uint32_t channel = 0; channel < CHANNEL_COUNT; channel++)
            to->ways[i][channel].cut_until_us = 0;
        if (are_peers(to, from) && from->is_alive)
            say(c, to, from, true, true, news_delay_us(c, true));
    }
}

void cluster_heal(struct cluster *c)
{
    c->faults.on = false;
    c->faults.sync_us_max = 500;
    for (uint32_t i = 0; i < c->node_count; i++) {
        struct sim_node *node = &c->nodes[i];
        node->slow_until_us = 0;
        if (node->is_alive && node->disk_fails)
            cluster_crash(c, node); /* It is replaced before it fails by itself. */
    }
    for (uint32_t i = 0; i < c->node_count; i++)
        heal_ways(c, &c->nodes[i]);
}
