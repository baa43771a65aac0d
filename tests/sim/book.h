/* book - the oracle: what every log holds, what anyone was shown, what was promised to whom.
 *
 * The taps (tap.h) tell each entry the moment it exists, which is when the first replica has
 * applied it; clients report what they ask, what they are told and what they are shown. Checks: C1
 * durability, C2 exactly once, C3 agreement, C4 contiguity, C5 no phantom, C7 order in real time,
 * C8 order of a device, C9 reads, C10 replicas, C12 membership. Any contradiction ends the run at
 * the event that shows it. */
#ifndef TESTS_SIM_BOOK_H
#define TESTS_SIM_BOOK_H

#include "mesh/base/map.h"
#include "mesh/base/slice.h"
#include "mesh/wire/messages.h"
#include "storage/kv.h"
#include "storage/rows.h"
#include "tests/sim/world.h"

/* A message that a client sends, under one cid. */
struct book_send {
    char *key;            /* Conversation, sender and cid. */
    uint64_t acked_seq;   /* 0: not acknowledged. */
    uint64_t written_seq; /* 0: not in the log. */
    uint64_t floor;       /* The highest seq acknowledged before it was first sent. */
    uint32_t device;      /* Number of the client. */
    uint32_t number;      /* Of this send among the client's. */
    uint32_t tries;
    bool was_refused; /* Definitely: it will never be in the log. */
    bool is_given_up; /* Refused after other tries, whose outcome is unknown. */
};

/* row_conv.dropped: its members go in parts; they are gone. */
#define BOOK_DROPPING 1u
#define BOOK_DROPPED  2u

/* What stood in an entry's place at some time: hashes of its record and body; 0: none. */
struct book_version {
    uint64_t record, body;
    struct buf *bytes; /* The record. */
};

struct book_entry {
    struct buf *record; /* As it is now: the last version's. */
    uint64_t at_us;     /* When it was first applied, perhaps not by its leader. */
    uint64_t told_us;   /* When anyone was first told of it; 0: nobody yet. */
    struct book_version *versions;
    uint32_t version_count;
    uint32_t shown_count;
    uint64_t *shown;   /* Hashes of the JSON that anyone saw; no more than versions. */
    uint64_t messages; /* Up to and including it. */
    const char *by;    /* The router that applied it first: most likely its leader. */
    struct book_send *send;
};

/* A user in a conversation, as the log has it now. */
struct book_member {
    char *user;
    bool is_member;
    uint64_t role; /* enum member_role. */
    uint64_t joined;
    uint64_t left;       /* Seq of his last removal; 0: never. */
    bool was_ended;      /* That was the operator's word. */
    uint64_t changed_us; /* When he was last added, removed or given a role. */
    uint64_t read_least; /* His read cursor is here at least; */
    uint64_t read_most;  /* and here at most. */
};

struct book_conv {
    char *id;
    struct book_entry *entries; /* By seq. */
    uint64_t capacity;
    uint64_t head;
    uint64_t trimmed; /* Everything up to here was removed. */
    uint64_t ending;  /* It ends in parts, and this was its head after the first; 0: it does not. */
    uint64_t ended;   /* The operator ended it, and this was its last seq then; 0: never. */
    uint64_t over;    /* The same, where he was told that it is so; */
    uint64_t over_us; /* since then. */
    uint64_t acked;   /* The highest seq acknowledged. */
    struct map members; /* struct book_member */
    uint64_t member_count, owner_count;
};

/* A shard, or the control group: the digests of its state that replicas told. */
struct book_group {
    uint32_t id;
    uint64_t *digests; /* By applied index; 0: none told. */
    uint64_t newest;   /* The highest of those told. */
    uint64_t capacity;
};

