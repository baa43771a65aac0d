/* node_row - what says whose data a directory holds: one row of the meta family, made at birth.
 *
 * A router that opens another node's directory, or one of another cluster, could vote twice or hand
 * out one position twice; one that counts shards differently would look for conversations in the
 * wrong place. So the row is read before anything else. It is only read and written here; what to
 * make of a difference is judged by nodes/ (RC_MISMATCH, with a sentence). */
#ifndef STORAGE_NODE_ROW_H
#define STORAGE_NODE_ROW_H

#include "mesh/base/limits.h"
#include "storage/kv.h"

#define NODE_ROW_FORMAT     2u /* Of keys and rows as this program writes them. */
#define NODE_ROW_EPOCH_SIZE 8u

struct node_row {
    uint8_t cluster[16];
    char node[LIMIT_NODE_ID_SIZE_MAX + 1]; /* Node id. */
    uint32_t format;                       /* NODE_ROW_FORMAT when it was born. */
    uint32_t shards;                       /* S, fixed at birth. */
    /* History epoch, 8 hex digits drawn at birth: a client that resumes in another one starts over.
     */
    char epoch[NODE_ROW_EPOCH_SIZE + 1];
};

/* RC_NOT_FOUND: nothing is in the meta family, the directory is new; RC_CORRUPT: the row fails its
 * checksum, cannot be read, or is missing though there is other data; RC_IO. */
MUST_CHECK enum rc node_row_load(struct kv *kv, struct node_row *ret_row);

/* Put the row; it is there once the batch is written and synced. */
void node_row_store(const struct node_row *row, struct kv_batch *batch);

#endif
