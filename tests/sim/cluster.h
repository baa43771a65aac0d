/* cluster - real routers and gateways in a simulated world.
 *
 * Packets between two nodes keep their order on each channel, as TCP does; they are lost when an
 * end dies or a channel is cut, held where it only stalls, and published ones are also lost at
 * random while faults are on. A node's turn runs a little after whatever woke it. A router's store
 * forgets what was not synced when the router crashes, and its disk may fail, which must end it. */
#ifndef TESTS_SIM_CLUSTER_H
#define TESTS_SIM_CLUSTER_H

#include "gateway/gateway.h"
#include "mesh/base/env.h"
#include "mesh/wire/bus.h"
#include "nodes/router/router.h"
#include "tests/sim/tap.h"
#include "tests/sim/world.h"

#define CLUSTER_NODES_MAX 8u

struct cluster;

/* Between a gateway and the router. */
enum sim_channel {
    CHANNEL_UP,      /* Requests. */
    CHANNEL_DOWN,    /* Answers. */
    CHANNEL_PUBLISH, /* Events. */
    CHANNEL_COUNT,
};

struct sim_cut {
    uint64_t until_us;
    bool holds; /* Packets wait for the end of it; else they are lost. */
};

struct sim_node {
    struct env env; /* First: the ports find their node by it. */
    struct bus bus;
    struct cluster *cluster;
    struct bus_handler handler;
    enum node_role role;
    char id[16];
    uint32_t index;
    uint64_t incarnation;
    uint64_t last_words; /* The incarnation whose packets on their way survive its death. */
    bool is_alive;
    bool turn_planned;
    uint64_t wake_us; /* The due time a wake-up is planned for; ENV_NEVER: none. */
    uint64_t last_delivery_us[CLUSTER_NODES_MAX][2]; /* By sender and channel: keeps order. */
    struct router *router;
    struct kv *kv;   /* The tap over */
    struct kv *disk; /* this mem_kv. */
    bool disk_fails; /* A failure was ordered and may come at any moment. */
    struct gateway *gateway;
    struct sim_cut cuts[CHANNEL_COUNT]; /* A gateway's. */
    bool is_draining;
    uint64_t stopped_until_us;
};

struct cluster_faults {
    double publish_loss;  /* Probability that a published packet vanishes. */
    double slow_packet;   /* Probability of an extra delay of up to 100 ms. */
    uint64_t sync_us_max; /* A sync takes up to this; */
    double quick_sync;    /* with this probability it is over at once. */
    bool on;
};

/* Bounds that a seed draws. */
struct cluster_limits {
    uint32_t resume_count_max;
    uint32_t queue_bytes_max;
    uint32_t truncate_count;
    uint32_t outbox_bytes_max;
    uint32_t request_ms;
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
    struct cluster_limits limits;
    struct tap_listener listener; /* Hears of every entry written. */
    uint64_t stalls;              /* Links whose packets were held. */
    uint64_t crashes, losses, disk_failures, cuts, drains;
    void (*on_gateway_down)(void *context, struct sim_node *gateway);
    void *context;
    void (*on_disk_failed)(void *disk_context, struct sim_node *router); /* It crashed of it. */
    void *disk_context;
};

void cluster_init(struct cluster *c, struct world *world, uint32_t gateways, uint32_t shards);
void cluster_fini(struct cluster *c);

struct sim_node *cluster_router(struct cluster *c);
struct sim_node *cluster_gateway(struct cluster *c, uint32_t index);

void cluster_start(struct cluster *c, struct sim_node *node);
/* kill -9: a router's store keeps a random prefix of what was written since the last sync. */
void cluster_crash(struct cluster *c, struct sim_node *node);
/* From the given countdown on the router's disk fails at every write, or at every sync. */
void cluster_break_disk(struct cluster *c, bool at_write, uint32_t countdown);

/* SIGSTOP: the router does nothing for so long, and then everything that came meanwhile. */
void cluster_stop(struct cluster *c, uint64_t us);

/* Cut the channels (bits by enum sim_channel) of a gateway for so long. Where discovery hears of
 * it, the gateway is told that the router is gone, and that it is back. */
void cluster_cut(struct cluster *c, struct sim_node *gateway, unsigned channels, uint64_t us,
                 bool holds, bool is_heard_of);
void cluster_heal(struct cluster *c); /* No cut is left, no disk fails. */

/* Something happened to the node: it takes a turn soon. */
void cluster_wake(struct sim_node *node);

#endif
