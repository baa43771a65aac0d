/* watchers - the gateways a router talks to, and which of them follow what.
 *
 * A gateway is known from its first hello and leased by the next ones: silent for
 * LIMIT_GATEWAY_LEASE_MS, its watches are dropped, and it watches again when it is back. Interest
 * is kept per gateway, never per client: a conversation with a thousand members online on two
 * gateways has two watchers here.
 *
 * Each gateway has two outgoing streams: answers (request channel) and events (publish channel,
 * with link sequence numbers). Both gather over a turn in packets and leave at its end, so that
 * nothing is said before the turn's batch is written. */
#ifndef NODES_ROUTER_WATCHERS_H
#define NODES_ROUTER_WATCHERS_H

#include <stdbool.h>

#include "mesh/base/limits.h"
#include "mesh/base/list.h"
#include "mesh/base/map.h"
#include "mesh/wire/bus.h"

/* Packets of one stream, waiting for the end of the turn. */
struct packet_queue {
    struct buf **packets; /* Owned; the last one is still being filled. */
    uint32_t count;
    uint32_t capacity;
};

struct watcher {
    char id[LIMIT_NODE_ID_SIZE_MAX + 1]; /* Node id, NUL-terminated. */
    uint64_t incarnation;
    uint64_t heard_us; /* Its last hello, or, where it is not leased, its last packet. */
    uint64_t link_seq; /* Of the last packet begun on its topic. */
    bool is_leased;    /* Beats and events are published to it. */
    bool is_following; /* Something, perhaps before its first hello. */
    bool is_linked;    /* It said that what is published arrives: results go that way too. */
    uint64_t sessions; /* What it said of itself, for people: clients, */
    uint64_t users;    /* and how many users they are. */
    struct packet_queue answers;
    struct packet_queue events;
    struct list dirty; /* On watchers.dirty while a queue is not empty. */
};

/* Who follows one key (a conversation or a user). */
struct interest {
    struct watcher **watchers; /* No one twice. */
    uint32_t count;
    uint32_t capacity;
    uint32_t shard;
    uint32_t key_size;
    char key[]; /* The id's bytes. */
};

/* The last gateway that had a user let him go: he closed, or, where `is_lost`, its lease ran out.
 * Not called for what watchers_keep() drops. Follows and unfollows nothing. */
typedef void watchers_left(void *context, struct slice user, bool is_lost);

struct watchers {
    struct packet_sender sender; /* Of this router. */
    struct map by_id;            /* struct watcher; its memory lives until watchers_fini(). */
    uint64_t now_us;             /* When leases were looked at last. */
    struct map convs;            /* struct interest: in events of a conversation. */
    struct map users;            /* Likewise: gateways where the user has sessions. */
    struct map presence;         /* Likewise: where somebody asked for the user's presence. */
    struct list dirty;
    struct buf *scratch;
    watchers_left *on_user_left; /* May be NULL. */
    void *context;               /* Of on_user_left. */
};

void watchers_init(struct watchers *w, const struct packet_sender *sender);
void watchers_fini(struct watchers *w);

/* The gateway of a packet just received, made known where it is new. At most LIMIT_MEMBERS_MAX are:
 * beyond, a new one takes the place of who was silent longest and beyond its lease; NULL where all
 * are here. A new incarnation loses what the old one followed. */
struct watcher *watchers_get(struct watchers *w, struct slice id, uint64_t incarnation);

void watchers_follow(struct watchers *w, struct map *table, uint32_t shard, struct slice key,
                     struct watcher *watcher);
void watchers_unfollow(struct watchers *w, struct map *table, struct slice key,
                       struct watcher *watcher);
bool watchers_is_followed(const struct map *table, struct slice key);
/* Drop all that `watcher` follows. */
void watchers_forget(struct watchers *w, struct watcher *watcher);
/* Drop all interest in shards that `keeps` says no to: they are led elsewhere now, and whoever
 * watches them watches there. */
void watchers_keep(struct watchers *w, bool (*keeps)(const void *context, uint32_t shard),
                   const void *context);
/* Drop those whose lease has run out. */
void watchers_expire(struct watchers *w, uint64_t now_us);

/* Append a message to the answers of one gateway. */
void watchers_answer(struct watchers *w, struct watcher *watcher, const struct record_desc *desc,
                     const void *message);
/* The same, encoded already. */
void watchers_answer_record(struct watchers *w, struct watcher *watcher, struct slice record);
/* Append a result: to the events where the link is up, so that it leaves in one packet with the
 * entry it tells of, else to the answers. */
void watchers_result(struct watchers *w, struct watcher *watcher, const struct msg_result *result);
/* Append a message to the events of one gateway. */
void watchers_tell(struct watchers *w, struct watcher *watcher, const struct record_desc *desc,
                   const void *message);
/* Append a message to the events of everyone who follows `key`: encoded once. Returns how many. */
uint32_t watchers_publish(struct watchers *w, struct map *table, struct slice key,
                          const struct record_desc *desc, const void *message);

/* Has this turn more to say to some gateway than one packet holds? What can wait, then waits. */
bool watchers_are_busy(const struct watchers *w);

/* Hand everything gathered to the bus. */
void watchers_flush(struct watchers *w, struct bus *bus);

#endif
