#include "nodes/vitals_server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include "gateway/listener.h"
#include "mesh/base/check.h"
#include "mesh/base/list.h"
#include "mesh/base/log.h"
#include "mesh/base/mem.h"
#include "mesh/endpoint.h"

#define BACKLOG     64
#define RETRY_MS    500   /* Out of file descriptors: look again. */
#define LINGER_MS   1000  /* For the client to take the answer and go. */
#define LINGER_SIZE 65536 /* Discarded of what it still sends. */

enum visitor_state {
    VISITOR_HEAD,
    VISITOR_WRITE,
    VISITOR_LINGER, /* Closing over unread bytes is a reset, which may overtake the answer. */
};

struct visitor {
    struct list node; /* On server->visitors, who came first is first. */
    struct vitals_server *server;
    int fd;
    enum visitor_state state;
    uv_poll_t poll;
    uv_timer_t timer;
    unsigned handles;
    size_t size; /* Of what came of the head; in LINGER of what was discarded. */
    struct buf *response;
    size_t sent;
    char head[VITALS_HEAD_SIZE_MAX];
};

struct vitals_server {
    struct vitals_site site;
    struct http_date date;
    uint32_t life_ms;
    uv_loop_t *uv;
    int listener;
    uint16_t port;
    uv_poll_t poll;
    uv_timer_t retry;
    unsigned handles;
    struct list visitors;
    uint32_t count;
};

enum rc vitals_address_parse(const char *text, struct vitals_address *ret_address)
{
    char whole[ENDPOINT_SIZE_MAX + 1];
    struct endpoint e;
    struct in_addr v4;
    const char *host = strchr(text, ':') == NULL ? "127.0.0.1:" : "";
    int size = snprintf(whole, sizeof(whole), "tcp://%s%s", host, text);
    if (size < 0 || size >= (int)sizeof(whole) ||
        endpoint_parse(slice_string(whole), &e) != RC_OK || e.port == 0 ||
        (!e.is_ipv6 && inet_pton(AF_INET, e.host, &v4) != 1))
        return RC_BAD_REQUEST;
    ret_address->port = e.port;
    memcpy(ret_address->host, e.host, strlen(e.host) + 1); /* An address is no longer than it. */
    return RC_OK;
}

/* ---- The end of a connection ---- */

static void on_visitor_closed(uv_handle_t *handle)
{
    struct visitor *visitor = handle->data;
    if (--visitor->handles == 0)
        mem_free(visitor);
}

static void leave(struct visitor *visitor)
{
    list_remove(&visitor->node);
    visitor->server->count--;
    buf_unref(&visitor->response);
    /* The handle first: closing it takes its descriptor out of epoll, whatever that is by then. */
    uv_close((uv_handle_t *)&visitor->poll, on_visitor_closed);
    uv_close((uv_handle_t *)&visitor->timer, on_visitor_closed);
    close(visitor->fd);
}

static void on_late(uv_timer_t *timer)
{
    leave(timer->data);
}

static void on_ready(uv_poll_t *poll, int status, int events);

static void await(struct visitor *visitor, int events)
{
    CHECK(uv_poll_start(&visitor->poll, events, on_ready) == 0);
}

/* ---- Answering ---- */

static void linger(struct visitor *visitor)
{
    buf_unref(&visitor->response);
    visitor->state = VISITOR_LINGER;
    visitor->size = 0;
    (void)!shutdown(visitor->fd, SHUT_WR); /* One that has gone is noticed by reading. */
    uv_timer_start(&visitor->timer, on_late, LINGER_MS, 0);
    await(visitor, UV_READABLE);
}

