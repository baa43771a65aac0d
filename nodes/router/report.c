/* report - what `chatmesh status --json` sees of a router, and the simulator of its groups. */
#include "mesh/base/check.h"
#include "mesh/base/metrics.h"
#include "nodes/router/router_private.h"

static const char *state_name(enum router_state state)
{
    switch (state) {
    case ROUTER_ACTIVE:
        return "active";
    case ROUTER_DRAINING:
        return "draining";
    case ROUTER_LOST:
        return "lost";
    case ROUTER_REMOVED:
        return "removed";
    case ROUTER_JOINS: /* Never stored. */
        break;
    }
    return "unknown";
}

static void write_routers(const struct router *router, struct buf *into)
{
    const struct table *table = &router->table;
    buf_append_format(into, ",\"table\":{\"version\":%lu,\"replicas\":%u},\"routers\":[",
                      (unsigned long)table->version, table->replicas);
    for (uint32_t i = 0; i < table->count; i++) {
        const struct table_router *r = &table->routers[i];
        buf_append_format(into, "%s{\"id\":\"%s\",\"zone\":\"%s\",\"weight\":%u,\"state\":\"%s\"}",
                          i > 0 ? "," : "", r->node, r->zone, r->weight, state_name(r->state));
    }
    buf_append_string(into, "]");
}

/* The other routers of the cluster and where they were last, also while nobody tells the list. */
static void write_remembered(const struct router *router, struct buf *into)
{
    const struct peers_row *row = &router->remembered.row;
    buf_append_string(into, ",\"remembered\":[");
    for (uint32_t i = 0; i < row->count; i++)
        buf_append_format(into, "%s{\"id\":\"%s\",\"address\":\"%s\"}", i > 0 ? "," : "",
                          row->peers[i].node, row->peers[i].endpoint);
    buf_append_string(into, "]");
}

/* The gateways that this router hears, and what they say of themselves. */
static void write_gateways(const struct router *router, struct buf *into)
{
    const struct watcher *watcher;
    bool is_first = true;
    buf_append_string(into, ",\"watchers\":[");
    for (size_t at = 0; (watcher = map_next(&router->watchers.by_id, &at)) != NULL;) {
        if (!watcher->is_leased)
            continue;
        buf_append_format(into, "%s{\"id\":\"%s\",\"sessions\":%lu,\"users\":%lu}",
                          is_first ? "" : ",", watcher->id, (unsigned long)watcher->sessions,
                          (unsigned long)watcher->users);
        is_first = false;
    }
    buf_append_string(into, "]");
}

/* Voters by their node's name, others with a mark: "r2~". */
static void write_servers(const struct router *router, const struct shard *shard, struct buf *into)
{
    struct raft_group_server servers[LIMIT_SERVERS_MAX];
    uint32_t count = raft_group_servers(shard->group, router_now_ms(router), servers);
    for (uint32_t i = 0; i < count; i++)
        buf_append_format(into, "%s\"%s%s\"", i > 0 ? "," : "", servers[i].node,
                          servers[i].role == RAFT_GROUP_VOTER ? "" : "~");
}

static void write_group(const struct router *router, uint32_t place, struct buf *into)
{
    const struct shard *shard = &router->shards[place];
    const struct rates *rates = &router->rates;
    struct router_shard_status s;
    router_shard_status(router, place, &s);
    buf_append_format(into,
                      "{\"shard\":%u,\"state\":\"%s\",\"term\":%lu,\"commit\":%lu,\"applied\":%lu,"
                      "\"digest\":\"%016lx\",\"entries\":%lu,\"moving\":%s,\"rate\":%u,\"hot\":%s,"
                      "\"leader\":\"%.*s\","
                      "\"replicas\":[",
                      s.shard, s.state, (unsigned long)s.term, (unsigned long)s.commit_index,
                      (unsigned long)s.applied_index, (unsigned long)s.digest,
                      (unsigned long)s.entries,
                      shard->was_ready && !shard->moves.is_done ? "true" : "false",
                      place < rates->shard_count ? rates->shards[place].rate : 0,
                      place < rates->shard_count && rates->shards[place].is_hot ? "true" : "false",
                      SLICE_ARGS(raft_group_leader_node(shard->group)));
    write_servers(router, shard, into);
    buf_append_string(into, "]}");
}

