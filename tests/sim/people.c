#include "tests/sim/people.h"

#include <stdio.h>

#include "gateway/client.h"
#include "gateway/json.h"
#include "mesh/base/check.h"
#include "mesh/base/list.h"
#include "mesh/base/mem.h"
#include "mesh/wire/key.h"

#define SENDS_MAX  400u /* Of one client in a run. */
#define CONVS_MAX  64u
#define FLIGHT_MAX 8u /* Sends on their way at a time. */

struct outgoing {
    char cid[24];
    char to[40];   /* The conversation as sent: an id, or "@user" for the direct one. */
    char conv[64]; /* Its id. */
    bool acked;
    uint64_t seq;   /* Where it was acknowledged. */
    bool in_flight; /* On this connection. */
};

struct place {
    char conv[64];
    uint64_t cursor;    /* Everything up to here was seen, or is being paged. */
    uint64_t fill_from; /* A gap being paged: fill_from..fill_to; 0: none. */
    uint64_t fill_to;
    bool filling; /* A history request is on its way. */
};

struct person;

/* One connection. Bytes on their way die with it. */
struct wire {
    struct link link; /* First. */
    struct person *person;
    struct session *session; /* NULL once the gateway let go of it. */
    struct sim_node *gateway;
    struct list node; /* On people.wires. */
    uint64_t number;
    bool is_cut;    /* Neither end hears the other any more. */
    bool is_closed; /* The gateway closed it. */
    uint64_t last_up_us, last_down_us;
    size_t unread; /* Bytes the client has not taken. */
    bool is_blocked;
};

struct person {
    struct people *people;
    char user[16];
    char device[16];
    uint32_t index;
    struct wire *wire; /* NULL: offline. */
    uint64_t wires;
    bool is_slow;
    bool welcomed;
    struct outgoing *sends;
    uint32_t send_count;
    struct place places[CONVS_MAX];
    uint32_t place_count;
    uint64_t next_id;
};

struct people {
    struct world *world;
    struct cluster *cluster;
    struct book *book;
    struct person *persons;
    uint32_t count, user_count, device_count, group_count;
    struct list wires; /* All there ever were. */
    bool is_quiet;
};

struct bytes {
    struct wire *wire;
    struct buf *buf;
};

static void bytes_drop(void *thing)
{
    struct bytes *bytes = thing;
    buf_unref(&bytes->buf);
    mem_free(bytes);
}

static void connect_soon(struct person *p, uint64_t least_us, uint64_t most_us);

/* ---- Frames from client to gateway ---- */

static void frame_arrives(void *context, uint64_t argument)
{
    (void)argument;
    struct bytes *bytes = context;
    struct wire *wire = bytes->wire;
    if (!wire->is_cut && !wire->is_closed) {
        session_on_frame(wire->session, buf_slice(bytes->buf));
        cluster_wake(wire->gateway);
    }
}

static void say(struct person *p, struct buf *text)
{
    struct wire *wire = p->wire;
    struct world *world = p->people->world;
    struct bytes *bytes = mem_new(struct bytes);
    bytes->wire = wire;
    bytes->buf = text;
    uint64_t at = world->now_us + world_between(world, 50, 3000);
    if (at < wire->last_up_us)
        at = wire->last_up_us;
    wire->last_up_us = at;
    world_carry(world, at - world->now_us, frame_arrives, bytes, bytes_drop);
}

static void send_one(struct person *p, struct outgoing *out)
{
    struct buf *text = buf_new(160);
    bool direct = out->to[0] == '@';
    buf_append_format(
        text,
        "{\"type\":\"send\",\"id\":\"%s\",\"%s\":\"%s\",\"cid\":\"%s\",\"body\":{\"t\":\"%s\"}}",
        out->cid, direct ? "to" : "conv", direct ? out->to + 1 : out->to, out->cid, out->cid);
    out->in_flight = true;
    say(p, text);
}

