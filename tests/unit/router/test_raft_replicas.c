/* Several replicas of one Raft group: elections, durability, leases, and the way of entries. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
/* cmocka.h needs those above. */
#include <cmocka.h>

#include "mesh/base/mem.h"
#include "storage/raft_log.h"
#include "tests/support/raft_rig.h"

#define ELECTION_MS  500u
#define HEARTBEAT_MS 100u
#define LEASE_MS     400u

/* flags of msg_raft (nodes/router/raft_group_wire.c). */
#define FLAG_GRANTED  1u
#define FLAG_PRE_VOTE 2u

static struct raft_rig rig;

/* What the filter below saw leave since it was set. */
static struct {
    uint32_t votes_asked, votes_granted, pre_votes_refused;
    uint64_t refused_term; /* Of the last pre-vote refused. */
    uint32_t confs, confs_behind;
    size_t append_max;
    uint64_t lost_type; /* Messages of this type are lost; 0: none. */
} seen;

static void see_entries(const struct msg_raft *m)
{
    struct record_reader r = record_reader_of(m->entries);
    for (uint32_t i = 0; !record_reader_at_end(&r); i++) {
        struct msg_raft_entry entry;
        assert_int_equal(record_decode(&r, &msg_raft_entry_desc, &entry), RC_OK);
        seen.confs += entry.type == RAFT_LOG_CHANGE;
        seen.confs_behind += entry.type == RAFT_LOG_CHANGE && i > 0;
    }
    if (m->entries.size > seen.append_max)
        seen.append_max = m->entries.size;
}

static bool see(void *context, const struct raft_rig_packet *packet)
{
    const struct msg_raft *m = &packet->message;
    (void)context;
    if (m->type == RAFT_RIG_VOTE && (m->flags & FLAG_PRE_VOTE) == 0)
        seen.votes_asked++;
    if (m->type == RAFT_RIG_VOTE_RESULT && m->flags == FLAG_GRANTED)
        seen.votes_granted++;
    if (m->type == RAFT_RIG_VOTE_RESULT && m->flags == FLAG_PRE_VOTE) {
        seen.pre_votes_refused++;
        seen.refused_term = m->term;
    }
    if (m->type == RAFT_RIG_APPEND)
        see_entries(m);
    return m->type != seen.lost_type;
}

static int setup(void **state)
{
    (void)state;
    memset(&seen, 0, sizeof(seen));
    raft_rig_init(&rig, 7);
    raft_rig_start(&rig, 3);
    rig.filter = see;
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

static bool other_leads(struct raft_rig *r, uint32_t node)
{
    uint32_t leader = raft_rig_leader(r);
    return leader != RAFT_RIG_NODES && leader != node;
}

static void submit(uint32_t node, const char *text)
{
    uint64_t index;
    assert_int_equal(raft_rig_submit(&rig, node, text, &index), RC_OK);
}

static bool all_is_committed(struct raft_rig *r, uint32_t node)
{
    const struct raft_group *group = r->nodes[node].group;
    return raft_group_commit_index(group) == raft_group_last_index(group);
}

static void say_many(uint32_t node, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        submit(node, "word");
        assert_true(raft_rig_run_until(&rig, 1000, all_is_committed, node));
    }
}

/* ---- Elections ---- */

/* A majority elects one leader, and commits with it; what is fewer commits nothing. */
static void one_leader_is_elected_and_commits_on_a_majority(void **state)
{
    (void)state;
    assert_true(raft_rig_say(&rig, 0, "of three"));
    raft_rig_crash(&rig, 0, UINT64_MAX);
    assert_true(raft_rig_run_until(&rig, 3000, other_leads, 0));
    uint32_t leader = raft_rig_leader(&rig);
    assert_true(raft_rig_say(&rig, leader, "of two"));
    uint64_t committed = rig.committed;
    raft_rig_crash(&rig, 3 - leader, UINT64_MAX);
    submit(leader, "of one");
    raft_rig_run(&rig, 300);
    assert_int_equal(rig.committed, committed);
    assert_int_equal(raft_rig_restart(&rig, 0), RC_OK);
    assert_true(raft_rig_run_until(&rig, 5000, raft_rig_all_even, 0));
    assert_true(rig.committed > committed);
}

