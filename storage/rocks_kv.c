#include "storage/rocks_kv.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <rocksdb/c.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "mesh/base/check.h"
#include "mesh/base/mem.h"
#include "mesh/base/metrics.h"
#include "storage/rocks_kv_options.h"

#define SYNC_INLINE_US_MAX 1000u
#define SETTLED_COUNT      8192u /* Rows of a hashing memtable that are sorted in some 20 ms. */
#define SETTLE_TABLES_MAX  12u /* At level 0; with some more, a flush would wait for compaction. */

enum sync_state {
    SYNC_IDLE,    /* No one waits. */
    SYNC_WANTED,  /* The loop asked; the syncer has not begun. */
    SYNC_RUNNING, /* The syncer is at it. */
    SYNC_DONE,    /* The result waits for rocks_kv_poll(). */
};

struct rocks_kv {
    struct kv kv;
    rocksdb_t *db;
    rocksdb_options_t *options[ROCKS_FAMILY_COUNT];
    rocksdb_column_family_handle_t *families[ROCKS_FAMILY_COUNT];
    rocksdb_cache_t *cache;
    rocksdb_writeoptions_t *write_options;
    rocksdb_readoptions_t *read_options;
    enum rc failed; /* Of the loop: the first error, final. */

    void (*wake)(void *context);
    void *wake_context;
    void (*on_synced)(void *context, enum rc rc); /* Loop only. */
    void *context;

    pthread_t syncer;
    bool syncer_runs;
    pthread_mutex_t mutex; /* Guards the three below. */
    pthread_cond_t changed;
    enum sync_state state;
    uint64_t sync_us;  /* What a sync takes, as a moving average. */
    enum rc synced_rc; /* What the sync that is wanted begins with, and the one done ended with. */
    bool is_stopping;
};

struct rocks_batch {
    struct kv_batch batch;
    struct rocks_kv *kv;
    rocksdb_writebatch_t *writes;
    uint64_t puts; /* Since the last write, for the metric. */
};

struct kv_iterator {
    rocksdb_iterator_t *rocks;
    rocksdb_readoptions_t *options; /* Hold the bounds, which RocksDB does not copy. */
    char *bounds;
    bool backwards, started;
};

/* ---- Errors ---- */

/* RocksDB tells errors as text; takes it. A full disk is told apart because the operator can help.
 */
static enum rc take_error(char *error)
{
    if (error == NULL)
        return RC_OK;
    enum rc rc = RC_IO;
    if (strstr(error, "No space left on device") != NULL)
        rc = RC_NO_SPACE;
    else if (strncmp(error, "Corruption", strlen("Corruption")) == 0)
        rc = RC_CORRUPT;
    rocksdb_free(error);
    return rc;
}

/* As above, of a write: the first is final. */
static enum rc take_write_error(struct rocks_kv *kv, char *error)
{
    enum rc rc = take_error(error);
    if (kv->failed == RC_OK)
        kv->failed = rc;
    return kv->failed;
}

static struct rocks_kv *rocks_of(struct kv *kv)
{
    return (struct rocks_kv *)kv;
}

/* ---- Reads ---- */

static enum rc get(struct kv *kv, enum kv_family family, struct slice key, struct buf *into)
{
    struct rocks_kv *r = rocks_of(kv);
    CHECK(family < KV_FAMILY_COUNT);
    char *error = NULL;
    /* Pinned: one copy, from the block or memtable into the buf. */
    rocksdb_pinnableslice_t *pinned = rocksdb_get_pinned_cf(
        r->db, r->read_options, r->families[family], key.base, key.size, &error);
    if (error != NULL)
        return take_error(error);
    if (pinned == NULL)
        return RC_NOT_FOUND;
    size_t size;
    const char *value = rocksdb_pinnableslice_value(pinned, &size);
    buf_append(into, value, size);
    rocksdb_pinnableslice_destroy(pinned);
    return RC_OK;
}

