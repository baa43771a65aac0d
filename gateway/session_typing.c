/* Who types, on its way to the leader of the conversation, which tells the others. Clients say it
 * with every key; within LIMIT_TYPING_GAP_MS once is enough. */
#include "gateway/session.h"

#include "mesh/base/mem.h"

/* Conversations one types in at a time. More than a person can: what is beyond is not told. */
#define TYPING_MAX 8u

struct typing {
    struct list node;
    uint64_t told_us; /* When it was told that he types: the list's order. */
    bool is_on;
    uint8_t conv_size;
    char conv[];
};

static struct slice conv_of(const struct typing *typing)
{
    return slice_of(typing->conv, typing->conv_size);
}

static void drop(struct session *session, struct typing *typing)
{
    list_remove(&typing->node);
    session->typing_count--;
    mem_free(typing);
}

/* What expired with the leader is forgotten here. */
static void drop_expired(struct session *session)
{
    uint64_t now_us = gateway_now_us(session->gateway);
    struct typing *typing;
    while ((typing = LIST_FIRST(&session->typing, struct typing, node)) != NULL &&
           now_us >= typing->told_us + LIMIT_TYPING_MS * UINT64_C(1000))
        drop(session, typing);
}

static struct typing *find(const struct session *session, struct slice conv)
{
    LIST_EACH(node, &session->typing)
    {
        struct typing *typing = LIST_ENTRY(node, struct typing, node);
        if (slice_equal(conv_of(typing), conv))
            return typing;
    }
    return NULL;
}

/* NULL: there is no place for one more. */
static struct typing *add(struct session *session, struct slice conv)
{
    if (session->typing_count >= TYPING_MAX)
        return NULL;
    struct typing *typing = mem_zero(sizeof(*typing) + conv.size);
    list_init(&typing->node);
    typing->conv_size = (uint8_t)conv.size;
    memcpy(typing->conv, conv.base, conv.size);
    session->typing_count++;
    return typing;
}

static void tell(struct session *session, const struct typing *typing)
{
    uint32_t shard;
    if (routers_conv_shard(session->gateway, conv_of(typing), &shard) != RC_OK)
        return;
    struct msg_typing message = {.shard = shard,
                                 .conv = conv_of(typing),
                                 .user = session_user(session),
                                 .on = typing->is_on};
    routers_tell(session->gateway, shard, &msg_typing_desc, &message);
}

void session_typing(struct session *session, struct slice conv, bool on)
{
    uint64_t now_us = gateway_now_us(session->gateway);
    drop_expired(session);
    struct typing *typing = find(session, conv);
    if (!on) {
        if (typing == NULL || !typing->is_on)
            return; /* Nobody was told that he does. */
        typing->is_on = false;
        tell(session, typing);
        return;
    }
    if (typing != NULL && typing->is_on &&
        now_us < typing->told_us + LIMIT_TYPING_GAP_MS * UINT64_C(1000))
        return;
    if (typing == NULL)
        typing = add(session, conv);
    if (typing == NULL)
        return;
    typing->is_on = true;
    typing->told_us = now_us;
    list_remove(&typing->node);
    list_append(&session->typing, &typing->node);
    tell(session, typing);
}

void session_typing_fini(struct session *session)
{
    struct typing *typing;
    while ((typing = LIST_FIRST(&session->typing, struct typing, node)) != NULL)
        drop(session, typing);
}
