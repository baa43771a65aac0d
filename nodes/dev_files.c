#include "nodes/dev_files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "gateway/json.h"
#include "mesh/base/crypto.h"
#include "mesh/keyfile.h"
#include "nodes/folder.h"

#define SECRET_SIZE    32u
#define STATE_SIZE_MAX 16384u
#define API_KEY_NAME   "dev"

struct dev_files_path dev_files_folder(const struct config *c)
{
    struct dev_files_path folder;
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    if (c->data != NULL)
        snprintf(folder.text, sizeof(folder.text), "%s", c->data);
    else if (state != NULL && state[0] == '/')
        snprintf(folder.text, sizeof(folder.text), "%s/chatmesh/dev", state);
    else if (home != NULL && home[0] == '/')
        snprintf(folder.text, sizeof(folder.text), "%s/.local/state/chatmesh/dev", home);
    else
        snprintf(folder.text, sizeof(folder.text), "/tmp/chatmesh-%u", (unsigned)getuid());
    return folder;
}

struct dev_files_path dev_files_join(const struct dev_files_path *folder, const char *name,
                                     const char *suffix)
{
    struct dev_files_path path;
    int size = snprintf(path.text, sizeof(path.text), "%s/%s%s%s", folder->text, name,
                        suffix != NULL ? "." : "", suffix != NULL ? suffix : "");
    if (size < 0 || (size_t)size >= sizeof(path.text))
        path.text[0] = '\0'; /* No such file: whoever opens it says so. */
    return path;
}

/* The key that signs a dev cluster's tokens, drawn once. */
static enum rc make_auth(const char *path, struct sentence *sentence)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 && errno == EEXIST)
        return RC_OK;
    FILE *f = fd >= 0 ? fdopen(fd, "w") : NULL;
    if (f == NULL)
        return sentence_write(sentence, RC_CONFIG, "cannot write %s: %s", path, strerror(errno));
    uint8_t secret[SECRET_SIZE];
    char text[SECRET_SIZE * 2];
    crypto_random(secret, sizeof(secret));
    crypto_base64url_encode(secret, sizeof(secret), text);
    fprintf(f,
            "# Made by chatmesh dev: signs the tokens of this cluster.\n"
            "auth\n    key\n        id = \"dev\"\n        algorithm = \"HS256\"\n"
            "        secret = \"%s\"\n",
            text);
    crypto_wipe(secret, sizeof(secret));
    crypto_wipe(text, sizeof(text));
    if (fclose(f) != 0)
        return sentence_write(sentence, RC_CONFIG, "cannot write %s: %s", path, strerror(errno));
    return RC_OK;
}

enum rc dev_files_prepare(const struct dev_files_path *folder, struct sentence *sentence)
{
    static const char *const marks[] = {"cluster.key", "auth.zpl", "dev.lock", NULL};
    enum rc rc = folder_make(folder->text, sentence);
    if (rc == RC_OK)
        rc = folder_is_ours(folder->text, marks, sentence);
    if (rc != RC_OK)
        return rc;
    struct dev_files_path key = dev_files_join(folder, "cluster", "key");
    rc = keyfile_generate(key.text, sentence);
    if (rc != RC_OK && rc != RC_CONFLICT) /* A key that is there is used. */
        return rc;
    struct dev_files_path auth = dev_files_join(folder, "auth", "zpl");
    return make_auth(auth.text, sentence);
}

static enum rc write_api_key(const char *path, struct sentence *sentence)
{
    char text[API_KEY_SIZE + 1], line[API_KEY_LINE_SIZE_MAX + 1];
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    FILE *f = fd >= 0 ? fdopen(fd, "w") : NULL;
    if (f == NULL)
        return sentence_write(sentence, RC_CONFIG, "cannot write %s: %s", path, strerror(errno));
    api_key_make(API_KEY_NAME, text, line);
    fprintf(f, "%s\n", text);
    crypto_wipe(text, sizeof(text));
    if (fclose(f) != 0)
        return sentence_write(sentence, RC_CONFIG, "cannot write %s: %s", path, strerror(errno));
    return RC_OK;
}

enum rc dev_files_api_key(const struct dev_files_path *folder,
                          char ret_line[API_KEY_LINE_SIZE_MAX + 1], struct sentence *sentence)
{
    struct dev_files_path path = dev_files_join(folder, "api", "key");
    char text[API_KEY_SIZE + 2];
    enum rc rc = access(path.text, F_OK) != 0 ? write_api_key(path.text, sentence) : RC_OK;
    if (rc != RC_OK)
        return rc;
    FILE *f = fopen(path.text, "re");
    bool is_read = f != NULL && fgets(text, sizeof(text), f) != NULL;
    if (f != NULL)
        fclose(f);
    struct slice key = slice_of(text, is_read ? strcspn(text, "\r\n") : 0);
    if (key.size != API_KEY_SIZE || !api_key_is_one(key))
        return sentence_write(sentence, RC_CONFIG,
                              "%s holds no API key; without the file a new one is made", path.text);
    api_key_line(API_KEY_NAME, key, ret_line);
    crypto_wipe(text, sizeof(text));
    path = dev_files_join(folder, "api", "zpl");
    f = fopen(path.text, "we");
    bool is_written = f != NULL && fprintf(f, "auth\n    api_key = \"%s\"\n", ret_line) > 0;
    if (f != NULL && fclose(f) != 0)
        is_written = false;
    if (!is_written)
        return sentence_write(sentence, RC_CONFIG, "cannot write %s: %s", path.text,
                              strerror(errno));
    return RC_OK;
}

