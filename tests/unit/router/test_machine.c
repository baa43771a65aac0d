/* machine: opening, applying, checking; what holds for all commands. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "mesh/base/limits.h"
#include "storage/mem_kv.h"
#include "tests/support/machine_rig.h"

static enum rc check(const struct record_desc *desc, const void *command)
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
        assert_int_equal(kind, number == MSG_CMD_INDEX ? MACHINE_KEY_USER : MACHINE_KEY_CONV);
    }
    buf_unref(&bytes);
    return rc;
}

static struct msg_cmd_send good_send(void)
{
    return (struct msg_cmd_send){
        .conv = slice_string("c"),
        .user = slice_string("alice"),
        .device = slice_string("phone"),
        .cid = slice_string("1"),
        .body = slice_string("{}"),
    };
}

/* An empty store is an empty machine, and an empty entry moves the index only. */
static void a_barrier_moves_the_index(void **state)
{
    struct rig *rig = *state;
    assert_int_equal(machine_applied(rig->machine), 0);
    assert_int_equal(machine_apply(rig->machine, 1, (struct slice){0}, rig->batch, NULL), RC_OK);
    assert_int_equal(machine_applied(rig->machine), 1);
    rig_write(rig);
    rig_reopen(rig);
    assert_int_equal(machine_applied(rig->machine), 1);
}

/* An entry that was applied is skipped when it comes again. */
static void an_applied_index_is_skipped(void **state)
{
    struct rig *rig = *state;
    rig_create(rig, "c", "alice", "bob");
    uint64_t head;
    struct msg_cmd_send c = good_send();
    rig_add(rig, &msg_cmd_send_desc, &c);
    struct buf *entry = rig_pack(rig);
    for (int i = 0; i < 2; i++)
        assert_int_equal(
            machine_apply(rig->machine, rig->index + 1, buf_slice(entry), rig->batch, NULL), RC_OK);
    rig_write(rig);
    assert_int_equal(machine_head(rig->machine, slice_string("c"), &head), RC_OK);
    assert_int_equal(head, 3);
    buf_unref(&entry);
}

/* A batch that cannot be taken apart is corrupt, wherever it is cut, and nothing of it is applied.
 */
static void a_broken_batch_is_corrupt(void **state)
{
    struct rig *rig = *state;
    rig_create(rig, "c", "alice", "bob");
    struct msg_cmd_send c = good_send();
    rig_add(rig, &msg_cmd_send_desc, &c);
    rig_add(rig, &msg_cmd_send_desc, &c);
    struct buf *entry = rig_pack(rig);
    for (size_t size = 1; size < entry->size; size++)
        assert_int_equal(machine_apply(rig->machine, rig->index + 1, slice_of(entry->bytes, size),
                                       rig->batch, NULL),
                         RC_CORRUPT);
    buf_clear(entry);
    struct msg_batch batch = {.ts = 1, .count = 2, .commands = slice_of("\x91\x01", 2)};
    record_encode(entry, &msg_batch_desc, &batch);
    assert_int_equal(
        machine_apply(rig->machine, rig->index + 1, buf_slice(entry), rig->batch, NULL),
        RC_CORRUPT);
    assert_int_equal(rig->kv->ops->batch_count(rig->batch), 0);
    buf_unref(&entry);
}

/* A command that is malformed gets its answer; its neighbours are applied. */
static void a_malformed_command_harms_no_other(void **state)
{
    struct rig *rig = *state;
    rig_create(rig, "c", "alice", "bob");
    struct msg_cmd_send good = good_send();
    struct msg_cmd_send bad = good_send();
    bad.user = slice_string("");
    struct msg_unwatch foreign = {.conv = slice_string("c")};
    rig_add(rig, &msg_cmd_send_desc, &bad);
    rig_add(rig, &msg_unwatch_desc, &foreign);
    rig_add(rig, &msg_cmd_send_desc, &good);
    rig_apply(rig);
    rig_write(rig);
    assert_int_equal(rig->results[0].rc, RC_BAD_REQUEST);
    assert_int_equal(rig->results[1].rc, RC_UNSUPPORTED);
    assert_int_equal(rig->results[2].rc, RC_OK);
    assert_int_equal(rig->results[2].seq, 3);
}

