/* machine: cursors, resuming, history, summaries. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "mesh/base/limits.h"
#include "mesh/base/metrics.h"
#include "tests/support/machine_rig.h"

/* alice, bob, carol join (1..3); alice sends 4..13. */
static int setup(void **state)
{
    rig_setup(state);
    struct rig *rig = *state;
    rig_create(rig, "c", "alice", "bob carol");
    for (int i = 0; i < 10; i++)
        rig_send(rig, "c", "alice", NULL, "1");
    return 0;
}

/* The entries are first..last, without a hole. */
static void assert_entries(struct slice entries, uint64_t first, uint64_t last)
{
    struct record_reader r = record_reader_of(entries);
    struct msg_entry entry;
    uint64_t next = first;
    while (!record_reader_at_end(&r)) {
        assert_int_equal(record_decode(&r, &msg_entry_desc, &entry), RC_OK);
        assert_int_equal(entry.seq, next++);
    }
    assert_int_equal(next, last + 1);
}

static struct msg_watched watch_from(struct rig *rig, const char *user, uint64_t from)
{
    struct msg_watch request = {
        .conv = slice_string("c"), .user = slice_string(user), .from_known = 1, .from = from};
    struct msg_watched answer;
    buf_clear(rig->into);
    assert_int_equal(machine_watch(rig->machine, &request, LIMIT_RESUME_COUNT, &answer, rig->into),
                     RC_OK);
    return answer;
}

static struct msg_fetched fetch(struct rig *rig, const char *user, uint64_t after, uint64_t before,
                                uint64_t limit)
{
    struct msg_fetch request = {
        .conv = slice_string("c"),
        .user = slice_string(user),
        .after = after,
        .before = before,
        .limit = limit,
    };
    struct msg_fetched answer;
    buf_clear(rig->into);
    assert_int_equal(machine_fetch(rig->machine, &request, &answer), RC_OK);
    return answer;
}

static struct msg_summary_item summary(struct rig *rig, const char *user, struct slice conv)
{
    struct buf *convs = buf_new(0);
    record_put_slice(convs, slice_string("nowhere"));
    record_put_slice(convs, conv);
    struct msg_summary request = {.user = slice_string(user), .convs = buf_slice(convs)};
    struct msg_summaries answer;
    struct msg_summary_item item = {0};
    buf_clear(rig->into);
    assert_int_equal(machine_summary(rig->machine, &request, &answer, rig->into), RC_OK);
    struct record_reader r = record_reader_of(answer.items);
    if (!record_reader_at_end(&r))
        assert_int_equal(record_decode(&r, &msg_summary_item_desc, &item), RC_OK);
    buf_unref(&convs);
    return item;
}

/* The same page for whoever sees the same of it, read once; and anew after anything was applied. */
static void one_read_answers_all_who_ask_for_the_same(void **state)
{
    struct rig *rig = *state;
    struct slice first = fetch(rig, "alice", 2, 0, 5).entries;
    int64_t before = metric_get(pages_shared_total);
    struct slice second = fetch(rig, "bob", 2, 0, 5).entries;
    assert_ptr_equal(second.base, first.base);
    assert_int_equal(metric_get(pages_shared_total), before + 1);
    fetch(rig, "alice", 2, 0, 6);  /* Another limit, */
    fetch(rig, "alice", 3, 0, 6);  /* another place, */
    fetch(rig, "alice", 0, 10, 6); /* another direction */
    fetch(rig, "alice", 2, 0, 6);
    assert_int_equal(metric_get(pages_shared_total), before + 1);
    struct msg_fetched page = fetch(rig, "alice", 2, 0, 6); /* are other pages. */
    assert_int_equal(metric_get(pages_shared_total), before + 2);
    rig_send(rig, "c", "alice", NULL, "1"); /* What is applied ends it, */
    assert_int_equal(page.head + 1, fetch(rig, "alice", 2, 0, 6).head);
    assert_int_equal(metric_get(pages_shared_total), before + 2);
}

/* ---- Cursors ---- */

