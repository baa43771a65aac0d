/* A shard on its way from one store to another, in memory and on real disks.
 *
 * The rows here are a shard's as the machine would store them, in every table; what is in them is
 * nobody's business but the seal's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
/* cmocka.h needs those above. */
#include <cmocka.h>

#include "mesh/base/crypto.h"
#include "mesh/base/mem.h"
#include "nodes/router/transfer.h"
#include "storage/generation.h"
#include "storage/mem_kv.h"
#include "storage/rows.h"
#include "storage/sealed.h"
#include "tests/support/scratch_store.h"

#define SHARD   7u
#define SENT    3u /* The generation that is sent. */
#define CURRENT 5u /* The receiver's, at first. */
#define FILLED  6u
#define APPLIED 4711u
#define ID      99u
#define TO      12345u

static struct scratch_store from, into;
static struct transfer_out *out;
static struct transfer_in *in;
static uint64_t now_ms;

static void open_both(bool is_on_disk)
{
    scratch_store_open(&from, is_on_disk);
    scratch_store_open(&into, is_on_disk);
    out = NULL;
    in = transfer_in_new(SHARD, CURRENT);
    now_ms = 1000;
    struct generation row = {.current = CURRENT};
    generation_store(SHARD, &row, into.batch);
    scratch_store_write(&into);
}

static int setup(void **state)
{
    (void)state;
    open_both(false);
    return 0;
}

static int setup_on_disk(void **state)
{
    (void)state;
    open_both(true);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    transfer_out_free(&out);
    transfer_in_free(&in);
    scratch_store_close(&from);
    scratch_store_close(&into);
    return 0;
}

/* ---- Rows ---- */

static void put_row(struct scratch_store *s, const struct keyspace_key *key, size_t size)
{
    struct buf *row = buf_new(0);
    size_t begin = sealed_begin(row, ROWS_VERSION);
    memset(buf_reserve(row, size), 'x', size);
    row->size += size;
    sealed_end(row, begin, keyspace_slice(key));
    kv_put(s->batch, keyspace_family(key), keyspace_slice(key), buf_slice(row));
    buf_unref(&row);
}

static void put_entry(struct scratch_store *s, const struct keyspace *keys, uint64_t seq,
                      size_t size)
{
    struct keyspace_key key;
    keyspace_entry(&key, keys, slice_string("conv"), seq);
    put_row(s, &key, size);
}

static void put_dedup(struct scratch_store *s, const struct keyspace *keys, uint32_t number)
{
    uint8_t digest[KEYSPACE_DIGEST_SIZE] = {0};
    struct keyspace_key key;
    uint64_t scattered = number * 0x9E3779B97F4A7C15u;
    memcpy(digest, &scattered, sizeof(scattered));
    keyspace_dedup(&key, keys, number % 3, digest);
    put_row(s, &key, 4);
}

/* A row in each table, one of them with the longest key there is, and in each family `count`. */
static void put_shard(struct scratch_store *s, uint32_t shard, uint32_t generation, uint32_t first,
                      uint32_t count)
{
    static const enum keyspace_table tables[] = {
        KEYSPACE_APPLIED, KEYSPACE_CLUSTER, KEYSPACE_ROUTER, KEYSPACE_CONV,  KEYSPACE_HEAD,
        KEYSPACE_MEMBER,  KEYSPACE_OWED,    KEYSPACE_CURSOR, KEYSPACE_INDEX,
    };
    char name[LIMIT_CONV_SIZE_MAX];
    struct keyspace keys = {.shard = shard, .generation = generation};
    struct keyspace_key key;
    memset(name, 0xff, sizeof(name));
    for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
        keyspace_name(&key, &keys, tables[i], slice_string("c"));
        put_row(s, &key, i);
    }
    keyspace_device(&key, &keys, slice_of(name, LIMIT_CONV_SIZE_MAX),
                    slice_of(name, LIMIT_USER_SIZE_MAX), slice_of(name, LIMIT_DEVICE_SIZE_MAX));
    put_row(s, &key, 3);
    for (uint32_t i = first; i < first + count; i++) {
        put_entry(s, &keys, i, 200 + i % 64);
        put_dedup(s, &keys, i);
    }
    scratch_store_write(s);
}

/* All rows of a generation: their keys without shard and generation, and what their seals hold. */
static struct buf *dump(struct scratch_store *s, uint32_t shard, uint32_t generation)
{
    const struct kv_ops *ops = s->kv->ops;
    struct keyspace_key first, end;
    struct slice key, value, body;
    struct buf *rows = buf_new(0);
    generation_range(shard, generation, &first, &end);
    for (enum kv_family family = KV_STATE; family <= KV_DEDUP; family++) {
        struct kv_iterator *i =
            ops->iterate(s->kv, family, keyspace_slice(&first), keyspace_slice(&end), false);
        while (ops->next(i, &key, &value)) {
            assert_int_equal(sealed_open(key, value, ROWS_VERSION, &body), RC_OK);
            record_put_slice(rows, slice_of(key.base + 8, key.size - 8));
            record_put_slice(rows, body);
        }
        assert_int_equal(ops->iterator_free(&i), RC_OK);
    }
    return rows;
}

