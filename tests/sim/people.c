#include "tests/sim/people.h"

#include <stdio.h>

#include "mesh/base/mem.h"
#include "tests/sim/people_private.h"

static void person_init(struct people *people, uint32_t index)
{
    struct person *p = &people->persons[index];
    uint32_t firsts = people->options.users * people->options.devices;
    p->people = people;
    p->index = index;
    p->is_slow = world_chance(people->world, 0.2);
    p->is_hasty = world_chance(people->world, 0.4);
    p->is_sloppy = world_chance(people->world, 0.2);
    p->sends = mem_zero(SENDS_MAX * sizeof(*p->sends));
    uint32_t of = index < firsts ? index : index - firsts;
    snprintf(p->user, sizeof(p->user), "u%u", of % people->options.users + 1);
    snprintf(p->device, sizeof(p->device), "d%u", of / people->options.users + 1);
    if (index < firsts)
        return;
    p->is_second = true;
    p->twin = &people->persons[of];
    people->persons[of].twin = p;
}

struct people *people_new(struct world *world, struct cluster *cluster, struct book *book,
                          const struct people_options *options)
{
    struct people *people = mem_new(struct people);
    people->world = world;
    people->cluster = cluster;
    people->book = book;
    people->options = *options;
    people->count = options->users * options->devices + options->twins;
    people->persons = mem_zero(people->count * sizeof(*people->persons));
    list_init(&people->wires);
    for (uint32_t i = 0; i < people->count; i++)
        person_init(people, i);
    return people;
}

void people_free(struct people **people)
{
    struct people *taken = *people;
    *people = NULL;
    if (taken == NULL)
        return;
    LIST_EACH(node, &taken->wires)
    mem_free(LIST_ENTRY(node, struct wire, node));
    for (uint32_t i = 0; i < taken->count; i++)
        mem_free(taken->persons[i].sends);
    mem_free(taken->persons);
    mem_free(taken);
}

uint32_t people_count(const struct people *people)
{
    return people->count;
}

void people_quiet(struct people *people)
{
    people->is_quiet = true;
    for (uint32_t i = 0; i < people->count; i++)
        if (people->persons[i].wire != NULL && people->persons[i].welcomed)
            say_everything(&people->persons[i]);
}

/* ---- Two clients of one device ---- */

void people_duel(struct people *people)
{
    for (uint32_t i = 0; i < people->count; i++) {
        struct person *p = &people->persons[i];
        if (p->twin == NULL)
            continue;
        if (p->wire != NULL)
            wire_cut(p, 10000);
        p->is_dueling = true;
        connect_soon(p, 20000, 22000);
    }
}

void people_end_duel(struct people *people)
{
    for (uint32_t i = 0; i < people->count; i++) {
        struct person *second = &people->persons[i];
        if (!second->is_second)
            continue;
        struct person *first = second->twin;
        if ((first->wire != NULL) == (second->wire != NULL))
            world_violation(people->world, "%s/%s connected twice and %s", first->user,
                            first->device, first->wire != NULL ? "both stay" : "both are closed");
        if (second->wire != NULL) {
            wire_cut(second, 10000);
            connect_soon(first, 20000, 500000);
        }
        second->is_retired = true;
        first->is_dueling = false;
        first->twin = NULL; /* Whoever replaces it from now on is wrong. */
    }
}

/* ---- In the end ---- */

static bool is_erased(const struct person *p)
{
    return book_is_erased(p->people->book, slice_string(p->user));
}

/* It ended with him in it. */
static bool has_ended(const struct person *p, struct slice conv)
{
    const struct book_conv *c = book_conv(p->people->book, conv);
    const struct book_member *member = book_member(p->people->book, conv, slice_string(p->user));
    return member != NULL && member->was_ended && !is_erased(p) && c->ended != 0 &&
           c->ended == c->head;
}

static bool has_place(struct person *p, struct place *place, char *why, size_t why_size)
{
    struct slice conv = slice_string(place->conv);
    uint64_t visible = book_visible(p->people->book, conv, slice_string(p->user));
    if (!book_is_member(p->people->book, conv, slice_string(p->user))) {
        /* Who does not say what he has is not told what he lost while he was away; but he is where
         * all that he had was ended. Of who is erased nobody knows that he was there. */
        bool is_to_know = (p->wire->is_named && !is_erased(p)) || has_ended(p, conv);
        if (is_to_know && place->is_in) {
            snprintf(why, why_size,
                     "C12: %s/%s has %s up to %lu and was not told of his removal at %lu", p->user,
                     p->device, place->conv, place->cursor, visible);
            return false;
        }
        return true;
    }
    if (place->cursor != visible || place->fill_from != 0) {
        snprintf(why, why_size, "C11: %s/%s has %s up to %lu of %lu, a gap left from %lu", p->user,
                 p->device, place->conv, place->cursor, visible, place->fill_from);
        return false;
    }
    if (place->is_out) {
        snprintf(why, why_size, "C12: %s/%s is in %s, but the last word was that he is not",
                 p->user, p->device, place->conv);
        return false;
    }
    return true;
}

static bool is_content(struct person *p, char *why, size_t why_size)
{
    if (p->wire == NULL || !p->welcomed) {
        snprintf(why, why_size, "C11: %s/%s is not online", p->user, p->device);
        return false;
    }
    for (uint32_t i = 0; i < p->send_count; i++) {
        const struct outgoing *out = &p->sends[i];
        if (!out->is_done) {
            snprintf(why, why_size, "C11: %s/%s waits for %s to %s", p->user, p->device, out->cid,
                     out->to);
            return false;
        }
    }
    size_t at = 0;
    for (const struct book_conv *c; (c = map_next(&p->people->book->convs, &at)) != NULL;)
        if (book_is_member(p->people->book, slice_string(c->id), slice_string(p->user)))
            place_of(p, slice_string(c->id));
    for (uint32_t i = 0; i < p->place_count; i++)
        if (!has_place(p, &p->places[i], why, why_size))
            return false;
    return true;
}

bool people_are_content(struct people *people, char *why, size_t why_size)
{
    for (uint32_t i = 0; i < people->count; i++)
        if (!people->persons[i].is_retired && !is_content(&people->persons[i], why, why_size))
            return false;
    return true;
}
