#include "mesh/base/buf.h"

#include <stdarg.h>
#include <stdio.h>

#include "mesh/base/check.h"
#include "mesh/base/mem.h"

struct buf *buf_new(size_t capacity)
{
    struct buf *b = mem_alloc(sizeof(*b));
    b->bytes = capacity != 0 ? mem_alloc(capacity) : NULL;
    b->size = 0;
    b->capacity = capacity;
    b->refs = 1;
    return b;
}

struct buf *buf_ref(struct buf *b)
{
    CHECK(b->refs > 0);
    b->refs++;
    return b;
}

void buf_unref(struct buf **b)
{
    struct buf *taken = *b;
    *b = NULL;
    if (taken == NULL)
        return;
    CHECK(taken->refs > 0);
    if (--taken->refs > 0)
        return;
    mem_free(taken->bytes);
    mem_free(taken);
}

uint8_t *buf_reserve(struct buf *b, size_t size)
{
    CHECK(b->refs == 1);
    if (b->capacity - b->size < size) {
        size_t capacity = b->capacity < 64 ? 64 : b->capacity;
        while (capacity - b->size < size)
            capacity *= 2;
        b->bytes = mem_resize(b->bytes, capacity);
        b->capacity = capacity;
    }
    return b->bytes + b->size;
}

void buf_append(struct buf *b, const void *bytes, size_t size)
{
    if (size == 0)
        return;
    memcpy(buf_reserve(b, size), bytes, size);
    b->size += size;
}

void buf_append_slice(struct buf *b, struct slice s)
{
    buf_append(b, s.base, s.size);
}

void buf_append_byte(struct buf *b, uint8_t byte)
{
    *buf_reserve(b, 1) = byte;
    b->size++;
}

void buf_append_string(struct buf *b, const char *string)
{
    buf_append(b, string, strlen(string));
}

void buf_append_format(struct buf *b, const char *format, ...)
{
    char line[512];
    va_list args;
    va_start(args, format);
    int size = vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    CHECK(size >= 0);
    if ((size_t)size < sizeof(line)) {
        buf_append(b, line, (size_t)size);
        return;
    }
    char *into = (char *)buf_reserve(b, (size_t)size + 1);
    va_start(args, format);
    vsnprintf(into, (size_t)size + 1, format, args);
    va_end(args);
    b->size += (size_t)size;
}

void buf_append_u64_decimal(struct buf *b, uint64_t value)
{
    char digits[20];
    size_t at = sizeof(digits);
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    buf_append(b, digits + at, sizeof(digits) - at);
}

void buf_clear(struct buf *b)
{
    CHECK(b->refs == 1);
    b->size = 0;
}
