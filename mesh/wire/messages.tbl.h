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
    F(T, u64, links, "1 where the gateway's link to this router is up, else 0")                    \
    F(T, u64, sessions, "clients connected to it")                                                 \
    F(T, u64, users, "and how many users they are")

/* A device of `user` came: list the conversations, and tell this gateway of changes to the list. */
#define FIELDS_user_open(F, T)                                                                     \
    F(T, u64, req, "correlation id")                                                               \
    F(T, u64, shard, "of the user")                                                                \
    F(T, str, user, "whose list")                                                                  \
    F(T, str, after, "the last conversation of the page before; absent for the first")             \
    F(T, u64, limit, "conversations at most, 1..LIMIT_USER_CONVS_PAGE")                            \
    F(T, str, device, "where a session begins: its device; older ones of it are replaced")         \
    F(T, u64, session, "and its id, random")                                                       \
    F(T, u64, age_ms, "and how long ago it began")                                                 \
    F(T, u64, peek, "1: only tell: the gateway follows nobody and nobody came")                    \
    F(T, u64, past, "enum user_past")

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
    F(T, u64, from, "the last seq the device has")                                                 \
    F(T, u64, fanout, "where not 0: of a conversation with more members than this no entries are " \
                      "wanted, and no gap: `from` is then the resume point itself")                \
    F(T, u64, past, "1: he left: FORBIDDEN where this device has acknowledged nothing, or all")

/* Entries by position, for history and for catching up. */
#define FIELDS_fetch(F, T)                                                                         \
    F(T, u64, req, "correlation id")                                                               \
    F(T, u64, shard, "of the conversation")                                                        \
    F(T, str, conv, "the conversation")                                                            \
    F(T, str, user, "who asks; only what this member may see is answered")                         \
    F(T, u64, after, "entries with seq > after, ascending; used where `before` is 0")              \
    F(T, u64, before, "where not 0: the last `limit` entries with seq < before, still ascending")  \
    F(T, u64, limit, "entries at most, 1..LIMIT_RESUME_COUNT")                                     \
    F(T, u64, present, "1: only for who is a member now; 0: also for who catches up to his removal")

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

/* A user types, or stopped. Relayed, never stored. No answer. */
#define FIELDS_typing(F, T)                                                                        \
    F(T, u64, shard, "of the conversation")                                                        \
    F(T, str, conv, "the conversation")                                                            \
    F(T, str, user, "who types; a member, else it is dropped")                                     \
    F(T, u64, on, "1: he types; it expires after LIMIT_TYPING_MS by itself")

/* A session opened the conversation. Answered by looked. */
#define FIELDS_look(F, T)                                                                          \
    F(T, u64, req, "correlation id")                                                               \
    F(T, u64, shard, "of the conversation")                                                        \
    F(T, str, conv, "the conversation")                                                            \
    F(T, str, user, "who opened it: must be a member")

/* Who has been delivered, and who has read, an entry. Answered by readers_page. */
#define FIELDS_readers(F, T)                                                                       \
    F(T, u64, req, "correlation id")                                                               \
    F(T, u64, shard, "of the conversation")                                                        \
    F(T, str, conv, "the conversation")                                                            \
    F(T, str, user, "who asks: a member; absent: the operator")                                    \
    F(T, u64, seq, "of the entry")

/* Of which conversations of this shard has the list of `user` yet to be told? Answered by
 * untold_convs. */
#define FIELDS_untold(F, T)                                                                        \
    F(T, u64, req, "correlation id")                                                               \
    F(T, u64, shard, "any")                                                                        \
    F(T, str, user, "whose list")

/* A session of `user` that acknowledges nothing has read everything up to seq. No answer. */
#define FIELDS_given(F, T)                                                                         \
    F(T, u64, shard, "of the conversation")                                                        \
    F(T, str, conv, "the conversation")                                                            \
    F(T, str, user, "a member")                                                                    \
    F(T, u64, seq, "of the last entry that he has read")

/* Who is online? Answered by presences. */
#define FIELDS_presence_query(F, T)                                                                \
    F(T, u64, req, "correlation id")                                                               \
    F(T, u64, shard, "of all the users named")                                                     \
    F(T, bin, users, "seq of slices: user names")

/* Tell this gateway (on: 1) of changes of these users' presence, beginning with how it is now; or
 * no longer (on: 0). No answer. Sent again to a new leader. */
