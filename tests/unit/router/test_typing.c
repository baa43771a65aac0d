/* typing: who is told that somebody types, how often, and until when. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs those above. */
#include <cmocka.h>

#include <stdio.h>

#include "mesh/base/mem.h"
#include "nodes/router/typing.h"
#include "tests/support/soft_rig.h"

struct rig {
    struct soft_rig soft;
    struct typing typing;
};

static int setup(void **state)
{
    struct rig *rig = mem_new(struct rig);
    soft_rig_init(&rig->soft);
    typing_init(&rig->typing, &rig->soft.watchers);
    soft_follow(&rig->soft, &rig->soft.watchers.convs, 3, "c", "g1");
    *state = rig;
    return 0;
}

static int teardown(void **state)
{
    struct rig *rig = *state;
    typing_fini(&rig->typing);
    soft_rig_fini(&rig->soft);
    mem_free(rig);
    return 0;
}

static void type(struct rig *rig, const char *conv, const char *user, bool on)
{
    typing_set(&rig->typing, 3, slice_string(conv), slice_string(user), on, rig->soft.now_us);
}

/* Time passes in turns of 100 ms. */
static void pass(struct rig *rig, uint64_t ms)
{
    for (uint64_t at = 0; at < ms; at += 100) {
        soft_pass(&rig->soft, 100);
        typing_turn(&rig->typing, rig->soft.now_us);
    }
}

/* Exactly these were told since the last time: "+alice -bob". */
static void assert_told(struct rig *rig, const char *expected)
{
    char text[256] = "";
    soft_hear_anew(&rig->soft);
    for (uint32_t i = 0; i < rig->soft.heard_count; i++) {
        const struct soft_heard *heard = &rig->soft.heard[i];
        size_t size = strlen(text);
        assert_int_equal(heard->number, MSG_EVENT_TYPING);
        assert_string_equal(heard->conv, "c");
        snprintf(text + size, sizeof(text) - size, "%s%s%s", i > 0 ? " " : "",
                 heard->on != 0 ? "+" : "-", heard->user);
    }
    assert_string_equal(text, expected);
}

static void assert_listed(struct rig *rig, const char *conv, const char *expected)
{
    char text[256] = "";
    struct buf *into = buf_new(64);
    typing_list(&rig->typing, slice_string(conv), into);
    struct record_reader r = record_reader_of(buf_slice(into));
    struct slice name;
    while (!record_reader_at_end(&r) && record_get_slice(&r, &name) == RC_OK) {
        size_t size = strlen(text);
        snprintf(text + size, sizeof(text) - size, "%s%.*s", size > 0 ? " " : "", SLICE_ARGS(name));
    }
    assert_string_equal(text, expected);
    buf_unref(&into);
}

/* Who begins is told of at once, to those who watch the conversation and to nobody else. */
static void who_begins_is_told_of_at_once(void **state)
{
    struct rig *rig = *state;
    soft_follow(&rig->soft, &rig->soft.watchers.convs, 3, "d", "g2");
    type(rig, "c", "alice", true);
    soft_hear_anew(&rig->soft);
    assert_int_equal(rig->soft.heard_count, 1);
    assert_string_equal(rig->soft.heard[0].gateway, "g1");
    assert_string_equal(rig->soft.heard[0].user, "alice");
    assert_int_equal(rig->soft.heard[0].on, 1);
    assert_listed(rig, "c", "alice");
    assert_listed(rig, "d", "");
}

/* "On" again within the gap is not told again, but lets it last. */
static void a_repetition_within_the_gap_only_extends_it(void **state)
{
    struct rig *rig = *state;
    type(rig, "c", "alice", true);
    assert_told(rig, "+alice");
    pass(rig, 1900);
    type(rig, "c", "alice", true);
    pass(rig, 4800);
    assert_told(rig, "");
    assert_listed(rig, "c", "alice");
    pass(rig, 200);
    assert_told(rig, "-alice");
    assert_listed(rig, "c", "");
}

/* "On" again after the gap is told again: clients let it expire by themselves. */
static void a_repetition_after_the_gap_is_told(void **state)
{
    struct rig *rig = *state;
    type(rig, "c", "alice", true);
    pass(rig, 2000);
    type(rig, "c", "alice", true);
    assert_told(rig, "+alice +alice");
}

