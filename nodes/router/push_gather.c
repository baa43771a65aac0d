/* push_gather - what a post says: for each conversation that is due, the members who are behind,
 * page by page, and for each page the messages they do not have.
 *
 * Pages first and messages within: so a conversation of any size is read once, a page of members is
 * all that is in memory, and each recipient hears of the messages in order. */
#include "mesh/base/check.h"
#include "mesh/base/metrics.h"
#include "nodes/router/push_private.h"

#define READ_MAX   32u     /* Entries in one read. */
#define BODY_BYTES 262144u /* A post of this size is closed: web servers refuse large ones. */
#define LOOK_ROWS  8u      /* What beginning with a conversation costs, in rows. */

static void spend(struct push *p, uint32_t rows)
{
    p->rows_left -= rows < p->rows_left ? rows : p->rows_left;
}

bool push_gather_is_full(const struct push *p)
{
    return p->events >= p->events_max || (p->body != NULL && p->body->size >= BODY_BYTES);
}

void push_gather_begin(struct push *p, struct push_conv *conv)
{
    struct push_member *members = p->work.members;
    p->work = (struct push_work){.conv = conv, .members = members};
}

void push_gather_place(const struct push *p, struct push_place *ret_place)
{
    const struct push_work *work = &p->work;
    *ret_place = work->page;
    if (!work->is_whole)
        return;
    /* The same page again, though some of it will have come: who is behind its end has not been
     * told of the messages before `seq`. */
    ret_place->last_size = work->scan.is_over ? 0 : work->scan.after_size;
    memcpy(ret_place->last, work->scan.after, ret_place->last_size);
    ret_place->seq = work->seq;
}

/* ---- An event ---- */

/* Names hold no control characters (mesh/wire/key.h), and the rest of UTF-8 may stand as it is (RFC
 * 8259, section 7). */
static void put_string(struct buf *out, struct slice text)
{
    buf_append_byte(out, '"');
    for (uint32_t i = 0; i < text.size; i++) {
        if (text.base[i] == '"' || text.base[i] == '\\')
            buf_append_byte(out, '\\');
        buf_append_byte(out, (uint8_t)text.base[i]);
    }
    buf_append_byte(out, '"');
}

static void put_head(struct push *p, const struct msg_entry *entry)
{
    struct buf *body = p->body;
    buf_append_string(body, p->events == 0 ? "{\"events\":[" : ",");
    buf_append_string(body, "{\"type\":\"message.offline\",\"conv\":");
    put_string(body, p->work.conv->id);
    buf_append_string(body, ",\"seq\":");
    buf_append_u64_decimal(body, entry->seq);
    buf_append_string(body, ",\"from\":");
    put_string(body, entry->from);
    buf_append_string(body, ",\"ts\":");
    buf_append_u64_decimal(body, entry->ts);
    buf_append_string(body, ",\"body\":");
    buf_append_slice(body, entry->body);
    buf_append_string(body, ",\"users\":[");
}

/* He may see it, and does not have it. */
static bool is_missed(const struct msg_entry *entry, const struct push_member *member)
{
    return member->has < entry->seq && member->visible <= entry->seq &&
           !slice_equal(entry->from, slice_of(member->name, member->size));
}

/* Who is in only since that entry is told of it where he was by the time it had waited: he may have
 * been removed and added again, and of that nothing is kept. */
static bool is_for(const struct msg_entry *entry, const struct push_member *member)
{
    return is_missed(entry, member) &&
           (member->joined <= entry->seq || member->joined_ts <= entry->ts + LIMIT_PUSH_WAIT_MS);
}

/* When those joined who did so after this entry and may see it: few, and once each. */
static enum rc know_times(struct push *p, struct machine *m, const struct msg_entry *entry)
{
    struct push_work *work = &p->work;
    struct buf *scratch = NULL;
    enum rc rc = RC_OK;
    for (uint32_t i = 0; i < work->count && rc == RC_OK; i++) {
        struct push_member *member = &work->members[i];
        if (member->joined <= entry->seq || member->joined_ts != 0 || !is_missed(entry, member))
            continue;
        if (scratch == NULL)
            scratch = buf_new(256);
        rc = machine_time_of(m, work->conv->id, member->joined, scratch, &member->joined_ts);
        spend(p, 1);
    }
    buf_unref(&scratch);
    return rc;
}

static void add_event(struct push *p, const struct msg_entry *entry)
{
    struct push_work *work = &p->work;
    if (p->body == NULL)
        p->body = buf_new(BODY_BYTES / 16);
    size_t begin = p->body->size;
    bool is_first = true;
    for (uint32_t i = 0; i < work->count; i++) {
        const struct push_member *member = &work->members[i];
        if (!is_for(entry, member))
            continue;
        if (is_first)
            put_head(p, entry);
        else
            buf_append_byte(p->body, ',');
        is_first = false;
        put_string(p->body, slice_of(member->name, member->size));
    }
    if (p->body->size == begin)
        return;
    buf_append_string(p->body, "]}");
    if (p->events++ == 0)
        p->since_us = env_now_us(p->env);
    work->has_events = true;
}

/* Deleted messages have lost their body, as have those of a user who was erased. */
static bool is_told(const struct msg_entry *entry)
{
    struct msg_marks marks = {0};
    struct record_reader r = record_reader_of(entry->marks);
    if (entry->type != ENTRY_MESSAGE || entry->body.size == 0)
        return false;
    return entry->marks.size == 0 || record_decode(&r, &msg_marks_desc, &marks) != RC_OK ||
           marks.deleted == 0;
}

/* ---- Steps ---- */

