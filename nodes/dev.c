/* chatmesh dev.
 *
 *   happy path      prepare the folder, start routers and gateways; when every router has said
 *                   that it serves, every gateway's /health is 200 and every shard has all its
 *                   voters, print "ready", wait for signals
 *   failure modes   a child that ends is told, with the reason its log gives; before ready that
 *                   ends it all, later, with --respawn, it is started again, at most once a second;
 *                   what is not in its place after 30 s is told, and "ready" printed all the same
 *   on stop         SIGTERM to the gateways, then to the routers, SIGKILL to what is left. Routers
 *                   are told twice, which is at once: nobody is left to hand anything over to */
#include "nodes/dev.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "mesh/base/crypto.h"
#include "nodes/dev_child.h"
#include "nodes/dev_files.h"
#include "nodes/dev_notify.h"
#include "nodes/dev_placed.h"
#include "nodes/dev_reason.h"
#include "nodes/tools.h"
#include "nodes/webhook_setup.h"

#define NODES_MAX     198u
#define TICK_MS       100u
#define RESPAWN_MS    1000u
#define STOP_GRACE_MS 3000u
#define LOOK_MS       250u
#define PLACED_MS_MAX 30000u
#define REASON_SIZE   1024u

struct dev_node {
    char name[16];
    uint32_t router;   /* Number of a router, from 1; 0: a gateway. */
    uint32_t port;     /* Of a gateway. */
    pid_t pid;         /* 0: it does not run. */
    uint64_t begun_ms; /* When it was last started. */
    long log_size;     /* Of what earlier processes wrote to its log. */
    bool is_up;        /* A router has said that it serves, a gateway's /health 200. */
};

struct dev {
    const struct config *config;
    struct dev_files_path folder;
    struct dev_child_setup setup;
    struct dev_notify notify;
    struct dev_node nodes[NODES_MAX];
    uint32_t node_count;
    sigset_t signals;
    bool is_ready;
    uint64_t up_ms;   /* When all nodes were up for the first time; 0: not yet. */
    uint64_t look_ms; /* When it was last looked whether the shards are placed. */
};

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* ---- Children ---- */

static struct dev_files_path log_of(const struct dev *dev, const struct dev_node *node)
{
    return dev_files_join(&dev->folder, node->name, "log");
}

static void start_node(struct dev *dev, struct dev_node *node)
{
    struct dev_files_path log = log_of(dev, node);
    struct stat status;
    node->log_size = stat(log.text, &status) == 0 ? (long)status.st_size : 0;
    node->pid = dev_child_start(&dev->setup, node->name, node->router, node->port);
    node->begun_ms = now_ms();
    node->is_up = false;
    if (node->pid > 0)
        dev_files_write_pid(&dev->folder, node->name, node->pid);
    else
        fprintf(stderr, "chatmesh: %s could not be started: %s\n", node->name, strerror(errno));
}

static void add_router(struct dev *dev, uint32_t number)
{
    struct dev_node *node = &dev->nodes[dev->node_count++];
    snprintf(node->name, sizeof(node->name), "r%u", number);
    node->router = number;
    start_node(dev, node);
}

static void add_gateway(struct dev *dev, uint32_t number)
{
    struct dev_node *node = &dev->nodes[dev->node_count++];
    snprintf(node->name, sizeof(node->name), "g%u", number);
    node->port = dev->config->port + number - 1;
    start_node(dev, node);
}

/* After SIGKILL the log is silent: that came from without, whatever was complained of before. */
static void say_ended(const struct dev *dev, const struct dev_node *node, int status)
{
    struct dev_files_path log = log_of(dev, node);
    char reason[REASON_SIZE] = "";
    bool is_killed = WIFSIGNALED(status);
    int number = is_killed ? WTERMSIG(status) : WEXITSTATUS(status);
    bool has_reason = number != (is_killed ? SIGKILL : EXIT_FINE) &&
                      dev_reason_read(log.text, node->log_size, reason, sizeof(reason));
    fprintf(stderr, "chatmesh: %s %s %d%s%s; its log is %s\n", node->name,
            is_killed ? "was killed by signal" : "ended with code", number, has_reason ? ": " : "",
            reason, log.text);
}

/* Take note of children that ended. Returns how many did. */
static uint32_t reap(struct dev *dev, bool is_stopping)
{
    uint32_t count = 0;
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        for (uint32_t i = 0; i < dev->node_count; i++) {
            struct dev_node *node = &dev->nodes[i];
            if (node->pid != pid)
                continue;
            node->pid = 0;
            dev_files_remove_pid(&dev->folder, node->name);
            if (!is_stopping)
                say_ended(dev, node, status);
            count++;
        }
    }
    return count;
}

