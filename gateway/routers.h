/* routers - the gateway's links to routers: who leads which shard, and requests to them.
 *
 * A router says in its beats which shards it leads, and in which term: the higher term wins. What
 * it publishes bears a link sequence number. A hole in it, a new incarnation, a silence of
 * LIMIT_LINK_SILENT_MS or a new term means that events may have been missed: everything watched on
 * the shards concerned is then asked for again (`rewatch`), and what is behind catches up from the
 * log. So publishing may drop what it likes and nothing is lost.
 *
 *   happy path     hello each second -> beats -> link up; requests leave in one packet a turn
 *   failure modes  no leader: RC_UNAVAILABLE at once; no answer: RC_TIMEOUT after request_ms;
 *                  another leads before the answer came: RC_NOT_LEADER, its outcome unknown
 *   on stop        requests in flight are told RC_UNAVAILABLE
 *
 * Loop thread only. */
#ifndef GATEWAY_ROUTERS_H
#define GATEWAY_ROUTERS_H

#include <stdbool.h>

#include "mesh/base/list.h"
#include "mesh/base/map.h"
#include "mesh/wire/bus.h"
#include "mesh/wire/messages.h"

struct gateway;
struct peer;

/* One shard, as the gateway sees it. */
struct shard {
    uint64_t term;       /* Highest in which somebody claimed to lead. */
    struct peer *leader; /* NULL: nobody known. */
    struct list watches; /* Of its conversations. */
    struct list users;   /* Users of this shard with sessions here. */
    uint32_t rewatches;  /* `rewatch` requests in flight. */
    bool must_rewatch;
};

struct routers {
    struct map peers;        /* By node id. */
    struct map requests;     /* In flight, by correlation id. */
    struct list by_deadline; /* The same: all have one timeout, so the oldest is due first. */
    struct list orphans;     /* Those whose router is gone or followed: failed in the next turn. */
    struct shard *shards;    /* NULL until the first beat. */
    uint32_t shard_count;
    uint32_t rewatch_pending; /* Shards with must_rewatch. */
    uint64_t request_id;      /* The last one given out. */
    uint64_t hello_due_us;
    uint8_t cluster[16];
    bool has_cluster; /* Learned from discovery or from the first router heard. */
};

/* A request in flight: the head of a struct on the heap, which routers.c frees after `on_done`. */
struct request {
    struct list by_deadline;
    uint64_t id;
    uint64_t deadline_us;
    uint64_t term; /* Of the shard when it was sent. */
    uint32_t shard;
    enum message_number answer_number; /* The only message that may answer. */
    struct peer *peer;
    /* `answer` is the decoded message (struct msg_x of answer_number), or NULL where none came: rc
     * is then RC_TIMEOUT, RC_UNAVAILABLE or RC_NOT_LEADER. May send and close, must not free the
     * request. */
    void (*on_done)(struct gateway *gateway, struct request *request, enum rc rc,
                    const void *answer);
};

void routers_init(struct gateway *gateway);
void routers_fini(struct gateway *gateway);
struct bus_handler routers_bus_handler(struct gateway *gateway);

/* RC_UNAVAILABLE while no beat has told the number of shards. */
MUST_CHECK enum rc routers_conv_shard(const struct gateway *gateway, struct slice conv,
                                      uint32_t *ret_shard);
MUST_CHECK enum rc routers_user_shard(const struct gateway *gateway, struct slice user,
                                      uint32_t *ret_shard);
/* The shard has a leader, and what it publishes arrives: watches may be asked for. */
bool routers_is_live(const struct gateway *gateway, uint32_t shard);

/* The id for the next request: to be set in the message and in the request. */
uint64_t routers_next_id(struct gateway *gateway);
/* Send a message that wants an answer. `request` has id, shard, answer_number and on_done; it is
 * taken on RC_OK only. RC_UNAVAILABLE: no leader is known. */
MUST_CHECK enum rc routers_call(struct gateway *gateway, struct request *request,
                                const struct record_desc *desc, const void *message);
/* One that wants none; dropped where no leader is known. */
void routers_tell(struct gateway *gateway, uint32_t shard, const struct record_desc *desc,
                  const void *message);

/* Deadlines, hellos, silent links: first thing in a turn. */
void routers_turn(struct gateway *gateway);
/* Ask for what may have been missed, wherever a leader is heard: at each retry. */
void routers_rewatch(struct gateway *gateway);
/* Packets that are ready leave: last thing in a turn. */
void routers_flush(struct gateway *gateway);
uint64_t routers_due_us(const struct gateway *gateway);

/* Shards with a leader whose link is up. */
uint32_t routers_shards_led(const struct gateway *gateway);

#endif
