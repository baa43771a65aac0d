/* placement: random walks of a modelled group. Routers join, leave, die, and come back with or
 * without their data, leaders change and uncommitted changes are lost, while the group does what it
 * is told after delays. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "nodes/router/placement.h"

#define ROUTERS     9u
#define TICKS_CHAOS 400u
#define TICKS_CALM  5000u
#define TICKS_EVEN  60u /* Some steps; a copy takes hundreds. */

struct router {
    uint64_t prepared;   /* What it answered to `prepare`. */
    uint32_t prepare_in; /* Ticks until it answers; 0: it was not asked. */
    bool is_up;
};

/* What a view points at. */
struct group {
    const char *targets[LIMIT_REPLICAS_MAX];
    uint64_t prepared[LIMIT_REPLICAS_MAX];
    bool is_heard[LIMIT_REPLICAS_MAX];
    struct placement_view view;
};

struct model {
    uint64_t random;
    struct router routers[ROUTERS];
    char names[ROUTERS][8];
    struct placement_server servers[LIMIT_SERVERS_MAX];
    struct placement_server undo[LIMIT_SERVERS_MAX]; /* Before the change that is not committed. */
    uint32_t server_count, undo_count;
    uint32_t change_in;   /* Ticks until the change commits; 0: there is none. */
    uint32_t transfer_in; /* Ticks until leadership changes. */
    uint64_t transfer_to;
    uint64_t self, last_id, last_index, conf_index;
    uint32_t targets[LIMIT_REPLICAS_MAX];
    uint32_t target_count, replicas;
    uint32_t steps;
    bool is_calm;
    uint32_t even_ticks; /* Since a step made the number of voters even; 0: none did. */
};

static uint32_t draw(struct model *m, uint32_t below)
{
    m->random ^= m->random << 13;
    m->random ^= m->random >> 7;
    m->random ^= m->random << 17;
    return (uint32_t)(m->random >> 33) % below;
}

static uint32_t router_of(const struct placement_server *server)
{
    return (uint32_t)(server->node[1] - '0');
}

static struct placement_server *server_at(struct model *m, uint64_t id)
{
    for (uint32_t i = 0; i < m->server_count; i++)
        if (m->servers[i].id == id)
            return &m->servers[i];
    return NULL;
}

static bool works(const struct model *m, const struct placement_server *server)
{
    return m->routers[router_of(server)].is_up && !server->is_gone;
}

/* As the leader sees them. */
static uint32_t live_voters(const struct model *m, uint32_t *ret_all)
{
    uint32_t live = 0;
    *ret_all = 0;
    for (uint32_t i = 0; i < m->server_count; i++) {
        *ret_all += m->servers[i].role == PLACEMENT_VOTER;
        live += m->servers[i].role == PLACEMENT_VOTER && m->servers[i].is_live &&
                !m->servers[i].is_gone;
    }
    return live;
}

/* Would most voters of the configuration (and of the one before it, which may come back) live
 * without this router? Chaos never takes more: a group without a majority has no leader to ask. */
static bool spares(const struct model *m, uint32_t router)
{
    for (int which = 0; which < 2; which++) {
        const struct placement_server *servers = which == 0 ? m->servers : m->undo;
        uint32_t count = which == 0 ? m->server_count : m->change_in > 0 ? m->undo_count : 0;
        uint32_t all = 0;
        uint32_t live = 0;
        for (uint32_t i = 0; i < count; i++)
            if (servers[i].role == PLACEMENT_VOTER) {
                all++;
                live += works(m, &servers[i]) && router_of(&servers[i]) != router &&
                        servers[i].match >= m->conf_index;
            }
        if (count > 0 && live <= all / 2)
            return false;
    }
    return true;
}

static void choose_targets(struct model *m)
{
    uint32_t order[ROUTERS];
    uint32_t up = 0;
    for (uint32_t i = 0; i < ROUTERS; i++) {
        if (!m->routers[i].is_up && (m->is_calm || draw(m, 3) > 0))
            continue; /* A dead one stays on the target for a while. */
        uint32_t at = draw(m, up + 1);
        order[up++] = order[at];
        order[at] = i;
    }
    m->target_count = up > 0 ? 1 + draw(m, up < m->replicas ? up : m->replicas) : 0;
    if (m->target_count < m->replicas && up >= m->replicas && draw(m, 3) > 0)
        m->target_count = m->replicas;
    memcpy(m->targets, order, m->target_count * sizeof(order[0]));
}

