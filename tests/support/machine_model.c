#include "tests/support/machine_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "mesh/base/limits.h"

const char *const model_users[MODEL_USERS] = {"u0", "u1", "u2", "u3", "u4", "u5"};
const char *const model_devices[MODEL_DEVICES] = {"phone", "tablet"};
const char *const model_emojis[MODEL_EMOJIS] = {"+1", "-1", "!"};
/* The two of each direct conversation. */
static const int peers[MODEL_CONVS][2] = {[MODEL_GROUPS] = {0, 1}, {2, 3}, {4, 4}};

uint64_t model_draw(struct model *model, uint64_t below)
{
    model->random ^= model->random << 13; /* Marsaglia's xorshift64. */
    model->random ^= model->random >> 7;
    model->random ^= model->random << 17;
    return (model->random >> 11) % below;
}

struct slice model_conv_id(int conv)
{
    static const char *const groups[MODEL_GROUPS] = {"g0", "g1", "g2", "g3"};
    return conv < MODEL_GROUPS
               ? slice_string(groups[conv])
               : rig_direct(model_users[peers[conv][0]], model_users[peers[conv][1]]);
}

void model_init(struct model *model, uint64_t seed)
{
    model->random = seed * 0x9e3779b97f4a7c15u + 1;
    for (int c = 0; c < MODEL_CONVS; c++) {
        model->convs[c].is_direct = c >= MODEL_GROUPS;
        model->convs[c].clock = &model->clock;
    }
}

/* ---- What the model makes of a command ---- */

uint64_t model_messages(const struct model_conv *conv, uint64_t first, uint64_t last)
{
    uint64_t count = 0;
    for (uint64_t seq = first; seq <= last; seq++)
        count += conv->log[seq].kind == 'm';
    return count;
}

uint64_t model_append(struct model_conv *conv, char kind, int from)
{
    assert_true(conv->head + 1 < MODEL_LOG_MAX);
    conv->log[++conv->head] = (struct model_entry){
        .kind = kind,
        .from = from,
        .ts = *conv->clock,
    };
    if (kind != 'o')
        return conv->head;
    if (conv->owed_first == 0)
        conv->owed_first = conv->head;
    conv->owed_last = conv->head;
    return conv->head;
}

static void join(struct model_conv *conv, int from, int user, uint64_t role)
{
    struct model_member *member = &conv->members[user];
    member->was = true;
    member->current = true;
    member->role = role;
    member->left = 0;
    member->joined = model_append(conv, 'o', from);
    member->visible = 1;
    if (!conv->is_for_newcomers && !conv->is_direct)
        return;
    member->visible = conv->head;
    uint64_t messages = model_messages(conv, 1, conv->head);
    if (member->read_messages == messages)
        return;
    member->read = conv->head - 1;
    member->read_messages = messages;
}

/* At the creation: everyone sees all of it. */
static void join_first(struct model_conv *conv, int from, int user, uint64_t role, uint64_t first)
{
    if (conv->members[user].was)
        return;
    join(conv, from, user, role);
    conv->members[user].visible = first;
}

int model_count_role(const struct model_conv *conv, uint64_t role)
{
    int count = 0;
    for (int user = 0; user < MODEL_USERS; user++)
        count += conv->members[user].current && conv->members[user].role == role;
    return count;
}

static struct rig_result model_message(struct model *model, int c, int user, int cid, uint64_t body)
{
    struct model_conv *conv = &model->convs[c];
    struct model_dedup *dedup = &model->dedup[c][user][cid];
    if (dedup->seq != 0 && model->clock - dedup->ts < LIMIT_DEDUP_MS)
        return (struct rig_result){.seq = dedup->seq, .ts = dedup->ts, .dup = true};
    if (!conv->members[user].current)
        join(conv, user, user, ROLE_MEMBER);
    dedup->seq = model_append(conv, 'm', user);
    dedup->ts = model->clock;
    conv->log[conv->head].body = body;
    conv->members[user].read = conv->head;
    conv->members[user].read_messages = model_messages(conv, 1, conv->head);
    return (struct rig_result){.seq = conv->head, .ts = model->clock};
}

