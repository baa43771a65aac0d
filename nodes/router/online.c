#include "nodes/router/online.h"

#include "mesh/base/check.h"
#include "mesh/base/mem.h"
#include "mesh/base/metrics.h"

#define GRACE_US  ((uint64_t)LIMIT_PRESENCE_GRACE_MS * 1000)
#define REST_US   ((uint64_t)LIMIT_PRESENCE_MS * 1000)
#define TICK_US   10000u      /* Due times are met this coarsely. */
#define AGE_MS    31536000000 /* An older status is as old as this: a year. */
#define NOTHING   UINT8_MAX   /* Beside enum presence_status: nothing is said. */
#define NEVER_SET INT64_MIN

enum online_state {
    ONLINE_HERE,    /* Some gateway has him. */
    ONLINE_LEAVING, /* None has, for less than the grace time: said to be here. On `grace`. */
    ONLINE_UNKNOWN, /* A new leader has not heard of him: nothing is said. On `grace`. */
    ONLINE_GONE,    /* Kept until that is told and stored, and a second beyond. */
};

struct online_user {
    struct list in_grace;
    struct list in_telling; /* On `fresh` or on `due`. */
    struct list in_unseen;
    uint64_t since_us; /* He is leaving or unknown. */
    uint64_t told_us;
    uint64_t left_ms; /* Wall clock; 0: not known. */
    int64_t set_us;   /* When he set his status. */
    uint32_t shard;
    uint8_t state;
    uint8_t status; /* While he is here or leaving. */
    uint8_t told;   /* What watchers were told last. */
    bool is_due;    /* On `due`. */
    bool is_erased; /* Nothing is stored of him until he comes anew. */
    uint8_t name_size;
    char name[];
};

static struct slice user_key(const void *thing)
{
    const struct online_user *user = thing;
    return slice_of(user->name, user->name_size);
}

void online_init(struct online *o, struct watchers *watchers, struct env *env, uint32_t shards,
                 const struct online_port *port)
{
    *o = (struct online){
        .watchers = watchers,
        .env = env,
        .port = *port,
        .unseen_of = mem_alloc(shards * sizeof(*o->unseen_of)),
        .shards = shards,
        .users_max = ONLINE_MAX,
        .watched_max = ONLINE_WATCHED_MAX,
    };
    map_init(&o->users, user_key);
    list_init(&o->grace);
    list_init(&o->fresh);
    list_init(&o->due);
    list_init(&o->unseen);
    for (uint32_t i = 0; i < shards; i++) {
        list_init(&o->unseen_of[i].node);
        list_init(&o->unseen_of[i].users);
    }
}

/* ---- Records ---- */

/* NULL: there are too many. */
static struct online_user *add(struct online *o, uint32_t shard, struct slice name)
{
    CHECK(name.size > 0 && name.size <= LIMIT_USER_SIZE_MAX && shard < o->shards);
    if (o->users.count >= o->users_max) {
        metric_add(presence_refused_total, 1);
        return NULL;
    }
    struct online_user *user = mem_zero(sizeof(*user) + name.size);
    list_init(&user->in_grace);
    list_init(&user->in_telling);
    list_init(&user->in_unseen);
    user->shard = shard;
    user->set_us = NEVER_SET;
    user->state = ONLINE_GONE;
    user->told = o->port.is_settled(o->port.context, shard) ? PRESENCE_OFFLINE : NOTHING;
    user->name_size = (uint8_t)name.size;
    memcpy(user->name, name.base, name.size);
    map_put(&o->users, user);
    metric_add(presence_users, 1);
    return user;
}

static void leave_due(struct online_user *user)
{
    if (!user->is_due)
        return;
    user->is_due = false;
    list_remove(&user->in_telling);
    metric_add(presence_waiting, -1);
}

static void leave_unseen(struct online_user *user)
{
    if (list_is_empty(&user->in_unseen))
        return;
    list_remove(&user->in_unseen);
    metric_add(presence_waiting, -1);
}

static void forget(struct online *o, struct online_user *user)
{
    leave_due(user);
    leave_unseen(user);
    list_remove(&user->in_telling);
    list_remove(&user->in_grace);
    map_remove(&o->users, user_key(user));
    mem_free(user);
    metric_add(presence_users, -1);
}

