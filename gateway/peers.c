#include "gateway/peers.h"

#include "mesh/base/check.h"
#include "mesh/base/log.h"
#include "mesh/base/mem.h"
#include "mesh/base/metrics.h"
#include "mesh/wire/key.h"

/* A turn that carried this many messages for one router has company enough: its packet leaves. */
#define PEERS_FLUSH_COUNT 8u

/* Packets live until their requests are answered, and so are freed out of the order in which they
 * were made: a load that the allocator feels. Larger ones than this are not kept for it. */
#define PEERS_SPARE_SIZE (2 * LIMIT_PACKET_FLUSH_SIZE)

#define PEERS_GAP_US_MAX 100000u /* A longer pause between messages counts as this one. */

static struct slice key_of(const void *thing)
{
    return peer_name((const struct peer *)thing);
}

void peers_init(struct gateway *gateway)
{
    map_init(&gateway->routers.peers, key_of);
}

void peers_fini(struct gateway *gateway)
{
    size_t at = 0;
    struct peer *peer;
    while ((peer = map_next(&gateway->routers.peers, &at)) != NULL) {
        buf_unref(&peer->packet);
        mem_free(peer);
    }
    map_fini(&gateway->routers.peers);
    while (gateway->routers.spare_count > 0)
        buf_unref(&gateway->routers.spares[--gateway->routers.spare_count]);
}

struct peer *peers_get(struct gateway *gateway, struct slice node)
{
    return map_get(&gateway->routers.peers, node);
}

bool peers_is_our_cluster(struct gateway *gateway, struct slice cluster)
{
    struct routers *routers = &gateway->routers;
    CHECK(cluster.size == sizeof(routers->cluster));
    if (!routers->has_cluster) {
        memcpy(routers->cluster, cluster.base, sizeof(routers->cluster));
        routers->has_cluster = true;
    }
    return memcmp(routers->cluster, cluster.base, sizeof(routers->cluster)) == 0;
}

static void send_hello(struct gateway *gateway, struct peer *peer)
{
    struct msg_hello hello = {.version = MESSAGES_VERSION,
                              .links = peer->is_up,
                              .sessions = gateway->session_count,
                              .users = gateway->users_online};
    peers_add(gateway, peer, &msg_hello_desc, &hello);
    peer->must_send = true;
}

/* The packet is finished: it belongs to the caller, and to those who hold on to it. */
static struct buf *take_packet(struct peer *peer)
{
    struct buf *packet = peer->packet;
    for (; peer->packet_holds > 0; peer->packet_holds--)
        buf_ref(packet);
    peer->packet = NULL;
    peer->must_send = false;
    return packet;
}

void peers_hold_on(struct peer *peer)
{
    CHECK(peer->packet != NULL);
    peer->packet_holds++;
}

bool peers_let_go(struct peer *peer, const struct buf *packet)
{
    if (peer->packet != packet)
        return false;
    CHECK(peer->packet_holds > 0);
    peer->packet_holds--;
    return true;
}

void peers_drop_packet(struct gateway *gateway, struct buf **packet)
{
    struct routers *routers = &gateway->routers;
    struct buf *taken = *packet;
    if (taken->refs > 1 || taken->capacity > PEERS_SPARE_SIZE ||
        routers->spare_count == ROUTERS_SPARES_MAX) {
        buf_unref(packet);
        return;
    }
    buf_clear(taken);
    routers->spares[routers->spare_count++] = taken;
    *packet = NULL;
}

static void on_down(struct gateway *gateway, struct peer *peer)
{
    peer->is_here = false;
    peer->is_up = false;
    if (peer->packet != NULL) {
        struct buf *packet = take_packet(peer);
        calls_on_unsent(gateway, peer, packet);
        peers_drop_packet(gateway, &packet);
    }
    routers_on_leader_gone(gateway, peer);
    log_info("router_down", "node=%s", peer->node);
}

/* A peer stays in the map when it goes down: what is in flight may still point at it. There are as
 * many as there were routers, at most LIMIT_MEMBERS_MAX. */
void peers_on_peer(struct gateway *gateway, const struct msg_node *node, bool up)
{
    if (node->role != NODE_ROUTER || !key_node_is_valid(node->id))
        return;
    struct peer *peer = peers_get(gateway, node->id);
    if (!up) {
        /* News of the process before this one come late. */
        if (peer != NULL && peer->is_here && node->incarnation >= peer->incarnation)
            on_down(gateway, peer);
        return;
    }
    if (node->cluster.size == sizeof(gateway->routers.cluster) &&
        !peers_is_our_cluster(gateway, node->cluster))
        return;
    if (peer == NULL) {
        if (gateway->routers.peers.count >= LIMIT_MEMBERS_MAX)
            return;
        peer = mem_new(struct peer);
        memcpy(peer->node, node->id.base, node->id.size);
        peer->node_size = (uint8_t)node->id.size;
        map_put(&gateway->routers.peers, peer);
    }
    if (node->incarnation > peer->incarnation) {
        peer->incarnation = node->incarnation;
        peer->is_up = false;
        routers_on_leader_gone(gateway, peer);
    }
    peer->is_here = true;
    log_info("router_up", "node=%s incarnation=%lu", peer->node, (unsigned long)node->incarnation);
    send_hello(gateway, peer);
}

