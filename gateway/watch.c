#include "gateway/watch.h"

#include "gateway/frame.h"
#include "gateway/large.h"
#include "gateway/pair.h"
#include "gateway/proof.h"
#include "gateway/session.h"
#include "mesh/base/check.h"
#include "mesh/base/mem.h"
#include "mesh/base/metrics.h"

/* An answer may overtake published events; after two beats a lost one has shown itself. */
#define WATCH_SUSPECT_US (LIMIT_BEAT_MS * 2000u)

static struct slice key_of(const void *thing)
{
    return watch_conv(thing);
}

void watches_init(struct gateway *gateway)
{
    map_init(&gateway->watches, key_of);
    list_init(&gateway->suspects);
    list_init(&gateway->empty);
}

struct watch *watch_of_shard_node(struct list *node)
{
    return LIST_ENTRY(node, struct watch, in_shard);
}

struct watch *watch_get(struct gateway *gateway, struct slice conv)
{
    struct watch *watch = map_get(&gateway->watches, conv);
    if (watch != NULL)
        return watch;
    uint32_t shard;
    if (routers_conv_shard(gateway, conv, &shard) != RC_OK)
        return NULL;
    CHECK(conv.size > 0 && conv.size <= LIMIT_CONV_SIZE_MAX);
    watch = mem_zero(sizeof(*watch) + conv.size);
    list_init(&watch->in_shard);
    list_init(&watch->live);
    list_init(&watch->catching);
    list_init(&watch->node);
    watch->shard = shard;
    watch->conv_size = (uint8_t)conv.size;
    memcpy(watch->conv, conv.base, conv.size);
    map_put(&gateway->watches, watch);
    list_append(&gateway->routers.shards[shard].watches, &watch->in_shard);
    list_append(&gateway->empty, &watch->node);
    metric_set(watches, gateway->watches.count);
    return watch;
}

/* ---- The recent entries ---- */

static void recent_pop(struct recent *recent)
{
    struct buf **slot = &recent->frames[recent->first & (WATCH_RECENT_COUNT - 1)];
    recent->bytes -= (uint32_t)(*slot)->size;
    buf_unref(slot);
    recent->first++;
    recent->count--;
}

static void recent_clear(struct watch *watch)
{
    if (watch->recent == NULL)
        return;
    while (watch->recent->count > 0)
        recent_pop(watch->recent);
    mem_free(watch->recent);
    watch->recent = NULL;
}

static void recent_push(struct watch *watch, uint64_t seq, struct buf *frame)
{
    if (watch->recent != NULL && watch->recent->first + watch->recent->count != seq)
        recent_clear(watch);
    if (watch->recent == NULL) {
        watch->recent = mem_new(struct recent);
        watch->recent->first = seq;
    }
    struct recent *recent = watch->recent;
    while (recent->count > 0 && (recent->count == WATCH_RECENT_COUNT ||
                                 recent->bytes + frame->size > WATCH_RECENT_BYTES))
        recent_pop(recent);
    recent->frames[seq & (WATCH_RECENT_COUNT - 1)] = buf_ref(frame);
    recent->count++;
    recent->bytes += (uint32_t)frame->size;
}

struct buf *watch_recent(const struct watch *watch, uint64_t seq)
{
    const struct recent *recent = watch->recent;
    if (recent == NULL || seq < recent->first || seq >= recent->first + recent->count)
        return NULL;
    return recent->frames[seq & (WATCH_RECENT_COUNT - 1)];
}

/* ---- The head ---- */

/* Those who were ahead of the stream may be met by it now. Whoever still is stays where he is:
 * moving him would put him at the end of the list that is being walked. */
static void settle_parked(struct watch *watch)
{
    LIST_EACH(node, &watch->catching)
    {
        struct pair *pair = LIST_ENTRY(node, struct pair, in_watch);
        if (pair->state == PAIR_PARKED && pair->cursor <= watch->head)
            pair_settle(pair);
    }
}

/* The stream lost what lies between its head and `head`: the pairs read it from the log. */
static void skip_to(struct gateway *gateway, struct watch *watch, uint64_t head)
{
    watch->head = head;
    watch->left_at = head;
    if (watch->recent != NULL && watch->recent->first + watch->recent->count != head + 1)
        recent_clear(watch);
    LIST_EACH(node, &watch->live)
    pair_settle(LIST_ENTRY(node, struct pair, in_watch));
    settle_parked(watch);
    large_on_head(gateway, watch, true);
}

