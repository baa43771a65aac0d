/* dev_placed - may any one router of a dev cluster die by now?
 *
 * A new cluster serves as soon as its first router leads everything, and for some seconds that
 * router holds the only copy of many shards. They are placed when each of them and the control
 * group have a leader and as many voters as the active routers allow, and when so many routers know
 * it: a configuration that the leader alone has stored would die with it.
 *
 * Pure: what GET /v1/cluster answers in, a word out. */
#ifndef NODES_DEV_PLACED_H
#define NODES_DEV_PLACED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mesh/base/slice.h"

/* `routers` are the names of those that run here: what others may hold is not waited for, and what
 * one of them may hold only where the list has it as active. False: `missing` says what is not
 * there yet, in a few words. */
bool dev_placed_check(struct slice json, const char *const *routers, uint32_t router_count,
                      char *missing, size_t size);

#endif
