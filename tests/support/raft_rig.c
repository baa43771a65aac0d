#include "tests/support/raft_rig.h"

#include <stdio.h>

#include "mesh/base/check.h"
#include "mesh/base/env.h"
#include "mesh/base/mem.h"
#include "storage/mem_kv.h"
#include "tests/support/raft_rig_private.h"

#define ELECTION_MS  500u
#define HEARTBEAT_MS 100u
#define LEASE_MS     400u

static const struct slice state_key = {.base = "state", .size = 5};

/* ---- One node ---- */

uint64_t raft_rig_clock(const struct raft_rig *rig, uint32_t node)
{
    return rig->now_ms + rig->nodes[node].ahead_ms;
}

static uint64_t clock_of(const struct raft_rig_node *node)
{
    return node->rig->now_ms + node->ahead_ms;
}

static void put_state(struct raft_rig_node *node)
{
    kv_put(node->batch, KV_STATE, state_key, slice_of(&node->now, sizeof(node->now)));
}

static void load_state(struct raft_rig_node *node)
{
    struct buf *row = buf_new(0);
    node->now = (struct raft_rig_state){0};
    if (node->kv->ops->get(node->kv, KV_STATE, state_key, row) == RC_OK) {
        CHECK(row->size == sizeof(node->now));
        memcpy(&node->now, row->bytes, sizeof(node->now));
    }
    buf_unref(&row);
}

static void apply(struct raft_rig_node *node)
{
    uint64_t index, before = node->now.applied;
    struct slice data;
    while (raft_group_next_committed(node->group, &index, &data)) {
        raft_rig_note_applied(node, index, data);
        if (index > node->now.applied) {
            if (index != node->now.applied + 1)
                raft_rig_violate(node->rig, "the machine missed what is before", index,
                                 node->address);
            node->now.digest =
                node->now.digest * 31 + node->rig->entries[index % RAFT_RIG_ENTRIES_MAX].hash;
            node->now.applied = index;
        }
        raft_group_applied(node->group, clock_of(node), index);
    }
    if (node->now.applied != before)
        put_state(node);
}

static void on_synced(void *context, enum rc rc)
{
    struct raft_rig_node *node = context;
    CHECK(rc == RC_OK);
    node->is_syncing = false;
    node->is_woken = true;
    if (node->group != NULL)
        raft_rig_expect_ok(node,
                           raft_group_on_durable(node->group, clock_of(node), node->syncing_mark));
}

static void end_sync(struct raft_rig_node *node)
{
    if (!node->is_syncing || node->is_held || node->synced_ms > node->rig->now_ms)
        return;
    bool was_pending = mem_kv_complete_sync(node->kv);
    CHECK(was_pending);
}

static void begin_sync(struct raft_rig_node *node)
{
    struct raft_rig *rig = node->rig;
    if (!node->needs_sync || node->is_syncing)
        return;
    node->needs_sync = false;
    node->is_syncing = true;
    node->synced_ms = rig->now_ms + rig->sync_ms + raft_rig_random(rig, rig->sync_more_ms);
    node->syncing_mark = node->group != NULL ? raft_group_mark(node->group) : 0;
    node->kv->ops->sync(node->kv, on_synced, node);
}

void raft_rig_turn(struct raft_rig *rig, uint32_t at)
{
    struct raft_rig_node *node = &rig->nodes[at];
    node->is_woken = false;
    if (node->batch == NULL)
        return;
    end_sync(node);
    node->is_woken = false;
    if (node->group != NULL) {
        if (raft_group_is_installing(node->group)) {
            node->now = node->transferred;
            node->has_transferred = false;
            put_state(node);
        } else {
            apply(node);
        }
        node->needs_sync |= raft_group_collect(node->group, node->batch);
    }
    if (node->kv->ops->batch_count(node->batch) > 0) {
        enum rc rc = node->kv->ops->write(node->kv, node->batch);
        CHECK(rc == RC_OK);
    }
    raft_rig_flush(rig, at);
    begin_sync(node);
    end_sync(node);
}

