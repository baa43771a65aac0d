#include "mesh/base/check.h"
#include "mesh/base/mem.h"
#include "nodes/router/raft_group_private.h"
#include "storage/raft_log_load.h"

#define INFLIGHT_ENTRIES_MAX    64u     /* Sent to a peer or being stored, without an answer. */
#define INSTALL_SNAPSHOT_MS_MAX 600000u /* A large shard takes minutes; the core's own is 30 s. */

/* ---- Birth and end ---- */

static void put_hard(uint32_t shard, const struct raft_log_hard *hard, struct kv_batch *batch)
{
    uint8_t key[RAFT_LOG_META_KEY_SIZE];
    struct buf *row = buf_new(0);
    raft_log_hard_encode(row, shard, hard);
    kv_put(batch, KV_META, raft_log_hard_key(key, shard), buf_slice(row));
    buf_unref(&row);
}

void raft_group_bootstrap(const struct raft_group_options *options, uint64_t self,
                          struct kv_batch *batch)
{
    CHECK(self > 0);
    struct raft_configuration conf;
    struct raft_buffer encoded;
    char address[RAFT_GROUP_ADDRESS_SIZE];
    raft_configuration_init(&conf);
    raft_group_address(address, slice_string(options->address), self);
    int error = raft_configuration_add(&conf, self, address, RAFT_VOTER);
    CHECK(error == 0);
    error = raft_configuration_encode(&conf, &encoded);
    CHECK(error == 0);
    raft_configuration_close(&conf);

    const struct raft_log_hard hard = {.term = 1, .self = self};
    put_hard(options->shard, &hard, batch);

    uint8_t key[RAFT_LOG_ENTRY_KEY_SIZE];
    struct buf *row = buf_new(0);
    const struct raft_log_entry first = {
        .index = 1,
        .term = 1,
        .type = RAFT_LOG_CHANGE,
        .data = slice_of(encoded.base, encoded.len),
    };
    raft_log_entry_encode(row, options->shard, &first);
    kv_put(batch, KV_LOG, raft_log_entry_key(key, options->shard, 1), buf_slice(row));
    buf_unref(&row);
    raft_free(encoded.base);
}

void raft_group_begin(uint32_t shard, uint64_t self, struct kv_batch *batch)
{
    CHECK(self > 0);
    const struct raft_log_hard hard = {.self = self};
    const struct raft_log_snapshot nothing = {0};
    uint8_t key[RAFT_LOG_META_KEY_SIZE];
    raft_group_erase(shard, batch);
    put_hard(shard, &hard, batch);
    struct buf *row = buf_new(0);
    raft_log_snapshot_encode(row, shard, &nothing);
    kv_put(batch, KV_META, raft_log_snapshot_key(key, shard), buf_slice(row));
    buf_unref(&row);
}

void raft_group_erase(uint32_t shard, struct kv_batch *batch)
{
    uint8_t meta[RAFT_LOG_META_KEY_SIZE];
    uint8_t from[RAFT_LOG_ENTRY_KEY_SIZE], to[RAFT_LOG_ENTRY_KEY_SIZE];
    batch->ops->remove(batch, KV_META, raft_log_hard_key(meta, shard));
    batch->ops->remove(batch, KV_META, raft_log_snapshot_key(meta, shard));
    kv_remove_range(batch, KV_LOG, raft_log_entry_key(from, shard, 0),
                    raft_log_entry_key(to, shard, UINT64_MAX));
}

/* ---- Loading ---- */

/* What the store holds of a shard, as the core wants it. */
struct loading {
    struct raft_group *group;
    struct raft_log_loaded log;
    struct raft_snapshot_metadata metadata;
    struct raft_entry *entries; /* By raft_malloc; only those of type CHANGE have data. */
    uint32_t count, capacity;
    uint64_t applied; /* Of the machine. */
};

static void loading_fini(struct loading *loading)
{
    for (uint32_t i = 0; i < loading->count; i++)
        raft_free(loading->entries[i].batch);
    raft_free(loading->entries);
    raft_configuration_close(&loading->metadata.configuration);
    raft_log_loaded_fini(&loading->log);
}

enum rc raft_group_decode_conf(struct slice encoded, struct raft_configuration *ret_conf)
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
    enum rc rc = raft_group_decode_conf(data, &conf);
    raft_configuration_close(&conf);
    if (rc != RC_OK)
        return rc;
    e->batch = raft_malloc(data.size);
    CHECK(e->batch != NULL);
    memcpy(e->batch, data.base, data.size);
    e->buf = (struct raft_buffer){.base = e->batch, .len = data.size};
    return RC_OK;
}

