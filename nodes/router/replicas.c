/* replicas - how a router's replicas of groups come and go, and how their state travels.
 *
 *   prepare (a leader asks) -> BEGINS -> here -> added, promoted … -> drop -> ENDS
 *   here -> chunks written beside the state in use -> InstallSnapshot -> SWITCHES -> here
 *
 * What changes in the store goes into the turn's batch with everything else; what follows from it
 * in memory is done when the batch is written (replicas_written). A replica's server id dies with
 * it: who asks for one that is not here is told that it is gone, and its leader makes a new one. */
#include "mesh/base/check.h"
#include "mesh/base/log.h"
#include "mesh/base/metrics.h"
#include "nodes/router/router_private.h"
#include "storage/generation.h"

#define INSTALL_AGAIN_MS 200u
#define LONELY_MS        5000u /* Without a leader for so long: say that we exist. */

/* ---- In memory ---- */

static void open_options(struct router *router, const struct shard *shard,
                         struct raft_group_options *ret_options)
{
    *ret_options = (struct raft_group_options){
        .shard = shard->id,
        .address = router->node,
        .election_ms = LIMIT_ELECTION_MS,
        .heartbeat_ms = LIMIT_HEARTBEAT_MS,
        .lease_ms = LIMIT_LEASE_MS,
        .seed = (uint32_t)env_random(router->env),
        .context = router,
        .send = router_peers_send_record,
    };
}

/* The state of the generation that is in use. */
static enum rc open_machine(struct router *router, struct shard *shard)
{
    const struct router_options *options = &router->options;
    enum rc rc =
        machine_open(router->kv, shard->id, shard->generation, options->cluster, &shard->machine);
    if (rc == RC_OK && options->drop_members_max != 0)
        machine_limit_parts(shard->machine, options->drop_members_max, options->erase_entries_max);
    return rc;
}

enum rc replicas_open(struct router *router, struct shard *shard)
{
    struct raft_group_options options;
    open_options(router, shard, &options);
    enum rc rc = generation_open(router->kv, shard->id, router->batch, &shard->generation);
    if (rc == RC_OK)
        rc = open_machine(router, shard);
    if (rc == RC_OK)
        rc = raft_group_open(&options, router->kv, machine_applied(shard->machine),
                             router_now_ms(router), &shard->group);
    if (rc == RC_NOT_FOUND && machine_applied(shard->machine) > 0)
        rc = RC_CORRUPT; /* State without a log (thesis, section 3.8). */
    if (rc != RC_OK) {
        machine_free(&shard->machine);
        return rc;
    }
    shard->in = transfer_in_new(shard->id, shard->generation);
    shard->mark = 0;
    shard->lonely_ms = router_now_ms(router);
    shard_wake(router, shard);
    return RC_OK;
}

void replicas_close(struct router *router, struct shard *shard)
{
    if (shard->was_ready) {
        shard->was_ready = false;
        router->lost_any = true;
        moves_on_ready(router, shard, false);
        router_push_ready(router, shard, false);
        shard_refuse_waiting(router, shard);
    }
    for (uint32_t i = 0; i < LIMIT_REPLICAS_MAX; i++)
        transfer_out_free(&shard->moves.outs[i]);
    raft_group_free(&shard->group);
    machine_free(&shard->machine);
    transfer_in_free(&shard->in);
    memset(shard->digests, 0, sizeof(shard->digests));
    memset(&shard->otherwise, 0, sizeof(shard->otherwise));
    shard->mark = 0;
    shard->is_broken = false;
}

/* ---- Beginning and ending ---- */

void replicas_on_prepare(struct router *router, struct router_peer *peer,
                         const struct msg_replica_prepare *message)
{
    struct shard *shard = router_shard(router, message->group);
    if (shard == NULL || router->is_draining || shard->is_broken)
        return;
    struct msg_replica_prepared answer = {.group = message->group};
    if (shard->group == NULL && shard->fate == SHARD_STAYS) {
        answer.server = env_random(router->env) >> 1 | 1;
        raft_group_begin(shard->id, answer.server, router->batch);
        shard->fate = SHARD_BEGINS;
        shard_wake(router, shard);
        log_debug("replica_begins", "shard=%u server=%016lx", shard->id,
                  (unsigned long)answer.server);
    } else if (shard_is_here(shard)) {
        answer.server = raft_group_self(shard->group);
    } else {
        return; /* Between two lives: the next time. */
    }
    router_peers_tell(router, peer, &msg_replica_prepared_desc, &answer);
}

