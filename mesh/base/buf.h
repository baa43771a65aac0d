/* buf - bytes shared by reference: written once, then read by many.
 *
 * An event is encoded once and handed to every session, so a buf is frozen as soon as it has a
 * second reference. Counts are plain integers: a buf belongs to one loop thread. (A worker gets
 * bytes of its own.) Growth doubles, so appending costs O(1) a byte. */
#ifndef MESH_BASE_BUF_H
#define MESH_BASE_BUF_H

#include <stddef.h>
#include <stdint.h>

#include "mesh/base/slice.h"

struct buf {
    uint8_t *bytes;
    size_t size;     /* Bytes written. */
    size_t capacity; /* Bytes allocated. */
    uint32_t refs;   /* References; freed at 0. */
};

struct buf *buf_new(size_t capacity); /* One reference, empty. */
struct buf *buf_ref(struct buf *b);   /* One more reference; returns b. */
void buf_unref(struct buf **b);       /* One fewer; takes and nulls. NULL is fine. */

/* Make room for `size` more bytes and return where they go; b->size is not changed yet. */
uint8_t *buf_reserve(struct buf *b, size_t size);
void buf_append(struct buf *b, const void *bytes, size_t size);
void buf_append_slice(struct buf *b, struct slice s);
void buf_append_byte(struct buf *b, uint8_t byte);
void buf_append_string(struct buf *b, const char *string);
void buf_append_format(struct buf *b, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void buf_append_u64_decimal(struct buf *b, uint64_t value);
void buf_clear(struct buf *b); /* size = 0; only with one reference. */

static inline struct slice buf_slice(const struct buf *b)
{
    return slice_of(b->bytes, b->size);
}

#endif
