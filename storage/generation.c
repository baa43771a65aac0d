#include "storage/generation.h"

#include <endian.h>

#include "mesh/base/check.h"
#include "mesh/base/record.h"
#include "storage/rows.h"
#include "storage/sealed.h"

#define ROW_VERSION   1u
#define KEY_SIZE      5u /* Letter and shard. */
#define GENERATION_AT 4u /* In a key of keyspace.h: after the shard. */

static struct slice row_key(uint8_t into[KEY_SIZE], uint32_t shard)
{
    uint32_t shard_be = htobe32(shard);
    into[0] = 'G';
    memcpy(into + 1, &shard_be, sizeof(shard_be));
    return slice_of(into, KEY_SIZE);
}

static enum rc decode(struct slice key, struct slice bytes, struct generation *ret_row)
{
    struct slice body;
    uint64_t current, filling;
    enum rc rc = sealed_open(key, bytes, ROW_VERSION, &body);
    if (rc != RC_OK)
        return rc;
    struct record_reader r = record_reader_of(body);
    if (record_get_u64(&r, &current) != RC_OK || record_get_u64(&r, &filling) != RC_OK ||
        !record_reader_at_end(&r) || current == GENERATION_NONE || current > UINT32_MAX ||
        filling > UINT32_MAX || filling == current)
        return RC_CORRUPT;
    *ret_row = (struct generation){.current = (uint32_t)current, .filling = (uint32_t)filling};
    return RC_OK;
}

enum rc generation_load(struct kv *kv, uint32_t shard, struct generation *ret_row)
{
    uint8_t bytes[KEY_SIZE];
    struct slice key = row_key(bytes, shard);
    struct buf *row = buf_new(0);
    enum rc rc = kv->ops->get(kv, KV_META, key, row);
    if (rc == RC_OK) {
        rc = decode(key, buf_slice(row), ret_row);
    } else if (rc == RC_NOT_FOUND) {
        *ret_row = (struct generation){.current = 1, .filling = GENERATION_NONE};
        rc = RC_OK;
    }
    buf_unref(&row);
    return rc;
}

void generation_store(uint32_t shard, const struct generation *row, struct kv_batch *batch)
{
    CHECK(row->current != GENERATION_NONE);
    CHECK(row->filling != row->current);
    uint8_t bytes[KEY_SIZE];
    struct slice key = row_key(bytes, shard);
    struct buf *value = buf_new(0);
    size_t begin = sealed_begin(value, ROW_VERSION);
    record_put_u64(value, row->current);
    record_put_u64(value, row->filling);
    sealed_end(value, begin, key);
    kv_put(batch, KV_META, key, buf_slice(value));
    buf_unref(&value);
}

enum rc generation_open(struct kv *kv, uint32_t shard, struct kv_batch *batch,
                        uint32_t *ret_current)
{
    struct generation row;
    enum rc rc = generation_load(kv, shard, &row);
    if (rc != RC_OK)
        return rc;
    if (row.filling != GENERATION_NONE) {
        generation_remove(shard, row.filling, batch);
        row.filling = GENERATION_NONE;
        generation_store(shard, &row, batch);
    }
    *ret_current = row.current;
    return RC_OK;
}

uint32_t generation_next(const struct generation *row)
{
    uint32_t next = row->current > row->filling ? row->current : row->filling;
    do
        next++;
    while (next == GENERATION_NONE || next == row->current || next == row->filling);
    return next;
}

void generation_range(uint32_t shard, uint32_t generation, struct keyspace_key *from,
                      struct keyspace_key *to)
{
    struct keyspace keys = {.shard = shard, .generation = generation};
    keyspace_table(from, &keys, KEYSPACE_APPLIED); /* Any: the table is cut off again. */
    from->size = KEYSPACE_HEADER_SIZE - 1;
    *to = *from;
    keyspace_to_end(to);
}

void generation_remove(uint32_t shard, uint32_t generation, struct kv_batch *batch)
{
    struct keyspace_key from, to;
    generation_range(shard, generation, &from, &to);
    kv_remove_range(batch, KV_STATE, keyspace_slice(&from), keyspace_slice(&to));
    kv_remove_range(batch, KV_DEDUP, keyspace_slice(&from), keyspace_slice(&to));
}

enum rc generation_move_row(struct keyspace_key *key, struct slice value, uint32_t generation,
                            struct buf *into)
{
    CHECK(key->size >= KEYSPACE_HEADER_SIZE);
    struct slice body;
    enum rc rc = sealed_open(keyspace_slice(key), value, ROWS_VERSION, &body);
    if (rc != RC_OK)
        return rc;
    uint32_t generation_be = htobe32(generation);
    memcpy(key->bytes + GENERATION_AT, &generation_be, sizeof(generation_be));
    size_t begin = sealed_begin(into, ROWS_VERSION);
    buf_append_slice(into, body);
    sealed_end(into, begin, keyspace_slice(key));
    return RC_OK;
}