void online_keep(struct online *o, bool (*keeps)(const void *context, uint32_t shard),
                 const void *context)
{
    struct online_user **leaving = mem_alloc((o->users.count + 1) * sizeof(struct online_user *));
    size_t count = 0;
    size_t at = 0;
    for (struct online_user *user; (user = map_next(&o->users, &at)) != NULL;)
        if (keeps == NULL || !keeps(context, user->shard))
            leaving[count++] = user;
    for (size_t i = 0; i < count; i++)
        forget(o, leaving[i]);
    mem_free(leaving);
}

void online_fini(struct online *o)
{
    online_keep(o, NULL, NULL);
    map_fini(&o->users);
    mem_free(o->unseen_of);
}

/* What others may know of him: enum presence_status, or NOTHING. */
static uint8_t shown(const struct online_user *user)
{
    switch ((enum online_state)user->state) {
    case ONLINE_HERE:
    case ONLINE_LEAVING:
        return user->status;
    case ONLINE_GONE:
        return PRESENCE_OFFLINE;
    case ONLINE_UNKNOWN:
        break;
    }
    return NOTHING;
}

static bool is_watched(const struct online *o, const struct online_user *user)
{
    return watchers_is_followed(&o->watchers->presence, user_key(user));
}

/* A record of which nothing more is to be done goes. */
static void release(struct online *o, struct online_user *user)
{
    if (user->state == ONLINE_GONE && list_is_empty(&user->in_telling) &&
        list_is_empty(&user->in_unseen))
        forget(o, user);
}

static void rest(struct online *o, struct online_user *user)
{
    leave_due(user);
    list_remove(&user->in_telling);
    list_append(&o->fresh, &user->in_telling);
    user->told_us = env_now_us(o->env);
}

/* What is shown of him may have changed. Of whom nobody watches, nothing is to be told; who is gone
 * stays for a second all the same, until the row that says so can be read. */
static void on_changed(struct online *o, struct online_user *user)
{
    if (!is_watched(o, user)) {
        user->told = shown(user);
        leave_due(user);
        if (user->state == ONLINE_GONE)
            rest(o, user);
        return;
    }
    if (shown(user) == user->told)
        leave_due(user);
    else if (list_is_empty(&user->in_telling)) {
        user->is_due = true;
        list_append(&o->due, &user->in_telling);
        metric_add(presence_waiting, 1);
    }
}

static void want_seen(struct online *o, struct online_user *user)
{
    if (!list_is_empty(&user->in_unseen))
        return;
    struct online_unseen *of = &o->unseen_of[user->shard];
    list_append(&of->users, &user->in_unseen);
    if (list_is_empty(&of->node))
        list_append(&o->unseen, &of->node);
    metric_add(presence_waiting, 1);
}

static void begin_grace(struct online *o, struct online_user *user, enum online_state state)
{
    user->state = (uint8_t)state;
    user->since_us = env_now_us(o->env);
    list_remove(&user->in_grace);
    list_append(&o->grace, &user->in_grace);
}

/* He is gone, and if he ever was here, it is known until when. */
static void end_grace(struct online *o, struct online_user *user)
{
    list_remove(&user->in_grace);
    user->state = ONLINE_GONE;
    if (user->left_ms != 0 && !user->is_erased)
        want_seen(o, user);
    on_changed(o, user);
}

/* ---- What is heard of users ---- */

static struct online_user *get(struct online *o, uint32_t shard, struct slice name)
{
    struct online_user *user = map_get(&o->users, name);
    return user != NULL ? user : add(o, shard, name);
}

/* He was not here, nor leaving: his former status is history. */
static void appear(struct online *o, struct online_user *user)
{
    user->status = PRESENCE_ONLINE;
    user->set_us = NEVER_SET;
    user->is_erased = false;
    want_seen(o, user);
}

void online_open(struct online *o, uint32_t shard, struct slice name)
{
    struct online_user *user = get(o, shard, name);
    if (user == NULL || user->state == ONLINE_HERE)
        return;
    if (user->state != ONLINE_LEAVING)
        appear(o, user);
    list_remove(&user->in_grace);
    user->state = ONLINE_HERE;
    user->left_ms = 0;
    on_changed(o, user);
}

