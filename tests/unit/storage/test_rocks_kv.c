/* The real store keeps the port's promises on a real directory.
 *
 * This program's own write() and fdatasync() stand in for the C library's, so that RocksDB meets a
 * full or failing disk when a test says so. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
/* cmocka.h needs those above. */
#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mesh/base/metrics.h"
#include "storage/keyspace.h"
#include "storage/rocks_kv.h"

static _Atomic int write_errno;     /* What the next writes of RocksDB fail with; 0: they do not. */
static _Atomic int fdatasync_errno; /* The same of its syncs. */

ssize_t write(int fd, const void *bytes, size_t size)
{
    if (write_errno != 0) {
        errno = write_errno;
        return -1;
    }
    return syscall(SYS_write, fd, bytes, size);
}

int fdatasync(int fd)
{
    if (fdatasync_errno != 0) {
        errno = fdatasync_errno;
        return -1;
    }
    return (int)syscall(SYS_fdatasync, fd);
}

static char dir[64];
static char sentence[512];
static struct kv *kv;
static struct kv_batch *batch;
static int wakes[2]; /* A pipe: the syncer writes a byte, the test waits for it. */
static uint32_t synced_count;
static enum rc synced_rc;

static void wake(void *context)
{
    (void)context;
    syscall(SYS_write, wakes[1], "", 1);
}

static const struct rocks_kv_options options = {.wake = wake};

static enum rc open_store(void)
{
    enum rc rc = rocks_kv_open(dir, &options, &kv, sentence, sizeof(sentence));
    if (rc == RC_OK)
        batch = kv->ops->batch_new(kv);
    return rc;
}

static void close_store(void)
{
    kv->ops->batch_free(&batch);
    kv->ops->close(&kv);
}

static int setup(void **state)
{
    (void)state;
    synced_count = 0;
    snprintf(dir, sizeof(dir), "/tmp/test_rocks_kv.XXXXXX");
    if (pipe(wakes) != 0 || mkdtemp(dir) == NULL)
        return -1;
    return open_store() == RC_OK ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    char command[128];
    write_errno = 0;
    fdatasync_errno = 0;
    if (kv != NULL)
        close_store();
    close(wakes[0]);
    close(wakes[1]);
    snprintf(command, sizeof(command), "rm -rf %s", dir);
    return system(command);
}

static void on_synced(void *context, enum rc rc)
{
    assert_ptr_equal(context, &synced_count);
    synced_count++;
    synced_rc = rc;
}

static enum rc sync_now(void)
{
    char byte;
    struct pollfd wait = {.fd = wakes[0], .events = POLLIN};
    uint32_t before = synced_count;
    kv->ops->sync(kv, on_synced, &synced_count);
    assert_int_equal(poll(&wait, 1, 10000), 1);
    assert_int_equal(read(wakes[0], &byte, 1), 1);
    assert_int_equal(synced_count, before); /* Only the loop reports. */
    rocks_kv_poll(kv);
    assert_int_equal(synced_count, before + 1);
    return synced_rc;
}

static enum rc put_now(const char *key, const char *value)
{
    kv_put(batch, KV_STATE, slice_string(key), slice_string(value));
    return kv->ops->write(kv, batch);
}

static void assert_value(const char *key, const char *value)
{
    struct buf *into = buf_new(0);
    enum rc rc = kv->ops->get(kv, KV_STATE, slice_string(key), into);
    assert_int_equal(rc, value != NULL ? RC_OK : RC_NOT_FOUND);
    assert_true(slice_equals(buf_slice(into), value != NULL ? value : ""));
    buf_unref(&into);
}

static void assert_keys(struct kv_iterator *i, const char *expected)
{
    char keys[64] = "";
    size_t size = 0;
    struct slice key, value;
    while (kv->ops->next(i, &key, &value))
        size += (size_t)snprintf(keys + size, sizeof(keys) - size, "%.*s", SLICE_ARGS(key));
    assert_false(kv->ops->next(i, &key, &value)); /* The end stays the end. */
    assert_int_equal(kv->ops->iterator_free(&i), RC_OK);
    assert_string_equal(keys, expected);
}

