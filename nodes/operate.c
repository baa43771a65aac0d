/* chatmesh drain, undrain, remove.
 *
 *   happy path      hear the cluster -> tell every router -> the control group's leader has it
 *                   committed and says OK -> a drain: ask all once a second, until no group counts
 *                   the router among its replicas
 *   failure modes   nobody leads at the moment: told again until --timeout-ms; the leader refuses:
 *                   its sentence; the cluster falls silent while we wait: a sentence, exit 1
 *   on stop         Ctrl-C ends the waiting, not the drain */
#include "nodes/operate.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "mesh/wire/key.h"
#include "nodes/asker.h"
#include "nodes/tools.h"

#define AGAIN_US ((uint64_t)500000)  /* The word is said again so often, while nobody leads. */
#define ROUND_US ((uint64_t)1000000) /* A drain is looked at once in this time. */
#define REQ      77u                 /* Of every repetition: it is the same word. */
/* Rounds in which it holds nothing: a beat later the others know it too, and let it be removed. */
#define EMPTY_ROUNDS 2u

struct operate {
    struct asker asker;
    enum operate_action action;
    const char *node;
    bool is_accepted;     /* The leader said OK: from now on a drain is watched. */
    bool was_refused;     /* Somebody answered, and did not lead. */
    char awaited[160];    /* What the leader waits for, as it said last; empty: nobody leads. */
    bool is_draining;     /* The list has said so. */
    uint32_t empty_count; /* Rounds in a row in which it held nothing. */
    bool is_judged;       /* This round's answers were looked at. */
    uint64_t due_us;      /* When to tell, or ask, again. */
    uint64_t deadline_us;
    uint64_t begun_us;
    uint64_t begun; /* Replicas it held when it was first looked at. */
    char said[160]; /* The last line of progress. */
    bool is_over;   /* The turn ends the loop: a packet's callback may not. */
    int code;
};

static void end(struct operate *o, int code)
{
    o->code = code;
    o->is_over = true;
}

static uint64_t timeout_us(const struct operate *o)
{
    return (uint64_t)o->asker.config->timeout_ms * 1000;
}

/* ---- The word ---- */

static void say_accepted(const struct operate *o, const struct msg_result *result)
{
    if (result->detail.size > 0)
        printf("%s: %.*s\n", o->node, SLICE_ARGS(result->detail));
    else if (o->action == OPERATE_DRAIN)
        printf("%s drains: its replicas are moved to other routers\n", o->node);
    else if (o->action == OPERATE_UNDRAIN)
        printf("%s takes part again: replicas are moved to it\n", o->node);
    else
        printf("%s is removed for good: no router may join under that --id again\n", o->node);
    fflush(stdout);
}

static bool is_mistake(enum rc rc)
{
    return rc == RC_BAD_REQUEST || rc == RC_NOT_FOUND || rc == RC_CONFLICT || rc == RC_FORBIDDEN ||
           rc == RC_UNSUPPORTED;
}

static void on_refused(struct operate *o, const struct msg_result *result)
{
    enum rc rc = result->rc < RC_COUNT ? (enum rc)result->rc : RC_INTERNAL;
    int code = is_mistake(rc) ? EXIT_MISTAKE : EXIT_FAILED;
    if (result->detail.size > 0)
        end(o, tools_fail(code, "%s: %.*s", o->node, SLICE_ARGS(result->detail)));
    else if (rc == RC_NOT_FOUND)
        end(o, tools_fail(code, "this cluster has no router %s", o->node));
    else
        end(o, tools_fail(code, "%s: %s", o->node, rc_sentence(rc)));
}

static void on_result(void *context, const struct msg_result *result)
{
    struct operate *o = context;
    if (result->req != REQ || o->is_accepted || o->is_over)
        return;
    if (result->rc == RC_NOT_LEADER || result->rc == RC_UNAVAILABLE) {
        o->was_refused = true;
        if (result->rc == RC_UNAVAILABLE)
            snprintf(o->awaited, sizeof(o->awaited), "%.*s", SLICE_ARGS(result->detail));
    } else if (result->rc != RC_OK) {
        on_refused(o, result);
    } else {
        o->is_accepted = true;
        say_accepted(o, result);
        if (o->action != OPERATE_DRAIN || !o->asker.config->wait) {
            end(o, EXIT_FINE);
            return;
        }
        o->begun_us = o->due_us = asker_now_us(&o->asker);
        o->deadline_us = o->due_us + timeout_us(o);
        o->is_judged = true; /* What was answered by now was asked before. */
    }
}

static void turn_order(struct operate *o)
{
    uint64_t now_us = asker_now_us(&o->asker);
    const struct msg_operate word = {
        .req = REQ, .action = o->action, .node = slice_string(o->node)};
    if (now_us >= o->deadline_us && o->awaited[0] != '\0') {
        end(o, tools_fail(EXIT_FAILED, "%s: %s", o->node, o->awaited));
    } else if (now_us >= o->deadline_us) {
        end(o, o->was_refused ? tools_fail(EXIT_FAILED,
                                           "no router leads the control group within %u ms: "
                                           "chatmesh status shows who is there",
                                           o->asker.config->timeout_ms)
                              : asker_fail_silent(&o->asker));
    } else if (now_us >= o->asker.settled_us && now_us >= o->due_us) {
        o->due_us = now_us + AGAIN_US;
        asker_tell(&o->asker, &msg_operate_desc, &word);
    }
}

/* ---- A drain ---- */

