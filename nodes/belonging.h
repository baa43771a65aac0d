/* belonging - does a router that serves belong where it is?
 *
 * Its data may be of another cluster than the one --join leads to; it may have founded a cluster
 * where it was to come back to one; it may have been removed. None of them does harm by being
 * there, but each would go on for ever, which nobody asked for. So each is told in a sentence, and
 * ends. */
#ifndef NODES_BELONGING_H
#define NODES_BELONGING_H

#include "mesh/zmq_bus.h"
#include "nodes/config.h"
#include "nodes/router/router.h"

#define BELONGING_STAYS (-1)

struct belonging {
    const struct config *config; /* These three are borrowed. */
    const struct zmq_bus *bus;
    const struct router *router;
    uint64_t started_us; /* When the mesh was opened. */
    bool is_founder;     /* The cluster began here, in this run. */
    bool was_listed;     /* In this run it was on the list. */
    uint64_t looked_us;  /* When it was looked whether it is removed, */
    uint64_t again_us;   /* and when to say so again. */
};

/* Each turn. The exit code with which it is to end, having said why; else BELONGING_STAYS. */
int belonging_judge(struct belonging *belonging, uint64_t now_us);

#endif
