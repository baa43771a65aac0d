/* groups - what the routers hold of each group, read from their stores: an opinion that owes
 * nothing to what routers say of themselves, except who leads. */
#ifndef TESTS_SIM_GROUPS_H
#define TESTS_SIM_GROUPS_H

#include "tests/sim/book.h"
#include "tests/sim/cluster.h"

/* Every group has exactly the replicas that the ring gives it, in their roles, all in the same
 * state, and one leader, the preferred one; nobody else holds anything. Else the reason is written
 * into `why`. */
bool groups_are_settled(struct cluster *c, char *why, size_t why_size);

/* Each of them is held against the log. */
void groups_check(struct cluster *c, struct book *book);

/* C13, placement: a replica is only where some committed list put it. From a tap: the list on this
 * router changed; a configuration of the group was stored there. */
void groups_on_list(struct cluster *c, const char *node);
uint32_t groups_on_conf(struct cluster *c, const char *node, uint32_t group, struct slice encoded);

/* Could every group, as any router knows it, do without this router's data and still have a
 * majority of its voters? Only then its directory may be wiped. */
bool groups_may_lose(struct cluster *c, const struct sim_node *router);

/* A live router that leads this group, or NULL. Places count the shards, then the control group. */
struct sim_node *groups_leader(struct cluster *c, uint32_t place);

/* Does every group have a leader? Else `why` says which has none. */
bool groups_are_led(struct cluster *c, char *why, size_t why_size);

/* Into the story: what each router holds. */
void groups_note(struct cluster *c);

/* Steps of placement that routers have done. */
uint64_t groups_moves(struct cluster *c);

#endif
