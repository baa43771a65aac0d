#include "nodes/router_node.h"

#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>

#include "mesh/base/check.h"
#include "mesh/base/log.h"
#include "nodes/belonging.h"
#include "nodes/folder.h"
#include "nodes/loop.h"
#include "nodes/namesake.h"
#include "nodes/node_start.h"
#include "nodes/notify.h"
#include "nodes/router_data.h"
#include "nodes/tools.h"
#include "nodes/vitals_server.h"
#include "nodes/webhook.h"
#include "nodes/webhook_setup.h"
#include "storage/rocks_kv.h"

#define PROGRESS_US 5000000u /* A router that joins says so, as often as this. */

/* An empty directory and --join:  JOINING --taken in--> STORING --synced--> SERVING
 * else:                           it begins at SERVING
 * SIGTERM:                        SERVING --> HANDING_OVER --drained, or in vain--> ENDED
 * A second signal, one before SERVING, and every failure lead to ENDED at once. */
enum phase {
    PHASE_JOINING,      /* The join core asks to be taken in; there is no router. */
    PHASE_STORING,      /* Taken in: the node row is on its way to the disk. */
    PHASE_SERVING,      /* The router's core has the bus. */
    PHASE_HANDING_OVER, /* The same, and gives away what it leads. */
    PHASE_ENDED,        /* The loop ends with this iteration. */
};

struct router_node {
    const struct config *config;
    struct loop *loop;
    struct router_data data;
    struct zmq_bus *bus;
    uint64_t incarnation;
    enum phase phase;
    struct join *join;          /* JOINING and STORING. */
    struct router *router;      /* From SERVING on. */
    struct webhook *webhook;    /* Likewise; NULL where none is set. */
    struct vitals_server *http; /* NULL: off. */
    enum rc stored;             /* STORING: RC_AGAIN until the sync is reported. */
    struct belonging belonging; /* Judged from SERVING on. */
    uint64_t began_us;          /* JOINING: since when. */
    uint64_t progress_due_us;   /* JOINING: when to say so again. */
    uint64_t handover_until_us; /* HANDING_OVER. */
    uint64_t known_version;     /* Of what the core remembers, as the bus was told. */
    int code;                   /* Exit code, once the loop has ended. */
};

static uint64_t now_us(const struct router_node *node)
{
    return env_now_us(loop_env(node->loop));
}

static void end(struct router_node *node, int code)
{
    if (node->phase == PHASE_ENDED)
        return;
    node->phase = PHASE_ENDED;
    node->code = code;
    zmq_bus_leave(node->bus);
    loop_stop(node->loop);
}

/* ---- The router ---- */

static struct router_options options_of(const struct router_node *node)
{
    const struct config *c = node->config;
    struct router_options options = {
        .node = c->id,
        .incarnation = node->incarnation,
        .shards = node->data.row.shards,
        .resume_count_max = c->resume_count,
        .queue_bytes_max = c->queue_bytes,
        .in_flight_max = c->requests_in_flight,
        .messages_max = c->messages_per_second,
        .truncate_count = c->truncate_count,
        .replicas = c->replicas,
        .epoch = node->data.row.epoch,
        .zone = c->zone,
        .weight = c->weight,
        .grace_ms = (uint64_t)c->grace * 1000,
    };
    memcpy(options.cluster, node->data.row.cluster, sizeof(options.cluster));
    return options;
}

static void on_posted(void *context, uint32_t status, const char *reason)
{
    struct router_node *node = context;
    router_on_posted(node->router, status, reason);
}

static int open_webhook(struct router_node *node)
{
    char *secret;
    int code = webhook_setup_secret(node->config, &secret);
    if (code != EXIT_FINE || secret == NULL)
        return code;
    const struct webhook_options options = {
        .url = node->config->webhook,
        .secret = secret,
        .total_ms = WEBHOOK_TOTAL_MS,
        .on_posted = on_posted,
        .context = node,
    };
    node->webhook = webhook_new(&options, loop_uv(node->loop), loop_env(node->loop));
    webhook_setup_forget(&secret);
    return EXIT_FINE;
}

