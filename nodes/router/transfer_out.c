/* transfer_out - the half of transfer.h that reads a shard and sends it. */
#include "mesh/base/check.h"
#include "mesh/base/crypto.h"
#include "mesh/base/limits.h"
#include "mesh/base/mem.h"
#include "nodes/router/transfer.h"
#include "storage/generation.h"

#define TABLE_AT      (KEYSPACE_HEADER_SIZE - 1u) /* Where in a key what travels of it begins. */
#define ROW_HEADS_MAX 9u /* A row's family and the heads of its key and value, encoded. */

static const enum kv_family families[] = {KV_STATE, KV_DEDUP};

#define FAMILIES (sizeof(families) / sizeof(families[0]))

/* One family's rows in order. */
struct source {
    enum kv_family family;
    struct kv_iterator *iterator; /* NULL: read to its end. */
    struct slice key, value;      /* The row it stands on, where there is one. */
};

struct transfer_out {
    struct kv *kv; /* Borrowed. */
    uint32_t shard;
    uint64_t to, id, applied;

    struct source sources[FAMILIES];
    struct source *next; /* Whose row is next; NULL: all is read. */
    size_t turn;         /* Counts, for next_source(). */

    struct buf *rows; /* Of the chunk made last. */
    struct buf *row;  /* One value, as it travels. */
    uint32_t check;   /* Over all rows so far. */
    uint64_t sent;    /* Chunks. */
    uint64_t acked;
    uint64_t bytes;
    uint64_t heard_ms; /* When something new was acknowledged; at first, when it began. */
    bool is_all_sent;
};

bool transfer_out_may_begin(struct kv *kv)
{
    for (size_t i = 0; i < FAMILIES; i++)
        if (!kv_settle(kv, families[i]))
            return false;
    return true;
}

struct transfer_out *transfer_out_new(struct kv *kv, uint32_t shard, uint32_t generation,
                                      uint64_t to, uint64_t id, uint64_t applied, uint64_t now_ms)
{
    CHECK(id != 0);
    struct transfer_out *t = mem_new(struct transfer_out);
    t->kv = kv;
    t->shard = shard;
    t->to = to;
    t->id = id;
    t->applied = applied;
    t->heard_ms = now_ms;
    t->rows = buf_new(LIMIT_CHUNK_SIZE);
    t->row = buf_new(0);
    /* Both at once, so that they see the same moment. */
    struct keyspace_key first, end;
    generation_range(shard, generation, &first, &end);
    for (size_t i = 0; i < FAMILIES; i++)
        t->sources[i] = (struct source){
            .family = families[i],
            .iterator = kv->ops->iterate(kv, families[i], keyspace_slice(&first),
                                         keyspace_slice(&end), false),
        };
    return t;
}

void transfer_out_free(struct transfer_out **transfer)
{
    struct transfer_out *taken = *transfer;
    *transfer = NULL;
    if (taken == NULL)
        return;
    for (size_t i = 0; i < FAMILIES; i++)
        (void)taken->kv->ops->iterator_free(&taken->sources[i].iterator); /* Nobody reads on. */
    buf_unref(&taken->rows);
    buf_unref(&taken->row);
    mem_free(taken);
}

/* Stand on the next row, or beyond the last. */
static enum rc step(const struct transfer_out *t, struct source *source)
{
    if (t->kv->ops->next(source->iterator, &source->key, &source->value))
        return RC_OK;
    /* The end, or an error: a shard cut short must not pass for a whole one. */
    return t->kv->ops->iterator_free(&source->iterator);
}

/* The families take turns, row by row, so that the receiver writes both at the pace of the slower.
 * All deduplication rows in one go would fill hashed memtables faster than they are sorted and
 * flushed, and the receiver's loop would wait for that (measured: 4 s). NULL: all is read. */
static struct source *next_source(struct transfer_out *t)
{
    for (size_t i = 0; i < FAMILIES; i++) {
        struct source *source = &t->sources[t->turn++ % FAMILIES];
        if (source->iterator != NULL)
            return source;
    }
    return NULL;
}

