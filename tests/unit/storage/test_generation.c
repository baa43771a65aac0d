/* Which copy of a shard is in use, in memory and on a real disk. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs those above. */
#include <cmocka.h>

#include "mesh/base/record.h"
#include "storage/generation.h"
#include "storage/rows.h"
#include "storage/sealed.h"
#include "tests/support/scratch_store.h"

#define SHARD 7u

static struct scratch_store store;

static int setup(void **state)
{
    (void)state;
    scratch_store_open(&store, false);
    return 0;
}

static int setup_on_disk(void **state)
{
    (void)state;
    scratch_store_open(&store, true);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    scratch_store_close(&store);
    return 0;
}

/* ---- The row ---- */

static struct generation load(void)
{
    struct generation row;
    assert_int_equal(generation_load(store.kv, SHARD, &row), RC_OK);
    return row;
}

static void save(uint32_t current, uint32_t filling)
{
    struct generation row = {.current = current, .filling = filling};
    generation_store(SHARD, &row, store.batch);
    scratch_store_write(&store);
}

/* A shard that was never transferred has no row. */
static void without_a_row_it_is_generation_1(void **state)
{
    (void)state;
    struct generation row = load();
    assert_int_equal(row.current, 1);
    assert_int_equal(row.filling, GENERATION_NONE);
}

/* What was stored of a shard is loaded, and of no other shard. */
static void the_row_survives_the_round_trip(void **state)
{
    (void)state;
    struct generation row;
    save(4, 5);
    scratch_store_reopen(&store);
    assert_int_equal(load().current, 4);
    assert_int_equal(load().filling, 5);
    assert_int_equal(generation_load(store.kv, SHARD + 1, &row), RC_OK);
    assert_int_equal(row.current, 1);
    save(UINT32_MAX, GENERATION_NONE);
    assert_int_equal(load().current, UINT32_MAX);
    assert_int_equal(load().filling, GENERATION_NONE);
}

static struct slice row_key(void)
{
    static uint8_t bytes[5] = {'G', 0, 0, 0, SHARD};
    return slice_of(bytes, sizeof(bytes));
}

static void expect_corrupt(void)
{
    struct generation row;
    uint32_t current;
    assert_int_equal(generation_load(store.kv, SHARD, &row), RC_CORRUPT);
    assert_int_equal(generation_open(store.kv, SHARD, store.batch, &current), RC_CORRUPT);
    assert_int_equal(store.kv->ops->batch_count(store.batch), 0);
}

/* Any bit that turned makes the row another one, which is not believed. */
static void a_damaged_row_is_refused(void **state)
{
    (void)state;
    struct buf *bytes = buf_new(0);
    save(1, 2);
    assert_int_equal(store.kv->ops->get(store.kv, KV_META, row_key(), bytes), RC_OK);
    for (size_t bit = 0; bit < 8 * bytes->size; bit++) {
        bytes->bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        kv_put(store.batch, KV_META, row_key(), buf_slice(bytes));
        scratch_store_write(&store);
        expect_corrupt();
        bytes->bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    buf_unref(&bytes);
}

/* Under a right seal, numbers that no writer puts there are refused as well. */
static void a_row_that_cannot_be_is_refused(void **state)
{
    (void)state;
    static const struct {
        uint64_t numbers[3];
        size_t count;
    } cases[] = {{{0, 0}, 2},          {{0, 1}, 2}, {{3, 3}, 2},    {{1ull << 32, 0}, 2},
                 {{1, 1ull << 32}, 2}, {{1}, 1},    {{1, 0, 0}, 3}, {{0}, 0}};
    struct buf *row = buf_new(0);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        buf_clear(row);
        size_t begin = sealed_begin(row, 1);
        for (size_t n = 0; n < cases[i].count; n++)
            record_put_u64(row, cases[i].numbers[n]);
        sealed_end(row, begin, row_key());
        kv_put(store.batch, KV_META, row_key(), buf_slice(row));
        scratch_store_write(&store);
        expect_corrupt();
    }
    buf_unref(&row);
}

static enum rc fail_get(struct kv *kv, enum kv_family family, struct slice key, struct buf *into)
{
    (void)kv;
    (void)family;
    (void)key;
    (void)into;
    return RC_IO;
}

