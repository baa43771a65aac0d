/* What is kept nowhere: clients type, set a status, watch everybody, and ask who is online and who
 * has read what. Whoever hears of something must be one whom it concerns (C12); and in the end
 * everybody has been told how everybody is (C15). */
#include <stdio.h>

#include "mesh/base/check.h"
#include "tests/sim/people_private.h"

#define NOBODY   "nobody" /* Watched, too, and never there. */
#define NOT_TOLD UINT8_MAX
#define LEAST_US 100000u
#define MOST_US  2000000u

static const char *const names[] = {"offline", "online", "away", "busy"};

static uint8_t status_of(const struct event *e)
{
    for (uint8_t i = 0; i < 4; i++)
        if (slice_equals(e->status, names[i]))
            return i;
    return NOT_TOLD;
}

/* Users have numbers from 1; NOBODY is 0. */
static uint32_t number_of(struct slice user)
{
    uint32_t number = 0;
    for (uint32_t i = 1; i < user.size && user.base[0] == 'u'; i++)
        number = number * 10 + (uint32_t)(user.base[i] - '0');
    return number <= SOFT_USERS_MAX ? number : 0;
}

static void put_users(const struct person *p, struct buf *text)
{
    buf_append_string(text, ",\"users\":[\"" NOBODY "\"");
    for (uint32_t u = 1; u <= p->people->options.users; u++)
        buf_append_format(text, ",\"u%u\"", u);
    buf_append_string(text, "]}");
}

static void say_users(struct person *p, const char *type, const char *id)
{
    struct buf *text = buf_new(256);
    buf_append_format(text, "{\"type\":\"%s\",\"id\":\"%s\"", type, id);
    put_users(p, text);
    wire_say(p, text);
}

static void say_status(struct person *p, uint32_t status)
{
    struct buf *text = buf_new(64);
    buf_append_format(text, "{\"type\":\"status\",\"id\":\"s\",\"status\":\"%s\"}", names[status]);
    wire_say(p, text);
}

static void say_typing(struct person *p, uint64_t group, bool on)
{
    struct buf *text = buf_new(96);
    buf_append_format(text, "{\"type\":\"typing\",\"conv\":\"group%lu\",\"on\":%s}", group,
                      on ? "true" : "false");
    wire_say(p, text);
}

/* `id` is "r", or "R" in the end. */
static void ask_receipts(struct person *p, const struct place *place, const char *id)
{
    struct buf *text = buf_new(96);
    buf_append_format(text, "{\"type\":\"receipts\",\"id\":\"%s\",\"conv\":\"%s\",\"seq\":%lu}", id,
                      place->conv, place->message);
    wire_say(p, text);
}

static void act(struct person *p)
{
    struct people *people = p->people;
    struct world *world = people->world;
    uint64_t kind = world_between(world, 0, 9);
    if (kind < 4 && people->options.groups > 0)
        say_typing(p, world_between(world, 1, people->options.groups), world_chance(world, 0.7));
    else if (kind < 7)
        say_status(p, (uint32_t)world_between(world, 1, 3));
    else if (kind < 8)
        say_users(p, "presence", "p");
    else if (p->place_count > 0) {
        const struct place *place = &p->places[world_between(world, 0, p->place_count - 1)];
        if (place->message != 0)
            ask_receipts(p, place, "r");
    }
}

static void act_again(void *context, uint64_t argument)
{
    (void)argument;
    struct person *p = context;
    struct world *world = p->people->world;
    if (p->people->is_quiet)
        return;
    world_after(world, world_between(world, LEAST_US, MOST_US), act_again, p, 0);
    if (p->wire != NULL && p->welcomed)
        act(p);
}

void soft_begin(struct person *p)
{
    struct world *world = p->people->world;
    world_after(world, world_between(world, LEAST_US, MOST_US), act_again, p, 0);
}

/* A new connection has been told nothing. One may be resumed twice: by itself, and by a `connect`
 * that came late. */
