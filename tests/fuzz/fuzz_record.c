/* What a record decodes to, encoded and decoded again, is the same; and a second encoding is equal
 * to the first, byte for byte, since replicas compare bytes. */
#include "mesh/base/check.h"
#include "mesh/wire/messages.h"

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

static void expect_equal(const struct record_desc *desc, const void *a, const void *b)
{
    for (uint32_t i = 0; i < desc->field_count; i++) {
        const char *x = (const char *)a + desc->fields[i].offset;
        const char *y = (const char *)b + desc->fields[i].offset;
        struct slice s, t;
        if (desc->fields[i].kind == RECORD_u64) {
            CHECK(memcmp(x, y, sizeof(uint64_t)) == 0);
            continue;
        }
        memcpy(&s, x, sizeof(s));
        memcpy(&t, y, sizeof(t));
        CHECK(slice_equal(s, t) && (s.base == NULL) == (t.base == NULL));
    }
}

static void round_trip(const struct record_desc *desc, struct slice bytes)
{
    union any_message first, second;
    struct record_reader r = record_reader_of(bytes);
    if (record_decode(&r, desc, &first) != RC_OK)
        return;
    struct buf *once = buf_new(bytes.size);
    struct buf *twice = buf_new(bytes.size);
    record_encode(once, desc, &first);
    r = record_reader_of(buf_slice(once));
    CHECK(record_decode(&r, desc, &second) == RC_OK && record_reader_at_end(&r));
    expect_equal(desc, &first, &second);
    record_encode(twice, desc, &second);
    CHECK(slice_equal(buf_slice(once), buf_slice(twice)));
    buf_unref(&once);
    buf_unref(&twice);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    for (size_t i = 0; i < sizeof(descs) / sizeof(descs[0]); i++)
        round_trip(descs[i], slice_of(data, size));
    return 0;
}
