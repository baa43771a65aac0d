#include "nodes/router/typing.h"

#include "mesh/base/env.h"
#include "mesh/base/mem.h"
#include "mesh/base/metrics.h"

#define EXPIRY_US ((uint64_t)LIMIT_TYPING_MS * 1000)
#define GAP_US    ((uint64_t)LIMIT_TYPING_GAP_MS * 1000)

struct typing_conv {
    struct list typists;
    uint32_t count;
    uint32_t shard;
    struct slice id; /* Within this allocation. */
};

/* Somebody who types, or who was told of so lately that no more may be told yet. He is on at least
 * one of the two lists; on none he is freed. */
struct typist {
    struct list in_conv;
    struct list in_expiry; /* On typing.expiry while he types. */
    struct list in_gap;    /* On typing.gap until more may be told. */
    struct typing_conv *conv;
    uint64_t said_us; /* When he last said that he types. */
    uint64_t told_us;
    bool types;
    bool is_told;     /* As one who types. */
    struct slice key; /* Within this allocation: the conversation, a zero byte, the user. */
    struct slice user;
};

static struct slice typist_key(const void *thing)
{
    return ((const struct typist *)thing)->key;
}

static struct slice conv_key(const void *thing)
{
    return ((const struct typing_conv *)thing)->id;
}

void typing_init(struct typing *t, struct watchers *watchers)
{
    t->watchers = watchers;
    map_init(&t->users, typist_key);
    map_init(&t->convs, conv_key);
    list_init(&t->expiry);
    list_init(&t->gap);
    t->scratch = buf_new(64);
}

static void free_typist(struct typing *t, struct typist *typist)
{
    struct typing_conv *conv = typist->conv;
    map_remove(&t->users, typist->key);
    list_remove(&typist->in_conv);
    list_remove(&typist->in_expiry);
    list_remove(&typist->in_gap);
    mem_free(typist);
    if (--conv->count > 0)
        return;
    map_remove(&t->convs, conv->id);
    mem_free(conv);
}

static void free_all(struct typing *t, struct list *list, size_t offset,
                     bool (*keeps)(const void *context, uint32_t shard), const void *context)
{
    LIST_EACH(node, list)
    {
        struct typist *typist = (struct typist *)(void *)((char *)node - offset);
        if (keeps == NULL || !keeps(context, typist->conv->shard))
            free_typist(t, typist);
    }
}

/* Everybody is on one of the two lists. */
void typing_keep(struct typing *t, bool (*keeps)(const void *context, uint32_t shard),
                 const void *context)
{
    free_all(t, &t->expiry, offsetof(struct typist, in_expiry), keeps, context);
    free_all(t, &t->gap, offsetof(struct typist, in_gap), keeps, context);
}

void typing_fini(struct typing *t)
{
    typing_keep(t, NULL, NULL);
    map_fini(&t->users);
    map_fini(&t->convs);
    buf_unref(&t->scratch);
}

static struct typist *find(struct typing *t, struct slice conv, struct slice user)
{
    if (t->users.count == 0)
        return NULL; /* Mostly so, and every message asks. */
    buf_clear(t->scratch);
    buf_append_slice(t->scratch, conv);
    buf_append_byte(t->scratch, 0);
    buf_append_slice(t->scratch, user);
    return map_get(&t->users, buf_slice(t->scratch));
}

static struct typing_conv *get_conv(struct typing *t, uint32_t shard, struct slice id)
{
    struct typing_conv *conv = map_get(&t->convs, id);
    if (conv != NULL)
        return conv;
    conv = mem_zero(sizeof(*conv) + id.size);
    char *bytes = (char *)(conv + 1);
    memcpy(bytes, id.base, id.size);
    conv->id = slice_of(bytes, id.size);
    conv->shard = shard;
    list_init(&conv->typists);
    map_put(&t->convs, conv);
    return conv;
}

