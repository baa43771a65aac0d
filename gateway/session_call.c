#include "gateway/session_call.h"

#include "gateway/fence.h"
#include "gateway/redelivery.h"
#include "mesh/base/check.h"
#include "mesh/base/mem.h"

#include <stdio.h>

static bool is_page(const struct session_request *request)
{
    enum message_number number = request->request.answer_number;
    return number != MSG_RESULT && number != MSG_LOOKED;
}

void session_request_add(struct session *session, struct session_request *request)
{
    request->session = session;
    list_append(&session->requests, &request->in_session);
    session->request_count++;
    session->page_count += is_page(request);
}

struct session *session_request_done(struct session_request *request)
{
    struct session *session = request->session;
    if (session == NULL)
        return NULL;
    request->session = NULL;
    list_remove(&request->in_session);
    session->request_count--;
    session->page_count -= is_page(request);
    return session;
}

void session_requests_fini(struct session *session)
{
    LIST_EACH(node, &session->requests)
    {
        struct session_request *request = LIST_ENTRY(node, struct session_request, in_session);
        session_request_done(request);
        calls_forsake(&request->request);
    }
}

static char *put(char *at, struct slice bytes)
{
    if (bytes.size > 0)
        memcpy(at, bytes.base, bytes.size);
    return at + bytes.size;
}

static struct client_call *call_new(const struct client_request *request, struct slice conv)
{
    CHECK(request->id.size <= SESSION_CALL_ID_SIZE_MAX && conv.size <= LIMIT_CONV_SIZE_MAX);
    CHECK(request->cid.size <= LIMIT_CID_SIZE_MAX && request->title.size <= LIMIT_TITLE_SIZE_MAX);
    struct client_call *call = mem_zero(sizeof(*call) + request->id.size + conv.size +
                                        request->cid.size + request->title.size);
    call->type = request->type;
    call->kind = request->kind;
    call->is_making = request->type == CLIENT_CREATE ||
                      (request->type == CLIENT_SEND && request->to.base != NULL);
    call->seq = request->seq;
    call->id_size = (uint16_t)request->id.size;
    call->conv_size = (uint8_t)conv.size;
    call->cid_size = (uint8_t)request->cid.size;
    call->title_size = (uint16_t)request->title.size;
    put(put(put(put(call->text, request->id), conv), request->cid), request->title);
    return call;
}

/* ---- Failures ---- */

/* Whether the same request may be sent again. */
static bool is_passing(enum rc rc)
{
    return rc == RC_RATE_LIMITED || strcmp(rc_client_code(rc), "unavailable") == 0;
}

static void put_failure(struct session *session, struct slice id, enum rc rc, struct slice detail,
                        uint64_t retry_ms)
{
    char message[256];
    snprintf(message, sizeof(message), "%.*s", SLICE_ARGS(detail));
    session_put_error(session, id, rc, detail.size > 0 ? message : NULL, retry_ms);
}

void session_call_fail(struct session *session, const struct client_call *call, enum rc rc,
                       struct slice detail, uint64_t hint_ms)
{
    struct gateway *gateway = session->gateway;
    uint64_t retry_ms = 0;
    if (is_passing(rc) && hint_ms != 0)
        retry_ms = hint_ms;
    else if (rc == RC_RATE_LIMITED)
        retry_ms = LIMIT_RETRY_AFTER_MS;
    else if (is_passing(rc))
        retry_ms = routers_retry_ms(gateway, call->base.request.shard);
    if (call->type == CLIENT_SEND && retry_ms != 0) {
        fence_put_up(&session->fences, session_call_conv(call), session_call_cid(call),
                     call->base.request.id, rc, retry_ms, gateway_now_us(gateway));
        list_remove(&session->in_fenced); /* What waits behind it is looked at in the next turn. */
        list_append(&gateway->fenced, &session->in_fenced);
    }
    put_failure(session, session_call_id(call), rc, detail, retry_ms);
}