#define FIELDS_presence_watch(F, T)                                                                \
    F(T, u64, shard, "of all the users named")                                                     \
    F(T, bin, users, "seq of slices: user names")                                                  \
    F(T, u64, on, "1 or 0")

/* A user set his status; sent again to a new leader. The newest one counts. No answer. */
#define FIELDS_user_status(F, T)                                                                   \
    F(T, u64, shard, "of the user")                                                                \
    F(T, str, user, "who")                                                                         \
    F(T, u64, status, "enum presence_status, not PRESENCE_OFFLINE")                                \
    F(T, u64, age_ms, "how long ago he set it")

/* Log a user out: all gateways are told to close his sessions. Answered by result. */
#define FIELDS_user_kick(F, T)                                                                     \
    F(T, u64, req, "correlation id")                                                               \
    F(T, u64, shard, "of the user")                                                                \
    F(T, str, user, "who")

/* ---- Router to gateway, on the request channel ---- */

#define FIELDS_status_reply(F, T)                                                                  \
    F(T, u64, req, "of status_request")                                                            \
    F(T, bin, json, "a JSON object, as `chatmesh status --json` prints it for this router")

#define FIELDS_user_convs(F, T)                                                                    \
    F(T, u64, req, "of user_open")                                                                 \
    F(T, u64, rc, "OK, NOT_LEADER, UNAVAILABLE")                                                   \
    F(T, bin, convs, "seq of slices: conversation ids, in byte order")                             \
    F(T, u64, more, "1 where another page follows")                                                \
    F(T, bin, left, "likewise, in the same range: those he left within LIMIT_LEFT_MS")

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
    F(T, u64, more, "1 where head is beyond the entries sent: fetch on")                           \
    F(T, u64, members, "how many members the conversation has")                                    \
    F(T, u64, messages, "how many entries up to head are messages")                                \
    F(T, u64, read_messages, "how many of them lie up to the user's read cursor")                  \
    F(T, u64, trimmed_to, "where not 0: up to here the gap was removed by retention; all of it "   \
                          "where trimmed is 1, else its first part")

#define FIELDS_fetched(F, T)                                                                       \
    F(T, u64, req, "of fetch")                                                                     \
    F(T, u64, rc, "OK, NOT_FOUND, FORBIDDEN, NOT_LEADER, UNAVAILABLE")                             \
    F(T, str, conv, "the conversation")                                                            \
    F(T, u64, head, "the newest seq this user may see")                                            \
    F(T, bin, entries, "seq of entry records, ascending and contiguous")                           \
    F(T, u64, more, "1 where more entries lie in the asked direction")                             \
    F(T, u64, trimmed, "entries up to here were removed by retention; 0: none")                    \
    F(T, u64, until, "where not 0: who asked was removed there, and it is for nobody else")

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
    F(T, bin, last, "the newest message's entry record; absent where there is none")               \
    F(T, u64, last_ts, "when its newest entry came")                                               \
    F(T, u64, role, "enum member_role of the user; 0: nobody's list")

#define FIELDS_looked(F, T)                                                                        \
    F(T, u64, req, "of look")                                                                      \
    F(T, u64, rc, "OK, NOT_FOUND, FORBIDDEN, NOT_LEADER, UNAVAILABLE")                             \
    F(T, u64, head, "the newest seq")                                                              \
    F(T, bin, typing, "seq of slices: users who type at the moment")

#define FIELDS_reader(F, T)                                                                        \
    F(T, str, user, "a member")                                                                    \
    F(T, u64, ts, "when his cursor last moved, ms since 1970")

#define FIELDS_readers_page(F, T)                                                                  \
    F(T, u64, req, "of readers")                                                                   \
    F(T, u64, rc, "OK, NOT_FOUND, FORBIDDEN, NOT_LEADER, UNAVAILABLE")                             \
    F(T, bin, delivered, "seq of reader records: members whose delivered cursor is past it")       \
    F(T, bin, read, "seq of reader records: likewise, read")                                       \
    F(T, u64, total, "members it was for: there at seq and now, without its sender")               \
    F(T, u64, more, "1: the group is large, and not all members were looked at")

#define FIELDS_untold_convs(F, T)                                                                  \
    F(T, u64, req, "of untold")                                                                    \
    F(T, u64, rc, "OK, NOT_LEADER, UNAVAILABLE: there is too much to look at")                     \
    F(T, bin, convs, "seq of slices: conversations, perhaps twice")

