/* Stored rows, whose seal is right and whose body is anything: what a faulty writer, or a newer
 * version, might have left. No decoder may read beyond the row, and what it takes is what encoding
 * gives back.
 *
 * The input is bodies, each behind a byte with its size. Each is sealed and read as every row type;
 * together they are a shard's hard state, snapshot mark and log, and a node row; then what the
 * control group knows. */
#include "mesh/base/check.h"
#include "mesh/base/crypto.h"
#include "mesh/base/limits.h"
#include "nodes/router/machine.h"
#include "storage/keyspace.h"
#include "storage/mem_kv.h"
#include "storage/node_row.h"
#include "storage/raft_log_load.h"
#include "storage/rows.h"
#include "storage/sealed.h"

#define SHARD 7u

static const struct record_desc *const descs[] = {
#define M(x, X, n) &row_##x##_desc,
    ROWS(M)
#undef M
};

union any_row {
#define M(x, X, n) struct row_##x x;
    ROWS(M)
#undef M
};

static const struct slice some_key = {.base = "key", .size = 3};

/* The seal of every kind of row is this one (sealed.h); all are in their first version. */
static void seal(struct buf *row, struct slice key, struct slice body)
{
    buf_clear(row);
    size_t begin = sealed_begin(row, ROWS_VERSION);
    buf_append_slice(row, body);
    sealed_end(row, begin, key);
}

static void check_row(struct slice value, const struct record_desc *desc)
{
    union any_row first, second;
    if (rows_decode(some_key, value, desc, &first) != RC_OK)
        return;
    struct buf *once = buf_new(0);
    struct buf *twice = buf_new(0);
    rows_encode(once, some_key, desc, &first);
    CHECK(rows_decode(some_key, buf_slice(once), desc, &second) == RC_OK);
    rows_encode(twice, some_key, desc, &second);
    CHECK(slice_equal(buf_slice(once), buf_slice(twice)));
    buf_unref(&once);
    buf_unref(&twice);
}

static void check_rows(struct slice body)
{
    struct buf *value = buf_new(0);
    uint64_t messages;
    struct slice record;
    seal(value, some_key, body);
    for (size_t i = 0; i < sizeof(descs) / sizeof(descs[0]); i++)
        check_row(buf_slice(value), descs[i]);
    if (rows_decode_entry(some_key, buf_slice(value), &messages, &record) == RC_OK)
        CHECK(record.base + record.size == (const char *)value->bytes + value->size);
    /* Under another key, or with a bit turned, it is not this row. */
    CHECK(sealed_open(slice_string("kez"), buf_slice(value), ROWS_VERSION, &record) == RC_CORRUPT);
    value->bytes[value->size - 1] ^= 1;
    CHECK(sealed_open(some_key, buf_slice(value), ROWS_VERSION, &record) == RC_CORRUPT);
    buf_unref(&value);
}

struct visited {
    uint64_t last_index, last_term;
};

static enum rc visit(void *context, const struct raft_log_entry *entry)
{
    struct visited *v = context;
    CHECK(v->last_index == 0 || entry->index == v->last_index + 1);
    CHECK(entry->term > 0 && entry->term >= v->last_term);
    v->last_index = entry->index;
    v->last_term = entry->term;
    return RC_OK;
}

static void check_log(struct kv *kv)
{
    struct visited visited = {0};
    struct raft_log_loaded loaded = {0};
    enum rc rc = raft_log_load(kv, SHARD, &loaded, visit, &visited);
    CHECK(rc == RC_OK || rc == RC_CORRUPT || rc == RC_NOT_FOUND);
    if (rc == RC_OK) {
        CHECK(loaded.hard.term >= visited.last_term && loaded.hard.term >= loaded.snapshot.term);
        CHECK(visited.last_index == 0 || visited.last_index == loaded.last_index);
    }
    raft_log_loaded_fini(&loaded);
}

static struct slice next_body(struct slice *rest)
{
    if (rest->size == 0)
        return (struct slice){0};
    uint32_t size = (uint8_t)rest->base[0];
    if (size > rest->size - 1)
        size = rest->size - 1;
    struct slice body = slice_of(rest->base + 1, size);
    *rest = slice_of(body.base + size, rest->size - 1 - size);
    return body;
}

static void put(struct kv_batch *batch, enum kv_family family, struct slice key, struct slice body)
{
    if (body.size == 0)
        return;
    struct buf *row = buf_new(0);
    seal(row, key, body);
    kv_put(batch, family, key, buf_slice(row));
    buf_unref(&row);
}

/* A control group opens on such rows, and reads its list, or says that they are corrupt. */
static void check_control(struct slice rest)
{
    static const uint8_t cluster[16];
    const struct keyspace space = {.shard = CONTROL_GROUP, .generation = 1};
    struct kv *kv = mem_kv_new();
    struct kv_batch *batch = kv->ops->batch_new(kv);
    struct keyspace_key key;
    struct machine *machine;
    keyspace_table(&key, &space, KEYSPACE_APPLIED);
    put(batch, KV_STATE, keyspace_slice(&key), next_body(&rest));
    keyspace_table(&key, &space, KEYSPACE_CLUSTER);
    put(batch, KV_STATE, keyspace_slice(&key), next_body(&rest));
    for (char name = 'a'; rest.size > 0 && name <= 'd'; name++) {
        keyspace_name(&key, &space, KEYSPACE_ROUTER, slice_of(&name, 1));
        put(batch, KV_STATE, keyspace_slice(&key), next_body(&rest));
    }
    CHECK(kv->ops->write(kv, batch) == RC_OK);
    enum rc rc = machine_open(kv, CONTROL_GROUP, 1, cluster, &machine);
    CHECK(rc == RC_OK || rc == RC_CORRUPT);
    if (rc == RC_OK) {
        struct machine_cluster known;
        struct buf *routers = buf_new(0);
        bool is_founded = machine_cluster(machine, &known) == RC_OK;
        rc = machine_routers(machine, routers);
        CHECK(rc == RC_OK || (rc == RC_CORRUPT && !is_founded));
        buf_unref(&routers);
        machine_free(&machine);
    }
    kv->ops->batch_free(&batch);
    kv->ops->close(&kv);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    crypto_start();
    check_rows(slice_of(data, size));
    check_control(slice_of(data, size));

    struct slice rest = slice_of(data, size);
    struct kv *kv = mem_kv_new();
    struct kv_batch *batch = kv->ops->batch_new(kv);
    uint8_t key[RAFT_LOG_ENTRY_KEY_SIZE];
    put(batch, KV_META, slice_string("N"), next_body(&rest));
    put(batch, KV_META, raft_log_hard_key(key, SHARD), next_body(&rest));
    put(batch, KV_META, raft_log_snapshot_key(key, SHARD), next_body(&rest));
    for (uint64_t index = 1; rest.size > 0 && index <= 16; index++)
        put(batch, KV_LOG, raft_log_entry_key(key, SHARD, index), next_body(&rest));
    CHECK(kv->ops->write(kv, batch) == RC_OK);

    struct node_row node;
    enum rc rc = node_row_load(kv, &node);
    CHECK(rc == RC_OK || rc == RC_CORRUPT || rc == RC_NOT_FOUND);
    if (rc == RC_OK)
        CHECK(node.node[0] != '\0' && node.shards != 0 && node.format != 0);
    check_log(kv);
    kv->ops->batch_free(&batch);
    kv->ops->close(&kv);
    return 0;
}
