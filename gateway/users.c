#include "gateway/users.h"

#include "gateway/session.h"
#include "mesh/base/check.h"
#include "mesh/base/mem.h"
#include "mesh/base/metrics.h"

/* Stale lists asked for at a time: after a failover there is one for each user of the shard. */
#define USERS_CALLS_MAX 256u

/* What a session that is announced once more makes itself older by: so it replaces none that may be
 * younger, however slow the news, and the younger one answers. */
#define USERS_AGAIN_MS 1000u

static struct slice key_of(const void *thing)
{
    return user_name(thing);
}

void users_init(struct gateway *gateway)
{
    map_init(&gateway->users, key_of);
    list_init(&gateway->stale_users);
    list_init(&gateway->past_users);
}

static void forget(struct gateway *gateway, struct user *user)
{
    CHECK(user->session_count == 0);
    map_remove(&gateway->users, user_name(user));
    list_remove(&user->node);
    mem_free(user);
}

void users_fini(struct gateway *gateway)
{
    struct user *user;
    while ((user = LIST_FIRST(&gateway->past_users, struct user, node)) != NULL)
        forget(gateway, user);
    CHECK(gateway->users.count == 0);
    map_fini(&gateway->users);
}

static void join_shard(struct gateway *gateway, struct user *user)
{
    uint32_t shard;
    if (routers_user_shard(gateway, user_name(user), &shard) == RC_OK)
        list_append(&gateway->routers.shards[shard].users, &user->in_shard);
}

enum rc users_connect(struct gateway *gateway, struct slice name, struct user **ret_user)
{
    struct user *user = map_get(&gateway->users, name);
    uint64_t now_us = gateway_now_us(gateway);
    if (user == NULL) {
        CHECK(name.size > 0 && name.size <= LIMIT_USER_SIZE_MAX);
        user = mem_zero(sizeof(*user) + name.size);
        list_init(&user->sessions);
        list_init(&user->in_shard);
        list_init(&user->node);
        user->name_size = (uint8_t)name.size;
        memcpy(user->name, name.base, name.size);
        user->window_us = now_us;
        map_put(&gateway->users, user);
        list_append(&gateway->past_users, &user->node);
    }
    if (now_us >= user->window_us + USERS_RATE_WINDOW_US) {
        user->window_us = now_us;
        user->window_count = 0;
    }
    uint32_t max = gateway->options.reconnects_per_minute_max;
    if (max != 0 && user->window_count >= max)
        return RC_RATE_LIMITED;
    user->window_count++;
    *ret_user = user;
    return RC_OK;
}

void users_add(struct gateway *gateway, struct user *user, struct session *session)
{
    list_append(&user->sessions, &session->in_user);
    session->user = user;
    if (user->session_count++ > 0)
        return;
    list_remove(&user->node);
    join_shard(gateway, user);
    gateway->users_online++;
    metric_set(online_users, gateway->users_online);
}

void users_remove(struct gateway *gateway, struct session *session)
{
    struct user *user = session->user;
    list_remove(&session->in_user);
    session->user = NULL;
    if (--user->session_count > 0)
        return;
    uint32_t shard;
    if (routers_user_shard(gateway, user_name(user), &shard) == RC_OK) {
        struct msg_user_close message = {.shard = shard, .user = user_name(user)};
        routers_tell(gateway, shard, &msg_user_close_desc, &message);
    }
    user->status = PRESENCE_OFFLINE;
    list_remove(&user->in_shard);
    list_remove(&user->node);
    list_append(&gateway->past_users, &user->node);
    gateway->users_online--;
    metric_set(online_users, gateway->users_online);
}

/* Where no leader is heard, the next one is told with his sessions (list_again). */
static void tell_status(struct gateway *gateway, const struct user *user)
{
    uint32_t shard;
    if (user->status == PRESENCE_OFFLINE ||
        routers_user_shard(gateway, user_name(user), &shard) != RC_OK ||
        !routers_is_live(gateway, shard))
        return;
    struct msg_user_status message = {.shard = shard,
                                      .user = user_name(user),
                                      .status = user->status,
                                      .age_ms = (gateway_now_us(gateway) - user->status_us) / 1000};
    routers_tell(gateway, shard, &msg_user_status_desc, &message);
}

