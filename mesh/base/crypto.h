/* crypto - every use of libsodium, in one place.
 *
 * Thin names over libsodium's primitives, so that nothing else includes sodium.h and each choice is
 * made once. crypto_start() must come first; it is idempotent. */
#ifndef MESH_BASE_CRYPTO_H
#define MESH_BASE_CRYPTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mesh/base/rc.h"
#include "mesh/base/slice.h"

void crypto_start(void);

void crypto_random(void *bytes, size_t size); /* From the kernel. */
uint64_t crypto_random_u64(void);

/* SipHash-2-4 (Aumasson and Bernstein 2012): 64 bits under a 16-byte key. */
uint64_t crypto_hash64(const uint8_t key[16], struct slice bytes);

/* BLAKE2b (RFC 7693) of the parts one after another, each preceded by its size, so that ("ab","c")
 * and ("a","bc") differ. size_out 16..64. */
void crypto_digest(uint8_t *out, size_t size_out, const struct slice *parts, size_t count);

/* SHA-256 (FIPS 180-4). */
void crypto_sha256(uint8_t out[32], struct slice message);

/* HMAC-SHA-256 (RFC 2104). */
void crypto_hmac_sha256(uint8_t out[32], struct slice key, struct slice message);

/* Ed25519 (RFC 8032). */
bool crypto_ed25519_verify(const uint8_t signature[64], struct slice message,
                           const uint8_t public_key[32]);
void crypto_ed25519_sign(uint8_t signature[64], struct slice message, const uint8_t secret_key[64]);
void crypto_ed25519_keypair(uint8_t public_key[32], uint8_t secret_key[64]);

/* Equal in time that does not depend on the bytes. */
bool crypto_equal(const void *a, const void *b, size_t size);
void crypto_wipe(void *bytes, size_t size);

/* base64url without padding (RFC 4648, section 5), strict: RC_BAD_REQUEST for any other character,
 * for padding, for non-zero trailing bits, or when it does not fit. */
MUST_CHECK enum rc crypto_base64url_decode(struct slice text, uint8_t *out, size_t out_size_max,
                                           size_t *ret_size);
/* Writes a NUL; `out` holds at least crypto_base64url_size(size) bytes. */
void crypto_base64url_encode(const void *bytes, size_t size, char *out);
size_t crypto_base64url_size(size_t size); /* Including the NUL. */
/* Lower-case hex with a NUL: 2 * size + 1 bytes. */
void crypto_hex(const void *bytes, size_t size, char *out);

/* CRC-32C (Castagnoli, RFC 3720, section 12.1), by the processor's instruction where it has one. */
uint32_t crypto_crc32c(uint32_t crc, const void *bytes, size_t size);

#endif
