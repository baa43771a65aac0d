#include "nodes/status.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "gateway/cluster_json.h"
#include "mesh/base/crypto.h"
#include "mesh/base/mem.h"
#include "nodes/asker.h"
#include "nodes/tools.h"

struct status {
    struct asker asker;
    uint64_t deadline_us;
};

static void on_turn(void *context)
{
    struct status *s = context;
    if (asker_is_complete(&s->asker) || asker_now_us(&s->asker) >= s->deadline_us)
        asker_stop(&s->asker);
}

static uint64_t due_us(void *context)
{
    struct status *s = context;
    uint64_t settled_us = s->asker.settled_us;
    return settled_us > asker_now_us(&s->asker) && settled_us < s->deadline_us ? settled_us
                                                                               : s->deadline_us;
}

/* ---- What both forms need ---- */

static const struct msg_node *node_of(const struct status *s, const char *id)
{
    const struct msg_node *node;
    for (size_t at = 0; (node = asker_next_node(&s->asker, &at)) != NULL;)
        if (slice_equals(node->id, id))
            return node;
    return NULL;
}

static struct slice address_of(const struct msg_node *node)
{
    return node->role == NODE_ROUTER ? node->gossip : node->http;
}

static void print_cluster(const struct status *s, char text[33])
{
    const uint8_t *cluster = zmq_bus_cluster(s->asker.bus);
    text[0] = '\0';
    if (cluster != NULL)
        crypto_hex(cluster, 16, text);
}

/* ---- JSON ---- */

static void print_json(const struct status *s)
{
    const struct asker *a = &s->asker;
    struct cluster_json cluster = {.id = zmq_bus_cluster(a->bus)};
    struct cluster_view_answer *answers = mem_zero((a->router_count + 1) * sizeof(*answers));
    struct cluster_json_node *nodes = mem_zero(LIMIT_MEMBERS_MAX * sizeof(*nodes));
    const struct msg_node *node;
    for (size_t at = 0;
         cluster.node_count < LIMIT_MEMBERS_MAX && (node = asker_next_node(a, &at)) != NULL;)
        nodes[cluster.node_count++] = cluster_json_node(node);
    for (uint32_t i = 0; i < a->router_count; i++) {
        const struct asker_router *r = &a->routers[i];
        if (r->json == NULL)
            continue;
        struct cluster_view_answer *answer = &answers[cluster.answer_count++];
        snprintf(answer->node, sizeof(answer->node), "%s", r->id);
        answer->json = buf_slice(r->json);
    }
    cluster.nodes = nodes;
    cluster.answers = answers;
    struct buf *out = buf_new(4096);
    cluster_json_put(&cluster, out);
    buf_append_byte(out, '\n');
    fwrite(out->bytes, 1, out->size, stdout);
    buf_unref(&out);
    mem_free(nodes);
    mem_free(answers);
}

/* ---- Tables ---- */

static void print_time(uint64_t wall_ms, char text[32])
{
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm utc;
    gmtime_r(&seconds, &utc);
    strftime(text, 32, "%Y-%m-%dT%H:%M:%SZ", &utc);
}

static void print_size(uint64_t bytes, char text[32])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double size = (double)bytes;
    size_t unit = 0;
    for (; size >= 1024 && unit < 4; unit++)
        size /= 1024;
    snprintf(text, 32, unit == 0 ? "%.0f %s" : "%.1f %s", size, units[unit]);
}

/* What only a router itself can tell. */
static void print_number(const struct cluster_view_router *r, uint64_t number, char text[32])
{
    if (r->has_answered)
        snprintf(text, 32, "%" PRIu64, number);
    else
        snprintf(text, 32, "-");
}

static void print_router(const struct status *s, const struct cluster_view *view,
                         const struct cluster_view_router *r)
{
    char led[32], pending[32], bytes[32], since[32] = "down";
    const struct msg_node *node = node_of(s, r->id);
    print_number(r, r->led, led);
    print_number(r, r->pending, pending);
    print_size(r->bytes, bytes);
    if (node != NULL)
        print_time(node->incarnation, since);
    printf("%-15s  %-8s  %-15s  %4s  %8" PRIu64 "  %5s  %10s  %-28.*s  %s\n", r->id,
           cluster_view_state(view, r), r->zone[0] != '\0' ? r->zone : "-", led, r->replicas,
           pending, r->has_answered ? bytes : "-",
           SLICE_ARGS(node != NULL            ? node->gossip
                      : r->address[0] != '\0' ? slice_string(r->address)
                                              : slice_string("-")),
           since);
}

/* Those that were removed stay on the list for ever, so that their names do not come back: they are
 * shown only while they still run. */
