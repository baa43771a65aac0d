#include "nodes/status.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "gateway/json.h"
#include "mesh/base/crypto.h"
#include "mesh/base/mem.h"
#include "mesh/wire/packet.h"
#include "nodes/dev_files.h"
#include "nodes/loop.h"
#include "nodes/node_start.h"
#include "nodes/tools.h"

/* Names of asking processes begin with this; they are not shown. */
#define ASKER_PREFIX "status-"

/* After the first node was heard: time for its gossip to tell of all others. */
#define SETTLE_US ((uint64_t)LIMIT_GOSSIP_MS * 1200)

/* One router's answer. */
struct answer {
    char node[LIMIT_NODE_ID_SIZE_MAX + 1];
    struct buf *json; /* NULL: asked, not answered. */
};

struct status {
    const struct config *config;
    struct loop *loop;
    struct zmq_bus *bus;
    char self[LIMIT_NODE_ID_SIZE_MAX + 1];
    uint64_t incarnation;
    uint64_t deadline_us;
    uint64_t settled_us; /* ENV_NEVER until a node was heard. */
    struct answer *answers;
    uint32_t answer_count;
};

/* ---- Asking ---- */

static void ask(struct status *s, const struct msg_node *router)
{
    struct packet_sender sender = {.node = slice_string(s->self), .incarnation = s->incarnation};
    struct msg_status_request request = {.req = 1};
    struct buf *packet = buf_new(64);
    if (router->cluster.size == sizeof(sender.cluster))
        memcpy(sender.cluster, router->cluster.base, sizeof(sender.cluster));
    packet_begin(packet, &sender, 0);
    record_encode(packet, &msg_status_request_desc, &request);
    /* Not sent is not answered: the deadline tells. */
    enum rc rc = bus_send(zmq_bus_port(s->bus), router->id, packet);
    (void)rc;
    buf_unref(&packet);
}

static struct answer *find_answer(struct status *s, struct slice node)
{
    for (uint32_t i = 0; i < s->answer_count; i++)
        if (slice_equals(node, s->answers[i].node))
            return &s->answers[i];
    return NULL;
}

static void on_peer(void *context, const struct msg_node *node, bool up)
{
    struct status *s = context;
    if (s->settled_us == ENV_NEVER)
        s->settled_us = env_now_us(loop_env(s->loop)) + SETTLE_US;
    if (!up || node->role != NODE_ROUTER || find_answer(s, node->id) != NULL ||
        s->answer_count == LIMIT_MEMBERS_MAX)
        return;
    s->answers = mem_resize(s->answers, (s->answer_count + 1) * sizeof(*s->answers));
    struct answer *a = &s->answers[s->answer_count++];
    snprintf(a->node, sizeof(a->node), "%.*s", SLICE_ARGS(node->id));
    a->json = NULL;
    ask(s, node);
}

static void on_request(void *context, struct slice from, const struct packet *packet)
{
    struct status *s = context;
    struct record_reader r = packet->messages;
    struct msg_status_reply reply;
    const char *reason;
    uint32_t number;
    while (record_peek(&r, &number) == RC_OK) {
        if (number != MSG_STATUS_REPLY) {
            if (record_skip(&r) != RC_OK)
                return;
            continue;
        }
        struct answer *a = find_answer(s, from);
        if (record_decode(&r, &msg_status_reply_desc, &reply) != RC_OK)
            return;
        if (a == NULL || a->json != NULL || json_check(reply.json, &reason) != RC_OK ||
            reply.json.base[0] != '{')
            continue;
        a->json = buf_new(reply.json.size);
        buf_append_slice(a->json, reply.json);
    }
}

static void on_publish(void *context, struct slice from, const struct packet *packet)
{
    (void)context;
    (void)from;
    (void)packet;
}

static bool is_complete(const struct status *s, uint64_t now_us)
{
    if (now_us < s->settled_us || s->answer_count == 0)
        return false;
    for (uint32_t i = 0; i < s->answer_count; i++)
        if (s->answers[i].json == NULL)
            return false;
    return true;
}

