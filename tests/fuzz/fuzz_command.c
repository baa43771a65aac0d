/* Commands, as a router takes them in and every replica applies them.
 *
 * The first byte says how commands are packed, how fast time goes, and whether the group is the
 * control group; the rest is commands, one record after another, up to the first that is none. One
 * replica applies and writes each entry by itself, remembers no conversation, and is restarted
 * half-way, so that it meets entries again that it has applied; the other one applies all and
 * writes once. Both must say and store the same, the digest included. */
#include "mesh/base/check.h"
#include "mesh/base/limits.h"
#include "mesh/wire/key.h"
#include "tests/support/machine_rig.h"

#define COMMANDS_MAX 64u
#define ENTRIES_MAX  (COMMANDS_MAX + 1)

static const uint64_t steps_ms[] = {0, 1, 1000, 3600000, 86400000, 7 * 86400000, 1, 0};

/* What the bits of the first byte say. */
#define PER_ENTRY(first)  (((first)&7) + 1u)
#define STEP_MS(first)    (steps_ms[(first) >> 3 & 7])
#define IS_CONTROL(first) (((first) >> 6 & 1) != 0)

/* Something to talk about: a conversation "c" of three, with a message; or nothing yet. */
static void begin(struct rig *rig, bool is_control)
{
    if (is_control) {
        rig_open_group(rig, CONTROL_GROUP);
        return;
    }
    rig_open(rig);
    rig_create(rig, "c", "a", "b d");
    rig_send(rig, "c", "a", "i", "1");
    rig_change(rig, "c", "b", ENTRY_REACTION, 4, "+", true);
}

static bool is_within(struct slice part, struct slice whole)
{
    return part.base >= whole.base && part.base + part.size <= whole.base + whole.size;
}

static enum rc check_command(struct slice command)
{
    enum message_number number;
    struct slice key;
    enum machine_key kind;
    const char *detail = NULL;
    enum rc rc = machine_check_command(command, &number, &key, &kind, &detail);
    CHECK(rc == RC_OK || rc == RC_BAD_REQUEST || rc == RC_TOO_LARGE || rc == RC_UNSUPPORTED);
    if (rc == RC_OK) {
        CHECK(number >= MSG_CMD_SEND && number <= MSG_CMD_SEEN && number != MSG_ENTRY);
        CHECK(number == MSG_CMD_CLUSTER || is_within(key, command));
        CHECK(kind == MACHINE_KEY_CONV   ? key_conv_is_valid(key)
              : kind == MACHINE_KEY_USER ? key_user_is_valid(key)
                                         : key_node_is_valid(key));
    }
    return rc;
}

/* Cut the input into entries of 1 to 8 commands; what a router refuses to queue, `ret_refused` has
 * at its place, and applying must refuse it likewise. */
static uint32_t pack(struct rig *rig, struct slice commands, uint8_t first,
                     struct buf *entries[ENTRIES_MAX], enum rc ret_refused[COMMANDS_MAX])
{
    struct record_reader r = record_reader_of(commands);
    uint32_t per_entry = PER_ENTRY(first);
    uint32_t entry_count = 0;
    uint32_t count = 0;
    while (count < COMMANDS_MAX && !record_reader_at_end(&r)) {
        const uint8_t *start = r.at;
        if (record_skip(&r) != RC_OK)
            break;
        struct slice command = slice_of(start, (size_t)(r.at - start));
        ret_refused[count++] = check_command(command);
        buf_append_slice(rig->commands, command);
        if (++rig->count == per_entry) {
            entries[entry_count++] = rig_pack(rig);
            rig->ts += STEP_MS(first);
        }
    }
    if (rig->count > 0)
        entries[entry_count++] = rig_pack(rig);
    return entry_count;
}

static void apply_one_by_one(struct rig *rig, struct buf *const *entries, uint32_t count,
                             struct rig_result *ret_results)
{
    machine_limit_cache(rig->machine, 0);
    for (uint32_t i = 0; i < count; i++) {
        rig_apply_entry(rig, buf_slice(entries[i]));
        rig_write(rig);
        memcpy(ret_results + i * 8, rig->results, 8 * sizeof(*ret_results));
        if (i == count / 2) {
            rig_reopen(rig);
            enum rc rc =
                machine_apply(rig->machine, rig->index, buf_slice(entries[i]), rig->batch, NULL);
            CHECK(rc == RC_OK && rig->kv->ops->batch_count(rig->batch) == 0);
        }
    }
}

static void apply_at_once(struct rig *rig, struct buf *const *entries, uint32_t count,
                          struct rig_result *ret_results)
{
    for (uint32_t i = 0; i < count; i++) {
        rig_apply_entry(rig, buf_slice(entries[i]));
        memcpy(ret_results + i * 8, rig->results, 8 * sizeof(*ret_results));
    }
    rig_write(rig);
}

static void check_results(const struct rig_result *a, const struct rig_result *b,
                          const enum rc *refused, uint32_t per_entry, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        uint32_t at = i / per_entry * 8 + i % per_entry;
        CHECK(refused[i] == RC_OK || a[at].rc == refused[i]);
        CHECK(a[at].rc == b[at].rc && a[at].seq == b[at].seq);
        CHECK(a[at].ts == b[at].ts && a[at].dup == b[at].dup);
    }
}

