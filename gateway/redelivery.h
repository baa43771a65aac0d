/* redelivery - entries that a client was given and does not acknowledge.
 *
 * A session that has acknowledged anything is expected to go on doing so. What a pair has been
 * given beyond its acked cursor is awaited: where that cursor does not move for
 * options.redeliver_ms, everything beyond it is given again; after LIMIT_REDELIVER_COUNT times the
 * client is closed, so that it resumes. One that never acknowledges is left alone.
 *
 * What the session sent itself it has, once it was told the seq: the cursor passes that, as soon as
 * it has come there. Only the newest such run is known. That is enough: behind any other lies an
 * entry of somebody else, which is to be acknowledged, and with it the run.
 *
 * Only what was written counts: while the link is blocked, and while the pair is still catching up,
 * the clock does not run; when either ends it begins anew. Each session has one list of what it
 * awaits, in the order in which it is due, so nothing is walked.
 *
 * Loop thread only. */
#ifndef GATEWAY_REDELIVERY_H
#define GATEWAY_REDELIVERY_H

#include "gateway/pair.h"

/* The pair's cursor moved on. */
void redelivery_on_given(struct pair *pair);
/* The pair's cursor moved back, since what lay beyond was not written. */
void redelivery_on_dropped(struct pair *pair);
/* Nothing is awaited of it for now: it rests. */
void redelivery_stop(struct pair *pair);
void redelivery_forget(struct pair *pair); /* It goes. */
/* The client has everything up to `seq`. */
void redelivery_on_ack(struct session *session, struct slice conv, uint64_t seq);
/* The client is told that the entry at `seq` is what it sent. */
void redelivery_on_sent(struct session *session, struct slice conv, uint64_t seq);
/* The pair is new: what was sent before it was there is known of it from now on. */
void redelivery_on_opened(struct pair *pair);
void redelivery_fini(struct session *session);

/* When redelivery_flush() has something to do; ENV_NEVER while the link is blocked. */
uint64_t redelivery_due_us(const struct session *session);
/* Give again what is due. May close the session. */
void redelivery_flush(struct session *session, uint64_t now_us);

#endif