static uint32_t count_running(const struct dev *dev)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < dev->node_count; i++)
        count += dev->nodes[i].pid > 0;
    return count;
}

static void respawn(struct dev *dev)
{
    for (uint32_t i = 0; i < dev->node_count; i++) {
        struct dev_node *node = &dev->nodes[i];
        if (node->pid <= 0 && now_ms() - node->begun_ms >= RESPAWN_MS) {
            fprintf(stderr, "chatmesh: starting %s again\n", node->name);
            start_node(dev, node);
        }
    }
}

/* ---- Stop ---- */

/* A signal to all routers, or all gateways, that run. */
static void signal_all(struct dev *dev, bool routers, int number)
{
    for (uint32_t i = 0; i < dev->node_count; i++)
        if (dev->nodes[i].pid > 0 && (dev->nodes[i].router != 0) == routers)
            kill(dev->nodes[i].pid, number);
}

static bool any_runs(const struct dev *dev, bool routers)
{
    for (uint32_t i = 0; i < dev->node_count; i++)
        if (dev->nodes[i].pid > 0 && (dev->nodes[i].router != 0) == routers)
            return true;
    return false;
}

/* SIGTERM, time to act on it, then SIGKILL. A signal meanwhile means: at once. Routers are told
 * again at every tick. */
static void stop_all(struct dev *dev, bool routers, uint64_t grace_ms)
{
    uint64_t deadline_ms = now_ms() + grace_ms;
    struct timespec tick = {.tv_nsec = TICK_MS * 1000000L};
    signal_all(dev, routers, SIGTERM);
    for (;;) {
        reap(dev, true);
        if (!any_runs(dev, routers))
            return;
        int number = sigtimedwait(&dev->signals, NULL, &tick);
        if (number == SIGTERM || number == SIGINT)
            deadline_ms = 0;
        if (now_ms() >= deadline_ms)
            signal_all(dev, routers, SIGKILL);
        else if (routers)
            signal_all(dev, routers, SIGTERM);
    }
}

static void stop(struct dev *dev)
{
    stop_all(dev, false, dev->config->drain_ms + STOP_GRACE_MS);
    stop_all(dev, true, STOP_GRACE_MS);
}

/* ---- Ready ---- */

/* Routers that said so, be it before the cluster was ready or when they came back. */
static void hear(struct dev *dev)
{
    for (pid_t pid; (pid = dev_notify_next(&dev->notify)) != 0;)
        for (uint32_t i = 0; i < dev->node_count; i++)
            if (dev->nodes[i].pid == pid && dev->nodes[i].router != 0)
                dev->nodes[i].is_up = true;
}

static bool are_all_up(struct dev *dev)
{
    bool all = true;
    for (uint32_t i = 0; i < dev->node_count; i++) {
        struct dev_node *node = &dev->nodes[i];
        if (!node->is_up && node->router == 0)
            node->is_up = dev_child_is_healthy(&dev->setup, node->port);
        all = all && node->is_up;
    }
    return all;
}

/* From here on the cluster exists, whoever dies before it is ready. */
static void note_up(struct dev *dev, uint64_t now)
{
    dev->up_ms = now;
    dev->setup.is_born = true;
    dev_files_write_born(&dev->folder);
}

static bool look(const struct dev *dev, char *missing, size_t size)
{
    const char *routers[DEV_ROUTERS_MAX];
    uint32_t count = 0;
    for (uint32_t i = 0; i < dev->node_count; i++)
        if (dev->nodes[i].router != 0)
            routers[count++] = dev->nodes[i].name;
    struct buf *text = buf_new(0);
    bool is_placed = dev_placed_check(dev_child_cluster(&dev->setup, dev->config->port, text),
                                      routers, count, missing, size);
    buf_unref(&text);
    return is_placed;
}

/* Who reads "ready" may kill any router. Asked once all are up, and not for ever: what cannot be
 * placed is the reader's to see. */
static bool is_placed_or_late(struct dev *dev)
{
    char missing[160];
    uint64_t now = now_ms();
    if (dev->up_ms == 0)
        note_up(dev, now);
    if (now - dev->look_ms < LOOK_MS)
        return false;
    dev->look_ms = now;
    if (look(dev, missing, sizeof(missing)))
        return true;
    if (now - dev->up_ms < PLACED_MS_MAX)
        return false;
    fprintf(stderr, "chatmesh: not everything is in its place after %u s: %s\n",
            PLACED_MS_MAX / 1000, missing);
    return true;
}