void replicas_end(struct router *router, struct shard *shard)
{
    const struct generation first = {.current = 1};
    struct keyspace_key from, to, other;
    raft_group_erase(shard->id, router->batch);
    generation_range(shard->id, 0, &from, &other);
    generation_range(shard->id, UINT32_MAX, &other, &to);
    kv_remove_range(router->batch, KV_STATE, keyspace_slice(&from), keyspace_slice(&to));
    kv_remove_range(router->batch, KV_DEDUP, keyspace_slice(&from), keyspace_slice(&to));
    generation_store(shard->id, &first, router->batch);
    shard->fate = SHARD_ENDS;
    metric_add(replicas_ended_total, 1);
    shard_wake(router, shard);
}

/* By the term of the last leader heard, not by ours: one that was taken out while it campaigned
 * goes on to, and its term rises beyond any leader's. A word that comes late, of a leader before
 * the one that added us since, is refused. */
void replicas_on_drop(struct router *router, const struct msg_replica_drop *message)
{
    struct shard *shard = router_shard(router, message->group);
    if (shard == NULL || !shard_is_here(shard) ||
        raft_group_self(shard->group) != message->server ||
        raft_group_heard_term(shard->group) > message->term)
        return;
    log_info("replica_dropped", "shard=%u server=%016lx", shard->id,
             (unsigned long)message->server);
    replicas_end(router, shard);
}

void replicas_written(struct router *router, struct shard *shard)
{
    enum shard_fate fate = shard->fate;
    enum rc rc = RC_OK;
    shard->fate = SHARD_STAYS;
    switch (fate) {
    case SHARD_STAYS:
        return;
    case SHARD_BEGINS:
        rc = replicas_open(router, shard);
        break;
    case SHARD_SWITCHES:
        machine_free(&shard->machine);
        rc = open_machine(router, shard);
        memset(shard->digests, 0, sizeof(shard->digests));
        break;
    case SHARD_ENDS:
        replicas_close(router, shard);
        break;
    }
    if (rc != RC_OK) {
        log_error("replica_unusable", "shard=%u reason=\"%s\"", shard->id, rc_sentence(rc));
        router_fail(router);
    }
}

/* ---- Raft messages ---- */

static bool has_state_for(const struct shard *shard, const struct msg_raft *message)
{
    uint64_t applied;
    return transfer_in_is_complete(shard->in, &applied) && applied >= message->a;
}

/* It was given up here, or lost in a crash: the leader is to send it again. Not where an earlier
 * message of this kind was taken. */
static void miss_state(struct router *router, struct router_peer *peer, const struct shard *shard,
                       const struct msg_raft *message)
{
    const struct msg_chunk_ack ack = {
        .group = message->group,
        .from = message->to,
        .rc = RC_NOT_FOUND,
    };
    if (raft_group_commit_index(shard->group) < message->a &&
        !raft_group_is_busy_installing(shard->group))
        router_peers_tell(router, peer, &msg_chunk_ack_desc, &ack);
}

/* The sender is no longer in the configuration, and asks for votes: tell it to end. */
static bool is_stranger(struct router *router, const struct shard *shard, struct slice from,
                        const struct msg_raft *message)
{
    if (!shard_serves(router, shard) || raft_group_is_member(shard->group, message->from))
        return false;
    const struct msg_replica_drop drop = {
        .group = message->group,
        .term = raft_group_term(shard->group),
        .server = message->from,
    };
    struct router_peer *peer = router_peers_get(router, from);
    if (peer != NULL)
        router_peers_tell(router, peer, &msg_replica_drop_desc, &drop);
    return true;
}