static void write_more(struct visitor *visitor)
{
    const struct buf *response = visitor->response;
    while (visitor->sent < response->size) {
        ssize_t size = send(visitor->fd, response->bytes + visitor->sent,
                            response->size - visitor->sent, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (size < 0 && errno == EINTR)
            continue;
        if (size < 0 && errno == EAGAIN) {
            await(visitor, UV_WRITABLE);
            return;
        }
        if (size < 0) {
            leave(visitor);
            return;
        }
        visitor->sent += (size_t)size;
    }
    linger(visitor);
}

static void judge(struct visitor *visitor)
{
    const struct vitals_site *site = &visitor->server->site;
    struct http_request http;
    size_t size;
    const char *reason = NULL;
    enum http_head head =
        http_head_read(slice_of(visitor->head, visitor->size), &http, &size, &reason);
    if (head == HTTP_HEAD_FOREIGN) {
        leave(visitor);
        return;
    }
    if (head == HTTP_HEAD_PART && visitor->size < sizeof(visitor->head))
        return;
    struct buf *response = buf_new(512);
    enum http_next next =
        head == HTTP_HEAD_WHOLE
            ? vitals_answer(site, &http, response)
            : http_put_bad_head(&site->node, response, head, reason, http.method == HTTP_HEAD);
    CHECK(next == HTTP_CLOSE);
    visitor->state = VISITOR_WRITE;
    visitor->response = response;
    write_more(visitor);
}

/* ---- What comes ---- */

/* False: nothing did; where it has ended the visitor is gone. */
static bool receive(struct visitor *visitor, char *into, size_t room)
{
    ssize_t size = recv(visitor->fd, into, room, MSG_DONTWAIT);
    if (size < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (size <= 0) {
        leave(visitor);
        return false;
    }
    visitor->size += (size_t)size;
    return true;
}

static void on_ready(uv_poll_t *poll, int status, int events)
{
    struct visitor *visitor = poll->data;
    (void)events; /* Each state awaits one. */
    if (status < 0) {
        leave(visitor);
        return;
    }
    switch (visitor->state) {
    case VISITOR_HEAD:
        if (receive(visitor, visitor->head + visitor->size, sizeof(visitor->head) - visitor->size))
            judge(visitor);
        break;
    case VISITOR_WRITE:
        write_more(visitor);
        break;
    case VISITOR_LINGER:
        if (receive(visitor, visitor->head, sizeof(visitor->head)) && visitor->size > LINGER_SIZE)
            leave(visitor);
        break;
    }
}

/* ---- Accepting ---- */

/* Takes fd. */
static void welcome(struct vitals_server *server, int fd)
{
    struct visitor *visitor = mem_new(struct visitor);
    if (uv_poll_init(server->uv, &visitor->poll, fd) != 0) { /* The kernel has no room for it. */
        close(fd);
        mem_free(visitor);
        return;
    }
    CHECK(uv_timer_init(server->uv, &visitor->timer) == 0);
    visitor->poll.data = visitor;
    visitor->timer.data = visitor;
    visitor->handles = 2;
    visitor->server = server;
    visitor->fd = fd;
    if (server->count == VITALS_CONNECTIONS_MAX)
        leave(LIST_FIRST(&server->visitors, struct visitor, node));
    list_append(&server->visitors, &visitor->node);
    server->count++;
    uv_timer_start(&visitor->timer, on_late, server->life_ms, 0);
    await(visitor, UV_READABLE);
}

static void on_acceptable(uv_poll_t *poll, int status, int events);

static void on_retry(uv_timer_t *timer)
{
    struct vitals_server *server = timer->data;
    CHECK(uv_poll_start(&server->poll, UV_READABLE, on_acceptable) == 0);
}

static void on_acceptable(uv_poll_t *poll, int status, int events)
{
    struct vitals_server *server = poll->data;
    (void)events;
    if (status < 0)
        return;
    int fd = accept4(server->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
        welcome(server, fd);
    } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
        log_warn("http_rests", "reason=\"%s\"", strerror(errno));
        uv_poll_stop(&server->poll);
        uv_timer_start(&server->retry, on_retry, RETRY_MS, 0);
    }
}

/* ---- Life ---- */

enum rc vitals_server_new(const struct vitals_server_options *options, struct uv_loop_s *uv,
                          char ret_reason[VITALS_REASON_SIZE], struct vitals_server **ret_server)
{
    const struct listener_options at = {
        .address = options->address.host, .port = options->address.port, .backlog = BACKLOG};
    int fd;
    uint16_t port;
    int error = listener_open(&at, &fd, &port);
    if (error != 0) {
        listener_describe(at.address, at.port, error, ret_reason, VITALS_REASON_SIZE);
        return RC_CONFIG;
    }
    struct vitals_server *server = mem_new(struct vitals_server);
    server->site = (struct vitals_site){
        .node = {.id = options->node,
                 .role = METRICS_ROUTER,
                 .is_once = true,
                 .env = options->env,
                 .date = &server->date},
        .read = options->read,
        .context = options->context,
    };
    server->life_ms = options->life_ms;
    server->uv = uv;
    server->listener = fd;
    server->port = port;
    list_init(&server->visitors);
    CHECK(uv_poll_init(uv, &server->poll, fd) == 0);
    CHECK(uv_timer_init(uv, &server->retry) == 0);
    server->poll.data = server;
    server->retry.data = server;
    server->handles = 2;
    CHECK(uv_poll_start(&server->poll, UV_READABLE, on_acceptable) == 0);
    *ret_server = server;
    return RC_OK;
}

static void on_server_closed(uv_handle_t *handle)
{
    struct vitals_server *server = handle->data;
    if (--server->handles == 0)
        mem_free(server);
}

void vitals_server_free(struct vitals_server **server)
{
    struct vitals_server *s = *server;
    struct visitor *visitor;
    *server = NULL;
    if (s == NULL)
        return;
    while ((visitor = LIST_FIRST(&s->visitors, struct visitor, node)) != NULL)
        leave(visitor);
    uv_close((uv_handle_t *)&s->poll, on_server_closed);
    uv_close((uv_handle_t *)&s->retry, on_server_closed);
    close(s->listener);
}

uint16_t vitals_server_port(const struct vitals_server *server)
{
    return server->port;
}
