/* http_chunked: bodies in chunks, in every cut, and everything that is none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "gateway/http_chunked.h"

static struct buf *body;
static size_t used;

/* In pieces of `piece` bytes. */
static enum http_chunks read_in_pieces(struct slice bytes, size_t piece, uint64_t size_max)
{
    struct http_chunked chunked;
    http_chunked_init(&chunked, size_max);
    enum http_chunks next = HTTP_CHUNKS_PART;
    buf_clear(body);
    used = 0;
    while (next == HTTP_CHUNKS_PART && used < bytes.size) {
        size_t size = bytes.size - used < piece ? bytes.size - used : piece;
        size_t taken;
        next = http_chunked_read(&chunked, slice_of(bytes.base + used, size), body, &taken);
        assert_true(taken <= size && (next != HTTP_CHUNKS_PART || taken == size));
        used += taken;
    }
    return next;
}

static enum http_chunks read_text(const char *text)
{
    return read_in_pieces(slice_string(text), SIZE_MAX, 1000);
}

/* Whatever the cuts, it is the same body, and what follows it is not touched. */
static void a_body_is_put_together(void **state)
{
    (void)state;
    static const char text[] = "5\r\nhello\r\n"
                               "00000001;a\r\n,\r\n"
                               "A \t;name=\"a; b\";c\r\n wor\r\nld 1\r\n"
                               "0;last\r\nTrailer: x\r\nOther:\ty\r\n\r\n";
    static const char next[] = "GET / HTTP/1.1\r\n";
    char whole[256];
    memcpy(whole, text, sizeof(text) - 1);
    memcpy(whole + sizeof(text) - 1, next, sizeof(next));
    for (size_t piece = 1; piece < sizeof(text) + 8; piece++) {
        assert_int_equal(read_in_pieces(slice_string(whole), piece, 16), HTTP_CHUNKS_END);
        assert_int_equal(used, sizeof(text) - 1);
        assert_true(slice_equals(buf_slice(body), "hello, wor\r\nld 1"));
    }
    for (size_t size = 0; size < sizeof(text) - 1; size++) /* Never over too early. */
        assert_int_equal(read_in_pieces(slice_of(text, size), SIZE_MAX, 16), HTTP_CHUNKS_PART);
}

static void a_body_may_be_empty(void **state)
{
    (void)state;
    assert_int_equal(read_text("0\r\n\r\n"), HTTP_CHUNKS_END);
    assert_int_equal(body->size, 0);
    assert_int_equal(read_text("00000000\r\n\r\nx"), HTTP_CHUNKS_END);
    assert_int_equal(used, 12);
}

/* Each of these a lenient reader takes for a body, and perhaps for another one. */
static void what_is_unclear_is_bad(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "\r\n",
        "\n",
        ";a\r\n",
        " 5\r\n",
        "x",
        "0x5\r\n",
        "-1\r\n",
        "+1\r\n",
        "5 \r\nhello",
        "5\t\r\n",
        "5 5\r\n",
        "5,\r\n",
        "5\nhello\r\n",
        "5\r\rhello",
        "5\r\nhello\n",
        "5\r\nhelloX",
        "5\r\nhello\r0",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhello\r\n\r\n",
        "000000005\r\n",
        "123456789\r\n",
        "5;a\nhello",
        "5;a\rb\r\n",
        "5;\x01\r\n",
        "5;a\x7f\r\n",
        "0\r\n\n",
        "0\r\n\rX",
        "0\r\nA: b\n",
        "0\r\nA: b\rC: d\r\n",
        "0\r\nA: \x02\r\n",
        "0\r\n\r\r\n",
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        if (read_text(texts[i]) != HTTP_CHUNKS_BAD)
            fail_msg("case %zu passes: %s", i, texts[i]);
    assert_int_equal(read_in_pieces(slice_of("5;\0\r\n", 5), 1, 1000), HTTP_CHUNKS_BAD);
    assert_int_equal(read_in_pieces(slice_of("\0", 1), 1, 1000), HTTP_CHUNKS_BAD);
}

/* The sum counts, and is known before a byte of the chunk that is too much. */
static void a_body_is_as_large_as_it_may_be(void **state)
{
    (void)state;
    assert_int_equal(read_in_pieces(slice_string("3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"), 1, 5),
                     HTTP_CHUNKS_END);
    assert_int_equal(read_in_pieces(slice_string("3\r\nabc\r\n3\r\n"), 1, 5),
                     HTTP_CHUNKS_TOO_LARGE);
    assert_int_equal(body->size, 3);
    assert_int_equal(read_in_pieces(slice_string("6\r\n"), 1, 5), HTTP_CHUNKS_TOO_LARGE);
    assert_int_equal(read_in_pieces(slice_string("ffffffff;a"), 1, 5), HTTP_CHUNKS_TOO_LARGE);
    assert_int_equal(read_in_pieces(slice_string("0\r\n\r\n"), 1, 0), HTTP_CHUNKS_END);
}

/* Extensions of many chunks and trailers are counted together. */
static void what_is_discarded_is_limited(void **state)
{
    (void)state;
    struct buf *text = buf_new(65536);
    for (unsigned i = 0; i < 80; i++) {
        buf_append_string(text, "1;");
        for (unsigned j = 0; j < 100; j++)
            buf_append_byte(text, 'e');
        buf_append_string(text, "\r\nx\r\n");
    }
    size_t chunks = text->size;
    buf_append_string(text, "0\r\n");
    for (unsigned j = 0; j < HTTP_CHUNKED_DISCARDED_MAX - 8000; j++)
        buf_append_byte(text, 't');
    buf_append_string(text, "\r\n\r\n");
    assert_int_equal(read_in_pieces(buf_slice(text), SIZE_MAX, 1000), HTTP_CHUNKS_END);
    assert_int_equal(body->size, 80);
    text->size -= 4;
    buf_append_string(text, "t\r\n\r\n");
    assert_int_equal(read_in_pieces(buf_slice(text), SIZE_MAX, 1000), HTTP_CHUNKS_BAD);
    text->size = chunks;
    buf_append_string(text, "1");
    for (unsigned j = 0; j < HTTP_CHUNKED_DISCARDED_MAX - 8000 + 2; j++)
        buf_append_byte(text, ' ');
    assert_int_equal(read_in_pieces(buf_slice(text), SIZE_MAX, 1000), HTTP_CHUNKS_BAD);
    buf_unref(&text);
}

static int setup(void **state)
{
    (void)state;
    body = buf_new(64);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    buf_unref(&body);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_body_is_put_together),
        cmocka_unit_test(a_body_may_be_empty),
        cmocka_unit_test(what_is_unclear_is_bad),
        cmocka_unit_test(a_body_is_as_large_as_it_may_be),
        cmocka_unit_test(what_is_discarded_is_limited),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
