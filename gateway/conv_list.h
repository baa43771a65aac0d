/* conv_list - a user's conversations, newest activity first: asked of the shard that has his list,
 * then of each conversation's own.
 *
 * Loop thread only. */
#ifndef GATEWAY_CONV_LIST_H
#define GATEWAY_CONV_LIST_H

#include "gateway/core.h"

#define CONV_LIST_LIMIT_MAX 500u

struct conv_list;

/* A page of those after the conversation `after`, where that is present; limit 0: the usual size.
 * `on_done` is called once, unless the list is abandoned, and frees it; on RC_OK conv_list_put()
 * may be called in it, else retry_ms says when to ask again. RC_NOT_FOUND: `after` is not in the
 * list, or not any more, so nobody knows what follows it. */
struct conv_list *conv_list_new(struct gateway *gateway, struct slice user, struct slice after,
                                uint64_t limit,
                                void (*on_done)(void *context, struct conv_list *list, enum rc rc,
                                                uint64_t retry_ms),
                                void *context);
/* Before it begins: one that his list may not have yet. Told only where he is a member. */
void conv_list_add(struct conv_list *list, struct slice conv);
/* Begin. on_done may be called before this returns. */
void conv_list_start(struct conv_list *list);
/* Nobody waits any more. Takes and nulls; NULL is fine. */
void conv_list_abandon(struct conv_list **list);

/* What is said of RC_NOT_FOUND; NULL for any other, whose own sentence does. */
const char *conv_list_reason(enum rc rc);
/* Append the page as the reply to `conversations`. */
void conv_list_put(struct conv_list *list, struct slice id, struct buf *out);

#endif
