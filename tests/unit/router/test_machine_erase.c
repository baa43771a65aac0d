/* machine: the operator forgets users, and ends conversations. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "mesh/base/limits.h"
#include "mesh/base/mem.h"
#include "mesh/wire/key.h"
#include "tests/support/machine_rig.h"

#define FIRST 4u /* Three members came before the first message. */

static void begin(struct rig *rig)
{
    rig_create(rig, "c", "alice", "bob carol");
    rig_send(rig, "c", "alice", "1", "\"hers\"");
    rig_send(rig, "c", "bob", "1", "\"his\"");
}

/* All steps of it; returns how many. */
static uint32_t erase(struct rig *rig, const char *user)
{
    uint32_t steps = 0;
    uint64_t after = 0;
    do {
        struct rig_result result = rig_erase(rig, "c", user, after);
        assert_int_equal(result.rc, RC_OK);
        assert_true(result.seq == 0 || result.seq > after);
        after = result.seq;
        steps++;
    } while (after != 0);
    return steps;
}

static uint32_t drop(struct rig *rig, const char *conv)
{
    uint32_t steps = 0;
    struct rig_result result;
    do {
        result = rig_drop(rig, conv);
        assert_int_equal(result.rc, RC_OK);
        steps++;
    } while (result.seq != 0);
    return steps;
}

static enum rc fetch_as(struct rig *rig, const char *conv, const char *user)
{
    struct msg_fetch request = {.conv = slice_string(conv), .user = rig_text(user), .limit = 1};
    struct msg_fetched answer;
    buf_clear(rig->into);
    assert_int_equal(machine_fetch(rig->machine, &request, &answer), RC_OK);
    return (enum rc)answer.rc;
}

/* ---- Erasing ---- */

/* He leaves, his texts go, and what others wrote stays. */
static void an_erased_user_leaves_no_text(void **state)
{
    struct rig *rig = *state;
    struct msg_entry entry;
    struct msg_marks marks;
    struct msg_summary_item item;
    begin(rig);
    uint64_t edited = rig_change(rig, "c", "bob", ENTRY_EDIT, FIRST + 1, "\"secret\"", false).seq;
    assert_int_equal(erase(rig, "bob"), 1);
    assert_false(rig_holds(rig, "secret"));
    assert_false(rig_holds(rig, "\"his\""));
    assert_true(rig_entry(rig, "c", "alice", edited + 1, &entry, &marks));
    assert_int_equal(entry.type, ENTRY_MEMBER);
    assert_int_equal(entry.change, MEMBER_REMOVE);
    assert_true(slice_equals(entry.user, "bob"));
    assert_int_equal(entry.from.size, 0);
    assert_true(rig_entry(rig, "c", "alice", FIRST + 1, &entry, &marks));
    assert_int_equal(marks.deleted, edited + 1);
    assert_null(entry.body.base);
    assert_true(rig_entry(rig, "c", "alice", edited, &entry, &marks));
    assert_int_equal(marks.deleted, edited + 1);
    assert_true(rig_entry(rig, "c", "alice", FIRST, &entry, &marks));
    assert_true(slice_equals(entry.body, "\"hers\""));
    assert_true(rig_item(rig, "c", "alice", &item));
    assert_int_equal(item.members, 2);
    assert_int_equal(fetch_as(rig, "c", "bob"), RC_FORBIDDEN);
}

/* His member, cursor and device rows go, and his reactions are no longer counted. */
static void an_erased_user_leaves_no_rows(void **state)
{
    struct rig *rig = *state;
    struct msg_entry entry;
    struct msg_marks marks;
    begin(rig);
    rig_cursor(rig, "c", "bob", "phone", FIRST, FIRST);
    rig_cursor(rig, "c", "bob", "tablet", FIRST, 0);
    rig_cursor(rig, "c", "carol", "phone", FIRST, FIRST);
    rig_change(rig, "c", "bob", ENTRY_REACTION, FIRST, "+1", true);
    rig_change(rig, "c", "bob", ENTRY_REACTION, FIRST, "-1", true);
    rig_change(rig, "c", "carol", ENTRY_REACTION, FIRST, "+1", true);
    erase(rig, "bob");
    assert_int_equal(rig_rows(rig, KEYSPACE_MEMBER), 2);
    assert_int_equal(rig_rows(rig, KEYSPACE_CURSOR), 2);
    assert_int_equal(rig_rows(rig, KEYSPACE_DEVICE), 1);
    assert_int_equal(rig_rows(rig, KEYSPACE_REACTION), 1);
    assert_true(rig_entry(rig, "c", "alice", FIRST, &entry, &marks));
    struct record_reader r = record_reader_of(marks.reactions);
    struct msg_reaction_count item;
    assert_int_equal(record_decode(&r, &msg_reaction_count_desc, &item), RC_OK);
    assert_true(slice_equals(item.emoji, "+1"));
    assert_int_equal(item.count, 1);
    assert_true(record_reader_at_end(&r));
}

