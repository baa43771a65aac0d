/* endpoint - where a socket listens: tcp://HOST:PORT or ipc://PATH, and nothing else.
 *
 * Endpoints come from operators and from peers, so they are taken apart here before libzmq sees
 * them: its own parser also knows inproc, pgm, source addresses and interface names, none of which
 * a peer may make us use. Loopback is judged by number: a name like 127.example.org, or even
 * localhost, may lead anywhere. Pure. */
#ifndef MESH_ENDPOINT_H
#define MESH_ENDPOINT_H

#include <stdbool.h>
#include <stdint.h>

#include "mesh/base/rc.h"
#include "mesh/base/slice.h"

#define ENDPOINT_SIZE_MAX 128u

struct endpoint {
    bool is_ipc;
    bool is_loopback; /* ipc, 127.0.0.0/8 or ::1. */
    bool is_wildcard; /* *, 0.0.0.0 or ::, which only a listener may have. */
    bool is_ipv6;
    char host[ENDPOINT_SIZE_MAX]; /* Name or address, IPv6 without brackets; ipc: the path. */
    uint16_t port;                /* 0: any free one, which only a listener may have. */
};

/* RC_BAD_REQUEST where the text is not an endpoint. */
MUST_CHECK enum rc endpoint_parse(struct slice text, struct endpoint *ret_endpoint);

/* The other way round, with a NUL; port 0 is written as *, as libzmq wants it. */
void endpoint_print(const struct endpoint *endpoint, char text[ENDPOINT_SIZE_MAX + 1]);

/* May a peer be reached there: an endpoint that is neither a wildcard nor without a port. */
bool endpoint_is_reachable(struct slice text);

/* Is it on this machine for certain? False for what cannot be parsed. */
bool endpoint_is_loopback(struct slice text);

#endif