/* In order, and never beyond one that was refused: the order in the log is the order sent. */
static void push_sends(struct person *p)
{
    if (p->wire == NULL || !p->welcomed)
        return;
    uint32_t flying = 0;
    for (uint32_t i = 0; i < p->send_count && flying < FLIGHT_MAX; i++) {
        struct outgoing *out = &p->sends[i];
        if (out->acked)
            continue;
        flying++;
        if (!out->in_flight)
            send_one(p, out);
    }
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
    if (people->group_count > 0 && world_chance(people->world, 0.5)) {
        snprintf(out->to, sizeof(out->to), "group%lu",
                 world_between(people->world, 1, people->group_count));
        snprintf(out->conv, sizeof(out->conv), "%s", out->to);
    } else {
        char user[16];
        snprintf(user, sizeof(user), "u%lu", world_between(people->world, 1, people->user_count));
        snprintf(out->to, sizeof(out->to), "@%s", user);
        char id[KEY_DIRECT_SIZE];
        key_direct(slice_string(p->user), slice_string(user), id);
        snprintf(out->conv, sizeof(out->conv), "%.*s", (int)sizeof(id), id);
    }
    book_invoked(people->book, slice_string(out->conv), slice_string(p->user),
                 slice_string(out->cid));
    push_sends(p);
    world_after(people->world, world_between(people->world, 1000, 200000), new_send, p, 0);
}

/* ---- Frames from gateway to client ---- */

static struct place *place_of(struct person *p, struct slice conv)
{
    for (uint32_t i = 0; i < p->place_count; i++)
        if (slice_equals(conv, p->places[i].conv))
            return &p->places[i];
    CHECK(p->place_count < CONVS_MAX);
    struct place *place = &p->places[p->place_count++];
    memset(place, 0, sizeof(*place));
    snprintf(place->conv, sizeof(place->conv), "%.*s", SLICE_ARGS(conv));
    return place;
}

struct event {
    struct slice type, conv, cid, from, code, id;
    uint64_t seq, gap_from, gap_to, retry_after_ms;
    struct json_value entries;
    struct slice raw;
};

static struct slice text_of(struct json_value value)
{
    return slice_of(value.raw.base + 1, value.raw.size - 2); /* Our names need no unescaping. */
}

static struct event parse(struct json_value object)
{
    struct event e = {.raw = object.raw};
    uint32_t at = 0;
    struct slice key;
    struct json_value value;
    while (json_next(object, &at, &key, &value)) {
        if (value.type == JSON_STRING) {
            struct slice text = text_of(value);
            if (slice_equals(key, "type"))
                e.type = text;
            else if (slice_equals(key, "conv"))
                e.conv = text;
            else if (slice_equals(key, "cid"))
                e.cid = text;
            else if (slice_equals(key, "from"))
                e.from = text;
            else if (slice_equals(key, "code"))
                e.code = text;
            else if (slice_equals(key, "id"))
                e.id = text;
        } else if (value.type == JSON_NUMBER) {
            uint64_t number = 0;
            if (!json_u64(value, &number))
                continue;
            if (slice_equals(key, "seq"))
                e.seq = number;
            else if (slice_equals(key, "from"))
                e.gap_from = number;
            else if (slice_equals(key, "to"))
                e.gap_to = number;
            else if (slice_equals(key, "retry_after_ms"))
                e.retry_after_ms = number;
        } else if (slice_equals(key, "entries")) {
            e.entries = value;
        }
    }
    return e;
}

static void fill(struct person *p, struct place *place)
{
    if (place->fill_from == 0 || place->filling)
        return;
    place->filling = true;
    struct buf *text = buf_new(128);
    buf_append_format(
        text, "{\"type\":\"history\",\"id\":\"h\",\"conv\":\"%s\",\"after\":%lu,\"limit\":20}",
        place->conv, place->fill_from - 1);
    say(p, text);
}