void users_set_status(struct gateway *gateway, struct user *user, enum presence_status status)
{
    user->status = (uint8_t)status;
    user->status_us = gateway_now_us(gateway);
    tell_status(gateway, user);
}

/* A user who left stays until his window has passed, so that leaving does not reset his rate. The
 * list is ordered by when they left, which is after their window began: the front may wait a little
 * long. */
void users_turn(struct gateway *gateway)
{
    uint64_t now_us = gateway_now_us(gateway);
    struct user *user;
    while ((user = LIST_FIRST(&gateway->past_users, struct user, node)) != NULL &&
           user->call == NULL && now_us >= user->window_us + USERS_RATE_WINDOW_US)
        forget(gateway, user);
}

static uint64_t age_ms_of(const struct session *session)
{
    return (gateway_now_us(session->gateway) - session->accepted_us) / 1000;
}

static enum rc call_open(struct gateway *gateway, struct request *request, struct slice user,
                         struct slice after, enum user_past past, const struct session *opener,
                         uint64_t age_ms)
{
    uint32_t shard;
    enum rc rc = routers_user_shard(gateway, user, &shard);
    if (rc != RC_OK)
        return rc;
    if (!routers_is_live(gateway, shard) && !request->may_wait)
        return RC_UNAVAILABLE;
    request->id = calls_next_id(gateway);
    request->shard = shard;
    request->answer_number = MSG_USER_CONVS;
    struct msg_user_open message = {.req = request->id,
                                    .shard = shard,
                                    .user = user,
                                    .after = after,
                                    .limit = LIMIT_USER_CONVS_PAGE,
                                    .past = past};
    if (opener != NULL) {
        message.device = slice_string(opener->device);
        message.session = opener->id;
        message.age_ms = age_ms;
    }
    return calls_send(gateway, request, &msg_user_open_desc, &message);
}

enum rc users_call_open(struct gateway *gateway, struct request *request, struct slice user,
                        struct slice after, const struct session *opener)
{
    uint64_t age_ms = opener != NULL ? age_ms_of(opener) : 0;
    return call_open(gateway, request, user, after, USER_PAST_APART, opener, age_ms);
}

/* ---- Lists of which a change may have been missed ---- */

struct listing {
    struct request request;
    struct user *user;
};

static void make_stale(struct gateway *gateway, struct user *user)
{
    if (user->session_count > 0 && list_is_empty(&user->node))
        list_append(&gateway->stale_users, &user->node);
}

static void on_page(struct gateway *gateway, struct request *request, enum rc rc,
                    const void *answer);

/* `opener`, where not NULL, was announced before. */
static enum rc list_page(struct gateway *gateway, struct user *user, struct slice after,
                         const struct session *opener)
{
    struct listing *listing = mem_new(struct listing);
    listing->user = user;
    listing->request.on_done = on_page;
    uint64_t age_ms = opener != NULL ? age_ms_of(opener) + USERS_AGAIN_MS : 0;
    enum rc rc = call_open(gateway, &listing->request, user_name(user), after, USER_PAST_NONE,
                           opener, age_ms);
    if (rc != RC_OK) {
        mem_free(listing);
        return rc;
    }
    user->call = &listing->request;
    gateway->listing_calls++;
    return RC_OK;
}

static void on_page(struct gateway *gateway, struct request *request, enum rc rc,
                    const void *answer)
{
    struct user *user = ((struct listing *)request)->user;
    user->call = NULL;
    gateway->listing_calls--;
    if (rc != RC_OK) {
        make_stale(gateway, user);
        gateway->retry_now |= rc == RC_NOT_LEADER; /* The next leader may be there already. */
        return;
    }
    const struct msg_user_convs *page = answer;
    struct record_reader r = record_reader_of(page->convs);
    struct slice conv = {0};
    while (record_get_slice(&r, &conv) == RC_OK)
        LIST_EACH(node, &user->sessions)
    session_on_listed(LIST_ENTRY(node, struct session, in_user), conv, false);
    if (page->more != 0 && conv.size > 0 && user->session_count > 0 &&
        list_page(gateway, user, conv, NULL) != RC_OK)
        make_stale(gateway, user);
    gateway->retry_now |= !list_is_empty(&gateway->stale_users) && rc == RC_OK;
}

