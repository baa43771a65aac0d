/* raft_log - keys and rows of a shard's Raft log, hard state and snapshot mark.
 *
 *   meta  `T` shard32       term, vote: what Raft calls persistent state (figure 3.1); server id
 *   meta  `S` shard32       index, term, configuration: what the log begins after; index 0 in a
 *                           replica that began empty and has stored no snapshot yet
 *   log   shard32 index64   term, type, data
 *
 * Numbers in keys are big endian, so that byte order is index order and a shard's log is one range.
 * Rows are sealed (sealed.h). Nothing here knows libraft: what is on disk outlives its structs. */
#ifndef STORAGE_RAFT_LOG_H
#define STORAGE_RAFT_LOG_H

#include "mesh/base/buf.h"
#include "mesh/base/rc.h"
#include "mesh/base/slice.h"

#define RAFT_LOG_META_KEY_SIZE  5u
#define RAFT_LOG_ENTRY_KEY_SIZE 12u

/* What the entry is; the values are on disk. */
enum raft_log_type {
    RAFT_LOG_COMMAND = 1, /* Data is the state machine's. */
    RAFT_LOG_BARRIER = 2, /* A leader's first entry; no meaning beyond its commit. */
    RAFT_LOG_CHANGE = 3,  /* Data is an encoded configuration. */
};

struct raft_log_hard {
    uint64_t term;
    uint64_t vote; /* Server id, 0: none in this term. */
    uint64_t self; /* Server id of this replica, drawn when it was made, never used again. */
};

struct raft_log_snapshot {
    uint64_t index, term; /* Of the last entry that is no longer in the log. */
    uint64_t conf_index;  /* Of the entry that brought `conf`. */
    struct slice conf;    /* Encoded configuration, committed. Empty where index is 0. */
};

struct raft_log_entry {
    uint64_t index, term;
    enum raft_log_type type;
    struct slice data;
};

/* Write a key into `into` and return a slice of it. */
struct slice raft_log_hard_key(uint8_t into[RAFT_LOG_META_KEY_SIZE], uint32_t shard);
struct slice raft_log_snapshot_key(uint8_t into[RAFT_LOG_META_KEY_SIZE], uint32_t shard);
struct slice raft_log_entry_key(uint8_t into[RAFT_LOG_ENTRY_KEY_SIZE], uint32_t shard,
                                uint64_t index);

/* Append a row to `row`. */
void raft_log_hard_encode(struct buf *row, uint32_t shard, const struct raft_log_hard *hard);
void raft_log_snapshot_encode(struct buf *row, uint32_t shard,
                              const struct raft_log_snapshot *snapshot);
void raft_log_entry_encode(struct buf *row, uint32_t shard, const struct raft_log_entry *entry);

/* Read a row; slices point into it. RC_CORRUPT: the seal is broken, or the fields cannot be read.
 */
MUST_CHECK enum rc raft_log_hard_decode(struct slice row, uint32_t shard,
                                        struct raft_log_hard *ret_hard);
MUST_CHECK enum rc raft_log_snapshot_decode(struct slice row, uint32_t shard,
                                            struct raft_log_snapshot *ret_snapshot);
/* The key tells the index; RC_CORRUPT too where it is not a key of this shard's log. */
MUST_CHECK enum rc raft_log_entry_decode(struct slice key, struct slice row, uint32_t shard,
                                         struct raft_log_entry *ret_entry);

#endif
