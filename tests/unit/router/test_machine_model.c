/* machine: thousands of random commands against a simple model, on three replicas.
 *
 * The model (tests/support/machine_model.h) keeps plain arrays and recounts everything. Replica 0
 * writes after each entry; replica 1 keeps hardly anything in memory and writes now and then;
 * replica 2 crashes, loses what was not synced, and applies it again. All must give the model's
 * answers and end with the same rows, byte for byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "mesh/base/limits.h"
#include "mesh/base/mem.h"
#include "storage/mem_kv.h"
#include "tests/support/machine_model.h"

#define ENTRIES  500
#define REPLICAS 3

/* ---- What the machine must show of it ---- */

struct owed_seen {
    struct model *model;
    uint32_t count;
};

static void see_owed(void *context, const struct machine_owed *owed)
{
    struct owed_seen *seen = context;
    for (int c = 0; c < MODEL_CONVS; c++)
        if (slice_equal(owed->conv, model_conv_id(c)))
            assert_int_equal(seen->model->convs[c].log[owed->seq].kind, 'o');
    seen->count++;
}

static void check_owed(struct model *model, struct rig *rig)
{
    struct owed_seen seen = {.model = model};
    assert_int_equal(machine_owed(rig->machine, UINT32_MAX, see_owed, &seen), RC_OK);
    uint32_t owed = 0;
    for (int c = 0; c < MODEL_CONVS; c++)
        for (uint64_t seq = 1; seq <= model->convs[c].head; seq++)
            owed += model->convs[c].log[seq].kind == 'o';
    assert_int_equal(seen.count, owed);
    assert_int_equal(machine_owes(rig->machine), owed > 0);
}

static void check_summary(struct rig *rig, const struct model_conv *conv, int c, int user)
{
    const struct model_member *member = &conv->members[user];
    struct buf *ids = buf_new(0);
    record_put_slice(ids, model_conv_id(c));
    struct msg_summary request = {.user = slice_string(model_users[user]), .convs = buf_slice(ids)};
    struct msg_summaries answer;
    struct msg_summary_item item;
    buf_clear(rig->into);
    assert_int_equal(machine_summary(rig->machine, &request, &answer, rig->into), RC_OK);
    struct record_reader r = record_reader_of(answer.items);
    assert_int_equal(record_reader_at_end(&r), !member->current);
    if (member->current) {
        uint64_t after = member->read > conv->trimmed ? member->read : conv->trimmed;
        uint64_t unread = model_messages(conv, after + 1, conv->head);
        assert_int_equal(record_decode(&r, &msg_summary_item_desc, &item), RC_OK);
        assert_int_equal(item.read, member->read);
        assert_int_equal(item.unread, unread);
        assert_int_equal(item.members, model_count_role(conv, ROLE_MEMBER) +
                                           model_count_role(conv, ROLE_ADMIN) +
                                           model_count_role(conv, ROLE_OWNER));
    }
    buf_unref(&ids);
}

/* Reactions are counted by emoji, and those of nobody are not there. */
static void check_reactions(const struct model_entry *expected, struct slice reactions)
{
    uint64_t counts[MODEL_EMOJIS] = {0};
    for (int emoji = 0; emoji < MODEL_EMOJIS; emoji++)
        for (int user = 0; user < MODEL_USERS; user++)
            counts[emoji] += expected->set[emoji][user];
    struct record_reader r = record_reader_of(reactions);
    while (!record_reader_at_end(&r)) {
        struct msg_reaction_count item;
        assert_int_equal(record_decode(&r, &msg_reaction_count_desc, &item), RC_OK);
        for (int emoji = 0; emoji < MODEL_EMOJIS; emoji++)
            if (slice_equals(item.emoji, model_emojis[emoji])) {
                assert_int_equal(item.count, counts[emoji]);
                counts[emoji] = 0;
            }
    }
    for (int emoji = 0; emoji < MODEL_EMOJIS; emoji++)
        assert_int_equal(counts[emoji], 0);
}

/* Who was removed sees nothing of what came after it: no newer text, and no reactions. */
static struct model_entry seen_until(const struct model_entry *entry, uint64_t until)
{
    struct model_entry seen = *entry;
    memset(seen.set, 0, sizeof(seen.set));
    if (seen.edited > until) {
        seen.edited = 0;
        seen.body = 0;
    }
    return seen;
}

