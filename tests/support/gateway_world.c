#include "tests/support/gateway_world.h"

#include <stdio.h>
#include <stdlib.h>

#include "mesh/base/check.h"
#include "mesh/base/crypto.h"
#include "mesh/base/limits.h"
#include "mesh/base/mem.h"
#include "mesh/wire/key.h"

const uint8_t world_cluster[16] = {0xab, 0xcd, 0xef, 0x01, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

static struct world *world_of_env(struct env *env)
{
    return (struct world *)(void *)((char *)env - offsetof(struct world, env));
}

static uint64_t now_us(struct env *env)
{
    return world_of_env(env)->now_us;
}

static uint64_t wall_ms(struct env *env)
{
    return 1700000000000 + world_of_env(env)->now_us / 1000;
}

static uint64_t next_random(struct env *env)
{
    return world_random(world_of_env(env));
}

uint64_t world_random(struct world *world)
{
    uint64_t z = (world->seed += 0x9e3779b97f4a7c15u); /* splitmix64 */
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* ---- Packets ---- */

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

static void publish(struct world *world, uint32_t router, const struct record_desc *desc,
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

static void beat(struct world *world, uint32_t router)
{
    struct buf *terms = buf_new(64);
    for (uint32_t i = 0; i < WORLD_SHARDS; i++)
        record_put_u64(terms, world->leaders[i] == router ? world->terms[i] : 0);
    struct msg_beat message = {.shards = WORLD_SHARDS, .terms = buf_slice(terms)};
    publish(world, router, &msg_beat_desc, &message);
    buf_unref(&terms);
    world->routers[router].beat_us = world->now_us + LIMIT_BEAT_MS * 1000;
}

/* ---- What the model knows ---- */

static struct world_conv *find(struct world *world, struct slice name)
{
    for (uint32_t i = 0; i < world->conv_count; i++)
        if (slice_equals(name, world->convs[i].name))
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
    if (!leads(world, router, m->shard))
        a.rc = RC_NOT_LEADER;
    for (uint32_t i = 0; i < world->conv_count; i++) {
        int member = member_of(&world->convs[i], m->user);
        if (member >= 0 && world->convs[i].removed_at[member] == 0)
            record_put_slice(convs, slice_string(world->convs[i].name));
    }
    a.convs = buf_slice(convs);
    answer(world, router, &msg_user_convs_desc, &a);
    buf_unref(&convs);
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
        a.missed = last - a.from;
        if (a.missed > LIMIT_RESUME_COUNT) {
            a.gap_from = a.from + 1;
            a.gap_to = last - LIMIT_RESUME_COUNT;
            a.from = a.gap_to;
        }
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
        a.rc = RC_FORBIDDEN;
    } else {
        a.head = conv->removed_at[member] != 0 ? conv->removed_at[member] : conv->head;
        uint64_t after = m->after;
        if (m->before != 0)
            after = a.head > m->limit ? a.head - m->limit : 0;
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
    struct msg_result a = {.req = m->req, .rc = world->refusal, .ts = wall_ms(&world->env)};
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
        struct msg_unwatch unwatch;
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
    case MSG_UNWATCH: {
        CHECK(record_decode(r, &msg_unwatch_desc, &m.unwatch) == RC_OK);
        struct world_conv *conv = find(world, m.unwatch.conv);
        if (conv != NULL)
            conv->is_watched[router] = false;
        return;
    }
    default:
        CHECK(record_skip(r) == RC_OK);
    }
#undef CASE
}

static enum rc bus_send_to_model(struct bus *bus, struct slice node, struct buf *bytes)
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

/* ---- Links ---- */

static struct world_link *world_link_of(const struct link *link)
{
    return (struct world_link *)(uintptr_t)link;
}

static bool link_write(struct link *link, const void *bytes, size_t size)
{
    struct world_link *l = world_link_of(link);
    const uint8_t *at = bytes;
    const uint8_t *end = at + size;
    if (l->is_blocked)
        return false;
    CHECK(l->code == 0);
    l->writes++;
    while (at < end) {
        if (at[0] == 0x89) {
            l->pings++;
            at += 2;
            continue;
        }
        CHECK(at[0] == 0x81);
        size_t length = at[1];
        size_t head = 2;
        if (length == 126) {
            length = (size_t)at[2] << 8 | at[3];
            head = 4;
        } else if (length == 127) {
            length = (size_t)at[6] << 24 | (size_t)at[7] << 16 | (size_t)at[8] << 8 | at[9];
            head = 10;
        }
        CHECK(l->count < WORLD_FRAMES && at + head + length <= end);
        l->frames[l->count++] = mem_string((const char *)at + head, length);
        at += head + length;
    }
    return true;
}

static void link_close(struct link *link, unsigned code, const char *reason)
{
    (void)reason;
    CHECK(world_link_of(link)->code == 0);
    world_link_of(link)->code = code;
}

static bool link_is_blocked(const struct link *link)
{
    return world_link_of(link)->is_blocked;
}

static const struct link_ops link_ops = {link_write, link_close, link_is_blocked};

struct world_link *world_connect(struct world *world, const char *user, const char *device,
                                 bool batch)
{
    struct world_link *link = mem_new(struct world_link);
    struct auth_identity identity = {.expires_s = UINT64_MAX};
    link->link.ops = &link_ops;
    if (user != NULL)
        snprintf(identity.user, sizeof(identity.user), "%s", user);
    link->session =
        gateway_accept(world->gateway, &link->link, user != NULL ? &identity : NULL,
                       device != NULL ? slice_string(device) : (struct slice){0}, batch);
    return link;
}

void world_send(struct world_link *link, const char *text)
{
    session_on_frame(link->session, slice_string(text));
}

void world_close(struct world_link **link)
{
    session_on_closed(&(*link)->session);
    for (uint32_t i = 0; i < (*link)->count; i++)
        mem_free((*link)->frames[i]);
    mem_free(*link);
    *link = NULL;
}

char *world_token(struct world *world, const char *user)
{
    struct buf *token = buf_new(256);
    CHECK(auth_sign(&world->auth, slice_string(user), (struct slice){0},
                    wall_ms(&world->env) / 1000, 3600, token) == RC_OK);
    char *text = mem_string((const char *)token->bytes, token->size);
    buf_unref(&token);
    return text;
}

uint32_t world_count(const struct world_link *link, const char *text)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < link->count; i++)
        count += strstr(link->frames[i], text) != NULL;
    return count;
}

