/* Members of a Raft group that come and go, state that is installed, leadership that is handed
 * over. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
/* cmocka.h needs those above. */
#include <cmocka.h>

#include "storage/raft_log.h"
#include "tests/support/raft_rig.h"

#define ELECTION_MS  500u
#define HEARTBEAT_MS 100u

/* flags of msg_raft (nodes/router/raft_group_wire.c). */
#define FLAG_DISRUPT    1u
#define FLAG_HANDS_OVER 1u

static struct raft_rig rig;

static int setup(void **state)
{
    (void)state;
    raft_rig_init(&rig, 11);
    raft_rig_start(&rig, 3);
    return 0;
}

static int setup_one(void **state)
{
    (void)state;
    raft_rig_init(&rig, 12);
    raft_rig_start(&rig, 1);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    const char *violation = raft_rig_violation(&rig);
    if (violation != NULL)
        print_error("%s\n", violation);
    raft_rig_fini(&rig);
    return violation != NULL;
}

static struct raft_group *group_of(uint32_t node)
{
    return rig.nodes[node].group;
}

static bool all_is_committed(struct raft_rig *r, uint32_t node)
{
    const struct raft_group *group = r->nodes[node].group;
    return raft_group_commit_index(group) == raft_group_last_index(group);
}

static void submit_many(uint32_t node, uint32_t count)
{
    uint64_t index;
    for (uint32_t i = 0; i < count; i++) {
        assert_int_equal(raft_rig_submit(&rig, node, "word", &index), RC_OK);
        assert_true(raft_rig_run_until(&rig, 1000, all_is_committed, node));
    }
}

static enum rc hand_over(uint32_t from, uint32_t to)
{
    rig.nodes[from].is_woken = true;
    return raft_group_transfer(group_of(from), raft_rig_clock(&rig, from), rig.nodes[to].server);
}

static enum rc change(uint32_t leader, uint32_t node, enum raft_group_role role)
{
    rig.nodes[leader].is_woken = true;
    return raft_group_change(group_of(leader), raft_rig_clock(&rig, leader), rig.nodes[node].server,
                             slice_string(rig.nodes[node].address), role);
}

/* ---- Changes ---- */

/* 1 -> 3 -> move -> 1: standby, caught up, voter; handed over, voter no more, gone. */
static void a_group_grows_moves_and_shrinks(void **state)
{
    (void)state;
    assert_true(raft_rig_say(&rig, 0, "of one"));
    assert_int_equal(raft_rig_join(&rig, 0, 1), RC_OK);
    assert_int_equal(raft_rig_join(&rig, 0, 2), RC_OK);
    assert_true(raft_rig_say(&rig, 0, "of three"));
    assert_int_equal(raft_rig_join(&rig, 0, 3), RC_OK);
    assert_int_equal(hand_over(0, 3), RC_OK);
    assert_true(raft_rig_run_until(&rig, 1000, raft_rig_is_ready, 3));
    assert_int_equal(raft_rig_change(&rig, 3, 0, RAFT_GROUP_STANDBY), RC_OK);
    uint64_t first = rig.nodes[0].server;
    assert_true(raft_group_is_member(group_of(3), first));
    assert_int_equal(raft_rig_remove(&rig, 3, first), RC_OK);
    assert_false(raft_group_is_member(group_of(3), first));
    raft_rig_erase(&rig, 0);
    assert_true(raft_rig_say(&rig, 3, "moved"));
    for (uint32_t i = 1; i <= 2; i++) {
        assert_int_equal(raft_rig_change(&rig, 3, i, RAFT_GROUP_STANDBY), RC_OK);
        assert_int_equal(raft_rig_remove(&rig, 3, rig.nodes[i].server), RC_OK);
        raft_rig_erase(&rig, i);
    }
    assert_true(raft_rig_say(&rig, 3, "of one again"));
    raft_rig_crash(&rig, 3, UINT64_MAX);
    assert_int_equal(raft_rig_restart(&rig, 3), RC_OK);
    assert_true(raft_rig_run_until(&rig, 1000, raft_rig_is_ready, 3));
    assert_true(raft_rig_say(&rig, 3, "and again"));
}

/* A replica that ends takes its vote and its log with it: the group must be able to elect without,
 * and hold in somebody else all that is committed. */
