/* Everything that nodes say to each other, and what a log entry holds.
 *
 * MESSAGES lists the record types with their numbers; FIELDS_x lists the fields of each as
 * F(T, kind, name, "prose"), where T is the struct. A request bears `req`, which its answer
 * repeats, and `shard`, which a router checks against the key before anything else. Answers bear
 * `rc` (mesh/base/rc.tbl.h). A "seq" in a bin is records or slices one after another (record.h).
 * Append fields; never move or reuse one. */

/* ---- Gateway to router, on the request channel ---- */

/* Every second: I am here, keep my watches. The router then publishes beats on my topic. */
#define FIELDS_hello(F, T)                                                                         \
    F(T, u64, version, "protocol version of the mesh: MESSAGES_VERSION")                           \
    F(T, u64, links, "1 where the gateway's link to this router is up, else 0")

/* A device of `user` came: list the conversations, and tell this gateway of changes to the list. */
#define FIELDS_user_open(F, T)                                                                     \
    F(T, u64, req, "correlation id")                                                               \
    F(T, u64, shard, "of the user")                                                                \
    F(T, str, user, "whose list")                                                                  \
    F(T, str, after, "the last conversation of the page before; absent for the first")             \
    F(T, u64, limit, "conversations at most, 1..LIMIT_USER_CONVS_PAGE")                            \
    F(T, str, device, "where a session begins: its device; older ones of it are replaced")         \
    F(T, u64, session, "and its id, random")                                                       \
    F(T, u64, age_ms, "and how long ago it began")

/* The last session of `user` on this gateway is gone. No answer. */
#define FIELDS_user_close(F, T)                                                                    \
    F(T, u64, shard, "of the user")                                                                \
    F(T, str, user, "who left")

/* Resume one conversation for one device, and publish its events to this gateway from now on. */
#define FIELDS_watch(F, T)                                                                         \
    F(T, u64, req, "correlation id")                                                               \
    F(T, u64, shard, "of the conversation")                                                        \
    F(T, str, conv, "the conversation")                                                            \
    F(T, str, user, "must be, or have been, a member")                                             \
    F(T, str, device, "whose delivered cursor is used where `from` is not known")                  \
    F(T, u64, from_known, "1: the client said `from`; 0: use the stored delivered cursor")         \
    F(T, u64, from, "the last seq the device has")

/* Entries by position, for history and for catching up. */
#define FIELDS_fetch(F, T)                                                                         \
    F(T, u64, req, "correlation id")                                                               \
    F(T, u64, shard, "of the conversation")                                                        \
    F(T, str, conv, "the conversation")                                                            \
    F(T, str, user, "who asks; only what this member may see is answered")                         \
    F(T, u64, after, "entries with seq > after, ascending; used where `before` is 0")              \
    F(T, u64, before, "where not 0: the last `limit` entries with seq < before, still ascending")  \
    F(T, u64, limit, "entries at most, 1..LIMIT_RESUME_COUNT")

/* The link had a hole, or the leader changed: where is each one's head? Also renews the watches. */
#define FIELDS_rewatch(F, T)                                                                       \
    F(T, u64, req, "correlation id")                                                               \
    F(T, u64, shard, "of all the conversations named")                                             \
    F(T, bin, convs, "seq of slices: conversation ids")

/* No session here needs it any more. No answer. */
#define FIELDS_unwatch(F, T)                                                                       \
    F(T, u64, shard, "of the conversation")                                                        \
    F(T, str, conv, "the conversation")

/* A change: goes through the shard's log. Answered by `result` once durable at a majority. */
#define FIELDS_submit(F, T)                                                                        \
    F(T, u64, req, "correlation id; 0 where no answer is wanted")                                  \
    F(T, u64, shard, "of the command's key")                                                       \
    F(T, bin, command, "one cmd_* record")

/* A page of members, by user name. */
#define FIELDS_members(F, T)                                                                       \
    F(T, u64, req, "correlation id")                                                               \
    F(T, u64, shard, "of the conversation")                                                        \
    F(T, str, conv, "the conversation")                                                            \
    F(T, str, user, "who asks: a member")                                                          \
    F(T, str, after, "the last user of the page before; absent for the first")                     \
    F(T, u64, limit, "1..LIMIT_MEMBERS_PAGE_MAX")

/* What the conversation list shows, for several conversations of one shard. */
#define FIELDS_summary(F, T)                                                                       \
    F(T, u64, req, "correlation id")                                                               \
    F(T, u64, shard, "of all the conversations named")                                             \
    F(T, str, user, "whose unread counts")                                                         \
    F(T, bin, convs, "seq of slices: conversation ids")

/* For `chatmesh status`: tell how you are. */
#define FIELDS_status_request(F, T)                                                                \
    F(T, u64, req, "correlation id")

