/* crowd: a gateway with thousands of clients is killed, and all of them come back by way of
 * another: how long until everybody has everything he missed, and what it costs those who send
 * meanwhile.
 *
 * flap: thousands of clients who watch each other's presence come and go without end: what that
 * costs those who send. */
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "tests/bench/load/writers.h"

#define CONNECTING_MAX 256u
#define QUERY_SIZE_MAX 9000u
#define STALL_NS       60000000000u
#define BACKOFF_NS     1000000000u /* Of the first attempt; doubled by each, with full jitter. */
#define BACKOFF_MAX_NS 30000000000u
#define SETTLE_NS      3000000000u
#define FIRST_RATE     2000u
#define WATCHED        5u          /* Others whose presence each one watches, where they flap. */
#define AWAY_NS        2000000000u /* How long one who flaps is away, at most. */
#define STORM_SECONDS  12u
#define ELSEWHERE      19 /* Nice. */

struct client {
    struct conn conn;
    struct crowd *crowd;
    char *query;
    uint32_t received; /* Of the messages to him, which are numbered from 1. */
    uint32_t attempts;
    uint64_t retry_ns; /* When it connects again; 0: it need not. */
    uint32_t hint_body;
    bool is_resumed;
};

struct crowd {
    const struct options *options;
    struct loop loop;
    struct writers *writers;
    struct client *clients;
    uint32_t opened, connecting, resumed;
    uint64_t delivered, disorder, errors, refused;
    bool is_flapping;
    uint32_t flaps;
    uint64_t presences;
    bool is_killed;
    uint64_t killed_ns;
    struct histogram quiet, storm[STORM_SECONDS], back;
};

static void on_open(struct conn *conn)
{
    (void)conn;
}

static double jitter(void)
{
    return (double)random() / ((double)RAND_MAX + 1);
}

/* ---- The crowd ---- */

static void watch_others(struct client *client)
{
    const struct options *options = client->crowd->options;
    char text[512];
    int size = snprintf(text, sizeof(text), "{\"type\":\"watch\",\"users\":[");
    for (uint32_t i = 1; i <= WATCHED; i++)
        size += snprintf(text + size, sizeof(text) - (size_t)size, "%s\"%s-c%u\"", i > 1 ? "," : "",
                         options->run, (client->conn.index + i) % options->clients);
    memcpy(text + size, "]}", 2);
    conn_send(&client->conn, text, (size_t)size + 2);
}

static void on_client_text(struct conn *conn, const char *text, size_t size)
{
    struct client *client = conn->owner;
    struct crowd *crowd = client->crowd;
    if (json_is_type(text, size, "message")) {
        const char *body = json_field(text, size, "\"body\":\"", &client->hint_body);
        if (body == NULL)
            return;
        uint64_t number = json_number(body);
        if (number <= client->received)
            return; /* Delivered before the end of the old connection, and not known of there. */
        crowd->disorder += number != client->received + 1;
        client->received = (uint32_t)number;
        crowd->delivered++;
    } else if (json_is_type(text, size, "resumed") && !client->is_resumed) {
        client->is_resumed = true;
        client->attempts = 0;
        crowd->connecting--;
        crowd->resumed++;
        if (crowd->is_killed)
            histogram_add(&crowd->back, (crowd->loop.now_ns - crowd->killed_ns) / 1000);
        if (crowd->is_flapping)
            watch_others(client);
    } else if (json_is_type(text, size, "presence")) {
        crowd->presences++;
    } else if (json_is_type(text, size, "error") && crowd->errors++ == 0) {
        fprintf(stderr, "bench-load: %.*s\n", (int)size, text);
    }
}

static void on_client_closed(struct conn *conn)
{
    struct client *client = conn->owner;
    struct crowd *crowd = client->crowd;
    if (!crowd->is_killed)
        load_fail("a client was closed with %u", conn->close_code);
    if (client->is_resumed)
        crowd->resumed--;
    else
        crowd->refused++, crowd->connecting--;
    client->is_resumed = false;
    uint64_t most_ns = (uint64_t)BACKOFF_NS << (client->attempts < 5 ? client->attempts : 5);
    client->attempts++;
    client->retry_ns =
        crowd->loop.now_ns +
        (uint64_t)(jitter() * (double)(most_ns < BACKOFF_MAX_NS ? most_ns : BACKOFF_MAX_NS));
}

static const struct conn_ops client_ops = {on_client_text, on_open, on_client_closed};