void operate_describe(char *text, size_t size, const char *node, uint64_t begun, uint64_t held,
                      uint64_t elapsed_us)
{
    uint64_t moved = begun - held;
    if (moved == 0)
        snprintf(text, size, "%s holds %" PRIu64 " replicas; none has moved yet", node, held);
    else
        snprintf(text, size,
                 "%s holds %" PRIu64 " of %" PRIu64 " replicas; %" PRIu64 " moved, about %" PRIu64
                 " s left",
                 node, held, begun, moved, (elapsed_us * held / moved + 999999) / 1000000);
}

/* A line where it says something new. */
static void say(struct operate *o, const char *text)
{
    if (strcmp(text, o->said) == 0)
        return;
    snprintf(o->said, sizeof(o->said), "%s", text);
    printf("%s\n", text);
    fflush(stdout);
}

/* By the leaders' word and its own: it drops a copy only after the group counts it no more. What
 * one that is down has on its disk is not waited for. */
static uint64_t held_by(const struct cluster_view_router *r)
{
    if (r == NULL)
        return 0;
    return r->own > r->replicas ? r->own : r->replicas;
}

/* What is to be done next, in the words that remove goes by. */
static void say_empty(const struct operate *o)
{
    if (asker_is_up(&o->asker, o->node))
        printf("%s holds no replicas: chatmesh remove %s takes it off the list, and it ends; "
               "stopped before that, it is taken off only after --grace (10m unless set)\n",
               o->node, o->node);
    else
        printf("%s is not there, and no group counts it among its replicas any more: chatmesh "
               "remove %s is taken once it was silent for --grace (10m unless set), or once it was "
               "started and says that it holds nothing\n",
               o->node, o->node);
}

static void judge(struct operate *o, const struct cluster_view *view)
{
    char text[160];
    const struct cluster_view_router *r = cluster_view_router(view, slice_string(o->node));
    uint64_t held = held_by(r);
    if (!cluster_view_is_whole(view) || !view->has_list) {
        o->empty_count = 0;
        say(o, "waiting: some shards have no leader that answers");
        return;
    }
    bool is_draining = r != NULL && strcmp(r->state, "draining") == 0;
    if (o->is_draining && !is_draining) {
        end(o, tools_fail(EXIT_FAILED, "%s does not drain any more: it is %s", o->node,
                          r != NULL && r->state[0] != '\0' ? r->state : "off the list"));
        return;
    }
    o->is_draining = is_draining;
    o->begun = held > o->begun ? held : o->begun;
    bool is_empty = is_draining && held == 0 && !asker_awaits(&o->asker, o->node);
    o->empty_count = is_empty ? o->empty_count + 1 : 0;
    if (o->empty_count == EMPTY_ROUNDS) {
        say_empty(o);
        end(o, EXIT_FINE);
        return;
    }
    if (held == 0)
        return; /* Soon to be said. */
    operate_describe(text, sizeof(text), o->node, o->begun, held,
                     asker_now_us(&o->asker) - o->begun_us);
    say(o, text);
}

static void turn_drain(struct operate *o)
{
    uint64_t now_us = asker_now_us(&o->asker);
    bool is_over = now_us >= o->due_us;
    if (!o->is_judged && (is_over || asker_is_complete(&o->asker))) {
        struct cluster_view view;
        o->is_judged = true;
        if (asker_view(&o->asker, &view) > 0) {
            o->deadline_us = now_us + timeout_us(o) + ROUND_US;
            judge(o, &view);
        }
        cluster_view_fini(&view);
    }
    if (now_us >= o->deadline_us) {
        end(o, tools_fail(EXIT_FAILED, "no router answers any more; %s goes on draining", o->node));
    } else if (is_over) {
        o->due_us = now_us + ROUND_US;
        o->is_judged = false;
        asker_ask_again(&o->asker);
    }
}

/* ---- Life ---- */

static void on_turn(void *context)
{
    struct operate *o = context;
    if (!o->is_over && o->is_accepted)
        turn_drain(o);
    else if (!o->is_over)
        turn_order(o);
    if (o->is_over)
        asker_stop(&o->asker);
}

static uint64_t due_us(void *context)
{
    struct operate *o = context;
    uint64_t due_us = o->due_us;
    if (!o->is_accepted && o->asker.settled_us > due_us)
        due_us = o->asker.settled_us;
    return due_us < o->deadline_us ? due_us : o->deadline_us;
}

static void on_stop(void *context, bool again)
{
    struct operate *o = context;
    (void)again;
    if (o->is_accepted)
        fprintf(stderr, "chatmesh: %s goes on draining; chatmesh undrain %s takes it back\n",
                o->node, o->node);
    end(o, EXIT_FAILED);
}

int operate_run(struct config *c, enum operate_action action, const char *node)
{
    struct operate o = {.action = action, .node = node, .code = EXIT_FINE};
    if (!key_node_is_valid(slice_string(node)))
        return tools_fail(EXIT_MISTAKE, "a router's name is 1 to %u of [A-Za-z0-9_-], not \"%s\"",
                          LIMIT_NODE_ID_SIZE_MAX, node);
    o.asker.context = &o;
    o.asker.turn = on_turn;
    o.asker.due_us = due_us;
    o.asker.on_result = on_result;
    o.asker.on_stop = on_stop;
    int code = asker_open(&o.asker, c);
    if (code == EXIT_FINE) {
        o.deadline_us = asker_now_us(&o.asker) + timeout_us(&o);
        asker_run(&o.asker);
        code = o.code;
    }
    asker_close(&o.asker);
    return code;
}
