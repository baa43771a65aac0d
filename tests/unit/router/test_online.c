/* online: who is said to be online, to whom, how often; and what is stored of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs those above. */
#include <cmocka.h>

#include <stdio.h>

#include "mesh/base/mem.h"
#include "nodes/router/online.h"
#include "tests/support/soft_rig.h"

#define SHARD    2u
#define MUTE     9u /* A shard that cannot speak while rig.is_mute. */
#define SEEN_MAX 16384u

struct seen {
    char user[32];
    uint64_t ts;
};

struct rig {
    struct soft_rig soft;
    struct online online;
    bool is_settled, is_mute, is_full;
    bool is_busy;
    struct seen seen[SEEN_MAX]; /* What was given to the log, in order. */
    uint32_t seen_count;
    uint64_t began_us, began_ms;
};

static bool serves(void *context, uint32_t shard)
{
    return shard != MUTE || !((struct rig *)context)->is_mute;
}

static bool is_settled(void *context, uint32_t shard)
{
    (void)shard;
    return ((struct rig *)context)->is_settled;
}

static uint64_t last_seen(void *context, uint32_t shard, struct slice user)
{
    const struct rig *rig = context;
    (void)shard;
    for (uint32_t i = rig->seen_count; i > 0; i--)
        if (slice_equals(user, rig->seen[i - 1].user))
            return rig->seen[i - 1].ts;
    return 0;
}

static bool see(void *context, uint32_t shard, struct slice user, uint64_t ts)
{
    struct rig *rig = context;
    (void)shard;
    if (rig->is_full)
        return false;
    assert_true(rig->seen_count < SEEN_MAX);
    struct seen *seen = &rig->seen[rig->seen_count++];
    snprintf(seen->user, sizeof(seen->user), "%.*s", SLICE_ARGS(user));
    seen->ts = ts;
    return true;
}

static int setup(void **state)
{
    struct rig *rig = mem_new(struct rig);
    const struct online_port port = {
        .context = rig,
        .serves = serves,
        .is_settled = is_settled,
        .last_seen = last_seen,
        .see = see,
    };
    soft_rig_init(&rig->soft);
    online_init(&rig->online, &rig->soft.watchers, &rig->soft.env, MUTE + 1, &port);
    rig->soft.watchers.on_user_left = online_on_left;
    rig->soft.watchers.context = &rig->online;
    rig->is_settled = true;
    rig->began_us = rig->soft.now_us;
    rig->began_ms = rig->soft.wall_ms;
    *state = rig;
    return 0;
}

static int teardown(void **state)
{
    struct rig *rig = *state;
    rig->soft.watchers.on_user_left = NULL;
    online_fini(&rig->online);
    soft_rig_fini(&rig->soft);
    mem_free(rig);
    return 0;
}

/* ---- What gateways say, as requests.c passes it on ---- */

static void open_in(struct rig *rig, uint32_t shard, const char *user, const char *gateway)
{
    soft_follow(&rig->soft, &rig->soft.watchers.users, shard, user, gateway);
    online_open(&rig->online, shard, slice_string(user));
}

static void open_at(struct rig *rig, const char *user, const char *gateway)
{
    open_in(rig, SHARD, user, gateway);
}

static void close_at(struct rig *rig, const char *user, const char *gateway)
{
    soft_unfollow(&rig->soft, &rig->soft.watchers.users, user, gateway);
}

static void watch(struct rig *rig, const char *user, const char *gateway)
{
    online_watch(&rig->online, SHARD, slice_string(user), soft_gateway(&rig->soft, gateway));
}

static void set(struct rig *rig, const char *user, uint64_t status, uint64_t age_ms)
{
    online_set(&rig->online, SHARD, slice_string(user), status, age_ms);
}

static void turn(struct rig *rig)
{
    online_turn(&rig->online, rig->is_busy);
}

/* Time passes in turns of 50 ms; what is published is noted. */
static void pass(struct rig *rig, uint64_t ms)
{
    turn(rig);
    for (uint64_t at = 0; at < ms; at += 50) {
        soft_pass(&rig->soft, 50);
        turn(rig);
    }
    soft_flush(&rig->soft);
}

