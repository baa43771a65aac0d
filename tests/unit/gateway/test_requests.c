/* session_requests, session_typing: what becomes of a request that is no send. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/unit/gateway/chat_world.h"

static struct world_link *alice;

static struct world *start(void)
{
    struct world *world = chat_new(NULL);
    world_conv(world, "c1", "alice bob");
    world_conv(world, "c2", "alice bob");
    alice = world_connect(world, "alice", NULL, false);
    world_run(world, 200);
    chat_log();
    return world;
}

static void stop(struct world *world)
{
    if (alice != NULL)
        world_close(&alice);
    world_run(world, 2);
    world_free(&world);
}

/* An edit, a deletion and a reaction are commands for the log; the reply bears the change's own
 * seq, and the cid where the client gave one. */
static void a_change_is_answered_with_its_own_seq(void **state)
{
    (void)state;
    struct world *world = start();
    world_send(alice, "{\"type\":\"edit\",\"id\":1,\"conv\":\"c1\",\"seq\":4,\"body\":{\"t\":1},"
                      "\"cid\":\"k1\"}");
    world_run(world, 3);
    assert_string_equal(chat_log(), "edit:c1:4:k1:{\"t\":1}:0");
    assert_int_equal(world_count(alice,
                                 "{\"type\":\"sent\",\"id\":1,\"conv\":\"c1\",\"cid\":\"k1\","
                                 "\"seq\":1,\"ts\":77}"),
                     1);
    world_send(alice, "{\"type\":\"delete\",\"id\":2,\"conv\":\"c1\",\"seq\":4}");
    world_run(world, 3);
    assert_string_equal(chat_log(), "delete:c1:4:::0");
    assert_int_equal(
        world_count(alice, "{\"type\":\"sent\",\"id\":2,\"conv\":\"c1\",\"seq\":2,\"ts\":77}"), 1);
    world_send(alice, "{\"type\":\"react\",\"id\":3,\"conv\":\"c1\",\"seq\":4,\"emoji\":\"+1\"}");
    world_send(alice, "{\"type\":\"react\",\"id\":4,\"conv\":\"c1\",\"seq\":4,\"emoji\":\"+1\","
                      "\"on\":false}");
    world_run(world, 3);
    assert_string_equal(chat_log(), "react:c1:4::+1:1 react:c1:4::+1:0");
    assert_int_equal(world_count(alice, "{\"type\":\"sent\",\"id\":4,\"conv\":\"c1\",\"seq\":4"),
                     1);
    stop(world);
}

/* What the log refuses is told with its code. */
static void a_change_that_is_refused_says_why(void **state)
{
    (void)state;
    static const enum rc codes[] = {RC_FORBIDDEN, RC_NOT_FOUND, RC_CONFLICT};
    struct world *world = start();
    for (unsigned i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        char text[128];
        chat.rc = codes[i];
        snprintf(text, sizeof(text), "{\"type\":\"delete\",\"id\":%u,\"conv\":\"c1\",\"seq\":4}",
                 i);
        world_send(alice, text);
        world_run(world, 3);
        snprintf(text, sizeof(text), "{\"type\":\"error\",\"id\":%u,\"code\":\"%s\"", i,
                 rc_client_code(codes[i]));
        assert_int_equal(world_count(alice, text), 1);
    }
    stop(world);
}

/* One device's requests to one conversation reach the log in the order they came. */
static void sends_and_changes_keep_their_order(void **state)
{
    (void)state;
    struct world *world = start();
    world_send(alice, "{\"type\":\"send\",\"conv\":\"c1\",\"cid\":\"a\",\"body\":1}");
    world_send(alice, "{\"type\":\"edit\",\"conv\":\"c1\",\"seq\":1,\"body\":2}");
    world_send(alice, "{\"type\":\"send\",\"conv\":\"c1\",\"cid\":\"b\",\"body\":1}");
    world_send(alice, "{\"type\":\"react\",\"conv\":\"c1\",\"seq\":1,\"emoji\":\"x\"}");
    world_send(alice, "{\"type\":\"send\",\"conv\":\"c1\",\"cid\":\"c\",\"body\":1}");
    world_run(world, 5);
    assert_string_equal(chat_log(), "send:c1:a edit:c1:1::2:0 send:c1:b react:c1:1::x:1 send:c1:c");
    stop(world);
}

