/* One shard's Raft group over the simulated store, and once over the real one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
/* cmocka.h needs those above. */
#include <cmocka.h>

#include "mesh/base/env.h"
#include "nodes/router/raft_group.h"
#include "storage/mem_kv.h"
#include "storage/raft_log.h"
#include "storage/rocks_kv.h"

#define SHARD       5u
#define ENTRIES_MAX 256u
#define SELF        71u /* Server id. */

/* Whoever is alone has nobody to speak to. */
static void send_nothing(void *context, struct slice to, struct slice record)
{
    (void)context;
    (void)to;
    (void)record;
    fail();
}

static const struct raft_group_options options = {
    .shard = SHARD,
    .address = "router-1",
    .election_ms = 500,
    .heartbeat_ms = 100,
    .lease_ms = 400,
    .seed = 42,
    .send = send_nothing,
};

static struct kv *kv;
static struct kv_batch *batch;
static struct raft_group *group;
static uint64_t now_ms;
static uint64_t syncing_mark;

/* What a state machine has been given, by index. Applied entries reach the store at once here, so
 * that it is the test's business which of them it still knows after a crash. */
static char applied[ENTRIES_MAX][16];
static uint64_t applied_index;

static void reset(struct kv *store)
{
    kv = store;
    batch = kv->ops->batch_new(kv);
    group = NULL;
    now_ms = 1000;
    applied_index = 0;
    memset(applied, 0, sizeof(applied));
}

static int setup(void **state)
{
    (void)state;
    reset(mem_kv_new());
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    raft_group_free(&group);
    if (kv != NULL) {
        kv->ops->batch_free(&batch);
        kv->ops->close(&kv);
    }
    return 0;
}

static void write_batch(void)
{
    assert_int_equal(kv->ops->write(kv, batch), RC_OK);
}

static void on_synced(void *context, enum rc rc)
{
    (void)context;
    assert_int_equal(rc, RC_OK);
    if (group != NULL)
        assert_int_equal(raft_group_on_durable(group, now_ms, syncing_mark), RC_OK);
}

static void begin_sync(void)
{
    syncing_mark = group != NULL ? raft_group_mark(group) : 0;
    kv->ops->sync(kv, on_synced, NULL);
}

static void sync_now(void)
{
    begin_sync();
    assert_true(mem_kv_complete_sync(kv));
}

static enum rc open_group(void)
{
    return raft_group_open(&options, kv, applied_index, now_ms, &group);
}

static void bootstrap(void)
{
    raft_group_bootstrap(&options, SELF, batch);
    write_batch();
    sync_now();
}

static bool collect_and_write(void)
{
    bool any = raft_group_collect(group, batch);
    write_batch();
    return any;
}

static uint32_t apply_committed(void)
{
    uint64_t index;
    struct slice data;
    uint32_t count = 0;
    while (raft_group_next_committed(group, &index, &data)) {
        assert_int_equal(index, applied_index + 1);
        assert_true(index < ENTRIES_MAX);
        snprintf(applied[index], sizeof(applied[index]), "%.*s", SLICE_ARGS(data));
        raft_group_applied(group, now_ms, index);
        applied_index = index;
        count++;
    }
    return count;
}

/* Everything there is to do: store, sync, apply. */
static void settle(void)
{
    for (;;) {
        bool stored = collect_and_write();
        if (stored)
            sync_now();
        if (apply_committed() == 0 && !stored)
            return;
    }
}

static enum rc submit(const char *text, uint64_t *ret_index)
{
    struct buf *entry = buf_new(0);
    buf_append_string(entry, text);
    enum rc rc = raft_group_submit(group, now_ms, entry, ret_index);
    buf_unref(&entry);
    return rc;
}

static void submit_and_settle(const char *text)
{
    uint64_t index;
    assert_int_equal(submit(text, &index), RC_OK);
    settle();
    assert_int_equal(applied_index, index);
    assert_string_equal(applied[index], text);
}

static void start_ready(void)
{
    bootstrap();
    assert_int_equal(open_group(), RC_OK);
    settle();
    assert_true(raft_group_is_ready(group));
}

