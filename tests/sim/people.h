/* people - simulated clients: the other end of the links, with the rules of a good client.
 *
 * A client keeps for each conversation the last seq it has, resumes from there, sends again with
 * the same cid what was not acknowledged, fills gaps by history, and complains (C6) about any entry
 * that is not the next one. Some read slowly, some are cut off at any moment. */
#ifndef TESTS_SIM_PEOPLE_H
#define TESTS_SIM_PEOPLE_H

#include "tests/sim/book.h"
#include "tests/sim/cluster.h"

struct people;

struct people *people_new(struct world *world, struct cluster *cluster, struct book *book,
                          uint32_t users, uint32_t devices, uint32_t groups);
void people_free(struct people **people);

/* Everyone comes online. */
void people_start(struct people *people);
/* Cut a random connection. */
void people_cut_one(struct people *people);
/* The gateway died: its clients notice. */
void people_gateway_down(void *context, struct sim_node *gateway);
/* No new sends from now on, and nobody reads slowly. */
void people_quiet(struct people *people);
/* Everyone is online, has all entries of all his conversations, and nothing is unacknowledged; else
 * the reason is written into `why`. */
bool people_are_content(struct people *people, char *why, size_t why_size);

#endif
