/* machine: the digest by which replicas are compared. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "mesh/base/limits.h"
#include "mesh/base/mem.h"
#include "tests/support/machine_rig.h"

#define ENTRIES 60u

static void add_send(struct rig *rig, struct slice conv, const char *user, const char *cid,
                     const char *body)
{
    struct msg_cmd_send c = {
        .conv = conv,
        .user = slice_string(user),
        .device = slice_string("phone"),
        .cid = rig_text(cid),
        .body = slice_string(body),
    };
    if (conv.size > 3)
        c.peer = slice_string(user[0] == 'a' ? "bob" : "alice");
    rig_add(rig, &msg_cmd_send_desc, &c);
}

static void add_create(struct rig *rig, const char *conv, const char *cid)
{
    struct buf *names = rig_names("bob carol");
    struct msg_cmd_create c = {
        .conv = slice_string(conv),
        .user = slice_string("alice"),
        .kind = CONV_GROUP,
        .members = buf_slice(names),
        .cid = rig_text(cid),
    };
    rig_add(rig, &msg_cmd_create_desc, &c);
    buf_unref(&names);
}

static void add_member(struct rig *rig, enum member_change change, const char *user)
{
    struct buf *names = rig_names(user);
    struct msg_cmd_member c = {
        .conv = slice_string("c"),
        .user = slice_string("alice"),
        .change = change,
        .users = buf_slice(names),
    };
    rig_add(rig, &msg_cmd_member_desc, &c);
    buf_unref(&names);
}

static void add_cursor(struct rig *rig, const char *device, uint64_t delivered, uint64_t read)
{
    struct msg_cmd_cursor c = {
        .conv = slice_string("c"),
        .user = slice_string("bob"),
        .device = rig_text(device),
        .delivered = delivered,
        .read = read,
    };
    rig_add(rig, &msg_cmd_cursor_desc, &c);
}

static void add_told(struct rig *rig, uint64_t seq)
{
    struct msg_cmd_told c = {.conv = slice_string("c"), .seq = seq};
    rig_add(rig, &msg_cmd_told_desc, &c);
}

static void add_index(struct rig *rig, uint64_t seq)
{
    struct msg_cmd_index c = {
        .user = slice_string("bob"), .conv = slice_string("c"), .seq = seq, .gone = seq & 1};
    rig_add(rig, &msg_cmd_index_desc, &c);
}

/* Something of everything, often twice and soon after, so that what is in memory in one replica is
 * in the store of the other. Entry 0 of every ten is a barrier. */
static struct buf *make_entry(struct rig *rig, uint32_t n)
{
    static const char *const cids[] = {"1", "2", "3", "4"};
    rig->ts += n % 7 == 0 ? LIMIT_DEDUP_MS / 3 : 1;
    switch (n % 10) {
    case 0:
        return buf_new(0);
    case 1:
        add_create(rig, "c", "cid");
        add_create(rig, "d", NULL);
        break;
    case 2:
        add_send(rig, slice_string("c"), "alice", cids[n / 10 % 4], "{}");
        add_send(rig, slice_string("c"), "bob", cids[n / 20 % 4], "{\"a\":1}");
        add_send(rig, slice_string("c"), "mallory", "1", "{}");
        break;
    case 3:
        add_send(rig, rig_direct("alice", "bob"), "alice", cids[n / 10 % 4], "\"hello\"");
        add_send(rig, rig_direct("alice", "bob"), "bob", NULL, "\"hi\"");
        break;
    case 4:
        add_cursor(rig, "phone", n, n / 2);
        add_cursor(rig, "tablet", n / 2, 0);
        break;
    case 5:
        add_member(rig, n % 20 == 5 ? MEMBER_REMOVE : MEMBER_ADD, "carol");
        add_member(rig, MEMBER_ADD, "dave");
        break;
    case 6:
        add_told(rig, n / 2);
        add_told(rig, n + 10);
        break;
    case 7:
        add_told(rig, n + 10); /* For some, owed no more; for others, not yet written as such. */
        add_index(rig, n / 3);
        break;
    case 8:
        add_index(rig, n / 3 + n % 3);
        add_send(rig, slice_string("d"), "bob", cids[n / 10 % 4], "{}");
        break;
    default:
        buf_append_slice(rig->commands, slice_of("\x91\x01", 2)); /* A record, but no command. */
        rig->count++;
        break;
    }
    return rig_pack(rig);
}

static void make_entries(struct buf *entries[ENTRIES])
{
    struct rig *rig = mem_new(struct rig);
    rig_open(rig);
    for (uint32_t n = 0; n < ENTRIES; n++)
        entries[n] = make_entry(rig, n);
    rig_close(rig);
    mem_free(rig);
}