/* The process dies, the newest `lose_count` batches are lost, and a new one opens what is left. */
static void restart(uint64_t lose_count)
{
    raft_group_free(&group);
    kv->ops->batch_free(&batch);
    mem_kv_crash(kv, lose_count);
    batch = kv->ops->batch_new(kv);
    now_ms += 10;
    assert_int_equal(open_group(), RC_OK);
}

static void put_row(enum kv_family family, struct slice key, struct slice row)
{
    kv->ops->put(batch, family, key, row);
    write_batch();
}

/* ---- Birth and election ---- */

/* A store that holds nothing of the shard is told apart from one that lost something. */
static void an_unborn_shard_is_not_found(void **state)
{
    (void)state;
    assert_int_equal(open_group(), RC_NOT_FOUND);
    assert_null(group);
}

/* The only voter leads at once, but is ready only when its own barrier is applied. */
static void a_lone_router_leads_and_waits_for_its_barrier(void **state)
{
    (void)state;
    uint64_t index;
    bootstrap();
    assert_int_equal(open_group(), RC_OK);
    assert_string_equal(raft_group_state_name(group), "leader");
    assert_false(raft_group_is_ready(group));
    assert_int_equal(submit("early", &index), RC_UNAVAILABLE);
    assert_int_equal(raft_group_last_index(group), 2);
    assert_true(collect_and_write());
    begin_sync();
    apply_committed();
    assert_int_equal(applied_index, 1); /* The configuration; the barrier is not durable. */
    assert_false(raft_group_is_ready(group));
    assert_true(mem_kv_complete_sync(kv));
    assert_int_equal(apply_committed(), 1);
    assert_true(raft_group_is_ready(group));
    assert_string_equal(applied[1], ""); /* Nothing for the state machine in either. */
    assert_string_equal(applied[2], "");
}

/* A leader of itself alone waits for no time and stores nothing when nothing happens. */
static void an_idle_group_costs_nothing(void **state)
{
    (void)state;
    start_ready();
    assert_true(raft_group_due_ms(group) == ENV_NEVER);
    now_ms += 3600000;
    assert_int_equal(raft_group_tick(group, now_ms), RC_OK);
    assert_false(raft_group_collect(group, batch));
    assert_int_equal(kv->ops->batch_count(batch), 0);
    submit_and_settle("after an hour");
}

/* The clock of the loop may stand still or be late; the core must not see it go back. */
static void a_time_that_goes_back_is_held(void **state)
{
    (void)state;
    start_ready();
    now_ms -= 500;
    submit_and_settle("a");
    assert_true(raft_group_is_ready(group));
}

/* ---- The path of an entry ---- */

/* An entry is committed when it is durable, not when it is written. */
static void an_entry_commits_when_it_is_durable(void **state)
{
    (void)state;
    uint64_t index;
    start_ready();
    assert_int_equal(submit("a", &index), RC_OK);
    assert_int_equal(index, 3);
    assert_int_equal(apply_committed(), 0);
    assert_true(collect_and_write());
    assert_int_equal(apply_committed(), 0);
    begin_sync();
    assert_int_equal(apply_committed(), 0);
    assert_int_equal(raft_group_commit_index(group), 2);
    assert_true(mem_kv_complete_sync(kv));
    assert_int_equal(raft_group_commit_index(group), 3);
    assert_int_equal(apply_committed(), 1);
    assert_string_equal(applied[3], "a");
}

/* One entry is in flight at a time: the next is asked for again when it has committed. */
static void a_second_entry_waits_for_the_first(void **state)
{
    (void)state;
    uint64_t index;
    start_ready();
    assert_int_equal(submit("a", &index), RC_OK);
    assert_int_equal(submit("b", &index), RC_AGAIN);
    settle();
    submit_and_settle("b");
}

/* A sync that began before the entry was collected says nothing about it. */
static void a_sync_covers_only_what_its_mark_covers(void **state)
{
    (void)state;
    uint64_t index;
    start_ready();
    kv->ops->put(batch, KV_STATE, slice_string("x"), slice_string("y"));
    write_batch();
    begin_sync();
    assert_int_equal(submit("a", &index), RC_OK);
    assert_true(collect_and_write());
    assert_true(mem_kv_complete_sync(kv));
    assert_int_equal(apply_committed(), 0);
    sync_now();
    assert_int_equal(apply_committed(), 1);
}

