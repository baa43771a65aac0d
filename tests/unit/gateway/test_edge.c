/* edge: WebSockets over real sockets: upgrade, messages, back-pressure, closes, limits. */
#include "edge_world.h"

#include <malloc.h>
#include <sys/resource.h>

#include "mesh/base/metrics.h"

#define DEVICE "50% of & +"

static void make_token(struct buf *out)
{
    uint64_t now_s = (uint64_t)time(NULL);
    assert_int_equal(
        auth_sign(&world.auth, slice_string("alice"), slice_string(DEVICE), now_s, 60, out), RC_OK);
}

/* Who it is, on which device, and how frames may come, is known when the session begins. */
static void an_upgrade_tells_the_session_who_it_is(void **state)
{
    (void)state;
    struct buf *query = buf_new(0), *token = buf_new(0);
    make_token(token);
    query_append(query, slice_string("token"), buf_slice(token));
    query_append(query, slice_string("device"), slice_string(DEVICE));
    query_append(query, slice_string("batch"), slice_string("1"));
    char text[1024];
    snprintf(text, sizeof(text), "?%.*s", SLICE_ARGS(buf_slice(query)));
    struct client client;
    struct session *session = client_upgrade(&client, text);
    assert_true(session->has_identity);
    assert_string_equal(session->identity.user, "alice");
    assert_string_equal(session->device, DEVICE);
    assert_true(session->batch);
    client_end(&client);
    WORLD_UNTIL(session->closed == 1);

    session = client_upgrade(&client, "");
    assert_false(session->has_identity);
    assert_string_equal(session->device, "");
    assert_false(session->batch);
    client_end(&client);
    buf_unref(&query);
    buf_unref(&token);
}

/* A frame in the packet of the upgrade itself is not lost. */
static void a_frame_right_behind_the_upgrade_arrives(void **state)
{
    (void)state;
    struct buf *bytes = buf_new(0);
    buf_append_string(bytes, "GET /ws HTTP/1.1\r\n" WS_HEADERS "\r\n");
    put_frame(bytes, 0x81, "{\"a\":1}", 7);
    put_frame(bytes, 0x81, "{\"b\":2}", 7);
    struct client client;
    client_connect(&client);
    client_send(&client, bytes->bytes, bytes->size);
    WORLD_UNTIL(world.session_count == 1 && world.sessions[0]->frames == 2);
    assert_true(slice_equals(buf_slice(world.sessions[0]->last), "{\"b\":2}"));
    client_end(&client);
    buf_unref(&bytes);
}

/* Sizes around the receive buffer's and the frame header's boundaries, and the largest. */
static void messages_of_all_sizes_arrive_whole(void **state)
{
    (void)state;
    static const size_t sizes[] = {0,    1,    125,  126,   1007,  1008,   1023,  1024,
                                   1025, 2048, 4096, 65535, 65536, 131071, 131072};
    struct client client;
    struct session *session = client_upgrade(&client, "");
    char *message = mem_alloc(131072);
    for (size_t i = 0; i < 131072; i++)
        message[i] = (char)('a' + i % 23);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        client_send_frame(&client, 0x81, message, sizes[i]);
        WORLD_UNTIL(session->frames == i + 1);
        assert_true(slice_equal(buf_slice(session->last), slice_of(message, sizes[i])));
    }
    mem_free(message);
    client_end(&client);
}

/* A message in fragments is one message; control frames may come in between. */
static void fragments_are_put_together(void **state)
{
    (void)state;
    struct client client;
    struct session *session = client_upgrade(&client, "");
    client_send_frame(&client, 0x01, "one ", 4);
    client_send_frame(&client, 0x89, "ping", 4);
    client_send_frame(&client, 0x00, "", 0);
    client_send_frame(&client, 0x8a, "pong", 4);
    client_send_frame(&client, 0x00, "two ", 4);
    client_send_frame(&client, 0x80, "three", 5);
    WORLD_UNTIL(session->frames == 1);
    assert_true(slice_equals(buf_slice(session->last), "one two three"));
    assert_int_equal(session->pongs, 1);
    WORLD_UNTIL(client_has(&client, "\x8a\x04ping", 6));
    client_send_frame(&client, 0x81, "next", 4);
    WORLD_UNTIL(session->frames == 2);
    assert_true(slice_equals(buf_slice(session->last), "next"));
    client_end(&client);
}

