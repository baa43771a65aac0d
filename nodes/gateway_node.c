#include "nodes/gateway_node.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gateway/edge.h"
#include "gateway/gateway.h"
#include "mesh/base/log.h"
#include "nodes/loop.h"
#include "nodes/node_start.h"
#include "nodes/notify.h"
#include "nodes/tools.h"

#define LOOK_US  500000u
#define ALONE_US 10000000u /* Longer than a router is away that starts again. */

struct gateway_node {
    const struct config *config;
    struct loop *loop;
    struct zmq_bus *bus;
    struct gateway *gateway;
    struct edge *edge; /* NULL once it is closing. */
    struct auth auth;  /* Core and edge borrow it; replaced in place at SIGHUP. */
    uint64_t incarnation;
    bool is_draining;
    uint64_t looked_us; /* When it was looked whether it has gone astray, */
    uint64_t heard_us;  /* and when a router of its cluster was there. */
    int code;           /* Exit code, once the loop has ended. */
    char address[160];  /* http://HOST:PORT, for people and for other nodes. */
};

/* ---- The turn ---- */

static void on_edge_closed(void *context)
{
    struct gateway_node *node = context;
    loop_stop(node->loop);
}

/* Cut whoever is left; the loop ends when libwebsockets is out of it. */
static void end(struct gateway_node *node, int code)
{
    if (node->edge == NULL)
        return;
    node->code = code;
    zmq_bus_leave(node->bus);
    edge_close(&node->edge, on_edge_closed, node);
}

static bool hears_router(const struct gateway_node *node)
{
    const struct msg_node *peer;
    for (size_t at = 0; (peer = zmq_bus_next_peer(node->bus, &at)) != NULL;)
        if (peer->role == NODE_ROUTER)
            return true;
    return false;
}

/* A gateway is of the cluster of the router that answered first, which may have been one that lost
 * its disk and began another: until the others looked for it (belonging.h). Nothing would lead from
 * there to the right cluster. Who hears nobody of his own any more serves nobody, so nothing is
 * lost by starting anew; and as long as anybody is there, who of the two is right is not for us to
 * say. */
static void judge_cluster(struct gateway_node *node)
{
    uint64_t now_us = env_now_us(loop_env(node->loop));
    if (node->edge == NULL || now_us - node->looked_us < LOOK_US)
        return;
    node->looked_us = now_us;
    if (zmq_bus_cluster(node->bus) == NULL || hears_router(node))
        node->heard_us = now_us;
    const char *seed = zmq_bus_foreign_seed(node->bus);
    if (seed != NULL && now_us - node->heard_us >= ALONE_US)
        end(node, tools_fail(EXIT_FAILED,
                             "no router of this gateway's cluster is heard, and %s, which --join "
                             "names, is of another: it ends, to be started again",
                             seed));
}

static void on_turn(void *context)
{
    struct gateway_node *node = context;
    gateway_turn(node->gateway);
    judge_cluster(node);
    if (node->is_draining && gateway_is_drained(node->gateway)) {
        end(node, EXIT_FINE);
    } else if (zmq_bus_state(node->bus) != RC_OK && node->edge != NULL) {
        log_error("replaced", "reason=\"a newer process runs under this node id\"");
        end(node, EXIT_FAILED);
    }
}

static uint64_t due_us(void *context)
{
    struct gateway_node *node = context;
    return gateway_due_us(node->gateway);
}

static void on_stop(void *context, bool again)
{
    struct gateway_node *node = context;
    log_info("stopping", "drain_ms=%u again=%d", node->config->drain_ms, again);
    notify_stopping();
    if (again) {
        end(node, EXIT_FINE);
        return;
    }
    node->is_draining = true;
    edge_stop_accepting(node->edge);
    gateway_drain(node->gateway, node->config->drain_ms);
}

static void on_reload(void *context)
{
    struct gateway_node *node = context;
    struct config fresh;
    struct sentence sentence;
    if (config_read_again(node->config, &fresh, &sentence) != RC_OK) {
        log_error("reload_refused", "reason=\"%s\"", sentence.text);
    } else if (fresh.auth.key_count == 0) {
        log_error("reload_refused", "reason=\"no auth/key is left\"");
    } else {
        node->auth = fresh.auth;
        node_start_reload(&fresh, node->config->id, node->bus);
    }
    config_fini(&fresh);
}

/* ---- Life ---- */

