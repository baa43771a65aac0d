/* The routers of gateway_world: conversations in memory, and answers computed from them. */
#include "tests/support/gateway_world.h"

#include <stdio.h>

#include "mesh/base/check.h"
#include "mesh/base/limits.h"
#include "mesh/wire/key.h"

static void enqueue(struct world *world, uint32_t router, bool is_published, struct buf *bytes)
{
    CHECK(world->packet_count < sizeof(world->packets) / sizeof(world->packets[0]));
    uint64_t due_us = world->now_us;
    if (world->delay_us_max > 0)
        due_us += world_random(world) % world->delay_us_max;
    for (uint32_t i = 0; i < world->packet_count; i++) { /* Each channel keeps its order. */
        const struct world_packet *before = &world->packets[i];
        if (before->router == router && before->is_published == is_published &&
            before->due_us > due_us)
            due_us = before->due_us;
    }
    world->packets[world->packet_count++] =
        (struct world_packet){due_us, router, is_published, bytes};
}

static struct buf *packet_new(struct world *world, uint32_t router, uint64_t link_seq)
{
    struct packet_sender sender = {.node = slice_string(world->routers[router].name),
                                   .incarnation = world->routers[router].incarnation};
    memcpy(sender.cluster, world_cluster, 16);
    struct buf *packet = buf_new(256);
    packet_begin(packet, &sender, link_seq);
    return packet;
}

static void answer(struct world *world, uint32_t router, const struct record_desc *desc,
                   const void *message)
{
    if (world->is_mute)
        return;
    struct buf *packet = packet_new(world, router, 0);
    record_encode(packet, desc, message);
    enqueue(world, router, false, packet);
}

void world_publish(struct world *world, uint32_t router, const struct record_desc *desc,
                   const void *message)
{
    struct world_router *r = &world->routers[router];
    if (r->is_silent || r->is_down)
        return;
    struct buf *packet = packet_new(world, router, ++r->link_seq);
    record_encode(packet, desc, message);
    if (world_random(world) % 100 < world->drop_percent)
        buf_unref(&packet);
    else
        enqueue(world, router, true, packet);
}

void world_beat(struct world *world, uint32_t router)
{
    struct buf *terms = buf_new(64);
    for (uint32_t i = 0; i < WORLD_SHARDS; i++)
        record_put_u64(terms, world->leaders[i] == router ? world->terms[i] : 0);
    struct msg_beat message = {
        .shards = WORLD_SHARDS, .terms = buf_slice(terms), .webhook = world->has_webhook};
    world_publish(world, router, &msg_beat_desc, &message);
    buf_unref(&terms);
    world->routers[router].beat_us = world->now_us + LIMIT_BEAT_MS * 1000;
}

/* ---- What the model knows ---- */

static struct world_conv *find(struct world *world, struct slice name)
{
    for (uint32_t i = 0; i < world->conv_count; i++)
        if (slice_equals(name, world->convs[i].name) && !world->convs[i].is_ended)
            return &world->convs[i];
    return NULL;
}

static int member_of(const struct world_conv *conv, struct slice user)
{
    for (int i = 0; i < 8; i++)
        if (conv->members[i][0] != 0 && slice_equals(user, conv->members[i]))
            return i;
    return -1;
}

static uint64_t members_of(const struct world_conv *conv)
{
    uint64_t count = conv->crowd;
    for (int i = 0; i < 8; i++)
        count += conv->members[i][0] != 0 && conv->removed_at[i] == 0;
    return count;
}

static uint64_t messages_of(const struct world_conv *conv, uint64_t seq)
{
    return seq > 0 ? conv->messages[seq - 1] : 0;
}

static bool leads(const struct world *world, uint32_t router, uint64_t shard)
{
    return shard < WORLD_SHARDS && world->leaders[shard] == router;
}

uint32_t world_shard(struct world *world, const struct world_conv *conv)
{
    (void)world;
    return key_conv_shard(world_cluster, WORLD_SHARDS, slice_string(conv->name));
}

