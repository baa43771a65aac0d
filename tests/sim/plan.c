#include "tests/sim/plan.h"

#include <string.h>

#include "mesh/base/limits.h"
#include "mesh/base/map.h"
#include "mesh/base/mem.h"
#include "tests/sim/people.h"

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
    FAULT_COUNT,
};

struct run {
    struct world world;
    struct cluster cluster;
    struct book book;
    struct people *people;
    unsigned faults; /* Bits by enum fault. */
    uint64_t pause_us_max;
    uint64_t sync_us_max; /* When no disk is slow. */
    bool is_healing;
};

static void restart(void *context, uint64_t node)
{
    struct run *run = context;
    if (!run->cluster.nodes[node].is_alive)
        cluster_start(&run->cluster, &run->cluster.nodes[node]);
}

static void restart_within(struct run *run, const struct sim_node *node, uint64_t most_us)
{
    world_after(&run->world, world_between(&run->world, 10000, most_us), restart, run, node->index);
}

static void on_disk_failed(void *context, struct sim_node *router)
{
    struct run *run = context;
    restart_within(run, router, 1000000);
}

/* ---- Faults ---- */

static void crash(struct run *run)
{
    uint64_t index = world_between(&run->world, 0, run->cluster.node_count - 1);
    struct sim_node *node = &run->cluster.nodes[index];
    if (!node->is_alive)
        return;
    bool is_quick = world_chance(&run->world, 0.2);
    /* What the gateway asked arrives when the next process of its name is there already. */
    if (is_quick && node->role == NODE_GATEWAY)
        cluster_cut(&run->cluster, node, 1u << CHANNEL_UP,
                    world_between(&run->world, 300000, 2000000), true, false);
    cluster_crash(&run->cluster, node);
    restart_within(run, node, is_quick ? 300000 : 4000000);
}

/* The router again and again, each time just started. */
static void storm(void *context, uint64_t more)
{
    struct run *run = context;
    struct sim_node *router = cluster_router(&run->cluster);
    if (run->is_healing)
        return;
    restart(run, router->index);
    if (more == 0)
        return;
    world_after(&run->world, world_between(&run->world, 0, 50000), storm, run, more - 1);
    if (world_chance(&run->world, 0.8))
        cluster_crash(&run->cluster, router);
}

static void cut_link(struct run *run)
{
    struct world *world = &run->world;
    struct sim_node *gateway = cluster_gateway(
        &run->cluster, (uint32_t)world_between(world, 0, run->cluster.gateway_count - 1));
    static const unsigned ways[] = {1u << CHANNEL_UP, 1u << CHANNEL_DOWN, 1u << CHANNEL_PUBLISH,
                                    1u << CHANNEL_DOWN | 1u << CHANNEL_PUBLISH,
                                    (1u << CHANNEL_COUNT) - 1};
    uint64_t us = world_chance(world, 0.5) ? world_between(world, 100000, 3000000)
                                           : world_between(world, 1000000, 20000000);
    bool holds = world_chance(world, 0.4);
    if (holds && us > 8000000)
        us = 8000000;
    cluster_cut(&run->cluster, gateway, ways[world_between(world, 0, 4)], us, holds,
                us > 2500000 && world_chance(world, 0.5));
}

/* The router hears nothing of a gateway, which hears all of it, until just after its lease. */
static void lapse(struct run *run)
{
    struct world *world = &run->world;
    struct sim_node *gateway = cluster_gateway(
        &run->cluster, (uint32_t)world_between(world, 0, run->cluster.gateway_count - 1));
    uint64_t lease_us = LIMIT_GATEWAY_LEASE_MS * UINT64_C(1000);
    cluster_cut(&run->cluster, gateway, 1u << CHANNEL_UP,
                world_between(world, lease_us - 500000, lease_us + 1500000), false, false);
}