static uint32_t print_routers(const struct status *s, const struct cluster_view *view)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < view->router_count; i++) {
        const struct cluster_view_router *r = &view->routers[i];
        if (strcmp(r->state, "removed") == 0 && node_of(s, r->id) == NULL)
            continue;
        print_router(s, view, r);
        count++;
    }
    return count;
}

/* Routers that neither are on the list nor answered: they are joining. */
static uint32_t print_strangers(const struct status *s, const struct cluster_view *view)
{
    const struct msg_node *node;
    uint32_t count = 0;
    for (size_t at = 0; (node = asker_next_node(&s->asker, &at)) != NULL;) {
        if (node->role != NODE_ROUTER || cluster_view_router(view, node->id) != NULL)
            continue;
        struct cluster_view_router r = {.has_answered = false};
        snprintf(r.id, sizeof(r.id), "%.*s", SLICE_ARGS(node->id));
        print_router(s, view, &r);
        count++;
    }
    return count;
}

static uint32_t print_gateways(const struct status *s)
{
    char since[32];
    const struct msg_node *node;
    uint32_t count = 0;
    printf("\n%-15s  %-32s  %s\n", "GATEWAY", "ADDRESS", "UP SINCE");
    for (size_t at = 0; (node = asker_next_node(&s->asker, &at)) != NULL;) {
        if (node->role != NODE_GATEWAY)
            continue;
        print_time(node->incarnation, since);
        printf("%-15.*s  %-32.*s  %s\n", SLICE_ARGS(node->id), SLICE_ARGS(address_of(node)), since);
        count++;
    }
    return count;
}

/* Those of the cluster that nobody hears, in one line. */
static void print_missing(const struct status *s, const struct cluster_view *view)
{
    const char *before = "missing: ";
    for (uint32_t i = 0; i < view->router_count; i++) {
        const struct cluster_view_router *r = &view->routers[i];
        if (strcmp(r->state, "removed") == 0 || node_of(s, r->id) != NULL)
            continue;
        printf("%s%s", before, r->id);
        before = ", ";
    }
    if (before[0] == ',')
        printf("; nobody hears them\n");
}

/* For what is waited. */
static void print_waits(const struct cluster_view *view)
{
    if (view->answered > 0 && !view->has_control)
        printf("no router leads the control group: until most of the routers that vote in it are "
               "there nothing is moved, drained, joined or removed\n");
    for (uint32_t i = 0; i < view->router_count; i++)
        if (view->routers[i].waits_for[0] != '\0')
            printf("%s is joining and waits for %s\n", view->routers[i].id,
                   view->routers[i].waits_for);
}

static void print_tables(const struct status *s, const struct cluster_view *view)
{
    char cluster[33], bytes[32];
    print_cluster(s, cluster);
    printf("cluster %s\n\n%-15s  %-8s  %-15s  %4s  %8s  %5s  %10s  %-28s  %s\n", cluster, "ROUTER",
           "STATE", "ZONE", "LED", "REPLICAS", "MOVES", "SENT", "ADDRESS", "UP SINCE");
    uint32_t routers = print_routers(s, view) + print_strangers(s, view);
    uint32_t gateways = print_gateways(s);
    printf("\nshards %" PRIu64 ", led %" PRIu64 "%s; routers %u, gateways %u; ", view->shards,
           view->led, view->led < view->shards ? " (some have no leader)" : "", routers, gateways);
    print_size(view->bytes, bytes);
    if (view->pending == 0)
        printf("nothing moves\n");
    else
        printf("%" PRIu64 " moves pending, %s sent so far\n", view->pending, bytes);
    print_missing(s, view);
    print_waits(view);
}

/* ---- Life ---- */

/* Where nobody serves, what was heard is shown all the same. */
static int show(const struct status *s)
{
    struct cluster_view view;
    const struct config *c = s->asker.config;
    size_t at = 0;
    (void)asker_view(&s->asker, &view);
    bool has_answer = view.answered > 0;
    if (has_answer || asker_next_node(&s->asker, &at) != NULL) {
        if (c->json)
            print_json(s);
        else
            print_tables(s, &view);
    }
    cluster_view_fini(&view);
    fflush(stdout);
    return has_answer ? EXIT_FINE : asker_fail_silent(&s->asker);
}

int status_run(struct config *c)
{
    struct status s = {.deadline_us = ENV_NEVER};
    s.asker.context = &s;
    s.asker.turn = on_turn;
    s.asker.due_us = due_us;
    int code = asker_open(&s.asker, c);
    if (code == EXIT_FINE) {
        s.deadline_us = asker_now_us(&s.asker) + (uint64_t)c->timeout_ms * 1000;
        asker_run(&s.asker);
        code = show(&s);
    }
    asker_close(&s.asker);
    return code;
}
