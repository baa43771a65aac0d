/* router_push - the webhook within a router: what push.h asks of the shards, and tells them. */
#include "nodes/router/push.h"

#include "nodes/router/router_private.h"

static struct machine *machine_of(void *context, uint32_t id)
{
    struct router *router = context;
    const struct shard *shard = &router->shards[id];
    return shard_serves(router, shard) ? shard->machine : NULL;
}

static void submit(void *context, uint32_t id, struct slice command)
{
    struct router *router = context;
    const struct pending nobody = {0};
    struct shard *shard = &router->shards[id];
    /* Where the queue is full it is given again. */
    if (shard->was_ready && shard_is_here(shard))
        (void)!shard_queue(router, shard, command, &nobody);
}

static void on_failed(void *context, uint32_t id, enum rc rc)
{
    struct router *router = context;
    router_shard_failed(router, &router->shards[id], rc);
}

void router_push_init(struct router *router)
{
    const struct push_host host = {
        .context = router,
        .machine = machine_of,
        .submit = submit,
        .on_failed = on_failed,
    };
    if (router->options.push != NULL)
        router->push = push_new(router->options.push, &host, router->env, router->options.shards);
    router->options.push = NULL; /* Borrowed until here. */
}

void router_push_ready(struct router *router, const struct shard *shard, bool ready)
{
    if (router->push == NULL || shard->id == CONTROL_GROUP)
        return;
    if (ready)
        push_lead(router->push, shard->id);
    else
        push_lose(router->push, shard->id);
}

void router_on_posted(struct router *router, uint32_t status, const char *reason)
{
    push_on_posted(router->push, status, reason);
}
