/* What clients say: messages, cursors, questions. */
#include <stdio.h>

#include "gateway/client.h"
#include "mesh/base/check.h"
#include "mesh/base/mem.h"
#include "mesh/wire/key.h"
#include "tests/sim/people_private.h"

struct place *place_of(struct person *p, struct slice conv)
{
    for (uint32_t i = 0; i < p->place_count; i++)
        if (slice_equals(conv, p->places[i].conv))
            return &p->places[i];
    CHECK(p->place_count < CONVS_MAX);
    struct place *place = &p->places[p->place_count++];
    memset(place, 0, sizeof(*place));
    snprintf(place->conv, sizeof(place->conv), "%.*s", SLICE_ARGS(conv));
    place->at = AT_UNKNOWN;
    return place;
}

struct outgoing *outgoing_of(struct person *p, struct slice cid)
{
    for (uint32_t i = p->send_count; i-- > 0;)
        if (slice_equals(cid, p->sends[i].cid))
            return &p->sends[i];
    return NULL;
}

/* ---- Connecting ---- */

/* Some leave the resume point to the server; some say it so late that it has begun from its own
 * record meanwhile. Not those whose record may be ahead of them: who read beyond the end, share the
 * device with another client, or were logged out and forgot. */
void say_connect(struct person *p)
{
    struct people *people = p->people;
    bool has_record = p->twin == NULL && !p->is_sloppy && !p->has_forgotten;
    double draw = (double)world_between(people->world, 0, 999) / 1000;
    if (has_record && draw < people->options.foreign_reset)
        return;
    p->wire->is_named = true;
    bool is_late = has_record && draw < 2 * people->options.foreign_reset;
    struct buf *text = buf_new(256);
    buf_append_string(text, "{\"type\":\"connect\",\"id\":0,\"resume\":{");
    for (uint32_t i = 0; i < p->place_count; i++) {
        struct place *place = &p->places[i];
        place->told = place->cursor;
        place->is_told = true;
        buf_append_format(text, "%s\"%s\":%lu", i > 0 ? "," : "", place->conv, place->cursor);
    }
    buf_append_string(text, "}}");
    wire_say_late(p, text, is_late ? world_between(people->world, 30000, 150000) : 0);
}

/* ---- Messages ---- */

static void send_one(struct person *p, struct outgoing *out)
{
    struct buf *text = buf_new(160);
    bool direct = out->to[0] == '@';
    buf_append_format(
        text,
        "{\"type\":\"send\",\"id\":\"%s\",\"%s\":\"%s\",\"cid\":\"%s\",\"body\":{\"t\":\"%s\"}}",
        out->cid, direct ? "to" : "conv", direct ? out->to + 1 : out->to, out->cid, out->cid);
    out->in_flight = true;
    out->record->tries++;
    out->sent_us = p->people->world->now_us;
    wire_say(p, text);
}

void say_sends(struct person *p)
{
    if (p->wire == NULL || !p->welcomed)
        return;
    uint32_t flying = 0;
    for (uint32_t i = 0; i < p->send_count && flying < FLIGHT_MAX; i++) {
        struct outgoing *out = &p->sends[i];
        if (out->is_done)
            continue;
        flying++;
        if (!out->in_flight)
            send_one(p, out);
    }
}

static void draw_conv(struct person *p, struct outgoing *out)
{
    struct people *people = p->people;
    if (people->options.groups > 0 && world_chance(people->world, 0.6)) {
        snprintf(out->to, sizeof(out->to), "group%lu",
                 world_between(people->world, 1, people->options.groups));
        snprintf(out->conv, sizeof(out->conv), "%s", out->to);
        return;
    }
    char user[16];
    snprintf(user, sizeof(user), "u%lu", world_between(people->world, 1, people->options.users));
    snprintf(out->to, sizeof(out->to), "@%s", user);
    char id[KEY_DIRECT_SIZE];
    key_direct(slice_string(p->user), slice_string(user), id);
    snprintf(out->conv, sizeof(out->conv), "%.*s", (int)sizeof(id), id);
}

/* As a client may that lost its own record: the first answer comes again, whatever became of the
 * conversation, and nothing else comes of it. */
