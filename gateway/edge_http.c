/* Visitors: connections that speak HTTP, until they leave or become WebSockets.
 *
 * HTTP is read here and not by libwebsockets, which decodes an address and then tidies it, so that
 * a user named `../../x` would name another thing. A head is looked at (MSG_PEEK) until it is
 * whole, and then just that is taken. What follows a request stays in the kernel until that is
 * answered, or for libwebsockets, which gets the socket: nothing is kept between two.
 *
 *   happy path     HEAD -> (BODY) -> (ANSWER) -> WRITE -> HEAD, or from HEAD to libwebsockets
 *   failure modes  a head that is none, a peer that is gone or too slow: leave(); an answer after
 *                  which the connection cannot go on: LINGER, because closing over unread bytes is
 *                  a reset, which may overtake the answer
 *   on stop        edge_close() sends every visitor away; the API forgets their calls */
#include "gateway/edge_private.h"

#include <errno.h>
#include <unistd.h>

#include "gateway/http_head.h"
#include "mesh/base/check.h"
#include "mesh/base/mem.h"
#include "mesh/base/metrics.h"

#define VISITOR_REQUEST_S   10 /* A head, and again a body, must be there within this. */
#define VISITOR_KEEPALIVE_S 15 /* Between two requests. */
#define VISITOR_ANSWER_S    20 /* For a client to take more of an answer. */
#define VISITOR_LINGER_S    2
#define VISITOR_LINGER_SIZE 1048576u /* Discarded of what follows a refusal. */
#define VISITOR_READ_SIZE   16384u
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
    int fd;                 /* -1: libwebsockets has it. */
    enum visitor_state state;
    uv_poll_t poll; /* Both are in the loop where handles > 0. */
    uv_timer_t timer;
    unsigned handles;
    int events;       /* What poll looks for. */
    size_t head_size; /* Of a head that is not whole: this much is there. */
    size_t size_left; /* Of the body, or to be discarded at the end. */
    struct buf *body;
    struct buf *response;
    size_t sent;
    bool will_close;       /* After the response. */
    struct api_call *call; /* NULL once it is answered. */
    struct http_api how;
};

/* ---- Life ---- */

static void visitor_free(struct edge_visitor *visitor)
{
    struct edge *edge = visitor->edge;
    mem_free(visitor);
    CHECK(edge->connections > 0);
    edge->connections--;
    edge_accept_again(edge); /* A file descriptor may be free. */
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct edge_visitor *visitor = handle->data;
    if (--visitor->handles == 0)
        visitor_free(visitor);
}

/* The end of it, whatever state it is in; the socket goes where it is still ours. */
static void leave(struct edge_visitor *visitor)
{
    struct edge *edge = visitor->edge;
    list_remove(&visitor->node);
    api_abandon(&visitor->call);
    http_api_fini(&visitor->how);
    buf_unref(&visitor->body);
    buf_unref(&visitor->response);
    edge_peer_left(edge, visitor->peer);
    CHECK(edge->waiting > 0);
    edge->waiting--;
    bool closes_handles = visitor->handles > 0;
    if (closes_handles) {
        /* Closing it takes its descriptor out of epoll, whatever that is by then: so before it. */
        uv_close((uv_handle_t *)&visitor->poll, on_handle_closed);
        uv_close((uv_handle_t *)&visitor->timer, on_handle_closed);
    }
    if (visitor->fd >= 0)
        close(visitor->fd);
    if (!closes_handles)
        visitor_free(visitor);
    else
        edge_accept_again(edge);
}

void edge_visitors_leave(struct edge *edge)
{
    struct edge_visitor *visitor;
    while ((visitor = LIST_FIRST(&edge->visitors, struct edge_visitor, node)) != NULL)
        leave(visitor);
}

/* ---- The loop ---- */

static void on_ready(uv_poll_t *poll, int status, int events);

/* Most WebSockets never need handles here: their request is there when they are accepted. False:
 * the kernel has no room for one more. */
