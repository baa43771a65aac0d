/* machine: who may change whom, and what is owed to the lists of users. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "mesh/base/limits.h"
#include "tests/support/machine_rig.h"

/* alice owns, adam is admin, bob and carol are members; the head is 5. */
static int setup(void **state)
{
    rig_setup(state);
    struct rig *rig = *state;
    rig_create(rig, "c", "alice", "bob adam carol");
    rig_member(rig, "c", "alice", MEMBER_ROLE, "adam", ROLE_ADMIN);
    return 0;
}

/* The role of a current member, 0 for anybody else. */
static uint64_t role_of(struct rig *rig, const char *user)
{
    struct msg_members_page page = {0};
    const char *asker = NULL;
    const char *const names[] = {"alice", "adam", "bob", "carol", "dora"};
    for (size_t i = 0; i < 5 && asker == NULL; i++) {
        struct msg_members request = {
            .conv = slice_string("c"), .user = slice_string(names[i]), .limit = 100};
        buf_clear(rig->into);
        assert_int_equal(machine_members(rig->machine, &request, &page, rig->into), RC_OK);
        if (page.rc == RC_OK)
            asker = names[i];
    }
    struct record_reader r = record_reader_of(page.members);
    struct msg_member member;
    uint64_t role = 0;
    while (!record_reader_at_end(&r)) {
        assert_int_equal(record_decode(&r, &msg_member_desc, &member), RC_OK);
        if (slice_equals(member.user, user))
            role = member.role;
    }
    return role;
}

/* Members are added by admins; who is there already is passed over. */
static void an_admin_adds_members(void **state)
{
    struct rig *rig = *state;
    assert_int_equal(rig_member(rig, "c", "adam", MEMBER_ADD, "dora bob dora eve", 0).seq, 7);
    assert_int_equal(role_of(rig, "dora"), ROLE_MEMBER);
    struct rig_result r = rig_member(rig, "c", "adam", MEMBER_ADD, "dora", 0);
    assert_int_equal(r.rc, RC_OK);
    assert_int_equal(r.seq, 0);
    assert_int_equal(rig_member(rig, "c", "bob", MEMBER_ADD, "f", 0).rc, RC_FORBIDDEN);
    assert_int_equal(rig_member(rig, "c", "zoe", MEMBER_ADD, "f", 0).rc, RC_FORBIDDEN);
    assert_int_equal(rig_member(rig, "x", "adam", MEMBER_ADD, "f", 0).rc, RC_NOT_FOUND);
}

/* Roles are an owner's to give, at joining too. */
static void only_an_owner_adds_an_admin(void **state)
{
    struct rig *rig = *state;
    assert_int_equal(rig_member(rig, "c", "adam", MEMBER_ADD, "dora", ROLE_ADMIN).rc, RC_FORBIDDEN);
    assert_int_equal(rig_member(rig, "c", "alice", MEMBER_ADD, "dora", ROLE_ADMIN).rc, RC_OK);
    assert_int_equal(role_of(rig, "dora"), ROLE_ADMIN);
}

/* Removing is all or nothing: an admin does not remove an owner, nor anybody himself. */
static void removing_is_all_or_nothing(void **state)
{
    struct rig *rig = *state;
    assert_int_equal(rig_member(rig, "c", "adam", MEMBER_REMOVE, "bob alice", 0).rc, RC_FORBIDDEN);
    assert_int_equal(rig_member(rig, "c", "adam", MEMBER_REMOVE, "bob adam", 0).rc, RC_BAD_REQUEST);
    assert_int_equal(rig_member(rig, "c", "bob", MEMBER_REMOVE, "carol", 0).rc, RC_FORBIDDEN);
    assert_int_equal(role_of(rig, "bob"), ROLE_MEMBER);
    assert_int_equal(rig_member(rig, "c", "adam", MEMBER_REMOVE, "bob carol bob", 0).seq, 7);
    assert_int_equal(role_of(rig, "bob"), 0);
    assert_int_equal(rig_member(rig, "c", "adam", MEMBER_REMOVE, "bob", 0).seq, 0);
    assert_int_equal(rig_member(rig, "c", "alice", MEMBER_ROLE, "adam", ROLE_OWNER).rc, RC_OK);
    assert_int_equal(rig_member(rig, "c", "adam", MEMBER_REMOVE, "alice", 0).rc, RC_OK);
}

