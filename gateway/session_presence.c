/* The `presence` request. */
#include "gateway/presence_query.h"
#include "gateway/session.h"

#include "mesh/base/mem.h"

struct asking {
    struct session *session;
    struct list in_session;
    struct presence_query *query;
    struct buf *id;
};

static void asking_free(struct asking *asking)
{
    asking->session->query_count--;
    list_remove(&asking->in_session);
    buf_unref(&asking->id);
    mem_free(asking);
}

static void on_told(void *context, enum rc rc, const struct msg_presence_item *items,
                    uint32_t count)
{
    struct asking *asking = context;
    struct session *session = asking->session;
    struct buf *text = session->gateway->text;
    struct slice id = asking->id->size > 0 ? buf_slice(asking->id) : (struct slice){0};
    buf_clear(text);
    if (rc == RC_OK)
        presence_query_put(items, count, id, text);
    else
        client_put_error(text, id, rc, NULL, LIMIT_RETRY_AFTER_MS);
    asking_free(asking); /* First, for the session may be closed by what it is told. */
    session_put(session);
}

void session_ask_presence(struct session *session, const struct client_request *request)
{
    struct gateway *gateway = session->gateway;
    if (session->query_count >= SESSION_QUERIES_MAX) {
        session_put_error(session, request->id, RC_RATE_LIMITED, NULL, LIMIT_BEAT_MS);
        return;
    }
    struct asking *asking = mem_new(struct asking);
    struct buf *users = client_users(&gateway->decoder, request);
    enum rc rc = presence_query(gateway, buf_slice(users), on_told, asking, &asking->query);
    buf_unref(&users);
    if (rc != RC_OK) {
        mem_free(asking);
        session_put_error(session, request->id, rc, NULL, LIMIT_RETRY_AFTER_MS);
        return;
    }
    asking->session = session;
    list_append(&session->queries, &asking->in_session);
    session->query_count++;
    asking->id = buf_new(request->id.size);
    buf_append_slice(asking->id, request->id);
}

void session_presence_leave(struct session *session)
{
    struct asking *asking;
    while ((asking = LIST_FIRST(&session->queries, struct asking, in_session)) != NULL) {
        presence_query_cancel(&asking->query);
        asking_free(asking);
    }
}
