/* api - the HTTP API under /v1/: what a server of the operator's, or a user without a WebSocket,
 * may ask for.
 *
 * A request is judged by its head, before a byte of its body is taken: path, method, who asks,
 * whether he may, how often he did. What it asks for is then one message to the leader of a shard,
 * or several; the answer comes when they have answered. Who asks with an API key speaks for the
 * operator: he is in no conversation and needs no role. Who asks with a token may do what he may do
 * over his WebSocket, and the JSON is the same.
 *
 *   happy path     api_open -> api_start -> on_answer, perhaps before api_start() returns
 *   failure modes  no leader: requests wait for the next one (calls.h), then 503; the client goes:
 *                  api_abandon(), and what has not left does not leave any more
 *   on stop        the connections go, and with them their calls
 *
 * Nothing here knows connections or headers: those are http.c's and the edge's. Loop thread only.
 */
#ifndef GATEWAY_API_H
#define GATEWAY_API_H

#include <stdbool.h>
#include <stdint.h>

#include "mesh/base/buf.h"
#include "mesh/base/list.h"
#include "mesh/base/map.h"
#include "mesh/base/slice.h"

/* Requests of a gateway that wait for an answer, each with a page of at most a few hundred KiB. */
#define API_CALLS_MAX 512u

struct api_call;
struct gateway;

/* A gateway's part of it. */
struct api {
    struct map rates; /* Who asked within the last second, and how often. */
    struct list recent;
    uint32_t call_count;
};

void api_init(struct gateway *gateway);
void api_fini(struct gateway *gateway); /* No call is left. */

enum api_method {
    API_OTHER,
    API_GET,
    API_POST,
    API_PATCH,
    API_DELETE,
};

/* A request without its body. Slices are borrowed for the call. */
struct api_head {
    enum api_method method;
    struct slice path;          /* As it was sent: its parts are decoded one by one. */
    struct slice query;         /* As query_get() reads it. */
    struct slice authorization; /* The header; absent: there was none. */
    bool has_body;
    bool is_dev; /* The cluster may be looked at without a key. */
};

struct api_answer {
    unsigned status;
    struct slice body; /* JSON; absent: none. Borrowed. */
    uint32_t retry_s;  /* Not 0: when to ask again. */
    char allow[32];    /* 405: what is allowed, "GET, POST"; else empty. */
};

/* NULL: refused, and *ret_answer says how; its body is in `out`. */
struct api_call *api_open(struct gateway *gateway, const struct api_head *head, struct buf *out,
                          struct api_answer *ret_answer);

/* `body` is the whole of it, empty where there was none; borrowed for the call. `on_answer` is
 * called once and ends the call, unless it is abandoned. */
void api_start(struct api_call *call, struct slice body,
               void (*on_answer)(void *context, const struct api_answer *answer), void *context);

/* Nobody waits for the answer any more. Takes and nulls; also one that was not started. */
void api_abandon(struct api_call **call);

#endif
