/* bench-transfer - what it takes to ship a shard: both halves of nodes/router/transfer.h between
 * two real stores in one process.
 *
 *   bench-transfer [MIB [DIR]]     300 MiB of rows, in a folder below /tmp that is removed
 *                                  again; in DIR, which must be there, the stores stay
 *
 * A message is an entry of 400 bytes and a deduplication row, as the machine writes them. The
 * longest time any one call took is what the loop would be late by. Resident memory holds both
 * stores' memtables and caches, so what counts is that it does not grow with the shard. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "mesh/base/check.h"
#include "mesh/base/crypto.h"
#include "mesh/base/limits.h"
#include "nodes/router/transfer.h"
#include "storage/generation.h"
#include "storage/rocks_kv.h"
#include "storage/rows.h"
#include "storage/sealed.h"

#define SHARD           7u
#define BODY_SIZE       400u
#define DEDUP_BODY_SIZE 16u
#define TURN_COUNT      400u /* Messages in a batch, to fill the store. */
#define CONVS           1000u

struct store {
    struct kv *kv;
    struct kv_batch *batch;
    char dir[256];
};

static uint64_t now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

static uint64_t resident_mib(void)
{
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    CHECK(file != NULL);
    CHECK(fscanf(file, "%*u %lu", &pages) == 1);
    fclose(file);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE) >> 20;
}

static void open_store(struct store *s, const char *dir, const char *name)
{
    static const struct rocks_kv_options options = {0};
    char sentence[512];
    snprintf(s->dir, sizeof(s->dir), "%s/%s", dir, name);
    enum rc rc = rocks_kv_open(s->dir, &options, &s->kv, sentence, sizeof(sentence));
    if (rc != RC_OK) {
        fprintf(stderr, "bench-transfer: %s\n", sentence);
        exit(1);
    }
    s->batch = s->kv->ops->batch_new(s->kv);
}

static void close_store(struct store *s)
{
    s->kv->ops->batch_free(&s->batch);
    s->kv->ops->close(&s->kv);
}

static void write_batch(struct store *s)
{
    enum rc rc = s->kv->ops->write(s->kv, s->batch);
    CHECK(rc == RC_OK);
}

static void on_synced(void *context, enum rc rc)
{
    CHECK(rc == RC_OK);
    *(bool *)context = true;
}

static void sync_store(struct store *s)
{
    bool is_synced = false;
    s->kv->ops->sync(s->kv, on_synced, &is_synced);
    while (!is_synced) {
        usleep(100);
        rocks_kv_poll(s->kv);
    }
}

/* ---- The shard ---- */

static void put_row(struct store *s, const struct keyspace_key *key, size_t size)
{
    static uint8_t body[BODY_SIZE];
    static struct buf *row;
    if (row == NULL)
        row = buf_new(0);
    crypto_random(body, sizeof(body) / 2); /* Half of it compresses. */
    buf_clear(row);
    size_t begin = sealed_begin(row, ROWS_VERSION);
    buf_append(row, body, size);
    sealed_end(row, begin, keyspace_slice(key));
    kv_put(s->batch, keyspace_family(key), keyspace_slice(key), buf_slice(row));
}

/* One batch; returns the bytes in it. */
static uint64_t put_turn(struct store *s, uint64_t *messages)
{
    struct keyspace keys = {.shard = SHARD, .generation = 1};
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < TURN_COUNT; i++, ++*messages) {
        uint8_t digest[KEYSPACE_DIGEST_SIZE];
        char conv[32];
        struct keyspace_key key;
        snprintf(conv, sizeof(conv), "conversation-%u", (unsigned)(*messages % CONVS));
        keyspace_entry(&key, &keys, slice_string(conv), *messages / CONVS);
        put_row(s, &key, BODY_SIZE);
        bytes += key.size + BODY_SIZE;
        crypto_random(digest, sizeof(digest));
        keyspace_dedup(&key, &keys, 1, digest);
        put_row(s, &key, DEDUP_BODY_SIZE);
        bytes += key.size + DEDUP_BODY_SIZE;
    }
    write_batch(s);
    return bytes;
}

static uint64_t count_rows(struct store *s, uint32_t generation)
{
    struct keyspace_key from, to;
    struct slice key, value;
    uint64_t count = 0;
    generation_range(SHARD, generation, &from, &to);
    for (enum kv_family family = KV_STATE; family <= KV_DEDUP; family++) {
        struct kv_iterator *i =
            s->kv->ops->iterate(s->kv, family, keyspace_slice(&from), keyspace_slice(&to), false);
        while (s->kv->ops->next(i, &key, &value))
            count++;
        enum rc rc = s->kv->ops->iterator_free(&i);
        CHECK(rc == RC_OK);
    }
    return count;
}

/* ---- The transfer ---- */

