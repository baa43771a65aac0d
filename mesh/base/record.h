/* record - how a struct becomes bytes and back: MessagePack arrays described by tables.
 *
 * A record type is a list of fields in a table (mesh/wire/messages.tbl.h, storage/rows.tbl.h). From
 * it come the struct, its descriptor, and with the descriptor the one encoder and the one decoder
 * here. On the wire a record is the array [number, field, field, ...]. Fields are unsigned
 * integers, strings or byte strings; an absent slice is nil. A decoder takes fewer fields (an older
 * peer: the rest is zero) and more (a newer one: skipped), so fields may be appended, never moved.
 *
 * Encoding uses msgpack-c's packer. Decoding is our own: msgpack-c 4.0 allocates what an untrusted
 * header promises (5 bytes may ask for 100 GB) and builds object trees; ours allocates
 * nothing, returns slices into the input, accepts exactly the subset above, and is fuzzed.
 *
 * A sequence is records (or plain slices) one after another inside a byte-string field. */
#ifndef MESH_BASE_RECORD_H
#define MESH_BASE_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mesh/base/buf.h"
#include "mesh/base/rc.h"
#include "mesh/base/slice.h"

enum record_kind {
    RECORD_u64, /* uint64_t */
    RECORD_str, /* struct slice, text */
    RECORD_bin, /* struct slice, bytes */
};

#define RECORD_TYPE_u64 uint64_t
#define RECORD_TYPE_str struct slice
#define RECORD_TYPE_bin struct slice

struct record_field {
    enum record_kind kind;
    uint32_t offset; /* Within the struct. */
    const char *name;
};

struct record_desc {
    const char *name;
    uint32_t number; /* First element on the wire; unique within a table. */
    uint32_t size;   /* sizeof the struct. */
    uint32_t field_count;
    const struct record_field *fields;
};

/* What a table's F may be: a struct's member, or a row of its descriptor. T is the struct's tag. */
#define RECORD_MEMBER(T, kind, name, prose) RECORD_TYPE_##kind name;
#define RECORD_FIELD(T, kind, name, prose)  {RECORD_##kind, offsetof(struct T, name), #name},

/* Append `record`, a struct described by `desc`. */
void record_encode(struct buf *out, const struct record_desc *desc, const void *record);

/* Bytes being read: a cursor that moves on. */
struct record_reader {
    const uint8_t *at;
    const uint8_t *end;
};

static inline struct record_reader record_reader_of(struct slice bytes)
{
    const uint8_t *at = (const uint8_t *)bytes.base;
    return (struct record_reader){.at = at, .end = at != NULL ? at + bytes.size : NULL};
}

static inline bool record_reader_at_end(const struct record_reader *r)
{
    return r->at == r->end;
}

/* The number of the record that comes next, without moving. RC_CORRUPT where none does. */
MUST_CHECK enum rc record_peek(const struct record_reader *r, uint32_t *ret_number);

/* Read the next record into `record` (zeroed first). RC_CORRUPT where the bytes are not one of this
 * number; the cursor then stands where it stood. Slices point into the input. */
MUST_CHECK enum rc record_decode(struct record_reader *r, const struct record_desc *desc,
                                 void *record);

/* Skip one record of any number. */
MUST_CHECK enum rc record_skip(struct record_reader *r);

/* One bare value, for sequences of ids, bodies or numbers. */
void record_put_slice(struct buf *out, struct slice value);
void record_put_u64(struct buf *out, uint64_t value);
MUST_CHECK enum rc record_get_slice(struct record_reader *r, struct slice *ret_value);
MUST_CHECK enum rc record_get_u64(struct record_reader *r, uint64_t *ret_value);

#endif
