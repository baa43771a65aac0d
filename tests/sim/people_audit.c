/* In the end everyone asks for what the server has of him, and compares it with the log. */
#include <stdio.h>

#include "mesh/wire/messages.h"
#include "tests/sim/people_private.h"

#define PAGE_LIMIT 3u /* Small, so that lists come in pages. */

/* ---- Questions: a cursor for each place, his conversations, the members of each group ---- */

static void ask_cursor(struct person *p, struct place *place)
{
    struct buf *text = buf_new(96);
    buf_append_format(text, "{\"type\":\"read\",\"id\":\"audit\",\"conv\":\"%s\",\"seq\":%lu}",
                      place->conv, place->read);
    p->audit.sent_read = place->read;
    wire_say(p, text);
}

static void ask_list(struct person *p, const char *type, const char *conv)
{
    struct buf *text = buf_new(128);
    buf_append_format(text, "{\"type\":\"%s\",\"id\":\"audit\",\"limit\":%u", type, PAGE_LIMIT);
    if (conv != NULL)
        buf_append_format(text, ",\"conv\":\"%s\"", conv);
    if (p->audit.after[0] != '\0')
        buf_append_format(text, ",\"after\":\"%s\"", p->audit.after);
    buf_append_string(text, "}");
    wire_say(p, text);
}

/* The group whose members are asked for in this step; NULL: it is not one of those steps. */
static const char *group_of(struct person *p, char name[16])
{
    uint32_t step = p->audit.step;
    if (step <= p->place_count || step > p->place_count + p->people->options.groups)
        return NULL;
    snprintf(name, 16, "group%u", step - p->place_count);
    return name;
}

/* A list is asked for when no cursor can move any more. */
static bool all_said_cursors(const struct people *people)
{
    for (uint32_t i = 0; i < people->count; i++)
        if (!people->persons[i].is_retired &&
            people->persons[i].audit.step < people->persons[i].place_count)
            return false;
    return true;
}

void audit_next(struct person *p)
{
    struct audit *audit = &p->audit;
    char name[16];
    while (audit->is_on && !audit->is_done && !audit->is_asked && p->wire != NULL && p->welcomed) {
        const char *group = group_of(p, name);
        if (audit->step == p->place_count && !all_said_cursors(p->people))
            return;
        if (audit->step < p->place_count && p->places[audit->step].read == 0) {
            audit->step++;
        } else if (audit->step < p->place_count) {
            audit->is_asked = true;
            ask_cursor(p, &p->places[audit->step]);
        } else if (audit->step == p->place_count) {
            audit->is_asked = true;
            ask_list(p, "conversations", NULL);
        } else if (group == NULL) {
            audit->is_done = true;
        } else if (!book_is_member(p->people->book, slice_string(group), slice_string(p->user))) {
            audit->step++;
        } else {
            audit->is_asked = true;
            ask_list(p, "members", group);
        }
    }
}

static void step(struct person *p)
{
    p->audit.step++;
    p->audit.found = 0;
    p->audit.after[0] = '\0';
    p->audit.last_ts = UINT64_MAX;
}

/* ---- Answers ---- */

static void on_cursor(struct person *p)
{
    struct place *place = &p->places[p->audit.step];
    struct slice conv = slice_string(place->conv);
    struct slice user = slice_string(p->user);
    uint64_t visible = book_visible(p->people->book, conv, user);
    uint64_t least = p->audit.sent_read < visible ? p->audit.sent_read : visible;
    book_read(p->people->book, conv, user, 0, least);
    step(p);
}

/* When the newest entry came; where retention removed it, nobody knows. */
static uint64_t ts_of_head(const struct book_conv *conv, uint64_t otherwise)
{
    struct msg_entry entry;
    const struct buf *record = conv->entries[conv->head].record;
    if (conv->head == 0 || conv->head <= conv->trimmed || record == NULL)
        return otherwise;
    struct record_reader r = record_reader_of(buf_slice(record));
    return record_decode(&r, &msg_entry_desc, &entry) == RC_OK ? entry.ts : otherwise;
}

static void check_item(struct person *p, const struct event *item)
{
    struct book *book = p->people->book;
    struct world *world = p->people->world;
    const struct book_conv *conv = book_conv(book, item->conv);
    const struct book_member *member = book_member(book, item->conv, slice_string(p->user));
    if (member == NULL || !member->is_member)
        world_violation(world, "C12: the list of %s has what is not his: %.*s", p->user,
                        SLICE_ARGS(item->raw));
    if (item->head != conv->head || item->members != conv->member_count)
        world_violation(world, "the list of %s has %.*s; the log: head %lu, %lu members", p->user,
                        SLICE_ARGS(item->raw), conv->head, conv->member_count);
    if (item->unread != book_unread(book, item->conv, item->read))
        world_violation(world, "%s is told %.*s, but %lu messages follow %lu", p->user,
                        SLICE_ARGS(item->raw), book_unread(book, item->conv, item->read),
                        item->read);
    uint64_t most = member->read_most < conv->head ? member->read_most : conv->head;
    /* A client of the same user may not have repeated its cursor yet, so the least is a bound. */
    if (item->read < member->read_least || item->read > most)
        world_violation(world, "%s has read %s up to %lu, not %lu..%lu", p->user, conv->id,
                        item->read, member->read_least, most);
    if (item->last.raw.size > 0) {
        struct event last = event_parse(item->last);
        book_seen(book, slice_string(p->user), item->conv, last.seq, last.from, last.cid, last.body,
                  last.raw);
        if (book_unread(book, item->conv, last.seq) != 0)
            world_violation(world, "%.*s is not the newest message of %s", SLICE_ARGS(last.raw),
                            conv->id);
    }
    uint64_t ts = ts_of_head(conv, p->audit.last_ts);
    if (ts > p->audit.last_ts)
        world_violation(world, "the list of %s is out of order at %s", p->user, conv->id);
    p->audit.last_ts = ts;
}