/* NULL where there are too many. */
static struct typist *add(struct typing *t, uint32_t shard, struct slice conv_id, struct slice user)
{
    const struct typing_conv *known = map_get(&t->convs, conv_id);
    if (t->users.count >= TYPING_MAX || (known != NULL && known->count >= TYPING_CONV_MAX))
        return NULL;
    struct typist *typist = mem_zero(sizeof(*typist) + conv_id.size + 1 + user.size);
    char *key = (char *)(typist + 1);
    memcpy(key, conv_id.base, conv_id.size);
    memcpy(key + conv_id.size + 1, user.base, user.size);
    typist->key = slice_of(key, conv_id.size + 1 + user.size);
    typist->user = slice_of(key + conv_id.size + 1, user.size);
    typist->conv = get_conv(t, shard, conv_id);
    typist->conv->count++;
    list_init(&typist->in_expiry);
    list_init(&typist->in_gap);
    list_append(&typist->conv->typists, &typist->in_conv);
    map_put(&t->users, typist);
    return typist;
}

static void tell(struct typing *t, struct typist *typist, uint64_t now_us)
{
    const struct msg_event_typing event = {
        .conv = typist->conv->id,
        .user = typist->user,
        .on = typist->types,
    };
    typist->is_told = typist->types;
    typist->told_us = now_us;
    list_remove(&typist->in_gap);
    list_append(&t->gap, &typist->in_gap);
    watchers_publish(t->watchers, &t->watchers->convs, event.conv, &msg_event_typing_desc, &event);
    metric_add(typing_events_total, 1);
}

static void begin(struct typing *t, uint32_t shard, struct slice conv, struct slice user,
                  uint64_t now_us)
{
    struct typist *typist = find(t, conv, user);
    if (typist == NULL)
        typist = add(t, shard, conv, user);
    if (typist == NULL)
        return;
    typist->types = true;
    typist->said_us = now_us;
    list_remove(&typist->in_expiry);
    list_append(&t->expiry, &typist->in_expiry);
    if (list_is_empty(&typist->in_gap))
        tell(t, typist, now_us); /* Also again: those who were told let it expire by themselves. */
}

static void end(struct typing *t, struct typist *typist, uint64_t now_us)
{
    typist->types = false;
    list_remove(&typist->in_expiry);
    if (list_is_empty(&typist->in_gap))
        tell(t, typist, now_us);
}

void typing_set(struct typing *t, uint32_t shard, struct slice conv, struct slice user, bool on,
                uint64_t now_us)
{
    if (on) {
        begin(t, shard, conv, user, now_us);
        return;
    }
    struct typist *typist = find(t, conv, user);
    if (typist != NULL && typist->types)
        end(t, typist, now_us);
}

void typing_list(const struct typing *t, struct slice conv_id, struct buf *into)
{
    const struct typing_conv *conv = map_get(&t->convs, conv_id);
    if (conv == NULL)
        return;
    LIST_EACH(node, &conv->typists)
    {
        const struct typist *typist = LIST_ENTRY(node, struct typist, in_conv);
        if (typist->types && typist->is_told)
            record_put_slice(into, typist->user);
    }
}

void typing_turn(struct typing *t, uint64_t now_us)
{
    struct typist *typist;
    while ((typist = LIST_FIRST(&t->gap, struct typist, in_gap)) != NULL &&
           now_us >= typist->told_us + GAP_US) {
        list_remove(&typist->in_gap);
        if (typist->types != typist->is_told)
            tell(t, typist, now_us);
        else if (!typist->types)
            free_typist(t, typist);
    }
    while ((typist = LIST_FIRST(&t->expiry, struct typist, in_expiry)) != NULL &&
           now_us >= typist->said_us + EXPIRY_US)
        end(t, typist, now_us);
}

uint64_t typing_due_us(const struct typing *t)
{
    const struct typist *oldest = LIST_FIRST(&t->expiry, struct typist, in_expiry);
    uint64_t due_us = oldest != NULL ? oldest->said_us + EXPIRY_US : ENV_NEVER;
    const struct typist *told = LIST_FIRST(&t->gap, struct typist, in_gap);
    if (told != NULL && told->told_us + GAP_US < due_us)
        due_us = told->told_us + GAP_US;
    return due_us;
}
