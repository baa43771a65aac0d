#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "gateway/json.h"
#include "nodes/logger.h"

#define TIME "2026-01-31T12:00:00.000Z"

static char line[512];

static void format(bool json, const char *fields)
{
    size_t size = logger_format(line, sizeof(line), json, TIME, "r1", LOG_WARN, "peer_up", fields);
    assert_int_equal(size, strlen(line));
    assert_int_equal(line[size - 1], '\n');
}

/* Text: time, level, event, self, then the fields as they are. */
static void a_text_line_has_its_parts_in_order(void **state)
{
    (void)state;
    format(false, "peer=g1 n=7");
    assert_string_equal(line, TIME " warn peer_up self=r1 peer=g1 n=7\n");
}

/* JSON: each key=value becomes a member; a value may have several words. */
static void a_json_line_has_a_member_for_each_field(void **state)
{
    (void)state;
    format(true, "peer=g1 reason=the disk is \"full\" n=7");
    assert_string_equal(line, "{\"time\":\"" TIME "\",\"level\":\"warn\",\"event\":\"peer_up\","
                              "\"self\":\"r1\",\"peer\":\"g1\","
                              "\"reason\":\"the disk is \\\"full\\\"\",\"n\":\"7\"}\n");
    format(true, "reason=\"the disk: n=3 is \"full\"\" n=7 name=\"\"");
    assert_non_null(strstr(line, "\"reason\":\"the disk: n=3 is \\\"full\\\"\",\"n\":\"7\","
                                 "\"name\":\"\"}\n"));
    format(true, "no key here");
    assert_non_null(strstr(line, "\"message\":\"no key here\"}"));
}

/* A name with a newline cannot forge a second line. */
static void control_characters_do_not_pass(void **state)
{
    (void)state;
    format(false, "user=a\nb\x1b[0m");
    assert_non_null(strstr(line, "user=a?b?[0m\n"));
    assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
}

/* Whatever the length, a JSON line is JSON. */
static void a_line_that_is_too_long_stays_json(void **state)
{
    (void)state;
    const char *reason;
    char fields[1024];
    for (size_t size = 1; size < sizeof(fields); size += 7) {
        memset(fields, '"', sizeof(fields));
        memcpy(fields, "a=b c=", size < 6 ? size : 6);
        fields[size] = '\0';
        format(true, fields);
        assert_int_equal(json_check(slice_string(line), &reason), RC_OK);
        format(false, fields);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_text_line_has_its_parts_in_order),
        cmocka_unit_test(a_json_line_has_a_member_for_each_field),
        cmocka_unit_test(control_characters_do_not_pass),
        cmocka_unit_test(a_line_that_is_too_long_stays_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
