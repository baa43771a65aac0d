/* The config file: ZPL (ZeroMQ RFC 4), read by CZMQ's zconfig.
 *
 * zconfig keeps no line numbers and writes what it dislikes to stdout, so the lines are looked over
 * first: their shape is checked here, where a mistake can be told with its line, and the line of
 * each item is noted. zconfig then yields the items in the order of the lines. */
#include "nodes/config.h"

#include <czmq.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mesh/base/crypto.h"
#include "mesh/base/mem.h"
#include "nodes/options.h"

#define FILE_SIZE_MAX   262144u
#define FILE_ITEMS_MAX  1024u
#define LINE_SIZE_MAX   1000u /* zconfig's own limit is 1024. */
#define PATH_DEPTH_MAX  3
#define NAME_CHARACTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_"

/* One `key` section under `auth`, gathered until the next one begins. */
struct key_section {
    bool open;
    uint32_t line; /* Of its heading. */
    struct auth_key key;
    bool has_secret, has_public, has_algorithm;
    uint8_t secret[64], public[64];
    size_t secret_size, public_size;
};

struct reader {
    struct config *config;
    struct sentence *error;
    const char *file;
    char folder[512]; /* Of the file, with a slash at the end; empty: the working directory. */
    bool others_may_read;
    enum rc rc;                     /* Of the items so far. */
    uint32_t lines[FILE_ITEMS_MAX]; /* The line of each item, in order. */
    uint32_t line_count;
    uint32_t at; /* The next item. */
    char names[PATH_DEPTH_MAX][64];
    bool seen[CONFIG_OPTION_COUNT];
    struct key_section section;
};

static enum rc fail_at(struct reader *r, uint32_t line, const char *path, const char *why)
{
    return sentence_write(r->error, RC_CONFIG, "%s:%u: %s%s%s", r->file, line, path,
                          path[0] ? ": " : "", why);
}

/* Open a file that is one: a FIFO would block whoever opens it, hence O_NONBLOCK. NULL with the
 * reason; the mode otherwise. */
