#include "gateway/query.h"

int query_hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

int query_escaped(struct slice text, uint32_t at)
{
    if (text.size - at < 3)
        return -1;
    int high = query_hex_digit(text.base[at + 1]);
    int low = query_hex_digit(text.base[at + 2]);
    return high < 0 || low < 0 ? -1 : high << 4 | low;
}

static enum rc decode(struct slice raw, char plus, char *out, size_t size, struct slice *ret_value)
{
    size_t at = 0;
    for (uint32_t i = 0; i < raw.size; i++) {
        char c = raw.base[i];
        if (c == '+') {
            c = plus;
        } else if (c == '%') {
            int byte = query_escaped(raw, i);
            if (byte < 0)
                return RC_BAD_REQUEST;
            c = (char)byte;
            i += 2;
        }
        if (c == '\0')
            return RC_BAD_REQUEST;
        if (at == size)
            return RC_TOO_LARGE;
        out[at++] = c;
    }
    *ret_value = slice_of(out, at);
    return RC_OK;
}

/* Take the next pair off the front of *rest; false at the end. */
static bool next_pair(struct slice *rest, struct slice *ret_name, struct slice *ret_value)
{
    if (rest->size == 0)
        return false;
    const char *end = memchr(rest->base, '&', rest->size);
    struct slice pair = slice_of(rest->base, end != NULL ? (size_t)(end - rest->base) : rest->size);
    uint32_t taken = end != NULL ? pair.size + 1 : pair.size;
    *rest = slice_of(rest->base + taken, rest->size - taken);

    const char *equals = pair.size != 0 ? memchr(pair.base, '=', pair.size) : NULL;
    size_t name_size = equals != NULL ? (size_t)(equals - pair.base) : pair.size;
    *ret_name = slice_of(pair.base, name_size);
    size_t value_at = equals != NULL ? name_size + 1 : name_size;
    *ret_value = slice_of(pair.base + value_at, pair.size - value_at);
    return true;
}

enum rc query_get(struct slice query, const char *name, char *out, size_t size,
                  struct slice *ret_value)
{
    struct slice pair_name, pair_value, found = {0};
    while (next_pair(&query, &pair_name, &pair_value)) {
        if (!slice_equals(pair_name, name))
            continue;
        if (found.base != NULL)
            return RC_BAD_REQUEST; /* Which of the two is meant? A proxy may read the other one. */
        found = pair_value;
    }
    if (found.base == NULL)
        return RC_NOT_FOUND;
    return decode(found, ' ', out, size, ret_value);
}

enum rc query_decode_part(struct slice part, char *out, size_t size, struct slice *ret_value)
{
    return decode(part, '+', out, size, ret_value);
}
