/* limits - the bound of everything, in one place.
 *
 * Units are in the names. What an operator may change is a default here and a key in the config
 * (nodes/options.tbl.h); what is fixed is fixed because the wire or the disk depends on it. */
#ifndef MESH_BASE_LIMITS_H
#define MESH_BASE_LIMITS_H

/* Names, as the client protocol states them. */
#define LIMIT_USER_SIZE_MAX    128u
#define LIMIT_DEVICE_SIZE_MAX  64u
#define LIMIT_CONV_SIZE_MAX    128u
#define LIMIT_CID_SIZE_MAX     64u
#define LIMIT_NODE_ID_SIZE_MAX 15u /* A topic is a node id padded to 16 bytes. */
#define LIMIT_TITLE_SIZE_MAX   1024u
#define LIMIT_META_SIZE_MAX    16384u

/* Frames and pages. */
#define LIMIT_FRAME_SIZE_MAX     131072u  /* A client frame, and so a message. */
#define LIMIT_PACKET_SIZE_MAX    4194304u /* A mesh packet: ZMQ_MAXMSGSIZE. */
#define LIMIT_PACKET_FLUSH_SIZE  32768u   /* A packet this big is sent at once. */
#define LIMIT_HISTORY_COUNT_MAX  500u
#define LIMIT_RESUME_COUNT       1000u   /* More than this missed: gap, then the newest. */
#define LIMIT_FETCH_BYTES_MAX    262144u /* Entries in one answer of a router. */
#define LIMIT_MEMBERS_PAGE_MAX   500u
#define LIMIT_CREATE_MEMBERS_MAX 1000u /* In one create or add. */
#define LIMIT_CONVERSATIONS_PAGE 100u
#define LIMIT_USER_CONVS_PAGE    1000u
#define LIMIT_JSON_DEPTH_MAX     64u

/* Sessions. */
#define LIMIT_CONNECT_MS           10000u /* `connect` must come within this. */
#define LIMIT_PING_MS              25000u
#define LIMIT_IDLE_MS              60000u
#define LIMIT_BAD_FRAMES_MAX       10u     /* Malformed in a row: close 4500. */
#define LIMIT_OUTBOX_BYTES         524288u /* Waiting beyond this: catch up from the log. */
#define LIMIT_STALL_MS             20000u  /* Not a byte taken: close 4010. */
#define LIMIT_CONNECTIONS_PER_USER 5u
#define LIMIT_ACCEPTS_PER_SECOND   1750u /* Of one gateway: a crowd comes in at this pace. */
#define LIMIT_CONNECTIONS_PER_IP   100u
#define LIMIT_RECONNECTS_PER_MIN   10u
#define LIMIT_FRAMES_PER_SECOND    3000u    /* Of one session. */
#define LIMIT_BYTES_PER_SECOND     8388608u /* Of one session. */
#define LIMIT_CONNECTIONS          1000000u /* Of one gateway. */
#define LIMIT_REQUESTS_IN_FLIGHT   4096u    /* Of one session. */
#define LIMIT_REQUEST_MS           5000u    /* A router's answer must come within this. */
#define LIMIT_RETRY_AFTER_MS       1000u    /* What `unavailable` tells a client. */
#define LIMIT_RECEIPT_MS           1000u    /* A session's cursor goes out at most this often. */
#define LIMIT_GATHER_US            600u     /* A gateway's request waits this long for company. */

