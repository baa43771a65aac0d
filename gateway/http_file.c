/* The pages and the client, which are part of the program. */
#include "gateway/http_private.h"

#include <stdio.h>

#include "mesh/base/check.h"

/* `/` is index.html, `/admin` is admin.html, `/client.js` is itself. */
const struct web_file *http_find_file(const struct http_site *site, struct slice path)
{
    struct slice name = slice_of(path.base + 1, path.size - 1);
    if (name.size == 0)
        name = slice_string("index.html");
    if (slice_equals(path, HTTP_OPENAPI_PATH))
        name = slice_string("openapi.json");
    for (size_t i = 0; i < site->file_count; i++) {
        const struct web_file *file = &site->files[i];
        struct slice whole = slice_string(file->name);
        if (slice_equal(name, whole))
            return file;
        const size_t suffix = sizeof(".html") - 1;
        if (whole.size == name.size + suffix &&
            strcmp(file->name + whole.size - suffix, ".html") == 0 &&
            memcmp(whole.base, name.base, name.size) == 0)
            return file;
    }
    return NULL;
}

/* The next entity tag of a list, without W/, which makes no difference here (RFC 9110, section
 * 13.1.2); false where none is left, or none can be read. */
static bool next_tag(struct slice *rest, struct slice *ret_tag)
{
    const char *at = rest->base, *end = rest->base + rest->size;
    while (at < end && (*at == ' ' || *at == '\t' || *at == ','))
        at++;
    if (end - at >= 2 && at[0] == 'W' && at[1] == '/')
        at += 2;
    const char *last =
        end - at >= 2 && *at == '"' ? memchr(at + 1, '"', (size_t)(end - at) - 1) : NULL;
    if (last == NULL)
        return false;
    *ret_tag = slice_of(at, (size_t)(last - at) + 1);
    *rest = slice_of(last + 1, (size_t)(end - last) - 1);
    return true;
}

/* Does the client have it, by its If-None-Match? */
static bool is_known(struct slice list, struct slice etag)
{
    if (list.base == NULL)
        return false;
    if (slice_equals(list, "*"))
        return true;
    struct slice tag;
    while (next_tag(&list, &tag))
        if (slice_equal(tag, etag))
            return true;
    return false;
}

/* The pages load nothing from elsewhere and talk to gateways only; nobody may frame them. */
enum http_next http_answer_file(const struct http_site *site, const struct web_file *file,
                                const struct http_request *request, struct buf *out)
{
    char lines[384];
    int size = snprintf(lines, sizeof(lines),
                        "Cache-Control: no-cache\r\n"
                        "ETag: %s\r\n"
                        "Content-Security-Policy: default-src 'self'; connect-src 'self' ws: wss:; "
                        "base-uri 'none'; frame-ancestors 'none'\r\n",
                        file->etag);
    CHECK(size > 0 && (size_t)size < sizeof(lines));
    if (is_known(request->if_none_match, slice_string(file->etag))) {
        http_put_head(&site->node, out, 304, NULL, 0, lines);
        return HTTP_KEEP;
    }
    http_put_head(&site->node, out, 200, file->content_type, file->size, lines);
    if (request->method != HTTP_HEAD)
        buf_append(out, file->bytes, file->size);
    return HTTP_KEEP;
}
