/* machine: edits, deletions and reactions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "mesh/base/limits.h"
#include "tests/support/machine_rig.h"

#define FIRST 4u /* Three members came before the first message. */

/* alice owns "c", bob and carol are in it; each of them said something. */
static void begin(struct rig *rig)
{
    rig_create(rig, "c", "alice", "bob carol");
    assert_int_equal(rig_send(rig, "c", "alice", "1", "\"hers\"").seq, FIRST);
    assert_int_equal(rig_send(rig, "c", "bob", "1", "\"his\"").seq, FIRST + 1);
    assert_int_equal(rig_send(rig, "c", "carol", "1", "\"last\"").seq, FIRST + 2);
}

static struct rig_result edit(struct rig *rig, const char *user, uint64_t target, const char *body)
{
    return rig_change(rig, "c", user, ENTRY_EDIT, target, body, false);
}

static struct rig_result delete_it(struct rig *rig, const char *user, uint64_t target)
{
    return rig_change(rig, "c", user, ENTRY_DELETE, target, NULL, false);
}

static struct rig_result react(struct rig *rig, const char *user, uint64_t target,
                               const char *emoji, bool on)
{
    return rig_change(rig, "c", user, ENTRY_REACTION, target, emoji, on);
}

static void add_change(struct rig *rig, const char *user, enum entry_type type, uint64_t target,
                       const char *text, bool on)
{
    struct msg_cmd_change c = {
        .conv = slice_string("c"),
        .user = slice_string(user),
        .type = type,
        .target = target,
        .on = on,
    };
    if (type == ENTRY_EDIT)
        c.body = slice_string(text);
    if (type == ENTRY_REACTION)
        c.emoji = slice_string(text);
    rig_add(rig, &msg_cmd_change_desc, &c);
}

/* How many set this emoji, as everyone reads it. */
static uint64_t reactions(struct rig *rig, uint64_t target, const char *emoji)
{
    struct msg_entry entry;
    struct msg_marks marks;
    assert_true(rig_entry(rig, "c", "carol", target, &entry, &marks));
    struct record_reader r = record_reader_of(marks.reactions);
    while (!record_reader_at_end(&r)) {
        struct msg_reaction_count item;
        assert_int_equal(record_decode(&r, &msg_reaction_count_desc, &item), RC_OK);
        if (slice_equals(item.emoji, emoji))
            return item.count;
    }
    return 0;
}

/* An edit is an entry of its own, and the message has the new text in its old place. */
static void an_edited_message_has_its_new_text(void **state)
{
    struct rig *rig = *state;
    struct msg_entry entry;
    struct msg_marks marks;
    begin(rig);
    rig->ts += 1000;
    struct rig_result result = edit(rig, "alice", FIRST, "\"better\"");
    assert_int_equal(result.rc, RC_OK);
    assert_int_equal(result.seq, FIRST + 3);
    assert_true(rig_entry(rig, "c", "bob", FIRST, &entry, &marks));
    assert_true(slice_equals(entry.body, "\"better\""));
    assert_true(slice_equals(entry.cid, "1"));
    assert_int_equal(entry.type, ENTRY_MESSAGE);
    assert_int_equal(marks.edited, result.seq);
    assert_int_equal(marks.edited_ts, result.ts);
    assert_true(rig_entry(rig, "c", "bob", result.seq, &entry, &marks));
    assert_int_equal(entry.type, ENTRY_EDIT);
    assert_int_equal(entry.target, FIRST);
    assert_true(slice_equals(entry.body, "\"better\""));
    assert_false(rig_holds(rig, "hers"));
}

