/* ring: balance, movement, zones, and that nothing but the list decides. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mesh/base/crypto.h"
#include "mesh/base/mem.h"
#include "nodes/router/ring.h"

#define ROUTERS 301u
#define GROUPS  RING_GROUPS_MAX
#define NOWHERE UINT16_MAX

static const uint8_t cluster[16] = "a test's cluster";
static struct ring_router routers[ROUTERS];
static uint16_t places[GROUPS * LIMIT_REPLICAS_MAX];
static uint16_t others[GROUPS * LIMIT_REPLICAS_MAX];

static uint32_t min_of(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* Routers r000, r001...; of zones z0, z1... in turn, or of none. */
static void name_routers(uint32_t count, uint32_t zones)
{
    assert_true(count <= ROUTERS);
    memset(routers, 0, sizeof(routers));
    for (uint32_t i = 0; i < count; i++) {
        snprintf(routers[i].node, sizeof(routers[i].node), "r%03u", i);
        if (zones > 0)
            snprintf(routers[i].zone, sizeof(routers[i].zone), "z%u", i % zones);
        routers[i].weight = 100;
    }
}

/* The list without one router. */
static void drop_router(uint32_t count, uint32_t router)
{
    memmove(&routers[router], &routers[router + 1], (count - router - 1) * sizeof(routers[0]));
}

static uint32_t load_of(uint32_t router, uint32_t groups, uint32_t replicas, uint32_t depth)
{
    uint32_t load = 0;
    for (uint32_t g = 0; g < groups; g++)
        for (uint32_t i = 0; i < depth; i++)
            load += places[g * replicas + i] == router;
    return load;
}

/* 1.15 times the fair share rounded up, or the next whole number above the share. */
static uint32_t bound_of(uint32_t total, uint32_t count)
{
    uint32_t scaled = (total * 115 + count * 100 - 1) / (count * 100);
    uint32_t next = total / count + 1;
    return scaled > next ? scaled : next;
}

/* Places of `before` that are not in `after`, which was made without router `gone`. */
static uint32_t count_moved(const uint16_t *before, const uint16_t *after, uint32_t groups,
                            uint32_t replicas, uint32_t gone)
{
    uint32_t moved = 0;
    for (uint32_t g = 0; g < groups; g++)
        for (uint32_t i = 0; i < replicas; i++) {
            bool stays = before[g * replicas + i] == NOWHERE;
            for (uint32_t k = 0; k < replicas && !stays; k++) {
                uint16_t router = after[g * replicas + k];
                stays = router != NOWHERE &&
                        router + (router >= gone ? 1u : 0u) == before[g * replicas + i];
            }
            moved += !stays;
        }
    return moved;
}

/* A group is held by as many different routers as there are, up to R; the rest is nowhere. */
static void replicas_stand_apart(void **state)
{
    (void)state;
    for (uint32_t count = 1; count <= 12; count++)
        for (uint32_t replicas = 1; replicas <= LIMIT_REPLICAS_MAX; replicas++) {
            name_routers(count, 0);
            ring_place(routers, count, 64, replicas, cluster, places);
            for (uint32_t g = 0; g < 64; g++)
                for (uint32_t i = 0; i < replicas; i++) {
                    uint16_t router = places[g * replicas + i];
                    if (i >= count) {
                        assert_int_equal(router, NOWHERE);
                        continue;
                    }
                    assert_true(router < count);
                    for (uint32_t k = 0; k < i; k++)
                        assert_int_not_equal(places[g * replicas + k], router);
                }
        }
}

