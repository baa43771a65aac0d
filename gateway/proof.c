#include "gateway/proof.h"

#include "gateway/session.h"
#include "mesh/base/mem.h"

#define PROOF_US 300000u /* Entries are gathered for so long. */

struct proof {
    struct list node; /* On its session's proofs. */
    struct pair *pair;
    uint64_t pinged; /* Its cursor when the ping that is out was sent; 0: it was not there. */
};

static void await(struct session *session)
{
    session->proof_us = gateway_now_us(session->gateway) + PROOF_US;
    session_wake_by(session, session->proof_us);
}

void proof_on_given(struct pair *pair)
{
    struct session *session = pair->session;
    if (!session->gateway->routers.has_webhook || session->has_acked || pair->proof != NULL)
        return;
    pair->proof = mem_new(struct proof);
    pair->proof->pair = pair;
    if (list_is_empty(&session->proofs) && !session->is_proving)
        await(session);
    list_append(&session->proofs, &pair->proof->node);
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
        await(session);
        return;
    }
    LIST_EACH(node, &session->proofs)
    {
        struct proof *proof = LIST_ENTRY(node, struct proof, node);
        proof->pinged = proof->pair->cursor;
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
        bool has_more = proof->pair->cursor > proof->pinged;
        proof->pinged = 0;
        if (!has_more)
            proof_forget(proof->pair);
    }
    if (!list_is_empty(&session->proofs))
        await(session);
}
