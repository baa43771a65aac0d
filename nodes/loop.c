#include "nodes/loop.h"

#include <signal.h>
#include <stddef.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

#include "mesh/base/check.h"
#include "mesh/base/crypto.h"
#include "mesh/base/mem.h"

/* Packets in one turn: enough to be worth a batch, few enough that clients do not wait for it. */
#define BUS_BUDGET 256u

/* It never goes back, and goes on while the machine is suspended, as those of the others do: a
 * leader that slept must not take its lease for a fresh one. CLOCK_MONOTONIC stands still. */
#define CLOCK CLOCK_BOOTTIME

enum { SIGNAL_TERM, SIGNAL_INT, SIGNAL_HUP, SIGNAL_COUNT };

struct loop {
    struct env env;
    uv_loop_t uv;
    uv_poll_t bus_poll; /* Only wakes: what came is taken in the turn. */
    uv_poll_t timer_poll;
    uv_prepare_t prepare;
    uv_check_t check;
    uv_idle_t idle; /* Active while the next turn is to come without a sleep. */
    uv_async_t wake;
    uv_signal_t signals[SIGNAL_COUNT];
    int timer_fd;
    uint64_t armed_us; /* When the timerfd fires, ENV_NEVER while it does not. */
    uint64_t now_us;   /* Valid while now_is_fresh. */
    bool now_is_fresh;
    uint64_t random; /* State of splitmix64 (Steele, Lea and Flood 2014). */
    struct loop_node node;
    struct zmq_bus *bus; /* Borrowed while running. */
    bool bus_has_more;
    bool was_told_to_stop;
};

static struct loop *loop_of(struct env *env)
{
    return (struct loop *)(void *)((char *)env - offsetof(struct loop, env));
}

