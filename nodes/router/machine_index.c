#include "mesh/base/mem.h"
#include "nodes/router/machine_parts.h"

/* An index row put in this turn. */
struct recent {
    struct row_index row;
    struct keyspace_key key;
};

struct slice machine_index_key(const void *thing)
{
    return keyspace_slice(&((const struct recent *)thing)->key);
}

void machine_index_written(struct machine *m)
{
    if (m->index.count == 0)
        return;
    void *thing;
    for (size_t at = 0; (thing = map_next(&m->index, &at)) != NULL;)
        mem_free(thing);
    map_fini(&m->index);
    map_init(&m->index, machine_index_key);
}

/* News travel repeatedly and late: only the seq of the member entry decides. A row that is gone
 * remembers its seq, so that an old `joined` does not bring it back. */
enum rc machine_set_index(struct machine *m, const struct msg_cmd_index *c,
                          struct machine_result *result)
{
    struct keyspace_key key;
    struct row_index row = {0};
    keyspace_names(&key, &m->keys, KEYSPACE_INDEX, c->user, c->conv);
    struct recent *recent = map_get(&m->index, keyspace_slice(&key));
    if (recent != NULL) {
        row = recent->row;
    } else {
        enum rc rc = machine_rows_get(m, &key, &row_index_desc, &row);
        if (rc != RC_OK && rc != RC_NOT_FOUND)
            return rc;
    }
    if (c->seq <= row.seq)
        return RC_OK;
    if (recent == NULL) {
        recent = mem_new(struct recent);
        recent->key = key;
        map_put(&m->index, recent);
    }
    recent->row = (struct row_index){.seq = c->seq, .gone = c->gone != 0, .ts = m->applied.clock};
    machine_rows_put(m, m->batch, &key, &row_index_desc, &recent->row);
    result->seq = c->seq;
    const struct msg_event_user event = {
        .user = c->user,
        .conv = c->conv,
        .gone = recent->row.gone,
        .seq = c->seq,
    };
    const uint64_t numbers[] = {event.seq, event.gone};
    machine_digest_numbers(m, numbers, 2);
    machine_digest_bytes(m, event.user);
    if (m->listener != NULL && m->listener->on_user != NULL)
        m->listener->on_user(m->listener->context, &event);
    return RC_OK;
}
