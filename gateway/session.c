#include "gateway/session.h"

#include "gateway/fence.h"
#include "gateway/left.h"
#include "gateway/pair.h"
#include "gateway/proof.h"
#include "gateway/redelivery.h"
#include "mesh/base/check.h"
#include "mesh/base/mem.h"
#include "mesh/base/metrics.h"
#include "mesh/wire/key.h"

/* A refused session tries again after this, and up to as much more, so that not all come at once.
 */
#define RETRY_US 250000u

/* So many users asked about count as one frame more: each is a read of his leader's. */
#define USERS_PER_FRAME 16u

/* ---- Timer ---- */

void session_wake_by(struct session *session, uint64_t due_us)
{
    bool is_sooner = !wheel_is_set(&session->timer) || wheel_timer_due_us(&session->timer) > due_us;
    if (due_us != ENV_NEVER && is_sooner)
        wheel_set(&session->gateway->wheel, &session->timer, due_us);
}

static uint64_t ms_after(uint64_t since_us, uint64_t ms)
{
    return since_us + ms * 1000;
}

/* For how long its token is still good. By the wall clock, which may be set at any time: the timer
 * comes at every ping, and asks again. */
static uint64_t token_left_s(const struct session *session)
{
    uint64_t now_s = env_wall_ms(session->gateway->env) / 1000;
    return session->expires_s > now_s ? session->expires_s - now_s : 0;
}

/* ENV_NEVER: not before the next ping. */
static uint64_t token_due_us(const struct session *session)
{
    uint64_t left_s = session->user != NULL ? token_left_s(session) : UINT64_MAX;
    if (left_s > session->gateway->options.ping_ms / 1000)
        return ENV_NEVER;
    return ms_after(gateway_now_us(session->gateway), left_s * 1000);
}

void session_set_expiry(struct session *session, uint64_t expires_s)
{
    session->expires_s = expires_s;
    session_wake_by(session, token_due_us(session));
}

/* The earliest time at which session_on_timer() would do something. */
static uint64_t due_us_of(const struct session *session)
{
    const struct gateway_options *options = &session->gateway->options;
    uint64_t alive_us =
        session->heard_us > session->pinged_us ? session->heard_us : session->pinged_us;
    uint64_t due[] = {
        ms_after(session->heard_us, options->idle_ms),
        ms_after(alive_us, options->ping_ms),
        receipts_due_us(session),
        redelivery_due_us(session),
        proof_due_us(session),
        session->state == SESSION_NEW ? ms_after(session->accepted_us, options->connect_ms)
                                      : ENV_NEVER,
        session->state == SESSION_GREETED ? ms_after(session->accepted_us, SESSION_CONNECT_WAIT_MS)
                                          : ENV_NEVER,
        session_stall_due_us(session),
        token_due_us(session),
        session->drain_us != 0 ? session->drain_us : ENV_NEVER,
    };
    uint64_t least = ENV_NEVER;
    for (size_t i = 0; i < sizeof(due) / sizeof(due[0]); i++)
        least = due[i] < least ? due[i] : least;
    return least;
}

/* Close what has waited too long. False: it is closed. */
static bool is_in_time(struct session *session, uint64_t now_us)
{
    const struct gateway_options *options = &session->gateway->options;
    if (session->drain_us != 0 && now_us >= session->drain_us)
        session_close(session, CLOSE_RESTART, "the gateway restarts");
    else if (session->state == SESSION_NEW &&
             now_us >= ms_after(session->accepted_us, options->connect_ms))
        session_close(session, CLOSE_TOKEN, "connect did not come");
    else if (session_is_stalled(session, now_us))
        session_close(session, CLOSE_SLOW, "nothing was read for too long");
    else if (now_us >= ms_after(session->heard_us, options->idle_ms))
        session_close(session, CLOSE_UNRESPONSIVE, "no sign of life");
    else if (session->user != NULL && token_left_s(session) == 0)
        session_close(session, CLOSE_TOKEN, "the token has expired");
    return session->state != SESSION_CLOSED;
}

