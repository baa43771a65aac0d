#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "nodes/folder.h"

static const char *const marks[] = {"CURRENT", NULL};

static char root[64];

static int set_up(void **state)
{
    (void)state;
    snprintf(root, sizeof(root), "/tmp/chatmesh-folder-XXXXXX");
    return mkdtemp(root) != NULL ? 0 : -1;
}

static const char *below(const char *name)
{
    static char path[128];
    snprintf(path, sizeof(path), "%s/%s", root, name);
    return path;
}

static void touch(const char *name)
{
    FILE *f = fopen(below(name), "we");
    assert_non_null(f);
    fclose(f);
}

static int tear_down(void **state)
{
    (void)state;
    const char *const names[] = {"CURRENT", "file", "file.log", "lost+found", "a/b", "a"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        remove(below(names[i]));
    return rmdir(root);
}

/* Missing parents are made, for the owner alone; a second time nothing changes. */
static void a_folder_is_made_with_its_parents(void **state)
{
    (void)state;
    struct sentence sentence;
    struct stat status;
    assert_int_equal(folder_make(below("a/b"), &sentence), RC_OK);
    assert_int_equal(stat(below("a/b"), &status), 0);
    assert_int_equal(status.st_mode & 0777, 0700);
    assert_int_equal(folder_make(below("a/b"), &sentence), RC_OK);
}

/* A file in the way, or a path that is none, is told by name. */
static void a_folder_that_cannot_be_made_is_refused(void **state)
{
    (void)state;
    struct sentence sentence;
    touch("file");
    assert_int_equal(folder_make(below("file"), &sentence), RC_CONFIG);
    assert_non_null(strstr(sentence.text, "file is not a folder"));
    assert_int_equal(folder_make(below("file/below"), &sentence), RC_CONFIG);
    assert_non_null(strstr(sentence.text, "cannot make the folder"));
    assert_int_equal(folder_make("", &sentence), RC_CONFIG);
}

/* Empty or marked is ours; other people's files are left alone. */
static void a_folder_with_foreign_files_is_refused(void **state)
{
    (void)state;
    struct sentence sentence;
    assert_int_equal(folder_is_ours(root, marks, &sentence), RC_OK);
    assert_int_equal(mkdir(below("lost+found"), 0700), 0);
    assert_int_equal(folder_is_ours(root, marks, &sentence), RC_OK);
    touch("file");
    assert_int_equal(folder_is_ours(root, marks, &sentence), RC_CONFIG);
    assert_non_null(strstr(sentence.text, "none of ours"));
    touch("CURRENT");
    assert_int_equal(folder_is_ours(root, marks, &sentence), RC_OK);
    assert_int_equal(folder_is_ours(below("nothing"), marks, &sentence), RC_CONFIG);
}

/* What is free must hold the least, and what the log holds as well. */
static void a_full_disk_is_told(void **state)
{
    (void)state;
    struct sentence sentence;
    FILE *f = fopen(below("file.log"), "we");
    assert_non_null(f);
    assert_int_equal(ftruncate(fileno(f), INT64_C(1) << 40), 0); /* A hole: nothing is used. */
    fclose(f);
    assert_int_equal(folder_has_room(root, 4096, ".sst", &sentence), RC_OK);
    assert_int_equal(folder_has_room(root, 4096, ".log", &sentence), RC_NO_SPACE);
    assert_non_null(strstr(sentence.text, "is full"));
    assert_int_equal(folder_has_room(root, UINT64_C(1) << 60, ".sst", &sentence), RC_NO_SPACE);
    assert_int_equal(folder_has_room(below("none"), 0, ".sst", &sentence), RC_IO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_folder_is_made_with_its_parents, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_folder_that_cannot_be_made_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_folder_with_foreign_files_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_full_disk_is_told, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