static void put_entries(const struct world *world, const struct world_conv *conv, uint64_t after,
                        uint64_t last, struct buf *into, uint64_t *ret_more)
{
    uint64_t end = after + world->page < last ? after + world->page : last;
    for (uint64_t seq = after + 1; seq <= end; seq++)
        buf_append_slice(into, buf_slice(conv->entries[seq - 1]));
    *ret_more = end < last;
}

static void on_user_open(struct world *world, uint32_t router, const struct msg_user_open *m)
{
    struct msg_user_convs a = {.req = m->req, .rc = RC_OK};
    struct buf *convs = buf_new(64);
    struct buf *left = buf_new(64);
    if (!leads(world, router, m->shard))
        a.rc = RC_NOT_LEADER;
    for (uint32_t i = 0; i < world->conv_count; i++) {
        const struct world_conv *conv = &world->convs[i];
        int member = member_of(conv, m->user);
        if (member < 0 || conv->is_ended)
            continue;
        if (conv->removed_at[member] == 0 || world->is_late)
            record_put_slice(convs, slice_string(conv->name));
        else if (m->past == USER_PAST_APART)
            record_put_slice(left, slice_string(conv->name));
    }
    a.convs = buf_slice(convs);
    a.left = buf_slice(left);
    if (!world->is_vague)
        answer(world, router, &msg_user_convs_desc, &a);
    buf_unref(&convs);
    buf_unref(&left);
}

static void on_watch(struct world *world, uint32_t router, const struct msg_watch *m)
{
    struct msg_watched a = {.req = m->req, .conv = m->conv, .rc = RC_OK};
    struct world_conv *conv = find(world, m->conv);
    int member = conv != NULL ? member_of(conv, m->user) : -1;
    struct buf *entries = buf_new(64);
    world->watches++;
    if (!leads(world, router, m->shard)) {
        a.rc = RC_NOT_LEADER;
    } else if (member < 0) {
        a.rc = conv != NULL ? RC_FORBIDDEN : RC_NOT_FOUND;
    } else {
        conv->is_watched[router] = true;
        a.head = conv->head;
        a.until = conv->removed_at[member];
        uint64_t last = a.until != 0 ? a.until : conv->head;
        a.from = m->from_known ? m->from : 0;
        if (a.from > last)
            a.from = last;
        if (a.from == 0)
            a.from = conv->hidden; /* He has nothing of it, so he misses nothing. */
        a.missed = last - a.from;
        a.members = members_of(conv);
        a.messages = messages_of(conv, last);
        a.read_messages = messages_of(conv, conv->read[member]);
        bool is_light = m->fanout != 0 && a.members > m->fanout && !world->is_old;
        uint64_t gone = conv->trimmed > conv->hidden ? conv->trimmed : conv->hidden;
        uint64_t to = a.from > gone ? a.from : gone;
        if (last - to > LIMIT_RESUME_COUNT)
            to = last - LIMIT_RESUME_COUNT;
        if (to > a.from && !is_light) {
            a.gap_from = a.from + 1;
            a.gap_to = to;
            a.trimmed_to = gone > a.from ? gone : 0;
            a.trimmed = a.trimmed_to == to;
            a.from = to;
        }
        if (!is_light)
            put_entries(world, conv, a.from, last, entries, &a.more);
        a.entries = buf_slice(entries);
    }
    answer(world, router, &msg_watched_desc, &a);
    buf_unref(&entries);
}

static void on_fetch(struct world *world, uint32_t router, const struct msg_fetch *m)
{
    struct msg_fetched a = {.req = m->req, .conv = m->conv, .rc = RC_OK};
    struct world_conv *conv = find(world, m->conv);
    int member = conv != NULL ? member_of(conv, m->user) : -1;
    struct buf *entries = buf_new(64);
    world->fetches++;
    if (!leads(world, router, m->shard)) {
        a.rc = RC_NOT_LEADER;
    } else if (member < 0) {
        a.rc = conv != NULL ? RC_FORBIDDEN : RC_NOT_FOUND;
    } else {
        a.head = conv->removed_at[member] != 0 ? conv->removed_at[member] : conv->head;
        uint64_t after = m->after;
        if (m->before != 0)
            after = a.head > m->limit ? a.head - m->limit : 0;
        a.trimmed = conv->trimmed;
        if (after < conv->trimmed)
            after = conv->trimmed;
        if (after < conv->hidden)
            after = conv->hidden;
        if (after < a.head)
            put_entries(world, conv, after, a.head, entries, &a.more);
        a.entries = buf_slice(entries);
    }
    answer(world, router, &msg_fetched_desc, &a);
    buf_unref(&entries);
}

