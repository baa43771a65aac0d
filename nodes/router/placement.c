/* The steps in order of urgency; the first that is allowed is the answer:
 *
 *   1  remove what is gone          it never votes again
 *   2  add what is held ready       copying takes long, so it begins early
 *   3  promote; drop dead voters    each brings the group further from standing still
 *   4  hand over; drop live voters  the move itself
 *   5  remove old copies            once there are enough without them
 *   6  prepare what is missing      asked again until the router answers
 *   7  the preferred leader         when there is nothing else to do
 *
 * An excess voter is one that is not to be a voter: its router is beyond the first ones of the
 * target or not on it, or the router has another replica by now. No step undoes another: only
 * target voters are promoted, only excess ones dropped, so a target that stays is reached. */
#include "nodes/router/placement.h"

#include <string.h>

#include "mesh/base/check.h"

#define ABSENT UINT32_MAX

/* The view and what follows from it. */
struct plan {
    const struct placement_view *view;
    uint32_t wanted;                        /* Voters. */
    uint32_t server_of[LIMIT_REPLICAS_MAX]; /* Index of a target's server, or ABSENT. */
    uint32_t target_of[LIMIT_SERVERS_MAX];  /* Index of a server's target, or ABSENT. */
    uint32_t voters;                        /* Dead ones too. */
    uint32_t live_voters;                   /* Of them. */
    uint32_t live_excess;
    uint32_t dead_excess;
    uint32_t promotable; /* Standbys of target voters that are ready. */
    uint32_t copies;     /* Whole ones that live, on the target or not. */
};

uint32_t placement_voters(uint32_t replicas, uint32_t target_count)
{
    uint32_t count = replicas < target_count ? replicas : target_count;
    return count % 2 == 1 || count == 0 ? count : count - 1;
}

static bool is_self(const struct plan *plan, const struct placement_server *server)
{
    return server->id == plan->view->self;
}

static bool is_live(const struct plan *plan, const struct placement_server *server)
{
    return is_self(plan, server) || (server->is_live && !server->is_gone);
}

/* Lives and has the newest configuration: one that has not stored its own promotion yet refuses to
 * vote. */
static bool counts(const struct plan *plan, const struct placement_server *server)
{
    return is_live(plan, server) && server->match >= plan->view->last_conf_index;
}

static bool is_ready(const struct plan *plan, const struct placement_server *server)
{
    return counts(plan, server) && (server->is_caught_up || is_self(plan, server));
}

static bool is_excess(const struct plan *plan, uint32_t index)
{
    const struct placement_server *server = &plan->view->servers[index];
    uint32_t target = plan->target_of[index];
    return server->role == PLACEMENT_VOTER && (target == ABSENT || target >= plan->wanted);
}

static const struct placement_server *find_server(const struct placement_view *view, uint64_t id)
{
    for (uint32_t i = 0; i < view->server_count; i++)
        if (view->servers[i].id == id)
            return &view->servers[i];
    return NULL;
}

/* A replica that the target's router holds ready and that may be added. The id of a server that is
 * in the group already is what its router said long ago. */
static uint64_t prepared_id(const struct placement_view *view, uint32_t target)
{
    uint64_t id = view->prepared[target];
    return find_server(view, id) == NULL ? id : 0;
}

/* Of two replicas at one router the one that is of more use; never one that is gone. */
static bool is_better(const struct plan *plan, const struct placement_server *a,
                      const struct placement_server *b)
{
    if (is_live(plan, a) != is_live(plan, b))
        return is_live(plan, a);
    if ((a->role == PLACEMENT_VOTER) != (b->role == PLACEMENT_VOTER))
        return a->role == PLACEMENT_VOTER;
    return a->match > b->match;
}

static void match_targets(struct plan *plan)
{
    const struct placement_view *view = plan->view;
    for (uint32_t i = 0; i < view->server_count; i++)
        plan->target_of[i] = ABSENT;
    for (uint32_t t = 0; t < view->target_count; t++) {
        uint32_t best = ABSENT;
        for (uint32_t i = 0; i < view->server_count; i++) {
            const struct placement_server *server = &view->servers[i];
            if (strcmp(server->node, view->targets[t]) == 0 &&
                (is_self(plan, server) || !server->is_gone) &&
                (best == ABSENT || is_better(plan, server, &view->servers[best])))
                best = i;
        }
        plan->server_of[t] = best;
        if (best != ABSENT)
            plan->target_of[best] = t;
    }
}

static void make_plan(struct plan *plan, const struct placement_view *view)
{
    CHECK(view->server_count <= LIMIT_SERVERS_MAX);
    CHECK(view->target_count <= LIMIT_REPLICAS_MAX);
    *plan = (struct plan){.view = view};
    plan->wanted = placement_voters(view->replicas, view->target_count);
    match_targets(plan);
    for (uint32_t i = 0; i < view->server_count; i++) {
        const struct placement_server *server = &view->servers[i];
        bool lives = is_live(plan, server);
        plan->copies += is_ready(plan, server);
        plan->voters += server->role == PLACEMENT_VOTER;
        plan->live_voters += server->role == PLACEMENT_VOTER && lives;
        plan->live_excess += is_excess(plan, i) && lives;
        plan->dead_excess += is_excess(plan, i) && !lives;
    }
    for (uint32_t t = 0; t < view->target_count; t++) {
        uint32_t at = plan->server_of[t];
        bool ready = at != ABSENT && is_ready(plan, &view->servers[at]);
        plan->promotable +=
            ready && t < plan->wanted && view->servers[at].role == PLACEMENT_STANDBY;
    }
}

