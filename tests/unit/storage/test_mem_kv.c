/* The simulated store keeps the port's promises, and breaks when it is told to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
/* cmocka.h needs those above. */
#include <cmocka.h>

#include "mesh/base/buf.h"
#include "storage/mem_kv.h"

static struct kv *kv;
static struct kv_batch *batch;
static uint32_t synced_count;
static enum rc synced_rc;

static int setup(void **state)
{
    (void)state;
    kv = mem_kv_new();
    batch = kv->ops->batch_new(kv);
    synced_count = 0;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    kv->ops->batch_free(&batch);
    kv->ops->close(&kv);
    return 0;
}

static void on_synced(void *context, enum rc rc)
{
    (void)context;
    synced_count++;
    synced_rc = rc;
}

static void put_now(const char *key, const char *value)
{
    kv->ops->put(batch, KV_STATE, slice_string(key), slice_string(value));
    assert_int_equal(kv->ops->write(kv, batch), RC_OK);
}

static void sync_now(void)
{
    kv->ops->sync(kv, on_synced, NULL);
    assert_true(mem_kv_complete_sync(kv));
    assert_int_equal(synced_rc, RC_OK);
}

/* `value` NULL: the key must be absent. */
static void assert_value(const char *key, const char *value)
{
    struct buf *into = buf_new(0);
    enum rc rc = kv->ops->get(kv, KV_STATE, slice_string(key), into);
    if (value == NULL) {
        assert_int_equal(rc, RC_NOT_FOUND);
        assert_int_equal(into->size, 0);
    } else {
        assert_int_equal(rc, RC_OK);
        assert_true(slice_equals(buf_slice(into), value));
    }
    buf_unref(&into);
}

/* The keys in [from, to), joined. */
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

/* A batch is seen as a whole once it is written, in the order of its operations. */
static void a_batch_is_applied_in_order(void **state)
{
    (void)state;
    kv->ops->put(batch, KV_STATE, slice_string("a"), slice_string("1"));
    kv->ops->put(batch, KV_STATE, slice_string("a"), slice_string("2"));
    kv->ops->put(batch, KV_STATE, slice_string("b"), slice_string("3"));
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
    kv->ops->put(batch, KV_META, slice_string("a"), slice_string("meta"));
    assert_int_equal(kv->ops->write(kv, batch), RC_OK);
    assert_value("a", NULL);
}

/* Both directions keep to [from, to). */
static void an_iterator_keeps_to_its_range(void **state)
{
    (void)state;
    put_now("a", "");
    put_now("c", "");
    put_now("b", "");
    put_now("bb", "");
    put_now("d", "");
    assert_keys(iterate("b", "d", false), "bbbc");
    assert_keys(iterate("b", "d", true), "cbbb");
    assert_keys(iterate("x", "z", false), "");
    assert_keys(iterate("x", "z", true), "");
    assert_keys(iterate("b", "b", false), "");
}

/* An iterator sees the store as it was when it was made, even where keys were removed since. */
static void an_iterator_is_a_snapshot(void **state)
{
    (void)state;
    put_now("a", "1");
    put_now("b", "1");
    sync_now();
    struct kv_iterator *i = iterate("a", "z", false);
    struct kv_iterator *backwards = iterate("a", "z", true);
    put_now("c", "2");
    put_now("a", "2");
    kv->ops->remove(batch, KV_STATE, slice_string("b"));
    assert_int_equal(kv->ops->write(kv, batch), RC_OK);
    sync_now();
    struct slice key, value;
    assert_true(kv->ops->next(i, &key, &value));
    assert_true(slice_equals(value, "1"));
    assert_keys(i, "b");
    assert_keys(backwards, "ba");
    assert_keys(iterate("a", "z", false), "ac");
}

/* A removed range is gone, its ends by the rule [from, to). */
static void a_range_is_removed(void **state)
{
    (void)state;
    put_now("a", "");
    put_now("b", "");
    put_now("c", "");
    kv->ops->remove_range(batch, KV_STATE, slice_string("a"), slice_string("c"));
    put_now("aa", ""); /* Later in the batch: it stays. */
    assert_keys(iterate("", "z", false), "aac");
}

/* What was synced survives; of the rest a crash takes as many batches as it is told, newest first.
 */
static void a_crash_forgets_the_newest_unsynced_batches(void **state)
{
    (void)state;
    put_now("a", "1");
    sync_now();
    put_now("a", "2");
    put_now("b", "2");
    put_now("c", "2");
    kv->ops->remove_range(batch, KV_STATE, slice_string("a"), slice_string("z"));
    assert_int_equal(kv->ops->write(kv, batch), RC_OK);
    assert_int_equal(mem_kv_unsynced(kv), 4);
    mem_kv_crash(kv, 2);
    assert_int_equal(mem_kv_unsynced(kv), 0);
    assert_value("a", "2");
    assert_value("b", "2");
    assert_value("c", NULL);
    mem_kv_crash(kv, UINT64_MAX); /* What survived one crash is durable. */
    assert_value("b", "2");
}

