/* What visitors ask.
 *
 * HTTP is read here and not by libwebsockets, which decodes an address and then tidies it, so that
 * a user named `../../x` would name another thing. A head is looked at (MSG_PEEK) until it is
 * whole, and then just that is taken; likewise of a body in chunks what belongs to it. What follows
 * a request stays in the kernel until that is answered, or for libwebsockets, which gets the
 * socket: nothing is kept between two. */
#include "gateway/edge_visitor.h"

#include <errno.h>

#include "gateway/http_head.h"
#include "mesh/base/check.h"
#include "mesh/base/mem.h"
#include "mesh/base/metrics.h"

/* ---- The API: the answer comes later ---- */

static void respond_api(struct edge_visitor *visitor, const struct api_answer *answer)
{
    struct buf *response = buf_new(answer->body.size + 512);
    http_put_api(&visitor->edge->site, &visitor->how, answer, response);
    bool will_close = visitor->how.will_close;
    http_api_fini(&visitor->how);
    edge_visitor_respond(visitor, &response, will_close);
}

static void on_api_answer(void *context, const struct api_answer *answer)
{
    struct edge_visitor *visitor = context;
    visitor->call = NULL;
    respond_api(visitor, answer);
}

/* The core has deadlines of its own. */
static void start_api(struct edge_visitor *visitor, struct slice body)
{
    visitor->state = VISITOR_ANSWER;
    uv_timer_stop(&visitor->timer);
    api_start(visitor->call, body, on_api_answer, visitor);
}

/* ---- Bodies ---- */

static void on_body_end(struct edge_visitor *visitor)
{
    struct edge *edge = visitor->edge;
    struct buf *body = visitor->body;
    visitor->body = NULL;
    /* Present, also where it is empty. */
    struct slice bytes = slice_of(body->bytes != NULL ? (char *)body->bytes : "", body->size);
    if (visitor->call != NULL) {
        start_api(visitor, bytes);
    } else {
        struct buf *response = buf_new(512);
        enum http_next next = http_answer_body(&edge->site, bytes, response);
        edge_visitor_respond(visitor, &response, next == HTTP_CLOSE || visitor->will_close);
    }
    buf_unref(&body);
}

/* Of a size that was told: right to where it belongs. */
static void on_plain(struct edge_visitor *visitor)
{
    while (visitor->size_left > 0) {
        size_t most =
            visitor->size_left < VISITOR_READ_SIZE ? visitor->size_left : VISITOR_READ_SIZE;
        ssize_t size = recv(visitor->fd, buf_reserve(visitor->body, most), most, MSG_DONTWAIT);
        if (size < 0 && errno == EAGAIN)
            return;
        if (size < 0 && errno == EINTR)
            continue;
        if (size <= 0) {
            edge_visitor_leave(visitor);
            return;
        }
        visitor->body->size += (size_t)size;
        visitor->size_left -= (size_t)size;
    }
    on_body_end(visitor);
}

static void refuse_body(struct edge_visitor *visitor, bool is_too_large)
{
    struct buf *response = buf_new(256);
    api_abandon(&visitor->call);
    http_api_fini(&visitor->how);
    buf_unref(&visitor->body);
    CHECK(http_answer_bad_body(&visitor->edge->site, is_too_large, response) == HTTP_CLOSE);
    edge_visitor_respond(visitor, &response, true);
}

/* Where it ends is known when it is decoded, so that comes first and then what was used is taken:
 * the same bytes are read twice, and nothing of the next request once. */
static void on_chunks(struct edge_visitor *visitor)
{
    char bytes[VISITOR_READ_SIZE];
    enum http_chunks next = HTTP_CHUNKS_PART;
    while (next == HTTP_CHUNKS_PART) {
        ssize_t size = recv(visitor->fd, bytes, sizeof(bytes), MSG_PEEK | MSG_DONTWAIT);
        if (size < 0 && errno == EAGAIN)
            return;
        if (size < 0 && errno == EINTR)
            continue;
        size_t used;
        if (size > 0)
            next = http_chunked_read(&visitor->chunked, slice_of(bytes, (size_t)size),
                                     visitor->body, &used);
        if (size <= 0 || recv(visitor->fd, bytes, used, MSG_DONTWAIT) != (ssize_t)used) {
            edge_visitor_leave(visitor);
            return;
        }
    }
    if (next == HTTP_CHUNKS_END)
        on_body_end(visitor);
    else
        refuse_body(visitor, next == HTTP_CHUNKS_TOO_LARGE);
}

