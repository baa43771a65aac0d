/* Chunks of a state transfer, as a faulty or hostile router might send them to a replica.
 *
 * The input is chunks: a byte that says which transfer, number, checksum and end mark it bears and
 * what happens besides, two bytes with the size of what follows, and that: rows as they are on the
 * wire, or families, keys and bodies that are given a right seal first. Whatever comes, nothing
 * outside the generation that is filled is written, every row in it is one that a machine may read,
 * and giving up, or a restart, leaves nothing of it. */
#include "mesh/base/check.h"
#include "mesh/base/crypto.h"
#include "nodes/router/transfer.h"
#include "storage/generation.h"
#include "storage/mem_kv.h"
#include "storage/rows.h"
#include "storage/sealed.h"

#define SHARD   7u
#define APPLIED 4711u

enum {
    TRANSFER = 0x03,     /* Its id; 0 is none. */
    NUMBER_ZERO = 0x04,  /* Or else: the one that is expected. */
    NUMBER_OTHER = 0x08, /* One more. */
    IS_LAST = 0x10,
    IS_RAW = 0x20, /* Rows as on the wire. */
    IS_WRONG = 0x40,
    IS_FOLLOWED = 0x80, /* By what the transfer's id says: switch, abort, restart. */
};

struct world {
    struct kv *kv;
    struct kv_batch *batch;
    struct transfer_in *in;
    uint64_t id; /* Of the transfer under way, as the acks tell; 0: none. */
    uint64_t next;
    uint32_t check;
    struct buf *others;  /* All rows beside the shard's. */
    struct buf *current; /* Those in use. */
};

static void write_batch(struct world *w)
{
    CHECK(w->kv->ops->write(w->kv, w->batch) == RC_OK);
}

/* ---- What is stored ---- */

static void dump_range(struct kv *kv, enum kv_family family, struct slice from, struct slice to,
                       struct buf *out)
{
    struct slice key, value;
    struct kv_iterator *i = kv->ops->iterate(kv, family, from, to, false);
    while (kv->ops->next(i, &key, &value)) {
        record_put_u64(out, family);
        record_put_slice(out, key);
        record_put_slice(out, value);
    }
    CHECK(kv->ops->iterator_free(&i) == RC_OK);
}

/* Everything but the shard's rows and its generation row. */
static struct buf *dump_others(struct kv *kv)
{
    static const struct slice first = {.base = "", .size = 0}, last = {.base = "\xff", .size = 1};
    static const struct slice shard = {.base = "\0\0\0\7", .size = 4};
    static const struct slice after = {.base = "\0\0\0\10", .size = 4};
    static const struct slice row = {.base = "G\0\0\0\7", .size = 5};
    static const struct slice after_row = {.base = "G\0\0\0\7\0", .size = 6};
    struct buf *out = buf_new(0);
    for (enum kv_family family = 0; family < KV_FAMILY_COUNT; family++) {
        dump_range(kv, family, first, family == KV_META ? row : shard, out);
        dump_range(kv, family, family == KV_META ? after_row : after, last, out);
    }
    dump_range(kv, KV_LOG, shard, after, out);
    return out;
}

static struct buf *dump_generation(struct kv *kv, uint32_t generation)
{
    struct keyspace_key from, to;
    struct buf *out = buf_new(0);
    generation_range(SHARD, generation, &from, &to);
    for (enum kv_family family = KV_STATE; family <= KV_DEDUP; family++)
        dump_range(kv, family, keyspace_slice(&from), keyspace_slice(&to), out);
    return out;
}

static size_t size_of_generation(struct kv *kv, uint32_t generation)
{
    struct buf *rows = dump_generation(kv, generation);
    size_t size = rows->size;
    buf_unref(&rows);
    return size;
}