#define FIELDS_presences(F, T)                                                                     \
    F(T, u64, req, "of presence_query")                                                            \
    F(T, u64, rc, "OK, NOT_LEADER, UNAVAILABLE")                                                   \
    F(T, bin, items, "seq of presence_item records, in the order asked")

#define FIELDS_presence_item(F, T)                                                                 \
    F(T, str, user, "who")                                                                         \
    F(T, u64, status, "enum presence_status")                                                      \
    F(T, u64, last_seen, "ms since 1970, 0: never or not known")

/* ---- Router to router, on the request channel ---- */

/* One message of Raft (Ongaro's thesis, figures 3.1, 5.3), of one group. Which fields count depends
 * on `type`: the codec says it (nodes/router/raft_messages.c). */
#define FIELDS_raft(F, T)                                                                          \
    F(T, u64, group, "the shard, or CONTROL_GROUP")                                                \
    F(T, u64, to, "server id of the replica it is for")                                            \
    F(T, u64, from, "server id of the sender")                                                     \
    F(T, u64, type, "enum raft_message_type of libraft")                                           \
    F(T, u64, term, "the sender's term")                                                           \
    F(T, u64, a, "an index")                                                                       \
    F(T, u64, b, "a term or an index")                                                             \
    F(T, u64, c, "an index")                                                                       \
    F(T, u64, flags, "of the type")                                                                \
    F(T, u64, stamp, "leader: its clock in ms; in a result: the newest stamp heard of it")         \
    F(T, bin, entries, "seq of raft_entry records; absent where there are none")                   \
    F(T, bin, conf, "install snapshot: encoded configuration")

#define FIELDS_raft_entry(F, T)                                                                    \
    F(T, u64, term, "of the entry")                                                                \
    F(T, u64, type, "enum raft_log_type")                                                          \
    F(T, bin, data, "as the leader stored it")

/* Every 250 ms to every router, and at once when leadership changes. */
#define FIELDS_router_beat(F, T)                                                                   \
    F(T, u64, groups, "S + 1: the shards, then the control group")                                 \
    F(T, bin, terms, "seq of u64: for each the term in which it is led and served here, or 0")     \
    F(T, bin, digests, "seq of 3 x u64: group, index, digest of its state; some a beat")           \
    F(T, u64, held, "replicas that this router holds")                                             \
    F(T, u64, leaving, "1: it is stopping: hand it nothing")                                       \
    F(T, u64, table, "version of the list of routers that it goes by; 0: it has none")             \
    F(T, bin, counted, "seq of u64: who drains and is a member of a group led here, by place in it")

/* From the control group's leader: the committed list of routers. Placement is computed from this
 * and nothing else. */
#define FIELDS_table(F, T)                                                                         \
    F(T, u64, term, "of the control group's leader")                                               \
    F(T, u64, version, "index of the control group's last entry that changed the list")            \
    F(T, u64, replicas, "R")                                                                       \
    F(T, bin, routers, "seq of cmd_router records, by node id")

/* From a shard's leader: hold an empty replica ready. Answered by replica_prepared. */
#define FIELDS_replica_prepare(F, T)                                                               \
    F(T, u64, group, "the shard, or CONTROL_GROUP")                                                \
    F(T, u64, term, "in which the sender leads")

#define FIELDS_replica_prepared(F, T)                                                              \
    F(T, u64, group, "of replica_prepare")                                                         \
    F(T, u64, server, "its server id, drawn for this replica alone; 0: it cannot be held now")

/* In answer to a Raft message: this server id is not held here and never will be again. */
#define FIELDS_replica_gone(F, T)                                                                  \
    F(T, u64, group, "of the raft message")                                                        \
    F(T, u64, server, "the id that is gone")

/* From a leader: this replica is no longer in the committed configuration; forget it. */
#define FIELDS_replica_drop(F, T)                                                                  \
    F(T, u64, group, "the shard, or CONTROL_GROUP")                                                \
    F(T, u64, term, "in which the sender leads")                                                   \
    F(T, u64, server, "the replica's server id")

