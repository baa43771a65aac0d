/* bench-ring: how even the ring places groups, and how little it moves, for one router to
 * thousands.
 *
 *   bench-ring [GROUPS...]     64 and 4096 where none are given; 3 replicas each
 *
 * A line for each number of routers N, without zones and with three. `replicas` and `leaders` are
 * those of the fullest router, of what it may have (1.15 times the fair share, or the next whole
 * number above it); beyond it only where zones ask for it. `moved` is the part of all replicas that
 * moves when one router joins N, or leaves N + 1 (the same: a placement knows no past), beside the
 * part 1/(N+1) that must; `cost` is replicas moved for each that the router holds, and `led` the
 * same of leaderships. `unzoned` counts groups in fewer zones than there are. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "mesh/base/crypto.h"
#include "mesh/base/mem.h"
#include "nodes/router/ring.h"

#define REPLICAS    3u
#define SAMPLES_MAX 40u /* Routers tried as the one that comes or goes. */

static const uint8_t cluster[16] = "bench-ring";

static double now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static uint32_t min_of(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static void set_routers(struct ring_router *routers, uint32_t count, uint32_t zones)
{
    memset(routers, 0, count * sizeof(*routers));
    for (uint32_t i = 0; i < count; i++) {
        snprintf(routers[i].node, sizeof(routers[i].node), "r%04u", i);
        if (zones > 0)
            snprintf(routers[i].zone, sizeof(routers[i].zone), "zone-%u", i % zones);
        routers[i].weight = 100;
    }
}

/* Of the first `depth` places of all groups, how many are this router's? */
static uint32_t load_of(const uint16_t *places, uint32_t groups, uint32_t depth, uint32_t router)
{
    uint32_t load = 0;
    for (uint32_t g = 0; g < groups; g++)
        for (uint32_t i = 0; i < depth; i++)
            load += places[g * REPLICAS + i] == router;
    return load;
}

static void print_fullest(const uint16_t *places, uint32_t groups, uint32_t depth, uint32_t count)
{
    uint32_t most = 0;
    uint32_t total = groups * depth;
    uint32_t scaled = (total * 115 + count * 100 - 1) / (count * 100);
    uint32_t next = total / count + 1;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t load = load_of(places, groups, depth, i);
        most = load > most ? load : most;
    }
    printf(" %5u/%-5u", most, min_of(scaled > next ? scaled : next, groups));
}

/* First `depth` places of groups in `before` that are not in `after`, made without `gone`. */
static uint32_t count_moved(const uint16_t *before, const uint16_t *after, uint32_t groups,
                            uint32_t depth, uint32_t gone)
{
    uint32_t moved = 0;
    for (uint32_t g = 0; g < groups; g++)
        for (uint32_t i = 0; i < depth; i++) {
            uint16_t router = before[g * REPLICAS + i];
            bool stays = router == UINT16_MAX;
            for (uint32_t k = 0; k < depth && !stays; k++) {
                uint16_t other = after[g * REPLICAS + k];
                stays = other != UINT16_MAX && other + (other >= gone ? 1u : 0u) == router;
            }
            moved += !stays;
        }
    return moved;
}

static uint32_t count_unzoned(const uint16_t *places, uint32_t groups, uint32_t count,
                              uint32_t zones)
{
    uint32_t unzoned = 0;
    for (uint32_t g = 0; g < groups && zones > 0; g++) {
        uint32_t mask = 0;
        for (uint32_t i = 0; i < min_of(REPLICAS, count); i++)
            mask |= 1u << places[g * REPLICAS + i] % zones;
        unzoned += (uint32_t)__builtin_popcount(mask) < min_of(zones, min_of(REPLICAS, count));
    }
    return unzoned;
}

/* Without each of some routers of N + 1. */
static void print_movement(struct ring_router *routers, uint32_t count, uint32_t groups)
{
    uint16_t *before = mem_alloc(groups * REPLICAS * sizeof(*before));
    uint16_t *after = mem_alloc(groups * REPLICAS * sizeof(*after));
    uint32_t samples = min_of(count + 1, SAMPLES_MAX);
    uint32_t copies = min_of(count + 1, REPLICAS);
    double moved = 0;
    double held = 0;
    double led_moved = 0;
    double led = 0;
    ring_place(routers, count + 1, groups, REPLICAS, cluster, before);
    for (uint32_t s = 0; s < samples; s++) {
        uint32_t gone = s * (count + 1) / samples;
        struct ring_router router = routers[gone];
        memmove(&routers[gone], &routers[gone + 1], (count - gone) * sizeof(router));
        ring_place(routers, count, groups, REPLICAS, cluster, after);
        memmove(&routers[gone + 1], &routers[gone], (count - gone) * sizeof(router));
        routers[gone] = router;
        moved += count_moved(before, after, groups, REPLICAS, gone);
        held += load_of(before, groups, copies, gone);
        led_moved += count_moved(before, after, groups, 1, gone);
        led += load_of(before, groups, 1, gone);
    }
    printf(" %7.3f%% %7.3f%% %5.2f %5.2f", 100 * moved / (samples * (double)groups * copies),
           100.0 / (count + 1), held > 0 ? moved / held : 0, led > 0 ? led_moved / led : 0);
    mem_free(before);
    mem_free(after);
}

static void measure(uint32_t groups, uint32_t count, uint32_t zones)
{
    struct ring_router *routers = mem_alloc((count + 1) * sizeof(*routers));
    uint16_t *places = mem_alloc(groups * REPLICAS * sizeof(*places));
    set_routers(routers, count + 1, zones);
    double start_ms = now_ms();
    ring_place(routers, count, groups, REPLICAS, cluster, places);
    double took_ms = now_ms() - start_ms;
    printf("%6u %5u %7u", groups, zones, count);
    print_fullest(places, groups, min_of(REPLICAS, count), count);
    print_fullest(places, groups, 1, count);
    print_movement(routers, count, groups);
    printf(" %7u %7.2f\n", count_unzoned(places, groups, count, zones), took_ms);
    mem_free(routers);
    mem_free(places);
}

int main(int argc, char **argv)
{
    static const uint32_t counts[] = {1, 2, 3, 4, 5, 7, 30, 300, 3000};
    static char *usual[] = {"64", "4096", NULL};
    crypto_start();
    printf("%6s %5s %7s %11s %11s %8s %8s %5s %5s %7s %7s\n", "groups", "zones", "routers",
           "replicas", "leaders", "moved", "1/(N+1)", "cost", "led", "unzoned", "ms");
    for (char **text = argc > 1 ? argv + 1 : usual; *text != NULL; text++) {
        unsigned long groups = strtoul(*text, NULL, 10);
        if (groups == 0 || groups > RING_GROUPS_MAX) {
            fprintf(stderr, "bench-ring: GROUPS is 1 to %u, not %s\n", RING_GROUPS_MAX, *text);
            return 2;
        }
        for (uint32_t zones = 0; zones <= 3; zones += 3)
            for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
                measure((uint32_t)groups, counts[i], zones);
    }
    return 0;
}
