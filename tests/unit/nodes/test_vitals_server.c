/* The sockets under a router's /health, on a loop of their own: who dawdles, who lies, who crowds.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs those above. */
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include "mesh/base/mem.h"
#include "nodes/vitals_server.h"

#define LIFE_MS 1000u
#define WAIT_MS 3000u
#define GET     "GET /health HTTP/1.1\r\nHost: r1\r\n\r\n"

struct world {
    uv_loop_t uv;
    struct env env;
    struct vitals_server *server;
    uint32_t reads; /* Times it was asked how it is. */
};

static uint64_t wall_ms(struct env *env)
{
    (void)env;
    return 1700000000123;
}

static void read_vitals(void *context, struct vitals *ret_vitals)
{
    struct world *w = context;
    w->reads++;
    *ret_vitals = (struct vitals){.health = {.missing = ""}};
}

static struct vitals_server_options options_of(struct world *w)
{
    return (struct vitals_server_options){
        .address = {.host = "127.0.0.1"},
        .life_ms = LIFE_MS,
        .node = "r1",
        .env = &w->env,
        .read = read_vitals,
        .context = w,
    };
}

static int setup(void **state)
{
    struct world *w = mem_new(struct world);
    char reason[VITALS_REASON_SIZE];
    struct vitals_server_options options = options_of(w);
    w->env.wall_ms = wall_ms;
    assert_int_equal(uv_loop_init(&w->uv), 0);
    assert_int_equal(vitals_server_new(&options, &w->uv, reason, &w->server), RC_OK);
    *state = w;
    return 0;
}

/* Whoever is connected, all of it ends with the loop. */
static int teardown(void **state)
{
    struct world *w = *state;
    vitals_server_free(&w->server);
    uv_run(&w->uv, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&w->uv), 0);
    mem_free(w);
    return 0;
}

/* ---- Clients ---- */

static int connect_to(struct world *w)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons(vitals_server_port(w->server)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    return fd;
}

static void say(int fd, const char *text)
{
    (void)!send(fd, text, strlen(text), MSG_NOSIGNAL);
}

static void spin(struct world *w, uint32_t ms)
{
    for (uint64_t until = uv_hrtime() + ms * UINT64_C(1000000); uv_hrtime() < until;) {
        uv_run(&w->uv, UV_RUN_NOWAIT);
        usleep(500);
    }
}

/* Everything that comes until the other side ends it. False: it has not, within WAIT_MS. */
static bool hear(struct world *w, int fd, char *text, size_t room)
{
    size_t size = 0;
    for (uint64_t until = uv_hrtime() + WAIT_MS * UINT64_C(1000000); uv_hrtime() < until;) {
        spin(w, 1);
        ssize_t some = recv(fd, text + size, room - size - 1, MSG_DONTWAIT);
        if (some < 0 && errno == EAGAIN)
            continue;
        size += some > 0 ? (size_t)some : 0;
        text[size] = '\0';
        if (some <= 0)
            return true;
    }
    return false;
}

/* What is answered to it, until the end. */
static void expect_answer(struct world *w, const char *request, const char *status)
{
    char text[4096];
    int fd = connect_to(w);
    say(fd, request);
    assert_true(hear(w, fd, text, sizeof(text)));
    close(fd);
    if (strncmp(text, status, strlen(status)) != 0 || (status[0] == '\0' && text[0] != '\0'))
        fail_msg("not \"%s\": \"%s\"", status, text);
}

/* Was it closed without a word? */
static bool is_closed(struct world *w, int fd)
{
    char text[4096];
    return hear(w, fd, text, sizeof(text)) && text[0] == '\0';
}

/* ---- Tests ---- */

/* One request a connection; what follows it is not looked at. */
static void a_request_is_answered_and_the_connection_ends(void **state)
{
    struct world *w = *state;
    for (uint32_t i = 0; i < 3; i++)
        expect_answer(w, GET, "HTTP/1.1 200 OK\r\n");
    expect_answer(w, GET GET GET, "HTTP/1.1 200 OK\r\n");
    assert_int_equal(w->reads, 4);
    expect_answer(w, "GET /metrics HTTP/1.0\r\n\r\n", "HTTP/1.1 200 OK\r\n");
}

