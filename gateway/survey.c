#include "gateway/survey.h"

#include <stdio.h>
#include <stdlib.h>

#include "gateway/cluster_json.h"
#include "gateway/peers.h"
#include "mesh/base/mem.h"
#include "mesh/wire/key.h"

#define ADDRESS_SIZE_MAX 160u

/* A node that discovery told of. */
struct survey_node {
    char id[LIMIT_NODE_ID_SIZE_MAX + 1];
    char address[ADDRESS_SIZE_MAX];
    struct cluster_json_node shown; /* Its slices are of the two above. */
    struct buf *answer;             /* Of a router to the question that is out; NULL: none yet. */
    bool is_asked;
};

static struct slice node_key(const void *thing)
{
    const struct survey_node *node = thing;
    return slice_string(node->id);
}

void survey_init(struct gateway *gateway)
{
    struct survey *survey = &gateway->survey;
    map_init(&survey->nodes, node_key);
    list_init(&survey->waiting);
    survey->json = buf_new(0);
}

static void tell(struct survey *survey, struct slice json)
{
    struct survey_waiter *waiter;
    while ((waiter = LIST_FIRST(&survey->waiting, struct survey_waiter, node)) != NULL) {
        list_remove(&waiter->node);
        waiter->on_done(waiter, json);
    }
}

static void node_free(struct survey_node *node)
{
    buf_unref(&node->answer);
    mem_free(node);
}

void survey_fini(struct gateway *gateway)
{
    struct survey *survey = &gateway->survey;
    struct survey_node *node;
    tell(survey, slice_string("{}"));
    for (size_t at = 0; (node = map_next(&survey->nodes, &at)) != NULL;)
        node_free(node);
    map_fini(&survey->nodes);
    buf_unref(&survey->json);
}

/* ---- Discovery ---- */

void survey_on_node(struct gateway *gateway, const struct msg_node *told, bool up)
{
    struct survey *survey = &gateway->survey;
    /* A gateway without an address is a command that asks for the status. */
    if (!key_node_is_valid(told->id) || (told->role != NODE_ROUTER && told->http.size == 0))
        return;
    struct survey_node *node = map_remove(&survey->nodes, told->id);
    if (node != NULL)
        node_free(node);
    if (!up || survey->nodes.count >= LIMIT_MEMBERS_MAX)
        return;
    node = mem_new(struct survey_node);
    node->shown = cluster_json_node(told);
    snprintf(node->id, sizeof(node->id), "%.*s", SLICE_ARGS(told->id));
    snprintf(node->address, sizeof(node->address), "%.*s", SLICE_ARGS(node->shown.address));
    node->shown.id = slice_string(node->id);
    node->shown.address = slice_string(node->address);
    map_put(&survey->nodes, node);
}

/* ---- Asking ---- */

static int by_id(const void *a, const void *b)
{
    struct slice x = ((const struct cluster_json_node *)a)->id;
    struct slice y = ((const struct cluster_json_node *)b)->id;
    return strcmp(x.base, y.base); /* Both end with a NUL. */
}

static void write_json(struct gateway *gateway)
{
    struct survey *survey = &gateway->survey;
    size_t count = survey->nodes.count + 1;
    struct cluster_json_node *nodes = mem_zero(count * sizeof(*nodes));
    struct cluster_view_answer *answers = mem_zero(count * sizeof(*answers));
    struct cluster_json cluster = {.nodes = nodes, .answers = answers};
    if (gateway->routers.has_cluster)
        cluster.id = gateway->routers.cluster;
    nodes[cluster.node_count++] = (struct cluster_json_node){
        .id = slice_string(gateway->node),
        .address = slice_string(gateway->options.address),
        .role = NODE_GATEWAY,
        .since_ms = gateway->options.incarnation,
        .is_leaving = gateway->is_draining,
    };
    const struct survey_node *node;
    for (size_t at = 0; (node = map_next(&survey->nodes, &at)) != NULL;) {
        nodes[cluster.node_count++] = node->shown;
        if (node->answer == NULL)
            continue;
        struct cluster_view_answer *answer = &answers[cluster.answer_count++];
        memcpy(answer->node, node->id, sizeof(answer->node));
        answer->json = buf_slice(node->answer);
    }
    qsort(nodes, cluster.node_count, sizeof(*nodes), by_id);
    buf_clear(survey->json);
    cluster_json_put(&cluster, survey->json);
    mem_free(nodes);
    mem_free(answers);
}

static void finish(struct gateway *gateway)
{
    struct survey *survey = &gateway->survey;
    survey->is_asking = false;
    survey->answered_us = gateway_now_us(gateway);
    write_json(gateway);
    tell(survey, buf_slice(survey->json));
}

static void ask_routers(struct gateway *gateway)
{
    struct survey *survey = &gateway->survey;
    struct msg_status_request request = {.req = calls_next_id(gateway)};
    struct survey_node *node;
    survey->is_asking = true;
    survey->req = request.req;
    survey->awaited = 0;
    survey->deadline_us = gateway_now_us(gateway) + SURVEY_WAIT_US;
    for (size_t at = 0; (node = map_next(&survey->nodes, &at)) != NULL;) {
        buf_unref(&node->answer);
        struct peer *peer = peers_get(gateway, slice_string(node->id));
        node->is_asked = peer != NULL && peer->is_here;
        if (!node->is_asked)
            continue;
        peers_add(gateway, peer, &msg_status_request_desc, &request);
        peers_send_full(gateway, peer);
        survey->awaited++;
    }
}

void survey_ask(struct gateway *gateway, struct survey_waiter *waiter)
{
    struct survey *survey = &gateway->survey;
    uint64_t now_us = gateway_now_us(gateway);
    list_append(&survey->waiting, &waiter->node);
    if (survey->is_asking)
        return;
    if (survey->answered_us != 0 && now_us < survey->answered_us + SURVEY_FRESH_US) {
        list_remove(&waiter->node);
        waiter->on_done(waiter, buf_slice(survey->json));
        return;
    }
    ask_routers(gateway);
    if (survey->awaited == 0)
        finish(gateway);
}

void survey_on_status(struct gateway *gateway, const struct peer *peer,
                      const struct msg_status_reply *reply)
{
    struct survey *survey = &gateway->survey;
    struct survey_node *node = map_get(&survey->nodes, peer_name(peer));
    const char *reason;
    if (!survey->is_asking || reply->req != survey->req || node == NULL || !node->is_asked)
        return;
    node->is_asked = false;
    if (json_check(reply->json, &reason) == RC_OK && reply->json.base[0] == '{') {
        node->answer = buf_new(reply->json.size);
        buf_append_slice(node->answer, reply->json);
    }
    if (--survey->awaited == 0)
        finish(gateway);
}

void survey_turn(struct gateway *gateway)
{
    const struct survey *survey = &gateway->survey;
    if (survey->is_asking && gateway_now_us(gateway) >= survey->deadline_us)
        finish(gateway);
}

uint64_t survey_due_us(const struct gateway *gateway)
{
    return gateway->survey.is_asking ? gateway->survey.deadline_us : ENV_NEVER;
}
