#include "gateway/calls_private.h"

/* Requests come back nearly in the order they left in, so the place is near the end. */
static void insert_by_id(struct list *list, struct request *request)
{
    struct list *at = list->prev;
    while (at != list && calls_request_of(at)->id > request->id)
        at = at->prev;
    list_append(at->next, &request->in_shard);
}

static bool is_flying(const struct request *request)
{
    return request->place == REQUEST_COMMAND || request->place == REQUEST_ASKED;
}

void calls_move(struct gateway *gateway, struct request *request, enum request_place place)
{
    struct shard_calls *calls = &calls_shard_of(gateway, request)->calls;
    if (is_flying(request)) {
        calls->flying_count--;
        calls->flying_bytes -= request->size;
    }
    list_remove(&request->in_shard);
    request->place = (uint8_t)place;
    if (place == REQUEST_BACK)
        insert_by_id(&calls->at[place], request);
    else if (place == REQUEST_LOST)
        list_append(&gateway->calls.lost, &request->in_shard);
    else if (place != REQUEST_NOWHERE)
        list_append(&calls->at[place], &request->in_shard);
    if (is_flying(request)) {
        calls->flying_count++;
        calls->flying_bytes += request->size;
    } else if (calls_is_waiting(request) && list_is_empty(&calls->held)) {
        list_append(&gateway->calls.held, &calls->held);
    }
}

/* ---- The message of a request ---- */

bool calls_has_room(const struct calls *calls, uint32_t size)
{
    return calls->kept_count < CALLS_KEPT_COUNT_MAX &&
           calls->kept_bytes + size <= CALLS_KEPT_BYTES_MAX;
}

void calls_keep(struct gateway *gateway, struct request *request, struct buf *where, uint32_t at)
{
    request->kept = where;
    request->kept_at = at;
    gateway->calls.kept_count++;
    gateway->calls.kept_bytes += request->size;
}

void calls_release(struct gateway *gateway, struct request *request)
{
    if (request->kept == NULL)
        return;
    gateway->calls.kept_count--;
    gateway->calls.kept_bytes -= request->size;
    if (request->peer != NULL && peers_let_go(request->peer, request->kept))
        request->kept = NULL;
    else
        peers_drop_packet(gateway, &request->kept);
}

void calls_make_own(struct request *request)
{
    if (request->peer == NULL || !peers_let_go(request->peer, request->kept))
        return;
    struct buf *own = buf_new(request->size);
    buf_append(own, request->kept->bytes + request->kept_at, request->size);
    request->kept = own;
    request->kept_at = 0;
}
