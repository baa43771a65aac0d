/* Who is online. */
#include "gateway/api_private.h"
#include "gateway/presence_query.h"

static void on_told(void *context, enum rc rc, const struct msg_presence_item *items,
                    uint32_t count)
{
    struct api_call *call = context;
    call->cancel = NULL;
    if (rc != RC_OK) {
        api_fail(call, rc, NULL, LIMIT_RETRY_AFTER_MS);
    } else if (call->user.size > 0) { /* Of the path: told without a list around. */
        client_put_presence_list_item(call->text, &items[0], true);
        api_answer(call, 200);
    } else {
        presence_query_put(items, count, (struct slice){0}, call->text);
        api_answer(call, 200);
    }
    api_step_done(call);
}

static void cancel(struct api_call *call)
{
    struct presence_query *query = call->work;
    presence_query_cancel(&query);
    api_step_done(call);
}

static void ask(struct api_call *call, struct slice users)
{
    struct presence_query *query;
    enum rc rc = presence_query(call->gateway, users, on_told, call, &query);
    if (rc != RC_OK) {
        api_fail(call, rc, NULL, LIMIT_RETRY_AFTER_MS);
        return;
    }
    call->work = query;
    call->cancel = cancel;
    call->pending++;
}

void api_presence(struct api_call *call, struct slice body)
{
    struct client_request request;
    if (!api_read_body(call, body, CLIENT_PRESENCE, &request))
        return;
    struct buf *users = client_users(&call->gateway->decoder, &request);
    ask(call, buf_slice(users));
    buf_unref(&users);
}

void api_presence_of(struct api_call *call, struct slice body)
{
    (void)body;
    struct buf *user = buf_new(LIMIT_USER_SIZE_MAX);
    record_put_slice(user, api_name(&call->user));
    ask(call, buf_slice(user));
    buf_unref(&user);
}
