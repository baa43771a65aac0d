/* pairs: a sender and a receiver each, through different gateways where there are several.
 *
 * At full speed each sender keeps `inflight` messages unanswered; at a rate, messages are due at
 * fixed times whether answers come or not, and latency counts from the due time, so that a stall is
 * not hidden by the messages that it kept from being sent. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/bench/load/load.h"

#define STAMP_DIGITS 16 /* Hexadecimal. */
#define INDEX_DIGITS 10
#define BODY_MIN     (STAMP_DIGITS + INDEX_DIGITS)
#define FRAME_MAX    140000u
#define DRAIN_NS     5000000000u
#define READY_NS     60000000000u
#define THREADS_MAX  16

struct slot {
    uint64_t stamp;
    uint64_t index; /* 0: free. */
};

struct pair {
    struct worker *worker;
    struct conn sender, receiver;
    char *frame; /* The `send`, with digits that are written over. */
    size_t frame_size, id_at, cid_at, body_at;
    struct slot *slots;
    uint32_t outstanding;
    uint64_t next;           /* Index of the next message, from 1. */
    uint64_t last_delivered; /* Index. */
    uint64_t paused_until;
    uint8_t *acked, *delivered; /* A byte a message. */
    size_t track_size;
    char conv[129];
    uint64_t seq, seq_told;
    uint32_t hint_id, hint_body, hint_seq;
};

struct worker {
    const struct options *options;
    struct loop loop;
    struct pair *pairs;
    uint32_t pair_count, ready, next_pair;
    pthread_t thread;
    uint64_t start_ns, measure_ns, end_ns;
    uint64_t scheduled;
    uint64_t sent, acked, delivered; /* The last two within the measured window. */
    uint64_t acked_all, delivered_all, errors, closed, duplicates, disorder, lost;
    char first_error[200];
    struct histogram ack, deliver;
    struct cpu before[PIDS_MAX], after[PIDS_MAX], self_before, self_after;
    bool is_first, is_stopped;
};

static pthread_barrier_t barrier;

static void put_hex(char *to, uint64_t value)
{
    static const char digits[] = "0123456789abcdef";
    for (int i = STAMP_DIGITS; i > 0; i--, value >>= 4)
        to[i - 1] = digits[value & 0xf];
}

static uint64_t get_hex(const char *from)
{
    uint64_t value = 0;
    for (int i = 0; i < STAMP_DIGITS; i++)
        value = value << 4 | (uint64_t)(from[i] <= '9' ? from[i] - '0' : from[i] - 'a' + 10);
    return value;
}

static void put_index(char *to, uint64_t index)
{
    for (int i = INDEX_DIGITS; i > 0; i--, index /= 10)
        to[i - 1] = (char)('0' + index % 10);
    to[0] = '1'; /* Ids are numbers: no leading zero. */
}

static uint64_t get_index(const char *from)
{
    return json_number(from) - 1000000000u;
}

static void make_frame(struct pair *pair, const char *to)
{
    const struct options *options = pair->worker->options;
    pair->frame = malloc(FRAME_MAX);
    if (pair->frame == NULL)
        abort();
    int size =
        snprintf(pair->frame, FRAME_MAX,
                 "{\"type\":\"send\",\"id\":%0*d,\"to\":\"%s\",\"cid\":\"%s-%0*d\",\"body\":\"",
                 INDEX_DIGITS, 0, to, options->run, INDEX_DIGITS, 0);
    pair->id_at = (size_t)(strstr(pair->frame, "\"id\":") + 5 - pair->frame);
    pair->cid_at = (size_t)(strstr(pair->frame, "\",\"body\"") - INDEX_DIGITS - pair->frame);
    pair->body_at = (size_t)size;
    memset(pair->frame + size, 'x', options->size);
    memcpy(pair->frame + size + options->size, "\"}", 2);
    pair->frame_size = (size_t)size + options->size + 2;
}

/* Make room to note what became of message `index`. */
static void track(struct pair *pair, uint64_t index)
{
    if (index < pair->track_size)
        return;
    size_t size = pair->track_size != 0 ? pair->track_size * 2 : 4096;
    pair->acked = realloc(pair->acked, size);
    pair->delivered = realloc(pair->delivered, size);
    if (pair->acked == NULL || pair->delivered == NULL)
        abort();
    memset(pair->acked + pair->track_size, 0, size - pair->track_size);
    memset(pair->delivered + pair->track_size, 0, size - pair->track_size);
    pair->track_size = size;
}

static bool can_send(const struct pair *pair, uint64_t now)
{
    const struct options *options = pair->worker->options;
    return pair->outstanding < options->inflight && pair->sender.state == CONN_OPEN &&
           pair->paused_until <= now &&
           pair->slots[pair->next % (4 * options->inflight)].index == 0;
}

