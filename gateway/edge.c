#include "gateway/edge_private.h"

#include <stdio.h>
#include <strings.h>
#include <sys/resource.h>

#include "gateway/edge_tcp.h"
#include "gateway/gateway.h"
#include "mesh/base/check.h"
#include "mesh/base/log.h"
#include "mesh/base/mem.h"
#include "mesh/base/metrics.h"

#define EDGE_RX_SIZE         1024  /* A buffer of this size for ever in each connection. */
#define EDGE_TX_SIZE         65536 /* Of one send(); what is over it is copied and sent later. */
#define EDGE_SERVICE_SIZE    8192  /* libwebsockets' read buffer; one for all. */
#define EDGE_HEADER_POOL     EDGE_WAITING_MAX /* Who dawdles over a request holds up nobody else. */
#define EDGE_HANDSHAKE_S     10  /* An upgrade, whose request is there, must be over within this. */
#define EDGE_CLOSE_S         5   /* A close that waits for a peer that does not read. */
#define CLOSE_PAYLOAD_MAX    125 /* RFC 6455, section 5.5: of any control frame. */
#define EDGE_FILES_MAX       1048576
#define EDGE_LOG_LINES_MAX   10 /* A second: peers cause most of them. */
#define EDGE_LAST_ITERATIONS 4

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

static void end_waiting(struct edge_conn *conn)
{
    if (conn->upgrade == NULL)
        return;
    mem_free(conn->upgrade);
    conn->upgrade = NULL;
    CHECK(conn->edge->waiting > 0);
    conn->edge->waiting--;
    edge_accept_again(conn->edge);
}

void edge_conn_new(struct edge *edge, int fd, struct edge_peer *peer, struct http_upgrade *upgrade)
{
    struct edge_conn *conn = mem_new(struct edge_conn);
    conn->link.ops = &link_ops;
    conn->edge = edge;
    conn->peer = peer;
    conn->upgrade = upgrade;
    edge->waiting++;
    conn->wsi = lws_adopt_socket_vhost(edge->vhost, fd); /* Closes fd where it fails. */
    if (conn->wsi == NULL) {
        edge_peer_left(edge, peer);
        end_waiting(conn);
        mem_free(conn);
        return;
    }
    lws_set_opaque_user_data(conn->wsi, conn);
    edge->connections++;
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
    struct edge *edge = conn->edge;
    end_session(conn);
    end_waiting(conn);
    edge_peer_left(edge, conn->peer);
    buf_unref(&conn->input);
    mem_free(conn->close_reason);
    mem_free(conn);
    CHECK(edge->connections > 0);
    edge->connections--;
    edge_accept_again(edge); /* A file descriptor is free. */
}

/* The request has been judged, by its bytes (edge_http.c). libwebsockets calls here for `Upgrade:
 * h2c` as well, behind which is a parser with known holes, and with a dangling argument after
 * refusing an upgrade by itself (CVE-2025-11677): so the header is looked at here, too. */
static int on_upgrade(struct edge_conn *conn)
{
    char protocol[sizeof("websocket") + 1];
    bool is_websocket =
        conn->upgrade != NULL &&
        lws_hdr_total_length(conn->wsi, WSI_TOKEN_UPGRADE) == (int)strlen("websocket") &&
        lws_hdr_copy(conn->wsi, protocol, sizeof(protocol), WSI_TOKEN_UPGRADE) > 0 &&
        strcasecmp(protocol, "websocket") == 0;
    if (is_websocket)
        return 0;
    metric_add(connections_refused_total, 1);
    return -1;
}

static int on_established(struct edge_conn *conn)
{
    const struct http_upgrade *upgrade = conn->upgrade;
    if (upgrade == NULL)
        return -1; /* A path to here that was not judged: none is known, none is wanted. */
    lws_set_wsi_user(conn->wsi, conn); /* Without one, DROP_PROTOCOL is not told. */
    struct slice device = {0};
    if (upgrade->device_size > 0)
        device = slice_of(upgrade->device, upgrade->device_size);
    conn->session =
        gateway_accept(conn->edge->gateway, &conn->link,
                       upgrade->has_identity ? &upgrade->identity : NULL, device, upgrade->batch);
    end_waiting(conn);
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
        return on_upgrade(conn);
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

static int on_lws(struct lws *wsi, enum lws_callback_reasons event, void *user, void *in,
                  size_t size)
{
    (void)user;
    struct edge_conn *conn = wsi != NULL ? lws_get_opaque_user_data(wsi) : NULL;
    if (conn == NULL)
        return 0; /* The context's own events, and those from inside the adoption. */
    return on_event(conn, event, in, size);
}

/* ---- Life cycle ---- */

/* Most of its lines are about what a peer did: told, but not by the thousand. */
static void on_lws_log(int level, const char *line)
{
    static uint64_t second;
    static unsigned lines;
    uint64_t now_s = uv_hrtime() / 1000000000;
    if (now_s != second) {
        second = now_s;
        lines = 0;
    }
    if (++lines > EDGE_LOG_LINES_MAX)
        return;
    log_line(level == LLL_ERR ? LOG_WARN : LOG_DEBUG, "libwebsockets", "line=\"%.*s\"",
             (int)strcspn(line, "\n"), line);
}

void edge_options_init(struct edge_options *options)
{
    *options = (struct edge_options){
        .node = "",
        .port = 8080,
        .connections_per_ip_max = LIMIT_CONNECTIONS_PER_IP,
        .waiting_max = EDGE_WAITING_MAX,
        .accepts_per_second_max = LIMIT_ACCEPTS_PER_SECOND,
        .frame_size_max = LIMIT_FRAME_SIZE_MAX,
    };
}

static struct gateway_health site_health(void *context)
{
    struct edge *edge = context;
    return gateway_health(edge->gateway);
}

static uint64_t site_wall_ms(void *context)
{
    struct edge *edge = context;
    return env_wall_ms(edge->env);
}

/* Above ten million, as "infinity" is in containers, libwebsockets takes the limit for a mistake
 * and serves 2560 sockets. A million of them is more than one loop can feed. */
static void limit_files(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur <= EDGE_FILES_MAX)
        return;
    limit.rlim_cur = EDGE_FILES_MAX;
    (void)!setrlimit(RLIMIT_NOFILE, &limit);
}

