/* machine_trim - retention: what a conversation need not keep is removed, oldest first.
 *
 * How old is too old, the shard's leader finds out by its clock; the log only hears up to where
 * entries go. What a user's list has yet to be told stays until it was. */
#include "mesh/base/check.h"
#include "nodes/router/machine_parts.h"

void machine_retain(struct machine *m, struct slice conv, const struct row_conv *info)
{
    struct keyspace_key key;
    keyspace_name(&key, &m->keys, KEYSPACE_RETAIN, conv);
    const struct row_retain row = {.ms = info->retain_ms, .count = info->retain_count};
    if (row.ms != 0 || row.count != 0)
        machine_rows_put(m, m->batch, &key, &row_retain_desc, &row);
    else
        m->batch->ops->remove(m->batch, KV_STATE, keyspace_slice(&key));
    m->unflushed = true;
}

enum rc machine_trim_to(struct machine *m, struct machine_conv *conv, uint64_t upto)
{
    CHECK(upto > conv->head.trimmed && upto <= conv->head.seq);
    uint64_t messages;
    enum rc rc = machine_log_count(m, conv, upto, &messages);
    if (rc != RC_OK)
        return rc;
    struct keyspace_key from;
    struct keyspace_key to;
    keyspace_entry(&from, &m->keys, conv->id, conv->head.trimmed + 1);
    keyspace_entry(&to, &m->keys, conv->id, upto + 1);
    kv_remove_range(m->batch, KV_STATE, keyspace_slice(&from), keyspace_slice(&to));
    keyspace_reactions(&from, &m->keys, conv->id, conv->head.trimmed + 1);
    keyspace_reactions(&to, &m->keys, conv->id, upto + 1);
    kv_remove_range(m->batch, KV_STATE, keyspace_slice(&from), keyspace_slice(&to));
    conv->head.trimmed = upto;
    conv->head.trimmed_messages = messages;
    if (conv->head.pushed < upto)
        conv->head.pushed = upto; /* What is not there any more cannot be told. */
    conv->head_changed = true;
    machine_cache_touch(m, conv);
    machine_digest_numbers(m, &upto, 1);
    return RC_OK;
}

enum rc machine_trim(struct machine *m, const struct msg_cmd_trim *c, struct machine_result *result)
{
    struct machine_conv *conv;
    enum rc rc = machine_find(m, c->conv, &conv, result);
    if (rc != RC_OK || result->rc != RC_OK)
        return rc;
    uint64_t upto = c->upto < conv->head.seq ? c->upto : conv->head.seq;
    uint64_t owed = machine_outbox_first(m, conv->id);
    if (upto >= owed)
        upto = owed - 1;
    if (upto > conv->head.trimmed)
        rc = machine_trim_to(m, conv, upto);
    result->seq = conv->head.trimmed;
    return rc;
}

/* ---- What the leader reads ---- */

static enum rc get_ts(struct machine *m, const struct machine_conv *conv, uint64_t seq,
                      uint64_t *ret_ts)
{
    struct machine_found found;
    enum rc rc = machine_log_find(m, conv, seq, &found);
    if (rc == RC_OK)
        *ret_ts = found.entry.ts;
    machine_found_fini(&found);
    return rc;
}

/* The newest entry from before `ts`, or what is trimmed: times never decrease along the log. */
static enum rc find_last_before(struct machine *m, const struct machine_conv *conv, uint64_t ts,
                                uint64_t *ret_seq)
{
    uint64_t low = conv->head.trimmed;  /* Everything up to here is older, */
    uint64_t high = conv->head.seq + 1; /* from here on nothing is. */
    enum rc rc = RC_OK;
    uint64_t at = low + 1; /* First the oldest: mostly it may stay. */
    while (rc == RC_OK && low + 1 < high) {
        uint64_t found = 0;
        rc = get_ts(m, conv, at, &found);
        if (found < ts)
            low = at;
        else
            high = at;
        at = low + (high - low) / 2;
    }
    *ret_seq = low;
    return rc;
}

static enum rc find_upto(struct machine *m, const struct machine_conv *conv,
                         const struct row_retain *rule, uint64_t now_ms, uint64_t *ret_upto)
{
    uint64_t head = conv->head.seq;
    uint64_t upto = 0;
    enum rc rc = RC_OK;
    if (rule->ms != 0 && rule->ms < now_ms)
        rc = find_last_before(m, conv, now_ms - rule->ms, &upto);
    if (rule->count != 0 && head > rule->count && upto < head - rule->count)
        upto = head - rule->count;
    uint64_t owed = machine_outbox_first(m, conv->id);
    *ret_upto = upto < owed ? upto : owed - 1;
    return rc;
}

/* The row behind that of the conversation `after`, which becomes its id. RC_NOT_FOUND: none. */
static enum rc next_rule(struct machine *m, struct buf *after, struct row_retain *ret_rule)
{
    struct keyspace_key prefix;
    struct keyspace_key last;
    struct slice key;
    struct slice value;
    struct slice id;
    keyspace_table(&prefix, &m->keys, KEYSPACE_RETAIN);
    keyspace_name(&last, &m->keys, KEYSPACE_RETAIN, buf_slice(after));
    struct kv_iterator *iterator = machine_rows_iterate(m, &prefix, after->size > 0 ? &last : NULL);
    enum rc rc = RC_NOT_FOUND;
    buf_clear(after);
    if (m->kv->ops->next(iterator, &key, &value)) {
        rc = keyspace_get_name(key, &id) ? RC_OK : RC_CORRUPT;
        if (rc == RC_OK)
            rc = rows_decode(key, value, &row_retain_desc, ret_rule);
        if (rc == RC_OK)
            buf_append_slice(after, id);
    }
    enum rc end = m->kv->ops->iterator_free(&iterator);
    return end != RC_OK ? end : rc;
}

enum rc machine_retained(struct machine *m, struct buf *after, uint32_t *left, uint64_t now_ms,
                         void (*visit)(void *context, struct slice conv, uint64_t upto),
                         void *context)
{
    for (; *left > 0; --*left) {
        struct machine_conv *conv;
        struct row_retain rule;
        uint64_t upto;
        enum rc rc = next_rule(m, after, &rule);
        if (rc == RC_NOT_FOUND) {
            --*left;
            return RC_OK;
        }
        if (rc != RC_OK)
            return rc;
        rc = machine_cache_conv(m, buf_slice(after), &conv);
        if (rc == RC_OK && conv == NULL)
            return RC_CORRUPT; /* With the conversation its row goes. */
        if (rc == RC_OK)
            rc = find_upto(m, conv, &rule, now_ms, &upto);
        if (rc != RC_OK)
            return rc;
        if (upto > conv->head.trimmed)
            visit(context, conv->id, upto);
    }
    return RC_OK;
}
