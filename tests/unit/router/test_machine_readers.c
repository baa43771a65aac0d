/* machine: cursors, how far the newest message came, who has read what, and when users were seen.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "mesh/base/limits.h"
#include "mesh/base/mem.h"
#include "tests/support/machine_rig.h"

#define FIRST 5u /* Four members came before the first message. */

/* alice owns "c"; bob, carol and dave are in it; alice said something. */
static void begin(struct rig *rig)
{
    rig_create(rig, "c", "alice", "bob carol dave");
    assert_int_equal(rig_send(rig, "c", "alice", "1", "\"hello\"").seq, FIRST);
}

static void assert_tally(struct rig *rig, uint64_t seq, uint64_t delivered, uint64_t read,
                         uint64_t total)
{
    struct msg_event_tally tally;
    assert_int_equal(machine_tally(rig->machine, slice_string("c"), &tally), RC_OK);
    assert_true(slice_equals(tally.conv, "c"));
    assert_int_equal(tally.seq, seq);
    assert_int_equal(tally.delivered, delivered);
    assert_int_equal(tally.read, read);
    assert_int_equal(tally.total, total);
}

static void list_readers(struct slice readers, char *text, size_t size)
{
    struct record_reader r = record_reader_of(readers);
    struct msg_reader reader;
    text[0] = 0;
    while (!record_reader_at_end(&r) && record_decode(&r, &msg_reader_desc, &reader) == RC_OK) {
        size_t used = strlen(text);
        snprintf(text + used, size - used, "%s%.*s", used > 0 ? " " : "", SLICE_ARGS(reader.user));
    }
}

/* user NULL: the operator. */
static void ask(struct rig *rig, const char *user, uint64_t seq, struct msg_readers_page *page)
{
    const struct msg_readers request = {
        .conv = slice_string("c"),
        .user = rig_text(user),
        .seq = seq,
    };
    buf_clear(rig->into);
    assert_int_equal(machine_readers(rig->machine, &request, page, rig->into), RC_OK);
}

static void assert_readers(struct rig *rig, uint64_t seq, const char *delivered, const char *read,
                           uint64_t total)
{
    struct msg_readers_page page;
    char text[256];
    ask(rig, "bob", seq, &page);
    assert_int_equal(page.rc, RC_OK);
    list_readers(page.delivered, text, sizeof(text));
    assert_string_equal(text, delivered);
    list_readers(page.read, text, sizeof(text));
    assert_string_equal(text, read);
    assert_int_equal(page.total, total);
    assert_int_equal(page.more, 0);
}

static void assert_refused(struct rig *rig, const char *user, uint64_t seq, enum rc rc)
{
    struct msg_readers_page page;
    ask(rig, user, seq, &page);
    assert_int_equal(page.rc, rc);
    assert_int_equal(page.delivered.size, 0);
    assert_int_equal(page.read.size, 0);
}

/* ---- The two numbers of the newest message ---- */

/* Each member counts once when his cursor crosses the newest message; its sender never does. */
static void a_cursor_that_crosses_the_newest_message_counts_once(void **state)
{
    struct rig *rig = *state;
    begin(rig);
    assert_tally(rig, FIRST, 0, 0, 3);
    rig_cursor(rig, "c", "bob", "phone", FIRST - 1, 0);
    assert_tally(rig, FIRST, 0, 0, 3);
    rig_cursor(rig, "c", "bob", "phone", FIRST, 0);
    rig_cursor(rig, "c", "bob", "tablet", FIRST, 0);
    assert_tally(rig, FIRST, 1, 0, 3);
    rig_cursor(rig, "c", "carol", NULL, 0, FIRST);
    assert_tally(rig, FIRST, 2, 1, 3);
    rig_cursor(rig, "c", "bob", NULL, 0, FIRST);
    rig_cursor(rig, "c", "bob", NULL, 0, FIRST);
    assert_tally(rig, FIRST, 2, 2, 3);
    rig_cursor(rig, "c", "alice", "phone", FIRST, FIRST);
    assert_tally(rig, FIRST, 2, 2, 3);
    rig_reopen(rig);
    assert_tally(rig, FIRST, 2, 2, 3);
}

