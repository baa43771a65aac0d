#include "tests/sim/tap.h"

#include "mesh/base/check.h"
#include "mesh/base/mem.h"
#include "storage/generation.h"
#include "storage/keyspace.h"
#include "storage/mem_kv.h"
#include "storage/raft_log.h"
#include "storage/rows.h"

#define GENERATION_KEY_SIZE 5u /* storage/generation.h */

struct tap {
    struct kv kv;
    struct kv *inner;
    const char *node;
    struct tap_listener listener;
    uint32_t generations[CONTROL_GROUP + 1];      /* In use; 0: not heard of. */
    uint64_t news[CONTROL_GROUP + 1];             /* The last batch with a state that is news. */
    uint64_t batch;                               /* Number of the one being told. */
    void (*on_synced)(void *context, enum rc rc); /* NULL: no sync is pending. */
    void *context;
    bool may_lose; /* After so many more syncs. */
    uint32_t countdown;
    bool is_lost;   /* A sync failed: nothing becomes durable any more. */
    enum rc synced; /* What the inner one said of the last. */
};

/* A row put that is told of. */
struct tap_row {
    enum kv_family family;
    uint32_t key_size, value_size;
};

struct tap_batch {
    struct kv_batch batch;
    struct kv_batch *inner;
    struct buf *rows; /* struct tap_row, key, value; one after another. */
};

static struct kv *inner_of(struct kv *kv)
{
    return ((struct tap *)kv)->inner;
}

static struct kv_batch *inner_batch(const struct kv_batch *batch)
{
    return ((const struct tap_batch *)batch)->inner;
}

static void tap_close(struct kv **kv)
{
    struct tap *tap = (struct tap *)*kv;
    *kv = NULL;
    tap->inner->ops->close(&tap->inner);
    mem_free(tap);
}

static enum rc tap_get(struct kv *kv, enum kv_family family, struct slice key, struct buf *into)
{
    return inner_of(kv)->ops->get(inner_of(kv), family, key, into);
}

static struct kv_batch *tap_batch_new(struct kv *kv)
{
    struct tap_batch *batch = mem_new(struct tap_batch);
    batch->batch.ops = kv->ops;
    batch->inner = inner_of(kv)->ops->batch_new(inner_of(kv));
    batch->rows = buf_new(1024);
    return &batch->batch;
}

static void tap_batch_free(struct kv_batch **batch)
{
    struct tap_batch *taken = (struct tap_batch *)*batch;
    *batch = NULL;
    if (taken == NULL)
        return;
    taken->inner->ops->batch_free(&taken->inner);
    buf_unref(&taken->rows);
    mem_free(taken);
}

static bool is_told(enum kv_family family, struct slice key)
{
    if (family == KV_META)
        return key.size == GENERATION_KEY_SIZE && key.base[0] == 'G';
    if (family == KV_LOG)
        return true;
    if (family != KV_STATE || key.size < KEYSPACE_HEADER_SIZE)
        return false;
    char table = key.base[KEYSPACE_HEADER_SIZE - 1];
    return table == KEYSPACE_ENTRY || table == KEYSPACE_HEAD || table == KEYSPACE_APPLIED ||
           table == KEYSPACE_CONV || table == KEYSPACE_ROUTER;
}

static void tap_put(struct kv_batch *batch, enum kv_family family, struct slice key,
                    struct slice value)
{
    struct tap_batch *b = (struct tap_batch *)batch;
    kv_put(b->inner, family, key, value);
    if (!is_told(family, key))
        return;
    const struct tap_row row = {family, key.size, value.size};
    buf_append(b->rows, &row, sizeof(row));
    buf_append_slice(b->rows, key);
    buf_append_slice(b->rows, value);
}

static void tap_remove(struct kv_batch *batch, enum kv_family family, struct slice key)
{
    inner_batch(batch)->ops->remove(inner_batch(batch), family, key);
}

static void tap_remove_range(struct kv_batch *batch, enum kv_family family, struct slice from,
                             struct slice to)
{
    kv_remove_range(inner_batch(batch), family, from, to);
}

static size_t tap_batch_count(const struct kv_batch *batch)
{
    return inner_batch(batch)->ops->batch_count(inner_batch(batch));
}

