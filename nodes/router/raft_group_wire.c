#include <stdio.h>

#include "mesh/base/check.h"
#include "mesh/base/mem.h"
#include "mesh/wire/key.h"
#include "nodes/router/raft_group_private.h"

#define HELD_MAX 1024u /* Messages; those beyond are dropped, as a network may. */

/* ---- Addresses and configurations ---- */

void raft_group_address(char into[RAFT_GROUP_ADDRESS_SIZE], struct slice node, uint64_t id)
{
    snprintf(into, RAFT_GROUP_ADDRESS_SIZE, "%.*s/%lx", SLICE_ARGS(node), (unsigned long)id);
}

struct slice raft_group_node_of(const char *address)
{
    const char *slash = strchr(address, '/');
    return slice_of(address, slash != NULL ? (size_t)(slash - address) : strlen(address));
}

/* One server of an encoded configuration: id64, address with its zero byte, role8. */
static bool read_server(const uint8_t **at, const uint8_t *end)
{
    uint64_t id;
    if ((size_t)(end - *at) < sizeof(id))
        return false;
    memcpy(&id, *at, sizeof(id));
    const char *address = (const char *)*at + sizeof(id);
    size_t left = (size_t)(end - *at) - sizeof(id);
    size_t size = strnlen(address, left < RAFT_GROUP_ADDRESS_SIZE ? left : RAFT_GROUP_ADDRESS_SIZE);
    if (id == 0 || size + 2 > left || size >= RAFT_GROUP_ADDRESS_SIZE)
        return false;
    *at += sizeof(id) + size + 1;
    uint8_t role = *(*at)++;
    return key_node_is_valid(raft_group_node_of(address)) && role <= RAFT_SPARE;
}

/* The core reads 1 byte of version, 64 bits of count and the servers without looking at the size.
 * That it finds no server twice, it says itself. */
bool raft_group_conf_is_valid(struct slice encoded)
{
    uint64_t count;
    const uint8_t *at = (const uint8_t *)encoded.base, *end = at + encoded.size;
    if (encoded.size < 1 + sizeof(count) || *at != 1)
        return false;
    memcpy(&count, at + 1, sizeof(count)); /* Little endian, as the machines we build for are. */
    at += 1 + sizeof(count);
    if (count == 0 || count > LIMIT_SERVERS_MAX)
        return false;
    for (uint64_t i = 0; i < count; i++)
        if (!read_server(&at, end))
            return false;
    struct raft_configuration conf;
    enum rc rc = raft_group_decode_conf(encoded, &conf);
    raft_configuration_close(&conf);
    return rc == RC_OK;
}

/* ---- Out ---- */

/* Term and vote must survive whatever we say in them (figure 3.1), so what is said before they are
 * durable waits. So does what is said after we proposed a configuration: were it to leave us the
 * only voter, and we lost it in a crash, then the other would hold a longer log than ours, refuse
 * us its vote, and not campaign itself, being no voter by what it holds. */
static bool may_speak(const struct raft_group *group)
{
    return !group->hard_changed && group->hard_mark <= group->durable_mark &&
           !group->holds_change && group->change_mark <= group->durable_mark;
}

void raft_group_emit(struct raft_group *group, struct slice to, const struct msg_raft *message)
{
    buf_clear(group->record);
    record_encode(group->record, &msg_raft_desc, message);
    if (may_speak(group) && list_is_empty(&group->held)) {
        group->options.send(group->options.context, to, buf_slice(group->record));
        return;
    }
    uint32_t count = 0;
    LIST_EACH(node, &group->held)
    count++;
    if (count >= HELD_MAX)
        return;
    struct raft_held *held = mem_new(struct raft_held);
    snprintf(held->to, sizeof(held->to), "%.*s", SLICE_ARGS(to));
    held->record = buf_new(group->record->size);
    buf_append_slice(held->record, buf_slice(group->record));
    list_append(&group->held, &held->held);
}

