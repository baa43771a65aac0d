/* What the options say of the webhook is judged before anything is opened. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs those above. */
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mesh/base/mem.h"
#include "nodes/tools.h"
#include "nodes/webhook_setup.h"

struct fixture {
    char folder[64];
    char secret[96], file[96];
    struct config config;
    struct sentence sentence;
};

static int setup(void **state)
{
    struct fixture *f = mem_new(struct fixture);
    snprintf(f->folder, sizeof(f->folder), "/tmp/chatmesh-webhook-XXXXXX");
    if (mkdtemp(f->folder) == NULL)
        return -1;
    snprintf(f->secret, sizeof(f->secret), "%s/secret", f->folder);
    snprintf(f->file, sizeof(f->file), "%s/c.zpl", f->folder);
    config_init(&f->config);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    unlink(f->secret);
    unlink(f->file);
    rmdir(f->folder);
    config_fini(&f->config);
    mem_free(f);
    return 0;
}

static void write_file(const char *path, const char *text, mode_t mode)
{
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    assert_int_equal(chmod(path, mode), 0);
}

static enum rc set(struct fixture *f, enum config_option option, const char *value)
{
    return config_set(&f->config, option, CONFIG_FLAG, value, "--it", &f->sentence);
}

static void assert_secret(struct fixture *f, const char *expected)
{
    char *secret;
    assert_int_equal(webhook_setup_secret(&f->config, &secret), EXIT_FINE);
    assert_string_equal(secret, expected);
    webhook_setup_forget(&secret);
    assert_null(secret);
    assert_int_equal(webhook_setup_check(&f->config), EXIT_FINE);
}

/* Without a URL there is no webhook, and nothing else is asked for. */
static void no_url_is_no_webhook(void **state)
{
    struct fixture *f = *state;
    char *secret;
    assert_int_equal(set(f, CONFIG_OPTION_webhook_secret, "s"), RC_OK);
    assert_int_equal(webhook_setup_secret(&f->config, &secret), EXIT_FINE);
    assert_null(secret);
}

/* A URL is one of http or https; what was given is not said again, there may be a password in it.
 */
static void a_bad_url_is_refused(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(set(f, CONFIG_OPTION_webhook, "ftp://host/"), RC_CONFIG);
    assert_string_equal(f->sentence.text, "--it is a URL of http or https with a host");
    assert_null(f->config.webhook);
}

/* Posts that nobody can check are not made. */
static void a_webhook_needs_a_secret(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(set(f, CONFIG_OPTION_webhook, "http://host/"), RC_OK);
    assert_int_equal(webhook_setup_check(&f->config), EXIT_MISTAKE);
    assert_int_equal(set(f, CONFIG_OPTION_webhook_secret, "s"), RC_OK);
    assert_secret(f, "s");
}

/* It may come from the first line of a file. */
static void a_file_may_hold_the_secret(void **state)
{
    struct fixture *f = *state;
    write_file(f->secret, "from a file\nand more\n", 0600);
    assert_int_equal(set(f, CONFIG_OPTION_webhook, "http://host/"), RC_OK);
    assert_int_equal(set(f, CONFIG_OPTION_webhook_secret_file, f->secret), RC_OK);
    assert_secret(f, "from a file");
    assert_int_equal(set(f, CONFIG_OPTION_webhook_secret, "s"), RC_OK);
    assert_int_equal(webhook_setup_check(&f->config), EXIT_MISTAKE); /* Which one? */
}

/* A file that is missing, no file, empty, endless, or everybody's, is a mistake. */
static void a_bad_secret_file_is_refused(void **state)
{
    struct fixture *f = *state;
    char line[WEBHOOK_SECRET_SIZE_MAX + 2];
    assert_int_equal(set(f, CONFIG_OPTION_webhook, "http://host/"), RC_OK);
    assert_int_equal(set(f, CONFIG_OPTION_webhook_secret_file, f->folder), RC_OK);
    assert_int_equal(webhook_setup_check(&f->config), EXIT_MISTAKE);
    assert_int_equal(set(f, CONFIG_OPTION_webhook_secret_file, f->secret), RC_OK);
    assert_int_equal(webhook_setup_check(&f->config), EXIT_MISTAKE);
    write_file(f->secret, "\nsecond line", 0600);
    assert_int_equal(webhook_setup_check(&f->config), EXIT_MISTAKE);
    write_file(f->secret, "everybody's", 0604);
    assert_int_equal(webhook_setup_check(&f->config), EXIT_MISTAKE);
    memset(line, 'x', sizeof(line) - 1);
    line[sizeof(line) - 1] = '\0';
    write_file(f->secret, line, 0600);
    assert_int_equal(webhook_setup_check(&f->config), EXIT_MISTAKE);
    line[WEBHOOK_SECRET_SIZE_MAX] = '\0';
    write_file(f->secret, line, 0600);
    assert_secret(f, line);
}

/* A file that is named is looked at also where no URL is: it was meant for one. */
static void a_bad_secret_file_is_refused_without_a_url_too(void **state)
{
    struct fixture *f = *state;
    char *secret;
    assert_int_equal(set(f, CONFIG_OPTION_webhook_secret_file, f->secret), RC_OK);
    assert_int_equal(webhook_setup_check(&f->config), EXIT_MISTAKE);
    write_file(f->secret, "fine\n", 0600);
    assert_int_equal(webhook_setup_secret(&f->config, &secret), EXIT_FINE);
    assert_null(secret);
}

/* The config file has a section for it, and may not be everybody's where it holds the secret. */
static void the_config_file_may_say_it(void **state)
{
    struct fixture *f = *state;
    static const char text[] = "push\n    url = \"https://host/hook\"\n    secret = \"word\"\n";
    write_file(f->file, text, 0644);
    assert_int_equal(config_read_file(&f->config, f->file, &f->sentence), RC_CONFIG);
    assert_non_null(strstr(f->sentence.text, "c.zpl:3: push/secret: this file may be read by"));
    assert_null(strstr(f->sentence.text, "word"));
    write_file(f->file, text, 0600);
    config_fini(&f->config);
    config_init(&f->config);
    assert_int_equal(config_read_file(&f->config, f->file, &f->sentence), RC_OK);
    assert_string_equal(f->config.webhook, "https://host/hook");
    assert_secret(f, "word");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(no_url_is_no_webhook),         TEST(a_bad_url_is_refused),
        TEST(a_webhook_needs_a_secret),     TEST(a_file_may_hold_the_secret),
        TEST(a_bad_secret_file_is_refused), TEST(a_bad_secret_file_is_refused_without_a_url_too),
        TEST(the_config_file_may_say_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
