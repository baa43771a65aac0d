/* reaper - an operator who ends conversations and erases users, by the HTTP API of one gateway or
 * another.
 *
 * He asks until he is told that it is done: a gateway may die, be slow or know no leader. The
 * routes are the real ones (gateway/api.h), without the bytes of HTTP around them. */
#ifndef TESTS_SIM_REAPER_H
#define TESTS_SIM_REAPER_H

#include "gateway/api.h"
#include "tests/sim/book.h"
#include "tests/sim/cluster.h"

#define REAPER_WORDS_MAX 3u /* On their way at a time. */

struct reaper;

/* Something that is to go. */
struct reaper_word {
    struct reaper *reaper;
    bool is_open;    /* Not done yet. */
    bool is_erasure; /* Of a user; else a conversation is ended. */
    char name[64];
    char path[96];
    uint64_t head; /* Of the conversation, when it was asked for first. */
    struct sim_node *gateway;
    struct api_call *call; /* NULL: it is to be asked for again. */
    uint64_t number;       /* Of the request, */
    uint64_t asked_us;     /* and when it was made. */
    struct buf *refusal;
};

struct reaper {
    struct cluster *cluster;
    struct book *book;
    uint32_t users, groups;
    bool is_quiet;
    struct reaper_word words[REAPER_WORDS_MAX];
    char key[API_KEY_SIZE + 1];
    uint64_t tries, done;
};

void reaper_init(struct reaper *r, struct cluster *cluster, struct book *book, uint32_t users,
                 uint32_t groups);
void reaper_fini(struct reaper *r);

void reaper_begin(struct reaper *r);
/* From a tap: an entry that is new. Where somebody has just come it may end at once: then true. */
bool reaper_on_entry(struct reaper *r, struct slice conv, struct slice record);
/* Nothing new from now on. */
void reaper_quiet(struct reaper *r);
/* The gateway is about to die: what was asked of it is asked of another. */
void reaper_gateway_down(struct reaper *r, const struct sim_node *gateway);

/* Is everything done? Else the reason is written into `why`. */
bool reaper_is_done(const struct reaper *r, char *why, size_t why_size);

#endif
