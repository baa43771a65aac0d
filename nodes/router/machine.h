/* machine - the state machine of one shard: commands in, entries and rows out.
 *
 * Deterministic: all it knows of time, ids and limits comes from the Raft entry, so every replica
 * that applies the same entries holds the same rows. Applying never fails for what a command says;
 * it then has a result other than OK and changes nothing. It fails only where the store does.
 *
 * One turn: machine_apply() for each committed entry, machine_flush() once, the batch is written,
 * machine_written(). Between apply and written, reads inside the machine see what was applied,
 * through the cache of conversations (heads, cursors) and overlays of rows that a later command may
 * ask for; the public reads below are for after machine_written().
 *
 * Keys a message: its entry and its deduplication row; heads, cursors and the applied index are
 * written once a turn for all of it. Rows are in storage/rows.tbl.h, keys in storage/keyspace.h. */
#ifndef NODES_ROUTER_MACHINE_H
#define NODES_ROUTER_MACHINE_H

#include "mesh/base/limits.h"
#include "mesh/wire/messages.h"
#include "storage/kv.h"

struct machine;

/* What a router asks of a command before it is queued: that it is one, whole and alone in
 * `command`, its sizes and ids those of the protocol. Gives the key that picks its shard, and what
 * it is a key of. RC_BAD_REQUEST; RC_TOO_LARGE; RC_UNSUPPORTED: a number that is no command; then
 * *ret_detail is a static sentence, or NULL. */
enum machine_key {
    MACHINE_KEY_CONV,    /* A conversation's id. */
    MACHINE_KEY_USER,    /* A user's name. */
    MACHINE_KEY_CONTROL, /* For the control group: a node id, or "cluster" of the cluster itself. */
};
MUST_CHECK enum rc machine_check_command(struct slice command, enum message_number *ret_number,
                                         struct slice *ret_key, enum machine_key *ret_key_kind,
                                         const char **ret_detail);

struct machine_result {
    enum rc rc;
    struct slice conv; /* Into the entry that is applied. Absent where malformed, and of control. */
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
    /* A new entry in a conversation's log, as gateways are told of it, and taken apart. */
    void (*on_entry)(void *context, const struct msg_event_entry *event,
                     const struct msg_entry *fields);
    void (*on_receipt)(void *context, const struct msg_event_receipt *receipt);
    /* A user's list changed (cmd_index took effect). */
    void (*on_user)(void *context, const struct msg_event_user *event);
};

/* Recover what `kv` holds of this generation of the shard; an empty store is an empty machine.
 * `cluster` keys the deduplication digests. The control group is a shard like others, of number
 * CONTROL_GROUP; it takes only the commands that are meant for it, and the others refuse them
 * (RC_UNSUPPORTED).
 * RC_CORRUPT, RC_IO. */
MUST_CHECK enum rc machine_open(struct kv *kv, uint32_t shard, uint32_t generation,
                                const uint8_t cluster[16], struct machine **ret_machine);
void machine_free(struct machine **machine);

/* Keep at most this many conversations in memory that did not change in the turn (1024 at first).
 * What is stored does not depend on it. */
void machine_limit_cache(struct machine *machine, uint32_t conversations_max);

/* A conversation ends, and a user is erased in one, in parts: one command removes so many members
 * at most, or goes through so many entries (256 each at first). Every replica must have the same,
 * since what is stored depends on it. */
void machine_limit_parts(struct machine *machine, uint32_t members_max, uint32_t entries_max);

/* Index of the last Raft entry that is applied; on restart, of the last one written. */
uint64_t machine_applied(const struct machine *machine);

/* Digest of the state at machine_applied(): chained over what every entry brought about (results,
 * entries, receipts, list changes), kept in the applied row and so across restarts and transfers.
 * Replicas at the same index must have the same one. */
uint64_t machine_digest(const struct machine *machine);

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
 * cause are in the answer's rc; the return value is RC_OK, RC_IO or RC_CORRUPT. Where the user is
 * absent in a fetch, members or summary request, the operator reads, who sees everything. What is
 * trimmed nobody sees: a watch announces it as a gap, a fetch begins behind it. ---- */

