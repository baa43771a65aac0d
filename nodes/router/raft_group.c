#include "mesh/base/check.h"
#include "mesh/base/env.h"
#include "mesh/base/mem.h"
#include "nodes/router/raft_group_private.h"

_Static_assert((int)RAFT_LOG_COMMAND == (int)RAFT_COMMAND &&
                   (int)RAFT_LOG_BARRIER == (int)RAFT_BARRIER &&
                   (int)RAFT_LOG_CHANGE == (int)RAFT_CHANGE,
               "the types on disk are those of the core");

/* ---- One step of the core, and what it asks for ---- */

/* A leader of a later term says otherwise from `index` on: what was stored there goes too. */
static void drop_replaced(struct raft_group *group, uint64_t index)
{
    if (index > raft_window_last(&group->window))
        return;
    raft_window_drop(&group->window, index);
    if (group->drop_from == 0 || index < group->drop_from)
        group->drop_from = index;
    if (group->uncollected_from > index)
        group->uncollected_from = 0;
}

/* Entries to be stored: ours, in the memory we gave, or the core's, whose batches are then ours to
 * free; the array is the giver's. */
static void keep_entries(struct raft_group *group, const struct raft_update *update,
                         const void *ours)
{
    drop_replaced(group, update->entries.index);
    if (group->uncollected_from == 0)
        group->uncollected_from = update->entries.index;
    for (unsigned i = 0; i < update->entries.n; i++) {
        const struct raft_entry *e = &update->entries.batch[i];
        const struct raft_log_entry entry = {
            .index = update->entries.index + i,
            .term = e->term,
            .type = (enum raft_log_type)e->type,
            .data = slice_of(e->buf.base, e->buf.len),
        };
        raft_window_push(&group->window, &entry);
        bool is_last_of_batch =
            i + 1 == update->entries.n || update->entries.batch[i + 1].batch != e->batch;
        if (is_last_of_batch && e->batch != ours)
            raft_free(e->batch);
    }
}

/* The core took an InstallSnapshot: its log is now empty after the mark, and so is ours. */
static void begin_install(struct raft_group *group, const struct raft_snapshot_metadata *metadata)
{
    struct raft_group_install *install = &group->install;
    raft_free(install->conf.base);
    *install = (struct raft_group_install){
        .index = metadata->index,
        .term = metadata->term,
        .conf_index = metadata->configuration_index,
    };
    int error = raft_configuration_encode(&metadata->configuration, &install->conf);
    CHECK(error == 0);
    raft_window_fini(&group->window);
    raft_window_init(&group->window, group->shard, install->index);
    group->applied_term = install->term;
    group->kept_from = install->index + 1;
    group->drop_from = 0;
    group->uncollected_from = 0;
}

/* Our place among the voters that may follow the last leader: as the configuration has them, turned
 * by the shard, so that what one router led goes to all of the others. */
static uint32_t place_in_line(const struct raft_group *group)
{
    const struct raft_configuration *conf = &group->raft.configuration;
    uint32_t voters = 0, ours = 0, place = 0;
    for (unsigned i = 0; i < conf->n; i++) { /* Every replica has them in this order. */
        if (conf->servers[i].id == group->self)
            ours = voters;
        voters += conf->servers[i].role == RAFT_VOTER;
    }
    for (unsigned i = 0, voter = 0; i < conf->n; i++) {
        if (conf->servers[i].role != RAFT_VOTER)
            continue;
        bool is_before = (voter + group->shard) % voters < (ours + group->shard) % voters;
        place += is_before && conf->servers[i].id != group->last_leader;
        voter++;
    }
    return place;
}

/* The core lets every voter draw from one to two election timeouts (section 3.4). Two that draw
 * alike split the votes and wait once more, and the best of two draws is late by chance. Instead
 * they take turns, two heartbeats apart; the first waits one heartbeat longer than anybody is bound
 * by a leader's word, since not all heard its last one. A little chance remains, for those that do
 * not agree on who is in line. */
static void take_turn(struct raft_group *group)
{
    struct raft *raft = &group->raft;
    if (raft->state != RAFT_FOLLOWER && raft->state != RAFT_CANDIDATE)
        return;
    if (raft->state == RAFT_FOLLOWER && raft->follower_state.current_leader.id != 0)
        group->last_leader = raft->follower_state.current_leader.id;
    unsigned *wait_ms = raft->state == RAFT_FOLLOWER
                            ? &raft->follower_state.randomized_election_timeout
                            : &raft->candidate_state.randomized_election_timeout;
    const struct raft_group_options *options = &group->options;
    if (*wait_ms != group->wait_ms) /* The core drew. */
        group->jitter_ms =
            *wait_ms % options->election_ms * options->heartbeat_ms / (2 * options->election_ms);
    group->wait_ms = options->election_ms + options->heartbeat_ms +
                     place_in_line(group) * 2 * options->heartbeat_ms + group->jitter_ms;
    *wait_ms = group->wait_ms;
}

