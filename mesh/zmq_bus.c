#include "mesh/zmq_bus.h"

#include "mesh/base/check.h"
#include "mesh/base/list.h"
#include "mesh/base/log.h"
#include "mesh/base/map.h"
#include "mesh/base/mem.h"
#include "mesh/base/metrics.h"
#include "mesh/discovery.h"
#include "mesh/listen.h"
#include "mesh/router_link.h"
#include "mesh/wire/key.h"

#define LOCAL_MAX          4096u    /* Packets to oneself, waiting for the next poll. */
#define VISIT_MAX          32u      /* Packets of one socket before the next one has its turn. */
#define CHECK_US           500000u  /* How often links are looked at. */
#define UNREACHABLE_LOG_US 5000000u /* Heard by gossip, but no link for so long: said once. */

/* A node we heard of. To a router we hold a link. */
struct peer {
    struct list waiting; /* On bus->waiting from when it came up until that is told. */
    struct zmq_bus *bus;
    char id[LIMIT_NODE_ID_SIZE_MAX + 1]; /* Key in the map. */
    uint64_t incarnation;
    bool is_up;
    bool is_told;   /* The handler believes that it is up. */
    bool is_logged; /* As unreachable. */
    uint64_t up_us; /* When it came up. */
    struct router_link link;
};

struct zmq_bus {
    struct bus port; /* First: what the cores hold is this. */
    struct bus_handler handler;
    struct env *env;
    struct hub *hub;
    struct discovery *discovery;
    struct listen_set listen; /* Of a router: request and publish; gossip went to discovery. */
    enum node_role role;
    char node[LIMIT_NODE_ID_SIZE_MAX + 1];
    uint8_t topic[PACKET_TOPIC_SIZE];
    struct map peers;    /* Owns them, by node id. */
    struct list waiting; /* Peers that are up and not announced. */
    bool announces_now;  /* Something on `waiting` may be ready. */
    uint64_t check_due_us;
    struct buf *local[LOCAL_MAX]; /* Ring; owns a reference to each. */
    uint32_t local_head;
    uint32_t local_count;
    uint32_t budget; /* Left of this poll. */
};

static struct slice key_of_peer(const void *thing)
{
    return slice_string(((const struct peer *)thing)->id);
}

static struct membership *table(const struct zmq_bus *bus)
{
    return discovery_membership(bus->discovery);
}

/* ---- Packets that come in ---- */

/* Is it a packet of our cluster, from whom the connection belongs to? One from an older life of a
 * node that is up again is fenced off: its process was paused, and does not know it has been
 * replaced. */
static bool packet_is_good(const struct zmq_bus *bus, struct slice from, struct slice bytes,
                           struct packet *ret_packet)
{
    const uint8_t *cluster = zmq_bus_cluster(bus);
    const struct peer *peer = map_get(&bus->peers, from);
    bool is_good = packet_decode(bytes, ret_packet) == RC_OK &&
                   slice_equal(ret_packet->node, from) && cluster != NULL &&
                   memcmp(ret_packet->cluster.base, cluster, ret_packet->cluster.size) == 0 &&
                   (peer == NULL || !peer->is_up || ret_packet->incarnation >= peer->incarnation);
    if (!is_good)
        metric_add(packets_bad_total, 1);
    return is_good;
}

static void deliver_request(struct zmq_bus *bus, struct slice from, struct slice bytes)
{
    struct packet packet;
    if (!packet_is_good(bus, from, bytes, &packet))
        return;
    metric_add(packets_in_total, 1);
    env_refresh(bus->env);
    if (bus->handler.on_request != NULL)
        bus->handler.on_request(bus->handler.context, from, &packet);
}

static void deliver_publish(struct zmq_bus *bus, struct slice from, struct slice bytes)
{
    struct packet packet;
    if (bytes.size < PACKET_TOPIC_SIZE || memcmp(bytes.base, bus->topic, PACKET_TOPIC_SIZE) != 0) {
        metric_add(packets_bad_total, 1);
        return;
    }
    bytes = slice_of(bytes.base + PACKET_TOPIC_SIZE, bytes.size - PACKET_TOPIC_SIZE);
    if (!packet_is_good(bus, from, bytes, &packet))
        return;
    metric_add(packets_in_total, 1);
    env_refresh(bus->env);
    if (bus->handler.on_publish != NULL)
        bus->handler.on_publish(bus->handler.context, from, &packet);
}

