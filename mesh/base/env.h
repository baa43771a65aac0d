/* env - the first of four ports: what a node may ask of the world besides its peers and its disk.
 *
 * The cores (router, gateway) are plain computation. They never sleep, start timers or read a clock
 * of their own: the loop calls x_turn() when something came in or when x_due_us() says that time is
 * due, and the time is what env says. In production that is the machine (nodes/loop.c); in the
 * simulator one seed decides everything (tests/sim/). */
#ifndef MESH_BASE_ENV_H
#define MESH_BASE_ENV_H

#include <stddef.h>
#include <stdint.h>

#define ENV_NEVER UINT64_MAX /* As a due time: nothing is waiting. */

struct env {
    uint64_t (*now_us)(struct env *env);  /* Monotonic; the same value until env_refresh(). */
    uint64_t (*wall_ms)(struct env *env); /* Since 1970; may jump. */
    uint64_t (*random)(struct env *env);  /* 64 random bits, not for keys. */
    void (*refresh)(struct env *env);     /* NULL: now_us needs none. */
};

/* Before each turn, and for each packet that comes in it: a process may have been stopped since the
 * clock was read, and what came behind must not be judged by an hour that is past. */
static inline void env_refresh(struct env *env)
{
    if (env->refresh != NULL)
        env->refresh(env);
}

static inline uint64_t env_now_us(struct env *env)
{
    return env->now_us(env);
}

static inline uint64_t env_now_ms(struct env *env)
{
    return env->now_us(env) / 1000;
}

static inline uint64_t env_wall_ms(struct env *env)
{
    return env->wall_ms(env);
}

static inline uint64_t env_random(struct env *env)
{
    return env->random(env);
}

#endif
