#include "storage/rows.h"

#include "storage/sealed.h"

#define M(x, X, n)                                                                                 \
    static const struct record_field x##_fields[] = {ROW_FIELDS_##x(RECORD_FIELD, row_##x)};       \
    const struct record_desc row_##x##_desc = {                                                    \
        .name = #x,                                                                                \
        .number = ROW_##X,                                                                         \
        .size = sizeof(struct row_##x),                                                            \
        .field_count = sizeof(x##_fields) / sizeof(x##_fields[0]),                                 \
        .fields = x##_fields,                                                                      \
    };
ROWS(M)
#undef M

void rows_encode(struct buf *out, struct slice key, const struct record_desc *desc, const void *row)
{
    size_t begin = sealed_begin(out, ROWS_VERSION);
    record_encode(out, desc, row);
    sealed_end(out, begin, key);
}

enum rc rows_decode(struct slice key, struct slice value, const struct record_desc *desc, void *row)
{
    struct slice body;
    enum rc rc = sealed_open(key, value, ROWS_VERSION, &body);
    if (rc != RC_OK)
        return rc;
    struct record_reader r = record_reader_of(body);
    rc = record_decode(&r, desc, row);
    if (rc != RC_OK)
        return rc;
    return record_reader_at_end(&r) ? RC_OK : RC_CORRUPT;
}

struct slice rows_encode_entry(struct buf *out, struct slice key, uint64_t messages,
                               const struct record_desc *desc, const void *entry)
{
    size_t begin = sealed_begin(out, ROWS_VERSION);
    record_put_u64(out, messages);
    size_t at = out->size;
    record_encode(out, desc, entry);
    sealed_end(out, begin, key);
    return slice_of(out->bytes + at, out->size - at);
}

enum rc rows_decode_entry(struct slice key, struct slice value, uint64_t *ret_messages,
                          struct slice *ret_record)
{
    struct slice body;
    uint64_t messages;
    enum rc rc = sealed_open(key, value, ROWS_VERSION, &body);
    if (rc != RC_OK)
        return rc;
    struct record_reader r = record_reader_of(body);
    rc = record_get_u64(&r, &messages);
    if (rc != RC_OK)
        return rc;
    struct record_reader end = r;
    rc = record_skip(&end);
    if (rc != RC_OK || !record_reader_at_end(&end))
        return RC_CORRUPT;
    *ret_messages = messages;
    *ret_record = slice_of(r.at, (size_t)(r.end - r.at));
    return RC_OK;
}
