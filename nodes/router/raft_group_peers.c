#include <stdio.h>

#include "mesh/base/check.h"
#include "nodes/router/raft_group_private.h"

/* Silent for so many election timeouts, a replica no longer keeps the log from being dropped. */
#define LIVE_TIMEOUTS 10u

bool raft_group_is_only_voter(const struct raft_configuration *conf, uint64_t server)
{
    uint32_t voters = 0;
    bool is_voter = false;
    for (unsigned i = 0; i < conf->n; i++) {
        bool votes = conf->servers[i].role == RAFT_VOTER;
        voters += votes;
        is_voter |= votes && conf->servers[i].id == server;
    }
    return is_voter && voters == 1;
}

/* ---- What the leader knows of the others ---- */

/* Of a server of the newest configuration, in this term. NULL: no leader, or no such server. */
struct raft_group_peer *raft_group_peer(struct raft_group *group, uint64_t id)
{
    const struct raft_configuration *conf = &group->raft.configuration;
    bool is_known = false;
    for (unsigned i = 0; i < conf->n; i++)
        is_known |= conf->servers[i].id == id;
    if (!raft_group_is_leader(group) || !is_known || id == group->self)
        return NULL;
    if (group->peers_term != raft_current_term(&group->raft)) {
        group->peers_term = raft_current_term(&group->raft);
        group->peer_count = 0;
    }
    for (uint32_t i = 0; i < group->peer_count; i++)
        if (group->peers[i].id == id)
            return &group->peers[i];
    uint32_t at = group->peer_count;
    if (at < LIMIT_SERVERS_MAX) {
        group->peer_count++;
    } else { /* One that left the configuration makes room. */
        for (at = 0; at + 1 < LIMIT_SERVERS_MAX; at++) {
            bool is_member = false;
            for (unsigned i = 0; i < conf->n; i++)
                is_member |= conf->servers[i].id == group->peers[at].id;
            if (!is_member)
                break;
        }
    }
    group->peers[at] = (struct raft_group_peer){.id = id};
    return &group->peers[at];
}

static const struct raft_group_peer *find_peer(const struct raft_group *group, uint64_t id)
{
    if (group->peers_term != raft_current_term(&group->raft))
        return NULL;
    for (uint32_t i = 0; i < group->peer_count; i++)
        if (group->peers[i].id == id)
            return &group->peers[i];
    return NULL;
}

static uint64_t match_of(const struct raft_group *group, uint64_t id)
{
    raft_index index = 0;
    return raft_match_index(&group->raft, id, &index) == 0 ? index : 0;
}

static bool heard_since(const struct raft_group *group, uint64_t id, uint64_t since_ms)
{
    const struct raft_group_peer *peer = find_peer(group, id);
    return id == group->self || (peer != NULL && peer->stamp_ms >= since_ms && peer->stamp_ms > 0);
}

static uint64_t before(uint64_t now_ms, uint64_t ms)
{
    return now_ms > ms ? now_ms - ms : 0;
}

/* Did most voters answer what was sent at `since_ms` or later? */
static bool majority_since(const struct raft_group *group, uint64_t since_ms)
{
    const struct raft_configuration *conf = &group->raft.configuration;
    uint32_t voters = 0, heard = 0;
    for (unsigned i = 0; i < conf->n; i++) {
        if (conf->servers[i].role != RAFT_VOTER)
            continue;
        voters++;
        heard += heard_since(group, conf->servers[i].id, since_ms);
    }
    return heard > voters / 2;
}

bool raft_group_has_lease(const struct raft_group *group, uint64_t now_ms)
{
    if (!raft_group_is_ready(group))
        return false;
    uint64_t since_ms = before(now_ms, group->options.lease_ms);
    return majority_since(group, since_ms > group->lease_from_ms ? since_ms : group->lease_from_ms);
}

uint32_t raft_group_servers(const struct raft_group *group, uint64_t now_ms,
                            struct raft_group_server ret_servers[LIMIT_SERVERS_MAX])
{
    const struct raft_configuration *conf = &group->raft.configuration;
    uint32_t count = 0;
    for (unsigned i = 0; i < conf->n && count < LIMIT_SERVERS_MAX; i++) {
        const struct raft_server *server = &conf->servers[i];
        struct raft_group_server *s = &ret_servers[count++];
        *s = (struct raft_group_server){
            .id = server->id,
            .role = (enum raft_group_role)server->role,
            .match = match_of(group, server->id),
            .is_live = heard_since(group, server->id, before(now_ms, group->options.election_ms)),
        };
        snprintf(s->node, sizeof(s->node), "%.*s", SLICE_ARGS(raft_group_node_of(server->address)));
    }
    return count;
}

