/* machine_rig - a state machine on a store in memory, and short ways to say commands.
 *
 * A test says rig_do() for one command in an entry and turn of its own, or rig_add() … rig_apply()
 * … rig_write() where the packing matters. */
#ifndef TESTS_SUPPORT_MACHINE_RIG_H
#define TESTS_SUPPORT_MACHINE_RIG_H

#include "nodes/router/machine.h"
#include "storage/keyspace.h"
#include "storage/kv.h"

#define RIG_RESULTS_MAX 4096u

struct rig_result {
    enum rc rc;
    uint64_t seq, ts;
    bool dup;
};

struct rig {
    struct kv *kv;
    uint32_t group;
    struct machine *machine;
    struct kv_batch *batch;
    struct buf *commands; /* Of the entry being gathered. */
    uint32_t count;
    uint64_t index; /* Of the last entry applied. */
    uint64_t ts;    /* Of the next entry. */
    struct buf *into, *into_left;

    struct rig_result results[RIG_RESULTS_MAX]; /* Of the last entry applied. */
    uint32_t entries;                           /* Seen by the listener since rig_open(). */
    uint64_t entry_members, entry_messages;     /* What the last one's event said. */
    uint32_t receipts;
    uint64_t receipt_delivered, receipt_read, receipt_members; /* The last one. */
    uint64_t receipt_messages;
    uint32_t user_events;
    bool user_gone;
};

void rig_open(struct rig *rig); /* Of an ordinary shard. */
void rig_open_group(struct rig *rig, uint32_t group);
void rig_close(struct rig *rig);
/* The same as cmocka's fixtures: *state is a rig of the test's own. */
int rig_setup(void **state);
int rig_teardown(void **state);
/* Forget the machine and open it again on what is stored. */
void rig_reopen(struct rig *rig);

void rig_add(struct rig *rig, const struct record_desc *desc, const void *command);
/* Encode the gathered entry, as a Raft log would hold it. */
struct buf *rig_pack(struct rig *rig);
void rig_apply(struct rig *rig);
void rig_apply_entry(struct rig *rig, struct slice entry); /* One packed before. */
void rig_write(struct rig *rig);
struct rig_result rig_do(struct rig *rig, const struct record_desc *desc, const void *command);

/* The commands as people say them; `others` is a list of names separated by spaces. */
struct rig_result rig_send(struct rig *rig, const char *conv, const char *user, const char *cid,
                           const char *body);
struct rig_result rig_create(struct rig *rig, const char *conv, const char *user,
                             const char *others);
struct rig_result rig_member(struct rig *rig, const char *conv, const char *user,
                             enum member_change change, const char *others, enum member_role role);
struct rig_result rig_cursor(struct rig *rig, const char *conv, const char *user,
                             const char *device, uint64_t delivered, uint64_t read);

/* `text` is the body of an edit, or the emoji of a reaction. */
struct rig_result rig_change(struct rig *rig, const char *conv, const char *user,
                             enum entry_type type, uint64_t target, const char *text, bool on);
struct rig_result rig_trim(struct rig *rig, const char *conv, uint64_t upto);
struct rig_result rig_erase(struct rig *rig, const char *conv, const char *user, uint64_t after);
struct rig_result rig_drop(struct rig *rig, const char *conv);
/* All that a conversation owes the lists of users was told. */
void rig_told(struct rig *rig, const char *conv);

/* The entry at seq as `user` (NULL: the operator) finds it, with its marks. False:
 * he does not. */
bool rig_entry(struct rig *rig, const char *conv, const char *user, uint64_t seq,
               struct msg_entry *entry, struct msg_marks *marks);
/* His item of the conversation list. False: it is not on it. */
bool rig_item(struct rig *rig, const char *conv, const char *user, struct msg_summary_item *item);
/* How many rows of this table the store holds. */
uint32_t rig_rows(struct rig *rig, enum keyspace_table table);
/* Do these bytes occur in any row? */
bool rig_holds(struct rig *rig, const char *bytes);

/* A sequence of names, from a list separated by spaces. The caller unrefs. */
struct buf *rig_names(const char *names);
/* The id of the direct conversation of two, in a static buffer. */
struct slice rig_direct(const char *a, const char *b);
struct slice rig_text(const char *text); /* NULL: absent. */

/* All rows of the state family, keys and values, in order. The caller unrefs. */
struct buf *rig_dump(struct kv *kv);

#endif
