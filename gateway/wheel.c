#include "gateway/wheel.h"

#include "mesh/base/check.h"
#include "mesh/base/env.h"

static size_t slot_of(uint64_t tick)
{
    return tick & (WHEEL_SLOTS - 1);
}

void wheel_init(struct wheel *wheel, uint64_t now_us)
{
    for (size_t i = 0; i < WHEEL_SLOTS; i++)
        list_init(&wheel->slots[i]);
    for (size_t i = 0; i < WHEEL_SLOTS / 64; i++)
        wheel->used[i] = 0;
    list_init(&wheel->expired);
    wheel->tick = now_us / WHEEL_TICK_US;
}

void wheel_timer_init(struct wheel_timer *timer)
{
    list_init(&timer->node);
    timer->tick = 0;
}

void wheel_set(struct wheel *wheel, struct wheel_timer *timer, uint64_t due_us)
{
    CHECK(due_us < ENV_NEVER - WHEEL_TICK_US);
    uint64_t tick = (due_us + WHEEL_TICK_US - 1) / WHEEL_TICK_US;
    timer->tick = tick > wheel->tick ? tick : wheel->tick;
    size_t slot = slot_of(timer->tick);
    list_remove(&timer->node);
    list_append(&wheel->slots[slot], &timer->node);
    wheel->used[slot / 64] |= UINT64_C(1) << (slot % 64);
}

void wheel_cancel(struct wheel_timer *timer)
{
    list_remove(&timer->node); /* The slot's bit stays: it is cleared when the slot is looked at. */
}

bool wheel_is_set(const struct wheel_timer *timer)
{
    return !list_is_empty(&timer->node);
}

uint64_t wheel_timer_due_us(const struct wheel_timer *timer)
{
    return timer->tick * WHEEL_TICK_US;
}

static void visit(struct wheel *wheel, size_t slot, uint64_t now_tick)
{
    struct list *timers = &wheel->slots[slot];
    LIST_EACH(node, timers)
    {
        struct wheel_timer *timer = LIST_ENTRY(node, struct wheel_timer, node);
        if (timer->tick > now_tick)
            continue;
        list_remove(node);
        list_append(&wheel->expired, node);
    }
    if (list_is_empty(timers))
        wheel->used[slot / 64] &= ~(UINT64_C(1) << (slot % 64));
}

struct wheel_timer *wheel_next(struct wheel *wheel, uint64_t now_us)
{
    uint64_t now_tick = now_us / WHEEL_TICK_US;
    /* After a long pause every slot is looked at once, not once for each round missed. */
    if (now_tick >= wheel->tick + WHEEL_SLOTS)
        wheel->tick = now_tick - WHEEL_SLOTS + 1;
    while (wheel->tick <= now_tick) {
        visit(wheel, slot_of(wheel->tick), now_tick);
        wheel->tick++;
    }
    struct wheel_timer *timer = LIST_FIRST(&wheel->expired, struct wheel_timer, node);
    if (timer != NULL)
        list_remove(&timer->node);
    return timer;
}

uint64_t wheel_due_us(const struct wheel *wheel)
{
    if (!list_is_empty(&wheel->expired))
        return 0;
    for (uint64_t ahead = 0; ahead < WHEEL_SLOTS;) {
        size_t slot = slot_of(wheel->tick + ahead);
        uint64_t word = wheel->used[slot / 64] >> (slot % 64);
        if (word != 0)
            return (wheel->tick + ahead + (uint64_t)__builtin_ctzll(word)) * WHEEL_TICK_US;
        ahead += 64 - slot % 64;
    }
    /* The word the search began in, its low bits: the far end of the round. */
    size_t first = slot_of(wheel->tick);
    uint64_t low = wheel->used[first / 64] & ((UINT64_C(1) << (first % 64)) - 1);
    if (low == 0)
        return ENV_NEVER;
    uint64_t ahead = WHEEL_SLOTS - first % 64 + (uint64_t)__builtin_ctzll(low);
    return (wheel->tick + ahead) * WHEEL_TICK_US;
}
