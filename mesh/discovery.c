#include "mesh/discovery.h"

#include "mesh/base/check.h"
#include "mesh/base/log.h"
#include "mesh/base/map.h"
#include "mesh/base/mem.h"
#include "mesh/base/metrics.h"
#include "mesh/beacon.h"

#define ROUND_US       ((uint64_t)LIMIT_GOSSIP_MS * 1000)
#define TARGET_IDLE_US 30000000u /* A connection not used for so long is closed. */
#define FOREIGN_US     5000000u  /* Many rounds: who still is there has answered again. */
#define QUEUE_MAX      2u        /* Tables queued: older ones are worth nothing. */
#define LINGER_MS      100u      /* So that "I am leaving" still leaves. */
#define HINTS_MAX      16u
#define VISIT_MAX      16u /* Messages of one socket in one visit. */

/* A gossip connection we opened. */
struct target {
    char endpoint[ENDPOINT_SIZE_MAX + 1]; /* Key in the map. */
    struct discovery *discovery;
    struct hub_socket *socket;
    bool is_connected; /* Was admitted once. */
    uint32_t key_index;
    uint64_t moved_us; /* When it was opened, or took a table last. */
    uint64_t used_us;  /* The last round that wanted it. */
};

struct discovery {
    struct hub *hub;
    struct env *env;
    struct membership *membership;
    struct hub_socket *gossip; /* NULL where nothing is bound. */
    struct beacon *beacon;     /* NULL where off. */
    struct map targets;        /* Owns them, by endpoint. */
    char seeds[LIMIT_SEEDS_MAX][ENDPOINT_SIZE_MAX + 1];
    uint32_t seed_count;
    char known[DISCOVERY_KNOWN_MAX][ENDPOINT_SIZE_MAX + 1];
    uint32_t known_count;
    const char *foreign_seed;                     /* One of them; NULL: none. */
    uint64_t foreign_us;                          /* When a foreigner answered there last. */
    char hints[HINTS_MAX][ENDPOINT_SIZE_MAX + 1]; /* From beacons; ring. */
    uint32_t hint_next;
    struct buf *table;         /* What is sent: encoded once a round, or when it changed. */
    uint64_t table_generation; /* Of the membership it was encoded from. */
    uint64_t round_due_us;
    uint64_t tick_due_us;
};

static struct slice key_of_target(const void *thing)
{
    return slice_string(((const struct target *)thing)->endpoint);
}

static void encode_table(struct discovery *d)
{
    buf_clear(d->table);
    membership_encode(d->membership, d->table);
    d->table_generation = membership_generation(d->membership);
}

static struct slice table_now(struct discovery *d)
{
    if (d->table_generation != membership_generation(d->membership))
        encode_table(d);
    return buf_slice(d->table);
}

/* ---- What comes in ---- */

static void note_foreign(struct discovery *d, const struct target *t)
{
    for (uint32_t i = 0; i < d->seed_count; i++)
        if (strcmp(d->seeds[i], t->endpoint) == 0) {
            d->foreign_seed = d->seeds[i];
            d->foreign_us = env_now_us(d->env);
        }
}

/* On a connection of ours: the answer of whom we sent to. */
static void on_answer(void *context, struct hub_socket *socket)
{
    struct target *t = context;
    struct discovery *d = t->discovery;
    struct slice id;
    struct slice body;
    bool is_answer_due;
    if (!t->is_connected && hub_socket_can_send(socket)) {
        t->is_connected = true;
        hub_socket_send(socket, table_now(d)); /* Full: the next round is soon. */
    }
    for (uint32_t i = 0; i < VISIT_MAX; i++) {
        enum rc rc = hub_socket_receive(socket, &id, &body);
        if (rc == RC_AGAIN)
            return;
        if (rc != RC_OK) {
            metric_add(packets_bad_total, 1);
            continue;
        }
        /* An answer to an answer would never end. */
        rc = membership_merge(d->membership, body, env_now_us(d->env), &is_answer_due);
        if (rc == RC_MISMATCH)
            note_foreign(d, t);
    }
}

/* To one of another cluster: our record says which this is, and nothing of who else is here. */
static void answer_foreigner(struct discovery *d, struct slice id)
{
    const struct msg_node *self = membership_self(d->membership);
    struct buf *node = buf_new(256);
    struct buf *answer = buf_new(256);
    record_encode(node, &msg_node_desc, self);
    const struct msg_gossip gossip = {.from = self->id, .nodes = buf_slice(node)};
    record_encode(answer, &msg_gossip_desc, &gossip);
    hub_socket_send_to(d->gossip, id, buf_slice(answer)); /* Gone or full: he asks again. */
    buf_unref(&answer);
    buf_unref(&node);
}

