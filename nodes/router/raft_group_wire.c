#include <stdio.h>

#include "mesh/base/check.h"
#include "mesh/base/mem.h"
#include "mesh/wire/key.h"
#include "nodes/router/raft_group_private.h"

/* Versions that libraft 0.22.1 gives its messages, and the one feature it knows. */
#define VOTE_VERSION          2
#define APPEND_RESULT_VERSION 2

#define HELD_MAX 1024u /* Messages; those beyond are dropped, as a network may. */

/* No group gets there by elections; beyond, a term could not rise any more. */
#define TERM_MAX (UINT64_MAX >> 1)

/* How soon after the usual delay a TimeoutNow must come to count: an older one was given up. */
#define TIMEOUT_NOW_MS 200

/* flags of msg_raft, by type. */
enum {
    FLAG_DISRUPT = 1,    /* request vote: the leader told it to. */
    FLAG_PRE_VOTE = 2,   /* request vote and its result. */
    FLAG_GRANTED = 1,    /* vote result. */
    FLAG_HANDS_OVER = 1, /* append entries: the leader is handing over. */
};

/*   type                   a                b              c
 *   append entries         prev_log_index   prev_log_term  leader_commit
 *   append entries result  rejected         last_log_index
 *   request vote           last_log_index   last_log_term
 *   vote result
 *   install snapshot       last_index       last_term      conf_index
 *   timeout now            last_log_index   last_log_term */

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

static void emit(struct raft_group *group, struct slice to, const struct msg_raft *message)
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
    message->flags = is_word ? FLAG_HANDS_OVER : 0;
    emit(group, to, message);
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
        out.flags = (m->request_vote.disrupt_leader ? FLAG_DISRUPT : 0u) |
                    (m->request_vote.pre_vote ? FLAG_PRE_VOTE : 0u);
        break;
    case RAFT_REQUEST_VOTE_RESULT:
        out.term = m->request_vote_result.term;
        out.flags = (m->request_vote_result.vote_granted ? FLAG_GRANTED : 0u) |
                    (m->request_vote_result.pre_vote ? FLAG_PRE_VOTE : 0u);
        /* G8: the core answers a pre-vote with the term asked for. A candidate with the longest log
         * and an older term than ours would never learn of ours, nor win: for ever. */
        if (out.flags == FLAG_PRE_VOTE && out.term < raft_current_term(&group->raft))
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
    emit(group, to, &out);
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
        emit(group, raft_group_node_of(server->address), &out);
    }
    buf_unref(&row);
    return rc;
}

/* ---- In ---- */

/* A message of a leader: remember when it was sent, and how long it was under way at least. */
static void note_leader(struct raft_group *group, uint64_t now_ms, const struct msg_raft *m)
{
    if (m->term < raft_current_term(&group->raft))
        return;
    int64_t offset = (int64_t)(now_ms - m->stamp);
    group->leader_heard_ms = now_ms;
    if (group->leader_term != m->term) {
        group->leader_term = m->term;
        group->leader_stamp = 0;
        group->leader_offset = offset;
    }
    if (m->stamp > group->leader_stamp)
        group->leader_stamp = m->stamp;
    if (offset < group->leader_offset)
        group->leader_offset = offset;
}

/* Take the entries apart into an array for the core, all in one batch, as it wants them. Terms must
 * not fall, nor exceed the message's. RC_BAD_REQUEST. */
static enum rc read_entries(const struct msg_raft *m, struct raft_entry **ret_entries,
                            unsigned *ret_count)
{
    struct record_reader r = record_reader_of(m->entries);
    unsigned count = 0, capacity = 0;
    struct raft_entry *entries = NULL;
    char *batch = m->entries.size > 0 ? raft_malloc(m->entries.size) : NULL;
    char *at = batch;
    uint64_t term = m->b;
    bool is_good = m->entries.size == 0 || batch != NULL;
    while (is_good && !record_reader_at_end(&r)) {
        struct msg_raft_entry e;
        is_good = record_decode(&r, &msg_raft_entry_desc, &e) == RC_OK && e.term >= term &&
                  e.term > 0 && e.term <= m->term && e.type >= RAFT_LOG_COMMAND &&
                  e.type <= RAFT_LOG_CHANGE && e.data.size > 0 &&
                  (e.type != RAFT_LOG_CHANGE || (raft_group_conf_is_valid(e.data) && count == 0)) &&
                  (e.type == RAFT_LOG_CHANGE || count > 0 || m->a > 0); /* The first of all. */
        if (!is_good)
            break;
        if (count == capacity) {
            capacity = 2 * capacity + 4;
            entries = mem_resize(entries, capacity * sizeof(*entries));
        }
        memcpy(at, e.data.base, e.data.size);
        entries[count++] = (struct raft_entry){
            .term = e.term,
            .type = (enum raft_entry_type)e.type,
            .buf = {.base = at, .len = e.data.size},
            .batch = batch,
        };
        at += e.data.size;
        term = e.term;
    }
    if (!is_good || count == 0) {
        raft_free(batch);
        mem_free(entries);
        entries = NULL;
    }
    *ret_entries = entries;
    *ret_count = is_good ? count : 0;
    return is_good ? RC_OK : RC_BAD_REQUEST;
}

