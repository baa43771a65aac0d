/* digests - do the replicas of a group hold the same state?
 *
 * Every replica that applied the same entries must have the same digest (machine_digest). At every
 * 64th index each keeps it, and beats carry the newest to the other routers, which compare. Whom
 * two others contradict, and they agree with each other, is wrong: that replica ends and is made
 * anew from its peers. With only two to compare nobody knows who is right, so it is only said; so
 * it is of one without whose vote the group would stand still. */
#include <stdio.h>

#include "mesh/base/log.h"
#include "mesh/base/metrics.h"
#include "nodes/router/router_private.h"

#define DIGEST_STEP 64u

static struct shard_digest *slot(struct shard *shard, uint64_t index)
{
    return &shard->digests[index / DIGEST_STEP % SHARD_DIGESTS];
}

void digests_note(struct shard *shard)
{
    uint64_t index = machine_applied(shard->machine);
    if (index % DIGEST_STEP == 0)
        *slot(shard, index) =
            (struct shard_digest){.index = index, .digest = machine_digest(shard->machine)};
}

void digests_put(struct shard *shard, struct buf *into)
{
    if (!shard_is_here(shard))
        return;
    uint64_t newest = machine_applied(shard->machine) / DIGEST_STEP * DIGEST_STEP;
    const struct shard_digest *d = slot(shard, newest);
    if (newest == 0 || d->index != newest || shard->told.index == newest)
        return;
    shard->told = *d;
    record_put_u64(into, shard->id);
    record_put_u64(into, d->index);
    record_put_u64(into, d->digest);
}

void digests_on_other(struct router *router, struct shard *shard, struct slice node, uint64_t index,
                      uint64_t digest)
{
    if (!shard_is_here(shard) || index == 0 || index % DIGEST_STEP != 0)
        return;
    const struct shard_digest *ours = slot(shard, index);
    if (ours->index != index || ours->digest == digest)
        return;
    metric_add(divergences_total, 1);
    log_error("replica_diverged", "shard=%u index=%lu ours=%016lx theirs=%016lx node=%.*s",
              shard->id, (unsigned long)index, (unsigned long)ours->digest, (unsigned long)digest,
              SLICE_ARGS(node));
    bool is_second = shard->otherwise.index == index && shard->otherwise.digest == digest &&
                     !slice_equals(node, shard->otherwise_node);
    shard->otherwise = (struct shard_digest){.index = index, .digest = digest};
    snprintf(shard->otherwise_node, sizeof(shard->otherwise_node), "%.*s", SLICE_ARGS(node));
    if (is_second && raft_group_is_spared(shard->group))
        router_shard_failed(router, shard, RC_CORRUPT);
}
