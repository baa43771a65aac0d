/* client - the client protocol's frames: what may come in, and how everything going out is written.
 *
 * Decoding: the text is first checked to be strict JSON (json.h), then read into a client_request
 * whose slices point into the frame (or, for strings with escapes, into the decoder's scratch). Ids
 * are checked against the protocol's rules here, so the session sees only valid ones. A body is
 * passed on byte for byte.
 *
 * Encoding: each function appends one JSON object, without a frame around it. Entries are encoded
 * once a gateway and shared by all recipients. Pure. */
#ifndef GATEWAY_CLIENT_H
#define GATEWAY_CLIENT_H

#include <stdbool.h>

#include "gateway/json.h"
#include "mesh/base/buf.h"
#include "mesh/base/rc.h"
#include "mesh/wire/messages.h"

enum client_request_type {
#define REQUEST(name, NAME, fields) CLIENT_##NAME,
#include "gateway/requests.tbl.h"
#undef REQUEST
    CLIENT_REQUEST_COUNT,
};

/* Absent strings have a NULL base; absent numbers are 0 with their has_ flag false. */
struct client_request {
    enum client_request_type type;
    struct slice id; /* Raw JSON number or string, echoed as it is; absent: no reply is wanted. */
    struct slice token, device, epoch;
    bool has_batch, batch;
    struct json_value resume; /* connect: an object of conv to seq; raw.base NULL where absent. */
    struct slice conv, to, cid;
    struct slice from; /* HTTP only: on whose behalf the operator asks. */
    struct slice body; /* Raw JSON. */
    struct slice meta; /* Raw JSON. */
    struct slice title, user, role, emoji, status;
    struct slice history;    /* "all" or "joined". */
    struct json_value users; /* members, users or user: valid user names; raw.base NULL: absent. */
    uint32_t user_count;
    uint64_t seq, reply_to, after, before, limit;
    uint64_t retain_ms, retain_count; /* 0: for ever. */
    bool has_seq, has_after, has_before, has_limit, has_retain_ms, has_retain_count;
    struct slice after_name; /* conversations, members: `after` as a string. */
    enum conv_kind kind;     /* create: CONV_GROUP where absent. */
    bool on;                 /* True where absent. */
};

/* A string with escapes is unescaped at the offset it has in the frame: reading it again yields the
 * same slice, nothing overlaps, and nothing ever moves. */
struct client_decoder {
    struct buf *scratch; /* As large as the largest frame so far. */
    const char *text;    /* Where the current frame begins. */
};

void client_decoder_init(struct client_decoder *d);
void client_decoder_fini(struct client_decoder *d);

/* RC_BAD_REQUEST: not JSON, not an object, no or unknown `type`, a field missing, of the wrong type
 * or breaking a rule (*ret_reason says which, in a static sentence: "cid must be 1 to 64 bytes");
 * RC_TOO_LARGE: title, meta or list beyond its limit. `ret_request->id` is set where it could be
 * read at all, so that the error can bear it. Slices live until the next decode or until `text`
 * dies. */
MUST_CHECK enum rc client_decode(struct client_decoder *d, struct slice text,
                                 struct client_request *ret_request, const char **ret_reason);

/* The body of an HTTP request: what a request of request->type holds beside what the path said, and
 * the caller has set. The same errors. */
MUST_CHECK enum rc client_decode_body(struct client_decoder *d, struct slice text,
                                      struct client_request *request, const char **ret_reason);

/* The names of a request's `users`, one by one; start with *at = 0. */
bool client_users_next(struct client_decoder *d, const struct client_request *request, uint32_t *at,
                       struct slice *ret_user);
/* All of them as a sequence of slices, for a message. */
struct buf *client_users(struct client_decoder *d, const struct client_request *request);
/* The pairs of connect's `resume`. */
bool client_resume_next(struct client_decoder *d, const struct client_request *request,
                        uint32_t *at, struct slice *ret_conv, uint64_t *ret_seq);

