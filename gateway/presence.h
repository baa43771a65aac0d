/* presence - who is online, for the sessions that want to know.
 *
 * A session watches users; the gateway watches each of them once, with the leader of his shard,
 * which tells how he is and then what changes. All of it is soft: lost events show as a hole in the
 * link, and then the leader is asked again for everybody of its shards.
 *
 *     FRESH ----> ASKED ----> HEARD     the leader is to be asked, was asked, has told
 *       ^           |           |
 *       +-----------+-----------+       the leader is a new one, events were missed, no answer came
 *     any ------> IDLE                  nobody here watches him: the leader is told, he is
 * forgotten
 *
 * Every state is a list of his shard, so asking again costs what there is to ask. A session is told
 * of a user at most once a second and, where its client reads slowly, before all else not at all:
 * what it missed it is told when there is room, as things stand by then.
 *
 *   happy path     watch -> told what is known at once, the rest when the leader has answered
 *   failure modes  no leader: what is fresh waits for the next one
 *   on stop        leaders forget a gateway that is silent
 *
 * Loop thread only. */
#ifndef GATEWAY_PRESENCE_H
#define GATEWAY_PRESENCE_H

#include <stdbool.h>

#include "mesh/base/list.h"
#include "mesh/base/map.h"
#include "mesh/wire/messages.h"

#define PRESENCE_SESSION_MAX 5000u    /* Users that one session may watch. */
#define PRESENCE_GATEWAY_MAX 4194304u /* Of all sessions together, each counted for itself. */

struct client_request;
struct gateway;
struct peer;
struct session;

/* Watched users of one shard, by state. */
struct shard_presence {
    struct list fresh;
    struct list asked;
    struct list heard;
    struct list idle;
    struct list node;  /* On the gateway's busy list while anybody is not HEARD. */
    uint64_t asked_us; /* When the leader was asked last. */
};

struct presence {
    struct map watched;
    struct map interests; /* One for each session and user it watches. */
    struct list busy;     /* Shards with something to say to their leader, or to hear from it. */
    struct list queries;  /* Questions not answered yet, the oldest first (presence_query.h). */
    bool must_ask;        /* One of them found no answer: again at the next retry. */
    struct list told; /* Users of whom somebody was told within the last second, oldest first. */
};

void presence_init(struct gateway *gateway);
void presence_fini(struct gateway *gateway); /* Sessions are gone. */
void presence_init_shard(struct shard_presence *shard);

/* ---- Requests, checked by client_decode() ---- */

void presence_watch(struct session *session, const struct client_request *request);
void presence_unwatch(struct session *session, const struct client_request *request);

/* ---- A session's own ---- */

/* There is room again: what it was not told of for want of it. */
void presence_catch_up(struct session *session);
void presence_leave(struct session *session); /* It ends: watches nobody. */

/* ---- From routers.c ---- */

void presence_on_event(struct gateway *gateway, const struct peer *peer,
                       const struct msg_event_presence *event);
/* Of this shard events may have been missed, or its leader knows of no watches. */
void presence_on_missed(struct gateway *gateway, uint32_t shard);

/* ---- The turn ---- */

void presence_turn(struct gateway *gateway); /* Asks leaders, tells what was held back. */
uint64_t presence_due_us(const struct gateway *gateway);

/* A router's word; what a newer one may say beyond ours is taken for online. */
static inline uint8_t presence_status_of(uint64_t said)
{
    return said <= PRESENCE_BUSY ? (uint8_t)said : (uint8_t)PRESENCE_ONLINE;
}

#endif
