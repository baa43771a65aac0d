/* http_date - what time it is, as responses say it (RFC 9110, section 5.6.7).
 *
 * The text is made once a second, not once a response. Zero it before use. */
#ifndef GATEWAY_HTTP_DATE_H
#define GATEWAY_HTTP_DATE_H

#include <stdint.h>

#define HTTP_DATE_SIZE 30u /* With its end; every one is as long. */

struct http_date {
    uint64_t second; /* Of the text, since 1970. */
    char text[HTTP_DATE_SIZE];
};

/* It is good until the next call. */
const char *http_date_text(struct http_date *date, uint64_t wall_ms);

#endif
