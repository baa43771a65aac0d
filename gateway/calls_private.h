/* calls_private - where a request is, and where its message lies: shared by calls.c and
 * calls_place.c. Nobody else includes this. */
#ifndef GATEWAY_CALLS_PRIVATE_H
#define GATEWAY_CALLS_PRIVATE_H

#include "gateway/peers.h"

static inline struct request *calls_request_of(struct list *in_shard)
{
    return LIST_ENTRY(in_shard, struct request, in_shard);
}

static inline struct shard *calls_shard_of(struct gateway *gateway, const struct request *request)
{
    return &gateway->routers.shards[request->shard];
}

static inline bool calls_is_command(const struct request *request)
{
    return request->answer_number == MSG_RESULT;
}

/* A command that keeps its place; questions about others have none. */
static inline bool calls_is_ordered(const struct request *request)
{
    return calls_is_command(request) && request->may_wait;
}

static inline struct slice calls_kept_message(const struct request *request)
{
    return slice_of(request->kept->bytes + request->kept_at, request->size);
}

/* The only place where a request changes its own: the list it is on is its state. */
void calls_move(struct gateway *gateway, struct request *request, enum request_place place);

/* Within the bound of what is kept. */
bool calls_has_room(const struct calls *calls, uint32_t size);
/* The message of request->size bytes is in `where`. Takes the caller's reference, or his hold on a
 * packet that has not left (peers_hold_on). */
void calls_keep(struct gateway *gateway, struct request *request, struct buf *where, uint32_t at);
void calls_release(struct gateway *gateway, struct request *request);
/* Out of a packet that has not left yet, whose bytes still move. */
void calls_make_own(struct request *request);

#endif
