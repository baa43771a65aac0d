#include "gateway/left.h"

#include "gateway/session.h"
#include "mesh/base/mem.h"

struct left {
    struct list node;
    uint64_t cursor;
    uint64_t told; /* Of which removal; 0: of none. */
    uint8_t conv_size;
    char conv[];
};

static void forget(struct session *session, struct left *left)
{
    list_remove(&left->node);
    session->left_count--;
    mem_free(left);
}

static struct left *find(const struct session *session, struct slice conv)
{
    LIST_EACH(node, &session->left)
    {
        struct left *left = LIST_ENTRY(node, struct left, node);
        if (slice_equal(slice_of(left->conv, left->conv_size), conv))
            return left;
    }
    return NULL;
}

void left_put(struct session *session, struct slice conv, uint64_t cursor)
{
    struct left *before = find(session, conv);
    if (before != NULL) {
        before->cursor = cursor;
        list_remove(&before->node);
        list_append(&session->left, &before->node);
        return;
    }
    if (session->left_count >= LEFT_MAX)
        forget(session, LIST_FIRST(&session->left, struct left, node));
    struct left *left = mem_zero(sizeof(*left) + conv.size);
    left->cursor = cursor;
    left->conv_size = (uint8_t)conv.size;
    memcpy(left->conv, conv.base, conv.size);
    list_append(&session->left, &left->node);
    session->left_count++;
}

bool left_has(const struct session *session, struct slice conv)
{
    return find(session, conv) != NULL;
}

uint64_t left_cursor(const struct session *session, struct slice conv)
{
    const struct left *left = find(session, conv);
    return left != NULL ? left->cursor : 0;
}

uint64_t left_take(struct session *session, struct slice conv)
{
    struct left *left = find(session, conv);
    if (left == NULL)
        return 0;
    uint64_t cursor = left->cursor;
    forget(session, left);
    return cursor;
}

void left_note_told(struct session *session, struct slice conv, uint64_t seq)
{
    struct left *left = find(session, conv);
    if (left != NULL)
        left->told = seq;
}

uint64_t left_told(const struct session *session, struct slice conv)
{
    const struct left *left = find(session, conv);
    return left != NULL ? left->told : 0;
}

void left_forget_all(struct session *session)
{
    struct left *left;
    while ((left = LIST_FIRST(&session->left, struct left, node)) != NULL)
        forget(session, left);
}
