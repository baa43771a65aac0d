/* key - from a conversation or a user to its shard, and the id of a direct conversation.
 *
 * Both sides of the mesh must agree on these, so they depend on nothing but their arguments. */
#ifndef MESH_WIRE_KEY_H
#define MESH_WIRE_KEY_H

#include "mesh/base/rc.h"
#include "mesh/base/slice.h"

#define KEY_DIRECT_SIZE 35u /* "dm:" and 32 base64url characters. */

/* The shard of a conversation, 0..shards-1: SipHash under the cluster id, so that the spread cannot
 * be steered by who chooses ids without knowing the cluster. */
uint32_t key_conv_shard(const uint8_t cluster[16], uint32_t shards, struct slice conv);
uint32_t key_user_shard(const uint8_t cluster[16], uint32_t shards, struct slice user);

/* The id of the direct conversation of two users, whoever starts: a digest of both names in byte
 * order. `id` has room for KEY_DIRECT_SIZE bytes; no NUL. */
void key_direct(struct slice a, struct slice b, char id[KEY_DIRECT_SIZE]);

/* The id of a group whose creator named none: "g:" and 22 base64url characters. */
#define KEY_GROUP_SIZE 24u
void key_group(const uint64_t random[2], char id[KEY_GROUP_SIZE]);
/* The same where he gave a cid, so that his retry after a lost connection meets the group that was
 * made. The cluster id keeps others from foreseeing it and taking it first. `creator` is absent
 * where it is the operator. */
void key_group_of(const uint8_t cluster[16], struct slice creator, struct slice cid,
                  char id[KEY_GROUP_SIZE]);

/* The rules of the client protocol for ids. */
bool key_conv_is_valid(struct slice conv); /* 1-128 bytes of [A-Za-z0-9._:~@-]. */
bool key_user_is_valid(struct slice user); /* 1-128 bytes of UTF-8 without control characters. */
bool key_device_is_valid(struct slice device); /* Likewise, 1-64 bytes. */
bool key_cid_is_valid(struct slice cid);       /* Likewise, 1-64 bytes. */
bool key_emoji_is_valid(struct slice emoji);   /* Likewise, 1-32 bytes. */
bool key_node_is_valid(struct slice node);     /* 1-15 bytes of [A-Za-z0-9_-]. */

/* Strict UTF-8 (RFC 3629): no surrogates, no overlong forms, nothing beyond U+10FFFF. */
bool key_is_utf8(struct slice text);

#endif
