/* routers - the gateway's links to routers: who leads which shard, and what they say.
 *
 * A router says in its beats which shards it leads, and in which term: the higher term wins. What
 * it publishes bears a link sequence number. A hole in it, a new incarnation, a silence of
 * LIMIT_LINK_SILENT_MS or a new term means that events may have been missed: everything watched on
 * the shards concerned is then asked for again (`rewatch`), and what is behind catches up from the
 * log. So publishing may drop what it likes and nothing is lost.
 *
 * Each router is heard by itself: a hole or a silence concerns the shards that it leads and no
 * others. Which router leads is for the terms to say, whatever comes late: beats of a deposed
 * leader, refusals by it, news that it is gone.
 *
 *   happy path     hello each second -> beats -> link up; requests leave in one packet a turn
 *   failure modes  no leader: requests wait for the next one (calls.h)
 *   on stop        requests in flight are told RC_UNAVAILABLE
 *
 * Loop thread only. */
#ifndef GATEWAY_ROUTERS_H
#define GATEWAY_ROUTERS_H

#include <stdbool.h>

#include "gateway/calls.h"
#include "gateway/gateway.h"
#include "gateway/presence.h"
#include "mesh/base/list.h"
#include "mesh/base/map.h"
#include "mesh/wire/bus.h"
#include "mesh/wire/messages.h"

/* What a client is told to wait before it asks a shard again that had a leader this short a time
 * ago; otherwise LIMIT_RETRY_AFTER_MS. */
#define ROUTERS_RETRY_MS 250u
#define ROUTERS_LED_US   5000000u

#define ROUTERS_SPARES_MAX 16u

/* One shard, as the gateway sees it. */
struct shard {
    uint64_t term;       /* Highest in which somebody claimed to lead. */
    struct peer *leader; /* NULL: nobody known. */
    uint64_t led_us;     /* When a leader was heard last; 0: never. */
    struct shard_calls calls;
    struct list watches; /* Of its conversations. */
    struct list users;   /* Users of this shard with sessions here. */
    struct shard_presence presence;
    uint32_t rewatches; /* `rewatch` requests in flight. */
    bool must_rewatch;
};

struct routers {
    struct map peers;                       /* By node id. */
    struct buf *spares[ROUTERS_SPARES_MAX]; /* Packets to be written again. */
    uint32_t spare_count;
    struct shard *shards; /* NULL until the first beat. */
    uint32_t shard_count;
    uint32_t rewatch_pending; /* Shards with must_rewatch. */
    uint64_t hello_due_us;
    uint8_t cluster[16];
    bool has_cluster; /* Learned from discovery or from the first router heard. */
    bool has_webhook; /* Some router said so: proof.h has work. */
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

/* After how long a client may ask the shard again. */
uint64_t routers_retry_ms(const struct gateway *gateway, uint32_t shard);

/* Send a message that wants no answer (calls.h is for the others); dropped where no leader is
 * known. */
void routers_tell(struct gateway *gateway, uint32_t shard, const struct record_desc *desc,
                  const void *message);

/* Hellos, silent links: first thing in a turn. */
void routers_turn(struct gateway *gateway);
/* Ask for what may have been missed, wherever a leader is heard: at each retry. */
void routers_rewatch(struct gateway *gateway);
/* Packets that are ready leave: last thing in a turn. */
void routers_flush(struct gateway *gateway);
uint64_t routers_due_us(const struct gateway *gateway);

/* The cluster's id and the number of its shards have been heard of. */
bool routers_are_known(const struct gateway *gateway);
/* Names of routers that the others miss and we do not hear either, by spaces; where we hear none,
 * of those we heard once. Returns how many we hear. */
uint32_t routers_missing(const struct gateway *gateway, char names[GATEWAY_MISSING_SIZE]);
/* Shards with a leader whose link is up. */
uint32_t routers_shards_led(const struct gateway *gateway);

#endif
