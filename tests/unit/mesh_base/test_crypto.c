/* crypto: the published vectors of each primitive, and the strictness of base64url. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mesh/base/crypto.h"

static int setup(void **state)
{
    (void)state;
    crypto_start();
    return 0;
}

static void expect_hex(const void *bytes, size_t size, const char *expected)
{
    char hex[200];
    assert_true(size * 2 < sizeof(hex));
    crypto_hex(bytes, size, hex);
    assert_string_equal(hex, expected);
}

/* The vector of the SipHash paper's appendix: key 00..0f, input 00..0e. */
static void siphash_matches_its_paper(void **state)
{
    (void)state;
    uint8_t key[16];
    uint8_t input[15];
    for (uint8_t i = 0; i < 16; i++)
        key[i] = i;
    memcpy(input, key, sizeof(input));
    assert_true(crypto_hash64(key, slice_of(input, 15)) == UINT64_C(0xa129ca6149be45e5));
    assert_true(crypto_hash64(key, (struct slice){0}) == UINT64_C(0x726fdb47dd0e0e31));
}

/* RFC 4231, test cases 1 and 2. */
static void hmac_sha256_matches_rfc_4231(void **state)
{
    (void)state;
    uint8_t key[20];
    uint8_t out[32];
    memset(key, 0x0b, sizeof(key));
    crypto_hmac_sha256(out, slice_of(key, 20), slice_string("Hi There"));
    expect_hex(out, 32, "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
    crypto_hmac_sha256(out, slice_string("Jefe"), slice_string("what do ya want for nothing?"));
    expect_hex(out, 32, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
}

/* RFC 8032, section 7.1, test 2: one byte of message; then anything changed is refused. */
static void ed25519_matches_rfc_8032(void **state)
{
    (void)state;
    static const uint8_t public_key[32] = {0x3d, 0x40, 0x17, 0xc3, 0xe8, 0x43, 0x89, 0x5a,
                                           0x92, 0xb7, 0x0a, 0xa7, 0x4d, 0x1b, 0x7e, 0xbc,
                                           0x9c, 0x98, 0x2c, 0xcf, 0x2e, 0xc4, 0x96, 0x8c,
                                           0xc0, 0xcd, 0x55, 0xf1, 0x2a, 0xf4, 0x66, 0x0c};
    static const uint8_t expected[64] = {
        0x92, 0xa0, 0x09, 0xa9, 0xf0, 0xd4, 0xca, 0xb8, 0x72, 0x0e, 0x82, 0x0b, 0x5f,
        0x64, 0x25, 0x40, 0xa2, 0xb2, 0x7b, 0x54, 0x16, 0x50, 0x3f, 0x8f, 0xb3, 0x76,
        0x22, 0x23, 0xeb, 0xdb, 0x69, 0xda, 0x08, 0x5a, 0xc1, 0xe4, 0x3e, 0x15, 0x99,
        0x6e, 0x45, 0x8f, 0x36, 0x13, 0xd0, 0xf1, 0x1d, 0x8c, 0x38, 0x7b, 0x2e, 0xae,
        0xb4, 0x30, 0x2a, 0xee, 0xb0, 0x0d, 0x29, 0x16, 0x12, 0xbb, 0x0c, 0x00};
    uint8_t signature[64];
    memcpy(signature, expected, sizeof(signature));
    assert_true(crypto_ed25519_verify(signature, slice_of("\x72", 1), public_key));
    assert_false(crypto_ed25519_verify(signature, slice_of("\x73", 1), public_key));
    signature[63] ^= 0x10; /* S beyond the group's order: the malleable twin's shape. */
    assert_false(crypto_ed25519_verify(signature, slice_of("\x72", 1), public_key));
}

/* What is signed here verifies here. */
static void a_fresh_key_pair_signs_and_verifies(void **state)
{
    (void)state;
    uint8_t public_key[32], secret_key[64], signature[64];
    crypto_ed25519_keypair(public_key, secret_key);
    crypto_ed25519_sign(signature, slice_string("text"), secret_key);
    assert_true(crypto_ed25519_verify(signature, slice_string("text"), public_key));
    assert_false(crypto_ed25519_verify(signature, slice_string("test"), public_key));
}

/* Where one part ends and the next begins matters. */
static void a_digest_tells_its_parts_apart(void **state)
{
    (void)state;
    uint8_t first[32], second[32];
    const struct slice a[2] = {slice_string("ab"), slice_string("c")};
    const struct slice b[2] = {slice_string("a"), slice_string("bc")};
    crypto_digest(first, 32, a, 2);
    crypto_digest(second, 32, b, 2);
    assert_memory_not_equal(first, second, 32);
    crypto_digest(second, 32, a, 2);
    assert_memory_equal(first, second, 32);
}

/* RFC 3720, appendix B.4; in one go and in pieces, with and without whole words. */
static void crc32c_matches_rfc_3720(void **state)
{
    (void)state;
    uint8_t bytes[32] = {0};
    assert_true(crypto_crc32c(0, bytes, 32) == 0x8a9136aau);
    memset(bytes, 0xff, 32);
    assert_true(crypto_crc32c(0, bytes, 32) == 0x62a8ab43u);
    for (uint8_t i = 0; i < 32; i++)
        bytes[i] = i;
    assert_true(crypto_crc32c(0, bytes, 32) == 0x46dd794eu);
    for (size_t cut = 0; cut <= 32; cut++)
        assert_true(crypto_crc32c(crypto_crc32c(0, bytes, cut), bytes + cut, 32 - cut) ==
                    0x46dd794eu);
    assert_true(crypto_crc32c(0, "123456789", 9) == 0xe3069283u);
}

static enum rc decode(const char *text, size_t out_size_max)
{
    uint8_t out[16];
    size_t size;
    return crypto_base64url_decode(slice_string(text), out, out_size_max, &size);
}

/* RFC 4648, section 10 without padding; and back. */
static void base64url_matches_rfc_4648(void **state)
{
    (void)state;
    static const char *const texts[] = {"", "Zg", "Zm8", "Zm9v", "Zm9vYg", "Zm9vYmE", "Zm9vYmFy"};
    for (size_t size = 0; size < 7; size++) {
        char encoded[16];
        uint8_t out[16];
        size_t out_size;
        crypto_base64url_encode("foobar", size, encoded);
        assert_string_equal(encoded, texts[size]);
        assert_int_equal(crypto_base64url_size(size), strlen(encoded) + 1);
        assert_int_equal(
            crypto_base64url_decode(slice_string(encoded), out, sizeof(out), &out_size), RC_OK);
        assert_int_equal(out_size, size);
        assert_memory_equal(out, "foobar", size);
    }
    assert_int_equal(decode("-_-_", 16), RC_OK);
}

/* One spelling a value: no padding, no other alphabet, no bits left over, no white space. */
static void base64url_is_strict(void **state)
{
    (void)state;
    static const char *const bad[] = {"Zg==", "Zm8=",  "Zh",     "Zm9",   "Z",         "Zm9vY",
                                      "+/+/", "Zm 9v", "Zm9v\n", "Zm9v.", "Zm\xc3\xa9"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(decode(bad[i], 16), RC_BAD_REQUEST);
    assert_int_equal(decode("Zm9vYmFy", 6), RC_OK);
    assert_int_equal(decode("Zm9vYmFy", 5), RC_BAD_REQUEST); /* It does not fit. */
}

/* Equal or not, and wiped to zeros. */
static void secrets_are_compared_and_wiped(void **state)
{
    (void)state;
    char secret[4] = "abc";
    assert_true(crypto_equal(secret, "abc", 4));
    assert_false(crypto_equal(secret, "abd", 4));
    crypto_wipe(secret, sizeof(secret));
    assert_memory_equal(secret, "\0\0\0\0", 4);
    assert_true(crypto_random_u64() != crypto_random_u64());
}

/* "abc" and nothing (FIPS 180-4; NIST's examples). */
static void sha256_matches_fips_180(void **state)
{
    (void)state;
    uint8_t out[32];
    char hex[65];
    crypto_sha256(out, slice_string("abc"));
    crypto_hex(out, sizeof(out), hex);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    crypto_sha256(out, slice_of("", 0));
    crypto_hex(out, sizeof(out), hex);
    assert_string_equal(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(siphash_matches_its_paper),
        cmocka_unit_test(hmac_sha256_matches_rfc_4231),
        cmocka_unit_test(ed25519_matches_rfc_8032),
        cmocka_unit_test(a_fresh_key_pair_signs_and_verifies),
        cmocka_unit_test(a_digest_tells_its_parts_apart),
        cmocka_unit_test(crc32c_matches_rfc_3720),
        cmocka_unit_test(base64url_matches_rfc_4648),
        cmocka_unit_test(base64url_is_strict),
        cmocka_unit_test(secrets_are_compared_and_wiped),
        cmocka_unit_test(sha256_matches_fips_180),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
