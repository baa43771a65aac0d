#include "nodes/router/recent.h"

#include "mesh/base/mem.h"

/* Longer than a leader is silent before another leads, and gateways take to find it. */
#define KEPT_US UINT64_C(10000000)

/* Members who come and go leave theirs here. */
#define CURSORS_MAX (2 * LIMIT_RECEIPTS_MEMBERS)

struct recent_cursor {
    struct list node;
    uint64_t delivered, read, messages; /* As msg_event_receipt has them. */
    uint32_t user_size;
    char user[];
};

struct recent_conv {
    struct list in_order;
    struct list cursors; /* At most CURSORS_MAX; of a large group none. */
    uint32_t cursor_count;
    uint64_t changed_us;
    uint64_t members;
    uint32_t id_size;
    char id[];
};

static struct slice conv_key(const void *thing)
{
    const struct recent_conv *conv = thing;
    return slice_of(conv->id, conv->id_size);
}

void recent_init(struct recent *r)
{
    map_init(&r->convs, conv_key);
    list_init(&r->order);
}

static void drop_first(struct recent_conv *conv)
{
    struct recent_cursor *cursor = LIST_FIRST(&conv->cursors, struct recent_cursor, node);
    list_remove(&cursor->node);
    mem_free(cursor);
    conv->cursor_count--;
}

static void forget(struct recent *r, struct recent_conv *conv)
{
    while (conv->cursor_count > 0)
        drop_first(conv);
    map_remove(&r->convs, conv_key(conv));
    list_remove(&conv->in_order);
    mem_free(conv);
}

void recent_fini(struct recent *r)
{
    LIST_EACH(node, &r->order)
    forget(r, LIST_ENTRY(node, struct recent_conv, in_order));
    map_fini(&r->convs);
}

static bool is_old(const struct recent_conv *conv, uint64_t now_us)
{
    return now_us > conv->changed_us + KEPT_US;
}

static void forget_old(struct recent *r, uint64_t now_us)
{
    struct recent_conv *oldest;
    while ((oldest = LIST_FIRST(&r->order, struct recent_conv, in_order)) != NULL &&
           (r->convs.count >= RECENT_MAX || is_old(oldest, now_us)))
        forget(r, oldest);
}

static struct recent_conv *get_conv(struct recent *r, struct slice id)
{
    struct recent_conv *conv = map_get(&r->convs, id);
    if (conv != NULL)
        return conv;
    conv = mem_zero(sizeof(*conv) + id.size);
    list_init(&conv->in_order);
    list_init(&conv->cursors);
    conv->id_size = id.size;
    memcpy(conv->id, id.base, id.size);
    map_put(&r->convs, conv);
    return conv;
}

static struct recent_cursor *get_cursor(struct recent_conv *conv, struct slice user)
{
    LIST_EACH(node, &conv->cursors)
    {
        struct recent_cursor *cursor = LIST_ENTRY(node, struct recent_cursor, node);
        if (slice_equal(slice_of(cursor->user, cursor->user_size), user))
            return cursor;
    }
    if (conv->cursor_count == CURSORS_MAX)
        drop_first(conv);
    struct recent_cursor *cursor = mem_zero(sizeof(*cursor) + user.size);
    list_init(&cursor->node);
    cursor->user_size = user.size;
    memcpy(cursor->user, user.base, user.size);
    list_append(&conv->cursors, &cursor->node);
    conv->cursor_count++;
    return cursor;
}

void recent_note(struct recent *r, const struct msg_event_receipt *receipt, uint64_t now_us)
{
    forget_old(r, now_us);
    struct recent_conv *conv = get_conv(r, receipt->conv);
    conv->changed_us = now_us;
    conv->members = receipt->members;
    list_remove(&conv->in_order);
    list_append(&r->order, &conv->in_order);
    if (receipt->members > LIMIT_RECEIPTS_MEMBERS)
        return;
    struct recent_cursor *cursor = get_cursor(conv, receipt->user);
    if (receipt->delivered != 0)
        cursor->delivered = receipt->delivered;
    if (receipt->read != 0) {
        cursor->read = receipt->read;
        cursor->messages = receipt->messages;
    }
}

void recent_tell(const struct recent *r, uint32_t shard, struct slice id, uint64_t now_us,
                 struct watchers *watchers, struct watcher *watcher, struct tally *tally)
{
    const struct recent_conv *conv = map_get(&r->convs, id);
    if (conv == NULL || is_old(conv, now_us))
        return;
    if (conv->members > LIMIT_RECEIPTS_MEMBERS) {
        tally_mark(tally, shard, id);
        return;
    }
    LIST_EACH(node, &conv->cursors)
    {
        const struct recent_cursor *cursor = LIST_ENTRY(node, struct recent_cursor, node);
        const struct msg_event_receipt event = {.conv = id,
                                                .user = slice_of(cursor->user, cursor->user_size),
                                                .delivered = cursor->delivered,
                                                .read = cursor->read,
                                                .members = conv->members,
                                                .messages = cursor->messages};
        watchers_tell(watchers, watcher, &msg_event_receipt_desc, &event);
    }
}