static struct kv_iterator *iterate(struct kv *kv, enum kv_family family, struct slice from,
                                   struct slice to, bool backwards)
{
    struct rocks_kv *r = rocks_of(kv);
    CHECK(family < KV_FAMILY_COUNT);
    struct kv_iterator *i = mem_new(struct kv_iterator);
    i->bounds = mem_alloc((size_t)from.size + to.size);
    char *upper = i->bounds + from.size;
    if (from.size != 0)
        memcpy(i->bounds, from.base, from.size);
    if (to.size != 0)
        memcpy(upper, to.base, to.size);
    i->options = rocksdb_readoptions_create();
    rocksdb_readoptions_set_total_order_seek(i->options, 1); /* Hashed families too. */
    rocksdb_readoptions_set_iterate_lower_bound(i->options, i->bounds, from.size);
    rocksdb_readoptions_set_iterate_upper_bound(i->options, upper, to.size);
    i->rocks = rocksdb_create_iterator_cf(r->db, i->options, r->families[family]);
    i->backwards = backwards;
    return i;
}

static bool next(struct kv_iterator *i, struct slice *ret_key, struct slice *ret_value)
{
    if (!i->started && i->backwards)
        rocksdb_iter_seek_to_last(i->rocks);
    else if (!i->started)
        rocksdb_iter_seek_to_first(i->rocks);
    else if (!rocksdb_iter_valid(i->rocks))
        return false;
    else if (i->backwards)
        rocksdb_iter_prev(i->rocks);
    else
        rocksdb_iter_next(i->rocks);
    i->started = true;
    if (!rocksdb_iter_valid(i->rocks))
        return false;
    size_t size;
    const char *bytes = rocksdb_iter_key(i->rocks, &size);
    *ret_key = slice_of(bytes, size);
    bytes = rocksdb_iter_value(i->rocks, &size);
    *ret_value = slice_of(bytes, size);
    return true;
}

static enum rc iterator_free(struct kv_iterator **iterator)
{
    struct kv_iterator *taken = *iterator;
    *iterator = NULL;
    if (taken == NULL)
        return RC_OK;
    char *error = NULL;
    rocksdb_iter_get_error(taken->rocks, &error);
    rocksdb_iter_destroy(taken->rocks);
    rocksdb_readoptions_destroy(taken->options);
    mem_free(taken->bounds);
    mem_free(taken);
    return take_error(error);
}

static uint64_t property(struct rocks_kv *kv, enum kv_family family, const char *name)
{
    uint64_t value = 0;
    int failed = rocksdb_property_int_cf(kv->db, kv->families[family], name, &value);
    CHECK(failed == 0); /* The names are RocksDB's own. */
    return value;
}

static uint64_t count_tables(struct rocks_kv *kv, enum kv_family family)
{
    char *text =
        rocksdb_property_value_cf(kv->db, kv->families[family], "rocksdb.num-files-at-level0");
    CHECK(text != NULL);
    uint64_t count = strtoull(text, NULL, 10);
    rocksdb_free(text);
    return count;
}

/* Flush the active memtable in the background, unless that would wait: for the flush of another
 * memtable, or for compaction. Its rows come out of a table in order, so what is left to sort are
 * those written since, and the next flush has fewer. */
static bool settle(struct kv *kv, enum kv_family family)
{
    struct rocks_kv *r = rocks_of(kv);
    CHECK(family < KV_FAMILY_COUNT);
    if (family != KV_DEDUP)
        return true;
    uint64_t waiting = property(r, family, "rocksdb.num-entries-imm-mem-tables");
    uint64_t active = property(r, family, "rocksdb.num-entries-active-mem-table");
    if (waiting + active <= SETTLED_COUNT)
        return true;
    if (r->failed != RC_OK || property(r, family, "rocksdb.num-immutable-mem-table") > 0 ||
        count_tables(r, family) > SETTLE_TABLES_MAX)
        return false;
    char *error = NULL;
    rocksdb_flushoptions_t *options = rocksdb_flushoptions_create();
    rocksdb_flushoptions_set_wait(options, 0);
    rocksdb_flush_cf(r->db, options, r->families[family], &error);
    rocksdb_flushoptions_destroy(options);
    (void)take_write_error(r, error); /* The next write tells. */
    return false;
}

