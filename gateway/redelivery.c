#include "gateway/redelivery.h"

#include "gateway/session.h"
#include "mesh/base/check.h"
#include "mesh/base/mem.h"
#include "mesh/base/metrics.h"

#define EARLY_MAX 32u /* Of one that is forgotten the client has to acknowledge its own. */

/* Entries in a row; to 0: none. */
struct run {
    uint64_t from, to;
};

/* Of a pair whose client has not acknowledged everything. */
struct unacked {
    struct list node; /* On its session's unacked, in the order of since_us, while it is awaited. */
    struct pair *pair;
    struct run sent;   /* The newest that the session sent in a row. */
    uint64_t since_us; /* When the wait began. */
    uint32_t times;    /* Given again since the acked cursor moved last. */
};

/* Sent to a conversation that the session is not in yet: a direct one begins like that. */
struct early {
    struct list node; /* On its session's early, oldest first. */
    struct run sent;
    uint8_t conv_size;
    char conv[];
};

static struct unacked *unacked_of(struct pair *pair)
{
    if (pair->unacked == NULL) {
        pair->unacked = mem_new(struct unacked);
        pair->unacked->pair = pair;
        list_init(&pair->unacked->node);
    }
    return pair->unacked;
}

static bool is_awaited(const struct pair *pair)
{
    return pair->unacked != NULL && !list_is_empty(&pair->unacked->node);
}

/* The wait begins now: it is the last one due. */
static void begin(struct session *session, struct unacked *unacked)
{
    unacked->since_us = gateway_now_us(session->gateway);
    list_remove(&unacked->node);
    list_append(&session->unacked, &unacked->node);
}

void redelivery_forget(struct pair *pair)
{
    struct unacked *unacked = pair->unacked;
    if (unacked == NULL)
        return;
    pair->unacked = NULL;
    list_remove(&unacked->node);
    mem_free(unacked);
}

/* What the session sent is still to be known where its place is not reached yet. */
void redelivery_stop(struct pair *pair)
{
    struct unacked *unacked = pair->unacked;
    if (unacked == NULL)
        return;
    if (unacked->sent.to <= pair->acked) {
        redelivery_forget(pair);
        return;
    }
    list_remove(&unacked->node);
    unacked->times = 0;
}

/* Where what it sent itself begins at the acked cursor, that moves on. Nothing is awaited any more
 * where it has come to the end. */
static void settle(struct pair *pair)
{
    const struct unacked *unacked = pair->unacked;
    if (unacked != NULL && unacked->sent.from <= pair->acked + 1 && unacked->sent.to > pair->acked)
        pair->acked = unacked->sent.to;
    if (pair->cursor <= pair->acked)
        redelivery_stop(pair);
}

void redelivery_on_given(struct pair *pair)
{
    struct session *session = pair->session;
    if (!session->has_acked || is_awaited(pair))
        return;
    settle(pair);
    if (pair->cursor <= pair->acked)
        return;
    bool is_first = list_is_empty(&session->unacked);
    begin(session, unacked_of(pair));
    if (is_first)
        session_wake_by(session, redelivery_due_us(session));
}

void redelivery_on_dropped(struct pair *pair)
{
    if (pair->cursor <= pair->acked)
        redelivery_stop(pair);
}

/* The first acknowledgement: from now on all that was given is awaited. */
static void await_all(struct session *session)
{
    session->has_acked = true;
    struct list *lists[2] = {&session->pairs, &session->waiting};
    for (size_t i = 0; i < 2; i++)
        LIST_EACH(node, lists[i])
        {
            struct pair *pair = LIST_ENTRY(node, struct pair, in_session);
            if (pair->state != PAIR_RESTING)
                redelivery_on_given(pair);
        }
}