/* No router holds or leads more than 1.15 times its fair share, rounded up. */
static void no_router_exceeds_its_bound(void **state)
{
    (void)state;
    static const uint32_t counts[] = {1, 2, 3, 4, 5, 6, 7, 10, 30, 100, 300};
    static const uint32_t groups[] = {1, 64, 1024, GROUPS};
    for (size_t n = 0; n < sizeof(counts) / sizeof(counts[0]); n++)
        for (size_t s = 0; s < sizeof(groups) / sizeof(groups[0]); s++) {
            uint32_t count = counts[n];
            uint32_t copies = min_of(3, count);
            name_routers(count, 0);
            ring_place(routers, count, groups[s], 3, cluster, places);
            for (uint32_t i = 0; i < count; i++) {
                assert_true(load_of(i, groups[s], 3, copies) <=
                            bound_of(groups[s] * copies, count));
                assert_true(load_of(i, groups[s], 3, 1) <= bound_of(groups[s], count));
            }
        }
}

/* One router more or less moves what it holds, and not twice that by the bounds. */
static void few_replicas_move(void **state)
{
    (void)state;
    static const uint32_t counts[] = {2, 3, 4, 5, 7, 10, 30};
    for (size_t n = 0; n < sizeof(counts) / sizeof(counts[0]); n++)
        for (uint32_t groups = 64; groups <= 4096; groups *= 64) {
            uint32_t count = counts[n];
            uint32_t moved = 0;
            for (uint32_t gone = 0; gone < count; gone++) {
                name_routers(count, 0);
                ring_place(routers, count, groups, 3, cluster, places);
                drop_router(count, gone);
                ring_place(routers, count - 1, groups, 3, cluster, others);
                moved += count_moved(places, others, groups, 3, gone);
            }
            /* All of them left once: each replica had to move once. */
            uint32_t least = groups * min_of(3, count);
            assert_in_range(moved, least, least * 3 / 2);
        }
}

/* Where there are no more routers than replicas all hold everything, and nothing moves when one of
 * them leaves. */
static void the_last_three_hold_everything(void **state)
{
    (void)state;
    name_routers(3, 0);
    ring_place(routers, 3, GROUPS, 3, cluster, places);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(load_of(i, GROUPS, 3, 3), GROUPS);
    drop_router(3, 1);
    ring_place(routers, 2, GROUPS, 3, cluster, others);
    assert_int_equal(count_moved(places, others, GROUPS, 3, 1), GROUPS);
}

/* The same list gives the same placement, time after time; another cluster gives another. */
static void only_the_list_and_the_cluster_decide(void **state)
{
    (void)state;
    static const uint8_t another[16] = "another cluster";
    name_routers(10, 3);
    memset(places, 1, sizeof(places));
    ring_place(routers, 10, 64, 3, cluster, places);
    memset(others, 2, sizeof(others));
    ring_place(routers, 10, 64, 3, cluster, others);
    assert_memory_equal(places, others, 64 * 3 * sizeof(places[0]));
    ring_place(routers, 10, 64, 3, another, others);
    assert_memory_not_equal(places, others, 64 * 3 * sizeof(places[0]));
}

/* A list gives what it gave in the first release: another rule would move everything at an upgrade,
 * and routers of two releases would disagree until it is over. */
static void a_placement_is_the_same_in_every_release(void **state)
{
    (void)state;
    uint64_t sum = 0;
    name_routers(7, 3);
    routers[2].weight = 250;
    ring_place(routers, 7, 64, 3, cluster, places);
    for (uint32_t i = 0; i < 64 * 3; i++)
        sum = sum * 31 + places[i];
    assert_true(sum == UINT64_C(0x9d2dce23854afbc2));
}

/* Zones of a group differ by at most one replica, where they have the routers for it. */
static void zones_share_every_group(void **state)
{
    (void)state;
    for (uint32_t zones = 1; zones <= 5; zones++)
        for (uint32_t count = 1; count <= 16; count++)
            for (uint32_t replicas = 1; replicas <= LIMIT_REPLICAS_MAX; replicas++) {
                uint32_t size[5] = {0};
                name_routers(count, zones);
                for (uint32_t i = 0; i < count; i++)
                    size[i % zones]++;
                ring_place(routers, count, 64, replicas, cluster, places);
                for (uint32_t g = 0; g < 64; g++) {
                    uint32_t held[5] = {0};
                    for (uint32_t i = 0; i < min_of(replicas, count); i++)
                        held[places[g * replicas + i] % zones]++;
                    for (uint32_t a = 0; a < zones; a++)
                        for (uint32_t b = 0; b < zones; b++)
                            assert_true(held[a] <= held[b] + 1 || held[b] == size[b]);
                }
            }
}

