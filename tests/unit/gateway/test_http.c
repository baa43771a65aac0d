/* http: every path, method and refusal, without a socket. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "gateway/http.h"
#include "mesh/base/crypto.h"
#include "mesh/base/mem.h"
#include "tests/support/query_append.h"

#define NOW_MS UINT64_C(1700000000123)

static struct auth auth;
static struct http_site site;
static struct http_date date;
static struct gateway_health health;
static struct buf *out;

static struct gateway_health health_now(void *context)
{
    (void)context;
    return health;
}

static uint64_t wall_ms(struct env *unused)
{
    (void)unused;
    return NOW_MS;
}

static struct env env = {.wall_ms = wall_ms};

static const struct web_file files[] = {
    {"index.html", "text/html; charset=utf-8", "\"e1\"", (const uint8_t *)"<p>chat", 7},
    {"admin.html", "text/html; charset=utf-8", "\"e2\"", (const uint8_t *)"<p>admin", 8},
    {"client.js", "text/javascript; charset=utf-8", "\"e3\"", (const uint8_t *)"let x", 5},
};

static int setup(void **state)
{
    (void)state;
    crypto_start();
    memset(&auth, 0, sizeof(auth));
    struct auth_key key = {.id = "k1", .algorithm = AUTH_HS256, .size = 32, .can_sign = true};
    memset(key.bytes, 7, key.size);
    assert_int_equal(auth_add_key(&auth, &key), RC_OK);
    health = (struct gateway_health){.up = true,
                                     .connections = 3,
                                     .users = 2,
                                     .shards_total = 64,
                                     .shards_led = 64,
                                     .routers_up = 3};
    site = (struct http_site){
        .node = {.id = "g1", .role = METRICS_GATEWAY, .env = &env, .date = &date},
        .auth = &auth,
        .files = files,
        .file_count = sizeof(files) / sizeof(files[0]),
        .body_size_max = 131072,
        .health = health_now,
    };
    out = buf_new(0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    buf_unref(&out);
    return 0;
}

static struct http_request request_of(enum http_method method, const char *path)
{
    return (struct http_request){
        .method = method, .path = slice_string(path), .host = slice_string("chat.example:8080")};
}

/* The response as a string; it lives until the next call. */
static const char *text(void)
{
    *buf_reserve(out, 1) = '\0';
    return (const char *)out->bytes;
}

static void expect_part(const char *part)
{
    if (strstr(text(), part) == NULL)
        fail_msg("\"%s\" is not in:\n%s", part, text());
}

static void expect_status(unsigned status)
{
    char line[32];
    snprintf(line, sizeof(line), "HTTP/1.1 %u ", status);
    if (strncmp(text(), line, strlen(line)) != 0)
        fail_msg("not %u:\n%s", status, text());
}

/* An error closes, has a JSON body with this code, and tells its length right. */
static void expect_error(unsigned status, const char *code)
{
    expect_status(status);
    expect_part("Connection: close\r\n");
    char part[64];
    snprintf(part, sizeof(part), "\r\n\r\n{\"error\":{\"code\":\"%s\",\"message\":\"", code);
    expect_part(part);
    const char *body = strstr(text(), "\r\n\r\n") + 4;
    snprintf(part, sizeof(part), "Content-Length: %zu\r\n", strlen(body));
    expect_part(part);
}

static enum http_next answer(const struct http_request *request)
{
    buf_clear(out);
    return http_answer(&site, request, out);
}

/* The one shape that monitors rely on. */
static void health_says_what_the_gateway_can_do(void **state)
{
    (void)state;
    struct http_request request = request_of(HTTP_GET, "/health");
    assert_int_equal(answer(&request), HTTP_KEEP);
    expect_status(200);
    expect_part("Content-Type: application/json\r\n");
    expect_part("\r\n\r\n{\"status\":\"UP\",\"node\":\"g1\",\"role\":\"gateway\","
                "\"active_connections\":3,\"online_users\":2,\"shards\":{\"total\":64,\"led\":64},"
                "\"routers\":{\"up\":3,\"missing\":[]},\"timestamp\":1700000000123}");
    health.up = false;
    health.reason = "shards have no leader";
    health.shards_led = 63;
    health.routers_up = 1;
    snprintf(health.missing, sizeof(health.missing), "r2 r3");
    assert_int_equal(answer(&request), HTTP_KEEP);
    expect_status(503);
    expect_part("\"status\":\"DOWN\"");
    expect_part("\"routers\":{\"up\":1,\"missing\":[\"r2\",\"r3\"]},"
                "\"reason\":\"shards have no leader\",\"timestamp\":");
}

