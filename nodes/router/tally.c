#include "nodes/router/tally.h"

#include "mesh/base/env.h"
#include "mesh/base/mem.h"
#include "mesh/base/metrics.h"

#define REST_US ((uint64_t)LIMIT_TALLY_MS * 1000)

struct tally_conv {
    struct list node; /* On tally.fresh or tally.resting. */
    uint64_t told_us;
    uint32_t shard;
    uint32_t id_size;
    bool is_marked; /* Again, since it was told. */
    char id[];
};

static struct slice conv_key(const void *thing)
{
    const struct tally_conv *conv = thing;
    return slice_of(conv->id, conv->id_size);
}

void tally_init(struct tally *t, struct watchers *watchers,
                bool (*read)(void *context, uint32_t shard, struct slice conv,
                             struct msg_event_tally *ret),
                void *context)
{
    *t = (struct tally){.watchers = watchers, .read = read, .context = context};
    map_init(&t->convs, conv_key);
    list_init(&t->fresh);
    list_init(&t->resting);
}

static void free_conv(struct tally *t, struct tally_conv *conv)
{
    map_remove(&t->convs, conv_key(conv));
    list_remove(&conv->node);
    mem_free(conv);
}

static void free_list(struct tally *t, struct list *list,
                      bool (*keeps)(const void *context, uint32_t shard), const void *context)
{
    LIST_EACH(node, list)
    {
        struct tally_conv *conv = LIST_ENTRY(node, struct tally_conv, node);
        if (keeps == NULL || !keeps(context, conv->shard))
            free_conv(t, conv);
    }
}

void tally_keep(struct tally *t, bool (*keeps)(const void *context, uint32_t shard),
                const void *context)
{
    free_list(t, &t->fresh, keeps, context);
    free_list(t, &t->resting, keeps, context);
}

void tally_fini(struct tally *t)
{
    tally_keep(t, NULL, NULL);
    map_fini(&t->convs);
}

void tally_mark(struct tally *t, uint32_t shard, struct slice id)
{
    struct tally_conv *conv = map_get(&t->convs, id);
    if (conv != NULL) {
        conv->is_marked = true;
        return;
    }
    if (!watchers_is_followed(&t->watchers->convs, id))
        return; /* Nobody to tell. */
    if (t->convs.count >= TALLY_MAX) {
        metric_add(tallies_dropped_total, 1);
        return;
    }
    conv = mem_zero(sizeof(*conv) + id.size);
    conv->shard = shard;
    conv->id_size = id.size;
    memcpy(conv->id, id.base, id.size);
    conv->is_marked = true;
    map_put(&t->convs, conv);
    list_append(&t->fresh, &conv->node);
}

static void tell(struct tally *t, struct tally_conv *conv, uint64_t now_us)
{
    struct msg_event_tally event;
    struct slice id = conv_key(conv);
    conv->is_marked = false;
    conv->told_us = now_us;
    list_remove(&conv->node);
    list_append(&t->resting, &conv->node);
    if (!watchers_is_followed(&t->watchers->convs, id) ||
        !t->read(t->context, conv->shard, id, &event))
        return;
    watchers_publish(t->watchers, &t->watchers->convs, id, &msg_event_tally_desc, &event);
    metric_add(tallies_total, 1);
}

void tally_turn(struct tally *t, uint64_t now_us)
{
    struct tally_conv *conv;
    while ((conv = LIST_FIRST(&t->resting, struct tally_conv, node)) != NULL &&
           now_us >= conv->told_us + REST_US) {
        if (conv->is_marked)
            tell(t, conv, now_us);
        else
            free_conv(t, conv);
    }
    while ((conv = LIST_FIRST(&t->fresh, struct tally_conv, node)) != NULL)
        tell(t, conv, now_us);
}

uint64_t tally_due_us(const struct tally *t)
{
    if (!list_is_empty(&t->fresh))
        return 0;
    const struct tally_conv *oldest = LIST_FIRST(&t->resting, struct tally_conv, node);
    return oldest != NULL ? oldest->told_us + REST_US : ENV_NEVER;
}
