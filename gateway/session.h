/* session - one client's connection, from its first frame to its close.
 *
 *     NEW ------> GREETED -----> OPEN -----> CLOSED
 *     connect     first frame    anything
 *     awaited     awaited        goes
 *
 * NEW has no identity and gets no answer but errors until `connect` brings one. GREETED has one
 * from its HTTP request: for SESSION_CONNECT_WAIT_MS a `connect` may still bring a resume map, and
 * the device where nothing named one; then, or with any other frame, it is resumed from the
 * server's record. CLOSED waits for its link to go.
 *
 *   happy path     accept -> welcome -> list of conversations -> each catches up -> `resumed`, live
 *   failure modes  no leader: resuming waits and tries again, requests wait for the next one;
 *                  the client reads slowly: entries are dropped from the outbox and read again
 * later on stop        server_restart, then 1012
 *
 * Loop thread only. An idle session costs about half a KiB, and 120 bytes for each conversation. */
#ifndef GATEWAY_SESSION_H
#define GATEWAY_SESSION_H

#include "gateway/core.h"
#include "gateway/outbox.h"
#include "gateway/users.h"

#define SESSION_CONNECT_WAIT_MS 50u

/* Replies may exceed the outbox's bound for entries by this factor; then the client is closed as
 * slow. */
#define SESSION_REPLY_FACTOR 32u

enum session_close {
    CLOSE_RESTART = 1012,
    CLOSE_UNRESPONSIVE = 4008,
    CLOSE_SLOW = 4010,
    CLOSE_TOO_MANY = 4029,
    CLOSE_PROTOCOL = 4500,
    CLOSE_TOKEN = 4501,
    CLOSE_REPLACED = 4509,
    CLOSE_LOGGED_OUT = 4503,
};

enum session_state {
    SESSION_NEW,
    SESSION_GREETED,
    SESSION_OPEN,
    SESSION_CLOSED,
};

struct listing;
struct pair;
struct resume;

struct session {
    struct gateway *gateway;
    struct link *link;
    struct user *user;     /* NULL while NEW and once CLOSED. */
    char *device;          /* NULL while NEW. */
    struct resume *resume; /* While the list of conversations is read, else NULL. */
    struct list listings;  /* `conversations` requests being answered. */
    uint32_t listing_count;
    struct buf *made; /* Conversations it made last (session_list.c); NULL: none. */
    struct list node; /* On the gateway's sessions, at the end on its dead. */
    struct list in_user;
    struct list in_dirty;
    struct list in_ready;  /* On the gateway's ready or waiting, or on itself. */
    struct list in_fenced; /* On the gateway's fenced, or on itself. */
    struct list pairs;     /* Conversations with nothing to be asked for. */
    struct list waiting;   /* Conversations that have. */
    struct list requests;  /* Those in flight for the client. */
    struct list fences; /* Conversations in which a send was refused and must come again first. */
    struct list typing; /* Conversations its user types in, the one told longest ago first. */
    struct list interests; /* Users whose presence it watches. */
    struct list queries;   /* `presence` requests whose answers are awaited. */
    struct list left;      /* Conversations that it left, oldest first (left.h). */
    struct list unacked;   /* Pairs of which an acknowledgement is awaited (redelivery.h). */
    struct list early;     /* What it sent before its pair was there (redelivery.h). */
    struct list proofs;    /* Pairs of which a pong is to tell (proof.h). */
    struct list receipts;  /* Cursors sent within the last second, oldest first. */
    struct wheel_timer timer;
    struct outbox outbox;
    uint64_t id;
    uint64_t accepted_us;
    uint64_t heard_us; /* The last sign of life. */
    uint64_t pinged_us;
    uint64_t blocked_us;   /* Since when the client takes nothing; 0: it does. */
    uint64_t arrived;      /* Of its link, when that was looked at last while it was blocked, */
    uint64_t looked_us;    /* and when that was. */
    uint64_t unblocked_us; /* When it last began to take something again. */
    uint64_t retry_us;     /* Before this nothing is asked for again. */
    uint64_t drain_us;     /* When it is closed for the restart; 0: not draining. */
    uint64_t expires_s;    /* When its token does (struct auth_identity). */
    uint64_t second_us;    /* When the current second of the frame rate began. */
    uint64_t missed;       /* For `resumed`. */
    uint64_t proof_us;     /* When the next ping for proofs is due, unless one is out. */
    uint32_t resuming;     /* Conversations not caught up yet. */
    uint32_t pair_count;
    uint32_t frames;         /* In the current second. */
    uint32_t bytes;          /* Likewise. */
    uint16_t calls;          /* Pairs whose answer is awaited. */
    uint16_t request_count;  /* Length of `requests`. */
    uint16_t page_count;     /* How many of them read. */
    uint16_t receipt_count;  /* Length of `receipts`. */
    uint16_t left_count;     /* Length of `left`. */
    uint16_t interest_count; /* Length of `interests`. */
    uint8_t early_count;     /* Length of `early`. */
    uint8_t query_count;     /* Length of `queries`. */
    uint8_t typing_count;    /* Length of `typing`. */
    uint8_t state;           /* enum session_state. */
    uint8_t bad_frames;      /* In a row. */
    bool batch;
    bool has_acked;       /* So it is expected to go on acknowledging. */
    bool has_connected;   /* A `connect` came. */
    bool awaits_device;   /* `connect` may still name it: until then it replaces none. */
    bool device_is_asked; /* Neither token nor request named one: a later `connect` may, too. */
    bool is_greeted;      /* The welcome is out. */
    bool is_announced; /* The leader told of it: a session of its device told of later replaces it.
                        */
    bool is_choked;    /* Pairs wait until the outbox has room. */
    bool misses_presence; /* Of somebody it watches, for want of room. */
    bool is_proving;      /* A ping for proofs is out. */
};

