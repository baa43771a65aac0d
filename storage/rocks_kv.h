/* rocks_kv - the store port over RocksDB; with rocks_kv_options the only file that knows
 * rocksdb/c.h.
 *
 * Scheme A2: one database, four column families, everything through one write-ahead log. The loop
 * writes batches with sync off, so it never waits for the disk; a syncer thread flushes and syncs
 * the log, and what it made durable is reported to the loop. The log's order gives the promise of
 * kv.h: what survives is a prefix of the batches.
 *
 *   happy path      write … write, sync -> (thread) flush, fdatasync, wake -> poll -> on_synced
 *   failure modes   the first error of a write or a sync is final: every later one fails with it,
 *                   since Linux may report a lost page only once; the process ends
 *   on stop         close waits for a running sync and drops its callback; after an error it
 *                   leaves the database as it is, since RocksDB would go on with the broken log
 *
 * Loop thread only, but for the syncer, which touches the database's log and `wake` and nothing
 * else. */
#ifndef STORAGE_ROCKS_KV_H
#define STORAGE_ROCKS_KV_H

#include <stddef.h>

#include "storage/kv.h"

struct rocks_kv_options {
    uint64_t wal_bytes_max;      /* Log kept at most; beyond, memtables are flushed. 0: 256 MiB. */
    uint64_t cache_bytes;        /* Blocks cached for reads. 0: 64 MiB. */
    uint64_t memtable_bytes;     /* Of log and state each, before it is flushed. 0: 64 MiB. */
    void (*wake)(void *context); /* Called from the syncer: have the loop call rocks_kv_poll(). */
    void *wake_context;
};

/* Open or create the database in `dir`, which is created where its parent is there. On failure
 * `sentence` says for the operator what is wrong. RC_IN_USE: another process has it open; RC_IO: no
 * directory, no permission, or the disk failed; RC_NO_SPACE; RC_CORRUPT: RocksDB refuses what is
 * there. */
MUST_CHECK enum rc rocks_kv_open(const char *dir, const struct rocks_kv_options *options,
                                 struct kv **ret_kv, char *sentence, size_t sentence_size);

/* Report what the syncer finished: runs on_synced, which may ask for the next sync. Nothing
 * finished: nothing happens. */
void rocks_kv_poll(struct kv *kv);

#endif
