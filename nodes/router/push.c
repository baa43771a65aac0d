#include "nodes/router/push.h"

#include <stdio.h>

#include "mesh/base/check.h"
#include "mesh/base/log.h"
#include "mesh/base/mem.h"
#include "mesh/base/metrics.h"
#include "nodes/router/push_private.h"

#define TICK_US 100000u
/* A client gathers its acks for half a second, a gateway its receipts for a whole one: what reached
 * somebody within LIMIT_PUSH_WAIT_MS is known here by then. */
#define SETTLE_US ((uint64_t)(LIMIT_PUSH_WAIT_MS + LIMIT_RECEIPT_MS + 500) * 1000)
/* A new leader: by then gateways that live have watched again and sent their cursors again. */
#define GRACE_US       ((uint64_t)LIMIT_GATEWAY_LEASE_MS * 1000)
#define CONFIRM_US     1000000u /* cmd_pushed that is not applied by then is given again. */
#define AGAIN_US       1000000u /* A shard that could not be read is tried again. */
#define GATHER_US      200000u  /* A post that has gathered for so long leaves as it is. */
#define TURN_ROWS      512u     /* Rows read in one turn, */
#define WALK_ROWS      256u     /* and heads. */
#define WALK_AGAIN_US  100000u
#define CONVS_MAX      131072u /* Known at a time. */
#define BACKOFF_MS     1000u
#define BACKOFF_MS_MAX 60000u
#define LOG_US         60000000u

static struct slice conv_key(const void *thing)
{
    return ((const struct push_conv *)thing)->id;
}

/* ---- Conversations ---- */

static void leave_list(struct push *p, struct push_conv *conv)
{
    list_remove(&conv->link);
    p->on_wheel -= conv->is_on_wheel;
    conv->is_on_wheel = false;
}

static void wait_until(struct push *p, struct push_conv *conv, uint64_t due_us)
{
    uint64_t tick = due_us / TICK_US + 1;
    if (tick <= p->tick)
        tick = p->tick + 1;
    if (tick >= p->tick + PUSH_WHEEL_SLOTS)
        tick = p->tick + PUSH_WHEEL_SLOTS - 1;
    list_append(&p->wheel[tick % PUSH_WHEEL_SLOTS], &conv->link);
    conv->is_on_wheel = true;
    p->on_wheel++;
}

static struct push_conv *add_conv(struct push *p, uint32_t shard, struct slice id, uint64_t newest)
{
    char *bytes = mem_zero(sizeof(struct push_conv) + id.size);
    struct push_conv *conv = (void *)bytes;
    memcpy(bytes + sizeof(*conv), id.base, id.size);
    conv->id = slice_of(bytes + sizeof(*conv), id.size);
    conv->shard = shard;
    conv->upto = newest;
    conv->newest = newest;
    conv->newest_us = env_now_us(p->env);
    list_init(&conv->link);
    list_append(&p->shards[shard].convs, &conv->of_shard);
    map_put(&p->convs, conv);
    return conv;
}

static void free_conv(struct push *p, struct push_conv *conv)
{
    push_given_forget(p, conv);
    mem_free(conv->place);
    mem_free(conv);
}

static void forget(struct push *p, struct push_conv *conv)
{
    leave_list(p, conv);
    list_remove(&conv->of_shard);
    map_remove(&p->convs, conv->id);
    free_conv(p, conv);
}

