/* The webhook's posts, against an HTTP server on the same loop. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs those above. */
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "mesh/base/crypto.h"
#include "mesh/base/mem.h"
#include "nodes/webhook.h"

#define SECRET  "whsec_test"
#define WALL_MS 1700000000123u
#define BODY    "{\"events\":[]}"

struct world {
    uv_loop_t uv;
    struct env env;
    struct webhook *webhook;
    struct push_port port;
    uint32_t told; /* Times on_posted came; the last one was: */
    uint32_t status;
    char reason[256];

    uv_tcp_t server;
    char url[64];
    const char *answer; /* What the server says to a request; NULL: nothing. */
    size_t answer_size;
    bool hangs_up; /* It closes the connection instead. */
    uint32_t connections, requests;
    struct buf *request; /* The last one, whole. */
};

static uint64_t env_wall(struct env *env)
{
    (void)env;
    return WALL_MS;
}

static void on_posted(void *context, uint32_t status, const char *reason)
{
    struct world *w = context;
    w->told++;
    w->status = status;
    snprintf(w->reason, sizeof(w->reason), "%s", reason);
}

/* ---- The server ---- */

struct connection {
    uv_tcp_t tcp;
    struct world *world;
    uv_write_t write;
    struct buf *text; /* NUL-terminated between reads. */
};

static void on_closed(uv_handle_t *handle)
{
    struct connection *c = handle->data;
    buf_unref(&c->text);
    mem_free(c);
}

static void close_connection(struct connection *c)
{
    if (!uv_is_closing((uv_handle_t *)&c->tcp))
        uv_close((uv_handle_t *)&c->tcp, on_closed);
}

static void on_room(uv_handle_t *handle, size_t size, uv_buf_t *ret_buf)
{
    (void)handle;
    ret_buf->base = mem_alloc(size);
    ret_buf->len = size;
}

static void on_written(uv_write_t *write, int status)
{
    if (status < 0)
        close_connection(write->data);
}

static void on_request(struct connection *c)
{
    struct world *w = c->world;
    w->requests++;
    buf_unref(&w->request);
    w->request = c->text;
    c->text = buf_new(1024);
    if (w->hangs_up) {
        close_connection(c);
    } else if (w->answer != NULL) {
        uv_buf_t out = uv_buf_init((char *)w->answer, (unsigned)w->answer_size);
        c->write.data = c;
        assert_int_equal(uv_write(&c->write, (uv_stream_t *)&c->tcp, &out, 1, on_written), 0);
    }
}

/* The body has arrived, as Content-Length says. */
static bool is_whole(const char *text)
{
    const char *body = strstr(text, "\r\n\r\n");
    const char *length = strstr(text, "Content-Length: ");
    return body != NULL && length != NULL && strlen(body + 4) == strtoul(length + 16, NULL, 10);
}

static void on_read(uv_stream_t *stream, ssize_t size, const uv_buf_t *bytes)
{
    struct connection *c = stream->data;
    if (size > 0) {
        buf_append(c->text, bytes->base, (size_t)size);
        buf_append_byte(c->text, '\0');
        c->text->size--;
        if (is_whole((const char *)c->text->bytes))
            on_request(c);
    }
    mem_free(bytes->base);
    if (size < 0)
        close_connection(c);
}

static void on_connection(uv_stream_t *server, int status)
{
    assert_int_equal(status, 0);
    struct world *w = server->data;
    struct connection *c = mem_new(struct connection);
    w->connections++;
    c->world = w;
    c->text = buf_new(1024);
    assert_int_equal(uv_tcp_init(&w->uv, &c->tcp), 0);
    c->tcp.data = c;
    assert_int_equal(uv_accept(server, (uv_stream_t *)&c->tcp), 0);
    assert_int_equal(uv_read_start((uv_stream_t *)&c->tcp, on_room, on_read), 0);
}

static void listen_on(struct world *w, int port)
{
    struct sockaddr_in address;
    int size = sizeof(address);
    assert_int_equal(uv_tcp_init(&w->uv, &w->server), 0);
    w->server.data = w;
    assert_int_equal(uv_ip4_addr("127.0.0.1", port, &address), 0);
    assert_int_equal(uv_tcp_bind(&w->server, (struct sockaddr *)&address, 0), 0);
    assert_int_equal(uv_listen((uv_stream_t *)&w->server, 8, on_connection), 0);
    assert_int_equal(uv_tcp_getsockname(&w->server, (struct sockaddr *)&address, &size), 0);
    snprintf(w->url, sizeof(w->url), "http://127.0.0.1:%u/hook?a=b", ntohs(address.sin_port));
}

