#include "gateway/calls_private.h"

#include "gateway/peers.h"
#include "mesh/base/check.h"
#include "mesh/base/mem.h"
#include "mesh/base/metrics.h"

static struct slice id_key(const void *thing)
{
    return slice_of(&((const struct request *)thing)->id, sizeof(uint64_t));
}

void calls_init(struct gateway *gateway)
{
    struct calls *calls = &gateway->calls;
    map_init(&calls->by_id, id_key);
    list_init(&calls->by_deadline);
    list_init(&calls->lost);
    list_init(&calls->held);
    /* A router may still answer what the process before this one asked, and its answers go to the
     * node's name: none of its ids may be one of ours. */
    calls->last_id = env_random(gateway->env) >> 1;
}

void calls_init_shard(struct shard_calls *calls)
{
    for (size_t i = 0; i < REQUEST_PLACES; i++)
        list_init(&calls->at[i]);
    list_init(&calls->held);
}

uint64_t calls_next_id(struct gateway *gateway)
{
    return ++gateway->calls.last_id;
}

/* ---- The way out ---- */

static void leave(struct gateway *gateway, struct request *request, enum request_place place)
{
    const struct shard *shard = calls_shard_of(gateway, request);
    request->peer = shard->leader;
    request->term = shard->term;
    request->left_us = gateway_now_us(gateway);
    calls_move(gateway, request, place);
}

/* The message is in the leader's packet from `at` on. */
static void went(struct gateway *gateway, struct request *request, uint32_t at)
{
    struct peer *leader = calls_shard_of(gateway, request)->leader;
    request->size = (uint32_t)leader->packet->size - at;
    if (request->may_wait && calls_has_room(&gateway->calls, request->size)) {
        peers_hold_on(leader);
        calls_keep(gateway, request, leader->packet, at);
    }
    leave(gateway, request, calls_is_ordered(request) ? REQUEST_COMMAND : REQUEST_LOOSE);
    peers_send_full(gateway, leader);
}

/* It never left: its message gets a buf of its own. */
static enum rc hold(struct gateway *gateway, struct request *request,
                    const struct record_desc *desc, const void *message)
{
    if (!calls_has_room(&gateway->calls, 0))
        return RC_UNAVAILABLE;
    struct buf *own = buf_new(0);
    record_encode(own, desc, message);
    request->size = (uint32_t)own->size;
    calls_keep(gateway, request, own, 0);
    calls_move(gateway, request, REQUEST_FRESH);
    return RC_OK;
}

enum rc calls_send(struct gateway *gateway, struct request *request, const struct record_desc *desc,
                   const void *message)
{
    CHECK(request->id != 0 && request->on_done != NULL);
    struct calls *calls = &gateway->calls;
    struct shard *shard = calls_shard_of(gateway, request);
    bool leaves = routers_is_live(gateway, request->shard) &&
                  (!request->may_wait || list_is_empty(&shard->calls.held));
    list_init(&request->in_shard);
    enum rc rc = RC_UNAVAILABLE;
    if (!leaves && request->may_wait)
        rc = hold(gateway, request, desc, message);
    if (!leaves && rc != RC_OK)
        return rc;
    request->deadline_us = gateway_now_us(gateway) + gateway->options.request_ms * UINT64_C(1000);
    list_append(&calls->by_deadline, &request->by_deadline);
    map_put(&calls->by_id, request);
    metric_add(requests_total, 1);
    if (leaves)
        went(gateway, request, peers_add(gateway, shard->leader, desc, message));
    return RC_OK;
}

static void send_again(struct gateway *gateway, struct request *request)
{
    struct peer *leader = calls_shard_of(gateway, request)->leader;
    calls_make_own(request);
    uint32_t at = peers_add_bytes(gateway, leader, calls_kept_message(request));
    calls_release(gateway, request);
    went(gateway, request, at);
}

/* ---- The end of a request ---- */

