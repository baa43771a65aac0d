/* machine_drop - the operator ends a conversation.
 *
 * From the first command on it is not there any more, for anyone. Its members are removed some a
 * command, in byte order, by entries, for their lists have to be told; then all its rows go, but
 * for the entries that are still owed, which go when they were told, and two rows that keep its id
 * from being used again: seqs of another history would deceive who still has it. A direct one may
 * begin again, after its last seq; what it still owes then goes in the same way (row_conv.begun).
 */
#include <stdlib.h>

#include "mesh/base/check.h"
#include "mesh/base/mem.h"
#include "nodes/router/machine_parts.h"

enum dropped {
    DROPPED_BEGUN = 1,
    DROPPED_EMPTY = 2,
};

/* ---- The next members, in the store or in memory ---- */

struct names {
    struct buf *bytes; /* Of names from the store. */
    struct slice *items;
    uint32_t count;
};

static int compare_items(const void *a, const void *b)
{
    return slice_compare(*(const struct slice *)a, *(const struct slice *)b);
}

/* Those in memory are newer than their rows; how many there are depends on the replica, so they are
 * only a source of names. */
static void gather_cached(const struct machine_conv *conv, struct slice after, struct names *names)
{
    const struct machine_member *member;
    for (size_t at = 0; (member = map_next(&conv->members, &at)) != NULL;)
        if (machine_is_current(member) && slice_compare(member->user, after) > 0)
            names->items[names->count++] = member->user;
}

static enum rc gather_stored(struct machine *m, const struct machine_conv *conv, struct slice after,
                             struct names *names)
{
    struct keyspace_key prefix;
    struct keyspace_key last;
    keyspace_name(&prefix, &m->keys, KEYSPACE_MEMBER, conv->id);
    keyspace_names(&last, &m->keys, KEYSPACE_MEMBER, conv->id, after);
    struct kv_iterator *iterator = machine_rows_iterate(m, &prefix, after.size > 0 ? &last : NULL);
    struct slice key;
    struct slice value;
    enum rc rc = RC_OK;
    for (uint32_t left = m->drop_members_max;
         left > 0 && m->kv->ops->next(iterator, &key, &value);) {
        struct slice user;
        struct row_member row;
        rc = rows_decode(key, value, &row_member_desc, &row);
        if (rc == RC_OK && !keyspace_get_second_name(key, &user))
            rc = RC_CORRUPT;
        if (rc != RC_OK)
            break;
        if (row.left != 0 || map_get(&conv->members, user) != NULL)
            continue;
        names->items[names->count++] =
            slice_of(names->bytes->bytes + names->bytes->size, user.size);
        buf_append_slice(names->bytes, user);
        left--;
    }
    return machine_rows_end(m, &iterator, rc);
}

/* ---- The command ---- */

static void begin(struct machine *m, struct machine_conv *conv)
{
    const struct row_conv info = {
        .kind = conv->info.kind,
        .created = conv->info.created,
        .dropped = DROPPED_BEGUN,
    };
    machine_cache_set_info(m, conv, &info);
    machine_retain(m, conv->id, &info);
    machine_digest_numbers(m, &info.dropped, 1);
}

static enum rc remove_some(struct machine *m, struct machine_conv *conv, struct names *names)
{
    qsort(names->items, names->count, sizeof(*names->items), compare_items);
    if (names->count > m->drop_members_max)
        names->count = m->drop_members_max;
    for (uint32_t i = 0; i < names->count; i++) {
        struct machine_member *member;
        enum rc rc = machine_cache_member(m, conv, names->items[i], &member);
        if (rc != RC_OK)
            return rc;
        CHECK(machine_is_current(member)); /* As it was gathered. */
        machine_part(m, conv, machine_author((struct slice){0}), member, MEMBER_REMOVE);
    }
    struct row_conv info = conv->info;
    if (names->count > 0)
        info.dropped_to = names->items[names->count - 1];
    machine_cache_set_info(m, conv, &info);
    return RC_OK;
}

static enum rc remove_members(struct machine *m, struct machine_conv *conv)
{
    struct slice after = machine_author(conv->info.dropped_to);
    struct names names = {
        .bytes = buf_new(m->drop_members_max * (LIMIT_USER_SIZE_MAX + 1)), /* It must not move. */
        .items = mem_alloc((conv->members.count + m->drop_members_max) * sizeof(*names.items)),
    };
    gather_cached(conv, after, &names);
    enum rc rc = gather_stored(m, conv, after, &names);
    if (rc == RC_OK)
        rc = remove_some(m, conv, &names);
    mem_free(names.items);
    buf_unref(&names.bytes);
    return rc;
}

/* Up to `last`, but for what is owed. */
static enum rc remove_entries(struct machine *m, struct machine_conv *conv, uint64_t last)
{
    uint64_t owed = machine_outbox_first(m, conv->id);
    uint64_t upto = last < owed ? last : owed - 1;
    return upto > conv->head.trimmed ? machine_trim_to(m, conv, upto) : RC_OK;
}

static enum rc finish(struct machine *m, struct machine_conv *conv)
{
    struct row_conv info = conv->info;
    info.dropped = DROPPED_EMPTY;
    info.dropped_to = (struct slice){0};
    machine_cache_set_info(m, conv, &info);
    machine_cache_forget_members(m, conv);
    machine_digest_numbers(m, &info.dropped, 1);
    return remove_entries(m, conv, conv->head.seq);
}

enum rc machine_drop(struct machine *m, const struct msg_cmd_drop *c, struct machine_result *result)
{
    struct machine_conv *conv;
    enum rc rc = machine_cache_any_conv(m, c->conv, &conv);
    if (rc != RC_OK)
        return rc;
    if (conv == NULL)
        return machine_refuse(result, RC_NOT_FOUND, "there is no such conversation");
    if (conv->info.dropped == DROPPED_EMPTY)
        return RC_OK;
    if (conv->info.dropped == 0)
        begin(m, conv);
    rc = remove_members(m, conv);
    if (rc != RC_OK)
        return rc;
    if (conv->head.members == 0)
        return finish(m, conv);
    result->seq = conv->head.seq;
    result->ts = conv->head.last_ts;
    return RC_OK;
}

bool machine_drop_is_over(const struct machine_conv *conv)
{
    return conv->info.dropped == DROPPED_EMPTY;
}

enum rc machine_drop_rest(struct machine *m, struct slice id)
{
    struct machine_conv *conv;
    enum rc rc = machine_cache_any_conv(m, id, &conv);
    if (rc != RC_OK || conv == NULL)
        return rc;
    if (conv->info.dropped == DROPPED_EMPTY)
        return remove_entries(m, conv, conv->head.seq);
    return conv->info.begun != 0 ? remove_entries(m, conv, conv->info.begun - 1) : RC_OK;
}
