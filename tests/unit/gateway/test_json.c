/* json: strictness (RFC 8259, and what jsmn lets through), walking, strings and numbers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "gateway/json.h"
#include "mesh/base/limits.h"
#include "mesh/wire/key.h"

static enum rc check(struct slice text)
{
    const char *reason = NULL;
    enum rc rc = json_check(text, &reason);
    if (rc == RC_OK)
        assert_null(reason);
    else
        assert_non_null(reason);
    return rc;
}

static void expect_good(const char *const *texts, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (check(slice_string(texts[i])) != RC_OK)
            fail_msg("refused: %s", texts[i]);
}

static void expect_bad(const char *const *texts, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (check(slice_string(texts[i])) != RC_BAD_REQUEST)
            fail_msg("taken: %s", texts[i]);
}

#define GOOD(...)                                                                                  \
    expect_good((const char *const[]){__VA_ARGS__},                                                \
                sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))
#define BAD(...)                                                                                   \
    expect_bad((const char *const[]){__VA_ARGS__},                                                 \
               sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))

/* Section 2: any value may be the text, with white space around it. */
static void every_kind_of_value_is_taken(void **state)
{
    (void)state;
    GOOD("null", "true", "false", "0", "\"\"", "{}", "[]", " \t\r\n 1 \t\r\n ",
         "{\"a\":1,\"b\":[true,false,null,{\"c\":\"d\"}],\"\":{}}", "[[],[[]],{}]", "[ ]", "{ }",
         "[ 1 , 2 ]", "{ \"a\" : 1 , \"b\" : 2 }");
}

/* These pass jsmn, which only looks for tokens. */
static void what_jsmn_lets_through_is_refused(void **state)
{
    (void)state;
    BAD("{a:1}", "{\"a\" 1}", "[1 2]", "01", "bare", "{\"a\":}", "{\"a\"}", "{1:2}", "[1,]",
        "{\"a\":1,}", "[,]", "[,1]", "{,}", "tru", "truex", "nul", "+1", "'a'", "[1}", "{\"a\":1]",
        "{\"a\":1 \"b\":2}", "{\"a\"::1}", "[1,,2]", "{\"a\",\"b\"}", "NaN", "Infinity", "//x\n1",
        "/* */1", "1 2", "{} {}", "\"a\"\"b\"", "{\"a\":\"b\"\"c\"}");
}

/* Half a text is no text, wherever it ends. */
static void every_prefix_of_an_object_is_refused(void **state)
{
    (void)state;
    const char text[] =
        "{\"k\\u00e9\":[1.5e-3,true,\"\xc3\xa9\\ud83d\\ude00\"],\"m\":{\"n\":null}}";
    assert_int_equal(check(slice_of(text, sizeof(text) - 1)), RC_OK);
    for (size_t size = 0; size < sizeof(text) - 1; size++)
        assert_int_equal(check(slice_of(text, size)), RC_BAD_REQUEST);
}

/* Section 6. */
static void numbers_follow_the_grammar(void **state)
{
    (void)state;
    GOOD("0", "-0", "1", "-1", "10", "1.0", "0.5", "1e1", "1E1", "1e+1", "1e-1", "-1.25e+10",
         "123456789012345678901234567890", "0e0", "1e999");
    BAD("-", "01", "-01", "00", "1.", ".5", "-.5", "1e", "1e+", "1.e1", "0x1", "1_000", "--1",
        "1e1.5", "1a", "-a");
}

/* Section 7: escapes by the list, and nothing below a space as it is. */
static void strings_follow_the_grammar(void **state)
{
    (void)state;
    GOOD("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\u0000\"", "\"\\u00e9\\uABCD\\uabcd\"", "\"\x7f\"");
    BAD("\"\\x\"", "\"\\u12\"", "\"\\u12g4\"", "\"\\", "\"\\u", "\"a", "\"\n\"", "\"\t\"",
        "\"\x01\"", "\"\\'\"", "\"\\U0041\"", "\"\\u 123\"");
    assert_int_equal(check(slice_of("\"a\0b\"", 5)), RC_BAD_REQUEST);
    assert_int_equal(check(slice_of("\"\\\0\"", 4)), RC_BAD_REQUEST);
    assert_int_equal(check(slice_of("1\0", 2)), RC_BAD_REQUEST);
}