static uint32_t shard_of(const char *bytes)
{
    const uint8_t *at = (const uint8_t *)bytes;
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

/* Of several puts of one key in a batch only the last one is. */
static bool is_stored(const struct tap *tap, struct slice key, struct slice value)
{
    struct buf *stored = buf_new(256);
    enum rc rc = tap->inner->ops->get(tap->inner, KV_STATE, key, stored);
    bool is_so = rc == RC_OK && slice_equal(buf_slice(stored), value);
    buf_unref(&stored);
    return is_so;
}

static void tell_entry(const struct tap *tap, struct slice key, struct slice value)
{
    struct slice conv;
    struct slice record;
    uint64_t seq;
    uint64_t messages;
    CHECK(keyspace_get_name(key, &conv) && keyspace_get_seq(key, &seq));
    enum rc rc = rows_decode_entry(key, value, &messages, &record);
    CHECK(rc == RC_OK);
    bool is_news = tap->news[shard_of(key.base)] == tap->batch && is_stored(tap, key, value);
    tap->listener.on_entry(tap->listener.context, tap->node, conv, seq, messages, record, is_news);
}

/* The row of this table beside the one that was put, as stored; false: there is none. */
static bool get_beside(const struct tap *tap, struct slice key, enum keyspace_table table,
                       const struct record_desc *desc, struct buf *value, void *ret_row)
{
    uint8_t bytes[KEYSPACE_SIZE_MAX];
    memcpy(bytes, key.base, key.size);
    bytes[KEYSPACE_HEADER_SIZE - 1] = (uint8_t)table;
    struct slice beside = slice_of(bytes, key.size);
    buf_clear(value);
    enum rc rc = tap->inner->ops->get(tap->inner, KV_STATE, beside, value);
    if (rc == RC_OK)
        rc = rows_decode(beside, buf_slice(value), desc, ret_row);
    CHECK(rc == RC_OK || rc == RC_NOT_FOUND);
    return rc == RC_OK;
}

/* Both rows as they are after the batch, so that one is never told with an older other one. A state
 * that is being transferred may have only one of them yet. */
static void tell_conv(const struct tap *tap, struct slice key)
{
    struct slice conv;
    struct row_head head;
    struct row_conv info;
    struct buf *head_value = buf_new(64);
    struct buf *info_value = buf_new(128);
    CHECK(keyspace_get_name(key, &conv));
    if (get_beside(tap, key, KEYSPACE_HEAD, &row_head_desc, head_value, &head) &&
        get_beside(tap, key, KEYSPACE_CONV, &row_conv_desc, info_value, &info))
        tap->listener.on_conv(tap->listener.context, tap->node, conv, &head, &info);
    buf_unref(&head_value);
    buf_unref(&info_value);
}

static void tell_applied(struct tap *tap, struct slice key, struct slice value)
{
    struct row_applied row;
    enum rc rc = rows_decode(key, value, &row_applied_desc, &row);
    CHECK(rc == RC_OK);
    uint32_t shard = shard_of(key.base);
    if (tap->listener.on_applied(tap->listener.context, tap->node, shard, row.index, row.digest))
        tap->news[shard] = tap->batch;
}

static void tell_log(const struct tap *tap, struct slice key, struct slice value)
{
    struct raft_log_entry entry;
    uint32_t group = shard_of(key.base);
    enum rc rc = raft_log_entry_decode(key, value, group, &entry);
    CHECK(rc == RC_OK);
    if (entry.type == RAFT_LOG_CHANGE)
        tap->listener.on_conf(tap->listener.context, tap->node, group, entry.data);
}

static void tell_generation(struct tap *tap, uint32_t shard)
{
    struct generation row;
    enum rc rc = generation_load(tap->inner, shard, &row);
    CHECK(rc == RC_OK && shard <= CONTROL_GROUP);
    uint32_t before = tap->generations[shard];
    tap->generations[shard] = row.current;
    if (before != 0 && row.current != before)
        tap->listener.on_transferred(tap->listener.context, tap->node, shard);
}

static void tell_row(struct tap *tap, enum kv_family family, struct slice key, struct slice value)
{
    if (family == KV_META)
        tell_generation(tap, shard_of(key.base + 1));
    else if (family == KV_LOG)
        tell_log(tap, key, value);
    else if (key.base[KEYSPACE_HEADER_SIZE - 1] == KEYSPACE_ENTRY)
        tell_entry(tap, key, value);
    else if (key.base[KEYSPACE_HEADER_SIZE - 1] == KEYSPACE_HEAD ||
             key.base[KEYSPACE_HEADER_SIZE - 1] == KEYSPACE_CONV)
        tell_conv(tap, key);
    else if (key.base[KEYSPACE_HEADER_SIZE - 1] == KEYSPACE_ROUTER)
        tap->listener.on_list(tap->listener.context, tap->node);
}

static bool is_applied(enum kv_family family, struct slice key)
{
    return family == KV_STATE && key.base[KEYSPACE_HEADER_SIZE - 1] == KEYSPACE_APPLIED;
}

/* What states the batch is of, or else what is in it. */
static void tell_rows(struct tap *tap, const struct buf *rows, bool are_states)
{
    for (size_t at = 0; at < rows->size;) {
        struct tap_row row;
        memcpy(&row, rows->bytes + at, sizeof(row));
        at += sizeof(row);
        struct slice key = slice_of(rows->bytes + at, row.key_size);
        struct slice value = slice_of(key.base + key.size, row.value_size);
        if (are_states && is_applied(row.family, key))
            tell_applied(tap, key, value);
        else if (!are_states && !is_applied(row.family, key))
            tell_row(tap, row.family, key, value);
        at += row.key_size + row.value_size;
    }
}

static enum rc tap_write(struct kv *kv, struct kv_batch *batch)
{
    struct tap *tap = (struct tap *)kv;
    struct tap_batch *b = (struct tap_batch *)batch;
    enum rc rc = tap->inner->ops->write(tap->inner, b->inner);
    if (rc != RC_OK)
        return rc;
    tap->batch++;
    tell_rows(tap, b->rows, true);
    tell_rows(tap, b->rows, false);
    buf_clear(b->rows);
    return RC_OK;
}

static void note_rc(void *context, enum rc rc)
{
    *(enum rc *)context = rc;
}

static void tap_sync(struct kv *kv, void (*on_synced)(void *context, enum rc rc), void *context)
{
    struct tap *tap = (struct tap *)kv;
    CHECK(tap->on_synced == NULL);
    tap->on_synced = on_synced;
    tap->context = context;
    if (!tap->is_lost)
        tap->inner->ops->sync(tap->inner, note_rc, &tap->synced);
}

bool tap_sync_is_pending(const struct kv *kv)
{
    return ((const struct tap *)kv)->on_synced != NULL;
}

void tap_complete_sync(struct kv *kv)
{
    struct tap *tap = (struct tap *)kv;
    void (*on_synced)(void *context, enum rc rc) = tap->on_synced;
    enum rc rc = RC_OK;
    if (on_synced == NULL)
        return;
    tap->on_synced = NULL; /* The callback may ask for the next. */
    if (!tap->is_lost && tap->may_lose && tap->countdown-- == 0) {
        tap->is_lost = true; /* What the inner one waits for never comes. */
        rc = RC_IO;
    } else if (!tap->is_lost) {
        mem_kv_complete_sync(tap->inner);
        rc = tap->synced;
    }
    on_synced(tap->context, rc);
}

static bool tap_sync_inline(struct kv *kv, enum rc *ret_rc)
{
    const struct tap *tap = (struct tap *)kv;
    if (!tap->listener.is_quick(tap->listener.disk_context))
        return false;
    tap_sync(kv, note_rc, ret_rc);
    tap_complete_sync(kv);
    return true;
}

void tap_lose_syncs(struct kv *kv, uint32_t countdown)
{
    struct tap *tap = (struct tap *)kv;
    tap->may_lose = true;
    tap->countdown = countdown;
}

void tap_crash(struct kv *kv, uint64_t lose_count)
{
    struct tap *tap = (struct tap *)kv;
    mem_kv_crash(tap->inner, lose_count);
    tap->on_synced = NULL;
    tap->may_lose = false;
    tap->is_lost = false;
}

static struct kv_iterator *tap_iterate(struct kv *kv, enum kv_family family, struct slice from,
                                       struct slice to, bool backwards)
{
    return inner_of(kv)->ops->iterate(inner_of(kv), family, from, to, backwards);
}

struct kv *tap_new(struct kv *inner, const char *node, const struct tap_listener *listener)
{
    /* Iterators are the inner store's own, so their operations are as well. */
    static struct kv_ops ops = {.close = tap_close,
                                .get = tap_get,
                                .batch_new = tap_batch_new,
                                .batch_free = tap_batch_free,
                                .put = tap_put,
                                .remove = tap_remove,
                                .remove_range = tap_remove_range,
                                .batch_count = tap_batch_count,
                                .write = tap_write,
                                .sync = tap_sync,
                                .sync_inline = tap_sync_inline,
                                .iterate = tap_iterate};
    ops.next = inner->ops->next;
    ops.iterator_free = inner->ops->iterator_free;
    struct tap *tap = mem_new(struct tap);
    tap->kv.ops = &ops;
    tap->inner = inner;
    tap->node = node;
    tap->listener = *listener;
    return &tap->kv;
}
