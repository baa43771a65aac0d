/* edge: requests over real sockets, well-formed and hostile. */
#include "edge_world.h"

#include <stdlib.h>

/* One request on a connection of its own; true where the answer has this status and the connection
 * ends or stays as it should. */
static void expect_answer(const char *request, unsigned status, bool ends)
{
    char line[32];
    snprintf(line, sizeof(line), "HTTP/1.1 %u ", status);
    struct client client;
    client_connect(&client);
    client_send_text(&client, request);
    WORLD_UNTIL(client_has_text(&client, "\r\n\r\n"));
    if (!client_has_text(&client, line))
        fail_msg("not %u: %.*s", status, (int)client.in->size, (char *)client.in->bytes);
    if (ends) {
        assert_true(client_has_text(&client, "Connection: close\r\n"));
        WORLD_UNTIL(client_has_ended(&client));
    } else {
        world_run(10);
        assert_false(client_has_ended(&client));
    }
    assert_int_equal(world.session_count, 0);
    client_end(&client);
}

/* No answer at all: the connection just ends, and nothing has been upgraded. */
static void expect_hangup(const void *bytes, size_t size)
{
    struct client client;
    client_connect(&client);
    client_send(&client, bytes, size);
    WORLD_UNTIL(client_has_ended(&client));
    assert_false(client_has_text(&client, "HTTP/1.1 101"));
    assert_int_equal(world.session_count, 0);
    client_end(&client);
}

/* Each path answers as http.c says. */
static void every_path_answers(void **state)
{
    (void)state;
    expect_answer("GET /health HTTP/1.1\r\nHost: x\r\n\r\n", 200, false);
    expect_answer("HEAD /health HTTP/1.1\r\nHost: x\r\n\r\n", 200, false);
    expect_answer("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", 200, false);
    expect_answer("GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n", 404, true);
    expect_answer("GET /ws HTTP/1.1\r\nHost: x\r\n\r\n", 426, true);
    expect_answer("DELETE /health HTTP/1.1\r\nHost: x\r\n\r\n", 405, true);
    expect_answer("PUT /health HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", 405, true);
    expect_answer("GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n", 404, true);
    expect_answer("GET /%2e%2e/etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n", 404, true);
}

/* However it goes: a client would take a body for the next response. */
static void to_head_nothing_is_said_in_a_body(void **state)
{
    (void)state;
    struct buf *flood = buf_new(0);
    buf_append_string(flood, "HEAD / HTTP/1.1\r\nHost: x\r\nX: ");
    while (flood->size < 9000)
        buf_append_byte(flood, 'x');
    buf_append_byte(flood, '\0');
    const char *const requests[] = {
        "HEAD / HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999\r\n\r\n",
        "HEAD /v1/x HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999\r\n\r\n",
        "HEAD / HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n",
        "HEAD / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: x\r\n\r\n",
        "HEAD / HTTP/1.1\r\nHost: x\r\nExpect: x\r\n\r\n",
        "HEAD /%zz HTTP/1.1\r\nHost: x\r\n\r\n",
        "HEAD / HTTP/1.1\r\n\r\n",
        "HEAD / HTTP/1.1\r\nHost: a b\r\n\r\n",
        "HEAD / HTTP/1.1\n",
        "HEAD / HTTP/2.0\r\n\r\n",
        "HEAD /ws HTTP/1.1\r\n" WS_HEADERS "\r\n",
        "HEAD /other HTTP/1.1\r\n" WS_HEADERS "\r\n",
        "HEAD /v1/dev/token HTTP/1.1\r\nHost: x\r\n\r\n",
        (const char *)flood->bytes,
    };
    for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
        struct client client;
        client_connect(&client);
        client_send_text(&client, requests[i]);
        WORLD_UNTIL(client_has_ended(&client));
        const char *end = memmem(client.in->bytes, client.in->size, "\r\n\r\n", 4);
        if (end == NULL || end + 4 != (const char *)client.in->bytes + client.in->size)
            fail_msg("%.40s: %.*s", requests[i], (int)client.in->size, (char *)client.in->bytes);
        assert_true(client_has_text(&client, "\r\nDate: "));
        client_end(&client);
    }
    buf_unref(&flood);
}

