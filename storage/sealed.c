#include "storage/sealed.h"

#include <endian.h>

#include "mesh/base/check.h"
#include "mesh/base/crypto.h"

static uint32_t checksum(struct slice key, uint8_t version, const void *body, size_t size)
{
    uint32_t crc = crypto_crc32c(0, key.base, key.size);
    crc = crypto_crc32c(crc, &version, sizeof(version));
    return crypto_crc32c(crc, body, size);
}

size_t sealed_begin(struct buf *row, uint8_t version)
{
    static const uint8_t unset[sizeof(uint32_t)];
    size_t begin = row->size;
    buf_append_byte(row, version);
    buf_append(row, unset, sizeof(unset));
    return begin;
}

void sealed_end(struct buf *row, size_t begin, struct slice key)
{
    CHECK(row->size >= begin + SEALED_HEAD_SIZE);
    uint8_t *head = row->bytes + begin;
    uint32_t crc = htobe32(
        checksum(key, head[0], head + SEALED_HEAD_SIZE, row->size - begin - SEALED_HEAD_SIZE));
    memcpy(head + 1, &crc, sizeof(crc));
}

enum rc sealed_open(struct slice key, struct slice row, uint8_t version, struct slice *ret_body)
{
    if (row.size < SEALED_HEAD_SIZE || (uint8_t)row.base[0] != version)
        return RC_CORRUPT;
    const char *body = row.base + SEALED_HEAD_SIZE;
    uint32_t size = row.size - SEALED_HEAD_SIZE;
    uint32_t crc;
    memcpy(&crc, row.base + 1, sizeof(crc));
    if (be32toh(crc) != checksum(key, version, body, size))
        return RC_CORRUPT;
    *ret_body = slice_of(body, size);
    return RC_OK;
}
