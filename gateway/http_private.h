/* http_private - how responses are written: shared by http.c and http_api.c. Nobody else includes
 * this. */
#ifndef GATEWAY_HTTP_PRIVATE_H
#define GATEWAY_HTTP_PRIVATE_H

#include "gateway/http.h"

#define HTTP_JSON_TYPE "application/json"

/* `more`: header lines, or "". Every response bears a few more (http.c). */
void http_put_head(struct buf *out, unsigned status, const char *content_type, size_t size,
                   const char *more);
enum http_next http_put_error(struct buf *out, unsigned status, const char *code,
                              const char *message, const char *more, bool is_head);

/* It expects something that is not done here (RFC 9110, section 10.1.1): `out` holds the refusal.
 */
bool http_refuses_expectation(const struct http_request *request, struct buf *out);

/* A request under /v1/, whose length is fine: preflight, origin and type. */
enum http_next http_answer_api(const struct http_site *site, const struct http_request *request,
                               struct buf *out);

#endif