static void a_group_spares_who_is_not_needed_to_elect(void **state)
{
    (void)state;
    assert_true(raft_rig_say(&rig, 0, "of one"));
    assert_false(raft_group_is_spared(group_of(0)));
    raft_rig_begin(&rig, 1);
    assert_int_equal(raft_rig_change(&rig, 0, 1, RAFT_GROUP_STANDBY), RC_OK);
    assert_true(raft_rig_run_until(&rig, 1000, raft_rig_all_even, 0));
    assert_false(raft_group_is_spared(group_of(0)));
    assert_true(raft_group_is_spared(group_of(1))); /* A copy. */
    assert_int_equal(change(0, 1, RAFT_GROUP_VOTER), RC_OK);
    assert_false(raft_group_is_spared(group_of(0))); /* By what is committed, and by what may be. */
    assert_true(raft_rig_run_until(&rig, 1000, raft_rig_all_even, 0));
    assert_false(raft_group_is_spared(group_of(0)));
    assert_false(raft_group_is_spared(group_of(1)));
    assert_int_equal(raft_rig_join(&rig, 0, 2), RC_OK);
    assert_true(raft_rig_say(&rig, 0, "of three"));
    for (uint32_t i = 0; i < 3; i++)
        assert_true(raft_group_is_spared(group_of(i)));
}

/* Who may not change, or not now, is told so, and nothing changed. */
static void a_change_is_refused_where_it_cannot_be(void **state)
{
    (void)state;
    uint64_t conf = raft_group_conf_index(group_of(0));
    raft_rig_begin(&rig, 3);
    assert_int_equal(change(1, 3, RAFT_GROUP_STANDBY), RC_NOT_LEADER);
    uint64_t index;
    assert_int_equal(raft_rig_submit(&rig, 0, "in flight", &index), RC_OK);
    assert_int_equal(change(0, 3, RAFT_GROUP_STANDBY), RC_AGAIN);
    raft_rig_run(&rig, 50);
    assert_int_equal(raft_group_conf_index(group_of(0)), conf);
    assert_int_equal(change(0, 3, RAFT_GROUP_STANDBY), RC_OK);
    assert_true(raft_group_is_changing(group_of(0)));
    assert_int_equal(change(0, 2, RAFT_GROUP_STANDBY), RC_AGAIN);
    raft_rig_run(&rig, 50);
    for (uint64_t id = 900; id < 900 + LIMIT_SERVERS_MAX - 4; id++) {
        assert_int_equal(raft_group_change(group_of(0), raft_rig_clock(&rig, 0), id,
                                           slice_string("nobody"), RAFT_GROUP_SPARE),
                         RC_OK);
        rig.nodes[0].is_woken = true;
        raft_rig_run(&rig, 50);
    }
    assert_int_equal(raft_group_change(group_of(0), raft_rig_clock(&rig, 0), 950,
                                       slice_string("nobody"), RAFT_GROUP_SPARE),
                     RC_FULL);
    raft_rig_crash(&rig, 0, UINT64_MAX);
    raft_rig_crash(&rig, 1, UINT64_MAX);
    raft_rig_crash(&rig, 2, UINT64_MAX);
    assert_int_equal(raft_rig_restart(&rig, 0), RC_OK);
    assert_int_equal(raft_rig_restart(&rig, 1), RC_OK);
    rig.nodes[0].is_held = rig.nodes[1].is_held = false;
    while (!raft_rig_leads(&rig, 0) && !raft_rig_leads(&rig, 1))
        raft_rig_run(&rig, 1);
    uint32_t leader = raft_rig_leads(&rig, 0) ? 0 : 1;
    assert_int_equal(change(leader, 3, RAFT_GROUP_VOTER), RC_UNAVAILABLE);
}

/* A leader that forgot in a crash what would have made it the only voter could not win the vote of
 * who remembers. So nobody hears of a configuration before the leader's own disk has it. */
static void a_configuration_is_sent_when_its_leader_has_stored_it(void **state)
{
    (void)state;
    raft_rig_keep(&rig, RAFT_RIG_APPEND, 1);
    rig.nodes[0].is_held = true;
    uint64_t conf = raft_group_conf_index(group_of(1));
    assert_int_equal(change(0, 2, RAFT_GROUP_STANDBY), RC_OK);
    raft_rig_run(&rig, 300);
    assert_null(rig.kept.record);
    assert_int_equal(raft_group_conf_index(group_of(1)), conf);
    rig.nodes[0].is_held = false;
    raft_rig_run(&rig, 300);
    assert_non_null(rig.kept.record);
    assert_true(raft_group_conf_index(group_of(1)) > conf);
}

