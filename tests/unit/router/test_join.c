/* A router that holds nothing yet asks its way into a cluster: over a bus that only takes notes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs those above. */
#include <cmocka.h>

#include <stdio.h>

#include "mesh/base/limits.h"
#include "mesh/base/mem.h"
#include "nodes/router/join.h"

#define SENT_MAX 64u

struct sent {
    char to[LIMIT_NODE_ID_SIZE_MAX + 1];
    uint8_t cluster[16];
    uint32_t number;
    uint64_t req, rc;
    char json[256];
    char node[16], zone[16];
    uint64_t weight;
};

struct rig {
    struct env env;
    struct bus bus;
    uint64_t now_us;
    struct join *join;
    struct bus_handler handler;
    struct sent sent[SENT_MAX];
    uint32_t sent_count;
};

static const uint8_t cluster[16] = {7, 7, 7, 1};

static uint64_t clock_us(struct env *env)
{
    return ((struct rig *)(void *)env)->now_us;
}

static uint64_t random_bits(struct env *env)
{
    (void)env;
    return 4711;
}

static void copy_text(char *to, size_t size, struct slice from)
{
    snprintf(to, size, "%.*s", SLICE_ARGS(from));
}

static enum rc take_note(struct bus *bus, struct slice node, struct buf *bytes)
{
    struct rig *rig = (struct rig *)(void *)((char *)bus - offsetof(struct rig, bus));
    struct sent *s = &rig->sent[rig->sent_count++];
    struct packet packet;
    struct msg_join join;
    struct msg_joined joined;
    struct msg_status_reply reply;
    assert_true(rig->sent_count <= SENT_MAX);
    copy_text(s->to, sizeof(s->to), node);
    assert_int_equal(packet_decode(buf_slice(bytes), &packet), RC_OK);
    memcpy(s->cluster, packet.cluster.base, sizeof(s->cluster));
    assert_int_equal(record_peek(&packet.messages, &s->number), RC_OK);
    if (s->number == MSG_JOIN) {
        assert_int_equal(record_decode(&packet.messages, &msg_join_desc, &join), RC_OK);
        s->req = join.req;
        s->weight = join.weight;
        copy_text(s->node, sizeof(s->node), join.node);
        copy_text(s->zone, sizeof(s->zone), join.zone);
    } else if (s->number == MSG_STATUS_REPLY) {
        assert_int_equal(record_decode(&packet.messages, &msg_status_reply_desc, &reply), RC_OK);
        s->req = reply.req;
        copy_text(s->json, sizeof(s->json), reply.json);
    } else {
        assert_int_equal(record_decode(&packet.messages, &msg_joined_desc, &joined), RC_OK);
        s->req = joined.req;
        s->rc = joined.rc;
    }
    return RC_OK;
}

static int setup(void **state)
{
    struct rig *rig = mem_new(struct rig);
    rig->env = (struct env){.now_us = clock_us, .random = random_bits};
    rig->bus.send = take_note;
    rig->now_us = 1000000;
    struct join_options options = {.node = "r2", .incarnation = 9, .zone = "z1", .weight = 50};
    rig->join = join_new(&options, &rig->env, &rig->bus);
    rig->handler = join_bus_handler(rig->join);
    *state = rig;
    return 0;
}

static int teardown(void **state)
{
    struct rig *rig = *state;
    join_free(&rig->join);
    mem_free(rig);
    return 0;
}

static void tell_of(struct rig *rig, const char *id, enum node_role role, bool in_cluster, bool up)
{
    struct msg_node node = {.id = slice_string(id), .role = role};
    if (in_cluster)
        node.cluster = slice_of(cluster, sizeof(cluster));
    rig->handler.on_peer(rig->handler.context, &node, up);
}

static void hear(struct rig *rig, const char *from, const struct record_desc *desc,
                 const void *message)
{
    struct packet_sender sender = {.node = slice_string(from), .incarnation = 1};
    struct packet packet;
    struct buf *bytes = buf_new(128);
    memcpy(sender.cluster, cluster, sizeof(cluster));
    packet_begin(bytes, &sender, 0);
    record_encode(bytes, desc, message);
    assert_int_equal(packet_decode(buf_slice(bytes), &packet), RC_OK);
    rig->handler.on_request(rig->handler.context, slice_string(from), &packet);
    buf_unref(&bytes);
}

static void answer(struct rig *rig, const char *from, enum rc rc, uint64_t shards,
                   const char *epoch)
{
    struct msg_joined joined = {
        .req = 4711, .rc = rc, .shards = shards, .epoch = slice_string(epoch)};
    hear(rig, from, &msg_joined_desc, &joined);
}

static void pass(struct rig *rig, uint64_t ms)
{
    rig->now_us += ms * 1000;
    join_turn(rig->join);
}

static enum rc outcome(struct rig *rig)
{
    struct join_result result;
    return join_outcome(rig->join, &result);
}