/* ---- What comes of it ---- */

static const char *const names[] = {"offline", "online", "away", "busy"};

/* Exactly these were told since the last time: "g1:alice=online g2:bob=away". */
static void assert_told(struct rig *rig, const char *expected)
{
    char text[512] = "";
    soft_flush(&rig->soft);
    for (uint32_t i = 0; i < rig->soft.heard_count; i++) {
        const struct soft_heard *heard = &rig->soft.heard[i];
        size_t size = strlen(text);
        assert_int_equal(heard->number, MSG_EVENT_PRESENCE);
        assert_true(heard->status <= PRESENCE_BUSY);
        snprintf(text + size, sizeof(text) - size, "%s%s:%s=%s", i > 0 ? " " : "", heard->gateway,
                 heard->user, names[heard->status]);
    }
    assert_string_equal(text, expected);
    rig->soft.heard_count = 0;
}

static void assert_is(struct rig *rig, const char *user, uint64_t status, uint64_t seen_ms)
{
    struct msg_presence_item item;
    assert_true(online_get(&rig->online, SHARD, slice_string(user), &item));
    assert_true(slice_equals(item.user, user));
    assert_int_equal(item.status, status);
    assert_int_equal(item.last_seen, seen_ms);
}

static void assert_forgotten(struct rig *rig)
{
    assert_int_equal(rig->online.users.count, 0);
    assert_true(online_due_us(&rig->online) == ENV_NEVER);
}

/* ---- Coming and going ---- */

/* Who comes is told to those who watch him, and to nobody else. */
static void who_comes_is_told_to_those_who_watch(void **state)
{
    struct rig *rig = *state;
    watch(rig, "alice", "g1");
    watch(rig, "bob", "g2");
    assert_told(rig, "g1:alice=offline g2:bob=offline");
    open_at(rig, "alice", "g3");
    assert_is(rig, "alice", PRESENCE_ONLINE, 0);
    assert_is(rig, "bob", PRESENCE_OFFLINE, 0);
    pass(rig, 0);
    assert_told(rig, "g1:alice=online");
}

/* Who begins to watch is told how it is, and only he is. */
static void who_begins_to_watch_is_told_how_it_is(void **state)
{
    struct rig *rig = *state;
    open_at(rig, "alice", "g3");
    set(rig, "alice", PRESENCE_AWAY, 0);
    pass(rig, 0);
    watch(rig, "alice", "g1");
    assert_told(rig, "g1:alice=away");
    watch(rig, "alice", "g2");
    assert_told(rig, "g2:alice=away");
    pass(rig, 3000);
    assert_told(rig, "");
}

/* Who does not want to know any more is not told. */
static void who_unwatches_is_not_told(void **state)
{
    struct rig *rig = *state;
    watch(rig, "alice", "g1");
    watch(rig, "alice", "g2");
    online_unwatch(&rig->online, slice_string("alice"), soft_gateway(&rig->soft, "g1"));
    assert_told(rig, "g1:alice=offline g2:alice=offline");
    open_at(rig, "alice", "g3");
    pass(rig, 0);
    assert_told(rig, "g2:alice=online");
}

/* Who is back within the grace time never was offline. */
static void who_is_back_in_time_does_not_flicker(void **state)
{
    struct rig *rig = *state;
    open_at(rig, "alice", "g3");
    watch(rig, "alice", "g1");
    set(rig, "alice", PRESENCE_BUSY, 0);
    pass(rig, 0);
    assert_told(rig, "g1:alice=online g1:alice=busy");
    close_at(rig, "alice", "g3");
    pass(rig, LIMIT_PRESENCE_GRACE_MS - 100);
    assert_is(rig, "alice", PRESENCE_BUSY, 0);
    open_at(rig, "alice", "g2");
    pass(rig, 2 * LIMIT_PRESENCE_GRACE_MS);
    assert_told(rig, "");
    assert_is(rig, "alice", PRESENCE_BUSY, 0);
    assert_int_equal(rig->seen_count, 1); /* That he came. */
}

