#include "storage/raft_log_load.h"

static enum rc load_hard(struct kv *kv, uint32_t shard, struct raft_log_hard *ret_hard)
{
    uint8_t key[RAFT_LOG_META_KEY_SIZE];
    struct buf *row = buf_new(0);
    enum rc rc = kv->ops->get(kv, KV_META, raft_log_hard_key(key, shard), row);
    if (rc == RC_OK)
        rc = raft_log_hard_decode(buf_slice(row), shard, ret_hard);
    buf_unref(&row);
    return rc;
}

static enum rc load_snapshot(struct kv *kv, uint32_t shard, struct raft_log_loaded *loaded)
{
    uint8_t key[RAFT_LOG_META_KEY_SIZE];
    loaded->snapshot_row = buf_new(0);
    enum rc rc = kv->ops->get(kv, KV_META, raft_log_snapshot_key(key, shard), loaded->snapshot_row);
    if (rc == RC_OK)
        rc = raft_log_snapshot_decode(buf_slice(loaded->snapshot_row), shard, &loaded->snapshot);
    return rc;
}

/* Terms never fall along a log (section 3.5), and none is above the hard state's, stored no later.
 */
static bool entry_fits(const struct raft_log_entry *entry, const struct raft_log_loaded *loaded,
                       uint64_t term_before)
{
    if (entry->index != loaded->last_index + 1)
        return false;
    if (entry->index == 1 && entry->type != RAFT_LOG_CHANGE)
        return false;
    return entry->term >= term_before && entry->term <= loaded->hard.term;
}

static enum rc load_entries(struct kv *kv, uint32_t shard, struct raft_log_loaded *loaded,
                            enum rc (*visit)(void *context, const struct raft_log_entry *entry),
                            void *context)
{
    uint8_t from[RAFT_LOG_ENTRY_KEY_SIZE], to[RAFT_LOG_ENTRY_KEY_SIZE];
    struct slice key, row;
    uint64_t term = loaded->snapshot.term;
    struct kv_iterator *i = kv->ops->iterate(kv, KV_LOG, raft_log_entry_key(from, shard, 0),
                                             raft_log_entry_key(to, shard, UINT64_MAX), false);
    enum rc rc = RC_OK;
    while (rc == RC_OK && kv->ops->next(i, &key, &row)) {
        struct raft_log_entry entry;
        rc = raft_log_entry_decode(key, row, shard, &entry);
        if (rc == RC_OK && !entry_fits(&entry, loaded, term))
            rc = RC_CORRUPT;
        if (rc != RC_OK)
            break;
        term = entry.term;
        loaded->last_index = entry.index;
        rc = visit(context, &entry);
    }
    enum rc read_rc = kv->ops->iterator_free(&i);
    return read_rc != RC_OK ? read_rc : rc;
}

enum rc raft_log_load(struct kv *kv, uint32_t shard, struct raft_log_loaded *loaded,
                      enum rc (*visit)(void *context, const struct raft_log_entry *entry),
                      void *context)
{
    *loaded = (struct raft_log_loaded){0};
    enum rc rc = load_hard(kv, shard, &loaded->hard);
    if (rc != RC_OK && rc != RC_NOT_FOUND)
        return rc;
    bool has_hard = rc == RC_OK;
    rc = load_snapshot(kv, shard, loaded);
    if (rc != RC_OK && rc != RC_NOT_FOUND)
        return rc;
    loaded->has_snapshot = rc == RC_OK && loaded->snapshot.index > 0;
    loaded->began_empty = rc == RC_OK && loaded->snapshot.index == 0;
    if (loaded->snapshot.term > loaded->hard.term)
        return RC_CORRUPT;
    loaded->first_index = loaded->snapshot.index + 1;
    loaded->last_index = loaded->snapshot.index;
    rc = load_entries(kv, shard, loaded, visit, context);
    if (rc != RC_OK)
        return rc;
    if (!has_hard) /* No entry can have fitted then: its term would be above the hard state's, 0. */
        return RC_NOT_FOUND;
    return loaded->last_index == 0 && !loaded->began_empty ? RC_CORRUPT : RC_OK;
}

void raft_log_loaded_fini(struct raft_log_loaded *loaded)
{
    buf_unref(&loaded->snapshot_row);
}
