#include "gateway/gateway.h"

#include "gateway/catchup.h"
#include "gateway/core.h"
#include "gateway/large.h"
#include "gateway/presence_query.h"
#include "gateway/session.h"
#include "gateway/users.h"
#include "gateway/watch.h"
#include "mesh/base/check.h"
#include "mesh/base/mem.h"
#include "mesh/base/metrics.h"
#include "mesh/wire/key.h"

/* How often what found no leader is tried again: as often as routers say who leads. */
#define RETRY_US (LIMIT_BEAT_MS * 1000u)

void gateway_options_init(struct gateway_options *options)
{
    *options = (struct gateway_options){
        .node = "gateway",
        .address = "",
        .ping_ms = LIMIT_PING_MS,
        .idle_ms = LIMIT_IDLE_MS,
        .connect_ms = LIMIT_CONNECT_MS,
        .frame_size_max = LIMIT_FRAME_SIZE_MAX,
        .outbox_bytes_max = LIMIT_OUTBOX_BYTES,
        .connections_per_user_max = LIMIT_CONNECTIONS_PER_USER,
        .connections_per_ip_max = LIMIT_CONNECTIONS_PER_IP,
        .reconnects_per_minute_max = LIMIT_RECONNECTS_PER_MIN,
        .frames_per_second_max = 0,
        .request_ms = LIMIT_REQUEST_MS,
        .gather_us = LIMIT_GATHER_US,
        .fanout_members = LIMIT_FANOUT_MEMBERS,
        .redeliver_ms = LIMIT_REDELIVER_MS,
    };
}

struct gateway *gateway_new(const struct gateway_options *options, const struct auth *auth,
                            struct env *env, struct bus *bus)
{
    CHECK(key_node_is_valid(slice_string(options->node)));
    struct gateway *gateway = mem_new(struct gateway);
    gateway->options = *options;
    memcpy(gateway->node, options->node, strlen(options->node));
    gateway->options.node = gateway->node;
    gateway->auth = auth;
    gateway->env = env;
    gateway->bus = bus;
    client_decoder_init(&gateway->decoder);
    struct list *lists[] = {&gateway->sessions, &gateway->dirty,  &gateway->ready,
                            &gateway->waiting,  &gateway->fenced, &gateway->dead,
                            &gateway->stirred};
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
        list_init(lists[i]);
    wheel_init(&gateway->wheel, env_now_us(env));
    routers_init(gateway);
    users_init(gateway);
    presence_init(gateway);
    survey_init(gateway);
    api_init(gateway);
    watches_init(gateway);
    gateway->text = buf_new(1024);
    gateway->write = buf_new(1024);
    gateway->record = buf_new(1024);
    return gateway;
}

static void free_dead(struct gateway *gateway)
{
    struct session *session;
    while ((session = LIST_FIRST(&gateway->dead, struct session, node)) != NULL)
        session_free(session);
}

void gateway_free(struct gateway **gateway)
{
    struct gateway *taken = *gateway;
    *gateway = NULL;
    if (taken == NULL)
        return;
    CHECK(taken->session_count == 0);
    watches_fini(taken);
    presence_fini(taken);
    routers_fini(taken);
    survey_fini(taken);
    api_fini(taken);
    free_dead(taken);
    users_fini(taken);
    client_decoder_fini(&taken->decoder);
    buf_unref(&taken->text);
    buf_unref(&taken->write);
    buf_unref(&taken->record);
    mem_free(taken);
}

struct bus_handler gateway_bus_handler(struct gateway *gateway)
{
    return routers_bus_handler(gateway);
}

void gateway_name_group(const struct gateway *gateway, struct slice creator, struct slice cid,
                        char id[KEY_GROUP_SIZE])
{
    if (cid.base != NULL) {
        key_group_of(gateway->routers.cluster, creator, cid, id);
        return;
    }
    const uint64_t random[2] = {env_random(gateway->env), env_random(gateway->env)};
    key_group(random, id);
}

/* ---- The turn ---- */

static void on_timers(struct gateway *gateway)
{
    uint64_t now_us = gateway_now_us(gateway);
    struct wheel_timer *timer;
    while ((timer = wheel_next(&gateway->wheel, now_us)) != NULL)
        session_on_timer(LIST_ENTRY(timer, struct session, timer));
}

/* Those whose time has not come go back to the list of the waiting: so it is emptied first. */
static void make_waiting_ready(struct gateway *gateway)
{
    struct list waiting;
    list_init(&waiting);
    list_append_all(&waiting, &gateway->waiting);
    struct session *session;
    while ((session = LIST_FIRST(&waiting, struct session, in_ready)) != NULL)
        session_make_ready(session);
}

static void retry(struct gateway *gateway)
{
    uint64_t now_us = gateway_now_us(gateway);
    if (!gateway->retry_now && now_us < gateway->retry_due_us)
        return;
    gateway->retry_now = false;
    gateway->retry_due_us = now_us + RETRY_US;
    routers_rewatch(gateway);
    users_retry(gateway);
    presence_query_retry(gateway);
    make_waiting_ready(gateway);
}