void online_on_left(void *online, struct slice name, bool is_lost)
{
    struct online *o = online;
    struct online_user *user = map_get(&o->users, name);
    if (user == NULL || user->state != ONLINE_HERE)
        return;
    user->left_ms = env_wall_ms(o->env);
    begin_grace(o, user, ONLINE_LEAVING);
    if (is_lost)
        end_grace(o, user);
}

void online_set(struct online *o, uint32_t shard, struct slice name, uint64_t status,
                uint64_t age_ms)
{
    if (status < PRESENCE_ONLINE || status > PRESENCE_BUSY)
        return;
    struct online_user *user = get(o, shard, name);
    if (user == NULL)
        return;
    if (user->state == ONLINE_GONE || user->state == ONLINE_UNKNOWN) {
        appear(o, user);
        user->left_ms = env_wall_ms(o->env);
        begin_grace(o, user, ONLINE_LEAVING);
    }
    int64_t age_us = (int64_t)(age_ms < AGE_MS ? age_ms : AGE_MS) * 1000;
    int64_t set_us = (int64_t)env_now_us(o->env) - age_us;
    if (set_us >= user->set_us) {
        user->set_us = set_us;
        user->status = (uint8_t)status;
    }
    on_changed(o, user);
}

void online_erase(struct online *o, struct slice name)
{
    struct online_user *user = map_get(&o->users, name);
    if (user == NULL)
        return;
    user->is_erased = true;
    leave_unseen(user);
    release(o, user);
}

/* ---- What is told of them ---- */

static uint64_t last_seen(struct online *o, uint32_t shard, struct slice name,
                          const struct online_user *user)
{
    if (user != NULL && user->is_erased)
        return 0;
    if (user != NULL && user->left_ms != 0)
        return user->left_ms;
    return o->port.last_seen(o->port.context, shard, name);
}

bool online_get(struct online *o, uint32_t shard, struct slice name,
                struct msg_presence_item *ret_item)
{
    const struct online_user *user = map_get(&o->users, name);
    uint8_t status = user != NULL ? shown(user) : NOTHING;
    if (status == NOTHING && !o->port.is_settled(o->port.context, shard))
        return false;
    if (status == NOTHING)
        status = PRESENCE_OFFLINE;
    *ret_item = (struct msg_presence_item){.user = name, .status = status};
    if (status == PRESENCE_OFFLINE)
        ret_item->last_seen = last_seen(o, shard, name, user);
    return true;
}

/* Of whom nothing is known yet a record is made, so that the watcher is told once it is. */
static void wait_for_news(struct online *o, uint32_t shard, struct slice name)
{
    struct online_user *user = get(o, shard, name);
    if (user != NULL && user->state == ONLINE_GONE)
        begin_grace(o, user, ONLINE_UNKNOWN);
}

/* Where a change waits for its second, this watcher now has another state than the others: whatever
 * comes of it, they are all told once more. */
void online_watch(struct online *o, uint32_t shard, struct slice name, struct watcher *watcher)
{
    struct msg_presence_item item;
    struct map *table = &o->watchers->presence;
    if (watchers_is_followed(table, name) || table->count < o->watched_max)
        watchers_follow(o->watchers, table, shard, name, watcher);
    if (!online_get(o, shard, name, &item)) {
        wait_for_news(o, shard, name);
        return;
    }
    const struct msg_event_presence event = {
        .user = name,
        .status = item.status,
        .last_seen = item.last_seen,
    };
    watchers_tell(o->watchers, watcher, &msg_event_presence_desc, &event);
    metric_add(presence_events_total, 1);
    struct online_user *user = map_get(&o->users, name);
    if (user != NULL && user->told != item.status) {
        user->told = NOTHING;
        on_changed(o, user);
    }
}

void online_unwatch(struct online *o, struct slice name, struct watcher *watcher)
{
    watchers_unfollow(o->watchers, &o->watchers->presence, name, watcher);
}

