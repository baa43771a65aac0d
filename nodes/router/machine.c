#include "nodes/router/machine.h"

#include "mesh/base/check.h"
#include "mesh/base/mem.h"
#include "nodes/router/machine_parts.h"

enum rc machine_open(struct kv *kv, uint32_t shard, uint32_t generation, const uint8_t cluster[16],
                     struct machine **ret_machine)
{
    struct machine *m = mem_new(struct machine);
    m->kv = kv; /* Borrowed: closed after the last machine. */
    m->keys = (struct keyspace){.shard = shard, .generation = generation};
    m->page.entries = buf_new(0);
    m->read_value = buf_new(1024);
    m->write_value = buf_new(1024);
    machine_limit_parts(m, LIMIT_PART_COUNT, LIMIT_PART_COUNT);
    machine_cache_init(m);
    machine_dedup_init(m, cluster);
    machine_digest_init(m, cluster);
    machine_control_init(m);
    machine_overlay_init(m);
    map_init(&m->index, machine_index_key);

    struct keyspace_key key;
    keyspace_table(&key, &m->keys, KEYSPACE_APPLIED);
    enum rc rc = machine_outbox_open(m);
    if (rc == RC_OK)
        rc = machine_control_open(m);
    if (rc == RC_OK)
        rc = machine_rows_get(m, &key, &row_applied_desc, &m->applied);
    if (rc != RC_OK && rc != RC_NOT_FOUND) {
        machine_free(&m);
        return rc;
    }
    *ret_machine = m;
    return RC_OK;
}

void machine_free(struct machine **machine)
{
    struct machine *m = *machine;
    *machine = NULL;
    if (m == NULL)
        return;
    machine_outbox_fini(m);
    machine_control_fini(m);
    machine_index_written(m);
    map_fini(&m->index);
    machine_overlay_fini(m);
    machine_dedup_fini(m);
    machine_cache_fini(m);
    buf_unref(&m->write_value);
    buf_unref(&m->page.entries);
    buf_unref(&m->read_value);
    mem_free(m);
}

void machine_limit_cache(struct machine *m, uint32_t conversations_max)
{
    m->clean_max = conversations_max;
}

void machine_limit_parts(struct machine *m, uint32_t members_max, uint32_t entries_max)
{
    m->drop_members_max = members_max;
    m->erase_entries_max = entries_max;
}

uint64_t machine_applied(const struct machine *m)
{
    return m->applied.index;
}

static enum rc apply_command(struct machine *m, struct slice bytes, struct machine_result *result)
{
    struct machine_command c;
    enum rc rc = machine_check(bytes, &c, &result->detail);
    if (rc != RC_OK)
        return machine_refuse(result, rc, result->detail);
    result->detail = NULL;
    if (c.key_kind == MACHINE_KEY_CONV)
        result->conv = c.key;
    else if (c.number == MSG_CMD_INDEX)
        result->conv = c.as.index.conv;
    if ((c.key_kind == MACHINE_KEY_CONTROL) != (m->keys.shard == CONTROL_GROUP))
        return machine_refuse(result, RC_UNSUPPORTED, "this group does not take such a command");
    m->mark++;
    switch (c.number) {
    case MSG_CMD_SEND:
        return machine_send(m, &c.as.send, result);
    case MSG_CMD_CREATE:
        return machine_create(m, &c.as.create, result);
    case MSG_CMD_MEMBER:
        return machine_change_members(m, &c.as.member, result);
    case MSG_CMD_INFO:
        return machine_change_info(m, &c.as.info, result);
    case MSG_CMD_CURSOR:
        return machine_move_cursor(m, &c.as.cursor, result);
    case MSG_CMD_INDEX:
        return machine_set_index(m, &c.as.index, result);
    case MSG_CMD_TOLD:
        return machine_outbox_told(m, &c.as.told);
    case MSG_CMD_CHANGE:
        return machine_change(m, &c.as.change, result);
    case MSG_CMD_TRIM:
        return machine_trim(m, &c.as.trim, result);
    case MSG_CMD_ERASE:
        return machine_erase(m, &c.as.erase, result);
    case MSG_CMD_DROP:
        return machine_drop(m, &c.as.drop, result);
    case MSG_CMD_PUSHED:
        return machine_set_pushed(m, &c.as.pushed, result);
    case MSG_CMD_SEEN:
        return machine_see(m, &c.as.seen);
    case MSG_CMD_CLUSTER:
        return machine_set_cluster(m, &c.as.cluster, result);
    case MSG_CMD_ROUTER:
        return machine_set_router(m, &c.as.router, result);
    default:
        CHECK(false); /* machine_check() lets no other pass. */
        return RC_UNSUPPORTED;
    }
}