static uint32_t count_in(const struct buf *rows)
{
    struct record_reader r = record_reader_of(buf_slice(rows));
    struct slice bytes;
    uint32_t count = 0;
    for (; !record_reader_at_end(&r); count++)
        assert_int_equal(record_get_slice(&r, &bytes), RC_OK);
    return count / 2;
}

static uint32_t count_rows(struct scratch_store *s, uint32_t shard, uint32_t generation)
{
    struct buf *rows = dump(s, shard, generation);
    uint32_t count = count_in(rows);
    buf_unref(&rows);
    return count;
}

static void expect_same(struct buf *expected, struct buf *found)
{
    assert_int_equal(count_in(found), count_in(expected));
    assert_true(slice_equal(buf_slice(found), buf_slice(expected)));
    buf_unref(&expected);
    buf_unref(&found);
}

static void expect_generation(uint32_t current, uint32_t filling)
{
    struct generation row;
    assert_int_equal(generation_load(into.kv, SHARD, &row), RC_OK);
    assert_int_equal(row.current, current);
    assert_int_equal(row.filling, filling);
}

/* ---- Chunks ---- */

static void begin_out(void)
{
    out = transfer_out_new(from.kv, SHARD, SENT, TO, ID, APPLIED, now_ms);
}

static struct msg_chunk next_chunk(void)
{
    struct msg_chunk chunk;
    assert_int_equal(transfer_out_next(out, &chunk), RC_OK);
    return chunk;
}

/* What the receiver says to a chunk, its batch written. */
static struct msg_chunk_ack receive(const struct msg_chunk *chunk)
{
    struct msg_chunk_ack ack;
    transfer_in_on_chunk(in, chunk, into.batch, now_ms, &ack);
    assert_int_equal(ack.transfer, chunk->transfer);
    assert_int_equal(ack.group, chunk->group);
    scratch_store_write(&into);
    ack.from = TO;
    return ack;
}

static void expect_ack(const struct msg_chunk *chunk, enum rc rc, uint64_t next)
{
    struct msg_chunk_ack ack = receive(chunk);
    assert_int_equal(ack.rc, rc);
    assert_int_equal(ack.next, next);
}

/* Send all there is; returns how many chunks. */
static uint64_t run(void)
{
    uint64_t chunks = 0;
    while (!transfer_out_is_complete(out)) {
        struct msg_chunk chunk = next_chunk();
        struct msg_chunk_ack ack = receive(&chunk);
        assert_int_equal(transfer_out_on_ack(out, &ack, now_ms), RC_OK);
        chunks++;
    }
    return chunks;
}

/* A chunk of one's own making, whose checksum is right where it is the first. */
static struct msg_chunk chunk_of(uint64_t transfer, uint64_t number, const struct buf *rows)
{
    return (struct msg_chunk){
        .group = SHARD,
        .transfer = transfer,
        .number = number,
        .applied = APPLIED,
        .check = crypto_crc32c(0, rows->bytes, rows->size),
        .rows = buf_slice(rows),
    };
}

static void add_row(struct buf *rows, uint64_t family, struct slice tail, struct slice value)
{
    record_put_u64(rows, family);
    record_put_slice(rows, tail);
    record_put_slice(rows, value);
}

/* A row under a right seal, whatever its key is. */
static void add_sealed(struct buf *rows, uint64_t family, struct slice tail)
{
    struct buf *key = buf_new(0);
    struct buf *row = buf_new(0);
    buf_append(key, (uint8_t[8]){[3] = SHARD}, 8); /* Shard, generation 0. */
    buf_append_slice(key, tail);
    size_t begin = sealed_begin(row, ROWS_VERSION);
    buf_append_string(row, "body");
    sealed_end(row, begin, buf_slice(key));
    add_row(rows, family, tail, buf_slice(row));
    buf_unref(&key);
    buf_unref(&row);
}

static void expect_incomplete(void)
{
    uint64_t applied;
    assert_false(transfer_in_is_complete(in, &applied));
}

/* ---- The whole way ---- */

/* Every row arrives, sealed under its new key; rows of other shards and generations stay. */
static void a_shard_arrives_row_by_row(void **state)
{
    (void)state;
    put_shard(&from, SHARD, SENT, 0, 3000);
    put_shard(&from, SHARD, SENT - 1, 0, 5);
    put_shard(&from, SHARD, SENT + 1, 0, 5);
    put_shard(&from, SHARD + 1, SENT, 0, 5);
    scratch_store_reopen(&from);
    put_shard(&from, SHARD, SENT, 3000, 3000); /* These lie in memtables. */
    put_shard(&into, SHARD, CURRENT, 0, 10);
    begin_out();
    assert_true(run() > 3);
    assert_true(transfer_out_bytes(out) > 6000 * 200);
    assert_int_equal(transfer_out_to(out), TO);
    assert_int_equal(transfer_out_applied(out), APPLIED);

    uint64_t applied = 0;
    assert_true(transfer_in_is_complete(in, &applied));
    assert_int_equal(applied, APPLIED);
    expect_generation(CURRENT, FILLED);
    assert_int_equal(count_rows(&into, SHARD, FILLED), 2 * 6000 + 10);
    expect_same(dump(&from, SHARD, SENT), dump(&into, SHARD, FILLED));
    assert_int_equal(count_rows(&into, SHARD, CURRENT), 2 * 10 + 10);
    assert_int_equal(count_rows(&into, SHARD + 1, SENT), 0);
}

