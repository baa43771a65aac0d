/* edge_world - a real edge on loopback between raw client sockets and sessions that only take
 * notes.
 *
 * The sessions stand in for the core (gateway.h): what reaches them is what the edge decoded.
 * Server and clients share one thread: every wait here turns the server's loop. */
#ifndef TESTS_UNIT_GATEWAY_EDGE_WORLD_H
#define TESTS_UNIT_GATEWAY_EDGE_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sys/socket.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "gateway/api.h"
#include "gateway/edge.h"
#include "gateway/frame.h"
#include "gateway/gateway.h"
#include "mesh/base/crypto.h"
#include "mesh/base/mem.h"
#include "tests/support/query_append.h"

#define WORLD_SESSIONS_MAX 8192
#define WORLD_WAIT_MS      5000

struct session {
    struct link *link;
    struct buf *last; /* The last frame's text. */
    unsigned frames, bad, pongs, writable, closed;
    bool has_identity, batch;
    struct auth_identity identity;
    char device[LIMIT_DEVICE_SIZE_MAX + 1];
    const char *answer;      /* Sent as a frame for each that comes in. */
    unsigned close_on_frame; /* Close with this code then. */
};

/* A request to the API that the edge has passed on. */
struct api_call {
    struct buf *body; /* NULL: not started. */
    void (*on_answer)(void *context, const struct api_answer *answer);
    void *context;
    bool is_abandoned;
};

struct world {
    uv_loop_t loop;
    struct edge *edge;
    uint16_t port;
    struct auth auth;
    struct env env;
    bool is_closed;
    struct session *sessions[WORLD_SESSIONS_MAX];
    unsigned session_count;
    unsigned close_on_accept; /* Every new session closes with this code at once. */
    struct api_call calls[16];
    unsigned call_count;
    unsigned api_refusal; /* Every request to the API is refused with this status at once. */
    bool answers_at_once; /* Every request is answered before api_start() returns. */
    struct api_head head; /* Of the last one; its slices are gone, */
    char path[256];       /* but for this one. */
};

static struct world world;

/* ---- The core that takes notes ---- */

struct session *gateway_accept(struct gateway *gateway, struct link *link,
                               const struct auth_identity *identity, struct slice device,
                               bool batch)
{
    assert_null(gateway);
    assert_true(world.session_count < WORLD_SESSIONS_MAX);
    struct session *session = mem_new(struct session);
    world.sessions[world.session_count++] = session;
    session->link = link;
    session->last = buf_new(0);
    session->batch = batch;
    session->has_identity = identity != NULL;
    if (identity != NULL)
        session->identity = *identity;
    memcpy(session->device, device.base != NULL ? device.base : "", device.size);
    if (world.close_on_accept != 0)
        link->ops->close(link, world.close_on_accept, "not now");
    return session;
}

static bool session_send(struct session *session, const char *text)
{
    struct buf *frame = frame_text(slice_string(text));
    bool is_taken = session->link->ops->write(session->link, frame->bytes, frame->size);
    buf_unref(&frame);
    return is_taken;
}

void session_on_frame(struct session *session, struct slice text)
{
    assert_int_equal(session->closed, 0);
    session->frames++;
    buf_clear(session->last);
    buf_append_slice(session->last, text);
    if (session->answer != NULL)
        assert_true(session_send(session, session->answer));
    if (session->close_on_frame != 0)
        session->link->ops->close(session->link, session->close_on_frame, "enough");
}

void session_on_pong(struct session *session, struct slice payload)
{
    (void)payload;
    session->pongs++;
}

void session_on_writable(struct session *session)
{
    assert_int_equal(session->closed, 0);
    session->writable++;
}

void session_on_bad(struct session *session)
{
    session->bad++;
}

void session_on_closed(struct session **session)
{
    (*session)->closed++;
    *session = NULL;
}

struct gateway_health gateway_health(const struct gateway *gateway)
{
    (void)gateway;
    return (struct gateway_health){.up = true, .shards_total = 4, .shards_led = 4};
}

/* ---- The API that takes notes ---- */

static inline void world_answer(struct api_call *call, unsigned status, const char *body)
{
    struct api_answer answer = {.status = status};
    if (body != NULL)
        answer.body = slice_string(body);
    void (*on_answer)(void *, const struct api_answer *) = call->on_answer;
    call->on_answer = NULL;
    on_answer(call->context, &answer);
}