struct span {
    uint64_t sum_us, longest_us;
};

static void add(struct span *span, uint64_t begun_us)
{
    uint64_t took_us = now_us() - begun_us;
    span->sum_us += took_us;
    if (took_us > span->longest_us)
        span->longest_us = took_us;
}

static void print_span(const char *name, const struct span *span, uint64_t count)
{
    printf("  %-8s %7.0f us a chunk, longest %7.1f ms\n", name,
           (double)span->sum_us / (double)count, (double)span->longest_us / 1000);
}

static void ship(struct store *from, struct store *into, uint64_t *messages, uint64_t bytes)
{
    struct span turn = {0}, asked = {0}, make = {0}, take = {0}, write = {0}, sync = {0};
    struct msg_chunk chunk;
    struct msg_chunk_ack ack;
    uint64_t chunks = 0, quarter = 1, begun_us = now_us();
    for (;;) {
        uint64_t at_us = now_us();
        bool may = transfer_out_may_begin(from->kv);
        add(&asked, at_us);
        if (may)
            break;
        at_us = now_us();
        (void)put_turn(from, messages);
        add(&turn, at_us);
        usleep(10000);
    }
    printf("settled    in %.1f ms; the longest question %.1f ms, turn meanwhile %.1f ms\n",
           (double)(now_us() - begun_us) / 1000, (double)asked.longest_us / 1000,
           (double)turn.longest_us / 1000);
    begun_us = now_us();
    struct transfer_out *out = transfer_out_new(from->kv, SHARD, 1, 1, 1, 1, 0);
    struct transfer_in *in = transfer_in_new(SHARD, 1);
    printf("begin      %.1f ms\n", (double)(now_us() - begun_us) / 1000);
    while (!transfer_out_is_complete(out)) {
        uint64_t at_us = now_us();
        enum rc rc = transfer_out_next(out, &chunk);
        CHECK(rc == RC_OK);
        add(&make, at_us);
        at_us = now_us();
        transfer_in_on_chunk(in, &chunk, into->batch, 0, &ack);
        add(&take, at_us);
        at_us = now_us();
        write_batch(into);
        add(&write, at_us);
        if (++chunks % LIMIT_CHUNKS_IN_FLIGHT == 0) {
            at_us = now_us();
            sync_store(into);
            add(&sync, at_us);
        }
        ack.from = 1;
        rc = transfer_out_on_ack(out, &ack, 0);
        CHECK(rc == RC_OK);
        if (transfer_out_bytes(out) >= quarter * bytes / 4) {
            printf("  at %4llu MiB resident %llu MiB\n",
                   (unsigned long long)(transfer_out_bytes(out) >> 20),
                   (unsigned long long)resident_mib());
            quarter++;
        }
    }
    uint64_t last_us = now_us();
    (void)transfer_in_switch(in, into->batch);
    write_batch(into);
    sync_store(into);
    double seconds = (double)(now_us() - begun_us) / 1e6;
    double mib = (double)transfer_out_bytes(out) / (1 << 20);
    printf("shipped    %.0f MiB in %.2f s: %.0f MiB/s, %llu chunks; switch %.1f ms\n", mib, seconds,
           mib / seconds, (unsigned long long)chunks, (double)(now_us() - last_us) / 1000);
    print_span("make", &make, chunks);
    print_span("take", &take, chunks);
    print_span("write", &write, chunks);
    print_span("sync", &sync, chunks);
    transfer_out_free(&out);
    transfer_in_free(&in);
}

int main(int count, char **words)
{
    uint64_t bytes = (count > 1 ? strtoull(words[1], NULL, 10) : 300) << 20;
    char made[] = "/tmp/bench-transfer.XXXXXX";
    const char *dir = count > 2 ? words[2] : mkdtemp(made);
    struct store from, into;
    CHECK(dir != NULL);
    crypto_start();
    open_store(&from, dir, "from");
    open_store(&into, dir, "into");
    uint64_t begun_us = now_us();
    uint64_t messages = 0, filled = 0;
    while (filled < bytes)
        filled += put_turn(&from, &messages);
    sync_store(&from);
    printf("filled     %llu messages in %.1f s; resident %llu MiB\n", (unsigned long long)messages,
           (double)(now_us() - begun_us) / 1e6, (unsigned long long)resident_mib());
    ship(&from, &into, &messages, bytes);
    printf("resident   %llu MiB after\n", (unsigned long long)resident_mib());
    CHECK(count_rows(&into, 1) == 0);
    CHECK(count_rows(&into, 2) == 2 * messages);
    close_store(&from);
    close_store(&into);
    if (dir == made) {
        char command[64];
        snprintf(command, sizeof(command), "rm -rf %s", made);
        return system(command) == 0 ? 0 : 1;
    }
    return 0;
}
