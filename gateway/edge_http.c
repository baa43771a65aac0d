/* Requests: libwebsockets' headers in, http.c's bytes out; what the API answers goes out later.
 *
 * libwebsockets 4.1.6 decodes the query itself, in pieces between the `&`, and an encoded line feed
 * in it begins a header of the sender's choice. So pieces are put together again in one encoding,
 * and every header is taken with all its occurrences joined: what was smuggled in next to the real
 * one then matches no rule. */
#include "gateway/edge_private.h"

#include <strings.h>

#include "gateway/query.h"
#include "mesh/base/check.h"
#include "mesh/base/mem.h"
#include "mesh/base/metrics.h"

#define EDGE_ANSWER_S 20 /* For a client to take an answer. */

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
    case LWSHUMETH_PATCH:
        return HTTP_PATCH;
    case LWSHUMETH_DELETE:
        return HTTP_DELETE;
    case LWSHUMETH_OPTIONS:
        return HTTP_OPTIONS;
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

static bool write_response(struct edge_conn *conn, const struct buf *response)
{
    return lws_write(conn->wsi, response->bytes, response->size, LWS_WRITE_HTTP_FINAL) >= 0;
}

/* Send a response. -1 ends the connection, after what is buffered has been sent. */
static int send_response(struct edge_conn *conn, const struct buf *response, enum http_next next)
{
    CHECK(next == HTTP_KEEP || next == HTTP_CLOSE);
    if (!write_response(conn, response) || next == HTTP_CLOSE)
        return -1;
    return lws_http_transaction_completed(conn->wsi) != 0 ? -1 : 0;
}

/* ---- The API: the answer comes later ---- */

void edge_request_free(struct edge_conn *conn)
{
    struct edge_request *request = conn->request;
    conn->request = NULL;
    if (request == NULL)
        return;
    api_abandon(&request->call);
    http_api_fini(&request->how);
    buf_unref(&request->response);
    mem_free(request);
}

/* From the core's turn: libwebsockets writes from its own callbacks only, and not while it may not
 * read. */
static void on_api_answer(void *context, const struct api_answer *answer)
{
    struct edge_conn *conn = context;
    struct edge_request *request = conn->request;
    request->call = NULL;
    request->response = buf_new(answer->body.size + 512);
    http_put_api(&request->how, answer, request->response);
    lws_rx_flow_control(conn->wsi, 1);
    lws_callback_on_writable(conn->wsi);
}

int edge_on_answer(struct edge_conn *conn)
{
    struct edge_request *request = conn->request;
    if (request == NULL || request->response == NULL)
        return 0;
    struct buf *response = buf_ref(request->response);
    enum http_next next = request->how.will_close ? HTTP_CLOSE : HTTP_KEEP;
    edge_request_free(conn);
    lws_set_timeout(conn->wsi, PENDING_TIMEOUT_HTTP_CONTENT, EDGE_ANSWER_S);
    int result = send_response(conn, response, next);
    buf_unref(&response);
    return result;
}

/* Until it is answered nothing is read: what follows would be taken for more of the body, and a
 * readable socket that nobody reads keeps the loop awake. The core has deadlines of its own. */
static int start_api(struct edge_conn *conn, struct slice body)
{
    lws_set_timeout(conn->wsi, NO_PENDING_TIMEOUT, 0);
    lws_rx_flow_control(conn->wsi, 0);
    api_start(conn->request->call, body, on_api_answer, conn);
    return 0;
}

static int refuse_api(struct edge_conn *conn, const struct http_api *how,
                      const struct api_answer *answer)
{
    struct buf *response = conn->edge->response;
    buf_clear(response);
    http_put_api(how, answer, response);
    return send_response(conn, response, how->will_close ? HTTP_CLOSE : HTTP_KEEP);
}

/* libwebsockets tells of the end of a body for any POST that says how long it is, and for anything
 * else only where it is not empty; where nothing says how long it is, it waits for 100 MB. */
static int begin_api(struct edge_conn *conn, const struct http_request *http)
{
    struct edge *edge = conn->edge;
    struct api_head head = http_api_head(&edge->site, http);
    struct api_answer answer;
    struct http_api how;
    bool may_have_body = http->method == HTTP_POST || http->method == HTTP_PATCH;
    bool has_size = http->content_length.base != NULL;
    bool has_body = http_body_size(http) > 0;
    struct buf *text = buf_new(256);
    http_api_init(&how, http);
    /* Those that wait to be upgraded have their share of the waiting, however many ask for more. */
    bool is_full = edge->waiting > edge->options.waiting_max / 2;
    how.will_close = is_full || (may_have_body && !has_size);
    struct api_call *call = api_open(edge->gateway, &head, text, &answer);
    int result = 0;
    if (call == NULL) {
        how.will_close |= has_body;
        result = refuse_api(conn, &how, &answer);
        http_api_fini(&how);
    } else {
        CHECK(conn->request == NULL);
        conn->request = mem_new(struct edge_request);
        conn->request->call = call;
        conn->request->how = how;
        if (has_body || (http->method == HTTP_POST && has_size))
            conn->input = buf_new(256); /* libwebsockets now reads the body. */
        else
            result = start_api(conn, slice_of("", 0));
    }
    buf_unref(&text);
    return result;
}

/* ---- Requests ---- */

int edge_on_request(struct edge_conn *conn)
{
    struct edge *edge = conn->edge;
    struct http_request request;
    if (conn->request != NULL || !read_request(conn, &request))
        return -1;
    buf_unref(&conn->input);
    buf_clear(edge->response);
    enum http_next next = http_answer(&edge->site, &request, edge->response);
    if (next == HTTP_API)
        return begin_api(conn, &request);
    if (next != HTTP_BODY)
        return send_response(conn, edge->response, next);
    conn->input = buf_new(256);
    return 0; /* libwebsockets now reads the body. */
}

int edge_on_body(struct edge_conn *conn, const void *bytes, size_t size)
{
    struct buf *response = conn->edge->response;
    if (conn->input == NULL)
        return -1;
    size_t size_max = conn->request != NULL ? conn->edge->site.body_size_max : HTTP_BODY_SIZE_MAX;
    if (size > size_max - conn->input->size) {
        buf_clear(response);
        return send_response(conn, response, http_answer_too_large(response));
    }
    buf_append(conn->input, bytes, size);
    return 0;
}

int edge_on_body_end(struct edge_conn *conn)
{
    struct edge *edge = conn->edge;
    if (conn->input == NULL)
        return conn->request != NULL ? 0 : -1; /* Told again, for what was pipelined behind it. */
    struct buf *body = conn->input;
    conn->input = NULL;
    int result;
    if (conn->request != NULL) {
        result =
            start_api(conn, slice_of(body->bytes != NULL ? (char *)body->bytes : "", body->size));
    } else {
        buf_clear(edge->response);
        enum http_next next = http_answer_body(&edge->site, buf_slice(body), edge->response);
        result = send_response(conn, edge->response, next);
    }
    buf_unref(&body);
    return result;
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
    return write_response(conn, edge->response) ? 1 : -1;
}
