/* Gossip from a peer: any bytes into a table, then what the table says must be valid again.
 *
 * The first byte says how much time passes between the parts, so that nodes fall silent, come back
 * and are forgotten in between. The rest is gossip records, split at every 0xc1, a byte MessagePack
 * never uses. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "mesh/base/check.h"
#include "mesh/membership.h"

static void on_member(void *context, const struct msg_node *node, enum member_event event)
{
    (void)event;
    CHECK(membership_record_is_valid(node));
    ++*(uint64_t *)context;
}

/* What is told of the table must be taken by another one. */
static void check_round_trip(const struct membership *m, const struct msg_node *other_self)
{
    uint64_t events = 0;
    struct membership_handler handler = {.context = &events, .on_member = on_member};
    struct membership *other = membership_new(other_self, &handler);
    struct buf *gossip = buf_new(256);
    bool answer;
    membership_encode(m, gossip);
    enum rc rc = membership_merge(other, buf_slice(gossip), 0, &answer);
    CHECK(rc == RC_OK || rc == RC_MISMATCH);
    CHECK(rc == RC_MISMATCH || membership_count_up(other) >= membership_count_up(m));
    buf_unref(&gossip);
    membership_free(&other);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    if (size < 1)
        return 0;
    uint64_t events = 0;
    struct membership_handler handler = {.context = &events, .on_member = on_member};
    struct msg_node self = {.id = slice_string("g1"), .role = NODE_GATEWAY, .version = 1};
    struct msg_node other = {.id = slice_string("fuzz-other"), .role = NODE_GATEWAY, .version = 1};
    struct membership *m = membership_new(&self, &handler);
    uint64_t now_us = 1;
    uint64_t step_us = (uint64_t)bytes[0] * 100000;
    const uint8_t *end = bytes + size;
    for (const uint8_t *at = bytes + 1; at < end;) {
        const uint8_t *cut = memchr(at, 0xc1, (size_t)(end - at));
        size_t part = (size_t)((cut != NULL ? cut : end) - at);
        bool answer;
        membership_merge(m, slice_of(at, part), now_us, &answer);
        now_us += step_us;
        membership_tick(m, now_us);
        membership_advance(m);
        at += part + 1;
    }
    if (membership_get(m, other.id) == NULL)
        check_round_trip(m, &other);
    membership_free(&m);
    return 0;
}
