/* machine_overlay - values put in this turn, which the store has only at its end.
 *
 * A message may be edited or reacted to in the turn in which it is sent, and by several. So entries
 * that are appended are kept for the turn, found by position (machine_log.c), and rows that are
 * written over are kept here, found by key. Both are bytes in one buffer: a turn that only appends
 * costs a copy of each entry and no lookup. */
#include "mesh/base/mem.h"
#include "nodes/router/machine_parts.h"

#define VALUES_KEPT_MAX 1048576u /* A larger buffer is given back at the end of the turn. */

struct overlay_row {
    struct keyspace_key key;
    bool is_removed;
    struct machine_value value;
};

static struct slice row_key(const void *thing)
{
    return keyspace_slice(&((const struct overlay_row *)thing)->key);
}

void machine_overlay_init(struct machine *m)
{
    map_init(&m->overlay.rows, row_key);
    m->overlay.values = buf_new(1024);
}

static void free_rows(struct machine *m)
{
    void *row;
    for (size_t at = 0; (row = map_next(&m->overlay.rows, &at)) != NULL;)
        mem_free(row);
    map_fini(&m->overlay.rows);
}

void machine_overlay_fini(struct machine *m)
{
    free_rows(m);
    buf_unref(&m->overlay.values);
}

void machine_overlay_written(struct machine *m)
{
    if (m->overlay.values->capacity > VALUES_KEPT_MAX) {
        buf_unref(&m->overlay.values);
        m->overlay.values = buf_new(1024);
    }
    buf_clear(m->overlay.values);
    if (m->overlay.rows.count == 0)
        return;
    free_rows(m);
    map_init(&m->overlay.rows, row_key);
}

struct machine_value machine_overlay_keep(struct machine *m, struct slice value)
{
    const struct machine_value kept = {.at = m->overlay.values->size, .size = value.size};
    buf_append_slice(m->overlay.values, value);
    return kept;
}

struct slice machine_overlay_kept(const struct machine *m, struct machine_value value)
{
    return slice_of(m->overlay.values->bytes + value.at, value.size);
}

static struct overlay_row *get_row(struct machine *m, const struct keyspace_key *key)
{
    struct overlay_row *row = map_get(&m->overlay.rows, keyspace_slice(key));
    if (row == NULL) {
        row = mem_new(struct overlay_row);
        row->key = *key;
        map_put(&m->overlay.rows, row);
    }
    return row;
}

void machine_overlay_put(struct machine *m, const struct keyspace_key *key, struct slice value)
{
    struct overlay_row *row = get_row(m, key);
    row->is_removed = false;
    row->value = machine_overlay_keep(m, value);
    kv_put(m->batch, keyspace_family(key), keyspace_slice(key), value);
    m->unflushed = true;
}

void machine_overlay_remove(struct machine *m, const struct keyspace_key *key)
{
    get_row(m, key)->is_removed = true;
    m->batch->ops->remove(m->batch, keyspace_family(key), keyspace_slice(key));
    m->unflushed = true;
}

bool machine_overlay_find(const struct machine *m, const struct keyspace_key *key,
                          struct slice *ret_value)
{
    const struct overlay_row *row = map_get(&m->overlay.rows, keyspace_slice(key));
    if (row == NULL)
        return false;
    *ret_value = row->is_removed ? (struct slice){0} : machine_overlay_kept(m, row->value);
    return true;
}
