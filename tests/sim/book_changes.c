/* What edits, deletions and reactions make of a message: told by their entries alone.
 *
 * The book does not look at what routers make of it; it works out what must stand in the message's
 * place, byte for byte, and holds every version an entry ever had. A replica that is behind, or
 * applies again after a crash, passes through them all; nobody may ever have another. */
#include "mesh/base/buf.h"
#include "mesh/base/mem.h"
#include "mesh/wire/messages.h"
#include "tests/sim/book.h"

struct reaction {
    char *key; /* Conversation, target, emoji and user. */
    bool is_set;
    uint64_t since_us;
};

static struct slice reaction_key(const void *thing)
{
    return slice_string(((const struct reaction *)thing)->key);
}

void book_changes_init(struct book *b)
{
    map_init(&b->reactions, reaction_key);
}

void book_changes_fini(struct book *b)
{
    size_t at = 0;
    for (struct reaction *r; (r = map_next(&b->reactions, &at)) != NULL;) {
        mem_free(r->key);
        mem_free(r);
    }
    map_fini(&b->reactions);
}

static uint64_t hash_of(struct slice bytes)
{
    return map_hash(bytes) | 1;
}

void book_entry_set(struct book_entry *e, struct slice record)
{
    struct buf *bytes = buf_new(record.size);
    buf_append_slice(bytes, record); /* It may lie in the one before. */
    e->record = bytes;
    struct msg_entry entry;
    struct record_reader r = record_reader_of(buf_slice(bytes));
    if (record_decode(&r, &msg_entry_desc, &entry) != RC_OK)
        entry.body = (struct slice){0};
    e->versions = mem_resize(e->versions, (e->version_count + 1) * sizeof(*e->versions));
    e->versions[e->version_count++] = (struct book_version){
        .record = hash_of(record),
        .body = entry.body.base != NULL ? hash_of(entry.body) : 0,
        .bytes = bytes,
    };
}

void book_entry_put(struct book_entry *e, struct slice record, bool is_newest)
{
    book_entry_set(e, record);
    if (is_newest)
        return;
    struct book_version *last = &e->versions[e->version_count - 1];
    const struct book_version before = *last;
    *last = last[-1];
    last[-1] = before;
    e->record = last->bytes;
}

bool book_entry_had(const struct book_entry *e, struct slice record)
{
    for (uint32_t i = 0; i < e->version_count; i++)
        if (e->versions[i].record == hash_of(record))
            return true;
    return false;
}

bool book_entry_is(const struct book_entry *e, struct slice record)
{
    return e->versions[e->version_count - 1].record == hash_of(record);
}

/* Of the JSON that people are shown there are no more versions than of the entry. */
bool book_entry_said(const struct book_entry *e, struct slice body)
{
    bool had_body = body.base == NULL;
    for (uint32_t i = 0; i < e->version_count; i++)
        had_body |= e->versions[i].body == hash_of(body);
    return had_body;
}

bool book_entry_show(struct book_entry *e, struct slice raw, struct slice body)
{
    uint64_t hash = hash_of(raw);
    if (!book_entry_said(e, body))
        return false;
    for (uint32_t i = 0; i < e->shown_count; i++)
        if (e->shown[i] == hash)
            return true;
    if (e->shown_count == e->version_count)
        return false;
    e->shown = mem_resize(e->shown, (e->shown_count + 1) * sizeof(*e->shown));
    e->shown[e->shown_count++] = hash;
    return true;
}

void book_entry_fini(struct book_entry *e)
{
    for (uint32_t i = 0; i < e->version_count; i++)
        buf_unref(&e->versions[i].bytes);
    mem_free(e->versions);
    mem_free(e->shown);
}

/* ---- What a change makes of it ---- */

static void decode(const struct book_entry *e, struct msg_entry *entry, struct msg_marks *marks)
{
    struct record_reader r = record_reader_of(buf_slice(e->record));
    *marks = (struct msg_marks){0};
    if (record_decode(&r, &msg_entry_desc, entry) != RC_OK || entry->marks.base == NULL)
        return;
    r = record_reader_of(entry->marks);
    if (record_decode(&r, &msg_marks_desc, marks) != RC_OK)
        *marks = (struct msg_marks){0};
}

static void rewrite(struct book_entry *e, struct msg_entry *entry, const struct msg_marks *marks)
{
    struct buf *mark_bytes = buf_new(64);
    struct buf *record = buf_new(256);
    record_encode(mark_bytes, &msg_marks_desc, marks);
    entry->marks = buf_slice(mark_bytes);
    record_encode(record, &msg_entry_desc, entry);
    book_entry_set(e, buf_slice(record));
    buf_unref(&record);
    buf_unref(&mark_bytes);
}

static void strip_edit(struct book_conv *c, uint64_t seq, const struct msg_marks *why)
{
    struct msg_entry entry;
    struct msg_marks marks;
    if (seq == 0)
        return;
    decode(&c->entries[seq], &entry, &marks);
    entry.body = (struct slice){0};
    rewrite(&c->entries[seq], &entry, why);
}

static struct reaction *get_reaction(struct book *b, const struct book_conv *c, uint64_t target,
                                     struct slice emoji, struct slice user, bool make)
{
    struct buf *key = buf_new(128);
    buf_append_format(key, "%s %lu %.*s %.*s", c->id, target, SLICE_ARGS(emoji), SLICE_ARGS(user));
    struct reaction *reaction = map_get(&b->reactions, buf_slice(key));
    if (reaction == NULL && make) {
        reaction = mem_new(struct reaction);
        reaction->key = mem_string((const char *)key->bytes, key->size);
        map_put(&b->reactions, reaction);
    }
    buf_unref(&key);
    return reaction;
}