/* The switch makes the new generation the one in use and removes the old. */
static void the_switch_leaves_one_generation(void **state)
{
    (void)state;
    uint64_t applied;
    put_shard(&from, SHARD, SENT, 0, 10);
    put_shard(&into, SHARD, CURRENT, 0, 500);
    begin_out();
    run();
    assert_int_equal(transfer_in_switch(in, into.batch), FILLED);
    scratch_store_write(&into);
    expect_generation(FILLED, GENERATION_NONE);
    assert_int_equal(count_rows(&into, SHARD, CURRENT), 0);
    expect_same(dump(&from, SHARD, SENT), dump(&into, SHARD, FILLED));
    assert_false(transfer_in_is_complete(in, &applied));
    scratch_store_reopen(&into);
    assert_int_equal(count_rows(&into, SHARD, CURRENT), 0);

    /* And the next transfer fills the one after. */
    transfer_out_free(&out);
    out = transfer_out_new(from.kv, SHARD, SENT, TO, ID + 1, APPLIED, now_ms);
    run();
    assert_int_equal(transfer_in_switch(in, into.batch), FILLED + 1);
    scratch_store_write(&into);
    expect_same(dump(&from, SHARD, SENT), dump(&into, SHARD, FILLED + 1));
    assert_int_equal(count_rows(&into, SHARD, FILLED), 0);
}

/* An empty shard is one chunk without rows. */
static void an_empty_shard_is_one_chunk(void **state)
{
    (void)state;
    put_shard(&from, SHARD, SENT + 1, 0, 5);
    begin_out();
    struct msg_chunk chunk = next_chunk();
    assert_int_equal(chunk.number, 0);
    assert_int_equal(chunk.last, 1);
    assert_int_equal(chunk.rows.size, 0);
    assert_int_equal(chunk.applied, APPLIED);
    expect_ack(&chunk, RC_OK, 1);
    assert_int_equal(transfer_in_switch(in, into.batch), FILLED);
}

/* The rows are those of the moment it began, in both families, whatever is written meanwhile. */
static void what_is_written_meanwhile_is_not_sent(void **state)
{
    (void)state;
    struct keyspace keys = {.shard = SHARD, .generation = SENT};
    put_shard(&from, SHARD, SENT, 0, 3000);
    struct buf *before = dump(&from, SHARD, SENT);
    begin_out();
    for (uint32_t i = 0; !transfer_out_is_complete(out); i++) {
        put_shard(&from, SHARD, SENT, 5000 + i, 1);
        put_entry(&from, &keys, i, 1); /* Another value. */
        if (i == 1)
            generation_remove(SHARD, SENT, from.batch);
        scratch_store_write(&from);
        struct msg_chunk chunk = next_chunk();
        struct msg_chunk_ack ack = receive(&chunk);
        assert_int_equal(transfer_out_on_ack(out, &ack, now_ms), RC_OK);
    }
    expect_same(before, dump(&into, SHARD, FILLED));
}

/* No chunk is larger than the limit, but for a row that is larger by itself. */
static void a_chunk_is_bounded_and_a_large_row_goes_alone(void **state)
{
    (void)state;
    struct keyspace keys = {.shard = SHARD, .generation = SENT};
    uint32_t alone = 0;
    for (uint32_t i = 0; i < 1200; i++) /* Through all offsets of a chunk's end. */
        put_entry(&from, &keys, i, 700 + i);
    put_entry(&from, &keys, 1200, LIMIT_CHUNK_SIZE);
    put_entry(&from, &keys, 1201, 2 * LIMIT_CHUNK_SIZE);
    put_entry(&from, &keys, 1202, 1);
    scratch_store_write(&from);
    begin_out();
    while (!transfer_out_is_complete(out)) {
        struct msg_chunk chunk = next_chunk();
        assert_true(chunk.rows.size > 0);
        if (chunk.rows.size > LIMIT_CHUNK_SIZE) {
            alone++;
            struct record_reader r = record_reader_of(chunk.rows);
            struct slice bytes;
            uint64_t family;
            assert_int_equal(record_get_u64(&r, &family), RC_OK);
            assert_int_equal(record_get_slice(&r, &bytes), RC_OK);
            assert_int_equal(record_get_slice(&r, &bytes), RC_OK);
            assert_true(record_reader_at_end(&r));
        }
        struct msg_chunk_ack ack = receive(&chunk);
        assert_int_equal(transfer_out_on_ack(out, &ack, now_ms), RC_OK);
    }
    assert_int_equal(alone, 2);
    expect_same(dump(&from, SHARD, SENT), dump(&into, SHARD, FILLED));
}

/* ---- The sender ---- */

