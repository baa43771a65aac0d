/* What goes wrong, one by one. */
#include "mesh/base/mem.h"
#include "tests/sim/groups.h"
#include "tests/sim/plan_private.h"

/* Each seed has some of these, and each so often. */
enum fault {
    FAULT_CRASH,
    FAULT_CUT_CLIENT,
    FAULT_CUT_LINK,
    FAULT_DISK,
    FAULT_SLOW_DISK,
    FAULT_STORM,
    FAULT_DRAIN,
    FAULT_LEASE,
    FAULT_STOP,
    FAULT_COUNT_ALONE, /* The others are of several routers. */
    FAULT_PARTITION = FAULT_COUNT_ALONE,
    FAULT_CUT_LEADER,
    FAULT_STALE,
    FAULT_CRASH_MANY,
    FAULT_LONG_CRASH,
    FAULT_WIPE,
    FAULT_HAND_OVER,
    FAULT_ROLLING,
    FAULT_TAKE_OUT,
    FAULT_REST,
    FAULT_COUNT,
};

void faults_restart(struct run *run, struct sim_node *node)
{
    if (!node->is_alive && node->is_expected && !node->is_removed)
        cluster_start(&run->cluster, node);
}

static void restart(void *context, uint64_t index)
{
    struct run *run = context;
    faults_restart(run, &run->cluster.nodes[index]);
}

void faults_restart_within(struct run *run, const struct sim_node *node, uint64_t most_us)
{
    world_after(&run->world, world_between(&run->world, 10000, most_us), restart, run, node->index);
}

static void bounce(void *context, uint64_t index)
{
    struct run *run = context;
    struct sim_node *node = &run->cluster.nodes[index];
    if (!node->is_alive || run->is_healing)
        return;
    cluster_crash(&run->cluster, node);
    faults_restart_within(run, node, 30000);
}

void faults_bounce_after(struct run *run, const struct sim_node *node, uint64_t us)
{
    world_after(&run->world, us, bounce, run, node->index);
}

void faults_hold_answers(struct run *run, const char *router)
{
    struct cluster *c = &run->cluster;
    struct sim_node *from = cluster_find(c, slice_string(router));
    uint64_t us = world_between(&run->world, 50000, 400000);
    if (run->is_healing || world_chance(&run->world, 0.5))
        return;
    for (uint32_t i = 0; i < c->options.gateways; i++)
        cluster_cut(c, from, cluster_gateway(c, i), 1u << CHANNEL_REQUEST, us, true);
}

void faults_in_parts(struct run *run, const char *router)
{
    struct world *world = &run->world;
    const struct sim_node *node = cluster_find(&run->cluster, slice_string(router));
    if (world_chance(world, 0.5))
        faults_bounce_after(run, node, world_between(world, 100, 10000));
}

struct sim_node *faults_router(struct run *run)
{
    uint32_t count = run->cluster.options.routers;
    uint32_t first = (uint32_t)world_between(&run->world, 0, count - 1);
    for (uint32_t i = 0; i < count; i++) {
        struct sim_node *node = cluster_router(&run->cluster, (first + i) % count);
        if (node->is_alive)
            return node;
    }
    return NULL;
}

/* ---- Crashes ---- */

static void crash(struct run *run)
{
    struct cluster *c = &run->cluster;
    uint64_t index = world_between(&run->world, 0, c->node_count - 2); /* Not the operator. */
    struct sim_node *node = &c->nodes[index];
    if (!node->is_alive)
        return;
    bool is_quick = world_chance(&run->world, 0.2);
    /* What the gateway asked arrives when the next process of its name is there already. */
    if (is_quick && node->role == NODE_GATEWAY) {
        uint64_t us = world_between(&run->world, 300000, 2000000);
        for (uint32_t i = 0; i < c->options.routers; i++)
            cluster_cut(c, node, cluster_router(c, i), CHANNEL_BOTH, us, true);
    }
    cluster_crash(c, node);
    faults_restart_within(run, node, is_quick ? 300000 : 4000000);
}

/* Most of the routers at once, or all. */
static void crash_many(struct run *run)
{
    struct world *world = &run->world;
    double share = world_chance(world, 0.5) ? 1 : 0.6;
    for (uint32_t i = 0; i < run->cluster.options.routers; i++) {
        struct sim_node *router = cluster_router(&run->cluster, i);
        if (!router->is_alive || !world_chance(world, share))
            continue;
        cluster_crash(&run->cluster, router);
        faults_restart_within(run, router, 3000000);
    }
}

