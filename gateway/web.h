/* web - the files of gateway/web, as part of the binary: there is nothing to install beside it.
 *
 * scripts/embed.cmake writes the table at build time. */
#ifndef GATEWAY_WEB_H
#define GATEWAY_WEB_H

#include <stddef.h>
#include <stdint.h>

struct web_file {
    const char *name; /* "client.js". */
    const char *content_type;
    const char *etag; /* Quoted: the digest of the bytes. */
    const uint8_t *bytes;
    size_t size;
};

extern const struct web_file web_files[];
extern const size_t web_file_count;

#endif