static void says(struct world *w, const char *answer)
{
    w->answer = answer;
    w->answer_size = strlen(answer);
}

/* ---- Fixture ---- */

static void open_webhook(struct world *w, uint32_t total_ms)
{
    const struct webhook_options options = {
        .url = w->url,
        .secret = SECRET,
        .total_ms = total_ms,
        .on_posted = on_posted,
        .context = w,
    };
    w->webhook = webhook_new(&options, &w->uv, &w->env);
    w->port = webhook_port(w->webhook);
}

static int setup(void **state)
{
    struct world *w = mem_new(struct world);
    crypto_start();
    w->env = (struct env){.wall_ms = env_wall};
    if (uv_loop_init(&w->uv) != 0)
        return -1;
    listen_on(w, 0);
    says(w, "HTTP/1.1 204 No Content\r\n\r\n");
    open_webhook(w, WEBHOOK_TOTAL_MS);
    *state = w;
    return 0;
}

static void close_any(uv_handle_t *handle, void *context)
{
    const struct world *w = context;
    if (!uv_is_closing(handle))
        uv_close(handle, handle == (const uv_handle_t *)&w->server ? NULL : on_closed);
}

/* Whatever is left open would keep the loop from being closed. */
static int teardown(void **state)
{
    struct world *w = *state;
    webhook_free(&w->webhook);
    uv_walk(&w->uv, close_any, w);
    uv_run(&w->uv, UV_RUN_DEFAULT);
    int rc = uv_loop_close(&w->uv);
    buf_unref(&w->request);
    mem_free(w);
    return rc;
}

static void begin_post(struct world *w, const char *text)
{
    struct buf *body = buf_new(64);
    buf_append_string(body, text);
    w->port.post(w->port.context, body);
    assert_int_equal(body->refs, 1); /* It has copied what it signs. */
    buf_unref(&body);
}

static void post(struct world *w, const char *text)
{
    uint32_t told = w->told;
    begin_post(w, text);
    assert_int_equal(w->told, told); /* Not before post() has returned. */
    while (w->told == told)
        uv_run(&w->uv, UV_RUN_ONCE);
    assert_int_equal(w->told, told + 1);
}

static bool has(const struct world *w, const char *part)
{
    return w->request != NULL && strstr((const char *)w->request->bytes, part) != NULL;
}

/* ---- Tests ---- */

/* As any HMAC-SHA-256 computes it. */
static void the_signature_is_as_documented(void **state)
{
    (void)state;
    char signature[WEBHOOK_SIGNATURE_SIZE];
    crypto_start();
    webhook_sign(slice_string(SECRET), 1700000000, slice_string("1700000000." BODY), signature);
    assert_string_equal(
        signature,
        "t=1700000000,v1=4f6f9b7a41398ad124e52a1320534f978e522923f3f2b2724e31d7a9dbf78a7f");
}

/* Headers, signature and body are what the protocol says; the answer's status is told. */
static void a_post_arrives_signed(void **state)
{
    struct world *w = *state;
    post(w, BODY);
    assert_int_equal(w->status, 204);
    assert_true(has(w, "POST /hook?a=b HTTP/1.1\r\n"));
    assert_true(has(w, "\r\nContent-Type: application/json\r\n"));
    assert_true(has(w, "\r\nChatmesh-Signature: t=1700000000,v1="
                       "4f6f9b7a41398ad124e52a1320534f978e522923f3f2b2724e31d7a9dbf78a7f\r\n"));
    assert_true(has(w, "\r\n\r\n" BODY));
    assert_false(has(w, "Expect:"));
    assert_false(has(w, SECRET));
}

