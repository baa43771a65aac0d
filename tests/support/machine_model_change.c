#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "mesh/base/limits.h"
#include "tests/support/machine_model.h"

#define ERASED_AT_ONCE 256u /* machine_erase.c */

/* The edit that was the message's text loses it. */
static void strip_edit(struct model_conv *conv, const struct model_entry *message, uint64_t edited,
                       uint64_t deleted)
{
    if (message->edited == 0)
        return;
    struct model_entry *edit = &conv->log[message->edited];
    edit->body = 0;
    edit->edited = edited;
    edit->deleted = deleted;
}

static void blank(struct model_conv *conv, struct model_entry *message, uint64_t by)
{
    strip_edit(conv, message, 0, by);
    message->body = 0;
    message->edited = 0;
    message->deleted = by;
    memset(message->set, 0, sizeof(message->set));
}

struct drawn {
    struct model_conv *conv;
    int user, emoji;
    uint64_t type, target;
    bool on;
};

static enum rc check(const struct drawn *d)
{
    const struct model_conv *conv = d->conv;
    uint64_t first = d->user != MODEL_OPERATOR ? conv->members[d->user].visible : 1;
    if (d->target < first || d->target <= conv->trimmed || d->target > conv->head ||
        conv->log[d->target].kind != 'm')
        return RC_NOT_FOUND;
    const struct model_entry *message = &conv->log[d->target];
    if (message->deleted != 0)
        return RC_CONFLICT;
    if (d->type == ENTRY_REACTION || d->user == MODEL_OPERATOR || d->user == message->from)
        return RC_OK;
    bool may_delete = !conv->is_direct && conv->members[d->user].role >= ROLE_ADMIN;
    return d->type == ENTRY_DELETE && may_delete ? RC_OK : RC_FORBIDDEN;
}

/* Seq of the entry that set it last. */
static uint64_t find_set(const struct model_conv *conv, const struct drawn *d)
{
    for (uint64_t seq = conv->head; seq > 0; seq--) {
        const struct model_entry *entry = &conv->log[seq];
        if (entry->kind == 'r' && entry->from == d->user && entry->edited == d->target &&
            entry->set[d->emoji][d->user])
            return seq;
    }
    return 0;
}

static struct rig_result carry_out(struct model *model, const struct drawn *d)
{
    struct model_conv *conv = d->conv;
    struct model_entry *message = &conv->log[d->target];
    if (d->type == ENTRY_REACTION) {
        bool *set = &message->set[d->emoji][d->user];
        uint64_t seq = *set ? find_set(conv, d) : conv->head;
        if (*set == d->on)
            return (struct rig_result){.seq = seq, .ts = conv->log[seq].ts, .dup = true};
        *set = d->on;
        struct model_entry *entry = &conv->log[model_append(conv, 'r', d->user)];
        entry->edited = d->target;
        entry->set[d->emoji][d->user] = d->on;
    } else if (d->type == ENTRY_EDIT) {
        struct model_entry *entry = &conv->log[model_append(conv, 'e', d->user)];
        entry->body = model->bodies;
        strip_edit(conv, message, conv->head, 0);
        message->body = model->bodies;
        message->edited = conv->head;
    } else {
        model_append(conv, '-', d->user);
        blank(conv, message, conv->head);
    }
    return (struct rig_result){.seq = conv->head, .ts = model->clock};
}

struct rig_result model_do_change(struct model *model, struct rig *rig)
{
    static const uint64_t types[] = {ENTRY_EDIT,     ENTRY_EDIT,     ENTRY_DELETE,
                                     ENTRY_REACTION, ENTRY_REACTION, ENTRY_REACTION};
    int c = (int)model_draw(model, MODEL_CONVS);
    struct model_conv *conv = &model->convs[c];
    /* Mostly something new: the messages of this very turn. */
    uint64_t back =
        model_draw(model, 3) == 0 ? model_draw(model, conv->head + 2) : model_draw(model, 6);
    struct drawn d = {
        .conv = conv,
        .user = (int)model_draw(model, MODEL_USERS),
        .emoji = (int)model_draw(model, MODEL_EMOJIS),
        .type = types[model_draw(model, 6)],
        .target = conv->head + 1 > back ? conv->head + 1 - back : 0,
        .on = model_draw(model, 3) > 0,
    };
    if (d.target <= conv->head && conv->log[d.target].kind == 'm' && model_draw(model, 2) == 0 &&
        conv->log[d.target].from >= 0)
        d.user = conv->log[d.target].from;
    bool is_operator = d.type != ENTRY_REACTION && model_draw(model, 20) == 0;
    int cid = model_draw(model, 4) == 0 && !is_operator ? (int)model_draw(model, MODEL_CIDS) : -1;
    char cid_text[2] = {(char)('a' + cid), 0};
    char body[24];
    snprintf(body, sizeof(body), "%lu", ++model->bodies);
    struct msg_cmd_change command = {
        .conv = model_conv_id(c),
        .type = d.type,
        .target = d.target,
        .body = slice_string(body),
        .emoji = slice_string(model_emojis[d.emoji]),
        .on = d.on,
        .as_server = is_operator,
    };
    if (cid >= 0)
        command.cid = slice_string(cid_text);
    if (is_operator)
        d.user = MODEL_OPERATOR;
    else
        command.user = slice_string(model_users[d.user]);
    rig_add(rig, &msg_cmd_change_desc, &command);
    if (!model_is_there(conv))
        return model_refused(RC_NOT_FOUND);
    if (!is_operator && !conv->members[d.user].current)
        return model_refused(RC_FORBIDDEN);
    struct model_dedup *dedup = cid >= 0 ? &model->dedup[c][d.user][cid] : NULL;
    if (dedup != NULL && dedup->seq != 0 && model->clock - dedup->ts < LIMIT_DEDUP_MS)
        return (struct rig_result){.seq = dedup->seq, .ts = dedup->ts, .dup = true};
    enum rc rc = check(&d);
    if (rc != RC_OK)
        return model_refused(rc);
    struct rig_result result = carry_out(model, &d);
    if (dedup != NULL && !result.dup)
        *dedup = (struct model_dedup){.seq = result.seq, .ts = result.ts};
    return result;
}

