#include "tests/sim/book.h"

#include "mesh/base/buf.h"
#include "mesh/base/mem.h"
#include "mesh/wire/messages.h"

static struct slice conv_key(const void *thing)
{
    return slice_string(((const struct book_conv *)thing)->id);
}

static struct slice send_key(const void *thing)
{
    return slice_string(((const struct book_send *)thing)->key);
}

static struct slice member_key(const void *thing)
{
    return slice_string(((const struct book_member *)thing)->user);
}

static struct slice group_key(const void *thing)
{
    const struct book_group *group = thing;
    return slice_of(&group->id, sizeof(group->id));
}

void book_init(struct book *b, struct world *world)
{
    memset(b, 0, sizeof(*b));
    b->world = world;
    map_init(&b->convs, conv_key);
    map_init(&b->sends, send_key);
    map_init(&b->groups, group_key);
    book_changes_init(b);
    book_erase_init(b);
}

static void conv_free(struct book_conv *c)
{
    size_t at = 0;
    for (struct book_member *m; (m = map_next(&c->members, &at)) != NULL;) {
        mem_free(m->user);
        mem_free(m);
    }
    map_fini(&c->members);
    for (uint64_t seq = 1; seq <= c->head; seq++)
        book_entry_fini(&c->entries[seq]);
    mem_free(c->id);
    mem_free(c->entries);
    mem_free(c);
}

void book_fini(struct book *b)
{
    size_t at = 0;
    for (struct book_conv *c; (c = map_next(&b->convs, &at)) != NULL;)
        conv_free(c);
    at = 0;
    for (struct book_send *s; (s = map_next(&b->sends, &at)) != NULL;) {
        mem_free(s->key);
        mem_free(s);
    }
    at = 0;
    for (struct book_group *g; (g = map_next(&b->groups, &at)) != NULL;) {
        mem_free(g->digests);
        mem_free(g);
    }
    book_changes_fini(b);
    book_erase_fini(b);
    map_fini(&b->convs);
    map_fini(&b->sends);
    map_fini(&b->groups);
}

/* ---- What is so ---- */

struct book_conv *book_conv(struct book *b, struct slice conv)
{
    return map_get(&b->convs, conv);
}

struct book_member *book_member(struct book *b, struct slice conv, struct slice user)
{
    const struct book_conv *c = book_conv(b, conv);
    return c != NULL ? map_get(&c->members, user) : NULL;
}

bool book_is_member(struct book *b, struct slice conv, struct slice user)
{
    const struct book_member *member = book_member(b, conv, user);
    return member != NULL && member->is_member;
}

uint64_t book_visible(struct book *b, struct slice conv, struct slice user)
{
    const struct book_member *member = book_member(b, conv, user);
    if (member == NULL)
        return 0;
    return member->is_member ? book_head(b, conv) : member->left;
}

uint64_t book_head(struct book *b, struct slice conv)
{
    const struct book_conv *c = book_conv(b, conv);
    return c != NULL ? c->head : 0;
}

bool book_is_from(struct book *b, struct slice conv, uint64_t seq, struct slice user)
{
    const struct book_conv *c = book_conv(b, conv);
    if (c == NULL || seq == 0 || seq > c->head)
        return false;
    struct record_reader r = record_reader_of(buf_slice(c->entries[seq].record));
    struct msg_entry entry;
    return record_decode(&r, &msg_entry_desc, &entry) == RC_OK && slice_equal(entry.from, user);
}

uint64_t book_known_us(const struct book_conv *c, uint64_t seq)
{
    uint64_t known_us = UINT64_MAX;
    for (; seq <= c->head; seq++)
        if (c->entries[seq].told_us != 0 && c->entries[seq].told_us < known_us)
            known_us = c->entries[seq].told_us;
    return known_us;
}

static void note_told(struct book *b, struct book_conv *c, uint64_t seq)
{
    if (c->entries[seq].told_us == 0)
        c->entries[seq].told_us = b->world->now_us;
}

uint64_t book_acked_seq(struct book *b, struct slice conv)
{
    const struct book_conv *c = book_conv(b, conv);
    return c != NULL ? c->acked : 0;
}

uint64_t book_lost_seq(struct book *b, struct slice conv)
{
    const struct book_conv *c = book_conv(b, conv);
    if (c == NULL)
        return 0;
    return c->trimmed > c->ended ? c->trimmed : c->ended;
}

