/* machine_change - edits, deletions and reactions.
 *
 * A change is an entry of the log like any other, so that who was away hears of it; and the message
 * it is about is written over in its place, so that who reads it finds it as it is now. A text that
 * was edited away or deleted is nowhere in the store any more: of several edits only the newest
 * bears its body, and with the message that one goes, too. */
#include "mesh/base/check.h"
#include "mesh/base/limits.h"
#include "nodes/router/machine_parts.h"

struct change {
    const struct msg_cmd_change *c;
    struct machine_conv *conv;
    struct machine_member *asker; /* NULL: the operator. */
    struct machine_found target;
    struct machine_result *result;
};

static enum rc refuse(struct change *change, enum rc rc, const char *detail)
{
    return machine_refuse(change->result, rc, detail);
}

static void answer_dup(struct change *change, uint64_t seq, uint64_t ts)
{
    change->result->seq = seq;
    change->result->ts = ts;
    change->result->dup = true;
}

/* The message meant, where the asker sees it. */
static enum rc find_target(struct machine *m, struct change *change)
{
    const struct machine_conv *conv = change->conv;
    uint64_t seq = change->c->target;
    uint64_t first = change->asker != NULL ? change->asker->row.visible : 1;
    if (seq < first || seq <= conv->head.trimmed || seq > conv->head.seq)
        return refuse(change, RC_NOT_FOUND, "there is no such message");
    enum rc rc = machine_log_find(m, conv, seq, &change->target);
    if (rc != RC_OK)
        return rc;
    if (change->target.entry.type != ENTRY_MESSAGE)
        return refuse(change, RC_NOT_FOUND, "there is no such message");
    if (change->target.marks.deleted != 0)
        return refuse(change, RC_CONFLICT, "the message is deleted");
    return RC_OK;
}

static bool is_sender(const struct change *change)
{
    return change->asker != NULL && slice_equal(change->asker->user, change->target.entry.from);
}

static bool may_delete(const struct change *change)
{
    return change->asker == NULL || is_sender(change) ||
           (change->conv->info.kind == CONV_GROUP && change->asker->row.role >= ROLE_ADMIN);
}

/* The change's own entry; what it makes of the message comes after it. */
static void append(struct machine *m, struct change *change)
{
    const struct msg_cmd_change *c = change->c;
    struct msg_entry entry = {
        .type = c->type,
        .from = machine_author(c->user),
        .cid = c->cid,
        .device = c->device,
        .target = c->target,
    };
    if (c->type == ENTRY_EDIT)
        entry.body = c->body;
    if (c->type == ENTRY_REACTION) {
        entry.emoji = c->emoji;
        entry.on = c->on != 0;
    }
    machine_log_append(m, change->conv, &entry);
    change->result->seq = entry.seq;
    change->result->ts = entry.ts;
}

/* The edit that is the message's text so far loses its body: to a newer one, or with the message.
 */
static enum rc strip_edit(struct machine *m, struct machine_conv *conv,
                          const struct machine_found *message, const struct msg_marks *why)
{
    struct machine_found edit;
    if (message->marks.edited == 0)
        return RC_OK;
    enum rc rc = machine_log_find(m, conv, message->marks.edited, &edit);
    if (rc == RC_OK) {
        edit.entry.body = (struct slice){0};
        edit.marks = *why;
        machine_log_rewrite(m, conv, &edit);
    }
    machine_found_fini(&edit);
    return rc;
}

static enum rc edit_message(struct machine *m, struct change *change)
{
    if (change->asker != NULL && !is_sender(change))
        return refuse(change, RC_FORBIDDEN, "only its sender edits a message");
    append(m, change);
    const struct msg_marks why = {
        .edited = change->result->seq,
        .edited_ts = change->result->ts,
    };
    enum rc rc = strip_edit(m, change->conv, &change->target, &why);
    if (rc != RC_OK)
        return rc;
    change->target.entry.body = change->c->body;
    change->target.marks.edited = why.edited;
    change->target.marks.edited_ts = why.edited_ts;
    machine_log_rewrite(m, change->conv, &change->target);
    return RC_OK;
}

