/* Users who are erased: what that makes of entries, and what must be so once it is done.
 *
 * Blanking has no entries of its own: messages lose their text, and those of others his reactions,
 * a part of the log at a time. So the book cannot tell when; but whenever an entry is told in a way
 * that it never had, that must be what erasing somebody who is to be erased makes of it. */
#include "mesh/base/buf.h"
#include "mesh/base/mem.h"
#include "tests/sim/book.h"

struct erased {
    char *user;
};

static struct slice erased_key(const void *thing)
{
    return slice_string(((const struct erased *)thing)->user);
}

void book_erase_init(struct book *b)
{
    map_init(&b->erased, erased_key);
}

void book_erase_fini(struct book *b)
{
    size_t at = 0;
    for (struct erased *e; (e = map_next(&b->erased, &at)) != NULL;) {
        mem_free(e->user);
        mem_free(e);
    }
    map_fini(&b->erased);
}

void book_erase_asked(struct book *b, struct slice user)
{
    if (book_is_erased(b, user))
        return;
    struct erased *erased = mem_new(struct erased);
    erased->user = mem_string(user.base, user.size);
    map_put(&b->erased, erased);
}

bool book_is_erased(const struct book *b, struct slice user)
{
    return map_get(&b->erased, user) != NULL;
}

/* ---- What it makes of an entry ---- */

struct view {
    struct msg_entry entry;
    struct msg_marks marks;
};

static bool read_view(struct slice record, struct view *view)
{
    struct record_reader r = record_reader_of(record);
    view->marks = (struct msg_marks){0};
    if (record_decode(&r, &msg_entry_desc, &view->entry) != RC_OK)
        return false;
    if (view->entry.marks.base == NULL)
        return true;
    r = record_reader_of(view->entry.marks);
    return record_decode(&r, &msg_marks_desc, &view->marks) == RC_OK;
}

bool book_joined_at(struct book *b, struct slice conv, struct slice user, uint64_t seq)
{
    const struct book_conv *c = book_conv(b, conv);
    struct view view;
    return c != NULL && seq <= c->head && read_view(buf_slice(c->entries[seq].record), &view) &&
           view.entry.type == ENTRY_MEMBER && view.entry.change == MEMBER_ADD &&
           slice_equal(view.entry.user, user);
}

/* Apart from their marks, and from their bodies where one has none. */
static bool is_same(const struct view *a, const struct view *b)
{
    struct msg_entry left = a->entry;
    struct msg_entry right = b->entry;
    left.marks = right.marks = (struct slice){0};
    if (left.body.base == NULL || right.body.base == NULL)
        left.body = right.body = (struct slice){0};
    struct buf *bytes[2] = {buf_new(128), buf_new(128)};
    record_encode(bytes[0], &msg_entry_desc, &left);
    record_encode(bytes[1], &msg_entry_desc, &right);
    bool is_same = slice_equal(buf_slice(bytes[0]), buf_slice(bytes[1]));
    buf_unref(&bytes[0]);
    buf_unref(&bytes[1]);
    return is_same;
}

static uint64_t count_of(struct slice reactions, struct slice emoji)
{
    struct record_reader r = record_reader_of(reactions);
    struct msg_reaction_count item;
    while (!record_reader_at_end(&r) && record_decode(&r, &msg_reaction_count_desc, &item) == RC_OK)
        if (slice_equal(item.emoji, emoji))
            return item.count;
    return 0;
}

/* Others' reactions are all there still, none is new, and some of his are gone. */
static bool lacks_his(struct book *b, const struct book_conv *c, const struct view *before,
                      const struct view *after, struct slice user)
{
    struct record_reader r = record_reader_of(before->marks.reactions);
    struct msg_reaction_count item;
    uint64_t left = 0;
    uint64_t gone = 0;
    uint64_t told = 0;
    while (!record_reader_at_end(&r) &&
           record_decode(&r, &msg_reaction_count_desc, &item) == RC_OK) {
        uint64_t now = count_of(after->marks.reactions, item.emoji);
        bool did_react = book_has_reacted(b, c, after->entry.seq, item.emoji, user);
        if (now != item.count && (now + 1 != item.count || !did_react))
            return false;
        left += now;
        gone += item.count - now;
    }
    r = record_reader_of(after->marks.reactions);
    while (!record_reader_at_end(&r) && record_decode(&r, &msg_reaction_count_desc, &item) == RC_OK)
        told += item.count;
    return told == left && gone > 0;
}

