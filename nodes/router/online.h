/* online - which users are online: in the memory of their shard's leader.
 *
 * A user is here while some gateway has a session of his (watchers.users says which). What others
 * see of it:
 *
 *     GONE ──── user_open ───> HERE ──── the last gateway lets him go ───> LEAVING
 *      ^  ^                    │  ^                                        │    │
 *      │  └── its lease ends ──┘  └──────────── user_open ─────────────────┘    │
 *      └──────────────────── LIMIT_PRESENCE_GRACE_MS later ─────────────────────┘
 *
 * Who is leaving is still said to be online, so that who is back in time never was away. A gateway
 * whose lease runs out has been silent for as long already: its users are offline at once.
 *
 * A new leader has heard of nobody. Until it has led for ONLINE_SETTLE_MS, in which gateways say
 * again whom they have, a user it did not hear of is `unknown`: nothing is said of him, not even
 * that he is offline.
 *
 * Gateways where somebody watches a user (watchers.presence) are told how it is when they ask, and
 * then of changes: at most one event a user within LIMIT_PRESENCE_MS, and only what differs from
 * the one before. Presence is the first thing to wait when there is load: ONLINE_TURN_MAX events
 * a turn, ONLINE_BUSY_MAX where the turn has much else to do.
 *
 * When a user was last online is stored (cmd_seen): when he comes, if the minute before has no such
 * row, and always when he has left. What is not stored when the leader dies is forgotten.
 *
 * Memory: a record for each user who is online, or was within the last seconds; ONLINE_MAX of
 * them, and who is beyond counts as offline. No turn looks at users of whom there is nothing to
 * do: each wait is constant, so the lists are in the order of due times.
 *
 * Loop thread only. */
#ifndef NODES_ROUTER_ONLINE_H
#define NODES_ROUTER_ONLINE_H

#include "mesh/base/env.h"
#include "nodes/router/watchers.h"

#define ONLINE_MAX         1000000u
#define ONLINE_WATCHED_MAX 1000000u /* Users that some gateway watches. */
#define ONLINE_TURN_MAX    256u     /* Events in one turn, */
#define ONLINE_BUSY_MAX    16u      /* and where the router has much else to do. */
/* Rows of cmd_seen at once, and how often: when a gateway with thousands of users is given up, each
 * is a read and a write on every replica (measured: 7,000 at once held up all messages for 80 ms).
 * Those of one shard go together, in one entry of its log; one at a time, each has a turn, an entry
 * and a sync on every replica to itself. */
#define ONLINE_SEEN_BURST 25u
#define ONLINE_SEEN_US    50000u
/* A new leader knows by then whom gateways have: they hear of it with its next beat and say so at
 * once, within a second even where many users come over. Well below LIMIT_REQUEST_MS, for so long
 * a gateway goes on asking: whoever asks right after a change of leaders has his answer in time. */
#define ONLINE_SETTLE_MS 2000u
#define ONLINE_SEEN_MS   60000u /* Who is online is stored as seen at most so often. */

/* What it needs of the router. `shard` is that of the user. */
struct online_port {
    void *context;
    /* Is it led here, so that something may be said of its users? */
    bool (*serves)(void *context, uint32_t shard);
    /* For the grace time: gateways have said whom they have. */
    bool (*is_settled)(void *context, uint32_t shard);
    /* What is stored; 0: nothing. */
    uint64_t (*last_seen)(void *context, uint32_t shard, struct slice user);
    /* Store it, by the shard's log. False: it has too much to do, ask again. */
    bool (*see)(void *context, uint32_t shard, struct slice user, uint64_t ts);
};

/* Users of one shard for whom cmd_seen is to be written. */
struct online_unseen {
    struct list node; /* On online.unseen while it has users, and perhaps a little longer. */
    struct list users;
};

struct online {
    struct watchers *watchers;
    struct env *env;
    struct online_port port;
    struct map users;                /* struct online_user */
    struct list grace;               /* Those that are leaving or unknown, by since when. */
    struct list fresh;               /* Those that were told of within the last second, by when. */
    struct list due;                 /* Those of whom something is to be told. */
    struct list unseen;              /* struct online_unseen: shards take turns. */
    struct online_unseen *unseen_of; /* By shard; owned. */
    uint32_t shards;
    uint32_t users_max;   /* ONLINE_MAX. */
    uint32_t watched_max; /* ONLINE_WATCHED_MAX. */
    uint64_t again_us;    /* The last turn, and a little: no wake-up before. */
    uint64_t seen_us;     /* No cmd_seen before. */
};

void online_init(struct online *o, struct watchers *watchers, struct env *env, uint32_t shards,
                 const struct online_port *port);
void online_fini(struct online *o);

/* A gateway has a session of `user`, and follows him in watchers.users. */
void online_open(struct online *o, uint32_t shard, struct slice user);
/* He set his status, `age_ms` ago: the youngest counts. It says that he is there, too: it may come
 * before the user_open, which must follow within the grace time. What is no status, or
 * PRESENCE_OFFLINE, is ignored. */
void online_set(struct online *o, uint32_t shard, struct slice user, uint64_t status,
                uint64_t age_ms);
/* What is stored of him is to be forgotten: nothing new is, until he comes anew. */
void online_erase(struct online *o, struct slice user);
/* `watcher` wants to be told of `user`, and is told how it is now; or no longer. */
void online_watch(struct online *o, uint32_t shard, struct slice user, struct watcher *watcher);
void online_unwatch(struct online *o, struct slice user, struct watcher *watcher);

/* False: not known yet, ask again. last_seen is 0 where he is online. */
MUST_CHECK bool online_get(struct online *o, uint32_t shard, struct slice user,
                           struct msg_presence_item *ret_item);

/* For watchers.on_user_left; the context is the struct online. */
void online_on_left(void *online, struct slice user, bool is_lost);
/* Forget the users of shards that `keeps` says no to. */
void online_keep(struct online *o, bool (*keeps)(const void *context, uint32_t shard),
                 const void *context);

/* Do what is due: when the turn's batch is written. */
void online_turn(struct online *o, bool is_busy);
uint64_t online_due_us(const struct online *o); /* ENV_NEVER: nothing waits. */

#endif
