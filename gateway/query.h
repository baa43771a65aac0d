/* query - the values in a URL's query string, and the names in its path, percent-decoded (RFC 3986,
 * section 2.1).
 *
 * A query is `name=value` pairs joined by `&`; a plus sign is a space, as browsers' forms write it.
 * Names are compared as they stand: ours need no escapes. Whatever can be read in two ways is
 * refused: a name given twice, a broken escape, a NUL. Pure, and bounded by the caller's memory. */
#ifndef GATEWAY_QUERY_H
#define GATEWAY_QUERY_H

#include "mesh/base/rc.h"
#include "mesh/base/slice.h"

/* Decode the value of `name` into `out`, which has room for `size` bytes; *ret_value is then a
 * slice of it, without a NUL. A name without `=` has the empty value. RC_NOT_FOUND: there is no
 * such name; RC_BAD_REQUEST: given twice, a broken escape, a NUL; RC_TOO_LARGE: it does not fit. */
MUST_CHECK enum rc query_get(struct slice query, const char *name, char *out, size_t size,
                             struct slice *ret_value);

/* Decode one part of a path, which has been split at its slashes before: a slash that comes out of
 * it is a byte like any other, and so is a plus sign. As query_get(), without RC_NOT_FOUND. */
MUST_CHECK enum rc query_decode_part(struct slice part, char *out, size_t size,
                                     struct slice *ret_value);

/* What the hex digit stands for; -1: it is none. */
int query_hex_digit(char c);

/* The byte that the escape at `text.base[at]`, a percent sign, stands for; -1: two hex digits do
 * not follow it. */
int query_escaped(struct slice text, uint32_t at);

#endif
