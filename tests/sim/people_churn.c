/* Who may change memberships does: adds, removes, gives roles; members leave. */
#include <stdio.h>

#include "mesh/wire/messages.h"
#include "tests/sim/people_private.h"

static void ask(struct person *p, const char *type, const char *role)
{
    struct change *change = &p->change;
    struct buf *text = buf_new(160);
    buf_append_format(text, "{\"type\":\"%s\",\"id\":\"m\",\"conv\":\"%s\"", type, change->conv);
    if (change->user_count > 0 && change->users[0][0] != '\0') {
        buf_append_string(text, ",\"users\":[");
        for (uint32_t i = 0; i < change->user_count; i++)
            buf_append_format(text, "%s\"%s\"", i > 0 ? "," : "", change->users[i]);
        buf_append_string(text, "]");
    }
    if (role != NULL)
        buf_append_format(text, ",\"role\":\"%s\"", role);
    buf_append_string(text, "}");
    change->is_asked = true;
    change->asked_us = p->people->world->now_us;
    wire_say(p, text);
}

static void draw_users(struct person *p)
{
    struct world *world = p->people->world;
    p->change.user_count = world_chance(world, 0.2) ? 2 : 1;
    for (uint32_t i = 0; i < p->change.user_count; i++)
        snprintf(p->change.users[i], sizeof(p->change.users[i]), "u%lu",
                 world_between(world, 1, p->people->options.users));
}

static void leave(struct person *p)
{
    p->change.is_removal = true;
    p->change.user_count = 1;
    snprintf(p->change.users[0], sizeof(p->change.users[0]), "%s", p->user);
    struct buf *text = buf_new(96);
    buf_append_format(text, "{\"type\":\"leave\",\"id\":\"m\",\"conv\":\"%s\"}", p->change.conv);
    p->change.is_asked = true;
    p->change.asked_us = p->people->world->now_us;
    wire_say(p, text);
}

static void change_something(struct person *p, const struct book_member *self)
{
    struct people *people = p->people;
    if (world_chance(people->world, self->role == ROLE_OWNER ? 0.02 : 0.1)) {
        leave(p);
        return;
    }
    if (self->role < ROLE_ADMIN)
        return;
    draw_users(p);
    static const char *const roles[] = {"member", "admin", "owner"};
    bool is_in = book_is_member(people->book, slice_string(p->change.conv),
                                slice_string(p->change.users[0]));
    if (!is_in) {
        p->change.is_add = true;
        ask(p, "add", NULL);
    } else if (world_chance(people->world, 0.7)) {
        p->change.is_removal = true;
        ask(p, "remove", NULL);
    } else {
        ask(p, "role", roles[world_between(people->world, 0, 2)]);
    }
}

static void change_soon(struct person *p);

static void change(void *context, uint64_t argument)
{
    (void)argument;
    struct person *p = context;
    struct people *people = p->people;
    if (people->is_quiet)
        return;
    change_soon(p);
    if (p->wire == NULL || !p->welcomed || p->change.is_asked)
        return;
    p->change = (struct change){0};
    snprintf(p->change.conv, sizeof(p->change.conv), "group%lu",
             world_between(people->world, 1, people->options.groups));
    const struct book_member *self =
        book_member(people->book, slice_string(p->change.conv), slice_string(p->user));
    if (self != NULL && self->is_member)
        change_something(p, self);
}

static void change_soon(struct person *p)
{
    struct world *world = p->people->world;
    uint64_t pause = (uint64_t)(300000 / p->people->options.churn);
    world_after(world, world_between(world, 1000, 2 * pause), change, p, 0);
}

void churn_begin(struct person *p)
{
    if (p->people->options.churn > 0 && p->people->options.groups > 0)
        change_soon(p);
}

/* Acknowledged: it is so, or was so between the question and now. */
static void check_change(struct person *p, const char *user)
{
    const struct change *change = &p->change;
    const struct book_member *member =
        book_member(p->people->book, slice_string(change->conv), slice_string(user));
    bool is_in = member != NULL && member->is_member;
    bool changed = member != NULL && member->changed_us >= change->asked_us;
    if ((change->is_add && !is_in && !changed) || (change->is_removal && is_in && !changed))
        world_violation(p->people->world, "C1: %s was told that %s was %s %s, who was not", p->user,
                        user, change->is_add ? "added to" : "removed from", change->conv);
}

void churn_on_reply(struct person *p, const struct event *e)
{
    struct world *world = p->people->world;
    p->change.is_asked = false;
    for (uint32_t i = 0; slice_equals(e->type, "ok") && i < p->change.user_count; i++)
        check_change(p, p->change.users[i]);
    if (slice_equals(e->code, "internal") || slice_equals(e->code, "unsupported"))
        world_violation(world, "%s got %.*s", p->user, SLICE_ARGS(e->raw));
}
