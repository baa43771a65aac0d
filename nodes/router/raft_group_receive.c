#include "mesh/base/check.h"
#include "mesh/base/mem.h"
#include "nodes/router/raft_group_private.h"

/* Versions that libraft 0.22.1 gives its messages, and the one feature it knows. */
#define VOTE_VERSION          2
#define APPEND_RESULT_VERSION 2

/* No group gets there by elections; beyond, a term could not rise any more. */
#define TERM_MAX (UINT64_MAX >> 1)

/* How soon after the usual delay a TimeoutNow must come to count: an older one was given up. */
#define TIMEOUT_NOW_MS 200

/* A clock that was read before a long turn, or a stop in the middle of it, shows a message that
 * came behind as one from the future: no such offset may count for long. */
#define OFFSET_SPAN_MS 1000

/* How long a message was under way, beyond what none falls below. */
static void note_offset(struct raft_group *group, uint64_t now_ms, const struct msg_raft *m)
{
    int64_t offset = (int64_t)(now_ms - m->stamp);
    int64_t *offsets = group->leader_offsets;
    if (group->leader_term != m->term) {
        offsets[0] = offsets[1] = offset;
        group->offsets_ms = now_ms;
    } else if (now_ms >= group->offsets_ms + OFFSET_SPAN_MS) {
        offsets[0] = offsets[1];
        offsets[1] = offset;
        group->offsets_ms = now_ms;
    } else if (offset < offsets[1]) {
        offsets[1] = offset;
    }
}

static int64_t least_offset(const struct raft_group *group)
{
    const int64_t *offsets = group->leader_offsets;
    return offsets[0] < offsets[1] ? offsets[0] : offsets[1];
}

/* A message of a leader: remember when it was sent, and how long it was under way at least. */
static void note_leader(struct raft_group *group, uint64_t now_ms, const struct msg_raft *m)
{
    if (m->term < raft_current_term(&group->raft))
        return;
    group->leader_heard_ms = now_ms;
    note_offset(group, now_ms, m);
    if (group->leader_term != m->term)
        group->leader_stamp = 0;
    group->leader_term = m->term;
    if (m->stamp > group->leader_stamp)
        group->leader_stamp = m->stamp;
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
        (m->flags & RAFT_GROUP_HANDS_OVER) != 0 && group->raft.follower_state.match >= last;
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
    if ((m->flags & RAFT_GROUP_DISRUPT) != 0 && is_handed)
        return true;
    if (group->is_restarted && now_ms < group->opened_ms + group->options.election_ms)
        return false;
    bool has_leader =
        raft_group_is_leader(group) ||
        (group->raft.state == RAFT_FOLLOWER && group->raft.follower_state.current_leader.id != 0);
    return (m->flags & RAFT_GROUP_DISRUPT) == 0 || !has_leader;
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

/* Who is no voter by a configuration that may not be committed is still one to those who do not
 * have it, and may be needed: a leader that is lost perhaps sent it to nobody else. The thesis lets
 * him campaign (section 4.2.2), the core does not; so he may not keep others from it either. What
 * he holds from that configuration on never counted as his, so a candidate need not have it: its
 * commitment and the candidate's majority meet in somebody else. */
static void pass_own_removal(struct raft_group *group, struct raft_message *message)
{
    struct raft_request_vote *vote = &message->request_vote;
    const struct raft_configuration *conf = &group->raft.configuration;
    uint64_t last = raft_group_last_index(group), last_term, term;
    uint64_t before = group->raft.configuration_uncommitted_index;
    bool is_voter = before == 0 || --before < group->kept_from;
    for (unsigned i = 0; i < conf->n; i++)
        is_voter |= conf->servers[i].id == group->self && conf->servers[i].role == RAFT_VOTER;
    if (is_voter || raft_group_term_of(group, before, &term) != RC_OK ||
        raft_group_term_of(group, last, &last_term) != RC_OK || vote->last_log_term < term ||
        (vote->last_log_term == term && vote->last_log_index < before))
        return;
    if (vote->last_log_term > last_term ||
        (vote->last_log_term == last_term && vote->last_log_index >= last))
        return; /* It has everything. */
    vote->last_log_index = last;
    vote->last_log_term = last_term;
}

static bool is_too_late(const struct raft_group *group, uint64_t now_ms, const struct msg_raft *m)
{
    return group->leader_term != m->term ||
           (int64_t)(now_ms - m->stamp) > least_offset(group) + TIMEOUT_NOW_MS;
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
    raft_group_emit(group, from, &out);
}

enum rc raft_group_receive(struct raft_group *group, uint64_t now_ms, struct slice from,
                           const struct msg_raft *m)
{
    if (group->failed != RC_OK)
        return group->failed;
    if (m->to != group->self || m->from == 0 || m->from == group->self || m->term == 0 ||
        m->term > TERM_MAX)
        return RC_BAD_REQUEST;
    bool is_leaders = raft_group_is_of_leader(m);
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
            .disrupt_leader = (m->flags & RAFT_GROUP_DISRUPT) != 0,
            .pre_vote = (m->flags & RAFT_GROUP_PRE_VOTE) != 0,
        };
        pass_own_removal(group, &message);
        break;
    case RAFT_REQUEST_VOTE_RESULT:
        message.request_vote_result = (struct raft_request_vote_result){
            .version = VOTE_VERSION,
            .term = m->term,
            .vote_granted = (m->flags & RAFT_GROUP_GRANTED) != 0,
            .pre_vote = (m->flags & RAFT_GROUP_PRE_VOTE) != 0,
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

bool raft_group_is_of_leader(const struct msg_raft *message)
{
    return message->type == RAFT_APPEND_ENTRIES || message->type == RAFT_INSTALL_SNAPSHOT;
}

bool raft_group_is_install(const struct msg_raft *message)
{
    return message->type == RAFT_INSTALL_SNAPSHOT;
}