/* The first url is that of the gateway which is killed. */
static void enter(struct crowd *crowd, uint32_t index, uint32_t url)
{
    const struct options *options = crowd->options;
    struct client *client = &crowd->clients[index];
    uint32_t source =
        options->source_count != 0 ? options->source + index % options->source_count : 0;
    client->retry_ns = 0;
    crowd->connecting++;
    if (!conn_open(&client->conn, &crowd->loop, &options->urls[url], source, client->query))
        load_fail("no socket for client %u", index);
}

/* ---- The run ---- */

static void prepare(struct crowd *crowd)
{
    const struct options *options = crowd->options;
    char text[QUERY_SIZE_MAX];
    for (uint32_t i = 0; i < options->clients; i++) {
        struct client *client = &crowd->clients[i];
        char user[64];
        client->crowd = crowd;
        client->conn.ops = &client_ops;
        client->conn.owner = client;
        client->conn.index = i;
        snprintf(user, sizeof(user), "%s-c%u", options->run, i);
        load_query(options, 1, user, text, sizeof(text));
        client->query = strdup(text);
        if (client->query == NULL)
            abort();
    }
    crowd->writers = writers_start(options);
    uint64_t until_ns = now_ns() + STALL_NS + options->clients * 10000000ull;
    while (crowd->resumed < options->clients) {
        while (crowd->opened < options->clients && crowd->connecting < CONNECTING_MAX)
            enter(crowd, crowd->opened++, 0);
        loop_turn(&crowd->loop, 100);
        if (crowd->loop.now_ns > until_ns)
            load_fail("%u of %u clients were resumed", crowd->resumed, options->clients);
    }
}

/* Who was closed comes back when his time has come. A walk over all a turn of some milliseconds:
 * the servers' share of the machine does not notice. */
static void bring_back(struct crowd *crowd)
{
    for (uint32_t i = 0; i < crowd->options->clients; i++)
        if (crowd->clients[i].retry_ns != 0 && crowd->clients[i].retry_ns <= crowd->loop.now_ns)
            enter(crowd, i, crowd->is_flapping ? 0 : 1);
}

/* The next ones go, at a pace that takes --hold seconds to come round. */
static void flap(struct crowd *crowd, uint64_t start_ns)
{
    const struct options *options = crowd->options;
    double due = (double)(crowd->loop.now_ns - start_ns) / 1e9 * options->clients / options->hold;
    for (; (double)crowd->flaps < due; crowd->flaps++) {
        struct client *client = &crowd->clients[crowd->flaps % options->clients];
        if (!client->is_resumed)
            continue;
        conn_close(&client->conn);
        client->is_resumed = false;
        crowd->resumed--;
        client->retry_ns = crowd->loop.now_ns + (uint64_t)(jitter() * (double)AWAY_NS);
    }
}

/* The crowd's own part, until `end_ns`, or until everybody is back and has everything. */
static void drive(struct crowd *crowd, bool is_stormy, uint64_t end_ns)
{
    uint64_t start_ns = now_ns();
    uint64_t walk_ns = start_ns;
    for (crowd->loop.now_ns = start_ns; crowd->loop.now_ns < end_ns; loop_turn(&crowd->loop, 1)) {
        if (!is_stormy || crowd->loop.now_ns < walk_ns)
            continue;
        walk_ns = crowd->loop.now_ns + 5000000;
        if (crowd->is_flapping)
            flap(crowd, start_ns);
        bring_back(crowd);
        if (crowd->is_killed && crowd->back.count >= crowd->options->clients &&
            crowd->resumed == crowd->options->clients &&
            crowd->delivered + 100 >= writers_acked(crowd->writers))
            break;
    }
}

/* No more is sent: what is under way arrives. */
static void settle(struct crowd *crowd)
{
    uint64_t end_ns = now_ns() + 10 * SETTLE_NS;
    uint64_t sent = writers_sent(crowd->writers);
    while ((writers_acked(crowd->writers) < sent || crowd->delivered < sent) &&
           crowd->loop.now_ns < end_ns)
        loop_turn(&crowd->loop, 20);
}

/* Those who are hit and what dies are elsewhere, in truth: the machines whose latency is measured
 * have no part in tearing down thousands of connections, or in their clients' work. */
static void put_elsewhere(uint32_t pid)
{
    char dir[64];
    snprintf(dir, sizeof(dir), "/proc/%u/task", pid);
    DIR *tasks = opendir(dir);
    for (struct dirent *task; tasks != NULL && (task = readdir(tasks)) != NULL;)
        setpriority(PRIO_PROCESS, (id_t)strtoul(task->d_name, NULL, 10), ELSEWHERE);
    if (tasks != NULL)
        closedir(tasks);
    setpriority(PRIO_PROCESS, 0, ELSEWHERE); /* This thread: the crowd. */
}

