/* Whom a router remembers, over a store in memory and a bus that drops everything. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs those above. */
#include <cmocka.h>

#include <stdio.h>

#include "mesh/base/log.h"
#include "mesh/base/mem.h"
#include "nodes/router/router.h"
#include "storage/mem_kv.h"

#define SHARDS 2u

struct rig {
    struct env env;
    struct bus bus;
    uint64_t now_us;
    struct kv *kv;
    struct router *router;
    struct bus_handler handler;
    uint64_t version; /* Of the last list told. */
};

static const uint8_t cluster[16] = {7, 7, 7, 1};

static uint32_t alone_count; /* How often the log had the sentence, */
static char alone[1024];     /* and the last one. */
static uint32_t ignored_count;

static void sink(enum log_level level, const char *event, const char *fields)
{
    (void)level;
    ignored_count += strcmp(event, "remembered_ignored") == 0;
    if (strcmp(event, "alone") != 0)
        return;
    alone_count++;
    snprintf(alone, sizeof(alone), "%s", fields);
}

static uint64_t clock_us(struct env *env)
{
    return ((struct rig *)(void *)env)->now_us;
}

static uint64_t random_bits(struct env *env)
{
    (void)env;
    return 4711;
}

static enum rc drop(struct bus *bus, struct slice node, struct buf *packet)
{
    (void)bus;
    (void)node;
    (void)packet;
    return RC_OK;
}

/* ---- The router ---- */

static void open_router(struct rig *rig)
{
    struct router_options options = {
        .node = "r2",
        .incarnation = 9,
        .shards = SHARDS,
        .resume_count_max = 10,
        .queue_bytes_max = 65536,
        .truncate_count = 16,
        .replicas = 3,
        .epoch = "0badcafe",
        .weight = 100,
        .grace_ms = 600000,
    };
    memcpy(options.cluster, cluster, sizeof(cluster));
    assert_int_equal(router_new(&options, &rig->env, &rig->bus, rig->kv, &rig->router), RC_OK);
    rig->handler = router_bus_handler(rig->router);
}

/* It dies, with all that was not synced. */
static void restart(struct rig *rig)
{
    router_free(&rig->router);
    mem_kv_crash(rig->kv, UINT64_MAX);
    open_router(rig);
}

static int setup(void **state)
{
    struct rig *rig = mem_new(struct rig);
    rig->env = (struct env){.now_us = clock_us, .random = random_bits};
    rig->bus = (struct bus){.send = drop, .publish = drop};
    rig->now_us = 1000000;
    rig->kv = mem_kv_new();
    alone_count = ignored_count = 0;
    log_set(sink, LOG_DEBUG);
    open_router(rig);
    *state = rig;
    return 0;
}

static int teardown(void **state)
{
    struct rig *rig = *state;
    log_set(NULL, LOG_DEBUG);
    router_free(&rig->router);
    rig->kv->ops->close(&rig->kv);
    mem_free(rig);
    return 0;
}

static void run(struct rig *rig, uint64_t ms)
{
    for (uint64_t i = 0; i < ms; i += 50) {
        rig->now_us += 50000;
        router_turn(rig->router);
        mem_kv_complete_sync(rig->kv);
    }
}

static void meet(struct rig *rig, const char *id, const char *gossip, bool up)
{
    const struct msg_node node = {.id = slice_string(id),
                                  .role = NODE_ROUTER,
                                  .incarnation = 1,
                                  .gossip = slice_string(gossip),
                                  .cluster = slice_of(cluster, sizeof(cluster))};
    rig->handler.on_peer(rig->handler.context, &node, up);
}

/* The committed list, as "r1 r2 r3-": with a minus, who was removed. */
static void tell_list(struct rig *rig, const char *names)
{
    struct packet_sender sender = {.node = slice_string("r1"), .incarnation = 1};
    struct packet packet;
    struct buf *list = buf_new(256), *bytes = buf_new(256);
    memcpy(sender.cluster, cluster, sizeof(cluster));
    for (const char *at = names; *at != '\0';) {
        size_t size = strcspn(at, " -");
        const struct msg_cmd_router router = {.node = slice_of(at, size),
                                              .weight = 100,
                                              .state =
                                                  at[size] == '-' ? ROUTER_REMOVED : ROUTER_ACTIVE};
        record_encode(list, &msg_cmd_router_desc, &router);
        at += strcspn(at, " ");
        at += *at == ' ';
    }
    const struct msg_table table = {
        .term = 1, .version = ++rig->version, .replicas = 3, .routers = buf_slice(list)};
    packet_begin(bytes, &sender, 0);
    record_encode(bytes, &msg_table_desc, &table);
    assert_int_equal(packet_decode(buf_slice(bytes), &packet), RC_OK);
    rig->handler.on_request(rig->handler.context, slice_string("r1"), &packet);
    buf_unref(&bytes);
    buf_unref(&list);
}

/* Where it would look, in order. */
static void expect_known(const struct rig *rig, const char *expected)
{
    const char *endpoints[PEERS_ROW_COUNT_MAX];
    char text[4096] = "";
    uint32_t count = router_remembered(rig->router, endpoints);
    for (uint32_t i = 0; i < count; i++)
        snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s", i > 0 ? " " : "",
                 endpoints[i]);
    assert_string_equal(text, expected);
}

/* Three of them, r1 at a:1 and r3 at c:1. */
static void come_together(struct rig *rig)
{
    meet(rig, "r1", "tcp://a:1", true);
    meet(rig, "r3", "tcp://c:1", true);
    tell_list(rig, "r1 r2 r3");
    run(rig, 1000);
}

/* ---- Tests ---- */