enum rc raft_group_step(struct raft_group *group, uint64_t now_ms, struct raft_event *event,
                        const void *ours)
{
    if (group->failed != RC_OK)
        return group->failed;
    struct raft_update update;
    /* The core subtracts times without looking: one that went back would be an age. */
    event->time = now_ms > group->raft.now ? now_ms : group->raft.now;
    event->capacity = 0;
    int error = raft_step(&group->raft, event, &update);
    /* The core has asserts compiled out and tells that it is lost only by its state. */
    if (group->raft.state == RAFT_UNAVAILABLE)
        return group->failed = RC_INTERNAL;
    if (error == RAFT_NOTLEADER && (event->type == RAFT_SUBMIT || event->type == RAFT_TRANSFER))
        return RC_NOT_LEADER;
    if (error != 0)
        return group->failed = RC_INTERNAL;
    take_turn(group);
    if (update.flags & (RAFT_UPDATE_CURRENT_TERM | RAFT_UPDATE_VOTED_FOR))
        group->hard_changed = true;
    if (update.flags & (RAFT_UPDATE_ENTRIES))
        keep_entries(group, &update, ours);
    if (update.flags & (RAFT_UPDATE_SNAPSHOT)) {
        begin_install(group, &update.snapshot.metadata);
        raft_configuration_close(&update.snapshot.metadata.configuration);
    }
    if (update.flags & (RAFT_UPDATE_MESSAGES))
        raft_group_send_all(group, now_ms, &update);
    return RC_OK;
}

enum rc raft_group_propose(struct raft_group *group, uint64_t now_ms, enum raft_log_type type,
                           struct slice data)
{
    struct raft_entry entry = {
        .term = raft_current_term(&group->raft),
        .type = (enum raft_entry_type)type,
        .buf = {.base = (void *)(uintptr_t)data.base, .len = data.size},
        .batch = (void *)(uintptr_t)data.base, /* Anything but NULL; we copy within the step. */
    };
    struct raft_event event = {.type = RAFT_SUBMIT, .submit = {.entries = &entry, .n = 1}};
    return raft_group_step(group, now_ms, &event, entry.batch);
}

/* A new leader knows which entries of earlier terms are committed only once one of its own is
 * (thesis, section 6.4, and G1: the core adds a barrier only where its log has uncommitted entries,
 * and never for a single voter). So we add ours at once, and serve nothing before it is applied. */
enum rc raft_group_follow_leadership(struct raft_group *group, uint64_t now_ms)
{
    static const char zeros[8]; /* A barrier's data, as the core's own has it. */
    if (!raft_group_is_leader(group)) {
        group->barrier = 0;
        group->handing_to = 0;
    }
    if (!raft_group_is_leader(group) || group->barrier != 0)
        return RC_OK;
    group->led_from_ms = group->lease_from_ms = now_ms;
    enum rc rc =
        raft_group_propose(group, now_ms, RAFT_LOG_BARRIER, slice_of(zeros, sizeof(zeros)));
    if (rc != RC_OK)
        return rc;
    group->barrier = raft_last_index(&group->raft);
    return RC_OK;
}

enum rc raft_group_step_and_follow(struct raft_group *group, uint64_t now_ms,
                                   struct raft_event *event)
{
    enum rc rc = raft_group_step(group, now_ms, event, NULL);
    return rc == RC_OK ? raft_group_follow_leadership(group, now_ms) : rc;
}

/* ---- Life ---- */

enum rc raft_group_submit(struct raft_group *group, uint64_t now_ms, struct buf *entry,
                          uint64_t *ret_index)
{
    if (group->failed != RC_OK)
        return group->failed;
    if (!raft_group_is_leader(group))
        return RC_NOT_LEADER;
    if (!raft_group_is_ready(group))
        return RC_UNAVAILABLE;
    if (raft_group_last_index(group) > raft_group_commit_index(group))
        return RC_AGAIN;
    CHECK(entry->size > 0);
    enum rc rc = raft_group_propose(group, now_ms, RAFT_LOG_COMMAND, buf_slice(entry));
    if (rc != RC_OK)
        return rc;
    *ret_index = raft_group_last_index(group);
    return RC_OK;
}

