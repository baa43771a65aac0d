#include "mesh/base/check.h"
#include "nodes/router/machine_parts.h"

/* Newcomers see all, or what follows their entry, which then is read up to there. Who comes back
 * into a direct conversation was erased in between, and whoever bears his name now sees nothing of
 * what was. */
static void set_view(const struct machine_conv *conv, struct machine_member *member)
{
    member->row.visible = 1;
    if (conv->info.history != HISTORY_JOINED && conv->info.kind != CONV_DIRECT)
        return;
    member->row.visible = conv->head.seq;
    if (member->cursor.messages == conv->head.messages)
        return;
    member->cursor.read = conv->head.seq - 1;
    member->cursor.messages = conv->head.messages;
    member->cursor_changed = true;
}

struct machine_member *machine_join(struct machine *m, struct machine_conv *conv, struct slice from,
                                    struct slice user, struct machine_member *member,
                                    enum member_role role)
{
    if (member == NULL)
        member = machine_cache_add_member(m, conv, user);
    conv->head.members++;
    if (role == ROLE_OWNER)
        conv->head.owners++;
    machine_log_append_member(m, conv, from, user, MEMBER_ADD, role);
    machine_cache_touch_member(m, conv, member);
    member->row = (struct row_member){.role = role, .joined = conv->head.seq};
    member->row_changed = true;
    set_view(conv, member);
    machine_count_in(conv, member); /* He may have been here before. */
    return member;
}

void machine_part(struct machine *m, struct machine_conv *conv, struct slice from,
                  struct machine_member *member, enum member_change change)
{
    CHECK(machine_is_current(member));
    conv->head.members--;
    if (member->row.role == ROLE_OWNER)
        conv->head.owners--;
    machine_log_append_member(m, conv, from, member->user, change,
                              (enum member_role)member->row.role);
    machine_cache_touch_member(m, conv, member);
    machine_count_out(conv, member);
    member->row.left = conv->head.seq;
    member->row_changed = true;
}

static void set_role(struct machine *m, struct machine_conv *conv, struct slice from,
                     struct machine_member *member, enum member_role role)
{
    CHECK(machine_is_current(member));
    if (member->row.role == ROLE_OWNER)
        conv->head.owners--;
    if (role == ROLE_OWNER)
        conv->head.owners++;
    member->row.role = role;
    member->row_changed = true;
    machine_cache_touch_member(m, conv, member);
    machine_log_append_member(m, conv, from, member->user, MEMBER_ROLE, role);
}

static void answer(const struct machine_conv *conv, uint64_t seq_before,
                   struct machine_result *result)
{
    if (conv->head.seq == seq_before)
        return; /* Nothing changed: seq is 0. */
    result->seq = conv->head.seq;
    result->ts = conv->head.last_ts;
}

/* ---- Who becomes owner when the last one leaves ---- */

struct heir {
    uint64_t role, joined; /* 0: none yet. */
    char user[LIMIT_USER_SIZE_MAX];
    uint32_t user_size;
};

/* Admins before members, then who was there first. `joined` is never the same for two. */
static void consider(struct heir *heir, struct slice user, const struct row_member *row)
{
    if (row->left != 0 || user.size > sizeof(heir->user))
        return;
    if (heir->joined != 0 &&
        (row->role < heir->role || (row->role == heir->role && row->joined > heir->joined)))
        return;
    heir->role = row->role;
    heir->joined = row->joined;
    memcpy(heir->user, user.base, user.size);
    heir->user_size = user.size;
}

/* Members in memory are newer than their rows; the others are as stored. A walk over all members,
 * but only when a last owner goes. */
static enum rc find_heir(struct machine *m, const struct machine_conv *conv, struct heir *heir)
{
    const struct machine_member *member;
    for (size_t at = 0; (member = map_next(&conv->members, &at)) != NULL;)
        consider(heir, member->user, &member->row);
    struct keyspace_key prefix;
    keyspace_name(&prefix, &m->keys, KEYSPACE_MEMBER, conv->id);
    struct kv_iterator *iterator = machine_rows_iterate(m, &prefix, NULL);
    struct slice key;
    struct slice value;
    enum rc rc = RC_OK;
    while (rc == RC_OK && m->kv->ops->next(iterator, &key, &value)) {
        struct slice user;
        struct row_member row;
        rc = keyspace_get_second_name(key, &user) ? RC_OK : RC_CORRUPT;
        if (rc == RC_OK && map_get(&conv->members, user) == NULL) {
            rc = rows_decode(key, value, &row_member_desc, &row);
            if (rc == RC_OK)
                consider(heir, user, &row);
        }
    }
    return machine_rows_end(m, &iterator, rc);
}