/* Take some of what a socket has: all kinds of sockets come through here. `from` absent: a ROUTER
 * names the sender itself. Returns how many. */
static uint32_t drain(struct zmq_bus *bus, struct hub_socket *socket, struct slice from,
                      void (*deliver)(struct zmq_bus *bus, struct slice from, struct slice bytes))
{
    uint32_t count = 0;
    for (; count < VISIT_MAX && bus->budget > 0; count++) {
        struct slice id;
        struct slice body;
        enum rc rc = hub_socket_receive(socket, &id, &body);
        if (rc == RC_AGAIN)
            break;
        bus->budget--;
        if (from.base != NULL)
            id = from;
        if (rc == RC_OK && key_node_is_valid(id))
            deliver(bus, id, body);
        else
            metric_add(packets_bad_total, 1);
    }
    return count;
}

static void on_request_news(void *context, struct hub_socket *socket)
{
    drain(context, socket, (struct slice){0}, deliver_request);
}

static void on_dealer_news(void *context, struct hub_socket *socket)
{
    struct peer *p = context;
    if (!p->link.is_connected && hub_socket_can_send(socket)) {
        p->link.is_connected = true;
        p->bus->announces_now = true;
    }
    drain(p->bus, socket, slice_string(p->id), deliver_request);
}

static void on_sub_news(void *context, struct hub_socket *socket)
{
    struct peer *p = context;
    if (drain(p->bus, socket, slice_string(p->id), deliver_publish) > 0)
        p->link.heard_us = env_now_us(p->bus->env);
}

/* ---- Peers ---- */

static void link_open(struct peer *p)
{
    struct zmq_bus *bus = p->bus;
    struct router_link_options options = {.node = slice_string(bus->node),
                                          .on_dealer_news = on_dealer_news,
                                          .on_sub_news = on_sub_news,
                                          .context = p};
    if (bus->role == NODE_GATEWAY)
        options.topic = slice_of(bus->topic, sizeof(bus->topic));
    router_link_open(&p->link, bus->hub, &options, env_now_us(bus->env));
}

static void copy_id(char to[LIMIT_NODE_ID_SIZE_MAX + 1], struct slice id)
{
    memcpy(to, id.base, id.size);
    to[id.size] = '\0';
}

static struct peer *peer_get_or_new(struct zmq_bus *bus, struct slice id)
{
    struct peer *p = map_get(&bus->peers, id);
    if (p != NULL)
        return p;
    p = mem_new(struct peer);
    list_init(&p->waiting);
    p->bus = bus;
    copy_id(p->id, id);
    map_put(&bus->peers, p);
    return p;
}

static void peer_free(struct peer *p)
{
    list_remove(&p->waiting);
    router_link_close(&p->link);
    mem_free(p);
}

static void peer_up(struct zmq_bus *bus, const struct msg_node *node)
{
    struct peer *p = peer_get_or_new(bus, node->id);
    if (node->role == NODE_ROUTER && !router_link_is_current(&p->link, node)) {
        router_link_set(&p->link, node);
        link_open(p);
    }
    p->incarnation = node->incarnation;
    p->is_up = true;
    p->is_logged = false;
    p->up_us = env_now_us(bus->env);
    if (list_is_empty(&p->waiting))
        list_append(&bus->waiting, &p->waiting);
    bus->announces_now = true;
}

static void peer_down(struct zmq_bus *bus, const struct msg_node *node)
{
    struct peer *p = map_get(&bus->peers, node->id);
    CHECK(p != NULL);
    p->is_up = false;
    list_remove(&p->waiting);
    if (!p->is_told)
        return;
    p->is_told = false;
    log_info("peer_down", "node=%s leaving=%d", p->id, node->leaving != 0);
    if (bus->handler.on_peer != NULL)
        bus->handler.on_peer(bus->handler.context, node, false);
}

