/* idle: many connections that say nothing: what each costs the servers in memory, and whether
 * closing them gives it back. */
#include <stdio.h>
#include <stdlib.h>

#include "tests/bench/load/load.h"

#define CONNECTING_MAX 128u
#define QUERY_SIZE_MAX 9000u
#define SETTLE_NS      2000000000u
#define STALL_NS       30000000000u

struct idle {
    const struct options *options;
    struct loop loop;
    struct conn *conns;
    uint32_t opened, ready, closed;
};

static void on_text(struct conn *conn, const char *text, size_t size)
{
    struct idle *idle = conn->owner;
    if (json_is_type(text, size, "resumed"))
        idle->ready++;
}

static void on_open(struct conn *conn)
{
    (void)conn;
}

static void on_closed(struct conn *conn)
{
    struct idle *idle = conn->owner;
    if (idle->closed++ == 0)
        fprintf(stderr, "bench-load: a connection was closed with %u\n", conn->close_code);
}

static const struct conn_ops ops = {on_text, on_open, on_closed};

static void open_next(struct idle *idle)
{
    const struct options *options = idle->options;
    uint32_t index = idle->opened++;
    struct conn *conn = &idle->conns[index];
    char user[64], query[QUERY_SIZE_MAX];
    uint32_t source =
        options->source_count != 0 ? options->source + index % options->source_count : 0;
    *conn = (struct conn){.ops = &ops, .owner = idle, .index = index};
    snprintf(user, sizeof(user), "%s-i%u", options->run, index);
    load_query(options, index, user, query, sizeof(query));
    if (!conn_open(conn, &idle->loop, &options->urls[index % options->url_count], source, query))
        load_fail("no socket for connection %u", index);
}

static void turn_for(struct idle *idle, uint64_t ns)
{
    uint64_t until = now_ns() + ns;
    while (idle->loop.now_ns < until)
        loop_turn(&idle->loop, 50);
}

static double rss_of_all(const struct pids *pids)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < pids->count; i++)
        sum += rss_kib(pids->pids[i]);
    return (double)sum;
}

static void open_all(struct idle *idle)
{
    uint32_t last = 0;
    uint64_t progress_ns = now_ns();
    while (idle->ready + idle->closed < idle->options->conns) {
        while (idle->opened < idle->options->conns &&
               idle->opened - idle->ready - idle->closed < CONNECTING_MAX)
            open_next(idle);
        loop_turn(&idle->loop, 100);
        if (idle->ready != last) {
            last = idle->ready;
            progress_ns = idle->loop.now_ns;
        }
        if (idle->loop.now_ns - progress_ns > STALL_NS)
            load_fail("%u of %u connections were resumed", idle->ready, idle->options->conns);
    }
}

static bool round_run(struct idle *idle)
{
    const struct options *options = idle->options;
    struct cpu start[PIDS_MAX], opened[PIDS_MAX], held[PIDS_MAX];
    idle->opened = idle->ready = idle->closed = 0;
    double rss_before = rss_of_all(&options->pids);
    uint64_t begin_ns = now_ns();
    cpu_sample(&options->pids, start);
    open_all(idle);
    double open_s = (double)(now_ns() - begin_ns) / 1e9;
    turn_for(idle, SETTLE_NS);
    cpu_sample(&options->pids, opened);
    double rss_open = rss_of_all(&options->pids);
    turn_for(idle, (uint64_t)options->hold * 1000000000u);
    cpu_sample(&options->pids, held);
    bool is_good = idle->closed == 0;
    for (uint32_t i = 0; i < options->conns; i++)
        conn_close(&idle->conns[i]);
    turn_for(idle, SETTLE_NS);

    report_begin(options->is_json, "idle");
    report_number("conns", idle->ready);
    report_number("refused_or_closed", idle->closed);
    report_number("open_s", open_s);
    report_number("rss_before_kib", rss_before);
    report_number("rss_open_kib", rss_open);
    report_number("rss_closed_kib", rss_of_all(&options->pids));
    report_number("bytes_per_conn", (rss_open - rss_before) * 1024 / options->conns);
    double opening = 0, idling = 0;
    for (uint32_t i = 0; i < options->pids.count; i++) {
        opening += opened[i].user_s + opened[i].sys_s - start[i].user_s - start[i].sys_s;
        idling += held[i].user_s + held[i].sys_s - opened[i].user_s - opened[i].sys_s;
    }
    report_number("cpu_us_per_open", opening * 1e6 / options->conns);
    report_number("cpu_idle_percent", idling * 100 / options->hold);
    report_end();
    return is_good;
}

int idle_run(const struct options *options)
{
    struct idle idle = {.options = options};
    bool is_good = true;
    loop_init(&idle.loop);
    idle.conns = calloc(options->conns, sizeof(*idle.conns));
    if (idle.conns == NULL)
        abort();
    for (uint32_t round = 0; round < options->rounds; round++)
        is_good &= round_run(&idle);
    free(idle.conns);
    loop_fini(&idle.loop);
    return is_good ? 0 : 1;
}