/* Cursors only grow, stop at the head, and are told only when they moved. */
static void cursors_only_grow(void **state)
{
    struct rig *rig = *state;
    assert_int_equal(rig_cursor(rig, "c", "bob", "phone", 5, 0).rc, RC_OK);
    assert_int_equal(rig->receipts, 1);
    assert_int_equal(rig->receipt_delivered, 5);
    assert_int_equal(rig->receipt_read, 0);
    assert_int_equal(rig->receipt_members, 3);
    rig_cursor(rig, "c", "bob", "phone", 4, 0);
    rig_cursor(rig, "c", "bob", "tablet", 5, 0); /* Another device, not beyond the first. */
    assert_int_equal(rig->receipts, 1);
    rig_cursor(rig, "c", "bob", "phone", 0, 7); /* Reading implies that it arrived. */
    assert_int_equal(rig->receipt_delivered, 7);
    assert_int_equal(rig->receipt_read, 7);
    rig_cursor(rig, "c", "bob", "phone", 1000, UINT64_MAX);
    assert_int_equal(rig->receipt_delivered, 13);
    assert_int_equal(rig->receipt_read, 13);
    assert_int_equal(rig->entries, 13);
    assert_int_equal(rig_cursor(rig, "c", "zoe", "phone", 1, 1).rc, RC_FORBIDDEN);
    assert_int_equal(rig_cursor(rig, "x", "bob", "phone", 1, 1).rc, RC_NOT_FOUND);
}

/* Unread counts messages, not entries, wherever the cursor stands and whenever it was set. */
static void unread_counts_messages(void **state)
{
    struct rig *rig = *state;
    rig_member(rig, "c", "alice", MEMBER_ADD, "dora", 0); /* 14 */
    rig_send(rig, "c", "alice", NULL, "1");               /* 15 */
    for (uint64_t seq = 1; seq <= 15; seq++) {
        rig_cursor(rig, "c", "bob", "phone", 0, seq);
        uint64_t read = seq < 4 ? 0 : seq < 14 ? seq - 3 : seq == 14 ? 10 : 11;
        assert_int_equal(summary(rig, "bob", slice_string("c")).unread, 11 - read);
        if (seq % 4 == 0)
            rig_reopen(rig);
    }
    assert_int_equal(summary(rig, "carol", slice_string("c")).unread, 11);
}

/* The same for entries that are not in the store yet. */
static void unread_counts_within_a_turn(void **state)
{
    struct rig *rig = *state;
    for (uint64_t at = 14; at <= 17; at++) {
        rig_close(rig);
        rig_open(rig);
        rig_create(rig, "c", "alice", "bob carol");
        for (int i = 0; i < 10; i++)
            rig_send(rig, "c", "alice", NULL, "1");
        struct msg_cmd_send send = {
            .conv = slice_string("c"), .user = slice_string("alice"), .body = slice_string("1")};
        struct msg_cmd_info info = {
            .conv = slice_string("c"), .user = slice_string("alice"), .title = slice_string("t")};
        struct msg_cmd_cursor cursor = {
            .conv = slice_string("c"), .user = slice_string("bob"), .read = at};
        rig_add(rig, &msg_cmd_send_desc, &send); /* 14 */
        rig_add(rig, &msg_cmd_info_desc, &info); /* 15 */
        rig_add(rig, &msg_cmd_send_desc, &send); /* 16 */
        rig_add(rig, &msg_cmd_info_desc, &info); /* 17 */
        rig_add(rig, &msg_cmd_cursor_desc, &cursor);
        rig_apply(rig);
        rig_write(rig);
        assert_int_equal(summary(rig, "bob", slice_string("c")).unread, at < 16 ? 1 : 0);
    }
}

/* A sender has read what he answers. */
static void sending_is_reading(void **state)
{
    struct rig *rig = *state;
    rig_send(rig, "c", "bob", NULL, "1");
    struct msg_summary_item item = summary(rig, "bob", slice_string("c"));
    assert_int_equal(item.read, 14);
    assert_int_equal(item.unread, 0);
}

/* ---- Resuming ---- */