_Static_assert((int)RAFT_GROUP_STANDBY == (int)RAFT_STANDBY &&
                   (int)RAFT_GROUP_VOTER == (int)RAFT_VOTER &&
                   (int)RAFT_GROUP_SPARE == (int)RAFT_SPARE,
               "roles are those of the core");

bool raft_group_is_member(const struct raft_group *group, uint64_t server)
{
    const struct raft_configuration *committed = &group->raft.configuration_committed;
    const struct raft_configuration *newest = &group->raft.configuration;
    for (unsigned i = 0; i < committed->n; i++)
        if (committed->servers[i].id == server)
            return true;
    for (unsigned i = 0; i < newest->n; i++)
        if (newest->servers[i].id == server)
            return true;
    return false;
}

static bool has_node(const struct raft_configuration *conf, struct slice node)
{
    for (unsigned i = 0; i < conf->n; i++)
        if (slice_equal(raft_group_node_of(conf->servers[i].address), node))
            return true;
    return false;
}

bool raft_group_counts(const struct raft_group *group, struct slice node)
{
    return has_node(&group->raft.configuration_committed, node) ||
           has_node(&group->raft.configuration, node);
}

/* Of a configuration. What is committed is at a majority, of which at most one is lost with us. */
static bool is_spared(const struct raft_configuration *conf, uint64_t server)
{
    uint32_t voters = 0, others = 0;
    for (unsigned i = 0; i < conf->n; i++) {
        bool votes = conf->servers[i].role == RAFT_VOTER;
        voters += votes;
        others += votes && conf->servers[i].id != server;
    }
    return others > voters / 2;
}

bool raft_group_is_spared(const struct raft_group *group)
{
    const struct raft_configuration *committed = &group->raft.configuration_committed;
    return is_spared(&group->raft.configuration, group->self) &&
           (committed->n == 0 || is_spared(committed, group->self)); /* New ones know of none. */
}

uint64_t raft_group_conf_index(const struct raft_group *group)
{
    return group->raft.configuration_uncommitted_index != 0
               ? group->raft.configuration_uncommitted_index
               : group->raft.configuration_committed_index;
}

bool raft_group_is_changing(const struct raft_group *group)
{
    return group->raft.configuration_uncommitted_index != 0 || group->handing_to != 0;
}

uint64_t raft_group_least_match(const struct raft_group *group, uint64_t now_ms)
{
    const struct raft_configuration *conf = &group->raft.configuration;
    uint64_t least = UINT64_MAX;
    if (!raft_group_is_leader(group))
        return least;
    uint64_t since_ms = before(now_ms, LIVE_TIMEOUTS * group->options.election_ms);
    for (unsigned i = 0; i < conf->n; i++) {
        uint64_t id = conf->servers[i].id;
        if (id == group->self || !heard_since(group, id, since_ms))
            continue;
        uint64_t match = match_of(group, id);
        if (match < least)
            least = match;
    }
    return least;
}

struct slice raft_group_leader_node(const struct raft_group *group)
{
    raft_id id;
    const char *address;
    raft_leader((struct raft *)(uintptr_t)&group->raft, &id, &address); /* Changes nothing. */
    return raft_group_node_of(id != 0 && address != NULL ? address : "");
}

/* ---- State transfer ---- */

uint64_t raft_group_wants_state(const struct raft_group *group, uint64_t after)
{
    uint64_t next = 0;
    if (!raft_group_is_leader(group))
        return 0;
    for (uint32_t i = 0; i < group->peer_count; i++) {
        const struct raft_group_peer *peer = &group->peers[i];
        raft_index match; /* Fails for one that is no longer in the configuration. */
        bool wants =
            group->peers_term == raft_current_term(&group->raft) && peer->wants_index != 0 &&
            raft_match_index(&group->raft, peer->id, &match) == 0 && match < peer->wants_index;
        if (wants && peer->id > after && (next == 0 || peer->id < next))
            next = peer->id;
    }
    return next;
}

enum rc raft_group_install(struct raft_group *group, uint64_t now_ms, uint64_t server)
{
    if (!raft_group_is_leader(group))
        return RC_NOT_LEADER;
    const struct raft_configuration *conf = &group->raft.configuration;
    for (unsigned i = 0; i < conf->n; i++)
        if (conf->servers[i].id == server)
            return raft_group_send_install(group, now_ms, &conf->servers[i]);
    return RC_NOT_FOUND;
}

/* ---- Changes ---- */