/* Whoever leads, the next of the line follows, in the time of the first turn: by their place in
 * the configuration, turned by the shard (5), without the one that fell silent. */
static void voters_take_turns(void **state)
{
    (void)state;
    static const uint32_t followers[] = {1, 2, 1, 2, 1};
    uint32_t leader = 0;
    for (size_t i = 0; i < sizeof(followers) / sizeof(followers[0]); i++) {
        assert_true(raft_rig_say(&rig, leader, "all know"));
        raft_rig_crash(&rig, leader, UINT64_MAX);
        assert_true(raft_rig_run_until(&rig, ELECTION_MS + 2 * HEARTBEAT_MS, other_leads, leader));
        assert_int_equal(raft_rig_leader(&rig), followers[i]);
        assert_int_equal(raft_rig_restart(&rig, leader), RC_OK);
        assert_true(raft_rig_run_until(&rig, 5000, raft_rig_all_even, 0));
        leader = followers[i];
    }
}

/* One that is not up to date when its turn comes does not keep the next from his. */
static void a_turn_is_passed_by_who_cannot_lead(void **state)
{
    (void)state;
    raft_rig_cut_off(&rig, 1, true);
    submit(0, "not for the first in line");
    raft_rig_run(&rig, ELECTION_MS / 2);
    raft_rig_crash(&rig, 0, UINT64_MAX);
    raft_rig_cut_off(&rig, 1, false);
    assert_true(raft_rig_run_until(&rig, ELECTION_MS + 5 * HEARTBEAT_MS, other_leads, 0));
    assert_int_equal(raft_rig_leader(&rig), 2);
}

/* Term and vote come before what is said in them: votes wait for the disk. */
static void nothing_is_sent_in_a_term_that_is_not_durable(void **state)
{
    (void)state;
    raft_rig_crash(&rig, 0, UINT64_MAX);
    rig.nodes[1].is_held = rig.nodes[2].is_held = true;
    raft_rig_run(&rig, 5000);
    assert_int_equal(seen.votes_asked, 0);
    assert_int_equal(seen.votes_granted, 0);
    assert_int_equal(raft_rig_leader(&rig), RAFT_RIG_NODES);
    rig.nodes[1].is_held = rig.nodes[2].is_held = false;
    assert_true(raft_rig_run_until(&rig, 5000, other_leads, 0));
    assert_true(seen.votes_asked > 0 && seen.votes_granted > 0);
}

/* A voter may have promised a leader, just before it died, to help no other for a while. */
static void a_voter_that_restarted_refuses_votes_within_the_election_timeout(void **state)
{
    (void)state;
    raft_rig_run(&rig, 1000);
    raft_rig_cut_off(&rig, 1, true);
    raft_rig_crash(&rig, 1, UINT64_MAX);
    assert_int_equal(raft_rig_restart(&rig, 1), RC_OK);
    struct msg_raft vote = raft_rig_message(&rig, RAFT_RIG_VOTE, 2, 1);
    vote.term++;
    vote.a = raft_group_last_index(group_of(1));
    vote.b = vote.term;
    uint64_t term = raft_group_term(group_of(1));
    rig.is_cut[1][2] = false;
    raft_rig_run(&rig, ELECTION_MS - 20);
    assert_int_equal(raft_rig_deliver(&rig, 2, 1, &vote), RC_OK);
    assert_int_equal(raft_group_term(group_of(1)), term);
    raft_rig_run(&rig, 5);
    assert_int_equal(seen.votes_granted, 0);
    raft_rig_run(&rig, 20);
    vote.term = raft_group_term(group_of(1)) + 1;
    assert_int_equal(raft_rig_deliver(&rig, 2, 1, &vote), RC_OK);
    raft_rig_run(&rig, 5);
    assert_int_equal(seen.votes_granted, 1);
}