/* libwebsockets keeps timers in sorted lists, so one a connection costs O(n) each: no_timers turns
 * its own pings off, the core has a wheel. No extensions: compression costs 260 kB a connection. */
static bool start_lws(struct edge *edge)
{
    limit_files();
    lws_set_log_level(LLL_ERR | LLL_WARN, on_lws_log);
    edge->protocols[0] = (struct lws_protocols){
        .name = "chatmesh",
        .callback = on_lws,
        .rx_buffer_size = EDGE_RX_SIZE,
        .tx_packet_size = EDGE_TX_SIZE,
    };
    void *loops[1] = {edge->loop};
    struct lws_context_creation_info info = {
        .port = CONTEXT_PORT_NO_LISTEN_SERVER,
        .protocols = edge->protocols,
        .foreign_loops = loops,
        .options = LWS_SERVER_OPTION_LIBUV | LWS_SERVER_OPTION_VALIDATE_UTF8 |
                   LWS_SERVER_OPTION_EXPLICIT_VHOSTS | LWS_SERVER_OPTION_SKIP_SERVER_CANONICAL_NAME,
        .alpn = "http/1.1",
        .gid = -1,
        .uid = -1,
        .pt_serv_buf_size = EDGE_SERVICE_SIZE,
        .max_http_header_data = EDGE_HEADERS_SIZE_MAX,
        .max_http_header_pool = EDGE_HEADER_POOL,
        .timeout_secs = EDGE_HANDSHAKE_S,
        .retry_and_idle_policy = &edge->no_timers,
        .vhost_name = "gateway",
    };
    edge->context = lws_create_context(&info);
    if (edge->context != NULL)
        edge->vhost = lws_create_vhost(edge->context, &info);
    return edge->vhost != NULL;
}

static void edge_free(struct edge *edge)
{
    map_fini(&edge->peers);
    mem_free(edge);
}

enum rc edge_new(const struct edge_options *options, uv_loop_t *loop, struct gateway *gateway,
                 const struct auth *auth, struct env *env, char ret_reason[EDGE_REASON_SIZE],
                 struct edge **ret_edge)
{
    CHECK(options->waiting_max > 0 && options->frame_size_max > 0);
    struct edge *edge = mem_new(struct edge);
    edge->options = *options;
    edge->loop = loop;
    edge->gateway = gateway;
    edge->env = env;
    edge->listener = -1;
    list_init(&edge->visitors);
    edge->site = (struct http_site){
        .node = options->node,
        .auth = auth,
        .is_dev = options->is_dev,
        .body_size_max = options->frame_size_max,
        .origins = options->origins,
        .origin_count = options->origin_count,
        .files = web_files,
        .file_count = web_file_count,
        .health = site_health,
        .wall_ms = site_wall_ms,
        .context = edge,
    };
    enum rc rc = edge_listen(edge, ret_reason);
    if (rc != RC_OK) {
        edge_free(edge);
        return rc;
    }
    if (!start_lws(edge)) {
        snprintf(
            ret_reason, EDGE_REASON_SIZE,
            "libwebsockets does not start: is its libuv plugin (libwebsockets-evlib-uv) there?");
        edge_close(&edge, NULL, NULL); /* Its handles are in the loop already. */
        return RC_INTERNAL;
    }
    *ret_edge = edge;
    return RC_OK;
}

uint16_t edge_port(const struct edge *edge)
{
    return edge->port;
}

void edge_on_handle_closed(uv_handle_t *handle)
{
    struct edge *edge = handle->data;
    if (--edge->handles > 0)
        return;
    void (*on_closed)(void *) = edge->on_closed;
    void *context = edge->closed_context;
    edge_free(edge);
    if (on_closed != NULL)
        on_closed(context);
}

/* libwebsockets closes its connections' handles first and its two own ones when the last of those
 * has gone, an iteration later; of neither end does it tell. So: until no connection is left, and
 * then as many iterations as its own handles need. */
static void on_closing(uv_idle_t *idle)
{
    struct edge *edge = idle->data;
    if (edge->connections > 0 || --edge->iterations_left > 0)
        return;
    if (edge->context != NULL)
        lws_context_destroy(edge->context); /* The second call frees. */
    uv_close((uv_handle_t *)&edge->closing, edge_on_handle_closed);
}

void edge_close(struct edge **edge, void (*on_closed)(void *context), void *context)
{
    struct edge *taken = *edge;
    *edge = NULL;
    if (taken == NULL)
        return;
    taken->on_closed = on_closed;
    taken->closed_context = context;
    edge_stop_accepting(taken);
    edge_visitors_leave(taken);
    if (taken->context != NULL)
        lws_context_destroy(taken->context);
    taken->iterations_left = EDGE_LAST_ITERATIONS;
    CHECK(uv_idle_start(&taken->closing, on_closing) == 0);
}