void raft_group_release(struct raft_group *group)
{
    if (!may_speak(group))
        return;
    LIST_EACH(node, &group->held)
    {
        struct raft_held *held = LIST_ENTRY(node, struct raft_held, held);
        list_remove(node);
        group->options.send(group->options.context, slice_string(held->to),
                            buf_slice(held->record));
        buf_unref(&held->record);
        mem_free(held);
    }
}

/* An entry on its way to a follower: from memory, or from the store where it was applied already.
 * RC_CORRUPT, RC_IO: it cannot be read, so it is not sent; the next truncation or start says why.
 */
static enum rc add_entry(struct raft_group *group, uint64_t index, struct buf *into,
                         uint64_t *ret_term, enum raft_log_type *ret_type)
{
    struct msg_raft_entry message;
    struct buf *row = NULL;
    const struct raft_window_entry *held = raft_window_at(&group->window, index);
    enum rc rc = RC_OK;
    if (held != NULL) {
        message = (struct msg_raft_entry){
            .term = held->term, .type = held->type, .data = raft_window_data(held)};
    } else {
        uint8_t bytes[RAFT_LOG_ENTRY_KEY_SIZE];
        struct slice key = raft_log_entry_key(bytes, group->shard, index);
        struct raft_log_entry entry = {0};
        row = buf_new(0);
        rc = group->kv->ops->get(group->kv, KV_LOG, key, row);
        if (rc == RC_OK)
            rc = raft_log_entry_decode(key, buf_slice(row), group->shard, &entry);
        message =
            (struct msg_raft_entry){.term = entry.term, .type = entry.type, .data = entry.data};
    }
    if (rc == RC_OK) {
        record_encode(into, &msg_raft_entry_desc, &message);
        *ret_term = message.term;
        *ret_type = (enum raft_log_type)message.type;
    }
    buf_unref(&row);
    return rc;
}

/* That it hands over is said with the barrier that announces it, or after: who lacks that one could
 * vote for a candidate of an earlier attempt, for whom the leader has not given its lease up. `end`
 * is the index after the last entry. */
static void emit_append(struct raft_group *group, struct slice to, struct msg_raft *message,
                        uint64_t end)
{
    bool is_word = group->handing_to != 0 && end > group->handing_index;
    message->flags = is_word ? RAFT_GROUP_HANDS_OVER : 0;
    raft_group_emit(group, to, message);
}

/* The core says only how many entries; we send them in messages of a bounded size. A configuration
 * is the first of its message: the core takes the index of the first new entry for its own
 * (FACTS: still so upstream). */
static void send_append(struct raft_group *group, struct slice to, struct msg_raft *message,
                        unsigned count)
{
    uint64_t index = message->a + 1, end = index + count;
    enum rc rc = RC_OK;
    buf_clear(group->entries);
    for (; index < end; index++) {
        uint64_t term;
        enum raft_log_type type;
        size_t size = group->entries->size;
        rc = add_entry(group, index, group->entries, &term, &type);
        if (rc != RC_OK)
            break;
        bool is_too_much = group->entries->size > LIMIT_AE_SIZE_MAX || type == RAFT_LOG_CHANGE;
        if (size == 0 || !is_too_much)
            continue;
        message->entries = slice_of(group->entries->bytes, size);
        emit_append(group, to, message, index);
        memmove(group->entries->bytes, group->entries->bytes + size, group->entries->size - size);
        group->entries->size -= size;
        message->a = index - 1;
        rc = raft_group_term_of(group, index - 1, &message->b);
        if (rc != RC_OK)
            break;
    }
    if (rc != RC_OK) { /* Our own log is damaged: whatever is called next says so. */
        group->failed = rc;
        return;
    }
    message->entries = buf_slice(group->entries);
    emit_append(group, to, message, end);
}