/* The connection is kept for the next one. */
static void posts_share_a_connection(void **state)
{
    struct world *w = *state;
    says(w, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    for (uint32_t i = 0; i < 3; i++)
        post(w, BODY);
    assert_int_equal(w->requests, 3);
    assert_int_equal(w->connections, 1);
}

/* Whatever else the webhook answers is told as it is. */
static void a_refusal_is_told(void **state)
{
    struct world *w = *state;
    says(w, "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n");
    post(w, BODY);
    assert_int_equal(w->status, 500);
    says(w, "HTTP/1.1 429 Slowly\r\nContent-Length: 0\r\n\r\n");
    post(w, BODY);
    assert_int_equal(w->status, 429);
}

/* A redirect would carry messages to a host that nobody named. */
static void a_redirect_is_not_followed(void **state)
{
    struct world *w = *state;
    says(w, "HTTP/1.1 307 There\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n");
    post(w, BODY);
    assert_int_equal(w->status, 307);
    assert_int_equal(w->requests, 1);
}

/* An answer of any length is an answer; it is not read to its end. */
static void a_long_answer_is_dropped(void **state)
{
    struct world *w = *state;
    static const char head[] = "HTTP/1.1 200 OK\r\nContent-Length: 8388608\r\n\r\n";
    size_t size = sizeof(head) - 1 + 4u * WEBHOOK_ANSWER_BYTES;
    char *answer = mem_zero(size);
    memcpy(answer, head, sizeof(head) - 1);
    w->answer = answer;
    w->answer_size = size;
    post(w, BODY);
    assert_int_equal(w->status, 200);
    says(w, "HTTP/1.1 204 No Content\r\n\r\n");
    post(w, BODY); /* On a connection of its own. */
    assert_int_equal(w->status, 204);
    assert_int_equal(w->connections, 2);
    uv_run(&w->uv, UV_RUN_NOWAIT);
    mem_free(answer);
}

/* A connection that ends without an answer is none. */
static void a_cut_connection_is_no_answer(void **state)
{
    struct world *w = *state;
    w->hangs_up = true;
    post(w, BODY);
    assert_int_equal(w->status, 0);
    assert_true(w->reason[0] != '\0');
}

/* Nobody listens: told soon, and the next post finds who does by then. */
static void nobody_listening_is_no_answer(void **state)
{
    struct world *w = *state;
    int port = (int)strtoul(w->url + strlen("http://127.0.0.1:"), NULL, 10);
    uv_close((uv_handle_t *)&w->server, NULL);
    uv_run(&w->uv, UV_RUN_NOWAIT);
    post(w, BODY);
    assert_int_equal(w->status, 0);
    assert_true(w->reason[0] != '\0');
    listen_on(w, port);
    post(w, BODY);
    assert_int_equal(w->status, 204);
}

/* A server that takes the post and says nothing does not hold it for ever. */
static void a_silent_server_times_out(void **state)
{
    struct world *w = *state;
    webhook_free(&w->webhook);
    open_webhook(w, 200);
    w->answer = NULL;
    post(w, BODY);
    assert_int_equal(w->status, 0);
    assert_int_equal(w->requests, 1);
}

/* Messages go where the operator said and nowhere else. */
static void proxies_of_the_environment_are_ignored(void **state)
{
    struct world *w = *state;
    setenv("http_proxy", "http://127.0.0.1:1", 1);
    setenv("ALL_PROXY", "http://127.0.0.1:1", 1);
    post(w, BODY);
    unsetenv("http_proxy");
    unsetenv("ALL_PROXY");
    assert_int_equal(w->status, 204);
}

/* A process that stops does not wait for the answer, and is not told. */
static void it_may_end_with_a_post_on_its_way(void **state)
{
    struct world *w = *state;
    w->answer = NULL;
    begin_post(w, BODY);
    while (w->requests == 0)
        uv_run(&w->uv, UV_RUN_ONCE);
    webhook_free(&w->webhook);
    uv_run(&w->uv, UV_RUN_NOWAIT);
    assert_int_equal(w->told, 0);
}

/* http or https with a host; what else libcurl can speak is not for us. */
static void only_http_is_a_webhook(void **state)
{
    (void)state;
    assert_true(webhook_url_is_valid("http://127.0.0.1:8000/hook"));
    assert_true(webhook_url_is_valid("https://user:word@push.example.org/a?b=c"));
    assert_true(webhook_url_is_valid("http://[::1]:80"));
    assert_false(webhook_url_is_valid(""));
    assert_false(webhook_url_is_valid("push.example.org/hook"));
    assert_false(webhook_url_is_valid("ftp://push.example.org/hook"));
    assert_false(webhook_url_is_valid("file:///etc/passwd"));
    assert_false(webhook_url_is_valid("http://"));
    assert_false(webhook_url_is_valid("http://a b/"));
    assert_false(webhook_url_is_valid("http://host:99999/"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_signature_is_as_documented),
        cmocka_unit_test(only_http_is_a_webhook),
        TEST(a_post_arrives_signed),
        TEST(posts_share_a_connection),
        TEST(a_refusal_is_told),
        TEST(a_redirect_is_not_followed),
        TEST(a_long_answer_is_dropped),
        TEST(a_cut_connection_is_no_answer),
        TEST(nobody_listening_is_no_answer),
        TEST(a_silent_server_times_out),
        TEST(proxies_of_the_environment_are_ignored),
        TEST(it_may_end_with_a_post_on_its_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
