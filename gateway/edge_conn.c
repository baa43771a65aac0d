/* WebSockets: libwebsockets' connections as links, from the request to the close.
 *
 * What clients send as a request is never shown to libwebsockets: its parser hangs on a header
 * whose name is the beginning of one it knows. It is given a head of our own making, of which only
 * the key is the client's, and that has been judged. It reads that inside the adoption, so an
 * upgrade is over, and the session may even have closed again, when edge_conn_new() returns.
 *
 *   happy path     adopted -> session -> messages in, frames out -> end_session() -> destroyed
 *   failure modes  whatever libwebsockets does not like ends in WSI_DESTROY, and that is the one
 *                  place that frees; only what it never began with is freed by edge_conn_new()
 *   on stop        libwebsockets destroys its connections, each session hears of it */
#include "gateway/edge_private.h"

#include <stdio.h>

#include "gateway/edge_tcp.h"
#include "gateway/gateway.h"
#include "gateway/session.h"
#include "mesh/base/check.h"
#include "mesh/base/mem.h"
#include "mesh/base/metrics.h"

#define EDGE_CLOSE_S      5   /* A close that waits for a peer that does not read. */
#define CLOSE_PAYLOAD_MAX 125 /* RFC 6455, section 5.5: of any control frame. */

/* ---- The link ---- */

static struct edge_conn *conn_of(const struct link *link)
{
    return (struct edge_conn *)(uintptr_t)link;
}

/* Give the peer this long to end, or none at all. libwebsockets looks at its timers only after I/O
 * of its own, hence the cancel. */
static void end_within(struct edge_conn *conn, int seconds)
{
    lws_set_timeout(conn->wsi, PENDING_TIMEOUT_CLOSE_ACK, seconds);
    lws_cancel_service(conn->edge->context);
}

/* On an upgraded HTTP/1 connection LWS_WRITE_HTTP means "these bytes as they are": so one buf with
 * complete frames serves every recipient, and several frames share a send. The documented way is a
 * frame per send, four epoll_ctl each. Every write to a client goes through here. */
static void write_frames(struct edge_conn *conn, const void *bytes, size_t size)
{
    if (lws_write(conn->wsi, (unsigned char *)(uintptr_t)bytes, size, LWS_WRITE_HTTP) < 0) {
        conn->is_broken = true;
        end_within(conn, LWS_TO_KILL_ASYNC);
    }
}

static bool link_write(struct link *link, const void *bytes, size_t size)
{
    struct edge_conn *conn = conn_of(link);
    if (conn->close_code != 0 || conn->is_broken)
        return true; /* Nobody will read it. */
    if (lws_partial_buffered(conn->wsi))
        return false; /* libwebsockets asks for the writable callback by itself then. */
    write_frames(conn, bytes, size);
    return true;
}

/* The frame is our own (RFC 6455, section 5.5.1). The documented way, to return -1 from the
 * writable callback, loses it: Debian's build is one for debugging and then closes twice. */
static void send_close(struct edge_conn *conn)
{
    uint8_t frame[2 + CLOSE_PAYLOAD_MAX];
    size_t reason_size = strnlen(conn->close_reason, CLOSE_PAYLOAD_MAX - 2);
    frame[0] = 0x88;
    frame[1] = (uint8_t)(2 + reason_size);
    frame[2] = (uint8_t)(conn->close_code >> 8);
    frame[3] = (uint8_t)conn->close_code;
    memcpy(frame + 4, conn->close_reason, reason_size);
    conn->is_close_sent = true;
    write_frames(conn, frame, 4 + reason_size);
}

static void reset_at_exit(const struct edge_conn *conn, bool resets)
{
    edge_tcp_reset_at_exit(lws_get_socket_fd(conn->wsi), resets);
}

static void link_close(struct link *link, unsigned code, const char *reason)
{
    struct edge_conn *conn = conn_of(link);
    CHECK(code >= 1000 && code < 5000);
    if (conn->close_code != 0)
        return;
    conn->close_code = (uint16_t)code;
    conn->close_reason = mem_string(reason, strlen(reason));
    if (conn->is_broken)
        return;
    reset_at_exit(conn, false);
    end_within(conn, EDGE_CLOSE_S);
    if (!lws_partial_buffered(conn->wsi))
        send_close(conn);
    lws_callback_on_writable(conn->wsi); /* There the session is told, see on_writable(). */
}

static bool link_is_blocked(const struct link *link)
{
    return lws_partial_buffered(conn_of(link)->wsi) != 0;
}