static void check_entry(const struct model_entry *expected, const struct msg_entry *entry)
{
    struct msg_marks marks = {0};
    char body[24];
    assert_int_equal(entry->type == ENTRY_MESSAGE, expected->kind == 'm');
    assert_int_equal(entry->type == ENTRY_EDIT, expected->kind == 'e');
    assert_int_equal(entry->type == ENTRY_REACTION, expected->kind == 'r');
    assert_int_equal(entry->ts, expected->ts);
    assert_true(slice_equals(entry->from, expected->from >= 0 ? model_users[expected->from] : ""));
    if (expected->kind != 'm' && expected->kind != 'e')
        return;
    snprintf(body, sizeof(body), "%lu", expected->body);
    assert_true(expected->body != 0 ? slice_equals(entry->body, body) : entry->body.base == NULL);
    if (entry->marks.base != NULL) {
        struct record_reader r = record_reader_of(entry->marks);
        assert_int_equal(record_decode(&r, &msg_marks_desc, &marks), RC_OK);
    }
    assert_int_equal(marks.edited, expected->edited);
    assert_int_equal(marks.deleted, expected->deleted);
    if (expected->kind == 'm')
        check_reactions(expected, marks.reactions);
}

/* `user` may be MODEL_OPERATOR. */
static void check_log(struct rig *rig, const struct model_conv *conv, int c, int user)
{
    static const struct model_member everywhere = {.was = true, .current = true, .visible = 1};
    const struct model_member *member = user != MODEL_OPERATOR ? &conv->members[user] : &everywhere;
    struct msg_fetch request = {.conv = model_conv_id(c), .limit = LIMIT_RESUME_COUNT};
    struct msg_fetched answer;
    struct msg_entry entry;
    if (user != MODEL_OPERATOR)
        request.user = slice_string(model_users[user]);
    buf_clear(rig->into);
    assert_int_equal(machine_fetch(rig->machine, &request, &answer), RC_OK);
    assert_int_equal(answer.rc, !model_is_there(conv) ? RC_NOT_FOUND
                                : member->was         ? RC_OK
                                                      : RC_FORBIDDEN);
    if (answer.rc != RC_OK)
        return;
    struct record_reader r = record_reader_of(answer.entries);
    uint64_t first = member->visible > conv->begun ? member->visible : conv->begun;
    uint64_t seq = conv->trimmed >= first ? conv->trimmed : first - 1;
    uint64_t last = member->current ? conv->head : member->left;
    uint64_t ts = 0;
    while (!record_reader_at_end(&r)) {
        assert_int_equal(record_decode(&r, &msg_entry_desc, &entry), RC_OK);
        assert_int_equal(entry.seq, ++seq);
        assert_true(entry.ts >= ts);
        struct model_entry expected = conv->log[seq];
        if (!member->current)
            expected = seen_until(&expected, member->left);
        check_entry(&expected, &entry);
        ts = entry.ts;
    }
    assert_int_equal(answer.trimmed, conv->trimmed);
    if (answer.more == 0 && seq < last)
        fail();
}

static void check_devices(struct rig *rig, const struct model_conv *conv, int c, int user)
{
    const struct model_member *member = &conv->members[user];
    for (int device = 0; device < MODEL_DEVICES && member->was; device++) {
        struct msg_watch request = {
            .conv = model_conv_id(c),
            .user = slice_string(model_users[user]),
            .device = slice_string(model_devices[device]),
        };
        struct msg_watched answer;
        buf_clear(rig->into);
        assert_int_equal(machine_watch(rig->machine, &request, 10, &answer, rig->into), RC_OK);
        uint64_t from = member->delivered[device];
        uint64_t hidden = member->visible - 1; /* A gap for who has something before it. */
        uint64_t seen = from > hidden ? from : hidden;
        uint64_t trimmed = conv->trimmed > hidden ? conv->trimmed : hidden;
        if (trimmed > answer.head)
            trimmed = answer.head;
        if (from == 0 && member->visible > conv->begun)
            from = hidden;
        assert_int_equal(answer.missed, answer.head - seen);
        assert_int_equal(answer.until, member->current ? 0 : member->left);
        assert_int_equal(answer.trimmed_to, trimmed > from ? trimmed : 0);
        assert_int_equal(answer.trimmed, trimmed > from && answer.head - trimmed <= 10);
        assert_true(answer.from >= trimmed && answer.head - answer.from <= 10);
    }
}

static void check_index(const struct model *model, struct rig *rig, int user)
{
    struct msg_user_open request = {.user = slice_string(model_users[user]), .limit = 100};
    struct msg_user_convs answer;
    buf_clear(rig->into);
    assert_int_equal(machine_user_convs(rig->machine, &request, &answer, rig->into, rig->into_left),
                     RC_OK);
    struct record_reader r = record_reader_of(answer.convs);
    int expected = 0;
    for (int c = 0; c < MODEL_CONVS; c++)
        expected += model->index_seq[user][c] != 0 && !model->index_gone[user][c];
    for (struct slice conv; !record_reader_at_end(&r); expected--)
        assert_int_equal(record_get_slice(&r, &conv), RC_OK);
    assert_int_equal(expected, 0);
}