static void finish(struct gateway *gateway, struct request *request, enum rc rc, const void *answer)
{
    calls_move(gateway, request, REQUEST_NOWHERE);
    calls_release(gateway, request);
    list_remove(&request->by_deadline);
    map_remove(&gateway->calls.by_id, id_key(request));
    request->on_done(gateway, request, rc, answer);
    mem_free(request);
}

void calls_fail(struct gateway *gateway, struct request *request, enum rc rc)
{
    finish(gateway, request, rc, NULL);
}

void calls_forsake(struct request *request)
{
    request->is_forsaken = calls_is_command(request) && request->repeat == REPEAT_NEVER;
}

/* Wait for the next leader. False: it may not, or cannot. */
static bool come_back(struct gateway *gateway, struct request *request, bool is_undone)
{
    if (!request->may_wait || request->kept == NULL ||
        (!is_undone && request->repeat == REPEAT_NEVER))
        return false;
    request->is_doubtful |= !is_undone && calls_is_command(request);
    bool is_to_ask = request->is_doubtful && request->repeat == REPEAT_IF_UNDONE;
    calls_move(gateway, request, is_to_ask ? REQUEST_DOUBTFUL : REQUEST_BACK);
    return true;
}

static void lose(struct gateway *gateway, struct request *request)
{
    if (!come_back(gateway, request, false))
        calls_move(gateway, request, REQUEST_LOST);
}

/* No other is to wait for its answer, which may yet come. */
static void set_aside(struct gateway *gateway, struct request *request)
{
    if (come_back(gateway, request, false))
        return;
    if (!calls_is_ordered(request))
        calls_move(gateway, request, REQUEST_LOST);
    else if (request->place != REQUEST_LOOSE)
        calls_move(gateway, request, REQUEST_LOOSE);
}

/* ---- Answers ---- */

/* The router has lost the lead, or has it not yet. UNAVAILABLE with a hint is another thing: it
 * leads and has too much to do, which is for the client to know. So is UNAVAILABLE where the
 * question is who is online: a new leader takes everything else before it knows that. */
static bool is_for_next_leader(enum message_number number, enum rc rc, const union answer *answer)
{
    if (rc == RC_UNAVAILABLE && number == MSG_RESULT)
        return answer->result.hint_ms == 0;
    if (rc == RC_UNAVAILABLE)
        return number != MSG_PRESENCES;
    return rc == RC_NOT_LEADER;
}

static void on_sign_of_lead(struct shard_calls *calls)
{
    if (!calls->is_probing)
        return;
    calls->is_probing = false;
    calls->not_before_us = 0;
}

static void probe(struct gateway *gateway, struct shard_calls *calls)
{
    calls->is_probing = true;
    calls->not_before_us = gateway_now_us(gateway) + CALLS_PROBE_US;
}

/* The router has lost the lead, or has it not yet: the request waits for the next one. False: it
 * cannot. */
static bool on_refusal(struct gateway *gateway, struct request *request, enum rc rc)
{
    if (rc == RC_NOT_LEADER)
        routers_on_not_leader(gateway, request);
    else if (request->may_wait)
        probe(gateway, &calls_shard_of(gateway, request)->calls);
    /* While it waits, this is about an attempt that was given up. */
    return calls_is_waiting(request) || come_back(gateway, request, rc == RC_NOT_LEADER);
}

static void conclude(struct gateway *gateway, struct request *request, enum rc rc,
                     const union answer *answer)
{
    struct shard_calls *calls = &calls_shard_of(gateway, request)->calls;
    if (rc == RC_OK && calls_is_ordered(request) && request->id > calls->executed_id)
        calls->executed_id = request->id;
    /* Another attempt may have been executed before the reason for this refusal arose. */
    if (request->is_doubtful && rc != RC_OK)
        finish(gateway, request, RC_UNAVAILABLE, NULL);
    else
        finish(gateway, request, rc, answer);
}