struct api_call *api_open(struct gateway *gateway, const struct api_head *head, struct buf *out,
                          struct api_answer *ret_answer)
{
    assert_null(gateway);
    world.head = *head;
    snprintf(world.path, sizeof(world.path), "%.*s", SLICE_ARGS(head->path));
    if (world.api_refusal != 0) {
        buf_append_string(out, "{\"error\":{}}");
        *ret_answer = (struct api_answer){.status = world.api_refusal, .body = buf_slice(out)};
        return NULL;
    }
    assert_true(world.call_count < sizeof(world.calls) / sizeof(world.calls[0]));
    struct api_call *call = &world.calls[world.call_count++];
    *call = (struct api_call){.is_abandoned = false};
    return call;
}

void api_start(struct api_call *call, struct slice body,
               void (*on_answer)(void *context, const struct api_answer *answer), void *context)
{
    assert_null(call->body);
    call->body = buf_new(0);
    buf_append_slice(call->body, body);
    call->on_answer = on_answer;
    call->context = context;
    if (world.answers_at_once)
        world_answer(call, 200, "{}");
}

void api_abandon(struct api_call **call)
{
    if (*call != NULL) {
        assert_false((*call)->is_abandoned);
        (*call)->is_abandoned = true;
    }
    *call = NULL;
}

/* ---- The world ---- */

static uint64_t world_now_us(struct env *env)
{
    (void)env;
    return uv_hrtime() / 1000;
}

static uint64_t world_wall_ms(struct env *env)
{
    (void)env;
    return (uint64_t)time(NULL) * 1000;
}

static uint64_t world_random(struct env *env)
{
    (void)env;
    return 4;
}

static void world_start(const struct edge_options *options)
{
    signal(SIGPIPE, SIG_IGN);
    crypto_start();
    memset(&world, 0, sizeof(world));
    world.env =
        (struct env){.now_us = world_now_us, .wall_ms = world_wall_ms, .random = world_random};
    struct auth_key key = {.id = "k1", .algorithm = AUTH_HS256, .size = 32, .can_sign = true};
    memset(key.bytes, 7, key.size);
    assert_int_equal(auth_add_key(&world.auth, &key), RC_OK);
    assert_int_equal(uv_loop_init(&world.loop), 0);
    char reason[EDGE_REASON_SIZE] = "";
    enum rc rc = edge_new(options, &world.loop, NULL, &world.auth, &world.env, reason, &world.edge);
    if (rc != RC_OK)
        fail_msg("%s", reason);
    world.port = edge_port(world.edge);
    assert_true(world.port > 0);
}

static struct edge_options world_options(void)
{
    struct edge_options options;
    edge_options_init(&options);
    options.node = "g1";
    options.address = "127.0.0.1";
    options.port = 0;
    options.connections_per_ip_max = 0;
    return options;
}

static int world_setup(void **state)
{
    (void)state;
    struct edge_options options = world_options();
    options.is_dev = true;
    world_start(&options);
    return 0;
}

static void world_on_closed(void *context)
{
    *(bool *)context = true;
}

/* Every session heard of its end exactly once, and the loop is empty. */
static int world_teardown(void **state)
{
    (void)state;
    edge_close(&world.edge, world_on_closed, &world.is_closed);
    uv_run(&world.loop, UV_RUN_DEFAULT);
    assert_true(world.is_closed);
    assert_int_equal(uv_loop_close(&world.loop), 0);
    for (unsigned i = 0; i < world.call_count; i++) {
        assert_true(world.calls[i].on_answer == NULL || world.calls[i].is_abandoned);
        buf_unref(&world.calls[i].body);
    }
    for (unsigned i = 0; i < world.session_count; i++) {
        assert_int_equal(world.sessions[i]->closed, 1);
        buf_unref(&world.sessions[i]->last);
        mem_free(world.sessions[i]);
    }
    return 0;
}

static void world_turn(void)
{
    uv_run(&world.loop, UV_RUN_NOWAIT);
}

static void world_run(unsigned ms)
{
    uint64_t end = uv_hrtime() + ms * UINT64_C(1000000);
    do {
        world_turn();
        usleep(500);
    } while (uv_hrtime() < end);
}

