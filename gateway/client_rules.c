#include "gateway/client_rules.h"

#include "gateway/auth.h"
#include "mesh/base/limits.h"
#include "mesh/wire/key.h"

#define EPOCH_SIZE_MAX 64u

#define BIT(name) FIELD_BIT(name)

const struct client_shape client_shapes[CLIENT_REQUEST_COUNT] = {
    [CLIENT_CONNECT] = {0, BIT(token) | BIT(device) | BIT(resume) | BIT(epoch) | BIT(batch)},
    [CLIENT_SEND] = {BIT(cid) | BIT(body), BIT(conv) | BIT(to) | BIT(reply_to)},
    [CLIENT_ACK] = {BIT(conv) | BIT(seq), 0},
    [CLIENT_READ] = {BIT(conv) | BIT(seq), 0},
    [CLIENT_HISTORY] = {BIT(conv), BIT(after) | BIT(before) | BIT(limit)},
    [CLIENT_CONVERSATIONS] = {0, BIT(after) | BIT(limit)},
    [CLIENT_CREATE] = {BIT(members), BIT(conv) | BIT(kind) | BIT(title) | BIT(meta) | BIT(body) |
                                         BIT(cid) | BIT(history) | BIT(retain_ms) |
                                         BIT(retain_count)},
    [CLIENT_ADD] = {BIT(conv), BIT(users) | BIT(user) | BIT(role)},
    [CLIENT_REMOVE] = {BIT(conv), BIT(users) | BIT(user)},
    [CLIENT_LEAVE] = {BIT(conv), 0},
    [CLIENT_ROLE] = {BIT(conv) | BIT(user) | BIT(role), 0},
    [CLIENT_MEMBERS] = {BIT(conv), BIT(after) | BIT(limit)},
    [CLIENT_INFO] = {BIT(conv),
                     BIT(title) | BIT(meta) | BIT(history) | BIT(retain_ms) | BIT(retain_count)},
    [CLIENT_PING] = {0, 0},
    [CLIENT_TYPING] = {BIT(conv), BIT(on)},
    [CLIENT_EDIT] = {BIT(conv) | BIT(seq) | BIT(body), BIT(cid)},
    [CLIENT_DELETE] = {BIT(conv) | BIT(seq), BIT(cid)},
    [CLIENT_REACT] = {BIT(conv) | BIT(seq) | BIT(emoji), BIT(on) | BIT(cid)},
    [CLIENT_OPEN] = {BIT(conv), 0},
    [CLIENT_CLOSE] = {BIT(conv), 0},
    [CLIENT_RECEIPTS] = {BIT(conv) | BIT(seq), 0},
    [CLIENT_PRESENCE] = {BIT(users), 0},
    [CLIENT_WATCH] = {BIT(users), 0},
    [CLIENT_UNWATCH] = {BIT(users), 0},
    [CLIENT_STATUS] = {BIT(status), 0},
};

const struct client_shape client_body_shapes[CLIENT_REQUEST_COUNT] = {
    [CLIENT_SEND] = {BIT(body), BIT(from) | BIT(cid) | BIT(reply_to)},
    [CLIENT_CREATE] = {BIT(members), BIT(from) | BIT(conv) | BIT(kind) | BIT(title) | BIT(meta) |
                                         BIT(body) | BIT(cid) | BIT(history) | BIT(retain_ms) |
                                         BIT(retain_count)},
    [CLIENT_ADD] = {0, BIT(users) | BIT(user) | BIT(role)},
    [CLIENT_ROLE] = {BIT(role), 0},
    [CLIENT_INFO] = {0, BIT(title) | BIT(meta) | BIT(history) | BIT(retain_ms) | BIT(retain_count)},
    [CLIENT_EDIT] = {BIT(body), BIT(from) | BIT(cid)},
    [CLIENT_PRESENCE] = {BIT(users), 0},
};

static bool token_is_valid(struct slice s)
{
    return s.size >= 1 && s.size <= AUTH_TOKEN_SIZE_MAX;
}

static bool epoch_is_valid(struct slice s)
{
    return s.size <= EPOCH_SIZE_MAX;
}

static bool title_is_valid(struct slice s)
{
    return memchr(s.base, 0, s.size) == NULL; /* Its length has an error of its own. */
}

static bool role_is_valid(struct slice s)
{
    return client_role(s) != 0;
}

static bool status_is_valid(struct slice s)
{
    return client_status(s) != PRESENCE_OFFLINE;
}

