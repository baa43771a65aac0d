/* What the control group's leader answers an operator: a founder, a second router, and a bus that
 * takes notes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs those above. */
#include <cmocka.h>

#include <stdio.h>

#include "mesh/base/mem.h"
#include "mesh/base/metrics.h"
#include "tests/support/router_rig.h"

#define SHARDS 1u
#define NOBODY UINT64_MAX

struct rig {
    struct router_rig base; /* First: it is cast. */
    uint64_t req;
    uint64_t table; /* Version of the list, as told last. */
    enum rc rc;     /* Of the answer to the last word; RC_AGAIN: none. */
    char detail[256];
};

static void take_note(struct router_rig *base, struct slice to, uint32_t number,
                      struct record_reader message)
{
    struct rig *rig = (struct rig *)base;
    struct msg_result result;
    struct msg_table table;
    (void)to;
    if (number == MSG_TABLE) {
        assert_int_equal(record_decode(&message, &msg_table_desc, &table), RC_OK);
        rig->table = table.version;
    } else if (number == MSG_RESULT) {
        assert_int_equal(record_decode(&message, &msg_result_desc, &result), RC_OK);
        rig->rc = (enum rc)result.rc;
        snprintf(rig->detail, sizeof(rig->detail), "%.*s", SLICE_ARGS(result.detail));
    }
}

static void joins(struct rig *rig, const char *id)
{
    const struct msg_join join = {.req = 1, .node = slice_string(id), .weight = 100};
    router_rig_meet(&rig->base, id, true);
    router_rig_hear(&rig->base, id, &msg_join_desc, &join);
    router_rig_run(&rig->base, 1000);
}

/* One that leads the control group in this term, 0: that leads nothing; `counted` is a place in the
 * list, or NOBODY. */
static void beats_leading(struct rig *rig, const char *id, uint64_t term, uint64_t held,
                          uint64_t table, uint64_t counted)
{
    struct buf *terms = buf_new(16), *places = buf_new(16);
    for (uint32_t i = 0; i <= SHARDS; i++)
        record_put_u64(terms, i == SHARDS ? term : 0);
    if (counted != NOBODY)
        record_put_u64(places, counted);
    const struct msg_router_beat beat = {.groups = SHARDS + 1,
                                         .terms = buf_slice(terms),
                                         .held = held,
                                         .table = table,
                                         .counted = buf_slice(places)};
    router_rig_hear(&rig->base, id, &msg_router_beat_desc, &beat);
    buf_unref(&terms);
    buf_unref(&places);
}

static void beats(struct rig *rig, const char *id, uint64_t held, uint64_t table, uint64_t counted)
{
    beats_leading(rig, id, 0, held, table, counted);
}

static void r2_beats(struct rig *rig, uint64_t held)
{
    beats(rig, "r2", held, rig->table, NOBODY);
}

/* What the operator says of r2, and how that is answered. */
static enum rc say(struct rig *rig, enum operate_action action)
{
    const struct msg_operate word = {
        .req = ++rig->req, .action = action, .node = slice_string("r2")};
    rig->rc = RC_AGAIN;
    router_rig_hear(&rig->base, "status-1", &msg_operate_desc, &word);
    router_rig_run(&rig->base, 1000);
    return rig->rc;
}

static struct rig *rig_new(void)
{
    struct rig *rig = mem_new(struct rig);
    router_rig_init(&rig->base, SHARDS);
    rig->base.on_message = take_note;
    return rig;
}

/* One that has joined, and holds nothing yet. */
static int setup_empty(void **state)
{
    struct rig *rig = rig_new();
    router_rig_open(&rig->base, "r1", false);
    *state = rig;
    return 0;
}

/* A founder that leads, and r2 on its list. */
static int setup(void **state)
{
    struct rig *rig = rig_new();
    router_rig_open(&rig->base, "r1", true);
    router_rig_run(&rig->base, 3000);
    assert_true(router_health(rig->base.router).knows_table);
    joins(rig, "r2");
    *state = rig;
    return 0;
}

static int teardown(void **state)
{
    struct rig *rig = *state;
    router_rig_fini(&rig->base);
    mem_free(rig);
    return 0;
}

/* Drained, and its own word that it holds nothing: no other is needed. */
static void a_drained_router_that_holds_nothing_is_removed(void **state)
{
    struct rig *rig = *state;
    r2_beats(rig, 2);
    assert_int_equal(say(rig, OPERATE_REMOVE), RC_CONFLICT);
    assert_string_equal(rig->detail, "it holds replicas: drain it first");
    assert_int_equal(say(rig, OPERATE_DRAIN), RC_OK);
    r2_beats(rig, 2);
    assert_int_equal(say(rig, OPERATE_REMOVE), RC_CONFLICT);
    r2_beats(rig, 0);
    assert_int_equal(say(rig, OPERATE_REMOVE), RC_OK);
    assert_int_equal(say(rig, OPERATE_UNDRAIN), RC_CONFLICT);
    assert_string_equal(rig->detail, "it was removed for good");
}