void session_on_timer(struct session *session)
{
    /* Not empty: libwebsockets 4.1 does not tell of a pong without payload. */
    static const uint8_t ping[3] = {0x89, 0x01, 'p'};
    const struct gateway_options *options = &session->gateway->options;
    uint64_t now_us = gateway_now_us(session->gateway);
    if (session->state == SESSION_CLOSED || !is_in_time(session, now_us))
        return;
    if (session->state == SESSION_GREETED &&
        now_us >= ms_after(session->accepted_us, SESSION_CONNECT_WAIT_MS))
        session_resume(session, NULL);
    if (session->state == SESSION_CLOSED)
        return;
    receipts_flush(session, now_us);
    redelivery_flush(session, now_us);
    if (session->state == SESSION_CLOSED)
        return;
    proof_flush(session, now_us);
    if (now_us >= ms_after(session->heard_us, options->ping_ms) &&
        now_us >= ms_after(session->pinged_us, options->ping_ms)) {
        session->pinged_us = now_us;
        /* A client that does not read sees no ping either; the stall is judged elsewhere. */
        if (!session->link->ops->is_blocked(session->link))
            (void)session->link->ops->write(session->link, ping, sizeof(ping));
    }
    session_wake_by(session, due_us_of(session));
}

/* ---- Catching up ---- */

void session_make_ready(struct session *session)
{
    list_remove(&session->in_ready);
    if (gateway_now_us(session->gateway) < session->retry_us)
        list_append(&session->gateway->waiting, &session->in_ready);
    else
        list_append(&session->gateway->ready, &session->in_ready);
}

void session_delay_retry(struct session *session)
{
    struct env *env = session->gateway->env;
    session->retry_us = env_now_us(env) + RETRY_US + env_random(env) % RETRY_US;
}

/* ---- Coming in ---- */

struct session *gateway_accept(struct gateway *gateway, struct link *link,
                               const struct auth_identity *identity, struct slice device,
                               bool batch)
{
    struct session *session = mem_new(struct session);
    uint64_t now_us = gateway_now_us(gateway);
    session->gateway = gateway;
    session->link = link;
    session->batch = batch;
    session->id = env_random(gateway->env);
    session->accepted_us = session->heard_us = session->pinged_us = session->second_us = now_us;
    struct list *lists[] = {&session->in_user,   &session->in_dirty,  &session->in_ready,
                            &session->in_fenced, &session->pairs,     &session->waiting,
                            &session->requests,  &session->receipts,  &session->left,
                            &session->unacked,   &session->proofs,    &session->fences,
                            &session->typing,    &session->interests, &session->queries,
                            &session->listings,  &session->early};
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
        list_init(lists[i]);
    wheel_timer_init(&session->timer);
    outbox_init(&session->outbox);
    list_append(&gateway->sessions, &session->node);
    gateway->session_count++;
    metric_set(connections_active, gateway->session_count);
    if (gateway->is_draining)
        session_close(session, CLOSE_RESTART, "the gateway restarts");
    else if (gateway->options.connections_max != 0 &&
             gateway->session_count > gateway->options.connections_max)
        session_close(session, CLOSE_TOO_MANY, "too many connections to this gateway");
    else if (identity == NULL && device.base != NULL && !key_device_is_valid(device))
        session_close(session, CLOSE_PROTOCOL, "device must be 1 to 64 bytes");
    else if (identity == NULL && device.base != NULL)
        session->device = mem_string(device.base, device.size); /* For when connect comes. */
    else if (identity != NULL && session_identify(session, identity, device))
        session_welcome(session, (struct slice){0});
    if (session->state != SESSION_CLOSED)
        session_wake_by(session, due_us_of(session));
    return session;
}

static void on_malformed(struct session *session, struct slice id, const char *reason)
{
    metric_add(frames_bad_total, 1);
    session_put_error(session, id, RC_BAD_REQUEST, reason, 0);
    if (session->state != SESSION_CLOSED && ++session->bad_frames >= LIMIT_BAD_FRAMES_MAX)
        session_close(session, CLOSE_PROTOCOL, "too many malformed frames");
}

/* Count a frame. How long to wait where there was too much this second, else 0. */
static uint64_t rate_ms(struct session *session, uint64_t now_us, uint32_t size)
{
    const struct gateway_options *options = &session->gateway->options;
    if (now_us >= session->second_us + 1000000) {
        session->second_us = now_us;
        session->frames = 0;
        session->bytes = 0;
    }
    session->frames++;
    session->bytes = size < UINT32_MAX - session->bytes ? session->bytes + size : UINT32_MAX;
    if ((options->frames_per_second_max == 0 ||
         session->frames <= options->frames_per_second_max) &&
        (options->bytes_per_second_max == 0 || session->bytes <= options->bytes_per_second_max))
        return 0;
    return 1000 - (now_us - session->second_us) / 1000;
}