static void end_slow_disk(void *context, uint64_t argument)
{
    (void)argument;
    struct run *run = context;
    run->cluster.faults.sync_us_max = run->sync_us_max;
}

struct drain {
    struct run *run;
    struct sim_node *gateway;
    uint64_t incarnation;
};

/* Its time is over: nobody may be left, and it goes as a process does that ended in order. */
static void end_drain(void *context, uint64_t argument)
{
    (void)argument;
    const struct drain *drain = context;
    struct sim_node *gateway = drain->gateway;
    if (!gateway->is_alive || gateway->incarnation != drain->incarnation)
        return;
    if (!gateway_is_drained(gateway->gateway))
        world_violation(&drain->run->world, "C11: %s was to drain and has %lu connections left",
                        gateway->id, gateway_health(gateway->gateway).connections);
    cluster_crash(&drain->run->cluster, gateway);
    restart_within(drain->run, gateway, 2000000);
}

static void begin_drain(struct run *run)
{
    struct world *world = &run->world;
    struct sim_node *gateway = cluster_gateway(
        &run->cluster, (uint32_t)world_between(world, 0, run->cluster.gateway_count - 1));
    if (!gateway->is_alive || gateway->is_draining)
        return;
    gateway->is_draining = true;
    uint32_t drain_ms = (uint32_t)world_between(world, 0, 2000);
    world_note(world, "%s drains for %u ms", gateway->id, drain_ms);
    run->cluster.drains++;
    gateway_drain(gateway->gateway, drain_ms);
    cluster_wake(gateway);
    struct drain *drain = mem_new(struct drain);
    *drain = (struct drain){.run = run, .gateway = gateway, .incarnation = gateway->incarnation};
    world_carry(world, (drain_ms + 100) * UINT64_C(1000), end_drain, drain, mem_free);
}

