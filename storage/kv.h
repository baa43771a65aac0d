/* kv - the third port: an ordered key-value store with atomic batches and a durable prefix.
 *
 * Four column families: node, Raft logs, state, and deduplication rows, which outnumber all others
 * but entries, whose keys are random, and which a memtable that hashes takes in a fifth of the time
 * (storage/README.md).
 *
 * A batch is applied as a whole and in order, and at once visible to reads; it is durable only when
 * a sync that was asked for later has been reported. What survives a crash is a prefix of the
 * batches written: no batch survives without all before it (scheme A2: one write-ahead log, written
 * with sync off, flushed and synced by a thread of its own).
 *
 * The real one is RocksDB (storage/rocks_kv.c), the simulated one lives in memory, forgets what was
 * not synced when it crashes, and fails on demand (storage/mem_kv.c). Loop thread only, except
 * where rocks_kv says so. Any I/O error is RC_IO and final: the caller ends the process. */
#ifndef STORAGE_KV_H
#define STORAGE_KV_H

#include <stdbool.h>

#include "mesh/base/buf.h"
#include "mesh/base/rc.h"
#include "mesh/base/slice.h"

enum kv_family {
    KV_META,
    KV_LOG,
    KV_STATE,
    KV_DEDUP, /* State as well: rows without order, looked up by their whole key. */
    KV_FAMILY_COUNT,
};

struct kv;
struct kv_batch;
struct kv_iterator;

struct kv_ops {
    void (*close)(struct kv **kv);

    /* Append the value to `into`. RC_NOT_FOUND leaves it alone. */
    enum rc (*get)(struct kv *kv, enum kv_family family, struct slice key, struct buf *into);

    struct kv_batch *(*batch_new)(struct kv *kv);
    void (*batch_free)(struct kv_batch **batch);
    void (*put)(struct kv_batch *batch, enum kv_family family, struct slice key,
                struct slice value);
    void (*remove)(struct kv_batch *batch, enum kv_family family, struct slice key);
    /* Keys in [from, to). */
    void (*remove_range)(struct kv_batch *batch, enum kv_family family, struct slice from,
                         struct slice to);
    size_t (*batch_count)(const struct kv_batch *batch); /* Operations in it. */
    /* Apply and clear the batch, without waiting for the disk. */
    enum rc (*write)(struct kv *kv, struct kv_batch *batch);

    /* Make everything written so far durable; `on_synced(context)` is called from the loop when it
     * is. At most one at a time. An error is reported there. */
    void (*sync)(struct kv *kv, void (*on_synced)(void *context, enum rc rc), void *context);

    /* The same on this thread, where the disk has lately been so quick that handing over to the
     * syncer would cost more than waiting: *ret_rc is how it went. False: nothing was done, use
     * sync(). For when there is little to overlap with the wait. */
    bool (*sync_inline)(struct kv *kv, enum rc *ret_rc);

    /* Iterate within [from, to); starts before the first, or, where `backwards`, after the last.
     * Sees the store as it was when created. */
    struct kv_iterator *(*iterate)(struct kv *kv, enum kv_family family, struct slice from,
                                   struct slice to, bool backwards);
    /* Step. False at the end, or on an error, which iterator_free then tells. */
    bool (*next)(struct kv_iterator *iterator, struct slice *ret_key, struct slice *ret_value);
    enum rc (*iterator_free)(struct kv_iterator **iterator);

    /* Does an iterator over this family open at once? A memtable that hashes is sorted first, as a
     * whole (3 to 10 us a row, so seconds). False: it is being flushed meanwhile, ask again in a
     * later turn. NULL: always. */
    bool (*settle)(struct kv *kv, enum kv_family family);
};

struct kv {
    const struct kv_ops *ops;
};

/* What every batch begins with, so that one can be filled by who has no kv at hand. */
struct kv_batch {
    const struct kv_ops *ops;
};

static inline void kv_put(struct kv_batch *batch, enum kv_family family, struct slice key,
                          struct slice value)
{
    batch->ops->put(batch, family, key, value);
}

static inline bool kv_settle(struct kv *kv, enum kv_family family)
{
    return kv->ops->settle == NULL || kv->ops->settle(kv, family);
}

static inline void kv_remove_range(struct kv_batch *batch, enum kv_family family, struct slice from,
                                   struct slice to)
{
    batch->ops->remove_range(batch, family, from, to);
}

#endif