static void on_member(void *context, const struct msg_node *node, enum member_event event)
{
    struct zmq_bus *bus = context;
    if (event == MEMBER_EVENT_UP) {
        peer_up(bus, node);
    } else if (event == MEMBER_EVENT_DOWN) {
        peer_down(bus, node);
    } else { /* One that only ever told us that it leaves was never a peer. */
        struct peer *p = map_remove(&bus->peers, node->id);
        if (p != NULL)
            peer_free(p);
    }
}

/* ---- Who is up, told once the link can carry packets ---- */

static void announce(struct zmq_bus *bus)
{
    bus->announces_now = false;
    LIST_EACH(node, &bus->waiting)
    {
        struct peer *p = LIST_ENTRY(node, struct peer, waiting);
        const struct msg_node *record = membership_get(table(bus), slice_string(p->id));
        CHECK(record != NULL);
        if (record->role == NODE_ROUTER && !p->link.is_connected)
            continue;
        list_remove(&p->waiting);
        p->is_told = true;
        log_info("peer_up", "node=%s incarnation=%lu", p->id, (unsigned long)p->incarnation);
        if (bus->handler.on_peer != NULL)
            bus->handler.on_peer(bus->handler.context, record, true);
    }
}

/* Links that do not come up, or are lost for too long. */
static void check_links(struct zmq_bus *bus)
{
    uint64_t now_us = env_now_us(bus->env);
    if (now_us < bus->check_due_us)
        return;
    bus->check_due_us = now_us + CHECK_US;
    size_t at = 0;
    for (struct peer *p; (p = map_next(&bus->peers, &at)) != NULL;) {
        if (!p->is_up || p->link.request[0] == '\0')
            continue;
        if (!p->link.is_connected && now_us - p->up_us >= UNREACHABLE_LOG_US && !p->is_logged) {
            p->is_logged = true;
            log_warn("peer_unreachable", "node=%s endpoint=%s", p->id, p->link.request);
        }
        if (!router_link_is_stuck(&p->link, now_us))
            continue;
        p->link.key_index = (p->link.key_index + 1) % hub_key_count(bus->hub);
        link_open(p);
    }
}

/* ---- The port ---- */

static enum rc drop(enum rc rc)
{
    metric_add(packets_dropped_total, 1);
    return rc;
}

static enum rc count_sent(enum rc rc)
{
    if (rc != RC_OK)
        return drop(rc);
    metric_add(packets_out_total, 1);
    return RC_OK;
}

static enum rc send_local(struct zmq_bus *bus, struct buf *packet)
{
    if (bus->local_count == LOCAL_MAX)
        return drop(RC_FULL);
    bus->local[(bus->local_head + bus->local_count++) % LOCAL_MAX] = buf_ref(packet);
    return count_sent(RC_OK);
}

static enum rc port_send(struct bus *port, struct slice node, struct buf *packet)
{
    struct zmq_bus *bus = (struct zmq_bus *)port;
    if (packet->size > LIMIT_PACKET_SIZE_MAX)
        return drop(RC_TOO_LARGE);
    if (slice_equals(node, bus->node))
        return send_local(bus, packet);
    struct peer *p = map_get(&bus->peers, node);
    if (p != NULL && p->link.dealer != NULL) {
        if (!p->is_up)
            return drop(RC_NOT_FOUND);
        return count_sent(router_link_send(&p->link, buf_slice(packet), env_now_us(bus->env)));
    }
    if (bus->listen.request.socket == NULL)
        return drop(RC_NOT_FOUND);
    return count_sent(hub_socket_send_to(bus->listen.request.socket, node, buf_slice(packet)));
}

static enum rc port_publish(struct bus *port, struct slice node, struct buf *packet)
{
    struct zmq_bus *bus = (struct zmq_bus *)port;
    uint8_t topic[PACKET_TOPIC_SIZE];
    if (bus->listen.publish.socket == NULL)
        return drop(RC_NOT_FOUND);
    if (packet->size > LIMIT_PACKET_SIZE_MAX)
        return drop(RC_TOO_LARGE);
    packet_topic(node, topic);
    return count_sent(hub_socket_publish(bus->listen.publish.socket, slice_of(topic, sizeof(topic)),
                                         buf_slice(packet)));
}

