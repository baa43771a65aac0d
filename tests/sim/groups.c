#include "tests/sim/groups.h"

#include <endian.h>
#include <stdio.h>
#include <string.h>

#include "mesh/base/check.h"
#include "nodes/router/placement.h"
#include "nodes/router/ring.h"
#include "storage/generation.h"
#include "storage/keyspace.h"
#include "storage/raft_log_load.h"
#include "storage/rows.h"

#define CONF_FORMAT 1
#define CONF_VOTER  1

struct server {
    uint64_t id;
    struct slice node; /* Into what was parsed. */
    bool is_voter;
};

struct conf {
    struct server servers[LIMIT_SERVERS_MAX];
    uint32_t count;
};

/* One router's replica of a group. */
struct replica {
    bool is_there;
    uint64_t self; /* Its server id. */
    uint32_t generation;
    uint64_t applied, digest;
    struct conf conf; /* The newest it knows. */
};

struct loading {
    struct conf newest;
    bool has_conf;
    void (*on_conf)(void *context, const struct conf *conf); /* Or NULL: of each it knows. */
    void *context;
};

/* The control group comes behind the shards. */
static uint32_t group_of(const struct cluster *c, uint32_t place)
{
    return place < c->options.shards ? place : CONTROL_GROUP;
}

/* ---- Reading a replica ---- */

/* libraft's encoding: a format byte, the count, then id, address and role of each, 64 bit little
 * endian. */
static void parse_conf(struct slice bytes, struct conf *ret_conf)
{
    const char *at = bytes.base;
    uint64_t count;
    CHECK(bytes.size > 9 && at[0] == CONF_FORMAT);
    memcpy(&count, at + 1, sizeof(count));
    ret_conf->count = (uint32_t)le64toh(count);
    CHECK(ret_conf->count <= LIMIT_SERVERS_MAX);
    at += 9;
    for (uint32_t i = 0; i < ret_conf->count; i++) {
        uint64_t id;
        memcpy(&id, at, sizeof(id));
        const char *address = at + sizeof(id); /* Node id, '/', server id. */
        at = address + strlen(address) + 1;
        ret_conf->servers[i] = (struct server){.id = le64toh(id),
                                               .node = slice_of(address, strcspn(address, "/")),
                                               .is_voter = *at == CONF_VOTER};
        at++;
    }
    CHECK(at <= bytes.base + bytes.size);
}

static void take_conf(struct loading *loading, struct slice bytes)
{
    parse_conf(bytes, &loading->newest);
    loading->has_conf = true;
    if (loading->on_conf != NULL)
        loading->on_conf(loading->context, &loading->newest);
}

static enum rc visit(void *context, const struct raft_log_entry *entry)
{
    if (entry->type == RAFT_LOG_CHANGE)
        take_conf(context, entry->data);
    return RC_OK;
}

static void read_applied(struct sim_node *node, uint32_t group, struct replica *replica)
{
    struct generation generation;
    enum rc rc = generation_load(node->disk, group, &generation);
    CHECK(rc == RC_OK);
    replica->generation = generation.current;
    const struct keyspace space = {.shard = group, .generation = generation.current};
    struct keyspace_key key;
    struct row_applied row;
    keyspace_table(&key, &space, KEYSPACE_APPLIED);
    struct buf *value = buf_new(64);
    rc = node->disk->ops->get(node->disk, KV_STATE, keyspace_slice(&key), value);
    if (rc == RC_OK) {
        rc = rows_decode(keyspace_slice(&key), buf_slice(value), &row_applied_desc, &row);
        CHECK(rc == RC_OK);
        replica->applied = row.index;
        replica->digest = row.digest;
    }
    buf_unref(&value);
}

static struct replica read_replica(struct sim_node *node, uint32_t group, struct loading *loading)
{
    struct replica replica = {0};
    struct raft_log_loaded log;
    if (node->disk == NULL)
        return replica;
    enum rc rc = raft_log_load(node->disk, group, &log, visit, loading);
    if (rc != RC_OK && rc != RC_NOT_FOUND)
        world_violation(node->cluster->world, "the log of group %u on %s: %s", group, node->id,
                        rc_sentence(rc));
    if (rc == RC_OK) {
        replica.is_there = true;
        replica.self = log.hard.self;
        bool is_newer = loading->has_conf;
        if (log.has_snapshot && !is_newer)
            take_conf(loading, log.snapshot.conf);
        else if (log.has_snapshot && loading->on_conf != NULL) {
            struct conf older;
            parse_conf(log.snapshot.conf, &older);
            loading->on_conf(loading->context, &older);
        }
        replica.conf = loading->newest;
        read_applied(node, group, &replica);
    }
    raft_log_loaded_fini(&log);
    return replica;
}

/* ---- Where replicas should be ---- */