static uint64_t env_now(struct env *env)
{
    struct loop *loop = loop_of(env);
    if (!loop->now_is_fresh) {
        struct timespec now;
        clock_gettime(CLOCK, &now);
        loop->now_us = (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
        loop->now_is_fresh = true;
    }
    return loop->now_us;
}

static void refresh(struct env *env)
{
    loop_of(env)->now_is_fresh = false;
}

static uint64_t env_wall(struct env *env)
{
    (void)env;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static uint64_t env_draw(struct env *env)
{
    struct loop *loop = loop_of(env);
    uint64_t z = loop->random += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* ---- The turn ---- */

static void on_bus(uv_poll_t *handle, int status, int events)
{
    (void)handle;
    (void)status;
    (void)events;
}

static void on_idle(uv_idle_t *handle)
{
    (void)handle;
}

static void on_timer(uv_poll_t *handle, int status, int events)
{
    (void)status;
    (void)events;
    struct loop *loop = handle->data;
    uint64_t count;
    if (read(loop->timer_fd, &count, sizeof(count)) == (ssize_t)sizeof(count))
        loop->armed_us = ENV_NEVER;
}

static void on_check(uv_check_t *handle)
{
    struct loop *loop = handle->data;
    env_refresh(&loop->env);
    loop->bus_has_more = zmq_bus_poll(loop->bus, BUS_BUDGET);
    if (loop->node.turn != NULL)
        loop->node.turn(loop->node.context);
}

/* The timerfd fires at due_us or a little earlier: one that is armed for an earlier time stays,
 * since waking once for nothing is cheaper than a system call each turn. */
static void arm_timer(struct loop *loop, uint64_t due_us)
{
    if (due_us >= loop->armed_us)
        return;
    struct itimerspec at = {.it_value = {.tv_sec = (time_t)(due_us / 1000000),
                                         .tv_nsec = (long)(due_us % 1000000) * 1000}};
    CHECK(timerfd_settime(loop->timer_fd, TFD_TIMER_ABSTIME, &at, NULL) == 0);
    loop->armed_us = due_us;
}

/* Before the sleep: is there a reason not to, or an end to it? */
static void on_prepare(uv_prepare_t *handle)
{
    struct loop *loop = handle->data;
    uint64_t due_us = zmq_bus_due_us(loop->bus);
    if (loop->node.due_us != NULL) {
        uint64_t node_due_us = loop->node.due_us(loop->node.context);
        due_us = node_due_us < due_us ? node_due_us : due_us;
    }
    bool at_once =
        loop->bus_has_more || zmq_bus_has_input(loop->bus) || due_us <= env_now_us(&loop->env);
    if (at_once) {
        uv_idle_start(&loop->idle, on_idle);
    } else {
        uv_idle_stop(&loop->idle);
        if (due_us != ENV_NEVER)
            arm_timer(loop, due_us);
    }
    env_refresh(&loop->env);
}

static void on_wake(uv_async_t *handle)
{
    struct loop *loop = handle->data;
    if (loop->node.on_wake != NULL)
        loop->node.on_wake(loop->node.context);
}

static void on_signal(uv_signal_t *handle, int number)
{
    struct loop *loop = handle->data;
    if (number == SIGHUP) {
        if (loop->node.on_reload != NULL)
            loop->node.on_reload(loop->node.context);
        return;
    }
    bool again = loop->was_told_to_stop;
    loop->was_told_to_stop = true;
    if (loop->node.on_stop != NULL)
        loop->node.on_stop(loop->node.context, again);
    else
        loop_stop(loop);
}

/* ---- Life ---- */

struct loop *loop_new(void)
{
    struct loop *loop = mem_zero(sizeof(*loop));
    loop->env = (struct env){
        .now_us = env_now, .wall_ms = env_wall, .random = env_draw, .refresh = refresh};
    loop->random = crypto_random_u64();
    loop->armed_us = ENV_NEVER;
    CHECK(uv_loop_init(&loop->uv) == 0);
    loop->timer_fd = timerfd_create(CLOCK, TFD_NONBLOCK | TFD_CLOEXEC);
    CHECK(loop->timer_fd >= 0);
    CHECK(uv_poll_init(&loop->uv, &loop->timer_poll, loop->timer_fd) == 0);
    loop->timer_poll.data = loop;
    CHECK(uv_poll_start(&loop->timer_poll, UV_READABLE, on_timer) == 0);
    CHECK(uv_prepare_init(&loop->uv, &loop->prepare) == 0);
    CHECK(uv_check_init(&loop->uv, &loop->check) == 0);
    CHECK(uv_idle_init(&loop->uv, &loop->idle) == 0);
    CHECK(uv_async_init(&loop->uv, &loop->wake, on_wake) == 0);
    loop->prepare.data = loop;
    loop->check.data = loop;
    loop->wake.data = loop;
    static const int numbers[SIGNAL_COUNT] = {SIGTERM, SIGINT, SIGHUP};
    for (int i = 0; i < SIGNAL_COUNT; i++) {
        CHECK(uv_signal_init(&loop->uv, &loop->signals[i]) == 0);
        loop->signals[i].data = loop;
        CHECK(uv_signal_start(&loop->signals[i], on_signal, numbers[i]) == 0);
    }
    return loop;
}

void loop_free(struct loop **loop)
{
    struct loop *l = *loop;
    *loop = NULL;
    if (l == NULL)
        return;
    uv_close((uv_handle_t *)&l->timer_poll, NULL);
    uv_close((uv_handle_t *)&l->prepare, NULL);
    uv_close((uv_handle_t *)&l->check, NULL);
    uv_close((uv_handle_t *)&l->idle, NULL);
    uv_close((uv_handle_t *)&l->wake, NULL);
    for (int i = 0; i < SIGNAL_COUNT; i++)
        uv_close((uv_handle_t *)&l->signals[i], NULL);
    uv_run(&l->uv, UV_RUN_DEFAULT); /* Ends when the last handle is closed. */
    int status = uv_loop_close(&l->uv);
    CHECK(status == 0);
    close(l->timer_fd);
    mem_free(l);
}

struct env *loop_env(struct loop *loop)
{
    return &loop->env;
}

struct uv_loop_s *loop_uv(struct loop *loop)
{
    return &loop->uv;
}

void loop_run(struct loop *loop, const struct loop_node *node, struct zmq_bus *bus)
{
    loop->node = *node;
    loop->bus = bus;
    CHECK(uv_poll_init(&loop->uv, &loop->bus_poll, zmq_bus_fd(bus)) == 0);
    CHECK(uv_poll_start(&loop->bus_poll, UV_READABLE, on_bus) == 0);
    CHECK(uv_prepare_start(&loop->prepare, on_prepare) == 0);
    CHECK(uv_check_start(&loop->check, on_check) == 0);
    uv_run(&loop->uv, UV_RUN_DEFAULT);
    uv_prepare_stop(&loop->prepare);
    uv_check_stop(&loop->check);
    uv_idle_stop(&loop->idle);
    uv_close((uv_handle_t *)&loop->bus_poll, NULL);
    loop->node = (struct loop_node){0};
    loop->bus = NULL;
}

void loop_stop(struct loop *loop)
{
    uv_stop(&loop->uv);
}

void loop_wake(void *loop)
{
    struct loop *l = loop;
    uv_async_send(&l->wake);
}