/* The last entry that is known to be committed. After a restart the core knows less than what was
 * applied. */
static uint64_t known_committed(const struct raft_group *group, uint64_t *ret_term)
{
    uint64_t commit = raft_commit_index(&group->raft);
    const struct raft_window_entry *held = raft_window_at(&group->window, commit);
    *ret_term = held != NULL ? held->term : group->applied_term;
    return held != NULL ? commit : group->window.applied;
}

/* G9: entries that come again after they were dropped from the log would run into a hole in the
 * core's memory of terms, and it dies; and it would refuse what follows them, for ever. What is
 * committed here every leader has, so the message is taken as if it began after that. False: it
 * says otherwise than what is committed, of which the core would die too. */
static bool skip_committed(struct raft_group *group, struct raft_append_entries *append,
                           unsigned *ret_skipped)
{
    unsigned skip = 0;
    uint64_t term, known = known_committed(group, &term);
    while (skip < append->n_entries && append->prev_log_index < known) {
        append->prev_log_index++;
        append->prev_log_term = append->entries[skip++].term;
    }
    *ret_skipped = skip;
    if (skip > 0) /* None are at NULL. */
        append->entries += skip;
    append->n_entries -= skip;
    if (append->prev_log_index == known)
        return append->prev_log_term == term;
    if (append->prev_log_index < known) {
        append->prev_log_index = known;
        append->prev_log_term = term;
    }
    return true;
}

/* A leader proposes a configuration only when the one before is committed, and the core remembers
 * one that is not. Should a second come before we applied the first, then the first is committed,
 * provided that it is the leader's too; untold, the core would forget it, and go back to an older
 * one still, or to none, should the second be replaced. */
static enum rc confirm_before_next(struct raft_group *group, uint64_t now_ms,
                                   const struct raft_append_entries *append)
{
    uint64_t index = group->raft.configuration_uncommitted_index, term;
    if (append->n_entries == 0 || append->entries[0].type != RAFT_CHANGE || index == 0 ||
        append->prev_log_index < index || append->term < raft_current_term(&group->raft) ||
        append->prev_log_index > raft_group_last_index(group) ||
        raft_group_term_of(group, append->prev_log_index, &term) != RC_OK ||
        term != append->prev_log_term)
        return RC_OK;
    return raft_group_confirm_conf(group, now_ms);
}

/* Whether the leader hands over: its newest word counts, not one that was overtaken, and only where
 * all that came before it is in our log too. */
static void note_handing(struct raft_group *group, const struct msg_raft *m, uint64_t last)
{
    if (group->raft.state != RAFT_FOLLOWER || m->term != raft_current_term(&group->raft) ||
        m->stamp < group->leader_stamp)
        return;
    group->leader_hands_over =
        (m->flags & FLAG_HANDS_OVER) != 0 && group->raft.follower_state.match >= last;
}

static enum rc receive_append(struct raft_group *group, uint64_t now_ms,
                              struct raft_message *message, const struct msg_raft *m)
{
    struct raft_append_entries *append = &message->append_entries;
    struct raft_entry *entries;
    unsigned count, skipped;
    if ((m->a == 0) != (m->b == 0) || m->b > m->term)
        return RC_BAD_REQUEST;
    enum rc rc = read_entries(m, &entries, &count);
    if (rc != RC_OK)
        return rc;
    *append = (struct raft_append_entries){
        .term = m->term,
        .prev_log_index = m->a,
        .prev_log_term = m->b,
        .leader_commit = m->c,
        .entries = entries,
        .n_entries = count,
    };
    bool is_fitting = skip_committed(group, append, &skipped);
    if (count > 0 && (append->n_entries == 0 || !is_fitting))
        raft_free(entries[0].batch); /* None is left to bear it to the core. */
    if (!is_fitting) {
        mem_free(entries);
        return RC_BAD_REQUEST;
    }
    note_leader(group, now_ms, m);
    uint64_t last = append->prev_log_index + append->n_entries;
    rc = confirm_before_next(group, now_ms, append);
    struct raft_event event = {.type = RAFT_RECEIVE, .receive.message = message};
    if (rc == RC_OK)
        rc = raft_group_step_and_follow(group, now_ms, &event);
    mem_free(entries);
    note_handing(group, m, last);
    return rc;
}

