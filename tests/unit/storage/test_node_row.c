/* The row that says whose data a directory holds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs those above. */
#include <cmocka.h>

#include "mesh/base/buf.h"
#include "storage/mem_kv.h"
#include "storage/node_row.h"

static const struct node_row born = {
    .cluster = {1, 2, 3, 250},
    .node = "router-1",
    .format = NODE_ROW_FORMAT,
    .shards = 64,
    .epoch = "0badcafe",
};

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

/* A directory that has never been used is told apart, so that a node may be born in it. */
static void an_empty_store_has_no_row(void **state)
{
    (void)state;
    struct node_row row;
    assert_int_equal(node_row_load(kv, &row), RC_NOT_FOUND);
}

/* Everything that identifies the node comes back as it was. */
static void the_row_survives_the_round_trip(void **state)
{
    (void)state;
    struct node_row row;
    node_row_store(&born, batch);
    assert_int_equal(kv->ops->write(kv, batch), RC_OK);
    assert_int_equal(node_row_load(kv, &row), RC_OK);
    assert_memory_equal(row.cluster, born.cluster, sizeof(row.cluster));
    assert_string_equal(row.node, "router-1");
    assert_int_equal(row.format, NODE_ROW_FORMAT);
    assert_int_equal(row.shards, 64);
    assert_string_equal(row.epoch, "0badcafe");
}

/* Any flipped bit is noticed. */
static void a_damaged_row_is_refused(void **state)
{
    (void)state;
    struct node_row row;
    struct buf *bytes = buf_new(0);
    node_row_store(&born, batch);
    assert_int_equal(kv->ops->write(kv, batch), RC_OK);
    assert_int_equal(kv->ops->get(kv, KV_META, slice_string("N"), bytes), RC_OK);
    for (size_t bit = 0; bit < 8 * bytes->size; bit++) {
        bytes->bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        kv_put(batch, KV_META, slice_string("N"), buf_slice(bytes));
        assert_int_equal(kv->ops->write(kv, batch), RC_OK);
        assert_int_equal(node_row_load(kv, &row), RC_CORRUPT);
        bytes->bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    buf_unref(&bytes);
}

/* A directory that lost only this row must not be born again over the votes it holds. */
static void a_missing_row_beside_other_data_is_refused(void **state)
{
    (void)state;
    struct node_row row;
    kv_put(batch, KV_META, slice_string("T0000"), slice_string("hard state"));
    assert_int_equal(kv->ops->write(kv, batch), RC_OK);
    assert_int_equal(node_row_load(kv, &row), RC_CORRUPT);
}

/* What an older program wrote is read as such: nodes/ then says which format it is. */
static void a_row_of_another_format_says_so(void **state)
{
    (void)state;
    struct node_row row = born;
    row.format = NODE_ROW_FORMAT - 1;
    node_row_store(&row, batch);
    assert_int_equal(kv->ops->write(kv, batch), RC_OK);
    assert_int_equal(node_row_load(kv, &row), RC_OK);
    assert_int_equal(row.format, NODE_ROW_FORMAT - 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_empty_store_has_no_row),       TEST(the_row_survives_the_round_trip),
        TEST(a_damaged_row_is_refused),        TEST(a_missing_row_beside_other_data_is_refused),
        TEST(a_row_of_another_format_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
