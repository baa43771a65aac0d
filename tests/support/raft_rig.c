#include "tests/support/raft_rig.h"

#include <stdio.h>

#include "mesh/base/check.h"
#include "mesh/base/env.h"
#include "mesh/base/mem.h"
#include "storage/mem_kv.h"
#include "storage/raft_log.h"

#define ELECTION_MS  500u
#define HEARTBEAT_MS 100u
#define LEASE_MS     400u

static const struct slice state_key = {.base = "state", .size = 5};

/* ---- Chance ---- */

uint64_t raft_rig_random(struct raft_rig *rig, uint64_t below)
{
    /* splitmix64: a counter, well mixed, so any seed will do. */
    uint64_t z = rig->random += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    z ^= z >> 31;
    return below > 0 ? z % below : 0;
}

static bool happens(struct raft_rig *rig, uint32_t percent)
{
    return percent > 0 && raft_rig_random(rig, 100) < percent;
}

/* ---- What must hold ---- */

static void violate(struct raft_rig *rig, const char *what, uint64_t which, const char *where)
{
    if (rig->violation[0] == '\0' && !rig->is_lawless)
        snprintf(rig->violation, sizeof(rig->violation), "%s %lu (%s at %lu ms)", what,
                 (unsigned long)which, where, (unsigned long)rig->now_ms);
}

const char *raft_rig_violation(const struct raft_rig *rig)
{
    return rig->violation[0] != '\0' ? rig->violation : NULL;
}

static void expect_ok(struct raft_rig_node *node, enum rc rc)
{
    if (rc != RC_OK)
        violate(node->rig, "the group failed, error", rc, node->address);
}

static void watch(struct raft_rig *rig)
{
    uint32_t leases = 0;
    for (uint32_t i = 0; i < RAFT_RIG_NODES; i++) {
        struct raft_rig_node *node = &rig->nodes[i];
        if (node->group == NULL)
            continue;
        leases += raft_rig_has_lease(rig, i);
        uint64_t term = raft_group_term(node->group);
        if (term >= RAFT_RIG_TERMS_MAX || !raft_rig_leads(rig, i))
            continue;
        if (rig->leaders[term] != 0 && rig->leaders[term] != node->server)
            violate(rig, "two leaders in term", term, node->address);
        rig->leaders[term] = node->server;
    }
    if (leases > 1)
        violate(rig, "leases held at once:", leases, "all");
}

static uint64_t hash_of(const struct raft_log_entry *entry)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325) ^ entry->term << 8 ^ (uint64_t)entry->type;
    for (uint32_t i = 0; i < entry->data.size; i++)
        hash = (hash ^ (uint8_t)entry->data.base[i]) * UINT64_C(0x100000001b3);
    return hash;
}

/* A leader that commits while another could still answer reads would make those stale. */
static void watch_commit(struct raft_rig *rig, struct raft_rig_node *node)
{
    for (uint32_t i = 0; i < RAFT_RIG_NODES; i++)
        if (&rig->nodes[i] != node && raft_rig_has_lease(rig, i) &&
            raft_group_term(rig->nodes[i].group) < raft_group_term(node->group))
            violate(rig, "a lease outlived a commit of term", raft_group_term(node->group),
                    rig->nodes[i].address);
}

static void note_applied(struct raft_rig_node *node, uint64_t index, struct slice data)
{
    struct raft_rig *rig = node->rig;
    uint8_t bytes[RAFT_LOG_ENTRY_KEY_SIZE];
    struct slice key = raft_log_entry_key(bytes, RAFT_RIG_SHARD, index);
    struct raft_log_entry entry = {0};
    struct buf *row = buf_new(0);
    CHECK(index < RAFT_RIG_ENTRIES_MAX);
    enum rc rc = node->kv->ops->get(node->kv, KV_LOG, key, row);
    if (rc == RC_OK)
        rc = raft_log_entry_decode(key, buf_slice(row), RAFT_RIG_SHARD, &entry);
    if (rc != RC_OK)
        violate(rig, "applied but not stored: entry", index, node->address);
    struct raft_rig_entry *known = &rig->entries[index];
    uint64_t hash = hash_of(&entry);
    if (known->is_known && known->hash != hash)
        violate(rig, "two entries committed at index", index, node->address);
    if (!known->is_known) {
        *known = (struct raft_rig_entry){.is_known = true, .hash = hash};
        snprintf(known->text, sizeof(known->text), "%.*s", SLICE_ARGS(data));
        if (index > rig->committed)
            rig->committed = index;
        watch_commit(rig, node);
    }
    buf_unref(&row);
}