/* The last owner keeps the group; of two, one may step down. */
static void a_group_keeps_an_owner(void **state)
{
    struct rig *rig = *state;
    assert_int_equal(rig_member(rig, "c", "alice", MEMBER_ROLE, "alice", ROLE_MEMBER).rc,
                     RC_CONFLICT);
    assert_int_equal(rig_member(rig, "c", "adam", MEMBER_ROLE, "bob", ROLE_ADMIN).rc, RC_FORBIDDEN);
    assert_int_equal(rig_member(rig, "c", "alice", MEMBER_ROLE, "dora", ROLE_ADMIN).rc,
                     RC_NOT_FOUND);
    assert_int_equal(rig_member(rig, "c", "alice", MEMBER_ROLE, "adam", ROLE_OWNER).seq, 6);
    assert_int_equal(rig_member(rig, "c", "alice", MEMBER_ROLE, "alice alice adam", ROLE_ADMIN).rc,
                     RC_CONFLICT);
    assert_int_equal(rig_member(rig, "c", "alice", MEMBER_ROLE, "alice alice", ROLE_MEMBER).seq, 7);
    assert_int_equal(role_of(rig, "alice"), ROLE_MEMBER);
    assert_int_equal(rig_member(rig, "c", "adam", MEMBER_ROLE, "alice", ROLE_MEMBER).seq, 0);
}

/* When the last owner leaves, the first admin becomes owner, else the first member, whether he is
 * in memory or only in the store. */
static void the_first_admin_inherits(void **state)
{
    struct rig *rig = *state;
    rig_member(rig, "c", "alice", MEMBER_ADD, "dora", ROLE_ADMIN);
    rig_reopen(rig);
    assert_int_equal(rig_member(rig, "c", "alice", MEMBER_LEAVE, NULL, 0).seq, 8);
    assert_int_equal(role_of(rig, "adam"), ROLE_OWNER);
    assert_int_equal(role_of(rig, "alice"), 0);
    rig_member(rig, "c", "adam", MEMBER_REMOVE, "dora", 0);
    assert_int_equal(rig_member(rig, "c", "adam", MEMBER_LEAVE, NULL, 0).seq, 11);
    assert_int_equal(role_of(rig, "bob"), ROLE_OWNER);
    assert_int_equal(rig_member(rig, "c", "carol", MEMBER_LEAVE, NULL, 0).seq, 12);
    assert_int_equal(rig_member(rig, "c", "bob", MEMBER_LEAVE, NULL, 0).seq, 13);
    assert_int_equal(rig_member(rig, "c", "bob", MEMBER_LEAVE, NULL, 0).rc, RC_FORBIDDEN);
}

/* Who inherits is judged by what happened in the same turn too. */
static void the_heir_is_found_within_a_turn(void **state)
{
    struct rig *rig = *state;
    rig_reopen(rig);
    struct buf *adam = rig_names("adam");
    struct msg_cmd_member c = {
        .conv = slice_string("c"),
        .user = slice_string("alice"),
        .change = MEMBER_REMOVE,
        .users = buf_slice(adam),
    };
    rig_add(rig, &msg_cmd_member_desc, &c);
    c.change = MEMBER_LEAVE;
    rig_add(rig, &msg_cmd_member_desc, &c);
    rig_apply(rig);
    rig_write(rig);
    assert_int_equal(role_of(rig, "bob"), ROLE_OWNER);
    buf_unref(&adam);
}

/* A direct conversation has the members it has. */
static void a_direct_conversation_stays_as_it_is(void **state)
{
    struct rig *rig = *state;
    struct msg_cmd_send c = {
        .conv = rig_direct("alice", "bob"),
        .user = slice_string("alice"),
        .peer = slice_string("bob"),
        .body = slice_string("1"),
    };
    assert_int_equal(rig_do(rig, &msg_cmd_send_desc, &c).rc, RC_OK);
    struct buf *names = rig_names("dora");
    struct msg_cmd_member m = {
        .conv = c.conv, .user = c.user, .users = buf_slice(names), .role = 1};
    for (m.change = MEMBER_ADD; m.change <= MEMBER_LEAVE; m.change++)
        assert_int_equal(rig_do(rig, &msg_cmd_member_desc, &m).rc, RC_FORBIDDEN);
    struct msg_cmd_info info = {.conv = c.conv, .user = c.user, .title = slice_string("t")};
    assert_int_equal(rig_do(rig, &msg_cmd_info_desc, &info).rc, RC_FORBIDDEN);
    buf_unref(&names);
}

