/* When the shards of a dev cluster are placed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "nodes/dev_placed.h"

#define R1    "{\"id\":\"r1\",\"state\":\"active\"}"
#define R2    "{\"id\":\"r2\",\"state\":\"active\"}"
#define R3    "{\"id\":\"r3\",\"state\":\"active\"}"
#define TABLE "\"table\":{\"version\":5,\"replicas\":3}"

static const char *const names[] = {"r1", "r2", "r3"};

/* What each group of a cluster of two shards says, in one router's answer. */
#define GROUPS(state, replicas)                                                                    \
    "\"groups\":[{\"shard\":0,\"state\":\"" state "\",\"replicas\":[" replicas "]},"               \
    "{\"shard\":1,\"state\":\"" state "\",\"replicas\":[" replicas "]},"                           \
    "{\"shard\":4096,\"state\":\"" state "\",\"replicas\":[" replicas "]}]"

#define ALL "\"r1\",\"r2\",\"r3\""

static bool check(const char *members, const char *answers, uint32_t count, const char *expected)
{
    char json[4096], missing[160] = "";
    int size = snprintf(json, sizeof(json),
                        "{\"shards\":{\"total\":2,\"led\":2},\"members\":[%s],\"routers\":[%s]}",
                        members, answers);
    assert_true(size > 0 && (size_t)size < sizeof(json));
    bool is_placed = dev_placed_check(slice_string(json), names, count, missing, sizeof(missing));
    if (!is_placed)
        assert_string_equal(missing, expected);
    return is_placed;
}

/* Three routers: three voters of everything, and all three know it. */
static void three_voters_that_are_known_are_enough(void **state)
{
    (void)state;
    const char *answers =
        "{" TABLE "," GROUPS("leader", ALL) "},"
                                            "{\"table\":{\"version\":0,\"replicas\":0}," GROUPS(
                                                "follower", ALL) "},"
                                                                 "{" TABLE
                                                                 "," GROUPS("follower", ALL) "}";
    assert_true(check(R1 "," R2 "," R3, answers, 3, ""));
}

/* A new cluster: the first router leads, and holds the only copy, or the only one that votes. */
static void a_first_copy_is_not_enough(void **state)
{
    (void)state;
    const char *expected =
        "2 of 2 shards and the control group have no leader, or fewer than 3 voters";
    assert_false(
        check(R1 "," R2 "," R3, "{" TABLE "," GROUPS("leader", "\"r1\"") "}", 3, expected));
    const char *standbys = "{" TABLE "," GROUPS(
        "leader",
        "\"r1\",\"r2~\",\"r3~\"") "},"
                                  "{" TABLE "," GROUPS(
                                      "follower",
                                      "\"r1\",\"r2~\",\"r3~\"") "},"
                                                                "{" TABLE "," GROUPS(
                                                                    "follower",
                                                                    "\"r1\",\"r2~\",\"r3~\"") "}";
    assert_false(check(R1 "," R2 "," R3, standbys, 3, expected));
}

/* What the leader alone has stored would die with it. */
static void a_configuration_must_be_known_to_its_voters(void **state)
{
    (void)state;
    const char *answers = "{" TABLE "," GROUPS(
        "leader", ALL) "},"
                       "{" TABLE
                       "," GROUPS("follower", ALL) "},"
                                                   "{" TABLE "," GROUPS(
                                                       "follower", "\"r1\",\"r2\",\"r3~\"") "}";
    assert_false(
        check(R1 "," R2 "," R3, answers, 3,
              "2 of 2 shards and the control group have no leader, or fewer than 3 voters"));
}

/* Voters without a leader answer nobody. */
static void a_leader_must_be_there(void **state)
{
    (void)state;
    const char *answers =
        "{" TABLE ",\"groups\":[{\"shard\":0,\"state\":\"leader\",\"replicas\":[\"r1\"]},"
        "{\"shard\":1,\"state\":\"candidate\",\"replicas\":[\"r1\"]},"
        "{\"shard\":4096,\"state\":\"leader\",\"replicas\":[\"r1\"]}]}";
    assert_false(check(R1, answers, 1, "1 of 2 shards have no leader, or fewer than 1 voter"));
}

/* Two routers: one voter is all there will be. */
static void two_routers_have_one_voter(void **state)
{
    (void)state;
    const char *answers = "{" TABLE "," GROUPS("leader", "\"r1\",\"r2~\"") "}";
    assert_true(check(R1 "," R2, answers, 2, ""));
}

/* Who runs and is not on the list yet is about to be, and to hold replicas. */
static void a_router_that_joins_is_waited_for(void **state)
{
    (void)state;
    const char *answers = "{" TABLE "," GROUPS("leader", "\"r1\"") "}";
    assert_false(check(R1, answers, 2, "r2 is not on the list of routers"));
    assert_false(check(R1 ",{\"id\":\"r2\",\"state\":\"joining\"}", answers, 2,
                       "r2 is not on the list of routers"));
}

/* One that drains, was lost or removed holds nothing, nor is one waited for that does not run. */
static void only_active_routers_that_run_count(void **state)
{
    (void)state;
    static const char *const states[] = {"draining", "lost", "removed"};
    const char *answers = "{" TABLE "," GROUPS("leader", "\"r1\"") "}";
    for (int i = 0; i < 3; i++) {
        char members[256];
        snprintf(members, sizeof(members), R1 "," R2 ",{\"id\":\"r3\",\"state\":\"%s\"}",
                 states[i]);
        assert_true(check(members, answers, 3, ""));
    }
    assert_true(check(R1 "," R2 "," R3, answers, 2, ""));
}

/* Nothing is taken for an answer that is none. */
static void an_answer_that_cannot_be_read_is_none(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "", "{}", "[]", "{\"shards\":{\"total\":0}}", "{\"shards\":{\"total\":5000}}", "not json"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        char missing[160] = "";
        assert_false(dev_placed_check(slice_string(texts[i]), names, 1, missing, sizeof(missing)));
        assert_string_equal(missing, "no router tells how the cluster is");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(three_voters_that_are_known_are_enough),
        cmocka_unit_test(a_first_copy_is_not_enough),
        cmocka_unit_test(a_configuration_must_be_known_to_its_voters),
        cmocka_unit_test(a_leader_must_be_there),
        cmocka_unit_test(two_routers_have_one_voter),
        cmocka_unit_test(a_router_that_joins_is_waited_for),
        cmocka_unit_test(only_active_routers_that_run_count),
        cmocka_unit_test(an_answer_that_cannot_be_read_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