void calls_on_answer(struct gateway *gateway, struct peer *peer, enum message_number number,
                     const union answer *answer)
{
    uint64_t id = answer->head.req;
    struct request *request = map_get(&gateway->calls.by_id, slice_of(&id, sizeof(id)));
    if (request == NULL || request->peer != peer || request->answer_number != number)
        return; /* Too late: it was given up, or another was asked. */
    enum rc rc = answer->head.rc < RC_COUNT ? (enum rc)answer->head.rc : RC_INTERNAL;
    if (is_for_next_leader(number, rc, answer)) {
        if (on_refusal(gateway, request, rc))
            return;
    } else {
        on_sign_of_lead(&calls_shard_of(gateway, request)->calls);
    }
    conclude(gateway, request, rc, answer);
}

/* ---- Doubts ---- */

struct question {
    struct request request;
    uint64_t about; /* Id of a request. */
};

static void on_asked(struct gateway *gateway, struct request *question, enum rc rc,
                     const void *answer)
{
    uint64_t about = ((const struct question *)question)->about;
    struct request *request = map_get(&gateway->calls.by_id, slice_of(&about, sizeof(about)));
    if (request == NULL || request->place != REQUEST_ASKED || request->asked_id != question->id)
        return; /* It was answered meanwhile, or asked about again. */
    if (answer == NULL || is_for_next_leader(MSG_RESULT, rc, answer)) {
        if (rc == RC_UNAVAILABLE)
            probe(gateway, &calls_shard_of(gateway, request)->calls);
        lose(gateway, request);
    } else if (rc == RC_BAD_REQUEST || rc == RC_NOT_FOUND) {
        request->is_doubtful = false;
        calls_move(gateway, request, REQUEST_BACK);
    } else {
        conclude(gateway, request, rc, answer);
    }
}

/* A send under the command's cid, as a reply to what does not exist. */
static struct msg_cmd_send question_about(struct slice command)
{
    struct record_reader r = record_reader_of(command);
    struct msg_cmd_send send = {0};
    struct msg_cmd_change change;
    uint32_t number;
    enum rc rc = record_peek(&r, &number);
    if (rc == RC_OK && number == MSG_CMD_CHANGE) {
        rc = record_decode(&r, &msg_cmd_change_desc, &change);
        send.conv = change.conv;
        send.user = change.user;
        send.device = change.device;
        send.cid = change.cid;
    } else if (rc == RC_OK) {
        rc = record_decode(&r, &msg_cmd_send_desc, &send);
    }
    CHECK(rc == RC_OK); /* We encoded it. */
    send.reply_to = UINT64_MAX;
    send.body = slice_string("0");
    return send;
}

/* Was it executed? */
static void ask(struct gateway *gateway, struct request *request)
{
    struct msg_submit submit;
    calls_make_own(request);
    struct record_reader r = record_reader_of(calls_kept_message(request));
    enum rc rc = record_decode(&r, &msg_submit_desc, &submit);
    CHECK(rc == RC_OK); /* We encoded it. */
    struct msg_cmd_send send = question_about(submit.command);
    buf_clear(gateway->record);
    record_encode(gateway->record, &msg_cmd_send_desc, &send);
    struct question *question = mem_new(struct question);
    question->about = request->id;
    question->request.id = calls_next_id(gateway);
    question->request.shard = request->shard;
    question->request.answer_number = MSG_RESULT;
    question->request.on_done = on_asked;
    submit.req = question->request.id;
    submit.command = buf_slice(gateway->record);
    request->asked_id = question->request.id;
    leave(gateway, request, REQUEST_ASKED);
    rc = calls_send(gateway, &question->request, &msg_submit_desc, &submit);
    CHECK(rc == RC_OK); /* The caller looked: the shard is live. */
}

/* ---- Leaders come and go ---- */

void calls_on_leader(struct gateway *gateway, uint32_t index)
{
    uint64_t term = gateway->routers.shards[index].term;
    struct shard_calls *calls = &gateway->routers.shards[index].calls;
    calls->is_probing = false;
    calls->not_before_us = 0;
    for (unsigned place = REQUEST_LOOSE; place <= REQUEST_COMMAND; place++)
        LIST_EACH(node, &calls->at[place])
        {
            struct request *request = calls_request_of(node);
            if (request->term != term)
                set_aside(gateway, request);
        }
}