static void on_entry(struct person *p, const struct event *e)
{
    struct place *place = place_of(p, e->conv);
    if (e->seq != place->cursor + 1)
        world_violation(p->people->world, "C6: %s/%s has %s up to %lu and got %.*s", p->user,
                        p->device, place->conv, place->cursor, SLICE_ARGS(e->raw));
    place->cursor = e->seq;
    book_seen(p->people->book, e->conv, e->seq, e->from, e->cid, e->raw);
    if (world_chance(p->people->world, 0.2) && p->wire != NULL) {
        struct buf *text = buf_new(96);
        buf_append_format(text, "{\"type\":\"%s\",\"conv\":\"%s\",\"seq\":%lu}",
                          world_chance(p->people->world, 0.5) ? "ack" : "read", place->conv,
                          e->seq);
        say(p, text);
    }
}

static void on_gap(struct person *p, const struct event *e)
{
    struct place *place = place_of(p, e->conv);
    if (e->gap_from != place->cursor + 1 || e->gap_to < e->gap_from)
        world_violation(p->people->world, "C6: %s/%s has %s up to %lu and got %.*s", p->user,
                        p->device, place->conv, place->cursor, SLICE_ARGS(e->raw));
    place->cursor = e->gap_to;
    if (place->fill_from == 0)
        place->fill_from = e->gap_from;
    place->fill_to = e->gap_to;
    fill(p, place);
}

static void on_history(struct person *p, const struct event *e)
{
    struct place *place = place_of(p, e->conv);
    place->filling = false;
    uint32_t at = 0;
    struct slice key;
    struct json_value value;
    while (json_next(e->entries, &at, &key, &value)) {
        struct event entry = parse(value);
        if (place->fill_from == 0 || entry.seq < place->fill_from)
            continue; /* A page that was asked for twice. */
        if (entry.seq != place->fill_from)
            world_violation(p->people->world, "C4: history of %s after %lu gave %.*s", place->conv,
                            place->fill_from - 1, SLICE_ARGS(value.raw));
        book_seen(p->people->book, e->conv, entry.seq, entry.from, entry.cid, entry.raw);
        place->fill_from = entry.seq == place->fill_to ? 0 : entry.seq + 1;
    }
    fill(p, place);
}

/* After `unavailable`: what was refused is asked for again. */
static void retry(void *context, uint64_t wire_number)
{
    struct person *p = context;
    if (p->wire == NULL || p->wire->number != wire_number)
        return;
    push_sends(p);
    for (uint32_t i = 0; i < p->place_count; i++)
        fill(p, &p->places[i]);
}

static struct outgoing *outgoing_of(struct person *p, struct slice cid)
{
    for (uint32_t i = 0; i < p->send_count; i++)
        if (slice_equals(cid, p->sends[i].cid))
            return &p->sends[i];
    return NULL;
}

static void on_error(struct person *p, const struct event *e)
{
    bool again = slice_equals(e->code, "unavailable") || slice_equals(e->code, "rate_limited");
    struct world *world = p->people->world;
    uint64_t wait_us = (e->retry_after_ms + 1) * 1000;
    if (slice_equals(e->id, "h")) {
        for (uint32_t i = 0; i < p->place_count; i++)
            p->places[i].filling = false;
        world_after(world, wait_us, retry, p, p->wire->number);
    } else if (slice_equals(e->id, "create")) {
        return;
    } else {
        struct outgoing *out = outgoing_of(p, e->id);
        /* A group that nobody could make yet: not found, or not yet a member. */
        again = again || (out != NULL && out->to[0] != '@' && !p->people->is_quiet);
        again = again || slice_equals(e->code, "not_found") || slice_equals(e->code, "forbidden");
        if (out == NULL || !again)
            world_violation(world, "%s was refused: %.*s", p->user, SLICE_ARGS(e->raw));
        out->in_flight = false;
        world_after(world, wait_us, retry, p, p->wire->number);
    }
}

