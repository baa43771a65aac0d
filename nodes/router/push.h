/* push - tells the operator's webhook what offline members have missed.
 *
 * Durable is one cursor a conversation, `pushed` of its head; the rest is soft, of the leader of
 * its shard: the conversations that have a message beyond it, known from applying, and to a new
 * leader from a walk over the heads.
 *
 *   noted --has waited--> due --gathered--> in the post --2xx--> cmd_pushed --applied--> forgotten
 *                          ^                     |
 *                          +-----not 2xx---------+     exponential backoff, for ever
 *
 * Who is offline is decided by cursors and not by connections: a member to whom a message was not
 * delivered when it has waited (LIMIT_PUSH_WAIT_MS, and what a receipt may take on its way here).
 * Of clients that never acknowledge gateways tell that they have read it (push_on_given).
 * It is decided when a post is made, and again when it has to be repeated: who came meanwhile is
 * left out. One post is on its way at a time; it holds many conversations, each one's messages in
 * order for each recipient.
 *
 *   failure modes   not answered 2xx: again later, the conversations in another order, and after a
 *                   4xx fewer at a time, so that one that the webhook cannot take does not keep
 *                   the others for ever; leadership lost: all of the shard is forgotten, the next
 *                   leader finds it by the cursor; too many conversations: found by a walk again
 *   on stop         nothing: what was not confirmed is posted again by the next leader
 *
 * At least once: what was answered 2xx, but whose cmd_pushed did not commit, is posted again.
 *
 * Pure: env for time, the machine for reading, a port for the world. Loop thread only. */
#ifndef NODES_ROUTER_PUSH_H
#define NODES_ROUTER_PUSH_H

#include "mesh/base/buf.h"
#include "mesh/base/env.h"
#include "nodes/router/machine.h"

/* The world: nodes/webhook.c, or a test. */
struct push_port {
    void *context;
    /* POST `body`, a JSON object, and tell push_on_posted(), not before this has returned. One at a
     * time. Who needs the body longer takes a reference. */
    void (*post)(void *context, struct buf *body);
};

/* The router around it. */
struct push_host {
    void *context;
    /* The state of a shard that is led and may be read now, else NULL. */
    struct machine *(*machine)(void *context, uint32_t shard);
    /* Queue a command of the shard's. One that is lost is given again. */
    void (*submit)(void *context, uint32_t shard, struct slice command);
    /* A read failed: RC_CORRUPT, RC_IO. */
    void (*on_failed)(void *context, uint32_t shard, enum rc rc);
};

struct push;

/* Both are copied; shards are 0..shards-1. */
struct push *push_new(const struct push_port *port, const struct push_host *host, struct env *env,
                      uint32_t shards);
void push_free(struct push **push);

/* This router leads the shard now, or no longer. */
void push_lead(struct push *push, uint32_t shard);
void push_lose(struct push *push, uint32_t shard);

/* A message of a conversation of a shard that is led was applied. */
void push_note(struct push *push, uint32_t shard, struct slice conv, uint64_t seq);

/* A session of this user that never acknowledges has read everything up to `seq`: remembered while
 * the conversation waits, for PUSH_GIVEN_MAX users at most. */
void push_on_given(struct push *push, struct slice conv, struct slice user, uint64_t seq);

/* Reads machines, so before anything is applied in this turn. Bounded. */
void push_turn(struct push *push);
uint64_t push_due_us(const struct push *push);

/* How the post went. `status`: of HTTP, 0 where there was no answer; `reason` says why. */
void push_on_posted(struct push *push, uint32_t status, const char *reason);

/* Before the router stops: what is posted now the next leader might post again. */
void push_stop(struct push *push);

/* Conversations that have waited, and of which the webhook has not confirmed everything. */
uint32_t push_waiting(const struct push *push);

#endif
