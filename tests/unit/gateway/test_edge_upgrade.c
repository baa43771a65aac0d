/* edge: how a request becomes a WebSocket, and everything that can go wrong on the way. */
#include "edge_world.h"

#include <sys/resource.h>

static void send_upgrade(struct client *client, const char *more)
{
    char request[2048];
    snprintf(request, sizeof(request), "GET /ws HTTP/1.1\r\n" WS_HEADERS "%s\r\n", more);
    client_connect(client);
    client_send_text(client, request);
}

/* libwebsockets' parser never sees a name of the client's: one that is the beginning of one it
 * knows makes it wait for the rest. */
static void any_header_may_come_with_an_upgrade(void **state)
{
    (void)state;
    static const char *const names[] = {
        "X",     "X-Forwarded", "X-Auth",  "X-Real", "User",    "Auth",   "If",      "Max",
        "A",     "Acc",         "Cont",    "Sec",    "Sec-",    "Ho",     "Hos",     "Up",
        "te",    "t",           "d",       "dnt",    "Cookie2", "get",    "post",    "connect",
        "co",    "x-fo",        "Content", "Via",    "_",       "!",      "Forward", "Front",
        "Trans", "P",           "Proxy-A", "Www",    "Last",    "Http2-", "0",       "Or"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char more[128];
        struct client client;
        snprintf(more, sizeof(more), "%s: 1\r\n", names[i]);
        send_upgrade(&client, more);
        WORLD_UNTIL(world.session_count == i + 1);
        WORLD_UNTIL(client_has_text(&client, "HTTP/1.1 101 "));
        client_send_frame(&client, 0x81, "hello", 5);
        WORLD_UNTIL(world.sessions[i]->frames == 1);
        client_end(&client);
    }
}

/* Also of any length that a head may have, and however late its last byte comes. */
static void an_upgrade_may_be_long_and_slow(void **state)
{
    (void)state;
    struct buf *request = buf_new(8192);
    buf_append_string(request, "GET /ws?x=");
    while (request->size < 5000)
        buf_append_byte(request, 'y');
    buf_append_string(request, " HTTP/1.1\r\n" WS_HEADERS);
    for (unsigned i = 0; request->size < 8000; i++)
        buf_append_format(request, "Cookie-%u: zzzzzzzzzzzz\r\n", i);
    buf_append_string(request, "\r\n");
    struct client client;
    client_connect(&client);
    for (size_t i = 0; i < request->size; i += 97) {
        size_t left = request->size - i;
        client_send(&client, request->bytes + i, left < 97 ? left : 97);
        world_turn();
    }
    WORLD_UNTIL(world.session_count == 1 && client_has_text(&client, "HTTP/1.1 101 "));
    client_send_frame(&client, 0x81, "hello", 5);
    WORLD_UNTIL(world.sessions[0]->frames == 1);
    client_end(&client);
    buf_unref(&request);
}

/* More than one read of libwebsockets takes at once: nothing of it is lost or overtaken. */
static void frames_behind_an_upgrade_arrive_in_order(void **state)
{
    (void)state;
    enum { COUNT = 300, SIZE = 100 };
    struct buf *bytes = buf_new(65536);
    buf_append_string(bytes, "GET /ws HTTP/1.1\r\n" WS_HEADERS "\r\n");
    char text[SIZE];
    memset(text, '.', sizeof(text));
    for (unsigned i = 0; i < COUNT; i++) {
        char number[8];
        snprintf(number, sizeof(number), "%05u", i);
        memcpy(text, number, 5);
        put_frame(bytes, 0x81, text, sizeof(text));
    }
    struct client client;
    client_connect(&client);
    client_send(&client, bytes->bytes, bytes->size);
    WORLD_UNTIL(world.session_count == 1 && world.sessions[0]->frames == COUNT);
    assert_memory_equal(world.sessions[0]->last->bytes, "00299", 5);
    client_end(&client);
    buf_unref(&bytes);
}

/* The session closes before libwebsockets' adoption has returned, with frames behind the request.
 */
static void a_session_may_close_inside_the_upgrade(void **state)
{
    (void)state;
    world.close_on_accept = 4029;
    struct buf *bytes = buf_new(0);
    buf_append_string(bytes, "GET /ws HTTP/1.1\r\n" WS_HEADERS "\r\n");
    for (unsigned i = 0; i < 50; i++)
        put_frame(bytes, 0x81, "{}", 2);
    for (unsigned i = 0; i < 20; i++) {
        struct client client;
        client_connect(&client);
        client_send(&client, bytes->bytes, bytes->size);
        WORLD_UNTIL(client_has_close(&client, 4029));
        assert_true(client_has_text(&client, "HTTP/1.1 101 "));
        client_end(&client);
        WORLD_UNTIL(world.session_count == i + 1 && world.sessions[i]->closed == 1);
        assert_int_equal(world.sessions[i]->frames, 0);
    }
    buf_unref(&bytes);
}

/* Gone before, while or after: nothing dangles, as the teardown sees. */
static void who_asks_may_be_gone_already(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 40; i++) {
        struct client client;
        send_upgrade(&client, i % 2 == 0 ? "X: y\r\n" : "");
        struct linger now = {.l_onoff = 1, .l_linger = 0};
        if (i % 4 < 2)
            setsockopt(client.fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
        for (unsigned turn = 0; turn < i / 8; turn++)
            world_turn();
        client_end(&client);
        world_turn();
    }
    world_run(20);
    struct client client;
    unsigned before = world.session_count;
    send_upgrade(&client, "");
    WORLD_UNTIL(world.session_count == before + 1);
    client_end(&client);
}

