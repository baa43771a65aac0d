#include "mesh/base/limits.h"
#include "mesh/wire/key.h"
#include "nodes/router/machine_parts.h"

/* Beyond this a summary leaves out the last messages, and beyond that conversations: the answer
 * must fit a packet, and a list can do with less where an id can not. */
#define LAST_BYTES_MAX    (LIMIT_PACKET_SIZE_MAX / 4u)
#define SUMMARY_BYTES_MAX (LIMIT_PACKET_SIZE_MAX / 2u)

static uint64_t clamp(uint64_t limit, uint64_t max)
{
    return limit < 1 ? 1 : limit > max ? max : limit;
}

/* What is unread, is there and may be seen: who sees nothing of what was before him has read it
 * (machine_join), and what is trimmed nobody can read any more. */
static uint64_t unread(const struct row_head *head, const struct machine_member *member)
{
    uint64_t gone = member->cursor.messages > head->trimmed_messages ? member->cursor.messages
                                                                     : head->trimmed_messages;
    return head->messages - gone;
}

/* The newest message, where this reader (NULL: the operator) sees it. */
static enum rc read_last(struct machine *m, const struct machine_conv *conv,
                         const struct machine_member *member, struct buf *last)
{
    uint64_t seq = conv->head.last_message;
    uint64_t first = member != NULL ? member->row.visible : 1;
    uint64_t next;
    buf_clear(last);
    if (seq <= conv->head.trimmed || seq < first)
        return RC_OK;
    return machine_log_read(m, conv->id, seq, seq, 1, last, &next);
}

static enum rc summarize(struct machine *m, struct machine_conv *conv, struct slice user,
                         struct buf *last, struct buf *into)
{
    struct machine_member *member = NULL;
    if (user.base != NULL) {
        enum rc rc = machine_cache_member(m, conv, user, &member);
        if (rc != RC_OK || !machine_is_current(member))
            return rc;
    }
    struct msg_summary_item item = {
        .conv = conv->id,
        .kind = conv->info.kind,
        .title = conv->info.title,
        .meta = conv->info.meta,
        .head = conv->head.seq,
        .members = conv->head.members,
        .last_ts = conv->head.last_ts,
    };
    if (member != NULL) {
        item.role = member->row.role;
        item.read = member->cursor.read;
        item.unread = unread(&conv->head, member);
    }
    if (item.kind == CONV_DIRECT && member != NULL)
        item.peer = slice_equal(user, conv->info.creator) ? conv->info.peer : conv->info.creator;
    if (into->size < LAST_BYTES_MAX) {
        enum rc rc = read_last(m, conv, member, last);
        if (rc != RC_OK)
            return rc;
        if (last->size > 0)
            item.last = buf_slice(last);
    }
    record_encode(into, &msg_summary_item_desc, &item);
    return RC_OK;
}

enum rc machine_summary(struct machine *m, const struct msg_summary *request,
                        struct msg_summaries *answer, struct buf *into)
{
    *answer = (struct msg_summaries){0};
    if (request->user.base != NULL && !key_user_is_valid(request->user)) {
        answer->rc = RC_BAD_REQUEST;
        return RC_OK;
    }
    struct buf *last = buf_new(256);
    struct record_reader names = record_reader_of(request->convs);
    enum rc rc = RC_OK;
    for (struct slice id; rc == RC_OK && into->size < SUMMARY_BYTES_MAX &&
                          machine_next_name(&names, &id) && key_conv_is_valid(id);) {
        struct machine_conv *conv;
        rc = machine_cache_conv(m, id, &conv);
        if (rc == RC_OK && conv != NULL)
            rc = summarize(m, conv, request->user, last, into);
    }
    buf_unref(&last);
    answer->items = buf_slice(into);
    return rc;
}

static enum rc list_members(struct machine *m, const struct msg_members *request,
                            struct msg_members_page *answer, struct buf *into)
{
    uint64_t left = clamp(request->limit, LIMIT_MEMBERS_PAGE_MAX);
    struct kv_iterator *iterator =
        machine_rows_after(m, KEYSPACE_MEMBER, request->conv, request->after);
    struct slice key;
    struct slice value;
    enum rc rc = RC_OK;
    while (m->kv->ops->next(iterator, &key, &value)) {
        struct msg_member item = {0};
        struct row_member row;
        rc = rows_decode(key, value, &row_member_desc, &row);
        if (rc == RC_OK && !keyspace_get_second_name(key, &item.user))
            rc = RC_CORRUPT;
        if (rc != RC_OK)
            break;
        if (row.left != 0)
            continue;
        if (left-- == 0) {
            answer->more = 1;
            break;
        }
        item.role = row.role;
        item.joined = row.joined;
        record_encode(into, &msg_member_desc, &item);
    }
    answer->members = buf_slice(into);
    return machine_rows_end(m, &iterator, rc);
}

enum rc machine_members(struct machine *m, const struct msg_members *request,
                        struct msg_members_page *answer, struct buf *into)
{
    *answer = (struct msg_members_page){0};
    bool is_operator = request->user.base == NULL;
    if (!key_conv_is_valid(request->conv) || (!is_operator && !key_user_is_valid(request->user)) ||
        (request->after.base != NULL && !key_user_is_valid(request->after))) {
        answer->rc = RC_BAD_REQUEST;
        return RC_OK;
    }
    struct machine_conv *conv;
    struct machine_member *member = NULL;
    enum rc rc = machine_cache_conv(m, request->conv, &conv);
    if (rc == RC_OK && conv != NULL && !is_operator)
        rc = machine_cache_member(m, conv, request->user, &member);
    if (rc != RC_OK)
        return rc;
    if (conv == NULL || (!is_operator && !machine_is_current(member))) {
        answer->rc = conv == NULL ? RC_NOT_FOUND : RC_FORBIDDEN;
        return RC_OK;
    }
    answer->total = conv->head.members;
    return list_members(m, request, answer, into);
}

enum rc machine_user_convs(struct machine *m, const struct msg_user_open *request,
                           struct msg_user_convs *answer, struct buf *into, struct buf *into_left)
{
    *answer = (struct msg_user_convs){0};
    if (!key_user_is_valid(request->user) ||
        (request->after.base != NULL && !key_conv_is_valid(request->after))) {
        answer->rc = RC_BAD_REQUEST;
        return RC_OK;
    }
    uint64_t left = clamp(request->limit, LIMIT_USER_CONVS_PAGE);
    struct kv_iterator *iterator =
        machine_rows_after(m, KEYSPACE_INDEX, request->user, request->after);
    struct slice key;
    struct slice value;
    enum rc rc = RC_OK;
    while (m->kv->ops->next(iterator, &key, &value)) {
        struct slice conv;
        struct row_index row;
        rc = rows_decode(key, value, &row_index_desc, &row);
        if (rc == RC_OK && !keyspace_get_second_name(key, &conv))
            rc = RC_CORRUPT;
        if (rc != RC_OK)
            break;
        bool is_apart = row.gone != 0 && request->past == USER_PAST_APART;
        if (row.gone != 0 && request->past != USER_PAST_AMONG_OTHERS &&
            !(is_apart && m->applied.clock < row.ts + LIMIT_LEFT_MS))
            continue;
        if (left-- == 0) {
            answer->more = 1;
            break;
        }
        record_put_slice(is_apart ? into_left : into, conv);
    }
    answer->convs = buf_slice(into);
    answer->left = buf_slice(into_left);
    return machine_rows_end(m, &iterator, rc);
}
