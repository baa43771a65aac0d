#include "tests/sim/plan.h"

#include <stdio.h>
#include <string.h>

#include "mesh/base/map.h"
#include "mesh/base/mem.h"
#include "mesh/base/metrics.h"
#include "tests/sim/groups.h"
#include "tests/sim/plan_private.h"

/* ---- What a seed draws ---- */

static bool is_quick(void *context)
{
    struct run *run = context;
    return world_chance(&run->world, run->cluster.faults.quick_sync);
}

static void on_disk_failed(void *context, struct sim_node *router)
{
    struct run *run = context;
    faults_restart_within(run, router, 1000000);
}

static void on_entry(void *context, const char *node, struct slice conv, uint64_t seq,
                     uint64_t messages, struct slice record, bool is_news)
{
    struct run *run = context;
    if (run->is_reaping && seq > book_head(&run->book, conv) &&
        reaper_on_entry(&run->reaper, conv, record))
        faults_hold_answers(run, node);
    book_written(&run->book, node, conv, seq, messages, record, is_news);
}

static void on_conv(void *context, const char *node, struct slice conv, const struct row_head *head,
                    const struct row_conv *info)
{
    struct run *run = context;
    uint64_t parted = run->book.parted;
    book_told(&run->book, node, conv, head, info);
    if (run->book.parted > parted)
        faults_in_parts(run, node);
}

static bool on_applied(void *context, const char *node, uint32_t group, uint64_t index,
                       uint64_t digest)
{
    struct run *run = context;
    return book_applied(&run->book, node, group, index, digest);
}

static void on_conf(void *context, const char *node, uint32_t group, struct slice encoded)
{
    struct run *run = context;
    faults_on_voters(run, groups_on_conf(&run->cluster, node, group, encoded));
}

static void on_list(void *context, const char *node)
{
    struct run *run = context;
    groups_on_list(&run->cluster, node);
}

static void on_transferred(void *context, const char *node, uint32_t group)
{
    struct run *run = context;
    world_note(&run->world, "%s has the state of group %u", node, group);
    run->transfers++;
}

static void draw_cluster(struct run *run)
{
    struct world *world = &run->world;
    static const uint32_t shards[] = {1, 4, 16, 64};
    static const uint32_t replicas[] = {3, 3, 3, 3, 5, 1};
    struct cluster_options options = {
        .routers = world_chance(world, 0.4) ? 1 : (uint32_t)world_between(world, 2, 5),
        .gateways = (uint32_t)world_between(world, 1, 3),
        .replicas = replicas[world_between(world, 0, 5)],
        .zones = world_chance(world, 0.3) ? (uint32_t)world_between(world, 2, 3) : 0,
    };
    if (options.routers > 1 && options.gateways == 1)
        options.gateways = 2; /* One may be with a leader that is none any more. */
    options.shards = shards[world_between(world, 0, options.routers == 1 ? 3 : 2)];
    cluster_init(&run->cluster, world, &options);
    run->cluster.faults = (struct cluster_faults){
        .publish_loss = world_chance(world, 0.5) ? 0.05 : 0.0,
        .full_queue = world_chance(world, 0.3) ? 0.02 : 0.0,
        .slow_packet = world_chance(world, 0.5) ? 0.02 : 0.0,
        .sync_us_max = world_chance(world, 0.3) ? 30000 : 500,
        .quick_sync = world_chance(world, 0.5) ? (double)world_between(world, 1, 10) / 10 : 0,
        .on = true,
    };
    steward_init(&run->steward, &run->cluster);
}

static void on_gateway_down(void *context, struct sim_node *gateway)
{
    struct run *run = context;
    people_gateway_down(run->people, gateway);
    reaper_gateway_down(&run->reaper, gateway);
}

static void draw_people(struct run *run)
{
    struct world *world = &run->world;
    /* Not from the generator, so that nights without it stay as they were. */
    run->is_reaping = world->random_state / 32 % 3 == 0;
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
    if (world_chance(world, 0.3)) /* So many entries of a group are kept. */
        options.retain_count = world_between(world, 20, 60);
    if (run->cluster.options.routers > 1 && options.groups == 0)
        options.groups = 1; /* Histories are asked for in groups. */
    if (run->is_reaping) {
        options.groups += (uint32_t)world_between(world, 1, 2); /* So that some are left. */
        options.repeats = 0.15;
    }
    run->twins = options.twins;
    book_init(&run->book, world);
    run->book.retain_count = options.retain_count;
    run->people = people_new(world, &run->cluster, &run->book, &options);
    run->cluster.on_gateway_down = on_gateway_down;
    run->cluster.context = run;
    reaper_init(&run->reaper, &run->cluster, &run->book, options.users, options.groups);
    run->cluster.on_disk_failed = on_disk_failed;
    run->cluster.disk_context = run;
    run->cluster.listener = (struct tap_listener){.context = run,
                                                  .on_entry = on_entry,
                                                  .on_conv = on_conv,
                                                  .on_applied = on_applied,
                                                  .on_conf = on_conf,
                                                  .on_list = on_list,
                                                  .on_transferred = on_transferred,
                                                  .disk_context = run,
                                                  .is_quick = is_quick};
}

/* ---- The night ---- */

static void start_late(void *context, uint64_t index)
{
    struct run *run = context;
    cluster_start(&run->cluster, &run->cluster.nodes[index]);
}

