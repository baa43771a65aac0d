/* The webhook is told of what offline members missed: after a while, in order, at least once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* cmocka.h needs those above. */
#include <cmocka.h>

#include "mesh/base/check.h"
#include "mesh/base/mem.h"
#include "mesh/base/metrics.h"
#include "nodes/router/push.h"
#include "storage/keyspace.h"
#include "tests/support/machine_rig.h"

#define SHARD     7u
#define STEP_MS   50u
#define SETTLE_MS 4000u /* By then a message was looked at, */
#define GRACE_MS  9000u /* and one that a new leader found. */
#define BEGIN_MS  1700000000000u

/* One leader of one shard; the webhook is this test. */
struct world {
    struct env env; /* First: the environment is found by it. */
    uint64_t now_us, wall_ms;
    struct rig *rig;
    struct push *push;
    struct buf *body;     /* The post on its way, or NULL. */
    struct buf *commands; /* What was submitted, one slice after another. */
    uint32_t posts, submits;
    bool is_away; /* The shard cannot be read. */
    bool loses_commands;
    uint32_t reads_failed;
};

static uint64_t env_now(struct env *env)
{
    return ((struct world *)(void *)env)->now_us;
}

static uint64_t env_wall(struct env *env)
{
    return ((struct world *)(void *)env)->wall_ms;
}

static uint64_t env_draw(struct env *env)
{
    (void)env;
    return 0;
}

static void on_post(void *context, struct buf *body)
{
    struct world *w = context;
    assert_null(w->body); /* One at a time. */
    w->body = buf_ref(body);
    w->posts++;
}

static struct machine *machine_of(void *context, uint32_t shard)
{
    const struct world *w = context;
    assert_int_equal(shard, SHARD);
    return w->is_away ? NULL : w->rig->machine;
}

static void on_submit(void *context, uint32_t shard, struct slice command)
{
    struct world *w = context;
    assert_int_equal(shard, SHARD);
    w->submits++;
    if (!w->loses_commands)
        record_put_slice(w->commands, command);
}

static void on_failed(void *context, uint32_t shard, enum rc rc)
{
    struct world *w = context;
    assert_int_equal(shard, SHARD);
    assert_int_equal(rc, RC_CORRUPT);
    w->reads_failed++;
}

static void open_push(struct world *w)
{
    const struct push_port port = {.context = w, .post = on_post};
    const struct push_host host = {
        .context = w,
        .machine = machine_of,
        .submit = on_submit,
        .on_failed = on_failed,
    };
    w->push = push_new(&port, &host, &w->env, SHARD + 1);
    push_lead(w->push, SHARD);
}

static int setup(void **state)
{
    struct world *w = mem_new(struct world);
    w->env = (struct env){.now_us = env_now, .wall_ms = env_wall, .random = env_draw};
    w->now_us = 1000000;
    w->wall_ms = BEGIN_MS;
    w->commands = buf_new(0);
    rig_setup((void **)&w->rig);
    open_push(w);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    push_free(&w->push);
    buf_unref(&w->body);
    buf_unref(&w->commands);
    rig_teardown((void **)&w->rig);
    mem_free(w);
    return 0;
}

/* ---- Short ways to say things ---- */

static void apply_submitted(struct world *w)
{
    struct record_reader r = record_reader_of(buf_slice(w->commands));
    struct slice bytes;
    while (!record_reader_at_end(&r)) {
        struct msg_cmd_pushed c;
        assert_int_equal(record_get_slice(&r, &bytes), RC_OK);
        struct record_reader command = record_reader_of(bytes);
        assert_int_equal(record_decode(&command, &msg_cmd_pushed_desc, &c), RC_OK);
        assert_int_equal(rig_do(w->rig, &msg_cmd_pushed_desc, &c).rc, RC_OK);
    }
    buf_clear(w->commands);
}

/* As the loop does it: turn when something is due. */
static void pass(struct world *w, uint64_t ms)
{
    for (uint64_t i = 0; i < ms; i += STEP_MS) {
        w->now_us += STEP_MS * 1000;
        w->wall_ms += STEP_MS;
        w->rig->ts = w->wall_ms;
        for (uint32_t turns = 0; push_due_us(w->push) <= w->now_us; turns++) {
            assert_true(turns < 10000); /* It does not spin. */
            push_turn(w->push);
            apply_submitted(w);
        }
    }
}

/* The webhook answers what is on its way. */
static void answer(struct world *w, uint32_t status)
{
    assert_non_null(w->body);
    buf_unref(&w->body);
    push_on_posted(w->push, status, status != 0 ? "it was answered" : "nobody is there");
    push_turn(w->push);
    apply_submitted(w);
}

static uint64_t say(struct world *w, const char *conv, const char *user, const char *body)
{
    struct rig_result result = rig_send(w->rig, conv, user, NULL, body);
    assert_int_equal(result.rc, RC_OK);
    push_note(w->push, SHARD, slice_string(conv), result.seq);
    return result.seq;
}

