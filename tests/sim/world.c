#include "tests/sim/world.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mesh/base/log.h"
#include "mesh/base/mem.h"

static uint64_t seed_running; /* For the message of a violation. */
static struct world *listening;

void world_init(struct world *w, uint64_t seed, bool verbose)
{
    memset(w, 0, sizeof(*w));
    w->random_state = seed * 0x9E3779B97F4A7C15u + 1;
    w->now_us = 1000000;
    w->verbose = verbose;
    seed_running = seed;
}

void world_fini(struct world *w)
{
    for (size_t i = 0; i < w->heap_count; i++)
        if (w->heap[i].drop != NULL)
            w->heap[i].drop(w->heap[i].context);
    mem_free(w->heap);
    memset(w, 0, sizeof(*w));
}

/* splitmix64 (Steele, Lea and Flood 2014). */
uint64_t world_random(struct world *w)
{
    uint64_t z = w->random_state += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

uint64_t world_between(struct world *w, uint64_t least, uint64_t most)
{
    return least + world_random(w) % (most - least + 1);
}

bool world_chance(struct world *w, double probability)
{
    return (double)(world_random(w) >> 11) * 0x1.0p-53 < probability;
}

static bool is_before(const struct world_event *a, const struct world_event *b)
{
    return a->at_us != b->at_us ? a->at_us < b->at_us : a->order < b->order;
}

static void push(struct world *w, struct world_event event)
{
    if (w->heap_count == w->heap_capacity) {
        w->heap_capacity = w->heap_capacity == 0 ? 256 : w->heap_capacity * 2;
        w->heap = mem_resize(w->heap, w->heap_capacity * sizeof(*w->heap));
    }
    event.order = w->order_next++;
    size_t at = w->heap_count++;
    for (; at > 0 && is_before(&event, &w->heap[(at - 1) / 2]); at = (at - 1) / 2)
        w->heap[at] = w->heap[(at - 1) / 2];
    w->heap[at] = event;
}

void world_after(struct world *w, uint64_t delay_us, void (*run)(void *, uint64_t), void *context,
                 uint64_t argument)
{
    push(w,
         (struct world_event){
             .at_us = w->now_us + delay_us, .run = run, .context = context, .argument = argument});
}

void world_carry(struct world *w, uint64_t delay_us, void (*arrive)(void *, uint64_t), void *thing,
                 void (*drop)(void *))
{
    push(w, (struct world_event){
                .at_us = w->now_us + delay_us, .run = arrive, .context = thing, .drop = drop});
}

static struct world_event pop(struct world *w)
{
    struct world_event first = w->heap[0];
    struct world_event last = w->heap[--w->heap_count];
    size_t at = 0;
    for (;;) {
        size_t child = at * 2 + 1;
        if (child >= w->heap_count)
            break;
        if (child + 1 < w->heap_count && is_before(&w->heap[child + 1], &w->heap[child]))
            child++;
        if (!is_before(&w->heap[child], &last))
            break;
        w->heap[at] = w->heap[child];
        at = child;
    }
    w->heap[at] = last;
    return first;
}

void world_run(struct world *w, uint64_t until_us)
{
    while (w->heap_count > 0 && w->heap[0].at_us <= until_us) {
        struct world_event event = pop(w);
        w->now_us = event.at_us;
        world_mix(w, event.at_us ^ event.order);
        event.run(event.context, event.argument);
        if (event.drop != NULL)
            event.drop(event.context);
    }
    w->now_us = until_us;
}

static void on_log(enum log_level level, const char *event, const char *fields)
{
    (void)level;
    world_note(listening, "    [%s] %s %s", listening->speaker != NULL ? listening->speaker : "-",
               event, fields);
}

void world_hear_logs(struct world *w)
{
    listening = w;
    log_set(w->verbose ? on_log : NULL, LOG_DEBUG);
}

void world_mix(struct world *w, uint64_t hash)
{
    w->trace = (w->trace ^ hash) * 0x100000001B3u; /* FNV-1a, by words. */
}

void world_note(struct world *w, const char *format, ...)
{
    if (!w->verbose)
        return;
    va_list args;
    va_start(args, format);
    printf("%10.3f ms  ", (double)w->now_us / 1000.0);
    vprintf(format, args);
    printf("\n");
    va_end(args);
}

void world_violation(struct world *w, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fflush(stdout);
    fprintf(stderr, "seed %llu violates at %.3f ms: ", (unsigned long long)seed_running,
            (double)w->now_us / 1000.0);
    vfprintf(stderr, format, args);
    fprintf(stderr, "\nreplay: chatmesh-sim --seed %llu --verbose\n",
            (unsigned long long)seed_running);
    va_end(args);
    exit(1);
}