static bool has_handles(struct edge_visitor *visitor)
{
    if (visitor->handles > 0)
        return true;
    uv_loop_t *loop = visitor->edge->loop;
    visitor->poll.data = visitor;
    visitor->timer.data = visitor;
    if (uv_poll_init(loop, &visitor->poll, visitor->fd) != 0)
        return false;
    CHECK(uv_timer_init(loop, &visitor->timer) == 0);
    visitor->handles = 2;
    return true;
}

static void watch(struct edge_visitor *visitor, int events)
{
    if (visitor->events == events)
        return;
    visitor->events = events;
    if (events == 0)
        uv_poll_stop(&visitor->poll);
    else
        CHECK(uv_poll_start(&visitor->poll, events, on_ready) == 0);
}

static void on_late(uv_timer_t *timer)
{
    leave(timer->data);
}

static void within(struct edge_visitor *visitor, unsigned seconds)
{
    uv_timer_start(&visitor->timer, on_late, (uint64_t)seconds * 1000, 0);
}

/* How many bytes wake us. With a part of a head in the kernel the loop would never rest. */
static void wake_at(struct edge_visitor *visitor, size_t size)
{
    int bytes = (int)size;
    if (visitor->head_size + 1 == size)
        return;
    visitor->head_size = size - 1;
    (void)!setsockopt(visitor->fd, SOL_SOCKET, SO_RCVLOWAT, &bytes, sizeof(bytes));
}

/* ---- Answering ---- */

static void read_next(struct edge_visitor *visitor)
{
    visitor->state = VISITOR_HEAD;
    within(visitor, VISITOR_KEEPALIVE_S);
    watch(visitor, VISITOR_EVENTS);
}

static void linger(struct edge_visitor *visitor)
{
    wake_at(visitor, 1);
    shutdown(visitor->fd, SHUT_WR);
    visitor->state = VISITOR_LINGER;
    visitor->size_left = VISITOR_LINGER_SIZE;
    within(visitor, VISITOR_LINGER_S);
    watch(visitor, VISITOR_EVENTS);
}

