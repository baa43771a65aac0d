/* moves - the leader of a group brings its replicas to where the list of routers says.
 *
 * placement.c says what the next step is; here the view is made and the step is done. A step is
 * taken when the one before shows in the view, so nothing is remembered that a crash could lose.
 * How many newcomers catch up at a time is limited, and leadership is handed over only when all
 * else has been quiet for a while. */
#include <stdio.h>

#include "mesh/base/log.h"
#include "mesh/base/metrics.h"
#include "nodes/router/placement.h"
#include "nodes/router/router_private.h"

#define LOOK_MS        500u  /* Where nothing is to be done. */
#define STEP_MS        20u   /* Where something is. */
#define HANDOVER_MS    2000u /* So long after a group was won or changed leadership goes home. */
#define CAUGHT_UP      8u    /* Entries behind what is committed. */
#define FILLING_MAX    8u    /* Groups of one leader whose newcomers catch up at a time. */
#define DRAIN_AGAIN_MS 50u
/* Others may be told to stop in the same moment: whoever hears that makes none of them a voter. */
#define DRAIN_HEAR_MS 200u

_Static_assert((int)PLACEMENT_STANDBY == (int)RAFT_GROUP_STANDBY &&
                   (int)PLACEMENT_VOTER == (int)RAFT_GROUP_VOTER &&
                   (int)PLACEMENT_SPARE == (int)RAFT_GROUP_SPARE,
               "one is cast to the other");

/* ---- What other routers say ---- */

static void remember_prepared(struct shard *shard, const char *node, uint64_t server)
{
    uint32_t at = LIMIT_SERVERS_MAX;
    for (uint32_t i = 0; i < LIMIT_SERVERS_MAX; i++) {
        bool is_his = strcmp(shard->moves.prepared[i].node, node) == 0;
        if (is_his || (at == LIMIT_SERVERS_MAX && shard->moves.prepared[i].server == 0))
            at = i;
        if (is_his)
            break;
    }
    if (at == LIMIT_SERVERS_MAX)
        return;
    snprintf(shard->moves.prepared[at].node, sizeof(shard->moves.prepared[at].node), "%s", node);
    shard->moves.prepared[at].server = server;
}

static uint64_t prepared_at(const struct shard *shard, const char *node)
{
    for (uint32_t i = 0; i < LIMIT_SERVERS_MAX; i++)
        if (strcmp(shard->moves.prepared[i].node, node) == 0)
            return shard->moves.prepared[i].server;
    return 0;
}

static bool is_target(const struct router *router, const struct shard *shard, const char *node)
{
    const char *nodes[LIMIT_REPLICAS_MAX];
    uint32_t count = control_targets(router, shard, nodes);
    for (uint32_t i = 0; i < count; i++)
        if (strcmp(nodes[i], node) == 0)
            return true;
    return false;
}

/* A replica that is ready to be added, or one that asks whether it still belongs. */
void moves_on_prepared(struct router *router, struct router_peer *peer,
                       const struct msg_replica_prepared *message)
{
    struct shard *shard = router_shard(router, message->group);
    if (shard == NULL || message->server == 0 || !shard_serves(router, shard) ||
        raft_group_is_member(shard->group, message->server))
        return;
    if (is_target(router, shard, peer->id)) {
        remember_prepared(shard, peer->id, message->server);
        shard->moves.next_ms = 0;
        shard_wake(router, shard);
        return;
    }
    if (router->table.version == 0)
        return;
    const struct msg_replica_drop drop = {
        .group = message->group,
        .term = raft_group_term(shard->group),
        .server = message->server,
    };
    router_peers_tell(router, peer, &msg_replica_drop_desc, &drop);
}

void moves_on_gone(struct router *router, struct router_peer *peer,
                   const struct msg_replica_gone *message)
{
    struct shard *shard = router_shard(router, message->group);
    if (shard == NULL || message->server == 0 || !shard->was_ready || !shard_is_here(shard))
        return;
    if (prepared_at(shard, peer->id) == message->server)
        remember_prepared(shard, peer->id, 0);
    uint32_t at = 0;
    for (uint32_t i = 0; i < LIMIT_SERVERS_MAX; i++) {
        if (shard->moves.gone[i] == message->server)
            return;
        if (shard->moves.gone[i] == 0 || !raft_group_is_member(shard->group, shard->moves.gone[i]))
            at = i;
    }
    shard->moves.gone[at] = message->server;
    shard->moves.next_ms = 0;
    shard_wake(router, shard);
}