static uint64_t later(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

void push_note(struct push *p, uint32_t shard, struct slice id, uint64_t seq)
{
    struct push_shard *s = &p->shards[shard];
    struct push_conv *conv = map_get(&p->convs, id);
    if (conv != NULL) {
        conv->newest = seq;
        conv->newest_us = env_now_us(p->env);
    } else if (p->convs.count < CONVS_MAX) {
        conv = add_conv(p, shard, id, seq);
        wait_until(p, conv, later(conv->newest_us + SETTLE_US, s->ready_us));
    } else { /* Its cursor stays behind, and so it is found. */
        s->has_missed = true;
        if (list_is_empty(&s->walking))
            list_append(&p->walking, &s->walking);
    }
}

static void submit(struct push *p, const struct push_conv *conv)
{
    const struct msg_cmd_pushed pushed = {.conv = conv->id, .seq = conv->told};
    buf_clear(p->entries);
    record_encode(p->entries, &msg_cmd_pushed_desc, &pushed);
    p->host.submit(p->host.context, conv->shard, buf_slice(p->entries));
}

/* Nothing is left to be told up to conv->upto. The cursor follows where anybody was behind; where
 * nobody was, it stays for the next time: looking again would find the same. */
static void finish(struct push *p, struct push_conv *conv, bool any_behind, uint64_t pushed)
{
    uint64_t due_us = env_now_us(p->env) + CONFIRM_US;
    mem_free(conv->place);
    conv->place = NULL;
    conv->is_old = false;
    if (any_behind)
        conv->told = later(conv->told, conv->upto);
    if (conv->told > pushed) {
        submit(p, conv);
    } else if (conv->newest == conv->upto) {
        forget(p, conv);
        return;
    }
    if (conv->newest > conv->upto) {
        conv->upto = conv->newest;
        due_us = conv->newest_us + SETTLE_US;
    }
    wait_until(p, conv, due_us);
}

/* ---- Leading ---- */

void push_lead(struct push *p, uint32_t shard)
{
    struct push_shard *s = &p->shards[shard];
    CHECK(!s->is_led);
    s->is_led = true;
    s->has_missed = false;
    s->scan = (struct machine_scan){0};
    s->ready_us = env_now_us(p->env) + GRACE_US;
    list_append(&p->walking, &s->walking);
}

/* What was gathered, but not posted, is gathered again. */
static void drop_post(struct push *p)
{
    uint64_t again_us = env_now_us(p->env) + AGAIN_US;
    if (p->work.conv != NULL)
        list_append(&p->posting, &p->work.conv->link);
    p->work.conv = NULL;
    LIST_EACH(node, &p->posting)
    {
        struct push_conv *conv = LIST_ENTRY(node, struct push_conv, link);
        list_remove(node);
        wait_until(p, conv, again_us);
    }
    buf_unref(&p->body);
    p->events = 0;
}

void push_lose(struct push *p, uint32_t shard)
{
    struct push_shard *s = &p->shards[shard];
    if (!s->is_led)
        return;
    s->is_led = false;
    list_remove(&s->walking);
    LIST_EACH(node, &s->convs)
    {
        struct push_conv *conv = LIST_ENTRY(node, struct push_conv, of_shard);
        if (conv == p->work.conv)
            p->work.conv = NULL;
        if (conv == p->cut)
            p->cut = NULL;
        forget(p, conv);
    }
    if (!p->is_posting) /* The next leader tells its members, so we do not. */
        drop_post(p);
}

struct walking {
    struct push *push;
    uint32_t shard;
};

static void on_untold(void *context, struct slice id, uint64_t newest)
{
    const struct walking *walking = context;
    struct push *p = walking->push;
    struct push_conv *conv = map_get(&p->convs, id);
    if (conv != NULL)
        return; /* What is known of it is newer. */
    conv = add_conv(p, walking->shard, id, newest);
    conv->is_old = true;
    wait_until(p, conv, p->shards[walking->shard].ready_us);
}

static void end_walk(struct push *p, struct push_shard *s)
{
    list_remove(&s->walking);
    s->scan = (struct machine_scan){0};
    if (s->has_missed)
        list_append(&p->walking, &s->walking);
    s->has_missed = false;
}

static void walk(struct push *p)
{
    struct push_shard *s = LIST_FIRST(&p->walking, struct push_shard, walking);
    uint64_t now_us = env_now_us(p->env);
    if (s == NULL || now_us < p->walk_not_before_us)
        return;
    struct walking walking = {.push = p, .shard = (uint32_t)(s - p->shards)};
    struct machine *m = p->host.machine(p->host.context, walking.shard);
    if (m == NULL || p->convs.count + WALK_ROWS > CONVS_MAX) {
        list_remove(&s->walking); /* The others first. */
        list_append(&p->walking, &s->walking);
        p->walk_not_before_us = now_us + WALK_AGAIN_US;
        return;
    }
    uint64_t wall_ms = env_wall_ms(p->env);
    s->scan.rows_left = WALK_ROWS;
    enum rc rc = machine_walk_untold(m, wall_ms > PUSH_OLD_MS ? wall_ms - PUSH_OLD_MS : 0, &s->scan,
                                     on_untold, &walking);
    if (rc != RC_OK) {
        list_remove(&s->walking);
        p->host.on_failed(p->host.context, walking.shard, rc);
    } else if (s->scan.is_over) {
        end_walk(p, s);
    }
}

/* ---- Posts ---- */

static void post(struct push *p)
{
    struct push_work *work = &p->work;
    p->cut = NULL;
    if (work->conv != NULL && work->has_events) {
        p->cut = work->conv;
        push_gather_place(p, &p->cut_place);
        list_append(&p->posting, &work->conv->link);
        work->conv = NULL;
    }
    buf_append_string(p->body, "]}");
    p->is_posting = true;
    metric_add(push_posts_total, 1);
    p->port.post(p->port.context, p->body);
    buf_unref(&p->body);
}

/* The one in work, or the next. */
static bool has_work(struct push *p)
{
    if (p->work.conv != NULL)
        return true;
    struct push_conv *conv = LIST_FIRST(&p->due, struct push_conv, link);
    if (conv == NULL)
        return false;
    list_remove(&conv->link);
    /* The webhook was away: all that has waited meanwhile goes together. But not what was cut: of
     * the pages before, nobody would hear of it. */
    if (conv->place == NULL && conv->newest_us + SETTLE_US <= env_now_us(p->env))
        conv->upto = conv->newest;
    push_gather_begin(p, conv);
    return true;
}

static void gather(struct push *p)
{
    struct push_work *work = &p->work;
    uint64_t now_us = env_now_us(p->env);
    if (p->is_posting || now_us < p->not_before_us)
        return;
    while (p->rows_left > 0 && !push_gather_is_full(p) && has_work(p)) {
        enum push_step step = push_gather_step(p);
        if (step == PUSH_GOES_ON)
            continue;
        if (step == PUSH_FAILED && work->has_events) {
            drop_post(p);
            return;
        }
        struct push_conv *conv = work->conv;
        work->conv = NULL;
        if (step == PUSH_FAILED)
            wait_until(p, conv, now_us + AGAIN_US);
        else if (work->has_events)
            list_append(&p->posting, &conv->link);
        else
            finish(p, conv, work->any_behind, work->pushed);
    }
    bool is_all = work->conv == NULL && list_is_empty(&p->due);
    if (p->events > 0 && (is_all || push_gather_is_full(p) || now_us >= p->since_us + GATHER_US))
        post(p);
}

void push_on_posted(struct push *p, uint32_t status, const char *reason)
{
    CHECK(p->is_posting && !p->has_outcome);
    p->has_outcome = true;
    p->status = status;
    snprintf(p->reason, sizeof(p->reason), "%s", reason);
}

static void on_confirmed(struct push *p)
{
    if (p->failures > 0)
        log_info("webhook_works", "failures=%u", p->failures);
    p->failures = 0;
    p->log_not_before_us = 0;
    p->events_max =
        p->events_max * 2 < LIMIT_PUSH_EVENTS_MAX ? p->events_max * 2 : LIMIT_PUSH_EVENTS_MAX;
    metric_add(push_events_total, p->events);
    LIST_EACH(node, &p->posting)
    {
        struct push_conv *conv = LIST_ENTRY(node, struct push_conv, link);
        list_remove(node);
        if (conv != p->cut) {
            finish(p, conv, true, 0);
            continue;
        }
        if (conv->place == NULL)
            conv->place = mem_new(struct push_place);
        *conv->place = p->cut_place;
        list_append(&p->due, node);
    }
}

/* 1, 2, 4 .. 60 s, and a quarter more at random: routers that failed together do not come back
 * together. */
static uint64_t backoff_ms(struct push *p)
{
    uint32_t doublings = p->failures < 7 ? p->failures - 1 : 6;
    uint64_t ms = (uint64_t)BACKOFF_MS << doublings;
    ms += env_random(p->env) % (ms / 4);
    return ms < BACKOFF_MS_MAX ? ms : BACKOFF_MS_MAX;
}

static void on_refused(struct push *p)
{
    uint64_t now_us = env_now_us(p->env);
    p->failures++;
    metric_add(push_failed_total, 1);
    if (p->status / 100 == 4 && p->events_max > 1)
        p->events_max /= 2;
    uint64_t wait_ms = backoff_ms(p);
    p->not_before_us = now_us + wait_ms * 1000;
    list_append_all(&p->due, &p->posting);
    if (now_us < p->log_not_before_us)
        return;
    p->log_not_before_us = now_us + LOG_US;
    log_warn("webhook_failed", "status=%u failures=%u waiting=%u again_ms=%lu reason=\"%s\"",
             p->status, p->failures, push_waiting(p), (unsigned long)wait_ms, p->reason);
}

static void settle(struct push *p)
{
    if (!p->has_outcome)
        return;
    p->has_outcome = false;
    p->is_posting = false;
    if (p->status / 100 == 2)
        on_confirmed(p);
    else
        on_refused(p);
    p->cut = NULL;
    p->events = 0;
}

/* ---- The turn ---- */

static void turn_wheel(struct push *p)
{
    uint64_t now = env_now_us(p->env) / TICK_US;
    for (uint32_t i = 0; p->tick < now && i < PUSH_WHEEL_SLOTS; i++) {
        p->tick++;
        LIST_EACH(node, &p->wheel[p->tick % PUSH_WHEEL_SLOTS])
        {
            leave_list(p, LIST_ENTRY(node, struct push_conv, link));
            list_append(&p->due, node);
        }
    }
    p->tick = later(p->tick, now);
}

void push_turn(struct push *p)
{
    settle(p);
    turn_wheel(p);
    p->rows_left = TURN_ROWS;
    if (!p->is_stopped) {
        walk(p);
        gather(p);
    }
    metric_set(push_waiting, push_waiting(p));
}

static uint64_t sooner(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

uint64_t push_due_us(const struct push *p)
{
    uint64_t due_us = ENV_NEVER;
    if (p->has_outcome)
        return 0;
    if (p->is_stopped)
        return ENV_NEVER;
    if (p->on_wheel > 0)
        due_us = (p->tick + 1) * TICK_US;
    if (!list_is_empty(&p->walking))
        due_us = sooner(due_us, p->walk_not_before_us);
    if (!p->is_posting && (p->work.conv != NULL || p->events > 0 || !list_is_empty(&p->due)))
        due_us = sooner(due_us, p->not_before_us);
    return due_us;
}

void push_stop(struct push *p)
{
    p->is_stopped = true;
}

uint32_t push_waiting(const struct push *p)
{
    return (uint32_t)p->convs.count - p->on_wheel;
}

/* ---- Life ---- */

struct push *push_new(const struct push_port *port, const struct push_host *host, struct env *env,
                      uint32_t shards)
{
    struct push *p = mem_new(struct push);
    p->port = *port;
    p->host = *host;
    p->env = env;
    p->shard_count = shards;
    p->shards = mem_zero(shards * sizeof(*p->shards));
    for (uint32_t i = 0; i < shards; i++) {
        list_init(&p->shards[i].convs);
        list_init(&p->shards[i].walking);
    }
    for (uint32_t i = 0; i < PUSH_WHEEL_SLOTS; i++)
        list_init(&p->wheel[i]);
    map_init(&p->convs, conv_key);
    list_init(&p->due);
    list_init(&p->walking);
    list_init(&p->posting);
    p->tick = env_now_us(env) / TICK_US;
    p->events_max = LIMIT_PUSH_EVENTS_MAX;
    p->work.members = mem_alloc(LIMIT_PUSH_USERS_MAX * sizeof(*p->work.members));
    p->entries = buf_new(1024);
    return p;
}

void push_free(struct push **push)
{
    struct push *p = *push;
    *push = NULL;
    if (p == NULL)
        return;
    size_t at = 0;
    for (struct push_conv *conv; (conv = map_next(&p->convs, &at)) != NULL;)
        free_conv(p, conv);
    map_fini(&p->convs);
    buf_unref(&p->body);
    buf_unref(&p->entries);
    mem_free(p->work.members);
    mem_free(p->shards);
    mem_free(p);
}