/* ---- Router to gateway, on the request channel ---- */

#define FIELDS_status_reply(F, T)                                                                  \
    F(T, u64, req, "of status_request")                                                            \
    F(T, bin, json, "a JSON object, as `chatmesh status --json` prints it for this router")

#define FIELDS_user_convs(F, T)                                                                    \
    F(T, u64, req, "of user_open")                                                                 \
    F(T, u64, rc, "OK, NOT_LEADER, UNAVAILABLE")                                                   \
    F(T, bin, convs, "seq of slices: conversation ids, in byte order")                             \
    F(T, u64, more, "1 where another page follows")

#define FIELDS_watched(F, T)                                                                       \
    F(T, u64, req, "of watch")                                                                     \
    F(T, u64, rc, "OK, NOT_FOUND, FORBIDDEN, NOT_LEADER, UNAVAILABLE")                             \
    F(T, str, conv, "the conversation")                                                            \
    F(T, u64, head, "the newest seq at the answer")                                                \
    F(T, u64, from, "the device has everything up to here; entries start at from + 1")             \
    F(T, u64, gap_from, "where not 0: gap_from..gap_to are to be announced as `gap`, not sent")    \
    F(T, u64, gap_to, "last seq of the gap; `from` is then gap_to")                                \
    F(T, u64, trimmed, "1: the gap was removed by retention")                                      \
    F(T, u64, missed, "entries the device missed in all: head - from before any gap")              \
    F(T, u64, until, "where not 0: the user was removed at this seq, and sees nothing beyond")     \
    F(T, bin, entries, "seq of entry records from + 1 .. , at most LIMIT_FETCH_BYTES_MAX")         \
    F(T, u64, more, "1 where head is beyond the entries sent: fetch on")

#define FIELDS_fetched(F, T)                                                                       \
    F(T, u64, req, "of fetch")                                                                     \
    F(T, u64, rc, "OK, NOT_FOUND, FORBIDDEN, NOT_LEADER, UNAVAILABLE")                             \
    F(T, str, conv, "the conversation")                                                            \
    F(T, u64, head, "the newest seq this user may see")                                            \
    F(T, bin, entries, "seq of entry records, ascending and contiguous")                           \
    F(T, u64, more, "1 where more entries lie in the asked direction")

#define FIELDS_rewatched(F, T)                                                                     \
    F(T, u64, req, "of rewatch")                                                                   \
    F(T, u64, rc, "OK, NOT_LEADER, UNAVAILABLE")                                                   \
    F(T, bin, heads, "seq of u64: the head of each conversation asked, in order; 0 if unknown")

#define FIELDS_result(F, T)                                                                        \
    F(T, u64, req, "of submit")                                                                    \
    F(T, u64, rc, "OK or why not")                                                                 \
    F(T, str, conv, "the conversation; for create, its id")                                        \
    F(T, u64, seq, "position of the (last) entry made, 0 where none")                              \
    F(T, u64, ts, "of that entry")                                                                 \
    F(T, u64, dup, "1: this cid was there already; seq and ts are those of the first time")        \
    F(T, str, detail, "a sentence for people where rc is not OK; may be absent")                   \
    F(T, u64, hint_ms, "for UNAVAILABLE: try again after this long; 0 unknown")

#define FIELDS_members_page(F, T)                                                                  \
    F(T, u64, req, "of members")                                                                   \
    F(T, u64, rc, "OK, NOT_FOUND, FORBIDDEN, NOT_LEADER, UNAVAILABLE")                             \
    F(T, bin, members, "seq of member records")                                                    \
    F(T, u64, more, "1 where another page follows")                                                \
    F(T, u64, total, "members in all")

#define FIELDS_member(F, T)                                                                        \
    F(T, str, user, "the member")                                                                  \
    F(T, u64, role, "enum member_role")                                                            \
    F(T, u64, joined, "seq of the entry that let him in")

#define FIELDS_summaries(F, T)                                                                     \
    F(T, u64, req, "of summary")                                                                   \
    F(T, u64, rc, "OK, NOT_LEADER, UNAVAILABLE")                                                   \
    F(T, bin, items, "seq of summary_item records; only conversations of the user's")

#define FIELDS_summary_item(F, T)                                                                  \
    F(T, str, conv, "the conversation")                                                            \
    F(T, u64, kind, "enum conv_kind")                                                              \
    F(T, str, title, "may be absent")                                                              \
    F(T, bin, meta, "JSON text; may be absent")                                                    \
    F(T, u64, head, "newest seq")                                                                  \
    F(T, u64, read, "the user's read cursor")                                                      \
    F(T, u64, unread, "messages after the read cursor")                                            \
    F(T, u64, members, "how many members")                                                         \
    F(T, str, peer, "direct only: the other user")                                                 \
    F(T, bin, last, "the newest message's entry record; absent where there is none")