enum rc machine_replace_owner(struct machine *m, struct machine_conv *conv, struct slice from,
                              uint64_t before)
{
    struct heir heir = {0};
    struct machine_member *owner;
    if (before == 0 || conv->head.owners > 0 || conv->head.members == 0)
        return RC_OK;
    enum rc rc = find_heir(m, conv, &heir);
    if (rc == RC_OK)
        rc = machine_cache_member(m, conv, slice_of(heir.user, heir.user_size), &owner);
    if (rc != RC_OK)
        return rc;
    if (!machine_is_current(owner))
        return RC_CORRUPT; /* The head counts a member that is not there. */
    set_role(m, conv, from, owner, ROLE_OWNER);
    return RC_OK;
}

static enum rc leave(struct machine *m, struct machine_conv *conv, struct machine_member *asker,
                     struct machine_result *result)
{
    uint64_t before = conv->head.seq;
    uint64_t owners = conv->head.owners;
    machine_part(m, conv, asker->user, asker, MEMBER_LEAVE);
    enum rc rc = machine_replace_owner(m, conv, asker->user, owners);
    if (rc == RC_OK)
        answer(conv, before, result);
    return rc;
}

/* ---- Changes by others: `asker` is NULL where the operator makes them ---- */

static enum rc add(struct machine *m, struct machine_conv *conv, struct machine_member *asker,
                   const struct msg_cmd_member *c, struct machine_result *result)
{
    enum member_role role = c->role == 0 ? ROLE_MEMBER : (enum member_role)c->role;
    if (role > ROLE_MEMBER && asker != NULL && asker->row.role != ROLE_OWNER)
        return machine_refuse(result, RC_FORBIDDEN, "only an owner gives roles");
    uint64_t before = conv->head.seq;
    struct record_reader names = record_reader_of(c->users);
    for (struct slice name; machine_next_name(&names, &name);) {
        struct machine_member *member;
        enum rc rc = machine_cache_member(m, conv, name, &member);
        if (rc != RC_OK)
            return rc;
        if (!machine_is_current(member))
            machine_join(m, conv, machine_author(c->user), name, member, role);
    }
    answer(conv, before, result);
    return RC_OK;
}

/* All of it or nothing, so first a look at everybody. */
static enum rc check_remove(struct machine *m, struct machine_conv *conv,
                            struct machine_member *asker, const struct msg_cmd_member *c,
                            struct machine_result *result)
{
    struct record_reader names = record_reader_of(c->users);
    for (struct slice name; asker != NULL && machine_next_name(&names, &name);) {
        struct machine_member *member;
        enum rc rc = machine_cache_member(m, conv, name, &member);
        if (rc != RC_OK)
            return rc;
        if (member == asker)
            return machine_refuse(result, RC_BAD_REQUEST, "to go yourself, leave");
        if (machine_is_current(member) && member->row.role == ROLE_OWNER &&
            asker->row.role != ROLE_OWNER)
            return machine_refuse(result, RC_FORBIDDEN, "an admin does not remove an owner");
    }
    return RC_OK;
}

static enum rc remove_members(struct machine *m, struct machine_conv *conv,
                              struct machine_member *asker, const struct msg_cmd_member *c,
                              struct machine_result *result)
{
    enum rc rc = check_remove(m, conv, asker, c, result);
    if (rc != RC_OK || result->rc != RC_OK)
        return rc;
    uint64_t before = conv->head.seq;
    uint64_t owners = conv->head.owners;
    struct record_reader names = record_reader_of(c->users);
    for (struct slice name; machine_next_name(&names, &name);) {
        struct machine_member *member;
        rc = machine_cache_member(m, conv, name, &member);
        if (rc != RC_OK)
            return rc;
        if (machine_is_current(member)) /* Gone already: what was asked for is so. */
            machine_part(m, conv, machine_author(c->user), member, MEMBER_REMOVE);
    }
    rc = machine_replace_owner(m, conv, machine_author(c->user), owners);
    answer(conv, before, result);
    return rc;
}