struct book {
    struct world *world;
    struct map convs;  /* struct book_conv */
    struct map sends;  /* struct book_send */
    struct map groups; /* struct book_group */
    struct map reactions;
    struct map erased;         /* Users who are, or are to be. */
    uint64_t erasures, blanks; /* Done; entries changed so. */
    uint64_t rewrites;         /* Edits, deletions and reactions. */
    uint64_t retain_count;     /* Of groups; 0: all. */
    uint64_t trims;
    uint64_t repeats;      /* Of what was acknowledged. */
    uint64_t ends, begins; /* Of conversations that the operator ended; those begun again. */
    uint64_t parted;       /* Ends that took more than one command. */
    uint64_t acked, delivered, refused, changes;
    uint64_t activities, again;     /* Told of large conversations; entries given again. */
    uint64_t presences, typings;    /* Told to clients. */
    uint64_t reads, reads_bound;    /* Histories; of members, for whom C9 sets a bound. */
    uint64_t orders, orders_across; /* Sends that C7 bound; by one before on another router. */
};

void book_init(struct book *b, struct world *world);
void book_fini(struct book *b);

/* ---- What is so ---- */

/* From a tap: the entry at seq is written. */
void book_written(void *book, const char *node, struct slice conv, uint64_t seq, uint64_t messages,
                  struct slice record, bool is_news);
/* From a tap: the conversation is so. */
void book_told(struct book *b, const char *node, struct slice conv, const struct row_head *head,
               const struct row_conv *info);
/* From a tap: the state of this replica of the group has this digest at this index. True where it
 * is the first that is as far. */
bool book_applied(void *book, const char *node, uint32_t group, uint64_t index, uint64_t digest);
/* NULL: there is no such conversation. */
struct book_conv *book_conv(struct book *b, struct slice conv);
/* NULL: he was never in it. */
struct book_member *book_member(struct book *b, struct slice conv, struct slice user);
bool book_is_member(struct book *b, struct slice conv, struct slice user);
/* The newest seq that `user` may see: the head, or his removal, or 0. */
uint64_t book_visible(struct book *b, struct slice conv, struct slice user);
uint64_t book_head(struct book *b, struct slice conv);
bool book_is_from(struct book *b, struct slice conv, uint64_t seq, struct slice user);
/* Since when anyone was told of the entry at `seq`, or of one behind it: from then on every leader
 * knows of it. UINT64_MAX: nobody was. */
uint64_t book_known_us(const struct book_conv *c, uint64_t seq);
uint64_t book_acked_seq(struct book *b, struct slice conv); /* The highest acknowledged. */
/* What was up to here nobody needs to be given any more: it was removed, or ended. */
uint64_t book_lost_seq(struct book *b, struct slice conv);
uint64_t book_messages(struct book *b, struct slice conv); /* All there ever were. */
/* Messages after `seq` that are there. */
uint64_t book_unread(struct book *b, struct slice conv, uint64_t seq);

/* ---- What clients report ---- */

/* Client `device` is about to send its `number`th message, `cid`, to `conv` for the first time. */
struct book_send *book_invoked(struct book *b, struct slice conv, struct slice sender,
                               struct slice cid, uint32_t device, uint32_t number);
/* `sent` came: this cid stands at seq. */
void book_acked(struct book *b, struct slice conv, struct slice sender, struct slice cid,
                uint64_t seq);
/* It was refused for good. */
void book_refused(struct book *b, struct book_send *send);
/* `viewer` was shown the entry at seq. `raw` is what must be the same for everyone. */
void book_seen(struct book *b, struct slice viewer, struct slice conv, uint64_t seq,
               struct slice sender, struct slice cid, struct slice body, struct slice raw);
/* A change of the message at `target` was answered with `seq` as its own. */
void book_change_acked(struct book *b, struct slice conv, struct slice user, uint64_t target,
                       uint64_t seq);
/* A cursor: sent with `seq`, and, where `is_sure`, known to be stored as at least `least`. */
void book_read(struct book *b, struct slice conv, struct slice user, uint64_t seq, uint64_t least);

/* ---- book_ends.c: what the operator ends ---- */

