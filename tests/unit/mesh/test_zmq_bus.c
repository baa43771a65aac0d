/* The real mesh on loopback: several nodes in one process, each with its own bus, polled in turn.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <zmq.h>

#include "mesh/base/mem.h"
#include "mesh/base/metrics.h"
#include "mesh/discovery.h"
#include "mesh/zmq_bus.h"

#define NODES_MAX 4u
#define PEERS_MAX 8u

/* ---- A world of nodes ---- */

struct world;

struct node {
    struct world *world;
    struct zmq_bus *bus; /* NULL: dead. */
    char id[16];
    uint64_t incarnation;
    uint32_t requests, publishes, ups, downs;
    char from[16];          /* Of the last packet or peer. */
    uint64_t hello_version; /* What the last packet bore. */
    bool answers;           /* A request that bears an odd number is answered with the next one. */
};

struct world {
    struct env env;
    struct node nodes[NODES_MAX];
    uint32_t node_count;
    char folder[64];
    char path[128];
    struct keyfile key;
};

static uint64_t clock_us(struct env *env)
{
    struct timespec ts;
    (void)env;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static uint64_t random_bits(struct env *env)
{
    (void)env;
    return (uint64_t)random();
}

static int setup(void **state)
{
    struct world *w = mem_new(struct world);
    struct sentence sentence;
    w->env = (struct env){.now_us = clock_us, .random = random_bits};
    snprintf(w->folder, sizeof(w->folder), "/tmp/test_zmq_bus.XXXXXX");
    if (mkdtemp(w->folder) == NULL)
        return -1;
    snprintf(w->path, sizeof(w->path), "%s/mesh.key", w->folder);
    if (keyfile_generate(w->path, &sentence) != RC_OK ||
        keyfile_load(w->path, &w->key, &sentence) != RC_OK)
        return -1;
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    for (uint32_t i = 0; i < w->node_count; i++)
        zmq_bus_free(&w->nodes[i].bus);
    /* libzmq leaves the files of ipc sockets behind, and takes them over at the next bind. */
    static const char *const names[] = {"mesh.key", "r1", "r1-request", "r1-publish"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char path[160];
        snprintf(path, sizeof(path), "%s/%s", w->folder, names[i]);
        unlink(path);
    }
    rmdir(w->folder);
    mem_free(w);
    return 0;
}

static void take_name(struct node *n, struct slice from)
{
    snprintf(n->from, sizeof(n->from), "%.*s", SLICE_ARGS(from));
}

static struct buf *hello(const struct node *from, uint64_t version, uint64_t link_seq)
{
    struct buf *packet = buf_new(128);
    struct packet_sender sender = {.node = slice_string(from->id),
                                   .incarnation = from->incarnation};
    const uint8_t *cluster = zmq_bus_cluster(from->bus);
    if (cluster != NULL)
        memcpy(sender.cluster, cluster, 16);
    struct msg_hello message = {.version = version};
    packet_begin(packet, &sender, link_seq);
    record_encode(packet, &msg_hello_desc, &message);
    return packet;
}

static enum rc send_hello(struct node *from, const char *to, uint64_t version)
{
    struct buf *packet = hello(from, version, 0);
    enum rc rc = bus_send(zmq_bus_port(from->bus), slice_string(to), packet);
    buf_unref(&packet);
    return rc;
}

static enum rc publish_hello(struct node *from, const char *to, uint64_t version)
{
    struct buf *packet = hello(from, version, version);
    enum rc rc = bus_publish(zmq_bus_port(from->bus), slice_string(to), packet);
    buf_unref(&packet);
    return rc;
}

static void on_request(void *context, struct slice from, const struct packet *packet)
{
    struct node *n = context;
    struct record_reader r = packet->messages;
    struct msg_hello message;
    n->requests++;
    take_name(n, from);
    assert_int_equal(record_decode(&r, &msg_hello_desc, &message), RC_OK);
    n->hello_version = message.version;
    if (n->answers && message.version % 2 == 1)
        assert_int_equal(send_hello(n, n->from, message.version + 1), RC_OK);
}

static void on_publish(void *context, struct slice from, const struct packet *packet)
{
    struct node *n = context;
    n->publishes++;
    take_name(n, from);
    n->hello_version = packet->link_seq;
}

static void on_peer(void *context, const struct msg_node *node, bool up)
{
    struct node *n = context;
    n->ups += up;
    n->downs += !up;
    take_name(n, node->id);
}

static const char *gossip_of(const struct node *n)
{
    static char endpoint[ENDPOINT_SIZE_MAX + 1];
    snprintf(endpoint, sizeof(endpoint), "%.*s", SLICE_ARGS(zmq_bus_self(n->bus)->gossip));
    return endpoint;
}

static struct bus_handler handler_of(struct node *n)
{
    return (struct bus_handler){
        .context = n, .on_request = on_request, .on_publish = on_publish, .on_peer = on_peer};
}

static const uint8_t cluster_id[16] = "the test cluster";

/* r… is a router, g… a gateway. */
static struct zmq_bus_options options_of(const struct world *w, const char *id)
{
    struct zmq_bus_options options = {.node = id, .incarnation = 1000, .key = &w->key};
    options.role = id[0] == 'r' ? NODE_ROUTER : NODE_GATEWAY;
    if (options.role == NODE_ROUTER) {
        options.listen = "tcp://127.0.0.1:0";
        options.cluster = cluster_id;
    }
    return options;
}

static struct node *start(struct world *w, const struct zmq_bus_options *options)
{
    struct sentence sentence = {""};
    struct node *n = &w->nodes[w->node_count++];
    assert_true(w->node_count <= NODES_MAX);
    *n = (struct node){.world = w, .incarnation = options->incarnation, .answers = true};
    snprintf(n->id, sizeof(n->id), "%s", options->node);
    struct bus_handler handler = handler_of(n);
    enum rc rc = zmq_bus_new(options, &handler, &w->env, &n->bus, &sentence);
    if (rc != RC_OK)
        fail_msg("%s", sentence.text);
    return n;
}

static struct node *start_joined(struct world *w, const char *id, const struct node *seed)
{
    struct zmq_bus_options options = options_of(w, id);
    options.joins[0] = gossip_of(seed);
    options.join_count = 1;
    return start(w, &options);
}

/* One turn of every node, as a loop would do it: poll while there is more, else sleep a little. */
static void turn(struct world *w)
{
    struct pollfd fds[NODES_MAX];
    nfds_t count = 0;
    bool more = false;
    for (uint32_t i = 0; i < w->node_count; i++) {
        if (w->nodes[i].bus == NULL)
            continue;
        more |= zmq_bus_poll(w->nodes[i].bus, 256);
        fds[count++] = (struct pollfd){.fd = zmq_bus_fd(w->nodes[i].bus), .events = POLLIN};
    }
    for (uint32_t i = 0; i < w->node_count; i++)
        more |= w->nodes[i].bus != NULL && zmq_bus_has_input(w->nodes[i].bus);
    poll(fds, count, more ? 0 : 10);
}

/* Turn until the condition holds; false after so many ms. */
#define WITHIN(w, ms, condition)                                                                   \
    ({                                                                                             \
        uint64_t until_us = clock_us(NULL) + (ms)*1000ull;                                         \
        while (!(condition) && clock_us(NULL) < until_us)                                          \
            turn(w);                                                                               \
        (condition);                                                                               \
    })

static void turn_for(struct world *w, uint32_t ms)
{
    (void)WITHIN(w, ms, false);
}

struct four {
    struct node *r1, *r2, *g1, *g10;
};

/* Two routers and two gateways; all but r1 know only r1. g1 is a prefix of g10 on purpose. */
static struct four start_four(struct world *w)
{
    struct zmq_bus_options options = options_of(w, "r1");
    struct four f = {.r1 = start(w, &options)};
    f.r2 = start_joined(w, "r2", f.r1);
    f.g1 = start_joined(w, "g1", f.r1);
    f.g10 = start_joined(w, "g10", f.r1);
    assert_true(
        WITHIN(w, 2000, f.r1->ups >= 3 && f.r2->ups >= 3 && f.g1->ups >= 3 && f.g10->ups >= 3));
    return f;
}

/* ---- What works ---- */

/* Everybody knows one seed, and soon everybody. */
static void nodes_find_each_other_within_a_second(void **state)
{
    struct world *w = *state;
    uint64_t start_us = clock_us(NULL);
    struct four f = start_four(w);
    assert_true(clock_us(NULL) - start_us < 1000000);
    assert_memory_equal(zmq_bus_cluster(f.g1->bus), cluster_id, 16);
    size_t at = 0;
    uint32_t count = 0;
    while (zmq_bus_next_peer(f.g10->bus, &at) != NULL)
        count++;
    assert_int_equal(count, 3);
    assert_int_equal(zmq_bus_state(f.r1->bus), RC_OK);
    assert_true(zmq_bus_due_us(f.r1->bus) <= clock_us(NULL) + LIMIT_GOSSIP_MS * 1000);
}

/* A router that holds nothing yet takes the cluster id of the first router that has one, not of
 * another that joins as well, and is then heard like any other. */
static void a_router_that_joins_takes_the_cluster_it_hears(void **state)
{
    struct world *w = *state;
    struct zmq_bus_options options = options_of(w, "r1");
    struct node *r1 = start(w, &options);
    options = options_of(w, "r2");
    options.cluster = NULL;
    struct node *r2 = start(w, &options);
    options.node = "r3";
    options.joins[0] = gossip_of(r2);
    options.join_count = 1;
    struct node *r3 = start(w, &options);
    assert_true(WITHIN(w, 2000, r2->ups == 1 && r3->ups == 1));
    assert_null(zmq_bus_cluster(r2->bus));
    assert_null(zmq_bus_cluster(r3->bus));
    char first[ENDPOINT_SIZE_MAX + 1];
    snprintf(first, sizeof(first), "%s", gossip_of(r1));
    options.node = "r4";
    options.joins[0] = first;
    options.joins[1] = gossip_of(r2);
    options.join_count = 2;
    struct node *r4 = start(w, &options);
    assert_true(WITHIN(w, 3000, r2->ups == 3 && r3->ups == 3 && r4->ups == 3));
    assert_memory_equal(zmq_bus_cluster(r2->bus), cluster_id, 16);
    assert_memory_equal(zmq_bus_cluster(r3->bus), cluster_id, 16);
    assert_memory_equal(zmq_bus_cluster(r4->bus), cluster_id, 16);
    assert_int_equal(send_hello(r4, "r1", 1), RC_OK);
    assert_true(WITHIN(w, 1000, r4->requests == 1));
    assert_string_equal(r4->from, "r1");
}

/* Gateway to router and back, router to router, and a node to itself. */
static void requests_and_answers_reach_their_node(void **state)
{
    struct world *w = *state;
    struct four f = start_four(w);
    assert_int_equal(send_hello(f.g1, "r2", 1), RC_OK);
    assert_true(WITHIN(w, 1000, f.g1->requests == 1));
    assert_int_equal(f.r2->requests, 1);
    assert_string_equal(f.r2->from, "g1");
    assert_string_equal(f.g1->from, "r2");
    assert_int_equal(f.g1->hello_version, 2);
    assert_int_equal(send_hello(f.r1, "r2", 3), RC_OK);
    assert_true(WITHIN(w, 1000, f.r1->requests == 1));
    assert_int_equal(f.r1->hello_version, 4);
    assert_int_equal(send_hello(f.r1, "r1", 6), RC_OK);
    assert_int_equal(f.r1->requests, 1); /* Never from inside send. */
    assert_true(zmq_bus_has_input(f.r1->bus));
    turn(w);
    assert_int_equal(f.r1->requests, 2);
    assert_string_equal(f.r1->from, "r1");
}

/* Topics have a fixed length: g1 does not hear what is for g10. */
static void a_topic_reaches_its_gateway_alone(void **state)
{
    struct world *w = *state;
    struct four f = start_four(w);
    turn_for(w, 300); /* Subscriptions travel to the routers. */
    for (uint64_t i = 1; i <= 100; i++) {
        assert_int_equal(publish_hello(f.r1, "g10", i), RC_OK);
        assert_int_equal(publish_hello(f.r2, "g1", i), RC_OK);
    }
    assert_true(WITHIN(w, 1000, f.g10->publishes == 100 && f.g1->publishes == 100));
    turn_for(w, 50);
    assert_int_equal(f.g10->publishes, 100);
    assert_int_equal(f.g10->hello_version, 100);
    assert_string_equal(f.g10->from, "r1");
    assert_string_equal(f.g1->from, "r2");
}

/* Order and number survive a burst far over any default queue. */
static void a_burst_of_thousands_arrives_whole(void **state)
{
    struct world *w = *state;
    struct four f = start_four(w);
    f.r1->answers = false;
    turn_for(w, 300);
    for (uint64_t i = 1; i <= 3000; i++)
        assert_int_equal(send_hello(f.g1, "r1", 2 * i), RC_OK);
    for (uint64_t i = 1; i <= 20000; i++)
        assert_int_equal(publish_hello(f.r1, "g1", i), RC_OK);
    assert_true(WITHIN(w, 5000, f.r1->requests == 3000 && f.g1->publishes == 20000));
    assert_int_equal(f.r1->hello_version, 6000);
    assert_int_equal(f.g1->hello_version, 20000);
}

/* libzmq's descriptors tell edges only. One that is lost costs the whole second slept here. */
static void no_wakeup_is_lost(void **state)
{
    struct world *w = *state;
    struct four f = start_four(w);
    uint64_t start_us = clock_us(NULL);
    struct pollfd fds[2] = {{.fd = zmq_bus_fd(f.g1->bus), .events = POLLIN},
                            {.fd = zmq_bus_fd(f.r2->bus), .events = POLLIN}};
    for (uint32_t i = 1; i <= 1000; i++) {
        assert_int_equal(send_hello(f.g1, "r2", 1), RC_OK);
        while (f.g1->requests < i) {
            if (!zmq_bus_has_input(f.g1->bus) && !zmq_bus_has_input(f.r2->bus))
                poll(fds, 2, 1000);
            zmq_bus_poll(f.r2->bus, 1);
            zmq_bus_poll(f.g1->bus, 1);
        }
    }
    assert_true(clock_us(NULL) - start_us < 1000000);
}

/* A core plugged in later is told who is up. */
static void a_new_handler_hears_of_the_peers_again(void **state)
{
    struct world *w = *state;
    struct four f = start_four(w);
    uint32_t before = f.g1->ups;
    struct bus_handler handler = handler_of(f.g1);
    zmq_bus_set_handler(f.g1->bus, &handler);
    turn(w);
    assert_int_equal(f.g1->ups, before + 3);
}

/* ---- Death and return ---- */

/* Nobody closes a connection when a machine loses power; silence must do: 2.5 s of it, after its
 * last word, which may still go round for some rounds of gossip. */
static void a_dead_peer_is_noticed_by_silence(void **state)
{
    struct world *w = *state;
    struct four f = start_four(w);
    turn_for(w, 600);
    struct zmq_bus *frozen = f.r2->bus; /* Not polled any more: it neither speaks nor closes. */
    f.r2->bus = NULL;
    uint64_t start_us = clock_us(NULL);
    assert_true(WITHIN(w, 5000, f.r1->downs == 1 && f.g1->downs == 1 && f.g10->downs == 1));
    uint64_t took_ms = (clock_us(NULL) - start_us) / 1000;
    assert_in_range(took_ms, 1500, 4500);
    assert_int_equal(send_hello(f.g1, "r2", 1), RC_NOT_FOUND);
    f.r2->bus = frozen; /* It wakes: up again, though it is the same process. */
    assert_true(WITHIN(w, 2000, f.g1->ups == 4 && f.r1->ups == 4));
    assert_int_equal(send_hello(f.g1, "r2", 1), RC_OK);
    assert_true(WITHIN(w, 1000, f.g1->requests == 1));
}

/* A goodbye needs no silence (2.5 s): it is told, or else brought by the next rounds of gossip. */
static void a_leaving_peer_is_down_at_once(void **state)
{
    struct world *w = *state;
    struct four f = start_four(w);
    zmq_bus_leave(f.r2->bus);
    zmq_bus_free(&f.r2->bus);
    assert_true(WITHIN(w, 1500, f.r1->downs == 1 && f.g1->downs == 1 && f.g10->downs == 1));
}

/* kill -9 and a restart on other ports, before anybody noticed. */
static void a_restarted_router_heals_with_its_new_incarnation(void **state)
{
    struct world *w = *state;
    struct zmq_bus_options options = options_of(w, "r1");
    struct node *r1 = start(w, &options);
    struct node *r2 = start_joined(w, "r2", r1);
    struct node *g1 = start_joined(w, "g1", r1);
    assert_true(WITHIN(w, 2000, g1->ups == 2 && r1->ups == 2 && r2->ups == 2));
    zmq_bus_free(&r2->bus);
    options = options_of(w, "r2");
    options.incarnation = 2000;
    options.joins[0] = gossip_of(r1);
    options.join_count = 1;
    struct node *again = start(w, &options);
    assert_true(WITHIN(w, 2000, g1->ups == 3 && r1->ups == 3));
    assert_int_equal(send_hello(g1, "r2", 1), RC_OK);
    assert_true(WITHIN(w, 1000, g1->requests == 1));
    assert_int_equal(again->requests, 1);
    turn_for(w, 200);
    assert_int_equal(publish_hello(again, "g1", 7), RC_OK);
    assert_true(WITHIN(w, 1000, g1->publishes == 1));
}

/* The only seed of a gateway dies and comes back on its port. */
static void a_restarted_seed_is_found_again(void **state)
{
    struct world *w = *state;
    struct zmq_bus_options options = options_of(w, "r1");
    char seed[ENDPOINT_SIZE_MAX + 1];
    struct node *r1 = start(w, &options);
    snprintf(seed, sizeof(seed), "%s", gossip_of(r1));
    struct node *g1 = start_joined(w, "g1", r1);
    assert_true(WITHIN(w, 2000, g1->ups == 1));
    zmq_bus_free(&r1->bus);
    assert_true(WITHIN(w, 4000, g1->downs == 1));
    options.incarnation = 2000;
    options.listen = seed;
    start(w, &options);
    assert_true(WITHIN(w, 4000, g1->ups == 2));
}

/* Two processes with one name: the older one is told to stop. */
static void the_older_process_of_a_name_learns_that_it_is_replaced(void **state)
{
    struct world *w = *state;
    struct zmq_bus_options options = options_of(w, "r1");
    struct node *r1 = start(w, &options);
    struct node *older = start_joined(w, "r2", r1);
    assert_true(WITHIN(w, 2000, r1->ups == 1));
    options = options_of(w, "r2");
    options.incarnation = 2000;
    options.joins[0] = gossip_of(r1);
    options.join_count = 1;
    struct node *newer = start(w, &options);
    assert_true(WITHIN(w, 6000, zmq_bus_state(older->bus) == RC_IN_USE));
    assert_int_equal(zmq_bus_state(newer->bus), RC_OK);
}

/* ---- Who is shut out ---- */

/* Without a seed, by an address that it knows from before; what is no endpoint is passed over. */
static void routers_find_each_other_by_what_they_knew(void **state)
{
    struct world *w = *state;
    struct zmq_bus_options options = options_of(w, "r1");
    struct node *r1 = start(w, &options);
    options = options_of(w, "r2");
    struct node *r2 = start(w, &options);
    turn_for(w, 700);
    assert_int_equal(r1->ups + r2->ups, 0);
    const char *const known[] = {"tcp://127.0.0.1:1", "tcp://*:7400", "nonsense", gossip_of(r1)};
    zmq_bus_set_known(r2->bus, known, 4);
    assert_true(WITHIN(w, 2000, r1->ups == 1 && r2->ups == 1));
    zmq_bus_set_known(r2->bus, NULL, 0);
    turn_for(w, 700);
    assert_int_equal(r1->downs + r2->downs, 0);
}

/* A node that holds another key finds nobody, and nobody it. */
static void a_node_with_another_key_is_shut_out(void **state)
{
    struct world *w = *state;
    struct sentence sentence;
    struct keyfile other;
    char path[160];
    snprintf(path, sizeof(path), "%s/other.key", w->folder);
    assert_int_equal(keyfile_generate(path, &sentence), RC_OK);
    assert_int_equal(keyfile_load(path, &other, &sentence), RC_OK);
    unlink(path);
    struct zmq_bus_options options = options_of(w, "r1");
    struct node *r1 = start(w, &options);
    options = options_of(w, "g1");
    options.key = &other;
    options.joins[0] = gossip_of(r1);
    options.join_count = 1;
    struct node *g1 = start(w, &options);
    turn_for(w, 1500);
    assert_int_equal(r1->ups + g1->ups, 0);
}

/* Knowing the server's public key is not enough: the list decides (RFC 27). */
static void a_key_that_is_not_listed_is_refused_despite_the_right_server_key(void **state)
{
    struct world *w = *state;
    struct sentence sentence;
    struct keyfile other;
    char path[160];
    snprintf(path, sizeof(path), "%s/other.key", w->folder);
    assert_int_equal(keyfile_generate(path, &sentence), RC_OK);
    assert_int_equal(keyfile_load(path, &other, &sentence), RC_OK);
    unlink(path);
    struct zmq_bus_options options = options_of(w, "r1");
    struct node *r1 = start(w, &options);
    /* The stranger expects r1's key of servers, but offers its own. */
    memcpy(other.accepted_text[0], w->key.public_text, KEYFILE_TEXT_SIZE);
    options = options_of(w, "g1");
    options.key = &other;
    options.joins[0] = gossip_of(r1);
    options.join_count = 1;
    struct node *g1 = start(w, &options);
    turn_for(w, 1500);
    assert_int_equal(r1->ups + g1->ups, 0);
    /* Once it is listed it gets in, without a restart of either. */
    struct keyfile both = w->key;
    memcpy(both.accepted[both.accepted_count], other.accepted[0], KEYFILE_KEY_SIZE);
    memcpy(both.accepted_text[both.accepted_count++], other.public_text, KEYFILE_TEXT_SIZE);
    zmq_bus_set_accepted(r1->bus, &both);
    assert_true(WITHIN(w, 8000, r1->ups == 1 && g1->ups == 1));
}

/* Half of the cluster has the new key already, and each half accepts the other. */
static void nodes_with_different_keys_meet_while_keys_are_changed(void **state)
{
    struct world *w = *state;
    struct sentence sentence;
    struct keyfile other;
    char path[160];
    snprintf(path, sizeof(path), "%s/other.key", w->folder);
    assert_int_equal(keyfile_generate(path, &sentence), RC_OK);
    assert_int_equal(keyfile_load(path, &other, &sentence), RC_OK);
    unlink(path);
    struct keyfile older = w->key;
    memcpy(older.accepted[1], other.accepted[0], KEYFILE_KEY_SIZE);
    memcpy(older.accepted_text[1], other.public_text, KEYFILE_TEXT_SIZE);
    memcpy(other.accepted[1], older.accepted[0], KEYFILE_KEY_SIZE);
    memcpy(other.accepted_text[1], older.public_text, KEYFILE_TEXT_SIZE);
    older.accepted_count = other.accepted_count = 2;
    struct zmq_bus_options options = options_of(w, "r1");
    options.key = &older;
    struct node *r1 = start(w, &options);
    options = options_of(w, "r2");
    options.key = &other;
    options.joins[0] = gossip_of(r1);
    options.join_count = 1;
    struct node *r2 = start(w, &options);
    assert_true(WITHIN(w, 8000, r1->ups == 1 && r2->ups == 1));
    assert_int_equal(send_hello(r1, "r2", 1), RC_OK);
    assert_true(WITHIN(w, 1000, r1->requests == 1));
}

/* Plain text meets CURVE: neither side hears the other. */
static void plain_text_and_encryption_do_not_mix(void **state)
{
    struct world *w = *state;
    struct zmq_bus_options options = options_of(w, "r1");
    struct node *r1 = start(w, &options);
    options = options_of(w, "r2");
    options.key = NULL;
    options.joins[0] = gossip_of(r1);
    options.join_count = 1;
    struct node *r2 = start(w, &options);
    struct node *g1 = start_joined(w, "g1", r2);
    turn_for(w, 1500);
    assert_int_equal(r1->ups + r2->ups + g1->ups, 0);
}

/* The seeds of two clusters were mixed up: neither takes the other in, and who was told to join is
 * told that he is wrong there. */
static void another_cluster_is_refused(void **state)
{
    struct world *w = *state;
    struct zmq_bus_options options = options_of(w, "r1");
    struct node *r1 = start(w, &options);
    options = options_of(w, "r2");
    options.cluster = (const uint8_t *)"another cluster!";
    options.joins[0] = gossip_of(r1);
    options.join_count = 1;
    struct node *r2 = start(w, &options);
    assert_true(WITHIN(w, 2000, zmq_bus_foreign_seed(r2->bus) != NULL));
    assert_string_equal(zmq_bus_foreign_seed(r2->bus), gossip_of(r1));
    turn_for(w, 1200);
    assert_int_equal(r1->ups + r2->ups, 0);
    assert_null(zmq_bus_foreign_seed(r1->bus));
}

/* Nodes of one cluster are never strangers, nor is one that has no cluster yet. */
static void the_own_cluster_is_not_foreign(void **state)
{
    struct world *w = *state;
    struct four f = start_four(w);
    turn_for(w, 1200);
    assert_null(zmq_bus_foreign_seed(f.r2->bus));
    assert_null(zmq_bus_foreign_seed(f.g1->bus));
}

/* ---- What is wrong at the start ---- */

static void refused(struct world *w, const struct zmq_bus_options *options, enum rc expected,
                    const char *words)
{
    struct sentence sentence = {""};
    struct zmq_bus *bus = NULL;
    assert_int_equal(zmq_bus_new(options, NULL, &w->env, &bus, &sentence), expected);
    assert_null(bus);
    if (strstr(sentence.text, words) == NULL)
        fail_msg("%s", sentence.text);
}

/* Without a key what one says is for this machine only. */
static void plain_text_beyond_loopback_is_refused(void **state)
{
    struct world *w = *state;
    static const char *const listens[] = {"tcp://0.0.0.0:7400", "tcp://*:7400", "tcp://localhost:0",
                                          "tcp://10.0.0.1:7400", "tcp://127.evil.example:7400"};
    struct zmq_bus_options options = options_of(w, "r1");
    options.key = NULL;
    options.advertise = "127.0.0.1";
    for (size_t i = 0; i < sizeof(listens) / sizeof(listens[0]); i++) {
        options.listen = listens[i];
        refused(w, &options, RC_CONFIG, "without a key file");
    }
    options.listen = "tcp://127.0.0.1:0";
    options.joins[0] = "tcp://192.0.2.1:7400";
    options.join_count = 1;
    refused(w, &options, RC_CONFIG, "without a key file");
}

/* Every mistake of an operator is a sentence. */
static void wrong_options_are_refused_with_a_sentence(void **state)
{
    struct world *w = *state;
    struct zmq_bus_options options = options_of(w, "r1");
    options.listen = "tcp://*:0";
    refused(w, &options, RC_CONFIG, "advertise");
    options.listen = "localhost:7400";
    refused(w, &options, RC_CONFIG, "neither tcp://");
    options.listen = "tcp://192.0.2.1:7400"; /* TEST-NET-1: nobody has this address. */
    refused(w, &options, RC_CONFIG, "cannot listen");
    options.listen = "tcp://192.0.2.1:65534";
    refused(w, &options, RC_CONFIG, "no room");
    options.listen = NULL;
    refused(w, &options, RC_CONFIG, "needs an endpoint");
    options = options_of(w, "r1");
    options.node = "a name too long for a topic";
    refused(w, &options, RC_CONFIG, "id:");
    options = options_of(w, "r1");
    options.zone = "has spaces in it";
    refused(w, &options, RC_CONFIG, "zone");
    options = options_of(w, "r1");
    options.joins[0] = "nowhere";
    options.join_count = 1;
    refused(w, &options, RC_CONFIG, "join: nowhere");
    options = options_of(w, "r1");
    options.advertise = "not a host";
    refused(w, &options, RC_CONFIG, "advertise: not a host");
}

/* A port that somebody has. */
static void a_port_in_use_is_refused(void **state)
{
    struct world *w = *state;
    struct zmq_bus_options options = options_of(w, "r1");
    struct node *r1 = start(w, &options);
    char taken[ENDPOINT_SIZE_MAX + 1];
    snprintf(taken, sizeof(taken), "%s", gossip_of(r1));
    options = options_of(w, "r2");
    options.listen = taken;
    refused(w, &options, RC_IN_USE, "cannot listen");
}

/* Behind a wildcard, records bear the host that was given. */
static void a_wildcard_listens_and_tells_the_advertised_host(void **state)
{
    struct world *w = *state;
    struct zmq_bus_options options = options_of(w, "r1");
    options.listen = "tcp://*:0";
    options.advertise = "127.0.0.1";
    struct node *r1 = start(w, &options);
    assert_true(endpoint_is_loopback(zmq_bus_self(r1->bus)->request));
    struct node *g1 = start_joined(w, "g1", r1);
    assert_true(WITHIN(w, 2000, g1->ups == 1));
}

/* ipc needs no key, and three sockets lie beside each other. */
static void a_mesh_over_ipc_works_without_a_key(void **state)
{
    struct world *w = *state;
    char listen[ENDPOINT_SIZE_MAX];
    snprintf(listen, sizeof(listen), "ipc://%s/r1", w->folder);
    struct zmq_bus_options options = options_of(w, "r1");
    options.key = NULL;
    options.listen = listen;
    struct node *r1 = start(w, &options);
    options = options_of(w, "g1");
    options.key = NULL;
    options.joins[0] = gossip_of(r1);
    options.join_count = 1;
    struct node *g1 = start(w, &options);
    assert_true(WITHIN(w, 2000, g1->ups == 1 && r1->ups == 1));
    assert_int_equal(send_hello(g1, "r1", 1), RC_OK);
    assert_true(WITHIN(w, 1000, g1->requests == 1));
}

/* ---- What peers may do wrong ---- */

/* Whom one cannot reach, and what is too large to send. */
static void what_cannot_be_sent_is_told(void **state)
{
    struct world *w = *state;
    struct four f = start_four(w);
    int64_t dropped = metric_get(packets_dropped_total);
    assert_int_equal(send_hello(f.g1, "r9", 1), RC_NOT_FOUND);
    assert_int_equal(send_hello(f.r1, "g9", 1), RC_NOT_FOUND);
    assert_int_equal(publish_hello(f.g1, "g10", 1), RC_NOT_FOUND);
    struct buf *large = hello(f.g1, 1, 0);
    large->size +=
        (size_t)(buf_reserve(large, LIMIT_PACKET_SIZE_MAX) != NULL) * LIMIT_PACKET_SIZE_MAX;
    assert_int_equal(bus_send(zmq_bus_port(f.g1->bus), slice_string("r1"), large), RC_TOO_LARGE);
    assert_int_equal(bus_publish(zmq_bus_port(f.r1->bus), slice_string("g1"), large), RC_TOO_LARGE);
    buf_unref(&large);
    assert_int_equal(metric_get(packets_dropped_total), dropped + 5);
}

/* One's own queue is bounded too. */
static void a_full_queue_refuses(void **state)
{
    struct world *w = *state;
    struct zmq_bus_options options = options_of(w, "r1");
    struct node *r1 = start(w, &options);
    enum rc rc = RC_OK;
    uint32_t sent = 0;
    while (rc == RC_OK && sent < 100000) {
        rc = send_hello(r1, "r1", 2);
        sent += rc == RC_OK;
    }
    assert_int_equal(rc, RC_FULL);
    assert_true(WITHIN(w, 1000, r1->requests == sent));
}

/* A raw libzmq client that holds the cluster key, and misbehaves. */
struct raw {
    void *context;
    void *socket;
};

static struct raw raw_connect(const struct world *w, const char *id, struct slice endpoint)
{
    struct raw raw = {.context = zmq_ctx_new()};
    char text[ENDPOINT_SIZE_MAX + 1];
    int linger = 0;
    snprintf(text, sizeof(text), "%.*s", SLICE_ARGS(endpoint));
    raw.socket = zmq_socket(raw.context, ZMQ_DEALER);
    zmq_setsockopt(raw.socket, ZMQ_ROUTING_ID, id, strlen(id));
    zmq_setsockopt(raw.socket, ZMQ_LINGER, &linger, sizeof(linger));
    zmq_setsockopt(raw.socket, ZMQ_CURVE_SERVERKEY, w->key.public_text, KEYFILE_TEXT_SIZE);
    zmq_setsockopt(raw.socket, ZMQ_CURVE_PUBLICKEY, w->key.public_text, KEYFILE_TEXT_SIZE);
    zmq_setsockopt(raw.socket, ZMQ_CURVE_SECRETKEY, w->key.secret_text, KEYFILE_TEXT_SIZE);
    assert_int_equal(zmq_connect(raw.socket, text), 0);
    return raw;
}

static void raw_close(struct raw *raw)
{
    zmq_close(raw->socket);
    zmq_ctx_term(raw->context);
}

/* Bytes that are no packet, too many parts, a packet in another's name: counted, and life goes on.
 */
static void garbage_is_counted_and_changes_nothing(void **state)
{
    struct world *w = *state;
    struct four f = start_four(w);
    int64_t bad = metric_get(packets_bad_total);
    struct raw gossip = raw_connect(w, "g66", zmq_bus_self(f.r1->bus)->gossip);
    struct raw request = raw_connect(w, "g66", zmq_bus_self(f.r1->bus)->request);
    struct raw publish = raw_connect(w, "g66", zmq_bus_self(f.r1->bus)->publish);
    struct buf *stolen = hello(f.g1, 1, 0);
    for (uint32_t i = 0; i < 2; i++) {
        void *socket = i == 0 ? gossip.socket : request.socket;
        zmq_send(socket, "garbage", 7, 0);
        zmq_send(socket, "", 0, 0);
        zmq_send(socket, "a", 1, ZMQ_SNDMORE);
        zmq_send(socket, "b", 1, ZMQ_SNDMORE);
        zmq_send(socket, "c", 1, 0);
        zmq_send(socket, stolen->bytes, stolen->size, 0);
    }
    zmq_send(publish.socket, "\x02nonsense", 9, ZMQ_DONTWAIT);
    assert_true(WITHIN(w, 2000, metric_get(packets_bad_total) == bad + 8));
    assert_int_equal(f.r1->requests, 0);
    assert_int_equal(send_hello(f.g1, "r1", 1), RC_OK);
    assert_true(WITHIN(w, 1000, f.g1->requests == 1));
    buf_unref(&stolen);
    raw_close(&gossip);
    raw_close(&request);
    raw_close(&publish);
}

/* More than ZMQ_MAXMSGSIZE: the sender is cut off before the bytes are stored. */
static void an_oversize_packet_does_not_get_in(void **state)
{
    struct world *w = *state;
    struct four f = start_four(w);
    struct raw raw = raw_connect(w, "g66", zmq_bus_self(f.r1->bus)->request);
    struct buf *packet = hello(f.g1, 1, 0);
    size_t size = LIMIT_PACKET_SIZE_MAX + 65536;
    char *large = mem_zero(size);
    memcpy(large, packet->bytes, packet->size);
    zmq_send(raw.socket, large, size, 0);
    turn_for(w, 500);
    assert_int_equal(f.r1->requests, 0);
    assert_int_equal(send_hello(f.g1, "r1", 1), RC_OK);
    assert_true(WITHIN(w, 1000, f.g1->requests == 1));
    mem_free(large);
    buf_unref(&packet);
    raw_close(&raw);
}

/* A process that slept through its own replacement is not listened to. */
static void packets_of_an_older_life_are_fenced_off(void **state)
{
    struct world *w = *state;
    struct four f = start_four(w);
    f.g1->incarnation--;
    assert_int_equal(send_hello(f.g1, "r1", 1), RC_OK);
    turn_for(w, 100);
    assert_int_equal(f.r1->requests, 0);
    f.g1->incarnation++;
    assert_int_equal(send_hello(f.g1, "r1", 1), RC_OK);
    assert_true(WITHIN(w, 1000, f.g1->requests == 1));
}

/* ---- Status ---- */

static void count_node(void *context, const struct msg_node *node)
{
    (void)node;
    ++*(uint32_t *)context;
}

/* The question blocks, so the mesh turns in the child while the parent asks. */
static void a_command_line_may_ask_for_the_table(void **state)
{
    struct world *w = *state;
    struct sentence sentence = {""};
    int pipe_fds[2];
    assert_int_equal(pipe(pipe_fds), 0);
    pid_t child = fork();
    if (child == 0) {
        struct zmq_bus_options options = options_of(w, "r1");
        struct node *r1 = start(w, &options);
        start_joined(w, "g1", r1);
        turn_for(w, 1000);
        char endpoint[ENDPOINT_SIZE_MAX + 1] = "";
        snprintf(endpoint, sizeof(endpoint), "%s", gossip_of(r1));
        if (write(pipe_fds[1], endpoint, sizeof(endpoint)) < 0)
            _exit(1);
        turn_for(w, 4000);
        _exit(0);
    }
    char endpoint[ENDPOINT_SIZE_MAX + 1];
    uint32_t count = 0;
    assert_int_equal(read(pipe_fds[0], endpoint, sizeof(endpoint)), sizeof(endpoint));
    assert_int_equal(discovery_query(endpoint, &w->key, 2000, count_node, &count, &sentence),
                     RC_OK);
    assert_int_equal(count, 2);
    struct keyfile stranger = w->key;
    assert_int_equal(zmq_curve_keypair(stranger.public_text, stranger.secret_text), 0);
    assert_int_equal(discovery_query(endpoint, &stranger, 700, count_node, &count, &sentence),
                     RC_TIMEOUT);
    assert_int_equal(discovery_query(endpoint, NULL, 300, count_node, &count, &sentence),
                     RC_TIMEOUT);
    assert_int_equal(discovery_query("tcp://192.0.2.1:1", NULL, 300, count_node, &count, &sentence),
                     RC_CONFIG);
    assert_int_equal(discovery_query("here", &w->key, 300, count_node, &count, &sentence),
                     RC_CONFIG);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    close(pipe_fds[0]);
    close(pipe_fds[1]);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_command_line_may_ask_for_the_table), /* First: it forks. */
        TEST(nodes_find_each_other_within_a_second),
        TEST(a_router_that_joins_takes_the_cluster_it_hears),
        TEST(requests_and_answers_reach_their_node),
        TEST(a_topic_reaches_its_gateway_alone),
        TEST(a_burst_of_thousands_arrives_whole),
        TEST(no_wakeup_is_lost),
        TEST(a_new_handler_hears_of_the_peers_again),
        TEST(a_dead_peer_is_noticed_by_silence),
        TEST(a_leaving_peer_is_down_at_once),
        TEST(a_restarted_router_heals_with_its_new_incarnation),
        TEST(a_restarted_seed_is_found_again),
        TEST(routers_find_each_other_by_what_they_knew),
        TEST(the_older_process_of_a_name_learns_that_it_is_replaced),
        TEST(a_node_with_another_key_is_shut_out),
        TEST(a_key_that_is_not_listed_is_refused_despite_the_right_server_key),
        TEST(nodes_with_different_keys_meet_while_keys_are_changed),
        TEST(plain_text_and_encryption_do_not_mix),
        TEST(another_cluster_is_refused),
        TEST(the_own_cluster_is_not_foreign),
        TEST(plain_text_beyond_loopback_is_refused),
        TEST(wrong_options_are_refused_with_a_sentence),
        TEST(a_port_in_use_is_refused),
        TEST(a_wildcard_listens_and_tells_the_advertised_host),
        TEST(a_mesh_over_ipc_works_without_a_key),
        TEST(what_cannot_be_sent_is_told),
        TEST(a_full_queue_refuses),
        TEST(garbage_is_counted_and_changes_nothing),
        TEST(an_oversize_packet_does_not_get_in),
        TEST(packets_of_an_older_life_are_fenced_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
