/* frame - RFC 6455 text frames as a server sends them: final, unmasked, header in front.
 *
 * A frame is built once and shared by all recipients. Section 5.2 asks for the shortest length
 * form, so the header is 2, 4 or 10 bytes and its second byte tells which. */
#ifndef GATEWAY_FRAME_H
#define GATEWAY_FRAME_H

#include "mesh/base/buf.h"

/* A new buf with one text frame around `payload`. */
struct buf *frame_text(struct slice payload);

/* Append the header of a text frame of `payload_size` bytes. */
void frame_append_header(struct buf *out, size_t payload_size);

/* What is inside a buf made by frame_text(). */
struct slice frame_payload(const struct buf *frame);

#endif