static bool row_fits(const struct transfer_out *t, const struct source *source)
{
    size_t size = ROW_HEADS_MAX + (size_t)source->key.size - TABLE_AT + source->value.size;
    return t->rows->size == 0 || t->rows->size + size <= LIMIT_CHUNK_SIZE;
}

/* The row it stands on goes into the chunk. */
static enum rc add_row(struct transfer_out *t, const struct source *source)
{
    struct keyspace_key key = {.size = source->key.size};
    if (key.size < KEYSPACE_HEADER_SIZE || key.size > sizeof(key.bytes))
        return RC_CORRUPT;
    memcpy(key.bytes, source->key.base, key.size);
    buf_clear(t->row);
    enum rc rc = generation_move_row(&key, source->value, GENERATION_NONE, t->row);
    if (rc != RC_OK)
        return rc;
    record_put_u64(t->rows, source->family);
    record_put_slice(t->rows, slice_of(key.bytes + TABLE_AT, key.size - TABLE_AT));
    record_put_slice(t->rows, buf_slice(t->row));
    return RC_OK;
}

static enum rc start(struct transfer_out *t)
{
    enum rc rc = RC_OK;
    for (size_t i = 0; i < FAMILIES && rc == RC_OK; i++)
        rc = step(t, &t->sources[i]);
    t->next = next_source(t);
    return rc;
}

static enum rc fill(struct transfer_out *t)
{
    buf_clear(t->rows);
    enum rc rc = t->sent == 0 ? start(t) : RC_OK;
    while (rc == RC_OK && t->next != NULL && row_fits(t, t->next)) {
        rc = add_row(t, t->next);
        if (rc == RC_OK)
            rc = step(t, t->next);
        t->next = next_source(t);
    }
    return rc;
}

enum rc transfer_out_next(struct transfer_out *t, struct msg_chunk *ret_chunk)
{
    if (t->is_all_sent || t->sent - t->acked >= LIMIT_CHUNKS_IN_FLIGHT)
        return RC_AGAIN;
    enum rc rc = fill(t);
    if (rc != RC_OK)
        return rc;
    t->is_all_sent = t->next == NULL;
    t->check = crypto_crc32c(t->check, t->rows->bytes, t->rows->size);
    t->bytes += t->rows->size;
    *ret_chunk = (struct msg_chunk){
        .group = t->shard,
        .to = t->to,
        .transfer = t->id,
        .number = t->sent++,
        .applied = t->applied,
        .last = t->is_all_sent,
        .check = t->check,
        .rows = buf_slice(t->rows),
    };
    return RC_OK;
}

enum rc transfer_out_on_ack(struct transfer_out *t, const struct msg_chunk_ack *ack,
                            uint64_t now_ms)
{
    if (ack->group != t->shard || ack->from != t->to || ack->transfer != t->id)
        return RC_OK; /* Of one before. */
    if (ack->rc != RC_OK)
        return ack->rc < RC_COUNT ? (enum rc)ack->rc : RC_CORRUPT;
    if (ack->next > t->sent)
        return RC_CORRUPT;
    if (ack->next > t->acked) {
        t->acked = ack->next;
        t->heard_ms = now_ms;
    }
    return RC_OK;
}

bool transfer_out_is_complete(const struct transfer_out *t)
{
    return t->is_all_sent && t->acked == t->sent;
}

bool transfer_out_is_silent(const struct transfer_out *t, uint64_t now_ms)
{
    return !transfer_out_is_complete(t) && now_ms > t->heard_ms &&
           now_ms - t->heard_ms >= LIMIT_TRANSFER_SILENT_MS;
}

uint64_t transfer_out_to(const struct transfer_out *t)
{
    return t->to;
}

uint64_t transfer_out_applied(const struct transfer_out *t)
{
    return t->applied;
}

uint64_t transfer_out_bytes(const struct transfer_out *t)
{
    return t->bytes;
}
