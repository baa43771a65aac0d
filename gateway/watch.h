/* watch - one conversation, watched by this gateway for one session or thousands.
 *
 * The live stream of a conversation has a position, `head`; a new entry goes to the pairs that are
 * there (pair.h). Who catches up reads the entries kept here while anybody does, else the log. What
 * is no entry (receipts, typing) goes to whom it concerns and may be lost on the way.
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
    struct large *large;   /* NULL while it is not large. */
    uint64_t head;         /* The live stream is here. */
    uint64_t known;        /* The log reaches at least this far. */
    uint64_t suspect_us;   /* When known > head is no longer put down to the network. */
    uint64_t counted_at;   /* As of this entry, */
    uint64_t messages;     /* so many of those up to it are messages. */
    uint64_t left_at;      /* Up to here somebody may have left. */
    uint64_t moved_us;     /* When the newest entry came. */
    uint32_t shard;
    uint32_t pair_count;
    bool is_started; /* head is known. */
    uint8_t conv_size;
    char conv[];
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
/* After the entry at `seq` so many are members, and so many entries are messages; members 0: this
 * is not known. */
void watch_on_count(struct gateway *gateway, struct watch *watch, uint64_t seq, uint64_t members,
                    uint64_t messages);
/* The frame of an entry. One reference, the caller's. */
struct buf *watch_encode(struct gateway *gateway, struct slice conv, const struct msg_entry *entry);

/* From routers.c. */
void watch_on_entry(struct gateway *gateway, const struct msg_event_entry *event);
void watch_on_receipt(struct gateway *gateway, const struct msg_event_receipt *event);
void watch_on_tally(struct gateway *gateway, const struct msg_event_tally *event);
void watch_on_typing(struct gateway *gateway, const struct msg_event_typing *event);
/* Rewatched. 0: there is no such conversation, any more, and the router does not tell of it. */
void watch_on_head(struct gateway *gateway, struct slice conv, uint64_t head);

void watches_turn(struct gateway *gateway);    /* Suspects. */
void watches_collect(struct gateway *gateway); /* Gives up what nobody watches: last in a turn. */

#endif
