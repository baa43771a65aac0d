#include "nodes/router/watchers.h"

#include "mesh/base/check.h"
#include "mesh/base/mem.h"
#include "mesh/base/metrics.h"
#include "mesh/wire/packet.h"

/* A packet that reaches this size is closed and the next begun; far below LIMIT_PACKET_SIZE_MAX,
 * since one more message of up to LIMIT_FETCH_BYTES_MAX may still go in. */
#define PACKET_CLOSE_SIZE 262144u

#define LEASE_US ((uint64_t)LIMIT_GATEWAY_LEASE_MS * 1000)

static struct slice watcher_key(const void *thing)
{
    return slice_string(((const struct watcher *)thing)->id);
}

static struct slice interest_key(const void *thing)
{
    const struct interest *interest = thing;
    return slice_of(interest->key, interest->key_size);
}

void watchers_init(struct watchers *w, const struct packet_sender *sender)
{
    memset(w, 0, sizeof(*w));
    w->sender = *sender;
    map_init(&w->by_id, watcher_key);
    map_init(&w->convs, interest_key);
    map_init(&w->users, interest_key);
    map_init(&w->presence, interest_key);
    list_init(&w->dirty);
    w->scratch = buf_new(4096);
}

static void queue_clear(struct packet_queue *queue)
{
    for (uint32_t i = 0; i < queue->count; i++)
        buf_unref(&queue->packets[i]);
    queue->count = 0;
}

static void queue_fini(struct packet_queue *queue)
{
    queue_clear(queue);
    mem_free(queue->packets);
}

static void free_interests(struct map *table)
{
    size_t at = 0;
    for (struct interest *i; (i = map_next(table, &at)) != NULL;) {
        mem_free(i->watchers);
        mem_free(i);
    }
    map_fini(table);
}

void watchers_fini(struct watchers *w)
{
    free_interests(&w->convs);
    free_interests(&w->users);
    free_interests(&w->presence);
    size_t at = 0;
    for (struct watcher *watcher; (watcher = map_next(&w->by_id, &at)) != NULL;) {
        queue_fini(&watcher->answers);
        queue_fini(&watcher->events);
        mem_free(watcher);
    }
    map_fini(&w->by_id);
    buf_unref(&w->scratch);
}

/* Who was silent longest makes room, where nothing is left between us. It is written over and not
 * freed: a command in the log may still point to it, and goes by the incarnation (shard.h). NULL:
 * all are here. */
static struct watcher *take_place(struct watchers *w)
{
    struct watcher *oldest = NULL;
    size_t at = 0;
    for (struct watcher *other; (other = map_next(&w->by_id, &at)) != NULL;)
        if (!other->is_leased && !other->is_following && list_is_empty(&other->dirty) &&
            (oldest == NULL || other->heard_us < oldest->heard_us))
            oldest = other;
    if (oldest == NULL || oldest->heard_us + LEASE_US > w->now_us)
        return NULL;
    map_remove(&w->by_id, watcher_key(oldest));
    queue_fini(&oldest->answers);
    queue_fini(&oldest->events);
    memset(oldest, 0, sizeof(*oldest));
    return oldest;
}

static struct watcher *meet(struct watchers *w, struct slice id, uint64_t incarnation)
{
    struct watcher *watcher =
        w->by_id.count < LIMIT_MEMBERS_MAX ? mem_new(struct watcher) : take_place(w);
    if (watcher == NULL)
        return NULL;
    memcpy(watcher->id, id.base, id.size);
    watcher->incarnation = incarnation;
    list_init(&watcher->dirty);
    map_put(&w->by_id, watcher);
    return watcher;
}

struct watcher *watchers_get(struct watchers *w, struct slice id, uint64_t incarnation)
{
    CHECK(id.size <= LIMIT_NODE_ID_SIZE_MAX);
    struct watcher *watcher = map_get(&w->by_id, id);
    if (watcher == NULL)
        return meet(w, id, incarnation);
    if (watcher->incarnation != incarnation) {
        watchers_forget(w, watcher);
        queue_clear(&watcher->answers);
        queue_clear(&watcher->events);
        watcher->incarnation = incarnation;
        watcher->link_seq = 0;
    }
    return watcher;
}