bool book_has_reacted(struct book *b, const struct book_conv *c, uint64_t target,
                      struct slice emoji, struct slice user)
{
    return get_reaction(b, c, target, emoji, user, false) != NULL;
}

bool book_reacted_before(struct book *b, const struct book_conv *c, uint64_t target,
                         struct slice user, uint64_t before_us)
{
    struct msg_entry entry;
    struct msg_marks marks;
    decode(&c->entries[target], &entry, &marks);
    struct record_reader r = record_reader_of(marks.reactions);
    struct msg_reaction_count item;
    while (marks.reactions.size > 0 && !record_reader_at_end(&r) &&
           record_decode(&r, &msg_reaction_count_desc, &item) == RC_OK) {
        const struct reaction *reaction = get_reaction(b, c, target, item.emoji, user, false);
        if (reaction != NULL && reaction->is_set && reaction->since_us < before_us)
            return true;
    }
    return false;
}

void book_take_reaction(struct book *b, const struct book_conv *c, uint64_t target,
                        struct slice emoji, struct slice user)
{
    get_reaction(b, c, target, emoji, user, true)->is_set = false;
}

/* Who reacts does something new: what is so already makes no entry. */
static void note_reaction(struct book *b, const struct book_conv *c, const struct msg_entry *change)
{
    struct reaction *reaction =
        get_reaction(b, c, change->target, change->emoji, change->from, true);
    if (reaction->is_set == (change->on != 0))
        world_violation(b->world, "C14: %lu of %s says again what is so: %s", change->seq, c->id,
                        reaction->key);
    reaction->is_set = change->on != 0;
    reaction->since_us = b->world->now_us;
}

static void count(struct slice before, const struct msg_entry *change, struct buf *counts)
{
    struct record_reader r = record_reader_of(before);
    struct msg_reaction_count item;
    bool found = false;
    while (!record_reader_at_end(&r) &&
           record_decode(&r, &msg_reaction_count_desc, &item) == RC_OK) {
        if (slice_equal(item.emoji, change->emoji)) {
            found = true;
            item.count = change->on != 0 ? item.count + 1 : item.count - 1;
        }
        if (item.count > 0)
            record_encode(counts, &msg_reaction_count_desc, &item);
    }
    item = (struct msg_reaction_count){.emoji = change->emoji, .count = 1};
    if (!found)
        record_encode(counts, &msg_reaction_count_desc, &item);
}

static void check(struct book *b, struct book_conv *c, const struct msg_entry *change,
                  const struct msg_entry *entry, const struct msg_marks *marks)
{
    const struct book_member *member = book_member(b, slice_string(c->id), change->from);
    bool is_sender = slice_equal(change->from, entry->from);
    bool is_group = strncmp(c->id, "dm:", 3) != 0;
    if (entry->type != ENTRY_MESSAGE || marks->deleted != 0)
        world_violation(b->world, "C14: %lu of %s changes %lu, which is no message or deleted",
                        change->seq, c->id, change->target);
    if (member == NULL || !member->is_member)
        world_violation(b->world, "C12: %lu of %s is from %.*s, who is no member", change->seq,
                        c->id, SLICE_ARGS(change->from));
    bool may = change->type == ENTRY_REACTION || is_sender ||
               (change->type == ENTRY_DELETE && is_group && member->role >= ROLE_ADMIN);
    if (!may)
        world_violation(b->world, "C14: %.*s may not make %lu of %s", SLICE_ARGS(change->from),
                        change->seq, c->id);
}

void book_changed(struct book *b, struct book_conv *c, const struct msg_entry *change)
{
    if (change->target == 0 || change->target >= change->seq)
        world_violation(b->world, "C14: %lu of %s changes what is not there", change->seq, c->id);
    struct book_entry *target = &c->entries[change->target];
    struct msg_entry entry;
    struct msg_marks marks;
    decode(target, &entry, &marks);
    check(b, c, change, &entry, &marks);
    b->rewrites++;
    struct msg_marks why = {0};
    struct buf *counts = buf_new(64);
    if (change->type == ENTRY_REACTION) {
        note_reaction(b, c, change);
        count(marks.reactions, change, counts);
        marks.reactions = buf_slice(counts);
    } else if (change->type == ENTRY_EDIT) {
        why = (struct msg_marks){.edited = change->seq, .edited_ts = change->ts};
        strip_edit(c, marks.edited, &why);
        entry.body = change->body;
        marks.edited = why.edited;
        marks.edited_ts = why.edited_ts;
    } else {
        why.deleted = change->seq;
        strip_edit(c, marks.edited, &why);
        entry.body = (struct slice){0};
        marks = why;
    }
    rewrite(target, &entry, &marks);
    buf_unref(&counts);
}

void book_change_acked(struct book *b, struct slice conv, struct slice user, uint64_t target,
                       uint64_t seq)
{
    const struct book_conv *c = book_conv(b, conv);
    struct msg_entry entry;
    struct msg_marks marks;
    if (c == NULL || seq == 0 || seq > c->head)
        world_violation(b->world, "C1: a change of %.*s was acknowledged at %lu, the head is %lu",
                        SLICE_ARGS(conv), seq, book_head(b, conv));
    decode(&c->entries[seq], &entry, &marks);
    bool is_it = entry.target == target && slice_equal(entry.from, user);
    if (!is_it)
        world_violation(b->world, "C1: at %lu of %s stands another change than acknowledged", seq,
                        c->id);
}
