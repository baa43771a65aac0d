#include "mesh/base/limits.h"
#include "mesh/base/metrics.h"
#include "mesh/wire/key.h"
#include "nodes/router/machine_parts.h"

#define PAGE_KEPT_BYTES 16384u /* Of each shard; a larger buffer goes with what it held. */

/* What a user may see of a conversation: first..last, as far as it is not trimmed. */
struct view {
    struct machine_conv *conv;
    const struct machine_member *member; /* NULL: the operator. */
    uint64_t first, last;
    uint64_t until; /* Where not 0: he was removed at this seq, which is `last`. */
};

static enum rc look_as_member(struct machine *m, struct slice user, struct view *view,
                              uint64_t *ret_answer)
{
    struct machine_member *member;
    enum rc rc = machine_cache_member(m, view->conv, user, &member);
    if (rc != RC_OK)
        return rc;
    if (member == NULL) {
        *ret_answer = RC_FORBIDDEN;
        return RC_OK;
    }
    view->member = member;
    view->first = member->row.visible;
    view->until = member->row.left;
    if (view->until != 0)
        view->last = view->until;
    return RC_OK;
}

/* *ret_answer is what a refused reader is told. The operator sees all. */
static enum rc look(struct machine *m, struct slice conv_id, struct slice user, bool is_operator,
                    struct view *view, uint64_t *ret_answer)
{
    *ret_answer = RC_BAD_REQUEST;
    if (!key_conv_is_valid(conv_id) || (!is_operator && !key_user_is_valid(user)))
        return RC_OK;
    *view = (struct view){.first = 1};
    enum rc rc = machine_cache_conv(m, conv_id, &view->conv);
    if (rc != RC_OK)
        return rc;
    *ret_answer = view->conv == NULL ? RC_NOT_FOUND : RC_OK;
    if (view->conv == NULL)
        return RC_OK;
    if (view->first < view->conv->info.begun) /* What was before its end nobody sees. */
        view->first = view->conv->info.begun;
    view->last = view->conv->head.seq;
    return is_operator ? RC_OK : look_as_member(m, user, view, ret_answer);
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

/* What the device missed and does not get: what retention removed, or came before he did where he
 * may not see that, then what is beyond the limit. Returns from where on it gets everything. */
static uint64_t skip(const struct view *view, uint64_t from, uint32_t resume_count_max,
                     struct msg_watched *answer)
{
    uint64_t trimmed = view->conv->head.trimmed;
    if (trimmed + 1 < view->first)
        trimmed = view->first - 1;
    if (trimmed > view->last)
        trimmed = view->last;
    uint64_t to = from > trimmed ? from : trimmed;
    if (view->last - to > resume_count_max)
        to = view->last - resume_count_max;
    if (to == from)
        return from;
    answer->gap_from = from + 1;
    answer->gap_to = to;
    if (trimmed > from) {
        answer->trimmed_to = trimmed;
        answer->trimmed = trimmed == to;
    }
    return to;
}

/* How many messages he may know of, and how many of them he has read. What is trimmed counts as
 * read: nobody can read it any more. */
static enum rc count(struct machine *m, const struct view *view, struct msg_watched *answer)
{
    const struct row_cursor *cursor = &view->member->cursor;
    const struct row_head *head = &view->conv->head;
    answer->members = head->members;
    enum rc rc = machine_log_count(m, view->conv, view->last, &answer->messages);
    answer->read_messages =
        cursor->messages > head->trimmed_messages ? cursor->messages : head->trimmed_messages;
    if (answer->read_messages > answer->messages)
        answer->read_messages = answer->messages;
    return rc;
}

/* Messages are found as later entries made them. Who was removed gets nothing of what came after:
 * no newer text, and no reactions, of which nobody knows when each was set. */
static enum rc hide_later(struct buf *entries, uint64_t until)
{
    struct buf *shown = buf_new(entries->size);
    struct buf *record = buf_new(0);
    struct record_reader r = record_reader_of(buf_slice(entries));
    enum rc rc = RC_OK;
    while (rc == RC_OK && !record_reader_at_end(&r)) {
        struct msg_entry entry;
        struct msg_marks marks = {0};
        if ((rc = record_decode(&r, &msg_entry_desc, &entry)) != RC_OK)
            break;
        if (entry.marks.base != NULL) {
            struct record_reader in = record_reader_of(entry.marks);
            rc = record_decode(&in, &msg_marks_desc, &marks);
            marks.reactions = (struct slice){0};
            if (marks.edited > until) {
                entry.body = (struct slice){0};
                marks.edited = marks.edited_ts = 0;
            }
            buf_clear(record);
            record_encode(record, &msg_marks_desc, &marks);
            entry.marks = buf_slice(record);
        }
        record_encode(shown, &msg_entry_desc, &entry);
    }
    buf_clear(entries);
    buf_append_slice(entries, buf_slice(shown));
    buf_unref(&record);
    buf_unref(&shown);
    return rc;
}

static enum rc fill_watched(struct machine *m, const struct msg_watch *request,
                            const struct view *view, uint32_t resume_count_max,
                            struct msg_watched *answer, struct buf *into)
{
    uint64_t from;
    enum rc rc = resume_point(m, request, &from);
    if (rc == RC_OK)
        rc = count(m, view, answer);
    if (rc != RC_OK)
        return rc;
    if (from > view->last)
        from = view->last;
    if (request->past != 0 && view->until != 0 && (from == 0 || from >= view->until)) {
        answer->rc = RC_FORBIDDEN;
        return RC_OK;
    }
    /* Who has nothing misses nothing of what he may not see. But of what began again after its end
     * devices may have some, of which nothing is known here any more. */
    if (from == 0 && view->first > view->conv->info.begun)
        from = view->first - 1;
    answer->head = view->last;
    answer->until = view->until;
    answer->missed = view->last - (from + 1 < view->first ? view->first - 1 : from);
    answer->from = from;
    if (request->fanout != 0 && answer->members > request->fanout)
        return RC_OK; /* Its client does not look at it. */
    answer->from = skip(view, from, resume_count_max, answer);
    uint64_t next;
    rc = machine_log_read(m, view->conv->id, answer->from + 1, view->last, UINT64_MAX, into, &next);
    if (rc != RC_OK)
        return rc;
    if (view->until != 0)
        rc = hide_later(into, view->until);
    answer->entries = buf_slice(into);
    answer->more = next <= view->last;
    return rc;
}

enum rc machine_watch(struct machine *m, const struct msg_watch *request, uint32_t resume_count_max,
                      struct msg_watched *answer, struct buf *into)
{
    struct view view;
    *answer = (struct msg_watched){.conv = request->conv};
    enum rc rc = look(m, request->conv, request->user, false, &view, &answer->rc);
    if (rc != RC_OK || answer->rc != RC_OK)
        return rc;
    if (request->from_known == 0 && !key_device_is_valid(request->device)) {
        answer->rc = RC_BAD_REQUEST;
        return RC_OK;
    }
    return fill_watched(m, request, &view, resume_count_max, answer, into);
}

void machine_page_written(struct machine *m)
{
    m->page.index = 0;
    if (m->page.entries->capacity <= PAGE_KEPT_BYTES)
        return;
    buf_unref(&m->page.entries);
    m->page.entries = buf_new(0);
}

/* Entries first..last of the view's conversation, or its last or first `limit`, into m->page. */
static enum rc read_page(struct machine *m, const struct view *view, bool is_backwards,
                         uint64_t first, uint64_t last, uint64_t limit)
{
    struct machine_page *page = &m->page;
    struct slice conv = view->conv->id;
    if (page->index != 0 && page->index == m->applied.index && page->first == first &&
        page->last == last && page->limit == limit && page->is_backwards == is_backwards &&
        slice_equal(slice_of(page->conv, page->conv_size), conv)) {
        metric_add(pages_shared_total, 1);
        return RC_OK;
    }
    struct buf *entries = page->entries;
    *page = (struct machine_page){
        .first = first,
        .last = last,
        .limit = limit,
        .is_backwards = is_backwards,
        .conv_size = (uint32_t)conv.size,
        .entries = entries,
    };
    memcpy(page->conv, conv.base, conv.size);
    buf_clear(entries);
    enum rc rc = is_backwards
                     ? machine_log_read_last(m, conv, first, last, limit, entries, &page->edge)
                     : machine_log_read(m, conv, first, last, limit, entries, &page->edge);
    if (rc == RC_OK)
        page->index = m->applied.index;
    return rc;
}

enum rc machine_fetch(struct machine *m, const struct msg_fetch *request,
                      struct msg_fetched *answer)
{
    struct view view;
    *answer = (struct msg_fetched){.conv = request->conv};
    bool is_operator = request->user.base == NULL;
    enum rc rc = look(m, request->conv, request->user, is_operator, &view, &answer->rc);
    if (rc == RC_OK && answer->rc == RC_OK && request->present != 0 && view.until != 0)
        answer->rc = RC_FORBIDDEN;
    if (rc != RC_OK || answer->rc != RC_OK)
        return rc;
    answer->head = view.last;
    answer->until = view.until;
    answer->trimmed = view.conv->head.trimmed;
    if (view.first <= view.conv->head.trimmed)
        view.first = view.conv->head.trimmed + 1;
    uint64_t limit = request->limit < 1                    ? 1
                     : request->limit > LIMIT_RESUME_COUNT ? LIMIT_RESUME_COUNT
                                                           : request->limit;
    if (request->before != 0) {
        uint64_t last = request->before > view.last ? view.last : request->before - 1;
        rc = read_page(m, &view, true, view.first, last, limit);
        answer->more = m->page.edge > view.first && last >= view.first;
    } else {
        uint64_t after = request->after > view.last ? view.last : request->after;
        uint64_t first = after + 1 < view.first ? view.first : after + 1;
        rc = read_page(m, &view, false, first, view.last, limit);
        answer->more = m->page.edge <= view.last;
    }
    if (rc == RC_OK && view.until != 0) {
        m->page.index = 0; /* It is for nobody else. */
        rc = hide_later(m->page.entries, view.until);
    }
    answer->entries = buf_slice(m->page.entries);
    return rc;
}

/* A conversation that was ended has nobody and nothing in it. */
static uint64_t head_of(const struct row_head *head)
{
    return head->members == 0 && head->trimmed == head->seq ? 0 : head->seq;
}

enum rc machine_head(struct machine *m, struct slice conv, uint64_t *ret_head)
{
    *ret_head = 0;
    if (!key_conv_is_valid(conv))
        return RC_OK;
    const struct machine_conv *cached = map_get(&m->convs, conv);
    if (cached != NULL) {
        *ret_head = head_of(&cached->head);
        return RC_OK;
    }
    /* The row alone: a gateway that asks for thousands of heads need not turn the cache over. */
    struct keyspace_key key;
    struct row_head head;
    keyspace_name(&key, &m->keys, KEYSPACE_HEAD, conv);
    enum rc rc = machine_rows_get(m, &key, &row_head_desc, &head);
    if (rc == RC_OK)
        *ret_head = head_of(&head);
    return rc == RC_NOT_FOUND ? RC_OK : rc;
}