/* A long log is gone through in parts, and each part may come again. */
static void erasing_goes_in_parts(void **state)
{
    struct rig *rig = *state;
    struct msg_entry entry;
    struct msg_marks marks;
    begin(rig);
    for (uint32_t i = 0; i < 600; i++)
        rig_send(rig, "c", i % 2 == 0 ? "bob" : "alice", NULL, i % 2 == 0 ? "\"his\"" : "1");
    struct rig_result result = rig_erase(rig, "c", "bob", 0);
    assert_int_not_equal(result.seq, 0);
    uint64_t head = rig->entries;
    assert_int_equal(rig_erase(rig, "c", "bob", 0).seq, result.seq);
    assert_int_equal(rig->entries, head);
    assert_int_equal(erase(rig, "bob"), 3);
    assert_false(rig_holds(rig, "\"his\""));
    assert_true(rig_entry(rig, "c", "alice", FIRST + 602, &entry, &marks));
    assert_int_equal(entry.change, MEMBER_REMOVE);
    assert_int_equal(erase(rig, "bob"), 1);
    assert_int_equal(rig->entries, head);
}

/* Large messages make a part shorter. */
static void a_part_of_erasing_is_bounded_in_bytes(void **state)
{
    struct rig *rig = *state;
    static char large[100001];
    memset(large, '1', sizeof(large) - 1);
    begin(rig);
    for (uint32_t i = 0; i < 30; i++)
        rig_send(rig, "c", "bob", NULL, large);
    assert_true(rig_erase(rig, "c", "bob", 0).seq < FIRST + 20);
    erase(rig, "bob");
    assert_false(rig_holds(rig, "11111111"));
}

/* Where the owner is forgotten, somebody else becomes one, as when he leaves. */
static void an_erased_owner_has_an_heir(void **state)
{
    struct rig *rig = *state;
    begin(rig);
    erase(rig, "alice");
    assert_int_equal(rig_member(rig, "c", "bob", MEMBER_ADD, "dave", ROLE_ADMIN).rc, RC_OK);
}

/* Who is not, or no longer, known here needs no forgetting. */
static void nobody_is_erased_twice(void **state)
{
    struct rig *rig = *state;
    begin(rig);
    assert_int_equal(rig_erase(rig, "no", "bob", 0).rc, RC_NOT_FOUND);
    uint32_t entries = rig->entries;
    assert_int_equal(erase(rig, "mallory"), 1);
    assert_int_equal(rig->entries, entries);
    rig_member(rig, "c", "carol", MEMBER_LEAVE, NULL, 0);
    entries = rig->entries;
    erase(rig, "carol"); /* He left by himself. */
    assert_int_equal(rig->entries, entries);
}

