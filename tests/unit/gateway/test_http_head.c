/* http_head: the head of a request from its bytes, and everything that is none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "gateway/http_head.h"
#include "mesh/base/buf.h"

static struct http_request request;
static size_t head_size;
static const char *reason;

static enum http_head read_head(const char *text)
{
    head_size = 0;
    reason = NULL;
    return http_head_read(slice_string(text), &request, &head_size, &reason);
}

#define HOST "Host: x\r\n"

static void a_head_is_read(void **state)
{
    (void)state;
    static const char text[] = "PATCH /v1/a%2Fb/..?x=%20&y HTTP/1.1\r\n"
                               "hOST: chat.example:8080\r\n"
                               "Origin:http://a.example\r\n"
                               "Authorization: \t Bearer a b \t\r\n"
                               "If-None-Match: \"e1\"\r\n"
                               "Content-Length: 3\r\n"
                               "Transfer-Encoding: gzip\r\n"
                               "Expect: 100-continue\r\n"
                               "Upgrade: h2c\r\n"
                               "Sec-WebSocket-Version: 13\r\n"
                               "Sec-WebSocket-Key: k\r\n"
                               "X-Other:\r\n\r\nabc";
    assert_int_equal(read_head(text), HTTP_HEAD_WHOLE);
    assert_int_equal(head_size, sizeof(text) - 1 - 3);
    assert_int_equal(request.method, HTTP_PATCH);
    assert_true(slice_equals(request.path, "/v1/a%2Fb/.."));
    assert_true(slice_equals(request.query, "x=%20&y"));
    assert_true(slice_equals(request.host, "chat.example:8080"));
    assert_true(slice_equals(request.origin, "http://a.example"));
    assert_true(slice_equals(request.authorization, "Bearer a b"));
    assert_true(slice_equals(request.if_none_match, "\"e1\""));
    assert_true(slice_equals(request.content_length, "3"));
    assert_true(slice_equals(request.transfer_encoding, "gzip"));
    assert_true(slice_equals(request.expect, "100-continue"));
    assert_true(slice_equals(request.upgrade, "h2c"));
    assert_true(slice_equals(request.websocket_version, "13"));
    assert_true(slice_equals(request.websocket_key, "k"));
    assert_false(request.is_last);
    assert_false(request.has_connection_upgrade);
}

/* Byte by byte: never earlier than with its last one. */
static void a_part_is_not_taken_for_the_whole(void **state)
{
    (void)state;
    static const char text[] = "GET /health?a HTTP/1.1\r\nHost: x\r\nX: y\r\n\r\n";
    for (size_t size = 0; size < sizeof(text) - 1; size++)
        assert_int_equal(http_head_read(slice_of(text, size), &request, &head_size, &reason),
                         HTTP_HEAD_PART);
    assert_int_equal(read_head(text), HTTP_HEAD_WHOLE);
    assert_int_equal(head_size, sizeof(text) - 1);
    assert_int_equal(read_head("GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\n\r\n"),
                     HTTP_HEAD_WHOLE);
    assert_int_equal(head_size, strlen("GET / HTTP/1.1\r\nHost: x\r\n\r\n"));
}

/* Nothing of it is decoded or tidied: whoever splits it sees what was sent. */
static void an_address_stays_as_it_was_sent(void **state)
{
    (void)state;
    static const char *const paths[] = {
        "/",           "//",         "/.",           "/..", "/a/../b",   "/a//b/",
        "/%2e%2E/%2f", "/a+b;c=d&e", "/%41\xc3\xbc", "*",   "ftp://x/a", "/a\\b"};
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        struct buf *text = buf_new(64);
        buf_append_format(text, "GET %s HTTP/1.1\r\n" HOST "\r\n", paths[i]);
        assert_int_equal(http_head_read(buf_slice(text), &request, &head_size, &reason),
                         HTTP_HEAD_WHOLE);
        assert_true(slice_equals(request.path, paths[i]));
        assert_null(request.query.base);
        buf_unref(&text);
    }
    assert_int_equal(read_head("GET /a??b?c HTTP/1.1\r\n" HOST "\r\n"), HTTP_HEAD_WHOLE);
    assert_true(slice_equals(request.path, "/a"));
    assert_true(slice_equals(request.query, "?b?c"));
}