static void deliver_local(struct zmq_bus *bus)
{
    for (uint32_t i = bus->local_count; i > 0 && bus->budget > 0; i--, bus->budget--) {
        struct buf *packet = bus->local[bus->local_head];
        bus->local_head = (bus->local_head + 1) % LOCAL_MAX;
        bus->local_count--;
        deliver_request(bus, slice_string(bus->node), buf_slice(packet));
        buf_unref(&packet);
    }
}

/* ---- Life ---- */

static struct slice optional(const char *text)
{
    return text != NULL ? slice_string(text) : (struct slice){0};
}

static enum rc check_options(const struct zmq_bus_options *options, struct sentence *sentence)
{
    if (options->node == NULL || !key_node_is_valid(slice_string(options->node)))
        return sentence_write(sentence, RC_CONFIG, "id: a node's name is 1 to %u of [A-Za-z0-9_-]",
                              LIMIT_NODE_ID_SIZE_MAX);
    if (options->role == NODE_ROUTER && options->listen == NULL)
        return sentence_write(sentence, RC_CONFIG, "listen: a router needs an endpoint");
    if (options->join_count > LIMIT_SEEDS_MAX)
        return sentence_write(sentence, RC_CONFIG, "join: more than %u endpoints", LIMIT_SEEDS_MAX);
    return RC_OK;
}

static enum rc start_discovery(struct zmq_bus *bus, const struct zmq_bus_options *options,
                               struct sentence *sentence)
{
    const struct listen_set *at = &bus->listen;
    bool listens = at->gossip.socket != NULL;
    struct discovery_options d = {
        .self = {.id = slice_string(bus->node),
                 .role = options->role,
                 .version = MESSAGES_VERSION,
                 .incarnation = options->incarnation,
                 .gossip = optional(listens ? at->gossip.endpoint : NULL),
                 .request = optional(listens ? at->request.endpoint : NULL),
                 .publish = optional(listens ? at->publish.endpoint : NULL),
                 .http = optional(options->http),
                 .zone = optional(options->zone)},
        .seed_count = options->join_count,
        .beacon_port = options->beacon_port,
        .handler = {.context = bus, .on_member = on_member}};
    if (options->cluster != NULL)
        d.self.cluster = slice_of(options->cluster, 16);
    memcpy(d.seeds, options->joins, options->join_count * sizeof(d.seeds[0]));
    if (!membership_record_is_valid(&d.self))
        return sentence_write(sentence, RC_CONFIG,
                              "zone or http is too long or holds spaces: what a node tells of "
                              "itself is plain ASCII");
    return discovery_new(bus->hub, bus->env, &d, &bus->listen.gossip.socket, &bus->discovery,
                         sentence);
}

enum rc zmq_bus_new(const struct zmq_bus_options *options, const struct bus_handler *handler,
                    struct env *env, struct zmq_bus **ret_bus, struct sentence *sentence)
{
    enum rc rc = check_options(options, sentence);
    if (rc != RC_OK)
        return rc;
    struct zmq_bus *bus = mem_new(struct zmq_bus);
    bus->port = (struct bus){.send = port_send, .publish = port_publish};
    if (handler != NULL)
        bus->handler = *handler;
    bus->env = env;
    bus->role = options->role;
    copy_id(bus->node, slice_string(options->node));
    packet_topic(slice_string(bus->node), bus->topic);
    map_init(&bus->peers, key_of_peer);
    list_init(&bus->waiting);
    struct listen_options listen = {.listen = options->listen,
                                    .advertise = options->advertise,
                                    .request_port = options->request_port,
                                    .publish_port = options->publish_port};
    rc = hub_new(options->key, &bus->hub, sentence);
    if (rc == RC_OK && options->listen != NULL)
        rc = listen_open(bus->hub, &listen, &bus->listen, sentence);
    if (rc == RC_OK)
        rc = start_discovery(bus, options, sentence);
    if (rc != RC_OK) {
        zmq_bus_free(&bus);
        return rc;
    }
    if (bus->listen.request.socket != NULL)
        hub_socket_handle(bus->listen.request.socket, on_request_news, bus);
    if (options->key == NULL)
        log_warn("mesh_plain_text", "reason=\"no key file\" reach=\"loopback only\"");
    else
        log_info("mesh_encrypted", "key=%s accepted=%u", options->key->id,
                 options->key->accepted_count);
    *ret_bus = bus;
    return RC_OK;
}