static void assert_waits_for(struct rig *rig, const char *part)
{
    char text[128];
    join_describe(rig->join, text, sizeof(text));
    if (strstr(text, part) == NULL)
        fail_msg("\"%s\" says nothing of \"%s\"", text, part);
}

/* Before a router is heard there is nobody to ask and nothing to wake up for. */
static void nobody_is_asked_before_a_router_is_heard(void **state)
{
    struct rig *rig = *state;
    tell_of(rig, "g1", NODE_GATEWAY, true, true);
    pass(rig, 1000);
    assert_int_equal(rig->sent_count, 0);
    assert_true(join_due_us(rig->join) == ENV_NEVER);
    assert_int_equal(outcome(rig), RC_AGAIN);
    assert_waits_for(rig, "can be reached");
}

/* The question says who joins, where it stands and what it can take, in the cluster's name. */
static void the_question_tells_who_joins(void **state)
{
    struct rig *rig = *state;
    tell_of(rig, "r1", NODE_ROUTER, true, true);
    assert_true(join_due_us(rig->join) <= rig->now_us);
    pass(rig, 0);
    assert_int_equal(rig->sent_count, 1);
    const struct sent *s = &rig->sent[0];
    assert_string_equal(s->to, "r1");
    assert_int_equal(s->number, MSG_JOIN);
    assert_string_equal(s->node, "r2");
    assert_string_equal(s->zone, "z1");
    assert_int_equal(s->weight, 50);
    assert_memory_equal(s->cluster, cluster, sizeof(cluster));
    assert_waits_for(rig, "1 of 1 routers");
}

/* The control group's leader says what the cluster is; that ends it. */
static void the_answer_of_the_leader_is_the_result(void **state)
{
    struct rig *rig = *state;
    struct join_result result;
    tell_of(rig, "r1", NODE_ROUTER, true, true);
    pass(rig, 0);
    answer(rig, "r1", RC_OK, 64, "0badcafe");
    assert_int_equal(join_outcome(rig->join, &result), RC_OK);
    assert_int_equal(result.shards, 64);
    assert_string_equal(result.epoch, "0badcafe");
    assert_memory_equal(result.cluster, cluster, sizeof(cluster));
    assert_true(join_due_us(rig->join) == ENV_NEVER);
    pass(rig, 1000);
    assert_int_equal(rig->sent_count, 1);
}

/* A router that does not answer costs 300 ms, then the next one is asked, and the first again. */
static void silent_routers_are_asked_in_turn(void **state)
{
    struct rig *rig = *state;
    tell_of(rig, "r1", NODE_ROUTER, true, true);
    tell_of(rig, "r3", NODE_ROUTER, true, true);
    pass(rig, 0);
    pass(rig, 299);
    assert_int_equal(rig->sent_count, 1);
    pass(rig, 1);
    pass(rig, 300);
    assert_int_equal(rig->sent_count, 3);
    assert_string_equal(rig->sent[0].to, "r1");
    assert_string_equal(rig->sent[1].to, "r3");
    assert_string_equal(rig->sent[2].to, "r1");
}

/* "Not the leader" leads on at once, but a whole round of it waits. */
static void a_refusal_leads_to_the_next_router_at_once_within_a_round(void **state)
{
    struct rig *rig = *state;
    tell_of(rig, "r1", NODE_ROUTER, true, true);
    tell_of(rig, "r3", NODE_ROUTER, true, true);
    pass(rig, 0);
    answer(rig, "r1", RC_NOT_LEADER, 0, "");
    pass(rig, 1);
    assert_int_equal(rig->sent_count, 2);
    answer(rig, "r3", RC_NOT_LEADER, 0, "");
    assert_waits_for(rig, "a leader of the control group");
    pass(rig, 1);
    assert_int_equal(rig->sent_count, 2);
    pass(rig, 300);
    assert_int_equal(rig->sent_count, 3);
    answer(rig, "r1", RC_UNAVAILABLE, 0, "");
    assert_waits_for(rig, "cannot take anybody in");
    assert_int_equal(outcome(rig), RC_AGAIN);
}

/* An answer counts however late it comes: the disk of a busy leader may take longer than 300 ms. */
static void a_late_answer_counts(void **state)
{
    struct rig *rig = *state;
    tell_of(rig, "r1", NODE_ROUTER, true, true);
    tell_of(rig, "r3", NODE_ROUTER, true, true);
    pass(rig, 0);
    pass(rig, 300);
    pass(rig, 300);
    answer(rig, "r1", RC_OK, 8, "01234567");
    assert_int_equal(outcome(rig), RC_OK);
}

