/* How responses are written. */
#include "gateway/http_private.h"

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
void http_put_head(const struct http_site *site, struct buf *out, unsigned status,
                   const char *content_type, size_t size, const char *more)
{
    buf_append_format(out, "HTTP/1.1 %u %s\r\n", status, status_text(status));
    const char *date = http_date_text(site->date, site->wall_ms(site->context));
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

enum http_next http_put_response(const struct http_site *site, struct buf *out, unsigned status,
                                 const char *content_type, struct slice body, bool is_head)
{
    http_put_head(site, out, status, content_type, body.size, "Cache-Control: no-store\r\n");
    if (!is_head)
        buf_append_slice(out, body);
    return HTTP_KEEP;
}

enum http_next http_put_error(const struct http_site *site, struct buf *out, unsigned status,
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
    http_put_head(site, out, status, HTTP_JSON_TYPE, body->size, lines);
    if (!is_head)
        buf_append_slice(out, buf_slice(body));
    buf_unref(&body);
    return HTTP_CLOSE;
}
