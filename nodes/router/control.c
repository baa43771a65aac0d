/* control - the committed list of routers, and what every router makes of it.
 *
 * The control group's leader keeps the list in its log: who joined, who drains, who was lost. It
 * tells all routers, and each computes from it where the replicas of every group belong (ring.h);
 * what discovery says of who exists places nothing. A router that is not on the list as it should
 * be asks to be, again and again. */
#include <stdio.h>

#include "mesh/base/log.h"
#include "mesh/base/mem.h"
#include "mesh/base/metrics.h"
#include "mesh/wire/key.h"
#include "nodes/router/router_private.h"

#define LOOK_MS  500u
#define TABLE_MS 2000u /* The list is told this often though it did not change. */

#define WORD_MS (4u * LIMIT_BEAT_MS) /* What a router said of itself may be so old. */

#define DETAIL_SIZE 160u /* Of what an operator is answered. */

/* ---- The list, as heard ---- */

static void table_fini(struct table *table)
{
    mem_free(table->routers);
    mem_free(table->active);
    mem_free(table->places);
    memset(table, 0, sizeof(*table));
}

void control_fini(struct router *router)
{
    table_fini(&router->table);
}

static bool copy_name(char into[LIMIT_NODE_ID_SIZE_MAX + 1], struct slice name)
{
    if (name.size > LIMIT_NODE_ID_SIZE_MAX)
        return false;
    snprintf(into, LIMIT_NODE_ID_SIZE_MAX + 1, "%.*s", SLICE_ARGS(name));
    return true;
}

static bool read_router(struct record_reader *r, struct table_router *ret_router)
{
    struct msg_cmd_router m;
    if (record_decode(r, &msg_cmd_router_desc, &m) != RC_OK || !key_node_is_valid(m.node) ||
        !copy_name(ret_router->node, m.node) || !copy_name(ret_router->zone, m.zone))
        return false;
    ret_router->weight = m.weight >= 1 && m.weight <= 1000 ? (uint32_t)m.weight : 100;
    ret_router->state = (enum router_state)m.state;
    return true;
}

static bool read_routers(struct slice list, struct table *table)
{
    struct record_reader r = record_reader_of(list);
    uint32_t capacity = 0;
    while (!record_reader_at_end(&r)) {
        if (table->count == capacity) {
            capacity = 2 * capacity + 8;
            table->routers = mem_resize(table->routers, capacity * sizeof(*table->routers));
        }
        struct table_router *next = &table->routers[table->count];
        if (!read_router(&r, next) || (table->count > 0 && strcmp(next[-1].node, next->node) >= 0))
            return false;
        table->count++;
    }
    return true;
}

static void place(const struct router *router, struct table *table)
{
    table->active = mem_zero((table->count + 1) * sizeof(*table->active));
    for (uint32_t i = 0; i < table->count; i++) {
        const struct table_router *from = &table->routers[i];
        if (from->state != ROUTER_ACTIVE)
            continue;
        struct ring_router *to = &table->active[table->active_count++];
        memcpy(to->node, from->node, sizeof(to->node));
        memcpy(to->zone, from->zone, sizeof(to->zone));
        to->weight = from->weight;
    }
    if (table->active_count == 0)
        return; /* All of them drain: everything stays where it is. */
    uint32_t groups = router->options.shards + 1;
    table->places = mem_alloc((size_t)groups * table->replicas * sizeof(*table->places));
    ring_place(table->active, table->active_count, groups, table->replicas, router->options.cluster,
               table->places);
}

