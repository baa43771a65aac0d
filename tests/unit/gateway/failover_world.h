/* failover_world - routers of which one dies, refuses or loses packets while the other takes over.
 *
 * Stands between the gateway and the model of gateway_world: commands are executed here, once for
 * each cid as the state machine does it, everything else the model answers. Who leads is the
 * model's to say; NOBODY leads after an election has begun. One at a time. */
#ifndef TESTS_UNIT_GATEWAY_FAILOVER_WORLD_H
#define TESTS_UNIT_GATEWAY_FAILOVER_WORLD_H

#include <stdio.h>

#include "gateway/core.h"
#include "mesh/base/check.h"
#include "mesh/base/limits.h"
#include "mesh/wire/key.h"
#include "tests/support/gateway_world.h"

#define NOBODY         WORLD_ROUTERS
#define EXECUTED_MAX   4096u
#define FAILOVER_QUICK 3u /* Milliseconds in which what can be answered has been. */

enum mood {
    MOOD_FINE,
    MOOD_BUSY, /* Answers commands with RC_UNAVAILABLE and no hint. */
    MOOD_FULL, /* With a hint. */
    MOOD_MUTE, /* Executes, but what it says is lost. */
    MOOD_DEAF, /* What it is told is lost. */
    MOOD_GONE, /* Its queue takes nothing. */
};

struct executed {
    uint32_t number; /* enum message_number. */
    char what[64];   /* The cid of a send or a change. */
    uint32_t shard;
    uint64_t seq;
};

static struct failover {
    struct world *world;
    enum mood moods[WORLD_ROUTERS];
    struct executed executed[EXECUTED_MAX];
    uint32_t executed_count;
    uint32_t questions;
    bool publishes;          /* Results, rather than to answer with them. */
    uint64_t delay_us;       /* Of answers. */
    uint64_t opened_age_ms;  /* Of the last user_open that announced a session. */
    uint64_t opened_session; /* Which one. */
    uint32_t opened;         /* How many did. */
} failover;

static void failover_answer(uint32_t router, const struct msg_result *result)
{
    struct world *world = failover.world;
    struct packet_sender sender = {.node = slice_string(world->routers[router].name),
                                   .incarnation = world->routers[router].incarnation};
    memcpy(sender.cluster, world_cluster, 16);
    if (result->req == 0 || failover.moods[router] == MOOD_MUTE)
        return;
    if (failover.publishes) {
        world_publish(world, router, &msg_result_desc, result);
        return;
    }
    struct buf *packet = buf_new(128);
    packet_begin(packet, &sender, 0);
    record_encode(packet, &msg_result_desc, result);
    CHECK(world->packet_count < 4096);
    world->packets[world->packet_count++] =
        (struct world_packet){world->now_us + failover.delay_us, router, false, packet};
}

static struct executed *failover_find(const char *cid)
{
    for (uint32_t i = 0; i < failover.executed_count; i++)
        if (strcmp(failover.executed[i].what, cid) == 0)
            return &failover.executed[i];
    return NULL;
}

static uint64_t failover_execute(uint32_t number, uint32_t shard, const char *what)
{
    CHECK(failover.executed_count < EXECUTED_MAX);
    struct executed *executed = &failover.executed[failover.executed_count++];
    executed->number = number;
    executed->shard = shard;
    executed->seq = failover.executed_count;
    snprintf(executed->what, sizeof(executed->what), "%s", what);
    return executed->seq;
}

static void failover_on_send(uint32_t shard, const struct msg_cmd_send *send,
                             struct msg_result *result)
{
    char cid[64];
    snprintf(cid, sizeof(cid), "%.*s", SLICE_ARGS(send->cid));
    const struct executed *before = failover_find(cid);
    failover.questions += send->reply_to == UINT64_MAX;
    if (before != NULL) {
        result->seq = before->seq;
        result->dup = 1;
    } else if (send->reply_to == UINT64_MAX) {
        result->rc = RC_BAD_REQUEST;
    } else {
        result->seq = failover_execute(MSG_CMD_SEND, shard, cid);
    }
}

static void failover_on_change(uint32_t shard, const struct msg_cmd_change *change,
                               struct msg_result *result)
{
    char cid[64];
    snprintf(cid, sizeof(cid), "%.*s", SLICE_ARGS(change->cid));
    const struct executed *before = change->cid.size > 0 ? failover_find(cid) : NULL;
    result->dup = before != NULL;
    result->seq = before != NULL ? before->seq : failover_execute(MSG_CMD_CHANGE, shard, cid);
}

static void failover_on_submit(uint32_t router, const struct msg_submit *submit)
{
    struct world *world = failover.world;
    struct msg_result result = {.req = submit->req, .rc = RC_OK, .ts = 1};
    struct record_reader r = record_reader_of(submit->command);
    uint32_t number;
    CHECK(record_peek(&r, &number) == RC_OK);
    world->submits++;
    if (world->leaders[submit->shard] != router) {
        result.rc = RC_NOT_LEADER;
    } else if (failover.moods[router] == MOOD_BUSY || failover.moods[router] == MOOD_FULL) {
        result.rc = RC_UNAVAILABLE;
        result.hint_ms = failover.moods[router] == MOOD_FULL ? 777 : 0;
    } else if (number == MSG_CMD_SEND) {
        struct msg_cmd_send send;
        CHECK(record_decode(&r, &msg_cmd_send_desc, &send) == RC_OK);
        failover_on_send((uint32_t)submit->shard, &send, &result);
    } else if (number == MSG_CMD_CHANGE) {
        struct msg_cmd_change change;
        CHECK(record_decode(&r, &msg_cmd_change_desc, &change) == RC_OK);
        failover_on_change((uint32_t)submit->shard, &change, &result);
    } else if (number == MSG_CMD_CURSOR) {
        CHECK(record_decode(&r, &msg_cmd_cursor_desc, &world->last_cursor) == RC_OK);
        world->cursors++;
    } else {
        result.seq = failover_execute(number, (uint32_t)submit->shard, "");
    }
    failover_answer(router, &result);
}