static void tell(struct online *o, struct online_user *user)
{
    struct msg_event_presence event = {.user = user_key(user), .status = shown(user)};
    user->told = shown(user);
    rest(o, user);
    if (!is_watched(o, user))
        return;
    if (event.status == PRESENCE_OFFLINE)
        event.last_seen = last_seen(o, user->shard, event.user, user);
    watchers_publish(o->watchers, &o->watchers->presence, event.user, &msg_event_presence_desc,
                     &event);
    metric_add(presence_events_total, 1);
}

/* ---- The turn ---- */

static void end_rests(struct online *o, uint64_t now_us)
{
    struct online_user *user;
    while ((user = LIST_FIRST(&o->fresh, struct online_user, in_telling)) != NULL &&
           now_us >= user->told_us + REST_US) {
        list_remove(&user->in_telling);
        if (shown(user) != user->told)
            on_changed(o, user);
        release(o, user);
    }
}

static void end_graces(struct online *o, uint64_t now_us)
{
    struct online_user *user;
    while ((user = LIST_FIRST(&o->grace, struct online_user, in_grace)) != NULL &&
           now_us >= user->since_us + GRACE_US)
        end_grace(o, user);
}

/* Those of a shard that cannot speak at the moment go to the end of the list, so that others do not
 * wait for them. */
static void tell_due(struct online *o, uint32_t limit)
{
    struct online_user *user;
    while (limit-- > 0 && (user = LIST_FIRST(&o->due, struct online_user, in_telling)) != NULL) {
        if (o->port.serves(o->port.context, user->shard)) {
            tell(o, user);
        } else {
            list_remove(&user->in_telling);
            list_append(&o->due, &user->in_telling);
        }
    }
}

/* When he was last here: now, or when he left. A row of the last minute is good enough for who is
 * here: it is for the case that nobody lives to tell when he left. */
static bool store(struct online *o, struct online_user *user)
{
    uint64_t ts = user->left_ms;
    if (user->state == ONLINE_HERE || user->state == ONLINE_LEAVING) {
        uint64_t stored = o->port.last_seen(o->port.context, user->shard, user_key(user));
        ts = env_wall_ms(o->env);
        if (ts < stored + ONLINE_SEEN_MS)
            return true;
    }
    return o->port.see(o->port.context, user->shard, user_key(user), ts);
}

/* By time, and not by turns: a busy router has one whenever anything comes. */
static void store_unseen(struct online *o, uint64_t now_us)
{
    struct online_unseen *of;
    if (now_us < o->seen_us || list_is_empty(&o->unseen))
        return;
    o->seen_us = now_us + ONLINE_SEEN_US;
    uint32_t left = ONLINE_SEEN_BURST;
    while (left > 0 && (of = LIST_FIRST(&o->unseen, struct online_unseen, node)) != NULL) {
        struct online_user *user = LIST_FIRST(&of->users, struct online_user, in_unseen);
        if (user == NULL) {
            list_remove(&of->node);
            continue;
        }
        left--;
        if (o->port.serves(o->port.context, user->shard) && store(o, user)) {
            leave_unseen(user);
            release(o, user);
        } else { /* The other shards do not wait for this one. */
            list_remove(&of->node);
            list_append(&o->unseen, &of->node);
        }
    }
}

void online_turn(struct online *o, bool is_busy)
{
    uint64_t now_us = env_now_us(o->env);
    end_rests(o, now_us);
    end_graces(o, now_us);
    tell_due(o, is_busy ? ONLINE_BUSY_MAX : ONLINE_TURN_MAX);
    store_unseen(o, now_us);
    o->again_us = now_us + TICK_US;
}

uint64_t online_due_us(const struct online *o)
{
    uint64_t due_us = ENV_NEVER;
    if (!list_is_empty(&o->due))
        return o->again_us;
    if (!list_is_empty(&o->unseen))
        due_us = o->seen_us;
    const struct online_user *fresh = LIST_FIRST(&o->fresh, struct online_user, in_telling);
    if (fresh != NULL && fresh->told_us + REST_US < due_us)
        due_us = fresh->told_us + REST_US;
    const struct online_user *leaving = LIST_FIRST(&o->grace, struct online_user, in_grace);
    if (leaving != NULL && leaving->since_us + GRACE_US < due_us)
        due_us = leaving->since_us + GRACE_US;
    return due_us < o->again_us ? o->again_us : due_us;
}
