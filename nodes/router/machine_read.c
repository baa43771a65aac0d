#include "mesh/base/limits.h"
#include "mesh/wire/key.h"
#include "nodes/router/machine_parts.h"

/* What a user may see of a conversation: first..last. */
struct view {
    struct machine_conv *conv;
    uint64_t first, last;
    uint64_t until; /* Where not 0: he was removed at this seq, which is `last`. */
};

/* *ret_answer is what a refused reader is told. */
static enum rc look(struct machine *m, struct slice conv_id, struct slice user, struct view *view,
                    uint64_t *ret_answer)
{
    if (!key_conv_is_valid(conv_id) || !key_user_is_valid(user)) {
        *ret_answer = RC_BAD_REQUEST;
        return RC_OK;
    }
    struct machine_member *member = NULL;
    enum rc rc = machine_cache_conv(m, conv_id, &view->conv);
    if (rc == RC_OK && view->conv != NULL)
        rc = machine_cache_member(m, view->conv, user, &member);
    if (rc != RC_OK)
        return rc;
    *ret_answer = view->conv == NULL ? RC_NOT_FOUND : member == NULL ? RC_FORBIDDEN : RC_OK;
    if (*ret_answer != RC_OK)
        return RC_OK;
    view->first = member->row.visible;
    view->until = member->row.left;
    view->last = view->until != 0 ? view->until : view->conv->head.seq;
    return RC_OK;
}

/* What the client says he has, else what this device was delivered. */
static enum rc resume_point(struct machine *m, const struct msg_watch *request, uint64_t *ret_from)
{
    if (request->from_known != 0) {
        *ret_from = request->from;
        return RC_OK;
    }
    struct keyspace_key key;
    struct row_device device = {0};
    keyspace_device(&key, &m->keys, request->conv, request->user, request->device);
    enum rc rc = machine_rows_get(m, &key, &row_device_desc, &device);
    if (rc != RC_OK && rc != RC_NOT_FOUND)
        return rc;
    *ret_from = device.delivered;
    return RC_OK;
}

static enum rc fill_watched(struct machine *m, const struct msg_watch *request,
                            const struct view *view, uint32_t resume_count_max,
                            struct msg_watched *answer, struct buf *into)
{
    uint64_t from;
    enum rc rc = resume_point(m, request, &from);
    if (rc != RC_OK)
        return rc;
    if (from > view->last)
        from = view->last;
    if (from + 1 < view->first)
        from = view->first - 1;
    answer->head = view->last;
    answer->until = view->until;
    answer->missed = view->last - from;
    if (answer->missed > resume_count_max) {
        answer->gap_from = from + 1;
        answer->gap_to = view->last - resume_count_max;
        from = answer->gap_to;
    }
    answer->from = from;
    uint64_t next;
    rc = machine_log_read(m, view->conv->id, from + 1, view->last, UINT64_MAX, into, &next);
    if (rc != RC_OK)
        return rc;
    answer->entries = buf_slice(into);
    answer->more = next <= view->last;
    return RC_OK;
}

enum rc machine_watch(struct machine *m, const struct msg_watch *request, uint32_t resume_count_max,
                      struct msg_watched *answer, struct buf *into)
{
    struct view view;
    *answer = (struct msg_watched){.conv = request->conv};
    enum rc rc = look(m, request->conv, request->user, &view, &answer->rc);
    if (rc != RC_OK || answer->rc != RC_OK)
        return rc;
    if (request->from_known == 0 && !key_device_is_valid(request->device)) {
        answer->rc = RC_BAD_REQUEST;
        return RC_OK;
    }
    return fill_watched(m, request, &view, resume_count_max, answer, into);
}

enum rc machine_fetch(struct machine *m, const struct msg_fetch *request,
                      struct msg_fetched *answer, struct buf *into)
{
    struct view view;
    *answer = (struct msg_fetched){.conv = request->conv};
    enum rc rc = look(m, request->conv, request->user, &view, &answer->rc);
    if (rc != RC_OK || answer->rc != RC_OK)
        return rc;
    answer->head = view.last;
    uint64_t limit = request->limit < 1                    ? 1
                     : request->limit > LIMIT_RESUME_COUNT ? LIMIT_RESUME_COUNT
                                                           : request->limit;
    if (request->before != 0) {
        uint64_t first;
        uint64_t last = request->before > view.last ? view.last : request->before - 1;
        rc = machine_log_read_last(m, view.conv->id, view.first, last, limit, into, &first);
        answer->more = first > view.first && last >= view.first;
    } else {
        uint64_t next;
        uint64_t after = request->after > view.last ? view.last : request->after;
        uint64_t first = after + 1 < view.first ? view.first : after + 1;
        rc = machine_log_read(m, view.conv->id, first, view.last, limit, into, &next);
        answer->more = next <= view.last;
    }
    answer->entries = buf_slice(into);
    return rc;
}

enum rc machine_head(struct machine *m, struct slice conv, uint64_t *ret_head)
{
    *ret_head = 0;
    if (!key_conv_is_valid(conv))
        return RC_OK;
    const struct machine_conv *cached = map_get(&m->convs, conv);
    if (cached != NULL) {
        *ret_head = cached->head.seq;
        return RC_OK;
    }
    /* The row alone: a gateway that asks for thousands of heads need not turn the cache over. */
    struct keyspace_key key;
    struct row_head head;
    keyspace_name(&key, &m->keys, KEYSPACE_HEAD, conv);
    enum rc rc = machine_rows_get(m, &key, &row_head_desc, &head);
    if (rc == RC_OK)
        *ret_head = head.seq;
    return rc == RC_NOT_FOUND ? RC_OK : rc;
}