void world_expect_seqs(const struct world_link *link, const char *conv, uint64_t first,
                       uint64_t last)
{
    char name[80];
    snprintf(name, sizeof(name), "\"conv\":\"%s\"", conv);
    uint64_t next = first;
    for (uint32_t i = 0; i < link->count; i++) {
        const char *frame = link->frames[i];
        if ((strstr(frame, "\"type\":\"message\"") == NULL &&
             strstr(frame, "\"type\":\"member\"") == NULL) ||
            strstr(frame, name) == NULL)
            continue;
        uint64_t seq = strtoull(strstr(frame, "\"seq\":") + 6, NULL, 10);
        if (seq != next) {
            fprintf(stderr, "%s: expected %lu, got %lu\n", conv, (unsigned long)next,
                    (unsigned long)seq);
            abort();
        }
        next++;
    }
    if (next != last + 1) {
        fprintf(stderr, "%s: ended at %lu, not %lu\n", conv, (unsigned long)next - 1,
                (unsigned long)last);
        abort();
    }
}

/* ---- The world ---- */

struct world *world_new(const struct gateway_options *options, uint64_t seed)
{
    struct world *world = mem_new(struct world);
    crypto_start();
    world->env = (struct env){now_us, wall_ms, next_random};
    world->bus.send = bus_send_to_model;
    world->now_us = 1000000;
    world->seed = seed;
    world->page = 1000;
    gateway_options_init(&world->options);
    if (options != NULL)
        world->options = *options;
    world->options.node = "g1";
    struct auth_key key = {.id = "k", .algorithm = AUTH_HS256, .size = 32, .can_sign = true};
    memset(key.bytes, 7, 32);
    CHECK(auth_add_key(&world->auth, &key) == RC_OK);
    for (uint32_t i = 0; i < WORLD_ROUTERS; i++) {
        snprintf(world->routers[i].name, sizeof(world->routers[i].name), "r%u", i + 1);
        world->routers[i].incarnation = 100;
    }
    for (uint32_t i = 0; i < WORLD_SHARDS; i++) {
        world->terms[i] = 1;
        world->leaders[i] = i % WORLD_ROUTERS;
    }
    world->gateway = gateway_new(&world->options, &world->auth, &world->env, &world->bus);
    world->handler = gateway_bus_handler(world->gateway);
    return world;
}

void world_free(struct world **world)
{
    struct world *w = *world;
    gateway_free(&w->gateway);
    for (uint32_t i = 0; i < w->packet_count; i++)
        buf_unref(&w->packets[i].bytes);
    for (uint32_t i = 0; i < w->conv_count; i++)
        for (uint64_t s = 0; s < w->convs[i].head; s++)
            buf_unref(&w->convs[i].entries[s]);
    mem_free(w);
    *world = NULL;
}

