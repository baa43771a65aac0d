/* Rows of the Raft log: what is written is read back, and what does not fit is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs those above. */
#include <cmocka.h>

#include "storage/mem_kv.h"
#include "storage/raft_log.h"
#include "storage/raft_log_load.h"

#define SHARD 7u

struct fixture {
    struct kv *kv;
    struct kv_batch *batch;
    struct buf *row;
    uint64_t visited; /* Entries that raft_log_load() has shown. */
};

static int setup(void **state)
{
    static struct fixture f;
    f = (struct fixture){.kv = mem_kv_new(), .row = buf_new(0)};
    f.batch = f.kv->ops->batch_new(f.kv);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    f->kv->ops->batch_free(&f->batch);
    f->kv->ops->close(&f->kv);
    buf_unref(&f->row);
    return 0;
}

static void put_hard(struct fixture *f, uint64_t term)
{
    uint8_t key[RAFT_LOG_META_KEY_SIZE];
    const struct raft_log_hard hard = {.term = term, .vote = 3, .self = 9};
    buf_clear(f->row);
    raft_log_hard_encode(f->row, SHARD, &hard);
    kv_put(f->batch, KV_META, raft_log_hard_key(key, SHARD), buf_slice(f->row));
}

static void put_snapshot(struct fixture *f, uint64_t index, uint64_t term)
{
    uint8_t key[RAFT_LOG_META_KEY_SIZE];
    const struct raft_log_snapshot snapshot = {
        .index = index, .term = term, .conf_index = 1, .conf = slice_string("conf")};
    buf_clear(f->row);
    raft_log_snapshot_encode(f->row, SHARD, &snapshot);
    kv_put(f->batch, KV_META, raft_log_snapshot_key(key, SHARD), buf_slice(f->row));
}

static void put_entry(struct fixture *f, uint64_t index, uint64_t term, enum raft_log_type type)
{
    uint8_t key[RAFT_LOG_ENTRY_KEY_SIZE];
    const struct raft_log_entry entry = {
        .index = index, .term = term, .type = type, .data = slice_string("data")};
    buf_clear(f->row);
    raft_log_entry_encode(f->row, SHARD, &entry);
    kv_put(f->batch, KV_LOG, raft_log_entry_key(key, SHARD, index), buf_slice(f->row));
}

static enum rc visit(void *context, const struct raft_log_entry *entry)
{
    struct fixture *f = context;
    assert_true(slice_equals(entry->data, "data"));
    f->visited++;
    return RC_OK;
}

static enum rc write_and_load(struct fixture *f, struct raft_log_loaded *loaded)
{
    assert_int_equal(f->kv->ops->write(f->kv, f->batch), RC_OK);
    return raft_log_load(f->kv, SHARD, loaded, visit, f);
}

static void assert_refused(struct fixture *f)
{
    struct raft_log_loaded loaded;
    assert_int_equal(write_and_load(f, &loaded), RC_CORRUPT);
    raft_log_loaded_fini(&loaded);
}

/* Big-endian numbers in keys make byte order the order of shards and indexes. */
static void keys_sort_by_shard_and_index(void **state)
{
    (void)state;
    uint8_t a[RAFT_LOG_ENTRY_KEY_SIZE], b[RAFT_LOG_ENTRY_KEY_SIZE];
    struct slice low = raft_log_entry_key(a, 1, 255);
    struct slice high = raft_log_entry_key(b, 1, 256);
    assert_true(memcmp(low.base, high.base, low.size) < 0);
    high = raft_log_entry_key(b, 2, 1);
    assert_true(memcmp(low.base, high.base, low.size) < 0);
}

/* An entry comes back with its index, term, type and data. */
static void an_entry_survives_the_round_trip(void **state)
{
    struct fixture *f = *state;
    uint8_t bytes[RAFT_LOG_ENTRY_KEY_SIZE];
    struct slice key = raft_log_entry_key(bytes, SHARD, UINT64_C(1) << 40);
    const struct raft_log_entry entry = {
        .index = UINT64_C(1) << 40, .term = 9, .type = RAFT_LOG_COMMAND, .data = slice_string("x")};
    struct raft_log_entry read;
    raft_log_entry_encode(f->row, SHARD, &entry);
    assert_int_equal(raft_log_entry_decode(key, buf_slice(f->row), SHARD, &read), RC_OK);
    assert_int_equal(read.index, entry.index);
    assert_int_equal(read.term, 9);
    assert_int_equal(read.type, RAFT_LOG_COMMAND);
    assert_true(slice_equals(read.data, "x"));
}