/* What this process did since it started: what bounds it shows in their ratios. */
static void write_counters(struct buf *into)
{
    buf_append_format(
        into,
        ",\"counters\":{\"messages\":%lu,\"commands\":%lu,\"entries\":%lu,\"turns\":%lu,"
        "\"keys\":%lu,\"syncs\":%lu,\"sync_us\":%lu,\"packets_in\":%lu,"
        "\"packets_out\":%lu,\"elections\":%lu,\"divergences\":%lu}",
        (unsigned long)metric_get(messages_total), (unsigned long)metric_get(commands_total),
        (unsigned long)metric_get(entries_total), (unsigned long)metric_get(turns_total),
        (unsigned long)metric_get(keys_written_total), (unsigned long)metric_get(syncs_total),
        (unsigned long)metric_get(sync_us_total), (unsigned long)metric_get(packets_in_total),
        (unsigned long)metric_get(packets_out_total), (unsigned long)metric_get(elections_total),
        (unsigned long)metric_get(divergences_total));
}

static void write_push(const struct router *router, struct buf *into)
{
    if (router->push == NULL)
        return;
    buf_append_format(
        into, ",\"push\":{\"waiting\":%u,\"posts\":%lu,\"failed\":%lu,\"events\":%lu}",
        push_waiting(router->push), (unsigned long)metric_get(push_posts_total),
        (unsigned long)metric_get(push_failed_total), (unsigned long)metric_get(push_events_total));
}

void report_write(struct router *router, struct buf *into)
{
    struct router_health health = router_health(router);
    const struct shard *control = router_control(router);
    buf_append_format(into,
                      "{\"id\":\"%s\",\"zone\":\"%s\",\"shards\":{\"total\":%u,\"led\":%u},"
                      "\"gateways\":%lu,\"conversations_watched\":%lu,\"replicas\":%u,"
                      "\"draining\":%s,\"moves\":{\"pending\":%u,\"done\":%lu,\"bytes\":%lu},"
                      "\"control\":%s",
                      router->node, router->zone, health.shards_total, health.shards_led,
                      (unsigned long)health.gateways, (unsigned long)health.conversations_watched,
                      health.replicas, router->is_draining ? "true" : "false", health.moves_pending,
                      (unsigned long)health.moves_done, (unsigned long)health.bytes_moved,
                      control->was_ready ? "true" : "false");
    write_routers(router, into);
    write_remembered(router, into);
    write_gateways(router, into);
    write_counters(into);
    write_push(router, into);
    buf_append_string(into, ",\"groups\":[");
    bool is_first = true;
    for (uint32_t i = 0; i <= router->options.shards; i++) {
        if (router->shards[i].group == NULL)
            continue;
        if (!is_first)
            buf_append_string(into, ",");
        is_first = false;
        write_group(router, i, into);
    }
    buf_append_string(into, "]}");
}

void router_shard_status(const struct router *router, uint32_t place,
                         struct router_shard_status *ret_status)
{
    CHECK(place <= router->options.shards);
    const struct shard *s = &router->shards[place];
    *ret_status = (struct router_shard_status){.shard = s->id, .state = "none"};
    if (s->group == NULL)
        return;
    ret_status->state = raft_group_state_name(s->group);
    ret_status->term = raft_group_term(s->group);
    ret_status->commit_index = raft_group_commit_index(s->group);
    ret_status->applied_index = machine_applied(s->machine);
    ret_status->entries = raft_group_last_index(s->group) + 1 - raft_group_first_index(s->group);
    ret_status->digest = machine_digest(s->machine);
    struct raft_group_server servers[LIMIT_SERVERS_MAX];
    uint32_t count = raft_group_servers(s->group, router_now_ms(router), servers);
    for (uint32_t i = 0; i < count; i++)
        if (servers[i].id == raft_group_self(s->group))
            ret_status->is_voter = servers[i].role == RAFT_GROUP_VOTER;
}