static void crash_long(struct run *run)
{
    struct sim_node *router = faults_router(run);
    if (router == NULL)
        return;
    cluster_crash(&run->cluster, router);
    faults_restart_within(run, router, 20000000);
}

/* It comes back with nothing: only where every group can do without what it had. Judged when it has
 * been down for a second: until then a leader may take it for alive and make it a voter. */
static void wipe_dead(void *context, uint64_t index)
{
    struct run *run = context;
    struct sim_node *router = cluster_router(&run->cluster, (uint32_t)index);
    if (router->is_alive || router->kv == NULL || run->is_healing)
        return; /* Started or removed meanwhile. */
    if (groups_may_lose(&run->cluster, router))
        cluster_wipe(&run->cluster, router);
    faults_restart_within(run, router, 5000000);
}

static void wipe(struct run *run)
{
    struct sim_node *router = faults_router(run);
    if (router == NULL || router->is_leaving)
        return;
    cluster_crash(&run->cluster, router);
    world_after(&run->world, 1000000, wipe_dead, run, router->index);
}

/* What one voter lost must not be what another, who knows less, gets its vote by: `behind` is cut
 * off for a while, `lost` dies and is wiped, and when `behind` is back all others are down. */
struct forgetting {
    struct run *run;
    struct sim_node *lost, *behind;
};

static void forget(void *context, uint64_t argument)
{
    (void)argument;
    const struct forgetting *forgetting = context;
    struct run *run = forgetting->run;
    struct sim_node *lost = forgetting->lost;
    if (lost->is_alive || run->is_healing)
        return;
    if (groups_may_lose(&run->cluster, lost))
        cluster_wipe(&run->cluster, lost);
    faults_restart_within(run, lost, 300000);
    for (uint32_t i = 0; i < run->cluster.options.routers; i++) {
        struct sim_node *other = cluster_router(&run->cluster, i);
        if (other == lost || other == forgetting->behind || !other->is_alive)
            continue;
        cluster_crash(&run->cluster, other);
        faults_restart_within(run, other, 6000000);
    }
}

static void lose(void *context, uint64_t argument)
{
    (void)argument;
    const struct forgetting *forgetting = context;
    if (!forgetting->lost->is_alive || forgetting->lost->is_leaving || forgetting->run->is_healing)
        return;
    struct forgetting *next = mem_new(struct forgetting);
    *next = *forgetting;
    cluster_crash(&forgetting->run->cluster, forgetting->lost);
    world_carry(&forgetting->run->world, 1000000, forget, next, mem_free);
}

static void wipe_and_forget(struct run *run)
{
    struct cluster *c = &run->cluster;
    struct forgetting *forgetting = mem_new(struct forgetting);
    *forgetting =
        (struct forgetting){.run = run, .lost = faults_router(run), .behind = faults_router(run)};
    for (uint32_t i = 0; i < c->options.routers && forgetting->behind != NULL; i++) {
        struct sim_node *other = cluster_router(c, i);
        if (other == forgetting->behind)
            continue;
        cluster_cut(c, other, forgetting->behind, CHANNEL_BOTH, 1500000, false);
        cluster_cut(c, forgetting->behind, other, CHANNEL_BOTH, 1500000, false);
    }
    if (forgetting->lost != NULL && forgetting->lost != forgetting->behind)
        world_carry(&run->world, 500000, lose, forgetting, mem_free);
    else
        mem_free(forgetting);
}

/* A router again and again, each time just started. */
static void storm_of(struct run *run, uint64_t more, uint32_t index);

static void storm(void *context, uint64_t argument)
{
    storm_of(context, argument & 255, (uint32_t)(argument >> 8));
}

static void storm_of(struct run *run, uint64_t more, uint32_t index)
{
    struct sim_node *router = cluster_router(&run->cluster, index);
    if (run->is_healing)
        return;
    faults_restart(run, router);
    if (more == 0)
        return;
    world_after(&run->world, world_between(&run->world, 0, 50000), storm, run,
                (more - 1) | (uint64_t)index << 8);
    if (router->is_alive && world_chance(&run->world, 0.8))
        cluster_crash(&run->cluster, router);
}

/* ---- Ends in order ---- */

