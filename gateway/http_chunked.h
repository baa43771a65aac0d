/* http_chunked - a body that comes in chunks (RFC 9112, section 7.1), decoded as it arrives.
 *
 * Strict, because a second reader (a proxy) may have found the end of the same body: lines end with
 * CR LF, a size is at most 8 hex digits, and nothing may stand between it and its end but an
 * extension. Extensions and trailers mean nothing here and are discarded, but there are at most 8
 * KiB of both. It takes no byte beyond the end of the body: what follows is the next request. Pure.
 */
#ifndef GATEWAY_HTTP_CHUNKED_H
#define GATEWAY_HTTP_CHUNKED_H

#include <stddef.h>
#include <stdint.h>

#include "mesh/base/buf.h"

#define HTTP_CHUNKED_DISCARDED_MAX 8192u

struct http_chunked {
    unsigned state;      /* What the next byte belongs to. */
    unsigned digits;     /* Of the size that is being read. */
    uint64_t size_left;  /* That size, and then what is missing of the chunk. */
    uint64_t body_left;  /* So much more may come. */
    uint32_t spare_left; /* So much more may be discarded. */
};

enum http_chunks {
    HTTP_CHUNKS_PART, /* Everything was taken, and it goes on. */
    HTTP_CHUNKS_END,
    HTTP_CHUNKS_BAD,
    HTTP_CHUNKS_TOO_LARGE,
};

void http_chunked_init(struct http_chunked *chunked, uint64_t body_size_max);

/* Append what `bytes`, the next ones, hold of the body to `body`. *ret_used: how many of them
 * belong to it, all of them where it is PART. After another answer than PART it is over. */
enum http_chunks http_chunked_read(struct http_chunked *chunked, struct slice bytes,
                                   struct buf *body, size_t *ret_used);

#endif
