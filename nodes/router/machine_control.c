/* machine_control - the control group: what the cluster is, and the list of its routers.
 *
 * Both are small and change rarely, so all of it is in memory as well, and a row is put with the
 * command that changes it. The list in the store is in order; the one in memory need not be. */
#include "mesh/base/limits.h"
#include "mesh/base/mem.h"
#include "mesh/wire/key.h"
#include "nodes/router/machine_parts.h"

/* Removed routers stay on the list, so it may grow longer than LIMIT_ROUTERS_MAX; whole it must fit
 * a packet (msg_table). */
#define ROUTERS_EVER_MAX 65536u
#define RECORD_SIZE_MAX  (2u * LIMIT_NODE_ID_SIZE_MAX + 16u)
_Static_assert(ROUTERS_EVER_MAX *RECORD_SIZE_MAX < LIMIT_PACKET_SIZE_MAX, "a packet holds it");

struct machine_router {
    struct row_router row;
    struct slice node; /* Within this allocation, as is the row's zone. */
    char node_text[LIMIT_NODE_ID_SIZE_MAX];
    char zone_text[LIMIT_NODE_ID_SIZE_MAX];
};

static struct slice router_key(const void *thing)
{
    return ((const struct machine_router *)thing)->node;
}

/* Names were checked, by machine_check() or where the row was read. */
static void set_row(struct machine_control *control, struct machine_router *router,
                    const struct row_router *row)
{
    control->present += row->state != ROUTER_REMOVED;
    control->present -= router->row.state != 0 && router->row.state != ROUTER_REMOVED;
    router->row = *row;
    if (row->zone.base == NULL)
        return;
    memcpy(router->zone_text, row->zone.base, row->zone.size);
    router->row.zone.base = router->zone_text;
}

static struct machine_router *add_router(struct machine_control *control, struct slice node)
{
    struct machine_router *router = mem_new(struct machine_router);
    memcpy(router->node_text, node.base, node.size);
    router->node = slice_of(router->node_text, node.size);
    map_put(&control->routers, router);
    return router;
}

static void set_cluster_row(struct machine_control *control, const struct row_cluster *row)
{
    memcpy(control->epoch, row->epoch.base, NODE_ROW_EPOCH_SIZE);
    control->cluster = *row;
    control->cluster.epoch.base = control->epoch;
}

/* ---- Recovery ---- */

void machine_control_init(struct machine *m)
{
    map_init(&m->control.routers, router_key);
}

void machine_control_fini(struct machine *m)
{
    void *router;
    for (size_t at = 0; (router = map_next(&m->control.routers, &at)) != NULL;)
        mem_free(router);
    map_fini(&m->control.routers);
}

static bool zone_is_fine(struct slice zone)
{
    return zone.base == NULL || key_node_is_valid(zone);
}

/* A step through the list as stored. RC_NOT_FOUND at the end. */
static enum rc next_router(struct machine *m, struct kv_iterator *iterator, struct slice *ret_node,
                           struct row_router *ret_row)
{
    struct slice key;
    struct slice value;
    if (!m->kv->ops->next(iterator, &key, &value))
        return RC_NOT_FOUND;
    enum rc rc = rows_decode(key, value, &row_router_desc, ret_row);
    if (rc != RC_OK)
        return rc;
    bool fine = keyspace_get_name(key, ret_node) && key_node_is_valid(*ret_node) &&
                zone_is_fine(ret_row->zone);
    return fine ? RC_OK : RC_CORRUPT;
}

static struct kv_iterator *iterate_routers(struct machine *m)
{
    struct keyspace_key prefix;
    keyspace_table(&prefix, &m->keys, KEYSPACE_ROUTER);
    return machine_rows_iterate(m, &prefix, NULL);
}

enum rc machine_control_open(struct machine *m)
{
    if (m->keys.shard != CONTROL_GROUP)
        return RC_OK;
    struct keyspace_key key;
    struct row_cluster cluster;
    keyspace_table(&key, &m->keys, KEYSPACE_CLUSTER);
    enum rc rc = machine_rows_get(m, &key, &row_cluster_desc, &cluster);
    if (rc != RC_OK)
        return rc == RC_NOT_FOUND ? RC_OK : rc;
    if (cluster.shards == 0 || cluster.epoch.size != NODE_ROW_EPOCH_SIZE)
        return RC_CORRUPT;
    set_cluster_row(&m->control, &cluster);
    struct kv_iterator *iterator = iterate_routers(m);
    struct slice node;
    struct row_router row;
    while ((rc = next_router(m, iterator, &node, &row)) == RC_OK)
        set_row(&m->control, add_router(&m->control, node), &row);
    return machine_rows_end(m, &iterator, rc == RC_NOT_FOUND ? RC_OK : rc);
}

/* ---- Commands ---- */

static void put_cluster(struct machine *m)
{
    struct keyspace_key key;
    keyspace_table(&key, &m->keys, KEYSPACE_CLUSTER);
    machine_rows_put(m, m->batch, &key, &row_cluster_desc, &m->control.cluster);
}

