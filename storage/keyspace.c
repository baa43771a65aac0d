#include "storage/keyspace.h"

#include <endian.h>

#include "mesh/base/check.h"

#define TABLE_AT 8u /* After shard and generation. */

static void add_byte(struct keyspace_key *k, uint8_t byte)
{
    CHECK(k->size < sizeof(k->bytes));
    k->bytes[k->size++] = byte;
}

static void add_bytes(struct keyspace_key *k, const void *bytes, size_t size)
{
    CHECK(size <= sizeof(k->bytes) - k->size);
    if (size != 0)
        memcpy(k->bytes + k->size, bytes, size);
    k->size += (uint32_t)size;
}

static void add_u32(struct keyspace_key *k, uint32_t value)
{
    uint32_t big = htobe32(value);
    add_bytes(k, &big, sizeof(big));
}

static void add_u64(struct keyspace_key *k, uint64_t value)
{
    uint64_t big = htobe64(value);
    add_bytes(k, &big, sizeof(big));
}

/* Callers have checked names against the limits where they came in (mesh/wire/key.h). */
static void add_name(struct keyspace_key *k, struct slice name)
{
    add_bytes(k, name.base, name.size);
    add_byte(k, 0);
}

void keyspace_table(struct keyspace_key *k, const struct keyspace *s, enum keyspace_table table)
{
    k->size = 0;
    add_u32(k, s->shard);
    add_u32(k, s->generation);
    add_byte(k, (uint8_t)table);
}

void keyspace_name(struct keyspace_key *k, const struct keyspace *s, enum keyspace_table table,
                   struct slice name)
{
    keyspace_table(k, s, table);
    add_name(k, name);
}

void keyspace_names(struct keyspace_key *k, const struct keyspace *s, enum keyspace_table table,
                    struct slice first, struct slice second)
{
    keyspace_name(k, s, table, first);
    add_name(k, second);
}

void keyspace_device(struct keyspace_key *k, const struct keyspace *s, struct slice conv,
                     struct slice user, struct slice device)
{
    keyspace_names(k, s, KEYSPACE_DEVICE, conv, user);
    add_name(k, device);
}

void keyspace_entry(struct keyspace_key *k, const struct keyspace *s, struct slice conv,
                    uint64_t seq)
{
    keyspace_name(k, s, KEYSPACE_ENTRY, conv);
    add_u64(k, seq);
}

void keyspace_reactions(struct keyspace_key *k, const struct keyspace *s, struct slice conv,
                        uint64_t seq)
{
    keyspace_name(k, s, KEYSPACE_REACTION, conv);
    add_u64(k, seq);
}

void keyspace_reaction(struct keyspace_key *k, const struct keyspace *s, struct slice conv,
                       uint64_t seq, struct slice emoji, struct slice user)
{
    keyspace_reactions(k, s, conv, seq);
    add_name(k, emoji);
    add_name(k, user);
}

enum kv_family keyspace_family(const struct keyspace_key *k)
{
    CHECK(k->size > TABLE_AT);
    return k->bytes[TABLE_AT] == KEYSPACE_DEDUP ? KV_DEDUP : KV_STATE;
}

void keyspace_bucket(struct keyspace_key *k, const struct keyspace *s, uint32_t bucket)
{
    keyspace_table(k, s, KEYSPACE_DEDUP);
    add_u32(k, bucket);
}

void keyspace_dedup(struct keyspace_key *k, const struct keyspace *s, uint32_t bucket,
                    const uint8_t digest[KEYSPACE_DIGEST_SIZE])
{
    keyspace_bucket(k, s, bucket);
    add_bytes(k, digest, KEYSPACE_DIGEST_SIZE);
    CHECK(k->size == KEYSPACE_DEDUP_SIZE);
}

void keyspace_to_end(struct keyspace_key *k)
{
    while (k->size > 0 && k->bytes[k->size - 1] == 0xff)
        k->size--;
    CHECK(k->size > 0); /* The table byte is a letter. */
    k->bytes[k->size - 1]++;
}

void keyspace_to_next(struct keyspace_key *k)
{
    add_byte(k, 0);
}

/* The bytes from `at` up to the next zero byte; moves `at` beyond it. */
static bool get_name_at(struct slice key, uint32_t *at, struct slice *ret_name)
{
    if (*at >= key.size)
        return false;
    const char *begin = key.base + *at;
    const char *zero = memchr(begin, 0, key.size - *at);
    if (zero == NULL || zero == begin)
        return false;
    *ret_name = slice_of(begin, (size_t)(zero - begin));
    *at += ret_name->size + 1;
    return true;
}

bool keyspace_get_name(struct slice key, struct slice *ret_name)
{
    uint32_t at = KEYSPACE_HEADER_SIZE;
    return get_name_at(key, &at, ret_name);
}

bool keyspace_get_second_name(struct slice key, struct slice *ret_name)
{
    uint32_t at = KEYSPACE_HEADER_SIZE;
    struct slice first;
    return get_name_at(key, &at, &first) && get_name_at(key, &at, ret_name);
}

bool keyspace_get_seq(struct slice key, uint64_t *ret_seq)
{
    uint64_t big;
    if (key.size < KEYSPACE_HEADER_SIZE + sizeof(big))
        return false;
    memcpy(&big, key.base + key.size - sizeof(big), sizeof(big));
    *ret_seq = be64toh(big);
    return true;
}