/* G8: whoever asks in a term that is over is told of the one that is not. */
static void a_refused_pre_vote_tells_the_higher_term(void **state)
{
    (void)state;
    raft_rig_crash(&rig, 0, UINT64_MAX);
    assert_true(raft_rig_run_until(&rig, 3000, other_leads, 0));
    raft_rig_cut_off(&rig, 1, true);
    raft_rig_run(&rig, 4 * ELECTION_MS); /* It believes in no leader any more. */
    struct msg_raft vote = raft_rig_message(&rig, RAFT_RIG_VOTE, 2, 1);
    uint64_t term = vote.term;
    vote.term = 2;
    vote.flags = FLAG_PRE_VOTE;
    assert_true(vote.term < term);
    assert_int_equal(raft_rig_deliver(&rig, 2, 1, &vote), RC_OK);
    raft_rig_cut_off(&rig, 1, false);
    raft_rig_turn(&rig, 1);
    assert_int_equal(seen.pre_votes_refused, 1);
    assert_int_equal(seen.refused_term, term);
}

/* The core makes an only voter leader in the term it finds; another may still lead that one. */
static void a_follower_that_becomes_the_only_voter_leads_in_a_term_of_its_own(void **state)
{
    (void)state;
    assert_int_equal(raft_rig_change(&rig, 0, 2, RAFT_GROUP_STANDBY), RC_OK);
    raft_rig_run(&rig, 200);
    uint64_t term = raft_group_term(group_of(0));
    seen.lost_type = RAFT_RIG_APPEND_RESULT; /* The leader does not learn that it is no voter. */
    assert_int_equal(raft_group_change(group_of(0), raft_rig_clock(&rig, 0), rig.nodes[0].server,
                                       slice_string("router-0"), RAFT_GROUP_STANDBY),
                     RC_OK);
    raft_rig_turn(&rig, 0);
    raft_rig_run(&rig, 5);
    rig.is_cut[0][1] = true;
    assert_true(raft_rig_run_until(&rig, 2000, raft_rig_leads, 1));
    assert_true(raft_group_term(group_of(1)) > term);
}

/* ---- Durability ---- */

/* What a follower has in memory alone is not counted. */
static void a_follower_acknowledges_only_what_is_durable(void **state)
{
    (void)state;
    raft_rig_crash(&rig, 2, UINT64_MAX);
    rig.nodes[1].is_held = true;
    uint64_t committed = rig.committed;
    submit(0, "not durable there");
    raft_rig_run(&rig, 300);
    assert_int_equal(raft_group_last_index(group_of(1)), committed + 1);
    assert_int_equal(raft_group_commit_index(group_of(0)), committed);
    rig.nodes[1].is_held = false;
    raft_rig_run(&rig, 300);
    assert_int_equal(raft_group_commit_index(group_of(0)), committed + 1);
}

/* An answer in a new term to what was said in an old one must not look like an acknowledgement, not
 * even to the one who said it and leads again. */
static void an_answer_to_a_former_term_acknowledges_nothing(void **state)
{
    (void)state;
    struct msg_raft old = raft_rig_message(&rig, RAFT_RIG_APPEND, 0, 1);
    for (uint32_t i = 0; i < 2; i++) { /* Nothing before it, and no entries. */
        raft_rig_crash(&rig, raft_rig_leader(&rig), UINT64_MAX);
        raft_rig_run(&rig, 3 * ELECTION_MS);
        assert_int_equal(raft_rig_restart(&rig, rig.nodes[0].group == NULL   ? 0
                                                : rig.nodes[1].group == NULL ? 1
                                                                             : 2),
                         RC_OK);
        raft_rig_run(&rig, 3 * ELECTION_MS);
    }
    assert_true(raft_group_term(group_of(1)) > old.term);
    raft_rig_keep(&rig, RAFT_RIG_APPEND_RESULT, 0);
    rig.is_cut[0][1] = true;
    raft_rig_drop_all(&rig);
    assert_int_equal(raft_rig_deliver(&rig, 0, 1, &old), RC_OK);
    raft_rig_turn(&rig, 1);
    assert_non_null(rig.kept.record);
    assert_int_equal(rig.kept.message.term, raft_group_term(group_of(1)));
    assert_true(rig.kept.message.a > raft_group_last_index(group_of(0)) + 1);
    assert_int_equal(rig.kept.message.b, 0);
}