/* How far the newest message came, counted anew. */
static void check_tally(struct rig *rig, const struct model_conv *conv, int c)
{
    struct msg_event_tally tally;
    uint64_t seq = conv->head;
    uint64_t delivered = 0;
    uint64_t read = 0;
    uint64_t total = 0;
    while (seq > conv->trimmed && conv->log[seq].kind != 'm')
        seq--;
    assert_int_equal(machine_tally(rig->machine, model_conv_id(c), &tally), RC_OK);
    if (!model_is_there(conv) || seq <= conv->trimmed) {
        assert_int_equal(tally.seq, 0);
        return;
    }
    const struct model_member *sender = &conv->members[conv->log[seq].from];
    for (int user = 0; user < MODEL_USERS; user++) {
        const struct model_member *member = &conv->members[user];
        bool has = member->read >= seq;
        for (int device = 0; device < MODEL_DEVICES; device++)
            has |= member->delivered[device] >= seq;
        if (member == sender || !member->current)
            continue;
        total++;
        delivered += has;
        read += member->read >= seq;
    }
    assert_int_equal(tally.seq, seq);
    assert_int_equal(tally.total, total);
    if (sender->current && sender->joined > seq)
        return; /* He may have been erased: then he counts as anybody. */
    assert_int_equal(tally.delivered, delivered);
    assert_int_equal(tally.read, read);
}

static void check_all(struct model *model, struct rig *rig)
{
    check_owed(model, rig);
    for (int c = 0; c < MODEL_CONVS; c++) {
        check_log(rig, &model->convs[c], c, MODEL_OPERATOR);
        check_tally(rig, &model->convs[c], c);
    }
    for (int user = 0; user < MODEL_USERS; user++) {
        check_index(model, rig, user);
        for (int c = 0; c < MODEL_CONVS; c++) {
            check_summary(rig, &model->convs[c], c, user);
            check_log(rig, &model->convs[c], c, user);
            check_devices(rig, &model->convs[c], c, user);
        }
    }
}

/* ---- The run ---- */

static void check_results(const struct model *model, const struct rig *rig, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        assert_int_equal(rig->results[i].rc, model->expected[i].rc);
        assert_int_equal(rig->results[i].seq, model->expected[i].seq);
        assert_int_equal(rig->results[i].ts, model->expected[i].ts);
        assert_int_equal(rig->results[i].dup, model->expected[i].dup);
    }
}

/* Die, perhaps forgetting batches that were not synced, and apply again what is missing. */
static void crash(struct model *model, struct rig *rig, struct buf *const *entries,
                  uint32_t applied)
{
    machine_free(&rig->machine);
    mem_kv_crash(rig->kv, model_draw(model, 4));
    rig_reopen(rig);
    machine_limit_cache(rig->machine, (uint32_t)model_draw(model, 3));
    while (rig->index < applied) {
        rig_apply_entry(rig, buf_slice(entries[rig->index]));
        if (model_draw(model, 3) == 0)
            rig_write(rig);
    }
}

static void run(uint64_t seed)
{
    struct model *model = mem_new(struct model);
    struct rig *rigs = mem_zero(REPLICAS * sizeof(*rigs));
    struct buf *entries[ENTRIES];
    model_init(model, seed);
    for (int i = 0; i < REPLICAS; i++)
        rig_open(&rigs[i]);
    machine_limit_cache(rigs[1].machine, 1);
    for (uint32_t at = 0; at < ENTRIES; at++) {
        uint32_t count;
        entries[at] = model_entry(model, &rigs[0], &count);
        for (int i = 0; i < REPLICAS; i++) {
            rig_apply_entry(&rigs[i], buf_slice(entries[at]));
            check_results(model, &rigs[i], count);
        }
        rig_write(&rigs[0]);
        if (model_draw(model, 6) == 0)
            rig_write(&rigs[1]);
        if (model_draw(model, 3) == 0)
            rig_write(&rigs[2]);
        if (model_draw(model, 10) == 0)
            crash(model, &rigs[2], entries, at + 1);
        if (at % 50 == 49)
            check_all(model, &rigs[0]);
    }
    struct buf *dumps[REPLICAS];
    for (int i = 0; i < REPLICAS; i++) {
        rig_write(&rigs[i]);
        check_all(model, &rigs[i]);
        dumps[i] = rig_dump(rigs[i].kv);
        assert_true(slice_equal(buf_slice(dumps[0]), buf_slice(dumps[i])));
    }
    for (int i = 0; i < REPLICAS; i++) {
        buf_unref(&dumps[i]);
        rig_close(&rigs[i]);
    }
    for (uint32_t at = 0; at < ENTRIES; at++)
        buf_unref(&entries[at]);
    mem_free(rigs);
    mem_free(model);
}

/* Whatever the commands, the machine does as the model says, and replicas agree. */
static void replicas_agree_with_the_model(void **state)
{
    (void)state;
    const char *chosen = getenv("SEED");
    uint64_t first = chosen != NULL ? strtoull(chosen, NULL, 10) : 1;
    uint64_t last = chosen != NULL ? first : 24;
    for (uint64_t seed = first; seed <= last; seed++) {
        print_message("seed %lu\n", seed); /* The last one printed is the one that failed. */
        run(seed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replicas_agree_with_the_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