/* A voter that answered a leader has promised it the election timeout (section 6.4.1): it does not
 * help another meanwhile, not even after a restart. Where the leader hands over, it said so first.
 */
static bool may_vote(const struct raft_group *group, uint64_t now_ms, const struct msg_raft *m)
{
    bool is_handed = raft_group_is_leader(group) ? group->is_asked && group->handing_to == m->from
                                                 : group->leader_hands_over;
    if ((m->flags & FLAG_DISRUPT) != 0 && is_handed)
        return true;
    if (group->is_restarted && now_ms < group->opened_ms + group->options.election_ms)
        return false;
    bool has_leader =
        raft_group_is_leader(group) ||
        (group->raft.state == RAFT_FOLLOWER && group->raft.follower_state.current_leader.id != 0);
    return (m->flags & FLAG_DISRUPT) == 0 || !has_leader;
}

/* A server votes whatever its own configuration says of it: the candidate counts by his (thesis,
 * section 4.1: RPCs are answered without consulting it). The core refuses as long as it has not
 * stored its own promotion; where the only other voter is the candidate that has, nobody would ever
 * lead again. So for the length of this step it takes itself for a voter. */
static enum rc step_vote(struct raft_group *group, uint64_t now_ms, struct raft_event *event)
{
    struct raft_server *us = NULL;
    int role = 0;
    /* One that is no voter never campaigns, and so never forgets a leader that fell silent. */
    if (group->raft.state == RAFT_FOLLOWER &&
        now_ms >= group->leader_heard_ms + group->options.election_ms)
        group->raft.follower_state.current_leader.id = 0;
    for (unsigned i = 0; i < group->raft.configuration.n; i++)
        if (group->raft.configuration.servers[i].id == group->self)
            us = &group->raft.configuration.servers[i];
    if (us != NULL) {
        role = us->role;
        us->role = RAFT_VOTER;
    }
    enum rc rc = raft_group_step_and_follow(group, now_ms, event);
    if (us != NULL)
        us->role = role;
    return rc;
}

static bool is_too_late(const struct raft_group *group, uint64_t now_ms, const struct msg_raft *m)
{
    return group->leader_term != m->term ||
           (int64_t)(now_ms - m->stamp) > group->leader_offset + TIMEOUT_NOW_MS;
}

/* What is committed here is the beginning of every leader's state. */
static bool is_contradicted(struct raft_group *group, const struct msg_raft *m)
{
    uint64_t term;
    return m->a >= group->kept_from && m->a <= known_committed(group, &term) &&
           (raft_group_term_of(group, m->a, &term) != RC_OK || term != m->b);
}

static enum rc receive_install(struct raft_group *group, struct raft_message *message,
                               const struct msg_raft *m)
{
    struct raft_install_snapshot *install = &message->install_snapshot;
    if (m->a == 0 || m->b == 0 || m->b > m->term || m->c == 0 || m->c > m->a ||
        !raft_group_conf_is_valid(m->conf) || is_contradicted(group, m))
        return RC_BAD_REQUEST;
    *install = (struct raft_install_snapshot){
        .term = m->term, .last_index = m->a, .last_term = m->b, .conf_index = m->c};
    enum rc rc = raft_group_decode_conf(m->conf, &install->conf); /* Taken by the core. */
    CHECK(rc == RC_OK);
    return RC_OK;
}

static void note_answer(struct raft_group *group, uint64_t now_ms, const struct msg_raft *m)
{
    struct raft_group_peer *peer = raft_group_peer(group, m->from);
    if (peer != NULL && m->term == raft_current_term(&group->raft) && m->stamp > peer->stamp_ms &&
        m->stamp <= now_ms) /* Not an answer to what is not sent yet. */
        peer->stamp_ms = m->stamp;
}

/* A refusal of what is known to be stored there is an old one that was overtaken. The core would
 * go back before what matched and never come forward again: told to it as news of nothing. */
static bool is_overtaken(const struct raft_group *group, const struct msg_raft *m)
{
    raft_index match = 0;
    return m->a != 0 && raft_match_index(&group->raft, m->from, &match) == 0 && m->a <= match;
}

static void read_append_result(const struct raft_group *group, const struct msg_raft *m,
                               struct raft_append_entries_result *ret_result)
{
    *ret_result = (struct raft_append_entries_result){
        .version = APPEND_RESULT_VERSION,
        .term = m->term,
        .rejected = m->a,
        .last_log_index = m->b,
    };
    if (is_overtaken(group, m))
        ret_result->rejected = ret_result->last_log_index = 0;
}

