#include "gateway/large.h"

#include "gateway/proof.h"
#include "gateway/redelivery.h"
#include "gateway/session_call.h"
#include "gateway/users.h"
#include "mesh/base/check.h"
#include "mesh/base/mem.h"
#include "mesh/base/metrics.h"

/* Told in one tick, and of one conversation before it is the next one's turn. */
#define TICK_COUNT  (LIMIT_ACTIVITY_PER_SEC / (1000u / LARGE_TICK_MS))
#define SHARE_COUNT 16u

#define READ_UNKNOWN UINT64_MAX

/* What is known of a pair in a large conversation, for when it rests. */
struct rest {
    uint64_t told_us;       /* When it was told last; 0: never. */
    uint64_t told;          /* And of which head. */
    uint64_t member_at;     /* Its user was a member after this entry. */
    uint64_t read_messages; /* How many he has read; READ_UNKNOWN: to be asked for. */
};

static struct rest *rest_of(struct pair *pair)
{
    if (pair->rest == NULL) {
        pair->rest = mem_new(struct rest);
        pair->rest->read_messages = READ_UNKNOWN;
    }
    return pair->rest;
}

void large_forget(struct pair *pair)
{
    mem_free(pair->rest);
    pair->rest = NULL;
}

struct list *large_resting(struct watch *watch)
{
    CHECK(watch->large != NULL);
    return &watch->large->resting;
}