/* Beyond LIMIT_CHUNKS_IN_FLIGHT an ack must come first, and after the last chunk none is made. */
static void few_chunks_are_in_flight(void **state)
{
    (void)state;
    struct msg_chunk chunk;
    put_shard(&from, SHARD, SENT, 0, 8000);
    begin_out();
    for (uint32_t i = 0; i < LIMIT_CHUNKS_IN_FLIGHT; i++)
        assert_int_equal(next_chunk().number, i);
    assert_int_equal(transfer_out_next(out, &chunk), RC_AGAIN);
    struct msg_chunk_ack ack = {.group = SHARD, .from = TO, .transfer = ID, .next = 2};
    assert_int_equal(transfer_out_on_ack(out, &ack, now_ms), RC_OK);
    next_chunk();
    chunk = next_chunk();
    while (chunk.last == 0) {
        ack.next = chunk.number + 1;
        assert_int_equal(transfer_out_on_ack(out, &ack, now_ms), RC_OK);
        chunk = next_chunk();
    }
    assert_false(transfer_out_is_complete(out));
    ack.next = chunk.number; /* All but the last. */
    assert_int_equal(transfer_out_on_ack(out, &ack, now_ms), RC_OK);
    assert_false(transfer_out_is_complete(out));
    assert_int_equal(transfer_out_next(out, &chunk), RC_AGAIN);
    ack.next++;
    assert_int_equal(transfer_out_on_ack(out, &ack, now_ms), RC_OK);
    assert_true(transfer_out_is_complete(out));
    assert_int_equal(transfer_out_next(out, &chunk), RC_AGAIN);
}

/* What the receiver says ends the transfer, also in a word that is not known here. */
static void an_ack_with_an_error_ends_it(void **state)
{
    (void)state;
    struct msg_chunk_ack ack = {.group = SHARD, .from = TO, .transfer = ID};
    begin_out();
    next_chunk();
    ack.rc = RC_UNAVAILABLE;
    assert_int_equal(transfer_out_on_ack(out, &ack, now_ms), RC_UNAVAILABLE);
    ack.rc = RC_COUNT;
    assert_int_equal(transfer_out_on_ack(out, &ack, now_ms), RC_CORRUPT);
    ack.rc = 1ull << 32;
    assert_int_equal(transfer_out_on_ack(out, &ack, now_ms), RC_CORRUPT);
    ack.rc = RC_OK;
    ack.next = 2; /* Never sent. */
    assert_int_equal(transfer_out_on_ack(out, &ack, now_ms), RC_CORRUPT);
}

/* Acks of another transfer, replica or shard, and those that come twice, change nothing. */
static void an_ack_of_something_else_is_ignored(void **state)
{
    (void)state;
    const struct msg_chunk_ack right = {.group = SHARD, .from = TO, .transfer = ID, .next = 1};
    struct msg_chunk_ack ack[3] = {right, right, right};
    ack[0].transfer++;
    ack[1].from++;
    ack[2].group++;
    begin_out();
    next_chunk();
    for (size_t i = 0; i < 3; i++) {
        ack[i].rc = RC_CORRUPT;
        assert_int_equal(transfer_out_on_ack(out, &ack[i], now_ms), RC_OK);
        ack[i].rc = RC_OK;
        assert_int_equal(transfer_out_on_ack(out, &ack[i], now_ms), RC_OK);
        assert_false(transfer_out_is_complete(out));
    }
    assert_int_equal(transfer_out_on_ack(out, &right, now_ms), RC_OK);
    assert_true(transfer_out_is_complete(out));
    ack[0] = right;
    ack[0].next = 0; /* One that was overtaken. */
    assert_int_equal(transfer_out_on_ack(out, &ack[0], now_ms), RC_OK);
    assert_true(transfer_out_is_complete(out));
}

/* A receiver that says nothing new for too long is given up; one that has all is not. */
static void a_sender_notices_silence(void **state)
{
    (void)state;
    struct msg_chunk_ack ack = {.group = SHARD, .from = TO, .transfer = ID, .next = 1};
    put_shard(&from, SHARD, SENT, 0, 2000);
    begin_out();
    assert_int_equal(next_chunk().last, 0);
    assert_false(transfer_out_is_silent(out, now_ms + LIMIT_TRANSFER_SILENT_MS - 1));
    assert_true(transfer_out_is_silent(out, now_ms + LIMIT_TRANSFER_SILENT_MS));
    assert_false(transfer_out_is_silent(out, now_ms - 1));
    now_ms += LIMIT_TRANSFER_SILENT_MS;
    assert_int_equal(transfer_out_on_ack(out, &ack, now_ms), RC_OK);
    assert_false(transfer_out_is_silent(out, now_ms + LIMIT_TRANSFER_SILENT_MS - 1));
    assert_int_equal(transfer_out_on_ack(out, &ack, now_ms + 100), RC_OK); /* Nothing new. */
    assert_true(transfer_out_is_silent(out, now_ms + LIMIT_TRANSFER_SILENT_MS));
}

