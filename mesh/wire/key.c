#include "mesh/wire/key.h"

#include "mesh/base/check.h"
#include "mesh/base/crypto.h"
#include "mesh/base/limits.h"

uint32_t key_conv_shard(const uint8_t cluster[16], uint32_t shards, struct slice conv)
{
    CHECK(shards > 0);
    return (uint32_t)(crypto_hash64(cluster, conv) % shards);
}

uint32_t key_user_shard(const uint8_t cluster[16], uint32_t shards, struct slice user)
{
    CHECK(shards > 0);
    /* Another key than for conversations, or a user would always meet a conversation of his
     * name. */
    uint8_t key[16];
    memcpy(key, cluster, sizeof(key));
    key[0] ^= 0x55;
    return (uint32_t)(crypto_hash64(key, user) % shards);
}

void key_direct(struct slice a, struct slice b, char id[KEY_DIRECT_SIZE])
{
    struct slice parts[3] = {slice_string("chatmesh direct"), a, b};
    if (slice_compare(a, b) > 0) {
        parts[1] = b;
        parts[2] = a;
    }
    uint8_t digest[24];
    char text[33];
    crypto_digest(digest, sizeof(digest), parts, 3);
    crypto_base64url_encode(digest, sizeof(digest), text);
    memcpy(id, "dm:", 3);
    memcpy(id + 3, text, 32);
}

static void put_group(const void *bytes, char id[KEY_GROUP_SIZE])
{
    char text[KEY_GROUP_SIZE - 2 + 1]; /* With a NUL. */
    crypto_base64url_encode(bytes, 16, text);
    memcpy(id, "g:", 2);
    memcpy(id + 2, text, KEY_GROUP_SIZE - 2);
}

void key_group(const uint64_t random[2], char id[KEY_GROUP_SIZE])
{
    put_group(random, id);
}

void key_group_of(const uint8_t cluster[16], struct slice creator, struct slice cid,
                  char id[KEY_GROUP_SIZE])
{
    const struct slice parts[] = {slice_string("chatmesh group"), slice_of(cluster, 16), creator,
                                  cid};
    uint8_t digest[16];
    crypto_digest(digest, sizeof(digest), parts, sizeof(parts) / sizeof(parts[0]));
    put_group(digest, id);
}

bool key_is_utf8(struct slice text)
{
    if (text.size == 0)
        return true; /* Absent: there is no pointer to count from. */
    const uint8_t *at = (const uint8_t *)text.base;
    const uint8_t *end = at + text.size;
    while (at < end) {
        uint8_t c = *at++;
        if (c < 0x80)
            continue;
        unsigned more = c >= 0xf0 ? 3 : c >= 0xe0 ? 2 : 1;
        uint32_t least = more == 3 ? 0x10000 : more == 2 ? 0x800 : 0x80;
        if (c < 0xc2 || c > 0xf4 || (size_t)(end - at) < more)
            return false;
        uint32_t point = c & (0x3fu >> more);
        for (unsigned i = 0; i < more; i++) {
            if ((*at & 0xc0) != 0x80)
                return false;
            point = point << 6 | (*at++ & 0x3fu);
        }
        if (point < least || point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff))
            return false;
    }
    return true;
}

static bool name_is_valid(struct slice name, size_t size_max)
{
    if (name.size == 0 || name.size > size_max || !key_is_utf8(name))
        return false;
    for (uint32_t i = 0; i < name.size; i++) {
        uint8_t c = (uint8_t)name.base[i];
        if (c < 0x20 || c == 0x7f)
            return false;
        if (c == 0xc2 && (uint8_t)name.base[i + 1] < 0xa0) /* U+0080..U+009F */
            return false;
    }
    return true;
}

static bool is_alphanumeric(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static bool id_is_valid(struct slice id, size_t size_max, const char *others)
{
    if (id.size == 0 || id.size > size_max)
        return false;
    for (uint32_t i = 0; i < id.size; i++)
        if (!is_alphanumeric(id.base[i]) && (id.base[i] == 0 || strchr(others, id.base[i]) == NULL))
            return false;
    return true;
}

bool key_conv_is_valid(struct slice conv)
{
    return id_is_valid(conv, LIMIT_CONV_SIZE_MAX, "._:~@-");
}

bool key_user_is_valid(struct slice user)
{
    return name_is_valid(user, LIMIT_USER_SIZE_MAX);
}

bool key_device_is_valid(struct slice device)
{
    return name_is_valid(device, LIMIT_DEVICE_SIZE_MAX);
}

bool key_cid_is_valid(struct slice cid)
{
    return name_is_valid(cid, LIMIT_CID_SIZE_MAX);
}

bool key_emoji_is_valid(struct slice emoji)
{
    return name_is_valid(emoji, LIMIT_EMOJI_SIZE_MAX);
}

bool key_node_is_valid(struct slice node)
{
    return id_is_valid(node, LIMIT_NODE_ID_SIZE_MAX, "_-");
}
