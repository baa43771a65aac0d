#include "nodes/tools.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "mesh/base/buf.h"
#include "mesh/base/crypto.h"
#include "mesh/keyfile.h"
#include "mesh/wire/key.h"
#include "nodes/dev_files.h"
#include "nodes/node_start.h"
#include "nodes/webhook_setup.h"

int tools_fail(int code, const char *format, ...)
{
    char sentence[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(sentence, sizeof(sentence), format, args);
    va_end(args);
    fprintf(stderr, "chatmesh: %s\n", sentence);
    return code;
}

/* Who gave a config means its keys: another cluster's would sign what nobody there takes. */
static int fail_no_key(const struct config *c)
{
    return tools_fail(EXIT_MISTAKE,
                      "%s has no auth/key to sign with: give the config that the gateways have, or "
                      "--data DIR of a dev cluster",
                      c->config.items[c->config.count - 1]);
}

/* Without --config: that of the dev cluster in --data. */
static int find_key(struct config *c)
{
    struct dev_files_path folder = dev_files_folder(c);
    struct dev_files_path auth = dev_files_join(&folder, "auth", "zpl");
    struct sentence sentence;
    if (c->auth.key_count > 0)
        return EXIT_FINE;
    if (c->config.count > 0 && c->source[CONFIG_OPTION_data] < CONFIG_ENVIRONMENT)
        return fail_no_key(c);
    if (c->data == NULL && access(auth.text, F_OK) != 0)
        return tools_fail(EXIT_MISTAKE, "no key to sign with: give --config FILE with an auth/key "
                                        "that has a secret, or --data DIR of a dev cluster");
    if (config_read_file(c, auth.text, &sentence) != RC_OK)
        return tools_fail(EXIT_MISTAKE, "%s", sentence.text);
    if (c->data == NULL)
        fprintf(stderr, "chatmesh: signed with the key of the dev cluster in %s\n", folder.text);
    return EXIT_FINE;
}

int tools_token(struct config *c)
{
    if (c->user == NULL || !key_user_is_valid(slice_string(c->user)))
        return tools_fail(EXIT_MISTAKE, "--user names whom the token is for: 1 to 128 bytes of "
                                        "UTF-8 without control characters");
    struct slice device = {0};
    if (c->device != NULL)
        device = slice_string(c->device);
    if (c->device != NULL && !key_device_is_valid(device))
        return tools_fail(EXIT_MISTAKE,
                          "--device is 1 to 64 bytes of UTF-8 without control characters");
    int code = find_key(c);
    if (code != EXIT_FINE)
        return code;
    struct buf *token = buf_new(512);
    uint64_t now_s = (uint64_t)time(NULL);
    enum rc rc = auth_sign(&c->auth, slice_string(c->user), device, now_s, c->ttl, token);
    if (rc == RC_OK)
        printf("%.*s\n", SLICE_ARGS(buf_slice(token)));
    buf_unref(&token);
    if (rc == RC_NOT_FOUND)
        return tools_fail(EXIT_MISTAKE, "none of the keys in the config can sign: a secret is "
                                        "needed");
    if (rc != RC_OK)
        return tools_fail(EXIT_FAILED, "no token was made: %s", rc_sentence(rc));
    return EXIT_FINE;
}

int tools_keygen(const char *file)
{
    struct sentence sentence;
    enum rc rc = keyfile_generate(file, &sentence);
    if (rc != RC_OK)
        return tools_fail(rc == RC_IO ? EXIT_FAILED : EXIT_MISTAKE, "%s", sentence.text);
    printf("%s: made; copy it to every node of the cluster, and to nobody else\n", file);
    return EXIT_FINE;
}

int tools_apikey(const char *name)
{
    char text[API_KEY_SIZE + 1];
    char line[API_KEY_LINE_SIZE_MAX + 1];
    if (!api_key_name_is_valid(slice_string(name)))
        return tools_fail(EXIT_MISTAKE, "an API key's name is 1 to 64 of [A-Za-z0-9_-]");
    api_key_make(name, text, line);
    printf(
        "%s\n\n"
        "That is the key, for whoever is to use it; it is kept nowhere. The gateways get this, in\n"
        "their config file, and take it at SIGHUP:\n\n"
        "auth\n"
        "    api_key = \"%s\"\n",
        text, line);
    crypto_wipe(text, sizeof(text));
    return EXIT_FINE;
}

int tools_config_check(const char *file)
{
    struct config c;
    struct sentence sentence;
    int code = EXIT_FINE;
    config_init(&c);
    if (config_read_file(&c, file, &sentence) != RC_OK)
        code = tools_fail(EXIT_MISTAKE, "%s", sentence.text);
    if (code == EXIT_FINE)
        code = node_start_check_key(&c);
    if (code == EXIT_FINE)
        code = webhook_setup_check(&c);
    config_fini(&c);
    if (code == EXIT_FINE)
        printf("%s: ok\n", file);
    return code;
}