/* Title and meta change apart from each other, by admins. */
static void an_admin_changes_title_and_meta(void **state)
{
    struct rig *rig = *state;
    struct msg_cmd_info info = {
        .conv = slice_string("c"), .user = slice_string("bob"), .title = slice_string("t")};
    assert_int_equal(rig_do(rig, &msg_cmd_info_desc, &info).rc, RC_FORBIDDEN);
    info.user = slice_string("adam");
    assert_int_equal(rig_do(rig, &msg_cmd_info_desc, &info).seq, 6);
    info.title = (struct slice){0};
    info.meta = slice_string("{}");
    assert_int_equal(rig_do(rig, &msg_cmd_info_desc, &info).seq, 7);
    info.conv = slice_string("nowhere");
    assert_int_equal(rig_do(rig, &msg_cmd_info_desc, &info).rc, RC_NOT_FOUND);
    info.meta = (struct slice){0};
    assert_int_equal(rig_do(rig, &msg_cmd_info_desc, &info).rc, RC_BAD_REQUEST);
    rig_reopen(rig);
    struct buf *convs = rig_names("c");
    struct msg_summary request = {.user = slice_string("bob"), .convs = buf_slice(convs)};
    struct msg_summaries answer;
    assert_int_equal(machine_summary(rig->machine, &request, &answer, rig->into), RC_OK);
    struct record_reader r = record_reader_of(answer.items);
    struct msg_summary_item item;
    assert_int_equal(record_decode(&r, &msg_summary_item_desc, &item), RC_OK);
    assert_true(slice_equals(item.title, "t"));
    assert_true(slice_equals(item.meta, "{}"));
    buf_unref(&convs);
}

/* ---- The outbox ---- */

struct owed_seen {
    uint32_t count;
    uint64_t seqs[64];
    bool gone[64];
};

static void see(void *context, const struct machine_owed *owed)
{
    struct owed_seen *seen = context;
    assert_true(seen->count < 64);
    assert_true(owed->user.size > 0);
    seen->seqs[seen->count] = owed->seq;
    seen->gone[seen->count++] = owed->gone;
}

static struct owed_seen owed(struct rig *rig, uint32_t limit)
{
    struct owed_seen seen = {0};
    assert_int_equal(machine_owed(rig->machine, limit, see, &seen), RC_OK);
    return seen;
}

static void told(struct rig *rig, const char *conv, uint64_t seq)
{
    struct msg_cmd_told c = {.conv = slice_string(conv), .seq = seq};
    assert_int_equal(rig_do(rig, &msg_cmd_told_desc, &c).rc, RC_OK);
}

static uint32_t owed_to(struct rig *rig, const char *user, bool *ret_is_all)
{
    struct buf *convs = buf_new(64);
    uint32_t count = 0;
    assert_int_equal(machine_owed_to(rig->machine, slice_string(user), convs, ret_is_all), RC_OK);
    struct record_reader r = record_reader_of(buf_slice(convs));
    for (struct slice conv; !record_reader_at_end(&r); count++)
        assert_int_equal(record_get_slice(&r, &conv), RC_OK);
    buf_unref(&convs);
    return count;
}

/* What is owed to one of them; where that is too much to look at, it is said. */
static void what_a_list_is_owed_can_be_asked(void **state)
{
    struct rig *rig = *state;
    bool is_all = false;
    assert_int_equal(owed_to(rig, "alice", &is_all), 1);
    assert_true(is_all);
    assert_int_equal(owed_to(rig, "nobody", &is_all), 0);
    assert_true(is_all);
    rig_create(rig, "d", "alice", "bob");
    assert_int_equal(owed_to(rig, "alice", &is_all), 2);
    rig_told(rig, "c");
    assert_int_equal(owed_to(rig, "alice", &is_all), 1);
    for (unsigned i = 0; i < 1024; i++) {
        char conv[16];
        snprintf(conv, sizeof(conv), "g%u", i);
        rig_create(rig, conv, "carol", "bob");
    }
    assert_int_equal(owed_to(rig, "alice", &is_all), 1);
    assert_true(is_all);
    assert_int_equal(owed_to(rig, "bob", &is_all), 1024);
    assert_false(is_all);
}

