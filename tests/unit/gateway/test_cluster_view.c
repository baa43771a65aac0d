/* What the answers of several routers say together: only what is told counts, and the newer word.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs those above. */
#include <cmocka.h>

#include <stdio.h>

#include "gateway/cluster_view.h"
#include "gateway/json.h"

#define ANSWERS_MAX 4u

/* r1 leads the control group and shard 0; r2 leads shard 1, of which r3 is a standby. */
static const char *const r1_says =
    "{\"id\":\"r1\",\"zone\":\"z1\",\"shards\":{\"total\":2,\"led\":1},"
    "\"control\":true,\"table\":{\"version\":9,\"replicas\":3},"
    "\"routers\":[{\"id\":\"r1\",\"zone\":\"z1\",\"weight\":100,\"state\":\"active\"},"
    "{\"id\":\"r2\",\"zone\":null,\"weight\":50,\"state\":\"draining\"},"
    "{\"id\":\"r3\",\"zone\":\"z3\",\"weight\":100,\"state\":\"lost\"}],"
    "\"moves\":{\"pending\":2,\"done\":5,\"bytes\":700},"
    "\"groups\":[{\"shard\":0,\"state\":\"leader\",\"term\":3,\"replicas\":[\"r1\",\"r2\"]},"
    "{\"shard\":1,\"state\":\"follower\",\"term\":4,\"replicas\":[\"r1\",\"r2\"]},"
    "{\"shard\":4096,\"state\":\"leader\",\"term\":2,\"replicas\":[\"r1\"]}]}";
static const char *const r2_says =
    "{\"id\":\"r2\",\"replicas\":4,\"shards\":{\"total\":2,\"led\":1},"
    "\"control\":false,\"table\":{\"version\":8},\"routers\":[{\"id\":\"r9\"}],"
    "\"moves\":{\"pending\":1,\"bytes\":50},"
    "\"groups\":[{\"shard\":1,\"state\":\"leader\",\"term\":4,"
    "\"replicas\":[\"r1\",\"r2\",\"r3~\"]}]}";

static struct cluster_view view_of(const char *const *texts, uint32_t count)
{
    struct cluster_view view;
    struct cluster_view_answer answers[ANSWERS_MAX] = {{.node = ""}};
    const char *reason;
    for (uint32_t i = 0; i < count; i++) {
        snprintf(answers[i].node, sizeof(answers[i].node), "r%u", i + 1);
        answers[i].json = slice_string(texts[i]);
        assert_int_equal(json_check(answers[i].json, &reason), RC_OK);
    }
    cluster_view_init(&view, answers, count);
    return view;
}

static const struct cluster_view_router *router(const struct cluster_view *view, const char *id)
{
    return cluster_view_router(view, slice_string(id));
}

/* Each router is shown with its row of the list and its own numbers, by name. */
static void list_and_answers_come_together(void **state)
{
    (void)state;
    const char *const texts[] = {r1_says, r2_says};
    struct cluster_view view = view_of(texts, 2);
    assert_true(view.has_list);
    assert_int_equal(view.router_count, 3);
    assert_string_equal(view.routers[0].id, "r1");
    assert_string_equal(view.routers[0].state, "active");
    assert_int_equal(view.routers[0].pending, 2);
    assert_int_equal(view.routers[0].done, 5);
    assert_string_equal(view.routers[1].state, "draining");
    assert_string_equal(view.routers[1].zone, "");
    assert_int_equal(view.routers[1].weight, 50);
    assert_string_equal(view.routers[2].state, "lost");
    assert_false(view.routers[2].has_answered);
    assert_int_equal(view.pending, 3);
    assert_int_equal(view.bytes, 750);
    cluster_view_fini(&view);
}

/* A group's replicas are counted once, as its leader tells them; a standby is a replica too. What a
 * router has yet to drop is its own word, and kept apart. */
static void replicas_are_counted_by_the_leaders_word(void **state)
{
    (void)state;
    const char *const texts[] = {r1_says, r2_says};
    struct cluster_view view = view_of(texts, 2);
    assert_int_equal(router(&view, "r1")->replicas, 3);
    assert_int_equal(router(&view, "r2")->replicas, 2);
    assert_int_equal(router(&view, "r2")->own, 4);
    assert_int_equal(router(&view, "r3")->replicas, 1);
    assert_int_equal(router(&view, "r3")->own, 0);
    assert_int_equal(view.shards, 2);
    assert_int_equal(view.led, 2);
    assert_true(cluster_view_is_whole(&view));
    cluster_view_fini(&view);
}

/* Where nobody leads who could tell the list, routers are known by whom the others remember. */
static void who_is_remembered_is_shown_though_nobody_tells_the_list(void **state)
{
    (void)state;
    const char *const texts[] = {
        "{\"id\":\"r1\",\"table\":{\"version\":0},\"routers\":[],\"remembered\":["
        "{\"id\":\"r2\",\"address\":\"tcp://b:1\"},{\"id\":\"r3\",\"address\":\"\"},7,{}]}",
        "{\"id\":\"r2\",\"remembered\":[{\"id\":\"r3\",\"address\":\"tcp://c:1\"}]}"};
    struct cluster_view view = view_of(texts, 2);
    assert_false(view.has_list);
    assert_int_equal(view.router_count, 3);
    assert_string_equal(router(&view, "r2")->address, "tcp://b:1");
    assert_string_equal(router(&view, "r3")->address, "tcp://c:1");
    assert_string_equal(cluster_view_state(&view, router(&view, "r3")), "unknown");
    assert_false(router(&view, "r3")->has_answered);
    cluster_view_fini(&view);
}