/* The core makes an only voter leader at once and in the term it finds (G10). Where the leader of
 * that term made it the only one and still leads, there would be two in one term. */
static void raise_term_to_lead(struct raft_group *group)
{
    bool is_settled =
        group->raft.last_stored == raft_group_last_index(group) && group->install.conf.base == NULL;
    if (group->raft.state != RAFT_FOLLOWER || !is_settled || /* The core waits as well. */
        !raft_group_is_only_voter(&group->raft.configuration, group->self))
        return;
    group->raft.current_term++;
    group->raft.voted_for = group->self;
    group->hard_changed = true;
}

/* At each tick the core takes a follower for unreachable, and sends it nothing new before the next
 * heartbeat, where it has not answered since the tick before. Two whose heartbeats are out of step
 * put each other there again and again, and an entry then waits for LIMIT_HEARTBEAT_MS. Unreachable
 * is who was silent for an election timeout (thesis, section 6.2), or since this leader leads. */
static void look_back(struct raft_group *group, uint64_t now_ms)
{
    uint64_t election_ms = group->options.election_ms;
    uint64_t from_ms = now_ms > election_ms ? now_ms - election_ms : 0;
    if (from_ms < group->led_from_ms)
        from_ms = group->led_from_ms;
    if (raft_group_is_leader(group) && from_ms < group->raft.election_timer_start)
        group->raft.election_timer_start = from_ms;
}

enum rc raft_group_tick(struct raft_group *group, uint64_t now_ms)
{
    if (group->failed != RC_OK)
        return group->failed;
    if (now_ms < raft_group_due_ms(group))
        return RC_OK;
    raise_term_to_lead(group);
    look_back(group, now_ms);
    struct raft_event event = {.type = RAFT_TIMEOUT};
    enum rc rc = raft_group_step_and_follow(group, now_ms, &event);
    raft_group_proceed_handing(group, now_ms);
    return rc;
}

uint64_t raft_group_due_ms(const struct raft_group *group)
{
    if (group->failed != RC_OK)
        return 0; /* Have it told by the next tick. */
    /* Heartbeats have no one to reach and the quorum is always there: an idle group costs nothing.
     */
    if (raft_group_is_leader(group) && group->raft.configuration.n == 1)
        return ENV_NEVER;
    return raft_timeout(&group->raft);
}

/* ---- Persistence ---- */

static void collect_hard(struct raft_group *group, struct kv_batch *batch)
{
    uint8_t key[RAFT_LOG_META_KEY_SIZE];
    const struct raft_log_hard hard = {
        .term = raft_current_term(&group->raft),
        .vote = raft_voted_for(&group->raft),
        .self = group->self,
    };
    struct buf *row = buf_new(0);
    raft_log_hard_encode(row, group->shard, &hard);
    kv_put(batch, KV_META, raft_log_hard_key(key, group->shard), buf_slice(row));
    buf_unref(&row);
    group->hard_changed = false;
    group->hard_mark = group->mark;
}

/* Entries in [from, to] of the stored log. */
static void remove_entries(struct raft_group *group, struct kv_batch *batch, uint64_t from,
                           uint64_t to)
{
    uint8_t key[RAFT_LOG_ENTRY_KEY_SIZE], end[RAFT_LOG_ENTRY_KEY_SIZE];
    kv_remove_range(batch, KV_LOG, raft_log_entry_key(key, group->shard, from),
                    raft_log_entry_key(end, group->shard, to == UINT64_MAX ? to : to + 1));
}

static void collect_entries(struct raft_group *group, struct kv_batch *batch)
{
    uint8_t key[RAFT_LOG_ENTRY_KEY_SIZE];
    if (group->drop_from != 0) /* Before those that come in their place. */
        remove_entries(group, batch, group->drop_from, UINT64_MAX);
    group->drop_from = 0;
    uint64_t index = group->uncollected_from;
    if (index == 0)
        return;
    const struct raft_window_entry *e;
    raft_window_mark(&group->window, index, group->mark);
    for (; (e = raft_window_at(&group->window, index)) != NULL; index++)
        kv_put(batch, KV_LOG, raft_log_entry_key(key, group->shard, index), buf_slice(e->row));
    group->uncollected_from = 0;
}

static void put_snapshot(struct raft_group *group, const struct raft_log_snapshot *snapshot,
                         struct kv_batch *batch)
{
    uint8_t key[RAFT_LOG_META_KEY_SIZE];
    struct buf *row = buf_new(0);
    raft_log_snapshot_encode(row, group->shard, snapshot);
    kv_put(batch, KV_META, raft_log_snapshot_key(key, group->shard), buf_slice(row));
    buf_unref(&row);
}

