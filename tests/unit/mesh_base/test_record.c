/* record: a round trip, older and newer peers, and everything that is not a record. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mesh/base/record.h"

#define FIELDS_OLD(F, T)                                                                           \
    F(T, u64, number, "a number")                                                                  \
    F(T, str, name, "a text")

#define FIELDS_NEW(F, T)                                                                           \
    FIELDS_OLD(F, T)                                                                               \
    F(T, bin, bytes, "bytes")                                                                      \
    F(T, u64, more, "another number")

struct old {
    FIELDS_OLD(RECORD_MEMBER, old)
};
struct new {FIELDS_NEW(RECORD_MEMBER, new)};

static const struct record_field old_fields[] = {FIELDS_OLD(RECORD_FIELD, old)};
static const struct record_field new_fields[] = {FIELDS_NEW(RECORD_FIELD, new)};
static const struct record_desc old_desc = {"old", 300, sizeof(struct old), 2, old_fields};
static const struct record_desc new_desc = {"new", 300, sizeof(struct new), 4, new_fields};
static const struct record_desc other_desc = {"other", 301, sizeof(struct new), 4, new_fields};

static int setup(void **state)
{
    *state = buf_new(0);
    return 0;
}

static int teardown(void **state)
{
    struct buf *b = *state;
    buf_unref(&b);
    return 0;
}

static enum rc decode(struct slice bytes, const struct record_desc *desc, void *record)
{
    struct record_reader r = record_reader_of(bytes);
    enum rc rc = record_decode(&r, desc, record);
    if (rc != RC_OK)
        assert_ptr_equal(r.at, bytes.base); /* The cursor stands where it stood. */
    return rc;
}

/* Every width of number, every length of slice's head, absent and empty apart. */
static void what_is_encoded_decodes_the_same(void **state)
{
    struct buf *b = *state;
    static char big[70000];
    const uint64_t numbers[] = {
        0, 1, 127, 128, 255, 256, 65535, 65536, UINT32_MAX, UINT64_C(1) << 32, UINT64_MAX};
    const uint32_t sizes[] = {0, 1, 31, 32, 255, 256, 65535, 65536, 70000};
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        for (size_t k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++) {
            struct new in = {
                .number = numbers[i], .name = {big, sizes[k]}, .bytes = {big, sizes[k]}};
            struct new out;
            buf_clear(b);
            record_encode(b, &new_desc, &in);
            assert_int_equal(decode(buf_slice(b), &new_desc, &out), RC_OK);
            assert_true(out.number == in.number && out.more == 0);
            assert_non_null(out.name.base);
            assert_true(slice_equal(out.name, in.name) && slice_equal(out.bytes, in.bytes));
        }
    struct new absent = {0};
    struct new out;
    buf_clear(b);
    record_encode(b, &new_desc, &absent);
    assert_int_equal(decode(buf_slice(b), &new_desc, &out), RC_OK);
    assert_null(out.name.base);
    assert_null(out.bytes.base);
}

/* An older peer says less: the rest is zero. A newer one says more: it is skipped. */
static void fields_may_be_appended(void **state)
{
    struct buf *b = *state;
    struct old old = {7, slice_string("x")};
    struct new new = {8, slice_string("y"), slice_string("z"), 9};
    record_encode(b, &old_desc, &old);
    struct new as_new;
    assert_int_equal(decode(buf_slice(b), &new_desc, &as_new), RC_OK);
    assert_int_equal(as_new.number, 7);
    assert_int_equal(as_new.more, 0);
    assert_null(as_new.bytes.base);
    buf_clear(b);
    record_encode(b, &new_desc, &new);
    struct old as_old;
    assert_int_equal(decode(buf_slice(b), &old_desc, &as_old), RC_OK);
    assert_int_equal(as_old.number, 8);
    assert_true(slice_equals(as_old.name, "y"));
}

