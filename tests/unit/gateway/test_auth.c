/* auth: good tokens of both algorithms, and every known way around a verifier (RFC 8725). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "gateway/auth.h"
#include "mesh/base/crypto.h"
#include "mesh/base/mem.h"

#define NOW 1700000000u

struct fixture {
    struct auth auth;
    struct buf *token;
    const char *reason;
    struct auth_identity identity;
};

static struct auth_key hs_key(const char *id)
{
    struct auth_key key = {.algorithm = AUTH_HS256, .size = 32, .can_sign = true};
    snprintf(key.id, sizeof(key.id), "%s", id);
    memset(key.bytes, id[0], 32);
    return key;
}

static struct auth_key ed_key(const char *id)
{
    struct auth_key key = {.algorithm = AUTH_EDDSA, .size = 32, .can_sign = true};
    snprintf(key.id, sizeof(key.id), "%s", id);
    crypto_ed25519_keypair(key.bytes, key.sign);
    return key;
}

/* Two keys: `hs` and `ed`. */
static int setup(void **state)
{
    static struct fixture f;
    memset(&f, 0, sizeof(f));
    crypto_start();
    f.token = buf_new(0);
    struct auth_key keys[2] = {hs_key("hs"), ed_key("ed")};
    for (int i = 0; i < 2; i++)
        assert_int_equal(auth_add_key(&f.auth, &keys[i]), RC_OK);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    buf_unref(&f->token);
    return 0;
}

static void append_base64url(struct buf *out, const void *bytes, size_t size)
{
    size_t text_size = crypto_base64url_size(size);
    crypto_base64url_encode(bytes, size, (char *)buf_reserve(out, text_size));
    out->size += text_size - 1;
}

/* A token as an attacker or a careless issuer would make it, signed rightly with the first key. */
static void make(struct fixture *f, const char *header, const char *claims)
{
    uint8_t mac[32];
    buf_clear(f->token);
    append_base64url(f->token, header, strlen(header));
    buf_append_byte(f->token, '.');
    append_base64url(f->token, claims, strlen(claims));
    crypto_hmac_sha256(mac, slice_of(f->auth.keys[0].bytes, 32), buf_slice(f->token));
    buf_append_byte(f->token, '.');
    append_base64url(f->token, mac, sizeof(mac));
}

static enum rc verify(struct fixture *f, struct slice token)
{
    f->reason = NULL;
    memset(&f->identity, 0xee, sizeof(f->identity));
    enum rc rc = auth_verify(&f->auth, token, NOW, &f->identity, &f->reason);
    if (rc != RC_OK) {
        assert_non_null(f->reason);
        assert_int_equal((uint8_t)f->identity.user[0], 0xee); /* Nothing was written. */
    }
    return rc;
}

static void expect_good(struct fixture *f)
{
    if (verify(f, buf_slice(f->token)) != RC_OK)
        fail_msg("refused: %s", f->reason);
}

static void expect_refused(struct fixture *f, const char *reason)
{
    assert_int_equal(verify(f, buf_slice(f->token)), RC_UNAUTHORIZED);
    assert_string_equal(f->reason, reason);
}

#define HEADER "{\"alg\":\"HS256\",\"kid\":\"hs\",\"typ\":\"JWT\"}"
#define CLAIMS "{\"sub\":\"alice\",\"exp\":1700000100}"

static void expect_header_refused(struct fixture *f, const char *header, const char *reason)
{
    make(f, header, CLAIMS);
    expect_refused(f, reason);
}

static void expect_claims_refused(struct fixture *f, const char *claims, const char *reason)
{
    make(f, HEADER, claims);
    expect_refused(f, reason);
}

/* The least a token needs. */
static void a_good_hs256_token_names_its_user(void **state)
{
    struct fixture *f = *state;
    make(f, HEADER, CLAIMS);
    expect_good(f);
    assert_string_equal(f->identity.user, "alice");
    assert_string_equal(f->identity.device, "");
    assert_int_equal(f->identity.expires_s, 1700000100);
    make(f, "{\"alg\":\"HS256\",\"kid\":\"hs\"}",
         "{\"iat\":1,\"sub\":\"J\\u00f6rg\",\"exp\":1700000100.9,\"nbf\":1700000000,\"x\":[{}]}");
    expect_good(f);
    assert_string_equal(f->identity.user, "J\xc3\xb6rg");
}