static void make_groups(struct person *p)
{
    if (p->index != 0)
        return;
    struct people *people = p->people;
    for (uint32_t g = 1; g <= people->group_count; g++) {
        struct buf *text = buf_new(256);
        buf_append_format(
            text,
            "{\"type\":\"create\",\"id\":\"create\",\"conv\":\"group%u\",\"kind\":\"group\","
            "\"title\":\"Group\",\"members\":[",
            g);
        for (uint32_t u = 2; u <= people->user_count; u++)
            buf_append_format(text, "%s\"u%u\"", u > 2 ? "," : "", u);
        buf_append_string(text, "]}");
        say(p, text);
    }
}

static void on_event(struct person *p, const struct event *e)
{
    if (slice_equals(e->type, "message") || slice_equals(e->type, "member") ||
        slice_equals(e->type, "info")) {
        on_entry(p, e);
    } else if (slice_equals(e->type, "sent")) {
        book_acked(p->people->book, e->conv, slice_string(p->user), e->cid, e->seq);
        struct outgoing *out = outgoing_of(p, e->cid);
        out->acked = true;
        out->seq = e->seq;
        push_sends(p);
    } else if (slice_equals(e->type, "gap")) {
        on_gap(p, e);
    } else if (slice_equals(e->type, "history")) {
        on_history(p, e);
    } else if (slice_equals(e->type, "error")) {
        on_error(p, e);
    } else if (slice_equals(e->type, "resumed")) {
        p->welcomed = true;
        make_groups(p);
        push_sends(p);
        for (uint32_t i = 0; i < p->place_count; i++)
            fill(p, &p->places[i]);
    }
}

static void on_text(struct person *p, struct slice text)
{
    const char *reason = NULL;
    if (json_check(text, &reason) != RC_OK)
        world_violation(p->people->world, "a frame that is no JSON (%s): %.*s", reason,
                        SLICE_ARGS(text));
    struct json_value value = {.type = text.base[0] == '[' ? JSON_ARRAY : JSON_OBJECT, .raw = text};
    if (value.type == JSON_OBJECT) {
        struct event e = parse(value);
        on_event(p, &e);
        return;
    }
    uint32_t at = 0;
    struct slice key;
    struct json_value item;
    while (json_next(value, &at, &key, &item)) {
        struct event e = parse(item);
        on_event(p, &e);
    }
}

static void bytes_arrive(void *context, uint64_t argument)
{
    (void)argument;
    struct bytes *bytes = context;
    struct wire *wire = bytes->wire;
    const uint8_t *at = bytes->buf->bytes;
    const uint8_t *end = at + bytes->buf->size;
    wire->unread -= bytes->buf->size;
    while (at < end && !wire->is_cut) {
        CHECK(at[0] == 0x81 || at[0] == 0x89);
        size_t size = at[1];
        size_t header = 2;
        if (size == 126) {
            size = (size_t)at[2] << 8 | at[3];
            header = 4;
        } else if (size == 127) {
            size = 0;
            for (int i = 2; i < 10; i++)
                size = size << 8 | at[i];
            header = 10;
        }
        CHECK(at + header + size <= end);
        if (at[0] == 0x81)
            on_text(wire->person, slice_of(at + header, size));
        else if (!wire->is_closed)
            session_on_pong(wire->session);
        at += header + size;
    }
    if (!wire->is_cut && !wire->is_closed && wire->is_blocked && wire->unread == 0) {
        wire->is_blocked = false;
        session_on_writable(wire->session);
        cluster_wake(wire->gateway);
    }
}

static bool wire_write(struct link *link, const void *data, size_t size)
{
    struct wire *wire = (struct wire *)link;
    CHECK(!wire->is_closed);
    struct people *people = wire->person->people;
    if (wire->is_blocked)
        return false;
    struct bytes *bytes = mem_new(struct bytes);
    bytes->wire = wire;
    bytes->buf = buf_new(size);
    buf_append(bytes->buf, data, size);
    bool slow = wire->person->is_slow && !people->is_quiet;
    uint64_t at = people->world->now_us + (slow ? world_between(people->world, 1000, 200000)
                                                : world_between(people->world, 50, 3000));
    if (at < wire->last_down_us)
        at = wire->last_down_us;
    wire->last_down_us = at;
    wire->unread += size;
    if (wire->unread > 4096)
        wire->is_blocked = true; /* This write is taken, the next one is not. */
    world_carry(people->world, at - people->world->now_us, bytes_arrive, bytes, bytes_drop);
    return true;
}

