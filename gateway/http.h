/* http - what a gateway answers to HTTP: health, metrics, pages, development tokens, whether a
 * request may become a WebSocket, and how the answers of the HTTP API (api.h) are written.
 *
 * Pure: a request of slices in, the bytes of a whole response out. The edge (edge_http.c) only
 * carries them, so everything here is tested and fuzzed without a socket. An error answer ends the
 * connection, unless it is the API's: after a request that was not understood, nothing tells where
 * the next one begins. */
#ifndef GATEWAY_HTTP_H
#define GATEWAY_HTTP_H

#include <stdbool.h>

#include "gateway/api.h"
#include "gateway/auth.h"
#include "gateway/gateway.h"
#include "gateway/http_node.h"
#include "gateway/web.h"
#include "mesh/base/buf.h"
#include "mesh/base/limits.h"
#include "mesh/base/slice.h"

#define HTTP_BODY_SIZE_MAX    4096u
#define HTTP_DEV_TOKEN_LIFE_S 86400u

#define HTTP_WEBSOCKET_KEY_SIZE 24u

/* What answers are made from. All borrowed. */
struct http_site {
    struct http_node node;
    const struct auth *auth;
    bool is_dev;                /* POST /v1/dev/token exists. */
    uint32_t body_size_max;     /* Of a request to the API. */
    const char *const *origins; /* Allowed besides the site's own; "*" allows every one. */
    uint32_t origin_count;
    const struct web_file *files;
    size_t file_count;
    struct gateway_health (*health)(void *context);
    void *context;
};

/* Answer a request that asks for no upgrade. Appends the response, head and body, to `out`. */
MUST_CHECK enum http_next http_answer(const struct http_site *site,
                                      const struct http_request *request, struct buf *out);

/* The rest of a request that HTTP_BODY was said to: POST /v1/dev/token is the only one. */
MUST_CHECK enum http_next http_answer_body(const struct http_site *site, struct slice body,
                                           struct buf *out);

/* What a body is, of a request that HTTP_BODY or HTTP_API was said to. In chunks it has no size
 * before it is over, see http_chunked.h; else size 0 means that there is none. */
bool http_has_body(const struct http_request *request);
bool http_is_chunked(const struct http_request *request);
uint64_t http_body_size(const struct http_request *request);
uint64_t http_body_size_max(const struct http_site *site, const struct http_request *request);

/* Is HTTP_CONTINUE to be said before the body is read? The client may wait for it. */
#define HTTP_CONTINUE "HTTP/1.1 100 Continue\r\n\r\n"
bool http_expects_continue(const struct http_request *request);

/* Append the answer to a body that cannot be read, or is longer than it may be. */
MUST_CHECK enum http_next http_answer_bad_body(const struct http_site *site, bool is_too_large,
                                               struct buf *out);

/* Append the answer to whatever comes from an address that has too many connections. */
MUST_CHECK enum http_next http_answer_crowded(const struct http_site *site, bool is_head,
                                              struct buf *out);

/* ---- The API ---- */

struct api_head http_api_head(const struct http_site *site, const struct http_request *request);

/* How its answer is to be written. Outlives the request. */
struct http_api {
    bool is_head;     /* No body. */
    bool will_close;  /* What follows on the connection is not to be read. */
    struct buf *cors; /* Header lines for the page that asked; NULL: none did. */
};

void http_api_init(struct http_api *api, const struct http_request *request);
void http_api_fini(struct http_api *api);
void http_put_api(const struct http_site *site, const struct http_api *api,
                  const struct api_answer *answer, struct buf *out);

/* Who is behind a WebSocket that may be. */
struct http_upgrade {
    bool has_identity; /* The request bore a token, and it is good. */
    struct auth_identity identity;
    char device[LIMIT_DEVICE_SIZE_MAX];
    uint32_t device_size; /* 0: the request named none. */
    bool batch;
    bool offers_protocol;
    char key[HTTP_WEBSOCKET_KEY_SIZE]; /* As it was sent: base64 of 16 bytes, no string. */
};

/* Does it ask for a WebSocket? A wish for any other protocol is no wish (RFC 9110, section 7.8). */
bool http_is_upgrade(const struct http_request *request);

/* Judge a request that http_is_upgrade() is true of: path, Origin, version, token, device.
 * True: it may be upgraded, *ret_upgrade says for whom. False: `out` holds the refusal. A token
 * never appears in an answer or a log line. */
bool http_upgrade(const struct http_site *site, const struct http_request *request,
                  struct http_upgrade *ret_upgrade, struct buf *out);

/* An Origin is the site's own when its host and port are the Host header's; any other must be in
 * the list, byte for byte (CWE-1385: a substring or suffix rule is how such lists are got round).
 */
bool http_origin_is_allowed(const struct http_site *site, const struct http_request *request);

#endif
