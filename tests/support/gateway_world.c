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
            at += 2 + at[1];
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

static uint64_t link_arrived(const struct link *link)
{
    return world_link_of(link)->arrived;
}

static const struct link_ops link_ops = {link_write, link_close, link_is_blocked, link_arrived};

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

static void fail(const char *conv, uint64_t expected, uint64_t got)
{
    fprintf(stderr, "%s: expected %lu, got %lu\n", conv, (unsigned long)expected,
            (unsigned long)got);
    abort();
}

void world_expect_seqs(const struct world_link *link, const char *conv, uint64_t first,
                       uint64_t last)
{
    char types[2][96];
    uint64_t next = first;
    snprintf(types[0], sizeof(types[0]), "{\"type\":\"message\",\"conv\":\"%s\",\"seq\":", conv);
    snprintf(types[1], sizeof(types[1]), "{\"type\":\"member\",\"conv\":\"%s\",\"seq\":", conv);
    for (uint32_t i = 0; i < link->count; i++) {
        const char *at = link->frames[i];
        for (;; at++) { /* A batch holds several. */
            const char *message = strstr(at, types[0]);
            const char *member = strstr(at, types[1]);
            if (message == NULL && member == NULL)
                break;
            bool is_member = message == NULL || (member != NULL && member < message);
            at = is_member ? member + strlen(types[1]) : message + strlen(types[0]);
            uint64_t seq = strtoull(at, NULL, 10);
            if (seq != next)
                fail(conv, next, seq);
            next++;
        }
    }
    if (next != last + 1)
        fail(conv, last, next - 1);
}

/* ---- The world ---- */

struct world *world_new(const struct gateway_options *options, uint64_t seed)
{
    struct world *world = mem_new(struct world);
    crypto_start();
    world->env = (struct env){.now_us = now_us, .wall_ms = wall_ms, .random = next_random};
    world->bus.send = world_bus_send;
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
            world_beat(world, i);
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

void world_lead(struct world *world, uint32_t shard, uint32_t router)
{
    for (uint32_t i = 0; i < world->conv_count; i++)
        if (world_shard(world, &world->convs[i]) == shard)
            memset(world->convs[i].is_watched, 0, sizeof(world->convs[i].is_watched));
    uint32_t before = world->leaders[shard];
    world->leaders[shard] = router;
    world->terms[shard]++;
    world_beat(world, before);
    world_beat(world, router);
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
