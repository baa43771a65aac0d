#include "mesh/base/record.h"

#include <msgpack/pack.h>

#include "mesh/base/check.h"

static int packer_write(void *data, const char *bytes, size_t size)
{
    buf_append(data, bytes, size);
    return 0;
}

static void pack_slice(msgpack_packer *packer, struct slice s, bool text)
{
    if (s.base == NULL)
        msgpack_pack_nil(packer);
    else if (text)
        msgpack_pack_str_with_body(packer, s.base, s.size);
    else
        msgpack_pack_bin_with_body(packer, s.base, s.size);
}

void record_encode(struct buf *out, const struct record_desc *desc, const void *record)
{
    msgpack_packer packer = {.data = out, .callback = packer_write};
    msgpack_pack_array(&packer, desc->field_count + 1);
    msgpack_pack_uint32(&packer, desc->number);
    for (uint32_t i = 0; i < desc->field_count; i++) {
        const void *field = (const char *)record + desc->fields[i].offset;
        if (desc->fields[i].kind == RECORD_u64) {
            uint64_t value;
            memcpy(&value, field, sizeof(value));
            msgpack_pack_uint64(&packer, value);
        } else {
            struct slice value;
            memcpy(&value, field, sizeof(value));
            pack_slice(&packer, value, desc->fields[i].kind == RECORD_str);
        }
    }
}

void record_put_slice(struct buf *out, struct slice value)
{
    msgpack_packer packer = {.data = out, .callback = packer_write};
    pack_slice(&packer, value, false);
}

void record_put_u64(struct buf *out, uint64_t value)
{
    msgpack_packer packer = {.data = out, .callback = packer_write};
    msgpack_pack_uint64(&packer, value);
}

/* Big-endian bytes, as MessagePack has them. */
static enum rc read_be(struct record_reader *r, size_t size, uint64_t *ret_value)
{
    if ((size_t)(r->end - r->at) < size)
        return RC_CORRUPT;
    uint64_t value = 0;
    for (size_t i = 0; i < size; i++)
        value = value << 8 | *r->at++;
    *ret_value = value;
    return RC_OK;
}

enum rc record_get_u64(struct record_reader *r, uint64_t *ret_value)
{
    uint64_t head;
    enum rc rc = read_be(r, 1, &head);
    if (rc != RC_OK)
        return rc;
    if (head <= 0x7f) {
        *ret_value = head;
        return RC_OK;
    }
    if (head >= 0xcc && head <= 0xcf) /* uint 8, 16, 32, 64 */
        return read_be(r, (size_t)1 << (head - 0xcc), ret_value);
    return RC_CORRUPT;
}

enum rc record_get_slice(struct record_reader *r, struct slice *ret_value)
{
    uint64_t head;
    uint64_t size;
    enum rc rc = read_be(r, 1, &head);
    if (rc != RC_OK)
        return rc;
    if (head == 0xc0) { /* nil */
        *ret_value = (struct slice){0};
        return RC_OK;
    }
    if (head >= 0xa0 && head <= 0xbf) /* fixstr */
        size = head & 0x1f;
    else if (head >= 0xd9 && head <= 0xdb) /* str 8, 16, 32 */
        rc = read_be(r, (size_t)1 << (head - 0xd9), &size);
    else if (head >= 0xc4 && head <= 0xc6) /* bin 8, 16, 32 */
        rc = read_be(r, (size_t)1 << (head - 0xc4), &size);
    else
        return RC_CORRUPT;
    if (rc != RC_OK || size > (uint64_t)(r->end - r->at))
        return RC_CORRUPT;
    *ret_value = slice_of(r->at, size);
    r->at += size;
    return RC_OK;
}

static enum rc get_head(struct record_reader *r, uint64_t *ret_count, uint64_t *ret_number)
{
    uint64_t head;
    enum rc rc = read_be(r, 1, &head);
    if (rc != RC_OK)
        return rc;
    if (head >= 0x90 && head <= 0x9f)
        *ret_count = head & 0x0f;
    else if (head == 0xdc)
        rc = read_be(r, 2, ret_count);
    else
        return RC_CORRUPT;
    if (rc != RC_OK || *ret_count < 1)
        return RC_CORRUPT;
    return record_get_u64(r, ret_number);
}

/* A value of any kind we know: what a newer peer may have appended. */
static enum rc skip_value(struct record_reader *r)
{
    struct record_reader trial = *r;
    uint64_t number;
    struct slice bytes;
    if (record_get_u64(&trial, &number) == RC_OK) {
        *r = trial;
        return RC_OK;
    }
    return record_get_slice(r, &bytes);
}

enum rc record_peek(const struct record_reader *r, uint32_t *ret_number)
{
    struct record_reader trial = *r;
    uint64_t count;
    uint64_t number;
    enum rc rc = get_head(&trial, &count, &number);
    if (rc != RC_OK || number > UINT32_MAX)
        return RC_CORRUPT;
    *ret_number = (uint32_t)number;
    return RC_OK;
}

enum rc record_decode(struct record_reader *r, const struct record_desc *desc, void *record)
{
    struct record_reader trial = *r;
    uint64_t count;
    uint64_t number;
    memset(record, 0, desc->size);
    if (get_head(&trial, &count, &number) != RC_OK || number != desc->number)
        return RC_CORRUPT;
    for (uint64_t i = 0; i < count - 1; i++) {
        enum rc rc;
        if (i >= desc->field_count) {
            rc = skip_value(&trial);
        } else if (desc->fields[i].kind == RECORD_u64) {
            uint64_t value;
            rc = record_get_u64(&trial, &value);
            if (rc == RC_OK)
                memcpy((char *)record + desc->fields[i].offset, &value, sizeof(value));
        } else {
            struct slice value;
            rc = record_get_slice(&trial, &value);
            if (rc == RC_OK)
                memcpy((char *)record + desc->fields[i].offset, &value, sizeof(value));
        }
        if (rc != RC_OK)
            return RC_CORRUPT;
    }
    *r = trial;
    return RC_OK;
}

enum rc record_skip(struct record_reader *r)
{
    struct record_reader trial = *r;
    uint64_t count;
    uint64_t number;
    if (get_head(&trial, &count, &number) != RC_OK)
        return RC_CORRUPT;
    for (uint64_t i = 0; i < count - 1; i++)
        if (skip_value(&trial) != RC_OK)
            return RC_CORRUPT;
    *r = trial;
    return RC_OK;
}