/* Mostly the conversation that waits longest is the one that is acknowledged: the first one. */
static struct unacked *find(struct session *session, struct slice conv)
{
    const struct watch *watch = map_get(&session->gateway->watches, conv);
    if (watch == NULL)
        return NULL;
    LIST_EACH(node, &session->unacked)
    {
        struct unacked *unacked = LIST_ENTRY(node, struct unacked, node);
        if (unacked->pair->watch == watch)
            return unacked;
    }
    return NULL;
}

void redelivery_on_ack(struct session *session, struct slice conv, uint64_t seq)
{
    if (!session->has_acked)
        await_all(session);
    struct unacked *unacked = find(session, conv);
    if (unacked == NULL || seq <= unacked->pair->acked)
        return;
    struct pair *pair = unacked->pair;
    pair->acked = seq;
    unacked->times = 0;
    begin(session, unacked);
    settle(pair);
}

/* ---- What it sent itself ---- */

static void add_to_run(struct run *run, uint64_t seq)
{
    if (seq == run->to + 1 && run->to != 0)
        run->to = seq;
    else if (seq + 1 == run->from)
        run->from = seq;
    else if (seq > run->to)
        *run = (struct run){seq, seq};
}

static struct early *find_early(struct session *session, struct slice conv)
{
    LIST_EACH(node, &session->early)
    {
        struct early *early = LIST_ENTRY(node, struct early, node);
        if (slice_equal(slice_of(early->conv, early->conv_size), conv))
            return early;
    }
    return NULL;
}

static void free_early(struct session *session, struct early *early)
{
    list_remove(&early->node);
    session->early_count--;
    mem_free(early);
}

static struct early *make_early(struct session *session, struct slice conv)
{
    CHECK(conv.size <= LIMIT_CONV_SIZE_MAX);
    if (session->early_count == EARLY_MAX)
        free_early(session, LIST_FIRST(&session->early, struct early, node));
    struct early *early = mem_zero(sizeof(*early) + conv.size);
    early->conv_size = (uint8_t)conv.size;
    memcpy(early->conv, conv.base, conv.size);
    list_init(&early->node);
    list_append(&session->early, &early->node);
    session->early_count++;
    return early;
}

void redelivery_on_sent(struct session *session, struct slice conv, uint64_t seq)
{
    struct pair *pair = pair_find(session, conv);
    if (pair == NULL) {
        struct early *early = find_early(session, conv);
        add_to_run(&(early != NULL ? early : make_early(session, conv))->sent, seq);
        return;
    }
    if (seq <= pair->acked)
        return;
    add_to_run(&unacked_of(pair)->sent, seq);
    settle(pair);
}

void redelivery_on_opened(struct pair *pair)
{
    struct early *early = find_early(pair->session, watch_conv(pair->watch));
    if (early == NULL)
        return;
    unacked_of(pair)->sent = early->sent;
    free_early(pair->session, early);
}

void redelivery_fini(struct session *session)
{
    struct early *early;
    while ((early = LIST_FIRST(&session->early, struct early, node)) != NULL)
        free_early(session, early);
}

/* ---- The clock ---- */

uint64_t redelivery_due_us(const struct session *session)
{
    const struct unacked *first = LIST_FIRST(&session->unacked, struct unacked, node);
    if (first == NULL || session->blocked_us != 0)
        return ENV_NEVER;
    uint64_t since_us =
        first->since_us > session->unblocked_us ? first->since_us : session->unblocked_us;
    return since_us + session->gateway->options.redeliver_ms * UINT64_C(1000);
}

void redelivery_flush(struct session *session, uint64_t now_us)
{
    while (redelivery_due_us(session) <= now_us) {
        struct unacked *unacked = LIST_FIRST(&session->unacked, struct unacked, node);
        struct pair *pair = unacked->pair;
        begin(session, unacked);
        if (!pair_is_up(pair))
            continue; /* More is on its way to it. */
        if (unacked->times++ >= LIMIT_REDELIVER_COUNT) {
            session_close(session, CLOSE_UNRESPONSIVE, "what was delivered was not acknowledged");
            return;
        }
        metric_add(redeliveries_total, 1);
        pair_go_back(pair, pair->acked);
    }
}
