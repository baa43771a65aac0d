/* Who may have a WebSocket: all of the request is judged here, so that nothing of it has to be read
 * again where it is upgraded (edge_conn.c). */
#include "gateway/http_private.h"

#include "gateway/query.h"
#include "mesh/base/check.h"
#include "mesh/wire/key.h"

/* The token of the request: RC_NOT_FOUND where it bears none. A header goes before the query,
 * because a query is what ends up in logs of proxies. */
static enum rc find_token(const struct http_request *request, char *out, size_t size,
                          struct slice *ret_token)
{
    struct slice bearer;
    if (slice_skip_nocase(request->authorization, "Bearer ", &bearer) && bearer.size > 0) {
        *ret_token = bearer;
        return RC_OK;
    }
    return query_get(request->query, "token", out, size, ret_token);
}

/* After read_options(): what device a token is bound to must be the one named. NULL, or why the
 * request is refused with 401. */
static const char *identify(const struct http_site *site, const struct http_request *request,
                            struct http_upgrade *upgrade)
{
    char memory[AUTH_TOKEN_SIZE_MAX];
    struct slice token;
    enum rc rc = find_token(request, memory, sizeof(memory), &token);
    if (rc == RC_NOT_FOUND)
        return NULL;
    if (rc != RC_OK)
        return "the token cannot be read";
    const char *reason = rc_sentence(RC_UNAUTHORIZED);
    uint64_t now_s = env_wall_ms(site->node.env) / 1000;
    rc = auth_verify(site->auth, token, now_s, &upgrade->identity, &reason);
    if (rc != RC_OK)
        return reason;
    struct slice bound = slice_string(upgrade->identity.device);
    struct slice said = slice_of(upgrade->device, upgrade->device_size);
    if (bound.size > 0 && said.size > 0 && !slice_equal(bound, said))
        return "the token is for another device";
    upgrade->has_identity = true;
    return NULL;
}

static const char *read_options(const struct http_request *request, struct http_upgrade *upgrade)
{
    struct slice device;
    enum rc rc =
        query_get(request->query, "device", upgrade->device, sizeof(upgrade->device), &device);
    if (rc == RC_OK && key_device_is_valid(device))
        upgrade->device_size = device.size;
    else if (rc != RC_NOT_FOUND)
        return "device must be 1 to 64 bytes of UTF-8 without control characters";
    char memory[4];
    struct slice batch;
    rc = query_get(request->query, "batch", memory, sizeof(memory), &batch);
    if (rc != RC_OK && rc != RC_NOT_FOUND)
        return "batch is 0 or 1";
    upgrade->batch = rc == RC_OK && (slice_equals(batch, "1") || slice_equals(batch, "true"));
    return NULL;
}

/* 16 bytes in base64 (RFC 6455, section 4.1); which, is not for us to ask. */
static bool key_is_good(struct slice key)
{
    const uint32_t digits = HTTP_WEBSOCKET_KEY_SIZE - 2;
    if (key.size != HTTP_WEBSOCKET_KEY_SIZE || memcmp(key.base + digits, "==", 2) != 0)
        return false;
    for (uint32_t i = 0; i < digits; i++) {
        char c = key.base[i];
        bool is_digit = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!is_digit && c != '+' && c != '/')
            return false;
    }
    return true;
}

bool http_is_upgrade(const struct http_request *request)
{
    return slice_equals_nocase(request->upgrade, "websocket");
}

bool http_upgrade(const struct http_site *site, const struct http_request *request,
                  struct http_upgrade *ret_upgrade, struct buf *out)
{
    memset(ret_upgrade, 0, sizeof(*ret_upgrade));
    if (http_refuses_expectation(site, request, out))
        return false;
    bool is_head = request->method == HTTP_HEAD;
    enum http_next next;
    const char *reason;
    if (!slice_equals(request->path, "/ws"))
        next = http_put_error(&site->node, out, 404, "not_found", "WebSockets are at /ws", "",
                              is_head);
    else if (request->method != HTTP_GET)
        next = http_put_error(&site->node, out, 405, "bad_request",
                              "the method is not allowed here", "Allow: GET, HEAD\r\n", is_head);
    else if (request->content_length.base != NULL || request->transfer_encoding.base != NULL)
        next = http_put_error(&site->node, out, 400, "bad_request", "an upgrade has no body", "",
                              is_head);
    else if (!request->has_connection_upgrade || request->is_last)
        next = http_put_error(&site->node, out, 400, "bad_request", "send Connection: Upgrade", "",
                              is_head);
    else if (!slice_equals(request->websocket_version, "13"))
        next = http_put_error(&site->node, out, 426, "unsupported",
                              "WebSocket version 13 is spoken here",
                              "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n", is_head);
    else if (!key_is_good(request->websocket_key))
        next = http_put_error(&site->node, out, 400, "bad_request", "send Sec-WebSocket-Key", "",
                              is_head);
    else if (!http_origin_is_allowed(site, request))
        next = http_put_error(&site->node, out, 403, "forbidden", "this Origin is not allowed", "",
                              is_head);
    else if ((reason = read_options(request, ret_upgrade)) != NULL)
        next = http_put_error(&site->node, out, 400, "bad_request", reason, "", is_head);
    else if ((reason = identify(site, request, ret_upgrade)) != NULL)
        next = http_put_error(&site->node, out, 401, "unauthorized", reason,
                              "WWW-Authenticate: Bearer\r\n", is_head);
    else {
        memcpy(ret_upgrade->key, request->websocket_key.base, sizeof(ret_upgrade->key));
        ret_upgrade->offers_protocol = request->offers_protocol;
        return true;
    }
    CHECK(next == HTTP_CLOSE);
    return false;
}