void watchers_follow(struct watchers *w, struct map *table, uint32_t shard, struct slice key,
                     struct watcher *watcher)
{
    CHECK(table == &w->convs || table == &w->users || table == &w->presence);
    struct interest *interest = map_get(table, key);
    watcher->is_following = true;
    if (interest == NULL) {
        interest = mem_zero(sizeof(*interest) + key.size);
        interest->shard = shard;
        interest->key_size = key.size;
        memcpy(interest->key, key.base, key.size);
        map_put(table, interest);
    }
    for (uint32_t i = 0; i < interest->count; i++)
        if (interest->watchers[i] == watcher)
            return;
    if (interest->count == interest->capacity) {
        interest->capacity = interest->capacity == 0 ? 2 : interest->capacity * 2;
        interest->watchers =
            mem_resize(interest->watchers, interest->capacity * sizeof(struct watcher *));
    }
    interest->watchers[interest->count++] = watcher;
}

static void interest_drop(struct interest *interest, const struct watcher *watcher)
{
    for (uint32_t i = 0; i < interest->count; i++) {
        if (interest->watchers[i] == watcher) {
            interest->watchers[i] = interest->watchers[--interest->count];
            return;
        }
    }
}

static void interest_free(struct map *table, struct interest *interest)
{
    map_remove(table, interest_key(interest));
    mem_free(interest->watchers);
    mem_free(interest);
}

void watchers_unfollow(struct watchers *w, struct map *table, struct slice key,
                       struct watcher *watcher)
{
    CHECK(table == &w->convs || table == &w->users || table == &w->presence);
    struct interest *interest = map_get(table, key);
    if (interest == NULL)
        return;
    interest_drop(interest, watcher);
    if (interest->count > 0)
        return;
    interest_free(table, interest);
    if (table == &w->users && w->on_user_left != NULL)
        w->on_user_left(w->context, key, false);
}

bool watchers_is_followed(const struct map *table, struct slice key)
{
    return map_get(table, key) != NULL;
}

/* Who is to go from a table. */
struct leaving {
    const struct watcher *watcher; /* This one's interest, where not NULL; */
    bool (*keeps)(const void *context,
                  uint32_t shard); /* all interest in other shards, where not. */
    const void *context;
    bool is_lost; /* The watcher's lease ran out. */
};

/* A walk over the whole table, with the empty ones collected first: a map may not change on the
 * way. Gateways die and leaderships move rarely, so no list per gateway or shard is kept for it. */
static void leave_table(struct watchers *w, struct map *table, const struct leaving *leaving)
{
    struct interest **empty = mem_alloc(table->count * sizeof(*empty));
    size_t empty_count = 0;
    size_t at = 0;
    for (struct interest *i; (i = map_next(table, &at)) != NULL;) {
        if (leaving->watcher != NULL)
            interest_drop(i, leaving->watcher);
        if (leaving->keeps != NULL && !leaving->keeps(leaving->context, i->shard))
            i->count = 0;
        if (i->count == 0)
            empty[empty_count++] = i;
    }
    for (size_t i = 0; i < empty_count; i++) {
        if (table == &w->users && leaving->watcher != NULL && w->on_user_left != NULL)
            w->on_user_left(w->context, interest_key(empty[i]), leaving->is_lost);
        interest_free(table, empty[i]);
    }
    mem_free(empty);
}

void watchers_keep(struct watchers *w, bool (*keeps)(const void *context, uint32_t shard),
                   const void *context)
{
    const struct leaving leaving = {.keeps = keeps, .context = context};
    leave_table(w, &w->convs, &leaving);
    leave_table(w, &w->users, &leaving);
    leave_table(w, &w->presence, &leaving);
}

static void forget(struct watchers *w, struct watcher *watcher, bool is_lost)
{
    const struct leaving leaving = {.watcher = watcher, .is_lost = is_lost};
    leave_table(w, &w->convs, &leaving);
    leave_table(w, &w->users, &leaving);
    leave_table(w, &w->presence, &leaving);
    watcher->is_leased = false;
    watcher->is_following = false;
    watcher->is_linked = false;
}

void watchers_forget(struct watchers *w, struct watcher *watcher)
{
    forget(w, watcher, false);
}

