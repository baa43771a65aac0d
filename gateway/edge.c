#include "gateway/edge_private.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "gateway/gateway.h"
#include "mesh/base/check.h"
#include "mesh/base/log.h"
#include "mesh/base/mem.h"

#define EDGE_RX_SIZE         1024  /* A buffer of this size for ever in each connection. */
#define EDGE_TX_SIZE         65536 /* Of one send(); what is over it is copied and sent later. */
#define EDGE_SERVICE_SIZE    8192  /* libwebsockets' read buffer; one for all. */
#define EDGE_HEADER_POOL     16    /* Heads being parsed: one, because it has all of it at once. */
#define EDGE_HANDSHAKE_S     10    /* Never needed, for the same reason. */
#define EDGE_FILES_MAX       1048576
#define EDGE_FILES_AT_ONCE   131072u /* 8 bytes each, the kernel's. */
#define EDGE_LOG_LINES_MAX   10      /* A second: peers cause most of them. */
#define EDGE_LAST_ITERATIONS 4

/* ---- Life cycle ---- */

/* Most of its lines are about what a peer did: told, but not by the thousand. */
static void on_lws_log(int level, const char *line)
{
    static uint64_t second;
    static unsigned lines;
    uint64_t now_s = uv_hrtime() / 1000000000;
    if (strstr(line, "adopt_socket_readbuf: calling service") != NULL)
        return; /* Said as an error of every single adoption, which is none. */
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

/* The kernel's table of our files doubles when it is full, and the thread that needs it waits until
 * all processors have noticed, since others use it: tens of milliseconds where these are busy, four
 * times in the first second of a crowd. So it gets its size now. */
static void grow_file_table(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    rlim_t size = limit.rlim_cur < EDGE_FILES_AT_ONCE ? limit.rlim_cur : EDGE_FILES_AT_ONCE;
    int last = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, (int)size - 1);
    if (last >= 0)
        close(last);
}

/* libwebsockets keeps timers in sorted lists, so one a connection costs O(n) each: no_timers turns
 * its own pings off, the core has a wheel. No extensions: compression costs 260 kB a connection. */
static bool start_lws(struct edge *edge)
{
    limit_files();
    grow_file_table();
    lws_set_log_level(LLL_ERR | LLL_WARN, on_lws_log);
    edge->protocols[0] = (struct lws_protocols){
        .name = HTTP_WEBSOCKET_PROTOCOL,
        .callback = edge_on_lws,
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
        .max_http_header_data = EDGE_OWN_HEAD_SIZE_MAX,
        .max_http_header_pool = EDGE_HEADER_POOL,
        .timeout_secs = EDGE_HANDSHAKE_S,
        .retry_and_idle_policy = &edge->no_timers,
        .vhost_name = "gateway",
        .user = edge,
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
        .node = {.id = options->node, .role = METRICS_GATEWAY, .env = env, .date = &edge->date},
        .auth = auth,
        .is_dev = options->is_dev,
        .body_size_max = options->frame_size_max,
        .origins = options->origins,
        .origin_count = options->origin_count,
        .files = web_files,
        .file_count = web_file_count,
        .health = site_health,
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