enum rc machine_set_cluster(struct machine *m, const struct msg_cmd_cluster *c,
                            struct machine_result *result)
{
    const struct row_cluster *cluster = &m->control.cluster;
    if (cluster->shards != 0) {
        if (cluster->shards == c->shards && cluster->replicas == c->replicas &&
            slice_equal(cluster->epoch, c->epoch))
            return RC_OK;
        return machine_refuse(result, RC_CONFLICT, "the cluster was founded otherwise");
    }
    const struct row_cluster row = {
        .shards = c->shards,
        .replicas = c->replicas,
        .epoch = c->epoch,
    };
    set_cluster_row(&m->control, &row);
    put_cluster(m);
    const uint64_t numbers[] = {row.shards, row.replicas};
    machine_digest_numbers(m, numbers, 2);
    machine_digest_bytes(m, row.epoch);
    return RC_OK;
}

static bool has_other_active(const struct machine_control *control, struct slice node)
{
    const struct machine_router *router;
    for (size_t at = 0; (router = map_next(&control->routers, &at)) != NULL;)
        if (router->row.state == ROUTER_ACTIVE && !slice_equal(router->node, node))
            return true;
    return false;
}

/* NULL, or why the router `node` that is `old` (NULL: unknown) may not become `new`. */
static const char *refuse_move(const struct machine_control *control, struct slice node,
                               const struct row_router *old, const struct row_router *new)
{
    uint64_t before = old != NULL ? old->state : 0;
    if (before == ROUTER_REMOVED)
        return "this router was removed, and its name stays with it";
    if (new->state == ROUTER_REMOVED && before == ROUTER_ACTIVE)
        return "a router that is active is drained before it is removed";
    if (new->state == ROUTER_DRAINING && before != ROUTER_DRAINING &&
        !has_other_active(control, node))
        return "no other router is active: there is nowhere to move its replicas to";
    return NULL;
}

static bool is_full(const struct machine_control *control, uint64_t state)
{
    return control->routers.count == ROUTERS_EVER_MAX ||
           (state != ROUTER_REMOVED && control->present == LIMIT_ROUTERS_MAX);
}

static void put_router(struct machine *m, const struct machine_router *router)
{
    struct keyspace_key key;
    keyspace_name(&key, &m->keys, KEYSPACE_ROUTER, router->node);
    machine_rows_put(m, m->batch, &key, &row_router_desc, &router->row);
    m->control.cluster.version = m->entry_index;
    put_cluster(m);
    const uint64_t numbers[] = {router->row.weight, router->row.state};
    machine_digest_numbers(m, numbers, 2);
    machine_digest_bytes(m, router->node);
    machine_digest_bytes(m, router->row.zone);
}

enum rc machine_set_router(struct machine *m, const struct msg_cmd_router *c,
                           struct machine_result *result)
{
    struct machine_control *control = &m->control;
    if (control->cluster.shards == 0)
        return machine_refuse(result, RC_NOT_FOUND, "the cluster was not founded yet");
    struct machine_router *router = map_get(&control->routers, c->node);
    const struct row_router *old = router != NULL ? &router->row : NULL;
    struct row_router row = {.zone = c->zone, .weight = c->weight, .state = c->state};
    if (c->state == ROUTER_JOINS)
        row.state = old != NULL && old->state == ROUTER_DRAINING ? ROUTER_DRAINING : ROUTER_ACTIVE;
    if (old != NULL && old->weight == row.weight && old->state == row.state &&
        slice_equal(old->zone, row.zone))
        return RC_OK;
    const char *why = refuse_move(control, c->node, old, &row);
    if (why != NULL)
        return machine_refuse(result, RC_CONFLICT, why);
    if (router == NULL) {
        if (is_full(control, row.state))
            return machine_refuse(result, RC_TOO_LARGE, "the cluster has all routers it can have");
        router = add_router(control, c->node);
    }
    set_row(control, router, &row);
    put_router(m, router);
    return RC_OK;
}

/* ---- Reads ---- */

enum rc machine_cluster(struct machine *m, struct machine_cluster *ret_cluster)
{
    const struct row_cluster *row = &m->control.cluster;
    if (row->shards == 0)
        return RC_NOT_FOUND;
    *ret_cluster = (struct machine_cluster){
        .shards = (uint32_t)row->shards,
        .replicas = (uint32_t)row->replicas,
        .version = row->version,
    };
    memcpy(ret_cluster->epoch, m->control.epoch, sizeof(ret_cluster->epoch));
    return RC_OK;
}

enum rc machine_routers(struct machine *m, struct buf *into)
{
    struct kv_iterator *iterator = iterate_routers(m);
    struct msg_cmd_router item = {0};
    struct row_router row;
    enum rc rc;
    while ((rc = next_router(m, iterator, &item.node, &row)) == RC_OK) {
        item.zone = row.zone;
        item.weight = row.weight;
        item.state = row.state;
        record_encode(into, &msg_cmd_router_desc, &item);
    }
    return machine_rows_end(m, &iterator, rc == RC_NOT_FOUND ? RC_OK : rc);
}
