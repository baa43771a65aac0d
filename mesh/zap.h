/* zap - who may connect: the ZeroMQ Authentication Protocol (RFC 27) for CURVE keys.
 *
 * Without a handler libzmq lets in every client that knows the server's public key. Ours answers on
 * the loop thread, as one more socket of the bus (mesh/zmq_socket.h): no actor, no thread, no
 * directory of certificates on disk, and one context a bus, which CZMQ's zauth cannot have. A
 * handshake waits for a turn of the loop, which is a millisecond beside its own round trips.
 *
 * The decision is a pure function over frames, so that it can be fuzzed. */
#ifndef MESH_ZAP_H
#define MESH_ZAP_H

#include "mesh/base/slice.h"
#include "mesh/keyfile.h"

#define ZAP_DOMAIN     "chatmesh"
#define ZAP_FRAMES_MAX 8u

struct zap_request {
    struct slice frames[ZAP_FRAMES_MAX]; /* As they came, from "version" on. */
    uint32_t frame_count; /* All that came; those past ZAP_FRAMES_MAX are not kept. */
};

/* 200: CURVE, our domain, and a key of the list. 400: anything else. */
uint32_t zap_judge(const struct keyfile *key, const struct zap_request *request);

/* Bind the handler in `zmq_context`; before any other socket is bound. Returns a REP socket, or
 * NULL where libzmq refuses. Closed by the caller. */
void *zap_open(void *zmq_context);

/* Answer one waiting request. RC_AGAIN: there is none. */
MUST_CHECK enum rc zap_answer(void *zap_socket, const struct keyfile *key);

#endif
