/* The states, in the order of a body; each line end is two of them:
 *
 *   SIZE -> (EXTENSION_SPACE) -> (EXTENSION) -> SIZE_LF -> DATA -> DATA_CR -> DATA_LF -> SIZE
 *                                                  `-> TRAILERS -> LAST_LF -> the end
 *                                                      TRAILER -> TRAILER_LF -> TRAILERS */
#include "gateway/http_chunked.h"

#include "gateway/query.h"
#include "mesh/base/check.h"

#define DIGITS_MAX 8

enum chunked_state {
    CHUNKED_SIZE,
    CHUNKED_EXTENSION_SPACE, /* Only an extension may follow it. */
    CHUNKED_EXTENSION,
    CHUNKED_SIZE_LF,
    CHUNKED_DATA,
    CHUNKED_DATA_CR,
    CHUNKED_DATA_LF,
    CHUNKED_TRAILERS, /* At the beginning of a line. */
    CHUNKED_TRAILER,
    CHUNKED_TRAILER_LF,
    CHUNKED_LAST_LF,
};

void http_chunked_init(struct http_chunked *chunked, uint64_t body_size_max)
{
    *chunked = (struct http_chunked){
        .state = CHUNKED_SIZE,
        .body_left = body_size_max,
        .spare_left = HTTP_CHUNKED_DISCARDED_MAX,
    };
}

static enum http_chunks on_size(struct http_chunked *chunked, char c)
{
    int value = query_hex_digit(c);
    if (value >= 0) {
        if (chunked->digits++ == DIGITS_MAX)
            return HTTP_CHUNKS_BAD;
        chunked->size_left = chunked->size_left * 16 + (uint64_t)value;
        return HTTP_CHUNKS_PART;
    }
    if (chunked->digits == 0)
        return HTTP_CHUNKS_BAD;
    if (chunked->size_left > chunked->body_left)
        return HTTP_CHUNKS_TOO_LARGE;
    if (c == '\r')
        chunked->state = CHUNKED_SIZE_LF;
    else if (c == ';')
        chunked->state = CHUNKED_EXTENSION;
    else if (c == ' ' || c == '\t')
        chunked->state = CHUNKED_EXTENSION_SPACE;
    else
        return HTTP_CHUNKS_BAD;
    return HTTP_CHUNKS_PART;
}

/* Of an extension or a trailer: `at_end` is what its line's CR leads to. */
static enum http_chunks on_discarded(struct http_chunked *chunked, char c,
                                     enum chunked_state at_end)
{
    if (c == '\r') {
        chunked->state = at_end;
        return HTTP_CHUNKS_PART;
    }
    if (((unsigned char)c < ' ' && c != '\t') || c == 0x7f || chunked->spare_left == 0)
        return HTTP_CHUNKS_BAD;
    chunked->spare_left--;
    return HTTP_CHUNKS_PART;
}

static enum http_chunks expect(struct http_chunked *chunked, char c, char expected,
                               enum chunked_state next)
{
    if (c != expected)
        return HTTP_CHUNKS_BAD;
    chunked->state = next;
    return HTTP_CHUNKS_PART;
}

static enum http_chunks on_byte(struct http_chunked *chunked, char c)
{
    switch ((enum chunked_state)chunked->state) {
    case CHUNKED_SIZE:
        return on_size(chunked, c);
    case CHUNKED_EXTENSION_SPACE:
        if (c == ';')
            chunked->state = CHUNKED_EXTENSION;
        else if ((c != ' ' && c != '\t') || chunked->spare_left-- == 0)
            return HTTP_CHUNKS_BAD;
        return HTTP_CHUNKS_PART;
    case CHUNKED_EXTENSION:
        return on_discarded(chunked, c, CHUNKED_SIZE_LF);
    case CHUNKED_SIZE_LF:
        chunked->digits = 0;
        chunked->body_left -= chunked->size_left;
        return expect(chunked, c, '\n', chunked->size_left > 0 ? CHUNKED_DATA : CHUNKED_TRAILERS);
    case CHUNKED_DATA_CR:
        return expect(chunked, c, '\r', CHUNKED_DATA_LF);
    case CHUNKED_DATA_LF:
        return expect(chunked, c, '\n', CHUNKED_SIZE);
    case CHUNKED_TRAILERS:
        chunked->state = CHUNKED_TRAILER;
        return on_discarded(chunked, c, CHUNKED_LAST_LF);
    case CHUNKED_TRAILER:
        return on_discarded(chunked, c, CHUNKED_TRAILER_LF);
    case CHUNKED_TRAILER_LF:
        return expect(chunked, c, '\n', CHUNKED_TRAILERS);
    case CHUNKED_LAST_LF:
        return c == '\n' ? HTTP_CHUNKS_END : HTTP_CHUNKS_BAD;
    case CHUNKED_DATA:
        break;
    }
    CHECK(false); /* Data is taken as a whole. */
}

/* As much of the chunk as there is of it. */
static size_t take_data(struct http_chunked *chunked, struct slice bytes, struct buf *body)
{
    size_t size = bytes.size < chunked->size_left ? bytes.size : (size_t)chunked->size_left;
    buf_append(body, bytes.base, size);
    chunked->size_left -= size;
    if (chunked->size_left == 0)
        chunked->state = CHUNKED_DATA_CR;
    return size;
}

enum http_chunks http_chunked_read(struct http_chunked *chunked, struct slice bytes,
                                   struct buf *body, size_t *ret_used)
{
    size_t used = 0;
    enum http_chunks next = HTTP_CHUNKS_PART;
    while (next == HTTP_CHUNKS_PART && used < bytes.size) {
        if (chunked->state == CHUNKED_DATA)
            used += take_data(chunked, slice_of(bytes.base + used, bytes.size - used), body);
        else
            next = on_byte(chunked, bytes.base[used++]);
    }
    *ret_used = used;
    return next;
}
