/* remembered - whom a router looks for when it starts again, and misses when nobody is there.
 *
 * The committed list says who is of the cluster, discovery where he listens; both together go to
 * the store when they change (storage/peers_row.h), so that a router finds the others also where
 * all that --join names are gone. Who was removed from the list is forgotten, and no longer looked
 * for: his address may be another cluster's by now. */
#include <stdio.h>

#include "mesh/base/log.h"
#include "nodes/router/router_private.h"

#define LOOK_MS        500u
#define ALONE_MS       5000u  /* Nobody was heard for so long: said, */
#define ALONE_AGAIN_MS 60000u /* and again so often. */
#define NAMED_MAX      8u     /* In that sentence. */

/* ---- What is remembered ---- */

void remembered_init(struct router *router)
{
    struct remembered *r = &router->remembered;
    enum rc rc = peers_row_load(router->kv, &r->row);
    if (rc == RC_OK && memcmp(r->row.cluster, router->options.cluster, sizeof(r->row.cluster)) != 0)
        rc = RC_MISMATCH;
    if (rc != RC_OK && rc != RC_NOT_FOUND)
        log_warn("remembered_ignored",
                 "reason=\"%s\": where the other routers were is not known; --join has to do",
                 rc == RC_MISMATCH ? "it is of another cluster" : rc_sentence(rc));
    if (rc != RC_OK)
        memset(&r->row, 0, sizeof(r->row));
    memcpy(r->row.cluster, router->options.cluster, sizeof(r->row.cluster));
    r->heard_ms = router_now_ms(router);
}

void remembered_changed(struct router *router)
{
    router->remembered.is_due = true;
    router->remembered.due_ms = 0;
}

static const struct peers_row_peer *find(const struct peers_row *row, const char *node)
{
    for (uint32_t i = 0; i < row->count; i++)
        if (strcmp(row->peers[i].node, node) == 0)
            return &row->peers[i];
    return NULL;
}

/* Where it was last, however long ago. */
static void add(const struct router *router, const char *node, struct peers_row *row)
{
    const struct router_peer *peer = router_peers_get(router, slice_string(node));
    const struct peers_row_peer *before = find(&router->remembered.row, node);
    struct peers_row_peer *next = &row->peers[row->count++];
    const char *endpoint = before != NULL ? before->endpoint : "";
    if (peer != NULL && peer->gossip[0] != '\0')
        endpoint = peer->gossip;
    memcpy(next->node, node, strlen(node));
    memcpy(next->endpoint, endpoint, strlen(endpoint));
}

/* Those that follow on the list, which is a circle here: not all routers remember the same few. */
static void gather(const struct router *router, struct peers_row *row)
{
    const struct table *table = &router->table;
    uint32_t first = 0;
    while (first < table->count && strcmp(table->routers[first].node, router->node) <= 0)
        first++;
    for (uint32_t i = 0; i < table->count && row->count < PEERS_ROW_COUNT_MAX; i++) {
        const struct table_router *listed = &table->routers[(first + i) % table->count];
        if (listed->state != ROUTER_REMOVED && strcmp(listed->node, router->node) != 0)
            add(router, listed->node, row);
    }
}

/* Where the list was not heard, what was remembered stands. */
static void refresh(struct router *router)
{
    struct remembered *r = &router->remembered;
    struct peers_row row;
    if (router->table.version == 0)
        return;
    r->is_due = false;
    memset(&row, 0, sizeof(row));
    memcpy(row.cluster, r->row.cluster, sizeof(row.cluster));
    gather(router, &row);
    if (memcmp(&row, &r->row, sizeof(row)) == 0)
        return;
    r->row = row;
    r->version++;
    peers_row_store(&row, router->batch);
    router->must_sync = true;
}

/* ---- Who is missing ---- */

static bool is_here(const struct router *router, const struct peers_row_peer *remembered)
{
    const struct router_peer *peer = router_peers_get(router, slice_string(remembered->node));
    return peer != NULL && peer->is_up;
}

static void say_alone(const struct router *router, uint64_t silent_ms)
{
    const struct peers_row *row = &router->remembered.row;
    char names[NAMED_MAX * (sizeof(struct peers_row_peer) + 8) + 32];
    size_t size = 0;
    for (uint32_t i = 0; i < row->count && i < NAMED_MAX; i++) {
        const struct peers_row_peer *peer = &row->peers[i];
        size +=
            (size_t)snprintf(names + size, sizeof(names) - size, "%s%s%s%s", i > 0 ? ", " : "",
                             peer->node, peer->endpoint[0] != '\0' ? " at " : "", peer->endpoint);
    }
    if (row->count > NAMED_MAX)
        snprintf(names + size, sizeof(names) - size, " and %u more", row->count - NAMED_MAX);
    log_warn("alone",
             "seconds=%lu missing=\"%s\" reason=\"none of the other routers of this cluster is "
             "heard: start them, or where they have moved give the address of one with --join\"",
             (unsigned long)(silent_ms / 1000), names);
}

/* Their names, for beats, as many as find room. Returns how many there are. */
static uint32_t list_missing(struct router *router)
{
    struct remembered *r = &router->remembered;
    uint32_t count = 0;
    size_t size = 0;
    r->missing[0] = '\0';
    for (uint32_t i = 0; i < r->row.count; i++) {
        const struct peers_row_peer *peer = &r->row.peers[i];
        if (is_here(router, peer))
            continue;
        if (size + strlen(peer->node) + 2 <= sizeof(r->missing))
            size += (size_t)snprintf(r->missing + size, sizeof(r->missing) - size, "%s%s",
                                     count > 0 ? " " : "", peer->node);
        count++;
    }
    return count;
}

void remembered_turn(struct router *router)
{
    struct remembered *r = &router->remembered;
    uint64_t now_ms = router_now_ms(router);
    if (now_ms < r->due_ms)
        return;
    r->due_ms = now_ms + LOOK_MS;
    if (r->is_due)
        refresh(router);
    uint32_t missing = list_missing(router);
    if (missing < r->row.count || r->row.count == 0) {
        r->heard_ms = now_ms;
        r->again_ms = 0;
    } else if (now_ms - r->heard_ms >= ALONE_MS && now_ms >= r->again_ms) {
        r->again_ms = now_ms + ALONE_AGAIN_MS;
        say_alone(router, now_ms - r->heard_ms);
    }
}

uint64_t router_remembered_version(const struct router *router)
{
    return router->remembered.version;
}

uint32_t router_remembered(const struct router *router,
                           const char *ret_endpoints[PEERS_ROW_COUNT_MAX])
{
    const struct peers_row *row = &router->remembered.row;
    uint32_t count = 0;
    for (uint32_t i = 0; i < row->count; i++)
        if (row->peers[i].endpoint[0] != '\0')
            ret_endpoints[count++] = row->peers[i].endpoint;
    return count;
}
