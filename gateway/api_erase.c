/* A user is forgotten: logged out, taken out of every conversation that he is or was in, with what
 * he said; then when he was last seen goes, too.
 *
 *   KICK -> UNTOLD -> ERASE .. ERASE -> PAGE -> ERASE .. ERASE -> PAGE -> .. -> SEEN -> ok
 *
 * His list hears of a conversation a little later, and where a router died seconds later. So first
 * all shards are asked which conversations his list has yet to be told of: what is told meanwhile
 * is on the list when that is read. Several conversations of a page at a time, each in steps that
 * are idempotent: it may be asked for again, after a failure and also when all is done. It says so
 * where it does not finish within API_STEPS_US. A step for which a router has no room waits for
 * another one to be done, and from then on there are no more under way than were then: who begins
 * again begins with the same ones, and would never come further. */
#include "gateway/api_private.h"

#include "mesh/base/mem.h"

#define LANES 16u

/* A conversation under way. */
struct lane {
    struct api_name conv; /* Absent: none. */
    uint64_t after;       /* Done up to this entry. */
    bool is_refused;      /* It waits for others. */
};

struct erase {
    struct buf *convs; /* Of all shards, then of the page. */
    struct record_reader rest;
    uint32_t shards_left; /* To be heard of what is untold. */
    bool is_listed;       /* They are of a page. */
    struct api_name last; /* Of the page, as far as it was read. */
    bool has_more;        /* Pages. */
    struct lane lanes[LANES];
    uint32_t busy; /* Lanes that wait for an answer. */
    uint32_t busy_max;
    uint64_t deadline_us;
};

static void erase_free(void *work)
{
    struct erase *erase = work;
    buf_unref(&erase->convs);
    mem_free(erase);
}

static void next_page(struct api_call *call);

static bool is_late(struct api_call *call)
{
    const struct erase *erase = call->work;
    if (gateway_now_us(call->gateway) < erase->deadline_us)
        return false;
    api_fail(call, RC_UNAVAILABLE, "not all is erased yet: send it again", 0);
    return true;
}

static void forget_seen(struct api_call *call)
{
    struct msg_cmd_seen command = {.user = api_name(&call->user), .erase = 1};
    api_submit_user(call, command.user, &msg_cmd_seen_desc, &command, REPEAT_FREELY,
                    api_on_changed);
}

static void go_on(struct api_call *call);

static void on_erased(struct api_call *call, struct api_request *request, enum rc rc,
                      const void *answer);

static void next_step(struct api_call *call, struct lane *lane)
{
    struct erase *erase = call->work;
    struct msg_cmd_erase command = {
        .conv = api_name(&lane->conv), .user = api_name(&call->user), .after = lane->after};
    erase->busy++;
    lane->is_refused = false;
    api_submit_item(call, lane, command.conv, &msg_cmd_erase_desc, &command, REPEAT_FREELY,
                    on_erased);
}

static void on_refused(struct api_call *call, struct api_request *request, enum rc rc,
                       const void *answer)
{
    struct erase *erase = call->work;
    struct lane *lane = request->item;
    const struct msg_result *result = answer;
    bool is_for_room = rc == RC_UNAVAILABLE && result != NULL && result->hint_ms != 0;
    if (!is_for_room || erase->busy == 0) {
        api_fail_request(call, request, rc, answer);
        return;
    }
    lane->is_refused = true;
    erase->busy_max = erase->busy;
}

/* A conversation that is gone holds nothing of his. */
static void on_erased(struct api_call *call, struct api_request *request, enum rc rc,
                      const void *answer)
{
    const struct msg_result *result = answer;
    struct erase *erase = call->work;
    struct lane *lane = request->item;
    erase->busy--;
    if (rc != RC_OK && rc != RC_NOT_FOUND) {
        on_refused(call, request, rc, answer);
    } else if (!is_late(call)) {
        lane->after = rc == RC_OK ? result->seq : 0;
        if (lane->after != 0) {
            next_step(call, lane);
            return;
        }
        lane->conv.size = 0;
        go_on(call);
    }
}