static void repeat_one(struct person *p)
{
    struct world *world = p->people->world;
    const struct outgoing *out = &p->sends[world_between(world, 0, p->send_count - 1)];
    if (p->wire == NULL || !p->welcomed || out->seq == 0 || out->to[0] != '@')
        return;
    struct buf *text = buf_new(160);
    buf_append_format(text,
                      "{\"type\":\"send\",\"id\":\"again\",\"to\":\"%s\",\"cid\":\"%s\","
                      "\"body\":{\"t\":\"%s\"}}",
                      out->to + 1, out->cid, out->cid);
    p->people->book->repeats++;
    wire_say(p, text);
}

static void new_send(void *context, uint64_t argument)
{
    (void)argument;
    struct person *p = context;
    struct people *people = p->people;
    if (people->is_quiet || p->send_count == SENDS_MAX)
        return;
    struct outgoing *out = &p->sends[p->send_count++];
    memset(out, 0, sizeof(*out));
    snprintf(out->cid, sizeof(out->cid), "c%u-%u", p->index, p->send_count);
    draw_conv(p, out);
    out->record = book_invoked(people->book, slice_string(out->conv), slice_string(p->user),
                               slice_string(out->cid), p->index, p->send_count);
    say_sends(p);
    if (people->options.repeats > 0 && world_chance(people->world, people->options.repeats))
        repeat_one(p);
    /* Now and then several at once, so that a batch holds more than one. */
    uint64_t pause = world_chance(people->world, 0.2) ? 100 : people->count * UINT64_C(60000);
    world_after(people->world, world_between(people->world, 50, pause), new_send, p, 0);
}

void sends_begin(struct person *p)
{
    world_after(p->people->world, world_between(p->people->world, 0, 3000000), new_send, p, 0);
}

/* ---- Cursors ---- */

static void note_acked(struct place *place, uint64_t seq)
{
    place->acked = seq > place->acked ? seq : place->acked;
}

/* Up to here it has all without a gap: the server goes by it. */
static uint64_t whole(const struct place *place)
{
    return place->fill_from != 0 ? place->fill_from - 1 : place->cursor;
}

void say_ack(struct person *p, struct place *place)
{
    uint64_t seq = whole(place);
    if (p->wire == NULL || p->is_second || seq == 0)
        return;
    struct buf *text = buf_new(96);
    buf_append_format(text, "{\"type\":\"ack\",\"conv\":\"%s\",\"seq\":%lu}", place->conv, seq);
    note_acked(place, seq);
    wire_say(p, text);
}

void say_cursor(struct person *p, struct place *place)
{
    struct world *world = p->people->world;
    if (p->wire == NULL || p->is_second || !world_chance(world, 0.2))
        return;
    uint64_t seq = whole(place);
    bool is_read = world_chance(world, 0.5);
    if (p->is_sloppy && world_chance(world, 0.1))
        seq += world_between(world, 1, 1000);
    if (seq == 0)
        return;
    struct buf *text = buf_new(96);
    buf_append_format(text, "{\"type\":\"%s\",\"conv\":\"%s\",\"seq\":%lu%s}",
                      is_read ? "read" : "ack", place->conv, seq,
                      world_chance(world, 0.1) ? ",\"id\":\"k\"" : "");
    note_acked(place, seq);
    if (is_read) {
        place->read = seq > place->read ? seq : place->read;
        book_read(p->people->book, slice_string(place->conv), slice_string(p->user), seq, 0);
    }
    wire_say(p, text);
}

/* ---- Large conversations ---- */

static void say_about(struct person *p, struct place *place, const char *type)
{
    struct buf *text = buf_new(96);
    buf_append_format(text, "{\"type\":\"%s\",\"id\":\"o%u\",\"conv\":\"%s\"}", type,
                      (unsigned)(place - p->places), place->conv);
    place->is_open = strcmp(type, "open") == 0;
    wire_say(p, text);
}

void say_open(struct person *p, struct place *place)
{
    if (p->wire != NULL && p->welcomed && !place->is_open)
        say_about(p, place, "open");
}

void say_close(struct person *p, struct place *place)
{
    if (p->wire != NULL && place->is_open)
        say_about(p, place, "close");
}

/* ---- Questions ---- */