/* Joining and going are owed until told, over restarts; roles and messages are not. */
static void member_entries_are_owed_until_told(void **state)
{
    struct rig *rig = *state;
    for (int i = 0; i < 2; i++) {
        struct owed_seen seen = owed(rig, 64);
        assert_int_equal(seen.count, 4);
        for (uint64_t seq = 1; seq <= 4; seq++) {
            assert_int_equal(seen.seqs[seq - 1], seq);
            assert_false(seen.gone[seq - 1]);
        }
        rig_reopen(rig);
        assert_true(machine_owes(rig->machine));
    }
    told(rig, "c", 2);
    assert_int_equal(owed(rig, 64).count, 2);
    assert_int_equal(owed(rig, 64).seqs[0], 3);
    assert_int_equal(owed(rig, 1).count, 1);
    told(rig, "c", 1); /* Old news change nothing. */
    assert_int_equal(owed(rig, 64).count, 2);
    told(rig, "c", 4);
    assert_false(machine_owes(rig->machine));
    assert_int_equal(owed(rig, 64).count, 0);
    rig_reopen(rig);
    assert_false(machine_owes(rig->machine));
    for (int i = 0; i < 5; i++)
        rig_send(rig, "c", "alice", NULL, "1");
    assert_false(machine_owes(rig->machine));
    rig_member(rig, "c", "alice", MEMBER_REMOVE, "bob", 0);
    struct owed_seen seen = owed(rig, 64);
    assert_int_equal(seen.count, 1);
    assert_true(seen.gone[0]);
    told(rig, "nowhere", 5);
}

static const struct kv_ops *next_ops; /* Of the store whose steps are counted. */
static uint32_t next_count;

static bool next_counted(struct kv_iterator *iterator, struct slice *ret_key,
                         struct slice *ret_value)
{
    next_count++;
    return next_ops->next(iterator, ret_key, ret_value);
}

static void note_last(void *context, const struct machine_owed *owed)
{
    uint64_t *last = context;
    last[0] = owed->seq;
    last[1] += owed->user.base != NULL;
}

/* While a user's shard has no leader, what his list is owed stays, and the conversation goes on.
 * Who looks for what is owed looks at some rows a time, and says how far he came. */
static void a_long_log_between_two_owed_entries_is_walked_in_parts(void **state)
{
    struct rig *rig = *state;
    static struct kv_ops counting;
    for (uint32_t i = 0; i < 5000; i++)
        rig_send(rig, "c", "alice", NULL, "1");
    rig_member(rig, "c", "alice", MEMBER_ADD, "zoe", 0);
    next_ops = rig->kv->ops;
    counting = *next_ops;
    counting.next = next_counted;
    rig->kv->ops = &counting;
    uint32_t calls = 0;
    uint32_t found = 0;
    for (; machine_owes(rig->machine); calls++) {
        uint64_t last[2] = {0, 0};
        next_count = 0;
        assert_int_equal(machine_owed(rig->machine, 64, note_last, last), RC_OK);
        assert_in_range(next_count, 1, 1000);
        assert_int_not_equal(last[0], 0); /* Else nobody would ever get on. */
        found += (uint32_t)last[1];
        told(rig, "c", last[0]);
    }
    assert_int_equal(found, 5); /* Four who came at first, and zoe. */
    assert_in_range(calls, 6, 100);
    rig->kv->ops = next_ops;
}

/* With little room each call begins with the conversation that waited longest. */
static void conversations_that_owe_take_turns(void **state)
{
    struct rig *rig = *state;
    rig_create(rig, "second", "zoe", "");
    assert_int_equal(owed(rig, 4).count, 4);
    assert_int_equal(owed(rig, 1).seqs[0], 1);
    told(rig, "c", 4);
    assert_int_equal(owed(rig, 64).count, 1);
}

/* ---- Lists of users ---- */

