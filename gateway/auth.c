#include "gateway/auth.h"

#include "gateway/json.h"
#include "mesh/base/check.h"
#include "mesh/base/crypto.h"
#include "mesh/wire/key.h"

#define HS256_KEY_SIZE_MIN 32u /* RFC 7518, section 3.2. */
#define KID_SIZE_MAX       64u
#define SIGNATURE_SIZE_MAX 64u

/* ---- The key table ---- */

static bool kid_is_valid(struct slice kid)
{
    if (kid.size == 0 || kid.size > KID_SIZE_MAX)
        return false;
    for (uint32_t i = 0; i < kid.size; i++) {
        char c = kid.base[i];
        bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!is_letter && !(c >= '0' && c <= '9') && c != '_' && c != '-')
            return false;
    }
    return true;
}

static const struct auth_key *find_key(const struct auth *auth, struct slice kid)
{
    for (uint32_t i = 0; i < auth->key_count; i++)
        if (slice_equals(kid, auth->keys[i].id))
            return &auth->keys[i];
    return NULL;
}

static bool size_is_valid(const struct auth_key *key)
{
    switch (key->algorithm) {
    case AUTH_HS256:
        return key->size >= HS256_KEY_SIZE_MIN && key->size <= sizeof(key->bytes);
    case AUTH_EDDSA:
        return key->size == 32;
    default:
        return false;
    }
}

enum rc auth_add_key(struct auth *auth, const struct auth_key *key)
{
    struct slice id = slice_of(key->id, strnlen(key->id, sizeof(key->id)));
    if (auth->key_count == AUTH_KEYS_MAX || !kid_is_valid(id) || !size_is_valid(key) ||
        find_key(auth, id) != NULL)
        return RC_CONFIG;
    auth->keys[auth->key_count++] = *key;
    return RC_OK;
}

static const char *algorithm_name(enum auth_algorithm algorithm)
{
    return algorithm == AUTH_EDDSA ? "EdDSA" : "HS256";
}

/* ---- Verifying ---- */

struct verifying {
    const struct auth *auth;
    uint64_t now_s;
    struct slice header, claims, signature; /* As base64url. */
    struct slice signed_text;               /* header.claims */
    struct buf *text;                       /* The part being read, decoded. */
    struct buf *scratch;                    /* Its strings without escapes. */
    const char *reason;
};

static bool deny(struct verifying *v, const char *reason)
{
    v->reason = reason;
    return false;
}

/* Exactly three parts. */
static bool split(struct verifying *v, struct slice token)
{
    const char *end = token.base + token.size;
    const char *first = memchr(token.base, '.', token.size);
    const char *second = first != NULL ? memchr(first + 1, '.', (size_t)(end - first - 1)) : NULL;
    if (second == NULL || memchr(second + 1, '.', (size_t)(end - second - 1)) != NULL)
        return deny(v, "the token is malformed");
    v->header = slice_of(token.base, (size_t)(first - token.base));
    v->claims = slice_of(first + 1, (size_t)(second - first - 1));
    v->signature = slice_of(second + 1, (size_t)(end - second - 1));
    v->signed_text = slice_of(token.base, (size_t)(second - token.base));
    return true;
}

/* Decode a part into v->text; it must be one JSON object without a byte around it. */
static bool open_part(struct verifying *v, struct slice part, struct json_value *ret_object)
{
    const char *reason;
    size_t size;
    buf_clear(v->text);
    buf_clear(v->scratch);
    uint8_t *to = buf_reserve(v->text, part.size);
    buf_reserve(v->scratch, part.size);
    if (crypto_base64url_decode(part, to, part.size, &size) != RC_OK)
        return deny(v, "the token is malformed");
    v->text->size = size;
    struct slice text = buf_slice(v->text);
    if (json_check(text, &reason) != RC_OK || text.base[0] != '{')
        return deny(v, "the token is malformed");
    *ret_object = (struct json_value){.type = JSON_OBJECT, .raw = text};
    return true;
}

/* The member `name`, without resolving escapes in keys: nobody needs them in these, and a reader
 * that does resolve them might see another token. Names must be unique (RFC 7515, section 4). False
 * where it comes twice; absent: ret_value->raw.base is NULL. */
static bool member(struct json_value object, const char *name, struct json_value *ret_value)
{
    struct slice key;
    struct json_value value;
    *ret_value = (struct json_value){0};
    for (uint32_t at = 0; json_next(object, &at, &key, &value);) {
        if (memchr(key.base, '\\', key.size) != NULL)
            return false;
        if (!slice_equals(key, name))
            continue;
        if (ret_value->raw.base != NULL)
            return false;
        *ret_value = value;
    }
    return true;
}

/* A string member. `ret_text` stays absent where the member is. */
static bool text_member(struct verifying *v, struct json_value object, const char *name,
                        struct slice *ret_text)
{
    struct json_value value;
    *ret_text = (struct slice){0};
    if (!member(object, name, &value))
        return deny(v, "the token is malformed");
    if (value.raw.base == NULL)
        return true;
    if (value.type != JSON_STRING)
        return deny(v, "the token is malformed");
    *ret_text = json_unescape(value.raw, v->scratch);
    return true;
}