/* Who is not back is offline since he left, for watchers, for who asks, and in the store. */
static void who_stays_away_is_offline_since_he_left(void **state)
{
    struct rig *rig = *state;
    open_at(rig, "alice", "g3");
    watch(rig, "alice", "g1");
    pass(rig, 1000);
    assert_told(rig, "g1:alice=online");
    uint64_t left_ms = rig->soft.wall_ms;
    close_at(rig, "alice", "g3");
    pass(rig, LIMIT_PRESENCE_GRACE_MS - 50);
    assert_told(rig, "");
    pass(rig, 50);
    assert_int_equal(rig->soft.heard[0].last_seen, left_ms);
    assert_told(rig, "g1:alice=offline");
    assert_is(rig, "alice", PRESENCE_OFFLINE, left_ms);
    assert_int_equal(rig->seen_count, 2);
    assert_int_equal(rig->seen[1].ts, left_ms);
    pass(rig, LIMIT_PRESENCE_MS);
    assert_forgotten(rig);
    assert_is(rig, "alice", PRESENCE_OFFLINE, left_ms);
}

/* He is online while any gateway has him. */
static void one_gateway_of_two_is_enough(void **state)
{
    struct rig *rig = *state;
    open_at(rig, "alice", "g3");
    open_at(rig, "alice", "g4");
    close_at(rig, "alice", "g3");
    pass(rig, 2 * LIMIT_PRESENCE_GRACE_MS);
    assert_is(rig, "alice", PRESENCE_ONLINE, 0);
    close_at(rig, "alice", "g4");
    pass(rig, LIMIT_PRESENCE_GRACE_MS);
    assert_is(rig, "alice", PRESENCE_OFFLINE, rig->soft.wall_ms - LIMIT_PRESENCE_GRACE_MS);
}

/* A gateway that is silent takes its users with it within 10 s in all, and no others; what it
 * watched is watched no more. */
static void a_silent_gateway_takes_its_users_with_it(void **state)
{
    struct rig *rig = *state;
    open_at(rig, "alice", "g3");
    open_at(rig, "bob", "g3");
    open_at(rig, "bob", "g4");
    watch(rig, "bob", "g3");
    watch(rig, "alice", "g1");
    pass(rig, 0);
    assert_told(rig, "g3:bob=online g1:alice=online");
    uint64_t died_us = rig->soft.now_us;
    for (uint32_t ms = 0; ms <= 10000 && rig->soft.heard_count == 0; ms += 250) {
        pass(rig, 250);
        soft_gateway(&rig->soft, "g1"); /* The others say hello. */
        soft_gateway(&rig->soft, "g4");
        watchers_expire(&rig->soft.watchers, rig->soft.now_us);
        pass(rig, 0);
    }
    assert_told(rig, "g1:alice=offline");
    assert_true(rig->soft.now_us - died_us <= (uint64_t)(LIMIT_GATEWAY_LEASE_MS + 500) * 1000);
    set(rig, "bob", PRESENCE_AWAY, 0);
    pass(rig, 2000);
    assert_told(rig, "");
    assert_is(rig, "bob", PRESENCE_AWAY, 0);
}

/* A gateway that began anew may have its users back in a moment: they have the grace time. */
static void a_restarted_gateway_has_the_grace_time(void **state)
{
    struct rig *rig = *state;
    open_at(rig, "alice", "g3");
    open_at(rig, "bob", "g3");
    watchers_get(&rig->soft.watchers, slice_string("g3"), 2);
    pass(rig, 3000);
    assert_is(rig, "alice", PRESENCE_ONLINE, 0);
    struct watcher *g3 = watchers_get(&rig->soft.watchers, slice_string("g3"), 2);
    watchers_follow(&rig->soft.watchers, &rig->soft.watchers.users, SHARD, slice_string("bob"), g3);
    online_open(&rig->online, SHARD, slice_string("bob"));
    pass(rig, 3000);
    assert_is(rig, "alice", PRESENCE_OFFLINE, rig->began_ms);
    assert_is(rig, "bob", PRESENCE_ONLINE, 0);
}

/* ---- Statuses, and how often they are told ---- */

