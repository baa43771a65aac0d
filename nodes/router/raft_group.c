#include "nodes/router/raft_group.h"

#include <raft.h>

#include "mesh/base/check.h"
#include "mesh/base/env.h"
#include "mesh/base/mem.h"
#include "nodes/router/raft_window.h"
#include "storage/raft_log_load.h"

#define INFLIGHT_ENTRIES_MAX    256u    /* Sent to a peer or being stored, without an answer. */
#define INSTALL_SNAPSHOT_MS_MAX 600000u /* A large shard takes minutes; the core's own is 30 s. */

_Static_assert((int)RAFT_LOG_COMMAND == (int)RAFT_COMMAND &&
                   (int)RAFT_LOG_BARRIER == (int)RAFT_BARRIER &&
                   (int)RAFT_LOG_CHANGE == (int)RAFT_CHANGE,
               "the types on disk are those of the core");

struct raft_group {
    struct raft raft;
    struct kv *kv; /* Borrowed. */
    uint32_t shard;
    uint64_t self;
    enum rc failed;            /* The core gave up: final. */
    struct raft_window window; /* Entries that are not applied yet. */
    uint64_t kept_from;        /* Index of the first entry the log keeps. */
    uint64_t barrier;          /* Index of this term's own barrier; 0: not leader. */
    uint64_t collected_mark;   /* The last mark of the window that was put into a batch. */
    bool hard_changed;         /* Term or vote differ from the store. */
    uint64_t drop_from;        /* Stored entries from here on were replaced; 0: none. */
};

/* ---- One step of the core, and what it asks for ---- */

static bool is_leader(const struct raft_group *group)
{
    return group->raft.state == RAFT_LEADER;
}

/* The only voter has nobody to tell: the core makes no messages, and the day it does (more
 * replicas) this is where they leave for the bus, held until hard state is durable. A lost message
 * is an ordinary event to Raft, so dropping one is always safe. */
static void drop_messages(const struct raft_update *update)
{
    (void)update;
}

/* A leader of a later term says otherwise from `index` on: what was stored there goes too. */
static void drop_replaced(struct raft_group *group, uint64_t index)
{
    if (index > raft_window_last(&group->window))
        return;
    raft_window_drop(&group->window, index);
    if (group->drop_from == 0 || index < group->drop_from)
        group->drop_from = index;
}

/* Entries to be stored: ours, in the memory we gave, or the core's, whose batches are then ours to
 * free; the array is the giver's. */