static void send_one(struct raft_group *group, uint64_t now_ms, const struct raft_message *m)
{
    if (m->server_id == 0)
        return; /* To a leader that was forgotten since. */
    struct slice to = raft_group_node_of(m->server_address);
    struct msg_raft out = {
        .group = group->shard,
        .to = m->server_id,
        .from = group->self,
        .type = m->type,
        .stamp = now_ms,
    };
    switch (m->type) {
    case RAFT_APPEND_ENTRIES:
        out.term = m->append_entries.term;
        out.a = m->append_entries.prev_log_index;
        out.b = m->append_entries.prev_log_term;
        out.c = m->append_entries.leader_commit;
        send_append(group, to, &out, m->append_entries.n_entries);
        return;
    case RAFT_APPEND_ENTRIES_RESULT:
        out.term = m->append_entries_result.term;
        out.a = m->append_entries_result.rejected;
        out.b = m->append_entries_result.last_log_index;
        out.stamp = group->leader_term == out.term ? group->leader_stamp : 0;
        break;
    case RAFT_REQUEST_VOTE:
        out.term = m->request_vote.term;
        out.a = m->request_vote.last_log_index;
        out.b = m->request_vote.last_log_term;
        out.flags = (m->request_vote.disrupt_leader ? RAFT_GROUP_DISRUPT : 0u) |
                    (m->request_vote.pre_vote ? RAFT_GROUP_PRE_VOTE : 0u);
        break;
    case RAFT_REQUEST_VOTE_RESULT:
        out.term = m->request_vote_result.term;
        out.flags = (m->request_vote_result.vote_granted ? RAFT_GROUP_GRANTED : 0u) |
                    (m->request_vote_result.pre_vote ? RAFT_GROUP_PRE_VOTE : 0u);
        /* G8: the core answers a pre-vote with the term asked for. A candidate with the longest log
         * and an older term than ours would never learn of ours, nor win: for ever. */
        if (out.flags == RAFT_GROUP_PRE_VOTE && out.term < raft_current_term(&group->raft))
            out.term = raft_current_term(&group->raft);
        break;
    case RAFT_INSTALL_SNAPSHOT: { /* Said by raft_group_install() once the state is there. */
        struct raft_group_peer *peer = raft_group_peer(group, m->server_id);
        if (peer != NULL)
            peer->wants_index = m->install_snapshot.last_index;
        return;
    }
    case RAFT_TIMEOUT_NOW:
        out.term = m->timeout_now.term;
        out.a = m->timeout_now.last_log_index;
        out.b = m->timeout_now.last_log_term;
        break;
    default:
        return;
    }
    raft_group_emit(group, to, &out);
}

void raft_group_send_all(struct raft_group *group, uint64_t now_ms,
                         const struct raft_update *update)
{
    for (unsigned i = 0; i < update->messages.n; i++)
        send_one(group, now_ms, &update->messages.batch[i]);
}

enum rc raft_group_send_install(struct raft_group *group, uint64_t now_ms,
                                const struct raft_server *server)
{
    uint8_t key[RAFT_LOG_META_KEY_SIZE];
    struct raft_log_snapshot snapshot;
    struct buf *row = buf_new(0);
    enum rc rc =
        group->kv->ops->get(group->kv, KV_META, raft_log_snapshot_key(key, group->shard), row);
    if (rc == RC_OK)
        rc = raft_log_snapshot_decode(buf_slice(row), group->shard, &snapshot);
    if (rc == RC_OK) {
        const struct msg_raft out = {
            .group = group->shard,
            .to = server->id,
            .from = group->self,
            .type = RAFT_INSTALL_SNAPSHOT,
            .term = raft_current_term(&group->raft),
            .a = snapshot.index,
            .b = snapshot.term,
            .c = snapshot.conf_index,
            .stamp = now_ms,
            .conf = snapshot.conf,
        };
        raft_group_emit(group, raft_group_node_of(server->address), &out);
    }
    buf_unref(&row);
    return rc;
}