/* The same name may be added again, and begins like somebody new: in the same turn, too. */
static void an_erased_name_may_come_again(void **state)
{
    struct rig *rig = *state;
    begin(rig);
    rig_cursor(rig, "c", "bob", "phone", FIRST, FIRST);
    struct buf *names = rig_names("bob");
    struct msg_cmd_erase forget = {.conv = slice_string("c"), .user = slice_string("bob")};
    struct msg_cmd_member add = {
        .conv = slice_string("c"),
        .user = slice_string("alice"),
        .change = MEMBER_ADD,
        .users = buf_slice(names),
    };
    struct msg_cmd_cursor cursor = {
        .conv = slice_string("c"),
        .user = slice_string("bob"),
        .device = slice_string("phone"),
        .delivered = 2,
    };
    rig_add(rig, &msg_cmd_erase_desc, &forget);
    rig_add(rig, &msg_cmd_member_desc, &add);
    rig_add(rig, &msg_cmd_cursor_desc, &cursor);
    rig_apply(rig);
    rig_write(rig);
    buf_unref(&names);
    struct msg_watch request = {
        .conv = slice_string("c"), .user = slice_string("bob"), .device = slice_string("phone")};
    struct msg_watched answer;
    buf_clear(rig->into);
    assert_int_equal(machine_watch(rig->machine, &request, 100, &answer, rig->into), RC_OK);
    assert_int_equal(answer.rc, RC_OK);
    assert_int_equal(answer.from, 2);
    struct msg_summary_item item;
    assert_true(rig_item(rig, "c", "bob", &item));
    assert_int_equal(item.read, 0);
}

/* Of two who talk one is forgotten; who bears his name later writes again, and sees nothing old. */
static void a_direct_conversation_goes_on_without_him(void **state)
{
    struct rig *rig = *state;
    char id[64] = {0};
    struct slice direct = rig_direct("alice", "bob");
    memcpy(id, direct.base, direct.size);
    struct msg_cmd_send send = {
        .conv = direct,
        .user = slice_string("bob"),
        .peer = slice_string("alice"),
        .cid = slice_string("1"),
        .body = slice_string("\"secret\""),
    };
    rig_do(rig, &msg_cmd_send_desc, &send);
    assert_int_equal(rig_erase(rig, id, "bob", 0).seq, 0);
    assert_false(rig_holds(rig, "secret"));
    send.user = slice_string("alice");
    send.peer = (struct slice){0};
    send.body = slice_string("1");
    assert_int_equal(rig_do(rig, &msg_cmd_send_desc, &send).rc, RC_OK);

    send.user = slice_string("bob");
    send.cid = slice_string("2");
    assert_int_equal(rig_do(rig, &msg_cmd_send_desc, &send).rc, RC_FORBIDDEN);
    send.peer = slice_string("alice");
    send.reply_to = 1000; /* How a gateway asks what became of a send: nothing may come of it. */
    assert_int_equal(rig_do(rig, &msg_cmd_send_desc, &send).rc, RC_BAD_REQUEST);
    assert_int_equal(fetch_as(rig, id, "bob"), RC_FORBIDDEN);
    send.reply_to = 0;
    struct rig_result result = rig_do(rig, &msg_cmd_send_desc, &send);
    assert_int_equal(result.rc, RC_OK);
    struct msg_entry entry;
    struct msg_marks marks;
    assert_true(rig_entry(rig, id, "bob", result.seq - 1, &entry, &marks));
    assert_int_equal(entry.change, MEMBER_ADD);
    assert_false(rig_entry(rig, id, "bob", result.seq - 2, &entry, &marks));
}

/* And who names him means who bears the name now: he is told, of this and of nothing before. */
static void who_is_named_again_after_erasure_is_there_again(void **state)
{
    struct rig *rig = *state;
    char id[64] = {0};
    struct slice direct = rig_direct("alice", "bob");
    memcpy(id, direct.base, direct.size);
    struct msg_cmd_send send = {
        .conv = direct,
        .user = slice_string("alice"),
        .peer = slice_string("bob"),
        .cid = slice_string("1"),
        .body = slice_string("1"),
    };
    rig_do(rig, &msg_cmd_send_desc, &send);
    assert_int_equal(rig_erase(rig, id, "bob", 0).seq, 0);
    send.cid = slice_string("2");
    struct rig_result result = rig_do(rig, &msg_cmd_send_desc, &send);
    assert_int_equal(result.rc, RC_OK);
    struct msg_entry entry;
    struct msg_marks marks;
    assert_true(rig_entry(rig, id, "bob", result.seq, &entry, &marks));
    assert_true(rig_entry(rig, id, "bob", result.seq - 1, &entry, &marks));
    assert_int_equal(entry.change, MEMBER_ADD);
    assert_true(slice_equals(entry.user, "bob"));
    assert_false(rig_entry(rig, id, "bob", result.seq - 2, &entry, &marks));

    assert_int_equal(rig_erase(rig, id, "bob", 0).seq, 0);
    struct buf *names = rig_names("bob");
    struct msg_cmd_create create = {
        .conv = direct,
        .user = slice_string("alice"),
        .kind = CONV_DIRECT,
        .members = buf_slice(names),
    };
    result = rig_do(rig, &msg_cmd_create_desc, &create);
    assert_int_equal(result.rc, RC_OK);
    assert_false(result.dup);
    assert_true(rig_do(rig, &msg_cmd_create_desc, &create).dup);
    buf_unref(&names);
    assert_true(rig_entry(rig, id, "bob", result.seq, &entry, &marks));
    assert_int_equal(entry.change, MEMBER_ADD);
}

