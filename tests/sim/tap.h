/* tap - a router's store that tells what is written into it.
 *
 * It forwards everything to another store, a mem_kv, and decides when a sync is over, or that it
 * failed: then pages are lost for good, though every later write and sync says that all is well, as
 * kernels do. Entries of conversations that a batch puts are told once
 * the batch is written. What the first of the replicas stores exists for everyone: that is the
 * truth which the oracle holds clients to. The other replicas tell it again when they apply it or
 * when a state transfer brings it, and so does what a crash forgets, byte for byte the same. */
#ifndef TESTS_SIM_TAP_H
#define TESTS_SIM_TAP_H

#include "storage/kv.h"
#include "storage/rows.h"

struct tap_listener {
    void *context;
    /* `record` is the entry as it goes out; `messages` counts those up to and including it. It is
     * news where the state that it is of is newer than any that was told. */
    void (*on_entry)(void *context, const char *node, struct slice conv, uint64_t seq,
                     uint64_t messages, struct slice record, bool is_news);
    /* The conversation as it is now, after the batch that put one of the two. */
    void (*on_conv)(void *context, const char *node, struct slice conv, const struct row_head *head,
                    const struct row_conv *info);
    /* The state of the shard (or control group) is at this index, and has this digest: told before
     * what else is in the batch. True where nobody was as far yet. */
    bool (*on_applied)(void *context, const char *node, uint32_t shard, uint64_t index,
                       uint64_t digest);
    /* A configuration of the group is in the log, committed or not. */
    void (*on_conf)(void *context, const char *node, uint32_t group, struct slice encoded);
    /* The list of routers changed in the control group's state. */
    void (*on_list)(void *context, const char *node);
    /* A state that was transferred is the one in use. */
    void (*on_transferred)(void *context, const char *node, uint32_t shard);
    /* Is the disk so quick now that a sync is over at once? */
    bool (*is_quick)(void *disk_context);
    void *disk_context;
};

/* Takes `inner`, a mem_kv: ops->close closes both. `node` is borrowed. */
struct kv *tap_new(struct kv *inner, const char *node, const struct tap_listener *listener);

bool tap_sync_is_pending(const struct kv *tap);
/* The sync that is pending, if any, is over. */
void tap_complete_sync(struct kv *tap);
/* After so many more syncs one fails, and nothing becomes durable any more. */
void tap_lose_syncs(struct kv *tap, uint32_t countdown);
/* The process died: the last `lose_count` of the batches that were not synced are gone. */
void tap_crash(struct kv *tap, uint64_t lose_count);

#endif