static void pump(struct session *session)
{
    list_remove(&session->in_ready);
    session_resume_pump(session);
    catchup_pump(session);
    presence_catch_up(session);
    bool is_waiting = !list_is_empty(&session->waiting) || !session_is_asked(session);
    if (is_waiting && !session->is_choked && list_is_empty(&session->in_ready))
        list_append(&session->gateway->waiting, &session->in_ready);
}

/* Sessions read on and write; writing makes room to read on. Ends because nothing comes in
 * meanwhile. */
static void pump_and_write(struct gateway *gateway)
{
    struct session *session;
    do {
        struct list ready;
        list_init(&ready);
        list_append_all(&ready, &gateway->ready);
        while ((session = LIST_FIRST(&ready, struct session, in_ready)) != NULL)
            pump(session);
        while ((session = LIST_FIRST(&gateway->dirty, struct session, in_dirty)) != NULL) {
            list_remove(&session->in_dirty);
            session_flush(session);
        }
    } while (!list_is_empty(&gateway->ready));
}

/* Before the shards are known too, no request could be sent: so nobody is invited to send any. */
static void tell_cluster(struct gateway *gateway)
{
    if (gateway->has_told_cluster || !routers_are_known(gateway))
        return;
    gateway->has_told_cluster = true;
    LIST_EACH(node, &gateway->sessions)
    session_on_cluster(LIST_ENTRY(node, struct session, node));
}

/* What waits behind a send that was refused is refused with it, before it could overtake. */
static void refuse_fenced(struct gateway *gateway)
{
    struct session *session;
    while ((session = LIST_FIRST(&gateway->fenced, struct session, in_fenced)) != NULL) {
        list_remove(&session->in_fenced);
        session_refuse_fenced(session);
    }
}

void gateway_turn(struct gateway *gateway)
{
    routers_turn(gateway);
    calls_turn(gateway);
    refuse_fenced(gateway);
    calls_drain(gateway);
    users_turn(gateway);
    survey_turn(gateway);
    tell_cluster(gateway);
    on_timers(gateway);
    watches_turn(gateway);
    large_turn(gateway);
    if (gateway->was_full && gateway->watch_calls < CATCHUP_CALLS_MAX / 2) {
        gateway->was_full = false;
        make_waiting_ready(gateway);
    }
    retry(gateway);
    presence_turn(gateway);
    pump_and_write(gateway);
    watches_collect(gateway);
    routers_flush(gateway);
    free_dead(gateway);
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

uint64_t gateway_due_us(struct gateway *gateway)
{
    if (!list_is_empty(&gateway->ready) || !list_is_empty(&gateway->dirty) ||
        !list_is_empty(&gateway->dead) || !list_is_empty(&gateway->empty) || gateway->retry_now)
        return gateway_now_us(gateway);
    uint64_t due_us = least(routers_due_us(gateway), wheel_due_us(&gateway->wheel));
    due_us = least(due_us, presence_due_us(gateway));
    due_us = least(due_us, survey_due_us(gateway));
    due_us = least(due_us, large_due_us(gateway));
    const struct watch *suspect = LIST_FIRST(&gateway->suspects, struct watch, node);
    if (suspect != NULL)
        due_us = least(due_us, suspect->suspect_us);
    if (gateway->routers.rewatch_pending > 0 || !list_is_empty(&gateway->waiting) ||
        !list_is_empty(&gateway->stale_users) || gateway->presence.must_ask)
        due_us = least(due_us, gateway->retry_due_us);
    return due_us;
}

/* ---- Drain, health ---- */

void gateway_drain(struct gateway *gateway, uint32_t drain_ms)
{
    gateway->is_draining = true;
    LIST_EACH(node, &gateway->sessions)
    {
        uint32_t after_ms = drain_ms > 0 ? (uint32_t)(env_random(gateway->env) % drain_ms) : 0;
        session_drain(LIST_ENTRY(node, struct session, node), after_ms);
    }
}

bool gateway_is_drained(const struct gateway *gateway)
{
    return gateway->session_count == 0;
}

/* NULL: it is up. */
static const char *reason_down(const struct gateway *gateway, const struct gateway_health *health)
{
    if (gateway->is_draining)
        return "the gateway is stopping";
    if (health->routers_up == 0)
        return "no router is heard";
    if (health->shards_total == 0)
        return "the routers that are heard do not serve yet";
    if (health->shards_led == health->shards_total)
        return NULL;
    return health->missing[0] != '\0' ? "shards have no leader, and routers are missing"
                                      : "shards have no leader";
}

struct gateway_health gateway_health(const struct gateway *gateway)
{
    struct gateway_health health = {.connections = gateway->session_count,
                                    .users = gateway->users_online,
                                    .shards_total = gateway->routers.shard_count,
                                    .shards_led = routers_shards_led(gateway)};
    health.routers_up = routers_missing(gateway, health.missing);
    health.reason = reason_down(gateway, &health);
    health.up = health.reason == NULL;
    return health;
}
