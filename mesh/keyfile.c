#include "mesh/keyfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zmq.h>

#include "mesh/base/check.h"
#include "mesh/base/crypto.h"

#define HEX_SECRET_SIZE 64u

/* ---- Make ---- */

static void key_id(const uint8_t public_key[KEYFILE_KEY_SIZE], char id[17])
{
    uint8_t digest[16];
    struct slice parts[2] = {slice_string("chatmesh key"), slice_of(public_key, KEYFILE_KEY_SIZE)};
    crypto_digest(digest, sizeof(digest), parts, 2);
    crypto_hex(digest, 8, id);
}

static enum rc write_all(int fd, const char *bytes, size_t size)
{
    while (size > 0) {
        ssize_t written = write(fd, bytes, size);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return RC_IO;
        bytes += written;
        size -= (size_t)written;
    }
    return fsync(fd) == 0 ? RC_OK : RC_IO;
}

static int print_key(char *text, size_t size_max)
{
    char public_text[KEYFILE_TEXT_SIZE];
    char secret_text[KEYFILE_TEXT_SIZE];
    uint8_t public_key[KEYFILE_KEY_SIZE];
    uint8_t cluster_secret[HEX_SECRET_SIZE / 2];
    char secret_hex[HEX_SECRET_SIZE + 1];
    char id[17];
    CHECK(zmq_curve_keypair(public_text, secret_text) ==
          0); /* Fails only without CURVE built in. */
    CHECK(zmq_z85_decode(public_key, public_text) != NULL);
    key_id(public_key, id);
    crypto_random(cluster_secret, sizeof(cluster_secret));
    crypto_hex(cluster_secret, sizeof(cluster_secret), secret_hex);
    int size = snprintf(text, size_max,
                        "#   Chatmesh cluster key: the same file on every node, and nowhere else.\n"
                        "curve\n"
                        "    public-key = \"%s\"\n"
                        "    secret-key = \"%s\"\n"
                        "cluster\n"
                        "    id = \"%s\"\n"
                        "    secret = \"%s\"\n"
                        "#   While keys are being changed, the public keys of other key files:\n"
                        "accept\n"
                        "#   key = \"...\"\n",
                        public_text, secret_text, id, secret_hex);
    crypto_wipe(secret_text, sizeof(secret_text));
    crypto_wipe(secret_hex, sizeof(secret_hex));
    crypto_wipe(cluster_secret, sizeof(cluster_secret));
    return size;
}

/* Nothing can be written at all, or is it the path that is wrong? */
static enum rc rc_of_open(int error)
{
    return error == EIO || error == ENOSPC || error == EDQUOT ? RC_IO : RC_CONFIG;
}

enum rc keyfile_generate(const char *path, struct sentence *sentence)
{
    if (path[0] == '\0')
        return sentence_write(sentence, RC_CONFIG, "a key file needs a name");
    crypto_start();
    char text[1024];
    int size = print_key(text, sizeof(text));
    CHECK(size > 0 && (size_t)size < sizeof(text));
    enum rc rc = RC_OK;
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0 && errno == EEXIST) {
        rc = sentence_write(sentence, RC_CONFLICT, "%s exists already; a key is never overwritten",
                            path);
    } else if (fd < 0) {
        rc = sentence_write(sentence, rc_of_open(errno), "%s cannot be created: %s", path,
                            strerror(errno));
    } else {
        rc = write_all(fd, text, (size_t)size);
        if (close(fd) != 0)
            rc = RC_IO;
        if (rc != RC_OK) {
            sentence_write(sentence, rc, "%s cannot be written: %s", path, strerror(errno));
            unlink(path);
        }
    }
    crypto_wipe(text, sizeof(text));
    return rc;
}

/* ---- Load ---- */

/* The checks are on the open file, so that it cannot be exchanged between check and read. */
static enum rc check_file(int fd, const char *path, struct sentence *sentence)
{
    struct stat st;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        return sentence_write(sentence, RC_CONFIG, "%s is not a file", path);
    if (st.st_uid != geteuid() && st.st_uid != 0)
        return sentence_write(sentence, RC_CONFIG,
                              "key file %s belongs to user %u, not to the user the node runs as",
                              path, (unsigned)st.st_uid);
    if ((st.st_mode & (S_IRWXG | S_IRWXO)) != 0)
        return sentence_write(sentence, RC_CONFIG,
                              "key file %s is open to others (mode %04o): chmod 600 it", path,
                              (unsigned)(st.st_mode & 07777));
    if (st.st_size > (off_t)KEYFILE_BYTES_MAX)
        return sentence_write(sentence, RC_CONFIG, "%s is too large for a key file", path);
    return RC_OK;
}

/* The caller's bytes are zero and have room for one more: the text ends with a NUL. */
static enum rc read_file(const char *path, char *bytes, struct sentence *sentence)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return sentence_write(sentence, RC_CONFIG, "key file %s cannot be read: %s", path,
                              strerror(errno));
    enum rc rc = check_file(fd, path, sentence);
    size_t size = 0;
    ssize_t got = 1;
    while (rc == RC_OK && got > 0 && size < KEYFILE_BYTES_MAX) {
        got = read(fd, bytes + size, KEYFILE_BYTES_MAX - size);
        if (got < 0)
            rc = sentence_write(sentence, RC_CONFIG, "key file %s cannot be read: %s", path,
                                strerror(errno));
        else
            size += (size_t)got;
    }
    close(fd);
    return rc;
}

