#include "gateway/http_private.h"

#include <inttypes.h>
#include <stdio.h>
#include <strings.h>

#include "gateway/json.h"
#include "gateway/query.h"
#include "mesh/wire/key.h"

#define API_PREFIX "/v1/"

/* ---- What there is to get ---- */

static enum http_next answer_health(const struct http_site *site, bool is_head, struct buf *out)
{
    struct gateway_health health = site->health(site->context);
    struct buf *members = buf_new(512);
    buf_append_format(members,
                      "\"active_connections\":%" PRIu64 ",\"online_users\":%" PRIu64 ","
                      "\"shards\":{\"total\":%" PRIu32 ",\"led\":%" PRIu32 "},"
                      "\"routers\":{\"up\":%" PRIu32 ",\"missing\":",
                      health.connections, health.users, health.shards_total, health.shards_led,
                      health.routers_up);
    http_put_names(members, health.missing);
    buf_append_string(members, "},");
    enum http_next next = http_put_health(&site->node, out, health.up ? NULL : health.reason,
                                          buf_slice(members), is_head);
    buf_unref(&members);
    return next;
}

static enum http_next answer_metrics(const struct http_site *site, bool is_head, struct buf *out)
{
    metric_set(up, site->health(site->context).up);
    return http_put_metrics(&site->node, out, is_head);
}

/* ---- Routing ---- */

/* Only digits count. */
static enum rc body_size(const struct http_request *request, uint64_t size_max, uint64_t *ret_size)
{
    *ret_size = 0;
    struct slice text = request->content_length;
    if (text.base == NULL)
        return RC_NOT_FOUND;
    if (text.size == 0)
        return RC_BAD_REQUEST;
    uint64_t size = 0;
    for (uint32_t i = 0; i < text.size; i++) {
        if (text.base[i] < '0' || text.base[i] > '9')
            return RC_BAD_REQUEST;
        size = size * 10 + (uint64_t)(text.base[i] - '0');
        if (size > size_max)
            size = size_max + 1; /* Too large already; only the digits still matter. */
    }
    *ret_size = size;
    return size > size_max ? RC_TOO_LARGE : RC_OK;
}

static enum http_next answer_too_large(const struct http_site *site, bool is_head, struct buf *out)
{
    return http_put_error(&site->node, out, 413, "too_large", "the body is too large", "", is_head);
}

enum http_next http_answer_bad_body(const struct http_site *site, bool is_too_large,
                                    struct buf *out)
{
    if (is_too_large)
        return answer_too_large(site, false, out);
    return http_put_error(&site->node, out, 400, "bad_request",
                          "the chunks of the body cannot be read", "", false);
}

enum http_next http_answer_crowded(const struct http_site *site, bool is_head, struct buf *out)
{
    return http_put_error(&site->node, out, 429, "rate_limited",
                          "too many connections of this address", "Retry-After: 10\r\n", is_head);
}

static bool has_prefix(struct slice text, const char *prefix)
{
    size_t size = strlen(prefix);
    return text.size >= size && memcmp(text.base, prefix, size) == 0;
}

static bool is_dev_token(const struct http_site *site, const struct http_request *request)
{
    return site->is_dev && slice_equals(request->path, "/v1/dev/token");
}

static bool is_api(const struct http_site *site, const struct http_request *request)
{
    return has_prefix(request->path, API_PREFIX) && !is_dev_token(site, request) &&
           !slice_equals(request->path, HTTP_OPENAPI_PATH);
}

uint64_t http_body_size_max(const struct http_site *site, const struct http_request *request)
{
    return is_api(site, request) ? site->body_size_max : HTTP_BODY_SIZE_MAX;
}

bool http_is_chunked(const struct http_request *request)
{
    return request->transfer_encoding.base != NULL;
}

bool http_has_body(const struct http_request *request)
{
    return http_is_chunked(request) || http_body_size(request) > 0;
}

/* NULL, or why one of those who read the request may find another end (RFC 9112, sections 6.1 and
 * 6.3). */
static const char *check_encoding(const struct http_request *request)
{
    if (request->is_old)
        return "HTTP/1.0 has no Transfer-Encoding";
    if (request->content_length.base != NULL)
        return "send Content-Length or Transfer-Encoding, not both";
    if (!slice_equals_nocase(request->transfer_encoding, "chunked"))
        return "the only Transfer-Encoding here is chunked";
    return NULL;
}

