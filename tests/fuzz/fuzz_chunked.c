/* fuzz_chunked - a body in chunks, cut anywhere, against itself and against another reader.
 *
 * The first byte picks the cuts, the second the limit. However it is cut, the same bytes are the
 * same body with the same end; that end is never passed; and where all of it is taken at once a
 * reader of lines, which looks for each CR LF instead of counting states, finds the same. */
#include <string.h>

#include "gateway/http_chunked.h"
#include "mesh/base/check.h"

static enum http_chunks read_cut(struct slice bytes, size_t piece, uint64_t size_max,
                                 struct buf *body, size_t *ret_used)
{
    struct http_chunked chunked;
    http_chunked_init(&chunked, size_max);
    enum http_chunks next = HTTP_CHUNKS_PART;
    size_t at = 0;
    while (next == HTTP_CHUNKS_PART && at < bytes.size) {
        size_t size = bytes.size - at < piece ? bytes.size - at : piece;
        size_t used = SIZE_MAX;
        next = http_chunked_read(&chunked, slice_of(bytes.base + at, size), body, &used);
        CHECK(used <= size && (next != HTTP_CHUNKS_PART || used == size));
        CHECK(body->size <= size_max);
        at += used;
    }
    *ret_used = at;
    return next;
}

/* Whether a body that ended well is one: line by line. */
static void check_lines(struct slice whole, struct slice body)
{
    const char *at = whole.base;
    const char *end = whole.base + whole.size;
    size_t body_size = 0, size;
    do {
        const char *line_end = memmem(at, (size_t)(end - at), "\r\n", 2);
        CHECK(line_end != NULL && line_end > at);
        size = 0;
        for (const char *digit = at; digit < line_end && strchr("; \t", *digit) == NULL; digit++) {
            const char *digits = "0123456789abcdef0123456789ABCDEF";
            const char *found = memchr(digits, *digit, 32);
            CHECK(found != NULL && digit - at < 8);
            size = size * 16 + (size_t)(found - digits) % 16;
        }
        at = line_end + 2;
        if (size == 0)
            break;
        CHECK((size_t)(end - at) >= size + 2 && body.size - body_size >= size);
        CHECK(memcmp(at, body.base + body_size, size) == 0 && memcmp(at + size, "\r\n", 2) == 0);
        body_size += size;
        at += size + 2;
    } while (size > 0);
    CHECK(body_size == body.size && memcmp(end - 2, "\r\n", 2) == 0);
    const char *empty = memmem(at - 2, (size_t)(end - at) + 2, "\r\n\r\n", 4);
    CHECK(empty != NULL && empty + 4 == end);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    struct slice bytes = slice_of(data + 2, size - 2);
    struct buf *whole = buf_new(64);
    struct buf *cut = buf_new(64);
    size_t used, used_cut;
    enum http_chunks next = read_cut(bytes, SIZE_MAX, data[1], whole, &used);
    CHECK(read_cut(bytes, 1u + data[0] % 16u, data[1], cut, &used_cut) == next);
    CHECK(used == used_cut && slice_equal(buf_slice(whole), buf_slice(cut)));
    if (next == HTTP_CHUNKS_END)
        check_lines(slice_of(bytes.base, used), buf_slice(whole));
    buf_unref(&whole);
    buf_unref(&cut);
    return 0;
}
