#include "mesh/base/map.h"

#include "mesh/base/check.h"
#include "mesh/base/crypto.h"
#include "mesh/base/mem.h"

struct map_slot {
    uint64_t hash;
    void *thing; /* NULL: free. */
};

static uint8_t hash_key[16];

void map_seed(const uint8_t key[16])
{
    memcpy(hash_key, key, sizeof(hash_key));
}

uint64_t map_hash(struct slice key)
{
    return crypto_hash64(hash_key, key);
}

void map_init(struct map *m, struct slice (*key_of)(const void *thing))
{
    memset(m, 0, sizeof(*m));
    m->key_of = key_of;
}

void map_fini(struct map *m)
{
    mem_free(m->slots);
    memset(m, 0, sizeof(*m));
}

static void insert(struct map *m, uint64_t hash, void *thing)
{
    size_t at = hash & (m->capacity - 1);
    while (m->slots[at].thing != NULL)
        at = (at + 1) & (m->capacity - 1);
    m->slots[at] = (struct map_slot){.hash = hash, .thing = thing};
}

static void grow(struct map *m)
{
    struct map_slot *old = m->slots;
    size_t old_capacity = m->capacity;
    m->capacity = old_capacity == 0 ? 16 : old_capacity * 2;
    m->slots = mem_zero(m->capacity * sizeof(*m->slots));
    for (size_t i = 0; i < old_capacity; i++)
        if (old[i].thing != NULL)
            insert(m, old[i].hash, old[i].thing);
    mem_free(old);
}

static struct map_slot *find(const struct map *m, struct slice key)
{
    if (m->count == 0)
        return NULL;
    uint64_t hash = map_hash(key);
    for (size_t at = hash & (m->capacity - 1); m->slots[at].thing != NULL;
         at = (at + 1) & (m->capacity - 1))
        if (m->slots[at].hash == hash && slice_equal(m->key_of(m->slots[at].thing), key))
            return &m->slots[at];
    return NULL;
}

void *map_get(const struct map *m, struct slice key)
{
    struct map_slot *slot = find(m, key);
    return slot != NULL ? slot->thing : NULL;
}

void map_put(struct map *m, void *thing)
{
    CHECK(thing != NULL);
    if ((m->count + 1) * 2 > m->capacity)
        grow(m);
    insert(m, map_hash(m->key_of(thing)), thing);
    m->count++;
}

void *map_remove(struct map *m, struct slice key)
{
    struct map_slot *slot = find(m, key);
    if (slot == NULL)
        return NULL;
    void *thing = slot->thing;
    /* Shift back what probed past the hole (Knuth, TAOCP 3, section 6.4, algorithm R). */
    size_t hole = (size_t)(slot - m->slots);
    for (size_t at = (hole + 1) & (m->capacity - 1); m->slots[at].thing != NULL;
         at = (at + 1) & (m->capacity - 1)) {
        size_t home = m->slots[at].hash & (m->capacity - 1);
        if (((at - home) & (m->capacity - 1)) >= ((at - hole) & (m->capacity - 1))) {
            m->slots[hole] = m->slots[at];
            hole = at;
        }
    }
    m->slots[hole].thing = NULL;
    m->count--;
    return thing;
}

void *map_next(const struct map *m, size_t *at)
{
    while (*at < m->capacity) {
        void *thing = m->slots[(*at)++].thing;
        if (thing != NULL)
            return thing;
    }
    return NULL;
}