void control_on_table(struct router *router, const struct msg_table *message)
{
    struct table table = {.version = message->version, .replicas = (uint32_t)message->replicas};
    if (message->version <= router->table.version)
        return;
    if (message->replicas == 0 || message->replicas > LIMIT_REPLICAS_MAX ||
        !read_routers(message->routers, &table) || table.count > LIMIT_ROUTERS_MAX) {
        metric_add(packets_bad_total, 1);
        table_fini(&table);
        return;
    }
    place(router, &table);
    table_fini(&router->table);
    router->table = table;
    for (uint32_t i = 0; i < table.count; i++)
        if (strcmp(table.routers[i].node, router->node) != 0)
            router_peers_expect(router, slice_string(table.routers[i].node));
    for (uint32_t i = 0; i <= router->options.shards; i++) {
        struct shard *shard = &router->shards[i];
        shard->moves.next_ms = 0;
        shard->moves.is_done = false;
        shard_wake(router, shard);
    }
    remembered_changed(router);
    log_info("table", "version=%lu routers=%u active=%u", (unsigned long)table.version, table.count,
             table.active_count);
}

uint32_t control_targets(const struct router *router, const struct shard *shard,
                         const char *ret_nodes[LIMIT_REPLICAS_MAX])
{
    const struct table *table = &router->table;
    uint32_t count = 0;
    if (table->places == NULL)
        return 0;
    const uint16_t *places = table->places + (size_t)router_place(router, shard) * table->replicas;
    for (uint32_t i = 0; i < table->replicas; i++)
        if (places[i] != UINT16_MAX)
            ret_nodes[count++] = table->active[places[i]].node;
    return count;
}

static const struct table_router *find_router(const struct router *router, struct slice node)
{
    for (uint32_t i = 0; i < router->table.count; i++)
        if (slice_equals(node, router->table.routers[i].node))
            return &router->table.routers[i];
    return NULL;
}

bool router_is_removed(const struct router *router)
{
    const struct table_router *us = find_router(router, slice_string(router->node));
    return us != NULL && us->state == ROUTER_REMOVED;
}

/* ---- The list, as it is made: only where the control group is led ---- */

static enum rc queue_router(struct router *router, struct slice node, struct slice zone,
                            uint64_t weight, enum router_state state, const struct pending *pending)
{
    const struct msg_cmd_router command = {
        .node = node,
        .zone = zone.size > 0 ? zone : (struct slice){0}, /* Absent, not empty. */
        .weight = weight,
        .state = state,
    };
    buf_clear(router->command);
    record_encode(router->command, &msg_cmd_router_desc, &command);
    return shard_queue(router, router_control(router), buf_slice(router->command), pending);
}

static void queue_cluster(struct router *router)
{
    const struct pending nobody = {0};
    const struct msg_cmd_cluster command = {
        .shards = router->options.shards,
        .replicas = router->options.replicas,
        .epoch = slice_string(router->epoch),
    };
    buf_clear(router->command);
    record_encode(router->command, &msg_cmd_cluster_desc, &command);
    enum rc rc = shard_queue(router, router_control(router), buf_slice(router->command), &nobody);
    if (rc == RC_OK)
        rc = queue_router(router, slice_string(router->node), slice_string(router->zone),
                          router->options.weight, ROUTER_ACTIVE, &nobody);
    (void)rc; /* A queue that is full: at the next look. */
}

static void tell_table(struct router *router, const struct machine_cluster *cluster)
{
    struct shard *control = router_control(router);
    uint64_t now_ms = router_now_ms(router);
    if (cluster->version <= router->table.version && now_ms < router->table_due_ms)
        return;
    buf_clear(router->answer);
    enum rc rc = machine_routers(control->machine, router->answer);
    if (rc != RC_OK) {
        router_shard_failed(router, control, rc);
        return;
    }
    router->table_due_ms = now_ms + TABLE_MS;
    const struct msg_table table = {
        .term = raft_group_term(control->group),
        .version = cluster->version,
        .replicas = cluster->replicas,
        .routers = buf_slice(router->answer),
    };
    router_peers_tell_all(router, &msg_table_desc, &table);
    control_on_table(router, &table);
}

/* For how long it was not there, as far as this leader can tell. */
static uint64_t silent_ms(const struct router *router, const struct router_peer *peer)
{
    const struct shard *control = router_control(router);
    uint64_t since_ms = control->moves.ready_ms;
    if (peer != NULL && peer->down_ms > since_ms)
        since_ms = peer->down_ms;
    return router_now_ms(router) - since_ms;
}

