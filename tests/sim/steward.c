#include "tests/sim/steward.h"

#include <stdio.h>
#include <string.h>

#include "mesh/base/check.h"

#define ASK_US   300000u
#define HASTY_US 15000u

/* ---- Asking ---- */

static void say(struct errand *errand)
{
    struct cluster *c = errand->steward->cluster;
    struct sim_node *self = cluster_operator(c);
    const struct sim_node *to =
        cluster_router(c, (uint32_t)world_between(c->world, 0, c->options.routers - 1));
    struct packet_sender sender = {.node = slice_string(self->id), .incarnation = 1};
    memcpy(sender.cluster, c->cluster_id, sizeof(sender.cluster));
    errand->req = ++errand->steward->req;
    const struct msg_operate word = {
        .req = errand->req, .action = errand->action, .node = slice_string(errand->router->id)};
    struct buf *packet = buf_new(64);
    packet_begin(packet, &sender, 0);
    record_encode(packet, &msg_operate_desc, &word);
    enum rc rc = bus_send(&self->bus, slice_string(to->id), packet);
    CHECK(rc == RC_OK || rc == RC_NOT_FOUND);
    buf_unref(&packet);
}

static void ask(void *context, uint64_t argument)
{
    (void)argument;
    struct errand *errand = context;
    if (errand->state != ERRAND_ASKING)
        return;
    say(errand);
    world_after(errand->steward->cluster->world, errand->is_hasty ? HASTY_US : ASK_US, ask, errand,
                0);
}

static void take_back(void *context, uint64_t argument)
{
    struct errand *errand = context;
    errand->state = ERRAND_ASKING;
    ask(context, argument);
}

/* ---- Answers ---- */

static void on_drained(struct errand *errand)
{
    struct steward *s = errand->steward;
    world_note(s->cluster->world, "%s is to hold nothing", errand->router->id);
    if (errand->is_removal) {
        errand->action = OPERATE_REMOVE;
        return;
    }
    errand->action = OPERATE_UNDRAIN;
    errand->state = ERRAND_RESTING;
    world_after(s->cluster->world, errand->rest_us, take_back, errand, 0);
}

static void on_removed(struct errand *errand)
{
    struct steward *s = errand->steward;
    world_note(s->cluster->world, "%s is removed", errand->router->id);
    s->removals++;
    errand->state = ERRAND_NONE;
    errand->router->is_removed = true;
    if (errand->router->is_alive)
        cluster_crash(s->cluster, errand->router);
}

static void on_result(struct steward *s, const struct msg_result *result)
{
    for (uint32_t i = 0; i < CLUSTER_ROUTERS_MAX; i++) {
        struct errand *errand = &s->errands[i];
        if (errand->state != ERRAND_ASKING || errand->req != result->req || result->rc != RC_OK)
            continue;
        errand->req = 0; /* What comes now answers an older word. */
        if (errand->action == OPERATE_DRAIN)
            on_drained(errand);
        else if (errand->action == OPERATE_REMOVE)
            on_removed(errand);
        else
            errand->state = ERRAND_NONE;
    }
}

static void on_request(void *context, struct slice from, const struct packet *packet)
{
    (void)from;
    struct record_reader r = packet->messages;
    struct msg_result result;
    while (!record_reader_at_end(&r))
        if (record_decode(&r, &msg_result_desc, &result) == RC_OK)
            on_result(context, &result);
        else if (record_skip(&r) != RC_OK)
            return;
}

static void on_publish(void *context, struct slice from, const struct packet *packet)
{
    (void)context;
    (void)from;
    (void)packet;
}

static void on_peer(void *context, const struct msg_node *node, bool up)
{
    (void)context;
    (void)node;
    (void)up;
}

/* ---- Life ---- */

void steward_init(struct steward *s, struct cluster *cluster)
{
    memset(s, 0, sizeof(*s));
    s->cluster = cluster;
    cluster_operator(cluster)->handler = (struct bus_handler){
        .context = s, .on_request = on_request, .on_publish = on_publish, .on_peer = on_peer};
    for (uint32_t i = 0; i < cluster->options.routers; i++)
        s->errands[i] = (struct errand){.steward = s, .router = cluster_router(cluster, i)};
}

/* Somebody must be left to hold the shards: one who has joined, and stays. */
static bool may_go(const struct steward *s, const struct sim_node *router)
{
    for (uint32_t i = 0; i < s->cluster->options.routers; i++) {
        const struct sim_node *other = &s->cluster->nodes[i];
        if (other != router && other->router != NULL && !other->is_removed &&
            s->errands[i].state == ERRAND_NONE)
            return router->router != NULL && s->errands[router->index].state == ERRAND_NONE;
    }
    return false;
}

static void begin(struct steward *s, const struct sim_node *router, bool is_removal, bool is_hasty,
                  uint64_t rest_us)
{
    if (!may_go(s, router))
        return;
    struct errand *errand = &s->errands[router->index];
    errand->router->is_leaving = is_removal;
    errand->state = ERRAND_ASKING;
    errand->action = OPERATE_DRAIN;
    errand->is_removal = is_removal;
    errand->is_hasty = is_hasty;
    errand->rest_us = rest_us;
    world_note(s->cluster->world, "%s is to be %s", router->id, is_removal ? "removed" : "drained");
    ask(errand, 0);
}

void steward_take_out(struct steward *s, struct sim_node *router, bool is_hasty)
{
    begin(s, router, true, is_hasty, 0);
}

void steward_rest(struct steward *s, struct sim_node *router, uint64_t us)
{
    begin(s, router, false, false, us);
}

bool steward_is_done(const struct steward *s, char *why, size_t why_size)
{
    for (uint32_t i = 0; i < s->cluster->options.routers; i++) {
        const struct errand *errand = &s->errands[i];
        if (errand->state == ERRAND_NONE)
            continue;
        snprintf(why, why_size, "C11: %s is still to be %s", errand->router->id,
                 errand->is_removal                  ? "removed"
                 : errand->action == OPERATE_UNDRAIN ? "taken back"
                                                     : "drained");
        return false;
    }
    return true;
}