/* Begin the next conversation of the page in this lane. False: there is none. */
static bool next_conv(struct api_call *call, struct lane *lane)
{
    struct erase *erase = call->work;
    struct slice conv;
    if (record_get_slice(&erase->rest, &conv) != RC_OK || conv.size > sizeof(lane->conv.bytes))
        return false;
    lane->conv.size = conv.size;
    memcpy(lane->conv.bytes, conv.base, conv.size);
    if (erase->is_listed)
        erase->last = lane->conv;
    next_step(call, lane);
    return true;
}

static void go_on(struct api_call *call)
{
    struct erase *erase = call->work;
    bool is_page_over = false;
    for (uint32_t i = 0; i < LANES && erase->busy < erase->busy_max && !call->is_answered; i++) {
        struct lane *lane = &erase->lanes[i];
        if (lane->is_refused)
            next_step(call, lane);
        else if (lane->conv.size == 0 && !is_page_over)
            is_page_over = !next_conv(call, lane);
    }
    if (erase->busy > 0 || call->is_answered)
        return;
    if (erase->has_more)
        next_page(call);
    else
        forget_seen(call);
}

static void on_page(struct api_call *call, struct api_request *request, enum rc rc,
                    const void *answer)
{
    struct erase *erase = call->work;
    const struct msg_user_convs *page = answer;
    if (rc != RC_OK) {
        api_fail_request(call, request, rc, answer);
        return;
    }
    buf_clear(erase->convs);
    buf_append_slice(erase->convs, page->convs);
    erase->rest = record_reader_of(buf_slice(erase->convs));
    erase->is_listed = true;
    erase->has_more = page->more != 0 && page->convs.size > 0;
    go_on(call);
}

static void next_page(struct api_call *call)
{
    const struct erase *erase = call->work;
    struct api_request *request = api_request_new(call, MSG_USER_CONVS, REPEAT_FREELY, on_page);
    if (!api_request_to_user(&request, api_name(&call->user)))
        return;
    struct msg_user_open message = {.req = request->request.id,
                                    .shard = request->request.shard,
                                    .user = api_name(&call->user),
                                    .after = api_name(&erase->last),
                                    .limit = LIMIT_USER_CONVS_PAGE,
                                    .peek = 1,
                                    .past = USER_PAST_AMONG_OTHERS};
    api_request_send(request, &msg_user_open_desc, &message);
}

static void on_untold(struct api_call *call, struct api_request *request, enum rc rc,
                      const void *answer)
{
    struct erase *erase = call->work;
    const struct msg_untold_convs *untold = answer;
    if (rc != RC_OK) {
        api_fail_request(call, request, rc, answer);
        return;
    }
    buf_append_slice(erase->convs, untold->convs);
    if (--erase->shards_left > 0)
        return;
    erase->rest = record_reader_of(buf_slice(erase->convs));
    erase->has_more = true; /* The list is still to be read. */
    go_on(call);
}

static void ask_untold(struct api_call *call)
{
    struct erase *erase = call->work;
    uint32_t shards = call->gateway->routers.shard_count;
    erase->shards_left = shards;
    for (uint32_t shard = 0; shard < shards && !call->is_answered; shard++) {
        struct api_request *request =
            api_request_new(call, MSG_UNTOLD_CONVS, REPEAT_FREELY, on_untold);
        request->request.shard = shard;
        struct msg_untold message = {
            .req = request->request.id, .shard = shard, .user = api_name(&call->user)};
        api_request_send(request, &msg_untold_desc, &message);
    }
}

static void on_kicked(struct api_call *call, struct api_request *request, enum rc rc,
                      const void *answer)
{
    if (rc == RC_OK)
        ask_untold(call);
    else
        api_fail_request(call, request, rc, answer);
}

void api_erase(struct api_call *call, struct slice body)
{
    (void)body;
    struct erase *erase = mem_new(struct erase);
    erase->convs = buf_new(0);
    erase->busy_max = LANES;
    erase->deadline_us = gateway_now_us(call->gateway) + API_STEPS_US;
    call->work = erase;
    call->free_work = erase_free;
    api_kick(call, on_kicked);
}
