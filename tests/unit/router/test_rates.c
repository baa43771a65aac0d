/* How much is sent to whom: a conversation's share of a second, and hot shards. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "nodes/router/rates.h"

#define SHARDS 4u

static bool all_led(const void *context, uint32_t shard)
{
    (void)context;
    (void)shard;
    return true;
}

static bool first_led(const void *context, uint32_t shard)
{
    (void)context;
    return shard == 0;
}

/* A conversation has so many messages a second, each its own. */
static void test_a_conversation_has_its_share_of_a_second(void **state)
{
    (void)state;
    struct rates rates;
    rates_init(&rates, SHARDS, 3, 1000);
    for (int i = 0; i < 3; i++)
        assert_int_equal(rates_take(&rates, 1100, slice_string("busy")), 0);
    assert_int_equal(rates_take(&rates, 1100, slice_string("busy")), 900);
    assert_int_equal(rates_take(&rates, 1999, slice_string("busy")), 1);
    assert_int_equal(rates_take(&rates, 1999, slice_string("calm")), 0);
    assert_int_equal(rates_take(&rates, 2000, slice_string("busy")), 0);
    rates_fini(&rates);
}

/* Zero means that nothing is counted. */
static void test_without_a_limit_nothing_is_refused(void **state)
{
    (void)state;
    struct rates rates;
    rates_init(&rates, SHARDS, 0, 0);
    for (int i = 0; i < 10000; i++)
        assert_int_equal(rates_take(&rates, 0, slice_string("busy")), 0);
    assert_int_equal(rates.convs.count, 0);
    rates_fini(&rates);
}

/* Names beyond the bound are let through, and memory stays bounded. */
static void test_more_conversations_than_are_counted_are_let_through(void **state)
{
    (void)state;
    struct rates rates;
    rates_init(&rates, SHARDS, 1, 0);
    for (uint32_t i = 0; i < RATES_CONVS_MAX + 100; i++)
        assert_int_equal(rates_take(&rates, 0, slice_of(&i, sizeof(i))), 0);
    assert_int_equal(rates.convs.count, RATES_CONVS_MAX);
    rates_fini(&rates);
}

static void sample(struct rates *rates, uint64_t *now_ms, const uint32_t rate[SHARDS],
                   bool (*is_led)(const void *, uint32_t))
{
    for (uint32_t i = 0; i < SHARDS; i++)
        for (uint32_t n = 0; n < rate[i] * RATES_SAMPLE_MS / 1000; n++)
            rates_count(rates, i);
    *now_ms += RATES_SAMPLE_MS;
    rates_turn(rates, *now_ms, is_led, NULL);
}

/* Above twice the average for all samples in a row, and cool as soon as it is not. */
static void test_a_shard_is_hot_after_five_minutes_and_cool_at_once(void **state)
{
    (void)state;
    struct rates rates;
    uint64_t now_ms = 0;
    rates_init(&rates, SHARDS, 0, now_ms);
    const uint32_t hot[SHARDS] = {100, 10, 10, 10};
    const uint32_t even[SHARDS] = {60, 50, 50, 50};
    for (uint32_t i = 0; i < RATES_HOT_SAMPLES; i++) {
        assert_false(rates.shards[0].is_hot);
        sample(&rates, &now_ms, hot, all_led);
    }
    assert_true(rates.shards[0].is_hot);
    assert_false(rates.shards[1].is_hot);
    assert_int_equal(rates.shards[0].rate, 100);
    sample(&rates, &now_ms, even, all_led);
    assert_false(rates.shards[0].is_hot);
    rates_fini(&rates);
}

/* One quiet sample begins the five minutes anew; a shard alone is its own average. */
static void test_a_pause_begins_anew_and_an_only_shard_is_never_hot(void **state)
{
    (void)state;
    struct rates rates;
    uint64_t now_ms = 0;
    rates_init(&rates, SHARDS, 0, now_ms);
    const uint32_t hot[SHARDS] = {100, 10, 10, 10};
    const uint32_t quiet[SHARDS] = {0};
    for (uint32_t i = 1; i < RATES_HOT_SAMPLES; i++)
        sample(&rates, &now_ms, hot, all_led);
    sample(&rates, &now_ms, quiet, all_led);
    for (uint32_t i = 1; i < RATES_HOT_SAMPLES; i++)
        sample(&rates, &now_ms, hot, all_led);
    assert_false(rates.shards[0].is_hot);
    for (uint32_t i = 0; i < 2 * RATES_HOT_SAMPLES; i++)
        sample(&rates, &now_ms, hot, first_led);
    assert_false(rates.shards[0].is_hot);
    rates_fini(&rates);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_conversation_has_its_share_of_a_second),
        cmocka_unit_test(test_without_a_limit_nothing_is_refused),
        cmocka_unit_test(test_more_conversations_than_are_counted_are_let_through),
        cmocka_unit_test(test_a_shard_is_hot_after_five_minutes_and_cool_at_once),
        cmocka_unit_test(test_a_pause_begins_anew_and_an_only_shard_is_never_hot),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
