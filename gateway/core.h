/* core - what the parts of the gateway share; nothing outside gateway/ includes it.
 *
 *   gateway.c    the turn, health, drain
 *   peers.c      links to routers, and the packets on the way to them
 *   routers.c    who leads which shard, and what routers say
 *   calls.c      requests to them, in flight or waiting for the next leader
 *   users.c      which sessions a user has here, and his list of conversations
 *   watch.c      one conversation watched by this gateway: its live stream
 *   pair.c       one session in one conversation
 *   catchup.c    its way from where it stands into the live stream
 *   large.c      its rest, where the conversation is large and not open
 *   redelivery.c what it is given again, since it was not acknowledged
 *   proof.c      that it has read it, though it never acknowledges, for the webhook
 *   session*.c   one client: life, what goes out, requests, resume
 *   receipts.c   its cursors, coalesced
 *   presence*.c  who is online, for the sessions that ask
 *   conv_list.c  a user's conversations, by activity
 *   survey.c     how the cluster is
 *   api*.c       the HTTP API */
#ifndef GATEWAY_CORE_H
#define GATEWAY_CORE_H

#include "gateway/api.h"
#include "gateway/client.h"
#include "gateway/gateway.h"
#include "gateway/routers.h"
#include "gateway/survey.h"
#include "gateway/wheel.h"
#include "mesh/base/list.h"
#include "mesh/base/map.h"
#include "mesh/wire/key.h"

struct gateway {
    struct gateway_options options;
    char node[LIMIT_NODE_ID_SIZE_MAX + 1];
    const struct auth *auth; /* Borrowed, as env and bus are. */
    struct env *env;
    struct bus *bus;
    struct client_decoder decoder;
    struct routers routers;
    struct calls calls;
    struct map users;
    struct map watches;
    struct presence presence;
    struct survey survey;
    struct api api;
    struct wheel wheel;      /* Timers of sessions. */
    struct list sessions;    /* All whose link is there. */
    struct list dirty;       /* Those with something to write this turn. */
    struct list ready;       /* Those with conversations to catch up, to be looked at this turn. */
    struct list waiting;     /* Those whose conversations found no leader or no room: at a retry. */
    struct list fenced;      /* Those of which a send was refused since the last turn. */
    struct list dead;        /* Those to be freed at the end of the turn. */
    struct list suspects;    /* Watches whose live stream is behind what is known, oldest first. */
    struct list empty;       /* Watches without a session: given up at the end of the turn. */
    struct list stale_users; /* Users whose list is to be asked for again. */
    struct list stirred;     /* Large conversations that have something to tell. */
    struct list past_users;  /* Users without a session, kept for their rate limit, oldest first. */
    uint32_t session_count;
    uint32_t users_online;
    uint32_t watch_calls;   /* watch and fetch requests in flight. */
    uint32_t listing_calls; /* user_open requests in flight for stale users. */
    uint64_t stirred_us;    /* When the next of them may. */
    uint64_t retry_due_us;  /* When what found no leader is tried again. */
    bool is_draining;
    bool retry_now;        /* A shard has become ready: do not wait for retry_due_us. */
    bool has_told_cluster; /* Sessions that waited for the epoch have been welcomed. */
    bool was_full;         /* watch_calls reached its bound: when there is room, go on. */
    struct buf *text;      /* Scratch: one JSON object. */
    struct buf *write;     /* Scratch: several frames for one write. */
    struct buf *record;    /* Scratch: one record on its way into a packet. */
};

static inline uint64_t gateway_now_us(const struct gateway *gateway)
{
    return env_now_us(gateway->env);
}

/* The id of a group that names none: from its creator and the cid, so that the same again meets it;
 * without a cid (absent) it is drawn. */
void gateway_name_group(const struct gateway *gateway, struct slice creator, struct slice cid,
                        char id[KEY_GROUP_SIZE]);

#endif