/* Replicas that write, forget and restart differently have the same digest at every index. */
static void digests_agree_at_every_index(void **state)
{
    struct rig *slow = *state;
    struct rig *quick = mem_new(struct rig);
    struct buf *entries[ENTRIES];
    uint64_t digests[ENTRIES + 1];
    make_entries(entries);
    digests[0] = machine_digest(slow->machine);
    machine_limit_cache(slow->machine, 0);
    for (uint32_t n = 0; n < ENTRIES; n++) {
        rig_apply_entry(slow, buf_slice(entries[n]));
        rig_write(slow);
        digests[n + 1] = machine_digest(slow->machine);
        assert_int_not_equal(digests[n + 1], digests[n]);
    }
    rig_open(quick);
    uint32_t restarts = 3;
    while (quick->index < ENTRIES) {
        rig_apply_entry(quick, buf_slice(entries[quick->index]));
        assert_int_equal(machine_digest(quick->machine), digests[quick->index]);
        if (quick->index % 17 == 0)
            rig_write(quick);
        if (quick->index % 20 == 0 && restarts > 0) {
            restarts--;
            rig_reopen(quick); /* Loses what was not written, and comes this way again. */
            assert_int_equal(machine_digest(quick->machine), digests[quick->index]);
        }
    }
    rig_close(quick);
    mem_free(quick);
    for (uint32_t n = 0; n < ENTRIES; n++)
        buf_unref(&entries[n]);
}

/* The digest after a group of three was made and this entry applied; 0 where it is refused whole.
 */
static uint64_t digest_of(struct slice entry)
{
    struct rig *rig = mem_new(struct rig);
    uint64_t digest = 0;
    rig_open(rig);
    rig_create(rig, "c", "alice", "bob");
    enum rc rc = machine_apply(rig->machine, rig->index + 1, entry, rig->batch, NULL);
    if (rc == RC_OK)
        digest = machine_digest(rig->machine);
    else
        assert_int_equal(rc, RC_CORRUPT);
    rig_close(rig);
    mem_free(rig);
    return digest;
}

