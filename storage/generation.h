/* generation - which complete copy of a shard's state is the one in use.
 *
 * A state transfer fills a new generation beside the one in use (storage/keyspace.h) and is made
 * valid by one batch: this row, the new snapshot mark, the old copy removed. A crash at any point
 * leaves the old copy in use and, perhaps, parts of a new one, which the next start removes.
 *
 *   meta  `G` shard32   generation in use, generation being filled (0: none)
 *
 * Sealed (sealed.h). No row: generation 1, nothing being filled. */
#ifndef STORAGE_GENERATION_H
#define STORAGE_GENERATION_H

#include "storage/keyspace.h"
#include "storage/kv.h"

/* No copy has this number. Rows on their way from one router to another are sealed under it. */
#define GENERATION_NONE 0u

struct generation {
    uint32_t current;
    uint32_t filling; /* GENERATION_NONE: nothing is being filled. */
};

/* What is stored; `ret_row` is what it says. RC_CORRUPT, RC_IO. */
MUST_CHECK enum rc generation_load(struct kv *kv, uint32_t shard, struct generation *ret_row);
void generation_store(uint32_t shard, const struct generation *row, struct kv_batch *batch);

/* At a start: the generation in use. Where a transfer was under way, its rows and its mention are
 * removed by `batch`. RC_CORRUPT, RC_IO: nothing was put. */
MUST_CHECK enum rc generation_open(struct kv *kv, uint32_t shard, struct kv_batch *batch,
                                   uint32_t *ret_current);

/* The number to fill next: after both that are taken, and never GENERATION_NONE. */
uint32_t generation_next(const struct generation *row);

/* All keys of one generation of a shard, of either family: [from, to). */
void generation_range(uint32_t shard, uint32_t generation, struct keyspace_key *from,
                      struct keyspace_key *to);

/* Remove all rows of one generation of a shard, of the state and the deduplication family. */
void generation_remove(uint32_t shard, uint32_t generation, struct kv_batch *batch);

/* A row's seal covers its whole key, so it cannot be copied to another generation as it is: check
 * it under `key`, make `key` that of `generation`, and append the row as sealed under that to
 * `into`. RC_CORRUPT: the row fails its seal; nothing changed. */
MUST_CHECK enum rc generation_move_row(struct keyspace_key *key, struct slice value,
                                       uint32_t generation, struct buf *into);

#endif