/* Where the others were: the bus looks there, too. */
static uint32_t look_for_known(struct router_node *node)
{
    const char *endpoints[PEERS_ROW_COUNT_MAX];
    uint32_t count = router_remembered(node->router, endpoints);
    node->known_version = router_remembered_version(node->router);
    zmq_bus_set_known(node->bus, endpoints, count);
    return count;
}

static int start_router(struct router_node *node)
{
    struct router_options options = options_of(node);
    struct push_port push;
    int code = open_webhook(node);
    if (code != EXIT_FINE)
        return code;
    if (node->webhook != NULL) {
        push = webhook_port(node->webhook);
        options.push = &push;
    }
    enum rc rc = router_new(&options, loop_env(node->loop), zmq_bus_port(node->bus), node->data.kv,
                            &node->router);
    if (rc == RC_CORRUPT)
        return router_data_fail_damaged(node->config, "the log of its shards is damaged");
    if (rc != RC_OK)
        return tools_fail(EXIT_FAILED, "the shards in %s cannot be opened: %s", node->config->data,
                          rc_sentence(rc));
    struct bus_handler handler = router_bus_handler(node->router);
    zmq_bus_set_handler(node->bus, &handler);
    join_free(&node->join);
    node->phase = PHASE_SERVING;
    node->belonging.config = node->config;
    node->belonging.bus = node->bus;
    node->belonging.router = node->router;
    log_info("router_started", "version=%s shards=%u listen=%s http=%s remembered=%u",
             CHATMESH_VERSION, options.shards, node->config->listen,
             node->http != NULL ? node->config->http : "off", look_for_known(node));
    notify_ready();
    return EXIT_FINE;
}

static bool disk_is_full(const char *path)
{
    struct statvfs disk;
    return statvfs(path, &disk) == 0 && disk.f_bavail * disk.f_frsize < FOLDER_ROOM_BYTES_MIN;
}

static void turn_router(struct router_node *node)
{
    router_turn(node->router);
    if (router_remembered_version(node->router) != node->known_version)
        look_for_known(node);
    if (router_is_failed(node->router)) {
        const char *data = node->config->data;
        log_error("router_failed", "data=%s reason=\"%s\"", data,
                  disk_is_full(data) ? "the disk is full"
                                     : "the disk failed or the log is damaged; nothing more can be "
                                       "acknowledged: where every shard has a leader without it "
                                       "(chatmesh status), start it again with an empty "
                                       "directory and --join");
        end(node, EXIT_FAILED);
    } else if (node->phase == PHASE_HANDING_OVER &&
               (router_is_drained(node->router) || now_us(node) >= node->handover_until_us)) {
        /* Nobody waits for groups that nobody else could lead. */
        uint32_t alone = router_count_alone(node->router);
        log_info("handed_over", "complete=%d alone=%u",
                 alone == 0 && router_is_drained(node->router), alone);
        end(node, EXIT_FINE);
    }
}

/* ---- Joining ---- */

static void log_joining(const struct config *c)
{
    struct buf *by = buf_new(256);
    config_list_print(&c->join, ",", by);
    log_info("joining", "by=%.*s", SLICE_ARGS(buf_slice(by)));
    buf_unref(&by);
}

static void begin_joining(struct router_node *node)
{
    const struct config *c = node->config;
    struct join_options options = {
        .node = c->id,
        .incarnation = node->incarnation,
        .zone = c->zone,
        .weight = c->weight,
    };
    node->join = join_new(&options, loop_env(node->loop), zmq_bus_port(node->bus));
    struct bus_handler handler = join_bus_handler(node->join);
    zmq_bus_set_handler(node->bus, &handler);
    node->phase = PHASE_JOINING;
    node->began_us = now_us(node);
    node->progress_due_us = node->began_us + PROGRESS_US;
    log_joining(c);
}

static void say_progress(struct router_node *node)
{
    char waits_for[128];
    uint64_t now = now_us(node);
    if (now < node->progress_due_us)
        return;
    node->progress_due_us = now + PROGRESS_US;
    join_describe(node->join, waits_for, sizeof(waits_for));
    log_info("joining", "seconds=%lu waits_for=\"%s\"",
             (unsigned long)((now - node->began_us) / 1000000), waits_for);
}

static void on_stored(void *context, enum rc rc)
{
    struct router_node *node = context;
    node->stored = rc;
}