/* May the configuration change now, so that `server` (NULL: a new one) votes or not? Every voter
 * that lives has the last one, and most of those that will vote then live. */
static bool may_change(const struct plan *plan, const struct placement_server *server, bool votes)
{
    uint32_t all = 0;
    uint32_t counting = 0;
    for (uint32_t i = 0; i < plan->view->server_count; i++) {
        const struct placement_server *other = &plan->view->servers[i];
        bool is_voter = other->role == PLACEMENT_VOTER;
        if (is_voter && is_live(plan, other) && !counts(plan, other))
            return false;
        if (other == server ? votes : is_voter) {
            all++;
            counting += counts(plan, other);
        }
    }
    return counting > all / 2;
}

static struct placement_step step_for(enum placement_kind kind, uint64_t id, const char *node)
{
    struct placement_step step = {.kind = kind, .id = id};
    size_t size = strlen(node);
    CHECK(size < sizeof(step.node));
    memcpy(step.node, node, size);
    return step;
}

static bool take(struct placement_step *ret_step, enum placement_kind kind,
                 const struct placement_server *server)
{
    *ret_step = step_for(kind, server->id, server->node);
    return true;
}

/* Are there as many whole copies as targets without this one? */
static bool is_needless(const struct plan *plan, const struct placement_server *server)
{
    return plan->copies - is_ready(plan, server) >= plan->view->target_count;
}

/* 1 */
static bool remove_gone(const struct plan *plan, struct placement_step *ret_step)
{
    for (uint32_t i = 0; i < plan->view->server_count; i++) {
        const struct placement_server *server = &plan->view->servers[i];
        if (server->is_gone && !is_self(plan, server) && may_change(plan, server, false))
            return take(ret_step, PLACEMENT_REMOVE, server);
    }
    return false;
}

/* 2 */
static bool add_prepared(const struct plan *plan, struct placement_step *ret_step)
{
    const struct placement_view *view = plan->view;
    if (view->server_count == LIMIT_SERVERS_MAX || !may_change(plan, NULL, false))
        return false;
    for (uint32_t t = 0; t < view->target_count; t++)
        if (plan->server_of[t] == ABSENT && prepared_id(view, t) != 0) {
            *ret_step = step_for(PLACEMENT_ADD, prepared_id(view, t), view->targets[t]);
            return true;
        }
    return false;
}

/* 3. Where the number of voters gets even by it, the next step must make it odd again: promote
 * another, or drop one of those that may be dropped then. */
static bool promote(const struct plan *plan, struct placement_step *ret_step)
{
    if (plan->voters % 2 == 1 && plan->promotable < 2 && plan->dead_excess == 0 &&
        (plan->live_excess == 0 || plan->live_voters < plan->wanted))
        return false;
    for (uint32_t t = 0; t < plan->wanted; t++) {
        if (plan->server_of[t] == ABSENT)
            continue;
        const struct placement_server *server = &plan->view->servers[plan->server_of[t]];
        if (server->role == PLACEMENT_STANDBY && is_ready(plan, server) &&
            may_change(plan, server, true))
            return take(ret_step, PLACEMENT_PROMOTE, server);
    }
    return false;
}

/* A server that was added without being a standby gets no log. */
static bool wake_spare(const struct plan *plan, struct placement_step *ret_step)
{
    for (uint32_t i = 0; i < plan->view->server_count; i++) {
        const struct placement_server *server = &plan->view->servers[i];
        if (server->role == PLACEMENT_SPARE && plan->target_of[i] != ABSENT &&
            may_change(plan, server, false))
            return take(ret_step, PLACEMENT_DEMOTE, server);
    }
    return false;
}

/* Dead voters are dropped in pairs, or one where their number is even: an odd one costs nothing
 * and may come back before there is another in its place. */
static bool drop_dead_voter(const struct plan *plan, struct placement_step *ret_step)
{
    if (plan->voters % 2 == 1 && plan->dead_excess < 2 && plan->live_voters < plan->wanted)
        return false;
    for (uint32_t i = 0; i < plan->view->server_count; i++) {
        const struct placement_server *server = &plan->view->servers[i];
        if (is_excess(plan, i) && !is_live(plan, server) && may_change(plan, server, false))
            return take(ret_step,
                        plan->target_of[i] == ABSENT ? PLACEMENT_REMOVE : PLACEMENT_DEMOTE, server);
    }
    return false;
}

static const struct placement_server *ready_voter(const struct plan *plan, uint32_t target)
{
    if (plan->server_of[target] == ABSENT)
        return NULL;
    const struct placement_server *server = &plan->view->servers[plan->server_of[target]];
    return server->role == PLACEMENT_VOTER && is_ready(plan, server) ? server : NULL;
}

