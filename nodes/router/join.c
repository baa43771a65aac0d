#include "nodes/router/join.h"

#include <stdio.h>

#include "mesh/base/check.h"
#include "mesh/base/limits.h"
#include "mesh/base/mem.h"
#include "mesh/base/metrics.h"

#define ASK_US ((uint64_t)JOIN_ASK_MS * 1000)

/* A router that is up, and what it last said. */
struct known {
    char id[LIMIT_NODE_ID_SIZE_MAX + 1];
    enum rc rc; /* RC_AGAIN: it has not answered yet. */
};

struct join {
    char node[LIMIT_NODE_ID_SIZE_MAX + 1];
    uint64_t incarnation;
    char *zone; /* NULL: none. */
    uint32_t weight;
    struct env *env;
    struct bus *bus;
    uint64_t req; /* Of every question: it is always the same one. */
    bool knows_cluster;
    struct join_result result;
    enum rc outcome;
    struct known *routers;
    uint32_t router_count;
    uint32_t next;        /* Index of the router to ask next. */
    uint32_t round_count; /* Asked in this round. */
    uint64_t due_us;      /* When to ask. */
};

/* ---- Who is there ---- */

static struct known *find(const struct join *j, struct slice id)
{
    for (uint32_t i = 0; i < j->router_count; i++)
        if (slice_equals(id, j->routers[i].id))
            return &j->routers[i];
    return NULL;
}

static void learn(struct join *j, const struct msg_node *node)
{
    if (!j->knows_cluster && node->cluster.size == sizeof(j->result.cluster)) {
        memcpy(j->result.cluster, node->cluster.base, sizeof(j->result.cluster));
        j->knows_cluster = true;
    }
    struct known *k = find(j, node->id);
    if (k == NULL && j->router_count < LIMIT_ROUTERS_MAX) {
        j->routers = mem_resize(j->routers, (j->router_count + 1) * sizeof(*j->routers));
        k = &j->routers[j->router_count++];
        snprintf(k->id, sizeof(k->id), "%.*s", SLICE_ARGS(node->id));
    }
    if (k != NULL)
        k->rc = RC_AGAIN;
}

static void forget(struct join *j, struct slice id)
{
    struct known *k = find(j, id);
    if (k == NULL)
        return;
    size_t index = (size_t)(k - j->routers);
    memmove(k, k + 1, (j->router_count - index - 1) * sizeof(*k));
    j->router_count--;
    if (j->next > index)
        j->next--; /* The order of the round stays. */
}

static void on_peer(void *context, const struct msg_node *node, bool up)
{
    struct join *j = context;
    if (node->role != NODE_ROUTER || slice_equals(node->id, j->node))
        return;
    if (up)
        learn(j, node);
    else
        forget(j, node->id);
}

/* ---- Asking ---- */

static void say(struct join *j, struct slice to, const struct record_desc *desc,
                const void *message)
{
    struct packet_sender sender = {.node = slice_string(j->node), .incarnation = j->incarnation};
    struct buf *packet = buf_new(128);
    memcpy(sender.cluster, j->result.cluster, sizeof(sender.cluster));
    packet_begin(packet, &sender, 0);
    record_encode(packet, desc, message);
    /* What does not leave is not answered, and asked again. */
    enum rc rc = bus_send(j->bus, to, packet);
    (void)rc;
    buf_unref(&packet);
}

static void ask_next(struct join *j)
{
    struct msg_join question = {
        .req = j->req,
        .node = slice_string(j->node),
        .zone = j->zone != NULL ? slice_string(j->zone) : (struct slice){0},
        .weight = j->weight,
    };
    if (j->next >= j->router_count)
        j->next = 0;
    struct known *k = &j->routers[j->next++];
    j->round_count++;
    say(j, slice_string(k->id), &msg_join_desc, &question);
}

/* One router every 300 ms. Who says at once that he does not lead is no reason to wait, but once
 * all have been asked the next round waits its turn: nobody is flooded while nobody leads. */
void join_turn(struct join *j)
{
    uint64_t now_us = env_now_us(j->env);
    if (j->outcome != RC_AGAIN || !j->knows_cluster || j->router_count == 0 || now_us < j->due_us)
        return;
    if (j->round_count >= j->router_count)
        j->round_count = 0;
    ask_next(j);
    j->due_us = now_us + ASK_US;
}

uint64_t join_due_us(const struct join *j)
{
    bool is_asking = j->outcome == RC_AGAIN && j->knows_cluster && j->router_count > 0;
    return is_asking ? j->due_us : ENV_NEVER;
}

/* ---- Answers ---- */

static void on_refusal(struct join *j, struct slice from, enum rc rc)
{
    struct known *k = find(j, from);
    if (k == NULL)
        return;
    k->rc = rc;
    bool was_asked_last =
        j->next > 0 && j->next <= j->router_count && k == &j->routers[j->next - 1];
    if (was_asked_last && j->round_count < j->router_count)
        j->due_us = 0;
}