static void has(struct world *w, const char *conv, const char *user, uint64_t seq)
{
    assert_int_equal(rig_cursor(w->rig, conv, user, "d", seq, 0).rc, RC_OK);
}

static uint64_t pushed(struct world *w, const char *conv)
{
    uint64_t seq = 0;
    assert_int_equal(machine_untold(w->rig->machine, slice_string(conv), &seq), RC_OK);
    return seq;
}

static void new_leader(struct world *w)
{
    push_free(&w->push);
    buf_unref(&w->body);
    buf_clear(w->commands);
    rig_reopen(w->rig);
    open_push(w);
}

static bool is_told(const struct world *w, const char *part)
{
    return w->body != NULL && w->body->size >= strlen(part) &&
           memmem(w->body->bytes, w->body->size, part, strlen(part)) != NULL;
}

/* The post on its way says this and nothing else. */
static void assert_post(struct world *w, const char *text)
{
    assert_non_null(w->body);
    buf_append_byte(w->body, '\0');
    assert_string_equal((const char *)w->body->bytes, text);
    w->body->size--;
}

/* ---- What is told ---- */

/* A message waits; then those who do not have it are told, and the cursor follows. */
static void an_offline_member_is_told_once(void **state)
{
    struct world *w = *state;
    char text[256];
    rig_create(w->rig, "c", "alice", "bob");
    pass(w, GRACE_MS);
    uint64_t ts = w->rig->ts;
    assert_int_equal(say(w, "c", "alice", "{\"a\": 1}"), 3);
    pass(w, 2000);
    assert_int_equal(w->posts, 0);
    pass(w, SETTLE_MS - 2000);
    snprintf(text, sizeof(text),
             "{\"events\":[{\"type\":\"message.offline\",\"conv\":\"c\",\"seq\":3,\"from\":"
             "\"alice\",\"ts\":%lu,\"body\":{\"a\": 1},\"users\":[\"bob\"]}]}",
             (unsigned long)ts);
    assert_post(w, text);
    assert_int_equal(pushed(w, "c"), 0);
    answer(w, 204);
    assert_int_equal(pushed(w, "c"), 3);
    pass(w, 60000);
    assert_int_equal(w->posts, 1);
    assert_int_equal(push_waiting(w->push), 0);
}

/* Direct conversations take another path to the two members. */
static void a_direct_conversation_is_told(void **state)
{
    struct world *w = *state;
    char id[64];
    snprintf(id, sizeof(id), "%.*s", SLICE_ARGS(rig_direct("alice", "bob")));
    struct msg_cmd_send c = {
        .conv = slice_string(id),
        .user = slice_string("alice"),
        .peer = slice_string("bob"),
        .body = slice_string("1"),
    };
    struct rig_result sent = rig_do(w->rig, &msg_cmd_send_desc, &c);
    assert_int_equal(sent.rc, RC_OK);
    push_note(w->push, SHARD, slice_string(id), sent.seq);
    pass(w, GRACE_MS);
    assert_true(is_told(w, "\"users\":[\"bob\"]"));
    answer(w, 200);
    has(w, id, "bob", sent.seq);
    uint64_t seq = say(w, id, "bob", "2");
    has(w, id, "alice", seq);
    pass(w, SETTLE_MS);
    assert_int_equal(w->posts, 1); /* She has it. */
}

/* A name may hold what JSON must escape. */
static void names_are_escaped(void **state)
{
    struct world *w = *state;
    rig_create(w->rig, "c", "alice", "b\"o\\b");
    say(w, "c", "alice", "1");
    pass(w, GRACE_MS);
    assert_true(is_told(w, "\"users\":[\"b\\\"o\\\\b\"]"));
}

/* Who got it, or has read it, in time is left out, and costs no entry in the log. */
static void who_got_it_in_time_is_left_out(void **state)
{
    struct world *w = *state;
    rig_create(w->rig, "c", "alice", "bob carol");
    pass(w, GRACE_MS);
    uint64_t seq = say(w, "c", "alice", "1");
    pass(w, 2000);
    has(w, "c", "bob", seq);
    rig_cursor(w->rig, "c", "carol", NULL, 0, seq);
    pass(w, 60000);
    assert_int_equal(w->posts, 0);
    assert_int_equal(w->submits, 0);
    assert_int_equal(pushed(w, "c"), seq); /* It moved with the last one's cursor. */
}

static void given(struct world *w, const char *conv, const char *user, uint64_t seq)
{
    push_on_given(w->push, slice_string(conv), slice_string(user), seq);
}

/* Who never acknowledges but has read it is left out, of what he has read; the cursor moves on, so
 * that nobody looks at it again. It is forgotten with the conversation. */
