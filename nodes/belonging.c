#include "nodes/belonging.h"

#include "mesh/base/log.h"
#include "nodes/tools.h"

#define OWN_US     2000000u  /* After the start: so long routers of its own cluster have to come. */
#define START_US   10000000u /* Later a cluster that it does not belong to is only logged. */
#define LOOK_US    500000u   /* How often it looks whether it was removed, */
#define REMOVED_US 60000000u /* and says so. */

/* ---- The wrong cluster ---- */

static bool hears_router(const struct belonging *b)
{
    const struct msg_node *peer;
    for (size_t at = 0; (peer = zmq_bus_next_peer(b->bus, &at)) != NULL;)
        if (peer->role == NODE_ROUTER)
            return true;
    return false;
}

static bool remembers_others(const struct belonging *b)
{
    const char *endpoints[PEERS_ROW_COUNT_MAX];
    return router_remembered(b->router, endpoints) > 0;
}

/* Without --join an empty directory founds a cluster. Where routers of another one, with our key,
 * look for us here, we were one of them and lost our disk: nobody wants a second cluster beside
 * theirs, in which gateways would be told that all is well. */
static int judge_founder(const struct belonging *b, uint64_t now_us)
{
    uint64_t age_us = now_us - b->started_us;
    const char *other = zmq_bus_foreigner(b->bus);
    if (other == NULL || b->config->join.count > 0 || (age_us < OWN_US && !b->is_founder) ||
        age_us > START_US || hears_router(b) || remembers_others(b))
        return BELONGING_STAYS;
    return tools_fail(EXIT_MISTAKE,
                      "%s, of a cluster with this key, looks for a router here: to come back to it "
                      "empty %s and give --join; for another cluster make another key",
                      other, b->config->data);
}

/* The data is of one cluster, --join leads to another: alone it would go on as a cluster of its
 * own, which nobody asked for. At the start only: later a stranger under an address that was a
 * router's once is no reason to end. */
static int judge_cluster(const struct belonging *b, uint64_t now_us)
{
    uint64_t age_us = now_us - b->started_us;
    const char *seed = zmq_bus_foreign_seed(b->bus);
    if (seed == NULL || age_us < OWN_US || age_us > START_US || hears_router(b))
        return BELONGING_STAYS;
    return tools_fail(EXIT_MISTAKE,
                      "the data in %s is of another cluster than %s, which --join names: give the "
                      "right --data, or an empty directory",
                      b->config->data, seed);
}

/* ---- Removed ---- */

/* It holds nothing. One that is started again was not told to end, one that ran was. */
static int end_removed(const struct belonging *b)
{
    if (b->was_listed) {
        log_info("removed",
                 "reason=\"it was removed from the cluster, and holds nothing: it ends\"");
        return EXIT_FINE;
    }
    return tools_fail(EXIT_MISTAKE,
                      "%s was removed from this cluster for good, and holds nothing that is "
                      "needed: empty %s, and start it under a new --id",
                      b->config->id, b->config->data);
}

/* Its name is off the list, for good. What it has on its disk is left to the leaders of the groups,
 * for one that lost too many others could need it: they tell it to drop what they do not count on.
 */
static int judge_removed(struct belonging *b, uint64_t now_us)
{
    if (now_us - b->looked_us < LOOK_US)
        return BELONGING_STAYS;
    b->looked_us = now_us;
    const struct router_health health = router_health(b->router);
    if (!router_is_removed(b->router)) {
        b->was_listed |= health.knows_table;
        return BELONGING_STAYS;
    }
    if (health.replicas == 0)
        return end_removed(b);
    if (now_us >= b->again_us) {
        b->again_us = now_us + REMOVED_US;
        log_warn("removed",
                 "replicas=%u reason=\"it was removed from the cluster for good: it ends once the "
                 "others have told it to drop what it holds; empty its directory then, and start "
                 "it under a new --id\"",
                 health.replicas);
    }
    return BELONGING_STAYS;
}

int belonging_judge(struct belonging *b, uint64_t now_us)
{
    int code = judge_cluster(b, now_us);
    if (code == BELONGING_STAYS)
        code = judge_founder(b, now_us);
    if (code == BELONGING_STAYS)
        code = judge_removed(b, now_us);
    return code;
}