/* The published example of RFC 7515, appendix A.1: another implementation's token, key and
 * signature. */
static void the_example_of_rfc_7515_is_good(void **state)
{
    struct fixture *f = *state;
    static const char key[] =
        "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcg"
        "UuTwjAzZr1Z9CAow";
    static const char token[] =
        "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9."
        "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh"
        "0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    struct auth auth = {0};
    struct auth_key example = {.id = "a1", .algorithm = AUTH_HS256};
    size_t size;
    assert_int_equal(
        crypto_base64url_decode(slice_string(key), example.bytes, sizeof(example.bytes), &size),
        RC_OK);
    example.size = (uint32_t)size;
    assert_int_equal(auth_add_key(&auth, &example), RC_OK);
    /* It names no user, which is only found once its signature and its times were good. */
    assert_int_equal(auth_verify(&auth, slice_string(token), 1300819379, &f->identity, &f->reason),
                     RC_UNAUTHORIZED);
    assert_string_equal(f->reason, "the token names no user");
    assert_int_equal(auth_verify(&auth, slice_string(token), 1300819380, &f->identity, &f->reason),
                     RC_UNAUTHORIZED);
    assert_string_equal(f->reason, "the token has expired");
}

/* What auth_sign() makes auth_verify() takes, with issuer, audience and device, under both
 * algorithms. */
static void a_token_signed_here_is_good_here(void **state)
{
    struct fixture *f = *state;
    strcpy(f->auth.issuer, "chat\"mesh");
    strcpy(f->auth.audience, "clients");
    for (uint32_t first = 0; first < 2; first++) {
        buf_clear(f->token);
        f->auth.keys[0].can_sign = first == 0;
        assert_int_equal(auth_sign(&f->auth,
                                   slice_string("b\xc3\xb6"
                                                "b\""),
                                   slice_string("phone"), NOW, 60, f->token),
                         RC_OK);
        expect_good(f);
        assert_string_equal(f->identity.user, "b\xc3\xb6"
                                              "b\"");
        assert_string_equal(f->identity.device, "phone");
        assert_int_equal(f->identity.expires_s, NOW + 60);
    }
    f->auth.keys[1].can_sign = false;
    assert_int_equal(auth_sign(&f->auth, slice_string("a"), (struct slice){0}, NOW, 60, f->token),
                     RC_NOT_FOUND);
}

/* RFC 8725, section 2.1. */
static void no_algorithm_is_no_algorithm(void **state)
{
    struct fixture *f = *state;
    static const char *const names[] = {"none",  "None",  "NONE",  "nOnE",  "",     "hs256",
                                        "HS384", "HS512", "RS256", "ES256", "EdDSA"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char header[100];
        snprintf(header, sizeof(header), "{\"alg\":\"%s\",\"kid\":\"hs\"}", names[i]);
        expect_header_refused(f, header, "the token's algorithm is not its key's");
    }
    expect_header_refused(f, "{\"kid\":\"hs\"}", "the token's algorithm is not its key's");
    expect_header_refused(f, "{\"alg\":1,\"kid\":\"hs\"}", "the token is malformed");
    expect_header_refused(f, "{\"alg\":[\"HS256\"],\"kid\":\"hs\"}", "the token is malformed");
}

/* The old confusion: HMAC under the public key, which everybody knows. */
static void a_public_key_is_never_an_hmac_secret(void **state)
{
    struct fixture *f = *state;
    uint8_t mac[32];
    const char header[] = "{\"alg\":\"HS256\",\"kid\":\"ed\"}";
    append_base64url(f->token, header, strlen(header));
    buf_append_byte(f->token, '.');
    append_base64url(f->token, CLAIMS, strlen(CLAIMS));
    crypto_hmac_sha256(mac, slice_of(f->auth.keys[1].bytes, 32), buf_slice(f->token));
    buf_append_byte(f->token, '.');
    append_base64url(f->token, mac, sizeof(mac));
    expect_refused(f, "the token's algorithm is not its key's");
}