/* After a body, as old clients do, or before the first request. */
static void one_empty_line_is_overlooked(void **state)
{
    (void)state;
    struct client client;
    client_connect(&client);
    client_send_text(&client,
                     "\r\nPOST /v1/dev/token HTTP/1.1\r\nHost: x\r\nContent-Length: 16\r\n\r\n"
                     "{\"user\":\"alice\"}\r\n");
    WORLD_UNTIL(client_has_text(&client, "{\"token\":\"ey"));
    world_run(20);
    assert_false(client_has_ended(&client));
    client_send_text(&client, "GET /health HTTP/1.1\r\nHost: x\r\n\r\n");
    WORLD_UNTIL(client_has_text(&client, "\"status\":\"UP\""));
    client_end(&client);
    client_connect(&client);
    client_send_text(&client, "\r\nGET /ws HTTP/1.1\r\n" WS_HEADERS "\r\n");
    WORLD_UNTIL(world.session_count == 1);
    client_end(&client);
}

/* A later 1.x is served, another HTTP is told which one is. */
static void other_versions_are_505(void **state)
{
    (void)state;
    expect_answer("GET /health HTTP/1.2\r\nHost: x\r\n\r\n", 200, false);
    expect_answer("GET /health HTTP/2.0\r\nHost: x\r\n\r\n", 505, true);
    expect_answer("GET /health HTTP/0.9\r\n\r\n", 505, true);
}

/* Several requests on one connection, and in one packet, each get their answer in turn. */
static void requests_may_be_pipelined(void **state)
{
    (void)state;
    struct client client;
    client_connect(&client);
    client_send_text(&client, "GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
                              "GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
                              "GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n");
    WORLD_UNTIL(client_has_ended(&client));
    unsigned answers = 0;
    *buf_reserve(client.in, 1) = '\0';
    for (const char *at = (char *)client.in->bytes; (at = strstr(at, "HTTP/1.1 ")) != NULL; at++)
        answers++;
    assert_int_equal(answers, 3);
    client_end(&client);
}

