/* rows - what a shard stores, from rows.tbl.h: structs, descriptors, and the bytes of a value.
 *
 * For each row of the table: `struct row_x`, `row_x_desc`. A stored value is a sealed row
 * (storage/sealed.h: version, checksum over key and body) whose body is the record, so that a row
 * that is damaged, or found under a key that is not its own, is RC_CORRUPT and never believed. */
#ifndef STORAGE_ROWS_H
#define STORAGE_ROWS_H

#include "mesh/base/record.h"
#include "storage/rows.tbl.h"

#define ROWS_VERSION 1u

enum row_number {
#define M(x, X, n) ROW_##X = n,
    ROWS(M)
#undef M
};

#define M(x, X, n)                                                                                 \
    struct row_##x {                                                                               \
        ROW_FIELDS_##x(RECORD_MEMBER, row_##x)                                                     \
    };                                                                                             \
    extern const struct record_desc row_##x##_desc;
ROWS(M)
#undef M

/* Append the value of `row` under `key` to `out`. */
void rows_encode(struct buf *out, struct slice key, const struct record_desc *desc,
                 const void *row);

/* RC_CORRUPT: the value fails its checksum or is not one such row. Slices point into `value`. */
MUST_CHECK enum rc rows_decode(struct slice key, struct slice value, const struct record_desc *desc,
                               void *row);

/* An entry of a conversation is stored as the number of messages up to and including it, then the
 * record that goes out to clients: so a read cursor that is set anywhere knows how many messages it
 * has passed, and a read hands the record on as it is. Returns the record's bytes within `out`. */
struct slice rows_encode_entry(struct buf *out, struct slice key, uint64_t messages,
                               const struct record_desc *desc, const void *entry);
MUST_CHECK enum rc rows_decode_entry(struct slice key, struct slice value, uint64_t *ret_messages,
                                     struct slice *ret_record);

#endif