/* Followers whose heartbeats are out of step still get every entry at once: the core alone would
 * let it wait for the next heartbeat, again and again. */
static void an_entry_does_not_wait_for_a_heartbeat(void **state)
{
    (void)state;
    raft_rig_run(&rig, 1000);
    uint32_t leader = raft_rig_leader(&rig);
    uint32_t other = leader == 0 ? 1 : 0;
    for (uint32_t round = 0; round < 30; round++) {
        uint64_t index;
        rig.is_cut[leader][other] = round % 10 == 0; /* It hears the leader at other times then. */
        raft_rig_run(&rig, 130 + 37 * (round % 5));
        rig.is_cut[leader][other] = false;
        raft_rig_run(&rig, round % 10 == 0 ? 150 : 0);
        assert_int_equal(raft_rig_submit(&rig, leader, "at once", &index), RC_OK);
        raft_rig_run(&rig, 25); /* A quarter of the heartbeat. */
        assert_true(rig.committed >= index);
    }
}

/* ---- Leases ---- */

/* Reads of the old leader end before the new one begins. The rig watches that they do. */
static void a_leader_cut_off_loses_its_lease_before_another_is_elected(void **state)
{
    (void)state;
    for (uint32_t round = 0; round < 5; round++) {
        raft_rig_run(&rig, 1000);
        uint32_t leader = raft_rig_leader(&rig);
        assert_true(raft_rig_has_lease(&rig, leader));
        raft_rig_cut_off(&rig, leader, true);
        raft_rig_run(&rig, LEASE_MS + 5);
        assert_false(raft_rig_has_lease(&rig, leader));
        assert_true(raft_rig_run_until(&rig, 3000, other_leads, leader));
        assert_false(raft_rig_leads(&rig, leader)); /* It stepped down of itself. */
        assert_true(raft_rig_say(&rig, raft_rig_leader(&rig), "new") ||
                    !raft_rig_is_even(&rig, leader));
        raft_rig_cut_off(&rig, leader, false);
    }
}

/* A lease counts from when that was sent which is answered, not from when the answer comes. */
static void an_answer_long_under_way_proves_nothing(void **state)
{
    (void)state;
    raft_rig_run(&rig, 1000);
    raft_rig_keep(&rig, RAFT_RIG_APPEND_RESULT, 0);
    while (rig.kept.record == NULL)
        raft_rig_run(&rig, 1);
    raft_rig_cut_off(&rig, 0, true);
    raft_rig_run(&rig, LEASE_MS + 10);
    assert_true(raft_rig_leads(&rig, 0));
    assert_false(raft_rig_has_lease(&rig, 0));
    assert_int_equal(raft_rig_give_kept(&rig), RC_OK);
    assert_false(raft_rig_has_lease(&rig, 0));
}

/* One leader's lease is not lengthened by an answer to what it has not said yet. */
static void an_answer_from_the_future_proves_nothing(void **state)
{
    (void)state;
    raft_rig_cut_off(&rig, 0, true);
    struct msg_raft answer = raft_rig_message(&rig, RAFT_RIG_APPEND_RESULT, 1, 0);
    answer.stamp = raft_rig_clock(&rig, 0) + 100000;
    answer.b = raft_group_last_index(group_of(0));
    assert_int_equal(raft_rig_deliver(&rig, 1, 0, &answer), RC_OK);
    raft_rig_run(&rig, LEASE_MS + 5);
    assert_false(raft_rig_has_lease(&rig, 0));
}

