/* proof - for the webhook: who never acknowledges, but got what he was given, or told of.
 *
 * The webhook tells of messages that somebody has not got, and what a device has got it says by
 * acknowledging. One that never does would be offline for ever. So where a router has a webhook, a
 * session that has not acknowledged anything is pinged soon after it was given entries, or told by
 * `activity` that there are some. Its pong proves that it has read what came before the ping, since
 * a connection is one stream (RFC 6455, section 5.5.3). The leader is told, and remembers it for as
 * long as the messages wait for the webhook: no cursor moves, and nobody else hears of it.
 *
 *   failure modes  no pong: it counts as not got; a new leader: it is proven again
 *
 * Loop thread only. */
#ifndef GATEWAY_PROOF_H
#define GATEWAY_PROOF_H

#include "gateway/pair.h"

/* The pair's cursor moved on, or it was told that its conversation did. */
void proof_on_given(struct pair *pair);
void proof_forget(struct pair *pair); /* It dies. */
/* Its leader may be a new one: what was proven lately is proven again. */
void proof_on_rewatched(struct gateway *gateway, const struct watch *watch);

/* When proof_flush() has something to do. */
uint64_t proof_due_us(const struct session *session);
void proof_flush(struct session *session, uint64_t now_us); /* Ping, where it is due. */
void proof_on_pong(struct session *session, struct slice payload);

#endif