void session_call_refuse(struct session *session, const struct client_request *request, enum rc rc,
                         uint64_t retry_ms)
{
    put_failure(session, request->id, rc, (struct slice){0}, retry_ms);
}

void session_refuse_fenced(struct session *session)
{
    struct gateway *gateway = session->gateway;
    LIST_EACH(node, &session->requests)
    {
        if (session->state == SESSION_CLOSED)
            return; /* Its client would not read; the list is gone. */
        struct client_call *call = LIST_ENTRY(node, struct client_call, base.in_session);
        struct request *request = &call->base.request;
        enum rc rc;
        if (request->answer_number == MSG_RESULT && calls_is_waiting(request) &&
            call->type == CLIENT_SEND &&
            (rc = fence_look(&session->fences, session_call_conv(call), request->id)) != RC_OK)
            calls_fail(gateway, request, rc);
    }
}

/* ---- On its way ---- */

/* The entry that the answer tells the client of is its own. Where a change was nothing new, its
 * entry may be another device's. */
static bool is_of_own_entry(const struct client_call *call, const struct msg_result *result)
{
    switch (call->type) {
    case CLIENT_SEND:
        return result->seq != 0;
    case CLIENT_EDIT:
    case CLIENT_DELETE:
    case CLIENT_REACT:
        return result->seq != 0 && result->dup == 0;
    default:
        return false;
    }
}

/* What every answer means here, before the client is told of it. */
static void on_answered(struct gateway *gateway, struct request *request, enum rc rc,
                        const void *data)
{
    struct client_call *call = (struct client_call *)request;
    struct session *session = call->base.session;
    if (session != NULL && rc == RC_OK && is_of_own_entry(call, data))
        redelivery_on_sent(session, session_call_conv(call),
                           ((const struct msg_result *)data)->seq);
    call->on_done(gateway, request, rc, data);
}

struct client_call *session_call_begin(struct session *session,
                                       const struct client_request *request, struct slice conv,
                                       enum message_number answer_number,
                                       void (*on_done)(struct gateway *, struct request *, enum rc,
                                                       const void *))
{
    struct gateway *gateway = session->gateway;
    uint32_t shard;
    uint64_t retry_ms = LIMIT_RETRY_AFTER_MS;
    enum rc rc = routers_conv_shard(gateway, conv, &shard);
    if (rc == RC_OK && session->request_count >= LIMIT_REQUESTS_IN_FLIGHT)
        rc = RC_RATE_LIMITED;
    if (rc == RC_OK && request->type == CLIENT_SEND) {
        rc = fence_check(&session->fences, conv, request->cid, gateway_now_us(gateway));
        if (rc != RC_OK && rc != RC_RATE_LIMITED)
            retry_ms = routers_retry_ms(gateway, shard);
    }
    if (rc != RC_OK && request->type == CLIENT_SEND)
        fence_put_up(&session->fences, conv, request->cid, calls_next_id(gateway), rc, retry_ms,
                     gateway_now_us(gateway));
    if (rc != RC_OK) {
        session_call_refuse(session, request, rc, retry_ms);
        return NULL;
    }
    struct client_call *call = call_new(request, conv);
    call->base.request.id = calls_next_id(gateway);
    call->base.request.shard = shard;
    call->base.request.answer_number = answer_number;
    call->base.request.on_done = on_answered;
    call->on_done = on_done;
    call->base.request.may_wait = true;
    return call;
}

void session_call_send(struct session *session, struct client_call *call,
                       const struct record_desc *desc, const void *message,
                       enum request_repeat repeat)
{
    call->base.request.repeat = (uint8_t)repeat;
    enum rc rc = calls_send(session->gateway, &call->base.request, desc, message);
    if (rc == RC_OK) {
        session_request_add(session, &call->base);
        return;
    }
    session_call_fail(session, call, rc, (struct slice){0}, 0);
    mem_free(call);
}
