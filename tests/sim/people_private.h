/* people_private - what the parts of the clients share: people.c (life), people_wire.c (bytes and
 * connections), people_say.c (messages, cursors, questions), people_hear.c (what comes),
 * people_churn.c (memberships), people_change.c (edits, deletions, reactions), people_soft.c
 * (typing, presence, receipts), people_audit.c (the end). */
#ifndef TESTS_SIM_PEOPLE_PRIVATE_H
#define TESTS_SIM_PEOPLE_PRIVATE_H

#include "gateway/json.h"
#include "mesh/base/list.h"
#include "tests/sim/people.h"

#define SENDS_MAX  400u /* Of one client in a run. */
#define CONVS_MAX  64u
#define FLIGHT_MAX 8u         /* Sends on their way at a time. */
#define AT_UNKNOWN UINT64_MAX /* Where the stream of this connection is: nothing came yet. */

struct outgoing {
    char cid[24];
    char to[40];   /* The conversation as sent: an id, or "@user" for the direct one. */
    char conv[64]; /* Its id. */
    struct book_send *record;
    bool is_done;     /* Acknowledged, or refused for good. */
    bool in_flight;   /* On this connection. */
    uint64_t sent_us; /* Last. */
    uint64_t seq;     /* Where it was acknowledged; 0: refused. */
};

struct place {
    char conv[64];
    uint64_t cursor;    /* Everything up to here was seen, or is being paged. */
    uint64_t at;        /* The stream of this connection is here, or AT_UNKNOWN. */
    uint64_t told;      /* The resume point in this connection's `connect`; 0: none. */
    uint64_t begun;     /* The same, once it is answered. */
    bool is_told;       /* There is one. */
    bool is_in, is_out; /* The last word about the own membership, entry or event. */
    uint64_t changed;   /* Seq of the newest entry about the own membership. */
    uint64_t read;      /* The highest `read` sent. */
    uint64_t acked;     /* The highest cursor sent; from there on it may be given again. */
    uint64_t moved;     /* An `activity` said that it is here. */
    uint64_t message;   /* The newest message seen, */
    char from[16];      /* and whose it is. */
    bool is_open;       /* This connection has opened it. */
    uint64_t fill_from; /* A gap being paged: fill_from..fill_to; 0: none. */
    uint64_t fill_to;
    bool filling;     /* A history request is on its way, */
    uint64_t fill_us; /* since then. */
};

struct person;

/* One connection. Bytes on their way die with it. */
struct wire {
    struct link link; /* First. */
    struct person *person;
    struct session *session; /* NULL once the gateway let go of it. */
    struct sim_node *gateway;
    struct list node; /* On people.wires. */
    uint64_t number;
    uint64_t opened_us;
    bool is_cut;    /* Neither end hears the other any more. */
    bool is_closed; /* The gateway closed it. */
    unsigned close_code;
    uint64_t last_up_us, last_down_us;
    size_t unread; /* Bytes the client has not taken. */
    bool is_blocked;
    bool was_blocked;
    bool is_named;   /* Its `connect` named every conversation the client has. */
    bool was_warned; /* `server_restart` came. */
};

/* Several at once: one that waits in a sleeping router must not keep others from being asked. */
#define PROBES_MAX 8u

/* A question for the newest entries, and what was known when it was asked (C9). */
struct probe {
    bool is_asked;
    char conv[64];
    uint64_t floor;
    bool was_member; /* When it was asked. */
    uint64_t asked_us;
};

/* A change of memberships on its way. */
struct change {
    bool is_asked;
    char conv[64];
    char users[2][16];
    uint32_t user_count;
    bool is_add;
    bool is_removal;
    uint64_t asked_us;
};

/* What is still to be asked in the end. */
struct audit {
    bool is_on, is_done;
    bool is_asked;
    uint32_t step;      /* First a cursor for each place, then lists. */
    char after[64];     /* Page after this. */
    uint32_t found;     /* Conversations listed, or members. */
    uint64_t last_ts;   /* Of the newest message of the conversation before. */
    uint64_t sent_read; /* By the cursor on its way. */
};

#define SOFT_USERS_MAX 16u

