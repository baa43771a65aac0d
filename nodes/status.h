/* status - `chatmesh status`: joins the mesh for a moment, listens who is there, and asks every
 * router how it is. */
#ifndef NODES_STATUS_H
#define NODES_STATUS_H

#include "nodes/config.h"

int status_run(struct config *c); /* Returns the exit code. */

#endif
