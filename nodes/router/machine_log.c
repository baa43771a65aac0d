#include "mesh/base/check.h"
#include "mesh/base/limits.h"
#include "mesh/base/mem.h"
#include "nodes/router/machine_parts.h"

static void remember_other(struct machine_conv *conv, uint64_t seq)
{
    if (conv->others_count == conv->others_capacity) {
        conv->others_capacity = conv->others_capacity == 0 ? 8 : conv->others_capacity * 2;
        conv->others = mem_resize(conv->others, conv->others_capacity * sizeof(*conv->others));
    }
    conv->others[conv->others_count++] = seq;
    conv->head.last_other = seq;
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
    } else {
        remember_other(conv, entry->seq);
    }
    struct keyspace_key key;
    keyspace_entry(&key, &m->keys, conv->id, entry->seq);
    buf_clear(m->write_value);
    struct slice record = rows_encode_entry(m->write_value, keyspace_slice(&key),
                                            conv->head.messages, &msg_entry_desc, entry);
    kv_put(m->batch, KV_STATE, keyspace_slice(&key), buf_slice(m->write_value));
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
    if (seq == 0) {
        *ret_messages = 0;
        return RC_OK;
    }
    if (seq > conv->written_seq) { /* Not in the store yet. */
        uint64_t others = 0;
        while (others < conv->others_count && conv->others[conv->others_count - 1 - others] > seq)
            others++;
        *ret_messages = conv->head.messages - (conv->head.seq - seq - others);
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
