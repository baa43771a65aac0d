/* peers - the routers themselves: their links and the packets on the way to them. Used by
 * routers.c. */
#ifndef GATEWAY_PEERS_H
#define GATEWAY_PEERS_H

#include "gateway/core.h"

struct peer {
    char node[LIMIT_NODE_ID_SIZE_MAX + 1];
    uint8_t node_size;
    bool is_here;   /* Discovery says so. */
    bool is_up;     /* It published to us, and is not silent. */
    bool must_send; /* The packet holds a hello: it leaves this turn. */
    uint64_t incarnation;
    uint64_t link_seq;                  /* Of the last packet it published. */
    uint64_t heard_us;                  /* When that was. */
    char missing[GATEWAY_MISSING_SIZE]; /* Routers that it does not hear, by spaces. */
    struct buf *packet;                 /* Gathered; NULL: nothing. */
    uint64_t packet_us;                 /* When its first message was added. */
    uint32_t packet_count;              /* Messages in it. */
    uint32_t
        packet_holds;  /* Requests whose message is kept there: a reference each, once it leaves. */
    uint64_t added_us; /* When the last message was added. */
    uint64_t gap_us;   /* Between messages, as a moving average. */
};

static inline struct slice peer_name(const struct peer *peer)
{
    return slice_of(peer->node, peer->node_size);
}

void peers_init(struct gateway *gateway);
void peers_fini(struct gateway *gateway);
struct peer *peers_get(struct gateway *gateway, struct slice node); /* NULL: unknown. */
void peers_on_peer(struct gateway *gateway, const struct msg_node *node, bool up);

/* Add a message to the peer's packet, encoded or as it was before. Returns where in the packet it
 * begins. */
uint32_t peers_add(struct gateway *gateway, struct peer *peer, const struct record_desc *desc,
                   const void *message);
uint32_t peers_add_bytes(struct gateway *gateway, struct peer *peer, struct slice message);
/* A packet that is full leaves at once: to be called after each message added. */
void peers_send_full(struct gateway *gateway, struct peer *peer);
/* Once it leaves, the packet is to live on for the message added last. */
void peers_hold_on(struct peer *peer);
/* False: the packet has left, there is a reference to be dropped. */
bool peers_let_go(struct peer *peer, const struct buf *packet);
/* Drop it. Takes and nulls. */
void peers_drop_packet(struct gateway *gateway, struct buf **packet);
void peers_flush(struct gateway *gateway);
uint64_t peers_due_us(const struct gateway *gateway);

/* Hellos each second, and links that fell silent. */
void peers_turn(struct gateway *gateway);

/* Is this published packet the next one of its link? Takes note of it. False: it must be ignored.
 * Where something may have been missed before it, all shards the peer leads are to be watched
 * again. */
bool peers_on_published(struct gateway *gateway, struct peer *peer, const struct packet *packet);

/* The first packet of a cluster tells its id; those of another one are refused. */
bool peers_is_our_cluster(struct gateway *gateway, struct slice cluster);

/* In routers.c: all shards that `peer` leads must be watched again; he leads no longer, says he
 * himself in answer to a request, or is gone. */
void routers_on_missed(struct gateway *gateway, const struct peer *peer);
void routers_on_not_leader(struct gateway *gateway, const struct request *request);
void routers_on_leader_gone(struct gateway *gateway, const struct peer *peer);

#endif