static enum rc open_group(struct raft_rig_node *node)
{
    const struct raft_group_options options = {
        .shard = RAFT_RIG_SHARD,
        .address = node->address,
        .election_ms = ELECTION_MS,
        .heartbeat_ms = HEARTBEAT_MS,
        .lease_ms = LEASE_MS,
        .seed = (uint32_t)raft_rig_random(node->rig, 0) + (uint32_t)node->rig->random,
        .context = node,
        .send = raft_rig_on_send,
    };
    load_state(node);
    enum rc rc =
        raft_group_open(&options, node->kv, node->now.applied, clock_of(node), &node->group);
    node->server = rc == RC_OK ? raft_group_self(node->group) : 0;
    node->is_woken = true;
    return rc;
}

/* Write what is in the batch and have it durable, before anything else happens. */
static void write_through(struct raft_rig_node *node)
{
    enum rc rc = node->kv->ops->write(node->kv, node->batch);
    CHECK(rc == RC_OK);
    if (node->is_syncing) {
        bool was_pending = mem_kv_complete_sync(node->kv);
        CHECK(was_pending);
    }
    mem_kv_crash(node->kv, 0); /* What is left is durable. */
}

/* ---- Life of replicas ---- */

void raft_rig_bootstrap(struct raft_rig *rig, uint32_t at)
{
    struct raft_rig_node *node = &rig->nodes[at];
    const struct raft_group_options options = {.shard = RAFT_RIG_SHARD, .address = node->address};
    raft_group_bootstrap(&options, rig->next_server++, node->batch);
    write_through(node);
    raft_rig_expect_ok(node, open_group(node));
}

uint64_t raft_rig_begin(struct raft_rig *rig, uint32_t at)
{
    struct raft_rig_node *node = &rig->nodes[at];
    CHECK(node->group == NULL && node->batch != NULL);
    raft_group_begin(RAFT_RIG_SHARD, rig->next_server++, node->batch);
    node->batch->ops->remove(node->batch, KV_STATE, state_key);
    write_through(node);
    raft_rig_expect_ok(node, open_group(node));
    return node->server;
}

void raft_rig_erase(struct raft_rig *rig, uint32_t at)
{
    struct raft_rig_node *node = &rig->nodes[at];
    raft_group_free(&node->group);
    raft_rig_drop_unsent(rig, at);
    raft_group_erase(RAFT_RIG_SHARD, node->batch);
    node->batch->ops->remove(node->batch, KV_STATE, state_key);
    write_through(node);
    node->server = 0;
    node->has_transferred = false;
    node->needs_sync = false;
}

void raft_rig_crash(struct raft_rig *rig, uint32_t at, uint64_t lose_count)
{
    struct raft_rig_node *node = &rig->nodes[at];
    raft_group_free(&node->group);
    raft_rig_drop_unsent(rig, at);
    node->kv->ops->batch_free(&node->batch);
    mem_kv_crash(node->kv, lose_count);
    node->needs_sync = node->is_syncing = node->has_transferred = false;
}

enum rc raft_rig_restart(struct raft_rig *rig, uint32_t at)
{
    struct raft_rig_node *node = &rig->nodes[at];
    CHECK(node->batch == NULL);
    node->batch = node->kv->ops->batch_new(node->kv);
    return open_group(node);
}

void raft_rig_init(struct raft_rig *rig, uint64_t seed)
{
    memset(rig, 0, sizeof(*rig));
    rig->random = seed;
    rig->now_ms = 1000;
    rig->next_server = 101;
    rig->sync_ms = rig->delay_ms = 1;
    for (uint32_t i = 0; i < RAFT_RIG_NODES; i++) {
        struct raft_rig_node *node = &rig->nodes[i];
        node->rig = rig;
        snprintf(node->address, sizeof(node->address), "router-%u", i);
        node->ahead_ms = raft_rig_random(rig, 1000000);
        node->kv = mem_kv_new();
        node->batch = node->kv->ops->batch_new(node->kv);
    }
}

void raft_rig_fini(struct raft_rig *rig)
{
    raft_rig_drop_all(rig);
    mem_free(rig->packets);
    buf_unref(&rig->kept.record);
    for (uint32_t i = 0; i < RAFT_RIG_NODES; i++) {
        struct raft_rig_node *node = &rig->nodes[i];
        raft_group_free(&node->group);
        node->kv->ops->batch_free(&node->batch);
        node->kv->ops->close(&node->kv);
    }
}

/* ---- Time ---- */