static void strike(struct run *run, enum fault fault)
{
    struct world *world = &run->world;
    switch (fault) {
    case FAULT_CRASH:
        crash(run);
        return;
    case FAULT_CUT_CLIENT:
        people_cut_one(run->people);
        return;
    case FAULT_CUT_LINK:
        cut_link(run);
        return;
    case FAULT_DISK:
        cluster_break_disk(&run->cluster, world_chance(world, 0.5),
                           (uint32_t)world_between(world, 0, 30));
        return;
    case FAULT_SLOW_DISK:
        run->cluster.faults.sync_us_max = 500000;
        world_after(world, world_between(world, 500000, 3000000), end_slow_disk, run, 0);
        return;
    case FAULT_STOP:
        cluster_stop(&run->cluster, world_between(world, 50000, 3000000));
        return;
    case FAULT_LEASE:
        lapse(run);
        return;
    case FAULT_STORM:
        storm(run, world_between(world, 2, 6));
        return;
    default:
        begin_drain(run);
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
    enum fault fault = (enum fault)world_between(world, 0, FAULT_COUNT - 1);
    if ((run->faults >> fault & 1) != 0)
        strike(run, fault);
    world_after(world, world_between(world, 5000, run->pause_us_max), next_fault, run, 0);
}

/* ---- The night ---- */

static bool is_quick(void *context)
{
    struct run *run = context;
    return world_chance(&run->world, run->cluster.faults.quick_sync);
}

static void draw(struct run *run)
{
    struct world *world = &run->world;
    static const uint32_t shard_counts[] = {1, 4, 16, 64};
    cluster_init(&run->cluster, world, (uint32_t)world_between(world, 1, 3),
                 shard_counts[world_between(world, 0, 3)]);
    run->sync_us_max = world_chance(world, 0.3) ? 30000 : 500;
    run->cluster.faults = (struct cluster_faults){
        .publish_loss = world_chance(world, 0.5) ? 0.05 : 0.0,
        .slow_packet = world_chance(world, 0.5) ? 0.02 : 0.0,
        .sync_us_max = run->sync_us_max,
        .quick_sync = world_chance(world, 0.5) ? (double)world_between(world, 1, 10) / 10 : 0,
        .on = true,
    };
    run->faults = (unsigned)world_random(world);
    run->pause_us_max = world_between(world, 100000, 1000000);
    book_init(&run->book, world);
    struct people_options options = {
        .users = (uint32_t)world_between(world, 2, 6),
        .devices = (uint32_t)world_between(world, 1, 2),
        .groups = (uint32_t)world_between(world, 0, 2),
        .twins = world_chance(world, 0.3) ? (uint32_t)world_between(world, 1, 2) : 0,
        .churn = world_chance(world, 0.7) ? (double)world_between(world, 1, 20) / 10 : 0,
        .foreign_reset = world_chance(world, 0.5) ? 0.1 : 0,
    };
    if (world_chance(world, 0.1)) { /* A group that is too large for receipts to everybody. */
        options.users = 12;
        options.devices = 1;
    }
    run->people = people_new(world, &run->cluster, &run->book, &options);
    run->cluster.on_gateway_down = people_gateway_down;
    run->cluster.context = run->people;
    run->cluster.on_disk_failed = on_disk_failed;
    run->cluster.disk_context = run;
    run->cluster.listener = (struct tap_listener){
        .context = &run->book, .on_entry = book_written, .disk_context = run, .is_quick = is_quick};
}

static void await(struct run *run, bool (*is_so)(struct people *people, char *why, size_t why_size))
{
    char why[256] = "";
    uint64_t until = run->world.now_us + 60000000;
    while (run->world.now_us < until) {
        world_run(&run->world, run->world.now_us + 200000);
        if (is_so(run->people, why, sizeof(why)))
            return;
    }
    world_violation(&run->world, "%s", why);
}

static void heal(struct run *run)
{
    world_note(&run->world, "everything heals");
    run->is_healing = true;
    run->sync_us_max = 500;
    cluster_heal(&run->cluster);
    people_quiet(run->people);
    for (uint32_t i = 0; i < run->cluster.node_count; i++)
        restart(run, i);
}

static void duel(struct run *run)
{
    world_run(&run->world, run->world.now_us + 10000000);
    people_duel(run->people);
    world_run(&run->world, run->world.now_us + 4000000);
    people_end_duel(run->people);
}

static void add_up(const struct run *run, struct plan_totals *totals)
{
    totals->acked += run->book.acked;
    totals->refused += run->book.refused;
    totals->changes += run->book.changes;
    totals->delivered += run->book.delivered;
    totals->crashes += run->cluster.crashes;
    totals->losses += run->cluster.losses;
    totals->disk_failures += run->cluster.disk_failures;
    totals->cuts += run->cluster.cuts;
    totals->drains += run->cluster.drains;
    totals->trace = run->world.trace;
}

void plan_run(uint64_t seed, bool verbose, struct plan_totals *totals)
{
    struct run *run = mem_new(struct run);
    uint8_t key[16] = {0};
    memcpy(key, &seed, sizeof(seed));
    map_seed(key);
    world_init(&run->world, seed, verbose);
    draw(run);
    for (uint32_t i = 0; i < run->cluster.node_count; i++)
        cluster_start(&run->cluster, &run->cluster.nodes[i]);
    people_start(run->people);
    world_after(&run->world, world_between(&run->world, 200000, 2000000), next_fault, run, 0);
    world_run(&run->world, run->world.now_us + world_between(&run->world, 5000000, 20000000));
    heal(run);
    duel(run);
    await(run, people_are_content);
    people_audit(run->people);
    await(run, people_are_audited);
    book_check_store(&run->book, cluster_router(&run->cluster)->kv, run->cluster.cluster_id,
                     run->cluster.shards);
    book_close(&run->book, people_count(run->people));
    add_up(run, totals);
    cluster_fini(&run->cluster);
    people_free(&run->people);
    book_fini(&run->book);
    world_fini(&run->world);
    mem_free(run);
}