/* libwebsockets tells nothing of an empty pong, so a session's pings must have a payload. */
static void a_pong_with_a_payload_is_a_sign_of_life(void **state)
{
    (void)state;
    struct client client;
    struct session *session = client_upgrade(&client, "");
    client_send_frame(&client, 0x8a, "", 0);
    world_run(50);
    assert_int_equal(session->pongs, 0);
    assert_true(session->link->ops->write(session->link, "\x89\x01p", 3));
    WORLD_UNTIL(client_has(&client, "\x89\x01p", 3));
    client_send_frame(&client, 0x8a, "p", 1);
    WORLD_UNTIL(session->pongs == 1);
    client_end(&client);
}

/* Binary is no part of the protocol: once a message, however many frames it has. */
static void a_binary_message_is_a_bad_one(void **state)
{
    (void)state;
    struct client client;
    struct session *session = client_upgrade(&client, "");
    client_send_frame(&client, 0x02, "\xff\x00", 2);
    client_send_frame(&client, 0x80, "\xff", 1);
    client_send_frame(&client, 0x82, "\xff", 1);
    client_send_frame(&client, 0x81, "text", 4);
    WORLD_UNTIL(session->frames == 1);
    assert_int_equal(session->bad, 2);
    client_end(&client);
}

static void expect_close(const char *bytes, size_t size, unsigned code)
{
    struct client client;
    struct session *session = client_upgrade(&client, "");
    client_send(&client, bytes, size);
    WORLD_UNTIL(client_has_close(&client, code));
    WORLD_UNTIL(session->closed == 1);
    assert_int_equal(session->frames, 0);
    client_end(&client);
}

/* In one frame, long before its end, and summed over fragments. */
static void a_message_beyond_the_limit_closes_1009(void **state)
{
    (void)state;
    char bytes[14 + 1024] = "\x81\xff\x00\x00\x00\x00\x00\x02\x00\x01mask";
    expect_close(bytes, sizeof(bytes), 1009);
    memcpy(bytes + 2, "\x7f\xff\xff\xff\xff\xff\xff\xff", 8);
    expect_close(bytes, sizeof(bytes), 1009);

    struct client client;
    struct session *session = client_upgrade(&client, "");
    char *half = mem_alloc(65536);
    memset(half, 'x', 65536);
    client_send_frame(&client, 0x01, half, 65536);
    client_send_frame(&client, 0x00, half, 65536);
    client_send_frame(&client, 0x80, half, 1);
    WORLD_UNTIL(client_has_close(&client, 1009));
    WORLD_UNTIL(session->closed == 1);
    assert_int_equal(session->frames, 0);
    mem_free(half);
    client_end(&client);
}

/* RFC 6455, sections 5.2, 5.4, 5.5 and 8.1. */
static void broken_frames_close_1002_or_1007(void **state)
{
    (void)state;
    expect_close("\xc1\x81mask", 6, 1002);             /* A reserved bit. */
    expect_close("\x83\x81mask", 6, 1002);             /* A reserved opcode. */
    expect_close("\x80\x81mask", 6, 1002);             /* A continuation of nothing. */
    expect_close("\x81\x82\0\0\0\0\xc3\x28", 8, 1007); /* Not UTF-8. */
    expect_close("\x81\x81\0\0\0\0\xc3", 7, 1007);     /* A character cut in two. */
}

/* The client sees the session's own code and reason, and then the end. */
static void a_session_closes_with_its_code(void **state)
{
    (void)state;
    static const unsigned codes[] = {1001, 1012, 4008, 4500, 4509};
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        struct client client;
        struct session *session = client_upgrade(&client, "");
        session->answer = "bye";
        session->close_on_frame = codes[i];
        client_send_frame(&client, 0x81, "x", 1);
        client_send_frame(&client, 0x81, "y", 1);
        WORLD_UNTIL(client_has_close(&client, codes[i]));
        assert_true(client_has_text(&client, "bye"));
        assert_true(client_has_text(&client, "enough"));
        WORLD_UNTIL(session->closed == 1);
        assert_int_equal(session->frames, 1);
        client_send_frame(&client, 0x88, "\x03\xe8", 2);
        WORLD_UNTIL(client_has_ended(&client));
        client_end(&client);
    }
}