/* ---- Batches ---- */

static struct kv_batch *batch_new(struct kv *kv)
{
    struct rocks_batch *batch = mem_new(struct rocks_batch);
    batch->batch.ops = kv->ops;
    batch->kv = rocks_of(kv);
    batch->writes = rocksdb_writebatch_create();
    return &batch->batch;
}

static void batch_free(struct kv_batch **batch)
{
    struct rocks_batch *taken = (struct rocks_batch *)*batch;
    *batch = NULL;
    if (taken == NULL)
        return;
    rocksdb_writebatch_destroy(taken->writes);
    mem_free(taken);
}

static void put(struct kv_batch *batch, enum kv_family family, struct slice key, struct slice value)
{
    struct rocks_batch *b = (struct rocks_batch *)batch;
    CHECK(family < KV_FAMILY_COUNT);
    rocksdb_writebatch_put_cf(b->writes, b->kv->families[family], key.base, key.size, value.base,
                              value.size);
    b->puts++;
}

static void remove_key(struct kv_batch *batch, enum kv_family family, struct slice key)
{
    struct rocks_batch *b = (struct rocks_batch *)batch;
    CHECK(family < KV_FAMILY_COUNT);
    rocksdb_writebatch_delete_cf(b->writes, b->kv->families[family], key.base, key.size);
}

static void remove_range(struct kv_batch *batch, enum kv_family family, struct slice from,
                         struct slice to)
{
    struct rocks_batch *b = (struct rocks_batch *)batch;
    CHECK(family < KV_FAMILY_COUNT);
    rocksdb_writebatch_delete_range_cf(b->writes, b->kv->families[family], from.base, from.size,
                                       to.base, to.size);
}

static size_t batch_count(const struct kv_batch *batch)
{
    return (size_t)rocksdb_writebatch_count(((const struct rocks_batch *)batch)->writes);
}

static enum rc write_batch(struct kv *kv, struct kv_batch *batch)
{
    struct rocks_kv *r = rocks_of(kv);
    struct rocks_batch *b = (struct rocks_batch *)batch;
    if (r->failed != RC_OK)
        return r->failed;
    char *error = NULL;
    rocksdb_write(r->db, r->write_options, b->writes, &error);
    if (error != NULL)
        return take_write_error(r, error);
    metric_add(turns_total, 1);
    metric_add(keys_written_total, b->puts);
    rocksdb_writebatch_clear(b->writes); /* Keeps its memory. */
    b->puts = 0;
    return RC_OK;
}

/* ---- Sync ---- */

static uint64_t now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

static void move(struct rocks_kv *kv, enum sync_state from, enum sync_state to)
{
    CHECK(kv->state == from);
    kv->state = to;
}

static enum rc sync_log(struct rocks_kv *kv)
{
    char *error = NULL;
    uint64_t begun_us = now_us();
    rocksdb_flush_wal(kv->db, 1, &error);
    uint64_t took_us = now_us() - begun_us;
    kv->sync_us = (kv->sync_us * 7 + took_us) / 8;
    metric_add(syncs_total, 1);
    metric_add(sync_us_total, took_us);
    return take_error(error);
}

/* Between two syncs the syncer sleeps, so the average is nobody else's then. */
static bool sync_inline(struct kv *kv, enum rc *ret_rc)
{
    struct rocks_kv *r = rocks_of(kv);
    pthread_mutex_lock(&r->mutex);
    bool is_idle = r->state == SYNC_IDLE;
    pthread_mutex_unlock(&r->mutex);
    if (!is_idle || r->sync_us > SYNC_INLINE_US_MAX || r->failed != RC_OK)
        return false;
    r->failed = sync_log(r);
    *ret_rc = r->failed;
    return true;
}

