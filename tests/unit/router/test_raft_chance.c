/* A Raft group by chance: each seed draws a network, disks and what befalls them, for some seconds;
 * then all is well again, and the group must serve, agree, and be able to change its members.
 *
 * What must hold all the time is watched by the rig. SEED=n runs one seed and says what happened,
 * SEEDS=n runs that many. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
/* cmocka.h needs those above. */
#include <cmocka.h>

#include "storage/mem_kv.h"
#include "tests/support/raft_rig.h"

#define SEEDS         300u
#define FAULTS_MS     12000u
#define HEALED_MS     20000u
#define TICK_MS       20u /* Between looks at what transfers and members need. */
#define CAUGHT_UP     8u
#define INSTALL_MS    200u
#define ELECTION_MS   500u
#define VOTERS_WANTED 3u

static struct raft_rig rig;

static struct {
    uint64_t seed;
    bool is_told;
    uint32_t calm;                        /* So many more commands than drawn. */
    uint32_t said;                        /* Commands submitted. */
    uint32_t changes, handovers, crashes; /* That were begun. */
    uint32_t installs;
    uint64_t copied[RAFT_RIG_NODES]; /* When a node's transfer is complete; 0: none runs. */
    bool is_prepared[RAFT_RIG_NODES];
} run;

static void tell(const char *what, uint32_t node, uint64_t number)
{
    if (run.is_told)
        printf("%8lu  %s node %u: %lu\n", (unsigned long)rig.now_ms, what, node,
               (unsigned long)number);
}

static uint32_t some_node(void)
{
    return (uint32_t)raft_rig_random(&rig, RAFT_RIG_NODES);
}

static bool is_up(uint32_t node)
{
    return rig.nodes[node].batch != NULL;
}

/* ---- Faults ---- */

static void crash(uint32_t node)
{
    uint64_t unsynced = mem_kv_unsynced(rig.nodes[node].kv);
    uint64_t lost = raft_rig_random(&rig, unsynced + 1);
    tell("crash", node, lost);
    raft_rig_crash(&rig, node, lost);
    run.copied[node] = 0;
    run.crashes++;
}

static void restart(uint32_t node)
{
    enum rc rc = raft_rig_restart(&rig, node);
    tell("restart", node, rc);
    if (rc != RC_OK && rc != RC_NOT_FOUND)
        fail_msg("seed %lu: node %u does not start: %s", (unsigned long)run.seed, node,
                 rc_sentence(rc));
}

static void cut_some(void)
{
    uint32_t a = some_node(), b = some_node();
    switch (raft_rig_random(&rig, 4)) {
    case 0:
        tell("cut off", a, 0);
        raft_rig_cut_off(&rig, a, true);
        return;
    case 1:
        tell("cut one way from", a, b);
        rig.is_cut[a][b] = true;
        return;
    default:
        tell("links are whole", 0, 0);
        memset(rig.is_cut, 0, sizeof(rig.is_cut));
    }
}

static void truncate_some(void)
{
    uint32_t at = some_node();
    struct raft_rig_node *node = &rig.nodes[at];
    if (node->group == NULL || raft_group_is_installing(node->group))
        return;
    if (raft_rig_leads(&rig, at) && raft_group_wants_state(node->group, 0) != 0)
        return; /* What a transfer needs is kept. */
    uint64_t applied = raft_group_applied_index(node->group);
    uint64_t first = raft_group_first_index(node->group);
    if (applied <= first)
        return;
    uint64_t to = first + raft_rig_random(&rig, applied - first + 1);
    tell("truncate", at, to);
    raft_rig_truncate(&rig, at, to);
}

/* ---- State transfer ---- */

static void serve_transfer(struct raft_rig_node *leader, uint64_t server)
{
    uint32_t to = raft_rig_node_of(&rig, server);
    if (to == RAFT_RIG_NODES || rig.nodes[to].group == NULL)
        return;
    if (run.copied[to] == 0)
        run.copied[to] = rig.now_ms + 1 + raft_rig_random(&rig, 500);
    if (rig.now_ms < run.copied[to])
        return;
    bool is_old = !rig.nodes[to].has_transferred ||
                  rig.nodes[to].transferred.applied + 1 < raft_group_first_index(leader->group);
    if (is_old && !raft_group_is_installing(rig.nodes[to].group)) {
        tell("state is copied to", to, leader->now.applied);
        raft_rig_transfer_state(&rig, (uint32_t)(leader - rig.nodes), to);
    }
    run.copied[to] = rig.now_ms + INSTALL_MS;
    enum rc rc = raft_group_install(leader->group,
                                    raft_rig_clock(&rig, (uint32_t)(leader - rig.nodes)), server);
    assert_true(rc == RC_OK || rc == RC_NOT_FOUND || rc == RC_NOT_LEADER);
    leader->is_woken = true;
    run.installs++;
}