/* Outside any callback of libwebsockets: from the turn, as most closes are. */
static void a_close_from_the_turn_is_sent(void **state)
{
    (void)state;
    struct client client;
    struct session *session = client_upgrade(&client, "");
    world_run(20);
    session->link->ops->close(session->link, 4503, "logged out");
    session->link->ops->close(session->link, 4010, "only the first counts");
    assert_int_equal(session->closed, 0);
    assert_true(session_send(session, "nobody reads this"));
    WORLD_UNTIL(client_has_close(&client, 4503));
    WORLD_UNTIL(session->closed == 1);
    assert_false(client_has_text(&client, "nobody"));
    client_end(&client);
}

/* From inside gateway_accept() itself. */
static void a_session_may_be_refused_at_once(void **state)
{
    (void)state;
    world.close_on_accept = 4029;
    struct client client;
    client_connect(&client);
    client_send_text(&client, "GET /ws HTTP/1.1\r\n" WS_HEADERS "\r\n");
    WORLD_UNTIL(client_has_close(&client, 4029));
    WORLD_UNTIL(world.sessions[0]->closed == 1);
    client_end(&client);
}

/* The client's close is answered, and the session hears of it before the socket is gone. */
static void a_clients_close_ends_the_session(void **state)
{
    (void)state;
    struct client client;
    struct session *session = client_upgrade(&client, "");
    client_send_frame(&client, 0x88, "\x03\xe8", 2);
    WORLD_UNTIL(session->closed == 1);
    WORLD_UNTIL(client_has_close(&client, 1000));
    WORLD_UNTIL(client_has_ended(&client));
    client_end(&client);
}

/* Full means full: nothing taken, told of room later, and every byte there in order. */
static void a_client_that_does_not_read_blocks_its_link(void **state)
{
    (void)state;
    struct client client;
    struct session *session = client_upgrade(&client, "");
    char *text = mem_zero(60001);
    memset(text, 'x', 60000);
    unsigned taken = 0;
    while (session_send(session, text)) {
        taken++;
        assert_true(taken < 1000);
    }
    assert_true(session->link->ops->is_blocked(session->link));
    unsigned writable = session->writable;
    world_run(50);
    assert_int_equal(session->writable, writable);
    size_t expected = taken * (60000u + 4);
    WORLD_UNTIL((client_read(&client), client.in->size) == expected);
    for (unsigned i = 0; i < taken; i++)
        assert_memory_equal(client.in->bytes + i * 60004, "\x81\x7e\xea\x60xxxx", 8);
    WORLD_UNTIL(session->writable > writable);
    assert_false(session->link->ops->is_blocked(session->link));
    assert_true(session_send(session, "again"));
    WORLD_UNTIL(client_has_text(&client, "again"));
    mem_free(text);
    client_end(&client);
}

/* No close frame gets through to a client that reads nothing; after 5 s it is over all the same. */
static void a_blocked_link_can_be_closed(void **state)
{
    (void)state;
    struct client client;
    struct session *session = client_upgrade(&client, "");
    char *text = mem_zero(60001);
    memset(text, 'x', 60000);
    while (session_send(session, text))
        continue;
    session->link->ops->close(session->link, 4010, "too slow");
    world_run(3000);
    assert_int_equal(session->closed, 0);
    WORLD_UNTIL(session->closed == 1);
    mem_free(text);
    client_end(&client);
}

