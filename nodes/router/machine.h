/* machine - the state machine of one shard: commands in, entries and rows out.
 *
 * Deterministic: all it knows of time, ids and limits comes from the Raft entry, so every replica
 * that applies the same entries holds the same rows. Applying never fails for what a command says;
 * it then has a result other than OK and changes nothing. It fails only where the store does.
 *
 * One turn: machine_apply() for each committed entry, machine_flush() once, the batch is written,
 * machine_written(). Between apply and written, reads inside the machine see what was applied,
 * through the cache of conversations (heads, cursors) and a small overlay of new deduplication
 * rows; the public reads below are for after machine_written().
 *
 * Keys a message: its entry and its deduplication row; heads, cursors and the applied index are
 * written once a turn for all of it. Rows are in storage/rows.tbl.h, keys in storage/keyspace.h. */
#ifndef NODES_ROUTER_MACHINE_H
#define NODES_ROUTER_MACHINE_H

#include "mesh/wire/messages.h"
#include "storage/kv.h"

struct machine;

/* What a router asks of a command before it is queued: that it is one, whole and alone in
 * `command`, its sizes and ids those of the protocol. Gives the key that picks its shard: a
 * conversation's id or a user's name. RC_BAD_REQUEST; RC_TOO_LARGE; RC_UNSUPPORTED: a number that
 * is no command. */
MUST_CHECK enum rc machine_check_command(struct slice command, enum message_number *ret_number,
                                         struct slice *ret_key, bool *ret_key_is_user);

struct machine_result {
    enum rc rc;
    struct slice conv; /* Points into the entry that is applied. Absent where it was malformed. */
    uint64_t seq, ts;
    bool dup;
    const char *detail; /* Static sentence where rc is not OK, or NULL. */
};

/* What applying brought about, in order. Slices live until the callback returns. */
struct machine_listener {
    void *context;
    /* The nth command (from 0) of the Raft entry at `index` is done. */
    void (*on_result)(void *context, uint64_t index, uint32_t nth,
                      const struct machine_result *result);
    /* A new entry in a conversation's log. `entry` is the encoded msg_entry record. */
    void (*on_entry)(void *context, struct slice conv, const struct msg_entry *fields,
                     struct slice entry);
    void (*on_receipt)(void *context, const struct msg_event_receipt *receipt);
    /* A user's list changed (cmd_index took effect). */
    void (*on_user)(void *context, const struct msg_event_user *event);
};

/* Recover what `kv` holds for the shard; an empty store is an empty machine. `cluster` keys the
 * deduplication digests. RC_CORRUPT, RC_IO. */
MUST_CHECK enum rc machine_open(struct kv *kv, uint32_t shard, const uint8_t cluster[16],
                                struct machine **ret_machine);
void machine_free(struct machine **machine);

/* Keep at most this many conversations in memory that did not change in the turn (1024 at first).
 * What is stored does not depend on it. */
void machine_limit_cache(struct machine *machine, uint32_t conversations_max);

/* Index of the last Raft entry that is applied; on restart, of the last one written. */
uint64_t machine_applied(const struct machine *machine);

/* Apply the Raft entry at `index` (a msg_batch record; empty for a barrier or configuration entry,
 * which only moves the index). An index at or below machine_applied() is skipped. Puts into
 * `batch`. The listener, or any of its functions, may be NULL. A command that is malformed within a
 * sound batch has a result that says so. RC_CORRUPT: the batch cannot be taken apart (nothing is
 * applied then), or a row that was read is damaged; RC_IO. After an error the machine is good for
 * nothing but machine_free(). */
MUST_CHECK enum rc machine_apply(struct machine *machine, uint64_t index, struct slice data,
                                 struct kv_batch *batch, const struct machine_listener *listener);
/* Put what gathers over the turn: heads, cursors, the applied index; or nothing. */
void machine_flush(struct machine *machine, struct kv_batch *batch);
/* The batch was written: the overlay is no longer needed, the cache may shrink. */
void machine_written(struct machine *machine);

/* ---- Reads: of the leader, after machine_written(). Each fills the answer (not req); sequences
 * are appended to `into` (empty), which the answer's bin then points into. Errors that a client may
 * cause are in the answer's rc; the return value is RC_OK, RC_IO or RC_CORRUPT. ---- */

MUST_CHECK enum rc machine_watch(struct machine *machine, const struct msg_watch *request,
                                 uint32_t resume_count_max, struct msg_watched *answer,
                                 struct buf *into);
MUST_CHECK enum rc machine_fetch(struct machine *machine, const struct msg_fetch *request,
                                 struct msg_fetched *answer, struct buf *into);
MUST_CHECK enum rc machine_members(struct machine *machine, const struct msg_members *request,
                                   struct msg_members_page *answer, struct buf *into);
MUST_CHECK enum rc machine_summary(struct machine *machine, const struct msg_summary *request,
                                   struct msg_summaries *answer, struct buf *into);
MUST_CHECK enum rc machine_user_convs(struct machine *machine, const struct msg_user_open *request,
                                      struct msg_user_convs *answer, struct buf *into);
/* The newest seq of a conversation, 0 where there is none. */
MUST_CHECK enum rc machine_head(struct machine *machine, struct slice conv, uint64_t *ret_head);

/* ---- What conversations owe the lists of users: the outbox, driven by the leader ---- */

/* Is anything owed at all? Costs nothing. */
bool machine_owes(const struct machine *machine);

/* A member entry that a user's shard has not acknowledged. */
struct machine_owed {
    struct slice conv;
    uint64_t seq;
    struct slice user;
    bool gone;
};

/* Call `visit` for every owed row of every conversation of this shard whose outbox cursor is
 * behind, each conversation's in seq order, at most `limit` in all. Conversations behind are known
 * in memory (from apply, and after a restart from their rows), so this costs nothing where nothing
 * is owed. */
MUST_CHECK enum rc machine_owed(struct machine *machine, uint32_t limit,
                                void (*visit)(void *context, const struct machine_owed *owed),
                                void *context);

#endif
