#include <stdio.h>

#include "mesh/base/check.h"
#include "mesh/base/mem.h"
#include "storage/raft_log.h"
#include "tests/support/raft_rig_private.h"

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

void raft_rig_violate(struct raft_rig *rig, const char *what, uint64_t which, const char *where)
{
    if (rig->violation[0] == '\0' && !rig->is_lawless)
        snprintf(rig->violation, sizeof(rig->violation), "%s %lu (%s at %lu ms)", what,
                 (unsigned long)which, where, (unsigned long)rig->now_ms);
}

const char *raft_rig_violation(const struct raft_rig *rig)
{
    return rig->violation[0] != '\0' ? rig->violation : NULL;
}

void raft_rig_expect_ok(struct raft_rig_node *node, enum rc rc)
{
    node->rig->failures += rc != RC_OK;
    if (rc != RC_OK)
        raft_rig_violate(node->rig, "the group failed, error", rc, node->address);
}

void raft_rig_watch(struct raft_rig *rig)
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
            raft_rig_violate(rig, "two leaders in term", term, node->address);
        rig->leaders[term] = node->server;
    }
    if (leases > 1)
        raft_rig_violate(rig, "leases held at once:", leases, "all");
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
            raft_rig_violate(rig, "a lease outlived a commit of term", raft_group_term(node->group),
                             rig->nodes[i].address);
}

void raft_rig_note_applied(struct raft_rig_node *node, uint64_t index, struct slice data)
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
        raft_rig_violate(rig, "applied but not stored: entry", index, node->address);
    struct raft_rig_entry *known = &rig->entries[index];
    uint64_t hash = hash_of(&entry);
    if (known->is_known && known->hash != hash)
        raft_rig_violate(rig, "two entries committed at index", index, node->address);
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

void raft_rig_on_send(void *context, struct slice to, struct slice record)
{
    struct raft_rig_node *node = context;
    struct raft_rig *rig = node->rig;
    uint32_t at = node_named(rig, to);
    if (at == RAFT_RIG_NODES) {
        raft_rig_violate(rig, "a message to nobody, bytes:", record.size, node->address);
        return;
    }
    packet_push(rig, (uint32_t)(node - rig->nodes), at, 0, false, record);
}

static bool is_kept(const struct raft_rig *rig, const struct raft_rig_packet *packet)
{
    return rig->keep_type != 0 && rig->keep_type == packet->message.type &&
           rig->keep_to == packet->to;
}

void raft_rig_flush(struct raft_rig *rig, uint32_t from)
{
    for (uint32_t i = 0; i < rig->packet_count;) {
        struct raft_rig_packet *p = &rig->packets[i];
        if (p->from != from || p->is_sent) {
            i++;
            continue;
        }
        if (is_kept(rig, p)) {
            packet_fini(&rig->kept);
            rig->kept = *p;
            rig->keep_type = 0;
            p->record = NULL;
            packet_remove(rig, i);
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

void raft_rig_drop_unsent(struct raft_rig *rig, uint32_t from)
{
    for (uint32_t i = rig->packet_count; i-- > 0;)
        if (rig->packets[i].from == from && !rig->packets[i].is_sent)
            packet_remove(rig, i);
}

void raft_rig_keep(struct raft_rig *rig, uint64_t type, uint32_t to)
{
    rig->keep_type = type;
    rig->keep_to = to;
}

enum rc raft_rig_give_kept(struct raft_rig *rig)
{
    CHECK(rig->kept.record != NULL);
    return raft_rig_deliver(rig, rig->kept.from, rig->kept.to, &rig->kept.message);
}

struct msg_raft raft_rig_message(struct raft_rig *rig, uint64_t type, uint32_t from, uint32_t to)
{
    return (struct msg_raft){
        .group = RAFT_RIG_SHARD,
        .to = rig->nodes[to].server,
        .from = rig->nodes[from].server,
        .type = type,
        .term = raft_group_term(rig->nodes[to].group),
        .stamp = raft_rig_clock(rig, from),
    };
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
        raft_rig_expect_ok(node, rc);
    return rc;
}

void raft_rig_deliver_due(struct raft_rig *rig)
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
        raft_rig_watch(rig);
    }
}
