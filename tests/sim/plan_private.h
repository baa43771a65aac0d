/* plan_private - what the parts of a night share: plan.c (what a seed draws, and the end),
 * plan_faults.c (single faults), plan_partition.c (the network comes apart). */
#ifndef TESTS_SIM_PLAN_PRIVATE_H
#define TESTS_SIM_PLAN_PRIVATE_H

#include "tests/sim/book.h"
#include "tests/sim/cluster.h"
#include "tests/sim/people.h"
#include "tests/sim/reaper.h"
#include "tests/sim/steward.h"

struct run {
    struct world world;
    struct cluster cluster;
    struct book book;
    struct people *people;
    struct steward steward;
    struct reaper reaper;
    uint32_t voters; /* Routers, by bit, that voted in any group. */
    unsigned faults; /* Bits by enum fault (plan_faults.c). */
    uint64_t pause_us_max;
    uint32_t twins;
    uint64_t drains, hand_overs, partitions, transfers;
    int64_t elections_before, elections; /* The metric at its beginning; until all healed. */
    bool is_reaping;                     /* Conversations are ended in this night. */
    bool is_healing;
};

/* plan_faults.c */
void faults_begin(struct run *run);
/* Start the node again, where it is dead and not gone for good. */
void faults_restart(struct run *run, struct sim_node *node);
void faults_restart_within(struct run *run, const struct sim_node *node, uint64_t most_us);
/* Then it is killed, and back at once. */
void faults_bounce_after(struct run *run, const struct sim_node *node, uint64_t us);
/* These routers, by bit, vote in some group. */
void faults_on_voters(struct run *run, uint32_t voters);
/* What this router answers comes late, perhaps: behind the news of others, and its own. */
void faults_hold_answers(struct run *run, const char *router);
/* This router has done the first part of an end, and perhaps not the last. */
void faults_in_parts(struct run *run, const char *router);
/* A random live router, or NULL. */
struct sim_node *faults_router(struct run *run);

/* plan_partition.c */
void partition_link(struct run *run);    /* A gateway and a router, or all of them. */
void partition_lapse(struct run *run);   /* Until a gateway's leases are just over. */
void partition_leader(struct run *run);  /* A leader hears nothing of the other routers. */
void partition_stale(struct run *run);   /* A leader and a gateway are by themselves. */
void partition_cluster(struct run *run); /* In two, in one of several ways. */

#endif
