/* presence: who watches whom, what leaders are asked, and what sessions are told and when. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "gateway/session.h"
#include "tests/unit/gateway/chat_world.h"

static struct world_link *alice, *bob;

static struct world *start(void)
{
    struct world *world = chat_new(NULL);
    alice = world_connect(world, "alice", NULL, false);
    bob = world_connect(world, "bob", NULL, false);
    world_run(world, 200);
    return world;
}

static void stop(struct world *world)
{
    if (alice != NULL)
        world_close(&alice);
    if (bob != NULL)
        world_close(&bob);
    world_run(world, 2);
    assert_int_equal(world->gateway->presence.watched.count, 0);
    world_free(&world);
}

static uint32_t shard_of(const char *user)
{
    return key_user_shard(world_cluster, WORLD_SHARDS, slice_string(user));
}

/* A user whose shard `router` leads. */
static const char *user_of(uint32_t router)
{
    static char names[2][16];
    for (int i = 0;; i++) {
        snprintf(names[router], sizeof(names[router]), "u%d", i);
        if (chat.world->leaders[shard_of(names[router])] == router)
            return names[router];
    }
}

static void tell(uint32_t router, const char *user, enum presence_status status, uint64_t last_seen)
{
    struct msg_event_presence event = {
        .user = slice_string(user), .status = status, .last_seen = last_seen};
    world_publish(chat.world, router, &msg_event_presence_desc, &event);
}

/* How `user` is, by the leader of his shard. */
static void is(const char *user, enum presence_status status, uint64_t last_seen)
{
    tell(chat.world->leaders[shard_of(user)], user, status, last_seen);
    world_run(chat.world, 2);
}

static void ask(struct world_link *link, const char *type, const char *user)
{
    char text[96];
    snprintf(text, sizeof(text), "{\"type\":\"%s\",\"id\":1,\"users\":[\"%s\"]}", type, user);
    world_send(link, text);
    world_run(chat.world, 2);
}

static uint32_t told(const struct world_link *link, const char *status)
{
    char text[64];
    snprintf(text, sizeof(text), "\"type\":\"presence\",\"user\":\"%s\",", "carol");
    uint32_t count = 0;
    for (uint32_t i = 0; i < link->count; i++)
        count += strstr(link->frames[i], text) != NULL && strstr(link->frames[i], status) != NULL;
    return count;
}

/* The leader hears of the first that watches and of the last that does no longer, and of nobody in
 * between. */
static void a_user_is_watched_once(void **state)
{
    (void)state;
    struct world *world = start();
    ask(alice, "watch", "carol");
    ask(bob, "watch", "carol");
    ask(bob, "watch", "carol");
    assert_string_equal(chat_log(), "+carol");
    assert_int_equal(world_count(bob, "{\"type\":\"ok\",\"id\":1}"), 2);
    ask(alice, "unwatch", "carol");
    ask(alice, "unwatch", "carol");
    assert_string_equal(chat_log(), "");
    world_close(&bob);
    world_run(world, 2);
    assert_string_equal(chat_log(), "-carol");
    stop(world);
}

/* `ok` first, then how each one is: at once where that is known, else when the leader says so. */
static void who_watches_is_told_how_it_is_now(void **state)
{
    (void)state;
    struct world *world = start();
    ask(alice, "watch", "carol");
    assert_int_equal(told(alice, ""), 0);
    is("carol", PRESENCE_AWAY, 55);
    assert_int_equal(told(alice, "\"status\":\"away\",\"last_seen\":55"), 1);
    uint32_t before = bob->count;
    ask(bob, "watch", "carol");
    assert_int_equal(bob->count, before + 2);
    assert_non_null(strstr(bob->frames[before], "\"ok\""));
    assert_non_null(strstr(bob->frames[before + 1], "\"away\""));
    assert_int_equal(told(alice, ""), 1);
    stop(world);
}

