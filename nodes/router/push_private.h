/* push_private - what push.c (who waits, and how posts go), push_gather.c (what a post says) and
 * push_given.c (who has read it without a word) share. Nobody else includes it. */
#ifndef NODES_ROUTER_PUSH_PRIVATE_H
#define NODES_ROUTER_PUSH_PRIVATE_H

#include <stdbool.h>

#include "mesh/base/limits.h"
#include "mesh/base/list.h"
#include "mesh/base/map.h"
#include "nodes/router/push.h"

#define PUSH_WHEEL_SLOTS 128u
#define PUSH_REASON_SIZE 160u
#define PUSH_OLD_MS      86400000u /* Found by a walk, older than a day: no news any more. */
#define PUSH_GIVEN_MAX   262144u   /* Users that are remembered, of all conversations. */

/* Where a conversation goes on that was cut because the post was full. */
struct push_place {
    struct machine_scan begin; /* The page of members begins here, */
    uint32_t last_size;        /* and ends with this one; 0: where it is full. */
    char last[LIMIT_USER_SIZE_MAX];
    uint64_t seq; /* The page was told of everything up to here. */
};

/* Up to where somebody has read who never acknowledges. */
struct push_given {
    uint64_t seq;
    uint32_t size;
    char name[];
};

/* A conversation with messages beyond `pushed`. Its state is the list it is on. */
struct push_conv {
    struct list link;     /* On a slot of the wheel, on `due`, on `posting`; or in work. */
    struct list of_shard; /* On its shard's. */
    uint32_t shard;
    bool is_on_wheel;
    bool is_old;              /* Found by a walk: may hold messages that are no news any more. */
    uint64_t upto;            /* What is looked at when it is due: messages up to here. */
    uint64_t newest;          /* The newest message, */
    uint64_t newest_us;       /* and when it came. */
    uint64_t told;            /* Confirmed up to here; 0: nothing yet. */
    struct push_place *place; /* NULL: from the beginning. */
    struct map *given;        /* struct push_given by name; NULL: none. */
    struct slice id;          /* Within this allocation. */
};

/* A member of the page who is behind. */
struct push_member {
    uint64_t joined, visible, has; /* As in struct machine_behind. */
    uint64_t joined_ts;            /* When he joined; 0: not looked at. */
    uint32_t size;
    char name[LIMIT_USER_SIZE_MAX];
};

/* The conversation that is being gathered: its members page by page, for each page the messages. */
struct push_work {
    struct push_conv *conv; /* NULL: none. */
    uint64_t pushed;        /* Its cursor in the store when this began, */
    uint64_t from;          /* and up to where nobody need be told. */
    struct push_place page; /* Where the page begins and, where it is read again, ends. */
    struct machine_scan scan;
    struct push_member *members; /* LIMIT_PUSH_USERS_MAX of them. */
    uint32_t count;
    uint64_t seq;    /* The page is told, in this post or before, of everything up to here. */
    bool is_begun;   /* pushed, from and scan hold. */
    bool is_whole;   /* The page is read. */
    bool is_beyond;  /* It was read again, and there came one behind its end. */
    bool is_aged;    /* `from` lies behind what is too old. */
    bool any_behind; /* Somebody was. */
    bool has_events; /* In this post. */
};

struct push_shard {
    struct list convs;
    struct list walking; /* On push.walking while its heads are walked. */
    struct machine_scan scan;
    uint64_t ready_us; /* Not before this is anybody called offline. */
    bool is_led;
    bool has_missed; /* There was no room for a conversation: walk again. */
};

struct push {
    struct push_port port;
    struct push_host host;
    struct env *env;
    struct push_shard *shards;
    uint32_t shard_count;
    struct map convs;
    uint32_t given_count;                /* Of all of them. */
    struct list wheel[PUSH_WHEEL_SLOTS]; /* Those that wait, by when they are due. */
    uint32_t on_wheel;
    uint64_t tick;   /* The wheel has turned up to this one. */
    struct list due; /* Those to be gathered. */
    struct list walking;
    uint64_t walk_not_before_us;
    uint32_t rows_left; /* Of this turn. */
    bool is_stopped;

    struct push_work work;
    struct buf *entries; /* Scratch. */

    struct list posting;   /* Those with something in the post. */
    struct buf *body;      /* NULL: nothing gathered. */
    uint32_t events;       /* In it. */
    uint32_t events_max;   /* LIMIT_PUSH_EVENTS_MAX, fewer after a refusal. */
    uint64_t since_us;     /* When its first event was gathered. */
    struct push_conv *cut; /* The one on `posting` of which more is to come, or NULL; */
    struct push_place cut_place;
    bool is_posting;  /* It is on its way. */
    bool has_outcome; /* It was, and this is how it went: */
    uint32_t status;
    char reason[PUSH_REASON_SIZE];
    uint32_t failures;      /* In a row. */
    uint64_t not_before_us; /* The next post. */
    uint64_t log_not_before_us;
};

/* ---- push_given.c ---- */

/* 0: nothing is known of him. */
uint64_t push_given(const struct push_conv *conv, struct slice user);
void push_given_forget(struct push *p, struct push_conv *conv);

/* ---- push_gather.c ---- */

enum push_step {
    PUSH_GOES_ON,
    PUSH_DONE,   /* Everything up to conv->upto is in this post, or need not be. */
    PUSH_FAILED, /* The machine cannot be read now, or never again. */
};

void push_gather_begin(struct push *p, struct push_conv *conv);
/* One read for the conversation in work. Takes from rows_left. */
enum push_step push_gather_step(struct push *p);
/* Where the conversation in work goes on when this post is confirmed. */
void push_gather_place(const struct push *p, struct push_place *ret_place);
bool push_gather_is_full(const struct push *p);

#endif
