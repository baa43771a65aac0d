/* machine_pushed - up to where the webhook knows of a conversation, and what it has yet to be told.
 *
 * The cursor `pushed` of the head is the only thing kept; the rest follows from the cursors of
 * members. It moves when the leader says that the webhook has answered, and by itself when the last
 * member has got the newest message: then there is nobody to tell, so a conversation whose members
 * are all online costs neither a command nor a row of its own. */
#include "nodes/router/machine_parts.h"

enum rc machine_set_pushed(struct machine *m, const struct msg_cmd_pushed *c,
                           struct machine_result *result)
{
    struct machine_conv *conv;
    enum rc rc = machine_find(m, c->conv, &conv, result);
    if (rc != RC_OK || result->rc != RC_OK)
        return rc;
    uint64_t seq = c->seq < conv->head.seq ? c->seq : conv->head.seq;
    if (seq <= conv->head.pushed)
        return RC_OK;
    machine_digest_numbers(m, &seq, 1);
    machine_digest_bytes(m, conv->id);
    conv->head.pushed = seq;
    conv->head_changed = true;
    machine_cache_touch(m, conv);
    return RC_OK;
}

/* Its sender is a member for certain only where nothing came after it. */
void machine_pushed_by_all(struct machine *m, struct machine_conv *conv)
{
    struct row_head *head = &conv->head;
    if (head->seq != head->last_message || head->pushed >= head->last_message ||
        head->last_delivered + 1 < head->members)
        return;
    head->pushed = head->last_message;
    conv->head_changed = true;
    machine_cache_touch(m, conv);
}

/* ---- What the leader reads ---- */

enum rc machine_untold(struct machine *m, struct slice id, uint64_t *ret_pushed)
{
    struct machine_conv *conv;
    enum rc rc = machine_cache_conv(m, id, &conv);
    if (rc != RC_OK)
        return rc;
    *ret_pushed = UINT64_MAX;
    if (conv != NULL)
        *ret_pushed =
            conv->head.pushed > conv->head.trimmed ? conv->head.pushed : conv->head.trimmed;
    return RC_OK;
}

static void remember(struct machine_scan *scan, struct slice name)
{
    memcpy(scan->after, name.base, name.size);
    scan->after_size = name.size;
}

/* The rest of a table, from behind what was looked at. */
static struct kv_iterator *rest(struct machine *m, const struct keyspace_key *prefix,
                                const struct keyspace_key *after, const struct machine_scan *scan)
{
    return machine_rows_iterate(m, prefix, scan->after_size > 0 ? after : NULL);
}

enum rc machine_walk_untold(struct machine *m, uint64_t since, struct machine_scan *scan,
                            void (*visit)(void *context, struct slice conv, uint64_t newest),
                            void *context)
{
    struct keyspace_key prefix;
    struct keyspace_key after;
    keyspace_table(&prefix, &m->keys, KEYSPACE_HEAD);
    keyspace_name(&after, &m->keys, KEYSPACE_HEAD, slice_of(scan->after, scan->after_size));
    struct kv_iterator *iterator = rest(m, &prefix, &after, scan);
    struct slice key;
    struct slice value;
    enum rc rc = RC_OK;
    while (rc == RC_OK && scan->rows_left > 0) {
        struct slice conv;
        struct row_head head;
        if (!m->kv->ops->next(iterator, &key, &value)) {
            scan->is_over = true;
            break;
        }
        scan->rows_left--;
        rc = rows_decode(key, value, &row_head_desc, &head);
        if (rc == RC_OK && (!keyspace_get_name(key, &conv) || conv.size > sizeof(scan->after)))
            rc = RC_CORRUPT;
        if (rc != RC_OK)
            break;
        remember(scan, conv);
        if (head.last_message > head.pushed && head.last_message > head.trimmed &&
            head.last_ts >= since)
            visit(context, conv, head.last_message);
    }
    return machine_rows_end(m, &iterator, rc);
}

static uint64_t has(const struct row_cursor *cursor)
{
    return cursor->delivered > cursor->read ? cursor->delivered : cursor->read;
}

/* Visit the member where he is behind; false: stop here. */
static bool meet(const struct row_member *row, const struct row_cursor *cursor, struct slice user,
                 uint64_t seq, machine_behind_visit visit, void *context)
{
    const struct machine_behind behind = {
        .user = user, .joined = row->joined, .visible = row->visible, .has = has(cursor)};
    if (row->left != 0 || row->visible > seq || behind.has >= seq)
        return true;
    return visit(context, &behind);
}