/* ---- Router to gateway, published on the gateway's topic ---- */

/* Every 250 ms, and at once when leadership changes. */
#define FIELDS_beat(F, T)                                                                          \
    F(T, u64, shards, "S, the cluster's shard count")                                              \
    F(T, bin, terms, "seq of u64: for each shard the term in which it is led and served here, or 0")

/* A new entry of a watched conversation. */
#define FIELDS_event_entry(F, T)                                                                   \
    F(T, str, conv, "the conversation")                                                            \
    F(T, bin, entry, "one entry record")

/* A cursor moved. */
#define FIELDS_event_receipt(F, T)                                                                 \
    F(T, str, conv, "the conversation")                                                            \
    F(T, str, user, "whose cursor")                                                                \
    F(T, u64, delivered, "the highest seq any of his devices has; 0: unchanged")                   \
    F(T, u64, read, "read up to; 0: unchanged")                                                    \
    F(T, u64, members, "how many members the conversation has")

/* A followed user was added to a conversation, or removed. */
#define FIELDS_event_user(F, T)                                                                    \
    F(T, str, user, "who")                                                                         \
    F(T, str, conv, "the conversation")                                                            \
    F(T, u64, gone, "1: removed or left")                                                          \
    F(T, u64, seq, "of the member entry that says so")

/* A session of this device of a followed user began, on this gateway or another: told in the order
 * in which the leader heard of them, also to the gateway that has it. */
#define FIELDS_event_device(F, T)                                                                  \
    F(T, str, user, "who")                                                                         \
    F(T, str, device, "which device")                                                              \
    F(T, u64, session, "the id of the session that replaces all before it")                        \
    F(T, u64, age_ms, "how long ago it began, when its gateway said so")

/* ---- Discovery, between all nodes ---- */

#define FIELDS_gossip(F, T)                                                                        \
    F(T, str, from, "node id of the sender")                                                       \
    F(T, bin, nodes, "seq of node records: all the sender knows")

#define FIELDS_node(F, T)                                                                          \
    F(T, str, id, "1..LIMIT_NODE_ID_SIZE_MAX bytes of [A-Za-z0-9_-]")                              \
    F(T, u64, role, "enum node_role")                                                              \
    F(T, u64, version, "MESSAGES_VERSION")                                                         \
    F(T, u64, incarnation, "wall clock of its start in ms: higher is newer")                       \
    F(T, u64, counter, "raised by the node itself at every gossip round")                          \
    F(T, u64, leaving, "1: it is stopping")                                                        \
    F(T, str, gossip, "endpoint of its discovery socket")                                          \
    F(T, str, request, "router: endpoint of its request socket")                                   \
    F(T, str, publish, "router: endpoint of its publish socket")                                   \
    F(T, str, http, "gateway: http://HOST:PORT")                                                   \
    F(T, str, zone, "may be absent")                                                               \
    F(T, bin, cluster, "16 bytes of cluster id; absent while a gateway does not know it")

/* ---- Commands: what a Raft entry holds. The state machine's only input. ---- */

/* A packed entry: everything for one shard of one turn. */
#define FIELDS_batch(F, T)                                                                         \
    F(T, u64, ts, "the leader's wall clock in ms")                                                 \
    F(T, u64, count, "commands")                                                                   \
    F(T, bin, commands, "seq of cmd_* records")

#define FIELDS_cmd_send(F, T)                                                                      \
    F(T, str, conv, "the conversation; for a direct one its computed id")                          \
    F(T, str, user, "the sender")                                                                  \
    F(T, str, device, "the sender's device")                                                       \
    F(T, str, peer, "where present: make the direct conversation of user and peer at need")        \
    F(T, str, cid, "idempotency key, unique per sender and conversation")                          \
    F(T, bin, body, "JSON text, byte for byte")                                                    \
    F(T, u64, reply_to, "a seq of this conversation, 0 none")

#define FIELDS_cmd_create(F, T)                                                                    \
    F(T, str, conv, "its id")                                                                      \
    F(T, str, user, "who creates it and becomes owner")                                            \
    F(T, str, device, "his device")                                                                \
    F(T, u64, kind, "enum conv_kind")                                                              \
    F(T, bin, members, "seq of slices: the other members")                                         \
    F(T, str, title, "may be absent")                                                              \
    F(T, bin, meta, "JSON text; may be absent")                                                    \
    F(T, str, cid, "of the first message; may be absent")                                          \
    F(T, bin, body, "a first message; may be absent")

#define FIELDS_cmd_member(F, T)                                                                    \
    F(T, str, conv, "the conversation")                                                            \
    F(T, str, user, "who asks")                                                                    \
    F(T, u64, change, "enum member_change")                                                        \
    F(T, bin, users, "seq of slices: those added, removed or given the role")                      \
    F(T, u64, role, "enum member_role, for MEMBER_ROLE and MEMBER_ADD")

