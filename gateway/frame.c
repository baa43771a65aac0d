#include "gateway/frame.h"

#include "mesh/base/check.h"

#define FRAME_TEXT_FINAL      0x81u /* RFC 6455, section 5.2: FIN and opcode 1. */
#define FRAME_HEADER_SIZE_MAX 10u
#define FRAME_LENGTH_16       126u
#define FRAME_LENGTH_64       127u

void frame_append_header(struct buf *out, size_t payload_size)
{
    uint8_t *at = buf_reserve(out, FRAME_HEADER_SIZE_MAX);
    *at++ = FRAME_TEXT_FINAL;
    if (payload_size < FRAME_LENGTH_16) {
        *at++ = (uint8_t)payload_size;
    } else if (payload_size <= UINT16_MAX) {
        *at++ = FRAME_LENGTH_16;
        *at++ = (uint8_t)(payload_size >> 8);
        *at++ = (uint8_t)payload_size;
    } else {
        *at++ = FRAME_LENGTH_64;
        for (unsigned shift = 64; shift > 0; shift -= 8)
            *at++ = (uint8_t)((uint64_t)payload_size >> (shift - 8));
    }
    out->size = (size_t)(at - out->bytes);
}

struct buf *frame_text(struct slice payload)
{
    struct buf *frame = buf_new(FRAME_HEADER_SIZE_MAX + payload.size);
    frame_append_header(frame, payload.size);
    buf_append_slice(frame, payload);
    return frame;
}

struct slice frame_payload(const struct buf *frame)
{
    CHECK(frame->size >= 2);
    uint8_t length = frame->bytes[1];
    size_t header = length < FRAME_LENGTH_16 ? 2 : length == FRAME_LENGTH_16 ? 4 : 10;
    CHECK(frame->size >= header);
    return slice_of(frame->bytes + header, frame->size - header);
}