/* Who led an earlier term hears of ours. The core would answer in our term with a last index that
 * it never set, and where nothing preceded the entries, as if it had taken them: he who restarted
 * and leads again would believe it, and commit what nobody has. */
static void refuse_former_leader(struct raft_group *group, struct slice from,
                                 const struct msg_raft *m)
{
    const struct msg_raft out = {
        .group = group->shard,
        .to = m->from,
        .from = group->self,
        .type = RAFT_APPEND_ENTRIES_RESULT,
        .term = raft_current_term(&group->raft),
        .a = UINT64_MAX, /* Refused, and nothing that he could have sent in this term. */
    };
    emit(group, from, &out);
}

enum rc raft_group_receive(struct raft_group *group, uint64_t now_ms, struct slice from,
                           const struct msg_raft *m)
{
    if (group->failed != RC_OK)
        return group->failed;
    if (m->to != group->self || m->from == 0 || m->from == group->self || m->term == 0 ||
        m->term > TERM_MAX)
        return RC_BAD_REQUEST;
    bool is_leaders = m->type == RAFT_APPEND_ENTRIES || m->type == RAFT_INSTALL_SNAPSHOT;
    if (is_leaders && m->term < raft_current_term(&group->raft)) {
        refuse_former_leader(group, from, m);
        return RC_OK;
    }
    /* There is one leader a term; the core relies on it. */
    if (is_leaders && m->term == raft_current_term(&group->raft) && raft_group_is_leader(group))
        return RC_BAD_REQUEST;
    char address[RAFT_GROUP_ADDRESS_SIZE];
    raft_group_address(address, from, m->from);
    struct raft_message message = {
        .type = (enum raft_message_type)m->type,
        .server_id = m->from,
        .server_address = address,
    };
    enum rc rc = RC_OK;
    switch (m->type) {
    case RAFT_APPEND_ENTRIES:
        return receive_append(group, now_ms, &message, m);
    case RAFT_APPEND_ENTRIES_RESULT:
        note_answer(group, now_ms, m);
        read_append_result(group, m, &message.append_entries_result);
        break;
    case RAFT_REQUEST_VOTE:
        if (!may_vote(group, now_ms, m))
            return RC_OK;
        message.request_vote = (struct raft_request_vote){
            .version = VOTE_VERSION,
            .term = m->term,
            .candidate_id = m->from,
            .last_log_index = m->a,
            .last_log_term = m->b,
            .disrupt_leader = (m->flags & FLAG_DISRUPT) != 0,
            .pre_vote = (m->flags & FLAG_PRE_VOTE) != 0,
        };
        break;
    case RAFT_REQUEST_VOTE_RESULT:
        message.request_vote_result = (struct raft_request_vote_result){
            .version = VOTE_VERSION,
            .term = m->term,
            .vote_granted = (m->flags & FLAG_GRANTED) != 0,
            .pre_vote = (m->flags & FLAG_PRE_VOTE) != 0,
        };
        break;
    case RAFT_INSTALL_SNAPSHOT:
        if (group->install.conf.base != NULL)
            return RC_OK; /* One is under way; the core would lose the configuration. */
        rc = receive_install(group, &message, m);
        if (rc == RC_OK)
            note_leader(group, now_ms, m);
        break;
    case RAFT_TIMEOUT_NOW:
        if (is_too_late(group, now_ms, m))
            return RC_OK;
        message.timeout_now = (struct raft_timeout_now){
            .term = m->term, .last_log_index = m->a, .last_log_term = m->b};
        break;
    default:
        return RC_BAD_REQUEST;
    }
    if (rc != RC_OK)
        return rc;
    struct raft_event event = {.type = RAFT_RECEIVE, .receive.message = &message};
    rc = m->type == RAFT_REQUEST_VOTE ? step_vote(group, now_ms, &event)
                                      : raft_group_step_and_follow(group, now_ms, &event);
    raft_group_proceed_handing(group, now_ms);
    return rc;
}

uint64_t raft_group_heard_ms(const struct raft_group *group)
{
    return raft_group_is_leader(group) ? group->raft.now : group->leader_heard_ms;
}

uint64_t raft_group_heard_term(const struct raft_group *group)
{
    return raft_group_is_leader(group) ? raft_current_term(&group->raft) : group->leader_term;
}

bool raft_group_is_install(const struct msg_raft *message)
{
    return message->type == RAFT_INSTALL_SNAPSHOT;
}
