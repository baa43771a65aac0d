/* Three passes, each a pure function of what is before it:
 *
 *   shares    what is each router's fair share, given the weights and what zones allow
 *   replicas  group by group the first routers clockwise that have room, zone by zone
 *   leaders   group by group the first of its routers that may lead one more
 *
 * Where a pass finds no room for a group (the last ones of few routers), an earlier group gives way
 * and takes another: a step of an augmenting path. Shares are whole numbers of 1/ONE replicas, so
 * that all processors round alike. */
#include "nodes/router/ring.h"

#include <endian.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "mesh/base/check.h"
#include "mesh/base/crypto.h"
#include "mesh/base/mem.h"

#define NOWHERE       UINT16_MAX
#define WEIGHT_USUAL  100u
#define WEIGHT_MAX    1000u
#define POINTS_USUAL  128u   /* Of a router of usual weight: its arc is then right to a tenth. */
#define POINTS_MAX    256u   /* Of a heavy one: the bounds of the others bring it the rest. */
#define BOUND_PERCENT 115u   /* Of the fair share. */
#define ONE           65536u /* Shares are counted in this part of a replica, */
#define NEARLY        64u    /* and what is this near to a whole number is one. */

struct point {
    uint64_t at;
    uint16_t router;
};

/* One that shares something out by weight, or gets of it: a router or a zone. */
struct share {
    uint64_t weight;
    uint64_t min, max; /* What it gets at least and at most. */
    uint64_t size;     /* What it gets. */
};

struct holder {
    uint32_t room;      /* Replicas that this router may still take. */
    uint32_t lead_room; /* Groups it may still lead. */
    uint32_t seen;      /* The last walk that came by. */
    uint16_t zone;
};

struct zone {
    uint32_t first; /* Index in by_zone. */
    uint32_t size;
};

struct ring {
    const struct ring_router *routers;
    uint32_t count;
    uint32_t groups;
    uint32_t stride; /* Places of a group in `places`. */
    uint32_t copies; /* Of them used: not more than there are routers. */
    struct point *points;
    uint32_t point_count;
    struct holder *holders;             /* One a router. */
    const struct ring_router **by_zone; /* All routers, those of a zone together. */
    struct zone *zones;
    uint32_t zone_count;
    uint32_t walks;
    uint16_t *places; /* The caller's. */
    uint8_t *held;    /* Places of each group that are filled. */
    uint16_t *leads;  /* The router that leads each group, or NOWHERE. */
};

static uint32_t min_u32(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* The ring. */

static int compare_points(const void *a, const void *b)
{
    const struct point *p = a;
    const struct point *q = b;
    if (p->at != q->at)
        return p->at < q->at ? -1 : 1;
    return (p->router > q->router) - (p->router < q->router);
}

static uint32_t points_of(const struct ring_router *router)
{
    CHECK(router->weight > 0 && router->weight <= WEIGHT_MAX);
    return min_u32(router->weight * POINTS_USUAL / WEIGHT_USUAL, POINTS_MAX);
}

static void set_points(struct ring *ring, const uint8_t cluster[16])
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < ring->count; i++)
        count += points_of(&ring->routers[i]);
    ring->points = mem_alloc(count * sizeof(*ring->points));
    for (uint32_t i = 0; i < ring->count; i++) {
        char name[LIMIT_NODE_ID_SIZE_MAX + 2];
        size_t size = strlen(ring->routers[i].node);
        CHECK(size <= LIMIT_NODE_ID_SIZE_MAX);
        memcpy(name, ring->routers[i].node, size);
        uint32_t points = points_of(&ring->routers[i]);
        for (uint32_t k = 0; k < points; k++) {
            name[size] = (char)(k >> 8);
            name[size + 1] = (char)k;
            ring->points[ring->point_count++] = (struct point){
                .at = le64toh(crypto_hash64(cluster, slice_of(name, size + 2))),
                .router = (uint16_t)i,
            };
        }
    }
    qsort(ring->points, ring->point_count, sizeof(*ring->points), compare_points);
}

/* Groups stand evenly on the ring, not by a hash: where they stand is nobody's choice, and so the
 * routers' arcs are all that differs. */
static uint32_t point_after(const struct ring *ring, uint32_t group)
{
    uint64_t at = UINT64_MAX / ring->groups * group;
    uint32_t low = 0;
    uint32_t high = ring->point_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (ring->points[middle].at < at)
            low = middle + 1;
        else
            high = middle;
    }
    return low % ring->point_count;
}

