/* pair - one session in one conversation: where it stands, and what becomes of it.
 *
 * A pair is *live* when its cursor is at the head of the live stream, so a new entry goes to all
 * live pairs without looking further. All others catch up (catchup.h), or rest (large.h): those of
 * a large conversation that the client has not opened.
 *
 *     TO_WATCH -> WATCHING -> TO_FETCH <-> FETCHING
 *      ^             |  |         |            |
 *      |             |  +---------+---> LIVE <-+
 *      |             |             \--> PARKED    has more than the live stream brought so far
 *      +---------- RESTING <----------- LIVE
 *
 * A hole in the stream sends the live ones back to TO_FETCH. An entry is given to a session only if
 * it is cursor + 1: whatever is missed, repeated or late, a session gets every seq once and in
 * order. Only what is not acknowledged in time is given again (redelivery.h).
 *
 * Loop thread only. */
#ifndef GATEWAY_PAIR_H
#define GATEWAY_PAIR_H

#include "gateway/watch.h"

#define PAIRS_MAX 20000u /* Conversations of one session. */

/* As the seq of a frame in an outbox: an `activity`, told again once there is room. */
#define PAIR_ACTIVITY UINT64_MAX

enum pair_state {
    PAIR_TO_WATCH, /* Waits to ask the leader. */
    PAIR_WATCHING, /* Asked. */
    PAIR_TO_FETCH, /* Behind: waits to read on. */
    PAIR_FETCHING, /* Asked, or somebody else at the same cursor did. */
    PAIR_PARKED,   /* Ahead of the live stream. */
    PAIR_RESTING,  /* Is given no entries. */
    PAIR_LIVE,
};

struct proof;
struct rest;
struct unacked;

struct pair {
    struct list in_watch;
    struct list in_session; /* On its waiting list in the TO_ states, else on pairs. */
    struct session *session;
    struct watch *watch;
    struct request *call;     /* PAIR_WATCHING: a struct pair_call. */
    struct rest *rest;        /* Of large.c; NULL where there is nothing to know. */
    struct unacked *unacked;  /* Of redelivery.c; NULL where there is nothing to acknowledge. */
    struct proof *proof;      /* Of proof.c, likewise. */
    uint64_t cursor;          /* Last seq given to the session. */
    uint64_t acked;           /* Up to here the client has it: it said so, or sent it itself. */
    uint64_t gap_to;          /* The last gap it was given ends here; 0: none. */
    uint64_t until;           /* Where not 0: the user was removed here and sees nothing beyond. */
    uint8_t state;            /* enum pair_state. */
    bool is_cursor_known : 1; /* Else the stored one of the device is asked for. */
    bool is_resuming : 1;     /* Counts for the session's `resumed`. */
    bool is_again : 1;        /* Watched before: his removal in the log may have been an old one. */
    bool is_told_gone : 1;    /* The last event about his membership was `gone`. */
    bool is_reopened : 1;     /* Added again while still here: open once more when removal comes. */
    bool is_open : 1;         /* The client said so. */
    bool is_finishing : 1;    /* Was there when it became large: it gets what was before. */
    bool was_given : 1;       /* This connection got some of it, perhaps beyond the cursor. */
    bool is_announced : 1;    /* This connection was told that there is one. */
    bool is_doubtful : 1;     /* Told that he is out, yet listed: its leader will say. */
    bool is_past : 1;         /* He left lately, as his list says: he may not have heard of it. */
};

/* A `watch` on its way. */
struct pair_call {
    struct request request;
    struct pair *pair; /* NULL: for nobody any more. */
    uint64_t fanout;   /* As it was said. */
};

/* Bring the session into a conversation it is not in yet. `cursor` is what the device has, where
 * that is known. NULL: a session with PAIRS_MAX conversations takes no more, nor does one before
 * shards are known. */
struct pair *pair_open(struct session *session, struct slice conv, bool is_cursor_known,
                       uint64_t cursor, bool is_resuming);
struct pair *pair_find(struct session *session, struct slice conv);
void pair_drop(struct pair *pair);
/* The user's removal at `seq` is known here: that is the end of the pair, for now. */
void pair_leave(struct pair *pair, uint64_t seq);
/* The leader has nothing for its user: he may not see it, or the conversation was ended. Of that he
 * is told where his device knows of it, as far as anybody knows: also where it was given nothing of
 * it yet, for it was told, or says, that there is one. */
void pair_lose(struct pair *pair, bool is_ended);

/* The only way to change the state: the lists that a pair is on follow from it. */
void pair_move(struct pair *pair, enum pair_state state);
/* What was asked for at the old cursor finds nobody. */
void pair_cancel_call(struct pair *pair);
static inline bool pair_is_waiting(const struct pair *pair)
{
    return pair->state == PAIR_TO_WATCH || pair->state == PAIR_TO_FETCH;
}
static inline bool pair_is_in_flight(const struct pair *pair)
{
    return pair->state == PAIR_WATCHING || pair->state == PAIR_FETCHING;
}
/* It has been given all there is. */
static inline bool pair_is_up(const struct pair *pair)
{
    return pair->state == PAIR_LIVE || pair->state == PAIR_PARKED;
}
/* Its conversation became large while it streamed, and it does not have all that was before that.
 */
bool pair_is_finishing(const struct pair *pair);
/* Its conversation is large, the client has not opened it, and it is not finishing. */
bool pair_must_rest(const struct pair *pair);

/* The entry says that somebody is a member no longer. */
bool pair_is_removal(const struct msg_entry *entry);
/* Is this the entry with which the pair's own user left? */
bool pair_is_own_removal(const struct pair *pair, const struct msg_entry *entry);
/* It was given this entry. Where that adds its user, the news of his list that he is out are not
 * the last that his client has heard. */
void pair_note(struct pair *pair, const struct msg_entry *entry);
/* Give the session this frame of the entry at cursor + 1. False: no room, from the log later. */
bool pair_give(struct pair *pair, uint64_t seq, struct buf *frame);
/* Give the session this entry, which is cursor + 1. The pair is gone where the entry removes its
 * user. */
void pair_deliver(struct pair *pair, const struct msg_entry *entry, struct buf *frame);
/* Cursor, head or until changed: what now? May drop the pair. Not while a request of it is in
 * flight. */
void pair_settle(struct pair *pair);
/* What it was given beyond `cursor` it gets again. */
void pair_go_back(struct pair *pair, uint64_t cursor);
/* The frame of `seq`, an entry or where a gap begins, was dropped from the outbox unwritten. */
void pair_rewind(struct pair *pair, uint64_t seq);

#endif