/* The grammar has no pairs of surrogates, only four digits (RFC 8259, section 8.2). */
static void surrogate_escapes_need_no_pair(void **state)
{
    (void)state;
    GOOD("\"\\ud83d\\ude00\"", "\"\\uD800\\uDC00\"", "\"\\udbff\\udfff\"", "\"\\ud7ff\\ue000\"");
    GOOD("\"\\ud83d\"", "\"\\ude00\"", "\"\\ud83dx\"", "\"\\ud83d\\n\"", "\"\\ud83d\\ud83d\"",
         "\"\\ude00\\ud83d\"", "\"\\ud83d\\u0041\"");
    BAD("\"\\ud83d\\\"", "\"\\ud83d\\u\"", "\"\\ud83d\\ud\"");
}

/* RFC 3629: the shortest form, no surrogates, nothing beyond U+10FFFF; a byte order mark is no
 * space. */
static void strings_must_be_utf8(void **state)
{
    (void)state;
    GOOD("\"\xc2\x80\"", "\"\xdf\xbf\"", "\"\xe0\xa0\x80\"", "\"\xed\x9f\xbf\"", "\"\xee\x80\x80\"",
         "\"\xf0\x90\x80\x80\"", "\"\xf4\x8f\xbf\xbf\"");
    BAD("\"\x80\"", "\"\xc0\x80\"", "\"\xc1\xbf\"", "\"\xe0\x9f\xbf\"", "\"\xed\xa0\x80\"",
        "\"\xf0\x8f\xbf\xbf\"", "\"\xf4\x90\x80\x80\"", "\"\xf5\x80\x80\x80\"", "\"\xff\"",
        "\"\xc3\"", "\"\xe2\x82\"", "\"\xf0\x9f\x98\"", "\"\xc3(\"", "\xef\xbb\xbf{}", "\xc3\xa9");
}

/* 64 levels, not 65, whatever follows. */
static void depth_is_limited(void **state)
{
    (void)state;
    char text[LIMIT_JSON_DEPTH_MAX * 2 + 2];
    memset(text, '[', LIMIT_JSON_DEPTH_MAX + 1);
    memset(text + LIMIT_JSON_DEPTH_MAX + 1, ']', LIMIT_JSON_DEPTH_MAX + 1);
    assert_int_equal(check(slice_of(text, sizeof(text))), RC_TOO_LARGE);
    assert_int_equal(check(slice_of(text + 1, sizeof(text) - 2)), RC_OK);
    assert_int_equal(check(slice_of(text + 1, sizeof(text) - 1)), RC_BAD_REQUEST);
    assert_int_equal(check(slice_of(text, LIMIT_JSON_DEPTH_MAX)), RC_BAD_REQUEST);
}

/* Nothing, or nothing but white space, is not a value. */
static void an_empty_text_is_refused(void **state)
{
    (void)state;
    assert_int_equal(check((struct slice){0}), RC_BAD_REQUEST);
    BAD("", " ", "\n");
}

static struct json_value value_of(enum json_type type, const char *text)
{
    return (struct json_value){.type = type, .raw = slice_string(text)};
}

