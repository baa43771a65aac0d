/* router_rig - one router's core over a store in memory, a clock that the test moves, and a bus
 * that the test is: it says what other nodes say, and is called with each message that leaves.
 *
 * What leaves on the publish channel goes nowhere. */
#ifndef TESTS_SUPPORT_ROUTER_RIG_H
#define TESTS_SUPPORT_ROUTER_RIG_H

#include "nodes/router/router.h"
#include "storage/mem_kv.h"

#define ROUTER_RIG_TRUNCATE 16u /* options.truncate_count */

struct router_rig {
    struct env env;
    struct bus bus;
    uint64_t now_us;
    struct kv *kv;
    uint32_t shards;
    struct router *router; /* NULL: it is down. */
    struct bus_handler handler;
    /* May be NULL. A message of this number left for `to`; nothing may be said in it. */
    void (*on_message)(struct router_rig *rig, struct slice to, uint32_t number,
                       struct record_reader message);
};

extern const uint8_t router_rig_cluster[16];

void router_rig_init(struct router_rig *rig, uint32_t shards);
void router_rig_fini(struct router_rig *rig);

/* Open the core on what is stored; a founder begins its cluster. */
void router_rig_open(struct router_rig *rig, const char *node, bool founds);
/* It dies, and everything that was written survives. */
void router_rig_kill(struct router_rig *rig);
/* Turns of 20 ms, each with its sync. */
void router_rig_run(struct router_rig *rig, uint64_t ms);

/* Discovery hears of a router. */
void router_rig_meet(struct router_rig *rig, const char *node, bool up);
void router_rig_hear(struct router_rig *rig, const char *from, const struct record_desc *desc,
                     const void *message);
/* What gateway g1 asks to have done. */
void router_rig_submit(struct router_rig *rig, uint32_t shard, const struct record_desc *desc,
                       const void *command);

#endif
