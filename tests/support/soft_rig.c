#include "tests/support/soft_rig.h"

#include <stdio.h>

#include "mesh/base/check.h"

static uint64_t now_us(struct env *env)
{
    return ((struct soft_rig *)(void *)env)->now_us;
}

static uint64_t wall_ms(struct env *env)
{
    return ((struct soft_rig *)(void *)env)->wall_ms;
}

static uint64_t random_bits(struct env *env)
{
    (void)env;
    return 4711;
}

static void copy_text(char *to, size_t size, struct slice from)
{
    snprintf(to, size, "%.*s", SLICE_ARGS(from));
}

static void note(struct soft_heard *heard, struct record_reader *r)
{
    union {
        struct msg_event_typing typing;
        struct msg_event_tally tally;
        struct msg_event_receipt receipt;
        struct msg_event_presence presence;
    } event;
    enum rc rc = RC_OK;
    switch (heard->number) {
    case MSG_EVENT_TYPING:
        rc = record_decode(r, &msg_event_typing_desc, &event);
        copy_text(heard->conv, sizeof(heard->conv), event.typing.conv);
        copy_text(heard->user, sizeof(heard->user), event.typing.user);
        heard->on = event.typing.on;
        break;
    case MSG_EVENT_RECEIPT:
        rc = record_decode(r, &msg_event_receipt_desc, &event);
        copy_text(heard->conv, sizeof(heard->conv), event.receipt.conv);
        copy_text(heard->user, sizeof(heard->user), event.receipt.user);
        heard->delivered = event.receipt.delivered;
        heard->read = event.receipt.read;
        break;
    case MSG_EVENT_TALLY:
        rc = record_decode(r, &msg_event_tally_desc, &event);
        copy_text(heard->conv, sizeof(heard->conv), event.tally.conv);
        heard->seq = event.tally.seq;
        heard->delivered = event.tally.delivered;
        heard->read = event.tally.read;
        heard->total = event.tally.total;
        break;
    case MSG_EVENT_PRESENCE:
        rc = record_decode(r, &msg_event_presence_desc, &event);
        copy_text(heard->user, sizeof(heard->user), event.presence.user);
        heard->status = event.presence.status;
        heard->last_seen = event.presence.last_seen;
        break;
    default:
        CHECK(false); /* Nothing else is published here. */
    }
    CHECK(rc == RC_OK);
}

static enum rc publish(struct bus *bus, struct slice node, struct buf *bytes)
{
    struct soft_rig *rig =
        (struct soft_rig *)(void *)((char *)bus - offsetof(struct soft_rig, bus));
    struct packet packet;
    enum rc rc = packet_decode(buf_slice(bytes), &packet);
    CHECK(rc == RC_OK);
    while (!record_reader_at_end(&packet.messages)) {
        CHECK(rig->heard_count < SOFT_HEARD_MAX);
        struct soft_heard *heard = &rig->heard[rig->heard_count++];
        memset(heard, 0, sizeof(*heard));
        copy_text(heard->gateway, sizeof(heard->gateway), node);
        rc = record_peek(&packet.messages, &heard->number);
        CHECK(rc == RC_OK);
        note(heard, &packet.messages);
    }
    return RC_OK;
}

static enum rc no_answer(struct bus *bus, struct slice node, struct buf *packet)
{
    (void)bus;
    (void)node;
    (void)packet;
    CHECK(false); /* What is soft is published. */
    return RC_OK;
}

void soft_rig_init(struct soft_rig *rig)
{
    const struct packet_sender sender = {.node = slice_string("r1"), .incarnation = 1};
    memset(rig, 0, sizeof(*rig));
    rig->env = (struct env){.now_us = now_us, .wall_ms = wall_ms, .random = random_bits};
    rig->bus = (struct bus){.send = no_answer, .publish = publish};
    rig->now_us = 1000000;
    rig->wall_ms = 1700000000000;
    watchers_init(&rig->watchers, &sender);
}

void soft_rig_fini(struct soft_rig *rig)
{
    watchers_fini(&rig->watchers);
}

struct watcher *soft_gateway(struct soft_rig *rig, const char *id)
{
    struct watcher *watcher = watchers_get(&rig->watchers, slice_string(id), 1);
    CHECK(watcher != NULL);
    watcher->is_leased = true;
    watcher->heard_us = rig->now_us;
    return watcher;
}

void soft_follow(struct soft_rig *rig, struct map *table, uint32_t shard, const char *key,
                 const char *gateway)
{
    watchers_follow(&rig->watchers, table, shard, slice_string(key), soft_gateway(rig, gateway));
}

void soft_unfollow(struct soft_rig *rig, struct map *table, const char *key, const char *gateway)
{
    watchers_unfollow(&rig->watchers, table, slice_string(key), soft_gateway(rig, gateway));
}

void soft_pass(struct soft_rig *rig, uint64_t ms)
{
    rig->now_us += ms * 1000;
    rig->wall_ms += ms;
}

void soft_flush(struct soft_rig *rig)
{
    watchers_flush(&rig->watchers, &rig->bus);
}

void soft_hear_anew(struct soft_rig *rig)
{
    rig->heard_count = 0;
    soft_flush(rig);
}