static void say_ready(struct dev *dev)
{
    const struct config *c = dev->config;
    dev->is_ready = true;
    printf("ready: chat page http://%s:%u/ (%u router%s, %u gateway%s, data in %s)\n",
           dev->setup.host, c->port, c->routers, c->routers == 1 ? "" : "s", c->gateways,
           c->gateways == 1 ? "" : "s", dev->folder.text);
    fflush(stdout);
}

/* Returns the exit code, when it is time to stop. */
static int watch(struct dev *dev)
{
    struct timespec tick = {.tv_nsec = TICK_MS * 1000000L};
    for (;;) {
        int number = sigtimedwait(&dev->signals, NULL, &tick);
        if (number == SIGTERM || number == SIGINT)
            return EXIT_FINE;
        if (number == SIGHUP) {
            signal_all(dev, true, SIGHUP);
            signal_all(dev, false, SIGHUP);
        }
        hear(dev);
        uint32_t ended = reap(dev, false);
        if (ended > 0 && !dev->is_ready)
            return tools_fail(EXIT_FAILED, "the cluster did not come up");
        if (dev->config->respawn)
            respawn(dev);
        else if (count_running(dev) == 0)
            return tools_fail(EXIT_FAILED, "no node is left");
        if (!dev->is_ready && are_all_up(dev) && is_placed_or_late(dev))
            say_ready(dev);
    }
}

/* ---- Start ---- */

static int prepare(struct dev *dev, struct sentence *sentence)
{
    const struct config *c = dev->config;
    if (webhook_setup_check(c) != EXIT_FINE)
        return EXIT_MISTAKE;
    if (c->port + c->gateways - 1 > 65535)
        return tools_fail(EXIT_MISTAKE, "--port %u leaves no room for %u gateways", c->port,
                          c->gateways);
    dev->folder = dev_files_folder(c);
    if (dev_files_prepare(&dev->folder, sentence) != RC_OK ||
        dev_files_lock(&dev->folder, sentence) != RC_OK)
        return tools_fail(EXIT_MISTAKE, "%s", sentence->text);
    char *whole = realpath(dev->folder.text, NULL);
    if (whole == NULL || strlen(whole) >= sizeof(dev->folder.text)) {
        free(whole);
        return tools_fail(EXIT_MISTAKE, "%s: %s", dev->folder.text, strerror(errno));
    }
    snprintf(dev->folder.text, sizeof(dev->folder.text), "%s", whole);
    free(whole);
    dev->setup.is_born = dev_files_is_born(&dev->folder);
    dev->setup.notify = dev->notify.name;
    if (dev_notify_open(&dev->notify, sentence) != RC_OK ||
        dev_child_setup(&dev->setup, c, &dev->folder, sentence) != RC_OK ||
        dev_files_api_key(&dev->folder, dev->setup.api_key, sentence) != RC_OK ||
        dev_files_write_state(&dev->folder, &dev->setup.joins, dev->setup.host, c->port,
                              c->gateways, sentence) != RC_OK)
        return tools_fail(EXIT_MISTAKE, "%s", sentence->text);
    return EXIT_FINE;
}

int dev_run(const struct config *c)
{
    struct dev dev = {.config = c};
    struct sentence sentence;
    int code = prepare(&dev, &sentence);
    if (code != EXIT_FINE)
        return code;
    /* Signals are taken one by one in watch(): no handler runs in between. */
    sigemptyset(&dev.signals);
    sigaddset(&dev.signals, SIGTERM);
    sigaddset(&dev.signals, SIGINT);
    sigaddset(&dev.signals, SIGHUP);
    sigaddset(&dev.signals, SIGCHLD);
    sigprocmask(SIG_BLOCK, &dev.signals, NULL);
    printf("starting %u router%s and %u gateway%s, data in %s\n", c->routers,
           c->routers == 1 ? "" : "s", c->gateways, c->gateways == 1 ? "" : "s", dev.folder.text);
    printf("cluster page http://%s:%u/admin, key of the HTTP API in %s/api.key\n", dev.setup.host,
           c->port, dev.folder.text);
    fflush(stdout);
    for (uint32_t i = 0; i < c->routers; i++)
        add_router(&dev, i + 1);
    for (uint32_t i = 0; i < c->gateways; i++)
        add_gateway(&dev, i + 1);
    code = watch(&dev);
    stop(&dev);
    return code;
}