static void tell_peer(struct world *world, uint32_t router)
{
    struct msg_node node = {.id = slice_string(world->routers[router].name),
                            .role = NODE_ROUTER,
                            .version = MESSAGES_VERSION,
                            .incarnation = world->routers[router].incarnation,
                            .cluster = slice_of(world_cluster, 16)};
    world->handler.on_peer(world->handler.context, &node, !world->routers[router].is_down);
}

void world_start(struct world *world)
{
    for (uint32_t i = 0; i < WORLD_ROUTERS; i++)
        tell_peer(world, i);
    world_run(world, 300);
}

static void arrive(struct world *world)
{
    for (uint32_t i = 0; i < world->packet_count;) {
        struct world_packet p = world->packets[i];
        if (p.due_us > world->now_us) {
            i++;
            continue;
        }
        memmove(&world->packets[i], &world->packets[i + 1],
                (--world->packet_count - i) * sizeof(p));
        struct packet packet;
        CHECK(packet_decode(buf_slice(p.bytes), &packet) == RC_OK);
        struct slice from = slice_string(world->routers[p.router].name);
        if (p.is_published)
            world->handler.on_publish(world->handler.context, from, &packet);
        else
            world->handler.on_request(world->handler.context, from, &packet);
        buf_unref(&p.bytes);
    }
}

void world_turn(struct world *world)
{
    for (uint32_t i = 0; i < WORLD_ROUTERS; i++)
        if (world->now_us >= world->routers[i].beat_us)
            beat(world, i);
    arrive(world);
    gateway_turn(world->gateway);
}

void world_run(struct world *world, uint64_t ms)
{
    for (uint64_t i = 0; i < ms; i++) {
        world->now_us += 1000;
        world_turn(world);
    }
}

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
    entry->ts = wall_ms(&world->env);
    struct buf *record = buf_new(64);
    record_encode(record, &msg_entry_desc, entry);
    CHECK(conv->head < WORLD_ENTRIES);
    conv->entries[conv->head++] = record;
    uint32_t leader = world->leaders[world_shard(world, conv)];
    struct msg_event_entry event = {.conv = slice_string(conv->name), .entry = buf_slice(record)};
    if (conv->is_watched[leader])
        publish(world, leader, &msg_event_entry_desc, &event);
    return entry->seq;
}

uint64_t world_say(struct world *world, struct world_conv *conv, const char *from)
{
    struct msg_entry entry = {.type = ENTRY_MESSAGE,
                              .from = slice_string(from),
                              .cid = slice_string("x"),
                              .body = slice_string("{\"text\":\"hello\"}")};
    return append(world, conv, &entry);
}

static void tell_user(struct world *world, const struct world_conv *conv, const char *user,
                      bool gone)
{
    struct msg_event_user event = {
        .user = slice_string(user), .conv = slice_string(conv->name), .gone = gone};
    uint32_t shard = key_user_shard(world_cluster, WORLD_SHARDS, slice_string(user));
    publish(world, world->leaders[shard], &msg_event_user_desc, &event);
}

void world_remove(struct world *world, struct world_conv *conv, const char *user)
{
    struct msg_entry entry = {.type = ENTRY_MEMBER,
                              .from = slice_string("owner"),
                              .user = slice_string(user),
                              .change = MEMBER_REMOVE};
    conv->removed_at[member_of(conv, slice_string(user))] = append(world, conv, &entry);
    tell_user(world, conv, user, true);
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
    tell_user(world, conv, user, false);
}

void world_lead(struct world *world, uint32_t shard, uint32_t router)
{
    for (uint32_t i = 0; i < world->conv_count; i++)
        if (world_shard(world, &world->convs[i]) == shard)
            memset(world->convs[i].is_watched, 0, sizeof(world->convs[i].is_watched));
    uint32_t before = world->leaders[shard];
    world->leaders[shard] = router;
    world->terms[shard]++;
    beat(world, before);
    beat(world, router);
}

void world_restart(struct world *world, uint32_t router)
{
    for (uint32_t i = 0; i < world->conv_count; i++)
        world->convs[i].is_watched[router] = false;
    world->routers[router].incarnation++;
    world->routers[router].link_seq = 0;
    for (uint32_t i = 0; i < WORLD_SHARDS; i++)
        world->terms[i] += world->leaders[i] == router;
    tell_peer(world, router);
}
