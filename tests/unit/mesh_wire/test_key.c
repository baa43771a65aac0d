/* key: shards, ids of direct conversations, and the rules for names. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "mesh/base/crypto.h"
#include "mesh/base/limits.h"
#include "mesh/wire/key.h"

static const uint8_t cluster[16] = "a test's cluster";

static int setup(void **state)
{
    (void)state;
    crypto_start();
    return 0;
}

/* 64,000 keys over 64 shards: each gets its thousand, give or take a fifth. */
static void keys_spread_evenly_over_shards(void **state)
{
    (void)state;
    unsigned convs[64] = {0}, users[64] = {0};
    unsigned same = 0;
    for (unsigned i = 0; i < 64000; i++) {
        char name[16];
        snprintf(name, sizeof(name), "k%u", i);
        uint32_t conv = key_conv_shard(cluster, 64, slice_string(name));
        uint32_t user = key_user_shard(cluster, 64, slice_string(name));
        convs[conv]++;
        users[user]++;
        same += conv == user;
    }
    for (int i = 0; i < 64; i++) {
        assert_in_range(convs[i], 800, 1200);
        assert_in_range(users[i], 800, 1200);
    }
    assert_in_range(same, 700, 1300); /* A name's user and conversation meet by chance only. */
}

/* Whoever starts; and nobody else's. */
static void a_direct_conversation_has_one_id(void **state)
{
    (void)state;
    char ab[KEY_DIRECT_SIZE], ba[KEY_DIRECT_SIZE], other[KEY_DIRECT_SIZE];
    key_direct(slice_string("alice"), slice_string("bob"), ab);
    key_direct(slice_string("bob"), slice_string("alice"), ba);
    assert_memory_equal(ab, ba, KEY_DIRECT_SIZE);
    assert_true(key_conv_is_valid(slice_of(ab, KEY_DIRECT_SIZE)));
    key_direct(slice_string("alic"), slice_string("ebob"), other);
    assert_memory_not_equal(ab, other, KEY_DIRECT_SIZE);
    key_direct(slice_string("al"), slice_string("alice"), other);
    key_direct(slice_string("alice"), slice_string("al"), ba);
    assert_memory_equal(other, ba, KEY_DIRECT_SIZE);
}

/* The alphabet and both ends of the length. */
static void a_conversation_id_is_plain_ascii(void **state)
{
    (void)state;
    char longest[LIMIT_CONV_SIZE_MAX + 1];
    memset(longest, 'a', sizeof(longest));
    assert_true(key_conv_is_valid(slice_string("aZ09._:~@-")));
    assert_true(key_conv_is_valid(slice_of(longest, LIMIT_CONV_SIZE_MAX)));
    assert_false(key_conv_is_valid(slice_of(longest, LIMIT_CONV_SIZE_MAX + 1)));
    for (int c = 0; c < 256; c++) {
        char byte = (char)c;
        bool expected =
            c != 0 && strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                             "._:~@-",
                             c) != NULL;
        assert_int_equal(key_conv_is_valid(slice_of(&byte, 1)), expected);
    }
    assert_false(key_conv_is_valid(slice_of("", 0)));
}

/* UTF-8 without control characters, neither C0 nor C1 nor DEL. */
static void a_name_has_no_control_characters(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "a\x01", "\x1f", "\x7f",         "a\xc2\x80", "\xc2\x9f",
        "\xc2",  "\xff", "\xed\xa0\x80", "\xc0\x80",  "\xf4\x90\x80\x80"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(key_user_is_valid(slice_string(bad[i])));
    assert_false(key_user_is_valid(slice_of("a\0b", 3)));
    assert_false(key_user_is_valid(slice_of("", 0)));
    static const char *const good[] = {" ",   "a b", "J\xc3\xb6rg", "\xc2\xa0", "\xf0\x9f\x98\x80",
                                       "\"\\"};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        assert_true(key_user_is_valid(slice_string(good[i])));
}

/* Each kind of name to its last byte. */
static void names_have_their_lengths(void **state)
{
    (void)state;
    char name[200];
    memset(name, 'x', sizeof(name));
    assert_true(key_user_is_valid(slice_of(name, 128)));
    assert_false(key_user_is_valid(slice_of(name, 129)));
    assert_true(key_device_is_valid(slice_of(name, 64)));
    assert_false(key_device_is_valid(slice_of(name, 65)));
    assert_true(key_cid_is_valid(slice_of(name, 64)));
    assert_false(key_cid_is_valid(slice_of(name, 65)));
    assert_true(key_emoji_is_valid(slice_of(name, 32)));
    assert_false(key_emoji_is_valid(slice_of(name, 33)));
    assert_true(key_node_is_valid(slice_of(name, 15)));
    assert_false(key_node_is_valid(slice_of(name, 16)));
    assert_false(key_node_is_valid(slice_string("a.b")));
    assert_false(key_node_is_valid(slice_of("", 0)));
}

/* No text at all is as valid as an empty one: fields may be absent. */
static void an_absent_text_is_utf8(void **state)
{
    (void)state;
    assert_true(key_is_utf8((struct slice){0}));
    assert_true(key_is_utf8(slice_of("", 0)));
}

/* A drawn id is a valid one, of its own size, and not a direct conversation's. */
static void a_drawn_group_has_a_valid_id(void **state)
{
    (void)state;
    char id[KEY_GROUP_SIZE];
    const uint64_t random[2] = {UINT64_MAX, 0};
    key_group(random, id);
    assert_memory_equal(id, "g:__________8AAAAAAAAAAA", sizeof(id));
    assert_true(key_conv_is_valid(slice_of(id, sizeof(id))));
}

/* The same creator with the same cid meets the same group; who is another, says another cid, or
 * lives in another cluster, another one. The operator is no user. */
static void a_group_made_with_a_cid_has_one_id(void **state)
{
    (void)state;
    const uint8_t other[16] = "another cluster";
    const struct slice a = slice_string("a"), ab = slice_string("ab"), b = slice_string("b");
    char ids[7][KEY_GROUP_SIZE];
    key_group_of(cluster, a, slice_string("bc"), ids[0]);
    key_group_of(cluster, a, slice_string("bc"), ids[1]);
    assert_memory_equal(ids[0], ids[1], KEY_GROUP_SIZE);
    assert_memory_equal(ids[0], "g:", 2);
    assert_true(key_conv_is_valid(slice_of(ids[0], KEY_GROUP_SIZE)));
    key_group_of(cluster, ab, slice_string("c"), ids[1]);
    key_group_of(cluster, a, b, ids[2]);
    key_group_of(cluster, b, slice_string("bc"), ids[3]);
    key_group_of(other, a, slice_string("bc"), ids[4]);
    key_group_of(cluster, (struct slice){0}, slice_string("bc"), ids[5]);
    key_group_of(cluster, (struct slice){0}, slice_string("abc"), ids[6]);
    for (size_t i = 0; i < 7; i++)
        for (size_t j = 0; j < i; j++)
            assert_memory_not_equal(ids[i], ids[j], KEY_GROUP_SIZE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_spread_evenly_over_shards),
        cmocka_unit_test(a_direct_conversation_has_one_id),
        cmocka_unit_test(a_conversation_id_is_plain_ascii),
        cmocka_unit_test(a_name_has_no_control_characters),
        cmocka_unit_test(names_have_their_lengths),
        cmocka_unit_test(an_absent_text_is_utf8),
        cmocka_unit_test(a_drawn_group_has_a_valid_id),
        cmocka_unit_test(a_group_made_with_a_cid_has_one_id),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
