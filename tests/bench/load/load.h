/* load - what all modes share: the options, tokens, and connecting many clients. */
#ifndef TESTS_BENCH_LOAD_LOAD_H
#define TESTS_BENCH_LOAD_LOAD_H

#include "tests/bench/load/loop.h"
#include "tests/bench/load/stats.h"

#define URLS_MAX 16

struct options {
    struct target urls[URLS_MAX];
    uint32_t url_count;
    uint32_t pairs, inflight, size, seconds, warmup, threads;
    uint32_t conns, rounds, hold;
    uint32_t members, clients, missed;
    uint32_t slow;                 /* Members that read a byte a second. */
    uint32_t kill;                 /* A process to be killed in the middle. */
    uint32_t source, source_count; /* First source address (host order) and how many. */
    double rate;                   /* Messages a second in all; 0: as fast as answers come. */
    bool is_json, batch, open;
    char run[24]; /* In every name, so that runs don't meet each other's conversations. */
    struct pids pids;
};

/* A token for `user` by POST /v1/dev/token, over one kept connection. Ends the program where there
 * is none: nothing could be measured. */
void token_get(const struct target *target, const char *user, char *token, size_t size);

/* conn_open() for `user` with a fresh token. Ends the program where there is no socket. */
void load_connect(struct conn *conn, struct loop *loop, const struct options *options, uint32_t url,
                  const char *user);
/* The same, with a query made by load_query() beforehand. */
void load_query(const struct options *options, uint32_t url, const char *user, char *query,
                size_t size);

_Noreturn void load_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The modes. Each returns 0 where what it checks held, else 1. */
int pairs_run(const struct options *options);
int idle_run(const struct options *options);
int fanout_run(const struct options *options);
int storm_run(const struct options *options);
int crowd_run(const struct options *options);
int flap_run(const struct options *options);

#endif