/* A part of a shard's state on its way to a new or far-behind replica. */
#define FIELDS_chunk(F, T)                                                                         \
    F(T, u64, group, "the shard, or CONTROL_GROUP")                                                \
    F(T, u64, to, "server id of the replica it is for")                                            \
    F(T, u64, transfer, "random; a new one begins anew")                                           \
    F(T, u64, number, "0, 1, 2 ... in order")                                                      \
    F(T, u64, applied, "first and last: the applied index of the state that is sent")              \
    F(T, u64, last, "1: the last one")                                                             \
    F(T, u64, check, "CRC-32C over all rows of the transfer up to and including this chunk")       \
    F(T, bin, rows, "seq of u64 family, slice key without shard and generation, slice value")

#define FIELDS_chunk_ack(F, T)                                                                     \
    F(T, u64, group, "of chunk")                                                                   \
    F(T, u64, from, "server id of the receiver")                                                   \
    F(T, u64, transfer, "of chunk")                                                                \
    F(T, u64, next, "number of the chunk expected next; up to there all are written")              \
    F(T, u64, rc, "OK, or why the transfer ended")

/* A router that holds nothing yet asks to be taken into the list. Sent to any router; the control
 * group's leader answers. */
#define FIELDS_join(F, T)                                                                          \
    F(T, u64, req, "correlation id")                                                               \
    F(T, str, node, "its node id")                                                                 \
    F(T, str, zone, "may be absent")                                                               \
    F(T, u64, weight, "its share against others, 1..1000; 100 is usual")

#define FIELDS_joined(F, T)                                                                        \
    F(T, u64, req, "of join")                                                                      \
    F(T, u64, rc, "OK; NOT_LEADER; UNAVAILABLE; CONFLICT: the id was removed")                     \
    F(T, u64, shards, "S")                                                                         \
    F(T, str, epoch, "of the cluster's history")

/* An operator's word about a router: chatmesh drain, remove. Answered by result. */
#define FIELDS_operate(F, T)                                                                       \
    F(T, u64, req, "correlation id")                                                               \
    F(T, u64, action, "enum operate_action")                                                       \
    F(T, str, node, "the router meant")

/* ---- Router to gateway, published on the gateway's topic ---- */

/* Every 250 ms, and at once when leadership changes. */
#define FIELDS_beat(F, T)                                                                          \
    F(T, u64, shards, "S, the cluster's shard count")                                              \
    F(T, bin, terms,                                                                               \
      "seq of u64: for each shard the term in which it is led and served here, or 0")              \
    F(T, u64, webhook, "1: it has one, and wants to hear `given`")                                 \
    F(T, str, missing, "names of routers of the cluster that it misses, by spaces; some of many")

/* A new entry of a watched conversation. */
#define FIELDS_event_entry(F, T)                                                                   \
    F(T, str, conv, "the conversation")                                                            \
    F(T, bin, entry, "one entry record")                                                           \
    F(T, u64, members, "how many members the conversation has after it")                           \
    F(T, u64, messages, "how many entries up to it are messages")

/* A cursor moved. */
#define FIELDS_event_receipt(F, T)                                                                 \
    F(T, str, conv, "the conversation")                                                            \
    F(T, str, user, "whose cursor")                                                                \
    F(T, u64, delivered, "the highest seq any of his devices has; 0: unchanged")                   \
    F(T, u64, read, "read up to; 0: unchanged")                                                    \
    F(T, u64, members, "how many members the conversation has")                                    \
    F(T, u64, messages, "how many entries up to `read` are messages; 0 where read is")

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
    F(T, u64, age_ms, "how long ago it began, when its gateway said so")                           \
    F(T, u64, kick, "1: no session began: all of the user's are logged out; told to every gateway")

/* Somebody types in a watched conversation, or stopped. */
#define FIELDS_event_typing(F, T)                                                                  \
    F(T, str, conv, "the conversation")                                                            \
    F(T, str, user, "who")                                                                         \
    F(T, u64, on, "1 or 0")

/* How far a message of a group beyond LIMIT_RECEIPTS_MEMBERS came; at most once a second. */
#define FIELDS_event_tally(F, T)                                                                   \
    F(T, str, conv, "the conversation")                                                            \
    F(T, u64, seq, "of its newest message")                                                        \
    F(T, u64, delivered, "members who have it, without its sender")                                \
    F(T, u64, read, "members who have read it, likewise")                                          \
    F(T, u64, total, "members it was for")

