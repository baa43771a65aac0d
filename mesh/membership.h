/* membership - who is there: the versioned table under discovery.
 *
 * Each node owns one record, its own, and raises its counter at every gossip round; everybody else
 * only passes it on. Of two records of a node the one with the higher (incarnation, counter) is the
 * newer, so the order and number of deliveries do not matter and an update stops where it is known
 * already: there is nothing that could storm (as zgossip does: mesh/README.md).
 *
 *     UP --silent for 2.5 s--> DOWN --newer record--> UP
 *     UP --record says leaving--> LEFT --silent--> DOWN --10 minutes--> forgotten
 *
 * A record that is silent is no longer passed on, so a dead node dies everywhere. A node that is
 * DOWN for another 2.5 s may come back with a lower incarnation: its clock went back while it was
 * away.
 *
 * Under one node id the newest process wins. The older one learns it from gossip, and knows its own
 * previous life (whose records live on for 2.5 s at most) from a living rival by the rival's
 * counter, which still rises after that.
 *
 * Pure: no sockets, no clock. Used by discovery and by the simulation of thousands of nodes. */
#ifndef MESH_MEMBERSHIP_H
#define MESH_MEMBERSHIP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mesh/base/buf.h"
#include "mesh/base/env.h"
#include "mesh/base/rc.h"
#include "mesh/wire/messages.h"

#define MEMBERSHIP_FORGET_MS   600000u /* A node DOWN for longer is taken off the table. */
#define MEMBERSHIP_TARGETS_ALL 50u     /* Up to so many nodes: gossip to all of them each round. */
#define MEMBERSHIP_TARGETS     4u      /* Beyond: to so many, drawn each round. */
#define MEMBERSHIP_TARGETS_MAX (MEMBERSHIP_TARGETS_ALL + 1)

enum member_event {
    MEMBER_EVENT_UP,   /* Came, came back, or was restarted. */
    MEMBER_EVENT_DOWN, /* Silent, or leaving. */
    MEMBER_EVENT_GONE, /* Forgotten: the record is freed after the call. Was DOWN before. */
};

struct membership_handler {
    void *context;
    void (*on_member)(void *context, const struct msg_node *node, enum member_event event);
};

struct membership;

/* `self` is copied; it must be what membership_record_is_valid() accepts. `handler` is copied. */
struct membership *membership_new(const struct msg_node *self,
                                  const struct membership_handler *handler);
void membership_free(struct membership **membership);

/* May a record come from a peer: names, roles, endpoints (those of a router must all be there). */
bool membership_record_is_valid(const struct msg_node *node);

/* Take the gossip record in `bytes`. *ret_answer (written in any case): the sender should be told
 * our table, since he is new here, cannot be gossiped to, or was replaced by a namesake and ought
 * to know. RC_CORRUPT: it cannot be decoded, or a record is not valid: those before it were taken.
 * RC_MISMATCH: the sender is of another cluster; nothing was taken. RC_FULL: the table is. Refused
 * records are counted as bad packets here, so the outcome may be ignored. */
enum rc membership_merge(struct membership *membership, struct slice bytes, uint64_t now_us,
                         bool *ret_answer);

/* Take one record. RC_OK also where it is known already. RC_CORRUPT, RC_MISMATCH, RC_FULL as above.
 */
enum rc membership_merge_node(struct membership *membership, const struct msg_node *node,
                              uint64_t now_us);

/* Find who fell silent, and forget who is long gone. Returns when that is due again. */
uint64_t membership_tick(struct membership *membership, uint64_t now_us);

/* A gossip round begins: raise the own counter. */
void membership_advance(struct membership *membership);
void membership_leave(struct membership *membership); /* From now on the own record says so. */

/* Append the gossip record: the own record first, then all that are UP or LEFT. */
void membership_encode(const struct membership *membership, struct buf *out);

/* Whom to gossip to this round: nodes with a gossip endpoint that are not LEFT, all of them or some
 * drawn at random; with the latter, one that is DOWN among them, so that two halves of a cluster
 * find each other again. At most MEMBERSHIP_TARGETS_MAX. */
size_t membership_targets(const struct membership *membership, struct env *env,
                          const struct msg_node *out[MEMBERSHIP_TARGETS_MAX]);

/* A record by node id, whatever its state; NULL: not known. The own one is not in the table. */
const struct msg_node *membership_get(const struct membership *membership, struct slice id);
bool membership_is_up(const struct membership *membership, struct slice id);

/* Is somebody up who listens at this gossip endpoint? */
bool membership_has_endpoint(const struct membership *membership, struct slice endpoint);

/* Walk those that are UP. */
const struct msg_node *membership_next_up(const struct membership *membership, size_t *at);

const struct msg_node *membership_self(const struct membership *membership);
size_t membership_count(const struct membership *membership);    /* In the table, without self. */
size_t membership_count_up(const struct membership *membership); /* Likewise. */

/* Raised whenever a record came, changed state or was restarted; not by mere counters. */
uint64_t membership_generation(const struct membership *membership);

/* A node of another cluster, of two routers at least, that spoke to us: it has our key and knows
 * our address. NULL: none. */
const char *membership_foreigner(const struct membership *membership);

/* A newer process runs under our node id. Once true it stays true. */
bool membership_is_superseded(const struct membership *membership);

#endif