/* Prometheus' text format, under this node's name. */
static void metrics_are_prometheus_text(void **state)
{
    (void)state;
    struct http_request request = request_of(HTTP_GET, "/metrics");
    assert_int_equal(answer(&request), HTTP_KEEP);
    expect_status(200);
    expect_part("Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n");
    expect_part("chatmesh_connections_active{node=\"g1\",role=\"gateway\"} ");
}

/* `/` and `/admin` are pages, the rest goes by its name. */
static void files_are_served_by_name(void **state)
{
    (void)state;
    struct http_request request = request_of(HTTP_GET, "/");
    assert_int_equal(answer(&request), HTTP_KEEP);
    expect_status(200);
    expect_part("Content-Type: text/html; charset=utf-8\r\n");
    expect_part("ETag: \"e1\"\r\n");
    expect_part("Cache-Control: no-cache\r\n");
    expect_part("X-Content-Type-Options: nosniff\r\n");
    expect_part("Content-Security-Policy: default-src 'self'; connect-src 'self' ws: wss:;");
    expect_part("Content-Length: 7\r\n");
    expect_part("\r\n\r\n<p>chat");
    request = request_of(HTTP_GET, "/admin");
    assert_int_equal(answer(&request), HTTP_KEEP);
    expect_part("\r\n\r\n<p>admin");
    request = request_of(HTTP_GET, "/client.js");
    assert_int_equal(answer(&request), HTTP_KEEP);
    expect_part("Content-Type: text/javascript; charset=utf-8\r\n");
}

/* The browser has these bytes already. */
static void a_known_etag_is_answered_304(void **state)
{
    (void)state;
    struct http_request request = request_of(HTTP_GET, "/");
    request.if_none_match = slice_string("\"e1\"");
    assert_int_equal(answer(&request), HTTP_KEEP);
    expect_status(304);
    assert_null(strstr(text(), "<p>chat"));
    assert_null(strstr(text(), "Content-Length"));
    static const char *const known[] = {
        "*",       "W/\"e1\"",        "\"old\", \"e1\"", "\"a,b\",W/\"c\" ,\t\"e1\"",
        ",\"e1\"", "\"\",W/\"e1\" ,", "\"old\"\"e1\""};
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        request.if_none_match = slice_string(known[i]);
        assert_int_equal(answer(&request), HTTP_KEEP);
        expect_status(304);
    }
    static const char *const others[] = {"\"old\"",    "",          "e1",      "\"e1",
                                         "W/",         "*, \"e2\"", "\"e1x\"", "w/\"e1\"",
                                         "W/W/\"e1\"", "\"x\\\"e1"};
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        request.if_none_match = slice_string(others[i]);
        assert_int_equal(answer(&request), HTTP_KEEP);
        expect_status(200);
    }
}

/* Whatever the answer is. */
static void every_response_has_a_date(void **state)
{
    (void)state;
    static const char *const paths[] = {"/", "/health", "/metrics", "/nowhere", "/ws"};
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        struct http_request request = request_of(HTTP_GET, paths[i]);
        (void)!answer(&request);
        expect_part("\r\nDate: Tue, 14 Nov 2023 22:13:20 GMT\r\n");
    }
}

/* Made once a second, and right where calendars are odd. */
static void a_date_is_made_once_a_second(void **state)
{
    (void)state;
    struct http_date clock = {0};
    assert_string_equal(http_date_text(&clock, 0), "Thu, 01 Jan 1970 00:00:00 GMT");
    assert_string_equal(http_date_text(&clock, 951782399999), "Mon, 28 Feb 2000 23:59:59 GMT");
    assert_string_equal(http_date_text(&clock, 951782400000), "Tue, 29 Feb 2000 00:00:00 GMT");
    clock.text[0] = 'X'; /* As long as it is the same second, the same text. */
    assert_string_equal(http_date_text(&clock, 951782400999), "Xue, 29 Feb 2000 00:00:00 GMT");
    assert_string_equal(http_date_text(&clock, 951782401000), "Tue, 29 Feb 2000 00:00:01 GMT");
    assert_string_equal(http_date_text(&clock, UINT64_MAX), "Fri, 31 Dec 9999 23:59:59 GMT");
}

/* HEAD is GET without the body. */
static void head_is_answered_without_a_body(void **state)
{
    (void)state;
    static const char *const paths[] = {"/", "/health", "/metrics", "/nowhere"};
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        struct http_request request = request_of(HTTP_HEAD, paths[i]);
        (void)!answer(&request);
        expect_part("Content-Length: ");
        assert_string_equal(strstr(text(), "\r\n\r\n"), "\r\n\r\n");
    }
}

