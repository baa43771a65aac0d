/* Requests: libwebsockets' headers in, http.c's bytes out.
 *
 * libwebsockets 4.1.6 decodes the query itself, in pieces between the `&`, and an encoded line feed
 * in it begins a header of the sender's choice. So pieces are put together again in one encoding,
 * and every header is taken with all its occurrences joined: what was smuggled in next to the real
 * one then matches no rule. */
#include "gateway/edge_private.h"

#include <strings.h>

#include "gateway/query.h"
#include "mesh/base/check.h"
#include "mesh/base/metrics.h"

/* One header with all its occurrences, copied to edge->headers from *at on. False: no room. */
static bool copy_header(struct edge_conn *conn, enum lws_token_indexes token, size_t *at,
                        struct slice *ret_value)
{
    struct edge *edge = conn->edge;
    *ret_value = (struct slice){0};
    if (lws_hdr_total_length(conn->wsi, token) <= 0)
        return true;
    char *to = edge->headers + *at;
    int size = lws_hdr_copy(conn->wsi, to, (int)(sizeof(edge->headers) - *at), token);
    if (size < 0)
        return false;
    *ret_value = slice_of(to, strlen(to)); /* `size` leaves out the commas. */
    *at += ret_value->size + 1;
    return true;
}

static bool copy_query(struct edge_conn *conn, size_t at)
{
    struct edge *edge = conn->edge;
    char *piece = edge->headers + at;
    int room = (int)(sizeof(edge->headers) - at);
    buf_clear(edge->query);
    if (lws_hdr_total_length(conn->wsi, WSI_TOKEN_HTTP_URI_ARGS) <= 0)
        return true;
    for (int i = 0;; i++) {
        int size = lws_hdr_fragment_length(conn->wsi, WSI_TOKEN_HTTP_URI_ARGS, i);
        if (size <= 0 && i > 0)
            return true; /* An empty piece ends it as well: nothing of ours comes behind one. */
        size = lws_hdr_copy_fragment(conn->wsi, piece, room, WSI_TOKEN_HTTP_URI_ARGS, i);
        if (size < 0)
            return false;
        char *equals = memchr(piece, '=', (size_t)size);
        size_t name_size = equals != NULL ? (size_t)(equals - piece) : (size_t)size;
        size_t value_at = equals != NULL ? name_size + 1 : name_size;
        query_append(edge->query, slice_of(piece, name_size),
                     slice_of(piece + value_at, (size_t)size - value_at));
    }
}

static enum http_method method_of(int token)
{
    switch (token) {
    case LWSHUMETH_GET:
        return HTTP_GET;
    case LWSHUMETH_HEAD:
        return HTTP_HEAD;
    case LWSHUMETH_POST:
        return HTTP_POST;
    }
    return HTTP_OTHER;
}

/* The slices live until the next request of any connection. */
static bool read_request(struct edge_conn *conn, struct http_request *ret_request)
{
    memset(ret_request, 0, sizeof(*ret_request));
    char *path = NULL;
    int path_size = 0;
    int method = lws_http_get_uri_and_method(conn->wsi, &path, &path_size);
    if (method < 0 || path == NULL || path_size < 0)
        return false;
    ret_request->method = method_of(method);
    ret_request->path = slice_of(path, (size_t)path_size);

    const struct {
        enum lws_token_indexes token;
        struct slice *value;
    } wanted[] = {
        {WSI_TOKEN_HOST, &ret_request->host},
        {WSI_TOKEN_ORIGIN, &ret_request->origin},
        {WSI_TOKEN_HTTP_AUTHORIZATION, &ret_request->authorization},
        {WSI_TOKEN_HTTP_IF_NONE_MATCH, &ret_request->if_none_match},
        {WSI_TOKEN_HTTP_CONTENT_LENGTH, &ret_request->content_length},
        {WSI_TOKEN_HTTP_TRANSFER_ENCODING, &ret_request->transfer_encoding},
        {WSI_TOKEN_VERSION, &ret_request->websocket_version},
    };
    size_t at = 0;
    for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
        if (!copy_header(conn, wanted[i].token, &at, wanted[i].value))
            return false;
    if (!copy_query(conn, at))
        return false;
    ret_request->query = buf_slice(conn->edge->query);
    return true;
}

static bool write_response(struct edge_conn *conn)
{
    struct buf *response = conn->edge->response;
    return lws_write(conn->wsi, response->bytes, response->size, LWS_WRITE_HTTP_FINAL) >= 0;
}

/* Send what http.c wrote. -1 ends the connection, after what is buffered has been sent. */
static int send_response(struct edge_conn *conn, enum http_next next)
{
    CHECK(next != HTTP_BODY);
    if (!write_response(conn) || next == HTTP_CLOSE)
        return -1;
    return lws_http_transaction_completed(conn->wsi) != 0 ? -1 : 0;
}

int edge_on_request(struct edge_conn *conn)
{
    struct edge *edge = conn->edge;
    struct http_request request;
    if (!read_request(conn, &request))
        return -1;
    buf_clear(edge->response);
    enum http_next next = http_answer(&edge->site, &request, edge->response);
    if (next != HTTP_BODY)
        return send_response(conn, next);
    buf_unref(&conn->input);
    conn->input = buf_new(256);
    return 0; /* libwebsockets now reads the body. */
}

int edge_on_body(struct edge_conn *conn, const void *bytes, size_t size)
{
    if (conn->input == NULL)
        return -1;
    if (size > HTTP_BODY_SIZE_MAX - conn->input->size) {
        buf_clear(conn->edge->response);
        return send_response(conn, http_answer_too_large(conn->edge->response));
    }
    buf_append(conn->input, bytes, size);
    return 0;
}

int edge_on_body_end(struct edge_conn *conn)
{
    struct edge *edge = conn->edge;
    if (conn->input == NULL)
        return -1;
    buf_clear(edge->response);
    enum http_next next = http_answer_body(&edge->site, buf_slice(conn->input), edge->response);
    buf_unref(&conn->input);
    return send_response(conn, next);
}

/* libwebsockets would go on to HTTP/2 for `Upgrade: h2c`, into a parser with known holes, and calls
 * here with a dangling argument after refusing an upgrade by itself (CVE-2025-11677): so the header
 * is read afresh, and all but websocket ends the connection without a word. */
int edge_on_upgrade(struct edge_conn *conn)
{
    struct edge *edge = conn->edge;
    char protocol[sizeof("websocket") + 1];
    if (lws_hdr_total_length(conn->wsi, WSI_TOKEN_UPGRADE) != (int)strlen("websocket") ||
        lws_hdr_copy(conn->wsi, protocol, sizeof(protocol), WSI_TOKEN_UPGRADE) < 0 ||
        strcasecmp(protocol, "websocket") != 0) {
        metric_add(connections_refused_total, 1);
        return -1;
    }
    struct http_request request;
    if (!read_request(conn, &request))
        return -1;
    buf_clear(edge->response);
    if (http_upgrade(&edge->site, &request, &edge->upgrade, edge->response)) {
        edge->upgrading = conn->wsi;
        return 0;
    }
    metric_add(connections_refused_total, 1);
    return write_response(conn) ? 1 : -1;
}
