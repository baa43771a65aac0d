#include "nodes/router_node.h"

#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "mesh/base/crypto.h"
#include "mesh/base/log.h"
#include "nodes/folder.h"
#include "nodes/loop.h"
#include "nodes/node_start.h"
#include "nodes/router/router.h"
#include "nodes/tools.h"
#include "storage/node_row.h"
#include "storage/rocks_kv.h"

#define SPACE_BYTES_MIN 1048576u /* Less than this free: the disk is called full. */

struct router_node {
    const struct config *config;
    struct loop *loop;
    struct kv *kv;
    struct zmq_bus *bus;
    struct router *router;
    struct node_row row; /* Whose data it is. */
    int code;            /* Exit code, once the loop has ended. */
};

/* ---- The data directory ---- */

static int refuse_join(const struct config *c)
{
    return tools_fail(
        EXIT_MISTAKE,
        "%s holds no cluster and --join is given: replication is not there yet, a second "
        "router cannot join",
        c->data);
}

/* What options alone can tell, before there is a folder. */
static int check_options(const struct config *c)
{
    char current[1024];
    if (c->data == NULL)
        return tools_fail(EXIT_MISTAKE, "--data names the router's data directory");
    int size = snprintf(current, sizeof(current), "%s/CURRENT", c->data);
    if (c->join.count > 0 && (size >= (int)sizeof(current) || access(current, F_OK) != 0))
        return refuse_join(c);
    return node_start_check(c, c->listen);
}

static int begin_cluster(struct router_node *node)
{
    const struct config *c = node->config;
    struct node_row *row = &node->row;
    uint8_t epoch[NODE_ROW_EPOCH_SIZE / 2];
    if (c->join.count > 0)
        return refuse_join(c); /* A process that was killed at its start may have left files. */
    memset(row, 0, sizeof(*row));
    crypto_random(row->cluster, sizeof(row->cluster));
    crypto_random(epoch, sizeof(epoch));
    crypto_hex(epoch, sizeof(epoch), row->epoch);
    snprintf(row->node, sizeof(row->node), "%s", c->id);
    row->format = NODE_ROW_FORMAT;
    row->shards = c->shards;
    /* Not synced by itself: no later batch survives without it (storage/kv.h). */
    struct kv_batch *batch = node->kv->ops->batch_new(node->kv);
    node_row_store(row, batch);
    enum rc rc = node->kv->ops->write(node->kv, batch);
    node->kv->ops->batch_free(&batch);
    if (rc != RC_OK)
        return tools_fail(EXIT_FAILED, "%s cannot be written: %s", c->data, rc_sentence(rc));
    log_info("cluster_begun", "shards=%u data=%s", row->shards, c->data);
    return EXIT_FINE;
}

static int check_row(const struct router_node *node)
{
    const struct config *c = node->config;
    const struct node_row *row = &node->row;
    if (row->format != NODE_ROW_FORMAT)
        return tools_fail(EXIT_MISTAKE, "%s has format %u, this program writes format %u", c->data,
                          row->format, NODE_ROW_FORMAT);
    if (strcmp(row->node, c->id) != 0)
        return tools_fail(EXIT_MISTAKE, "%s belongs to node %s, not to %s", c->data, row->node,
                          c->id);
    if (c->source[CONFIG_OPTION_shards] != CONFIG_DEFAULT && c->shards != row->shards)
        return tools_fail(EXIT_MISTAKE, "--shards %u: this cluster was born with %u, for good",
                          c->shards, row->shards);
    return EXIT_FINE;
}

static int open_data(struct router_node *node)
{
    /* RocksDB's, in the order it makes them: a process killed at its very start leaves only a log.
     */
    static const char *const marks[] = {"LOG", "LOCK", "CURRENT", NULL};
    const struct config *c = node->config;
    struct sentence sentence = {""};
    if (folder_make(c->data, &sentence) != RC_OK ||
        folder_is_ours(c->data, marks, &sentence) != RC_OK)
        return tools_fail(EXIT_MISTAKE, "%s", sentence.text);
    /* RocksDB writes its log into tables when it opens; in Debian's build it aborts the process
     * where not even its diary finds room. */
    if (folder_has_room(c->data, SPACE_BYTES_MIN, ".log", &sentence) != RC_OK)
        return tools_fail(EXIT_FAILED, "%s", sentence.text);
    struct rocks_kv_options options = {.wake = loop_wake, .wake_context = node->loop};
    enum rc rc = rocks_kv_open(c->data, &options, &node->kv, sentence.text, sizeof(sentence.text));
    if (rc != RC_OK)
        return tools_fail(rc == RC_NO_SPACE || rc == RC_CORRUPT ? EXIT_FAILED : EXIT_MISTAKE, "%s",
                          sentence.text);
    rc = node_row_load(node->kv, &node->row);
    if (rc == RC_NOT_FOUND)
        return begin_cluster(node);
    if (rc != RC_OK)
        return tools_fail(EXIT_FAILED, "%s: %s", c->data, rc_sentence(rc));
    return check_row(node);
}