/* Any flipped bit of a row, and any cut, is noticed. */
static void a_damaged_row_is_refused(void **state)
{
    struct fixture *f = *state;
    uint8_t bytes[RAFT_LOG_ENTRY_KEY_SIZE];
    struct slice key = raft_log_entry_key(bytes, SHARD, 5);
    const struct raft_log_entry entry = {
        .index = 5, .term = 2, .type = RAFT_LOG_COMMAND, .data = slice_string("hello")};
    struct raft_log_entry read;
    raft_log_entry_encode(f->row, SHARD, &entry);
    for (size_t bit = 0; bit < 8 * f->row->size; bit++) {
        f->row->bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(raft_log_entry_decode(key, buf_slice(f->row), SHARD, &read), RC_CORRUPT);
        f->row->bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    for (size_t size = 0; size < f->row->size; size++)
        assert_int_equal(raft_log_entry_decode(key, slice_of(f->row->bytes, size), SHARD, &read),
                         RC_CORRUPT);
}

/* The seal covers the key: a whole row under another index or shard is refused. */
static void a_row_in_the_wrong_place_is_refused(void **state)
{
    struct fixture *f = *state;
    uint8_t bytes[RAFT_LOG_ENTRY_KEY_SIZE];
    const struct raft_log_entry entry = {
        .index = 5, .term = 2, .type = RAFT_LOG_COMMAND, .data = slice_string("hello")};
    struct raft_log_entry read;
    raft_log_entry_encode(f->row, SHARD, &entry);
    struct slice row = buf_slice(f->row);
    assert_int_equal(raft_log_entry_decode(raft_log_entry_key(bytes, SHARD, 6), row, SHARD, &read),
                     RC_CORRUPT);
    assert_int_equal(
        raft_log_entry_decode(raft_log_entry_key(bytes, SHARD + 1, 5), row, SHARD + 1, &read),
        RC_CORRUPT);
}

/* Hard state and snapshot mark come back as they were, and not from each other's rows. */
static void meta_rows_survive_the_round_trip(void **state)
{
    struct fixture *f = *state;
    const struct raft_log_hard hard = {.term = 77, .vote = 3, .self = 9};
    const struct raft_log_snapshot snapshot = {
        .index = 10, .term = 4, .conf_index = 1, .conf = slice_string("conf")};
    struct raft_log_hard hard_read;
    struct raft_log_snapshot snapshot_read;
    raft_log_hard_encode(f->row, SHARD, &hard);
    assert_int_equal(raft_log_hard_decode(buf_slice(f->row), SHARD, &hard_read), RC_OK);
    assert_int_equal(hard_read.term, 77);
    assert_int_equal(hard_read.vote, 3);
    assert_int_equal(hard_read.self, 9);
    assert_int_equal(raft_log_snapshot_decode(buf_slice(f->row), SHARD, &snapshot_read),
                     RC_CORRUPT);
    buf_clear(f->row);
    raft_log_snapshot_encode(f->row, SHARD, &snapshot);
    assert_int_equal(raft_log_snapshot_decode(buf_slice(f->row), SHARD, &snapshot_read), RC_OK);
    assert_int_equal(snapshot_read.index, 10);
    assert_int_equal(snapshot_read.term, 4);
    assert_int_equal(snapshot_read.conf_index, 1);
    assert_true(slice_equals(snapshot_read.conf, "conf"));
}

/* A log with all its parts is shown entry by entry. */
static void a_whole_log_is_loaded(void **state)
{
    struct fixture *f = *state;
    struct raft_log_loaded loaded;
    put_hard(f, 3);
    put_entry(f, 1, 1, RAFT_LOG_CHANGE);
    put_entry(f, 2, 2, RAFT_LOG_BARRIER);
    put_entry(f, 3, 3, RAFT_LOG_COMMAND);
    assert_int_equal(write_and_load(f, &loaded), RC_OK);
    assert_int_equal(f->visited, 3);
    assert_int_equal(loaded.first_index, 1);
    assert_int_equal(loaded.last_index, 3);
    assert_false(loaded.has_snapshot);
    raft_log_loaded_fini(&loaded);
}

/* The log may have no entry at all after its snapshot mark. */
static void a_log_may_end_at_its_snapshot(void **state)
{
    struct fixture *f = *state;
    struct raft_log_loaded loaded;
    put_hard(f, 3);
    put_snapshot(f, 20, 2);
    assert_int_equal(write_and_load(f, &loaded), RC_OK);
    assert_true(loaded.has_snapshot);
    assert_int_equal(loaded.first_index, 21);
    assert_int_equal(loaded.last_index, 20);
    raft_log_loaded_fini(&loaded);
}

/* An empty store is not an error of the disk but the absence of a shard. */
static void an_empty_store_holds_no_log(void **state)
{
    struct fixture *f = *state;
    struct raft_log_loaded loaded;
    assert_int_equal(write_and_load(f, &loaded), RC_NOT_FOUND);
    raft_log_loaded_fini(&loaded);
}

/* Term and vote without the log they belong to mean that the log is lost. */
static void hard_state_without_log_is_refused(void **state)
{
    put_hard(*state, 3);
    assert_refused(*state);
}

/* A log without term and vote could vote twice. */
static void a_log_without_hard_state_is_refused(void **state)
{
    put_entry(*state, 1, 1, RAFT_LOG_CHANGE);
    assert_refused(*state);
}

/* A snapshot mark without term and vote could vote twice as well. */
static void a_snapshot_without_hard_state_is_refused(void **state)
{
    put_snapshot(*state, 20, 2);
    assert_refused(*state);
}

/* An entry that is missing in the middle was acknowledged and is lost. */
static void a_hole_is_refused(void **state)
{
    put_hard(*state, 3);
    put_entry(*state, 1, 1, RAFT_LOG_CHANGE);
    put_entry(*state, 3, 3, RAFT_LOG_COMMAND);
    assert_refused(*state);
}

/* The log must go on where its snapshot mark ends. */
static void a_hole_after_the_snapshot_is_refused(void **state)
{
    put_hard(*state, 3);
    put_snapshot(*state, 20, 2);
    put_entry(*state, 22, 3, RAFT_LOG_COMMAND);
    assert_refused(*state);
}

/* Terms never fall along a log. */
static void a_falling_term_is_refused(void **state)
{
    put_hard(*state, 3);
    put_entry(*state, 1, 2, RAFT_LOG_CHANGE);
    put_entry(*state, 2, 1, RAFT_LOG_COMMAND);
    assert_refused(*state);
}

/* An entry of a term that the hard state has not reached means that hard state went back. */
static void a_term_above_the_hard_state_is_refused(void **state)
{
    put_hard(*state, 1);
    put_entry(*state, 1, 2, RAFT_LOG_CHANGE);
    assert_refused(*state);
}

/* The first entry of all says who the voters are. */
static void a_log_that_begins_without_configuration_is_refused(void **state)
{
    put_hard(*state, 1);
    put_entry(*state, 1, 1, RAFT_LOG_COMMAND);
    assert_refused(*state);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(keys_sort_by_shard_and_index),
        TEST(an_entry_survives_the_round_trip),
        TEST(a_damaged_row_is_refused),
        TEST(a_row_in_the_wrong_place_is_refused),
        TEST(meta_rows_survive_the_round_trip),
        TEST(a_whole_log_is_loaded),
        TEST(a_log_may_end_at_its_snapshot),
        TEST(an_empty_store_holds_no_log),
        TEST(hard_state_without_log_is_refused),
        TEST(a_log_without_hard_state_is_refused),
        TEST(a_snapshot_without_hard_state_is_refused),
        TEST(a_hole_is_refused),
        TEST(a_hole_after_the_snapshot_is_refused),
        TEST(a_falling_term_is_refused),
        TEST(a_term_above_the_hard_state_is_refused),
        TEST(a_log_that_begins_without_configuration_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
