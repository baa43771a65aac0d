/* machine: the control group; what the cluster is, and the list of its routers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "mesh/base/limits.h"
#include "mesh/base/mem.h"
#include "storage/keyspace.h"
#include "storage/rows.h"
#include "tests/support/machine_rig.h"

static int control_setup(void **state)
{
    struct rig *rig = mem_new(struct rig);
    rig_open_group(rig, CONTROL_GROUP);
    *state = rig;
    return 0;
}

static struct msg_cmd_cluster good_cluster(void)
{
    return (struct msg_cmd_cluster){
        .shards = 64,
        .replicas = 3,
        .epoch = slice_string("0badcafe"),
    };
}

static enum rc found(struct rig *rig)
{
    struct msg_cmd_cluster c = good_cluster();
    return rig_do(rig, &msg_cmd_cluster_desc, &c).rc;
}

static struct msg_cmd_router router_of(const char *node, const char *zone, enum router_state state)
{
    return (struct msg_cmd_router){
        .node = slice_string(node),
        .zone = rig_text(zone),
        .weight = 100,
        .state = state,
    };
}

static enum rc set(struct rig *rig, const char *node, enum router_state state)
{
    struct msg_cmd_router c = router_of(node, "east", state);
    return rig_do(rig, &msg_cmd_router_desc, &c).rc;
}

static uint64_t version(struct rig *rig)
{
    struct machine_cluster cluster;
    assert_int_equal(machine_cluster(rig->machine, &cluster), RC_OK);
    return cluster.version;
}

/* The list as text: "node zone weight state;" of each, "-" for no zone. */
static const char *list(struct rig *rig)
{
    static char text[1024];
    size_t size = 0;
    buf_clear(rig->into);
    assert_int_equal(machine_routers(rig->machine, rig->into), RC_OK);
    struct record_reader r = record_reader_of(buf_slice(rig->into));
    text[0] = 0;
    while (!record_reader_at_end(&r)) {
        struct msg_cmd_router c;
        assert_int_equal(record_decode(&r, &msg_cmd_router_desc, &c), RC_OK);
        struct slice zone = c.zone.base != NULL ? c.zone : slice_string("-");
        size += (size_t)snprintf(text + size, sizeof(text) - size, "%.*s %.*s %lu %lu;",
                                 SLICE_ARGS(c.node), SLICE_ARGS(zone), c.weight, c.state);
        assert_true(size < sizeof(text));
    }
    return text;
}

/* A new group knows no cluster; what the founder says is there after a restart. */
static void what_the_founder_says_stays(void **state)
{
    struct rig *rig = *state;
    struct machine_cluster cluster;
    assert_int_equal(machine_cluster(rig->machine, &cluster), RC_NOT_FOUND);
    assert_string_equal(list(rig), "");
    assert_int_equal(found(rig), RC_OK);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(machine_cluster(rig->machine, &cluster), RC_OK);
        assert_int_equal(cluster.shards, 64);
        assert_int_equal(cluster.replicas, 3);
        assert_string_equal(cluster.epoch, "0badcafe");
        assert_int_equal(cluster.version, 0);
        rig_reopen(rig);
    }
}

/* The cluster is founded once: the same words again are fine, any other is a conflict. */
static void a_cluster_is_founded_once(void **state)
{
    struct rig *rig = *state;
    assert_int_equal(found(rig), RC_OK);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(found(rig), RC_OK);
        struct msg_cmd_cluster c = good_cluster();
        c.shards = 65;
        assert_int_equal(rig_do(rig, &msg_cmd_cluster_desc, &c).rc, RC_CONFLICT);
        c = good_cluster();
        c.replicas = 5;
        assert_int_equal(rig_do(rig, &msg_cmd_cluster_desc, &c).rc, RC_CONFLICT);
        c = good_cluster();
        c.epoch = slice_string("0badcaff");
        assert_int_equal(rig_do(rig, &msg_cmd_cluster_desc, &c).rc, RC_CONFLICT);
        rig_reopen(rig);
    }
    struct machine_cluster cluster;
    assert_int_equal(machine_cluster(rig->machine, &cluster), RC_OK);
    assert_int_equal(cluster.shards, 64);
}