/* ---- The network ---- */

static void packet_fini(struct raft_rig_packet *packet)
{
    buf_unref(&packet->record);
}

static void packet_push(struct raft_rig *rig, uint32_t from, uint32_t to, uint64_t due_ms,
                        bool is_sent, struct slice record)
{
    if (rig->packet_count == rig->packet_capacity) {
        rig->packet_capacity = 2 * rig->packet_capacity + 64;
        rig->packets = mem_resize(rig->packets, rig->packet_capacity * sizeof(*rig->packets));
    }
    struct raft_rig_packet *p = &rig->packets[rig->packet_count++];
    *p = (struct raft_rig_packet){.from = from, .to = to, .due_ms = due_ms, .is_sent = is_sent};
    p->record = buf_new(record.size);
    buf_append_slice(p->record, record);
    struct record_reader r = record_reader_of(buf_slice(p->record));
    enum rc rc = record_decode(&r, &msg_raft_desc, &p->message);
    CHECK(rc == RC_OK);
}

/* In the order of their sending. */
static void packet_remove(struct raft_rig *rig, uint32_t at)
{
    packet_fini(&rig->packets[at]);
    rig->packet_count--;
    memmove(&rig->packets[at], &rig->packets[at + 1],
            (rig->packet_count - at) * sizeof(*rig->packets));
}

static uint32_t node_named(const struct raft_rig *rig, struct slice name)
{
    for (uint32_t i = 0; i < RAFT_RIG_NODES; i++)
        if (slice_equals(name, rig->nodes[i].address))
            return i;
    return RAFT_RIG_NODES;
}

static void on_send(void *context, struct slice to, struct slice record)
{
    struct raft_rig_node *node = context;
    struct raft_rig *rig = node->rig;
    uint32_t at = node_named(rig, to);
    if (at == RAFT_RIG_NODES) {
        violate(rig, "a message to nobody, bytes:", record.size, node->address);
        return;
    }
    packet_push(rig, (uint32_t)(node - rig->nodes), at, 0, false, record);
}

/* What a node said in this turn leaves. */
static void flush(struct raft_rig *rig, uint32_t from)
{
    for (uint32_t i = 0; i < rig->packet_count;) {
        struct raft_rig_packet *p = &rig->packets[i];
        if (p->from != from || p->is_sent) {
            i++;
            continue;
        }
        bool is_lost = rig->is_cut[from][p->to] || happens(rig, rig->loss_percent) ||
                       (rig->filter != NULL && !rig->filter(rig->context, p));
        if (is_lost) {
            packet_remove(rig, i);
            continue;
        }
        p->is_sent = true;
        p->due_ms = rig->now_ms + rig->delay_ms + raft_rig_random(rig, rig->delay_more_ms);
        if (happens(rig, rig->double_percent)) {
            uint64_t again_ms = p->due_ms + raft_rig_random(rig, 4 * rig->delay_more_ms);
            packet_push(rig, from, p->to, again_ms, true, buf_slice(p->record));
        }
        i++;
    }
}

static void drop_unsent(struct raft_rig *rig, uint32_t from)
{
    for (uint32_t i = rig->packet_count; i-- > 0;)
        if (rig->packets[i].from == from && !rig->packets[i].is_sent)
            packet_remove(rig, i);
}

void raft_rig_drop_all(struct raft_rig *rig)
{
    while (rig->packet_count > 0)
        packet_fini(&rig->packets[--rig->packet_count]);
}

void raft_rig_cut_off(struct raft_rig *rig, uint32_t node, bool is_cut)
{
    for (uint32_t i = 0; i < RAFT_RIG_NODES; i++)
        rig->is_cut[node][i] = rig->is_cut[i][node] = is_cut;
}

