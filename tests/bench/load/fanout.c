/* fanout: one group, many members online: what one delivery costs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/bench/load/load.h"

#define CONNECTING_MAX 128u
#define ADD_MAX        500u /* Users in one request. */
#define QUERY_SIZE_MAX 9000u
#define STALL_NS       30000000000u
#define DRAIN_NS       10000000000u

struct member {
    struct conn conn;
    struct fanout *fanout;
    uint64_t last; /* Index of the last message that came. */
    bool is_ready;
    uint32_t hint_body;
};

struct fanout {
    const struct options *options;
    struct loop loop;
    struct conn owner;
    struct member *members;
    uint32_t opened, ready, closed;
    bool is_owner_ready;
    uint32_t answers, refusals;
    char conv[64];
    uint64_t sent, acked, delivered, disorder;
    uint64_t measure_ns, sip_ns;
    struct histogram deliver;
};

static void on_open(struct conn *conn)
{
    (void)conn;
}

static void on_owner_text(struct conn *conn, const char *text, size_t size)
{
    struct fanout *f = conn->owner;
    if (json_is_type(text, size, "resumed")) {
        f->is_owner_ready = true;
    } else if (json_is_type(text, size, "sent")) {
        f->acked++;
    } else if (json_is_type(text, size, "ok") || json_is_type(text, size, "conversation")) {
        f->answers += memmem(text, size, "\"id\":", 5) != NULL;
    } else if (json_is_type(text, size, "error")) {
        if (f->refusals++ == 0)
            fprintf(stderr, "bench-load: %.*s\n", (int)size, text);
    }
}

static void on_member_text(struct conn *conn, const char *text, size_t size)
{
    struct member *member = conn->owner;
    struct fanout *f = member->fanout;
    if (json_is_type(text, size, "message")) {
        unsigned long long stamp, index;
        const char *body = json_field(text, size, "\"body\":\"", &member->hint_body);
        if (body == NULL || sscanf(body, "%16llu%10llu", &stamp, &index) != 2)
            return;
        f->disorder += index != member->last + 1;
        member->last = index;
        if (member->conn.is_slow)
            return;
        f->delivered++;
        histogram_add(&f->deliver, (f->loop.now_ns / 1000 - stamp));
    } else if (json_is_type(text, size, "resumed") && !member->is_ready) {
        member->is_ready = true;
        f->ready++;
        if (f->options->open) {
            char open[128];
            int open_size =
                snprintf(open, sizeof(open), "{\"type\":\"open\",\"conv\":\"%s\"}", f->conv);
            conn_send(conn, open, (size_t)open_size);
        }
    }
}

static void on_owner_closed(struct conn *conn)
{
    load_fail("the owner's connection was closed with %u", conn->close_code);
}

static void on_member_closed(struct conn *conn)
{
    struct member *member = conn->owner;
    if (member->fanout->closed++ == 0)
        fprintf(stderr, "bench-load: a connection was closed with %u\n", conn->close_code);
}

static const struct conn_ops owner_ops = {on_owner_text, on_open, on_owner_closed};
static const struct conn_ops member_ops = {on_member_text, on_open, on_member_closed};

/* The group, then its members in requests of ADD_MAX: each answered before the next. */
static void make_group(struct fanout *f)
{
    const struct options *options = f->options;
    size_t room = 256 + ADD_MAX * 48;
    char *text = malloc(room);
    uint64_t until = now_ns() + STALL_NS;
    if (text == NULL)
        abort();
    snprintf(f->conv, sizeof(f->conv), "%s-fan", options->run);
    for (uint32_t first = 0; first < options->members; first += ADD_MAX) {
        uint32_t wanted = f->answers + 1;
        int size =
            snprintf(text, room, "{\"type\":\"%s\",\"id\":1,\"conv\":\"%s\",\"%s\":[",
                     first == 0 ? "create" : "add", f->conv, first == 0 ? "members" : "users");
        for (uint32_t i = first; i < options->members && i < first + ADD_MAX; i++)
            size += snprintf(text + size, room - (size_t)size, "%s\"%s-m%u\"", i > first ? "," : "",
                             options->run, i);
        size += snprintf(text + size, room - (size_t)size, "]}");
        conn_send(&f->owner, text, (size_t)size);
        while (f->answers < wanted) {
            loop_turn(&f->loop, 100);
            if (f->refusals != 0 || f->loop.now_ns > until)
                load_fail("the group could not be made");
        }
    }
    free(text);
}

static void connect_members(struct fanout *f)
{
    const struct options *options = f->options;
    uint64_t until = now_ns() + STALL_NS + options->members * 10000000ull;
    while (f->ready < options->members) {
        while (f->opened < options->members && f->opened - f->ready < CONNECTING_MAX) {
            struct member *member = &f->members[f->opened];
            char user[64];
            member->fanout = f;
            member->conn.ops = &member_ops;
            member->conn.owner = member;
            member->conn.is_slow = f->opened < options->slow;
            snprintf(user, sizeof(user), "%s-m%u", options->run, f->opened);
            load_connect(&member->conn, &f->loop, options, f->opened++, user);
        }
        loop_turn(&f->loop, 100);
        if (f->closed != 0 || f->loop.now_ns > until)
            load_fail("%u of %u members were resumed", f->ready, options->members);
    }
}

