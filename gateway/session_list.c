/* The `conversations` request. One at a time for a session. */
#include "gateway/conv_list.h"
#include "gateway/session.h"

#include "mesh/base/mem.h"

#define MADE_MAX 16u

struct listing {
    struct session *session;
    struct conv_list *list;
    struct buf *id;
};

static void listing_free(struct listing *listing)
{
    buf_unref(&listing->id);
    mem_free(listing);
}

static void on_listed(void *context, struct conv_list *list, enum rc rc, uint64_t retry_ms)
{
    struct listing *listing = context;
    struct session *session = listing->session;
    struct slice id = listing->id->size > 0 ? buf_slice(listing->id) : (struct slice){0};
    session->listing = NULL;
    if (rc != RC_OK) {
        session_put_error(session, id, rc, NULL, retry_ms);
    } else {
        buf_clear(session->gateway->text);
        conv_list_put(list, id, session->gateway->text);
        session_put(session);
    }
    listing_free(listing);
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
    if (session->listing != NULL) {
        session_put_error(session, request->id, RC_RATE_LIMITED, "one list at a time",
                          LIMIT_BEAT_MS);
        return;
    }
    struct listing *listing = mem_new(struct listing);
    listing->session = session;
    listing->id = buf_new(0);
    buf_append_slice(listing->id, request->id);
    listing->list = conv_list_new(session->gateway, session_user(session), request->after_name,
                                  request->has_limit ? request->limit : 0, on_listed, listing);
    session->listing = listing;
    add_made(session, listing->list);
    conv_list_start(listing->list);
}

void session_list_leave(struct session *session)
{
    struct listing *listing = session->listing;
    session->listing = NULL;
    buf_unref(&session->made);
    if (listing == NULL)
        return;
    conv_list_abandon(&listing->list);
    listing_free(listing);
}