/* The text before the last is nowhere any more; who resumes over both edits ends with the last. */
static void of_several_edits_only_the_last_has_a_text(void **state)
{
    struct rig *rig = *state;
    struct msg_entry entry;
    struct msg_marks marks;
    begin(rig);
    uint64_t first = edit(rig, "alice", FIRST, "\"second text\"").seq;
    uint64_t second = edit(rig, "alice", FIRST, "\"third text\"").seq;
    assert_true(rig_entry(rig, "c", "bob", first, &entry, &marks));
    assert_null(entry.body.base);
    assert_int_equal(marks.edited, second);
    assert_true(rig_entry(rig, "c", "bob", second, &entry, &marks));
    assert_true(slice_equals(entry.body, "\"third text\""));
    assert_false(rig_holds(rig, "second text"));
}

/* The bodies of a deleted message and of its edits are gone from the store, its place is not. */
static void a_deleted_message_leaves_no_text(void **state)
{
    struct rig *rig = *state;
    struct msg_entry entry;
    struct msg_marks marks;
    begin(rig);
    uint64_t edited = edit(rig, "alice", FIRST, "\"secret\"").seq;
    react(rig, "bob", FIRST, "+1", true);
    struct rig_result result = delete_it(rig, "alice", FIRST);
    assert_int_equal(result.rc, RC_OK);
    assert_true(rig_entry(rig, "c", "bob", FIRST, &entry, &marks));
    assert_null(entry.body.base);
    assert_int_equal(marks.deleted, result.seq);
    assert_int_equal(marks.reactions.size, 0);
    assert_true(rig_entry(rig, "c", "bob", edited, &entry, &marks));
    assert_int_equal(marks.deleted, result.seq);
    assert_false(rig_holds(rig, "secret"));
    assert_false(rig_holds(rig, "hers"));
    assert_int_equal(rig_rows(rig, KEYSPACE_REACTION), 0);
}

/* Whose message it is decides; an owner or admin may delete, not edit, what others wrote. */
static void changes_take_the_sender_or_a_role(void **state)
{
    struct rig *rig = *state;
    begin(rig);
    assert_int_equal(edit(rig, "alice", FIRST + 1, "1").rc, RC_FORBIDDEN);
    assert_int_equal(edit(rig, "bob", FIRST, "1").rc, RC_FORBIDDEN);
    assert_int_equal(delete_it(rig, "bob", FIRST).rc, RC_FORBIDDEN);
    assert_int_equal(delete_it(rig, "bob", FIRST + 1).rc, RC_OK);
    assert_int_equal(delete_it(rig, "alice", FIRST + 2).rc, RC_OK);
    assert_int_equal(react(rig, "mallory", FIRST, "+1", true).rc, RC_FORBIDDEN);
    rig_member(rig, "c", "bob", MEMBER_LEAVE, NULL, 0);
    assert_int_equal(react(rig, "bob", FIRST, "+1", true).rc, RC_FORBIDDEN);
}

/* In a direct conversation nobody deletes what the other one wrote. */
static void of_two_equals_each_deletes_his_own(void **state)
{
    struct rig *rig = *state;
    struct slice id = rig_direct("alice", "bob");
    struct msg_cmd_send send = {
        .conv = id,
        .user = slice_string("alice"),
        .peer = slice_string("bob"),
        .body = slice_string("1"),
    };
    uint64_t seq = rig_do(rig, &msg_cmd_send_desc, &send).seq;
    struct msg_cmd_change change = {
        .conv = id,
        .user = slice_string("bob"),
        .type = ENTRY_DELETE,
        .target = seq,
    };
    assert_int_equal(rig_do(rig, &msg_cmd_change_desc, &change).rc, RC_FORBIDDEN);
    change.user = slice_string("alice");
    assert_int_equal(rig_do(rig, &msg_cmd_change_desc, &change).rc, RC_OK);
}