/* By whoever leads, ready or not: its own barrier may wait for a voter that needs the state. */
static void serve_transfers(void)
{
    for (uint32_t i = 0; i < RAFT_RIG_NODES; i++) {
        struct raft_rig_node *leader = &rig.nodes[i];
        for (uint64_t s = 0;
             leader->group != NULL && (s = raft_group_wants_state(leader->group, s)) != 0;)
            serve_transfer(leader, s);
    }
}

/* ---- Members ---- */

struct members {
    struct raft_group_server servers[LIMIT_SERVERS_MAX];
    uint32_t count, voters, live;
    struct raft_rig_node *leader;
    uint64_t now_ms;
};

static bool is_gone(uint64_t server)
{
    return raft_rig_node_of(&rig, server) == RAFT_RIG_NODES;
}

/* False: no change is allowed now. A change may begin when the last one is committed, and stored by
 * every voter that lives. */
static bool look(uint32_t at, struct members *m)
{
    m->leader = &rig.nodes[at];
    m->now_ms = raft_rig_clock(&rig, at);
    m->voters = m->live = 0;
    m->count = raft_group_servers(m->leader->group, m->now_ms, m->servers);
    bool is_stored = true;
    for (uint32_t i = 0; i < m->count; i++) {
        struct raft_group_server *s = &m->servers[i];
        if (s->id == m->leader->server)
            s->match = raft_group_last_index(m->leader->group);
        s->is_live = s->is_live && !is_gone(s->id);
        if (s->role != RAFT_GROUP_VOTER)
            continue;
        m->voters++;
        m->live += s->is_live;
        is_stored &= !s->is_live || s->match >= raft_group_conf_index(m->leader->group);
    }
    return is_stored && !raft_group_is_changing(m->leader->group);
}

static void change(struct members *m, uint64_t server, const char *node, enum raft_group_role role)
{
    tell("change: role", (uint32_t)role, server);
    enum rc rc = raft_group_change(m->leader->group, m->now_ms, server, slice_string(node), role);
    m->leader->is_woken = true;
    run.changes += rc == RC_OK;
    if (rc != RC_OK && rc != RC_AGAIN && rc != RC_UNAVAILABLE && rc != RC_NOT_LEADER)
        fail_msg("seed %lu: change says %s", (unsigned long)run.seed, rc_sentence(rc));
}

static void add_some(struct members *m)
{
    uint32_t at = some_node();
    struct raft_rig_node *node = &rig.nodes[at];
    if (!is_up(at) || m->count >= RAFT_RIG_NODES)
        return;
    if (node->group == NULL)
        run.is_prepared[at] = raft_rig_begin(&rig, at) != 0;
    if (!run.is_prepared[at])
        return;
    for (uint32_t i = 0; i < m->count; i++)
        if (m->servers[i].id == node->server)
            return;
    change(m, node->server, node->address, RAFT_GROUP_STANDBY);
    run.is_prepared[at] = false;
}

/* A change of one server, where enough voters live to go on without the others. */
static void change_some(struct members *m)
{
    const struct raft_group_server *s = &m->servers[raft_rig_random(&rig, m->count)];
    bool is_self = s->id == m->leader->server;
    bool is_voter = s->role == RAFT_GROUP_VOTER;
    /* A server that does not know that it is a member has no vote to give. */
    bool is_even = s->match + CAUGHT_UP >= raft_group_commit_index(m->leader->group) &&
                   s->match >= raft_group_conf_index(m->leader->group);
    uint32_t live_without = m->live - (is_voter && s->is_live);
    if (is_self) /* Leadership is handed over first. */
        return;
    if (is_voter) {
        bool is_enough = m->voters > 1 && live_without > (m->voters - 1) / 2;
        bool is_wanted = m->voters > VOTERS_WANTED || raft_rig_random(&rig, 4) == 0 || !s->is_live;
        if (is_enough && is_wanted)
            change(m, s->id, is_gone(s->id) ? "" : s->node, RAFT_GROUP_STANDBY);
        return;
    }
    if (s->is_live && is_even && m->voters < VOTERS_WANTED + 2 && m->live + 1 > (m->voters + 1) / 2)
        change(m, s->id, s->node, RAFT_GROUP_VOTER);
    else if (is_gone(s->id) || raft_rig_random(&rig, 3) == 0)
        change(m, s->id, "", RAFT_GROUP_SPARE);
}

static void move_some(void)
{
    struct members m;
    uint32_t at = some_node();
    if (!raft_rig_is_ready(&rig, at) || !look(at, &m))
        return;
    if (raft_rig_random(&rig, 2) == 0)
        add_some(&m);
    else
        change_some(&m);
}

