/* owed - what conversations owe the lists of users.
 *
 * A conversation and its members' lists live on different shards. Every member entry owes its user
 * one row, and a durable cursor over the conversation's own log (the machine's outbox) says up to
 * where the users' shards have acknowledged theirs. The leader works in passes: take what is owed,
 * bring it to the users' shards as idempotent commands, and once all of the pass is acknowledged
 * move the cursors. A pass that fails is simply made again. */
#include "mesh/base/check.h"
#include "mesh/base/mem.h"
#include "mesh/wire/key.h"
#include "nodes/router/router_private.h"

#define OWED_PASS_MAX 256u
#define OWED_RETRY_US 100000u
#define OWED_ASK_US   3000000u /* Another router must answer within. */

struct owed_row {
    char conv[LIMIT_CONV_SIZE_MAX];
    uint32_t conv_size;
    uint32_t user_size; /* 0: nobody is to be told, but so far was looked. */
    char user[LIMIT_USER_SIZE_MAX];
    uint64_t seq;
    bool gone;
};

struct owed_pass {
    struct shard *shard; /* Of the conversations. */
    struct owed_row *rows;
    uint32_t count;
    uint32_t waiting; /* Results still to come. */
    bool telling;     /* The cursors are being moved. */
    bool failed;
};

void owed_pass_free(struct owed_pass **pass)
{
    struct owed_pass *taken = *pass;
    *pass = NULL;
    if (taken == NULL)
        return;
    mem_free(taken->rows);
    mem_free(taken);
}

static void gather(void *context, const struct machine_owed *owed)
{
    struct owed_pass *pass = context;
    CHECK(pass->count < OWED_PASS_MAX);
    CHECK(owed->conv.size <= LIMIT_CONV_SIZE_MAX && owed->user.size <= LIMIT_USER_SIZE_MAX);
    struct owed_row *row = &pass->rows[pass->count++];
    memcpy(row->conv, owed->conv.base, owed->conv.size);
    row->conv_size = owed->conv.size;
    if (owed->user.size != 0)
        memcpy(row->user, owed->user.base, owed->user.size);
    row->user_size = owed->user.size;
    row->seq = owed->seq;
    row->gone = owed->gone;
}

/* A command given to the router that leads the user's shard. */
struct remote {
    uint64_t id;
    struct owed_pass *pass;
    const struct shard *shard;
    const struct router_peer *peer; /* Who was asked. */
    uint64_t deadline_us;
};

static struct slice remote_key(const void *thing)
{
    return slice_of(&((const struct remote *)thing)->id, sizeof(uint64_t));
}

void owed_init(struct router *router)
{
    map_init(&router->asked, remote_key);
    router->ask_id = env_random(router->env) >> 1; /* Answers to an earlier life fit none. */
}

void owed_fini(struct router *router)
{
    size_t at = 0;
    for (struct remote *r; (r = map_next(&router->asked, &at)) != NULL;)
        mem_free(r);
    map_fini(&router->asked);
}

static bool ask_other(struct router *router, struct owed_pass *pass, struct shard *shard)
{
    struct router_peer *leader = router_peers_leader(router, router_place(router, shard));
    if (leader == NULL || shard == pass->shard)
        return false;
    struct remote *remote = mem_new(struct remote);
    remote->id = ++router->ask_id;
    remote->pass = pass;
    remote->shard = shard;
    remote->peer = leader;
    remote->deadline_us = env_now_us(router->env) + OWED_ASK_US;
    map_put(&router->asked, remote);
    const struct msg_submit submit = {
        .req = remote->id,
        .shard = shard->id,
        .command = buf_slice(router->command),
    };
    router_peers_tell(router, leader, &msg_submit_desc, &submit);
    pass->waiting++;
    return true;
}

static bool queue_for(struct router *router, struct owed_pass *pass, struct shard *shard,
                      const struct record_desc *desc, const void *command)
{
    buf_clear(router->command);
    record_encode(router->command, desc, command);
    if (!shard->was_ready)
        return ask_other(router, pass, shard);
    const struct pending pending = {.pass = pass};
    if (shard_queue(router, shard, buf_slice(router->command), &pending) != RC_OK)
        return false;
    pass->waiting++;
    return true;
}

static void end_pass(struct router *router, struct owed_pass *pass)
{
    struct shard *shard = pass->shard;
    shard->pass_not_before_us = 0;
    shard->pass_rows_max = OWED_PASS_MAX;
    if (pass->failed) {
        shard->pass_rows_max = (pass->count + 1) / 2;
        shard->pass_not_before_us = env_now_us(router->env) + OWED_RETRY_US;
    }
    owed_pass_free(&shard->pass);
    shard_wake(router, shard);
}