/* No file outside the table can be named at all. */
static void an_unknown_path_is_404(void **state)
{
    (void)state;
    static const char *const paths[] = {"/nowhere", "/index.htm", "/../etc/passwd", "//", "/.html",
                                        "/Health",  "/v1"};
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        struct http_request request = request_of(HTTP_GET, paths[i]);
        assert_int_equal(answer(&request), HTTP_CLOSE);
        expect_error(404, "not_found");
    }
    struct http_request request = request_of(HTTP_GET, "*");
    assert_int_equal(answer(&request), HTTP_CLOSE);
    expect_error(400, "bad_request");
    request = request_of(HTTP_GET, "");
    assert_int_equal(answer(&request), HTTP_CLOSE);
    expect_error(400, "bad_request");
}

/* What may be done instead is in Allow. */
static void a_wrong_method_is_405(void **state)
{
    (void)state;
    struct http_request request = request_of(HTTP_POST, "/health");
    request.content_length = slice_string("0");
    assert_int_equal(answer(&request), HTTP_CLOSE);
    expect_error(405, "bad_request");
    expect_part("Allow: GET, HEAD\r\n");
    request = request_of(HTTP_OTHER, "/");
    assert_int_equal(answer(&request), HTTP_CLOSE);
    expect_error(405, "bad_request");
    site.is_dev = true;
    request = request_of(HTTP_GET, "/v1/dev/token");
    assert_int_equal(answer(&request), HTTP_CLOSE);
    expect_error(405, "bad_request");
    expect_part("Allow: POST\r\n");
}

/* Without an upgrade there is nothing to get at /ws. */
static void the_socket_path_asks_for_an_upgrade(void **state)
{
    (void)state;
    struct http_request request = request_of(HTTP_GET, "/ws");
    assert_int_equal(answer(&request), HTTP_CLOSE);
    expect_error(426, "bad_request");
    expect_part("Upgrade: websocket\r\n");
}

/* A body is refused before a byte of it is read where its length is not plain. */
static void the_length_of_a_body_is_judged_first(void **state)
{
    (void)state;
    site.is_dev = true;
    static const struct {
        const char *length, *encoding;
        unsigned status;
        const char *code;
    } cases[] = {
        {"5", "chunked", 400, "bad_request"},
        {NULL, "", 400, "bad_request"},
        {NULL, "identity", 400, "bad_request"},
        {NULL, "gzip, chunked", 400, "bad_request"},
        {NULL, "chunked, chunked", 400, "bad_request"},
        {NULL, "xchunked", 400, "bad_request"},
        {"4097", NULL, 413, "too_large"},
        {"99999999999999999999999999", NULL, 413, "too_large"},
        {"-1", NULL, 400, "bad_request"},
        {"", NULL, 400, "bad_request"},
        {"5,5", NULL, 400, "bad_request"},
        {"0x10", NULL, 400, "bad_request"},
        {"+5", NULL, 400, "bad_request"},
        {"99999999999999999999x", NULL, 400, "bad_request"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct http_request request = request_of(HTTP_POST, "/v1/dev/token");
        if (cases[i].length != NULL)
            request.content_length = slice_string(cases[i].length);
        if (cases[i].encoding != NULL)
            request.transfer_encoding = slice_string(cases[i].encoding);
        assert_int_equal(answer(&request), HTTP_CLOSE);
        expect_error(cases[i].status, cases[i].code);
    }
    struct http_request request = request_of(HTTP_POST, "/v1/dev/token");
    request.content_length = slice_string("4096");
    assert_int_equal(answer(&request), HTTP_BODY);
    assert_int_equal(out->size, 0);
    assert_int_equal(http_body_size_max(&site, &request), HTTP_BODY_SIZE_MAX);
    request = request_of(HTTP_POST, "/v1/dev/token");
    request.transfer_encoding = slice_string("Chunked");
    assert_int_equal(answer(&request), HTTP_BODY);
    assert_true(http_is_chunked(&request) && http_has_body(&request));
    request.is_old = true;
    assert_int_equal(answer(&request), HTTP_CLOSE);
    expect_error(400, "bad_request");
}

/* Of a body that will be read, in HTTP/1.1; whatever else is expected is refused. */
static void what_is_expected_is_100_continue_or_refused(void **state)
{
    (void)state;
    struct http_request request = request_of(HTTP_POST, "/v1/x");
    request.expect = slice_string("100-Continue");
    assert_int_equal(answer(&request), HTTP_API);
    assert_false(http_expects_continue(&request));
    request.content_length = slice_string("5");
    assert_int_equal(answer(&request), HTTP_API);
    assert_true(http_expects_continue(&request));
    request.is_old = true;
    assert_int_equal(answer(&request), HTTP_API);
    assert_false(http_expects_continue(&request));
    static const char *const others[] = {"magic", "", "100-continue, 100-continue", "100"};
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        request = request_of(HTTP_GET, "/health");
        request.expect = slice_string(others[i]);
        assert_int_equal(answer(&request), HTTP_CLOSE);
        expect_error(417, "bad_request");
    }
}

