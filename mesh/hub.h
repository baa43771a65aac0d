/* hub - one ZeroMQ context: its sockets, who may connect to them, and which of them have news.
 *
 * All options of all sockets are set here, so that each trap of libzmq 4.3.4 is avoided once:
 * no ZMTP heartbeat on a socket that receives packets (with a finite RCVHWM it aborts the process
 * after a stall: libzmq #3937); a size limit and a handshake time limit everywhere; reconnects that
 * back off; CURVE with our allow-list (mesh/zap.h) on every socket as soon as there is a key.
 *
 * libzmq's ZMQ_FD tells only edges, and any call on the socket may swallow one. So a socket has
 * *news* from when its descriptor wakes us, or something was sent on it, until a receive found it
 * empty; only those are looked at. Their descriptors sit in one epoll, which is what the loop
 * watches.
 *
 * Loop thread only. */
#ifndef MESH_HUB_H
#define MESH_HUB_H

#include <stdbool.h>
#include <stddef.h>

#include "mesh/base/list.h"
#include "mesh/base/rc.h"
#include "mesh/base/slice.h"
#include "mesh/endpoint.h"
#include "mesh/keyfile.h"
#include "mesh/sentence.h"

/* A connection that got nowhere for so long is to be opened anew, with the next server key: libzmq
 * reconnects after every failure but one. A client that was refused for its key, or expected
 * another of the server, never tries again by itself, though keys may have been changed meanwhile.
 */
#define HUB_STUCK_US 2000000u

enum hub_kind {
    HUB_ROUTER,
    HUB_DEALER,
    HUB_PUB,
    HUB_SUB,
};

struct hub;
struct hub_socket;

/* Called by hub_dispatch() while the socket has news: receive a few messages, then return. */
typedef void (*hub_on_news)(void *context, struct hub_socket *socket);

struct hub_options {
    enum hub_kind kind;
    struct slice id;      /* A DEALER's routing id (absent: any), or a SUB's topic. */
    uint32_t send_max;    /* Messages queued for one peer. */
    uint32_t receive_max; /* Messages queued from one peer, before TCP holds it back. */
    uint32_t linger_ms;   /* How long the last messages may take at the end. */
    hub_on_news on_news;  /* NULL for HUB_PUB. */
    void *context;
};

/* `key` is copied; NULL: plain text. RC_IO where libzmq or the kernel refuses. */
MUST_CHECK enum rc hub_new(const struct keyfile *key, struct hub **ret_hub,
                           struct sentence *sentence);
void hub_free(struct hub **hub); /* All its sockets are freed before. Takes and nulls. */

bool hub_is_encrypted(const struct hub *hub);
uint32_t hub_key_count(const struct hub *hub); /* Server keys a connect may try; 1 in plain text. */
void hub_set_accepted(struct hub *hub, const struct keyfile *key); /* Of an encrypted hub. */

int hub_fd(const struct hub *hub);        /* Readable: dispatch. */
bool hub_has_news(const struct hub *hub); /* Dispatch, though the descriptor is silent. */
void hub_gather(struct hub *hub);         /* Find out who has news. Answers admissions. */
bool hub_dispatch(struct hub *hub);       /* One socket's turn; false: none has news. */

/* RC_IO where libzmq refuses. */
MUST_CHECK enum rc hub_socket_new(struct hub *hub, const struct hub_options *options,
                                  struct hub_socket **ret_socket);
void hub_socket_free(struct hub_socket **socket); /* Takes and nulls; NULL inside is fine. */
void hub_socket_handle(struct hub_socket *socket, hub_on_news on_news, void *context);

/* Listen. `bound` is where it really listens. RC_IN_USE: the port is taken; RC_CONFIG: this machine
 * has no such address; RC_IO: something else. The sentence says which. */
MUST_CHECK enum rc hub_socket_bind(struct hub_socket *socket, const struct endpoint *endpoint,
                                   struct endpoint *ret_bound, struct sentence *sentence);

/* Connect, expecting the server key of that index (0..hub_key_count()-1). RC_IO: libzmq refuses. */
MUST_CHECK enum rc hub_socket_connect(struct hub_socket *socket, struct slice endpoint,
                                      uint32_t key_index);

/* Is there a peer, admitted by its handshake, with room in its queue? */
bool hub_socket_can_send(struct hub_socket *socket);

/* Sending never waits. What cannot be queued now is lost, which every protocol above allows for, so
 * the outcome may be ignored. RC_FULL: the queue is full, or nobody is connected. */
enum rc hub_socket_send(struct hub_socket *socket, struct slice body);
/* HUB_ROUTER: RC_NOT_FOUND: nobody of this id is connected. */
enum rc hub_socket_send_to(struct hub_socket *socket, struct slice id, struct slice body);
/* HUB_PUB: `topic` and `body` in one frame. */
enum rc hub_socket_publish(struct hub_socket *socket, struct slice topic, struct slice body);

/* RC_AGAIN: nothing is there, and the socket has no news any more. RC_CORRUPT: a message of another
 * shape, now dropped. *ret_id is who sent it, for HUB_ROUTER; else absent. Slices live until the
 * next receive on any socket of the hub. */
MUST_CHECK enum rc hub_socket_receive(struct hub_socket *socket, struct slice *ret_id,
                                      struct slice *ret_body);

#endif
