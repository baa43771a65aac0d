/* cluster - real routers and gateways in a simulated world.
 *
 * Packets between two nodes keep their order on each channel, as TCP does; they are lost when an
 * end dies, and published ones are also lost at random while faults are on. A node's turn runs a
 * little after whatever woke it. A router's store forgets what was not synced when the router
 * crashes. */
#ifndef TESTS_SIM_CLUSTER_H
#define TESTS_SIM_CLUSTER_H

#include "gateway/gateway.h"
#include "mesh/base/env.h"
#include "mesh/wire/bus.h"
#include "nodes/router/router.h"
#include "storage/kv.h"
#include "tests/sim/world.h"

#define CLUSTER_NODES_MAX 8u

struct cluster;

struct sim_node {
    struct env env; /* First: the ports find their node by it. */
    struct bus bus;
    struct cluster *cluster;
    struct bus_handler handler;
    enum node_role role;
    char id[16];
    uint32_t index;
    uint64_t incarnation;
    bool is_alive;
    bool turn_planned;
    uint64_t wake_us; /* The due time a wake-up is planned for; ENV_NEVER: none. */
    uint64_t last_delivery_us[CLUSTER_NODES_MAX][2]; /* By sender and channel: keeps order. */
    struct router *router;
    struct kv *kv;
    struct gateway *gateway;
};

struct cluster_faults {
    double publish_loss;  /* Probability that a published packet vanishes. */
    double slow_packet;   /* Probability of an extra delay of up to 100 ms. */
    uint64_t sync_us_max; /* A sync takes up to this. */
    bool on;
};

struct cluster {
    struct world *world;
    struct sim_node nodes[CLUSTER_NODES_MAX];
    uint32_t node_count;
    uint32_t gateway_count;
    uint32_t shards;
    uint8_t cluster_id[16];
    struct auth auth;
    struct cluster_faults faults;
    uint64_t crashes, losses;
    void (*on_gateway_down)(void *context, struct sim_node *gateway);
    void *context;
};

void cluster_init(struct cluster *c, struct world *world, uint32_t gateways, uint32_t shards);
void cluster_fini(struct cluster *c);

struct sim_node *cluster_router(struct cluster *c);
struct sim_node *cluster_gateway(struct cluster *c, uint32_t index);

void cluster_start(struct cluster *c, struct sim_node *node);
/* kill -9: a router's store keeps a random prefix of what was written since the last sync. */
void cluster_crash(struct cluster *c, struct sim_node *node);

/* Something happened to the node: it takes a turn soon. */
void cluster_wake(struct sim_node *node);

#endif