/* The newest configuration with one server added, changed or taken out. */
static enum rc changed_conf(const struct raft_group *group, uint64_t server, struct slice node,
                            enum raft_group_role role, struct raft_configuration *ret_conf)
{
    const struct raft_configuration *conf = &group->raft.configuration;
    char address[RAFT_GROUP_ADDRESS_SIZE];
    bool is_there = false;
    int error = 0;
    raft_configuration_init(ret_conf);
    for (unsigned i = 0; i < conf->n && error == 0; i++) {
        const struct raft_server *s = &conf->servers[i];
        is_there |= s->id == server;
        if (s->id != server)
            error = raft_configuration_add(ret_conf, s->id, s->address, s->role);
        else if (node.size > 0)
            error = raft_configuration_add(ret_conf, s->id, s->address, (int)role);
    }
    if (!is_there && node.size > 0 && error == 0) {
        raft_group_address(address, node, server);
        error = raft_configuration_add(ret_conf, server, address, (int)role);
    }
    if (error == 0 && ret_conf->n <= LIMIT_SERVERS_MAX && ret_conf->n > 0)
        return RC_OK;
    raft_configuration_close(ret_conf);
    return RC_FULL;
}

enum rc raft_group_change(struct raft_group *group, uint64_t now_ms, uint64_t server,
                          struct slice node, enum raft_group_role role)
{
    if (group->failed != RC_OK)
        return group->failed;
    if (!raft_group_is_leader(group))
        return RC_NOT_LEADER;
    if (!raft_group_is_ready(group))
        return RC_UNAVAILABLE;
    if (raft_group_is_changing(group) ||
        raft_group_last_index(group) > raft_group_commit_index(group))
        return RC_AGAIN;
    struct raft_configuration conf;
    struct raft_buffer encoded;
    enum rc rc = changed_conf(group, server, node, role, &conf);
    if (rc != RC_OK)
        return rc;
    int error = raft_configuration_encode(&conf, &encoded);
    CHECK(error == 0);
    raft_configuration_close(&conf);
    group->holds_change = true;
    rc = raft_group_propose(group, now_ms, RAFT_LOG_CHANGE, slice_of(encoded.base, encoded.len));
    if (rc != RC_OK)
        group->holds_change = false;
    raft_free(encoded.base);
    return rc;
}

/* ---- Handing leadership over ---- */

/* Voters that heard of a leader refuse to vote for another until the election timeout is over, and
 * reads rest on that. So a leader that hands over first says so in what it sends; when a majority
 * has answered that, it tells the other to campaign, and takes no commands until it is over. An
 * attempt that failed leaves no lease behind: only answers to what was sent after it count. */
enum rc raft_group_transfer(struct raft_group *group, uint64_t now_ms, uint64_t server)
{
    if (group->failed != RC_OK)
        return group->failed;
    if (!raft_group_is_ready(group))
        return RC_NOT_LEADER;
    if (group->handing_to != 0)
        return RC_AGAIN;
    const struct raft_configuration *conf = &group->raft.configuration;
    bool is_voter = false;
    for (unsigned i = 0; i < conf->n; i++)
        is_voter |= conf->servers[i].id == server && conf->servers[i].role == RAFT_VOTER;
    if (!is_voter || server == group->self)
        return RC_NOT_FOUND;
    group->handing_to = server;
    group->handing_ms = now_ms;
    group->handing_index = raft_group_last_index(group) + 1;
    group->is_asked = false;
    /* A barrier carries the word to all of them at once. */
    static const char zeros[8];
    return raft_group_propose(group, now_ms, RAFT_LOG_BARRIER, slice_of(zeros, sizeof(zeros)));
}

static void give_up_handing(struct raft_group *group, uint64_t now_ms)
{
    group->handing_to = 0;
    group->lease_from_ms = now_ms + 1;
}

void raft_group_proceed_handing(struct raft_group *group, uint64_t now_ms)
{
    if (group->handing_to == 0 || group->failed != RC_OK || !raft_group_is_leader(group))
        return;
    if (group->is_asked) {
        if (group->raft.leader_state.transferee == 0) /* The core gave it up. */
            give_up_handing(group, now_ms);
        return;
    }
    if (now_ms - group->handing_ms >= group->options.election_ms) {
        give_up_handing(group, now_ms);
        return;
    }
    if (!majority_since(group, group->handing_ms))
        return;
    struct raft_event event = {.type = RAFT_TRANSFER, .transfer.server_id = group->handing_to};
    group->is_asked = true;
    enum rc rc = raft_group_step_and_follow(group, now_ms, &event);
    if (rc == RC_NOT_LEADER)
        give_up_handing(group, now_ms);
}
