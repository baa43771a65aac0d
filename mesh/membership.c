#include "mesh/membership.h"

#include "mesh/base/check.h"
#include "mesh/base/limits.h"
#include "mesh/base/log.h"
#include "mesh/base/map.h"
#include "mesh/base/mem.h"
#include "mesh/base/metrics.h"
#include "mesh/endpoint.h"
#include "mesh/wire/key.h"

#define SILENT_US      ((uint64_t)LIMIT_MEMBER_SILENT_MS * 1000)
#define FORGET_US      ((uint64_t)MEMBERSHIP_FORGET_MS * 1000)
#define ZONE_SIZE_MAX  64u
#define CLUSTER_SIZE   16u
#define FORGOTTEN_MAX  64u /* In one tick; the rest in the next. */
#define FOREIGNERS_MAX 16u /* Ids remembered, so that each is logged once. */

enum member_state {
    MEMBER_DOWN,
    MEMBER_UP,
    MEMBER_LEFT,
};

/* A record with texts of its own. */
struct owned_node {
    struct msg_node node; /* Slices point into text. */
    char *text;
};

struct member {
    struct owned_node record;
    enum member_state state;
    uint64_t heard_us; /* When the newest record came. */
    uint64_t since_us; /* When it became DOWN. */
};

struct membership {
    struct owned_node self;
    struct membership_handler handler;
    struct map members; /* Owns them, by node id. */
    size_t up_count;
    uint64_t generation;
    /* Somebody else under our id, newer than we are, or our previous life after a clock went back.
     */
    uint64_t rival_incarnation;
    uint64_t rival_counter;
    uint64_t rival_since_us;
    bool superseded;
    char foreigners[FOREIGNERS_MAX][LIMIT_NODE_ID_SIZE_MAX + 1]; /* Ring. */
    uint32_t foreigner_next;
    char foreigner[LIMIT_NODE_ID_SIZE_MAX + 1]; /* See membership_foreigner(); or empty. */
};

/* ---- Records ---- */

static struct slice *slice_field(struct msg_node *node, uint32_t i)
{
    return (struct slice *)(void *)((char *)node + msg_node_desc.fields[i].offset);
}

static bool is_slice_field(uint32_t i)
{
    return msg_node_desc.fields[i].kind != RECORD_u64;
}

static void owned_node_set(struct owned_node *owned, const struct msg_node *node)
{
    struct msg_node copy = *node;
    size_t size = 0;
    for (uint32_t i = 0; i < msg_node_desc.field_count; i++)
        if (is_slice_field(i))
            size += slice_field(&copy, i)->size;
    char *text = mem_alloc(size);
    char *at = text;
    for (uint32_t i = 0; i < msg_node_desc.field_count; i++) {
        struct slice *s = is_slice_field(i) ? slice_field(&copy, i) : NULL;
        if (s == NULL || s->base == NULL)
            continue;
        memcpy(at, s->base, s->size);
        s->base = at;
        at += s->size;
    }
    mem_free(owned->text); /* Only now: `node` may point into it. */
    owned->node = copy;
    owned->text = text;
}

static bool texts_equal(const struct msg_node *a, const struct msg_node *b)
{
    for (uint32_t i = 0; i < msg_node_desc.field_count; i++)
        if (is_slice_field(i) && !slice_equal(*slice_field((struct msg_node *)(uintptr_t)a, i),
                                              *slice_field((struct msg_node *)(uintptr_t)b, i)))
            return false;
    return true;
}

static struct slice key_of_member(const void *thing)
{
    return ((const struct member *)thing)->record.node.id;
}

/* Printable ASCII: it is shown to people and written to logs. */
static bool text_is_plain(struct slice text, size_t size_max)
{
    if (text.size > size_max)
        return false;
    for (uint32_t i = 0; i < text.size; i++)
        if (text.base[i] <= ' ' || text.base[i] > '~')
            return false;
    return true;
}

static bool endpoint_is_absent_or_reachable(struct slice endpoint)
{
    return endpoint.size == 0 || endpoint_is_reachable(endpoint);
}

