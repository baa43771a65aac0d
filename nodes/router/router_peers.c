#include "nodes/router/router_peers.h"

#include <stdio.h>

#include "mesh/base/log.h"
#include "mesh/base/mem.h"
#include "mesh/base/metrics.h"
#include "nodes/router/router_private.h"

static struct slice peer_key(const void *thing)
{
    return slice_string(((const struct router_peer *)thing)->id);
}

void router_peers_init(struct router *router)
{
    map_init(&router->peers.by_id, peer_key);
}

void router_peers_fini(struct router *router)
{
    size_t at = 0;
    for (struct router_peer *peer; (peer = map_next(&router->peers.by_id, &at)) != NULL;) {
        mem_free(peer->terms);
        buf_unref(&peer->counted);
        mem_free(peer);
    }
    map_fini(&router->peers.by_id);
}

struct router_peer *router_peers_get(const struct router *router, struct slice node)
{
    return map_get(&router->peers.by_id, node);
}

struct router_peer *router_peers_expect(struct router *router, struct slice node)
{
    struct router_peer *peer = router_peers_get(router, node);
    if (peer != NULL || node.size > LIMIT_NODE_ID_SIZE_MAX ||
        router->peers.by_id.count >= LIMIT_ROUTERS_MAX)
        return peer;
    peer = mem_new(struct router_peer);
    memcpy(peer->id, node.base, node.size);
    peer->down_ms = env_now_ms(router->env);
    map_put(&router->peers.by_id, peer);
    return peer;
}

void router_peers_on_node(struct router *router, const struct msg_node *node, bool up)
{
    struct router_peer *peer = router_peers_expect(router, node->id);
    if (peer == NULL)
        return;
    if (peer->is_up && !up)
        peer->down_ms = env_now_ms(router->env);
    peer->is_up = up;
    peer->has_beat = false;
    if (up && peer->incarnation != node->incarnation)
        peer->is_leaving = false;
    if (up)
        peer->incarnation = node->incarnation;
    if (up && node->gossip.size > 0 && node->gossip.size < sizeof(peer->gossip)) {
        snprintf(peer->gossip, sizeof(peer->gossip), "%.*s", SLICE_ARGS(node->gossip));
        remembered_changed(router);
    }
    if (peer->terms != NULL) /* It claims again, if it leads. */
        memset(peer->terms, 0, (router->options.shards + 1u) * sizeof(*peer->terms));
    router->beats_due = true; /* Who comes wants to know who leads. */
}

void router_peers_tell(struct router *router, struct router_peer *peer,
                       const struct record_desc *desc, const void *message)
{
    if (!peer->is_up)
        return;
    struct watcher *watcher =
        watchers_get(&router->watchers, slice_string(peer->id), peer->incarnation);
    if (watcher != NULL)
        watchers_answer(&router->watchers, watcher, desc, message);
}

void router_peers_tell_all(struct router *router, const struct record_desc *desc,
                           const void *message)
{
    size_t at = 0;
    for (struct router_peer *peer; (peer = map_next(&router->peers.by_id, &at)) != NULL;)
        router_peers_tell(router, peer, desc, message);
}

void router_peers_send_record(void *context, struct slice node, struct slice record)
{
    struct router *router = context;
    const struct router_peer *peer = router_peers_get(router, node);
    if (peer == NULL || !peer->is_up) {
        metric_add(packets_dropped_total, 1); /* As a network may; Raft sends again. */
        return;
    }
    struct watcher *watcher = watchers_get(&router->watchers, node, peer->incarnation);
    if (watcher != NULL)
        watchers_answer_record(&router->watchers, watcher, record);
}

struct router_peer *router_peers_leader(const struct router *router, uint32_t place)
{
    struct router_peer *leader = NULL;
    size_t at = 0;
    for (struct router_peer *peer; (peer = map_next(&router->peers.by_id, &at)) != NULL;) {
        if (!peer->is_up || peer->terms == NULL || peer->terms[place] == 0)
            continue;
        if (leader == NULL || peer->terms[place] > leader->terms[place])
            leader = peer;
    }
    return leader;
}

/* ---- Beats ---- */

void router_peers_on_beat(struct router *router, struct router_peer *peer,
                          const struct msg_router_beat *beat)
{
    uint32_t groups = router->options.shards + 1;
    if (beat->groups != groups) {
        metric_add(packets_bad_total, 1);
        return;
    }
    if (peer->terms == NULL)
        peer->terms = mem_zero(groups * sizeof(*peer->terms));
    struct record_reader terms = record_reader_of(beat->terms);
    for (uint32_t i = 0; i < groups; i++)
        if (record_get_u64(&terms, &peer->terms[i]) != RC_OK) {
            metric_add(packets_bad_total, 1);
            return;
        }
    if (peer->counted == NULL)
        peer->counted = buf_new(16);
    buf_clear(peer->counted);
    buf_append_slice(peer->counted, beat->counted);
    peer->held = beat->held;
    peer->table = beat->table;
    peer->has_beat = true;
    peer->beat_ms = router_now_ms(router);
    peer->is_leaving = beat->leaving != 0;
    struct record_reader digests = record_reader_of(beat->digests);
    while (!record_reader_at_end(&digests)) {
        uint64_t group, index, digest;
        if (record_get_u64(&digests, &group) != RC_OK ||
            record_get_u64(&digests, &index) != RC_OK ||
            record_get_u64(&digests, &digest) != RC_OK) {
            metric_add(packets_bad_total, 1);
            return;
        }
        struct shard *shard = router_shard(router, group);
        if (shard != NULL)
            digests_on_other(router, shard, slice_string(peer->id), index, digest);
    }
}

void router_peers_turn(struct router *router, bool at_once)
{
    uint64_t now_us = env_now_us(router->env);
    if (now_us < router->peers.next_beat_us && !at_once)
        return;
    router->peers.next_beat_us = now_us + (uint64_t)LIMIT_BEAT_MS * 1000;
    if (router->peers.by_id.count == 0)
        return;
    struct buf *terms = router->answer, *digests = router->command;
    struct buf *counted = router->answer_left;
    uint32_t held = 0;
    buf_clear(terms);
    buf_clear(digests);
    buf_clear(counted);
    for (uint32_t i = 0; i <= router->options.shards; i++) {
        struct shard *shard = &router->shards[i];
        record_put_u64(terms, shard_serves(router, shard) ? raft_group_term(shard->group) : 0);
        held += shard->group != NULL;
        digests_put(shard, digests);
    }
    control_put_counted(router, counted);
    const struct msg_router_beat beat = {
        .groups = router->options.shards + 1u,
        .terms = buf_slice(terms),
        .digests = buf_slice(digests),
        .held = held,
        .leaving = router->is_draining,
        .table = router->table.version,
        .counted = buf_slice(counted),
    };
    router_peers_tell_all(router, &msg_router_beat_desc, &beat);
}
