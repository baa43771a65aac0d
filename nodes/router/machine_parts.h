/* machine_parts - what the files of the state machine share. Nobody else includes it.
 *
 *   machine.c         open, apply, flush: the frame of a turn
 *   machine_check.c   from bytes to a command that is known to be well-formed
 *   machine_digest.c  what applying brought about, as one number
 *   machine_rows.c    single rows
 *   machine_walk.c    the members of a conversation, with their cursors
 *   machine_cache.c   conversations and their members, in memory
 *   machine_dedup.c   which cid was used, and what it was answered
 *   machine_overlay.c values put in this turn
 *   machine_log.c     a conversation's log: append, count, rewrite
 *   machine_send.c, machine_create.c, machine_member.c, machine_info.c, machine_cursor.c,
 *   machine_change.c, machine_trim.c, machine_erase.c, machine_drop.c, machine_index.c
 *                     the commands
 *   machine_seen.c    when users were last online
 *   machine_control.c the control group's commands and reads
 *   machine_outbox.c  what lists of users have yet to be told
 *   machine_pushed.c  what the webhook has yet to be told of
 *   machine_read.c, machine_list.c, machine_readers.c   the reads
 *
 * Within a turn the store does not have yet what was applied; everything that a later command of
 * the turn may ask for is therefore found in memory: conversations and members that changed stay in
 * the cache until machine_written(), new deduplication rows, index rows, entries and rows written
 * over in overlays.
 *
 * A command first finds out all that could refuse it, then changes things: there is no undo.
 * Functions return an rc only for trouble of the store; what a command comes to is in its
 * machine_result. */
#ifndef NODES_ROUTER_MACHINE_PARTS_H
#define NODES_ROUTER_MACHINE_PARTS_H

#include "mesh/base/list.h"
#include "mesh/base/map.h"
#include "nodes/router/machine.h"
#include "storage/keyspace.h"
#include "storage/node_row.h"
#include "storage/rows.h"

#define MACHINE_CACHE_CONVS   1024u /* Clean conversations kept, of one shard. */
#define MACHINE_CACHE_MEMBERS 1024u /* Members kept, of one conversation. */

/* Half of the time a cid is remembered: what is at most 7 days old lies in three buckets, and a
 * bucket that is over is dropped as one range. */
#define MACHINE_BUCKET_MS (LIMIT_DEDUP_MS / 2u)
#define MACHINE_BUCKETS   3u

/* A device's cursor that changed in this turn. */
struct machine_device {
    struct machine_device *next;
    struct row_device row;
    bool changed;    /* To be put at the next flush. */
    struct slice id; /* Within this allocation. */
};

/* A value kept for the turn: where it is in the overlay's buffer. */
struct machine_value {
    size_t at;
    uint32_t size;
};

/* An entry of this turn. */
struct machine_fresh {
    struct machine_value value;
    uint64_t messages; /* Up to and including it. */
};

struct machine_overlay {
    struct map rows; /* Written over in this turn, or removed. */
    struct buf *values;
};

/* A member, or one who was. */
struct machine_member {
    struct list link; /* On the conversation's `unwritten`, else on nothing. */
    struct row_member row;
    struct row_cursor cursor;
    struct machine_device *devices;
    uint64_t mark; /* The command that met him last: a name given twice in one is found out. */
    bool row_changed, cursor_changed;
    bool is_forgotten;    /* His rows are removed: he never was a member. */
    bool devices_removed; /* In this turn: what the store has of them does not count. */
    struct slice user;    /* Within this allocation. */
};

struct machine_conv {
    struct list link; /* On the machine's `clean` or `unwritten`. */
    struct slice id;  /* Within this allocation. */
    struct row_conv info;
    struct buf *info_value; /* The stored value; info's slices point into it. */
    struct row_head head;
    uint64_t written_seq; /* Entries up to here are in the store, later ones only in the batch. */
    bool info_changed, head_changed;
    bool is_unwritten;
    bool members_removed;  /* In this turn: of whom is not in memory, what the store has is over. */
    struct map members;    /* Those that were needed; by user. */
    uint32_t members_max;  /* With more, those that did not change are dropped. */
    struct list unwritten; /* Members that changed in this turn. */
    struct machine_fresh *fresh; /* This turn's entries: written_seq + 1, and so on. */
    uint32_t fresh_count, fresh_capacity;
};

