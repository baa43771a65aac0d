/* asker - a command that joins the mesh for a moment, as a node of its own that holds nothing.
 *
 * It hears which nodes there are and asks every router how it is, at once when it is heard and
 * again when told to. What else is to be said and when it is over is for the command: status.c,
 * operate.c.
 *
 *   happy path      open -> the mesh is heard -> every router is asked -> answers -> the command
 * ends it failure modes   no cluster, wrong key or endpoint: a sentence; a router that does not
 * answer: asker_is_complete() stays false, and the command's own deadline ends it */
#ifndef NODES_ASKER_H
#define NODES_ASKER_H

#include <stdbool.h>

#include "gateway/cluster_view.h"
#include "mesh/zmq_bus.h"
#include "nodes/config.h"
#include "nodes/loop.h"

/* A router and its answer. */
struct asker_router {
    char id[LIMIT_NODE_ID_SIZE_MAX + 1];
    bool is_up;
    struct buf *json; /* Checked, an object; NULL: asked, not answered. */
};

struct asker {
    const struct config *config;
    struct loop *loop;
    struct zmq_bus *bus;
    char self[LIMIT_NODE_ID_SIZE_MAX + 1];
    uint64_t incarnation;
    uint64_t req;        /* Of the last round of questions. */
    uint64_t settled_us; /* When those heard by then are taken for all; ENV_NEVER until a first. */
    struct asker_router *routers;
    uint32_t router_count;
    /* The command's; on_result and on_stop may be NULL. */
    void *context;
    void (*turn)(void *context);
    uint64_t (*due_us)(void *context);
    void (*on_result)(void *context, const struct msg_result *result);
    void (*on_stop)(void *context, bool again);
};

/* Join the cluster that --join names, or that of the dev cluster in --data, which `c` is then made
 * to name. Returns an exit code, having said what is wrong. The callbacks are set by now. */
int asker_open(struct asker *asker, struct config *c);
void asker_close(struct asker *asker);

/* Turn until asker_stop(). */
void asker_run(struct asker *asker);
void asker_stop(struct asker *asker);

uint64_t asker_now_us(const struct asker *asker);

/* Forget the answers and ask all that are up again. */
void asker_ask_again(struct asker *asker);
/* Say something to every router that is up. */
void asker_tell(struct asker *asker, const struct record_desc *desc, const void *message);

/* Are all there, and has everybody answered? */
bool asker_is_complete(const struct asker *asker);

bool asker_is_up(const struct asker *asker, const char *id);

/* Is this router up, and has not answered yet? */
bool asker_awaits(const struct asker *asker, const char *id);

/* Nobody who serves answered in time: say who was heard, and where was asked. Returns the exit
 * code. */
int asker_fail_silent(const struct asker *asker);

/* What they answered, taken together; to be finished with cluster_view_fini(). Returns how many
 * have. */
uint32_t asker_view(const struct asker *asker, struct cluster_view *ret_view);

/* The next node that is no asker itself: `size_t at = 0`, until NULL. */
const struct msg_node *asker_next_node(const struct asker *asker, size_t *at);

#endif
