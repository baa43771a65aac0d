/* chatmesh-sim - one router, some gateways and their clients through any night, by its number.
 *
 *   chatmesh-sim --seeds 300 [--from 1]     run seeds, print how many a second, end at the first
 * that fails chatmesh-sim --seed 17 --verbose        replay one
 *
 * Each seed draws topology, load and faults. Safety phase: crashes of router and gateways, cut
 * connections, lost publications, slow packets, slow disks, slow readers. Then everything heals
 * and, within 60 virtual seconds, every client must have everything (liveness). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "mesh/base/crypto.h"
#include "mesh/base/map.h"
#include "tests/sim/people.h"

struct run {
    struct world world;
    struct cluster cluster;
    struct book book;
    struct people *people;
    bool is_healing;
};

static void restart(void *context, uint64_t node)
{
    struct run *run = context;
    if (!run->cluster.nodes[node].is_alive)
        cluster_start(&run->cluster, &run->cluster.nodes[node]);
}

static void fault(void *context, uint64_t argument)
{
    (void)argument;
    struct run *run = context;
    struct world *world = &run->world;
    if (run->is_healing)
        return;
    if (world_chance(world, 0.35)) {
        uint64_t node = world_between(world, 0, run->cluster.node_count - 1);
        if (run->cluster.nodes[node].is_alive) {
            cluster_crash(&run->cluster, &run->cluster.nodes[node]);
            world_after(world, world_between(world, 10000, 4000000), restart, run, node);
        }
    } else {
        people_cut_one(run->people);
    }
    world_after(world, world_between(world, 20000, 1500000), fault, run, 0);
}

static void draw(struct run *run)
{
    struct world *world = &run->world;
    uint32_t gateways = (uint32_t)world_between(world, 1, 3);
    static const uint32_t shard_counts[] = {1, 4, 16, 64};
    cluster_init(&run->cluster, world, gateways, shard_counts[world_between(world, 0, 3)]);
    run->cluster.faults.publish_loss = world_chance(world, 0.5) ? 0.05 : 0.0;
    run->cluster.faults.slow_packet = world_chance(world, 0.5) ? 0.02 : 0.0;
    run->cluster.faults.sync_us_max = world_chance(world, 0.3) ? 30000 : 500;
    run->cluster.faults.on = true;
    book_init(&run->book, world);
    run->people =
        people_new(world, &run->cluster, &run->book, (uint32_t)world_between(world, 2, 6),
                   (uint32_t)world_between(world, 1, 2), (uint32_t)world_between(world, 0, 2));
    run->cluster.on_gateway_down = people_gateway_down;
    run->cluster.context = run->people;
}

static void heal(struct run *run)
{
    run->is_healing = true;
    run->cluster.faults.on = false;
    run->cluster.faults.sync_us_max = 500;
    people_quiet(run->people);
    for (uint32_t i = 0; i < run->cluster.node_count; i++)
        restart(run, i);
    char why[256] = "";
    uint64_t until = run->world.now_us + 60000000;
    while (run->world.now_us < until) {
        world_run(&run->world, run->world.now_us + 500000);
        if (people_are_content(run->people, why, sizeof(why)))
            return;
    }
    world_violation(&run->world, "%s", why);
}

struct totals {
    uint64_t acked, delivered, crashes, losses, trace;
};

static void run_seed(uint64_t seed, bool verbose, struct totals *totals)
{
    struct run *run = calloc(1, sizeof(*run));
    uint8_t key[16] = {0};
    memcpy(key, &seed, sizeof(seed));
    map_seed(key);
    world_init(&run->world, seed, verbose);
    draw(run);
    for (uint32_t i = 0; i < run->cluster.node_count; i++)
        cluster_start(&run->cluster, &run->cluster.nodes[i]);
    people_start(run->people);
    world_after(&run->world, 2000000, fault, run, 0);
    world_run(&run->world, run->world.now_us + world_between(&run->world, 5000000, 20000000));
    heal(run);
    book_close(&run->book);
    totals->acked += run->book.acked;
    totals->delivered += run->book.delivered;
    totals->crashes += run->cluster.crashes;
    totals->losses += run->cluster.losses;
    totals->trace = run->world.trace;
    cluster_fini(&run->cluster);
    people_free(&run->people);
    book_fini(&run->book);
    world_fini(&run->world);
    free(run);
}

static int usage(void)
{
    fprintf(stderr, "usage: chatmesh-sim [--seeds N] [--from SEED] | --seed SEED [--verbose]\n");
    return 2;
}

int main(int argc, char **argv)
{
    uint64_t count = 100;
    uint64_t from = 1;
    bool verbose = false;
    for (int i = 1; i < argc; i++) {
        bool has_value = i + 1 < argc;
        if (strcmp(argv[i], "--verbose") == 0) {
            verbose = true;
        } else if (strcmp(argv[i], "--seeds") == 0 && has_value) {
            count = strtoull(argv[++i], NULL, 10);
        } else if (strcmp(argv[i], "--from") == 0 && has_value) {
            from = strtoull(argv[++i], NULL, 10);
        } else if (strcmp(argv[i], "--seed") == 0 && has_value) {
            from = strtoull(argv[++i], NULL, 10);
            count = 1;
        } else {
            return usage();
        }
    }
    crypto_start();
    struct totals totals = {0};
    struct timespec begin;
    struct timespec end;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    for (uint64_t seed = from; seed < from + count; seed++)
        run_seed(seed, verbose, &totals);
    clock_gettime(CLOCK_MONOTONIC, &end);
    double seconds =
        (double)(end.tv_sec - begin.tv_sec) + (double)(end.tv_nsec - begin.tv_nsec) / 1e9;
    printf(
        "%lu seeds from %lu clean, %.1f a second: %lu sends acknowledged, %lu entries delivered, "
        "%lu crashes, %lu publications lost (last trace %016lx)\n",
        count, from, (double)count / seconds, totals.acked, totals.delivered, totals.crashes,
        totals.losses, totals.trace);
    return 0;
}
