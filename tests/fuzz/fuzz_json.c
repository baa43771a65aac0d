/* json_check() against a checker of another make, and the walk over whatever both accept.
 *
 * json.c scans with a loop and an array of open brackets; this one is a recursive descent straight
 * from the grammar of RFC 8259, working on code points. They must agree on every input. */
#include <stdlib.h>

#include "gateway/json.h"
#include "mesh/base/check.h"
#include "mesh/base/limits.h"
#include "mesh/wire/key.h"

/* ---- The other checker. Each function takes the rest and returns where its part ends, NULL where
 * it is not there. ---- */

struct other {
    const uint8_t *end;
    bool is_too_deep;
};

static const uint8_t *value(struct other *o, const uint8_t *p, unsigned depth);

static const uint8_t *space(struct other *o, const uint8_t *p)
{
    while (p < o->end && (*p == 0x20 || *p == 0x09 || *p == 0x0a || *p == 0x0d))
        p++;
    return p;
}

static const uint8_t *literal(struct other *o, const uint8_t *p, const char *text)
{
    for (; *text != 0; text++, p++)
        if (p == o->end || *p != (uint8_t)*text)
            return NULL;
    return p;
}

/* The code point at p: decoded first, then encoded again by the rule, which finds what is overlong.
 */
static const uint8_t *code_point(struct other *o, const uint8_t *p, uint32_t *ret_point)
{
    static const uint32_t first_of_size[] = {0, 0, 0x80, 0x800, 0x10000, 0x110000};
    unsigned size = *p < 0x80 ? 1 : *p >> 5 == 6 ? 2 : *p >> 4 == 14 ? 3 : *p >> 3 == 30 ? 4 : 0;
    if (size == 0 || (size_t)(o->end - p) < size)
        return NULL;
    uint32_t point = size == 1 ? *p : *p & (0xffu >> (size + 1));
    for (unsigned i = 1; i < size; i++) {
        if (p[i] >> 6 != 2)
            return NULL;
        point = point * 64 + p[i] % 64;
    }
    if (point < first_of_size[size] || point >= first_of_size[size + 1] || point >> 11 == 0x1b)
        return NULL;
    *ret_point = point;
    return p + size;
}

/* \uXXXX as a number, or -1. */
static long unit(struct other *o, const uint8_t *p)
{
    if (o->end - p < 6 || p[0] != '\\' || p[1] != 'u')
        return -1;
    char digits[5] = {0};
    for (int i = 0; i < 4; i++) {
        if (strchr("0123456789abcdefABCDEF", p[2 + i]) == NULL || p[2 + i] == 0)
            return -1;
        digits[i] = (char)p[2 + i];
    }
    return strtol(digits, NULL, 16);
}

static const uint8_t *escape(struct other *o, const uint8_t *p)
{
    if (o->end - p < 2)
        return NULL;
    if (p[1] != 'u') {
        switch (p[1]) {
        case '"':
        case '\\':
        case '/':
        case 'b':
        case 'f':
        case 'n':
        case 'r':
        case 't':
            return p + 2;
        default:
            return NULL;
        }
    }
    return unit(o, p) >= 0 ? p + 6 : NULL;
}

static const uint8_t *string(struct other *o, const uint8_t *p)
{
    if ((p = literal(o, p, "\"")) == NULL)
        return NULL;
    while (p != NULL && p < o->end && *p != '"') {
        uint32_t point;
        if (*p == '\\')
            p = escape(o, p);
        else if ((p = code_point(o, p, &point)) != NULL && point < 0x20)
            return NULL;
    }
    return p != NULL && p < o->end ? p + 1 : NULL;
}

static const uint8_t *digits(struct other *o, const uint8_t *p)
{
    const uint8_t *start = p;
    while (p < o->end && *p - '0' <= 9u)
        p++;
    return p != start ? p : NULL;
}

static const uint8_t *number(struct other *o, const uint8_t *p)
{
    if (p < o->end && *p == '-')
        p++;
    const uint8_t *integer = p;
    if ((p = digits(o, p)) == NULL || (*integer == '0' && p - integer > 1))
        return NULL;
    if (p < o->end && *p == '.' && (p = digits(o, p + 1)) == NULL)
        return NULL;
    if (p < o->end && (*p | 0x20) == 'e') {
        p++;
        if (p < o->end && (*p == '+' || *p == '-'))
            p++;
        p = digits(o, p);
    }
    return p;
}

static const uint8_t *item(struct other *o, const uint8_t *p, unsigned depth, bool is_member)
{
    if (is_member) {
        p = string(o, space(o, p));
        if (p == NULL || (p = literal(o, space(o, p), ":")) == NULL)
            return NULL;
    }
    p = value(o, space(o, p), depth);
    return p != NULL ? space(o, p) : NULL;
}

