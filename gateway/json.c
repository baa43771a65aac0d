#include "gateway/json.h"

#include "mesh/base/check.h"
#include "mesh/base/limits.h"

#define JSMN_STATIC
#include <jsmn.h>

#define JSON_NUMBER_MAX ((UINT64_C(1) << 53) - 1) /* Beyond, a double is no longer exact. */

/* ---- The strict check: one pass, no memory but the stack of open containers ---- */

struct scan {
    const uint8_t *at;
    const uint8_t *end;
    const char *reason; /* Why it failed. */
    enum rc rc;
    uint32_t depth;
    bool is_object[LIMIT_JSON_DEPTH_MAX]; /* What is open, from the outside in. */
};

static bool fail(struct scan *s, const char *reason)
{
    s->rc = RC_BAD_REQUEST;
    s->reason = reason;
    return false;
}

/* The next byte, or 0 at the end: a NUL is never legal outside a string, nor inside one. */
static uint8_t peek(const struct scan *s)
{
    return s->at < s->end ? *s->at : 0;
}

static void skip_space(struct scan *s)
{
    while (s->at < s->end && (*s->at == ' ' || *s->at == '\n' || *s->at == '\t' || *s->at == '\r'))
        s->at++;
}

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

static int hex_value(uint8_t c)
{
    if (is_digit(c))
        return c - '0';
    c |= 0x20; /* To lower case. */
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Four hex digits, or -1. */
static int32_t hex4(const uint8_t *at, const uint8_t *end)
{
    if (end - at < 4)
        return -1;
    int32_t value = 0;
    for (int i = 0; i < 4; i++) {
        int digit = hex_value(at[i]);
        if (digit < 0)
            return -1;
        value = value << 4 | digit;
    }
    return value;
}

static bool is_continuation(uint8_t c)
{
    return (c & 0xc0) == 0x80;
}

/* Bytes of the multi-byte character at `at` by the ABNF of RFC 3629, section 4; 0 where it is none.
 */
static size_t utf8_size(const uint8_t *at, const uint8_t *end)
{
    size_t left = (size_t)(end - at);
    uint8_t c = at[0];
    if (c >= 0xc2 && c <= 0xdf)
        return left >= 2 && is_continuation(at[1]) ? 2 : 0;
    if (c >= 0xe0 && c <= 0xef) {
        if (left < 3 || !is_continuation(at[1]) || !is_continuation(at[2]))
            return 0;
        bool is_overlong = c == 0xe0 && at[1] < 0xa0;
        bool is_surrogate = c == 0xed && at[1] >= 0xa0;
        return is_overlong || is_surrogate ? 0 : 3;
    }
    if (c >= 0xf0 && c <= 0xf4) {
        if (left < 4 || !is_continuation(at[1]) || !is_continuation(at[2]) ||
            !is_continuation(at[3]))
            return 0;
        bool is_overlong = c == 0xf0 && at[1] < 0x90;
        bool is_beyond = c == 0xf4 && at[1] >= 0x90; /* U+10FFFF is the last. */
        return is_overlong || is_beyond ? 0 : 4;
    }
    return 0;
}

/* After a backslash. Whether surrogates come in pairs is not looked at (json.h). */
static bool check_escape(struct scan *s)
{
    uint8_t c = peek(s);
    if (c != 'u') {
        if (c == 0 || strchr("\"\\/bfnrt", c) == NULL)
            return fail(s, "a string holds an unknown escape");
        s->at++;
        return true;
    }
    if (hex4(s->at + 1, s->end) < 0)
        return fail(s, "\\u must be followed by four hex digits");
    s->at += 5;
    return true;
}

/* From the opening quote to behind the closing one. */
static bool check_string(struct scan *s)
{
    s->at++;
    while (s->at < s->end) {
        uint8_t c = *s->at;
        if (c == '"') {
            s->at++;
            return true;
        }
        if (c == '\\') {
            s->at++;
            if (!check_escape(s))
                return false;
        } else if (c >= 0x80) {
            size_t size = utf8_size(s->at, s->end);
            if (size == 0)
                return fail(s, "a string is not UTF-8");
            s->at += size;
        } else if (c < 0x20) {
            return fail(s, "a string holds a raw control character");
        } else {
            s->at++;
        }
    }
    return fail(s, "a string does not end");
}

static bool check_digits(struct scan *s)
{
    if (!is_digit(peek(s)))
        return fail(s, "a number lacks digits");
    while (is_digit(peek(s)))
        s->at++;
    return true;
}

static bool check_number(struct scan *s)
{
    if (peek(s) == '-')
        s->at++;
    if (peek(s) == '0') {
        s->at++;
        if (is_digit(peek(s)))
            return fail(s, "a number begins with 0");
    } else if (!check_digits(s)) {
        return false;
    }
    if (peek(s) == '.') {
        s->at++;
        if (!check_digits(s))
            return false;
    }
    if (peek(s) == 'e' || peek(s) == 'E') {
        s->at++;
        if (peek(s) == '+' || peek(s) == '-')
            s->at++;
        return check_digits(s);
    }
    return true;
}

static bool check_word(struct scan *s, const char *word)
{
    size_t size = strlen(word);
    if ((size_t)(s->end - s->at) < size || memcmp(s->at, word, size) != 0)
        return fail(s, "a value is expected");
    s->at += size;
    return true;
}

/* A member's key and colon. */
static bool check_key(struct scan *s)
{
    skip_space(s);
    if (peek(s) != '"')
        return fail(s, "an object's key must be a string");
    if (!check_string(s))
        return false;
    skip_space(s);
    if (peek(s) != ':')
        return fail(s, "a colon is expected");
    s->at++;
    return true;
}

static bool check_scalar(struct scan *s)
{
    switch (peek(s)) {
    case '"':
        return check_string(s);
    case 't':
        return check_word(s, "true");
    case 'f':
        return check_word(s, "false");
    case 'n':
        return check_word(s, "null");
    default:
        if (peek(s) == '-' || is_digit(peek(s)))
            return check_number(s);
        return fail(s, "a value is expected");
    }
}

/* At a bracket. Afterwards stands the first value, or, *ret_empty, the closing bracket. */
static bool check_open(struct scan *s, bool *ret_empty)
{
    bool is_object = *s->at == '{';
    if (s->depth == LIMIT_JSON_DEPTH_MAX) {
        s->rc = RC_TOO_LARGE;
        s->reason = "the JSON nests too deep";
        return false;
    }
    s->at++;
    s->is_object[s->depth++] = is_object;
    skip_space(s);
    *ret_empty = peek(s) == (is_object ? '}' : ']');
    return *ret_empty || !is_object || check_key(s);
}

/* Behind a value, or at the start of an empty container: closes what closes here. *ret_more:
 * another value follows; else the text's one value is complete. */
static bool check_close(struct scan *s, bool *ret_more)
{
    while (s->depth > 0) {
        bool is_object = s->is_object[s->depth - 1];
        skip_space(s);
        uint8_t c = peek(s);
        if (c == (is_object ? '}' : ']')) {
            s->at++;
            s->depth--;
            continue;
        }
        if (c != ',')
            return fail(s, "a comma or a closing bracket is expected");
        s->at++;
        *ret_more = true;
        return !is_object || check_key(s);
    }
    *ret_more = false;
    return true;
}

/* One value. Recursion would let the text choose our stack, so the open containers are an array. */
static bool check_value(struct scan *s)
{
    for (bool more = true; more;) {
        skip_space(s);
        uint8_t c = peek(s);
        if (c == '{' || c == '[') {
            bool is_empty;
            if (!check_open(s, &is_empty))
                return false;
            if (!is_empty)
                continue;
        } else if (!check_scalar(s)) {
            return false;
        }
        if (!check_close(s, &more))
            return false;
    }
    return true;
}

enum rc json_check(struct slice text, const char **ret_reason)
{
    if (text.size == 0) {
        *ret_reason = "there is no JSON";
        return RC_BAD_REQUEST;
    }
    if (text.size > INT32_MAX) { /* jsmn counts in int. */
        *ret_reason = "the JSON is too long";
        return RC_TOO_LARGE;
    }
    struct scan s;
    s.at = (const uint8_t *)text.base;
    s.end = s.at + text.size;
    s.depth = 0;
    s.rc = RC_OK;
    s.reason = NULL;
    if (check_value(&s)) {
        skip_space(&s);
        if (s.at != s.end)
            fail(&s, "something follows the JSON value");
    }
    if (s.rc != RC_OK)
        *ret_reason = s.reason;
    return s.rc;
}

/* ---- Walking a checked text ---- */

/* Where the container that opens at `at` ends: behind its closing bracket. */
static uint32_t container_end(struct slice text, uint32_t at)
{
    uint32_t depth = 0;
    for (; at < text.size; at++) {
        switch (text.base[at]) {
        case '{':
        case '[':
            depth++;
            break;
        case '}':
        case ']':
            if (--depth == 0)
                return at + 1;
            break;
        case '"':
            for (at++; at < text.size && text.base[at] != '"'; at++)
                if (text.base[at] == '\\')
                    at++;
            break;
        default:
            break;
        }
    }
    return text.size;
}

static enum json_type primitive_type(char first)
{
    switch (first) {
    case 't':
        return JSON_TRUE;
    case 'f':
        return JSON_FALSE;
    case 'n':
        return JSON_NULL;
    default:
        return JSON_NUMBER;
    }
}

/* jsmn is given room for just the next key and value and stops when it runs out, so memory stays
 * bounded whatever the value holds. The end of a container it had no room to walk through is found
 * by its brackets. */
bool json_next(struct json_value container, uint32_t *at, struct slice *ret_key,
               struct json_value *ret_value)
{
    struct slice text = container.raw;
    unsigned wanted = container.type == JSON_OBJECT ? 2 : 1;
    uint32_t from = *at != 0 ? *at : 1; /* Behind the opening bracket. */
    if (text.size < 2 || from >= text.size || container.type > JSON_ARRAY)
        return false;
    jsmn_parser parser;
    jsmntok_t tokens[2];
    jsmn_init(&parser);
    (void)jsmn_parse(&parser, text.base + from, text.size - from, tokens, wanted);
    if (parser.toknext < wanted)
        return false; /* At the closing bracket. */

    const jsmntok_t *token = &tokens[wanted - 1];
    uint32_t start = from + (uint32_t)token->start;
    uint32_t end = from + (uint32_t)token->end;
    switch (token->type) {
    case JSMN_STRING:
        ret_value->type = JSON_STRING;
        start--; /* The quotes. */
        end++;
        break;
    case JSMN_PRIMITIVE:
        ret_value->type = primitive_type(text.base[start]);
        break;
    default:
        ret_value->type = token->type == JSMN_OBJECT ? JSON_OBJECT : JSON_ARRAY;
        if (token->end < 0)
            end = container_end(text, start);
        break;
    }
    ret_value->raw = slice_of(text.base + start, end - start);
    *ret_key = (struct slice){0};
    if (wanted == 2)
        *ret_key =
            slice_of(text.base + from + tokens[0].start, (size_t)(tokens[0].end - tokens[0].start));
    *at = end;
    return true;
}

/* ---- Strings and numbers ---- */

static uint8_t *put_utf8(uint8_t *to, uint32_t point)
{
    if (point < 0x80) {
        *to++ = (uint8_t)point;
    } else if (point < 0x800) {
        *to++ = (uint8_t)(0xc0 | point >> 6);
        *to++ = (uint8_t)(0x80 | (point & 0x3f));
    } else if (point < 0x10000) {
        *to++ = (uint8_t)(0xe0 | point >> 12);
        *to++ = (uint8_t)(0x80 | (point >> 6 & 0x3f));
        *to++ = (uint8_t)(0x80 | (point & 0x3f));
    } else {
        *to++ = (uint8_t)(0xf0 | point >> 18);
        *to++ = (uint8_t)(0x80 | (point >> 12 & 0x3f));
        *to++ = (uint8_t)(0x80 | (point >> 6 & 0x3f));
        *to++ = (uint8_t)(0x80 | (point & 0x3f));
    }
    return to;
}

/* One escape of a checked string, `*at` behind its backslash. Never longer than the escape was. */
static uint8_t *put_escape(uint8_t *to, const uint8_t **at, const uint8_t *end)
{
    static const char letters[] = "bfnrt";
    static const char meanings[] = "\b\f\n\r\t";
    uint8_t c = *(*at)++;
    if (c != 'u') {
        const char *letter = strchr(letters, c);
        *to++ = letter != NULL ? (uint8_t)meanings[letter - letters] : c;
        return to;
    }
    int32_t unit = hex4(*at, end);
    CHECK(unit >= 0);
    *at += 4;
    bool is_high = unit >= 0xd800 && unit <= 0xdbff;
    bool is_followed = end - *at >= 6 && (*at)[0] == '\\' && (*at)[1] == 'u';
    int32_t low = is_high && is_followed ? hex4(*at + 2, end) : -1;
    if (low < 0xdc00 || low > 0xdfff)
        return put_utf8(to, (uint32_t)unit); /* Half a pair too, as its three bytes. */
    *at += 6;
    return put_utf8(to, 0x10000 + (uint32_t)((unit - 0xd800) << 10 | (low - 0xdc00)));
}

struct slice json_unescape(struct slice raw, struct buf *scratch)
{
    /* A key comes without its quotes, a value with them; a quote cannot begin what is inside. */
    struct slice inside = raw;
    if (raw.size >= 2 && raw.base[0] == '"')
        inside = slice_of(raw.base + 1, raw.size - 2);
    if (memchr(inside.base, '\\', inside.size) == NULL)
        return inside;
    uint8_t *start = buf_reserve(scratch, inside.size);
    uint8_t *to = start;
    const uint8_t *at = (const uint8_t *)inside.base;
    const uint8_t *end = at + inside.size;
    while (at < end) {
        uint8_t c = *at++;
        if (c == '\\' && at < end)
            to = put_escape(to, &at, end);
        else
            *to++ = c;
    }
    scratch->size += (size_t)(to - start);
    return slice_of(start, (size_t)(to - start));
}

bool json_u64(struct json_value value, uint64_t *ret_number)
{
    if (value.type != JSON_NUMBER || value.raw.size > 16)
        return false;
    uint64_t number = 0;
    for (uint32_t i = 0; i < value.raw.size; i++) {
        uint8_t c = (uint8_t)value.raw.base[i];
        if (!is_digit(c))
            return false;
        number = number * 10 + (uint64_t)(c - '0');
    }
    if (number > JSON_NUMBER_MAX)
        return false;
    *ret_number = number;
    return true;
}

bool json_get(struct json_value object, const char *name, struct json_value *ret_value)
{
    struct slice key;
    if (object.type != JSON_OBJECT)
        return false;
    for (uint32_t at = 0; json_next(object, &at, &key, ret_value);)
        if (slice_equals(key, name))
            return true;
    return false;
}

uint64_t json_get_u64(struct json_value object, const char *name)
{
    struct json_value value;
    uint64_t number = 0;
    if (!json_get(object, name, &value) || value.type != JSON_NUMBER || !json_u64(value, &number))
        return 0;
    return number;
}

static bool must_escape(uint8_t c)
{
    return c < 0x20 || c == '"' || c == '\\';
}

static uint8_t *put_escaped(uint8_t *to, uint8_t c)
{
    static const char digits[] = "0123456789abcdef";
    *to++ = '\\';
    switch (c) {
    case '"':
    case '\\':
        *to++ = c;
        return to;
    case '\n':
        *to++ = 'n';
        return to;
    case '\t':
        *to++ = 't';
        return to;
    default:
        memcpy(to, "u00", 3);
        to[3] = (uint8_t)digits[c >> 4];
        to[4] = (uint8_t)digits[c & 0xf];
        return to + 5;
    }
}

void json_append_string(struct buf *out, struct slice text)
{
    /* Every byte may become six: text is a name or a title, so the room is soon used. */
    uint8_t *to = buf_reserve(out, (size_t)text.size * 6 + 2);
    *to++ = '"';
    for (uint32_t i = 0; i < text.size; i++) {
        uint8_t c = (uint8_t)text.base[i];
        if (must_escape(c))
            to = put_escaped(to, c);
        else
            *to++ = c;
    }
    *to++ = '"';
    out->size = (size_t)(to - out->bytes);
}
