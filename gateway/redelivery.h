/* redelivery - entries that a client was given and does not acknowledge.
 *
 * A session that has acknowledged anything is expected to go on doing so. What a pair has been
 * given beyond its acked cursor is awaited: where that cursor does not move for
 * options.redeliver_ms, everything beyond it is given again; after LIMIT_REDELIVER_COUNT times the
 * client is closed, so that it resumes. One that never acknowledges is left alone.
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
/* Nothing is awaited of it any more: it rests, or dies. */
void redelivery_forget(struct pair *pair);
/* The client has everything up to `seq`. */
void redelivery_on_ack(struct session *session, struct slice conv, uint64_t seq);

/* When redelivery_flush() has something to do; ENV_NEVER while the link is blocked. */
uint64_t redelivery_due_us(const struct session *session);
/* Give again what is due. May close the session. */
void redelivery_flush(struct session *session, uint64_t now_us);

#endif
