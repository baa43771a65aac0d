/* vitals_server - the sockets under a router's /health and /metrics, on its own loop.
 *
 * The loop's time is the groups': so it takes one connection an iteration, each for one request,
 * and holds 16 at most. Where one more comes the oldest gives its place: who asks at once is
 * answered at once, so that is one that dawdles. A head has 4 KiB, and all of it, the answer taken,
 * 10 s.
 *
 *   happy path      accept -> HEAD -> WRITE -> LINGER -> closed
 *   failure modes   what is no HTTP, a peer that has gone or is too slow: closed; out of file
 *                   descriptors: a rest of half a second
 *   on stop         closed at once, whoever is there
 *
 * Nobody is asked who he is: what is told are counts and node ids. Loop thread only. */
#ifndef NODES_VITALS_SERVER_H
#define NODES_VITALS_SERVER_H

#include <netinet/in.h>

#include "nodes/vitals.h"

#define VITALS_CONNECTIONS_MAX 16u
#define VITALS_HEAD_SIZE_MAX   4096u
#define VITALS_LIFE_MS         10000u
#define VITALS_REASON_SIZE     256u

struct vitals_address {
    char host[INET6_ADDRSTRLEN]; /* Numeric. */
    uint16_t port;
};

/* "PORT", which is one of 127.0.0.1, "ADDRESS:PORT" or "[ADDRESS]:PORT". RC_BAD_REQUEST. */
MUST_CHECK enum rc vitals_address_parse(const char *text, struct vitals_address *ret_address);

struct vitals_server_options {
    struct vitals_address address; /* Port 0: one that is free. */
    uint32_t life_ms;              /* VITALS_LIFE_MS, in tests less. */
    const char *node;              /* Node id. Borrowed, as are the clock and the context. */
    struct env *env;
    void (*read)(void *context, struct vitals *ret_vitals);
    void *context;
};

struct uv_loop_s;
struct vitals_server;

/* RC_CONFIG: it cannot listen there, ret_reason says why. */
MUST_CHECK enum rc vitals_server_new(const struct vitals_server_options *options,
                                     struct uv_loop_s *uv, char ret_reason[VITALS_REASON_SIZE],
                                     struct vitals_server **ret_server);
/* Its handles end with the loop. */
void vitals_server_free(struct vitals_server **server);

uint16_t vitals_server_port(const struct vitals_server *server);

#endif
