#include "gateway/api_private.h"

#include "mesh/base/check.h"
#include "mesh/base/mem.h"

void api_init(struct gateway *gateway)
{
    map_init(&gateway->api.rates, api_rate_key);
    list_init(&gateway->api.recent);
}

void api_fini(struct gateway *gateway)
{
    CHECK(gateway->api.call_count == 0);
    api_forget_rates(&gateway->api, UINT64_MAX);
    map_fini(&gateway->api.rates);
}

/* ---- Answers ---- */

static unsigned status_of(enum rc rc)
{
    static const struct {
        const char *code;
        unsigned status;
    } statuses[] = {
        {"bad_request", 400},  {"unauthorized", 401}, {"forbidden", 403},
        {"not_found", 404},    {"conflict", 409},     {"too_large", 413},
        {"rate_limited", 429}, {"unavailable", 503},  {"unsupported", 501},
    };
    const char *code = rc_client_code(rc);
    for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++)
        if (strcmp(statuses[i].code, code) == 0)
            return statuses[i].status;
    return 500;
}

static struct api_answer refusal(struct buf *out, enum rc rc, struct slice message,
                                 uint64_t retry_ms)
{
    struct api_answer answer = {.status = status_of(rc)};
    if (message.size == 0)
        message = slice_string(rc_sentence(rc));
    buf_clear(out);
    buf_append_format(out, "{\"error\":{\"code\":\"%s\",\"message\":", rc_client_code(rc));
    json_append_string(out, message);
    buf_append_string(out, "}}");
    answer.body = buf_slice(out);
    if (answer.status == 429 || answer.status == 503)
        answer.retry_s = retry_ms > 1000 ? (uint32_t)((retry_ms + 999) / 1000) : 1;
    return answer;
}

struct api_answer api_refusal(struct buf *out, enum rc rc, const char *message, uint64_t retry_ms)
{
    return refusal(out, rc, message != NULL ? slice_string(message) : (struct slice){0}, retry_ms);
}

static void finish(struct api_call *call, const struct api_answer *answer)
{
    if (call->is_answered)
        return;
    call->is_answered = true;
    call->on_answer(call->context, answer);
}

void api_answer(struct api_call *call, unsigned status)
{
    struct api_answer answer = {.status = status, .body = buf_slice(call->text)};
    finish(call, &answer);
}

void api_answer_ok(struct api_call *call)
{
    client_put_ok(call->text, (struct slice){0});
    api_answer(call, 200);
}

static void fail(struct api_call *call, enum rc rc, struct slice message, uint64_t retry_ms)
{
    if (call->is_answered)
        return;
    struct api_answer answer = refusal(call->text, rc, message, retry_ms);
    finish(call, &answer);
}

void api_fail(struct api_call *call, enum rc rc, const char *message, uint64_t retry_ms)
{
    fail(call, rc, message != NULL ? slice_string(message) : (struct slice){0}, retry_ms);
}

void api_fail_request(struct api_call *call, const struct api_request *request, enum rc rc,
                      const void *answer)
{
    const struct msg_result *result = answer;
    uint64_t retry_ms = routers_retry_ms(call->gateway, request->request.shard);
    if (request->request.answer_number != MSG_RESULT || result == NULL)
        fail(call, rc, (struct slice){0}, retry_ms);
    else
        fail(call, rc, result->detail, result->hint_ms != 0 ? result->hint_ms : retry_ms);
}

/* ---- A call's life ---- */

void api_call_free(struct api_call *call)
{
    CHECK(list_is_empty(&call->requests));
    if (call->free_work != NULL)
        call->free_work(call->work);
    buf_unref(&call->text);
    CHECK(call->gateway->api.call_count > 0);
    call->gateway->api.call_count--;
    mem_free(call);
}

void api_step_done(struct api_call *call)
{
    CHECK(call->pending > 0);
    if (--call->pending > 0)
        return;
    CHECK(call->is_answered); /* Nothing is left that could. */
    api_call_free(call);
}

void api_start(struct api_call *call, struct slice body,
               void (*on_answer)(void *context, const struct api_answer *answer), void *context)
{
    CHECK(!call->is_started);
    call->is_started = true;
    call->on_answer = on_answer;
    call->context = context;
    call->pending = 1;
    call->route->start(call, body);
    api_step_done(call);
}

void api_abandon(struct api_call **call)
{
    struct api_call *taken = *call;
    *call = NULL;
    if (taken == NULL)
        return;
    CHECK(!taken->is_answered);
    taken->is_answered = true;
    if (!taken->is_started) {
        api_call_free(taken);
        return;
    }
    LIST_EACH(node, &taken->requests)
    calls_forsake(&LIST_ENTRY(node, struct api_request, in_call)->request);
    if (taken->cancel != NULL)
        taken->cancel(taken);
}

