/* tap - a router's store that tells what is written into it.
 *
 * It forwards everything to another store. Entries of conversations that a batch puts are told once
 * the batch is written. What the first of the replicas stores exists for everyone: that is the
 * truth which the oracle holds clients to. The other replicas tell it again when they apply it or
 * when a state transfer brings it, and so does what a crash forgets, byte for byte the same. */
#ifndef TESTS_SIM_TAP_H
#define TESTS_SIM_TAP_H

#include "storage/kv.h"

struct tap_listener {
    void *context;
    /* `record` is the entry as it goes out; `messages` counts those up to and including it. */
    void (*on_entry)(void *context, const char *node, struct slice conv, uint64_t seq,
                     uint64_t messages, struct slice record);
    /* The state of the shard (or control group) is at this index, and has this digest. */
    void (*on_applied)(void *context, const char *node, uint32_t shard, uint64_t index,
                       uint64_t digest);
    /* A state that was transferred is the one in use. */
    void (*on_transferred)(void *context, const char *node, uint32_t shard);
    /* Is the disk so quick now that a sync is over at once? */
    bool (*is_quick)(void *disk_context);
    void *disk_context;
};

/* Takes `inner`, a mem_kv: ops->close closes both. `node` is borrowed. */
struct kv *tap_new(struct kv *inner, const char *node, const struct tap_listener *listener);

#endif
