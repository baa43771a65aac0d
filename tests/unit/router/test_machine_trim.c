/* machine: what newcomers see, and what retention removes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "mesh/base/limits.h"
#include "tests/support/machine_rig.h"

#define FIRST 3u /* Two members came before the first message. */

/* "c" of alice and bob, with `count` messages a second apart. */
static void begin(struct rig *rig, uint32_t count)
{
    rig_create(rig, "c", "alice", "bob");
    rig_told(rig, "c");
    for (uint32_t i = 0; i < count; i++) {
        rig->ts += 1000;
        rig_send(rig, "c", "alice", NULL, "\"text\"");
    }
}

static struct rig_result set_rules(struct rig *rig, const char *user, uint64_t history,
                                   uint64_t retain_ms, uint64_t retain_count)
{
    struct msg_cmd_info c = {
        .conv = slice_string("c"),
        .user = slice_string(user),
        .history = history,
        .retain_ms = retain_ms,
        .retain_count = retain_count,
    };
    return rig_do(rig, &msg_cmd_info_desc, &c);
}

static struct msg_watched watch(struct rig *rig, const char *user, uint64_t from,
                                uint32_t resume_count_max)
{
    struct msg_watch request = {
        .conv = slice_string("c"),
        .user = slice_string(user),
        .from_known = 1,
        .from = from,
    };
    struct msg_watched answer;
    buf_clear(rig->into);
    assert_int_equal(machine_watch(rig->machine, &request, resume_count_max, &answer, rig->into),
                     RC_OK);
    return answer;
}

static struct msg_fetched fetch(struct rig *rig, uint64_t after, uint64_t before)
{
    struct msg_fetch request = {
        .conv = slice_string("c"),
        .user = slice_string("bob"),
        .after = after,
        .before = before,
        .limit = 100,
    };
    struct msg_fetched answer;
    buf_clear(rig->into);
    assert_int_equal(machine_fetch(rig->machine, &request, &answer), RC_OK);
    assert_int_equal(answer.rc, RC_OK);
    return answer;
}

/* The seqs are first, first + 1, ...; returns how many. */
static uint64_t count_from(struct slice entries, uint64_t first)
{
    struct record_reader r = record_reader_of(entries);
    uint64_t count = 0;
    while (!record_reader_at_end(&r)) {
        struct msg_entry entry;
        assert_int_equal(record_decode(&r, &msg_entry_desc, &entry), RC_OK);
        assert_int_equal(entry.seq, first + count++);
    }
    return count;
}

static uint64_t unread(struct rig *rig, const char *user)
{
    struct msg_summary_item item;
    assert_true(rig_item(rig, "c", user, &item));
    return item.unread;
}

/* ---- What newcomers see ---- */

/* Without a word about it a newcomer sees all there is. */
static void newcomers_see_everything_at_first(void **state)
{
    struct rig *rig = *state;
    struct msg_entry entry;
    struct msg_marks marks;
    begin(rig, 2);
    rig_member(rig, "c", "alice", MEMBER_ADD, "carol", 0);
    assert_true(rig_entry(rig, "c", "carol", 1, &entry, &marks));
    assert_int_equal(unread(rig, "carol"), 2);
}

/* Where history begins with joining, it does for everyone who comes from then on; nothing that he
 * cannot see is unread, or last, to him. */