static enum rc begin(struct push *p, struct machine *m)
{
    struct push_work *work = &p->work;
    struct push_conv *conv = work->conv;
    enum rc rc = machine_untold(m, conv->id, &work->pushed);
    if (rc != RC_OK)
        return rc;
    work->from = work->pushed > conv->told ? work->pushed : conv->told;
    if (conv->place != NULL)
        work->page = *conv->place;
    work->scan = work->page.begin;
    work->any_behind = conv->place != NULL;
    work->is_begun = true;
    spend(p, LOOK_ROWS);
    return RC_OK;
}

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static bool is_after(struct slice a, struct slice b)
{
    int order = memcmp(a.base, b.base, a.size < b.size ? a.size : b.size);
    return order > 0 || (order == 0 && a.size > b.size);
}

static bool on_behind(void *context, const struct machine_behind *behind)
{
    struct push_work *work = context;
    const struct push_place *page = &work->page;
    if (page->last_size > 0 && is_after(behind->user, slice_of(page->last, page->last_size))) {
        work->is_beyond = true;
        return false;
    }
    CHECK(work->count < LIMIT_PUSH_USERS_MAX);
    uint64_t given = push_given(work->conv, behind->user);
    if (given >= work->conv->upto) {
        work->any_behind = true; /* By his cursor: the conversation's is to move, so that no later
                                    leader looks at it again. */
        return true;
    }
    struct push_member *member = &work->members[work->count++];
    member->joined = behind->joined;
    member->visible = behind->visible;
    member->joined_ts = 0;
    member->has = larger(behind->has, given);
    member->size = behind->user.size;
    memcpy(member->name, behind->user.base, behind->user.size);
    return work->count < LIMIT_PUSH_USERS_MAX;
}

/* The page is read: which message is its first? */
static enum rc open_page(struct push *p, struct machine *m)
{
    struct push_work *work = &p->work;
    const struct push_conv *conv = work->conv;
    uint64_t least = UINT64_MAX;
    work->any_behind = true;
    if (conv->is_old && !work->is_aged) {
        uint64_t wall_ms = env_wall_ms(p->env);
        uint64_t since = wall_ms > PUSH_OLD_MS ? wall_ms - PUSH_OLD_MS : 0;
        uint64_t first;
        enum rc rc = machine_first_since(m, conv->id, since, work->from + 1, conv->upto, &first);
        if (rc != RC_OK)
            return rc;
        work->from = larger(work->from, first - 1);
        work->is_aged = true;
    }
    for (uint32_t i = 0; i < work->count; i++) {
        uint64_t has = larger(work->members[i].has, work->members[i].visible - 1);
        if (has < least)
            least = has;
    }
    work->seq = larger(larger(work->from, least), work->page.seq);
    return RC_OK;
}

static enum rc read_page(struct push *p, struct machine *m)
{
    struct push_work *work = &p->work;
    work->scan.rows_left = p->rows_left;
    enum rc rc = machine_behind(m, work->conv->id, work->conv->upto, &work->scan, on_behind, work);
    p->rows_left = work->scan.rows_left;
    if (rc != RC_OK)
        return rc;
    if (work->is_beyond) {
        work->scan.after_size = work->page.last_size;
        memcpy(work->scan.after, work->page.last, work->page.last_size);
        work->scan.is_over = false;
    }
    work->is_whole = work->scan.is_over || work->is_beyond || work->count == LIMIT_PUSH_USERS_MAX;
    return work->is_whole && work->count > 0 ? open_page(p, m) : RC_OK;
}

static enum rc read_messages(struct push *p, struct machine *m)
{
    struct push_work *work = &p->work;
    uint64_t next;
    buf_clear(p->entries);
    enum rc rc = machine_untold_entries(m, work->conv->id, work->seq + 1, work->conv->upto,
                                        READ_MAX, p->entries, &next);
    if (rc != RC_OK)
        return rc;
    struct record_reader r = record_reader_of(buf_slice(p->entries));
    while (!record_reader_at_end(&r) && !push_gather_is_full(p)) {
        struct msg_entry entry;
        rc = record_decode(&r, &msg_entry_desc, &entry);
        if (rc != RC_OK)
            return rc;
        bool is_news = is_told(&entry);
        if (is_news && (rc = know_times(p, m, &entry)) != RC_OK)
            return rc;
        if (is_news)
            add_event(p, &entry);
        work->seq = entry.seq;
        spend(p, 1 + work->count / 16);
    }
    if (record_reader_at_end(&r))
        work->seq = larger(work->seq, next - 1);
    return RC_OK;
}

static void next_page(struct push_work *work)
{
    work->page = (struct push_place){.begin = work->scan};
    work->count = 0;
    work->is_whole = false;
    work->is_beyond = false;
}

enum push_step push_gather_step(struct push *p)
{
    struct push_work *work = &p->work;
    uint32_t shard = work->conv->shard;
    struct machine *m = p->host.machine(p->host.context, shard);
    if (m == NULL)
        return PUSH_FAILED;
    enum rc rc = !work->is_begun   ? begin(p, m)
                 : !work->is_whole ? read_page(p, m)
                                   : read_messages(p, m);
    if (rc != RC_OK) {
        p->host.on_failed(p->host.context, shard, rc);
        return PUSH_FAILED;
    }
    if (work->from >= work->conv->upto)
        return PUSH_DONE;
    if (!work->is_whole || (work->count > 0 && work->seq < work->conv->upto))
        return PUSH_GOES_ON;
    if (work->scan.is_over)
        return PUSH_DONE;
    next_page(work);
    return PUSH_GOES_ON;
}
