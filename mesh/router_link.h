/* router_link - our connection to one router: a DEALER for requests and, on a gateway, a SUB.
 *
 * Both expect the same server key. While keys are being changed there are several it may be, so a
 * link that is not admitted in time is opened again with the next (zmq_bus.c judges when). */
#ifndef MESH_ROUTER_LINK_H
#define MESH_ROUTER_LINK_H

#include "mesh/hub.h"
#include "mesh/wire/messages.h"

struct router_link {
    char request[ENDPOINT_SIZE_MAX + 1]; /* Where it leads; "" before the first open. */
    char publish[ENDPOINT_SIZE_MAX + 1];
    uint64_t incarnation;      /* Of the router it leads to. */
    uint32_t key_index;        /* Which server key is expected. */
    uint64_t tried_us;         /* When it was opened. */
    uint64_t refused_us;       /* Since when every send is refused; 0: the last was not. */
    uint64_t heard_us;         /* When something came last, or it was opened. */
    bool is_connected;         /* Was admitted once since it was opened. */
    struct hub_socket *dealer; /* NULL: closed. */
    struct hub_socket *sub;    /* NULL: closed, or not wanted. */
};

/* What both sockets of a link have in common. */
struct router_link_options {
    struct slice node;  /* Our node id: the routing id. */
    struct slice topic; /* What to subscribe to; absent: no SUB. */
    hub_on_news on_dealer_news;
    hub_on_news on_sub_news;
    void *context;
};

/* Does the link lead where the record says, to that life of the router? */
bool router_link_is_current(const struct router_link *link, const struct msg_node *node);

/* Lead to another place from the next open on. */
void router_link_set(struct router_link *link, const struct msg_node *node);

/* Close what is open and open anew. Where that fails, or would be plain text beyond loopback, the
 * link stays closed. */
void router_link_open(struct router_link *link, struct hub *hub,
                      const struct router_link_options *options, uint64_t now_us);

/* Queue a packet. RC_NOT_FOUND: not connected yet; RC_FULL: no room, or the connection is lost. */
enum rc router_link_send(struct router_link *link, struct slice packet, uint64_t now_us);

/* Is it open without being admitted, refused to send, or, where there is a SUB, not heard for too
 * long? A router publishes to each gateway it hears, several times a second. So one that is up and
 * yet silent does not hear us: another process with our id has taken our place at its ROUTER, and
 * libzmq leaves the connection that lost it open and unread, for ever. Also where it is closed. */
bool router_link_is_stuck(const struct router_link *link, uint64_t now_us);
void router_link_close(struct router_link *link);

#endif