/* ---- The turn ---- */

static bool disk_is_full(const char *path)
{
    struct statvfs disk;
    return statvfs(path, &disk) == 0 && disk.f_bavail * disk.f_frsize < SPACE_BYTES_MIN;
}

static void end(struct router_node *node, int code)
{
    node->code = code;
    loop_stop(node->loop);
}

static void on_turn(void *context)
{
    struct router_node *node = context;
    router_turn(node->router);
    if (router_is_failed(node->router)) {
        const char *data = node->config->data;
        log_error("router_failed", "data=%s reason=%s", data,
                  disk_is_full(data) ? "the disk is full"
                                     : "the disk failed or the log is damaged; nothing more can be "
                                       "acknowledged");
        end(node, EXIT_FAILED);
    } else if (zmq_bus_state(node->bus) != RC_OK) {
        log_error("replaced", "reason=a newer process runs under this node id");
        end(node, EXIT_FAILED);
    }
}

static uint64_t due_us(void *context)
{
    struct router_node *node = context;
    return router_due_us(node->router);
}

static void on_wake(void *context)
{
    struct router_node *node = context;
    rocks_kv_poll(node->kv);
}

static void on_stop(void *context, bool again)
{
    struct router_node *node = context;
    log_info("stopping", "again=%d", again);
    zmq_bus_leave(node->bus);
    end(node, EXIT_FINE);
}

static void on_reload(void *context)
{
    struct router_node *node = context;
    struct config fresh;
    struct sentence sentence;
    if (config_read_again(node->config, &fresh, &sentence) == RC_OK)
        node_start_reload(&fresh, node->config->id, node->bus);
    else
        log_error("reload_refused", "reason=%s", sentence.text);
    config_fini(&fresh);
}

/* ---- Life ---- */

static int join_mesh(struct router_node *node)
{
    const struct config *c = node->config;
    struct env *env = loop_env(node->loop);
    struct node_start_bus start = {
        .role = NODE_ROUTER,
        .node = c->id,
        .incarnation = env_wall_ms(env),
        .cluster = node->row.cluster,
        .listen = c->listen,
        .key = c->key,
    };
    int code = node_start_bus(&start, c, env, &node->bus);
    if (code != EXIT_FINE)
        return code;
    struct router_options options = {
        .node = c->id,
        .incarnation = start.incarnation,
        .shards = node->row.shards,
        .resume_count_max = c->resume_count,
        .queue_bytes_max = c->queue_bytes,
        .truncate_count = c->truncate_count,
    };
    memcpy(options.cluster, node->row.cluster, sizeof(options.cluster));
    enum rc rc = router_new(&options, env, zmq_bus_port(node->bus), node->kv, &node->router);
    if (rc != RC_OK)
        return tools_fail(EXIT_FAILED, "the shards in %s cannot be opened: %s", c->data,
                          rc_sentence(rc));
    struct bus_handler handler = router_bus_handler(node->router);
    zmq_bus_set_handler(node->bus, &handler);
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
    log_info("router_started", "version=%s shards=%u listen=%s", CHATMESH_VERSION, node->row.shards,
             node->config->listen);
    loop_run(node->loop, &callbacks, node->bus);
    log_info("router_stopped", "code=%d", node->code);
}

int router_node_run(const struct config *c)
{
    struct router_node node = {.config = c};
    int code = node_start_process(c);
    if (code != EXIT_FINE)
        return code;
    code = check_options(c);
    if (code != EXIT_FINE)
        return code;
    node.loop = loop_new();
    code = open_data(&node);
    if (code == EXIT_FINE)
        code = join_mesh(&node);
    if (code == EXIT_FINE) {
        run(&node);
        code = node.code;
    }
    router_free(&node.router);
    zmq_bus_free(&node.bus);
    if (node.kv != NULL)
        node.kv->ops->close(&node.kv);
    loop_free(&node.loop);
    return code;
}
