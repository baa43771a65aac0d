/* map: against a plain array as model, with probes that collide. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "mesh/base/map.h"

#define THINGS 500

struct thing {
    char name[16];
    bool is_in;
};

static struct thing things[THINGS];

static struct slice key_of(const void *thing)
{
    return slice_string(((const struct thing *)thing)->name);
}

static int setup(void **state)
{
    (void)state;
    static const uint8_t key[16] = "a map's test key";
    map_seed(key);
    for (int i = 0; i < THINGS; i++) {
        snprintf(things[i].name, sizeof(things[i].name), "k%d", i);
        things[i].is_in = false;
    }
    return 0;
}

static void expect_like_model(struct map *m)
{
    size_t count = 0;
    for (int i = 0; i < THINGS; i++) {
        assert_ptr_equal(map_get(m, key_of(&things[i])), things[i].is_in ? &things[i] : NULL);
        count += things[i].is_in;
    }
    assert_int_equal(m->count, count);
    size_t at = 0;
    size_t walked = 0;
    for (struct thing *thing; (thing = map_next(m, &at)) != NULL; walked++)
        assert_true(thing->is_in);
    assert_int_equal(walked, count);
}

/* An empty map has no table, and answers all the same. */
static void an_empty_map_holds_nothing(void **state)
{
    (void)state;
    struct map m;
    map_init(&m, key_of);
    size_t at = 0;
    assert_null(map_get(&m, slice_string("x")));
    assert_null(map_remove(&m, slice_string("x")));
    assert_null(map_next(&m, &at));
    map_fini(&m);
}

/* Ten thousand puts and removes in an order drawn from one seed; after each hundred, all is
 * compared. */
static void a_map_is_what_was_put_and_not_removed(void **state)
{
    (void)state;
    struct map m;
    map_init(&m, key_of);
    uint32_t random = 1;
    for (int step = 0; step < 10000; step++) {
        random = random * 1664525u + 1013904223u;
        struct thing *thing = &things[(random >> 8) % THINGS];
        if (thing->is_in)
            assert_ptr_equal(map_remove(&m, key_of(thing)), thing);
        else
            map_put(&m, thing);
        thing->is_in = !thing->is_in;
        if (step % 100 == 0)
            expect_like_model(&m);
    }
    expect_like_model(&m);
    assert_true(m.count * 2 <= m.capacity);
    map_fini(&m);
}

/* The same key and seed, the same hash; another seed, another. */
static void a_hash_depends_on_the_seed(void **state)
{
    (void)state;
    uint64_t before = map_hash(slice_string("k"));
    assert_true(before == map_hash(slice_string("k")));
    assert_true(before != map_hash(slice_string("l")));
    static const uint8_t other[16] = "another test key";
    map_seed(other);
    assert_true(before != map_hash(slice_string("k")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(an_empty_map_holds_nothing, setup),
        cmocka_unit_test_setup(a_map_is_what_was_put_and_not_removed, setup),
        cmocka_unit_test_setup(a_hash_depends_on_the_seed, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