static void who_has_read_without_a_word_is_left_out(void **state)
{
    struct world *w = *state;
    rig_create(w->rig, "c", "alice", "bob carol");
    rig_create(w->rig, "d", "alice", "bob");
    pass(w, GRACE_MS);
    given(w, "c", "bob", 100); /* Nothing waits there. */
    uint64_t seq = say(w, "c", "alice", "1");
    say(w, "c", "alice", "2");
    uint64_t only = say(w, "d", "alice", "3");
    pass(w, 1000);
    given(w, "c", "bob", seq + 1);
    given(w, "c", "carol", seq);
    given(w, "c", "carol", seq - 1); /* Late. */
    given(w, "c", "nobody", seq + 1);
    given(w, "d", "bob", only);
    pass(w, SETTLE_MS);
    assert_true(is_told(w, "\"body\":2,\"users\":[\"carol\"]"));
    assert_false(is_told(w, "bob"));
    assert_false(is_told(w, "\"body\":1"));
    assert_int_equal(pushed(w, "d"), only);
    answer(w, 200);
    pass(w, 10000);
    assert_int_equal(w->posts, 1);
    assert_int_equal(pushed(w, "c"), seq + 1);
    assert_int_equal(push_waiting(w->push), 0);
    say(w, "d", "alice", "4");
    pass(w, SETTLE_MS);
    assert_true(is_told(w, "\"body\":4,\"users\":[\"bob\"]"));
}

/* Neither the sender, nor who joined later, nor who is gone by then. */
static void only_members_at_the_message_are_told(void **state)
{
    struct world *w = *state;
    rig_create(w->rig, "c", "alice", "bob carol");
    pass(w, GRACE_MS);
    say(w, "c", "alice", "1");
    pass(w, 2500);
    rig_member(w->rig, "c", "alice", MEMBER_ADD, "dave", ROLE_MEMBER);
    rig_member(w->rig, "c", "alice", MEMBER_REMOVE, "bob", ROLE_MEMBER);
    pass(w, SETTLE_MS - 2500);
    assert_true(is_told(w, "\"users\":[\"carol\"]"));
    answer(w, 200);
    pass(w, 10000);
    assert_int_equal(w->posts, 1);
}

/* Who is removed and added again while a message waits is told of it, where he may see it. */
static void who_comes_back_in_time_is_told(void **state)
{
    struct world *w = *state;
    const char *convs[] = {"all", "joined"};
    for (uint32_t i = 0; i < 2; i++)
        rig_create(w->rig, convs[i], "alice", "bob carol");
    const struct msg_cmd_info info = {
        .conv = slice_string("joined"), .user = slice_string("alice"), .history = HISTORY_JOINED};
    assert_int_equal(rig_do(w->rig, &msg_cmd_info_desc, &info).rc, RC_OK);
    pass(w, GRACE_MS);
    for (uint32_t i = 0; i < 2; i++) {
        say(w, convs[i], "alice", "1");
        rig_member(w->rig, convs[i], "alice", MEMBER_REMOVE, "bob", ROLE_MEMBER);
    }
    pass(w, 1500);
    for (uint32_t i = 0; i < 2; i++) {
        rig_member(w->rig, convs[i], "alice", MEMBER_ADD, "bob", ROLE_MEMBER);
        say(w, convs[i], "alice", "2");
    }
    pass(w, SETTLE_MS - 1500);
    assert_true(is_told(w, "\"conv\":\"all\",\"seq\":4,"));
    assert_true(is_told(w, "\"body\":1,\"users\":[\"bob\",\"carol\"]"));
    assert_true(is_told(w, "\"body\":1,\"users\":[\"carol\"]"));
    answer(w, 200);
    pass(w, SETTLE_MS);
    assert_true(is_told(w, "\"body\":2,\"users\":[\"bob\",\"carol\"]"));
}

/* He missed it also where nothing was said since he came back. */
static void who_comes_back_after_the_last_message_is_told(void **state)
{
    struct world *w = *state;
    rig_create(w->rig, "c", "alice", "bob");
    pass(w, GRACE_MS);
    say(w, "c", "alice", "1");
    rig_member(w->rig, "c", "alice", MEMBER_REMOVE, "bob", ROLE_MEMBER);
    pass(w, 1000);
    rig_member(w->rig, "c", "alice", MEMBER_ADD, "bob", ROLE_MEMBER);
    pass(w, SETTLE_MS);
    assert_true(is_told(w, "\"body\":1,\"users\":[\"bob\"]"));
    answer(w, 200);
    pass(w, 10000);
    assert_int_equal(w->posts, 1);
    assert_int_equal(push_waiting(w->push), 0);
}

