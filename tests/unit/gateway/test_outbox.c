#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "gateway/frame.h"
#include "gateway/outbox.h"

static int owner;
static uint64_t dropped[8];
static uint32_t dropped_count;

static void on_drop(void *who, uint64_t seq)
{
    assert_ptr_equal(who, &owner);
    dropped[dropped_count++] = seq;
}

static enum rc push(struct outbox *o, const char *text, void *who, uint64_t seq, uint32_t max)
{
    struct buf *frame = frame_text(slice_string(text));
    enum rc rc = outbox_push(o, frame, who, seq, max);
    buf_unref(&frame);
    return rc;
}

static void assert_written(struct outbox *o, bool batch, const char *expected)
{
    struct buf *scratch = buf_new(16);
    struct slice bytes;
    uint32_t count = outbox_gather(o, batch, scratch, &bytes);
    assert_true(slice_equals(bytes, expected));
    outbox_consume(o, count);
    buf_unref(&scratch);
}

/* Frames come out in order, many in one write, through growth and wrapping. */
static void gathers_in_order(void **state)
{
    (void)state;
    struct outbox o;
    outbox_init(&o);
    for (int round = 0; round < 3; round++) {
        assert_int_equal(push(&o, "a", NULL, 0, 100), RC_OK);
        assert_written(&o, false,
                       "\x81\x01"
                       "a");
        assert_int_equal(push(&o, "b", NULL, 0, 100), RC_OK);
        assert_int_equal(push(&o, "c", NULL, 0, 100), RC_OK);
        assert_int_equal(push(&o, "d", NULL, 0, 100), RC_OK);
        assert_written(&o, false,
                       "\x81\x01"
                       "b\x81\x01"
                       "c\x81\x01"
                       "d");
    }
    assert_int_equal(o.bytes, 0);
    outbox_fini(&o);
}

/* A batch client gets one frame with an array of several, and a single one bare. */
static void puts_several_into_one_array_for_a_batch_client(void **state)
{
    (void)state;
    struct outbox o;
    outbox_init(&o);
    assert_int_equal(push(&o, "{}", NULL, 0, 100), RC_OK);
    assert_written(&o, true, "\x81\x02{}");
    assert_int_equal(push(&o, "1", NULL, 0, 100), RC_OK);
    assert_int_equal(push(&o, "22", NULL, 0, 100), RC_OK);
    assert_written(&o, true, "\x81\x06[1,22]");
    outbox_fini(&o);
}

/* A slow client is refused at the byte limit, and the refusal changes nothing. */
static void refuses_beyond_the_limit(void **state)
{
    (void)state;
    struct outbox o;
    outbox_init(&o);
    assert_int_equal(push(&o, "12345678", NULL, 0, 5), RC_OK); /* Alone it may be larger. */
    assert_int_equal(push(&o, "1", NULL, 0, 12), RC_FULL);
    assert_int_equal(o.bytes, 10);
    assert_int_equal(push(&o, "1", NULL, 0, 13), RC_OK);
    outbox_fini(&o);
}

/* Dropping takes what has an owner, tells which, and keeps replies in their order. */
static void drops_only_what_has_an_owner(void **state)
{
    (void)state;
    struct outbox o;
    outbox_init(&o);
    dropped_count = 0;
    assert_int_equal(push(&o, "a", NULL, 0, 100), RC_OK);
    assert_int_equal(push(&o, "b", &owner, 7, 100), RC_OK);
    assert_int_equal(push(&o, "c", NULL, 0, 100), RC_OK);
    assert_int_equal(push(&o, "d", &owner, 8, 100), RC_OK);
    outbox_drop_owned(&o, on_drop);
    assert_int_equal(dropped_count, 2);
    assert_int_equal(dropped[0], 7);
    assert_int_equal(dropped[1], 8);
    assert_written(&o, false,
                   "\x81\x01"
                   "a\x81\x01"
                   "c");
    outbox_fini(&o);
}

/* Once its owner is gone a frame stays. */
static void keeps_the_frames_of_a_dead_owner(void **state)
{
    (void)state;
    struct outbox o;
    outbox_init(&o);
    dropped_count = 0;
    assert_int_equal(push(&o, "a", &owner, 7, 100), RC_OK);
    outbox_disown(&o, &owner);
    outbox_drop_owned(&o, on_drop);
    assert_int_equal(dropped_count, 0);
    assert_int_equal(o.count, 1);
    outbox_fini(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gathers_in_order),
        cmocka_unit_test(puts_several_into_one_array_for_a_batch_client),
        cmocka_unit_test(refuses_beyond_the_limit),
        cmocka_unit_test(drops_only_what_has_an_owner),
        cmocka_unit_test(keeps_the_frames_of_a_dead_owner),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
