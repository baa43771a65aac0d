/* api_key - who may speak for the operator in the HTTP API.
 *
 * A key is 256 random bits behind a prefix, so that it is known for what it is wherever it leaks
 * to. Gateways hold SHA-256 digests only: no salt and no slow hash, since nobody guesses 256 bits.
 * Several keys may be good at a time, also under one name: that is how one is replaced. Pure. */
#ifndef GATEWAY_API_KEY_H
#define GATEWAY_API_KEY_H

#include <stdbool.h>
#include <stdint.h>

#include "mesh/base/rc.h"
#include "mesh/base/slice.h"

#define API_KEYS_MAX          16u
#define API_KEY_PREFIX        "cmk_"
#define API_KEY_SIZE          47u /* The prefix and 43 base64url characters. */
#define API_KEY_NAME_SIZE_MAX 64u
#define API_KEY_LINE_SIZE_MAX 129u /* NAME:SHA256, in hexadecimal. */

struct api_key {
    char name[API_KEY_NAME_SIZE_MAX + 1]; /* [A-Za-z0-9_-]{1,64}, for people and for its rate. */
    uint8_t digest[32];
};

struct api_keys {
    struct api_key items[API_KEYS_MAX];
    uint32_t count;
};

/* Does it look like one? Then it is no token, and is to be judged as a key. */
bool api_key_is_one(struct slice text);

/* RC_CONFIG: not NAME:SHA256. */
MUST_CHECK enum rc api_key_parse(struct slice line, struct api_key *ret_key);
/* RC_CONFIG: likewise, or one too many. */
MUST_CHECK enum rc api_key_add(struct api_keys *keys, struct slice line);

/* The key whose text this is; NULL: none. Takes the same time wherever it differs. */
const struct api_key *api_key_find(const struct api_keys *keys, struct slice text);

/* Draw one: its text, and the line of the config that lets it in under `name`, a valid one. */
void api_key_make(const char *name, char ret_text[API_KEY_SIZE + 1],
                  char ret_line[API_KEY_LINE_SIZE_MAX + 1]);
/* The line for a text that was drawn before. */
void api_key_line(const char *name, struct slice text, char ret_line[API_KEY_LINE_SIZE_MAX + 1]);

bool api_key_name_is_valid(struct slice name);

#endif
