#include "gateway/api_key.h"

#include <stdio.h>

#include "mesh/base/check.h"
#include "mesh/base/crypto.h"

#define DIGEST_HEX_SIZE 64u
#define RANDOM_SIZE     32u

bool api_key_is_one(struct slice text)
{
    const size_t size = sizeof(API_KEY_PREFIX) - 1;
    return text.size >= size && memcmp(text.base, API_KEY_PREFIX, size) == 0;
}

bool api_key_name_is_valid(struct slice name)
{
    if (name.size == 0 || name.size > API_KEY_NAME_SIZE_MAX)
        return false;
    for (uint32_t i = 0; i < name.size; i++) {
        char c = name.base[i];
        bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!is_letter && !(c >= '0' && c <= '9') && c != '_' && c != '-')
            return false;
    }
    return true;
}

static int digit_of(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

enum rc api_key_parse(struct slice line, struct api_key *ret_key)
{
    const char *colon = line.size > 0 ? memchr(line.base, ':', line.size) : NULL;
    if (colon == NULL)
        return RC_CONFIG;
    struct slice name = slice_of(line.base, (size_t)(colon - line.base));
    struct slice hex = slice_of(colon + 1, line.size - name.size - 1);
    if (!api_key_name_is_valid(name) || hex.size != DIGEST_HEX_SIZE)
        return RC_CONFIG;
    struct api_key key = {.name = ""};
    memcpy(key.name, name.base, name.size);
    for (uint32_t i = 0; i < hex.size; i += 2) {
        int high = digit_of(hex.base[i]);
        int low = digit_of(hex.base[i + 1]);
        if (high < 0 || low < 0)
            return RC_CONFIG;
        key.digest[i / 2] = (uint8_t)(high << 4 | low);
    }
    *ret_key = key;
    return RC_OK;
}

enum rc api_key_add(struct api_keys *keys, struct slice line)
{
    struct api_key key;
    enum rc rc = api_key_parse(line, &key);
    if (rc == RC_OK && keys->count == API_KEYS_MAX)
        rc = RC_CONFIG;
    if (rc == RC_OK)
        keys->items[keys->count++] = key;
    return rc;
}

const struct api_key *api_key_find(const struct api_keys *keys, struct slice text)
{
    uint8_t digest[32];
    const struct api_key *found = NULL;
    crypto_sha256(digest, text);
    for (uint32_t i = 0; i < keys->count; i++)
        if (crypto_equal(digest, keys->items[i].digest, sizeof(digest)) && found == NULL)
            found = &keys->items[i];
    return found;
}

void api_key_line(const char *name, struct slice text, char ret_line[API_KEY_LINE_SIZE_MAX + 1])
{
    uint8_t digest[32];
    char hex[DIGEST_HEX_SIZE + 1];
    CHECK(api_key_name_is_valid(slice_string(name)));
    crypto_sha256(digest, text);
    crypto_hex(digest, sizeof(digest), hex);
    snprintf(ret_line, API_KEY_LINE_SIZE_MAX + 1, "%s:%s", name, hex);
}

void api_key_make(const char *name, char ret_text[API_KEY_SIZE + 1],
                  char ret_line[API_KEY_LINE_SIZE_MAX + 1])
{
    uint8_t random[RANDOM_SIZE];
    const size_t prefix_size = sizeof(API_KEY_PREFIX) - 1;
    crypto_random(random, sizeof(random));
    memcpy(ret_text, API_KEY_PREFIX, prefix_size);
    CHECK(prefix_size + crypto_base64url_size(sizeof(random)) == API_KEY_SIZE + 1);
    crypto_base64url_encode(random, sizeof(random), ret_text + prefix_size);
    crypto_wipe(random, sizeof(random));
    api_key_line(name, slice_of(ret_text, API_KEY_SIZE), ret_line);
}
