/* peers_row - whom a router remembers: the other routers of its cluster, and where they listened.
 *
 * One row of the meta family, written over when it changes. It only says where to look: what it
 * lacks is learned again, so one that is damaged is passed over, never a reason not to start. */
#ifndef STORAGE_PEERS_ROW_H
#define STORAGE_PEERS_ROW_H

#include "mesh/base/limits.h"
#include "storage/kv.h"

#define PEERS_ROW_COUNT_MAX         64u /* Any of so many leads to all the others. */
#define PEERS_ROW_ENDPOINT_SIZE_MAX 128u

struct peers_row_peer {
    char node[LIMIT_NODE_ID_SIZE_MAX + 1];
    char endpoint[PEERS_ROW_ENDPOINT_SIZE_MAX + 1]; /* Empty: it is of the cluster, no more. */
};

/* Bytes that mean nothing are zero, so that two rows may be compared. */
struct peers_row {
    uint8_t cluster[16];
    struct peers_row_peer peers[PEERS_ROW_COUNT_MAX];
    uint32_t count;
};

/* RC_NOT_FOUND: there is none; RC_CORRUPT: it fails its checksum or cannot be read; RC_IO. */
MUST_CHECK enum rc peers_row_load(struct kv *kv, struct peers_row *ret_row);

/* Put the row; it is there once the batch is written and synced. */
void peers_row_store(const struct peers_row *row, struct kv_batch *batch);

#endif