static void send_one(struct pair *pair, uint64_t stamp)
{
    struct slot *slot = &pair->slots[pair->next % (4 * pair->worker->options->inflight)];
    *slot = (struct slot){.stamp = stamp, .index = pair->next};
    track(pair, pair->next);
    put_index(pair->frame + pair->id_at, pair->next);
    put_index(pair->frame + pair->cid_at, pair->next);
    put_hex(pair->frame + pair->body_at, stamp);
    put_index(pair->frame + pair->body_at + STAMP_DIGITS, pair->next);
    conn_send(&pair->sender, pair->frame, pair->frame_size);
    pair->next++;
    pair->outstanding++;
    pair->worker->sent++;
}

static void fill(struct pair *pair)
{
    struct worker *w = pair->worker;
    if (w->options->rate == 0 && !w->is_stopped)
        while (can_send(pair, w->loop.now_ns))
            send_one(pair, w->loop.now_ns);
}

static bool in_window(const struct worker *w)
{
    return w->loop.now_ns >= w->measure_ns && w->loop.now_ns < w->end_ns;
}

/* The answer to a send. */
static void on_answer(struct pair *pair, const char *text, size_t size, bool is_sent)
{
    struct worker *w = pair->worker;
    const char *id = json_field(text, size, "\"id\":", &pair->hint_id);
    if (id == NULL)
        return;
    uint64_t index = get_index(id);
    struct slot *slot = &pair->slots[index % (4 * w->options->inflight)];
    if (index == 0 || slot->index != index)
        return;
    slot->index = 0;
    pair->outstanding--;
    if (is_sent) {
        pair->acked[index] = 1;
        w->acked_all++;
        if (in_window(w)) {
            w->acked++;
            histogram_add(&w->ack, (w->loop.now_ns - slot->stamp) / 1000);
        }
    }
    fill(pair);
}

static void on_error(struct pair *pair, const char *text, size_t size)
{
    uint32_t hint = 0;
    const char *retry = json_field(text, size, "\"retry_after_ms\":", &hint);
    if (pair->worker->errors++ == 0)
        snprintf(pair->worker->first_error, sizeof(pair->worker->first_error), "%.*s", (int)size,
                 text);
    pair->paused_until =
        pair->worker->loop.now_ns + (retry != NULL ? json_number(retry) : 100) * 1000000;
    on_answer(pair, text, size, false);
}

static void on_message(struct pair *pair, const char *text, size_t size)
{
    struct worker *w = pair->worker;
    uint32_t hint = 0;
    const char *body = json_field(text, size, "\"body\":\"", &pair->hint_body);
    const char *seq = json_field(text, size, "\"seq\":", &pair->hint_seq);
    if (body == NULL || seq == NULL)
        return;
    uint64_t index = get_index(body + STAMP_DIGITS);
    if (pair->conv[0] == 0) {
        const char *conv = json_field(text, size, "\"conv\":\"", &hint);
        size_t conv_size = conv != NULL ? strcspn(conv, "\"") : 0;
        memcpy(pair->conv, conv, conv_size < 128 ? conv_size : 0);
    }
    pair->seq = json_number(seq);
    if (index == 0 || index >= pair->next)
        return; /* Not ours. */
    if (pair->delivered[index]++ != 0) {
        w->duplicates++;
        return;
    }
    w->disorder += index < pair->last_delivered;
    pair->last_delivered = index;
    w->delivered_all++;
    if (in_window(w)) {
        w->delivered++;
        histogram_add(&w->deliver, (w->loop.now_ns - get_hex(body)) / 1000);
    }
}

static void on_text(struct conn *conn, const char *text, size_t size)
{
    struct pair *pair = conn->owner;
    bool is_sender = conn == &pair->sender;
    if (!is_sender && json_is_type(text, size, "message"))
        on_message(pair, text, size);
    else if (is_sender && json_is_type(text, size, "sent"))
        on_answer(pair, text, size, true);
    else if (json_is_type(text, size, "resumed"))
        pair->worker->ready++;
    else if (is_sender && json_is_type(text, size, "error"))
        on_error(pair, text, size);
}

static void on_open(struct conn *conn)
{
    (void)conn; /* Ready once it is resumed. */
}

static void on_closed(struct conn *conn)
{
    struct pair *pair = conn->owner;
    if (pair->worker->closed++ == 0)
        fprintf(stderr, "bench-load: a connection was closed with %u\n", conn->close_code);
}

static const struct conn_ops ops = {on_text, on_open, on_closed};