static enum rc delete_message(struct machine *m, struct change *change)
{
    if (!may_delete(change))
        return refuse(change, RC_FORBIDDEN, "this takes its sender, or an admin or owner");
    append(m, change);
    return machine_change_blank(m, change->conv, &change->target, change->result->seq);
}

enum rc machine_change_blank(struct machine *m, struct machine_conv *conv,
                             struct machine_found *message, uint64_t by)
{
    const struct msg_marks why = {.deleted = by};
    enum rc rc = strip_edit(m, conv, message, &why);
    if (rc != RC_OK)
        return rc;
    if (message->marks.reactions.size > 0) {
        struct keyspace_key from;
        struct keyspace_key to;
        keyspace_reactions(&from, &m->keys, conv->id, message->entry.seq);
        keyspace_reactions(&to, &m->keys, conv->id, message->entry.seq + 1);
        kv_remove_range(m->batch, KV_STATE, keyspace_slice(&from), keyspace_slice(&to));
    }
    message->entry.body = (struct slice){0};
    message->marks = why;
    machine_log_rewrite(m, conv, message);
    return RC_OK;
}

/* ---- Reactions ---- */

/* The row that says so. RC_NOT_FOUND: he did not react so. */
static enum rc get_reaction(struct machine *m, const struct keyspace_key *key,
                            struct row_reaction *ret_row)
{
    struct slice value;
    if (!machine_overlay_find(m, key, &value))
        return machine_rows_get(m, key, &row_reaction_desc, ret_row);
    if (value.base == NULL)
        return RC_NOT_FOUND;
    return rows_decode(keyspace_slice(key), value, &row_reaction_desc, ret_row);
}

static void put_reaction(struct machine *m, const struct keyspace_key *key, uint64_t seq)
{
    const struct row_reaction row = {.seq = seq};
    buf_clear(m->write_value);
    rows_encode(m->write_value, keyspace_slice(key), &row_reaction_desc, &row);
    machine_overlay_put(m, key, buf_slice(m->write_value));
}

/* The counts with one more of this emoji, or one fewer, into `counts`; how many are different. */
static enum rc count(struct slice before, struct slice emoji, bool on, struct buf *counts,
                     uint32_t *ret_kinds)
{
    struct record_reader r = record_reader_of(before);
    bool found = false;
    *ret_kinds = 0;
    while (!record_reader_at_end(&r)) {
        struct msg_reaction_count item;
        enum rc rc = record_decode(&r, &msg_reaction_count_desc, &item);
        if (rc != RC_OK)
            return rc;
        if (slice_equal(item.emoji, emoji)) {
            found = true;
            item.count += on ? 1 : 0;
            item.count -= on ? 0 : 1;
        }
        if (item.count == 0)
            continue;
        record_encode(counts, &msg_reaction_count_desc, &item);
        ++*ret_kinds;
    }
    if (found)
        return RC_OK;
    if (!on)
        return RC_CORRUPT; /* There is a row that it does not count. */
    const struct msg_reaction_count item = {.emoji = emoji, .count = 1};
    record_encode(counts, &msg_reaction_count_desc, &item);
    ++*ret_kinds;
    return RC_OK;
}

static enum rc react_with(struct machine *m, struct change *change, const struct keyspace_key *key,
                          struct buf *counts)
{
    uint32_t kinds;
    bool on = change->c->on != 0;
    struct msg_marks *marks = &change->target.marks;
    enum rc rc = count(marks->reactions, change->c->emoji, on, counts, &kinds);
    if (rc != RC_OK)
        return rc;
    if (kinds > LIMIT_REACTIONS_MAX)
        return refuse(change, RC_TOO_LARGE, "the message has too many different reactions");
    append(m, change);
    if (on)
        put_reaction(m, key, change->result->seq);
    else
        machine_overlay_remove(m, key);
    marks->reactions = buf_slice(counts);
    machine_log_rewrite(m, change->conv, &change->target);
    marks->reactions = (struct slice){0};
    return RC_OK;
}

