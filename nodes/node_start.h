/* node_start - what routers and gateways do alike when they start. */
#ifndef NODES_NODE_START_H
#define NODES_NODE_START_H

#include "mesh/base/env.h"
#include "mesh/zmq_bus.h"
#include "nodes/config.h"

/* Check that there is a node id, start the log, raise the limit of open files to what the system
 * allows. Returns an exit code, EXIT_FINE to go on. */
int node_start_process(const struct config *c);

/* Judge what options mean together, the key file included, before anything is made or opened: the
 * mesh would refuse the same, but only once a router has its data. `listen` NULL: not a router.
 * Returns an exit code, having said what is wrong. */
int node_start_check(const struct config *c, const char *listen);

/* Of these, what the key file alone can tell, where one is named: also for `config check`. */
int node_start_check_key(const struct config *c);

/* What of the bus differs from role to role. */
struct node_start_bus {
    enum node_role role;
    const char *node;
    uint64_t incarnation;
    const uint8_t *cluster; /* 16 bytes, or NULL: not known yet. */
    const char *http;       /* Gateway: where clients connect, for the record. */
    const char *listen;     /* Router. */
    const char *key;        /* Key file, or NULL. */
};

/* Open the bus, its handler still to be set. Returns an exit code, having said why not. */
int node_start_bus(const struct node_start_bus *start, const struct config *c, struct env *env,
                   struct zmq_bus **ret_bus);

/* SIGHUP: level, format and accepted mesh keys anew from `fresh`. */
void node_start_reload(const struct config *fresh, const char *node, struct zmq_bus *bus);

#endif
