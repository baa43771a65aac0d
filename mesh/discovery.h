/* discovery - gossip over CURVE ROUTER and DEALER sockets: how nodes find each other.
 *
 * Every LIMIT_GOSSIP_MS a node raises its counter and sends all it knows (mesh/membership.h) to the
 * seeds it has not met and to the nodes it has, over one DEALER each. Routers listen with a ROUTER.
 * Who cannot be reached that way (a gateway binds nothing; `status` only asks) or is new gets the
 * table back at once, on the connection he came by.
 *
 * A node of another cluster gets nothing but this node's record, by which it knows where it is.
 *
 * A DEALER sends only while its peer is admitted; as soon as it is, it sends without waiting for
 * the round. While keys are being changed, one that gets nowhere for 2 s tries the next server key.
 *
 * Loop thread only. */
#ifndef MESH_DISCOVERY_H
#define MESH_DISCOVERY_H

#include "mesh/base/env.h"
#include "mesh/base/limits.h"
#include "mesh/hub.h"
#include "mesh/membership.h"

#define DISCOVERY_KNOWN_MAX 64u

struct discovery_options {
    struct msg_node self;               /* This node's record; copied. */
    const char *seeds[LIMIT_SEEDS_MAX]; /* Gossip endpoints; copied. */
    uint32_t seed_count;
    uint16_t beacon_port; /* 0: off. */
    struct membership_handler handler;
};

struct discovery;

/* `hub` and `env` are borrowed; `*gossip`, the listening socket, is taken and nulled, or is NULL.
 * RC_CONFIG, with a sentence: a seed is no endpoint, or would be plain text beyond loopback. */
MUST_CHECK enum rc discovery_new(struct hub *hub, struct env *env,
                                 const struct discovery_options *options,
                                 struct hub_socket **gossip, struct discovery **ret_discovery,
                                 struct sentence *sentence);
void discovery_free(struct discovery **discovery); /* Takes and nulls. */

struct membership *discovery_membership(struct discovery *discovery);

/* Where nodes of this cluster were met before: looked for like seeds, in place of those given
 * earlier. At most DISCOVERY_KNOWN_MAX are taken, and what is no endpoint is passed over. */
void discovery_set_known(struct discovery *discovery, const char *const *endpoints, uint32_t count);

/* A seed where a node of another cluster has answered; NULL: none has. */
const char *discovery_foreign_seed(const struct discovery *discovery);

void discovery_turn(struct discovery *discovery); /* Rounds and silence, where due. */
uint64_t discovery_due_us(const struct discovery *discovery);
void discovery_leave(struct discovery *discovery); /* Tell everybody, now. */

/* Ask the router at `endpoint` for its table, as a command line does: `on_node` gets every node
 * that is up. Blocks for `timeout_ms` at most. RC_CONFIG: the endpoint; RC_TIMEOUT: no answer, or
 * the key is not accepted; RC_CORRUPT: the answer cannot be read; RC_IO. With a sentence. */
MUST_CHECK enum rc discovery_query(const char *endpoint, const struct keyfile *key,
                                   uint32_t timeout_ms,
                                   void (*on_node)(void *context, const struct msg_node *node),
                                   void *context, struct sentence *sentence);

#endif