/* The core takes the log's last configuration for uncommitted, and then refuses any other. */
static void a_restart_with_the_configuration_applied_can_change_it_again(void **state)
{
    (void)state;
    assert_int_equal(raft_rig_join(&rig, 0, 1), RC_OK);
    assert_int_equal(raft_rig_change(&rig, 0, 1, RAFT_GROUP_STANDBY), RC_OK);
    for (uint32_t life = 0; life < 3; life++) {
        raft_rig_crash(&rig, 0, 0); /* What it applied is still known. */
        assert_int_equal(raft_rig_restart(&rig, 0), RC_OK);
        assert_true(raft_rig_run_until(&rig, 2000, raft_rig_is_ready, 0));
        assert_false(raft_group_is_changing(group_of(0)));
        enum raft_group_role role = life % 2 == 0 ? RAFT_GROUP_SPARE : RAFT_GROUP_STANDBY;
        assert_int_equal(raft_rig_change(&rig, 0, 1, role), RC_OK);
    }
}

/* Two configurations may come in one turn. The first is then committed, and is what is gone back to
 * when the second is replaced. */
static void a_configuration_replaced_gives_way_to_the_one_before(void **state)
{
    (void)state;
    raft_rig_begin(&rig, 3);
    raft_rig_begin(&rig, 4);
    rig.is_cut[0][1] = true; /* Another hears of both at once. */
    assert_int_equal(change(0, 3, RAFT_GROUP_STANDBY), RC_OK);
    raft_rig_run(&rig, 50);
    uint64_t first = raft_group_conf_index(group_of(0));
    rig.is_cut[0][2] = rig.is_cut[0][1] = false;
    assert_int_equal(change(0, 4, RAFT_GROUP_STANDBY), RC_OK);
    rig.nodes[1].is_held = true;
    while (raft_group_conf_index(group_of(1)) < first + 1)
        raft_rig_run(&rig, 1);
    raft_rig_cut_off(&rig, 1, true);
    rig.nodes[1].is_held = false;
    raft_rig_run(&rig, 20);
    struct raft_group_server servers[LIMIT_SERVERS_MAX];
    assert_int_equal(raft_group_servers(group_of(1), 0, servers), 5);

    struct buf *entries = buf_new(0);
    struct msg_raft replace = raft_rig_message(&rig, RAFT_RIG_APPEND, 2, 1);
    const struct msg_raft_entry barrier = {
        .term = replace.term + 1, .type = RAFT_LOG_BARRIER, .data = slice_of("\0\0\0\0\0\0\0", 8)};
    record_encode(entries, &msg_raft_entry_desc, &barrier);
    replace.a = first;
    replace.b = replace.term++;
    replace.entries = buf_slice(entries);
    rig.is_lawless = true; /* No majority elected this leader. */
    assert_int_equal(raft_rig_deliver(&rig, 2, 1, &replace), RC_OK);
    buf_unref(&entries);
    assert_int_equal(raft_group_servers(group_of(1), 0, servers), 4);
    assert_int_equal(raft_group_conf_index(group_of(1)), first);
}

/* ---- State transfer ---- */

/* Node 2 is down while the others go on and drop the log that it would need. */
static uint64_t leave_behind(void)
{
    raft_rig_crash(&rig, 2, 0);
    submit_many(0, 20);
    raft_rig_truncate(&rig, 0, rig.nodes[0].now.applied - 2);
    raft_rig_truncate(&rig, 1, rig.nodes[1].now.applied - 2);
    raft_rig_run(&rig, 600);
    assert_int_equal(raft_rig_restart(&rig, 2), RC_OK);
    return rig.nodes[2].server;
}

static bool wants_state(struct raft_rig *r, uint32_t node)
{
    return raft_group_wants_state(r->nodes[0].group, 0) == r->nodes[node].server;
}

static void install(uint32_t node)
{
    raft_rig_transfer_state(&rig, 0, node);
    assert_int_equal(
        raft_group_install(group_of(0), raft_rig_clock(&rig, 0), rig.nodes[node].server), RC_OK);
    rig.nodes[0].is_woken = true;
}

