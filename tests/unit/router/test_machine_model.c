/* machine: thousands of random commands against a simple model, on three replicas.
 *
 * The model keeps plain arrays and recounts everything. Replica 0 writes after each entry; replica
 * 1 keeps hardly anything in memory and writes now and then; replica 2 crashes, loses what was not
 * synced, and applies it again. All must give the model's answers and end with the same rows, byte
 * for byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "mesh/base/limits.h"
#include "mesh/base/mem.h"
#include "storage/mem_kv.h"
#include "tests/support/machine_rig.h"

#define USERS    6
#define GROUPS   4
#define CONVS    (GROUPS + 3)
#define CIDS     4
#define DEVICES  2
#define LOG_MAX  4096
#define ENTRIES  500
#define COMMANDS 6 /* An entry, at most. */
#define REPLICAS 3

static const char *const users[USERS] = {"u0", "u1", "u2", "u3", "u4", "u5"};
static const char *const devices[DEVICES] = {"phone", "tablet"};
/* The two of each direct conversation. */
static const int peers[CONVS][2] = {[GROUPS] = {0, 1}, {2, 3}, {4, 4}};

struct model_member {
    bool was, current;
    uint64_t role, joined, left, read;
    uint64_t delivered[DEVICES];
};

struct model_conv {
    bool exists;
    int creator;
    uint64_t head;
    char log[LOG_MAX]; /* By seq: 'm' message, 'o' owed, 't' told, '-' another. */
    struct model_member members[USERS];
};

struct model_dedup {
    uint64_t seq, ts; /* seq 0: never used. */
};

struct model {
    uint64_t clock;
    uint64_t random;
    struct model_conv convs[CONVS];
    struct model_dedup dedup[CONVS][USERS][CIDS];
    struct rig_result expected[COMMANDS];
    uint64_t index_seq[USERS][CONVS];
    bool index_gone[USERS][CONVS];
};

static uint64_t draw(struct model *model, uint64_t below)
{
    model->random ^= model->random << 13; /* Marsaglia's xorshift64. */
    model->random ^= model->random >> 7;
    model->random ^= model->random << 17;
    return (model->random >> 11) % below;
}

static struct slice conv_id(int conv)
{
    static const char *const groups[GROUPS] = {"g0", "g1", "g2", "g3"};
    return conv < GROUPS ? slice_string(groups[conv])
                         : rig_direct(users[peers[conv][0]], users[peers[conv][1]]);
}

/* ---- What the model makes of a command ---- */

static uint64_t append(struct model_conv *conv, char kind)
{
    assert_true(conv->head + 1 < LOG_MAX);
    conv->log[++conv->head] = kind;
    return conv->head;
}

static void join(struct model_conv *conv, int user, uint64_t role)
{
    struct model_member *member = &conv->members[user];
    member->was = true;
    member->current = true;
    member->role = role;
    member->left = 0;
    member->joined = append(conv, 'o');
}

static int count_role(const struct model_conv *conv, uint64_t role)
{
    int count = 0;
    for (int user = 0; user < USERS; user++)
        count += conv->members[user].current && conv->members[user].role == role;
    return count;
}

static struct rig_result refused(enum rc rc)
{
    return (struct rig_result){.rc = rc};
}

static struct rig_result model_message(struct model *model, int c, int user, int cid)
{
    struct model_conv *conv = &model->convs[c];
    struct model_dedup *dedup = &model->dedup[c][user][cid];
    if (dedup->seq != 0 && model->clock - dedup->ts < LIMIT_DEDUP_MS)
        return (struct rig_result){.seq = dedup->seq, .ts = dedup->ts, .dup = true};
    dedup->seq = append(conv, 'm');
    dedup->ts = model->clock;
    conv->members[user].read = conv->head;
    return (struct rig_result){.seq = conv->head, .ts = model->clock};
}

static void model_direct(struct model_conv *conv, int user, int peer)
{
    conv->exists = true;
    conv->creator = user;
    join(conv, user, ROLE_MEMBER);
    if (peer != user)
        join(conv, peer, ROLE_MEMBER);
}