/* The status that was set last counts, whichever comes last. */
static void the_youngest_status_counts(void **state)
{
    struct rig *rig = *state;
    open_at(rig, "alice", "g3");
    pass(rig, 10000);
    set(rig, "alice", PRESENCE_AWAY, 2000);
    set(rig, "alice", PRESENCE_BUSY, 3000);
    assert_is(rig, "alice", PRESENCE_AWAY, 0);
    set(rig, "alice", PRESENCE_ONLINE, 1000);
    assert_is(rig, "alice", PRESENCE_ONLINE, 0);
    set(rig, "alice", PRESENCE_BUSY, UINT64_MAX);
    assert_is(rig, "alice", PRESENCE_ONLINE, 0);
}

/* What is no status changes nothing. */
static void what_is_no_status_is_ignored(void **state)
{
    struct rig *rig = *state;
    open_at(rig, "alice", "g3");
    set(rig, "alice", PRESENCE_OFFLINE, 0);
    set(rig, "alice", PRESENCE_BUSY + 1, 0);
    set(rig, "alice", UINT64_MAX, 0);
    assert_is(rig, "alice", PRESENCE_ONLINE, 0);
    set(rig, "bob", PRESENCE_OFFLINE, 0);
    assert_int_equal(rig->online.users.count, 1);
}

/* Who was gone comes back as online: what he was before is over. */
static void a_status_ends_with_the_visit(void **state)
{
    struct rig *rig = *state;
    open_at(rig, "alice", "g3");
    set(rig, "alice", PRESENCE_AWAY, 0);
    close_at(rig, "alice", "g3");
    pass(rig, LIMIT_PRESENCE_GRACE_MS);
    open_at(rig, "alice", "g3");
    assert_is(rig, "alice", PRESENCE_ONLINE, 0);
}

/* A status may come before the user_open of its user; which must come. */
static void a_status_is_a_sign_of_life(void **state)
{
    struct rig *rig = *state;
    set(rig, "alice", PRESENCE_AWAY, 500);
    set(rig, "bob", PRESENCE_BUSY, 0);
    assert_is(rig, "alice", PRESENCE_AWAY, 0);
    pass(rig, 1000);
    open_at(rig, "alice", "g3");
    pass(rig, LIMIT_PRESENCE_GRACE_MS);
    assert_is(rig, "alice", PRESENCE_AWAY, 0);
    assert_is(rig, "bob", PRESENCE_OFFLINE, rig->began_ms);
}

/* However often it changes, one event a second leaves, and the last state with the last. */
static void one_event_a_second(void **state)
{
    struct rig *rig = *state;
    open_at(rig, "alice", "g3");
    watch(rig, "alice", "g1");
    soft_hear_anew(&rig->soft);
    rig->soft.heard_count = 0;
    for (uint32_t i = 0; i < 79; i++) {
        set(rig, "alice", i % 2 == 0 ? PRESENCE_AWAY : PRESENCE_BUSY, 0);
        pass(rig, 50);
    }
    set(rig, "alice", PRESENCE_ONLINE, 0);
    assert_true(rig->soft.heard_count >= 3 && rig->soft.heard_count <= 4);
    rig->soft.heard_count = 0;
    pass(rig, 3000);
    assert_told(rig, "g1:alice=online");
}

/* What is as it was when the second is over is not told. */
static void nothing_new_is_not_told(void **state)
{
    struct rig *rig = *state;
    watch(rig, "alice", "g1");
    open_at(rig, "alice", "g3");
    pass(rig, 100);
    assert_told(rig, "g1:alice=offline g1:alice=online");
    set(rig, "alice", PRESENCE_AWAY, 0);
    pass(rig, 100);
    set(rig, "alice", PRESENCE_ONLINE, 0);
    pass(rig, 5000);
    assert_told(rig, "");
}

/* Who begins to watch while a change waits for its second hears how it ends, as all the others. */
static void who_watches_in_between_is_not_left_behind(void **state)
{
    struct rig *rig = *state;
    watch(rig, "alice", "g1");
    open_at(rig, "alice", "g3");
    pass(rig, 100);
    assert_told(rig, "g1:alice=offline g1:alice=online");
    set(rig, "alice", PRESENCE_AWAY, 0);
    pass(rig, 100);
    watch(rig, "alice", "g2");
    assert_told(rig, "g2:alice=away");
    set(rig, "alice", PRESENCE_ONLINE, 0);
    pass(rig, 5000);
    assert_told(rig, "g1:alice=online g2:alice=online");
}