static bool wants_continue(const struct http_request *request)
{
    return slice_equals_nocase(request->expect, "100-continue");
}

bool http_expects_continue(const struct http_request *request)
{
    return wants_continue(request) && http_has_body(request) && !request->is_old;
}

bool http_refuses_expectation(const struct http_site *site, const struct http_request *request,
                              struct buf *out)
{
    if (request->expect.base == NULL || wants_continue(request))
        return false;
    return http_put_error(&site->node, out, 417, "bad_request",
                          "nothing but 100-continue can be expected", "",
                          request->method == HTTP_HEAD) == HTTP_CLOSE;
}

/* HTTP_BODY: the body is fine as far as its head tells; anything else is the refusal. */
static enum http_next check_body(const struct http_site *site, const struct http_request *request,
                                 struct buf *out)
{
    bool is_head = request->method == HTTP_HEAD;
    const char *reason = http_is_chunked(request) ? check_encoding(request) : NULL;
    if (reason != NULL)
        return http_put_error(&site->node, out, 400, "bad_request", reason, "", is_head);
    uint64_t size;
    switch (body_size(request, http_body_size_max(site, request), &size)) {
    case RC_OK:
        return HTTP_BODY;
    case RC_NOT_FOUND: /* There is none (RFC 9112, section 6.3), or it is in chunks. */
        return HTTP_BODY;
    case RC_TOO_LARGE:
        return answer_too_large(site, is_head, out);
    default:
        return http_put_error(&site->node, out, 400, "bad_request", "Content-Length is no number",
                              "", is_head);
    }
}

/* Is the host an address or localhost? Any other name can be pointed here by whoever owns it, and
 * his page is then of the site's own origin (DNS rebinding). */
static bool is_own_name(struct slice host)
{
    struct slice port;
    if (slice_skip_nocase(host, "localhost", &port))
        return port.size == 0 || port.base[0] == ':';
    bool is_v4 = true;
    for (uint32_t i = 0; i < host.size; i++)
        is_v4 = is_v4 && strchr(".:0123456789", host.base[i]) != NULL;
    return host.size > 0 && (is_v4 || host.base[0] == '[');
}

static bool is_listed(const struct http_site *site, struct slice origin)
{
    for (uint32_t i = 0; i < site->origin_count; i++)
        if (strcmp(site->origins[i], "*") == 0 || slice_equals(origin, site->origins[i]))
            return true;
    return false;
}

static enum http_next answer_token(const struct http_site *site, const struct http_request *request,
                                   struct buf *out)
{
    if (request->method != HTTP_POST)
        return http_put_error(&site->node, out, 405, "bad_request",
                              "the method is not allowed here", "Allow: POST\r\n",
                              request->method == HTTP_HEAD);
    /* Else any page that a developer visits could fetch itself a token of this machine. */
    if (!http_origin_is_allowed(site, request))
        return http_put_error(&site->node, out, 403, "forbidden", "this Origin is not allowed", "",
                              false);
    if (request->origin.base != NULL && !is_listed(site, request->origin) &&
        !is_own_name(request->host))
        return http_put_error(&site->node, out, 403, "forbidden",
                              "give the page's origin to --origin: its name may be anybody's", "",
                              false);
    return HTTP_BODY;
}

enum http_next http_answer(const struct http_site *site, const struct http_request *request,
                           struct buf *out)
{
    bool is_head = request->method == HTTP_HEAD;
    enum http_next next = check_body(site, request, out);
    if (next != HTTP_BODY)
        return next;
    if (http_refuses_expectation(site, request, out))
        return HTTP_CLOSE;
    if (request->path.size == 0 || request->path.base[0] != '/')
        return http_put_error(&site->node, out, 400, "bad_request",
                              "the path must begin with a slash", "", is_head);
    if (is_dev_token(site, request))
        return answer_token(site, request, out);
    if (is_api(site, request))
        return http_answer_api(site, request, out);

