/* edge_private - what edge.c (life cycle), edge_accept.c (the listener), edge_crowd.c (the pace),
 * edge_visitor.c and edge_http.c (requests) and edge_conn.c (WebSockets) share. Nobody else
 * includes this. */
#ifndef GATEWAY_EDGE_PRIVATE_H
#define GATEWAY_EDGE_PRIVATE_H

#include <sys/socket.h>

#include <libwebsockets.h>

#include "gateway/edge.h"
#include "gateway/http.h"
#include "gateway/link.h"
#include "mesh/base/buf.h"
#include "mesh/base/list.h"
#include "mesh/base/map.h"

#define EDGE_EXCESS_MAX        16u   /* Who is told by a WebSocket, at a time. */
#define EDGE_HEADERS_SIZE_MAX  8192u /* The head of one request. */
#define EDGE_OWN_HEAD_SIZE_MAX 512u  /* Of one that is made for libwebsockets. */

/* An address with its connections, kept while there are any. */
struct edge_peer {
    uint8_t address[16]; /* IPv6, or IPv4 mapped into it (RFC 4291, section 2.5.5.2). */
    uint32_t connections;
};

/* A WebSocket, from the adoption of its socket to its close. Small: a gateway holds a hundred
 * thousand idle ones. */
struct edge_conn {
    struct link link; /* First: the session knows the connection by it. */
    struct edge *edge;
    struct lws *wsi;
    struct edge_peer *peer;  /* NULL where addresses are not counted. */
    struct session *session; /* NULL before the upgrade, and again once it was told of the end. */
    struct buf *input;       /* A message in pieces; NULL most of the time. */
    struct http_upgrade *upgrade; /* Who it will be for; NULL once it is theirs. */
    char *close_reason;           /* Set with close_code. */
    uint16_t close_code; /* Not 0: the session closed its link; nothing goes in or out any more. */
    bool is_close_sent;  /* And its frame has gone out. */
    bool is_excess;      /* Of an address that has too many: it is closed at once. */
    bool is_broken;      /* A write failed: the socket is dead, its end is under way. */
};

/* Who waits to be let in. */
struct edge_crowd {
    struct list arrivals; /* Who came first is first. */
    uint32_t count;
    uint64_t next_us; /* When the next one's turn is. */
    uv_timer_t tick;  /* Runs while anybody waits. */
};

struct edge {
    struct edge_options options;
    uv_loop_t *loop;
    struct gateway *gateway;
    struct env *env;
    struct http_site site;
    struct http_date date;

    struct lws_context *context;
    struct lws_vhost *vhost;
    struct lws_protocols protocols[2]; /* Ours, and the end of the list. */
    lws_retry_bo_t no_timers;
    struct edge_conn *newcomer; /* Inside an adoption, until libwebsockets has named it. */

    int listener; /* -1 once closed. */
    uint16_t port;
    uv_poll_t poll;
    uv_timer_t retry; /* Out of file descriptors, and none of ours may ever be closed. */
    bool is_resting;  /* The poll is stopped until there is room. */
    struct edge_crowd crowd;
    struct map peers;
    uint32_t connections;
    uint32_t waiting;
    uint32_t excess; /* Of both, beyond the limit of their address; at most EDGE_EXCESS_MAX. */

    struct list visitors;             /* Who speaks HTTP. */
    char head[EDGE_HEADERS_SIZE_MAX]; /* Of the request that is being looked at. */

    uv_idle_t closing; /* Counts iterations, see edge_close(). */
    unsigned iterations_left;
    unsigned handles; /* Of ours, in the loop. */
    void (*on_closed)(void *context);
    void *closed_context;
};

/* The listener. edge_listen() fills ret_reason where it fails. */
MUST_CHECK enum rc edge_listen(struct edge *edge, char ret_reason[EDGE_REASON_SIZE]);
void edge_on_handle_closed(uv_handle_t *handle);
void edge_accept_again(struct edge *edge);                      /* There is room: end a rest. */
void edge_peer_left(struct edge *edge, struct edge_peer *peer); /* One fewer of it; NULL is fine. */

/* The pace. edge_crowd_add() takes fd, and has it served, at once or in its turn. */
void edge_crowd_init(struct edge *edge);
void edge_crowd_add(struct edge *edge, int fd, struct edge_peer *peer);
bool edge_crowd_is_full(const struct edge *edge);
bool edge_asks_for_websocket(int fd);     /* By what has come of its request. */
void edge_crowd_leave(struct edge *edge); /* All of it; its handle is closed. */

/* Requests. Takes fd, and hands it to edge_conn_new() where a WebSocket is asked for. Who is excess
 * has no peer, and gets nothing but that, or a refusal. */
void edge_visitor_new(struct edge *edge, int fd, struct edge_peer *peer, bool is_excess);
void edge_excess_left(struct edge *edge, bool is_excess); /* One fewer, where it was one. */
void edge_visitors_leave(struct edge *edge);              /* All of them. */

/* A WebSocket, whose request has been judged and taken off the socket; what follows it is still
 * there. Takes fd and `upgrade`. */
void edge_conn_new(struct edge *edge, int fd, struct edge_peer *peer, bool is_excess,
                   struct http_upgrade *upgrade);
int edge_on_lws(struct lws *wsi, enum lws_callback_reasons event, void *user, void *in,
                size_t size);

#endif
