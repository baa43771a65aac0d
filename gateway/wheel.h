/* wheel - the timers of many sessions: a hashed timing wheel (Varghese and Lauck 1987, scheme 6).
 *
 * Setting and cancelling cost O(1) however many timers there are; libwebsockets' own timers are
 * sorted lists, where a hundred thousand connections pay milliseconds for each insert. A timer
 * fires at the first tick at or after its time; one that lies more than a round ahead is looked at
 * once a round.
 *
 * Loop thread only. */
#ifndef GATEWAY_WHEEL_H
#define GATEWAY_WHEEL_H

#include <stdbool.h>
#include <stdint.h>

#include "mesh/base/list.h"

#define WHEEL_TICK_US 10000u
#define WHEEL_SLOTS   2048u /* A power of two; a round is 20 s. */

struct wheel_timer {
    struct list node; /* On a slot, on the list of the expired, or on itself where not set. */
    uint64_t tick;    /* When it fires. */
};

struct wheel {
    struct list slots[WHEEL_SLOTS];
    uint64_t used[WHEEL_SLOTS / 64]; /* A bit for each slot that may hold timers. */
    struct list expired;
    uint64_t tick; /* The next one to be looked at. */
};

void wheel_init(struct wheel *wheel, uint64_t now_us);

void wheel_timer_init(struct wheel_timer *timer);
/* Fire at `due_us`, whatever was set before. */
void wheel_set(struct wheel *wheel, struct wheel_timer *timer, uint64_t due_us);
void wheel_cancel(struct wheel_timer *timer); /* Fine where it is not set. */
bool wheel_is_set(const struct wheel_timer *timer);
/* When a set timer fires. */
uint64_t wheel_timer_due_us(const struct wheel_timer *timer);

/* A timer whose time has come, no longer set; NULL when there is none left. */
struct wheel_timer *wheel_next(struct wheel *wheel, uint64_t now_us);

/* When wheel_next() is worth a call again; ENV_NEVER where no timer is set. May be too early, since
 * a slot also holds timers of later rounds, never too late. */
uint64_t wheel_due_us(const struct wheel *wheel);

#endif