/* A client that says what it has gets what follows. */
static void watching_gives_what_was_missed(void **state)
{
    struct rig *rig = *state;
    struct msg_watched w = watch_from(rig, "bob", 5);
    assert_int_equal(w.rc, RC_OK);
    assert_int_equal(w.head, 13);
    assert_int_equal(w.from, 5);
    assert_int_equal(w.missed, 8);
    assert_int_equal(w.gap_from, 0);
    assert_int_equal(w.until, 0);
    assert_int_equal(w.more, 0);
    assert_entries(w.entries, 6, 13);
    w = watch_from(rig, "bob", UINT64_MAX);
    assert_int_equal(w.from, 13);
    assert_int_equal(w.missed, 0);
    assert_entries(w.entries, 14, 13);
}

/* One that does not say is resumed from what its device was delivered. */
static void watching_remembers_the_device(void **state)
{
    struct rig *rig = *state;
    struct msg_watch request = {.conv = slice_string("c"), .user = slice_string("bob")};
    struct msg_watched w;
    rig_cursor(rig, "c", "bob", "phone", 9, 0);
    request.device = slice_string("phone");
    assert_int_equal(machine_watch(rig->machine, &request, 1000, &w, rig->into), RC_OK);
    assert_int_equal(w.from, 9);
    request.device = slice_string("tablet");
    buf_clear(rig->into);
    assert_int_equal(machine_watch(rig->machine, &request, 1000, &w, rig->into), RC_OK);
    assert_int_equal(w.from, 0);
    assert_entries(w.entries, 1, 13);
    request.device = (struct slice){0};
    assert_int_equal(machine_watch(rig->machine, &request, 1000, &w, rig->into), RC_OK);
    assert_int_equal(w.rc, RC_BAD_REQUEST);
}

/* More than the limit missed is announced as a gap, then come the newest. */
static void too_much_missed_is_a_gap(void **state)
{
    struct rig *rig = *state;
    struct msg_watch request = {
        .conv = slice_string("c"), .user = slice_string("bob"), .from_known = 1, .from = 2};
    struct msg_watched w;
    assert_int_equal(machine_watch(rig->machine, &request, 4, &w, rig->into), RC_OK);
    assert_int_equal(w.gap_from, 3);
    assert_int_equal(w.gap_to, 9);
    assert_int_equal(w.from, 9);
    assert_int_equal(w.missed, 11);
    assert_entries(w.entries, 10, 13);
}

/* Who does not look at a large conversation wants no entries of it, only to know where it is. */
static void watching_may_leave_out_the_entries(void **state)
{
    struct rig *rig = *state;
    struct msg_watch request = {
        .conv = slice_string("c"), .user = slice_string("bob"), .from_known = 1, .from = 2};
    struct msg_watched w;
    request.fanout = 1;
    assert_int_equal(machine_watch(rig->machine, &request, 4, &w, rig->into), RC_OK);
    assert_true(w.members > 1);
    assert_int_equal(w.head, 13);
    assert_int_equal(w.from, 2);
    assert_int_equal(w.missed, 11);
    assert_int_equal(w.gap_from, 0);
    assert_int_equal(w.entries.size, 0);
    request.fanout = w.members;
    assert_int_equal(machine_watch(rig->machine, &request, 4, &w, rig->into), RC_OK);
    assert_int_equal(w.gap_to, 9);
    assert_entries(w.entries, 10, 13);
}