static enum rc take_accepted(struct keyfile *key, const char *text)
{
    uint32_t at = key->accepted_count;
    if (strlen(text) != KEYFILE_TEXT_SIZE - 1 || at > KEYFILE_ACCEPT_MAX ||
        zmq_z85_decode(key->accepted[at], text) == NULL)
        return RC_CONFIG;
    memcpy(key->accepted_text[at], text, KEYFILE_TEXT_SIZE);
    key->accepted_count++;
    return RC_OK;
}

static enum rc take_secret(struct keyfile *key, const char *hex)
{
    if (strlen(hex) != HEX_SECRET_SIZE || strspn(hex, "0123456789abcdef") != HEX_SECRET_SIZE)
        return RC_CONFIG;
    for (size_t i = 0; i < HEX_SECRET_SIZE / 2; i++) {
        char pair[3] = {hex[2 * i], hex[2 * i + 1], '\0'};
        key->cluster_secret[i] = (uint8_t)strtoul(pair, NULL, 16);
        crypto_wipe(pair, sizeof(pair));
    }
    return RC_OK;
}

/* The own public key comes first in the file, and so becomes accepted[0]. */
static enum rc take_value(struct keyfile *key, const char *section, const char *name,
                          const char *value)
{
    if (strcmp(section, "curve") == 0 && strcmp(name, "public-key") == 0) {
        if (key->accepted_count != 0 || take_accepted(key, value) != RC_OK)
            return RC_CONFIG;
        memcpy(key->public_text, value, KEYFILE_TEXT_SIZE);
        return RC_OK;
    }
    if (strcmp(section, "curve") == 0 && strcmp(name, "secret-key") == 0) {
        if (strlen(value) != KEYFILE_TEXT_SIZE - 1)
            return RC_CONFIG;
        memcpy(key->secret_text, value, KEYFILE_TEXT_SIZE);
        return RC_OK;
    }
    if (strcmp(section, "cluster") == 0 && strcmp(name, "id") == 0)
        return RC_OK; /* For people; ours is computed. */
    if (strcmp(section, "cluster") == 0 && strcmp(name, "secret") == 0)
        return take_secret(key, value);
    if (strcmp(section, "accept") == 0 && strcmp(name, "key") == 0)
        return key->accepted_count > 0 ? take_accepted(key, value) : RC_CONFIG;
    return RC_CONFIG;
}

/* One line, changed in place: a section's name at its beginning, or an indented name = "value". */
static enum rc take_line(struct keyfile *key, const char **section, char *line)
{
    size_t indent = strspn(line, " ");
    size_t size = strlen(line);
    while (size > indent && strchr(" \r", line[size - 1]) != NULL)
        line[--size] = '\0';
    char *name = line + indent;
    if (*name == '\0' || *name == '#')
        return RC_OK;
    if (indent == 0) {
        *section = name;
        bool is_known = strcmp(name, "curve") == 0 || strcmp(name, "cluster") == 0 ||
                        strcmp(name, "accept") == 0;
        return is_known ? RC_OK : RC_CONFIG;
    }
    char *equals = strchr(name, '=');
    if (equals == NULL || equals == name)
        return RC_CONFIG;
    char *value = equals + 1 + strspn(equals + 1, " ");
    do
        *equals-- = '\0';
    while (equals > name && *equals == ' ');
    size_t value_size = strlen(value);
    if (value_size < 2 || value[0] != '"' || value[value_size - 1] != '"')
        return RC_CONFIG;
    value[value_size - 1] = '\0';
    return take_value(key, *section, name, value + 1);
}

static enum rc take_lines(struct keyfile *key, char *text, const char *path,
                          struct sentence *sentence)
{
    const char *section = "";
    unsigned number = 1;
    for (char *line = text; line != NULL; number++) {
        char *end = strchr(line, '\n');
        if (end != NULL)
            *end = '\0';
        if (take_line(key, &section, line) != RC_OK)
            return sentence_write(sentence, RC_CONFIG, "%s:%u: this is not a line of a key file",
                                  path, number);
        line = end != NULL ? end + 1 : NULL;
    }
    char derived[KEYFILE_TEXT_SIZE];
    if (key->public_text[0] == '\0' || key->secret_text[0] == '\0' ||
        zmq_curve_public(derived, key->secret_text) != 0 || strcmp(derived, key->public_text) != 0)
        return sentence_write(sentence, RC_CONFIG,
                              "%s: its curve section does not hold a pair of keys", path);
    static const uint8_t nothing[sizeof(key->cluster_secret)];
    if (crypto_equal(key->cluster_secret, nothing, sizeof(nothing)))
        return sentence_write(sentence, RC_CONFIG, "%s: cluster/secret is missing", path);
    key_id(key->accepted[0], key->id);
    return RC_OK;
}

enum rc keyfile_load(const char *path, struct keyfile *ret_key, struct sentence *sentence)
{
    crypto_start();
    char text[KEYFILE_BYTES_MAX + 1] = {0};
    struct keyfile key = {0};
    enum rc rc = read_file(path, text, sentence);
    if (rc == RC_OK)
        rc = take_lines(&key, text, path, sentence);
    if (rc == RC_OK)
        *ret_key = key;
    crypto_wipe(text, sizeof(text));
    keyfile_wipe(&key);
    return rc;
}

void keyfile_wipe(struct keyfile *key)
{
    crypto_wipe(key, sizeof(*key));
}

bool keyfile_accepts(const struct keyfile *key, const uint8_t public_key[KEYFILE_KEY_SIZE])
{
    bool accepted = false;
    for (uint32_t i = 0; i < key->accepted_count; i++)
        accepted |= crypto_equal(key->accepted[i], public_key, KEYFILE_KEY_SIZE);
    return accepted;
}
