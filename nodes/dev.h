/* dev - `chatmesh dev`: a whole small cluster on one machine, every node a process of its own.
 *
 * The supervisor only starts, watches and stops; it is no part of the cluster. Its children die
 * with it, even if it is killed. */
#ifndef NODES_DEV_H
#define NODES_DEV_H

#include "nodes/config.h"

int dev_run(const struct config *c); /* Returns the exit code. */

#endif