/* The entry is a batch, whose commands are as many records as it says: known before the first is
 * applied, for what follows a broken one could not be found. */
static enum rc decode_batch(struct slice data, struct msg_batch *ret_batch)
{
    struct record_reader r = record_reader_of(data);
    enum rc rc = record_decode(&r, &msg_batch_desc, ret_batch);
    if (rc != RC_OK || !record_reader_at_end(&r))
        return RC_CORRUPT;
    struct record_reader commands = record_reader_of(ret_batch->commands);
    uint64_t count = 0;
    for (; !record_reader_at_end(&commands); count++)
        if (record_skip(&commands) != RC_OK)
            return RC_CORRUPT;
    return count == ret_batch->count ? RC_OK : RC_CORRUPT;
}

static enum rc apply_batch(struct machine *m, const struct msg_batch *batch)
{
    if (batch->ts > m->applied.clock) {
        machine_dedup_advance(m, batch->ts);
        m->applied.clock = batch->ts;
    }
    machine_digest_numbers(m, &m->applied.clock, 1);
    struct record_reader r = record_reader_of(batch->commands);
    for (uint32_t nth = 0; !record_reader_at_end(&r); nth++) {
        const uint8_t *begin = r.at;
        struct machine_result result = {0};
        enum rc rc = record_skip(&r);
        if (rc == RC_OK)
            rc = apply_command(m, slice_of(begin, (size_t)(r.at - begin)), &result);
        if (rc != RC_OK)
            return rc;
        machine_digest_result(m, &result);
        if (m->listener != NULL && m->listener->on_result != NULL)
            m->listener->on_result(m->listener->context, m->entry_index, nth, &result);
    }
    return RC_OK;
}

enum rc machine_apply(struct machine *m, uint64_t index, struct slice data, struct kv_batch *batch,
                      const struct machine_listener *listener)
{
    if (index <= m->applied.index)
        return RC_OK;
    struct msg_batch decoded;
    enum rc rc = data.size > 0 ? decode_batch(data, &decoded) : RC_OK;
    if (rc != RC_OK)
        return rc;
    machine_digest_numbers(m, &index, 1);
    if (data.size > 0) {
        m->entry_index = index;
        m->batch = batch;
        m->listener = listener;
        rc = apply_batch(m, &decoded);
        m->batch = NULL;
        m->listener = NULL;
    }
    if (rc == RC_OK) {
        m->applied.index = index;
        m->applied_changed = true;
        m->unflushed = true;
    }
    return rc;
}

void machine_flush(struct machine *m, struct kv_batch *batch)
{
    if (!m->unflushed)
        return;
    machine_cache_flush(m, batch);
    machine_outbox_flush(m, batch);
    if (m->applied_changed) {
        struct keyspace_key key;
        keyspace_table(&key, &m->keys, KEYSPACE_APPLIED);
        machine_rows_put(m, batch, &key, &row_applied_desc, &m->applied);
        m->applied_changed = false;
    }
    m->unflushed = false;
}

void machine_written(struct machine *m)
{
    CHECK(!m->unflushed); /* What is forgotten now must be in the batch that was written. */
    machine_cache_written(m);
    machine_dedup_written(m);
    machine_index_written(m);
    machine_overlay_written(m);
    machine_page_written(m);
}
