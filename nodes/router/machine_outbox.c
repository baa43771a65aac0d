/* machine_outbox - what conversations owe the lists of users.
 *
 * A member entry owes its user's list a row, on another shard. The log itself is the queue: a row
 * says from where to where it holds owed entries, and is there only while it does, so that a
 * million messages with nothing owed are never looked at and a restart finds what is owed by
 * reading these rows alone. */
#include "mesh/base/check.h"
#include "mesh/base/mem.h"
#include "nodes/router/machine_parts.h"

static struct slice owing_key(const void *thing)
{
    return ((const struct machine_owing *)thing)->conv;
}

static struct machine_owing *owing_new(struct machine *m, struct slice conv)
{
    char *bytes = mem_zero(sizeof(struct machine_owing) + conv.size);
    struct machine_owing *owing = (void *)bytes;
    memcpy(bytes + sizeof(*owing), conv.base, conv.size);
    owing->conv = slice_of(bytes + sizeof(*owing), conv.size);
    list_init(&owing->changed_link);
    list_append(&m->owing, &owing->link);
    map_put(&m->owing_map, owing);
    return owing;
}

static void owing_free(struct machine *m, struct machine_owing *owing)
{
    map_remove(&m->owing_map, owing->conv);
    list_remove(&owing->link);
    list_remove(&owing->changed_link);
    mem_free(owing);
}

enum rc machine_outbox_open(struct machine *m)
{
    map_init(&m->owing_map, owing_key);
    list_init(&m->owing);
    list_init(&m->owing_changed);
    struct keyspace_key prefix;
    keyspace_table(&prefix, &m->keys, KEYSPACE_OWED);
    struct kv_iterator *iterator = machine_rows_iterate(m, &prefix, NULL);
    struct slice key;
    struct slice value;
    enum rc rc = RC_OK;
    while (rc == RC_OK && m->kv->ops->next(iterator, &key, &value)) {
        struct slice conv;
        struct row_owed row;
        rc = rows_decode(key, value, &row_owed_desc, &row);
        if (rc == RC_OK && !keyspace_get_name(key, &conv))
            rc = RC_CORRUPT;
        if (rc == RC_OK)
            owing_new(m, conv)->row = row;
    }
    return machine_rows_end(m, &iterator, rc);
}

void machine_outbox_fini(struct machine *m)
{
    LIST_EACH(node, &m->owing)
    owing_free(m, LIST_ENTRY(node, struct machine_owing, link));
    map_fini(&m->owing_map);
}

static void on_changed(struct machine *m, struct machine_owing *owing)
{
    m->unflushed = true;
    if (list_is_empty(&owing->changed_link))
        list_append(&m->owing_changed, &owing->changed_link);
}

void machine_outbox_owe(struct machine *m, struct slice conv, uint64_t seq)
{
    struct machine_owing *owing = map_get(&m->owing_map, conv);
    if (owing == NULL)
        owing = owing_new(m, conv);
    if (owing->settled || owing->row.last == 0)
        owing->row.first = seq;
    owing->row.last = seq;
    owing->settled = false;
    on_changed(m, owing);
}

uint64_t machine_outbox_first(const struct machine *m, struct slice conv)
{
    const struct machine_owing *owing = map_get(&m->owing_map, conv);
    return owing == NULL || owing->settled ? UINT64_MAX : owing->row.first;
}

enum rc machine_outbox_told(struct machine *m, const struct msg_cmd_told *c)
{
    struct machine_owing *owing = map_get(&m->owing_map, c->conv);
    if (owing == NULL || owing->settled || c->seq < owing->row.first)
        return RC_OK;
    machine_digest_numbers(m, &c->seq, 1);
    owing->settled = c->seq >= owing->row.last;
    owing->row.first = c->seq + 1;
    on_changed(m, owing);
    return owing->settled ? machine_drop_rest(m, c->conv) : RC_OK;
}

void machine_outbox_flush(struct machine *m, struct kv_batch *batch)
{
    LIST_EACH(node, &m->owing_changed)
    {
        struct machine_owing *owing = LIST_ENTRY(node, struct machine_owing, changed_link);
        struct keyspace_key key;
        keyspace_name(&key, &m->keys, KEYSPACE_OWED, owing->conv);
        list_remove(&owing->changed_link);
        if (owing->settled) {
            batch->ops->remove(batch, KV_STATE, keyspace_slice(&key));
            owing_free(m, owing);
        } else {
            machine_rows_put(m, batch, &key, &row_owed_desc, &owing->row);
        }
    }
}

/* ---- What the leader reads ---- */

bool machine_owes(const struct machine *m)
{
    return !list_is_empty(&m->owing);
}

#define ROWS_EACH   8u    /* Rows that may be looked at for each that may be found, */
#define BYTES_A_ROW 1024u /* and how large they may be on average. */