/* The presence of a user some session of the gateway asked for; at most once a second a user. */
#define FIELDS_event_presence(F, T)                                                                \
    F(T, str, user, "who")                                                                         \
    F(T, u64, status, "enum presence_status")                                                      \
    F(T, u64, last_seen, "ms since 1970; 0 where not known")

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
    F(T, bin, body, "a first message; may be absent")                                              \
    F(T, u64, history, "enum conv_history: what newcomers see; 0: all")                            \
    F(T, u64, retain_ms, "entries older than this are removed; 0: never")                          \
    F(T, u64, retain_count, "only so many of the newest entries are kept; 0: all")                 \
    F(T, u64, as_server, "1: by the operator (API key): no role is needed; user may be absent")

#define FIELDS_cmd_member(F, T)                                                                    \
    F(T, str, conv, "the conversation")                                                            \
    F(T, str, user, "who asks")                                                                    \
    F(T, u64, change, "enum member_change")                                                        \
    F(T, bin, users, "seq of slices: those added, removed or given the role")                      \
    F(T, u64, role, "enum member_role, for MEMBER_ROLE and MEMBER_ADD")                            \
    F(T, u64, as_server, "1: by the operator (API key): no role is needed; user may be absent")

#define FIELDS_cmd_info(F, T)                                                                      \
    F(T, str, conv, "the conversation")                                                            \
    F(T, str, user, "who asks")                                                                    \
    F(T, str, title, "absent: unchanged")                                                          \
    F(T, bin, meta, "JSON text; absent: unchanged")                                                \
    F(T, u64, history, "enum conv_history; 0: unchanged")                                          \
    F(T, u64, retain_ms, "0: unchanged; RETAIN_FOREVER: no longer")                                \
    F(T, u64, retain_count, "likewise")                                                            \
    F(T, u64, as_server, "1: by the operator (API key): no role is needed; user may be absent")

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

/* An edit, a deletion or a reaction: an entry of its own that changes a message. */
#define FIELDS_cmd_change(F, T)                                                                    \
    F(T, str, conv, "the conversation")                                                            \
    F(T, str, user, "who")                                                                         \
    F(T, str, device, "his device")                                                                \
    F(T, u64, type, "ENTRY_EDIT, ENTRY_DELETE or ENTRY_REACTION")                                  \
    F(T, u64, target, "seq of the message")                                                        \
    F(T, str, cid, "idempotency key; may be absent")                                               \
    F(T, bin, body, "edit: JSON text")                                                             \
    F(T, str, emoji, "reaction: 1..LIMIT_EMOJI_SIZE_MAX bytes")                                    \
    F(T, u64, on, "reaction: 1 set, 0 take back")                                                  \
    F(T, u64, as_server, "1: by the operator (API key)")

/* From the shard's leader: retention removes all entries up to `upto`. */
#define FIELDS_cmd_trim(F, T)                                                                      \
    F(T, str, conv, "the conversation")                                                            \
    F(T, u64, upto, "seq; at most the head")

/* By the operator: a user is to be forgotten in this conversation: he leaves it, his cursors go,
 * and his messages lose their bodies; a part of them at a time. The result's seq is where to go on
 * (`after` of the next command), 0 when all is done. */
#define FIELDS_cmd_erase(F, T)                                                                     \
    F(T, str, conv, "the conversation")                                                            \
    F(T, str, user, "who is forgotten")                                                            \
    F(T, u64, after, "entries up to here are done already")

/* By the operator: the conversation ends: its members are removed, some at a time, then its
 * entries. The result's seq is not 0 while there is more to do: send it again. */
#define FIELDS_cmd_drop(F, T)                                                                      \
    F(T, str, conv, "the conversation")

/* From the shard's leader: the webhook knows of everything up to seq. */
#define FIELDS_cmd_pushed(F, T)                                                                    \
    F(T, str, conv, "the conversation")                                                            \
    F(T, u64, seq, "all messages up to here were told, or need not be")

/* From the leader of the user's shard: when he was last online. */
#define FIELDS_cmd_seen(F, T)                                                                      \
    F(T, str, user, "who (the key that picks the shard)")                                          \
    F(T, u64, ts, "ms since 1970; an older one changes nothing")                                   \
    F(T, u64, erase, "1: forget it instead")

/* To the control group: what the cluster is. Once, by its founder; a later one is refused. */
#define FIELDS_cmd_cluster(F, T)                                                                   \
    F(T, u64, shards, "S")                                                                         \
    F(T, u64, replicas, "R wanted, odd")                                                           \
    F(T, str, epoch, "of the cluster's history")

