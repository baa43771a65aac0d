#include "mesh/base/limits.h"
#include "mesh/wire/key.h"
#include "nodes/router/machine_parts.h"

/* A group of this name would occupy the place of a direct conversation before its owners meet. */
#define DIRECT_PREFIX "dm:"

#define ROUTER_WEIGHT_MAX 1000u

static bool device_is_fine(struct slice device)
{
    return device.base == NULL || key_device_is_valid(device);
}

static bool cid_is_fine(struct slice cid)
{
    return cid.base == NULL || key_cid_is_valid(cid);
}

static bool is_direct_of(struct slice conv, struct slice a, struct slice b)
{
    char id[KEY_DIRECT_SIZE];
    key_direct(a, b, id);
    return slice_equal(conv, slice_of(id, sizeof(id)));
}

bool machine_next_name(struct record_reader *names, struct slice *ret_name)
{
    return !record_reader_at_end(names) && record_get_slice(names, ret_name) == RC_OK;
}

static enum rc check_names(struct slice names, uint32_t *ret_count, const char **ret_detail)
{
    struct record_reader r = record_reader_of(names);
    uint32_t count = 0;
    while (!record_reader_at_end(&r)) {
        struct slice name;
        if (record_get_slice(&r, &name) != RC_OK || !key_user_is_valid(name)) {
            *ret_detail = "a user's name is not valid";
            return RC_BAD_REQUEST;
        }
        if (++count > LIMIT_CREATE_MEMBERS_MAX) {
            *ret_detail = "too many users in one request";
            return RC_TOO_LARGE;
        }
    }
    *ret_count = count;
    return RC_OK;
}

static enum rc check_body(struct slice body, const char **ret_detail)
{
    if (body.size == 0) {
        *ret_detail = "the body is missing";
        return RC_BAD_REQUEST;
    }
    if (body.size > LIMIT_FRAME_SIZE_MAX) {
        *ret_detail = "the body is too large";
        return RC_TOO_LARGE;
    }
    return RC_OK;
}

static enum rc check_title_and_meta(struct slice title, struct slice meta, const char **ret_detail)
{
    if (title.size > LIMIT_TITLE_SIZE_MAX || meta.size > LIMIT_META_SIZE_MAX) {
        *ret_detail = "the title or meta is too large";
        return RC_TOO_LARGE;
    }
    if (!key_is_utf8(title)) {
        *ret_detail = "the title is not UTF-8";
        return RC_BAD_REQUEST;
    }
    return RC_OK;
}

static enum rc check_send(const struct msg_cmd_send *c, const char **ret_detail)
{
    if (!device_is_fine(c->device) || !cid_is_fine(c->cid)) {
        *ret_detail = "the device or cid is not valid";
        return RC_BAD_REQUEST;
    }
    if (c->peer.base != NULL &&
        (!key_user_is_valid(c->peer) || !is_direct_of(c->conv, c->user, c->peer))) {
        *ret_detail = "the conversation is not the direct one of these users";
        return RC_BAD_REQUEST;
    }
    return check_body(c->body, ret_detail);
}

static enum rc check_create_direct(const struct msg_cmd_create *c, const char **ret_detail)
{
    struct record_reader names = record_reader_of(c->members);
    struct slice first;
    struct slice other;
    bool one = machine_next_name(&names, &first);
    while (one && machine_next_name(&names, &other))
        one = slice_equal(first, other);
    if (!one) {
        *ret_detail = "a direct conversation has exactly one other member";
        return RC_BAD_REQUEST;
    }
    if (c->user.base == NULL || !is_direct_of(c->conv, c->user, first)) {
        *ret_detail = "the conversation is not the direct one of these users";
        return RC_BAD_REQUEST;
    }
    if (c->title.base != NULL || c->meta.base != NULL || c->history != 0 || c->retain_ms != 0 ||
        c->retain_count != 0) {
        *ret_detail = "a direct conversation has no title, no meta and no rules";
        return RC_BAD_REQUEST;
    }
    return RC_OK;
}

