/* survey - how the cluster is: what discovery told of its nodes, and what each router says when it
 * is asked.
 *
 * Routers are asked when somebody wants to know, all at once, and the answer is good for
 * SURVEY_FRESH_US: however many watch, routers are asked twice a second at most.
 *
 * Loop thread only. */
#ifndef GATEWAY_SURVEY_H
#define GATEWAY_SURVEY_H

#include <stdbool.h>

#include "mesh/base/buf.h"
#include "mesh/base/list.h"
#include "mesh/base/map.h"
#include "mesh/wire/messages.h"

#define SURVEY_FRESH_US 500000u
#define SURVEY_WAIT_US  1000000u /* For routers that do not answer: then without them. */

struct gateway;
struct peer;

struct survey {
    struct map nodes; /* All that discovery told of, but for this one. */
    struct list waiting;
    struct buf *json;     /* The last answer. */
    uint64_t answered_us; /* When it was made; 0: never. */
    uint64_t req;         /* Of the question that is out, */
    uint64_t deadline_us;
    uint32_t awaited; /* and how many have yet to answer it. */
    bool is_asking;
};

/* Who waits; the head of his own struct. */
struct survey_waiter {
    struct list node; /* Removed by whoever waits no longer. */
    void (*on_done)(struct survey_waiter *waiter, struct slice json);
};

void survey_init(struct gateway *gateway);
void survey_fini(struct gateway *gateway); /* Who still waits is told nothing. */

/* Tell the waiter, perhaps before this returns. */
void survey_ask(struct gateway *gateway, struct survey_waiter *waiter);

/* From routers.c. */
void survey_on_node(struct gateway *gateway, const struct msg_node *node, bool up);
void survey_on_status(struct gateway *gateway, const struct peer *peer,
                      const struct msg_status_reply *reply);

void survey_turn(struct gateway *gateway);
uint64_t survey_due_us(const struct gateway *gateway);

#endif
