/* What a shard stores, besides the entries of its conversations.
 *
 * ROWS lists the row types with their numbers; ROW_FIELDS_x the fields of each as
 * F(T, kind, name, "prose"), as in mesh/wire/messages.tbl.h. Keys are in storage/keyspace.h. Append
 * fields; never move or reuse one. */

/* One a shard: how far the Raft log is in these rows. */
#define ROW_FIELDS_applied(F, T)                                                                   \
    F(T, u64, index, "of the last Raft entry whose effects are stored")                            \
    F(T, u64, clock, "log time in ms: the highest timestamp of all entries applied")               \
    F(T, u64, digest, "chained over all that applying brought about, to compare replicas by")

/* What changes rarely about a conversation. */
#define ROW_FIELDS_conv(F, T)                                                                      \
    F(T, u64, kind, "enum conv_kind")                                                              \
    F(T, str, title, "absent until set")                                                           \
    F(T, bin, meta, "JSON text; absent until set")                                                 \
    F(T, str, creator, "who made it")                                                              \
    F(T, u64, created, "log time of its first entry")                                              \
    F(T, str, peer, "direct: the other of the two; the creator himself in notes to oneself")       \
    F(T, u64, history, "enum conv_history; 0: all")                                                \
    F(T, u64, retain_ms, "entries older than this are removed; 0: never")                          \
    F(T, u64, retain_count, "only so many of the newest entries are kept; 0: all")                 \
    F(T, u64, dropped, "1: the operator ends it: it is there no longer; 2: its members are gone")  \
    F(T, str, dropped_to, "while dropped is 1: members up to this name are removed")               \
    F(T, u64, begun, "direct, and begun again after its end: seq of its first entry since; else 0")

/* What changes with every entry of a conversation; written once a turn. */
#define ROW_FIELDS_head(F, T)                                                                      \
    F(T, u64, seq, "of the newest entry")                                                          \
    F(T, u64, messages, "how many entries are messages")                                           \
    F(T, u64, last_ts, "of the newest entry")                                                      \
    F(T, u64, last_message, "seq of the newest message, 0 none")                                   \
    F(T, u64, last_other, "seq of the newest entry that is not a message")                         \
    F(T, u64, members, "how many are members now")                                                 \
    F(T, u64, owners, "how many of them are owners")                                               \
    F(T, u64, trimmed, "entries up to here are removed")                                           \
    F(T, u64, trimmed_messages, "how many of them were messages")                                  \
    F(T, u64, pushed, "the webhook knows of everything up to here")                                \
    F(T, u64, last_delivered, "members who have the newest message, without its sender")           \
    F(T, u64, last_read, "members who have read it, likewise")

/* A member, or one who was: the row stays, so that he can read what he was there for. */
#define ROW_FIELDS_member(F, T)                                                                    \
    F(T, u64, role, "enum member_role")                                                            \
    F(T, u64, joined, "seq of the entry that let him in, the last time")                           \
    F(T, u64, left, "seq of the entry that removed him; 0: he is a member")                        \
    F(T, u64, visible, "seq of the first entry he may see")

/* Where a member is. Unread messages are head.messages - cursor.messages. */
#define ROW_FIELDS_cursor(F, T)                                                                    \
    F(T, u64, read, "read up to this seq")                                                         \
    F(T, u64, messages, "how many messages there are up to `read`")                                \
    F(T, u64, delivered, "the highest seq any of his devices has")                                 \
    F(T, u64, read_ts, "log time at which `read` last moved")                                      \
    F(T, u64, delivered_ts, "likewise")                                                            \
    F(T, u64, sent, "seq of the newest message that he sent, 0 none")

/* What one device of a member has. */
#define ROW_FIELDS_device(F, T) F(T, u64, delivered, "everything up to this seq")

/* That a cid was used: the answer it got. */
#define ROW_FIELDS_dedup(F, T)                                                                     \
    F(T, u64, seq, "of the entry")                                                                 \
    F(T, u64, ts, "of the entry")

/* A conversation that owes lists of users; the row is there only while it does. */
#define ROW_FIELDS_owed(F, T)                                                                      \
    F(T, u64, first, "no member entry before this seq is owed")                                    \
    F(T, u64, last, "seq of the last member entry that is owed")

/* A conversation on a user's list. */
#define ROW_FIELDS_index(F, T)                                                                     \
    F(T, u64, seq, "of the member entry that this row is due to; older news are ignored")          \
    F(T, u64, gone, "1: off the list; the row remembers seq")                                      \
    F(T, u64, ts, "when that was, ms since 1970")

/* What is known of a user beside his list. */
#define ROW_FIELDS_user(F, T) F(T, u64, last_seen, "when he was last online, ms since 1970")

/* That a member reacted to a message so; the key says all. */
#define ROW_FIELDS_reaction(F, T) F(T, u64, seq, "of the entry that set it")

/* A conversation with retention, for the leader's walk; the row is there only while it has. */
#define ROW_FIELDS_retain(F, T)                                                                    \
    F(T, u64, ms, "as the conversation's retain_ms")                                               \
    F(T, u64, count, "as its retain_count")

/* Control group: what the cluster is. */
#define ROW_FIELDS_cluster(F, T)                                                                   \
    F(T, u64, shards, "S")                                                                         \
    F(T, u64, replicas, "R wanted")                                                                \
    F(T, str, epoch, "of the cluster's history")                                                   \
    F(T, u64, version, "index of the last Raft entry that changed the list of routers")

/* Control group: a router on the list. */
#define ROW_FIELDS_router(F, T)                                                                    \
    F(T, str, zone, "may be absent")                                                               \
    F(T, u64, weight, "its share against others")                                                  \
    F(T, u64, state, "enum router_state")

#define ROWS(M)                                                                                    \
    M(applied, APPLIED, 1)                                                                         \
    M(conv, CONV, 2)                                                                               \
    M(head, HEAD, 3)                                                                               \
    M(member, MEMBER, 4)                                                                           \
    M(cursor, CURSOR, 5)                                                                           \
    M(device, DEVICE, 6)                                                                           \
    M(dedup, DEDUP, 7)                                                                             \
    M(owed, OWED, 8)                                                                               \
    M(index, INDEX, 9)                                                                             \
    M(cluster, CLUSTER, 10)                                                                        \
    M(router, ROUTER, 11)                                                                          \
    M(user, USER, 12)                                                                              \
    M(reaction, REACTION, 13)                                                                      \
    M(retain, RETAIN, 14)