/* A large answer arrives whole though the client reads slowly. */
static void a_large_answer_arrives_whole(void **state)
{
    (void)state;
    struct client client;
    client_connect(&client);
    int size = 2048;
    setsockopt(client.fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
    client_send_text(&client, "GET /metrics HTTP/1.0\r\n\r\n");
    world_run(20);
    WORLD_UNTIL(client_has_ended(&client));
    *buf_reserve(client.in, 1) = '\0';
    const char *text = (const char *)client.in->bytes;
    const char *length = strstr(text, "Content-Length: ");
    assert_non_null(length);
    const char *body = strstr(text, "\r\n\r\n") + 4;
    assert_int_equal(strlen(body), atoi(length + strlen("Content-Length: ")));
    client_end(&client);
}

/* In one packet, byte by byte, and with an empty body. */
static void a_development_token_can_be_had(void **state)
{
    (void)state;
    static const char request[] = "POST /v1/dev/token HTTP/1.1\r\nHost: x\r\n"
                                  "Content-Type: application/json\r\nContent-Length: 16\r\n\r\n"
                                  "{\"user\":\"alice\"}";
    expect_answer(request, 200, false);
    struct client client;
    client_connect(&client);
    for (size_t i = 0; i < sizeof(request) - 1; i++)
        client_send(&client, request + i, 1);
    WORLD_UNTIL(client_has_text(&client, "{\"token\":\"ey"));
    client_send_text(&client, "GET /health HTTP/1.1\r\nHost: x\r\n\r\n");
    WORLD_UNTIL(client_has_text(&client, "\"status\":\"UP\""));
    client_end(&client);
    expect_answer("POST /v1/dev/token HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", 400, true);
}

/* Every way to be unclear about a body. */
static void unclear_bodies_are_refused(void **state)
{
    (void)state;
#define POST "POST /v1/dev/token HTTP/1.1\r\nHost: x\r\n"
    expect_answer(POST "\r\n", 400, true); /* There is none: no JSON. */
    expect_answer(POST "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", 400, true);
    expect_answer(POST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400, true);
    expect_answer(POST "Transfer-Encoding: gzip, chunked\r\n\r\n", 400, true);
    expect_answer("POST /v1/dev/token HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400, true);
    expect_answer(POST "Content-Length: 4097\r\n\r\n", 413, true);
    expect_answer(POST "Content-Length: -1\r\n\r\n", 400, true);
    expect_answer(POST "Content-Length: 5\r\nContent-Length: 6\r\n\r\n", 400, true);
    expect_answer("GET /health HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n", 413,
                  true);
#undef POST
}

static int setup_plain(void **state)
{
    (void)state;
    struct edge_options options = world_options();
    world_start(&options);
    return 0;
}

/* Outside dev mode the path does not exist. */
static void without_dev_mode_there_is_no_token(void **state)
{
    (void)state;
    world.api_refusal = 404; /* It is a path like any other. */
    expect_answer("POST /v1/dev/token HTTP/1.1\r\nHost: x\r\nContent-Length: 16\r\n\r\n"
                  "{\"user\":\"alice\"}",
                  404, true);
}

/* The answer comes instead of the upgrade. */
static void a_bad_token_or_origin_is_not_upgraded(void **state)
{
    (void)state;
    expect_answer("GET /ws?token=bad HTTP/1.1\r\n" WS_HEADERS "\r\n", 401, true);
    expect_answer("GET /ws HTTP/1.1\r\n" WS_HEADERS "Authorization: Bearer bad\r\n\r\n", 401, true);
    expect_answer("GET /ws HTTP/1.1\r\n" WS_HEADERS "Origin: http://evil.example\r\n\r\n", 403,
                  true);
    expect_answer("GET /ws?device=%ff HTTP/1.1\r\n" WS_HEADERS "\r\n", 400, true);
    expect_answer("GET /chat HTTP/1.1\r\n" WS_HEADERS "\r\n", 404, true);
    expect_answer("GET /ws?device=a&device=b HTTP/1.1\r\n" WS_HEADERS "\r\n", 400, true);
}

/* A page of another site can put a line feed into the address; libwebsockets would then read a
 * header that the page chose. */
static void an_origin_smuggled_into_the_address_does_not_help(void **state)
{
    (void)state;
    expect_answer("GET /ws?%0aorigin:http://127.0.0.1%0d%0ax: HTTP/1.1\r\n" WS_HEADERS
                  "Origin: http://evil.example\r\n\r\n",
                  400, true);
}

/* The page's own site may. */
static void the_sites_own_origin_is_upgraded(void **state)
{
    (void)state;
    struct client client;
    client_connect(&client);
    client_send_text(&client, "GET /ws HTTP/1.1\r\n" WS_HEADERS "Origin: http://127.0.0.1\r\n\r\n");
    WORLD_UNTIL(world.session_count == 1);
    client_end(&client);
}

/* The host that is asked is the one in the address, for the Origin as well. */
static void an_address_may_be_absolute(void **state)
{
    (void)state;
    expect_answer("GET http://chat.example/health HTTP/1.1\r\nHost: x\r\n\r\n", 200, false);
    expect_answer("GET http://evil.example/ws HTTP/1.1\r\n" WS_HEADERS
                  "Origin: http://127.0.0.1\r\n\r\n",
                  403, true);
    struct client client;
    client_connect(&client);
    client_send_text(&client, "GET http://chat.example/ws?device=d HTTP/1.1\r\n" WS_HEADERS
                              "Origin: http://chat.example\r\n\r\n");
    WORLD_UNTIL(world.session_count == 1);
    assert_string_equal(world.sessions[0]->device, "d");
    client_end(&client);
}

/* Into HTTP/2 by either door: known holes lie behind it. */
static void http2_is_refused(void **state)
{
    (void)state;
    expect_answer(
        "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
        "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n",
        426, true);
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0";
    expect_hangup(preface, sizeof(preface) - 1);
}

/* CVE-2025-11677: an upgrade to something else, with and without more behind it. */
static void other_upgrades_are_refused(void **state)
{
    (void)state;
    static const char *const values[] = {"foo", "websocketx", "websocket, h2c", "h2c, websocket",
                                         "TLS/1.0"};
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        char request[512];
        snprintf(request, sizeof(request),
                 "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: %s\r\n"
                 "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
                 "GET /health HTTP/1.1\r\nHost: x\r\n\r\n",
                 values[i]);
        expect_answer(request, 426, true);
    }
}

/* No tunnels, no gibberish, no TLS on the plain port, no endless headers. */
static void what_is_no_request_is_hung_up_on(void **state)
{
    (void)state;
    expect_answer("CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n", 400, true);
    static const char gibberish[] = "\x01\x02\x03\x04 nonsense\r\n\r\n";
    expect_hangup(gibberish, sizeof(gibberish) - 1);
    static const char hello[] = "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    expect_hangup(hello, sizeof(hello) - 1);
    struct buf *flood = buf_new(0);
    buf_append_string(flood, "GET /health HTTP/1.1\r\nHost: x\r\n");
    while (flood->size < 20000)
        buf_append_format(flood, "X-%zu: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n",
                          flood->size);
    buf_append_byte(flood, '\0');
    expect_answer((const char *)flood->bytes, 431, true);
    buf_unref(&flood);
}

/* An upgrade without a key, or with Connection: close, or with another version. */
static void half_an_upgrade_is_none(void **state)
{
    (void)state;
    expect_answer("GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n"
                  "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n",
                  400, true);
    expect_answer("GET /ws HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                  "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n",
                  400, true);
    expect_answer("GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
                  426, true);
}

/* An upgrade as the second request of a connection is as good as as the first. */
static void an_upgrade_may_follow_a_request(void **state)
{
    (void)state;
    struct client client;
    client_connect(&client);
    client_send_text(&client, "GET /health HTTP/1.1\r\nHost: x\r\n\r\n");
    WORLD_UNTIL(client_has_text(&client, "\"status\":\"UP\""));
    client_send_text(&client, "GET /ws HTTP/1.1\r\n" WS_HEADERS "\r\n");
    WORLD_UNTIL(world.session_count == 1);
    client_send_frame(&client, 0x81, "hello", 5);
    WORLD_UNTIL(world.sessions[0]->frames == 1);
    client_end(&client);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)

/* ---- The API ---- */

#define BEARER "Host: x\r\nAuthorization: Bearer k\r\n"

static unsigned count_answers(struct client *client, const char *line)
{
    unsigned count = 0;
    client_read(client);
    *buf_reserve(client->in, 1) = '\0';
    for (const char *at = (char *)client->in->bytes; (at = strstr(at, line)) != NULL; at++)
        count++;
    return count;
}

static void set_due(uv_timer_t *timer)
{
    *(bool *)timer->data = true;
}

/* The answer comes when it comes; until then nothing is said, and then the connection goes on. */
static void an_answer_may_come_later(void **state)
{
    (void)state;
    struct client client;
    client_connect(&client);
    for (unsigned i = 0; i < 3; i++) {
        client_send_text(&client, "GET /v1/users/u/presence HTTP/1.1\r\n" BEARER "\r\n");
        WORLD_UNTIL(world.call_count == i + 1);
        world_run(20);
        assert_int_equal(client.in->size, 0);
        world_answer(&world.calls[i], 200, "{\"status\":\"online\"}");
        WORLD_UNTIL(client_has_text(&client, "\r\n\r\n{\"status\":\"online\"}"));
        assert_true(client_has_text(&client, "HTTP/1.1 200 OK\r\n"));
        assert_false(client_has_text(&client, "Connection: close"));
        buf_clear(client.in);
    }
    client_send_text(&client, "GET /health HTTP/1.1\r\nHost: x\r\n\r\n");
    WORLD_UNTIL(client_has_text(&client, "\"status\":\"UP\""));
    client_end(&client);
}

/* Also one that is there before the request has been handed over. */
static void an_answer_may_come_at_once(void **state)
{
    (void)state;
    world.answers_at_once = true;
    expect_answer("GET /v1/users/u/presence HTTP/1.1\r\n" BEARER "\r\n", 200, false);
    expect_answer("POST /v1/presence HTTP/1.1\r\n" BEARER "Content-Length: 2\r\n\r\n{}", 200,
                  false);
    expect_answer("POST /v1/users/u/disconnect HTTP/1.1\r\n" BEARER "Content-Length: 0\r\n\r\n",
                  200, false);
    expect_answer("PATCH /v1/conversations/c HTTP/1.1\r\n" BEARER "Content-Length: 0\r\n\r\n", 200,
                  false);
    expect_answer("DELETE /v1/users/u HTTP/1.1\r\n" BEARER "\r\n", 200, false);
}

/* Of every request of a connection the API sees the address that was sent: in one segment, in many,
 * pipelined or after another. */
static void addresses_reach_the_api_as_they_were_sent(void **state)
{
    (void)state;
    static const char *const paths[] = {
        "/v1/c/t1/members/..%2F..%2Ft2", "/v1/c/t1/members/..", "/v1/users/a%2Fb", "/v1/users//a",
        "/v1/c/t1/members/%2e%2e",       "/v1/users/./x/../y",  "/v1/users/x+y;z"};
    world.api_refusal = 404;
    struct client client;
    client_connect(&client);
    for (size_t round = 0; round < 3; round++)
        for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
            char request[256];
            snprintf(request, sizeof(request), "DELETE %s HTTP/1.1\r\n" BEARER "\r\n", paths[i]);
            size_t piece = round == 0 ? strlen(request) : round;
            for (size_t at = 0; at < strlen(request); at += piece) {
                size_t left = strlen(request) - at;
                client_send(&client, request + at, left < piece ? left : piece);
                world_turn();
            }
            WORLD_UNTIL(client_has_text(&client, "{\"error\":{}}"));
            assert_string_equal(world.path, paths[i]);
            buf_clear(client.in);
        }
    client_send_text(&client, "GET /v1/users/a HTTP/1.1\r\n" BEARER "\r\n"
                              "GET /v1/users/b%2F..%2Fc HTTP/1.1\r\n" BEARER "\r\n");
    WORLD_UNTIL(count_answers(&client, "HTTP/1.1 404") == 2);
    assert_string_equal(world.path, "/v1/users/b%2F..%2Fc");
    client_end(&client);
}