static void keep_entries(struct raft_group *group, const struct raft_update *update,
                         const void *ours)
{
    drop_replaced(group, update->entries.index);
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

/* Every event goes through here, and every update is handled here. */
static enum rc step(struct raft_group *group, uint64_t now_ms, struct raft_event *event,
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
    if (error == RAFT_NOTLEADER && event->type == RAFT_SUBMIT)
        return RC_NOT_LEADER;
    if (error != 0)
        return group->failed = RC_INTERNAL;
    if (update.flags & (RAFT_UPDATE_SNAPSHOT)) /* Comes by message only, and none is received. */
        return group->failed = RC_INTERNAL;
    if (update.flags & (RAFT_UPDATE_CURRENT_TERM | RAFT_UPDATE_VOTED_FOR))
        group->hard_changed = true;
    if (update.flags & (RAFT_UPDATE_ENTRIES))
        keep_entries(group, &update, ours);
    if (update.flags & (RAFT_UPDATE_MESSAGES))
        drop_messages(&update);
    return RC_OK;
}

static enum rc submit(struct raft_group *group, uint64_t now_ms, enum raft_log_type type,
                      struct slice data)
{
    struct raft_entry entry = {
        .term = raft_current_term(&group->raft),
        .type = (enum raft_entry_type)type,
        .buf = {.base = (void *)(uintptr_t)data.base, .len = data.size},
        .batch = (void *)(uintptr_t)data.base, /* Anything but NULL; we copy within the step. */
    };
    struct raft_event event = {.type = RAFT_SUBMIT, .submit = {.entries = &entry, .n = 1}};
    return step(group, now_ms, &event, entry.batch);
}

/* A new leader knows which entries of earlier terms are committed only once one of its own is
 * (thesis, section 6.4, and G1: the core adds a barrier only where its log has uncommitted entries,
 * and never for a single voter). So we add ours at once, and serve nothing before it is applied. */
static enum rc follow_leadership(struct raft_group *group, uint64_t now_ms)
{
    static const char zeros[8]; /* A barrier's data, as the core's own has it. */
    if (!is_leader(group))
        group->barrier = 0;
    if (!is_leader(group) || group->barrier != 0)
        return RC_OK;
    enum rc rc = submit(group, now_ms, RAFT_LOG_BARRIER, slice_of(zeros, sizeof(zeros)));
    if (rc != RC_OK)
        return rc;
    group->barrier = raft_last_index(&group->raft);
    return RC_OK;
}

/* A step that may have changed who leads. */
static enum rc step_and_follow(struct raft_group *group, uint64_t now_ms, struct raft_event *event)
{
    enum rc rc = step(group, now_ms, event, NULL);
    return rc == RC_OK ? follow_leadership(group, now_ms) : rc;
}

/* ---- Birth ---- */

void raft_group_bootstrap(const struct raft_group_options *options, struct kv_batch *batch)
{
    struct raft_configuration conf;
    struct raft_buffer encoded;
    raft_configuration_init(&conf);
    int error = raft_configuration_add(&conf, options->self, options->address, RAFT_VOTER);
    CHECK(error == 0);
    error = raft_configuration_encode(&conf, &encoded);
    CHECK(error == 0);
    raft_configuration_close(&conf);

    uint8_t key[RAFT_LOG_ENTRY_KEY_SIZE];
    struct buf *row = buf_new(0);
    const struct raft_log_hard hard = {.term = 1};
    raft_log_hard_encode(row, options->shard, &hard);
    kv_put(batch, KV_META, raft_log_hard_key(key, options->shard), buf_slice(row));

    const struct raft_log_entry first = {
        .index = 1,
        .term = 1,
        .type = RAFT_LOG_CHANGE,
        .data = slice_of(encoded.base, encoded.len),
    };
    buf_clear(row);
    raft_log_entry_encode(row, options->shard, &first);
    kv_put(batch, KV_LOG, raft_log_entry_key(key, options->shard, 1), buf_slice(row));
    buf_unref(&row);
    raft_free(encoded.base);
}

/* ---- Loading ---- */

/* What the store holds of a shard, as the core wants it. */
struct loading {
    struct raft_group *group;
    struct raft_log_loaded log;
    struct raft_snapshot_metadata metadata;
    struct raft_entry *entries; /* By raft_malloc; only those of type CHANGE have data. */
    uint32_t count, capacity;
};

static void loading_fini(struct loading *loading)
{
    for (uint32_t i = 0; i < loading->count; i++)
        raft_free(loading->entries[i].batch);
    raft_free(loading->entries);
    raft_configuration_close(&loading->metadata.configuration);
    raft_log_loaded_fini(&loading->log);
}

/* Read a configuration. The core's decoder trusts the sizes in it; the seal around it vouches. */
static enum rc decode_conf(struct slice encoded, struct raft_configuration *ret_conf)
{
    struct raft_buffer buffer = {.base = (void *)(uintptr_t)encoded.base, .len = encoded.size};
    if (encoded.size <= sizeof(uint64_t) || raft_configuration_decode(&buffer, ret_conf) != 0) {
        raft_configuration_init(ret_conf);
        return RC_CORRUPT;
    }
    return RC_OK;
}

static enum rc keep_conf(struct raft_entry *e, struct slice data)
{
    struct raft_configuration conf;
    enum rc rc = decode_conf(data, &conf);
    raft_configuration_close(&conf);
    if (rc != RC_OK)
        return rc;
    e->batch = raft_malloc(data.size);
    CHECK(e->batch != NULL);
    memcpy(e->batch, data.base, data.size);
    e->buf = (struct raft_buffer){.base = e->batch, .len = data.size};
    return RC_OK;
}

static enum rc load_entry(void *context, const struct raft_log_entry *entry)
{
    struct loading *loading = context;
    struct raft_window *window = &loading->group->window;
    if (loading->count == loading->capacity) {
        loading->capacity = 2 * loading->capacity + 16;
        loading->entries =
            raft_realloc(loading->entries, loading->capacity * sizeof(*loading->entries));
        CHECK(loading->entries != NULL);
    }
    struct raft_entry *e = &loading->entries[loading->count++];
    *e = (struct raft_entry){.term = entry->term, .type = (enum raft_entry_type)entry->type};
    enum rc rc = entry->type == RAFT_LOG_CHANGE ? keep_conf(e, entry->data) : RC_OK;
    if (rc != RC_OK || entry->index <= window->applied)
        return rc;
    if (entry->index != raft_window_last(window) + 1)
        return RC_CORRUPT; /* The state is behind the log's first entry: some were never applied. */
    /* Few: stored, but not applied when the process ended. Read now, so that no read fails later.
     */
    raft_window_push(window, entry);
    return RC_OK;
}

static enum rc load(struct loading *loading)
{
    struct raft_group *group = loading->group;
    const struct raft_log_loaded *log = &loading->log;
    enum rc rc = raft_log_load(group->kv, group->shard, &loading->log, load_entry, loading);
    if (rc != RC_OK)
        return rc;
    /* The state is written after the log it came from, and the snapshot mark after the state. */
    if (group->window.applied < log->snapshot.index || group->window.applied > log->last_index)
        return RC_CORRUPT;
    group->kept_from = log->first_index;
    group->collected_mark = group->window.marks; /* It came from the store. */
    loading->metadata.index = log->snapshot.index;
    loading->metadata.term = log->snapshot.term;
    loading->metadata.configuration_index = log->snapshot.conf_index;
    if (!log->has_snapshot)
        return RC_OK;
    return decode_conf(log->snapshot.conf, &loading->metadata.configuration);
}

/* ---- Starting the core ---- */

/* Is `self` the only voter of the newest configuration stored? */
static bool is_only_voter(const struct loading *loading)
{
    struct raft_configuration newest;
    raft_configuration_init(&newest);
    const struct raft_configuration *conf = &loading->metadata.configuration;
    for (uint32_t i = loading->count; i-- > 0;)
        if (loading->entries[i].type == RAFT_CHANGE) {
            const struct raft_buffer *data = &loading->entries[i].buf;
            enum rc rc = decode_conf(slice_of(data->base, data->len), &newest);
            CHECK(rc == RC_OK); /* It was read once already. */
            conf = &newest;
            break;
        }
    uint32_t voters = 0;
    bool is_voter = false;
    for (unsigned i = 0; i < conf->n; i++) {
        if (conf->servers[i].role != RAFT_VOTER)
            continue;
        voters++;
        is_voter |= conf->servers[i].id == loading->group->self;
    }
    raft_configuration_close(&newest);
    return is_voter && voters == 1;
}

static enum rc start(struct loading *loading, uint64_t now_ms)
{
    struct raft_group *group = loading->group;
    struct raft_log_hard *hard = &loading->log.hard;
    /* G10: the core makes an only voter leader at once and in the term it finds. An entry of that
     * term that was sent out before the crash but not stored would then be replaced by another
     * under the same index and term. So the term is raised first, with our own vote in it as after
     * any election; it is stored with or before the first entry of the new term, since batches
     * survive in order. */
    if (is_only_voter(loading)) {
        hard->term++;
        hard->vote = group->self;
        group->hard_changed = true;
    }
    struct raft_event event = {.type = RAFT_START};
    event.start.term = hard->term;
    event.start.voted_for = hard->vote;
    event.start.metadata = loading->log.has_snapshot ? &loading->metadata : NULL;
    event.start.start_index = loading->log.first_index;
    event.start.entries = loading->entries;
    event.start.n_entries = loading->count;
    enum rc rc = step(group, now_ms, &event, NULL);
    raft_configuration_init(&loading->metadata.configuration); /* The core took it. */
    if (rc == RC_OK)
        return follow_leadership(group, now_ms);
    /* Some of the core's failures free the entries, others do not; all mean that memory is out. */
    loading->entries = NULL;
    loading->count = 0;
    return rc;
}

static void init_core(struct raft_group *group, const struct raft_group_options *options)
{
    int error = raft_init(&group->raft, NULL, NULL, options->self, options->address);
    CHECK(error == 0);
    group->raft.tracer = NULL; /* The default one formats a line a step and throws it away. */
    raft_seed(&group->raft, options->seed);
    raft_set_election_timeout(&group->raft, options->election_ms);
    raft_set_heartbeat_timeout(&group->raft, options->heartbeat_ms);
    raft_set_install_snapshot_timeout(&group->raft, INSTALL_SNAPSHOT_MS_MAX);
    raft_set_max_inflight_entries(&group->raft, INFLIGHT_ENTRIES_MAX);
    raft_set_pre_vote(&group->raft, true); /* Section 9.6: who was cut off does not disturb. */
}

enum rc raft_group_open(const struct raft_group_options *options, struct kv *kv, uint64_t applied,
                        uint64_t now_ms, struct raft_group **ret_group)
{
    CHECK(options->self > 0);
    struct raft_group *group = mem_new(struct raft_group);
    group->kv = kv;
    group->shard = options->shard;
    group->self = options->self;
    raft_window_init(&group->window, options->shard, applied);
    init_core(group, options);
    struct loading loading = {.group = group};
    enum rc rc = load(&loading);
    if (rc == RC_OK)
        rc = start(&loading, now_ms);
    loading_fini(&loading);
    if (rc == RC_OK)
        *ret_group = group;
    else
        raft_group_free(&group);
    return rc;
}

void raft_group_free(struct raft_group **group)
{
    struct raft_group *taken = *group;
    *group = NULL;
    if (taken == NULL)
        return;
    raft_window_fini(&taken->window);
    raft_close(&taken->raft, NULL);
    mem_free(taken);
}

/* ---- Life ---- */

enum rc raft_group_submit(struct raft_group *group, uint64_t now_ms, struct buf *entry,
                          uint64_t *ret_index)
{
    if (group->failed != RC_OK)
        return group->failed;
    if (!is_leader(group))
        return RC_NOT_LEADER;
    if (!raft_group_is_ready(group))
        return RC_UNAVAILABLE;
    if (raft_group_last_index(group) > raft_group_commit_index(group))
        return RC_AGAIN;
    CHECK(entry->size > 0);
    enum rc rc = submit(group, now_ms, RAFT_LOG_COMMAND, buf_slice(entry));
    if (rc != RC_OK)
        return rc;
    *ret_index = raft_group_last_index(group);
    return RC_OK;
}

enum rc raft_group_tick(struct raft_group *group, uint64_t now_ms)
{
    if (group->failed != RC_OK)
        return group->failed;
    if (now_ms < raft_group_due_ms(group))
        return RC_OK;
    struct raft_event event = {.type = RAFT_TIMEOUT};
    return step_and_follow(group, now_ms, &event);
}

uint64_t raft_group_due_ms(const struct raft_group *group)
{
    if (group->failed != RC_OK)
        return 0; /* Have it told by the next tick. */
    /* Heartbeats have no one to reach and the quorum is always there: an idle group costs nothing.
     */
    if (is_leader(group) && group->raft.configuration.n == 1)
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
    };
    struct buf *row = buf_new(0);
    raft_log_hard_encode(row, group->shard, &hard);
    kv_put(batch, KV_META, raft_log_hard_key(key, group->shard), buf_slice(row));
    buf_unref(&row);
    group->hard_changed = false;
}