static struct rig_result do_send(struct model *model, struct rig *rig)
{
    int c = (int)draw(model, CONVS);
    int user = (int)draw(model, USERS);
    int cid = (int)draw(model, CIDS);
    struct model_conv *conv = &model->convs[c];
    char cid_text[2] = {(char)('a' + cid), 0};
    struct msg_cmd_send command = {
        .conv = conv_id(c),
        .user = slice_string(users[user]),
        .cid = slice_string(cid_text),
        .body = slice_string("\"text\""),
    };
    int peer = -1;
    if (c >= GROUPS && draw(model, 2) == 0) {
        user = peers[c][draw(model, 2)];
        peer = peers[c][0] == user ? peers[c][1] : peers[c][0];
        command.user = slice_string(users[user]);
        command.peer = slice_string(users[peer]);
    }
    rig_add(rig, &msg_cmd_send_desc, &command);
    if (!conv->exists && peer < 0)
        return refused(RC_NOT_FOUND);
    if (!conv->exists)
        model_direct(conv, user, peer);
    if (!conv->members[user].current)
        return refused(RC_FORBIDDEN);
    return model_message(model, c, user, cid);
}

static struct rig_result do_create(struct model *model, struct rig *rig)
{
    int c = (int)draw(model, GROUPS);
    int user = (int)draw(model, USERS);
    int first = (int)draw(model, USERS);
    int second = (int)draw(model, USERS);
    struct model_conv *conv = &model->convs[c];
    struct buf *names = buf_new(0);
    record_put_slice(names, slice_string(users[first]));
    record_put_slice(names, slice_string(users[second]));
    struct msg_cmd_create command = {
        .conv = conv_id(c),
        .user = slice_string(users[user]),
        .kind = CONV_GROUP,
        .members = buf_slice(names),
        .cid = slice_string("a"),
        .body = slice_string("1"),
    };
    rig_add(rig, &msg_cmd_create_desc, &command);
    buf_unref(&names);
    struct model_dedup *dedup = &model->dedup[c][user][0];
    if (conv->exists && conv->creator == user && dedup->seq != 0 &&
        model->clock - dedup->ts < LIMIT_DEDUP_MS)
        return (struct rig_result){.seq = dedup->seq, .ts = dedup->ts, .dup = true};
    if (conv->exists)
        return refused(RC_CONFLICT);
    conv->exists = true;
    conv->creator = user;
    join(conv, user, ROLE_OWNER);
    if (!conv->members[first].was)
        join(conv, first, ROLE_MEMBER);
    if (!conv->members[second].was)
        join(conv, second, ROLE_MEMBER);
    return model_message(model, c, user, 0);
}

static void model_leave(struct model_conv *conv, int user)
{
    conv->members[user].current = false;
    conv->members[user].left = append(conv, 'o');
    if (conv->members[user].role != ROLE_OWNER || count_role(conv, ROLE_OWNER) > 0)
        return;
    int heir = -1;
    for (int u = 0; u < USERS; u++) {
        const struct model_member *m = &conv->members[u];
        if (m->current &&
            (heir < 0 || m->role > conv->members[heir].role ||
             (m->role == conv->members[heir].role && m->joined < conv->members[heir].joined)))
            heir = u;
    }
    if (heir >= 0) {
        conv->members[heir].role = ROLE_OWNER;
        append(conv, '-');
    }
}

static enum rc model_change(struct model_conv *conv, int user, uint64_t change, int target,
                            uint64_t role)
{
    struct model_member *asker = &conv->members[user];
    struct model_member *member = &conv->members[target];
    if (change == MEMBER_LEAVE) {
        model_leave(conv, user);
    } else if (asker->role < ROLE_ADMIN) {
        return RC_FORBIDDEN;
    } else if (change == MEMBER_ADD) {
        if (role > ROLE_MEMBER && asker->role != ROLE_OWNER)
            return RC_FORBIDDEN;
        if (!member->current)
            join(conv, target, role);
    } else if (change == MEMBER_REMOVE) {
        if (target == user)
            return RC_BAD_REQUEST;
        if (member->current && member->role == ROLE_OWNER && asker->role != ROLE_OWNER)
            return RC_FORBIDDEN;
        if (member->current) {
            member->current = false;
            member->left = append(conv, 'o');
        }
    } else {
        if (asker->role != ROLE_OWNER)
            return RC_FORBIDDEN;
        if (!member->current)
            return RC_NOT_FOUND;
        if (role != ROLE_OWNER && member->role == ROLE_OWNER && count_role(conv, ROLE_OWNER) == 1)
            return RC_CONFLICT;
        if (member->role != role) {
            member->role = role;
            append(conv, '-');
        }
    }
    return RC_OK;
}

