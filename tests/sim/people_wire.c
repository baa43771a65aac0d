/* Bytes between a client and its gateway, and the coming and going of connections. */
#include <stdio.h>

#include "gateway/client.h"
#include "gateway/session.h"
#include "mesh/base/check.h"
#include "mesh/base/mem.h"
#include "tests/sim/people_private.h"

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

/* ---- From client to gateway ---- */

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

void wire_say_late(struct person *p, struct buf *text, uint64_t delay_us)
{
    struct wire *wire = p->wire;
    struct world *world = p->people->world;
    struct bytes *bytes = mem_new(struct bytes);
    bytes->wire = wire;
    bytes->buf = text;
    uint64_t at = world->now_us + delay_us + world_between(world, 50, 3000);
    if (at < wire->last_up_us)
        at = wire->last_up_us;
    wire->last_up_us = at;
    world_carry(world, at - world->now_us, frame_arrives, bytes, bytes_drop);
}

void wire_say(struct person *p, struct buf *text)
{
    wire_say_late(p, text, 0);
}

/* ---- From gateway to client ---- */

/* The first frame's size and where its text begins (RFC 6455, section 5.2, unmasked). */
static size_t frame_size(const uint8_t *at, size_t *ret_header)
{
    size_t size = at[1] & 127;
    *ret_header = 2;
    if (size < 126)
        return size;
    size_t count = size == 126 ? 2 : 8;
    size = 0;
    for (size_t i = 0; i < count; i++)
        size = size << 8 | at[2 + i];
    *ret_header = 2 + count;
    return size;
}

static void bytes_arrive(void *context, uint64_t argument)
{
    (void)argument;
    struct bytes *bytes = context;
    struct wire *wire = bytes->wire;
    wire->unread -= bytes->buf->size;
    const uint8_t *at = bytes->buf->bytes;
    const uint8_t *end = at + bytes->buf->size;
    while (!wire->is_cut && at < end) {
        size_t header;
        size_t size = frame_size(at, &header);
        CHECK(at + header + size <= end);
        if (at[0] == 0x81) {
            struct slice text = slice_of(at + header, size);
            world_mix(wire->person->people->world, map_hash(text));
            hear_text(wire->person, text);
        } else if (!wire->is_closed) {
            session_on_pong(wire->session, slice_of(at + header, size));
        }
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
    if (wire->unread > 4096) { /* This write is taken, the next one is not. */
        wire->is_blocked = true;
        wire->was_blocked = true;
    }
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
    for (uint32_t i = 0; i < PROBES_MAX; i++)
        p->probes[i].is_asked = false;
    p->change.is_asked = false;
    p->audit.is_asked = false;
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

/* Logged out, he takes nothing along. */
static void forget_all(struct person *p)
{
    p->has_forgotten = true;
    for (uint32_t i = 0; i < p->place_count; i++) {
        struct place fresh = {.at = AT_UNKNOWN};
        memcpy(fresh.conv, p->places[i].conv, sizeof(fresh.conv));
        p->places[i] = fresh;
    }
}

/* The close frame, behind all that was written before it. */
static void close_arrives(void *context, uint64_t argument)
{
    (void)argument;
    struct wire *wire = context;
    struct person *p = wire->person;
    struct world *world = p->people->world;
    if (wire->is_cut)
        return;
    CHECK(p->wire == wire);
    world_note(world, "%s/%s closed %u", p->user, p->device, wire->close_code);
    world_mix(world, wire->close_code);
    if (wire->close_code == CLOSE_RESTART && p->welcomed && !wire->was_warned && !wire->was_blocked)
        world_violation(world, "%s/%s was closed for a restart without a word", p->user, p->device);
    /* What is held in the network counts as young, so then an older one may win. */
    if (wire->close_code == CLOSE_REPLACED && p->twin == NULL && p->people->cluster->stalls == 0)
        world_violation(world, "C11: %s/%s was replaced by a connection older than its own",
                        p->user, p->device);
    bool is_replaced = wire->close_code == CLOSE_REPLACED;
    if (wire->close_code == CLOSE_LOGGED_OUT)
        forget_all(p);
    hang_up(p);
    if (is_replaced && p->is_dueling)
        return;
    if (is_replaced) /* Its user opens it again. */
        connect_soon(p, 200000, 3000000);
    else
        connect_soon(p, 1000, 500000);
}

static void wire_close(struct link *link, unsigned code, const char *reason)
{
    struct wire *wire = (struct wire *)link;
    struct world *world = wire->person->people->world;
    if (wire->is_closed)
        return;
    world_note(world, "%s closes %s/%s: %u %s", wire->gateway->id, wire->person->user,
               wire->person->device, code, reason);
    wire->is_closed = true;
    wire->close_code = code;
    world_after(world, 1, gateway_notices, wire, 0);
    uint64_t at = wire->last_down_us > world->now_us ? wire->last_down_us : world->now_us;
    world_after(world, at - world->now_us + 1, close_arrives, wire, 0);
}

static const struct link_ops wire_ops = {
    .write = wire_write, .close = wire_close, .is_blocked = wire_is_blocked};

/* ---- Coming and going ---- */

static void try_connect(void *context, uint64_t argument)
{
    (void)argument;
    struct person *p = context;
    struct people *people = p->people;
    if (p->wire != NULL || p->is_retired)
        return;
    struct sim_node *gateway = cluster_gateway(
        people->cluster,
        (uint32_t)world_between(people->world, 0, people->cluster->options.gateways - 1));
    if (!gateway->is_alive) {
        connect_soon(p, 100000, 1000000);
        return;
    }
    struct wire *wire = mem_new(struct wire);
    wire->link.ops = &wire_ops;
    wire->person = p;
    wire->number = ++p->wires;
    wire->opened_us = people->world->now_us;
    wire->gateway = gateway;
    list_append(&people->wires, &wire->node);
    p->wire = wire;
    for (uint32_t i = 0; i < p->place_count; i++) {
        p->places[i].at = AT_UNKNOWN;
        p->places[i].begun = 0;
        p->places[i].told = 0;
        p->places[i].is_told = false;
        p->places[i].is_open = false;
    }
    struct auth_identity identity = {.expires_s = UINT64_MAX};
    snprintf(identity.user, sizeof(identity.user), "%s", p->user);
    wire->session = gateway_accept(gateway->gateway, &wire->link, &identity,
                                   slice_string(p->device), world_chance(people->world, 0.3));
    cluster_wake(gateway);
    say_connect(p);
}

void connect_soon(struct person *p, uint64_t least_us, uint64_t most_us)
{
    world_after(p->people->world, world_between(p->people->world, least_us, most_us), try_connect,
                p, 0);
}

void wire_cut(struct person *p, uint64_t most_us)
{
    struct wire *wire = p->wire;
    world_note(p->people->world, "%s/%s is cut off", p->user, p->device);
    hang_up(p);
    world_after(p->people->world, world_between(p->people->world, 0, most_us), gateway_notices,
                wire, 0);
}

void people_cut_one(struct people *people)
{
    struct person *p = &people->persons[world_between(people->world, 0, people->count - 1)];
    if (p->wire == NULL)
        return;
    wire_cut(p, 2000000); /* The gateway hears of it now, or much later. */
    connect_soon(p, 1000, 2000000);
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
