#include "gateway/presence.h"

#include "gateway/frame.h"
#include "gateway/presence_query.h"
#include "gateway/session.h"
#include "mesh/base/check.h"
#include "mesh/base/mem.h"

/* Names in one presence_watch: a small packet. */
#define ASK_BYTES 16384u

/* Who was asked about and not heard of by then is asked about again: nobody answers the question as
 * such, and a packet may be lost. A new leader says nothing while its grace lasts. */
#define ASK_AGAIN_US (LIMIT_PRESENCE_GRACE_MS * UINT64_C(1000) + 1000000)

#define GAP_US (LIMIT_PRESENCE_MS * UINT64_C(1000))

/* A user whom somebody here watches. */
struct watched {
    struct list in_shard; /* On the list of his state. */
    struct list in_told;  /* On the gateway's, or on itself. */
    struct list interests;
    uint64_t last_seen;
    uint64_t told_us;
    uint32_t shard;
    uint32_t version; /* Of what is known of him; 0: nothing is. */
    uint8_t status;   /* enum presence_status. */
    bool is_asked;    /* On the list of the ASKED. */
    bool is_pending;  /* What is known is to be told when his second is over. */
    uint8_t name_size;
    char name[];
};

/* One session that watches one user. */
struct interest {
    struct {
        struct session *session;
        struct watched *watched;
    } key;
    struct list in_session;
    struct list in_watched;
    uint32_t told; /* The version that the session has. */
};

static struct slice name_of(const void *thing)
{
    const struct watched *watched = thing;
    return slice_of(watched->name, watched->name_size);
}

static struct slice key_of(const void *thing)
{
    const struct interest *interest = thing;
    return slice_of(&interest->key, sizeof(interest->key));
}

void presence_init(struct gateway *gateway)
{
    struct presence *presence = &gateway->presence;
    map_init(&presence->watched, name_of);
    map_init(&presence->interests, key_of);
    list_init(&presence->busy);
    list_init(&presence->queries);
    list_init(&presence->told);
}

void presence_init_shard(struct shard_presence *shard)
{
    list_init(&shard->fresh);
    list_init(&shard->asked);
    list_init(&shard->heard);
    list_init(&shard->idle);
    list_init(&shard->node);
}

static struct shard_presence *shard_of(struct gateway *gateway, uint32_t shard)
{
    return &gateway->routers.shards[shard].presence;
}

static uint32_t index_of(const struct gateway *gateway, const struct shard_presence *presence)
{
    const struct shard *shard = LIST_ENTRY(presence, struct shard, presence);
    return (uint32_t)(shard - gateway->routers.shards);
}

static void forget(struct gateway *gateway, struct watched *watched)
{
    CHECK(list_is_empty(&watched->interests));
    map_remove(&gateway->presence.watched, name_of(watched));
    list_remove(&watched->in_shard);
    list_remove(&watched->in_told);
    mem_free(watched);
}

void presence_fini(struct gateway *gateway)
{
    struct watched *watched;
    for (uint32_t i = 0; i < gateway->routers.shard_count; i++)
        while ((watched = LIST_FIRST(&shard_of(gateway, i)->idle, struct watched, in_shard)) !=
               NULL)
            forget(gateway, watched);
    CHECK(gateway->presence.watched.count == 0 && gateway->presence.interests.count == 0);
    map_fini(&gateway->presence.watched);
    map_fini(&gateway->presence.interests);
}

/* ---- What sessions are told ---- */

static struct buf *frame_of(struct gateway *gateway, const struct watched *watched)
{
    struct msg_presence_item item = {
        .user = name_of(watched), .status = watched->status, .last_seen = watched->last_seen};
    buf_clear(gateway->text);
    client_put_presence(gateway->text, &item);
    return frame_text(buf_slice(gateway->text));
}