void soft_on_resumed(struct person *p)
{
    if (p->is_second || p->soft.wire == p->wire->number)
        return;
    p->soft.wire = p->wire->number;
    memset(p->soft.told, NOT_TOLD, sizeof(p->soft.told));
    say_users(p, "watch", "w");
    if (p->soft.final != 0)
        say_status(p, p->soft.final);
}

/* ---- What comes ---- */

static void on_presence(struct person *p, const struct event *e)
{
    uint8_t status = status_of(e);
    bool is_known = slice_equals(e->user, NOBODY) || number_of(e->user) != 0;
    if (!is_known || status == NOT_TOLD || (e->last_seen != 0 && status != 0))
        world_violation(p->people->world, "%s got %.*s", p->user, SLICE_ARGS(e->raw));
    p->people->book->presences++;
    p->soft.told[number_of(e->user)] = status;
}

/* Both are, or were, members. */
static void on_typing(struct person *p, const struct event *e)
{
    struct book *book = p->people->book;
    p->people->book->typings++;
    if (book_member(book, e->conv, slice_string(p->user)) == NULL ||
        book_member(book, e->conv, e->user) == NULL)
        world_violation(p->people->world, "C12: %s got %.*s", p->user, SLICE_ARGS(e->raw));
}

/* All that were asked for, in that order. */
static void on_presence_list(struct person *p, const struct event *e)
{
    uint32_t at = 0;
    uint32_t count = 0;
    struct slice key;
    struct json_value value;
    for (; json_next(e->users, &at, &key, &value); count++) {
        struct event item = event_parse(value);
        bool is_next = count == 0 ? slice_equals(item.user, NOBODY) : number_of(item.user) == count;
        if (!is_next || status_of(&item) == NOT_TOLD)
            world_violation(p->people->world, "%s asked who is online and got %.*s", p->user,
                            SLICE_ARGS(e->raw));
    }
    if (count != p->people->options.users + 1)
        world_violation(p->people->world, "%s asked for %u users and got %.*s", p->user,
                        p->people->options.users + 1, SLICE_ARGS(e->raw));
}

static bool lists(struct json_value list, struct slice user)
{
    uint32_t at = 0;
    struct slice key;
    struct json_value value;
    while (json_next(list, &at, &key, &value)) {
        struct event item = event_parse(value);
        if (slice_equal(item.user, user))
            return true;
    }
    return false;
}

/* Who is listed may have read so far; and who is known to have read so far is listed, where nothing
 * moves any more. */
static void check_reader(struct person *p, const struct event *e, const struct book_member *member)
{
    struct slice user = slice_string(member->user);
    bool is_listed = lists(e->read_list, user);
    if (is_listed && (member->read_most < e->seq || !lists(e->delivered_list, user)))
        world_violation(p->people->world, "%s has read up to %lu at most, told is %.*s",
                        member->user, member->read_most, SLICE_ARGS(e->raw));
    const struct place *place = place_of(p, e->conv);
    bool is_for_him = member->is_member && member->joined <= e->seq && place->message == e->seq &&
                      !slice_equal(slice_string(place->from), user);
    if (slice_equals(e->id, "R") && !is_listed && is_for_him && member->read_least >= e->seq)
        world_violation(p->people->world, "%s has read up to %lu, told is %.*s", member->user,
                        member->read_least, SLICE_ARGS(e->raw));
}

static void on_receipts(struct person *p, const struct event *e)
{
    const struct book_conv *conv = book_conv(p->people->book, e->conv);
    if (book_member(p->people->book, e->conv, slice_string(p->user)) == NULL)
        world_violation(p->people->world, "C12: %s got %.*s", p->user, SLICE_ARGS(e->raw));
    size_t at = 0;
    for (const struct book_member *m; (m = map_next(&conv->members, &at)) != NULL;)
        check_reader(p, e, m);
    p->soft.receipts_waiting -= slice_equals(e->id, "R");
}