/* Strangers see nothing. */
static void strangers_see_nothing(void **state)
{
    struct rig *rig = *state;
    assert_int_equal(watch_from(rig, "zoe", 0).rc, RC_FORBIDDEN);
    assert_int_equal(watch_from(rig, "", 0).rc, RC_BAD_REQUEST);
    assert_int_equal(fetch(rig, "zoe", 0, 0, 10).rc, RC_FORBIDDEN);
    assert_int_equal(summary(rig, "zoe", slice_string("c")).head, 0);
    struct msg_watch request = {.conv = slice_string("x"), .user = slice_string("bob")};
    struct msg_watched w;
    assert_int_equal(machine_watch(rig->machine, &request, 4, &w, rig->into), RC_OK);
    assert_int_equal(w.rc, RC_NOT_FOUND);
    struct msg_members members = {.conv = slice_string("x"), .user = slice_string("bob")};
    struct msg_members_page page;
    assert_int_equal(machine_members(rig->machine, &members, &page, rig->into), RC_OK);
    assert_int_equal(page.rc, RC_NOT_FOUND);
    members.conv = slice_string("c");
    members.user = slice_string("zoe");
    assert_int_equal(machine_members(rig->machine, &members, &page, rig->into), RC_OK);
    assert_int_equal(page.rc, RC_FORBIDDEN);
    members.after = slice_string("");
    assert_int_equal(machine_members(rig->machine, &members, &page, rig->into), RC_OK);
    assert_int_equal(page.rc, RC_BAD_REQUEST);
}

/* Who was removed sees up to the entry that removed him; added again, everything. */
static void the_removed_see_up_to_their_end(void **state)
{
    struct rig *rig = *state;
    rig_member(rig, "c", "alice", MEMBER_REMOVE, "bob", 0); /* 14 */
    rig_send(rig, "c", "alice", NULL, "1");
    struct msg_watched w = watch_from(rig, "bob", 12);
    assert_int_equal(w.rc, RC_OK);
    assert_int_equal(w.head, 14);
    assert_int_equal(w.until, 14);
    assert_entries(w.entries, 13, 14);
    struct msg_fetched f = fetch(rig, "bob", 10, 0, 100);
    assert_int_equal(f.head, 14);
    assert_entries(f.entries, 11, 14);
    assert_entries(fetch(rig, "bob", 0, 100, 2).entries, 13, 14);
    assert_int_equal(summary(rig, "bob", slice_string("c")).head, 0);
    rig_cursor(rig, "c", "bob", "phone", 0, 100);
    assert_int_equal(rig->receipt_read, 14);
    rig_member(rig, "c", "alice", MEMBER_ADD, "bob", 0); /* 16 */
    assert_entries(watch_from(rig, "bob", 0).entries, 1, 16);
}

/* ---- History ---- */

/* Forwards and backwards, the entries ascend and `more` says whether some are left that way. */
static void history_is_paged_both_ways(void **state)
{
    struct rig *rig = *state;
    struct msg_fetched f = fetch(rig, "bob", 3, 0, 4);
    assert_int_equal(f.head, 13);
    assert_int_equal(f.more, 1);
    assert_entries(f.entries, 4, 7);
    f = fetch(rig, "bob", 9, 0, 4);
    assert_int_equal(f.more, 0);
    assert_entries(f.entries, 10, 13);
    f = fetch(rig, "bob", 0, 13, 5);
    assert_int_equal(f.more, 1);
    assert_entries(f.entries, 8, 12);
    f = fetch(rig, "bob", 0, 4, 5);
    assert_int_equal(f.more, 0);
    assert_entries(f.entries, 1, 3);
    f = fetch(rig, "bob", 0, 1, 5);
    assert_int_equal(f.more, 0);
    assert_entries(f.entries, 1, 0);
    f = fetch(rig, "bob", UINT64_MAX, 0, 0);
    assert_int_equal(f.more, 0);
    assert_entries(f.entries, 14, 13);
    f = fetch(rig, "bob", 0, UINT64_MAX, UINT64_MAX);
    assert_entries(f.entries, 1, 13);
}

/* An answer stays under the size limit, but holds one entry however large. */
static void answers_are_bounded_in_bytes(void **state)
{
    struct rig *rig = *state;
    static char large[100001];
    memset(large, '1', sizeof(large) - 1);
    for (int i = 0; i < 6; i++)
        rig_send(rig, "c", "alice", NULL, large);
    struct msg_fetched f = fetch(rig, "bob", 13, 0, 100);
    assert_true(f.entries.size <= LIMIT_FETCH_BYTES_MAX);
    assert_int_equal(f.more, 1);
    assert_entries(f.entries, 14, 15);
    f = fetch(rig, "bob", 0, 20, 100);
    assert_int_equal(f.more, 1);
    assert_entries(f.entries, 18, 19);
    struct msg_watched w = watch_from(rig, "bob", 13);
    assert_int_equal(w.more, 1);
    assert_int_equal(w.missed, 6);
    assert_entries(w.entries, 14, 15);
}