/* Of the shard there are rows of these two generations only, and each is one to be read. */
static void check_shard(struct kv *kv, enum kv_family family, const struct generation *row)
{
    struct keyspace_key from, to;
    struct slice key, value, body;
    generation_range(SHARD, 0, &from, &to);
    from.size = to.size = 4;
    from.bytes[3] = SHARD;
    to.bytes[3] = SHARD + 1;
    struct kv_iterator *i =
        kv->ops->iterate(kv, family, keyspace_slice(&from), keyspace_slice(&to), false);
    while (kv->ops->next(i, &key, &value)) {
        CHECK(key.size >= KEYSPACE_HEADER_SIZE && key.size < KEYSPACE_SIZE_MAX);
        uint32_t generation = 0;
        for (int byte = 4; byte < 8; byte++)
            generation = generation << 8 | (uint8_t)key.base[byte];
        CHECK(generation != GENERATION_NONE);
        CHECK(generation == row->current || generation == row->filling);
        CHECK(strchr("aCRcdehkmortuUx", key.base[8]) != NULL && key.base[8] != '\0');
        CHECK((family == KV_DEDUP) == (key.base[8] == KEYSPACE_DEDUP));
        CHECK(family != KV_DEDUP || key.size == KEYSPACE_DEDUP_SIZE);
        CHECK(sealed_open(key, value, ROWS_VERSION, &body) == RC_OK);
    }
    CHECK(kv->ops->iterator_free(&i) == RC_OK);
}

static void check_store(struct world *w)
{
    struct generation row;
    uint64_t applied;
    CHECK(generation_load(w->kv, SHARD, &row) == RC_OK);
    check_shard(w->kv, KV_STATE, &row);
    check_shard(w->kv, KV_DEDUP, &row);
    CHECK((row.filling != GENERATION_NONE) == (w->id != 0));
    CHECK(w->id != 0 || !transfer_in_is_complete(w->in, &applied));
    struct buf *others = dump_others(w->kv);
    struct buf *current = dump_generation(w->kv, row.current);
    CHECK(slice_equal(buf_slice(others), buf_slice(w->others)));
    CHECK(slice_equal(buf_slice(current), buf_slice(w->current)));
    buf_unref(&others);
    buf_unref(&current);
}

/* ---- What comes ---- */

static uint64_t take(struct slice *rest, uint32_t size)
{
    uint64_t value = 0;
    for (; size > 0 && rest->size > 0; size--) {
        value = value << 8 | (uint8_t)rest->base[0];
        *rest = slice_of(rest->base + 1, rest->size - 1);
    }
    return value;
}

static struct slice take_bytes(struct slice *rest, uint64_t size)
{
    struct slice bytes = slice_of(rest->base, size < rest->size ? size : rest->size);
    *rest = slice_of(bytes.base + bytes.size, rest->size - bytes.size);
    return bytes;
}

/* Family, key and body, each row under the seal it should travel under. */
static void seal_rows(struct slice rest, struct buf *rows)
{
    static const uint8_t header[8] = {[3] = SHARD};
    struct buf *key = buf_new(0);
    struct buf *row = buf_new(0);
    while (rest.size > 0) {
        record_put_u64(rows, take(&rest, 1));
        struct slice tail = take_bytes(&rest, take(&rest, 2));
        struct slice body = take_bytes(&rest, take(&rest, 1));
        buf_clear(key);
        buf_append(key, header, sizeof(header));
        buf_append_slice(key, tail);
        buf_clear(row);
        size_t begin = sealed_begin(row, ROWS_VERSION);
        buf_append_slice(row, body);
        sealed_end(row, begin, buf_slice(key));
        record_put_slice(rows, tail);
        record_put_slice(rows, buf_slice(row));
    }
    buf_unref(&key);
    buf_unref(&row);
}

static void receive(struct world *w, uint8_t flags, struct slice rows)
{
    uint64_t id = flags & TRANSFER;
    bool is_known = id != 0 && id == w->id;
    uint64_t expected = is_known ? w->next : 0;
    uint32_t check = is_known && !(flags & NUMBER_ZERO) ? w->check : 0;
    struct msg_chunk chunk = {
        .group = SHARD,
        .transfer = id,
        .number = (flags & NUMBER_ZERO ? 0 : expected) + (flags & NUMBER_OTHER ? 1 : 0),
        .applied = APPLIED,
        .last = flags & IS_LAST ? 1 : 0,
        .check = crypto_crc32c(check, rows.base, rows.size),
        .rows = rows,
    };
    if (flags & IS_WRONG)
        chunk.check++;
    struct msg_chunk_ack ack;
    transfer_in_on_chunk(w->in, &chunk, w->batch, 1, &ack);
    bool is_doubled = is_known && chunk.number < w->next;
    bool is_new = id != 0 && !is_known && chunk.number == 0;
    CHECK(ack.rc == RC_OK || ack.rc == RC_CORRUPT);
    CHECK(ack.group == SHARD && ack.transfer == id);
    if (is_doubled) {
        CHECK(ack.rc == RC_OK && ack.next == w->next);
        CHECK(w->kv->ops->batch_count(w->batch) == 0);
    } else if (ack.rc == RC_OK) {
        CHECK((is_known || is_new) && chunk.number == expected && !(flags & IS_WRONG));
        CHECK(ack.next == expected + 1);
        w->id = id;
        w->next = ack.next;
        w->check = (uint32_t)chunk.check;
    } else if (is_known || is_new) {
        w->id = 0;
    }
    write_batch(w);
}