/* Visit what `peer` was asked. The request may be moved on the way. */
static void each_at(struct gateway *gateway, const struct peer *peer,
                    void (*visit)(struct gateway *, struct request *, const void *),
                    const void *context)
{
    for (uint32_t i = 0; i < gateway->routers.shard_count; i++) {
        struct shard_calls *calls = &gateway->routers.shards[i].calls;
        for (unsigned place = REQUEST_LOOSE; place <= REQUEST_COMMAND; place++)
            LIST_EACH(node, &calls->at[place])
        if (calls_request_of(node)->peer == peer)
            visit(gateway, calls_request_of(node), context);
    }
}

static void visit_gone(struct gateway *gateway, struct request *request, const void *context)
{
    (void)context;
    lose(gateway, request);
}

void calls_on_gone(struct gateway *gateway, const struct peer *peer)
{
    each_at(gateway, peer, visit_gone, NULL);
}

static void visit_missed(struct gateway *gateway, struct request *request, const void *context)
{
    (void)context;
    if (!calls_is_command(request))
        return; /* Other answers are not published. */
    calls_shard_of(gateway, request)->calls.not_before_us = gateway_now_us(gateway) + CALLS_HOLE_US;
    lose(gateway, request);
}

void calls_on_missed(struct gateway *gateway, const struct peer *peer)
{
    each_at(gateway, peer, visit_missed, NULL);
}

static void visit_unsent(struct gateway *gateway, struct request *request, const void *packet)
{
    /* The packet may have held the question about one that is kept elsewhere. */
    if (request->kept != packet && request->place != REQUEST_ASKED)
        return;
    probe(gateway, &calls_shard_of(gateway, request)->calls);
    bool came_back = come_back(gateway, request, true);
    CHECK(came_back); /* It is kept, so it may wait. */
}

void calls_on_unsent(struct gateway *gateway, const struct peer *peer, const struct buf *packet)
{
    each_at(gateway, peer, visit_unsent, packet);
}

/* ---- The turn ---- */

/* Those that would now come behind a younger one. */
static void fail_overtaken(struct gateway *gateway, struct shard_calls *calls)
{
    LIST_EACH(node, &calls->at[REQUEST_BACK])
    {
        struct request *request = calls_request_of(node);
        if (request->id > calls->executed_id)
            return;
        if (calls_is_command(request) && request->repeat != REPEAT_FREELY)
            finish(gateway, request, RC_UNAVAILABLE, NULL);
    }
}

static void set_silent_aside(struct gateway *gateway, struct shard_calls *calls)
{
    struct request *request;
    for (unsigned place = REQUEST_ASKED; place <= REQUEST_COMMAND; place++)
        while ((request = LIST_FIRST(&calls->at[place], struct request, in_shard)) != NULL &&
               gateway_now_us(gateway) >= request->left_us + CALLS_SILENT_US)
            set_aside(gateway, request);
}

void calls_turn(struct gateway *gateway)
{
    struct calls *calls = &gateway->calls;
    uint64_t now_us = gateway_now_us(gateway);
    struct request *request;
    while ((request = LIST_FIRST(&calls->by_deadline, struct request, by_deadline)) != NULL &&
           request->deadline_us <= now_us) {
        metric_add(request_timeouts_total, 1);
        finish(gateway, request, RC_TIMEOUT, NULL);
    }
    LIST_EACH(node, &calls->held)
    {
        struct shard_calls *of_shard = LIST_ENTRY(node, struct shard_calls, held);
        set_silent_aside(gateway, of_shard);
        fail_overtaken(gateway, of_shard);
    }
    while ((request = LIST_FIRST(&calls->lost, struct request, in_shard)) != NULL)
        finish(gateway, request, request->may_wait ? RC_UNAVAILABLE : RC_NOT_LEADER, NULL);
}

/* The leader's queue has room for it. */
static bool fits(const struct shard_calls *calls, const struct request *request)
{
    if (calls->flying_count == 0)
        return true;
    return !calls->is_probing && calls->flying_count < CALLS_WINDOW_COUNT &&
           calls->flying_bytes + request->size <= CALLS_WINDOW_BYTES;
}