static const uint8_t *container(struct other *o, const uint8_t *p, unsigned depth)
{
    bool is_object = *p == '{';
    const char *close = is_object ? "}" : "]";
    if (depth == LIMIT_JSON_DEPTH_MAX) {
        o->is_too_deep = true;
        return NULL;
    }
    p = space(o, p + 1);
    const uint8_t *end = literal(o, p, close);
    if (end != NULL)
        return end;
    for (;;) {
        if ((p = item(o, p, depth + 1, is_object)) == NULL)
            return NULL;
        if ((end = literal(o, p, close)) != NULL)
            return end;
        if ((p = literal(o, p, ",")) == NULL)
            return NULL;
    }
}

static const uint8_t *value(struct other *o, const uint8_t *p, unsigned depth)
{
    if (p == o->end)
        return NULL;
    switch (*p) {
    case '{':
    case '[':
        return container(o, p, depth);
    case '"':
        return string(o, p);
    case 't':
        return literal(o, p, "true");
    case 'f':
        return literal(o, p, "false");
    case 'n':
        return literal(o, p, "null");
    default:
        return number(o, p);
    }
}

static enum rc other_check(const uint8_t *bytes, size_t size)
{
    struct other o = {.end = bytes + size};
    const uint8_t *p = item(&o, bytes, 0, false);
    if (o.is_too_deep)
        return RC_TOO_LARGE;
    return p == o.end ? RC_OK : RC_BAD_REQUEST;
}

/* ---- Over what is accepted ---- */

static bool is_within(struct slice part, struct slice whole)
{
    return part.base >= whole.base && part.base + part.size <= whole.base + whole.size;
}

/* Whether a string that was checked, with its quotes or without, escapes half a surrogate pair: a
 * low unit comes right behind a high one, and nowhere else. */
static bool has_half_pair(struct slice raw)
{
    const uint8_t *p = (const uint8_t *)raw.base;
    struct other o = {.end = p + raw.size};
    bool is_open = false; /* The unit before was a high one. */
    while (p < o.end) {
        long u = unit(&o, p);
        bool is_low = u >= 0xdc00 && u < 0xe000;
        if (is_low != is_open)
            return true;
        is_open = u >= 0xd800 && u < 0xdc00;
        p += u >= 0 ? 6 : *p == '\\' ? 2 : 1;
    }
    return is_open;
}

/* A string unescaped, written again and unescaped again is the same. One with half a surrogate pair
 * has no text that could be written: it must show as bytes that are not UTF-8, and no other may. */
static void check_text(struct slice raw, struct buf *scratch)
{
    struct buf *again = buf_new(raw.size);
    struct buf *out = buf_new(0);
    const char *reason;
    buf_clear(scratch);
    buf_reserve(scratch, raw.size);
    struct slice text = json_unescape(raw, scratch);
    CHECK(text.base != NULL && text.size <= raw.size);
    CHECK(is_within(text, raw) || is_within(text, buf_slice(scratch)));
    json_append_string(out, text);
    CHECK((json_check(buf_slice(out), &reason) == RC_OK) != has_half_pair(raw));
    CHECK(key_is_utf8(text) != has_half_pair(raw));
    buf_reserve(again, out->size);
    CHECK(slice_equal(json_unescape(buf_slice(out), again), text));
    buf_unref(&again);
    buf_unref(&out);
}

/* Each value within its container, and each a valid JSON text by itself. */
static void walk(struct json_value container, struct buf *scratch)
{
    struct slice key;
    struct json_value v;
    const char *reason;
    uint64_t ignored;
    uint32_t last = 0;
    for (uint32_t at = 0; json_next(container, &at, &key, &v); last = at) {
        CHECK(at > last && at < container.raw.size);
        CHECK(is_within(v.raw, container.raw) && v.raw.size > 0);
        CHECK(json_check(v.raw, &reason) == RC_OK);
        CHECK((key.base != NULL) == (container.type == JSON_OBJECT));
        if (key.base != NULL) {
            CHECK(is_within(key, container.raw));
            check_text(key, scratch);
        }
        (void)json_u64(v, &ignored);
        if (v.type == JSON_STRING)
            check_text(v.raw, scratch);
        else if (v.type == JSON_OBJECT || v.type == JSON_ARRAY)
            walk(v, scratch);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *reason = NULL;
    struct slice text = slice_of(data, size);
    enum rc rc = json_check(text, &reason);
    CHECK(rc == (size == 0 ? RC_BAD_REQUEST : other_check(data, size)));
    CHECK((reason == NULL) == (rc == RC_OK));
    if (rc != RC_OK)
        return 0;
    /* As the one element of an array, whatever it is. */
    struct buf *wrapped = buf_new(size + 2);
    struct buf *scratch = buf_new(size);
    buf_append_byte(wrapped, '[');
    buf_append_slice(wrapped, text);
    buf_append_byte(wrapped, ']');
    walk((struct json_value){.type = JSON_ARRAY, .raw = buf_slice(wrapped)}, scratch);
    buf_unref(&wrapped);
    buf_unref(&scratch);
    return 0;
}