static int store(struct router_node *node, const struct join_result *joined)
{
    struct kv *kv = node->data.kv;
    int code = router_data_take(&node->data, joined);
    if (code == EXIT_FINE)
        code = router_data_store(&node->data, NULL, NULL);
    if (code != EXIT_FINE)
        return code;
    log_info("joined", "shards=%u ms=%lu", joined->shards,
             (unsigned long)((now_us(node) - node->began_us) / 1000));
    node->phase = PHASE_STORING;
    node->stored = RC_AGAIN;
    kv->ops->sync(kv, on_stored, node);
    return EXIT_FINE;
}

static void turn_join(struct router_node *node)
{
    struct join_result joined;
    int code = EXIT_FINE;
    join_turn(node->join);
    enum rc rc = join_outcome(node->join, &joined);
    if (rc == RC_OK)
        code = store(node, &joined);
    else if (rc == RC_CONFLICT)
        code = tools_fail(EXIT_MISTAKE, "%s was removed from this cluster; join under a new --id",
                          node->config->id);
    else
        say_progress(node);
    if (code != EXIT_FINE)
        end(node, code);
}

static void turn_store(struct router_node *node)
{
    int code = EXIT_FINE;
    if (node->stored == RC_AGAIN)
        return;
    if (node->stored != RC_OK)
        code = tools_fail(EXIT_FAILED, "%s cannot be written: %s", node->config->data,
                          rc_sentence(node->stored));
    else
        code = start_router(node);
    if (code != EXIT_FINE)
        end(node, code);
}

/* ---- How it is ---- */

static void read_vitals(void *context, struct vitals *ret_vitals)
{
    const struct router_node *node = context;
    char waits_for[128];
    *ret_vitals = (struct vitals){.health = {.missing = ""}};
    if (node->router != NULL) {
        ret_vitals->health = router_health(node->router);
        ret_vitals->reason = ret_vitals->health.reason;
        return;
    }
    join_describe(node->join, waits_for, sizeof(waits_for));
    if (node->phase == PHASE_STORING)
        snprintf(waits_for, sizeof(waits_for), "its disk");
    snprintf(ret_vitals->waits_for, sizeof(ret_vitals->waits_for),
             "it is not in a cluster yet, and waits for %s", waits_for);
    ret_vitals->reason = ret_vitals->waits_for;
}

/* Before there is data: a port in use is a mistake that should leave nothing behind. */
static int open_http(struct router_node *node)
{
    const struct config *c = node->config;
    char reason[VITALS_REASON_SIZE];
    struct vitals_server_options options = {
        .life_ms = VITALS_LIFE_MS,
        .node = c->id,
        .env = loop_env(node->loop),
        .read = read_vitals,
        .context = node,
    };
    if (c->http == NULL)
        return EXIT_FINE;
    enum rc rc = vitals_address_parse(c->http, &options.address);
    CHECK(rc == RC_OK); /* Its rule (config_rule.c) has said so. */
    if (vitals_server_new(&options, loop_uv(node->loop), reason, &node->http) == RC_OK)
        return EXIT_FINE;
    return tools_fail(EXIT_MISTAKE, "%s: %s", config_where(c, CONFIG_OPTION_http), reason);
}

/* ---- The loop's callbacks ---- */

static void judge(struct router_node *node)
{
    int code = belonging_judge(&node->belonging, now_us(node));
    if (code != BELONGING_STAYS)
        end(node, code);
}

