#include "tests/bench/load/writers.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WRITERS    16u
#define SENT_TABLE (1u << 20)
#define BODY_MAX   2048u
#define STALL_NS   60000000000u

struct writer {
    struct conn conn;
    struct writers *writers;
    bool is_ready;
};

struct phase {
    uint64_t number;
    double rate;
    struct histogram *acks;
    uint32_t acks_count;
};

struct writers {
    const struct options *options;
    pthread_t thread;
    pthread_mutex_t lock; /* Of `next` and `reached`. */
    pthread_cond_t has_reached;
    struct phase next;
    uint64_t reached;
    atomic_bool is_over;
    _Atomic uint64_t sent, acked;

    /* The thread's. */
    struct loop loop;
    struct writer writers[WRITERS];
    uint32_t ready;
    struct phase phase;
    uint64_t start_ns, due; /* Of the phase. */
    uint64_t *sent_ns;      /* When each message was due, by its number modulo their count. */
};

static void on_open(struct conn *conn)
{
    (void)conn;
}

static void note_ack(struct writers *w, uint64_t id)
{
    w->acked++;
    const struct phase *phase = &w->phase;
    if (phase->acks == NULL)
        return;
    uint64_t second = (w->loop.now_ns - w->start_ns) / 1000000000u;
    uint32_t last = phase->acks_count - 1;
    histogram_add(&phase->acks[second < last ? second : last],
                  (w->loop.now_ns - w->sent_ns[id % SENT_TABLE]) / 1000);
}

static void on_text(struct conn *conn, const char *text, size_t size)
{
    struct writer *writer = conn->owner;
    uint32_t hint = 0;
    if (json_is_type(text, size, "resumed") && !writer->is_ready) {
        writer->is_ready = true;
        writer->writers->ready++;
    } else if (json_is_type(text, size, "sent")) {
        const char *id = json_field(text, size, "\"id\":", &hint);
        if (id != NULL)
            note_ack(writer->writers, json_number(id));
    } else if (json_is_type(text, size, "error")) {
        load_fail("a message was refused: %.*s", (int)size, text);
    }
}

static void on_closed(struct conn *conn)
{
    load_fail("a writer was closed with %u", conn->close_code);
}

static const struct conn_ops writer_ops = {on_text, on_open, on_closed};

/* One message to the next client in turn; always by the same writer, so that each has an order. Its
 * body begins with its number for that client, from 1. */
static void send_one(struct writers *w, uint64_t due_ns)
{
    const struct options *options = w->options;
    char text[BODY_MAX + 256];
    uint64_t id = w->sent;
    uint32_t index = (uint32_t)(id % options->clients);
    uint32_t fill = options->size < BODY_MAX ? options->size : BODY_MAX;
    w->sent_ns[id % SENT_TABLE] = due_ns;
    int size = snprintf(text, sizeof(text),
                        "{\"type\":\"send\",\"id\":%llu,\"to\":\"%s-c%u\",\"cid\":\"%s-%llu\","
                        "\"body\":\"%010llu",
                        (unsigned long long)id, options->run, index, options->run,
                        (unsigned long long)id, (unsigned long long)(id / options->clients + 1));
    for (uint32_t i = 10; i < fill; i++)
        text[size++] = 'x';
    memcpy(text + size, "\"}", 2);
    conn_send(&w->writers[index % WRITERS].conn, text, (size_t)size + 2);
    w->sent++; /* After it is queued: the crowd waits for what is sent. */
}

static void take_phase(struct writers *w)
{
    pthread_mutex_lock(&w->lock);
    bool is_new = w->next.number != w->phase.number;
    w->phase = w->next;
    w->reached = w->phase.number;
    pthread_cond_signal(&w->has_reached);
    pthread_mutex_unlock(&w->lock);
    if (is_new) {
        w->start_ns = now_ns();
        w->due = 0;
    }
}

static void *run(void *context)
{
    struct writers *w = context;
    for (; !w->is_over; loop_turn(&w->loop, 1)) {
        take_phase(w);
        double elapsed_s = (double)(now_ns() - w->start_ns) / 1e9;
        for (; (double)w->due < elapsed_s * w->phase.rate; w->due++)
            send_one(w, w->start_ns + (uint64_t)((double)w->due * 1e9 / w->phase.rate));
    }
    return NULL;
}

struct writers *writers_start(const struct options *options)
{
    struct writers *w = calloc(1, sizeof(*w));
    if (w == NULL || (w->sent_ns = calloc(SENT_TABLE, sizeof(*w->sent_ns))) == NULL)
        abort();
    w->options = options;
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->has_reached, NULL);
    loop_init(&w->loop);
    for (uint32_t i = 0; i < WRITERS; i++) {
        char user[64];
        w->writers[i].writers = w;
        w->writers[i].conn.ops = &writer_ops;
        w->writers[i].conn.owner = &w->writers[i];
        snprintf(user, sizeof(user), "%s-w%u", options->run, i);
        load_connect(&w->writers[i].conn, &w->loop, options, 1, user);
    }
    uint64_t until_ns = now_ns() + STALL_NS;
    while (w->ready < WRITERS && w->loop.now_ns < until_ns)
        loop_turn(&w->loop, 100);
    if (w->ready < WRITERS)
        load_fail("%u of %u writers were resumed", w->ready, WRITERS);
    if (pthread_create(&w->thread, NULL, run, w) != 0)
        load_fail("no thread");
    return w;
}

void writers_pace(struct writers *w, double rate, struct histogram *acks, uint32_t acks_count)
{
    pthread_mutex_lock(&w->lock);
    w->next = (struct phase){w->next.number + 1, rate, acks, acks_count};
    while (w->reached != w->next.number)
        pthread_cond_wait(&w->has_reached, &w->lock);
    pthread_mutex_unlock(&w->lock);
}

uint64_t writers_sent(const struct writers *w)
{
    return w->sent;
}

uint64_t writers_acked(const struct writers *w)
{
    return w->acked;
}

void writers_stop(struct writers *w)
{
    w->is_over = true;
    pthread_join(w->thread, NULL);
}

void writers_free(struct writers **writers)
{
    struct writers *w = *writers;
    *writers = NULL;
    for (uint32_t i = 0; i < WRITERS; i++)
        conn_close(&w->writers[i].conn);
    loop_fini(&w->loop);
    pthread_cond_destroy(&w->has_reached);
    pthread_mutex_destroy(&w->lock);
    free(w->sent_ns);
    free(w);
}
