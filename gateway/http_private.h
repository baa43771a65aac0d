/* http_private - what http.c (routes), http_file.c, http_api.c and http_upgrade.c share. Nobody
 * else includes this. */
#ifndef GATEWAY_HTTP_PRIVATE_H
#define GATEWAY_HTTP_PRIVATE_H

#include "gateway/http.h"

#define HTTP_OPENAPI_PATH "/v1/openapi.json"

/* It expects something that is not done here (RFC 9110, section 10.1.1): `out` holds the refusal.
 */
bool http_refuses_expectation(const struct http_site *site, const struct http_request *request,
                              struct buf *out);

/* NULL: there is none at this path. */
const struct web_file *http_find_file(const struct http_site *site, struct slice path);
enum http_next http_answer_file(const struct http_site *site, const struct web_file *file,
                                const struct http_request *request, struct buf *out);

/* A request under /v1/, whose length is fine: preflight, origin and type. */
enum http_next http_answer_api(const struct http_site *site, const struct http_request *request,
                               struct buf *out);

#endif