/* The log may begin right after what was applied; a state behind its mark is found later. */
static void begin_window(struct loading *loading)
{
    loading->group->window.applied = loading->log.snapshot.index;
    loading->group->applied_term = loading->log.snapshot.term;
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
    if (rc != RC_OK)
        return rc;
    if (loading->count == 1)
        begin_window(loading);
    if (entry->index <= loading->applied) {
        window->applied = entry->index;
        loading->group->applied_term = entry->term;
        return RC_OK;
    }
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
    /* The state is written after the log it came from, and the snapshot mark after the state; only
     * a transferred state may be beyond a log that is still to come. */
    if (loading->applied < log->snapshot.index ||
        (loading->applied > log->last_index && !log->has_snapshot))
        return RC_CORRUPT;
    if (loading->count == 0)
        begin_window(loading);
    group->kept_from = log->first_index;
    group->self = log->hard.self;
    raft_window_mark(&group->window, group->window.applied + 1, 1); /* It came from the store. */
    group->mark = group->durable_mark = 1;
    loading->metadata.index = log->snapshot.index;
    loading->metadata.term = log->snapshot.term;
    loading->metadata.configuration_index = log->snapshot.conf_index;
    if (!log->has_snapshot)
        return RC_OK;
    return raft_group_decode_conf(log->snapshot.conf, &loading->metadata.configuration);
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
            enum rc rc = raft_group_decode_conf(slice_of(data->base, data->len), &newest);
            CHECK(rc == RC_OK); /* It was read once already. */
            conf = &newest;
            break;
        }
    bool is_only = raft_group_is_only_voter(conf, loading->group->self);
    raft_configuration_close(&newest);
    return is_only;
}

enum rc raft_group_confirm_conf(struct raft_group *group, uint64_t now_ms)
{
    struct raft_buffer encoded;
    int error = raft_configuration_encode(&group->raft.configuration, &encoded);
    CHECK(error == 0);
    struct raft_event event = {
        .type = RAFT_CONFIGURATION,
        .configuration.index = group->raft.configuration_uncommitted_index,
    };
    enum rc rc =
        raft_group_decode_conf(slice_of(encoded.base, encoded.len), &event.configuration.conf);
    CHECK(rc == RC_OK);
    raft_free(encoded.base);
    return raft_group_step(group, now_ms, &event, NULL); /* Takes the configuration. */
}

/* The core takes the last configuration of the log for uncommitted, since it cannot know. Where we
 * had applied it, it is: the core would wait for ever to be told, and refuse any other. */
static enum rc confirm_applied_conf(struct raft_group *group, uint64_t now_ms)
{
    uint64_t index = group->raft.configuration_uncommitted_index;
    if (index == 0 || index > group->window.applied)
        return RC_OK;
    return raft_group_confirm_conf(group, now_ms);
}

static enum rc start(struct loading *loading, uint64_t now_ms)
{
    struct raft_group *group = loading->group;
    struct raft_log_hard *hard = &loading->log.hard;
    group->is_restarted = hard->term != 0;
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
    enum rc rc = raft_group_step(group, now_ms, &event, NULL);
    raft_configuration_init(&loading->metadata.configuration); /* The core took it. */
    if (rc == RC_OK)
        rc = confirm_applied_conf(group, now_ms);
    if (rc == RC_OK)
        return raft_group_follow_leadership(group, now_ms);
    /* Some of the core's failures free the entries, others do not; all mean that memory is out. */
    loading->entries = NULL;
    loading->count = 0;
    return rc;
}

static void init_core(struct raft_group *group)
{
    const struct raft_group_options *options = &group->options;
    char address[RAFT_GROUP_ADDRESS_SIZE];
    raft_group_address(address, slice_string(options->address), group->self);
    int error = raft_init(&group->raft, NULL, NULL, group->self, address);
    CHECK(error == 0);
    group->has_core = true;
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
    struct raft_group *group = mem_new(struct raft_group);
    group->kv = kv;
    group->options = *options;
    group->shard = options->shard;
    group->opened_ms = now_ms;
    list_init(&group->held);
    group->record = buf_new(0);
    group->entries = buf_new(0);
    raft_window_init(&group->window, options->shard, 0);
    struct loading loading = {.group = group, .applied = applied};
    enum rc rc = load(&loading);
    if (rc == RC_OK) {
        init_core(group);
        rc = start(&loading, now_ms);
    }
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
    LIST_EACH(node, &taken->held)
    {
        struct raft_held *held = LIST_ENTRY(node, struct raft_held, held);
        list_remove(node);
        buf_unref(&held->record);
        mem_free(held);
    }
    buf_unref(&taken->record);
    buf_unref(&taken->entries);
    raft_free(taken->install.conf.base);
    if (taken->has_core)
        raft_close(&taken->raft, NULL);
    mem_free(taken);
}
