/* catchup - pairs of session and conversation: from where a device stands into the live stream.
 *
 * What a session may have on the way is bounded: SESSION_CALLS requests at a time, and none while
 * half of its outbox waits for the client. So a client catches up at its own pace, however far it
 * is behind.
 *
 * Loop thread only. */
#ifndef GATEWAY_CATCHUP_H
#define GATEWAY_CATCHUP_H

#include "gateway/watch.h"

#define CATCHUP_SESSION_CALLS 16u    /* Of one session in flight. */
#define CATCHUP_CALLS_MAX     4096u  /* Of all. */
#define CATCHUP_PAIRS_MAX     20000u /* Conversations of one session. */

struct session;

/* Bring the session into a conversation it is not in yet. `cursor` is what the device has, where
 * that is known. A session with CATCHUP_PAIRS_MAX conversations takes no more; nor does one before
 * shards are known. */
void pair_open(struct session *session, struct slice conv, bool is_cursor_known, uint64_t cursor,
               bool is_resuming);
struct pair *pair_find(struct session *session, struct slice conv);
void pair_drop(struct pair *pair);

/* Where the session stood in a conversation when its user was removed from it, so that, added
 * again, it goes on from there; 0: from the beginning. Forgets it. */
uint64_t left_take(struct session *session, struct slice conv);
void left_forget_all(struct session *session);

/* The entry says that somebody is a member no longer. */
bool pair_is_removal(const struct msg_entry *entry);
/* Give the session this entry, which is cursor + 1. The pair is gone where the entry removes its
 * user. */
void pair_deliver(struct pair *pair, const struct msg_entry *entry, struct buf *frame);
/* Cursor, head or until changed: what now? May drop the pair. Not while a request of it is in
 * flight. */
void pair_settle(struct pair *pair);
/* The frame of `seq`, an entry or where a gap begins, was dropped from the outbox unwritten. */
void pair_rewind(struct pair *pair, uint64_t seq);

/* Let waiting pairs go on, as far as bounds and leaders allow. */
void catchup_pump(struct session *session);

#endif
