#include "gateway/http_node.h"

#include <inttypes.h>
#include <stdio.h>

#include "gateway/json.h"
#include "mesh/base/check.h"

static const char *status_text(unsigned status)
{
    switch (status) {
    case 200:
        return "OK";
    case 201:
        return "Created";
    case 204:
        return "No Content";
    case 304:
        return "Not Modified";
    case 400:
        return "Bad Request";
    case 401:
        return "Unauthorized";
    case 403:
        return "Forbidden";
    case 404:
        return "Not Found";
    case 405:
        return "Method Not Allowed";
    case 409:
        return "Conflict";
    case 413:
        return "Content Too Large";
    case 417:
        return "Expectation Failed";
    case 426:
        return "Upgrade Required";
    case 429:
        return "Too Many Requests";
    case 431:
        return "Request Header Fields Too Large";
    case 500:
        return "Internal Server Error";
    case 501:
        return "Not Implemented";
    case 503:
        return "Service Unavailable";
    case 505:
        return "HTTP Version Not Supported";
    }
    CHECK(false); /* A status of our own choosing that is not in this list. */
}

/* Every response bears these; 204 and 304 say by themselves that they have no body (RFC 9110,
 * section 8.6). no-referrer: a token may stand in the page's own URL. */
void http_put_head(const struct http_node *node, struct buf *out, unsigned status,
                   const char *content_type, size_t size, const char *more)
{
    buf_append_format(out, "HTTP/1.1 %u %s\r\n", status, status_text(status));
    const char *date = http_date_text(node->date, env_wall_ms(node->env));
    buf_append_format(out, "Date: %s\r\n", date);
    if (status != 204 && status != 304)
        buf_append_format(out, "Content-Length: %zu\r\n", size);
    buf_append_string(out, "X-Content-Type-Options: nosniff\r\n"
                           "Referrer-Policy: no-referrer\r\n");
    if (content_type != NULL)
        buf_append_format(out, "Content-Type: %s\r\n", content_type);
    buf_append_string(out, more);
    buf_append_string(out, "\r\n");
}

enum http_next http_put_response(const struct http_node *node, struct buf *out, unsigned status,
                                 const char *content_type, struct slice body, bool is_head)
{
    http_put_head(node, out, status, content_type, body.size,
                  node->is_once ? "Cache-Control: no-store\r\nConnection: close\r\n"
                                : "Cache-Control: no-store\r\n");
    if (!is_head)
        buf_append_slice(out, body);
    return node->is_once ? HTTP_CLOSE : HTTP_KEEP;
}

enum http_next http_put_error(const struct http_node *node, struct buf *out, unsigned status,
                              const char *code, const char *message, const char *more, bool is_head)
{
    struct buf *body = buf_new(256);
    buf_append_format(body, "{\"error\":{\"code\":\"%s\",\"message\":", code);
    json_append_string(body, slice_string(message));
    buf_append_string(body, "}}");
    char lines[128];
    int size =
        snprintf(lines, sizeof(lines), "Cache-Control: no-store\r\nConnection: close\r\n%s", more);
    CHECK(size > 0 && (size_t)size < sizeof(lines));
    http_put_head(node, out, status, HTTP_JSON_TYPE, body->size, lines);
    if (!is_head)
        buf_append_slice(out, buf_slice(body));
    buf_unref(&body);
    return HTTP_CLOSE;
}

enum http_next http_put_not_found(const struct http_node *node, struct buf *out, bool is_head)
{
    return http_put_error(node, out, 404, "not_found", "there is nothing at this path", "",
                          is_head);
}

enum http_next http_put_only_get(const struct http_node *node, struct buf *out)
{
    return http_put_error(node, out, 405, "bad_request", "the method is not allowed here",
                          "Allow: GET, HEAD\r\n", false);
}

enum http_next http_put_bad_head(const struct http_node *node, struct buf *out, enum http_head head,
                                 const char *reason, bool is_head)
{
    if (head == HTTP_HEAD_UNSUPPORTED)
        return http_put_error(node, out, 505, "unsupported", "HTTP/1.1 is spoken here", "",
                              is_head);
    if (head == HTTP_HEAD_PART)
        return http_put_error(node, out, 431, "too_large", "the head is too large", "", is_head);
    return http_put_error(node, out, 400, "bad_request", reason, "", is_head);
}

/* ---- What every node tells of itself ---- */

/* Node ids need no escapes. */
void http_put_names(struct buf *members, const char *names)
{
    const char *at = names;
    struct slice name;
    buf_append_string(members, "[");
    while (slice_next_word(&at, &name))
        buf_append_format(members, "%s\"%.*s\"", name.base > names ? "," : "", SLICE_ARGS(name));
    buf_append_string(members, "]");
}

enum http_next http_put_health(const struct http_node *node, struct buf *out, const char *reason,
                               struct slice members, bool is_head)
{
    struct buf *body = buf_new(512);
    buf_append_format(body, "{\"status\":\"%s\",\"node\":\"%s\",\"role\":\"%s\",",
                      reason == NULL ? "UP" : "DOWN", node->id, metrics_role_name(node->role));
    buf_append_slice(body, members);
    if (reason != NULL) {
        buf_append_string(body, "\"reason\":");
        json_append_string(body, slice_string(reason));
        buf_append_string(body, ",");
    }
    buf_append_format(body, "\"timestamp\":%" PRIu64 "}", env_wall_ms(node->env));
    enum http_next next = http_put_response(node, out, reason == NULL ? 200 : 503, HTTP_JSON_TYPE,
                                            buf_slice(body), is_head);
    buf_unref(&body);
    return next;
}

enum http_next http_put_metrics(const struct http_node *node, struct buf *out, bool is_head)
{
    struct buf *text = buf_new(16384);
    metrics_print(text, node->id, node->role);
    enum http_next next = http_put_response(
        node, out, 200, "text/plain; version=0.0.4; charset=utf-8", buf_slice(text), is_head);
    buf_unref(&text);
    return next;
}