/* Entries come out in the order they went in, each once. */
static void entries_apply_in_order(void **state)
{
    (void)state;
    char text[32];
    start_ready();
    for (int i = 0; i < 100; i++) {
        snprintf(text, sizeof(text), "entry %d", i);
        submit_and_settle(text);
    }
    for (int i = 0; i < 100; i++) {
        snprintf(text, sizeof(text), "entry %d", i);
        assert_string_equal(applied[3 + i], text);
    }
}

/* ---- Restarts ---- */

/* G10: no entry of the new life can have an index and term of the old. */
static void a_restart_raises_the_term(void **state)
{
    (void)state;
    start_ready();
    uint64_t term = raft_group_term(group);
    for (int i = 0; i < 3; i++) {
        restart(0);
        assert_true(raft_group_term(group) > term);
        term = raft_group_term(group);
        settle();
    }
}

/* What was durable but not applied when the process ended is committed and applied by the next. */
static void a_restart_applies_what_was_durable(void **state)
{
    (void)state;
    uint64_t index;
    start_ready();
    assert_int_equal(submit("a", &index), RC_OK);
    assert_true(collect_and_write());
    sync_now();
    restart(UINT64_MAX);
    settle();
    assert_string_equal(applied[3], "a");
    assert_true(raft_group_is_ready(group));
}

/* An entry whose batch was lost is gone, was never applied, and its index is used again. */
static void a_crash_loses_only_what_was_not_durable(void **state)
{
    (void)state;
    uint64_t index;
    start_ready();
    submit_and_settle("kept");
    assert_int_equal(submit("lost", &index), RC_OK);
    assert_true(collect_and_write());
    restart(UINT64_MAX);
    assert_int_equal(raft_group_last_index(group), index); /* The barrier of the new term. */
    settle();
    assert_string_equal(applied[index - 1], "kept");
    submit_and_settle("new");
}

/* At every point of many crashes: what was committed stays, at its index, and the rest is clean. */
static void no_crash_uncommits(void **state)
{
    (void)state;
    char committed[ENTRIES_MAX][16] = {{0}};
    uint64_t index;
    start_ready();
    srand(7);
    for (int round = 0; applied_index < ENTRIES_MAX - 4 && round < 5000; round++) {
        char text[16];
        snprintf(text, sizeof(text), "r%d", round);
        enum rc rc = submit(text, &index);
        assert_true(rc == RC_OK || rc == RC_AGAIN || rc == RC_UNAVAILABLE);
        int steps = rand() % 5;
        if (steps > 0)
            collect_and_write();
        if (steps > 1 && !mem_kv_sync_is_pending(kv))
            begin_sync();
        if (steps > 2)
            mem_kv_complete_sync(kv);
        if (steps > 3)
            apply_committed();
        for (uint64_t i = 1; i <= applied_index; i++)
            memcpy(committed[i], applied[i], sizeof(committed[i]));
        if (rand() % 4 == 0) {
            applied_index = (uint64_t)rand() % (applied_index + 1); /* An older state. */
            restart((uint64_t)rand() % 3);
        }
        for (uint64_t i = 1; i <= applied_index; i++)
            assert_string_equal(committed[i], applied[i]);
    }
    settle();
    assert_true(applied_index > 100);
    for (uint64_t i = 1; i <= applied_index; i++)
        assert_true(committed[i][0] == '\0' || strcmp(committed[i], applied[i]) == 0);
}

/* ---- Truncation ---- */

/* The log's prefix goes, the group goes on, and a restart finds the rest. */
static void a_truncated_log_restarts(void **state)
{
    (void)state;
    start_ready();
    submit_and_settle("a");
    submit_and_settle("b");
    submit_and_settle("c");
    assert_int_equal(raft_group_first_index(group), 1);
    assert_int_equal(raft_group_truncate(group, now_ms, 4, batch), RC_OK);
    write_batch();
    sync_now();
    assert_int_equal(raft_group_first_index(group), 5);
    assert_int_equal(raft_group_truncate(group, now_ms, 4, batch), RC_OK); /* Nothing left to do. */
    assert_int_equal(kv->ops->batch_count(batch), 0);
    submit_and_settle("d");
    restart(UINT64_MAX);
    settle();
    assert_int_equal(raft_group_first_index(group), 5);
    assert_true(raft_group_is_ready(group));
    submit_and_settle("e");
}