static void on_announced(struct gateway *gateway, struct request *request, enum rc rc,
                         const void *answer)
{
    (void)gateway;
    (void)request;
    (void)rc; /* Where it fails the older session lives until it is told otherwise. */
    (void)answer;
}

static void announce(struct session *session, uint64_t age_ms)
{
    struct request *request = mem_new(struct request);
    request->on_done = on_announced;
    if (call_open(session->gateway, request, session_user(session), (struct slice){0},
                  USER_PAST_NONE, session, age_ms) != RC_OK)
        mem_free(request);
}

/* What was missed may also be that a device has a younger session elsewhere: a new leader tells of
 * it only those who have come to him before. So the sessions that are here are announced again, the
 * first of them with the question for the list; a younger one elsewhere is then announced in answer
 * (users_on_device). */
static bool list_again(struct gateway *gateway, struct user *user)
{
    struct session *first = NULL;
    /* Before anything else is said of him, or the leader would show him as online for a moment. */
    tell_status(gateway, user);
    LIST_EACH(node, &user->sessions)
    {
        struct session *session = LIST_ENTRY(node, struct session, in_user);
        if (session->is_announced && first == NULL)
            first = session;
        else if (session->is_announced)
            announce(session, age_ms_of(session) + USERS_AGAIN_MS);
    }
    return list_page(gateway, user, (struct slice){0}, first) == RC_OK;
}

void users_retry(struct gateway *gateway)
{
    LIST_EACH(node, &gateway->stale_users)
    {
        if (gateway->listing_calls >= USERS_CALLS_MAX)
            return;
        struct user *user = LIST_ENTRY(node, struct user, node);
        if (user->call == NULL && list_again(gateway, user))
            list_remove(node);
    }
}

void users_on_missed(struct gateway *gateway, struct list *shard_users)
{
    LIST_EACH(node, shard_users)
    make_stale(gateway, LIST_ENTRY(node, struct user, in_shard));
}

void users_on_shards(struct gateway *gateway)
{
    size_t at = 0;
    struct user *user;
    while ((user = map_next(&gateway->users, &at)) != NULL)
        if (user->session_count > 0)
            join_shard(gateway, user);
}

void users_on_event(struct gateway *gateway, const struct msg_event_user *event)
{
    struct user *user = map_get(&gateway->users, event->user);
    if (user == NULL)
        return;
    LIST_EACH(node, &user->sessions)
    session_on_list_change(LIST_ENTRY(node, struct session, in_user), event->conv, event->seq,
                           event->gone != 0);
}

/* One live connection per device, whichever gateways they are on: the younger one stays. Ages are
 * compared, not the order in which gateways told of them: one that found no leader for a while may
 * tell late of a session whose client has long gone and come back elsewhere. */
void users_on_device(struct gateway *gateway, const struct msg_event_device *event)
{
    struct user *user = map_get(&gateway->users, event->user);
    if (user == NULL)
        return;
    LIST_EACH(node, &user->sessions)
    {
        struct session *session = LIST_ENTRY(node, struct session, in_user);
        if (event->kick != 0) {
            session_close(session, CLOSE_LOGGED_OUT, "logged out by the server");
        } else if (session->id == event->session) {
            session->is_announced = true;
        } else if (!session->is_announced || !slice_equals(event->device, session->device)) {
            continue;
        } else if (age_ms_of(session) >= event->age_ms) {
            session_close(session, CLOSE_REPLACED, "a newer connection of this device");
        } else {
            announce(session, age_ms_of(session)); /* The other one is the older. */
        }
    }
}