/* The last row of each conversation bears its highest seq: rows come in seq order. */
static void tell(struct router *router, struct owed_pass *pass)
{
    pass->telling = true;
    for (uint32_t i = 0; i < pass->count; i++) {
        const struct owed_row *row = &pass->rows[i];
        const struct owed_row *next = i + 1 < pass->count ? &pass->rows[i + 1] : NULL;
        struct slice conv = slice_of(row->conv, row->conv_size);
        if (next != NULL && slice_equal(conv, slice_of(next->conv, next->conv_size)))
            continue;
        struct msg_cmd_told told = {.conv = conv, .seq = row->seq};
        if (!queue_for(router, pass, pass->shard, &msg_cmd_told_desc, &told))
            pass->failed = true;
    }
    if (pass->waiting == 0)
        end_pass(router, pass);
}

void owed_on_result(struct router *router, struct owed_pass *pass, enum rc rc)
{
    CHECK(pass->waiting > 0);
    pass->waiting--;
    if (rc != RC_OK)
        pass->failed = true;
    if (pass->waiting > 0)
        return;
    if (!pass->telling) /* The lists know; or they can't be told yet, and nobody waits for that. */
        shard_release(router, pass->shard, pass->failed ? UINT64_MAX : pass->shard->passes);
    if (pass->telling || pass->failed)
        end_pass(router, pass);
    else
        tell(router, pass);
}

void owed_on_answer(struct router *router, const struct msg_result *result)
{
    struct remote *remote = map_remove(&router->asked, slice_of(&result->req, sizeof(result->req)));
    if (remote == NULL)
        return; /* Too late. */
    struct owed_pass *pass = remote->pass;
    mem_free(remote);
    owed_on_result(router, pass, result->rc < RC_COUNT ? (enum rc)result->rc : RC_INTERNAL);
}

/* Who was asked died, or leads no more: the next one is asked as soon as it is known. */
static bool is_in_vain(const struct router *router, const struct remote *remote, uint64_t now_us)
{
    return remote->deadline_us <= now_us ||
           router_peers_leader(router, router_place(router, remote->shard)) != remote->peer;
}

void owed_expire(struct router *router)
{
    uint64_t now_us = env_now_us(router->env);
    for (bool again = true; again;) {
        again = false;
        size_t at = 0;
        for (const struct remote *r; (r = map_next(&router->asked, &at)) != NULL;) {
            if (!is_in_vain(router, r, now_us))
                continue;
            const struct msg_result late = {.req = r->id, .rc = RC_TIMEOUT};
            owed_on_answer(router, &late);
            again = true; /* The map moved: walk it anew. */
            break;
        }
    }
}

static void begin_pass(struct router *router, struct shard *shard)
{
    struct owed_pass *pass = mem_new(struct owed_pass);
    shard->passes++;
    pass->shard = shard;
    pass->rows = mem_alloc(OWED_PASS_MAX * sizeof(*pass->rows));
    uint32_t rows_max = shard->pass_rows_max != 0 ? shard->pass_rows_max : OWED_PASS_MAX;
    enum rc rc = machine_owed(shard->machine, rows_max, gather, pass);
    if (rc != RC_OK) {
        owed_pass_free(&pass);
        router_fail(router);
        return;
    }
    shard->pass = pass;
    pass->failed = pass->count == 0; /* Owed, but not found: look again later, not at once. */
    pass->waiting = 1; /* Ours, so that no result ends the pass while it is being begun. */
    for (uint32_t i = 0; i < pass->count && !pass->failed; i++) {
        const struct owed_row *row = &pass->rows[i];
        if (row->user_size == 0)
            continue;
        struct msg_cmd_index index = {
            .user = slice_of(row->user, row->user_size),
            .conv = slice_of(row->conv, row->conv_size),
            .seq = row->seq,
            .gone = row->gone,
        };
        uint32_t to = key_user_shard(router->options.cluster, router->options.shards, index.user);
        if (!queue_for(router, pass, &router->shards[to], &msg_cmd_index_desc, &index))
            pass->failed = true;
    }
    owed_on_result(router, pass, RC_OK);
}

bool owed_is_waiting(const struct shard *shard)
{
    return shard->pass == NULL && shard->was_ready && machine_owes(shard->machine);
}

void owed_turn(struct router *router, struct shard *shard)
{
    if (!owed_is_waiting(shard))
        return;
    if (env_now_us(router->env) < shard->pass_not_before_us)
        return;
    begin_pass(router, shard);
}
