/* storm: every client was away, each has missed messages in a conversation of its own, and all come
 * back at the same moment: how long until everybody has everything. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/bench/load/load.h"

#define WRITERS_MAX    16u
#define WINDOW         256u /* Unanswered messages of one writer. */
#define QUERY_SIZE_MAX 9000u
#define STALL_NS       60000000000u

struct writer {
    struct conn conn;
    struct storm *storm;
    bool is_ready;
    uint64_t next, end; /* Messages, counted over its clients: client = next / missed. */
    uint32_t unanswered;
};

struct client {
    struct conn conn;
    struct storm *storm;
    char *query;
    uint32_t received; /* In order from 1. */
    uint32_t hint_body;
    bool is_done;
};

struct storm {
    const struct options *options;
    struct loop loop;
    struct writer writers[WRITERS_MAX];
    struct client *clients;
    uint32_t writer_count, ready, done, closed;
    uint64_t acked, disorder, errors;
    uint64_t start_ns;
    struct histogram times;
};

static void on_open(struct conn *conn)
{
    (void)conn;
}

/* ---- Before: the messages that the clients miss ---- */

static void write_more(struct writer *writer)
{
    const struct options *options = writer->storm->options;
    char text[4096];
    uint32_t fill = options->size < 2048 ? options->size : 2048;
    for (; writer->next < writer->end && writer->unanswered < WINDOW; writer->next++) {
        uint64_t client = writer->next / options->missed;
        uint64_t nth = writer->next % options->missed + 1;
        int size =
            snprintf(text, sizeof(text),
                     "{\"type\":\"send\",\"id\":%llu,\"to\":\"%s-c%llu\",\"cid\":\"%s-%llu\","
                     "\"body\":\"%010llu",
                     (unsigned long long)writer->next, options->run, (unsigned long long)client,
                     options->run, (unsigned long long)writer->next, (unsigned long long)nth);
        for (uint32_t i = 10; i < fill; i++)
            text[size++] = 'x';
        memcpy(text + size, "\"}", 2);
        conn_send(&writer->conn, text, (size_t)size + 2);
        writer->unanswered++;
    }
}

static void on_writer_text(struct conn *conn, const char *text, size_t size)
{
    struct writer *writer = conn->owner;
    struct storm *storm = writer->storm;
    if (json_is_type(text, size, "resumed") && !writer->is_ready) {
        writer->is_ready = true;
        storm->ready++;
    } else if (json_is_type(text, size, "sent")) {
        storm->acked++;
        writer->unanswered--;
        write_more(writer);
    } else if (json_is_type(text, size, "error")) {
        load_fail("a message was refused: %.*s", (int)size, text);
    }
}

static void on_writer_closed(struct conn *conn)
{
    load_fail("a writer was closed with %u", conn->close_code);
}

static const struct conn_ops writer_ops = {on_writer_text, on_open, on_writer_closed};

static void write_all(struct storm *storm)
{
    const struct options *options = storm->options;
    uint64_t total = (uint64_t)options->clients * options->missed;
    uint64_t progress_ns = now_ns();
    uint64_t last = 0;
    storm->writer_count = options->clients < WRITERS_MAX ? options->clients : WRITERS_MAX;
    for (uint32_t i = 0; i < storm->writer_count; i++) {
        struct writer *writer = &storm->writers[i];
        char user[64];
        writer->storm = storm;
        writer->conn.ops = &writer_ops;
        writer->conn.owner = writer;
        /* Whole clients each, so that one writer has all of a conversation, in order. */
        writer->next = (uint64_t)options->clients * i / storm->writer_count * options->missed;
        writer->end = (uint64_t)options->clients * (i + 1) / storm->writer_count * options->missed;
        snprintf(user, sizeof(user), "%s-w%u", options->run, i);
        load_connect(&writer->conn, &storm->loop, options, i, user);
    }
    for (bool is_started = false; storm->acked < total;) {
        loop_turn(&storm->loop, 100);
        if (!is_started && storm->ready == storm->writer_count) {
            is_started = true;
            for (uint32_t i = 0; i < storm->writer_count; i++)
                write_more(&storm->writers[i]);
        }
        if (storm->acked != last) {
            last = storm->acked;
            progress_ns = storm->loop.now_ns;
        }
        if (storm->loop.now_ns - progress_ns > STALL_NS)
            load_fail("%llu of %llu messages were taken", (unsigned long long)storm->acked,
                      (unsigned long long)total);
    }
    for (uint32_t i = 0; i < storm->writer_count; i++)
        conn_close(&storm->writers[i].conn);
}