/* A replica has done a part of its end and not the last; its head was `seq` then. */
void book_ending(struct book *b, struct book_conv *c, uint64_t seq);
/* The next entry of it: may it be there? */
void book_check_ending(struct book *b, const struct book_conv *c, const struct msg_entry *entry);
/* Is it there for nobody, or was it not some time ago? NULL: there never was one. */
bool book_is_gone(const struct book_conv *c);
/* A replica has it as ended at `seq`. */
void book_ended(struct book *b, struct book_conv *c, const char *node, uint64_t seq);
/* A new entry of it, at `seq`: groups do not begin again. */
void book_goes_on(struct book *b, const struct book_conv *c, uint64_t seq);
/* The operator was told that it is ended; when he asked, its head was here. */
void book_end_acked(struct book *b, struct slice conv, uint64_t head);
/* He was told that there is none. */
void book_end_unknown(struct book *b, struct slice conv, uint64_t head);
/* Someone was given the entry at `seq`, or, where it is 0, an answer, for what he asked at
 * `asked_us`. */
void book_given(struct book *b, struct slice viewer, struct slice conv, uint64_t seq,
                uint64_t asked_us);
/* Is all of what was ended removed? Else the reason is written into `why`. */
bool book_ends_are_done(const struct book *b, char *why, size_t why_size);

/* ---- book_erase.c: users who are forgotten ---- */

void book_erase_init(struct book *b);
void book_erase_fini(struct book *b);
/* The operator wants him erased. */
void book_erase_asked(struct book *b, struct slice user);
bool book_is_erased(const struct book *b, struct slice user);
/* Is he added by this entry? */
bool book_joined_at(struct book *b, struct slice conv, struct slice user, uint64_t seq);
/* An entry that is there is told again: as it is, or, where that is no news, as it was; or is that
 * because somebody is erased? */
bool book_erase_explains(struct book *b, struct book_conv *c, uint64_t seq, struct slice record,
                         bool is_news);
/* The operator was told that it is done, for what he asked at `asked_us`. */
void book_erase_acked(struct book *b, struct slice user, uint64_t asked_us);

/* ---- book_changes.c: what entries are, and become by others ---- */

void book_changes_init(struct book *b);
void book_changes_fini(struct book *b);
void book_entry_set(struct book_entry *e, struct slice record); /* Its next version, */
/* or one that came before the newest. */
void book_entry_put(struct book_entry *e, struct slice record, bool is_newest);
bool book_entry_had(const struct book_entry *e, struct slice record);
bool book_entry_is(const struct book_entry *e, struct slice record);
/* Did it ever have this body? */
bool book_entry_said(const struct book_entry *e, struct slice body);
/* Someone sees it so. False: it never was so, or there are more ways to see it than versions. */
bool book_entry_show(struct book_entry *e, struct slice raw, struct slice body);
void book_entry_fini(struct book_entry *e);
/* Did he ever react so, to the message at `target`? */
bool book_has_reacted(struct book *b, const struct book_conv *c, uint64_t target,
                      struct slice emoji, struct slice user);
/* Does he, in any way, and did before this time? */
bool book_reacted_before(struct book *b, const struct book_conv *c, uint64_t target,
                         struct slice user, uint64_t before_us);
void book_take_reaction(struct book *b, const struct book_conv *c, uint64_t target,
                        struct slice emoji, struct slice user);
/* An edit, a deletion or a reaction is written. */
void book_changed(struct book *b, struct book_conv *c, const struct msg_entry *change);

/* A replica of a shard, in `kv` under this generation: it holds every log of the shard, byte for
 * byte as it was told when it was written, and nothing beyond. */
struct book_replica {
    const char *node;
    struct kv *kv;
    const uint8_t *cluster;
    uint32_t shards, shard, generation;
};
void book_check_replica(struct book *b, const struct book_replica *replica);
/* All is quiet: every acknowledged send is where it was promised, in the order sent. */
void book_close(struct book *b, uint32_t devices);

#endif