static uint64_t next_event(const struct raft_rig *rig)
{
    uint64_t next = UINT64_MAX;
    for (uint32_t i = 0; i < rig->packet_count; i++)
        if (rig->packets[i].is_sent && rig->packets[i].due_ms < next)
            next = rig->packets[i].due_ms;
    for (uint32_t i = 0; i < RAFT_RIG_NODES; i++) {
        const struct raft_rig_node *node = &rig->nodes[i];
        if (node->is_woken)
            return rig->now_ms;
        if (node->is_syncing && !node->is_held && node->synced_ms < next)
            next = node->synced_ms;
        uint64_t due_ms = node->group != NULL ? raft_group_due_ms(node->group) : ENV_NEVER;
        if (due_ms == ENV_NEVER)
            continue;
        due_ms = due_ms > node->ahead_ms ? due_ms - node->ahead_ms : 0;
        if (due_ms < next)
            next = due_ms;
    }
    return next;
}

static void step(struct raft_rig *rig)
{
    raft_rig_deliver_due(rig);
    for (uint32_t i = 0; i < RAFT_RIG_NODES; i++) {
        struct raft_rig_node *node = &rig->nodes[i];
        if (node->group != NULL && raft_group_due_ms(node->group) <= clock_of(node)) {
            raft_rig_expect_ok(node, raft_group_tick(node->group, clock_of(node)));
            node->is_woken = true;
        }
        bool is_synced = node->is_syncing && !node->is_held && node->synced_ms <= rig->now_ms;
        if (node->is_woken || is_synced) {
            raft_rig_turn(rig, i);
            raft_rig_watch(rig);
        }
    }
}

bool raft_rig_run_until(struct raft_rig *rig, uint64_t ms,
                        bool (*is_done)(struct raft_rig *rig, uint32_t node), uint32_t node)
{
    uint64_t end_ms = rig->now_ms + ms;
    while (is_done == NULL || !is_done(rig, node)) {
        uint64_t next_ms = next_event(rig);
        if (next_ms > end_ms || raft_rig_violation(rig) != NULL) {
            rig->now_ms = end_ms;
            raft_rig_watch(rig);
            return is_done != NULL && is_done(rig, node);
        }
        if (next_ms > rig->now_ms)
            rig->now_ms = next_ms;
        step(rig);
    }
    return true;
}

void raft_rig_run(struct raft_rig *rig, uint64_t ms)
{
    raft_rig_run_until(rig, ms, NULL, 0);
}

/* ---- Commands and state ---- */

enum rc raft_rig_submit(struct raft_rig *rig, uint32_t at, const char *text, uint64_t *ret_index)
{
    struct raft_rig_node *node = &rig->nodes[at];
    struct buf *entry = buf_new(0);
    buf_append_string(entry, text);
    enum rc rc = raft_group_submit(node->group, clock_of(node), entry, ret_index);
    buf_unref(&entry);
    node->is_woken = true;
    return rc;
}

bool raft_rig_say(struct raft_rig *rig, uint32_t at, const char *text)
{
    uint64_t index;
    return raft_rig_submit(rig, at, text, &index) == RC_OK &&
           raft_rig_run_until(rig, 3000, raft_rig_all_even, 0) && rig->committed >= index &&
           strcmp(rig->entries[index].text, text) == 0;
}

void raft_rig_truncate(struct raft_rig *rig, uint32_t at, uint64_t index)
{
    struct raft_rig_node *node = &rig->nodes[at];
    raft_rig_expect_ok(node, raft_group_truncate(node->group, clock_of(node), index, node->batch));
    node->is_woken = true;
}

void raft_rig_transfer_state(struct raft_rig *rig, uint32_t from, uint32_t to)
{
    rig->nodes[to].transferred = rig->nodes[from].now;
    rig->nodes[to].has_transferred = true;
}

/* ---- Changes ---- */

static bool is_settled(struct raft_rig *rig, uint32_t leader)
{
    struct raft_rig_node *node = &rig->nodes[leader];
    struct raft_group_server servers[LIMIT_SERVERS_MAX];
    if (!raft_rig_is_ready(rig, leader))
        return true; /* It took itself out, or was deposed. */
    if (raft_group_is_changing(node->group) || !raft_rig_is_even(rig, leader))
        return false;
    uint32_t count = raft_group_servers(node->group, clock_of(node), servers);
    for (uint32_t i = 0; i < count; i++)
        if (servers[i].role == RAFT_GROUP_VOTER && servers[i].id != node->server &&
            servers[i].match < raft_group_conf_index(node->group))
            return false;
    return true;
}