/* The two of a direct conversation are mostly in the cache. */
static enum rc direct_behind(struct machine *m, struct machine_conv *conv, uint64_t seq,
                             struct machine_scan *scan, machine_behind_visit visit, void *context)
{
    const struct slice users[] = {conv->info.creator, conv->info.peer};
    uint32_t count = slice_equal(users[0], users[1]) ? 1 : 2;
    scan->is_over = true;
    for (uint32_t i = 0; i < count; i++) {
        struct machine_member *member;
        enum rc rc = machine_cache_member(m, conv, users[i], &member);
        if (rc != RC_OK)
            return rc;
        if (member != NULL)
            (void)meet(&member->row, &member->cursor, member->user, seq, visit, context);
    }
    return RC_OK;
}

static enum rc scan_members(struct machine *m, struct machine_walk *walk, uint64_t seq,
                            struct machine_scan *scan, machine_behind_visit visit, void *context)
{
    while (scan->rows_left > 0) {
        struct slice user;
        struct row_member row;
        struct row_cursor cursor;
        enum rc rc = machine_walk_next(m, walk, &user, &row, &cursor);
        if (rc == RC_OK && user.size > sizeof(scan->after))
            rc = RC_CORRUPT;
        if (rc == RC_NOT_FOUND)
            scan->is_over = true;
        if (rc != RC_OK)
            return rc;
        scan->rows_left--;
        remember(scan, user);
        if (!meet(&row, &cursor, user, seq, visit, context))
            return RC_OK;
    }
    return RC_OK;
}

enum rc machine_behind(struct machine *m, struct slice id, uint64_t seq, struct machine_scan *scan,
                       machine_behind_visit visit, void *context)
{
    struct machine_conv *conv;
    enum rc rc = machine_cache_conv(m, id, &conv);
    if (rc != RC_OK || conv == NULL) {
        scan->is_over = true;
        return rc;
    }
    if (conv->info.kind == CONV_DIRECT)
        return direct_behind(m, conv, seq, scan, visit, context);
    struct machine_walk walk;
    rc = machine_walk_begin(m, id, slice_of(scan->after, scan->after_size), &walk);
    if (rc == RC_OK)
        rc = scan_members(m, &walk, seq, scan, visit, context);
    return machine_walk_end(m, &walk, rc);
}

enum rc machine_untold_entries(struct machine *m, struct slice id, uint64_t first, uint64_t last,
                               uint32_t count_max, struct buf *into, uint64_t *ret_next)
{
    struct machine_conv *conv;
    *ret_next = last + 1;
    enum rc rc = machine_cache_conv(m, id, &conv);
    if (rc != RC_OK || conv == NULL)
        return rc;
    if (first <= conv->head.trimmed)
        first = conv->head.trimmed + 1;
    if (last > conv->head.seq)
        last = conv->head.seq;
    if (first > last)
        return RC_OK;
    return machine_log_read(m, id, first, last, count_max, into, ret_next);
}

enum rc machine_time_of(struct machine *m, struct slice id, uint64_t seq, struct buf *scratch,
                        uint64_t *ret_ts)
{
    uint64_t next;
    struct msg_entry entry;
    buf_clear(scratch);
    enum rc rc = machine_log_read(m, id, seq, seq, 1, scratch, &next);
    if (rc != RC_OK)
        return rc;
    struct record_reader r = record_reader_of(buf_slice(scratch));
    rc = record_decode(&r, &msg_entry_desc, &entry);
    *ret_ts = entry.ts;
    return rc;
}

/* Times never decrease along the log, so bisection finds it. */
enum rc machine_first_since(struct machine *m, struct slice id, uint64_t since, uint64_t first,
                            uint64_t last, uint64_t *ret_seq)
{
    struct machine_conv *conv;
    enum rc rc = machine_cache_conv(m, id, &conv);
    *ret_seq = last + 1;
    if (rc != RC_OK || conv == NULL)
        return rc;
    if (first <= conv->head.trimmed) /* Meanwhile. */
        first = conv->head.trimmed + 1;
    struct buf *scratch = buf_new(256);
    while (rc == RC_OK && first <= last) {
        uint64_t middle = first + (last - first) / 2;
        uint64_t ts = 0;
        rc = machine_time_of(m, id, middle, scratch, &ts);
        if (ts >= since)
            last = middle - 1;
        else
            first = middle + 1;
    }
    *ret_seq = first;
    buf_unref(&scratch);
    return rc;
}