bool membership_record_is_valid(const struct msg_node *node)
{
    if (!key_node_is_valid(node->id) || !text_is_plain(node->http, ENDPOINT_SIZE_MAX) ||
        !text_is_plain(node->zone, ZONE_SIZE_MAX) ||
        (node->cluster.size != 0 && node->cluster.size != CLUSTER_SIZE))
        return false;
    if (node->role == NODE_ROUTER)
        return endpoint_is_reachable(node->gossip) && endpoint_is_reachable(node->request) &&
               endpoint_is_reachable(node->publish);
    return node->role == NODE_GATEWAY && endpoint_is_absent_or_reachable(node->gossip) &&
           endpoint_is_absent_or_reachable(node->request) &&
           endpoint_is_absent_or_reachable(node->publish);
}

/* ---- Life ---- */

struct membership *membership_new(const struct msg_node *self,
                                  const struct membership_handler *handler)
{
    CHECK(membership_record_is_valid(self));
    struct membership *m = mem_new(struct membership);
    owned_node_set(&m->self, self);
    m->handler = *handler;
    map_init(&m->members, key_of_member);
    return m;
}

static void member_free(struct member *member)
{
    mem_free(member->record.text);
    mem_free(member);
}

void membership_free(struct membership **membership)
{
    struct membership *m = *membership;
    if (m == NULL)
        return;
    *membership = NULL;
    size_t at = 0;
    for (struct member *x; (x = map_next(&m->members, &at)) != NULL;)
        member_free(x);
    map_fini(&m->members);
    mem_free(m->self.text);
    mem_free(m);
}

static void tell(struct membership *m, const struct member *member, enum member_event event)
{
    m->generation++;
    metric_set(peers_up, m->up_count);
    m->handler.on_member(m->handler.context, &member->record.node, event);
}

static void member_move(struct membership *m, struct member *member, enum member_state to)
{
    m->up_count += to == MEMBER_UP;
    m->up_count -= member->state == MEMBER_UP;
    member->state = to;
}

static void member_forget(struct membership *m, struct member *member)
{
    CHECK(member->state == MEMBER_DOWN);
    CHECK(map_remove(&m->members, member->record.node.id) == member);
    tell(m, member, MEMBER_EVENT_GONE);
    member_free(member);
}

/* ---- Merge ---- */

static bool is_foreign(const struct membership *m, const struct msg_node *node)
{
    struct slice own = m->self.node.cluster;
    return own.size != 0 && node->cluster.size != 0 && !slice_equal(own, node->cluster);
}

static void log_foreigner_once(struct membership *m, struct slice id)
{
    for (uint32_t i = 0; i < FOREIGNERS_MAX; i++)
        if (slice_equals(id, m->foreigners[i]))
            return;
    char *place = m->foreigners[m->foreigner_next++ % FOREIGNERS_MAX];
    memcpy(place, id.base, id.size);
    place[id.size] = '\0';
    log_warn("foreign_cluster", "node=%s", place);
}

static void adopt_cluster(struct membership *m, const struct msg_node *node)
{
    if (m->self.node.cluster.size != 0 || node->cluster.size == 0 || node->role != NODE_ROUTER)
        return;
    struct msg_node self = m->self.node;
    self.cluster = node->cluster;
    owned_node_set(&m->self, &self);
    m->generation++;
}

/* A gateway has the id of a router. The router holds data and the gateway nothing, so whoever came
 * first, it is the gateway that goes: when it sees the other's counter move, for echoes of a dead
 * one stand still. */
static void merge_other_role(struct membership *m, const struct msg_node *node)
{
    if (m->self.node.role == NODE_ROUTER || m->superseded)
        return;
    bool is_alive = node->incarnation == m->rival_incarnation && node->counter > m->rival_counter;
    m->rival_incarnation = node->incarnation;
    m->rival_counter = node->counter;
    m->superseded = is_alive && !node->leaving;
    if (m->superseded)
        log_error("duplicate_node_id", "node=%.*s is=router", SLICE_ARGS(m->self.node.id));
}