/* Nothing, half, too much, or another's. */
static void a_wrong_signature_is_refused(void **state)
{
    struct fixture *f = *state;
    const char *wrong = "the token's signature is wrong";
    make(f, HEADER, CLAIMS);
    size_t size = f->token->size;
    for (size_t cut = 1; cut <= 43; cut++) { /* 43 is all of it. */
        f->token->size = size - cut;
        expect_refused(f, wrong);
    }
    f->token->size = size;
    expect_good(f);
    buf_append_string(f->token, "AAAA");
    expect_refused(f, wrong);
    f->token->size = size;
    for (size_t at = 0; at < size; at++) { /* Any byte changed. */
        f->token->bytes[at] ^= 1;
        assert_int_equal(verify(f, buf_slice(f->token)), RC_UNAUTHORIZED);
        f->token->bytes[at] ^= 1;
    }
    f->auth.keys[0].bytes[0] ^= 1;
    expect_refused(f, wrong);
    make(f, "{\"alg\":\"EdDSA\",\"kid\":\"ed\"}", CLAIMS); /* 32 bytes where 64 belong. */
    expect_refused(f, wrong);
}

/* The last character of 43 has two bits that no byte needs. */
static void a_token_has_one_spelling(void **state)
{
    struct fixture *f = *state;
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    make(f, HEADER, CLAIMS);
    uint8_t *last = &f->token->bytes[f->token->size - 1];
    const uint8_t good = *last;
    const size_t index = (size_t)(strchr(alphabet, good) - alphabet);
    for (size_t bits = 1; bits < 4; bits++) {
        *last = (uint8_t)alphabet[index ^ bits];
        expect_refused(f, "the token's signature is wrong");
    }
    *last = good;
    buf_append_byte(f->token, '=');
    expect_refused(f, "the token's signature is wrong");
}

/* kid looks a key up in a table and nowhere else. */
static void a_key_id_reaches_nothing_but_the_table(void **state)
{
    struct fixture *f = *state;
    static const char *const kids[] = {"../../../../etc/passwd",
                                       "/dev/null",
                                       "' OR 1=1 --",
                                       "hs\\u0000",
                                       "HS",
                                       "",
                                       "hs ",
                                       "http://x/k"};
    for (size_t i = 0; i < sizeof(kids) / sizeof(kids[0]); i++) {
        char header[200];
        snprintf(header, sizeof(header), "{\"alg\":\"HS256\",\"kid\":\"%s\"}", kids[i]);
        expect_header_refused(f, header, "the token's key is not known");
    }
    expect_header_refused(f, "{\"alg\":\"HS256\",\"kid\":null}", "the token is malformed");
    expect_header_refused(f, "{\"alg\":\"HS256\"}", "the token's key is not known");
    f->auth.key_count = 1; /* With one key there is nothing to choose. */
    make(f, "{\"alg\":\"HS256\"}", CLAIMS);
    expect_good(f);
}

/* Whatever would let the token bring its own key, or its own rules. */
static void a_header_that_chooses_the_key_is_refused(void **state)
{
    struct fixture *f = *state;
    static const char *const names[] = {"jwk",      "jku",  "x5u", "x5c", "x5t",
                                        "x5t#S256", "crit", "b64", "zip", "enc"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char header[200];
        snprintf(header, sizeof(header), "{\"alg\":\"HS256\",\"kid\":\"hs\",\"%s\":\"x\"}",
                 names[i]);
        expect_header_refused(f, header,
                              "the token's header holds a parameter that is not allowed");
    }
    expect_header_refused(f, "{\"alg\":\"HS256\",\"kid\":\"hs\",\"\\u006aku\":\"x\"}",
                          "the token's header holds a parameter that is not allowed");
    expect_header_refused(f, "{\"alg\":\"HS256\",\"kid\":\"hs\",\"typ\":\"at+jwt\"}",
                          "the token is not of type JWT");
    expect_header_refused(f, "{\"alg\":\"none\",\"alg\":\"HS256\",\"kid\":\"hs\"}",
                          "the token is malformed");
}

/* exp is required and exact; not before means not before, but for the leeway. */
static void a_token_lives_from_nbf_to_exp(void **state)
{
    struct fixture *f = *state;
    expect_claims_refused(f, "{\"sub\":\"a\"}", "the token has no expiry");
    expect_claims_refused(f, "{\"sub\":\"a\",\"exp\":1700000000}", "the token has expired");
    expect_claims_refused(f, "{\"sub\":\"a\",\"exp\":0}", "the token has expired");
    expect_claims_refused(f, "{\"sub\":\"a\",\"exp\":1700000100,\"nbf\":1700000001}",
                          "the token is not valid yet");
    f->auth.leeway_s = 10;
    make(f, HEADER, "{\"sub\":\"a\",\"exp\":1700000001,\"nbf\":1700000010}");
    expect_good(f);
    expect_claims_refused(f, "{\"sub\":\"a\",\"exp\":1700000000}", "the token has expired");
    expect_claims_refused(f, "{\"sub\":\"a\",\"exp\":1700000100,\"nbf\":1700000011}",
                          "the token is not valid yet");
}

