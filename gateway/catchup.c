#include "gateway/catchup.h"

#include "gateway/session.h"
#include "mesh/base/check.h"
#include "mesh/base/mem.h"
#include "mesh/base/metrics.h"
#include "mesh/wire/key.h"

/* Waiting pairs tried in one go without success: the others wait for the next retry. */
#define PUMP_TRIES_MAX 64u

#define CATCHUP_LEFT_MAX 32u /* Conversations left that a session remembers its place in. */

struct watch_call {
    struct request request;
    struct pair *pair; /* NULL: dropped meanwhile. */
};

struct fetch_call {
    struct request request;
    uint64_t after;
    uint8_t conv_size;
    uint8_t user_size;
    char names[LIMIT_CONV_SIZE_MAX + LIMIT_USER_SIZE_MAX]; /* Conversation, then who asked. */
};

static bool is_waiting(const struct pair *pair)
{
    return pair->state == PAIR_TO_WATCH || pair->state == PAIR_TO_FETCH;
}

static bool is_in_flight(const struct pair *pair)
{
    return pair->state == PAIR_WATCHING || pair->state == PAIR_FETCHING;
}

static void end_resuming(struct pair *pair)
{
    if (!pair->is_resuming)
        return;
    pair->is_resuming = false;
    session_on_pair_resumed(pair->session);
}

/* The only place where a pair changes its state: the lists it is on are the state. */
static void pair_move(struct pair *pair, enum pair_state state)
{
    struct session *session = pair->session;
    if (pair->state == state && (state == PAIR_LIVE || state == PAIR_PARKED))
        return; /* It keeps its place: somebody may be walking the list. */
    if (pair->state == PAIR_LIVE)
        metric_add(catchups_total, 1);
    bool was_in_flight = is_in_flight(pair);
    session->calls -= was_in_flight;
    pair->state = (uint8_t)state;
    session->calls += is_in_flight(pair);
    list_remove(&pair->in_watch);
    list_append(state == PAIR_LIVE ? &pair->watch->live : &pair->watch->catching, &pair->in_watch);
    list_remove(&pair->in_session);
    list_append(is_waiting(pair) ? &session->waiting : &session->pairs, &pair->in_session);
    /* It has something to ask for, or leaves room for others that have. */
    if (is_waiting(pair) || (was_in_flight && !list_is_empty(&session->waiting)))
        session_make_ready(session);
    if (state == PAIR_LIVE || state == PAIR_PARKED)
        end_resuming(pair);
}

static void cancel_call(struct pair *pair)
{
    if (pair->call == NULL)
        return;
    ((struct watch_call *)pair->call)->pair = NULL;
    pair->call = NULL;
}

struct pair *pair_find(struct session *session, struct slice conv)
{
    struct watch *watch = map_get(&session->gateway->watches, conv);
    if (watch == NULL)
        return NULL;
    if (watch->pair_count > session->pair_count) {
        struct list *lists[2] = {&session->pairs, &session->waiting};
        for (size_t i = 0; i < 2; i++)
            LIST_EACH(node, lists[i])
        if (LIST_ENTRY(node, struct pair, in_session)->watch == watch)
            return LIST_ENTRY(node, struct pair, in_session);
        return NULL;
    }
    struct list *lists[2] = {&watch->live, &watch->catching};
    for (size_t i = 0; i < 2; i++)
        LIST_EACH(node, lists[i])
    if (LIST_ENTRY(node, struct pair, in_watch)->session == session)
        return LIST_ENTRY(node, struct pair, in_watch);
    return NULL;
}

void pair_open(struct session *session, struct slice conv, bool is_cursor_known, uint64_t cursor,
               bool is_resuming)
{
    if (session->pair_count >= CATCHUP_PAIRS_MAX || !key_conv_is_valid(conv))
        return;
    struct watch *watch = watch_get(session->gateway, conv);
    if (watch == NULL)
        return;
    struct pair *pair = mem_new(struct pair);
    list_init(&pair->in_watch);
    list_init(&pair->in_session);
    pair->session = session;
    pair->watch = watch;
    pair->cursor = cursor;
    pair->is_cursor_known = is_cursor_known;
    pair->is_resuming = is_resuming;
    session->pair_count++;
    session->resuming += is_resuming;
    if (watch->pair_count++ == 0)
        list_remove(&watch->node); /* From the empty ones. */
    pair_move(pair, PAIR_TO_WATCH);
}