/* Shares. */

static uint64_t share_at(const struct share *share, uint64_t level)
{
    if (level >= share->max * ONE / share->weight)
        return share->max;
    uint64_t size = level * share->weight / ONE;
    return size > share->min ? size : share->min;
}

/* Share `total` out by weight, within everyone's bounds: the level that fills it exactly. */
static void share_out(struct share *shares, uint32_t count, uint64_t total)
{
    uint64_t low = 0;
    uint64_t high = (uint64_t)RING_GROUPS_MAX * ONE * ONE; /* All are at their max there. */
    while (low < high) {
        uint64_t level = low + (high - low) / 2;
        uint64_t sum = 0;
        for (uint32_t i = 0; i < count; i++)
            sum += share_at(&shares[i], level);
        if (sum < total)
            low = level + 1;
        else
            high = level;
    }
    for (uint32_t i = 0; i < count; i++)
        shares[i].size = share_at(&shares[i], low);
}

/* 1.15 times a share, rounded up; at least one more than its whole part. Rounding up makes both
 * more than the share, so that together there is always room for all. */
static uint32_t bound_of(uint64_t share, uint32_t groups)
{
    uint64_t scaled = (share * BOUND_PERCENT / 100 + ONE - 1 - NEARLY) / ONE;
    uint64_t next = (share + NEARLY) / ONE + 1;
    uint64_t bound = scaled > next ? scaled : next;
    return bound < groups ? (uint32_t)bound : groups;
}

static int compare_zones(const void *a, const void *b)
{
    const struct ring_router *const *p = a;
    const struct ring_router *const *q = b;
    int order = strcmp((*p)->zone, (*q)->zone);
    return order != 0 ? order : (*p > *q) - (*p < *q);
}

static void set_zones(struct ring *ring)
{
    for (uint32_t i = 0; i < ring->count; i++)
        ring->by_zone[i] = &ring->routers[i];
    qsort(ring->by_zone, ring->count, sizeof(*ring->by_zone), compare_zones);
    for (uint32_t i = 0; i < ring->count; i++) {
        if (i == 0 || strcmp(ring->by_zone[i - 1]->zone, ring->by_zone[i]->zone) != 0)
            ring->zones[ring->zone_count++] = (struct zone){.first = i};
        ring->zones[ring->zone_count - 1].size++;
        ring->holders[ring->by_zone[i] - ring->routers].zone = (uint16_t)(ring->zone_count - 1);
    }
}

/* Replicas that a group has in all zones together when none holds more than `level` of them. */
static uint32_t copies_at(const struct ring *ring, uint32_t level)
{
    uint32_t copies = 0;
    for (uint32_t z = 0; z < ring->zone_count && copies < ring->copies; z++)
        copies += min_u32(ring->zones[z].size, level);
    return min_u32(copies, ring->copies);
}

/* A zone gets what its routers weigh, as far as zones come first: `level` replicas of each group
 * fit into all zones (as far as these have routers), and one more into some. */
static void share_among_zones(const struct ring *ring, struct share *shares)
{
    uint32_t level = 0;
    while (copies_at(ring, level + 1) < ring->copies)
        level++;
    uint64_t all = (uint64_t)ring->groups * ONE;
    for (uint32_t z = 0; z < ring->zone_count; z++) {
        const struct zone *zone = &ring->zones[z];
        shares[z] = (struct share){.min = min_u32(zone->size, level) * all,
                                   .max = min_u32(zone->size, level + 1) * all};
        for (uint32_t i = 0; i < zone->size; i++)
            shares[z].weight += ring->by_zone[zone->first + i]->weight;
    }
    share_out(shares, ring->zone_count, ring->copies * all);
}

static void set_bounds(struct ring *ring)
{
    struct share *zones = mem_alloc(ring->zone_count * sizeof(*zones));
    struct share *shares = mem_alloc(ring->count * sizeof(*shares)); /* In order of by_zone. */
    uint64_t all = (uint64_t)ring->groups * ONE;
    share_among_zones(ring, zones);
    for (uint32_t i = 0; i < ring->count; i++)
        shares[i] = (struct share){.weight = ring->by_zone[i]->weight, .max = all};
    for (uint32_t z = 0; z < ring->zone_count; z++)
        share_out(&shares[ring->zones[z].first], ring->zones[z].size, zones[z].size);
    for (uint32_t i = 0; i < ring->count; i++) {
        struct holder *holder = &ring->holders[ring->by_zone[i] - ring->routers];
        holder->room = bound_of(shares[i].size, ring->groups);
        shares[i].max = shares[i].size; /* It leads some of what it holds. */
    }
    share_out(shares, ring->count, all);
    for (uint32_t i = 0; i < ring->count; i++)
        ring->holders[ring->by_zone[i] - ring->routers].lead_room =
            bound_of(shares[i].size, ring->groups);
    mem_free(zones);
    mem_free(shares);
}