/* A new message begins at nobody, and its own sender is the one left out. */
static void a_new_message_begins_at_nobody(void **state)
{
    struct rig *rig = *state;
    begin(rig);
    rig_cursor(rig, "c", "bob", NULL, 0, FIRST);
    rig_send(rig, "c", "bob", "1", "\"and you\"");
    assert_tally(rig, FIRST + 1, 0, 0, 3);
    rig_cursor(rig, "c", "bob", NULL, 0, FIRST + 1);
    assert_tally(rig, FIRST + 1, 0, 0, 3);
    rig_cursor(rig, "c", "alice", NULL, 0, FIRST + 1);
    assert_tally(rig, FIRST + 1, 1, 1, 3);
}

/* Entries that are no messages reset nothing: a cursor at or past the message is enough. */
static void other_entries_change_nothing(void **state)
{
    struct rig *rig = *state;
    begin(rig);
    rig_cursor(rig, "c", "bob", NULL, 0, FIRST);
    rig_change(rig, "c", "carol", ENTRY_REACTION, FIRST, "+", true);
    assert_tally(rig, FIRST, 1, 1, 3);
    rig_cursor(rig, "c", "bob", NULL, 0, FIRST + 1);
    rig_cursor(rig, "c", "carol", NULL, FIRST + 1, 0);
    assert_tally(rig, FIRST, 2, 1, 3);
}

/* Within one turn it is the same as in many. */
static void the_packing_does_not_matter(void **state)
{
    struct rig *rig = *state;
    begin(rig);
    const struct msg_cmd_send send = {
        .conv = slice_string("c"),
        .user = slice_string("dave"),
        .body = slice_string("1"),
    };
    struct msg_cmd_cursor cursor = {.conv = slice_string("c"), .read = FIRST + 1};
    rig_add(rig, &msg_cmd_send_desc, &send);
    cursor.user = slice_string("bob");
    rig_add(rig, &msg_cmd_cursor_desc, &cursor);
    cursor.user = slice_string("dave");
    rig_add(rig, &msg_cmd_cursor_desc, &cursor);
    rig_apply(rig);
    rig_write(rig);
    assert_tally(rig, FIRST + 1, 1, 1, 3);
}

/* Who leaves is taken off, and put on again where he comes back with the cursor he had. */
static void who_leaves_is_taken_off(void **state)
{
    struct rig *rig = *state;
    begin(rig);
    rig_cursor(rig, "c", "bob", NULL, 0, FIRST);
    rig_cursor(rig, "c", "carol", NULL, FIRST, 0);
    rig_member(rig, "c", "bob", MEMBER_LEAVE, NULL, 0);
    assert_tally(rig, FIRST, 1, 0, 2);
    rig_cursor(rig, "c", "bob", NULL, 0, FIRST + 1); /* He may read what he was there for. */
    assert_tally(rig, FIRST, 1, 0, 2);
    rig_member(rig, "c", "alice", MEMBER_ADD, "bob", ROLE_MEMBER);
    assert_tally(rig, FIRST, 2, 1, 3);
    rig_member(rig, "c", "alice", MEMBER_REMOVE, "carol dave", 0);
    assert_tally(rig, FIRST, 1, 1, 1);
}

/* Its sender gone, all who are left are counted in the total. */
static void a_sender_who_left_is_not_taken_from_the_total(void **state)
{
    struct rig *rig = *state;
    begin(rig);
    rig_member(rig, "c", "alice", MEMBER_LEAVE, NULL, 0);
    assert_tally(rig, FIRST, 0, 0, 3);
    rig_cursor(rig, "c", "bob", NULL, 0, FIRST);
    assert_tally(rig, FIRST, 1, 1, 3);
}