/* An address that is broken is refused with an error like any other, on any request. */
static void a_broken_address_is_400(void **state)
{
    (void)state;
    static const char *const targets[] = {
        "/%zz", "/v1/users/%zz", "/v1/users/a%00b", "/v1/users/a%0ab", "/health?%", "/a#b"};
    for (size_t i = 0; i < sizeof(targets) / sizeof(targets[0]); i++) {
        char request[256];
        struct client client;
        client_connect(&client);
        client_send_text(&client, "GET /health HTTP/1.1\r\nHost: x\r\n\r\n");
        WORLD_UNTIL(client_has_text(&client, "UP"));
        snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\n" BEARER "\r\n", targets[i]);
        client_send_text(&client, request);
        WORLD_UNTIL(client_has_text(&client, "HTTP/1.1 400 "));
        assert_true(client_has_text(&client, "{\"error\":{\"code\":\"bad_request\","));
        WORLD_UNTIL(client_has_ended(&client));
        client_end(&client);
    }
    assert_int_equal(world.call_count, 0);
}

/* The loop rests while a head is not whole, and who goes in the middle of one is seen to go. */
static void half_a_head_keeps_nobody_awake(void **state)
{
    (void)state;
    struct client client, other;
    client_connect(&client);
    client_send_text(&client, "GET /health HTTP/1.1\r\nHost: x\r\n");
    world_run(20);
    uv_timer_t timer; /* Without a spinning socket the loop sleeps until it is due. */
    bool is_due = false;
    timer.data = &is_due;
    assert_int_equal(uv_timer_init(&world.loop, &timer), 0);
    unsigned turns = 0;
    uv_timer_start(&timer, set_due, 50, 0);
    while (!is_due && turns < 1000) {
        uv_run(&world.loop, UV_RUN_ONCE);
        turns++;
    }
    assert_true(turns < 10);
    uv_close((uv_handle_t *)&timer, NULL);
    world_turn();
    client_send_text(&client, "\r\n");
    WORLD_UNTIL(client_has_text(&client, "\"status\":\"UP\""));
    client_send_text(&client, "GET /hea");
    world_run(5);
    shutdown(client.fd, SHUT_WR);
    WORLD_UNTIL(client_has_ended(&client));
    client_end(&client);
    /* A whole one is answered though nothing follows it. */
    client_connect(&other);
    client_send_text(&other, "GET /health HTTP/1.1\r\nHost: x\r\n\r\n");
    shutdown(other.fd, SHUT_WR);
    WORLD_UNTIL(client_has_text(&other, "\"status\":\"UP\""));
    WORLD_UNTIL(client_has_ended(&other));
    client_end(&other);
}

