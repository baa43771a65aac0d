#include "gateway/routers.h"

#include <stdio.h>
#include <string.h>

#include "gateway/peers.h"
#include "gateway/users.h"
#include "gateway/watch.h"
#include "mesh/base/check.h"
#include "mesh/base/mem.h"
#include "mesh/base/metrics.h"
#include "mesh/wire/key.h"

/* Conversation ids in one `rewatch`: its answer is a few bytes each, the request stays a small
 * packet. */
#define REWATCH_BYTES 16384u

void routers_init(struct gateway *gateway)
{
    peers_init(gateway);
    calls_init(gateway);
}

void routers_fini(struct gateway *gateway)
{
    struct routers *routers = &gateway->routers;
    /* Callbacks must not begin anew: without leaders nothing can be sent. */
    for (uint32_t i = 0; i < routers->shard_count; i++)
        routers->shards[i].leader = NULL;
    calls_fini(gateway);
    mem_free(routers->shards);
    peers_fini(gateway);
}

enum rc routers_conv_shard(const struct gateway *gateway, struct slice conv, uint32_t *ret_shard)
{
    const struct routers *routers = &gateway->routers;
    if (routers->shards == NULL)
        return RC_UNAVAILABLE;
    *ret_shard = key_conv_shard(routers->cluster, routers->shard_count, conv);
    return RC_OK;
}

enum rc routers_user_shard(const struct gateway *gateway, struct slice user, uint32_t *ret_shard)
{
    const struct routers *routers = &gateway->routers;
    if (routers->shards == NULL)
        return RC_UNAVAILABLE;
    *ret_shard = key_user_shard(routers->cluster, routers->shard_count, user);
    return RC_OK;
}

bool routers_is_live(const struct gateway *gateway, uint32_t shard)
{
    const struct peer *leader = gateway->routers.shards[shard].leader;
    return leader != NULL && leader->is_up;
}

bool routers_are_known(const struct gateway *gateway)
{
    return gateway->routers.has_cluster && gateway->routers.shards != NULL;
}

uint64_t routers_retry_ms(const struct gateway *gateway, uint32_t shard)
{
    if (gateway->routers.shards == NULL)
        return LIMIT_RETRY_AFTER_MS;
    uint64_t led_us = gateway->routers.shards[shard].led_us;
    bool was_led = led_us != 0 && gateway_now_us(gateway) < led_us + ROUTERS_LED_US;
    return was_led ? ROUTERS_RETRY_MS : LIMIT_RETRY_AFTER_MS;
}

uint32_t routers_shards_led(const struct gateway *gateway)
{
    uint32_t led = 0;
    for (uint32_t i = 0; i < gateway->routers.shard_count; i++)
        led += routers_is_live(gateway, i);
    return led;
}

/* ---- Who is missing ---- */

static bool has_word(const char *words, struct slice word)
{
    struct slice next;
    while (slice_next_word(&words, &next))
        if (slice_equal(word, next))
            return true;
    return false;
}

static void add_missing(const struct gateway *gateway, struct slice name, char *names)
{
    const struct peer *peer = map_get(&gateway->routers.peers, name);
    size_t size = strlen(names);
    if (!key_node_is_valid(name) || (peer != NULL && peer->is_here) || has_word(names, name) ||
        size + name.size + 2 > GATEWAY_MISSING_SIZE)
        return;
    snprintf(names + size, GATEWAY_MISSING_SIZE - size, "%s%.*s", size > 0 ? " " : "",
             SLICE_ARGS(name));
}

uint32_t routers_missing(const struct gateway *gateway, char names[GATEWAY_MISSING_SIZE])
{
    const struct peer *peer;
    uint32_t count = 0;
    names[0] = '\0';
    for (size_t at = 0; (peer = map_next(&gateway->routers.peers, &at)) != NULL;) {
        count += peer->is_here;
        const char *missing = peer->missing;
        struct slice name;
        while (peer->is_here && slice_next_word(&missing, &name))
            add_missing(gateway, name, names);
    }
    for (size_t at = 0; count == 0 && (peer = map_next(&gateway->routers.peers, &at)) != NULL;)
        add_missing(gateway, peer_name(peer), names);
    return count;
}

/* ---- Who leads ---- */