/* To the control group: a router joins the list, or changes its state. Idempotent. */
#define FIELDS_cmd_router(F, T)                                                                    \
    F(T, str, node, "its node id")                                                                 \
    F(T, str, zone, "may be absent")                                                               \
    F(T, u64, weight, "its share against others, 1..1000")                                         \
    F(T, u64, state, "enum router_state")

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
    F(T, str, device, "message: the sending device")                                               \
    F(T, u64, target, "edit, delete, reaction: seq of the message it changes")                     \
    F(T, str, emoji, "reaction: which")                                                            \
    F(T, u64, on, "reaction: 1 set, 0 taken back")                                                 \
    F(T, bin, marks, "message: what later entries made of it: a marks record; absent where nothing")

/* What later entries made of a message; kept with it, so that every reader finds the current text.
 */
#define FIELDS_marks(F, T)                                                                         \
    F(T, u64, edited, "seq of the last edit, 0 none")                                              \
    F(T, u64, edited_ts, "of it")                                                                  \
    F(T, u64, deleted, "seq of the deletion, 0 none; the body is gone then")                       \
    F(T, bin, reactions, "seq of reaction_count records, at most LIMIT_REACTIONS_MAX")

#define FIELDS_reaction_count(F, T)                                                                \
    F(T, str, emoji, "which")                                                                      \
    F(T, u64, count, "how many members set it")

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
    M(raft, RAFT, 30)                                                                              \
    M(raft_entry, RAFT_ENTRY, 31)                                                                  \
    M(router_beat, ROUTER_BEAT, 32)                                                                \
    M(table, TABLE, 33)                                                                            \
    M(replica_prepare, REPLICA_PREPARE, 34)                                                        \
    M(replica_prepared, REPLICA_PREPARED, 35)                                                      \
    M(replica_gone, REPLICA_GONE, 36)                                                              \
    M(replica_drop, REPLICA_DROP, 37)                                                              \
    M(chunk, CHUNK, 38)                                                                            \
    M(chunk_ack, CHUNK_ACK, 39)                                                                    \
    M(beat, BEAT, 40)                                                                              \
    M(event_entry, EVENT_ENTRY, 41)                                                                \
    M(event_receipt, EVENT_RECEIPT, 42)                                                            \
    M(event_user, EVENT_USER, 43)                                                                  \
    M(event_device, EVENT_DEVICE, 44)                                                              \
    M(join, JOIN, 45)                                                                              \
    M(joined, JOINED, 46)                                                                          \
    M(operate, OPERATE, 47)                                                                        \
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
    M(cmd_cluster, CMD_CLUSTER, 68)                                                                \
    M(cmd_router, CMD_ROUTER, 69)                                                                  \
    M(entry, ENTRY, 70)                                                                            \
    M(typing, TYPING, 12)                                                                          \
    M(look, LOOK, 13)                                                                              \
    M(readers, READERS, 14)                                                                        \
    M(presence_query, PRESENCE_QUERY, 15)                                                          \
    M(presence_watch, PRESENCE_WATCH, 16)                                                          \
    M(user_status, USER_STATUS, 17)                                                                \
    M(user_kick, USER_KICK, 18)                                                                    \
    M(untold, UNTOLD, 19)                                                                          \
    M(event_typing, EVENT_TYPING, 48)                                                              \
    M(event_tally, EVENT_TALLY, 49)                                                                \
    M(event_presence, EVENT_PRESENCE, 52)                                                          \
    M(given, GIVEN, 53)                                                                            \
    M(cmd_change, CMD_CHANGE, 71)                                                                  \
    M(cmd_trim, CMD_TRIM, 72)                                                                      \
    M(cmd_erase, CMD_ERASE, 73)                                                                    \
    M(cmd_drop, CMD_DROP, 74)                                                                      \
    M(cmd_pushed, CMD_PUSHED, 75)                                                                  \
    M(cmd_seen, CMD_SEEN, 76)                                                                      \
    M(looked, LOOKED, 80)                                                                          \
    M(reader, READER, 81)                                                                          \
    M(readers_page, READERS_PAGE, 82)                                                              \
    M(presences, PRESENCES, 83)                                                                    \
    M(presence_item, PRESENCE_ITEM, 84)                                                            \
    M(marks, MARKS, 85)                                                                            \
    M(reaction_count, REACTION_COUNT, 86)                                                          \
    M(untold_convs, UNTOLD_CONVS, 87)