/* A create with a cid that comes again, since its answer was lost, is about the same group; without
 * one it is about another. */
static void a_group_is_made_once_for_a_cid(void **state)
{
    (void)state;
    struct world *world = start();
    char id[KEY_GROUP_SIZE], text[128];
    key_group_of(world_cluster, slice_string("alice"), slice_string("k"), id);
    snprintf(text, sizeof(text), "\"conv\":\"%.*s\"", (int)sizeof(id), id);
    world_send(alice, "{\"type\":\"create\",\"id\":1,\"members\":[\"bob\"],\"cid\":\"k\"}");
    world_send(alice, "{\"type\":\"create\",\"id\":2,\"members\":[\"bob\"],\"cid\":\"k\"}");
    world_send(alice, "{\"type\":\"create\",\"id\":3,\"members\":[\"bob\"],\"cid\":\"l\"}");
    world_send(alice, "{\"type\":\"create\",\"id\":4,\"members\":[\"bob\"]}");
    world_send(alice, "{\"type\":\"create\",\"id\":5,\"members\":[\"bob\"]}");
    world_run(world, 3);
    assert_int_equal(world_count(alice, "\"conv\":\"g:"), 5);
    assert_int_equal(world_count(alice, text), 2);
    stop(world);
}

/* A page after a conversation that is not in the list would be an empty one, and say that all has
 * been seen. */
static void a_list_after_none_of_it_is_not_found(void **state)
{
    (void)state;
    struct world *world = start();
    world_send(alice, "{\"type\":\"conversations\",\"id\":1,\"after\":\"c3\"}");
    world_send(alice, "{\"type\":\"conversations\",\"id\":2,\"after\":\"c1\",\"limit\":1}");
    world_send(alice, "{\"type\":\"conversations\",\"id\":3,\"after\":\"c2\"}");
    world_run(world, 5);
    assert_int_equal(world_count(alice, "{\"type\":\"error\",\"id\":1,\"code\":\"not_found\","
                                        "\"message\":\"after is not in the list"),
                     1);
    assert_int_equal(world_count(alice, "\"id\":2,\"conversations\":[{\"conv\":\"c2\""), 1);
    assert_int_equal(world_count(alice, "\"id\":3,\"conversations\":[],\"more\":false"), 1);
    stop(world);
}

/* What newcomers see and how long entries live is said to the log: 0 for ever in a create, and in
 * an info, where 0 is no change, RETAIN_FOREVER. */
static void what_a_conversation_keeps_is_passed_on(void **state)
{
    (void)state;
    struct world *world = start();
    world_send(alice, "{\"type\":\"create\",\"members\":[\"bob\"],\"history\":\"joined\","
                      "\"retain_ms\":5000,\"retain_count\":null}");
    world_run(world, 3);
    assert_int_equal(chat.create.history, HISTORY_JOINED);
    assert_int_equal(chat.create.retain_ms, 5000);
    assert_int_equal(chat.create.retain_count, 0);
    world_send(alice,
               "{\"type\":\"info\",\"conv\":\"c1\",\"history\":\"all\",\"retain_count\":null}");
    world_run(world, 3);
    assert_int_equal(chat.info.history, HISTORY_ALL);
    assert_int_equal(chat.info.retain_ms, 0);
    assert_true(chat.info.retain_count == RETAIN_FOREVER);
    world_send(alice, "{\"type\":\"info\",\"conv\":\"c1\",\"retain_count\":9}");
    world_run(world, 3);
    assert_int_equal(chat.info.history, 0);
    assert_int_equal(chat.info.retain_count, 9);
    stop(world);
}