enum rc raft_rig_deliver(struct raft_rig *rig, uint32_t from, uint32_t to,
                         const struct msg_raft *message)
{
    struct raft_rig_node *node = &rig->nodes[to];
    if (node->group == NULL || message->to != node->server)
        return RC_NOT_FOUND; /* Another replica lived there. */
    if (raft_group_is_install(message) &&
        (!node->has_transferred || node->transferred.applied < message->a))
        return RC_NOT_FOUND;
    node->is_woken = true;
    rig->delivered++;
    enum rc rc = raft_group_receive(node->group, raft_rig_clock(rig, to),
                                    slice_string(rig->nodes[from].address), message);
    if (rc == RC_BAD_REQUEST)
        rig->bad_requests++;
    else
        expect_ok(node, rc);
    return rc;
}

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
        note_applied(node, index, data);
        if (index > node->now.applied) {
            if (index != node->now.applied + 1)
                violate(node->rig, "the machine missed what is before", index, node->address);
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
        expect_ok(node, raft_group_on_durable(node->group, clock_of(node), node->syncing_mark));
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
    flush(rig, at);
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
        .send = on_send,
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
    expect_ok(node, open_group(node));
}

uint64_t raft_rig_begin(struct raft_rig *rig, uint32_t at)
{
    struct raft_rig_node *node = &rig->nodes[at];
    CHECK(node->group == NULL && node->batch != NULL);
    raft_group_begin(RAFT_RIG_SHARD, rig->next_server++, node->batch);
    node->batch->ops->remove(node->batch, KV_STATE, state_key);
    write_through(node);
    expect_ok(node, open_group(node));
    return node->server;
}

void raft_rig_erase(struct raft_rig *rig, uint32_t at)
{
    struct raft_rig_node *node = &rig->nodes[at];
    raft_group_free(&node->group);
    drop_unsent(rig, at);
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
    drop_unsent(rig, at);
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

static void deliver_due(struct raft_rig *rig)
{
    for (uint32_t i = 0; i < rig->packet_count;) {
        struct raft_rig_packet packet = rig->packets[i];
        if (!packet.is_sent || packet.due_ms > rig->now_ms) {
            i++;
            continue;
        }
        rig->packet_count--;
        memmove(&rig->packets[i], &rig->packets[i + 1],
                (rig->packet_count - i) * sizeof(*rig->packets));
        raft_rig_deliver(rig, packet.from, packet.to, &packet.message);
        packet_fini(&packet);
        watch(rig);
    }
}

static void step(struct raft_rig *rig)
{
    deliver_due(rig);
    for (uint32_t i = 0; i < RAFT_RIG_NODES; i++) {
        struct raft_rig_node *node = &rig->nodes[i];
        if (node->group != NULL && raft_group_due_ms(node->group) <= clock_of(node)) {
            expect_ok(node, raft_group_tick(node->group, clock_of(node)));
            node->is_woken = true;
        }
        bool is_synced =
            node->is_syncing && !node->is_held && node->synced_ms <= rig->now_ms;
        if (node->is_woken || is_synced) {
            raft_rig_turn(rig, i);
            watch(rig);
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
            watch(rig);
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
    expect_ok(node, raft_group_truncate(node->group, clock_of(node), index, node->batch));
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

void raft_rig_start(struct raft_rig *rig, uint32_t count)
{
    raft_rig_bootstrap(rig, 0);
    bool is_ready = raft_rig_run_until(rig, 3000, raft_rig_is_ready, 0);
    CHECK(is_ready);
    for (uint32_t i = 1; i < count; i++) {
        raft_rig_begin(rig, i);
        enum rc rc = raft_rig_change(rig, 0, i, RAFT_GROUP_STANDBY);
        CHECK(rc == RC_OK);
        bool is_even = raft_rig_run_until(rig, 3000, raft_rig_all_even, 0);
        CHECK(is_even);
        rc = raft_rig_change(rig, 0, i, RAFT_GROUP_VOTER);
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
            (best == RAFT_RIG_NODES || raft_group_term(rig->nodes[i].group) >
                                           raft_group_term(rig->nodes[best].group)))
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
