/* auth_verify() on any bytes, and on any header and claims under a right signature, which is as far
 * as an attacker with one leaked key would get. What is accepted must hold what the contract says.
 */
#include "gateway/auth.h"
#include "mesh/base/check.h"
#include "mesh/base/crypto.h"
#include "mesh/wire/key.h"

#define NOW 1700000000u

static struct auth auth;

static void prepare(void)
{
    struct auth_key key = {.id = "hs", .algorithm = AUTH_HS256, .size = 32};
    crypto_start();
    CHECK(auth_add_key(&auth, &key) == RC_OK);
    auth.leeway_s = 5;
    memcpy(auth.audience, "chat", 5);
}

static void verify(struct slice token)
{
    struct auth_identity identity;
    const char *reason = NULL;
    enum rc rc = auth_verify(&auth, token, NOW, &identity, &reason);
    CHECK(rc == RC_OK || rc == RC_UNAUTHORIZED);
    CHECK((reason == NULL) == (rc == RC_OK));
    if (rc != RC_OK)
        return;
    CHECK(key_user_is_valid(slice_string(identity.user)));
    CHECK(identity.device[0] == 0 || key_device_is_valid(slice_string(identity.device)));
    CHECK(identity.expires_s > NOW);
}

static void append_base64url(struct buf *out, struct slice bytes)
{
    size_t size = crypto_base64url_size(bytes.size);
    crypto_base64url_encode(bytes.base, bytes.size, (char *)buf_reserve(out, size));
    out->size += size - 1;
}

/* The input is a header, a line feed and claims. */
static void verify_signed(struct slice text)
{
    const char *feed = memchr(text.base, '\n', text.size);
    if (feed == NULL)
        return;
    uint32_t header_size = (uint32_t)(feed - text.base);
    struct buf *token = buf_new(text.size * 2);
    uint8_t mac[32];
    append_base64url(token, slice_of(text.base, header_size));
    buf_append_byte(token, '.');
    append_base64url(token, slice_of(feed + 1, text.size - header_size - 1));
    crypto_hmac_sha256(mac, slice_of(auth.keys[0].bytes, 32), buf_slice(token));
    buf_append_byte(token, '.');
    append_base64url(token, slice_of(mac, sizeof(mac)));
    verify(buf_slice(token));
    buf_unref(&token);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (auth.key_count == 0)
        prepare();
    if (size == 0)
        return 0;
    verify(slice_of(data, size));
    verify_signed(slice_of(data, size));
    return 0;
}
