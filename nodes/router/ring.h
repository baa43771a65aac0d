/* ring - which routers hold which group: consistent hashing with virtual nodes and bounded loads.
 *
 * A pure function of the committed list of routers, so every router that has the same list computes
 * the same placement and nothing of it is stored. Each router stands on a ring at many points, by a
 * keyed hash of its name; a group takes the first R distinct routers clockwise of its own point,
 * the first being its preferred leader (Karger et al. 1997). A router takes no more than 1.15 times
 * its fair share of replicas, nor of leaders, both rounded up to the next whole number above the
 * share; what would exceed it goes to the next one clockwise (Mirrokni, Thorup, Zadimoghaddam
 * 2018).
 *
 * Where zones are named, the replicas of a group stand in as many of them as there are, and as
 * evenly as their routers allow ("" is a zone like others). That goes before balance: the only
 * router of a zone holds a replica of every group if it must, and a router's fair share is what
 * weights give it within what zones ask.
 *
 * One router more moves about 1/(N+1) of the replicas; the bounds move a little more
 * (tests/bench/ring.c measures it). A few milliseconds for hundreds of routers, a tenth of a second
 * for thousands: compute it when the list changes. */
#ifndef NODES_ROUTER_RING_H
#define NODES_ROUTER_RING_H

#include <stdint.h>

#include "mesh/base/limits.h"
#include "mesh/base/rc.h"

#define RING_GROUPS_MAX (LIMIT_SHARDS_MAX + 1u) /* All shards and the control group. */

struct ring_router {
    char node[LIMIT_NODE_ID_SIZE_MAX + 1];
    char zone[LIMIT_NODE_ID_SIZE_MAX + 1]; /* "" where there is none. */
    uint32_t weight;                       /* 1..1000, its share against others; 100 is usual. */
};

/* Place groups 0 .. groups-1 (1..RING_GROUPS_MAX of them, 1..LIMIT_REPLICAS_MAX replicas each).
 * `routers`: in byte order of `node`, each once, 1..LIMIT_ROUTERS_MAX. For each group writes
 * `replicas` places into ret_places (groups x replicas): indices into `routers`, in order of
 * preference; where there are fewer routers than replicas the rest is UINT16_MAX. */
void ring_place(const struct ring_router *routers, uint32_t count, uint32_t groups,
                uint32_t replicas, const uint8_t cluster[16], uint16_t *ret_places);

#endif