static enum http_next answer_body(const char *body)
{
    buf_clear(out);
    return http_answer_body(&site, slice_string(body), out);
}

/* The token names the user and is one that this gateway takes. */
static void a_development_token_is_good(void **state)
{
    (void)state;
    site.is_dev = true;
    assert_int_equal(answer_body(" {\"user\":\"al\\u0069ce\",\"x\":[1],\"device\":\"phone\"}\n"),
                     HTTP_KEEP);
    expect_status(200);
    expect_part("Cache-Control: no-store\r\n");
    const char *token = strstr(text(), "{\"token\":\"");
    assert_non_null(token);
    token += strlen("{\"token\":\"");
    struct slice slice = slice_of(token, strcspn(token, "\""));
    assert_string_equal(token + slice.size, "\"}");
    struct auth_identity identity;
    const char *reason = NULL;
    assert_int_equal(auth_verify(&auth, slice, NOW_MS / 1000, &identity, &reason), RC_OK);
    assert_string_equal(identity.user, "alice");
    assert_string_equal(identity.device, "phone");
}

/* Anything else in the body is an error that says what is wrong. */
static void a_bad_token_request_is_400(void **state)
{
    (void)state;
    static const char *const bodies[] = {
        "",
        " ",
        "{",
        "[]",
        "1",
        "\"user\"",
        "{}",
        "{\"user\":1}",
        "{\"user\":\"\"}",
        "{\"user\":\"a\",\"user\":\"b\"}",
        "{\"user\":\"a\\u0000\"}",
        "{\"user\":\"a\",\"device\":\"\"}",
        "{\"user\":\"a\",\"device\":null}",
        "{\"user\":\"a\"}x",
    };
    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
        assert_int_equal(answer_body(bodies[i]), HTTP_CLOSE);
        expect_error(400, "bad_request");
    }
}

/* Whatever was promised in Content-Length, the body itself is measured. */
static void a_long_body_is_413(void **state)
{
    (void)state;
    char *body = mem_zero(HTTP_BODY_SIZE_MAX + 2);
    memset(body, ' ', HTTP_BODY_SIZE_MAX + 1);
    assert_int_equal(answer_body(body), HTTP_CLOSE);
    expect_error(413, "too_large");
    mem_free(body);
}

/* A gateway that can only verify says so. */
static void without_a_signing_key_there_is_no_token(void **state)
{
    (void)state;
    auth.keys[0].can_sign = false;
    assert_int_equal(answer_body("{\"user\":\"a\"}"), HTTP_CLOSE);
    expect_error(503, "unavailable");
}

/* A page of another site must not fetch itself a token. */
static void a_foreign_page_gets_no_token(void **state)
{
    (void)state;
    site.is_dev = true;
    struct http_request request = request_of(HTTP_POST, "/v1/dev/token");
    request.content_length = slice_string("2");
    request.origin = slice_string("http://evil.example");
    assert_int_equal(answer(&request), HTTP_CLOSE);
    expect_error(403, "forbidden");
}

/* Whoever owns a name can point it here: then his page is of our own origin. */
static void a_page_under_a_name_of_anybody_gets_no_token(void **state)
{
    (void)state;
    static const char *const own[] = {"localhost:8080", "LOCALHOST", "127.0.0.1:8080", "10.0.0.4",
                                      "[::1]:8080"};
    static const char *const others[] = {"evil.example:8080", "localhost.evil.example",
                                         "127.0.0.1.evil.example", "evil", "10.0.0.4x"};
    site.is_dev = true;
    struct http_request request = request_of(HTTP_POST, "/v1/dev/token");
    request.content_length = slice_string("2");
    char origin[64];
    for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++) {
        (void)snprintf(origin, sizeof(origin), "http://%s", own[i]);
        request.host = slice_string(own[i]);
        request.origin = slice_string(origin);
        assert_int_equal(answer(&request), HTTP_BODY);
    }
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        (void)snprintf(origin, sizeof(origin), "http://%s", others[i]);
        request.host = slice_string(others[i]);
        request.origin = slice_string(origin);
        assert_int_equal(answer(&request), HTTP_CLOSE);
        expect_error(403, "forbidden");
    }
    site.origins = (const char *const[]){origin};
    site.origin_count = 1;
    assert_int_equal(answer(&request), HTTP_BODY);
}

