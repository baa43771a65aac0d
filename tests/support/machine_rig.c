#include "tests/support/machine_rig.h"

#include "mesh/base/check.h"
#include "mesh/base/crypto.h"
#include "mesh/base/mem.h"
#include "mesh/wire/key.h"
#include "storage/mem_kv.h"

static const uint8_t cluster[16] = "a test's cluster";

static void on_result(void *context, uint64_t index, uint32_t nth,
                      const struct machine_result *result)
{
    struct rig *rig = context;
    CHECK(index == rig->index + 1);
    CHECK(nth < RIG_RESULTS_MAX);
    CHECK((result->detail != NULL) == (result->rc != RC_OK));
    rig->results[nth] = (struct rig_result){
        .rc = result->rc,
        .seq = result->seq,
        .ts = result->ts,
        .dup = result->dup,
    };
}

static void on_entry(void *context, const struct msg_event_entry *event,
                     const struct msg_entry *fields)
{
    struct rig *rig = context;
    struct record_reader r = record_reader_of(event->entry);
    struct msg_entry decoded;
    enum rc rc = record_decode(&r, &msg_entry_desc, &decoded);
    CHECK(rc == RC_OK);
    CHECK(decoded.seq == fields->seq && event->conv.size > 0);
    rig->entries++;
    rig->entry_members = event->members;
    rig->entry_messages = event->messages;
}

static void on_receipt(void *context, const struct msg_event_receipt *receipt)
{
    struct rig *rig = context;
    rig->receipts++;
    rig->receipt_delivered = receipt->delivered;
    rig->receipt_read = receipt->read;
    rig->receipt_messages = receipt->messages;
    rig->receipt_members = receipt->members;
}

static void on_user(void *context, const struct msg_event_user *event)
{
    struct rig *rig = context;
    rig->user_events++;
    rig->user_gone = event->gone != 0;
}

static void open_machine(struct rig *rig)
{
    enum rc rc = machine_open(rig->kv, rig->group, 1, cluster, &rig->machine);
    CHECK(rc == RC_OK);
    rig->index = machine_applied(rig->machine);
}

void rig_open(struct rig *rig)
{
    rig_open_group(rig, 7);
}

void rig_open_group(struct rig *rig, uint32_t group)
{
    memset(rig, 0, sizeof(*rig));
    rig->group = group;
    crypto_start();
    rig->kv = mem_kv_new();
    rig->batch = rig->kv->ops->batch_new(rig->kv);
    rig->commands = buf_new(0);
    rig->into = buf_new(0);
    rig->into_left = buf_new(0);
    rig->ts = 1700000000000;
    open_machine(rig);
}

void rig_close(struct rig *rig)
{
    machine_free(&rig->machine);
    buf_unref(&rig->into);
    buf_unref(&rig->into_left);
    buf_unref(&rig->commands);
    rig->kv->ops->batch_free(&rig->batch);
    rig->kv->ops->close(&rig->kv);
}

int rig_setup(void **state)
{
    struct rig *rig = mem_new(struct rig);
    rig_open(rig);
    *state = rig;
    return 0;
}

int rig_teardown(void **state)
{
    struct rig *rig = *state;
    rig_close(rig);
    mem_free(rig);
    return 0;
}

void rig_reopen(struct rig *rig)
{
    machine_free(&rig->machine);
    rig->kv->ops->batch_free(&rig->batch);
    rig->batch = rig->kv->ops->batch_new(rig->kv);
    open_machine(rig);
}

void rig_add(struct rig *rig, const struct record_desc *desc, const void *command)
{
    record_encode(rig->commands, desc, command);
    rig->count++;
}

struct buf *rig_pack(struct rig *rig)
{
    struct msg_batch batch = {
        .ts = rig->ts,
        .count = rig->count,
        .commands = buf_slice(rig->commands),
    };
    struct buf *entry = buf_new(0);
    record_encode(entry, &msg_batch_desc, &batch);
    buf_clear(rig->commands);
    rig->count = 0;
    return entry;
}

void rig_apply_entry(struct rig *rig, struct slice entry)
{
    const struct machine_listener listener = {
        .context = rig,
        .on_result = on_result,
        .on_entry = on_entry,
        .on_receipt = on_receipt,
        .on_user = on_user,
    };
    enum rc rc = machine_apply(rig->machine, rig->index + 1, entry, rig->batch, &listener);
    CHECK(rc == RC_OK);
    rig->index++;
}

