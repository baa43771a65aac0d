/* transfer_in - the half of transfer.h that receives a shard.
 *
 *              chunk 0                 last chunk
 *   IDLE ------------------> FILLING ---------------> COMPLETE
 *    ^                       |  ^  chunk 0 of another   |  |
 *    |      corrupt, abort   |  +-----------------------+  |
 *    +-----------------------+---------- switch, abort ----+
 *
 * In IDLE nothing of a filled generation is in the store once the batch is written; in the others
 * the generation row names it. */
#include "mesh/base/check.h"
#include "mesh/base/crypto.h"
#include "mesh/base/limits.h"
#include "mesh/base/mem.h"
#include "nodes/router/transfer.h"
#include "storage/generation.h"

#define TABLE_AT (KEYSPACE_HEADER_SIZE - 1u) /* Where in a key what travels of it begins. */

enum state {
    IDLE,
    FILLING,  /* Chunk `next` is expected. */
    COMPLETE, /* Waits for the switch. */
};

struct transfer_in {
    uint32_t shard;
    struct generation generation; /* As stored, when the batch is written. */
    enum state state;
    uint64_t id; /* Of the transfer; where not IDLE. */
    uint64_t applied;
    uint64_t next;     /* Number of the chunk expected; those before it are in batches. */
    uint32_t check;    /* Over all rows so far. */
    uint64_t heard_ms; /* When a chunk was taken. */
    struct buf *row;   /* One value, as it is stored. */
};

struct transfer_in *transfer_in_new(uint32_t shard, uint32_t current)
{
    CHECK(current != GENERATION_NONE);
    struct transfer_in *t = mem_new(struct transfer_in);
    t->shard = shard;
    t->generation.current = current;
    t->row = buf_new(0);
    return t;
}

void transfer_in_free(struct transfer_in **transfer)
{
    struct transfer_in *taken = *transfer;
    *transfer = NULL;
    if (taken == NULL)
        return;
    buf_unref(&taken->row);
    mem_free(taken);
}

/* ---- What may be written ---- */

static bool table_is_known(uint8_t table)
{
    switch ((enum keyspace_table)table) {
    case KEYSPACE_APPLIED:
    case KEYSPACE_CLUSTER:
    case KEYSPACE_ROUTER:
    case KEYSPACE_CONV:
    case KEYSPACE_DEVICE:
    case KEYSPACE_ENTRY:
    case KEYSPACE_HEAD:
    case KEYSPACE_DEDUP:
    case KEYSPACE_MEMBER:
    case KEYSPACE_OWED:
    case KEYSPACE_CURSOR:
    case KEYSPACE_INDEX:
    case KEYSPACE_RETAIN:
    case KEYSPACE_USER:
    case KEYSPACE_REACTION:
        return true;
    }
    return false;
}

/* The whole key that a row travelled under. False where no such row can be: a key of the hashed
 * family that is too short would have RocksDB hash bytes beyond it. */
static bool get_key(const struct transfer_in *t, uint64_t family, struct slice tail,
                    struct keyspace_key *ret_key)
{
    /* One byte is spare, for keyspace_to_next(). */
    if (tail.size == 0 || tail.size >= KEYSPACE_SIZE_MAX - TABLE_AT ||
        !table_is_known((uint8_t)tail.base[0]))
        return false;
    struct keyspace keys = {.shard = t->shard, .generation = GENERATION_NONE};
    keyspace_table(ret_key, &keys, (enum keyspace_table)tail.base[0]);
    memcpy(ret_key->bytes + TABLE_AT, tail.base, tail.size);
    ret_key->size = TABLE_AT + tail.size;
    if (family != keyspace_family(ret_key))
        return false;
    return family != KV_DEDUP || ret_key->size == KEYSPACE_DEDUP_SIZE;
}

static enum rc put_row(struct transfer_in *t, struct record_reader *r, struct kv_batch *batch)
{
    uint64_t family;
    struct slice tail, value;
    struct keyspace_key key;
    if (record_get_u64(r, &family) != RC_OK || record_get_slice(r, &tail) != RC_OK ||
        record_get_slice(r, &value) != RC_OK || !get_key(t, family, tail, &key))
        return RC_CORRUPT;
    buf_clear(t->row);
    enum rc rc = generation_move_row(&key, value, t->generation.filling, t->row);
    if (rc != RC_OK)
        return rc;
    kv_put(batch, (enum kv_family)family, keyspace_slice(&key), buf_slice(t->row));
    return RC_OK;
}