static bool history_is_valid(struct slice s)
{
    return slice_equals(s, "all") || slice_equals(s, "joined");
}

#define AT(member) offsetof(struct client_request, member)

const struct client_rule client_rules[FIELD_COUNT] = {
    [FIELD_token] = {RULE_TEXT, AT(token), 0, token_is_valid, NULL,
                     "token must be a string of 1 to 8192 bytes"},
    [FIELD_device] = {RULE_TEXT, AT(device), 0, key_device_is_valid, NULL,
                      "device must be 1 to 64 bytes without control characters"},
    [FIELD_epoch] = {RULE_TEXT, AT(epoch), 0, epoch_is_valid, NULL,
                     "epoch must be a string of at most 64 bytes"},
    [FIELD_batch] = {RULE_BOOL, AT(batch), AT(has_batch), NULL, NULL,
                     "batch must be true or false"},
    [FIELD_conv] = {RULE_TEXT, AT(conv), 0, key_conv_is_valid, "conv is required",
                    "conv must be 1 to 128 bytes of [A-Za-z0-9._:~@-]"},
    [FIELD_to] = {RULE_TEXT, AT(to), 0, key_user_is_valid, NULL,
                  "to must be 1 to 128 bytes without control characters"},
    [FIELD_cid] = {RULE_TEXT, AT(cid), 0, key_cid_is_valid, "cid is required",
                   "cid must be 1 to 64 bytes without control characters"},
    [FIELD_body] = {RULE_RAW, AT(body), 0, NULL, "body is required", NULL},
    [FIELD_reply_to] = {RULE_NUMBER, AT(reply_to), 0, NULL, NULL,
                        "reply_to must be an integer from 0 to 2^53 - 1"},
    [FIELD_seq] = {RULE_NUMBER, AT(seq), AT(has_seq), NULL, "seq is required",
                   "seq must be an integer from 0 to 2^53 - 1"},
    [FIELD_after] = {RULE_NUMBER, AT(after), AT(has_after), NULL, NULL,
                     "after must be an integer from 0 to 2^53 - 1"},
    [FIELD_before] = {RULE_NUMBER, AT(before), AT(has_before), NULL, NULL,
                      "before must be an integer from 1 to 2^53 - 1"},
    [FIELD_limit] = {RULE_NUMBER, AT(limit), AT(has_limit), NULL, NULL,
                     "limit must be an integer from 1 to 2^53 - 1"},
    [FIELD_members] = {RULE_USERS, AT(users), 0, NULL, "members is required",
                       "members must be an array of user names"},
    [FIELD_users] = {RULE_USERS, AT(users), 0, NULL, "users is required",
                     "users must be an array of user names"},
    [FIELD_user] = {RULE_TEXT, AT(user), 0, key_user_is_valid, "user is required",
                    "user must be 1 to 128 bytes without control characters"},
    [FIELD_role] = {RULE_TEXT, AT(role), 0, role_is_valid, "role is required",
                    "role must be owner, admin or member"},
    [FIELD_title] = {RULE_TEXT, AT(title), 0, title_is_valid, NULL,
                     "title must be a string without NUL"},
    [FIELD_meta] = {RULE_RAW, AT(meta), 0, NULL, NULL, NULL},
    [FIELD_on] = {RULE_BOOL, AT(on), 0, NULL, NULL, "on must be true or false"},
    [FIELD_emoji] = {RULE_TEXT, AT(emoji), 0, key_emoji_is_valid, "emoji is required",
                     "emoji must be 1 to 32 bytes without control characters"},
    [FIELD_status] = {RULE_TEXT, AT(status), 0, status_is_valid, "status is required",
                      "status must be online, away or busy"},
    [FIELD_history] = {RULE_TEXT, AT(history), 0, history_is_valid, NULL,
                       "history must be all or joined"},
    [FIELD_retain_ms] = {RULE_AMOUNT, AT(retain_ms), AT(has_retain_ms), NULL, NULL,
                         "retain_ms must be null or an integer from 0 to 2^53 - 1"},
    [FIELD_from] = {RULE_TEXT, AT(from), 0, key_user_is_valid, NULL,
                    "from must be 1 to 128 bytes without control characters"},
    [FIELD_retain_count] = {RULE_AMOUNT, AT(retain_count), AT(has_retain_count), NULL, NULL,
                            "retain_count must be null or an integer from 0 to 2^53 - 1"},
};