uint64_t book_messages(struct book *b, struct slice conv)
{
    const struct book_conv *c = book_conv(b, conv);
    return c != NULL && c->head > 0 ? c->entries[c->head].messages : 0;
}

uint64_t book_unread(struct book *b, struct slice conv, uint64_t seq)
{
    const struct book_conv *c = book_conv(b, conv);
    if (c == NULL)
        return 0;
    if (seq < c->trimmed)
        seq = c->trimmed;
    if (seq >= c->head)
        return 0;
    return c->entries[c->head].messages - (seq == 0 ? 0 : c->entries[seq].messages);
}

static struct book_conv *get_conv(struct book *b, struct slice id)
{
    struct book_conv *conv = book_conv(b, id);
    if (conv == NULL) {
        conv = mem_new(struct book_conv);
        conv->id = mem_string(id.base, id.size);
        map_init(&conv->members, member_key);
        map_put(&b->convs, conv);
    }
    return conv;
}

static struct book_member *get_member(struct book_conv *conv, struct slice user)
{
    struct book_member *member = map_get(&conv->members, user);
    if (member == NULL) {
        member = mem_new(struct book_member);
        member->user = mem_string(user.base, user.size);
        map_put(&conv->members, member);
    }
    return member;
}

static struct book_send *get_send(struct book *b, struct slice conv, struct slice sender,
                                  struct slice cid, bool make)
{
    struct buf *key = buf_new(128);
    buf_append_slice(key, conv);
    buf_append_byte(key, ' ');
    buf_append_slice(key, sender);
    buf_append_byte(key, ' ');
    buf_append_slice(key, cid);
    struct book_send *send = map_get(&b->sends, buf_slice(key));
    if (send == NULL && make) {
        send = mem_new(struct book_send);
        send->key = mem_string((const char *)key->bytes, key->size);
        map_put(&b->sends, send);
    }
    buf_unref(&key);
    return send;
}

/* ---- The log grows ---- */

static void count_role(struct book_conv *conv, uint64_t role, int by)
{
    conv->owner_count += (uint64_t)(role == ROLE_OWNER ? by : 0);
}

static void note_member(struct book *b, struct book_conv *conv, const struct msg_entry *entry)
{
    struct book_member *member = get_member(conv, entry->user);
    bool joins = entry->change == MEMBER_ADD;
    if (member->is_member == joins)
        world_violation(b->world, "C12: %s %lu changes %s by %lu, who is %s", conv->id, entry->seq,
                        member->user, entry->change, joins ? "in already" : "not in");
    if (member->is_member)
        count_role(conv, member->role, -1);
    member->changed_us = b->world->now_us;
    b->changes++;
    if (joins) {
        member->joined = entry->seq;
        if (book_is_erased(b, entry->user))
            member->read_least = 0; /* His cursors are gone, or go. */
        /* In a direct conversation all that was before him counts as read. */
        if (strncmp(conv->id, "dm:", 3) == 0 && member->read_most < entry->seq - 1)
            member->read_most = entry->seq - 1;
        conv->member_count++;
    }
    if (entry->change == MEMBER_REMOVE || entry->change == MEMBER_LEAVE) {
        member->left = entry->seq;
        member->was_ended = entry->from.size == 0;
        conv->member_count--;
    }
    member->is_member = joins || entry->change == MEMBER_ROLE;
    if (!member->is_member)
        return;
    member->role = entry->role;
    count_role(conv, member->role, 1);
}

static void note_message(struct book *b, struct book_conv *conv, const struct msg_entry *entry)
{
    struct book_send *send = get_send(b, slice_string(conv->id), entry->from, entry->cid, false);
    if (send == NULL)
        world_violation(b->world, "C5: nobody sent %s %lu", conv->id, entry->seq);
    if (send->written_seq != 0)
        world_violation(b->world, "C2: %s stands at %lu and at %lu", send->key, send->written_seq,
                        entry->seq);
    if (send->was_refused)
        world_violation(b->world, "C5: %s was refused and stands at %lu", send->key, entry->seq);
    if (entry->seq <= send->floor)
        world_violation(b->world, "C7: %s was sent after %lu was acknowledged and stands at %lu",
                        send->key, send->floor, entry->seq);
    b->orders += send->floor > 0;
    b->orders_across +=
        send->floor > 0 && conv->entries[send->floor].by != conv->entries[entry->seq].by;
    if (!book_is_member(b, slice_string(conv->id), entry->from))
        world_violation(b->world, "C12: %s at %lu, whose sender is no member", send->key,
                        entry->seq);
    send->written_seq = entry->seq;
    conv->entries[entry->seq].send = send;
    struct book_member *member = get_member(conv, entry->from);
    member->read_least = entry->seq;
    if (member->read_most < entry->seq)
        member->read_most = entry->seq;
}

