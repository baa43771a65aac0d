/* The listener is our own, because libwebsockets' spins at full load and floods the log when file
 * descriptors run out, and cannot count connections by address.
 *
 * A rest is the answer to "full": nothing is accepted, the kernel's backlog holds whoever comes,
 * and the first connection that closes or upgrades ends it. */
#include "gateway/edge_private.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>

#include "gateway/listener.h"
#include "mesh/base/check.h"
#include "mesh/base/log.h"
#include "mesh/base/mem.h"
#include "mesh/base/metrics.h"

#define ACCEPT_COUNT_MAX  64 /* In one iteration: the sessions want their turn as well. */
#define ACCEPT_BACKLOG    4096
#define ACCEPT_DEFER_S    10    /* The kernel keeps silent connections to itself this long. */
#define ACCEPT_RETRY_MS   500   /* Out of file descriptors: look again. */
#define ACCEPT_SNDBUF     65536 /* Inherited: a stalled client holds 0.3 MB in the kernel, not 4. */
#define ACCEPT_KEEPIDLE_S 120   /* Sessions ping more often; this is for what never upgraded. */
#define ACCEPT_UNACKED_MS 30000 /* A peer that acknowledges nothing is gone. */

/* ---- Addresses ---- */

static struct slice peer_key(const void *thing)
{
    const struct edge_peer *peer = thing;
    return slice_of(peer->address, sizeof(peer->address));
}

static void address_bytes(const struct sockaddr_storage *from, uint8_t out[16])
{
    memset(out, 0, 16);
    if (from->ss_family == AF_INET6) {
        memcpy(out, &((const struct sockaddr_in6 *)(const void *)from)->sin6_addr, 16);
        return;
    }
    out[10] = out[11] = 0xff;
    memcpy(out + 12, &((const struct sockaddr_in *)(const void *)from)->sin_addr, 4);
}

/* One more connection of this address; false where it has as many as it may. */
static bool peer_enter(struct edge *edge, const struct sockaddr_storage *from,
                       struct edge_peer **ret_peer)
{
    *ret_peer = NULL;
    if (edge->options.connections_per_ip_max == 0)
        return true;
    uint8_t address[16];
    address_bytes(from, address);
    struct edge_peer *peer = map_get(&edge->peers, slice_of(address, sizeof(address)));
    if (peer == NULL) {
        peer = mem_new(struct edge_peer);
        memcpy(peer->address, address, sizeof(address));
        map_put(&edge->peers, peer);
    }
    if (peer->connections >= edge->options.connections_per_ip_max)
        return false;
    peer->connections++;
    *ret_peer = peer;
    return true;
}

void edge_peer_left(struct edge *edge, struct edge_peer *peer)
{
    if (peer == NULL)
        return;
    CHECK(peer->connections > 0);
    if (--peer->connections == 0) {
        CHECK(map_remove(&edge->peers, peer_key(peer)) == peer);
        mem_free(peer);
    }
}

/* ---- Accepting ---- */

/* A refusal that a client can read. What it sent is read first: closing over unread bytes is a
 * reset, which may overtake the answer. */
static void refuse(struct edge *edge, int fd)
{
    static const char head[] = "HEAD ";
    char request[4096];
    ssize_t size = recv(fd, request, sizeof(request), MSG_DONTWAIT);
    bool is_head = size > (ssize_t)sizeof(head) && memcmp(request, head, sizeof(head) - 1) == 0;
    struct buf *answer = buf_new(512);
    CHECK(http_answer_crowded(&edge->site, is_head, answer) == HTTP_CLOSE);
    (void)!send(fd, answer->bytes, answer->size, MSG_DONTWAIT | MSG_NOSIGNAL);
    buf_unref(&answer);
    close(fd);
    metric_add(connections_refused_total, 1);
}

/* Browsers cannot see the status of a refused WebSocket: whoever asks for one is let in, to be told
 * by its close code. Only a few are at a time, or one address would fill the places of all who
 * wait, and none before those who wait already. */
static bool may_be_told(const struct edge *edge, int fd)
{
    return edge->excess < EDGE_EXCESS_MAX && edge->crowd.count == 0 && edge_asks_for_websocket(fd);
}

void edge_excess_left(struct edge *edge, bool is_excess)
{
    if (!is_excess)
        return;
    CHECK(edge->excess > 0);
    edge->excess--;
}

static void rest(struct edge *edge)
{
    uv_poll_stop(&edge->poll);
    edge->is_resting = true;
}