/* libwebsockets does not tell when it gets rid of a part of what it buffers, and a slow client
 * takes minutes for the whole. */
static uint64_t link_arrived(const struct link *link)
{
    return edge_tcp_acked(lws_get_socket_fd(conn_of(link)->wsi));
}

static const struct link_ops link_ops = {
    .write = link_write,
    .close = link_close,
    .is_blocked = link_is_blocked,
    .arrived = link_arrived,
};

/* ---- A connection's life ---- */

/* The request that libwebsockets reads: nothing in it is the client's but the key. */
static size_t make_head(const struct http_upgrade *upgrade, char *out, size_t size)
{
    int made = snprintf(
        out, size,
        "GET /ws HTTP/1.1\r\n"
        "Host: gateway\r\n"
        "Upgrade: websocket\r\n"
        "Connection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: %.*s\r\n"
        "%s\r\n",
        (int)sizeof(upgrade->key), upgrade->key,
        upgrade->offers_protocol ? "Sec-WebSocket-Protocol: " HTTP_WEBSOCKET_PROTOCOL "\r\n" : "");
    CHECK(made > 0 && (size_t)made < size);
    return (size_t)made;
}

static void conn_free(struct edge_conn *conn)
{
    struct edge *edge = conn->edge;
    edge_peer_left(edge, conn->peer);
    edge_excess_left(edge, conn->is_excess);
    buf_unref(&conn->input);
    mem_free(conn->upgrade);
    mem_free(conn->close_reason);
    mem_free(conn);
    CHECK(edge->connections > 0);
    edge->connections--;
    edge_accept_again(edge); /* A file descriptor is free. */
}

void edge_conn_new(struct edge *edge, int fd, struct edge_peer *peer, bool is_excess,
                   struct http_upgrade *upgrade)
{
    char head[EDGE_OWN_HEAD_SIZE_MAX];
    size_t size = make_head(upgrade, head, sizeof(head));
    struct edge_conn *conn = mem_new(struct edge_conn);
    conn->link.ops = &link_ops;
    conn->edge = edge;
    conn->peer = peer;
    conn->is_excess = is_excess;
    conn->upgrade = upgrade;
    edge->connections++;
    edge->newcomer = conn;
    /* Closes fd where it fails. Its callbacks come before it returns, see on_adopted(). */
    struct lws *wsi = lws_adopt_socket_vhost_readbuf(edge->vhost, fd, head, size);
    if (edge->newcomer == NULL)
        return; /* Theirs: the end of it is told by WSI_DESTROY, which may have been. */
    CHECK(wsi == NULL);
    edge->newcomer = NULL;
    conn_free(conn);
}

/* The first that is told of a connection, from inside the adoption. */
static void on_adopted(struct edge *edge, struct lws *wsi)
{
    struct edge_conn *conn = edge->newcomer;
    CHECK(conn != NULL);
    edge->newcomer = NULL;
    conn->wsi = wsi;
    lws_set_opaque_user_data(wsi, conn);
}

/* The session hears of the end as soon as it is certain, though the socket may take longer. */
static void end_session(struct edge_conn *conn)
{
    if (conn->session == NULL)
        return;
    session_on_closed(&conn->session);
    buf_unref(&conn->input);
}

static void on_destroyed(struct edge_conn *conn)
{
    end_session(conn);
    conn_free(conn);
}

/* The head is ours, so this cannot be anything else. It is asked all the same: `Upgrade: h2c` would
 * lead into a parser with known holes, and a refusal by libwebsockets itself has a dangling
 * argument (CVE-2025-11677). */
static int on_upgrade(const struct edge_conn *conn, const char *protocol)
{
    return conn->upgrade != NULL && strcmp(protocol, "websocket") == 0 ? 0 : -1;
}

static void begin_session(struct edge_conn *conn)
{
    const struct http_upgrade *upgrade = conn->upgrade;
    struct slice device = {0};
    if (upgrade->device_size > 0)
        device = slice_of(upgrade->device, upgrade->device_size);
    reset_at_exit(conn, true);
    conn->session =
        gateway_accept(conn->edge->gateway, &conn->link,
                       upgrade->has_identity ? &upgrade->identity : NULL, device, upgrade->batch);
}

static int on_established(struct edge_conn *conn)
{
    if (conn->upgrade == NULL)
        return -1; /* A path to here that was not judged: none is known, none is wanted. */
    lws_set_wsi_user(conn->wsi, conn); /* Without one, DROP_PROTOCOL is not told. */
    if (conn->is_excess) {
        metric_add(connections_refused_total, 1);
        link_close(&conn->link, CLOSE_TOO_MANY, "too many connections of this address");
    } else {
        begin_session(conn);
    }
    mem_free(conn->upgrade);
    conn->upgrade = NULL;
    return 0;
}

