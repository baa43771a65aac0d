/* soft_rig - gateways that watch, a clock, and a bus that takes notes: for what routers keep in
 * memory only.
 *
 * What is published leaves at soft_flush() and is noted in order. */
#ifndef TESTS_SUPPORT_SOFT_RIG_H
#define TESTS_SUPPORT_SOFT_RIG_H

#include "mesh/base/env.h"
#include "nodes/router/watchers.h"

#define SOFT_HEARD_MAX 4096u

/* An event that a gateway was told. */
struct soft_heard {
    char gateway[LIMIT_NODE_ID_SIZE_MAX + 1];
    uint32_t number; /* MSG_EVENT_TYPING, MSG_EVENT_TALLY, MSG_EVENT_PRESENCE, MSG_EVENT_RECEIPT. */
    char conv[64];
    char user[64];
    uint64_t on;                          /* Typing. */
    uint64_t status, last_seen;           /* Presence. */
    uint64_t seq, delivered, read, total; /* Tally, receipt. */
};

struct soft_rig {
    struct env env;
    struct bus bus;
    uint64_t now_us;
    uint64_t wall_ms;
    struct watchers watchers;
    struct soft_heard heard[SOFT_HEARD_MAX];
    uint32_t heard_count;
};

void soft_rig_init(struct soft_rig *rig);
void soft_rig_fini(struct soft_rig *rig);

/* The gateway of this id, leased. */
struct watcher *soft_gateway(struct soft_rig *rig, const char *id);
void soft_follow(struct soft_rig *rig, struct map *table, uint32_t shard, const char *key,
                 const char *gateway);
void soft_unfollow(struct soft_rig *rig, struct map *table, const char *key, const char *gateway);
void soft_pass(struct soft_rig *rig, uint64_t ms); /* Both clocks move on. */
/* What was published since is noted, after what was before. */
void soft_flush(struct soft_rig *rig);
/* The same, and forget what was noted before. */
void soft_hear_anew(struct soft_rig *rig);

#endif
