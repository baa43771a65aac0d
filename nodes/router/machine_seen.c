/* machine_seen - when a user was last online: said by the leader of his shard, for the time when
 * nobody remembers. */
#include "nodes/router/machine_parts.h"

/* Zeroes where there is none. */
static enum rc get_row(struct machine *m, const struct keyspace_key *key, struct row_user *ret_row)
{
    struct slice value;
    *ret_row = (struct row_user){0};
    if (machine_overlay_find(m, key, &value))
        return value.base != NULL ? rows_decode(keyspace_slice(key), value, &row_user_desc, ret_row)
                                  : RC_OK;
    enum rc rc = machine_rows_get(m, key, &row_user_desc, ret_row);
    return rc == RC_NOT_FOUND ? RC_OK : rc;
}

/* News may be repeated or come late, from a leader who was replaced: the time only moves on. */
enum rc machine_see(struct machine *m, const struct msg_cmd_seen *c)
{
    struct keyspace_key key;
    struct row_user row;
    keyspace_name(&key, &m->keys, KEYSPACE_USER, c->user);
    enum rc rc = get_row(m, &key, &row);
    if (rc != RC_OK || (c->erase != 0 ? row.last_seen == 0 : c->ts <= row.last_seen))
        return rc;
    row.last_seen = c->erase != 0 ? 0 : c->ts;
    if (c->erase != 0) {
        machine_overlay_remove(m, &key);
    } else {
        buf_clear(m->write_value);
        rows_encode(m->write_value, keyspace_slice(&key), &row_user_desc, &row);
        machine_overlay_put(m, &key, buf_slice(m->write_value));
    }
    machine_digest_numbers(m, &row.last_seen, 1);
    machine_digest_bytes(m, c->user);
    return RC_OK;
}

enum rc machine_last_seen(struct machine *m, struct slice user, uint64_t *ret_ms)
{
    struct keyspace_key key;
    struct row_user row;
    keyspace_name(&key, &m->keys, KEYSPACE_USER, user);
    enum rc rc = get_row(m, &key, &row);
    *ret_ms = row.last_seen;
    return rc;
}