/* Our own id came back. Old echoes are nothing new. A newer one is our previous life, if the clock
 * went back, and then its counter stands still once its echoes are over; or a living rival. */
static void merge_self(struct membership *m, const struct msg_node *node, uint64_t now_us)
{
    const struct msg_node *self = &m->self.node;
    if (node->role != self->role) {
        merge_other_role(m, node);
        return;
    }
    bool is_newer = node->incarnation > self->incarnation ||
                    (node->incarnation == self->incarnation && node->counter > self->counter);
    if (!is_newer || node->incarnation < m->rival_incarnation || m->superseded)
        return;
    if (node->incarnation > m->rival_incarnation) {
        m->rival_incarnation = node->incarnation;
        m->rival_counter = node->counter;
        m->rival_since_us = now_us;
    } else if (node->counter > m->rival_counter) {
        m->rival_counter = node->counter;
        m->superseded = now_us - m->rival_since_us >= SILENT_US;
    }
    if (m->superseded)
        log_error("duplicate_node_id", "node=%.*s newer_incarnation=%lu", SLICE_ARGS(self->id),
                  (unsigned long)node->incarnation);
}

static bool is_newer(const struct member *member, const struct msg_node *node, uint64_t now_us)
{
    const struct msg_node *held = &member->record.node;
    if (member->state == MEMBER_UP && node->role != held->role)
        return node->role == NODE_ROUTER; /* See merge_other_role(). */
    if (node->incarnation == held->incarnation)
        return node->counter > held->counter;
    return node->incarnation > held->incarnation ||
           (member->state == MEMBER_DOWN && now_us - member->since_us >= SILENT_US);
}

/* Room for one more: whoever is DOWN for the longest time is forgotten for it. */
static enum rc make_room(struct membership *m)
{
    if (m->members.count < LIMIT_MEMBERS_MAX)
        return RC_OK;
    struct member *oldest = NULL;
    size_t at = 0;
    for (struct member *x; (x = map_next(&m->members, &at)) != NULL;)
        if (x->state == MEMBER_DOWN && (oldest == NULL || x->since_us < oldest->since_us))
            oldest = x;
    if (oldest == NULL)
        return RC_FULL;
    member_forget(m, oldest);
    return RC_OK;
}

static void take(struct membership *m, struct member *member, const struct msg_node *node,
                 bool is_news, uint64_t now_us)
{
    member->heard_us = now_us;
    if (node->leaving) {
        bool was_up = member->state == MEMBER_UP;
        member_move(m, member, MEMBER_LEFT);
        m->generation++;
        if (was_up)
            tell(m, member, MEMBER_EVENT_DOWN);
    } else if (is_news || member->state != MEMBER_UP) {
        member_move(m, member, MEMBER_UP);
        tell(m, member, MEMBER_EVENT_UP);
    }
}

enum rc membership_merge_node(struct membership *m, const struct msg_node *node, uint64_t now_us)
{
    if (!membership_record_is_valid(node)) {
        metric_add(packets_bad_total, 1);
        return RC_CORRUPT;
    }
    if (is_foreign(m, node)) {
        metric_add(packets_bad_total, 1);
        log_foreigner_once(m, node->id);
        return RC_MISMATCH;
    }
    if (slice_equal(node->id, m->self.node.id)) {
        merge_self(m, node, now_us);
        return RC_OK;
    }
    struct member *member = map_get(&m->members, node->id);
    if (member != NULL && !is_newer(member, node, now_us))
        return RC_OK;
    adopt_cluster(m, node);
    bool is_news = member == NULL || member->record.node.incarnation != node->incarnation;
    if (member == NULL) {
        enum rc rc = make_room(m);
        if (rc != RC_OK)
            return rc;
        member = mem_new(struct member);
        owned_node_set(&member->record, node);
        map_put(&m->members, member);
    } else if (is_news || !texts_equal(&member->record.node, node)) {
        CHECK(map_remove(&m->members, node->id) == member); /* The map's key lies in the text. */
        owned_node_set(&member->record, node);
        map_put(&m->members, member);
    } else {
        member->record.node.counter = node->counter;
        member->record.node.leaving = node->leaving;
    }
    take(m, member, node, is_news, now_us);
    return RC_OK;
}

