/* Visitors: connections that speak HTTP, until they leave or become WebSockets.
 *
 *   happy path     HEAD -> (BODY) -> (ANSWER) -> WRITE -> HEAD, or from HEAD to libwebsockets
 *   failure modes  a head that is none, a peer that is gone or too slow: edge_visitor_leave(); an
 *                  answer after which the connection cannot go on: LINGER, because closing over
 *                  unread bytes is a reset, which may overtake the answer
 *   on stop        edge_close() sends every visitor away; the API forgets their calls */
#include "gateway/edge_visitor.h"

#include <errno.h>
#include <unistd.h>

#include "mesh/base/check.h"
#include "mesh/base/mem.h"

#define VISITOR_KEEPALIVE_S 15 /* Between two requests. */
#define VISITOR_ANSWER_S    20 /* For a client to take more of an answer. */
#define VISITOR_LINGER_S    2
#define VISITOR_LINGER_SIZE 1048576u /* Discarded of what follows a refusal. */

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

void edge_visitor_leave(struct edge_visitor *visitor)
{
    struct edge *edge = visitor->edge;
    list_remove(&visitor->node);
    api_abandon(&visitor->call);
    http_api_fini(&visitor->how);
    buf_unref(&visitor->body);
    buf_unref(&visitor->response);
    edge_peer_left(edge, visitor->peer);
    edge_excess_left(edge, visitor->is_excess);
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
        edge_visitor_leave(visitor);
}

/* ---- The loop ---- */

static void on_ready(uv_poll_t *poll, int status, int events);

bool edge_visitor_has_handles(struct edge_visitor *visitor)
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

void edge_visitor_watch(struct edge_visitor *visitor, int events)
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
    edge_visitor_leave(timer->data);
}

void edge_visitor_within(struct edge_visitor *visitor, unsigned seconds)
{
    uv_timer_start(&visitor->timer, on_late, (uint64_t)seconds * 1000, 0);
}

void edge_visitor_wake_at(struct edge_visitor *visitor, size_t size)
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
    edge_visitor_within(visitor, VISITOR_KEEPALIVE_S);
    edge_visitor_watch(visitor, VISITOR_EVENTS);
}

static void linger(struct edge_visitor *visitor)
{
    edge_visitor_wake_at(visitor, 1);
    shutdown(visitor->fd, SHUT_WR);
    visitor->state = VISITOR_LINGER;
    visitor->size_left = VISITOR_LINGER_SIZE;
    edge_visitor_within(visitor, VISITOR_LINGER_S);
    edge_visitor_watch(visitor, VISITOR_EVENTS);
}

static void on_discard(struct edge_visitor *visitor)
{
    char discarded[VISITOR_READ_SIZE];
    ssize_t size = recv(visitor->fd, discarded, sizeof(discarded), MSG_DONTWAIT);
    if (size < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (size <= 0 || (size_t)size >= visitor->size_left) {
        edge_visitor_leave(visitor);
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
            edge_visitor_within(visitor, VISITOR_ANSWER_S);
            edge_visitor_watch(visitor, UV_WRITABLE);
            return;
        }
        if (size < 0) {
            edge_visitor_leave(visitor);
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

void edge_visitor_respond(struct edge_visitor *visitor, struct buf **response, bool will_close)
{
    CHECK(visitor->response == NULL);
    visitor->state = VISITOR_WRITE;
    visitor->response = *response;
    *response = NULL;
    visitor->sent = 0;
    visitor->will_close = will_close;
    write_more(visitor);
}

/* ---- What comes ---- */

static void on_ready(uv_poll_t *poll, int status, int events)
{
    struct edge_visitor *visitor = poll->data;
    if (status < 0) {
        edge_visitor_leave(visitor);
        return;
    }
    switch (visitor->state) {
    case VISITOR_HEAD:
        edge_http_look(visitor, (events & UV_DISCONNECT) != 0);
        break;
    case VISITOR_BODY:
        edge_http_on_body(visitor);
        break;
    case VISITOR_ANSWER: /* Pipelined, or gone: both can wait, and the loop is to rest. */
        edge_visitor_watch(visitor, 0);
        break;
    case VISITOR_WRITE:
        write_more(visitor);
        break;
    case VISITOR_LINGER:
        on_discard(visitor);
        break;
    }
}

void edge_visitor_new(struct edge *edge, int fd, struct edge_peer *peer, bool is_excess)
{
    struct edge_visitor *visitor = mem_new(struct edge_visitor);
    visitor->edge = edge;
    visitor->peer = peer;
    visitor->is_excess = is_excess;
    visitor->fd = fd;
    visitor->state = VISITOR_HEAD;
    list_append(&edge->visitors, &visitor->node);
    edge->waiting++;
    edge->connections++;
    edge_http_look(visitor, false);
}
