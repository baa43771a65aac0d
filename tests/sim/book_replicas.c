/* What replicas hold, against what is so. */
#include "mesh/base/buf.h"
#include "mesh/base/check.h"
#include "mesh/base/mem.h"
#include "mesh/wire/key.h"
#include "storage/keyspace.h"
#include "storage/rows.h"
#include "tests/sim/book.h"

static struct book_group *get_group(struct book *b, uint32_t id)
{
    struct book_group *group = map_get(&b->groups, slice_of(&id, sizeof(id)));
    if (group == NULL) {
        group = mem_new(struct book_group);
        group->id = id;
        map_put(&b->groups, group);
    }
    return group;
}

static void make_room(struct book_group *g, uint64_t index)
{
    if (index < g->capacity)
        return;
    uint64_t capacity = g->capacity == 0 ? 256 : g->capacity;
    while (capacity <= index)
        capacity *= 2;
    g->digests = mem_resize(g->digests, capacity * sizeof(*g->digests));
    memset(g->digests + g->capacity, 0, (capacity - g->capacity) * sizeof(*g->digests));
    g->capacity = capacity;
}

/* C10: at equal index all replicas, in all their lives, are in the same state. */
bool book_applied(void *book, const char *node, uint32_t group, uint64_t index, uint64_t digest)
{
    struct book *b = book;
    struct book_group *g = get_group(b, group);
    uint64_t told = map_hash(slice_of(&digest, sizeof(digest))) | 1;
    make_room(g, index);
    if (g->digests[index] != 0 && g->digests[index] != told)
        world_violation(b->world, "C10: group %u at %lu is in another state on %s", group, index,
                        node);
    g->digests[index] = told;
    bool is_newest = index > g->newest;
    if (is_newest)
        g->newest = index;
    return is_newest;
}

static void check_log(struct book *b, const struct book_conv *c, const struct book_replica *replica)
{
    const struct keyspace space = {.shard = replica->shard, .generation = replica->generation};
    struct buf *value = buf_new(256);
    for (uint64_t seq = 1; seq <= c->head + 1; seq++) {
        struct keyspace_key key;
        struct slice record = {0};
        uint64_t messages;
        keyspace_entry(&key, &space, slice_string(c->id), seq);
        buf_clear(value);
        enum rc rc = replica->kv->ops->get(replica->kv, KV_STATE, keyspace_slice(&key), value);
        if (seq > c->head && rc != RC_NOT_FOUND)
            world_violation(b->world, "C5: %s holds %s %lu, which nobody applied", replica->node,
                            c->id, seq);
        if (seq > c->head)
            break;
        if (seq <= c->trimmed && rc == RC_NOT_FOUND)
            continue;
        if (seq <= c->trimmed)
            world_violation(b->world, "C14: %s still holds %s %lu, trimmed is %lu", replica->node,
                            c->id, seq, c->trimmed);
        if (rc != RC_OK ||
            rows_decode_entry(keyspace_slice(&key), buf_slice(value), &messages, &record) !=
                RC_OK ||
            !book_entry_is(&c->entries[seq], record))
            world_violation(b->world, "C1: %s lost %s %lu of %lu", replica->node, c->id, seq,
                            c->head);
    }
    buf_unref(&value);
}

/* The user of a member's row, a cursor or a device: he has come since the end. */
static bool is_of_now(const struct book_conv *c, struct slice key)
{
    struct slice user;
    const struct book_member *member =
        keyspace_get_second_name(key, &user) ? map_get(&c->members, user) : NULL;
    return member != NULL && member->joined > c->ended;
}

static void check_rows(struct book *b, const struct book_conv *c,
                       const struct book_replica *replica, const struct keyspace_key *from,
                       const struct keyspace_key *to, bool is_of_user)
{
    struct slice key;
    struct slice value;
    struct kv_iterator *rows = replica->kv->ops->iterate(
        replica->kv, KV_STATE, keyspace_slice(from), keyspace_slice(to), false);
    while (replica->kv->ops->next(rows, &key, &value))
        if (!is_of_user || !is_of_now(c, key))
            world_violation(b->world, "C16: %s holds a row '%c' of %s, which was ended at %lu",
                            replica->node, key.base[KEYSPACE_HEADER_SIZE - 1], c->id, c->ended);
    enum rc rc = replica->kv->ops->iterator_free(&rows);
    CHECK(rc == RC_OK);
}

/* Of what was ended a replica holds its id and its last seq, and of what began again what is new.
 */
static void check_end(struct book *b, const struct book_conv *c, const struct book_replica *replica)
{
    static const enum keyspace_table tables[] = {KEYSPACE_MEMBER, KEYSPACE_CURSOR, KEYSPACE_DEVICE,
                                                 KEYSPACE_OWED, KEYSPACE_RETAIN};
    const struct keyspace space = {.shard = replica->shard, .generation = replica->generation};
    struct keyspace_key from;
    struct keyspace_key to;
    for (size_t i = 0; c->ended != 0 && i < sizeof(tables) / sizeof(tables[0]); i++) {
        keyspace_name(&from, &space, tables[i], slice_string(c->id));
        to = from;
        keyspace_to_end(&to);
        bool is_of_user = tables[i] != KEYSPACE_OWED && tables[i] != KEYSPACE_RETAIN;
        if (is_of_user || c->head == c->ended)
            check_rows(b, c, replica, &from, &to, is_of_user);
    }
    keyspace_reactions(&from, &space, slice_string(c->id), 0);
    keyspace_reactions(&to, &space, slice_string(c->id), c->ended + 1);
    check_rows(b, c, replica, &from, &to, false);
}

void book_check_replica(struct book *b, const struct book_replica *replica)
{
    size_t at = 0;
    for (struct book_conv *c; (c = map_next(&b->convs, &at)) != NULL;)
        if (key_conv_shard(replica->cluster, replica->shards, slice_string(c->id)) ==
            replica->shard) {
            check_log(b, c, replica);
            check_end(b, c, replica);
        }
}