/* A log may be dropped as a whole; the snapshot mark alone carries term and index on. */
static void a_wholly_truncated_log_restarts(void **state)
{
    (void)state;
    start_ready();
    for (int i = 0; i < 5; i++) {
        submit_and_settle("a");
        uint64_t last = raft_group_last_index(group);
        assert_int_equal(raft_group_truncate(group, now_ms, last, batch), RC_OK);
        assert_int_equal(raft_group_first_index(group), last + 1);
        write_batch();
        sync_now();
        restart(UINT64_MAX);
        assert_int_equal(raft_group_last_index(group), last + 1); /* The new barrier. */
        settle();
        assert_true(raft_group_is_ready(group));
    }
}

/* A log may be dropped up to what is applied while what comes next is stored, not applied. */
static void a_log_that_begins_after_what_was_applied_restarts(void **state)
{
    (void)state;
    uint64_t index;
    start_ready();
    submit_and_settle("a");
    assert_int_equal(submit("b", &index), RC_OK);
    assert_int_equal(raft_group_truncate(group, now_ms, index - 1, batch), RC_OK);
    assert_true(collect_and_write());
    sync_now();
    restart(UINT64_MAX);
    settle();
    assert_string_equal(applied[index], "b");
    assert_true(raft_group_is_ready(group));
}

/* A truncation that was not durable has not happened. */
static void a_lost_truncation_is_undone(void **state)
{
    (void)state;
    start_ready();
    submit_and_settle("a");
    assert_int_equal(raft_group_truncate(group, now_ms, 3, batch), RC_OK);
    write_batch();
    restart(UINT64_MAX);
    assert_int_equal(raft_group_first_index(group), 1);
    settle();
}

/* ---- Refusals ---- */

static void assert_refused(uint64_t applied_before)
{
    raft_group_free(&group);
    assert_int_equal(raft_group_open(&options, kv, applied_before, now_ms, &group), RC_CORRUPT);
    assert_null(group);
}

/* A row that fails its checksum ends the start, whether it is needed or not. */
static void a_corrupt_row_is_refused(void **state)
{
    (void)state;
    uint8_t key[RAFT_LOG_ENTRY_KEY_SIZE];
    start_ready();
    submit_and_settle("a");
    put_row(KV_LOG, raft_log_entry_key(key, SHARD, 2), slice_string("\x01rubbish"));
    assert_refused(3);
}

/* A term that cannot be read might be any. */
static void corrupt_hard_state_is_refused(void **state)
{
    (void)state;
    uint8_t key[RAFT_LOG_META_KEY_SIZE];
    start_ready();
    put_row(KV_META, raft_log_hard_key(key, SHARD), slice_string("\x01rubbish"));
    assert_refused(2);
}

/* A hole in the log is something acknowledged that is gone. */
static void a_hole_is_refused(void **state)
{
    (void)state;
    uint8_t key[RAFT_LOG_ENTRY_KEY_SIZE];
    start_ready();
    submit_and_settle("a");
    kv->ops->remove(batch, KV_LOG, raft_log_entry_key(key, SHARD, 2));
    write_batch();
    assert_refused(3);
}

/* Hard state whose log is gone must not begin a new one. */
static void hard_state_without_log_is_refused(void **state)
{
    (void)state;
    uint8_t from[RAFT_LOG_ENTRY_KEY_SIZE], to[RAFT_LOG_ENTRY_KEY_SIZE];
    start_ready();
    kv->ops->remove_range(batch, KV_LOG, raft_log_entry_key(from, SHARD, 0),
                          raft_log_entry_key(to, SHARD + 1, 0));
    write_batch();
    assert_refused(0);
}

/* A configuration that libraft cannot read is found before libraft sees it. */
static void an_unreadable_configuration_is_refused(void **state)
{
    (void)state;
    uint8_t bytes[RAFT_LOG_ENTRY_KEY_SIZE];
    start_ready();
    struct slice key = raft_log_entry_key(bytes, SHARD, 1);
    const struct raft_log_entry entry = {
        .index = 1, .term = 1, .type = RAFT_LOG_CHANGE, .data = slice_string("\xff no server")};
    struct buf *row = buf_new(0);
    raft_log_entry_encode(row, SHARD, &entry);
    put_row(KV_LOG, key, buf_slice(row));
    buf_unref(&row);
    assert_refused(2);
}