/* What is so already makes no entry. */
static enum rc react(struct machine *m, struct change *change)
{
    const struct msg_cmd_change *c = change->c;
    struct machine_conv *conv = change->conv;
    struct keyspace_key key;
    struct row_reaction row;
    keyspace_reaction(&key, &m->keys, conv->id, c->target, c->emoji, c->user);
    enum rc rc = get_reaction(m, &key, &row);
    if (rc != RC_OK && rc != RC_NOT_FOUND)
        return rc;
    if (rc == RC_NOT_FOUND && c->on == 0) {
        answer_dup(change, conv->head.seq, conv->head.last_ts);
        return RC_OK;
    }
    if (rc == RC_OK && c->on != 0) {
        struct machine_found set;
        rc = machine_log_find(m, conv, row.seq, &set);
        if (rc == RC_OK)
            answer_dup(change, set.entry.seq, set.entry.ts);
        machine_found_fini(&set);
        return rc;
    }
    struct buf *counts = buf_new(64);
    rc = react_with(m, change, &key, counts);
    buf_unref(&counts);
    return rc;
}

enum rc machine_change_unreact(struct machine *m, struct machine_conv *conv,
                               struct machine_found *message, struct slice user, bool *ret_changed)
{
    struct buf *counts = buf_new(64);
    struct record_reader r = record_reader_of(message->marks.reactions);
    enum rc rc = RC_OK;
    *ret_changed = false;
    while (rc == RC_OK && !record_reader_at_end(&r)) {
        struct keyspace_key key;
        struct msg_reaction_count item;
        struct row_reaction row;
        rc = record_decode(&r, &msg_reaction_count_desc, &item);
        if (rc != RC_OK)
            break;
        keyspace_reaction(&key, &m->keys, conv->id, message->entry.seq, item.emoji, user);
        rc = get_reaction(m, &key, &row);
        if (rc == RC_OK) {
            machine_overlay_remove(m, &key);
            item.count--;
            *ret_changed = true;
        }
        if (rc == RC_NOT_FOUND)
            rc = RC_OK;
        if (item.count > 0)
            record_encode(counts, &msg_reaction_count_desc, &item);
    }
    if (rc == RC_OK && *ret_changed) {
        message->marks.reactions = buf_slice(counts);
        machine_log_rewrite(m, conv, message);
        message->marks.reactions = (struct slice){0};
    }
    buf_unref(&counts);
    return rc;
}

/* ---- The command ---- */

static enum rc carry_out(struct machine *m, struct change *change)
{
    enum rc rc = find_target(m, change);
    if (rc != RC_OK || change->result->rc != RC_OK)
        return rc;
    switch ((enum entry_type)change->c->type) {
    case ENTRY_EDIT:
        return edit_message(m, change);
    case ENTRY_DELETE:
        return delete_message(m, change);
    default:
        return react(m, change);
    }
}

enum rc machine_change(struct machine *m, const struct msg_cmd_change *c,
                       struct machine_result *result)
{
    struct change change = {.c = c, .result = result};
    uint8_t digest[KEYSPACE_DIGEST_SIZE];
    enum rc rc =
        machine_enter(m, c->conv, c->user, c->as_server != 0, &change.conv, &change.asker, result);
    if (rc != RC_OK || result->rc != RC_OK)
        return rc;
    if (c->cid.base != NULL) {
        struct row_dedup row;
        machine_dedup_digest(m, c->conv, machine_author(c->user), c->cid, digest);
        rc = machine_dedup_find(m, change.conv, digest, &row);
        if (rc == RC_OK)
            answer_dup(&change, row.seq, row.ts);
        if (rc != RC_NOT_FOUND)
            return rc;
    }
    rc = carry_out(m, &change);
    machine_found_fini(&change.target);
    if (rc == RC_OK && result->rc == RC_OK && !result->dup && c->cid.base != NULL)
        machine_dedup_put(m, digest, result->seq);
    return rc;
}
