/* chat_world - routers that hear of presence, typing, statuses and changes, and answer about them.
 *
 * Stands between the gateway and the model of gateway_world: what the model knows nothing of is
 * noted here and answered as the test says, everything else goes on to the model. One at a time. */
#ifndef TESTS_UNIT_GATEWAY_CHAT_WORLD_H
#define TESTS_UNIT_GATEWAY_CHAT_WORLD_H

#include <stdio.h>

#include "gateway/core.h"
#include "mesh/base/check.h"
#include "mesh/base/limits.h"
#include "mesh/base/mem.h"
#include "mesh/wire/key.h"
#include "tests/support/gateway_world.h"

static struct chat {
    struct world *world;
    char log[65536];  /* What leaders were told, in order: "+alice -alice on:c1:alice …". */
    uint32_t packets; /* In which presence_watch came. */
    uint32_t queries;
    uint64_t status_age_ms;       /* Of the last user_status. */
    enum rc rc;                   /* What changes, readers and queries are answered. */
    uint64_t seq;                 /* Of the last change. */
    bool is_deaf;                 /* Nothing that is noted here arrives. */
    struct msg_cmd_create create; /* The last of each kind, numbers only. */
    struct msg_cmd_info info;
} chat;

static void chat_note(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void chat_note(const char *format, ...)
{
    size_t size = strlen(chat.log);
    va_list arguments;
    va_start(arguments, format);
    size += (size_t)snprintf(chat.log + size, sizeof(chat.log) - size, "%s", size > 0 ? " " : "");
    int added = vsnprintf(chat.log + size, sizeof(chat.log) - size, format, arguments);
    va_end(arguments);
    CHECK(added >= 0 && size + (size_t)added < sizeof(chat.log));
}

/* What was noted since the last time. */
static const char *chat_log(void)
{
    static char text[sizeof(chat.log)];
    memcpy(text, chat.log, sizeof(text));
    chat.log[0] = '\0';
    return text;
}

static void chat_answer(uint32_t router, const struct record_desc *desc, const void *message)
{
    struct world *world = chat.world;
    struct packet_sender sender = {.node = slice_string(world->routers[router].name),
                                   .incarnation = world->routers[router].incarnation};
    memcpy(sender.cluster, world_cluster, 16);
    struct buf *packet = buf_new(128);
    packet_begin(packet, &sender, 0);
    record_encode(packet, desc, message);
    CHECK(world->packet_count < sizeof(world->packets) / sizeof(world->packets[0]));
    world->packets[world->packet_count++] =
        (struct world_packet){world->now_us, router, false, packet};
}

static uint64_t chat_rc(uint32_t router, uint64_t shard)
{
    return chat.world->leaders[shard] == router ? chat.rc : RC_NOT_LEADER;
}

static void chat_on_change(uint32_t router, const struct msg_submit *submit,
                           const struct msg_cmd_change *change)
{
    struct msg_result result = {.req = submit->req, .rc = chat_rc(router, submit->shard)};
    static const char *const names[] = {"?", "?", "edit", "delete", "react"};
    chat_note("%s:%.*s:%u:%.*s:%.*s%.*s:%u", names[change->type], SLICE_ARGS(change->conv),
              (unsigned)change->target, SLICE_ARGS(change->cid), SLICE_ARGS(change->body),
              SLICE_ARGS(change->emoji), (unsigned)change->on);
    if (result.rc == RC_OK) {
        result.seq = ++chat.seq;
        result.ts = 77;
    }
    chat_answer(router, &msg_result_desc, &result);
}

/* False: it is for the model. */
static bool chat_on_submit(uint32_t router, const struct msg_submit *submit)
{
    struct record_reader r = record_reader_of(submit->command);
    struct msg_cmd_change change;
    struct msg_cmd_send send;
    uint32_t number;
    CHECK(record_peek(&r, &number) == RC_OK);
    if (number == MSG_CMD_CHANGE) {
        CHECK(record_decode(&r, &msg_cmd_change_desc, &change) == RC_OK);
        chat_on_change(router, submit, &change);
        return true;
    }
    if (number == MSG_CMD_SEND && record_decode(&r, &msg_cmd_send_desc, &send) == RC_OK)
        chat_note("send:%.*s:%.*s", SLICE_ARGS(send.conv), SLICE_ARGS(send.cid));
    if (number == MSG_CMD_CREATE)
        CHECK(record_decode(&r, &msg_cmd_create_desc, &chat.create) == RC_OK);
    if (number == MSG_CMD_INFO)
        CHECK(record_decode(&r, &msg_cmd_info_desc, &chat.info) == RC_OK);
    return false;
}

static void chat_on_watch(const struct msg_presence_watch *watch)
{
    struct record_reader r = record_reader_of(watch->users);
    struct slice user;
    chat.packets++;
    while (record_get_slice(&r, &user) == RC_OK)
        chat_note("%s%.*s", watch->on != 0 ? "+" : "-", SLICE_ARGS(user));
}

/* Users whose name ends in b are busy, since as many ms as the name is long. */
static void chat_on_query(uint32_t router, const struct msg_presence_query *query)
{
    struct buf *items = buf_new(64);
    struct record_reader r = record_reader_of(query->users);
    struct slice user;
    chat.queries++;
    while (record_get_slice(&r, &user) == RC_OK) {
        struct msg_presence_item item = {.user = user, .status = PRESENCE_ONLINE};
        if (user.base[user.size - 1] == 'b')
            item.status = PRESENCE_BUSY, item.last_seen = user.size;
        record_encode(items, &msg_presence_item_desc, &item);
    }
    struct msg_presences answer = {
        .req = query->req, .rc = chat_rc(router, query->shard), .items = buf_slice(items)};
    chat_answer(router, &msg_presences_desc, &answer);
    buf_unref(&items);
}

static void chat_on_readers(uint32_t router, const struct msg_readers *readers)
{
    struct buf *who = buf_new(64);
    struct msg_reader reader = {.user = slice_string("bob"), .ts = readers->seq * 10};
    record_encode(who, &msg_reader_desc, &reader);
    struct msg_readers_page page = {.req = readers->req,
                                    .rc = chat_rc(router, readers->shard),
                                    .delivered = buf_slice(who),
                                    .total = 3};
    chat_answer(router, &msg_readers_page_desc, &page);
    buf_unref(&who);
}

/* False: it is for the model. */
static bool chat_on_message(uint32_t router, uint32_t number, struct record_reader r)
{
    union {
        struct msg_submit submit;
        struct msg_presence_watch watch;
        struct msg_presence_query query;
        struct msg_readers readers;
        struct msg_user_status status;
        struct msg_typing typing;
    } m;
    switch (number) {
    case MSG_SUBMIT:
        CHECK(record_decode(&r, &msg_submit_desc, &m) == RC_OK);
        return chat_on_submit(router, &m.submit);
    case MSG_PRESENCE_WATCH:
        CHECK(record_decode(&r, &msg_presence_watch_desc, &m) == RC_OK);
        chat_on_watch(&m.watch);
        return true;
    case MSG_PRESENCE_QUERY:
        CHECK(record_decode(&r, &msg_presence_query_desc, &m) == RC_OK);
        chat_on_query(router, &m.query);
        return true;
    case MSG_READERS:
        CHECK(record_decode(&r, &msg_readers_desc, &m) == RC_OK);
        chat_on_readers(router, &m.readers);
        return true;
    case MSG_USER_STATUS:
        CHECK(record_decode(&r, &msg_user_status_desc, &m) == RC_OK);
        chat_note("status:%.*s:%u", SLICE_ARGS(m.status.user), (unsigned)m.status.status);
        chat.status_age_ms = m.status.age_ms;
        return true;
    case MSG_TYPING:
        CHECK(record_decode(&r, &msg_typing_desc, &m) == RC_OK);
        chat_note("%s:%.*s:%.*s", m.typing.on != 0 ? "on" : "off", SLICE_ARGS(m.typing.conv),
                  SLICE_ARGS(m.typing.user));
        return true;
    default:
        return false;
    }
}

/* To the model, alone in a packet. */
static void chat_pass_on(struct bus *bus, struct slice node, struct slice message)
{
    struct packet_sender sender = {.node = slice_string("g1")};
    struct buf *packet = buf_new(256);
    packet_begin(packet, &sender, 0);
    buf_append_slice(packet, message);
    CHECK(world_bus_send(bus, node, packet) == RC_OK);
    buf_unref(&packet);
}

static enum rc chat_send(struct bus *bus, struct slice node, struct buf *bytes)
{
    uint32_t router = slice_equals(node, "r1") ? 0 : 1;
    struct packet packet;
    CHECK(packet_decode(buf_slice(bytes), &packet) == RC_OK);
    struct record_reader r = packet.messages;
    while (!record_reader_at_end(&r)) {
        struct record_reader message = r;
        uint32_t number;
        CHECK(record_peek(&r, &number) == RC_OK);
        CHECK(record_skip(&r) == RC_OK);
        if (number > MSG_STATUS_REQUEST && number <= MSG_USER_STATUS && chat.is_deaf)
            continue;
        if (!chat_on_message(router, number, message))
            chat_pass_on(bus, node, slice_of(message.at, (size_t)(r.at - message.at)));
    }
    return RC_OK;
}

/* ---- What tests say ---- */

static struct world *chat_new(const struct gateway_options *options)
{
    memset(&chat, 0, sizeof(chat));
    chat.world = world_new(options, 1);
    chat.world->bus.send = chat_send;
    world_start(chat.world);
    return chat.world;
}

#endif
