#include "storage/node_row.h"

#include <string.h>

#include "mesh/base/check.h"
#include "mesh/base/record.h"
#include "storage/sealed.h"

#define ROW_VERSION 1u

static const struct slice row_key = {.base = "N", .size = 1};

/* A string of at most size_max bytes, without a NUL, as a C string. */
static enum rc get_string(struct record_reader *r, char *into, size_t size_max)
{
    struct slice s;
    enum rc rc = record_get_slice(r, &s);
    if (rc != RC_OK || s.size == 0 || s.size > size_max || memchr(s.base, '\0', s.size) != NULL)
        return RC_CORRUPT;
    memcpy(into, s.base, s.size);
    into[s.size] = '\0';
    return RC_OK;
}

static enum rc get_u32(struct record_reader *r, uint32_t *ret_value)
{
    uint64_t value;
    enum rc rc = record_get_u64(r, &value);
    if (rc != RC_OK || value == 0 || value > UINT32_MAX)
        return RC_CORRUPT;
    *ret_value = (uint32_t)value;
    return RC_OK;
}

static enum rc decode(struct slice bytes, struct node_row *ret_row)
{
    struct node_row row = {0};
    struct slice body, cluster;
    enum rc rc = sealed_open(row_key, bytes, ROW_VERSION, &body);
    if (rc != RC_OK)
        return rc;
    struct record_reader r = record_reader_of(body);
    if (get_u32(&r, &row.format) != RC_OK || record_get_slice(&r, &cluster) != RC_OK ||
        cluster.size != sizeof(row.cluster) ||
        get_string(&r, row.node, LIMIT_NODE_ID_SIZE_MAX) != RC_OK ||
        get_u32(&r, &row.shards) != RC_OK ||
        get_string(&r, row.epoch, NODE_ROW_EPOCH_SIZE) != RC_OK || !record_reader_at_end(&r))
        return RC_CORRUPT;
    memcpy(row.cluster, cluster.base, sizeof(row.cluster));
    *ret_row = row;
    return RC_OK;
}

/* Is anything in the meta family? A directory that lost only its node row must not be born again.
 */
static enum rc judge_absence(struct kv *kv)
{
    struct slice key, value;
    struct kv_iterator *i =
        kv->ops->iterate(kv, KV_META, slice_of("", 0), slice_of("\xff", 1), false);
    bool found = kv->ops->next(i, &key, &value);
    enum rc rc = kv->ops->iterator_free(&i);
    if (rc != RC_OK)
        return rc;
    return found ? RC_CORRUPT : RC_NOT_FOUND;
}

enum rc node_row_load(struct kv *kv, struct node_row *ret_row)
{
    struct buf *bytes = buf_new(0);
    enum rc rc = kv->ops->get(kv, KV_META, row_key, bytes);
    if (rc == RC_OK)
        rc = decode(buf_slice(bytes), ret_row);
    else if (rc == RC_NOT_FOUND)
        rc = judge_absence(kv);
    buf_unref(&bytes);
    return rc;
}

void node_row_store(const struct node_row *row, struct kv_batch *batch)
{
    CHECK(row->node[0] != '\0' && row->format != 0 && row->shards != 0);
    CHECK(strlen(row->epoch) == NODE_ROW_EPOCH_SIZE);
    struct buf *bytes = buf_new(0);
    size_t begin = sealed_begin(bytes, ROW_VERSION);
    record_put_u64(bytes, row->format);
    record_put_slice(bytes, slice_of(row->cluster, sizeof(row->cluster)));
    record_put_slice(bytes, slice_string(row->node));
    record_put_u64(bytes, row->shards);
    record_put_slice(bytes, slice_string(row->epoch));
    sealed_end(bytes, begin, row_key);
    kv_put(batch, KV_META, row_key, buf_slice(bytes));
    buf_unref(&bytes);
}