bool peers_on_published(struct gateway *gateway, struct peer *peer, const struct packet *packet)
{
    if (packet->incarnation < peer->incarnation)
        return false; /* The last words of the process before this one. */
    bool is_next = peer->is_up && packet->incarnation == peer->incarnation &&
                   packet->link_seq == peer->link_seq + 1;
    if (peer->is_up && !is_next) {
        metric_add(link_holes_total, 1);
        log_info("link_hole", "node=%s expected=%lu got=%lu", peer->node,
                 (unsigned long)peer->link_seq + 1, (unsigned long)packet->link_seq);
    }
    if (packet->incarnation != peer->incarnation)
        routers_on_leader_gone(gateway, peer);
    peer->incarnation = packet->incarnation;
    peer->link_seq = packet->link_seq;
    peer->heard_us = gateway_now_us(gateway);
    peer->is_up = true;
    if (!is_next)
        routers_on_missed(gateway, peer);
    return true;
}

static void send_packet(struct gateway *gateway, struct peer *peer)
{
    struct buf *packet = take_packet(peer);
    if (bus_send(gateway->bus, peer_name(peer), packet) != RC_OK)
        calls_on_unsent(gateway, peer, packet); /* Of those it cannot know their deadlines do. */
    peers_drop_packet(gateway, &packet);
}

static void open_packet(struct gateway *gateway, struct peer *peer)
{
    struct packet_sender sender = {.node = slice_string(gateway->node),
                                   .incarnation = gateway->options.incarnation};
    memcpy(sender.cluster, gateway->routers.cluster, sizeof(sender.cluster));
    struct routers *routers = &gateway->routers;
    peer->packet =
        routers->spare_count > 0 ? routers->spares[--routers->spare_count] : buf_new(1024);
    packet_begin(peer->packet, &sender, 0);
    peer->packet_us = gateway_now_us(gateway);
    peer->packet_count = 0;
}

static void note_added(struct gateway *gateway, struct peer *peer)
{
    peer->packet_count++;
    uint64_t now_us = gateway_now_us(gateway);
    uint64_t gap_us = now_us - peer->added_us;
    peer->gap_us = (peer->gap_us * 7 + (gap_us < PEERS_GAP_US_MAX ? gap_us : PEERS_GAP_US_MAX)) / 8;
    peer->added_us = now_us;
}

uint32_t peers_add(struct gateway *gateway, struct peer *peer, const struct record_desc *desc,
                   const void *message)
{
    if (peer->packet == NULL)
        open_packet(gateway, peer);
    uint32_t at = (uint32_t)peer->packet->size;
    record_encode(peer->packet, desc, message);
    note_added(gateway, peer);
    return at;
}

uint32_t peers_add_bytes(struct gateway *gateway, struct peer *peer, struct slice message)
{
    if (peer->packet == NULL)
        open_packet(gateway, peer);
    uint32_t at = (uint32_t)peer->packet->size;
    buf_append_slice(peer->packet, message);
    note_added(gateway, peer);
    return at;
}

void peers_send_full(struct gateway *gateway, struct peer *peer)
{
    if (peer->packet->size >= LIMIT_PACKET_FLUSH_SIZE)
        send_packet(gateway, peer);
}

/* When the packet leaves. Waiting is worth it only where company may be expected in that time: a
 * lone message leaves at once, and under load every packet carries several, so that what each costs
 * on its whole way there and back (wake-ups, encryption, a sync) is shared. */
static uint64_t leaves_us(const struct gateway *gateway, const struct peer *peer)
{
    if (peer->must_send || peer->packet_count >= PEERS_FLUSH_COUNT ||
        peer->gap_us >= 2 * (uint64_t)gateway->options.gather_us)
        return 0;
    return peer->packet_us + gateway->options.gather_us;
}

static bool is_ready(const struct gateway *gateway, const struct peer *peer)
{
    return gateway_now_us(gateway) >= leaves_us(gateway, peer);
}

void peers_flush(struct gateway *gateway)
{
    size_t at = 0;
    struct peer *peer;
    while ((peer = map_next(&gateway->routers.peers, &at)) != NULL)
        if (peer->packet != NULL && is_ready(gateway, peer))
            send_packet(gateway, peer);
}

void peers_turn(struct gateway *gateway)
{
    uint64_t now_us = gateway_now_us(gateway);
    bool is_hello_due = now_us >= gateway->routers.hello_due_us;
    if (is_hello_due)
        gateway->routers.hello_due_us = now_us + LIMIT_HELLO_MS * 1000u;
    uint32_t up = 0;
    size_t at = 0;
    struct peer *peer;
    while ((peer = map_next(&gateway->routers.peers, &at)) != NULL) {
        if (peer->is_up && now_us >= peer->heard_us + LIMIT_LINK_SILENT_MS * 1000u)
            peer->is_up = false; /* Its next packet brings everything on it to be watched again. */
        if (peer->is_here && is_hello_due)
            send_hello(gateway, peer);
        up += peer->is_up;
    }
    metric_set(routers_up, up);
}

uint64_t peers_due_us(const struct gateway *gateway)
{
    uint64_t due_us = ENV_NEVER;
    size_t at = 0;
    struct peer *peer;
    while ((peer = map_next(&gateway->routers.peers, &at)) != NULL) {
        if (peer->packet != NULL) {
            uint64_t packet_due_us = leaves_us(gateway, peer);
            due_us = packet_due_us < due_us ? packet_due_us : due_us;
        }
        if (peer->is_up) {
            uint64_t silent_us = peer->heard_us + LIMIT_LINK_SILENT_MS * 1000u;
            due_us = silent_us < due_us ? silent_us : due_us;
        }
    }
    return gateway->routers.hello_due_us < due_us ? gateway->routers.hello_due_us : due_us;
}
