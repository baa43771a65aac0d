/* Raft messages as a faulty or hostile router might send them, to a group of three that goes on
 * meanwhile.
 *
 * The input is messages: a byte that says to whom, from whom, in which form and what happens
 * besides; then either two bytes with the size of a msg_raft record and that, or fields in few
 * bytes, most of them near what the receiver has, so that what is nearly right comes often.
 * Whatever comes, nobody dies of it, no core gives up, and what is stored can be opened again. A
 * forged acknowledgement is believed, as Raft does; so what the replicas agree on is not asked. */
#include "mesh/base/check.h"
#include "mesh/base/crypto.h"
#include "storage/raft_log.h"
#include "tests/support/raft_rig.h"

#define REPLICAS     3u
#define MESSAGES_MAX 48u

enum {
    TO = 0x03,        /* 3: to the leader. */
    FROM = 0x0c,      /* 3: a stranger. */
    IS_RAW = 0x10,    /* The record as it is. */
    IS_RUN = 0x20,    /* Some time passes afterwards. */
    IS_CRASH = 0x40,  /* The receiver then starts anew. */
    HAS_STATE = 0x80, /* A state was transferred before. */
};

struct input {
    const uint8_t *at, *end;
};

static uint8_t next_byte(struct input *in)
{
    return in->at < in->end ? *in->at++ : 0;
}

static struct slice next_bytes(struct input *in, size_t size)
{
    if (size > (size_t)(in->end - in->at))
        size = (size_t)(in->end - in->at);
    struct slice bytes = slice_of(in->at, size);
    in->at += size;
    return bytes;
}

/* Near `base`, or far from everything. */
static uint64_t next_number(struct input *in, uint64_t base)
{
    uint8_t code = next_byte(in);
    if (code == 0)
        return base;
    if (code < 0x80)
        return code < 0x40 ? base + code : base - (code - 0x40u);
    if (code == 0xff)
        return UINT64_MAX;
    return code < 0xc0 ? code - 0x80u : UINT64_C(1) << (code - 0xc0u);
}

/* A configuration of some of the rig's replicas, in the core's encoding, or some bytes. */
static void put_conf(struct raft_rig *rig, struct input *in, struct buf *out)
{
    uint8_t code = next_byte(in);
    if (code == 0xff) {
        buf_append_slice(out, next_bytes(in, next_byte(in)));
        return;
    }
    uint64_t count = 0;
    for (uint32_t i = 0; i < REPLICAS; i++)
        count += code >> 2 * i & 1;
    buf_append_byte(out, 1);
    buf_append(out, &count, sizeof(count));
    for (uint32_t i = 0; i < REPLICAS; i++) {
        if ((code >> 2 * i & 1) == 0)
            continue;
        buf_append(out, &rig->nodes[i].server, sizeof(rig->nodes[i].server));
        buf_append_format(out, "%s/%lx", rig->nodes[i].address,
                          (unsigned long)rig->nodes[i].server);
        buf_append_byte(out, 0);
        buf_append_byte(out,
                        (code >> (2 * i + 1) & 1) != 0 ? RAFT_GROUP_VOTER : RAFT_GROUP_STANDBY);
    }
    while (out->size % 8 != 0)
        buf_append_byte(out, 0);
}

static void put_entries(struct raft_rig *rig, struct input *in, uint64_t term, struct buf *out)
{
    uint8_t count = next_byte(in);
    if (count == 0xff) {
        buf_append_slice(out, next_bytes(in, next_byte(in)));
        return;
    }
    struct buf *data = buf_new(64);
    for (uint32_t i = 0; i < count % 6u; i++) {
        struct msg_raft_entry entry = {.term = next_number(in, term), .type = next_byte(in) % 5u};
        buf_clear(data);
        if (entry.type == RAFT_LOG_CHANGE)
            put_conf(rig, in, data);
        else
            buf_append_slice(data, next_bytes(in, next_byte(in) % 16u));
        entry.data = buf_slice(data);
        record_encode(out, &msg_raft_entry_desc, &entry);
    }
    buf_unref(&data);
}