/* Replicas. */

static uint16_t *places_of(const struct ring *ring, uint32_t group)
{
    return ring->places + (size_t)group * ring->stride;
}

static bool holds(const struct ring *ring, uint32_t group, uint16_t router)
{
    const uint16_t *places = places_of(ring, group);
    for (uint32_t i = 0; i < ring->held[group]; i++)
        if (places[i] == router)
            return true;
    return false;
}

static uint32_t count_in_zone(const struct ring *ring, uint32_t group, uint16_t zone)
{
    const uint16_t *places = places_of(ring, group);
    uint32_t count = 0;
    for (uint32_t i = 0; i < ring->held[group]; i++)
        count += ring->holders[places[i]].zone == zone;
    return count;
}

/* May the group be given this router, when no zone is to hold more than `level` of its replicas? */
static bool fits(const struct ring *ring, uint32_t group, uint16_t router, uint32_t level)
{
    return !holds(ring, group, router) &&
           count_in_zone(ring, group, ring->holders[router].zone) < level;
}

static void give(struct ring *ring, uint32_t group, uint16_t router)
{
    places_of(ring, group)[ring->held[group]++] = router;
    if (ring->holders[router].room > 0)
        ring->holders[router].room--;
}

/* Clockwise from the group's point, until it has `wanted` replicas or every router was seen. */
static void walk(struct ring *ring, uint32_t group, uint32_t level, uint32_t wanted)
{
    uint32_t unseen = ring->count;
    ring->walks++;
    for (uint32_t i = point_after(ring, group); unseen > 0 && ring->held[group] < wanted;
         i = i + 1 < ring->point_count ? i + 1 : 0) {
        uint16_t router = ring->points[i].router;
        struct holder *holder = &ring->holders[router];
        if (holder->seen == ring->walks)
            continue;
        holder->seen = ring->walks;
        unseen--;
        if (holder->room > 0 && fits(ring, group, router, level))
            give(ring, group, router);
    }
}

/* A router with room that `group` may have in the place of `router`, its zones as many as before.
 */
static uint16_t another_for(const struct ring *ring, uint32_t group, uint16_t router)
{
    uint16_t zone = ring->holders[router].zone;
    uint32_t count = count_in_zone(ring, group, zone);
    for (uint16_t i = 0; i < ring->count; i++) {
        const struct holder *holder = &ring->holders[i];
        if (holder->room > 0 &&
            (holder->zone == zone ? !holds(ring, group, i) : fits(ring, group, i, count)))
            return i;
    }
    return NOWHERE;
}

/* All that would fit are full: one of them is taken from an earlier group, which gets another. */
static bool take_over(struct ring *ring, uint32_t group, uint32_t level)
{
    for (uint32_t other = 0; other < ring->groups; other++)
        for (uint32_t i = 0; i < ring->held[other] && other != group; i++) {
            uint16_t *place = &places_of(ring, other)[i];
            uint16_t instead;
            if (!fits(ring, group, *place, level) ||
                (instead = another_for(ring, other, *place)) == NOWHERE)
                continue;
            ring->holders[*place].room++;
            ring->holders[instead].room--;
            give(ring, group, *place);
            *place = instead;
            return true;
        }
    return false;
}

/* Zones go before bounds, and a replica goes before both. */
static void exceed(struct ring *ring, uint32_t group, uint32_t level)
{
    uint16_t router = 0;
    while (!fits(ring, group, router, level)) {
        router++;
        CHECK(router < ring->count); /* copies_at(level) counts only those that fit. */
    }
    give(ring, group, router);
}

static void place_group(struct ring *ring, uint32_t group)
{
    for (uint32_t level = 1; ring->held[group] < ring->copies; level++) {
        uint32_t wanted = copies_at(ring, level);
        walk(ring, group, level, wanted);
        while (ring->held[group] < wanted)
            if (!take_over(ring, group, level))
                exceed(ring, group, level); /* Hardly ever: of weights far apart. */
    }
}