static void must_rewatch(struct gateway *gateway, struct shard *shard)
{
    if (!shard->must_rewatch) {
        shard->must_rewatch = true;
        gateway->routers.rewatch_pending++;
    }
    users_on_missed(gateway, &shard->users);
    presence_on_missed(gateway, (uint32_t)(shard - gateway->routers.shards));
    gateway->retry_now = true;
}

void routers_on_missed(struct gateway *gateway, const struct peer *peer)
{
    for (uint32_t i = 0; i < gateway->routers.shard_count; i++)
        if (gateway->routers.shards[i].leader == peer)
            must_rewatch(gateway, &gateway->routers.shards[i]);
    calls_on_missed(gateway, peer); /* Results come with the events. */
}

void routers_on_leader_gone(struct gateway *gateway, const struct peer *peer)
{
    struct routers *routers = &gateway->routers;
    for (uint32_t i = 0; i < routers->shard_count; i++)
        if (routers->shards[i].leader == peer)
            routers->shards[i].leader = NULL;
    calls_on_gone(gateway, peer);
}

/* The router that `request` went to says that it does not lead. Believe it until somebody, perhaps
 * the same, claims to. A claim that came after the request was sent is newer and stays. */
void routers_on_not_leader(struct gateway *gateway, const struct request *request)
{
    struct shard *shard = &gateway->routers.shards[request->shard];
    if (shard->leader == request->peer && shard->term == request->term)
        shard->leader = NULL;
}

/* The higher term wins, in whichever order claims arrive. A term has one leader at most. */
static void on_claim(struct gateway *gateway, struct peer *peer, uint32_t index, uint64_t term)
{
    struct shard *shard = &gateway->routers.shards[index];
    if (term == 0) {
        if (shard->leader == peer)
            shard->leader = NULL;
        return;
    }
    if (term < shard->term)
        return;
    shard->led_us = gateway_now_us(gateway);
    if (term == shard->term && shard->leader == peer)
        return;
    shard->term = term;
    shard->leader = peer;
    calls_on_leader(gateway, index);
    must_rewatch(gateway, shard);
}

static void on_beat(struct gateway *gateway, struct peer *peer, const struct msg_beat *beat)
{
    struct routers *routers = &gateway->routers;
    if (beat->shards == 0 || beat->shards > LIMIT_SHARDS_MAX ||
        (routers->shards != NULL && beat->shards != routers->shard_count)) {
        metric_add(packets_bad_total, 1);
        return;
    }
    if (routers->shards == NULL) {
        routers->shard_count = (uint32_t)beat->shards;
        routers->shards = mem_zero(routers->shard_count * sizeof(*routers->shards));
        for (uint32_t i = 0; i < routers->shard_count; i++) {
            list_init(&routers->shards[i].watches);
            list_init(&routers->shards[i].users);
            calls_init_shard(&routers->shards[i].calls);
            presence_init_shard(&routers->shards[i].presence);
        }
        users_on_shards(gateway);
    }
    routers->has_webhook |= beat->webhook != 0;
    if (beat->missing.size < sizeof(peer->missing))
        snprintf(peer->missing, sizeof(peer->missing), "%.*s", SLICE_ARGS(beat->missing));
    struct record_reader r = record_reader_of(beat->terms);
    for (uint32_t i = 0; i < routers->shard_count; i++) {
        uint64_t term;
        if (record_get_u64(&r, &term) != RC_OK) {
            metric_add(packets_bad_total, 1);
            return;
        }
        on_claim(gateway, peer, i, term);
    }
}

void routers_tell(struct gateway *gateway, uint32_t shard, const struct record_desc *desc,
                  const void *message)
{
    struct peer *leader = gateway->routers.shards[shard].leader;
    if (leader == NULL)
        return;
    peers_add(gateway, leader, desc, message);
    peers_send_full(gateway, leader);
}

/* ---- What comes in ---- */

static const struct record_desc *answer_desc(uint32_t number)
{
    switch (number) {
    case MSG_USER_CONVS:
        return &msg_user_convs_desc;
    case MSG_WATCHED:
        return &msg_watched_desc;
    case MSG_FETCHED:
        return &msg_fetched_desc;
    case MSG_REWATCHED:
        return &msg_rewatched_desc;
    case MSG_RESULT:
        return &msg_result_desc;
    case MSG_MEMBERS_PAGE:
        return &msg_members_page_desc;
    case MSG_SUMMARIES:
        return &msg_summaries_desc;
    case MSG_LOOKED:
        return &msg_looked_desc;
    case MSG_READERS_PAGE:
        return &msg_readers_page_desc;
    case MSG_PRESENCES:
        return &msg_presences_desc;
    case MSG_UNTOLD_CONVS:
        return &msg_untold_convs_desc;
    default:
        return NULL;
    }
}

