/* A router's life: it begins the cluster, joins it or comes back, and its disk is slow or fails. */
#include <stdio.h>
#include <string.h>

#include "mesh/base/check.h"
#include "mesh/base/mem.h"
#include "nodes/router/join.h"
#include "storage/mem_kv.h"
#include "storage/node_row.h"
#include "tests/sim/cluster_private.h"

#define EPOCH "00c0ffee"

/* ---- The disk ---- */

static void sync_done(void *context, uint64_t incarnation)
{
    struct sim_node *node = context;
    if (!node->is_alive || node->incarnation != incarnation)
        return;
    tap_complete_sync(node->kv);
    cluster_wake(node);
}

static void plan_sync(struct sim_node *node)
{
    struct cluster *c = node->cluster;
    bool is_slow = c->world->now_us < node->slow_until_us;
    uint64_t most_us = is_slow ? 500000 : c->faults.sync_us_max;
    world_after(c->world, world_between(c->world, 50, most_us), sync_done, node, node->incarnation);
}

void cluster_break_disk(struct cluster *c, struct sim_node *router, bool at_write,
                        uint32_t countdown)
{
    if (!router->is_alive || router->router == NULL || router->disk_fails)
        return;
    world_note(c->world, "%s: its disk fails after %u more %s", router->id, countdown,
               at_write ? "writes" : "syncs");
    router->disk_fails = true;
    if (at_write)
        mem_kv_fail_write(router->disk, countdown, RC_IO);
    else
        tap_lose_syncs(router->kv, countdown);
}

void cluster_slow_disk(struct cluster *c, struct sim_node *router, uint64_t us)
{
    world_note(c->world, "%s: its disk is slow for %.1f s", router->id, (double)us / 1e6);
    router->slow_until_us = c->world->now_us + us;
}

void cluster_wipe(struct cluster *c, struct sim_node *router)
{
    CHECK(!router->is_alive && router->kv != NULL);
    world_note(c->world, "%s: its directory is wiped", router->id);
    c->wipes++;
    router->kv->ops->close(&router->kv);
    router->disk = NULL;
    router->is_founder = false;
    router->shards = 0;
}

/* ---- Begin, join, come back ---- */

void cluster_zone(const struct sim_node *router, char zone[LIMIT_NODE_ID_SIZE_MAX + 1])
{
    zone[0] = '\0';
    if (router->cluster->options.zones > 0)
        snprintf(zone, LIMIT_NODE_ID_SIZE_MAX + 1, "z%u",
                 router->index % router->cluster->options.zones);
}

static struct router_options options_of(struct sim_node *node,
                                        char zone[LIMIT_NODE_ID_SIZE_MAX + 1])
{
    const struct cluster *c = node->cluster;
    cluster_zone(node, zone);
    struct router_options options = {
        .node = node->id,
        .incarnation = node->incarnation,
        .shards = node->shards,
        .resume_count_max = c->limits.resume_count_max,
        .queue_bytes_max = c->limits.queue_bytes_max,
        .truncate_count = c->limits.truncate_count,
        .replicas = c->options.replicas,
        .epoch = EPOCH,
        .zone = zone,
        .weight = CLUSTER_WEIGHT,
        .grace_ms = c->limits.grace_ms,
        .drop_members_max = c->limits.drop_members,
        .erase_entries_max = c->limits.erase_entries,
    };
    memcpy(options.cluster, c->cluster_id, sizeof(options.cluster));
    return options;
}

/* The first batch of a directory: whose it is, and, of the founder, what the cluster begins with.
 * No later batch survives without it, so it needs no sync of its own. */
static void write_first(struct sim_node *node, bool begins)
{
    char zone[LIMIT_NODE_ID_SIZE_MAX + 1];
    struct router_options options = options_of(node, zone);
    struct node_row row = {.format = NODE_ROW_FORMAT, .shards = node->shards, .epoch = EPOCH};
    memcpy(row.cluster, node->cluster->cluster_id, sizeof(row.cluster));
    snprintf(row.node, sizeof(row.node), "%s", node->id);
    struct kv_batch *batch = node->kv->ops->batch_new(node->kv);
    node_row_store(&row, batch);
    if (begins)
        router_bootstrap(&options, &node->env, batch);
    enum rc rc = node->kv->ops->write(node->kv, batch);
    CHECK(rc == RC_OK);
    node->kv->ops->batch_free(&batch);
}