/* A message that was deleted meanwhile is told to nobody, one that was edited as it is now. */
static void a_message_is_told_as_it_is_now(void **state)
{
    struct world *w = *state;
    rig_create(w->rig, "c", "alice", "bob");
    pass(w, GRACE_MS);
    uint64_t first = say(w, "c", "alice", "\"gone\"");
    uint64_t second = say(w, "c", "alice", "\"before\"");
    rig_change(w->rig, "c", "alice", ENTRY_DELETE, first, NULL, false);
    rig_change(w->rig, "c", "alice", ENTRY_EDIT, second, "\"after\"", false);
    pass(w, SETTLE_MS);
    assert_true(is_told(w, "\"seq\":4,"));
    assert_true(is_told(w, "\"body\":\"after\""));
    assert_false(is_told(w, "\"seq\":3,"));
    answer(w, 200);
    pass(w, SETTLE_MS);
    uint64_t third = say(w, "c", "alice", "\"gone too\"");
    rig_change(w->rig, "c", "alice", ENTRY_DELETE, third, NULL, false);
    pass(w, SETTLE_MS);
    assert_int_equal(w->posts, 1);
    assert_int_equal(pushed(w, "c"), third); /* It need not be looked at again. */
}

/* What retention removed cannot be told, and is not waited for. */
static void trimmed_messages_are_passed_over(void **state)
{
    struct world *w = *state;
    rig_create(w->rig, "c", "alice", "bob");
    pass(w, GRACE_MS);
    for (uint32_t i = 0; i < 10; i++)
        say(w, "c", "alice", "1");
    rig_told(w->rig, "c");
    assert_int_equal(rig_trim(w->rig, "c", 8).rc, RC_OK);
    pass(w, SETTLE_MS);
    assert_true(is_told(w, "\"events\":[{\"type\":\"message.offline\",\"conv\":\"c\",\"seq\":9,"));
    assert_true(is_told(w, "\"seq\":12,"));
}

/* What retention removes, or the operator ends, between a look and the next one is no damage. */
static void what_goes_meanwhile_is_passed_over(void **state)
{
    struct world *w = *state;
    uint64_t first;
    rig_create(w->rig, "c", "alice", "bob");
    for (uint32_t i = 0; i < 10; i++)
        say(w, "c", "alice", "1");
    rig_told(w->rig, "c");
    struct machine *m = w->rig->machine;
    assert_int_equal(machine_first_since(m, slice_string("c"), 0, 3, 12, &first), RC_OK);
    assert_int_equal(first, 3);
    assert_int_equal(rig_trim(w->rig, "c", 8).rc, RC_OK);
    assert_int_equal(machine_first_since(m, slice_string("c"), 0, 3, 12, &first), RC_OK);
    assert_int_equal(first, 9);
    assert_int_equal(machine_first_since(m, slice_string("c"), 0, 3, 7, &first), RC_OK);
    assert_true(first > 7);
    assert_int_equal(rig_drop(w->rig, "c").rc, RC_OK);
    assert_int_equal(machine_first_since(m, slice_string("c"), 0, 3, 12, &first), RC_OK);
    assert_int_equal(first, 13);
}

/* ---- Posts ---- */

/* Several messages of one conversation and several conversations share a post, each in order. */
static void a_post_holds_what_is_due(void **state)
{
    struct world *w = *state;
    rig_create(w->rig, "c1", "alice", "bob");
    rig_create(w->rig, "c2", "alice", "bob");
    pass(w, GRACE_MS);
    say(w, "c1", "alice", "1");
    say(w, "c2", "alice", "2");
    say(w, "c1", "alice", "3");
    pass(w, SETTLE_MS);
    assert_int_equal(w->posts, 1);
    const char *bytes = (const char *)w->body->bytes;
    const char *first = memmem(bytes, w->body->size, "\"body\":1", 8);
    const char *third = memmem(bytes, w->body->size, "\"body\":3", 8);
    assert_true(first != NULL && third != NULL && first < third);
    assert_true(is_told(w, "\"body\":2"));
    say(w, "c1", "alice", "4"); /* While that is on its way. */
    pass(w, SETTLE_MS);
    assert_int_equal(w->posts, 1);
    answer(w, 200);
    pass(w, STEP_MS);
    assert_int_equal(w->posts, 2);
    assert_true(is_told(w, "\"body\":4"));
    assert_false(is_told(w, "\"body\":3"));
}

static uint32_t count_of(const struct world *w, const char *part)
{
    uint32_t count = 0;
    const uint8_t *at = w->body->bytes, *end = at + w->body->size;
    while ((at = memmem(at, (size_t)(end - at), part, strlen(part))) != NULL) {
        count++;
        at++;
    }
    return count;
}

/* More than a post may hold goes in several, one after another, and nothing twice. */
static void a_post_is_bounded(void **state)
{
    struct world *w = *state;
    rig_create(w->rig, "c", "alice", "bob");
    pass(w, GRACE_MS);
    for (uint32_t i = 0; i < LIMIT_PUSH_EVENTS_MAX * 2 + 50; i++)
        say(w, "c", "alice", "1");
    pass(w, SETTLE_MS);
    assert_int_equal(count_of(w, "message.offline"), LIMIT_PUSH_EVENTS_MAX);
    assert_true(is_told(w, "\"seq\":102,"));
    answer(w, 200);
    pass(w, STEP_MS);
    assert_int_equal(count_of(w, "message.offline"), LIMIT_PUSH_EVENTS_MAX);
    assert_true(is_told(w, "\"seq\":103,"));
    answer(w, 200);
    pass(w, STEP_MS);
    assert_int_equal(count_of(w, "message.offline"), 50);
    answer(w, 200);
    pass(w, 10000);
    assert_int_equal(w->posts, 3);
    assert_int_equal(pushed(w, "c"), 252);
}

