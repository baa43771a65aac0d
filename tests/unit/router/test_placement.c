/* placement: each rule, by groups written down. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "nodes/router/placement.h"

static const char *const kind_names[] = {"none",   "prepare", "add",     "promote",
                                         "demote", "remove",  "transfer"};

/* A group in a line. Servers, separated by spaces, are a node's letter, then V(oter), S(tandby) or
 * spare (P), then `-` dead, `!` gone, `~` behind, `<` without the newest configuration; their ids
 * are 1, 2, 3... and the first one leads. Targets are letters, `=` where a replica is held ready
 * (ids 101, 102...), `?` where the router is not heard of. */
struct group {
    struct placement_server servers[LIMIT_SERVERS_MAX];
    const char *targets[LIMIT_REPLICAS_MAX];
    char names[LIMIT_REPLICAS_MAX][2];
    uint64_t prepared[LIMIT_REPLICAS_MAX];
    bool is_heard[LIMIT_REPLICAS_MAX];
    struct placement_view view;
};

static void read_servers(struct group *group, const char *text)
{
    struct placement_server *server = group->servers - 1;
    for (const char *c = text; *c != '\0'; c++)
        switch (*c) {
        case ' ':
            break;
        case 'V':
        case 'S':
        case 'P':
            server->role = *c == 'V'   ? PLACEMENT_VOTER
                           : *c == 'S' ? PLACEMENT_STANDBY
                                       : PLACEMENT_SPARE;
            break;
        case '-':
            server->is_live = false;
            break;
        case '!':
            server->is_gone = true;
            break;
        case '~':
            server->match = 15;
            server->is_caught_up = false;
            break;
        case '<':
            server->match = 5;
            server->is_caught_up = false;
            break;
        default:
            assert_true(group->view.server_count < LIMIT_SERVERS_MAX);
            server++;
            *server = (struct placement_server){
                .id = ++group->view.server_count,
                .node = {*c},
                .match = 20,
                .is_live = true,
                .is_caught_up = true,
            };
        }
}

static void read_targets(struct group *group, const char *text)
{
    uint32_t count = 0;
    for (const char *c = text; *c != '\0'; c++)
        if (*c == '=')
            group->prepared[count - 1] = 100 + count;
        else if (*c == '?')
            group->is_heard[count - 1] = false;
        else if (*c != ' ') {
            assert_true(count < LIMIT_REPLICAS_MAX);
            group->names[count][0] = *c;
            group->targets[count] = group->names[count];
            group->is_heard[count++] = true;
        }
    group->view.target_count = count;
}

static void read_group(struct group *group, const char *servers, const char *targets,
                       uint32_t replicas)
{
    memset(group, 0, sizeof(*group));
    read_servers(group, servers);
    read_targets(group, targets);
    group->view.self = 1;
    group->view.servers = group->servers;
    group->view.last_conf_index = 10;
    group->view.targets = group->targets;
    group->view.replicas = replicas;
    group->view.prepared = group->prepared;
    group->view.is_heard = group->is_heard;
}

static void expect_group(const struct group *group, const char *wanted)
{
    char text[64];
    struct placement_step step = placement_next(&group->view);
    if (step.kind == PLACEMENT_NONE)
        snprintf(text, sizeof(text), "none");
    else if (step.id == 0)
        snprintf(text, sizeof(text), "%s %s", kind_names[step.kind], step.node);
    else
        snprintf(text, sizeof(text), "%s %s%d", kind_names[step.kind], step.node, (int)step.id);
    assert_string_equal(text, wanted);
}

static void expect_of(uint32_t replicas, const char *servers, const char *targets,
                      const char *wanted)
{
    struct group group;
    read_group(&group, servers, targets, replicas);
    expect_group(&group, wanted);
}

static void expect(const char *servers, const char *targets, const char *wanted)
{
    expect_of(3, servers, targets, wanted);
}

static bool is_done(const char *servers, const char *targets)
{
    struct group group;
    read_group(&group, servers, targets, 3);
    return placement_is_done(&group.view);
}

