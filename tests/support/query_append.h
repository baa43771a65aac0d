/* query_append - a query string as a client writes it: what query_get() then reads. */
#ifndef TESTS_SUPPORT_QUERY_APPEND_H
#define TESTS_SUPPORT_QUERY_APPEND_H

#include <stdbool.h>

#include "mesh/base/buf.h"
#include "mesh/base/slice.h"

static inline bool query_is_unreserved(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_' || c == '~';
}

/* Append `name=value`, escaping the value, and a `&` before it where `out` is not empty. */
static inline void query_append(struct buf *out, struct slice name, struct slice value)
{
    static const char digits[] = "0123456789ABCDEF";
    if (out->size != 0)
        buf_append_byte(out, '&');
    buf_append_slice(out, name);
    buf_append_byte(out, '=');
    for (uint32_t i = 0; i < value.size; i++) {
        char c = value.base[i];
        if (query_is_unreserved(c)) {
            buf_append_byte(out, (uint8_t)c);
            continue;
        }
        char escape[3] = {'%', digits[(uint8_t)c >> 4], digits[(uint8_t)c & 15]};
        buf_append(out, escape, sizeof(escape));
    }
}

#endif
