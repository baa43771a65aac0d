#include "nodes/router/machine_parts.h"

enum rc machine_rows_get(struct machine *m, const struct keyspace_key *key,
                         const struct record_desc *desc, void *row)
{
    buf_clear(m->read_value);
    enum rc rc = m->kv->ops->get(m->kv, keyspace_family(key), keyspace_slice(key), m->read_value);
    if (rc != RC_OK)
        return rc;
    return rows_decode(keyspace_slice(key), buf_slice(m->read_value), desc, row);
}

void machine_rows_put(struct machine *m, struct kv_batch *batch, const struct keyspace_key *key,
                      const struct record_desc *desc, const void *row)
{
    buf_clear(m->write_value);
    rows_encode(m->write_value, keyspace_slice(key), desc, row);
    kv_put(batch, keyspace_family(key), keyspace_slice(key), buf_slice(m->write_value));
}

struct kv_iterator *machine_rows_iterate(struct machine *m, const struct keyspace_key *prefix,
                                         const struct keyspace_key *after)
{
    struct keyspace_key from = after != NULL ? *after : *prefix;
    struct keyspace_key to = *prefix;
    if (after != NULL)
        keyspace_to_next(&from);
    keyspace_to_end(&to);
    return m->kv->ops->iterate(m->kv, KV_STATE, keyspace_slice(&from), keyspace_slice(&to), false);
}

struct kv_iterator *machine_rows_after(struct machine *m, enum keyspace_table table,
                                       struct slice of, struct slice after)
{
    struct keyspace_key prefix;
    struct keyspace_key key;
    keyspace_name(&prefix, &m->keys, table, of);
    if (after.size == 0)
        return machine_rows_iterate(m, &prefix, NULL);
    keyspace_names(&key, &m->keys, table, of, after);
    return machine_rows_iterate(m, &prefix, &key);
}

enum rc machine_rows_end(struct machine *m, struct kv_iterator **iterator, enum rc rc)
{
    enum rc end = m->kv->ops->iterator_free(iterator);
    return rc != RC_OK ? rc : end;
}