/* ---- A new leader ---- */

/* A new leader says nothing of whom it has not heard of, until gateways have had their time. */
static void a_new_leader_waits_before_it_says_offline(void **state)
{
    struct rig *rig = *state;
    struct msg_presence_item item;
    rig->is_settled = false;
    watch(rig, "alice", "g1");
    watch(rig, "bob", "g1");
    assert_false(online_get(&rig->online, SHARD, slice_string("alice"), &item));
    assert_false(online_get(&rig->online, SHARD, slice_string("carol"), &item));
    pass(rig, 1000);
    assert_told(rig, "");
    open_at(rig, "bob", "g3");
    pass(rig, 0);
    assert_told(rig, "g1:bob=online");
    pass(rig, LIMIT_PRESENCE_GRACE_MS - 1100);
    assert_told(rig, "");
    rig->is_settled = true;
    assert_is(rig, "carol", PRESENCE_OFFLINE, 0);
    assert_is(rig, "alice", PRESENCE_OFFLINE, 0);
    pass(rig, 100);
    assert_told(rig, "g1:alice=offline");
    assert_int_equal(rig->seen_count, 1); /* That bob came; of alice nobody knows anything. */
}

/* It tells watchers how those are whom it hears of, though they may have been so before. */
static void a_new_leader_tells_of_whom_it_hears(void **state)
{
    struct rig *rig = *state;
    rig->is_settled = false;
    open_at(rig, "alice", "g3");
    set(rig, "alice", PRESENCE_AWAY, 60000);
    watch(rig, "alice", "g1");
    pass(rig, 0);
    assert_told(rig, "g1:alice=away");
    set(rig, "bob", PRESENCE_BUSY, 1000);
    watch(rig, "bob", "g2");
    pass(rig, 0);
    assert_told(rig, "g2:bob=busy");
}

static bool keeps_none(const void *context, uint32_t shard)
{
    (void)context;
    (void)shard;
    return false;
}

/* Where leadership is lost nothing more is said or stored. */
static void a_shard_that_is_lost_is_forgotten(void **state)
{
    struct rig *rig = *state;
    open_at(rig, "alice", "g3");
    open_at(rig, "bob", "g3");
    watch(rig, "alice", "g1");
    pass(rig, 0);
    close_at(rig, "bob", "g3");
    set(rig, "alice", PRESENCE_AWAY, 0);
    watchers_keep(&rig->soft.watchers, keeps_none, NULL);
    online_keep(&rig->online, keeps_none, NULL);
    assert_told(rig, "g1:alice=online");
    rig->seen_count = 0;
    pass(rig, 10000);
    assert_told(rig, "");
    assert_int_equal(rig->seen_count, 0);
    assert_forgotten(rig);
    assert_int_equal(rig->soft.watchers.presence.count, 0);
}

/* ---- What is stored ---- */

/* That somebody came is stored once a minute at most; that he left, always. */
static void seen_is_stored_once_a_minute_and_at_the_end(void **state)
{
    struct rig *rig = *state;
    for (uint32_t i = 0; i < 3; i++) {
        open_at(rig, "alice", "g3");
        pass(rig, 100);
        close_at(rig, "alice", "g3");
        pass(rig, 10000 - 100);
    }
    assert_int_equal(rig->seen_count, 4); /* Came; left three times. */
    assert_int_equal(rig->seen[3].ts, rig->began_ms + 20100);
    pass(rig, ONLINE_SEEN_MS);
    open_at(rig, "alice", "g3");
    pass(rig, 0);
    assert_int_equal(rig->seen_count, 5);
    assert_int_equal(rig->seen[4].ts, rig->soft.wall_ms);
}

/* While the log takes nothing, it waits. */
static void what_the_log_does_not_take_waits(void **state)
{
    struct rig *rig = *state;
    rig->is_full = true;
    open_at(rig, "alice", "g3");
    close_at(rig, "alice", "g3");
    pass(rig, 20000);
    assert_int_equal(rig->seen_count, 0);
    assert_is(rig, "alice", PRESENCE_OFFLINE, rig->began_ms);
    rig->is_full = false;
    pass(rig, 100);
    assert_int_equal(rig->seen_count, 1);
    assert_int_equal(rig->seen[0].ts, rig->began_ms);
    pass(rig, LIMIT_PRESENCE_MS);
    assert_forgotten(rig);
}