void watchers_expire(struct watchers *w, uint64_t now_us)
{
    size_t at = 0;
    w->now_us = now_us;
    for (struct watcher *watcher; (watcher = map_next(&w->by_id, &at)) != NULL;)
        if ((watcher->is_leased || watcher->is_following) &&
            now_us - watcher->heard_us > LEASE_US) {
            forget(w, watcher, true);
            watcher->link_seq++; /* It sees a hole, should it still be there, and watches again. */
        }
}

/* The packet to append to; `link_seq` counts the packets of a published stream, NULL: not one. */
static struct buf *queue_open(struct watchers *w, struct packet_queue *queue, uint64_t *link_seq)
{
    if (queue->count > 0 && queue->packets[queue->count - 1]->size < PACKET_CLOSE_SIZE)
        return queue->packets[queue->count - 1];
    if (queue->count == queue->capacity) {
        queue->capacity = queue->capacity == 0 ? 2 : queue->capacity * 2;
        queue->packets = mem_resize(queue->packets, queue->capacity * sizeof(struct buf *));
    }
    struct buf *packet = buf_new(1024);
    packet_begin(packet, &w->sender, link_seq != NULL ? ++*link_seq : 0);
    queue->packets[queue->count++] = packet;
    return packet;
}

static void mark_dirty(struct watchers *w, struct watcher *watcher)
{
    if (list_is_empty(&watcher->dirty))
        list_append(&w->dirty, &watcher->dirty);
}

void watchers_answer(struct watchers *w, struct watcher *watcher, const struct record_desc *desc,
                     const void *message)
{
    record_encode(queue_open(w, &watcher->answers, NULL), desc, message);
    mark_dirty(w, watcher);
}

void watchers_answer_record(struct watchers *w, struct watcher *watcher, struct slice record)
{
    buf_append_slice(queue_open(w, &watcher->answers, NULL), record);
    mark_dirty(w, watcher);
}

void watchers_tell(struct watchers *w, struct watcher *watcher, const struct record_desc *desc,
                   const void *message)
{
    record_encode(queue_open(w, &watcher->events, &watcher->link_seq), desc, message);
    mark_dirty(w, watcher);
}

void watchers_result(struct watchers *w, struct watcher *watcher, const struct msg_result *result)
{
    if (watcher->is_linked)
        watchers_tell(w, watcher, &msg_result_desc, result);
    else
        watchers_answer(w, watcher, &msg_result_desc, result);
}

uint32_t watchers_publish(struct watchers *w, struct map *table, struct slice key,
                          const struct record_desc *desc, const void *message)
{
    const struct interest *interest = map_get(table, key);
    if (interest == NULL)
        return 0;
    buf_clear(w->scratch);
    record_encode(w->scratch, desc, message);
    for (uint32_t i = 0; i < interest->count; i++) {
        struct watcher *watcher = interest->watchers[i];
        struct buf *packet = queue_open(w, &watcher->events, &watcher->link_seq);
        buf_append(packet, w->scratch->bytes, w->scratch->size);
        mark_dirty(w, watcher);
    }
    metric_add(events_published_total, interest->count);
    return interest->count;
}

bool watchers_are_busy(const struct watchers *w)
{
    for (const struct list *node = w->dirty.next; node != &w->dirty; node = node->next)
        if (LIST_ENTRY(node, struct watcher, dirty)->events.count > 1)
            return true;
    return false;
}

/* A full or vanished peer is no error here: the packet is dropped and counted by the bus, and the
 * gateway's deadline or the next link sequence number tells it. */
static void queue_flush(struct packet_queue *queue, struct bus *bus,
                        enum rc (*send)(struct bus *, struct slice, struct buf *), struct slice to)
{
    for (uint32_t i = 0; i < queue->count; i++) {
        enum rc rc = send(bus, to, queue->packets[i]);
        (void)rc;
    }
    queue_clear(queue);
}

void watchers_flush(struct watchers *w, struct bus *bus)
{
    LIST_EACH(node, &w->dirty)
    {
        struct watcher *watcher = LIST_ENTRY(node, struct watcher, dirty);
        struct slice to = slice_string(watcher->id);
        queue_flush(&watcher->answers, bus, bus->send, to);
        queue_flush(&watcher->events, bus, bus->publish, to);
        list_remove(node);
    }
}