static struct kv_iterator *iterate(const char *from, const char *to, bool backwards)
{
    return kv->ops->iterate(kv, KV_STATE, slice_string(from), slice_string(to), backwards);
}

/* A batch is seen as a whole once it is written, in the order of its operations, and is then empty.
 */
static void a_batch_is_applied_in_order(void **state)
{
    (void)state;
    kv_put(batch, KV_STATE, slice_string("a"), slice_string("1"));
    kv_put(batch, KV_STATE, slice_string("a"), slice_string("2"));
    kv_put(batch, KV_STATE, slice_string("b"), slice_string("3"));
    kv->ops->remove(batch, KV_STATE, slice_string("b"));
    assert_int_equal(kv->ops->batch_count(batch), 4);
    assert_value("a", NULL);
    assert_int_equal(kv->ops->write(kv, batch), RC_OK);
    assert_int_equal(kv->ops->batch_count(batch), 0);
    assert_value("a", "2");
    assert_value("b", NULL);
}

/* Families are apart: the same key may be in each. */
static void families_do_not_mix(void **state)
{
    (void)state;
    kv_put(batch, KV_META, slice_string("a"), slice_string("meta"));
    kv_put(batch, KV_LOG, slice_string("a"), slice_string("log"));
    assert_int_equal(kv->ops->write(kv, batch), RC_OK);
    assert_value("a", NULL);
}

/* Both directions keep to [from, to), past memtables and removed ranges. */
static void an_iterator_keeps_to_its_range(void **state)
{
    (void)state;
    const char *const keys[] = {"a", "c", "b", "bb", "d", "e"};
    for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++)
        assert_int_equal(put_now(keys[i], ""), RC_OK);
    assert_keys(iterate("b", "d", false), "bbbc");
    assert_keys(iterate("b", "d", true), "cbbb");
    assert_keys(iterate("x", "z", false), "");
    assert_keys(iterate("x", "z", true), "");
    assert_keys(iterate("b", "b", false), "");
    kv_remove_range(batch, KV_STATE, slice_string("b"), slice_string("d"));
    assert_int_equal(put_now("bc", ""), RC_OK); /* Later in the batch: it stays. */
    assert_keys(iterate("a", "z", false), "abcde");
}

/* An iterator sees the store as it was when it was made. */
static void an_iterator_is_a_snapshot(void **state)
{
    (void)state;
    assert_int_equal(put_now("a", "1"), RC_OK);
    assert_int_equal(put_now("b", "1"), RC_OK);
    struct kv_iterator *i = iterate("a", "z", false);
    struct kv_iterator *backwards = iterate("a", "z", true);
    kv->ops->remove(batch, KV_STATE, slice_string("b"));
    assert_int_equal(put_now("c", "2"), RC_OK);
    assert_keys(i, "ab");
    assert_keys(backwards, "ba");
    assert_keys(iterate("a", "z", false), "ac");
}

/* A deduplication key of a bucket; random but for that. */
static struct slice dedup_key(uint32_t bucket, uint32_t n, struct keyspace_key *key)
{
    const struct keyspace shard = {.shard = 7};
    uint8_t digest[KEYSPACE_DIGEST_SIZE] = {0};
    uint64_t hash = n * UINT64_C(0x9E3779B97F4A7C15);
    memcpy(digest, &hash, sizeof(hash));
    keyspace_dedup(key, &shard, bucket, digest);
    return keyspace_slice(key);
}

static uint32_t count_dedup(void)
{
    struct slice key, value;
    struct slice before = {0};
    char last[KEYSPACE_DEDUP_SIZE];
    uint32_t count = 0;
    struct kv_iterator *i =
        kv->ops->iterate(kv, KV_DEDUP, slice_of("", 0), slice_of("\xff", 1), false);
    while (kv->ops->next(i, &key, &value)) {
        assert_int_equal(key.size, KEYSPACE_DEDUP_SIZE);
        assert_true(before.base == NULL || memcmp(before.base, key.base, key.size) < 0);
        memcpy(last, key.base, key.size);
        before = slice_of(last, key.size);
        count++;
    }
    assert_int_equal(kv->ops->iterator_free(&i), RC_OK);
    return count;
}