/* Of who was erased nothing is stored any more, unless he comes anew. */
static void of_who_is_erased_nothing_is_stored(void **state)
{
    struct rig *rig = *state;
    open_at(rig, "alice", "g3");
    pass(rig, 100);
    close_at(rig, "alice", "g3");
    online_erase(&rig->online, slice_string("alice"));
    online_erase(&rig->online, slice_string("nobody"));
    rig->seen_count = 0; /* The row is gone. */
    pass(rig, LIMIT_PRESENCE_GRACE_MS);
    assert_int_equal(rig->seen_count, 0);
    assert_is(rig, "alice", PRESENCE_OFFLINE, 0);
    open_at(rig, "alice", "g3");
    pass(rig, 100);
    assert_int_equal(rig->seen_count, 1);
}

/* ---- Load and bounds ---- */

/* Under load a few leave a turn, and all of them in the end. */
static void presence_waits_for_load_to_pass(void **state)
{
    struct rig *rig = *state;
    char name[16];
    for (uint32_t i = 0; i < 1000; i++) {
        snprintf(name, sizeof(name), "u%u", i);
        watch(rig, name, "g1");
        open_at(rig, name, "g3");
    }
    soft_flush(&rig->soft);
    rig->soft.heard_count = 0;
    rig->is_busy = true;
    turn(rig);
    soft_flush(&rig->soft);
    assert_int_equal(rig->soft.heard_count, ONLINE_BUSY_MAX);
    assert_int_equal(rig->seen_count, ONLINE_SEEN_BURST);
    assert_true(online_due_us(&rig->online) > rig->soft.now_us);
    assert_true(online_due_us(&rig->online) <= rig->soft.now_us + 20000);
    rig->is_busy = false;
    turn(rig);
    soft_flush(&rig->soft);
    assert_int_equal(rig->soft.heard_count, ONLINE_BUSY_MAX + ONLINE_TURN_MAX);
    assert_int_equal(rig->seen_count, ONLINE_SEEN_BURST); /* However many turns there are. */
    soft_pass(&rig->soft, ONLINE_SEEN_US / 1000);
    turn(rig);
    assert_int_equal(rig->seen_count, 2 * ONLINE_SEEN_BURST);
    pass(rig, 2000);
    assert_int_equal(rig->soft.heard_count, 1000);
    assert_int_equal(rig->seen_count, 1000);
}

/* They share an entry of its log. */
static void what_is_stored_of_one_shard_goes_together(void **state)
{
    struct rig *rig = *state;
    char name[16];
    for (uint32_t i = 0; i < 2 * ONLINE_SEEN_BURST; i++) {
        snprintf(name, sizeof(name), "%c%u", i % 2 == 0 ? 'a' : 'b', i);
        open_in(rig, i % 2 == 0 ? SHARD : SHARD + 1, name, "g3");
    }
    turn(rig);
    assert_int_equal(rig->seen_count, ONLINE_SEEN_BURST);
    for (uint32_t i = 0; i < ONLINE_SEEN_BURST; i++)
        assert_int_equal(rig->seen[i].user[0], 'a');
    soft_pass(&rig->soft, ONLINE_SEEN_US / 1000);
    turn(rig);
    assert_int_equal(rig->seen_count, 2 * ONLINE_SEEN_BURST);
    for (uint32_t i = ONLINE_SEEN_BURST; i < 2 * ONLINE_SEEN_BURST; i++)
        assert_int_equal(rig->seen[i].user[0], 'b');
}