/* The frame is made by the first that needs one. */
static void tell(struct interest *interest, struct buf **frame)
{
    struct session *session = interest->key.session;
    const struct watched *watched = interest->key.watched;
    if (interest->told == watched->version)
        return;
    if (*frame == NULL)
        *frame = frame_of(session->gateway, watched);
    if (session_push_hint(session, *frame))
        interest->told = watched->version;
    else
        session->misses_presence = true;
}

/* His second begins now. */
static void note_told(struct gateway *gateway, struct watched *watched)
{
    watched->told_us = gateway_now_us(gateway);
    watched->is_pending = false;
    list_remove(&watched->in_told);
    list_append(&gateway->presence.told, &watched->in_told);
}

static void tell_all(struct gateway *gateway, struct watched *watched)
{
    struct buf *frame = NULL;
    note_told(gateway, watched);
    LIST_EACH(node, &watched->interests)
    tell(LIST_ENTRY(node, struct interest, in_watched), &frame);
    buf_unref(&frame);
}

/* One that begins to watch, or has room again. While a change is held back his second goes on as it
 * is, or with enough newcomers it would never end. */
static void tell_one(struct gateway *gateway, struct interest *interest)
{
    struct buf *frame = NULL;
    if (!interest->key.watched->is_pending)
        note_told(gateway, interest->key.watched);
    tell(interest, &frame);
    buf_unref(&frame);
}

void presence_catch_up(struct session *session)
{
    if (!session->misses_presence || !session_has_room(session))
        return;
    session->misses_presence = false;
    LIST_EACH(node, &session->interests)
    {
        struct interest *interest = LIST_ENTRY(node, struct interest, in_session);
        if (interest->told != interest->key.watched->version)
            tell_one(session->gateway, interest);
        if (session->misses_presence)
            return;
    }
}

/* ---- What leaders are asked, and say ---- */

static void move(struct gateway *gateway, struct watched *watched, struct list *state)
{
    struct shard_presence *shard = shard_of(gateway, watched->shard);
    watched->is_asked = state == &shard->asked;
    list_remove(&watched->in_shard);
    list_append(state, &watched->in_shard);
    if (state != &shard->heard && list_is_empty(&shard->node))
        list_append(&gateway->presence.busy, &shard->node);
}

static void send_names(struct gateway *gateway, uint32_t shard, struct buf *names, bool on)
{
    if (names->size == 0)
        return;
    struct msg_presence_watch message = {.shard = shard, .users = buf_slice(names), .on = on};
    routers_tell(gateway, shard, &msg_presence_watch_desc, &message);
    buf_clear(names);
}

/* Everybody of `state`: his leader is told to say how he is, or that he is no longer asked for. */
static void say_all(struct gateway *gateway, uint32_t shard, struct list *state, bool on)
{
    struct buf *names = gateway->text;
    buf_clear(names);
    struct watched *watched;
    while ((watched = LIST_FIRST(state, struct watched, in_shard)) != NULL) {
        record_put_slice(names, name_of(watched));
        if (on)
            move(gateway, watched, &shard_of(gateway, shard)->asked);
        else
            forget(gateway, watched);
        if (names->size >= ASK_BYTES)
            send_names(gateway, shard, names, on);
    }
    send_names(gateway, shard, names, on);
}

void presence_on_missed(struct gateway *gateway, uint32_t index)
{
    struct shard_presence *shard = shard_of(gateway, index);
    struct list *states[2] = {&shard->asked, &shard->heard};
    for (size_t i = 0; i < 2; i++)
        LIST_EACH(node, states[i])
    move(gateway, LIST_ENTRY(node, struct watched, in_shard), &shard->fresh);
}