/* Whichever bit of a message on its way is another, the digest is another. */
static void a_flipped_bit_makes_another_digest(void **state)
{
    struct rig *rig = *state;
    rig->ts += 1000;
    add_send(rig, slice_string("c"), "alice", "cid", "{\"text\":\"hello\"}");
    struct buf *entry = rig_pack(rig);
    uint64_t digest = digest_of(buf_slice(entry));
    assert_int_not_equal(digest, 0);
    assert_int_equal(digest_of(buf_slice(entry)), digest);
    for (size_t bit = 0; bit < entry->size * 8; bit++) {
        entry->bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_not_equal(digest_of(buf_slice(entry)), digest);
        entry->bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    buf_unref(&entry);
}

static uint64_t digest_of_packed(struct rig *rig)
{
    struct buf *entry = rig_pack(rig);
    uint64_t digest = digest_of(buf_slice(entry));
    buf_unref(&entry);
    return digest;
}

/* What no entry, result or event tells of is in the digest as well: a device's cursor behind that
 * of another, the cid of an empty group, what a list was told. */
static void what_is_stored_silently_counts(void **state)
{
    struct rig *rig = *state;
    add_cursor(rig, "phone", 3, 0);
    add_cursor(rig, "tablet", 1, 0);
    uint64_t one = digest_of_packed(rig);
    add_cursor(rig, "phone", 3, 0);
    add_cursor(rig, "tablet", 2, 0);
    assert_int_not_equal(digest_of_packed(rig), one);

    add_cursor(rig, "phone", 3, 0);
    add_cursor(rig, "laptop", 1, 0);
    assert_int_not_equal(digest_of_packed(rig), one);

    add_create(rig, "new", "1");
    one = digest_of_packed(rig);
    add_create(rig, "new", "2");
    assert_int_not_equal(digest_of_packed(rig), one);

    add_told(rig, 1);
    one = digest_of_packed(rig);
    add_told(rig, 2);
    assert_int_not_equal(digest_of_packed(rig), one);
}

/* A barrier folds in its index, and one that comes again nothing. */
static void a_barrier_folds_its_index_once(void **state)
{
    struct rig *rig = *state;
    assert_int_equal(machine_digest(rig->machine), 0);
    rig_apply_entry(rig, (struct slice){0});
    uint64_t digest = machine_digest(rig->machine);
    assert_int_not_equal(digest, 0);
    assert_int_equal(machine_apply(rig->machine, 1, (struct slice){0}, rig->batch, NULL), RC_OK);
    assert_int_equal(machine_digest(rig->machine), digest);
    rig_write(rig);
    rig_reopen(rig);
    assert_int_equal(machine_digest(rig->machine), digest);
    assert_int_equal(machine_apply(rig->machine, 1, (struct slice){0}, rig->batch, NULL), RC_OK);
    assert_int_equal(machine_digest(rig->machine), digest);
    rig_apply_entry(rig, (struct slice){0});
    assert_int_not_equal(machine_digest(rig->machine), digest);
}

/* The generation is this replica's own affair: a copy elsewhere has the same digest. */
static void the_generation_is_not_in_the_digest(void **state)
{
    struct rig *rig = *state;
    struct rig *other = mem_new(struct rig);
    const uint8_t cluster[16] = "a test's cluster";
    rig_open(other);
    machine_free(&other->machine);
    assert_int_equal(machine_open(other->kv, other->group, 9, cluster, &other->machine), RC_OK);
    rig_create(rig, "c", "alice", "bob");
    rig_create(other, "c", "alice", "bob");
    assert_int_equal(machine_digest(other->machine), machine_digest(rig->machine));
    rig_reopen(other); /* In generation 1, which is empty. */
    assert_int_equal(machine_applied(other->machine), 0);
    rig_close(other);
    mem_free(other);
}

/* A change of the list of routers is in the digest of the control group. */
static void routers_are_in_the_digest(void **state)
{
    (void)state;
    static const char *const zones[] = {NULL, "east", "west"};
    uint64_t digests[3];
    for (int i = 0; i < 3; i++) {
        struct rig *rig = mem_new(struct rig);
        rig_open_group(rig, CONTROL_GROUP);
        struct msg_cmd_cluster cluster = {
            .shards = 64, .replicas = 3, .epoch = slice_string("0badcafe")};
        struct msg_cmd_router router = {.node = slice_string("r1"),
                                        .zone = rig_text(zones[i]),
                                        .weight = 100,
                                        .state = ROUTER_ACTIVE};
        rig_do(rig, &msg_cmd_cluster_desc, &cluster);
        rig_do(rig, &msg_cmd_router_desc, &router);
        digests[i] = machine_digest(rig->machine);
        rig_close(rig);
        mem_free(rig);
    }
    assert_int_not_equal(digests[0], digests[1]);
    assert_int_not_equal(digests[0], digests[2]);
    assert_int_not_equal(digests[1], digests[2]);
}

#define RIG(test) cmocka_unit_test_setup_teardown(test, rig_setup, rig_teardown)

static uint64_t digest_after(const struct record_desc *desc, const void *command)
{
    struct rig *rig = mem_new(struct rig);
    rig_open(rig);
    rig_create(rig, "c", "alice", "bob carol");
    rig_send(rig, "c", "alice", "1", "1");
    rig_change(rig, "c", "bob", ENTRY_REACTION, 4, "+1", true);
    rig_member(rig, "c", "bob", MEMBER_LEAVE, NULL, 0);
    rig_member(rig, "c", "carol", MEMBER_LEAVE, NULL, 0);
    assert_int_equal(rig_do(rig, desc, command).rc, RC_OK);
    uint64_t digest = machine_digest(rig->machine);
    rig_close(rig);
    mem_free(rig);
    return digest;
}

/* Rules of a conversation, and who was erased, are in no entry; the digest knows them. */
static void what_no_entry_says_is_in_the_digest(void **state)
{
    (void)state;
    struct msg_cmd_info info = {
        .conv = slice_string("c"), .user = slice_string("alice"), .retain_ms = 1000};
    uint64_t digest = digest_after(&msg_cmd_info_desc, &info);
    assert_true(digest_after(&msg_cmd_info_desc, &info) == digest);
    info.retain_ms = 2000;
    assert_true(digest_after(&msg_cmd_info_desc, &info) != digest);
    info.history = HISTORY_JOINED;
    info.retain_ms = 1000;
    assert_true(digest_after(&msg_cmd_info_desc, &info) != digest);
    struct msg_cmd_create create = {
        .conv = slice_string("d"), .user = slice_string("alice"), .kind = CONV_GROUP};
    digest = digest_after(&msg_cmd_create_desc, &create);
    create.retain_count = 1;
    assert_true(digest_after(&msg_cmd_create_desc, &create) != digest);
    struct msg_cmd_erase forget = {.conv = slice_string("c"), .user = slice_string("bob")};
    digest = digest_after(&msg_cmd_erase_desc, &forget);
    forget.user = slice_string("carol");
    assert_true(digest_after(&msg_cmd_erase_desc, &forget) != digest);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RIG(digests_agree_at_every_index),
        RIG(a_flipped_bit_makes_another_digest),
        RIG(what_is_stored_silently_counts),
        RIG(a_barrier_folds_its_index_once),
        RIG(the_generation_is_not_in_the_digest),
        cmocka_unit_test(routers_are_in_the_digest),
        cmocka_unit_test(what_no_entry_says_is_in_the_digest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