static void on_rewatch(struct world *world, uint32_t router, const struct msg_rewatch *m)
{
    struct msg_rewatched a = {.req = m->req, .rc = RC_OK};
    struct buf *heads = buf_new(64);
    struct record_reader r = record_reader_of(m->convs);
    struct slice name;
    world->rewatches++;
    if (!leads(world, router, m->shard))
        a.rc = RC_NOT_LEADER;
    while (a.rc == RC_OK && record_get_slice(&r, &name) == RC_OK) {
        struct world_conv *conv = find(world, name);
        if (conv != NULL)
            conv->is_watched[router] = true;
        record_put_u64(heads, conv != NULL ? conv->head : 0);
    }
    a.heads = buf_slice(heads);
    answer(world, router, &msg_rewatched_desc, &a);
    buf_unref(&heads);
}

static void on_submit(struct world *world, uint32_t router, const struct msg_submit *m)
{
    struct msg_result a = {.req = m->req, .rc = world->refusal, .ts = env_wall_ms(&world->env)};
    struct record_reader r = record_reader_of(m->command);
    uint32_t number;
    struct msg_cmd_send send;
    struct msg_cmd_create create;
    world->submits++;
    if (!leads(world, router, m->shard))
        a.rc = RC_NOT_LEADER;
    if (a.rc == RC_OK && record_peek(&r, &number) == RC_OK) {
        if (number == MSG_CMD_CURSOR &&
            record_decode(&r, &msg_cmd_cursor_desc, &world->last_cursor) == RC_OK) {
            world->cursors++;
        } else if (number == MSG_CMD_SEND &&
                   record_decode(&r, &msg_cmd_send_desc, &send) == RC_OK) {
            struct world_conv *conv = find(world, send.conv);
            char from[64];
            snprintf(from, sizeof(from), "%.*s", SLICE_ARGS(send.user));
            if (conv == NULL)
                a.rc = RC_NOT_FOUND;
            else
                a.seq = world_say(world, conv, from);
        } else if (number == MSG_CMD_CREATE &&
                   record_decode(&r, &msg_cmd_create_desc, &create) == RC_OK) {
            a.conv = create.conv;
            a.seq = 1;
        }
    }
    if (m->req != 0)
        answer(world, router, &msg_result_desc, &a);
}

static void on_members(struct world *world, uint32_t router, const struct msg_members *m)
{
    struct buf *members = buf_new(64);
    struct msg_member member = {.user = m->user, .role = ROLE_OWNER, .joined = 1};
    record_encode(members, &msg_member_desc, &member);
    struct msg_members_page a = {
        .req = m->req, .rc = RC_OK, .members = buf_slice(members), .total = 1};
    answer(world, router, &msg_members_page_desc, &a);
    buf_unref(&members);
}

static void on_summary(struct world *world, uint32_t router, const struct msg_summary *m)
{
    struct buf *items = buf_new(64);
    struct record_reader r = record_reader_of(m->convs);
    struct slice name;
    while (record_get_slice(&r, &name) == RC_OK) {
        struct world_conv *conv = find(world, name);
        struct msg_summary_item item = {
            .conv = name, .kind = CONV_GROUP, .head = conv->head, .members = 2};
        if (conv->head > 0)
            item.last = buf_slice(conv->entries[conv->head - 1]);
        record_encode(items, &msg_summary_item_desc, &item);
    }
    struct msg_summaries a = {.req = m->req, .rc = RC_OK, .items = buf_slice(items)};
    answer(world, router, &msg_summaries_desc, &a);
    buf_unref(&items);
}

