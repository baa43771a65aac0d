/* When a link to a router is given up and opened anew. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mesh/router_link.h"

#define SECOND_US UINT64_C(1000000)

static void on_news(void *context, struct hub_socket *socket)
{
    (void)context;
    (void)socket;
}

struct world {
    struct hub *hub;
    struct router_link link;
};

/* A link to where nobody listens, taken for connected. */
static int setup(void **state)
{
    static struct world w;
    struct sentence sentence;
    w = (struct world){.link = {.request = "tcp://127.0.0.1:1", .publish = "tcp://127.0.0.1:2"}};
    if (hub_new(NULL, &w.hub, &sentence) != RC_OK)
        return -1;
    struct router_link_options options = {.node = slice_string("g1"),
                                          .topic = slice_string("g1"),
                                          .on_dealer_news = on_news,
                                          .on_sub_news = on_news};
    router_link_open(&w.link, w.hub, &options, 100 * SECOND_US);
    *state = &w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    router_link_close(&w->link);
    hub_free(&w->hub);
    return 0;
}

/* A link that nobody admitted is opened again after two seconds. */
static void a_link_that_is_not_admitted_is_stuck(void **state)
{
    struct router_link *link = &((struct world *)*state)->link;
    assert_false(router_link_is_stuck(link, 101 * SECOND_US));
    assert_true(router_link_is_stuck(link, 103 * SECOND_US));
}

/* A router that is up and says nothing does not hear us, whatever TCP believes. */
static void a_link_on_which_nothing_is_heard_is_stuck(void **state)
{
    struct router_link *link = &((struct world *)*state)->link;
    link->is_connected = true;
    assert_false(router_link_is_stuck(link, 105 * SECOND_US));
    assert_true(router_link_is_stuck(link, 106 * SECOND_US));
    link->heard_us = 106 * SECOND_US;
    assert_false(router_link_is_stuck(link, 111 * SECOND_US));
}

/* Between routers nothing is published, so nothing is missed. */
static void a_link_without_a_subscription_may_be_silent(void **state)
{
    struct world *w = *state;
    struct router_link_options options = {
        .node = slice_string("r2"), .on_dealer_news = on_news, .on_sub_news = on_news};
    router_link_open(&w->link, w->hub, &options, 100 * SECOND_US);
    w->link.is_connected = true;
    assert_false(router_link_is_stuck(&w->link, 1000 * SECOND_US));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_link_that_is_not_admitted_is_stuck, setup, teardown),
        cmocka_unit_test_setup_teardown(a_link_on_which_nothing_is_heard_is_stuck, setup, teardown),
        cmocka_unit_test_setup_teardown(a_link_without_a_subscription_may_be_silent, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