/* Who is on the list is remembered with where he listens; who follows on it comes first. */
static void the_others_survive_a_restart(void **state)
{
    struct rig *rig = *state;
    expect_known(rig, "");
    meet(rig, "r4", "tcp://d:1", true); /* Nobody committed: it is joining. */
    come_together(rig);
    expect_known(rig, "tcp://c:1 tcp://a:1");
    restart(rig);
    expect_known(rig, "tcp://c:1 tcp://a:1");
    assert_int_equal(ignored_count, 0);
}

/* Who moved is looked for at his new address, who is down at his last one. */
static void a_new_address_replaces_the_old_one(void **state)
{
    struct rig *rig = *state;
    come_together(rig);
    meet(rig, "r1", "tcp://a:1", false);
    meet(rig, "r3", "tcp://c:1", false);
    meet(rig, "r3", "tcp://c:2", true);
    run(rig, 1000);
    restart(rig);
    expect_known(rig, "tcp://c:2 tcp://a:1");
    tell_list(rig, "r1 r2 r3"); /* After the restart it heard of nobody yet. */
    run(rig, 1000);
    expect_known(rig, "tcp://c:2 tcp://a:1");
}

/* The committed list is the authority: who was removed from it is forgotten. */
static void who_was_removed_is_forgotten(void **state)
{
    struct rig *rig = *state;
    come_together(rig);
    tell_list(rig, "r1 r2 r3-");
    run(rig, 1000);
    restart(rig);
    expect_known(rig, "tcp://a:1");
}

/* Nothing is written where nothing changed, whatever comes and goes. */
static void it_is_written_only_where_it_changed(void **state)
{
    struct rig *rig = *state;
    come_together(rig);
    uint64_t version = router_remembered_version(rig->router);
    for (uint32_t i = 0; i < 5; i++) {
        meet(rig, "r3", "tcp://c:1", false);
        meet(rig, "r3", "tcp://c:1", true);
        tell_list(rig, "r1 r2 r3");
        run(rig, 1000);
        assert_int_equal(mem_kv_unsynced(rig->kv), 0);
    }
    assert_int_equal(router_remembered_version(rig->router), version);
}

/* In a large cluster so many are enough, whichever they are. */
static void a_large_list_is_cut(void **state)
{
    struct rig *rig = *state;
    struct buf *names = buf_new(1024);
    for (uint32_t i = 0; i < 200; i++)
        buf_append_format(names, "%sr2%03u", i > 0 ? " " : "r2 ", i);
    buf_append_byte(names, '\0');
    meet(rig, "r1", "tcp://a:1", true); /* Who tells the list. */
    for (uint32_t i = 0; i < 200; i++) {
        char id[16];
        snprintf(id, sizeof(id), "r2%03u", i);
        meet(rig, id, "tcp://a:1", true);
    }
    tell_list(rig, (const char *)names->bytes);
    run(rig, 1000);
    restart(rig);
    const char *endpoints[PEERS_ROW_COUNT_MAX];
    assert_int_equal(router_remembered(rig->router, endpoints), PEERS_ROW_COUNT_MAX);
    buf_unref(&names);
}

/* One that is damaged, or came with another cluster's data, is told of and passed over. */
static void a_row_that_cannot_be_believed_is_ignored(void **state)
{
    struct rig *rig = *state;
    struct kv_batch *batch = rig->kv->ops->batch_new(rig->kv);
    struct peers_row foreign = {
        .cluster = {1}, .count = 1, .peers = {{.node = "r9", .endpoint = "tcp://z:1"}}};
    for (uint32_t i = 0; i < 2; i++) {
        router_free(&rig->router);
        if (i == 0)
            peers_row_store(&foreign, batch);
        else
            kv_put(batch, KV_META, slice_string("P"), slice_string("what is this?"));
        assert_int_equal(rig->kv->ops->write(rig->kv, batch), RC_OK);
        open_router(rig);
        expect_known(rig, "");
        assert_int_equal(ignored_count, i + 1);
        run(rig, 10000);
        assert_int_equal(alone_count, 0);
    }
    come_together(rig); /* It is learned again. */
    restart(rig);
    expect_known(rig, "tcp://c:1 tcp://a:1");
    assert_int_equal(ignored_count, 2);
    rig->kv->ops->batch_free(&batch);
}

/* Who should have company and hears nobody for five seconds says so, and again each minute. */
static void who_is_alone_says_whom_he_misses(void **state)
{
    struct rig *rig = *state;
    run(rig, 20000);
    assert_int_equal(alone_count, 0); /* It never had company. */
    come_together(rig);
    restart(rig);
    run(rig, 4500);
    assert_int_equal(alone_count, 0);
    run(rig, 1500);
    assert_int_equal(alone_count, 1);
    assert_non_null(strstr(alone, "missing=\"r3 at tcp://c:1, r1 at tcp://a:1\""));
    run(rig, 50000);
    assert_int_equal(alone_count, 1);
    run(rig, 20000);
    assert_int_equal(alone_count, 2);
    meet(rig, "r1", "tcp://a:1", true); /* One of them is company. */
    run(rig, 70000);
    assert_int_equal(alone_count, 2);
    meet(rig, "r1", "tcp://a:1", false);
    run(rig, 6000);
    assert_int_equal(alone_count, 3);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_others_survive_a_restart),
        TEST(a_new_address_replaces_the_old_one),
        TEST(who_was_removed_is_forgotten),
        TEST(it_is_written_only_where_it_changed),
        TEST(a_large_list_is_cut),
        TEST(a_row_that_cannot_be_believed_is_ignored),
        TEST(who_is_alone_says_whom_he_misses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