/* What it said before it was cut off is no word on what it holds: a group may have been given to it
 * since, and need its vote. */
static void an_old_word_that_it_holds_nothing_does_not_count(void **state)
{
    struct rig *rig = *state;
    r2_beats(rig, 0);
    assert_int_equal(say(rig, OPERATE_DRAIN), RC_OK);
    router_rig_run(&rig->base, 100);
    assert_int_equal(say(rig, OPERATE_REMOVE), RC_UNAVAILABLE);
    r2_beats(rig, 0);
    assert_int_equal(say(rig, OPERATE_REMOVE), RC_OK);
}

/* It holds nothing as it said, and was given a replica in the next moment: whose leader knows. */
static void one_that_a_group_counts_is_not_removed(void **state)
{
    struct rig *rig = *state;
    joins(rig, "r3");
    assert_int_equal(say(rig, OPERATE_DRAIN), RC_OK);
    r2_beats(rig, 0);
    beats(rig, "r3", 1, rig->table, 1);
    assert_int_equal(say(rig, OPERATE_REMOVE), RC_CONFLICT);
    assert_string_equal(rig->detail,
                        "groups still count its replicas: wait until they have others");
    r2_beats(rig, 0);
    beats(rig, "r3", 1, rig->table, 0); /* Another than r2. */
    assert_int_equal(say(rig, OPERATE_REMOVE), RC_OK);
}

/* Who does not know yet that it drains may give it a replica still. */
static void nobody_is_removed_while_another_goes_by_an_older_list(void **state)
{
    struct rig *rig = *state;
    joins(rig, "r3");
    uint64_t before = rig->table;
    assert_int_equal(say(rig, OPERATE_DRAIN), RC_OK);
    assert_true(rig->table > before);
    r2_beats(rig, 0);
    beats(rig, "r3", 1, before, NOBODY);
    assert_int_equal(say(rig, OPERATE_REMOVE), RC_UNAVAILABLE);
    assert_string_equal(
        rig->detail, "r3 has not said what it holds since the list of routers changed: try again");
    r2_beats(rig, 0);
    beats(rig, "r3", 1, rig->table, NOBODY);
    assert_int_equal(say(rig, OPERATE_REMOVE), RC_OK);
}

/* One that has come and not spoken yet is asked for again. */
static void one_that_has_just_come_is_waited_for(void **state)
{
    struct rig *rig = *state;
    assert_int_equal(say(rig, OPERATE_DRAIN), RC_OK);
    router_rig_meet(&rig->base, "r2", false);
    router_rig_meet(&rig->base, "r2", true);
    assert_int_equal(say(rig, OPERATE_REMOVE), RC_UNAVAILABLE);
}

/* One that died while it drained never says that it holds nothing: it goes when it counts as lost,
 * and until then the refusal says when that is. */
static void a_dead_router_that_drains_is_removed_once_it_counts_as_lost(void **state)
{
    struct rig *rig = *state;
    assert_int_equal(say(rig, OPERATE_DRAIN), RC_OK);
    r2_beats(rig, 0);
    router_rig_meet(&rig->base, "r2", false);
    router_rig_run(&rig->base, 5000);
    assert_int_equal(say(rig, OPERATE_REMOVE), RC_CONFLICT);
    assert_string_equal(rig->detail, "it is not there to say that it holds nothing: start it, or "
                                     "remove it in 15 s, when it counts as lost");
    router_rig_run(&rig->base, 13000);
    assert_int_equal(say(rig, OPERATE_REMOVE), RC_CONFLICT);
    router_rig_run(&rig->base, 1000);
    assert_int_equal(say(rig, OPERATE_REMOVE), RC_OK);
}

/* Likewise one that is active; it is put down as lost by itself, and may then be drained as well.
 */
static void a_dead_router_that_is_active_is_removed_once_it_is_lost(void **state)
{
    struct rig *rig = *state;
    router_rig_meet(&rig->base, "r2", false);
    assert_int_equal(say(rig, OPERATE_REMOVE), RC_CONFLICT);
    assert_non_null(strstr(rig->detail, "start it and drain it, or remove it in 20 s"));
    router_rig_run(&rig->base, 21000);
    assert_int_equal(say(rig, OPERATE_DRAIN), RC_OK);
    assert_int_equal(say(rig, OPERATE_REMOVE), RC_OK);
}

static enum rc refuse(struct bus *bus, struct slice node, struct buf *packet)
{
    (void)bus;
    (void)node;
    (void)packet;
    return RC_FULL;
}