/* ---- Ending a conversation ---- */

/* From the first word on nobody finds it, and its id is taken for ever. */
static void a_dropped_conversation_is_not_there(void **state)
{
    struct rig *rig = *state;
    struct msg_summary_item item;
    uint64_t head;
    begin(rig);
    assert_int_equal(drop(rig, "c"), 1);
    for (int reopened = 0; reopened < 2; reopened++) {
        assert_int_equal(fetch_as(rig, "c", "alice"), RC_NOT_FOUND);
        assert_int_equal(fetch_as(rig, "c", NULL), RC_NOT_FOUND);
        assert_false(rig_item(rig, "c", "alice", &item));
        assert_int_equal(rig_send(rig, "c", "alice", "new", "1").rc, RC_NOT_FOUND);
        struct rig_result again = rig_send(rig, "c", "alice", "1", "1"); /* It was said. */
        assert_true(again.rc == RC_OK && again.dup);
        assert_int_equal(rig_cursor(rig, "c", "alice", "d", 1, 1).rc, RC_NOT_FOUND);
        assert_int_equal(rig_member(rig, "c", "alice", MEMBER_LEAVE, NULL, 0).rc, RC_NOT_FOUND);
        assert_int_equal(rig_erase(rig, "c", "alice", 0).rc, RC_NOT_FOUND);
        assert_int_equal(rig_trim(rig, "c", 1).rc, RC_NOT_FOUND);
        assert_int_equal(rig_create(rig, "c", "alice", "bob").rc, RC_CONFLICT);
        assert_int_equal(drop(rig, "c"), 1);
        rig_told(rig, "c");
        assert_int_equal(machine_head(rig->machine, slice_string("c"), &head), RC_OK);
        assert_int_equal(head, 0);
        rig_reopen(rig);
    }
    assert_int_equal(rig_drop(rig, "no").rc, RC_NOT_FOUND);
}

/* Alice's first word to bob, at 3; `id` becomes that of their conversation. */
static struct msg_cmd_send begin_direct(struct rig *rig, char id[KEY_DIRECT_SIZE + 1])
{
    struct slice direct = rig_direct("alice", "bob");
    memcpy(id, direct.base, direct.size);
    struct msg_cmd_send send = {.conv = slice_string(id),
                                .user = slice_string("alice"),
                                .peer = slice_string("bob"),
                                .cid = slice_string("1"),
                                .body = slice_string("1")};
    assert_int_equal(rig_do(rig, &msg_cmd_send_desc, &send).seq, 3);
    return send;
}

