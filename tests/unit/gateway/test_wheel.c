#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "gateway/wheel.h"
#include "mesh/base/env.h"
#include "mesh/base/mem.h"

/* Nothing set, nothing due. */
static void has_no_due_time_when_empty(void **state)
{
    (void)state;
    struct wheel *wheel = mem_new(struct wheel);
    wheel_init(wheel, 5000000);
    assert_true(wheel_due_us(wheel) == ENV_NEVER);
    assert_null(wheel_next(wheel, 9000000));
    mem_free(wheel);
}

/* Whatever the distance, a timer fires within one tick after its time and never before. */
static void fires_in_time(void **state)
{
    (void)state;
    static const uint64_t distances[] = {0, 1, 9999, 10000, 640000, 20470000, 20480000, 61234567};
    for (size_t i = 0; i < sizeof(distances) / sizeof(distances[0]); i++) {
        struct wheel *wheel = mem_new(struct wheel);
        struct wheel_timer timer;
        uint64_t now_us = 1234567;
        uint64_t due_us = now_us + distances[i];
        wheel_init(wheel, now_us);
        wheel_timer_init(&timer);
        wheel_set(wheel, &timer, due_us);
        while (wheel_next(wheel, now_us) == NULL) {
            assert_true(wheel_is_set(&timer));
            assert_true(wheel_due_us(wheel) <= due_us + WHEEL_TICK_US);
            assert_true(now_us < due_us + WHEEL_TICK_US);
            now_us += 1000;
        }
        assert_true(now_us >= due_us);
        assert_false(wheel_is_set(&timer));
        mem_free(wheel);
    }
}

/* Sleeping until wheel_due_us() each time misses nothing, with many timers, cancelled and set anew.
 */
static void never_sleeps_too_long(void **state)
{
    (void)state;
    struct wheel *wheel = mem_new(struct wheel);
    struct wheel_timer timers[200];
    uint64_t due_us[200];
    uint64_t now_us = 777777;
    wheel_init(wheel, now_us);
    srand(1);
    for (int i = 0; i < 200; i++) {
        wheel_timer_init(&timers[i]);
        wheel_set(wheel, &timers[i], now_us + 5);
        due_us[i] = now_us + (uint64_t)(rand() % 50000000);
        wheel_set(wheel, &timers[i], due_us[i]);
        if (i % 10 == 0)
            wheel_cancel(&timers[i]);
    }
    int fired = 0;
    while ((now_us = wheel_due_us(wheel)) != ENV_NEVER) {
        struct wheel_timer *timer;
        while ((timer = wheel_next(wheel, now_us)) != NULL) {
            uint64_t due = due_us[timer - timers];
            assert_true(now_us >= due && now_us < due + WHEEL_TICK_US);
            fired++;
        }
    }
    assert_int_equal(fired, 180);
    mem_free(wheel);
}

/* After a pause of hours everything fires at once. */
static void catches_up_after_a_long_pause(void **state)
{
    (void)state;
    struct wheel *wheel = mem_new(struct wheel);
    struct wheel_timer timers[3];
    wheel_init(wheel, 0);
    for (uint64_t i = 0; i < 3; i++) {
        wheel_timer_init(&timers[i]);
        wheel_set(wheel, &timers[i], i * 19000000);
    }
    for (int i = 0; i < 3; i++)
        assert_non_null(wheel_next(wheel, UINT64_C(36000000000)));
    assert_null(wheel_next(wheel, UINT64_C(36000000000)));
    mem_free(wheel);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(has_no_due_time_when_empty),
        cmocka_unit_test(fires_in_time),
        cmocka_unit_test(never_sleeps_too_long),
        cmocka_unit_test(catches_up_after_a_long_pause),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