/* ---- Lists ---- */

/* A summary shows the newest message and, of a direct conversation, the other. */
static void a_summary_shows_message_and_peer(void **state)
{
    struct rig *rig = *state;
    struct msg_entry entry;
    rig_member(rig, "c", "alice", MEMBER_ADD, "dora", 0); /* 14 */
    struct msg_summary_item item = summary(rig, "bob", slice_string("c"));
    assert_int_equal(item.kind, CONV_GROUP);
    assert_int_equal(item.head, 14);
    assert_int_equal(item.members, 4);
    assert_null(item.peer.base);
    struct record_reader r = record_reader_of(item.last);
    assert_int_equal(record_decode(&r, &msg_entry_desc, &entry), RC_OK);
    assert_int_equal(entry.seq, 13);
    struct msg_cmd_send c = {
        .conv = rig_direct("alice", "bob"),
        .user = slice_string("alice"),
        .peer = slice_string("bob"),
        .body = slice_string("1"),
    };
    rig_do(rig, &msg_cmd_send_desc, &c);
    assert_true(slice_equals(summary(rig, "alice", c.conv).peer, "bob"));
    assert_true(slice_equals(summary(rig, "bob", c.conv).peer, "alice"));
}

/* By that a list is sorted: a new conversation without a message is not old. */
static void a_summary_tells_when_the_newest_entry_came(void **state)
{
    struct rig *rig = *state;
    rig->ts += 5;
    rig_create(rig, "new", "alice", "bob");
    struct msg_summary_item item = summary(rig, "bob", slice_string("new"));
    assert_int_equal(item.last.size, 0);
    assert_int_equal(item.last_ts, rig->ts);
    assert_int_equal(summary(rig, "bob", slice_string("c")).last_ts, rig->ts - 5);
}

/* Members come in pages by name, without those who left. */
static void members_are_paged_by_name(void **state)
{
    struct rig *rig = *state;
    rig_member(rig, "c", "alice", MEMBER_ADD, "al dora", 0);
    rig_member(rig, "c", "alice", MEMBER_REMOVE, "bob", 0);
    struct msg_members request = {
        .conv = slice_string("c"), .user = slice_string("carol"), .limit = 2};
    struct msg_members_page page;
    struct msg_member member;
    const char *const expected[] = {"al", "alice", "carol", "dora"};
    char after[8];
    for (int i = 0; i < 4; i++) {
        if (i % 2 == 0) {
            buf_clear(rig->into);
            assert_int_equal(machine_members(rig->machine, &request, &page, rig->into), RC_OK);
            assert_int_equal(page.total, 4);
            assert_int_equal(page.more, i == 0);
        }
        struct record_reader r = record_reader_of(page.members);
        for (int skip = 0; skip <= i % 2; skip++)
            assert_int_equal(record_decode(&r, &msg_member_desc, &member), RC_OK);
        assert_true(slice_equals(member.user, expected[i]));
        memcpy(after, member.user.base, member.user.size);
        request.after = slice_of(after, member.user.size);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(cursors_only_grow, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(unread_counts_messages, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(unread_counts_within_a_turn, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(sending_is_reading, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(watching_gives_what_was_missed, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(watching_remembers_the_device, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(too_much_missed_is_a_gap, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(watching_may_leave_out_the_entries, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(strangers_see_nothing, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(the_removed_see_up_to_their_end, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(history_is_paged_both_ways, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(answers_are_bounded_in_bytes, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(a_summary_shows_message_and_peer, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(a_summary_tells_when_the_newest_entry_came, setup,
                                        rig_teardown),
        cmocka_unit_test_setup_teardown(members_are_paged_by_name, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(one_read_answers_all_who_ask_for_the_same, setup,
                                        rig_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