/* A router that is silent for too long: its replicas are to be held elsewhere. */
static void look_for_lost(struct router *router)
{
    const struct pending nobody = {0};
    for (uint32_t i = 0; i < router->table.count; i++) {
        const struct table_router *r = &router->table.routers[i];
        const struct router_peer *peer = router_peers_get(router, slice_string(r->node));
        if (r->state != ROUTER_ACTIVE || peer == NULL || peer->is_up)
            continue;
        if (silent_ms(router, peer) < router->options.grace_ms)
            continue;
        log_warn("router_lost", "node=%s silent_ms=%lu", r->node,
                 (unsigned long)(router_now_ms(router) - peer->down_ms));
        enum rc rc = queue_router(router, slice_string(r->node), slice_string(r->zone), r->weight,
                                  ROUTER_LOST, &nobody);
        (void)rc; /* At the next look. */
    }
}

static void lead(struct router *router)
{
    struct machine_cluster cluster;
    struct shard *control = router_control(router);
    if (control->queued.count > 0 || control->flying.count > 0)
        return; /* What is under way changes it. */
    enum rc rc = machine_cluster(control->machine, &cluster);
    if (rc == RC_NOT_FOUND) {
        queue_cluster(router);
        return;
    }
    if (rc != RC_OK) {
        router_shard_failed(router, control, rc);
        return;
    }
    tell_table(router, &cluster);
    look_for_lost(router);
}

/* We are not on the list as we should be: ask who leads the control group. */
static void ask_to_join(struct router *router)
{
    const struct table_router *us = find_router(router, slice_string(router->node));
    if (router->table.version == 0)
        return;
    bool is_right = us != NULL && us->state != ROUTER_LOST &&
                    us->weight == router->options.weight && strcmp(us->zone, router->zone) == 0;
    if (is_right || (us != NULL && us->state == ROUTER_REMOVED))
        return;
    const struct msg_join join = {
        .node = slice_string(router->node),
        .zone = slice_string(router->zone),
        .weight = router->options.weight,
    };
    if (shard_serves(router, router_control(router))) {
        control_on_join(router, NULL, &join);
        return;
    }
    struct router_peer *leader = router_peers_leader(router, router->options.shards);
    if (leader != NULL)
        router_peers_tell(router, leader, &msg_join_desc, &join);
}

void control_turn(struct router *router)
{
    uint64_t now_ms = router_now_ms(router);
    if (now_ms < router->control_due_ms && !router->control_changed)
        return;
    bool is_due = now_ms >= router->control_due_ms;
    router->control_changed = false;
    if (shard_serves(router, router_control(router)))
        lead(router);
    if (!is_due)
        return;
    router->control_due_ms = now_ms + LOOK_MS;
    ask_to_join(router);
}

/* ---- Those who ask ---- */

void control_answer_join(struct router *router, const struct pending *pending, enum rc rc)
{
    if (pending->watcher == NULL)
        return;
    const struct msg_joined answer = {
        .req = pending->req,
        .rc = rc,
        .shards = router->options.shards,
        .epoch = slice_string(router->epoch),
    };
    watchers_answer(&router->watchers, pending->watcher, &msg_joined_desc, &answer);
}

void control_on_join(struct router *router, struct watcher *watcher, const struct msg_join *join)
{
    struct shard *control = router_control(router);
    const struct pending pending = {
        .watcher = watcher,
        .incarnation = watcher != NULL ? watcher->incarnation : 0,
        .req = join->req,
        .is_join = true,
    };
    enum rc rc = RC_OK;
    if (!shard_serves(router, control))
        rc = RC_NOT_LEADER;
    else if (router->table.version == 0)
        rc = RC_UNAVAILABLE; /* The cluster is being founded. */
    else if (!key_node_is_valid(join->node) || join->weight < 1 || join->weight > 1000 ||
             (join->zone.size > 0 && !key_node_is_valid(join->zone)))
        rc = RC_BAD_REQUEST;
    if (rc == RC_OK)
        rc = queue_router(router, join->node, join->zone, join->weight, ROUTER_JOINS, &pending);
    if (rc != RC_OK)
        control_answer_join(router, &pending, rc == RC_FULL ? RC_UNAVAILABLE : rc);
}