/* A conversation that owes. Known from the moment it does until it does not, cached or not. */
struct machine_owing {
    struct list link;         /* On the machine's `owing`, in the order of the next visit. */
    struct list changed_link; /* On the machine's `owing_changed` until flushed. */
    struct row_owed row;
    bool settled;      /* Nothing is owed any more: the row is to be removed. */
    struct slice conv; /* Within this allocation. */
};

struct machine_dedup_slot {
    uint8_t digest[KEYSPACE_DIGEST_SIZE];
    struct row_dedup row;
    uint64_t turn; /* The slot is taken where this is the current turn. */
};

/* The rows put in this turn, by open addressing: the digest is its own hash. Emptied by counting
 * turns. */
struct machine_dedup {
    uint8_t keys[2][16];
    struct machine_dedup_slot *slots;
    size_t capacity; /* A power of two. */
    size_t count;
    uint64_t turn; /* From 1. */
};

/* What the control group knows; empty in all others. */
struct machine_control {
    struct row_cluster cluster; /* shards is 0 until the cluster is founded. */
    char epoch[NODE_ROW_EPOCH_SIZE + 1];
    struct map routers;
    uint32_t present; /* How many of them are not removed. */
};

/* The last page of a log that was read. Whoever asks for the same before anything else is applied
 * gets it as it is: after a change of leaders, or when many open one conversation, hundreds do. */
struct machine_page {
    uint64_t index; /* Applied when it was read; 0: there is none. */
    uint64_t first, last, limit;
    bool is_backwards; /* The last `limit` of first..last, not the first ones. */
    uint64_t edge;     /* Forwards the seq after the page, backwards its first one. */
    uint32_t conv_size;
    char conv[LIMIT_CONV_SIZE_MAX];
    struct buf *entries;
};

struct machine {
    struct kv *kv;
    struct keyspace keys;
    struct row_applied applied;
    bool applied_changed;
    uint8_t digest_key[8];
    bool unflushed;                       /* Something was put or changed since the last flush. */
    struct buf *read_value, *write_value; /* Scratch. */

    struct map convs;
    struct list clean;     /* The least recently used first. */
    struct list unwritten; /* Changed in this turn. */
    uint32_t clean_count, clean_max;
    uint32_t drop_members_max, erase_entries_max; /* Of one command. */

    struct machine_dedup dedup;
    struct map index; /* The index rows put in this turn. */
    struct machine_overlay overlay;

    struct map owing_map;
    struct list owing, owing_changed;

    struct machine_control control;
    struct machine_page page;

    /* While an entry is applied. */
    uint64_t entry_index;
    struct kv_batch *batch;
    const struct machine_listener *listener;
    uint64_t mark; /* Counts commands. */
};

/* ---- machine_check.c ---- */

struct machine_command {
    enum message_number number;
    struct slice key;
    enum machine_key key_kind;
    union {
        struct msg_cmd_send send;
        struct msg_cmd_create create;
        struct msg_cmd_member member;
        struct msg_cmd_info info;
        struct msg_cmd_cursor cursor;
        struct msg_cmd_index index;
        struct msg_cmd_told told;
        struct msg_cmd_pushed pushed;
        struct msg_cmd_seen seen;
        struct msg_cmd_change change;
        struct msg_cmd_trim trim;
        struct msg_cmd_erase erase;
        struct msg_cmd_drop drop;
        struct msg_cmd_cluster cluster;
        struct msg_cmd_router router;
    } as;
};

/* RC_BAD_REQUEST, RC_TOO_LARGE, RC_UNSUPPORTED (a number that is no command), with the reason. */
MUST_CHECK enum rc machine_check(struct slice bytes, struct machine_command *ret_command,
                                 const char **ret_detail);
/* The next name of a sequence that machine_check() has been through. False at the end. */
bool machine_next_name(struct record_reader *names, struct slice *ret_name);

/* ---- machine_read.c ---- */