/* Zones of equal weight cost no balance. */
static void even_zones_keep_the_bound(void **state)
{
    (void)state;
    for (uint32_t count = 3; count <= 300; count *= 10) {
        name_routers(count, 3);
        ring_place(routers, count, GROUPS, 3, cluster, places);
        for (uint32_t i = 0; i < count; i++)
            assert_true(load_of(i, GROUPS, 3, 3) <= bound_of(GROUPS * 3, count));
    }
}

/* A zone's only router holds a replica of every group, if it must: what zones are for goes before
 * balance. */
static void a_zone_goes_before_balance(void **state)
{
    (void)state;
    name_routers(7, 2);
    for (uint32_t i = 1; i < 7; i++)
        memcpy(routers[i].zone, "z1", 3);
    ring_place(routers, 7, 64, 3, cluster, places);
    assert_int_equal(load_of(0, 64, 3, 3), 64);
    assert_in_range(load_of(0, 64, 3, 1), 1, bound_of(64, 7));
    for (uint32_t i = 1; i < 7; i++)
        assert_true(load_of(i, 64, 3, 3) <= bound_of(64 * 2, 6));
}

/* A router of twice the weight has about twice the replicas and leads twice the groups. */
static void weight_is_a_share(void **state)
{
    (void)state;
    name_routers(9, 0);
    routers[4].weight = 200; /* 2 of 10 parts. */
    ring_place(routers, 9, 1000, 3, cluster, places);
    assert_in_range(load_of(4, 1000, 3, 3), 500, bound_of(3000 * 2, 10));
    assert_in_range(load_of(4, 1000, 3, 1), 150, bound_of(1000 * 2, 10));
    for (uint32_t i = 0; i < 9; i++)
        if (i != 4)
            assert_true(load_of(i, 1000, 3, 3) <= bound_of(3000, 10));
}

/* The least and the greatest weight stand together: nobody holds a group twice, none goes short. */
static void extreme_weights_are_placed(void **state)
{
    (void)state;
    name_routers(5, 0);
    routers[0].weight = 1000;
    routers[1].weight = 1;
    ring_place(routers, 5, 64, 3, cluster, places);
    assert_in_range(load_of(0, 64, 3, 3), 55, 64);
    assert_true(load_of(1, 64, 3, 3) <= 2);
    for (uint32_t i = 0; i < 64 * 3; i++)
        assert_true(places[i] < 5);
}

/* One group alone (the control group) is placed too. */
static void a_single_group_is_placed(void **state)
{
    (void)state;
    name_routers(30, 3);
    ring_place(routers, 30, 1, 5, cluster, places);
    uint32_t held[3] = {0};
    for (uint32_t i = 0; i < 5; i++) {
        assert_true(places[i] < 30);
        held[places[i] % 3]++;
    }
    assert_true(held[0] > 0 && held[1] > 0 && held[2] > 0);
}

static int start(void **state)
{
    (void)state;
    crypto_start();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replicas_stand_apart),
        cmocka_unit_test(no_router_exceeds_its_bound),
        cmocka_unit_test(few_replicas_move),
        cmocka_unit_test(the_last_three_hold_everything),
        cmocka_unit_test(only_the_list_and_the_cluster_decide),
        cmocka_unit_test(a_placement_is_the_same_in_every_release),
        cmocka_unit_test(zones_share_every_group),
        cmocka_unit_test(even_zones_keep_the_bound),
        cmocka_unit_test(a_zone_goes_before_balance),
        cmocka_unit_test(weight_is_a_share),
        cmocka_unit_test(extreme_weights_are_placed),
        cmocka_unit_test(a_single_group_is_placed),
    };
    return cmocka_run_group_tests(tests, start, NULL);
}