/* What is no news is not told. */
static void the_same_again_is_not_told(void **state)
{
    (void)state;
    struct world *world = start();
    ask(alice, "watch", "carol");
    for (int i = 0; i < 3; i++) {
        is("carol", PRESENCE_ONLINE, 0);
        world_run(world, LIMIT_PRESENCE_MS);
    }
    assert_int_equal(told(alice, ""), 1);
    stop(world);
}

/* At most once a second, and then how it is by then; also for one who has just begun to watch. */
static void a_user_is_told_of_once_a_second(void **state)
{
    (void)state;
    struct world *world = start();
    ask(alice, "watch", "carol");
    is("carol", PRESENCE_ONLINE, 0);
    for (uint64_t i = 1; i < 10; i++)
        is("carol", PRESENCE_OFFLINE, i);
    is("carol", PRESENCE_BUSY, 0);
    assert_int_equal(told(alice, ""), 1);
    ask(bob, "watch", "carol"); /* Is told the newest, and not again when the second is over. */
    assert_int_equal(told(bob, "busy"), 1);
    world_run(world, LIMIT_PRESENCE_MS + 5);
    assert_int_equal(told(alice, ""), 2);
    assert_int_equal(told(alice, "busy"), 1);
    assert_int_equal(told(bob, ""), 1);
    world_run(world, LIMIT_PRESENCE_MS);
    world_close(&bob);
    bob = world_connect(world, "bob", NULL, false);
    world_run(world, 100);
    ask(bob, "watch", "carol");
    is("carol", PRESENCE_AWAY, 0);
    assert_int_equal(told(bob, ""), 1);
    world_run(world, LIMIT_PRESENCE_MS);
    assert_int_equal(told(bob, "away"), 1);
    stop(world);
}

/* Who does not watch any more is told nothing. */
static void unwatching_ends_it(void **state)
{
    (void)state;
    struct world *world = start();
    ask(alice, "watch", "carol");
    ask(bob, "watch", "carol");
    ask(alice, "unwatch", "carol");
    is("carol", PRESENCE_ONLINE, 0);
    assert_int_equal(told(alice, ""), 0);
    assert_int_equal(told(bob, ""), 1);
    stop(world);
}

/* A new leader knows of no watches: it is asked at once, and what the old one says late does not
 * count. */
static void a_new_leader_is_asked_again(void **state)
{
    (void)state;
    struct world *world = start();
    uint32_t old = world->leaders[shard_of("carol")];
    ask(alice, "watch", "carol");
    is("carol", PRESENCE_ONLINE, 0);
    chat_log();
    world_lead(world, shard_of("carol"), 1 - old);
    world_run(world, 3);
    assert_string_equal(chat_log(), "+carol");
    tell(old, "carol", PRESENCE_OFFLINE, 9);
    world_run(world, LIMIT_PRESENCE_MS + 5);
    assert_int_equal(told(alice, "offline"), 0);
    is("carol", PRESENCE_AWAY, 0);
    assert_int_equal(told(alice, "away"), 1);
    stop(world);
}

/* A hole in the link may have been an event: the leader is asked how they all are. */
static void a_lost_event_is_asked_for(void **state)
{
    (void)state;
    struct world *world = start();
    ask(alice, "watch", "carol");
    is("carol", PRESENCE_ONLINE, 0);
    world_run(world, LIMIT_PRESENCE_MS);
    chat_log();
    world->drop_percent = 100;
    tell(world->leaders[shard_of("carol")], "carol", PRESENCE_BUSY, 0);
    world->drop_percent = 0;
    world_run(world, LIMIT_BEAT_MS * 2 + 5);
    assert_string_equal(chat_log(), "+carol");
    is("carol", PRESENCE_BUSY, 0);
    assert_int_equal(told(alice, "busy"), 1);
    stop(world);
}

/* A question that was lost on its way is asked again; one that was answered is not. */
static void a_lost_question_is_asked_again(void **state)
{
    (void)state;
    struct world *world = start();
    chat.is_deaf = true;
    ask(alice, "watch", "carol");
    chat.is_deaf = false;
    assert_string_equal(chat_log(), "");
    world_run(world, LIMIT_PRESENCE_GRACE_MS + 1100);
    assert_string_equal(chat_log(), "+carol");
    is("carol", PRESENCE_ONLINE, 0);
    world_run(world, 2 * LIMIT_PRESENCE_GRACE_MS);
    assert_string_equal(chat_log(), "");
    stop(world);
}

