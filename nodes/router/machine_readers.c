/* machine_readers - who has an entry, who has read it, and who may ask.
 *
 * Reads of the leader. `readers` walks over the members, with a bound on how many it looks at. */
#include "mesh/base/limits.h"
#include "mesh/wire/key.h"
#include "nodes/router/machine_parts.h"

/* The conversation and the member of this name, who is one now; *ret_answer says why not. An absent
 * name is the operator's, where that is allowed: then *ret_member is NULL. */
static enum rc enter(struct machine *m, struct slice id, struct slice user, bool may_be_absent,
                     struct machine_conv **ret_conv, struct machine_member **ret_member,
                     uint64_t *ret_answer)
{
    *ret_member = NULL;
    *ret_answer = RC_BAD_REQUEST;
    bool is_absent = may_be_absent && user.base == NULL;
    if (!key_conv_is_valid(id) || (!is_absent && !key_user_is_valid(user)))
        return RC_OK;
    enum rc rc = machine_cache_conv(m, id, ret_conv);
    if (rc == RC_OK && *ret_conv != NULL && !is_absent)
        rc = machine_cache_member(m, *ret_conv, user, ret_member);
    *ret_answer = RC_OK;
    if (*ret_conv == NULL)
        *ret_answer = RC_NOT_FOUND;
    else if (!is_absent && !machine_is_current(*ret_member))
        *ret_answer = RC_FORBIDDEN;
    return rc;
}

enum rc machine_look(struct machine *m, struct slice conv, struct slice user, uint64_t *ret_answer,
                     uint64_t *ret_head)
{
    struct machine_conv *found = NULL;
    struct machine_member *member;
    enum rc rc = enter(m, conv, user, false, &found, &member, ret_answer);
    *ret_head = rc == RC_OK && *ret_answer == RC_OK ? found->head.seq : 0;
    return rc;
}

/* ---- readers ---- */

/* What is found on the way through the members. */
struct finding {
    uint64_t seq;
    struct slice sender;
    struct buf *delivered, *read; /* Sequences of reader records. */
    uint64_t total;
    bool more;
};

static void consider(struct finding *finding, struct slice user, const struct row_member *member,
                     const struct row_cursor *cursor)
{
    if (member->left != 0 || member->joined > finding->seq || slice_equal(user, finding->sender))
        return;
    finding->total++;
    bool has_read = cursor->read >= finding->seq;
    bool is_delivered = cursor->delivered >= finding->seq;
    struct msg_reader reader = {.user = user};
    reader.ts = is_delivered ? cursor->delivered_ts : cursor->read_ts;
    if (is_delivered || has_read) /* What was read has arrived. */
        record_encode(finding->delivered, &msg_reader_desc, &reader);
    reader.ts = cursor->read_ts;
    if (has_read)
        record_encode(finding->read, &msg_reader_desc, &reader);
}

static enum rc walk_members(struct machine *m, struct slice conv, struct finding *finding)
{
    struct machine_walk walk;
    enum rc rc = machine_walk_begin(m, conv, (struct slice){0}, &walk);
    for (uint32_t count = 0; rc == RC_OK; count++) {
        struct slice user;
        struct row_member member;
        struct row_cursor cursor;
        rc = machine_walk_next(m, &walk, &user, &member, &cursor);
        finding->more = rc == RC_OK && count == LIMIT_READERS_MAX;
        if (finding->more)
            break;
        if (rc == RC_OK)
            consider(finding, user, &member, &cursor);
    }
    return machine_walk_end(m, &walk, rc);
}

static enum rc fill_page(struct machine *m, struct machine_conv *conv, struct finding *finding,
                         struct msg_readers_page *answer, struct buf *into)
{
    enum rc rc = walk_members(m, conv->id, finding);
    if (rc != RC_OK)
        return rc;
    size_t delivered_size = finding->delivered->size;
    buf_append_slice(into, buf_slice(finding->delivered));
    buf_append_slice(into, buf_slice(finding->read));
    answer->delivered = slice_of(into->bytes, delivered_size);
    answer->read = slice_of(into->bytes + delivered_size, into->size - delivered_size);
    answer->total = finding->total;
    answer->more = finding->more;
    if (finding->more && conv->head.members > finding->total + 1)
        answer->total = conv->head.members - 1; /* Nobody counted who joined later. */
    return RC_OK;
}

static bool is_there(const struct machine_conv *conv, uint64_t seq)
{
    return seq > conv->head.trimmed && seq <= conv->head.seq;
}

enum rc machine_readers(struct machine *m, const struct msg_readers *request,
                        struct msg_readers_page *answer, struct buf *into)
{
    struct machine_conv *conv = NULL;
    struct machine_member *asker;
    struct machine_found found;
    *answer = (struct msg_readers_page){0};
    enum rc rc = enter(m, request->conv, request->user, true, &conv, &asker, &answer->rc);
    if (rc != RC_OK || answer->rc != RC_OK)
        return rc;
    if (!is_there(conv, request->seq) || (asker != NULL && request->seq < asker->row.visible)) {
        answer->rc = RC_NOT_FOUND;
        return RC_OK;
    }
    struct finding finding = {.seq = request->seq, .delivered = buf_new(256), .read = buf_new(256)};
    rc = machine_log_find(m, conv, request->seq, &found);
    finding.sender = found.entry.from;
    if (rc == RC_OK)
        rc = fill_page(m, conv, &finding, answer, into);
    machine_found_fini(&found);
    buf_unref(&finding.delivered);
    buf_unref(&finding.read);
    return rc;
}

/* ---- The two numbers of the newest message ---- */

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static enum rc sender_is_here(struct machine *m, struct machine_conv *conv, bool *ret_is_here)
{
    struct machine_found found;
    struct machine_member *member = NULL;
    enum rc rc = machine_log_find(m, conv, conv->head.last_message, &found);
    if (rc == RC_OK)
        rc = machine_cache_member(m, conv, found.entry.from, &member);
    machine_found_fini(&found);
    *ret_is_here = machine_is_current(member);
    return rc;
}

enum rc machine_tally(struct machine *m, struct slice id, struct msg_event_tally *ret_tally)
{
    struct machine_conv *conv;
    bool is_here;
    *ret_tally = (struct msg_event_tally){.conv = id};
    enum rc rc = machine_cache_conv(m, id, &conv);
    if (rc != RC_OK || conv == NULL || !is_there(conv, conv->head.last_message))
        return rc; /* No message yet, or no longer. */
    rc = sender_is_here(m, conv, &is_here);
    if (rc != RC_OK)
        return rc;
    ret_tally->seq = conv->head.last_message;
    ret_tally->total = conv->head.members - (is_here ? 1 : 0);
    /* A sender who was erased and came back is counted as anybody, for his cursor forgot it. */
    ret_tally->delivered = least(conv->head.last_delivered, ret_tally->total);
    ret_tally->read = least(conv->head.last_read, ret_tally->total);
    return RC_OK;
}
