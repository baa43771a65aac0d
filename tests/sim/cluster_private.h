/* cluster_private - what the parts of the cluster share: cluster.c (life), cluster_router.c
 * (routers and their disks), cluster_net.c (packets and discovery). Nobody else includes this. */
#ifndef TESTS_SIM_CLUSTER_PRIVATE_H
#define TESTS_SIM_CLUSTER_PRIVATE_H

#include "tests/sim/cluster.h"

/* cluster_net.c */
struct bus cluster_bus(void);
/* Tell the live nodes that `node` came, and it of them; or that it went. */
void cluster_spread(struct cluster *c, struct sim_node *node, bool up);
/* Packets to and from it no longer wait behind those of its last life. */
void cluster_reset_ways(struct cluster *c, const struct sim_node *node);

/* cluster_router.c */
void cluster_start_router(struct cluster *c, struct sim_node *node);
void cluster_kill_router(struct cluster *c, struct sim_node *node);
/* False: it failed, and its process is gone. */
bool cluster_turn_router(struct sim_node *node);
uint64_t cluster_router_due_us(struct sim_node *node);

#endif
