/* http_head - the head of a request, read from its bytes (RFC 9112, sections 3 and 5).
 *
 * The address is kept as it was sent, neither decoded nor tidied: a name in it may hold any slash
 * or dot, and whoever splits it has to see which of them were escaped. Whatever two readers could
 * take for two things is refused, not mended: bare line feeds, folded lines, a header twice, broken
 * escapes, and escapes of control characters, which no name of ours holds. Pure: bytes in, slices
 * of them out. */
#ifndef GATEWAY_HTTP_HEAD_H
#define GATEWAY_HTTP_HEAD_H

#include <stddef.h>

#include "gateway/http.h"

enum http_head {
    HTTP_HEAD_PART,        /* It is not whole yet. */
    HTTP_HEAD_WHOLE,       /* It is, and fine. */
    HTTP_HEAD_BAD,         /* To be refused with 400. */
    HTTP_HEAD_UNSUPPORTED, /* Another major version: 505. */
    HTTP_HEAD_FOREIGN,     /* No HTTP: an answer would not be understood. */
};

/* `bytes` begin with the request; more of them may follow. WHOLE: *ret_request holds slices of
 * them, and the head is *ret_size bytes long; an address in absolute form is cut into its
 * authority, which is the host, and the rest. BAD: *ret_reason says why. The method
 * is there as soon as it is known. */
enum http_head http_head_read(struct slice bytes, struct http_request *ret_request,
                              size_t *ret_size, const char **ret_reason);

#endif
