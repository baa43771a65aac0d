/* client_rules - which fields each request has, and how each field is read: the tables behind
 * client_decode.c. Nobody else includes this. */
#ifndef GATEWAY_CLIENT_RULES_H
#define GATEWAY_CLIENT_RULES_H

#include "gateway/client.h"

#define CLIENT_FIELDS(F)                                                                           \
    F(type)                                                                                        \
    F(id)                                                                                          \
    F(token)                                                                                       \
    F(device)                                                                                      \
    F(resume)                                                                                      \
    F(epoch)                                                                                       \
    F(batch)                                                                                       \
    F(conv)                                                                                        \
    F(to)                                                                                          \
    F(cid)                                                                                         \
    F(body)                                                                                        \
    F(reply_to)                                                                                    \
    F(seq)                                                                                         \
    F(after)                                                                                       \
    F(before)                                                                                      \
    F(limit)                                                                                       \
    F(kind)                                                                                        \
    F(members)                                                                                     \
    F(users)                                                                                       \
    F(user)                                                                                        \
    F(role)                                                                                        \
    F(title)                                                                                       \
    F(meta)                                                                                        \
    F(on)                                                                                          \
    F(emoji)                                                                                       \
    F(status)                                                                                      \
    F(history)                                                                                     \
    F(retain_ms)                                                                                   \
    F(retain_count)                                                                                \
    F(from)

enum client_field {
#define F(name) FIELD_##name,
    CLIENT_FIELDS(F)
#undef F
        FIELD_COUNT, /* At most 32: a set of them is a uint32_t. */
};

#define FIELD_BIT(name) (1u << FIELD_##name)

/* What each request must and may have. What it may not have is ignored, as unknown keys are. */
struct client_shape {
    uint32_t required;
    uint32_t optional;
};

extern const struct client_shape client_shapes[CLIENT_REQUEST_COUNT];

/* And of the body of an HTTP request of that type; the path has said what is missing here. */
extern const struct client_shape client_body_shapes[CLIENT_REQUEST_COUNT];

enum client_rule_kind {
    RULE_NONE, /* Read by hand. */
    RULE_TEXT,
    RULE_NUMBER,
    RULE_AMOUNT, /* A number, or null for none. */
    RULE_BOOL,
    RULE_RAW, /* Any JSON value, byte for byte. */
    RULE_USERS,
};

/* How a field is read, and where it goes. */
struct client_rule {
    enum client_rule_kind kind;
    size_t at;                      /* In client_request. */
    size_t has_at;                  /* Where its has_ flag is; 0: it has none. */
    bool (*is_valid)(struct slice); /* Of a text. */
    const char *required, *broken;  /* What is said where it is missing, or breaks its rule. */
};

extern const struct client_rule client_rules[FIELD_COUNT];

#endif
