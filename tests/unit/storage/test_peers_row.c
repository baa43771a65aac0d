/* The row that says whom a router remembers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs those above. */
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "mesh/base/buf.h"
#include "storage/mem_kv.h"
#include "storage/peers_row.h"

static struct kv *kv;
static struct kv_batch *batch;

static int setup(void **state)
{
    (void)state;
    kv = mem_kv_new();
    batch = kv->ops->batch_new(kv);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    kv->ops->batch_free(&batch);
    kv->ops->close(&kv);
    return 0;
}

static struct peers_row row_of(uint32_t count)
{
    struct peers_row row;
    memset(&row, 0, sizeof(row));
    memset(row.cluster, 7, sizeof(row.cluster));
    row.count = count;
    for (uint32_t i = 0; i < count; i++) {
        snprintf(row.peers[i].node, sizeof(row.peers[i].node), "r%u", i + 1);
        if (i != 1) /* Of r2 no address is known. */
            snprintf(row.peers[i].endpoint, sizeof(row.peers[i].endpoint), "tcp://10.0.0.%u:7400",
                     i + 1);
    }
    return row;
}

static void write_row(const struct peers_row *row)
{
    peers_row_store(row, batch);
    assert_int_equal(kv->ops->write(kv, batch), RC_OK);
}

/* A router that never had company has no row. */
static void an_empty_store_has_no_row(void **state)
{
    (void)state;
    struct peers_row row;
    assert_int_equal(peers_row_load(kv, &row), RC_NOT_FOUND);
}

/* However many there are, they come back as they were, to the byte; the newest row counts. */
static void the_row_survives_the_round_trip(void **state)
{
    (void)state;
    static const uint32_t counts[] = {0, 2, PEERS_ROW_COUNT_MAX, 3};
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        struct peers_row row, written = row_of(counts[i]);
        write_row(&written);
        assert_int_equal(peers_row_load(kv, &row), RC_OK);
        assert_memory_equal(&row, &written, sizeof(row));
    }
}

/* Any flipped bit is noticed, and a row that is cut anywhere. */
static void a_damaged_row_is_refused(void **state)
{
    (void)state;
    struct peers_row row, written = row_of(3);
    struct buf *bytes = buf_new(0);
    write_row(&written);
    assert_int_equal(kv->ops->get(kv, KV_META, slice_string("P"), bytes), RC_OK);
    for (size_t bit = 0; bit < 8 * bytes->size; bit++) {
        bytes->bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        kv_put(batch, KV_META, slice_string("P"), buf_slice(bytes));
        assert_int_equal(kv->ops->write(kv, batch), RC_OK);
        assert_int_equal(peers_row_load(kv, &row), RC_CORRUPT);
        bytes->bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    for (size_t size = 0; size < bytes->size; size++) {
        kv_put(batch, KV_META, slice_string("P"), slice_of(bytes->bytes, size));
        assert_int_equal(kv->ops->write(kv, batch), RC_OK);
        assert_int_equal(peers_row_load(kv, &row), RC_CORRUPT);
    }
    buf_unref(&bytes);
}

/* What it holds is printed as it is, so nothing that would need an escape is believed. */
static void a_name_with_a_quote_is_refused(void **state)
{
    (void)state;
    static const char *const names[] = {"r\"", "r\\", "r 2", "r\n", ""};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct peers_row row, written = row_of(1);
        snprintf(written.peers[0].node, sizeof(written.peers[0].node), "%s", names[i]);
        write_row(&written);
        assert_int_equal(peers_row_load(kv, &row), RC_CORRUPT);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_empty_store_has_no_row),
        TEST(the_row_survives_the_round_trip),
        TEST(a_damaged_row_is_refused),
        TEST(a_name_with_a_quote_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