/* No router joins what is not founded. */
static void no_router_comes_before_the_cluster(void **state)
{
    struct rig *rig = *state;
    assert_int_equal(set(rig, "r1", ROUTER_ACTIVE), RC_NOT_FOUND);
    assert_string_equal(list(rig), "");
}

/* The list is in the order of node ids, each with its last word, and the same after a restart. */
static void the_list_is_in_order_and_stays(void **state)
{
    struct rig *rig = *state;
    assert_int_equal(found(rig), RC_OK);
    struct msg_cmd_router c = router_of("r2", NULL, ROUTER_ACTIVE);
    assert_int_equal(rig_do(rig, &msg_cmd_router_desc, &c).rc, RC_OK);
    assert_int_equal(set(rig, "r10", ROUTER_ACTIVE), RC_OK);
    assert_int_equal(set(rig, "r1", ROUTER_LOST), RC_OK);
    assert_int_equal(set(rig, "r10", ROUTER_DRAINING), RC_OK);
    c.weight = 1000;
    c.zone = slice_string("west");
    assert_int_equal(rig_do(rig, &msg_cmd_router_desc, &c).rc, RC_OK);
    const char *all = "r1 east 100 3;r10 east 100 2;r2 west 1000 1;";
    assert_string_equal(list(rig), all);
    rig_reopen(rig);
    assert_string_equal(list(rig), all);
    c.zone = (struct slice){0};
    assert_int_equal(rig_do(rig, &msg_cmd_router_desc, &c).rc, RC_OK);
    assert_string_equal(list(rig), "r1 east 100 3;r10 east 100 2;r2 - 1000 1;");
}

/* The version is the index of the entry that changed the list; what changes nothing leaves it. */
static void the_version_moves_with_the_list_alone(void **state)
{
    struct rig *rig = *state;
    assert_int_equal(found(rig), RC_OK);
    assert_int_equal(set(rig, "r1", ROUTER_ACTIVE), RC_OK);
    uint64_t first = rig->index;
    assert_int_equal(version(rig), first);
    assert_int_equal(set(rig, "r1", ROUTER_ACTIVE), RC_OK);
    assert_int_equal(found(rig), RC_OK);
    assert_int_equal(set(rig, "r1", ROUTER_REMOVED), RC_CONFLICT);
    assert_int_equal(version(rig), first);
    rig_reopen(rig);
    assert_int_equal(set(rig, "r1", ROUTER_ACTIVE), RC_OK);
    assert_int_equal(version(rig), first);
    assert_int_equal(set(rig, "r1", ROUTER_LOST), RC_OK);
    assert_int_equal(version(rig), rig->index);
}

/* Whoever is active must drain or be lost before he is removed; a name unknown can be barred. */
static void an_active_router_is_not_removed(void **state)
{
    struct rig *rig = *state;
    assert_int_equal(found(rig), RC_OK);
    assert_int_equal(set(rig, "r0", ROUTER_ACTIVE), RC_OK);
    assert_int_equal(set(rig, "r1", ROUTER_ACTIVE), RC_OK);
    assert_int_equal(set(rig, "r1", ROUTER_REMOVED), RC_CONFLICT);
    assert_int_equal(set(rig, "r1", ROUTER_DRAINING), RC_OK);
    assert_int_equal(set(rig, "r1", ROUTER_REMOVED), RC_OK);
    assert_int_equal(set(rig, "r2", ROUTER_LOST), RC_OK);
    assert_int_equal(set(rig, "r2", ROUTER_REMOVED), RC_OK);
    assert_int_equal(set(rig, "r3", ROUTER_REMOVED), RC_OK);
    assert_string_equal(list(rig), "r0 east 100 1;r1 east 100 4;r2 east 100 4;r3 east 100 4;");
}