/* Silence is told as an end once. */
static void silence_ends_it(void **state)
{
    struct rig *rig = *state;
    type(rig, "c", "alice", true);
    pass(rig, 4900);
    assert_told(rig, "+alice");
    pass(rig, 100);
    assert_told(rig, "-alice");
    pass(rig, 10000);
    assert_told(rig, "");
    assert_true(typing_due_us(&rig->typing) == ENV_NEVER);
    assert_int_equal(rig->typing.users.count, 0);
    assert_int_equal(rig->typing.convs.count, 0);
}

/* Whatever comes in, watchers hear one event within the gap, and the last state in the end. */
static void toggling_is_told_once_a_gap_and_ends_as_it_is(void **state)
{
    struct rig *rig = *state;
    for (uint32_t i = 0; i < 19; i++) {
        type(rig, "c", "alice", i % 2 == 0);
        pass(rig, 100);
    }
    assert_told(rig, "+alice");
    type(rig, "c", "alice", false);
    assert_listed(rig, "c", "");
    pass(rig, 100);
    assert_told(rig, "-alice");
    type(rig, "c", "alice", true);
    pass(rig, 1900);
    assert_told(rig, "");
    pass(rig, 100);
    assert_told(rig, "+alice");
}

/* An end of what never began is nothing. */
static void an_end_without_beginning_is_not_told(void **state)
{
    struct rig *rig = *state;
    type(rig, "c", "alice", false);
    pass(rig, 100);
    assert_told(rig, "");
}

/* Users and conversations do not mix: "ab" in "c" is not "b" in "ca". */
static void every_user_and_conversation_is_its_own(void **state)
{
    struct rig *rig = *state;
    type(rig, "c", "ab", true);
    type(rig, "ca", "b", true);
    type(rig, "c", "bob", true);
    assert_told(rig, "+ab +bob");
    assert_listed(rig, "c", "ab bob");
    assert_listed(rig, "ca", "b");
    pass(rig, 2500);
    type(rig, "c", "ab", false);
    assert_listed(rig, "c", "bob");
    assert_listed(rig, "ca", "b");
}

/* A conversation shows so many at most; who stops makes room. */
static void a_conversation_is_bounded(void **state)
{
    struct rig *rig = *state;
    char name[16];
    for (uint32_t i = 0; i < TYPING_CONV_MAX + 5; i++) {
        snprintf(name, sizeof(name), "u%02u", i);
        type(rig, "c", name, true);
    }
    soft_hear_anew(&rig->soft);
    assert_int_equal(rig->soft.heard_count, TYPING_CONV_MAX);
    pass(rig, 2500);
    type(rig, "c", "u00", false);
    pass(rig, 2100);
    soft_hear_anew(&rig->soft);
    type(rig, "c", "late", true);
    assert_told(rig, "+late");
}

/* The table is bounded as a whole. */
static void the_table_is_bounded(void **state)
{
    struct rig *rig = *state;
    char conv[16];
    for (uint32_t i = 0; i < TYPING_MAX + 5; i++) {
        snprintf(conv, sizeof(conv), "c%u", i);
        type(rig, conv, "alice", true);
    }
    assert_int_equal(rig->typing.users.count, TYPING_MAX);
}

static bool keeps_none(const void *context, uint32_t shard)
{
    assert_int_equal(shard, 3);
    (void)context;
    return false;
}

/* Where leadership is lost nothing more is said. */
static void a_shard_that_is_lost_is_forgotten_silently(void **state)
{
    struct rig *rig = *state;
    type(rig, "c", "alice", true);
    type(rig, "c", "bob", true);
    type(rig, "c", "bob", false);
    assert_told(rig, "+alice +bob");
    typing_keep(&rig->typing, keeps_none, NULL);
    pass(rig, 10000);
    assert_told(rig, "");
    assert_int_equal(rig->typing.users.count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(who_begins_is_told_of_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(a_repetition_within_the_gap_only_extends_it, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_repetition_after_the_gap_is_told, setup, teardown),
        cmocka_unit_test_setup_teardown(silence_ends_it, setup, teardown),
        cmocka_unit_test_setup_teardown(toggling_is_told_once_a_gap_and_ends_as_it_is, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(an_end_without_beginning_is_not_told, setup, teardown),
        cmocka_unit_test_setup_teardown(every_user_and_conversation_is_its_own, setup, teardown),
        cmocka_unit_test_setup_teardown(a_conversation_is_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(the_table_is_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(a_shard_that_is_lost_is_forgotten_silently, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