/* Something was applied: the page is an old one. */
void machine_page_written(struct machine *m);

/* ---- machine_digest.c ---- */

void machine_digest_init(struct machine *m, const uint8_t cluster[16]);
/* Fold into the digest something that a command brought about. */
void machine_digest_bytes(struct machine *m, struct slice bytes);
void machine_digest_numbers(struct machine *m, const uint64_t *numbers, size_t count);
void machine_digest_record(struct machine *m, struct slice record);
void machine_digest_result(struct machine *m, const struct machine_result *result);

/* ---- machine_rows.c ---- */

/* Read one row. RC_NOT_FOUND, RC_CORRUPT, RC_IO. Slices live until the next read. */
MUST_CHECK enum rc machine_rows_get(struct machine *m, const struct keyspace_key *key,
                                    const struct record_desc *desc, void *row);
void machine_rows_put(struct machine *m, struct kv_batch *batch, const struct keyspace_key *key,
                      const struct record_desc *desc, const void *row);
/* All keys that begin with `prefix`, from the first after `after` (a whole key, or NULL). */
struct kv_iterator *machine_rows_iterate(struct machine *m, const struct keyspace_key *prefix,
                                         const struct keyspace_key *after);
/* The rows of a conversation, or of a user, in a table of two names: from behind the second name
 * `after` where that is not empty. */
struct kv_iterator *machine_rows_after(struct machine *m, enum keyspace_table table,
                                       struct slice of, struct slice after);
MUST_CHECK enum rc machine_rows_end(struct machine *m, struct kv_iterator **iterator, enum rc rc);

/* ---- machine_walk.c ---- */

/* On the way through the members of a conversation. */
struct machine_walk {
    struct kv_iterator *members, *cursors;
    bool has_cursor;
    struct slice cursor_key, cursor_value, cursor_user; /* The one at hand. */
};

/* From the first member after `after`, or, where that is absent, from the first. Whatever comes
 * back, machine_walk_end() ends it. */
MUST_CHECK enum rc machine_walk_begin(struct machine *m, struct slice conv, struct slice after,
                                      struct machine_walk *walk);
/* The next one who is or was a member. RC_NOT_FOUND: there is none. The name lives until the next
 * call. */
MUST_CHECK enum rc machine_walk_next(struct machine *m, struct machine_walk *walk,
                                     struct slice *ret_user, struct row_member *ret_row,
                                     struct row_cursor *ret_cursor);
/* `rc` is what the walk came to; RC_NOT_FOUND is fine. */
MUST_CHECK enum rc machine_walk_end(struct machine *m, struct machine_walk *walk, enum rc rc);

/* ---- machine_cache.c ---- */

void machine_cache_init(struct machine *m);
void machine_cache_fini(struct machine *m);
/* *ret_conv is NULL where there is no such conversation. May drop others that are clean. */
MUST_CHECK enum rc machine_cache_conv(struct machine *m, struct slice id,
                                      struct machine_conv **ret_conv);
/* The same, also of one that the operator ended (info.dropped): its id stays taken. */
MUST_CHECK enum rc machine_cache_any_conv(struct machine *m, struct slice id,
                                          struct machine_conv **ret_conv);
/* Begin one that does not exist yet. */
struct machine_conv *machine_cache_create(struct machine *m, struct slice id,
                                          const struct row_conv *info);
void machine_cache_set_info(struct machine *m, struct machine_conv *conv,
                            const struct row_conv *info);
/* *ret_member is NULL where he never was one. */
MUST_CHECK enum rc machine_cache_member(struct machine *m, struct machine_conv *conv,
                                        struct slice user, struct machine_member **ret_member);
/* Begin a member who never was one; counts him nowhere. */
struct machine_member *machine_cache_add_member(struct machine *m, struct machine_conv *conv,
                                                struct slice user);
/* Remove the member's rows: he never was one. */
void machine_cache_forget_member(struct machine *m, struct machine_conv *conv,
                                 struct machine_member *member);
/* The same of all members. */
void machine_cache_forget_members(struct machine *m, struct machine_conv *conv);
/* It is about to change: keep it until it is written. */
void machine_cache_touch(struct machine *m, struct machine_conv *conv);
void machine_cache_touch_member(struct machine *m, struct machine_conv *conv,
                                struct machine_member *member);