static void report(const struct crowd *crowd, double back_s)
{
    const struct options *options = crowd->options;
    uint64_t sent = writers_sent(crowd->writers);
    struct histogram all = {0};
    for (uint32_t i = 0; i < STORM_SECONDS; i++)
        histogram_merge(&all, &crowd->storm[i]);
    double quiet = histogram_quantile_ms(&crowd->quiet, 0.99);
    double storm = histogram_quantile_ms(&all, 0.99);
    report_begin(options->is_json, crowd->is_flapping ? "flap" : "crowd");
    report_number("clients", options->clients);
    report_number("rate", options->rate > 0 ? options->rate : 1000);
    report_latency("ack_quiet", &crowd->quiet);
    report_latency("ack_storm", &all);
    report_number("ack_p99_ratio", quiet > 0 ? storm / quiet : 0);
    if (crowd->is_flapping) {
        report_number("flaps_per_s", (double)crowd->flaps / options->seconds);
        report_number("presence_events", (double)crowd->presences);
    } else {
        for (uint32_t i = 0; i < STORM_SECONDS && crowd->storm[i].count > 0; i++) {
            char name[32];
            snprintf(name, sizeof(name), "ack_second_%u", i + 1);
            report_latency(name, &crowd->storm[i]);
        }
        report_latency("back", &crowd->back);
        report_number("all_back_with_everything_s", back_s);
    }
    report_number("refused", (double)crowd->refused);
    report_number("sent", (double)sent);
    report_number("missing", (double)sent - (double)crowd->delivered);
    report_number("out_of_order", (double)crowd->disorder);
    report_number("errors", (double)crowd->errors);
    report_end();
}

static int run(const struct options *options, bool is_flapping)
{
    struct crowd crowd = {.options = options, .is_flapping = is_flapping};
    loop_init(&crowd.loop);
    crowd.clients = calloc(options->clients, sizeof(*crowd.clients));
    if (crowd.clients == NULL)
        abort();
    uint64_t phase_ns = (uint64_t)options->seconds * 1000000000u;
    double rate = options->rate > 0 ? options->rate : 1000;
    prepare(&crowd);
    /* One message to each first: conversations that have yet to be made cost more. */
    writers_pace(crowd.writers, FIRST_RATE, NULL, 0);
    drive(&crowd, false, now_ns() + options->clients * 1000000000ull / FIRST_RATE);
    writers_pace(crowd.writers, rate, NULL, 0);
    drive(&crowd, false, now_ns() + (uint64_t)options->warmup * 1000000000u);
    writers_pace(crowd.writers, rate, &crowd.quiet, 1);
    drive(&crowd, false, now_ns() + phase_ns);
    crowd.is_killed = !is_flapping;
    if (crowd.is_killed)
        put_elsewhere(options->kill);
    crowd.killed_ns = now_ns();
    writers_pace(crowd.writers, rate, crowd.storm, STORM_SECONDS);
    if (crowd.is_killed && kill((pid_t)options->kill, SIGKILL) != 0)
        load_fail("process %u cannot be killed", options->kill);
    drive(&crowd, true, crowd.killed_ns + (is_flapping ? phase_ns : STALL_NS));
    double back_s = (double)(now_ns() - crowd.killed_ns) / 1e9;
    writers_pace(crowd.writers, 0, NULL, 0);
    settle(&crowd);
    writers_stop(crowd.writers);
    report(&crowd, back_s);
    uint64_t sent = writers_sent(crowd.writers);
    bool is_whole = crowd.resumed == options->clients && crowd.delivered == sent;
    bool held =
        crowd.disorder == 0 && (is_flapping ? writers_acked(crowd.writers) == sent : is_whole);
    for (uint32_t i = 0; i < options->clients; i++) {
        conn_close(&crowd.clients[i].conn);
        free(crowd.clients[i].query);
    }
    writers_free(&crowd.writers);
    free(crowd.clients);
    loop_fini(&crowd.loop);
    return held ? 0 : 1;
}

int crowd_run(const struct options *options)
{
    if (options->url_count < 2 || options->kill == 0)
        load_fail("crowd takes two urls and --kill PID, the process behind the first");
    return run(options, false);
}

int flap_run(const struct options *options)
{
    if (options->url_count < 2)
        load_fail("flap takes two urls: of those who come and go, and of those who send");
    return run(options, true);
}
