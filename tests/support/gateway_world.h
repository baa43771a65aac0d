/* gateway_world - a gateway alone in a world of our making: its clock, its routers, its clients.
 *
 * The routers are a model: conversations in memory, answers computed from them, at any delay,
 * published packets that may be dropped, leaders that move. Everything is decided by the test or by
 * its seed. */
#ifndef TESTS_SUPPORT_GATEWAY_WORLD_H
#define TESTS_SUPPORT_GATEWAY_WORLD_H

#include "gateway/gateway.h"
#include "mesh/wire/messages.h"

#define WORLD_ROUTERS 2u
#define WORLD_SHARDS  4u
#define WORLD_CONVS   16u
#define WORLD_ENTRIES 4096u
#define WORLD_FRAMES  20000u

struct world_conv {
    char name[64];
    struct buf *entries[WORLD_ENTRIES]; /* Records; entry of seq s at s - 1. */
    uint32_t messages[WORLD_ENTRIES];   /* So many up to there. */
    uint64_t head;
    uint64_t trimmed;    /* Entries up to here are gone, */
    uint64_t hidden;     /* and what is up to here nobody may see. */
    uint64_t crowd;      /* Members beside those below, of whom nobody has a session. */
    char members[8][32]; /* Empty: free. */
    uint64_t removed_at[8];
    uint64_t read[8];
    const char *typist;             /* Who types at the moment; NULL: nobody. */
    bool is_ended;                  /* The operator ended it: routers know of none. */
    bool is_watched[WORLD_ROUTERS]; /* Whether that router publishes it to the gateway. */
};

struct world_router {
    char name[8];
    uint64_t incarnation;
    uint64_t link_seq;
    uint64_t beat_us;
    bool is_silent; /* Publishes nothing. */
    bool is_down;
};

struct world_packet {
    uint64_t due_us;
    uint32_t router;
    bool is_published;
    struct buf *bytes;
};

struct world_link {
    struct link link;
    struct session *session;
    char *frames[WORLD_FRAMES]; /* Payloads, in order, NUL-terminated. */
    uint32_t count;
    uint32_t writes;
    uint32_t pings;
    unsigned code;    /* Of the close; 0: open. */
    bool is_blocked;  /* The client takes nothing, */
    uint64_t arrived; /* or makes no room here, but this grows. */
    bool is_told;     /* session_on_closed() was called. */
};

struct world {
    struct env env;
    struct bus bus;
    struct auth auth;
    struct gateway_options options;
    struct gateway *gateway;
    struct bus_handler handler;
    uint64_t now_us;
    uint64_t seed;
    struct world_router routers[WORLD_ROUTERS];
    uint64_t terms[WORLD_SHARDS];
    uint32_t leaders[WORLD_SHARDS];
    struct world_conv convs[WORLD_CONVS];
    uint32_t conv_count;
    struct world_packet packets[4096];
    uint32_t packet_count;
    uint64_t delay_us_max; /* Of packets. */
    uint32_t drop_percent; /* Of published packets. */
    uint32_t page;         /* Entries in one answer at most. */
    bool is_mute;          /* Routers answer nothing. */
    bool has_webhook;      /* So their beats say. */
    uint32_t givens;       /* How often they were told `given`, */
    uint64_t last_given;   /* and its seq. */
    enum rc refusal;       /* Routers answer submits with this; RC_OK: do them. */
    uint32_t fetches, watches, rewatches, submits, cursors, looks;
    bool is_old;   /* Routers do not know what is asked for with `fanout`. */
    bool is_vague; /* They do not tell the lists of users, */
    bool is_late;  /* or do not know of removals there. */
    struct msg_cmd_cursor last_cursor;
};

extern const uint8_t world_cluster[16];

/* The world with its gateway; `options` may be NULL. Routers exist but are not known yet. */
struct world *world_new(const struct gateway_options *options, uint64_t seed);
void world_free(struct world **world); /* Closes what is open. */
void world_start(struct world *world); /* Discovery tells of the routers; runs until all is led. */

void world_turn(struct world *world);             /* What is due arrives, then a turn. */
void world_run(struct world *world, uint64_t ms); /* Time passes in steps of 1 ms. */
uint64_t world_random(struct world *world);

struct world_conv *world_conv(struct world *world, const char *name, const char *members);
/* A message enters the log and is published by the leader. Returns its seq. */
uint64_t world_say(struct world *world, struct world_conv *conv, const char *from);
void world_remove(struct world *world, struct world_conv *conv, const char *user);
void world_add(struct world *world, struct world_conv *conv, const char *user);
/* One of the crowd comes, or goes where it is smaller: the conversation has so many beside those
 * whom it names. */
void world_crowd(struct world *world, struct world_conv *conv, uint64_t crowd);
void world_read(struct world *world, struct world_conv *conv, const char *user, uint64_t seq);
void world_type(struct world *world, struct world_conv *conv, const char *user, bool on);
void world_lead(struct world *world, uint32_t shard, uint32_t router); /* In a new term. */
void world_restart(struct world *world, uint32_t router);
uint32_t world_shard(struct world *world, const struct world_conv *conv);

/* A client whose HTTP request bore a token; user NULL: it did not. */
struct world_link *world_connect(struct world *world, const char *user, const char *device,
                                 bool batch);
void world_send(struct world_link *link, const char *text);
void world_close(struct world_link **link);               /* The client goes. */
char *world_token(struct world *world, const char *user); /* To be freed. */

/* ---- gateway_world_model.c, for gateway_world.c ---- */

void world_publish(struct world *world, uint32_t router, const struct record_desc *desc,
                   const void *message);
void world_beat(struct world *world, uint32_t router);
enum rc world_bus_send(struct bus *bus, struct slice node, struct buf *bytes);

/* ---- What a client got ---- */

/* How many frames contain this text. */
uint32_t world_count(const struct world_link *link, const char *text);
/* Fails the test unless the client got messages first..last of conv, each once, in order. */
void world_expect_seqs(const struct world_link *link, const char *conv, uint64_t first,
                       uint64_t last);

#endif
