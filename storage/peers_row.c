#include "storage/peers_row.h"

#include <string.h>

#include "mesh/base/check.h"
#include "mesh/base/record.h"
#include "storage/sealed.h"

#define ROW_VERSION 1u

static const struct slice row_key = {.base = "P", .size = 1};

/* Names and endpoints are printed as they are. */
static bool is_plain(struct slice text)
{
    for (uint32_t i = 0; i < text.size; i++)
        if (text.base[i] <= ' ' || text.base[i] > '~' || text.base[i] == '"' ||
            text.base[i] == '\\')
            return false;
    return true;
}

static enum rc get_text(struct record_reader *r, char *into, size_t size_max)
{
    struct slice text;
    if (record_get_slice(r, &text) != RC_OK || text.size > size_max || !is_plain(text))
        return RC_CORRUPT;
    if (text.size > 0)
        memcpy(into, text.base, text.size);
    return RC_OK;
}

static enum rc decode(struct slice bytes, struct peers_row *row)
{
    struct slice body, cluster;
    if (sealed_open(row_key, bytes, ROW_VERSION, &body) != RC_OK)
        return RC_CORRUPT;
    struct record_reader r = record_reader_of(body);
    if (record_get_slice(&r, &cluster) != RC_OK || cluster.size != sizeof(row->cluster))
        return RC_CORRUPT;
    memcpy(row->cluster, cluster.base, sizeof(row->cluster));
    while (!record_reader_at_end(&r)) {
        if (row->count == PEERS_ROW_COUNT_MAX)
            return RC_CORRUPT;
        struct peers_row_peer *peer = &row->peers[row->count++];
        if (get_text(&r, peer->node, LIMIT_NODE_ID_SIZE_MAX) != RC_OK || peer->node[0] == '\0' ||
            get_text(&r, peer->endpoint, PEERS_ROW_ENDPOINT_SIZE_MAX) != RC_OK)
            return RC_CORRUPT;
    }
    return RC_OK;
}

enum rc peers_row_load(struct kv *kv, struct peers_row *ret_row)
{
    struct peers_row row;
    memset(&row, 0, sizeof(row));
    struct buf *bytes = buf_new(0);
    enum rc rc = kv->ops->get(kv, KV_META, row_key, bytes);
    if (rc == RC_OK)
        rc = decode(buf_slice(bytes), &row);
    if (rc == RC_OK)
        *ret_row = row;
    buf_unref(&bytes);
    return rc;
}

void peers_row_store(const struct peers_row *row, struct kv_batch *batch)
{
    CHECK(row->count <= PEERS_ROW_COUNT_MAX);
    struct buf *bytes = buf_new(0);
    size_t begin = sealed_begin(bytes, ROW_VERSION);
    record_put_slice(bytes, slice_of(row->cluster, sizeof(row->cluster)));
    for (uint32_t i = 0; i < row->count; i++) {
        record_put_slice(bytes, slice_string(row->peers[i].node));
        record_put_slice(bytes, slice_string(row->peers[i].endpoint));
    }
    sealed_end(bytes, begin, row_key);
    kv_put(batch, KV_META, row_key, buf_slice(bytes));
    buf_unref(&bytes);
}