/* An answer is not overtaken by the end of its connection, whatever is still being sent. */
static void a_refusal_arrives_though_more_is_sent(void **state)
{
    (void)state;
    struct client client;
    client_connect(&client);
    client_send_text(&client, "POST /v1/x HTTP/1.1\r\n" BEARER "Content-Length: 400000\r\n\r\n");
    char piece[4000];
    memset(piece, 'x', sizeof(piece));
    for (int i = 0; i < 100; i++)
        client_send(&client, piece, sizeof(piece));
    WORLD_UNTIL(client_has_ended(&client));
    assert_true(client_has_text(&client, "HTTP/1.1 413 "));
    client_end(&client);
}

/* Where the client asks for it, the answer is the last one. */
static void a_client_may_ask_for_the_end(void **state)
{
    (void)state;
    world.answers_at_once = true;
    expect_answer("GET /v1/users/u/presence HTTP/1.1\r\n" BEARER "Connection: close\r\n\r\n", 200,
                  true);
    struct client client;
    client_connect(&client);
    client_send_text(&client, "GET /health HTTP/1.0\r\n\r\n");
    WORLD_UNTIL(client_has_ended(&client));
    assert_true(client_has_text(&client, "UP"));
    client_end(&client);
}

/* The body arrives whole, in however many pieces it came. */
static void a_body_arrives_whole(void **state)
{
    (void)state;
    static const char *const methods[] = {"POST", "PATCH"};
    for (unsigned i = 0; i < 2; i++) {
        struct client client;
        char head[256];
        client_connect(&client);
        snprintf(head, sizeof(head),
                 "%s /v1/x HTTP/1.1\r\n" BEARER "Content-Length: 100000\r\n\r\n", methods[i]);
        client_send_text(&client, head);
        for (int piece = 0; piece < 100; piece++) {
            char bytes[1000];
            memset(bytes, 'a' + piece % 26, sizeof(bytes));
            client_send(&client, bytes, sizeof(bytes));
        }
        WORLD_UNTIL(world.call_count == i + 1 && world.calls[i].body != NULL);
        assert_int_equal(world.calls[i].body->size, 100000);
        assert_int_equal(world.calls[i].body->bytes[99999], 'a' + 99 % 26);
        world_answer(&world.calls[i], 204, NULL);
        WORLD_UNTIL(client_has_text(&client, "HTTP/1.1 204 No Content\r\n"));
        assert_false(client_has_text(&client, "Content-Length"));
        client_end(&client);
    }
}