static void send_one(struct fanout *f)
{
    char text[4096];
    uint64_t index = ++f->sent;
    uint32_t fill = f->options->size < 2048 ? f->options->size : 2048;
    int size =
        snprintf(text, sizeof(text),
                 "{\"type\":\"send\",\"id\":%llu,\"conv\":\"%s\",\"cid\":\"%s-%llu\",\"body\":\""
                 "%016llu%010llu",
                 (unsigned long long)index, f->conv, f->options->run, (unsigned long long)index,
                 (unsigned long long)(now_ns() / 1000), (unsigned long long)index);
    for (uint32_t i = 26; i < fill; i++)
        text[size++] = 'x';
    memcpy(text + size, "\"}", 2);
    conn_send(&f->owner, text, (size_t)size + 2);
}

/* Those who are slow take a byte a second. */
static void sip(struct fanout *f)
{
    if (f->loop.now_ns < f->sip_ns)
        return;
    f->sip_ns = f->loop.now_ns + 1000000000u;
    for (uint32_t i = 0; i < f->options->slow; i++)
        conn_sip(&f->members[i].conn);
}

/* They read as fast as others at last: until each has everything, or for so long. */
static uint32_t count_behind(const struct fanout *f)
{
    uint32_t behind = 0;
    for (uint32_t i = 0; i < f->options->slow; i++)
        behind += f->members[i].last < f->sent;
    return behind;
}

static void drink(struct fanout *f)
{
    for (uint32_t i = 0; i < f->options->slow; i++)
        conn_drink(&f->members[i].conn);
    uint64_t end_ns = now_ns() + DRAIN_NS;
    while (count_behind(f) > 0 && f->loop.now_ns < end_ns)
        loop_turn(&f->loop, 20);
}

static uint64_t wanted(const struct fanout *f)
{
    return f->sent * (f->options->members - f->options->slow);
}

static void drive(struct fanout *f)
{
    const struct options *options = f->options;
    double rate = options->rate > 0 ? options->rate : 10;
    uint64_t start_ns = now_ns();
    uint64_t end_ns = start_ns + (uint64_t)options->seconds * 1000000000u;
    for (f->loop.now_ns = start_ns; f->loop.now_ns < end_ns; loop_turn(&f->loop, 1)) {
        sip(f);
        while ((double)f->sent < (double)(f->loop.now_ns - start_ns) * rate / 1e9)
            send_one(f);
    }
    while (f->delivered < wanted(f) && f->loop.now_ns < end_ns + DRAIN_NS)
        loop_turn(&f->loop, 20);
}

static void report(const struct fanout *f, const struct cpu *before, const struct cpu *after,
                   double seconds, double self)
{
    const struct options *options = f->options;
    report_begin(options->is_json, "fanout");
    report_number("members", options->members);
    report_number("sent", (double)f->sent);
    report_number("acked", (double)f->acked);
    report_number("delivered", (double)f->delivered);
    report_number("delivered_per_s", (double)f->delivered / seconds);
    report_latency("deliver", &f->deliver);
    double servers = report_cpu(&options->pids, before, after);
    if (servers > 0)
        report_number("cpu_us_per_delivery", servers * 1e6 / (double)f->delivered);
    report_number("cpu_client_s", self);
    report_number("errors", f->refusals);
    report_number("closed", f->closed);
    report_number("missing", (double)wanted(f) - (double)f->delivered);
    if (options->slow != 0)
        report_number("slow_behind", count_behind(f));
    report_number("out_of_order", (double)f->disorder);
    report_end();
}

int fanout_run(const struct options *options)
{
    struct fanout f = {.options = options};
    struct cpu before[PIDS_MAX], after[PIDS_MAX];
    char user[64];
    loop_init(&f.loop);
    f.members = calloc(options->members, sizeof(*f.members));
    if (f.members == NULL)
        abort();
    f.owner.ops = &owner_ops;
    f.owner.owner = &f;
    snprintf(user, sizeof(user), "%s-owner", options->run);
    load_connect(&f.owner, &f.loop, options, 0, user);
    for (uint64_t until = now_ns() + STALL_NS; !f.is_owner_ready; loop_turn(&f.loop, 100))
        if (f.loop.now_ns > until)
            load_fail("the owner was not resumed");
    make_group(&f);
    connect_members(&f);

    cpu_sample(&options->pids, before);
    struct cpu self_before = cpu_self();
    uint64_t start_ns = now_ns();
    drive(&f);
    double seconds = (double)(now_ns() - start_ns) / 1e9;
    cpu_sample(&options->pids, after);
    struct cpu self = cpu_self();
    drink(&f);
    report(&f, before, after, seconds,
           self.user_s + self.sys_s - self_before.user_s - self_before.sys_s);
    bool held = f.delivered == wanted(&f) && f.disorder == 0 && count_behind(&f) == 0;
    for (uint32_t i = 0; i < options->members; i++)
        conn_close(&f.members[i].conn);
    conn_close(&f.owner);
    free(f.members);
    loop_fini(&f.loop);
    return held ? 0 : 1;
}