static struct rig_result do_member(struct model *model, struct rig *rig)
{
    int c = (int)draw(model, CONVS);
    int user = (int)draw(model, USERS);
    int target = (int)draw(model, USERS);
    uint64_t change = 1 + draw(model, 4);
    uint64_t role = 1 + draw(model, 3);
    if (change == MEMBER_LEAVE && draw(model, 2) == 0)
        change = MEMBER_ADD; /* So that groups do not stay empty. */
    struct model_conv *conv = &model->convs[c];
    struct buf *names = rig_names(users[target]);
    struct msg_cmd_member command = {
        .conv = conv_id(c),
        .user = slice_string(users[user]),
        .change = change,
        .users = buf_slice(names),
        .role = role,
    };
    rig_add(rig, &msg_cmd_member_desc, &command);
    buf_unref(&names);
    if (!conv->exists)
        return refused(RC_NOT_FOUND);
    if (!conv->members[user].current || c >= GROUPS)
        return refused(RC_FORBIDDEN);
    uint64_t before = conv->head;
    enum rc rc = model_change(conv, user, change, target, role);
    if (rc != RC_OK || conv->head == before)
        return refused(rc);
    return (struct rig_result){.seq = conv->head, .ts = model->clock};
}

static struct rig_result do_info(struct model *model, struct rig *rig)
{
    int c = (int)draw(model, CONVS);
    int user = (int)draw(model, USERS);
    struct model_conv *conv = &model->convs[c];
    struct msg_cmd_info command = {
        .conv = conv_id(c), .user = slice_string(users[user]), .title = slice_string("title")};
    rig_add(rig, &msg_cmd_info_desc, &command);
    if (!conv->exists)
        return refused(RC_NOT_FOUND);
    if (!conv->members[user].current || c >= GROUPS || conv->members[user].role < ROLE_ADMIN)
        return refused(RC_FORBIDDEN);
    return (struct rig_result){.seq = append(conv, '-'), .ts = model->clock};
}

static uint64_t clamp(uint64_t value, uint64_t max)
{
    return value < max ? value : max;
}

static struct rig_result do_cursor(struct model *model, struct rig *rig)
{
    int c = (int)draw(model, CONVS);
    int user = (int)draw(model, USERS);
    struct model_conv *conv = &model->convs[c];
    struct model_member *member = &conv->members[user];
    int device = (int)draw(model, DEVICES);
    struct msg_cmd_cursor command = {
        .conv = conv_id(c),
        .user = slice_string(users[user]),
        .device = slice_string(devices[device]),
        .delivered = draw(model, conv->head + 3),
        .read = draw(model, conv->head + 3),
    };
    rig_add(rig, &msg_cmd_cursor_desc, &command);
    if (!conv->exists)
        return refused(RC_NOT_FOUND);
    if (!member->was)
        return refused(RC_FORBIDDEN);
    uint64_t head = member->current ? conv->head : member->left;
    uint64_t read = clamp(command.read, head);
    uint64_t delivered = clamp(command.delivered, head);
    if (delivered < read)
        delivered = read;
    if (read > member->read)
        member->read = read;
    if (delivered > member->delivered[device])
        member->delivered[device] = delivered;
    return refused(RC_OK);
}

static struct rig_result do_told(struct model *model, struct rig *rig)
{
    int c = (int)draw(model, CONVS);
    struct model_conv *conv = &model->convs[c];
    struct msg_cmd_told command = {.conv = conv_id(c), .seq = conv->head};
    if (draw(model, 2) == 0)
        command.seq = draw(model, conv->head + 1);
    rig_add(rig, &msg_cmd_told_desc, &command);
    for (uint64_t seq = 1; seq <= command.seq; seq++)
        if (conv->log[seq] == 'o')
            conv->log[seq] = 't';
    return refused(RC_OK);
}