static struct request *first_of(const struct shard_calls *calls, enum request_place place)
{
    return LIST_FIRST(&calls->at[place], struct request, in_shard);
}

/* What may leave next, or NULL. Doubts are resolved before anything else leaves. */
static struct request *next_to_leave(const struct shard_calls *calls)
{
    struct request *request = first_of(calls, REQUEST_DOUBTFUL);
    if (request != NULL)
        return fits(calls, request) ? request : NULL;
    if (first_of(calls, REQUEST_ASKED) != NULL)
        return NULL;
    request = first_of(calls, REQUEST_BACK);
    if (request == NULL)
        request = first_of(calls, REQUEST_FRESH);
    if (request == NULL || !fits(calls, request))
        return NULL;
    const struct list *commands = &calls->at[REQUEST_COMMAND];
    bool is_youngest =
        list_is_empty(commands) || calls_request_of(commands->prev)->id < request->id;
    return is_youngest ? request : NULL;
}

static bool is_held(const struct shard_calls *calls)
{
    return first_of(calls, REQUEST_FRESH) != NULL || first_of(calls, REQUEST_BACK) != NULL ||
           first_of(calls, REQUEST_DOUBTFUL) != NULL || first_of(calls, REQUEST_ASKED) != NULL;
}

static void drain(struct gateway *gateway, uint32_t index)
{
    struct shard_calls *calls = &gateway->routers.shards[index].calls;
    uint64_t now_us = gateway_now_us(gateway);
    struct request *request;
    while (routers_is_live(gateway, index) && now_us >= calls->not_before_us &&
           (request = next_to_leave(calls)) != NULL) {
        if (request->is_forsaken) {
            finish(gateway, request, RC_UNAVAILABLE, NULL);
            continue;
        }
        if (calls->is_probing)
            probe(gateway, calls);
        if (request->place == REQUEST_DOUBTFUL)
            ask(gateway, request);
        else
            send_again(gateway, request);
    }
    if (!is_held(calls))
        list_remove(&calls->held);
}

void calls_drain(struct gateway *gateway)
{
    LIST_EACH(node, &gateway->calls.held)
    {
        const struct shard *shard = LIST_ENTRY(node, struct shard, calls.held);
        drain(gateway, (uint32_t)(shard - gateway->routers.shards));
    }
}

static uint64_t silent_us(const struct shard_calls *calls, enum request_place place)
{
    const struct request *request = first_of(calls, place);
    return request != NULL ? request->left_us + CALLS_SILENT_US : ENV_NEVER;
}

/* When something that is held may get on by itself. */
static uint64_t held_due_us(const struct shard_calls *calls, uint64_t now_us)
{
    uint64_t asked_us = silent_us(calls, REQUEST_ASKED);
    uint64_t commands_us = silent_us(calls, REQUEST_COMMAND);
    uint64_t due_us = asked_us < commands_us ? asked_us : commands_us;
    return calls->not_before_us > now_us && calls->not_before_us < due_us ? calls->not_before_us
                                                                          : due_us;
}

uint64_t calls_due_us(const struct gateway *gateway)
{
    const struct calls *calls = &gateway->calls;
    if (!list_is_empty(&calls->lost))
        return 0;
    const struct request *oldest = LIST_FIRST(&calls->by_deadline, struct request, by_deadline);
    uint64_t due_us = oldest != NULL ? oldest->deadline_us : ENV_NEVER;
    uint64_t now_us = gateway_now_us(gateway);
    LIST_EACH(node, &calls->held)
    {
        uint64_t held_us = held_due_us(LIST_ENTRY(node, struct shard_calls, held), now_us);
        due_us = held_us < due_us ? held_us : due_us;
    }
    return due_us;
}

void calls_fini(struct gateway *gateway)
{
    struct request *request;
    while ((request = LIST_FIRST(&gateway->calls.by_deadline, struct request, by_deadline)) != NULL)
        finish(gateway, request, RC_UNAVAILABLE, NULL);
    map_fini(&gateway->calls.by_id);
}
