#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "mesh/base/crypto.h"
#include "nodes/config.h"
#include "nodes/config_rule.h"

struct fixture {
    char folder[64];
    char file[96];
    struct config config;
    struct sentence sentence;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    crypto_start();
    snprintf(f->folder, sizeof(f->folder), "/tmp/chatmesh-config-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    snprintf(f->file, sizeof(f->file), "%s/c.zpl", f->folder);
    config_init(&f->config);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    char command[128];
    snprintf(command, sizeof(command), "%s/secret", f->folder);
    unlink(command);
    unlink(f->file);
    rmdir(f->folder);
    config_fini(&f->config);
    free(f);
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

static enum rc read_text(struct fixture *f, const char *text)
{
    write_file(f->file, text, 0600);
    return config_read_file(&f->config, f->file, &f->sentence);
}

/* The file is refused, with its name, this line and these words. */
static void assert_refused(struct fixture *f, const char *text, unsigned line, const char *words)
{
    char where[128];
    assert_int_equal(read_text(f, text), RC_CONFIG);
    snprintf(where, sizeof(where), "%s:%u: ", f->file, line);
    if (strncmp(f->sentence.text, where, strlen(where)) != 0 ||
        strstr(f->sentence.text, words) == NULL)
        fail_msg("expected %s…%s…, got %s", where, words, f->sentence.text);
}

static enum rc read_flags(struct fixture *f, enum config_command command, int argc, char **argv)
{
    uint32_t count;
    return config_read_flags(&f->config, command, argc, argv, NULL, 0, &count, &f->sentence);
}

/* What nobody set has the table's default. */
static void options_begin_with_their_defaults(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(f->config.port, 8080);
    assert_int_equal(f->config.shards, LIMIT_SHARDS_DEFAULT);
    assert_string_equal(f->config.log_level, "info");
    assert_null(f->config.id);
    assert_int_equal(f->config.join.count, 0);
}

/* A file sets numbers, texts, choices, booleans and lists; comments and blank lines are skipped. */
static void a_file_sets_options(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(read_text(f, "# a comment\nhttp\n    port = 9000 # the port\n\n"
                                  "    dev_tokens = true\nmesh\n    join = \"tcp://a:1\"\n"
                                  "    join = 'tcp://b:2'\nlog\n    level = debug\n"
                                  "node\n    data = d\n"),
                     RC_OK);
    assert_int_equal(f->config.port, 9000);
    assert_int_equal(f->config.dev_tokens, 1);
    assert_int_equal(f->config.join.count, 2);
    assert_string_equal(f->config.join.items[1], "tcp://b:2");
    assert_string_equal(f->config.log_level, "debug");
}

/* A path in a file counts from the file's folder, so that the two can move together. */
static void a_path_in_a_file_counts_from_its_folder(void **state)
{
    struct fixture *f = *state;
    char expected[128];
    assert_int_equal(read_text(f, "mesh\n    key = cluster.key\n"), RC_OK);
    snprintf(expected, sizeof(expected), "%s/cluster.key", f->folder);
    assert_string_equal(f->config.key, expected);
}

/* A misspelt key is told with file, line and what was meant. */
static void an_unknown_key_is_refused_with_its_line(void **state)
{
    struct fixture *f = *state;
    assert_refused(f, "\n# x\nhttp\n    prot = 1\n", 4,
                   "http/prot: unknown key; did you mean http/port?");
    assert_refused(f, "htpt\n    port = 1\n", 1, "htpt: unknown key");
    assert_refused(f, "auth\n    key\n        name = x\n", 3, "auth/key/name: unknown key");
}

/* Numbers have a range, choices a list, booleans two words, and a scalar is given once. */
static void a_wrong_value_is_refused_with_its_line(void **state)
{
    struct fixture *f = *state;
    assert_refused(f, "http\n    port = many\n", 2, "is a number from 1 to 65535, not \"many\"");
    assert_refused(f, "http\n    port = 0\n", 2, "is a number from 1 to 65535");
    assert_refused(f, "http\n    port = 65536\n", 2, "is a number from 1 to 65535");
    assert_refused(f, "http\n    port = 99999999999999999999\n", 2, "is a number");
    assert_refused(f, "log\n    level = loud\n", 2, "is one of debug|info|warn|error");
    assert_refused(f, "http\n    dev_tokens = yes\n", 2, "is true or false");
    assert_refused(f, "http\n    port = 1\n    port = 2\n", 3, "is given twice");
    assert_refused(f, "http\n    port\n", 2, "needs a value");
}

/* What start would refuse is refused where it stands. */
static void a_value_that_breaks_its_rule_is_refused_with_its_line(void **state)
{
    struct fixture *f = *state;
    assert_refused(f, "node\n    id = much-too-long-a-name\n", 2, "node/id is 1 to 15 of");
    assert_refused(f, "node\n    zone = \"a b\"\n", 2, "node/zone is 1 to 15 of");
    assert_refused(f, "cluster\n    replicas = 4\n", 2, "cluster/replicas is an odd number");
    assert_refused(f, "cluster\n    replicas = 9\n", 2, "is a number from 1 to 7");
    assert_refused(f, "cluster\n    grace = 1s\n", 2, "cluster/grace is a time");
    assert_refused(f, "http\n    bind = localhost\n", 2, "is a numeric IPv4 or IPv6 address");
    assert_refused(f, "mesh\n    listen = foo\n", 2, "is tcp://HOST:PORT");
    assert_refused(f, "router\n    http = localhost:7480\n", 2, "is a port, or a numeric address");
    assert_refused(f, "mesh\n    listen = tcp://10.0.0.1:65534\n", 2, "the next two ports");
    assert_refused(f, "mesh\n    join = tcp://10.0.0.1:1\n    join = tcp://*:1\n", 3,
                   "mesh/join is where a router listens");
    assert_refused(f, "mesh\n    advertise = host:1\n", 2, "is a host that others can reach");
    assert_refused(f, "http\n    origin = https://a.example/\n", 2,
                   "is scheme://host or scheme://host:port");
}

/* Every source asks the same rule, also one that a stronger source overrules. */
static void every_source_asks_the_rule(void **state)
{
    struct fixture *f = *state;
    char *good[] = {"--join", "tcp://a:1", "--bind", "::1"};
    char *bad[] = {"--id", "g 1"};
    assert_int_equal(read_flags(f, CONFIG_GATEWAY, 4, good), RC_OK);
    assert_int_equal(read_flags(f, CONFIG_GATEWAY, 2, bad), RC_CONFIG);
    assert_string_equal(f->sentence.text, "--id is 1 to 15 of [A-Za-z0-9_-], not \"g 1\"");
    setenv("CHATMESH_JOIN", "tcp://x:1 y", 1);
    assert_int_equal(config_read_environment(&f->config, CONFIG_GATEWAY, &f->sentence), RC_CONFIG);
    unsetenv("CHATMESH_JOIN");
    assert_non_null(strstr(f->sentence.text, "CHATMESH_JOIN is where a router listens"));
    assert_refused(f, "http\n    bind = nowhere\n", 2, "is a numeric");
    assert_int_equal(f->config.join.count, 1);
    assert_string_equal(f->config.bind, "::1");
}

/* Keys of the API stand in the config as digests; one that stands there itself is refused, and not
 * repeated where logs may keep it. */
static void an_api_key_is_a_digest(void **state)
{
    struct fixture *f = *state;
    char text[API_KEY_SIZE + 1], line[API_KEY_LINE_SIZE_MAX + 1];
    api_key_make("billing", text, line);
    assert_null(config_rule_mistake(CONFIG_OPTION_api_key, line));
    char *flags[] = {"--api-key", text};
    assert_int_equal(read_flags(f, CONFIG_GATEWAY, 2, flags), RC_CONFIG);
    assert_non_null(strstr(f->sentence.text, "--api-key is NAME:SHA256"));
    assert_null(strstr(f->sentence.text, text));
    flags[1] = line;
    const char *operands[1];
    uint32_t operand_count;
    assert_int_equal(config_read(&f->config, CONFIG_GATEWAY, 2, flags, operands, 1, &operand_count,
                                 &f->sentence),
                     RC_OK);
    assert_non_null(api_key_find(&f->config.auth.api_keys, slice_string(text)));
}

/* As browsers send it, or a star. */
static void an_origin_is_scheme_host_and_port(void **state)
{
    (void)state;
    static const char *const good[] = {"*",
                                       "https://chat.example.org",
                                       "http://localhost:8080",
                                       "http://[::1]:8080",
                                       "capacitor://localhost",
                                       "chrome-extension://abcdef"};
    static const char *const bad[] = {
        "",           "chat.example.org",  "https://",      "https://a/",      "https://a:",
        "://a",       "https://a:0",       "https://a:1x",  "https://a:65536", "https://A",
        "https://[a", "https://[::1]8080", "https://u@a:1", "https://*.a",     "null"};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        assert_null(config_rule_mistake(CONFIG_OPTION_origin, good[i]));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_non_null(config_rule_mistake(CONFIG_OPTION_origin, bad[i]));
}

/* What clients are told to dial. */
static void a_url_for_clients_is_of_a_websocket(void **state)
{
    (void)state;
    static const char *const good[] = {"wss://chat2.example.org/ws", "ws://127.0.0.1:8081/ws",
                                       "ws://[::1]:8081/", "wss://a/chat-2/ws%20"};
    static const char *const bad[] = {"",
                                      "chat2.example.org/ws",
                                      "https://a/ws",
                                      "wss://a",
                                      "wss:///ws",
                                      "wss://a:0/ws",
                                      "wss://A/w",
                                      "wss://u@a/ws",
                                      "wss://a/ws?token=x",
                                      "wss://a/#",
                                      "wss://a/\"",
                                      "*"};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        assert_null(config_rule_mistake(CONFIG_OPTION_url, good[i]));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_non_null(config_rule_mistake(CONFIG_OPTION_url, bad[i]));
}

/* The table's own defaults obey the rules, and an endpoint leaves room for what stands beside it.
 */
static void defaults_and_long_paths_are_judged(void **state)
{
    struct fixture *f = *state;
    char path[160];
    assert_null(config_rule_mistake(CONFIG_OPTION_bind, f->config.bind));
    assert_null(config_rule_mistake(CONFIG_OPTION_listen, f->config.listen));
    assert_null(config_rule_mistake(CONFIG_OPTION_listen, "tcp://127.0.0.1:65535"));
    assert_null(config_rule_mistake(CONFIG_OPTION_advertise, "2001:db8::1"));
    snprintf(path, sizeof(path), "ipc://%099d", 0);
    assert_null(config_rule_mistake(CONFIG_OPTION_listen, path));
    snprintf(path, sizeof(path), "ipc://%0100d", 0);
    assert_non_null(config_rule_mistake(CONFIG_OPTION_listen, path));
    snprintf(path, sizeof(path), "%0129d", 0);
    assert_non_null(config_rule_mistake(CONFIG_OPTION_issuer, path));
}

/* What zconfig would only complain about on stdout is told as a sentence. */
static void a_malformed_line_is_refused_with_its_number(void **state)
{
    struct fixture *f = *state;
    assert_refused(f, "http\n  port = 1\n", 2, "multiple of four");
    assert_refused(f, "http\n\tport = 1\n", 2, "a tab");
    assert_refused(f, "http\n        port = 1\n", 2, "deeper than its section");
    assert_refused(f, "http\n    port = \"1\n", 2, "the quote is not closed");
    assert_refused(f, "http\n    port = \"1\" x\n", 2, "follows the closing quote");
    assert_refused(f, "http\n    port 1\n", 2, "expected =");
    assert_refused(f, "ht!tp\n", 1, "expected =");
    assert_refused(f, "!\n", 1, "expected a name");
}

/* A list has an end. */
static void a_list_holds_so_many_and_no_more(void **state)
{
    struct fixture *f = *state;
    char text[2048] = "mesh\n";
    for (unsigned i = 0; i <= LIMIT_SEEDS_MAX; i++)
        snprintf(text + strlen(text), sizeof(text) - strlen(text), "    join = tcp://a:%u\n",
                 i + 1);
    assert_refused(f, text, LIMIT_SEEDS_MAX + 2, "at most 16 times");
}

/* A file that is not there or is no text is a mistake with a sentence. */
static void a_file_that_cannot_be_read_is_refused(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(config_read_file(&f->config, "/nowhere/at.all", &f->sentence), RC_CONFIG);
    assert_non_null(strstr(f->sentence.text, "/nowhere/at.all: cannot read it"));
    assert_int_equal(config_read_file(&f->config, f->folder, &f->sentence), RC_CONFIG);
    assert_non_null(strstr(f->sentence.text, "it is not a file"));
}

/* Nobody writes to the FIFO: who opened it plainly would wait for ever. */
static void a_fifo_is_refused_at_once(void **state)
{
    struct fixture *f = *state;
    char secret[128];
    assert_int_equal(mkfifo(f->file, 0600), 0);
    assert_int_equal(config_read_file(&f->config, f->file, &f->sentence), RC_CONFIG);
    assert_non_null(strstr(f->sentence.text, "c.zpl: cannot read it: it is not a file"));
    unlink(f->file);
    snprintf(secret, sizeof(secret), "%s/secret", f->folder);
    assert_int_equal(mkfifo(secret, 0600), 0);
    assert_refused(f, "auth\n    key\n        secret_file = secret\n", 3, "it is not a file");
}

/* Both algorithms, the secret in the file or in one of its own. */
static void keys_are_read(void **state)
{
    struct fixture *f = *state;
    char secret[128];
    snprintf(secret, sizeof(secret), "%s/secret", f->folder);
    write_file(secret, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n", 0600);
    assert_int_equal(
        read_text(f, "auth\n    issuer = me\n    key\n        id = a\n        algorithm = HS256\n"
                     "        secret = \"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"\n"
                     "    key\n        id = b\n        algorithm = EdDSA\n"
                     "        public = \"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"\n"
                     "    key\n        id = c\n        algorithm = HS256\n"
                     "        secret_file = secret\n"),
        RC_OK);
    assert_int_equal(f->config.auth.key_count, 3);
    assert_true(f->config.auth.keys[0].can_sign);
    assert_false(f->config.auth.keys[1].can_sign);
    assert_int_equal(f->config.auth.keys[1].algorithm, AUTH_EDDSA);
    assert_int_equal(f->config.auth.keys[2].size, 32);
}

/* A key section that lacks something is told with the line of its heading. */
static void an_incomplete_key_is_refused(void **state)
{
    struct fixture *f = *state;
    assert_refused(f, "auth\n    key\n        algorithm = HS256\n", 2, "has no id");
    assert_refused(f, "auth\n    key\n        id = a\n", 2, "has no algorithm");
    assert_refused(f, "auth\n    key\n        id = a\n        algorithm = HS256\n", 2,
                   "needs a secret");
    assert_refused(f, "auth\n    key\n        id = a\n        algorithm = EdDSA\n", 2,
                   "needs a public key");
    assert_refused(f, "auth\n    key\n        id = a\n        algorithm = RS256\n", 4,
                   "is HS256 or EdDSA");
    assert_refused(f, "auth\n    key\n        id = a\n        secret = \"AA==\"\n", 4,
                   "is not base64url");
    assert_refused(f,
                   "auth\n    key\n        id = a\n        algorithm = HS256\n"
                   "        secret = \"AAAA\"\n",
                   2, "32 to 64 bytes");
}

/* Which of two secrets is meant is not guessed; nor is an EdDSA secret believed that is not the
 * public key's. */
static void a_key_with_two_secrets_is_refused(void **state)
{
    struct fixture *f = *state;
    char secret[128];
    snprintf(secret, sizeof(secret), "%s/secret", f->folder);
    write_file(secret, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n", 0600);
    static const char inline_secret[] =
        "        secret = \"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"\n";
    static const char of_file[] = "        secret_file = secret\n";
    const char *const pairs[][2] = {
        {inline_secret, of_file}, {of_file, inline_secret}, {of_file, of_file}};
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        char text[512];
        snprintf(text, sizeof(text), "auth\n    key\n        id = a\n%s%s", pairs[i][0],
                 pairs[i][1]);
        assert_refused(f, text, 5, "this key has a secret already");
    }
    assert_refused(
        f,
        "auth\n    key\n        id = a\n        algorithm = EdDSA\n"
        "        public = \"AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"\n"
        "        secret = \"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
        "AAAAAAAAAAAAAAAAAAAAAAAA\"\n",
        2, "not that of this public key");
}

/* A value is told by where it was set. */
static void a_value_knows_where_it_was_set(void **state)
{
    struct fixture *f = *state;
    char expected[160];
    assert_string_equal(config_where(&f->config, CONFIG_OPTION_key), "--key");
    assert_int_equal(read_text(f, "mesh\n    key = x.key\n    listen = \"tcp://h:1\"\n"), RC_OK);
    snprintf(expected, sizeof(expected), "%s:2: mesh/key", f->file);
    assert_string_equal(config_where(&f->config, CONFIG_OPTION_key), expected);
    assert_int_equal(
        config_set(&f->config, CONFIG_OPTION_key, CONFIG_FLAG, "y.key", "--key", &f->sentence),
        RC_OK);
    assert_int_equal(config_set(&f->config, CONFIG_OPTION_key, CONFIG_FILE, "z.key", "file:1: key",
                                &f->sentence),
                     RC_OK);
    assert_string_equal(config_where(&f->config, CONFIG_OPTION_key), "--key");
}

/* A secret that everybody may read is none. */
static void a_secret_that_everybody_may_read_is_refused(void **state)
{
    struct fixture *f = *state;
    char secret[128];
    write_file(f->file, "auth\n    key\n        secret = \"AAAA\"\n", 0644);
    assert_int_equal(config_read_file(&f->config, f->file, &f->sentence), RC_CONFIG);
    assert_non_null(strstr(f->sentence.text, ":3: auth/key/secret: this file may be read"));
    snprintf(secret, sizeof(secret), "%s/secret", f->folder);
    write_file(secret, "AAAA\n", 0644);
    assert_refused(f, "auth\n    key\n        secret_file = secret\n", 3,
                   "may be read by everybody");
    assert_refused(f, "auth\n    key\n        secret_file = nothing\n", 3, "cannot read");
}

/* A flag beats a variable, a variable a file, in whatever order they are read. */
static void the_stronger_source_wins(void **state)
{
    struct fixture *f = *state;
    char *argv[] = {"--port", "1111"};
    setenv("CHATMESH_PORT", "2222", 1);
    setenv("CHATMESH_DRAIN_MS", "22", 1);
    setenv("CHATMESH_JOIN", "tcp://x:1, tcp://y:2", 1);
    assert_int_equal(read_flags(f, CONFIG_GATEWAY, 2, argv), RC_OK);
    assert_int_equal(config_read_environment(&f->config, CONFIG_GATEWAY, &f->sentence), RC_OK);
    assert_int_equal(read_text(f, "http\n    port = 3333\ngateway\n    drain_ms = 33\n"
                                  "mesh\n    join = tcp://z:3\nlimits\n    ping_ms = 333\n"),
                     RC_OK);
    unsetenv("CHATMESH_PORT");
    unsetenv("CHATMESH_DRAIN_MS");
    unsetenv("CHATMESH_JOIN");
    assert_int_equal(f->config.port, 1111);
    assert_int_equal(f->config.drain_ms, 22);
    assert_int_equal(f->config.ping_ms, 333);
    assert_int_equal(f->config.join.count, 2);
    assert_string_equal(f->config.join.items[1], "tcp://y:2");
}

/* A wrong variable is named. */
static void a_wrong_variable_is_refused(void **state)
{
    struct fixture *f = *state;
    setenv("CHATMESH_PORT", "x", 1);
    assert_int_equal(config_read_environment(&f->config, CONFIG_GATEWAY, &f->sentence), RC_CONFIG);
    assert_int_equal(config_read_environment(&f->config, CONFIG_ROUTER, &f->sentence), RC_OK);
    unsetenv("CHATMESH_PORT");
    assert_non_null(strstr(f->sentence.text, "CHATMESH_PORT is a number"));
}

/* A misspelt variable is told with its name and what was meant, and its value is not; one of
 * another command, or an empty one, is none of our business. */
static void an_unknown_variable_is_refused(void **state)
{
    struct fixture *f = *state;
    setenv("CHATMESH_PROT", "s3cret", 1);
    assert_int_equal(config_read_environment(&f->config, CONFIG_GATEWAY, &f->sentence), RC_CONFIG);
    assert_non_null(
        strstr(f->sentence.text, "CHATMESH_PROT is set in the environment, and no option"));
    assert_non_null(strstr(f->sentence.text, "did you mean CHATMESH_PORT"));
    assert_null(strstr(f->sentence.text, "s3cret"));
    assert_int_equal(config_read_environment(&f->config, 0, &f->sentence), RC_OK);
    setenv("CHATMESH_PROT", "", 1);
    setenv("CHATMESH_HANDOVER_MS", "5", 1);
    setenv("CHATMESHED", "x", 1);
    assert_int_equal(config_read_environment(&f->config, CONFIG_GATEWAY, &f->sentence), RC_OK);
    unsetenv("CHATMESH_PROT");
    unsetenv("CHATMESH_HANDOVER_MS");
    unsetenv("CHATMESHED");
}

/* Both forms of a flag, lists that grow, booleans without a value, times with a unit. */
static void flags_are_read(void **state)
{
    struct fixture *f = *state;
    char *gateway[] = {"--id=g1", "--join", "tcp://a:1", "--join=tcp://b:1", "--dev-tokens"};
    char *token[] = {"--user", "alice", "--ttl", "15m"};
    assert_int_equal(read_flags(f, CONFIG_GATEWAY, 5, gateway), RC_OK);
    assert_string_equal(f->config.id, "g1");
    assert_int_equal(f->config.join.count, 2);
    assert_int_equal(f->config.dev_tokens, 1);
    assert_int_equal(read_flags(f, CONFIG_TOKEN, 4, token), RC_OK);
    assert_int_equal(f->config.ttl, 900);
}

/* A flag of another command is unknown here, a misspelt one is told its neighbour. */
static void an_unknown_flag_is_refused(void **state)
{
    struct fixture *f = *state;
    char *misspelt[] = {"--prot", "1"};
    char *foreign[] = {"--respawn"};
    char *bare[] = {"--port"};
    char *short_one[] = {"-x"};
    char *operand[] = {"x"};
    char *bad_time[] = {"--ttl", "3 weeks"};
    assert_int_equal(read_flags(f, CONFIG_GATEWAY, 2, misspelt), RC_CONFIG);
    assert_string_equal(f->sentence.text, "unknown option --prot; did you mean --port?");
    assert_int_equal(read_flags(f, CONFIG_ROUTER, 1, foreign), RC_CONFIG);
    assert_int_equal(read_flags(f, CONFIG_GATEWAY, 1, bare), RC_CONFIG);
    assert_string_equal(f->sentence.text, "--port needs a value");
    assert_int_equal(read_flags(f, CONFIG_GATEWAY, 1, short_one), RC_CONFIG);
    assert_int_equal(read_flags(f, CONFIG_GATEWAY, 1, operand), RC_CONFIG);
    assert_string_equal(f->sentence.text, "\"x\" is one argument too many");
    assert_int_equal(read_flags(f, CONFIG_TOKEN, 2, bad_time), RC_CONFIG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        TEST(options_begin_with_their_defaults),
        TEST(a_file_sets_options),
        TEST(a_path_in_a_file_counts_from_its_folder),
        TEST(an_unknown_key_is_refused_with_its_line),
        TEST(a_wrong_value_is_refused_with_its_line),
        TEST(a_value_that_breaks_its_rule_is_refused_with_its_line),
        TEST(every_source_asks_the_rule),
        TEST(an_origin_is_scheme_host_and_port),
        TEST(a_url_for_clients_is_of_a_websocket),
        TEST(an_api_key_is_a_digest),
        TEST(defaults_and_long_paths_are_judged),
        TEST(a_malformed_line_is_refused_with_its_number),
        TEST(a_list_holds_so_many_and_no_more),
        TEST(a_file_that_cannot_be_read_is_refused),
        TEST(a_fifo_is_refused_at_once),
        TEST(keys_are_read),
        TEST(an_incomplete_key_is_refused),
        TEST(a_key_with_two_secrets_is_refused),
        TEST(a_value_knows_where_it_was_set),
        TEST(a_secret_that_everybody_may_read_is_refused),
        TEST(the_stronger_source_wins),
        TEST(a_wrong_variable_is_refused),
        TEST(an_unknown_variable_is_refused),
        TEST(flags_are_read),
        TEST(an_unknown_flag_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
