/* cluster_view - what the answers of all routers to `status` say together.
 *
 * Each router tells of itself and of the groups it holds; of a group its leader's word counts, and
 * where two say that they lead it, the higher term's. Of the committed list of routers the newest
 * version that anybody has counts. Whatever is missing or unknown in an answer is passed over: the
 * router that gave it may be older or newer than this program.
 *
 * Pure: bytes in, numbers out. */
#ifndef GATEWAY_CLUSTER_VIEW_H
#define GATEWAY_CLUSTER_VIEW_H

#include <stdbool.h>
#include <stdint.h>

#include "mesh/base/buf.h"
#include "mesh/base/limits.h"

struct cluster_view_router {
    char id[LIMIT_NODE_ID_SIZE_MAX + 1];
    char zone[LIMIT_NODE_ID_SIZE_MAX + 1];
    char state[16];      /* On the committed list; "" where it is not, or nobody told. */
    char address[129];   /* Where another router found it last; "" where nobody says so. */
    uint32_t weight;     /* 0: not told. */
    char waits_for[128]; /* It is joining, and says for what it waits; else "". */
    bool has_answered;   /* The five below are its own words. */
    uint64_t led;        /* Shards it leads. */
    uint64_t own;        /* Replicas it has on its disk, also ones that nobody counts any more. */
    uint64_t pending;    /* Groups it leads that are not where they should be. */
    uint64_t done;       /* Steps of moves it has done since it started. */
    uint64_t bytes;      /* Of state it has sent to others since it started. */
    uint64_t replicas;   /* Groups that count it among their replicas. */
};

struct cluster_view {
    struct cluster_view_router *routers; /* By id. */
    uint32_t router_count;
    uint32_t answered;     /* Routers that serve and answered. */
    bool has_control;      /* Somebody leads the control group. */
    bool has_list;         /* Somebody has told the committed list. */
    uint64_t shards;       /* S; 0: nobody told. */
    uint64_t led;          /* Shards with a leader. */
    uint64_t groups_known; /* Groups whose leader has told of them, the control group among them. */
    uint64_t pending, bytes;
};

/* One router's answer: checked JSON (gateway/json.h), an object. */
struct cluster_view_answer {
    char node[LIMIT_NODE_ID_SIZE_MAX + 1];
    struct slice json;
};

void cluster_view_init(struct cluster_view *view, const struct cluster_view_answer *answers,
                       uint32_t count);
void cluster_view_fini(struct cluster_view *view);

/* NULL: neither on the list nor heard. */
const struct cluster_view_router *cluster_view_router(const struct cluster_view *view,
                                                      struct slice id);

/* As people read it: one that is there and not on the list is about to be. */
const char *cluster_view_state(const struct cluster_view *view,
                               const struct cluster_view_router *router);

/* Does every group's leader tell of it? Only then is "holds no replicas" known to be so. */
bool cluster_view_is_whole(const struct cluster_view *view);

#endif