/* A reset in the middle of everything. */
static void a_reset_ends_the_session(void **state)
{
    (void)state;
    struct client client;
    struct session *session = client_upgrade(&client, "");
    client_send_frame(&client, 0x01, "begun", 5);
    world_run(20);
    struct linger linger = {.l_onoff = 1};
    setsockopt(client.fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    client_end(&client);
    (void)session_send(session, "into the void");
    (void)session_send(session, "into the void");
    WORLD_UNTIL(session->closed == 1);
}

static void fill_three(struct client *clients)
{
    for (int i = 0; i < 3; i++)
        client_upgrade(&clients[i], "");
}

static void expect_429(const char *request)
{
    struct client client;
    client_connect(&client);
    client_send_text(&client, request);
    WORLD_UNTIL(client_has_ended(&client));
    if (!client_has_text(&client, "HTTP/1.1 429 "))
        fail_msg("%s: %.*s", request, (int)client.in->size, (char *)client.in->bytes);
    assert_true(client_has_text(&client, "Retry-After: 10\r\n"));
    assert_true(client_has_text(&client, "\r\nDate: "));
    assert_true(client_has_text(&client, "\"code\":\"rate_limited\"") != (request[0] == 'H'));
    client_end(&client);
}

/* Of one address only so many; who leaves makes room. */
static void connections_of_one_address_are_limited(void **state)
{
    (void)state;
    struct client clients[3];
    fill_three(clients);
    expect_429("GET /health HTTP/1.1\r\nHost: x\r\n\r\n");
    expect_429("HEAD /health HTTP/1.1\r\nHost: x\r\n\r\n");
    expect_429("GET /ws HTTP/1.1\r\nHost: x\r\n\r\n"); /* No WebSocket. */
    expect_429("GET /wsx HTTP/1.1\r\nHost: x\r\n\r\n");
    client_end(&clients[0]);
    WORLD_UNTIL(world.sessions[0]->closed == 1);
    world_run(20);
    client_upgrade(&clients[0], "");
    for (int i = 0; i < 3; i++)
        client_end(&clients[i]);
}

/* A browser sees no status: so there is a WebSocket, but only to say this, and no session. */
static void a_websocket_beyond_the_limit_is_closed_with_4029(void **state)
{
    (void)state;
    struct client clients[3];
    fill_three(clients);
    for (int i = 0; i < 60; i++) { /* More than may be under way at a time. */
        struct client client;
        client_connect(&client);
        client_send_text(&client, "GET /ws HTTP/1.1\r\n" WS_HEADERS "\r\n");
        client_send_frame(&client, 0x81, "hello", 5);
        WORLD_UNTIL(client_has_close(&client, 4029));
        assert_true(client_has_text(&client, "HTTP/1.1 101 "));
        assert_true(client_has_text(&client, "too many connections"));
        client_send_frame(&client, 0x88, "\x0f\xbd", 2);
        WORLD_UNTIL(client_has_ended(&client));
        client_end(&client);
    }
    struct client refused; /* It is judged as any other. */
    client_connect(&refused);
    client_send_text(&refused, "GET /ws?token=bad HTTP/1.1\r\n" WS_HEADERS "\r\n");
    WORLD_UNTIL(client_has_text(&refused, "HTTP/1.1 401 "));
    client_end(&refused);
    assert_int_equal(world.session_count, 3);
    client_end(&clients[0]);
    WORLD_UNTIL(world.sessions[0]->closed == 1);
    world_run(20);
    client_upgrade(&clients[0], "");
    for (int i = 0; i < 3; i++)
        client_end(&clients[i]);
}

/* Whether they dawdle over their request or over their close: 16 of them, all others get the 429.
 */
static void few_are_told_by_a_websocket_at_a_time(void **state)
{
    (void)state;
    struct client clients[3], slow[16];
    fill_three(clients);
    for (int i = 0; i < 16; i++) {
        client_connect(&slow[i]);
        client_send_text(&slow[i], "GET /ws HTTP/1.1\r\n");
        if (i % 2 == 0) {
            client_send_text(&slow[i], WS_HEADERS "\r\n");
            WORLD_UNTIL(client_has_close(&slow[i], 4029));
        }
    }
    world_run(20);
    expect_429("GET /ws HTTP/1.1\r\n" WS_HEADERS "\r\n");
    client_end(&slow[0]);
    client_end(&slow[1]);
    world_run(20);
    for (int i = 0; i < 2; i++) {
        client_connect(&slow[i]);
        client_send_text(&slow[i], "GET /ws HTTP/1.1\r\n" WS_HEADERS "\r\n");
        WORLD_UNTIL(client_has_close(&slow[i], 4029));
    }
    expect_429("GET /ws HTTP/1.1\r\n" WS_HEADERS "\r\n");
    for (int i = 0; i < 16; i++)
        client_end(&slow[i]);
    for (int i = 0; i < 3; i++)
        client_end(&clients[i]);
}

static int setup_three_per_address(void **state)
{
    (void)state;
    struct edge_options options = world_options();
    options.connections_per_ip_max = 3;
    world_start(&options);
    return 0;
}

/* Half-open connections fill their own limit and no more: the kernel keeps the rest until one ends.
 */
static void connections_that_never_upgrade_are_limited(void **state)
{
    (void)state;
    struct client half[4], client;
    for (int i = 0; i < 4; i++) {
        client_connect(&half[i]);
        client_send_text(&half[i], "GET /ws HTTP/1.1\r\n");
    }
    world_run(50);
    client_connect(&client);
    client_send_text(&client, "GET /ws HTTP/1.1\r\n" WS_HEADERS "\r\n");
    world_run(100);
    assert_int_equal(world.session_count, 0);
    client_end(&half[0]);
    WORLD_UNTIL(world.session_count == 1);
    for (int i = 1; i < 4; i++)
        client_end(&half[i]);
    client_end(&client);
}

static int setup_four_waiting(void **state)
{
    (void)state;
    struct edge_options options = world_options();
    options.waiting_max = 4;
    world_start(&options);
    return 0;
}

/* A crowd comes in at a pace, and everybody comes in. */
static void a_crowd_is_let_in_at_a_pace(void **state)
{
    (void)state;
    struct client crowd[30];
    for (int i = 0; i < 30; i++) {
        client_connect(&crowd[i]);
        client_send_text(&crowd[i], "GET /ws HTTP/1.1\r\n" WS_HEADERS "\r\n");
    }
    uint64_t begun_ns = uv_hrtime();
    WORLD_UNTIL(world.session_count == 30);
    assert_true(uv_hrtime() - begun_ns >= 200000000u); /* One in 10 ms. */
    for (int i = 0; i < 30; i++)
        client_end(&crowd[i]);
}

/* Who asks for anything else does not wait behind it; who has gone takes nobody's turn; at the end
 * of the listener those who still wait are sent away, others' connections stay. */
static void a_crowd_holds_up_nobody_else(void **state)
{
    (void)state;
    struct client crowd[60], other;
    for (int i = 0; i < 60; i++) {
        client_connect(&crowd[i]);
        client_send_text(&crowd[i], "GET /ws HTTP/1.1\r\n" WS_HEADERS "\r\n");
    }
    WORLD_UNTIL(metric_get(connections_crowded) > 50);
    for (int i = 10; i < 50; i++)
        client_end(&crowd[i]);
    client_connect(&other);
    client_send_text(&other, "GET /health HTTP/1.1\r\nHost: x\r\n\r\n");
    WORLD_UNTIL(client_has_text(&other, "HTTP/1.1"));
    assert_true(metric_get(connections_crowded) > 40);
    WORLD_UNTIL(client_has_text(&crowd[50], "101 Switching"));
    assert_true(world.session_count <= 12);
    assert_true(metric_get(connections_crowded) > 0);
    edge_stop_accepting(world.edge);
    assert_int_equal(metric_get(connections_crowded), 0);
    WORLD_UNTIL(client_has_ended(&crowd[59]));
    assert_false(client_has_ended(&crowd[0]));
    client_end(&other);
    for (int i = 0; i < 60; i = i == 9 ? 50 : i + 1)
        client_end(&crowd[i]);
}

static int setup_a_hundred_a_second(void **state)
{
    (void)state;
    struct edge_options options = world_options();
    options.accepts_per_second_max = 100;
    world_start(&options);
    return 0;
}

/* Out of file descriptors: the listener rests, neither spinning nor forgetting who waits. */
static void without_file_descriptors_clients_wait(void **state)
{
    (void)state;
    struct client client;
    client_connect(&client);
    struct rlimit before, none;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = before;
    none.rlim_cur = (rlim_t)client.fd + 1;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    client_send_text(&client, "GET /ws HTTP/1.1\r\n" WS_HEADERS "\r\n");
    int64_t accepted = metric_get(connections_accepted_total);
    world_run(700); /* Longer than one retry. */
    assert_int_equal(metric_get(connections_accepted_total), accepted);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    WORLD_UNTIL(world.session_count == 1);
    client_end(&client);
}

/* Who is in stays; who comes is refused by the kernel. */
static void after_stop_nobody_comes_in(void **state)
{
    (void)state;
    struct client client;
    struct session *session = client_upgrade(&client, "");
    edge_stop_accepting(world.edge);
    edge_stop_accepting(world.edge);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(world.port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), -1);
    assert_int_equal(errno, ECONNREFUSED);
    close(fd);
    client_send_frame(&client, 0x81, "still here", 10);
    WORLD_UNTIL(session->frames == 1);
    client_end(&client);
}

