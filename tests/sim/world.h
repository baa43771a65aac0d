/* world - the simulated machine room: one clock, one seed, everything that can happen as an event.
 *
 * Every source of chance draws from one generator, and events at the same instant run in the order
 * they were made, so a seed replays a run exactly. Nodes are the real cores (nodes/router, gateway)
 * behind simulated ports: env, bus, store (storage/mem_kv) and client links. */
#ifndef TESTS_SIM_WORLD_H
#define TESTS_SIM_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct world_event {
    uint64_t at_us;
    uint64_t order; /* Of creation: breaks ties. */
    void (*run)(void *context, uint64_t argument);
    void *context;
    uint64_t argument;
    void (*drop)(void *context); /* Or NULL: the context is not the event's. */
};

struct world {
    uint64_t now_us;
    uint64_t random_state;
    uint64_t order_next;
    struct world_event *heap; /* Binary heap by (at_us, order). */
    size_t heap_count, heap_capacity;
    uint64_t trace; /* Hash of everything that ran: two runs of a seed must agree. */
    bool verbose;
    const char *speaker; /* Whose code runs now, for what it logs; NULL: nobody's. */
};

void world_init(struct world *w, uint64_t seed, bool verbose);
void world_fini(struct world *w);

uint64_t world_random(struct world *w);
uint64_t world_between(struct world *w, uint64_t least, uint64_t most); /* Both included. */
bool world_chance(struct world *w, double probability);

/* Run `run(context, argument)` after `delay_us`. */
void world_after(struct world *w, uint64_t delay_us, void (*run)(void *, uint64_t), void *context,
                 uint64_t argument);
/* The same for a thing on its way, which the event owns: drop(thing) follows arrive(thing), or
 * comes alone where the run ends before. */
void world_carry(struct world *w, uint64_t delay_us, void (*arrive)(void *, uint64_t), void *thing,
                 void (*drop)(void *));
/* Run events until `until_us`, then stand there. */
void world_run(struct world *w, uint64_t until_us);

/* What nodes log becomes part of the story, where it is told. */
void world_hear_logs(struct world *w);

/* Make `hash` part of the trace: what was said, not only when. */
void world_mix(struct world *w, uint64_t hash);

void world_note(struct world *w, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The run is wrong: print the seed's story and end the process with exit code 1. */
_Noreturn void world_violation(struct world *w, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