#define FIELDS_cmd_info(F, T)                                                                      \
    F(T, str, conv, "the conversation")                                                            \
    F(T, str, user, "who asks")                                                                    \
    F(T, str, title, "absent: unchanged")                                                          \
    F(T, bin, meta, "JSON text; absent: unchanged")

#define FIELDS_cmd_cursor(F, T)                                                                    \
    F(T, str, conv, "the conversation")                                                            \
    F(T, str, user, "the member")                                                                  \
    F(T, str, device, "whose delivered cursor")                                                    \
    F(T, u64, delivered, "everything up to here reached the device; 0: unchanged")                 \
    F(T, u64, read, "read up to here; 0: unchanged")

/* To the user's shard, from the conversation's leader: a row of the user's list. Idempotent. */
#define FIELDS_cmd_index(F, T)                                                                     \
    F(T, str, user, "whose list (the key that picks the shard)")                                   \
    F(T, str, conv, "the conversation")                                                            \
    F(T, u64, seq, "position of the member entry; an older one changes nothing")                   \
    F(T, u64, gone, "1: take it off the list")

/* To the conversation's own shard: the lists of users know of everything up to seq. */
#define FIELDS_cmd_told(F, T)                                                                      \
    F(T, str, conv, "the conversation")                                                            \
    F(T, u64, seq, "all member entries up to here were acknowledged by the users' shards")

/* ---- What the conversation's log holds, what is stored and what is published ---- */

#define FIELDS_entry(F, T)                                                                         \
    F(T, u64, type, "enum entry_type")                                                             \
    F(T, u64, seq, "position")                                                                     \
    F(T, u64, ts, "ms since 1970, never decreasing within a conversation")                         \
    F(T, str, from, "who caused it")                                                               \
    F(T, str, cid, "message: the sender's own id")                                                 \
    F(T, bin, body, "message: JSON text")                                                          \
    F(T, u64, reply_to, "message: seq, 0 none")                                                    \
    F(T, u64, change, "member: enum member_change")                                                \
    F(T, str, user, "member: whom it concerns")                                                    \
    F(T, u64, role, "member: enum member_role after the change")                                   \
    F(T, str, title, "info: absent where unchanged")                                               \
    F(T, bin, meta, "info: JSON text; absent where unchanged")                                     \
    F(T, str, device, "message: the sending device")

#define MESSAGES(M)                                                                                \
    M(hello, HELLO, 1)                                                                             \
    M(user_open, USER_OPEN, 2)                                                                     \
    M(user_close, USER_CLOSE, 3)                                                                   \
    M(watch, WATCH, 4)                                                                             \
    M(fetch, FETCH, 5)                                                                             \
    M(rewatch, REWATCH, 6)                                                                         \
    M(unwatch, UNWATCH, 7)                                                                         \
    M(submit, SUBMIT, 8)                                                                           \
    M(members, MEMBERS, 9)                                                                         \
    M(summary, SUMMARY, 10)                                                                        \
    M(status_request, STATUS_REQUEST, 11)                                                          \
    M(user_convs, USER_CONVS, 20)                                                                  \
    M(watched, WATCHED, 21)                                                                        \
    M(fetched, FETCHED, 22)                                                                        \
    M(rewatched, REWATCHED, 23)                                                                    \
    M(result, RESULT, 24)                                                                          \
    M(members_page, MEMBERS_PAGE, 25)                                                              \
    M(member, MEMBER, 26)                                                                          \
    M(summaries, SUMMARIES, 27)                                                                    \
    M(summary_item, SUMMARY_ITEM, 28)                                                              \
    M(status_reply, STATUS_REPLY, 29)                                                              \
    M(beat, BEAT, 40)                                                                              \
    M(event_entry, EVENT_ENTRY, 41)                                                                \
    M(event_receipt, EVENT_RECEIPT, 42)                                                            \
    M(event_user, EVENT_USER, 43)                                                                  \
    M(event_device, EVENT_DEVICE, 44)                                                              \
    M(gossip, GOSSIP, 50)                                                                          \
    M(node, NODE, 51)                                                                              \
    M(batch, LOG_BATCH, 60)                                                                        \
    M(cmd_send, CMD_SEND, 61)                                                                      \
    M(cmd_create, CMD_CREATE, 62)                                                                  \
    M(cmd_member, CMD_MEMBER, 63)                                                                  \
    M(cmd_info, CMD_INFO, 64)                                                                      \
    M(cmd_cursor, CMD_CURSOR, 65)                                                                  \
    M(cmd_index, CMD_INDEX, 66)                                                                    \
    M(cmd_told, CMD_TOLD, 67)                                                                      \
    M(entry, ENTRY, 70)