/* The sender's own record, which comes first; one of zeros where there is none: he only asks. */
static struct msg_node record_of_sender(const struct msg_gossip *gossip)
{
    struct msg_node first;
    if (gossip->nodes.size == 0)
        return (struct msg_node){0};
    struct record_reader r = record_reader_of(gossip->nodes);
    if (record_decode(&r, &msg_node_desc, &first) != RC_OK || !slice_equal(first.id, gossip->from))
        return (struct msg_node){0};
    return first;
}

static enum rc merge_nodes(struct membership *m, struct slice bytes, uint64_t now_us)
{
    struct record_reader nodes = record_reader_of(bytes);
    for (uint32_t i = 0; !record_reader_at_end(&nodes) && i <= LIMIT_MEMBERS_MAX; i++) {
        struct msg_node node;
        if (record_decode(&nodes, &msg_node_desc, &node) != RC_OK) {
            metric_add(packets_bad_total, 1);
            return RC_CORRUPT;
        }
        enum rc rc = membership_merge_node(m, &node, now_us);
        if (rc == RC_CORRUPT || rc == RC_FULL)
            return rc; /* A foreigner among them is passed over: he says nothing of the sender. */
    }
    return RC_OK;
}

/* A cluster is two routers and more: one alone may itself be who went astray. */
static void note_foreigner(struct membership *m, const struct msg_gossip *gossip)
{
    struct record_reader nodes = record_reader_of(gossip->nodes);
    struct msg_node node;
    uint32_t routers = 0;
    if (m->foreigner[0] != '\0')
        return;
    while (record_decode(&nodes, &msg_node_desc, &node) == RC_OK)
        routers += node.role == NODE_ROUTER && is_foreign(m, &node) && !node.leaving;
    if (routers >= 2)
        memcpy(m->foreigner, gossip->from.base, gossip->from.size);
}

enum rc membership_merge(struct membership *m, struct slice bytes, uint64_t now_us,
                         bool *ret_answer)
{
    struct record_reader r = record_reader_of(bytes);
    struct msg_gossip gossip;
    *ret_answer = false;
    if (record_decode(&r, &msg_gossip_desc, &gossip) != RC_OK || !key_node_is_valid(gossip.from)) {
        metric_add(packets_bad_total, 1);
        return RC_CORRUPT;
    }
    struct msg_node sender = record_of_sender(&gossip);
    if (is_foreign(m, &sender)) {
        metric_add(packets_bad_total, 1);
        log_foreigner_once(m, gossip.from);
        note_foreigner(m, &gossip);
        return RC_MISMATCH;
    }
    const struct member *held = map_get(&m->members, gossip.from);
    *ret_answer = held == NULL || sender.gossip.size == 0 ||
                  sender.incarnation < held->record.node.incarnation;
    return gossip.nodes.size == 0 ? RC_OK : merge_nodes(m, gossip.nodes, now_us);
}

/* ---- Time ---- */

uint64_t membership_tick(struct membership *m, uint64_t now_us)
{
    struct member *forgotten[FORGOTTEN_MAX];
    uint32_t forgotten_count = 0;
    uint64_t due_us = ENV_NEVER;
    size_t at = 0;
    for (struct member *x; (x = map_next(&m->members, &at)) != NULL;) {
        if (x->state != MEMBER_DOWN && now_us >= x->heard_us + SILENT_US) {
            bool was_up = x->state == MEMBER_UP;
            member_move(m, x, MEMBER_DOWN);
            x->since_us = now_us;
            if (was_up)
                tell(m, x, MEMBER_EVENT_DOWN);
        }
        uint64_t x_due_us =
            x->state == MEMBER_DOWN ? x->since_us + FORGET_US : x->heard_us + SILENT_US;
        if (x->state == MEMBER_DOWN && now_us >= x_due_us && forgotten_count < FORGOTTEN_MAX)
            forgotten[forgotten_count++] = x;
        else if (x_due_us < due_us)
            due_us = x_due_us;
    }
    for (uint32_t i = 0; i < forgotten_count; i++)
        member_forget(m, forgotten[i]);
    return due_us;
}