/* The leader hears that somebody types; who gave the request an id hears `ok`, who did not nothing.
 */
static void typing_is_told_to_the_leader(void **state)
{
    (void)state;
    struct world *world = start();
    uint32_t before = alice->count;
    world_send(alice, "{\"type\":\"typing\",\"conv\":\"c1\",\"on\":true}");
    world_run(world, 3);
    assert_string_equal(chat_log(), "on:c1:alice");
    assert_int_equal(alice->count, before);
    world_send(alice, "{\"type\":\"typing\",\"id\":5,\"conv\":\"c1\",\"on\":false}");
    world_run(world, 3);
    assert_string_equal(chat_log(), "off:c1:alice");
    assert_int_equal(world_count(alice, "{\"type\":\"ok\",\"id\":5}"), 1);
    stop(world);
}

/* With every key within two seconds once is enough; that he stopped is told if that he began was.
 */
static void typing_is_told_once_in_two_seconds(void **state)
{
    (void)state;
    struct world *world = start();
    for (int i = 0; i < 5; i++) {
        world_send(alice, "{\"type\":\"typing\",\"conv\":\"c1\",\"on\":true}");
        world_run(world, 100);
    }
    world_send(alice, "{\"type\":\"typing\",\"conv\":\"c2\",\"on\":true}");
    world_run(world, 2);
    assert_string_equal(chat_log(), "on:c1:alice on:c2:alice");
    world_run(world, 1500);
    world_send(alice, "{\"type\":\"typing\",\"conv\":\"c1\",\"on\":true}");
    world_run(world, 2);
    assert_string_equal(chat_log(), "on:c1:alice");
    for (int i = 0; i < 2; i++)
        world_send(alice, "{\"type\":\"typing\",\"conv\":\"c1\",\"on\":false}");
    world_run(world, 2);
    assert_string_equal(chat_log(), "off:c1:alice");
    world_run(world, LIMIT_TYPING_MS);
    world_send(alice, "{\"type\":\"typing\",\"conv\":\"c2\",\"on\":false}"); /* It has expired. */
    world_run(world, 2);
    assert_string_equal(chat_log(), "");
    stop(world);
}

/* Nobody types in more conversations than a person can. */
static void typing_in_many_conversations_is_dropped(void **state)
{
    (void)state;
    struct world *world = start();
    char text[96];
    for (int i = 0; i < 100; i++) {
        snprintf(text, sizeof(text), "{\"type\":\"typing\",\"conv\":\"x%02d\",\"on\":true}", i);
        world_send(alice, text);
    }
    world_run(world, 2);
    const char *log = chat_log();
    assert_non_null(strstr(log, "on:x07:alice"));
    assert_null(strstr(log, "on:x08:alice"));
    assert_int_equal(world_count(alice, "error"), 0);
    stop(world);
}

/* Who has got and who has read an entry, to members. */
static void receipts_say_who(void **state)
{
    (void)state;
    struct world *world = start();
    world_send(alice, "{\"type\":\"receipts\",\"id\":1,\"conv\":\"c1\",\"seq\":6}");
    world_run(world, 3);
    assert_int_equal(
        world_count(alice,
                    "{\"type\":\"receipts\",\"id\":1,\"conv\":\"c1\",\"seq\":6,\"delivered\":"
                    "[{\"user\":\"bob\",\"ts\":60}],\"read\":[],\"total\":3}"),
        1);
    chat.rc = RC_FORBIDDEN;
    world_send(alice, "{\"type\":\"receipts\",\"id\":2,\"conv\":\"c1\",\"seq\":6}");
    world_run(world, 3);
    assert_int_equal(world_count(alice, "\"type\":\"error\",\"id\":2,\"code\":\"forbidden\""), 1);
    chat.rc = RC_NOT_FOUND;
    world_send(alice, "{\"type\":\"receipts\",\"id\":3,\"conv\":\"c1\",\"seq\":6}");
    world_run(world, 3);
    assert_int_equal(world_count(alice, "\"type\":\"error\",\"id\":3,\"code\":\"not_found\""), 1);
    stop(world);
}