/* A client that goes while it waits is noticed when its answer comes, and nothing dangles. */
static void a_client_may_go_before_its_answer(void **state)
{
    (void)state;
    struct client client;
    client_connect(&client);
    client_send_text(&client, "GET /v1/cluster HTTP/1.1\r\n" BEARER "\r\n");
    WORLD_UNTIL(world.call_count == 1);
    client_end(&client);
    world_run(20);
    if (!world.calls[0].is_abandoned)
        world_answer(&world.calls[0], 200, "{}");
    world_run(20);
    expect_answer("GET /health HTTP/1.1\r\nHost: x\r\n\r\n", 200, false);
}

/* Whoever still waits when the edge closes is abandoned: the teardown looks. */
static void the_edge_may_close_before_an_answer(void **state)
{
    (void)state;
    struct client client, half;
    client_connect(&client);
    client_send_text(&client, "GET /v1/cluster HTTP/1.1\r\n" BEARER "\r\n");
    client_connect(&half);
    client_send_text(&half, "POST /v1/presence HTTP/1.1\r\n" BEARER "Content-Length: 9\r\n\r\n{");
    WORLD_UNTIL(world.call_count == 2);
    client_end(&client);
    client_end(&half);
}

/* What is pipelined behind a request waits for its answer, and is not taken for its body. */
static void what_is_pipelined_waits(void **state)
{
    (void)state;
    struct client client;
    client_connect(&client);
    client_send_text(&client, "POST /v1/presence HTTP/1.1\r\n" BEARER "Content-Length: 2\r\n\r\n{}"
                              "GET /health HTTP/1.1\r\nHost: x\r\n\r\n");
    WORLD_UNTIL(world.call_count == 1 && world.calls[0].body != NULL);
    world_run(20);
    assert_int_equal(world.calls[0].body->size, 2);
    assert_int_equal(client.in->size, 0);
    world_answer(&world.calls[0], 200, "{\"first\":1}");
    WORLD_UNTIL(count_answers(&client, "HTTP/1.1 200") == 2);
    assert_true(client_has_text(&client, "{\"first\":1}"));
    assert_true(client_has_text(&client, "UP"));
    client_end(&client);
}

/* Refused before its body was read, a connection cannot go on; after a whole request it does. */
static void a_refusal_ends_the_connection_where_a_body_follows(void **state)
{
    (void)state;
    world.api_refusal = 401;
    expect_answer("GET /v1/cluster HTTP/1.1\r\n" BEARER "\r\n", 401, false);
    expect_answer("POST /v1/presence HTTP/1.1\r\n" BEARER "Content-Length: 0\r\n\r\n", 401, false);
    expect_answer("POST /v1/presence HTTP/1.1\r\n" BEARER "Content-Length: 9\r\n\r\n{", 401, true);
    expect_answer("POST /v1/presence HTTP/1.1\r\n" BEARER "\r\n", 401, true);
    assert_int_equal(world.call_count, 0);
}