/* A sync covers what was written before it was asked for, not what came while it ran. */
static void a_sync_covers_what_came_before_it(void **state)
{
    (void)state;
    put_now("a", "1");
    kv->ops->sync(kv, on_synced, NULL);
    put_now("b", "1");
    assert_true(mem_kv_sync_is_pending(kv));
    assert_int_equal(synced_count, 0);
    assert_true(mem_kv_complete_sync(kv));
    assert_int_equal(synced_count, 1);
    assert_false(mem_kv_complete_sync(kv));
    mem_kv_crash(kv, UINT64_MAX);
    assert_value("a", "1");
    assert_value("b", NULL);
}

/* A process that died hears nothing of the sync it waited for. */
static void a_crash_drops_the_pending_sync(void **state)
{
    (void)state;
    put_now("a", "1");
    kv->ops->sync(kv, on_synced, NULL);
    mem_kv_crash(kv, UINT64_MAX);
    assert_false(mem_kv_complete_sync(kv));
    assert_int_equal(synced_count, 0);
    assert_value("a", NULL);
}

/* The write after the countdown fails, changes nothing, and every one after it fails too. */
static void a_write_fails_by_countdown_and_for_good(void **state)
{
    (void)state;
    mem_kv_fail_write(kv, 1, RC_NO_SPACE);
    put_now("a", "1");
    kv->ops->put(batch, KV_STATE, slice_string("b"), slice_string("1"));
    assert_int_equal(kv->ops->write(kv, batch), RC_NO_SPACE);
    assert_value("b", NULL);
    assert_int_equal(kv->ops->write(kv, batch), RC_NO_SPACE);
    kv->ops->sync(kv, on_synced, NULL);
    assert_true(mem_kv_complete_sync(kv));
    assert_int_equal(synced_rc, RC_NO_SPACE);
}

/* A sync that fails makes nothing durable, and no later write passes. */
static void a_sync_fails_by_countdown_and_for_good(void **state)
{
    (void)state;
    mem_kv_fail_sync(kv, 0, RC_IO);
    put_now("a", "1");
    kv->ops->sync(kv, on_synced, NULL);
    assert_true(mem_kv_complete_sync(kv));
    assert_int_equal(synced_rc, RC_IO);
    assert_int_equal(mem_kv_unsynced(kv), 1);
    kv->ops->put(batch, KV_STATE, slice_string("b"), slice_string("1"));
    assert_int_equal(kv->ops->write(kv, batch), RC_IO);
    mem_kv_crash(kv, UINT64_MAX);
    put_now("b", "1"); /* The next process has a new disk. */
}

/* Thousands of random puts, removals, syncs and crashes leave what a plain array says. */
static void random_histories_match_a_model(void **state)
{
    (void)state;
    enum { KEYS = 64, BATCHES_MAX = 64 };
    static int history[BATCHES_MAX][KEYS]; /* Values after each unsynced batch; 0: absent. */
    int batches = 0;                       /* history[batches] is now, history[0] is durable. */
    memset(history, 0, sizeof(history));
    srand(1);
    for (int round = 1; round <= 20000; round++) {
        int kind = rand() % 20;
        if (kind == 0 || batches + 1 == BATCHES_MAX) {
            sync_now();
            memcpy(history[0], history[batches], sizeof(history[0]));
            batches = 0;
        } else if (kind == 1) {
            int lose = rand() % (batches + 1);
            mem_kv_crash(kv, (uint64_t)lose);
            memcpy(history[0], history[batches - lose], sizeof(history[0]));
            batches = 0;
        } else {
            char key[8], end[8], value[16];
            int from = rand() % KEYS, to = from + rand() % 8;
            snprintf(key, sizeof(key), "%03d", from);
            snprintf(end, sizeof(end), "%03d", to);
            snprintf(value, sizeof(value), "%d", round);
            memcpy(history[batches + 1], history[batches], sizeof(history[0]));
            batches++;
            if (kind < 6) {
                kv->ops->remove_range(batch, KV_STATE, slice_string(key), slice_string(end));
                for (int i = from; i < to && i < KEYS; i++)
                    history[batches][i] = 0;
            } else {
                kv->ops->put(batch, KV_STATE, slice_string(key), slice_string(value));
                history[batches][from] = round;
            }
            assert_int_equal(kv->ops->write(kv, batch), RC_OK);
        }
        struct kv_iterator *i = iterate("", "~", false);
        struct slice key, value;
        for (int k = 0; k < KEYS; k++)
            if (history[batches][k] != 0) {
                assert_true(kv->ops->next(i, &key, &value));
                char expected[32];
                snprintf(expected, sizeof(expected), "%03d", k);
                assert_true(slice_equals(key, expected));
                snprintf(expected, sizeof(expected), "%d", history[batches][k]);
                assert_true(slice_equals(value, expected));
            }
        assert_false(kv->ops->next(i, &key, &value));
        assert_int_equal(kv->ops->iterator_free(&i), RC_OK);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_batch_is_applied_in_order),
        TEST(families_do_not_mix),
        TEST(an_iterator_keeps_to_its_range),
        TEST(an_iterator_is_a_snapshot),
        TEST(a_range_is_removed),
        TEST(a_crash_forgets_the_newest_unsynced_batches),
        TEST(a_sync_covers_what_came_before_it),
        TEST(a_crash_drops_the_pending_sync),
        TEST(a_write_fails_by_countdown_and_for_good),
        TEST(a_sync_fails_by_countdown_and_for_good),
        TEST(random_histories_match_a_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
