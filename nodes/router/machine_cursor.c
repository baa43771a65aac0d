/* machine_cursor - how far each member is, and how far the newest message came.
 *
 * The head counts the members who have, and who have read, the newest message, so that a large
 * group can be told in two numbers what 100,000 cursors say, and a cursor that moves costs the same
 * in a group of any size. The rule: a member counts while he is one, is not its sender, and his
 * cursor is at or past it. So a new message starts at nobody; a cursor that crosses it adds one;
 * who leaves is taken off, who comes back with his old cursor is put on again; and who joined after
 * it counts once his cursors have passed it. A message that was deleted is counted on: its entry is
 * there. One that was trimmed too, but nobody is told of it any more (machine_readers.c). */
#include "nodes/router/machine_parts.h"

void machine_read_all(struct machine *m, struct machine_conv *conv, struct machine_member *member)
{
    member->cursor.read = conv->head.seq;
    member->cursor.messages = conv->head.messages;
    member->cursor.read_ts = m->applied.clock;
    member->cursor.sent = conv->head.last_message;
    member->cursor_changed = true;
    machine_cache_touch_member(m, conv, member);
}

static bool is_counted(const struct machine_conv *conv, const struct machine_member *member)
{
    return conv->head.last_message != 0 && machine_is_current(member) &&
           member->cursor.sent != conv->head.last_message;
}

/* What was read has arrived. */
static bool has(const struct row_cursor *cursor, uint64_t seq)
{
    return cursor->delivered >= seq || cursor->read >= seq;
}

void machine_count_in(struct machine_conv *conv, const struct machine_member *member)
{
    if (!is_counted(conv, member))
        return;
    conv->head.last_delivered += has(&member->cursor, conv->head.last_message);
    conv->head.last_read += member->cursor.read >= conv->head.last_message;
    conv->head_changed = true;
}

/* Never below 0: rows of a time before there were such numbers count for nothing. */
static void take_one(uint64_t *number, bool is_counted_there)
{
    if (is_counted_there && *number > 0)
        --*number;
}

void machine_count_out(struct machine_conv *conv, const struct machine_member *member)
{
    if (!is_counted(conv, member))
        return;
    take_one(&conv->head.last_delivered, has(&member->cursor, conv->head.last_message));
    take_one(&conv->head.last_read, member->cursor.read >= conv->head.last_message);
    conv->head_changed = true;
}

/* The cursor of `member` was at `before`. */
static void count_crossing(struct machine_conv *conv, const struct machine_member *member,
                           const struct row_cursor *before)
{
    uint64_t seq = conv->head.last_message;
    if (!is_counted(conv, member))
        return;
    bool has_now = !has(before, seq) && has(&member->cursor, seq);
    bool read_now = before->read < seq && member->cursor.read >= seq;
    conv->head.last_delivered += has_now;
    conv->head.last_read += read_now;
    conv->head_changed |= has_now || read_now;
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static enum rc move_read(struct machine *m, struct machine_conv *conv,
                         struct machine_member *member, uint64_t read,
                         struct msg_event_receipt *receipt)
{
    uint64_t messages;
    if (read <= member->cursor.read)
        return RC_OK;
    enum rc rc = machine_log_count(m, conv, read, &messages);
    if (rc != RC_OK)
        return rc;
    member->cursor.read = read;
    member->cursor.messages = messages;
    member->cursor.read_ts = m->applied.clock;
    member->cursor_changed = true;
    machine_cache_touch_member(m, conv, member);
    receipt->read = read;
    receipt->messages = messages;
    return RC_OK;
}

static enum rc move_delivered(struct machine *m, struct machine_conv *conv,
                              struct machine_member *member, struct slice device_id,
                              uint64_t delivered, struct msg_event_receipt *receipt)
{
    if (delivered == 0)
        return RC_OK;
    if (device_id.base != NULL) {
        struct machine_device *device;
        enum rc rc = machine_cache_device(m, conv, member, device_id, &device);
        if (rc != RC_OK)
            return rc;
        if (delivered > device->row.delivered) {
            device->row.delivered = delivered;
            device->changed = true;
            machine_digest_numbers(m, &delivered, 1);
            machine_digest_bytes(m, member->user);
            machine_digest_bytes(m, device_id);
        }
    }
    if (delivered > member->cursor.delivered) {
        member->cursor.delivered = delivered;
        member->cursor.delivered_ts = m->applied.clock;
        member->cursor_changed = true;
        machine_cache_touch_member(m, conv, member);
        receipt->delivered = delivered;
    }
    return RC_OK;
}

static void tell(struct machine *m, const struct msg_event_receipt *receipt)
{
    const uint64_t numbers[] = {receipt->delivered, receipt->read, receipt->members};
    machine_digest_numbers(m, numbers, 3);
    machine_digest_bytes(m, receipt->user);
    if (m->listener != NULL && m->listener->on_receipt != NULL)
        m->listener->on_receipt(m->listener->context, receipt);
}

enum rc machine_move_cursor(struct machine *m, const struct msg_cmd_cursor *c,
                            struct machine_result *result)
{
    struct machine_conv *conv;
    struct machine_member *member;
    enum rc rc = machine_find(m, c->conv, &conv, result);
    if (rc != RC_OK || result->rc != RC_OK)
        return rc;
    rc = machine_cache_member(m, conv, c->user, &member);
    if (rc != RC_OK)
        return rc;
    if (member == NULL)
        return machine_refuse(result, RC_FORBIDDEN, "you are not a member");
    struct msg_event_receipt receipt = {
        .conv = conv->id,
        .user = member->user,
        .members = conv->head.members,
    };
    const struct row_cursor before = member->cursor;
    uint64_t head = member->row.left != 0 ? member->row.left : conv->head.seq;
    uint64_t read = least(c->read, head);
    uint64_t delivered = least(c->delivered, head);
    if (delivered < read)
        delivered = read; /* What was read has arrived. */
    rc = move_read(m, conv, member, read, &receipt);
    if (rc == RC_OK)
        rc = move_delivered(m, conv, member, c->device, delivered, &receipt);
    if (rc == RC_OK && (receipt.read != 0 || receipt.delivered != 0)) {
        count_crossing(conv, member, &before);
        machine_pushed_by_all(m, conv);
        tell(m, &receipt);
    }
    return rc;
}
