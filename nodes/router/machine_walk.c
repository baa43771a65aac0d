/* machine_walk - the members of a conversation, each with his cursor, in the order of their names.
 *
 * Both tables lie in that order, and not every member has a cursor: two iterators in step, and no
 * look-up. For reads, between turns. */
#include "nodes/router/machine_parts.h"

static bool is_before(struct slice a, struct slice b)
{
    int order = memcmp(a.base, b.base, a.size < b.size ? a.size : b.size);
    return order < 0 || (order == 0 && a.size < b.size);
}

static enum rc next_cursor(struct machine *m, struct machine_walk *walk)
{
    walk->has_cursor = m->kv->ops->next(walk->cursors, &walk->cursor_key, &walk->cursor_value);
    if (walk->has_cursor && !keyspace_get_second_name(walk->cursor_key, &walk->cursor_user))
        return RC_CORRUPT;
    return RC_OK;
}

enum rc machine_walk_begin(struct machine *m, struct slice conv, struct slice after,
                           struct machine_walk *walk)
{
    walk->members = machine_rows_after(m, KEYSPACE_MEMBER, conv, after);
    walk->cursors = machine_rows_after(m, KEYSPACE_CURSOR, conv, after);
    return next_cursor(m, walk);
}

/* Zeroes where he has none. */
static enum rc cursor_of(struct machine *m, struct machine_walk *walk, struct slice user,
                         struct row_cursor *ret_cursor)
{
    enum rc rc = RC_OK;
    *ret_cursor = (struct row_cursor){0};
    while (rc == RC_OK && walk->has_cursor && is_before(walk->cursor_user, user))
        rc = next_cursor(m, walk);
    if (rc != RC_OK || !walk->has_cursor || !slice_equal(walk->cursor_user, user))
        return rc;
    return rows_decode(walk->cursor_key, walk->cursor_value, &row_cursor_desc, ret_cursor);
}

enum rc machine_walk_next(struct machine *m, struct machine_walk *walk, struct slice *ret_user,
                          struct row_member *ret_row, struct row_cursor *ret_cursor)
{
    struct slice key;
    struct slice value;
    if (!m->kv->ops->next(walk->members, &key, &value))
        return RC_NOT_FOUND;
    if (!keyspace_get_second_name(key, ret_user))
        return RC_CORRUPT;
    enum rc rc = rows_decode(key, value, &row_member_desc, ret_row);
    return rc == RC_OK ? cursor_of(m, walk, *ret_user, ret_cursor) : rc;
}

enum rc machine_walk_end(struct machine *m, struct machine_walk *walk, enum rc rc)
{
    rc = machine_rows_end(m, &walk->members, rc != RC_NOT_FOUND ? rc : RC_OK);
    return machine_rows_end(m, &walk->cursors, rc);
}
