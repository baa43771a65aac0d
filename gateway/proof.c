#include "gateway/proof.h"

#include "gateway/large.h"
#include "gateway/session.h"
#include "mesh/base/mem.h"

#define PROOF_US 300000u /* Entries are gathered for so long. */

/* A new leader knows nothing of what was proven. It tells of nobody for LIMIT_GATEWAY_LEASE_MS, and
 * needs some of that to find what waits. Messages from before LATELY_US were settled by the old
 * one, or the webhook is down: then some may be told of who have got them. */
#define PROOF_ANEW_US 2000000u
#define LATELY_US     10000000u

struct proof {
    struct list node; /* On its session's proofs. */
    struct pair *pair;
    uint64_t pinged; /* What it had been given when the ping that is out was sent; 0: not there. */
};

/* Up to here it was given the entries, or told that they are there. */
static uint64_t given_to(const struct pair *pair)
{
    uint64_t told = large_told(pair);
    return told > pair->cursor ? told : pair->cursor;
}

static void await(struct session *session, uint64_t wait_us)
{
    session->proof_us = gateway_now_us(session->gateway) + wait_us;
    session_wake_by(session, session->proof_us);
}

/* Who acknowledges is taken at his word: a pong comes from his network, though he sleeps. */
static void prove(struct pair *pair, uint64_t wait_us)
{
    struct session *session = pair->session;
    if (!session->gateway->routers.has_webhook || session->has_acked || pair->proof != NULL)
        return;
    pair->proof = mem_new(struct proof);
    pair->proof->pair = pair;
    if (list_is_empty(&session->proofs) && !session->is_proving)
        await(session, wait_us);
    list_append(&session->proofs, &pair->proof->node);
}

void proof_on_given(struct pair *pair)
{
    prove(pair, PROOF_US);
}

static void prove_all(const struct list *pairs)
{
    LIST_EACH(node, pairs)
    prove(LIST_ENTRY(node, struct pair, in_watch), PROOF_ANEW_US);
}

void proof_on_rewatched(struct gateway *gateway, const struct watch *watch)
{
    if (gateway_now_us(gateway) >= watch->moved_us + LATELY_US)
        return;
    prove_all(&watch->live);
    if (watch->large == NULL)
        return;
    prove_all(&watch->large->resting);
    prove_all(&watch->large->stirred);
}

void proof_forget(struct pair *pair)
{
    struct proof *proof = pair->proof;
    if (proof == NULL)
        return;
    pair->proof = NULL;
    list_remove(&proof->node);
    mem_free(proof);
}

uint64_t proof_due_us(const struct session *session)
{
    bool is_idle = list_is_empty(&session->proofs) || session->is_proving;
    return is_idle ? ENV_NEVER : session->proof_us;
}

/* Everything given must be on its way before the ping is. */
static bool ping(struct session *session)
{
    static const uint8_t frame[] = {0x89, 0x01, 'g'};
    struct link *link = session->link;
    return session->outbox.count == 0 && !link->ops->is_blocked(link) &&
           link->ops->write(link, frame, sizeof(frame));
}

void proof_flush(struct session *session, uint64_t now_us)
{
    if (now_us < proof_due_us(session))
        return;
    session->is_proving = ping(session);
    if (!session->is_proving) {
        await(session, PROOF_US);
        return;
    }
    LIST_EACH(node, &session->proofs)
    {
        struct proof *proof = LIST_ENTRY(node, struct proof, node);
        proof->pinged = given_to(proof->pair);
    }
}

static void tell(struct session *session, const struct proof *proof)
{
    const struct watch *watch = proof->pair->watch;
    struct msg_given message = {.shard = watch->shard,
                                .conv = watch_conv(watch),
                                .user = session_user(session),
                                .seq = proof->pinged};
    routers_tell(session->gateway, watch->shard, &msg_given_desc, &message);
}

void proof_on_pong(struct session *session, struct slice payload)
{
    if (!session->is_proving || !slice_equals(payload, "g"))
        return; /* To another ping. */
    session->is_proving = false;
    LIST_EACH(node, &session->proofs)
    {
        struct proof *proof = LIST_ENTRY(node, struct proof, node);
        if (proof->pinged == 0)
            continue; /* It came since. */
        tell(session, proof);
        bool has_more = given_to(proof->pair) > proof->pinged;
        proof->pinged = 0;
        if (!has_more)
            proof_forget(proof->pair);
    }
    if (!list_is_empty(&session->proofs))
        await(session, PROOF_US);
}