/* The preferred leader twice; one that does not take it must not keep a router from being left. */
static void leadership_goes_to_another_where_one_does_not_take_it(void **state)
{
    (void)state;
    static const char *const wanted[] = {"transfer a2", "transfer a2", "transfer b3",
                                         "transfer a2", "transfer a2", "transfer b3"};
    struct group group;
    read_group(&group, "xV aV bV", "a b c=", 3);
    group.prepared[2] = 0;
    for (uint32_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
        group.view.in_vain = i;
        expect_group(&group, wanted[i]);
    }
}

/* Voters are the largest odd number that is at most R and at most the routers there are. */
static void voters_are_odd(void **state)
{
    (void)state;
    assert_int_equal(placement_voters(3, 0), 0);
    assert_int_equal(placement_voters(3, 1), 1);
    assert_int_equal(placement_voters(3, 2), 1);
    assert_int_equal(placement_voters(3, 3), 3);
    assert_int_equal(placement_voters(4, 4), 3);
    assert_int_equal(placement_voters(5, 4), 3);
    assert_int_equal(placement_voters(7, 9), 7);
    assert_int_equal(placement_voters(1, 5), 1);
}

/* A group that is as it should be is done, and left alone. */
static void what_is_right_is_left_alone(void **state)
{
    (void)state;
    expect("aV bV cV", "a b c", "none");
    expect("aV bS", "a b", "none");
    expect("aV", "a", "none");
    assert_true(is_done("aV bV cV", "a b c"));
    assert_true(is_done("aV bS", "a b"));
    assert_true(is_done("aV cV bV-", "a b c"));
}

/* Done is: all replicas there, no other, each in its role, led by the preferred one. */
static void done_is_said_of_nothing_less(void **state)
{
    (void)state;
    struct group group;
    assert_false(is_done("bV aV cV", "a b c"));
    assert_false(is_done("aV bV", "a b c"));
    assert_false(is_done("aV bV cS", "a b c"));
    assert_false(is_done("aV bV", "a b"));
    assert_false(is_done("aV bV cV dS", "a b c"));
    assert_false(is_done("aV bV dV", "a b c"));
    assert_false(is_done("aV bV cV!", "a b c"));
    assert_false(is_done("aV", ""));
    read_group(&group, "aV bV cV", "a b c", 3);
    group.view.is_changing = true;
    assert_false(placement_is_done(&group.view));
}

/* Nothing is begun while a change is under way, without a target, or by one that is no member. */
static void nothing_is_begun_too_early(void **state)
{
    (void)state;
    struct group group;
    read_group(&group, "aV bV! cS", "a b c", 3);
    group.view.is_changing = true;
    assert_int_equal(placement_next(&group.view).kind, PLACEMENT_NONE);
    read_group(&group, "aV bV! cS", "a b c", 3);
    group.view.self = 77;
    assert_int_equal(placement_next(&group.view).kind, PLACEMENT_NONE);
    expect("aV bV", "", "none");
}

/* A voter that lives and lacks the newest configuration stops all changes: it refuses to vote. */
static void a_voter_without_the_configuration_is_waited_for(void **state)
{
    (void)state;
    expect("aV bV< cV dS", "a b c", "none");
    expect("aV bV< cV", "a b c d=", "none");
    expect("aV bV< cV", "a b d", "prepare d");
    expect("aV bV< cV- dS", "a b d", "none");
}

/* A dead voter does not stop the changes that bring another in its place. */
static void a_dead_voter_does_not_block_its_replacement(void **state)
{
    (void)state;
    expect("aV bV cV-<", "a b d", "prepare d");
    expect("aV bV cV-<", "a b d=", "add d103");
    expect("aV bV cV-< dS~", "a b d", "none");
    expect("aV bV cV-< dS", "a b d", "promote d4");
    expect("aV bV cV-< dV", "a b d", "remove c3");
    expect("aV bV dV", "a b d", "none");
}

/* No step leaves voters of whom most are dead. */
static void most_voters_that_remain_must_live(void **state)
{
    (void)state;
    expect("aV bV- cV", "a b", "demote b2");
    expect("aV bV! cV-", "a b c=", "prepare b");
    expect("aV cV bV- dV- eV", "a b", "demote b3");
    expect("aV cV eV bV-", "a", "remove b4");
}