/* A process that is ending: for so long it may go on. */
struct ending {
    struct run *run;
    struct sim_node *node;
    uint64_t incarnation;
    uint64_t until_us;
    bool is_rolling; /* Then the next router. */
};

static void begin_ending(struct run *run, struct sim_node *node, uint64_t us, bool is_rolling,
                         void (*next)(void *context, uint64_t argument), uint64_t next_us)
{
    struct ending *ending = mem_new(struct ending);
    *ending = (struct ending){.run = run,
                              .node = node,
                              .incarnation = node->incarnation,
                              .until_us = run->world.now_us + us,
                              .is_rolling = is_rolling};
    world_carry(&run->world, next_us, next, ending, mem_free);
}

static bool is_over(const struct ending *ending)
{
    return !ending->node->is_alive || ending->node->incarnation != ending->incarnation;
}

/* Its time is over: nobody may be left, and it goes as a process does that ended in order. */
static void end_drain(void *context, uint64_t argument)
{
    (void)argument;
    const struct ending *drain = context;
    struct sim_node *gateway = drain->node;
    if (is_over(drain))
        return;
    if (!gateway_is_drained(gateway->gateway))
        world_violation(&drain->run->world, "C11: %s was to drain and has %lu connections left",
                        gateway->id, gateway_health(gateway->gateway).connections);
    cluster_crash(&drain->run->cluster, gateway);
    faults_restart_within(drain->run, gateway, 2000000);
}

static void begin_drain(struct run *run)
{
    struct world *world = &run->world;
    struct sim_node *gateway = cluster_gateway(
        &run->cluster, (uint32_t)world_between(world, 0, run->cluster.options.gateways - 1));
    if (!gateway->is_alive || gateway->is_draining)
        return;
    gateway->is_draining = true;
    uint32_t drain_ms = (uint32_t)world_between(world, 0, 2000);
    world_note(world, "%s drains for %u ms", gateway->id, drain_ms);
    run->drains++;
    gateway_drain(gateway->gateway, drain_ms);
    cluster_wake(gateway);
    begin_ending(run, gateway, 0, false, end_drain, (drain_ms + 400) * UINT64_C(1000));
}

static void hand_over(struct run *run, struct sim_node *router, bool is_rolling);

static void roll_on(void *context, uint64_t index)
{
    struct run *run = context;
    if (!run->is_healing && index < run->cluster.options.routers)
        hand_over(run, cluster_router(&run->cluster, (uint32_t)index), true);
}

static void roll_soon(struct run *run, const struct sim_node *router)
{
    world_after(&run->world, world_between(&run->world, 500000, 3000000), roll_on, run,
                router->index + 1);
}

static void end_hand_over(void *context, uint64_t argument)
{
    (void)argument;
    const struct ending *ending = context;
    struct run *run = ending->run;
    if (!is_over(ending)) {
        bool is_drained = router_is_drained(ending->node->router);
        if (!is_drained && run->world.now_us < ending->until_us) {
            begin_ending(run, ending->node, ending->until_us - run->world.now_us,
                         ending->is_rolling, end_hand_over, 20000);
            return;
        }
        run->hand_overs += is_drained;
        cluster_crash(&run->cluster, ending->node);
        faults_restart_within(run, ending->node, 1000000);
    }
    if (ending->is_rolling)
        roll_soon(run, ending->node);
}

/* As SIGTERM: leadership goes to others, then the process ends. */
static void hand_over(struct run *run, struct sim_node *router, bool is_rolling)
{
    if (!router->is_alive || router->router == NULL || router->is_draining) {
        if (is_rolling)
            roll_soon(run, router);
        return;
    }
    world_note(&run->world, "%s hands over", router->id);
    router->is_draining = true;
    router_drain(router->router);
    cluster_wake(router);
    begin_ending(run, router, 3000000, is_rolling, end_hand_over, 20000);
}

/* ---- Taken out as it comes in ---- */

/* It does not hear any more that groups count it, and what it said of itself is from before. */
static void hush(struct run *run, struct sim_node *router)
{
    struct cluster *c = &run->cluster;
    uint64_t us = world_between(&run->world, 300000, 2000000);
    if (world_chance(&run->world, 0.5)) {
        cluster_stop(c, router, us);
        return;
    }
    for (uint32_t i = 0; i < c->options.routers; i++) {
        struct sim_node *other = cluster_router(c, i);
        if (other == router)
            continue;
        cluster_cut(c, other, router, CHANNEL_BOTH, us, false);
        cluster_cut(c, router, other, CHANNEL_BOTH, us, false);
    }
}

