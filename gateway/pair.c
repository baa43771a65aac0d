#include "gateway/pair.h"

#include "gateway/large.h"
#include "gateway/left.h"
#include "gateway/proof.h"
#include "gateway/redelivery.h"
#include "gateway/session.h"
#include "mesh/base/check.h"
#include "mesh/base/mem.h"
#include "mesh/base/metrics.h"
#include "mesh/wire/key.h"

static void end_resuming(struct pair *pair)
{
    if (!pair->is_resuming)
        return;
    pair->is_resuming = false;
    session_on_pair_resumed(pair->session);
}

static struct list *list_of(struct watch *watch, enum pair_state state)
{
    if (state == PAIR_LIVE)
        return &watch->live;
    return state == PAIR_RESTING ? large_resting(watch) : &watch->catching;
}

void pair_move(struct pair *pair, enum pair_state state)
{
    struct session *session = pair->session;
    if (pair->state == state && (state == PAIR_LIVE || state == PAIR_PARKED))
        return; /* It keeps its place: somebody may be walking the list. */
    if (pair->state == PAIR_LIVE && state != PAIR_RESTING)
        metric_add(catchups_total, 1);
    bool was_in_flight = pair_is_in_flight(pair);
    session->calls -= was_in_flight;
    pair->state = (uint8_t)state;
    session->calls += pair_is_in_flight(pair);
    list_remove(&pair->in_watch);
    list_append(list_of(pair->watch, state), &pair->in_watch);
    list_remove(&pair->in_session);
    list_append(pair_is_waiting(pair) ? &session->waiting : &session->pairs, &pair->in_session);
    /* It has something to ask for, or leaves room for others that have. */
    if (pair_is_waiting(pair) || (was_in_flight && !list_is_empty(&session->waiting)))
        session_make_ready(session);
    if (pair_is_up(pair) || state == PAIR_RESTING)
        end_resuming(pair);
}

void pair_cancel_call(struct pair *pair)
{
    if (pair->call == NULL)
        return;
    ((struct pair_call *)pair->call)->pair = NULL;
    pair->call = NULL;
}

bool pair_is_finishing(const struct pair *pair)
{
    const struct large *large = pair->watch->large;
    return large != NULL && pair->is_finishing && pair->cursor < large->begun_at;
}

bool pair_must_rest(const struct pair *pair)
{
    return pair->watch->large != NULL && !pair->is_open && !pair_is_finishing(pair);
}

/* ---- Life ---- */

static struct pair *find_in_session(struct list *list, const struct watch *watch)
{
    LIST_EACH(node, list)
    {
        struct pair *pair = LIST_ENTRY(node, struct pair, in_session);
        if (pair->watch == watch)
            return pair;
    }
    return NULL;
}

static struct pair *find_in_watch(struct list *list, const struct session *session)
{
    LIST_EACH(node, list)
    {
        struct pair *pair = LIST_ENTRY(node, struct pair, in_watch);
        if (pair->session == session)
            return pair;
    }
    return NULL;
}

/* By the shorter way; resting pairs are many, and their sessions' lists are not. */
struct pair *pair_find(struct session *session, struct slice conv)
{
    struct watch *watch = map_get(&session->gateway->watches, conv);
    if (watch == NULL)
        return NULL;
    struct pair *pair;
    if (watch->large != NULL || watch->pair_count > session->pair_count) {
        pair = find_in_session(&session->pairs, watch);
        return pair != NULL ? pair : find_in_session(&session->waiting, watch);
    }
    pair = find_in_watch(&watch->live, session);
    return pair != NULL ? pair : find_in_watch(&watch->catching, session);
}

struct pair *pair_open(struct session *session, struct slice conv, bool is_cursor_known,
                       uint64_t cursor, bool is_resuming)
{
    if (session->pair_count >= PAIRS_MAX || !key_conv_is_valid(conv))
        return NULL;
    struct watch *watch = watch_get(session->gateway, conv);
    if (watch == NULL)
        return NULL;
    struct pair *pair = mem_new(struct pair);
    list_init(&pair->in_watch);
    list_init(&pair->in_session);
    pair->session = session;
    pair->watch = watch;
    pair->cursor = cursor;
    pair->is_cursor_known = is_cursor_known;
    pair->is_resuming = is_resuming;
    redelivery_on_opened(pair);
    session->pair_count++;
    session->resuming += is_resuming;
    if (watch->pair_count++ == 0)
        list_remove(&watch->node); /* From the empty ones. */
    pair_move(pair, PAIR_TO_WATCH);
    return pair;
}

/* As far as the client can see, this is the same one. */
static void open_again(const struct pair *pair)
{
    struct slice conv = watch_conv(pair->watch);
    struct pair *next = pair_open(pair->session, conv, true, pair->cursor, false);
    if (next == NULL)
        return;
    next->is_open = pair->is_open;
    next->was_given = pair->was_given;
}