/* It is not there to say that it holds nothing: only time tells that it does not come back. */
static enum rc check_absent(const struct router *router, const struct table_router *known,
                            const struct router_peer *peer, char detail[DETAIL_SIZE])
{
    uint64_t silent = silent_ms(router, peer);
    bool is_draining = known->state == ROUTER_DRAINING;
    if (is_draining && silent >= router->options.grace_ms)
        return RC_OK; /* One that is active is put down as lost by itself. */
    uint64_t left_ms = silent < router->options.grace_ms ? router->options.grace_ms - silent : 1;
    snprintf(
        detail, DETAIL_SIZE,
        "it is not there to say that it holds nothing: start it%s, or remove it in %lu s, when "
        "it counts as lost",
        is_draining ? "" : " and drain it", (unsigned long)((left_ms + 999) / 1000));
    return RC_CONFLICT;
}

/* Groups that nobody leads, as far as is heard. */
static uint32_t count_leaderless(const struct router *router)
{
    uint32_t count = 0;
    for (uint32_t place = 0; place <= router->options.shards; place++)
        count += !router->shards[place].was_ready && router_peers_leader(router, place) == NULL;
    return count;
}

/* Is the router at this place of the list a member of a group that is led here? */
static bool counts_here(const struct router *router, uint64_t place)
{
    struct slice node = slice_string(router->table.routers[place].node);
    for (uint32_t i = 0; i <= router->options.shards; i++) {
        const struct shard *shard = &router->shards[i];
        if (shard_serves(router, shard) && raft_group_counts(shard->group, node))
            return true;
    }
    return false;
}

void control_put_counted(const struct router *router, struct buf *into)
{
    for (uint32_t i = 0; i < router->table.count; i++)
        if (router->table.routers[i].state == ROUTER_DRAINING && counts_here(router, i))
            record_put_u64(into, i);
}

static bool counts_at(const struct router_peer *peer, uint64_t place)
{
    struct record_reader counted = record_reader_of(buf_slice(peer->counted));
    uint64_t at;
    while (!record_reader_at_end(&counted) && record_get_u64(&counted, &at) == RC_OK)
        if (at == place)
            return true;
    return false;
}

static bool is_fresh(const struct router *router, const struct router_peer *peer)
{
    return peer->has_beat && router_now_ms(router) - peer->beat_ms <= WORD_MS;
}

/* It has just come, or is cut off: what it holds and whom it counts is not known. */
static enum rc await_word(const struct router_peer *peer, char detail[DETAIL_SIZE])
{
    snprintf(detail, DETAIL_SIZE,
             "%s has not said what it holds since the list of routers changed: try again",
             peer->id);
    return RC_UNAVAILABLE;
}

/* Does no group count what is at this place of the list, which drains, and will none? The router
 * itself cannot know: it may have been given a replica in the moment in which it was cut off. The
 * groups' leaders do, once they go by the list that says that it drains: from then on they give it
 * nothing, and a later leader has in its log what they had committed. */
static enum rc check_counted(const struct router *router, uint64_t place, char detail[DETAIL_SIZE])
{
    size_t at = 0;
    bool counts = counts_here(router, place);
    for (struct router_peer *peer; (peer = map_next(&router->peers.by_id, &at)) != NULL;) {
        if (!peer->is_up)
            continue;
        if (!is_fresh(router, peer) || peer->table != router->table.version)
            return await_word(peer, detail);
        counts = counts || counts_at(peer, place);
    }
    if (!counts)
        return RC_OK;
    snprintf(detail, DETAIL_SIZE, "groups still count its replicas: wait until they have others");
    return RC_CONFLICT;
}