void pair_drop(struct pair *pair)
{
    struct session *session = pair->session;
    struct watch *watch = pair->watch;
    cancel_call(pair);
    session->calls -= is_in_flight(pair);
    outbox_disown(&session->outbox, pair);
    list_remove(&pair->in_watch);
    list_remove(&pair->in_session);
    session->pair_count--;
    if (!list_is_empty(&session->waiting))
        session_make_ready(session);
    if (pair->is_reopened && session->state == SESSION_OPEN)
        pair_open(session, watch_conv(watch), true, pair->cursor, false);
    if (--watch->pair_count == 0) {
        list_remove(&watch->node);
        list_append(&session->gateway->empty, &watch->node);
    }
    end_resuming(pair);
    mem_free(pair);
}

/* ---- Conversations left ---- */

struct left {
    struct list node;
    uint64_t cursor;
    uint8_t conv_size;
    char conv[];
};

static void left_forget(struct session *session, struct left *left)
{
    list_remove(&left->node);
    session->left_count--;
    mem_free(left);
}

uint64_t left_take(struct session *session, struct slice conv)
{
    LIST_EACH(node, &session->left)
    {
        struct left *left = LIST_ENTRY(node, struct left, node);
        if (!slice_equal(slice_of(left->conv, left->conv_size), conv))
            continue;
        uint64_t cursor = left->cursor;
        left_forget(session, left);
        return cursor;
    }
    return 0;
}

/* The user's removal was given: that is the end of the pair, for now. */
static void leave(struct pair *pair)
{
    struct session *session = pair->session;
    struct slice conv = watch_conv(pair->watch);
    if (pair->is_reopened) { /* Opened again from here at once. */
        pair_drop(pair);
        return;
    }
    left_take(session, conv); /* What it remembers is older. */
    if (session->left_count >= CATCHUP_LEFT_MAX)
        left_forget(session, LIST_FIRST(&session->left, struct left, node));
    struct left *left = mem_alloc(sizeof(*left) + conv.size);
    left->cursor = pair->cursor;
    left->conv_size = (uint8_t)conv.size;
    memcpy(left->conv, conv.base, conv.size);
    list_init(&left->node);
    list_append(&session->left, &left->node);
    session->left_count++;
    bool is_told_in = pair->is_told_in;
    uint64_t removed_at = pair->cursor;
    pair_drop(pair);
    if (is_told_in) /* By news older than the removal; what corrects them may have been lost. */
        session_on_list_change(session, conv, removed_at, true);
}

void left_forget_all(struct session *session)
{
    struct left *left;
    while ((left = LIST_FIRST(&session->left, struct left, node)) != NULL)
        left_forget(session, left);
}

bool pair_is_removal(const struct msg_entry *entry)
{
    return entry->change == MEMBER_REMOVE || entry->change == MEMBER_LEAVE;
}

/* Is this the entry with which the pair's own user left? */
static bool is_own_removal(const struct pair *pair, const struct msg_entry *entry)
{
    return entry->type == ENTRY_MEMBER && pair_is_removal(entry) &&
           slice_equal(entry->user, session_user(pair->session));
}

/* Give the next entry to the session. False: no room, from the log later. */
static bool give(struct pair *pair, const struct msg_entry *entry, struct buf *frame)
{
    CHECK(entry->seq == pair->cursor + 1);
    if (!session_push_entry(pair->session, pair, entry->seq, frame)) {
        pair_settle(pair);
        return false;
    }
    pair->cursor = entry->seq;
    return true;
}

void pair_deliver(struct pair *pair, const struct msg_entry *entry, struct buf *frame)
{
    if (give(pair, entry, frame) && is_own_removal(pair, entry))
        leave(pair);
}

/* Back to the log. Where a gap that it was given lies ahead again, that is told again, not read. */
static void fall_behind(struct pair *pair)
{
    pair_move(pair, pair->cursor < pair->gap_to ? PAIR_TO_WATCH : PAIR_TO_FETCH);
}

void pair_settle(struct pair *pair)
{
    CHECK(!is_in_flight(pair));
    const struct watch *watch = pair->watch;
    if (pair->until != 0) {
        if (pair->cursor >= pair->until)
            leave(pair);
        else
            fall_behind(pair);
        return;
    }
    CHECK(watch->is_started);
    if (pair->cursor < watch->head)
        fall_behind(pair);
    else
        pair_move(pair, pair->cursor > watch->head ? PAIR_PARKED : PAIR_LIVE);
}

void pair_rewind(struct pair *pair, uint64_t seq)
{
    if (seq == 0 || pair->cursor < seq)
        return;
    pair->cursor = seq - 1;
    cancel_call(pair); /* What was asked for at the old cursor finds nobody. */
    fall_behind(pair);
}

/* ---- watch ---- */

/* A removal of the user that lies back in the log: he may have been added again since. An answer to
 * his own `watch` took that into account (`until`); a page that was perhaps fetched for somebody
 * else did not, and may hold what he must not see. So he stops there and watches again. */
static void pass_old_removal(struct pair *pair, bool is_his_answer)
{
    if (!is_his_answer && pair->until == 0)
        pair_move(pair, PAIR_TO_WATCH);
}

