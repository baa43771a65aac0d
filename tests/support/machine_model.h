/* machine_model - what conversations are, in plain arrays that are counted anew every time.
 *
 * model_entry() draws an entry of Raft's log and says what the machine must answer to each of its
 * commands; the rest of the struct is what it must show afterwards. */
#ifndef TESTS_SUPPORT_MACHINE_MODEL_H
#define TESTS_SUPPORT_MACHINE_MODEL_H

#include "tests/support/machine_rig.h"

#define MODEL_USERS    6
#define MODEL_GROUPS   4
#define MODEL_CONVS    (MODEL_GROUPS + 3)
#define MODEL_CIDS     4
#define MODEL_DEVICES  2
#define MODEL_EMOJIS   3
#define MODEL_LOG_MAX  4096
#define MODEL_COMMANDS 6 /* An entry, at most. */
#define MODEL_OPERATOR (-1)

struct model_member {
    bool was, current;
    uint64_t role, joined, left, visible;
    uint64_t read, read_messages;
    uint64_t delivered[MODEL_DEVICES];
};

struct model_entry {
    char kind; /* 'm' message, 'e' edit, 'r' reaction, 'o' owed, 't' told, '-' another. */
    int from;
    uint64_t ts;
    uint64_t body;            /* 0: none. */
    uint64_t edited, deleted; /* Its marks; of a reaction, edited is its target. */
    bool set[MODEL_EMOJIS][MODEL_USERS];
};

struct model_conv {
    bool exists, is_dropped, is_direct;
    uint64_t begun;        /* Again, after it was ended; else 0. */
    bool is_for_newcomers; /* They see what follows their coming, and not all. */
    int creator;
    const uint64_t *clock;
    uint64_t head, trimmed;
    uint64_t owed_first, owed_last;        /* 0: nothing is owed. */
    struct model_entry log[MODEL_LOG_MAX]; /* By seq. */
    struct model_member members[MODEL_USERS];
};

struct model_dedup {
    uint64_t seq, ts; /* seq 0: never used. */
};

struct model {
    uint64_t clock;
    uint64_t random;
    uint64_t bodies; /* Given out. */
    struct model_conv convs[MODEL_CONVS];
    struct model_dedup dedup[MODEL_CONVS][MODEL_USERS][MODEL_CIDS];
    struct model_dedup made[MODEL_CONVS]; /* By their creators, whose cid is always the same. */
    struct rig_result expected[MODEL_COMMANDS];
    uint64_t index_seq[MODEL_USERS][MODEL_CONVS];
    bool index_gone[MODEL_USERS][MODEL_CONVS];
};

extern const char *const model_users[MODEL_USERS];
extern const char *const model_devices[MODEL_DEVICES];
extern const char *const model_emojis[MODEL_EMOJIS];

void model_init(struct model *model, uint64_t seed);
struct slice model_conv_id(int conv);
uint64_t model_draw(struct model *model, uint64_t below);
/* An entry of some commands; time passes, jumps, or goes back. The caller unrefs. */
struct buf *model_entry(struct model *model, struct rig *rig, uint32_t *ret_count);
int model_count_role(const struct model_conv *conv, uint64_t role);
/* Messages in first..last. */
uint64_t model_messages(const struct model_conv *conv, uint64_t first, uint64_t last);

/* ---- Between the parts of the model ---- */

static inline struct rig_result model_refused(enum rc rc)
{
    return (struct rig_result){.rc = rc};
}

static inline bool model_is_there(const struct model_conv *conv)
{
    return conv->exists && !conv->is_dropped;
}

uint64_t model_append(struct model_conv *conv, char kind, int from);
void model_part(struct model_conv *conv, int user, int by);
void model_replace_owner(struct model_conv *conv, int left, int by);
/* machine_model_change.c: commands that change what is there already. */
struct rig_result model_do_change(struct model *model, struct rig *rig);
struct rig_result model_do_trim(struct model *model, struct rig *rig);
struct rig_result model_do_erase(struct model *model, struct rig *rig);
struct rig_result model_do_drop(struct model *model, struct rig *rig);
struct rig_result model_do_told(struct model *model, struct rig *rig);

#endif