/* ---- Chunks ---- */

/* On failure some of its rows may be in the batch: the caller removes them behind. */
static enum rc put_chunk(struct transfer_in *t, const struct msg_chunk *chunk,
                         struct kv_batch *batch)
{
    uint32_t check = crypto_crc32c(t->check, chunk->rows.base, chunk->rows.size);
    if (t->state != FILLING || chunk->number != t->next || chunk->check != check)
        return RC_CORRUPT;
    if (chunk->last > 1 || (chunk->last == 1 && chunk->applied != t->applied))
        return RC_CORRUPT;
    struct record_reader r = record_reader_of(chunk->rows);
    while (!record_reader_at_end(&r)) {
        enum rc rc = put_row(t, &r, batch);
        if (rc != RC_OK)
            return rc;
    }
    t->check = check;
    t->next++;
    if (chunk->last == 1)
        t->state = COMPLETE;
    return RC_OK;
}

static void begin(struct transfer_in *t, const struct msg_chunk *chunk, struct kv_batch *batch)
{
    uint32_t filled = t->generation.filling;
    t->generation.filling = generation_next(&t->generation);
    if (filled != GENERATION_NONE)
        generation_remove(t->shard, filled, batch);
    generation_store(t->shard, &t->generation, batch);
    t->state = FILLING;
    t->id = chunk->transfer;
    t->applied = chunk->applied;
    t->next = 0;
    t->check = 0;
}

static bool is_of_this_transfer(const struct transfer_in *t, const struct msg_chunk *chunk)
{
    return t->state != IDLE && chunk->transfer == t->id;
}

static enum rc take_chunk(struct transfer_in *t, const struct msg_chunk *chunk,
                          struct kv_batch *batch, uint64_t now_ms)
{
    if (chunk->group != t->shard || chunk->transfer == 0)
        return RC_CORRUPT;
    if (!is_of_this_transfer(t, chunk)) {
        if (chunk->number != 0)
            return RC_CORRUPT;
        begin(t, chunk, batch);
    } else if (chunk->number < t->next) {
        return RC_OK;
    }
    enum rc rc = put_chunk(t, chunk, batch);
    if (rc != RC_OK)
        transfer_in_abort(t, batch);
    t->heard_ms = now_ms;
    return rc;
}

void transfer_in_on_chunk(struct transfer_in *t, const struct msg_chunk *chunk,
                          struct kv_batch *batch, uint64_t now_ms, struct msg_chunk_ack *ret_ack)
{
    enum rc rc = take_chunk(t, chunk, batch, now_ms);
    *ret_ack = (struct msg_chunk_ack){
        .group = chunk->group,
        .transfer = chunk->transfer,
        .next = is_of_this_transfer(t, chunk) ? t->next : 0,
        .rc = rc,
    };
}

/* ---- The end ---- */

bool transfer_in_is_complete(const struct transfer_in *t, uint64_t *ret_applied)
{
    if (t->state != COMPLETE)
        return false;
    *ret_applied = t->applied;
    return true;
}

uint32_t transfer_in_switch(struct transfer_in *t, struct kv_batch *batch)
{
    CHECK(t->state == COMPLETE);
    uint32_t old = t->generation.current;
    t->generation.current = t->generation.filling;
    t->generation.filling = GENERATION_NONE;
    generation_store(t->shard, &t->generation, batch);
    generation_remove(t->shard, old, batch);
    t->state = IDLE;
    return t->generation.current;
}

void transfer_in_abort(struct transfer_in *t, struct kv_batch *batch)
{
    if (t->state == IDLE)
        return;
    generation_remove(t->shard, t->generation.filling, batch);
    t->generation.filling = GENERATION_NONE;
    generation_store(t->shard, &t->generation, batch);
    t->state = IDLE;
}

bool transfer_in_is_silent(const struct transfer_in *t, uint64_t now_ms)
{
    return t->state == FILLING && now_ms > t->heard_ms &&
           now_ms - t->heard_ms >= LIMIT_TRANSFER_SILENT_MS;
}
