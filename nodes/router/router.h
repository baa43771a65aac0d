/* router - the core of a router node: shards, their state machine, and who watches what.
 *
 * Pure: env for time, bus for peers, kv for the disk. nodes/router_node.c turns the loop.
 *
 * The turn, in order and each step bounded: requests that came in are queued by shard; what became
 * durable commits; committed entries apply to the state; queued commands are packed, one entry a
 * shard; log, hard state and state of all shards go out as one batch; reads are answered from it;
 * events and answers leave, one packet a peer; a sync is asked for if something waits for it.
 *
 *   happy path      submit -> queue -> packed entry -> batch -> sync -> commit -> apply -> result
 *   failure modes   queue full or no leader: UNAVAILABLE at once; disk error: router_is_failed(),
 *                   the process ends; leadership lost: waiting requests get UNAVAILABLE, outcome
 *                   unknown
 *   on stop         nothing needs to be flushed: what was acknowledged is durable */
#ifndef NODES_ROUTER_ROUTER_H
#define NODES_ROUTER_ROUTER_H

#include <stdbool.h>

#include "mesh/base/env.h"
#include "mesh/wire/bus.h"
#include "nodes/router/push.h"
#include "storage/kv.h"
#include "storage/peers_row.h"

struct router_options {
    const char *node; /* Node id. */
    uint64_t incarnation;
    uint8_t cluster[16];
    uint32_t shards;
    uint32_t resume_count_max;    /* LIMIT_RESUME_COUNT. */
    uint32_t queue_bytes_max;     /* Per shard. */
    uint32_t in_flight_max;       /* Commands of all shards; 0: no limit. */
    uint32_t messages_max;        /* A second, to one conversation; 0: no limit. */
    uint32_t truncate_count;      /* Applied entries kept in the log, at least. */
    uint32_t replicas;            /* R of a cluster that this router founds. */
    const char *epoch;            /* Of the cluster's history, 8 hex digits. */
    const char *zone;             /* NULL: none. */
    uint32_t weight;              /* 1..1000; 100 is usual. */
    uint64_t grace_ms;            /* A router silent for longer is replaced. */
    uint32_t drop_members_max;    /* See machine_limit_parts(); the same in every router, and */
    uint32_t erase_entries_max;   /* LIMIT_PART_COUNT but in simulations; 0: that. */
    const struct push_port *push; /* The webhook; NULL: none. Copied. */
};

struct router;

/* Put the first log of every group into `batch`, with this router as their only voter: what founds
 * a cluster. To be written in one batch with the node's row, so that there is all of it or nothing.
 */
void router_bootstrap(const struct router_options *options, struct env *env,
                      struct kv_batch *batch);

/* Open what `kv` holds: replicas of some groups, or none yet. Texts are copied. RC_CORRUPT: a log
 * or hard state fails its checksum or is missing, and there is no other router to have it from;
 * RC_IO. */
MUST_CHECK enum rc router_new(const struct router_options *options, struct env *env,
                              struct bus *bus, struct kv *kv, struct router **ret_router);
void router_free(struct router **router);

struct bus_handler router_bus_handler(struct router *router);

void router_turn(struct router *router);
uint64_t router_due_us(struct router *router); /* When a turn is due though nothing comes in. */

/* Hand every leadership over, take none: before the process stops. Turn on meanwhile. */
void router_drain(struct router *router);
/* It leads nothing that another could take, and no leader needs its vote. */
bool router_is_drained(const struct router *router);
/* Groups led here that nobody could take: no other replica of them lives and is whole. */
uint32_t router_count_alone(const struct router *router);

/* Where the other routers of the cluster are to be looked for, beside --join: endpoints, borrowed
 * until the next turn. Returns how many. The version is raised when they change. */
uint32_t router_remembered(const struct router *router,
                           const char *ret_endpoints[PEERS_ROW_COUNT_MAX]);
uint64_t router_remembered_version(const struct router *router);

/* How the push port's post went; see push_on_posted(). */
void router_on_posted(struct router *router, uint32_t status, const char *reason);

/* The disk failed, or the consensus core gave up: nothing more may be acknowledged, the process
 * ends. */
bool router_is_failed(const struct router *router);

/* The committed list says that this router was removed from the cluster. */
bool router_is_removed(const struct router *router);

struct router_health {
    const char *reason; /* Why it cannot do its part, for people; static. NULL: it can. */
    uint32_t shards_total;
    uint32_t shards_led; /* Led, with the barrier of this term applied. */
    uint32_t replicas;   /* Groups of which a replica is held here, the control group too. */
    uint32_t
        leaderless; /* Of these, those that nobody has led for half a second, as far as is heard. */
    uint32_t moves_pending; /* Groups led here that are not where they should be. */
    uint64_t moves_done;    /* Steps of placement since the start. */
    uint64_t bytes_moved;   /* State sent to other routers since the start. */
    bool knows_table;       /* It has heard the committed list of routers. */
    bool hears_control;     /* And it hears, or is, who leads the control group, which keeps it. */
    uint32_t routers_up;    /* Routers of the cluster that it hears, itself counted. */
    /* Names of those that it does not hear, by spaces; some of them where many are. The router's.
     */
    const char *missing;
    uint64_t conversations_watched;
    uint64_t gateways;
};
struct router_health router_health(const struct router *router);

/* One group for `status`. */
struct router_shard_status {
    uint32_t shard;    /* Or CONTROL_GROUP. */
    const char *state; /* "leader", "follower", …; "none": no replica here. */
    uint64_t term, commit_index, applied_index, entries;
    uint64_t digest; /* Of the state at applied_index. */
    bool is_voter;   /* In the newest configuration known here. */
};
/* `place` counts from 0; router.options.shards is the control group. */
void router_shard_status(const struct router *router, uint32_t place,
                         struct router_shard_status *ret_status);

#endif
