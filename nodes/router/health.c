/* health - can this router do its part, and if not, why?
 *
 * A group has a leader where one is heard to claim it, as gateways judge it: an election that
 * succeeds is over before the silence of the leader before is noticed. A hand-over is a moment in
 * which nobody claims it; that is how shards move and routers stop, and no reason to wake anybody.
 * So it counts only when it lasts. */
#include "nodes/router/router_private.h"

#define LOOK_MS       250u
#define LEADERLESS_MS 500u /* Nobody was heard for so long. */

static bool hears_leader(const struct router *router, uint32_t place)
{
    return shard_serves(router, &router->shards[place]) ||
           router_peers_leader(router, place) != NULL;
}

/* Only of groups that are held here, and the control group: that is what is looked at. */
static bool is_leaderless(const struct router *router, uint32_t place)
{
    const struct shard *shard = &router->shards[place];
    return !hears_leader(router, place) &&
           (shard->leader_ms == 0 || router_now_ms(router) - shard->leader_ms >= LEADERLESS_MS);
}

void health_turn(struct router *router)
{
    uint64_t now_ms = router_now_ms(router);
    if (now_ms < router->health_due_ms)
        return;
    router->health_due_ms = now_ms + LOOK_MS;
    for (uint32_t i = 0; i <= router->options.shards; i++) {
        struct shard *shard = &router->shards[i];
        if ((shard->group != NULL || i == router->options.shards) && hears_leader(router, i))
            shard->leader_ms = now_ms;
    }
}

static uint32_t count_up(const struct router *router)
{
    uint32_t count = 1;
    size_t at = 0;
    for (const struct router_peer *p; (p = map_next(&router->peers.by_id, &at)) != NULL;)
        count += p->is_up;
    return count;
}

static const char *reason_down(const struct router *router, const struct router_health *health)
{
    bool misses = health->missing[0] != '\0';
    if (router_is_removed(router))
        return "it was removed from the cluster";
    if (router->is_draining)
        return "the router is stopping";
    if (!health->knows_table)
        return "the list of routers was not heard yet";
    if (!health->hears_control)
        return misses ? "the control group has no leader, and routers are missing"
                      : "the control group has no leader";
    if (health->leaderless > 0)
        return misses ? "shards held here have no leader, and routers are missing"
                      : "shards held here have no leader";
    return NULL;
}

struct router_health router_health(const struct router *router)
{
    struct router_health health = {
        .shards_total = router->options.shards,
        .conversations_watched = router->watchers.convs.count,
    };
    health.moves_done = router->moves_done;
    health.bytes_moved = router->bytes_moved;
    health.knows_table = router->table.version > 0;
    health.hears_control = !is_leaderless(router, router->options.shards);
    health.routers_up = count_up(router);
    health.missing = router->remembered.missing;
    for (uint32_t i = 0; i <= router->options.shards; i++) {
        const struct shard *shard = &router->shards[i];
        health.shards_led += shard->was_ready && i < router->options.shards;
        health.replicas += shard->group != NULL;
        health.leaderless += shard_is_here(shard) && is_leaderless(router, i);
        health.moves_pending += shard->was_ready && !shard->moves.is_done;
    }
    size_t at = 0;
    for (const struct watcher *w; (w = map_next(&router->watchers.by_id, &at)) != NULL;)
        health.gateways += w->is_leased;
    health.reason = reason_down(router, &health);
    return health;
}
