/* dev_child - one node of a dev cluster: how it is started and asked how it is. */
#ifndef NODES_DEV_CHILD_H
#define NODES_DEV_CHILD_H

#include <stdbool.h>
#include <sys/types.h>

#include "mesh/base/buf.h"
#include "nodes/config.h"
#include "nodes/dev_files.h"

struct dev_child_setup {
    const struct config *config;
    const struct dev_files_path *folder;
    struct dev_files_joins joins; /* Of the routers, the first one's first. */
    bool is_born;                 /* All were up once: no router may begin another cluster. */
    const char *notify;           /* Where the nodes say that they are ready: NOTIFY_SOCKET. */
    const char *bind;             /* Address the gateways listen on. */
    const char *host;             /* Address they are reached by from here. */
    char api_key[API_KEY_LINE_SIZE_MAX + 1]; /* Of the HTTP API, besides those in the config. */
};

/* Choose the mesh ports; check that the gateways' ports are free. RC_IN_USE, with a sentence: one
 * is not. */
MUST_CHECK enum rc dev_child_setup(struct dev_child_setup *setup, const struct config *c,
                                   const struct dev_files_path *folder, struct sentence *sentence);

/* Start a node: `router` is a router's number, from 1; 0: a gateway, which listens on `port`. Forks
 * and executes this program. Its output goes to NODE.log, it is in a process group of its own
 * (Ctrl-C is the supervisor's), and it is killed when the supervisor dies. Returns its process id,
 * or -1. */
pid_t dev_child_start(const struct dev_child_setup *setup, const char *node, uint32_t router,
                      uint32_t port);

/* Does GET /health on this port say 200? Waits 0.3 s at most. */
bool dev_child_is_healthy(const struct dev_child_setup *setup, uint32_t port);

/* What GET /v1/cluster on this port answers: JSON, within `text`. Empty where there is no answer.
 * Waits some 2 s at most for a gateway that waits for its routers. */
struct slice dev_child_cluster(const struct dev_child_setup *setup, uint32_t port,
                               struct buf *text);

#endif
