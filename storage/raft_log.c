#include "storage/raft_log.h"

#include <endian.h>

#include "mesh/base/record.h"
#include "storage/sealed.h"

#define ROW_VERSION 1u

static struct slice meta_key(uint8_t *into, char letter, uint32_t shard)
{
    uint32_t shard_be = htobe32(shard);
    into[0] = (uint8_t)letter;
    memcpy(into + 1, &shard_be, sizeof(shard_be));
    return slice_of(into, RAFT_LOG_META_KEY_SIZE);
}

struct slice raft_log_hard_key(uint8_t into[RAFT_LOG_META_KEY_SIZE], uint32_t shard)
{
    return meta_key(into, 'T', shard);
}

struct slice raft_log_snapshot_key(uint8_t into[RAFT_LOG_META_KEY_SIZE], uint32_t shard)
{
    return meta_key(into, 'S', shard);
}

struct slice raft_log_entry_key(uint8_t into[RAFT_LOG_ENTRY_KEY_SIZE], uint32_t shard,
                                uint64_t index)
{
    uint32_t shard_be = htobe32(shard);
    uint64_t index_be = htobe64(index);
    memcpy(into, &shard_be, sizeof(shard_be));
    memcpy(into + sizeof(shard_be), &index_be, sizeof(index_be));
    return slice_of(into, RAFT_LOG_ENTRY_KEY_SIZE);
}

void raft_log_hard_encode(struct buf *row, uint32_t shard, const struct raft_log_hard *hard)
{
    uint8_t key[RAFT_LOG_META_KEY_SIZE];
    size_t begin = sealed_begin(row, ROW_VERSION);
    record_put_u64(row, hard->term);
    record_put_u64(row, hard->vote);
    record_put_u64(row, hard->self);
    sealed_end(row, begin, raft_log_hard_key(key, shard));
}

void raft_log_snapshot_encode(struct buf *row, uint32_t shard,
                              const struct raft_log_snapshot *snapshot)
{
    uint8_t key[RAFT_LOG_META_KEY_SIZE];
    size_t begin = sealed_begin(row, ROW_VERSION);
    record_put_u64(row, snapshot->index);
    record_put_u64(row, snapshot->term);
    record_put_u64(row, snapshot->conf_index);
    record_put_slice(row, snapshot->conf);
    sealed_end(row, begin, raft_log_snapshot_key(key, shard));
}

void raft_log_entry_encode(struct buf *row, uint32_t shard, const struct raft_log_entry *entry)
{
    uint8_t key[RAFT_LOG_ENTRY_KEY_SIZE];
    size_t begin = sealed_begin(row, ROW_VERSION);
    record_put_u64(row, entry->term);
    record_put_u64(row, entry->type);
    buf_append_slice(row, entry->data); /* To the row's end: the store keeps its size. */
    sealed_end(row, begin, raft_log_entry_key(key, shard, entry->index));
}

enum rc raft_log_hard_decode(struct slice row, uint32_t shard, struct raft_log_hard *ret_hard)
{
    uint8_t key[RAFT_LOG_META_KEY_SIZE];
    struct slice body;
    enum rc rc = sealed_open(raft_log_hard_key(key, shard), row, ROW_VERSION, &body);
    if (rc != RC_OK)
        return rc;
    struct record_reader r = record_reader_of(body);
    struct raft_log_hard hard;
    if (record_get_u64(&r, &hard.term) != RC_OK || record_get_u64(&r, &hard.vote) != RC_OK ||
        record_get_u64(&r, &hard.self) != RC_OK || !record_reader_at_end(&r) || hard.self == 0)
        return RC_CORRUPT;
    *ret_hard = hard;
    return RC_OK;
}

enum rc raft_log_snapshot_decode(struct slice row, uint32_t shard,
                                 struct raft_log_snapshot *ret_snapshot)
{
    uint8_t key[RAFT_LOG_META_KEY_SIZE];
    struct slice body;
    enum rc rc = sealed_open(raft_log_snapshot_key(key, shard), row, ROW_VERSION, &body);
    if (rc != RC_OK)
        return rc;
    struct record_reader r = record_reader_of(body);
    struct raft_log_snapshot snapshot;
    if (record_get_u64(&r, &snapshot.index) != RC_OK ||
        record_get_u64(&r, &snapshot.term) != RC_OK ||
        record_get_u64(&r, &snapshot.conf_index) != RC_OK ||
        record_get_slice(&r, &snapshot.conf) != RC_OK || !record_reader_at_end(&r) ||
        (snapshot.index == 0) != (snapshot.term == 0) ||
        (snapshot.index == 0) != (snapshot.conf.size == 0))
        return RC_CORRUPT;
    *ret_snapshot = snapshot;
    return RC_OK;
}

enum rc raft_log_entry_decode(struct slice key, struct slice row, uint32_t shard,
                              struct raft_log_entry *ret_entry)
{
    uint32_t shard_be = htobe32(shard);
    if (key.size != RAFT_LOG_ENTRY_KEY_SIZE || memcmp(key.base, &shard_be, sizeof(shard_be)) != 0)
        return RC_CORRUPT;
    struct slice body;
    enum rc rc = sealed_open(key, row, ROW_VERSION, &body);
    if (rc != RC_OK)
        return rc;
    struct record_reader r = record_reader_of(body);
    uint64_t index_be, term, type;
    memcpy(&index_be, key.base + sizeof(shard_be), sizeof(index_be));
    if (record_get_u64(&r, &term) != RC_OK || record_get_u64(&r, &type) != RC_OK || term == 0 ||
        type < RAFT_LOG_COMMAND || type > RAFT_LOG_CHANGE)
        return RC_CORRUPT;
    *ret_entry = (struct raft_log_entry){
        .index = be64toh(index_be),
        .term = term,
        .type = (enum raft_log_type)type,
        .data = slice_of(r.at, (size_t)(r.end - r.at)),
    };
    return RC_OK;
}