/* ---- The way of entries ---- */

/* G9: what was dropped from the log may come again, from its very beginning. */
static void entries_delivered_again_after_truncation_do_no_harm(void **state)
{
    (void)state;
    raft_rig_keep(&rig, RAFT_RIG_APPEND, 3);
    raft_rig_begin(&rig, 3);
    assert_int_equal(raft_rig_change(&rig, 0, 3, RAFT_GROUP_STANDBY), RC_OK);
    while (rig.kept.record == NULL || rig.kept.message.entries.size == 0) {
        if (rig.kept.record != NULL)
            assert_int_equal(raft_rig_give_kept(&rig), RC_OK); /* Asks what it has. */
        raft_rig_keep(&rig, RAFT_RIG_APPEND, 3);
        raft_rig_run(&rig, 100);
    }
    assert_int_equal(rig.kept.message.a, 0);
    assert_true(rig.kept.message.entries.size > 0);
    say_many(0, 20);
    assert_true(raft_rig_run_until(&rig, 3000, raft_rig_all_even, 0));
    for (uint32_t life = 0; life < 2; life++) {
        raft_rig_truncate(&rig, 3, rig.nodes[3].now.applied);
        raft_rig_run(&rig, 10);
        for (uint32_t i = 0; i < 3; i++) {
            assert_int_equal(raft_rig_give_kept(&rig), RC_OK);
            assert_true(raft_rig_say(&rig, 0, "after"));
        }
        raft_rig_crash(&rig, 3, 0); /* Now the core does not know what is committed. */
        assert_int_equal(raft_rig_restart(&rig, 3), RC_OK);
        assert_int_equal(raft_rig_give_kept(&rig), RC_OK);
    }
    assert_true(raft_rig_say(&rig, 0, "at last"));
}

/* After a restart the core knows less to be committed than was applied, and that may be dropped. */
static void a_replica_that_drops_its_log_before_it_hears_of_a_leader_catches_up(void **state)
{
    (void)state;
    say_many(0, 20);
    assert_true(raft_rig_run_until(&rig, 3000, raft_rig_all_even, 0));
    raft_rig_crash(&rig, 2, 0);
    assert_int_equal(raft_rig_restart(&rig, 2), RC_OK);
    raft_rig_truncate(&rig, 2, rig.nodes[2].now.applied);
    raft_rig_turn(&rig, 2);
    /* A leader that probes has an entry from before the mark for its starting point. */
    struct msg_raft probe = raft_rig_message(&rig, RAFT_RIG_APPEND, 0, 2);
    probe.a = 5;
    probe.b = probe.term;
    raft_rig_keep(&rig, RAFT_RIG_APPEND_RESULT, 0);
    assert_int_equal(raft_rig_deliver(&rig, 0, 2, &probe), RC_OK);
    raft_rig_turn(&rig, 2);
    assert_int_equal(rig.kept.message.a, 0); /* Not refused. */
    assert_int_equal(rig.kept.message.b, rig.nodes[2].now.applied);
    assert_true(raft_rig_say(&rig, 0, "on"));
}

/* A refusal that was overtaken by an acknowledgement would stop the core for good. */
static void a_refusal_that_was_overtaken_is_ignored(void **state)
{
    (void)state;
    say_many(0, 10);
    uint64_t last = raft_group_last_index(group_of(0));
    raft_rig_cut_off(&rig, 1, true);
    raft_rig_run(&rig, 600); /* The core goes back to probing after what matched. */
    raft_rig_cut_off(&rig, 1, false);
    struct msg_raft refusal = raft_rig_message(&rig, RAFT_RIG_APPEND_RESULT, 1, 0);
    refusal.a = last;
    refusal.b = 0;
    assert_int_equal(raft_rig_deliver(&rig, 1, 0, &refusal), RC_OK);
    assert_true(raft_rig_say(&rig, 0, "on"));
}