/* A look at what is owed. Between two entries that are owed there may be any number of others: a
 * user's shard without a leader stops none of the conversations that he is in. */
struct look {
    uint32_t left; /* To be visited. */
    uint64_t rows_left, bytes_left;
    void (*visit)(void *context, const struct machine_owed *owed);
    void *context;
};

static bool is_exhausted(const struct look *look)
{
    return look->left == 0 || look->rows_left == 0 || look->bytes_left == 0;
}

static struct look begin_look(uint32_t limit,
                              void (*visit)(void *context, const struct machine_owed *owed),
                              void *context)
{
    return (struct look){
        .left = limit,
        .rows_left = (uint64_t)limit * ROWS_EACH,
        .bytes_left = (uint64_t)limit * ROWS_EACH * BYTES_A_ROW,
        .visit = visit,
        .context = context,
    };
}

static void tell(struct look *look, const struct machine_owed *owed)
{
    look->visit(look->context, owed);
    look->left--;
}

static enum rc read_owed(struct slice key, struct slice value, struct machine_owed *ret_owed,
                         bool *ret_is_owed)
{
    struct slice record;
    struct msg_entry entry;
    uint64_t messages;
    enum rc rc = rows_decode_entry(key, value, &messages, &record);
    if (rc != RC_OK)
        return rc;
    struct record_reader r = record_reader_of(record);
    rc = record_decode(&r, &msg_entry_desc, &entry);
    if (rc != RC_OK)
        return rc;
    ret_owed->seq = entry.seq;
    ret_owed->user = entry.user;
    ret_owed->gone = entry.change != MEMBER_ADD;
    *ret_is_owed = entry.type == ENTRY_MEMBER && entry.change != MEMBER_ROLE;
    return RC_OK;
}

/* The owed entries of one conversation; where the look ends among others, how far it came. */
static enum rc look_at(struct machine *m, const struct machine_owing *owing, struct look *look)
{
    struct keyspace_key from;
    struct keyspace_key to;
    keyspace_entry(&from, &m->keys, owing->conv, owing->row.first);
    keyspace_entry(&to, &m->keys, owing->conv, owing->row.last + 1);
    struct kv_iterator *iterator =
        m->kv->ops->iterate(m->kv, KV_STATE, keyspace_slice(&from), keyspace_slice(&to), false);
    struct slice key;
    struct slice value;
    struct machine_owed owed = {.conv = owing->conv};
    bool is_owed = true;
    enum rc rc = RC_OK;
    while (rc == RC_OK && !is_exhausted(look) && m->kv->ops->next(iterator, &key, &value)) {
        look->rows_left--;
        look->bytes_left -= value.size < look->bytes_left ? value.size : look->bytes_left;
        rc = read_owed(key, value, &owed, &is_owed);
        if (rc == RC_OK && is_owed)
            tell(look, &owed);
    }
    if (rc == RC_OK && !is_owed && is_exhausted(look)) {
        owed.user = (struct slice){0};
        tell(look, &owed);
    }
    return machine_rows_end(m, &iterator, rc);
}

/* Each conversation visited goes to the end: one whose users' shards are down does not keep the
 * others waiting. */
static enum rc look_at_all(struct machine *m, struct look *look)
{
    for (size_t left = m->owing_map.count; left > 0 && !is_exhausted(look); left--) {
        struct machine_owing *owing = LIST_FIRST(&m->owing, struct machine_owing, link);
        CHECK(owing != NULL); /* The list and the map hold the same. */
        list_remove(&owing->link);
        list_append(&m->owing, &owing->link);
        enum rc rc = look_at(m, owing, look);
        if (rc != RC_OK)
            return rc;
    }
    return RC_OK;
}

enum rc machine_owed(struct machine *m, uint32_t limit,
                     void (*visit)(void *context, const struct machine_owed *owed), void *context)
{
    struct look look = begin_look(limit, visit, context);
    return look_at_all(m, &look);
}

#define OWED_TO_LOOKED_MAX 8192u
#define OWED_TO_CONVS_MAX  1024u

struct owed_to {
    struct slice user;
    struct buf *convs;
    uint32_t found;
};

static void note_owed_to(void *context, const struct machine_owed *owed)
{
    struct owed_to *to = context;
    if (slice_equal(owed->user, to->user) && ++to->found <= OWED_TO_CONVS_MAX)
        record_put_slice(to->convs, owed->conv);
}

enum rc machine_owed_to(struct machine *m, struct slice user, struct buf *into, bool *ret_is_all)
{
    struct owed_to to = {.user = user, .convs = into};
    struct look look = begin_look(OWED_TO_LOOKED_MAX, note_owed_to, &to);
    enum rc rc = look_at_all(m, &look);
    *ret_is_all = !is_exhausted(&look) && to.found <= OWED_TO_CONVS_MAX;
    return rc;
}