static void newcomers_see_what_follows_their_coming(void **state)
{
    struct rig *rig = *state;
    struct msg_entry entry;
    struct msg_marks marks;
    struct msg_summary_item item;
    begin(rig, 2);
    assert_int_equal(set_rules(rig, "alice", HISTORY_JOINED, 0, 0).rc, RC_OK);
    uint64_t joined = rig_member(rig, "c", "alice", MEMBER_ADD, "carol", 0).seq;
    assert_false(rig_entry(rig, "c", "carol", joined - 1, &entry, &marks));
    assert_true(rig_entry(rig, "c", "carol", joined, &entry, &marks));
    assert_true(rig_entry(rig, "c", "bob", 1, &entry, &marks));
    assert_true(rig_item(rig, "c", "carol", &item));
    assert_int_equal(item.unread, 0);
    assert_null(item.last.base);
    struct msg_watched answer = watch(rig, "carol", 0, 100);
    assert_int_equal(answer.from, joined - 1);
    assert_int_equal(answer.gap_from, 0);
    assert_int_equal(answer.messages - answer.read_messages, 0);
    rig_send(rig, "c", "alice", NULL, "1");
    assert_int_equal(unread(rig, "carol"), 1);
    assert_int_equal(unread(rig, "bob"), 3);
}

/* Who is there from the creation on sees all of it, in what order ever he was named. */
static void the_first_members_see_everything(void **state)
{
    struct rig *rig = *state;
    struct msg_entry entry;
    struct msg_marks marks;
    struct buf *names = rig_names("bob carol");
    struct msg_cmd_create c = {
        .conv = slice_string("c"),
        .user = slice_string("alice"),
        .kind = CONV_GROUP,
        .members = buf_slice(names),
        .history = HISTORY_JOINED,
    };
    assert_int_equal(rig_do(rig, &msg_cmd_create_desc, &c).rc, RC_OK);
    buf_unref(&names);
    assert_true(rig_entry(rig, "c", "carol", 1, &entry, &marks));
    rig_send(rig, "c", "alice", NULL, "1");
    rig_member(rig, "c", "alice", MEMBER_ADD, "dave", 0);
    assert_false(rig_entry(rig, "c", "dave", 1, &entry, &marks));
}

/* The rules are for admins, and not of every kind. */
static void rules_take_an_admin_and_a_meaning(void **state)
{
    struct rig *rig = *state;
    begin(rig, 1);
    assert_int_equal(set_rules(rig, "bob", HISTORY_JOINED, 0, 0).rc, RC_FORBIDDEN);
    assert_int_equal(set_rules(rig, "bob", 0, 1000, 0).rc, RC_FORBIDDEN);
    assert_int_equal(set_rules(rig, "alice", 3, 0, 0).rc, RC_BAD_REQUEST);
    assert_int_equal(set_rules(rig, "alice", 0, 0, 0).rc, RC_BAD_REQUEST);
    uint32_t entries = rig->entries;
    struct rig_result result = set_rules(rig, "alice", 0, 1000, 0);
    assert_int_equal(result.rc, RC_OK);
    assert_int_equal(result.seq, 0);
    assert_int_equal(rig->entries, entries);
}

/* ---- Trimming ---- */

/* What was trimmed is gone from the store, and nothing else is. */
static void trimmed_entries_are_gone(void **state)
{
    struct rig *rig = *state;
    struct msg_entry entry;
    struct msg_marks marks;
    begin(rig, 10);
    rig_change(rig, "c", "bob", ENTRY_REACTION, FIRST, "+1", true);
    rig_change(rig, "c", "bob", ENTRY_REACTION, FIRST + 9, "+1", true);
    rig_create(rig, "d", "alice", "bob");
    uint32_t rows = rig_rows(rig, KEYSPACE_ENTRY);
    struct rig_result result = rig_trim(rig, "c", FIRST + 4);
    assert_int_equal(result.rc, RC_OK);
    assert_int_equal(result.seq, FIRST + 4);
    assert_int_equal(rig_rows(rig, KEYSPACE_ENTRY), rows - FIRST - 4);
    assert_int_equal(rig_rows(rig, KEYSPACE_REACTION), 1);
    assert_false(rig_entry(rig, "c", "bob", FIRST + 4, &entry, &marks));
    assert_true(rig_entry(rig, "c", "bob", FIRST + 5, &entry, &marks));
    assert_int_equal(rig_trim(rig, "c", FIRST).seq, FIRST + 4);
    assert_int_equal(rig_trim(rig, "no", 1).rc, RC_NOT_FOUND);
    assert_int_equal(rig_change(rig, "c", "alice", ENTRY_EDIT, FIRST, "1", false).rc, RC_NOT_FOUND);
}