MUST_CHECK enum rc machine_watch(struct machine *machine, const struct msg_watch *request,
                                 uint32_t resume_count_max, struct msg_watched *answer,
                                 struct buf *into);
/* The entries live until the next fetch or apply: the same page asked for again is read once. */
MUST_CHECK enum rc machine_fetch(struct machine *machine, const struct msg_fetch *request,
                                 struct msg_fetched *answer);
MUST_CHECK enum rc machine_members(struct machine *machine, const struct msg_members *request,
                                   struct msg_members_page *answer, struct buf *into);
MUST_CHECK enum rc machine_summary(struct machine *machine, const struct msg_summary *request,
                                   struct msg_summaries *answer, struct buf *into);
MUST_CHECK enum rc machine_user_convs(struct machine *machine, const struct msg_user_open *request,
                                      struct msg_user_convs *answer, struct buf *into,
                                      struct buf *into_left);
/* Who has an entry, and who has read it: its sender and who joined after it are left out, who read
 * it has it. Looks at LIMIT_READERS_MAX members (or who were) at most, in order of their names;
 * where there are `more`, `total` is of the conversation. The answer's rc: RC_NOT_FOUND also where
 * there is no entry at `seq`, or none that the asker may see; RC_FORBIDDEN: he is no member. */
MUST_CHECK enum rc machine_readers(struct machine *machine, const struct msg_readers *request,
                                   struct msg_readers_page *answer, struct buf *into);
/* How many members have, and have read, the newest message; seq is 0 where there is none. `conv` of
 * it is the one given. */
MUST_CHECK enum rc machine_tally(struct machine *machine, struct slice conv,
                                 struct msg_event_tally *ret_tally);
/* Is `user` a member of `conv`, and where is its head? *ret_answer: RC_OK, RC_NOT_FOUND,
 * RC_FORBIDDEN, RC_BAD_REQUEST. */
MUST_CHECK enum rc machine_look(struct machine *machine, struct slice conv, struct slice user,
                                uint64_t *ret_answer, uint64_t *ret_head);
/* When a user was last online, ms since 1970; 0: not known. */
MUST_CHECK enum rc machine_last_seen(struct machine *machine, struct slice user, uint64_t *ret_ms);
/* The newest seq of a conversation, 0 where there is none. */
MUST_CHECK enum rc machine_head(struct machine *machine, struct slice conv, uint64_t *ret_head);

/* ---- Retention, driven by the leader ---- */

/* Look at conversations with retention, in the order of their ids, at most *left of them, which
 * counts down, as for the end; from the one behind `after` on, which moves on: it is empty where
 * the walk begins, and again where it ended. `visit` is called for each that has entries which it
 * need not keep, those up to `upto`, at this wall clock. RC_CORRUPT, RC_IO. */
MUST_CHECK enum rc machine_retained(struct machine *machine, struct buf *after, uint32_t *left,
                                    uint64_t now_ms,
                                    void (*visit)(void *context, struct slice conv, uint64_t upto),
                                    void *context);

/* ---- Control group ----
 *
 * cmd_cluster: the first one founds the cluster; a later one that is not the same is RC_CONFLICT.
 * cmd_router: RC_NOT_FOUND before that. RC_CONFLICT: any change of a router that was removed, and
 * the removal of one that is active. RC_TOO_LARGE: LIMIT_ROUTERS_MAX are on the list, not counting
 * those removed; or, counting them, so many that the list would not fit a packet. One that says
 * what is so already is RC_OK and no change. */

/* RC_NOT_FOUND: no cmd_cluster was applied yet. The epoch is copied, NUL-terminated. */
struct machine_cluster {
    uint32_t shards, replicas;
    char epoch[9];
    uint64_t version; /* Index of the last entry that changed the list of routers. */
};
MUST_CHECK enum rc machine_cluster(struct machine *machine, struct machine_cluster *ret_cluster);
/* Append the list to `into` as a seq of cmd_router records, by node id, those ROUTER_REMOVED too.
 */
