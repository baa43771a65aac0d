/* What the operator ends: groups for good, direct conversations until somebody begins them again,
 * which then hold nothing of what was.
 *
 * An end has no entry of its own. The members are removed by entries; that it was the end the rows
 * of the conversation say, of which the taps tell. */
#include <stdio.h>

#include "tests/sim/book.h"

static bool is_group(const struct book_conv *c)
{
    return strncmp(c->id, "dm:", 3) != 0;
}

/* A replica that is behind may tell of it when all is over. */
void book_ending(struct book *b, struct book_conv *c, uint64_t seq)
{
    if (c->ending != 0 || seq <= c->ended)
        return;
    c->ending = seq;
    b->parted++;
    world_note(b->world, "%s ends from %lu on", c->id, seq);
}

/* From the first command on it is there for nobody, so nothing happens in it but its end. */
void book_check_ending(struct book *b, const struct book_conv *c, const struct msg_entry *entry)
{
    bool is_end =
        entry->type == ENTRY_MEMBER && entry->change == MEMBER_REMOVE && entry->from.size == 0;
    if (c->ending != 0 && entry->seq > c->ending && !is_end)
        world_violation(b->world, "C16: %s ends since %lu and goes on at %lu", c->id, c->ending,
                        entry->seq);
}

bool book_is_gone(const struct book_conv *c)
{
    return c != NULL && (c->ended != 0 || c->ending != 0);
}

void book_ended(struct book *b, struct book_conv *c, const char *node, uint64_t seq)
{
    if (seq <= c->ended)
        return; /* By another replica, or again after a crash. */
    if (seq > c->head)
        world_violation(b->world, "C16: %s ended %s at %lu, its head is %lu", node, c->id, seq,
                        c->head);
    size_t at = 0;
    for (struct book_member *m; (m = map_next(&c->members, &at)) != NULL;) {
        if (m->joined > seq)
            continue; /* It has begun again in the same turn. */
        if (m->is_member)
            world_violation(b->world, "C16: %s ended %s at %lu with %s in it", node, c->id, seq,
                            m->user);
        m->read_least = 0; /* His cursors are gone. */
    }
    c->ended = seq;
    c->ending = 0;
    b->ends++;
    world_note(b->world, "%s is ended at %lu", c->id, seq);
}

void book_goes_on(struct book *b, const struct book_conv *c, uint64_t seq)
{
    if (c->ended == 0)
        return;
    if (is_group(c))
        world_violation(b->world, "C16: %s was ended at %lu and goes on at %lu", c->id, c->ended,
                        seq);
    b->begins += seq == c->ended + 1;
}

void book_end_acked(struct book *b, struct slice conv, uint64_t head)
{
    struct book_conv *c = book_conv(b, conv);
    if (c == NULL || c->ended == 0 || c->ended < head)
        world_violation(b->world, "C16: %.*s is said to have ended, its head was %lu",
                        SLICE_ARGS(conv), head);
    c->over = c->ended;
    c->over_us = b->world->now_us;
}

void book_end_unknown(struct book *b, struct slice conv, uint64_t head)
{
    if (head > 0)
        world_violation(b->world, "C16: there is no %.*s, the operator was told; its head was %lu",
                        SLICE_ARGS(conv), head);
}

void book_given(struct book *b, struct slice viewer, struct slice conv, uint64_t seq,
                uint64_t asked_us)
{
    const struct book_conv *c = book_conv(b, conv);
    if (c != NULL && c->over > 0 && seq <= c->over && asked_us > c->over_us)
        world_violation(b->world, "C16: %s was over at %lu, and then %.*s asked and got %lu", c->id,
                        c->over, SLICE_ARGS(viewer), seq);
}

bool book_ends_are_done(const struct book *b, char *why, size_t why_size)
{
    size_t at = 0;
    for (const struct book_conv *c; (c = map_next(&b->convs, &at)) != NULL;) {
        if (c->ending != 0)
            snprintf(why, why_size, "C16: %s ends since %lu, and has not ended", c->id, c->ending);
        else if (c->trimmed < c->ended)
            snprintf(why, why_size, "C16: %s was ended at %lu, and is removed up to %lu", c->id,
                     c->ended, c->trimmed);
        else
            continue;
        return false;
    }
    return true;
}
