/* rocks_kv_options - how RocksDB is set up for rocks_kv: what is kept where, cached, compressed,
 * and sorted by whom. Each choice with its figure at its place in rocks_kv_options.c.
 *
 * The caller owns what is returned. */
#ifndef STORAGE_ROCKS_KV_OPTIONS_H
#define STORAGE_ROCKS_KV_OPTIONS_H

#include <rocksdb/c.h>

#include "storage/rocks_kv.h"

/* RocksDB insists on a family "default"; it stays empty. */
#define ROCKS_FAMILY_DEFAULT KV_FAMILY_COUNT
#define ROCKS_FAMILY_COUNT   (KV_FAMILY_COUNT + 1)

rocksdb_cache_t *rocks_cache(const struct rocks_kv_options *options); /* One for all families. */
rocksdb_options_t *rocks_family_options(enum kv_family family,
                                        const struct rocks_kv_options *options,
                                        rocksdb_cache_t *cache);
/* What holds for the database as a whole; given with the default family's options. */
void rocks_set_database_options(rocksdb_options_t *o, const struct rocks_kv_options *options);

#endif
