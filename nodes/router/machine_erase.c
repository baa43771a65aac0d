/* machine_erase - a user is forgotten in a conversation.
 *
 * He leaves it, by an entry of the operator's; then his messages are blanked, as if deleted by that
 * entry, his edits with them, and his reactions taken out, some entries a command; with the last of
 * them his own rows go, so that he never was a member. His name stays where entries say who wrote,
 * came or went: they are others' history, too. Each command may come again.
 *
 * A conversation whose end is under way still holds what he wrote until its last member is removed,
 * and nobody knows when the operator goes on with it: so he is erased there, too. */
#include "mesh/base/limits.h"
#include "nodes/router/machine_parts.h"

/* What one command goes through, at most; and so many entries (machine_limit_parts). */
#define BYTES_MAX (4u * LIMIT_FETCH_BYTES_MAX)

static enum rc blank(struct machine *m, struct machine_conv *conv, struct machine_found *found,
                     struct slice user, uint64_t by)
{
    bool is_his = slice_equal(found->entry.from, user);
    bool is_changed;
    if (is_his && found->entry.type == ENTRY_EDIT && found->entry.body.base != NULL) {
        found->entry.body = (struct slice){0};
        found->marks = (struct msg_marks){.deleted = by};
        machine_log_rewrite(m, conv, found);
    }
    if (found->entry.type != ENTRY_MESSAGE || found->marks.deleted != 0)
        return RC_OK;
    if (!is_his)
        return machine_change_unreact(m, conv, found, user, &is_changed);
    return machine_change_blank(m, conv, found, by);
}

/* From the entry after `seq` on, to `last` at most; *ret_seq is how far it came. */
static enum rc blank_some(struct machine *m, struct machine_conv *conv, struct slice user,
                          uint64_t seq, uint64_t last, uint64_t *ret_seq)
{
    size_t bytes = 0;
    enum rc rc = RC_OK;
    for (uint32_t left = m->erase_entries_max;
         rc == RC_OK && seq < last && left > 0 && bytes < BYTES_MAX; left--) {
        struct machine_found found;
        rc = machine_log_find(m, conv, ++seq, &found);
        bytes += found.value->size;
        if (rc == RC_OK)
            rc = blank(m, conv, &found, user, last);
        machine_found_fini(&found);
    }
    *ret_seq = seq;
    return rc;
}

enum rc machine_erase(struct machine *m, const struct msg_cmd_erase *c,
                      struct machine_result *result)
{
    struct machine_conv *conv;
    struct machine_member *member;
    enum rc rc = machine_cache_any_conv(m, c->conv, &conv);
    if (rc != RC_OK)
        return rc;
    if (conv == NULL || machine_drop_is_over(conv))
        return machine_refuse(result, RC_NOT_FOUND, "there is no such conversation");
    rc = machine_cache_member(m, conv, c->user, &member);
    if (rc != RC_OK || member == NULL)
        return rc; /* He never was here, or is forgotten already. */
    if (machine_is_current(member)) {
        uint64_t owners = conv->head.owners;
        machine_part(m, conv, machine_author((struct slice){0}), member, MEMBER_REMOVE);
        if (conv->info.dropped == 0)
            rc = machine_replace_owner(m, conv, machine_author((struct slice){0}), owners);
        if (rc != RC_OK)
            return rc;
    }
    /* All that he wrote lies before the entry that removed him. */
    uint64_t last = member->row.left;
    uint64_t seq = c->after > conv->head.trimmed ? c->after : conv->head.trimmed;
    rc = blank_some(m, conv, c->user, seq, last, &seq);
    if (rc != RC_OK)
        return rc;
    if (seq < last) {
        result->seq = seq;
        return RC_OK;
    }
    machine_cache_forget_member(m, conv, member);
    machine_digest_bytes(m, c->user); /* No entry bears it. */
    return RC_OK;
}
