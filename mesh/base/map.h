/* map - from bytes to a thing, by open addressing.
 *
 * Keys are hashed with SipHash under a key drawn at start, so that no client can choose ids that
 * collide (CWE-407). The map stores pointers to things that carry their own key: nothing is copied,
 * and the thing must leave the map before its key changes or dies. Linear probing, load at most
 * 1/2, deletion shifts back: no tombstones. Iteration order is by slot and not stable across
 * growth. */
#ifndef MESH_BASE_MAP_H
#define MESH_BASE_MAP_H

#include <stddef.h>
#include <stdint.h>

#include "mesh/base/slice.h"

struct map {
    struct map_slot *slots;
    size_t capacity; /* A power of two, or 0. */
    size_t count;
    struct slice (*key_of)(const void *thing); /* Where a thing keeps its key. */
};

void map_init(struct map *m, struct slice (*key_of)(const void *thing));
void map_fini(struct map *m); /* Frees the table, not the things. */

void *map_get(const struct map *m, struct slice key); /* NULL where there is none. */
void map_put(struct map *m, void *thing);             /* Its key must not be in the map. */
void *map_remove(struct map *m, struct slice key);    /* What was there, or NULL. */

/* Walk all things: `size_t at = 0; while ((x = map_next(&m, &at)) != NULL)`. No puts or removes on
 * the way. */
void *map_next(const struct map *m, size_t *at);

/* Seed the process-wide hash key: at start, before the first map. The simulator passes its seed. */
void map_seed(const uint8_t key[16]);

/* The hash that maps use, for tables of other shapes. */
uint64_t map_hash(struct slice key);

#endif