static void on_joined(struct join *j, struct slice from, const struct msg_joined *answer)
{
    if (answer->req != j->req || j->outcome != RC_AGAIN)
        return;
    if (answer->rc == RC_CONFLICT) {
        j->outcome = RC_CONFLICT;
    } else if (answer->rc != RC_OK) {
        on_refusal(j, from, answer->rc == RC_NOT_LEADER ? RC_NOT_LEADER : RC_UNAVAILABLE);
    } else if (answer->shards >= 1 && answer->shards <= LIMIT_SHARDS_MAX &&
               answer->epoch.size == NODE_ROW_EPOCH_SIZE &&
               memchr(answer->epoch.base, '\0', answer->epoch.size) == NULL) {
        j->result.shards = (uint32_t)answer->shards;
        memcpy(j->result.epoch, answer->epoch.base, NODE_ROW_EPOCH_SIZE);
        j->result.epoch[NODE_ROW_EPOCH_SIZE] = '\0';
        j->outcome = RC_OK;
    } else {
        metric_add(packets_bad_total, 1);
    }
}

/* Another router that joins as well asks us: it need not wait for an answer that we cannot give. */
static void on_join(struct join *j, struct slice from, const struct msg_join *question)
{
    struct msg_joined answer = {.req = question->req, .rc = RC_NOT_LEADER};
    if (j->knows_cluster)
        say(j, from, &msg_joined_desc, &answer);
}

/* `status` is to show what we wait for. */
static void on_status_request(struct join *j, struct slice from,
                              const struct msg_status_request *request)
{
    char waits_for[128];
    if (!j->knows_cluster)
        return; /* Packets bear its id. */
    struct buf *json = buf_new(256);
    join_describe(j, waits_for, sizeof(waits_for));
    buf_append_format(json, "{\"id\":\"%s\",\"waits_for\":\"%s\"}", j->node, waits_for);
    const struct msg_status_reply reply = {.req = request->req, .json = buf_slice(json)};
    say(j, from, &msg_status_reply_desc, &reply);
    buf_unref(&json);
}

static enum rc on_message(struct join *j, struct slice from, struct record_reader *r)
{
    struct msg_joined answer;
    struct msg_join question;
    struct msg_status_request request;
    uint32_t number;
    enum rc rc = record_peek(r, &number);
    if (rc != RC_OK)
        return rc;
    if (number == MSG_STATUS_REQUEST) {
        rc = record_decode(r, &msg_status_request_desc, &request);
        if (rc == RC_OK)
            on_status_request(j, from, &request);
    } else if (number == MSG_JOINED) {
        rc = record_decode(r, &msg_joined_desc, &answer);
        if (rc == RC_OK)
            on_joined(j, from, &answer);
    } else if (number == MSG_JOIN) {
        rc = record_decode(r, &msg_join_desc, &question);
        if (rc == RC_OK)
            on_join(j, from, &question);
    } else {
        rc = record_skip(r); /* Meant for the router that we are going to be. */
    }
    return rc;
}

static void on_request(void *context, struct slice from, const struct packet *packet)
{
    struct join *j = context;
    struct record_reader messages = packet->messages;
    while (!record_reader_at_end(&messages)) {
        if (on_message(j, from, &messages) != RC_OK) {
            metric_add(packets_bad_total, 1);
            return;
        }
    }
}

/* ---- Life ---- */

struct join *join_new(const struct join_options *options, struct env *env, struct bus *bus)
{
    CHECK(strlen(options->node) <= LIMIT_NODE_ID_SIZE_MAX);
    struct join *j = mem_new(struct join);
    snprintf(j->node, sizeof(j->node), "%s", options->node);
    j->incarnation = options->incarnation;
    j->zone = options->zone != NULL ? mem_string(options->zone, strlen(options->zone)) : NULL;
    j->weight = options->weight;
    j->env = env;
    j->bus = bus;
    j->req = env_random(env);
    j->outcome = RC_AGAIN;
    return j;
}

void join_free(struct join **join)
{
    struct join *j = *join;
    *join = NULL;
    if (j == NULL)
        return;
    mem_free(j->routers);
    mem_free(j->zone);
    mem_free(j);
}

struct bus_handler join_bus_handler(struct join *join)
{
    return (struct bus_handler){.context = join, .on_request = on_request, .on_peer = on_peer};
}

enum rc join_outcome(const struct join *j, struct join_result *ret_result)
{
    if (j->outcome == RC_OK)
        *ret_result = j->result;
    return j->outcome;
}

void join_describe(const struct join *j, char *text, size_t size)
{
    uint32_t silent = 0;
    uint32_t refusing = 0;
    for (uint32_t i = 0; i < j->router_count; i++) {
        silent += j->routers[i].rc == RC_AGAIN;
        refusing += j->routers[i].rc == RC_UNAVAILABLE;
    }
    if (j->router_count == 0)
        snprintf(text, size, "a router that can be reached and accepts our key");
    else if (!j->knows_cluster)
        snprintf(text, size, "a router of a cluster: those heard are joining as well");
    else if (silent > 0)
        snprintf(text, size, "an answer: %u of %u routers have not said a word", silent,
                 j->router_count);
    else if (refusing > 0)
        snprintf(text, size, "the control group, which cannot take anybody in at the moment");
    else
        snprintf(text, size, "a leader of the control group: none of %u routers is",
                 j->router_count);
}