static enum rc check_create(const struct msg_cmd_create *c, const char **ret_detail)
{
    uint32_t count;
    enum rc rc = check_names(c->members, &count, ret_detail);
    if (rc == RC_OK)
        rc = check_title_and_meta(c->title, c->meta, ret_detail);
    if (rc == RC_OK && c->body.base != NULL)
        rc = check_body(c->body, ret_detail);
    if (rc != RC_OK)
        return rc;
    if (!device_is_fine(c->device) || !cid_is_fine(c->cid)) {
        *ret_detail = "the device or cid is not valid";
        return RC_BAD_REQUEST;
    }
    if (c->history > HISTORY_JOINED) {
        *ret_detail = "the history is not known";
        return RC_BAD_REQUEST;
    }
    if (c->user.base == NULL && c->body.base != NULL) {
        *ret_detail = "a message has a sender";
        return RC_BAD_REQUEST;
    }
    if (c->kind == CONV_DIRECT)
        return check_create_direct(c, ret_detail);
    if (c->kind != CONV_GROUP) {
        *ret_detail = "the kind is not known";
        return RC_BAD_REQUEST;
    }
    if (c->conv.size >= strlen(DIRECT_PREFIX) &&
        memcmp(c->conv.base, DIRECT_PREFIX, strlen(DIRECT_PREFIX)) == 0) {
        *ret_detail = "ids that begin with dm: are those of direct conversations";
        return RC_BAD_REQUEST;
    }
    return RC_OK;
}

static enum rc check_member(const struct msg_cmd_member *c, const char **ret_detail)
{
    uint32_t count;
    enum rc rc = check_names(c->users, &count, ret_detail);
    if (rc != RC_OK)
        return rc;
    if (c->change < MEMBER_ADD || c->change > MEMBER_LEAVE) {
        *ret_detail = "the change is not known";
        return RC_BAD_REQUEST;
    }
    if (c->change == MEMBER_LEAVE ? c->user.base == NULL : count == 0) {
        *ret_detail = "no user is named";
        return RC_BAD_REQUEST;
    }
    if (c->role > ROLE_OWNER || (c->change == MEMBER_ROLE && c->role < ROLE_MEMBER)) {
        *ret_detail = "the role is not known";
        return RC_BAD_REQUEST;
    }
    return RC_OK;
}

static enum rc check_info(const struct msg_cmd_info *c, const char **ret_detail)
{
    if (c->title.base == NULL && c->meta.base == NULL && c->history == 0 && c->retain_ms == 0 &&
        c->retain_count == 0) {
        *ret_detail = "nothing is to be changed";
        return RC_BAD_REQUEST;
    }
    if (c->history > HISTORY_JOINED) {
        *ret_detail = "the history is not known";
        return RC_BAD_REQUEST;
    }
    return check_title_and_meta(c->title, c->meta, ret_detail);
}

static enum rc check_change(const struct msg_cmd_change *c, const char **ret_detail)
{
    if (!device_is_fine(c->device) || !cid_is_fine(c->cid)) {
        *ret_detail = "the device or cid is not valid";
        return RC_BAD_REQUEST;
    }
    switch ((enum entry_type)c->type) {
    case ENTRY_EDIT:
        return check_body(c->body, ret_detail);
    case ENTRY_DELETE:
        return RC_OK;
    case ENTRY_REACTION:
        *ret_detail = "a reaction has an emoji, and a user who shows it";
        return key_emoji_is_valid(c->emoji) && c->user.base != NULL ? RC_OK : RC_BAD_REQUEST;
    default:
        *ret_detail = "the change is not known";
        return RC_BAD_REQUEST;
    }
}