/* Rows in the hashed memtable are found, walked in order, dropped as a range, and there again after
 * the store was closed. */
static void deduplication_rows_behave_like_others(void **state)
{
    (void)state;
    struct keyspace_key key;
    struct keyspace_key end;
    for (uint32_t n = 0; n < 1000; n++)
        kv_put(batch, KV_DEDUP, dedup_key(n % 2, n, &key), slice_of(&n, sizeof(n)));
    assert_int_equal(kv->ops->write(kv, batch), RC_OK);
    for (int round = 0; round < 2; round++) {
        struct buf *into = buf_new(0);
        for (uint32_t n = 0; n < 1000; n++) {
            buf_clear(into);
            assert_int_equal(kv->ops->get(kv, KV_DEDUP, dedup_key(n % 2, n, &key), into), RC_OK);
            assert_memory_equal(into->bytes, &n, sizeof(n));
            assert_int_equal(kv->ops->get(kv, KV_DEDUP, dedup_key(2, n, &key), into), RC_NOT_FOUND);
        }
        buf_unref(&into);
        assert_int_equal(count_dedup(), 1000);
        close_store();
        assert_int_equal(open_store(), RC_OK);
    }
    const struct keyspace shard = {.shard = 7};
    keyspace_bucket(&key, &shard, 0);
    keyspace_bucket(&end, &shard, 1);
    kv_remove_range(batch, KV_DEDUP, keyspace_slice(&key), keyspace_slice(&end));
    assert_int_equal(kv->ops->write(kv, batch), RC_OK);
    assert_int_equal(count_dedup(), 500);
}

/* Many rows in the hashed memtable are flushed in the background until an iterator has few to sort,
 * and all are there meanwhile and after; the other families never need it. */
static void a_hashed_memtable_settles(void **state)
{
    (void)state;
    struct keyspace_key key;
    uint32_t turns = 0;
    assert_true(kv_settle(kv, KV_DEDUP));
    for (uint32_t n = 0; n < 20000; n++)
        kv_put(batch, KV_DEDUP, dedup_key(0, n, &key), slice_of(&n, sizeof(n)));
    assert_int_equal(kv->ops->write(kv, batch), RC_OK);
    assert_true(kv_settle(kv, KV_STATE));
    assert_false(kv_settle(kv, KV_DEDUP));
    assert_int_equal(count_dedup(), 20000);
    for (; !kv_settle(kv, KV_DEDUP); turns++) {
        assert_true(turns < 10000);
        usleep(1000);
    }
    assert_int_equal(count_dedup(), 20000);
}

/* A sync on the loop's own thread is reported at once. (The first of a store: how quick the disk
 * is, is not known yet.) */
static void an_inline_sync_reports_at_once(void **state)
{
    (void)state;
    enum rc rc = RC_INTERNAL;
    assert_int_equal(put_now("a", "1"), RC_OK);
    assert_true(kv->ops->sync_inline(kv, &rc));
    assert_int_equal(rc, RC_OK);
}

/* What was written is there after the store is opened again. */
static void a_closed_store_opens_again(void **state)
{
    (void)state;
    assert_int_equal(put_now("a", "1"), RC_OK);
    assert_int_equal(sync_now(), RC_OK);
    close_store();
    assert_int_equal(open_store(), RC_OK);
    assert_value("a", "1");
}

