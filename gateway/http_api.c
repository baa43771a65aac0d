/* The API's side of HTTP: who may ask from a page, what a body is, how an answer is written. */
#include "gateway/http_private.h"

#include <inttypes.h>

#include "mesh/base/check.h"

/* A page of the allowed origin that asked may read the answer. What is no plain text is not echoed.
 */
static void put_cors(const struct http_request *request, struct buf *lines)
{
    struct slice origin = request->origin;
    for (uint32_t i = 0; i < origin.size; i++)
        if (origin.base[i] <= ' ' || origin.base[i] > '~')
            return;
    if (origin.size == 0)
        return;
    buf_append_string(lines, "Vary: Origin\r\nAccess-Control-Allow-Origin: ");
    buf_append_slice(lines, origin);
    buf_append_string(lines, "\r\nAccess-Control-Expose-Headers: retry-after\r\n");
}

/* What a browser asks before it lets a page of an allowed origin ask anything else (Fetch, section
 * 4.8). */
static enum http_next answer_preflight(const struct http_site *site,
                                       const struct http_request *request, struct buf *out)
{
    struct buf *lines = buf_new(512);
    put_cors(request, lines);
    buf_append_string(lines, "Allow: GET, POST, PATCH, DELETE\r\n"
                             "Access-Control-Allow-Methods: GET, POST, PATCH, DELETE\r\n"
                             "Access-Control-Allow-Headers: authorization, content-type\r\n"
                             "Access-Control-Max-Age: 600\r\n");
    buf_append_byte(lines, '\0');
    http_put_head(&site->node, out, 204, NULL, 0, (const char *)lines->bytes);
    buf_unref(&lines);
    return HTTP_KEEP;
}

enum http_next http_answer_api(const struct http_site *site, const struct http_request *request,
                               struct buf *out)
{
    bool is_head = request->method == HTTP_HEAD;
    if (!http_origin_is_allowed(site, request))
        return http_put_error(&site->node, out, 403, "forbidden", "this Origin is not allowed", "",
                              is_head);
    if (request->method == HTTP_OPTIONS && http_has_body(request))
        return http_put_error(&site->node, out, 400, "bad_request", "this method has no body here",
                              "", is_head);
    if (request->method == HTTP_OPTIONS)
        return answer_preflight(site, request, out);
    return HTTP_API;
}

/* ---- To the API and back ---- */

struct api_head http_api_head(const struct http_site *site, const struct http_request *request)
{
    static const enum api_method methods[] = {
        [HTTP_GET] = API_GET,       [HTTP_POST] = API_POST,     [HTTP_PATCH] = API_PATCH,
        [HTTP_DELETE] = API_DELETE, [HTTP_OPTIONS] = API_OTHER,
    };
    CHECK(request->method < sizeof(methods) / sizeof(methods[0]));
    return (struct api_head){
        .method = methods[request->method],
        .path = request->path,
        .query = request->query,
        .authorization = request->authorization,
        .has_body = http_has_body(request),
        .is_dev = site->is_dev,
    };
}

void http_api_init(struct http_api *api, const struct http_request *request)
{
    *api = (struct http_api){.is_head = request->method == HTTP_HEAD};
    if (request->origin.base == NULL)
        return;
    api->cors = buf_new(256);
    put_cors(request, api->cors);
}

void http_api_fini(struct http_api *api)
{
    buf_unref(&api->cors);
}

void http_put_api(const struct http_site *site, const struct http_api *api,
                  const struct api_answer *answer, struct buf *out)
{
    struct buf *lines = buf_new(512);
    buf_append_string(lines, "Cache-Control: no-store\r\n");
    if (api->cors != NULL)
        buf_append_slice(lines, buf_slice(api->cors));
    if (api->will_close)
        buf_append_string(lines, "Connection: close\r\n");
    if (answer->status == 401)
        buf_append_string(lines, "WWW-Authenticate: Bearer\r\n");
    if (answer->allow[0] != '\0')
        buf_append_format(lines, "Allow: %s\r\n", answer->allow);
    if (answer->retry_s != 0)
        buf_append_format(lines, "Retry-After: %" PRIu32 "\r\n", answer->retry_s);
    buf_append_byte(lines, '\0');
    bool has_body = answer->body.base != NULL;
    http_put_head(&site->node, out, answer->status, has_body ? HTTP_JSON_TYPE : NULL,
                  answer->body.size, (const char *)lines->bytes);
    if (has_body && !api->is_head)
        buf_append_slice(out, answer->body);
    buf_unref(&lines);
}
