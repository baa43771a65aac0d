/* api_private - one request of the HTTP API on its way: shared by api*.c. Nobody else includes
 * this. */
#ifndef GATEWAY_API_PRIVATE_H
#define GATEWAY_API_PRIVATE_H

#include "gateway/api.h"
#include "gateway/core.h"

#define API_PAGE_COUNT 100u /* Of anything that is paged, where the request says none. */

/* What takes many steps is told to be asked for again after this; each of them has a deadline of
 * its own. */
#define API_STEPS_US 20000000u

/* Who may ask. */
enum api_access {
    API_ACCESS_ANY,    /* Whoever has a token or a key; what he may see, routers judge. */
    API_ACCESS_SELF,   /* The user of the path, or the operator. */
    API_ACCESS_SERVER, /* The operator. */
    API_ACCESS_DEV,    /* Likewise; in development anybody. */
};

/* What `after`, `before` and `limit` of the query mean. */
enum api_page {
    API_PAGE_NONE,
    API_PAGE_SEQ,  /* After or before a seq. */
    API_PAGE_USER, /* After a user. */
    API_PAGE_CONV, /* After a conversation. */
};

struct api_route {
    enum api_method method;
    const char *path; /* With {conv}, {user} and {seq}. */
    enum api_access access;
    enum api_page page;
    void (*start)(struct api_call *call, struct slice body);
};

struct api_name {
    uint32_t size; /* 0: absent. */
    char bytes[LIMIT_CONV_SIZE_MAX];
};

static inline struct slice api_name(const struct api_name *name)
{
    return name->size != 0 ? slice_of(name->bytes, name->size) : (struct slice){0};
}

struct api_call {
    struct gateway *gateway;
    const struct api_route *route;
    struct list requests;  /* Of this call, in flight. */
    struct api_name asker; /* The token's user. */
    struct api_name conv;  /* Of the path, as user and seq. */
    struct api_name user;
    struct api_name after; /* Of the query, as the three below. */
    uint64_t seq;
    uint64_t after_seq, before_seq, limit;
    bool has_after, has_before;
    bool is_server;   /* Asked with an API key, or needs none. */
    bool is_started;  /* The route has begun: pending counts. */
    bool is_answered; /* Or abandoned. */
    uint32_t pending; /* Requests in flight, and 1 while its own code runs. */
    void (*on_answer)(void *context, const struct api_answer *answer);
    void *context;
    struct buf *text;              /* Of the answer. */
    void *work;                    /* What the route keeps between its requests, */
    void (*free_work)(void *work); /* and how it goes; NULL: there is none. */
    /* Abandoned: what it waits for besides requests is not awaited any more, and pending lowered
     * for it. NULL: that ends by itself. */
    void (*cancel)(struct api_call *call);
};

/* The user on whose behalf routers are asked; absent: the operator's. */
static inline struct slice api_asker(const struct api_call *call)
{
    return api_name(&call->asker);
}

static inline uint64_t api_limit(const struct api_call *call, uint64_t max)
{
    uint64_t limit = call->limit != 0 ? call->limit : API_PAGE_COUNT;
    return limit < max ? limit : max;
}

/* ---- Asking routers ---- */

struct api_request {
    struct request request;
    struct api_call *call;
    struct list in_call;
    void *item; /* Of the route's own. */
    /* With RC_OK there is an answer. With anything else there may be one, and where the route does
     * not care, api_fail_request() answers. */
    void (*on_done)(struct api_call *call, struct api_request *request, enum rc rc,
                    const void *answer);
};

struct api_request *api_request_new(struct api_call *call, enum message_number answer_number,
                                    enum request_repeat repeat,
                                    void (*on_done)(struct api_call *, struct api_request *,
                                                    enum rc, const void *));
/* Choose the shard. False: nobody has told how many there are; the request is gone, and the call
 * answered. */
MUST_CHECK bool api_request_to_conv(struct api_request **request, struct slice conv);
MUST_CHECK bool api_request_to_user(struct api_request **request, struct slice user);
/* Send it; `message` bears request.id and request.shard. Takes it; where it cannot leave the call
 * is answered. */