/* Somebody must be left to hold the shards: the last active router does not drain, however many
 * drain, are lost or were removed. One that drains already may go on to, and be changed. */
static void the_last_active_router_does_not_drain(void **state)
{
    struct rig *rig = *state;
    assert_int_equal(found(rig), RC_OK);
    assert_int_equal(set(rig, "r1", ROUTER_DRAINING), RC_CONFLICT);
    assert_string_equal(list(rig), "");
    assert_int_equal(set(rig, "r1", ROUTER_ACTIVE), RC_OK);
    assert_int_equal(set(rig, "r1", ROUTER_DRAINING), RC_CONFLICT);
    assert_int_equal(set(rig, "r2", ROUTER_ACTIVE), RC_OK);
    assert_int_equal(set(rig, "r3", ROUTER_LOST), RC_OK);
    assert_int_equal(set(rig, "r4", ROUTER_REMOVED), RC_OK);
    assert_int_equal(set(rig, "r2", ROUTER_DRAINING), RC_OK);
    for (int i = 0; i < 2; i++) {
        uint64_t before = version(rig);
        assert_int_equal(set(rig, "r1", ROUTER_DRAINING), RC_CONFLICT);
        assert_int_equal(version(rig), before);
        rig_reopen(rig);
    }
    assert_int_equal(set(rig, "r2", ROUTER_ACTIVE), RC_OK);
    assert_int_equal(set(rig, "r1", ROUTER_DRAINING), RC_OK);
    assert_int_equal(set(rig, "r2", ROUTER_DRAINING), RC_CONFLICT);
    assert_int_equal(set(rig, "r2", ROUTER_LOST), RC_OK); /* Nobody asks whether it may be. */
    struct msg_cmd_router c = router_of("r1", "west", ROUTER_JOINS);
    assert_int_equal(rig_do(rig, &msg_cmd_router_desc, &c).rc, RC_OK);
    assert_string_equal(list(rig), "r1 west 100 2;r2 east 100 3;r3 east 100 3;r4 east 100 4;");
}

/* A router that was removed never comes back, whatever is said of it. */
static void a_removed_router_never_changes(void **state)
{
    struct rig *rig = *state;
    assert_int_equal(found(rig), RC_OK);
    assert_int_equal(set(rig, "r1", ROUTER_REMOVED), RC_OK);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(set(rig, "r1", ROUTER_ACTIVE), RC_CONFLICT);
        assert_int_equal(set(rig, "r1", ROUTER_DRAINING), RC_CONFLICT);
        assert_int_equal(set(rig, "r1", ROUTER_LOST), RC_CONFLICT);
        struct msg_cmd_router c = router_of("r1", "west", ROUTER_REMOVED);
        assert_int_equal(rig_do(rig, &msg_cmd_router_desc, &c).rc, RC_CONFLICT);
        assert_int_equal(set(rig, "r1", ROUTER_REMOVED), RC_OK); /* It says what is so. */
        rig_reopen(rig);
    }
    assert_string_equal(list(rig), "r1 east 100 4;");
}

/* Commands of one entry see each other before anything is written. */
static void commands_of_one_entry_see_each_other(void **state)
{
    struct rig *rig = *state;
    struct msg_cmd_cluster cluster = good_cluster();
    struct msg_cmd_router other = router_of("r0", NULL, ROUTER_ACTIVE);
    struct msg_cmd_router active = router_of("r1", NULL, ROUTER_ACTIVE);
    struct msg_cmd_router draining = router_of("r1", NULL, ROUTER_DRAINING);
    struct msg_cmd_router removed = router_of("r1", NULL, ROUTER_REMOVED);
    rig_add(rig, &msg_cmd_cluster_desc, &cluster);
    rig_add(rig, &msg_cmd_router_desc, &active);
    rig_add(rig, &msg_cmd_router_desc, &removed);
    rig_add(rig, &msg_cmd_router_desc, &draining);
    rig_add(rig, &msg_cmd_router_desc, &other);
    rig_add(rig, &msg_cmd_router_desc, &draining);
    rig_add(rig, &msg_cmd_router_desc, &removed);
    rig_add(rig, &msg_cmd_router_desc, &active);
    rig_apply(rig);
    rig_write(rig);
    const enum rc expected[] = {RC_OK, RC_OK, RC_CONFLICT, RC_CONFLICT,
                                RC_OK, RC_OK, RC_OK,       RC_CONFLICT};
    for (int i = 0; i < 8; i++)
        assert_int_equal(rig->results[i].rc, expected[i]);
    assert_string_equal(list(rig), "r0 - 100 1;r1 - 100 4;");
}

