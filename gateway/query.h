/* query - the values in a URL's query string, percent-decoded (RFC 3986, section 2.1).
 *
 * A query is `name=value` pairs joined by `&`; a plus sign is a space, as browsers' forms write it.
 * Names are compared as they stand: ours need no escapes. Whatever can be read in two ways is
 * refused: a name given twice, a broken escape, a NUL. Pure, and bounded by the caller's memory. */
#ifndef GATEWAY_QUERY_H
#define GATEWAY_QUERY_H

#include "mesh/base/buf.h"
#include "mesh/base/rc.h"
#include "mesh/base/slice.h"

/* Decode the value of `name` into `out`, which has room for `size` bytes; *ret_value is then a
 * slice of it, without a NUL. A name without `=` has the empty value. RC_NOT_FOUND: there is no
 * such name; RC_BAD_REQUEST: given twice, a broken escape, a NUL; RC_TOO_LARGE: it does not fit. */
MUST_CHECK enum rc query_get(struct slice query, const char *name, char *out, size_t size,
                             struct slice *ret_value);

/* Append `name=value`, escaping the value, and a `&` before it where `out` is not empty. */
void query_append(struct buf *out, struct slice name, struct slice value);

#endif