static void *run_syncer(void *context)
{
    struct rocks_kv *kv = context;
    pthread_mutex_lock(&kv->mutex);
    for (;;) {
        while (!kv->is_stopping && kv->state != SYNC_WANTED)
            pthread_cond_wait(&kv->changed, &kv->mutex);
        if (kv->is_stopping)
            break;
        move(kv, SYNC_WANTED, SYNC_RUNNING);
        enum rc rc = kv->synced_rc;
        pthread_mutex_unlock(&kv->mutex);
        if (rc == RC_OK)
            rc = sync_log(kv);
        pthread_mutex_lock(&kv->mutex);
        kv->synced_rc = rc;
        move(kv, SYNC_RUNNING, SYNC_DONE);
        /* Outside the lock: whoever is woken would only run into it and sleep again. */
        pthread_mutex_unlock(&kv->mutex);
        if (kv->wake != NULL)
            kv->wake(kv->wake_context);
        pthread_mutex_lock(&kv->mutex);
    }
    pthread_mutex_unlock(&kv->mutex);
    return NULL;
}

static void start_sync(struct kv *kv, void (*on_synced)(void *context, enum rc rc), void *context)
{
    struct rocks_kv *r = rocks_of(kv);
    CHECK(on_synced != NULL && r->on_synced == NULL);
    r->on_synced = on_synced;
    r->context = context;
    pthread_mutex_lock(&r->mutex);
    r->synced_rc =
        r->failed; /* After a failed write RocksDB must not be asked; Debian's asserts. */
    move(r, SYNC_IDLE, SYNC_WANTED);
    pthread_mutex_unlock(&r->mutex);
    pthread_cond_signal(&r->changed);
}

void rocks_kv_poll(struct kv *kv)
{
    struct rocks_kv *r = rocks_of(kv);
    pthread_mutex_lock(&r->mutex);
    bool is_done = r->state == SYNC_DONE;
    if (is_done)
        move(r, SYNC_DONE, SYNC_IDLE);
    enum rc rc = r->synced_rc;
    pthread_mutex_unlock(&r->mutex);
    if (!is_done)
        return;
    /* After an error nothing more is told to be durable, not even if a later sync says so. */
    if (r->failed == RC_OK)
        r->failed = rc;
    void (*on_synced)(void *context, enum rc rc) = r->on_synced;
    r->on_synced = NULL; /* The callback may ask for the next. */
    on_synced(r->context, r->failed);
}

/* ---- Life ---- */

static void close_store(struct kv **kv)
{
    struct rocks_kv *taken = rocks_of(*kv);
    *kv = NULL;
    if (taken == NULL)
        return;
    if (taken->syncer_runs) {
        pthread_mutex_lock(&taken->mutex);
        taken->is_stopping = true;
        pthread_cond_signal(&taken->changed);
        pthread_mutex_unlock(&taken->mutex);
        pthread_join(taken->syncer, NULL);
    }
    if (taken->failed != RC_OK || taken->synced_rc != RC_OK)
        return; /* RocksDB would touch the broken log again; the process is ending, so all is left.
                 */
    for (int i = 0; i < ROCKS_FAMILY_COUNT; i++)
        if (taken->families[i] != NULL)
            rocksdb_column_family_handle_destroy(taken->families[i]);
    if (taken->db != NULL)
        rocksdb_close(taken->db);
    for (int i = 0; i < ROCKS_FAMILY_COUNT; i++)
        rocksdb_options_destroy(taken->options[i]);
    rocksdb_cache_destroy(taken->cache);
    rocksdb_writeoptions_destroy(taken->write_options);
    rocksdb_readoptions_destroy(taken->read_options);
    pthread_cond_destroy(&taken->changed);
    pthread_mutex_destroy(&taken->mutex);
    mem_free(taken);
}

static const struct kv_ops rocks_kv_ops = {
    .close = close_store,
    .get = get,
    .batch_new = batch_new,
    .batch_free = batch_free,
    .put = put,
    .remove = remove_key,
    .remove_range = remove_range,
    .batch_count = batch_count,
    .write = write_batch,
    .sync = start_sync,
    .sync_inline = sync_inline,
    .iterate = iterate,
    .next = next,
    .iterator_free = iterator_free,
    .settle = settle,
};