/* The list takes LIMIT_ROUTERS_MAX routers and no more; each that is removed makes room for one. */
static void the_list_is_bounded(void **state)
{
    struct rig *rig = *state;
    char node[LIMIT_NODE_ID_SIZE_MAX + 1];
    assert_int_equal(found(rig), RC_OK);
    for (uint32_t i = 0; i < LIMIT_ROUTERS_MAX; i++) {
        snprintf(node, sizeof(node), "n%u", i);
        struct msg_cmd_router c = router_of(node, NULL, ROUTER_ACTIVE);
        rig_add(rig, &msg_cmd_router_desc, &c);
    }
    rig_apply(rig);
    rig_write(rig);
    assert_int_equal(rig->results[LIMIT_ROUTERS_MAX - 1].rc, RC_OK);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(set(rig, "one-more", ROUTER_ACTIVE), RC_TOO_LARGE);
        assert_int_equal(set(rig, "n7", ROUTER_DRAINING), RC_OK);
        rig_reopen(rig);
    }
    assert_int_equal(set(rig, "n7", ROUTER_REMOVED), RC_OK);
    assert_int_equal(set(rig, "one-more", ROUTER_ACTIVE), RC_OK);
    assert_int_equal(set(rig, "two-more", ROUTER_ACTIVE), RC_TOO_LARGE);
    assert_int_equal(set(rig, "barred", ROUTER_REMOVED), RC_OK);
}

/* The control group refuses what belongs to conversations, and holds nothing of it. */
static void conversations_are_not_for_the_control_group(void **state)
{
    struct rig *rig = *state;
    assert_int_equal(rig_create(rig, "c", "alice", "bob").rc, RC_UNSUPPORTED);
    assert_int_equal(rig_send(rig, "c", "alice", "1", "1").rc, RC_UNSUPPORTED);
    assert_int_equal(rig_cursor(rig, "c", "alice", NULL, 1, 1).rc, RC_UNSUPPORTED);
    assert_int_equal(rig_member(rig, "c", "alice", MEMBER_ADD, "bob", 0).rc, RC_UNSUPPORTED);
    struct msg_cmd_index index = {.user = slice_string("bob"), .conv = slice_string("c")};
    assert_int_equal(rig_do(rig, &msg_cmd_index_desc, &index).rc, RC_UNSUPPORTED);
    struct msg_cmd_told told = {.conv = slice_string("c"), .seq = 1};
    assert_int_equal(rig_do(rig, &msg_cmd_told_desc, &told).rc, RC_UNSUPPORTED);
    struct msg_cmd_info info = {
        .conv = slice_string("c"), .user = slice_string("alice"), .title = slice_string("title")};
    assert_int_equal(rig_do(rig, &msg_cmd_info_desc, &info).rc, RC_UNSUPPORTED);
    uint64_t head;
    assert_int_equal(machine_head(rig->machine, slice_string("c"), &head), RC_OK);
    assert_int_equal(head, 0);
}