static inline struct slice session_user(const struct session *session)
{
    return user_name(session->user);
}

/* ---- What the parts of the gateway say to a session (most of it in session_out.c) ---- */

/* A send that is refused before it is looked at, since too many frames came. */
void session_refuse_send(struct session *session, const struct client_request *request,
                         uint64_t retry_ms);

/* Send what was encoded into gateway->text. Kept whatever happens, unlike an entry. */
void session_put(struct session *session);
void session_put_error(struct session *session, struct slice id, enum rc rc, const char *message,
                       uint64_t retry_after_ms);
/* An entry, pair's cursor + 1. False: no room; the session has fallen behind, its dropped entries
 * have been rewound. */
bool session_push_entry(struct session *session, struct pair *pair, uint64_t seq,
                        struct buf *frame);
/* What only counts now (receipts, typing): where there is no room it is lost. */
void session_push_passing(struct session *session, struct pair *pair, struct buf *frame);
/* False: no room. True: it is on its way, and where it is dropped again large_on_behind() hears. */
bool session_push_activity(struct session *session, struct pair *pair, uint64_t head,
                           uint64_t unread);
/* The gap begins at pair's cursor + 1. Dropped and rewound like an entry, or it would come before
 * the entries that it follows. False: likewise. */
bool session_push_gap(struct session *session, struct pair *pair, const struct msg_watched *gap);
/* What may as well be lost, and goes first where there is no room. False: it was. */
bool session_push_hint(struct session *session, struct buf *frame);
/* More may be read from the log for it. Where not, it is made ready once there is room. */
bool session_has_room(struct session *session);

void session_make_ready(struct session *session);  /* Waiting pairs are looked at this turn. */
void session_delay_retry(struct session *session); /* A router refused: not at once again. */
void session_on_pair_resumed(struct session *session);
/* He is in, for sure, or by a list that was asked for again: that may be older than his removal. */
void session_on_listed(struct session *session, struct slice conv, bool is_sure);
/* Its leader says that he is in. False: the session is closed. */
bool session_on_member(struct session *session, struct pair *pair);
/* `seq` is that of the member entry that says so. */
void session_on_list_change(struct session *session, struct slice conv, uint64_t seq, bool gone);

