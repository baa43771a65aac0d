/* tap - a store that tells what is written into it.
 *
 * It forwards everything to another store. Entries of conversations that a batch puts are told once
 * the batch is written, and so exist for everyone: that is the truth which the oracle holds clients
 * to. What a crash forgets is applied again from the log and told again, byte for byte the same. */
#ifndef TESTS_SIM_TAP_H
#define TESTS_SIM_TAP_H

#include "storage/kv.h"

struct tap_listener {
    void *context;
    /* `record` is the entry as it goes out; `messages` counts those up to and including it. */
    void (*on_entry)(void *context, struct slice conv, uint64_t seq, uint64_t messages,
                     struct slice record);
    /* Is the disk so quick now that a sync is over at once? */
    bool (*is_quick)(void *disk_context);
    void *disk_context;
};

/* Takes `inner`, a mem_kv: ops->close closes both. */
struct kv *tap_new(struct kv *inner, const struct tap_listener *listener);

#endif