/* Who joined after the message counts once he has passed it. */
static void who_joined_later_counts_when_past_it(void **state)
{
    struct rig *rig = *state;
    begin(rig);
    rig_member(rig, "c", "alice", MEMBER_ADD, "erin", ROLE_MEMBER);
    assert_tally(rig, FIRST, 0, 0, 4);
    rig_cursor(rig, "c", "erin", NULL, 0, FIRST + 1);
    assert_tally(rig, FIRST, 1, 1, 4);
}

/* A message that was deleted is counted on. */
static void a_deleted_message_is_counted_on(void **state)
{
    struct rig *rig = *state;
    begin(rig);
    rig_cursor(rig, "c", "bob", NULL, 0, FIRST);
    rig_change(rig, "c", "alice", ENTRY_DELETE, FIRST, NULL, false);
    rig_cursor(rig, "c", "carol", NULL, 0, FIRST);
    assert_tally(rig, FIRST, 2, 2, 3);
}

/* Of a message that was trimmed, or where none was ever sent, there is nothing to tell. */
static void without_a_message_there_is_no_tally(void **state)
{
    struct rig *rig = *state;
    struct msg_event_tally tally;
    assert_int_equal(machine_tally(rig->machine, slice_string("none"), &tally), RC_OK);
    assert_int_equal(tally.seq, 0);
    rig_create(rig, "c", "alice", "bob");
    rig_cursor(rig, "c", "bob", NULL, 0, 2);
    assert_tally(rig, 0, 0, 0, 0);
    rig_send(rig, "c", "alice", "1", "1");
    rig_cursor(rig, "c", "bob", NULL, 0, 3);
    rig_member(rig, "c", "alice", MEMBER_ADD, "carol", ROLE_MEMBER);
    rig_told(rig, "c"); /* Nothing keeps them. */
    rig_trim(rig, "c", 3);
    assert_tally(rig, 0, 0, 0, 0);
    rig_cursor(rig, "c", "carol", NULL, 0, 4);
    rig_send(rig, "c", "alice", "2", "2");
    assert_tally(rig, 5, 0, 0, 2);
}

/* A cursor costs the same in a group of many thousands: their cursors move in one turn. */
static void a_cursor_costs_the_same_in_a_large_group(void **state)
{
    struct rig *rig = *state;
    char name[16];
    rig_create(rig, "c", "alice", NULL);
    for (uint32_t i = 0; i < 20; i++) {
        struct buf *names = buf_new(4096);
        for (uint32_t j = 0; j < 1000; j++) {
            snprintf(name, sizeof(name), "u%05u", i * 1000 + j);
            record_put_slice(names, slice_string(name));
        }
        const struct msg_cmd_member c = {
            .conv = slice_string("c"),
            .user = slice_string("alice"),
            .change = MEMBER_ADD,
            .users = buf_slice(names),
        };
        assert_int_equal(rig_do(rig, &msg_cmd_member_desc, &c).rc, RC_OK);
        buf_unref(&names);
    }
    uint64_t seq = rig_send(rig, "c", "alice", "1", "1").seq;
    for (uint32_t i = 0; i < 20000; i++) {
        snprintf(name, sizeof(name), "u%05u", i);
        const struct msg_cmd_cursor c = {
            .conv = slice_string("c"),
            .user = slice_string(name),
            .delivered = seq,
            .read = i % 2 == 0 ? seq : 0,
        };
        rig_add(rig, &msg_cmd_cursor_desc, &c);
        if (i % RIG_RESULTS_MAX == RIG_RESULTS_MAX - 1)
            rig_apply(rig);
    }
    rig_apply(rig);
    rig_write(rig);
    assert_tally(rig, seq, 20000, 10000, 20000);
    struct msg_readers_page page;
    ask(rig, "alice", seq, &page);
    assert_int_equal(page.more, 1);
    assert_int_equal(page.total, 20000);
    uint32_t count = 0;
    struct record_reader r = record_reader_of(page.delivered);
    for (struct msg_reader reader; !record_reader_at_end(&r); count++)
        assert_int_equal(record_decode(&r, &msg_reader_desc, &reader), RC_OK);
    assert_int_equal(count, LIMIT_READERS_MAX - 1); /* alice was looked at, too. */
}