/* A direct one has no other id: it begins anew after its last seq, with nothing of what was. */
static void a_dropped_direct_conversation_begins_again(void **state)
{
    struct rig *rig = *state;
    char id[KEY_DIRECT_SIZE + 1] = {0};
    struct msg_entry entry;
    struct msg_marks marks;
    struct msg_summary_item item;
    struct msg_cmd_send send = begin_direct(rig, id);
    for (uint64_t seq = 8; seq <= 13; seq += 5) { /* Two leave, two come, a word. */
        drop(rig, id);
        assert_int_equal(rig_send(rig, id, "bob", "x", "1").rc, RC_NOT_FOUND);
        send.cid = seq == 8 ? slice_string("2") : slice_string("3");
        assert_int_equal(rig_do(rig, &msg_cmd_send_desc, &send).seq, seq);
        assert_true(rig_item(rig, id, "bob", &item));
        assert_int_equal(item.unread, 1);
        assert_false(rig_entry(rig, id, "bob", seq - 5, &entry, &marks));
        assert_true(rig_entry(rig, id, "bob", seq - 2, &entry, &marks));
        rig_told(rig, id);
        rig_reopen(rig);
        assert_true(rig_entry(rig, id, "alice", seq, &entry, &marks));
    }
    /* A cid from before its end is answered as it was, and begins nothing. */
    drop(rig, id);
    struct rig_result again = rig_do(rig, &msg_cmd_send_desc, &send);
    assert_true(again.rc == RC_OK && again.dup && again.seq == 13);
    assert_int_equal(fetch_as(rig, id, "alice"), RC_NOT_FOUND);
    send.reply_to = 1000; /* So asks a gateway that does not know what became of it. */
    assert_true(rig_do(rig, &msg_cmd_send_desc, &send).dup);
    send.reply_to = 0;
    send.cid = slice_string("3b");
    assert_int_equal(rig_do(rig, &msg_cmd_send_desc, &send).seq, 18);
    rig_told(rig, id);
    /* Dropped and begun again in one turn, too. */
    struct msg_cmd_drop c = {.conv = slice_string(id)};
    send.cid = slice_string("4");
    rig_add(rig, &msg_cmd_drop_desc, &c);
    rig_add(rig, &msg_cmd_send_desc, &send);
    rig_apply(rig);
    rig_write(rig);
    assert_int_equal(rig->results[1].seq, 23);
    rig_reopen(rig);
    assert_true(rig_entry(rig, id, "bob", 23, &entry, &marks));
    assert_int_equal(rig_rows(rig, KEYSPACE_MEMBER), 2);
}

/* Replicas apply what came in turns of their own: one that catches up takes many entries in one. So
 * a row that a turn has removed is gone within it, though the store still has it. */
static void what_ends_and_begins_again_does_not_depend_on_turns(void **state)
{
    (void)state;
    for (int together = 0; together <= 1; together++) {
        struct rig *rig = mem_new(struct rig);
        char id[KEY_DIRECT_SIZE + 1] = {0};
        struct msg_entry entry;
        struct msg_marks marks;
        rig_open(rig);
        struct msg_cmd_send send = begin_direct(rig, id);
        const struct msg_cmd_drop c = {.conv = slice_string(id)};
        for (uint32_t i = 0; i < 300; i++)
            rig_send(rig, id, "bob", NULL, "1");
        assert_int_not_equal(rig_erase(rig, id, "bob", 0).seq, 0); /* Begun, and not ended. */
        rig_reopen(rig);
        send.cid = slice_string("2");
        rig_add(rig, &msg_cmd_drop_desc, &c);
        rig_apply(rig);
        if (together == 0)
            rig_write(rig);
        rig_add(rig, &msg_cmd_send_desc, &send);
        rig_apply(rig);
        rig_write(rig);
        uint64_t seq = rig->results[0].seq;
        assert_int_equal(rig_rows(rig, KEYSPACE_MEMBER), 2);
        assert_true(rig_entry(rig, id, "bob", seq - 2, &entry, &marks)); /* That she is in it. */
        rig_close(rig);
        mem_free(rig);
    }
}

/* What it owed when it ended is told after it began again, then goes as well; nobody sees it
 * meanwhile. Who has some of what was, or may have, is told of a gap. */