/* Give what an answer holds, as far as the client has room. */
static void take_entries(struct gateway *gateway, struct list *taking, struct slice conv,
                         struct slice entries, bool is_his_answer)
{
    struct record_reader r = record_reader_of(entries);
    struct msg_entry entry;
    while (!list_is_empty(taking) && !record_reader_at_end(&r) &&
           record_decode(&r, &msg_entry_desc, &entry) == RC_OK) {
        struct buf *frame = watch_encode(gateway, conv, &entry);
        LIST_EACH(node, taking)
        {
            struct pair *pair = LIST_ENTRY(node, struct pair, in_watch);
            bool is_seen = pair->until == 0 || entry.seq <= pair->until;
            if (entry.seq == pair->cursor + 1 && is_seen && session_has_room(pair->session) &&
                give(pair, &entry, frame) && is_own_removal(pair, &entry))
                pass_old_removal(pair, is_his_answer);
        }
        buf_unref(&frame);
    }
}

static void settle_all(struct list *taking)
{
    struct pair *pair;
    while ((pair = LIST_FIRST(taking, struct pair, in_watch)) != NULL)
        pair_settle(pair);
}

static void on_refused(struct pair *pair, enum rc rc)
{
    if (rc == RC_FORBIDDEN || rc == RC_NOT_FOUND) {
        pair_drop(pair);
        return;
    }
    if (rc != RC_NOT_LEADER) /* Then the next one is asked as soon as it is known. */
        session_delay_retry(pair->session);
    pair_move(pair, pair->state == PAIR_WATCHING ? PAIR_TO_WATCH : PAIR_TO_FETCH);
}

/* False: there is no room. It watches again once there is. */
static bool give_gap(struct pair *pair, const struct msg_watched *answer)
{
    pair->cursor = answer->gap_from - 1;
    if (!session_push_gap(pair->session, pair, answer)) {
        pair_move(pair, PAIR_TO_WATCH);
        return false;
    }
    pair->gap_to = answer->gap_to;
    return true;
}

static void on_watched(struct gateway *gateway, struct request *request, enum rc rc,
                       const void *data)
{
    struct pair *pair = ((struct watch_call *)request)->pair;
    const struct msg_watched *answer = data;
    gateway->watch_calls--;
    if (pair == NULL)
        return;
    pair->call = NULL;
    if (rc != RC_OK) {
        on_refused(pair, rc);
        return;
    }
    struct session *session = pair->session;
    struct watch *watch = pair->watch;
    if (pair->is_resuming && !pair->is_again) {
        session->missed += answer->missed;
        pair->is_told_in = answer->until != 0; /* He may think so: the list does not name it. */
    } else if (answer->until != 0 && !pair->is_again) { /* Removed again before he saw any of it. */
        pair->is_told_in = true;
        leave(pair);
        return;
    }
    pair->is_again = true;
    pair->is_cursor_known = true;
    if (answer->gap_from != 0 && !give_gap(pair, answer))
        return;
    pair->cursor = answer->from;
    pair->until = answer->until;
    if (answer->until == 0)
        watch_start(gateway, watch, answer->head);
    struct list taking;
    list_init(&taking);
    pair_move(pair, PAIR_TO_FETCH);
    list_remove(&pair->in_watch);
    list_append(&taking, &pair->in_watch);
    take_entries(gateway, &taking, watch_conv(watch), answer->entries, true);
    settle_all(&taking);
}

static bool send_watch(struct pair *pair)
{
    struct session *session = pair->session;
    struct gateway *gateway = session->gateway;
    struct watch *watch = pair->watch;
    if (!routers_is_live(gateway, watch->shard))
        return false;
    struct watch_call *call = mem_new(struct watch_call);
    call->pair = pair;
    call->request.id = calls_next_id(gateway);
    call->request.shard = watch->shard;
    call->request.answer_number = MSG_WATCHED;
    call->request.on_done = on_watched;
    struct msg_watch message = {.req = call->request.id,
                                .shard = watch->shard,
                                .conv = watch_conv(watch),
                                .user = session_user(session),
                                .device = slice_string(session->device),
                                .from_known = pair->is_cursor_known,
                                .from = pair->cursor};
    if (calls_send(gateway, &call->request, &msg_watch_desc, &message) != RC_OK) {
        mem_free(call);
        return false;
    }
    gateway->watch_calls++;
    pair->call = &call->request;
    pair_move(pair, PAIR_WATCHING);
    return true;
}

/* ---- fetch ---- */

