/* Malformed and misplaced Raft messages: each is refused, and the group goes on as if it had not
 * come. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
/* cmocka.h needs those above. */
#include <cmocka.h>

#include "storage/raft_log.h"
#include "tests/support/raft_rig.h"

#define LEADER   0u
#define FOLLOWER 1u
#define OTHER    2u

static struct raft_rig rig;
static struct buf *entries, *conf;

static int setup(void **state)
{
    (void)state;
    raft_rig_init(&rig, 5);
    raft_rig_start(&rig, 3);
    entries = buf_new(0);
    conf = buf_new(0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    const char *violation = raft_rig_violation(&rig);
    if (violation != NULL)
        print_error("%s\n", violation);
    raft_rig_fini(&rig);
    buf_unref(&entries);
    buf_unref(&conf);
    return violation != NULL;
}

/* An encoded configuration of `count` times the same server. */
static struct slice conf_of(uint64_t count, uint64_t id, const char *address, uint8_t role)
{
    buf_clear(conf);
    buf_append_byte(conf, 1);
    buf_append(conf, &count, sizeof(count));
    for (uint64_t i = 0; i < count; i++) {
        buf_append(conf, &id, sizeof(id));
        buf_append(conf, address, strlen(address) + 1);
        buf_append_byte(conf, role);
    }
    return buf_slice(conf);
}

static struct slice good_conf(void)
{
    return conf_of(1, 5, "somebody/5", RAFT_GROUP_VOTER);
}

static void add_entry(uint64_t term, uint64_t type, struct slice data)
{
    const struct msg_raft_entry entry = {.term = term, .type = type, .data = data};
    record_encode(entries, &msg_raft_entry_desc, &entry);
}

/* An AppendEntries that fits behind the follower's log. */
static struct msg_raft good_append(void)
{
    struct msg_raft m = raft_rig_message(&rig, RAFT_RIG_APPEND, LEADER, FOLLOWER);
    m.a = raft_group_last_index(rig.nodes[FOLLOWER].group);
    m.b = m.term;
    return m;
}

static void assert_refused(uint32_t to, const struct msg_raft *m)
{
    uint64_t term = raft_group_term(rig.nodes[to].group);
    uint64_t last = raft_group_last_index(rig.nodes[to].group);
    rig.nodes[to].has_transferred = true;
    rig.nodes[to].transferred.applied = UINT64_MAX;
    assert_int_equal(raft_rig_deliver(&rig, OTHER, to, m), RC_BAD_REQUEST);
    assert_int_equal(raft_group_term(rig.nodes[to].group), term);
    assert_int_equal(raft_group_last_index(rig.nodes[to].group), last);
    assert_false(raft_group_is_installing(rig.nodes[to].group));
}

static void assert_entries_refused(void)
{
    struct msg_raft m = good_append();
    m.entries = buf_slice(entries);
    assert_refused(FOLLOWER, &m);
    buf_clear(entries);
}

static void assert_conf_refused(struct slice encoded)
{
    struct msg_raft m = good_append();
    add_entry(m.term, RAFT_LOG_CHANGE, encoded);
    assert_entries_refused();
    m = raft_rig_message(&rig, RAFT_RIG_INSTALL, LEADER, FOLLOWER);
    m.a = raft_group_last_index(rig.nodes[FOLLOWER].group) + 10;
    m.b = m.term;
    m.c = 1;
    m.conf = encoded;
    assert_refused(FOLLOWER, &m);
}

/* ---- Of every kind ---- */

/* No sender, oneself, no term, one beyond all, no kind. */
static void what_every_message_has_must_be_right(void **state)
{
    (void)state;
    for (uint64_t type = RAFT_RIG_APPEND; type <= RAFT_RIG_TIMEOUT_NOW; type++) {
        struct msg_raft m = raft_rig_message(&rig, type, LEADER, FOLLOWER);
        m.from = 0;
        assert_refused(FOLLOWER, &m);
        m.from = m.to;
        assert_refused(FOLLOWER, &m);
        m = raft_rig_message(&rig, type, LEADER, FOLLOWER);
        m.term = 0;
        assert_refused(FOLLOWER, &m);
        m.term = UINT64_MAX;
        assert_refused(FOLLOWER, &m);
    }
    struct msg_raft m = raft_rig_message(&rig, 0, LEADER, FOLLOWER);
    assert_refused(FOLLOWER, &m);
    m.type = RAFT_RIG_TIMEOUT_NOW + 1;
    assert_refused(FOLLOWER, &m);
    m = good_append();
    assert_int_equal(raft_group_receive(rig.nodes[OTHER].group, raft_rig_clock(&rig, OTHER),
                                        slice_string("router-0"), &m),
                     RC_BAD_REQUEST); /* For another replica. */
    assert_true(raft_rig_say(&rig, LEADER, "on"));
}

/* A leader hears of no other in its term: the core keeps what it knows of followers and of a leader
 * in the same place. */
static void a_leader_takes_no_orders_in_its_term(void **state)
{
    (void)state;
    struct msg_raft m = raft_rig_message(&rig, RAFT_RIG_APPEND, OTHER, LEADER);
    m.a = raft_group_last_index(rig.nodes[LEADER].group);
    m.b = m.term;
    assert_refused(LEADER, &m);
    m = raft_rig_message(&rig, RAFT_RIG_INSTALL, OTHER, LEADER);
    m.a = raft_group_last_index(rig.nodes[LEADER].group) + 10;
    m.b = m.term;
    m.c = 1;
    m.conf = good_conf();
    assert_refused(LEADER, &m);
    assert_true(raft_rig_say(&rig, LEADER, "on"));
}

/* ---- Entries ---- */

/* An index without a term, a term without an index, a term beyond the message's. */
static void a_malformed_beginning_is_refused(void **state)
{
    (void)state;
    struct msg_raft m = good_append();
    m.a = 0;
    assert_refused(FOLLOWER, &m);
    m = good_append();
    m.b = 0;
    assert_refused(FOLLOWER, &m);
    m.b = m.term + 1;
    assert_refused(FOLLOWER, &m);
    assert_true(raft_rig_say(&rig, LEADER, "on"));
}

/* Bytes that are no entries, and entries that cannot be. */
static void malformed_entries_are_refused(void **state)
{
    (void)state;
    uint64_t term = raft_group_term(rig.nodes[FOLLOWER].group);
    struct slice data = slice_string("data");
    buf_append_string(entries, "rubbish");
    assert_entries_refused();
    add_entry(term, RAFT_LOG_COMMAND, data);
    entries->size--;
    assert_entries_refused();
    add_entry(term + 1, RAFT_LOG_COMMAND, data); /* Of a term to come. */
    assert_entries_refused();
    add_entry(0, RAFT_LOG_COMMAND, data);
    assert_entries_refused();
    add_entry(term - 1, RAFT_LOG_COMMAND, data); /* Older than what is before it. */
    assert_entries_refused();
    add_entry(term, 0, data);
    assert_entries_refused();
    add_entry(term, RAFT_LOG_CHANGE + 1, data);
    assert_entries_refused();
    add_entry(term, RAFT_LOG_COMMAND, slice_of("", 0));
    assert_entries_refused();
    add_entry(term, RAFT_LOG_COMMAND, (struct slice){0});
    assert_entries_refused();
    add_entry(term, RAFT_LOG_COMMAND, data);
    add_entry(term, RAFT_LOG_CHANGE, good_conf()); /* Not the first. */
    assert_entries_refused();
    assert_true(raft_rig_say(&rig, LEADER, "on"));
}

/* A log that begins with anything but a configuration could not be opened again. */
static void a_first_entry_that_is_no_configuration_is_refused(void **state)
{
    (void)state;
    raft_rig_begin(&rig, 3);
    struct msg_raft m = raft_rig_message(&rig, RAFT_RIG_APPEND, LEADER, 3);
    m.term = 1;
    add_entry(1, RAFT_LOG_COMMAND, slice_string("data"));
    m.entries = buf_slice(entries);
    assert_refused(3, &m);
}

/* What is committed here no leader has otherwise. */
static void what_contradicts_the_committed_is_refused(void **state)
{
    (void)state;
    assert_true(raft_rig_say(&rig, LEADER, "said"));
    raft_rig_run(&rig, 200);
    uint64_t last = raft_group_last_index(rig.nodes[FOLLOWER].group);
    struct msg_raft m = good_append();
    m.term += 2;
    m.a = last - 1;
    add_entry(m.term, RAFT_LOG_BARRIER, slice_string("barriers"));
    m.entries = buf_slice(entries);
    assert_refused(FOLLOWER, &m);
    m.a = last;
    m.b = m.term;
    m.entries = (struct slice){0};
    assert_refused(FOLLOWER, &m);
    m.type = RAFT_RIG_INSTALL;
    m.c = 1;
    m.conf = good_conf();
    assert_refused(FOLLOWER, &m);
    assert_true(raft_rig_say(&rig, LEADER, "on"));
}

/* ---- Configurations and states ---- */

/* The core reads a configuration without looking where it ends. */
static void a_malformed_configuration_is_refused(void **state)
{
    (void)state;
    assert_conf_refused((struct slice){0});
    assert_conf_refused(slice_of("\x01", 1));
    assert_conf_refused(conf_of(0, 5, "somebody/5", RAFT_GROUP_VOTER));
    assert_conf_refused(conf_of(2, 5, "somebody/5", RAFT_GROUP_VOTER)); /* Twice the same. */
    assert_conf_refused(conf_of(1, 0, "somebody/0", RAFT_GROUP_VOTER));
    assert_conf_refused(conf_of(1, 5, "somebody/5", 3));
    assert_conf_refused(conf_of(1, 5, "", RAFT_GROUP_VOTER));
    assert_conf_refused(conf_of(1, 5, "no node id!/5", RAFT_GROUP_VOTER));
    assert_conf_refused(
        conf_of(1, 5, "a-name-that-is-longer-than-any-node-id/5", RAFT_GROUP_VOTER));
    struct slice good = good_conf();
    for (uint32_t size = 0; size < good.size; size++)
        assert_conf_refused(slice_of(good.base, size));
    conf->bytes[0] = 2; /* Its version. */
    assert_conf_refused(good);
    good_conf();
    uint64_t many = UINT64_MAX / 8;
    memcpy(conf->bytes + 1, &many, sizeof(many));
    assert_conf_refused(buf_slice(conf));
    assert_true(raft_rig_say(&rig, LEADER, "on"));
}

/* A mark without index, term or configuration, or with one from after it. */
static void a_malformed_install_is_refused(void **state)
{
    (void)state;
    struct msg_raft good = raft_rig_message(&rig, RAFT_RIG_INSTALL, LEADER, FOLLOWER), m;
    good.a = raft_group_last_index(rig.nodes[FOLLOWER].group) + 10;
    good.b = good.term;
    good.c = 1;
    good.conf = good_conf();
    m = good;
    m.a = 0;
    assert_refused(FOLLOWER, &m);
    m = good;
    m.b = 0;
    assert_refused(FOLLOWER, &m);
    m.b = m.term + 1;
    assert_refused(FOLLOWER, &m);
    m = good;
    m.c = 0;
    assert_refused(FOLLOWER, &m);
    m.c = m.a + 1;
    assert_refused(FOLLOWER, &m);
    assert_true(raft_rig_say(&rig, LEADER, "on"));
}

/* ---- Who has no say ---- */

/* Votes, answers and TimeoutNow of strangers, in any role, change nothing. */
static void strangers_have_no_say(void **state)
{
    (void)state;
    static const uint64_t types[] = {RAFT_RIG_APPEND_RESULT, RAFT_RIG_VOTE_RESULT,
                                     RAFT_RIG_TIMEOUT_NOW};
    uint64_t term = raft_group_term(rig.nodes[LEADER].group);
    for (uint32_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
        for (uint32_t to = LEADER; to <= FOLLOWER; to++) {
            struct msg_raft m = raft_rig_message(&rig, types[i], OTHER, to);
            m.from = 4711;
            m.a = UINT64_MAX;
            m.b = UINT64_MAX;
            m.flags = 1;
            assert_int_equal(raft_rig_deliver(&rig, OTHER, to, &m), RC_OK);
        }
    raft_rig_run(&rig, 200);
    assert_int_equal(raft_group_term(rig.nodes[LEADER].group), term);
    assert_true(raft_rig_say(&rig, LEADER, "on"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_every_message_has_must_be_right),
        TEST(a_leader_takes_no_orders_in_its_term),
        TEST(a_malformed_beginning_is_refused),
        TEST(malformed_entries_are_refused),
        TEST(a_first_entry_that_is_no_configuration_is_refused),
        TEST(what_contradicts_the_committed_is_refused),
        TEST(a_malformed_configuration_is_refused),
        TEST(a_malformed_install_is_refused),
        TEST(strangers_have_no_say),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