static void nothing_is_left_of_what_was_before_its_end(void **state)
{
    struct rig *rig = *state;
    char id[KEY_DIRECT_SIZE + 1] = {0};
    struct msg_entry entry;
    struct msg_marks marks;
    struct msg_cmd_send send = begin_direct(rig, id);
    drop(rig, id); /* Owed: 1 and 2, 4 and 5. */
    send.cid = slice_string("2");
    assert_int_equal(rig_do(rig, &msg_cmd_send_desc, &send).seq, 8);
    assert_int_equal(rig_rows(rig, KEYSPACE_ENTRY), 8);
    for (int told = 0; told < 2; told++) {
        for (uint64_t seq = 1; seq <= 5; seq++) {
            assert_false(rig_entry(rig, id, "bob", seq, &entry, &marks));
            assert_false(rig_entry(rig, id, NULL, seq, &entry, &marks));
        }
        assert_true(rig_entry(rig, id, NULL, 6, &entry, &marks));
        for (uint64_t from = 0; from <= 6; from += 2) {
            struct msg_watch watch = {.conv = slice_string(id),
                                      .user = slice_string("bob"),
                                      .device = slice_string("d"),
                                      .from_known = from > 0,
                                      .from = from};
            struct msg_watched watched;
            buf_clear(rig->into);
            assert_int_equal(machine_watch(rig->machine, &watch, 1000, &watched, rig->into), RC_OK);
            assert_int_equal(watched.rc, RC_OK);
            assert_int_equal(watched.gap_from, from < 5 ? from + 1 : 0);
            assert_int_equal(watched.gap_to, from < 5 ? 5 : 0);
            assert_int_equal(watched.trimmed, from < 5);
            assert_int_equal(watched.missed, from < 5 ? 3 : 2);
        }
        rig_told(rig, id);
        assert_int_equal(rig_rows(rig, KEYSPACE_ENTRY), 3);
        rig_reopen(rig);
    }
}

static void count_owed(void *context, const struct machine_owed *owed)
{
    *(uint32_t *)context += owed->gone;
}

/* The lists of its members hear of it; what they have yet to hear stays until they did. */
static void what_a_dropped_conversation_owes_is_kept(void **state)
{
    struct rig *rig = *state;
    uint32_t owed = 0;
    begin(rig);
    rig_told(rig, "c");
    rig_change(rig, "c", "bob", ENTRY_REACTION, FIRST, "+1", true);
    rig_cursor(rig, "c", "bob", "d", 1, 1);
    rig_create(rig, "d", "alice", "bob");
    rig_told(rig, "d");
    drop(rig, "c");
    assert_int_equal(machine_owed(rig->machine, 100, count_owed, &owed), RC_OK);
    assert_int_equal(owed, 3);
    assert_int_equal(rig_rows(rig, KEYSPACE_ENTRY), 3 + 2);
    rig_reopen(rig);
    rig_told(rig, "c");
    assert_false(machine_owes(rig->machine));
    assert_int_equal(rig_rows(rig, KEYSPACE_ENTRY), 2);
    assert_int_equal(rig_rows(rig, KEYSPACE_MEMBER), 2);
    assert_int_equal(rig_rows(rig, KEYSPACE_CURSOR), 0);
    assert_int_equal(rig_rows(rig, KEYSPACE_DEVICE), 0);
    assert_int_equal(rig_rows(rig, KEYSPACE_REACTION), 0);
    assert_int_equal(rig_rows(rig, KEYSPACE_OWED), 0);
}

/* Of a large one the members are removed in parts, in order, whether in the store or in memory. */
static void a_large_conversation_is_dropped_in_parts(void **state)
{
    struct rig *rig = *state;
    rig_create(rig, "c", "u0000", "");
    for (unsigned i = 1; i < 600; i += 3) {
        char names[32];
        snprintf(names, sizeof(names), "u%04u u%04u u%04u", i, i + 1, 1000 - i);
        assert_int_equal(rig_member(rig, "c", "u0000", MEMBER_ADD, names, 0).rc, RC_OK);
    }
    machine_limit_cache(rig->machine, 0);
    uint32_t entries = rig->entries;
    struct msg_cmd_drop c = {.conv = slice_string("c")};
    rig_do(rig, &msg_cmd_drop_desc, &c);
    rig_add(rig, &msg_cmd_drop_desc, &c); /* Two parts in one turn. */
    rig_add(rig, &msg_cmd_drop_desc, &c);
    rig_apply(rig);
    rig_write(rig);
    assert_int_not_equal(rig->results[0].seq, 0);
    assert_int_equal(rig->results[1].seq, 0);
    assert_int_equal(rig->entries - entries, entries);
    rig_told(rig, "c");
    assert_int_equal(rig_rows(rig, KEYSPACE_ENTRY), 0);
    assert_int_equal(rig_rows(rig, KEYSPACE_MEMBER), 0);
}

