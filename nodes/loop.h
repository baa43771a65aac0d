/* loop - the real environment: one libuv loop, the clock, and the turn of a node.
 *
 * Every iteration of libuv's loop ends in one turn: first the mesh's packets, at most a budget of
 * them, then the core. In between the loop sleeps until a descriptor, a signal, another thread's
 * wake-up or the due time of core or mesh, to the microsecond: a gateway gathers requests for 300
 * us, which libuv's own timers (1 ms) cannot tell, so a timerfd stands in.
 *
 *   happy path      packet -> ZMQ descriptor wakes poll -> check: bus, turn -> prepare: due? ->
 * sleep failure modes   bus or core have more to do at once: an idle handle keeps poll from
 * sleeping on stop         SIGTERM or SIGINT -> on_stop(again = false); a further one ->
 * on_stop(true); the node calls loop_stop() when it is done
 *
 * The clock stands still from the end of the sleep to the turn and again during the turn, so that
 * all that one turn does happens at one time. Loop thread only, except loop_wake(). */
#ifndef NODES_LOOP_H
#define NODES_LOOP_H

#include <stdbool.h>

#include "mesh/base/env.h"
#include "mesh/zmq_bus.h"

/* What a node does in the loop. Entries may be NULL. */
struct loop_node {
    void *context;
    void (*turn)(void *context);
    uint64_t (*due_us)(void *context);          /* When a turn is due though nothing comes in. */
    void (*on_wake)(void *context);             /* After loop_wake(), before the turn. */
    void (*on_stop)(void *context, bool again); /* SIGTERM or SIGINT; `again`: not the first. */
    void (*on_reload)(void *context);           /* SIGHUP. */
};

struct loop;

struct loop *loop_new(void);
void loop_free(struct loop **loop); /* Lets closing handles finish. */

struct env *loop_env(struct loop *loop);
struct uv_loop_s *loop_uv(struct loop *loop); /* For the edge, which adds handles of its own. */

/* Run until loop_stop(). `bus` is borrowed and polled once a turn. */
void loop_run(struct loop *loop, const struct loop_node *node, struct zmq_bus *bus);
void loop_stop(struct loop *loop);

void loop_wake(void *loop); /* A `struct loop *`. From any thread, while the loop exists. */

#endif