static uint32_t convs_of(struct rig *rig, const char *user, const char *after, uint64_t limit,
                         bool *ret_more)
{
    struct msg_user_open request = {
        .user = slice_string(user), .after = rig_text(after), .limit = limit};
    struct msg_user_convs answer;
    buf_clear(rig->into);
    assert_int_equal(machine_user_convs(rig->machine, &request, &answer, rig->into, rig->into_left),
                     RC_OK);
    assert_int_equal(answer.rc, RC_OK);
    struct record_reader r = record_reader_of(answer.convs);
    uint32_t count = 0;
    for (struct slice conv; !record_reader_at_end(&r); count++)
        assert_int_equal(record_get_slice(&r, &conv), RC_OK);
    *ret_more = answer.more != 0;
    return count;
}

static void set_index(struct rig *rig, const char *conv, uint64_t seq, bool gone)
{
    struct msg_cmd_index c = {
        .user = slice_string("bob"), .conv = slice_string(conv), .seq = seq, .gone = gone};
    assert_int_equal(rig_do(rig, &msg_cmd_index_desc, &c).rc, RC_OK);
}

/* A list follows the newest member entry; an old `joined` does not bring a row back. */
static void a_list_follows_the_newest_entry(void **state)
{
    struct rig *rig = *state;
    bool more;
    set_index(rig, "c", 2, false);
    assert_int_equal(rig->user_events, 1);
    set_index(rig, "c", 2, false);
    assert_int_equal(rig->user_events, 1);
    assert_int_equal(convs_of(rig, "bob", NULL, 10, &more), 1);
    set_index(rig, "c", 9, true);
    assert_true(rig->user_gone);
    assert_int_equal(convs_of(rig, "bob", NULL, 10, &more), 0);
    set_index(rig, "c", 2, false);
    assert_int_equal(convs_of(rig, "bob", NULL, 10, &more), 0);
    set_index(rig, "c", 12, false);
    assert_int_equal(convs_of(rig, "bob", NULL, 10, &more), 1);
    assert_int_equal(rig->user_events, 3);
}

/* The order of news within a turn counts like any other. */
static void news_within_a_turn_are_seen(void **state)
{
    struct rig *rig = *state;
    bool more;
    struct msg_cmd_index c = {.user = slice_string("bob"), .conv = slice_string("c"), .seq = 9};
    c.gone = 1;
    rig_add(rig, &msg_cmd_index_desc, &c);
    c.seq = 2;
    c.gone = 0;
    rig_add(rig, &msg_cmd_index_desc, &c);
    rig_apply(rig);
    rig_write(rig);
    assert_int_equal(convs_of(rig, "bob", NULL, 10, &more), 0);
}

/* A list is read in pages, in byte order, without those that are gone. */
static void a_list_is_read_in_pages(void **state)
{
    struct rig *rig = *state;
    bool more;
    set_index(rig, "a", 1, false);
    set_index(rig, "b", 1, true);
    set_index(rig, "c", 1, false);
    set_index(rig, "d", 1, false);
    assert_int_equal(convs_of(rig, "bob", NULL, 2, &more), 2);
    assert_true(more);
    assert_int_equal(convs_of(rig, "bob", "c", 2, &more), 1);
    assert_false(more);
    assert_int_equal(convs_of(rig, "bob", NULL, 3, &more), 3);
    assert_false(more);
    struct msg_user_open request = {.user = slice_string(""), .limit = 1};
    struct msg_user_convs answer;
    assert_int_equal(machine_user_convs(rig->machine, &request, &answer, rig->into, rig->into_left),
                     RC_OK);
    assert_int_equal(answer.rc, RC_BAD_REQUEST);
}