static void pounce(void *context, uint64_t index)
{
    struct run *run = context;
    struct sim_node *router = cluster_router(&run->cluster, (uint32_t)index);
    if (!router->is_alive || run->is_healing)
        return;
    hush(run, router);
    steward_take_out(&run->steward, router, true);
}

void faults_on_voters(struct run *run, uint32_t voters)
{
    struct world *world = &run->world;
    uint32_t newcomers = voters & ~run->voters;
    run->voters |= voters;
    if ((run->faults >> FAULT_TAKE_OUT & 1) == 0)
        return;
    for (uint32_t i = 0; i < run->cluster.options.routers; i++)
        if ((newcomers >> i & 1) != 0 && world_chance(world, 0.3))
            world_after(world, world_between(world, 0, 100000), pounce, run, i);
}

/* ---- Any of them ---- */

static void strike_router(struct run *run, enum fault fault)
{
    struct world *world = &run->world;
    struct sim_node *router = faults_router(run);
    if (router == NULL)
        return;
    switch (fault) {
    case FAULT_DISK:
        cluster_break_disk(&run->cluster, router, world_chance(world, 0.5),
                           (uint32_t)world_between(world, 0, 30));
        return;
    case FAULT_SLOW_DISK:
        cluster_slow_disk(&run->cluster, router, world_between(world, 500000, 3000000));
        return;
    case FAULT_STOP:
        cluster_stop(&run->cluster, router, world_between(world, 50000, 3000000));
        return;
    case FAULT_STORM:
        storm_of(run, world_between(world, 2, 6), router->index);
        return;
    case FAULT_HAND_OVER:
        hand_over(run, router, false);
        return;
    case FAULT_TAKE_OUT:
        steward_take_out(&run->steward, router, false);
        return;
    default:
        steward_rest(&run->steward, router, world_between(world, 500000, 5000000));
        return;
    }
}

static void strike(struct run *run, enum fault fault)
{
    switch (fault) {
    case FAULT_CRASH:
        crash(run);
        return;
    case FAULT_CUT_CLIENT:
        people_cut_one(run->people);
        return;
    case FAULT_CUT_LINK:
        partition_link(run);
        return;
    case FAULT_DRAIN:
        begin_drain(run);
        return;
    case FAULT_LEASE:
        partition_lapse(run);
        return;
    case FAULT_PARTITION:
        partition_cluster(run);
        return;
    case FAULT_CUT_LEADER:
        partition_leader(run);
        return;
    case FAULT_STALE:
        partition_stale(run);
        return;
    case FAULT_CRASH_MANY:
        crash_many(run);
        return;
    case FAULT_LONG_CRASH:
        crash_long(run);
        return;
    case FAULT_WIPE:
        if (world_chance(&run->world, 0.5))
            wipe(run);
        else
            wipe_and_forget(run);
        return;
    case FAULT_ROLLING:
        roll_on(run, 0);
        return;
    default:
        strike_router(run, fault);
        return;
    }
}

static void next_fault(void *context, uint64_t argument)
{
    (void)argument;
    struct run *run = context;
    struct world *world = &run->world;
    if (run->is_healing)
        return;
    uint32_t count = run->cluster.options.routers > 1 ? FAULT_COUNT : FAULT_COUNT_ALONE;
    uint32_t fault = (uint32_t)world_between(world, 0, count - 1);
    for (uint32_t i = 0; i < count && (run->faults >> fault & 1) == 0; i++)
        fault = (fault + 1) % count;
    strike(run, (enum fault)fault);
    world_after(world, world_between(world, 5000, run->pause_us_max), next_fault, run, 0);
}

void faults_begin(struct run *run)
{
    struct world *world = &run->world;
    run->faults =
        (unsigned)world_random(world) | 1u << world_between(world, 0, FAULT_COUNT_ALONE - 1);
    if (run->cluster.options.routers > 1 && world_chance(world, 0.3))
        run->faults |= 1u << FAULT_STALE;
    /* Elections take their time: several routers get some rest, or they would never do anything. */
    run->pause_us_max = world_between(world, 100000, 1000000);
    if (run->cluster.options.routers > 1)
        run->pause_us_max *= world_between(world, 1, 3);
    world_after(world, world_between(world, 200000, 2000000), next_fault, run, 0);
}