/* What its router says is gone is removed first, if the rest can still decide. */
static void the_gone_are_removed_first(void **state)
{
    (void)state;
    expect("aV bV cV!", "a b c=", "remove c3");
    expect("aV bV cV dS!", "a b c", "remove d4");
    expect("aV bV cV- dV!", "a b c", "remove d4");
    expect("aV bV- cV!", "a b c", "prepare c");
}

/* A router that lost its replica gets a new one, and the old id is no obstacle. */
static void two_replicas_at_one_router_are_told_apart(void **state)
{
    (void)state;
    expect("aV bV cV! cS", "a b c", "remove c3");
    expect("aV bV cS", "a b c", "promote c3");
    expect("aV bV cV- cS", "a b c", "promote c4");
    expect("aV bV cV- cV", "a b c", "remove c3");
    expect("aV bV cV cS~", "a b c", "remove c4");
    expect("aV bV- bV-! cV cV", "a b c", "remove b3");
}

/* A newcomer is asked to prepare, added, awaited, and made a voter. */
static void newcomers_come_in_order(void **state)
{
    (void)state;
    expect("aV", "a b c", "prepare b");
    expect("aV", "a b= c=", "add b102");
    expect("aV bS~", "a b c=", "add c103");
    expect("aV bS~", "a b c", "prepare c");
    expect("aV bS~ cS~", "a b c", "none");
    expect("aV bS cS", "a b c", "promote b2");
    expect("aV bV cS", "a b c", "promote c3");
}

/* An id that is in the group already is an old answer, not a replica to add. */
static void a_stale_answer_is_not_added(void **state)
{
    (void)state;
    struct group group;
    read_group(&group, "aV bV! cV-", "a b c", 3);
    group.prepared[1] = 2;
    struct placement_step step = placement_next(&group.view);
    assert_int_equal(step.kind, PLACEMENT_PREPARE);
    assert_string_equal(step.node, "b");
}

/* A router that is not heard of is not asked, and those behind it in the list are. */
static void the_silent_are_not_asked(void **state)
{
    (void)state;
    struct group group;
    expect("aV", "a b? c", "prepare c");
    expect("aV", "a b? c?", "none");
    read_group(&group, "aV", "a b? c", 3);
    group.view.is_heard = NULL;
    assert_string_equal(placement_next(&group.view).node, "b");
}

/* One voter does not become two for as long as a copy takes: two need both. */
static void an_even_number_does_not_last(void **state)
{
    (void)state;
    expect("aV bS cS~", "a b c", "none");
    expect("aV bS cS-", "a b c", "none");
    expect("aV bV cV dS eS~", "a b c d e", "none");
    expect_of(5, "aV bV cV dS eS~", "a b c d e", "none");
    expect_of(5, "aV bS cS dS~ eS~", "a b c d e", "promote b2");
    expect_of(5, "aV bV cS dS~ eS~", "a b c d e", "promote c3");
    expect_of(5, "aV xV yV bS cS~ dS~ eS~", "a b c d e", "none");
}

/* One newcomer takes the place of one old voter without waiting for the others. */
static void a_dead_target_does_not_hold_up_the_rest(void **state)
{
    (void)state;
    expect("aV xV yV bS cS-", "a b c", "promote b4");
    expect("aV xV yV bV cS-", "a b c", "remove x2");
    expect("aV yV bV cS-", "a b c", "none");
    expect("aV yV bV cS", "a b c", "promote c4");
    expect("aV yV bV cV", "a b c", "remove y2");
    expect("aV xV bV cS-", "a b c?", "none");
}

/* A leader that is not to stay hands over before anything of it is removed. */
static void leadership_goes_before_the_leader(void **state)
{
    (void)state;
    expect("xV aV bV cV", "a b c", "transfer a2");
    expect("aV bV cV xV", "a b c", "remove x4");
    expect("xV aS", "a", "promote a2");
    expect("xV aV", "a", "transfer a2");
    expect("aV xV", "a", "remove x2");
    expect("bV aV", "a b", "transfer a2");
    expect("xV aV- bV cV dV", "a b c", "transfer b3");
    expect("xV aV~ bV cV", "a b c", "transfer b3");
    expect("xV bV cV aS~", "a b c", "none");
}

