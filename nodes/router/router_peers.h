/* router_peers - the other routers: who is up, who leads what, and messages to them.
 *
 * Routers beat each other as they beat gateways, so each knows who leads any group; that is a hint,
 * never a licence: whoever is asked decides by his own term. What goes to a peer leaves through the
 * same queues as answers to gateways: one packet a peer and turn, all groups' messages in it. */
#ifndef NODES_ROUTER_ROUTER_PEERS_H
#define NODES_ROUTER_ROUTER_PEERS_H

#include <stdbool.h>

#include "mesh/base/map.h"
#include "mesh/wire/bus.h"
#include "nodes/router/watchers.h"
#include "storage/peers_row.h"

struct router;

struct router_peer {
    char id[LIMIT_NODE_ID_SIZE_MAX + 1];          /* Node id. */
    char gossip[PEERS_ROW_ENDPOINT_SIZE_MAX + 1]; /* Where discovery finds it; empty: not told. */
    uint64_t incarnation;
    bool is_up;          /* As discovery has it. */
    bool is_leaving;     /* It said so: hand it nothing. */
    uint64_t down_ms;    /* Since when it is not up; of one never seen, since we heard of it. */
    bool has_beat;       /* It told how it is since it came up, */
    uint64_t beat_ms;    /* and when it did last. */
    uint64_t held;       /* Replicas it holds, as it told last, */
    uint64_t table;      /* and the version of the list of routers that it goes by, */
    struct buf *counted; /* and who drains and counts in groups that it leads: see router_beat. */
    uint64_t *terms; /* By place: in which term it leads the group, or 0. NULL: not heard yet. */
};

struct router_peers {
    struct map by_id; /* struct router_peer; lives until router_peers_fini(). */
    uint64_t next_beat_us;
};

void router_peers_init(struct router *router);
void router_peers_fini(struct router *router);

void router_peers_on_node(struct router *router, const struct msg_node *node, bool up);
/* NULL where it is no router that we heard of. */
struct router_peer *router_peers_get(const struct router *router, struct slice node);
/* Made known where it is new: a name on the list that discovery did not tell yet. */
struct router_peer *router_peers_expect(struct router *router, struct slice node);

/* Queue a message, dropped where the peer is not up. */
void router_peers_tell(struct router *router, struct router_peer *peer,
                       const struct record_desc *desc, const void *message);
void router_peers_tell_all(struct router *router, const struct record_desc *desc,
                           const void *message);
/* For raft_group: an encoded record for a node, which may be unknown. */
void router_peers_send_record(void *router, struct slice node, struct slice record);

/* Who claims to lead the group at this place, in the highest term; NULL: nobody else. */
struct router_peer *router_peers_leader(const struct router *router, uint32_t place);

void router_peers_on_beat(struct router *router, struct router_peer *peer,
                          const struct msg_router_beat *beat);
/* Beat where it is time. */
void router_peers_turn(struct router *router, bool at_once);

#endif
