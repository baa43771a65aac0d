#include "storage/mem_kv.h"

#include "mesh/base/check.h"
#include "mesh/base/list.h"
#include "mesh/base/mem.h"

#define HEIGHT_MAX    16u   /* Enough for 4^16 keys: each level holds a quarter of the one below. */
#define REMOVED_COUNT 1024u /* Removed keys that may linger in the lists before they are swept. */

/* What a key holds since a batch. */
struct version {
    struct version *older;
    uint64_t batch;
    uint32_t size;
    bool is_absent; /* Removed by that batch. */
    char bytes[];
};

struct node {
    struct slice key; /* Its bytes follow next[]. */
    struct version *newest;
    uint32_t height;
    struct node *next[];
};

struct family {
    struct node *head[HEIGHT_MAX]; /* First node of each level. */
};

struct mem_kv {
    struct kv kv;
    struct family families[KV_FAMILY_COUNT];
    uint64_t written; /* Number of the newest batch; the first is 1. */
    uint64_t synced;  /* Batches up to this one survive a crash. */
    uint64_t random;  /* For heights; a fixed start. */
    uint32_t removed; /* Keys removed since the last sweep. */
    struct list iterators;
    void (*on_synced)(void *context, enum rc rc); /* NULL: no sync is pending. */
    void *context;
    uint64_t syncing; /* The batch the pending sync reaches to. */
    uint32_t write_countdown, sync_countdown;
    enum rc write_rc, sync_rc; /* To fail with when the countdown is over; RC_OK: never. */
    enum rc failed;            /* The first failure, final. */
};

enum op_kind {
    OP_PUT,
    OP_REMOVE,
    OP_REMOVE_RANGE,
};

struct op {
    enum op_kind kind;
    enum kv_family family;
    size_t offset; /* Of the key in `bytes`; the value, or the end of the range, follows. */
    uint32_t key_size, value_size;
};

struct mem_batch {
    struct kv_batch batch;
    struct op *ops;
    size_t count, capacity;
    struct buf *bytes;
};

struct kv_iterator {
    struct list member; /* Of kv->iterators, the oldest first. */
    struct mem_kv *kv;
    struct family *family;
    uint64_t as_of;
    struct slice from, to; /* Into bounds. */
    char *bounds;
    bool backwards, started;
    struct node *at; /* The node last returned; NULL: past the end. */
};

/* ---- The skip list ---- */

/* The first node at or after `key`; links[level] is where a node before it hangs on each level. */
static struct node *find(struct family *family, struct slice key, struct node **links[HEIGHT_MAX])
{
    struct node **next = family->head;
    for (uint32_t level = HEIGHT_MAX; level-- > 0;) {
        while (next[level] != NULL && slice_compare(next[level]->key, key) < 0)
            next = next[level]->next;
        links[level] = &next[level];
    }
    return next[0];
}

static struct node *first_at_or_after(struct family *family, struct slice key)
{
    struct node **links[HEIGHT_MAX];
    return find(family, key, links);
}

static struct node *last_before(struct family *family, struct slice key)
{
    struct node *last = NULL;
    struct node **next = family->head;
    for (uint32_t level = HEIGHT_MAX; level-- > 0;)
        while (next[level] != NULL && slice_compare(next[level]->key, key) < 0) {
            last = next[level];
            next = last->next;
        }
    return last;
}

static uint32_t draw_height(struct mem_kv *kv)
{
    kv->random ^= kv->random << 13; /* Marsaglia 2003, xorshift. */
    kv->random ^= kv->random >> 7;
    kv->random ^= kv->random << 17;
    uint32_t height = 1;
    for (uint64_t bits = kv->random; height < HEIGHT_MAX && (bits & 3) == 0; bits >>= 2)
        height++;
    return height;
}

static struct node *find_or_insert(struct mem_kv *kv, struct family *family, struct slice key)
{
    struct node **links[HEIGHT_MAX];
    struct node *node = find(family, key, links);
    if (node != NULL && slice_equal(node->key, key))
        return node;
    uint32_t height = draw_height(kv);
    size_t size = sizeof(*node) + height * sizeof(struct node *);
    node = mem_alloc(size + key.size);
    if (key.size != 0)
        memcpy((char *)node + size, key.base, key.size);
    node->key = slice_of((char *)node + size, key.size);
    node->newest = NULL;
    node->height = height;
    for (uint32_t level = 0; level < height; level++) {
        node->next[level] = *links[level];
        *links[level] = node;
    }
    return node;
}