bool soft_on_event(struct person *p, const struct event *e)
{
    if (slice_equals(e->type, "presence"))
        on_presence(p, e);
    else if (slice_equals(e->type, "typing"))
        on_typing(p, e);
    else if (slice_equals(e->type, "presence_list"))
        on_presence_list(p, e);
    else if (slice_equals(e->type, "receipts"))
        on_receipts(p, e);
    else
        return false;
    return true;
}

static bool may_try_again(const struct event *e)
{
    return slice_equals(e->code, "unavailable") || slice_equals(e->code, "rate_limited");
}

/* What was refused for a while is said again, where it counts. */
bool soft_on_error(struct person *p, const struct event *e, uint64_t wait_us)
{
    bool is_last = slice_equals(e->id, "R");
    bool is_about_place = is_last || slice_equals(e->id, "r");
    bool is_said_again = slice_equals(e->id, "w") || slice_equals(e->id, "s");
    bool is_gone = slice_equals(e->code, "forbidden") || slice_equals(e->code, "not_found");
    if (!is_about_place && !is_said_again && !slice_equals(e->id, "p"))
        return false;
    if (!may_try_again(e) && !(is_about_place && is_gone))
        world_violation(p->people->world, "%s got %.*s", p->user, SLICE_ARGS(e->raw));
    p->soft.receipts_waiting -= is_last;
    if (is_last && may_try_again(e))
        p->soft.asked_on = 0;
    if (is_said_again) {
        p->soft.is_refused = true;
        say_again_after(p, wait_us);
    }
    return true;
}

void soft_say_again(struct person *p)
{
    if (!p->soft.is_refused || p->is_second)
        return;
    p->soft.is_refused = false;
    say_users(p, "watch", "w");
    if (p->soft.final != 0)
        say_status(p, p->soft.final);
}

/* ---- In the end ---- */

/* The first device of each user says how he is, for good. */
void soft_finish(struct person *p)
{
    if (strcmp(p->device, "d1") == 0)
        p->soft.final = (uint32_t)world_between(p->people->world, 1, 3);
    if (p->wire == NULL || !p->welcomed)
        return;
    if (p->soft.final != 0)
        say_status(p, p->soft.final);
    say_users(p, "presence", "p");
}

/* No cursor moves any more: who has read what? */
static void ask_all_receipts(struct person *p)
{
    p->soft.asked_on = p->wire->number;
    p->soft.receipts_waiting = 0;
    for (uint32_t i = 0; i < p->place_count; i++) {
        if (p->places[i].message == 0)
            continue;
        ask_receipts(p, &p->places[i], "R");
        p->soft.receipts_waiting++;
    }
}

static uint32_t final_of(const struct people *people, uint32_t user)
{
    for (uint32_t i = 0; i < people->count; i++) {
        const struct person *p = &people->persons[i];
        if (p->soft.final != 0 && number_of(slice_string(p->user)) == user)
            return p->soft.final;
    }
    return 0; /* Nobody: offline. */
}

bool soft_is_right(struct person *p, char *why, size_t why_size)
{
    if (p->wire != NULL && p->welcomed && p->soft.asked_on != p->wire->number)
        ask_all_receipts(p);
    if (p->soft.receipts_waiting > 0) {
        snprintf(why, why_size, "C11: %s/%s waits for %u receipts", p->user, p->device,
                 p->soft.receipts_waiting);
        return false;
    }
    for (uint32_t user = 0; user <= p->people->options.users; user++) {
        uint32_t is = final_of(p->people, user);
        uint8_t told = p->soft.told[user];
        if (p->wire != NULL && p->welcomed && told == is)
            continue;
        snprintf(why, why_size, "C15: %s/%s was told that u%u (0: nobody) is %s, and he is %s",
                 p->user, p->device, user, told != NOT_TOLD ? names[told] : "?", names[is]);
        return false;
    }
    return true;
}