void session_on_frame(struct session *session, struct slice text)
{
    if (session->state == SESSION_CLOSED)
        return;
    struct gateway *gateway = session->gateway;
    uint64_t now_us = gateway_now_us(gateway);
    session->heard_us = now_us;
    metric_add(frames_in_total, 1);
    metric_add(bytes_in_total, text.size);
    uint64_t retry_ms = rate_ms(session, now_us, (uint32_t)text.size);
    struct client_request request = {0};
    const char *reason = NULL;
    enum rc rc = client_decode(&gateway->decoder, text, &request, &reason);
    bool asks_of_users = request.type == CLIENT_PRESENCE || request.type == CLIENT_WATCH ||
                         request.type == CLIENT_UNWATCH;
    if (rc == RC_OK && asks_of_users)
        session->frames += request.user_count / USERS_PER_FRAME;
    if (retry_ms != 0) {
        if (rc == RC_OK && request.type == CLIENT_SEND)
            session_refuse_send(session, &request, retry_ms);
        else
            session_put_error(session, request.id, RC_RATE_LIMITED, NULL, retry_ms);
        return;
    }
    if (rc == RC_BAD_REQUEST) {
        on_malformed(session, request.id, reason);
        return;
    }
    session->bad_frames = 0;
    if (rc != RC_OK)
        session_put_error(session, request.id, rc, reason, 0);
    else
        session_on_request(session, &request);
}

void session_on_bad(struct session *session)
{
    if (session->state == SESSION_CLOSED)
        return;
    session->heard_us = gateway_now_us(session->gateway);
    on_malformed(session, (struct slice){0}, "frames must be text");
}

void session_on_pong(struct session *session, struct slice payload)
{
    session->heard_us = gateway_now_us(session->gateway);
    if (session->state != SESSION_CLOSED)
        proof_on_pong(session, payload);
}

/* ---- The end ---- */

void session_drain(struct session *session, uint32_t after_ms)
{
    if (session->state == SESSION_CLOSED)
        return;
    buf_clear(session->gateway->text);
    client_put_server_restart(session->gateway->text, after_ms);
    session_put(session);
    if (session->state == SESSION_CLOSED)
        return;
    session->drain_us = ms_after(gateway_now_us(session->gateway), after_ms);
    session_wake_by(session, session->drain_us);
}

/* Leave everything that knows of this session, except the list of those whose link is there. */
static void detach(struct session *session)
{
    if (session->state == SESSION_CLOSED)
        return;
    receipts_fini(session);
    if (session->state == SESSION_OPEN)
        metric_add(sessions_open, -1);
    session->state = SESSION_CLOSED;
    metric_add(sessions_closed_total, 1);
    session_resume_fini(session);
    session_requests_fini(session);
    session_typing_fini(session);
    presence_leave(session);
    session_presence_leave(session);
    session_list_leave(session);
    outbox_fini(&session->outbox);
    struct list *lists[2] = {&session->pairs, &session->waiting};
    for (size_t i = 0; i < 2; i++)
        LIST_EACH(node, lists[i])
    pair_drop(LIST_ENTRY(node, struct pair, in_session));
    if (session->user != NULL)
        users_remove(session->gateway, session);
    wheel_cancel(&session->timer);
    list_remove(&session->in_dirty);
    list_remove(&session->in_ready);
    list_remove(&session->in_fenced);
}

void session_close(struct session *session, enum session_close code, const char *reason)
{
    if (session->state == SESSION_CLOSED)
        return;
    session_flush(session);
    session->link->ops->close(session->link, code, reason);
    detach(session);
}

void session_on_closed(struct session **session)
{
    struct session *taken = *session;
    *session = NULL;
    struct gateway *gateway = taken->gateway;
    detach(taken);
    taken->link = NULL;
    list_remove(&taken->node);
    list_append(&gateway->dead, &taken->node);
    gateway->session_count--;
    metric_set(connections_active, gateway->session_count);
}

void session_free(struct session *session)
{
    CHECK(session->state == SESSION_CLOSED && session->user == NULL);
    list_remove(&session->node);
    left_forget_all(session);
    redelivery_fini(session);
    fence_fini(&session->fences);
    mem_free(session->device);
    mem_free(session);
}