/* "member", "admin", "owner" to enum member_role; 0 where it is none of them. */
enum member_role client_role(struct slice name);
/* And back; "member" where it is none of them. */
struct slice client_role_name(uint64_t role);
/* "all", "joined" to enum conv_history; 0 where it is absent. */
uint64_t client_history(struct slice name);
/* What retain_ms and retain_count are in a command that changes them: to the client 0 is for ever,
 * in the command it is no change. */
uint64_t client_retention(bool has, uint64_t amount);
/* "online", "away", "busy"; PRESENCE_OFFLINE where it is none of them. */
enum presence_status client_status(struct slice name);

/* ---- What goes out. `id` is raw JSON or absent. ---- */

struct client_welcome {
    struct slice id, session, user, device, gateway, epoch;
    uint64_t ping_ms, max_frame, ts;
    const char *const *urls; /* Of gateways, for when this one does not answer. */
    uint32_t url_count;
};
void client_put_welcome(struct buf *out, const struct client_welcome *welcome);
void client_put_ok(struct buf *out, struct slice id);
void client_put_pong(struct buf *out, struct slice id, uint64_t ts);
void client_put_reset(struct buf *out);
/* `message` may be NULL: then the rc's own sentence. retry_after_ms 0: left out. */
void client_put_error(struct buf *out, struct slice id, enum rc rc, const char *message,
                      uint64_t retry_after_ms);
void client_put_sent(struct buf *out, struct slice id, struct slice conv, struct slice cid,
                     uint64_t seq, uint64_t ts, bool dup);
/* An entry as its event: message, edit, delete, reaction, member, info. One that the operator made
 * bears no `from`. */
void client_put_entry(struct buf *out, struct slice conv, const struct msg_entry *entry);
/* `entries` is a sequence of entry records. */
void client_put_history(struct buf *out, struct slice id, struct slice conv, struct slice entries,
                        uint64_t head, bool more);
/* Reply to create: the conversation as the creator sees it; `dup`: it was there already. */
void client_put_conversation(struct buf *out, struct slice id, struct slice conv,
                             enum conv_kind kind, struct slice title, uint64_t head, bool dup);
/* The event: added to a conversation, or gone from it. */
void client_put_conversation_event(struct buf *out, struct slice conv, bool gone);
/* One item of the list; the session puts `[`, commas and `]` through the two below. */
void client_put_conversations_begin(struct buf *out, struct slice id);
void client_put_conversations_item(struct buf *out, const struct msg_summary_item *item,
                                   bool first);
void client_put_conversations_end(struct buf *out, bool more);
/* An object, with no reply around it. */
void client_put_member(struct buf *out, const struct msg_member *member);
/* `members` is a sequence of member records. */
void client_put_members(struct buf *out, struct slice id, struct slice conv, struct slice members,
                        uint64_t total, bool more);
/* Reply to receipts. */
void client_put_receipts(struct buf *out, struct slice id, struct slice conv, uint64_t seq,
                         const struct msg_readers_page *page);
/* Reply to presence, item by item. */
void client_put_presence_list_begin(struct buf *out, struct slice id);
void client_put_presence_list_item(struct buf *out, const struct msg_presence_item *item,
                                   bool first);
void client_put_presence_list_end(struct buf *out);
void client_put_gap(struct buf *out, struct slice conv, uint64_t from, uint64_t to, uint64_t head,
                    bool trimmed);
void client_put_resumed(struct buf *out, uint64_t conversations, uint64_t missed);
/* 0: left out. */
void client_put_receipt(struct buf *out, struct slice conv, struct slice user, uint64_t delivered,
                        uint64_t read);
/* A receipt of a group where they are counted. */
void client_put_tally(struct buf *out, const struct msg_event_tally *tally);
void client_put_typing(struct buf *out, struct slice conv, struct slice user, bool on);
void client_put_activity(struct buf *out, struct slice conv, uint64_t head, uint64_t unread);
void client_put_presence(struct buf *out, const struct msg_presence_item *item);
void client_put_server_restart(struct buf *out, uint64_t reconnect_after_ms);

#endif