/* The one that leads next: of those that store the configuration. */
static void elect(struct model *m)
{
    uint32_t start = draw(m, m->server_count);
    for (uint32_t i = 0; i < m->server_count; i++) {
        struct placement_server *server = &m->servers[(start + i) % m->server_count];
        if (server->role == PLACEMENT_VOTER && works(m, server) && server->match >= m->conf_index) {
            m->self = server->id;
            return;
        }
    }
}

static void lose_leader(struct model *m)
{
    m->transfer_in = 0;
    if (m->change_in > 0 && draw(m, 2) == 0) { /* The change was not stored by who leads next. */
        memcpy(m->servers, m->undo, sizeof(m->servers));
        m->server_count = m->undo_count;
        m->change_in = 0;
        for (uint32_t i = 0; i < m->server_count; i++)
            m->servers[i].match = m->last_index;
    }
    elect(m);
}

static void disturb(struct model *m)
{
    uint32_t router = draw(m, ROUTERS);
    struct router *r = &m->routers[router];
    switch (draw(m, 12)) {
    case 0:
    case 1:
        if (r->is_up && spares(m, router)) {
            r->is_up = false;
            r->prepare_in = 0;
            if (server_at(m, m->self) == NULL || router_of(server_at(m, m->self)) == router)
                lose_leader(m);
        }
        break;
    case 2:
    case 3:
        r->is_up = true;
        break;
    case 4: /* Comes back with nothing, and says so. */
        if (!r->is_up) {
            r->is_up = true;
            r->prepared = 0;
            for (uint32_t i = 0; i < m->server_count; i++)
                m->servers[i].is_gone =
                    m->servers[i].is_gone || router_of(&m->servers[i]) == router;
            for (uint32_t i = 0; i < m->undo_count; i++)
                m->undo[i].is_gone = m->undo[i].is_gone || router_of(&m->undo[i]) == router;
        }
        break;
    case 5:
        choose_targets(m);
        break;
    case 6:
        if (draw(m, 4) == 0)
            lose_leader(m);
        break;
    default:
        break;
    }
}

/* Time passes: logs grow and are copied, changes commit, routers answer. */
static void pass(struct model *m)
{
    uint32_t all;
    if (m->transfer_in > 0 && --m->transfer_in == 0) {
        const struct placement_server *to = server_at(m, m->transfer_to);
        if (to != NULL && works(m, to) && draw(m, 4) > 0)
            m->self = m->transfer_to;
    }
    m->last_index += draw(m, 2);
    if (m->even_ticks > 0)
        assert_true(m->even_ticks++ < TICKS_EVEN);
    for (uint32_t i = 0; i < m->server_count; i++) {
        struct placement_server *server = &m->servers[i];
        server->is_live =
            works(m, server) && (m->is_calm || server->id == m->self || draw(m, 50) > 0);
        uint64_t lag = m->last_index - server->match;
        if (works(m, server) && (server->id == m->self || draw(m, 4) == 0))
            server->match += server->id == m->self || lag < 30 ? lag : 5 + lag / 32;
        server->is_caught_up = m->last_index - server->match < 6;
    }
    for (uint32_t i = 0; i < ROUTERS; i++)
        if (m->routers[i].prepare_in > 0 && --m->routers[i].prepare_in == 0)
            m->routers[i].prepared = ++m->last_id;
    if (m->change_in > 1)
        m->change_in--;
    else if (m->change_in == 1 && live_voters(m, &all) > all / 2)
        m->change_in = 0;
}

static void change(struct model *m, const struct placement_step *step)
{
    uint32_t before_all;
    uint32_t after_all;
    uint32_t before = live_voters(m, &before_all);
    uint32_t wanted = placement_voters(m->replicas, m->target_count);
    struct placement_server *server = server_at(m, step->id);
    bool was_gone = server != NULL && server->is_gone;
    memcpy(m->undo, m->servers, sizeof(m->undo));
    m->undo_count = m->server_count;
    if (step->kind == PLACEMENT_ADD) {
        assert_null(server);
        assert_true(m->server_count < LIMIT_SERVERS_MAX);
        m->servers[m->server_count] = (struct placement_server){.id = step->id};
        memcpy(m->servers[m->server_count].node, step->node, sizeof(step->node));
        m->routers[router_of(&m->servers[m->server_count])].prepared = 0;
        m->server_count++;
    } else {
        assert_non_null(server);
        assert_true(step->kind == PLACEMENT_PROMOTE || step->id != m->self);
        assert_true(step->kind != PLACEMENT_PROMOTE || (server->is_live && server->is_caught_up));
        server->role = step->kind == PLACEMENT_PROMOTE ? PLACEMENT_VOTER : PLACEMENT_STANDBY;
        if (step->kind == PLACEMENT_REMOVE)
            memmove(server, server + 1,
                    (size_t)((char *)&m->servers[--m->server_count] - (char *)server));
    }
    m->conf_index = ++m->last_index;
    m->change_in = 1 + draw(m, 5);

    uint32_t after = live_voters(m, &after_all);
    assert_true(after > after_all / 2);
    assert_true(after >= (before < wanted ? before : wanted));
    if (after_all != before_all)
        m->even_ticks = m->is_calm && after_all % 2 == 0 && !was_gone ? 1 : 0;
}

