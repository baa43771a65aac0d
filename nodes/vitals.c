#include "nodes/vitals.h"

#include <inttypes.h>

static enum http_next answer_health(const struct vitals_site *site, const struct vitals *vitals,
                                    bool is_head, struct buf *out)
{
    const struct router_health *health = &vitals->health;
    struct buf *members = buf_new(512);
    buf_append_format(members,
                      "\"shards\":{\"total\":%" PRIu32 ",\"led\":%" PRIu32 "},"
                      "\"replicas\":{\"held\":%" PRIu32 ",\"leaderless\":%" PRIu32 "},"
                      "\"gateways\":%" PRIu64 ",\"routers\":{\"up\":%" PRIu32 ",\"missing\":",
                      health->shards_total, health->shards_led, health->replicas,
                      health->leaderless, health->gateways, health->routers_up);
    http_put_names(members, health->missing);
    buf_append_string(members, "},");
    enum http_next next =
        http_put_health(&site->node, out, vitals->reason, buf_slice(members), is_head);
    buf_unref(&members);
    return next;
}

/* Gauges that nobody keeps are read when they are asked for. */
static enum http_next answer_metrics(const struct vitals_site *site, const struct vitals *vitals,
                                     bool is_head, struct buf *out)
{
    metric_set(up, vitals->reason == NULL);
    metric_set(shards_led, vitals->health.shards_led);
    metric_set(replicas_held, vitals->health.replicas);
    metric_set(replicas_leaderless, vitals->health.leaderless);
    metric_set(moves_pending, vitals->health.moves_pending);
    return http_put_metrics(&site->node, out, is_head);
}

enum http_next vitals_answer(const struct vitals_site *site, const struct http_request *request,
                             struct buf *out)
{
    bool is_head = request->method == HTTP_HEAD;
    bool is_health = slice_equals(request->path, "/health");
    struct vitals vitals;
    if (!is_health && !slice_equals(request->path, "/metrics"))
        return http_put_not_found(&site->node, out, is_head);
    if (request->method != HTTP_GET && !is_head)
        return http_put_only_get(&site->node, out);
    site->read(site->context, &vitals);
    return is_health ? answer_health(site, &vitals, is_head, out)
                     : answer_metrics(site, &vitals, is_head, out);
}