void rig_apply(struct rig *rig)
{
    struct buf *entry = rig_pack(rig);
    rig_apply_entry(rig, buf_slice(entry));
    buf_unref(&entry);
}

void rig_write(struct rig *rig)
{
    machine_flush(rig->machine, rig->batch);
    enum rc rc = rig->kv->ops->write(rig->kv, rig->batch);
    CHECK(rc == RC_OK);
    machine_written(rig->machine);
}

struct rig_result rig_do(struct rig *rig, const struct record_desc *desc, const void *command)
{
    rig_add(rig, desc, command);
    rig_apply(rig);
    rig_write(rig);
    return rig->results[0];
}

struct slice rig_text(const char *text)
{
    return text != NULL ? slice_string(text) : (struct slice){0};
}

struct slice rig_direct(const char *a, const char *b)
{
    static char id[KEY_DIRECT_SIZE];
    key_direct(slice_string(a), slice_string(b), id);
    return slice_of(id, sizeof(id));
}

struct buf *rig_names(const char *names)
{
    struct buf *out = buf_new(16);
    while (names != NULL && *names != 0) {
        size_t size = strcspn(names, " ");
        record_put_slice(out, slice_of(names, size));
        names += size + (names[size] != 0);
    }
    return out;
}

struct rig_result rig_send(struct rig *rig, const char *conv, const char *user, const char *cid,
                           const char *body)
{
    struct msg_cmd_send c = {
        .conv = slice_string(conv),
        .user = slice_string(user),
        .device = slice_string("d"),
        .cid = rig_text(cid),
        .body = slice_string(body),
    };
    return rig_do(rig, &msg_cmd_send_desc, &c);
}

struct rig_result rig_create(struct rig *rig, const char *conv, const char *user,
                             const char *others)
{
    struct buf *names = rig_names(others);
    struct msg_cmd_create c = {
        .conv = slice_string(conv),
        .user = slice_string(user),
        .kind = CONV_GROUP,
        .members = buf_slice(names),
    };
    struct rig_result result = rig_do(rig, &msg_cmd_create_desc, &c);
    buf_unref(&names);
    return result;
}

struct rig_result rig_member(struct rig *rig, const char *conv, const char *user,
                             enum member_change change, const char *others, enum member_role role)
{
    struct buf *names = rig_names(others);
    struct msg_cmd_member c = {
        .conv = slice_string(conv),
        .user = slice_string(user),
        .change = change,
        .users = buf_slice(names),
        .role = role,
    };
    struct rig_result result = rig_do(rig, &msg_cmd_member_desc, &c);
    buf_unref(&names);
    return result;
}

struct rig_result rig_cursor(struct rig *rig, const char *conv, const char *user,
                             const char *device, uint64_t delivered, uint64_t read)
{
    struct msg_cmd_cursor c = {
        .conv = slice_string(conv),
        .user = slice_string(user),
        .device = rig_text(device),
        .delivered = delivered,
        .read = read,
    };
    return rig_do(rig, &msg_cmd_cursor_desc, &c);
}

struct rig_result rig_change(struct rig *rig, const char *conv, const char *user,
                             enum entry_type type, uint64_t target, const char *text, bool on)
{
    struct msg_cmd_change c = {
        .conv = slice_string(conv),
        .user = rig_text(user),
        .device = slice_string("d"),
        .type = type,
        .target = target,
        .on = on,
        .as_server = user == NULL,
    };
    if (type == ENTRY_EDIT)
        c.body = rig_text(text);
    if (type == ENTRY_REACTION)
        c.emoji = rig_text(text);
    return rig_do(rig, &msg_cmd_change_desc, &c);
}

struct rig_result rig_trim(struct rig *rig, const char *conv, uint64_t upto)
{
    struct msg_cmd_trim c = {.conv = slice_string(conv), .upto = upto};
    return rig_do(rig, &msg_cmd_trim_desc, &c);
}