static void set_filling(struct router *router, struct shard *shard, bool is_filling)
{
    if (shard->moves.is_filling == is_filling)
        return;
    shard->moves.is_filling = is_filling;
    router->filling += is_filling ? 1u : (uint32_t)-1;
}

void moves_on_ready(struct router *router, struct shard *shard, bool ready)
{
    memset(shard->moves.prepared, 0, sizeof(shard->moves.prepared));
    memset(shard->moves.gone, 0, sizeof(shard->moves.gone));
    set_filling(router, shard, false);
    shard->moves.is_done = false;
    shard->moves.next_ms = 0;
    if (ready)
        shard->led_ms = shard->moves.ready_ms = router_now_ms(router);
}

/* ---- The view ---- */

struct view {
    struct placement_view view;
    struct placement_server servers[LIMIT_SERVERS_MAX];
    const char *targets[LIMIT_REPLICAS_MAX];
    uint64_t prepared[LIMIT_REPLICAS_MAX];
    bool is_heard[LIMIT_REPLICAS_MAX];
};

static bool is_gone(const struct shard *shard, uint64_t server)
{
    for (uint32_t i = 0; i < LIMIT_SERVERS_MAX; i++)
        if (shard->moves.gone[i] == server)
            return true;
    return false;
}

static bool is_present(const struct router *router, const char *node)
{
    if (strcmp(node, router->node) == 0)
        return !router->is_draining;
    const struct router_peer *peer = router_peers_get(router, slice_string(node));
    return peer != NULL && peer->is_up && !peer->is_leaving;
}

static bool is_leaving(const struct router *router, const char *node)
{
    const struct router_peer *peer = router_peers_get(router, slice_string(node));
    return peer != NULL && peer->is_leaving;
}

/* Who is about to stop is the last choice: where not all of the target vote, he is the copy. */
static uint32_t list_targets(const struct router *router, const struct shard *shard,
                             const char *ret_nodes[LIMIT_REPLICAS_MAX])
{
    const char *nodes[LIMIT_REPLICAS_MAX];
    uint32_t count = control_targets(router, shard, nodes);
    uint32_t listed = 0;
    for (uint32_t leaves = 0; leaves <= 1; leaves++)
        for (uint32_t i = 0; i < count; i++)
            if (is_leaving(router, nodes[i]) == (leaves == 1))
                ret_nodes[listed++] = nodes[i];
    return listed;
}

/* How often in this term others were asked to lead, and did not. */
static uint32_t asked_in_vain(const struct shard *shard)
{
    return shard->moves.asked_term == raft_group_term(shard->group) ? shard->moves.asked : 0;
}

static void make_view(const struct router *router, const struct shard *shard, struct view *v)
{
    struct raft_group_server servers[LIMIT_SERVERS_MAX];
    uint32_t count = raft_group_servers(shard->group, router_now_ms(router), servers);
    uint64_t commit = raft_group_commit_index(shard->group);
    for (uint32_t i = 0; i < count; i++) {
        struct placement_server *s = &v->servers[i];
        s->id = servers[i].id;
        memcpy(s->node, servers[i].node, sizeof(s->node));
        s->role = (enum placement_role)servers[i].role;
        s->is_gone = is_gone(shard, s->id);
        bool is_self = s->id == raft_group_self(shard->group);
        s->match = is_self ? raft_group_last_index(shard->group) : servers[i].match;
        s->is_live = is_self || (servers[i].is_live && !s->is_gone && is_present(router, s->node));
        s->is_caught_up = is_self || (s->is_live && s->match + CAUGHT_UP >= commit);
    }
    uint32_t targets = list_targets(router, shard, v->targets);
    for (uint32_t i = 0; i < targets; i++) {
        v->prepared[i] = prepared_at(shard, v->targets[i]);
        v->is_heard[i] = is_present(router, v->targets[i]);
    }
    v->view = (struct placement_view){
        .self = raft_group_self(shard->group),
        .servers = v->servers,
        .server_count = count,
        .last_conf_index = raft_group_conf_index(shard->group),
        .is_changing = raft_group_is_changing(shard->group),
        .targets = v->targets,
        .target_count = targets,
        .replicas = router->table.replicas,
        .prepared = v->prepared,
        .is_heard = v->is_heard,
        .in_vain = asked_in_vain(shard),
    };
}