/* Compared only where configured; an array is searched. */
static void issuer_and_audience_must_be_ours(void **state)
{
    struct fixture *f = *state;
    make(f, HEADER, "{\"sub\":\"a\",\"exp\":1700000100,\"iss\":\"x\",\"aud\":[\"y\"]}");
    expect_good(f);
    strcpy(f->auth.issuer, "us");
    expect_refused(f, "the token is from another issuer");
    expect_claims_refused(f, "{\"sub\":\"a\",\"exp\":1700000100}",
                          "the token is from another issuer");
    f->auth.issuer[0] = 0;
    strcpy(f->auth.audience, "chat");
    const char *other = "the token is for another audience";
    expect_claims_refused(f, "{\"sub\":\"a\",\"exp\":1700000100}", other);
    expect_claims_refused(f, "{\"sub\":\"a\",\"exp\":1700000100,\"aud\":\"chats\"}", other);
    expect_claims_refused(f, "{\"sub\":\"a\",\"exp\":1700000100,\"aud\":[]}", other);
    expect_claims_refused(f, "{\"sub\":\"a\",\"exp\":1700000100,\"aud\":[\"x\",\"y\"]}", other);
    make(f, HEADER, "{\"sub\":\"a\",\"exp\":1700000100,\"aud\":[\"x\",\"ch\\u0061t\"]}");
    expect_good(f);
    make(f, HEADER, "{\"sub\":\"a\",\"exp\":1700000100,\"aud\":\"chat\"}");
    expect_good(f);
}

/* A claim of another type is no claim. */
static void claims_of_the_wrong_type_are_refused(void **state)
{
    struct fixture *f = *state;
    const char *malformed = "the token is malformed";
    static const char *const claims[] = {
        "{\"sub\":1,\"exp\":1700000100}",
        "{\"sub\":[\"a\"],\"exp\":1700000100}",
        "{\"sub\":\"a\",\"exp\":\"1700000100\"}",
        "{\"sub\":\"a\",\"exp\":1e10}",
        "{\"sub\":\"a\",\"exp\":-1}",
        "{\"sub\":\"a\",\"exp\":null}",
        "{\"sub\":\"a\",\"exp\":99999999999999999999}",
        "{\"sub\":\"a\",\"exp\":1700000100,\"nbf\":\"0\"}",
        "{\"sub\":\"a\",\"exp\":1700000100,\"aud\":1}",
        "{\"sub\":\"a\",\"exp\":1700000100,\"aud\":[1]}",
        "{\"sub\":\"a\",\"exp\":1700000100,\"iss\":1}",
        "{\"sub\":\"a\",\"exp\":1700000100,\"device\":1}",
        "{\"sub\":\"a\",\"sub\":\"b\",\"exp\":1700000100}",
        "{\"sub\":\"a\",\"exp\":1,\"exp\":1700000100}",
        "{\"sub\":\"a\",\"exp\":1700000100}x",
        "{\"sub\":\"a\",\"exp\":1700000100",
        "[]",
        "\"sub\"",
        "",
    };
    for (size_t i = 0; i < sizeof(claims) / sizeof(claims[0]); i++)
        expect_claims_refused(f, claims[i], malformed);
}

/* sub must be a user's name, device a device's. */
static void names_must_be_valid(void **state)
{
    struct fixture *f = *state;
    expect_claims_refused(f, "{\"exp\":1700000100}", "the token names no user");
    expect_claims_refused(f, "{\"sub\":\"\",\"exp\":1700000100}", "the token names no user");
    expect_claims_refused(f, "{\"sub\":\"a\\u0000b\",\"exp\":1700000100}",
                          "the token names no user");
    expect_claims_refused(f, "{\"sub\":\"\\ud83d\",\"exp\":1700000100}", "the token names no user");
    expect_claims_refused(f, "{\"sub\":\"a\",\"device\":\"\",\"exp\":1700000100}",
                          "the token's device is not a valid name");
    expect_claims_refused(f, "{\"sub\":\"a\",\"device\":\"\\ude00\",\"exp\":1700000100}",
                          "the token's device is not a valid name");
}