/* A sentence with the port in it, and nothing is left behind. */
static void a_port_in_use_is_told(void **state)
{
    (void)state;
    struct edge_options options = world_options();
    options.port = world.port;
    struct edge *edge = NULL;
    char reason[EDGE_REASON_SIZE] = "";
    assert_int_equal(edge_new(&options, &world.loop, NULL, &world.auth, &world.env, reason, &edge),
                     RC_IN_USE);
    assert_null(edge);
    assert_non_null(strstr(reason, "Address already in use"));
    options.address = "localhost";
    assert_int_equal(edge_new(&options, &world.loop, NULL, &world.auth, &world.env, reason, &edge),
                     RC_CONFIG);
    assert_non_null(strstr(reason, "not a numeric one"));
}

/* What an idle client costs: the whole budget is 4 KiB, and the core's session wants its share. */
static void an_idle_connection_is_small(void **state)
{
    (void)state;
    enum { COUNT = 2000 };
    struct client *clients = mem_zero(COUNT * sizeof(*clients));
    struct client warm;
    client_upgrade(&warm, "");
    size_t before = mallinfo2().uordblks; /* 0 under AddressSanitizer: its heap is another. */
    for (int i = 0; i < COUNT; i++) {
        client_upgrade(&clients[i], "");
        buf_unref(&clients[i].in);
    }
    size_t sessions = COUNT * (sizeof(struct session) + sizeof(struct buf) + 64); /* The test's. */
    if (before != 0) {
        size_t each = (mallinfo2().uordblks - before - sessions) / COUNT;
        print_message("%zu bytes an idle connection\n", each);
        assert_true(each < 2800);
    }
    for (int i = 0; i < COUNT; i++)
        client_end(&clients[i]);
    client_end(&warm);
    mem_free(clients);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_upgrade_tells_the_session_who_it_is),
        TEST(a_frame_right_behind_the_upgrade_arrives),
        TEST(messages_of_all_sizes_arrive_whole),
        TEST(fragments_are_put_together),
        TEST(a_pong_with_a_payload_is_a_sign_of_life),
        TEST(a_binary_message_is_a_bad_one),
        TEST(a_message_beyond_the_limit_closes_1009),
        TEST(broken_frames_close_1002_or_1007),
        TEST(a_session_closes_with_its_code),
        TEST(a_close_from_the_turn_is_sent),
        TEST(a_session_may_be_refused_at_once),
        TEST(a_clients_close_ends_the_session),
        TEST(a_client_that_does_not_read_blocks_its_link),
        TEST(a_blocked_link_can_be_closed),
        TEST(a_reset_ends_the_session),
        cmocka_unit_test_setup_teardown(connections_of_one_address_are_limited,
                                        setup_three_per_address, world_teardown),
        cmocka_unit_test_setup_teardown(a_websocket_beyond_the_limit_is_closed_with_4029,
                                        setup_three_per_address, world_teardown),
        cmocka_unit_test_setup_teardown(few_are_told_by_a_websocket_at_a_time,
                                        setup_three_per_address, world_teardown),
        cmocka_unit_test_setup_teardown(connections_that_never_upgrade_are_limited,
                                        setup_four_waiting, world_teardown),
        cmocka_unit_test_setup_teardown(a_crowd_holds_up_nobody_else, setup_a_hundred_a_second,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(a_crowd_is_let_in_at_a_pace, setup_a_hundred_a_second,
                                        world_teardown),
        TEST(without_file_descriptors_clients_wait),
        TEST(after_stop_nobody_comes_in),
        TEST(a_port_in_use_is_told),
        TEST(an_idle_connection_is_small),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