struct placed {
    struct sim_node *active[CLUSTER_ROUTERS_MAX]; /* On the committed list, in its order. */
    uint32_t count;
    uint32_t stride; /* Of places. */
    uint16_t places[(CLUSTER_SHARDS_MAX + 1) * LIMIT_REPLICAS_MAX];
};

static void take_router(struct cluster *c, struct placed *placed, struct slice key,
                        struct slice value)
{
    struct slice name;
    struct row_router row;
    bool is_name = keyspace_get_name(key, &name);
    CHECK(is_name);
    enum rc rc = rows_decode(key, value, &row_router_desc, &row);
    CHECK(rc == RC_OK && placed->count < CLUSTER_ROUTERS_MAX);
    if (row.state == ROUTER_ACTIVE)
        placed->active[placed->count++] = cluster_find(c, name);
}

/* The list as the control group's replica on `node` has it. */
static void read_list(struct cluster *c, struct sim_node *node, uint32_t generation,
                      struct placed *placed)
{
    const struct keyspace space = {.shard = CONTROL_GROUP, .generation = generation};
    struct keyspace_key from;
    keyspace_table(&from, &space, KEYSPACE_ROUTER);
    struct keyspace_key to = from;
    keyspace_to_end(&to);
    struct kv_iterator *iterator = node->disk->ops->iterate(
        node->disk, KV_STATE, keyspace_slice(&from), keyspace_slice(&to), false);
    struct slice key;
    struct slice value;
    while (node->disk->ops->next(iterator, &key, &value))
        take_router(c, placed, key, value);
    enum rc rc = node->disk->ops->iterator_free(&iterator);
    CHECK(rc == RC_OK);
}

static void place_all(struct cluster *c, struct placed *placed)
{
    struct ring_router routers[CLUSTER_ROUTERS_MAX];
    memset(routers, 0, sizeof(routers));
    for (uint32_t i = 0; i < placed->count; i++) {
        snprintf(routers[i].node, sizeof(routers[i].node), "%s", placed->active[i]->id);
        cluster_zone(placed->active[i], routers[i].zone);
        routers[i].weight = CLUSTER_WEIGHT;
    }
    placed->stride = c->options.replicas;
    ring_place(routers, placed->count, c->options.shards + 1, placed->stride, c->cluster_id,
               placed->places);
}

void groups_on_list(struct cluster *c, const char *name)
{
    struct sim_node *node = cluster_find(c, slice_string(name));
    struct generation generation;
    struct placed placed = {0};
    enum rc rc = generation_load(node->disk, CONTROL_GROUP, &generation);
    CHECK(rc == RC_OK);
    read_list(c, node, generation.current, &placed);
    if (placed.count == 0)
        return; /* All of them drain: everything stays where it is. */
    place_all(c, &placed);
    for (uint32_t place = 0; place <= c->options.shards; place++)
        for (uint32_t i = 0; i < placed.stride; i++) {
            uint16_t at = placed.places[place * placed.stride + i];
            if (at != UINT16_MAX)
                c->homes[place] |= 1u << placed.active[at]->index;
        }
}

uint32_t groups_on_conf(struct cluster *c, const char *node, uint32_t group, struct slice encoded)
{
    struct conf conf;
    uint32_t place = group == CONTROL_GROUP ? c->options.shards : group;
    parse_conf(encoded, &conf);
    uint32_t voters = 0;
    c->confs++;
    for (uint32_t i = 0; i < conf.count; i++) {
        const struct sim_node *home = cluster_find(c, conf.servers[i].node);
        if (home == NULL || (c->homes[place] >> home->index & 1) == 0)
            world_violation(c->world, "C13: %s has group %u on %.*s, where no list put it", node,
                            group, SLICE_ARGS(conf.servers[i].node));
        voters |= conf.servers[i].is_voter ? 1u << home->index : 0;
    }
    return voters;
}

/* ---- Are they? ---- */

static bool leads(const struct sim_node *node, uint32_t place)
{
    struct router_shard_status status;
    router_shard_status(node->router, place, &status);
    return strcmp(status.state, "leader") == 0;
}

struct sim_node *groups_leader(struct cluster *c, uint32_t place)
{
    for (uint32_t i = 0; i < c->options.routers; i++) {
        struct sim_node *node = cluster_router(c, i);
        if (node->router != NULL && leads(node, place))
            return node;
    }
    return NULL;
}

bool groups_are_led(struct cluster *c, char *why, size_t why_size)
{
    for (uint32_t place = 0; place <= c->options.shards; place++) {
        if (groups_leader(c, place) != NULL)
            continue;
        snprintf(why, why_size, "C11: nobody leads group %u", group_of(c, place));
        return false;
    }
    return true;
}

