/* people - simulated clients: the other end of the links, with the rules of a good client.
 *
 * A client keeps for each conversation the last seq it has, resumes from there (or from the
 * server's record), sends again with the same cid what was not acknowledged, fills gaps by history,
 * and complains (C6) about any entry that is not the next one. Some read slowly, some are cut off
 * at any moment, some run twice under the name of one device, those who may change memberships do,
 * and in the end everyone's lists are held against the log. */
#ifndef TESTS_SIM_PEOPLE_H
#define TESTS_SIM_PEOPLE_H

#include "tests/sim/book.h"
#include "tests/sim/cluster.h"

struct people;

struct people_options {
    uint32_t users, devices, groups;
    uint64_t retain_count; /* Entries of a group that are kept; 0: all. */
    uint32_t twins;        /* So many devices run twice. */
    double churn;          /* How often memberships change: 0 never, 1 all the time. */
    double repeats;        /* How often what was acknowledged is sent again. */
    double foreign_reset;  /* Of connections that leave the resume point to the server. */
};

struct people *people_new(struct world *world, struct cluster *cluster, struct book *book,
                          const struct people_options *options);
void people_free(struct people **people);

/* Everyone comes online. */
void people_start(struct people *people);
/* Cut a random connection. */
void people_cut_one(struct people *people);
/* Every client of this gateway asks for what is newest in the first group. */
void people_ask_newest(struct people *people, const struct sim_node *gateway);
/* The gateway died: its clients notice. */
void people_gateway_down(void *context, struct sim_node *gateway);
/* No new sends or changes from now on, and nobody reads slowly. */
void people_quiet(struct people *people);

/* Both clients of each device that runs twice connect at once; */
void people_duel(struct people *people);
/* some seconds later exactly one of them must be there, and only the first one stays. */
void people_end_duel(struct people *people);

/* Everyone is online, has all entries of all his conversations, and nothing is unacknowledged; else
 * the reason is written into `why`. */
bool people_are_content(struct people *people, char *why, size_t why_size);

/* Everyone asks for his conversations and their members, and compares. */
void people_audit(struct people *people);
bool people_are_audited(struct people *people, char *why, size_t why_size);

uint32_t people_count(const struct people *people);

#endif
