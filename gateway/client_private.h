/* client_private - how the way out is written: shared by client_encode*.c. Nobody else includes
 * this.
 *
 * An entry is written for every recipient's sake once, but forty thousand times a second all the
 * same: so it is appends of constants, no format strings. */
#ifndef GATEWAY_CLIENT_PRIVATE_H
#define GATEWAY_CLIENT_PRIVATE_H

#include "gateway/client.h"

#define PUT(out, literal) buf_append(out, literal, sizeof(literal) - 1)

static inline void put_field(struct buf *out, const char *lead, size_t lead_size, struct slice text)
{
    buf_append(out, lead, lead_size);
    json_append_string(out, text);
}

static inline void put_number(struct buf *out, const char *lead, size_t lead_size, uint64_t number)
{
    buf_append(out, lead, lead_size);
    buf_append_u64_decimal(out, number);
}

/* `,"name":` and the value, as one literal and one value. */
#define PUT_TEXT(out, name, text)     put_field(out, ",\"" name "\":", sizeof(name) + 3, text)
#define PUT_NUMBER(out, name, number) put_number(out, ",\"" name "\":", sizeof(name) + 3, number)

static inline void put_bool(struct buf *out, bool value)
{
    if (value)
        PUT(out, "true");
    else
        PUT(out, "false");
}

/* The id of the request this answers, raw as it came. */
static inline void put_id(struct buf *out, struct slice id)
{
    if (id.base == NULL)
        return;
    PUT(out, ",\"id\":");
    buf_append_slice(out, id);
}

/* An empty one is none. */
static inline void put_title(struct buf *out, struct slice title)
{
    PUT(out, ",\"title\":");
    if (title.size > 0)
        json_append_string(out, title);
    else
        PUT(out, "null");
}

#endif