/* All acknowledged is never silent: what follows is Raft's to time. */
static void what_is_complete_is_not_silent(void **state)
{
    (void)state;
    begin_out();
    run();
    assert_false(transfer_out_is_silent(out, now_ms + 10 * LIMIT_TRANSFER_SILENT_MS));
    assert_false(transfer_in_is_silent(in, now_ms + 10 * LIMIT_TRANSFER_SILENT_MS));
}

/* A damaged row in the sender's store is found there, and not sent. */
static void a_damaged_row_is_not_sent(void **state)
{
    (void)state;
    struct keyspace keys = {.shard = SHARD, .generation = SENT};
    struct keyspace_key key;
    struct msg_chunk chunk;
    put_shard(&from, SHARD, SENT, 0, 10);
    keyspace_entry(&key, &keys, slice_string("conv"), 4);
    kv_put(from.batch, KV_STATE, keyspace_slice(&key), slice_string("\1abcdef"));
    scratch_store_write(&from);
    begin_out();
    assert_int_equal(transfer_out_next(out, &chunk), RC_CORRUPT);
}

/* Keys that no writer makes, too short or too long, are a damaged store as well. */
static void an_impossible_key_is_not_sent(void **state)
{
    (void)state;
    static const size_t sizes[] = {KEYSPACE_HEADER_SIZE - 1, KEYSPACE_SIZE_MAX + 1};
    uint8_t key[KEYSPACE_SIZE_MAX + 1] = {[3] = SHARD, [7] = SENT};
    struct msg_chunk chunk;
    for (size_t i = 0; i < 2; i++) {
        kv_put(from.batch, KV_STATE, slice_of(key, sizes[i]), slice_string("\1abcdef"));
        scratch_store_write(&from);
        begin_out();
        assert_int_equal(transfer_out_next(out, &chunk), RC_CORRUPT);
        transfer_out_free(&out);
        generation_remove(SHARD, SENT, from.batch);
        scratch_store_write(&from);
    }
}

static enum rc (*whole_iterator_free)(struct kv_iterator **iterator);
static uint32_t failing_iterator; /* Counts down to the one that fails. */

static enum rc fail_iterator_free(struct kv_iterator **iterator)
{
    enum rc rc = whole_iterator_free(iterator);
    return failing_iterator-- == 0 ? RC_IO : rc;
}

/* An iterator that ends because the disk failed does not make a shard look shorter. */
static void a_shard_cut_short_is_not_taken_for_whole(void **state)
{
    (void)state;
    const struct kv_ops *whole = from.kv->ops;
    struct kv_ops ops = *whole;
    struct msg_chunk chunk;
    whole_iterator_free = whole->iterator_free;
    ops.iterator_free = fail_iterator_free;
    put_shard(&from, SHARD, SENT, 0, 10);
    from.kv->ops = &ops;
    for (uint32_t i = 0; i < 3; i++) {
        begin_out();
        failing_iterator = i;
        assert_int_equal(transfer_out_next(out, &chunk), i < 2 ? RC_IO : RC_OK);
        failing_iterator = UINT32_MAX;
        transfer_out_free(&out);
    }
    from.kv->ops = whole;
}

/* ---- The receiver ---- */

/* A chunk that comes again is acknowledged again, and changes nothing. */
static void a_doubled_chunk_changes_nothing(void **state)
{
    (void)state;
    struct msg_chunk_ack ack;
    put_shard(&from, SHARD, SENT, 0, 3000);
    begin_out();
    for (uint64_t i = 0; !transfer_out_is_complete(out); i++) {
        struct msg_chunk chunk = next_chunk();
        expect_ack(&chunk, RC_OK, i + 1);
        for (chunk.number = 0; chunk.number <= i; chunk.number++) {
            transfer_in_on_chunk(in, &chunk, into.batch, now_ms, &ack);
            assert_int_equal(into.kv->ops->batch_count(into.batch), 0);
            assert_int_equal(ack.rc, RC_OK);
            assert_int_equal(ack.next, i + 1);
        }
        ack.from = TO;
        assert_int_equal(transfer_out_on_ack(out, &ack, now_ms), RC_OK);
    }
    expect_same(dump(&from, SHARD, SENT), dump(&into, SHARD, FILLED));
}

/* Where a chunk is missing, the transfer ends, and what came of it is removed. */
static void a_hole_ends_the_transfer(void **state)
{
    (void)state;
    put_shard(&from, SHARD, SENT, 0, 6000);
    put_shard(&into, SHARD, CURRENT, 0, 5);
    begin_out();
    struct msg_chunk chunk = next_chunk();
    expect_ack(&chunk, RC_OK, 1);
    assert_true(count_rows(&into, SHARD, FILLED) > 0);
    next_chunk();
    chunk = next_chunk();
    expect_ack(&chunk, RC_CORRUPT, 0);
    expect_generation(CURRENT, GENERATION_NONE);
    assert_int_equal(count_rows(&into, SHARD, FILLED), 0);
    assert_int_equal(count_rows(&into, SHARD, CURRENT), 5 * 2 + 10);
    chunk = next_chunk(); /* One that was in flight. */
    expect_ack(&chunk, RC_CORRUPT, 0);
    expect_incomplete();
}