static void check_list_count(struct person *p)
{
    size_t at = 0;
    uint32_t count = 0;
    for (const struct book_conv *c; (c = map_next(&p->people->book->convs, &at)) != NULL;)
        count += book_is_member(p->people->book, slice_string(c->id), slice_string(p->user));
    if (count != p->audit.found)
        world_violation(p->people->world, "C12: %s is in %u conversations, his list has %u",
                        p->user, count, p->audit.found);
}

static void on_conversations(struct person *p, const struct event *e)
{
    uint32_t at = 0;
    struct slice key;
    struct json_value value;
    while (json_next(e->conversations, &at, &key, &value)) {
        struct event item = event_parse(value);
        check_item(p, &item);
        p->audit.found++;
        snprintf(p->audit.after, sizeof(p->audit.after), "%.*s", SLICE_ARGS(item.conv));
    }
    if (e->more)
        return;
    check_list_count(p);
    step(p);
}

static uint64_t role_of(struct slice name)
{
    return slice_equals(name, "owner")   ? ROLE_OWNER
           : slice_equals(name, "admin") ? ROLE_ADMIN
                                         : ROLE_MEMBER;
}

static void on_members(struct person *p, const struct event *e)
{
    struct world *world = p->people->world;
    char name[16];
    struct slice conv = slice_string(group_of(p, name));
    uint32_t at = 0;
    struct slice key;
    struct json_value value;
    while (json_next(e->member_list, &at, &key, &value)) {
        struct event item = event_parse(value);
        const struct book_member *member = book_member(p->people->book, conv, item.user);
        if (member == NULL || !member->is_member || member->role != role_of(item.role) ||
            member->joined != item.joined)
            world_violation(world, "C12: the members of %s are told as %.*s", name,
                            SLICE_ARGS(item.raw));
        p->audit.found++;
        snprintf(p->audit.after, sizeof(p->audit.after), "%.*s", SLICE_ARGS(item.user));
    }
    uint64_t count = book_conv(p->people->book, conv)->member_count;
    if (e->total != count || (!e->more && p->audit.found != count))
        world_violation(world, "C12: %s has %lu members, told were %u of %lu", name, count,
                        p->audit.found, e->total);
    if (!e->more)
        step(p);
}

void audit_on_reply(struct person *p, const struct event *e)
{
    if (!p->audit.is_asked || !slice_equals(e->id, "audit"))
        return;
    p->audit.is_asked = false;
    if (slice_equals(e->type, "ok"))
        on_cursor(p);
    else if (slice_equals(e->type, "conversations"))
        on_conversations(p, e);
    else
        on_members(p, e);
    audit_next(p);
}

/* What was ended has no cursors, and who was erased has none. */
void audit_on_error(struct person *p, const struct event *e)
{
    p->audit.is_asked = false;
    if (slice_equals(e->code, "unavailable") || slice_equals(e->code, "rate_limited"))
        return;
    const struct book_conv *conv =
        p->audit.step < p->place_count
            ? book_conv(p->people->book, slice_string(p->places[p->audit.step].conv))
            : NULL;
    bool is_over = slice_equals(e->code, "not_found") && conv != NULL && conv->ended == conv->head;
    bool is_forgotten =
        slice_equals(e->code, "forbidden") && conv != NULL &&
        book_is_erased(p->people->book, slice_string(p->user)) &&
        !book_is_member(p->people->book, slice_string(conv->id), slice_string(p->user));
    if (!is_over && !is_forgotten)
        world_violation(p->people->world, "%s got %.*s", p->user, SLICE_ARGS(e->raw));
    step(p);
    audit_next(p);
}

void people_audit(struct people *people)
{
    for (uint32_t i = 0; i < people->count; i++) {
        struct person *p = &people->persons[i];
        if (p->is_retired)
            continue;
        p->audit = (struct audit){.is_on = true, .last_ts = UINT64_MAX};
        audit_next(p);
        soft_finish(p);
    }
}

bool people_are_audited(struct people *people, char *why, size_t why_size)
{
    for (uint32_t i = 0; i < people->count; i++) {
        struct person *p = &people->persons[i];
        audit_next(p);
        if (p->is_retired || (p->audit.is_done && p->is_second))
            continue;
        if (p->audit.is_done && soft_is_right(p, why, why_size))
            continue;
        if (p->audit.is_done)
            return false;
        snprintf(why, why_size, "C11: %s/%s waits for the answer to question %u in the end",
                 p->user, p->device, p->audit.step);
        return false;
    }
    return true;
}
