/* bus - the second port: packets between nodes.
 *
 * Two channels. *Requests*: any node to any node it knows, in order, at most once; lost only when a
 * peer dies or its queue is full, which the sender's deadline notices. *Publish*: router to gateway
 * by topic, in order, and may drop: link sequence numbers show it. What exists is told by on_peer,
 * from discovery (mesh/discovery.h).
 *
 * The real one is ZeroMQ (mesh/zmq_bus.c): gateways hold one DEALER and one SUB a router; routers
 * hold one ROUTER and one PUB, and a DEALER to each other router. The simulated one is tests/sim/.
 *
 * Loop thread only. Callbacks come from bus_poll(), never from inside send or publish. */
#ifndef MESH_WIRE_BUS_H
#define MESH_WIRE_BUS_H

#include <stdbool.h>

#include "mesh/base/buf.h"
#include "mesh/base/rc.h"
#include "mesh/wire/messages.h"
#include "mesh/wire/packet.h"

struct bus_handler {
    void *context;
    /* A packet came. `from` is the node id the connection belongs to, never taken from the packet
     * alone. Slices live until the call returns. */
    void (*on_request)(void *context, struct slice from, const struct packet *packet);
    /* A published packet on this node's own topic. */
    void (*on_publish)(void *context, struct slice from, const struct packet *packet);
    /* A node came up (also: came back with a higher incarnation) or went down. */
    void (*on_peer)(void *context, const struct msg_node *node, bool up);
};

struct bus {
    /* Queue a packet for `node`. Copies or takes a reference; the caller keeps his. RC_NOT_FOUND:
     * not connected; RC_FULL: its queue is full. The packet is then dropped and counted. */
    enum rc (*send)(struct bus *bus, struct slice node, struct buf *packet);
    /* Routers: publish on the topic of gateway `node`. */
    enum rc (*publish)(struct bus *bus, struct slice node, struct buf *packet);
};

static inline MUST_CHECK enum rc bus_send(struct bus *bus, struct slice node, struct buf *packet)
{
    return bus->send(bus, node, packet);
}

static inline MUST_CHECK enum rc bus_publish(struct bus *bus, struct slice node, struct buf *packet)
{
    return bus->publish(bus, node, packet);
}

#endif