/* What entries cannot mend a transfer does, and entries go on from there. */
static void a_far_behind_replica_gets_the_state_and_goes_on(void **state)
{
    (void)state;
    uint64_t server = leave_behind();
    assert_true(raft_rig_run_until(&rig, 2000, wants_state, 2));
    assert_int_equal(raft_group_wants_state(group_of(0), server), 0); /* No other does. */
    submit_many(0, 3);
    install(2);
    submit_many(0, 3);
    assert_true(raft_rig_run_until(&rig, 2000, raft_rig_all_even, 0));
    assert_int_equal(raft_group_wants_state(group_of(0), 0), 0);
    assert_true(rig.nodes[2].now.digest == rig.nodes[0].now.digest);
    assert_int_equal(raft_group_first_index(group_of(2)), raft_group_first_index(group_of(0)));
    assert_true(raft_rig_say(&rig, 0, "on"));
}

/* Whoever leads can install; who is no member, or asks a follower, is told so. */
static void an_install_is_refused_where_it_cannot_be(void **state)
{
    (void)state;
    assert_int_equal(raft_group_install(group_of(1), raft_rig_clock(&rig, 1), 5), RC_NOT_LEADER);
    assert_int_equal(raft_group_install(group_of(0), raft_rig_clock(&rig, 0), 5), RC_NOT_FOUND);
}

/* A crash before the switch was written, before it was durable, or after it: each time the replica
 * starts with what is whole, and gets what it lacks. */
static void a_crash_at_any_point_of_an_install_is_survived(void **state)
{
    (void)state;
    for (uint32_t point = 0; point < 5; point++) {
        leave_behind();
        assert_true(raft_rig_run_until(&rig, 2000, wants_state, 2));
        raft_rig_keep(&rig, RAFT_RIG_INSTALL, 2);
        install(2);
        raft_rig_turn(&rig, 0);
        assert_int_equal(raft_rig_give_kept(&rig), RC_OK);
        assert_true(raft_group_is_installing(group_of(2)));
        rig.nodes[2].is_held = true;
        if (point > 0)
            raft_rig_turn(&rig, 2);
        if (point > 2) { /* It is durable, and the core knows or does not. */
            rig.nodes[2].is_held = false;
            raft_rig_run(&rig, point == 3 ? 1 : 20);
        }
        raft_rig_crash(&rig, 2, point == 2 ? 0 : UINT64_MAX);
        rig.nodes[2].is_held = false;
        assert_int_equal(raft_rig_restart(&rig, 2), RC_OK);
        bool is_whole = raft_rig_run_until(&rig, 1000, raft_rig_all_even, 0);
        assert_int_equal(is_whole, point >= 2);
        if (!is_whole && raft_rig_run_until(&rig, 2000, wants_state, 2))
            install(2);
        assert_true(raft_rig_run_until(&rig, 2000, raft_rig_all_even, 0));
        assert_true(raft_rig_say(&rig, 0, "on"));
        assert_true(rig.nodes[2].now.digest == rig.nodes[0].now.digest);
    }
}

/* It is said again and again until it is done. */
static void an_install_that_comes_again_does_no_harm(void **state)
{
    (void)state;
    leave_behind();
    assert_true(raft_rig_run_until(&rig, 2000, wants_state, 2));
    raft_rig_keep(&rig, RAFT_RIG_INSTALL, 2);
    install(2);
    raft_rig_turn(&rig, 0);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(raft_rig_give_kept(&rig), RC_OK);
    rig.nodes[2].is_held = true;
    raft_rig_run(&rig, 50);
    raft_rig_transfer_state(&rig, 0, 2);
    assert_int_equal(raft_rig_give_kept(&rig), RC_OK);
    rig.nodes[2].is_held = false;
    assert_true(raft_rig_run_until(&rig, 2000, raft_rig_all_even, 0));
    raft_rig_transfer_state(&rig, 0, 2);
    assert_int_equal(raft_rig_give_kept(&rig), RC_OK);
    assert_false(raft_group_is_installing(group_of(2)));
    assert_true(raft_rig_say(&rig, 0, "on"));
}

/* The core takes a mark at 1 for the entry, and would never send the state to who has nothing. */
static void a_log_is_not_dropped_to_its_first_entry_alone(void **state)
{
    (void)state;
    raft_rig_truncate(&rig, 0, 1);
    raft_rig_run(&rig, 10);
    assert_int_equal(raft_group_first_index(group_of(0)), 1);
    assert_int_equal(raft_rig_join(&rig, 0, 1), RC_OK);
    assert_true(raft_rig_say(&rig, 0, "all have it"));
}

