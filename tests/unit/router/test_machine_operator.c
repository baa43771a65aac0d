/* machine: what the operator makes, changes and reads, in nobody's name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/support/machine_rig.h"

static void begin(struct rig *rig)
{
    rig_create(rig, "c", "alice", "bob carol");
    rig_send(rig, "c", "alice", "1", "\"hers\"");
}

static enum rc fetch_as(struct rig *rig, const char *conv, const char *user)
{
    struct msg_fetch request = {.conv = slice_string(conv), .user = rig_text(user), .limit = 1};
    struct msg_fetched answer;
    buf_clear(rig->into);
    assert_int_equal(machine_fetch(rig->machine, &request, &answer), RC_OK);
    return (enum rc)answer.rc;
}

/* A group that the operator makes has no owner, and lives without one. */
static void the_operator_makes_a_group_without_an_owner(void **state)
{
    struct rig *rig = *state;
    struct msg_entry entry;
    struct msg_marks marks;
    struct buf *names = rig_names("bob carol");
    struct msg_cmd_create c = {
        .conv = slice_string("c"),
        .kind = CONV_GROUP,
        .members = buf_slice(names),
        .cid = slice_string("1"),
        .as_server = 1,
    };
    struct rig_result first = rig_do(rig, &msg_cmd_create_desc, &c);
    assert_int_equal(first.rc, RC_OK);
    assert_true(rig_do(rig, &msg_cmd_create_desc, &c).dup);
    assert_true(rig_entry(rig, "c", NULL, 1, &entry, &marks));
    assert_non_null(entry.from.base);
    assert_int_equal(entry.from.size, 0);
    assert_int_equal(rig_member(rig, "c", "bob", MEMBER_ADD, "dave", 0).rc, RC_FORBIDDEN);
    uint32_t entries = rig->entries;
    assert_int_equal(rig_member(rig, "c", "bob", MEMBER_LEAVE, NULL, 0).rc, RC_OK);
    assert_int_equal(rig->entries, entries + 1); /* No heir: there was nothing to inherit. */
    assert_int_equal(rig_erase(rig, "c", "carol", 0).seq, 0);
    buf_unref(&names);
}

/* Even one with nobody in it is there, for its log begins with an entry. */
static void a_group_may_begin_empty(void **state)
{
    struct rig *rig = *state;
    struct msg_cmd_create c = {
        .conv = slice_string("c"),
        .kind = CONV_GROUP,
        .as_server = 1,
    };
    assert_int_equal(rig_do(rig, &msg_cmd_create_desc, &c).seq, 1);
    rig_reopen(rig);
    assert_int_equal(fetch_as(rig, "c", NULL), RC_OK);
    assert_int_equal(rig_do(rig, &msg_cmd_create_desc, &c).rc, RC_CONFLICT);
}

static struct rig_result operate(struct rig *rig, enum member_change change, const char *users,
                                 enum member_role role)
{
    struct buf *names = rig_names(users);
    struct msg_cmd_member c = {
        .conv = slice_string("c"),
        .change = change,
        .users = buf_slice(names),
        .role = role,
        .as_server = 1,
    };
    struct rig_result result = rig_do(rig, &msg_cmd_member_desc, &c);
    buf_unref(&names);
    return result;
}

/* The operator needs no role; a group that has an owner keeps one. */
static void the_operator_changes_members_without_a_role(void **state)
{
    struct rig *rig = *state;
    begin(rig);
    assert_int_equal(operate(rig, MEMBER_ADD, "dave", ROLE_ADMIN).rc, RC_OK);
    assert_int_equal(operate(rig, MEMBER_ROLE, "bob", ROLE_ADMIN).rc, RC_OK);
    assert_int_equal(operate(rig, MEMBER_ROLE, "alice", ROLE_MEMBER).rc, RC_CONFLICT);
    assert_int_equal(operate(rig, MEMBER_REMOVE, "alice", 0).rc, RC_OK);
    assert_int_equal(rig_member(rig, "c", "bob", MEMBER_ROLE, "dave", ROLE_OWNER).rc, RC_OK);
    assert_int_equal(operate(rig, MEMBER_LEAVE, NULL, 0).rc, RC_BAD_REQUEST);
    struct msg_cmd_info info = {
        .conv = slice_string("c"), .title = slice_string("title"), .as_server = 1};
    assert_int_equal(rig_do(rig, &msg_cmd_info_desc, &info).rc, RC_OK);
    info.as_server = 0;
    assert_int_equal(rig_do(rig, &msg_cmd_info_desc, &info).rc, RC_BAD_REQUEST);
}