/* ---- Versions ---- */

static void free_versions(struct version *version)
{
    while (version != NULL) {
        struct version *older = version->older;
        mem_free(version);
        version = older;
    }
}

static const struct version *version_as_of(const struct node *node, uint64_t batch)
{
    const struct version *version = node->newest;
    while (version != NULL && version->batch > batch)
        version = version->older;
    return version != NULL && !version->is_absent ? version : NULL;
}

/* Drop what neither a crash nor an open iterator can go back to. */
static void prune(struct mem_kv *kv, struct node *node)
{
    uint64_t horizon = kv->synced;
    if (!list_is_empty(&kv->iterators)) {
        const struct kv_iterator *oldest = LIST_FIRST(&kv->iterators, struct kv_iterator, member);
        if (oldest->as_of < horizon)
            horizon = oldest->as_of;
    }
    struct version *version = node->newest;
    while (version != NULL && version->batch > horizon)
        version = version->older;
    if (version != NULL) {
        free_versions(version->older);
        version->older = NULL;
    }
}

static void add_version(struct mem_kv *kv, struct node *node, const struct slice *value)
{
    uint32_t size = value != NULL ? value->size : 0;
    struct version *version = mem_alloc(sizeof(*version) + size);
    version->older = node->newest;
    version->batch = kv->written;
    version->size = size;
    version->is_absent = value == NULL;
    if (size != 0)
        memcpy(version->bytes, value->base, size);
    node->newest = version;
    kv->removed += value == NULL;
    prune(kv, node);
}

/* ---- Batches ---- */

static struct kv_batch *batch_new(struct kv *kv)
{
    struct mem_batch *batch = mem_new(struct mem_batch);
    batch->batch.ops = kv->ops;
    batch->bytes = buf_new(0);
    return &batch->batch;
}

static void batch_free(struct kv_batch **batch)
{
    struct mem_batch *taken = (struct mem_batch *)*batch;
    *batch = NULL;
    if (taken == NULL)
        return;
    buf_unref(&taken->bytes);
    mem_free(taken->ops);
    mem_free(taken);
}

static void add_op(struct kv_batch *batch, enum op_kind kind, enum kv_family family,
                   struct slice key, struct slice value)
{
    struct mem_batch *b = (struct mem_batch *)batch;
    CHECK(family < KV_FAMILY_COUNT);
    if (b->count == b->capacity) {
        b->capacity = b->capacity != 0 ? 2 * b->capacity : 16;
        b->ops = mem_resize(b->ops, b->capacity * sizeof(*b->ops));
    }
    b->ops[b->count++] = (struct op){.kind = kind,
                                     .family = family,
                                     .offset = b->bytes->size,
                                     .key_size = key.size,
                                     .value_size = value.size};
    buf_append_slice(b->bytes, key);
    buf_append_slice(b->bytes, value);
}

static void put(struct kv_batch *batch, enum kv_family family, struct slice key, struct slice value)
{
    add_op(batch, OP_PUT, family, key, value);
}

static void remove_key(struct kv_batch *batch, enum kv_family family, struct slice key)
{
    add_op(batch, OP_REMOVE, family, key, (struct slice){0});
}

static void remove_range(struct kv_batch *batch, enum kv_family family, struct slice from,
                         struct slice to)
{
    add_op(batch, OP_REMOVE_RANGE, family, from, to);
}

static size_t batch_count(const struct kv_batch *batch)
{
    return ((const struct mem_batch *)batch)->count;
}

static void apply(struct mem_kv *kv, const struct mem_batch *batch, const struct op *op)
{
    struct family *family = &kv->families[op->family];
    struct slice key = slice_of(batch->bytes->bytes + op->offset, op->key_size);
    struct slice value = slice_of(key.base + key.size, op->value_size);
    if (op->kind == OP_PUT) {
        add_version(kv, find_or_insert(kv, family, key), &value);
        return;
    }
    struct node *node = first_at_or_after(family, key);
    if (op->kind == OP_REMOVE) {
        if (node != NULL && slice_equal(node->key, key))
            add_version(kv, node, NULL);
        return;
    }
    for (; node != NULL && slice_compare(node->key, value) < 0; node = node->next[0])
        if (node->newest != NULL && !node->newest->is_absent)
            add_version(kv, node, NULL);
}