/* RFC 8725, sections 3.1 and 3.10: nothing the token brings along may choose the key or the way it
 * is checked. `b64` would change what is signed (RFC 7797); `zip` and `enc` belong to other things.
 */
static bool header_is_plain(struct verifying *v, struct json_value header)
{
    static const char *const refused[] = {"jwk",      "jku",  "x5u", "x5c", "x5t",
                                          "x5t#S256", "crit", "b64", "zip", "enc"};
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        struct json_value value;
        if (!member(header, refused[i], &value) || value.raw.base != NULL)
            return deny(v, "the token's header holds a parameter that is not allowed");
    }
    return true;
}

/* The key that the header names, with the algorithm that the key has. A token without key id is
 * taken only where there is nothing to choose. */
static bool choose_key(struct verifying *v, const struct auth_key **ret_key)
{
    struct json_value header;
    struct slice algorithm, kid, type;
    if (!open_part(v, v->header, &header) || !header_is_plain(v, header) ||
        !text_member(v, header, "alg", &algorithm) || !text_member(v, header, "kid", &kid) ||
        !text_member(v, header, "typ", &type))
        return false;
    if (type.base != NULL && !slice_equals(type, "JWT"))
        return deny(v, "the token is not of type JWT");
    const struct auth_key *key = NULL;
    if (kid.base != NULL)
        key = find_key(v->auth, kid);
    else if (v->auth->key_count == 1)
        key = &v->auth->keys[0];
    if (key == NULL)
        return deny(v, "the token's key is not known");
    if (!slice_equals(algorithm, algorithm_name(key->algorithm)))
        return deny(v, "the token's algorithm is not its key's");
    *ret_key = key;
    return true;
}

static bool check_signature(struct verifying *v, const struct auth_key *key)
{
    uint8_t given[SIGNATURE_SIZE_MAX];
    uint8_t expected[32];
    size_t size;
    bool is_good = false;
    if (crypto_base64url_decode(v->signature, given, sizeof(given), &size) != RC_OK)
        return deny(v, "the token's signature is wrong");
    if (key->algorithm == AUTH_EDDSA) {
        is_good = size == 64 && crypto_ed25519_verify(given, v->signed_text, key->bytes);
    } else if (size == sizeof(expected)) {
        crypto_hmac_sha256(expected, slice_of(key->bytes, key->size), v->signed_text);
        is_good = crypto_equal(given, expected, sizeof(expected));
        crypto_wipe(expected, sizeof(expected));
    }
    return is_good || deny(v, "the token's signature is wrong");
}

/* Seconds since 1970. RFC 7519, section 2 allows a fraction, which is cut off. */
static bool time_member(struct verifying *v, struct json_value claims, const char *name,
                        bool *ret_is_there, uint64_t *ret_time_s)
{
    struct json_value value;
    if (!member(claims, name, &value))
        return deny(v, "the token is malformed");
    *ret_is_there = value.raw.base != NULL;
    if (!*ret_is_there)
        return true;
    if (value.type == JSON_NUMBER && memchr(value.raw.base, 'e', value.raw.size) == NULL &&
        memchr(value.raw.base, 'E', value.raw.size) == NULL) {
        const char *point = memchr(value.raw.base, '.', value.raw.size);
        if (point != NULL)
            value.raw.size = (uint32_t)(point - value.raw.base);
    }
    return json_u64(value, ret_time_s) || deny(v, "the token is malformed");
}

static bool check_times(struct verifying *v, struct json_value claims, uint64_t *ret_expires_s)
{
    uint64_t not_before_s = 0;
    bool has_expiry, has_begin;
    if (!time_member(v, claims, "exp", &has_expiry, ret_expires_s) ||
        !time_member(v, claims, "nbf", &has_begin, &not_before_s))
        return false;
    if (!has_expiry)
        return deny(v, "the token has no expiry");
    if (v->now_s >= *ret_expires_s)
        return deny(v, "the token has expired");
    if (has_begin && v->now_s + v->auth->leeway_s < not_before_s)
        return deny(v, "the token is not valid yet");
    return true;
}

static bool check_issuer(struct verifying *v, struct json_value claims)
{
    struct slice issuer;
    if (!text_member(v, claims, "iss", &issuer))
        return false;
    if (v->auth->issuer[0] != 0 && !slice_equals(issuer, v->auth->issuer))
        return deny(v, "the token is from another issuer");
    return true;
}

/* One string or an array of them (RFC 7519, section 4.1.3). */
static bool check_audience(struct verifying *v, struct json_value claims)
{
    struct json_value audience, item;
    struct slice key;
    bool is_ours = v->auth->audience[0] == 0;
    if (!member(claims, "aud", &audience))
        return deny(v, "the token is malformed");
    if (audience.raw.base != NULL && audience.type == JSON_STRING) {
        is_ours |= slice_equals(json_unescape(audience.raw, v->scratch), v->auth->audience);
    } else if (audience.raw.base != NULL) {
        if (audience.type != JSON_ARRAY)
            return deny(v, "the token is malformed");
        for (uint32_t at = 0; json_next(audience, &at, &key, &item);) {
            if (item.type != JSON_STRING)
                return deny(v, "the token is malformed");
            is_ours |= slice_equals(json_unescape(item.raw, v->scratch), v->auth->audience);
        }
    }
    return is_ours || deny(v, "the token is for another audience");
}

