/* buf: growth, references, decimal numbers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mesh/base/buf.h"

/* Appending one by one, past every doubling. */
static void a_buf_grows_and_keeps_its_bytes(void **state)
{
    (void)state;
    struct buf *b = buf_new(0);
    for (unsigned i = 0; i < 1000; i++)
        buf_append_byte(b, (uint8_t)i);
    assert_int_equal(b->size, 1000);
    for (unsigned i = 0; i < 1000; i++)
        assert_int_equal(b->bytes[i], (uint8_t)i);
    buf_clear(b);
    assert_int_equal(b->size, 0);
    assert_true(b->capacity >= 1000);
    buf_unref(&b);
}

/* What reserve returned holds what was asked, and the size is the caller's to move. */
static void a_reservation_does_not_change_the_size(void **state)
{
    (void)state;
    struct buf *b = buf_new(8);
    uint8_t *to = buf_reserve(b, 5000);
    memset(to, 'x', 5000);
    assert_int_equal(b->size, 0);
    b->size = 5000;
    assert_int_equal(buf_slice(b).size, 5000);
    buf_unref(&b);
}

/* The last reference frees; each is taken and nulled. */
static void a_buf_lives_as_long_as_its_last_reference(void **state)
{
    (void)state;
    struct buf *first = buf_new(4);
    buf_append_string(first, "abc");
    struct buf *second = buf_ref(first);
    assert_ptr_equal(first, second);
    buf_unref(&first);
    assert_null(first);
    assert_true(slice_equals(buf_slice(second), "abc"));
    buf_unref(&second);
    assert_null(second);
    buf_unref(&second); /* NULL is fine. */
}

/* From 0 to the largest. */
static void numbers_are_appended_in_decimal(void **state)
{
    (void)state;
    struct buf *b = buf_new(0);
    const uint64_t numbers[] = {0, 9, 10, 1234567890, UINT64_MAX};
    for (size_t i = 0; i < 5; i++) {
        buf_append_u64_decimal(b, numbers[i]);
        buf_append_byte(b, ' ');
    }
    assert_true(slice_equals(buf_slice(b), "0 9 10 1234567890 18446744073709551615 "));
    buf_unref(&b);
}

/* Formats of any length, beyond the line that is tried first. */
static void a_format_may_be_long(void **state)
{
    (void)state;
    struct buf *b = buf_new(0);
    buf_append_format(b, "%d-%s", 7, "x");
    buf_append_format(b, "%600d", 1);
    assert_int_equal(b->size, 603);
    assert_memory_equal(b->bytes, "7-x ", 4);
    assert_int_equal(b->bytes[602], '1');
    buf_append(b, NULL, 0);
    buf_append_slice(b, (struct slice){0});
    assert_int_equal(b->size, 603);
    buf_unref(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_buf_grows_and_keeps_its_bytes),
        cmocka_unit_test(a_reservation_does_not_change_the_size),
        cmocka_unit_test(a_buf_lives_as_long_as_its_last_reference),
        cmocka_unit_test(numbers_are_appended_in_decimal),
        cmocka_unit_test(a_format_may_be_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