/* That nobody here watches any more may be lost as well. */
static void an_event_that_nobody_wants_is_declined(void **state)
{
    (void)state;
    struct world *world = start();
    is("carol", PRESENCE_ONLINE, 0);
    assert_string_equal(chat_log(), "-carol");
    stop(world);
}

/* Who is watched anew in the same turn is asked about anew: the leader may hear of both. */
static void watching_anew_is_asking_anew(void **state)
{
    (void)state;
    struct world *world = start();
    ask(alice, "watch", "carol");
    is("carol", PRESENCE_ONLINE, 0);
    chat_log();
    world_send(alice, "{\"type\":\"unwatch\",\"users\":[\"carol\"]}");
    world_send(alice, "{\"type\":\"watch\",\"users\":[\"carol\"]}");
    world_run(world, 2);
    assert_string_equal(chat_log(), "+carol");
    stop(world);
}

/* With nobody to lead, watches wait for the next leader. */
static void a_watch_waits_for_a_leader(void **state)
{
    (void)state;
    struct world *world = start();
    uint32_t router = world->leaders[shard_of("carol")];
    world->leaders[shard_of("carol")] = WORLD_ROUTERS;
    world_beat(world, router);
    world_run(world, 2);
    ask(alice, "watch", "carol");
    assert_int_equal(world_count(alice, "{\"type\":\"ok\",\"id\":1}"), 1);
    world_run(world, 1000);
    assert_string_equal(chat_log(), "");
    world->terms[shard_of("carol")]++;
    world->leaders[shard_of("carol")] = router;
    world_beat(world, router);
    world_run(world, 3);
    assert_string_equal(chat_log(), "+carol");
    stop(world);
}

static void watch_many(struct world_link *link, unsigned first, unsigned count)
{
    struct buf *text = buf_new(0);
    buf_append_string(text, "{\"type\":\"watch\",\"id\":2,\"users\":[");
    for (unsigned i = first; i < first + count; i++)
        buf_append_format(text, "%s\"m%u\"", i > first ? "," : "", i);
    buf_append_string(text, "]}");
    session_on_frame(link->session, buf_slice(text));
    buf_unref(&text);
    world_run(chat.world, 2);
    chat_log();
}

/* A session watches 5,000 at most; one more is too many, those it watches already are not. */
static void a_session_watches_so_many_and_no_more(void **state)
{
    (void)state;
    struct world *world = start();
    for (unsigned i = 0; i < PRESENCE_SESSION_MAX; i += LIMIT_PRESENCE_USERS)
        watch_many(alice, i, LIMIT_PRESENCE_USERS);
    assert_int_equal(world_count(alice, "{\"type\":\"ok\",\"id\":2}"), 10);
    watch_many(alice, PRESENCE_SESSION_MAX, 1);
    assert_int_equal(world_count(alice, "\"code\":\"too_large\",\"message\":\"at most 5000"), 1);
    watch_many(alice, 100, 100);
    assert_int_equal(world_count(alice, "{\"type\":\"ok\",\"id\":2}"), 11);
    assert_int_equal(world->gateway->presence.watched.count, PRESENCE_SESSION_MAX);
    assert_int_equal(alice->session->interest_count, PRESENCE_SESSION_MAX);
    chat.packets = 0;
    world_close(&alice);
    world_run(world, 2);
    chat.log[0] = '\0';
    assert_in_range(chat.packets, WORLD_SHARDS, 3 * WORLD_SHARDS);
    stop(world);
}