static struct rig_result do_index(struct model *model, struct rig *rig)
{
    int c = (int)draw(model, CONVS);
    int user = (int)draw(model, USERS);
    struct msg_cmd_index command = {
        .user = slice_string(users[user]),
        .conv = conv_id(c),
        .seq = 1 + draw(model, 400),
        .gone = draw(model, 2),
    };
    rig_add(rig, &msg_cmd_index_desc, &command);
    if (command.seq <= model->index_seq[user][c])
        return refused(RC_OK);
    model->index_seq[user][c] = command.seq;
    model->index_gone[user][c] = command.gone != 0;
    return (struct rig_result){.seq = command.seq};
}

/* An entry of some commands, with what the model expects of each; time passes, jumps, or goes back.
 */
static struct buf *draw_entry(struct model *model, struct rig *rig, uint32_t *ret_count)
{
    uint64_t jump = draw(model, 100);
    rig->ts += jump == 0   ? LIMIT_DEDUP_MS / 2
               : jump == 1 ? LIMIT_DEDUP_MS * 3
               : jump < 10 ? LIMIT_DEDUP_MS / 10
                           : draw(model, 1000);
    if (jump > 95)
        rig->ts -= 5000;
    if (rig->ts > model->clock)
        model->clock = rig->ts;
    uint32_t count = 1 + (uint32_t)draw(model, COMMANDS);
    for (uint32_t i = 0; i < count; i++) {
        uint64_t kind = draw(model, 100);
        model->expected[i] = kind < 40   ? do_send(model, rig)
                             : kind < 48 ? do_create(model, rig)
                             : kind < 68 ? do_member(model, rig)
                             : kind < 72 ? do_info(model, rig)
                             : kind < 90 ? do_cursor(model, rig)
                             : kind < 95 ? do_told(model, rig)
                                         : do_index(model, rig);
    }
    *ret_count = count;
    return rig_pack(rig);
}

/* ---- What the machine must show of it ---- */

struct owed_seen {
    struct model *model;
    uint32_t count;
};

static void see_owed(void *context, const struct machine_owed *owed)
{
    struct owed_seen *seen = context;
    for (int c = 0; c < CONVS; c++)
        if (slice_equal(owed->conv, conv_id(c)))
            assert_int_equal(seen->model->convs[c].log[owed->seq], 'o');
    seen->count++;
}

static void check_owed(struct model *model, struct rig *rig)
{
    struct owed_seen seen = {.model = model};
    assert_int_equal(machine_owed(rig->machine, UINT32_MAX, see_owed, &seen), RC_OK);
    uint32_t owed = 0;
    for (int c = 0; c < CONVS; c++)
        for (uint64_t seq = 1; seq <= model->convs[c].head; seq++)
            owed += model->convs[c].log[seq] == 'o';
    assert_int_equal(seen.count, owed);
    assert_int_equal(machine_owes(rig->machine), owed > 0);
}

static void check_summary(struct rig *rig, const struct model_conv *conv, int c, int user)
{
    const struct model_member *member = &conv->members[user];
    struct buf *ids = buf_new(0);
    record_put_slice(ids, conv_id(c));
    struct msg_summary request = {.user = slice_string(users[user]), .convs = buf_slice(ids)};
    struct msg_summaries answer;
    struct msg_summary_item item;
    buf_clear(rig->into);
    assert_int_equal(machine_summary(rig->machine, &request, &answer, rig->into), RC_OK);
    struct record_reader r = record_reader_of(answer.items);
    assert_int_equal(record_reader_at_end(&r), !member->current);
    if (member->current) {
        uint64_t unread = 0;
        for (uint64_t seq = member->read + 1; seq <= conv->head; seq++)
            unread += conv->log[seq] == 'm';
        assert_int_equal(record_decode(&r, &msg_summary_item_desc, &item), RC_OK);
        assert_int_equal(item.read, member->read);
        assert_int_equal(item.unread, unread);
        assert_int_equal(item.members, count_role(conv, ROLE_MEMBER) +
                                           count_role(conv, ROLE_ADMIN) +
                                           count_role(conv, ROLE_OWNER));
    }
    buf_unref(&ids);
}

