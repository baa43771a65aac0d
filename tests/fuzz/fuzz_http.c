/* fuzz_http - every part of a request that a stranger chooses, through http*.c, query.c and api*.c.
 *
 * The whole is read as a head first: what is taken for one is all of it printable and in place.
 * The first byte picks the method, whether it asks for an upgrade, which fields are there, and
 * whether it is the operator, a user or the stranger who asks; the fields follow, each ended by a
 * line feed, and what is left is the body. Whatever comes, the answer is one whole response: a
 * status line, a Content-Length that is true, and of the API a body that is JSON. Its routers are
 * there and silent, so that every request that gets so far is asked, waits and fails. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/core.h"
#include "gateway/http.h"
#include "gateway/http_head.h"
#include "gateway/query.h"
#include "mesh/base/check.h"
#include "mesh/base/crypto.h"
#include "mesh/base/mem.h"
#include "tests/support/gateway_world.h"
#include "tests/support/query_append.h"

#define UPGRADE        4
#define WITHOUT_ORIGIN 8
#define WITHOUT_SIZE   16
#define METHOD_HIGH    32
#define AS_OPERATOR    64
#define AS_USER        128

static struct auth auth;
static struct world *world;
static char operator[8 + API_KEY_SIZE];
static char *user; /* As operator, the whole header. */

static struct gateway_health health(void *context)
{
    (void)context;
    return (struct gateway_health){.up = true};
}

static uint64_t wall_ms(struct env *unused)
{
    (void)unused;
    return UINT64_C(1700000000000);
}

static struct env clock_of_site = {.wall_ms = wall_ms};

static const struct web_file files[] = {
    {"index.html", "text/html; charset=utf-8", "\"e1\"", (const uint8_t *)"<p>", 3},
};
static const char *const origins[] = {"https://app.example"};

static struct http_date date;
static const struct http_site site = {
    .node = {.id = "g1", .role = METRICS_GATEWAY, .env = &clock_of_site, .date = &date},
    .auth = &auth,
    .is_dev = true,
    .body_size_max = 131072,
    .origins = origins,
    .origin_count = 1,
    .files = files,
    .file_count = 1,
    .health = health,
};

static struct slice next_field(struct slice *rest)
{
    const char *end = rest->size != 0 ? memchr(rest->base, '\n', rest->size) : NULL;
    size_t size = end != NULL ? (size_t)(end - rest->base) : rest->size;
    struct slice field = slice_of(rest->base, size);
    size_t taken = end != NULL ? size + 1 : size;
    *rest = slice_of(rest->base + taken, rest->size - taken);
    return field;
}

static void check_response(const struct buf *out, bool is_head)
{
    static const char start[] = "HTTP/1.1 ";
    CHECK(out->size > sizeof(start) && memcmp(out->bytes, start, sizeof(start) - 1) == 0);
    const char *end = memmem(out->bytes, out->size, "\r\n\r\n", 4);
    CHECK(end != NULL && memmem(out->bytes, out->size, "\r\nDate: ", 8) != NULL);
    if (memcmp(out->bytes + sizeof(start) - 1, "304", 3) == 0) {
        CHECK(end + 4 == (const char *)out->bytes + out->size);
        return;
    }
    const char *length = memmem(out->bytes, out->size, "Content-Length: ", 16);
    CHECK(length != NULL && length < end);
    size_t body_size = out->size - (size_t)(end + 4 - (const char *)out->bytes);
    size_t said = strtoul(length + 16, NULL, 10);
    CHECK(body_size == said || (is_head && body_size == 0));
}

/* What query_append() writes is what query_get() reads. */
static void check_query(struct slice value)
{
    struct buf *query = buf_new(64);
    query_append(query, slice_string("x"), slice_string("1"));
    query_append(query, slice_string("v"), value);
    char memory[4096];
    struct slice read;
    enum rc rc = query_get(buf_slice(query), "v", memory, sizeof(memory), &read);
    if (rc == RC_OK)
        CHECK(slice_equal(read, value));
    else
        CHECK(memchr(value.base, '\0', value.size) != NULL || value.size > sizeof(memory));
    buf_unref(&query);
}

static void check_head(struct slice bytes)
{
    struct http_request request;
    size_t size = 0;
    const char *reason = NULL;
    enum http_head next = http_head_read(bytes, &request, &size, &reason);
    CHECK((next == HTTP_HEAD_BAD) == (reason != NULL));
    if (next != HTTP_HEAD_WHOLE)
        return;
    CHECK(size <= bytes.size && memcmp(bytes.base + size - 4, "\r\n\r\n", 4) == 0);
    char memory[16384];
    struct slice name;
    enum rc rc = query_decode_part(request.path, memory, sizeof(memory), &name);
    CHECK(rc == RC_OK || (rc == RC_TOO_LARGE && request.path.size > sizeof(memory)));
    for (uint32_t i = 0; rc == RC_OK && i < name.size; i++)
        CHECK((unsigned char)name.base[i] >= ' ');
    struct http_request part;
    for (size_t i = 0; i < size && size < 512; i++) /* Never whole too early. */
        CHECK(http_head_read(slice_of(bytes.base, i), &part, &(size_t){0}, &reason) ==
              HTTP_HEAD_PART);
}

