#include "nodes/router/machine_parts.h"

void machine_read_all(struct machine *m, struct machine_conv *conv, struct machine_member *member)
{
    member->cursor.read = conv->head.seq;
    member->cursor.messages = conv->head.messages;
    member->cursor_changed = true;
    machine_cache_touch_member(m, conv, member);
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
    member->cursor_changed = true;
    machine_cache_touch_member(m, conv, member);
    receipt->read = read;
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
    enum rc rc = machine_cache_conv(m, c->conv, &conv);
    if (rc != RC_OK)
        return rc;
    if (conv == NULL)
        return machine_refuse(result, RC_NOT_FOUND, "there is no such conversation");
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
    uint64_t head = member->row.left != 0 ? member->row.left : conv->head.seq;
    uint64_t read = least(c->read, head);
    uint64_t delivered = least(c->delivered, head);
    if (delivered < read)
        delivered = read; /* What was read has arrived. */
    rc = move_read(m, conv, member, read, &receipt);
    if (rc == RC_OK)
        rc = move_delivered(m, conv, member, c->device, delivered, &receipt);
    if (rc == RC_OK && (receipt.read != 0 || receipt.delivered != 0))
        tell(m, &receipt);
    return rc;
}
