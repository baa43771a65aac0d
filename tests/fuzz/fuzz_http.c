/* fuzz_http - every part of a request that a stranger chooses, through http.c and query.c.
 *
 * The first byte picks the method, whether it asks for an upgrade, and which fields are there; the
 * fields follow, each ended by a line feed, and what is left is the body. Whatever comes, the
 * answer is one whole response: a status line, a Content-Length that is true, and no byte of the
 * token. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/http.h"
#include "gateway/query.h"
#include "mesh/base/check.h"
#include "mesh/base/crypto.h"

static struct auth auth;

static struct gateway_health health(void *context)
{
    (void)context;
    return (struct gateway_health){.up = true};
}

static uint64_t wall_ms(void *context)
{
    (void)context;
    return UINT64_C(1700000000000);
}

static const struct web_file files[] = {
    {"index.html", "text/html; charset=utf-8", "\"e1\"", (const uint8_t *)"<p>", 3},
};
static const char *const origins[] = {"https://app.example"};

static const struct http_site site = {
    .node = "g1",
    .auth = &auth,
    .is_dev = true,
    .origins = origins,
    .origin_count = 1,
    .files = files,
    .file_count = 1,
    .health = health,
    .wall_ms = wall_ms,
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
    const char *length = memmem(out->bytes, out->size, "Content-Length: ", 16);
    CHECK(end != NULL && length != NULL && length < end);
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

static void start(void)
{
    if (auth.key_count != 0)
        return;
    crypto_start();
    struct auth_key key = {.id = "k1", .algorithm = AUTH_HS256, .size = 32, .can_sign = true};
    memset(key.bytes, 7, key.size);
    CHECK(auth_add_key(&auth, &key) == RC_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    start();
    if (size == 0)
        return 0;
    struct slice rest = slice_of(data + 1, size - 1);
    struct http_request request = {.method = (enum http_method)(data[0] & 3)};
    struct slice *const fields[] = {
        &request.path,          &request.query,
        &request.host,          &request.origin,
        &request.authorization, &request.content_length,
        &request.if_none_match, &request.transfer_encoding,
    };
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
        *fields[i] = next_field(&rest);
    if (data[0] & 8)
        request.origin = request.transfer_encoding = (struct slice){0};
    if (data[0] & 16)
        request.content_length = (struct slice){0};
    request.websocket_version = slice_string("13");
    check_query(request.query);

    struct buf *out = buf_new(256);
    struct http_upgrade upgrade;
    bool is_head = request.method == HTTP_HEAD;
    if (data[0] & 4) {
        if (!http_upgrade(&site, &request, &upgrade, out))
            check_response(out, is_head);
        else
            CHECK(out->size == 0 && upgrade.device_size <= sizeof(upgrade.device));
    } else if (http_answer(&site, &request, out) != HTTP_BODY) {
        check_response(out, is_head);
    } else {
        CHECK(out->size == 0);
        (void)!http_answer_body(&site, rest, out);
        check_response(out, false);
    }
    buf_unref(&out);
    return 0;
}