static bool explains(struct book *b, const struct book_conv *c, const struct view *before,
                     const struct view *after, const struct book_member *who)
{
    struct slice user = slice_string(who->user);
    bool is_his = slice_equal(before->entry.from, user);
    bool is_message = before->entry.type == ENTRY_MESSAGE && before->marks.deleted == 0;
    bool is_edit = before->entry.type == ENTRY_EDIT && before->entry.body.base != NULL;
    if (who->left == 0 || !is_same(before, after))
        return false;
    if (is_his && (is_message || is_edit))
        return after->entry.body.base == NULL && after->marks.deleted == who->left &&
               after->marks.edited == 0 && after->marks.reactions.size == 0;
    return is_message && !is_his && after->marks.deleted == 0 &&
           (before->entry.body.base == NULL) == (after->entry.body.base == NULL) &&
           after->marks.edited == before->marks.edited &&
           after->marks.edited_ts == before->marks.edited_ts &&
           lacks_his(b, c, before, after, user);
}

/* The emojis that are fewer now he does not react with any more. */
static void take_back(struct book *b, const struct book_conv *c, const struct view *before,
                      const struct view *after, struct slice user)
{
    struct record_reader r = record_reader_of(before->marks.reactions);
    struct msg_reaction_count item;
    while (!record_reader_at_end(&r) && record_decode(&r, &msg_reaction_count_desc, &item) == RC_OK)
        if (count_of(after->marks.reactions, item.emoji) < item.count)
            book_take_reaction(b, c, after->entry.seq, item.emoji, user);
}

/* Does erasing him make `record` of the entry's version `at`? */
static bool explain_by(struct book *b, const struct book_conv *c, struct book_entry *e, uint32_t at,
                       struct slice record, const struct book_member *who, bool is_news)
{
    struct view after;
    struct view before;
    if (!read_view(record, &after) || !read_view(buf_slice(e->versions[at].bytes), &before) ||
        !explains(b, c, &before, &after, who))
        return false;
    if (is_news)
        take_back(b, c, &before, &after, slice_string(who->user));
    book_entry_put(e, record, is_news);
    b->blanks++;
    return true;
}

/* Mostly of the newest version. But a replica that is behind passes through what another one did in
 * one turn with the changes that came next. */
bool book_erase_explains(struct book *b, struct book_conv *c, uint64_t seq, struct slice record,
                         bool is_news)
{
    struct book_entry *e = &c->entries[seq];
    if (book_entry_is(e, record) || (!is_news && book_entry_had(e, record)))
        return true;
    uint32_t least = is_news ? e->version_count - 1 : 0;
    for (uint32_t version = e->version_count; version-- > least;) {
        size_t at = 0;
        for (const struct erased *erased; (erased = map_next(&b->erased, &at)) != NULL;) {
            const struct book_member *who = map_get(&c->members, slice_string(erased->user));
            if (who != NULL && explain_by(b, c, e, version, record, who, is_news))
                return true;
        }
    }
    return false;
}

/* ---- When it is done ---- */

/* Up to here every leader knew the log at this time: somebody had been told. One whose disk is slow
 * may apply an entry after its followers, and erases nothing of what it has not applied. */
static uint64_t known_at(const struct book_conv *c, uint64_t us)
{
    uint64_t seq = c->head;
    while (seq > 0 && (c->entries[seq].told_us == 0 || c->entries[seq].told_us >= us))
        seq--;
    return seq;
}

static void check_conv(struct book *b, const struct book_conv *c, const struct book_member *who,
                       uint64_t asked_us)
{
    uint64_t lost = c->trimmed > c->ended ? c->trimmed : c->ended;
    uint64_t known = known_at(c, asked_us);
    if (who->is_member && who->joined <= known)
        world_violation(b->world, "C17: %s is erased, and in %s since %lu", who->user, c->id,
                        who->joined);
    for (uint64_t seq = lost + 1; seq <= known; seq++) {
        struct view view;
        if (!read_view(buf_slice(c->entries[seq].record), &view))
            continue;
        if (slice_equals(view.entry.from, who->user) && view.entry.body.base != NULL)
            world_violation(b->world, "C17: %s is erased, and %lu of %s still is %.*s", who->user,
                            seq, c->id, SLICE_ARGS(view.entry.body));
        if (view.marks.deleted == 0 &&
            book_reacted_before(b, c, seq, slice_string(who->user), asked_us))
            world_violation(b->world, "C17: %s is erased, and reacts to %lu of %s", who->user, seq,
                            c->id);
    }
}

void book_erase_acked(struct book *b, struct slice user, uint64_t asked_us)
{
    size_t at = 0;
    b->erasures++;
    for (const struct book_conv *c; (c = map_next(&b->convs, &at)) != NULL;) {
        const struct book_member *who = map_get(&c->members, user);
        if (who != NULL)
            check_conv(b, c, who, asked_us);
    }
}