static void check_stores(struct rig *a, struct rig *b)
{
    struct buf *rows_a = rig_dump(a->kv);
    struct buf *rows_b = rig_dump(b->kv);
    CHECK(slice_equal(buf_slice(rows_a), buf_slice(rows_b)));
    CHECK(machine_digest(a->machine) == machine_digest(b->machine));
    CHECK(machine_owes(a->machine) == machine_owes(b->machine));
    CHECK(a->entries == b->entries && a->receipts == b->receipts);
    CHECK(a->user_events == b->user_events);
    buf_unref(&rows_a);
    buf_unref(&rows_b);
}

/* The list of routers reads back as commands that are sound, in order of their names. */
static void check_control(struct rig *rig)
{
    struct machine_cluster cluster;
    bool is_founded = machine_cluster(rig->machine, &cluster) == RC_OK;
    buf_clear(rig->into);
    CHECK(machine_routers(rig->machine, rig->into) == RC_OK);
    CHECK(is_founded || rig->into->size == 0);
    CHECK(!is_founded || (cluster.shards != 0 && strlen(cluster.epoch) == 8));
    CHECK(!is_founded || (cluster.version == 0) == (rig->into->size == 0));
    struct record_reader r = record_reader_of(buf_slice(rig->into));
    struct msg_cmd_router last = {0};
    while (!record_reader_at_end(&r)) {
        struct msg_cmd_router c;
        const uint8_t *begin = r.at;
        CHECK(record_decode(&r, &msg_cmd_router_desc, &c) == RC_OK);
        CHECK(check_command(slice_of(begin, (size_t)(r.at - begin))) == RC_OK);
        uint32_t size = last.node.size < c.node.size ? last.node.size : c.node.size;
        int order = size > 0 ? memcmp(last.node.base, c.node.base, size) : 0;
        CHECK(order < 0 || (order == 0 && last.node.size < c.node.size));
        last = c;
    }
}

static void on_excess(void *context, struct slice conv, uint64_t upto)
{
    uint64_t head;
    CHECK(machine_head(((struct rig *)context)->machine, conv, &head) == RC_OK);
    CHECK(upto > 0 && upto <= head);
}

/* Whatever was done to it, the log reads back whole behind what was trimmed. */
static void check_log(struct rig *rig)
{
    struct msg_fetch request = {.conv = slice_string("c"), .limit = LIMIT_RESUME_COUNT};
    struct msg_fetched answer;
    buf_clear(rig->into);
    CHECK(machine_fetch(rig->machine, &request, &answer) == RC_OK);
    struct record_reader r = record_reader_of(answer.entries);
    uint64_t seq = answer.trimmed;
    while (!record_reader_at_end(&r)) {
        struct msg_entry entry;
        struct msg_marks marks;
        CHECK(record_decode(&r, &msg_entry_desc, &entry) == RC_OK);
        CHECK(entry.seq == ++seq && entry.from.base != NULL);
        struct record_reader m = record_reader_of(entry.marks);
        CHECK(entry.marks.base == NULL || record_decode(&m, &msg_marks_desc, &marks) == RC_OK);
    }
    CHECK(answer.rc != RC_OK || answer.more != 0 || seq == answer.head);

    struct buf *after = buf_new(16);
    uint32_t left = 100;
    CHECK(machine_retained(rig->machine, after, &left, UINT64_MAX, on_excess, rig) == RC_OK);
    buf_unref(&after);
}

/* Bytes that claim to be an entry: taken whole or refused whole. */
static void apply_raw(struct slice bytes, bool is_control)
{
    static struct rig rig;
    begin(&rig, is_control);
    uint64_t digest = machine_digest(rig.machine);
    enum rc rc = machine_apply(rig.machine, rig.index + 1, bytes, rig.batch, NULL);
    CHECK(rc == RC_OK || rc == RC_CORRUPT);
    CHECK(rc == RC_OK || rig.kv->ops->batch_count(rig.batch) == 0);
    CHECK((rc == RC_OK) == (machine_digest(rig.machine) != digest));
    rig_close(&rig);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct rig slow, quick;
    static struct rig_result slow_results[ENTRIES_MAX * 8], quick_results[ENTRIES_MAX * 8];
    struct buf *entries[ENTRIES_MAX];
    enum rc refused[COMMANDS_MAX];
    if (size == 0)
        return 0;
    (void)check_command(slice_of(data + 1, size - 1));
    apply_raw(slice_of(data + 1, size - 1), IS_CONTROL(data[0]));

    begin(&slow, IS_CONTROL(data[0]));
    begin(&quick, IS_CONTROL(data[0]));
    uint32_t per_entry = PER_ENTRY(data[0]);
    uint32_t count = pack(&slow, slice_of(data + 1, size - 1), data[0], entries, refused);
    apply_one_by_one(&slow, entries, count, slow_results);
    apply_at_once(&quick, entries, count, quick_results);
    uint32_t commands = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct record_reader r = record_reader_of(buf_slice(entries[i]));
        struct msg_batch batch;
        CHECK(record_decode(&r, &msg_batch_desc, &batch) == RC_OK);
        commands += (uint32_t)batch.count;
        buf_unref(&entries[i]);
    }
    check_results(slow_results, quick_results, refused, per_entry, commands);
    check_stores(&slow, &quick);
    check_control(&slow);
    check_log(&slow);
    rig_close(&slow);
    rig_close(&quick);
    return 0;
}