/* Simulations reach the parts with few members and entries. */
static void parts_are_as_small_as_the_machine_is_told(void **state)
{
    struct rig *rig = *state;
    const struct msg_cmd_drop c = {.conv = slice_string("c")};
    rig_create(rig, "c", "alice", "bob carol dave");
    machine_limit_parts(rig->machine, 2, 3);
    assert_int_equal(rig_erase(rig, "c", "dave", 0).seq, 3);
    assert_int_equal(rig_erase(rig, "c", "dave", 3).seq, 0);
    rig_do(rig, &msg_cmd_drop_desc, &c); /* Three are left. */
    assert_int_not_equal(rig->results[0].seq, 0);
    rig_do(rig, &msg_cmd_drop_desc, &c);
    assert_int_equal(rig->results[0].seq, 0);
}

/* Who is still a member, and who was removed already: the end may never be gone on with. */
static void a_user_is_erased_where_an_end_is_under_way(void **state)
{
    struct rig *rig = *state;
    const struct msg_cmd_drop c = {.conv = slice_string("c")};
    rig_create(rig, "c", "dave", "alice bob carol");
    rig_send(rig, "c", "alice", NULL, "\"hers\"");
    rig_send(rig, "c", "dave", NULL, "\"his\"");
    machine_limit_parts(rig->machine, 2, 100);
    rig_do(rig, &msg_cmd_drop_desc, &c);
    assert_int_not_equal(rig->results[0].seq, 0);
    uint64_t head = rig->entries;
    assert_int_equal(rig_erase(rig, "c", "alice", 0).rc, RC_OK);
    assert_int_equal(rig->entries, head);
    assert_int_equal(rig_erase(rig, "c", "dave", 0).rc, RC_OK);
    assert_int_equal(rig->entries, head + 1); /* Nobody inherits. */
    assert_false(rig_holds(rig, "\"hers\""));
    assert_false(rig_holds(rig, "\"his\""));
    assert_int_equal(rig_rows(rig, KEYSPACE_MEMBER), 2);
    rig_do(rig, &msg_cmd_drop_desc, &c);
    assert_int_equal(rig->results[0].seq, 0);
    assert_int_equal(rig_erase(rig, "c", "carol", 0).rc, RC_NOT_FOUND);
    rig_told(rig, "c");
    assert_int_equal(rig_rows(rig, KEYSPACE_ENTRY), 0);
    assert_int_equal(rig_rows(rig, KEYSPACE_MEMBER), 0);
}

/* With the conversation its place among those with retention goes. */
static void a_dropped_conversation_has_no_retention(void **state)
{
    struct rig *rig = *state;
    struct msg_cmd_create c = {
        .conv = slice_string("c"),
        .user = slice_string("alice"),
        .kind = CONV_GROUP,
        .retain_count = 1,
    };
    rig_do(rig, &msg_cmd_create_desc, &c);
    assert_int_equal(rig_rows(rig, KEYSPACE_RETAIN), 1);
    drop(rig, "c");
    assert_int_equal(rig_rows(rig, KEYSPACE_RETAIN), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)
        TEST(an_erased_user_leaves_no_text),
        TEST(an_erased_user_leaves_no_rows),
        TEST(erasing_goes_in_parts),
        TEST(a_part_of_erasing_is_bounded_in_bytes),
        TEST(an_erased_owner_has_an_heir),
        TEST(nobody_is_erased_twice),
        TEST(an_erased_name_may_come_again),
        TEST(who_is_named_again_after_erasure_is_there_again),
        TEST(a_direct_conversation_goes_on_without_him),
        TEST(a_dropped_conversation_is_not_there),
        TEST(a_dropped_direct_conversation_begins_again),
        cmocka_unit_test(what_ends_and_begins_again_does_not_depend_on_turns),
        TEST(nothing_is_left_of_what_was_before_its_end),
        TEST(what_a_dropped_conversation_owes_is_kept),
        TEST(a_large_conversation_is_dropped_in_parts),
        TEST(parts_are_as_small_as_the_machine_is_told),
        TEST(a_user_is_erased_where_an_end_is_under_way),
        TEST(a_dropped_conversation_has_no_retention),
#undef TEST
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
