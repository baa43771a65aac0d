/* The network comes apart: ways between nodes are cut or stalled, and discovery hears of it or not.
 */
#include "mesh/base/mem.h"
#include "mesh/wire/key.h"
#include "tests/sim/groups.h"
#include "tests/sim/plan_private.h"

/* Discovery gives a node up after 2.5 s. */
#define HEARD_OF_US 2500000u

/* By then another leader may have promised something. */
#define ASK_FIRST_US 900000u
#define ASK_AGAIN_US 150000u

struct cut {
    uint64_t us;
    bool holds;
    bool is_heard_of;
};

static struct cut draw(struct world *world, uint64_t us_max)
{
    struct cut cut = {.us = world_chance(world, 0.5) ? world_between(world, 100000, 3000000)
                                                     : world_between(world, 1000000, us_max),
                      .holds = world_chance(world, 0.4)};
    if (cut.holds && cut.us > 8000000)
        cut.us = 8000000;
    cut.is_heard_of = cut.us > HEARD_OF_US && world_chance(world, 0.5);
    return cut;
}

static void hear_of(struct run *run, const struct cut *cut, struct sim_node *to,
                    struct sim_node *about)
{
    struct world *world = &run->world;
    uint64_t down_after_us = world_between(world, cut->us / 2, cut->us);
    cluster_rumour(&run->cluster, to, about, down_after_us,
                   cut->us + world_between(world, 1000, 600000));
}

static void cut_way(struct run *run, const struct cut *cut, struct sim_node *from,
                    struct sim_node *to)
{
    cluster_cut(&run->cluster, from, to, CHANNEL_BOTH, cut->us, cut->holds);
    if (cut->is_heard_of)
        hear_of(run, cut, to, from);
}

static struct sim_node *draw_gateway(struct run *run)
{
    return cluster_gateway(
        &run->cluster, (uint32_t)world_between(&run->world, 0, run->cluster.options.gateways - 1));
}

/* What a gateway and a router say to each other, by direction. */
enum side { SIDE_UP = 1, SIDE_DOWN = 2, SIDE_PUBLISH = 4 };

static void cut_link(struct run *run, const struct cut *cut, unsigned sides,
                     struct sim_node *gateway, struct sim_node *router)
{
    struct cluster *c = &run->cluster;
    unsigned down = ((sides & SIDE_DOWN) != 0 ? 1u << CHANNEL_REQUEST : 0) |
                    ((sides & SIDE_PUBLISH) != 0 ? 1u << CHANNEL_PUBLISH : 0);
    if ((sides & SIDE_UP) != 0)
        cluster_cut(c, gateway, router, 1u << CHANNEL_REQUEST, cut->us, cut->holds);
    if (down != 0)
        cluster_cut(c, router, gateway, down, cut->us, cut->holds);
    if (cut->is_heard_of)
        hear_of(run, cut, gateway, router);
}

static void cut_links(struct run *run, const struct cut *cut, unsigned sides)
{
    struct cluster *c = &run->cluster;
    struct sim_node *gateway = draw_gateway(run);
    uint32_t only = (uint32_t)world_between(&run->world, 0, 2 * c->options.routers - 1);
    run->partitions++;
    for (uint32_t i = 0; i < c->options.routers; i++)
        if (only >= c->options.routers || only == i || c->options.routers == 1)
            cut_link(run, cut, sides, gateway, cluster_router(c, i));
}

void partition_link(struct run *run)
{
    static const unsigned ways[] = {SIDE_UP, SIDE_DOWN, SIDE_PUBLISH, SIDE_DOWN | SIDE_PUBLISH,
                                    SIDE_UP | SIDE_DOWN | SIDE_PUBLISH};
    struct cut cut = draw(&run->world, 20000000);
    cut_links(run, &cut, ways[world_between(&run->world, 0, 4)]);
}

/* Routers hear nothing of a gateway, which hears all of them, until just after its lease. */
void partition_lapse(struct run *run)
{
    uint64_t lease_us = LIMIT_GATEWAY_LEASE_MS * UINT64_C(1000);
    const struct cut cut = {.us =
                                world_between(&run->world, lease_us - 500000, lease_us + 1500000)};
    cut_links(run, &cut, SIDE_UP);
}

/* Mostly of the shard where the first group is, which everyone writes to and reads from. */
static struct sim_node *draw_leader(struct run *run)
{
    struct cluster *c = &run->cluster;
    uint32_t place = (uint32_t)world_between(&run->world, 0, c->options.shards);
    if (world_chance(&run->world, 0.6))
        place = key_conv_shard(c->cluster_id, c->options.shards, slice_string("group1"));
    return groups_leader(c, place);
}

/* Its clients still reach it, and it must not tell them what is no longer so. */
void partition_leader(struct run *run)
{
    struct cluster *c = &run->cluster;
    struct sim_node *leader = draw_leader(run);
    if (leader == NULL)
        return;
    const struct cut cut = draw(&run->world, 8000000);
    unsigned ways = (unsigned)world_between(&run->world, 1, 3);
    run->partitions++;
    for (uint32_t i = 0; i < c->options.routers; i++) {
        struct sim_node *other = cluster_router(c, i);
        if (other != leader && (ways & 1) != 0)
            cut_way(run, &cut, leader, other);
        if (other != leader && (ways & 2) != 0)
            cut_way(run, &cut, other, leader);
    }
}

/* What keeps a leader from hearing that it is none any more. */
enum stale {
    STALE_APART,      /* The other routers are out of reach. */
    STALE_LATE,       /* So they are, and their last answers come late. */
    STALE_RESTARTING, /* It reaches one of them, until that one forgets whom it followed. */
    STALE_STOPPED,    /* It is asleep. */
    STALE_COUNT,
};