void watch_on_known(struct gateway *gateway, struct watch *watch, uint64_t seq)
{
    if (!watch->is_started || seq <= watch->head)
        return;
    /* Live sessions wait for the stream, which is on its way, and are not made to ask for it; nor
     * are those that rest made to ask whether they missed something in it. */
    if (list_is_empty(&watch->live) && watch->large == NULL) {
        skip_to(gateway, watch, seq);
        return;
    }
    if (seq > watch->known)
        watch->known = seq;
    if (!list_is_empty(&watch->node))
        return;
    watch->suspect_us = gateway_now_us(gateway) + WATCH_SUSPECT_US;
    list_append(&gateway->suspects, &watch->node);
}

void watch_start(struct gateway *gateway, struct watch *watch, uint64_t head)
{
    if (watch->is_started) {
        watch_on_known(gateway, watch, head);
        return;
    }
    watch->is_started = true;
    skip_to(gateway, watch, head > watch->known ? head : watch->known);
}

/* The leader knows of none, so it does not tell of it either, also where it begins again: who waits
 * for the stream would wait for ever. Each asks for himself what became of it. */
static void watch_anew(struct watch *watch)
{
    if (watch->large != NULL)
        large_end(watch);
    LIST_EACH(node, &watch->catching)
    {
        struct pair *pair = LIST_ENTRY(node, struct pair, in_watch);
        if (pair->state != PAIR_TO_WATCH && pair->state != PAIR_WATCHING)
            pair_move(pair, PAIR_TO_WATCH);
    }
    LIST_EACH(node, &watch->live)
    pair_move(LIST_ENTRY(node, struct pair, in_watch), PAIR_TO_WATCH);
}

void watch_on_head(struct gateway *gateway, struct slice conv, uint64_t head)
{
    struct watch *watch = map_get(&gateway->watches, conv);
    if (watch == NULL || !watch->is_started)
        return;
    if (head == 0)
        watch_anew(watch);
    else if (head > watch->head)
        skip_to(gateway, watch, head);
    else
        proof_on_rewatched(gateway, watch);
}

void watch_on_count(struct gateway *gateway, struct watch *watch, uint64_t seq, uint64_t members,
                    uint64_t messages)
{
    if (members == 0 || seq < watch->counted_at)
        return;
    watch->counted_at = seq;
    watch->messages = messages;
    bool is_large = members > gateway->options.fanout_members;
    if (is_large && watch->large == NULL)
        large_begin(watch, seq);
    else if (!is_large && watch->large != NULL)
        large_end(watch);
}

void watches_turn(struct gateway *gateway)
{
    uint64_t now_us = gateway_now_us(gateway);
    struct watch *watch;
    while ((watch = LIST_FIRST(&gateway->suspects, struct watch, node)) != NULL &&
           now_us >= watch->suspect_us) {
        list_remove(&watch->node);
        if (watch->known > watch->head)
            skip_to(gateway, watch, watch->known);
    }
}

/* ---- Events ---- */

struct buf *watch_encode(struct gateway *gateway, struct slice conv, const struct msg_entry *entry)
{
    buf_clear(gateway->text);
    client_put_entry(gateway->text, conv, entry);
    return frame_text(buf_slice(gateway->text));
}

/* The next one of the stream. Who had everything before it is given it; then those who rest hear of
 * it, and whoever it removes of them is out. */
static void advance(struct gateway *gateway, struct watch *watch,
                    const struct msg_event_entry *event, const struct msg_entry *entry,
                    struct buf *frame)
{
    watch->head = entry->seq;
    watch->moved_us = gateway_now_us(gateway);
    LIST_EACH(node, &watch->live)
    pair_deliver(LIST_ENTRY(node, struct pair, in_watch), entry, frame);
    settle_parked(watch);
    if (entry->type == ENTRY_MEMBER && pair_is_removal(entry)) {
        watch->left_at = entry->seq;
        large_on_removal(gateway, watch, entry->user, entry->seq);
    } else if (entry->type == ENTRY_MESSAGE) {
        large_on_sent(gateway, watch, entry->from, event->messages);
    }
    watch_on_count(gateway, watch, entry->seq, event->members, event->messages);
    large_on_head(gateway, watch, false);
}

void watch_on_entry(struct gateway *gateway, const struct msg_event_entry *event)
{
    struct watch *watch = map_get(&gateway->watches, event->conv);
    if (watch == NULL)
        return;
    struct msg_entry entry;
    struct record_reader r = record_reader_of(event->entry);
    if (record_decode(&r, &msg_entry_desc, &entry) != RC_OK) {
        metric_add(packets_bad_total, 1);
        return;
    }
    if (watch->is_started && entry.seq <= watch->head)
        return;
    if (watch->is_started && entry.seq != watch->head + 1)
        skip_to(gateway, watch, entry.seq - 1);
    struct buf *frame = watch_encode(gateway, event->conv, &entry);
    /* Who leaves with this entry must be told from it: such an entry is read from the log. */
    bool is_last_for_some = entry.type == ENTRY_MEMBER && pair_is_removal(&entry);
    if (!is_last_for_some && !list_is_empty(&watch->catching))
        recent_push(watch, entry.seq, frame);
    else
        recent_clear(watch);
    if (watch->is_started)
        advance(gateway, watch, event, &entry, frame);
    else if (entry.seq > watch->known)
        watch->known = entry.seq;
    buf_unref(&frame);
}