void presence_on_event(struct gateway *gateway, const struct peer *peer,
                       const struct msg_event_presence *event)
{
    struct watched *watched = map_get(&gateway->presence.watched, event->user);
    uint32_t shard;
    if (routers_user_shard(gateway, event->user, &shard) != RC_OK ||
        gateway->routers.shards[shard].leader != peer)
        return; /* Late news of a former leader. */
    if (watched == NULL) {
        /* That nobody asks for him any more did not arrive. */
        buf_clear(gateway->text);
        record_put_slice(gateway->text, event->user);
        send_names(gateway, shard, gateway->text, false);
        return;
    }
    if (watched->is_asked)
        move(gateway, watched, &shard_of(gateway, shard)->heard);
    uint8_t status = presence_status_of(event->status);
    if (watched->version != 0 && watched->status == status &&
        watched->last_seen == event->last_seen)
        return;
    watched->status = status;
    watched->last_seen = event->last_seen;
    watched->version++;
    if (list_is_empty(&watched->in_told))
        tell_all(gateway, watched);
    else
        watched->is_pending = true;
}

/* ---- Requests ---- */

static struct watched *watched_get(struct gateway *gateway, struct slice user, uint32_t shard)
{
    struct watched *watched = map_get(&gateway->presence.watched, user);
    if (watched == NULL) {
        CHECK(user.size > 0 && user.size <= LIMIT_USER_SIZE_MAX);
        watched = mem_zero(sizeof(*watched) + user.size);
        list_init(&watched->in_shard);
        list_init(&watched->in_told);
        list_init(&watched->interests);
        watched->shard = shard;
        watched->name_size = (uint8_t)user.size;
        memcpy(watched->name, user.base, user.size);
        map_put(&gateway->presence.watched, watched);
    }
    if (list_is_empty(&watched->interests)) /* New, or IDLE. */
        move(gateway, watched, &shard_of(gateway, shard)->fresh);
    return watched;
}

static struct interest *interest_of(const struct session *session, struct slice user)
{
    struct interest wanted;
    const struct presence *presence = &session->gateway->presence;
    wanted.key.session = (struct session *)(uintptr_t)session;
    wanted.key.watched = map_get(&presence->watched, user);
    return wanted.key.watched != NULL ? map_get(&presence->interests, key_of(&wanted)) : NULL;
}

/* It watches him already, and asks again: it is told again, once his second is over. */
static void repeat_interest(struct gateway *gateway, struct interest *interest)
{
    struct watched *watched = interest->key.watched;
    interest->told = 0;
    if (watched->version == 0)
        return; /* It will be told as soon as anything is known. */
    if (list_is_empty(&watched->in_told))
        tell_one(gateway, interest);
    else
        watched->is_pending = true;
}

static void add_interest(struct session *session, struct slice user)
{
    struct gateway *gateway = session->gateway;
    struct interest *interest = interest_of(session, user);
    uint32_t shard;
    if (interest != NULL) {
        repeat_interest(gateway, interest);
        return;
    }
    if (routers_user_shard(gateway, user, &shard) != RC_OK)
        return;
    interest = mem_new(struct interest);
    interest->key.session = session;
    interest->key.watched = watched_get(gateway, user, shard);
    list_append(&session->interests, &interest->in_session);
    list_append(&interest->key.watched->interests, &interest->in_watched);
    map_put(&gateway->presence.interests, interest);
    session->interest_count++;
    if (interest->key.watched->version != 0)
        tell_one(gateway, interest);
}

static void drop_interest(struct interest *interest)
{
    struct session *session = interest->key.session;
    struct watched *watched = interest->key.watched;
    struct gateway *gateway = session->gateway;
    map_remove(&gateway->presence.interests, key_of(interest));
    list_remove(&interest->in_session);
    list_remove(&interest->in_watched);
    session->interest_count--;
    if (list_is_empty(&watched->interests))
        move(gateway, watched, &shard_of(gateway, watched->shard)->idle);
    mem_free(interest);
}

/* May it watch these too? Else *ret_reason says why not, where there is more to say than the rc. */
static enum rc may_watch(struct session *session, const struct client_request *request,
                         const char **ret_reason)
{
    struct gateway *gateway = session->gateway;
    struct slice user;
    uint32_t added = 0;
    *ret_reason = NULL;
    if (!routers_are_known(gateway))
        return RC_UNAVAILABLE;
    for (uint32_t at = 0; client_users_next(&gateway->decoder, request, &at, &user);)
        added += interest_of(session, user) == NULL;
    if (session->interest_count + added > PRESENCE_SESSION_MAX) {
        *ret_reason = "at most 5000 users may be watched";
        return RC_TOO_LARGE;
    }
    return gateway->presence.interests.count + added > PRESENCE_GATEWAY_MAX ? RC_UNAVAILABLE
                                                                            : RC_OK;
}

