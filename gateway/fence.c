#include "gateway/fence.h"

#include "mesh/base/map.h"
#include "mesh/base/mem.h"

struct fence {
    struct list node;
    uint64_t conv; /* Hashes: two that collide only make a client wait. */
    uint64_t cid;
    uint64_t id;
    uint64_t until_us;
    enum rc rc;
};

static void take_down(struct fence *fence)
{
    list_remove(&fence->node);
    mem_free(fence);
}

static struct fence *find(const struct list *fences, uint64_t conv)
{
    LIST_EACH(node, fences)
    {
        struct fence *fence = LIST_ENTRY(node, struct fence, node);
        if (fence->conv == conv)
            return fence;
    }
    return NULL;
}

void fence_put_up(struct list *fences, struct slice conv, struct slice cid, uint64_t id, enum rc rc,
                  uint64_t retry_ms, uint64_t now_us)
{
    uint64_t hash = map_hash(conv);
    struct fence *before = find(fences, hash);
    if (before != NULL && before->id <= id)
        return; /* This send was refused behind another, which has to come first. */
    if (before != NULL)
        take_down(before);
    uint32_t count = 0;
    LIST_EACH(node, fences)
    count++;
    if (count >= FENCE_COUNT_MAX)
        take_down(LIST_FIRST(fences, struct fence, node));
    struct fence *fence = mem_new(struct fence);
    *fence = (struct fence){
        .conv = hash,
        .cid = map_hash(cid),
        .id = id,
        .until_us = now_us + retry_ms * 1000 + FENCE_US,
        .rc = rc,
    };
    list_init(&fence->node);
    list_append(fences, &fence->node);
}

enum rc fence_check(struct list *fences, struct slice conv, struct slice cid, uint64_t now_us)
{
    if (list_is_empty(fences))
        return RC_OK;
    struct fence *fence = find(fences, map_hash(conv));
    if (fence == NULL)
        return RC_OK;
    enum rc rc = fence->rc;
    if (now_us < fence->until_us && fence->cid != map_hash(cid))
        return rc;
    take_down(fence);
    return RC_OK;
}

enum rc fence_look(const struct list *fences, struct slice conv, uint64_t id)
{
    const struct fence *fence = find(fences, map_hash(conv));
    return fence != NULL && fence->id < id ? fence->rc : RC_OK;
}

void fence_fini(struct list *fences)
{
    struct fence *fence;
    while ((fence = LIST_FIRST(fences, struct fence, node)) != NULL)
        take_down(fence);
}