static struct http_request upgrade_request(const char *query)
{
    struct http_request request = request_of(HTTP_GET, "/ws");
    request.upgrade = slice_string("WebSocket");
    request.has_connection_upgrade = true;
    request.websocket_version = slice_string("13");
    request.websocket_key = slice_string("dGhlIHNhbXBsZSBub25jZQ==");
    request.query = slice_string(query);
    return request;
}

static bool upgrade(const struct http_request *request, struct http_upgrade *ret_upgrade)
{
    buf_clear(out);
    bool is_allowed = http_upgrade(&site, request, ret_upgrade, out);
    assert_true(is_allowed == (out->size == 0));
    return is_allowed;
}

/* `connect` comes later then. */
static void an_upgrade_needs_no_token(void **state)
{
    (void)state;
    struct http_request request = upgrade_request("device=my%20phone&batch=1");
    struct http_upgrade judged;
    assert_true(upgrade(&request, &judged));
    assert_false(judged.has_identity);
    assert_true(judged.batch);
    assert_true(slice_equals(slice_of(judged.device, judged.device_size), "my phone"));
    request = upgrade_request("batch=0");
    assert_true(upgrade(&request, &judged));
    assert_false(judged.batch);
    assert_int_equal(judged.device_size, 0);
}

static void make_token(struct buf *token, const char *device)
{
    assert_int_equal(
        auth_sign(&auth, slice_string("alice"), slice_string(device), NOW_MS / 1000, 60, token),
        RC_OK);
}

/* In the query or in the header, and the header goes first. */
static void a_good_token_names_the_user(void **state)
{
    (void)state;
    struct buf *token = buf_new(0), *query = buf_new(0), *header = buf_new(0);
    make_token(token, "");
    query_append(query, slice_string("token"), buf_slice(token));
    buf_append_byte(query, '\0');
    struct http_request request = upgrade_request((const char *)query->bytes);
    struct http_upgrade judged;
    assert_true(upgrade(&request, &judged));
    assert_true(judged.has_identity);
    assert_string_equal(judged.identity.user, "alice");

    request = upgrade_request("token=bad");
    buf_append_string(header, "bearer ");
    buf_append_slice(header, buf_slice(token));
    request.authorization = buf_slice(header);
    assert_true(upgrade(&request, &judged));
    assert_true(judged.has_identity);
    buf_unref(&token);
    buf_unref(&query);
    buf_unref(&header);
}

/* No upgrade on a bad token, and the token is not in the answer. */
static void a_bad_token_is_401(void **state)
{
    (void)state;
    static const char *const queries[] = {"token=", "token=secretsecret", "token=%zz",
                                          "token=a&token=b"};
    struct http_upgrade judged;
    for (size_t i = 0; i < sizeof(queries) / sizeof(queries[0]); i++) {
        struct http_request request = upgrade_request(queries[i]);
        assert_false(upgrade(&request, &judged));
        expect_error(401, "unauthorized");
        expect_part("WWW-Authenticate: Bearer\r\n");
        assert_null(strstr(text(), "secret"));
        assert_false(judged.has_identity);
    }
    struct http_request request = upgrade_request("");
    request.authorization = slice_string("Bearer secretsecret");
    assert_false(upgrade(&request, &judged));
    expect_error(401, "unauthorized");
}

/* Its own device, or none named, is fine; the first frame need not be waited for. */
static void a_token_for_another_device_is_401(void **state)
{
    (void)state;
    struct buf *token = buf_new(0), *header = buf_new(0);
    struct http_upgrade judged;
    make_token(token, "phone");
    buf_append_string(header, "Bearer ");
    buf_append_slice(header, buf_slice(token));
    static const char *const queries[] = {"", "device=phone", "device=phon", "device=desk"};
    for (size_t i = 0; i < sizeof(queries) / sizeof(queries[0]); i++) {
        struct http_request request = upgrade_request(queries[i]);
        request.authorization = buf_slice(header);
        assert_true(upgrade(&request, &judged) == (i < 2));
        assert_true(judged.has_identity == (i < 2));
        if (i < 2)
            continue;
        expect_error(401, "unauthorized");
        expect_part("the token is for another device");
    }
    buf_unref(&token);
    buf_unref(&header);
}

