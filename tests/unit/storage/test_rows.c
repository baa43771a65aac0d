#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "mesh/base/crypto.h"
#include "storage/rows.h"

static struct slice key_of(const char *text)
{
    return slice_string(text);
}

/* A row comes back as it was put. */
static void a_row_is_read_back(void **state)
{
    (void)state;
    struct buf *value = buf_new(0);
    struct row_conv row = {
        .kind = 2, .title = slice_string("t"), .creator = slice_string("alice"), .created = 77};
    struct row_conv read;
    rows_encode(value, key_of("k"), &row_conv_desc, &row);
    assert_int_equal(rows_decode(key_of("k"), buf_slice(value), &row_conv_desc, &read), RC_OK);
    assert_int_equal(read.kind, 2);
    assert_int_equal(read.created, 77);
    assert_true(slice_equals(read.title, "t"));
    assert_null(read.meta.base);
    buf_unref(&value);
}

/* Whichever bit flips, the row is refused. */
static void a_flipped_bit_is_corrupt(void **state)
{
    (void)state;
    struct buf *value = buf_new(0);
    struct row_head row = {.seq = 5, .messages = 3, .last_ts = 1700000000000};
    struct row_head read;
    rows_encode(value, key_of("k"), &row_head_desc, &row);
    for (size_t bit = 0; bit < value->size * 8; bit++) {
        value->bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(rows_decode(key_of("k"), buf_slice(value), &row_head_desc, &read),
                         RC_CORRUPT);
        value->bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    for (uint32_t size = 0; size < value->size; size++)
        assert_int_equal(
            rows_decode(key_of("k"), slice_of(value->bytes, size), &row_head_desc, &read),
            RC_CORRUPT);
    buf_unref(&value);
}

/* A sound row under another key, or of another type, is not believed. */
static void a_row_in_the_wrong_place_is_corrupt(void **state)
{
    (void)state;
    struct buf *value = buf_new(0);
    struct row_owed row = {.first = 1, .last = 2};
    struct row_index index;
    struct row_owed read;
    rows_encode(value, key_of("k"), &row_owed_desc, &row);
    assert_int_equal(rows_decode(key_of("l"), buf_slice(value), &row_owed_desc, &read), RC_CORRUPT);
    assert_int_equal(rows_decode(key_of("k"), buf_slice(value), &row_index_desc, &index),
                     RC_CORRUPT);
    buf_unref(&value);
}

/* An entry's record is handed out as it was encoded, with the count that was put before it. */
static void an_entry_keeps_its_bytes_and_its_count(void **state)
{
    (void)state;
    struct buf *value = buf_new(0);
    struct buf *plain = buf_new(0);
    struct row_dedup record = {.seq = 9, .ts = 10}; /* Any record will do. */
    struct slice found;
    uint64_t messages;
    record_encode(plain, &row_dedup_desc, &record);
    struct slice encoded = rows_encode_entry(value, key_of("k"), 12345, &row_dedup_desc, &record);
    assert_true(slice_equal(encoded, buf_slice(plain)));
    assert_int_equal(rows_decode_entry(key_of("k"), buf_slice(value), &messages, &found), RC_OK);
    assert_int_equal(messages, 12345);
    assert_true(slice_equal(found, buf_slice(plain)));
    value->bytes[value->size - 1] ^= 1;
    assert_int_equal(rows_decode_entry(key_of("k"), buf_slice(value), &messages, &found),
                     RC_CORRUPT);
    buf_unref(&plain);
    buf_unref(&value);
}

int main(void)
{
    crypto_start();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_row_is_read_back),
        cmocka_unit_test(a_flipped_bit_is_corrupt),
        cmocka_unit_test(a_row_in_the_wrong_place_is_corrupt),
        cmocka_unit_test(an_entry_keeps_its_bytes_and_its_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