/* Pages begin behind what is trimmed, in both directions, and say so. */
static void history_begins_behind_what_is_trimmed(void **state)
{
    struct rig *rig = *state;
    begin(rig, 10);
    rig_trim(rig, "c", FIRST + 4);
    struct msg_fetched answer = fetch(rig, 0, 0);
    assert_int_equal(count_from(answer.entries, FIRST + 5), 5);
    assert_int_equal(answer.trimmed, FIRST + 4);
    assert_int_equal(answer.more, 0);
    answer = fetch(rig, 0, FIRST + 7);
    assert_int_equal(count_from(answer.entries, FIRST + 5), 2);
    assert_int_equal(answer.more, 0);
    answer = fetch(rig, 0, FIRST + 2);
    assert_int_equal(count_from(answer.entries, 0), 0);
    assert_int_equal(answer.more, 0);
}

/* A device that missed what is trimmed hears of a gap, then gets the rest. */
static void who_missed_trimmed_entries_is_told_of_a_gap(void **state)
{
    struct rig *rig = *state;
    begin(rig, 10);
    rig_trim(rig, "c", FIRST + 4);
    struct msg_watched answer = watch(rig, "bob", FIRST, 100);
    assert_int_equal(answer.gap_from, FIRST + 1);
    assert_int_equal(answer.gap_to, FIRST + 4);
    assert_int_equal(answer.trimmed, 1);
    assert_int_equal(answer.trimmed_to, FIRST + 4);
    assert_int_equal(answer.from, FIRST + 4);
    assert_int_equal(answer.missed, 9);
    assert_int_equal(count_from(answer.entries, FIRST + 5), 5);
    answer = watch(rig, "bob", FIRST + 4, 100);
    assert_int_equal(answer.gap_from, 0);
    assert_int_equal(answer.trimmed, 0);
}

/* Where more is missed than is sent, the gap goes on behind what is trimmed: that part can be had.
 */
static void a_gap_may_be_trimmed_in_its_first_part(void **state)
{
    struct rig *rig = *state;
    begin(rig, 10);
    rig_trim(rig, "c", FIRST + 4);
    struct msg_watched answer = watch(rig, "bob", 0, 2);
    assert_int_equal(answer.gap_from, 1);
    assert_int_equal(answer.gap_to, FIRST + 7);
    assert_int_equal(answer.trimmed, 0);
    assert_int_equal(answer.trimmed_to, FIRST + 4);
    assert_int_equal(count_from(answer.entries, FIRST + 8), 2);
}

/* All may go; then there is nothing to read and nothing unread, and the log goes on. */
static void a_log_may_be_trimmed_to_its_end(void **state)
{
    struct rig *rig = *state;
    struct msg_summary_item item;
    begin(rig, 4);
    assert_int_equal(rig_trim(rig, "c", UINT64_MAX).seq, FIRST + 3);
    rig_reopen(rig);
    assert_true(rig_item(rig, "c", "bob", &item));
    assert_int_equal(item.unread, 0);
    assert_null(item.last.base);
    struct msg_watched answer = watch(rig, "bob", 0, 100);
    assert_int_equal(answer.from, FIRST + 3);
    assert_int_equal(answer.trimmed, 1);
    assert_int_equal(answer.messages, answer.read_messages);
    assert_int_equal(fetch(rig, 0, 0).entries.size, 0);
    assert_int_equal(rig_send(rig, "c", "alice", NULL, "1").seq, FIRST + 4);
    assert_int_equal(unread(rig, "bob"), 1);
}

