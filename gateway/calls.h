/* calls - requests to routers: in flight, or waiting for the next leader of their shard.
 *
 * Leaders move while clients ask. A request that finds no leader, is refused by a router that leads
 * no longer, or loses its router goes to the shard's next leader, until its deadline: a client sees
 * a pause. Its message is not copied for that: it stays in the packet it left in.
 *
 *     FRESH ---+                                 waits, and never left
 *              +---> COMMAND or LOOSE ---> done  in flight
 *     BACK ----+         |                       waits, and was certainly not executed
 *       ^  ^-------------+
 *       |                v
 *     ASKED <------- DOUBTFUL                    nobody knows: first the new leader is asked
 *
 * Order: a request leaves only when every command in flight for its shard is older. What came back
 * is older than what never left, and what waits goes before what is new; so commands reach a shard
 * in the order of their ids, also across leaders. One that was not executed while a younger one of
 * its shard was is not repeated: it would come behind.
 *
 * Doubt: where a router dies, or its answers are lost, a send may or may not have been executed,
 * and a younger one may have been though it was not, since packets are lost in between. So before
 * anything is repeated the leader is asked about each, in a send that cannot be executed: it
 * replies to what does not exist. A cid that is in the log is answered as every duplicate is, and
 * only one that is not gets to that check. A change of a message that has a cid shares the cids of
 * sends, so it is asked about in the same way. What has no cid is repeated where twice is as good
 * as once, and is given up where it is not.
 *
 *   happy path     no leader lost: one list more to be on, and a few additions
 *   failure modes  no leader until the deadline: RC_TIMEOUT; too much kept: RC_UNAVAILABLE
 *   on stop        all are told RC_UNAVAILABLE
 *
 * Loop thread only. */
#ifndef GATEWAY_CALLS_H
#define GATEWAY_CALLS_H

#include <stdbool.h>

#include "mesh/base/list.h"
#include "mesh/base/map.h"
#include "mesh/wire/messages.h"

/* Of all requests of the gateway, in flight and waiting. What is beyond is not kept: it fails where
 * it would have to wait. */
#define CALLS_KEPT_COUNT_MAX 131072u
#define CALLS_KEPT_BYTES_MAX 67108864u

/* What a new leader gets of one shard at a time, so that its queue holds it. */
#define CALLS_WINDOW_COUNT 1024u
#define CALLS_WINDOW_BYTES 1048576u

/* After a refusal by a router that says it leads: one request goes to see whether it does. */
#define CALLS_PROBE_US 20000u

/* Where others wait behind it, one unanswered for so long is taken for lost on the way. */
#define CALLS_SILENT_US 1000000u

/* After a hole in a link: most answers are late, not lost. */
#define CALLS_HOLE_US 50000u

struct gateway;
struct peer;

enum request_place {
    REQUEST_NOWHERE,  /* Not taken yet. */
    REQUEST_FRESH,    /* Waits, and never left. */
    REQUEST_BACK,     /* Waits, and left before. */
    REQUEST_DOUBTFUL, /* Waits, has a cid, and may have been executed. */
    REQUEST_LOOSE,    /* In flight: a read, or a former leader has yet to say what became of it. */
    REQUEST_ASKED,    /* In flight is the question whether it was executed. */
    REQUEST_COMMAND,  /* In flight, and in order. */
    REQUEST_LOST,     /* Fails in this turn. */
    REQUEST_PLACES,
};

/* Whether a request whose outcome is unknown may be sent again. */
enum request_repeat {
    REPEAT_NEVER,
    REPEAT_FREELY,    /* Twice is as good as once, and the order does not matter. */
    REPEAT_IF_UNDONE, /* A cmd_send or cmd_change with a cid. */
};

