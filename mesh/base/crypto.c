#include "mesh/base/crypto.h"

#include <sodium.h>

#include "mesh/base/check.h"

void crypto_start(void)
{
    CHECK(sodium_init() >= 0);
}

void crypto_random(void *bytes, size_t size)
{
    randombytes_buf(bytes, size);
}

uint64_t crypto_random_u64(void)
{
    uint64_t value;
    randombytes_buf(&value, sizeof(value));
    return value;
}

uint64_t crypto_hash64(const uint8_t key[16], struct slice bytes)
{
    uint8_t out[crypto_shorthash_BYTES];
    static const char nothing = 0;
    const char *base = bytes.size != 0 ? bytes.base : &nothing;
    crypto_shorthash(out, (const uint8_t *)base, bytes.size, key);
    uint64_t hash;
    memcpy(&hash, out, sizeof(hash));
    return hash;
}

void crypto_digest(uint8_t *out, size_t size_out, const struct slice *parts, size_t count)
{
    crypto_generichash_state state;
    crypto_generichash_init(&state, NULL, 0, size_out);
    for (size_t i = 0; i < count; i++) {
        uint8_t size[4] = {(uint8_t)(parts[i].size >> 24), (uint8_t)(parts[i].size >> 16),
                           (uint8_t)(parts[i].size >> 8), (uint8_t)parts[i].size};
        crypto_generichash_update(&state, size, sizeof(size));
        if (parts[i].size != 0)
            crypto_generichash_update(&state, (const uint8_t *)parts[i].base, parts[i].size);
    }
    crypto_generichash_final(&state, out, size_out);
}

void crypto_sha256(uint8_t out[32], struct slice message)
{
    crypto_hash_sha256(out, (const unsigned char *)message.base, message.size);
}

void crypto_hmac_sha256(uint8_t out[32], struct slice key, struct slice message)
{
    crypto_auth_hmacsha256_state state;
    crypto_auth_hmacsha256_init(&state, (const uint8_t *)key.base, key.size);
    crypto_auth_hmacsha256_update(&state, (const uint8_t *)message.base, message.size);
    crypto_auth_hmacsha256_final(&state, out);
    sodium_memzero(&state, sizeof(state));
}

bool crypto_ed25519_verify(const uint8_t signature[64], struct slice message,
                           const uint8_t public_key[32])
{
    return crypto_sign_verify_detached(signature, (const uint8_t *)message.base, message.size,
                                       public_key) == 0;
}

void crypto_ed25519_sign(uint8_t signature[64], struct slice message, const uint8_t secret_key[64])
{
    crypto_sign_detached(signature, NULL, (const uint8_t *)message.base, message.size, secret_key);
}

void crypto_ed25519_keypair(uint8_t public_key[32], uint8_t secret_key[64])
{
    crypto_sign_keypair(public_key, secret_key);
}

bool crypto_equal(const void *a, const void *b, size_t size)
{
    return sodium_memcmp(a, b, size) == 0;
}

void crypto_wipe(void *bytes, size_t size)
{
    sodium_memzero(bytes, size);
}

enum rc crypto_base64url_decode(struct slice text, uint8_t *out, size_t out_size_max,
                                size_t *ret_size)
{
    const char *end = NULL;
    /* libsodium 1.0.18 takes every byte beyond ASCII for `_` where char is signed. */
    for (uint32_t i = 0; i < text.size; i++)
        if ((uint8_t)text.base[i] >= 0x80)
            return RC_BAD_REQUEST;
    if (sodium_base642bin(out, out_size_max, text.base, text.size, NULL, ret_size, &end,
                          sodium_base64_VARIANT_URLSAFE_NO_PADDING) != 0)
        return RC_BAD_REQUEST;
    return end == text.base + text.size ? RC_OK : RC_BAD_REQUEST;
}

void crypto_base64url_encode(const void *bytes, size_t size, char *out)
{
    sodium_bin2base64(out, crypto_base64url_size(size), bytes, size,
                      sodium_base64_VARIANT_URLSAFE_NO_PADDING);
}

size_t crypto_base64url_size(size_t size)
{
    return sodium_base64_encoded_len(size, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
}

void crypto_hex(const void *bytes, size_t size, char *out)
{
    sodium_bin2hex(out, size * 2 + 1, bytes, size);
}

/* The table form, one byte a step: the fallback where SSE 4.2 is missing. */
static uint32_t crc32c_table(uint32_t crc, const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++)
            crc = (crc >> 1) ^ (0x82F63B78u & (0u - (crc & 1)));
    }
    return crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t crc32c_sse42(uint32_t crc, const uint8_t *bytes,
                                                               size_t size)
{
    uint64_t wide = crc;
    for (; size >= 8; bytes += 8, size -= 8) {
        uint64_t word;
        memcpy(&word, bytes, sizeof(word));
        wide = __builtin_ia32_crc32di(wide, word);
    }
    crc = (uint32_t)wide;
    for (; size > 0; bytes++, size--)
        crc = __builtin_ia32_crc32qi(crc, *bytes);
    return crc;
}
#endif

uint32_t crypto_crc32c(uint32_t crc, const void *bytes, size_t size)
{
    crc = ~crc;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("sse4.2"))
        return ~crc32c_sse42(crc, bytes, size);
#endif
    return ~crc32c_table(crc, bytes, size);
}
