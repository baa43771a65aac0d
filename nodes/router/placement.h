/* placement - the next step of one group from where its replicas are to where they should be.
 *
 * Pure: a view of the group in, one step out. The group's leader asks it now and then and does what
 * it says; the step is done when the view shows it, so any crash in between is resumed by whoever
 * leads next. The rules come from what libraft needs (a change only when the last one is committed
 * and stored by every voter that lives) and from never having fewer live voters than before while
 * moving.
 *
 *   add as standby -> caught up -> voter -> hand leadership over -> remove the old one
 *
 * Voters: the largest odd number that is at most R and at most the routers there are; the routers
 * of the target beyond it are standbys (two routers: one voter and a copy). A newcomer that is
 * caught up is made a voter only when the step that makes the number odd again can follow at once
 * (another newcomer that is caught up too, or an old voter that may then go), so that an even
 * number of voters lasts two steps and not a transfer, and nobody waits for a router that is dead.
 */
#ifndef NODES_ROUTER_PLACEMENT_H
#define NODES_ROUTER_PLACEMENT_H

#include <stdbool.h>
#include <stdint.h>

#include "mesh/base/limits.h"

enum placement_role { PLACEMENT_STANDBY, PLACEMENT_VOTER, PLACEMENT_SPARE };

struct placement_server {
    uint64_t id; /* Raft server id. */
    char node[LIMIT_NODE_ID_SIZE_MAX + 1];
    enum placement_role role;
    uint64_t match;    /* Highest index known to be stored there. */
    bool is_live;      /* Answered within the election timeout; true of the leader itself. */
    bool is_caught_up; /* Within a heartbeat of the leader's log: may be made a voter, or lead. */
    bool is_gone;      /* Its router says that this replica does not exist any more. */
};

struct placement_view {
    uint64_t self; /* Server id of the leader. */
    const struct placement_server *servers;
    uint32_t server_count;
    uint64_t last_conf_index; /* Of the newest configuration entry. */
    bool is_changing;         /* It is not committed yet, or a transfer of leadership runs. */
    /* Target: node ids in order of preference, the first is the preferred leader. */
    const char *const *targets;
    uint32_t target_count; /* 0..LIMIT_REPLICAS_MAX; 0: not known yet, nothing is done. */
    uint32_t replicas;     /* R. */
    /* A replica that a target's router holds ready: its id, or 0. Same order as `targets`. To be
     * forgotten once it was added: an id that is removed from the group never comes back. */
    const uint64_t *prepared;
    /* Was the target's router heard of lately? Others are not asked to prepare. Same order as
     * `targets`; NULL: all were. */
    const bool *is_heard;
    uint32_t in_vain; /* Transfers that were tried since this leader was elected, all in vain. */
};

enum placement_kind {
    PLACEMENT_NONE,     /* As it should be, or nothing can be done now. */
    PLACEMENT_PREPARE,  /* Ask `node` to hold a replica ready. Not a change of the group. */
    PLACEMENT_ADD,      /* Add server `id` at `node` as a standby. */
    PLACEMENT_PROMOTE,  /* Make `id` a voter. */
    PLACEMENT_DEMOTE,   /* Make `id` a standby. */
    PLACEMENT_REMOVE,   /* Take `id` out. */
    PLACEMENT_TRANSFER, /* Hand leadership over to `id`. */
};

struct placement_step {
    enum placement_kind kind;
    uint64_t id; /* 0 with NONE and PREPARE. */
    char node[LIMIT_NODE_ID_SIZE_MAX + 1];
};

/* The same view gives the same step: a TRANSFER that failed is asked for again, after some to
 * another of the targets, and how soon is the caller's to say. */
struct placement_step placement_next(const struct placement_view *view);

/* Is everything where it should be, roles and leader included? For progress in `status`. */
bool placement_is_done(const struct placement_view *view);

/* Voters wanted for so many routers on the target. */
uint32_t placement_voters(uint32_t replicas, uint32_t target_count);

#endif