static bool wire_is_blocked(const struct link *link)
{
    return ((const struct wire *)link)->is_blocked;
}

/* The client is gone from this connection; the wire itself stays until the run ends, since bytes on
 * their way refer to it. */
static void hang_up(struct person *p)
{
    p->wire->is_cut = true;
    p->wire = NULL;
    p->welcomed = false;
    for (uint32_t i = 0; i < p->send_count; i++)
        p->sends[i].in_flight = false;
    for (uint32_t i = 0; i < p->place_count; i++)
        p->places[i].filling = false;
}

/* The gateway lets go of the session; also called for all when the gateway dies. */
static void gateway_notices(void *context, uint64_t argument)
{
    (void)argument;
    struct wire *wire = context;
    if (wire->session == NULL)
        return;
    wire->is_closed = true;
    session_on_closed(&wire->session);
    cluster_wake(wire->gateway);
}

static void wire_close(struct link *link, unsigned code, const char *reason)
{
    struct wire *wire = (struct wire *)link;
    struct person *p = wire->person;
    if (wire->is_closed)
        return;
    world_note(p->people->world, "%s/%s closed %u %s", p->user, p->device, code, reason);
    wire->is_closed = true;
    world_after(p->people->world, 1, gateway_notices, wire, 0);
    if (p->wire == wire) {
        hang_up(p);
        connect_soon(p, 1000, 500000);
    }
}

static const struct link_ops wire_ops = {
    .write = wire_write, .close = wire_close, .is_blocked = wire_is_blocked};

/* ---- Coming and going ---- */

static void try_connect(void *context, uint64_t argument)
{
    (void)argument;
    struct person *p = context;
    struct people *people = p->people;
    if (p->wire != NULL)
        return;
    struct sim_node *gateway = cluster_gateway(
        people->cluster,
        (uint32_t)world_between(people->world, 0, people->cluster->gateway_count - 1));
    if (!gateway->is_alive) {
        connect_soon(p, 100000, 1000000);
        return;
    }
    struct wire *wire = mem_new(struct wire);
    wire->link.ops = &wire_ops;
    wire->person = p;
    wire->number = ++p->wires;
    wire->gateway = gateway;
    list_append(&people->wires, &wire->node);
    p->wire = wire;
    struct auth_identity identity = {.expires_s = UINT64_MAX};
    snprintf(identity.user, sizeof(identity.user), "%s", p->user);
    wire->session = gateway_accept(gateway->gateway, &wire->link, &identity,
                                   slice_string(p->device), world_chance(people->world, 0.3));
    cluster_wake(gateway);
    struct buf *text = buf_new(256);
    buf_append_string(text, "{\"type\":\"connect\",\"id\":0,\"resume\":{");
    for (uint32_t i = 0; i < p->place_count; i++)
        buf_append_format(text, "%s\"%s\":%lu", i > 0 ? "," : "", p->places[i].conv,
                          p->places[i].cursor);
    buf_append_string(text, "}}");
    if (p->wire != NULL)
        say(p, text);
    else
        buf_unref(&text);
}

static void connect_soon(struct person *p, uint64_t least_us, uint64_t most_us)
{
    world_after(p->people->world, world_between(p->people->world, least_us, most_us), try_connect,
                p, 0);
}

static void cut(struct person *p)
{
    struct wire *wire = p->wire;
    world_note(p->people->world, "%s/%s is cut off", p->user, p->device);
    hang_up(p);
    /* The gateway hears of it now, or much later. */
    world_after(p->people->world, world_between(p->people->world, 0, 2000000), gateway_notices,
                wire, 0);
    connect_soon(p, 1000, 2000000);
}