/* Who is named, and was erased, is a member again. */
static struct rig_result model_message_to(struct model *model, int c, int user, int peer, int cid,
                                          uint64_t body)
{
    struct model_conv *conv = &model->convs[c];
    const struct model_dedup *dedup = &model->dedup[c][user][cid];
    bool is_again = dedup->seq != 0 && model->clock - dedup->ts < LIMIT_DEDUP_MS;
    if (!is_again && !conv->members[user].current)
        join(conv, user, user, ROLE_MEMBER);
    if (!is_again && !conv->members[peer].current)
        join(conv, user, peer, ROLE_MEMBER);
    return model_message(model, c, user, cid, body);
}

static void model_direct(struct model_conv *conv, int user, int peer)
{
    uint64_t first = conv->head + 1; /* Beyond 1 where it was ended before. */
    conv->begun = conv->exists ? first : 0;
    conv->exists = true;
    conv->is_dropped = false;
    conv->creator = user;
    join_first(conv, user, user, ROLE_MEMBER, first);
    join_first(conv, user, peer, ROLE_MEMBER, first);
}

static struct rig_result do_send(struct model *model, struct rig *rig)
{
    int c = (int)model_draw(model, MODEL_CONVS);
    int user = (int)model_draw(model, MODEL_USERS);
    int cid = (int)model_draw(model, MODEL_CIDS);
    struct model_conv *conv = &model->convs[c];
    char cid_text[2] = {(char)('a' + cid), 0};
    char body[24];
    snprintf(body, sizeof(body), "%lu", ++model->bodies);
    struct msg_cmd_send command = {
        .conv = model_conv_id(c),
        .user = slice_string(model_users[user]),
        .cid = slice_string(cid_text),
        .body = slice_string(body),
    };
    int peer = -1;
    if (conv->is_direct && model_draw(model, 2) == 0) {
        user = peers[c][model_draw(model, 2)];
        peer = peers[c][0] == user ? peers[c][1] : peers[c][0];
        command.user = slice_string(model_users[user]);
        command.peer = slice_string(model_users[peer]);
    }
    rig_add(rig, &msg_cmd_send_desc, &command);
    const struct model_dedup *dedup = &model->dedup[c][user][cid];
    if (!model_is_there(conv) && dedup->seq != 0 && model->clock - dedup->ts < LIMIT_DEDUP_MS)
        return (struct rig_result){.seq = dedup->seq, .ts = dedup->ts, .dup = true};
    if (!model_is_there(conv) && peer < 0)
        return model_refused(RC_NOT_FOUND);
    if (!model_is_there(conv))
        model_direct(conv, user, peer);
    if (!conv->members[user].current && peer < 0)
        return model_refused(RC_FORBIDDEN);
    if (peer >= 0)
        return model_message_to(model, c, user, peer, cid, model->bodies);
    return model_message(model, c, user, cid, model->bodies);
}

static struct rig_result do_create(struct model *model, struct rig *rig)
{
    int c = (int)model_draw(model, MODEL_GROUPS);
    int user = (int)model_draw(model, MODEL_USERS);
    int first = (int)model_draw(model, MODEL_USERS);
    int second = (int)model_draw(model, MODEL_USERS);
    struct model_conv *conv = &model->convs[c];
    char body[24];
    snprintf(body, sizeof(body), "%lu", ++model->bodies);
    struct buf *names = buf_new(0);
    record_put_slice(names, slice_string(model_users[first]));
    record_put_slice(names, slice_string(model_users[second]));
    struct msg_cmd_create command = {
        .conv = model_conv_id(c),
        .user = slice_string(model_users[user]),
        .kind = CONV_GROUP,
        .members = buf_slice(names),
        .cid = slice_string("a"),
        .body = slice_string(body),
        .history = model_draw(model, 3),
    };
    rig_add(rig, &msg_cmd_create_desc, &command);
    buf_unref(&names);
    struct model_dedup *dedup = &model->made[c];
    if (conv->is_dropped)
        return model_refused(RC_CONFLICT);
    if (conv->exists && conv->creator == user && dedup->seq != 0 &&
        model->clock - dedup->ts < LIMIT_DEDUP_MS)
        return (struct rig_result){.seq = dedup->seq, .ts = dedup->ts, .dup = true};
    if (conv->exists)
        return model_refused(RC_CONFLICT);
    conv->exists = true;
    conv->creator = user;
    conv->is_for_newcomers = command.history == HISTORY_JOINED;
    join_first(conv, user, user, ROLE_OWNER, 1);
    join_first(conv, user, first, ROLE_MEMBER, 1);
    join_first(conv, user, second, ROLE_MEMBER, 1);
    struct rig_result result = model_message(model, c, user, 0, model->bodies);
    *dedup = (struct model_dedup){.seq = result.seq, .ts = result.ts};
    return result;
}

