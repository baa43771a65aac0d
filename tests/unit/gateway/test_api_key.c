/* api_key: keys as people handle them, and the digests that gateways hold. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>

#include "gateway/api_key.h"
#include "mesh/base/crypto.h"

/* SHA-256 of "abc" (FIPS 180-4, appendix B.1). */
#define ABC "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

/* What is drawn is found again by its text, and by no other. */
static void a_drawn_key_lets_its_bearer_in(void **state)
{
    (void)state;
    char text[API_KEY_SIZE + 1], line[API_KEY_LINE_SIZE_MAX + 1];
    struct api_keys keys = {.count = 0};
    api_key_make("billing", text, line);
    assert_int_equal(strlen(text), API_KEY_SIZE);
    assert_true(api_key_is_one(slice_string(text)));
    assert_int_equal(api_key_add(&keys, slice_string(line)), RC_OK);
    const struct api_key *key = api_key_find(&keys, slice_string(text));
    assert_non_null(key);
    assert_string_equal(key->name, "billing");
    text[API_KEY_SIZE - 1] ^= 1;
    assert_null(api_key_find(&keys, slice_string(text)));
    assert_null(api_key_find(&keys, slice_string(line)));
    assert_null(api_key_find(&keys, slice_string("")));
}

/* Two drawn keys differ. */
static void no_two_keys_are_alike(void **state)
{
    (void)state;
    char one[API_KEY_SIZE + 1], other[API_KEY_SIZE + 1], line[API_KEY_LINE_SIZE_MAX + 1];
    api_key_make("a", one, line);
    api_key_make("a", other, line);
    assert_string_not_equal(one, other);
}

/* The digest is plain SHA-256 of the whole text, so that any tool can make the line. */
static void the_line_holds_the_sha256_of_the_text(void **state)
{
    (void)state;
    char line[API_KEY_LINE_SIZE_MAX + 1];
    api_key_line("n", slice_string("abc"), line);
    assert_string_equal(line, "n:" ABC);
}

/* Two may bear one name while one replaces the other. */
static void a_key_is_replaced_while_both_are_good(void **state)
{
    (void)state;
    char old[API_KEY_SIZE + 1], fresh[API_KEY_SIZE + 1], line[API_KEY_LINE_SIZE_MAX + 1];
    struct api_keys keys = {.count = 0};
    api_key_make("billing", old, line);
    assert_int_equal(api_key_add(&keys, slice_string(line)), RC_OK);
    api_key_make("billing", fresh, line);
    assert_int_equal(api_key_add(&keys, slice_string(line)), RC_OK);
    assert_non_null(api_key_find(&keys, slice_string(old)));
    assert_non_null(api_key_find(&keys, slice_string(fresh)));
}

/* A line that is not NAME:SHA256 is refused, a key in the place of its digest above all. */
static void a_line_that_is_none_is_refused(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "",
        "billing",
        ":" ABC,
        "billing:",
        "billing:" ABC "0",
        "bil ling:" ABC,
        "billing:BA7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        "billing:gg7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        "billing:" API_KEY_PREFIX "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        API_KEY_PREFIX "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    };
    struct api_keys keys = {.count = 0};
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
        assert_int_equal(api_key_add(&keys, slice_string(lines[i])), RC_CONFIG);
    assert_int_equal(keys.count, 0);
}

/* One more than there is room for is refused, and the others stay good. */
static void refuses_beyond_the_limit(void **state)
{
    (void)state;
    struct api_keys keys = {.count = 0};
    for (uint32_t i = 0; i < API_KEYS_MAX; i++)
        assert_int_equal(api_key_add(&keys, slice_string("n:" ABC)), RC_OK);
    assert_int_equal(api_key_add(&keys, slice_string("n:" ABC)), RC_CONFIG);
    assert_non_null(api_key_find(&keys, slice_string("abc")));
}

/* Names go into config files and logs. */
static void a_name_is_plain(void **state)
{
    (void)state;
    char name[API_KEY_NAME_SIZE_MAX + 2];
    memset(name, 'n', sizeof(name));
    assert_true(api_key_name_is_valid(slice_of(name, API_KEY_NAME_SIZE_MAX)));
    assert_false(api_key_name_is_valid(slice_of(name, API_KEY_NAME_SIZE_MAX + 1)));
    assert_false(api_key_name_is_valid(slice_string("")));
    assert_false(api_key_name_is_valid(slice_string("a:b")));
    assert_true(api_key_name_is_valid(slice_string("Az09_-")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_drawn_key_lets_its_bearer_in),
        cmocka_unit_test(no_two_keys_are_alike),
        cmocka_unit_test(the_line_holds_the_sha256_of_the_text),
        cmocka_unit_test(a_key_is_replaced_while_both_are_good),
        cmocka_unit_test(a_line_that_is_none_is_refused),
        cmocka_unit_test(refuses_beyond_the_limit),
        cmocka_unit_test(a_name_is_plain),
    };
    crypto_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
