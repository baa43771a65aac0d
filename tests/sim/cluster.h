/* cluster - real routers and gateways in a simulated world.
 *
 * The first router begins the cluster, the others join it, at once or later. Packets between two
 * nodes keep their order on each channel, as TCP does; they are lost when an end dies or the way is
 * cut, held where it only stalls, and published ones are also lost at random while faults are on. A
 * node's turn runs a little after whatever woke it. A router's store forgets what was not synced
 * when the router crashes, and its disk may fail, which must end it.
 *
 * cluster.c is the life of nodes, cluster_router.c that of routers and their disks, cluster_net.c
 * packets and discovery; groups.h looks into what routers hold. */
#ifndef TESTS_SIM_CLUSTER_H
#define TESTS_SIM_CLUSTER_H

#include "gateway/gateway.h"
#include "mesh/base/env.h"
#include "mesh/base/limits.h"
#include "mesh/wire/bus.h"
#include "nodes/router/router.h"
#include "tests/sim/tap.h"
#include "tests/sim/world.h"

#define CLUSTER_ROUTERS_MAX  5u
#define CLUSTER_GATEWAYS_MAX 3u
#define CLUSTER_NODES_MAX    10u /* The operator is one, too. */
#define CLUSTER_SHARDS_MAX   64u
#define CLUSTER_WEIGHT       100u /* Of each router. */

struct cluster;
struct join;

/* From one node to another. */
enum sim_channel {
    CHANNEL_REQUEST,
    CHANNEL_PUBLISH,
    CHANNEL_COUNT,
};
#define CHANNEL_BOTH (1u << CHANNEL_REQUEST | 1u << CHANNEL_PUBLISH)

struct sim_way {
    uint64_t last_us; /* When what was sent last arrives: keeps order. */
    uint64_t cut_until_us;
    bool holds; /* While it is cut packets wait for the end of it; else they are lost. */
};

/* An operator's tools are a node that no other one hears of. */
enum { NODE_OPERATOR = 0 };

struct sim_node {
    struct env env; /* First: the ports find their node by it. */
    struct bus bus;
    struct cluster *cluster;
    struct bus_handler handler;
    unsigned role; /* enum node_role, or NODE_OPERATOR. */
    char id[16];
    uint32_t index;
    uint64_t incarnation;
    uint64_t last_words; /* The incarnation whose packets on their way survive its death. */
    bool is_alive;
    bool turn_planned;
    uint64_t wake_us; /* The due time a wake-up is planned for; ENV_NEVER: none. */
    uint64_t stopped_until_us;
    uint64_t
        read_us; /* It was stopped after it had read its clock, and goes on with this; 0: not. */
    struct sim_way ways[CLUSTER_NODES_MAX][CHANNEL_COUNT]; /* From each other node to this one. */

    struct router *router; /* NULL in a router that joins, */
    struct join *join;     /* and this is NULL in one that has. */
    struct kv *kv;         /* The tap over */
    struct kv *disk;       /* this mem_kv. */
    bool disk_fails;       /* A failure was ordered and may come at any moment. */
    uint64_t slow_until_us;
    bool is_founder;  /* Begins the cluster where its store is empty; once wiped it joins. */
    bool is_expected; /* Has been started: at the end it must be there, unless */
    bool is_leaving;  /* An operator is taking it out, */
    bool is_removed;  /* or has. */
    uint32_t shards;  /* As it learned; 0 before it has joined. */

    struct gateway *gateway;
    bool is_draining; /* Gateway or router. */
};

struct cluster_faults {
    double publish_loss;  /* Probability that a published packet vanishes. */
    double full_queue;    /* Probability that a router's packet to a router is refused. */
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
    uint32_t grace_ms;                    /* A router silent for longer is replaced. */
    uint32_t drop_members, erase_entries; /* Of one command; 0: as usual. */
    uint32_t fanout_members;
    uint32_t redeliver_ms;
};

struct cluster_options {
    uint32_t routers, gateways;
    uint32_t replicas; /* R. */
    uint32_t zones;    /* 0: none are named. */
    uint32_t shards;
};

struct cluster {
    struct world *world;
    struct cluster_options options;
    struct sim_node nodes[CLUSTER_NODES_MAX]; /* Routers, gateways, the operator. */
    uint32_t node_count;
    uint8_t cluster_id[16];
    struct auth auth;
    struct cluster_faults faults;
    struct cluster_limits limits;
    uint64_t stalls; /* Ways whose packets were held for long. */
    uint64_t crashes, losses, disk_failures, wipes, joins;
    uint64_t moves;                         /* Steps of placement, of routers that ended since. */
    uint64_t confs;                         /* Configurations stored, by any replica. */
    uint32_t homes[CLUSTER_SHARDS_MAX + 1]; /* Routers, by bit, that a list gave this group to. */
    struct tap_listener listener;           /* Hears of what each router stores. */
    void (*on_gateway_down)(void *context, struct sim_node *gateway);
    void *context;
    void (*on_disk_failed)(void *disk_context, struct sim_node *router); /* It crashed of it. */
    void *disk_context;
};

void cluster_init(struct cluster *c, struct world *world, const struct cluster_options *options);
void cluster_fini(struct cluster *c);

struct sim_node *cluster_router(struct cluster *c, uint32_t index);
struct sim_node *cluster_gateway(struct cluster *c, uint32_t index);
struct sim_node *cluster_operator(struct cluster *c);
void cluster_zone(const struct sim_node *router, char zone[LIMIT_NODE_ID_SIZE_MAX + 1]);
struct sim_node *cluster_find(struct cluster *c, struct slice id); /* Or NULL. */

/* ---- Life ---- */

void cluster_start(struct cluster *c, struct sim_node *node);
/* kill -9: a router's store keeps a random prefix of what was written since the last sync. */
void cluster_crash(struct cluster *c, struct sim_node *node);
/* Its directory is gone: the dead router will come back with nothing, and join. */
void cluster_wipe(struct cluster *c, struct sim_node *router);

/* From the given countdown on the router's disk fails at every write, or at every sync. */
void cluster_break_disk(struct cluster *c, struct sim_node *router, bool at_write,
                        uint32_t countdown);
/* For so long a sync takes up to half a second. */
void cluster_slow_disk(struct cluster *c, struct sim_node *router, uint64_t us);

/* SIGSTOP: the node does nothing for so long, and then everything that came meanwhile. */
void cluster_stop(struct cluster *c, struct sim_node *node, uint64_t us);

/* Something happened to the node: it takes a turn soon. */
void cluster_wake(struct sim_node *node);

/* ---- The network ---- */

/* Cut channels (bits by enum sim_channel) in one direction for so long. */
void cluster_cut(struct cluster *c, struct sim_node *from, struct sim_node *to, unsigned channels,
                 uint64_t us, bool holds);
/* Discovery tells the node that the other one is gone, and later that it is back. */
void cluster_rumour(struct cluster *c, struct sim_node *to, struct sim_node *about,
                    uint64_t down_after_us, uint64_t up_after_us);
/* No cut is left, no disk fails; everyone hears of everyone. */
void cluster_heal(struct cluster *c);

#endif