static void make_room(struct book_conv *c, uint64_t seq)
{
    if (seq < c->capacity)
        return;
    uint64_t capacity = c->capacity == 0 ? 64 : c->capacity;
    while (capacity <= seq)
        capacity *= 2;
    c->entries = mem_resize(c->entries, capacity * sizeof(*c->entries));
    memset(c->entries + c->capacity, 0, (capacity - c->capacity) * sizeof(*c->entries));
    c->capacity = capacity;
}

void book_written(void *book, const char *node, struct slice conv, uint64_t seq, uint64_t messages,
                  struct slice record, bool is_news)
{
    struct book *b = book;
    struct book_conv *c = get_conv(b, conv);
    /* By another replica, again after a crash, or as a change has made it. */
    if (seq <= c->head) {
        if (!book_erase_explains(b, c, seq, record, is_news) ||
            c->entries[seq].messages != messages)
            world_violation(b->world, "C3: %s %lu is applied again by %s and differs", c->id, seq,
                            node);
        return;
    }
    book_goes_on(b, c, seq);
    if (seq != c->head + 1)
        world_violation(b->world, "C4: %s jumps from %lu to %lu on %s", c->id, c->head, seq, node);
    struct msg_entry entry;
    struct record_reader r = record_reader_of(record);
    if (record_decode(&r, &msg_entry_desc, &entry) != RC_OK || entry.seq != seq)
        world_violation(b->world, "C4: what stands at %s %lu is not it", c->id, seq);
    book_check_ending(b, c, &entry);
    make_room(c, seq);
    c->head = seq;
    c->entries[seq] =
        (struct book_entry){.messages = messages, .by = node, .at_us = b->world->now_us};
    book_entry_set(&c->entries[seq], record);
    uint64_t before = seq > 1 ? c->entries[seq - 1].messages : 0;
    if (messages != before + (entry.type == ENTRY_MESSAGE))
        world_violation(b->world, "%s counts %lu messages up to %lu", c->id, messages, seq);
    if (entry.type == ENTRY_MEMBER)
        note_member(b, c, &entry);
    else if (entry.type == ENTRY_MESSAGE)
        note_message(b, c, &entry);
    else if (entry.type != ENTRY_INFO)
        book_changed(b, c, &entry);
}

/* Only groups have retention here, and never fewer entries than they are to keep; but of what ended
 * nothing is kept. */
void book_told(struct book *b, const char *node, struct slice conv, const struct row_head *head,
               const struct row_conv *info)
{
    struct book_conv *c = get_conv(b, conv);
    uint64_t trimmed = head->trimmed;
    if (info->dropped == BOOK_DROPPING)
        book_ending(b, c, head->seq);
    if (info->dropped == BOOK_DROPPED || info->begun != 0)
        book_ended(b, c, node, info->begun != 0 ? info->begun - 1 : head->seq);
    bool is_right = strncmp(c->id, "group", 5) == 0 && b->retain_count != 0 &&
                    trimmed + b->retain_count <= head->seq;
    if (trimmed > c->ended && !is_right)
        world_violation(b->world, "C14: %s removed %s up to %lu of %lu", node, c->id, trimmed,
                        head->seq);
    if (trimmed <= c->trimmed)
        return;
    b->trims += trimmed > c->ended;
    c->trimmed = trimmed;
}

/* ---- What clients report ---- */

struct book_send *book_invoked(struct book *b, struct slice conv, struct slice sender,
                               struct slice cid, uint32_t device, uint32_t number)
{
    struct book_send *send = get_send(b, conv, sender, cid, true);
    send->floor = book_acked_seq(b, conv);
    send->device = device;
    send->number = number;
    return send;
}