MUST_CHECK enum rc machine_cache_device(struct machine *m, struct machine_conv *conv,
                                        struct machine_member *member, struct slice id,
                                        struct machine_device **ret_device);
void machine_cache_flush(struct machine *m, struct kv_batch *batch);
void machine_cache_written(struct machine *m);

static inline bool machine_is_current(const struct machine_member *member)
{
    return member != NULL && member->row.left == 0;
}

/* ---- machine_dedup.c ---- */

void machine_dedup_init(struct machine *m, const uint8_t cluster[16]);
void machine_dedup_fini(struct machine *m);
/* The shard's clock moves on to `clock`: drop the buckets that are over. */
void machine_dedup_advance(struct machine *m, uint64_t clock);
void machine_dedup_digest(const struct machine *m, struct slice conv, struct slice user,
                          struct slice cid, uint8_t digest[KEYSPACE_DIGEST_SIZE]);
/* What the cid with this digest was answered. RC_NOT_FOUND: it is new, or forgotten. */
MUST_CHECK enum rc machine_dedup_find(struct machine *m, const struct machine_conv *conv,
                                      const uint8_t digest[KEYSPACE_DIGEST_SIZE],
                                      struct row_dedup *ret_row);
void machine_dedup_put(struct machine *m, const uint8_t digest[KEYSPACE_DIGEST_SIZE], uint64_t seq);
void machine_dedup_written(struct machine *m);

/* ---- machine_overlay.c ---- */

void machine_overlay_init(struct machine *m);
void machine_overlay_fini(struct machine *m);
void machine_overlay_written(struct machine *m);
/* Keep a value that was put, until machine_overlay_written(). */
struct machine_value machine_overlay_keep(struct machine *m, struct slice value);
/* Good until the next one is kept. */
struct slice machine_overlay_kept(const struct machine *m, struct machine_value value);
/* Put or remove a row that may be asked for again in this turn. */
void machine_overlay_put(struct machine *m, const struct keyspace_key *key, struct slice value);
void machine_overlay_remove(struct machine *m, const struct keyspace_key *key);
/* Was it put or removed in this turn? *ret_value is absent where it was removed. */
bool machine_overlay_find(const struct machine *m, const struct keyspace_key *key,
                          struct slice *ret_value);

/* ---- machine_log.c ---- */

/* Append an entry: gives it seq and ts. */
void machine_log_append(struct machine *m, struct machine_conv *conv, struct msg_entry *entry);
/* Append a `member` entry; joining, removing and leaving are owed to the user's list. */
void machine_log_append_member(struct machine *m, struct machine_conv *conv, struct slice from,
                               struct slice user, enum member_change change, enum member_role role);
/* An entry as it stands, to be changed. */
struct machine_found {
    struct buf *value; /* What the slices point into. */
    uint64_t messages; /* Up to and including it. */
    struct msg_entry entry;
    struct msg_marks marks;
};
/* Find the entry at `seq`, which was not trimmed and is at most the head. RC_CORRUPT: it is not
 * there. Whatever comes back, machine_found_fini() frees it. */
MUST_CHECK enum rc machine_log_find(struct machine *m, const struct machine_conv *conv,
                                    uint64_t seq, struct machine_found *found);
void machine_found_fini(struct machine_found *found);
/* Put it in its place again, with the marks it has now. */
void machine_log_rewrite(struct machine *m, struct machine_conv *conv, struct machine_found *found);
/* How many messages there are up to and including `seq`, at most the head. Of what was trimmed
 * nobody knows where messages were: there it is how many of them there were. */
MUST_CHECK enum rc machine_log_count(struct machine *m, const struct machine_conv *conv,
                                     uint64_t seq, uint64_t *ret_messages);
/* Append the records of entries first..last to `into`, at most `count_max` and
 * LIMIT_FETCH_BYTES_MAX (but one); *ret_next is the seq after the last one appended. */
MUST_CHECK enum rc machine_log_read(struct machine *m, struct slice conv, uint64_t first,
                                    uint64_t last, uint64_t count_max, struct buf *into,
                                    uint64_t *ret_next);