static void on_packet(void *context, struct slice from, const struct packet *packet)
{
    struct gateway *gateway = context;
    struct peer *peer = peers_get(gateway, from);
    if (peer == NULL || !peers_is_our_cluster(gateway, packet->cluster)) {
        metric_add(packets_bad_total, 1);
        return;
    }
    struct record_reader r = packet->messages;
    while (!record_reader_at_end(&r)) {
        uint32_t number;
        union answer answer;
        struct msg_status_reply status;
        enum rc rc = record_peek(&r, &number);
        const struct record_desc *desc = rc == RC_OK ? answer_desc(number) : NULL;
        if (rc == RC_OK && number == MSG_STATUS_REPLY &&
            record_decode(&r, &msg_status_reply_desc, &status) == RC_OK) {
            survey_on_status(gateway, peer, &status);
            continue;
        }
        if (rc == RC_OK)
            rc = desc != NULL ? record_decode(&r, desc, &answer) : record_skip(&r);
        if (rc != RC_OK) {
            metric_add(packets_bad_total, 1);
            return;
        }
        if (desc != NULL)
            calls_on_answer(gateway, peer, (enum message_number)number, &answer);
    }
}

static enum rc on_event(struct gateway *gateway, struct peer *peer, struct record_reader *r)
{
    uint32_t number;
    union {
        struct msg_beat beat;
        struct msg_event_entry entry;
        struct msg_event_receipt receipt;
        struct msg_event_user user;
        struct msg_event_device device;
        struct msg_event_presence presence;
        struct msg_event_typing typing;
        struct msg_event_tally tally;
        union answer answer;
    } event;
    enum rc rc = record_peek(r, &number);
    if (rc != RC_OK)
        return rc;
    switch (number) {
    case MSG_BEAT:
        if ((rc = record_decode(r, &msg_beat_desc, &event)) == RC_OK)
            on_beat(gateway, peer, &event.beat);
        return rc;
    case MSG_EVENT_ENTRY:
        if ((rc = record_decode(r, &msg_event_entry_desc, &event)) == RC_OK)
            watch_on_entry(gateway, &event.entry);
        return rc;
    case MSG_RESULT: /* In one packet with the entry it tells of: one wake-up, one write. */
        if ((rc = record_decode(r, &msg_result_desc, &event)) == RC_OK)
            calls_on_answer(gateway, peer, MSG_RESULT, &event.answer);
        return rc;
    case MSG_EVENT_RECEIPT:
        if ((rc = record_decode(r, &msg_event_receipt_desc, &event)) == RC_OK)
            watch_on_receipt(gateway, &event.receipt);
        return rc;
    case MSG_EVENT_DEVICE:
        if ((rc = record_decode(r, &msg_event_device_desc, &event)) == RC_OK)
            users_on_device(gateway, &event.device);
        return rc;
    case MSG_EVENT_TYPING:
        if ((rc = record_decode(r, &msg_event_typing_desc, &event)) == RC_OK)
            watch_on_typing(gateway, &event.typing);
        return rc;
    case MSG_EVENT_TALLY:
        if ((rc = record_decode(r, &msg_event_tally_desc, &event)) == RC_OK)
            watch_on_tally(gateway, &event.tally);
        return rc;
    case MSG_EVENT_PRESENCE:
        if ((rc = record_decode(r, &msg_event_presence_desc, &event)) == RC_OK)
            presence_on_event(gateway, peer, &event.presence);
        return rc;
    case MSG_EVENT_USER:
        if ((rc = record_decode(r, &msg_event_user_desc, &event)) == RC_OK)
            users_on_event(gateway, &event.user);
        return rc;
    default: /* A newer router says more than we know. */
        return record_skip(r);
    }
}