/* The protocol's rules for names hold here as well. */
static void a_bad_device_is_400(void **state)
{
    (void)state;
    static const char *const queries[] = {
        "device=",
        "device=a%0ab",
        "device=%ff",
        "device=a&device=b",
        "batch=yes+please",
        "device=12345678901234567890123456789012345678901234567890123456789012345",
    };
    struct http_upgrade judged;
    for (size_t i = 0; i < sizeof(queries) / sizeof(queries[0]); i++) {
        struct http_request request = upgrade_request(queries[i]);
        assert_false(upgrade(&request, &judged));
        expect_error(400, "bad_request");
    }
}

/* Path, method, body and version, each for itself. */
static void an_upgrade_that_is_none_is_refused(void **state)
{
    (void)state;
    struct http_upgrade judged;
    struct http_request request = upgrade_request("");
    request.path = slice_string("/");
    assert_false(upgrade(&request, &judged));
    expect_error(404, "not_found");
    request = upgrade_request("");
    request.method = HTTP_POST;
    assert_false(upgrade(&request, &judged));
    expect_error(405, "bad_request");
    request = upgrade_request("");
    request.content_length = slice_string("1");
    assert_false(upgrade(&request, &judged));
    expect_error(400, "bad_request");
    request = upgrade_request("");
    request.websocket_version = slice_string("8");
    assert_false(upgrade(&request, &judged));
    expect_error(426, "unsupported");
    expect_part("Sec-WebSocket-Version: 13\r\n");
    request = upgrade_request("");
    request.has_connection_upgrade = false;
    assert_false(upgrade(&request, &judged));
    expect_error(400, "bad_request");
    request = upgrade_request("");
    request.is_last = true;
    assert_false(upgrade(&request, &judged));
    expect_error(400, "bad_request");
    request = upgrade_request("");
    request.websocket_key = slice_string("short");
    assert_false(upgrade(&request, &judged));
    expect_error(400, "bad_request");
}

/* Whatever else the header says is no wish that is heard. */
static void only_a_websocket_is_an_upgrade(void **state)
{
    (void)state;
    struct http_request request = upgrade_request("");
    assert_true(http_is_upgrade(&request));
    static const char *const others[] = {"", "h2c", "websocketx", "websocket, h2c", "TLS/1.0"};
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        request.upgrade = slice_string(others[i]);
        assert_false(http_is_upgrade(&request));
    }
    request.upgrade = (struct slice){0};
    assert_false(http_is_upgrade(&request));
}

static bool origin_is_allowed(const char *origin)
{
    struct http_request request = upgrade_request("");
    request.origin = slice_string(origin);
    struct http_upgrade judged;
    bool is_allowed = upgrade(&request, &judged);
    if (!is_allowed)
        expect_error(403, "forbidden");
    return is_allowed;
}

/* The page came from this very host and port. */
static void the_sites_own_origin_is_allowed(void **state)
{
    (void)state;
    assert_true(origin_is_allowed("http://chat.example:8080"));
    assert_true(origin_is_allowed("https://Chat.Example:8080"));
}

/* Neither a beginning, nor an end, nor another port will do. */
static void other_origins_are_refused(void **state)
{
    (void)state;
    static const char *const list[] = {"https://app.example"};
    site.origins = list;
    site.origin_count = 1;
    static const char *const refused[] = {
        "",
        "null",
        "*",
        "http://",
        "http://chat.example",
        "http://chat.example:80801",
        "http://xchat.example:8080",
        "ftp://chat.example:8080",
        "chat.example:8080",
        "https://app.example.evil.example",
        "https://app.example:443",
        "http://app.example",
        "https://app.example,https://evil.example",
    };
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
        assert_false(origin_is_allowed(refused[i]));
    assert_true(origin_is_allowed("https://app.example"));
}

/* Only where the operator wrote the star. */
static void a_star_allows_every_origin(void **state)
{
    (void)state;
    static const char *const list[] = {"*"};
    site.origins = list;
    site.origin_count = 1;
    assert_true(origin_is_allowed("http://evil.example"));
    assert_true(origin_is_allowed("null"));
}

/* ---- The API ---- */

