/* operate - `chatmesh drain`, `undrain` and `remove`: an operator's word about one router, said to
 * all routers, since whichever leads the control group has to hear it. */
#ifndef NODES_OPERATE_H
#define NODES_OPERATE_H

#include "mesh/wire/messages.h"
#include "nodes/config.h"

/* Returns the exit code. A drain is waited for, unless --wait=false. */
int operate_run(struct config *c, enum operate_action action, const char *node);

/* "r2 holds 41 of 64 replicas; 23 moved, about 12 s left": after `elapsed_us` since it held
 * `begun`. Pure. */
void operate_describe(char *text, size_t size, const char *node, uint64_t begun, uint64_t held,
                      uint64_t elapsed_us);

#endif
