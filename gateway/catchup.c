#include "gateway/catchup.h"

#include "gateway/large.h"
#include "gateway/redelivery.h"
#include "gateway/session.h"
#include "mesh/base/mem.h"

/* Waiting pairs tried in one go without success: the others wait for the next retry. */
#define PUMP_TRIES_MAX 64u

struct fetch_call {
    struct request request;
    uint64_t after;
    uint8_t conv_size;
    uint8_t user_size;
    char names[LIMIT_CONV_SIZE_MAX + LIMIT_USER_SIZE_MAX]; /* Conversation, then who asked. */
};

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
            bool is_seen = pair->until == 0 ? !pair_must_rest(pair) : entry.seq <= pair->until;
            if (entry.seq != pair->cursor + 1 || !is_seen || !session_has_room(pair->session) ||
                !pair_give(pair, entry.seq, frame))
                continue;
            pair_note(pair, &entry);
            if (pair_is_own_removal(pair, &entry))
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
        pair_lose(pair, rc == RC_NOT_FOUND);
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
    pair->was_given = true;
    return true;
}

/* To its leader who has nothing of a conversation misses nothing of what he may not see. But this
 * one was given some, and only begins anew, having acknowledged nothing. */
static struct msg_watched with_hole(const struct pair *pair, const struct msg_watched *answer)
{
    struct msg_watched with = *answer;
    uint64_t last_hidden = answer->gap_from != 0 ? answer->gap_from - 1 : answer->from;
    if (last_hidden <= pair->cursor)
        return with;
    with.gap_from = pair->cursor + 1;
    with.gap_to = answer->from;
    if (with.trimmed_to < last_hidden)
        with.trimmed_to = last_hidden;
    return with;
}

/* It goes on from where the answer says. */
static void take_answer(struct gateway *gateway, struct pair *pair,
                        const struct msg_watched *answer)
{
    if (answer->gap_from != 0 && !give_gap(pair, answer))
        return;
    pair->cursor = answer->from;
    pair->until = answer->until;
    redelivery_on_dropped(pair);
    struct list taking;
    list_init(&taking);
    pair_move(pair, PAIR_TO_FETCH);
    list_remove(&pair->in_watch);
    list_append(&taking, &pair->in_watch);
    take_entries(gateway, &taking, watch_conv(pair->watch), answer->entries, true);
    settle_all(&taking);
}

static void on_watched(struct gateway *gateway, struct request *request, enum rc rc,
                       const void *data)
{
    struct pair *pair = ((struct pair_call *)request)->pair;
    uint64_t fanout = ((struct pair_call *)request)->fanout;
    const struct msg_watched *answer = data;
    gateway->watch_calls--;
    if (pair == NULL)
        return;
    pair->call = NULL;
    if (rc != RC_OK) {
        on_refused(pair, rc);
        return;
    }
    if (answer->until == 0) {
        watch_start(gateway, pair->watch, answer->head);
        watch_on_count(gateway, pair->watch, answer->head, answer->members, answer->messages);
    }
    bool is_first = !pair->is_again;
    if (is_first && !pair->is_resuming && answer->until != 0) {
        pair_leave(pair, answer->until); /* Removed again before he saw any of it. */
        return;
    }
    bool has_some = pair->is_cursor_known && pair->was_given;
    pair->is_again = true;
    pair->is_cursor_known = true;
    if (is_first) /* A gap may be paged, and acknowledged page by page. */
        pair->acked = answer->gap_from != 0 ? answer->gap_from - 1 : answer->from;
    bool is_bare = fanout != 0 && answer->members > fanout; /* There are no entries in it. */
    if (answer->until != 0 && (is_bare || pair_must_rest(pair))) {
        pair_leave(pair, answer->until);
        return;
    }
    if (answer->until == 0 && !session_on_member(pair->session, pair))
        return;
    if (large_on_watched(pair, answer))
        return;
    if (is_bare) { /* The conversation shrank meanwhile, or it turned out that it is finishing. */
        pair_move(pair, PAIR_TO_WATCH);
        return;
    }
    if (is_first && pair->is_resuming)
        pair->session->missed += answer->missed;
    struct msg_watched with = has_some ? with_hole(pair, answer) : *answer;
    take_answer(gateway, pair, &with);
}

static bool send_watch(struct pair *pair)
{
    struct session *session = pair->session;
    struct gateway *gateway = session->gateway;
    struct watch *watch = pair->watch;
    if (!routers_is_live(gateway, watch->shard))
        return false;
    struct pair_call *call = mem_new(struct pair_call);
    call->pair = pair;
    bool wants_entries = pair->is_open || pair_is_finishing(pair);
    call->fanout = wants_entries ? 0 : gateway->options.fanout_members;
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
                                .from = pair->cursor,
                                .fanout = call->fanout,
                                .past = pair->is_past};
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

static void on_fetch_failed(struct watch *watch, const struct fetch_call *call, struct slice asker,
                            enum rc rc)
{
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

/* What retention removed, or who asked may not see, is not there: the leader says from where on it
 * goes, and what of it is a gap. */
static bool begins_after(struct slice entries, uint64_t seq)
{
    struct record_reader r = record_reader_of(entries);
    struct msg_entry entry;
    return entries.size > 0 && record_decode(&r, &msg_entry_desc, &entry) == RC_OK &&
           entry.seq > seq;
}

static void on_fetched(struct gateway *gateway, struct request *request, enum rc rc,
                       const void *data)
{
    const struct fetch_call *call = (const struct fetch_call *)request;
    const struct msg_fetched *answer = data;
    struct slice conv = slice_of(call->names, call->conv_size);
    struct slice asker = slice_of(call->names + call->conv_size, call->user_size);
    struct watch *watch = map_get(&gateway->watches, conv);
    gateway->watch_calls--;
    if (watch == NULL)
        return;
    if (rc != RC_OK) {
        on_fetch_failed(watch, call, asker, rc);
        return;
    }
    bool has_hole = call->after < answer->trimmed || begins_after(answer->entries, call->after + 1);
    struct list taking;
    list_init(&taking);
    LIST_EACH(node, &watch->catching)
    {
        struct pair *pair = LIST_ENTRY(node, struct pair, in_watch);
        if (pair->state != PAIR_FETCHING || pair->cursor != call->after)
            continue;
        if (has_hole) {
            pair_move(pair, PAIR_TO_WATCH);
            continue;
        }
        if (answer->until != 0 && !slice_equal(asker, session_user(pair->session))) {
            pair_move(pair, PAIR_TO_FETCH);
            continue;
        }
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
    while (pair->state == PAIR_TO_FETCH && pair->until == 0 && !pair_must_rest(pair) &&
           session_has_room(pair->session) &&
           (frame = watch_recent(pair->watch, pair->cursor + 1)) != NULL &&
           pair_give(pair, pair->cursor + 1, frame))
        ;
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