/* What is kept nowhere. */
struct soft {
    uint8_t told[SOFT_USERS_MAX + 1]; /* By user's number: the presence that was told last. */
    uint64_t wire;                    /* The number of the connection that watches. */
    bool is_refused;                  /* To watch, or a status: said again. */
    uint32_t final;                   /* The status that stays, said in the end; 0: none. */
    uint64_t asked_on;                /* The connection that asked for receipts in the end. */
    uint32_t receipts_waiting;        /* Of those. */
};

struct person {
    struct people *people;
    char user[16];
    char device[16];
    uint32_t index;
    struct person *twin; /* The other client of this device, or NULL. */
    bool is_second;      /* The one that only listens. */
    bool is_dueling;     /* Does not come again once it was replaced. */
    bool is_retired;     /* Does not come again. */
    bool is_sloppy;      /* Reads beyond what there is. */
    bool has_forgotten;  /* It was logged out once. */
    struct wire *wire;   /* NULL: offline. */
    uint64_t wires;
    bool is_slow;
    bool is_hasty; /* Does not wait as long as it was told to. */
    bool welcomed;
    struct outgoing *sends;
    uint32_t send_count;
    struct place places[CONVS_MAX];
    uint32_t place_count;
    struct probe probes[PROBES_MAX]; /* Their ids are n0, n1 … */
    struct change change;
    struct audit audit;
    struct soft soft;
};

struct people {
    struct world *world;
    struct cluster *cluster;
    struct book *book;
    struct people_options options;
    struct person *persons;
    uint32_t count;
    struct list wires; /* All there ever were. */
    bool is_quiet;
};

/* Something the server said. */
struct event {
    struct slice type, conv, cid, from, code, id, change, user, body;
    uint64_t seq, gap_from, gap_to, retry_after_ms, head, ts, delivered, read, unread, members;
    uint64_t total, joined;
    struct slice role;
    bool gone, more, dup, trimmed;
    uint64_t last_seen;
    struct slice status;
    struct json_value entries, conversations, member_list, last;
    struct json_value users, delivered_list, read_list;
    struct slice raw;
};

/* people_hear.c */
struct event event_parse(struct json_value object);
void hear_text(struct person *p, struct slice text);

/* people_wire.c */
void wire_say(struct person *p, struct buf *text); /* Takes the text. */
void wire_say_late(struct person *p, struct buf *text, uint64_t delay_us);
void connect_soon(struct person *p, uint64_t least_us, uint64_t most_us);
/* The client is gone from this connection; the gateway hears of it within `most_us`. */
void wire_cut(struct person *p, uint64_t most_us);

/* people_say.c */
struct place *place_of(struct person *p, struct slice conv); /* Made at need. */
struct outgoing *outgoing_of(struct person *p, struct slice cid);
void say_connect(struct person *p);
void say_sends(struct person *p); /* In order, as many as may be on their way. */
void say_fill(struct person *p, struct place *place);
void say_cursor(struct person *p, struct place *place);
void say_ack(struct person *p, struct place *place); /* Of all that it has. */
void say_open(struct person *p, struct place *place);
void say_close(struct person *p, struct place *place);
void say_groups(struct person *p); /* The first client makes them. */
void say_again_after(struct person *p, uint64_t wait_us);
void say_everything(struct person *p); /* Resumed: what waited for that. */
void sends_begin(struct person *p);

/* people_churn.c */
void churn_begin(struct person *p);
void churn_on_reply(struct person *p, const struct event *e);

/* people_change.c */
void change_on_entry(struct person *p, const struct event *e);
bool change_is_mine(const struct event *e); /* It answers one. */
void change_on_sent(struct person *p, const struct event *e);
void change_on_error(const struct person *p, const struct event *e);

/* people_soft.c */
void soft_begin(struct person *p);
void soft_on_resumed(struct person *p);
bool soft_on_event(struct person *p, const struct event *e); /* False: it is none of its. */
bool soft_on_error(struct person *p, const struct event *e, uint64_t wait_us); /* Likewise. */
void soft_say_again(struct person *p);
void soft_finish(struct person *p);
bool soft_is_right(struct person *p, char *why, size_t why_size);

/* people_audit.c */
void audit_next(struct person *p);
void audit_on_reply(struct person *p, const struct event *e);
void audit_on_error(struct person *p, const struct event *e);

#endif