/* ---- Receipts and cursors ---- */

/* A receipt says how many messages its reader has behind him. */
static void a_receipt_counts_the_messages_read(void **state)
{
    struct rig *rig = *state;
    begin(rig);
    rig_send(rig, "c", "alice", "2", "2");
    rig_cursor(rig, "c", "bob", NULL, 0, FIRST);
    assert_int_equal(rig->receipt_read, FIRST);
    assert_int_equal(rig->receipt_messages, 1);
    rig_cursor(rig, "c", "bob", NULL, 0, FIRST + 1);
    assert_int_equal(rig->receipt_messages, 2);
    rig_cursor(rig, "c", "carol", NULL, FIRST + 1, 0);
    assert_int_equal(rig->receipt_read, 0);
    assert_int_equal(rig->receipt_messages, 0);
}

/* ---- Who has read it ---- */

/* Who has it, who has read it; who read it has it. */
static void readers_are_listed_by_name(void **state)
{
    struct rig *rig = *state;
    begin(rig);
    assert_readers(rig, FIRST, "", "", 3);
    rig_cursor(rig, "c", "dave", "phone", FIRST, 0);
    rig_cursor(rig, "c", "bob", NULL, 0, FIRST);
    assert_readers(rig, FIRST, "bob dave", "bob", 3);
    rig_send(rig, "c", "carol", "1", "1");
    assert_readers(rig, FIRST, "bob carol dave", "bob carol", 3);
    assert_readers(rig, FIRST + 1, "", "", 3);
}

/* The times are those of the log when the cursors last moved. */
static void readers_have_their_times(void **state)
{
    struct rig *rig = *state;
    struct msg_readers_page page;
    struct msg_reader reader;
    begin(rig);
    uint64_t ts = rig->ts;
    rig->ts = ts + 1000;
    rig_cursor(rig, "c", "bob", "phone", FIRST, 0);
    rig->ts = ts + 3000;
    rig_cursor(rig, "c", "bob", NULL, 0, FIRST);
    ask(rig, NULL, FIRST, &page);
    struct record_reader r = record_reader_of(page.delivered);
    assert_int_equal(record_decode(&r, &msg_reader_desc, &reader), RC_OK);
    assert_int_equal(reader.ts, ts + 1000);
    r = record_reader_of(page.read);
    assert_int_equal(record_decode(&r, &msg_reader_desc, &reader), RC_OK);
    assert_int_equal(reader.ts, ts + 3000);
}

/* Who joined after the entry is not counted, nor who left since; whoever caused it is not either,
 * and he need not be a member any more. */
static void only_those_it_was_for_are_counted(void **state)
{
    struct rig *rig = *state;
    begin(rig);
    rig_member(rig, "c", "alice", MEMBER_ADD, "erin", ROLE_MEMBER);
    rig_cursor(rig, "c", "erin", NULL, 0, FIRST + 1);
    rig_cursor(rig, "c", "dave", NULL, 0, FIRST + 1);
    assert_readers(rig, FIRST, "dave", "dave", 3);
    assert_readers(rig, FIRST + 1, "dave erin", "dave erin", 4); /* He saw himself join. */
    rig_member(rig, "c", "alice", MEMBER_REMOVE, "dave", 0);
    assert_readers(rig, FIRST, "", "", 2);
    rig_member(rig, "c", "alice", MEMBER_LEAVE, NULL, 0);
    assert_readers(rig, FIRST, "", "", 2);
}