/* What is not answered 2xx is posted again: after 1 s, 2 s, and so on to a minute, for ever. */
static void a_refused_post_is_repeated_with_backoff(void **state)
{
    struct world *w = *state;
    static const uint32_t statuses[] = {500, 0, 301, 429, 404, 503, 500, 500, 400, 500};
    rig_create(w->rig, "c", "alice", "bob");
    pass(w, GRACE_MS);
    say(w, "c", "alice", "1");
    pass(w, SETTLE_MS);
    uint64_t wait_ms = 1000;
    for (uint32_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
        int64_t failed = metric_get(push_failed_total);
        answer(w, statuses[i]);
        assert_int_equal(metric_get(push_failed_total), failed + 1);
        assert_int_equal(push_waiting(w->push), 1);
        pass(w, wait_ms - 2 * STEP_MS);
        assert_null(w->body);
        pass(w, 3 * STEP_MS);
        assert_true(is_told(w, "\"users\":[\"bob\"]"));
        wait_ms = wait_ms * 2 < 60000 ? wait_ms * 2 : 60000;
    }
    assert_int_equal(pushed(w, "c"), 0);
    answer(w, 200);
    assert_int_equal(pushed(w, "c"), 3);
    say(w, "c", "alice", "2"); /* And it is forgiven. */
    pass(w, SETTLE_MS);
    assert_int_equal(w->posts, 12);
}

/* Who came while the webhook was away is not told late of what he has. */
static void who_came_meanwhile_is_left_out_of_the_repetition(void **state)
{
    struct world *w = *state;
    rig_create(w->rig, "c", "alice", "bob carol");
    pass(w, GRACE_MS);
    uint64_t seq = say(w, "c", "alice", "1");
    pass(w, SETTLE_MS);
    assert_true(is_told(w, "\"users\":[\"bob\",\"carol\"]"));
    answer(w, 0);
    has(w, "c", "bob", seq);
    pass(w, 1100);
    assert_true(is_told(w, "\"users\":[\"carol\"]"));
    answer(w, 0);
    has(w, "c", "carol", seq);
    pass(w, 60000);
    assert_int_equal(w->posts, 2);
}

/* An event the webhook will not take keeps the others only for a while: fewer go together, and
 * they change places. */
static void one_bad_event_does_not_keep_the_others(void **state)
{
    struct world *w = *state;
    char conv[16];
    for (uint32_t i = 0; i < 8; i++) {
        snprintf(conv, sizeof(conv), "c%u", i);
        rig_create(w->rig, conv, "alice", "bob");
    }
    pass(w, GRACE_MS);
    for (uint32_t i = 0; i < 8; i++) {
        snprintf(conv, sizeof(conv), "c%u", i);
        say(w, conv, "alice", i == 0 ? "\"bad\"" : "\"good\"");
    }
    pass(w, SETTLE_MS);
    uint32_t good = 0;
    for (uint32_t i = 0; i < 60 && good < 7; i++) {
        uint32_t count = count_of(w, "good");
        bool is_bad = is_told(w, "bad");
        answer(w, is_bad ? 400 : 200);
        good += is_bad ? 0 : count;
        pass(w, 60500);
        if (w->body == NULL)
            break;
    }
    assert_int_equal(good, 7);
    assert_int_equal(count_of(w, "message.offline"), 1);
    assert_true(is_told(w, "bad"));
}

/* A cmd_pushed that got lost on its way into the log is given again. */
static void a_lost_command_is_repeated(void **state)
{
    struct world *w = *state;
    rig_create(w->rig, "c", "alice", "bob");
    pass(w, GRACE_MS);
    uint64_t seq = say(w, "c", "alice", "1");
    pass(w, SETTLE_MS);
    w->loses_commands = true;
    answer(w, 200);
    pass(w, 3000);
    assert_true(w->submits >= 3);
    assert_int_equal(pushed(w, "c"), 0);
    w->loses_commands = false;
    pass(w, 1500);
    assert_int_equal(pushed(w, "c"), seq);
    assert_int_equal(w->posts, 1);
}

/* A leader without its lease does not know who is offline: it waits. */
static void without_the_lease_nothing_is_told(void **state)
{
    struct world *w = *state;
    rig_create(w->rig, "c", "alice", "bob");
    pass(w, GRACE_MS);
    w->is_away = true;
    say(w, "c", "alice", "1");
    pass(w, 10000);
    assert_int_equal(w->posts, 0);
    w->is_away = false;
    pass(w, 1500);
    assert_int_equal(w->posts, 1);
}