static enum rc check_roles(struct machine *m, struct machine_conv *conv,
                           const struct msg_cmd_member *c, struct machine_result *result)
{
    uint64_t owners = conv->head.owners;
    struct record_reader names = record_reader_of(c->users);
    for (struct slice name; machine_next_name(&names, &name);) {
        struct machine_member *member;
        enum rc rc = machine_cache_member(m, conv, name, &member);
        if (rc != RC_OK)
            return rc;
        if (!machine_is_current(member))
            return machine_refuse(result, RC_NOT_FOUND, "one of them is not a member");
        if (member->mark == m->mark)
            continue; /* Named twice. */
        member->mark = m->mark;
        if (member->row.role == ROLE_OWNER && c->role != ROLE_OWNER)
            owners--;
    }
    if (owners == 0 && conv->head.owners > 0 && c->role != ROLE_OWNER)
        return machine_refuse(result, RC_CONFLICT, "a group keeps at least one owner");
    return RC_OK;
}

static enum rc set_roles(struct machine *m, struct machine_conv *conv, struct machine_member *asker,
                         const struct msg_cmd_member *c, struct machine_result *result)
{
    if (asker != NULL && asker->row.role != ROLE_OWNER)
        return machine_refuse(result, RC_FORBIDDEN, "only an owner gives roles");
    enum rc rc = check_roles(m, conv, c, result);
    if (rc != RC_OK || result->rc != RC_OK)
        return rc;
    uint64_t before = conv->head.seq;
    struct record_reader names = record_reader_of(c->users);
    for (struct slice name; machine_next_name(&names, &name);) {
        struct machine_member *member;
        rc = machine_cache_member(m, conv, name, &member);
        if (rc != RC_OK)
            return rc;
        if (member->row.role != c->role)
            set_role(m, conv, machine_author(c->user), member, (enum member_role)c->role);
    }
    answer(conv, before, result);
    return RC_OK;
}

enum rc machine_find(struct machine *m, struct slice id, struct machine_conv **ret_conv,
                     struct machine_result *result)
{
    enum rc rc = machine_cache_conv(m, id, ret_conv);
    if (rc == RC_OK && *ret_conv == NULL)
        rc = machine_refuse(result, RC_NOT_FOUND, "there is no such conversation");
    return rc;
}

enum rc machine_enter(struct machine *m, struct slice id, struct slice user, bool as_server,
                      struct machine_conv **ret_conv, struct machine_member **ret_asker,
                      struct machine_result *result)
{
    *ret_asker = NULL;
    enum rc rc = machine_find(m, id, ret_conv, result);
    if (rc != RC_OK || result->rc != RC_OK || as_server)
        return rc;
    rc = machine_cache_member(m, *ret_conv, user, ret_asker);
    if (rc != RC_OK)
        return rc;
    if (!machine_is_current(*ret_asker))
        return machine_refuse(result, RC_FORBIDDEN, "you are not a member");
    return RC_OK;
}

enum rc machine_change_members(struct machine *m, const struct msg_cmd_member *c,
                               struct machine_result *result)
{
    struct machine_conv *conv;
    struct machine_member *asker;
    bool as_server = c->as_server != 0 && c->change != MEMBER_LEAVE; /* One leaves by oneself. */
    enum rc rc = machine_enter(m, c->conv, c->user, as_server, &conv, &asker, result);
    if (rc != RC_OK || result->rc != RC_OK)
        return rc;
    if (conv->info.kind != CONV_GROUP)
        return machine_refuse(result, RC_FORBIDDEN, "a direct conversation stays as it is");
    if (c->change == MEMBER_LEAVE)
        return leave(m, conv, asker, result);
    if (asker != NULL && asker->row.role < ROLE_ADMIN)
        return machine_refuse(result, RC_FORBIDDEN, "this takes an admin or owner");
    switch ((enum member_change)c->change) {
    case MEMBER_ADD:
        return add(m, conv, asker, c, result);
    case MEMBER_REMOVE:
        return remove_members(m, conv, asker, c, result);
    default:
        return set_roles(m, conv, asker, c, result);
    }
}