/* A row whose checksum fails stops the machine instead of being believed. */
static void a_damaged_row_is_corrupt(void **state)
{
    struct rig *rig = *state;
    rig_create(rig, "c", "alice", "bob");
    struct kv_iterator *iterator =
        rig->kv->ops->iterate(rig->kv, KV_STATE, slice_of("", 0), slice_of("\xff", 1), false);
    struct slice key;
    struct slice value;
    while (rig->kv->ops->next(iterator, &key, &value))
        kv_put(rig->batch, KV_STATE, key, slice_of("garbage", 7));
    assert_int_equal(rig->kv->ops->iterator_free(&iterator), RC_OK);
    assert_int_equal(rig->kv->ops->write(rig->kv, rig->batch), RC_OK);
    struct machine *machine;
    uint8_t cluster[16] = {0};
    assert_int_equal(machine_open(rig->kv, 7, 1, cluster, &machine), RC_CORRUPT);

    machine_limit_cache(rig->machine, 0);
    uint64_t head;
    assert_int_equal(machine_head(rig->machine, slice_string("other"), &head), RC_OK);
    struct msg_cmd_send c = good_send();
    c.conv = slice_string("other");
    rig_add(rig, &msg_cmd_send_desc, &c); /* Turns the cache over. */
    rig_apply(rig);
    c.conv = slice_string("c");
    rig_add(rig, &msg_cmd_send_desc, &c);
    struct buf *entry = rig_pack(rig);
    assert_int_equal(
        machine_apply(rig->machine, rig->index + 1, buf_slice(entry), rig->batch, NULL),
        RC_CORRUPT);
    buf_unref(&entry);
}

/* The timestamps of a shard never go back, whatever the leaders' clocks do. */
static void log_time_never_goes_back(void **state)
{
    struct rig *rig = *state;
    rig->ts = 5000;
    rig_create(rig, "c", "alice", "bob");
    rig->ts = 4000;
    struct rig_result r = rig_send(rig, "c", "alice", "1", "1");
    assert_int_equal(r.ts, 5000);
    rig_reopen(rig);
    assert_int_equal(rig_send(rig, "c", "alice", "2", "1").ts, 5000);
    rig->ts = 6000;
    assert_int_equal(rig_send(rig, "c", "alice", "3", "1").ts, 6000);
}

/* A sound send passes, and tells its conversation as the key. */
static void a_good_command_passes_and_gives_its_key(void **state)
{
    (void)state;
    struct buf *bytes = buf_new(0);
    enum message_number number;
    struct slice key;
    enum machine_key kind;
    const char *detail = NULL;
    struct msg_cmd_send c = good_send();
    record_encode(bytes, &msg_cmd_send_desc, &c);
    assert_int_equal(machine_check_command(buf_slice(bytes), &number, &key, &kind, &detail), RC_OK);
    assert_int_equal(number, MSG_CMD_SEND);
    assert_true(slice_equals(key, "c"));
    assert_int_equal(kind, MACHINE_KEY_CONV);
    buf_append_byte(bytes, 0xc0); /* Anything behind it would be a command of its own. */
    assert_int_equal(machine_check_command(buf_slice(bytes), &number, &key, &kind, &detail),
                     RC_BAD_REQUEST);
    for (uint32_t size = 0; size + 1 < bytes->size; size++)
        assert_int_not_equal(
            machine_check_command(slice_of(bytes->bytes, size), &number, &key, &kind, &detail),
            RC_OK);
    buf_clear(bytes);
    struct msg_cmd_index index = {.user = slice_string("bob"), .conv = slice_string("c")};
    record_encode(bytes, &msg_cmd_index_desc, &index);
    assert_int_equal(machine_check_command(buf_slice(bytes), &number, &key, &kind, &detail), RC_OK);
    assert_true(slice_equals(key, "bob"));
    assert_int_equal(kind, MACHINE_KEY_USER);
    buf_unref(&bytes);
}

/* Each field of a send that breaks a rule is refused. */
static void a_send_with_a_bad_field_is_refused(void **state)
{
    (void)state;
    static char large[LIMIT_FRAME_SIZE_MAX + 1];
    struct msg_cmd_send c = good_send();
    c.conv = slice_string("no spaces");
    assert_int_equal(check(&msg_cmd_send_desc, &c), RC_BAD_REQUEST);
    c = good_send();
    c.user = slice_string("bell\a");
    assert_int_equal(check(&msg_cmd_send_desc, &c), RC_BAD_REQUEST);
    c = good_send();
    c.device = slice_string("");
    assert_int_equal(check(&msg_cmd_send_desc, &c), RC_BAD_REQUEST);
    c = good_send();
    c.cid = slice_string("");
    assert_int_equal(check(&msg_cmd_send_desc, &c), RC_BAD_REQUEST);
    c = good_send();
    c.body = (struct slice){0};
    assert_int_equal(check(&msg_cmd_send_desc, &c), RC_BAD_REQUEST);
    c = good_send();
    c.body = slice_of(large, sizeof(large));
    assert_int_equal(check(&msg_cmd_send_desc, &c), RC_TOO_LARGE);
    c = good_send();
    c.peer = slice_string("bob");
    assert_int_equal(check(&msg_cmd_send_desc, &c), RC_BAD_REQUEST);
    c.conv = rig_direct("bob", "alice");
    assert_int_equal(check(&msg_cmd_send_desc, &c), RC_OK);
}