void pair_drop(struct pair *pair)
{
    struct session *session = pair->session;
    struct watch *watch = pair->watch;
    pair_cancel_call(pair);
    redelivery_forget(pair);
    proof_forget(pair);
    large_forget(pair);
    session->calls -= pair_is_in_flight(pair);
    outbox_disown(&session->outbox, pair);
    list_remove(&pair->in_watch);
    list_remove(&pair->in_session);
    session->pair_count--;
    if (!list_is_empty(&session->waiting))
        session_make_ready(session);
    if (pair->is_reopened && session->state == SESSION_OPEN)
        open_again(pair);
    if (--watch->pair_count == 0) {
        list_remove(&watch->node);
        list_append(&session->gateway->empty, &watch->node);
    }
    end_resuming(pair);
    mem_free(pair);
}

void pair_leave(struct pair *pair, uint64_t seq)
{
    struct session *session = pair->session;
    struct slice conv = watch_conv(pair->watch);
    if (pair->is_reopened) { /* Opened again from here at once. */
        pair_drop(pair);
        return;
    }
    left_put(session, conv, pair->cursor);
    bool is_told = pair->is_told_gone;
    pair_drop(pair);
    if (!is_told) /* The news of his list may be lost. */
        session_on_list_change(session, conv, seq, true);
    left_note_told(session, conv, seq); /* Where they come yet, they are old. */
}

void pair_lose(struct pair *pair, bool is_ended)
{
    struct session *session = pair->session;
    struct slice conv = watch_conv(pair->watch);
    bool is_known = pair->is_past || pair->is_cursor_known || pair->is_announced;
    bool is_news = is_ended && is_known && !pair->is_reopened && !pair->is_told_gone;
    if (pair->is_cursor_known && !pair->is_reopened)
        left_put(session, conv, pair->cursor); /* It may begin again. */
    pair_drop(pair);
    if (is_news) {
        session_on_list_change(session, conv, UINT64_MAX, true);
        left_note_told(session, conv, UINT64_MAX);
    }
}

/* ---- Entries ---- */

bool pair_is_removal(const struct msg_entry *entry)
{
    return entry->change == MEMBER_REMOVE || entry->change == MEMBER_LEAVE;
}

bool pair_is_own_removal(const struct pair *pair, const struct msg_entry *entry)
{
    return entry->type == ENTRY_MEMBER && pair_is_removal(entry) &&
           slice_equal(entry->user, session_user(pair->session));
}

bool pair_give(struct pair *pair, uint64_t seq, struct buf *frame)
{
    CHECK(seq == pair->cursor + 1);
    if (!session_push_entry(pair->session, pair, seq, frame))
        return false;
    pair->cursor = seq;
    pair->was_given = true;
    redelivery_on_given(pair);
    proof_on_given(pair);
    return true;
}

void pair_note(struct pair *pair, const struct msg_entry *entry)
{
    if (entry->type == ENTRY_MEMBER && entry->change == MEMBER_ADD &&
        slice_equal(entry->user, session_user(pair->session)))
        pair->is_told_gone = false;
}

void pair_deliver(struct pair *pair, const struct msg_entry *entry, struct buf *frame)
{
    if (!pair_give(pair, entry->seq, frame))
        pair_settle(pair);
    else if (pair_is_own_removal(pair, entry))
        pair_leave(pair, entry->seq);
    else
        pair_note(pair, entry);
}

/* Back to the log. Where a gap that it was given lies ahead again, that is told again, not read. */
static void fall_behind(struct pair *pair)
{
    bool asks = pair->cursor < pair->gap_to || pair_must_rest(pair);
    pair_move(pair, asks ? PAIR_TO_WATCH : PAIR_TO_FETCH);
}

void pair_settle(struct pair *pair)
{
    CHECK(!pair_is_in_flight(pair));
    const struct watch *watch = pair->watch;
    if (pair->until != 0) {
        if (pair->cursor >= pair->until)
            pair_leave(pair, pair->until);
        else
            fall_behind(pair);
        return;
    }
    CHECK(watch->is_started);
    /* Whether he still is a member he does not read any more, so the leader has to say it. */
    if (pair->cursor < watch->head || pair_must_rest(pair))
        fall_behind(pair);
    else
        pair_move(pair, pair->cursor > watch->head ? PAIR_PARKED : PAIR_LIVE);
}

void pair_go_back(struct pair *pair, uint64_t cursor)
{
    CHECK(cursor <= pair->cursor);
    pair->cursor = cursor;
    if (pair->state == PAIR_RESTING && pair_must_rest(pair)) {
        large_on_behind(pair);
        return;
    }
    pair_cancel_call(pair);
    fall_behind(pair);
}

void pair_rewind(struct pair *pair, uint64_t seq)
{
    if (seq == PAIR_ACTIVITY)
        large_on_behind(pair);
    if (seq == PAIR_ACTIVITY || seq == 0 || pair->cursor < seq)
        return;
    pair_go_back(pair, seq - 1);
    redelivery_on_dropped(pair);
}
