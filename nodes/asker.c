#include "nodes/asker.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "gateway/json.h"
#include "mesh/base/mem.h"
#include "nodes/dev_files.h"
#include "nodes/node_start.h"
#include "nodes/tools.h"

/* Names of asking processes begin with this; they are not shown. */
#define ASKER_PREFIX "status-"

/* After the first node was heard: time for its gossip to tell of all others. */
#define SETTLE_US ((uint64_t)LIMIT_GOSSIP_MS * 1200)

/* ---- Asking ---- */

static void say(struct asker *a, const struct asker_router *router, const struct record_desc *desc,
                const void *message)
{
    struct packet_sender sender = {.node = slice_string(a->self), .incarnation = a->incarnation};
    const uint8_t *cluster = zmq_bus_cluster(a->bus);
    if (cluster == NULL)
        return; /* Only routers that are joining were heard. */
    memcpy(sender.cluster, cluster, sizeof(sender.cluster));
    struct buf *packet = buf_new(128);
    packet_begin(packet, &sender, 0);
    record_encode(packet, desc, message);
    /* Not sent is not answered: the deadline tells. */
    enum rc rc = bus_send(zmq_bus_port(a->bus), slice_string(router->id), packet);
    (void)rc;
    buf_unref(&packet);
}

static void ask(struct asker *a, struct asker_router *router)
{
    struct msg_status_request request = {.req = a->req};
    buf_unref(&router->json);
    say(a, router, &msg_status_request_desc, &request);
}

void asker_ask_again(struct asker *a)
{
    a->req++;
    for (uint32_t i = 0; i < a->router_count; i++)
        if (a->routers[i].is_up)
            ask(a, &a->routers[i]);
}

void asker_tell(struct asker *a, const struct record_desc *desc, const void *message)
{
    for (uint32_t i = 0; i < a->router_count; i++)
        if (a->routers[i].is_up)
            say(a, &a->routers[i], desc, message);
}

/* ---- What comes in ---- */

static struct asker_router *find(const struct asker *a, struct slice id)
{
    for (uint32_t i = 0; i < a->router_count; i++)
        if (slice_equals(id, a->routers[i].id))
            return &a->routers[i];
    return NULL;
}

static void on_peer(void *context, const struct msg_node *node, bool up)
{
    struct asker *a = context;
    if (a->settled_us == ENV_NEVER)
        a->settled_us = asker_now_us(a) + SETTLE_US;
    if (node->role != NODE_ROUTER)
        return;
    struct asker_router *r = find(a, node->id);
    if (r == NULL && a->router_count < LIMIT_MEMBERS_MAX) {
        a->routers = mem_resize(a->routers, (a->router_count + 1) * sizeof(*a->routers));
        r = &a->routers[a->router_count++];
        *r = (struct asker_router){.json = NULL};
        snprintf(r->id, sizeof(r->id), "%.*s", SLICE_ARGS(node->id));
    }
    if (r == NULL)
        return;
    r->is_up = up;
    if (up)
        ask(a, r);
}

static void on_status(struct asker *a, struct slice from, const struct msg_status_reply *reply)
{
    struct asker_router *r = find(a, from);
    const char *reason;
    if (r == NULL || r->json != NULL || reply->req != a->req ||
        json_check(reply->json, &reason) != RC_OK || reply->json.base[0] != '{')
        return;
    r->json = buf_new(reply->json.size);
    buf_append_slice(r->json, reply->json);
}

static enum rc on_message(struct asker *a, struct slice from, struct record_reader *r)
{
    struct msg_status_reply reply;
    struct msg_result result;
    uint32_t number;
    enum rc rc = record_peek(r, &number);
    if (rc != RC_OK)
        return rc;
    if (number == MSG_STATUS_REPLY) {
        rc = record_decode(r, &msg_status_reply_desc, &reply);
        if (rc == RC_OK)
            on_status(a, from, &reply);
    } else if (number == MSG_RESULT) {
        rc = record_decode(r, &msg_result_desc, &result);
        if (rc == RC_OK && a->on_result != NULL)
            a->on_result(a->context, &result);
    } else {
        rc = record_skip(r);
    }
    return rc;
}

static void on_request(void *context, struct slice from, const struct packet *packet)
{
    struct record_reader messages = packet->messages;
    while (!record_reader_at_end(&messages) && on_message(context, from, &messages) == RC_OK)
        continue;
}

bool asker_is_complete(const struct asker *a)
{
    uint32_t up_count = 0;
    if (asker_now_us(a) < a->settled_us)
        return false;
    for (uint32_t i = 0; i < a->router_count; i++) {
        up_count += a->routers[i].is_up;
        if (a->routers[i].is_up && a->routers[i].json == NULL)
            return false;
    }
    return up_count > 0;
}

bool asker_is_up(const struct asker *a, const char *id)
{
    const struct asker_router *r = find(a, slice_string(id));
    return r != NULL && r->is_up;
}

bool asker_awaits(const struct asker *a, const char *id)
{
    const struct asker_router *r = find(a, slice_string(id));
    return r != NULL && r->is_up && r->json == NULL;
}

/* Routers that discovery tells of; by where they are to be asked, or by name. */
static uint32_t put_heard(const struct asker *a, bool is_reached, struct buf *out)
{
    const struct msg_node *node;
    uint32_t count = 0;
    for (size_t at = 0; (node = zmq_bus_next_peer(a->bus, &at)) != NULL;) {
        const struct asker_router *r = find(a, node->id);
        if (node->role != NODE_ROUTER || is_reached != (r != NULL && r->is_up))
            continue;
        buf_append_format(out, "%s%.*s at %.*s", count++ > 0 ? ", " : "", SLICE_ARGS(node->id),
                          SLICE_ARGS(is_reached ? node->gossip : node->request));
    }
    return count;
}