static void collect_entries(struct raft_group *group, struct kv_batch *batch)
{
    uint8_t key[RAFT_LOG_ENTRY_KEY_SIZE], end[RAFT_LOG_ENTRY_KEY_SIZE];
    if (group->drop_from != 0) /* Before those that come in their place. */
        kv_remove_range(batch, KV_LOG, raft_log_entry_key(key, group->shard, group->drop_from),
                        raft_log_entry_key(end, group->shard, UINT64_MAX));
    group->drop_from = 0;
    uint64_t index = raft_window_last(&group->window) + 1;
    const struct raft_window_entry *e;
    while ((e = raft_window_at(&group->window, index - 1)) != NULL &&
           e->mark > group->collected_mark)
        index--;
    for (; (e = raft_window_at(&group->window, index)) != NULL; index++)
        kv_put(batch, KV_LOG, raft_log_entry_key(key, group->shard, index), buf_slice(e->row));
    group->collected_mark = group->window.marks;
}

bool raft_group_collect(struct raft_group *group, struct kv_batch *batch)
{
    bool entries_changed = group->collected_mark != group->window.marks || group->drop_from != 0;
    if (!entries_changed && !group->hard_changed)
        return false;
    if (group->hard_changed)
        collect_hard(group, batch);
    if (entries_changed)
        collect_entries(group, batch);
    return true;
}