/* ---- The step ---- */

static enum rc change(struct router *router, struct shard *shard, const struct placement_step *step,
                      enum raft_group_role role)
{
    struct slice node = step->kind == PLACEMENT_REMOVE ? slice_of("", 0) : slice_string(step->node);
    enum rc rc = raft_group_change(shard->group, router_now_ms(router), step->id, node, role);
    if (rc != RC_OK)
        return rc;
    static const char *const names[] = {
        [PLACEMENT_ADD] = "add",
        [PLACEMENT_PROMOTE] = "promote",
        [PLACEMENT_DEMOTE] = "demote",
        [PLACEMENT_REMOVE] = "remove",
    };
    router->moves_done++;
    log_debug("replica_step", "shard=%u step=%s node=%s server=%016lx", shard->id,
              names[step->kind], step->node, (unsigned long)step->id);
    return RC_OK;
}

static void prepare(struct router *router, struct shard *shard, const struct placement_step *step)
{
    struct router_peer *peer = router_peers_get(router, slice_string(step->node));
    const struct msg_replica_prepare message = {
        .group = shard->id,
        .term = raft_group_term(shard->group),
    };
    if (peer != NULL)
        router_peers_tell(router, peer, &msg_replica_prepare_desc, &message);
}

static enum rc hand_over(struct router *router, struct shard *shard, uint64_t server)
{
    uint64_t now_ms = router_now_ms(router);
    if (now_ms - shard->moves.ready_ms < HANDOVER_MS)
        return RC_AGAIN;
    enum rc rc = raft_group_transfer(shard->group, now_ms, server);
    if (rc == RC_OK) {
        router->moves_done++;
        shard->moves.ready_ms = now_ms; /* Not at once again, should it fail. */
        shard->moves.asked = asked_in_vain(shard) + 1;
        shard->moves.asked_term = raft_group_term(shard->group);
        log_debug("leadership_home", "shard=%u server=%016lx", shard->id, (unsigned long)server);
    }
    return rc;
}

static enum rc do_step(struct router *router, struct shard *shard,
                       const struct placement_step *step)
{
    switch (step->kind) {
    case PLACEMENT_NONE:
        return RC_OK;
    case PLACEMENT_PREPARE:
        prepare(router, shard, step);
        return RC_OK;
    case PLACEMENT_ADD:
        if (router->filling >= FILLING_MAX && !shard->moves.is_filling)
            return RC_AGAIN;
        set_filling(router, shard, true);
        remember_prepared(shard, step->node, 0);
        return change(router, shard, step, RAFT_GROUP_STANDBY);
    case PLACEMENT_PROMOTE:
        return change(router, shard, step, RAFT_GROUP_VOTER);
    case PLACEMENT_DEMOTE:
        return change(router, shard, step, RAFT_GROUP_STANDBY);
    case PLACEMENT_REMOVE:
        return change(router, shard, step, RAFT_GROUP_SPARE);
    case PLACEMENT_TRANSFER:
        return hand_over(router, shard, step->id);
    }
    return RC_OK;
}

/* ---- Before the process stops ---- */

static uint32_t count_voters(const struct view *v)
{
    uint32_t voters = 0;
    for (uint32_t i = 0; i < v->view.server_count; i++)
        voters += v->servers[i].role == PLACEMENT_VOTER;
    return voters;
}

/* Who could lead instead: the live voter that has most; where nobody else votes (two routers), the
 * copy, if it is whole, once it is made a voter. NULL: nobody. */
static const struct placement_server *find_heir(const struct view *v)
{
    const struct placement_server *heir = NULL;
    bool is_alone = count_voters(v) == 1;
    for (uint32_t i = 0; i < v->view.server_count; i++) {
        const struct placement_server *s = &v->servers[i];
        bool is_whole = s->is_caught_up && s->match >= v->view.last_conf_index;
        bool is_fit =
            s->id != v->view.self && s->is_live &&
            (s->role == PLACEMENT_VOTER || (s->role == PLACEMENT_STANDBY && is_alone && is_whole));
        if (is_fit && (heir == NULL || s->match > heir->match))
            heir = s;
    }
    return heir;
}