/* Turn the loop until the condition holds; the test fails where it never does. */
#define WORLD_UNTIL(condition)                                                                     \
    do {                                                                                           \
        uint64_t until_ = uv_hrtime() + WORLD_WAIT_MS * UINT64_C(1000000);                         \
        while (!(condition)) {                                                                     \
            world_turn();                                                                          \
            if (uv_hrtime() > until_)                                                              \
                fail_msg("never: %s", #condition);                                                 \
        }                                                                                          \
    } while (0)

/* ---- Clients ---- */

struct client {
    int fd;
    struct buf *in; /* What was read. */
    bool is_ended;
};

static void client_connect(struct client *client)
{
    client->in = buf_new(0);
    client->is_ended = false;
    client->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(client->fd >= 0);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(world.port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(connect(client->fd, (struct sockaddr *)&to, sizeof(to)), 0);
    assert_int_equal(fcntl(client->fd, F_SETFL, O_NONBLOCK), 0);
}

static void client_end(struct client *client)
{
    close(client->fd);
    buf_unref(&client->in);
}

static void client_send(struct client *client, const void *bytes, size_t size)
{
    const char *at = bytes;
    while (size > 0) {
        ssize_t sent = send(client->fd, at, size, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN)
            return; /* The server has closed, as some tests want. */
        world_turn();
        if (sent > 0) {
            at += sent;
            size -= (size_t)sent;
        }
    }
}

static void client_send_text(struct client *client, const char *text)
{
    client_send(client, text, strlen(text));
}

/* One look at the socket. */
static void client_read(struct client *client)
{
    world_turn();
    for (;;) {
        ssize_t size = recv(client->fd, buf_reserve(client->in, 4096), 4096, 0);
        if (size > 0) {
            client->in->size += (size_t)size;
            continue;
        }
        if (size == 0 || errno != EAGAIN)
            client->is_ended = true;
        return;
    }
}

static bool client_has(struct client *client, const void *bytes, size_t size)
{
    client_read(client);
    return memmem(client->in->bytes, client->in->size, bytes, size) != NULL;
}

static bool client_has_text(struct client *client, const char *text)
{
    return client_has(client, text, strlen(text));
}

static bool client_has_ended(struct client *client)
{
    client_read(client);
    return client->is_ended;
}

/* A close frame with this code. */
static inline bool client_has_close(struct client *client, unsigned code)
{
    client_read(client);
    const uint8_t *at = client->in->bytes;
    for (size_t i = 0; i + 4 <= client->in->size; i++)
        if (at[i] == 0x88 && at[i + 1] >= 2 && at[i + 1] < 126 && at[i + 2] == code >> 8 &&
            at[i + 3] == (code & 255))
            return true;
    return false;
}

#define WS_HEADERS                                                                                 \
    "Host: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"                             \
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"

/* Connect and upgrade; returns the session. */
static inline struct session *client_upgrade(struct client *client, const char *query)
{
    unsigned before = world.session_count;
    char request[2048];
    snprintf(request, sizeof(request), "GET /ws%s HTTP/1.1\r\n" WS_HEADERS "\r\n", query);
    client_connect(client);
    client_send_text(client, request);
    WORLD_UNTIL(world.session_count > before && client_has_text(client, "\r\n\r\n"));
    assert_true(client_has_text(client, "HTTP/1.1 101 "));
    assert_true(client_has_text(client, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")); /* RFC 6455, 1.3. */
    buf_clear(client->in);
    return world.sessions[before];
}

/* A client's frame: masked, with any first byte. */
static inline void put_frame(struct buf *out, uint8_t first, const void *payload, size_t size)
{
    static const uint8_t mask[4] = {0x12, 0x34, 0x56, 0x78};
    buf_append_byte(out, first);
    if (size < 126) {
        buf_append_byte(out, (uint8_t)(0x80 | size));
    } else if (size < 65536) {
        buf_append(out, (uint8_t[]){0xfe, (uint8_t)(size >> 8), (uint8_t)size}, 3);
    } else {
        buf_append_byte(out, 0xff);
        for (int shift = 56; shift >= 0; shift -= 8)
            buf_append_byte(out, (uint8_t)((uint64_t)size >> shift));
    }
    buf_append(out, mask, sizeof(mask));
    for (size_t i = 0; i < size; i++)
        buf_append_byte(out, ((const uint8_t *)payload)[i] ^ mask[i & 3]);
}

static inline void client_send_frame(struct client *client, uint8_t first, const void *payload,
                                     size_t size)
{
    struct buf *frame = buf_new(size + 16);
    put_frame(frame, first, payload, size);
    client_send(client, frame->bytes, frame->size);
    buf_unref(&frame);
}

#endif