static enum rc check_cluster(const struct msg_cmd_cluster *c, const char **ret_detail)
{
    if (c->shards < 1 || c->shards > LIMIT_SHARDS_MAX) {
        *ret_detail = "the number of shards is not valid";
        return RC_BAD_REQUEST;
    }
    if (c->replicas < 1 || c->replicas > LIMIT_REPLICAS_MAX || c->replicas % 2 == 0) {
        *ret_detail = "the number of replicas is not valid";
        return RC_BAD_REQUEST;
    }
    if (c->epoch.size != NODE_ROW_EPOCH_SIZE || !key_node_is_valid(c->epoch)) {
        *ret_detail = "the epoch is not valid";
        return RC_BAD_REQUEST;
    }
    return RC_OK;
}

static enum rc check_router(const struct msg_cmd_router *c, const char **ret_detail)
{
    if (!key_node_is_valid(c->node) || (c->zone.base != NULL && !key_node_is_valid(c->zone))) {
        *ret_detail = "the node id or the zone is not valid";
        return RC_BAD_REQUEST;
    }
    if (c->weight < 1 || c->weight > ROUTER_WEIGHT_MAX) {
        *ret_detail = "the weight is not valid";
        return RC_BAD_REQUEST;
    }
    if (c->state > ROUTER_REMOVED) {
        *ret_detail = "the state is not known";
        return RC_BAD_REQUEST;
    }
    return RC_OK;
}

static enum rc check_control(struct machine_command *c, const char **ret_detail)
{
    c->key_kind = MACHINE_KEY_CONTROL;
    if (c->number == MSG_CMD_CLUSTER) {
        c->key = slice_string("cluster");
        return check_cluster(&c->as.cluster, ret_detail);
    }
    c->key = c->as.router.node;
    return check_router(&c->as.router, ret_detail);
}

static enum rc check_seen(struct machine_command *c, const char **ret_detail)
{
    c->key_kind = MACHINE_KEY_USER;
    c->key = c->as.seen.user;
    *ret_detail = "the user's name or the time is not valid";
    bool is_fine = key_user_is_valid(c->key) && (c->as.seen.ts > 0 || c->as.seen.erase != 0);
    return is_fine ? RC_OK : RC_BAD_REQUEST;
}

/* What the number says, decoded into its place; *ret_conv and *ret_user, which it is from or about,
 * stay absent where it is nobody. */