static void open_router(struct sim_node *node)
{
    char zone[LIMIT_NODE_ID_SIZE_MAX + 1];
    struct router_options options = options_of(node, zone);
    enum rc rc = router_new(&options, &node->env, &node->bus, node->kv, &node->router);
    if (rc != RC_OK)
        world_violation(node->cluster->world, "router %s does not start again: %s", node->id,
                        rc_sentence(rc));
    node->handler = router_bus_handler(node->router);
}

static void begin_join(struct sim_node *node)
{
    char zone[LIMIT_NODE_ID_SIZE_MAX + 1];
    struct router_options options = options_of(node, zone);
    const struct join_options ask = {.node = node->id,
                                     .incarnation = node->incarnation,
                                     .zone = options.zone,
                                     .weight = options.weight};
    node->join = join_new(&ask, &node->env, &node->bus);
    node->handler = join_bus_handler(node->join);
}

void cluster_start_router(struct cluster *c, struct sim_node *node)
{
    if (node->kv == NULL) {
        node->disk = mem_kv_new();
        node->kv = tap_new(node->disk, node->id, &c->listener);
    }
    struct node_row row;
    enum rc rc = node_row_load(node->kv, &row);
    if (rc == RC_OK) {
        node->shards = row.shards;
        open_router(node);
    } else if (rc != RC_NOT_FOUND) {
        world_violation(c->world, "router %s does not find itself: %s", node->id, rc_sentence(rc));
    } else if (node->is_founder) {
        node->shards = c->options.shards;
        write_first(node, true);
        open_router(node);
    } else {
        begin_join(node);
    }
}

void cluster_kill_router(struct cluster *c, struct sim_node *node)
{
    if (node->router != NULL)
        c->moves += router_health(node->router).moves_done;
    join_free(&node->join);
    router_free(&node->router);
    tap_crash(node->kv, world_between(c->world, 0, mem_kv_unsynced(node->disk)));
    node->disk_fails = false;
    node->is_draining = false;
}

/* ---- The turn ---- */

static void turn_join(struct sim_node *node)
{
    struct cluster *c = node->cluster;
    struct join_result joined;
    join_turn(node->join);
    enum rc rc = join_outcome(node->join, &joined);
    if (rc == RC_AGAIN || (rc == RC_CONFLICT && node->is_leaving))
        return;
    if (rc != RC_OK)
        world_violation(c->world, "C11: %s may not join: %s", node->id, rc_sentence(rc));
    world_note(c->world, "%s has joined", node->id);
    c->joins++;
    join_free(&node->join);
    CHECK(memcmp(joined.cluster, c->cluster_id, sizeof(joined.cluster)) == 0);
    CHECK(strcmp(joined.epoch, EPOCH) == 0);
    node->shards = joined.shards;
    write_first(node, false);
    open_router(node);
    cluster_spread(c, node, true); /* The router knows nobody yet. */
    cluster_wake(node);
}

bool cluster_turn_router(struct sim_node *node)
{
    struct cluster *c = node->cluster;
    if (node->join != NULL) {
        turn_join(node);
        return true;
    }
    bool was_syncing = tap_sync_is_pending(node->kv);
    router_turn(node->router);
    if (router_is_failed(node->router)) {
        if (!node->disk_fails)
            world_violation(c->world, "router %s failed without a disk fault", node->id);
        world_note(c->world, "%s ends itself: its disk failed", node->id);
        c->disk_failures++;
        cluster_crash(c, node);
        c->on_disk_failed(c->disk_context, node);
        return false;
    }
    if (!was_syncing && tap_sync_is_pending(node->kv))
        plan_sync(node);
    return true;
}

uint64_t cluster_router_due_us(struct sim_node *node)
{
    return node->join != NULL ? join_due_us(node->join) : router_due_us(node->router);
}