static FILE *open_regular(const char *name, mode_t *ret_mode, const char **ret_reason)
{
    struct stat status;
    int fd = open(name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    bool is_known = fd >= 0 && fstat(fd, &status) == 0;
    FILE *f = is_known && S_ISREG(status.st_mode) ? fdopen(fd, "r") : NULL;
    if (f == NULL) {
        *ret_reason = is_known && !S_ISREG(status.st_mode) ? "it is not a file" : strerror(errno);
        if (fd >= 0)
            close(fd);
        return NULL;
    }
    *ret_mode = status.st_mode;
    return f;
}

/* ---- The look over the lines ---- */

/* What follows the name: nothing, or = and a bare or quoted value, then perhaps a comment. */
static const char *value_mistake(const char *at)
{
    at += strspn(at, " ");
    if (*at == '\0' || *at == '#')
        return NULL;
    if (*at != '=')
        return "expected = and a value after the name";
    at += 1 + strspn(at + 1, " ");
    if (*at != '"' && *at != '\'')
        return NULL;
    const char *end = strchr(at + 1, *at);
    if (end == NULL)
        return "the quote is not closed";
    end += 1 + strspn(end + 1, " ");
    return *end == '\0' || *end == '#' ? NULL : "something follows the closing quote";
}

/* One line; *depth is that of the item before and becomes this one's. */
static enum rc look_at_line(struct reader *r, const char *line, uint32_t number, int *depth)
{
    size_t indent = strspn(line, " ");
    if (line[indent] == '\0' || line[indent] == '#')
        return RC_OK;
    if (line[indent] == '\t')
        return fail_at(r, number, "", "a tab: indent with four spaces");
    if (indent % 4 != 0)
        return fail_at(r, number, "", "the indentation is not a multiple of four spaces");
    int own = (int)(indent / 4);
    if (own > *depth + 1)
        return fail_at(r, number, "", "indented deeper than its section");
    if (own >= PATH_DEPTH_MAX)
        return fail_at(r, number, "", "no section is that deep");
    size_t size = strspn(line + indent, NAME_CHARACTERS);
    if (size == 0 || size >= sizeof(r->names[0]))
        return fail_at(r, number, "", "expected a name of letters, digits and _");
    const char *mistake = value_mistake(line + indent + size);
    if (mistake != NULL)
        return fail_at(r, number, "", mistake);
    if (r->line_count == FILE_ITEMS_MAX)
        return fail_at(r, number, "", "too many lines");
    r->lines[r->line_count++] = number;
    *depth = own;
    return RC_OK;
}

static enum rc look_at_lines(struct reader *r, char *text)
{
    int depth = -1;
    uint32_t number = 1;
    for (char *at = text; *at != '\0'; number++) {
        size_t size = strcspn(at, "\n");
        char line[LINE_SIZE_MAX + 1];
        if (size > LINE_SIZE_MAX)
            return fail_at(r, number, "", "the line is too long");
        memcpy(line, at, size);
        line[size] = '\0';
        while (size > 0 && (line[size - 1] == ' ' || line[size - 1] == '\r'))
            line[--size] = '\0';
        enum rc rc = look_at_line(r, line, number, &depth);
        if (rc != RC_OK)
            return rc;
        at += strcspn(at, "\n");
        at += *at == '\n';
    }
    return RC_OK;
}

/* ---- Keys ---- */

static enum rc decode_key_bytes(struct reader *r, uint32_t line, const char *path, const char *text,
                                uint8_t out[64], size_t *ret_size)
{
    if (crypto_base64url_decode(slice_string(text), out, 64, ret_size) != RC_OK)
        return fail_at(r, line, path, "is not base64url of at most 64 bytes, without padding");
    return RC_OK;
}

/* A file with the base64url text on its first line. */
static enum rc read_secret_file(struct reader *r, uint32_t line, const char *path,
                                const char *value)
{
    char name[1024], text[160], why[1200];
    snprintf(name, sizeof(name), "%s%s", value[0] == '/' ? "" : r->folder, value);
    const char *reason;
    mode_t mode;
    FILE *f = open_regular(name, &mode, &reason);
    if (f == NULL) {
        snprintf(why, sizeof(why), "cannot read %s: %s", name, reason);
        return fail_at(r, line, path, why);
    }
    bool is_read = fgets(text, sizeof(text), f) != NULL;
    fclose(f);
    if ((mode & 07) != 0) {
        snprintf(why, sizeof(why), "%s may be read by everybody: chmod 600 it", name);
        return fail_at(r, line, path, why);
    }
    if (!is_read)
        return fail_at(r, line, path, "the file is empty");
    text[strcspn(text, "\r\n")] = '\0';
    enum rc rc = decode_key_bytes(r, line, path, text, r->section.secret, &r->section.secret_size);
    crypto_wipe(text, sizeof(text));
    return rc;
}

static const char two_secrets[] =
    "this key has a secret already: give one, either in secret or in secret_file";

static enum rc read_key_item(struct reader *r, uint32_t line, const char *path, const char *name,
                             const char *value)
{
    struct key_section *s = &r->section;
    if (strcmp(name, "id") == 0) {
        if (strlen(value) >= sizeof(s->key.id))
            return fail_at(r, line, path, "is longer than 64 bytes");
        snprintf(s->key.id, sizeof(s->key.id), "%s", value);
        return RC_OK;
    }
    if (strcmp(name, "algorithm") == 0) {
        s->has_algorithm = true;
        s->key.algorithm = strcmp(value, "HS256") == 0 ? AUTH_HS256 : AUTH_EDDSA;
        if (s->key.algorithm == AUTH_EDDSA && strcmp(value, "EdDSA") != 0)
            return fail_at(r, line, path, "is HS256 or EdDSA");
        return RC_OK;
    }
    if (strcmp(name, "public") == 0) {
        s->has_public = true;
        return decode_key_bytes(r, line, path, value, s->public, &s->public_size);
    }
    if (strcmp(name, "secret") == 0) {
        if (r->others_may_read)
            return fail_at(r, line, path, "this file may be read by everybody: chmod 600 it");
        if (s->has_secret)
            return fail_at(r, line, path, two_secrets);
        s->has_secret = true;
        return decode_key_bytes(r, line, path, value, s->secret, &s->secret_size);
    }
    if (strcmp(name, "secret_file") == 0) {
        if (s->has_secret)
            return fail_at(r, line, path, two_secrets);
        s->has_secret = true;
        return read_secret_file(r, line, path, value);
    }
    return RC_NOT_FOUND;
}

/* The section is complete: make it a key. */
static enum rc close_key(struct reader *r)
{
    struct key_section *s = &r->section;
    if (!s->open)
        return RC_OK;
    s->open = false;
    if (s->key.id[0] == '\0')
        return fail_at(r, s->line, "auth/key", "has no id");
    if (!s->has_algorithm)
        return fail_at(r, s->line, "auth/key", "has no algorithm: HS256 or EdDSA");
    if (s->key.algorithm == AUTH_HS256) {
        if (!s->has_secret || s->secret_size < 32)
            return fail_at(r, s->line, "auth/key",
                           "HS256 needs a secret or secret_file of 32 to 64 bytes");
        memcpy(s->key.bytes, s->secret, s->secret_size);
        s->key.size = (uint32_t)s->secret_size;
        s->key.can_sign = true;
    } else {
        if (s->has_secret && s->secret_size != 64)
            return fail_at(r, s->line, "auth/key", "an EdDSA secret has 64 bytes");
        if (s->has_public && s->public_size != 32)
            return fail_at(r, s->line, "auth/key", "an EdDSA public key has 32 bytes");
        if (!s->has_secret && !s->has_public)
            return fail_at(r, s->line, "auth/key", "EdDSA needs a public key");
        if (s->has_secret && s->has_public && memcmp(s->secret + 32, s->public, 32) != 0)
            return fail_at(r, s->line, "auth/key", "the secret is not that of this public key");
        /* An Ed25519 secret key ends with its public key (RFC 8032, section 5.1.5). */
        memcpy(s->key.bytes, s->has_public ? s->public : s->secret + 32, 32);
        s->key.size = 32;
        memcpy(s->key.sign, s->secret, 64);
        s->key.can_sign = s->has_secret;
    }
    if (auth_add_key(&r->config->auth, &s->key) != RC_OK)
        return fail_at(r, s->line, "auth/key",
                       "is one too many, or its id is taken or not [A-Za-z0-9_-]{1,64}");
    return RC_OK;
}

/* ---- Items ---- */

static enum rc read_option(struct reader *r, uint32_t line, const char *path, const char *value)
{
    enum config_option option = option_by_path(path);
    char why[256], where[1200], joined[1600];
    if (option == CONFIG_OPTION_COUNT) {
        const char *nearest = option_nearest_path(path);
        snprintf(why, sizeof(why), "unknown key%s%s%s", nearest != NULL ? "; did you mean " : "",
                 nearest != NULL ? nearest : "", nearest != NULL ? "?" : "");
        return fail_at(r, line, path, why);
    }
    const struct option_row *row = &option_rows[option];
    if (r->seen[option] && row->kind != OPTION_list)
        return fail_at(r, line, path, "is given twice");
    r->seen[option] = true;
    if (row->kind == OPTION_path && value[0] != '/' && value[0] != '\0') {
        snprintf(joined, sizeof(joined), "%s%s", r->folder, value);
        value = joined;
    }
    if (option == CONFIG_OPTION_webhook_secret && r->others_may_read)
        return fail_at(r, line, path, "this file may be read by everybody: chmod 600 it");
    snprintf(where, sizeof(where), "%s:%u: %s", r->file, line, path);
    return config_set(r->config, option, CONFIG_FILE, value, where, r->error);
}

/* Is there any key under this section? */
static bool is_section(const char *path)
{
    size_t size = strlen(path);
    if (strcmp(path, "auth") == 0)
        return true;
    for (uint32_t i = 0; i < CONFIG_OPTION_COUNT; i++)
        if (strncmp(option_rows[i].path, path, size) == 0 && option_rows[i].path[size] == '/')
            return true;
    return false;
}

static enum rc read_item(struct reader *r, zconfig_t *item, int level)
{
    if (level == 0)
        return RC_OK; /* The root. */
    if (r->at == r->line_count || level > PATH_DEPTH_MAX)
        return sentence_write(r->error, RC_CONFIG, "%s: zconfig reads it otherwise than we do",
                              r->file);
    uint32_t line = r->lines[r->at++];
    const char *value = zconfig_value(item) != NULL ? zconfig_value(item) : "";
    snprintf(r->names[level - 1], sizeof(r->names[0]), "%s", zconfig_name(item));
    char path[PATH_DEPTH_MAX * 64 + 3];
    size_t size = 0;
    for (int i = 0; i < level; i++)
        size += (size_t)snprintf(path + size, sizeof(path) - size, "%s%s", i > 0 ? "/" : "",
                                 r->names[i]);
    if (level == 3 && strncmp(path, "auth/key/", 9) == 0) {
        enum rc rc = read_key_item(r, line, path, r->names[2], value);
        return rc == RC_NOT_FOUND ? read_option(r, line, path, value) : rc;
    }
    enum rc rc = close_key(r);
    if (rc != RC_OK)
        return rc;
    if (strcmp(path, "auth/key") == 0) {
        memset(&r->section, 0, sizeof(r->section));
        r->section.open = true;
        r->section.line = line;
        return RC_OK;
    }
    if (level == 1 && value[0] == '\0' && is_section(path))
        return RC_OK;
    return read_option(r, line, path, value);
}

static int on_item(zconfig_t *item, void *context, int level)
{
    struct reader *r = context;
    r->rc = read_item(r, item, level);
    return r->rc == RC_OK ? 0 : -1;
}

static enum rc read_text(struct reader *r, char *text)
{
    enum rc rc = look_at_lines(r, text);
    if (rc != RC_OK)
        return rc;
    zconfig_t *root = zconfig_str_load(text);
    if (root == NULL)
        return sentence_write(r->error, RC_CONFIG, "%s: is not ZPL", r->file);
    zconfig_execute(root, on_item, r); /* What it returns is also in r->rc. */
    zconfig_destroy(&root);
    return r->rc != RC_OK ? r->rc : close_key(r);
}

enum rc config_read_file(struct config *c, const char *file, struct sentence *error)
{
    const char *reason;
    mode_t mode;
    FILE *f = open_regular(file, &mode, &reason);
    if (f == NULL)
        return sentence_write(error, RC_CONFIG, "%s: cannot read it: %s", file, reason);
    char *text = mem_alloc(FILE_SIZE_MAX + 1);
    size_t size = fread(text, 1, FILE_SIZE_MAX + 1, f);
    fclose(f);
    struct reader *r = mem_zero(sizeof(*r));
    r->config = c;
    r->error = error;
    r->file = file;
    r->others_may_read = (mode & 07) != 0;
    const char *slash = strrchr(file, '/');
    if (slash != NULL)
        snprintf(r->folder, sizeof(r->folder), "%.*s", (int)(slash - file) + 1, file);
    enum rc rc;
    if (size > FILE_SIZE_MAX || memchr(text, '\0', size) != NULL) {
        rc =
            sentence_write(error, RC_CONFIG, "%s: is no config file: too large, or not text", file);
    } else {
        text[size] = '\0';
        rc = read_text(r, text);
    }
    crypto_wipe(text, FILE_SIZE_MAX + 1);
    crypto_wipe(r, sizeof(*r));
    mem_free(r);
    mem_free(text);
    return rc;
}
