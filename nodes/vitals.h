/* vitals - what a router tells over HTTP to whoever watches over it: GET /health and GET /metrics.
 *
 * /health is UP (200) while the router can do its part: it is of the cluster, hears who leads the
 * control group, and every group that it holds a replica of has a leader that it hears. Else it is
 * DOWN (503) with a reason. That is no licence to kill it: most reasons lie elsewhere, and only
 * what it holds can bring the group back. It tells whom to look at, and that the next router may be
 * stopped where one after the other is.
 *
 * Pure: a request in, the bytes of a whole response out; vitals_server.h carries them. */
#ifndef NODES_VITALS_H
#define NODES_VITALS_H

#include "gateway/http_node.h"
#include "mesh/base/rc.h"
#include "nodes/router/router.h"

struct vitals {
    const char *reason;          /* NULL: UP. */
    char waits_for[192];         /* Room for one. */
    struct router_health health; /* Zero, and `missing` empty, while there is no router yet. */
};

struct vitals_site {
    struct http_node node; /* is_once. */
    void (*read)(void *context, struct vitals *ret_vitals);
    void *context;
};

/* Append the response; always HTTP_CLOSE. */
MUST_CHECK enum http_next vitals_answer(const struct vitals_site *site,
                                        const struct http_request *request, struct buf *out);

#endif
