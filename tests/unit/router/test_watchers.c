/* watchers: how many nodes are known, and whose place a new one gets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs those above. */
#include <cmocka.h>

#include <stdio.h>

#include "mesh/base/mem.h"
#include "nodes/router/watchers.h"

#define SECOND_US 1000000u

static int setup(void **state)
{
    struct watchers *w = mem_new(struct watchers);
    const struct packet_sender sender = {.node = slice_string("r1"), .incarnation = 1};
    watchers_init(w, &sender);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct watchers *w = *state;
    watchers_fini(w);
    mem_free(w);
    return 0;
}

/* A packet of the node `name``number` came. */
static struct watcher *hear(struct watchers *w, const char *name, uint32_t number, uint64_t now_us)
{
    char id[LIMIT_NODE_ID_SIZE_MAX + 1];
    snprintf(id, sizeof(id), "%s%u", name, number % 100000);
    struct watcher *watcher = watchers_get(w, slice_string(id), now_us + 1);
    if (watcher != NULL)
        watcher->heard_us = now_us;
    return watcher;
}

/* Each `chatmesh status` is a node of another name: they come and go for ever. */
static void who_is_gone_makes_room(void **state)
{
    struct watchers *w = *state;
    uint64_t now_us = SECOND_US;
    for (uint32_t i = 0; i < LIMIT_MEMBERS_MAX + 500; i++) {
        now_us += SECOND_US;
        watchers_expire(w, now_us);
        assert_non_null(hear(w, "ask-", i, now_us));
    }
    assert_int_equal(w->by_id.count, LIMIT_MEMBERS_MAX);
}

/* Also one that followed something, and whose lease ran out; what it followed it follows no more.
 */
static void a_place_that_is_taken_over_brings_nothing_along(void **state)
{
    struct watchers *w = *state;
    uint64_t now_us = SECOND_US;
    struct watcher *first = hear(w, "g", 0, now_us);
    uint64_t incarnation = first->incarnation;
    first->is_leased = true;
    first->link_seq = 7;
    watchers_follow(w, &w->convs, 0, slice_string("c"), first);
    for (uint32_t i = 1; i < LIMIT_MEMBERS_MAX; i++)
        hear(w, "g", i, now_us + 1);
    now_us += 60 * SECOND_US;
    watchers_expire(w, now_us);
    struct watcher *next = hear(w, "new", 0, now_us);
    assert_ptr_equal(next,
                     first); /* Who has waited for an answer since sees another incarnation. */
    assert_int_not_equal(next->incarnation, incarnation);
    assert_int_equal(next->link_seq, 0);
    assert_false(watchers_is_followed(&w->convs, slice_string("c")));
    assert_ptr_equal(hear(w, "new", 0, now_us), next);
    assert_ptr_not_equal(hear(w, "g", 0, now_us), next); /* It is back, and gets another's. */
}

/* Who is leased, was heard just now, or has something to be sent is not sent away for a newcomer.
 */
static void who_is_here_keeps_its_place(void **state)
{
    struct watchers *w = *state;
    uint64_t now_us = SECOND_US;
    const struct msg_beat beat = {0};
    for (uint32_t i = 0; i < LIMIT_MEMBERS_MAX; i++) {
        struct watcher *watcher = hear(w, "g", i, now_us);
        watcher->is_leased = i % 3 == 0;
        if (i % 3 == 1)
            watcher->heard_us += SECOND_US;
        if (i % 3 == 2)
            watchers_answer(w, watcher, &msg_beat_desc, &beat);
    }
    assert_null(hear(w, "new", 0, now_us));
    watchers_expire(w, now_us + SECOND_US);
    assert_null(hear(w, "new", 0, now_us + SECOND_US));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(who_is_gone_makes_room),
        TEST(a_place_that_is_taken_over_brings_nothing_along),
        TEST(who_is_here_keeps_its_place),
#undef TEST
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
