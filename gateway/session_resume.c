/* How a session gets its conversations: the list of its user, page by page, each conversation from
 * where the client says it is, or from where the server's record says. */
#include "gateway/large.h"
#include "gateway/left.h"
#include "gateway/pair.h"
#include "gateway/session.h"
#include "mesh/base/check.h"
#include "mesh/base/crypto.h"
#include "mesh/base/mem.h"
#include "mesh/base/metrics.h"
#include "mesh/wire/key.h"

struct resume_item {
    uint64_t seq;
    uint8_t size;
    bool is_named; /* The client says so; else this connection gave it that much. */
    bool is_known; /* seq is. */
    bool is_open;  /* The client had opened it on this connection. */
    bool is_used;
    char conv[LIMIT_CONV_SIZE_MAX];
};

struct resume {
    struct map items;           /* What the client has, by conversation. */
    struct resume_item *memory; /* All items. */
    struct session_request *call;
    char *epoch;   /* As the client said it; NULL: not at all, or looked at. */
    char *after;   /* The last conversation of the page before, or NULL. */
    bool is_reset; /* Another epoch: everything from nothing. */
};

static struct slice key_of(const void *thing)
{
    const struct resume_item *item = thing;
    return slice_of(item->conv, item->size);
}

void session_resume_fini(struct session *session)
{
    struct resume *resume = session->resume;
    if (resume == NULL)
        return;
    session->resume = NULL;
    if (resume->call != NULL)
        session_request_done(resume->call);
    map_fini(&resume->items);
    mem_free(resume->memory);
    mem_free(resume->epoch);
    mem_free(resume->after);
    mem_free(resume);
}

bool session_is_asked(const struct session *session)
{
    return session->resume == NULL || session->resume->call != NULL;
}

/* There is room for it. */
static struct resume_item *add_item(struct resume *resume, struct slice conv, uint64_t seq)
{
    struct resume_item *item = &resume->memory[resume->items.count];
    item->seq = seq;
    item->size = (uint8_t)conv.size;
    memcpy(item->conv, conv.base, conv.size);
    map_put(&resume->items, item);
    return item;
}

/* Read the map of `connect`, and leave room for so many more. Names that can be no conversation are
 * left out. */
static void read_map(struct resume *resume, struct client_decoder *decoder,
                     const struct client_request *connect, size_t more)
{
    bool has_map = connect->resume.raw.base != NULL;
    struct slice conv;
    uint64_t seq;
    size_t count = 0;
    uint32_t at = 0;
    while (has_map && client_resume_next(decoder, connect, &at, &conv, &seq))
        count++;
    resume->memory = mem_zero((count + more + 1) * sizeof(*resume->memory));
    at = 0;
    while (has_map && client_resume_next(decoder, connect, &at, &conv, &seq)) {
        if (!key_conv_is_valid(conv) || map_get(&resume->items, conv) != NULL)
            continue;
        struct resume_item *item = add_item(resume, conv, seq);
        item->is_named = true;
        item->is_known = true;
    }
}

/* What the client had opened stays open. Of what it does not name it was perhaps given some: if he
 * was removed there meanwhile, the list says nothing of it, and he is to be told. */
static void keep_pair(struct resume *resume, const struct pair *pair)
{
    struct slice conv = watch_conv(pair->watch);
    struct resume_item *item = map_get(&resume->items, conv);
    if (item == NULL) {
        item = add_item(resume, conv, pair->cursor);
        item->is_known = pair->is_cursor_known;
    }
    item->is_open = pair->is_open;
}

static void drop_pairs(struct session *session, struct resume *resume)
{
    struct list *lists[2] = {&session->pairs, &session->waiting};
    for (size_t i = 0; i < 2; i++)
        LIST_EACH(node, lists[i])
        {
            struct pair *pair = LIST_ENTRY(node, struct pair, in_session);
            keep_pair(resume, pair);
            pair->is_reopened = false;
            pair->is_resuming = false;
            pair_drop(pair);
        }
    session->resuming = 0;
    session->missed = 0;
}