void replicas_on_raft(struct router *router, struct slice from, const struct msg_raft *message)
{
    struct shard *shard = router_shard(router, message->group);
    struct router_peer *peer = router_peers_get(router, from);
    if (shard == NULL || peer == NULL) {
        metric_add(packets_bad_total, 1);
        return;
    }
    if (shard->fate != SHARD_STAYS)
        return;
    if (shard->group == NULL || raft_group_self(shard->group) != message->to) {
        /* Who leads it has no need of what is left here. Who asks for votes may. */
        if (shard->is_broken && raft_group_is_of_leader(message)) {
            log_error("replica_given_up", "shard=%u", shard->id);
            replicas_end(router, shard);
        }
        const struct msg_replica_gone gone = {.group = message->group, .server = message->to};
        router_peers_tell(router, peer, &msg_replica_gone_desc, &gone);
        return;
    }
    if (is_stranger(router, shard, from, message))
        return;
    if (raft_group_is_install(message) && !has_state_for(shard, message)) {
        miss_state(router, peer, shard, message);
        return;
    }
    enum rc rc = raft_group_receive(shard->group, router_now_ms(router), from, message);
    shard_wake(router, shard);
    if (rc == RC_BAD_REQUEST)
        metric_add(packets_bad_total, 1);
    else if (rc != RC_OK)
        router_shard_failed(router, shard, rc);
}

void replicas_switch(struct router *router, struct shard *shard)
{
    shard->generation = transfer_in_switch(shard->in, router->batch);
    shard->fate = SHARD_SWITCHES;
    log_info("replica_switched", "shard=%u generation=%u", shard->id, shard->generation);
}

/* ---- State to others ---- */

static struct transfer_out **find_out(struct shard *shard, uint64_t server)
{
    for (uint32_t i = 0; i < LIMIT_REPLICAS_MAX; i++)
        if (shard->moves.outs[i] != NULL && transfer_out_to(shard->moves.outs[i]) == server)
            return &shard->moves.outs[i];
    return NULL;
}

static uint32_t count_outs(const struct router *router)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i <= router->options.shards; i++)
        for (uint32_t j = 0; j < LIMIT_REPLICAS_MAX; j++)
            count += router->shards[i].moves.outs[j] != NULL;
    return count;
}

static void begin_out(struct router *router, struct shard *shard, uint64_t server)
{
    struct transfer_out **out = NULL;
    for (uint32_t i = 0; i < LIMIT_REPLICAS_MAX && out == NULL; i++)
        if (shard->moves.outs[i] == NULL)
            out = &shard->moves.outs[i];
    if (out == NULL || count_outs(router) >= LIMIT_TRANSFERS_MAX ||
        !transfer_out_may_begin(router->kv))
        return;
    *out = transfer_out_new(router->kv, shard->id, shard->generation, server,
                            env_random(router->env) | 1, machine_applied(shard->machine),
                            router_now_ms(router));
    log_info("transfer_begins", "shard=%u server=%016lx applied=%lu", shard->id,
             (unsigned long)server, (unsigned long)machine_applied(shard->machine));
}

static struct router_peer *peer_of(struct router *router, const struct shard *shard,
                                   uint64_t server)
{
    struct raft_group_server servers[LIMIT_SERVERS_MAX];
    uint32_t count = raft_group_servers(shard->group, router_now_ms(router), servers);
    for (uint32_t i = 0; i < count; i++)
        if (servers[i].id == server)
            return router_peers_get(router, slice_string(servers[i].node));
    return NULL;
}

static bool is_reachable(struct router *router, const struct shard *shard, uint64_t server)
{
    const struct router_peer *peer = peer_of(router, shard, server);
    return peer != NULL && peer->is_up;
}

static void send_chunks(struct router *router, struct shard *shard, struct transfer_out **out)
{
    struct router_peer *peer = peer_of(router, shard, transfer_out_to(*out));
    struct msg_chunk chunk;
    enum rc rc;
    while ((rc = transfer_out_next(*out, &chunk)) == RC_OK) {
        router->bytes_moved += chunk.rows.size;
        router_peers_tell(router, peer, &msg_chunk_desc, &chunk);
    }
    if (rc != RC_AGAIN)
        router_shard_failed(router, shard, rc);
}

static bool wants_state(const struct shard *shard, uint64_t server)
{
    for (uint64_t s = 0; (s = raft_group_wants_state(shard->group, s)) != 0;)
        if (s == server)
            return true;
    return false;
}

/* Say that the state is there, again and again until the replica's log begins after it: the
 * transfer stays until then, so that the log is kept for it; or until its router is gone, for there
 * are few at a time, and whoever takes its place needs one. */
