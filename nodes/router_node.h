/* router_node - the process around a router's core: its data directory, its disk, its peers.
 *
 *   happy path      open the directory; with an empty one begin a cluster, or with --join be taken
 *                   into one; recover the shards, turn; at SIGTERM hand over what is led, and end
 *   failure modes   another node's directory, or one in use: a sentence, exit 2; nobody to join:
 *                   waits, and logs for what; the disk fails: one log line, exit 1, since a router
 *                   that goes on could acknowledge what is not stored
 *   on stop         nothing is flushed: what was acknowledged is durable. A second signal, or
 *                   --handover-ms gone by, ends it with what it still leads: others elect */
#ifndef NODES_ROUTER_NODE_H
#define NODES_ROUTER_NODE_H

#include "nodes/config.h"

int router_node_run(const struct config *c); /* Returns the exit code. */

#endif