/* A client that reads slowly is not told of others, and is told when it reads again, once. */
static void presence_is_the_first_to_go(void **state)
{
    (void)state;
    struct gateway_options options;
    gateway_options_init(&options);
    options.outbox_bytes_max = 2048;
    struct world *world = chat_new(&options);
    struct world_conv *conv = world_conv(world, "c1", "alice bob");
    alice = world_connect(world, "alice", NULL, false);
    bob = world_connect(world, "bob", NULL, false);
    world_run(world, 200);
    ask(alice, "watch", "carol");
    alice->is_blocked = true;
    for (int i = 0; i < 12; i++)
        world_say(world, conv, "bob");
    world_run(world, 5);
    is("carol", PRESENCE_ONLINE, 0);
    world_run(world, LIMIT_PRESENCE_MS);
    is("carol", PRESENCE_BUSY, 0);
    world_run(world, LIMIT_PRESENCE_MS);
    alice->is_blocked = false;
    session_on_writable(alice->session);
    world_run(world, 50);
    world_expect_seqs(alice, "c1", 1, 12);
    assert_int_equal(told(alice, ""), 1);
    assert_int_equal(told(alice, "busy"), 1);
    stop(world);
}

/* ---- `presence` ---- */

/* Asked of all shards concerned, answered in the order asked, also where one is named twice. */
static void a_list_comes_in_the_order_asked(void **state)
{
    (void)state;
    struct world *world = start();
    world_send(alice, "{\"type\":\"presence\",\"id\":7,\"users\":[\"xb\",\"a\",\"e\",\"f\",\"ab\","
                      "\"g\",\"h\",\"xb\"]}");
    world_run(world, 3);
    assert_int_equal(world_count(alice, "{\"type\":\"presence_list\",\"id\":7,\"users\":["
                                        "{\"user\":\"xb\",\"status\":\"busy\",\"last_seen\":2},"
                                        "{\"user\":\"a\",\"status\":\"online\"},"
                                        "{\"user\":\"e\",\"status\":\"online\"},"
                                        "{\"user\":\"f\",\"status\":\"online\"},"
                                        "{\"user\":\"ab\",\"status\":\"busy\",\"last_seen\":2},"
                                        "{\"user\":\"g\",\"status\":\"online\"},"
                                        "{\"user\":\"h\",\"status\":\"online\"},"
                                        "{\"user\":\"xb\",\"status\":\"busy\",\"last_seen\":2}]}"),
                     1);
    assert_in_range(chat.queries, 2, WORLD_SHARDS);
    stop(world);
}

/* What a new leader has yet to find out it refuses with `unavailable`: it is asked until it knows.
 */
static void a_list_waits_for_who_knows(void **state)
{
    (void)state;
    struct world *world = start();
    chat.rc = RC_UNAVAILABLE;
    ask(alice, "presence", user_of(0));
    world_run(world, 2000);
    assert_int_equal(world_count(alice, "presence_list"), 0);
    assert_int_equal(world_count(alice, "error"), 0);
    chat.rc = RC_OK;
    world_run(world, LIMIT_BEAT_MS + 5);
    assert_int_equal(world_count(alice, "\"type\":\"presence_list\",\"id\":1"), 1);
    stop(world);
}

/* Meanwhile it takes everything else, and nothing waits behind the question. */
static void a_list_that_waits_holds_nothing_up(void **state)
{
    (void)state;
    struct world *world = start();
    struct world_conv *conv = world_conv(world, "c1", "alice bob");
    char user[16];
    int i = 0;
    do
        snprintf(user, sizeof(user), "u%d", i++);
    while (shard_of(user) != world_shard(world, conv));
    chat.rc = RC_UNAVAILABLE;
    for (i = 0; i < 4; i++)
        ask(alice, "presence", user);
    for (i = 0; i < 50; i++) {
        uint32_t before = alice->count;
        world_send(alice, "{\"type\":\"ack\",\"id\":9,\"conv\":\"c1\",\"seq\":1}");
        world_run(world, 3);
        assert_int_equal(alice->count, before + 1);
        world_run(world, 20);
    }
    stop(world);
}

