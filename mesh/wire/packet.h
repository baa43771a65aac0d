/* packet - what one ZeroMQ message of the mesh holds: a header and many messages.
 *
 * Packing is what makes the mesh cheap: one wake-up, one encryption and one system call for
 * everything that one turn has for one peer. Layout: magic byte 'C', version byte, then
 * MessagePack: cluster id (16 bytes), sender's node id, sender's incarnation, link sequence number;
 * then messages until the end. On the publish channel the whole is preceded by the 16-byte topic (a
 * node id padded with NULs), which is what subscriptions match. */
#ifndef MESH_WIRE_PACKET_H
#define MESH_WIRE_PACKET_H

#include "mesh/base/buf.h"
#include "mesh/base/rc.h"
#include "mesh/base/record.h"

#define PACKET_TOPIC_SIZE 16u

/* Who speaks: the same in every packet of a process. */
struct packet_sender {
    uint8_t cluster[16];
    struct slice node;
    uint64_t incarnation;
};

struct packet {
    struct slice cluster; /* 16 bytes. */
    struct slice node;
    uint64_t incarnation;
    uint64_t link_seq; /* Published packets: 1, 2, 3 … per topic and incarnation. Else 0. */
    struct record_reader messages; /* Read with record_peek and record_decode. */
};

/* Begin a packet in the empty buf `out`; then append messages with record_encode(). */
void packet_begin(struct buf *out, const struct packet_sender *sender, uint64_t link_seq);

/* RC_CORRUPT where the header is not one. Messages are not looked at yet. */
MUST_CHECK enum rc packet_decode(struct slice bytes, struct packet *ret_packet);

/* The topic of a node id (at most LIMIT_NODE_ID_SIZE_MAX bytes). */
void packet_topic(struct slice node, uint8_t topic[PACKET_TOPIC_SIZE]);

#endif
