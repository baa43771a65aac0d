/* auth - who a token says its bearer is: JWT (RFC 7519) by RFC 8725's rules.
 *
 * A key table is loaded at start: key id, algorithm, key. A token's header may only name a key id;
 * the algorithm is the key's own, and a header that says another is refused. Supported: HS256 (at
 * least 32 bytes of key) and EdDSA (Ed25519). `exp` is required, `nbf` honoured, `iss` and `aud`
 * compared where configured; `sub` is the user. Every other header parameter that could choose a
 * key (jwk, jku, x5u, x5c, crit) refuses the token. Comparison takes constant time. Pure: the clock
 * is an argument. */
#ifndef GATEWAY_AUTH_H
#define GATEWAY_AUTH_H

#include <stdbool.h>
#include <stdint.h>

#include "gateway/api_key.h"
#include "mesh/base/buf.h"
#include "mesh/base/limits.h"
#include "mesh/base/rc.h"
#include "mesh/base/slice.h"

#define AUTH_KEYS_MAX       16u
#define AUTH_TOKEN_SIZE_MAX 8192u

enum auth_algorithm {
    AUTH_HS256 = 1,
    AUTH_EDDSA = 2,
};

struct auth_key {
    char id[65]; /* [A-Za-z0-9_-]{1,64}, NUL-terminated. */
    enum auth_algorithm algorithm;
    uint8_t bytes[64]; /* HS256: the secret. EdDSA: 32 bytes of public key. */
    uint32_t size;     /* HS256: 32..64. EdDSA: 32. */
    uint8_t sign[64];  /* EdDSA, where this process also makes tokens: the secret key. */
    bool can_sign;
};

struct auth {
    struct auth_key keys[AUTH_KEYS_MAX];
    uint32_t key_count;
    char issuer[129];   /* Empty: any. */
    char audience[129]; /* Empty: any. */
    uint32_t leeway_s;  /* Clock skew allowed on nbf; exp is exact. */
    struct api_keys api_keys;
};

struct auth_identity {
    char user[LIMIT_USER_SIZE_MAX + 1];     /* NUL-terminated UTF-8. */
    char device[LIMIT_DEVICE_SIZE_MAX + 1]; /* The `device` claim; empty where there is none. */
    uint64_t expires_s;                     /* exp. */
};

/* RC_CONFIG: a key id, size or algorithm that is not allowed, or a second key of that id. */
MUST_CHECK enum rc auth_add_key(struct auth *auth, const struct auth_key *key);

/* RC_UNAUTHORIZED for anything but a good token; *ret_reason is then a short static sentence for
 * the log and the client ("the token has expired"). The token itself is never logged. */
MUST_CHECK enum rc auth_verify(const struct auth *auth, struct slice token, uint64_t now_s,
                               struct auth_identity *ret_identity, const char **ret_reason);

/* Append a token for `user`, signed with the first key that can sign. RC_NOT_FOUND: no such key. */
MUST_CHECK enum rc auth_sign(const struct auth *auth, struct slice user, struct slice device,
                             uint64_t now_s, uint64_t lifetime_s, struct buf *out);

#endif