/* The core takes the first new entry of a message for the configuration, wherever it is. */
static void a_configuration_travels_first_in_its_message(void **state)
{
    (void)state;
    say_many(0, 5);
    raft_rig_begin(&rig, 3); /* It gets five configurations among the commands, all at once. */
    assert_int_equal(raft_rig_change(&rig, 0, 3, RAFT_GROUP_STANDBY), RC_OK);
    say_many(0, 5);
    assert_true(raft_rig_run_until(&rig, 3000, raft_rig_all_even, 0));
    assert_true(seen.confs >= 6);
    assert_int_equal(seen.confs_behind, 0);
    assert_int_equal(raft_group_conf_index(group_of(3)), raft_group_conf_index(group_of(0)));
}

/* What is far behind is sent in messages of a bounded size. */
static void large_appends_are_split(void **state)
{
    (void)state;
    size_t size = 200 * 1024;
    char *text = mem_alloc(size + 1);
    memset(text, 'x', size);
    text[size] = '\0';
    raft_rig_crash(&rig, 2, 0);
    for (uint32_t i = 0; i < 10; i++) {
        submit(0, text);
        raft_rig_run(&rig, 10);
    }
    mem_free(text);
    assert_int_equal(raft_rig_restart(&rig, 2), RC_OK);
    assert_true(raft_rig_run_until(&rig, 3000, raft_rig_all_even, 0));
    assert_true(seen.append_max > size && seen.append_max <= LIMIT_AE_SIZE_MAX);
}

/* A leader of a later term replaces what was never committed, on the disk as well. */
static void what_a_deposed_leader_wrote_is_replaced(void **state)
{
    (void)state;
    raft_rig_cut_off(&rig, 0, true);
    submit(0, "never committed");
    raft_rig_run(&rig, 10);
    uint64_t index = raft_group_last_index(group_of(0));
    assert_true(raft_rig_run_until(&rig, 3000, other_leads, 0));
    say_many(raft_rig_leader(&rig), 3);
    raft_rig_cut_off(&rig, 0, false);
    assert_true(raft_rig_run_until(&rig, 3000, raft_rig_all_even, 0));
    assert_string_not_equal(rig.entries[index].text, "never committed");
    raft_rig_crash(&rig, 0, UINT64_MAX);
    assert_int_equal(raft_rig_restart(&rig, 0), RC_OK);
    assert_true(raft_rig_say(&rig, raft_rig_leader(&rig), "on"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(one_leader_is_elected_and_commits_on_a_majority),
        TEST(voters_take_turns),
        TEST(a_turn_is_passed_by_who_cannot_lead),
        TEST(nothing_is_sent_in_a_term_that_is_not_durable),
        TEST(a_voter_that_restarted_refuses_votes_within_the_election_timeout),
        TEST(a_refused_pre_vote_tells_the_higher_term),
        TEST(a_follower_that_becomes_the_only_voter_leads_in_a_term_of_its_own),
        TEST(a_follower_acknowledges_only_what_is_durable),
        TEST(an_answer_to_a_former_term_acknowledges_nothing),
        TEST(a_leader_cut_off_loses_its_lease_before_another_is_elected),
        TEST(an_answer_long_under_way_proves_nothing),
        TEST(an_answer_from_the_future_proves_nothing),
        TEST(entries_delivered_again_after_truncation_do_no_harm),
        TEST(a_replica_that_drops_its_log_before_it_hears_of_a_leader_catches_up),
        TEST(a_refusal_that_was_overtaken_is_ignored),
        TEST(an_entry_does_not_wait_for_a_heartbeat),
        TEST(a_configuration_travels_first_in_its_message),
        TEST(large_appends_are_split),
        TEST(what_a_deposed_leader_wrote_is_replaced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