/* Fields near what the receiver knows. */
static void put_fields(struct raft_rig *rig, struct input *in, uint32_t from, uint32_t to,
                       struct buf *out)
{
    const struct raft_group *group = rig->nodes[to].group;
    struct buf *entries = buf_new(256), *conf = buf_new(256);
    struct msg_raft m = raft_rig_message(rig, next_byte(in) % 8u, from % REPLICAS, to);
    uint64_t last = raft_group_last_index(group);
    if (from == REPLICAS)
        m.from = 4711;
    m.term = next_number(in, m.term);
    m.a = next_number(in, last);
    m.b = next_number(in, m.type == RAFT_RIG_APPEND_RESULT ? last : raft_group_term(group));
    m.c = next_number(in, raft_group_commit_index(group));
    m.flags = next_byte(in) % 8u;
    m.stamp = next_number(in, m.stamp);
    if (m.type == RAFT_RIG_APPEND) {
        put_entries(rig, in, raft_group_term(group), entries);
        m.entries = buf_slice(entries);
    }
    if (m.type == RAFT_RIG_INSTALL) {
        put_conf(rig, in, conf);
        m.conf = buf_slice(conf);
    }
    record_encode(out, &msg_raft_desc, &m);
    buf_unref(&entries);
    buf_unref(&conf);
}

static uint32_t receiver(struct raft_rig *rig, uint8_t code)
{
    uint32_t leader = raft_rig_leader(rig);
    if (code < REPLICAS)
        return code;
    return leader < REPLICAS ? leader : 0;
}

static void restart(struct raft_rig *rig, uint32_t node)
{
    raft_rig_crash(rig, node, raft_rig_random(rig, 3));
    enum rc rc = raft_rig_restart(rig, node);
    CHECK(rc == RC_OK);
}

static void give(struct raft_rig *rig, struct input *in)
{
    uint8_t code = next_byte(in);
    uint32_t to = receiver(rig, code & TO), from = (code & FROM) >> 2;
    struct buf *record = buf_new(256);
    if ((code & IS_RAW) != 0)
        buf_append_slice(record, next_bytes(in, next_byte(in)));
    else
        put_fields(rig, in, from, to, record);
    struct record_reader r = record_reader_of(buf_slice(record));
    struct msg_raft message;
    if ((code & HAS_STATE) != 0)
        raft_rig_transfer_state(rig, (to + 1) % REPLICAS, to);
    if (record_decode(&r, &msg_raft_desc, &message) == RC_OK) {
        enum rc rc = raft_rig_deliver(rig, from % REPLICAS, to, &message);
        CHECK(rc == RC_OK || rc == RC_BAD_REQUEST || rc == RC_NOT_FOUND);
    }
    buf_unref(&record);
    if ((code & IS_RUN) != 0)
        raft_rig_run(rig, 4u * next_byte(in));
    else
        raft_rig_turn(rig, to);
    if ((code & IS_CRASH) != 0)
        restart(rig, to);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct raft_rig rig;
    struct input in = {.at = data, .end = data + size};
    uint64_t index;
    crypto_start();
    raft_rig_init(&rig, 1);
    raft_rig_start(&rig, REPLICAS);
    rig.is_lawless = true;
    for (uint32_t i = 0; i < MESSAGES_MAX && in.at < in.end; i++) {
        give(&rig, &in);
        uint32_t leader = raft_rig_leader(&rig);
        if (leader < REPLICAS) {
            enum rc rc = raft_rig_submit(&rig, leader, "word", &index);
            CHECK(rc == RC_OK || rc == RC_AGAIN);
        }
    }
    raft_rig_run(&rig, 2000);
    for (uint32_t i = 0; i < REPLICAS; i++)
        restart(&rig, i);
    raft_rig_run(&rig, 2000);
    CHECK(rig.failures == 0);
    raft_rig_fini(&rig);
    return 0;
}