static enum rc decode(struct slice bytes, struct machine_command *c, struct slice *ret_conv,
                      struct slice *ret_user)
{
    struct record_reader r = record_reader_of(bytes);
    uint32_t number;
    enum rc rc = record_peek(&r, &number);
    if (rc != RC_OK)
        return RC_BAD_REQUEST;
    c->number = (enum message_number)number;
    switch (c->number) {
#define COMMAND(X, x)                                                                              \
    case MSG_CMD_##X:                                                                              \
        rc = record_decode(&r, &msg_cmd_##x##_desc, &c->as.x);                                     \
        *ret_conv = c->as.x.conv;                                                                  \
        break;
        COMMAND(SEND, send)
        COMMAND(CREATE, create)
        COMMAND(MEMBER, member)
        COMMAND(INFO, info)
        COMMAND(CURSOR, cursor)
        COMMAND(INDEX, index)
        COMMAND(TOLD, told)
        COMMAND(PUSHED, pushed)
        COMMAND(CHANGE, change)
        COMMAND(TRIM, trim)
        COMMAND(ERASE, erase)
        COMMAND(DROP, drop)
#undef COMMAND
    case MSG_CMD_SEEN:
        rc = record_decode(&r, &msg_cmd_seen_desc, &c->as.seen);
        break;
    case MSG_CMD_CLUSTER:
        rc = record_decode(&r, &msg_cmd_cluster_desc, &c->as.cluster);
        break;
    case MSG_CMD_ROUTER:
        rc = record_decode(&r, &msg_cmd_router_desc, &c->as.router);
        break;
    default:
        return RC_UNSUPPORTED;
    }
    if (rc != RC_OK || !record_reader_at_end(&r))
        return RC_BAD_REQUEST;
    *ret_user = c->number == MSG_CMD_SEND     ? c->as.send.user
                : c->number == MSG_CMD_CREATE ? c->as.create.user
                : c->number == MSG_CMD_MEMBER ? c->as.member.user
                : c->number == MSG_CMD_INFO   ? c->as.info.user
                : c->number == MSG_CMD_CURSOR ? c->as.cursor.user
                : c->number == MSG_CMD_INDEX  ? c->as.index.user
                : c->number == MSG_CMD_SEEN   ? c->as.seen.user
                : c->number == MSG_CMD_CHANGE ? c->as.change.user
                : c->number == MSG_CMD_ERASE  ? c->as.erase.user
                                              : (struct slice){0};
    return RC_OK;
}

/* What a leader notes of a conversation, and what the operator does, is in nobody's name. */
static bool needs_user(const struct machine_command *c, struct slice user)
{
    switch (c->number) {
    case MSG_CMD_TOLD:
    case MSG_CMD_PUSHED:
    case MSG_CMD_TRIM:
    case MSG_CMD_DROP:
        return false;
    case MSG_CMD_CREATE:
        return user.base != NULL || c->as.create.as_server == 0;
    case MSG_CMD_MEMBER:
        return user.base != NULL || c->as.member.as_server == 0;
    case MSG_CMD_INFO:
        return user.base != NULL || c->as.info.as_server == 0;
    case MSG_CMD_CHANGE:
        return user.base != NULL || c->as.change.as_server == 0;
    default:
        return true;
    }
}

enum rc machine_check(struct slice bytes, struct machine_command *ret_command,
                      const char **ret_detail)
{
    struct machine_command *c = ret_command;
    struct slice conv = {0};
    struct slice user = {0};
    enum rc rc = decode(bytes, c, &conv, &user);
    if (rc != RC_OK) {
        *ret_detail = "this is not a command";
        return rc;
    }
    if (c->number == MSG_CMD_CLUSTER || c->number == MSG_CMD_ROUTER)
        return check_control(c, ret_detail);
    if (c->number == MSG_CMD_SEEN)
        return check_seen(c, ret_detail);
    if (!key_conv_is_valid(conv) || (needs_user(c, user) && !key_user_is_valid(user))) {
        *ret_detail = "the conversation's id or the user's name is not valid";
        return RC_BAD_REQUEST;
    }
    c->key_kind = c->number == MSG_CMD_INDEX ? MACHINE_KEY_USER : MACHINE_KEY_CONV;
    c->key = c->key_kind == MACHINE_KEY_USER ? user : conv;
    switch (c->number) {
    case MSG_CMD_SEND:
        return check_send(&c->as.send, ret_detail);
    case MSG_CMD_CREATE:
        return check_create(&c->as.create, ret_detail);
    case MSG_CMD_MEMBER:
        return check_member(&c->as.member, ret_detail);
    case MSG_CMD_INFO:
        return check_info(&c->as.info, ret_detail);
    case MSG_CMD_CHANGE:
        return check_change(&c->as.change, ret_detail);
    case MSG_CMD_CURSOR:
        *ret_detail = "the device is not valid";
        return device_is_fine(c->as.cursor.device) ? RC_OK : RC_BAD_REQUEST;
    default:
        return RC_OK;
    }
}

enum rc machine_check_command(struct slice command, enum message_number *ret_number,
                              struct slice *ret_key, enum machine_key *ret_key_kind,
                              const char **ret_detail)
{
    struct machine_command c;
    enum rc rc = machine_check(command, &c, ret_detail);
    if (rc != RC_OK)
        return rc;
    *ret_number = c.number;
    *ret_key = c.key;
    *ret_key_kind = c.key_kind;
    return RC_OK;
}
