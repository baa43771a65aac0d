/* edge - where clients come in: HTTP, and libwebsockets' connections as links.
 *
 * The only part that knows libwebsockets. It decodes and enqueues, nothing more: a whole text
 * message goes to session_on_frame(), and what sessions have to say leaves when the core decides.
 * The loop owes the core one gateway_turn() an iteration, after the callbacks of that iteration (a
 * uv_check), and one at gateway_due_us() when nothing comes in: then each client costs one write a
 * turn, however many frames it is sent.
 *
 *   happy path     our own listener accepts at most 64 connections an iteration; their requests are
 *                  ours to read and answer, until one is for an upgrade and judged good (path,
 *                  Origin, token): with that libwebsockets begins; then the session reads through
 *                  callbacks and writes directly to the socket
 *   failure modes  no file descriptors left, or too many connections that have not upgraded: the
 *                  listener rests until one ends; too many of one address: 429, or close
 *                  code 4029 where a WebSocket is asked for, which a browser sees; a peer that does
 *                  not read: link->write says false until there is room, and a close that does not
 *                  get through ends the connection after 5 s
 *   on stop        edge_stop_accepting(), then let the sessions go (gateway_drain), then
 *                  edge_close(), which cuts who is left; each session hears session_on_closed()
 *
 * Counted here: connections accepted and refused; all else by the core. A session's pings must have
 * a payload: libwebsockets does not tell of an empty pong. The process must have raised
 * RLIMIT_NOFILE before edge_new(): libwebsockets sizes its table by it once. One edge, one loop,
 * one thread; SIGPIPE must be ignored by the process. */
#ifndef GATEWAY_EDGE_H
#define GATEWAY_EDGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "mesh/base/env.h"
#include "mesh/base/rc.h"

#define EDGE_REASON_SIZE 256u
#define EDGE_WAITING_MAX 1000u

/* What the strings point to must live as long as the edge. */
struct edge_options {
    const char *node;           /* Node id, for /health and /metrics. */
    const char *address;        /* Numeric, IPv4 or IPv6; NULL: every address of the machine. */
    uint16_t port;              /* 0: any free one, see edge_port(). */
    const char *const *origins; /* Allowed besides the site's own; "*" allows every one. */
    uint32_t origin_count;
    uint32_t connections_per_ip_max; /* 0: no limit. */
    uint32_t waiting_max;            /* Connections that have not upgraded. */
    uint32_t accepts_per_second_max; /* 0: as they come. */
    uint32_t frame_size_max;         /* A message of more bytes: close 1009. */
    bool is_dev;                     /* POST /v1/dev/token exists. */
};

void edge_options_init(struct edge_options *options);

struct auth;
struct edge;
struct gateway;

/* Listen and serve. `loop`, `gateway`, `auth` and `env` are borrowed until on_closed of
 * edge_close(). RC_IN_USE: another process has the port; RC_CONFIG: the address is none, or not one
 * of this machine, or the port needs privileges; RC_INTERNAL: libwebsockets or its libuv plugin did
 * not start. For each `ret_reason` then holds the sentence for the operator. */
MUST_CHECK enum rc edge_new(const struct edge_options *options, uv_loop_t *loop,
                            struct gateway *gateway, const struct auth *auth, struct env *env,
                            char ret_reason[EDGE_REASON_SIZE], struct edge **ret_edge);

uint16_t edge_port(const struct edge *edge);

/* Close the listener: whoever connects from now on is refused by the kernel. May be called twice.
 */
void edge_stop_accepting(struct edge *edge);

/* End every connection, then libwebsockets. Takes and nulls; not from inside a session_on_x() call.
 * `on_closed` comes later, from the loop, when nothing of the edge is left in it. */
void edge_close(struct edge **edge, void (*on_closed)(void *context), void *context);

#endif
