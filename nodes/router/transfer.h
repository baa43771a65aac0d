/* transfer - a shard's state on its way to a replica that cannot be helped with log entries.
 *
 * The sender iterates over the shard's rows as they are at one applied index and sends them in
 * chunks, a few in flight, each acknowledged when it is written; so memory is bounded by the chunks
 * in flight, whatever the size of the shard. The receiver writes them as a new generation beside
 * the one in use (storage/generation.h). When the last one is acknowledged, the sender's Raft group
 * sends its InstallSnapshot, and only then the receiver switches, in one batch with the new
 * snapshot mark. Each chunk bears a checksum over all rows so far: a lost or mixed up chunk ends
 * the transfer, and a new one begins anew under another id.
 *
 * In `rows` the family is an enum kv_family, the key begins with its table, and the value is sealed
 * under the key as it would be in generation 0 of the shard. Both ends open and seal every row, so
 * a row that is damaged on either is found there, and no row gets where its key does not say.
 *
 *   happy path      begin -> chunk, ack, chunk, ack ... -> last ack -> is_complete
 *                   -> InstallSnapshot -> switch
 *   failure modes   sender: no ack for LIMIT_TRANSFER_SILENT_MS, or one with an error: over, to be
 *                   begun again; receiver: a hole, a wrong checksum or a row that is none: answered
 *                   with RC_CORRUPT, rows removed
 *   on stop         nothing: what was received is removed at the next start (generation_open)
 *
 * Both halves are pure: they fill messages and batches, the router sends and writes them. Loop
 * thread only. */
#ifndef NODES_ROUTER_TRANSFER_H
#define NODES_ROUTER_TRANSFER_H

#include <stdbool.h>

#include "mesh/wire/messages.h"
#include "storage/kv.h"

/* ---- Sender ---- */

struct transfer_out;

/* Ask in every turn, and begin in the turn it is true: what the store holds for its writers in an
 * order of its own is being made ready to be read in order, which else would stop the loop for
 * seconds. */
bool transfer_out_may_begin(struct kv *kv);

/* Begin to send generation `generation` of `shard` to the replica `to`. The rows are those of this
 * moment (between turns). `id` is random and not 0; `applied` is the state's applied index. The
 * store keeps what it held at this moment until the last chunk is made, or the transfer is freed.
 */
struct transfer_out *transfer_out_new(struct kv *kv, uint32_t shard, uint32_t generation,
                                      uint64_t to, uint64_t id, uint64_t applied, uint64_t now_ms);
void transfer_out_free(struct transfer_out **transfer);

/* The next chunk, where one may be sent now (fewer than LIMIT_CHUNKS_IN_FLIGHT unacknowledged).
 * Fills `ret_chunk`, whose rows point into memory of the transfer until the next call. They are
 * LIMIT_CHUNK_SIZE bytes at most, or one row. RC_AGAIN: nothing to send now; RC_IO, RC_CORRUPT: the
 * store cannot be read, the router ends. */
MUST_CHECK enum rc transfer_out_next(struct transfer_out *transfer, struct msg_chunk *ret_chunk);

/* RC_OK, also for an ack of something else, which is ignored; RC_CORRUPT or what the receiver said:
 * over, free it. */
MUST_CHECK enum rc transfer_out_on_ack(struct transfer_out *transfer,
                                       const struct msg_chunk_ack *ack, uint64_t now_ms);
bool transfer_out_is_complete(const struct transfer_out *transfer); /* All is acknowledged. */
/* Nothing new was acknowledged for LIMIT_TRANSFER_SILENT_MS, and not all is. */
bool transfer_out_is_silent(const struct transfer_out *transfer, uint64_t now_ms);
uint64_t transfer_out_to(const struct transfer_out *transfer);
uint64_t transfer_out_applied(const struct transfer_out *transfer);
uint64_t transfer_out_bytes(const struct transfer_out *transfer); /* Sent so far. */

/* ---- Receiver ---- */

struct transfer_in;

/* For one replica; kept while it lives. `current` is the generation in use; there is no other
 * (generation_open). */
struct transfer_in *transfer_in_new(uint32_t shard, uint32_t current);
void transfer_in_free(struct transfer_in **transfer);

/* Put a chunk's rows into `batch`, as rows of the generation that is filled (and, with the first,
 * the generation row that says so and the removal of what was filled before), and fill the ack (all
 * but `from`). The ack may go out when the batch is written. What is malformed is answered, never a
 * crash:
 *
 *   next of this transfer        put, RC_OK
 *   before that (doubled)        acknowledged again, nothing changes
 *   beyond, damaged, or no rows  RC_CORRUPT, what came so far is removed
 *   0 of another transfer        begins anew
 *   any other of another         RC_CORRUPT, nothing changes: it is late, or comes to a replica
 *                                that has given up meanwhile
 *
 * No chunk can bring about a write outside the generation that is filled, and the row that names
 * it. */
void transfer_in_on_chunk(struct transfer_in *transfer, const struct msg_chunk *chunk,
                          struct kv_batch *batch, uint64_t now_ms, struct msg_chunk_ack *ret_ack);

/* Everything of a transfer came, up to this applied index, and waits for InstallSnapshot. */
bool transfer_in_is_complete(const struct transfer_in *transfer, uint64_t *ret_applied);

/* Put the switch into `batch`: the generation row, the old generation removed. Returns the new
 * generation, which is in use when the batch is written. Only where complete. */
uint32_t transfer_in_switch(struct transfer_in *transfer, struct kv_batch *batch);

/* Give up what came so far, where something did: put its removal into `batch`. */
void transfer_in_abort(struct transfer_in *transfer, struct kv_batch *batch);
/* Chunks are missing, and none came for LIMIT_TRANSFER_SILENT_MS: abort. A complete one waits. */
bool transfer_in_is_silent(const struct transfer_in *transfer, uint64_t now_ms);

#endif