static void put_ok(struct session *session, struct slice id)
{
    buf_clear(session->gateway->text);
    client_put_ok(session->gateway->text, id);
    session_put(session);
}

void presence_watch(struct session *session, const struct client_request *request)
{
    struct slice user;
    const char *reason;
    enum rc rc = may_watch(session, request, &reason);
    if (rc != RC_OK) {
        session_put_error(session, request->id, rc, reason,
                          rc == RC_UNAVAILABLE ? LIMIT_RETRY_AFTER_MS : 0);
        return;
    }
    put_ok(session, request->id);
    for (uint32_t at = 0; session->state != SESSION_CLOSED &&
                          client_users_next(&session->gateway->decoder, request, &at, &user);)
        add_interest(session, user);
}

void presence_unwatch(struct session *session, const struct client_request *request)
{
    struct slice user;
    for (uint32_t at = 0; client_users_next(&session->gateway->decoder, request, &at, &user);) {
        struct interest *interest = interest_of(session, user);
        if (interest != NULL)
            drop_interest(interest);
    }
    put_ok(session, request->id);
}

void presence_leave(struct session *session)
{
    struct interest *interest;
    while ((interest = LIST_FIRST(&session->interests, struct interest, in_session)) != NULL)
        drop_interest(interest);
}

/* ---- The turn ---- */

/* What this shard's leader is to hear; nothing where nobody leads. */
static void settle(struct gateway *gateway, struct shard_presence *shard)
{
    uint32_t index = index_of(gateway, shard);
    uint64_t now_us = gateway_now_us(gateway);
    say_all(gateway, index, &shard->idle, false);
    if (!list_is_empty(&shard->asked) && now_us >= shard->asked_us + ASK_AGAIN_US)
        presence_on_missed(gateway, index);
    if (!list_is_empty(&shard->fresh) && routers_is_live(gateway, index)) {
        say_all(gateway, index, &shard->fresh, true);
        shard->asked_us = now_us;
    }
    if (list_is_empty(&shard->fresh) && list_is_empty(&shard->asked))
        list_remove(&shard->node);
}

void presence_turn(struct gateway *gateway)
{
    struct presence *presence = &gateway->presence;
    uint64_t now_us = gateway_now_us(gateway);
    struct watched *watched;
    while ((watched = LIST_FIRST(&presence->told, struct watched, in_told)) != NULL &&
           now_us >= watched->told_us + GAP_US) {
        list_remove(&watched->in_told);
        if (watched->is_pending)
            tell_all(gateway, watched);
    }
    presence_query_turn(gateway);
    LIST_EACH(node, &presence->busy)
    settle(gateway, LIST_ENTRY(node, struct shard_presence, node));
}

uint64_t presence_due_us(const struct gateway *gateway)
{
    const struct presence *presence = &gateway->presence;
    const struct watched *told = LIST_FIRST(&presence->told, struct watched, in_told);
    uint64_t due_us = presence_query_due_us(gateway);
    if (told != NULL && told->told_us + GAP_US < due_us)
        due_us = told->told_us + GAP_US;
    LIST_EACH(node, &presence->busy)
    {
        const struct shard_presence *shard = LIST_ENTRY(node, struct shard_presence, node);
        if (!list_is_empty(&shard->idle) ||
            (!list_is_empty(&shard->fresh) && routers_is_live(gateway, index_of(gateway, shard))))
            return 0;
        if (!list_is_empty(&shard->asked) && shard->asked_us + ASK_AGAIN_US < due_us)
            due_us = shard->asked_us + ASK_AGAIN_US;
    }
    return due_us;
}