static void expect_refused(const struct msg_chunk *chunk)
{
    expect_ack(chunk, RC_CORRUPT, 0);
    expect_generation(CURRENT, GENERATION_NONE);
    assert_int_equal(count_rows(&into, SHARD, FILLED), 0);
    expect_incomplete();
}

/* A chunk whose checksum, applied index or end mark is wrong ends the transfer. */
static void a_chunk_that_disagrees_is_refused(void **state)
{
    (void)state;
    struct buf *rows = buf_new(0);
    add_sealed(rows, KV_STATE, slice_string("cname"));
    const struct msg_chunk first = chunk_of(ID, 0, rows);
    struct msg_chunk second = chunk_of(ID, 1, rows);
    second.check = crypto_crc32c((uint32_t)second.check, rows->bytes, rows->size);
    second.last = 1;
    struct msg_chunk wrong[5] = {second, second, second, second, second};
    wrong[0].check = first.check; /* As if it were the first. */
    wrong[1].check |= 1ull << 32;
    wrong[2].applied++;
    wrong[3].last = 2;
    wrong[4].rows.size--;
    for (size_t i = 0; i < 5; i++) {
        expect_ack(&first, RC_OK, 1);
        expect_generation(CURRENT, FILLED);
        expect_refused(&wrong[i]);
    }
    expect_ack(&first, RC_OK, 1);
    expect_ack(&second, RC_OK, 2);
    /* And after the last one there is no other. */
    second.number = 2;
    expect_refused(&second);
    buf_unref(&rows);
}

/* A chunk of no transfer, or of another shard, does not even end the one under way. */
static void a_chunk_of_another_shard_is_refused(void **state)
{
    (void)state;
    struct buf *rows = buf_new(0);
    add_sealed(rows, KV_STATE, slice_string("cname"));
    const struct msg_chunk first = chunk_of(ID, 0, rows);
    struct msg_chunk other = first;
    expect_ack(&first, RC_OK, 1);
    other.group++;
    other.transfer++;
    expect_ack(&other, RC_CORRUPT, 0);
    other.group = SHARD;
    other.transfer = 0;
    expect_ack(&other, RC_CORRUPT, 0);
    expect_generation(CURRENT, FILLED);
    assert_int_equal(count_rows(&into, SHARD, FILLED), 1);
    buf_unref(&rows);
}

/* Rows that are none, rows under a wrong seal, and keys that no shard has, leave nothing behind,
 * nor do those before them in the chunk. */
static void malformed_rows_are_refused(void **state)
{
    (void)state;
    char longest[KEYSPACE_SIZE_MAX];
    char dedup[KEYSPACE_DEDUP_SIZE] = {KEYSPACE_DEDUP};
    memset(longest, KEYSPACE_CONV, sizeof(longest));
    const struct {
        uint64_t family;
        struct slice tail;
    } keys[] = {
        {KV_STATE, slice_of("", 0)},
        {KV_STATE, slice_of("\0c", 2)},
        {KV_STATE, slice_string("zname")},
        {KV_STATE, slice_of(longest, KEYSPACE_SIZE_MAX - 8)},
        {KV_STATE, slice_of(longest, KEYSPACE_SIZE_MAX)},
        {KV_META, slice_string("cname")},
        {KV_LOG, slice_string("cname")},
        {KV_DEDUP, slice_string("cname")},
        {KV_FAMILY_COUNT, slice_string("cname")},
        {UINT64_MAX, slice_string("cname")},
        {(1ull << 32) + KV_STATE, slice_string("cname")},
        {KV_STATE, slice_of(dedup, KEYSPACE_DEDUP_SIZE - 8)},
        {KV_DEDUP, slice_of(dedup, 1)},
        {KV_DEDUP, slice_of(dedup, KEYSPACE_DEDUP_SIZE - 9)},
        {KV_DEDUP, slice_of(dedup, KEYSPACE_DEDUP_SIZE - 7)},
    };
    struct buf *rows = buf_new(0);
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        buf_clear(rows);
        add_sealed(rows, KV_STATE, slice_string("cname"));
        add_sealed(rows, keys[i].family, keys[i].tail);
        struct msg_chunk chunk = chunk_of(ID + i, 0, rows);
        expect_refused(&chunk);
    }
    /* The longest that fits, and a right one of the hashed family. */
    buf_clear(rows);
    add_sealed(rows, KV_STATE, slice_of(longest, KEYSPACE_SIZE_MAX - 9));
    add_sealed(rows, KV_DEDUP, slice_of(dedup, KEYSPACE_DEDUP_SIZE - 8));
    struct msg_chunk chunk = chunk_of(1, 0, rows);
    expect_ack(&chunk, RC_OK, 1);
    assert_int_equal(count_rows(&into, SHARD, FILLED), 2);
    buf_unref(&rows);
}