/* ---- What removes ---- */

static void trim_to(struct model_conv *conv, uint64_t upto)
{
    if (upto > conv->head)
        upto = conv->head;
    if (conv->owed_first != 0 && upto >= conv->owed_first)
        upto = conv->owed_first - 1;
    if (upto > conv->trimmed)
        conv->trimmed = upto;
}

struct rig_result model_do_trim(struct model *model, struct rig *rig)
{
    int c = (int)model_draw(model, MODEL_CONVS);
    struct model_conv *conv = &model->convs[c];
    struct msg_cmd_trim command = {
        .conv = model_conv_id(c),
        .upto = model_draw(model, conv->head + 2),
    };
    rig_add(rig, &msg_cmd_trim_desc, &command);
    if (!model_is_there(conv))
        return model_refused(RC_NOT_FOUND);
    trim_to(conv, command.upto);
    return (struct rig_result){.seq = conv->trimmed};
}

static void erase_entry(struct model_conv *conv, struct model_entry *entry, int user, uint64_t by)
{
    if (entry->kind == 'e' && entry->from == user && entry->body != 0) {
        entry->body = 0;
        entry->edited = 0;
        entry->deleted = by;
    }
    if (entry->kind != 'm' || entry->deleted != 0)
        return;
    if (entry->from == user)
        blank(conv, entry, by);
    else
        for (int emoji = 0; emoji < MODEL_EMOJIS; emoji++)
            entry->set[emoji][user] = false;
}

struct rig_result model_do_erase(struct model *model, struct rig *rig)
{
    int c = (int)model_draw(model, MODEL_CONVS);
    int user = (int)model_draw(model, MODEL_USERS);
    struct model_conv *conv = &model->convs[c];
    struct model_member *member = &conv->members[user];
    struct msg_cmd_erase command = {
        .conv = model_conv_id(c),
        .user = slice_string(model_users[user]),
        .after = model_draw(model, 2) == 0 ? 0 : model_draw(model, conv->head + 1),
    };
    rig_add(rig, &msg_cmd_erase_desc, &command);
    if (!model_is_there(conv))
        return model_refused(RC_NOT_FOUND);
    if (!member->was)
        return model_refused(RC_OK);
    if (member->current) {
        model_part(conv, user, MODEL_OPERATOR);
        model_replace_owner(conv, user, MODEL_OPERATOR);
    }
    uint64_t seq = command.after > conv->trimmed ? command.after : conv->trimmed;
    for (uint32_t count = 0; seq < member->left && count < ERASED_AT_ONCE; count++)
        erase_entry(conv, &conv->log[++seq], user, member->left);
    if (seq < member->left)
        return (struct rig_result){.seq = seq};
    *member = (struct model_member){0};
    return model_refused(RC_OK);
}

struct rig_result model_do_drop(struct model *model, struct rig *rig)
{
    int c = (int)model_draw(model, MODEL_CONVS);
    struct model_conv *conv = &model->convs[c];
    struct msg_cmd_drop command = {.conv = model_conv_id(c)};
    rig_add(rig, &msg_cmd_drop_desc, &command);
    if (!conv->exists)
        return model_refused(RC_NOT_FOUND);
    for (int user = 0; user < MODEL_USERS; user++) {
        if (conv->members[user].current)
            model_part(conv, user, MODEL_OPERATOR);
        conv->members[user] = (struct model_member){0};
    }
    conv->is_dropped = true;
    trim_to(conv, conv->head);
    return model_refused(RC_OK);
}

struct rig_result model_do_told(struct model *model, struct rig *rig)
{
    int c = (int)model_draw(model, MODEL_CONVS);
    struct model_conv *conv = &model->convs[c];
    struct msg_cmd_told command = {.conv = model_conv_id(c), .seq = conv->head};
    if (model_draw(model, 2) == 0)
        command.seq = model_draw(model, conv->head + 1);
    rig_add(rig, &msg_cmd_told_desc, &command);
    for (uint64_t seq = 1; seq <= command.seq; seq++)
        if (conv->log[seq].kind == 'o')
            conv->log[seq].kind = 't';
    if (conv->owed_first == 0 || command.seq < conv->owed_first)
        return model_refused(RC_OK);
    bool is_settled = command.seq >= conv->owed_last;
    conv->owed_first = is_settled ? 0 : command.seq + 1;
    if (is_settled && conv->is_dropped)
        trim_to(conv, conv->head);
    else if (is_settled && conv->begun != 0)
        trim_to(conv, conv->begun - 1);
    return model_refused(RC_OK);
}