/* Its own barrier may wait for the one who needs the state: so it gives it before it serves. */
static void a_leader_that_is_not_ready_knows_who_needs_the_state(void **state)
{
    (void)state;
    leave_behind();
    raft_rig_crash(&rig, 2, 0);
    raft_rig_crash(&rig, 1, 0);
    raft_rig_crash(&rig, 0, 0);
    assert_int_equal(raft_rig_restart(&rig, 0), RC_OK);
    assert_int_equal(raft_rig_restart(&rig, 2), RC_OK);
    assert_true(raft_rig_run_until(&rig, 5000, wants_state, 2));
    assert_false(raft_rig_is_ready(&rig, 0));
    install(2);
    assert_true(raft_rig_run_until(&rig, 1000, raft_rig_is_ready, 0));
    assert_true(raft_rig_say(&rig, 0, "two of three"));
}

/* ---- Hand-over ---- */

/* Commands are taken until the other is asked to lead, and again by him, a few turns later. */
static void leadership_is_handed_over_within_a_few_turns(void **state)
{
    (void)state;
    uint64_t index, begun_ms, term = raft_group_term(group_of(0));
    bool was_refused = false;
    raft_rig_run(&rig, 1000);
    assert_int_equal(hand_over(0, 1), RC_OK);
    assert_int_equal(hand_over(0, 2), RC_AGAIN);
    assert_true(raft_group_is_ready(group_of(0)));
    for (begun_ms = rig.now_ms; !raft_rig_is_ready(&rig, 1) && rig.now_ms < begun_ms + 100;) {
        enum rc rc = raft_rig_submit(&rig, 0, "meanwhile", &index);
        assert_true(rc == RC_OK || rc == RC_AGAIN || rc == RC_UNAVAILABLE || rc == RC_NOT_LEADER);
        was_refused |= rc == RC_UNAVAILABLE;
        raft_rig_run(&rig, 1);
    }
    assert_true(was_refused);
    assert_true(rig.now_ms < begun_ms + 20);
    assert_int_equal(raft_group_term(group_of(1)), term + 1);
    assert_false(raft_rig_leads(&rig, 0));
    assert_true(raft_rig_say(&rig, 1, "led elsewhere"));
}

/* Only a voter can lead, and only who leads can hand over. */
static void a_hand_over_is_refused_where_it_cannot_be(void **state)
{
    (void)state;
    raft_rig_begin(&rig, 3);
    assert_int_equal(raft_rig_change(&rig, 0, 3, RAFT_GROUP_STANDBY), RC_OK);
    assert_int_equal(hand_over(0, 3), RC_NOT_FOUND);
    assert_int_equal(hand_over(0, 0), RC_NOT_FOUND);
    assert_int_equal(hand_over(1, 2), RC_NOT_LEADER);
}

/* A leader that is lost for good had told only him whom it took the vote from. The others, who do
 * not know, need that vote; and his log, which is longer by just that, must not refuse it. */
static void who_alone_knows_that_he_votes_no_more_votes(void **state)
{
    (void)state;
    assert_int_equal(raft_rig_join(&rig, 0, 3), RC_OK);
    assert_true(raft_rig_say(&rig, 0, "before"));
    raft_rig_run(&rig, 1000);
    rig.is_cut[0][1] = rig.is_cut[0][2] = true;
    uint64_t last = raft_group_last_index(group_of(1));
    assert_int_equal(raft_group_change(group_of(0), raft_rig_clock(&rig, 0), rig.nodes[3].server,
                                       slice_string(rig.nodes[3].address), RAFT_GROUP_STANDBY),
                     RC_OK);
    raft_rig_run(&rig, 50);
    assert_true(raft_group_last_index(group_of(3)) > last);
    assert_int_equal(raft_group_last_index(group_of(1)), last);
    raft_rig_crash(&rig, 0, UINT64_MAX);
    raft_rig_run(&rig, 10 * ELECTION_MS);
    uint32_t leader = raft_rig_leader(&rig);
    assert_true(leader == 1 || leader == 2);
    assert_true(raft_rig_say(&rig, leader, "after"));
}

/* A hand-over to who is dead ends by itself; then nobody reads before answers to what was said
 * after, since the voters were told that they may vote for another. */