/* Bytes that are not a sequence of rows, and rows without a right seal, are refused. */
static void unsealed_and_broken_rows_are_refused(void **state)
{
    (void)state;
    struct buf *rows = buf_new(0);
    add_row(rows, KV_STATE, slice_string("cname"), slice_string("\1abcdefgh"));
    struct msg_chunk chunk = chunk_of(ID, 0, rows);
    expect_refused(&chunk);
    buf_clear(rows);
    add_row(rows, KV_STATE, slice_string("cname"), (struct slice){0});
    chunk = chunk_of(ID, 0, rows);
    expect_refused(&chunk);
    buf_clear(rows);
    add_row(rows, KV_STATE, (struct slice){0}, slice_string("\1abcdefgh"));
    chunk = chunk_of(ID, 0, rows);
    expect_refused(&chunk);
    buf_clear(rows);
    add_sealed(rows, KV_STATE, slice_string("cname"));
    for (size_t whole = rows->size; rows->size > 1;) {
        rows->size--;
        chunk = chunk_of(ID + whole - rows->size, 0, rows);
        expect_refused(&chunk);
    }
    buf_unref(&rows);
}

/* The first chunk of another transfer begins anew, in another generation. */
static void another_transfer_begins_anew(void **state)
{
    (void)state;
    put_shard(&from, SHARD, SENT, 0, 3000);
    begin_out();
    struct msg_chunk chunk = next_chunk();
    expect_ack(&chunk, RC_OK, 1);
    transfer_out_free(&out);

    out = transfer_out_new(from.kv, SHARD, SENT, TO, ID + 1, APPLIED + 1, now_ms);
    chunk = next_chunk();
    struct msg_chunk late = chunk;
    late.number = 1;
    expect_ack(&late, RC_CORRUPT, 0); /* Not its first: what is there stays. */
    expect_generation(CURRENT, FILLED);
    struct msg_chunk_ack ack = receive(&chunk);
    assert_int_equal(ack.rc, RC_OK);
    expect_generation(CURRENT, FILLED + 1);
    assert_int_equal(count_rows(&into, SHARD, FILLED), 0);
    assert_int_equal(transfer_out_on_ack(out, &ack, now_ms), RC_OK);
    late.transfer = ID;
    expect_ack(&late, RC_CORRUPT, 0); /* What is left of the old one does no harm. */
    run();
    uint64_t applied = 0;
    assert_true(transfer_in_is_complete(in, &applied));
    assert_int_equal(applied, APPLIED + 1);
    expect_same(dump(&from, SHARD, SENT), dump(&into, SHARD, FILLED + 1));

    /* So it does where the one before is complete and was never switched to. */
    transfer_out_free(&out);
    out = transfer_out_new(from.kv, SHARD, SENT, TO, ID + 2, APPLIED + 2, now_ms);
    run();
    expect_generation(CURRENT, FILLED + 2);
    assert_int_equal(count_rows(&into, SHARD, FILLED + 1), 0);
    expect_same(dump(&from, SHARD, SENT), dump(&into, SHARD, FILLED + 2));
}

/* Giving up removes what came; where nothing came, nothing is written. */
static void giving_up_removes_what_came(void **state)
{
    (void)state;
    transfer_in_abort(in, into.batch);
    assert_int_equal(into.kv->ops->batch_count(into.batch), 0);
    put_shard(&from, SHARD, SENT, 0, 3000);
    begin_out();
    struct msg_chunk chunk = next_chunk();
    expect_ack(&chunk, RC_OK, 1);
    transfer_in_abort(in, into.batch);
    scratch_store_write(&into);
    expect_generation(CURRENT, GENERATION_NONE);
    assert_int_equal(count_rows(&into, SHARD, FILLED), 0);
    transfer_out_free(&out);

    begin_out(); /* The same generation is filled again, over its removal. */
    run();
    expect_same(dump(&from, SHARD, SENT), dump(&into, SHARD, FILLED));
    transfer_in_abort(in, into.batch); /* A complete one too. */
    scratch_store_write(&into);
    assert_int_equal(count_rows(&into, SHARD, FILLED), 0);
    expect_incomplete();
}

/* A receiver to which no chunk comes for too long gives up; an idle one does not. */
static void a_receiver_notices_silence(void **state)
{
    (void)state;
    put_shard(&from, SHARD, SENT, 0, 3000);
    assert_false(transfer_in_is_silent(in, now_ms + LIMIT_TRANSFER_SILENT_MS));
    begin_out();
    for (int i = 0; i < 2; i++) {
        struct msg_chunk chunk = next_chunk();
        expect_ack(&chunk, RC_OK, chunk.number + 1);
        assert_false(transfer_in_is_silent(in, now_ms + LIMIT_TRANSFER_SILENT_MS - 1));
        assert_false(transfer_in_is_silent(in, now_ms - 1));
        assert_true(transfer_in_is_silent(in, now_ms + LIMIT_TRANSFER_SILENT_MS));
        now_ms += LIMIT_TRANSFER_SILENT_MS;
    }
    transfer_in_abort(in, into.batch);
    scratch_store_write(&into);
    assert_false(transfer_in_is_silent(in, now_ms + LIMIT_TRANSFER_SILENT_MS));
}

/* ---- Crashes ---- */