/* Of a direct conversation the operator may say how long it is kept, and nothing else. */
static void a_direct_conversation_may_have_retention(void **state)
{
    struct rig *rig = *state;
    struct msg_cmd_create c = {
        .conv = rig_direct("alice", "bob"),
        .user = slice_string("alice"),
        .kind = CONV_DIRECT,
        .retain_count = 1,
    };
    struct buf *names = rig_names("bob");
    c.members = buf_slice(names);
    assert_int_equal(rig_do(rig, &msg_cmd_create_desc, &c).rc, RC_BAD_REQUEST);
    c.retain_count = 0;
    assert_int_equal(rig_do(rig, &msg_cmd_create_desc, &c).rc, RC_OK);
    buf_unref(&names);
    struct msg_cmd_info info = {.conv = c.conv, .retain_ms = 1000, .as_server = 1};
    assert_int_equal(rig_do(rig, &msg_cmd_info_desc, &info).rc, RC_OK);
    info.history = HISTORY_JOINED;
    assert_int_equal(rig_do(rig, &msg_cmd_info_desc, &info).rc, RC_FORBIDDEN);
}

/* The operator speaks of conversations, never in them, and makes no direct ones. */
static void the_operator_sends_nothing(void **state)
{
    struct rig *rig = *state;
    struct msg_cmd_create c = {
        .conv = slice_string("c"),
        .kind = CONV_GROUP,
        .body = slice_string("1"),
        .as_server = 1,
    };
    assert_int_equal(rig_do(rig, &msg_cmd_create_desc, &c).rc, RC_BAD_REQUEST);
    struct buf *names = rig_names("bob");
    c.body = (struct slice){0};
    c.kind = CONV_DIRECT;
    c.conv = rig_direct("alice", "bob");
    c.members = buf_slice(names);
    assert_int_equal(rig_do(rig, &msg_cmd_create_desc, &c).rc, RC_BAD_REQUEST);
    buf_unref(&names);
}

/* The operator reads everything of everyone, and has read nothing. */
static void the_operator_reads_everything(void **state)
{
    struct rig *rig = *state;
    struct msg_summary_item item;
    struct msg_members request = {.conv = slice_string("c"), .limit = 10};
    struct msg_members_page answer;
    begin(rig);
    rig_told(rig, "c");
    rig_trim(rig, "c", 1);
    assert_int_equal(fetch_as(rig, "c", NULL), RC_OK);
    assert_true(rig_item(rig, "c", NULL, &item));
    assert_int_equal(item.unread, 0);
    assert_int_equal(item.members, 3);
    assert_non_null(item.last.base);
    buf_clear(rig->into);
    assert_int_equal(machine_members(rig->machine, &request, &answer, rig->into), RC_OK);
    assert_int_equal(answer.rc, RC_OK);
    assert_int_equal(answer.total, 3);
    request.conv = slice_string("no");
    assert_int_equal(machine_members(rig->machine, &request, &answer, rig->into), RC_OK);
    assert_int_equal(answer.rc, RC_NOT_FOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)
        TEST(the_operator_makes_a_group_without_an_owner),
        TEST(a_group_may_begin_empty),
        TEST(the_operator_changes_members_without_a_role),
        TEST(a_direct_conversation_may_have_retention),
        TEST(the_operator_sends_nothing),
        TEST(the_operator_reads_everything),
#undef TEST
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