static void on_published(void *context, struct slice from, const struct packet *packet)
{
    struct gateway *gateway = context;
    struct peer *peer = peers_get(gateway, from);
    if (peer == NULL || !peer->is_here || !peers_is_our_cluster(gateway, packet->cluster)) {
        metric_add(packets_bad_total, 1);
        return;
    }
    if (!peers_on_published(gateway, peer, packet))
        return;
    struct record_reader r = packet->messages;
    while (!record_reader_at_end(&r)) {
        if (on_event(gateway, peer, &r) == RC_OK)
            continue;
        metric_add(packets_bad_total, 1);
        routers_on_missed(gateway, peer); /* What else it held is unknown. */
        return;
    }
}

static void on_peer(void *context, const struct msg_node *node, bool up)
{
    survey_on_node(context, node, up);
    peers_on_peer(context, node, up);
}

struct bus_handler routers_bus_handler(struct gateway *gateway)
{
    return (struct bus_handler){.context = gateway,
                                .on_request = on_packet,
                                .on_publish = on_published,
                                .on_peer = on_peer};
}

/* ---- Watching again ---- */

struct rewatch {
    struct request request;
    struct buf *convs; /* In the order asked: the heads come in the same. */
};

static void on_rewatched(struct gateway *gateway, struct request *request, enum rc rc,
                         const void *answer)
{
    struct rewatch *rewatch = (struct rewatch *)request;
    struct shard *shard = &gateway->routers.shards[request->shard];
    shard->rewatches--;
    if (rc == RC_OK) {
        struct record_reader convs = record_reader_of(buf_slice(rewatch->convs));
        struct record_reader heads =
            record_reader_of(((const struct msg_rewatched *)answer)->heads);
        struct slice conv;
        uint64_t head;
        while (record_get_slice(&convs, &conv) == RC_OK && record_get_u64(&heads, &head) == RC_OK)
            watch_on_head(gateway, conv, head);
        rc = record_reader_at_end(&convs) ? RC_OK : RC_CORRUPT;
    }
    if (rc != RC_OK && !shard->must_rewatch) {
        shard->must_rewatch = true;
        gateway->routers.rewatch_pending++;
    }
    gateway->retry_now |= rc == RC_NOT_LEADER; /* The next leader may be there already. */
    buf_unref(&rewatch->convs);
}

static void send_rewatch(struct gateway *gateway, uint32_t shard, struct buf *convs)
{
    struct rewatch *rewatch = mem_new(struct rewatch);
    rewatch->convs = convs;
    rewatch->request.id = calls_next_id(gateway);
    rewatch->request.shard = shard;
    rewatch->request.answer_number = MSG_REWATCHED;
    rewatch->request.on_done = on_rewatched;
    struct msg_rewatch message = {
        .req = rewatch->request.id, .shard = shard, .convs = buf_slice(convs)};
    gateway->routers.shards[shard].rewatches++;
    enum rc rc = calls_send(gateway, &rewatch->request, &msg_rewatch_desc, &message);
    CHECK(rc == RC_OK); /* The caller looked: the shard is live. */
}

static void rewatch_shard(struct gateway *gateway, uint32_t index)
{
    struct shard *shard = &gateway->routers.shards[index];
    struct buf *convs = NULL;
    LIST_EACH(node, &shard->watches)
    {
        if (convs == NULL)
            convs = buf_new(1024);
        record_put_slice(convs, watch_conv(watch_of_shard_node(node)));
        if (convs->size >= REWATCH_BYTES) {
            send_rewatch(gateway, index, convs);
            convs = NULL;
        }
    }
    if (convs != NULL)
        send_rewatch(gateway, index, convs);
}

void routers_rewatch(struct gateway *gateway)
{
    struct routers *routers = &gateway->routers;
    for (uint32_t i = 0; i < routers->shard_count && routers->rewatch_pending > 0; i++) {
        struct shard *shard = &routers->shards[i];
        /* One round at a time: an answer on its way may be older than the last hole, so the flag
         * stays until a round that began after it. */
        if (!shard->must_rewatch || shard->rewatches > 0 || !routers_is_live(gateway, i))
            continue;
        shard->must_rewatch = false;
        routers->rewatch_pending--;
        rewatch_shard(gateway, i);
    }
}

void routers_turn(struct gateway *gateway)
{
    peers_turn(gateway);
}

void routers_flush(struct gateway *gateway)
{
    peers_flush(gateway);
}

uint64_t routers_due_us(const struct gateway *gateway)
{
    uint64_t peers_us = peers_due_us(gateway);
    uint64_t calls_us = calls_due_us(gateway);
    return peers_us < calls_us ? peers_us : calls_us;
}
