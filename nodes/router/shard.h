/* shard - one group on this router: its Raft replica, its state machine and the commands in
 * between. The control group is one of them.
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
#include "nodes/router/transfer.h"
#include "nodes/router/watchers.h"

struct owed_pass;

/* Who waits for a command's result: a request of a gateway or a router, or the outbox. */
struct pending {
    struct watcher *watcher; /* NULL: nobody, or the outbox. */
    uint64_t incarnation;    /* Of the watcher when it asked. */
    uint64_t req;
    struct owed_pass *pass; /* Where not NULL: the outbox pass it belongs to. */
    bool is_join;           /* Answered by `joined`. */
    bool is_for_lists;      /* Answered when the lists of those whom it concerns know. */
};

struct pending_list {
    struct pending *items;
    uint32_t count;
    uint32_t capacity;
};

#define SHARD_HELD_MAX 1024u /* Answers that wait for lists; beyond, they go out at once. */

/* What is carried out, and answered once an outbox pass of this number was carried out too. Who
 * made a conversation and asks for a list then finds it there, through whichever gateway. */
struct held {
    struct pending pending;
    uint64_t seq, ts;
    uint64_t pass;
    uint32_t conv_size;
    char conv[LIMIT_CONV_SIZE_MAX];
};

#define SHARD_DIGESTS 16u /* Kept for comparing. */

/* The digest of the state at one applied index. */
struct shard_digest {
    uint64_t index, digest;
};

/* What placement knows of this group between steps; of its leader. */
struct shard_moves {
    uint64_t next_ms;    /* When to look again. */
    uint64_t ready_ms;   /* When this router began to lead it, or last tried to hand it over. */
    uint64_t asked_term; /* In this term, others were asked to lead so often. */
    uint32_t asked;
    bool is_done;    /* Everything was where it should be. */
    bool is_filling; /* A newcomer is catching up: counted in router.filling. */
    struct {
        char node[LIMIT_NODE_ID_SIZE_MAX + 1];
        uint64_t server;
    } prepared[LIMIT_SERVERS_MAX];    /* Replicas that other routers hold ready; server 0: free. */
    uint64_t gone[LIMIT_SERVERS_MAX]; /* Server ids that do not exist any more; 0: free. */
    struct transfer_out *outs[LIMIT_REPLICAS_MAX]; /* State on its way to others. */
    uint64_t install_ms;                           /* When to say again that it is there. */
};

/* What becomes of a replica when the turn's batch is written. */
enum shard_fate {
    SHARD_STAYS,
    SHARD_BEGINS,   /* It is in the store then: opened. */
    SHARD_SWITCHES, /* Another generation is in use then: the machine is opened anew. */
    SHARD_ENDS,     /* Nothing of it is in the store then: closed. */
};

struct shard {
    uint32_t id; /* Number of the group. */
    enum shard_fate fate;
    uint32_t generation;      /* Of its state, in use. */
    struct raft_group *group; /* NULL: no replica here; then so is the machine. */
    struct machine *machine;
    struct buf *commands;       /* Queued cmd_* records, one after another. */
    struct pending_list queued; /* One each. */
    struct pending_list flying; /* Of the entry in the log. */
    uint64_t flying_index;      /* 0: none. */
    uint64_t mark;              /* raft_group_mark() when the running sync was begun; 0: none. */
    bool in_unsynced;           /* On router.unsynced. */
    bool was_ready;
    uint64_t led_ms; /* Since when it is. */
    bool is_broken;  /* What the store holds of it is damaged; erased when a leader is heard. */
    struct owed_pass *pass; /* The outbox pass under way, or NULL. */
    uint64_t passes;        /* Begun so far. */
    struct held *held;      /* The oldest first. */
    uint32_t held_count;
    uint64_t pass_not_before_us;
    uint32_t pass_rows_max; /* Halved by a pass that fails: a queue that is full takes some. */
    struct list work;       /* On router.work while there is something to do in this turn. */
    struct list
        gathering;       /* On router.gathering while commands wait for the running sync to end. */
    struct list touched; /* On router.touched from then until the turn's batch is written. */
    struct shard_moves moves;
    struct transfer_in *in; /* State that comes from the leader. */
    uint64_t leader_ms;     /* When health.c last saw that it has a leader; 0: never. */
    uint64_t lonely_ms;     /* When a replica without a leader last said that it exists. */
    struct shard_digest digests[SHARD_DIGESTS]; /* Ring by index. */
    struct shard_digest told;                   /* The last one that beats carried. */
    struct shard_digest otherwise; /* What another router had at an index, unlike ours; */
    char otherwise_node[LIMIT_NODE_ID_SIZE_MAX + 1]; /* that router. */
};

void pending_push(struct pending_list *list, const struct pending *pending);
void pending_list_fini(struct pending_list *list);

#endif
