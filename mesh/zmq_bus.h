/* zmq_bus - the bus port (mesh/wire/bus.h) over ZeroMQ, with discovery under it.
 *
 * A router binds three sockets: gossip (ROUTER), request (ROUTER) and publish (PUB), and holds a
 * DEALER to each other router. A gateway binds nothing: for each router it learns of it holds one
 * DEALER (its routing id is its node id) and one SUB, subscribed to its own 16-byte topic. What a
 * node sends to itself is delivered at its own next poll, without a socket.
 *
 *   happy path      gossip tells of a router -> connect -> handshake done -> on_peer(up) -> packets
 *   failure modes   silent for 2.5 s or leaving: on_peer(down), sockets stay and libzmq reconnects;
 *                   a new incarnation: new sockets, on_peer(up) again; full queue: RC_FULL, dropped
 * and counted; anything malformed or foreign: dropped and counted (packets_bad_total) on stop
 * zmq_bus_leave() tells the peers, so that they need not wait for silence
 *
 * How to drive it from a loop: watch zmq_bus_fd(), one descriptor that stays the same, for reading
 * with an empty callback; each turn call zmq_bus_poll(); do not sleep while it returned true or
 * zmq_bus_has_input() says true; sleep no longer than until zmq_bus_due_us(). The descriptor is an
 * epoll of libzmq's own edge-triggered ones; a socket with which something was done since it was
 * last found empty is remembered here, since its edge may be gone (ZMQ_FD in zmq_getsockopt(3)).
 * Idle sockets cost nothing: a poll is one epoll_wait() and a receive on each socket that has news.
 *
 * Loop thread only, besides libzmq's own I/O thread. */
#ifndef MESH_ZMQ_BUS_H
#define MESH_ZMQ_BUS_H

#include <stdbool.h>

#include "mesh/base/env.h"
#include "mesh/base/limits.h"
#include "mesh/keyfile.h"
#include "mesh/sentence.h"
#include "mesh/wire/bus.h"

/* Texts are copied. NULL and 0 where there is none. */
struct zmq_bus_options {
    const char *node; /* Node id. */
    enum node_role role;
    uint64_t incarnation;   /* Wall clock of its start in ms. */
    const uint8_t *cluster; /* 16 bytes; NULL: take the first router's. */
    const char *zone;
    const char *http;   /* Gateway: http://HOST:PORT, for the record. */
    const char *listen; /* Router: tcp://HOST:PORT (port 0: any) or ipc://PATH. Gateway: NULL. */
    const char
        *advertise; /* The host others reach this node by; needed where HOST is a wildcard. */
    /* Router: ports of the request and the publish socket. 0: the listen port + 1 and + 2, so that
     * an operator opens a range; any free ones on loopback and where the listen port itself is any.
     */
    uint16_t request_port;
    uint16_t publish_port;
    const char *joins[LIMIT_SEEDS_MAX]; /* Gossip endpoints of seeds. */
    uint32_t join_count;
    uint16_t beacon_port;      /* UDP port for seeds on a LAN; 0: off. */
    const struct keyfile *key; /* NULL: plain text, and then only loopback and ipc. Copied. */
};

struct zmq_bus;

/* Bind and begin to look for peers. `handler` is copied and may be NULL for now; `env` is borrowed.
 * RC_CONFIG: an endpoint or option is wrong, or would be plain text beyond loopback; RC_IN_USE: a
 * port is taken; RC_IO: libzmq fails; `sentence` says which. Logs one warning where the mesh is in
 * plain text. */
MUST_CHECK enum rc zmq_bus_new(const struct zmq_bus_options *options,
                               const struct bus_handler *handler, struct env *env,
                               struct zmq_bus **ret_bus, struct sentence *sentence);
void zmq_bus_free(struct zmq_bus **bus); /* Takes and nulls. Waits 0.1 s at most for last gossip. */

struct bus *zmq_bus_port(struct zmq_bus *bus);

/* Plug in the core, or another one. The peers that are up are told to it at the next poll. Not from
 * inside a callback. */
void zmq_bus_set_handler(struct zmq_bus *bus, const struct bus_handler *handler);

/* ---- The loop calls these ---- */

int zmq_bus_fd(const struct zmq_bus *bus); /* Readable: poll. */

/* Take what came in, at most about `budget` packets, and do what is due: gossip, silence. Callbacks
 * come from here and nowhere else. True: more is waiting. */
bool zmq_bus_poll(struct zmq_bus *bus, uint32_t budget);
bool zmq_bus_has_input(
    const struct zmq_bus *bus); /* Poll again, though the descriptor is silent. */
uint64_t zmq_bus_due_us(
    const struct zmq_bus *bus); /* When a poll is due though nothing comes in. */

/* ---- The node calls these ---- */

/* RC_OK; RC_IN_USE: a newer process runs under this node id. This one is to stop. */
MUST_CHECK enum rc zmq_bus_state(const struct zmq_bus *bus);

/* One of `joins`, where a node of another cluster answers; NULL: none did lately. */
const char *zmq_bus_foreign_seed(const struct zmq_bus *bus);
/* Where routers of this cluster were met before: looked for beside `joins`, in place of those told
 * earlier. Copied; what is no endpoint is passed over. */
void zmq_bus_set_known(struct zmq_bus *bus, const char *const *endpoints, uint32_t count);
/* A node of another cluster, of two routers at least, that spoke to us: it has our key and knows
 * our address. NULL: none. */
const char *zmq_bus_foreigner(const struct zmq_bus *bus);

/* The 16 bytes of cluster id, or NULL while it is not known. */
const uint8_t *zmq_bus_cluster(const struct zmq_bus *bus);

/* This node's own record, as it tells it: the endpoints with their real ports. */
const struct msg_node *zmq_bus_self(const struct zmq_bus *bus);

/* Walk the other nodes that are up: `size_t at = 0; while ((n = zmq_bus_next_peer(bus, &at)) !=
 * NULL)`. Valid until the next poll. */
const struct msg_node *zmq_bus_next_peer(const struct zmq_bus *bus, size_t *at);

/* Tell the peers that this node stops. They see it within milliseconds; poll on meanwhile. */
void zmq_bus_leave(struct zmq_bus *bus);

/* SIGHUP: take the allow-list (and only that) of a key file read again. Open connections
 * stay. Nothing happens where the mesh is plain text: that changes with a restart only. */
void zmq_bus_set_accepted(struct zmq_bus *bus, const struct keyfile *key);

#endif