static bool read_identity(struct verifying *v, struct json_value claims,
                          struct auth_identity *identity)
{
    struct slice user, device;
    if (!text_member(v, claims, "sub", &user) || !text_member(v, claims, "device", &device))
        return false;
    if (user.base == NULL || !key_user_is_valid(user))
        return deny(v, "the token names no user");
    if (device.base != NULL && !key_device_is_valid(device))
        return deny(v, "the token's device is not a valid name");
    memcpy(identity->user, user.base, user.size);
    if (device.base != NULL)
        memcpy(identity->device, device.base, device.size);
    return true;
}

/* The signature comes before a single claim is read. */
static bool verify(struct verifying *v, struct slice token, struct auth_identity *identity)
{
    const struct auth_key *key;
    struct json_value claims;
    if (token.size == 0)
        return deny(v, "there is no token");
    if (token.size > AUTH_TOKEN_SIZE_MAX)
        return deny(v, "the token is too large");
    return split(v, token) && choose_key(v, &key) && check_signature(v, key) &&
           open_part(v, v->claims, &claims) && check_times(v, claims, &identity->expires_s) &&
           check_issuer(v, claims) && check_audience(v, claims) &&
           read_identity(v, claims, identity);
}

enum rc auth_verify(const struct auth *auth, struct slice token, uint64_t now_s,
                    struct auth_identity *ret_identity, const char **ret_reason)
{
    struct auth_identity identity = {0};
    struct verifying v = {.auth = auth, .now_s = now_s};
    v.text = buf_new(512);
    v.scratch = buf_new(512);
    bool is_good = verify(&v, token, &identity);
    buf_unref(&v.text);
    buf_unref(&v.scratch);
    if (!is_good) {
        *ret_reason = v.reason;
        return RC_UNAUTHORIZED;
    }
    *ret_identity = identity;
    return RC_OK;
}

/* ---- Signing ---- */

static void append_base64url(struct buf *out, struct slice bytes)
{
    size_t size = crypto_base64url_size(bytes.size);
    crypto_base64url_encode(bytes.base, bytes.size, (char *)buf_reserve(out, size));
    out->size += size - 1; /* Without its NUL. */
}

static void put_text_claim(struct buf *out, const char *lead, struct slice text)
{
    if (text.size == 0)
        return;
    buf_append_string(out, lead);
    json_append_string(out, text);
}

static void put_claims(const struct auth *auth, struct slice user, struct slice device,
                       uint64_t now_s, uint64_t lifetime_s, struct buf *out)
{
    buf_append_string(out, "{\"sub\":");
    json_append_string(out, user);
    put_text_claim(out, ",\"device\":", device);
    put_text_claim(out, ",\"iss\":", slice_string(auth->issuer));
    put_text_claim(out, ",\"aud\":", slice_string(auth->audience));
    buf_append_string(out, ",\"iat\":");
    buf_append_u64_decimal(out, now_s);
    buf_append_string(out, ",\"exp\":");
    buf_append_u64_decimal(out, now_s + lifetime_s);
    buf_append_byte(out, '}');
}

static void sign_with(const struct auth_key *key, struct slice text, struct buf *out)
{
    uint8_t signature[SIGNATURE_SIZE_MAX];
    size_t size = 32;
    if (key->algorithm == AUTH_EDDSA) {
        crypto_ed25519_sign(signature, text, key->sign);
        size = 64;
    } else {
        crypto_hmac_sha256(signature, slice_of(key->bytes, key->size), text);
    }
    buf_append_byte(out, '.');
    append_base64url(out, slice_of(signature, size));
}

enum rc auth_sign(const struct auth *auth, struct slice user, struct slice device, uint64_t now_s,
                  uint64_t lifetime_s, struct buf *out)
{
    const struct auth_key *key = NULL;
    for (uint32_t i = 0; i < auth->key_count && key == NULL; i++)
        if (auth->keys[i].can_sign)
            key = &auth->keys[i];
    if (key == NULL)
        return RC_NOT_FOUND;
    struct buf *part = buf_new(0);
    struct buf *token = buf_new(0);
    buf_append_format(part, "{\"alg\":\"%s\",\"kid\":\"%s\",\"typ\":\"JWT\"}",
                      algorithm_name(key->algorithm), key->id);
    append_base64url(token, buf_slice(part));
    buf_append_byte(token, '.');
    buf_clear(part);
    put_claims(auth, user, device, now_s, lifetime_s, part);
    append_base64url(token, buf_slice(part));
    buf_clear(part);
    sign_with(key, buf_slice(token), part);
    buf_append_slice(token, buf_slice(part));
    buf_append_slice(out, buf_slice(token));
    buf_unref(&part);
    buf_unref(&token);
    return RC_OK;
}