/* Count down to the failure that a test asked for. */
static enum rc maybe_fail(struct mem_kv *kv, uint32_t *countdown, enum rc rc)
{
    if (kv->failed != RC_OK || rc == RC_OK)
        return kv->failed;
    if (*countdown > 0)
        (*countdown)--;
    else
        kv->failed = rc;
    return kv->failed;
}

static enum rc write_batch(struct kv *kv, struct kv_batch *batch)
{
    struct mem_kv *m = (struct mem_kv *)kv;
    struct mem_batch *b = (struct mem_batch *)batch;
    enum rc rc = maybe_fail(m, &m->write_countdown, m->write_rc);
    if (rc != RC_OK)
        return rc;
    m->written++;
    for (size_t i = 0; i < b->count; i++)
        apply(m, b, &b->ops[i]);
    b->count = 0;
    buf_clear(b->bytes);
    return RC_OK;
}

/* ---- Reads ---- */

static enum rc get(struct kv *kv, enum kv_family family, struct slice key, struct buf *into)
{
    struct mem_kv *m = (struct mem_kv *)kv;
    CHECK(family < KV_FAMILY_COUNT);
    struct node *node = first_at_or_after(&m->families[family], key);
    if (node == NULL || !slice_equal(node->key, key))
        return RC_NOT_FOUND;
    const struct version *version = version_as_of(node, m->written);
    if (version == NULL)
        return RC_NOT_FOUND;
    buf_append(into, version->bytes, version->size);
    return RC_OK;
}

static struct kv_iterator *iterate(struct kv *kv, enum kv_family family, struct slice from,
                                   struct slice to, bool backwards)
{
    struct mem_kv *m = (struct mem_kv *)kv;
    CHECK(family < KV_FAMILY_COUNT);
    struct kv_iterator *i = mem_new(struct kv_iterator);
    i->kv = m;
    i->family = &m->families[family];
    i->as_of = m->written;
    i->bounds = mem_alloc((size_t)from.size + to.size);
    i->from = slice_of(i->bounds, from.size);
    i->to = slice_of(i->bounds + from.size, to.size);
    if (from.size != 0)
        memcpy(i->bounds, from.base, from.size);
    if (to.size != 0)
        memcpy(i->bounds + from.size, to.base, to.size);
    i->backwards = backwards;
    list_append(&m->iterators, &i->member);
    return i;
}

static struct node *advance(struct kv_iterator *i)
{
    if (i->backwards)
        return last_before(i->family, i->started ? i->at->key : i->to);
    return i->started ? i->at->next[0] : first_at_or_after(i->family, i->from);
}

static bool next(struct kv_iterator *i, struct slice *ret_key, struct slice *ret_value)
{
    if (i->started && i->at == NULL)
        return false;
    for (;;) {
        i->at = advance(i);
        i->started = true;
        if (i->at == NULL || slice_compare(i->at->key, i->from) < 0 ||
            slice_compare(i->at->key, i->to) >= 0) {
            i->at = NULL;
            return false;
        }
        const struct version *version = version_as_of(i->at, i->as_of);
        if (version == NULL)
            continue;
        *ret_key = i->at->key;
        *ret_value = slice_of(version->bytes, version->size);
        return true;
    }
}

static enum rc iterator_free(struct kv_iterator **iterator)
{
    struct kv_iterator *taken = *iterator;
    *iterator = NULL;
    if (taken == NULL)
        return RC_OK;
    list_remove(&taken->member);
    mem_free(taken->bounds);
    mem_free(taken);
    return RC_OK;
}

/* ---- Durability ---- */

static void start_sync(struct kv *kv, void (*on_synced)(void *context, enum rc rc), void *context)
{
    struct mem_kv *m = (struct mem_kv *)kv;
    CHECK(m->on_synced == NULL);
    m->on_synced = on_synced;
    m->context = context;
    m->syncing = m->written;
}

/* Forget what came after the batch `written`, and sweep the keys that stay absent whatever happens.
 */
