/* listen - a router's three listening sockets, and where others reach them.
 *
 * The operator gives one endpoint, that of gossip; the other two sit beside it. Without a key
 * nothing but loopback and ipc is bound: what travels there is every message of every user. */
#ifndef MESH_LISTEN_H
#define MESH_LISTEN_H

#include "mesh/hub.h"

struct listen_options { /* As in zmq_bus.h. */
    const char *listen;
    const char *advertise;
    uint16_t request_port;
    uint16_t publish_port;
};

struct listen_socket {
    struct hub_socket *socket;
    char endpoint[ENDPOINT_SIZE_MAX + 1]; /* For the node's record. */
};

struct listen_set {
    struct listen_socket gossip;
    struct listen_socket request;
    struct listen_socket publish;
};

/* RC_CONFIG, RC_IN_USE, RC_IO with a sentence; nothing stays open then. */
MUST_CHECK enum rc listen_open(struct hub *hub, const struct listen_options *options,
                               struct listen_set *ret_set, struct sentence *sentence);
void listen_close(struct listen_set *set); /* Those whose socket was not taken out. */

#endif