/* Leaders. */

static void hand_lead(struct ring *ring, uint32_t group, uint16_t router)
{
    if (ring->leads[group] != NOWHERE)
        ring->holders[ring->leads[group]].lead_room++;
    if (ring->holders[router].lead_room > 0)
        ring->holders[router].lead_room--;
    ring->leads[group] = router;
}

/* Breadth first from the group's routers, over the groups that these lead, to one that may lead
 * more; then every group on the way hands its leadership one further. `via` (one a router) is the
 * group through which it was reached. */
static bool lead_by_path(struct ring *ring, uint32_t group, uint16_t *queue, uint32_t *via)
{
    uint32_t head = 0;
    uint32_t tail = 0;
    for (uint32_t i = 0; i < ring->count; i++)
        via[i] = UINT32_MAX;
    for (uint32_t i = 0; i < ring->copies; i++) {
        queue[tail] = places_of(ring, group)[i];
        via[queue[tail++]] = group;
    }
    while (head < tail) {
        uint16_t router = queue[head++];
        if (ring->holders[router].lead_room > 0) {
            for (uint32_t at = via[router];; at = via[router]) {
                uint16_t before = ring->leads[at];
                hand_lead(ring, at, router);
                if (before == NOWHERE)
                    return true;
                router = before;
            }
        }
        for (uint32_t other = 0; other < ring->groups; other++)
            for (uint32_t i = 0; i < ring->copies && ring->leads[other] == router; i++) {
                uint16_t next = places_of(ring, other)[i];
                if (via[next] == UINT32_MAX) {
                    via[next] = other;
                    queue[tail++] = next;
                }
            }
    }
    return false;
}

static void choose_leaders(struct ring *ring)
{
    uint16_t *queue = mem_alloc(ring->count * sizeof(*queue));
    uint32_t *via = mem_alloc(ring->count * sizeof(*via));
    memset(ring->leads, 0xff, ring->groups * sizeof(*ring->leads));
    for (uint32_t group = 0; group < ring->groups; group++) {
        const uint16_t *places = places_of(ring, group);
        for (uint32_t i = 0; i < ring->copies && ring->leads[group] == NOWHERE; i++)
            if (ring->holders[places[i]].lead_room > 0)
                hand_lead(ring, group, places[i]);
        if (ring->leads[group] == NOWHERE && !lead_by_path(ring, group, queue, via))
            hand_lead(ring, group, places[0]); /* Beyond the bound, but led. */
    }
    mem_free(queue);
    mem_free(via);
}

/* The leader comes first; the others stay in the order of the ring. */
static void order_places(struct ring *ring, uint32_t group)
{
    uint16_t *places = places_of(ring, group);
    uint32_t at = 0;
    while (places[at] != ring->leads[group])
        at++;
    memmove(places + 1, places, at * sizeof(*places));
    places[0] = ring->leads[group];
    for (uint32_t i = ring->copies; i < ring->stride; i++)
        places[i] = NOWHERE;
}

void ring_place(const struct ring_router *routers, uint32_t count, uint32_t groups,
                uint32_t replicas, const uint8_t cluster[16], uint16_t *ret_places)
{
    CHECK(count > 0 && count <= LIMIT_ROUTERS_MAX);
    CHECK(groups > 0 && groups <= RING_GROUPS_MAX);
    CHECK(replicas > 0 && replicas <= LIMIT_REPLICAS_MAX);
    struct ring ring = {
        .routers = routers,
        .count = count,
        .groups = groups,
        .stride = replicas,
        .copies = min_u32(replicas, count),
        .holders = mem_zero(count * sizeof(*ring.holders)),
        .by_zone = mem_alloc(count * sizeof(*ring.by_zone)),
        .zones = mem_alloc(count * sizeof(*ring.zones)),
        .places = ret_places,
        .held = mem_zero(groups),
        .leads = mem_alloc(groups * sizeof(*ring.leads)),
    };
    set_points(&ring, cluster);
    set_zones(&ring);
    set_bounds(&ring);
    for (uint32_t group = 0; group < groups; group++)
        place_group(&ring, group);
    choose_leaders(&ring);
    for (uint32_t group = 0; group < groups; group++)
        order_places(&ring, group);
    mem_free(ring.points);
    mem_free(ring.holders);
    mem_free(ring.by_zone);
    mem_free(ring.zones);
    mem_free(ring.held);
    mem_free(ring.leads);
}