/* A key that is not accepted is not told from a router that is down: the handshake only ends. */
int asker_fail_silent(const struct asker *a)
{
    const struct config *c = a->config;
    struct buf *joins = buf_new(256), *heard = buf_new(256);
    config_list_print(&c->join, ", ", joins);
    struct slice at = buf_slice(joins);
    if (put_heard(a, true, heard) > 0 && zmq_bus_cluster(a->bus) == NULL)
        tools_fail(EXIT_FAILED,
                   "no cluster is heard at %.*s, only routers that wait to be taken into one: "
                   "%.*s; is a router of it up, and are they told to join it?",
                   SLICE_ARGS(at), SLICE_ARGS(buf_slice(heard)));
    else if (heard->size > 0)
        tools_fail(EXIT_FAILED, "no router that serves answers at %.*s within %u ms; heard: %.*s",
                   SLICE_ARGS(at), c->timeout_ms, SLICE_ARGS(buf_slice(heard)));
    else if (put_heard(a, false, heard) > 0)
        tools_fail(EXIT_FAILED,
                   "routers are heard at %.*s, but cannot be asked: %.*s; are the two ports after "
                   "the first one open?",
                   SLICE_ARGS(at), SLICE_ARGS(buf_slice(heard)));
    else
        tools_fail(EXIT_FAILED,
                   "no router answers at %.*s within %u ms; is %s up, and is the key "
                   "right?",
                   SLICE_ARGS(at), c->timeout_ms, c->join.count > 1 ? "one of them" : "it");
    buf_unref(&heard);
    buf_unref(&joins);
    return EXIT_FAILED;
}

uint32_t asker_view(const struct asker *a, struct cluster_view *ret_view)
{
    struct cluster_view_answer *answers = mem_alloc((a->router_count + 1) * sizeof(*answers));
    uint32_t count = 0;
    for (uint32_t i = 0; i < a->router_count; i++) {
        if (a->routers[i].json == NULL)
            continue;
        snprintf(answers[count].node, sizeof(answers[count].node), "%s", a->routers[i].id);
        answers[count++].json = buf_slice(a->routers[i].json);
    }
    cluster_view_init(ret_view, answers, count);
    mem_free(answers);
    return count;
}

const struct msg_node *asker_next_node(const struct asker *a, size_t *at)
{
    static const size_t size = sizeof(ASKER_PREFIX) - 1;
    const struct msg_node *node;
    while ((node = zmq_bus_next_peer(a->bus, at)) != NULL && node->id.size >= size &&
           memcmp(node->id.base, ASKER_PREFIX, size) == 0)
        continue;
    return node;
}

/* ---- Life ---- */

/* Without --join: the dev cluster in --data, and its key. */
static int find_cluster(struct config *c, struct dev_files_path *ret_key)
{
    struct sentence sentence;
    struct dev_files_joins joins;
    ret_key->text[0] = '\0';
    if (c->join.count > 0)
        return EXIT_FINE;
    struct dev_files_path folder = dev_files_folder(c);
    enum rc rc = dev_files_read_joins(&folder, &joins, &sentence);
    for (uint32_t i = 0; rc == RC_OK && i < joins.count; i++)
        rc = config_set(c, CONFIG_OPTION_join, CONFIG_FLAG, joins.endpoints[i], "dev.json",
                        &sentence);
    if (rc != RC_OK)
        return tools_fail(EXIT_MISTAKE, "%s", sentence.text);
    *ret_key = dev_files_join(&folder, "cluster", "key");
    return EXIT_FINE;
}

int asker_open(struct asker *a, struct config *c)
{
    struct dev_files_path key;
    int code = find_cluster(c, &key);
    if (code != EXIT_FINE)
        return code;
    snprintf(a->self, sizeof(a->self), ASKER_PREFIX "%d", (int)getpid() % 10000000);
    a->config = c;
    a->settled_us = ENV_NEVER;
    a->req = 1;
    a->loop = loop_new();
    a->incarnation = env_wall_ms(loop_env(a->loop));
    struct node_start_bus start = {
        .role = NODE_GATEWAY,
        .node = a->self,
        .incarnation = a->incarnation,
        .key = c->key != NULL        ? c->key
               : key.text[0] != '\0' ? key.text
                                     : NULL,
    };
    code = node_start_bus(&start, c, loop_env(a->loop), &a->bus);
    if (code != EXIT_FINE)
        return code;
    struct bus_handler handler = {.context = a, .on_request = on_request, .on_peer = on_peer};
    zmq_bus_set_handler(a->bus, &handler);
    return EXIT_FINE;
}

void asker_run(struct asker *a)
{
    struct loop_node callbacks = {
        .context = a->context,
        .turn = a->turn,
        .due_us = a->due_us,
        .on_stop = a->on_stop,
    };
    loop_run(a->loop, &callbacks, a->bus);
}

void asker_stop(struct asker *a)
{
    zmq_bus_leave(a->bus);
    loop_stop(a->loop);
}

void asker_close(struct asker *a)
{
    for (uint32_t i = 0; i < a->router_count; i++)
        buf_unref(&a->routers[i].json);
    mem_free(a->routers);
    zmq_bus_free(&a->bus);
    loop_free(&a->loop);
}

uint64_t asker_now_us(const struct asker *a)
{
    return env_now_us(loop_env(a->loop));
}