#define IN_VAIN_MAX 2u

/* 4. To the preferred leader; to another only where this one is in the way, or that one does not
 * take it. */
static bool hand_over(const struct plan *plan, struct placement_step *ret_step)
{
    for (uint32_t i = 0; i < plan->view->server_count; i++) {
        if (!is_self(plan, &plan->view->servers[i]) || !is_excess(plan, i))
            continue;
        uint32_t in_vain = plan->view->in_vain;
        bool is_refused = in_vain >= IN_VAIN_MAX;
        uint32_t choices = plan->live_voters > plan->wanted || is_refused ? plan->wanted : 1;
        for (uint32_t c = 0; c < choices; c++) {
            uint32_t t = is_refused ? (in_vain - IN_VAIN_MAX + 1 + c) % choices : c;
            if (ready_voter(plan, t) != NULL)
                return take(ret_step, PLACEMENT_TRANSFER, ready_voter(plan, t));
        }
    }
    return false;
}

/* An old voter stays on as a copy while the new ones are not whole. */
static bool drop_live_voter(const struct plan *plan, struct placement_step *ret_step)
{
    if (plan->live_voters <= plan->wanted)
        return false;
    for (uint32_t i = 0; i < plan->view->server_count; i++) {
        const struct placement_server *server = &plan->view->servers[i];
        if (is_excess(plan, i) && is_live(plan, server) && !is_self(plan, server) &&
            may_change(plan, server, false))
            return take(ret_step,
                        plan->target_of[i] == ABSENT && is_needless(plan, server)
                            ? PLACEMENT_REMOVE
                            : PLACEMENT_DEMOTE,
                        server);
    }
    return false;
}

/* 5. Earlier where they are dead, or take the place of one that is to be added. */
static bool remove_copy(const struct plan *plan, struct placement_step *ret_step)
{
    bool is_full = plan->view->server_count == LIMIT_SERVERS_MAX;
    bool is_missing = false;
    for (uint32_t t = 0; t < plan->view->target_count; t++)
        is_missing = is_missing || plan->server_of[t] == ABSENT;
    for (uint32_t i = 0; i < plan->view->server_count; i++) {
        const struct placement_server *server = &plan->view->servers[i];
        if (server->role == PLACEMENT_VOTER || plan->target_of[i] != ABSENT ||
            is_self(plan, server))
            continue;
        if ((is_needless(plan, server) || !is_live(plan, server) || (is_full && is_missing)) &&
            may_change(plan, server, false))
            return take(ret_step, PLACEMENT_REMOVE, server);
    }
    return false;
}

/* 6 */
static bool prepare(const struct plan *plan, struct placement_step *ret_step)
{
    const struct placement_view *view = plan->view;
    for (uint32_t t = 0; t < view->target_count; t++)
        if (plan->server_of[t] == ABSENT && prepared_id(view, t) == 0 &&
            (view->is_heard == NULL || view->is_heard[t])) {
            *ret_step = step_for(PLACEMENT_PREPARE, 0, view->targets[t]);
            return true;
        }
    return false;
}

/* 7. Not while a copy is being made, which a new leader would begin anew. */
static bool prefer_leader(const struct plan *plan, struct placement_step *ret_step)
{
    for (uint32_t t = 0; t < plan->view->target_count; t++) {
        if (plan->server_of[t] == ABSENT)
            continue;
        const struct placement_server *server = &plan->view->servers[plan->server_of[t]];
        if (is_live(plan, server) && !is_ready(plan, server))
            return false;
    }
    const struct placement_server *preferred = ready_voter(plan, 0);
    if (preferred == NULL || is_self(plan, preferred))
        return false;
    return take(ret_step, PLACEMENT_TRANSFER, preferred);
}

struct placement_step placement_next(const struct placement_view *view)
{
    static bool (*const steps[])(const struct plan *, struct placement_step *) = {
        remove_gone, add_prepared,    wake_spare,  promote, drop_dead_voter,
        hand_over,   drop_live_voter, remove_copy, prepare, prefer_leader,
    };
    struct placement_step step = {.kind = PLACEMENT_NONE};
    struct plan plan;
    if (view->is_changing || view->target_count == 0 || find_server(view, view->self) == NULL)
        return step;
    make_plan(&plan, view);
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
        if (steps[i](&plan, &step))
            break;
    return step;
}

bool placement_is_done(const struct placement_view *view)
{
    struct plan plan;
    if (view->is_changing || view->target_count == 0 || view->server_count != view->target_count)
        return false;
    make_plan(&plan, view);
    for (uint32_t t = 0; t < view->target_count; t++) {
        if (plan.server_of[t] == ABSENT)
            return false;
        const struct placement_server *server = &view->servers[plan.server_of[t]];
        if (server->role != (t < plan.wanted ? PLACEMENT_VOTER : PLACEMENT_STANDBY))
            return false;
        if (t == 0 && !is_self(&plan, server))
            return false;
    }
    return true;
}