/* What was a copy takes our vote once it leads, as we are its last choice now (list_targets). */
static void drain(struct router *router, struct shard *shard, const struct view *v)
{
    uint64_t now_ms = router_now_ms(router);
    const struct placement_server *heir = find_heir(v);
    enum rc rc = RC_OK;
    shard->moves.next_ms = now_ms + DRAIN_AGAIN_MS;
    if (heir == NULL || !heir->is_caught_up || v->view.is_changing)
        return;
    if (heir->role == PLACEMENT_VOTER)
        rc = raft_group_transfer(shard->group, now_ms, heir->id);
    else if (now_ms >= router->draining_ms + DRAIN_HEAR_MS)
        rc = raft_group_change(shard->group, now_ms, heir->id, slice_string(heir->node),
                               RAFT_GROUP_VOTER);
    (void)rc; /* Tried again until the process stops. */
}

/* Is our vote needed by those who stay? Of two voters until the other has taken it. Else as long as
 * nobody else is heard to lead: whom we have told to campaign counts on us, since the others may
 * not know yet that we hand over, and then they refuse him. */
static bool is_needed(const struct router *router, const struct shard *shard, const struct view *v)
{
    struct slice leader = raft_group_leader_node(shard->group);
    bool is_led = leader.size > 0 && !slice_equals(leader, router->node);
    bool votes = false;
    bool has_other = false;
    for (uint32_t i = 0; i < v->view.server_count; i++) {
        const struct placement_server *s = &v->servers[i];
        if (s->role == PLACEMENT_VOTER && s->id == v->view.self)
            votes = true;
        else if (s->role == PLACEMENT_VOTER)
            has_other |= is_present(router, s->node);
    }
    return votes && has_other && (count_voters(v) == 2 || !is_led);
}

/* Might another lead before long, whose router is there but has not caught up, or was not heard in
 * the group: it has just started again. */
static bool may_have_heir(const struct router *router, const struct view *v)
{
    bool is_alone = count_voters(v) == 1;
    for (uint32_t i = 0; i < v->view.server_count; i++) {
        const struct placement_server *s = &v->servers[i];
        bool is_fit = s->role == PLACEMENT_VOTER || (s->role == PLACEMENT_STANDBY && is_alone);
        if (s->id != v->view.self && is_fit && is_present(router, s->node))
            return true;
    }
    return false;
}

enum moves_duty moves_duty(const struct router *router, const struct shard *shard)
{
    struct view v;
    if (shard->group == NULL)
        return MOVES_FREE;
    make_view(router, shard, &v);
    if (shard->was_ready)
        return may_have_heir(router, &v) ? MOVES_AWAITED : MOVES_ALONE;
    return is_needed(router, shard, &v) ? MOVES_AWAITED : MOVES_FREE;
}

/* ---- The turn ---- */

static bool is_filling(const struct view *v)
{
    for (uint32_t i = 0; i < v->view.server_count; i++)
        if (v->servers[i].role != PLACEMENT_VOTER && v->servers[i].is_live &&
            !v->servers[i].is_caught_up)
            return true;
    return false;
}

void moves_turn(struct router *router, struct shard *shard)
{
    uint64_t now_ms = router_now_ms(router);
    if (!shard->was_ready || !shard_is_here(shard) || now_ms < shard->moves.next_ms)
        return;
    if (!router->is_draining && router->table.version == 0)
        return;
    struct view v;
    make_view(router, shard, &v);
    if (router->is_draining) {
        drain(router, shard, &v);
        return;
    }
    set_filling(router, shard, is_filling(&v));
    shard->moves.is_done = placement_is_done(&v.view);
    struct placement_step step = placement_next(&v.view);
    enum rc rc = do_step(router, shard, &step);
    bool is_idle = step.kind == PLACEMENT_NONE && !v.view.is_changing;
    bool is_asking = step.kind == PLACEMENT_TRANSFER || step.kind == PLACEMENT_PREPARE;
    shard->moves.next_ms = now_ms + (is_asking ? LOOK_MS / 2 : is_idle ? LOOK_MS : STEP_MS);
    if (rc != RC_OK && rc != RC_AGAIN && rc != RC_NOT_LEADER && rc != RC_UNAVAILABLE &&
        rc != RC_NOT_FOUND && rc != RC_FULL)
        router_shard_failed(router, shard, rc);
}

uint64_t moves_due_ms(const struct router *router, const struct shard *shard)
{
    if (!shard->was_ready || (router->table.version == 0 && !router->is_draining))
        return ENV_NEVER;
    return shard->moves.next_ms;
}