/* The bus drops it, and counts it. */
static void a_packet_that_finds_no_room_is_not_counted_twice(void **state)
{
    struct rig *rig = *state;
    int64_t dropped = metric_get(packets_dropped_total);
    rig->base.bus.send = refuse;
    router_rig_run(&rig->base, 3000); /* Beats, and the list. */
    assert_int_equal(metric_get(packets_dropped_total), dropped);
}

/* ---- How it says that it is ---- */

static void expect_reason(const struct rig *rig, const char *reason)
{
    const struct router_health health = router_health(rig->base.router);
    if (reason == NULL)
        assert_null(health.reason);
    else
        assert_string_equal(health.reason, reason);
}

/* Who leads all that it holds needs nobody; one that starts again has yet to hear where it is. */
static void a_router_that_leads_what_it_holds_is_up(void **state)
{
    struct rig *rig = *state;
    struct router_health health = router_health(rig->base.router);
    assert_null(health.reason);
    assert_int_equal(health.replicas, SHARDS + 1);
    assert_int_equal(health.routers_up, 2);
    assert_string_equal(health.missing, "");
    router_rig_meet(&rig->base, "r2", false);
    router_rig_run(&rig->base, 1000);
    health = router_health(rig->base.router);
    assert_null(health.reason);
    assert_int_equal(health.routers_up, 1);
    assert_string_equal(health.missing, "r2");
    router_free(&rig->base.router);
    router_rig_open(&rig->base, "r1", false);
    expect_reason(rig, "the list of routers was not heard yet");
    assert_int_equal(router_health(rig->base.router).leaderless, SHARDS + 1);
    router_rig_run(&rig->base, 3000);
    expect_reason(rig, NULL);
    router_drain(rig->base.router);
    expect_reason(rig, "the router is stopping");
}

/* As r2 tells it. */
static void hear_list(struct rig *rig, uint64_t version, enum router_state own_state)
{
    const char *const nodes[] = {"r1", "r2"};
    struct buf *list = buf_new(64);
    for (uint32_t i = 0; i < 2; i++) {
        const struct msg_cmd_router router = {.node = slice_string(nodes[i]),
                                              .weight = 100,
                                              .state = i == 0 ? own_state : ROUTER_ACTIVE};
        record_encode(list, &msg_cmd_router_desc, &router);
    }
    const struct msg_table table = {
        .term = 7, .version = version, .replicas = 3, .routers = buf_slice(list)};
    router_rig_hear(&rig->base, "r2", &msg_table_desc, &table);
    buf_unref(&list);
}

/* Also one that holds nothing: it would not be told of what it is to hold. */
static void a_router_that_does_not_hear_who_keeps_the_list_is_down(void **state)
{
    struct rig *rig = *state;
    expect_reason(rig, "the list of routers was not heard yet");
    router_rig_meet(&rig->base, "r2", true);
    hear_list(rig, 1, ROUTER_ACTIVE);
    expect_reason(rig, "the control group has no leader");
    beats_leading(rig, "r2", 7, 2, 1, NOBODY);
    expect_reason(rig, NULL);
    router_rig_run(&rig->base, 1000);
    beats(rig, "r2", 2, 1, NOBODY); /* It hands it over, or has lost its majority. */
    expect_reason(rig, NULL);
    router_rig_run(&rig->base, 100);
    expect_reason(rig, NULL);
    router_rig_run(&rig->base, 500);
    expect_reason(rig, "the control group has no leader");
    beats_leading(rig, "r2", 8, 2, 1, NOBODY);
    expect_reason(rig, NULL);
    router_rig_meet(&rig->base, "r2", false);
    router_rig_run(&rig->base, 1000);
    expect_reason(rig, "the control group has no leader, and routers are missing");
    router_rig_meet(&rig->base, "r2", true);
    beats_leading(rig, "r2", 8, 2, 1, NOBODY);
    hear_list(rig, 2, ROUTER_REMOVED);
    expect_reason(rig, "it was removed from the cluster");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_drained_router_that_holds_nothing_is_removed),
        TEST(an_old_word_that_it_holds_nothing_does_not_count),
        TEST(one_that_a_group_counts_is_not_removed),
        TEST(nobody_is_removed_while_another_goes_by_an_older_list),
        TEST(one_that_has_just_come_is_waited_for),
        TEST(a_dead_router_that_drains_is_removed_once_it_counts_as_lost),
        TEST(a_dead_router_that_is_active_is_removed_once_it_is_lost),
        TEST(a_packet_that_finds_no_room_is_not_counted_twice),
        TEST(a_router_that_leads_what_it_holds_is_up),
        cmocka_unit_test_setup_teardown(a_router_that_does_not_hear_who_keeps_the_list_is_down,
                                        setup_empty, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