static void on_turn(void *context)
{
    struct status *s = context;
    uint64_t now_us = env_now_us(loop_env(s->loop));
    if (is_complete(s, now_us) || now_us >= s->deadline_us) {
        zmq_bus_leave(s->bus);
        loop_stop(s->loop);
    }
}

static uint64_t due_us(void *context)
{
    struct status *s = context;
    uint64_t now_us = env_now_us(loop_env(s->loop));
    return s->settled_us > now_us && s->settled_us < s->deadline_us ? s->settled_us
                                                                    : s->deadline_us;
}

/* ---- What is shown ---- */

static bool is_asker(const struct msg_node *node)
{
    size_t size = sizeof(ASKER_PREFIX) - 1;
    return node->id.size >= size && memcmp(node->id.base, ASKER_PREFIX, size) == 0;
}

/* The next node worth showing. */
static const struct msg_node *next_node(const struct status *s, size_t *at)
{
    const struct msg_node *node;
    while ((node = zmq_bus_next_peer(s->bus, at)) != NULL && is_asker(node))
        continue;
    return node;
}

static struct slice address_of(const struct msg_node *node)
{
    return node->role == NODE_ROUTER ? node->gossip : node->http;
}

static const char *role_of(const struct msg_node *node)
{
    return node->role == NODE_ROUTER ? "router" : "gateway";
}

static void print_time(uint64_t wall_ms, char text[32])
{
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm utc;
    gmtime_r(&seconds, &utc);
    strftime(text, 32, "%Y-%m-%dT%H:%M:%SZ", &utc);
}

/* A number in `shards` of a router's answer. */
static uint64_t shards_number(const struct answer *a, const char *name)
{
    struct json_value object = {.type = JSON_OBJECT, .raw = buf_slice(a->json)}, value, inner;
    struct slice key;
    uint64_t number = 0;
    for (uint32_t at = 0; json_next(object, &at, &key, &value);) {
        if (!slice_equals(key, "shards") || value.type != JSON_OBJECT)
            continue;
        for (uint32_t within = 0; json_next(value, &within, &key, &inner);)
            if (slice_equals(key, name) && inner.type == JSON_NUMBER && json_u64(inner, &number))
                return number;
    }
    return 0;
}

struct shards_sum {
    uint64_t total, led;
};

static struct shards_sum sum_shards(const struct status *s)
{
    struct shards_sum sum = {0};
    for (uint32_t i = 0; i < s->answer_count; i++) {
        if (s->answers[i].json == NULL)
            continue;
        uint64_t total = shards_number(&s->answers[i], "total");
        sum.total = total > sum.total ? total : sum.total;
        sum.led += shards_number(&s->answers[i], "led");
    }
    return sum;
}

static void print_cluster(const struct status *s, char text[33])
{
    const uint8_t *cluster = zmq_bus_cluster(s->bus);
    text[0] = '\0';
    if (cluster != NULL)
        crypto_hex(cluster, 16, text);
}

static void print_json(const struct status *s)
{
    char cluster[33];
    struct shards_sum sum = sum_shards(s);
    struct buf *out = buf_new(4096);
    print_cluster(s, cluster);
    buf_append_format(out, "{\"cluster\":\"%s\",\"nodes\":[", cluster);
    const struct msg_node *node;
    bool is_first = true;
    for (size_t at = 0; (node = next_node(s, &at)) != NULL; is_first = false) {
        buf_append_format(out,
                          "%s{\"id\":\"%.*s\",\"role\":\"%s\",\"address\":", is_first ? "" : ",",
                          SLICE_ARGS(node->id), role_of(node));
        json_append_string(out, address_of(node));
        buf_append_format(out, ",\"up_since\":%" PRIu64 ",\"state\":\"%s\"}", node->incarnation,
                          node->leaving != 0 ? "leaving" : "up");
    }
    buf_append_format(out, "],\"shards\":{\"total\":%" PRIu64 ",\"led\":%" PRIu64 "},\"routers\":[",
                      sum.total, sum.led);
    is_first = true;
    for (uint32_t i = 0; i < s->answer_count; i++) {
        if (s->answers[i].json == NULL)
            continue;
        buf_append_string(out, is_first ? "" : ",");
        buf_append_slice(out, buf_slice(s->answers[i].json));
        is_first = false;
    }
    buf_append_string(out, "]}\n");
    fwrite(out->bytes, 1, out->size, stdout);
    buf_unref(&out);
}