/* ---- What is no entry ---- */

/* The frame of what was encoded into gateway->text. One reference, the caller's. */
static struct buf *frame_of_text(struct gateway *gateway)
{
    return frame_text(buf_slice(gateway->text));
}

/* It knows of the conversation and may still hear of it. */
static bool is_here(const struct pair *pair)
{
    return pair->state != PAIR_TO_WATCH && pair->state != PAIR_WATCHING && pair->until == 0;
}

/* To all but the sessions of `user`, where he is not absent. */
static void push_to_others(struct list *pairs, struct slice user, struct buf *frame)
{
    LIST_EACH(node, pairs)
    {
        struct pair *pair = LIST_ENTRY(node, struct pair, in_watch);
        if (is_here(pair) && !slice_equal(session_user(pair->session), user))
            session_push_passing(pair->session, pair, frame);
    }
}

/* What his own devices were delivered is no news to a user, what he has read elsewhere is. */
static void push_to_reader(struct gateway *gateway, struct watch *watch,
                           const struct msg_event_receipt *event, struct buf *frame)
{
    struct user *user = map_get(&gateway->users, event->user);
    if (user == NULL || event->read == 0)
        return;
    LIST_EACH(node, &user->sessions)
    {
        struct session *session = LIST_ENTRY(node, struct session, in_user);
        struct pair *pair = pair_find(session, watch_conv(watch));
        if (pair == NULL)
            continue;
        large_on_read(pair, event->messages);
        if (is_here(pair))
            session_push_passing(session, pair, frame);
    }
}

/* In small groups everybody sees how far each one is. */
void watch_on_receipt(struct gateway *gateway, const struct msg_event_receipt *event)
{
    struct watch *watch = map_get(&gateway->watches, event->conv);
    if (watch == NULL)
        return;
    buf_clear(gateway->text);
    client_put_receipt(gateway->text, event->conv, event->user, event->delivered, event->read);
    struct buf *frame = frame_of_text(gateway);
    push_to_reader(gateway, watch, event, frame);
    if (event->members <= LIMIT_RECEIPTS_MEMBERS) {
        push_to_others(&watch->live, event->user, frame);
        push_to_others(&watch->catching, event->user, frame);
    }
    buf_unref(&frame);
}

void watch_on_tally(struct gateway *gateway, const struct msg_event_tally *event)
{
    struct watch *watch = map_get(&gateway->watches, event->conv);
    if (watch == NULL)
        return;
    buf_clear(gateway->text);
    client_put_tally(gateway->text, event);
    struct buf *frame = frame_of_text(gateway);
    push_to_others(&watch->live, (struct slice){0}, frame);
    push_to_others(&watch->catching, (struct slice){0}, frame);
    buf_unref(&frame);
}

void watch_on_typing(struct gateway *gateway, const struct msg_event_typing *event)
{
    struct watch *watch = map_get(&gateway->watches, event->conv);
    if (watch == NULL)
        return;
    buf_clear(gateway->text);
    client_put_typing(gateway->text, event->conv, event->user, event->on != 0);
    struct buf *frame = frame_of_text(gateway);
    push_to_others(&watch->live, event->user, frame);
    buf_unref(&frame);
}

/* ---- The end ---- */

static void free_watch(struct gateway *gateway, struct watch *watch)
{
    struct msg_unwatch message = {.shard = watch->shard, .conv = watch_conv(watch)};
    routers_tell(gateway, watch->shard, &msg_unwatch_desc, &message);
    map_remove(&gateway->watches, watch_conv(watch));
    list_remove(&watch->in_shard);
    list_remove(&watch->node);
    recent_clear(watch);
    if (watch->large != NULL)
        large_end(watch);
    mem_free(watch);
}

void watches_collect(struct gateway *gateway)
{
    struct watch *watch;
    while ((watch = LIST_FIRST(&gateway->empty, struct watch, node)) != NULL) {
        CHECK(watch->pair_count == 0);
        free_watch(gateway, watch);
    }
    metric_set(watches, gateway->watches.count);
}

void watches_fini(struct gateway *gateway)
{
    watches_collect(gateway);
    CHECK(gateway->watches.count == 0);
    map_fini(&gateway->watches);
}