void api_request_send(struct api_request *request, const struct record_desc *desc,
                      const void *message);
/* Send `command` to the shard of the conversation, or the user, to be answered with a `result`; the
 * request bears `item`. */
void api_submit_item(struct api_call *call, void *item, struct slice conv,
                     const struct record_desc *desc, const void *command,
                     enum request_repeat repeat,
                     void (*on_done)(struct api_call *, struct api_request *, enum rc,
                                     const void *));
void api_submit_conv(struct api_call *call, struct slice conv, const struct record_desc *desc,
                     const void *command, enum request_repeat repeat,
                     void (*on_done)(struct api_call *, struct api_request *, enum rc,
                                     const void *));
void api_submit_user(struct api_call *call, struct slice user, const struct record_desc *desc,
                     const void *command, enum request_repeat repeat,
                     void (*on_done)(struct api_call *, struct api_request *, enum rc,
                                     const void *));
/* Of a change with nothing to tell: what a WebSocket is told, too, `ok`. */
void api_answer_ok(struct api_call *call);
/* An on_done for such changes. */
void api_on_changed(struct api_call *call, struct api_request *request, enum rc rc,
                    const void *answer);
/* What the call waited for besides requests is there: pending was raised for it. */
void api_step_done(struct api_call *call);

/* ---- Answering. The first answer counts. ---- */

void api_answer(struct api_call *call, unsigned status); /* With call->text. */
/* `message` may be NULL: then the rc's own sentence. retry_ms 0: what the rc suggests. */
void api_fail(struct api_call *call, enum rc rc, const char *message, uint64_t retry_ms);
void api_fail_request(struct api_call *call, const struct api_request *request, enum rc rc,
                      const void *answer);
/* The answer of a call that is refused before there is one. */
struct api_answer api_refusal(struct buf *out, enum rc rc, const char *message, uint64_t retry_ms);

/* ---- Life ---- */

void api_call_free(struct api_call *call);
/* Askers whose second began before this; with the key that a map needs. */
void api_forget_rates(struct api *api, uint64_t begun_before_us);
struct slice api_rate_key(const void *rate);

/* ---- Bodies ---- */

/* The body as fields of a client's request of this type, whose conv and seq the path said. False:
 * the call has been answered. Slices live until the next body is read. */
MUST_CHECK bool api_read_body(struct api_call *call, struct slice body,
                              enum client_request_type type, struct client_request *ret_request);
/* On whose behalf: the token's user, or for the operator whom `from` names, perhaps nobody. False:
 * a token with another's name; the call has been answered. */
MUST_CHECK bool api_author(struct api_call *call, const struct client_request *request,
                           struct slice *ret_from);

/* ---- Routes, by file ---- */

void api_create(struct api_call *call, struct slice body); /* api_conversations.c */
void api_show(struct api_call *call, struct slice body);
void api_change(struct api_call *call, struct slice body);
void api_drop(struct api_call *call, struct slice body);

void api_history(struct api_call *call, struct slice body); /* api_messages.c */
void api_say(struct api_call *call, struct slice body);
void api_edit(struct api_call *call, struct slice body);
void api_delete(struct api_call *call, struct slice body);

void api_members(struct api_call *call, struct slice body); /* api_members.c */
void api_member(struct api_call *call, struct slice body);
void api_add(struct api_call *call, struct slice body);
void api_add_one(struct api_call *call, struct slice body);
void api_set_role(struct api_call *call, struct slice body);
void api_remove(struct api_call *call, struct slice body);

void api_list(struct api_call *call, struct slice body); /* api_users.c */
void api_disconnect(struct api_call *call, struct slice body);
/* All gateways are told to log him out. */
void api_kick(struct api_call *call,
              void (*on_done)(struct api_call *, struct api_request *, enum rc, const void *));
void api_erase(struct api_call *call, struct slice body); /* api_erase.c */

void api_presence_of(struct api_call *call, struct slice body); /* api_presence.c */
void api_presence(struct api_call *call, struct slice body);

void api_cluster(struct api_call *call, struct slice body); /* api_cluster.c */

#endif
