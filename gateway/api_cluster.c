/* How the cluster is, for the operator. */
#include "gateway/api_private.h"

#include "gateway/survey.h"
#include "mesh/base/mem.h"

struct watching {
    struct survey_waiter waiter;
    struct api_call *call;
};

static void stop_watching(void *work)
{
    struct watching *watching = work;
    list_remove(&watching->waiter.node);
    mem_free(watching);
}

static void on_surveyed(struct survey_waiter *waiter, struct slice json)
{
    struct api_call *call = ((struct watching *)waiter)->call;
    buf_append_slice(call->text, json);
    api_answer(call, 200);
    api_step_done(call);
}

void api_cluster(struct api_call *call, struct slice body)
{
    (void)body;
    struct watching *watching = mem_new(struct watching);
    watching->waiter.on_done = on_surveyed;
    watching->call = call;
    call->work = watching;
    call->free_work = stop_watching;
    call->pending++;
    survey_ask(call->gateway, &watching->waiter);
}
