/* tally: how often a large group is told how far its message came, and that the last word is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs those above. */
#include <cmocka.h>

#include <stdio.h>

#include "mesh/base/mem.h"
#include "nodes/router/tally.h"
#include "tests/support/soft_rig.h"

struct rig {
    struct soft_rig soft;
    struct tally tally;
    uint64_t delivered; /* What the state has at the moment. */
    bool is_empty;      /* It has nothing to tell. */
    uint32_t reads;
};

static bool read_state(void *context, uint32_t shard, struct slice conv,
                       struct msg_event_tally *ret)
{
    struct rig *rig = context;
    assert_int_equal(shard, 5);
    rig->reads++;
    *ret = (struct msg_event_tally){
        .conv = conv, .seq = 9, .delivered = rig->delivered, .read = 1, .total = 40};
    return !rig->is_empty;
}

static int setup(void **state)
{
    struct rig *rig = mem_new(struct rig);
    soft_rig_init(&rig->soft);
    tally_init(&rig->tally, &rig->soft.watchers, read_state, rig);
    soft_follow(&rig->soft, &rig->soft.watchers.convs, 5, "c", "g1");
    *state = rig;
    return 0;
}

static int teardown(void **state)
{
    struct rig *rig = *state;
    tally_fini(&rig->tally);
    soft_rig_fini(&rig->soft);
    mem_free(rig);
    return 0;
}

static void mark(struct rig *rig, const char *conv)
{
    tally_mark(&rig->tally, 5, slice_string(conv));
}

static void pass(struct rig *rig, uint64_t ms)
{
    soft_pass(&rig->soft, ms);
    tally_turn(&rig->tally, rig->soft.now_us);
}

/* The numbers told since the last time; 0: none were. */
static uint64_t told(struct rig *rig)
{
    soft_hear_anew(&rig->soft);
    assert_true(rig->soft.heard_count <= 1);
    return rig->soft.heard_count == 1 ? rig->soft.heard[0].delivered : 0;
}

/* The first mark is told in its turn, with what the state has then. */
static void the_first_is_told_at_once(void **state)
{
    struct rig *rig = *state;
    rig->delivered = 3;
    mark(rig, "c");
    assert_true(tally_due_us(&rig->tally) == 0);
    rig->delivered = 4;
    pass(rig, 0);
    assert_int_equal(told(rig), 4);
    assert_string_equal(rig->soft.heard[0].conv, "c");
    assert_int_equal(rig->soft.heard[0].seq, 9);
    assert_int_equal(rig->soft.heard[0].read, 1);
    assert_int_equal(rig->soft.heard[0].total, 40);
}

/* However many cursors move, one event a second leaves, and the last state with the last. */
static void one_a_second_and_the_last_word(void **state)
{
    struct rig *rig = *state;
    uint32_t events = 0;
    uint64_t last = 0;
    for (uint32_t i = 1; i <= 2500; i++) {
        rig->delivered = i;
        mark(rig, "c");
        pass(rig, 1);
        uint64_t heard = told(rig);
        events += heard != 0;
        last = heard != 0 ? heard : last;
    }
    assert_int_equal(events, 3);
    assert_int_not_equal(last, 2500);
    assert_true(tally_due_us(&rig->tally) != ENV_NEVER);
    pass(rig, 1000);
    assert_int_equal(told(rig), 2500);
    pass(rig, 1000);
    assert_int_equal(told(rig), 0);
    assert_true(tally_due_us(&rig->tally) == ENV_NEVER);
    assert_int_equal(rig->tally.convs.count, 0);
}

/* A conversation that nobody watches costs nothing. */
static void nobody_watches_nothing_is_read(void **state)
{
    struct rig *rig = *state;
    mark(rig, "d");
    pass(rig, 0);
    assert_int_equal(rig->reads, 0);
    assert_int_equal(rig->tally.convs.count, 0);
}

/* Where there is no message, nothing is told. */
static void without_a_message_nothing_is_told(void **state)
{
    struct rig *rig = *state;
    rig->delivered = 1;
    rig->is_empty = true;
    mark(rig, "c");
    pass(rig, 0);
    assert_int_equal(rig->reads, 1);
    assert_int_equal(told(rig), 0);
}

/* The table is bounded; marks beyond are dropped. */
static void the_table_is_bounded(void **state)
{
    struct rig *rig = *state;
    char conv[16];
    for (uint32_t i = 0; i < TALLY_MAX + 5; i++) {
        snprintf(conv, sizeof(conv), "c%u", i);
        soft_follow(&rig->soft, &rig->soft.watchers.convs, 5, conv, "g1");
        mark(rig, conv);
    }
    assert_int_equal(rig->tally.convs.count, TALLY_MAX);
}

static bool keeps_none(const void *context, uint32_t shard)
{
    (void)context;
    (void)shard;
    return false;
}

/* Where leadership is lost nothing more is said. */
static void a_shard_that_is_lost_is_forgotten(void **state)
{
    struct rig *rig = *state;
    mark(rig, "c");
    tally_keep(&rig->tally, keeps_none, NULL);
    pass(rig, 1000);
    assert_int_equal(rig->reads, 0);
    assert_true(tally_due_us(&rig->tally) == ENV_NEVER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_first_is_told_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(one_a_second_and_the_last_word, setup, teardown),
        cmocka_unit_test_setup_teardown(nobody_watches_nothing_is_read, setup, teardown),
        cmocka_unit_test_setup_teardown(without_a_message_nothing_is_told, setup, teardown),
        cmocka_unit_test_setup_teardown(the_table_is_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(a_shard_that_is_lost_is_forgotten, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
