/* What a session has to say, on its way out: frames of its own and those that belong to its pairs,
 * and what becomes of them where the client reads slowly. */
#include "gateway/frame.h"
#include "gateway/pair.h"
#include "gateway/redelivery.h"
#include "gateway/session.h"
#include "mesh/base/metrics.h"

/* How often a blocked link is looked at: the kernel itself gives a peer up after 30 s. */
#define STALL_LOOK_MS 5000u

static void make_dirty(struct session *session)
{
    if (list_is_empty(&session->in_dirty))
        list_append(&session->gateway->dirty, &session->in_dirty);
}

static uint64_t reply_bytes_max(const struct session *session)
{
    uint64_t max = (uint64_t)session->gateway->options.outbox_bytes_max * SESSION_REPLY_FACTOR;
    return max < UINT32_MAX / 2 ? max : UINT32_MAX / 2;
}

static void rewind_dropped(void *owner, uint64_t seq)
{
    pair_rewind(owner, seq);
}

static void push(struct session *session, struct buf *frame)
{
    if (session->state == SESSION_CLOSED)
        return;
    /* Replies come only as fast as the client asks, but one that asks and never reads is bounded
     * too: full of replies it is closed, and what it asked for it will ask again. */
    if (outbox_push(&session->outbox, frame, NULL, 0, (uint32_t)reply_bytes_max(session)) !=
        RC_OK) {
        session_close(session, CLOSE_SLOW, "too many replies wait to be read");
        return;
    }
    make_dirty(session);
}

void session_put(struct session *session)
{
    struct buf *frame = frame_text(buf_slice(session->gateway->text));
    push(session, frame);
    buf_unref(&frame);
}

void session_put_error(struct session *session, struct slice id, enum rc rc, const char *message,
                       uint64_t retry_after_ms)
{
    buf_clear(session->gateway->text);
    client_put_error(session->gateway->text, id, rc, message, retry_after_ms);
    session_put(session);
}

/* What belongs to a pair can be had again: all of it makes room where there is none. */
static bool push_owned(struct session *session, struct pair *pair, uint64_t seq, struct buf *frame)
{
    if (outbox_push(&session->outbox, frame, pair, seq,
                    session->gateway->options.outbox_bytes_max) != RC_OK) {
        session->is_choked = true;
        outbox_drop_owned(&session->outbox, rewind_dropped);
        return false;
    }
    make_dirty(session);
    return true;
}

bool session_push_entry(struct session *session, struct pair *pair, uint64_t seq, struct buf *frame)
{
    if (!push_owned(session, pair, seq, frame))
        return false;
    metric_add(deliveries_total, 1);
    return true;
}

void session_push_passing(struct session *session, struct pair *pair, struct buf *frame)
{
    if (outbox_push(&session->outbox, frame, pair, 0, session->gateway->options.outbox_bytes_max) ==
        RC_OK)
        make_dirty(session);
}

bool session_push_hint(struct session *session, struct buf *frame)
{
    if (session->state == SESSION_CLOSED || !session_has_room(session))
        return false;
    push(session, frame);
    return true;
}

bool session_push_activity(struct session *session, struct pair *pair, uint64_t head,
                           uint64_t unread)
{
    buf_clear(session->gateway->text);
    client_put_activity(session->gateway->text, watch_conv(pair->watch), head, unread);
    struct buf *frame = frame_text(buf_slice(session->gateway->text));
    bool is_pushed = outbox_push(&session->outbox, frame, pair, PAIR_ACTIVITY,
                                 session->gateway->options.outbox_bytes_max) == RC_OK;
    if (is_pushed) {
        metric_add(activities_total, 1);
        make_dirty(session);
    }
    buf_unref(&frame);
    return is_pushed;
}

static bool push_gap(struct session *session, struct pair *pair, uint64_t from, uint64_t to,
                     uint64_t head, bool trimmed)
{
    buf_clear(session->gateway->text);
    client_put_gap(session->gateway->text, watch_conv(pair->watch), from, to, head, trimmed);
    struct buf *frame = frame_text(buf_slice(session->gateway->text));
    bool is_pushed = push_owned(session, pair, from, frame);
    buf_unref(&frame);
    return is_pushed;
}

bool session_push_gap(struct session *session, struct pair *pair, const struct msg_watched *gap)
{
    uint64_t trimmed_to = gap->trimmed != 0 ? gap->gap_to : gap->trimmed_to;
    if (trimmed_to < gap->gap_from)
        return push_gap(session, pair, gap->gap_from, gap->gap_to, gap->head, false);
    if (trimmed_to >= gap->gap_to)
        return push_gap(session, pair, gap->gap_from, gap->gap_to, gap->head, true);
    /* One part can be had from history, the other cannot. */
    return push_gap(session, pair, gap->gap_from, trimmed_to, gap->head, true) &&
           push_gap(session, pair, trimmed_to + 1, gap->gap_to, gap->head, false);
}

static bool is_below_half(const struct session *session)
{
    return session->outbox.bytes < session->gateway->options.outbox_bytes_max / 2;
}

bool session_has_room(struct session *session)
{
    if (!is_below_half(session))
        session->is_choked = true;
    return !session->is_choked;
}

/* ---- Writing ---- */

static void look_at_arrived(struct session *session)
{
    session->looked_us = gateway_now_us(session->gateway);
    if (session->link->ops->arrived != NULL)
        session->arrived = session->link->ops->arrived(session->link);
}

uint64_t session_stall_due_us(const struct session *session)
{
    return session->blocked_us != 0 ? session->looked_us + STALL_LOOK_MS * 1000u : ENV_NEVER;
}

bool session_is_stalled(struct session *session, uint64_t now_us)
{
    if (session->blocked_us == 0 || now_us < session_stall_due_us(session))
        return false;
    uint64_t before = session->arrived;
    look_at_arrived(session);
    if (session->arrived != before) {
        session->blocked_us = now_us; /* From here on. */
        session->heard_us = now_us;   /* A ping could not reach it: this is its sign of life. */
    }
    return now_us >= session->blocked_us + LIMIT_STALL_MS * 1000u;
}

/* The client takes something again: what it has not acknowledged it may not have seen before. */
static void unblock(struct session *session)
{
    if (session->blocked_us == 0)
        return;
    session->blocked_us = 0;
    session->unblocked_us = gateway_now_us(session->gateway);
    session_wake_by(session, redelivery_due_us(session));
}

void session_flush(struct session *session)
{
    struct gateway *gateway = session->gateway;
    struct link *link = session->link;
    while (session->outbox.count > 0 && !link->ops->is_blocked(link)) {
        struct slice bytes;
        uint32_t count = outbox_gather(&session->outbox, session->batch, gateway->write, &bytes);
        if (!link->ops->write(link, bytes.base, bytes.size))
            break;
        metric_add(writes_out_total, 1);
        metric_add(bytes_out_total, bytes.size);
        outbox_consume(&session->outbox, count);
        unblock(session);
    }
    bool is_blocked = session->outbox.count > 0 || link->ops->is_blocked(link);
    if (is_blocked && session->blocked_us == 0) {
        session->blocked_us = gateway_now_us(gateway);
        look_at_arrived(session);
        session_wake_by(session, session_stall_due_us(session));
    } else if (!is_blocked) {
        unblock(session);
    }
    if (session->is_choked && is_below_half(session)) {
        session->is_choked = false;
        session_make_ready(session);
    }
}

void session_on_writable(struct session *session)
{
    if (session->state == SESSION_CLOSED)
        return;
    unblock(session);
    make_dirty(session);
}