/* Chat. */
#define LIMIT_EMOJI_SIZE_MAX    32u
#define LIMIT_REACTIONS_MAX     20u    /* Different ones on a message. */
#define LIMIT_RECEIPTS_MEMBERS  10u    /* In larger groups receipts are counted, not told singly. */
#define LIMIT_TALLY_MS          1000u  /* How often they are. */
#define LIMIT_READERS_MAX       1000u  /* Members looked at for one `receipts`. */
#define LIMIT_FANOUT_MEMBERS    100u   /* In larger groups entries go to who has it open. */
#define LIMIT_ACTIVITY_MS       1000u  /* To the others: `activity`, at most so often. */
#define LIMIT_ACTIVITY_PER_SEC  10000u /* Of one gateway: beyond, the interval grows. */
#define LIMIT_TYPING_MS         5000u  /* Then it expires. */
#define LIMIT_TYPING_GAP_MS     2000u  /* One event a user and conversation within it. */
#define LIMIT_PRESENCE_USERS    500u   /* In one presence, watch or unwatch. */
#define LIMIT_PRESENCE_MS       1000u  /* One event a user within it. */
#define LIMIT_PRESENCE_GRACE_MS 5000u  /* Who is back within it never was offline. */
#define LIMIT_REDELIVER_MS      30000u /* Not acked for so long: pushed again, */
#define LIMIT_REDELIVER_COUNT   5u     /* so often, then 4008. */
#define LIMIT_PUSH_WAIT_MS      2000u  /* Who has an entry by then is not told by webhook. */
#define LIMIT_PUSH_EVENTS_MAX   100u   /* In one POST. */
#define LIMIT_PUSH_USERS_MAX    1000u  /* In one event. */
#define LIMIT_RETENTION_MS      3000u  /* How often conversations with retention are looked at, */
#define LIMIT_RETENTION_CONVS   64u    /* and how many of them in one turn. */

/* Mesh. */
#define LIMIT_HELLO_MS         1000u /* Gateway to router: I am here. */
#define LIMIT_GATEWAY_LEASE_MS 5000u /* Silent for longer: its watches are dropped. */
#define LIMIT_BEAT_MS          250u  /* Router to gateway: last link seq and shards led. */
#define LIMIT_LINK_SILENT_MS   2000u /* No beat for longer: the link is down. */
#define LIMIT_GOSSIP_MS        500u
#define LIMIT_MEMBER_SILENT_MS 2500u
#define LIMIT_MEMBERS_MAX      4096u
#define LIMIT_SEEDS_MAX        16u

/* Shards. */
#define LIMIT_SHARDS_DEFAULT    64u
#define LIMIT_SHARDS_MAX        4096u
#define LIMIT_ENTRY_SIZE_MAX    262144u  /* A packed Raft entry is closed at this size. */
#define LIMIT_SHARD_QUEUE_BYTES 4194304u /* Waiting for the log: beyond, `unavailable`. */
#define LIMIT_SHARD_QUEUE_COUNT 16384u
#define LIMIT_ROUTER_IN_FLIGHT                                                                     \
    131072u                            /* Commands of all shards of a router, waiting or logged.   \
                                        */
#define LIMIT_CONV_MESSAGES      3000u /* A second, to one conversation. */
#define LIMIT_LOG_TRUNCATE_COUNT 1024u /* Entries applied before the log's prefix is dropped. */
#define LIMIT_DEDUP_MS           604800000u           /* 7 days. */
#define LIMIT_LEFT_MS            UINT64_C(2592000000) /* 30 days: who left is told so. */
#define LIMIT_ELECTION_MS        500u
#define LIMIT_HEARTBEAT_MS       100u
#define LIMIT_LEASE_MS           400u /* Reads: a majority was heard within. Under ELECTION. */
#define CONTROL_GROUP            LIMIT_SHARDS_MAX /* Its number, beside those of shards. */
#define LIMIT_REPLICAS_DEFAULT   3u
#define LIMIT_REPLICAS_MAX       7u
#define LIMIT_SERVERS_MAX        12u     /* Of one group, while it moves. */
#define LIMIT_AE_SIZE_MAX        524288u /* Entries in one AppendEntries. */
#define LIMIT_CHUNK_SIZE         262144u /* Of a state transfer. */
#define LIMIT_CHUNKS_IN_FLIGHT   4u
#define LIMIT_TRANSFERS_MAX      4u /* At a time, from one router, and to one. */
#define LIMIT_TRANSFER_SILENT_MS 3000u
#define LIMIT_PART_COUNT         256u    /* Members removed, or entries blanked, by one command. */
#define LIMIT_ROUTER_GRACE_MS    600000u /* Silent for longer: its shards are held elsewhere. */
#define LIMIT_ROUTERS_MAX        4096u

#endif