void zmq_bus_free(struct zmq_bus **bus_at)
{
    struct zmq_bus *bus = *bus_at;
    if (bus == NULL)
        return;
    *bus_at = NULL;
    discovery_free(&bus->discovery);
    size_t at = 0;
    for (struct peer *p; (p = map_next(&bus->peers, &at)) != NULL;)
        peer_free(p);
    map_fini(&bus->peers);
    listen_close(&bus->listen);
    hub_free(&bus->hub);
    while (bus->local_count > 0) {
        buf_unref(&bus->local[bus->local_head]);
        bus->local_head = (bus->local_head + 1) % LOCAL_MAX;
        bus->local_count--;
    }
    mem_free(bus);
}

struct bus *zmq_bus_port(struct zmq_bus *bus)
{
    return &bus->port;
}

void zmq_bus_set_handler(struct zmq_bus *bus, const struct bus_handler *handler)
{
    bus->handler = *handler;
    bus->announces_now = true;
    size_t at = 0;
    for (struct peer *p; (p = map_next(&bus->peers, &at)) != NULL;) {
        if (!p->is_told)
            continue;
        p->is_told = false;
        if (list_is_empty(&p->waiting))
            list_append(&bus->waiting, &p->waiting);
    }
}

/* ---- Loop ---- */

int zmq_bus_fd(const struct zmq_bus *bus)
{
    return hub_fd(bus->hub);
}

bool zmq_bus_poll(struct zmq_bus *bus, uint32_t budget)
{
    bus->budget = budget;
    deliver_local(bus);
    hub_gather(bus->hub);
    for (uint32_t visits = 0; visits < budget && bus->budget > 0; visits++)
        if (!hub_dispatch(bus->hub))
            break;
    discovery_turn(bus->discovery);
    check_links(bus);
    if (bus->announces_now)
        announce(bus);
    return zmq_bus_has_input(bus);
}

bool zmq_bus_has_input(const struct zmq_bus *bus)
{
    return hub_has_news(bus->hub) || bus->local_count > 0 || bus->announces_now;
}

uint64_t zmq_bus_due_us(const struct zmq_bus *bus)
{
    uint64_t due_us = discovery_due_us(bus->discovery);
    if (bus->check_due_us < due_us)
        due_us = bus->check_due_us;
    return zmq_bus_has_input(bus) ? 0 : due_us;
}

/* ---- Node ---- */

enum rc zmq_bus_state(const struct zmq_bus *bus)
{
    return membership_is_superseded(table(bus)) ? RC_IN_USE : RC_OK;
}

const char *zmq_bus_foreign_seed(const struct zmq_bus *bus)
{
    return discovery_foreign_seed(bus->discovery);
}

void zmq_bus_set_known(struct zmq_bus *bus, const char *const *endpoints, uint32_t count)
{
    discovery_set_known(bus->discovery, endpoints, count);
}

const char *zmq_bus_foreigner(const struct zmq_bus *bus)
{
    return membership_foreigner(table(bus));
}

const uint8_t *zmq_bus_cluster(const struct zmq_bus *bus)
{
    struct slice cluster = zmq_bus_self(bus)->cluster;
    return cluster.size != 0 ? (const uint8_t *)cluster.base : NULL;
}

const struct msg_node *zmq_bus_self(const struct zmq_bus *bus)
{
    return membership_self(table(bus));
}

const struct msg_node *zmq_bus_next_peer(const struct zmq_bus *bus, size_t *at)
{
    return membership_next_up(table(bus), at);
}

void zmq_bus_leave(struct zmq_bus *bus)
{
    discovery_leave(bus->discovery);
}

void zmq_bus_set_accepted(struct zmq_bus *bus, const struct keyfile *key)
{
    if (hub_is_encrypted(bus->hub))
        hub_set_accepted(bus->hub, key);
}
