/* query: values are found and decoded, and whatever could be read in two ways is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "gateway/query.h"
#include "tests/support/query_append.h"

static enum rc get(const char *query, const char *name, char *out, size_t size, uint32_t *ret_size)
{
    struct slice value = {0};
    enum rc rc = query_get(slice_string(query), name, out, size, &value);
    *ret_size = value.size;
    if (rc == RC_OK)
        assert_ptr_equal(value.base, out);
    return rc;
}

static void expect_text(const char *query, const char *name, const char *expected)
{
    char out[64];
    uint32_t size;
    assert_int_equal(get(query, name, out, sizeof(out), &size), RC_OK);
    assert_int_equal(size, strlen(expected));
    assert_memory_equal(out, expected, size);
}

static void expect_rc(const char *query, const char *name, enum rc expected)
{
    char out[8];
    uint32_t size;
    assert_int_equal(get(query, name, out, sizeof(out), &size), expected);
}

/* Wherever the pair stands, its value is found. */
static void a_value_is_found_by_its_name(void **state)
{
    (void)state;
    expect_text("a=1", "a", "1");
    expect_text("b=2&a=1&c=3", "a", "1");
    expect_text("&&a=1&&", "a", "1");
    expect_text("a=b=c", "a", "b=c");
    expect_text("a=&b=2", "a", "");
    expect_text("b&a", "a", "");
}

/* A name is the whole name, not a beginning or an end of one. */
static void another_name_is_not_found(void **state)
{
    (void)state;
    expect_rc("", "a", RC_NOT_FOUND);
    expect_rc("aa=1&ba=2&A=3&b=a", "a", RC_NOT_FOUND);
    expect_rc("%61=1", "a", RC_NOT_FOUND);
}

/* Escapes in either case, plus for space. */
static void escapes_are_resolved_once(void **state)
{
    (void)state;
    expect_text("a=%4a%4B+%2b%26", "a", "JK +&");
    expect_text("a=%2525", "a", "%25");
    expect_text("a=%C3%A4", "a", "\xc3\xa4");
}

/* A percent sign without two hex digits behind it is an error. */
static void broken_escapes_are_refused(void **state)
{
    (void)state;
    expect_rc("a=%", "a", RC_BAD_REQUEST);
    expect_rc("a=%4", "a", RC_BAD_REQUEST);
    expect_rc("a=%4&b=1", "a", RC_BAD_REQUEST);
    expect_rc("a=%4g", "a", RC_BAD_REQUEST);
    expect_rc("a=%-1", "a", RC_BAD_REQUEST);
}

/* A NUL would end the value early for somebody. */
static void a_nul_is_refused(void **state)
{
    (void)state;
    expect_rc("a=x%00y", "a", RC_BAD_REQUEST);
}

/* Two values of one name: each reader may take another one. */
static void a_name_given_twice_is_refused(void **state)
{
    (void)state;
    expect_rc("a=1&a=1", "a", RC_BAD_REQUEST);
    expect_rc("a=1&b=2&a", "a", RC_BAD_REQUEST);
}

/* The caller's memory is the limit, and it is not overstepped. */
static void a_value_that_does_not_fit_is_refused(void **state)
{
    (void)state;
    expect_text("a=12345678", "a", "12345678");
    char out[9] = "________";
    uint32_t size;
    assert_int_equal(get("a=12345678", "a", out, 8, &size), RC_OK);
    assert_int_equal(get("a=%31%32%33%34%35%36%37%38", "a", out, 8, &size), RC_OK);
    assert_int_equal(get("a=123456789", "a", out, 8, &size), RC_TOO_LARGE);
    assert_int_equal(out[8], '\0');
}

/* What is appended is read back as it was. */
static void an_appended_value_is_read_back(void **state)
{
    (void)state;
    struct buf *query = buf_new(0);
    query_append(query, slice_string("a"), slice_string("50% & more + \xc3\xa4"));
    query_append(query, slice_string("b"), slice_string("x"));
    char out[64];
    struct slice value;
    assert_int_equal(query_get(buf_slice(query), "a", out, sizeof(out), &value), RC_OK);
    assert_true(slice_equals(value, "50% & more + \xc3\xa4"));
    assert_int_equal(query_get(buf_slice(query), "b", out, sizeof(out), &value), RC_OK);
    assert_true(slice_equals(value, "x"));
    buf_unref(&query);
}

/* A part of a path: slashes and dots that were escaped are what the name is made of. */
static void a_part_of_a_path_is_decoded_for_itself(void **state)
{
    (void)state;
    static const struct {
        const char *part, *name;
    } cases[] = {{"a", "a"},       {"a%2Fb", "a/b"},           {"..", ".."},
                 {"%2e%2E", ".."}, {"..%2f..%2Ft", "../../t"}, {"a+b%2B", "a+b+"},
                 {"%252F", "%2F"}, {"a&b=c;d", "a&b=c;d"},     {"", ""}};
    char out[16];
    struct slice value;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(query_decode_part(slice_string(cases[i].part), out, sizeof(out), &value),
                         RC_OK);
        assert_true(slice_equals(value, cases[i].name));
    }
    static const char *const bad[] = {"%", "%2", "%zz", "a%00b"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(query_decode_part(slice_string(bad[i]), out, sizeof(out), &value),
                         RC_BAD_REQUEST);
    assert_int_equal(query_decode_part(slice_string("12345678901234567"), out, sizeof(out), &value),
                     RC_TOO_LARGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_value_is_found_by_its_name),
        cmocka_unit_test(another_name_is_not_found),
        cmocka_unit_test(escapes_are_resolved_once),
        cmocka_unit_test(broken_escapes_are_refused),
        cmocka_unit_test(a_nul_is_refused),
        cmocka_unit_test(a_name_given_twice_is_refused),
        cmocka_unit_test(a_value_that_does_not_fit_is_refused),
        cmocka_unit_test(an_appended_value_is_read_back),
        cmocka_unit_test(a_part_of_a_path_is_decoded_for_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