/* A request to a router: the head of a struct on the heap, which calls.c frees after `on_done`. */
struct request {
    struct list by_deadline;
    struct list in_shard; /* On the list of its place. */
    uint64_t id;
    uint64_t asked_id; /* Of the question about it. */
    uint64_t deadline_us;
    uint64_t left_us; /* When it left, and in which term of the shard. */
    uint64_t term;
    uint32_t shard;
    enum message_number answer_number; /* The only message that may answer. */
    struct peer *peer;                 /* Where it went last; NULL: it never left. */
    struct buf *kept;                  /* Where its message lies; NULL: nowhere any more. */
    uint32_t kept_at;
    uint32_t size;    /* Of the message. */
    uint8_t place;    /* enum request_place. */
    uint8_t repeat;   /* enum request_repeat. */
    bool may_wait;    /* For a leader. Else it fails, and who asked tries again. */
    bool is_doubtful; /* A command: an attempt may have been executed unheard. */
    bool is_forsaken; /* Does not leave any more. */
    /* `answer` is the decoded message (struct msg_x of answer_number), or NULL where none came: rc
     * is then RC_TIMEOUT, RC_UNAVAILABLE, or RC_NOT_LEADER: another router leads, or nobody. May
     * send and close, must not free the request. */
    void (*on_done)(struct gateway *gateway, struct request *request, enum rc rc,
                    const void *answer);
};

/* Any message that answers a request. Each begins with req and rc. */
union answer {
    struct msg_user_convs user_convs;
    struct msg_watched watched;
    struct msg_fetched fetched;
    struct msg_rewatched rewatched;
    struct msg_result result;
    struct msg_members_page members_page;
    struct msg_summaries summaries;
    struct msg_looked looked;
    struct msg_readers_page readers_page;
    struct msg_presences presences;
    struct msg_untold_convs untold_convs;
    struct {
        uint64_t req;
        uint64_t rc;
    } head;
};

/* Those of one shard. */
struct shard_calls {
    struct list at[REQUEST_PLACES]; /* By place; fresh, back and command are ordered by id. */
    struct list held;      /* On the gateway's list of shards where what is new must wait. */
    uint32_t flying_count; /* Commands, and questions. */
    size_t flying_bytes;
    uint64_t executed_id; /* The youngest command that was. */
    uint64_t not_before_us;
    bool is_probing; /* One at a time, until one is answered. */
};

struct calls {
    struct map by_id;
    struct list by_deadline; /* All have one timeout, so the oldest is due first. */
    struct list lost;
    struct list held; /* Shards where something waits, or is asked about. */
    uint64_t last_id;
    uint32_t kept_count;
    size_t kept_bytes;
};

void calls_init(struct gateway *gateway);
void calls_fini(struct gateway *gateway);
void calls_init_shard(struct shard_calls *calls);

/* The id for the next request: to be set in the message and in the request. */
uint64_t calls_next_id(struct gateway *gateway);
/* Send a message that wants an answer, or let it wait where it may. `request` has id, shard,
 * answer_number, on_done, may_wait and repeat; it is taken on RC_OK only. RC_UNAVAILABLE: no
 * leader is heard and it may not wait, or too much waits. */
MUST_CHECK enum rc calls_send(struct gateway *gateway, struct request *request,
                              const struct record_desc *desc, const void *message);
static inline bool calls_is_waiting(const struct request *request)
{
    return request->place >= REQUEST_FRESH && request->place <= REQUEST_DOUBTFUL;
}
/* Who asked is gone. He may ask again by way of another gateway, and then for something else: what
 * is not to be done twice does not leave any more, or it would undo that. */
void calls_forsake(struct request *request);
/* It is done with this rc, now. */
void calls_fail(struct gateway *gateway, struct request *request, enum rc rc);

/* ---- From routers.c and peers.c ---- */

void calls_on_answer(struct gateway *gateway, struct peer *peer, enum message_number number,
                     const union answer *answer);
/* The shard's leader, or its term, is a new one. */
void calls_on_leader(struct gateway *gateway, uint32_t shard);
/* What this router was asked it will not answer any more. */
void calls_on_gone(struct gateway *gateway, const struct peer *peer);
/* Results that it published may have been missed. */
void calls_on_missed(struct gateway *gateway, const struct peer *peer);
/* This packet did not leave. */
void calls_on_unsent(struct gateway *gateway, const struct peer *peer, const struct buf *packet);

/* ---- The turn ---- */

void calls_turn(struct gateway *gateway);  /* Fails what is due or lost. */
void calls_drain(struct gateway *gateway); /* What waits leaves, where it can. */
uint64_t calls_due_us(const struct gateway *gateway);

#endif
