/* Who sees a message may react to it, and now and then edits or deletes it, be it his or not. */
#include <stdio.h>

#include "tests/sim/people_private.h"

#define CHANCE 0.08 /* That a message is changed by one who sees it. */

static void say(struct person *p, const struct event *e)
{
    static const char *const emojis[] = {"+1", "-1", "!"};
    struct world *world = p->people->world;
    struct buf *text = buf_new(160);
    bool is_his = slice_equals(e->from, p->user);
    uint64_t kind = world_between(world, 0, is_his ? 5 : 9);
    const char *type = kind < 3 ? "edit" : kind < 5 ? "delete" : "react";
    buf_append_format(text, "{\"type\":\"%s\",\"id\":\"x%lu\",\"conv\":\"%.*s\",\"seq\":%lu", type,
                      e->seq, SLICE_ARGS(e->conv), e->seq);
    if (kind < 3)
        buf_append_format(text, ",\"body\":{\"e\":%lu}", world_between(world, 0, 1000000));
    else if (kind >= 5)
        buf_append_format(text, ",\"emoji\":\"%s\",\"on\":%s", emojis[world_between(world, 0, 2)],
                          world_chance(world, 0.7) ? "true" : "false");
    buf_append_string(text, "}");
    wire_say(p, text);
}

void change_on_entry(struct person *p, const struct event *e)
{
    struct people *people = p->people;
    if (people->is_quiet || p->wire == NULL || !p->welcomed || p->is_second)
        return;
    if (slice_equals(e->type, "message") && world_chance(people->world, CHANCE))
        say(p, e);
}

/* The id names the message that was changed. */
static uint64_t target_of(const struct event *e)
{
    uint64_t target = 0;
    for (uint32_t i = 1; i < e->id.size; i++)
        target = target * 10 + (uint64_t)(e->id.base[i] - '0');
    return target;
}

bool change_is_mine(const struct event *e)
{
    return e->id.size > 1 && e->id.base[0] == 'x';
}

void change_on_sent(struct person *p, const struct event *e)
{
    if (!e->dup)
        book_change_acked(p->people->book, e->conv, slice_string(p->user), target_of(e), e->seq);
}

/* What may be refused is: the message is another's or deleted, or he is no member any more. What
 * became of one that is unavailable nobody knows; it is not said again. */
void change_on_error(const struct person *p, const struct event *e)
{
    static const char *const fine[] = {"forbidden",   "not_found",    "conflict",
                                       "unavailable", "rate_limited", "too_large"};
    for (size_t i = 0; i < sizeof(fine) / sizeof(fine[0]); i++)
        if (slice_equals(e->code, fine[i]))
            return;
    world_violation(p->people->world, "%s got %.*s", p->user, SLICE_ARGS(e->raw));
}
