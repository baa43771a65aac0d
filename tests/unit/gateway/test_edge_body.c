/* edge: bodies of requests over real sockets: in chunks, and asked for first. */
#include "edge_world.h"

#define CHUNKED "Transfer-Encoding: chunked\r\n\r\n"
#define BEARER  "Host: x\r\nAuthorization: Bearer k\r\n"
#define POST    "POST /v1/x HTTP/1.1\r\n" BEARER
#define HEALTH  "GET /health HTTP/1.1\r\nHost: x\r\n\r\n"

static void expect_status(struct client *client, const char *line)
{
    WORLD_UNTIL(client_has_text(client, "\r\n\r\n"));
    if (!client_has_text(client, line))
        fail_msg("not %s: %.*s", line, (int)client->in->size, (char *)client->in->bytes);
}

/* Of every size of pieces the same body, and the request behind it is answered as well. */
static void a_body_in_chunks_arrives_whole(void **state)
{
    (void)state;
    static const char request[] =
        POST CHUNKED "2\r\n{\"\r\n5;x=y\r\na\":1}\r\n0\r\nA: b\r\n\r\n" HEALTH;
    static const size_t pieces[] = {sizeof(request), 1, 2, 7, 50, 100};
    for (unsigned i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
        struct client client;
        client_connect(&client);
        for (size_t at = 0; at < sizeof(request) - 1; at += pieces[i]) {
            size_t left = sizeof(request) - 1 - at;
            client_send(&client, request + at, left < pieces[i] ? left : pieces[i]);
            world_turn();
        }
        WORLD_UNTIL(world.call_count == i + 1 && world.calls[i].body != NULL);
        assert_true(slice_equals(buf_slice(world.calls[i].body), "{\"a\":1}"));
        assert_true(world.head.has_body);
        world_run(5);
        assert_int_equal(client.in->size, 0);
        world_answer(&world.calls[i], 200, "{}");
        WORLD_UNTIL(client_has_text(&client, "\"status\":\"UP\""));
        client_end(&client);
    }
}

/* Up to the limit of any body, in many chunks or in one. */
static void a_large_body_in_chunks_arrives_whole(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        size_t chunk = i == 0 ? 1 : 131072;
        struct buf *request = buf_new(1000000);
        buf_append_string(request, POST CHUNKED);
        for (size_t at = 0; at < 131072; at += chunk) {
            buf_append_format(request, "%zx\r\n", chunk);
            for (size_t j = 0; j < chunk; j++)
                buf_append_byte(request, (uint8_t)('a' + (at + j) % 26));
            buf_append_string(request, "\r\n");
        }
        buf_append_string(request, "0\r\n\r\n");
        struct client client;
        client_connect(&client);
        client_send(&client, request->bytes, request->size);
        WORLD_UNTIL(world.call_count == i + 1 && world.calls[i].body != NULL);
        assert_int_equal(world.calls[i].body->size, 131072);
        assert_int_equal(world.calls[i].body->bytes[131071], 'a' + 131071 % 26);
        world_answer(&world.calls[i], 204, NULL);
        expect_status(&client, "HTTP/1.1 204 ");
        client_end(&client);
        buf_unref(&request);
    }
}

/* The call is forgotten, the client told why, and what else it sent is not taken for a request. */
static void a_broken_chunk_is_400_and_too_many_are_413(void **state)
{
    (void)state;
    static const struct {
        const char *body, *status;
    } cases[] = {
        {"hello" HEALTH, "HTTP/1.1 400 "},
        {"5\nhello\n0\n\n" HEALTH, "HTTP/1.1 400 "},
        {"5\r\nhelloXX" HEALTH, "HTTP/1.1 400 "},
        {"20001\r\n" HEALTH, "HTTP/1.1 413 "},
        {"1\r\nx\r\n20000\r\n" HEALTH, "HTTP/1.1 413 "},
    };
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct client client;
        client_connect(&client);
        client_send_text(&client, POST CHUNKED);
        WORLD_UNTIL(world.call_count == i + 1);
        client_send_text(&client, cases[i].body);
        expect_status(&client, cases[i].status);
        assert_true(client_has_text(&client, "\r\nConnection: close\r\n"));
        WORLD_UNTIL(client_has_ended(&client));
        assert_false(client_has_text(&client, "UP"));
        assert_true(world.calls[i].is_abandoned);
        assert_null(world.calls[i].body);
        client_end(&client);
    }
}

/* The head alone is refused, as it is with any body. */
static void a_body_in_chunks_is_judged_by_its_head(void **state)
{
    (void)state;
    struct client client;
    world.api_refusal = 401;
    client_connect(&client);
    client_send_text(&client, POST CHUNKED);
    expect_status(&client, "HTTP/1.1 401 ");
    assert_true(client_has_text(&client, "Connection: close\r\n"));
    WORLD_UNTIL(client_has_ended(&client));
    client_end(&client);
    client_connect(&client); /* Where nobody asked for it, it is not read. */
    client_send_text(&client, "GET /health HTTP/1.1\r\nHost: x\r\n" CHUNKED "0\r\n\r\n" HEALTH);
    expect_status(&client, "HTTP/1.1 200 ");
    WORLD_UNTIL(client_has_ended(&client));
    client_end(&client);
    assert_int_equal(world.call_count, 0);
}