/* ---- Many members ---- */

static void add_crowd(struct world *w, const char *conv, uint32_t count)
{
    for (uint32_t i = 0; i < count; i += 500) {
        struct buf *names = buf_new(8192);
        for (uint32_t j = i; j < i + 500; j++) {
            char name[16];
            int size = snprintf(name, sizeof(name), "u%05u", j);
            record_put_slice(names, slice_of(name, (size_t)size));
        }
        const struct msg_cmd_member c = {
            .conv = slice_string(conv),
            .user = slice_string("alice"),
            .change = MEMBER_ADD,
            .users = buf_slice(names),
            .role = ROLE_MEMBER,
        };
        assert_int_equal(rig_do(w->rig, &msg_cmd_member_desc, &c).rc, RC_OK);
        buf_unref(&names);
    }
}

/* Count in `told`, by message and user, what the post says; an event has few enough users. */
static void tally(struct world *w, uint8_t *told, uint64_t first, uint32_t users)
{
    const char *at = (const char *)w->body->bytes, *end = at + w->body->size;
    while ((at = memmem(at, (size_t)(end - at), "\"seq\":", 6)) != NULL) {
        uint64_t seq = strtoul(at + 6, NULL, 10);
        const char *list = memmem(at, (size_t)(end - at), "\"users\":[", 9);
        const char *close = memchr(list, ']', (size_t)(end - list));
        uint32_t count = 0;
        for (const char *u = list + 9; u < close; u += 9, count++) {
            assert_memory_equal(u, "\"u", 2);
            uint64_t user = strtoul(u + 2, NULL, 10);
            assert_true(user < users && seq >= first);
            told[(seq - first) * users + user]++;
        }
        assert_true(count > 0 && count <= LIMIT_PUSH_USERS_MAX);
        at = close;
    }
}

/* Pages of members, posts that are full, some refused, some that come online in between: each who
 * stays away is told of each message once by a post that was confirmed. */
static void thousands_of_members_are_told_page_by_page(void **state)
{
    struct world *w = *state;
    const uint32_t users = 2500;
    const uint32_t messages = 5;
    static char body[100001];
    memset(body, '1', sizeof(body) - 1); /* So large that two fill a post. */
    rig_create(w->rig, "c", "alice", "bob");
    has(w, "c", "bob", 2);
    add_crowd(w, "c", users);
    pass(w, GRACE_MS);
    uint64_t first = say(w, "c", "alice", body);
    for (uint32_t i = 1; i < messages; i++)
        say(w, "c", "alice", body);
    uint64_t last = first + messages - 1;
    has(w, "c", "bob", last);
    for (uint32_t i = 0; i < users; i += 7) { /* These have it all, in time. */
        char name[16];
        snprintf(name, sizeof(name), "u%05u", i);
        has(w, "c", name, last);
    }
    uint8_t *told = mem_zero(users * messages);
    pass(w, SETTLE_MS);
    for (uint32_t i = 0; w->body != NULL; i++) {
        assert_true(i < 100);
        bool is_refused = i % 3 == 1;
        if (!is_refused)
            tally(w, told, first, users);
        answer(w, is_refused ? 500 : 200);
        char name[16];
        snprintf(name, sizeof(name), "u%05u", i * 83 + 1); /* Comes while it is being told. */
        has(w, "c", name, last);
        pass(w, 2500);
    }
    for (uint32_t user = 0; user < users; user++) {
        bool came = user % 83 == 1;
        for (uint32_t i = 0; i < messages && !came; i++)
            assert_int_equal(told[i * users + user], user % 7 == 0 ? 0 : 1);
        for (uint32_t i = 0; i < messages && came; i++)
            assert_true(told[i * users + user] <= 1);
    }
    mem_free(told);
    assert_int_equal(pushed(w, "c"), last);
}

/* The work of a turn is bounded, however large the group. */
static void a_large_group_takes_many_turns(void **state)
{
    struct world *w = *state;
    rig_create(w->rig, "c", "alice", "");
    add_crowd(w, "c", 5000);
    pass(w, GRACE_MS);
    say(w, "c", "alice", "1");
    w->now_us += SETTLE_MS * 1000;
    uint32_t turns = 0;
    for (; w->body == NULL; turns++)
        push_turn(w->push);
    assert_true(turns > 5000 / 600);
}

/* ---- Leaders ---- */

/* What the old leader left is found by its cursor; and not told before the gateways had time to say
 * who has it. */
