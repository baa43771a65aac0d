/* keyspace - the keys of the state family: what is where in a shard.
 *
 * Every key is shard, generation, table, then what the table says, all big endian, so that the rows
 * of a shard, of a conversation, of a member lie together in order and can be read, shipped or
 * dropped as a range. Names end in a zero byte, which no valid name holds, so that "a" and "ab" do
 * not mix.
 *
 * A generation is a complete copy of the shard: a state transfer fills a new one beside the old. */
#ifndef STORAGE_KEYSPACE_H
#define STORAGE_KEYSPACE_H

#include <stdbool.h>
#include <stdint.h>

#include "mesh/base/limits.h"
#include "mesh/base/slice.h"
#include "storage/kv.h"

#define KEYSPACE_HEADER_SIZE 9u /* Shard, generation, table. */
/* The longest: a conversation, a user and a device with their zero bytes. One spare byte for
 * keyspace_after_name(). */
#define KEYSPACE_SIZE_MAX                                                                          \
    (KEYSPACE_HEADER_SIZE + LIMIT_CONV_SIZE_MAX + LIMIT_USER_SIZE_MAX + LIMIT_DEVICE_SIZE_MAX + 4u)
_Static_assert(LIMIT_EMOJI_SIZE_MAX + sizeof(uint64_t) <= LIMIT_DEVICE_SIZE_MAX, "of a reaction");
#define KEYSPACE_DIGEST_SIZE 16u
#define KEYSPACE_DEDUP_SIZE  29u /* A whole key: shard, generation, table, bucket, digest. */

enum keyspace_table {
    KEYSPACE_APPLIED = 'a',  /* - : row_applied */
    KEYSPACE_CLUSTER = 'C',  /* - : row_cluster; control group only */
    KEYSPACE_ROUTER = 'R',   /* node : row_router; control group only */
    KEYSPACE_CONV = 'c',     /* conv : row_conv */
    KEYSPACE_DEVICE = 'd',   /* conv user device : row_device */
    KEYSPACE_ENTRY = 'e',    /* conv seq64 : an entry, see rows_entry_encode() */
    KEYSPACE_HEAD = 'h',     /* conv : row_head */
    KEYSPACE_DEDUP = 'k',    /* bucket32 digest : row_dedup */
    KEYSPACE_MEMBER = 'm',   /* conv user : row_member */
    KEYSPACE_OWED = 'o',     /* conv : row_owed */
    KEYSPACE_RETAIN = 't',   /* conv : row_retain */
    KEYSPACE_USER = 'U',     /* user : row_user */
    KEYSPACE_REACTION = 'x', /* conv seq64 emoji user : row_reaction */
    KEYSPACE_CURSOR = 'r',   /* conv user : row_cursor */
    KEYSPACE_INDEX = 'u',    /* user conv : row_index */
};

struct keyspace {
    uint32_t shard;
    uint32_t generation;
};

/* A key being built: on the caller's stack. */
struct keyspace_key {
    uint32_t size;
    uint8_t bytes[KEYSPACE_SIZE_MAX];
};

static inline struct slice keyspace_slice(const struct keyspace_key *k)
{
    return slice_of(k->bytes, k->size);
}

/* The column family a key belongs to: KV_DEDUP for deduplication rows, else KV_STATE. */
enum kv_family keyspace_family(const struct keyspace_key *k);

/* Each writes `k` anew. A key with fewer parts is the prefix of those with more. */
void keyspace_table(struct keyspace_key *k, const struct keyspace *s, enum keyspace_table table);
void keyspace_name(struct keyspace_key *k, const struct keyspace *s, enum keyspace_table table,
                   struct slice name);
void keyspace_names(struct keyspace_key *k, const struct keyspace *s, enum keyspace_table table,
                    struct slice first, struct slice second);
void keyspace_device(struct keyspace_key *k, const struct keyspace *s, struct slice conv,
                     struct slice user, struct slice device);
void keyspace_entry(struct keyspace_key *k, const struct keyspace *s, struct slice conv,
                    uint64_t seq);
/* All reactions to the message at `seq`, or, with the next seq, where they end. */
void keyspace_reactions(struct keyspace_key *k, const struct keyspace *s, struct slice conv,
                        uint64_t seq);
void keyspace_reaction(struct keyspace_key *k, const struct keyspace *s, struct slice conv,
                       uint64_t seq, struct slice emoji, struct slice user);
void keyspace_bucket(struct keyspace_key *k, const struct keyspace *s, uint32_t bucket);
void keyspace_dedup(struct keyspace_key *k, const struct keyspace *s, uint32_t bucket,
                    const uint8_t digest[KEYSPACE_DIGEST_SIZE]);

/* Make a prefix the smallest key after all that begin with it: the end of its range. */
void keyspace_to_end(struct keyspace_key *k);
/* Make a whole key the smallest one after it: where the next page begins. */
void keyspace_to_next(struct keyspace_key *k);

/* What a stored key says. False where it is not such a key: the store is corrupt. */
bool keyspace_get_name(struct slice key, struct slice *ret_name);
bool keyspace_get_second_name(struct slice key, struct slice *ret_name);
bool keyspace_get_seq(struct slice key, uint64_t *ret_seq);

#endif