static int on_writable(struct edge_conn *conn)
{
    if (conn->session == NULL || conn->is_broken || lws_partial_buffered(conn->wsi))
        return 0;
    if (conn->close_code == 0) {
        session_on_writable(conn->session);
        return 0;
    }
    if (!conn->is_close_sent)
        send_close(conn);
    end_session(conn);
    return 0;
}

/* After our close frame the peer's is the end; else libwebsockets sends one back. */
static int on_peer_close(struct edge_conn *conn)
{
    end_session(conn);
    reset_at_exit(conn, false);
    return conn->is_close_sent ? -1 : 0;
}

/* ---- What clients send ---- */

/* One message arrives in pieces of at most EDGE_RX_SIZE. Most have one piece, and that is passed on
 * where it lies; the others are put together. */
static int on_message_piece(struct edge_conn *conn, const void *bytes, size_t size)
{
    if (conn->session == NULL || conn->close_code != 0 || conn->is_broken)
        return 0;
    bool is_first = lws_is_first_fragment(conn->wsi) != 0;
    bool is_last = lws_is_final_fragment(conn->wsi) != 0;
    if (lws_frame_is_binary(conn->wsi)) {
        if (is_first)
            session_on_bad(conn->session);
        return 0; /* Never kept, so it may be as long as it likes. */
    }
    size_t have = conn->input != NULL ? conn->input->size : 0;
    size_t follows = lws_remaining_packet_payload(conn->wsi);
    size_t size_max = conn->edge->options.frame_size_max;
    /* `follows` is the peer's word, up to 2^64 - 1: no sum with it before it is judged. */
    if (follows > size_max || have + size + follows > size_max) {
        link_close(&conn->link, LWS_CLOSE_STATUS_MESSAGE_TOO_LARGE, "the message is too large");
        return 0;
    }
    if (is_first && is_last) {
        session_on_frame(conn->session, slice_of(bytes, size));
        return 0;
    }
    if (conn->input == NULL)
        conn->input = buf_new(size + follows);
    buf_append(conn->input, bytes, size);
    if (!is_last)
        return 0;
    struct buf *message = conn->input;
    conn->input = NULL;
    session_on_frame(conn->session, slice_of(message->bytes, message->size));
    buf_unref(&message);
    return 0;
}

static int on_event(struct edge_conn *conn, enum lws_callback_reasons event, void *in, size_t size)
{
    switch (event) {
    case LWS_CALLBACK_HTTP_CONFIRM_UPGRADE:
        return on_upgrade(conn, in);
    case LWS_CALLBACK_ESTABLISHED:
        return on_established(conn);
    case LWS_CALLBACK_RECEIVE:
        return on_message_piece(conn, in, size);
    case LWS_CALLBACK_RECEIVE_PONG:
        if (conn->session != NULL && conn->close_code == 0)
            session_on_pong(conn->session, slice_of(in, size));
        return 0;
    case LWS_CALLBACK_SERVER_WRITEABLE:
        return on_writable(conn);
    case LWS_CALLBACK_WS_PEER_INITIATED_CLOSE:
        return on_peer_close(conn);
    case LWS_CALLBACK_WS_SERVER_DROP_PROTOCOL: /* libwebsockets closes by itself: 1002, 1007. */
        reset_at_exit(conn, false);
        end_session(conn);
        return 0;
    case LWS_CALLBACK_CLOSED:
        end_session(conn);
        return 0;
    case LWS_CALLBACK_WSI_DESTROY:
        on_destroyed(conn);
        return 0;
    case LWS_CALLBACK_HTTP: /* Requests other than upgrades are not its to answer. */
    case LWS_CALLBACK_RAW_ADOPT:
    case LWS_CALLBACK_RAW_RX:
        return -1;
    default:
        return 0;
    }
}

int edge_on_lws(struct lws *wsi, enum lws_callback_reasons event, void *user, void *in, size_t size)
{
    (void)user;
    if (event == LWS_CALLBACK_SERVER_NEW_CLIENT_INSTANTIATED)
        on_adopted(lws_context_user(lws_get_context(wsi)), wsi);
    struct edge_conn *conn = wsi != NULL ? lws_get_opaque_user_data(wsi) : NULL;
    if (conn == NULL)
        return 0; /* The context's own events, and what comes before on_adopted(). */
    return on_event(conn, event, in, size);
}