/* ---- Asking routers ---- */

static void on_request_done(struct gateway *gateway, struct request *base, enum rc rc,
                            const void *answer)
{
    (void)gateway;
    struct api_request *request = (struct api_request *)base;
    struct api_call *call = request->call;
    list_remove(&request->in_call);
    if (!call->is_answered)
        request->on_done(call, request, rc, answer);
    api_step_done(call);
}

struct api_request *api_request_new(struct api_call *call, enum message_number answer_number,
                                    enum request_repeat repeat,
                                    void (*on_done)(struct api_call *, struct api_request *,
                                                    enum rc, const void *))
{
    struct api_request *request = mem_new(struct api_request);
    request->call = call;
    request->on_done = on_done;
    request->request.id = calls_next_id(call->gateway);
    request->request.answer_number = answer_number;
    request->request.repeat = (uint8_t)repeat;
    request->request.may_wait = true;
    request->request.on_done = on_request_done;
    list_init(&request->in_call);
    return request;
}

static bool give_up(struct api_request **request, enum rc rc)
{
    struct api_call *call = (*request)->call;
    mem_free(*request);
    *request = NULL;
    api_fail(call, rc, NULL, LIMIT_RETRY_AFTER_MS);
    return false;
}

bool api_request_to_conv(struct api_request **request, struct slice conv)
{
    struct api_request *r = *request;
    enum rc rc = routers_conv_shard(r->call->gateway, conv, &r->request.shard);
    return rc == RC_OK || give_up(request, rc);
}

bool api_request_to_user(struct api_request **request, struct slice user)
{
    struct api_request *r = *request;
    enum rc rc = routers_user_shard(r->call->gateway, user, &r->request.shard);
    return rc == RC_OK || give_up(request, rc);
}

void api_request_send(struct api_request *request, const struct record_desc *desc,
                      const void *message)
{
    struct api_call *call = request->call;
    enum rc rc = calls_send(call->gateway, &request->request, desc, message);
    if (rc != RC_OK) {
        api_fail_request(call, request, rc, NULL);
        mem_free(request);
        return;
    }
    list_append(&call->requests, &request->in_call);
    call->pending++;
}

static void submit(struct api_request *request, const struct record_desc *desc, const void *command)
{
    struct buf *record = request->call->gateway->record;
    buf_clear(record);
    record_encode(record, desc, command);
    struct msg_submit message = {
        .req = request->request.id, .shard = request->request.shard, .command = buf_slice(record)};
    api_request_send(request, &msg_submit_desc, &message);
}

void api_submit_item(struct api_call *call, void *item, struct slice conv,
                     const struct record_desc *desc, const void *command,
                     enum request_repeat repeat,
                     void (*on_done)(struct api_call *, struct api_request *, enum rc,
                                     const void *))
{
    struct api_request *request = api_request_new(call, MSG_RESULT, repeat, on_done);
    request->item = item;
    if (api_request_to_conv(&request, conv))
        submit(request, desc, command);
}

void api_submit_conv(struct api_call *call, struct slice conv, const struct record_desc *desc,
                     const void *command, enum request_repeat repeat,
                     void (*on_done)(struct api_call *, struct api_request *, enum rc,
                                     const void *))
{
    api_submit_item(call, NULL, conv, desc, command, repeat, on_done);
}

void api_submit_user(struct api_call *call, struct slice user, const struct record_desc *desc,
                     const void *command, enum request_repeat repeat,
                     void (*on_done)(struct api_call *, struct api_request *, enum rc,
                                     const void *))
{
    struct api_request *request = api_request_new(call, MSG_RESULT, repeat, on_done);
    if (api_request_to_user(&request, user))
        submit(request, desc, command);
}

void api_on_changed(struct api_call *call, struct api_request *request, enum rc rc,
                    const void *answer)
{
    if (rc == RC_OK)
        api_answer_ok(call);
    else
        api_fail_request(call, request, rc, answer);
}

/* ---- Bodies ---- */

bool api_read_body(struct api_call *call, struct slice body, enum client_request_type type,
                   struct client_request *ret_request)
{
    const char *reason = NULL;
    *ret_request = (struct client_request){.type = type,
                                           .conv = api_name(&call->conv),
                                           .user = api_name(&call->user),
                                           .seq = call->seq};
    enum rc rc = client_decode_body(&call->gateway->decoder, body, ret_request, &reason);
    if (rc != RC_OK)
        api_fail(call, rc, reason, 0);
    return rc == RC_OK;
}
