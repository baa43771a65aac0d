/* A user: his conversations, his sessions. */
#include "gateway/api_private.h"

#include "gateway/conv_list.h"

/* ---- Conversations ---- */

static void on_listed(void *context, struct conv_list *list, enum rc rc, uint64_t retry_ms)
{
    struct api_call *call = context;
    if (rc != RC_OK) {
        api_fail(call, rc, conv_list_reason(rc), retry_ms);
    } else if (!call->is_answered) {
        conv_list_put(list, (struct slice){0}, call->text);
        api_answer(call, 200);
    }
    api_step_done(call);
}

void api_list(struct api_call *call, struct slice body)
{
    (void)body;
    struct conv_list *list = conv_list_new(call->gateway, api_name(&call->user),
                                           api_name(&call->after), call->limit, on_listed, call);
    call->pending++;
    conv_list_start(list);
}

/* ---- Sessions ---- */

void api_kick(struct api_call *call,
              void (*on_done)(struct api_call *, struct api_request *, enum rc, const void *))
{
    struct api_request *request = api_request_new(call, MSG_RESULT, REPEAT_FREELY, on_done);
    if (!api_request_to_user(&request, api_name(&call->user)))
        return;
    struct msg_user_kick message = {
        .req = request->request.id, .shard = request->request.shard, .user = api_name(&call->user)};
    api_request_send(request, &msg_user_kick_desc, &message);
}

void api_disconnect(struct api_call *call, struct slice body)
{
    (void)body;
    api_kick(call, api_on_changed);
}