static void use_generation(struct world *w, uint32_t generation)
{
    buf_unref(&w->current);
    w->current = dump_generation(w->kv, generation);
}

static void follow(struct world *w, uint8_t flags)
{
    uint64_t applied;
    struct generation before;
    CHECK(generation_load(w->kv, SHARD, &before) == RC_OK);
    if ((flags & TRANSFER) == 1 && transfer_in_is_complete(w->in, &applied)) {
        CHECK(applied == APPLIED);
        uint32_t generation = transfer_in_switch(w->in, w->batch);
        write_batch(w);
        CHECK(generation == before.filling);
        CHECK(size_of_generation(w->kv, before.current) == 0);
        use_generation(w, generation);
        w->id = 0;
    } else if ((flags & TRANSFER) == 2) {
        transfer_in_abort(w->in, w->batch);
        write_batch(w);
        CHECK(size_of_generation(w->kv, before.filling) == 0);
        w->id = 0;
    } else if ((flags & TRANSFER) == 3) {
        uint32_t current;
        CHECK(generation_open(w->kv, SHARD, w->batch, &current) == RC_OK);
        write_batch(w);
        CHECK(current == before.current && size_of_generation(w->kv, before.filling) == 0);
        transfer_in_free(&w->in);
        w->in = transfer_in_new(SHARD, current);
        w->id = 0;
    }
}

/* ---- The world ---- */

static void put_row(struct world *w, uint32_t shard, uint32_t generation)
{
    static const uint8_t digest[KEYSPACE_DIGEST_SIZE];
    struct keyspace keys = {.shard = shard, .generation = generation};
    struct row_dedup row = {.seq = 1, .ts = 2};
    struct keyspace_key key[2];
    struct buf *value = buf_new(0);
    keyspace_name(&key[0], &keys, KEYSPACE_CONV, slice_string("c"));
    keyspace_dedup(&key[1], &keys, 0, digest);
    for (int i = 0; i < 2; i++) {
        buf_clear(value);
        rows_encode(value, keyspace_slice(&key[i]), &row_dedup_desc, &row);
        kv_put(w->batch, keyspace_family(&key[i]), keyspace_slice(&key[i]), buf_slice(value));
    }
    buf_unref(&value);
}

static void begin(struct world *w)
{
    *w = (struct world){.kv = mem_kv_new()};
    w->batch = w->kv->ops->batch_new(w->kv);
    for (uint32_t generation = 1; generation <= 3; generation++) {
        put_row(w, SHARD - 1, generation);
        put_row(w, SHARD + 1, generation);
    }
    put_row(w, SHARD, 1);
    kv_put(w->batch, KV_META, slice_string("N"), slice_string("node"));
    kv_put(w->batch, KV_LOG, slice_of("\0\0\0\7\0\0\0\0\0\0\0\1", 12), slice_string("entry"));
    write_batch(w);
    w->in = transfer_in_new(SHARD, 1);
    w->others = dump_others(w->kv);
    w->current = dump_generation(w->kv, 1);
}

static void end(struct world *w)
{
    transfer_in_free(&w->in);
    buf_unref(&w->others);
    buf_unref(&w->current);
    w->kv->ops->batch_free(&w->batch);
    w->kv->ops->close(&w->kv);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct world w;
    struct slice rest = slice_of(data, size);
    struct buf *rows = buf_new(0);
    begin(&w);
    while (rest.size > 0) {
        uint8_t flags = (uint8_t)take(&rest, 1);
        struct slice part = take_bytes(&rest, take(&rest, 2));
        buf_clear(rows);
        if (flags & IS_RAW)
            buf_append_slice(rows, part);
        else
            seal_rows(part, rows);
        receive(&w, flags, buf_slice(rows));
        check_store(&w);
        if (flags & IS_FOLLOWED) {
            follow(&w, flags);
            check_store(&w);
        }
    }
    buf_unref(&rows);
    end(&w);
    return 0;
}
