#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "storage/keyspace.h"

static const struct keyspace space = {.shard = 0x01020304, .generation = 5};

static int compare(const struct keyspace_key *a, const struct keyspace_key *b)
{
    int order = memcmp(a->bytes, b->bytes, a->size < b->size ? a->size : b->size);
    return order != 0 ? order : (a->size > b->size) - (a->size < b->size);
}

/* Shard, generation and table come first, big endian. */
static void begins_with_shard_generation_and_table(void **state)
{
    (void)state;
    struct keyspace_key k;
    keyspace_table(&k, &space, KEYSPACE_HEAD);
    assert_int_equal(k.size, KEYSPACE_HEADER_SIZE);
    assert_memory_equal(k.bytes, "\x01\x02\x03\x04\0\0\0\x05h", 9);
}

/* What was put into a key is found in it. */
static void names_and_seqs_are_read_back(void **state)
{
    (void)state;
    struct keyspace_key k;
    struct slice name;
    uint64_t seq;
    keyspace_names(&k, &space, KEYSPACE_MEMBER, slice_string("conv"), slice_string("alice"));
    assert_true(keyspace_get_name(keyspace_slice(&k), &name));
    assert_true(slice_equals(name, "conv"));
    assert_true(keyspace_get_second_name(keyspace_slice(&k), &name));
    assert_true(slice_equals(name, "alice"));
    keyspace_entry(&k, &space, slice_string("conv"), 0x0102030405060708);
    assert_true(keyspace_get_seq(keyspace_slice(&k), &seq));
    assert_int_equal(seq, 0x0102030405060708);
}

/* Rows of the control group are of the state family, and a router's key gives its name. */
static void a_router_is_found_by_its_name(void **state)
{
    (void)state;
    struct keyspace_key k;
    struct slice name;
    keyspace_name(&k, &space, KEYSPACE_ROUTER, slice_string("r1"));
    assert_int_equal(keyspace_family(&k), KV_STATE);
    assert_true(keyspace_get_name(keyspace_slice(&k), &name));
    assert_true(slice_equals(name, "r1"));
    keyspace_table(&k, &space, KEYSPACE_CLUSTER);
    assert_int_equal(keyspace_family(&k), KV_STATE);
    assert_int_equal(k.size, KEYSPACE_HEADER_SIZE);
}

/* A key that was cut off says nothing. */
static void a_damaged_key_is_refused(void **state)
{
    (void)state;
    struct keyspace_key k;
    struct slice name;
    uint64_t seq;
    keyspace_name(&k, &space, KEYSPACE_HEAD, slice_string("conv"));
    struct slice key = keyspace_slice(&k);
    assert_false(keyspace_get_second_name(key, &name));
    key.size--;
    assert_false(keyspace_get_name(key, &name));
    key.size = KEYSPACE_HEADER_SIZE;
    assert_false(keyspace_get_name(key, &name));
    assert_false(keyspace_get_seq(key, &seq));
    keyspace_name(&k, &space, KEYSPACE_HEAD, slice_of("", 0));
    assert_false(keyspace_get_name(keyspace_slice(&k), &name));
}

/* Entries lie in seq order, and "a" has none of "ab". */
static void ranges_of_one_name_hold_no_other(void **state)
{
    (void)state;
    struct keyspace_key from;
    struct keyspace_key to;
    struct keyspace_key other;
    struct keyspace_key small;
    struct keyspace_key large;
    keyspace_name(&from, &space, KEYSPACE_ENTRY, slice_string("a"));
    to = from;
    keyspace_to_end(&to);
    keyspace_entry(&small, &space, slice_string("a"), 255);
    keyspace_entry(&large, &space, slice_string("a"), 256);
    keyspace_entry(&other, &space, slice_string("ab"), 1);
    assert_true(compare(&from, &small) < 0);
    assert_true(compare(&small, &large) < 0);
    assert_true(compare(&large, &to) < 0);
    assert_true(compare(&to, &other) <= 0);
}

/* The end of a prefix of 0xff bytes carries over. */
static void the_end_of_a_range_carries(void **state)
{
    (void)state;
    struct keyspace_key k;
    keyspace_bucket(&k, &space, UINT32_MAX);
    keyspace_to_end(&k);
    assert_int_equal(k.size, KEYSPACE_HEADER_SIZE);
    assert_int_equal(k.bytes[KEYSPACE_HEADER_SIZE - 1], 'k' + 1);
}

/* The next page begins behind a key, and before whatever follows it. */
static void the_next_key_follows_at_once(void **state)
{
    (void)state;
    struct keyspace_key k;
    struct keyspace_key next;
    struct keyspace_key later;
    keyspace_names(&k, &space, KEYSPACE_MEMBER, slice_string("c"), slice_string("a"));
    keyspace_names(&later, &space, KEYSPACE_MEMBER, slice_string("c"), slice_string("a!"));
    next = k;
    keyspace_to_next(&next);
    assert_true(compare(&k, &next) < 0);
    assert_true(compare(&next, &later) < 0);
}

/* The longest names of all fit. */
static void the_longest_key_fits(void **state)
{
    (void)state;
    char name[LIMIT_CONV_SIZE_MAX];
    struct keyspace_key k;
    memset(name, 'x', sizeof(name));
    keyspace_device(&k, &space, slice_of(name, LIMIT_CONV_SIZE_MAX),
                    slice_of(name, LIMIT_USER_SIZE_MAX), slice_of(name, LIMIT_DEVICE_SIZE_MAX));
    keyspace_to_next(&k);
    assert_true(k.size <= KEYSPACE_SIZE_MAX);
    keyspace_reaction(&k, &space, slice_of(name, LIMIT_CONV_SIZE_MAX), UINT64_MAX,
                      slice_of(name, LIMIT_EMOJI_SIZE_MAX), slice_of(name, LIMIT_USER_SIZE_MAX));
    keyspace_to_next(&k);
    assert_true(k.size <= KEYSPACE_SIZE_MAX);
}

/* The reactions to one message lie between its seq and the next, whatever they are. */
static void reactions_lie_with_their_message(void **state)
{
    (void)state;
    struct keyspace_key from;
    struct keyspace_key to;
    struct keyspace_key k;
    keyspace_reactions(&from, &space, slice_string("c"), 255);
    keyspace_reactions(&to, &space, slice_string("c"), 256);
    keyspace_reaction(&k, &space, slice_string("c"), 255, slice_string("+1"), slice_string("bob"));
    assert_true(compare(&from, &k) < 0);
    assert_true(compare(&k, &to) < 0);
    keyspace_reaction(&k, &space, slice_string("c"), 254, slice_string("\xf4\x8f\xbf\xbf"),
                      slice_string("bob"));
    assert_true(compare(&k, &from) < 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(begins_with_shard_generation_and_table),
        cmocka_unit_test(names_and_seqs_are_read_back),
        cmocka_unit_test(a_router_is_found_by_its_name),
        cmocka_unit_test(a_damaged_key_is_refused),
        cmocka_unit_test(ranges_of_one_name_hold_no_other),
        cmocka_unit_test(the_end_of_a_range_carries),
        cmocka_unit_test(the_next_key_follows_at_once),
        cmocka_unit_test(the_longest_key_fits),
        cmocka_unit_test(reactions_lie_with_their_message),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