/* The operator may ask, members may, and nobody else; only for what is there. */
static void asking_is_for_members(void **state)
{
    struct rig *rig = *state;
    struct msg_readers_page page;
    assert_refused(rig, "alice", 1, RC_NOT_FOUND);
    begin(rig);
    rig_member(rig, "c", "alice", MEMBER_REMOVE, "dave", 0);
    assert_refused(rig, "dave", FIRST, RC_FORBIDDEN);
    assert_refused(rig, "mallory", FIRST, RC_FORBIDDEN);
    assert_refused(rig, "", FIRST, RC_BAD_REQUEST);
    assert_refused(rig, "alice", 0, RC_NOT_FOUND);
    assert_refused(rig, "alice", FIRST + 2, RC_NOT_FOUND);
    assert_refused(rig, "alice", UINT64_MAX, RC_NOT_FOUND);
    rig_told(rig, "c"); /* Nothing keeps them. */
    rig_trim(rig, "c", 2);
    assert_refused(rig, "alice", 2, RC_NOT_FOUND);
    ask(rig, NULL, FIRST, &page);
    assert_int_equal(page.rc, RC_OK);
    assert_int_equal(page.total, 2);
    rig_drop(rig, "c");
    assert_refused(rig, NULL, FIRST, RC_NOT_FOUND);
}

/* Where newcomers do not see what was before them, they do not learn who read it. */
static void newcomers_ask_only_for_what_they_see(void **state)
{
    struct rig *rig = *state;
    begin(rig);
    const struct msg_cmd_info info = {
        .conv = slice_string("c"),
        .user = slice_string("alice"),
        .history = HISTORY_JOINED,
    };
    assert_int_equal(rig_do(rig, &msg_cmd_info_desc, &info).rc, RC_OK);
    uint64_t seq = rig_member(rig, "c", "alice", MEMBER_ADD, "erin", ROLE_MEMBER).seq;
    struct msg_readers_page page;
    assert_refused(rig, "erin", FIRST, RC_NOT_FOUND);
    ask(rig, "erin", seq, &page);
    assert_int_equal(page.rc, RC_OK);
}

/* ---- Who may look ---- */

/* A member is told the head; others what their place is. */
static void looking_is_for_members(void **state)
{
    struct rig *rig = *state;
    uint64_t rc;
    uint64_t head;
    assert_int_equal(machine_look(rig->machine, slice_string("c"), slice_string("bob"), &rc, &head),
                     RC_OK);
    assert_int_equal(rc, RC_NOT_FOUND);
    begin(rig);
    rig_member(rig, "c", "alice", MEMBER_REMOVE, "dave", 0);
    assert_int_equal(machine_look(rig->machine, slice_string("c"), slice_string("bob"), &rc, &head),
                     RC_OK);
    assert_int_equal(rc, RC_OK);
    assert_int_equal(head, FIRST + 1);
    const char *const others[] = {"dave", "mallory"};
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(
            machine_look(rig->machine, slice_string("c"), slice_string(others[i]), &rc, &head),
            RC_OK);
        assert_int_equal(rc, RC_FORBIDDEN);
        assert_int_equal(head, 0);
    }
    assert_int_equal(machine_look(rig->machine, slice_string("c"), (struct slice){0}, &rc, &head),
                     RC_OK);
    assert_int_equal(rc, RC_BAD_REQUEST);
}

/* ---- When users were last online ---- */

static enum rc see(struct rig *rig, const char *user, uint64_t ts, bool erase)
{
    const struct msg_cmd_seen c = {.user = slice_string(user), .ts = ts, .erase = erase};
    return rig_do(rig, &msg_cmd_seen_desc, &c).rc;
}

static void assert_seen(struct rig *rig, const char *user, uint64_t ts)
{
    uint64_t found;
    assert_int_equal(machine_last_seen(rig->machine, slice_string(user), &found), RC_OK);
    assert_int_equal(found, ts);
}

