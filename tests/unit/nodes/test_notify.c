/* A node says that it is ready, and dev hears which process did. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs those above. */
#include <cmocka.h>

#include <poll.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "nodes/dev_notify.h"
#include "nodes/notify.h"

static struct dev_notify heard;

static int setup(void **state)
{
    (void)state;
    struct sentence sentence;
    if (dev_notify_open(&heard, &sentence) != RC_OK)
        return -1;
    return setenv("NOTIFY_SOCKET", heard.name, 1);
}

static int teardown(void **state)
{
    (void)state;
    unsetenv("NOTIFY_SOCKET");
    return close(heard.fd);
}

/* The kernel says who speaks, so a name need not be believed. */
static void the_process_that_is_ready_is_told(void **state)
{
    (void)state;
    pid_t child = fork();
    if (child == 0) {
        notify_ready();
        _exit(0);
    }
    struct pollfd fd = {.fd = heard.fd, .events = POLLIN};
    assert_int_equal(poll(&fd, 1, 5000), 1);
    assert_int_equal(dev_notify_next(&heard), child);
    assert_int_equal(dev_notify_next(&heard), 0);
    assert_int_equal(waitpid(child, NULL, 0), child);
}

/* Other news than readiness are passed over. */
static void stopping_is_not_being_ready(void **state)
{
    (void)state;
    notify_stopping();
    assert_int_equal(dev_notify_next(&heard), 0);
    notify_stopping();
    notify_ready();
    assert_int_equal(dev_notify_next(&heard), getpid());
}

/* Nobody asked to be told, or nobody listens: the node goes on all the same. */
static void without_a_listener_nothing_happens(void **state)
{
    (void)state;
    unsetenv("NOTIFY_SOCKET");
    notify_ready();
    setenv("NOTIFY_SOCKET", "/nowhere/at/all", 1);
    notify_ready();
    setenv("NOTIFY_SOCKET", "not-a-path", 1);
    notify_ready();
    assert_int_equal(dev_notify_next(&heard), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_process_that_is_ready_is_told),
        TEST(stopping_is_not_being_ready),
        TEST(without_a_listener_nothing_happens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