/* What is no message, or is not there, is not found; what is deleted stays so. */
static void only_messages_that_are_there_change(void **state)
{
    struct rig *rig = *state;
    begin(rig);
    uint64_t change = edit(rig, "alice", FIRST, "1").seq;
    assert_int_equal(edit(rig, "alice", 1, "1").rc, RC_NOT_FOUND);
    assert_int_equal(edit(rig, "alice", 0, "1").rc, RC_NOT_FOUND);
    assert_int_equal(edit(rig, "alice", change, "1").rc, RC_NOT_FOUND);
    assert_int_equal(edit(rig, "alice", change + 1, "1").rc, RC_NOT_FOUND);
    assert_int_equal(edit(rig, "alice", UINT64_MAX, "1").rc, RC_NOT_FOUND);
    assert_int_equal(rig_change(rig, "no", "alice", ENTRY_DELETE, 1, NULL, false).rc, RC_NOT_FOUND);
    assert_int_equal(delete_it(rig, "alice", FIRST).rc, RC_OK);
    assert_int_equal(delete_it(rig, "alice", FIRST).rc, RC_CONFLICT);
    assert_int_equal(edit(rig, "alice", FIRST, "1").rc, RC_CONFLICT);
    assert_int_equal(react(rig, "alice", FIRST, "+1", true).rc, RC_CONFLICT);
}

/* A change that is not well-formed never gets into a log. */
static void malformed_changes_are_refused(void **state)
{
    struct rig *rig = *state;
    char long_emoji[LIMIT_EMOJI_SIZE_MAX + 2] = {0};
    memset(long_emoji, 'x', LIMIT_EMOJI_SIZE_MAX + 1);
    begin(rig);
    assert_int_equal(edit(rig, "alice", FIRST, NULL).rc, RC_BAD_REQUEST);
    assert_int_equal(react(rig, "bob", FIRST, NULL, true).rc, RC_BAD_REQUEST);
    assert_int_equal(react(rig, "bob", FIRST, "", true).rc, RC_BAD_REQUEST);
    assert_int_equal(react(rig, "bob", FIRST, "\n", true).rc, RC_BAD_REQUEST);
    assert_int_equal(react(rig, "bob", FIRST, "\xff", true).rc, RC_BAD_REQUEST);
    assert_int_equal(react(rig, "bob", FIRST, long_emoji, true).rc, RC_BAD_REQUEST);
    long_emoji[LIMIT_EMOJI_SIZE_MAX] = 0;
    assert_int_equal(react(rig, "bob", FIRST, long_emoji, true).rc, RC_OK);
    assert_int_equal(react(rig, NULL, FIRST, "+1", true).rc, RC_BAD_REQUEST);
    assert_int_equal(rig_change(rig, "c", "bob", ENTRY_MEMBER, FIRST, NULL, true).rc,
                     RC_BAD_REQUEST);
    static char large[LIMIT_FRAME_SIZE_MAX + 2];
    memset(large, '1', LIMIT_FRAME_SIZE_MAX + 1);
    assert_int_equal(edit(rig, "alice", FIRST, large).rc, RC_TOO_LARGE);
}

/* Each member sets an emoji once; counts are what was set and not taken back. */
static void reactions_are_counted_by_emoji(void **state)
{
    struct rig *rig = *state;
    begin(rig);
    uint64_t set = react(rig, "bob", FIRST, "+1", true).seq;
    react(rig, "carol", FIRST, "+1", true);
    react(rig, "carol", FIRST, "\xe2\x9d\xa4", true);
    assert_int_equal(reactions(rig, FIRST, "+1"), 2);
    assert_int_equal(reactions(rig, FIRST, "\xe2\x9d\xa4"), 1);
    assert_int_equal(rig_rows(rig, KEYSPACE_REACTION), 3);
    struct rig_result again = react(rig, "bob", FIRST, "+1", true);
    assert_int_equal(again.rc, RC_OK);
    assert_true(again.dup);
    assert_int_equal(again.seq, set);
    assert_int_equal(reactions(rig, FIRST, "+1"), 2);
    assert_false(react(rig, "bob", FIRST, "+1", false).dup);
    assert_int_equal(reactions(rig, FIRST, "+1"), 1);
    uint64_t entries = rig->entries;
    again = react(rig, "bob", FIRST, "+1", false);
    assert_true(again.dup);
    assert_int_equal(rig->entries, entries);
    assert_false(react(rig, "carol", FIRST, "\xe2\x9d\xa4", false).dup);
    assert_int_equal(reactions(rig, FIRST, "\xe2\x9d\xa4"), 0);
    assert_int_equal(rig_rows(rig, KEYSPACE_REACTION), 1);
}