static void check_log(struct rig *rig, const struct model_conv *conv, int c, int user)
{
    const struct model_member *member = &conv->members[user];
    struct msg_fetch request = {
        .conv = conv_id(c), .user = slice_string(users[user]), .limit = LIMIT_RESUME_COUNT};
    struct msg_fetched answer;
    struct msg_entry entry;
    buf_clear(rig->into);
    assert_int_equal(machine_fetch(rig->machine, &request, &answer, rig->into), RC_OK);
    assert_int_equal(answer.rc, !conv->exists ? RC_NOT_FOUND : member->was ? RC_OK : RC_FORBIDDEN);
    struct record_reader r = record_reader_of(answer.entries);
    uint64_t seq = 0;
    uint64_t ts = 0;
    while (!record_reader_at_end(&r)) {
        assert_int_equal(record_decode(&r, &msg_entry_desc, &entry), RC_OK);
        assert_int_equal(entry.seq, ++seq);
        assert_true(entry.ts >= ts);
        assert_int_equal(entry.type == ENTRY_MESSAGE, conv->log[seq] == 'm');
        ts = entry.ts;
    }
    if (answer.rc == RC_OK && answer.more == 0)
        assert_int_equal(seq, member->current ? conv->head : member->left);
}

static void check_devices(struct rig *rig, const struct model_conv *conv, int c, int user)
{
    const struct model_member *member = &conv->members[user];
    for (int device = 0; device < DEVICES && member->was; device++) {
        struct msg_watch request = {
            .conv = conv_id(c),
            .user = slice_string(users[user]),
            .device = slice_string(devices[device]),
        };
        struct msg_watched answer;
        buf_clear(rig->into);
        assert_int_equal(machine_watch(rig->machine, &request, 10, &answer, rig->into), RC_OK);
        assert_int_equal(answer.missed, answer.head - member->delivered[device]);
        assert_int_equal(answer.until, member->current ? 0 : member->left);
    }
}

static void check_index(const struct model *model, struct rig *rig, int user)
{
    struct msg_user_open request = {.user = slice_string(users[user]), .limit = 100};
    struct msg_user_convs answer;
    buf_clear(rig->into);
    assert_int_equal(machine_user_convs(rig->machine, &request, &answer, rig->into), RC_OK);
    struct record_reader r = record_reader_of(answer.convs);
    int expected = 0;
    for (int c = 0; c < CONVS; c++)
        expected += model->index_seq[user][c] != 0 && !model->index_gone[user][c];
    for (struct slice conv; !record_reader_at_end(&r); expected--)
        assert_int_equal(record_get_slice(&r, &conv), RC_OK);
    assert_int_equal(expected, 0);
}

static void check_all(struct model *model, struct rig *rig)
{
    check_owed(model, rig);
    for (int user = 0; user < USERS; user++) {
        check_index(model, rig, user);
        for (int c = 0; c < CONVS; c++) {
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
    mem_kv_crash(rig->kv, draw(model, 4));
    rig_reopen(rig);
    machine_limit_cache(rig->machine, (uint32_t)draw(model, 3));
    while (rig->index < applied) {
        rig_apply_entry(rig, buf_slice(entries[rig->index]));
        if (draw(model, 3) == 0)
            rig_write(rig);
    }
}

static void run(uint64_t seed)
{
    struct model *model = mem_new(struct model);
    struct rig *rigs = mem_zero(REPLICAS * sizeof(*rigs));
    struct buf *entries[ENTRIES];
    model->random = seed * 0x9e3779b97f4a7c15u + 1;
    for (int i = 0; i < REPLICAS; i++)
        rig_open(&rigs[i]);
    machine_limit_cache(rigs[1].machine, 1);
    for (uint32_t at = 0; at < ENTRIES; at++) {
        uint32_t count;
        entries[at] = draw_entry(model, &rigs[0], &count);
        for (int i = 0; i < REPLICAS; i++) {
            rig_apply_entry(&rigs[i], buf_slice(entries[at]));
            check_results(model, &rigs[i], count);
        }
        rig_write(&rigs[0]);
        if (draw(model, 6) == 0)
            rig_write(&rigs[1]);
        if (draw(model, 3) == 0)
            rig_write(&rigs[2]);
        if (draw(model, 10) == 0)
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