void membership_advance(struct membership *m)
{
    m->self.node.counter++;
}

void membership_leave(struct membership *m)
{
    m->self.node.leaving = 1;
    membership_advance(m);
    m->generation++;
}

/* ---- Tell ---- */

void membership_encode(const struct membership *m, struct buf *out)
{
    struct buf *nodes = buf_new(256 * (m->up_count + 1));
    record_encode(nodes, &msg_node_desc, &m->self.node);
    size_t at = 0;
    for (const struct member *x; (x = map_next(&m->members, &at)) != NULL;)
        if (x->state != MEMBER_DOWN)
            record_encode(nodes, &msg_node_desc, &x->record.node);
    struct msg_gossip gossip = {.from = m->self.node.id, .nodes = buf_slice(nodes)};
    record_encode(out, &msg_gossip_desc, &gossip);
    buf_unref(&nodes);
}

/* Each of `seen` things is among the `room` kept with the same chance (Vitter 1985, algorithm R).
 * Returns where to keep the newest, or `room`: nowhere. */
static size_t reservoir_place(size_t seen, size_t room, struct env *env)
{
    if (seen <= room)
        return seen - 1;
    uint64_t place = env_random(env) % seen;
    return place < room ? (size_t)place : room;
}

size_t membership_targets(const struct membership *m, struct env *env,
                          const struct msg_node *out[MEMBERSHIP_TARGETS_MAX])
{
    bool take_all = m->members.count <= MEMBERSHIP_TARGETS_ALL;
    size_t room = take_all ? MEMBERSHIP_TARGETS_ALL : MEMBERSHIP_TARGETS;
    size_t seen = 0;
    size_t down_seen = 0;
    const struct msg_node *down = NULL;
    size_t at = 0;
    for (const struct member *x; (x = map_next(&m->members, &at)) != NULL;) {
        if (x->state == MEMBER_LEFT || x->record.node.gossip.size == 0)
            continue;
        if (x->state == MEMBER_DOWN && !take_all) {
            if (reservoir_place(++down_seen, 1, env) == 0)
                down = &x->record.node;
            continue;
        }
        size_t place = reservoir_place(++seen, room, env);
        if (place < room)
            out[place] = &x->record.node;
    }
    size_t count = seen < room ? seen : room;
    if (down != NULL)
        out[count++] = down;
    return count;
}

/* ---- Ask ---- */

const struct msg_node *membership_get(const struct membership *m, struct slice id)
{
    const struct member *member = map_get(&m->members, id);
    return member != NULL ? &member->record.node : NULL;
}

bool membership_is_up(const struct membership *m, struct slice id)
{
    const struct member *member = map_get(&m->members, id);
    return member != NULL && member->state == MEMBER_UP;
}

bool membership_has_endpoint(const struct membership *m, struct slice endpoint)
{
    size_t at = 0;
    for (const struct msg_node *node; (node = membership_next_up(m, &at)) != NULL;)
        if (slice_equal(node->gossip, endpoint))
            return true;
    return false;
}

const struct msg_node *membership_next_up(const struct membership *m, size_t *at)
{
    const struct member *x;
    while ((x = map_next(&m->members, at)) != NULL)
        if (x->state == MEMBER_UP)
            return &x->record.node;
    return NULL;
}

const struct msg_node *membership_self(const struct membership *m)
{
    return &m->self.node;
}

size_t membership_count(const struct membership *m)
{
    return m->members.count;
}

size_t membership_count_up(const struct membership *m)
{
    return m->up_count;
}

uint64_t membership_generation(const struct membership *m)
{
    return m->generation;
}

const char *membership_foreigner(const struct membership *m)
{
    return m->foreigner[0] != '\0' ? m->foreigner : NULL;
}

bool membership_is_superseded(const struct membership *m)
{
    return m->superseded;
}