void model_part(struct model_conv *conv, int user, int by)
{
    conv->members[user].current = false;
    conv->members[user].left = model_append(conv, 'o', by);
}

/* After `left` went, who may have been the last owner. */
void model_replace_owner(struct model_conv *conv, int left, int by)
{
    if (conv->members[left].role != ROLE_OWNER || model_count_role(conv, ROLE_OWNER) > 0)
        return;
    int heir = -1;
    for (int u = 0; u < MODEL_USERS; u++) {
        const struct model_member *m = &conv->members[u];
        if (m->current &&
            (heir < 0 || m->role > conv->members[heir].role ||
             (m->role == conv->members[heir].role && m->joined < conv->members[heir].joined)))
            heir = u;
    }
    if (heir >= 0) {
        conv->members[heir].role = ROLE_OWNER;
        model_append(conv, '-', by);
    }
}

static enum rc model_change(struct model_conv *conv, int user, uint64_t change, int target,
                            uint64_t role)
{
    struct model_member *asker = &conv->members[user];
    struct model_member *member = &conv->members[target];
    if (change == MEMBER_LEAVE) {
        model_part(conv, user, user);
        model_replace_owner(conv, user, user);
    } else if (asker->role < ROLE_ADMIN) {
        return RC_FORBIDDEN;
    } else if (change == MEMBER_ADD) {
        if (role > ROLE_MEMBER && asker->role != ROLE_OWNER)
            return RC_FORBIDDEN;
        if (!member->current)
            join(conv, user, target, role);
    } else if (change == MEMBER_REMOVE) {
        if (target == user)
            return RC_BAD_REQUEST;
        if (member->current && member->role == ROLE_OWNER && asker->role != ROLE_OWNER)
            return RC_FORBIDDEN;
        if (member->current)
            model_part(conv, target, user);
    } else {
        if (asker->role != ROLE_OWNER)
            return RC_FORBIDDEN;
        if (!member->current)
            return RC_NOT_FOUND;
        if (role != ROLE_OWNER && member->role == ROLE_OWNER &&
            model_count_role(conv, ROLE_OWNER) == 1)
            return RC_CONFLICT;
        if (member->role != role) {
            member->role = role;
            model_append(conv, '-', user);
        }
    }
    return RC_OK;
}

static struct rig_result do_member(struct model *model, struct rig *rig)
{
    int c = (int)model_draw(model, MODEL_CONVS);
    int user = (int)model_draw(model, MODEL_USERS);
    int target = (int)model_draw(model, MODEL_USERS);
    uint64_t change = 1 + model_draw(model, 4);
    uint64_t role = 1 + model_draw(model, 3);
    if (change == MEMBER_LEAVE && model_draw(model, 2) == 0)
        change = MEMBER_ADD; /* So that groups do not stay empty. */
    struct model_conv *conv = &model->convs[c];
    struct buf *names = rig_names(model_users[target]);
    struct msg_cmd_member command = {
        .conv = model_conv_id(c),
        .user = slice_string(model_users[user]),
        .change = change,
        .users = buf_slice(names),
        .role = role,
    };
    rig_add(rig, &msg_cmd_member_desc, &command);
    buf_unref(&names);
    if (!model_is_there(conv))
        return model_refused(RC_NOT_FOUND);
    if (!conv->members[user].current || c >= MODEL_GROUPS)
        return model_refused(RC_FORBIDDEN);
    uint64_t before = conv->head;
    enum rc rc = model_change(conv, user, change, target, role);
    if (rc != RC_OK || conv->head == before)
        return model_refused(rc);
    return (struct rig_result){.seq = conv->head, .ts = model->clock};
}

static struct rig_result do_info(struct model *model, struct rig *rig)
{
    int c = (int)model_draw(model, MODEL_CONVS);
    int user = (int)model_draw(model, MODEL_USERS);
    struct model_conv *conv = &model->convs[c];
    struct msg_cmd_info command = {
        .conv = model_conv_id(c),
        .user = slice_string(model_users[user]),
        .history = model_draw(model, 3),
        .retain_count = 1 + model_draw(model, 100),
    };
    if (model_draw(model, 2) == 0)
        command.title = slice_string("title");
    rig_add(rig, &msg_cmd_info_desc, &command);
    if (!model_is_there(conv))
        return model_refused(RC_NOT_FOUND);
    if (!conv->members[user].current || c >= MODEL_GROUPS || conv->members[user].role < ROLE_ADMIN)
        return model_refused(RC_FORBIDDEN);
    if (command.history != 0)
        conv->is_for_newcomers = command.history == HISTORY_JOINED;
    if (command.title.base == NULL)
        return model_refused(RC_OK);
    return (struct rig_result){.seq = model_append(conv, '-', user), .ts = model->clock};
}