/* A status goes to the user's leader, and to the next one, which is told how old it is. */
static void a_status_is_told_to_each_leader(void **state)
{
    (void)state;
    struct world *world = start();
    uint32_t shard = key_user_shard(world_cluster, WORLD_SHARDS, slice_string("alice"));
    world_send(alice, "{\"type\":\"status\",\"id\":1,\"status\":\"busy\"}");
    world_run(world, 3);
    assert_int_equal(world_count(alice, "{\"type\":\"ok\",\"id\":1}"), 1);
    assert_string_equal(chat_log(), "status:alice:3");
    assert_int_equal(chat.status_age_ms, 0);
    world_run(world, 500);
    world_lead(world, shard, 1 - world->leaders[shard]);
    world_run(world, 5);
    assert_string_equal(chat_log(), "status:alice:3");
    assert_in_range(chat.status_age_ms, 500, 520);
    stop(world);
}

/* With his last session here his status is gone. */
static void a_status_ends_with_the_sessions(void **state)
{
    (void)state;
    struct world *world = start();
    world_send(alice, "{\"type\":\"status\",\"status\":\"away\"}");
    world_run(world, 3);
    assert_string_equal(chat_log(), "status:alice:2");
    world_close(&alice);
    world_run(world, 3);
    alice = world_connect(world, "alice", NULL, false);
    world_run(world, 200);
    uint32_t shard = key_user_shard(world_cluster, WORLD_SHARDS, slice_string("alice"));
    world_lead(world, shard, 1 - world->leaders[shard]);
    world_run(world, 5);
    assert_string_equal(chat_log(), "");
    stop(world);
}

/* Before `connect` nothing of it goes. */
static void a_stranger_may_ask_nothing(void **state)
{
    (void)state;
    static const char *const frames[] = {
        "{\"type\":\"edit\",\"id\":1,\"conv\":\"c1\",\"seq\":1,\"body\":1}",
        "{\"type\":\"typing\",\"id\":1,\"conv\":\"c1\",\"on\":true}",
        "{\"type\":\"receipts\",\"id\":1,\"conv\":\"c1\",\"seq\":1}",
        "{\"type\":\"presence\",\"id\":1,\"users\":[\"bob\"]}",
        "{\"type\":\"watch\",\"id\":1,\"users\":[\"bob\"]}",
        "{\"type\":\"unwatch\",\"id\":1,\"users\":[\"bob\"]}",
        "{\"type\":\"status\",\"id\":1,\"status\":\"away\"}",
    };
    struct world *world = start();
    struct world_link *stranger = world_connect(world, NULL, NULL, false);
    uint32_t count = sizeof(frames) / sizeof(frames[0]);
    for (uint32_t i = 0; i < count; i++)
        world_send(stranger, frames[i]);
    world_run(world, 3);
    assert_int_equal(world_count(stranger, "\"code\":\"unauthorized\""), count);
    assert_string_equal(chat_log(), "");
    world_close(&stranger);
    stop(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_change_is_answered_with_its_own_seq),
        cmocka_unit_test(a_change_that_is_refused_says_why),
        cmocka_unit_test(sends_and_changes_keep_their_order),
        cmocka_unit_test(what_a_conversation_keeps_is_passed_on),
        cmocka_unit_test(typing_is_told_to_the_leader),
        cmocka_unit_test(typing_is_told_once_in_two_seconds),
        cmocka_unit_test(typing_in_many_conversations_is_dropped),
        cmocka_unit_test(a_group_is_made_once_for_a_cid),
        cmocka_unit_test(a_list_after_none_of_it_is_not_found),
        cmocka_unit_test(receipts_say_who),
        cmocka_unit_test(a_status_is_told_to_each_leader),
        cmocka_unit_test(a_status_ends_with_the_sessions),
        cmocka_unit_test(a_stranger_may_ask_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
