/* receipts - the cursors a client moves, on their way to the log.
 *
 * Clients ack every message; the log needs only the last word. The first cursor of a conversation
 * leaves at once, the following ones are merged and leave a second after it. A cursor that finds no
 * leader waits for the next second. What a router loses the next cursor repeats, for they only
 * grow. */
#include "gateway/session.h"

#include "mesh/base/mem.h"

#define RECEIPTS_MAX 256u /* Conversations of one session within their second. */

struct receipt {
    struct list node;
    uint64_t sent_us;
    uint64_t delivered; /* Waiting; 0: nothing. */
    uint64_t read;
    uint8_t conv_size;
    char conv[];
};

static struct slice conv_of(const struct receipt *receipt)
{
    return slice_of(receipt->conv, receipt->conv_size);
}

static bool is_pending(const struct receipt *receipt)
{
    return receipt->delivered != 0 || receipt->read != 0;
}

static void send_pending(struct session *session, struct receipt *receipt)
{
    struct gateway *gateway = session->gateway;
    uint32_t shard;
    if (routers_conv_shard(gateway, conv_of(receipt), &shard) != RC_OK ||
        !routers_is_live(gateway, shard))
        return;
    struct msg_cmd_cursor command = {.conv = conv_of(receipt),
                                     .user = session_user(session),
                                     .device = slice_string(session->device),
                                     .delivered = receipt->delivered,
                                     .read = receipt->read};
    buf_clear(gateway->record);
    record_encode(gateway->record, &msg_cmd_cursor_desc, &command);
    struct msg_submit message = {.shard = shard, .command = buf_slice(gateway->record)};
    routers_tell(gateway, shard, &msg_submit_desc, &message);
    receipt->delivered = 0;
    receipt->read = 0;
}

static void remove_receipt(struct session *session, struct receipt *receipt)
{
    list_remove(&receipt->node);
    session->receipt_count--;
    mem_free(receipt);
}

static struct receipt *find(struct session *session, struct slice conv)
{
    LIST_EACH(node, &session->receipts)
    {
        struct receipt *receipt = LIST_ENTRY(node, struct receipt, node);
        if (slice_equal(conv_of(receipt), conv))
            return receipt;
    }
    return NULL;
}

void receipts_note(struct session *session, struct slice conv, uint64_t delivered, uint64_t read)
{
    struct receipt *receipt = find(session, conv);
    bool is_first = receipt == NULL;
    if (is_first) {
        if (session->receipt_count >= RECEIPTS_MAX) {
            struct receipt *oldest = LIST_FIRST(&session->receipts, struct receipt, node);
            if (is_pending(oldest))
                send_pending(session, oldest);
            remove_receipt(session, oldest);
        }
        receipt = mem_zero(sizeof(*receipt) + conv.size);
        receipt->conv_size = (uint8_t)conv.size;
        memcpy(receipt->conv, conv.base, conv.size);
        receipt->sent_us = gateway_now_us(session->gateway);
        list_append(&session->receipts, &receipt->node);
        session->receipt_count++;
        session_wake_by(session, receipts_due_us(session));
    }
    receipt->delivered = delivered > receipt->delivered ? delivered : receipt->delivered;
    receipt->read = read > receipt->read ? read : receipt->read;
    if (is_first)
        send_pending(session, receipt);
}

uint64_t receipts_due_us(const struct session *session)
{
    const struct receipt *oldest = LIST_FIRST(&session->receipts, struct receipt, node);
    return oldest != NULL ? oldest->sent_us + LIMIT_RECEIPT_MS * 1000u : ENV_NEVER;
}

void receipts_flush(struct session *session, uint64_t now_us)
{
    struct receipt *receipt;
    while (receipts_due_us(session) <= now_us) {
        receipt = LIST_FIRST(&session->receipts, struct receipt, node);
        if (!is_pending(receipt)) {
            remove_receipt(session, receipt);
            continue;
        }
        send_pending(session, receipt);
        receipt->sent_us = now_us;
        list_remove(&receipt->node);
        list_append(&session->receipts, &receipt->node);
    }
}

void receipts_fini(struct session *session)
{
    struct receipt *receipt;
    while ((receipt = LIST_FIRST(&session->receipts, struct receipt, node)) != NULL) {
        if (is_pending(receipt))
            send_pending(session, receipt);
        remove_receipt(session, receipt);
    }
}