/* Unread is what is there and not read, wherever the cursor stood when the rest went. */
static void unread_counts_what_is_left(void **state)
{
    struct rig *rig = *state;
    begin(rig, 10);
    rig_cursor(rig, "c", "bob", "d", 0, FIRST + 1);
    assert_int_equal(unread(rig, "bob"), 8);
    rig_trim(rig, "c", FIRST + 4);
    assert_int_equal(unread(rig, "bob"), 5);
    rig_cursor(rig, "c", "bob", "d", 0, FIRST + 3); /* Within what is trimmed. */
    assert_int_equal(unread(rig, "bob"), 5);
    rig_change(rig, "c", "alice", ENTRY_EDIT, FIRST + 9, "1", false); /* So that it is counted. */
    rig_cursor(rig, "c", "bob", "d", 0, FIRST + 6);
    assert_int_equal(unread(rig, "bob"), 3);
    struct msg_watched answer = watch(rig, "bob", 0, 100);
    assert_int_equal(answer.messages - answer.read_messages, 3);
}

/* Trimming and reading in one turn, before anything is written. */
static void entries_are_trimmed_in_the_turn_they_are_made(void **state)
{
    struct rig *rig = *state;
    begin(rig, 1);
    struct msg_cmd_send send = {
        .conv = slice_string("c"), .user = slice_string("alice"), .body = slice_string("1")};
    struct msg_cmd_trim trim = {.conv = slice_string("c"), .upto = FIRST + 1};
    struct msg_cmd_cursor cursor = {
        .conv = slice_string("c"), .user = slice_string("bob"), .read = FIRST};
    struct msg_cmd_change change = {
        .conv = slice_string("c"),
        .user = slice_string("alice"),
        .type = ENTRY_DELETE,
        .target = FIRST + 1,
    };
    rig_add(rig, &msg_cmd_send_desc, &send);
    rig_add(rig, &msg_cmd_send_desc, &send);
    rig_add(rig, &msg_cmd_trim_desc, &trim);
    rig_add(rig, &msg_cmd_cursor_desc, &cursor);
    rig_add(rig, &msg_cmd_change_desc, &change);
    rig_apply(rig);
    rig_write(rig);
    assert_int_equal(rig->results[2].seq, FIRST + 1);
    assert_int_equal(rig->results[3].rc, RC_OK);
    assert_int_equal(rig->results[4].rc, RC_NOT_FOUND);
    assert_int_equal(rig_rows(rig, KEYSPACE_ENTRY), 1);
    assert_int_equal(unread(rig, "bob"), 1);
}

/* An entry that a user's list has yet to be told stays. */
static void what_is_owed_is_not_trimmed(void **state)
{
    struct rig *rig = *state;
    begin(rig, 3);
    uint64_t added = rig_member(rig, "c", "alice", MEMBER_ADD, "carol", 0).seq;
    assert_int_equal(rig_trim(rig, "c", UINT64_MAX).seq, added - 1);
    rig_told(rig, "c");
    assert_int_equal(rig_trim(rig, "c", UINT64_MAX).seq, added);
}

/* ---- What the leader finds ---- */

struct found {
    uint32_t count;
    char conv[8];
    uint64_t upto;
};

static void on_excess(void *context, struct slice conv, uint64_t upto)
{
    struct found *found = context;
    found->count++;
    memcpy(found->conv, conv.base, conv.size);
    found->conv[conv.size] = 0;
    found->upto = upto;
}

/* A whole walk, in steps of `limit`. */
static struct found walk(struct rig *rig, uint64_t now_ms, uint32_t limit)
{
    struct found found = {0};
    struct buf *after = buf_new(16);
    do {
        uint32_t left = limit;
        assert_int_equal(machine_retained(rig->machine, after, &left, now_ms, on_excess, &found),
                         RC_OK);
        assert_true(left < limit);
    } while (after->size > 0);
    buf_unref(&after);
    return found;
}

