#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "nodes/options.h"

/* Two options with one flag or one key could not be told apart. */
static void flags_and_keys_are_unique(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < CONFIG_OPTION_COUNT; i++) {
        assert_int_equal(option_by_flag(option_rows[i].flag, strlen(option_rows[i].flag),
                                        option_rows[i].commands),
                         i);
        if (option_rows[i].path[0] != '\0')
            assert_int_equal(option_by_path(option_rows[i].path), i);
    }
}

/* Defaults keep to the bounds that values are held to. */
static void defaults_are_within_their_bounds(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < CONFIG_OPTION_COUNT; i++) {
        const struct option_row *row = &option_rows[i];
        if (row->kind == OPTION_number || row->kind == OPTION_duration) {
            assert_in_range(row->initial_number, row->least, row->most);
        }
    }
}

/* The variable is the flag in capitals. */
static void a_variable_is_made_of_the_flag(void **state)
{
    (void)state;
    char variable[OPTION_VARIABLE_SIZE];
    option_variable(&option_rows[CONFIG_OPTION_drain_ms], variable);
    assert_string_equal(variable, "CHATMESH_DRAIN_MS");
}

/* Changes, insertions and losses each count one. */
static void the_distance_counts_edits(void **state)
{
    (void)state;
    assert_int_equal(option_distance("port", "port"), 0);
    assert_int_equal(option_distance("prt", "port"), 1);
    assert_int_equal(option_distance("prot", "port"), 2);
    assert_int_equal(option_distance("", "port"), 4);
    assert_int_equal(option_distance("kitten", "sitting"), 3);
}

/* A guess is made only where it is likely. */
static void only_what_is_near_is_guessed(void **state)
{
    (void)state;
    assert_string_equal(option_nearest_flag("gatways", CONFIG_DEV), "gateways");
    assert_null(option_nearest_flag("xyzzy-plugh", CONFIG_DEV));
    assert_null(option_nearest_flag("gatways", CONFIG_TOKEN));
    assert_string_equal(option_nearest_path("auth/key/secrets"), "auth/key/secret");
    assert_null(option_nearest_path("something/else"));
}

/* --help names every option of the command, and none of another. */
static void help_lists_the_options_of_its_command(void **state)
{
    (void)state;
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    option_print_help(out, CONFIG_ROUTER);
    fclose(out);
    for (uint32_t i = 0; i < CONFIG_OPTION_COUNT; i++) {
        char flag[64];
        snprintf(flag, sizeof(flag), "  --%s%s", option_rows[i].flag,
                 option_rows[i].metavar[0] != '\0' ? " " : "\n");
        bool is_there = strstr(text, flag) != NULL;
        assert_int_equal(is_there, (option_rows[i].commands & CONFIG_ROUTER) != 0);
    }
    free(text);
}

/* Only a drain is waited for. */
static void wait_is_an_option_of_drain_alone(void **state)
{
    (void)state;
    assert_int_equal(option_by_flag("wait", 4, CONFIG_OPERATE), CONFIG_OPTION_COUNT);
    assert_int_equal(option_by_flag("wait", 4, CONFIG_OPERATE | CONFIG_DRAIN), CONFIG_OPTION_wait);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(flags_and_keys_are_unique),
        cmocka_unit_test(defaults_are_within_their_bounds),
        cmocka_unit_test(a_variable_is_made_of_the_flag),
        cmocka_unit_test(the_distance_counts_edits),
        cmocka_unit_test(only_what_is_near_is_guessed),
        cmocka_unit_test(help_lists_the_options_of_its_command),
        cmocka_unit_test(wait_is_an_option_of_drain_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
