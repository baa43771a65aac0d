/* The `conversations` request. Few at a time for a session, since each asks for every conversation.
 */
#include "gateway/conv_list.h"
#include "gateway/session.h"

#include "mesh/base/mem.h"

#define MADE_MAX     16u
#define LISTINGS_MAX 8u

struct listing {
    struct list in_session;
    struct session *session;
    struct conv_list *list;
    struct buf *id;
};

static void listing_free(struct listing *listing)
{
    list_remove(&listing->in_session);
    listing->session->listing_count--;
    buf_unref(&listing->id);
    mem_free(listing);
}

static void on_listed(void *context, struct conv_list *list, enum rc rc, uint64_t retry_ms)
{
    struct listing *listing = context;
    struct session *session = listing->session;
    struct slice id = listing->id->size > 0 ? buf_slice(listing->id) : (struct slice){0};
    struct buf *text = session->gateway->text;
    buf_clear(text);
    if (rc == RC_OK)
        conv_list_put(list, id, text);
    else
        client_put_error(text, id, rc, conv_list_reason(rc), retry_ms);
    listing_free(listing); /* Before it is put, which may close the session. */
    session_put(session);
}

void session_list_note_made(struct session *session, struct slice conv)
{
    struct buf *made = buf_new(0);
    struct slice old[MADE_MAX];
    uint32_t count = 0;
    if (session->made != NULL) {
        struct record_reader r = record_reader_of(buf_slice(session->made));
        while (count < MADE_MAX && record_get_slice(&r, &old[count]) == RC_OK)
            count += !slice_equal(old[count], conv);
    }
    for (uint32_t i = count == MADE_MAX ? 1 : 0; i < count; i++)
        record_put_slice(made, old[i]);
    record_put_slice(made, conv);
    buf_unref(&session->made);
    session->made = made;
}

static void add_made(const struct session *session, struct conv_list *list)
{
    if (session->made == NULL)
        return;
    struct record_reader r = record_reader_of(buf_slice(session->made));
    for (struct slice conv; record_get_slice(&r, &conv) == RC_OK;)
        conv_list_add(list, conv);
}

void session_list_conversations(struct session *session, const struct client_request *request)
{
    if (session->listing_count >= LISTINGS_MAX) {
        session_put_error(session, request->id, RC_RATE_LIMITED, "too many lists at a time",
                          LIMIT_BEAT_MS);
        return;
    }
    struct listing *listing = mem_new(struct listing);
    listing->session = session;
    listing->id = buf_new(0);
    buf_append_slice(listing->id, request->id);
    listing->list = conv_list_new(session->gateway, session_user(session), request->after_name,
                                  request->has_limit ? request->limit : 0, on_listed, listing);
    list_append(&session->listings, &listing->in_session);
    session->listing_count++;
    add_made(session, listing->list);
    conv_list_start(listing->list);
}

void session_list_leave(struct session *session)
{
    buf_unref(&session->made);
    LIST_EACH(node, &session->listings)
    {
        struct listing *listing = LIST_ENTRY(node, struct listing, in_session);
        conv_list_abandon(&listing->list);
        listing_free(listing);
    }
}