static void on_discard(struct edge_visitor *visitor)
{
    char discarded[VISITOR_READ_SIZE];
    ssize_t size = recv(visitor->fd, discarded, sizeof(discarded), MSG_DONTWAIT);
    if (size < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (size <= 0 || (size_t)size >= visitor->size_left) {
        leave(visitor);
        return;
    }
    visitor->size_left -= (size_t)size;
}

static void write_more(struct edge_visitor *visitor)
{
    struct buf *response = visitor->response;
    while (visitor->sent < response->size) {
        ssize_t size = send(visitor->fd, response->bytes + visitor->sent,
                            response->size - visitor->sent, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (size < 0 && errno == EINTR)
            continue;
        if (size < 0 && errno == EAGAIN) {
            within(visitor, VISITOR_ANSWER_S);
            watch(visitor, UV_WRITABLE);
            return;
        }
        if (size < 0) {
            leave(visitor);
            return;
        }
        visitor->sent += (size_t)size;
    }
    buf_unref(&visitor->response);
    if (visitor->will_close)
        linger(visitor);
    else
        read_next(visitor);
}

/* Takes the response. The visitor may be gone then. */
static void respond(struct edge_visitor *visitor, struct buf **response, bool will_close)
{
    CHECK(visitor->response == NULL);
    visitor->state = VISITOR_WRITE;
    visitor->response = *response;
    *response = NULL;
    visitor->sent = 0;
    visitor->will_close = will_close;
    write_more(visitor);
}

/* ---- The API: the answer comes later ---- */

static void respond_api(struct edge_visitor *visitor, const struct api_answer *answer)
{
    struct buf *response = buf_new(answer->body.size + 512);
    http_put_api(&visitor->how, answer, response);
    bool will_close = visitor->how.will_close;
    http_api_fini(&visitor->how);
    respond(visitor, &response, will_close);
}

static void on_api_answer(void *context, const struct api_answer *answer)
{
    struct edge_visitor *visitor = context;
    visitor->call = NULL;
    respond_api(visitor, answer);
}

/* The core has deadlines of its own. */
static void start_api(struct edge_visitor *visitor, struct slice body)
{
    visitor->state = VISITOR_ANSWER;
    uv_timer_stop(&visitor->timer);
    api_start(visitor->call, body, on_api_answer, visitor);
}

/* ---- Bodies ---- */

static void on_body_end(struct edge_visitor *visitor)
{
    struct edge *edge = visitor->edge;
    struct buf *body = visitor->body;
    visitor->body = NULL;
    /* Present, also where it is empty. */
    struct slice bytes = slice_of(body->bytes != NULL ? (char *)body->bytes : "", body->size);
    if (visitor->call != NULL) {
        start_api(visitor, bytes);
    } else {
        struct buf *response = buf_new(512);
        enum http_next next = http_answer_body(&edge->site, bytes, response);
        respond(visitor, &response, next == HTTP_CLOSE || visitor->will_close);
    }
    buf_unref(&body);
}

static void on_body(struct edge_visitor *visitor)
{
    while (visitor->size_left > 0) {
        size_t most =
            visitor->size_left < VISITOR_READ_SIZE ? visitor->size_left : VISITOR_READ_SIZE;
        ssize_t size = recv(visitor->fd, buf_reserve(visitor->body, most), most, MSG_DONTWAIT);
        if (size < 0 && errno == EAGAIN)
            return;
        if (size < 0 && errno == EINTR)
            continue;
        if (size <= 0) {
            leave(visitor);
            return;
        }
        visitor->body->size += (size_t)size;
        visitor->size_left -= (size_t)size;
    }
    on_body_end(visitor);
}

/* Of `size` bytes, which have been judged; perhaps none. */
static void begin_body(struct edge_visitor *visitor, uint64_t size)
{
    visitor->state = VISITOR_BODY;
    visitor->body = buf_new(256);
    visitor->size_left = (size_t)size;
    if (size > 0) {
        within(visitor, VISITOR_REQUEST_S);
        watch(visitor, VISITOR_EVENTS);
    }
    on_body(visitor);
}

/* ---- Heads ---- */

static void begin_api(struct edge_visitor *visitor, const struct http_request *http)
{
    struct edge *edge = visitor->edge;
    struct api_head head = http_api_head(&edge->site, http);
    struct api_answer answer;
    bool may_have_body = http->method == HTTP_POST || http->method == HTTP_PATCH;
    uint64_t size = http_body_size(http);
    struct buf *text = buf_new(256);
    http_api_init(&visitor->how, http);
    /* Those that wait to be upgraded have their share of the waiting, however many ask for more. */
    bool is_full = edge->waiting > edge->options.waiting_max / 2;
    visitor->how.will_close =
        is_full || http->is_last || (may_have_body && http->content_length.base == NULL);
    visitor->call = api_open(edge->gateway, &head, text, &answer);
    if (visitor->call == NULL) {
        visitor->how.will_close |= size > 0; /* It is not read. */
        respond_api(visitor, &answer);
    } else {
        begin_body(visitor, size);
    }
    buf_unref(&text);
}

static void refuse_head(struct edge_visitor *visitor, const char *reason)
{
    struct buf *response = buf_new(256);
    CHECK(http_answer_bad_head(reason, response) == HTTP_CLOSE);
    respond(visitor, &response, true);
}

/* False: the visitor has gone. The same bytes come to the same place. */
static bool take_head(struct edge_visitor *visitor, size_t size)
{
    wake_at(visitor, 1);
    if (recv(visitor->fd, visitor->edge->head, size, MSG_DONTWAIT) == (ssize_t)size)
        return true;
    leave(visitor);
    return false;
}

static void hand_over(struct edge_visitor *visitor, struct http_upgrade *upgrade)
{
    struct edge *edge = visitor->edge;
    struct edge_peer *peer = visitor->peer;
    int fd = visitor->fd;
    visitor->fd = -1;
    visitor->peer = NULL;
    leave(visitor);
    edge_conn_new(edge, fd, peer, upgrade);
}

static void on_upgrade(struct edge_visitor *visitor, const struct http_request *http, size_t size)
{
    struct http_upgrade *upgrade = mem_new(struct http_upgrade);
    struct buf *response = buf_new(256);
    if (http_upgrade(&visitor->edge->site, http, upgrade, response)) {
        buf_unref(&response);
        if (take_head(visitor, size))
            hand_over(visitor, upgrade);
        else
            mem_free(upgrade);
        return;
    }
    mem_free(upgrade);
    metric_add(connections_refused_total, 1);
    if (has_handles(visitor))
        respond(visitor, &response, true);
    else
        leave(visitor);
    buf_unref(&response);
}

/* A whole head, of `size` bytes, that asks for no upgrade; the request is slices of edge->head. */
static void on_head(struct edge_visitor *visitor, const struct http_request *http, size_t size)
{
    struct edge *edge = visitor->edge;
    if (!take_head(visitor, size))
        return;
    struct buf *response = buf_new(512);
    enum http_next next = http_answer(&edge->site, http, response);
    if (next == HTTP_API) {
        begin_api(visitor, http);
    } else if (next == HTTP_BODY) {
        visitor->will_close = http->is_last;
        begin_body(visitor, http_body_size(http));
    } else {
        /* A body that nobody asked for is not read, and would be taken for the next request. */
        bool will_close = next == HTTP_CLOSE || http->is_last || http_body_size(http) > 0;
        respond(visitor, &response, will_close);
    }
    buf_unref(&response);
}

/* More of it wakes us, and so does the end, after which there is no more. */
static void on_part(struct edge_visitor *visitor, size_t size, bool has_ended)
{
    if (has_ended) {
        leave(visitor);
        return;
    }
    if (size == EDGE_HEADERS_SIZE_MAX) {
        refuse_head(visitor, NULL);
        return;
    }
    if (visitor->head_size == 0)
        within(visitor, VISITOR_REQUEST_S);
    wake_at(visitor, size + 1);
    watch(visitor, VISITOR_EVENTS);
}

static void look(struct edge_visitor *visitor, bool has_ended)
{
    struct edge *edge = visitor->edge;
    ssize_t size = recv(visitor->fd, edge->head, EDGE_HEADERS_SIZE_MAX, MSG_PEEK | MSG_DONTWAIT);
    bool is_early = size < 0 && (errno == EAGAIN || errno == EINTR);
    if (is_early)
        size = 0;
    struct http_request http;
    size_t head_size;
    const char *reason;
    enum http_head next = HTTP_HEAD_FOREIGN; /* It has gone. */
    if (size > 0 || is_early)
        next = http_head_read(slice_of(edge->head, (size_t)size), &http, &head_size, &reason);
    if (next == HTTP_HEAD_WHOLE && http_is_upgrade(&http)) {
        on_upgrade(visitor, &http, head_size);
        return;
    }
    if (!has_handles(visitor))
        next = HTTP_HEAD_FOREIGN;
    switch (next) {
    case HTTP_HEAD_PART:
        on_part(visitor, (size_t)size, has_ended && !is_early);
        break;
    case HTTP_HEAD_WHOLE:
        on_head(visitor, &http, head_size);
        break;
    case HTTP_HEAD_BAD:
        refuse_head(visitor, reason);
        break;
    case HTTP_HEAD_FOREIGN:
        leave(visitor);
        break;
    }
}

static void on_ready(uv_poll_t *poll, int status, int events)
{
    struct edge_visitor *visitor = poll->data;
    if (status < 0) {
        leave(visitor);
        return;
    }
    switch (visitor->state) {
    case VISITOR_HEAD:
        look(visitor, (events & UV_DISCONNECT) != 0);
        break;
    case VISITOR_BODY:
        on_body(visitor);
        break;
    case VISITOR_ANSWER: /* Pipelined, or gone: both can wait, and the loop is to rest. */
        watch(visitor, 0);
        break;
    case VISITOR_WRITE:
        write_more(visitor);
        break;
    case VISITOR_LINGER:
        on_discard(visitor);
        break;
    }
}

void edge_visitor_new(struct edge *edge, int fd, struct edge_peer *peer)
{
    struct edge_visitor *visitor = mem_new(struct edge_visitor);
    visitor->edge = edge;
    visitor->peer = peer;
    visitor->fd = fd;
    visitor->state = VISITOR_HEAD;
    list_append(&edge->visitors, &visitor->node);
    edge->waiting++;
    edge->connections++;
    look(visitor, false);
}
