/* link - the fourth port: one client's connection, as its session sees it.
 *
 * A link carries whole WebSocket text frames. Outgoing frames are bufs that already bear the RFC
 * 6455 header of an unmasked server frame (frame_text() in gateway/frame.h), so one buf serves
 * every recipient, byte for byte. The real link is libwebsockets (gateway/edge.c), the simulated
 * one is tests/sim/. Loop thread only. */
#ifndef GATEWAY_LINK_H
#define GATEWAY_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mesh/base/buf.h"
#include "mesh/base/slice.h"

struct link;

struct link_ops {
    /* Write bytes that are one or more whole frames. True: taken by the kernel or the link's own
     * small remainder. False: the client's window is full, nothing was taken; session_on_writable()
     * will be called once there is room. */
    bool (*write)(struct link *link, const void *bytes, size_t size);
    /* Send a close frame with this code and reason, then end. Nothing may be written after it.
     * session_on_closed() follows later, once, never from inside this call. */
    void (*close)(struct link *link, unsigned code, const char *reason);
    /* Is anything the link took still waiting for the client to read? */
    bool (*is_blocked)(const struct link *link);
    /* Bytes that have arrived at the client's side: while it grows the client takes something. May
     * be NULL: then only what makes room here counts as a sign of that. */
    uint64_t (*arrived)(const struct link *link);
};

struct link {
    const struct link_ops *ops;
};

#endif
