/* packet: header and messages, round trip and refusals. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mesh/base/limits.h"
#include "mesh/wire/messages.h"
#include "mesh/wire/packet.h"

static struct packet_sender sender_of(const char *node)
{
    struct packet_sender sender = {.node = slice_string(node), .incarnation = 1700000000000};
    memset(sender.cluster, 'c', sizeof(sender.cluster));
    return sender;
}

/* What was put in comes out, in order. */
static void a_packet_carries_its_sender_and_its_messages(void **state)
{
    (void)state;
    struct buf *b = buf_new(0);
    struct packet_sender sender = sender_of("g1");
    packet_begin(b, &sender, 42);
    record_encode(b, &msg_hello_desc, &(struct msg_hello){.version = 1});
    record_encode(b, &msg_unwatch_desc, &(struct msg_unwatch){3, slice_string("c1")});
    struct packet packet;
    assert_int_equal(packet_decode(buf_slice(b), &packet), RC_OK);
    assert_memory_equal(packet.cluster.base, sender.cluster, 16);
    assert_true(slice_equals(packet.node, "g1"));
    assert_true(packet.incarnation == sender.incarnation);
    assert_int_equal(packet.link_seq, 42);
    uint32_t number;
    struct msg_hello hello;
    struct msg_unwatch unwatch;
    assert_int_equal(record_peek(&packet.messages, &number), RC_OK);
    assert_int_equal(number, MSG_HELLO);
    assert_int_equal(record_decode(&packet.messages, &msg_hello_desc, &hello), RC_OK);
    assert_int_equal(record_decode(&packet.messages, &msg_unwatch_desc, &unwatch), RC_OK);
    assert_true(slice_equals(unwatch.conv, "c1"));
    assert_true(record_reader_at_end(&packet.messages));
    buf_unref(&b);
}

/* A header cut anywhere is none. */
static void half_a_header_is_corrupt(void **state)
{
    (void)state;
    struct buf *b = buf_new(0);
    struct packet_sender sender = sender_of("r1");
    struct packet packet;
    packet_begin(b, &sender, 0);
    assert_int_equal(packet_decode(buf_slice(b), &packet), RC_OK);
    assert_true(record_reader_at_end(&packet.messages));
    for (size_t size = 0; size < b->size; size++)
        assert_int_equal(packet_decode(slice_of(b->bytes, size), &packet), RC_CORRUPT);
    buf_unref(&b);
}

/* Another magic, another version, a cluster id of another size, a node without a name or too long.
 */
static void a_foreign_header_is_corrupt(void **state)
{
    (void)state;
    struct buf *b = buf_new(0);
    struct packet_sender sender = sender_of("r1");
    struct packet packet;
    packet_begin(b, &sender, 0);
    for (size_t at = 0; at < 2; at++) {
        b->bytes[at]++;
        assert_int_equal(packet_decode(buf_slice(b), &packet), RC_CORRUPT);
        b->bytes[at]--;
    }
    static const struct {
        uint32_t cluster_size;
        const char *node;
    } cases[] = {{15, "r1"}, {17, "r1"}, {16, ""}, {16, "0123456789abcdef"}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        buf_clear(b);
        buf_append_string(b, "C\x01");
        record_put_slice(b, slice_of("cccccccccccccccccc", cases[i].cluster_size));
        record_put_slice(b, slice_string(cases[i].node));
        record_put_u64(b, 1);
        record_put_u64(b, 1);
        assert_int_equal(packet_decode(buf_slice(b), &packet), RC_CORRUPT);
    }
    buf_unref(&b);
}

/* Fixed size, so that no node's topic is the beginning of another's. */
static void a_topic_is_the_node_id_padded(void **state)
{
    (void)state;
    uint8_t topic[PACKET_TOPIC_SIZE];
    packet_topic(slice_string("g1"), topic);
    assert_memory_equal(topic, "g1\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 16);
    packet_topic(slice_string("0123456789abcde"), topic);
    assert_memory_equal(topic, "0123456789abcde\0", 16);
}

/* Numbers identify records for ever, so no two may share one. */
static void every_message_has_its_own_number(void **state)
{
    (void)state;
    uint8_t seen[128] = {0};
#define M(x, X, n)                                                                                 \
    assert_int_equal(msg_##x##_desc.number, MSG_##X);                                              \
    assert_true(n < sizeof(seen));                                                                 \
    assert_int_equal(seen[n]++, 0);
    MESSAGES(M)
#undef M
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_packet_carries_its_sender_and_its_messages),
        cmocka_unit_test(half_a_header_is_corrupt),
        cmocka_unit_test(a_foreign_header_is_corrupt),
        cmocka_unit_test(a_topic_is_the_node_id_padded),
        cmocka_unit_test(every_message_has_its_own_number),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