/* A client that goes in the middle is forgotten, and so is its call. */
static void a_client_may_go_between_chunks(void **state)
{
    (void)state;
    struct client client;
    client_connect(&client);
    client_send_text(&client, POST CHUNKED "5\r\nhel");
    WORLD_UNTIL(world.call_count == 1);
    world_run(5);
    client_end(&client);
    WORLD_UNTIL(world.calls[0].is_abandoned);
}

/* The limit is its own there. */
static void a_development_token_may_be_asked_for_in_chunks(void **state)
{
    (void)state;
    struct client client;
    client_connect(&client);
    client_send_text(&client, "POST /v1/dev/token HTTP/1.1\r\nHost: x\r\n" CHUNKED
                              "8\r\n{\"user\":\r\n8\r\n\"alice\"}\r\n0\r\n\r\n" HEALTH);
    WORLD_UNTIL(client_has_text(&client, "\"status\":\"UP\""));
    assert_true(client_has_text(&client, "{\"token\":\"ey"));
    client_end(&client);
    client_connect(&client);
    client_send_text(&client, "POST /v1/dev/token HTTP/1.1\r\nHost: x\r\n" CHUNKED "1001\r\n");
    expect_status(&client, "HTTP/1.1 413 ");
    client_end(&client);
}

#define EXPECT "Expect: 100-continue\r\n"

/* A client may wait for the word before it sends its body. */
static void who_expects_100_is_told_to_go_on(void **state)
{
    (void)state;
    static const struct {
        const char *head, *body;
    } cases[] = {
        {POST EXPECT "Content-Length: 2\r\n\r\n", "{}"},
        {POST EXPECT CHUNKED, "2\r\n{}\r\n0\r\n\r\n"},
    };
    for (unsigned i = 0; i < 2; i++) {
        struct client client;
        client_connect(&client);
        client_send_text(&client, cases[i].head);
        WORLD_UNTIL(client_has_text(&client, "HTTP/1.1 100 Continue\r\n\r\n"));
        assert_int_equal(client.in->size, strlen("HTTP/1.1 100 Continue\r\n\r\n"));
        buf_clear(client.in);
        client_send_text(&client, cases[i].body);
        WORLD_UNTIL(world.call_count == i + 1 && world.calls[i].body != NULL);
        assert_true(slice_equals(buf_slice(world.calls[i].body), "{}"));
        world_answer(&world.calls[i], 204, NULL);
        expect_status(&client, "HTTP/1.1 204 ");
        client_end(&client);
    }
    struct client client; /* So it is with a token. */
    client_connect(&client);
    client_send_text(&client, "POST /v1/dev/token HTTP/1.1\r\nHost: x\r\n" EXPECT
                              "Content-Length: 16\r\n\r\n");
    expect_status(&client, "HTTP/1.1 100 Continue\r\n\r\n");
    client_send_text(&client, "{\"user\":\"alice\"}");
    WORLD_UNTIL(client_has_text(&client, "{\"token\":\"ey"));
    client_end(&client);
}

/* A body that will not be read is not asked for, nor one that is not there. */
static void who_is_refused_is_not_told_to_go_on(void **state)
{
    (void)state;
    static const struct {
        const char *request, *status;
        unsigned api_refusal;
    } cases[] = {
        {POST EXPECT "Content-Length: 2\r\n\r\n", "HTTP/1.1 401 ", 401},
        {POST EXPECT CHUNKED, "HTTP/1.1 401 ", 401},
        {POST EXPECT "Content-Length: 131073\r\n\r\n", "HTTP/1.1 413 ", 0},
        {POST "Expect: magic\r\nContent-Length: 2\r\n\r\n", "HTTP/1.1 417 ", 0},
        {"GET /health HTTP/1.1\r\nHost: x\r\n" EXPECT "Content-Length: 2\r\n\r\n", "HTTP/1.1 200 ",
         0},
        {"GET /health HTTP/1.1\r\nHost: x\r\n" EXPECT "\r\n", "HTTP/1.1 200 ", 0},
        {"GET /ws HTTP/1.1\r\n" WS_HEADERS "Expect: magic\r\n\r\n", "HTTP/1.1 417 ", 0},
    };
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct client client;
        world.api_refusal = cases[i].api_refusal;
        client_connect(&client);
        client_send_text(&client, cases[i].request);
        expect_status(&client, cases[i].status);
        assert_false(client_has_text(&client, "100 Continue"));
        client_end(&client);
    }
    assert_int_equal(world.call_count, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_body_in_chunks_arrives_whole),
        TEST(a_large_body_in_chunks_arrives_whole),
        TEST(a_broken_chunk_is_400_and_too_many_are_413),
        TEST(a_body_in_chunks_is_judged_by_its_head),
        TEST(a_client_may_go_between_chunks),
        TEST(a_development_token_may_be_asked_for_in_chunks),
        TEST(who_expects_100_is_told_to_go_on),
        TEST(who_is_refused_is_not_told_to_go_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
