/* mem_kv - the store port in memory: for unit tests and the simulator.
 *
 * It behaves as the port promises and no better: a batch is visible at once and durable only once a
 * sync has been completed, which happens when the test says so. A crash forgets the newest batches
 * that were not synced, as a lost tail of the write-ahead log does; what is left is then durable.
 * Writes and syncs fail on demand, by countdown, and the first failure is final until the next
 * crash.
 *
 * Keys are in a skip list (Pugh 1990); each holds its values by batch number, newest first, so that
 * an iterator sees the store as it was and a crash can go back. Old values are dropped as soon as
 * neither needs them. Deterministic: the same calls give the same list. */
#ifndef STORAGE_MEM_KV_H
#define STORAGE_MEM_KV_H

#include <stdbool.h>
#include <stdint.h>

#include "storage/kv.h"

struct kv *mem_kv_new(void); /* Freed by ops->close, which forgets a sync that is still pending. */

/* The sync that is pending becomes durable and is reported. False where none is. */
bool mem_kv_complete_sync(struct kv *kv);
bool mem_kv_sync_is_pending(const struct kv *kv);

/* Batches written that a crash may still forget. */
uint64_t mem_kv_unsynced(const struct kv *kv);

/* The process died: the newest `lose_count` batches are gone (all that are unsynced, where it is
 * more), a pending sync is never reported, errors are over. No iterator may be open. */
void mem_kv_crash(struct kv *kv, uint64_t lose_count);

/* After `countdown` more that succeed, writes (syncs) fail with `rc`. */
void mem_kv_fail_write(struct kv *kv, uint32_t countdown, enum rc rc);
void mem_kv_fail_sync(struct kv *kv, uint32_t countdown, enum rc rc);

#endif
