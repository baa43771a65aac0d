/* gateway_node - the process around a gateway's core: clients on one side, the mesh on the other.
 *
 *   happy path      listen, join the mesh, turn
 *   failure modes   a port in use, no key to check tokens with: a sentence, exit 2
 *   on stop         first SIGTERM: accept nobody, send clients away over --drain-ms, end when the
 * last is gone; second one: end at once */
#ifndef NODES_GATEWAY_NODE_H
#define NODES_GATEWAY_NODE_H

#include "nodes/config.h"

int gateway_node_run(const struct config *c); /* Returns the exit code. */

#endif