void book_acked(struct book *b, struct slice conv, struct slice sender, struct slice cid,
                uint64_t seq)
{
    struct book_send *send = get_send(b, conv, sender, cid, false);
    if (send == NULL)
        world_violation(b->world, "C5: acknowledged what was never sent: %.*s", SLICE_ARGS(cid));
    if (seq == 0 || (send->acked_seq != 0 && send->acked_seq != seq))
        world_violation(b->world, "C2: %s acknowledged at %lu, then at %lu", send->key,
                        send->acked_seq, seq);
    if (send->written_seq != seq)
        world_violation(b->world, "C1: %s acknowledged at %lu, but the log has it at %lu",
                        send->key, seq, send->written_seq);
    if (send->acked_seq == 0)
        b->acked++;
    send->acked_seq = seq;
    struct book_conv *c = get_conv(b, conv);
    if (seq > c->acked)
        c->acked = seq;
    note_told(b, c, seq);
}

void book_refused(struct book *b, struct book_send *send)
{
    if (send->tries > 1) {
        send->is_given_up = true;
        return;
    }
    send->was_refused = true;
    b->refused++;
    if (send->written_seq != 0)
        world_violation(b->world, "C5: %s was refused and stands at %lu", send->key,
                        send->written_seq);
}

void book_seen(struct book *b, struct slice viewer, struct slice conv, uint64_t seq,
               struct slice sender, struct slice cid, struct slice body, struct slice raw)
{
    b->delivered++;
    struct book_conv *c = book_conv(b, conv);
    if (c == NULL || seq == 0 || seq > c->head)
        world_violation(b->world, "C5: %.*s was shown what does not exist: %.*s",
                        SLICE_ARGS(viewer), SLICE_ARGS(raw));
    if (seq > book_visible(b, conv, viewer))
        world_violation(b->world, "C12: %.*s is no member of %s and was shown %.*s",
                        SLICE_ARGS(viewer), c->id, SLICE_ARGS(raw));
    note_told(b, c, seq);
    struct book_entry *entry = &c->entries[seq];
    /* Who was removed once may be shown less than what the log made of it. */
    const struct book_member *member = book_member(b, conv, viewer);
    bool may_show_less = member != NULL && member->left != 0;
    if (may_show_less ? !book_entry_said(entry, body) : !book_entry_show(entry, raw, body))
        world_violation(b->world, "C3: two entries at %s %lu, the newer one %.*s", c->id, seq,
                        SLICE_ARGS(raw));
    if (cid.base != NULL && entry->send != get_send(b, conv, sender, cid, false))
        world_violation(b->world, "C3: at %s %lu stands something else than %.*s", c->id, seq,
                        SLICE_ARGS(raw));
}

void book_read(struct book *b, struct slice conv, struct slice user, uint64_t seq, uint64_t least)
{
    struct book_member *member = book_member(b, conv, user);
    if (member == NULL)
        return;
    if (seq > member->read_most)
        member->read_most = seq;
    if (least > member->read_least)
        member->read_least = least;
}

/* ---- The end ---- */

/* C8: what was sent once, and not refused, stands in the order sent. */
static void check_order(struct book *b, const struct book_conv *c, uint32_t devices)
{
    uint32_t *last = mem_zero((devices + 1) * sizeof(*last));
    for (uint64_t seq = 1; seq <= c->head; seq++) {
        const struct book_send *send = c->entries[seq].send;
        if (send == NULL || send->tries != 1)
            continue;
        if (send->number < last[send->device])
            world_violation(b->world, "C8: %s stands at %lu behind the later send %u", send->key,
                            seq, last[send->device]);
        last[send->device] = send->number;
    }
    mem_free(last);
}

void book_close(struct book *b, uint32_t devices)
{
    size_t at = 0;
    for (struct book_conv *c; (c = map_next(&b->convs, &at)) != NULL;) {
        check_order(b, c, devices);
        if (c->member_count > 0 && c->owner_count == 0 && strncmp(c->id, "group", 5) == 0)
            world_violation(b->world, "%s has no owner", c->id);
    }
    at = 0;
    for (struct book_send *s; (s = map_next(&b->sends, &at)) != NULL;) {
        if (s->acked_seq != 0 && s->written_seq != s->acked_seq)
            world_violation(b->world, "C1: %s was acknowledged at %lu and is not there", s->key,
                            s->acked_seq);
        if (s->acked_seq == 0 && !s->was_refused && !s->is_given_up)
            world_violation(b->world, "C11: %s was never acknowledged", s->key);
    }
}
