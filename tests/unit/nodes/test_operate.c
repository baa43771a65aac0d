/* The line that tells how far a drain is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs those above. */
#include <cmocka.h>

#include "nodes/operate.h"

/* What is left takes as long as what moved did: an estimate once something has moved. */
static void progress_is_told_with_an_estimate(void **state)
{
    (void)state;
    char text[160];
    operate_describe(text, sizeof(text), "r2", 64, 41, 6700000);
    assert_string_equal(text, "r2 holds 41 of 64 replicas; 23 moved, about 12 s left");
}

/* Before anything has moved there is nothing to estimate from. */
static void nothing_is_estimated_before_something_moved(void **state)
{
    (void)state;
    char text[160];
    operate_describe(text, sizeof(text), "r2", 64, 64, 6700000);
    assert_string_equal(text, "r2 holds 64 replicas; none has moved yet");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(progress_is_told_with_an_estimate),
        cmocka_unit_test(nothing_is_estimated_before_something_moved),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
