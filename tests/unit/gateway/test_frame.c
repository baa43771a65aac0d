/* frame: the header's three sizes (RFC 6455, section 5.2), and the payload back out of the frame.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "gateway/frame.h"
#include "mesh/base/mem.h"

static void expect_frame(size_t payload_size, const uint8_t *header, size_t header_size)
{
    char *payload = mem_alloc(payload_size + 1);
    memset(payload, 'x', payload_size + 1);
    struct buf *frame = frame_text(slice_of(payload, payload_size));
    assert_int_equal(frame->size, header_size + payload_size);
    assert_memory_equal(frame->bytes, header, header_size);
    struct slice inside = frame_payload(frame);
    assert_int_equal(inside.size, payload_size);
    assert_ptr_equal(inside.base, frame->bytes + header_size);
    assert_memory_equal(inside.base, payload, payload_size);
    buf_unref(&frame);
    mem_free(payload);
}

/* Up to 125 bytes the second byte is the length. */
static void a_short_frame_has_two_bytes_of_header(void **state)
{
    (void)state;
    expect_frame(0, (const uint8_t[]){0x81, 0}, 2);
    expect_frame(1, (const uint8_t[]){0x81, 1}, 2);
    expect_frame(125, (const uint8_t[]){0x81, 125}, 2);
}

/* From 126 on, two more bytes in network order. */
static void a_middling_frame_has_four_bytes_of_header(void **state)
{
    (void)state;
    expect_frame(126, (const uint8_t[]){0x81, 126, 0, 126}, 4);
    expect_frame(65535, (const uint8_t[]){0x81, 126, 0xff, 0xff}, 4);
}

/* Beyond 65535, eight more. */
static void a_long_frame_has_ten_bytes_of_header(void **state)
{
    (void)state;
    expect_frame(65536, (const uint8_t[]){0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0}, 10);
}

/* Several frames may be written into one buf. */
static void a_header_can_be_appended_behind_another_frame(void **state)
{
    (void)state;
    struct buf *out = buf_new(0);
    frame_append_header(out, 2);
    buf_append_string(out, "{}");
    frame_append_header(out, 300);
    assert_int_equal(out->size, 8);
    assert_memory_equal(out->bytes, "\x81\x02{}\x81\x7e\x01\x2c", 8);
    buf_unref(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_short_frame_has_two_bytes_of_header),
        cmocka_unit_test(a_middling_frame_has_four_bytes_of_header),
        cmocka_unit_test(a_long_frame_has_ten_bytes_of_header),
        cmocka_unit_test(a_header_can_be_appended_behind_another_frame),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