/* Whatever is under /v1/ is the API's, in any method, but for the document and the dev token. */
static void what_is_under_v1_is_the_apis(void **state)
{
    (void)state;
    static const enum http_method methods[] = {HTTP_GET,   HTTP_HEAD,   HTTP_POST,
                                               HTTP_PATCH, HTTP_DELETE, HTTP_OTHER};
    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
        struct http_request request = request_of(methods[i], "/v1/none");
        assert_int_equal(answer(&request), HTTP_API);
        assert_int_equal(out->size, 0);
    }
    struct http_request token = request_of(HTTP_POST, "/v1/dev/token");
    assert_int_equal(answer(&token), HTTP_API); /* As any other, where it does not exist. */
    site.is_dev = true;
    assert_int_equal(answer(&token), HTTP_BODY); /* An empty one. */
}

/* What the API is told of a request. */
static void the_api_is_told_what_it_needs(void **state)
{
    (void)state;
    struct http_request request = request_of(HTTP_PATCH, "/v1/x");
    request.query = slice_string("a=1");
    request.authorization = slice_string("Bearer t");
    request.content_length = slice_string("12");
    struct api_head head = http_api_head(&site, &request);
    assert_int_equal(head.method, API_PATCH);
    assert_true(slice_equals(head.path, "/v1/x") && slice_equals(head.query, "a=1"));
    assert_true(slice_equals(head.authorization, "Bearer t"));
    assert_false(head.is_dev);
    assert_int_equal(http_body_size(&request), 12);
    request.method = HTTP_HEAD;
    assert_int_equal(http_api_head(&site, &request).method, API_OTHER);
}

/* A body is of a length that is told and allowed; whether there may be one, the API knows. */
static void a_body_for_the_api_is_judged_by_its_head(void **state)
{
    (void)state;
    static const struct {
        enum http_method method;
        const char *length;
        unsigned status; /* 0: it passes. */
    } cases[] = {
        {HTTP_POST, "131072", 0}, {HTTP_POST, "131073", 413}, {HTTP_POST, "5", 0},
        {HTTP_POST, "0", 0},      {HTTP_POST, NULL, 0},       {HTTP_PATCH, "5", 0},
        {HTTP_GET, "5", 0},       {HTTP_OTHER, "1", 0},       {HTTP_DELETE, "0", 0},
        {HTTP_OPTIONS, "1", 400}, {HTTP_POST, "5,5", 400},    {HTTP_POST, "+5", 400},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct http_request request = request_of(cases[i].method, "/v1/x");
        if (cases[i].length != NULL)
            request.content_length = slice_string(cases[i].length);
        if (answer(&request) != HTTP_API)
            expect_status(cases[i].status);
        else if (cases[i].status != 0)
            fail_msg("case %zu passes", i);
    }
}

static void put_api(const struct http_request *request, const struct api_answer *api_answer,
                    bool will_close)
{
    struct http_api api;
    http_api_init(&api, request);
    api.will_close = will_close;
    buf_clear(out);
    http_put_api(&site, &api, api_answer, out);
    http_api_fini(&api);
}

/* Status, headers and body of each kind of answer. */
static void answers_of_the_api_are_whole(void **state)
{
    (void)state;
    struct http_request request = request_of(HTTP_GET, "/v1/x");
    struct api_answer fine = {.status = 201, .body = slice_string("{\"a\":1}")};
    put_api(&request, &fine, false);
    expect_status(201);
    expect_part("Content-Type: application/json\r\n");
    expect_part("Content-Length: 7\r\n");
    expect_part("Cache-Control: no-store\r\n");
    expect_part("\r\n\r\n{\"a\":1}");
    assert_null(strstr(text(), "Connection"));
    assert_null(strstr(text(), "Access-Control"));

    struct api_answer nothing = {.status = 204};
    put_api(&request, &nothing, true);
    expect_status(204);
    expect_part("Connection: close\r\n");
    assert_null(strstr(text(), "Content-Length"));

    struct api_answer wait = {.status = 503, .body = slice_string("{}"), .retry_s = 3};
    put_api(&request, &wait, false);
    expect_part("Retry-After: 3\r\n");
    struct api_answer who = {.status = 401, .body = slice_string("{}")};
    put_api(&request, &who, false);
    expect_part("WWW-Authenticate: Bearer\r\n");
    struct api_answer method = {.status = 405, .body = slice_string("{}"), .allow = "GET, PATCH"};
    request.method = HTTP_HEAD;
    put_api(&request, &method, false);
    expect_part("Allow: GET, PATCH\r\n");
    expect_part("Content-Length: 2\r\n");
    assert_string_equal(strstr(text(), "\r\n\r\n"), "\r\n\r\n");
}