uint64_t raft_group_mark(const struct raft_group *group)
{
    return group->collected_mark;
}

enum rc raft_group_on_durable(struct raft_group *group, uint64_t now_ms, uint64_t mark)
{
    CHECK(mark <= group->collected_mark);
    /* By mark and not by index: an entry that has replaced another since is not durable yet. */
    uint64_t stored = group->raft.last_stored;
    const struct raft_window_entry *e;
    while ((e = raft_window_at(&group->window, stored + 1)) != NULL && e->mark <= mark)
        stored++;
    if (stored == group->raft.last_stored)
        return group->failed; /* The core takes no news that is none. */
    struct raft_event event = {.type = RAFT_PERSISTED_ENTRIES, .persisted_entries.index = stored};
    return step_and_follow(group, now_ms, &event);
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
    enum rc rc = decode_conf(raft_window_data(entry), &event.configuration.conf);
    CHECK(rc == RC_OK);                          /* It was read when it was loaded. */
    rc = step_and_follow(group, now_ms, &event); /* Takes the configuration. */
    (void)rc; /* Also in group->failed, which whatever is called next returns. */
}

void raft_group_applied(struct raft_group *group, uint64_t now_ms, uint64_t index)
{
    const struct raft_window_entry *entry = raft_window_at(&group->window, index);
    CHECK(index == group->window.applied + 1 && entry != NULL);
    CHECK(index <= raft_commit_index(&group->raft));
    if (entry->type == RAFT_LOG_CHANGE && group->failed == RC_OK)
        apply_conf(group, now_ms, entry);
    raft_window_pop(&group->window);
}