MUST_CHECK enum rc machine_routers(struct machine *machine, struct buf *into);

/* ---- What conversations owe the lists of users: the outbox, driven by the leader ---- */

/* Is anything owed at all? Costs nothing. */
bool machine_owes(const struct machine *machine);

/* A member entry that a user's shard has not acknowledged. */
struct machine_owed {
    struct slice conv;
    uint64_t seq;
    struct slice user; /* Absent: it is no such entry, but nothing more is owed up to it. */
    bool gone;
};

/* Call `visit` for every owed row of every conversation of this shard whose outbox cursor is
 * behind, each conversation's in seq order, at most `limit` in all. Conversations behind are known
 * in memory (from apply, and after a restart from their rows), so this costs nothing where nothing
 * is owed. Where many entries lie between two that are owed, a call looks at some of them, and says
 * how far it came, so that the next may go on from there. */
MUST_CHECK enum rc machine_owed(struct machine *machine, uint32_t limit,
                                void (*visit)(void *context, const struct machine_owed *owed),
                                void *context);
/* Append the conversations that owe the list of `user` anything to `into`, as slices, perhaps
 * twice. *ret_is_all: there was not too much to look at. */
MUST_CHECK enum rc machine_owed_to(struct machine *machine, struct slice user, struct buf *into,
                                   bool *ret_is_all);

/* ---- What the webhook has yet to be told of: driven by the leader (push.h) ---- */

/* Up to where a conversation needs no telling: `pushed`, or what retention removed. UINT64_MAX:
 * there is no such conversation. */
MUST_CHECK enum rc machine_untold(struct machine *machine, struct slice conv, uint64_t *ret_pushed);

/* Where a walk that takes several turns is: zeroed at its beginning. */
struct machine_scan {
    uint32_t rows_left;              /* Rows that may be looked at now: counts down. */
    bool is_over;                    /* There is nothing behind. */
    uint32_t after_size;             /* 0: nothing was looked at yet. */
    char after[LIMIT_CONV_SIZE_MAX]; /* The last name that was: a conversation or a user. */
};
_Static_assert(LIMIT_CONV_SIZE_MAX >= LIMIT_USER_SIZE_MAX, "a scan has room for either");

/* Visit the conversations with a message beyond `pushed`, but not those where nothing happened
 * since the log time `since`. */
MUST_CHECK enum rc machine_walk_untold(
    struct machine *machine, uint64_t since, struct machine_scan *scan,
    void (*visit)(void *context, struct slice conv, uint64_t newest), void *context);

/* A member who does not have everything. */
struct machine_behind {
    struct slice user;
    uint64_t joined;  /* The entry that let him in, the last time. */
    uint64_t visible; /* The first entry that he may see. */
    uint64_t has;     /* Some device of his has, or he has read, everything up to here. */
};
typedef bool (*machine_behind_visit)(void *context, const struct machine_behind *behind);

/* Visit the members, by name, for whom there is something up to `seq` that they do not have; stop
 * behind one for whom `visit` is false. Members as rows: never all in memory. */
MUST_CHECK enum rc machine_behind(struct machine *machine, struct slice conv, uint64_t seq,
                                  struct machine_scan *scan, machine_behind_visit visit,
                                  void *context);

/* When the entry at `seq`, which is there, was written. `scratch` is emptied. */
MUST_CHECK enum rc machine_time_of(struct machine *machine, struct slice conv, uint64_t seq,
                                   struct buf *scratch, uint64_t *ret_ts);
/* Append the records of entries first..last that are still there, `count_max` at most. *ret_next:
 * where to go on, last + 1 at the end. */
MUST_CHECK enum rc machine_untold_entries(struct machine *machine, struct slice conv,
                                          uint64_t first, uint64_t last, uint32_t count_max,
                                          struct buf *into, uint64_t *ret_next);
/* The first of the entries first..last, which are there, that is not older than `since`; last + 1
 * where all are. */
MUST_CHECK enum rc machine_first_since(struct machine *machine, struct slice conv, uint64_t since,
                                       uint64_t first, uint64_t last, uint64_t *ret_seq);

#endif