/* ---- The storm ---- */

static void on_client_text(struct conn *conn, const char *text, size_t size)
{
    struct client *client = conn->owner;
    struct storm *storm = client->storm;
    if (json_is_type(text, size, "error")) {
        if (storm->errors++ == 0)
            fprintf(stderr, "bench-load: %.*s\n", (int)size, text);
        return;
    }
    if (!json_is_type(text, size, "message"))
        return;
    const char *body = json_field(text, size, "\"body\":\"", &client->hint_body);
    if (body == NULL)
        return;
    storm->disorder += json_number(body) != client->received + 1;
    client->received++;
    if (client->received == storm->options->missed && !client->is_done) {
        client->is_done = true;
        storm->done++;
        histogram_add(&storm->times, (storm->loop.now_ns - storm->start_ns) / 1000);
    }
}

static void on_client_closed(struct conn *conn)
{
    struct client *client = conn->owner;
    if (client->storm->closed++ == 0)
        fprintf(stderr, "bench-load: a connection was closed with %u\n", conn->close_code);
}

static const struct conn_ops client_ops = {on_client_text, on_open, on_client_closed};

/* Tokens beforehand: they are no part of the storm. */
static void prepare_clients(struct storm *storm)
{
    const struct options *options = storm->options;
    char query[QUERY_SIZE_MAX];
    for (uint32_t i = 0; i < options->clients; i++) {
        struct client *client = &storm->clients[i];
        char user[64];
        client->storm = storm;
        client->conn.ops = &client_ops;
        client->conn.owner = client;
        snprintf(user, sizeof(user), "%s-c%u", options->run, i);
        load_query(options, i, user, query, sizeof(query));
        client->query = strdup(query);
        if (client->query == NULL)
            abort();
    }
}

static void break_loose(struct storm *storm)
{
    const struct options *options = storm->options;
    uint64_t progress_ns = now_ns();
    uint32_t last = 0;
    storm->start_ns = now_ns();
    for (uint32_t i = 0; i < options->clients; i++)
        if (!conn_open(&storm->clients[i].conn, &storm->loop,
                       &options->urls[i % options->url_count],
                       options->source_count != 0 ? options->source + i % options->source_count : 0,
                       storm->clients[i].query))
            load_fail("no socket for client %u", i);
    while (storm->done + storm->closed < options->clients) {
        loop_turn(&storm->loop, 100);
        if (storm->done != last) {
            last = storm->done;
            progress_ns = storm->loop.now_ns;
        }
        if (storm->loop.now_ns - progress_ns > STALL_NS)
            return;
    }
}

static void report(const struct storm *storm, const struct cpu *before, const struct cpu *after,
                   double write_s)
{
    const struct options *options = storm->options;
    double messages = (double)options->clients * options->missed;
    report_begin(options->is_json, "storm");
    report_number("clients", options->clients);
    report_number("missed_each", options->missed);
    report_number("prepare_s", write_s);
    report_number("prepared_per_s", messages / write_s);
    report_number("complete", storm->done);
    report_latency("complete", &storm->times);
    report_number("caught_up_per_s",
                  messages / ((double)(storm->loop.now_ns - storm->start_ns) / 1e9));
    double servers = report_cpu(&options->pids, before, after);
    if (servers > 0)
        report_number("cpu_us_per_message", servers * 1e6 / messages);
    report_number("errors", (double)storm->errors);
    report_number("closed", storm->closed);
    report_number("out_of_order", (double)storm->disorder);
    report_end();
}

int storm_run(const struct options *options)
{
    struct storm storm = {.options = options};
    struct cpu before[PIDS_MAX], after[PIDS_MAX];
    loop_init(&storm.loop);
    storm.clients = calloc(options->clients, sizeof(*storm.clients));
    if (storm.clients == NULL)
        abort();
    uint64_t start_ns = now_ns();
    write_all(&storm);
    double write_s = (double)(now_ns() - start_ns) / 1e9;
    prepare_clients(&storm);
    cpu_sample(&options->pids, before);
    break_loose(&storm);
    cpu_sample(&options->pids, after);
    report(&storm, before, after, write_s);
    bool held = storm.done == options->clients && storm.disorder == 0;
    for (uint32_t i = 0; i < options->clients; i++) {
        conn_close(&storm.clients[i].conn);
        free(storm.clients[i].query);
    }
    free(storm.clients);
    loop_fini(&storm.loop);
    return held ? 0 : 1;
}