static void on_fetch_failed(struct watch *watch, const struct fetch_call *call, enum rc rc)
{
    struct slice asker = slice_of(call->names + call->conv_size, call->user_size);
    LIST_EACH(node, &watch->catching)
    {
        struct pair *pair = LIST_ENTRY(node, struct pair, in_watch);
        if (pair->state != PAIR_FETCHING || pair->cursor != call->after)
            continue;
        /* A refusal concerns who asked; the others who hoped for the answer ask for themselves. */
        if (slice_equal(asker, session_user(pair->session)))
            on_refused(pair, rc);
        else
            pair_move(pair, PAIR_TO_FETCH);
    }
}

static void on_fetched(struct gateway *gateway, struct request *request, enum rc rc,
                       const void *data)
{
    const struct fetch_call *call = (const struct fetch_call *)request;
    const struct msg_fetched *answer = data;
    struct slice conv = slice_of(call->names, call->conv_size);
    struct watch *watch = map_get(&gateway->watches, conv);
    gateway->watch_calls--;
    if (watch == NULL)
        return;
    if (rc != RC_OK) {
        on_fetch_failed(watch, call, rc);
        return;
    }
    struct list taking;
    list_init(&taking);
    LIST_EACH(node, &watch->catching)
    {
        struct pair *pair = LIST_ENTRY(node, struct pair, in_watch);
        if (pair->state != PAIR_FETCHING || pair->cursor != call->after)
            continue;
        pair_move(pair, PAIR_TO_FETCH);
        if (answer->entries.size == 0)
            session_delay_retry(pair->session);
        if (answer->entries.size == 0 && pair->until != 0)
            pair->until = pair->cursor; /* There is nothing more for him. */
        list_remove(&pair->in_watch);
        list_append(&taking, &pair->in_watch);
    }
    take_entries(gateway, &taking, conv, answer->entries, false);
    settle_all(&taking);
}

static bool is_asked_for(const struct pair *asker)
{
    LIST_EACH(node, &asker->watch->catching)
    {
        const struct pair *pair = LIST_ENTRY(node, struct pair, in_watch);
        if (pair->state == PAIR_FETCHING && pair->cursor == asker->cursor && pair->until == 0)
            return true;
    }
    return false;
}

static bool send_fetch(struct pair *pair)
{
    struct gateway *gateway = pair->session->gateway;
    struct watch *watch = pair->watch;
    struct slice user = session_user(pair->session);
    if (pair->until == 0 && is_asked_for(pair)) {
        pair_move(pair, PAIR_FETCHING);
        return true;
    }
    struct fetch_call *call = mem_new(struct fetch_call);
    call->after = pair->cursor;
    call->conv_size = watch->conv_size;
    call->user_size = (uint8_t)user.size;
    memcpy(call->names, watch->conv, watch->conv_size);
    memcpy(call->names + watch->conv_size, user.base, user.size);
    call->request.id = calls_next_id(gateway);
    call->request.shard = watch->shard;
    call->request.answer_number = MSG_FETCHED;
    call->request.on_done = on_fetched;
    struct msg_fetch message = {.req = call->request.id,
                                .shard = watch->shard,
                                .conv = watch_conv(watch),
                                .user = user,
                                .after = pair->cursor,
                                .limit = LIMIT_RESUME_COUNT};
    if (calls_send(gateway, &call->request, &msg_fetch_desc, &message) != RC_OK) {
        mem_free(call);
        return false;
    }
    gateway->watch_calls++;
    pair_move(pair, PAIR_FETCHING);
    return true;
}

/* True where the pair got on; it may be gone then. */
static bool advance(struct pair *pair)
{
    struct buf *frame;
    uint64_t before = pair->cursor;
    while (pair->state == PAIR_TO_FETCH && pair->until == 0 && session_has_room(pair->session) &&
           (frame = watch_recent(pair->watch, pair->cursor + 1)) != NULL &&
           session_push_entry(pair->session, pair, pair->cursor + 1, frame))
        pair->cursor++;
    if (pair->cursor > before) {
        pair_settle(pair);
        return true;
    }
    return pair->state == PAIR_TO_WATCH ? send_watch(pair) : send_fetch(pair);
}

void catchup_pump(struct session *session)
{
    struct gateway *gateway = session->gateway;
    uint32_t tries = 0;
    struct pair *pair;
    while ((pair = LIST_FIRST(&session->waiting, struct pair, in_session)) != NULL &&
           session->calls < CATCHUP_SESSION_CALLS && session_has_room(session) &&
           gateway_now_us(gateway) >= session->retry_us && tries < PUMP_TRIES_MAX) {
        if (gateway->watch_calls >= CATCHUP_CALLS_MAX) {
            gateway->was_full = true;
            return;
        }
        if (advance(pair))
            continue;
        tries++; /* Its shard has no leader; others may. */
        list_remove(&pair->in_session);
        list_append(&session->waiting, &pair->in_session);
    }
}