static void install(struct router *router, struct shard *shard, struct transfer_out **out)
{
    uint64_t now_ms = router_now_ms(router);
    enum rc rc = raft_group_install(shard->group, now_ms, transfer_out_to(*out));
    shard->moves.install_ms = now_ms + INSTALL_AGAIN_MS;
    if (rc != RC_OK)
        transfer_out_free(out);
}

static void turn_outs(struct router *router, struct shard *shard)
{
    uint64_t now_ms = router_now_ms(router);
    bool installs = now_ms >= shard->moves.install_ms; /* All that are complete. */
    for (uint32_t i = 0; i < LIMIT_REPLICAS_MAX; i++) {
        struct transfer_out **out = &shard->moves.outs[i];
        if (*out == NULL)
            continue;
        uint64_t server = transfer_out_to(*out);
        bool is_complete = transfer_out_is_complete(*out);
        if (!raft_group_leads(shard->group) || transfer_out_is_silent(*out, now_ms) ||
            !is_reachable(router, shard, server) || (is_complete && !wants_state(shard, server)))
            transfer_out_free(out);
        else if (is_complete && installs)
            install(router, shard, out);
        else if (!is_complete)
            send_chunks(router, shard, out);
    }
    /* Also of a leader that is not ready: it may need this very replica to become so. */
    for (uint64_t server = 0; (server = raft_group_wants_state(shard->group, server)) != 0;)
        if (find_out(shard, server) == NULL && is_reachable(router, shard, server)) {
            begin_out(router, shard, server);
            struct transfer_out **out = find_out(shard, server);
            if (out != NULL)
                send_chunks(router, shard, out);
        }
}

void replicas_on_ack(struct router *router, const struct msg_chunk_ack *ack)
{
    struct shard *shard = router_shard(router, ack->group);
    struct transfer_out **out = shard != NULL ? find_out(shard, ack->from) : NULL;
    if (out == NULL || !shard_is_here(shard))
        return;
    bool is_missed = ack->transfer == 0 && ack->rc != RC_OK && transfer_out_is_complete(*out);
    enum rc rc = is_missed ? RC_NOT_FOUND : transfer_out_on_ack(*out, ack, router_now_ms(router));
    if (rc == RC_OK && transfer_out_is_complete(*out)) {
        shard->moves.install_ms = 0;
        metric_add(transfers_total, 1);
        log_info("transfer_complete", "shard=%u server=%016lx bytes=%lu", shard->id,
                 (unsigned long)ack->from, (unsigned long)transfer_out_bytes(*out));
    }
    if (rc != RC_OK)
        transfer_out_free(out);
    shard_wake(router, shard);
}

/* ---- State from the leader ---- */

void replicas_on_chunk(struct router *router, struct router_peer *peer,
                       const struct msg_chunk *chunk)
{
    struct shard *shard = router_shard(router, chunk->group);
    if (shard == NULL || !shard_is_here(shard) || raft_group_self(shard->group) != chunk->to ||
        raft_group_is_installing(shard->group))
        return;
    struct msg_chunk_ack ack = {0};
    transfer_in_on_chunk(shard->in, chunk, router->batch, router_now_ms(router), &ack);
    ack.from = raft_group_self(shard->group);
    router_peers_tell(router, peer, &msg_chunk_ack_desc, &ack);
    shard_wake(router, shard);
}

/* A standby that was taken out while it could not be reached would never hear of it: it does not
 * campaign. So it says that it exists, and whoever leads tells it to end. */
static void say_we_exist(struct router *router, struct shard *shard)
{
    uint64_t now_ms = router_now_ms(router);
    if (shard->was_ready || now_ms - raft_group_heard_ms(shard->group) < LONELY_MS ||
        now_ms - shard->lonely_ms < LONELY_MS)
        return;
    shard->lonely_ms = now_ms;
    struct router_peer *leader = router_peers_leader(router, router_place(router, shard));
    const struct msg_replica_prepared message = {
        .group = shard->id,
        .server = raft_group_self(shard->group),
    };
    if (leader != NULL)
        router_peers_tell(router, leader, &msg_replica_prepared_desc, &message);
}

void replicas_turn(struct router *router, struct shard *shard)
{
    if (!shard_is_here(shard))
        return;
    turn_outs(router, shard);
    say_we_exist(router, shard);
    if (shard_is_here(shard) && transfer_in_is_silent(shard->in, router_now_ms(router)))
        transfer_in_abort(shard->in, router->batch);
}