/* As a proxy is asked (RFC 9112, section 3.2.2); its authority counts, not the Host header. */
static void an_address_may_be_absolute(void **state)
{
    (void)state;
    static const struct {
        const char *target, *host, *path, *query;
    } cases[] = {
        {"http://a.example/health", "a.example", "/health", NULL},
        {"HTTPS://a.example:8080/v1/a%2Fb/..?x=/&y", "a.example:8080", "/v1/a%2Fb/..", "x=/&y"},
        {"http://a.example", "a.example", "/", NULL},
        {"http://[::1]:80?token=t", "[::1]:80", "/", "token=t"},
        {"http://a//b", "a", "//b", NULL},
        {"/http://a/b", "x", "/http://a/b", NULL},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buf *text = buf_new(64);
        buf_append_format(text, "GET %s HTTP/1.1\r\n" HOST "\r\n", cases[i].target);
        assert_int_equal(http_head_read(buf_slice(text), &request, &head_size, &reason),
                         HTTP_HEAD_WHOLE);
        assert_true(slice_equals(request.host, cases[i].host));
        assert_true(slice_equals(request.path, cases[i].path));
        if (cases[i].query != NULL)
            assert_true(slice_equals(request.query, cases[i].query));
        else
            assert_null(request.query.base);
        buf_unref(&text);
    }
    static const char *const bad[] = {"http://", "http:///a", "http://?a", "http://me@host/",
                                      "http://me:secret@host/"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct buf *text = buf_new(64);
        buf_append_format(text, "GET %s HTTP/1.1\r\n" HOST "\r\n", bad[i]);
        if (http_head_read(buf_slice(text), &request, &head_size, &reason) != HTTP_HEAD_BAD)
            fail_msg("%s passes", bad[i]);
        buf_unref(&text);
    }
    assert_int_equal(read_head("GET http://a/b HTTP/1.1\r\n\r\n"), HTTP_HEAD_BAD); /* No Host. */
    assert_int_equal(read_head("GET http://a/b HTTP/1.0\r\n\r\n"), HTTP_HEAD_WHOLE);
    assert_true(slice_equals(request.host, "a"));
}

/* In the path and behind it: what is broken, what could be cut, and what no name holds. */
static void an_unclear_address_is_bad(void **state)
{
    (void)state;
    static const char *const targets[] = {
        "/%",   "/%4",     "/%zz",  "/%4z",        "/%00",  "/a%0ab", "/%1f",   "/%7F",
        "/a#b", "/a?b=%z", "/?%00", "/?a=%0d%0ab", "/a\tb", "/\x7f",  "/a?b#c", "/\x01"};
    for (size_t i = 0; i < sizeof(targets) / sizeof(targets[0]); i++) {
        struct buf *text = buf_new(64);
        buf_append_format(text, "GET %s HTTP/1.1\r\n" HOST "\r\n", targets[i]);
        if (http_head_read(buf_slice(text), &request, &head_size, &reason) != HTTP_HEAD_BAD)
            fail_msg("%s passes", targets[i]);
        assert_non_null(reason);
        buf_unref(&text);
    }
    static const char nul[] = "GET /a\0b HTTP/1.1\r\n" HOST "\r\n";
    assert_int_equal(http_head_read(slice_of(nul, sizeof(nul) - 1), &request, &head_size, &reason),
                     HTTP_HEAD_BAD);
}