/* A message has so many different reactions and no more; one of those it has is still counted. */
static void different_reactions_are_bounded(void **state)
{
    struct rig *rig = *state;
    char emoji[8];
    begin(rig);
    for (unsigned i = 0; i < LIMIT_REACTIONS_MAX; i++) {
        snprintf(emoji, sizeof(emoji), "e%u", i);
        assert_int_equal(react(rig, "bob", FIRST, emoji, true).rc, RC_OK);
    }
    assert_int_equal(react(rig, "bob", FIRST, "more", true).rc, RC_TOO_LARGE);
    assert_int_equal(react(rig, "carol", FIRST, "e0", true).rc, RC_OK);
    assert_int_equal(reactions(rig, FIRST, "e0"), 2);
    assert_int_equal(react(rig, "bob", FIRST, "e1", false).rc, RC_OK);
    assert_int_equal(react(rig, "bob", FIRST, "more", true).rc, RC_OK);
}

/* An edit keeps the reactions, a reaction keeps the text and the mark of the edit. */
static void edits_and_reactions_do_not_disturb_each_other(void **state)
{
    struct rig *rig = *state;
    struct msg_entry entry;
    struct msg_marks marks;
    begin(rig);
    react(rig, "bob", FIRST, "+1", true);
    uint64_t edited = edit(rig, "alice", FIRST, "\"new\"").seq;
    react(rig, "carol", FIRST, "+1", true);
    assert_int_equal(reactions(rig, FIRST, "+1"), 2);
    assert_true(rig_entry(rig, "c", "bob", FIRST, &entry, &marks));
    assert_true(slice_equals(entry.body, "\"new\""));
    assert_int_equal(marks.edited, edited);
}

/* Everything about one message within one entry of Raft's log, before anything is in the store. */
static void a_message_changes_in_the_turn_in_which_it_is_sent(void **state)
{
    struct rig *rig = *state;
    struct msg_entry entry;
    struct msg_marks marks;
    begin(rig);
    struct msg_cmd_send send = {
        .conv = slice_string("c"),
        .user = slice_string("alice"),
        .body = slice_string("\"young\""),
    };
    uint64_t seq = FIRST + 3;
    rig_add(rig, &msg_cmd_send_desc, &send);
    add_change(rig, "alice", ENTRY_EDIT, seq, "\"older\"", false);
    add_change(rig, "bob", ENTRY_REACTION, seq, "+1", true);
    add_change(rig, "bob", ENTRY_REACTION, seq, "+1", true);
    add_change(rig, "bob", ENTRY_REACTION, seq, "+1", false);
    add_change(rig, "carol", ENTRY_REACTION, seq, "+1", true);
    add_change(rig, "alice", ENTRY_EDIT, seq, "\"oldest\"", false);
    rig_apply(rig);
    rig_write(rig);
    for (uint32_t i = 0; i < 7; i++)
        assert_int_equal(rig->results[i].rc, RC_OK);
    assert_true(rig->results[3].dup);
    assert_int_equal(rig->results[3].seq, rig->results[2].seq);
    rig_reopen(rig);
    assert_int_equal(reactions(rig, seq, "+1"), 1);
    assert_true(rig_entry(rig, "c", "bob", seq, &entry, &marks));
    assert_true(slice_equals(entry.body, "\"oldest\""));
    assert_int_equal(marks.edited, rig->results[6].seq);
    assert_false(rig_holds(rig, "young"));
    assert_false(rig_holds(rig, "\"older\""));
}