/* Past the end of libwebsockets' table it cannot adopt: the client is hung up on, and that is all.
 */
static void a_failed_adoption_leaves_nothing_behind(void **state)
{
    (void)state;
    struct rlimit before, more;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    more = before;
    more.rlim_cur = 1024;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &more), 0);
    int fds[200], count = 0; /* Its table has 128. */
    while (count < 200)
        fds[count++] = fcntl(0, F_DUPFD_CLOEXEC, 0);
    for (unsigned i = 0; i < 5; i++) {
        struct client client;
        send_upgrade(&client, "");
        WORLD_UNTIL(client_has_ended(&client));
        assert_int_equal(client.in->size, 0);
        client_end(&client);
    }
    assert_int_equal(world.session_count, 0);
    while (count > 0)
        close(fds[--count]);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    struct client client; /* One a place is there again: of 3, none is taken. */
    for (unsigned i = 0; i < 3; i++) {
        send_upgrade(&client, "");
        WORLD_UNTIL(world.session_count == i + 1);
        client_end(&client);
        WORLD_UNTIL(world.sessions[i]->closed == 1);
        world_run(10);
    }
}

static int setup_a_small_table(void **state)
{
    (void)state;
    struct edge_options options = world_options();
    options.connections_per_ip_max = 3;
    struct rlimit before, less;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    less = before;
    less.rlim_cur = 128;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &less), 0);
    world_start(&options);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    return 0;
}

/* Chosen is the one that there is, and none where that is not offered (RFC 6455, section 4.2.2). */
static void the_subprotocol_is_chosen_where_it_is_offered(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        bool is_chosen;
    } cases[] = {
        {"Sec-WebSocket-Protocol: chatmesh\r\n", true},
        {"Sec-WebSocket-Protocol: v1.other, chatmesh\r\n", true},
        {"Sec-WebSocket-Protocol: other\r\nSec-WebSocket-Protocol: chatmesh\r\n", true},
        {"Sec-WebSocket-Protocol: other\r\n", false},
        {"Sec-WebSocket-Protocol:\r\n", false},
        {"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n", false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct client client;
        send_upgrade(&client, cases[i].header);
        WORLD_UNTIL(client_has_text(&client, "\r\n\r\n"));
        assert_true(client_has_text(&client, "HTTP/1.1 101 "));
        assert_true(client_has_text(&client, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        assert_true(client_has_text(&client, "\r\nSec-WebSocket-Protocol: chatmesh\r\n") ==
                    cases[i].is_chosen);
        assert_true(client_has_text(&client, "Sec-WebSocket-Protocol") == cases[i].is_chosen);
        assert_false(client_has_text(&client, "Sec-WebSocket-Extensions"));
        client_end(&client);
    }
}

static void expect_refusal(const char *headers, const char *status)
{
    struct client client;
    char request[512];
    snprintf(request, sizeof(request),
             "GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n%s\r\n",
             headers);
    client_connect(&client);
    client_send_text(&client, request);
    WORLD_UNTIL(client_has_ended(&client));
    if (!client_has_text(&client, status))
        fail_msg("%s: %.*s", headers, (int)client.in->size, (char *)client.in->bytes);
    client_end(&client);
}

/* The one thing of the client's that is handed on. */
static void a_key_that_is_none_is_400(void **state)
{
    (void)state;
    static const char *const keys[] = {"",
                                       "Sec-WebSocket-Key:\r\n",
                                       "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=\r\n",
                                       "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ===\r\n",
                                       "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQAA\r\n",
                                       "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZ===\r\n",
                                       "Sec-WebSocket-Key: dGhlIHNhbXBs SBub25jZQ==\r\n",
                                       "Sec-WebSocket-Key: dGhlIHNhbXBs%SBub25jZQ==\r\n",
                                       "Sec-WebSocket-Key: dGhlIHNhbXBs-SBub25jZQ==\r\n",
                                       "Sec-WebSocket-Key: dGhlIHNhbXBs\xc3SBub25jZQ==\r\n"};
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        char headers[256];
        snprintf(headers, sizeof(headers), "Sec-WebSocket-Version: 13\r\n%s", keys[i]);
        expect_refusal(headers, "HTTP/1.1 400 ");
    }
    assert_int_equal(world.session_count, 0);
}

/* And told which one there is (RFC 6455, section 4.4). */
static void another_version_is_426(void **state)
{
    (void)state;
    static const char *const versions[] = {"", "Sec-WebSocket-Version: 8\r\n",
                                           "Sec-WebSocket-Version: 013\r\n",
                                           "Sec-WebSocket-Version: 13, 8\r\n"};
    for (size_t i = 0; i < sizeof(versions) / sizeof(versions[0]); i++) {
        char headers[256];
        snprintf(headers, sizeof(headers), "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%s",
                 versions[i]);
        expect_refusal(headers, "HTTP/1.1 426 ");
        expect_refusal(headers, "\r\nSec-WebSocket-Version: 13\r\n");
    }
    assert_int_equal(world.session_count, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(any_header_may_come_with_an_upgrade),
        TEST(an_upgrade_may_be_long_and_slow),
        TEST(frames_behind_an_upgrade_arrive_in_order),
        TEST(a_session_may_close_inside_the_upgrade),
        TEST(who_asks_may_be_gone_already),
        cmocka_unit_test_setup_teardown(a_failed_adoption_leaves_nothing_behind,
                                        setup_a_small_table, world_teardown),
        TEST(the_subprotocol_is_chosen_where_it_is_offered),
        TEST(a_key_that_is_none_is_400),
        TEST(another_version_is_426),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
