/* http_node - what nodes of either kind answer alike: heads, errors, /metrics, the frame of
 * /health.
 *
 * A gateway answers clients (http.h), a router whoever watches over it (nodes/vitals.h). Both say
 * in one form who they are, what time it is and what is wrong. Nothing here knows of sessions or of
 * shards. Pure: a response is appended to `out`, and nothing else happens. */
#ifndef GATEWAY_HTTP_NODE_H
#define GATEWAY_HTTP_NODE_H

#include "gateway/http_date.h"
#include "gateway/http_head.h"
#include "mesh/base/buf.h"
#include "mesh/base/env.h"
#include "mesh/base/metrics.h"

#define HTTP_JSON_TYPE "application/json"

/* Who answers. All borrowed. */
struct http_node {
    const char *id;
    enum metrics_role role;
    bool is_once;           /* A connection is for one request, and every response says so. */
    struct env *env;        /* Only its wall clock is asked. */
    struct http_date *date; /* What is written into responses, kept for a second. */
};

enum http_next {
    HTTP_KEEP,  /* `out` holds a response; the connection may serve another request. */
    HTTP_CLOSE, /* `out` holds a response that says so; close after it. */
    HTTP_BODY,  /* `out` is untouched: hand the whole body to http_answer_body(). */
    HTTP_API,   /* `out` is untouched: it is the API's to answer, as http_api_head() puts it. */
};

/* The head alone. `more`: header lines, or "". Every response bears a few more. */
void http_put_head(const struct http_node *node, struct buf *out, unsigned status,
                   const char *content_type, size_t size, const char *more);
/* A response that nobody may keep. */
enum http_next http_put_response(const struct http_node *node, struct buf *out, unsigned status,
                                 const char *content_type, struct slice body, bool is_head);
/* Ends the connection: after a request that was not understood nothing tells where the next one
 * begins. */
enum http_next http_put_error(const struct http_node *node, struct buf *out, unsigned status,
                              const char *code, const char *message, const char *more,
                              bool is_head);
enum http_next http_put_not_found(const struct http_node *node, struct buf *out, bool is_head);
enum http_next http_put_only_get(const struct http_node *node, struct buf *out); /* 405 */

/* The answer to a head that http_head_read() calls BAD, with its reason, or UNSUPPORTED; or that is
 * still a PART and as long as it may be. */
enum http_next http_put_bad_head(const struct http_node *node, struct buf *out, enum http_head head,
                                 const char *reason, bool is_head);

/* /health: 200 and UP where `reason` is NULL, else 503 and DOWN. `members` is what this kind of
 * node tells beside that, as members of a JSON object, each with a comma after it. */
enum http_next http_put_health(const struct http_node *node, struct buf *out, const char *reason,
                               struct slice members, bool is_head);
/* For `members`: an array of the node ids in `names`, which spaces part. */
void http_put_names(struct buf *members, const char *names);

enum http_next http_put_metrics(const struct http_node *node, struct buf *out, bool is_head);

#endif