static enum rc swallow(struct bus *bus, struct slice node, struct buf *bytes)
{
    (void)bus;
    (void)node;
    (void)bytes;
    return RC_OK;
}

static void start(void)
{
    if (world != NULL)
        return;
    crypto_start();
    struct auth_key key = {.id = "k1", .algorithm = AUTH_HS256, .size = 32, .can_sign = true};
    memset(key.bytes, 7, key.size);
    CHECK(auth_add_key(&auth, &key) == RC_OK);
    char text[API_KEY_SIZE + 1], line[API_KEY_LINE_SIZE_MAX + 1];
    struct gateway_options options;
    gateway_options_init(&options);
    options.request_ms = 1;
    world = world_new(&options, 1);
    api_key_make("fuzz", text, line);
    CHECK(api_key_add(&world->auth.api_keys, slice_string(line)) == RC_OK);
    memcpy(operator, "Bearer ", 7);
    memcpy(operator+ 7, text, sizeof(text));
    char *token = world_token(world, "alice");
    user = mem_zero(strlen(token) + 8);
    memcpy(user, "Bearer ", 7);
    memcpy(user + 7, token, strlen(token));
    mem_free(token);
    world_start(world);
    world->bus.send = swallow;
}

static void on_answer(void *context, const struct api_answer *answer)
{
    struct api_answer *kept = context;
    CHECK(kept->status == 0);
    *kept = *answer;
    const char *reason;
    CHECK((answer->body.base == NULL) == (answer->status == 204));
    CHECK(answer->body.base == NULL || json_check(answer->body, &reason) == RC_OK);
    kept->body = slice_string("{}"); /* It does not outlive the call. */
}

/* Time passes until it is answered, as all are that no router answers. */
static void run_api(const struct http_request *request, struct slice body, struct buf *out)
{
    struct api_head head = http_api_head(&site, request);
    struct api_answer answer = {.status = 0};
    struct buf *text = buf_new(64);
    struct http_api api;
    http_api_init(&api, request);
    struct api_call *call = api_open(world->gateway, &head, text, &answer);
    if (call != NULL && body.size % 7 == 0)
        api_abandon(&call); /* Some go before their body is there. */
    else if (call != NULL)
        api_start(call, body, on_answer, &answer);
    for (unsigned i = 0; i < 300 && world->gateway->api.call_count > 0; i++)
        world_run(world, 5);
    CHECK(world->gateway->api.call_count == 0);
    if (answer.status != 0) {
        http_put_api(&site, &api, &answer, out);
        if (answer.status != 204)
            check_response(out, api.is_head);
    }
    http_api_fini(&api);
    buf_unref(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    start();
    if (size == 0)
        return 0;
    struct slice rest = slice_of(data + 1, size - 1);
    unsigned method = (data[0] & 3u) | (data[0] & METHOD_HIGH ? 4u : 0u);
    struct http_request request = {.method = method <= HTTP_OPTIONS ? (enum http_method)method
                                                                    : HTTP_OTHER};
    struct slice *const fields[] = {
        &request.path,          &request.query,
        &request.host,          &request.origin,
        &request.authorization, &request.content_length,
        &request.if_none_match, &request.transfer_encoding,
    };
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
        *fields[i] = next_field(&rest);
    if (data[0] & WITHOUT_ORIGIN)
        request.origin = request.transfer_encoding = (struct slice){0};
    if (data[0] & WITHOUT_SIZE)
        request.content_length = (struct slice){0};
    if (data[0] & AS_OPERATOR)
        request.authorization = slice_string(operator);
    else if (data[0] & AS_USER)
        request.authorization = slice_string(user);
    if (rest.size % 11 == 3) /* No field of its own, which would shift all the others. */
        request.expect = request.if_none_match;
    request.websocket_version = slice_string("13");
    request.websocket_key = slice_string("dGhlIHNhbXBsZSBub25jZQ==");
    request.has_connection_upgrade = true;
    check_head(slice_of(data, size));
    check_query(request.query);

    struct buf *out = buf_new(256);
    struct http_upgrade upgrade;
    bool is_head = request.method == HTTP_HEAD;
    if (data[0] & UPGRADE) {
        if (!http_upgrade(&site, &request, &upgrade, out))
            check_response(out, is_head);
        else
            CHECK(out->size == 0 && upgrade.device_size <= sizeof(upgrade.device));
        buf_unref(&out);
        return 0;
    }
    enum http_next next = http_answer(&site, &request, out);
    if (next == HTTP_API) {
        CHECK(out->size == 0);
        run_api(&request, rest, out);
    } else if (next == HTTP_BODY) {
        CHECK(out->size == 0);
        (void)!http_answer_body(&site, rest, out);
        check_response(out, false);
    } else if (request.method != HTTP_OPTIONS) { /* A preflight's has no body and no length. */
        check_response(out, is_head);
    }
    buf_unref(&out);
    return 0;
}
