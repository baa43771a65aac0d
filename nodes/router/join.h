/* join - how a router that holds nothing yet comes into a cluster.
 *
 * It learns from discovery which routers there are and asks one after another to be taken into the
 * committed list; whoever leads the control group puts it there and tells what every member must
 * know: how many shards there are, and which history their positions belong to. Asking is
 * idempotent, so an answer that is lost costs another question and nothing else.
 *
 *   happy path      on_peer(up) -> join -> NOT_LEADER: the next one -> ... -> joined(OK)
 *   failure modes   nobody leads or answers: asked again every 300 ms, for ever; the node id was
 *                   removed from the cluster: RC_CONFLICT, final
 *   on stop         freed at any moment; a router that was taken into the list and never comes is
 *                   one that is silent
 *
 * Pure: env for time, bus for peers. nodes/router_join.c runs it before there is a router. */
#ifndef NODES_ROUTER_JOIN_H
#define NODES_ROUTER_JOIN_H

#include <stddef.h>

#include "mesh/base/env.h"
#include "mesh/wire/bus.h"
#include "storage/node_row.h"

#define JOIN_ASK_MS 300u /* A router that does not answer within is passed over. */

struct join_options {
    const char *node; /* Node id. */
    uint64_t incarnation;
    const char *zone; /* NULL: none. */
    uint32_t weight;
};

struct join_result {
    uint8_t cluster[16];
    uint32_t shards;
    char epoch[NODE_ROW_EPOCH_SIZE + 1];
};

struct join;

/* Texts of `options` are copied; `env` and `bus` are borrowed. */
struct join *join_new(const struct join_options *options, struct env *env, struct bus *bus);
void join_free(struct join **join);

struct bus_handler join_bus_handler(struct join *join);

void join_turn(struct join *join);
uint64_t join_due_us(const struct join *join); /* When a turn is due though nothing comes in. */

/* RC_AGAIN: not yet; RC_OK: joined, *ret_result is written; RC_CONFLICT: this node id was removed
 * from the cluster and is never taken back. Both are final. */
MUST_CHECK enum rc join_outcome(const struct join *join, struct join_result *ret_result);

/* What it waits for, as a phrase for the log, cut at `size`. */
void join_describe(const struct join *join, char *text, size_t size);

#endif
