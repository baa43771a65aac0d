/* The cluster key file, and who is let in by it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mesh/base/slice.h"
#include "mesh/keyfile.h"
#include "mesh/zap.h"

struct files {
    char folder[64];
    char path[128];
};

static int make_folder(void **state)
{
    static struct files files;
    snprintf(files.folder, sizeof(files.folder), "/tmp/test_keyfile.XXXXXX");
    if (mkdtemp(files.folder) == NULL)
        return -1;
    snprintf(files.path, sizeof(files.path), "%s/mesh.key", files.folder);
    *state = &files;
    return 0;
}

static int remove_folder(void **state)
{
    struct files *f = *state;
    unlink(f->path);
    return rmdir(f->folder);
}

static void write_text(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(path, 0600), 0);
}

/* Made, then read: the same pair, an id, a secret, and one key that is let in. */
static void what_is_generated_can_be_loaded(void **state)
{
    struct files *f = *state;
    struct sentence sentence;
    struct keyfile key;
    struct stat st;
    assert_int_equal(keyfile_generate(f->path, &sentence), RC_OK);
    assert_int_equal(stat(f->path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(keyfile_load(f->path, &key, &sentence), RC_OK);
    assert_int_equal(key.accepted_count, 1);
    assert_int_equal(strlen(key.id), 16);
    assert_string_equal(key.accepted_text[0], key.public_text);
    assert_true(keyfile_accepts(&key, key.accepted[0]));
    keyfile_wipe(&key);
    assert_int_equal(key.secret_text[0], 0);
}

/* A key that is lost is a cluster that cannot grow. */
static void a_key_is_never_overwritten(void **state)
{
    struct files *f = *state;
    struct sentence sentence;
    write_text(f->path, "precious");
    assert_int_equal(keyfile_generate(f->path, &sentence), RC_CONFLICT);
    assert_non_null(strstr(sentence.text, "never overwritten"));
    struct stat st;
    assert_int_equal(stat(f->path, &st), 0);
    assert_int_equal(st.st_size, 8);
}

/* Nowhere to write to, a folder, or no name at all. */
static void a_path_that_cannot_be_a_key_is_a_mistake(void **state)
{
    struct files *f = *state;
    struct sentence sentence;
    assert_int_equal(keyfile_generate("/nonexistent/mesh.key", &sentence), RC_CONFIG);
    assert_non_null(strstr(sentence.text, "/nonexistent/mesh.key cannot be created"));
    assert_int_equal(keyfile_generate("", &sentence), RC_CONFIG);
    assert_non_null(strstr(sentence.text, "needs a name"));
    assert_int_equal(keyfile_generate(f->folder, &sentence), RC_CONFLICT);
}

/* That is no mistake of the operator's, and no half of a key is left. */
static void a_key_that_cannot_be_written_is_an_io_error(void **state)
{
    struct files *f = *state;
    struct sentence sentence;
    struct rlimit before;
    struct stat st;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    struct rlimit none = {.rlim_cur = 0, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
    enum rc rc = keyfile_generate(f->path, &sentence);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(rc, RC_IO);
    assert_non_null(strstr(sentence.text, "cannot be written"));
    assert_int_not_equal(stat(f->path, &st), 0);
}

/* Whoever can read the file is a node. */
static void a_file_that_others_may_read_is_refused(void **state)
{
    struct files *f = *state;
    struct sentence sentence;
    struct keyfile key;
    static const mode_t modes[] = {0640, 0604, 0660, 0644, 0601};
    assert_int_equal(keyfile_generate(f->path, &sentence), RC_OK);
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        assert_int_equal(chmod(f->path, modes[i]), 0);
        assert_int_equal(keyfile_load(f->path, &key, &sentence), RC_CONFIG);
        assert_non_null(strstr(sentence.text, "chmod 600"));
    }
}

/* Somebody else's file may be somebody else's key. */
static void a_file_of_another_user_is_refused(void **state)
{
    struct files *f = *state;
    struct sentence sentence;
    struct keyfile key;
    assert_int_equal(keyfile_generate(f->path, &sentence), RC_OK);
    if (chown(f->path, 12345, (gid_t)-1) != 0)
        skip(); /* Only root can give a file away. */
    assert_int_equal(keyfile_load(f->path, &key, &sentence), RC_CONFIG);
    assert_non_null(strstr(sentence.text, "belongs to user 12345"));
}

/* Neither a missing file nor a folder nor a huge one is a key. */
static void what_is_no_small_file_is_refused(void **state)
{
    struct files *f = *state;
    struct sentence sentence;
    struct keyfile key;
    assert_int_equal(keyfile_load(f->path, &key, &sentence), RC_CONFIG);
    assert_int_equal(keyfile_load(f->folder, &key, &sentence), RC_CONFIG);
    write_text(f->path, "");
    assert_int_equal(truncate(f->path, KEYFILE_BYTES_MAX + 1), 0);
    assert_int_equal(keyfile_load(f->path, &key, &sentence), RC_CONFIG);
}

#define PUBLIC_1 "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID" /* The pair of zmq_curve(7). */
#define SECRET_1 "D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%cs"
#define PUBLIC_2 "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"
#define CLUSTER                                                                                    \
    "cluster\n    secret = \"00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\"\n"
#define PAIR "curve\n    public-key = \"" PUBLIC_1 "\"\n    secret-key = \"" SECRET_1 "\"\n"

/* While keys are being changed a node lets in holders of either. */
static void further_keys_may_be_accepted(void **state)
{
    struct files *f = *state;
    struct sentence sentence;
    struct keyfile key;
    write_text(f->path, "# made by hand\n" PAIR CLUSTER "accept\n    key = \"" PUBLIC_2 "\"\n");
    assert_int_equal(keyfile_load(f->path, &key, &sentence), RC_OK);
    assert_int_equal(key.accepted_count, 2);
    assert_string_equal(key.accepted_text[1], PUBLIC_2);
    assert_true(keyfile_accepts(&key, key.accepted[1]));
    uint8_t other[KEYFILE_KEY_SIZE] = {0};
    assert_false(keyfile_accepts(&key, other));
}

/* Each way to spoil a file is a sentence with the line, and none repeats what stands there. */
static void a_spoilt_file_is_refused_without_telling_its_secrets(void **state)
{
    struct files *f = *state;
    struct sentence sentence;
    struct keyfile key;
    static const char *const spoilt[] = {
        "",
        PAIR,
        CLUSTER,
        "curve\n    secret-key = \"" SECRET_1 "\"\n" CLUSTER,
        "curve\n    public-key = \"" PUBLIC_2 "\"\n    secret-key = \"" SECRET_1 "\"\n" CLUSTER,
        "curve\n    secret-key \"" SECRET_1 "\"\n",
        "curve\n    secret-key = " SECRET_1 "\n",
        "curve\n    secret-key = \"" SECRET_1 "\n",
        "curve\n    secret-key = \"D:)Q\"\n",
        "curve\n    sekret-key = \"" SECRET_1 "\"\n",
        "curv\n    secret-key = \"" SECRET_1 "\"\n",
        "    secret-key = \"" SECRET_1 "\"\n",
        PAIR PAIR CLUSTER,
        PAIR "cluster\n    secret = \"0011\"\n",
        PAIR CLUSTER "accept\n    key = \"too short\"\n",
        PAIR CLUSTER "accept\n    key = \"" SECRET_1 "~~~\"\n",
        "accept\n    key = \"" PUBLIC_2 "\"\n" PAIR CLUSTER,
        "curve\n    = \"x\"\n",
    };
    for (size_t i = 0; i < sizeof(spoilt) / sizeof(spoilt[0]); i++) {
        write_text(f->path, spoilt[i]);
        assert_int_equal(keyfile_load(f->path, &key, &sentence), RC_CONFIG);
        assert_null(strstr(sentence.text, "D:)Q"));
    }
}

/* The list of accepted keys is bounded like everything else. */
static void too_many_accepted_keys_are_refused(void **state)
{
    struct files *f = *state;
    struct sentence sentence;
    struct keyfile key;
    char text[2048] = PAIR CLUSTER "accept\n";
    for (uint32_t i = 0; i < KEYFILE_ACCEPT_MAX; i++)
        strcat(text, "    key = \"" PUBLIC_2 "\"\n");
    write_text(f->path, text);
    assert_int_equal(keyfile_load(f->path, &key, &sentence), RC_OK);
    strcat(text, "    key = \"" PUBLIC_2 "\"\n");
    write_text(f->path, text);
    assert_int_equal(keyfile_load(f->path, &key, &sentence), RC_CONFIG);
}

static struct zap_request request_of(const struct keyfile *key)
{
    return (struct zap_request){.frames = {slice_string("1.0"), slice_string("1"),
                                           slice_string(ZAP_DOMAIN), slice_string("127.0.0.1"),
                                           slice_string("r1"), slice_string("CURVE"),
                                           slice_of(key->accepted[0], KEYFILE_KEY_SIZE)},
                                .frame_count = 7};
}

/* RFC 27 request by request: nothing but CURVE in our domain with a key of the list. */
static void only_a_listed_curve_key_is_admitted(void **state)
{
    struct files *f = *state;
    struct sentence sentence;
    struct keyfile key;
    write_text(f->path, PAIR CLUSTER);
    assert_int_equal(keyfile_load(f->path, &key, &sentence), RC_OK);
    struct zap_request good = request_of(&key);
    assert_int_equal(zap_judge(&key, &good), 200);
    struct zap_request bad = good;
    uint8_t other[KEYFILE_KEY_SIZE] = {1};
    bad.frames[6] = slice_of(other, sizeof(other));
    assert_int_equal(zap_judge(&key, &bad), 400);
    bad = good;
    bad.frames[6].size--;
    assert_int_equal(zap_judge(&key, &bad), 400);
    bad = good;
    bad.frames[5] = slice_string("NULL");
    assert_int_equal(zap_judge(&key, &bad), 400);
    bad = good;
    bad.frames[2] = slice_string("global");
    assert_int_equal(zap_judge(&key, &bad), 400);
    bad = good;
    bad.frames[0] = slice_string("2.0");
    assert_int_equal(zap_judge(&key, &bad), 400);
    bad = good;
    bad.frame_count = 6;
    assert_int_equal(zap_judge(&key, &bad), 400);
    bad.frame_count = 9;
    assert_int_equal(zap_judge(&key, &bad), 400);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, make_folder, remove_folder)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_generated_can_be_loaded),
        TEST(a_key_is_never_overwritten),
        TEST(a_path_that_cannot_be_a_key_is_a_mistake),
        TEST(a_key_that_cannot_be_written_is_an_io_error),
        TEST(a_file_that_others_may_read_is_refused),
        TEST(a_file_of_another_user_is_refused),
        TEST(what_is_no_small_file_is_refused),
        TEST(further_keys_may_be_accepted),
        TEST(a_spoilt_file_is_refused_without_telling_its_secrets),
        TEST(too_many_accepted_keys_are_refused),
        TEST(only_a_listed_curve_key_is_admitted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
