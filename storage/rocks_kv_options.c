#include "storage/rocks_kv_options.h"

#include "storage/keyspace.h"

#define MIB                (1024u * 1024u)
#define BLOOM_BITS         10.0 /* A key: 1 % false positives. */
#define FILTER_PIECE_BYTES 4096u
#define INFO_LOG_BYTES     (4u * MIB)
#define INFO_LOG_COUNT     4u
#define OPEN_FILES_MAX     1024
#define META_TABLE_BYTES   (4u * MIB)
#define FLUSH_JOBS         2 /* The state's flush must not wait for one that sorts: writes would. */
#define COMPACTION_JOBS    1
#define DEDUP_BUCKETS      262144u /* Of a memtable of some 160,000 rows. */
#define DEDUP_MEMTABLES    8       /* Together as large as two of the state. */

static uint64_t or_default(uint64_t value, uint64_t otherwise)
{
    return value != 0 ? value : otherwise;
}

rocksdb_cache_t *rocks_cache(const struct rocks_kv_options *options)
{
    return rocksdb_cache_create_lru(or_default(options->cache_bytes, 64 * MIB));
}

void rocks_set_database_options(rocksdb_options_t *o, const struct rocks_kv_options *options)
{
    rocksdb_options_set_create_if_missing(o, 1);
    rocksdb_options_set_create_missing_column_families(o, 1);
    rocksdb_options_set_paranoid_checks(o, 1);
    rocksdb_options_set_max_background_flushes(o, FLUSH_JOBS);
    rocksdb_options_set_max_background_compactions(o, COMPACTION_JOBS);
    rocksdb_options_set_max_open_files(o, OPEN_FILES_MAX);

    /* Scheme A2: every write reaches the kernel at once, so that kill -9 loses nothing, and no log
     * file is reused, so that its end is where a write stopped. Only a record torn there is
     * forgiven; one damaged before the end is refused. */
    rocksdb_options_set_manual_wal_flush(o, 0);
    rocksdb_options_set_recycle_log_file_num(o, 0);
    rocksdb_options_set_wal_recovery_mode(o, rocksdb_tolerate_corrupted_tail_records_recovery);
    rocksdb_options_set_max_total_wal_size(o, or_default(options->wal_bytes_max, 256 * MIB));

    /* One writer: the lock-free memtable only costs (measured: 4.0 against 3.35 us a key). */
    rocksdb_options_set_allow_concurrent_memtable_write(o, 0);

    rocksdb_options_set_info_log_level(o, 2); /* Warnings. */
    rocksdb_options_set_max_log_file_size(o, INFO_LOG_BYTES);
    rocksdb_options_set_keep_log_file_num(o, INFO_LOG_COUNT);
    rocksdb_options_set_stats_dump_period_sec(o, 0);
}

static void set_table_options(rocksdb_options_t *o, enum kv_family family, rocksdb_cache_t *cache)
{
    rocksdb_block_based_table_options_t *table = rocksdb_block_based_options_create();
    rocksdb_block_based_options_set_block_cache(table, cache);
    rocksdb_block_based_options_set_format_version(table, 5);
    if (family == KV_STATE || family == KV_DEDUP) {
        /* Most reads ask for what is not there: has this message been sent before? */
        rocksdb_block_based_options_set_filter_policy(
            table, rocksdb_filterpolicy_create_bloom_full(BLOOM_BITS));
        rocksdb_block_based_options_set_whole_key_filtering(table, 1);
        /* Filters and indexes grow with the history, so they are cached like data; in pieces, since
         * a whole one of some 100 KiB would not stay in a shard of the cache (220 us a get). */
        rocksdb_block_based_options_set_index_type(
            table, rocksdb_block_based_table_index_type_two_level_index_search);
        rocksdb_block_based_options_set_partition_filters(table, 1);
        rocksdb_block_based_options_set_metadata_block_size(table, FILTER_PIECE_BYTES);
        rocksdb_block_based_options_set_cache_index_and_filter_blocks(table, 1);
        rocksdb_block_based_options_set_cache_index_and_filter_blocks_with_high_priority(table, 1);
        rocksdb_block_based_options_set_pin_top_level_index_and_filter(table, 1);
    }
    rocksdb_options_set_block_based_table_factory(o, table);
    rocksdb_block_based_options_destroy(table);
}

rocksdb_options_t *rocks_family_options(enum kv_family family,
                                        const struct rocks_kv_options *options,
                                        rocksdb_cache_t *cache)
{
    rocksdb_options_t *o = rocksdb_options_create();
    uint64_t memtable = or_default(options->memtable_bytes, 64 * MIB);
    bool is_small = family == KV_META || family == ROCKS_FAMILY_DEFAULT;
    rocksdb_options_set_write_buffer_size(o, is_small ? META_TABLE_BYTES : memtable);
    /* Log and meta live for minutes and are mostly gone before a flush: not worth a compressor. */
    rocksdb_options_set_compression(o, family == KV_STATE ? rocksdb_lz4_compression
                                                          : rocksdb_no_compression);
    if (family == KV_DEDUP) {
        /* Random keys in a skip list are a cache miss a level, and tear the state's neighbours
         * apart (measured, 400 messages a batch: 8.5 us a message in one skip list, 6.5 in two, 3.2
         * with these rows hashed). The prefix is the whole key: each row hashes by itself. */
        rocksdb_options_set_prefix_extractor(
            o, rocksdb_slicetransform_create_fixed_prefix(KEYSPACE_DEDUP_SIZE));
        rocksdb_options_set_hash_link_list_rep(o, DEDUP_BUCKETS);
        /* Such a memtable is sorted when it is flushed, 5 us a row in a large one. In pieces it is
         * quicker (3 us) and a writer that is ahead of it never waits for a whole one: 4 s. */
        rocksdb_options_set_write_buffer_size(o, memtable * 2 / DEDUP_MEMTABLES);
        rocksdb_options_set_max_write_buffer_number(o, DEDUP_MEMTABLES);
    }
    if (family == KV_STATE || family == KV_DEDUP) {
        rocksdb_options_set_memtable_prefix_bloom_size_ratio(o, 0.1);
        rocksdb_options_set_memtable_whole_key_filtering(o, 1);
        rocksdb_options_set_level_compaction_dynamic_level_bytes(o, 1);
    }
    set_table_options(o, family, cache);
    return o;
}