void people_cut_one(struct people *people)
{
    struct person *p = &people->persons[world_between(people->world, 0, people->count - 1)];
    if (p->wire != NULL)
        cut(p);
}

void people_gateway_down(void *context, struct sim_node *gateway)
{
    struct people *people = context;
    LIST_EACH(node, &people->wires)
    {
        struct wire *wire = LIST_ENTRY(node, struct wire, node);
        if (wire->gateway != gateway || wire->session == NULL)
            continue;
        wire->is_closed = true;
        session_on_closed(&wire->session);
        if (wire->person->wire == wire) {
            hang_up(wire->person);
            connect_soon(wire->person, 1000, 1000000);
        }
    }
}

struct people *people_new(struct world *world, struct cluster *cluster, struct book *book,
                          uint32_t users, uint32_t devices, uint32_t groups)
{
    struct people *people = mem_new(struct people);
    people->world = world;
    people->cluster = cluster;
    people->book = book;
    people->user_count = users;
    people->device_count = devices;
    people->group_count = groups;
    people->count = users * devices;
    people->persons = mem_zero(people->count * sizeof(*people->persons));
    list_init(&people->wires);
    for (uint32_t i = 0; i < people->count; i++) {
        struct person *p = &people->persons[i];
        p->people = people;
        p->index = i;
        p->is_slow = world_chance(world, 0.2);
        p->sends = mem_zero(SENDS_MAX * sizeof(*p->sends));
        snprintf(p->user, sizeof(p->user), "u%u", i % users + 1);
        snprintf(p->device, sizeof(p->device), "d%u", i / users + 1);
    }
    return people;
}

void people_free(struct people **people)
{
    struct people *taken = *people;
    *people = NULL;
    if (taken == NULL)
        return;
    LIST_EACH(node, &taken->wires)
    {
        mem_free(LIST_ENTRY(node, struct wire, node));
    }
    for (uint32_t i = 0; i < taken->count; i++)
        mem_free(taken->persons[i].sends);
    mem_free(taken->persons);
    mem_free(taken);
}

void people_start(struct people *people)
{
    for (uint32_t i = 0; i < people->count; i++) {
        struct person *p = &people->persons[i];
        connect_soon(p, 0, 1000000);
        world_after(people->world, world_between(people->world, 0, 3000000), new_send, p, 0);
    }
}

void people_quiet(struct people *people)
{
    people->is_quiet = true;
}

static bool is_content(struct person *p, char *why, size_t why_size)
{
    if (p->wire == NULL || !p->welcomed) {
        snprintf(why, why_size, "C11: %s/%s is not online", p->user, p->device);
        return false;
    }
    for (uint32_t i = 0; i < p->send_count; i++) {
        struct outgoing *out = &p->sends[i];
        if (!out->acked) {
            snprintf(why, why_size, "C11: %s/%s waits for %s to %s", p->user, p->device, out->cid,
                     out->to);
            return false;
        }
        const struct place *place = place_of(p, slice_string(out->conv));
        if (place->cursor < out->seq) {
            snprintf(why, why_size, "C11: %s/%s has %s up to %lu, but sent %lu himself", p->user,
                     p->device, place->conv, place->cursor, out->seq);
            return false;
        }
    }
    for (uint32_t i = 0; i < p->place_count; i++) {
        struct place *place = &p->places[i];
        uint64_t head = book_head(p->people->book, slice_string(place->conv));
        if (place->cursor != head || place->fill_from != 0) {
            snprintf(why, why_size, "C11: %s/%s has %s up to %lu of %lu, a gap left from %lu",
                     p->user, p->device, place->conv, place->cursor, head, place->fill_from);
            return false;
        }
    }
    return true;
}

bool people_are_content(struct people *people, char *why, size_t why_size)
{
    for (uint32_t i = 0; i < people->count; i++)
        if (!is_content(&people->persons[i], why, why_size))
            return false;
    return true;
}