void session_resume(struct session *session, const struct client_request *connect)
{
    if (session->awaits_device && !session_settle_device(session))
        return;
    struct resume *resume = mem_new(struct resume);
    map_init(&resume->items, key_of);
    if (connect != NULL) {
        read_map(resume, &session->gateway->decoder, connect, session->pair_count);
        if (connect->epoch.size > 0)
            resume->epoch = mem_string(connect->epoch.base, connect->epoch.size);
    }
    if (session->state == SESSION_OPEN) {
        /* A `connect` later than SESSION_CONNECT_WAIT_MS: what the client says it has is taken, so
         * resuming begins anew. Entries sent meanwhile may come twice; seq makes them recognisable.
         */
        CHECK(connect != NULL);
        session_resume_fini(session);
        drop_pairs(session, resume);
        left_forget_all(session);
    } else {
        session->state = SESSION_OPEN;
        metric_add(sessions_open, 1);
    }
    session->resume = resume;
    session_make_ready(session);
}

/* Once the cluster is known: do the client's positions belong to this history? */
static void look_at_epoch(struct session *session)
{
    struct resume *resume = session->resume;
    if (resume->epoch == NULL)
        return;
    char epoch[9];
    crypto_hex(session->gateway->routers.cluster, 4, epoch);
    resume->is_reset = strcmp(epoch, resume->epoch) != 0;
    mem_free(resume->epoch);
    resume->epoch = NULL;
    if (!resume->is_reset)
        return;
    buf_clear(session->gateway->text);
    client_put_reset(session->gateway->text);
    session_put(session); /* The last: it may close the session. */
}

static void open_listed(struct session *session, struct slice conv)
{
    struct resume *resume = session->resume;
    struct resume_item *item = map_get(&resume->items, conv);
    if (item != NULL)
        item->is_used = true;
    if (pair_find(session, conv) != NULL)
        return;
    bool was_here = left_has(session, conv); /* Removed and added again within this resumption. */
    uint64_t left = left_take(session, conv);
    bool is_named = item != NULL && item->is_named;
    struct pair *pair;
    if (resume->is_reset || left != 0)
        pair = pair_open(session, conv, true, left, true);
    else
        pair = pair_open(session, conv, is_named, is_named ? item->seq : 0, true);
    if (pair != NULL && left == 0 && item != NULL)
        pair->is_open = item->is_open;
    if (pair != NULL)
        pair->was_given = was_here;
}

/* He was removed there while he was away, perhaps: the leader knows what this device has missed,
 * unless he was added and removed while this connection resumed. What the client names comes at the
 * end of the listing. */
static void open_left(struct session *session, struct slice conv)
{
    const struct resume *resume = session->resume;
    if (resume->is_reset || map_get(&resume->items, conv) != NULL ||
        pair_find(session, conv) != NULL)
        return;
    uint64_t left = left_cursor(session, conv);
    struct pair *pair = pair_open(session, conv, left != 0, left, true);
    if (pair != NULL)
        pair->is_past = true;
}

static void put_resumed(struct session *session)
{
    buf_clear(session->gateway->text);
    client_put_resumed(session->gateway->text, session->pair_count, session->missed);
    session_put(session);
}

void session_on_pair_resumed(struct session *session)
{
    CHECK(session->resuming > 0);
    if (--session->resuming == 0 && session->resume == NULL)
        put_resumed(session);
}

/* The list is complete. What the client has beyond it he may have been removed from: he is entitled
 * to what came before that. */
static void end_listing(struct session *session)
{
    struct resume *resume = session->resume;
    size_t at = 0;
    struct resume_item *item;
    while (!resume->is_reset && (item = map_next(&resume->items, &at)) != NULL)
        if (!item->is_used && pair_find(session, key_of(item)) == NULL)
            pair_open(session, key_of(item), item->is_known, item->seq, true);
    session_resume_fini(session);
    if (session->resuming == 0)
        put_resumed(session);
}

/* Returns the last one. */
static struct slice open_all(struct session *session, struct slice names,
                             void (*open)(struct session *session, struct slice conv))
{
    struct record_reader r = record_reader_of(names);
    struct slice conv = {0};
    while (names.size > 0 && record_get_slice(&r, &conv) == RC_OK)
        open(session, conv);
    return conv;
}

static void on_page(struct gateway *gateway, struct request *request, enum rc rc, const void *data)
{
    (void)gateway;
    struct session *session = session_request_done((struct session_request *)request);
    if (session == NULL)
        return;
    struct resume *resume = session->resume;
    const struct msg_user_convs *page = data;
    resume->call = NULL;
    if (rc != RC_OK) {
        if (rc != RC_NOT_LEADER) /* Then the next one is asked as soon as it is known. */
            session_delay_retry(session);
        session_make_ready(session);
        return;
    }
    struct slice last = open_all(session, page->convs, open_listed);
    struct slice last_left = open_all(session, page->left, open_left);
    if (slice_compare(last_left, last) > 0)
        last = last_left;
    if (page->more == 0 || last.size == 0) {
        end_listing(session);
        return;
    }
    mem_free(resume->after);
    resume->after = mem_string(last.base, last.size);
    session_make_ready(session);
}