/* Keys, types and raw texts of an object's members, in order. */
static void an_object_is_walked_member_by_member(void **state)
{
    (void)state;
    struct json_value object = value_of(
        JSON_OBJECT, "{ \"a\" : \"x\\\"}\" ,\"b\":-1.5e3, \"c\":true,\"d\":false,\"e\":null,"
                     "\"f\\n\":{\"g\":[\"}\",{}]},\"\":[],\"h\":{} }");
    static const struct {
        const char *key, *raw;
        enum json_type type;
    } expected[] = {
        {"a", "\"x\\\"}\"", JSON_STRING}, {"b", "-1.5e3", JSON_NUMBER},
        {"c", "true", JSON_TRUE},         {"d", "false", JSON_FALSE},
        {"e", "null", JSON_NULL},         {"f\\n", "{\"g\":[\"}\",{}]}", JSON_OBJECT},
        {"", "[]", JSON_ARRAY},           {"h", "{}", JSON_OBJECT},
    };
    assert_int_equal(check(object.raw), RC_OK);
    uint32_t at = 0;
    struct slice key;
    struct json_value value;
    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
        assert_true(json_next(object, &at, &key, &value));
        assert_true(slice_equals(key, expected[i].key));
        assert_int_equal(value.type, expected[i].type);
        assert_true(slice_equals(value.raw, expected[i].raw));
    }
    assert_false(json_next(object, &at, &key, &value));
    assert_false(json_next(object, &at, &key, &value));
}

/* Likewise the elements of an array; they have no keys. */
static void an_array_is_walked_element_by_element(void **state)
{
    (void)state;
    struct json_value array = value_of(JSON_ARRAY, "[1,[2,[3]], \"]\" ,{\"a\":[]},\"\"]");
    static const char *const expected[] = {"1", "[2,[3]]", "\"]\"", "{\"a\":[]}", "\"\""};
    uint32_t at = 0;
    struct slice key;
    struct json_value value;
    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
        assert_true(json_next(array, &at, &key, &value));
        assert_null(key.base);
        assert_true(slice_equals(value.raw, expected[i]));
    }
    assert_false(json_next(array, &at, &key, &value));
}

/* Empty containers and scalars end at once. */
static void nothing_is_walked_where_nothing_is(void **state)
{
    (void)state;
    struct slice key;
    struct json_value value;
    const struct json_value empty[] = {
        value_of(JSON_OBJECT, "{}"),      value_of(JSON_OBJECT, "{ }"),
        value_of(JSON_ARRAY, "[]"),       value_of(JSON_ARRAY, "[\n]"),
        value_of(JSON_STRING, "\"abc\""), value_of(JSON_NUMBER, "1234")};
    for (size_t i = 0; i < sizeof(empty) / sizeof(empty[0]); i++) {
        uint32_t at = 0;
        assert_false(json_next(empty[i], &at, &key, &value));
    }
}

/* Without an escape nothing is copied. */
static void a_plain_string_is_a_slice_of_the_text(void **state)
{
    (void)state;
    struct buf *scratch = buf_new(0);
    struct slice raw = slice_string("\"caf\xc3\xa9\"");
    struct slice text = json_unescape(raw, scratch);
    assert_ptr_equal(text.base, raw.base + 1);
    assert_int_equal(text.size, 5);
    text = json_unescape(slice_string("\"\""), scratch);
    assert_non_null(text.base);
    assert_int_equal(text.size, 0);
    assert_int_equal(scratch->size, 0);
    buf_unref(&scratch);
}

/* Every escape becomes its character, in strings with quotes and in keys without. */
static void escapes_become_characters(void **state)
{
    (void)state;
    struct buf *scratch = buf_new(256);
    struct slice text = json_unescape(
        slice_string("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0041\\u00e9\\u20AC\\ud83d\\ude00\""), scratch);
    assert_true(slice_equals(text, "\"\\/\b\f\n\r\tA\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"));
    assert_true(slice_equals(json_unescape(slice_string("t\\u0079pe"), scratch), "type"));
    assert_true(
        slice_equal(json_unescape(slice_string("\"\\u0000\""), scratch), slice_of("\0", 1)));
    assert_true(slice_equals(json_unescape(slice_string("\\\"\\\""), scratch), "\"\""));
    buf_unref(&scratch);
}