static enum rc change(struct raft_rig *rig, uint32_t leader, uint64_t server, const char *address,
                      enum raft_group_role role)
{
    struct raft_rig_node *node = &rig->nodes[leader];
    enum rc rc;
    uint64_t end_ms = rig->now_ms + 3000;
    while ((rc = raft_group_change(node->group, clock_of(node), server, slice_string(address),
                                   role)) == RC_AGAIN &&
           rig->now_ms < end_ms)
        raft_rig_run(rig, 5);
    node->is_woken = true;
    if (rc == RC_OK && !raft_rig_run_until(rig, 3000, is_settled, leader))
        return RC_TIMEOUT;
    return rc;
}

enum rc raft_rig_change(struct raft_rig *rig, uint32_t leader, uint32_t at,
                        enum raft_group_role role)
{
    return change(rig, leader, rig->nodes[at].server, rig->nodes[at].address, role);
}

enum rc raft_rig_remove(struct raft_rig *rig, uint32_t leader, uint64_t server)
{
    return change(rig, leader, server, "", RAFT_GROUP_SPARE);
}

enum rc raft_rig_join(struct raft_rig *rig, uint32_t leader, uint32_t at)
{
    raft_rig_begin(rig, at);
    enum rc rc = raft_rig_change(rig, leader, at, RAFT_GROUP_STANDBY);
    if (rc == RC_OK && !raft_rig_run_until(rig, 3000, raft_rig_all_even, 0))
        rc = RC_TIMEOUT;
    return rc == RC_OK ? raft_rig_change(rig, leader, at, RAFT_GROUP_VOTER) : rc;
}

void raft_rig_start(struct raft_rig *rig, uint32_t count)
{
    raft_rig_bootstrap(rig, 0);
    bool is_ready = raft_rig_run_until(rig, 3000, raft_rig_is_ready, 0);
    CHECK(is_ready);
    for (uint32_t i = 1; i < count; i++) {
        enum rc rc = raft_rig_join(rig, 0, i);
        CHECK(rc == RC_OK);
    }
    bool is_even = raft_rig_run_until(rig, 3000, raft_rig_all_even, 0);
    CHECK(is_even);
}

/* ---- Questions ---- */

bool raft_rig_leads(struct raft_rig *rig, uint32_t at)
{
    const struct raft_group *group = rig->nodes[at].group;
    return group != NULL && strcmp(raft_group_state_name(group), "leader") == 0;
}

bool raft_rig_is_ready(struct raft_rig *rig, uint32_t at)
{
    return rig->nodes[at].group != NULL && raft_group_is_ready(rig->nodes[at].group);
}

bool raft_rig_has_lease(struct raft_rig *rig, uint32_t at)
{
    struct raft_rig_node *node = &rig->nodes[at];
    return node->group != NULL && raft_group_has_lease(node->group, clock_of(node));
}

bool raft_rig_is_even(struct raft_rig *rig, uint32_t at)
{
    return rig->nodes[at].now.applied >= rig->committed;
}

/* All that are up have applied what the leader has in its log. */
bool raft_rig_all_even(struct raft_rig *rig, uint32_t unused)
{
    (void)unused;
    uint64_t last = rig->committed;
    for (uint32_t i = 0; i < RAFT_RIG_NODES; i++)
        if (raft_rig_is_ready(rig, i) && raft_group_last_index(rig->nodes[i].group) > last)
            last = raft_group_last_index(rig->nodes[i].group);
    for (uint32_t i = 0; i < RAFT_RIG_NODES; i++)
        if (rig->nodes[i].group != NULL && rig->nodes[i].now.applied < last)
            return false;
    return true;
}

uint32_t raft_rig_leader(struct raft_rig *rig)
{
    uint32_t best = RAFT_RIG_NODES;
    for (uint32_t i = 0; i < RAFT_RIG_NODES; i++)
        if (raft_rig_is_ready(rig, i) &&
            (best == RAFT_RIG_NODES ||
             raft_group_term(rig->nodes[i].group) > raft_group_term(rig->nodes[best].group)))
            best = i;
    return best;
}

uint32_t raft_rig_node_of(const struct raft_rig *rig, uint64_t server)
{
    for (uint32_t i = 0; i < RAFT_RIG_NODES; i++)
        if (rig->nodes[i].server == server)
            return i;
    return RAFT_RIG_NODES;
}