/* The founder and the gateways at once, some routers only later. */
static void start(struct run *run, uint64_t safety_us)
{
    struct cluster *c = &run->cluster;
    for (uint32_t i = 0; i < c->node_count; i++) {
        struct sim_node *node = &c->nodes[i];
        bool is_late = node->role == NODE_ROUTER && !node->is_founder;
        if (node->role == NODE_OPERATOR)
            continue;
        if (is_late && world_chance(&run->world, 0.4))
            world_after(&run->world, world_between(&run->world, 0, safety_us), start_late, run, i);
        else
            cluster_start(c, node);
    }
    people_start(run->people);
    if (run->is_reaping)
        reaper_begin(&run->reaper);
}

static void heal(struct run *run)
{
    world_note(&run->world, "everything heals");
    run->elections = metric_get(elections_total) - run->elections_before;
    run->is_healing = true;
    cluster_heal(&run->cluster);
    people_quiet(run->people);
    reaper_quiet(&run->reaper);
    for (uint32_t i = 0; i < run->cluster.node_count; i++)
        faults_restart(run, &run->cluster.nodes[i]);
}

/* ---- The end ---- */

static bool are_led(struct run *run, char *why, size_t why_size)
{
    return groups_are_led(&run->cluster, why, why_size);
}

static bool is_reaped(struct run *run, char *why, size_t why_size)
{
    return reaper_is_done(&run->reaper, why, why_size) &&
           book_ends_are_done(&run->book, why, why_size);
}

static bool are_content(struct run *run, char *why, size_t why_size)
{
    return people_are_content(run->people, why, why_size);
}

static bool are_audited(struct run *run, char *why, size_t why_size)
{
    return people_are_audited(run->people, why, why_size);
}

static bool is_settled(struct run *run, char *why, size_t why_size)
{
    return steward_is_done(&run->steward, why, why_size) &&
           groups_are_settled(&run->cluster, why, why_size);
}

static void await(struct run *run, bool (*is_so)(struct run *run, char *why, size_t why_size))
{
    char why[256] = "";
    uint64_t until = run->world.now_us + 60000000;
    while (run->world.now_us < until) {
        world_run(&run->world, run->world.now_us + 200000);
        if (is_so(run, why, sizeof(why)))
            return;
    }
    groups_note(&run->cluster);
    world_violation(&run->world, "%s", why);
}

static void duel(struct run *run)
{
    people_duel(run->people);
    world_run(&run->world, run->world.now_us + 4000000);
    people_end_duel(run->people);
}

static void add_up(struct run *run, struct plan_totals *totals)
{
    totals->acked += run->book.acked;
    totals->refused += run->book.refused;
    totals->rewrites += run->book.rewrites;
    totals->trims += run->book.trims;
    totals->ends += run->book.ends;
    totals->parted += run->book.parted;
    totals->begins += run->book.begins;
    totals->erasures += run->book.erasures;
    totals->blanks += run->book.blanks;
    totals->repeats += run->book.repeats;
    totals->end_tries += run->reaper.tries;
    totals->presences += run->book.presences;
    totals->typings += run->book.typings;
    totals->changes += run->book.changes;
    totals->delivered += run->book.delivered;
    totals->activities += run->book.activities;
    totals->again += run->book.again;
    totals->crashes += run->cluster.crashes;
    totals->losses += run->cluster.losses;
    totals->disk_failures += run->cluster.disk_failures;
    totals->drains += run->drains;
    totals->routers += run->cluster.options.routers;
    totals->joins += run->cluster.joins;
    totals->wipes += run->cluster.wipes;
    totals->partitions += run->partitions;
    totals->hand_overs += run->hand_overs;
    totals->transfers += run->transfers;
    totals->moves += groups_moves(&run->cluster);
    totals->removals += run->steward.removals;
    totals->elections += (uint64_t)(run->elections);
    totals->confs += run->cluster.confs;
    totals->reads += run->book.reads;
    totals->reads_bound += run->book.reads_bound;
    totals->orders += run->book.orders;
    totals->orders_across += run->book.orders_across;
    totals->trace = run->world.trace;
}

void plan_run(uint64_t seed, bool verbose, struct plan_totals *totals)
{
    struct run *run = mem_new(struct run);
    uint8_t key[16] = {0};
    memcpy(key, &seed, sizeof(seed));
    map_seed(key);
    world_init(&run->world, seed, verbose);
    run->elections_before = metric_get(elections_total);
    world_hear_logs(&run->world);
    draw_cluster(run);
    draw_people(run);
    uint64_t safety_us = world_between(&run->world, 5000000, 20000000);
    start(run, safety_us);
    faults_begin(run);
    world_run(&run->world, run->world.now_us + safety_us);
    heal(run);
    /* What was held on its way is there by then. */
    world_run(&run->world, run->world.now_us + (run->cluster.stalls > 0 ? 10000000 : 3000000));
    await(run, are_led); /* Until then nobody can tell which of two connections is the newer. */
    await(run, is_reaped);
    if (run->twins > 0)
        duel(run);
    await(run, are_content);
    people_audit(run->people);
    await(run, are_audited);
    await(run, is_settled);
    groups_check(&run->cluster, &run->book);
    book_close(&run->book, people_count(run->people));
    add_up(run, totals);
    cluster_fini(&run->cluster);
    people_free(&run->people);
    reaper_fini(&run->reaper);
    book_fini(&run->book);
    world_fini(&run->world);
    mem_free(run);
}