/* However it is cut. */
static void a_request_may_come_byte_by_byte(void **state)
{
    struct world *w = *state;
    char text[4096];
    int fd = connect_to(w);
    for (const char *at = GET; *at != '\0'; at++) {
        assert_int_equal(send(fd, at, 1, MSG_NOSIGNAL), 1);
        spin(w, 1);
    }
    assert_true(hear(w, fd, text, sizeof(text)));
    assert_non_null(strstr(text, "\"status\":\"UP\""));
    close(fd);
}

/* Refused in words where they are understood, and else without any. */
static void what_is_no_request_of_ours_is_refused(void **state)
{
    struct world *w = *state;
    expect_answer(w, "GET /health HTTP/1.1\n\n", "HTTP/1.1 400 Bad Request\r\n");
    expect_answer(w, "GET /health HTTP/1.1\r\n\r\n", "HTTP/1.1 400 Bad Request\r\n");
    expect_answer(w, "GET /health HTTP/2.0\r\nHost: x\r\n\r\n", "HTTP/1.1 505 ");
    expect_answer(w, "POST /health HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
                  "HTTP/1.1 405 ");
    expect_answer(w, "GET /admin HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 404 ");
    expect_answer(w, "\x16\x03\x01\x02", ""); /* TLS. */
    expect_answer(w, "\r\r\r\r", "");
    assert_int_equal(w->reads, 0);
}

/* 4 KiB, whatever they are. */
static void a_head_that_does_not_end_is_refused(void **state)
{
    struct world *w = *state;
    char request[VITALS_HEAD_SIZE_MAX + 2];
    int size = snprintf(request, sizeof(request), "GET /health HTTP/1.1\r\nHost: ");
    memset(request + size, 'x', sizeof(request) - (size_t)size - 1);
    request[sizeof(request) - 1] = '\0';
    expect_answer(w, request, "HTTP/1.1 431 ");
}

/* A body that nobody asked for is thrown away until the answer was taken, but not without end. */
static void who_sends_without_end_is_cut(void **state)
{
    struct world *w = *state;
    static const char part[16384] = {'x'};
    int fd = connect_to(w);
    size_t sent = 0;
    say(fd, GET);
    for (uint64_t until = uv_hrtime() + WAIT_MS * UINT64_C(1000000); uv_hrtime() < until;) {
        ssize_t size = send(fd, part, sizeof(part), MSG_DONTWAIT | MSG_NOSIGNAL);
        if (size < 0 && errno != EAGAIN)
            break;
        sent += size > 0 ? (size_t)size : 0;
        spin(w, 1);
    }
    assert_true(errno == EPIPE || errno == ECONNRESET);
    assert_true(sent >= 65536);
    close(fd);
}

/* Whether it says nothing, or half. */
static void who_dawdles_is_sent_away(void **state)
{
    struct world *w = *state;
    int silent = connect_to(w), slow = connect_to(w);
    say(slow, "GET /health HTTP/1.1\r\n");
    spin(w, LIFE_MS / 3);
    expect_answer(w, GET, "HTTP/1.1 200 OK\r\n"); /* They are in nobody's way. */
    uint64_t began = uv_hrtime();
    assert_true(is_closed(w, silent));
    assert_true(is_closed(w, slow));
    assert_true(uv_hrtime() - began < LIFE_MS * UINT64_C(2000000));
    close(silent);
    close(slow);
}

/* Who holds connections cannot keep a monitor out: the oldest one goes. */
static void a_crowd_does_not_keep_the_next_one_out(void **state)
{
    struct world *w = *state;
    int crowd[VITALS_CONNECTIONS_MAX + 8];
    const uint32_t count = sizeof(crowd) / sizeof(crowd[0]);
    for (uint32_t i = 0; i < count; i++) {
        crowd[i] = connect_to(w);
        say(crowd[i], "GET ");
        spin(w, 1);
    }
    expect_answer(w, GET, "HTTP/1.1 200 OK\r\n");
    for (uint32_t i = 0; i < 8; i++)
        assert_true(is_closed(w, crowd[i]));
    say(crowd[count - 1], &GET[4]); /* Among the youngest: still there. */
    char text[4096];
    assert_true(hear(w, crowd[count - 1], text, sizeof(text)));
    assert_non_null(strstr(text, "200 OK"));
    for (uint32_t i = 0; i < count; i++)
        close(crowd[i]);
}