/* A disk that cannot be read is told, and nothing is removed then. */
static void a_failing_disk_is_told(void **state)
{
    (void)state;
    struct kv_ops ops = *store.kv->ops;
    struct kv failing = {.ops = &ops};
    struct generation row;
    uint32_t current;
    ops.get = fail_get;
    assert_int_equal(generation_load(&failing, SHARD, &row), RC_IO);
    assert_int_equal(generation_open(&failing, SHARD, store.batch, &current), RC_IO);
    assert_int_equal(store.kv->ops->batch_count(store.batch), 0);
}

/* ---- Rows of a generation ---- */

/* One row of each family. */
static void put_rows(uint32_t shard, uint32_t generation)
{
    static const uint8_t digest[KEYSPACE_DIGEST_SIZE] = {0xff, 0xff};
    struct keyspace keys = {.shard = shard, .generation = generation};
    struct keyspace_key key;
    keyspace_name(&key, &keys, KEYSPACE_INDEX, slice_string("\xff\xff"));
    kv_put(store.batch, KV_STATE, keyspace_slice(&key), slice_string("row"));
    keyspace_dedup(&key, &keys, UINT32_MAX, digest);
    kv_put(store.batch, KV_DEDUP, keyspace_slice(&key), slice_string("row"));
    scratch_store_write(&store);
}

static uint32_t count_rows(uint32_t shard, uint32_t generation)
{
    const struct kv_ops *ops = store.kv->ops;
    struct keyspace_key from, to;
    struct slice key, value;
    uint32_t count = 0;
    generation_range(shard, generation, &from, &to);
    for (enum kv_family family = KV_STATE; family <= KV_DEDUP; family++) {
        struct kv_iterator *i =
            ops->iterate(store.kv, family, keyspace_slice(&from), keyspace_slice(&to), false);
        while (ops->next(i, &key, &value))
            count++;
        assert_int_equal(ops->iterator_free(&i), RC_OK);
    }
    return count;
}

/* Both families lose all rows of the generation, and no other generation or shard loses any. */
static void removal_takes_one_generation_of_one_shard(void **state)
{
    (void)state;
    static const uint32_t generations[] = {1, 2, 255, 256, UINT32_MAX - 1, UINT32_MAX};
    const size_t count = sizeof(generations) / sizeof(generations[0]);
    for (uint32_t shard = SHARD - 1; shard <= SHARD + 1; shard++)
        for (size_t i = 0; i < count; i++)
            put_rows(shard, generations[i]);
    scratch_store_reopen(&store);
    put_rows(SHARD, 3);
    for (size_t i = 0; i < count; i++) {
        generation_remove(SHARD, generations[i], store.batch);
        scratch_store_write(&store);
        for (size_t n = 0; n < count; n++) {
            assert_int_equal(count_rows(SHARD - 1, generations[n]), 2);
            assert_int_equal(count_rows(SHARD, generations[n]), n <= i ? 0 : 2);
            assert_int_equal(count_rows(SHARD + 1, generations[n]), 2);
        }
        assert_int_equal(count_rows(SHARD, 3), 2);
    }
}

/* A generation can be filled again in the batch that removes it, and after. */
static void a_removed_generation_can_be_filled_again(void **state)
{
    (void)state;
    put_rows(SHARD, 2);
    generation_remove(SHARD, 2, store.batch);
    put_rows(SHARD, 2);
    assert_int_equal(count_rows(SHARD, 2), 2);
    generation_remove(SHARD, 2, store.batch);
    scratch_store_write(&store);
    assert_int_equal(count_rows(SHARD, 2), 0);
    put_rows(SHARD, 2);
    assert_int_equal(count_rows(SHARD, 2), 2);
}

/* ---- A start ---- */

/* A transfer that a crash ended leaves nothing behind the next start. */
static void opening_removes_what_was_being_filled(void **state)
{
    (void)state;
    uint32_t current = 0;
    put_rows(SHARD, 4);
    put_rows(SHARD, 5);
    put_rows(SHARD + 1, 5);
    save(4, 5);
    scratch_store_reopen(&store);
    assert_int_equal(generation_open(store.kv, SHARD, store.batch, &current), RC_OK);
    assert_int_equal(current, 4);
    scratch_store_write(&store);
    assert_int_equal(count_rows(SHARD, 4), 2);
    assert_int_equal(count_rows(SHARD, 5), 0);
    assert_int_equal(count_rows(SHARD + 1, 5), 2);
    assert_int_equal(load().current, 4);
    assert_int_equal(load().filling, GENERATION_NONE);
}