/* The list shows the message as it is now; changes are not unread messages. */
static void the_list_shows_the_current_text(void **state)
{
    struct rig *rig = *state;
    struct msg_summary_item item;
    begin(rig);
    edit(rig, "carol", FIRST + 2, "\"corrected\"");
    react(rig, "carol", FIRST, "+1", true);
    assert_true(rig_item(rig, "c", "alice", &item));
    struct record_reader r = record_reader_of(item.last);
    struct msg_entry entry;
    assert_int_equal(record_decode(&r, &msg_entry_desc, &entry), RC_OK);
    assert_int_equal(entry.seq, FIRST + 2);
    assert_true(slice_equals(entry.body, "\"corrected\""));
    assert_int_equal(item.unread, 2);
    assert_int_equal(item.head, FIRST + 4);
}

/* The same cid gives the first answer again, even when the message was deleted since. */
static void a_change_with_a_cid_is_made_once(void **state)
{
    struct rig *rig = *state;
    begin(rig);
    struct msg_cmd_change c = {
        .conv = slice_string("c"),
        .user = slice_string("alice"),
        .type = ENTRY_EDIT,
        .target = FIRST,
        .cid = slice_string("e1"),
        .body = slice_string("\"new\""),
    };
    struct rig_result first = rig_do(rig, &msg_cmd_change_desc, &c);
    delete_it(rig, "alice", FIRST);
    uint64_t entries = rig->entries;
    struct rig_result again = rig_do(rig, &msg_cmd_change_desc, &c);
    assert_int_equal(again.rc, RC_OK);
    assert_true(again.dup);
    assert_int_equal(again.seq, first.seq);
    assert_int_equal(rig->entries, entries);
}

/* The operator may change anything, in nobody's name. */
static void the_operator_changes_anything(void **state)
{
    struct rig *rig = *state;
    struct msg_entry entry;
    struct msg_marks marks;
    begin(rig);
    uint64_t seq = edit(rig, NULL, FIRST, "\"moderated\"").seq;
    assert_int_not_equal(seq, 0);
    assert_true(rig_entry(rig, "c", NULL, seq, &entry, &marks));
    assert_non_null(entry.from.base);
    assert_int_equal(entry.from.size, 0);
    assert_int_equal(delete_it(rig, NULL, FIRST + 1).rc, RC_OK);
}

/* Who sees only what followed his coming cannot touch what was before. */
static void what_one_does_not_see_one_does_not_change(void **state)
{
    struct rig *rig = *state;
    begin(rig);
    struct msg_cmd_info info = {
        .conv = slice_string("c"), .user = slice_string("alice"), .history = HISTORY_JOINED};
    assert_int_equal(rig_do(rig, &msg_cmd_info_desc, &info).rc, RC_OK);
    rig_member(rig, "c", "alice", MEMBER_ADD, "dave", ROLE_ADMIN);
    assert_int_equal(react(rig, "dave", FIRST, "+1", true).rc, RC_NOT_FOUND);
    assert_int_equal(delete_it(rig, "dave", FIRST).rc, RC_NOT_FOUND);
    uint64_t seq = rig_send(rig, "c", "alice", "2", "1").seq;
    assert_int_equal(react(rig, "dave", seq, "+1", true).rc, RC_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)
        TEST(an_edited_message_has_its_new_text),
        TEST(of_several_edits_only_the_last_has_a_text),
        TEST(a_deleted_message_leaves_no_text),
        TEST(changes_take_the_sender_or_a_role),
        TEST(of_two_equals_each_deletes_his_own),
        TEST(only_messages_that_are_there_change),
        TEST(malformed_changes_are_refused),
        TEST(reactions_are_counted_by_emoji),
        TEST(different_reactions_are_bounded),
        TEST(edits_and_reactions_do_not_disturb_each_other),
        TEST(a_message_changes_in_the_turn_in_which_it_is_sent),
        TEST(the_list_shows_the_current_text),
        TEST(a_change_with_a_cid_is_made_once),
        TEST(the_operator_changes_anything),
        TEST(what_one_does_not_see_one_does_not_change),
#undef TEST
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
