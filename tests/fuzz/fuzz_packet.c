/* A packet from the mesh, as a node takes it in: the header, then every message by its number, and
 * the sequences inside. Nothing may be read beyond the packet. */
#include "mesh/base/check.h"
#include "mesh/wire/messages.h"
#include "mesh/wire/packet.h"

static const struct record_desc *const descs[] = {
#define M(x, X, n) &msg_##x##_desc,
    MESSAGES(M)
#undef M
};

union any_message {
#define M(x, X, n) struct msg_##x x;
    MESSAGES(M)
#undef M
};

static const struct record_desc *desc_of(uint32_t number)
{
    for (size_t i = 0; i < sizeof(descs) / sizeof(descs[0]); i++)
        if (descs[i]->number == number)
            return descs[i];
    return NULL;
}

static void read_messages(struct record_reader r, int nesting);

/* A byte field may be a sequence of slices, of numbers or of records; read as each. */
static void read_sequence(struct slice bytes, int nesting)
{
    struct slice text;
    uint64_t number;
    struct record_reader r = record_reader_of(bytes);
    while (!record_reader_at_end(&r) && record_get_slice(&r, &text) == RC_OK)
        CHECK(text.base == NULL ||
              (text.base >= bytes.base && text.base + text.size <= bytes.base + bytes.size));
    r = record_reader_of(bytes);
    while (!record_reader_at_end(&r) && record_get_u64(&r, &number) == RC_OK)
        continue;
    if (nesting < 4)
        read_messages(record_reader_of(bytes), nesting + 1);
}

static void read_messages(struct record_reader r, int nesting)
{
    uint32_t number;
    while (record_peek(&r, &number) == RC_OK) {
        const struct record_desc *desc = desc_of(number);
        union any_message message;
        struct record_reader skipped = r;
        enum rc rc = record_skip(&skipped);
        if (desc == NULL) {
            if (rc != RC_OK)
                return;
            r = skipped;
            continue;
        }
        if (record_decode(&r, desc, &message) != RC_OK)
            return;
        CHECK(rc == RC_OK && skipped.at == r.at && r.at <= r.end);
        for (uint32_t i = 0; i < desc->field_count; i++) {
            struct slice field;
            if (desc->fields[i].kind == RECORD_u64)
                continue;
            memcpy(&field, (const char *)&message + desc->fields[i].offset, sizeof(field));
            if (field.base != NULL)
                read_sequence(field, nesting);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct packet packet;
    if (packet_decode(slice_of(data, size), &packet) == RC_OK) {
        CHECK(packet.cluster.size == 16 && packet.node.size > 0);
        read_messages(packet.messages, 0);
    }
    read_messages(record_reader_of(slice_of(data, size)), 0);
    return 0;
}