/* Two readers could take each of these for two things. */
static void unclear_headers_are_bad(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "Content-Length: 1\r\nContent-Length: 1\r\n",
        "Transfer-Encoding: a\r\ntransfer-encoding: b\r\n",
        "Origin: a\r\nOrigin: b\r\n",
        "Authorization: a\r\nAuthorization:\r\n",
        "Host: y\r\n",
        "Content-Length : 1\r\n",
        " folded: 1\r\n",
        "X: a\r\n b\r\n",
        ": nameless\r\n",
        "no colon\r\n",
        "X: a\rb\r\n",
        "X: a\x01\r\n",
        "X\x80: a\r\n",
        "X: a\n",
        "\n",
    };
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        struct buf *text = buf_new(64);
        buf_append_format(text, "GET / HTTP/1.1\r\n" HOST "%s\r\n", lines[i]);
        reason = NULL;
        if (http_head_read(buf_slice(text), &request, &head_size, &reason) != HTTP_HEAD_BAD)
            fail_msg("%s passes", lines[i]);
        assert_non_null(reason);
        buf_unref(&text);
    }
    assert_int_equal(read_head("GET / HTTP/1.1\r\n\r\n"), HTTP_HEAD_BAD); /* No host. */
    assert_int_equal(read_head("GET / HTTP/1.0\r\n\r\n"), HTTP_HEAD_WHOLE);
    assert_int_equal(read_head("GET / HTTP/1.1\n"), HTTP_HEAD_BAD); /* Not waited for. */
}

/* TLS, HTTP/2 and gibberish are seen at once, not when they end. */
static void what_is_no_http_is_foreign(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "\x16\x03\x01",
        "\r\n\r\n",
        "\rGET / HTTP/1.1\r\n\r\n",
        "\n\nGET / HTTP/1.1\r\n\r\n",
        " GET / HTTP/1.1\r\n\r\n",
        "GET\r\n\r\n",
        "GET /\r\n\r\n",
        "GET / HTTP/1.12\r\n\r\n",
        "GET / HTTP/11\r\n\r\n",
        "GET / HTTP/x.1\r\n\r\n",
        "GET / HTTP/1.1 \r\n\r\n",
        "GET / a HTTP/1.1\r\n\r\n",
        "GET / http/1.1\r\n\r\n",
        "AMETHODOFTOOMANYLETTERS",
        "G\xc3\xbcT",
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        if (read_head(texts[i]) != HTTP_HEAD_FOREIGN)
            fail_msg("%zu passes", i);
}

/* A later minor version is spoken to as 1.1, a major one not at all (RFC 9110, section 2.5). */
static void a_later_version_is_1_1_or_unsupported(void **state)
{
    (void)state;
    assert_int_equal(read_head("GET / HTTP/1.2\r\n" HOST "\r\n"), HTTP_HEAD_WHOLE);
    assert_false(request.is_last || request.is_old);
    assert_int_equal(read_head("GET / HTTP/1.9\r\n\r\n"), HTTP_HEAD_BAD); /* No Host. */
    assert_int_equal(read_head("GET / HTTP/1.0\r\n\r\n"), HTTP_HEAD_WHOLE);
    assert_true(request.is_last && request.is_old);
    static const char *const texts[] = {"GET / HTTP/2.0\r\n" HOST "\r\n", "HEAD / HTTP/3.1\r\n\r\n",
                                        "GET / HTTP/0.9\r\n\r\n", "PRI * HTTP/2.0\r\n\r\n"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        assert_int_equal(read_head(texts[i]), HTTP_HEAD_UNSUPPORTED);
}

/* Some clients send one after a body; more than one is no request. */
static void an_empty_line_before_a_request_is_overlooked(void **state)
{
    (void)state;
    static const char text[] = "\r\nGET /health HTTP/1.1\r\nHost: x\r\n\r\n";
    for (size_t size = 0; size < sizeof(text) - 1; size++)
        assert_int_equal(http_head_read(slice_of(text, size), &request, &head_size, &reason),
                         HTTP_HEAD_PART);
    assert_int_equal(read_head(text), HTTP_HEAD_WHOLE);
    assert_int_equal(head_size, sizeof(text) - 1);
    assert_true(slice_equals(request.path, "/health"));
}

/* Whoever is asked, no host is written so. */
static void a_host_that_is_none_is_bad(void **state)
{
    (void)state;
    static const char *const good[] = {"", "x", "a.example:80", "[::1]:8080", "a_b", "%41,(b);c"};
    static const char *const bad[] = {"a b",  "a/b",      "a@b",  "a?b", "a#b", "<a>", "a\"b",
                                      "a\\b", "\xc3\xbc", "a\tb", "a{}", "a|b", "a^b", "a`b"};
    char text[128];
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        snprintf(text, sizeof(text), "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", good[i]);
        assert_int_equal(read_head(text), HTTP_HEAD_WHOLE);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        snprintf(text, sizeof(text), "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", bad[i]);
        if (read_head(text) != HTTP_HEAD_BAD)
            fail_msg("%s passes", bad[i]);
        assert_non_null(reason);
    }
    assert_int_equal(read_head("GET http://a|b/ HTTP/1.1\r\n" HOST "\r\n"), HTTP_HEAD_BAD);
    assert_int_equal(read_head("GET http://a/ HTTP/1.1\r\nHost: a|b\r\n\r\n"), HTTP_HEAD_BAD);
}