/* What is no token at all. */
static void what_is_not_three_parts_is_refused(void **state)
{
    struct fixture *f = *state;
    const char *malformed = "the token is malformed";
    static const char *const texts[] = {"a",     ".",       "..",       "...",      "a.b",
                                        "a.b.c", "a.b.c.d", "e30.e30.", "!!.e30.AA"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        buf_clear(f->token);
        buf_append_string(f->token, texts[i]);
        assert_int_equal(verify(f, buf_slice(f->token)), RC_UNAUTHORIZED);
    }
    make(f, HEADER, CLAIMS);
    buf_append_byte(f->token, '.');
    expect_refused(f, malformed);
    f->token->bytes[f->token->size - 1] = ' ';
    expect_refused(f, "the token's signature is wrong");
    assert_int_equal(verify(f, (struct slice){0}), RC_UNAUTHORIZED);
    assert_string_equal(f->reason, "there is no token");
}

/* Size is looked at before anything is decoded. */
static void a_token_may_be_too_large(void **state)
{
    struct fixture *f = *state;
    char *claims = mem_alloc(AUTH_TOKEN_SIZE_MAX);
    memset(claims, ' ', AUTH_TOKEN_SIZE_MAX);
    memcpy(claims, CLAIMS, sizeof(CLAIMS) - 1);
    claims[6000] = 0;
    make(f, HEADER, claims);
    assert_true(f->token->size <= AUTH_TOKEN_SIZE_MAX);
    expect_good(f);
    claims[6000] = ' ';
    claims[AUTH_TOKEN_SIZE_MAX - 1] = 0;
    make(f, HEADER, claims);
    expect_refused(f, "the token is too large");
    mem_free(claims);
}

/* The key table refuses what would be weak or ambiguous. */
static void a_bad_key_is_a_mistake_of_the_operator(void **state)
{
    struct fixture *f = *state;
    struct auth_key key = hs_key("hs");
    assert_int_equal(auth_add_key(&f->auth, &key), RC_CONFIG); /* The id is taken. */
    key = hs_key("a/b");
    assert_int_equal(auth_add_key(&f->auth, &key), RC_CONFIG);
    key = hs_key("x");
    key.id[0] = 0;
    assert_int_equal(auth_add_key(&f->auth, &key), RC_CONFIG);
    memset(key.id, 'a', sizeof(key.id)); /* No NUL. */
    assert_int_equal(auth_add_key(&f->auth, &key), RC_CONFIG);
    key = hs_key("x");
    key.size = 31;
    assert_int_equal(auth_add_key(&f->auth, &key), RC_CONFIG);
    key.size = 65;
    assert_int_equal(auth_add_key(&f->auth, &key), RC_CONFIG);
    key.size = 32;
    key.algorithm = 0;
    assert_int_equal(auth_add_key(&f->auth, &key), RC_CONFIG);
    key = ed_key("x");
    key.size = 31;
    assert_int_equal(auth_add_key(&f->auth, &key), RC_CONFIG);
    for (uint32_t i = f->auth.key_count; i <= AUTH_KEYS_MAX; i++) {
        char id[2] = {(char)('A' + i), 0};
        key = hs_key(id);
        assert_int_equal(auth_add_key(&f->auth, &key), i < AUTH_KEYS_MAX ? RC_OK : RC_CONFIG);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_good_hs256_token_names_its_user),
        TEST(the_example_of_rfc_7515_is_good),
        TEST(a_token_signed_here_is_good_here),
        TEST(no_algorithm_is_no_algorithm),
        TEST(a_public_key_is_never_an_hmac_secret),
        TEST(a_wrong_signature_is_refused),
        TEST(a_token_has_one_spelling),
        TEST(a_key_id_reaches_nothing_but_the_table),
        TEST(a_header_that_chooses_the_key_is_refused),
        TEST(a_token_lives_from_nbf_to_exp),
        TEST(issuer_and_audience_must_be_ours),
        TEST(claims_of_the_wrong_type_are_refused),
        TEST(names_must_be_valid),
        TEST(what_is_not_three_parts_is_refused),
        TEST(a_token_may_be_too_large),
        TEST(a_bad_key_is_a_mistake_of_the_operator),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