void session_resume_pump(struct session *session)
{
    struct resume *resume = session->resume;
    if (resume == NULL || resume->call != NULL ||
        gateway_now_us(session->gateway) < session->retry_us)
        return;
    struct session_request *call = mem_new(struct session_request);
    call->request.on_done = on_page;
    struct slice after = {0};
    if (resume->after != NULL)
        after = slice_string(resume->after);
    const struct session *opener = resume->after == NULL ? session : NULL;
    if (users_call_open(session->gateway, &call->request, session_user(session), after, opener) !=
        RC_OK) {
        mem_free(call);
        return;
    }
    session_request_add(session, call);
    resume->call = call;
    look_at_epoch(session);
}

/* ---- Changes of the list while the session is there ---- */

static void put_conversation(struct session *session, struct slice conv, bool gone)
{
    buf_clear(session->gateway->text);
    client_put_conversation_event(session->gateway->text, conv, gone);
    session_put(session);
}

void session_on_listed(struct session *session, struct slice conv, bool is_sure)
{
    if (session->state != SESSION_OPEN)
        return;
    struct pair *pair = pair_find(session, conv);
    if (pair != NULL) {
        bool is_told_gone = pair->is_told_gone; /* By news that were older than the pair. */
        pair->is_told_gone = false;
        /* His removal may still be on its way to him, and he was added again since. If the list is
         * the older one, the pair opened then ends at once. */
        pair->is_reopened = true;
        if (is_told_gone)
            put_conversation(session, conv, false); /* The last: it may close the session. */
        return;
    }
    if (session->resume != NULL) {
        open_listed(session, conv);
        return;
    }
    /* Where a router died as he was removed, his list may have him yet. */
    bool is_doubtful = !is_sure && left_told(session, conv) != 0;
    if (!is_doubtful)
        put_conversation(session, conv, false);
    if (session->state != SESSION_OPEN)
        return;
    bool was_here = left_has(session, conv);
    pair = pair_open(session, conv, true, left_take(session, conv), false);
    if (pair == NULL)
        return;
    pair->was_given = was_here;
    pair->is_told_gone = is_doubtful;
    pair->is_doubtful = is_doubtful;
}

bool session_on_member(struct session *session, struct pair *pair)
{
    if (pair->is_doubtful && pair->is_told_gone) {
        pair->is_told_gone = false;
        put_conversation(session, watch_conv(pair->watch), false);
    }
    if (session->state != SESSION_OPEN)
        return false;
    pair->is_doubtful = false;
    return true;
}

/* He was given that removal, and what followed when he was added again; or would have been. */
static bool is_old_news(const struct pair *pair, uint64_t seq)
{
    bool is_past = pair->is_cursor_known && pair->until == 0 && pair->cursor > seq;
    return is_past || pair->is_doubtful || large_is_later(pair, seq);
}

void session_on_list_change(struct session *session, struct slice conv, uint64_t seq, bool gone)
{
    if (session->state != SESSION_OPEN || !key_conv_is_valid(conv))
        return;
    struct pair *pair = pair_find(session, conv);
    bool is_told = seq != 0 && seq <= left_told(session, conv);
    if (gone && (pair != NULL ? is_old_news(pair, seq) : is_told))
        return;
    if (pair != NULL) {
        pair->is_reopened = !gone; /* His removal before may still be on its way here. */
        pair->is_told_gone |= gone;
    }
    /* While it resumes, the list tells nobody of what is on it; news must, since the news before
     * may have told that he is out. */
    bool is_announced = !gone && pair == NULL && session->resume != NULL;
    if (gone || is_announced)
        put_conversation(session, conv, gone); /* May close the session. */
    if (!gone)
        session_on_listed(session, conv, true);
    else if (pair != NULL && session->state == SESSION_OPEN)
        large_on_gone(pair, seq);
    if (is_announced && session->state == SESSION_OPEN && (pair = pair_find(session, conv)) != NULL)
        pair->is_announced = true;
}
