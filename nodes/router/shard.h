/* shard - one shard on this router: its Raft group, its state machine and the commands in between.
 *
 *   queued  -> flying (one packed entry in the log at a time) -> applied -> answered
 *
 * While anything is on its way to the disk, commands gather; the next entry packs them all. So the
 * number of entries follows the speed of the disk, not the number of commands. */
#ifndef NODES_ROUTER_SHARD_H
#define NODES_ROUTER_SHARD_H

#include <stdbool.h>

#include "mesh/base/list.h"
#include "nodes/router/machine.h"
#include "nodes/router/raft_group.h"
#include "nodes/router/watchers.h"

struct owed_pass;

/* Who waits for a command's result: a gateway's request, or the outbox. */
struct pending {
    struct watcher *watcher; /* NULL: nobody, or the outbox. */
    uint64_t incarnation;    /* Of the watcher when it asked. */
    uint64_t req;
    struct owed_pass *pass; /* Where not NULL: the outbox pass it belongs to. */
};

struct pending_list {
    struct pending *items;
    uint32_t count;
    uint32_t capacity;
};

struct shard {
    uint32_t id;
    struct raft_group *group;
    struct machine *machine;
    struct buf *commands;       /* Queued cmd_* records, one after another. */
    struct pending_list queued; /* One each. */
    struct pending_list flying; /* Of the entry in the log. */
    uint64_t flying_index;      /* 0: none. */
    uint64_t mark;              /* raft_group_mark() when the running sync was begun. */
    bool in_unsynced;           /* On router.unsynced. */
    bool was_ready;
    struct owed_pass *pass; /* The outbox pass under way, or NULL. */
    uint64_t pass_not_before_us;
    uint32_t pass_rows_max; /* Halved by a pass that fails: a queue that is full takes some. */
    struct list work;       /* On router.work while there is something to do in this turn. */
    struct list
        gathering;       /* On router.gathering while commands wait for the running sync to end. */
    struct list touched; /* On router.touched from then until the turn's batch is written. */
};

void pending_push(struct pending_list *list, const struct pending *pending);
void pending_list_fini(struct pending_list *list);

#endif