static void a_hand_over_to_a_dead_replica_is_given_up(void **state)
{
    (void)state;
    uint64_t index;
    raft_rig_crash(&rig, 1, 0);
    raft_rig_run(&rig, 1000);
    assert_true(raft_rig_has_lease(&rig, 0));
    assert_int_equal(hand_over(0, 1), RC_OK);
    raft_rig_run(&rig, 20);
    assert_false(raft_group_is_ready(group_of(0)));
    assert_false(raft_rig_has_lease(&rig, 0));
    assert_int_equal(raft_rig_submit(&rig, 0, "meanwhile", &index), RC_UNAVAILABLE);
    uint64_t begun_ms = rig.now_ms;
    rig.is_cut[2][0] = true; /* No answer to what it says from now on. */
    while (!raft_rig_is_ready(&rig, 0) && rig.now_ms < begun_ms + 2 * ELECTION_MS) {
        raft_rig_run(&rig, 1);
        if (rig.now_ms == begun_ms + ELECTION_MS / 2)
            rig.is_cut[2][0] = false;
    }
    assert_true(raft_rig_is_ready(&rig, 0));
    assert_false(raft_rig_has_lease(&rig, 0));
    raft_rig_run(&rig, 2 * HEARTBEAT_MS);
    assert_true(raft_rig_has_lease(&rig, 0));
    assert_true(raft_rig_say(&rig, 0, "on"));
}

/* Where not even a majority hears of it, nobody is asked to lead. */
static void a_hand_over_that_no_majority_hears_of_is_given_up(void **state)
{
    (void)state;
    raft_rig_run(&rig, 1000);
    raft_rig_keep(&rig, RAFT_RIG_TIMEOUT_NOW, 1);
    rig.is_cut[1][0] = rig.is_cut[2][0] = true;
    assert_int_equal(hand_over(0, 1), RC_OK);
    raft_rig_run(&rig, ELECTION_MS - HEARTBEAT_MS / 2);
    assert_null(rig.kept.record);
    rig.is_cut[1][0] = rig.is_cut[2][0] = false;
    raft_rig_run(&rig, 3000);
    assert_int_not_equal(raft_rig_leader(&rig), RAFT_RIG_NODES);
}

/* One that comes when it was given up long ago would depose a leader that holds its lease. */
static void a_timeout_now_that_comes_late_is_ignored(void **state)
{
    (void)state;
    raft_rig_run(&rig, 1000);
    uint64_t term = raft_group_term(group_of(0));
    raft_rig_keep(&rig, RAFT_RIG_TIMEOUT_NOW, 1);
    assert_int_equal(hand_over(0, 1), RC_OK);
    raft_rig_run(&rig, 1000);
    assert_non_null(rig.kept.record);
    assert_true(raft_rig_has_lease(&rig, 0)); /* Given up. */
    assert_int_equal(rig.kept.message.a, raft_group_last_index(group_of(1)));
    assert_int_equal(raft_rig_give_kept(&rig), RC_OK);
    raft_rig_run(&rig, 1000);
    assert_int_equal(raft_group_term(group_of(0)), term);
    assert_true(raft_rig_is_ready(&rig, 0));
}

/* Who was stopped between reading his clock and hearing the leader believes for a while that the
 * leader's clock is ahead, and every word of it late: not for ever. */
static void a_clock_that_was_read_too_early_does_not_make_all_late(void **state)
{
    (void)state;
    raft_rig_run(&rig, 1000);
    raft_rig_keep(&rig, RAFT_RIG_APPEND, 1);
    raft_rig_run(&rig, HEARTBEAT_MS);
    assert_non_null(rig.kept.record);
    rig.nodes[1].ahead_ms -= 500;
    assert_int_equal(raft_rig_give_kept(&rig), RC_OK);
    rig.nodes[1].ahead_ms += 500;
    assert_int_equal(hand_over(0, 1), RC_OK);
    raft_rig_run(&rig, 1000);
    assert_true(raft_rig_is_ready(&rig, 0)); /* He took it for late. */
    raft_rig_run(&rig, 2000);
    assert_int_equal(hand_over(0, 1), RC_OK);
    assert_true(raft_rig_run_until(&rig, 100, raft_rig_is_ready, 1));
}