    bool is_health = slice_equals(request->path, "/health");
    bool is_metrics = slice_equals(request->path, "/metrics");
    bool is_socket = slice_equals(request->path, "/ws");
    const struct web_file *file = http_find_file(site, request->path);
    if (!is_health && !is_metrics && !is_socket && file == NULL)
        return http_put_not_found(&site->node, out, is_head);
    if (request->method != HTTP_GET && request->method != HTTP_HEAD)
        return http_put_only_get(&site->node, out);
    if (is_socket)
        return http_put_error(&site->node, out, 426, "bad_request", "this path speaks WebSocket",
                              "Upgrade: websocket\r\n", is_head);
    if (is_health)
        return answer_health(site, is_head, out);
    if (is_metrics)
        return answer_metrics(site, is_head, out);
    return http_answer_file(site, file, request, out);
}

uint64_t http_body_size(const struct http_request *request)
{
    uint64_t size;
    return body_size(request, UINT32_MAX, &size) == RC_OK ? size : 0;
}

/* ---- POST /v1/dev/token ---- */

struct token_request {
    struct slice user;
    struct slice device; /* Absent: any device. */
};

/* `scratch` takes unescaped strings: room for the whole body keeps its bytes where they are. */
static const char *read_token_request(struct slice body, struct buf *scratch,
                                      struct token_request *ret_request)
{
    const char *reason = "the body must be a JSON object";
    if (json_check(body, &reason) != RC_OK)
        return reason;
    struct json_value whole = {.type = JSON_OBJECT, .raw = body};
    while (whole.raw.size > 0 && strchr(" \t\r\n", whole.raw.base[0]) != NULL)
        whole.raw = slice_of(whole.raw.base + 1, whole.raw.size - 1);
    if (whole.raw.base[0] != '{')
        return "the body must be a JSON object";
    buf_reserve(scratch, body.size);

    uint32_t at = 0;
    struct slice key;
    struct json_value value;
    while (json_next(whole, &at, &key, &value)) {
        struct slice *field = slice_equals(key, "user")     ? &ret_request->user
                              : slice_equals(key, "device") ? &ret_request->device
                                                            : NULL;
        if (field == NULL)
            continue;
        if (value.type != JSON_STRING || field->base != NULL)
            return "user and device are strings, each given once";
        *field = json_unescape(value.raw, scratch);
    }
    if (ret_request->user.base == NULL || !key_user_is_valid(ret_request->user))
        return "user must be 1 to 128 bytes of UTF-8 without control characters";
    if (ret_request->device.base != NULL && !key_device_is_valid(ret_request->device))
        return "device must be 1 to 64 bytes of UTF-8 without control characters";
    return NULL;
}

enum http_next http_answer_body(const struct http_site *site, struct slice body, struct buf *out)
{
    if (body.size > HTTP_BODY_SIZE_MAX)
        return answer_too_large(site, false, out);
    struct buf *scratch = buf_new(64);
    struct buf *json = buf_new(512);
    struct token_request request = {0};
    enum http_next next;
    const char *reason = read_token_request(body, scratch, &request);
    if (reason != NULL) {
        next = http_put_error(&site->node, out, 400, "bad_request", reason, "", false);
        goto done;
    }
    buf_append_string(json, "{\"token\":\"");
    uint64_t now_s = env_wall_ms(site->node.env) / 1000;
    if (auth_sign(site->auth, request.user, request.device, now_s, HTTP_DEV_TOKEN_LIFE_S, json) !=
        RC_OK) {
        next = http_put_error(&site->node, out, 503, "unavailable",
                              "no key of this gateway can sign", "", false);
        goto done;
    }
    buf_append_string(json, "\"}");
    next = http_put_response(&site->node, out, 200, HTTP_JSON_TYPE, buf_slice(json), false);
done:
    buf_unref(&json);
    buf_unref(&scratch);
    return next;
}

/* ---- Who may ask ---- */

bool http_origin_is_allowed(const struct http_site *site, const struct http_request *request)
{
    struct slice origin = request->origin;
    if (origin.base == NULL)
        return true; /* No browser: then no page can be behind it. */
    if (is_listed(site, origin))
        return true;
    static const char *const schemes[] = {"http://", "https://"};
    for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
        struct slice host;
        if (slice_skip_nocase(origin, schemes[i], &host) && host.size > 0 &&
            host.size == request->host.size &&
            strncasecmp(host.base, request->host.base, host.size) == 0)
            return true;
    }
    return false;
}