enum rc dev_files_lock(const struct dev_files_path *folder, struct sentence *sentence)
{
    struct dev_files_path path = dev_files_join(folder, "dev", "lock");
    int fd = open(path.text, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return sentence_write(sentence, RC_CONFIG, "cannot write %s: %s", path.text,
                              strerror(errno));
    if (flock(fd, LOCK_EX | LOCK_NB) == 0)
        return RC_OK; /* The descriptor stays open as long as the process lives. */
    close(fd);
    return sentence_write(sentence, RC_IN_USE, "another chatmesh dev is running in %s",
                          folder->text);
}

enum rc dev_files_write_state(const struct dev_files_path *folder,
                              const struct dev_files_joins *joins, const char *host, uint32_t port,
                              uint32_t gateways, struct sentence *sentence)
{
    struct dev_files_path path = dev_files_join(folder, "dev", "json");
    struct buf *state = buf_new(1024);
    buf_append_string(state, "{\"join\":[");
    for (uint32_t i = 0; i < joins->count; i++)
        buf_append_format(state, "%s\"%s\"", i > 0 ? "," : "", joins->endpoints[i]);
    buf_append_format(state, "],\"pid\":%d,\"gateways\":[", (int)getpid());
    for (uint32_t i = 0; i < gateways; i++)
        buf_append_format(state, "%s\"http://%s:%u\"", i > 0 ? "," : "", host, port + i);
    buf_append_string(state, "]}\n");
    FILE *f = fopen(path.text, "we");
    bool is_written = f != NULL && fwrite(state->bytes, 1, state->size, f) == state->size;
    if (f != NULL && fclose(f) != 0)
        is_written = false;
    buf_unref(&state);
    if (!is_written)
        return sentence_write(sentence, RC_CONFIG, "cannot write %s: %s", path.text,
                              strerror(errno));
    return RC_OK;
}

static void take_joins(struct json_value list, struct dev_files_joins *joins)
{
    struct json_value item;
    struct slice key;
    for (uint32_t at = 0; json_next(list, &at, &key, &item) && joins->count < DEV_ROUTERS_MAX;)
        if (item.type == JSON_STRING)
            snprintf(joins->endpoints[joins->count++], sizeof(joins->endpoints[0]), "%.*s",
                     (int)item.raw.size - 2, item.raw.base + 1);
}

enum rc dev_files_read_joins(const struct dev_files_path *folder, struct dev_files_joins *ret_joins,
                             struct sentence *sentence)
{
    struct dev_files_path path = dev_files_join(folder, "dev", "json");
    FILE *f = fopen(path.text, "re");
    if (f == NULL)
        return sentence_write(sentence, RC_CONFIG,
                              "%s holds no dev cluster: give --join ENDPOINT, or --data DIR of "
                              "one",
                              folder->text);
    char text[STATE_SIZE_MAX];
    struct slice state = slice_of(text, fread(text, 1, sizeof(text), f));
    fclose(f);
    const char *reason = NULL;
    ret_joins->count = 0;
    if (json_check(state, &reason) == RC_OK && state.base[0] == '{') {
        struct json_value object = {.type = JSON_OBJECT, .raw = state}, value;
        struct slice key;
        for (uint32_t at = 0; json_next(object, &at, &key, &value);)
            if (slice_equals(key, "join") && value.type == JSON_ARRAY)
                take_joins(value, ret_joins);
    }
    if (ret_joins->count == 0)
        return sentence_write(sentence, RC_CONFIG, "%s cannot be read", path.text);
    return RC_OK;
}

bool dev_files_is_born(const struct dev_files_path *folder)
{
    struct dev_files_path path = dev_files_join(folder, "dev", "born");
    return access(path.text, F_OK) == 0;
}

void dev_files_write_born(const struct dev_files_path *folder)
{
    struct dev_files_path path = dev_files_join(folder, "dev", "born");
    int fd = open(path.text, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd >= 0)
        close(fd);
}

void dev_files_write_pid(const struct dev_files_path *folder, const char *node, pid_t pid)
{
    struct dev_files_path path = dev_files_join(folder, node, "pid");
    FILE *f = fopen(path.text, "we");
    if (f == NULL)
        return; /* The cluster runs without it. */
    fprintf(f, "%d\n", (int)pid);
    fclose(f);
}

void dev_files_remove_pid(const struct dev_files_path *folder, const char *node)
{
    struct dev_files_path path = dev_files_join(folder, node, "pid");
    unlink(path.text);
}