static bool are_all_there(struct cluster *c, struct placed *placed, char *why, size_t why_size)
{
    struct sim_node *leader = groups_leader(c, c->options.shards);
    if (leader == NULL) {
        snprintf(why, why_size, "C11: nobody leads the control group");
        return false;
    }
    struct loading loading = {0};
    struct replica control = read_replica(leader, CONTROL_GROUP, &loading);
    read_list(c, leader, control.generation, placed);
    uint32_t expected = 0;
    for (uint32_t i = 0; i < c->options.routers; i++) {
        const struct sim_node *node = cluster_router(c, i);
        expected += node->is_expected && !node->is_removed;
        if (node->is_expected && !node->is_removed && node->router == NULL) {
            snprintf(why, why_size, "C11: %s has not joined", node->id);
            return false;
        }
    }
    if (placed->count != expected)
        snprintf(why, why_size, "C11: %u routers are on the list, %u should be", placed->count,
                 expected);
    return placed->count == expected;
}

static const struct server *server_in(const struct conf *conf, uint64_t id)
{
    for (uint32_t i = 0; i < conf->count; i++)
        if (conf->servers[i].id == id)
            return &conf->servers[i];
    return NULL;
}

static bool is_as_placed(struct cluster *c, const struct placed *placed, uint32_t place, char *why,
                         size_t why_size)
{
    const uint16_t *places = &placed->places[place * placed->stride];
    uint32_t group = group_of(c, place);
    uint32_t targets = placed->count < placed->stride ? placed->count : placed->stride;
    uint32_t voters = placement_voters(c->options.replicas, targets);
    struct sim_node *leader = groups_leader(c, place);
    if (leader != placed->active[places[0]]) {
        snprintf(why, why_size, "C11: group %u is led by %s, not by %s", group,
                 leader != NULL ? leader->id : "nobody", placed->active[places[0]]->id);
        return false;
    }
    struct loading loading = {0};
    struct replica first = read_replica(leader, group, &loading);
    if (first.conf.count != targets) {
        snprintf(why, why_size, "C11: group %u has %u replicas, not %u", group, first.conf.count,
                 targets);
        return false;
    }
    for (uint32_t i = 0; i < targets; i++) {
        struct sim_node *node = placed->active[places[i]];
        loading = (struct loading){0};
        struct replica replica = read_replica(node, group, &loading);
        const struct server *server = server_in(&first.conf, replica.self);
        if (!replica.is_there || server == NULL || server->is_voter != (i < voters)) {
            snprintf(why, why_size, "C11: group %u is not held by %s as a %s", group, node->id,
                     i < voters ? "voter" : "standby");
            return false;
        }
        if (replica.applied != first.applied) {
            snprintf(why, why_size, "C11: %s has applied group %u up to %lu of %lu", node->id,
                     group, replica.applied, first.applied);
            return false;
        }
        if (replica.digest != first.digest)
            world_violation(c->world, "C10: group %u at %lu differs on %s and %s", group,
                            first.applied, node->id, leader->id);
    }
    return true;
}

/* Nobody else holds anything of it, and nobody else believes to lead. */
static bool is_nowhere_else(struct cluster *c, const struct placed *placed, uint32_t place,
                            char *why, size_t why_size)
{
    const uint16_t *places = &placed->places[place * placed->stride];
    uint32_t group = group_of(c, place);
    uint32_t held = 0;
    uint32_t leaders = 0;
    for (uint32_t i = 0; i < placed->count; i++) {
        struct loading loading = {0};
        held += read_replica(placed->active[i], group, &loading).is_there;
        leaders += leads(placed->active[i], place);
    }
    uint32_t targets = 0;
    while (targets < placed->stride && places[targets] != UINT16_MAX)
        targets++;
    if (held != targets || leaders != 1)
        snprintf(why, why_size, "C11: group %u has %u holders, not %u, and %u leaders", group, held,
                 targets, leaders);
    return held == targets && leaders == 1;
}

bool groups_are_settled(struct cluster *c, char *why, size_t why_size)
{
    struct placed placed = {0};
    if (!are_all_there(c, &placed, why, why_size))
        return false;
    place_all(c, &placed);
    for (uint32_t i = 0; i <= c->options.shards; i++)
        if (!is_as_placed(c, &placed, i, why, why_size) ||
            !is_nowhere_else(c, &placed, i, why, why_size))
            return false;
    return true;
}

