/* raft_group_private - what the files of raft_group share. Nobody else includes this, nor raft.h.
 */
#ifndef NODES_ROUTER_RAFT_GROUP_PRIVATE_H
#define NODES_ROUTER_RAFT_GROUP_PRIVATE_H

#include <raft.h>

#include "mesh/base/list.h"
#include "nodes/router/raft_group.h"
#include "nodes/router/raft_window.h"

/* An address of the core: node id, '/', server id in hex. Unique, as the core wants it, though a
 * node may have two replicas in a configuration while a broken one is replaced. */
#define RAFT_GROUP_ADDRESS_SIZE (LIMIT_NODE_ID_SIZE_MAX + 18u)

/* What the leader knows of another server, beyond the core's own progress. */
struct raft_group_peer {
    uint64_t id;
    uint64_t stamp_ms;    /* When what it last answered was sent. */
    uint64_t wants_index; /* Needs a state transfer until this index is stored there; 0: no. */
};

/* A message that waits for hard state to be durable. */
struct raft_held {
    struct list held;
    struct buf *record;
    char to[LIMIT_NODE_ID_SIZE_MAX + 1];
};

struct raft_group_install {
    uint64_t index, term, conf_index;
    struct raft_buffer conf; /* Encoded; by raft_malloc. NULL: none under way. */
    uint64_t mark;           /* Of the batch it went into; 0: not collected yet. */
};

struct raft_group {
    struct raft raft;
    struct raft_group_options options;
    struct kv *kv; /* Borrowed. */
    uint32_t shard;
    uint64_t self;
    bool has_core;             /* `raft` was begun. */
    enum rc failed;            /* The core gave up: final. */
    struct raft_window window; /* Entries that are not applied yet. */
    uint64_t applied_term;     /* Of the last entry that left the window; 0: none did. */
    uint64_t kept_from;        /* Index of the first entry the log keeps. */
    uint64_t barrier;          /* Index of this term's own barrier; 0: not leader. */
    uint64_t mark;             /* Counts the batches that something was collected into. */
    uint64_t durable_mark;
    uint64_t hard_mark;        /* Of the batch that hard state last went into. */
    bool hard_changed;         /* Term or vote differ from what was collected. */
    bool holds_change;         /* A configuration of ours is not collected yet; */
    uint64_t change_mark;      /* or went into this batch. */
    uint64_t uncollected_from; /* Index of the first entry not collected yet; 0: none. */
    uint64_t drop_from;        /* Stored entries from here on were replaced; 0: none. */
    struct raft_group_install install;

    struct list held;             /* struct raft_held */
    struct buf *record, *entries; /* Being made. */

    uint64_t opened_ms;
    bool is_restarted;     /* It had a term: it may have answered a leader just before. */
    uint64_t leader_stamp; /* Follower: the newest stamp heard of the leader of this term. */
    uint64_t leader_term;
    uint64_t leader_heard_ms; /* When any of it came. */
    /* Least of our clock minus its stamp, of the last seconds: the delay beyond is known. In two
     * spans, of which the older goes when the newer is full. */
    int64_t leader_offsets[2];
    uint64_t offsets_ms;    /* When the newer span, the second, began. */
    bool leader_hands_over; /* Its newest word: another may campaign though it is alive. */
    struct raft_group_peer peers[LIMIT_SERVERS_MAX]; /* Leader: of this term. */
    uint32_t peer_count;
    uint64_t peers_term;
    uint64_t handing_to;    /* Leader: server id that is to lead; 0: none. */
    uint64_t handing_ms;    /* Since when it is announced. */
    uint64_t handing_index; /* Of the barrier that announces it. */
    bool is_asked;          /* It was told to campaign. */
    uint64_t lease_from_ms; /* Answers to what was sent before do not count. */
    uint64_t led_from_ms;   /* Leader: since when. */
    uint64_t last_leader;   /* Server id; 0: none was heard since the start. */
    uint32_t wait_ms;       /* What take_turn() last made the core wait. */
    uint32_t jitter_ms;     /* Part of it. */
};

/* raft_group.c: every event goes through here, and every update is handled here. */
enum rc raft_group_step(struct raft_group *group, uint64_t now_ms, struct raft_event *event,
                        const void *ours);
enum rc raft_group_step_and_follow(struct raft_group *group, uint64_t now_ms,
                                   struct raft_event *event);
enum rc raft_group_follow_leadership(struct raft_group *group, uint64_t now_ms);
enum rc raft_group_propose(struct raft_group *group, uint64_t now_ms, enum raft_log_type type,
                           struct slice data);
static inline bool raft_group_is_leader(const struct raft_group *group)
{
    return group->raft.state == RAFT_LEADER;
}
/* Term of an entry of the log or of the snapshot mark. RC_CORRUPT where it is missing. */
enum rc raft_group_term_of(struct raft_group *group, uint64_t index, uint64_t *ret_term);

/* raft_group_load.c */
/* Read a configuration. The core's decoder trusts the sizes in it: `encoded` must be sealed, or
 * have passed raft_group_conf_is_valid(). */
enum rc raft_group_decode_conf(struct slice encoded, struct raft_configuration *ret_conf);
/* The newest configuration is committed, which the core does not know: tell it. */
enum rc raft_group_confirm_conf(struct raft_group *group, uint64_t now_ms);

/* flags of msg_raft, by type. */
enum {
    RAFT_GROUP_DISRUPT = 1,    /* request vote: the leader told it to. */
    RAFT_GROUP_PRE_VOTE = 2,   /* request vote and its result. */
    RAFT_GROUP_GRANTED = 1,    /* vote result. */
    RAFT_GROUP_HANDS_OVER = 1, /* append entries: the leader is handing over. */
};

/*   type                   a                b              c
 *   append entries         prev_log_index   prev_log_term  leader_commit
 *   append entries result  rejected         last_log_index
 *   request vote           last_log_index   last_log_term
 *   vote result
 *   install snapshot       last_index       last_term      conf_index
 *   timeout now            last_log_index   last_log_term */

/* raft_group_wire.c */
/* Encode and hand on, or hold until hard state is durable. */
void raft_group_emit(struct raft_group *group, struct slice to, const struct msg_raft *message);
void raft_group_send_all(struct raft_group *group, uint64_t now_ms,
                         const struct raft_update *update);
void raft_group_release(
    struct raft_group *group); /* Hard state is durable: what was held leaves. */
bool raft_group_conf_is_valid(struct slice encoded);
void raft_group_address(char into[RAFT_GROUP_ADDRESS_SIZE], struct slice node, uint64_t id);
struct slice raft_group_node_of(const char *address); /* The node id in an address. */
/* InstallSnapshot of our snapshot mark. */
enum rc raft_group_send_install(struct raft_group *group, uint64_t now_ms,
                                const struct raft_server *server);

/* raft_group_peers.c */
bool raft_group_is_only_voter(const struct raft_configuration *conf, uint64_t server);
struct raft_group_peer *raft_group_peer(struct raft_group *group, uint64_t id);
/* Handing over goes on as answers come and time passes. */
void raft_group_proceed_handing(struct raft_group *group, uint64_t now_ms);

#endif
