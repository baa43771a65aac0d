/* receipts - the cursors a client moves, on their way to the log.
 *
 * Clients ack every message; the log needs only the last word. The first cursor of a conversation
 * leaves at once, the following ones are merged and leave a second after it. A cursor that finds no
 * leader waits for the next second. Nobody answers it: where the leader changes soon after it left
 * it leaves again, for cursors only grow. */
#include "gateway/session.h"

#include "mesh/base/mem.h"

#define RECEIPTS_MAX 256u /* Conversations of one session within their second. */

/* By then the loss of the leader that a cursor was sent to is known. */
#define RECEIPT_SETTLED_US 3000000u

struct receipt {
    struct list node;
    uint64_t looked_us; /* When it was sent, or found to be sent: the list's order. */
    uint64_t sent_us;
    uint64_t term; /* Of the shard then. */
    uint64_t delivered;
    /* Leaves once, not again with the next ack: who has read "all there is", by a number beyond the
     * newest entry, has not read what comes later. */
    uint64_t read;
    uint64_t read_sent; /* Leaves again where the leader changed. */
    bool is_pending;
    uint8_t conv_size;
    char conv[];
};

static struct slice conv_of(const struct receipt *receipt)
{
    return slice_of(receipt->conv, receipt->conv_size);
}

static uint64_t greater(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* Is the leader that it was sent to still the one? */
static bool is_led_as_before(const struct session *session, const struct receipt *receipt)
{
    const struct gateway *gateway = session->gateway;
    uint32_t shard;
    return routers_conv_shard(gateway, conv_of(receipt), &shard) == RC_OK &&
           routers_is_live(gateway, shard) && gateway->routers.shards[shard].term == receipt->term;
}

static void send_pending(struct session *session, struct receipt *receipt)
{
    struct gateway *gateway = session->gateway;
    uint32_t shard;
    if (!is_led_as_before(session, receipt))
        receipt->read = greater(receipt->read_sent, receipt->read);
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
    receipt->is_pending = false;
    receipt->read_sent = greater(receipt->read_sent, receipt->read);
    receipt->read = 0;
    receipt->sent_us = gateway_now_us(gateway);
    receipt->term = gateway->routers.shards[shard].term;
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

/* A place for one more; the oldest gives way. */
static struct receipt *add_receipt(struct session *session, struct slice conv)
{
    if (session->receipt_count >= RECEIPTS_MAX) {
        struct receipt *oldest = LIST_FIRST(&session->receipts, struct receipt, node);
        if (oldest->is_pending)
            send_pending(session, oldest);
        remove_receipt(session, oldest);
    }
    struct receipt *receipt = mem_zero(sizeof(*receipt) + conv.size);
    list_init(&receipt->node);
    receipt->conv_size = (uint8_t)conv.size;
    memcpy(receipt->conv, conv.base, conv.size);
    session->receipt_count++;
    return receipt;
}

static void look_later(struct session *session, struct receipt *receipt)
{
    receipt->looked_us = gateway_now_us(session->gateway);
    list_remove(&receipt->node);
    list_append(&session->receipts, &receipt->node);
}

void receipts_note(struct session *session, struct slice conv, uint64_t delivered, uint64_t read)
{
    struct receipt *receipt = find(session, conv);
    uint64_t second_us = LIMIT_RECEIPT_MS * 1000u;
    bool leaves = receipt == NULL || (!receipt->is_pending && gateway_now_us(session->gateway) >=
                                                                  receipt->sent_us + second_us);
    if (receipt == NULL)
        receipt = add_receipt(session, conv);
    receipt->delivered = greater(delivered, receipt->delivered);
    receipt->read = greater(read, receipt->read);
    receipt->is_pending = true;
    if (!leaves)
        return;
    send_pending(session, receipt);
    look_later(session, receipt);
    session_wake_by(session, receipts_due_us(session));
}

uint64_t receipts_due_us(const struct session *session)
{
    const struct receipt *oldest = LIST_FIRST(&session->receipts, struct receipt, node);
    return oldest != NULL ? oldest->looked_us + LIMIT_RECEIPT_MS * 1000u : ENV_NEVER;
}

void receipts_flush(struct session *session, uint64_t now_us)
{
    struct receipt *receipt;
    while (receipts_due_us(session) <= now_us) {
        receipt = LIST_FIRST(&session->receipts, struct receipt, node);
        if (!is_led_as_before(session, receipt))
            receipt->is_pending = true;
        if (!receipt->is_pending && now_us >= receipt->sent_us + RECEIPT_SETTLED_US) {
            remove_receipt(session, receipt);
            continue;
        }
        if (receipt->is_pending)
            send_pending(session, receipt);
        look_later(session, receipt);
    }
}

void receipts_fini(struct session *session)
{
    struct receipt *receipt;
    while ((receipt = LIST_FIRST(&session->receipts, struct receipt, node)) != NULL) {
        if (receipt->is_pending)
            send_pending(session, receipt);
        remove_receipt(session, receipt);
    }
}