/* The newest word counts, and survives. */
static void the_time_only_moves_on(void **state)
{
    struct rig *rig = *state;
    assert_seen(rig, "bob", 0);
    assert_int_equal(see(rig, "bob", 2000, false), RC_OK);
    assert_int_equal(see(rig, "bob", 1000, false), RC_OK);
    assert_seen(rig, "bob", 2000);
    assert_seen(rig, "bo", 0);
    rig_reopen(rig);
    assert_seen(rig, "bob", 2000);
}

/* Also within one turn, where the store does not have the first word yet. */
static void the_time_only_moves_on_within_a_turn(void **state)
{
    struct rig *rig = *state;
    const uint64_t times[] = {2000, 1000, 3000, 2500};
    for (uint32_t i = 0; i < 4; i++) {
        const struct msg_cmd_seen c = {.user = slice_string("bob"), .ts = times[i]};
        rig_add(rig, &msg_cmd_seen_desc, &c);
    }
    rig_apply(rig);
    rig_write(rig);
    assert_seen(rig, "bob", 3000);
}

/* What is erased is gone from the store, and a later time is stored again. */
static void who_is_erased_was_never_seen(void **state)
{
    struct rig *rig = *state;
    see(rig, "bob", 2000, false);
    uint64_t digest = machine_digest(rig->machine);
    assert_int_equal(see(rig, "bob", 0, true), RC_OK);
    assert_seen(rig, "bob", 0);
    assert_int_equal(rig_rows(rig, KEYSPACE_USER), 0);
    assert_true(machine_digest(rig->machine) != digest);
    assert_int_equal(see(rig, "bob", 0, true), RC_OK);
    see(rig, "bob", 1000, false);
    assert_seen(rig, "bob", 1000);
}

/* It is a command of the user's shard, with a time in it. */
static void what_is_malformed_is_refused(void **state)
{
    struct rig *rig = *state;
    assert_int_equal(see(rig, "bob", 0, false), RC_BAD_REQUEST);
    assert_int_equal(see(rig, "", 1000, false), RC_BAD_REQUEST);
    enum message_number number;
    struct slice key;
    enum machine_key kind;
    const char *detail = NULL;
    struct buf *command = buf_new(64);
    const struct msg_cmd_seen c = {.user = slice_string("bob"), .ts = 1};
    record_encode(command, &msg_cmd_seen_desc, &c);
    assert_int_equal(machine_check_command(buf_slice(command), &number, &key, &kind, &detail),
                     RC_OK);
    assert_int_equal(number, MSG_CMD_SEEN);
    assert_true(slice_equals(key, "bob"));
    assert_int_equal(kind, MACHINE_KEY_USER);
    buf_unref(&command);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_cursor_that_crosses_the_newest_message_counts_once),
        TEST(a_new_message_begins_at_nobody),
        TEST(other_entries_change_nothing),
        TEST(the_packing_does_not_matter),
        TEST(who_leaves_is_taken_off),
        TEST(a_sender_who_left_is_not_taken_from_the_total),
        TEST(who_joined_later_counts_when_past_it),
        TEST(a_deleted_message_is_counted_on),
        TEST(without_a_message_there_is_no_tally),
        TEST(a_cursor_costs_the_same_in_a_large_group),
        TEST(a_receipt_counts_the_messages_read),
        TEST(readers_are_listed_by_name),
        TEST(readers_have_their_times),
        TEST(only_those_it_was_for_are_counted),
        TEST(asking_is_for_members),
        TEST(newcomers_ask_only_for_what_they_see),
        TEST(looking_is_for_members),
        TEST(the_time_only_moves_on),
        TEST(the_time_only_moves_on_within_a_turn),
        TEST(who_is_erased_was_never_seen),
        TEST(what_is_malformed_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