static void a_new_leader_goes_on(void **state)
{
    struct world *w = *state;
    rig_create(w->rig, "c1", "alice", "bob");
    rig_create(w->rig, "c2", "alice", "bob");
    pass(w, GRACE_MS);
    say(w, "c1", "alice", "1");
    pass(w, SETTLE_MS);
    answer(w, 200); /* Confirmed: not told again. */
    say(w, "c1", "alice", "2");
    uint64_t seq = say(w, "c2", "alice", "3");
    pass(w, SETTLE_MS);
    assert_int_equal(w->posts, 2); /* On its way, never confirmed. */
    new_leader(w);
    pass(w, 4000);
    assert_int_equal(w->posts, 2);
    has(w, "c2", "bob", seq); /* A gateway says it again. */
    pass(w, GRACE_MS - 4000);
    assert_int_equal(w->posts, 3);
    assert_true(is_told(w, "\"body\":2"));
    assert_false(is_told(w, "\"body\":1"));
    assert_false(is_told(w, "\"body\":3"));
}

/* Who leads no longer says nothing, and what comes back from the webhook is no concern of his. */
static void a_lost_shard_is_forgotten(void **state)
{
    struct world *w = *state;
    rig_create(w->rig, "c1", "alice", "bob");
    rig_create(w->rig, "c2", "alice", "bob");
    pass(w, GRACE_MS);
    say(w, "c1", "alice", "1");
    pass(w, SETTLE_MS);
    say(w, "c2", "alice", "1");
    push_lose(w->push, SHARD);
    answer(w, 200);
    pass(w, 60000);
    assert_int_equal(w->posts, 1);
    assert_int_equal(w->submits, 0);
    assert_int_equal(push_due_us(w->push), ENV_NEVER);
    push_lead(w->push, SHARD); /* Again: all is found. */
    pass(w, GRACE_MS);
    assert_int_equal(count_of(w, "message.offline"), 2);
}

/* A day old is no news: where the webhook was off, or is new. */
static void old_messages_are_no_news(void **state)
{
    struct world *w = *state;
    rig_create(w->rig, "old", "alice", "bob");
    rig_create(w->rig, "both", "alice", "bob");
    pass(w, STEP_MS);
    for (uint32_t i = 0; i < 20; i++) {
        rig_send(w->rig, "old", "alice", NULL, "1");
        rig_send(w->rig, "both", "alice", NULL, "1");
    }
    w->wall_ms += 86400000u;
    w->rig->ts = w->wall_ms;
    rig_send(w->rig, "both", "alice", NULL, "2");
    new_leader(w);
    pass(w, GRACE_MS);
    assert_int_equal(count_of(w, "message.offline"), 1);
    assert_true(is_told(w, "\"conv\":\"both\",\"seq\":23,"));
    answer(w, 200);
    pass(w, 60000);
    assert_int_equal(w->posts, 1);
}

/* Whenever the leader dies, each message reaches the webhook, and what was confirmed and applied
 * does not come again. */
static void nothing_is_lost_across_restarts(void **state)
{
    struct world *w = *state;
    uint32_t told[400] = {0};
    char conv[16];
    for (uint32_t i = 0; i < 5; i++) {
        snprintf(conv, sizeof(conv), "c%u", i);
        rig_create(w->rig, conv, "alice", "bob carol");
    }
    uint32_t sent = 0;
    for (uint32_t round = 0; round < 60; round++) {
        for (uint32_t i = 0; i < 5 && round < 40; i++) {
            char body[16];
            snprintf(conv, sizeof(conv), "c%u", i);
            snprintf(body, sizeof(body), "\"b%03u\"", sent++);
            say(w, conv, "alice", body);
        }
        pass(w, 1000 + round * 137 % 9000);
        if (w->body != NULL && round % 4 != 3) {
            bool is_fine = round % 4 != 1;
            const char *at = (const char *)w->body->bytes, *end = at + w->body->size;
            for (; is_fine && (at = memmem(at, (size_t)(end - at), "\"b", 2)) != NULL; at++)
                if (at[2] >= '0' && at[2] <= '9')
                    told[strtoul(at + 2, NULL, 10)]++;
            answer(w, is_fine ? 200 : 500);
        }
        if (round % 5 == 4)
            new_leader(w);
    }
    assert_int_equal(sent, 200);
    for (uint32_t i = 0; i < sent; i++)
        assert_int_equal(told[i], 1);
}

/* There is room for so many conversations at a time; those that found none are found by a walk. */
static void without_room_a_walk_finds_it_later(void **state)
{
    struct world *w = *state;
    char conv[32];
    rig_create(w->rig, "c", "alice", "bob");
    pass(w, GRACE_MS);
    for (uint32_t i = 0; i < 131072; i++) {
        int size = snprintf(conv, sizeof(conv), "nowhere%u", i);
        push_note(w->push, SHARD, slice_of(conv, (size_t)size), 1);
    }
    say(w, "c", "alice", "1");
    pass(w, SETTLE_MS + GRACE_MS);
    assert_true(is_told(w, "\"users\":[\"bob\"]"));
    assert_int_equal(w->posts, 1);
}

