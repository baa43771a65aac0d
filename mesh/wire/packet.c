#include "mesh/wire/packet.h"

#include "mesh/base/check.h"
#include "mesh/base/limits.h"
#include "mesh/wire/messages.h"

#define PACKET_MAGIC 'C'

void packet_begin(struct buf *out, const struct packet_sender *sender, uint64_t link_seq)
{
    CHECK(out->size == 0);
    buf_append_byte(out, PACKET_MAGIC);
    buf_append_byte(out, MESSAGES_VERSION);
    record_put_slice(out, slice_of(sender->cluster, sizeof(sender->cluster)));
    record_put_slice(out, sender->node);
    record_put_u64(out, sender->incarnation);
    record_put_u64(out, link_seq);
}

enum rc packet_decode(struct slice bytes, struct packet *ret_packet)
{
    if (bytes.size < 2 || bytes.base[0] != PACKET_MAGIC || bytes.base[1] != MESSAGES_VERSION)
        return RC_CORRUPT;
    struct record_reader r = record_reader_of(bytes);
    r.at += 2;
    struct packet p;
    if (record_get_slice(&r, &p.cluster) != RC_OK || p.cluster.size != 16 ||
        record_get_slice(&r, &p.node) != RC_OK || p.node.size == 0 ||
        p.node.size > LIMIT_NODE_ID_SIZE_MAX || record_get_u64(&r, &p.incarnation) != RC_OK ||
        record_get_u64(&r, &p.link_seq) != RC_OK)
        return RC_CORRUPT;
    p.messages = r;
    *ret_packet = p;
    return RC_OK;
}

void packet_topic(struct slice node, uint8_t topic[PACKET_TOPIC_SIZE])
{
    CHECK(node.size <= LIMIT_NODE_ID_SIZE_MAX);
    memset(topic, 0, PACKET_TOPIC_SIZE);
    memcpy(topic, node.base, node.size);
}