static void collect_install(struct raft_group *group, struct kv_batch *batch)
{
    struct raft_group_install *install = &group->install;
    const struct raft_log_snapshot snapshot = {
        .index = install->index,
        .term = install->term,
        .conf_index = install->conf_index,
        .conf = slice_of(install->conf.base, install->conf.len),
    };
    remove_entries(group, batch, 0, UINT64_MAX);
    put_snapshot(group, &snapshot, batch);
    install->mark = group->mark;
}

bool raft_group_collect(struct raft_group *group, struct kv_batch *batch)
{
    bool installs = raft_group_is_installing(group);
    bool entries_changed = group->uncollected_from != 0 || group->drop_from != 0;
    if (!entries_changed && !group->hard_changed && !installs)
        return false;
    group->mark++;
    if (group->hard_changed)
        collect_hard(group, batch);
    if (installs)
        collect_install(group, batch);
    if (entries_changed)
        collect_entries(group, batch);
    if (group->holds_change)
        group->change_mark = group->mark;
    group->holds_change = false;
    return true;
}

uint64_t raft_group_mark(const struct raft_group *group)
{
    return group->mark;
}

bool raft_group_is_installing(const struct raft_group *group)
{
    return group->install.conf.base != NULL && group->install.mark == 0;
}

bool raft_group_is_busy_installing(const struct raft_group *group)
{
    return group->install.conf.base != NULL;
}

static enum rc end_install(struct raft_group *group, uint64_t now_ms)
{
    struct raft_group_install *install = &group->install;
    struct raft_event event = {.type = RAFT_PERSISTED_SNAPSHOT};
    event.persisted_snapshot.metadata.index = install->index;
    event.persisted_snapshot.metadata.term = install->term;
    event.persisted_snapshot.metadata.configuration_index = install->conf_index;
    event.persisted_snapshot.last = true;
    enum rc rc = raft_group_decode_conf(slice_of(install->conf.base, install->conf.len),
                                        &event.persisted_snapshot.metadata.configuration);
    CHECK(rc == RC_OK);
    raft_free(install->conf.base);
    *install = (struct raft_group_install){0};
    return raft_group_step_and_follow(group, now_ms, &event); /* Takes the configuration. */
}

enum rc raft_group_on_durable(struct raft_group *group, uint64_t now_ms, uint64_t mark)
{
    CHECK(mark <= group->mark);
    group->durable_mark = mark;
    if (group->install.conf.base != NULL) {
        if (group->install.mark == 0 || group->install.mark > mark)
            return group->failed; /* The core takes no entries meanwhile. */
        enum rc rc = end_install(group, now_ms);
        if (rc != RC_OK)
            return rc;
    }
    /* By mark and not by index: an entry that has replaced another since is not durable yet. */
    uint64_t stored = group->raft.last_stored;
    const struct raft_window_entry *e;
    while ((e = raft_window_at(&group->window, stored + 1)) != NULL && e->mark != 0 &&
           e->mark <= mark)
        stored++;
    enum rc rc = group->failed;
    if (stored != group->raft.last_stored) { /* The core takes no news that is none. */
        struct raft_event event = {
            .type = RAFT_PERSISTED_ENTRIES,
            .persisted_entries.index = stored,
        };
        rc = raft_group_step_and_follow(group, now_ms, &event);
    }
    raft_group_release(group);
    return rc;
}

/* ---- Commit ---- */

bool raft_group_next_committed(struct raft_group *group, uint64_t *ret_index,
                               struct slice *ret_data)
{
    uint64_t index = group->window.applied + 1;
    /* A follower may hear of a commit before its own copy is stored. */
    if (index > raft_commit_index(&group->raft) || index > group->raft.last_stored)
        return false;
    const struct raft_window_entry *e = raft_window_at(&group->window, index);
    CHECK(e != NULL);
    *ret_index = index;
    *ret_data = e->type == RAFT_LOG_COMMAND ? raft_window_data(e) : slice_of("", 0);
    return true;
}

/* The core learns from us, not by itself, that a configuration is committed. */
static void apply_conf(struct raft_group *group, uint64_t now_ms,
                       const struct raft_window_entry *entry)
{
    struct raft_event event = {.type = RAFT_CONFIGURATION, .configuration.index = entry->index};
    enum rc rc = raft_group_decode_conf(raft_window_data(entry), &event.configuration.conf);
    CHECK(rc == RC_OK); /* It was read when it came or was loaded. */
    rc = raft_group_step_and_follow(group, now_ms, &event); /* Takes the configuration. */
    (void)rc; /* Also in group->failed, which whatever is called next returns. */
}