static void make_view(const struct model *m, struct group *group)
{
    for (uint32_t i = 0; i < m->target_count; i++) {
        group->targets[i] = m->names[m->targets[i]];
        group->prepared[i] = m->routers[m->targets[i]].prepared;
        group->is_heard[i] = m->routers[m->targets[i]].is_up;
    }
    group->view = (struct placement_view){
        .self = m->self,
        .servers = m->servers,
        .server_count = m->server_count,
        .last_conf_index = m->conf_index,
        .is_changing = m->change_in > 0 || m->transfer_in > 0,
        .targets = group->targets,
        .target_count = m->target_count,
        .replicas = m->replicas,
        .prepared = group->prepared,
        .is_heard = group->is_heard,
    };
}

/* The leader asks, and does it. True when the group is where it should be. */
static bool act(struct model *m)
{
    struct group group;
    make_view(m, &group);
    if (placement_is_done(&group.view))
        return true;
    struct placement_step step = placement_next(&group.view);
    m->steps += step.kind != PLACEMENT_NONE && step.kind != PLACEMENT_PREPARE;
    if (step.kind == PLACEMENT_PREPARE) {
        struct router *router = &m->routers[step.node[1] - '0'];
        assert_true(router->is_up);
        if (router->prepare_in == 0)
            router->prepare_in = 1 + draw(m, 8);
    } else if (step.kind == PLACEMENT_TRANSFER) {
        assert_true(server_at(m, step.id)->role == PLACEMENT_VOTER && step.id != m->self);
        m->transfer_in = 1 + draw(m, 5);
        m->transfer_to = step.id;
    } else if (step.kind != PLACEMENT_NONE)
        change(m, &step);
    return false;
}

static void start_model(struct model *m, uint64_t seed)
{
    memset(m, 0, sizeof(*m));
    m->random = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
    for (uint32_t i = 0; i < ROUTERS; i++) {
        snprintf(m->names[i], sizeof(m->names[i]), "r%u", i);
        m->routers[i].is_up = draw(m, 4) > 0;
    }
    m->routers[0].is_up = true;
    m->replicas = draw(m, 2) == 0 ? 3 : 1 + draw(m, LIMIT_REPLICAS_MAX);
    m->self = m->last_id = m->last_index = m->conf_index = 1;
    m->servers[m->server_count++] =
        (struct placement_server){.id = 1, .node = "r0", .role = PLACEMENT_VOTER, .match = 1};
}

/* Chaos, and then a target that stays, of routers that live. */
static bool walk_ends_well(uint64_t seed, uint32_t *ret_steps)
{
    struct model m;
    start_model(&m, seed);
    choose_targets(&m);
    for (uint32_t tick = 0; tick < TICKS_CHAOS; tick++) {
        disturb(&m);
        pass(&m);
        act(&m);
    }
    m.is_calm = true;
    m.steps = 0;
    choose_targets(&m);
    for (uint32_t tick = 0; tick < TICKS_CALM; tick++) {
        pass(&m);
        if (act(&m)) {
            *ret_steps = m.steps;
            return true;
        }
    }
    return false;
}

/* Whatever happened, a group reaches a target that stays, in few steps, never with fewer live
 * voters than it had or needs, nor without a majority of them. */
static void every_walk_ends_at_the_target(void **state)
{
    (void)state;
    uint32_t most = 0;
    for (uint64_t seed = 1; seed <= 2000; seed++) {
        uint32_t steps = 0;
        if (!walk_ends_well(seed, &steps))
            fail_msg("seed %d does not reach its target", (int)seed);
        most = steps > most ? steps : most;
    }
    print_message("most steps of a walk: %u\n", most);
    assert_true(most <= 30);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_walk_ends_at_the_target),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
