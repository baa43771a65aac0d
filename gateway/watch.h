/* watch - one conversation, watched by this gateway for one session or thousands.
 *
 * The live stream of a conversation has a position, `head`. A pair is one session in one
 * conversation; it is *live* when its cursor is at head, so a new entry goes to all live pairs
 * without looking further. All others catch up: from the entries kept here while anybody does, else
 * from the log.
 *
 *     TO_WATCH -> WATCHING -> TO_FETCH <-> FETCHING
 *                     |          |            |
 *                     +----------+---> LIVE <-+
 *                                \--> PARKED      has more than the live stream brought so far
 *
 * A hole in the stream sends the live ones back to TO_FETCH. An entry is given to a session only if
 * it is cursor + 1: whatever is missed, repeated or late, a session gets every seq once and in
 * order.
 *
 * Loop thread only. */
#ifndef GATEWAY_WATCH_H
#define GATEWAY_WATCH_H

#include "gateway/core.h"

#define WATCH_RECENT_COUNT 256u /* A power of two. */
#define WATCH_RECENT_BYTES 262144u

/* The newest entries as frames, contiguous, up to the head. */
struct recent {
    uint64_t first; /* Seq of the oldest. */
    uint32_t count;
    uint32_t bytes;
    struct buf *frames[WATCH_RECENT_COUNT]; /* Of seq s at s mod count. */
};

struct watch {
    struct list in_shard;
    struct list live;      /* Pairs whose cursor is at head. */
    struct list catching;  /* All other pairs. */
    struct list node;      /* On the gateway's suspects or empty, or on itself. */
    struct recent *recent; /* NULL while nobody catches up. */
    uint64_t head;         /* The live stream is here. */
    uint64_t known;        /* The log reaches at least this far. */
    uint64_t suspect_us;   /* When known > head is no longer put down to the network. */
    uint32_t shard;
    uint32_t pair_count;
    bool is_started; /* head is known. */
    uint8_t conv_size;
    char conv[];
};

enum pair_state {
    PAIR_TO_WATCH, /* Waits to ask the leader. */
    PAIR_WATCHING, /* Asked. */
    PAIR_TO_FETCH, /* Behind: waits to read on. */
    PAIR_FETCHING, /* Asked, or somebody else at the same cursor did. */
    PAIR_PARKED,   /* Ahead of the live stream. */
    PAIR_LIVE,
};

struct pair {
    struct list in_watch;
    struct list in_session; /* On its waiting list in the TO_ states, else on pairs. */
    struct session *session;
    struct watch *watch;
    struct request *call; /* PAIR_WATCHING: the request. */
    uint64_t cursor;      /* Last seq given to the session. */
    uint64_t gap_to;      /* The last gap it was given ends here; 0: none. */
    uint64_t until;       /* Where not 0: the user was removed here and sees nothing beyond. */
    uint8_t state;        /* enum pair_state. */
    bool is_cursor_known; /* Else the stored one of the device is asked for. */
    bool is_resuming;     /* Counts for the session's `resumed`. */
    bool is_again;        /* Watched before: his removal in the log may have been an old one. */
    bool is_told_gone;    /* The last event about his membership was `gone`, */
    bool is_told_in;      /* or that he is in. */
    bool is_reopened;     /* Added again while still here: open once more when removal comes. */
};

void watches_init(struct gateway *gateway);
void watches_fini(struct gateway *gateway);

struct watch *watch_of_shard_node(struct list *node);
static inline struct slice watch_conv(const struct watch *watch)
{
    return slice_of(watch->conv, watch->conv_size);
}

/* The watch of a conversation, made at need. NULL: shards are not known yet. */
struct watch *watch_get(struct gateway *gateway, struct slice conv);
/* The frame of `seq` where it is among the recent ones, else NULL. */
struct buf *watch_recent(const struct watch *watch, uint64_t seq);
/* An answer showed that the log reaches `seq`. */
void watch_on_known(struct gateway *gateway, struct watch *watch, uint64_t seq);
/* The live stream begins at `head`, or further where it was heard of already. */
void watch_start(struct gateway *gateway, struct watch *watch, uint64_t head);
/* The frame of an entry. One reference, the caller's. */
struct buf *watch_encode(struct gateway *gateway, struct slice conv, const struct msg_entry *entry);

/* From routers.c. */
void watch_on_entry(struct gateway *gateway, const struct msg_event_entry *event);
void watch_on_receipt(struct gateway *gateway, const struct msg_event_receipt *event);
void watch_on_head(struct gateway *gateway, struct slice conv, uint64_t head); /* Rewatched. */

void watches_turn(struct gateway *gateway);    /* Suspects. */
void watches_collect(struct gateway *gateway); /* Gives up what nobody watches: last in a turn. */

#endif
