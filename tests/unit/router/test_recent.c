/* recent: receipts that a gateway may have missed are told again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs those above. */
#include <cmocka.h>

#include <stdio.h>

#include "mesh/base/mem.h"
#include "nodes/router/recent.h"
#include "tests/support/soft_rig.h"

#define SHARD 5u

struct rig {
    struct soft_rig soft;
    struct tally tally;
    struct recent recent;
};

static bool read_state(void *context, uint32_t shard, struct slice conv,
                       struct msg_event_tally *ret)
{
    (void)context;
    (void)shard;
    *ret = (struct msg_event_tally){.conv = conv, .seq = 9, .delivered = 3, .total = 40};
    return true;
}

static int setup(void **state)
{
    struct rig *rig = mem_new(struct rig);
    soft_rig_init(&rig->soft);
    tally_init(&rig->tally, &rig->soft.watchers, read_state, rig);
    recent_init(&rig->recent);
    *state = rig;
    return 0;
}

static int teardown(void **state)
{
    struct rig *rig = *state;
    recent_fini(&rig->recent);
    tally_fini(&rig->tally);
    soft_rig_fini(&rig->soft);
    mem_free(rig);
    return 0;
}

static void note(struct rig *rig, const char *conv, const char *user, uint64_t delivered,
                 uint64_t read, uint64_t members)
{
    const struct msg_event_receipt receipt = {.conv = slice_string(conv),
                                              .user = slice_string(user),
                                              .delivered = delivered,
                                              .read = read,
                                              .members = members};
    recent_note(&rig->recent, &receipt, rig->soft.now_us);
}

/* How many events `gateway` is told when it watches this again. */
static uint32_t tell(struct rig *rig, const char *conv, const char *gateway)
{
    soft_hear_anew(&rig->soft);
    soft_follow(&rig->soft, &rig->soft.watchers.convs, SHARD, conv, gateway);
    recent_tell(&rig->recent, SHARD, slice_string(conv), rig->soft.now_us, &rig->soft.watchers,
                soft_gateway(&rig->soft, gateway), &rig->tally);
    tally_turn(&rig->tally, rig->soft.now_us);
    soft_flush(&rig->soft);
    return rig->soft.heard_count;
}

/* One event a user with the last of each of his cursors, and only to who asks. */
static void cursors_are_told_again(void **state)
{
    struct rig *rig = *state;
    soft_follow(&rig->soft, &rig->soft.watchers.convs, SHARD, "c", "g2");
    note(rig, "c", "alice", 4, 2, 3);
    note(rig, "d", "alice", 9, 9, 3);
    note(rig, "c", "bob", 5, 0, 3);
    note(rig, "c", "alice", 6, 0, 3);
    assert_int_equal(tell(rig, "c", "g1"), 2);
    const struct soft_heard *heard = rig->soft.heard;
    for (uint32_t i = 0; i < 2; i++) {
        assert_string_equal(heard[i].gateway, "g1");
        assert_string_equal(heard[i].conv, "c");
    }
    assert_string_equal(heard[0].user, "alice");
    assert_int_equal(heard[0].delivered, 6);
    assert_int_equal(heard[0].read, 2);
    assert_string_equal(heard[1].user, "bob");
    assert_int_equal(heard[1].delivered, 5);
    assert_int_equal(heard[1].read, 0);
    assert_int_equal(tell(rig, "e", "g1"), 0);
}

static void a_large_group_is_told_its_tally(void **state)
{
    struct rig *rig = *state;
    note(rig, "c", "alice", 4, 2, LIMIT_RECEIPTS_MEMBERS + 1);
    assert_int_equal(tell(rig, "c", "g1"), 1);
    assert_int_equal(rig->soft.heard[0].number, MSG_EVENT_TALLY);
}

static void what_is_old_is_forgotten(void **state)
{
    struct rig *rig = *state;
    note(rig, "c", "alice", 4, 2, 3);
    soft_pass(&rig->soft, 9000);
    assert_int_equal(tell(rig, "c", "g1"), 1);
    soft_pass(&rig->soft, 2000);
    assert_int_equal(tell(rig, "c", "g1"), 0);
    note(rig, "d", "alice", 4, 2, 3);
    assert_int_equal(rig->recent.convs.count, 1);
}

/* However many move, and however many come and go. */
static void memory_is_bounded(void **state)
{
    struct rig *rig = *state;
    char name[32];
    for (uint32_t i = 0; i < RECENT_MAX + 10; i++) {
        snprintf(name, sizeof(name), "c%u", i);
        note(rig, name, "alice", 1, 1, 3);
    }
    assert_int_equal(rig->recent.convs.count, RECENT_MAX);
    assert_int_equal(tell(rig, "c9", "g1"), 0);
    assert_int_equal(tell(rig, name, "g1"), 1);
    for (uint32_t i = 0; i < 100; i++) {
        snprintf(name, sizeof(name), "u%u", i);
        note(rig, "c", name, 1, 1, 3);
    }
    assert_int_equal(tell(rig, "c", "g1"), 2 * LIMIT_RECEIPTS_MEMBERS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(cursors_are_told_again),
        TEST(a_large_group_is_told_its_tally),
        TEST(what_is_old_is_forgotten),
        TEST(memory_is_bounded),
#undef TEST
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
