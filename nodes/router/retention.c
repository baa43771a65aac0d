/* retention - which conversations hold more than they need to.
 *
 * Every few seconds the conversations with retention of all shards led here are looked at, some a
 * beat, and of those that hold entries beyond their age or their count the shard is told up to
 * where they may go. Whoever leads next simply begins anew: what went is in the log. */
#include "nodes/router/router_private.h"

struct looking {
    struct router *router;
    struct shard *shard;
};

static void on_excess(void *context, struct slice conv, uint64_t upto)
{
    const struct looking *looking = context;
    struct router *router = looking->router;
    const struct msg_cmd_trim trim = {.conv = conv, .upto = upto};
    const struct pending nobody = {0};
    buf_clear(router->command);
    record_encode(router->command, &msg_cmd_trim_desc, &trim);
    enum rc rc = shard_queue(router, looking->shard, buf_slice(router->command), &nobody);
    (void)rc; /* A queue that is full now has room in the next walk. */
}

void retention_init(struct router *router)
{
    router->retention.after = buf_new(LIMIT_CONV_SIZE_MAX);
}

void retention_fini(struct router *router)
{
    buf_unref(&router->retention.after);
}

/* At some of this shard's; *left counts down. */
static void look(struct router *router, struct shard *shard, uint32_t *left)
{
    struct looking looking = {.router = router, .shard = shard};
    struct retention *r = &router->retention;
    if (!shard_serves(router, shard)) {
        buf_clear(r->after);
        --*left;
        return;
    }
    enum rc rc = machine_retained(shard->machine, r->after, left, env_wall_ms(router->env),
                                  on_excess, &looking);
    if (rc != RC_OK)
        router_shard_failed(router, shard, rc);
}

void retention_turn(struct router *router)
{
    struct retention *r = &router->retention;
    uint64_t now_us = env_now_us(router->env);
    uint32_t left = LIMIT_RETENTION_CONVS; /* A shard without any counts as one. */
    if (now_us < r->next_us)
        return;
    for (; left > 0 && r->place < router->options.shards; r->place += r->after->size == 0)
        look(router, &router->shards[r->place], &left);
    if (r->place < router->options.shards)
        return; /* On with the next beat. */
    r->place = 0;
    r->next_us = now_us + LIMIT_RETENTION_MS * 1000ull;
}
