/* edge_private - what edge.c (WebSocket, life cycle), edge_accept.c (the listener) and edge_http.c
 * (requests) share. Nobody else includes this. */
#ifndef GATEWAY_EDGE_PRIVATE_H
#define GATEWAY_EDGE_PRIVATE_H

#include <sys/socket.h>

#include <libwebsockets.h>

#include "gateway/edge.h"
#include "gateway/http.h"
#include "gateway/link.h"
#include "mesh/base/buf.h"
#include "mesh/base/map.h"

/* All headers of one request; libwebsockets closes on whoever sends more. */
#define EDGE_HEADERS_SIZE_MAX 8192u

/* An address with its connections, kept while there are any. */
struct edge_peer {
    uint8_t address[16]; /* IPv6, or IPv4 mapped into it (RFC 4291, section 2.5.5.2). */
    uint32_t connections;
};

/* A request to the API, from its head to its answer. */
struct edge_request {
    struct api_call *call; /* NULL once it is answered. */
    struct http_api how;
    struct buf *response; /* NULL before. */
};

/* One TCP connection from accept to close. Small: a gateway holds a hundred thousand idle ones. */
struct edge_conn {
    struct link link; /* First: the session knows the connection by it. */
    struct edge *edge;
    struct lws *wsi;
    struct edge_peer *peer;  /* NULL where addresses are not counted. */
    struct session *session; /* NULL before the upgrade, and again once it was told of the end. */
    struct buf *input;       /* A message in pieces, or a request's body; NULL most of the time. */
    struct edge_request *request; /* Likewise. */
    char *close_reason;           /* Set with close_code. */
    uint16_t close_code; /* Not 0: the session closed its link; nothing goes in or out any more. */
    bool is_close_sent;  /* And its frame has gone out. */
    bool is_waiting;     /* Not upgraded; counted in edge->waiting. */
    bool is_broken;      /* A write failed: the socket is dead, its end is under way. */
};

struct edge {
    struct edge_options options;
    uv_loop_t *loop;
    struct gateway *gateway;
    struct env *env;
    struct http_site site;

    struct lws_context *context;
    struct lws_vhost *vhost;
    struct lws_protocols protocols[2]; /* Ours, and the end of the list. */
    lws_retry_bo_t no_timers;

    int listener; /* -1 once closed. */
    uint16_t port;
    uv_poll_t poll;
    uv_timer_t retry;  /* Out of file descriptors, and none of ours may ever be closed; the pace. */
    bool is_pacing;    /* Resting until the slice of time is over. */
    uint64_t slice_ms; /* When it began. */
    uint32_t slice_count;
    bool is_resting; /* The poll is stopped until there is room. */
    struct map peers;
    uint32_t connections;
    uint32_t waiting;

    /* The request being judged. libwebsockets goes from CONFIRM_UPGRADE to ESTABLISHED without
     * coming back to the loop, so one place is enough for all connections. */
    struct http_upgrade upgrade;
    const struct lws *upgrading;
    char headers[2 * EDGE_HEADERS_SIZE_MAX];
    struct buf *query;
    struct buf *response;

    uv_idle_t closing; /* Counts iterations, see edge_close(). */
    unsigned iterations_left;
    unsigned handles; /* Of ours, in the loop. */
    void (*on_closed)(void *context);
    void *closed_context;
};

/* The listener. edge_listen() fills ret_reason where it fails. */
MUST_CHECK enum rc edge_listen(struct edge *edge, char ret_reason[EDGE_REASON_SIZE]);
void edge_on_handle_closed(uv_handle_t *handle);
void edge_accept_again(struct edge *edge);   /* There is room: end a rest. */
void edge_peer_left(struct edge_conn *conn); /* The connection no longer counts for its address. */
void edge_conn_new(struct edge *edge, int fd, struct edge_peer *peer); /* Takes fd. */

/* Requests: each returns what libwebsockets' callback is to return. */
int edge_on_request(struct edge_conn *conn);
int edge_on_body(struct edge_conn *conn, const void *bytes, size_t size);
int edge_on_body_end(struct edge_conn *conn);
int edge_on_answer(struct edge_conn *conn);     /* The socket has room for what the API answered. */
void edge_request_free(struct edge_conn *conn); /* Where there is one: nobody waits any more. */
int edge_on_upgrade(struct edge_conn *conn);

#endif
