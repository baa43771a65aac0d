/* loop - many WebSocket clients (RFC 6455) on one epoll, at as little cost as can be.
 *
 * The load client shares its machine with the servers it measures, so every microsecond here is one
 * less for them: one read serves all frames that came, all that is to be said to a server in one
 * turn leaves as one write, and a connection without half a frame holds no memory but its struct.
 * One thread. */
#ifndef TESTS_BENCH_LOAD_LOOP_H
#define TESTS_BENCH_LOAD_LOOP_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct conn;
struct loop;

/* Where a gateway is: ws://HOST:PORT/PATH, HOST a dotted address. */
struct target {
    struct sockaddr_in address;
    char host[64];
    char path[64];
};

bool target_parse(struct target *target, const char *url);

struct conn_ops {
    void (*on_text)(struct conn *conn, const char *text, size_t size); /* One JSON object. */
    void (*on_open)(struct conn *conn);                                /* The upgrade is done. */
    void (*on_closed)(struct conn *conn); /* By the server or the network; see close_code. */
};

enum conn_state {
    CONN_NONE,
    CONN_UPGRADING,
    CONN_OPEN,
    CONN_CLOSED,
};

struct conn {
    struct loop *loop;
    const struct conn_ops *ops;
    void *owner; /* The mode's. */
    uint32_t index;
    enum conn_state state;
    int fd;
    unsigned close_code; /* Of the server's close frame; 0: none came. */
    char *in;            /* Half a frame, NULL where there is none. */
    size_t in_size;
    char *out; /* To be written. */
    size_t out_size, out_capacity;
    bool is_slow;    /* Set before conn_open(): a small buffer, and read by conn_sip() only. */
    bool is_dirty;   /* On the loop's list of those to be written. */
    bool is_blocked; /* Waits for EPOLLOUT. */
    struct conn *next_dirty;
};

#define LOOP_READ_SIZE (4u << 20) /* Larger than any frame a server sends. */

struct loop {
    int epoll;
    uint64_t now_ns; /* Monotonic, taken at each read. */
    char *read;      /* Shared by all connections: they are read one after another. */
    struct conn *dirty;
    uint32_t mask; /* Of all frames: not zero, or servers would be spared the unmasking. */
};

void loop_init(struct loop *loop);
void loop_fini(struct loop *loop);
uint64_t now_ns(void);

/* Connect and upgrade; `query` is put behind the path. `source` may be 0. False: no socket. */
bool conn_open(struct conn *conn, struct loop *loop, const struct target *target, uint32_t source,
               const char *query);
void conn_close(struct conn *conn); /* At once; on_closed is not called. */

/* From now on nothing is read but one byte by each conn_sip(), until conn_drink(). */
void conn_sip(struct conn *conn);
void conn_drink(struct conn *conn);

/* Queue one text frame; it leaves at the end of the turn. */
void conn_send(struct conn *conn, const char *text, size_t size);

/* One turn: wait at most `timeout_ms`, read, call, write. */
void loop_turn(struct loop *loop, int timeout_ms);
/* The same, until a time of now_ns(): a millisecond is long beside the latencies measured here. */
void loop_turn_until(struct loop *loop, uint64_t until_ns);

/* Where the value of `"name":` begins, by the pattern with quotes and colon; NULL where it is not.
 * The servers' output is known: no such pattern occurs in a value. `hint` remembers where it was
 * last. */
const char *json_field(const char *text, size_t size, const char *pattern, uint32_t *hint);
uint64_t json_number(const char *value);
bool json_is_type(const char *text, size_t size, const char *type);

#endif