void say_fill(struct person *p, struct place *place)
{
    if (place->fill_from == 0 || place->filling || p->wire == NULL)
        return;
    place->filling = true;
    place->fill_us = p->people->world->now_us;
    struct buf *text = buf_new(128);
    buf_append_format(
        text, "{\"type\":\"history\",\"id\":\"h%u\",\"conv\":\"%s\",\"after\":%lu,\"limit\":20}",
        (unsigned)(place - p->places), place->conv, place->fill_from - 1);
    wire_say(p, text);
}

/* C9: the newest entries, which must hold all that anyone was promised until now. */
static void ask_newest_of(struct person *p, uint64_t group)
{
    struct people *people = p->people;
    uint32_t free = 0;
    while (free < PROBES_MAX && p->probes[free].is_asked)
        free++;
    if (p->wire == NULL || !p->welcomed || free == PROBES_MAX || people->options.groups == 0)
        return;
    struct probe *probe = &p->probes[free];
    snprintf(probe->conv, sizeof(probe->conv), "group%lu", group);
    struct slice conv = slice_string(probe->conv);
    probe->is_asked = true;
    probe->floor = book_acked_seq(people->book, conv);
    /* What is in the log, but not promised yet, may be read or not. */
    const struct book_member *member = book_member(people->book, conv, slice_string(p->user));
    bool has_joined = member != NULL && member->joined <= probe->floor;
    probe->was_member = has_joined && member->is_member;
    probe->asked_us = people->world->now_us;
    struct buf *text = buf_new(128);
    buf_append_format(text, "{\"type\":\"history\",\"id\":\"n%u\",\"conv\":\"%s\",\"limit\":%lu}",
                      free, probe->conv, world_between(people->world, 1, 30));
    wire_say(p, text);
}

static void ask_newest(void *context, uint64_t argument)
{
    (void)argument;
    struct person *p = context;
    struct people *people = p->people;
    if (people->is_quiet)
        return;
    world_after(people->world, world_between(people->world, 20000, 600000), ask_newest, p, 0);
    if (people->options.groups > 0)
        ask_newest_of(p, world_between(people->world, 1, people->options.groups));
}

void people_ask_newest(struct people *people, const struct sim_node *gateway)
{
    for (uint32_t i = 0; i < people->count && !people->is_quiet; i++) {
        struct person *p = &people->persons[i];
        if (!p->is_second && p->wire != NULL && p->wire->gateway == gateway)
            ask_newest_of(p, 1);
    }
}

void say_groups(struct person *p)
{
    struct people *people = p->people;
    if (p->index != 0)
        return;
    for (uint32_t g = 1; g <= people->options.groups; g++) {
        struct buf *text = buf_new(256);
        buf_append_format(
            text,
            "{\"type\":\"create\",\"id\":\"create\",\"conv\":\"group%u\",\"kind\":\"group\","
            "\"title\":\"Group\",\"members\":[",
            g);
        /* The first group is everyone's; the others begin with every second user. */
        const char *comma = "";
        for (uint32_t u = 2; u <= people->options.users; u += g == 1 ? 1 : 2) {
            buf_append_format(text, "%s\"u%u\"", comma, u);
            comma = ",";
        }
        buf_append_string(text, "]");
        if (people->options.retain_count != 0)
            buf_append_format(text, ",\"retain_count\":%lu", people->options.retain_count);
        buf_append_string(text, "}");
        wire_say(p, text);
    }
}

/* After `unavailable`: what was refused is asked for again. */
static void again(void *context, uint64_t wire_number)
{
    struct person *p = context;
    if (p->wire == NULL || p->wire->number != wire_number || !p->welcomed)
        return;
    say_everything(p);
}

void say_again_after(struct person *p, uint64_t wait_us)
{
    world_after(p->people->world, wait_us, again, p, p->wire->number);
}

void say_everything(struct person *p)
{
    say_sends(p);
    for (uint32_t i = 0; i < p->place_count; i++) {
        struct place *place = &p->places[i];
        say_fill(p, place);
        if (p->people->is_quiet && place->moved > place->cursor)
            say_open(p, place);
    }
    soft_say_again(p);
    audit_next(p);
}

void people_start(struct people *people)
{
    for (uint32_t i = 0; i < people->count; i++) {
        struct person *p = &people->persons[i];
        connect_soon(p, 0, 1000000);
        if (p->is_second)
            continue;
        sends_begin(p);
        churn_begin(p);
        soft_begin(p);
        world_after(people->world, world_between(people->world, 0, 3000000), ask_newest, p, 0);
    }
}