/* A change of leaders is a pause. */
static void a_list_moves_with_the_lead(void **state)
{
    (void)state;
    struct world *world = start();
    const char *user = user_of(0);
    world->leaders[shard_of(user)] = WORLD_ROUTERS;
    world_beat(world, 0);
    ask(alice, "presence", user);
    world_run(world, 500);
    assert_int_equal(world_count(alice, "presence_list"), 0);
    world->leaders[shard_of(user)] = 1;
    world->terms[shard_of(user)]++;
    world_beat(world, 1);
    world_run(world, 5);
    assert_int_equal(world_count(alice, "\"type\":\"presence_list\",\"id\":1"), 1);
    stop(world);
}

/* Not for ever: after request_ms it is `unavailable`, once, whatever the others answered. */
static void a_list_that_cannot_be_had_is_unavailable(void **state)
{
    (void)state;
    struct world *world = start();
    char text[128];
    const char *lost = user_of(0);
    const char *there = user_of(1);
    world->leaders[shard_of(lost)] = WORLD_ROUTERS;
    world_beat(world, 0);
    snprintf(text, sizeof(text), "{\"type\":\"presence\",\"id\":1,\"users\":[\"%s\",\"%s\"]}", lost,
             there);
    world_send(alice, text);
    world_run(world, world->options.request_ms + 10);
    assert_int_equal(world_count(alice, "presence_list"), 0);
    assert_int_equal(world_count(alice, "\"type\":\"error\",\"id\":1,\"code\":\"unavailable\""), 1);
    stop(world);
}

/* A session has a few lists on their way at a time; who is gone gets none. */
static void lists_on_their_way_are_bounded(void **state)
{
    (void)state;
    struct world *world = start();
    chat.rc = RC_UNAVAILABLE;
    for (uint32_t i = 0; i <= SESSION_QUERIES_MAX; i++)
        ask(alice, "presence", "carol");
    assert_int_equal(world_count(alice, "\"code\":\"rate_limited\""), 1);
    world_close(&alice);
    chat.rc = RC_OK;
    world_run(world, 100);
    ask(bob, "presence", "carol");
    assert_int_equal(world_count(bob, "presence_list"), 1);
    stop(world);
}

/* Before routers are known nothing can be watched or asked. */
static void nothing_is_known_without_routers(void **state)
{
    (void)state;
    memset(&chat, 0, sizeof(chat));
    struct world *world = chat.world = world_new(NULL, 1);
    alice = world_connect(world, "alice", NULL, false);
    bob = NULL;
    ask(alice, "watch", "carol");
    ask(alice, "presence", "carol");
    ask(alice, "unwatch", "carol");
    assert_int_equal(world_count(alice, "\"code\":\"unavailable\""), 2);
    assert_int_equal(world_count(alice, "\"ok\""), 1);
    stop(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_user_is_watched_once),
        cmocka_unit_test(who_watches_is_told_how_it_is_now),
        cmocka_unit_test(the_same_again_is_not_told),
        cmocka_unit_test(a_user_is_told_of_once_a_second),
        cmocka_unit_test(unwatching_ends_it),
        cmocka_unit_test(a_new_leader_is_asked_again),
        cmocka_unit_test(a_lost_event_is_asked_for),
        cmocka_unit_test(a_lost_question_is_asked_again),
        cmocka_unit_test(an_event_that_nobody_wants_is_declined),
        cmocka_unit_test(watching_anew_is_asking_anew),
        cmocka_unit_test(a_watch_waits_for_a_leader),
        cmocka_unit_test(a_session_watches_so_many_and_no_more),
        cmocka_unit_test(presence_is_the_first_to_go),
        cmocka_unit_test(a_list_comes_in_the_order_asked),
        cmocka_unit_test(a_list_waits_for_who_knows),
        cmocka_unit_test(a_list_that_waits_holds_nothing_up),
        cmocka_unit_test(a_list_moves_with_the_lead),
        cmocka_unit_test(a_list_that_cannot_be_had_is_unavailable),
        cmocka_unit_test(lists_on_their_way_are_bounded),
        cmocka_unit_test(nothing_is_known_without_routers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