/* Before it asked, while it is answered, after. */
static void who_goes_at_any_moment_leaves_nothing_behind(void **state)
{
    struct world *w = *state;
    static const char *const said[] = {"", "GET /h", GET, GET "more"};
    for (size_t i = 0; i < 2 * sizeof(said) / sizeof(said[0]); i++) {
        int fd = connect_to(w);
        if (i % 2 == 0)
            spin(w, 1);
        say(fd, said[i / 2]);
        const struct linger reset = {.l_onoff = 1};
        assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)), 0);
        close(fd);
        spin(w, 2);
    }
    expect_answer(w, GET, "HTTP/1.1 200 OK\r\n");
    int fd = connect_to(w); /* Still there when the server goes: see teardown. */
    spin(w, 2);
    close(fd);
}

/* The loop rests meanwhile, and it is answered once there is room. */
static void who_comes_when_no_descriptor_is_left_waits(void **state)
{
    struct world *w = *state;
    char text[4096];
    struct rlimit limit;
    int fd = connect_to(w);
    say(fd, GET);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    const struct rlimit none = {.rlim_cur = (rlim_t)fd + 1, .rlim_max = limit.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    spin(w, 50);
    assert_int_equal(w->reads, 0);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_true(hear(w, fd, text, sizeof(text)));
    assert_non_null(strstr(text, "200 OK"));
    close(fd);
}

/* One sentence, and nothing is left open. */
static void a_port_in_use_is_told(void **state)
{
    struct world *w = *state;
    char reason[VITALS_REASON_SIZE], expected[VITALS_REASON_SIZE];
    struct vitals_server *other = NULL;
    struct vitals_server_options options = options_of(w);
    options.address.port = vitals_server_port(w->server);
    assert_int_equal(vitals_server_new(&options, &w->uv, reason, &other), RC_CONFIG);
    assert_null(other);
    snprintf(expected, sizeof(expected),
             "cannot listen on 127.0.0.1 port %u: Address already in use", options.address.port);
    assert_string_equal(reason, expected);
}

/* A port alone is for this machine only. */
static void an_address_is_numeric_and_has_a_port(void **state)
{
    (void)state;
    static const struct {
        const char *text, *host;
        uint16_t port;
    } good[] = {
        {"7480", "127.0.0.1", 7480}, {"10.0.0.1:7480", "10.0.0.1", 7480},
        {"0.0.0.0:1", "0.0.0.0", 1}, {"[::1]:7480", "::1", 7480},
        {"[::]:65535", "::", 65535},
    };
    static const char *const bad[] = {"",
                                      "0",
                                      "65536",
                                      "74800000000",
                                      "7480x",
                                      "-1",
                                      " 7480",
                                      "localhost:7480",
                                      "*:7480",
                                      "10.0.0.1",
                                      "10.0.0.1:",
                                      "10.0.0.1:0",
                                      "10.0.0.1:*",
                                      "::1:7480",
                                      "[::1]",
                                      "[::1:7480",
                                      "[10.0.0.1]:7480",
                                      "10.0.0.256:7480",
                                      "http://10.0.0.1:7480",
                                      "10.0.0.1:7480/",
                                      "*"};
    struct vitals_address address;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_int_equal(vitals_address_parse(good[i].text, &address), RC_OK);
        assert_string_equal(address.host, good[i].host);
        assert_int_equal(address.port, good[i].port);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (vitals_address_parse(bad[i], &address) == RC_OK)
            fail_msg("taken: \"%s\"", bad[i]);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_request_is_answered_and_the_connection_ends),
        TEST(a_request_may_come_byte_by_byte),
        TEST(what_is_no_request_of_ours_is_refused),
        TEST(a_head_that_does_not_end_is_refused),
        TEST(who_sends_without_end_is_cut),
        TEST(who_dawdles_is_sent_away),
        TEST(a_crowd_does_not_keep_the_next_one_out),
        TEST(who_goes_at_any_moment_leaves_nothing_behind),
        TEST(who_comes_when_no_descriptor_is_left_waits),
        TEST(a_port_in_use_is_told),
        cmocka_unit_test(an_address_is_numeric_and_has_a_port),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
