/* large - conversations in which an entry is pushed only to who has them open (fan-out on read).
 *
 * A conversation is large while it has more members than options.fanout_members. Its pairs rest
 * until the client opens it: a resting pair is given no entries, keeps its cursor, and is told how
 * far the conversation has come in an `activity`, the last state always. `open` sends it on from
 * its cursor; so does the conversation when it is large no more. Who was in it when it became large
 * is first given what the others were, up to the entry that made it so, however far behind he is.
 *
 * Cost: an entry is a splice of two lists, and what its open pairs cost. Each conversation tells a
 * session at most once every LIMIT_ACTIVITY_MS, and the gateway tells LIMIT_ACTIVITY_PER_SEC
 * sessions at most: LARGE_TICK_MS by LARGE_TICK_MS the conversations that moved on take turns, each
 * telling first whom it has told longest ago. So the interval is audience by budget where that is
 * longer, whatever the rate, and a small conversation does not wait for a giant's round.
 *
 * Membership: a resting pair does not read its user's removal. It is taken out when the entry
 * passes in the live stream; after a hole in the stream it asks the leader before it is told
 * anything more.
 *
 * Loop thread only. */
#ifndef GATEWAY_LARGE_H
#define GATEWAY_LARGE_H

#include "gateway/pair.h"

#define LARGE_TICK_MS 20u

struct large {
    struct list resting; /* Pairs that were told of the head, */
    struct list stirred; /* and those that were not, whoever was told longest ago first. */
    struct list node;    /* On the gateway's stirred, or on itself. */
    uint64_t begun_at;   /* It was so after this entry: all who streamed are given that. */
    uint64_t hole_at;    /* The stream had a hole that ended here: removals may lie in it. */
};

/* ---- Requests ---- */

/* The client looks at a conversation: answered once its leader has said that he may, and who types.
 * A large one streams from the pair's cursor from then on. */
void large_on_open(struct session *session, const struct client_request *request);
/* And no longer: a large one rests. */
void large_on_close(struct session *session, const struct client_request *request);
/* `ok` to a member, at once where his membership is known here; else what the leader says. */
void large_confirm(struct session *session, const struct client_request *request);

/* ---- From watch.c ---- */

/* The conversation is large after the entry at `seq`, or no more. */
void large_begin(struct watch *watch, uint64_t seq);
void large_end(struct watch *watch);
/* The head moved; `has_hole`: not all of what lies before it was seen. */
void large_on_head(struct gateway *gateway, struct watch *watch, bool has_hole);
/* The live stream says that this user was removed at `seq`. */
void large_on_removal(struct gateway *gateway, struct watch *watch, struct slice user,
                      uint64_t seq);
/* Of all messages, the pair's user has read so many. */
void large_on_read(struct pair *pair, uint64_t messages);
/* The newest message is this user's, who has read so many with it. */
void large_on_sent(struct gateway *gateway, struct watch *watch, struct slice user,
                   uint64_t messages);

/* ---- From pair.c, catchup.c, session_resume.c ---- */

/* Where pairs rest that have nothing to be told. */
struct list *large_resting(struct watch *watch);
/* An answer to the pair's own `watch`. True: it rests now, or asks again. */
bool large_on_watched(struct pair *pair, const struct msg_watched *answer);
/* The head that it was told last; 0: none. */
uint64_t large_told(const struct pair *pair);
/* It is behind what it was told. */
void large_on_behind(struct pair *pair);
/* He was a member after `seq`, so a removal there is an old one. */
bool large_is_later(const struct pair *pair, uint64_t seq);
/* His list says that he was removed at `seq`, and he was told: a pair that rests is gone. */
void large_on_gone(struct pair *pair, uint64_t seq);
void large_forget(struct pair *pair); /* What it knew for resting. */

/* ---- The turn ---- */

void large_turn(struct gateway *gateway);
uint64_t large_due_us(const struct gateway *gateway);

#endif