static uint64_t clamp(uint64_t value, uint64_t max)
{
    return value < max ? value : max;
}

/* Where a cursor stands in what is trimmed, the machine knows only what followed, if that. */
static uint64_t count_read(const struct model_conv *conv, uint64_t read)
{
    bool only_messages = model_messages(conv, read + 1, conv->head) == conv->head - read;
    if (read != 0 && read <= conv->trimmed && !only_messages)
        read = conv->trimmed;
    return model_messages(conv, 1, read);
}

static struct rig_result do_cursor(struct model *model, struct rig *rig)
{
    int c = (int)model_draw(model, MODEL_CONVS);
    int user = (int)model_draw(model, MODEL_USERS);
    struct model_conv *conv = &model->convs[c];
    struct model_member *member = &conv->members[user];
    int device = (int)model_draw(model, MODEL_DEVICES);
    struct msg_cmd_cursor command = {
        .conv = model_conv_id(c),
        .user = slice_string(model_users[user]),
        .device = slice_string(model_devices[device]),
        .delivered = model_draw(model, conv->head + 3),
        .read = model_draw(model, conv->head + 3),
    };
    rig_add(rig, &msg_cmd_cursor_desc, &command);
    if (!model_is_there(conv))
        return model_refused(RC_NOT_FOUND);
    if (!member->was)
        return model_refused(RC_FORBIDDEN);
    uint64_t head = member->current ? conv->head : member->left;
    uint64_t read = clamp(command.read, head);
    uint64_t delivered = clamp(command.delivered, head);
    if (delivered < read)
        delivered = read;
    if (read > member->read) {
        member->read = read;
        member->read_messages = count_read(conv, read);
    }
    if (delivered > member->delivered[device])
        member->delivered[device] = delivered;
    return model_refused(RC_OK);
}

static struct rig_result do_index(struct model *model, struct rig *rig)
{
    int c = (int)model_draw(model, MODEL_CONVS);
    int user = (int)model_draw(model, MODEL_USERS);
    struct msg_cmd_index command = {
        .user = slice_string(model_users[user]),
        .conv = model_conv_id(c),
        .seq = 1 + model_draw(model, 400),
        .gone = model_draw(model, 2),
    };
    rig_add(rig, &msg_cmd_index_desc, &command);
    if (command.seq <= model->index_seq[user][c])
        return model_refused(RC_OK);
    model->index_seq[user][c] = command.seq;
    model->index_gone[user][c] = command.gone != 0;
    return (struct rig_result){.seq = command.seq};
}

struct buf *model_entry(struct model *model, struct rig *rig, uint32_t *ret_count)
{
    uint64_t jump = model_draw(model, 100);
    rig->ts += jump == 0   ? LIMIT_DEDUP_MS / 2
               : jump == 1 ? LIMIT_DEDUP_MS * 3
               : jump < 10 ? LIMIT_DEDUP_MS / 10
                           : model_draw(model, 1000);
    if (jump > 95)
        rig->ts -= 5000;
    if (rig->ts > model->clock)
        model->clock = rig->ts;
    uint32_t count = 1 + (uint32_t)model_draw(model, MODEL_COMMANDS);
    for (uint32_t i = 0; i < count; i++) {
        uint64_t kind = model_draw(model, 1000);
        model->expected[i] = kind < 300   ? do_send(model, rig)
                             : kind < 550 ? model_do_change(model, rig)
                             : kind < 610 ? do_create(model, rig)
                             : kind < 760 ? do_member(model, rig)
                             : kind < 790 ? do_info(model, rig)
                             : kind < 910 ? do_cursor(model, rig)
                             : kind < 950 ? model_do_told(model, rig)
                             : kind < 975 ? do_index(model, rig)
                             : kind < 988 ? model_do_trim(model, rig)
                             : kind < 998 ? model_do_erase(model, rig)
                                          : model_do_drop(model, rig);
    }
    *ret_count = count;
    return rig_pack(rig);
}