static void hand_over_some(void)
{
    struct members m;
    uint32_t at = some_node();
    if (!raft_rig_is_ready(&rig, at))
        return;
    look(at, &m);
    const struct raft_group_server *s = &m.servers[raft_rig_random(&rig, m.count)];
    enum rc rc = raft_group_transfer(m.leader->group, m.now_ms, s->id);
    tell("hand over: rc", at, rc);
    m.leader->is_woken = true;
    run.handovers += rc == RC_OK;
    assert_true(rc == RC_OK || rc == RC_NOT_FOUND || rc == RC_AGAIN);
}

/* A disk is gone for good, and with it the replica; where the group can do without. */
static void lose_some(void)
{
    struct members m;
    uint32_t at = some_node(), leader = raft_rig_leader(&rig);
    if (leader == RAFT_RIG_NODES || at == leader || rig.nodes[at].group == NULL ||
        !raft_rig_has_lease(&rig, leader) || !look(leader, &m))
        return;
    for (uint32_t i = 0; i < m.count; i++)
        if (is_gone(m.servers[i].id))
            return;
    if (m.live < m.voters || m.voters < 3)
        return;
    tell("lose", at, rig.nodes[at].server);
    raft_rig_erase(&rig, at);
    run.is_prepared[at] = false;
    run.copied[at] = 0;
}

/* Who was taken out is told so, by a leader that may speak. */
static void drop_removed(void)
{
    for (uint32_t i = 0; i < RAFT_RIG_NODES; i++) {
        struct raft_rig_node *leader = &rig.nodes[i];
        if (!raft_rig_has_lease(&rig, i) || raft_group_is_changing(leader->group))
            continue;
        for (uint32_t j = 0; j < RAFT_RIG_NODES; j++) {
            struct raft_rig_node *node = &rig.nodes[j];
            if (node->group == NULL || run.is_prepared[j] || rig.is_cut[i][j] ||
                raft_group_is_member(leader->group, node->server) ||
                raft_group_term(node->group) > raft_group_term(leader->group))
                continue;
            tell("drop", j, node->server);
            raft_rig_erase(&rig, j);
            run.copied[j] = 0;
        }
    }
}

/* ---- A seed ---- */

static void submit_some(uint32_t at)
{
    char text[RAFT_RIG_TEXT_SIZE];
    uint64_t index;
    if (!raft_rig_is_ready(&rig, at))
        return;
    snprintf(text, sizeof(text), "%u", ++run.said);
    enum rc rc = raft_rig_submit(&rig, at, text, &index);
    assert_true(rc == RC_OK || rc == RC_AGAIN);
}

/* What a replica knows, for who looks into a seed. */
static void tell_node(uint32_t at)
{
    const struct raft_rig_node *node = &rig.nodes[at];
    struct raft_group_server servers[LIMIT_SERVERS_MAX];
    if (node->group == NULL) {
        printf("node %u: %s\n", at, is_up(at) ? "no replica" : "down");
        return;
    }
    uint32_t count = raft_group_servers(node->group, raft_rig_clock(&rig, at), servers);
    printf("node %u: server %lu %s%s term %lu commit %lu applied %lu log %lu-%lu members", at,
           (unsigned long)node->server, raft_group_state_name(node->group),
           raft_rig_has_lease(&rig, at) ? " (lease)" : "",
           (unsigned long)raft_group_term(node->group),
           (unsigned long)raft_group_commit_index(node->group), (unsigned long)node->now.applied,
           (unsigned long)raft_group_first_index(node->group),
           (unsigned long)raft_group_last_index(node->group));
    for (uint32_t i = 0; i < count; i++)
        printf(" %lu%s%s at %lu", (unsigned long)servers[i].id,
               servers[i].role == RAFT_GROUP_VOTER ? "" : " (no voter)",
               servers[i].is_live ? "" : " (silent)", (unsigned long)servers[i].match);
    printf("\n");
}

static void befall(void)
{
    uint32_t at = some_node();
    switch (raft_rig_random(&rig, 20 + run.calm)) {
    case 0:
        if (is_up(at) && rig.nodes[at].group != NULL)
            crash(at);
        return;
    case 1:
    case 2:
    case 3:
        if (!is_up(at))
            restart(at);
        return;
    case 4:
        cut_some();
        return;
    case 5:
        truncate_some();
        return;
    case 6:
    case 7:
    case 8:
    case 9:
        move_some();
        return;
    case 10:
        hand_over_some();
        return;
    case 11:
        lose_some();
        return;
    default:
        submit_some(at);
    }
}

static void check(const char *when)
{
    const char *violation = raft_rig_violation(&rig);
    if (violation != NULL)
        fail_msg("seed %lu, %s: %s", (unsigned long)run.seed, when, violation);
}

static void look_after(void)
{
    serve_transfers();
    drop_removed();
    raft_rig_run(&rig, TICK_MS);
    check("with faults");
}