/* A page of an allowed origin may ask and read; of another one it is refused before anything is
 * done. */
static void pages_of_allowed_origins_may_use_the_api(void **state)
{
    (void)state;
    static const char *const origins[] = {"https://app.example"};
    site.origins = origins;
    site.origin_count = 1;
    struct http_request request = request_of(HTTP_OPTIONS, "/v1/x");
    request.origin = slice_string("https://app.example");
    assert_int_equal(answer(&request), HTTP_KEEP);
    expect_status(204);
    expect_part("Access-Control-Allow-Origin: https://app.example\r\n");
    expect_part("Access-Control-Allow-Methods: GET, POST, PATCH, DELETE\r\n");
    expect_part("Access-Control-Allow-Headers: authorization, content-type\r\n");
    expect_part("Vary: Origin\r\n");
    request.method = HTTP_DELETE;
    assert_int_equal(answer(&request), HTTP_API);
    struct api_answer done = {.status = 204};
    put_api(&request, &done, false);
    expect_part("Access-Control-Allow-Origin: https://app.example\r\n");
    request.origin = slice_string("https://evil.example");
    assert_int_equal(answer(&request), HTTP_CLOSE);
    expect_error(403, "forbidden");
    request.method = HTTP_OPTIONS;
    assert_int_equal(answer(&request), HTTP_CLOSE);
    assert_null(strstr(text(), "Access-Control"));
}

/* An origin that is no plain text is not echoed, whoever is allowed. */
static void an_odd_origin_is_not_echoed(void **state)
{
    (void)state;
    static const char *const origins[] = {"*"};
    site.origins = origins;
    site.origin_count = 1;
    static const char *const odd[] = {"http://a\r\nX: y", "http://a b", "\x80", ""};
    for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
        struct http_request request = request_of(HTTP_GET, "/v1/x");
        request.origin = slice_string(odd[i]);
        struct api_answer done = {.status = 204};
        put_api(&request, &done, false);
        assert_null(strstr(text(), "Access-Control"));
    }
}

/* The document is a file like the pages, and anybody may read it. */
static void the_openapi_document_is_served(void **state)
{
    (void)state;
    static const struct web_file document[] = {
        {"openapi.json", "application/json", "\"e4\"", (const uint8_t *)"{}", 2},
    };
    site.files = document;
    site.file_count = 1;
    struct http_request request = request_of(HTTP_GET, "/v1/openapi.json");
    assert_int_equal(answer(&request), HTTP_KEEP);
    expect_status(200);
    expect_part("Content-Type: application/json\r\n");
    request.method = HTTP_OTHER;
    assert_int_equal(answer(&request), HTTP_CLOSE);
    expect_error(405, "bad_request");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(health_says_what_the_gateway_can_do),
        TEST(metrics_are_prometheus_text),
        TEST(files_are_served_by_name),
        TEST(a_known_etag_is_answered_304),
        TEST(every_response_has_a_date),
        TEST(a_date_is_made_once_a_second),
        TEST(head_is_answered_without_a_body),
        TEST(an_unknown_path_is_404),
        TEST(a_wrong_method_is_405),
        TEST(the_socket_path_asks_for_an_upgrade),
        TEST(the_length_of_a_body_is_judged_first),
        TEST(what_is_expected_is_100_continue_or_refused),
        TEST(a_development_token_is_good),
        TEST(a_bad_token_request_is_400),
        TEST(a_long_body_is_413),
        TEST(without_a_signing_key_there_is_no_token),
        TEST(a_foreign_page_gets_no_token),
        TEST(a_page_under_a_name_of_anybody_gets_no_token),
        TEST(an_upgrade_needs_no_token),
        TEST(a_good_token_names_the_user),
        TEST(a_bad_token_is_401),
        TEST(a_token_for_another_device_is_401),
        TEST(a_bad_device_is_400),
        TEST(an_upgrade_that_is_none_is_refused),
        TEST(only_a_websocket_is_an_upgrade),
        TEST(the_sites_own_origin_is_allowed),
        TEST(other_origins_are_refused),
        TEST(what_is_under_v1_is_the_apis),
        TEST(the_api_is_told_what_it_needs),
        TEST(a_body_for_the_api_is_judged_by_its_head),
        TEST(answers_of_the_api_are_whole),
        TEST(pages_of_allowed_origins_may_use_the_api),
        TEST(an_odd_origin_is_not_echoed),
        TEST(the_openapi_document_is_served),
        TEST(a_star_allows_every_origin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
