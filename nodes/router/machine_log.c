#include "mesh/base/check.h"
#include "mesh/base/limits.h"
#include "mesh/base/mem.h"
#include "nodes/router/machine_parts.h"

/* Its value is kept: a later command of the turn may change what it says. */
static void remember(struct machine *m, struct machine_conv *conv, struct slice value)
{
    if (conv->fresh_count == conv->fresh_capacity) {
        conv->fresh_capacity = conv->fresh_capacity == 0 ? 8 : conv->fresh_capacity * 2;
        conv->fresh = mem_resize(conv->fresh, conv->fresh_capacity * sizeof(*conv->fresh));
    }
    CHECK(conv->written_seq + conv->fresh_count + 1 == conv->head.seq);
    conv->fresh[conv->fresh_count++] = (struct machine_fresh){
        .value = machine_overlay_keep(m, value),
        .messages = conv->head.messages,
    };
}

static const struct machine_fresh *fresh(const struct machine_conv *conv, uint64_t seq)
{
    return seq > conv->written_seq ? &conv->fresh[seq - conv->written_seq - 1] : NULL;
}

void machine_log_append(struct machine *m, struct machine_conv *conv, struct msg_entry *entry)
{
    machine_cache_touch(m, conv);
    entry->seq = ++conv->head.seq;
    entry->ts = m->applied.clock;
    conv->head.last_ts = entry->ts;
    conv->head_changed = true;
    if (entry->type == ENTRY_MESSAGE) {
        conv->head.messages++;
        conv->head.last_message = entry->seq;
        conv->head.last_delivered = 0; /* Nobody has it yet; machine_cursor.c counts. */
        conv->head.last_read = 0;
    } else {
        conv->head.last_other = entry->seq;
    }
    struct keyspace_key key;
    keyspace_entry(&key, &m->keys, conv->id, entry->seq);
    buf_clear(m->write_value);
    struct slice record = rows_encode_entry(m->write_value, keyspace_slice(&key),
                                            conv->head.messages, &msg_entry_desc, entry);
    kv_put(m->batch, KV_STATE, keyspace_slice(&key), buf_slice(m->write_value));
    remember(m, conv, buf_slice(m->write_value));
    machine_digest_record(m, record);
    if (m->listener != NULL && m->listener->on_entry != NULL) {
        const struct msg_event_entry event = {
            .conv = conv->id,
            .entry = record,
            .members = conv->head.members,
            .messages = conv->head.messages,
        };
        m->listener->on_entry(m->listener->context, &event, entry);
    }
}

void machine_log_append_member(struct machine *m, struct machine_conv *conv, struct slice from,
                               struct slice user, enum member_change change, enum member_role role)
{
    struct msg_entry entry = {
        .type = ENTRY_MEMBER,
        .from = from,
        .user = user,
        .change = change,
        .role = role,
    };
    machine_log_append(m, conv, &entry);
    if (change != MEMBER_ROLE)
        machine_outbox_owe(m, conv->id, entry.seq);
}

enum rc machine_log_count(struct machine *m, const struct machine_conv *conv, uint64_t seq,
                          uint64_t *ret_messages)
{
    CHECK(seq <= conv->head.seq);
    /* Mostly all that follow are messages, and counting is subtracting. */
    if (seq >= conv->head.last_other) {
        *ret_messages = conv->head.messages - (conv->head.seq - seq);
        return RC_OK;
    }
    if (seq <= conv->head.trimmed) {
        *ret_messages = seq != 0 ? conv->head.trimmed_messages : 0;
        return RC_OK;
    }
    if (seq > conv->written_seq) { /* Not in the store yet. */
        *ret_messages = fresh(conv, seq)->messages;
        return RC_OK;
    }
    struct keyspace_key key;
    struct slice record;
    keyspace_entry(&key, &m->keys, conv->id, seq);
    buf_clear(m->read_value);
    enum rc rc = m->kv->ops->get(m->kv, KV_STATE, keyspace_slice(&key), m->read_value);
    if (rc != RC_OK)
        return rc == RC_NOT_FOUND ? RC_CORRUPT : rc;
    return rows_decode_entry(keyspace_slice(&key), buf_slice(m->read_value), ret_messages, &record);
}

/* ---- An entry that is to change ---- */

/* Of all places where it may be, the newest: written over in this turn, appended in this turn,
 * stored. */
static enum rc find_value(struct machine *m, const struct machine_conv *conv, uint64_t seq,
                          const struct keyspace_key *key, struct buf *into)
{
    struct slice value;
    if (!machine_overlay_find(m, key, &value)) {
        if (seq <= conv->written_seq)
            return m->kv->ops->get(m->kv, KV_STATE, keyspace_slice(key), into);
        value = machine_overlay_kept(m, fresh(conv, seq)->value);
    }
    buf_append_slice(into, value);
    return RC_OK;
}

