/* What is said in a conversation: read, sent, edited, deleted. */
#include "gateway/api_private.h"

#include "mesh/base/check.h"
#include "mesh/base/crypto.h"
#include "mesh/base/mem.h"

#define BEFORE_ALL (UINT64_C(1) << 53) /* No seq is that large. */

/* ---- History ---- */

static void on_fetched(struct api_call *call, struct api_request *request, enum rc rc,
                       const void *data)
{
    const struct msg_fetched *answer = data;
    if (rc != RC_OK) {
        api_fail_request(call, request, rc, data);
        return;
    }
    client_put_history(call->text, (struct slice){0}, api_name(&call->conv), answer->entries,
                       answer->head, answer->more != 0);
    api_answer(call, 200);
}

void api_history(struct api_call *call, struct slice body)
{
    (void)body;
    struct api_request *request = api_request_new(call, MSG_FETCHED, REPEAT_FREELY, on_fetched);
    if (!api_request_to_conv(&request, api_name(&call->conv)))
        return;
    bool is_newest = !call->has_after && !call->has_before;
    struct msg_fetch message = {.req = request->request.id,
                                .shard = request->request.shard,
                                .conv = api_name(&call->conv),
                                .user = api_asker(call),
                                .after = call->after_seq,
                                .before = is_newest ? BEFORE_ALL : call->before_seq,
                                .limit = api_limit(call, LIMIT_HISTORY_COUNT_MAX),
                                .present = 1};
    api_request_send(request, &msg_fetch_desc, &message);
}

/* ---- What is answered with `sent` ---- */

struct sending {
    char cid[LIMIT_CID_SIZE_MAX];
    uint32_t cid_size; /* 0: none. */
};

static void keep_cid(struct api_call *call, struct slice cid)
{
    struct sending *sending = mem_new(struct sending);
    CHECK(cid.size <= sizeof(sending->cid));
    sending->cid_size = cid.size;
    if (cid.size > 0)
        memcpy(sending->cid, cid.base, cid.size);
    call->work = sending;
    call->free_work = mem_free;
}

static struct slice kept_cid(const struct api_call *call)
{
    const struct sending *sending = call->work;
    if (sending->cid_size == 0)
        return (struct slice){0};
    return slice_of(sending->cid, sending->cid_size);
}

/* Where the gateway asked twice, the second answer is the first one for who asks. */
static void on_sent(struct api_call *call, struct api_request *request, enum rc rc,
                    const void *answer)
{
    const struct msg_result *result = answer;
    if (rc != RC_OK) {
        api_fail_request(call, request, rc, answer);
        return;
    }
    bool is_again = result->dup != 0 && !request->request.is_doubtful;
    client_put_sent(call->text, (struct slice){0}, api_name(&call->conv), kept_cid(call),
                    result->seq, result->ts, is_again);
    api_answer(call, call->seq == 0 && !is_again ? 201 : 200);
}

/* Without a cid of the sender's one is drawn: so a router that dies leaves no doubt whether it was
 * sent (calls.h). */
void api_say(struct api_call *call, struct slice body)
{
    struct client_request request;
    struct slice from;
    uint64_t random[2];
    char drawn[2 * sizeof(random)];
    if (!api_read_body(call, body, CLIENT_SEND, &request) || !api_author(call, &request, &from))
        return;
    if (from.base == NULL) {
        api_fail(call, RC_BAD_REQUEST, "from is required: who says it, a member", 0);
        return;
    }
    if (request.cid.base == NULL) {
        random[0] = env_random(call->gateway->env);
        random[1] = env_random(call->gateway->env);
        _Static_assert(sizeof(drawn) >= (sizeof(random) * 8 + 5) / 6 + 1, "base64url and a NUL");
        crypto_base64url_encode(random, sizeof(random), drawn);
        request.cid = slice_string(drawn);
    }
    keep_cid(call, request.cid);
    struct msg_cmd_send command = {.conv = request.conv,
                                   .user = from,
                                   .cid = request.cid,
                                   .body = request.body,
                                   .reply_to = request.reply_to};
    api_submit_conv(call, request.conv, &msg_cmd_send_desc, &command, REPEAT_IF_UNDONE, on_sent);
}

/* The operator may change any message in nobody's name, or in that of a member. */
static void submit_change(struct api_call *call, const struct msg_cmd_change *command)
{
    keep_cid(call, command->cid);
    api_submit_conv(call, command->conv, &msg_cmd_change_desc, command,
                    command->cid.base != NULL ? REPEAT_FREELY : REPEAT_NEVER, on_sent);
}

void api_edit(struct api_call *call, struct slice body)
{
    struct client_request request;
    struct slice from;
    if (!api_read_body(call, body, CLIENT_EDIT, &request) || !api_author(call, &request, &from))
        return;
    struct msg_cmd_change command = {.conv = request.conv,
                                     .user = from,
                                     .type = ENTRY_EDIT,
                                     .target = call->seq,
                                     .cid = request.cid,
                                     .body = request.body,
                                     .as_server = call->is_server};
    submit_change(call, &command);
}

void api_delete(struct api_call *call, struct slice body)
{
    (void)body;
    struct msg_cmd_change command = {.conv = api_name(&call->conv),
                                     .user = api_asker(call),
                                     .type = ENTRY_DELETE,
                                     .target = call->seq,
                                     .as_server = call->is_server};
    submit_change(call, &command);
}