static void sweep_family(struct mem_kv *kv, struct family *family)
{
    struct node **links[HEIGHT_MAX];
    for (uint32_t level = 0; level < HEIGHT_MAX; level++)
        links[level] = &family->head[level];
    struct node *node = family->head[0];
    while (node != NULL) {
        struct node *after = node->next[0];
        while (node->newest != NULL && node->newest->batch > kv->written) {
            struct version *lost = node->newest;
            node->newest = lost->older;
            mem_free(lost);
        }
        bool is_gone =
            node->newest == NULL || (node->newest->is_absent && node->newest->batch <= kv->synced);
        for (uint32_t level = 0; level < node->height; level++) {
            if (is_gone)
                *links[level] = node->next[level];
            else
                links[level] = &node->next[level];
        }
        if (is_gone) {
            free_versions(node->newest);
            mem_free(node);
        }
        node = after;
    }
}

static void sweep(struct mem_kv *kv)
{
    for (uint32_t i = 0; i < KV_FAMILY_COUNT; i++)
        sweep_family(kv, &kv->families[i]);
    kv->removed = 0;
}

bool mem_kv_sync_is_pending(const struct kv *kv)
{
    return ((const struct mem_kv *)kv)->on_synced != NULL;
}

uint64_t mem_kv_unsynced(const struct kv *kv)
{
    const struct mem_kv *m = (const struct mem_kv *)kv;
    return m->written - m->synced;
}

bool mem_kv_complete_sync(struct kv *kv)
{
    struct mem_kv *m = (struct mem_kv *)kv;
    void (*on_synced)(void *context, enum rc rc) = m->on_synced;
    if (on_synced == NULL)
        return false;
    m->on_synced = NULL; /* The callback may ask for the next. */
    enum rc rc = maybe_fail(m, &m->sync_countdown, m->sync_rc);
    if (rc == RC_OK) {
        m->synced = m->syncing;
        if (m->removed > REMOVED_COUNT && list_is_empty(&m->iterators))
            sweep(m);
    }
    on_synced(m->context, rc);
    return true;
}

void mem_kv_crash(struct kv *kv, uint64_t lose_count)
{
    struct mem_kv *m = (struct mem_kv *)kv;
    CHECK(list_is_empty(&m->iterators));
    uint64_t unsynced = mem_kv_unsynced(kv);
    m->written -= lose_count < unsynced ? lose_count : unsynced;
    m->synced = m->written;
    sweep(m);
    m->on_synced = NULL;
    m->write_rc = RC_OK;
    m->sync_rc = RC_OK;
    m->failed = RC_OK;
}

void mem_kv_fail_write(struct kv *kv, uint32_t countdown, enum rc rc)
{
    struct mem_kv *m = (struct mem_kv *)kv;
    m->write_countdown = countdown;
    m->write_rc = rc;
}

void mem_kv_fail_sync(struct kv *kv, uint32_t countdown, enum rc rc)
{
    struct mem_kv *m = (struct mem_kv *)kv;
    m->sync_countdown = countdown;
    m->sync_rc = rc;
}

/* ---- Life ---- */

static void close_store(struct kv **kv)
{
    struct mem_kv *taken = (struct mem_kv *)*kv;
    *kv = NULL;
    if (taken == NULL)
        return;
    CHECK(list_is_empty(&taken->iterators));
    for (uint32_t i = 0; i < KV_FAMILY_COUNT; i++) {
        struct node *node = taken->families[i].head[0];
        while (node != NULL) {
            struct node *after = node->next[0];
            free_versions(node->newest);
            mem_free(node);
            node = after;
        }
    }
    mem_free(taken);
}

/* When a sync is done is for the test to say. */
static bool sync_inline(struct kv *kv, enum rc *ret_rc)
{
    (void)kv;
    (void)ret_rc;
    return false;
}

static const struct kv_ops mem_kv_ops = {
    .close = close_store,
    .get = get,
    .batch_new = batch_new,
    .batch_free = batch_free,
    .put = put,
    .remove = remove_key,
    .remove_range = remove_range,
    .batch_count = batch_count,
    .write = write_batch,
    .sync_inline = sync_inline,
    .sync = start_sync,
    .iterate = iterate,
    .next = next,
    .iterator_free = iterator_free,
};

struct kv *mem_kv_new(void)
{
    struct mem_kv *kv = mem_new(struct mem_kv);
    kv->kv.ops = &mem_kv_ops;
    kv->random = 0x9E3779B97F4A7C15u;
    list_init(&kv->iterators);
    return &kv->kv;
}