/* On the listening socket. Its ids are libzmq's own, one a connection: two processes that share a
 * name are both heard, and the older one can be told. */
static void on_gossip(void *context, struct hub_socket *socket)
{
    struct discovery *d = context;
    struct slice id;
    struct slice body;
    for (uint32_t i = 0; i < VISIT_MAX; i++) {
        bool is_answer_due = false;
        enum rc rc = hub_socket_receive(socket, &id, &body);
        if (rc == RC_AGAIN)
            return;
        if (rc == RC_OK)
            rc = membership_merge(d->membership, body, env_now_us(d->env), &is_answer_due);
        else
            metric_add(packets_bad_total, 1);
        if (rc == RC_MISMATCH)
            answer_foreigner(d, id);
        else if (is_answer_due)
            hub_socket_send_to(d->gossip, id, table_now(d)); /* Gone or full: he asks again. */
    }
}

/* ---- Life ---- */

static enum rc check_seed(const struct hub *hub, const char *seed, struct sentence *sentence)
{
    if (!endpoint_is_reachable(slice_string(seed)))
        return sentence_write(sentence, RC_CONFIG,
                              "join: %s is neither tcp://HOST:PORT nor ipc://PATH", seed);
    if (!hub_is_encrypted(hub) && !endpoint_is_loopback(slice_string(seed)))
        return sentence_write(sentence, RC_CONFIG,
                              "join: without a key file the mesh is plain text, so %s is refused: "
                              "give a key, or join by 127.0.0.1",
                              seed);
    return RC_OK;
}

/* A beacon is a hint: without it the seeds have to do. */
static void start_beacon(struct discovery *d, uint16_t port, struct slice gossip)
{
    struct endpoint own;
    uint16_t own_port = endpoint_parse(gossip, &own) == RC_OK && !own.is_loopback ? own.port : 0;
    if (port != 0 && beacon_new(port, own_port, &d->beacon) != RC_OK)
        log_warn("beacon_off", "port=%u reason=\"no interface broadcasts\"", port);
}

enum rc discovery_new(struct hub *hub, struct env *env, const struct discovery_options *options,
                      struct hub_socket **gossip, struct discovery **ret_discovery,
                      struct sentence *sentence)
{
    CHECK(options->seed_count <= LIMIT_SEEDS_MAX);
    for (uint32_t i = 0; i < options->seed_count; i++) {
        enum rc rc = check_seed(hub, options->seeds[i], sentence);
        if (rc != RC_OK) {
            hub_socket_free(gossip);
            return rc;
        }
    }
    struct discovery *d = mem_new(struct discovery);
    d->hub = hub;
    d->env = env;
    d->gossip = *gossip;
    *gossip = NULL;
    if (d->gossip != NULL)
        hub_socket_handle(d->gossip, on_gossip, d);
    d->membership = membership_new(&options->self, &options->handler);
    map_init(&d->targets, key_of_target);
    d->seed_count = options->seed_count;
    for (uint32_t i = 0; i < options->seed_count; i++)
        memcpy(d->seeds[i], options->seeds[i], strlen(options->seeds[i]) + 1);
    d->table = buf_new(1024);
    encode_table(d);
    start_beacon(d, options->beacon_port, options->self.gossip);
    *ret_discovery = d;
    return RC_OK;
}

static void target_free(struct target *t)
{
    hub_socket_free(&t->socket);
    mem_free(t);
}

void discovery_free(struct discovery **discovery)
{
    struct discovery *d = *discovery;
    if (d == NULL)
        return;
    *discovery = NULL;
    size_t at = 0;
    for (struct target *t; (t = map_next(&d->targets, &at)) != NULL;)
        target_free(t);
    map_fini(&d->targets);
    hub_socket_free(&d->gossip);
    beacon_free(&d->beacon);
    membership_free(&d->membership);
    buf_unref(&d->table);
    mem_free(d);
}

void discovery_set_known(struct discovery *d, const char *const *endpoints, uint32_t count)
{
    d->known_count = 0;
    for (uint32_t i = 0; i < count && d->known_count < DISCOVERY_KNOWN_MAX; i++)
        if (endpoint_is_reachable(slice_string(endpoints[i])))
            memcpy(d->known[d->known_count++], endpoints[i], strlen(endpoints[i]) + 1);
}

const char *discovery_foreign_seed(const struct discovery *d)
{
    bool is_fresh = env_now_us(d->env) - d->foreign_us < FOREIGN_US;
    return is_fresh ? d->foreign_seed : NULL;
}

struct membership *discovery_membership(struct discovery *d)
{
    return d->membership;
}

/* ---- Rounds ---- */

