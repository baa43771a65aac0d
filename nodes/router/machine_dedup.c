/* machine_dedup - which cid was used, and what it was answered.
 *
 *   key    shard, bucket of log time (3.5 days), digest of (conversation, sender, cid)
 *   value  seq and ts of the entry
 *
 * A bucket that no lookup can reach any more is dropped as one range, so forgetting costs nothing a
 * row. A lookup asks the buckets in which this conversation has entries, newest first: a
 * conversation that is younger than its bucket, or was idle for a week, costs one read or none. All
 * times are those of entries, so every replica forgets at the same entry. */
#include "mesh/base/check.h"
#include "mesh/base/crypto.h"
#include "mesh/base/limits.h"
#include "mesh/base/mem.h"
#include "nodes/router/machine_parts.h"

#define SLOTS_LEAST 64u

void machine_dedup_init(struct machine *m, const uint8_t cluster[16])
{
    /* Clients choose cids; without the cluster's id they cannot search for two of one digest. */
    struct slice parts[2] = {slice_string("chatmesh dedup"), slice_of(cluster, 16)};
    crypto_digest((uint8_t *)m->dedup.keys, sizeof(m->dedup.keys), parts, 2);
    m->dedup.capacity = SLOTS_LEAST;
    m->dedup.slots = mem_zero(SLOTS_LEAST * sizeof(*m->dedup.slots));
    m->dedup.turn = 1;
}

void machine_dedup_fini(struct machine *m)
{
    mem_free(m->dedup.slots);
}

static uint32_t bucket_of(uint64_t ts)
{
    uint64_t bucket = ts / MACHINE_BUCKET_MS;
    return bucket < UINT32_MAX ? (uint32_t)bucket : UINT32_MAX;
}

/* The oldest bucket that may hold a row younger than LIMIT_DEDUP_MS. */
static uint32_t oldest_bucket(uint64_t clock)
{
    uint32_t bucket = bucket_of(clock);
    return bucket < MACHINE_BUCKETS ? 0 : bucket - (MACHINE_BUCKETS - 1);
}

void machine_dedup_advance(struct machine *m, uint64_t clock)
{
    uint32_t oldest = oldest_bucket(clock);
    if (m->applied.clock == 0 || oldest == oldest_bucket(m->applied.clock))
        return;
    struct keyspace_key from;
    struct keyspace_key to;
    keyspace_table(&from, &m->keys, KEYSPACE_DEDUP);
    keyspace_bucket(&to, &m->keys, oldest);
    kv_remove_range(m->batch, KV_DEDUP, keyspace_slice(&from), keyspace_slice(&to));
}

void machine_dedup_digest(const struct machine *m, struct slice conv, struct slice user,
                          struct slice cid, uint8_t digest[KEYSPACE_DIGEST_SIZE])
{
    uint8_t text[LIMIT_CONV_SIZE_MAX + LIMIT_USER_SIZE_MAX + LIMIT_CID_SIZE_MAX + 3];
    CHECK(conv.size + user.size + cid.size + 2 <= sizeof(text));
    /* No name holds a zero byte, so no two triples make the same text; see machine_create.c for the
     * one that a cid may end with. */
    uint8_t *at = text;
    memcpy(at, conv.base, conv.size);
    at += conv.size;
    *at++ = 0;
    memcpy(at, user.base, user.size);
    at += user.size;
    *at++ = 0;
    memcpy(at, cid.base, cid.size);
    at += cid.size;
    for (int half = 0; half < 2; half++) {
        uint64_t hash = crypto_hash64(m->dedup.keys[half], slice_of(text, (size_t)(at - text)));
        memcpy(digest + 8 * half, &hash, sizeof(hash));
    }
}

/* The slot of this digest, or the free one where it belongs. */
static struct machine_dedup_slot *slot_of(const struct machine_dedup *d, const uint8_t *digest)
{
    uint64_t hash;
    memcpy(&hash, digest, sizeof(hash));
    size_t at = hash & (d->capacity - 1);
    while (d->slots[at].turn == d->turn &&
           memcmp(d->slots[at].digest, digest, KEYSPACE_DIGEST_SIZE) != 0)
        at = (at + 1) & (d->capacity - 1);
    return &d->slots[at];
}

static void grow(struct machine_dedup *d)
{
    struct machine_dedup_slot *old = d->slots;
    size_t old_capacity = d->capacity;
    d->capacity *= 2;
    d->slots = mem_zero(d->capacity * sizeof(*d->slots));
    for (size_t i = 0; i < old_capacity; i++)
        if (old[i].turn == d->turn)
            *slot_of(d, old[i].digest) = old[i];
    mem_free(old);
}

enum rc machine_dedup_find(struct machine *m, const struct machine_conv *conv,
                           const uint8_t digest[KEYSPACE_DIGEST_SIZE], struct row_dedup *ret_row)
{
    struct machine_dedup_slot *slot = slot_of(&m->dedup, digest);
    if (slot->turn == m->dedup.turn) {
        *ret_row = slot->row;
        return m->applied.clock - slot->row.ts < LIMIT_DEDUP_MS ? RC_OK : RC_NOT_FOUND;
    }
    if (conv->written_seq == 0)
        return RC_NOT_FOUND; /* Begun in this turn: the store knows nothing of it. */
    uint32_t oldest = oldest_bucket(m->applied.clock);
    uint32_t first = bucket_of(conv->info.created);
    if (first < oldest)
        first = oldest;
    for (uint32_t bucket = bucket_of(conv->head.last_ts) + 1; bucket-- > first;) {
        struct keyspace_key key;
        struct row_dedup row;
        keyspace_dedup(&key, &m->keys, bucket, digest);
        enum rc rc = machine_rows_get(m, &key, &row_dedup_desc, &row);
        if (rc == RC_NOT_FOUND)
            continue;
        if (rc != RC_OK)
            return rc;
        if (m->applied.clock - row.ts >= LIMIT_DEDUP_MS)
            return RC_NOT_FOUND; /* And what older buckets may hold is older still. */
        *ret_row = row;
        return RC_OK;
    }
    return RC_NOT_FOUND;
}

void machine_dedup_put(struct machine *m, const uint8_t digest[KEYSPACE_DIGEST_SIZE], uint64_t seq)
{
    struct machine_dedup *d = &m->dedup;
    struct keyspace_key key;
    struct row_dedup row = {.seq = seq, .ts = m->applied.clock};
    keyspace_dedup(&key, &m->keys, bucket_of(row.ts), digest);
    machine_rows_put(m, m->batch, &key, &row_dedup_desc, &row);

    struct machine_dedup_slot *slot = slot_of(d, digest);
    if (slot->turn != d->turn)
        d->count++;
    memcpy(slot->digest, digest, KEYSPACE_DIGEST_SIZE);
    slot->row = row;
    slot->turn = d->turn;
    if (d->count * 2 > d->capacity)
        grow(d);
}

void machine_dedup_written(struct machine *m)
{
    m->dedup.turn++;
    m->dedup.count = 0;
}