/* One that is joining tells what it waits for, and nothing else of it counts. */
static void who_joins_says_what_he_waits_for(void **state)
{
    (void)state;
    const char *const texts[] = {r1_says, "{\"id\":\"r2\",\"waits_for\":\"a leader\"}",
                                 "{\"id\":\"r3\",\"replicas\":5}",
                                 "{\"id\":\"r4\",\"waits_for\":\"a leader\"}"};
    struct cluster_view view = view_of(texts, 4);
    assert_int_equal(view.answered, 2);
    assert_true(view.has_control);
    assert_string_equal(router(&view, "r4")->waits_for, "a leader");
    assert_string_equal(cluster_view_state(&view, router(&view, "r4")), "joining");
    assert_false(router(&view, "r4")->has_answered);
    cluster_view_fini(&view);
    view = view_of(&texts[1], 1);
    assert_int_equal(view.answered, 0);
    assert_false(view.has_control);
    assert_string_equal(cluster_view_state(&view, &view.routers[0]), "joining");
    cluster_view_fini(&view);
}

/* While a group's leader is not heard, nobody may conclude that a router holds nothing. */
static void a_view_without_a_leader_is_not_whole(void **state)
{
    (void)state;
    const char *const texts[] = {r1_says};
    struct cluster_view view = view_of(texts, 1);
    assert_int_equal(view.led, 1);
    assert_false(cluster_view_is_whole(&view));
    cluster_view_fini(&view);
}

/* A leader that does not know yet that it was replaced is overruled by the higher term. */
static void the_higher_term_counts(void **state)
{
    (void)state;
    const char *const texts[] = {
        "{\"groups\":[{\"shard\":0,\"state\":\"leader\",\"term\":8,\"replicas\":[\"r2\"]}]}",
        "{\"groups\":[{\"shard\":0,\"state\":\"leader\",\"term\":7,\"replicas\":[\"r1\"]}]}"};
    struct cluster_view view = view_of(texts, 2);
    assert_int_equal(router(&view, "r2")->replicas, 1);
    assert_int_equal(router(&view, "r1")->replicas, 0);
    cluster_view_fini(&view);
}

/* The newest list counts, whoever has it; one that has heard none yet says version 0. */
static void the_newest_list_counts(void **state)
{
    (void)state;
    const char *const texts[] = {
        "{\"table\":{\"version\":5},\"routers\":[{\"id\":\"r1\",\"state\":\"draining\"}]}",
        "{\"table\":{\"version\":6},\"routers\":[{\"id\":\"r1\",\"state\":\"lost\"}]}",
        "{\"table\":{\"version\":0},\"routers\":[{\"id\":\"r1\",\"state\":\"active\"}]}"};
    struct cluster_view view = view_of(texts, 3);
    assert_string_equal(router(&view, "r1")->state, "lost");
    cluster_view_fini(&view);
}

/* An answer of another version, or of strange types, costs what it does not tell and no more. */
static void what_is_missing_or_strange_is_passed_over(void **state)
{
    (void)state;
    const char *const texts[] = {
        "{}", "{\"shards\":7,\"moves\":[],\"table\":null,\"routers\":{},\"groups\":\"none\"}",
        "{\"table\":{\"version\":1},\"routers\":[1,{},{\"id\":7},{\"id\":\"no such id!\"},"
        "{\"id\":\"r8\",\"state\":\"a state of the far future\"}],\"groups\":[null,"
        "{\"shard\":5000,\"state\":\"leader\"},{\"shard\":0,\"state\":\"leader\",\"term\":-1,"
        "\"replicas\":7},{\"shard\":1,\"state\":\"leader\",\"replicas\":[\"\",\"~\",3,\"r1\"]}]}"};
    struct cluster_view view = view_of(texts, 3);
    assert_int_equal(view.router_count, 4);
    assert_string_equal(router(&view, "r8")->state, "");
    assert_int_equal(router(&view, "r1")->replicas, 1);
    assert_int_equal(view.groups_known, 2);
    assert_false(cluster_view_is_whole(&view));
    cluster_view_fini(&view);
}

/* Without a word on groups the routers' own counts have to do. */
static void led_shards_are_summed_where_no_groups_are_told(void **state)
{
    (void)state;
    const char *const texts[] = {"{\"shards\":{\"total\":64,\"led\":30}}",
                                 "{\"shards\":{\"total\":64,\"led\":34}}"};
    struct cluster_view view = view_of(texts, 2);
    assert_int_equal(view.shards, 64);
    assert_int_equal(view.led, 64);
    assert_false(view.has_list);
    cluster_view_fini(&view);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(list_and_answers_come_together),
        cmocka_unit_test(who_joins_says_what_he_waits_for),
        cmocka_unit_test(who_is_remembered_is_shown_though_nobody_tells_the_list),
        cmocka_unit_test(replicas_are_counted_by_the_leaders_word),
        cmocka_unit_test(a_view_without_a_leader_is_not_whole),
        cmocka_unit_test(the_higher_term_counts),
        cmocka_unit_test(the_newest_list_counts),
        cmocka_unit_test(what_is_missing_or_strange_is_passed_over),
        cmocka_unit_test(led_shards_are_summed_where_no_groups_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