struct cut_later {
    struct run *run;
    struct cut cut;
    struct sim_node *from, *to;
};

static void cut_now(void *thing, uint64_t argument)
{
    (void)argument;
    const struct cut_later *later = thing;
    if (!later->run->is_healing)
        cut_way(later->run, &later->cut, later->from, later->to);
}

static void cut_after(struct run *run, const struct cut *cut, struct sim_node *from,
                      struct sim_node *to, uint64_t us)
{
    struct cut_later *later = mem_new(struct cut_later);
    *later = (struct cut_later){.run = run, .cut = *cut, .from = from, .to = to};
    world_carry(&run->world, us, cut_now, later, mem_free);
}

static void stop_now(void *context, uint64_t index)
{
    struct run *run = context;
    if (!run->is_healing)
        cluster_stop(&run->cluster, &run->cluster.nodes[index],
                     world_between(&run->world, 1000000, 3000000));
}

static void ask_via(void *context, uint64_t index)
{
    struct run *run = context;
    people_ask_newest(run->people, &run->cluster.nodes[index]);
}

/* One gateway hears of nobody but this leader, and what is newest is asked for there all the while.
 */
static void keep_gateway(struct run *run, const struct cut *cut, const struct sim_node *leader)
{
    struct sim_node *gateway = draw_gateway(run);
    for (uint64_t us = ASK_FIRST_US; us < cut->us; us += ASK_AGAIN_US)
        world_after(&run->world, us, ask_via, run, gateway->index);
    for (uint32_t i = 0; i < run->cluster.options.routers; i++) {
        struct sim_node *other = cluster_router(&run->cluster, i);
        if (other == leader)
            continue;
        cut_way(run, cut, gateway, other);
        cut_way(run, cut, other, gateway);
    }
}

/* A leader loses touch with the others, and one gateway hears of nobody else: whoever is asked
 * through it must not be told what was so before another leader came. */
void partition_stale(struct run *run)
{
    struct world *world = &run->world;
    struct cluster *c = &run->cluster;
    struct sim_node *leader = draw_leader(run);
    if (leader == NULL)
        return;
    const struct cut cut = {.us = world_between(world, 1500000, 5000000)};
    enum stale stale = (enum stale)world_between(world, 0, STALE_COUNT - 1);
    const struct sim_node *helper =
        cluster_router(c, (uint32_t)world_between(world, 0, c->options.routers - 1));
    uint64_t silent_us = stale == STALE_LATE ? world_between(world, 20000, 250000) : 0;
    uint64_t late_us = silent_us + world_between(world, 50000, 400000);
    uint64_t bounce_us = world_between(world, 500000, 1500000);
    /* Else what others said while it slept is there before what it was asked then. */
    bool is_apart = stale != STALE_STOPPED || world_chance(world, 0.7);
    run->partitions++;
    keep_gateway(run, &cut, leader);
    for (uint32_t i = 0; i < c->options.routers && is_apart; i++) {
        struct sim_node *other = cluster_router(c, i);
        if (other == leader)
            continue;
        bool helps = stale == STALE_RESTARTING && other == helper;
        if (stale == STALE_LATE)
            cluster_cut(c, other, leader, CHANNEL_BOTH, late_us, true);
        cut_after(run, &cut, leader, other, helps ? bounce_us : silent_us);
        cut_after(run, &cut, other, leader,
                  helps                 ? bounce_us
                  : stale == STALE_LATE ? late_us
                                        : silent_us);
    }
    if (stale == STALE_STOPPED || (stale == STALE_LATE && world_chance(world, 0.7)))
        world_after(world, silent_us, stop_now, run, leader->index);
    if (stale == STALE_RESTARTING && helper != leader)
        faults_bounce_after(run, helper, bounce_us);
}

/* How the cluster comes apart. Each node is on one side or the other. */
enum split {
    SPLIT_ALL,     /* Routers and gateways. */
    SPLIT_ROUTERS, /* Gateways reach all routers. */
    SPLIT_BRIDGE,  /* The same, but for one router that reaches both sides. */
    SPLIT_LINKS,   /* Only gateways from routers. */
    SPLIT_COUNT,
};

static bool is_split(enum split split, const struct sim_node *a, const struct sim_node *b,
                     const struct sim_node *bridge)
{
    bool are_routers = a->role == NODE_ROUTER && b->role == NODE_ROUTER;
    if (a->role == NODE_OPERATOR || b->role == NODE_OPERATOR)
        return false;
    switch (split) {
    case SPLIT_ALL:
        return true;
    case SPLIT_ROUTERS:
        return are_routers;
    case SPLIT_BRIDGE:
        return are_routers && a != bridge && b != bridge;
    default:
        return a->role != b->role;
    }
}

void partition_cluster(struct run *run)
{
    struct world *world = &run->world;
    struct cluster *c = &run->cluster;
    enum split split = (enum split)world_between(world, 0, SPLIT_COUNT - 1);
    const struct cut cut = draw(world, 10000000);
    const struct sim_node *bridge =
        cluster_router(c, (uint32_t)world_between(world, 0, c->options.routers - 1));
    bool is_one_way = world_chance(world, 0.25);
    uint64_t sides = world_random(world);
    run->partitions++;
    for (uint32_t i = 0; i < c->node_count; i++)
        for (uint32_t k = 0; k < c->node_count; k++) {
            bool crosses = (sides >> i & 1) < (sides >> k & 1) ||
                           (!is_one_way && (sides >> i & 1) > (sides >> k & 1));
            if (crosses && is_split(split, &c->nodes[i], &c->nodes[k], bridge))
                cut_way(run, &cut, &c->nodes[i], &c->nodes[k]);
        }
}
