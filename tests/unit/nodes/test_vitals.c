/* What a router tells of itself over HTTP, without a socket. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs those above. */
#include <cmocka.h>

#include <string.h>

#include "nodes/vitals.h"

static struct vitals vitals;
static struct http_date date;
static struct buf *out;

static uint64_t wall_ms(struct env *unused)
{
    (void)unused;
    return UINT64_C(1700000000123);
}

static struct env env = {.wall_ms = wall_ms};

static void read_vitals(void *context, struct vitals *ret_vitals)
{
    (void)context;
    *ret_vitals = vitals;
}

static const struct vitals_site site = {
    .node = {.id = "r1", .role = METRICS_ROUTER, .is_once = true, .env = &env, .date = &date},
    .read = read_vitals,
};

static int setup(void **state)
{
    (void)state;
    vitals = (struct vitals){.health = {.shards_total = 64,
                                        .shards_led = 22,
                                        .replicas = 65,
                                        .moves_pending = 4,
                                        .gateways = 2,
                                        .routers_up = 3,
                                        .missing = ""}};
    out = buf_new(0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    buf_unref(&out);
    return 0;
}

/* Each answer ends its connection, and says so. */
static void ask(enum http_method method, const char *path)
{
    const struct http_request request = {.method = method, .path = slice_string(path)};
    buf_clear(out);
    assert_int_equal(vitals_answer(&site, &request, out), HTTP_CLOSE);
    buf_append_byte(out, '\0');
    assert_non_null(strstr((const char *)out->bytes, "\r\nConnection: close\r\n"));
}

static void expect(const char *part)
{
    if (strstr((const char *)out->bytes, part) == NULL)
        fail_msg("no \"%s\" in:\n%s", part, (const char *)out->bytes);
}

/* The one shape that monitors rely on, like a gateway's where they tell the same. */
static void health_says_what_the_router_can_do(void **state)
{
    (void)state;
    ask(HTTP_GET, "/health");
    expect("HTTP/1.1 200 OK\r\n");
    expect("Content-Type: application/json\r\n");
    expect("Cache-Control: no-store\r\n");
    expect("\r\n\r\n{\"status\":\"UP\",\"node\":\"r1\",\"role\":\"router\","
           "\"shards\":{\"total\":64,\"led\":22},\"replicas\":{\"held\":65,\"leaderless\":0},"
           "\"gateways\":2,\"routers\":{\"up\":3,\"missing\":[]},\"timestamp\":1700000000123}");
    vitals.reason = "shards held here have no leader, and routers are missing";
    vitals.health.leaderless = 7;
    vitals.health.routers_up = 1;
    vitals.health.missing = "r2 r3";
    ask(HTTP_GET, "/health");
    expect("HTTP/1.1 503 Service Unavailable\r\n");
    expect("\r\n\r\n{\"status\":\"DOWN\",\"node\":\"r1\"");
    expect("\"replicas\":{\"held\":65,\"leaderless\":7}");
    expect("\"routers\":{\"up\":1,\"missing\":[\"r2\",\"r3\"]},\"reason\":"
           "\"shards held here have no leader, and routers are missing\",\"timestamp\":");
}

/* Also those that are counted nowhere else, as they are now. */
static void metrics_are_the_router_s_own(void **state)
{
    (void)state;
    ask(HTTP_GET, "/metrics");
    expect("HTTP/1.1 200 OK\r\n");
    expect("Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n");
    expect("\nchatmesh_up{node=\"r1\",role=\"router\"} 1\n");
    expect("\nchatmesh_shards_led{node=\"r1\",role=\"router\"} 22\n");
    expect("\nchatmesh_replicas_held{node=\"r1\",role=\"router\"} 65\n");
    expect("\nchatmesh_moves_pending{node=\"r1\",role=\"router\"} 4\n");
    assert_null(strstr((const char *)out->bytes, "chatmesh_sessions_open"));
    vitals.reason = "the router is stopping";
    vitals.health.leaderless = 5;
    ask(HTTP_GET, "/metrics");
    expect("HTTP/1.1 200 OK\r\n"); /* The numbers are good, whatever they say. */
    expect("\nchatmesh_up{node=\"r1\",role=\"router\"} 0\n");
    expect("\nchatmesh_replicas_leaderless{node=\"r1\",role=\"router\"} 5\n");
}

/* HEAD is GET without the body. */
static void head_is_answered_without_a_body(void **state)
{
    (void)state;
    static const char *const paths[] = {"/health", "/metrics", "/nowhere"};
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        ask(HTTP_HEAD, paths[i]);
        expect("Content-Length: ");
        assert_string_equal(strstr((const char *)out->bytes, "\r\n\r\n"), "\r\n\r\n");
    }
}

/* There are two addresses and two methods; what else a gateway has is not here. */
static void nothing_else_is_there(void **state)
{
    (void)state;
    static const char *const paths[] = {"",        "/",      "/health/",  "/ws", "/v1/cluster", "*",
                                        "/Health", "health", "/%68ealth", "/..", "/metrics "};
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        ask(HTTP_GET, paths[i]);
        expect("HTTP/1.1 404 Not Found\r\n");
    }
    static const enum http_method methods[] = {HTTP_OTHER, HTTP_POST, HTTP_PATCH, HTTP_DELETE,
                                               HTTP_OPTIONS};
    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
        ask(methods[i], "/health");
        expect("HTTP/1.1 405 Method Not Allowed\r\n");
        expect("\r\nAllow: GET, HEAD\r\n");
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(health_says_what_the_router_can_do),
        TEST(metrics_are_the_router_s_own),
        TEST(head_is_answered_without_a_body),
        TEST(nothing_else_is_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