static void connect_pair(struct pair *pair, struct worker *w, uint32_t index)
{
    const struct options *options = w->options;
    char sender[64], receiver[64];
    snprintf(sender, sizeof(sender), "%s-s%u", options->run, index);
    snprintf(receiver, sizeof(receiver), "%s-r%u", options->run, index);
    pair->worker = w;
    pair->next = 1;
    pair->slots = calloc(4 * options->inflight, sizeof(*pair->slots));
    if (pair->slots == NULL)
        abort();
    pair->sender.ops = pair->receiver.ops = &ops;
    pair->sender.owner = pair->receiver.owner = pair;
    make_frame(pair, receiver);
    load_connect(&pair->sender, &w->loop, options, index, sender);
    load_connect(&pair->receiver, &w->loop, options, index + 1, receiver);
}

static void wait_ready(struct worker *w)
{
    uint64_t until = now_ns() + READY_NS;
    while (w->ready < 2 * w->pair_count) {
        loop_turn(&w->loop, 100);
        if (w->loop.now_ns > until || w->closed != 0)
            load_fail("%u of %u connections were resumed", w->ready, 2 * w->pair_count);
    }
}

/* Send what is due. Where every pair waits for answers, the rest is late and its latency says so.
 */
static void pace(struct worker *w)
{
    const struct options *options = w->options;
    double rate = options->rate / options->threads;
    /* Message n is due n / rate after the start. */
    uint64_t due = (uint64_t)((double)(w->loop.now_ns - w->start_ns) * rate / 1e9) + 1;
    uint32_t full = 0;
    while (w->scheduled < due && full < w->pair_count) {
        struct pair *pair = &w->pairs[w->next_pair++ % w->pair_count];
        if (!can_send(pair, w->loop.now_ns)) {
            full++;
            continue;
        }
        full = 0;
        send_one(pair, w->start_ns + (uint64_t)((double)w->scheduled++ * 1e9 / rate));
    }
}

/* When the next message is due, or soon where all pairs wait for answers. */
static uint64_t next_due_ns(const struct worker *w)
{
    double rate = w->options->rate / w->options->threads;
    uint64_t due_ns = w->start_ns + (uint64_t)((double)w->scheduled * 1e9 / rate);
    uint64_t soon_ns = w->loop.now_ns + 1000000u;
    return due_ns > w->loop.now_ns && due_ns < soon_ns ? due_ns : soon_ns;
}

/* Once a second each receiver says how far it is, and senders that paused go on. */
static void tell(struct worker *w)
{
    char text[256];
    for (uint32_t i = 0; i < w->pair_count; i++) {
        struct pair *pair = &w->pairs[i];
        fill(pair);
        if (pair->seq == pair->seq_told || pair->conv[0] == 0)
            continue;
        pair->seq_told = pair->seq;
        int size = snprintf(text, sizeof(text), "{\"type\":\"ack\",\"conv\":\"%s\",\"seq\":%llu}",
                            pair->conv, (unsigned long long)pair->seq);
        conn_send(&pair->receiver, text, (size_t)size);
    }
}

static bool is_drained(const struct worker *w)
{
    for (uint32_t i = 0; i < w->pair_count; i++)
        if (w->pairs[i].outstanding != 0)
            return false;
    return w->delivered_all >= w->acked_all;
}

static void sample(struct worker *w, struct cpu *servers, struct cpu *self)
{
    if (!w->is_first)
        return;
    cpu_sample(&w->options->pids, servers);
    *self = cpu_self();
}

static void drive(struct worker *w)
{
    bool is_sampled = false;
    uint64_t told = w->start_ns;
    for (uint32_t i = 0; i < w->pair_count; i++)
        fill(&w->pairs[i]);
    while (w->loop.now_ns < w->end_ns) {
        if (w->options->rate != 0)
            loop_turn_until(&w->loop, next_due_ns(w));
        else
            loop_turn(&w->loop, 20);
        if (w->options->rate != 0)
            pace(w);
        if (w->loop.now_ns - told >= 1000000000u) {
            told = w->loop.now_ns;
            tell(w);
        }
        if (!is_sampled && w->loop.now_ns >= w->measure_ns) {
            is_sampled = true;
            sample(w, w->before, &w->self_before);
        }
    }
    sample(w, w->after, &w->self_after);
    w->is_stopped = true;
    while (!is_drained(w) && w->loop.now_ns < w->end_ns + DRAIN_NS)
        loop_turn(&w->loop, 20);
    loop_turn(&w->loop, 50); /* What would come twice may come now. */
}