/* Broken bodies, bodies where none belong and too large ones never reach the API. */
static void bad_bodies_do_not_reach_the_api(void **state)
{
    (void)state;
    expect_answer("POST /v1/x HTTP/1.1\r\n" BEARER "Transfer-Encoding: gzip\r\n\r\n", 400, true);
    expect_answer("OPTIONS /v1/x HTTP/1.1\r\n" BEARER "Transfer-Encoding: chunked\r\n\r\n", 400,
                  true);
    expect_answer("POST /v1/x HTTP/1.1\r\n" BEARER "Content-Length: 131073\r\n\r\n", 413, true);
    expect_answer("POST /v1/x HTTP/1.1\r\n" BEARER "Content-Length: -1\r\n\r\n", 400, true);
    expect_answer("OPTIONS /v1/x HTTP/1.1\r\n" BEARER "Content-Length: 1\r\n\r\n", 400, true);
    assert_int_equal(world.call_count, 0);
    world.api_refusal = 405; /* As the API does, which knows the methods of the path. */
    expect_answer("PUT /v1/x HTTP/1.1\r\n" BEARER "Content-Length: 1\r\n\r\nx", 405, true);
    assert_true(world.head.has_body);
    expect_answer("PUT /v1/x HTTP/1.1\r\n" BEARER "\r\n", 405, false);
    assert_false(world.head.has_body);
}

/* A large answer arrives whole though the client reads slowly, and the connection goes on. */
static void a_large_answer_of_the_api_arrives_whole(void **state)
{
    (void)state;
    struct client client;
    size_t size = 3000000;
    char *body = mem_alloc(size + 1);
    memset(body, 'x', size);
    body[size] = '\0';
    client_connect(&client);
    client_send_text(&client, "GET /v1/cluster HTTP/1.1\r\n" BEARER "\r\n");
    WORLD_UNTIL(world.call_count == 1);
    world_answer(&world.calls[0], 200, body);
    world_run(50);
    WORLD_UNTIL(client_has_text(&client, "\r\n\r\n") && client.in->size > size);
    buf_clear(client.in);
    client_send_text(&client, "GET /health HTTP/1.1\r\nHost: x\r\n\r\n");
    WORLD_UNTIL(client_has_text(&client, "UP"));
    mem_free(body);
    client_end(&client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_path_answers),
        TEST(to_head_nothing_is_said_in_a_body),
        TEST(one_empty_line_is_overlooked),
        TEST(other_versions_are_505),
        TEST(requests_may_be_pipelined),
        TEST(a_large_answer_arrives_whole),
        TEST(a_development_token_can_be_had),
        TEST(unclear_bodies_are_refused),
        cmocka_unit_test_setup_teardown(without_dev_mode_there_is_no_token, setup_plain,
                                        world_teardown),
        TEST(a_bad_token_or_origin_is_not_upgraded),
        TEST(an_origin_smuggled_into_the_address_does_not_help),
        TEST(the_sites_own_origin_is_upgraded),
        TEST(an_address_may_be_absolute),
        TEST(http2_is_refused),
        TEST(other_upgrades_are_refused),
        TEST(what_is_no_request_is_hung_up_on),
        TEST(half_an_upgrade_is_none),
        TEST(an_upgrade_may_follow_a_request),
        TEST(an_answer_may_come_later),
        TEST(an_answer_may_come_at_once),
        TEST(addresses_reach_the_api_as_they_were_sent),
        TEST(a_broken_address_is_400),
        TEST(half_a_head_keeps_nobody_awake),
        TEST(a_refusal_arrives_though_more_is_sent),
        TEST(a_client_may_ask_for_the_end),
        TEST(a_body_arrives_whole),
        TEST(a_client_may_go_before_its_answer),
        TEST(the_edge_may_close_before_an_answer),
        TEST(what_is_pipelined_waits),
        TEST(a_refusal_ends_the_connection_where_a_body_follows),
        TEST(bad_bodies_do_not_reach_the_api),
        TEST(a_large_answer_of_the_api_arrives_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