static void draw_options(void)
{
    static const uint32_t delays[] = {1, 5, 20, 100, 400};
    raft_rig_start(&rig, 1 + 2 * (uint32_t)raft_rig_random(&rig, 2));
    run.calm = 8 * (uint32_t)raft_rig_random(&rig, 8);
    rig.loss_percent = (uint32_t)raft_rig_random(&rig, 20);
    rig.double_percent = (uint32_t)raft_rig_random(&rig, 10);
    rig.delay_more_ms = delays[raft_rig_random(&rig, 5)];
    rig.sync_more_ms = delays[raft_rig_random(&rig, 4)];
}

static void heal(void)
{
    rig.loss_percent = rig.double_percent = rig.delay_more_ms = rig.sync_more_ms = 0;
    memset(rig.is_cut, 0, sizeof(rig.is_cut));
    for (uint32_t i = 0; i < RAFT_RIG_NODES; i++)
        if (!is_up(i))
            restart(i);
}

static bool is_whole(void)
{
    uint32_t at = raft_rig_leader(&rig);
    return at != RAFT_RIG_NODES && raft_rig_has_lease(&rig, at) && raft_rig_all_even(&rig, 0);
}

/* A leader, all even, and what is said now is taken; and the members can still be changed. */
static void expect_life(void)
{
    uint64_t index, end_ms = rig.now_ms + HEALED_MS;
    struct members m;
    while (rig.now_ms < end_ms && !is_whole())
        look_after();
    uint32_t at = raft_rig_leader(&rig);
    for (uint32_t i = 0; i < RAFT_RIG_NODES && run.is_told; i++)
        tell_node(i);
    if (!is_whole())
        fail_msg("seed %lu: healed, but not whole again", (unsigned long)run.seed);
    assert_int_equal(raft_rig_submit(&rig, at, "healed", &index), RC_OK);
    while (rig.now_ms < end_ms && (rig.committed < index || !is_whole()))
        look_after();
    assert_true(rig.committed >= index && is_whole());
    assert_string_equal(rig.entries[index].text, "healed");
    at = raft_rig_leader(&rig);
    if (!look(at, &m))
        fail_msg("seed %lu: healed, but no change is allowed", (unsigned long)run.seed);
    change(&m, m.leader->server, m.leader->address, RAFT_GROUP_VOTER);
    while (rig.now_ms < end_ms && (raft_group_is_changing(m.leader->group) || !is_whole()))
        look_after();
    assert_false(raft_group_is_changing(m.leader->group));
    for (uint32_t i = 0; i < RAFT_RIG_NODES; i++)
        if (rig.nodes[i].group != NULL && !run.is_prepared[i])
            assert_true(rig.nodes[i].now.digest == m.leader->now.digest);
}

static void run_seed(uint64_t seed, bool is_told)
{
    memset(&run, 0, sizeof(run));
    run.seed = seed;
    run.is_told = is_told;
    raft_rig_init(&rig, seed);
    draw_options();
    uint64_t end_ms = rig.now_ms + FAULTS_MS;
    while (rig.now_ms < end_ms) {
        befall();
        look_after();
    }
    tell("healed", 0, rig.committed);
    heal();
    expect_life();
    tell("changes", run.changes, run.crashes);
}

static int teardown(void **state)
{
    (void)state;
    raft_rig_fini(&rig);
    return 0;
}

/* Whatever befalls it, what is committed stays, one leads a term, one holds a lease, and when the
 * faults are over the group goes on. */
static void no_chance_breaks_a_group(void **state)
{
    (void)state;
    const char *chosen = getenv("SEED"), *many = getenv("SEEDS");
    uint64_t count = many != NULL ? strtoull(many, NULL, 10) : SEEDS;
    uint64_t entries = 0, changes = 0, handovers = 0, installs = 0, crashes = 0;
    if (chosen != NULL) {
        run_seed(strtoull(chosen, NULL, 10), true);
        return;
    }
    for (uint64_t seed = 1; seed <= count; seed++) {
        run_seed(seed, false);
        entries += rig.committed;
        changes += run.changes;
        handovers += run.handovers;
        installs += run.installs;
        crashes += run.crashes;
        if (seed < count)
            raft_rig_fini(&rig);
    }
    print_message("%lu seeds: %lu entries, %lu changes, %lu hand-overs, %lu installs, "
                  "%lu crashes\n",
                  (unsigned long)count, (unsigned long)entries, (unsigned long)changes,
                  (unsigned long)handovers, (unsigned long)installs, (unsigned long)crashes);
    /* They must have met what they are here for. */
    if (count >= SEEDS)
        assert_true(changes > count && handovers > count / 4 && installs > count / 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(no_chance_breaks_a_group, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