static void *worker_main(void *argument)
{
    struct worker *w = argument;
    wait_ready(w);
    pthread_barrier_wait(&barrier);
    w->loop.now_ns = now_ns();
    w->start_ns = w->loop.now_ns;
    w->measure_ns = w->start_ns + (uint64_t)w->options->warmup * 1000000000u;
    w->end_ns = w->measure_ns + (uint64_t)w->options->seconds * 1000000000u;
    drive(w);
    for (uint32_t i = 0; i < w->pair_count; i++) {
        struct pair *pair = &w->pairs[i];
        for (uint64_t k = 1; k < pair->next; k++)
            w->lost += pair->acked[k] != 0 && pair->delivered[k] == 0;
    }
    return NULL;
}

static void merge(struct worker *into, const struct worker *from)
{
    into->sent += from->sent;
    into->acked += from->acked;
    into->delivered += from->delivered;
    into->acked_all += from->acked_all;
    into->delivered_all += from->delivered_all;
    into->errors += from->errors;
    into->closed += from->closed;
    into->duplicates += from->duplicates;
    into->disorder += from->disorder;
    into->lost += from->lost;
    if (into->first_error[0] == 0)
        memcpy(into->first_error, from->first_error, sizeof(into->first_error));
    histogram_merge(&into->ack, &from->ack);
    histogram_merge(&into->deliver, &from->deliver);
}

static void report(const struct worker *w)
{
    const struct options *options = w->options;
    double self =
        w->self_after.user_s - w->self_before.user_s + w->self_after.sys_s - w->self_before.sys_s;
    report_begin(options->is_json, "pairs");
    report_number("pairs", options->pairs);
    report_number("seconds", options->seconds);
    report_number("acked_per_s", (double)w->acked / options->seconds);
    report_number("delivered_per_s", (double)w->delivered / options->seconds);
    report_latency("deliver", &w->deliver);
    report_latency("ack", &w->ack);
    double servers = report_cpu(&options->pids, w->before, w->after);
    if (servers > 0) {
        report_number("cpu_servers_s", servers);
        report_number("per_cpu_s_servers", (double)w->acked / servers);
        report_number("us_per_message_servers", servers * 1e6 / (double)w->acked);
    }
    report_number("cpu_client_s", self);
    report_number("per_cpu_s_client", (double)w->acked / self);
    report_number("sent_all", (double)w->sent);
    report_number("acked_all", (double)w->acked_all);
    report_number("delivered_all", (double)w->delivered_all);
    report_number("errors", (double)w->errors);
    if (w->first_error[0] != 0 && !options->is_json)
        report_text("first_error", w->first_error);
    report_number("closed", (double)w->closed);
    report_number("lost", (double)w->lost);
    report_number("duplicates", (double)w->duplicates);
    report_number("out_of_order", (double)w->disorder);
    report_end();
}

static void free_pairs(struct worker *w)
{
    for (uint32_t i = 0; i < w->pair_count; i++) {
        struct pair *pair = &w->pairs[i];
        conn_close(&pair->sender);
        conn_close(&pair->receiver);
        free(pair->frame);
        free(pair->slots);
        free(pair->acked);
        free(pair->delivered);
    }
    free(w->pairs);
    loop_fini(&w->loop);
}

int pairs_run(const struct options *options)
{
    struct worker *workers = calloc(options->threads, sizeof(*workers));
    if (workers == NULL || options->threads > THREADS_MAX)
        load_fail("at most %d threads", THREADS_MAX);
    if (options->size < BODY_MIN || options->size > FRAME_MAX - 1024)
        load_fail("--size must be %d to %u", BODY_MIN, FRAME_MAX - 1024);
    pthread_barrier_init(&barrier, NULL, options->threads);
    for (uint32_t t = 0; t < options->threads; t++) {
        struct worker *w = &workers[t];
        uint32_t first = options->pairs * t / options->threads;
        w->options = options;
        w->is_first = t == 0;
        w->pair_count = options->pairs * (t + 1) / options->threads - first;
        w->pairs = calloc(w->pair_count, sizeof(*w->pairs));
        loop_init(&w->loop);
        for (uint32_t i = 0; i < w->pair_count; i++)
            connect_pair(&w->pairs[i], w, first + i);
    }
    for (uint32_t t = 1; t < options->threads; t++)
        if (pthread_create(&workers[t].thread, NULL, worker_main, &workers[t]) != 0)
            load_fail("no thread");
    worker_main(&workers[0]);
    for (uint32_t t = 1; t < options->threads; t++) {
        pthread_join(workers[t].thread, NULL);
        merge(&workers[0], &workers[t]);
    }
    report(&workers[0]);
    bool held = workers[0].lost == 0 && workers[0].duplicates == 0 && workers[0].disorder == 0 &&
                workers[0].acked > 0;
    for (uint32_t t = 0; t < options->threads; t++)
        free_pairs(&workers[t]);
    free(workers);
    return held ? 0 : 1;
}