static bool is_full(const struct edge *edge)
{
    return edge->waiting >= edge->options.waiting_max || edge_crowd_is_full(edge);
}

static void on_acceptable(uv_poll_t *poll, int status, int events);

void edge_accept_again(struct edge *edge)
{
    if (!edge->is_resting || edge->listener < 0 || is_full(edge))
        return;
    edge->is_resting = false;
    uv_timer_stop(&edge->retry);
    CHECK(uv_poll_start(&edge->poll, UV_READABLE, on_acceptable) == 0);
}

static void on_retry(uv_timer_t *timer)
{
    edge_accept_again(timer->data);
}

/* False: nothing more to accept in this iteration. */
static bool accept_one(struct edge *edge)
{
    struct sockaddr_storage from;
    socklen_t from_size = sizeof(from);
    int fd =
        accept4(edge->listener, (struct sockaddr *)&from, &from_size, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            log_warn("accept_rests", "reason=\"%s\" connections=%u", strerror(errno),
                     edge->connections);
            rest(edge);
            uv_timer_start(&edge->retry, on_retry, ACCEPT_RETRY_MS, 0);
        }
        /* ECONNABORTED and the like concern one connection only; the next one may be fine. */
        return errno == ECONNABORTED || errno == EINTR || errno == EPROTO;
    }
    metric_add(connections_accepted_total, 1);
    struct edge_peer *peer;
    if (!peer_enter(edge, &from, &peer)) {
        if (may_be_told(edge, fd)) {
            edge->excess++;
            edge_visitor_new(edge, fd, NULL, true);
        } else {
            refuse(edge, fd);
        }
        return true;
    }
    edge_crowd_add(edge, fd, peer);
    return true;
}

static void on_acceptable(uv_poll_t *poll, int status, int events)
{
    (void)events;
    struct edge *edge = poll->data;
    if (status < 0)
        return;
    for (int i = 0; i < ACCEPT_COUNT_MAX; i++) {
        if (is_full(edge)) {
            rest(edge);
            return;
        }
        if (!accept_one(edge))
            return;
    }
}

/* ---- Listening ---- */

static void set_option(int fd, int level, int name, int value)
{
    /* Each only makes things better; none is worth not starting for. */
    (void)!setsockopt(fd, level, name, &value, sizeof(value));
}

/* Accepted sockets inherit all of these from the listener. */
static void tune(int fd)
{
    set_option(fd, SOL_SOCKET, SO_SNDBUF, ACCEPT_SNDBUF);
    set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, ACCEPT_KEEPIDLE_S);
    set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, ACCEPT_UNACKED_MS);
    set_option(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, ACCEPT_DEFER_S);
}

enum rc edge_listen(struct edge *edge, char ret_reason[EDGE_REASON_SIZE])
{
    map_init(&edge->peers, peer_key);
    const char *address = edge->options.address;
    struct listener_options at = {.address = address != NULL ? address : "::",
                                  .port = edge->options.port,
                                  .backlog = ACCEPT_BACKLOG,
                                  .tune = tune};
    int error = listener_open(&at, &edge->listener, &edge->port);
    if (address == NULL && (error == EAFNOSUPPORT || error == EADDRNOTAVAIL)) {
        at.address = "0.0.0.0"; /* A machine without IPv6. */
        error = listener_open(&at, &edge->listener, &edge->port);
    }
    if (error != 0) {
        listener_describe(address != NULL ? address : "any address", at.port, error, ret_reason,
                          EDGE_REASON_SIZE);
        return error == EADDRINUSE ? RC_IN_USE : RC_CONFIG;
    }
    edge->poll.data = edge;
    edge->retry.data = edge;
    edge->closing.data = edge;
    CHECK(uv_poll_init(edge->loop, &edge->poll, edge->listener) == 0);
    CHECK(uv_timer_init(edge->loop, &edge->retry) == 0);
    CHECK(uv_idle_init(edge->loop, &edge->closing) == 0);
    edge_crowd_init(edge);
    edge->handles = 4;
    edge->is_resting = true;
    edge_accept_again(edge);
    return RC_OK;
}

void edge_stop_accepting(struct edge *edge)
{
    if (edge->listener < 0)
        return;
    /* The handle first: closing it takes its descriptor out of epoll, whatever that is by then. */
    uv_close((uv_handle_t *)&edge->poll, edge_on_handle_closed);
    uv_close((uv_handle_t *)&edge->retry, edge_on_handle_closed);
    close(edge->listener);
    edge->listener = -1;
    edge_crowd_leave(edge);
}
