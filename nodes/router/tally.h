/* tally - how far the newest message of a large group came, told now and then.
 *
 * Beyond LIMIT_RECEIPTS_MEMBERS a cursor that moves is not worth an event of its own: it marks its
 * conversation. The first mark is told at the end of the turn, what follows within LIMIT_TALLY_MS
 * at its end, so the last state is always told. The numbers are read from the state at that moment;
 * nothing is counted here.
 *
 * Bounded: TALLY_MAX conversations within their second; a mark beyond is dropped and counted. All
 * waits are the same, so the list is in the order of due times.
 *
 * Loop thread only. */
#ifndef NODES_ROUTER_TALLY_H
#define NODES_ROUTER_TALLY_H

#include "nodes/router/watchers.h"

#define TALLY_MAX 65536u

struct tally {
    struct watchers *watchers;
    /* Fill the numbers of a conversation's newest message; false: there is nothing to tell. */
    bool (*read)(void *context, uint32_t shard, struct slice conv, struct msg_event_tally *ret);
    void *context;
    struct map convs;    /* struct tally_conv */
    struct list fresh;   /* Marked, and not told within the last second. */
    struct list resting; /* Told within the last second, in that order. */
};

void tally_init(struct tally *t, struct watchers *watchers,
                bool (*read)(void *context, uint32_t shard, struct slice conv,
                             struct msg_event_tally *ret),
                void *context);
void tally_fini(struct tally *t);

/* A cursor of `conv`, of `shard`, moved. */
void tally_mark(struct tally *t, uint32_t shard, struct slice conv);
/* Tell what is due: when the turn's batch is written. */
void tally_turn(struct tally *t, uint64_t now_us);
uint64_t tally_due_us(const struct tally *t); /* ENV_NEVER: nothing waits. */
/* Forget the conversations of shards that `keeps` says no to. */
void tally_keep(struct tally *t, bool (*keeps)(const void *context, uint32_t shard),
                const void *context);

#endif