/* Before it stops a router posts no more, but takes the answer that is on its way. */
static void a_router_that_stops_posts_no_more(void **state)
{
    struct world *w = *state;
    rig_create(w->rig, "c1", "alice", "bob");
    rig_create(w->rig, "c2", "alice", "bob");
    pass(w, GRACE_MS);
    uint64_t seq = say(w, "c1", "alice", "1");
    pass(w, SETTLE_MS);
    say(w, "c2", "alice", "1");
    push_stop(w->push);
    pass(w, SETTLE_MS);
    answer(w, 200);
    pass(w, 10000);
    assert_int_equal(w->posts, 1);
    assert_int_equal(pushed(w, "c1"), seq);
}

/* A row that is damaged is told to the router, which knows what to do, and nothing is posted. */
static void a_damaged_row_is_told(void **state)
{
    struct world *w = *state;
    rig_create(w->rig, "c", "alice", "bob");
    pass(w, GRACE_MS);
    say(w, "c", "alice", "1");
    struct kv_batch *batch = w->rig->kv->ops->batch_new(w->rig->kv);
    struct keyspace keys = {.shard = SHARD, .generation = 1};
    struct keyspace_key key;
    keyspace_names(&key, &keys, KEYSPACE_MEMBER, slice_string("c"), slice_string("bob"));
    kv_put(batch, KV_STATE, keyspace_slice(&key), slice_string("damaged"));
    assert_int_equal(w->rig->kv->ops->write(w->rig->kv, batch), RC_OK);
    w->rig->kv->ops->batch_free(&batch);
    pass(w, SETTLE_MS);
    assert_true(w->reads_failed > 0);
    assert_int_equal(w->posts, 0);
}

/* ---- cmd_pushed ---- */

/* The cursor never goes back, nor beyond the newest entry; unknown conversations are refused. */
static void the_cursor_only_goes_on(void **state)
{
    struct world *w = *state;
    rig_create(w->rig, "c", "alice", "bob");
    struct msg_cmd_pushed c = {.conv = slice_string("c"), .seq = 99};
    assert_int_equal(rig_do(w->rig, &msg_cmd_pushed_desc, &c).rc, RC_OK);
    assert_int_equal(pushed(w, "c"), 2);
    c.seq = 1;
    assert_int_equal(rig_do(w->rig, &msg_cmd_pushed_desc, &c).rc, RC_OK);
    rig_reopen(w->rig);
    assert_int_equal(pushed(w, "c"), 2);
    c.conv = slice_string("nowhere");
    assert_int_equal(rig_do(w->rig, &msg_cmd_pushed_desc, &c).rc, RC_NOT_FOUND);
    c.conv = slice_string("not an id");
    assert_int_equal(rig_do(w->rig, &msg_cmd_pushed_desc, &c).rc, RC_BAD_REQUEST);
}

/* Where the last member gets the newest message the cursor moves by itself; not where its sender
 * is gone, for then the count says nothing. */
static void the_cursor_follows_those_who_have_everything(void **state)
{
    struct world *w = *state;
    rig_create(w->rig, "c", "alice", "bob carol");
    uint64_t seq = rig_send(w->rig, "c", "alice", NULL, "1").seq;
    has(w, "c", "bob", seq);
    assert_int_equal(pushed(w, "c"), 0);
    has(w, "c", "carol", seq);
    assert_int_equal(pushed(w, "c"), seq);
    seq = rig_send(w->rig, "c", "alice", NULL, "2").seq;
    rig_member(w->rig, "c", "alice", MEMBER_LEAVE, "alice", ROLE_MEMBER);
    has(w, "c", "bob", seq);
    assert_int_equal(pushed(w, "c"), seq - 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_offline_member_is_told_once),
        TEST(a_direct_conversation_is_told),
        TEST(names_are_escaped),
        TEST(who_got_it_in_time_is_left_out),
        TEST(who_has_read_without_a_word_is_left_out),
        TEST(only_members_at_the_message_are_told),
        TEST(who_comes_back_in_time_is_told),
        TEST(who_comes_back_after_the_last_message_is_told),
        TEST(a_message_is_told_as_it_is_now),
        TEST(trimmed_messages_are_passed_over),
        TEST(what_goes_meanwhile_is_passed_over),
        TEST(a_post_holds_what_is_due),
        TEST(a_post_is_bounded),
        TEST(a_refused_post_is_repeated_with_backoff),
        TEST(who_came_meanwhile_is_left_out_of_the_repetition),
        TEST(one_bad_event_does_not_keep_the_others),
        TEST(a_lost_command_is_repeated),
        TEST(without_the_lease_nothing_is_told),
        TEST(thousands_of_members_are_told_page_by_page),
        TEST(a_large_group_takes_many_turns),
        TEST(a_new_leader_goes_on),
        TEST(a_lost_shard_is_forgotten),
        TEST(old_messages_are_no_news),
        TEST(nothing_is_lost_across_restarts),
        TEST(without_room_a_walk_finds_it_later),
        TEST(a_router_that_stops_posts_no_more),
        TEST(a_damaged_row_is_told),
        TEST(the_cursor_only_goes_on),
        TEST(the_cursor_follows_those_who_have_everything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