/* Records one after another, told apart by their number before they are read. */
static void records_follow_one_another(void **state)
{
    struct buf *b = *state;
    struct new record = {1, slice_string("a"), slice_string("b"), 2};
    record_encode(b, &new_desc, &record);
    record_encode(b, &other_desc, &record);
    record_encode(b, &new_desc, &record);
    struct record_reader r = record_reader_of(buf_slice(b));
    uint32_t number = 0;
    struct new out;
    assert_int_equal(record_peek(&r, &number), RC_OK);
    assert_int_equal(number, 300);
    assert_int_equal(record_decode(&r, &other_desc, &out), RC_CORRUPT); /* Another number. */
    assert_int_equal(record_decode(&r, &new_desc, &out), RC_OK);
    assert_int_equal(record_peek(&r, &number), RC_OK);
    assert_int_equal(number, 301);
    assert_int_equal(record_skip(&r), RC_OK);
    assert_int_equal(record_decode(&r, &new_desc, &out), RC_OK);
    assert_true(record_reader_at_end(&r));
    assert_int_equal(record_peek(&r, &number), RC_CORRUPT);
    assert_int_equal(record_skip(&r), RC_CORRUPT);
    assert_int_equal(record_decode(&r, &new_desc, &out), RC_CORRUPT);
}

/* Cut anywhere, a record is none. */
static void every_prefix_is_corrupt(void **state)
{
    struct buf *b = *state;
    struct new record = {70000, slice_string("name"), slice_string("bytes"), 1u << 20};
    record_encode(b, &new_desc, &record);
    for (size_t size = 0; size < b->size; size++) {
        struct new out;
        struct slice part = slice_of(b->bytes, size);
        struct record_reader r = record_reader_of(part);
        assert_int_equal(decode(part, &new_desc, &out), RC_CORRUPT);
        assert_int_equal(record_skip(&r), RC_CORRUPT);
        assert_ptr_equal(r.at, part.base);
    }
}

/* Lengths that promise more than there is, and types that do not belong. */
static void what_is_not_of_our_subset_is_corrupt(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t size;
    } cases[] = {
        {"\x90", 1},                                      /* Nothing in it. */
        {"\x92\xcd\x01\x2c\xa1x", 6},                     /* Text where a number belongs. */
        {"\x93\xcd\x01\x2c\x01\x02", 6},                  /* A number where a text belongs. */
        {"\x93\xcd\x01\x2c\x01\xdb\xff\xff\xff\xff", 10}, /* A text of 4 GB. */
        {"\x93\xcd\x01\x2c\x01\xc6\xff\xff\xff\xff", 10}, /* Bytes, likewise. */
        {"\xdc\xff\xff\xcd\x01\x2c\x01", 7},              /* 65534 fields. */
        {"\xdd\xff\xff\xff\xff\xcd\x01\x2c", 8},          /* array 32: never ours. */
        {"\x92\xcd\x01\x2c\xff", 5},                      /* A negative number. */
        {"\x92\xcd\x01\x2c\xcb\0\0\0\0\0\0\0\0", 13},     /* A double. */
        {"\x92\xcd\x01\x2c\xc0", 5},                      /* nil for a number. */
        {"\x92\xcd\x01\x2c\x81\x01\x01", 7},              /* A map. */
        {"\x92\xcd\x01\x2c\x91\x01", 6},                  /* A list. */
        {"\x81\x01\x01", 3},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct new out;
        assert_int_equal(decode(slice_of(cases[i].bytes, cases[i].size), &new_desc, &out),
                         RC_CORRUPT);
    }
}

/* Sequences of bare values. */
static void bare_values_follow_one_another(void **state)
{
    struct buf *b = *state;
    record_put_slice(b, slice_string("abc"));
    record_put_u64(b, UINT64_MAX);
    record_put_slice(b, (struct slice){0});
    record_put_u64(b, 0);
    struct record_reader r = record_reader_of(buf_slice(b));
    struct slice text;
    uint64_t number;
    assert_int_equal(record_get_slice(&r, &text), RC_OK);
    assert_true(slice_equals(text, "abc"));
    assert_int_equal(record_get_u64(&r, &number), RC_OK);
    assert_true(number == UINT64_MAX);
    assert_int_equal(record_get_slice(&r, &text), RC_OK);
    assert_null(text.base);
    struct record_reader wrong = r;
    assert_int_equal(record_get_slice(&wrong, &text), RC_CORRUPT);
    assert_int_equal(record_get_u64(&r, &number), RC_OK);
    assert_int_equal(number, 0);
    assert_int_equal(record_get_u64(&r, &number), RC_CORRUPT);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_encoded_decodes_the_same),     TEST(fields_may_be_appended),
        TEST(records_follow_one_another),           TEST(every_prefix_is_corrupt),
        TEST(what_is_not_of_our_subset_is_corrupt), TEST(bare_values_follow_one_another),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
