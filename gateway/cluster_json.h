/* cluster_json - how a cluster is, as one JSON object: what `chatmesh status --json` prints and
 * GET /v1/cluster answers.
 *
 * Pure: what discovery and routers said in, bytes out. */
#ifndef GATEWAY_CLUSTER_JSON_H
#define GATEWAY_CLUSTER_JSON_H

#include "gateway/cluster_view.h"
#include "mesh/wire/messages.h"

struct cluster_json_node {
    struct slice id;
    struct slice address;
    enum node_role role;
    uint64_t since_ms; /* Its start, ms since 1970. */
    bool is_leaving;
};

struct cluster_json {
    const uint8_t *id; /* 16 bytes; NULL: not known. */
    const struct cluster_json_node *nodes;
    uint32_t node_count;
    const struct cluster_view_answer *answers; /* Of the routers that did. */
    uint32_t answer_count;
};

struct cluster_json_node cluster_json_node(const struct msg_node *node);

void cluster_json_put(const struct cluster_json *cluster, struct buf *out);

#endif