/* An id that was removed stays removed: that is final, whatever else is said. */
static void a_removed_id_is_refused_for_good(void **state)
{
    struct rig *rig = *state;
    tell_of(rig, "r1", NODE_ROUTER, true, true);
    pass(rig, 0);
    answer(rig, "r1", RC_CONFLICT, 0, "");
    answer(rig, "r1", RC_OK, 8, "01234567");
    assert_int_equal(outcome(rig), RC_CONFLICT);
    pass(rig, 1000);
    assert_int_equal(rig->sent_count, 1);
}

/* What no leader would say is not believed, and neither is what was said to somebody else. */
static void an_answer_that_cannot_be_is_ignored(void **state)
{
    struct rig *rig = *state;
    struct msg_joined other = {
        .req = 4712, .rc = RC_OK, .shards = 8, .epoch = slice_string("01234567")};
    tell_of(rig, "r1", NODE_ROUTER, true, true);
    pass(rig, 0);
    answer(rig, "r1", RC_OK, 0, "01234567");
    answer(rig, "r1", RC_OK, LIMIT_SHARDS_MAX + 1, "01234567");
    answer(rig, "r1", RC_OK, 8, "0123");
    hear(rig, "r1", &msg_joined_desc, &other);
    assert_int_equal(outcome(rig), RC_AGAIN);
}

/* A router that went down is not asked any more; one that comes is. */
static void only_routers_that_are_up_are_asked(void **state)
{
    struct rig *rig = *state;
    tell_of(rig, "r1", NODE_ROUTER, true, true);
    pass(rig, 0);
    tell_of(rig, "r1", NODE_ROUTER, true, false);
    assert_true(join_due_us(rig->join) == ENV_NEVER);
    pass(rig, 300);
    assert_int_equal(rig->sent_count, 1);
    tell_of(rig, "r3", NODE_ROUTER, true, true);
    pass(rig, 300);
    assert_int_equal(rig->sent_count, 2);
    assert_string_equal(rig->sent[1].to, "r3");
}

/* Two that join at once hear each other first: neither can take the other in, and says so. */
static void another_router_that_joins_is_told_that_we_do_not_lead(void **state)
{
    struct rig *rig = *state;
    struct msg_join question = {.req = 5, .node = slice_string("r3"), .weight = 100};
    tell_of(rig, "r3", NODE_ROUTER, false, true);
    pass(rig, 300);
    assert_int_equal(rig->sent_count, 0);
    assert_waits_for(rig, "joining as well");
    tell_of(rig, "r1", NODE_ROUTER, true, true);
    hear(rig, "r3", &msg_join_desc, &question);
    assert_int_equal(rig->sent_count, 1);
    assert_string_equal(rig->sent[0].to, "r3");
    assert_int_equal(rig->sent[0].number, MSG_JOINED);
    assert_int_equal(rig->sent[0].req, 5);
    assert_int_equal(rig->sent[0].rc, RC_NOT_LEADER);
}

/* Who asks how we are is told what we wait for, once we know whose cluster it is. */
static void status_is_told_what_is_waited_for(void **state)
{
    struct rig *rig = *state;
    const struct msg_status_request request = {.req = 8};
    hear(rig, "status-1", &msg_status_request_desc, &request);
    assert_int_equal(rig->sent_count, 0);
    tell_of(rig, "r1", NODE_ROUTER, true, true);
    hear(rig, "status-1", &msg_status_request_desc, &request);
    assert_int_equal(rig->sent_count, 1);
    assert_string_equal(rig->sent[0].to, "status-1");
    assert_int_equal(rig->sent[0].req, 8);
    assert_string_equal(rig->sent[0].json,
                        "{\"id\":\"r2\",\"waits_for\":\"an answer: 1 of 1 routers have not said a "
                        "word\"}");
}

/* Traffic for the router to be, and rubbish, change nothing. */
static void other_messages_are_passed_over(void **state)
{
    struct rig *rig = *state;
    struct msg_hello hello = {.version = MESSAGES_VERSION};
    struct packet rubbish = {.messages = record_reader_of(slice_string("rubbish"))};
    tell_of(rig, "r1", NODE_ROUTER, true, true);
    hear(rig, "g1", &msg_hello_desc, &hello);
    rig->handler.on_request(rig->handler.context, slice_string("r1"), &rubbish);
    assert_int_equal(outcome(rig), RC_AGAIN);
    assert_int_equal(rig->sent_count, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(nobody_is_asked_before_a_router_is_heard),
        TEST(status_is_told_what_is_waited_for),
        TEST(the_question_tells_who_joins),
        TEST(the_answer_of_the_leader_is_the_result),
        TEST(silent_routers_are_asked_in_turn),
        TEST(a_refusal_leads_to_the_next_router_at_once_within_a_round),
        TEST(a_late_answer_counts),
        TEST(a_removed_id_is_refused_for_good),
        TEST(an_answer_that_cannot_be_is_ignored),
        TEST(only_routers_that_are_up_are_asked),
        TEST(another_router_that_joins_is_told_that_we_do_not_lead),
        TEST(other_messages_are_passed_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