/* Where clients connect, for people who read `status`. */
static void print_address(const struct config *c, char *address, size_t size)
{
    char host[128];
    bool is_wildcard = strcmp(c->bind, "0.0.0.0") == 0 || strcmp(c->bind, "::") == 0;
    if (c->advertise != NULL)
        snprintf(host, sizeof(host), "%s", c->advertise);
    else if (!is_wildcard || gethostname(host, sizeof(host)) != 0)
        snprintf(host, sizeof(host), "%s", is_wildcard ? "127.0.0.1" : c->bind);
    host[sizeof(host) - 1] = '\0';
    snprintf(address, size, strchr(host, ':') != NULL ? "http://[%s]:%u" : "http://%s:%u", host,
             c->port);
}

static int join_mesh(struct gateway_node *node)
{
    const struct config *c = node->config;
    struct env *env = loop_env(node->loop);
    print_address(c, node->address, sizeof(node->address));
    node->incarnation = env_wall_ms(env);
    struct node_start_bus start = {
        .role = NODE_GATEWAY,
        .node = c->id,
        .incarnation = node->incarnation,
        .http = node->address,
        .key = c->key,
    };
    return node_start_bus(&start, c, env, &node->bus);
}

static void make_core(struct gateway_node *node)
{
    const struct config *c = node->config;
    struct gateway_options options;
    gateway_options_init(&options);
    options.node = c->id;
    options.address = node->address;
    options.urls = (const char *const *)c->url.items;
    options.url_count = c->url.count;
    options.incarnation = node->incarnation;
    options.ping_ms = c->ping_ms;
    options.idle_ms = c->idle_ms;
    options.connect_ms = c->connect_ms;
    options.frame_size_max = c->frame_bytes;
    options.outbox_bytes_max = c->outbox_bytes;
    options.connections_per_user_max = c->connections_per_user;
    options.connections_per_ip_max = c->connections_per_ip;
    options.reconnects_per_minute_max = c->reconnects_per_minute;
    options.connections_max = c->connections;
    options.frames_per_second_max = c->frames_per_second;
    options.bytes_per_second_max = c->bytes_per_second;
    options.request_ms = c->request_ms;
    options.gather_us = c->gather_us;
    options.fanout_members = c->fanout_members;
    options.redeliver_ms = c->redeliver_ms;
    node->gateway =
        gateway_new(&options, &node->auth, loop_env(node->loop), zmq_bus_port(node->bus));
    struct bus_handler handler = gateway_bus_handler(node->gateway);
    zmq_bus_set_handler(node->bus, &handler);
}

static int open_edge(struct gateway_node *node)
{
    const struct config *c = node->config;
    char reason[EDGE_REASON_SIZE];
    struct edge_options options;
    edge_options_init(&options);
    options.node = c->id;
    options.address = c->bind;
    options.port = (uint16_t)c->port;
    options.origins = (const char *const *)c->origin.items;
    options.origin_count = c->origin.count;
    options.connections_per_ip_max = c->connections_per_ip;
    options.accepts_per_second_max = c->accepts_per_second;
    options.frame_size_max = c->frame_bytes;
    options.is_dev = c->dev_tokens != 0;
    enum rc rc = edge_new(&options, loop_uv(node->loop), node->gateway, &node->auth,
                          loop_env(node->loop), reason, &node->edge);
    if (rc == RC_OK)
        return EXIT_FINE;
    return tools_fail(rc == RC_IN_USE || rc == RC_CONFIG ? EXIT_MISTAKE : EXIT_FAILED, "%s",
                      reason);
}

static void run(struct gateway_node *node)
{
    struct loop_node callbacks = {
        .context = node,
        .turn = on_turn,
        .due_us = due_us,
        .on_stop = on_stop,
        .on_reload = on_reload,
    };
    log_info("gateway_started", "version=%s bind=%s port=%u", CHATMESH_VERSION, node->config->bind,
             node->config->port);
    notify_ready();
    loop_run(node->loop, &callbacks, node->bus);
    log_info("gateway_stopped", "code=%d", node->code);
}

int gateway_node_run(const struct config *c)
{
    struct gateway_node node = {.config = c, .auth = c->auth};
    int code = node_start_process(c);
    if (code != EXIT_FINE)
        return code;
    if (c->join.count == 0)
        return tools_fail(EXIT_MISTAKE, "--join names a router, as tcp://HOST:7400");
    code = node_start_check(c, NULL);
    if (code != EXIT_FINE)
        return code;
    if (c->auth.key_count == 0)
        log_warn("no_auth_key", "reason=\"no token can be checked, so nobody can connect; give "
                                "--config FILE with an auth/key\"");
    node.loop = loop_new();
    code = join_mesh(&node);
    if (code == EXIT_FINE) {
        make_core(&node);
        code = open_edge(&node);
    }
    if (code == EXIT_FINE) {
        run(&node);
        code = node.code;
    }
    gateway_free(&node.gateway);
    zmq_bus_free(&node.bus);
    loop_free(&node.loop);
    return code;
}