struct rig_result rig_erase(struct rig *rig, const char *conv, const char *user, uint64_t after)
{
    struct msg_cmd_erase c = {
        .conv = slice_string(conv),
        .user = slice_string(user),
        .after = after,
    };
    return rig_do(rig, &msg_cmd_erase_desc, &c);
}

struct rig_result rig_drop(struct rig *rig, const char *conv)
{
    struct msg_cmd_drop c = {.conv = slice_string(conv)};
    return rig_do(rig, &msg_cmd_drop_desc, &c);
}

void rig_told(struct rig *rig, const char *conv)
{
    struct msg_cmd_told c = {.conv = slice_string(conv), .seq = UINT64_MAX - 1};
    struct rig_result result = rig_do(rig, &msg_cmd_told_desc, &c);
    CHECK(result.rc == RC_OK);
}

/* ---- What is there ---- */

bool rig_entry(struct rig *rig, const char *conv, const char *user, uint64_t seq,
               struct msg_entry *entry, struct msg_marks *marks)
{
    struct msg_fetch request = {
        .conv = slice_string(conv),
        .user = rig_text(user),
        .after = seq - 1,
        .limit = 1,
    };
    struct msg_fetched answer;
    *marks = (struct msg_marks){0};
    buf_clear(rig->into);
    enum rc rc = machine_fetch(rig->machine, &request, &answer);
    CHECK(rc == RC_OK);
    if (answer.rc != RC_OK || answer.entries.size == 0)
        return false;
    struct record_reader r = record_reader_of(answer.entries);
    rc = record_decode(&r, &msg_entry_desc, entry);
    CHECK(rc == RC_OK);
    if (entry->seq != seq)
        return false;
    if (entry->marks.base != NULL) {
        r = record_reader_of(entry->marks);
        rc = record_decode(&r, &msg_marks_desc, marks);
        CHECK(rc == RC_OK);
    }
    return true;
}

bool rig_item(struct rig *rig, const char *conv, const char *user, struct msg_summary_item *item)
{
    struct buf *names = rig_names(conv);
    struct msg_summary request = {.user = rig_text(user), .convs = buf_slice(names)};
    struct msg_summaries answer;
    buf_clear(rig->into);
    enum rc rc = machine_summary(rig->machine, &request, &answer, rig->into);
    CHECK(rc == RC_OK);
    buf_unref(&names);
    struct record_reader r = record_reader_of(answer.items);
    if (answer.rc != RC_OK || record_reader_at_end(&r))
        return false;
    rc = record_decode(&r, &msg_summary_item_desc, item);
    CHECK(rc == RC_OK);
    return true;
}

uint32_t rig_rows(struct rig *rig, enum keyspace_table table)
{
    const struct keyspace keys = {.shard = rig->group, .generation = 1};
    struct keyspace_key from;
    struct keyspace_key to;
    struct slice key;
    struct slice value;
    uint32_t count = 0;
    keyspace_table(&from, &keys, table);
    to = from;
    keyspace_to_end(&to);
    struct kv_iterator *iterator =
        rig->kv->ops->iterate(rig->kv, KV_STATE, keyspace_slice(&from), keyspace_slice(&to), false);
    while (rig->kv->ops->next(iterator, &key, &value))
        count++;
    enum rc rc = rig->kv->ops->iterator_free(&iterator);
    CHECK(rc == RC_OK);
    return count;
}

bool rig_holds(struct rig *rig, const char *bytes)
{
    struct buf *rows = rig_dump(rig->kv);
    bool found = memmem(rows->bytes, rows->size, bytes, strlen(bytes)) != NULL;
    buf_unref(&rows);
    return found;
}

static void dump_family(struct kv *kv, enum kv_family family, struct buf *out)
{
    struct slice key;
    struct slice value;
    struct kv_iterator *iterator =
        kv->ops->iterate(kv, family, slice_of("", 0), slice_of("\xff", 1), false);
    while (kv->ops->next(iterator, &key, &value)) {
        record_put_slice(out, key);
        record_put_slice(out, value);
    }
    enum rc rc = kv->ops->iterator_free(&iterator);
    CHECK(rc == RC_OK);
}

struct buf *rig_dump(struct kv *kv)
{
    struct buf *out = buf_new(0);
    dump_family(kv, KV_STATE, out);
    dump_family(kv, KV_DEDUP, out);
    return out;
}
