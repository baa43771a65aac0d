/* beacon - a hint where seeds may be, on a LAN: CZMQ's zbeacon.
 *
 * A router shouts the port of its gossip socket over UDP; whoever hears it gets one more endpoint
 * to try. Anybody may shout, so a beacon proves nothing: the connection it leads to is admitted by
 * key like any other. The sender's address is taken from the datagram.
 *
 * zbeacon does not run where there is no interface that broadcasts (a lone loopback). */
#ifndef MESH_BEACON_H
#define MESH_BEACON_H

#include <stdint.h>

#include "mesh/base/rc.h"
#include "mesh/endpoint.h"

struct beacon;

/* Listen on UDP `port`; shout `gossip_port` once a second unless it is 0. RC_IO: there is no
 * interface to do it on. */
MUST_CHECK enum rc beacon_new(uint16_t port, uint16_t gossip_port, struct beacon **ret_beacon);
void beacon_free(struct beacon **beacon); /* Takes and nulls. NULL is fine. */

/* The next endpoint that was heard. RC_AGAIN: none. Never waits. */
MUST_CHECK enum rc beacon_next(struct beacon *beacon, char endpoint[ENDPOINT_SIZE_MAX + 1]);

#endif