/* The router's start after a crash: what is in use is whole, and nothing else is left. */
static uint32_t restart(void)
{
    uint32_t current = 0;
    transfer_in_free(&in);
    assert_int_equal(generation_open(into.kv, SHARD, into.batch, &current), RC_OK);
    scratch_store_write(&into);
    expect_generation(current, GENERATION_NONE);
    for (uint32_t generation = CURRENT; generation <= FILLED + 1; generation++)
        if (generation != current)
            assert_int_equal(count_rows(&into, SHARD, generation), 0);
    in = transfer_in_new(SHARD, current);
    return current;
}

static void on_synced(void *context, enum rc rc)
{
    (void)context;
    assert_int_equal(rc, RC_OK);
}

static void sync_into(void)
{
    into.kv->ops->sync(into.kv, on_synced, NULL);
    assert_true(mem_kv_complete_sync(into.kv));
}

/* Whatever prefix of the batches a crash leaves, the shard is the old one or the new one. */
static void a_crash_leaves_the_old_shard_or_the_new(void **state)
{
    (void)state;
    uint32_t switched = 0;
    put_shard(&from, SHARD, SENT, 0, 3000);
    for (uint64_t lost = 0; lost < 8; lost++) {
        transfer_in_free(&in);
        in = transfer_in_new(SHARD, CURRENT);
        struct generation row = {.current = CURRENT};
        generation_store(SHARD, &row, into.batch);
        generation_remove(SHARD, FILLED, into.batch);
        put_shard(&into, SHARD, CURRENT, 0, 5);
        sync_into();
        begin_out();
        assert_true(run() >= 4);
        transfer_in_switch(in, into.batch);
        scratch_store_write(&into);
        mem_kv_crash(into.kv, lost);
        uint32_t current = restart();
        assert_int_equal(current, lost == 0 ? FILLED : CURRENT);
        switched += current == FILLED;
        if (current == FILLED)
            expect_same(dump(&from, SHARD, SENT), dump(&into, SHARD, FILLED));
        else
            assert_int_equal(count_rows(&into, SHARD, CURRENT), 5 * 2 + 10);
        transfer_out_free(&out);
    }
    assert_int_equal(switched, 1);
}

/* After a restart in the middle, the rest of the transfer is refused, and a new one succeeds. */
static void a_restart_ends_the_transfer(void **state)
{
    (void)state;
    put_shard(&from, SHARD, SENT, 0, 3000);
    begin_out();
    struct msg_chunk chunk = next_chunk();
    expect_ack(&chunk, RC_OK, 1);
    scratch_store_reopen(&into);
    assert_int_equal(restart(), CURRENT);
    chunk = next_chunk();
    struct msg_chunk_ack ack = receive(&chunk);
    assert_int_equal(transfer_out_on_ack(out, &ack, now_ms), RC_CORRUPT);
    transfer_out_free(&out);
    begin_out();
    run();
    assert_int_equal(transfer_in_switch(in, into.batch), FILLED);
    scratch_store_write(&into);
    scratch_store_reopen(&into);
    assert_int_equal(restart(), FILLED);
    expect_same(dump(&from, SHARD, SENT), dump(&into, SHARD, FILLED));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define ON_DISK(name)                                                                              \
    {                                                                                              \
#name "_on_disk", name, setup_on_disk, teardown, NULL                                      \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_shard_arrives_row_by_row),
        ON_DISK(a_shard_arrives_row_by_row),
        TEST(the_switch_leaves_one_generation),
        ON_DISK(the_switch_leaves_one_generation),
        TEST(an_empty_shard_is_one_chunk),
        ON_DISK(an_empty_shard_is_one_chunk),
        TEST(what_is_written_meanwhile_is_not_sent),
        ON_DISK(what_is_written_meanwhile_is_not_sent),
        TEST(a_chunk_is_bounded_and_a_large_row_goes_alone),
        TEST(few_chunks_are_in_flight),
        TEST(an_ack_with_an_error_ends_it),
        TEST(an_ack_of_something_else_is_ignored),
        TEST(a_sender_notices_silence),
        TEST(what_is_complete_is_not_silent),
        TEST(a_damaged_row_is_not_sent),
        TEST(an_impossible_key_is_not_sent),
        TEST(a_shard_cut_short_is_not_taken_for_whole),
        TEST(a_doubled_chunk_changes_nothing),
        TEST(a_hole_ends_the_transfer),
        ON_DISK(a_hole_ends_the_transfer),
        TEST(a_chunk_that_disagrees_is_refused),
        TEST(a_chunk_of_another_shard_is_refused),
        TEST(malformed_rows_are_refused),
        ON_DISK(malformed_rows_are_refused),
        TEST(unsealed_and_broken_rows_are_refused),
        TEST(another_transfer_begins_anew),
        ON_DISK(another_transfer_begins_anew),
        TEST(giving_up_removes_what_came),
        ON_DISK(giving_up_removes_what_came),
        TEST(a_receiver_notices_silence),
        TEST(a_crash_leaves_the_old_shard_or_the_new),
        TEST(a_restart_ends_the_transfer),
        ON_DISK(a_restart_ends_the_transfer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
