/* typing - who types in which conversation: in the memory of its leader only, never stored.
 *
 * A client says "on" again and again while its user types; that he stopped is said, or follows from
 * silence (LIMIT_TYPING_MS), or from his message. Watchers of the conversation are told at most one
 * event a user and conversation within LIMIT_TYPING_GAP_MS, whatever comes in, and always the last
 * state: what changes within the gap is told at its end.
 *
 * Bounded: TYPING_MAX users in all, TYPING_CONV_MAX a conversation; who is beyond types unseen.
 * Nothing is ever sorted: both waits are constant, so each list is in the order of its due times.
 *
 * Loop thread only. Who may type, and whether the conversation is led here, is the caller's
 * question. */
#ifndef NODES_ROUTER_TYPING_H
#define NODES_ROUTER_TYPING_H

#include "nodes/router/watchers.h"

#define TYPING_MAX      16384u
#define TYPING_CONV_MAX 32u

struct typing {
    struct watchers *watchers;
    struct map users;    /* struct typist, by conversation and user. */
    struct map convs;    /* struct typing_conv */
    struct list expiry;  /* Those that type, by when they last said so. */
    struct list gap;     /* Those that were told of within the gap, by when. */
    struct buf *scratch; /* A key being made. */
};

void typing_init(struct typing *t, struct watchers *watchers);
void typing_fini(struct typing *t);

/* `user`, a member, types in `conv`, of `shard`, which is led here; or no longer. */
void typing_set(struct typing *t, uint32_t shard, struct slice conv, struct slice user, bool on,
                uint64_t now_us);

/* Append those who type in `conv` to `into`, as slices: who watchers were told of. */
void typing_list(const struct typing *t, struct slice conv, struct buf *into);

/* Tell what has become due. */
void typing_turn(struct typing *t, uint64_t now_us);
uint64_t typing_due_us(const struct typing *t); /* ENV_NEVER: nobody types. */

/* Forget those of shards that `keeps` says no to: who leads them hears of them anew. */
void typing_keep(struct typing *t, bool (*keeps)(const void *context, uint32_t shard),
                 const void *context);

#endif