/* Nothing is left of replicas that ended, nor of states that were replaced. */
static void check_leftovers(struct sim_node *node, enum kv_family family)
{
    const uint8_t least = 0;
    uint8_t most[KEYSPACE_HEADER_SIZE];
    memset(most, 0xff, sizeof(most));
    struct kv_iterator *iterator = node->disk->ops->iterate(node->disk, family, slice_of(&least, 1),
                                                            slice_of(most, sizeof(most)), false);
    struct slice key;
    struct slice value;
    uint64_t known = UINT64_MAX; /* Shard and generation of the row before. */
    while (node->disk->ops->next(iterator, &key, &value)) {
        uint64_t head;
        memcpy(&head, key.base, sizeof(head));
        head = be64toh(head);
        if (head == known)
            continue;
        known = head;
        uint32_t group = (uint32_t)(head >> 32);
        struct generation row;
        struct loading loading = {0};
        enum rc rc = generation_load(node->disk, group, &row);
        CHECK(rc == RC_OK);
        bool is_in_use = (uint32_t)head == row.current || (uint32_t)head == row.filling;
        if (!is_in_use || !read_replica(node, group, &loading).is_there)
            world_violation(node->cluster->world, "C10: %s still holds generation %u of group %u",
                            node->id, (uint32_t)head, group);
    }
    enum rc rc = node->disk->ops->iterator_free(&iterator);
    CHECK(rc == RC_OK);
}

void groups_check(struct cluster *c, struct book *book)
{
    for (uint32_t i = 0; i < c->options.routers; i++) {
        struct sim_node *node = cluster_router(c, i);
        if (node->disk != NULL && !node->is_removed) {
            check_leftovers(node, KV_STATE);
            check_leftovers(node, KV_DEDUP);
        }
        for (uint32_t shard = 0; shard < c->options.shards && !node->is_removed; shard++) {
            struct loading loading = {0};
            struct replica replica = read_replica(node, shard, &loading);
            if (!replica.is_there)
                continue;
            const struct book_replica held = {.node = node->id,
                                              .kv = node->disk,
                                              .cluster = c->cluster_id,
                                              .shards = c->options.shards,
                                              .shard = shard,
                                              .generation = replica.generation};
            book_check_replica(book, &held);
        }
    }
}

/* ---- What may be lost ---- */

struct losing {
    uint64_t left[CLUSTER_ROUTERS_MAX]; /* Server ids that are still there then. */
    uint32_t count;
    bool is_too_much;
};

static void judge(void *context, const struct conf *conf)
{
    struct losing *losing = context;
    uint32_t voters = 0;
    uint32_t left = 0;
    for (uint32_t i = 0; i < conf->count; i++) {
        voters += conf->servers[i].is_voter;
        for (uint32_t k = 0; k < losing->count; k++)
            left += conf->servers[i].is_voter && conf->servers[i].id == losing->left[k];
    }
    losing->is_too_much = losing->is_too_much || left <= voters / 2;
}

bool groups_may_lose(struct cluster *c, const struct sim_node *router)
{
    struct losing losing = {0};
    for (uint32_t place = 0; place <= c->options.shards && !losing.is_too_much; place++) {
        losing.count = 0;
        for (uint32_t i = 0; i < c->options.routers; i++) {
            struct loading loading = {0};
            struct replica replica =
                read_replica(cluster_router(c, i), group_of(c, place), &loading);
            if (replica.is_there && i != router->index)
                losing.left[losing.count++] = replica.self;
        }
        for (uint32_t i = 0; i < c->options.routers; i++) {
            struct loading loading = {.on_conf = judge, .context = &losing};
            read_replica(cluster_router(c, i), group_of(c, place), &loading);
        }
    }
    return !losing.is_too_much;
}

uint64_t groups_moves(struct cluster *c)
{
    uint64_t moves = c->moves;
    for (uint32_t i = 0; i < c->options.routers; i++)
        if (cluster_router(c, i)->router != NULL)
            moves += router_health(cluster_router(c, i)->router).moves_done;
    return moves;
}

static void note_replica(struct sim_node *node, uint32_t place)
{
    struct loading loading = {0};
    struct replica replica = read_replica(node, group_of(node->cluster, place), &loading);
    struct router_shard_status status = {.state = "down"};
    if (node->router != NULL)
        router_shard_status(node->router, place, &status);
    if (!replica.is_there && strcmp(status.state, "none") == 0)
        return;
    char text[256] = "";
    size_t size = 0;
    for (uint32_t i = 0; i < replica.conf.count && size < sizeof(text) - 32; i++)
        size += (size_t)snprintf(text + size, sizeof(text) - size, " %04lx%s",
                                 replica.conf.servers[i].id & 0xffff,
                                 replica.conf.servers[i].is_voter ? "" : "~");
    world_note(node->cluster->world,
               "group %u on %s: %s term %lu commit %lu applied %lu, stored %lu; %s %04lx of%s",
               group_of(node->cluster, place), node->id, status.state, status.term,
               status.commit_index, status.applied_index, replica.applied,
               replica.is_there ? "server" : "not in the store", replica.self & 0xffff, text);
}

void groups_note(struct cluster *c)
{
    for (uint32_t place = 0; place <= c->options.shards && c->world->verbose; place++)
        for (uint32_t i = 0; i < c->options.routers; i++)
            note_replica(cluster_router(c, i), place);
}
