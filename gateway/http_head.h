/* http_head - the head of a request, read from its bytes (RFC 9112, sections 3 and 5).
 *
 * The address is kept as it was sent, neither decoded nor tidied: a name in it may hold any slash
 * or dot, and whoever splits it has to see which of them were escaped. Whatever two readers could
 * take for two things is refused, not mended: bare line feeds, folded lines, a header twice, broken
 * escapes, and escapes of control characters, which no name of ours holds. Pure: bytes in, slices
 * of them out. */
#ifndef GATEWAY_HTTP_HEAD_H
#define GATEWAY_HTTP_HEAD_H

#include <stdbool.h>
#include <stddef.h>

#include "mesh/base/slice.h"

#define HTTP_WEBSOCKET_PROTOCOL "chatmesh" /* The subprotocol; clients need not offer it. */

enum http_method {
    HTTP_OTHER, /* Any method that nothing here takes. */
    HTTP_GET,
    HTTP_HEAD,
    HTTP_POST,
    HTTP_PATCH,
    HTTP_DELETE,
    HTTP_OPTIONS,
};

/* A header that was not sent is an absent slice. */
struct http_request {
    enum http_method method;
    struct slice path;  /* As it was sent, without the query: nothing in it is decoded or tidied. */
    struct slice query; /* Likewise; as query_get() reads it. */
    struct slice authority; /* Of an address in absolute form. */
    struct slice host;      /* That, or the header. */
    struct slice origin;
    struct slice authorization;
    struct slice if_none_match;
    struct slice content_length;
    struct slice transfer_encoding;
    struct slice expect;
    struct slice upgrade;
    struct slice websocket_version;
    struct slice websocket_key;
    bool offers_protocol;        /* HTTP_WEBSOCKET_PROTOCOL is in Sec-WebSocket-Protocol. */
    bool has_connection_upgrade; /* The Connection header says upgrade. */
    bool is_old;                 /* HTTP/1.0. */
    bool is_last;                /* Or it says close. */
};

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