static void on_turn(void *context)
{
    struct router_node *node = context;
    if (node->phase == PHASE_JOINING)
        turn_join(node);
    else if (node->phase == PHASE_STORING)
        turn_store(node);
    else if (node->phase != PHASE_ENDED)
        turn_router(node);
    if (node->phase == PHASE_SERVING)
        judge(node);
    if (node->phase != PHASE_ENDED && zmq_bus_state(node->bus) != RC_OK) {
        log_error("replaced", "reason=\"a newer process runs under this node id\"");
        end(node, EXIT_FAILED);
    }
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t due_us(void *context)
{
    struct router_node *node = context;
    switch (node->phase) {
    case PHASE_JOINING:
        return earlier(join_due_us(node->join), node->progress_due_us);
    case PHASE_SERVING:
        return router_due_us(node->router);
    case PHASE_HANDING_OVER:
        return earlier(router_due_us(node->router), node->handover_until_us);
    case PHASE_STORING: /* The syncer wakes the loop. */
    case PHASE_ENDED:
        break;
    }
    return ENV_NEVER;
}

static void on_wake(void *context)
{
    struct router_node *node = context;
    rocks_kv_poll(node->data.kv);
}

static void on_stop(void *context, bool again)
{
    struct router_node *node = context;
    log_info("stopping", "handover_ms=%u again=%d", node->config->handover_ms, again);
    notify_stopping();
    if (node->phase != PHASE_SERVING) {
        end(node, EXIT_FINE);
        return;
    }
    node->phase = PHASE_HANDING_OVER;
    node->handover_until_us = now_us(node) + (uint64_t)node->config->handover_ms * 1000;
    router_drain(node->router);
}

static void on_reload(void *context)
{
    struct router_node *node = context;
    struct config fresh;
    struct sentence sentence;
    if (config_read_again(node->config, &fresh, &sentence) == RC_OK)
        node_start_reload(&fresh, node->config->id, node->bus);
    else
        log_error("reload_refused", "reason=\"%s\"", sentence.text);
    config_fini(&fresh);
}

/* ---- Life ---- */

/* What options alone can tell, before there is a folder. */
static int check_options(const struct config *c)
{
    if (c->data == NULL)
        return tools_fail(EXIT_MISTAKE, "--data names the router's data directory");
    int code = webhook_setup_check(c);
    return code == EXIT_FINE ? node_start_check(c, c->listen) : code;
}

/* With an empty directory it depends on --join alone whether a cluster begins here: a router that
 * was told of others and cannot reach them must not begin a second one. */
static int begin_cluster(struct router_node *node)
{
    router_data_draw(&node->data);
    struct router_options options = options_of(node);
    /* Not synced by itself: no later batch survives without it (storage/kv.h). */
    int code = router_data_store(&node->data, &options, loop_env(node->loop));
    node->belonging.is_founder = true;
    if (code == EXIT_FINE)
        log_info("cluster_begun", "shards=%u replicas=%u data=%s", options.shards, options.replicas,
                 node->config->data);
    return code;
}

static int open_bus(struct router_node *node)
{
    const struct config *c = node->config;
    struct node_start_bus start = {
        .role = NODE_ROUTER,
        .node = c->id,
        .incarnation = node->incarnation,
        .cluster = node->data.is_new ? NULL : node->data.row.cluster,
        .listen = c->listen,
        .key = c->key,
    };
    return node_start_bus(&start, c, loop_env(node->loop), &node->bus);
}

static int start(struct router_node *node)
{
    const struct config *c = node->config;
    int code = open_http(node);
    if (code == EXIT_FINE)
        code = router_data_open(&node->data, c, loop_wake, node->loop);
    if (code == EXIT_FINE && node->data.is_new && c->join.count == 0)
        code = begin_cluster(node);
    else if (code == EXIT_FINE && node->data.is_new)
        code = namesake_check(c);
    if (code == EXIT_FINE)
        code = open_bus(node);
    node->belonging.started_us = now_us(node);
    if (code != EXIT_FINE)
        return code;
    if (!node->data.is_new)
        return start_router(node);
    begin_joining(node);
    return EXIT_FINE;
}

static void run(struct router_node *node)
{
    struct loop_node callbacks = {
        .context = node,
        .turn = on_turn,
        .due_us = due_us,
        .on_wake = on_wake,
        .on_stop = on_stop,
        .on_reload = on_reload,
    };
    loop_run(node->loop, &callbacks, node->bus);
    log_info("router_stopped", "code=%d", node->code);
}

int router_node_run(const struct config *c)
{
    struct router_node node = {.config = c};
    int code = node_start_process(c);
    if (code == EXIT_FINE)
        code = check_options(c);
    if (code != EXIT_FINE)
        return code;
    node.loop = loop_new();
    node.incarnation = env_wall_ms(loop_env(node.loop));
    code = start(&node);
    if (code == EXIT_FINE) {
        run(&node);
        code = node.code;
    }
    join_free(&node.join);
    vitals_server_free(&node.http);
    webhook_free(&node.webhook);
    router_free(&node.router);
    zmq_bus_free(&node.bus);
    router_data_close(&node.data);
    loop_free(&node.loop);
    return code;
}