/* An ordinary shard refuses what belongs to the control group. */
static void control_is_not_for_ordinary_shards(void **state)
{
    struct rig *rig = *state;
    struct machine_cluster cluster;
    assert_int_equal(found(rig), RC_UNSUPPORTED);
    assert_int_equal(set(rig, "r1", ROUTER_ACTIVE), RC_UNSUPPORTED);
    assert_int_equal(machine_cluster(rig->machine, &cluster), RC_NOT_FOUND);
    assert_string_equal(list(rig), "");
}

static enum rc check(const struct record_desc *desc, const void *command, const char *key_expected)
{
    struct buf *bytes = buf_new(0);
    enum message_number number;
    struct slice key;
    enum machine_key kind;
    const char *detail = NULL;
    record_encode(bytes, desc, command);
    enum rc rc = machine_check_command(buf_slice(bytes), &number, &key, &kind, &detail);
    if (rc == RC_OK) {
        assert_int_equal(number, desc->number);
        assert_int_equal(kind, MACHINE_KEY_CONTROL);
        assert_true(slice_equals(key, key_expected));
    }
    buf_unref(&bytes);
    return rc;
}

/* Each field of a founding that breaks a rule is refused. */
static void a_founding_with_a_bad_field_is_refused(void **state)
{
    (void)state;
    struct msg_cmd_cluster c = good_cluster();
    assert_int_equal(check(&msg_cmd_cluster_desc, &c, "cluster"), RC_OK);
    c.shards = LIMIT_SHARDS_MAX;
    assert_int_equal(check(&msg_cmd_cluster_desc, &c, "cluster"), RC_OK);
    const uint64_t bad_shards[] = {0, LIMIT_SHARDS_MAX + 1, UINT64_MAX};
    for (int i = 0; i < 3; i++) {
        c.shards = bad_shards[i];
        assert_int_equal(check(&msg_cmd_cluster_desc, &c, NULL), RC_BAD_REQUEST);
    }
    c = good_cluster();
    const uint64_t bad_replicas[] = {0, 2, LIMIT_REPLICAS_MAX + 2, UINT64_MAX};
    for (int i = 0; i < 4; i++) {
        c.replicas = bad_replicas[i];
        assert_int_equal(check(&msg_cmd_cluster_desc, &c, NULL), RC_BAD_REQUEST);
    }
    const char *const bad_epochs[] = {NULL, "", "0badcaf", "0badcafe0", "0bad afe"};
    for (int i = 0; i < 5; i++) {
        c = good_cluster();
        c.epoch = rig_text(bad_epochs[i]);
        assert_int_equal(check(&msg_cmd_cluster_desc, &c, NULL), RC_BAD_REQUEST);
    }
}

/* Likewise of a router. */
static void a_router_with_a_bad_field_is_refused(void **state)
{
    (void)state;
    struct msg_cmd_router c = router_of("r-1", "z_1", ROUTER_ACTIVE);
    assert_int_equal(check(&msg_cmd_router_desc, &c, "r-1"), RC_OK);
    c = router_of("123456789012345", NULL, ROUTER_REMOVED);
    assert_int_equal(check(&msg_cmd_router_desc, &c, "123456789012345"), RC_OK);
    const char *const bad[] = {"", "1234567890123456", "a b", "r\n"};
    for (int i = 0; i < 4; i++) {
        c = router_of(bad[i], NULL, ROUTER_ACTIVE);
        assert_int_equal(check(&msg_cmd_router_desc, &c, NULL), RC_BAD_REQUEST);
        c = router_of("r1", bad[i], ROUTER_ACTIVE);
        assert_int_equal(check(&msg_cmd_router_desc, &c, NULL), RC_BAD_REQUEST);
    }
    c = router_of("r1", NULL, ROUTER_ACTIVE);
    c.node = (struct slice){0};
    assert_int_equal(check(&msg_cmd_router_desc, &c, NULL), RC_BAD_REQUEST);
    const uint64_t bad_weights[] = {0, 1001, UINT64_MAX};
    for (int i = 0; i < 3; i++) {
        c = router_of("r1", NULL, ROUTER_ACTIVE);
        c.weight = bad_weights[i];
        assert_int_equal(check(&msg_cmd_router_desc, &c, NULL), RC_BAD_REQUEST);
    }
    const uint64_t bad_states[] = {ROUTER_REMOVED + 1, UINT64_MAX};
    for (int i = 0; i < 2; i++) {
        c = router_of("r1", NULL, ROUTER_ACTIVE);
        c.state = bad_states[i];
        assert_int_equal(check(&msg_cmd_router_desc, &c, NULL), RC_BAD_REQUEST);
    }
}

