/* session_call - what a client asked for, on its way to the leader of its shard and back.
 *
 * Between the two it may wait for a leader (calls.h). Loop thread only. */
#ifndef GATEWAY_SESSION_CALL_H
#define GATEWAY_SESSION_CALL_H

#include "gateway/session.h"

#define SESSION_CALL_ID_SIZE_MAX 256u

/* What the reply needs of the request. */
struct client_call {
    struct session_request base;
    enum client_request_type type;
    enum conv_kind kind;
    void (*on_done)(struct gateway *, struct request *, enum rc, const void *); /* Replies. */
    bool is_making; /* There may have been no such conversation. */
    uint64_t seq;
    uint16_t id_size; /* 0: the reply bears no id. */
    uint8_t conv_size;
    uint8_t cid_size;
    uint16_t title_size;
    char text[]; /* id, conv, cid, title. */
};

static inline struct slice session_call_id(const struct client_call *call)
{
    return call->id_size != 0 ? slice_of(call->text, call->id_size) : (struct slice){0};
}

static inline struct slice session_call_conv(const struct client_call *call)
{
    return slice_of(call->text + call->id_size, call->conv_size);
}

static inline struct slice session_call_cid(const struct client_call *call)
{
    const char *at = call->text + call->id_size + call->conv_size;
    return call->cid_size != 0 ? slice_of(at, call->cid_size) : (struct slice){0};
}

static inline struct slice session_call_title(const struct client_call *call)
{
    const char *at = call->text + call->id_size + call->conv_size + call->cid_size;
    return call->title_size != 0 ? slice_of(at, call->title_size) : (struct slice){0};
}

/* A call for the conversation's shard, to be sent with session_call_send(). NULL: the client was
 * told why not. */
struct client_call *session_call_begin(struct session *session,
                                       const struct client_request *request, struct slice conv,
                                       enum message_number answer_number,
                                       void (*on_done)(struct gateway *, struct request *, enum rc,
                                                       const void *));
/* Send `message`, whose req is the call's id. Takes the call. */
void session_call_send(struct session *session, struct client_call *call,
                       const struct record_desc *desc, const void *message,
                       enum request_repeat repeat);

/* Tell the client that its call failed. `detail` may be absent; `hint_ms`, where not 0, is when the
 * router wants it again. A send that may come again keeps those behind it waiting (fence.h). */
void session_call_fail(struct session *session, const struct client_call *call, enum rc rc,
                       struct slice detail, uint64_t hint_ms);
/* The same for a request that was not sent to any shard. */
void session_call_refuse(struct session *session, const struct client_request *request, enum rc rc,
                         uint64_t retry_ms);

#endif