static void on_look(struct world *world, uint32_t router, const struct msg_look *m)
{
    struct msg_looked a = {.req = m->req, .rc = RC_OK};
    struct world_conv *conv = find(world, m->conv);
    int member = conv != NULL ? member_of(conv, m->user) : -1;
    struct buf *typing = buf_new(64);
    world->looks++;
    if (!leads(world, router, m->shard)) {
        a.rc = RC_NOT_LEADER;
    } else if (member < 0 || conv->removed_at[member] != 0) {
        a.rc = conv != NULL ? RC_FORBIDDEN : RC_NOT_FOUND;
    } else {
        a.head = conv->head;
        if (conv->typist != NULL)
            record_put_slice(typing, slice_string(conv->typist));
        a.typing = buf_slice(typing);
    }
    answer(world, router, &msg_looked_desc, &a);
    buf_unref(&typing);
}

static void on_message(struct world *world, uint32_t router, struct record_reader *r)
{
    uint32_t number = 0;
    union {
        struct msg_user_open user_open;
        struct msg_watch watch;
        struct msg_fetch fetch;
        struct msg_rewatch rewatch;
        struct msg_submit submit;
        struct msg_members members;
        struct msg_summary summary;
        struct msg_look look;
        struct msg_unwatch unwatch;
        struct msg_given given;
    } m;
    CHECK(record_peek(r, &number) == RC_OK);
#define CASE(NAME, name)                                                                           \
    case MSG_##NAME:                                                                               \
        CHECK(record_decode(r, &msg_##name##_desc, &m.name) == RC_OK);                             \
        on_##name(world, router, &m.name);                                                         \
        return;
    switch (number) {
        CASE(USER_OPEN, user_open)
        CASE(WATCH, watch)
        CASE(FETCH, fetch)
        CASE(REWATCH, rewatch)
        CASE(SUBMIT, submit)
        CASE(MEMBERS, members)
        CASE(SUMMARY, summary)
        CASE(LOOK, look)
    case MSG_UNWATCH: {
        CHECK(record_decode(r, &msg_unwatch_desc, &m.unwatch) == RC_OK);
        struct world_conv *conv = find(world, m.unwatch.conv);
        if (conv != NULL)
            conv->is_watched[router] = false;
        return;
    }
    case MSG_GIVEN:
        CHECK(record_decode(r, &msg_given_desc, &m.given) == RC_OK);
        world->givens++;
        world->last_given = m.given.seq;
        return;
    default:
        CHECK(record_skip(r) == RC_OK);
    }
#undef CASE
}

enum rc world_bus_send(struct bus *bus, struct slice node, struct buf *bytes)
{
    struct world *world = (struct world *)(void *)((char *)bus - offsetof(struct world, bus));
    for (uint32_t i = 0; i < WORLD_ROUTERS; i++) {
        struct packet packet;
        if (!slice_equals(node, world->routers[i].name))
            continue;
        if (world->routers[i].is_down)
            return RC_NOT_FOUND;
        CHECK(packet_decode(buf_slice(bytes), &packet) == RC_OK);
        while (!record_reader_at_end(&packet.messages))
            on_message(world, i, &packet.messages);
        return RC_OK;
    }
    return RC_NOT_FOUND;
}

/* ---- Conversations ---- */

struct world_conv *world_conv(struct world *world, const char *name, const char *members)
{
    struct world_conv *conv = &world->convs[world->conv_count++];
    snprintf(conv->name, sizeof(conv->name), "%s", name);
    char copy[256];
    snprintf(copy, sizeof(copy), "%s", members);
    uint32_t at = 0;
    for (char *rest = copy, *m = strsep(&rest, " "); m != NULL; m = strsep(&rest, " "))
        snprintf(conv->members[at++], sizeof(conv->members[0]), "%s", m);
    return conv;
}

static uint64_t append(struct world *world, struct world_conv *conv, struct msg_entry *entry)
{
    entry->seq = conv->head + 1;
    entry->ts = env_wall_ms(&world->env);
    struct buf *record = buf_new(64);
    record_encode(record, &msg_entry_desc, entry);
    CHECK(conv->head < WORLD_ENTRIES);
    conv->messages[conv->head] =
        (uint32_t)messages_of(conv, conv->head) + (entry->type == ENTRY_MESSAGE);
    conv->entries[conv->head++] = record;
    uint32_t leader = world->leaders[world_shard(world, conv)];
    struct msg_event_entry event = {.conv = slice_string(conv->name),
                                    .entry = buf_slice(record),
                                    .members = members_of(conv),
                                    .messages = messages_of(conv, conv->head)};
    if (conv->is_watched[leader])
        world_publish(world, leader, &msg_event_entry_desc, &event);
    return entry->seq;
}

uint64_t world_say(struct world *world, struct world_conv *conv, const char *from)
{
    struct msg_entry entry = {.type = ENTRY_MESSAGE,
                              .from = slice_string(from),
                              .cid = slice_string("x"),
                              .body = slice_string("{\"text\":\"hello\"}")};
    int member = member_of(conv, entry.from);
    if (member >= 0)
        conv->read[member] = conv->head + 1; /* What one says one has read. */
    return append(world, conv, &entry);
}

static void tell_user(struct world *world, const struct world_conv *conv, const char *user,
                      bool gone, uint64_t seq)
{
    struct msg_event_user event = {
        .user = slice_string(user), .conv = slice_string(conv->name), .gone = gone, .seq = seq};
    uint32_t shard = key_user_shard(world_cluster, WORLD_SHARDS, slice_string(user));
    world_publish(world, world->leaders[shard], &msg_event_user_desc, &event);
}

void world_remove(struct world *world, struct world_conv *conv, const char *user)
{
    struct msg_entry entry = {.type = ENTRY_MEMBER,
                              .from = slice_string("owner"),
                              .user = slice_string(user),
                              .change = MEMBER_REMOVE};
    int member = member_of(conv, slice_string(user));
    conv->removed_at[member] = conv->head + 1;
    append(world, conv, &entry);
    tell_user(world, conv, user, true, conv->head);
}

void world_add(struct world *world, struct world_conv *conv, const char *user)
{
    struct msg_entry entry = {.type = ENTRY_MEMBER,
                              .from = slice_string("owner"),
                              .user = slice_string(user),
                              .change = MEMBER_ADD,
                              .role = ROLE_MEMBER};
    int member = member_of(conv, slice_string(user));
    for (int i = 0; member < 0; i++)
        if (conv->members[i][0] == 0)
            member = i;
    snprintf(conv->members[member], sizeof(conv->members[0]), "%s", user);
    conv->removed_at[member] = 0;
    append(world, conv, &entry);
    tell_user(world, conv, user, false, conv->head);
}

void world_crowd(struct world *world, struct world_conv *conv, uint64_t crowd)
{
    struct msg_entry entry = {.type = ENTRY_MEMBER,
                              .from = slice_string("owner"),
                              .user = slice_string("somebody"),
                              .change = crowd < conv->crowd ? MEMBER_LEAVE : MEMBER_ADD,
                              .role = ROLE_MEMBER};
    conv->crowd = crowd;
    append(world, conv, &entry);
}

static uint32_t leader_of(struct world *world, const struct world_conv *conv)
{
    return world->leaders[world_shard(world, conv)];
}

void world_read(struct world *world, struct world_conv *conv, const char *user, uint64_t seq)
{
    conv->read[member_of(conv, slice_string(user))] = seq;
    struct msg_event_receipt event = {.conv = slice_string(conv->name),
                                      .user = slice_string(user),
                                      .delivered = seq,
                                      .read = seq,
                                      .members = members_of(conv),
                                      .messages = messages_of(conv, seq)};
    world_publish(world, leader_of(world, conv), &msg_event_receipt_desc, &event);
}

void world_type(struct world *world, struct world_conv *conv, const char *user, bool on)
{
    conv->typist = on ? user : NULL;
    struct msg_event_typing event = {
        .conv = slice_string(conv->name), .user = slice_string(user), .on = on};
    world_publish(world, leader_of(world, conv), &msg_event_typing_desc, &event);
}