/* The preferred leader leads when all else is settled, and no copy is being made. */
static void the_preferred_leader_leads_at_the_end(void **state)
{
    (void)state;
    expect("bV aV cV", "a b c", "transfer a2");
    expect("bV aV~ cV", "a b c", "none");
    expect("bV aV- cV", "a b c", "none");
    expect("bV aV cV-", "a b c", "transfer a2");
    expect("bV aV cS~", "a b c", "none");
    expect("bV aV cV dS", "a b c", "remove d4");
    expect_of(4, "bV aV cV dS~", "a b c d", "none");
}

/* Three voters become one and a copy when there are two routers, and none is lost on the way. */
static void a_group_shrinks_to_a_voter_and_a_copy(void **state)
{
    (void)state;
    expect("aV bV cV", "a b", "demote b2");
    expect("aV bS cV", "a b", "remove c3");
    expect("aV bS", "a b", "none");
    expect("bV aV cV", "a b", "transfer a2");
    expect("aV cV bS~", "a b", "demote c2");
    expect("aV cS bS~", "a b", "none");
    expect("aV cS bS", "a b", "remove c2");
}

/* An old voter that is dead stays while their number is odd: it may come back before there is
 * another. One of an even number is only in the way. */
static void a_dead_voter_goes_where_that_helps(void **state)
{
    (void)state;
    expect("aV bV xV-", "a b c?", "none");
    expect("aV bV cV xV-", "a b c", "remove x4");
    expect("aV bV yV xV-", "a b c?", "remove x4");
    expect_of(5, "aV bV cV xV- yV-", "a b c d? e?", "remove x4");
    expect_of(5, "aV bV cV yV-", "a b c d? e?", "remove y4");
}

/* A server that was left a spare is made a standby. */
static void a_spare_is_woken(void **state)
{
    (void)state;
    expect("aV bP", "a b", "demote b2");
    expect("aV bS cP", "a b", "remove c3");
}

/* A group that is full makes room: nobody is added beyond the limit, and old copies go first. */
static void a_full_group_makes_room(void **state)
{
    (void)state;
    expect_of(7, "aV bV cV dV eV fV gV hS~ iS~ jS~ kS~ lS~", "h i j k l m= n=", "none");
    expect_of(7, "aV bV cV dV eV fV gV hS iS~ jS~ kS~ lS~", "h i j k l m= n=", "promote h8");
    expect_of(7, "aV bV cV dV eV fV gV hV iS~ jS~ kS~ lS~", "h i j k l m= n=", "transfer h8");
    expect_of(7, "hV bV cV dV eV fV gV aV iS~ jS~ kS~ lS~", "h i j k l m= n=", "remove b2");
    expect_of(7, "hV bS cV dV eV fV gS iS~ jS~ kS~ lS~ mS~", "h i j k l m n=", "remove b2");
    expect_of(7, "hV cV dV eV fV gV aV iS~ jS~ kS~ lS~", "h i j k l m= n=", "add m106");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(leadership_goes_to_another_where_one_does_not_take_it),
        cmocka_unit_test(voters_are_odd),
        cmocka_unit_test(what_is_right_is_left_alone),
        cmocka_unit_test(done_is_said_of_nothing_less),
        cmocka_unit_test(nothing_is_begun_too_early),
        cmocka_unit_test(a_voter_without_the_configuration_is_waited_for),
        cmocka_unit_test(a_dead_voter_does_not_block_its_replacement),
        cmocka_unit_test(most_voters_that_remain_must_live),
        cmocka_unit_test(the_gone_are_removed_first),
        cmocka_unit_test(two_replicas_at_one_router_are_told_apart),
        cmocka_unit_test(newcomers_come_in_order),
        cmocka_unit_test(a_stale_answer_is_not_added),
        cmocka_unit_test(the_silent_are_not_asked),
        cmocka_unit_test(an_even_number_does_not_last),
        cmocka_unit_test(a_dead_target_does_not_hold_up_the_rest),
        cmocka_unit_test(leadership_goes_before_the_leader),
        cmocka_unit_test(the_preferred_leader_leads_at_the_end),
        cmocka_unit_test(a_group_shrinks_to_a_voter_and_a_copy),
        cmocka_unit_test(a_dead_voter_goes_where_that_helps),
        cmocka_unit_test(a_spare_is_woken),
        cmocka_unit_test(a_full_group_makes_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
