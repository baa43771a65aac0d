#include "nodes/namesake.h"

#include <stdio.h>
#include <unistd.h>

#include "mesh/base/limits.h"
#include "mesh/base/log.h"
#include "mesh/discovery.h"
#include "nodes/tools.h"

#define ASK_MS   1000u
#define AGAIN_MS 500u

struct namesake {
    const char *id;
    char gossip[128]; /* Where it listens; empty: there is none. */
};

static void on_node(void *context, const struct msg_node *node)
{
    struct namesake *namesake = context;
    if (node->role == NODE_ROUTER && slice_equals(node->id, namesake->id))
        snprintf(namesake->gossip, sizeof(namesake->gossip), "%.*s", SLICE_ARGS(node->gossip));
}

/* The first that answers knows. */
static void ask(const struct config *c, const struct keyfile *key, struct namesake *namesake)
{
    struct sentence sentence;
    namesake->gossip[0] = '\0';
    for (uint32_t i = 0; i < c->join.count; i++)
        if (discovery_query(c->join.items[i], key, ASK_MS / c->join.count, on_node, namesake,
                            &sentence) == RC_OK)
            return;
}

int namesake_check(const struct config *c)
{
    struct keyfile key;
    struct sentence sentence;
    struct namesake namesake = {.id = c->id};
    if (c->key != NULL && keyfile_load(c->key, &key, &sentence) != RC_OK)
        return tools_fail(EXIT_MISTAKE, "%s", sentence.text);
    ask(c, c->key != NULL ? &key : NULL, &namesake);
    if (namesake.gossip[0] != '\0')
        log_info("name_in_use", "by=%s", namesake.gossip);
    /* One that is dead is told of until its silence is noticed. */
    for (uint32_t ms = 0; namesake.gossip[0] != '\0' && ms < 2 * LIMIT_MEMBER_SILENT_MS;
         ms += AGAIN_MS) {
        usleep(AGAIN_MS * 1000);
        ask(c, c->key != NULL ? &key : NULL, &namesake);
    }
    if (c->key != NULL)
        keyfile_wipe(&key);
    if (namesake.gossip[0] == '\0')
        return EXIT_FINE;
    return tools_fail(EXIT_MISTAKE,
                      "a router %s runs already, at %s: give this one another --id, or stop that "
                      "one first",
                      c->id, namesake.gossip);
}