static void target_open(struct target *t)
{
    struct discovery *d = t->discovery;
    struct hub_options options = {.kind = HUB_DEALER,
                                  .send_max = QUEUE_MAX,
                                  .receive_max = QUEUE_MAX,
                                  .linger_ms = LINGER_MS,
                                  .on_news = on_answer,
                                  .context = t};
    hub_socket_free(&t->socket);
    t->is_connected = false;
    t->moved_us = env_now_us(d->env);
    if (hub_socket_new(d->hub, &options, &t->socket) == RC_OK &&
        hub_socket_connect(t->socket, slice_string(t->endpoint), t->key_index) != RC_OK)
        hub_socket_free(
            &t->socket); /* A name that does not resolve: tried again when it is stuck. */
}

static void send_table(struct discovery *d, struct slice endpoint)
{
    struct target *t = map_get(&d->targets, endpoint);
    uint64_t now_us = env_now_us(d->env);
    if (t == NULL) {
        if (slice_equal(endpoint, membership_self(d->membership)->gossip) ||
            (!hub_is_encrypted(d->hub) && !endpoint_is_loopback(endpoint)))
            return;
        t = mem_new(struct target);
        memcpy(t->endpoint, endpoint.base, endpoint.size);
        t->discovery = d;
        map_put(&d->targets, t);
        target_open(t);
    }
    t->used_us = now_us;
    if (t->is_connected && hub_socket_send(t->socket, table_now(d)) == RC_OK)
        t->moved_us = now_us;
    if (now_us - t->moved_us >= HUB_STUCK_US) {
        t->key_index = (t->key_index + 1) % hub_key_count(d->hub);
        target_open(t);
    }
}

static void close_idle_targets(struct discovery *d)
{
    uint64_t now_us = env_now_us(d->env);
    struct target *idle;
    do { /* One removal an iteration: the map may not change under a walk. */
        idle = NULL;
        size_t at = 0;
        for (struct target *t; idle == NULL && (t = map_next(&d->targets, &at)) != NULL;)
            if (now_us - t->used_us >= TARGET_IDLE_US)
                idle = t;
        if (idle != NULL) {
            CHECK(map_remove(&d->targets, key_of_target(idle)) == idle);
            target_free(idle);
        }
    } while (idle != NULL);
}

static void hear_beacons(struct discovery *d)
{
    char endpoint[ENDPOINT_SIZE_MAX + 1];
    for (uint32_t i = 0; i < HINTS_MAX && beacon_next(d->beacon, endpoint) == RC_OK; i++) {
        bool is_known = false;
        for (uint32_t k = 0; k < HINTS_MAX; k++)
            is_known |= strcmp(d->hints[k], endpoint) == 0;
        if (!is_known)
            memcpy(d->hints[d->hint_next++ % HINTS_MAX], endpoint, sizeof(endpoint));
    }
}

/* Seeds, hints and old acquaintances matter while nobody who is up listens there: at the start, and
 * after a cut. */
static void send_to_strangers(struct discovery *d, const char endpoints[][ENDPOINT_SIZE_MAX + 1],
                              uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        struct slice endpoint = slice_string(endpoints[i]);
        if (endpoint.size != 0 && !membership_has_endpoint(d->membership, endpoint))
            send_table(d, endpoint);
    }
}

static void gossip_round(struct discovery *d)
{
    const struct msg_node *targets[MEMBERSHIP_TARGETS_MAX];
    membership_advance(d->membership);
    encode_table(d);
    if (d->beacon != NULL)
        hear_beacons(d);
    send_to_strangers(d, (const char(*)[ENDPOINT_SIZE_MAX + 1]) d->seeds, d->seed_count);
    send_to_strangers(d, (const char(*)[ENDPOINT_SIZE_MAX + 1]) d->known, d->known_count);
    send_to_strangers(d, (const char(*)[ENDPOINT_SIZE_MAX + 1]) d->hints, HINTS_MAX);
    size_t count = membership_targets(d->membership, d->env, targets);
    for (size_t i = 0; i < count; i++)
        send_table(d, targets[i]->gossip);
    close_idle_targets(d);
}

void discovery_turn(struct discovery *d)
{
    uint64_t now_us = env_now_us(d->env);
    if (now_us >= d->tick_due_us || now_us >= d->round_due_us)
        d->tick_due_us = membership_tick(d->membership, now_us);
    if (now_us >= d->round_due_us) {
        /* A tenth of jitter, so that nodes started together do not speak together for ever. */
        d->round_due_us = now_us + ROUND_US - env_random(d->env) % (ROUND_US / 10);
        gossip_round(d);
    }
}

uint64_t discovery_due_us(const struct discovery *d)
{
    return d->tick_due_us < d->round_due_us ? d->tick_due_us : d->round_due_us;
}

void discovery_leave(struct discovery *d)
{
    membership_leave(d->membership);
    gossip_round(d);
}