void edge_http_on_body(struct edge_visitor *visitor)
{
    if (visitor->is_chunked)
        on_chunks(visitor);
    else
        on_plain(visitor);
}

/* False: the visitor has gone. Where a client that does not read has left no room, it is told
 * nothing and waits as long as it likes. */
static bool say_continue(struct edge_visitor *visitor)
{
    static const char text[] = HTTP_CONTINUE;
    const ssize_t whole = sizeof(text) - 1;
    ssize_t size = send(visitor->fd, text, sizeof(text) - 1, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (size == whole || (size < 0 && (errno == EAGAIN || errno == EINTR)))
        return true;
    edge_visitor_leave(visitor); /* Half a line cannot be taken back. */
    return false;
}

/* It has been judged by its head, and there may be none. */
static void begin_body(struct edge_visitor *visitor, const struct http_request *http)
{
    visitor->state = VISITOR_BODY;
    visitor->body = buf_new(256);
    visitor->is_chunked = http_is_chunked(http);
    visitor->size_left = (size_t)http_body_size(http);
    http_chunked_init(&visitor->chunked, http_body_size_max(&visitor->edge->site, http));
    if (http_has_body(http)) {
        edge_visitor_within(visitor, VISITOR_REQUEST_S);
        edge_visitor_watch(visitor, VISITOR_EVENTS);
    }
    if (http_expects_continue(http) && !say_continue(visitor))
        return;
    edge_http_on_body(visitor);
}

/* ---- Heads ---- */

static void begin_api(struct edge_visitor *visitor, const struct http_request *http)
{
    struct edge *edge = visitor->edge;
    struct api_head head = http_api_head(&edge->site, http);
    struct api_answer answer;
    bool may_have_body = http->method == HTTP_POST || http->method == HTTP_PATCH;
    bool has_size = http->content_length.base != NULL || http_is_chunked(http);
    struct buf *text = buf_new(256);
    http_api_init(&visitor->how, http);
    /* Those that wait to be upgraded have their share of the waiting, however many ask for more. */
    bool is_full = edge->waiting > edge->options.waiting_max / 2;
    visitor->how.will_close = is_full || http->is_last || (may_have_body && !has_size);
    visitor->call = api_open(edge->gateway, &head, text, &answer);
    if (visitor->call == NULL) {
        visitor->how.will_close |= http_has_body(http); /* It is not read. */
        respond_api(visitor, &answer);
    } else {
        begin_body(visitor, http);
    }
    buf_unref(&text);
}

/* Bad, or for a part: too large. */
static void refuse_head(struct edge_visitor *visitor, enum http_head head, const char *reason,
                        bool is_head)
{
    const struct http_node *node = &visitor->edge->site.node;
    struct buf *response = buf_new(512);
    CHECK(http_put_bad_head(node, response, head, reason, is_head) == HTTP_CLOSE);
    edge_visitor_respond(visitor, &response, true);
}

/* False: the visitor has gone. The same bytes come to the same place. */
static bool take_head(struct edge_visitor *visitor, size_t size)
{
    edge_visitor_wake_at(visitor, 1);
    if (recv(visitor->fd, visitor->edge->head, size, MSG_DONTWAIT) == (ssize_t)size)
        return true;
    edge_visitor_leave(visitor);
    return false;
}

static void hand_over(struct edge_visitor *visitor, struct http_upgrade *upgrade)
{
    struct edge *edge = visitor->edge;
    struct edge_peer *peer = visitor->peer;
    bool is_excess = visitor->is_excess;
    int fd = visitor->fd;
    visitor->fd = -1;
    visitor->peer = NULL; /* They are counted on. */
    visitor->is_excess = false;
    edge_visitor_leave(visitor);
    edge_conn_new(edge, fd, peer, is_excess, upgrade);
}

static void on_upgrade(struct edge_visitor *visitor, const struct http_request *http, size_t size)
{
    struct http_upgrade *upgrade = mem_new(struct http_upgrade);
    struct buf *response = buf_new(256);
    if (http_upgrade(&visitor->edge->site, http, upgrade, response)) {
        buf_unref(&response);
        if (take_head(visitor, size))
            hand_over(visitor, upgrade);
        else
            mem_free(upgrade);
        return;
    }
    mem_free(upgrade);
    metric_add(connections_refused_total, 1);
    if (edge_visitor_has_handles(visitor))
        edge_visitor_respond(visitor, &response, true);
    else
        edge_visitor_leave(visitor);
    buf_unref(&response);
}

/* Who has too many connections gets a WebSocket that says so, and nothing else. */
static void refuse_excess(struct edge_visitor *visitor, bool is_head)
{
    struct buf *response = buf_new(512);
    CHECK(http_answer_crowded(&visitor->edge->site, is_head, response) == HTTP_CLOSE);
    metric_add(connections_refused_total, 1);
    edge_visitor_respond(visitor, &response, true);
}

/* A whole head, of `size` bytes, that asks for no upgrade; the request is slices of edge->head. */
static void on_head(struct edge_visitor *visitor, const struct http_request *http, size_t size)
{
    struct edge *edge = visitor->edge;
    if (!take_head(visitor, size))
        return;
    if (visitor->is_excess) {
        refuse_excess(visitor, http->method == HTTP_HEAD);
        return;
    }
    struct buf *response = buf_new(512);
    enum http_next next = http_answer(&edge->site, http, response);
    if (next == HTTP_API) {
        begin_api(visitor, http);
    } else if (next == HTTP_BODY) {
        visitor->will_close = http->is_last;
        begin_body(visitor, http);
    } else {
        /* A body that nobody asked for is not read, and would be taken for the next request. */
        bool will_close = next == HTTP_CLOSE || http->is_last || http_has_body(http);
        edge_visitor_respond(visitor, &response, will_close);
    }
    buf_unref(&response);
}

/* More of it wakes us, and so does the end, after which there is no more. */
static void on_part(struct edge_visitor *visitor, size_t size, bool is_head, bool has_ended)
{
    if (has_ended) {
        edge_visitor_leave(visitor);
        return;
    }
    if (size == EDGE_HEADERS_SIZE_MAX) {
        refuse_head(visitor, HTTP_HEAD_PART, NULL, is_head);
        return;
    }
    if (visitor->head_size == 0)
        edge_visitor_within(visitor, VISITOR_REQUEST_S);
    edge_visitor_wake_at(visitor, size + 1);
    edge_visitor_watch(visitor, VISITOR_EVENTS);
}

void edge_http_look(struct edge_visitor *visitor, bool has_ended)
{
    struct edge *edge = visitor->edge;
    ssize_t size = recv(visitor->fd, edge->head, EDGE_HEADERS_SIZE_MAX, MSG_PEEK | MSG_DONTWAIT);
    bool is_early = size < 0 && (errno == EAGAIN || errno == EINTR);
    if (is_early)
        size = 0;
    struct http_request http;
    size_t head_size;
    const char *reason = NULL;
    enum http_head next = HTTP_HEAD_FOREIGN; /* It has gone. */
    if (size > 0 || is_early)
        next = http_head_read(slice_of(edge->head, (size_t)size), &http, &head_size, &reason);
    if (next == HTTP_HEAD_WHOLE && http_is_upgrade(&http)) {
        on_upgrade(visitor, &http, head_size);
        return;
    }
    if (!edge_visitor_has_handles(visitor))
        next = HTTP_HEAD_FOREIGN;
    switch (next) {
    case HTTP_HEAD_PART:
        on_part(visitor, (size_t)size, http.method == HTTP_HEAD, has_ended && !is_early);
        break;
    case HTTP_HEAD_WHOLE:
        on_head(visitor, &http, head_size);
        break;
    case HTTP_HEAD_BAD:
    case HTTP_HEAD_UNSUPPORTED:
        refuse_head(visitor, next, reason, http.method == HTTP_HEAD);
        break;
    case HTTP_HEAD_FOREIGN:
        edge_visitor_leave(visitor);
        break;
    }
}