static enum rc open_again(struct rig *rig)
{
    uint8_t cluster[16] = {0};
    struct machine *machine = NULL;
    enum rc rc = machine_open(rig->kv, CONTROL_GROUP, 1, cluster, &machine);
    machine_free(&machine);
    return rc;
}

static void put(struct rig *rig, const struct keyspace_key *key, const struct record_desc *desc,
                const void *row)
{
    struct buf *value = buf_new(0);
    rows_encode(value, keyspace_slice(key), desc, row);
    kv_put(rig->batch, KV_STATE, keyspace_slice(key), buf_slice(value));
    assert_int_equal(rig->kv->ops->write(rig->kv, rig->batch), RC_OK);
    buf_unref(&value);
}

/* Rows that no command could have left are not believed. */
static void rows_that_break_the_rules_are_corrupt(void **state)
{
    struct rig *rig = *state;
    const struct keyspace space = {.shard = CONTROL_GROUP, .generation = 1};
    struct keyspace_key key;
    assert_int_equal(found(rig), RC_OK);
    assert_int_equal(open_again(rig), RC_OK);

    struct row_router router = {.weight = 1, .state = ROUTER_ACTIVE};
    keyspace_name(&key, &space, KEYSPACE_ROUTER, slice_string("a-name-too-long-for-a-node"));
    put(rig, &key, &row_router_desc, &router);
    assert_int_equal(open_again(rig), RC_CORRUPT);
    buf_clear(rig->into);
    assert_int_equal(machine_routers(rig->machine, rig->into), RC_CORRUPT);
    rig->kv->ops->remove(rig->batch, KV_STATE, keyspace_slice(&key));

    keyspace_name(&key, &space, KEYSPACE_ROUTER, slice_string("r1"));
    router.zone = slice_string("a-name-too-long-for-a-zone");
    put(rig, &key, &row_router_desc, &router);
    assert_int_equal(open_again(rig), RC_CORRUPT);
    rig->kv->ops->remove(rig->batch, KV_STATE, keyspace_slice(&key));

    struct row_cluster cluster = {.shards = 1, .replicas = 1, .epoch = slice_string("long epoch")};
    keyspace_table(&key, &space, KEYSPACE_CLUSTER);
    put(rig, &key, &row_cluster_desc, &cluster);
    assert_int_equal(open_again(rig), RC_CORRUPT);
}

#define CONTROL(test) cmocka_unit_test_setup_teardown(test, control_setup, rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CONTROL(what_the_founder_says_stays),
        CONTROL(a_cluster_is_founded_once),
        CONTROL(no_router_comes_before_the_cluster),
        CONTROL(the_list_is_in_order_and_stays),
        CONTROL(the_version_moves_with_the_list_alone),
        CONTROL(an_active_router_is_not_removed),
        CONTROL(the_last_active_router_does_not_drain),
        CONTROL(a_removed_router_never_changes),
        CONTROL(commands_of_one_entry_see_each_other),
        CONTROL(the_list_is_bounded),
        CONTROL(conversations_are_not_for_the_control_group),
        cmocka_unit_test_setup_teardown(control_is_not_for_ordinary_shards, rig_setup,
                                        rig_teardown),
        cmocka_unit_test(a_founding_with_a_bad_field_is_refused),
        cmocka_unit_test(a_router_with_a_bad_field_is_refused),
        CONTROL(rows_that_break_the_rules_are_corrupt),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
