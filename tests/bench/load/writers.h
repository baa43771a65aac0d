/* writers - those who send at a rate while a crowd comes and goes, on a thread and a loop of their
 * own: what the load client does for the crowd is not to show in their latencies, as they would not
 * share a machine with it. */
#ifndef TESTS_BENCH_LOAD_WRITERS_H
#define TESTS_BENCH_LOAD_WRITERS_H

#include "tests/bench/load/load.h"

struct writers;

/* Connect them to the second url, and begin. */
struct writers *writers_start(const struct options *options);
void writers_stop(struct writers *writers); /* Joins; the counts may be read still. */
void writers_free(struct writers **writers);

/* From now on so many messages a second, to one client after the other; the times until they are
 * acknowledged go into these (NULL: nowhere), as the time since this call in seconds says, the last
 * for all later ones. They may be read after the next call has returned. */
void writers_pace(struct writers *writers, double rate, struct histogram *acks,
                  uint32_t acks_count);

uint64_t writers_sent(const struct writers *writers);
uint64_t writers_acked(const struct writers *writers);

#endif