/* A state that has applied more than the log holds means that log was lost. */
static void a_state_ahead_of_the_log_is_refused(void **state)
{
    (void)state;
    start_ready();
    assert_refused(100);
}

/* A state older than the log's first entry can never catch up. */
static void a_state_behind_the_log_is_refused(void **state)
{
    (void)state;
    start_ready();
    submit_and_settle("a");
    submit_and_settle("b");
    assert_int_equal(raft_group_truncate(group, now_ms, 3, batch), RC_OK);
    write_batch();
    assert_refused(2);
}

/* ---- The same over RocksDB ---- */

static void wake(void *context)
{
    assert_int_equal(write(*(int *)context, "", 1), 1);
}

static void wait_for_sync(int wake_fd)
{
    char byte;
    begin_sync();
    assert_int_equal(read(wake_fd, &byte, 1), 1);
    rocks_kv_poll(kv);
}

/* What was submitted to one process is there for the next, from a real disk. */
static void a_group_reopens_on_rocksdb(void **state)
{
    (void)state;
    char dir[] = "/tmp/test_raft_group.XXXXXX", sentence[256], command[64];
    int wakes[2];
    uint64_t index;
    kv->ops->batch_free(&batch);
    kv->ops->close(&kv);
    assert_non_null(mkdtemp(dir));
    assert_int_equal(pipe(wakes), 0);
    const struct rocks_kv_options rocks = {.wake = wake, .wake_context = &wakes[1]};
    for (int life = 0; life < 3; life++) {
        assert_int_equal(rocks_kv_open(dir, &rocks, &kv, sentence, sizeof(sentence)), RC_OK);
        batch = kv->ops->batch_new(kv);
        enum rc rc = open_group();
        if (rc == RC_NOT_FOUND && life == 0) {
            raft_group_bootstrap(&options, SELF, batch);
            write_batch();
            wait_for_sync(wakes[0]);
            rc = open_group();
        }
        assert_int_equal(rc, RC_OK);
        do {
            if (collect_and_write())
                wait_for_sync(wakes[0]);
        } while (apply_committed() > 0);
        assert_int_equal(submit("real", &index), RC_OK);
        assert_true(collect_and_write());
        wait_for_sync(wakes[0]);
        assert_int_equal(raft_group_commit_index(group), index);
        raft_group_free(&group); /* Durable, not applied: the next life's to do. */
        kv->ops->batch_free(&batch);
        kv->ops->close(&kv);
    }
    assert_int_equal(applied_index, 6); /* The third life's entry is left to a fourth. */
    assert_string_equal(applied[3], "real");
    assert_string_equal(applied[5], "real");
    close(wakes[0]);
    close(wakes[1]);
    snprintf(command, sizeof(command), "rm -r %s", dir);
    assert_int_equal(system(command), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_unborn_shard_is_not_found),
        TEST(a_lone_router_leads_and_waits_for_its_barrier),
        TEST(an_idle_group_costs_nothing),
        TEST(a_time_that_goes_back_is_held),
        TEST(an_entry_commits_when_it_is_durable),
        TEST(a_second_entry_waits_for_the_first),
        TEST(a_sync_covers_only_what_its_mark_covers),
        TEST(entries_apply_in_order),
        TEST(a_restart_raises_the_term),
        TEST(a_restart_applies_what_was_durable),
        TEST(a_crash_loses_only_what_was_not_durable),
        TEST(no_crash_uncommits),
        TEST(a_truncated_log_restarts),
        TEST(a_wholly_truncated_log_restarts),
        TEST(a_log_that_begins_after_what_was_applied_restarts),
        TEST(a_lost_truncation_is_undone),
        TEST(a_corrupt_row_is_refused),
        TEST(corrupt_hard_state_is_refused),
        TEST(a_hole_is_refused),
        TEST(hard_state_without_log_is_refused),
        TEST(an_unreadable_configuration_is_refused),
        TEST(a_state_ahead_of_the_log_is_refused),
        TEST(a_state_behind_the_log_is_refused),
        TEST(a_group_reopens_on_rocksdb),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
