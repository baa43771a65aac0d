/* presence_query - how some users are: one question to each shard that one of them is of, and one
 * answer when all have come.
 *
 * Questions do not wait in line with sends (calls.h): a new leader does not know who is online for
 * as long as its grace lasts, and refuses to say, while it takes sends at once. So a question that
 * is refused, or finds no leader, is asked again at the next retry, until request_ms are over.
 *
 * Whoever asks bounds how many he has under way. Loop thread only. */
#ifndef GATEWAY_PRESENCE_QUERY_H
#define GATEWAY_PRESENCE_QUERY_H

#include "gateway/core.h"

struct presence_query;

/* Ask about `users`, a sequence of one name or more, which is copied. Unless it is cancelled,
 * `on_done` is called once, after this has returned: with an item for each name, in the order
 * asked, borrowed for the call; or with RC_TIMEOUT and none. Then, as after a cancellation, the
 * query is gone. RC_UNAVAILABLE: routers are not known yet, and nothing is asked. */
MUST_CHECK enum rc presence_query(struct gateway *gateway, struct slice users,
                                  void (*on_done)(void *context, enum rc rc,
                                                  const struct msg_presence_item *items,
                                                  uint32_t count),
                                  void *context, struct presence_query **ret_query);
/* Nobody waits any more. Takes and nulls; NULL is fine. */
void presence_query_cancel(struct presence_query **query);

/* Append the reply to `presence`. */
void presence_query_put(const struct msg_presence_item *items, uint32_t count, struct slice id,
                        struct buf *out);

/* ---- The turn ---- */

void presence_query_retry(struct gateway *gateway); /* Asks again, wherever nobody answered. */
void presence_query_turn(struct gateway *gateway);  /* Gives up what is due. */
uint64_t presence_query_due_us(const struct gateway *gateway);

#endif