/* What he left lately stands apart; both count for the page. */
static void what_was_left_is_listed_apart(void **state)
{
    struct rig *rig = *state;
    struct msg_user_open request = {
        .user = slice_string("bob"), .limit = 2, .past = USER_PAST_APART};
    struct msg_user_convs answer;
    struct slice conv;
    set_index(rig, "a", 1, false);
    set_index(rig, "b", 1, true);
    set_index(rig, "c", 1, false);
    buf_clear(rig->into);
    buf_clear(rig->into_left);
    assert_int_equal(machine_user_convs(rig->machine, &request, &answer, rig->into, rig->into_left),
                     RC_OK);
    assert_int_equal(answer.more, 1);
    struct record_reader r = record_reader_of(answer.convs);
    assert_int_equal(record_get_slice(&r, &conv), RC_OK);
    assert_true(slice_equals(conv, "a") && record_reader_at_end(&r));
    r = record_reader_of(answer.left);
    assert_int_equal(record_get_slice(&r, &conv), RC_OK);
    assert_true(slice_equals(conv, "b") && record_reader_at_end(&r));
    rig->ts += LIMIT_LEFT_MS;
    set_index(rig, "d", 1, false);
    buf_clear(rig->into);
    buf_clear(rig->into_left);
    request.limit = 9;
    assert_int_equal(machine_user_convs(rig->machine, &request, &answer, rig->into, rig->into_left),
                     RC_OK);
    assert_int_equal(answer.left.size, 0);
}

/* Who was removed is given what his device misses up to there, where it ever acknowledged any. */
static void who_left_gets_what_his_device_missed(void **state)
{
    struct rig *rig = *state;
    struct msg_watched answer;
    struct msg_watch request = {.conv = slice_string("new"),
                                .user = slice_string("bob"),
                                .device = slice_string("d"),
                                .past = 1};
    rig_create(rig, "new", "alice", "bob");
    rig_send(rig, "new", "alice", NULL, "1");
    rig_cursor(rig, "new", "bob", "d", 2, 0);
    uint64_t left = rig_member(rig, "new", "alice", MEMBER_REMOVE, "bob", 0).seq;
    buf_clear(rig->into);
    assert_int_equal(machine_watch(rig->machine, &request, 10, &answer, rig->into), RC_OK);
    assert_int_equal(answer.rc, RC_OK);
    assert_int_equal(answer.until, left);
    assert_int_equal(answer.missed, left - 2);
    rig_cursor(rig, "new", "bob", "d", left, 0);
    assert_int_equal(machine_watch(rig->machine, &request, 10, &answer, rig->into), RC_OK);
    assert_int_equal(answer.rc, RC_FORBIDDEN);
    request.device = slice_string("other");
    assert_int_equal(machine_watch(rig->machine, &request, 10, &answer, rig->into), RC_OK);
    assert_int_equal(answer.rc, RC_FORBIDDEN);
}

/* The event of an entry counts members and messages as they are after it. */
static void an_event_counts_what_is_after_it(void **state)
{
    struct rig *rig = *state;
    rig_create(rig, "new", "alice", "bob carol");
    assert_int_equal(rig->entry_members, 3);
    rig_member(rig, "new", "alice", MEMBER_ADD, "dave", 0);
    assert_int_equal(rig->entry_members, 4);
    rig_send(rig, "new", "alice", NULL, "1");
    assert_int_equal(rig->entry_messages, 1);
    rig_member(rig, "new", "alice", MEMBER_REMOVE, "dave", 0);
    assert_int_equal(rig->entry_members, 3);
    rig_member(rig, "new", "bob", MEMBER_LEAVE, NULL, 0);
    assert_int_equal(rig->entry_members, 2);
    struct msg_watch request = {
        .conv = slice_string("new"), .user = slice_string("carol"), .from_known = 1};
    struct msg_watched answer;
    buf_clear(rig->into);
    assert_int_equal(machine_watch(rig->machine, &request, 10, &answer, rig->into), RC_OK);
    assert_int_equal(answer.members, 2);
    assert_int_equal(answer.messages, 1);
    assert_int_equal(answer.read_messages, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_admin_adds_members, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(only_an_owner_adds_an_admin, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(removing_is_all_or_nothing, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(a_group_keeps_an_owner, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(the_first_admin_inherits, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(the_heir_is_found_within_a_turn, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(a_direct_conversation_stays_as_it_is, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(an_admin_changes_title_and_meta, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(what_a_list_is_owed_can_be_asked, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(member_entries_are_owed_until_told, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(a_long_log_between_two_owed_entries_is_walked_in_parts,
                                        setup, rig_teardown),
        cmocka_unit_test_setup_teardown(conversations_that_owe_take_turns, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(a_list_follows_the_newest_entry, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(news_within_a_turn_are_seen, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(a_list_is_read_in_pages, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(what_was_left_is_listed_apart, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(who_left_gets_what_his_device_missed, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(an_event_counts_what_is_after_it, setup, rig_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