/* Every write reaches the kernel at once: a process that is killed loses none, synced or not. */
static void a_killed_process_loses_nothing(void **state)
{
    (void)state;
    int status;
    close_store();
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (open_store() == RC_OK && put_now("a", "1") == RC_OK && put_now("b", "2") == RC_OK)
            kill(getpid(), SIGKILL);
        _exit(1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(open_store(), RC_OK);
    assert_value("a", "1");
    assert_value("b", "2");
}

/* The operator can see how many keys, turns and syncs there were and what the syncs took. */
static void writes_and_syncs_are_counted(void **state)
{
    (void)state;
    int64_t keys = metric_get(keys_written_total), turns = metric_get(turns_total);
    int64_t syncs = metric_get(syncs_total), us = metric_get(sync_us_total);
    kv_put(batch, KV_STATE, slice_string("a"), slice_string("1"));
    kv_put(batch, KV_META, slice_string("a"), slice_string("1"));
    assert_int_equal(kv->ops->write(kv, batch), RC_OK);
    assert_int_equal(sync_now(), RC_OK);
    assert_int_equal(metric_get(keys_written_total) - keys, 2);
    assert_int_equal(metric_get(turns_total) - turns, 1);
    assert_int_equal(metric_get(syncs_total) - syncs, 1);
    assert_true(metric_get(sync_us_total) > us);
}

/* Polling when nothing finished is harmless. */
static void polling_for_nothing_does_nothing(void **state)
{
    (void)state;
    rocks_kv_poll(kv);
    assert_int_equal(synced_count, 0);
}

/* Closing waits for the syncer and calls nobody. */
static void closing_during_a_sync_drops_its_callback(void **state)
{
    (void)state;
    assert_int_equal(put_now("a", "1"), RC_OK);
    kv->ops->sync(kv, on_synced, &synced_count);
    close_store();
    assert_int_equal(synced_count, 0);
}

/* Two processes on one directory would destroy it: the second is told so. */
static void a_second_process_is_refused(void **state)
{
    (void)state;
    int status;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct kv *second;
        enum rc rc = rocks_kv_open(dir, &options, &second, sentence, sizeof(sentence));
        _exit(rc == RC_IN_USE && strstr(sentence, "in use by another process") != NULL ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    struct kv *second = NULL;
    assert_int_equal(rocks_kv_open(dir, &options, &second, sentence, sizeof(sentence)), RC_IN_USE);
    assert_null(second);
}

/* What an operator gets wrong about the directory is said in a sentence that names it. */
static void a_directory_that_is_none_is_refused(void **state)
{
    (void)state;
    char file[128], below[160];
    struct kv *none;
    snprintf(file, sizeof(file), "%s/CURRENT", dir);
    assert_int_equal(rocks_kv_open(file, &options, &none, sentence, sizeof(sentence)), RC_IO);
    assert_non_null(strstr(sentence, file));
    assert_non_null(strstr(sentence, "not a directory"));
    snprintf(below, sizeof(below), "%s/nowhere/store", dir);
    assert_int_equal(rocks_kv_open(below, &options, &none, sentence, sizeof(sentence)), RC_IO);
    assert_non_null(strstr(sentence, below));
}

/* Without the right to read and write there is a sentence too, not a failure later. */
static void a_directory_without_permission_is_refused(void **state)
{
    (void)state;
    uid_t user = geteuid();
    close_store();
    assert_int_equal(chmod(dir, 0500), 0);
    if (user == 0)
        assert_int_equal(seteuid(65534), 0); /* Root may do everything. */
    enum rc rc = rocks_kv_open(dir, &options, &kv, sentence, sizeof(sentence));
    if (user == 0)
        assert_int_equal(seteuid(user), 0);
    assert_int_equal(chmod(dir, 0700), 0);
    assert_int_equal(rc, RC_IO);
    assert_non_null(strstr(sentence, "Permission denied"));
}

/* A log damaged before its end is not a torn write, and is refused. */
static void a_damaged_log_is_refused(void **state)
{
    (void)state;
    char command[256];
    for (int i = 0; i < 2000; i++)
        assert_int_equal(put_now("key", "a value of some length, to fill the log"), RC_OK);
    close_store();
    snprintf(command, sizeof(command),
             "for f in %s/*.log; do printf XXXXXXXX | dd of=$f bs=1 seek=40000 conv=notrunc "
             "2>/dev/null; done",
             dir);
    assert_int_equal(system(command), 0);
    assert_int_equal(open_store(), RC_CORRUPT);
    assert_non_null(strstr(sentence, dir));
}

/* A log whose last record was cut off is what a power cut leaves: the batches before it are there.
 */
static void a_torn_tail_is_forgiven(void **state)
{
    (void)state;
    char command[256];
    assert_int_equal(put_now("a", "1"), RC_OK);
    assert_int_equal(put_now("b", "2"), RC_OK);
    close_store();
    snprintf(command, sizeof(command),
             "for f in %s/*.log; do [ ! -s $f ] || truncate -s -3 $f; done", dir);
    assert_int_equal(system(command), 0);
    assert_int_equal(open_store(), RC_OK);
    assert_value("a", "1");
    assert_value("b", NULL);
}

/* An error ends the process, so each of these has one of its own: `run` returns whether all was
 * right. */
static void assert_true_in_child(bool (*run)(void))
{
    int status;
    close_store();
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        _exit(open_store() == RC_OK && put_now("a", "1") == RC_OK && run() ? 0 : 1);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(open_store(), RC_OK);
    assert_value("a", "1"); /* What was written before the error is there for the next. */
}

static bool meet_a_full_disk(void)
{
    write_errno = ENOSPC;
    enum rc rc = put_now("b", "2");
    write_errno = 0;
    bool is_final = kv->ops->write(kv, batch) == RC_NO_SPACE && sync_now() == RC_NO_SPACE;
    close_store();
    return rc == RC_NO_SPACE && is_final;
}

/* A full disk has a name of its own, and nothing is written after it, even if room comes back. */
static void a_full_disk_is_final(void **state)
{
    (void)state;
    assert_true_in_child(meet_a_full_disk);
}

static bool meet_a_failing_sync(void)
{
    fdatasync_errno = EIO;
    enum rc rc = sync_now();
    fdatasync_errno = 0;
    bool is_final = sync_now() == RC_IO && put_now("b", "2") == RC_IO;
    close_store();
    return rc == RC_IO && is_final;
}

/* A sync that failed once is never believed again: the kernel may have dropped the page. */
static void a_failed_sync_is_final(void **state)
{
    (void)state;
    assert_true_in_child(meet_a_failing_sync);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

static bool meet_a_failing_inline_sync(void)
{
    enum rc rc = RC_OK;
    fdatasync_errno = EIO;
    bool is_told = kv->ops->sync_inline(kv, &rc) && rc == RC_IO;
    fdatasync_errno = 0;
    return is_told && !kv->ops->sync_inline(kv, &rc) && put_now("b", "1") == RC_IO;
}

/* An error in an inline sync is as final as the syncer's. */
static void a_failed_inline_sync_is_final(void **state)
{
    (void)state;
    assert_true_in_child(meet_a_failing_inline_sync);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_batch_is_applied_in_order),
        TEST(families_do_not_mix),
        TEST(an_iterator_keeps_to_its_range),
        TEST(an_iterator_is_a_snapshot),
        TEST(deduplication_rows_behave_like_others),
        TEST(a_hashed_memtable_settles),
        TEST(an_inline_sync_reports_at_once),
        TEST(a_closed_store_opens_again),
        TEST(a_killed_process_loses_nothing),
        TEST(writes_and_syncs_are_counted),
        TEST(polling_for_nothing_does_nothing),
        TEST(closing_during_a_sync_drops_its_callback),
        TEST(a_second_process_is_refused),
        TEST(a_directory_that_is_none_is_refused),
        TEST(a_directory_without_permission_is_refused),
        TEST(a_damaged_log_is_refused),
        TEST(a_torn_tail_is_forgiven),
        TEST(a_full_disk_is_final),
        TEST(a_failed_sync_is_final),
        TEST(a_failed_inline_sync_is_final),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
