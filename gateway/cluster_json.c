#include "gateway/cluster_json.h"

#include <inttypes.h>

#include "gateway/json.h"
#include "mesh/base/crypto.h"

struct cluster_json_node cluster_json_node(const struct msg_node *node)
{
    return (struct cluster_json_node){
        .id = node->id,
        .address = node->role == NODE_ROUTER ? node->gossip : node->http,
        .role = node->role == NODE_ROUTER ? NODE_ROUTER : NODE_GATEWAY,
        .since_ms = node->incarnation,
        .is_leaving = node->leaving != 0,
    };
}

static bool is_up(const struct cluster_json *cluster, const char *id)
{
    for (uint32_t i = 0; i < cluster->node_count; i++)
        if (slice_equals(cluster->nodes[i].id, id))
            return true;
    return false;
}

static void put_nodes(const struct cluster_json *cluster, struct buf *out)
{
    for (uint32_t i = 0; i < cluster->node_count; i++) {
        const struct cluster_json_node *node = &cluster->nodes[i];
        buf_append_format(out, "%s{\"id\":\"%.*s\",\"role\":\"%s\",\"address\":", i > 0 ? "," : "",
                          SLICE_ARGS(node->id), node->role == NODE_ROUTER ? "router" : "gateway");
        json_append_string(out, node->address);
        buf_append_format(out, ",\"up_since\":%" PRIu64 ",\"state\":\"%s\"}", node->since_ms,
                          node->is_leaving ? "leaving" : "up");
    }
}

static void put_members(const struct cluster_json *cluster, const struct cluster_view *view,
                        struct buf *out)
{
    for (uint32_t i = 0; i < view->router_count; i++) {
        const struct cluster_view_router *r = &view->routers[i];
        buf_append_format(out, "%s{\"id\":\"%s\",\"zone\":", i > 0 ? "," : "", r->id);
        json_append_string(out, slice_string(r->zone));
        buf_append_format(out, ",\"weight\":%u,\"state\":", r->weight);
        json_append_string(out, slice_string(cluster_view_state(view, r)));
        buf_append_format(out,
                          ",\"up\":%s,\"led\":%" PRIu64 ",\"replicas\":%" PRIu64
                          ",\"moves\":{\"pending\":%" PRIu64 ",\"done\":%" PRIu64
                          ",\"bytes\":%" PRIu64 "}}",
                          is_up(cluster, r->id) ? "true" : "false", r->led, r->replicas, r->pending,
                          r->done, r->bytes);
    }
}

/* The answers of the routers as they are: what this program does not know is shown all the same. */
static void put_answers(const struct cluster_json *cluster, struct buf *out)
{
    for (uint32_t i = 0; i < cluster->answer_count; i++) {
        buf_append_string(out, i > 0 ? "," : "");
        buf_append_slice(out, cluster->answers[i].json);
    }
}

void cluster_json_put(const struct cluster_json *cluster, struct buf *out)
{
    char id[33] = "";
    struct cluster_view view;
    cluster_view_init(&view, cluster->answers, cluster->answer_count);
    if (cluster->id != NULL)
        crypto_hex(cluster->id, 16, id);
    buf_append_format(out, "{\"cluster\":\"%s\",\"nodes\":[", id);
    put_nodes(cluster, out);
    buf_append_format(out,
                      "],\"shards\":{\"total\":%" PRIu64 ",\"led\":%" PRIu64
                      "},\"moves\":{\"pending\":%" PRIu64 ",\"bytes\":%" PRIu64 "},\"members\":[",
                      view.shards, view.led, view.pending, view.bytes);
    put_members(cluster, &view, out);
    buf_append_string(out, "],\"routers\":[");
    put_answers(cluster, out);
    buf_append_string(out, "]}");
    cluster_view_fini(&view);
}