/* Half a pair becomes bytes that no reader takes for UTF-8, and eats nothing of what follows. */
static void half_a_pair_becomes_no_character(void **state)
{
    (void)state;
    static const struct {
        const char *raw, *text;
    } cases[] = {
        {"\"\\ud83d\"", "\xed\xa0\xbd"},
        {"\"\\ude00\"", "\xed\xb8\x80"},
        {"\"\\ud83dx\"", "\xed\xa0\xbdx"},
        {"\"\\ud83dxxxxxx\"", "\xed\xa0\xbdxxxxxx"},
        {"\"\\ud83d\\n\\u0041\"", "\xed\xa0\xbd\nA"},
        {"\"\\ud83d\\\\ude00\"", "\xed\xa0\xbd\\ude00"},
        {"\"\\ud83d\\u0041\"", "\xed\xa0\xbd"
                               "A"},
        {"\"\\ude00\\ud83d\"", "\xed\xb8\x80\xed\xa0\xbd"},
        {"\"\\ud83d\\ud83d\\ude00\"", "\xed\xa0\xbd\xf0\x9f\x98\x80"},
    };
    struct buf *scratch = buf_new(256);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct slice text = json_unescape(slice_string(cases[i].raw), scratch);
        assert_true(slice_equals(text, cases[i].text));
        assert_false(key_is_utf8(text));
    }
    buf_unref(&scratch);
}

/* Integers that a double holds exactly, and nothing else. */
static void numbers_are_integers_below_two_to_the_53(void **state)
{
    (void)state;
    uint64_t number = 7;
    assert_true(json_u64(value_of(JSON_NUMBER, "0"), &number));
    assert_int_equal(number, 0);
    assert_true(json_u64(value_of(JSON_NUMBER, "9007199254740991"), &number));
    assert_true(number == 9007199254740991u);
    static const char *const bad[] = {"9007199254740992",       "-1", "-0", "1.0", "1e3", "1.5",
                                      "99999999999999999999999"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(json_u64(value_of(JSON_NUMBER, bad[i]), &number));
    assert_false(json_u64(value_of(JSON_STRING, "\"1\""), &number));
    assert_false(json_u64(value_of(JSON_NULL, "null"), &number));
    assert_true(number == 9007199254740991u);
}

/* What is appended is valid JSON and reads back as it was, for every byte that may be in a name. */
static void an_appended_string_reads_back(void **state)
{
    (void)state;
    char text[0x80 + 4];
    for (int c = 0; c < 0x80; c++)
        text[c] = (char)c;
    memcpy(text + 0x80, "\xf0\x9f\x98\x80", 4);
    struct buf *out = buf_new(0);
    struct buf *scratch = buf_new(1024);
    json_append_string(out, slice_of(text, sizeof(text)));
    assert_int_equal(check(buf_slice(out)), RC_OK);
    struct slice back = json_unescape(buf_slice(out), scratch);
    assert_true(slice_equal(back, slice_of(text, sizeof(text))));
    buf_clear(out);
    json_append_string(out, slice_string("a\"b\\c\nd\te\x01"));
    assert_true(slice_equals(buf_slice(out), "\"a\\\"b\\\\c\\nd\\te\\u0001\""));
    buf_unref(&out);
    buf_unref(&scratch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_of_value_is_taken),
        cmocka_unit_test(what_jsmn_lets_through_is_refused),
        cmocka_unit_test(every_prefix_of_an_object_is_refused),
        cmocka_unit_test(numbers_follow_the_grammar),
        cmocka_unit_test(strings_follow_the_grammar),
        cmocka_unit_test(surrogate_escapes_need_no_pair),
        cmocka_unit_test(strings_must_be_utf8),
        cmocka_unit_test(depth_is_limited),
        cmocka_unit_test(an_empty_text_is_refused),
        cmocka_unit_test(an_object_is_walked_member_by_member),
        cmocka_unit_test(an_array_is_walked_element_by_element),
        cmocka_unit_test(nothing_is_walked_where_nothing_is),
        cmocka_unit_test(a_plain_string_is_a_slice_of_the_text),
        cmocka_unit_test(escapes_become_characters),
        cmocka_unit_test(half_a_pair_becomes_no_character),
        cmocka_unit_test(numbers_are_integers_below_two_to_the_53),
        cmocka_unit_test(an_appended_string_reads_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