/* So that what cannot be read is refused without a body where HEAD is all that is sure. */
static void the_method_is_known_first(void **state)
{
    (void)state;
    static const char *const texts[] = {"HEAD ", "HEAD /%zz HTTP/1.1\r\n\r\n",
                                        "HEAD / HTTP/2.0\r\n\r\n", "HEAD / HTTP/1.1\r\nX: a\n",
                                        "\r\nHEAD / HTTP/1.1\r\n"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        assert_int_not_equal(read_head(texts[i]), HTTP_HEAD_WHOLE);
        assert_int_equal(request.method, HTTP_HEAD);
    }
    assert_int_equal(read_head("HEAD"), HTTP_HEAD_PART);
    assert_int_equal(request.method, HTTP_OTHER);
}

static void methods_are_exact(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum http_method method;
    } cases[] = {{"GET / ", HTTP_GET},     {"HEAD / ", HTTP_HEAD},     {"POST / ", HTTP_POST},
                 {"PATCH / ", HTTP_PATCH}, {"DELETE / ", HTTP_DELETE}, {"OPTIONS / ", HTTP_OPTIONS},
                 {"PUT / ", HTTP_OTHER},   {"get / ", HTTP_OTHER},     {"GETS / ", HTTP_OTHER}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buf *text = buf_new(64);
        buf_append_format(text, "%sHTTP/1.1\r\n" HOST "\r\n", cases[i].text);
        assert_int_equal(http_head_read(buf_slice(text), &request, &head_size, &reason),
                         HTTP_HEAD_WHOLE);
        assert_int_equal(request.method, cases[i].method);
        buf_unref(&text);
    }
}

/* Connection is a list, in one line or several. */
static void connection_says_what_comes_next(void **state)
{
    (void)state;
#define CONNECTION(lines) "GET / HTTP/1.1\r\n" HOST lines "\r\n"
    assert_int_equal(read_head(CONNECTION("Connection: keep-alive\r\n")), HTTP_HEAD_WHOLE);
    assert_false(request.is_last || request.has_connection_upgrade);
    assert_int_equal(read_head(CONNECTION("Connection: Close\r\n")), HTTP_HEAD_WHOLE);
    assert_true(request.is_last && !request.has_connection_upgrade);
    assert_int_equal(read_head(CONNECTION("Connection: keep-alive, Upgrade\r\n")), HTTP_HEAD_WHOLE);
    assert_true(!request.is_last && request.has_connection_upgrade);
    assert_int_equal(read_head(CONNECTION("connection:upgrade\r\nConnection: ,close,\r\n")),
                     HTTP_HEAD_WHOLE);
    assert_true(request.is_last && request.has_connection_upgrade);
    assert_int_equal(read_head("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"),
                     HTTP_HEAD_WHOLE);
    assert_true(request.is_last);
#undef CONNECTION
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_head_is_read),
        cmocka_unit_test(a_part_is_not_taken_for_the_whole),
        cmocka_unit_test(an_address_stays_as_it_was_sent),
        cmocka_unit_test(an_address_may_be_absolute),
        cmocka_unit_test(an_unclear_address_is_bad),
        cmocka_unit_test(unclear_headers_are_bad),
        cmocka_unit_test(what_is_no_http_is_foreign),
        cmocka_unit_test(a_later_version_is_1_1_or_unsupported),
        cmocka_unit_test(an_empty_line_before_a_request_is_overlooked),
        cmocka_unit_test(a_host_that_is_none_is_bad),
        cmocka_unit_test(the_method_is_known_first),
        cmocka_unit_test(methods_are_exact),
        cmocka_unit_test(connection_says_what_comes_next),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