void raft_group_applied(struct raft_group *group, uint64_t now_ms, uint64_t index)
{
    const struct raft_window_entry *entry = raft_window_at(&group->window, index);
    CHECK(index == group->window.applied + 1 && entry != NULL);
    CHECK(index <= raft_commit_index(&group->raft));
    if (entry->type == RAFT_LOG_CHANGE && group->failed == RC_OK)
        apply_conf(group, now_ms, entry);
    group->applied_term = entry->term;
    raft_window_pop(&group->window);
}

/* ---- Truncation ---- */

enum rc raft_group_term_of(struct raft_group *group, uint64_t index, uint64_t *ret_term)
{
    const struct raft_window_entry *held = raft_window_at(&group->window, index);
    if (held != NULL) {
        *ret_term = held->term;
        return RC_OK;
    }
    uint8_t bytes[RAFT_LOG_ENTRY_KEY_SIZE];
    struct slice key = raft_log_entry_key(bytes, group->shard, index);
    struct raft_log_entry entry;
    struct buf *row = buf_new(0);
    enum rc rc = group->kv->ops->get(group->kv, KV_LOG, key, row);
    if (rc == RC_OK)
        rc = raft_log_entry_decode(key, buf_slice(row), group->shard, &entry);
    if (rc == RC_OK)
        *ret_term = entry.term;
    buf_unref(&row);
    return rc == RC_NOT_FOUND ? RC_CORRUPT : rc;
}

enum rc raft_group_truncate(struct raft_group *group, uint64_t now_ms, uint64_t index,
                            struct kv_batch *batch)
{
    CHECK(index <= group->window.applied);
    if (group->failed != RC_OK)
        return group->failed;
    if (index < group->kept_from || group->install.conf.base != NULL)
        return RC_OK; /* Gone already; the core must not hear of one snapshot twice. */
    if (index == 1)
        return RC_OK; /* The core would take the mark for the entry, and never send it the state. */
    struct raft_log_snapshot snapshot = {
        .index = index,
        .conf_index = group->raft.configuration_committed_index,
    };
    if (snapshot.conf_index > index)
        return RC_OK; /* The mark would speak of a configuration beyond it. */
    enum rc rc = raft_group_term_of(group, index, &snapshot.term);
    if (rc != RC_OK)
        return rc;
    struct raft_buffer conf;
    int error = raft_configuration_encode(&group->raft.configuration_committed, &conf);
    CHECK(error == 0);
    snapshot.conf = slice_of(conf.base, conf.len);
    struct raft_event event = {.type = RAFT_SNAPSHOT};
    event.snapshot.metadata.index = index;
    event.snapshot.metadata.term = snapshot.term;
    event.snapshot.metadata.configuration_index = snapshot.conf_index;
    rc = raft_group_decode_conf(snapshot.conf,
                                &event.snapshot.metadata.configuration); /* Taken by the core. */
    CHECK(rc == RC_OK);
    put_snapshot(group, &snapshot, batch);
    remove_entries(group, batch, group->kept_from, index);
    raft_free(conf.base);
    group->kept_from = index + 1;
    return raft_group_step_and_follow(group, now_ms, &event);
}

/* ---- Questions ---- */

bool raft_group_leads(const struct raft_group *group)
{
    return raft_group_is_leader(group);
}

bool raft_group_is_ready(const struct raft_group *group)
{
    return group->failed == RC_OK && raft_group_is_leader(group) && group->barrier != 0 &&
           group->window.applied >= group->barrier && group->raft.leader_state.transferee == 0;
}

uint64_t raft_group_self(const struct raft_group *group)
{
    return group->self;
}

const char *raft_group_state_name(const struct raft_group *group)
{
    const char *name = raft_state_name(group->raft.state);
    return name != NULL ? name : "unavailable";
}

uint64_t raft_group_term(const struct raft_group *group)
{
    return raft_current_term(&group->raft);
}

uint64_t raft_group_commit_index(const struct raft_group *group)
{
    return raft_commit_index(&group->raft);
}

uint64_t raft_group_applied_index(const struct raft_group *group)
{
    return group->window.applied;
}

uint64_t raft_group_last_index(const struct raft_group *group)
{
    return raft_window_last(&group->window);
}

uint64_t raft_group_first_index(const struct raft_group *group)
{
    return group->kept_from;
}