/* Likewise for the newest of them; *ret_first is the seq of the first one appended. */
MUST_CHECK enum rc machine_log_read_last(struct machine *m, struct slice conv, uint64_t first,
                                         uint64_t last, uint64_t count_max, struct buf *into,
                                         uint64_t *ret_first);

/* ---- Commands: each fills the result, and returns RC_OK but for trouble of the store. ---- */

static inline enum rc machine_refuse(struct machine_result *result, enum rc rc, const char *detail)
{
    result->rc = rc;
    result->detail = detail;
    return RC_OK;
}

MUST_CHECK enum rc machine_send(struct machine *m, const struct msg_cmd_send *c,
                                struct machine_result *result);
/* Of the two of a direct conversation one leaves only when he is erased. His name may come again:
 * `peer` says that this is meant (machine_check() has seen that the id is that of the two). */
static inline bool machine_may_return(const struct machine_conv *conv, struct slice peer)
{
    return peer.base != NULL && conv->info.kind == CONV_DIRECT;
}
/* So may the other's, when he is named: who writes to him means him, and not one who is gone. */
MUST_CHECK enum rc machine_return_peer(struct machine *m, struct machine_conv *conv,
                                       struct slice user, struct slice peer);
/* A member, or one who may return and now does, sends into his conversation, `from` being said: the
 * last step of send and of create. `sender` is NULL where he never was a member, `peer` absent
 * where it is no direct conversation or he was not named. */
MUST_CHECK enum rc machine_send_message(struct machine *m, struct machine_conv *conv,
                                        struct machine_member *sender, struct slice peer,
                                        struct msg_entry *message, struct machine_result *result);
/* The first answer to a message of this cid, dup, also of a conversation that was ended since.
 * RC_NOT_FOUND: there was none. */
MUST_CHECK enum rc machine_send_again(struct machine *m, const struct machine_conv *conv,
                                      struct slice from, struct slice cid,
                                      struct machine_result *result);
MUST_CHECK enum rc machine_create(struct machine *m, const struct msg_cmd_create *c,
                                  struct machine_result *result);
/* Nothing has this id; or what had it was direct and was ended, and a direct one may follow. */
bool machine_may_begin(const struct machine_conv *conv, bool is_direct);
/* Begin the direct conversation of two users, or of one with himself, with its `member` entries.
 * `conv`: what has the id and was ended, or NULL. */
MUST_CHECK enum rc machine_create_direct(struct machine *m, struct slice id, struct slice user,
                                         struct slice peer, struct machine_conv *conv,
                                         struct machine_conv **ret_conv);
MUST_CHECK enum rc machine_change_members(struct machine *m, const struct msg_cmd_member *c,
                                          struct machine_result *result);
MUST_CHECK enum rc machine_change_info(struct machine *m, const struct msg_cmd_info *c,
                                       struct machine_result *result);
/* Make `user` a member, with his entry; he was none. `member` is NULL where he never was one. */
struct machine_member *machine_join(struct machine *m, struct machine_conv *conv, struct slice from,
                                    struct slice user, struct machine_member *member,
                                    enum member_role role);
/* Take a current member out, with his entry; `change` is MEMBER_REMOVE or MEMBER_LEAVE. */
void machine_part(struct machine *m, struct machine_conv *conv, struct slice from,
                  struct machine_member *member, enum member_change change);
/* There were owners, `before` of them: where none is left, a member becomes one. */
MUST_CHECK enum rc machine_replace_owner(struct machine *m, struct machine_conv *conv,
                                         struct slice from, uint64_t before);

/* What an entry says it is from: the user, or the operator, whose name is empty. */
static inline struct slice machine_author(struct slice user)
{
    return user.base != NULL ? user : slice_string("");
}

/* The conversation `id`; a refusal is in the result. */
MUST_CHECK enum rc machine_find(struct machine *m, struct slice id, struct machine_conv **ret_conv,
                                struct machine_result *result);
/* The conversation `id` and the member of it who asks, or NULL where the operator does; a refusal
 * is in the result. */