static enum rc decode_found(const struct keyspace_key *key, struct machine_found *found)
{
    struct slice record;
    enum rc rc =
        rows_decode_entry(keyspace_slice(key), buf_slice(found->value), &found->messages, &record);
    if (rc != RC_OK)
        return rc;
    struct record_reader r = record_reader_of(record);
    rc = record_decode(&r, &msg_entry_desc, &found->entry);
    if (rc != RC_OK || found->entry.marks.base == NULL)
        return rc;
    r = record_reader_of(found->entry.marks);
    return record_decode(&r, &msg_marks_desc, &found->marks);
}

enum rc machine_log_find(struct machine *m, const struct machine_conv *conv, uint64_t seq,
                         struct machine_found *found)
{
    CHECK(seq > conv->head.trimmed && seq <= conv->head.seq);
    struct keyspace_key key;
    *found = (struct machine_found){.value = buf_new(256)};
    keyspace_entry(&key, &m->keys, conv->id, seq);
    enum rc rc = find_value(m, conv, seq, &key, found->value);
    if (rc == RC_OK)
        rc = decode_found(&key, found);
    return rc == RC_NOT_FOUND ? RC_CORRUPT : rc;
}

void machine_found_fini(struct machine_found *found)
{
    buf_unref(&found->value);
}

void machine_log_rewrite(struct machine *m, struct machine_conv *conv, struct machine_found *found)
{
    struct keyspace_key key;
    struct buf *marks = buf_new(64);
    record_encode(marks, &msg_marks_desc, &found->marks);
    found->entry.marks = buf_slice(marks);
    keyspace_entry(&key, &m->keys, conv->id, found->entry.seq);
    buf_clear(m->write_value);
    struct slice record = rows_encode_entry(m->write_value, keyspace_slice(&key), found->messages,
                                            &msg_entry_desc, &found->entry);
    machine_overlay_put(m, &key, buf_slice(m->write_value));
    machine_digest_record(m, record);
    found->entry.marks = (struct slice){0};
    buf_unref(&marks);
}

/* Entries first..last, in either direction. */
static struct kv_iterator *iterate(struct machine *m, struct slice conv, uint64_t first,
                                   uint64_t last, bool backwards)
{
    struct keyspace_key from;
    struct keyspace_key to;
    keyspace_entry(&from, &m->keys, conv, first);
    keyspace_entry(&to, &m->keys, conv, last + 1);
    return m->kv->ops->iterate(m->kv, KV_STATE, keyspace_slice(&from), keyspace_slice(&to),
                               backwards);
}

/* Step to the entry `seq`. A log has no holes: where another one comes, or none, it is damaged. */
static enum rc step(struct machine *m, struct kv_iterator *iterator, uint64_t seq,
                    struct slice *ret_record)
{
    struct slice key;
    struct slice value;
    uint64_t found;
    uint64_t messages;
    if (!m->kv->ops->next(iterator, &key, &value) || !keyspace_get_seq(key, &found) || found != seq)
        return RC_CORRUPT;
    return rows_decode_entry(key, value, &messages, ret_record);
}

enum rc machine_log_read(struct machine *m, struct slice conv, uint64_t first, uint64_t last,
                         uint64_t count_max, struct buf *into, uint64_t *ret_next)
{
    uint64_t seq = first;
    if (first > last || count_max == 0) {
        *ret_next = seq;
        return RC_OK;
    }
    if (last - first >= count_max)
        last = first + count_max - 1;
    size_t begin = into->size;
    enum rc rc = RC_OK;
    struct kv_iterator *iterator = iterate(m, conv, first, last, false);
    for (; seq <= last; seq++) {
        struct slice record;
        rc = step(m, iterator, seq, &record);
        if (rc != RC_OK)
            break;
        if (seq > first && into->size - begin + record.size > LIMIT_FETCH_BYTES_MAX)
            break;
        buf_append_slice(into, record);
    }
    *ret_next = seq;
    return machine_rows_end(m, &iterator, rc);
}

/* Backwards, for the size is counted from the newest; then turned round. */
enum rc machine_log_read_last(struct machine *m, struct slice conv, uint64_t first, uint64_t last,
                              uint64_t count_max, struct buf *into, uint64_t *ret_first)
{
    if (first > last || count_max == 0) {
        *ret_first = last + 1;
        return RC_OK;
    }
    if (last - first >= count_max)
        first = last - count_max + 1;
    struct buf *found = buf_new(LIMIT_FETCH_BYTES_MAX / 8);
    size_t *ends = mem_alloc((size_t)(last - first + 1) * sizeof(*ends));
    size_t count = 0;
    enum rc rc = RC_OK;
    struct kv_iterator *iterator = iterate(m, conv, first, last, true);
    for (uint64_t seq = last; seq >= first; seq--) {
        struct slice record;
        rc = step(m, iterator, seq, &record);
        if (rc != RC_OK)
            break;
        if (count > 0 && found->size + record.size > LIMIT_FETCH_BYTES_MAX)
            break;
        buf_append_slice(found, record);
        ends[count++] = found->size;
    }
    rc = machine_rows_end(m, &iterator, rc);
    *ret_first = last + 1 - count;
    while (count-- > 0) {
        size_t begin = count > 0 ? ends[count - 1] : 0;
        buf_append(into, found->bytes + begin, ends[count] - begin);
    }
    mem_free(ends);
    buf_unref(&found);
    return rc;
}
