/* edge_visitor - a connection that speaks HTTP, for edge_visitor.c (its life, what it is sent) and
 * edge_http.c (what it sends). Nobody else includes this. */
#ifndef GATEWAY_EDGE_VISITOR_H
#define GATEWAY_EDGE_VISITOR_H

#include "gateway/edge_private.h"
#include "gateway/http_chunked.h"

#define VISITOR_REQUEST_S 10 /* A head, and again a body, must be there within this. */
#define VISITOR_READ_SIZE 16384u
/* In every state: a change costs epoll_ctl. */
#define VISITOR_EVENTS (UV_READABLE | UV_DISCONNECT)

enum visitor_state {
    VISITOR_HEAD,
    VISITOR_BODY,
    VISITOR_ANSWER, /* The API's is awaited. */
    VISITOR_WRITE,
    VISITOR_LINGER,
};

struct edge_visitor {
    struct list node; /* On edge->visitors. */
    struct edge *edge;
    struct edge_peer *peer; /* NULL where addresses are not counted. */
    bool is_excess;         /* Of an address that has too many connections. */
    int fd;                 /* -1: libwebsockets has it. */
    enum visitor_state state;
    uv_poll_t poll; /* Both are in the loop where handles > 0. */
    uv_timer_t timer;
    unsigned handles;
    int events;       /* What poll looks for. */
    size_t head_size; /* Of a head that is not whole: this much is there. */
    size_t size_left; /* Of the body, or to be discarded at the end. */
    struct buf *body;
    bool is_chunked; /* It comes in chunks. */
    struct http_chunked chunked;
    struct buf *response;
    size_t sent;
    bool will_close;       /* After the response. */
    struct api_call *call; /* NULL once it is answered. */
    struct http_api how;
};

/* The end of it, whatever state it is in; the socket goes where it is still ours. */
void edge_visitor_leave(struct edge_visitor *visitor);

/* Most WebSockets never need handles: their request is there when they are accepted. All below
 * needs them. False: the kernel has no room for one more. */
bool edge_visitor_has_handles(struct edge_visitor *visitor);
void edge_visitor_watch(struct edge_visitor *visitor, int events);
void edge_visitor_within(struct edge_visitor *visitor, unsigned seconds);

/* How many bytes wake us. With a part of a head in the kernel the loop would never rest. */
void edge_visitor_wake_at(struct edge_visitor *visitor, size_t size);

/* Takes the response. The visitor may be gone then. */
void edge_visitor_respond(struct edge_visitor *visitor, struct buf **response, bool will_close);

/* What edge_visitor.c calls when there is something to read. The visitor may be gone then. */
void edge_http_look(struct edge_visitor *visitor, bool has_ended);
void edge_http_on_body(struct edge_visitor *visitor);

#endif
