#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "gateway/fence.h"
#include "mesh/base/crypto.h"

static enum rc check(struct list *fences, const char *conv, const char *cid, uint64_t now_us)
{
    return fence_check(fences, slice_string(conv), slice_string(cid), now_us);
}

/* The sends of a test are named in the order of their ids. */
static void put_up(struct list *fences, const char *conv, const char *cid)
{
    fence_put_up(fences, slice_string(conv), slice_string(cid), (uint64_t)cid[0], RC_RATE_LIMITED,
                 100, 0);
}

/* What comes behind a refused send to the same conversation is refused until that one comes. */
static void the_refused_send_comes_first(void **state)
{
    (void)state;
    struct list fences;
    list_init(&fences);
    assert_int_equal(check(&fences, "c", "a", 0), RC_OK);
    put_up(&fences, "c", "a");
    assert_int_equal(check(&fences, "c", "b", 1), RC_RATE_LIMITED);
    put_up(&fences, "c", "b"); /* Refused itself: the fence is still that of "a". */
    assert_int_equal(check(&fences, "c", "b", 2), RC_RATE_LIMITED);
    assert_int_equal(check(&fences, "c", "a", 3), RC_OK);
    assert_int_equal(check(&fences, "c", "b", 4), RC_OK);
    fence_fini(&fences);
}

/* Other conversations are not held up. */
static void another_conversation_passes(void **state)
{
    (void)state;
    struct list fences;
    list_init(&fences);
    put_up(&fences, "c", "a");
    assert_int_equal(check(&fences, "d", "b", 1), RC_OK);
    fence_fini(&fences);
}

/* A send that never comes again holds up nobody for long. */
static void a_fence_comes_down_by_itself(void **state)
{
    (void)state;
    struct list fences;
    list_init(&fences);
    put_up(&fences, "c", "a");
    assert_int_equal(check(&fences, "c", "b", 100000 + FENCE_US - 1), RC_RATE_LIMITED);
    assert_int_equal(check(&fences, "c", "b", 100000 + FENCE_US), RC_OK);
    assert_true(list_is_empty(&fences));
}

/* There are at most FENCE_COUNT_MAX; the oldest gives way. */
static void the_oldest_fence_gives_way(void **state)
{
    (void)state;
    struct list fences;
    list_init(&fences);
    char conv[2] = "A";
    for (uint32_t i = 0; i <= FENCE_COUNT_MAX; i++, conv[0]++)
        put_up(&fences, conv, "a");
    assert_int_equal(check(&fences, "A", "b", 1), RC_OK);
    assert_int_equal(check(&fences, "B", "b", 1), RC_RATE_LIMITED);
    fence_fini(&fences);
}

/* Told late of an older refusal, it is that one which must come first. */
static void the_older_of_two_refusals_counts(void **state)
{
    (void)state;
    struct list fences;
    list_init(&fences);
    put_up(&fences, "c", "b");
    assert_int_equal(fence_look(&fences, slice_string("c"), 'a'), RC_OK);
    put_up(&fences, "c", "a");
    assert_int_equal(fence_look(&fences, slice_string("c"), 'b'), RC_RATE_LIMITED);
    assert_int_equal(fence_look(&fences, slice_string("d"), 'b'), RC_OK);
    assert_int_equal(check(&fences, "c", "b", 1), RC_RATE_LIMITED);
    assert_int_equal(check(&fences, "c", "a", 2), RC_OK);
    fence_fini(&fences);
}

int main(void)
{
    crypto_start();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_refused_send_comes_first),
        cmocka_unit_test(another_conversation_passes),
        cmocka_unit_test(a_fence_comes_down_by_itself),
        cmocka_unit_test(the_oldest_fence_gives_way),
        cmocka_unit_test(the_older_of_two_refusals_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
