/* messages - what nodes say to each other, from messages.tbl.h.
 *
 * For each row: `struct msg_x`, `MSG_X` (its number), `msg_x_desc`. Encode with record_encode(out,
 * &msg_x_desc, &x), decode with record_decode(). Slices are borrowed from what was decoded. */
#ifndef MESH_WIRE_MESSAGES_H
#define MESH_WIRE_MESSAGES_H

#include "mesh/base/record.h"
#include "mesh/wire/messages.tbl.h"

#define MESSAGES_VERSION 1u

enum message_number {
#define M(x, X, n) MSG_##X = n,
    MESSAGES(M)
#undef M
};

#define M(x, X, n)                                                                                 \
    struct msg_##x {                                                                               \
        FIELDS_##x(RECORD_MEMBER, msg_##x)                                                         \
    };                                                                                             \
    extern const struct record_desc msg_##x##_desc;
MESSAGES(M)
#undef M

enum node_role {
    NODE_ROUTER = 1,
    NODE_GATEWAY = 2,
};

/* A router on the committed list. */
enum router_state {
    ROUTER_JOINS = 0,    /* Only in a command: DRAINING stays, all else becomes ACTIVE. */
    ROUTER_ACTIVE = 1,   /* Holds shards. */
    ROUTER_DRAINING = 2, /* Alive, but its shards go elsewhere. */
    ROUTER_LOST = 3,     /* Silent for too long: its shards are held elsewhere, until it is back. */
    ROUTER_REMOVED = 4,  /* Off the list for good; the row keeps the name from coming back. */
};

enum operate_action {
    OPERATE_DRAIN = 1,   /* ACTIVE -> DRAINING. */
    OPERATE_UNDRAIN = 2, /* DRAINING -> ACTIVE. */
    OPERATE_REMOVE = 3,  /* DRAINING or LOST, and holding nothing -> REMOVED. */
};

enum conv_kind {
    CONV_DIRECT = 1,
    CONV_GROUP = 2,
};

/* The conversations that a user left, in answer to user_open. */
enum user_past {
    USER_PAST_NONE,
    USER_PAST_AMONG_OTHERS,
    USER_PAST_APART, /* Those he left within LIMIT_LEFT_MS. */
};

enum entry_type {
    ENTRY_MESSAGE = 1,
    ENTRY_EDIT = 2,
    ENTRY_DELETE = 3,
    ENTRY_REACTION = 4,
    ENTRY_MEMBER = 5,
    ENTRY_INFO = 6,
};

enum member_change {
    MEMBER_ADD = 1,    /* As an entry: joined. */
    MEMBER_REMOVE = 2, /* As an entry: removed by `from`. */
    MEMBER_ROLE = 3,
    MEMBER_LEAVE = 4, /* As an entry: left by himself. */
};

/* What a newcomer sees of what was said before him. */
enum conv_history {
    HISTORY_ALL = 1,
    HISTORY_JOINED = 2, /* From the entry that let him in. */
};

/* Of cmd_info: entries are kept for ever. */
#define RETAIN_FOREVER UINT64_MAX

enum presence_status {
    PRESENCE_OFFLINE = 0,
    PRESENCE_ONLINE = 1,
    PRESENCE_AWAY = 2,
    PRESENCE_BUSY = 3,
};

enum member_role {
    ROLE_MEMBER = 1,
    ROLE_ADMIN = 2,
    ROLE_OWNER = 3,
};

#endif