/* ---- Truncation ---- */

static enum rc term_of(struct raft_group *group, uint64_t index, uint64_t *ret_term)
{
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

static void put_snapshot(struct raft_group *group, const struct raft_log_snapshot *snapshot,
                         struct kv_batch *batch)
{
    uint8_t key[RAFT_LOG_ENTRY_KEY_SIZE], end[RAFT_LOG_ENTRY_KEY_SIZE];
    struct buf *row = buf_new(0);
    raft_log_snapshot_encode(row, group->shard, snapshot);
    kv_put(batch, KV_META, raft_log_snapshot_key(key, group->shard), buf_slice(row));
    buf_unref(&row);
    kv_remove_range(batch, KV_LOG, raft_log_entry_key(key, group->shard, group->kept_from),
                    raft_log_entry_key(end, group->shard, snapshot->index + 1));
}

enum rc raft_group_truncate(struct raft_group *group, uint64_t now_ms, uint64_t index,
                            struct kv_batch *batch)
{
    CHECK(index <= group->window.applied);
    if (group->failed != RC_OK)
        return group->failed;
    if (index < group->kept_from)
        return RC_OK; /* Gone already; the core must not hear of one snapshot twice. */
    struct raft_log_snapshot snapshot = {
        .index = index,
        .conf_index = group->raft.configuration_committed_index,
    };
    enum rc rc = term_of(group, index, &snapshot.term);
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
    rc =
        decode_conf(snapshot.conf, &event.snapshot.metadata.configuration); /* Taken by the core. */
    CHECK(rc == RC_OK);
    put_snapshot(group, &snapshot, batch);
    raft_free(conf.base);
    group->kept_from = index + 1;
    return step_and_follow(group, now_ms, &event);
}

/* ---- Questions ---- */

bool raft_group_is_ready(const struct raft_group *group)
{
    return group->failed == RC_OK && is_leader(group) && group->barrier != 0 &&
           group->window.applied >= group->barrier;
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

uint64_t raft_group_last_index(const struct raft_group *group)
{
    return raft_window_last(&group->window);
}

uint64_t raft_group_first_index(const struct raft_group *group)
{
    return group->kept_from;
}