MUST_CHECK enum rc machine_enter(struct machine *m, struct slice id, struct slice user,
                                 bool as_server, struct machine_conv **ret_conv,
                                 struct machine_member **ret_asker, struct machine_result *result);
MUST_CHECK enum rc machine_change(struct machine *m, const struct msg_cmd_change *c,
                                  struct machine_result *result);
/* A message loses its body, what edits said of it, and its reactions, by the entry at `by`. */
MUST_CHECK enum rc machine_change_blank(struct machine *m, struct machine_conv *conv,
                                        struct machine_found *message, uint64_t by);
/* A message loses the reactions of this user; *ret_changed: it had any. */
MUST_CHECK enum rc machine_change_unreact(struct machine *m, struct machine_conv *conv,
                                          struct machine_found *message, struct slice user,
                                          bool *ret_changed);
MUST_CHECK enum rc machine_trim(struct machine *m, const struct msg_cmd_trim *c,
                                struct machine_result *result);
/* Remove all entries up to `upto`, which is beyond head.trimmed. */
MUST_CHECK enum rc machine_trim_to(struct machine *m, struct machine_conv *conv, uint64_t upto);
/* Its retention is as `info` says from now on: its row among those with any is put or removed. */
void machine_retain(struct machine *m, struct slice conv, const struct row_conv *info);
MUST_CHECK enum rc machine_erase(struct machine *m, const struct msg_cmd_erase *c,
                                 struct machine_result *result);
MUST_CHECK enum rc machine_drop(struct machine *m, const struct msg_cmd_drop *c,
                                struct machine_result *result);
bool machine_drop_is_over(const struct machine_conv *conv); /* Nobody is in it any more. */
/* All that a conversation owed was told: where it was dropped, or was and began again, the last of
 * what was before goes. */
MUST_CHECK enum rc machine_drop_rest(struct machine *m, struct slice id);
MUST_CHECK enum rc machine_move_cursor(struct machine *m, const struct msg_cmd_cursor *c,
                                       struct machine_result *result);
/* A sender has read up to his own message, the newest. */
void machine_read_all(struct machine *m, struct machine_conv *conv, struct machine_member *member);
/* A member came, or is about to go: how many have, or have read, the newest message? */
void machine_count_in(struct machine_conv *conv, const struct machine_member *member);
void machine_count_out(struct machine_conv *conv, const struct machine_member *member);
MUST_CHECK enum rc machine_set_index(struct machine *m, const struct msg_cmd_index *c,
                                     struct machine_result *result);
void machine_index_written(struct machine *m);
struct slice machine_index_key(const void *thing);

/* ---- machine_seen.c ---- */

MUST_CHECK enum rc machine_see(struct machine *m, const struct msg_cmd_seen *c);

/* ---- machine_control.c ---- */

void machine_control_init(struct machine *m);
void machine_control_fini(struct machine *m);
MUST_CHECK enum rc machine_control_open(struct machine *m);
MUST_CHECK enum rc machine_set_cluster(struct machine *m, const struct msg_cmd_cluster *c,
                                       struct machine_result *result);
MUST_CHECK enum rc machine_set_router(struct machine *m, const struct msg_cmd_router *c,
                                      struct machine_result *result);

/* ---- machine_pushed.c ---- */

MUST_CHECK enum rc machine_set_pushed(struct machine *m, const struct msg_cmd_pushed *c,
                                      struct machine_result *result);
/* A cursor has moved: where all members have the newest message, nobody is to be told of it. */
void machine_pushed_by_all(struct machine *m, struct machine_conv *conv);

/* ---- machine_outbox.c ---- */

MUST_CHECK enum rc machine_outbox_open(struct machine *m);
void machine_outbox_fini(struct machine *m);
void machine_outbox_owe(struct machine *m, struct slice conv, uint64_t seq);
/* The first seq that is owed, or UINT64_MAX. */
uint64_t machine_outbox_first(const struct machine *m, struct slice conv);
MUST_CHECK enum rc machine_outbox_told(struct machine *m, const struct msg_cmd_told *c);
void machine_outbox_flush(struct machine *m, struct kv_batch *batch);

#endif