/* A shard that cannot speak at the moment does not hold up the others. */
static void a_shard_that_cannot_speak_holds_up_nobody(void **state)
{
    struct rig *rig = *state;
    rig->is_mute = true;
    online_watch(&rig->online, MUTE, slice_string("alice"), soft_gateway(&rig->soft, "g1"));
    watch(rig, "bob", "g1");
    open_in(rig, MUTE, "alice", "g3");
    open_at(rig, "bob", "g3");
    pass(rig, 100);
    assert_told(rig, "g1:alice=offline g1:bob=offline g1:bob=online");
    assert_int_equal(rig->seen_count, 1);
    rig->is_mute = false;
    pass(rig, 100);
    assert_told(rig, "g1:alice=online");
    assert_int_equal(rig->seen_count, 2);
}

/* Too many users: those beyond count as offline, and the others are as they are. */
static void the_table_is_bounded(void **state)
{
    struct rig *rig = *state;
    rig->online.users_max = 2;
    open_at(rig, "alice", "g3");
    open_at(rig, "bob", "g3");
    open_at(rig, "carol", "g3");
    set(rig, "dave", PRESENCE_AWAY, 0);
    assert_is(rig, "bob", PRESENCE_ONLINE, 0);
    assert_is(rig, "carol", PRESENCE_OFFLINE, 0);
    close_at(rig, "carol", "g3");
    rig->is_settled = false;
    watch(rig, "erin", "g1");
    assert_int_equal(rig->online.users.count, 2);
}

/* Too many are watched: who is beyond is told of once, and not followed. */
static void what_is_watched_is_bounded(void **state)
{
    struct rig *rig = *state;
    rig->online.watched_max = 1;
    watch(rig, "alice", "g1");
    watch(rig, "alice", "g2");
    watch(rig, "bob", "g1");
    assert_told(rig, "g1:alice=offline g1:bob=offline g2:alice=offline");
    open_at(rig, "bob", "g3");
    open_at(rig, "alice", "g3");
    pass(rig, 0);
    assert_told(rig, "g1:alice=online g2:alice=online");
}

/* Thousands who come and go within the grace time cost their watchers nothing. */
static void flapping_users_cost_nothing(void **state)
{
    struct rig *rig = *state;
    char name[16];
    for (uint32_t i = 0; i < 3000; i++) {
        snprintf(name, sizeof(name), "u%u", i);
        open_at(rig, name, "g3");
        watch(rig, name, "g1");
    }
    pass(rig, 6000);
    assert_int_equal(rig->seen_count, 3000);
    rig->soft.heard_count = 0;
    for (uint32_t round = 0; round < 5; round++) {
        for (uint32_t i = 0; i < 3000; i++) {
            snprintf(name, sizeof(name), "u%u", i);
            if (round % 2 == 0)
                close_at(rig, name, "g3");
            else
                open_at(rig, name, "g3");
        }
        pass(rig, 1000);
    }
    assert_told(rig, "");
    assert_int_equal(rig->seen_count, 3000);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(who_comes_is_told_to_those_who_watch),
        TEST(who_begins_to_watch_is_told_how_it_is),
        TEST(who_unwatches_is_not_told),
        TEST(who_is_back_in_time_does_not_flicker),
        TEST(who_stays_away_is_offline_since_he_left),
        TEST(one_gateway_of_two_is_enough),
        TEST(a_silent_gateway_takes_its_users_with_it),
        TEST(a_restarted_gateway_has_the_grace_time),
        TEST(the_youngest_status_counts),
        TEST(what_is_no_status_is_ignored),
        TEST(a_status_ends_with_the_visit),
        TEST(a_status_is_a_sign_of_life),
        TEST(one_event_a_second),
        TEST(nothing_new_is_not_told),
        TEST(who_watches_in_between_is_not_left_behind),
        TEST(a_new_leader_waits_before_it_says_offline),
        TEST(a_new_leader_tells_of_whom_it_hears),
        TEST(a_shard_that_is_lost_is_forgotten),
        TEST(seen_is_stored_once_a_minute_and_at_the_end),
        TEST(what_the_log_does_not_take_waits),
        TEST(of_who_is_erased_nothing_is_stored),
        TEST(presence_waits_for_load_to_pass),
        TEST(what_is_stored_of_one_shard_goes_together),
        TEST(a_shard_that_cannot_speak_holds_up_nobody),
        TEST(the_table_is_bounded),
        TEST(what_is_watched_is_bounded),
        TEST(flapping_users_cost_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
