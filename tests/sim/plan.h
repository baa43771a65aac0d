/* plan - one night: what a seed draws, what goes wrong, and what must be so in the end.
 *
 * Safety: for 5 to 20 virtual seconds clients talk while whatever the seed chose goes wrong. Then
 * everything heals. Liveness: within 60 virtual seconds everyone is online and has everything, and
 * the replicas are where the ring puts them; everyone's lists and every replica are held against
 * the log. */
#ifndef TESTS_SIM_PLAN_H
#define TESTS_SIM_PLAN_H

#include <stdbool.h>
#include <stdint.h>

struct plan_totals {
    uint64_t acked, refused, changes, delivered;
    uint64_t rewrites, trims;
    uint64_t ends, parted, begins, end_tries, repeats, erasures, blanks;
    uint64_t presences, typings;
    uint64_t activities, again;
    uint64_t crashes, losses, disk_failures, partitions, drains;
    uint64_t routers, joins, wipes, hand_overs, transfers, moves, removals, elections;
    uint64_t reads, reads_bound, orders, orders_across, confs; /* What checks had to judge. */
    uint64_t trace;                                            /* Of the last seed. */
};

/* Ends the process with exit code 1 where anything is wrong. */
void plan_run(uint64_t seed, bool verbose, struct plan_totals *totals);

#endif