/* Likewise the other commands. */
static void other_commands_with_bad_fields_are_refused(void **state)
{
    (void)state;
    static char large[LIMIT_META_SIZE_MAX + 1];
    struct slice conv = slice_string("c");
    struct slice user = slice_string("alice");
    struct buf *bob = rig_names("bob");
    struct buf *two = rig_names("bob carol");
    struct buf *many = buf_new(0);
    for (uint32_t i = 0; i <= LIMIT_CREATE_MEMBERS_MAX; i++)
        record_put_slice(many, user);

    struct msg_cmd_create create = {.conv = conv, .user = user, .kind = 3};
    assert_int_equal(check(&msg_cmd_create_desc, &create), RC_BAD_REQUEST);
    create.kind = CONV_GROUP;
    assert_int_equal(check(&msg_cmd_create_desc, &create), RC_OK);
    create.members = buf_slice(many);
    assert_int_equal(check(&msg_cmd_create_desc, &create), RC_TOO_LARGE);
    create.members = slice_string("\xc1");
    assert_int_equal(check(&msg_cmd_create_desc, &create), RC_BAD_REQUEST);
    create.members = buf_slice(bob);
    create.title = slice_string("\xff");
    assert_int_equal(check(&msg_cmd_create_desc, &create), RC_BAD_REQUEST);
    create.title = slice_of(large, LIMIT_TITLE_SIZE_MAX + 1);
    assert_int_equal(check(&msg_cmd_create_desc, &create), RC_TOO_LARGE);
    create.title = (struct slice){0};
    create.conv = rig_direct("alice", "bob"); /* A group may not sit where a direct one belongs. */
    assert_int_equal(check(&msg_cmd_create_desc, &create), RC_BAD_REQUEST);
    create.kind = CONV_DIRECT;
    assert_int_equal(check(&msg_cmd_create_desc, &create), RC_OK);
    create.members = buf_slice(two);
    assert_int_equal(check(&msg_cmd_create_desc, &create), RC_BAD_REQUEST);
    create.members = buf_slice(bob);
    create.title = slice_string("title");
    assert_int_equal(check(&msg_cmd_create_desc, &create), RC_BAD_REQUEST);

    struct msg_cmd_member member = {.conv = conv, .user = user, .change = 9};
    assert_int_equal(check(&msg_cmd_member_desc, &member), RC_BAD_REQUEST);
    member.change = MEMBER_ADD;
    assert_int_equal(check(&msg_cmd_member_desc, &member), RC_BAD_REQUEST);
    member.users = buf_slice(bob);
    assert_int_equal(check(&msg_cmd_member_desc, &member), RC_OK);
    member.change = MEMBER_ROLE;
    assert_int_equal(check(&msg_cmd_member_desc, &member), RC_BAD_REQUEST);
    member.role = ROLE_OWNER + 1;
    assert_int_equal(check(&msg_cmd_member_desc, &member), RC_BAD_REQUEST);

    struct msg_cmd_info info = {.conv = conv, .user = user};
    assert_int_equal(check(&msg_cmd_info_desc, &info), RC_BAD_REQUEST);
    info.meta = slice_of(large, sizeof(large));
    assert_int_equal(check(&msg_cmd_info_desc, &info), RC_TOO_LARGE);

    struct msg_cmd_cursor cursor = {.conv = conv, .user = user, .device = slice_string("\n")};
    assert_int_equal(check(&msg_cmd_cursor_desc, &cursor), RC_BAD_REQUEST);
    struct msg_unwatch foreign = {.conv = conv};
    assert_int_equal(check(&msg_unwatch_desc, &foreign), RC_UNSUPPORTED);
    buf_unref(&many);
    buf_unref(&two);
    buf_unref(&bob);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_barrier_moves_the_index, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(an_applied_index_is_skipped, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(a_broken_batch_is_corrupt, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(a_malformed_command_harms_no_other, rig_setup,
                                        rig_teardown),
        cmocka_unit_test_setup_teardown(a_damaged_row_is_corrupt, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(log_time_never_goes_back, rig_setup, rig_teardown),
        cmocka_unit_test(a_good_command_passes_and_gives_its_key),
        cmocka_unit_test(a_send_with_a_bad_field_is_refused),
        cmocka_unit_test(other_commands_with_bad_fields_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