/* May the router go? A group may need what it holds, alive or not: so only one that was drained,
 * says that it holds nothing and is counted by nobody, or one that was silent for so long that it
 * counts as lost, and every group has a leader without it. */
static enum rc check_remove(const struct router *router, const struct table_router *known,
                            char detail[DETAIL_SIZE])
{
    const struct router_peer *peer = router_peers_get(router, slice_string(known->node));
    bool is_us = strcmp(known->node, router->node) == 0;
    bool is_here = is_us || (peer != NULL && peer->is_up);
    if (known->state == ROUTER_REMOVED)
        return RC_OK;
    uint32_t leaderless = count_leaderless(router);
    if (leaderless > 0) {
        snprintf(
            detail, DETAIL_SIZE,
            "%u shards have no leader and may need its vote, or its disk: wait until they have%s",
            leaderless, is_here ? "" : ", or start it");
        return RC_CONFLICT;
    }
    if (known->state == ROUTER_LOST)
        return RC_OK;
    if (!is_here)
        return check_absent(router, known, peer, detail);
    if (!is_us && !is_fresh(router, peer))
        return await_word(peer, detail);
    if (known->state == ROUTER_DRAINING && !is_us && peer->held == 0)
        return check_counted(router, (uint64_t)(known - router->table.routers), detail);
    snprintf(detail, DETAIL_SIZE, "it holds replicas: drain it first");
    return RC_CONFLICT;
}

static enum rc check_operate(const struct router *router, uint64_t action,
                             const struct table_router *known, enum router_state *ret_state,
                             char detail[DETAIL_SIZE])
{
    if (!shard_serves(router, router_control(router)))
        return RC_NOT_LEADER;
    if (known == NULL) {
        snprintf(detail, DETAIL_SIZE, "there is no such router");
        return RC_NOT_FOUND;
    }
    if (action == OPERATE_REMOVE) {
        *ret_state = ROUTER_REMOVED;
        return check_remove(router, known, detail);
    }
    if (action != OPERATE_DRAIN && action != OPERATE_UNDRAIN)
        return RC_BAD_REQUEST;
    *ret_state = action == OPERATE_DRAIN ? ROUTER_DRAINING : ROUTER_ACTIVE;
    if (known->state != ROUTER_REMOVED)
        return RC_OK;
    snprintf(detail, DETAIL_SIZE, "it was removed for good");
    return RC_CONFLICT;
}

/* Does the list as told say what the log does, with nothing on its way that would change it? */
static bool is_current(const struct router *router)
{
    struct machine_cluster cluster;
    const struct shard *control = router_control(router);
    return control->queued.count == 0 && control->flying.count == 0 &&
           machine_cluster(control->machine, &cluster) == RC_OK &&
           cluster.version == router->table.version;
}

void control_on_operate(struct router *router, struct watcher *watcher,
                        const struct msg_operate *operate)
{
    const struct pending pending = {
        .watcher = watcher,
        .incarnation = watcher->incarnation,
        .req = operate->req,
    };
    enum router_state state = ROUTER_ACTIVE;
    const struct table_router *known = find_router(router, operate->node);
    char detail[DETAIL_SIZE] = "";
    enum rc rc = check_operate(router, operate->action, known, &state, detail);
    if (rc == RC_OK && state == ROUTER_ACTIVE && known->state == state && is_current(router))
        snprintf(detail, sizeof(detail), "it takes part already"); /* Nothing to be done. */
    else if (rc == RC_OK)
        rc = queue_router(router, operate->node, slice_string(known->zone), known->weight, state,
                          &pending);
    if (rc == RC_OK && detail[0] == '\0')
        return;
    const struct msg_result answer = {
        .req = operate->req,
        .rc = rc == RC_FULL ? RC_UNAVAILABLE : rc,
        .detail = slice_string(detail),
    };
    watchers_answer(&router->watchers, watcher, &msg_result_desc, &answer);
}
