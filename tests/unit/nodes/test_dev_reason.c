#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "nodes/dev_reason.h"
#include "nodes/logger.h"

#define TIME "2026-01-31T12:00:00.000Z"

static void assert_reason(const char *line, const char *expected)
{
    char reason[128] = "";
    if (dev_reason_of_line(line, reason, sizeof(reason)))
        assert_string_equal(reason, expected);
    else
        fail_msg("no reason in %s", line);
}

/* What the logger writes of level error is read back, in either format. */
static void the_reason_of_an_error_is_found(void **state)
{
    (void)state;
    char line[512], reason[128];
    for (int json = 0; json < 2; json++) {
        logger_format(line, sizeof(line), json != 0, TIME, "r1", LOG_ERROR, "router_failed",
                      "data=/x reason=the disk is full");
        assert_reason(line, "the disk is full");
        logger_format(line, sizeof(line), json != 0, TIME, "r1", LOG_ERROR, "sync_failed",
                      "reason=\"an I/O error\"");
        assert_reason(line, "an I/O error");
        logger_format(line, sizeof(line), json != 0, TIME, "r1", LOG_WARN, "slow",
                      "reason=the disk is slow error=1");
        assert_false(dev_reason_of_line(line, reason, sizeof(reason)));
    }
    logger_format(line, sizeof(line), false, TIME, "r1", LOG_ERROR, "odd", "node=g1");
    assert_reason(line, "odd self=r1 node=g1");
    logger_format(line, sizeof(line), true, TIME, "r1", LOG_ERROR, "odd", "node=g1");
    assert_reason(line, "odd");
}

/* A sentence on stderr is no log line; it is the reason as it stands, cut where it is too long. */
static void a_sentence_is_a_reason(void **state)
{
    (void)state;
    char reason[8];
    assert_reason("chatmesh: cannot listen on port 1\n", "cannot listen on port 1");
    assert_reason("terminate called after throwing", "terminate called after throwing");
    assert_true(dev_reason_of_line("chatmesh: a sentence", reason, sizeof(reason)));
    assert_string_equal(reason, "a sente");
    assert_false(dev_reason_of_line("\n", reason, sizeof(reason)));
    assert_false(dev_reason_of_line("", reason, sizeof(reason)));
}

/* Only the newest process's lines count, the last complaint wins, and a long log is read from its
 * end. */
static void the_last_complaint_of_the_process_is_read(void **state)
{
    (void)state;
    char path[] = "/tmp/chatmesh-reason-XXXXXX", reason[128];
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    FILE *f = fdopen(fd, "w");
    fputs("chatmesh: an old complaint\n", f);
    long from = ftell(f);
    fputs(TIME " info gateway_stopped self=g1 code=0\n", f);
    fflush(f);
    assert_true(dev_reason_read(path, 0, reason, sizeof(reason)));
    assert_false(dev_reason_read(path, from, reason, sizeof(reason)));
    for (int i = 0; i < 3000; i++)
        fputs(TIME " info peer_up self=g1 node=r1 role=router\n", f);
    fputs(TIME " error replaced self=g1 reason=a newer process\n" TIME " info stopped self=g1\n",
          f);
    fclose(f);
    assert_true(dev_reason_read(path, from, reason, sizeof(reason)));
    assert_string_equal(reason, "a newer process");
    unlink(path);
    assert_false(dev_reason_read(path, 0, reason, sizeof(reason)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_reason_of_an_error_is_found),
        cmocka_unit_test(a_sentence_is_a_reason),
        cmocka_unit_test(the_last_complaint_of_the_process_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
