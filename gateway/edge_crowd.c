/* A crowd: more who ask for a WebSocket than are let in at the pace. When another gateway dies its
 * clients come within a second, and serving them at once would hold up those who are here already.
 *
 * They are accepted as they come and wait here, not in the kernel: its backlog holds 4,096, and
 * whose SYN it drops four times comes back after 15 s. Everything else that is asked (is the
 * gateway well?) is served at once. */
#include "gateway/edge_private.h"

#include <poll.h>
#include <unistd.h>

#include "mesh/base/check.h"
#include "mesh/base/mem.h"
#include "mesh/base/metrics.h"

#define CROWD_SIZE_MAX                                                                             \
    16384u /* Who would wait longer than a client does, better waits outside.                      \
            */
#define CROWD_TICK_MS  1
#define CROWD_BURST_US 10000u /* So much of the pace may be caught up with. */
#define CROWD_ASKS     "GET /ws"

struct edge_arrival {
    struct list node;
    int fd;
    struct edge_peer *peer; /* NULL where addresses are not counted. */
};

bool edge_crowd_is_full(const struct edge *edge)
{
    return edge->crowd.count >= CROWD_SIZE_MAX;
}

/* Whether one more may come in now: the generic cell rate algorithm (ITU-T I.371, annex A), so that
 * a tick that comes late takes nobody's turn. */
static bool take_turn(struct edge *edge)
{
    struct edge_crowd *crowd = &edge->crowd;
    uint64_t now_us = env_now_us(edge->env);
    uint32_t pace = edge->options.accepts_per_second_max;
    if (pace == 0)
        return true;
    if (crowd->next_us > now_us)
        return false;
    if (crowd->next_us + CROWD_BURST_US < now_us)
        crowd->next_us = now_us - CROWD_BURST_US;
    crowd->next_us += 1000000 / pace;
    return true;
}

static void set_count(struct edge_crowd *crowd, uint32_t count)
{
    crowd->count = count;
    metric_set(connections_crowded, count);
}

static void take_first(struct edge *edge, int *ret_fd, struct edge_peer **ret_peer)
{
    struct edge_arrival *first = LIST_FIRST(&edge->crowd.arrivals, struct edge_arrival, node);
    *ret_fd = first->fd;
    *ret_peer = first->peer;
    list_remove(&first->node);
    mem_free(first);
    set_count(&edge->crowd, edge->crowd.count - 1);
}

static bool has_left(int fd)
{
    struct pollfd end = {.fd = fd, .events = POLLRDHUP};
    return poll(&end, 1, 0) > 0;
}

static void on_tick(uv_timer_t *timer)
{
    struct edge *edge = timer->data;
    int fd;
    struct edge_peer *peer;
    while (edge->crowd.count > 0 && edge->waiting < edge->options.waiting_max && take_turn(edge)) {
        take_first(edge, &fd, &peer);
        if (!has_left(fd)) {
            edge_visitor_new(edge, fd, peer, false);
            continue;
        }
        close(fd);
        edge_peer_left(edge, peer);
    }
    if (edge->crowd.count > 0)
        uv_timer_start(timer, on_tick, CROWD_TICK_MS, 0);
    edge_accept_again(edge);
}

/* The kernel tells of a connection when its request has begun to arrive. */
bool edge_asks_for_websocket(int fd)
{
    char asked[sizeof(CROWD_ASKS) - 1];
    return recv(fd, asked, sizeof(asked), MSG_PEEK | MSG_DONTWAIT) == (ssize_t)sizeof(asked) &&
           memcmp(asked, CROWD_ASKS, sizeof(asked)) == 0;
}

void edge_crowd_add(struct edge *edge, int fd, struct edge_peer *peer)
{
    struct edge_crowd *crowd = &edge->crowd;
    if ((crowd->count == 0 && take_turn(edge)) || !edge_asks_for_websocket(fd)) {
        edge_visitor_new(edge, fd, peer, false);
        return;
    }
    struct edge_arrival *last = mem_new(struct edge_arrival);
    last->fd = fd;
    last->peer = peer;
    list_append(&crowd->arrivals, &last->node);
    set_count(crowd, crowd->count + 1);
    if (crowd->count == 1)
        uv_timer_start(&crowd->tick, on_tick, CROWD_TICK_MS, 0);
}

void edge_crowd_init(struct edge *edge)
{
    list_init(&edge->crowd.arrivals);
    edge->crowd.tick.data = edge;
    CHECK(uv_timer_init(edge->loop, &edge->crowd.tick) == 0);
}

void edge_crowd_leave(struct edge *edge)
{
    int fd;
    struct edge_peer *peer;
    while (edge->crowd.count > 0) {
        take_first(edge, &fd, &peer);
        close(fd);
        edge_peer_left(edge, peer);
    }
    uv_close((uv_handle_t *)&edge->crowd.tick, edge_on_handle_closed);
}