/* By age: everything from before now less the time, and never more. */
static void entries_go_by_age(void **state)
{
    struct rig *rig = *state;
    begin(rig, 10); /* The nth message at n seconds. */
    uint64_t start = rig->ts - 10000;
    assert_int_equal(walk(rig, rig->ts, 10).count, 0);
    set_rules(rig, "alice", 0, 5000, 0);
    assert_int_equal(walk(rig, start, 10).count, 0);
    assert_int_equal(walk(rig, start + 5000, 10).count, 0);
    assert_int_equal(walk(rig, start + 5001, 10).upto, FIRST - 1);
    for (uint64_t n = 1; n <= 10; n++) {
        assert_int_equal(walk(rig, start + 5001 + n * 1000, 10).upto, FIRST - 1 + n);
        assert_int_equal(walk(rig, start + 6000 + n * 1000, 10).upto, FIRST - 1 + n);
    }
    rig_trim(rig, "c", FIRST + 5);
    assert_int_equal(walk(rig, start + 11000, 10).count, 0);
    assert_int_equal(walk(rig, start + 12001, 10).upto, FIRST + 6);
    assert_int_equal(walk(rig, start + 99000, 10).upto, FIRST + 9);
    set_rules(rig, "alice", 0, RETAIN_FOREVER, 0);
    assert_int_equal(walk(rig, start + 99000, 10).count, 0);
    assert_int_equal(rig_rows(rig, KEYSPACE_RETAIN), 0);
}

/* By count: all but the newest so many; of both rules the stricter one counts. */
static void entries_go_by_count(void **state)
{
    struct rig *rig = *state;
    begin(rig, 10);
    set_rules(rig, "alice", 0, 0, 4);
    assert_int_equal(walk(rig, rig->ts, 10).upto, FIRST + 5);
    set_rules(rig, "alice", 0, 2000, 0);
    assert_int_equal(walk(rig, rig->ts, 10).upto, FIRST + 6);
    set_rules(rig, "alice", 0, 9000, 0);
    assert_int_equal(walk(rig, rig->ts, 10).upto, FIRST + 5);
    rig_trim(rig, "c", FIRST + 5);
    assert_int_equal(walk(rig, rig->ts, 10).count, 0);
    set_rules(rig, "alice", 0, 0, 100);
    assert_int_equal(walk(rig, rig->ts, 10).count, 0);
}

/* The walk meets every conversation that has a rule, however small its steps, and no other. */
static void only_conversations_with_retention_are_looked_at(void **state)
{
    struct rig *rig = *state;
    static const char *const ids[] = {"a", "b", "c", "d", "e"};
    for (uint64_t i = 0; i < 5; i++) {
        struct msg_cmd_create c = {
            .conv = slice_string(ids[i]),
            .user = slice_string("alice"),
            .kind = CONV_GROUP,
            .title = slice_string("title"),
            .retain_count = i % 2 == 0 ? 1 : 0,
        };
        assert_int_equal(rig_do(rig, &msg_cmd_create_desc, &c).rc, RC_OK);
        rig_told(rig, ids[i]);
    }
    rig_reopen(rig);
    for (uint32_t limit = 1; limit < 6; limit++)
        assert_int_equal(walk(rig, rig->ts, limit).count, 3);
    assert_int_equal(rig_rows(rig, KEYSPACE_RETAIN), 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)
        TEST(newcomers_see_everything_at_first),
        TEST(newcomers_see_what_follows_their_coming),
        TEST(the_first_members_see_everything),
        TEST(rules_take_an_admin_and_a_meaning),
        TEST(trimmed_entries_are_gone),
        TEST(history_begins_behind_what_is_trimmed),
        TEST(who_missed_trimmed_entries_is_told_of_a_gap),
        TEST(a_gap_may_be_trimmed_in_its_first_part),
        TEST(a_log_may_be_trimmed_to_its_end),
        TEST(unread_counts_what_is_left),
        TEST(entries_are_trimmed_in_the_turn_they_are_made),
        TEST(what_is_owed_is_not_trimmed),
        TEST(entries_go_by_age),
        TEST(entries_go_by_count),
        TEST(only_conversations_with_retention_are_looked_at),
#undef TEST
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
