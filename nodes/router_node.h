/* router_node - the process around a router's core: its data directory, its disk, its peers.
 *
 *   happy path      open the directory, check whose it is, recover the shards, join the mesh, turn
 *   failure modes   another node's directory, or one in use: a sentence, exit 2; the disk fails:
 * one log line, exit 1, since a router that goes on could acknowledge what is not stored on stop
 * tell the peers; nothing is flushed: what was acknowledged is durable */
#ifndef NODES_ROUTER_NODE_H
#define NODES_ROUTER_NODE_H

#include "nodes/config.h"

int router_node_run(const struct config *c); /* Returns the exit code. */

#endif