/* Where nothing is to be removed, a start writes nothing. */
static void opening_a_whole_shard_writes_nothing(void **state)
{
    (void)state;
    uint32_t current = 0;
    assert_int_equal(generation_open(store.kv, SHARD, store.batch, &current), RC_OK);
    assert_int_equal(current, 1);
    save(9, GENERATION_NONE);
    assert_int_equal(generation_open(store.kv, SHARD, store.batch, &current), RC_OK);
    assert_int_equal(current, 9);
    assert_int_equal(store.kv->ops->batch_count(store.batch), 0);
}

/* The number filled next is one that is not taken, beyond the end of numbers too. */
static void the_next_number_is_free(void **state)
{
    (void)state;
    static const struct {
        struct generation row;
        uint32_t next;
    } cases[] = {{{1, 0}, 2},          {{1, 2}, 3},          {{5, 3}, 6},
                 {{UINT32_MAX, 0}, 1}, {{1, UINT32_MAX}, 2}, {{UINT32_MAX, 1}, 2}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_int_equal(generation_next(&cases[i].row), cases[i].next);
}

/* ---- Moving a row ---- */

/* A moved row opens under its key in the other generation, and only there. */
static void a_moved_row_is_sealed_anew(void **state)
{
    (void)state;
    struct keyspace keys = {.shard = SHARD, .generation = 3};
    struct keyspace_key old, new, expected;
    struct row_device row = {.delivered = 77}, moved;
    struct buf *value = buf_new(0);
    struct buf *into = buf_new(0);
    keyspace_name(&old, &keys, KEYSPACE_DEVICE, slice_string("x"));
    rows_encode(value, keyspace_slice(&old), &row_device_desc, &row);
    new = old;
    buf_append_byte(into, '!'); /* Appended, not put in its place. */
    assert_int_equal(generation_move_row(&new, buf_slice(value), 9, into), RC_OK);
    keys.generation = 9;
    keyspace_name(&expected, &keys, KEYSPACE_DEVICE, slice_string("x"));
    assert_true(slice_equal(keyspace_slice(&new), keyspace_slice(&expected)));
    struct slice bytes = slice_of(into->bytes + 1, into->size - 1);
    assert_int_equal(rows_decode(keyspace_slice(&new), bytes, &row_device_desc, &moved), RC_OK);
    assert_int_equal(moved.delivered, 77);
    assert_int_equal(rows_decode(keyspace_slice(&old), bytes, &row_device_desc, &moved),
                     RC_CORRUPT);
    buf_unref(&value);
    buf_unref(&into);
}

/* A row that fails its seal is not given a right one. */
static void a_damaged_row_is_not_moved(void **state)
{
    (void)state;
    struct keyspace keys = {.shard = SHARD, .generation = 3};
    struct keyspace_key key, before;
    struct row_device row = {.delivered = 77};
    struct buf *value = buf_new(0);
    struct buf *into = buf_new(0);
    keyspace_name(&key, &keys, KEYSPACE_DEVICE, slice_string("x"));
    before = key;
    rows_encode(value, keyspace_slice(&key), &row_device_desc, &row);
    for (size_t bit = 0; bit < 8 * value->size; bit++) {
        value->bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(generation_move_row(&key, buf_slice(value), 9, into), RC_CORRUPT);
        value->bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    assert_int_equal(generation_move_row(&key, slice_of("", 0), 9, into), RC_CORRUPT);
    assert_int_equal(into->size, 0);
    assert_true(slice_equal(keyspace_slice(&key), keyspace_slice(&before)));
    buf_unref(&value);
    buf_unref(&into);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define ON_DISK(name)                                                                              \
    {                                                                                              \
#name "_on_disk", name, setup_on_disk, teardown, NULL                                      \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(without_a_row_it_is_generation_1),
        TEST(the_row_survives_the_round_trip),
        ON_DISK(the_row_survives_the_round_trip),
        TEST(a_damaged_row_is_refused),
        TEST(a_row_that_cannot_be_is_refused),
        TEST(a_failing_disk_is_told),
        TEST(removal_takes_one_generation_of_one_shard),
        ON_DISK(removal_takes_one_generation_of_one_shard),
        TEST(a_removed_generation_can_be_filled_again),
        ON_DISK(a_removed_generation_can_be_filled_again),
        TEST(opening_removes_what_was_being_filled),
        ON_DISK(opening_removes_what_was_being_filled),
        TEST(opening_a_whole_shard_writes_nothing),
        TEST(the_next_number_is_free),
        TEST(a_moved_row_is_sealed_anew),
        TEST(a_damaged_row_is_not_moved),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