/* To the model, alone in a packet. */
static void failover_pass_on(struct bus *bus, struct slice node, struct slice message)
{
    struct packet_sender sender = {.node = slice_string("g1")};
    struct buf *packet = buf_new(256);
    packet_begin(packet, &sender, 0);
    buf_append_slice(packet, message);
    CHECK(world_bus_send(bus, node, packet) == RC_OK);
    buf_unref(&packet);
}

static enum rc failover_send(struct bus *bus, struct slice node, struct buf *bytes)
{
    uint32_t router = slice_equals(node, "r1") ? 0 : 1;
    struct packet packet;
    CHECK(packet_decode(buf_slice(bytes), &packet) == RC_OK);
    if (failover.moods[router] == MOOD_GONE)
        return RC_FULL;
    if (failover.moods[router] == MOOD_DEAF)
        return RC_OK;
    struct record_reader r = packet.messages;
    while (!record_reader_at_end(&r)) {
        const uint8_t *at = r.at;
        uint32_t number;
        struct msg_submit submit;
        struct msg_user_open open;
        CHECK(record_peek(&r, &number) == RC_OK);
        if (number == MSG_SUBMIT) {
            CHECK(record_decode(&r, &msg_submit_desc, &submit) == RC_OK);
            failover_on_submit(router, &submit);
            continue;
        }
        if (number == MSG_USER_OPEN) {
            struct record_reader copy = r;
            CHECK(record_decode(&copy, &msg_user_open_desc, &open) == RC_OK);
            failover.opened += open.device.size > 0;
            if (open.device.size > 0) {
                failover.opened_age_ms = open.age_ms;
                failover.opened_session = open.session;
            }
        }
        CHECK(record_skip(&r) == RC_OK);
        failover_pass_on(bus, node, slice_of(at, (size_t)(r.at - at)));
    }
    return RC_OK;
}

/* ---- What tests say ---- */

static struct world *failover_new(const struct gateway_options *options)
{
    memset(&failover, 0, sizeof(failover));
    failover.world = world_new(options, 1);
    failover.world->bus.send = failover_send;
    return failover.world;
}

/* A conversation on a shard that r1 leads (0) or r2 (1). Of direct use: its name. */
static struct world_conv *failover_conv(uint32_t router, const char *members)
{
    struct world *world = failover.world;
    char name[32];
    for (uint32_t i = 0;; i++) {
        snprintf(name, sizeof(name), "on%u-%u", router, i);
        uint32_t shard = key_conv_shard(world_cluster, WORLD_SHARDS, slice_string(name));
        bool is_there = false;
        for (uint32_t c = 0; c < world->conv_count; c++)
            is_there |= strcmp(world->convs[c].name, name) == 0;
        if (world->leaders[shard] == router && !is_there)
            return world_conv(world, name, members);
    }
}

static uint32_t failover_shard(const struct world_conv *conv)
{
    return world_shard(failover.world, conv);
}

/* The router loses the lead of all its shards; no beat says so. */
static void failover_depose(uint32_t router)
{
    for (uint32_t i = 0; i < WORLD_SHARDS; i++)
        if (failover.world->leaders[i] == router)
            failover.world->leaders[i] = NOBODY;
}

/* The other router takes over all that nobody leads. */
static void failover_take_over(uint32_t router)
{
    struct world *world = failover.world;
    for (uint32_t i = 0; i < WORLD_SHARDS; i++) {
        if (world->leaders[i] != NOBODY)
            continue;
        world->leaders[i] = router;
        world->terms[i]++;
    }
    world_beat(world, router);
}

/* kill -9: it says and hears nothing more; its last words may be lost (see moods). */
static void failover_kill(uint32_t router)
{
    failover.moods[router] = MOOD_DEAF;
    failover.world->routers[router].is_silent = true;
    failover_depose(router);
}

static void failover_say(struct world_link *link, const struct world_conv *conv, const char *cid)
{
    char frame[256];
    snprintf(frame, sizeof(frame),
             "{\"type\":\"send\",\"id\":\"%s\",\"conv\":\"%s\",\"cid\":\"%s\",\"body\":1}", cid,
             conv->name, cid);
    world_send(link, frame);
}

/* What was executed, as "a b c". */
static const char *failover_log(void)
{
    static char text[EXECUTED_MAX * 8];
    size_t size = 0;
    text[0] = '\0';
    for (uint32_t i = 0; i < failover.executed_count; i++)
        size += (size_t)snprintf(text + size, sizeof(text) - size, "%s%s", size > 0 ? " " : "",
                                 failover.executed[i].what);
    return text;
}

static uint32_t failover_errors(const struct world_link *link)
{
    return world_count(link, "\"type\":\"error\"");
}

static uint32_t failover_sent(const struct world_link *link)
{
    return world_count(link, "\"type\":\"sent\"");
}

#endif