static uint64_t greater(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* ---- Telling ---- */

/* The conversation has something to tell, from the next tick on. */
static void stir(struct gateway *gateway, struct large *large)
{
    if (list_is_empty(&large->stirred))
        return;
    uint64_t due_us = gateway_now_us(gateway) + LARGE_TICK_MS * 1000u;
    if (list_is_empty(&gateway->stirred) || due_us < gateway->stirred_us)
        gateway->stirred_us = due_us;
    if (list_is_empty(&large->node))
        list_append(&gateway->stirred, &large->node);
}

static uint64_t due_us_of(const struct rest *rest)
{
    return rest->told_us != 0 ? rest->told_us + LIMIT_ACTIVITY_MS * 1000u : 0;
}

/* Tell it, or where the client has no room let it come up again in its turn: the caller sees to
 * that there is one. */
static void tell(struct pair *pair)
{
    struct watch *watch = pair->watch;
    struct rest *rest = pair->rest;
    uint64_t unread =
        watch->messages > rest->read_messages ? watch->messages - rest->read_messages : 0;
    uint64_t head = greater(watch->head, rest->member_at);
    rest->told_us = gateway_now_us(pair->session->gateway);
    bool is_told = session_push_activity(pair->session, pair, head, unread);
    list_remove(&pair->in_watch);
    list_append(is_told ? &watch->large->resting : &watch->large->stirred, &pair->in_watch);
    if (!is_told)
        return;
    rest->told = head;
    proof_on_given(pair);
}

/* It can be told nothing for sure before the leader was asked. */
static bool is_unsure(const struct pair *pair)
{
    return pair->rest->member_at < pair->watch->large->hole_at ||
           pair->rest->read_messages == READ_UNKNOWN;
}

/* Tell some of those whose turn it is. When the next one is due; ENV_NEVER: there is none. */
static uint64_t tell_some(struct large *large, uint64_t now_us, uint32_t *left)
{
    struct pair *pair;
    for (uint32_t i = 0; (pair = LIST_FIRST(&large->stirred, struct pair, in_watch)) != NULL; i++) {
        if (due_us_of(pair->rest) > now_us)
            return due_us_of(pair->rest);
        if (i == SHARE_COUNT || *left == 0)
            return now_us;
        --*left;
        if (is_unsure(pair))
            pair_move(pair, PAIR_TO_WATCH);
        else
            tell(pair);
    }
    return ENV_NEVER;
}

void large_turn(struct gateway *gateway)
{
    uint64_t now_us = gateway_now_us(gateway);
    if (list_is_empty(&gateway->stirred) || now_us < gateway->stirred_us)
        return;
    struct list told;
    struct large *large;
    uint32_t left = TICK_COUNT;
    uint64_t least_us = ENV_NEVER;
    list_init(&told);
    while (left > 0 && (large = LIST_FIRST(&gateway->stirred, struct large, node)) != NULL) {
        list_remove(&large->node);
        uint64_t due_us = tell_some(large, now_us, &left);
        if (due_us <= now_us)
            list_append(&gateway->stirred, &large->node);
        else if (due_us != ENV_NEVER)
            list_append(&told, &large->node);
        least_us = due_us < least_us ? due_us : least_us;
    }
    if (!list_is_empty(&gateway->stirred))
        least_us = now_us;
    list_append_all(&gateway->stirred, &told);
    gateway->stirred_us = greater(least_us, now_us + LARGE_TICK_MS * 1000u);
}

uint64_t large_due_us(const struct gateway *gateway)
{
    return list_is_empty(&gateway->stirred) ? ENV_NEVER : gateway->stirred_us;
}

/* ---- Growing, shrinking, moving on ---- */

/* It was given everything up to its cursor, so its user is a member there. */
static void rest_from_live(struct pair *pair)
{
    rest_of(pair)->member_at = pair->cursor;
    redelivery_stop(pair);
    pair_move(pair, PAIR_RESTING);
}

static void rest_live(struct watch *watch)
{
    LIST_EACH(node, &watch->live)
    {
        struct pair *pair = LIST_ENTRY(node, struct pair, in_watch);
        if (pair_must_rest(pair))
            rest_from_live(pair);
    }
}

/* Who resumes just now is told what a resume tells of a large one. All others streamed: they may be
 * behind, behind a gap that has to be told again, or be it yet, where what they were given is
 * dropped from the outbox. */
void large_begin(struct watch *watch, uint64_t seq)
{
    CHECK(watch->large == NULL);
    struct large *large = mem_new(struct large);
    list_init(&large->resting);
    list_init(&large->stirred);
    list_init(&large->node);
    large->begun_at = greater(watch->head, seq); /* An answer may have overtaken the stream. */
    watch->large = large;
    struct list *lists[2] = {&watch->catching, &watch->live};
    for (size_t i = 0; i < 2; i++)
        LIST_EACH(node, lists[i])
        {
            struct pair *pair = LIST_ENTRY(node, struct pair, in_watch);
            pair->is_finishing = pair->is_again;
        }
    rest_live(watch);
}

static void forget_all(struct list *pairs)
{
    LIST_EACH(node, pairs)
    large_forget(LIST_ENTRY(node, struct pair, in_watch));
}

void large_end(struct watch *watch)
{
    struct large *large = watch->large;
    struct list pairs;
    struct pair *pair;
    list_init(&pairs);
    list_append_all(&pairs, &large->resting);
    list_append_all(&pairs, &large->stirred);
    watch->large = NULL;
    while ((pair = LIST_FIRST(&pairs, struct pair, in_watch)) != NULL)
        pair_move(pair, PAIR_TO_WATCH); /* Far behind, perhaps: it needs what a resume needs. */
    forget_all(&watch->live);
    forget_all(&watch->catching);
    list_remove(&large->node);
    mem_free(large);
}

void large_on_head(struct gateway *gateway, struct watch *watch, bool has_hole)
{
    struct large *large = watch->large;
    if (large == NULL)
        return;
    if (has_hole)
        large->hole_at = watch->head;
    else if (watch->head == large->begun_at)
        rest_live(watch);
    list_append_all(&large->stirred, &large->resting);
    stir(gateway, large);
}

uint64_t large_told(const struct pair *pair)
{
    return pair->rest != NULL ? pair->rest->told : 0;
}

void large_on_behind(struct pair *pair)
{
    struct large *large = pair->watch->large;
    if (pair->state != PAIR_RESTING)
        return;
    list_remove(&pair->in_watch);
    list_append(&large->stirred, &pair->in_watch);
    stir(pair->session->gateway, large);
}

/* ---- Members ---- */

void large_on_removal(struct gateway *gateway, struct watch *watch, struct slice name, uint64_t seq)
{
    struct user *user = map_get(&gateway->users, name);
    if (watch->large == NULL || user == NULL)
        return;
    LIST_EACH(node, &user->sessions)
    {
        struct session *session = LIST_ENTRY(node, struct session, in_user);
        struct pair *pair = pair_find(session, watch_conv(watch));
        if (pair != NULL && pair->state == PAIR_RESTING && seq > pair->rest->member_at)
            pair_leave(pair, seq);
    }
}

void large_on_read(struct pair *pair, uint64_t messages)
{
    struct rest *rest = pair->rest;
    if (rest != NULL && (rest->read_messages == READ_UNKNOWN || rest->read_messages < messages))
        rest->read_messages = messages;
}

void large_on_sent(struct gateway *gateway, struct watch *watch, struct slice name,
                   uint64_t messages)
{
    struct user *user = map_get(&gateway->users, name);
    if (watch->large == NULL || user == NULL)
        return;
    LIST_EACH(node, &user->sessions)
    {
        struct session *session = LIST_ENTRY(node, struct session, in_user);
        struct pair *pair = pair_find(session, watch_conv(watch));
        if (pair != NULL)
            large_on_read(pair, messages);
    }
}

bool large_is_later(const struct pair *pair, uint64_t seq)
{
    return pair->rest != NULL && pair->rest->member_at >= seq;
}

void large_on_gone(struct pair *pair, uint64_t seq)
{
    if (pair->rest != NULL && pair_must_rest(pair))
        pair_leave(pair, seq);
}

bool large_on_watched(struct pair *pair, const struct msg_watched *answer)
{
    struct watch *watch = pair->watch;
    if (watch->large == NULL || answer->until != 0)
        return false;
    struct rest *rest = rest_of(pair);
    large_on_read(pair, answer->read_messages);
    rest->member_at = greater(rest->member_at, answer->head);
    if (!pair_must_rest(pair))
        return false;
    /* Where it stood, or what is left of that. */
    pair->cursor = answer->gap_from != 0 ? answer->gap_from - 1 : answer->from;
    if (pair->cursor < watch->large->begun_at)
        pair->is_finishing = false;
    pair->is_cursor_known = true;
    pair->is_again = true;
    redelivery_stop(pair);
    if (answer->head < watch->left_at) { /* Somebody left meanwhile, perhaps he. */
        pair_move(pair, PAIR_TO_WATCH);
        return true;
    }
    pair_move(pair, PAIR_RESTING);
    if (pair->cursor >= greater(watch->head, answer->head))
        return true;
    large_on_behind(pair);
    if (due_us_of(rest) <= gateway_now_us(pair->session->gateway))
        tell(pair);
    return true;
}

/* ---- Requests ---- */

static void put_typing(struct session *session, struct slice conv, struct slice users)
{
    struct gateway *gateway = session->gateway;
    struct record_reader r = record_reader_of(users);
    struct slice user;
    while (session->state != SESSION_CLOSED && record_get_slice(&r, &user) == RC_OK) {
        if (slice_equal(user, session_user(session)))
            continue;
        buf_clear(gateway->text);
        client_put_typing(gateway->text, conv, user, true);
        session_put(session);
    }
}

/* The leader says that he is a member; where nobody else said so yet, his news are on the way. */
static struct pair *pair_of_member(struct session *session, struct slice conv)
{
    struct pair *pair = pair_find(session, conv);
    if (pair == NULL)
        session_on_listed(session, conv, true);
    return pair != NULL ? pair : pair_find(session, conv);
}

static void wake(struct pair *pair)
{
    bool was_to_rest = pair_must_rest(pair);
    pair->is_open = true;
    if (!was_to_rest || (pair->state != PAIR_RESTING && pair->state != PAIR_WATCHING))
        return;
    pair_cancel_call(pair); /* It asked for no entries. */
    pair_move(pair, PAIR_TO_WATCH);
}

static void on_looked(struct gateway *gateway, struct request *request, enum rc rc,
                      const void *data)
{
    const struct client_call *call = (const struct client_call *)request;
    const struct msg_looked *answer = data;
    struct session *session = session_request_done((struct session_request *)request);
    if (session == NULL)
        return;
    struct slice conv = session_call_conv(call);
    bool opens = call->type == CLIENT_OPEN; /* Not closed again meanwhile. */
    struct pair *pair = rc == RC_OK && opens ? pair_of_member(session, conv) : NULL;
    if (rc == RC_OK && opens && pair == NULL)
        rc = RC_UNAVAILABLE; /* The session is in as many conversations as it may. */
    if (session->state == SESSION_CLOSED)
        return;
    if (rc != RC_OK) {
        session_call_fail(session, call, rc, (struct slice){0}, 0);
        return;
    }
    if (opens) {
        watch_on_known(gateway, pair->watch, answer->head);
        wake(pair);
    }
    buf_clear(gateway->text);
    client_put_ok(gateway->text, session_call_id(call));
    session_put(session);
    if (opens)
        put_typing(session, conv, answer->typing);
}

static void ask(struct session *session, const struct client_request *request)
{
    struct client_call *call =
        session_call_begin(session, request, request->conv, MSG_LOOKED, on_looked);
    if (call == NULL)
        return;
    struct msg_look message = {.req = call->base.request.id,
                               .shard = call->base.request.shard,
                               .conv = request->conv,
                               .user = session_user(session)};
    session_call_send(session, call, &msg_look_desc, &message, REPEAT_FREELY);
}

void large_on_open(struct session *session, const struct client_request *request)
{
    ask(session, request);
}

void large_confirm(struct session *session, const struct client_request *request)
{
    const struct pair *pair = pair_find(session, request->conv);
    bool is_watched = pair != NULL && pair->state != PAIR_TO_WATCH && pair->state != PAIR_WATCHING;
    if (!is_watched || pair->until != 0 || pair->is_told_gone) {
        ask(session, request);
        return;
    }
    buf_clear(session->gateway->text);
    client_put_ok(session->gateway->text, request->id);
    session_put(session);
}

/* What was to open it and is not answered yet does not open it any more. */
static void call_off(struct session *session, struct slice conv)
{
    LIST_EACH(node, &session->requests)
    {
        struct client_call *call = LIST_ENTRY(node, struct client_call, base.in_session);
        if (call->base.request.answer_number == MSG_LOOKED &&
            slice_equal(session_call_conv(call), conv))
            call->type = CLIENT_CLOSE;
    }
}

static void close_pair(struct pair *pair)
{
    bool did_stream = pair->watch->large != NULL && pair->is_open;
    pair->is_open = false;
    if (!did_stream || pair->until != 0 || pair_is_finishing(pair))
        return; /* Where he was removed it ends by itself, and rests once it has finished. */
    if (pair->state == PAIR_LIVE) {
        rest_from_live(pair);
        return;
    }
    pair_cancel_call(pair);
    pair_move(pair, PAIR_TO_WATCH);
}

void large_on_close(struct session *session, const struct client_request *request)
{
    call_off(session, request->conv);
    struct pair *pair = pair_find(session, request->conv);
    if (pair != NULL)
        close_pair(pair);
    large_confirm(session, request);
}