/* Write what is there, as far as the link takes it. */
void session_flush(struct session *session);
/* The client has taken nothing for too long. */
bool session_is_stalled(struct session *session, uint64_t now_us);
uint64_t session_stall_due_us(const struct session *session); /* When to look whether it has. */

/* ---- Life ---- */

/* Flush, close the link, leave everything. Callable from anywhere; freed at the end of the turn. */
void session_close(struct session *session, enum session_close code, const char *reason);
void session_on_timer(struct session *session);
void session_on_cluster(struct session *session); /* Routers are known: welcome. */
void session_drain(struct session *session, uint32_t after_ms);
void session_free(struct session *session);
/* See to it that session_on_timer() is called by then. ENV_NEVER: there is nothing to see to. */
void session_wake_by(struct session *session, uint64_t due_us);
/* Its token is good until then (struct auth_identity); then it is closed with CLOSE_TOKEN. */
void session_set_expiry(struct session *session, uint64_t expires_s);

/* ---- session_connect.c ---- */

/* Give a NEW session its user. False: it was closed. */
bool session_identify(struct session *session, const struct auth_identity *identity,
                      struct slice device);
/* Its device is what it is called by now: replace the older session of it. False: it was closed. */
bool session_settle_device(struct session *session);
void session_welcome(struct session *session, struct slice id);
void session_on_connect(struct session *session, const struct client_request *request);

/* ---- session_resume.c ---- */

/* Begin, or begin anew with what `connect` said; NULL: from the server's record. May close it,
 * where it has to settle its device first. */
void session_resume(struct session *session, const struct client_request *connect);
void session_resume_pump(
    struct session *session); /* Ask for the list, where that is still to do. */
/* The list is on its way, or there. */
bool session_is_asked(const struct session *session);
void session_resume_fini(struct session *session);

/* ---- session_requests.c ---- */

void session_on_request(struct session *session, const struct client_request *request);

/* ---- session_call.c ---- */

/* A request to a router on behalf of a session: the head of a struct, freed with its request. */
struct session_request {
    struct request request;
    struct session *session; /* NULL: gone meanwhile. */
    struct list in_session;
};

void session_request_add(struct session *session, struct session_request *request);
/* The answer is there. NULL: for nobody. */
struct session *session_request_done(struct session_request *request);

/* Refuse the sends that wait for a leader behind one that was refused. */
void session_refuse_fenced(struct session *session);
/* The session is gone: answers to its requests are for nobody. */
void session_requests_fini(struct session *session);

/* ---- session_list.c ---- */

void session_list_conversations(struct session *session, const struct client_request *request);
/* The user's shard hears of a new conversation after its maker got the answer: until then his lists
 * have it from here. The newest few are remembered. */
void session_list_note_made(struct session *session, struct slice conv);
void session_list_leave(struct session *session); /* It ends: waits for no list. */

/* ---- session_presence.c ---- */

#define SESSION_QUERIES_MAX 8u /* `presence` requests of one session at a time. */

void session_ask_presence(struct session *session, const struct client_request *request);
void session_presence_leave(struct session *session); /* It ends: waits for no answer. */

/* ---- receipts.c ---- */

/* A cursor the client moved: leaves at once, or a second after the last one of that conversation.
 */
void receipts_note(struct session *session, struct slice conv, uint64_t delivered, uint64_t read);
void receipts_flush(struct session *session, uint64_t now_us); /* Those due by now. */
uint64_t receipts_due_us(const struct session *session);
void receipts_fini(struct session *session); /* Everything leaves. */

/* ---- session_typing.c ---- */

/* Told to the conversation's leader, now and then at most. */
void session_typing(struct session *session, struct slice conv, bool on);
void session_typing_fini(struct session *session);

#endif