static void print_table(const struct status *s)
{
    char cluster[33], since[32];
    struct shards_sum sum = sum_shards(s);
    print_cluster(s, cluster);
    printf("cluster %s\n\n%-15s  %-7s  %-32s  %-20s  %s\n", cluster, "ID", "ROLE", "ADDRESS",
           "UP SINCE", "STATE");
    const struct msg_node *node;
    for (size_t at = 0; (node = next_node(s, &at)) != NULL;) {
        print_time(node->incarnation, since);
        printf("%-15.*s  %-7s  %-32.*s  %-20s  %s\n", SLICE_ARGS(node->id), role_of(node),
               SLICE_ARGS(address_of(node)), since, node->leaving != 0 ? "leaving" : "up");
    }
    printf("\nshards %" PRIu64 ", led %" PRIu64 "%s\n", sum.total, sum.led,
           sum.led < sum.total ? ": some have no leader" : "");
}

static int show(const struct status *s)
{
    uint32_t answered = 0;
    for (uint32_t i = 0; i < s->answer_count; i++)
        answered += s->answers[i].json != NULL;
    if (answered == 0)
        return tools_fail(EXIT_FAILED, "no router answers at %s within %u ms",
                          s->config->join.items[0], s->config->timeout_ms);
    if (s->config->json)
        print_json(s);
    else
        print_table(s);
    return EXIT_FINE;
}

/* ---- Life ---- */

/* Without --join: the dev cluster in --data. */
static int find_cluster(struct config *c, struct dev_files_path *ret_key)
{
    struct sentence sentence;
    char join[128];
    ret_key->text[0] = '\0';
    if (c->join.count > 0)
        return EXIT_FINE;
    struct dev_files_path folder = dev_files_folder(c);
    if (dev_files_read_join(&folder, join, sizeof(join), &sentence) != RC_OK ||
        config_set(c, CONFIG_OPTION_join, CONFIG_FLAG, join, "dev.json", &sentence) != RC_OK)
        return tools_fail(EXIT_MISTAKE, "%s", sentence.text);
    *ret_key = dev_files_join(&folder, "cluster", "key");
    return EXIT_FINE;
}

static int listen_to(struct status *s, const char *key)
{
    struct env *env = loop_env(s->loop);
    s->incarnation = env_wall_ms(env);
    struct node_start_bus start = {
        .role = NODE_GATEWAY,
        .node = s->self,
        .incarnation = s->incarnation,
        .key = key,
    };
    int code = node_start_bus(&start, s->config, env, &s->bus);
    if (code != EXIT_FINE)
        return code;
    struct bus_handler handler = {
        .context = s,
        .on_request = on_request,
        .on_publish = on_publish,
        .on_peer = on_peer,
    };
    zmq_bus_set_handler(s->bus, &handler);
    s->deadline_us = env_now_us(env) + (uint64_t)s->config->timeout_ms * 1000;
    struct loop_node callbacks = {.context = s, .turn = on_turn, .due_us = due_us};
    loop_run(s->loop, &callbacks, s->bus);
    return show(s);
}

int status_run(struct config *c)
{
    struct status s = {.config = c, .settled_us = ENV_NEVER};
    struct dev_files_path key;
    int code = find_cluster(c, &key);
    if (code != EXIT_FINE)
        return code;
    snprintf(s.self, sizeof(s.self), ASKER_PREFIX "%d", (int)getpid() % 10000000);
    s.loop = loop_new();
    code = listen_to(&s, c->key != NULL ? c->key : key.text[0] != '\0' ? key.text : NULL);
    for (uint32_t i = 0; i < s.answer_count; i++)
        buf_unref(&s.answers[i].json);
    mem_free(s.answers);
    zmq_bus_free(&s.bus);
    loop_free(&s.loop);
    return code;
}