static enum rc open_database(struct rocks_kv *kv, const char *dir, char *sentence, size_t size)
{
    static const char *const names[ROCKS_FAMILY_COUNT] = {
        [KV_META] = "meta",
        [KV_LOG] = "log",
        [KV_STATE] = "state",
        [KV_DEDUP] = "dedup",
        [ROCKS_FAMILY_DEFAULT] = "default",
    };
    char *error = NULL;
    kv->db = rocksdb_open_column_families(
        kv->options[ROCKS_FAMILY_DEFAULT], dir, ROCKS_FAMILY_COUNT, names,
        (const rocksdb_options_t *const *)kv->options, kv->families, &error);
    if (error == NULL)
        return RC_OK;
    if (strstr(error, "lock ") != NULL && strstr(error, "LOCK") != NULL &&
        strstr(error, "Permission denied") == NULL) {
        snprintf(sentence, size, "%s is in use by another process", dir);
        rocksdb_free(error);
        return RC_IN_USE;
    }
    snprintf(sentence, size, "cannot open the store in %s: %s", dir, error);
    return take_error(error);
}

/* RocksDB's own sentences for these are poor, so what an operator gets wrong is looked at first. */
static enum rc prepare_dir(const char *dir, char *sentence, size_t size)
{
    struct stat status;
    if (mkdir(dir, 0700) != 0 && errno != EEXIST) {
        enum rc rc = errno == ENOSPC ? RC_NO_SPACE : RC_IO;
        snprintf(sentence, size, "cannot create the directory %s: %m", dir);
        return rc;
    }
    if (stat(dir, &status) != 0) {
        snprintf(sentence, size, "cannot look at %s: %m", dir);
        return RC_IO;
    }
    if (!S_ISDIR(status.st_mode)) {
        snprintf(sentence, size, "%s is not a directory", dir);
        return RC_IO;
    }
    if (faccessat(AT_FDCWD, dir, R_OK | W_OK | X_OK, AT_EACCESS) != 0) {
        snprintf(sentence, size, "cannot read and write in %s: %m", dir);
        return RC_IO;
    }
    return RC_OK;
}

static struct rocks_kv *rocks_kv_new(const struct rocks_kv_options *options)
{
    struct rocks_kv *kv = mem_new(struct rocks_kv);
    kv->kv.ops = &rocks_kv_ops;
    kv->wake = options->wake;
    kv->wake_context = options->wake_context;
    kv->cache = rocks_cache(options);
    for (enum kv_family family = 0; family < ROCKS_FAMILY_COUNT; family++)
        kv->options[family] = rocks_family_options(family, options, kv->cache);
    rocks_set_database_options(kv->options[ROCKS_FAMILY_DEFAULT], options);
    kv->write_options = rocksdb_writeoptions_create();
    rocksdb_writeoptions_set_sync(kv->write_options, 0);
    kv->read_options = rocksdb_readoptions_create();
    pthread_mutex_init(&kv->mutex, NULL);
    pthread_cond_init(&kv->changed, NULL);
    return kv;
}

enum rc rocks_kv_open(const char *dir, const struct rocks_kv_options *options, struct kv **ret_kv,
                      char *sentence, size_t sentence_size)
{
    enum rc rc = prepare_dir(dir, sentence, sentence_size);
    if (rc != RC_OK)
        return rc;
    struct rocks_kv *r = rocks_kv_new(options);
    struct kv *kv = &r->kv;
    /* Of this thread, which will be the one that writes: it counts each comparison of keys unless
     * told not to, and in Debian's build that is a quarter of a small batch (storage/README). */
    rocksdb_set_perf_level(rocksdb_disable);
    rc = open_database(r, dir, sentence, sentence_size);
    if (rc != RC_OK)
        goto fail;
    int error = pthread_create(&r->syncer, NULL, run_syncer, r);
    if (error != 0) {
        errno = error;
        snprintf(sentence, sentence_size, "cannot start the syncer thread: %m");
        rc = RC_IO;
        goto fail;
    }
    r->syncer_runs = true;
    *ret_kv = kv;
    return RC_OK;
fail:
    close_store(&kv);
    return rc;
}