/* Node 2 was asked to lead, campaigns, and the leader cannot hear it; node 1 can. */
static void leave_campaigning(void)
{
    raft_rig_run(&rig, 1000);
    assert_int_equal(hand_over(0, 2), RC_OK);
    while (raft_group_is_ready(group_of(0)))
        raft_rig_run(&rig, 1);
    rig.is_cut[2][0] = rig.is_cut[1][2] = rig.is_cut[2][1] = true;
    raft_rig_run(&rig, 3 * ELECTION_MS);
    assert_string_equal(raft_group_state_name(group_of(2)), "candidate");
    assert_true(raft_rig_has_lease(&rig, 0));
    rig.is_cut[0][2] = true;
    rig.is_cut[1][2] = rig.is_cut[2][1] = false;
}

/* The word that leadership is handed over holds until the next word, though it may come after. */
static void a_word_of_handing_over_that_was_overtaken_is_not_believed(void **state)
{
    (void)state;
    leave_campaigning();
    struct msg_raft word = raft_rig_message(&rig, RAFT_RIG_APPEND, 0, 1);
    word.stamp -= 1000;
    word.flags = FLAG_HANDS_OVER;
    word.a = raft_group_last_index(group_of(1));
    word.b = word.term;
    for (uint32_t i = 0; i < 20 && !raft_rig_leads(&rig, 2); i++) {
        assert_int_equal(raft_rig_deliver(&rig, 0, 1, &word), RC_OK);
        raft_rig_run(&rig, HEARTBEAT_MS / 2 + 1);
    }
    assert_true(raft_rig_has_lease(&rig, 0));
    assert_false(raft_rig_leads(&rig, 2));
}

/* A second attempt is announced while the candidate of the first is still about. Who lacks the
 * entry that announces it must not vote for that one, since the leader still serves. */
static void a_candidate_of_an_earlier_attempt_is_not_helped(void **state)
{
    (void)state;
    leave_campaigning();
    struct msg_raft word = raft_rig_message(&rig, RAFT_RIG_APPEND, 0, 1);
    word.flags = FLAG_HANDS_OVER; /* A heartbeat after the barrier, which was lost. */
    word.a = raft_group_last_index(group_of(1)) + 1;
    word.b = word.term;
    for (uint32_t i = 0; i < 20 && !raft_rig_leads(&rig, 2); i++) {
        word.stamp = raft_rig_clock(&rig, 0);
        assert_int_equal(raft_rig_deliver(&rig, 0, 1, &word), RC_OK);
        raft_rig_run(&rig, HEARTBEAT_MS / 2 + 1);
    }
    assert_true(raft_rig_has_lease(&rig, 0));
    assert_false(raft_rig_leads(&rig, 2));
}

#define TEST(name)     cmocka_unit_test_setup_teardown(name, setup, teardown)
#define TEST_ONE(name) cmocka_unit_test_setup_teardown(name, setup_one, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_ONE(a_group_grows_moves_and_shrinks),
        TEST_ONE(a_group_spares_who_is_not_needed_to_elect),
        TEST(a_change_is_refused_where_it_cannot_be),
        TEST(a_configuration_is_sent_when_its_leader_has_stored_it),
        TEST_ONE(a_restart_with_the_configuration_applied_can_change_it_again),
        TEST(a_configuration_replaced_gives_way_to_the_one_before),
        TEST(a_far_behind_replica_gets_the_state_and_goes_on),
        TEST(an_install_is_refused_where_it_cannot_be),
        TEST(a_crash_at_any_point_of_an_install_is_survived),
        TEST(an_install_that_comes_again_does_no_harm),
        TEST_ONE(a_log_is_not_dropped_to_its_first_entry_alone),
        TEST(a_leader_that_is_not_ready_knows_who_needs_the_state),
        TEST(leadership_is_handed_over_within_a_few_turns),
        TEST(a_hand_over_is_refused_where_it_cannot_be),
        TEST(who_alone_knows_that_he_votes_no_more_votes),
        TEST(a_hand_over_to_a_dead_replica_is_given_up),
        TEST(a_hand_over_that_no_majority_hears_of_is_given_up),
        TEST(a_timeout_now_that_comes_late_is_ignored),
        TEST(a_clock_that_was_read_too_early_does_not_make_all_late),
        TEST(a_word_of_handing_over_that_was_overtaken_is_not_believed),
        TEST(a_candidate_of_an_earlier_attempt_is_not_helped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
