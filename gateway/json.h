/* json - strictly valid JSON (RFC 8259), as offsets into the text.
 *
 * jsmn finds the tokens; but jsmn is lax (it takes `{a:1}`, `{"a" 1}`, `[1 2]`, `01`, bare words,
 * raw control characters), and a body is set into other people's frames byte for byte. So before
 * anything is believed the whole text passes json_check(): grammar, numbers, escapes, UTF-8 (RFC
 * 3629), depth. A differential fuzz target (tests/fuzz/fuzz_json.c) holds it against an independent
 * strict parser.
 *
 * An escape of half a surrogate pair is within the grammar (section 8.2), and what JSON.stringify()
 * makes of an emoji that was cut in two. So a text that is only passed on may hold one. But it is
 * no character: whoever unescapes such a string gets bytes that are not UTF-8, and refuses them. */
#ifndef GATEWAY_JSON_H
#define GATEWAY_JSON_H

#include <stdbool.h>
#include <stdint.h>

#include "mesh/base/buf.h"
#include "mesh/base/rc.h"
#include "mesh/base/slice.h"

/* RC_BAD_REQUEST with a static sentence where the text is not exactly one JSON value, surrounded at
 * most by white space; RC_TOO_LARGE where it nests deeper than LIMIT_JSON_DEPTH_MAX. */
MUST_CHECK enum rc json_check(struct slice text, const char **ret_reason);

enum json_type {
    JSON_OBJECT,
    JSON_ARRAY,
    JSON_STRING,
    JSON_NUMBER,
    JSON_TRUE,
    JSON_FALSE,
    JSON_NULL,
};

/* A value inside a checked text. */
struct json_value {
    enum json_type type;
    struct slice raw; /* The value byte for byte; strings with their quotes. */
};

/* Walk the members of an object or the elements of an array in a *checked* text: *at starts
 * with 0; false at the end. `ret_key` is the raw key without quotes (escapes not resolved), absent
 * in arrays. */
bool json_next(struct json_value container, uint32_t *at, struct slice *ret_key,
               struct json_value *ret_value);

/* The text of a JSON string without quotes and escapes. Where there is no escape it is a slice of
 * the input; else it is appended to `scratch`, whose bytes must not move while the slice is used:
 * reserve enough beforehand. Half a surrogate pair becomes the three bytes that UTF-8 would have
 * for it if it were allowed, so key_is_utf8() tells. */
struct slice json_unescape(struct slice raw, struct buf *scratch);

/* A non-negative integer up to 2^53 - 1; false where the number is anything else. */
bool json_u64(struct json_value value, uint64_t *ret_number);

/* The member of that name, which needs no escapes; false where there is none, or `object` is not an
 * object. */
bool json_get(struct json_value object, const char *name, struct json_value *ret_value);

/* The number of that name, as json_u64(); 0 where there is none. */
uint64_t json_get_u64(struct json_value object, const char *name);

/* Append `text` (valid UTF-8) as a JSON string with quotes, escaping what must be. */
void json_append_string(struct buf *out, struct slice text);

#endif
