#include "nodes/node_start.h"

#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "mesh/base/log.h"
#include "mesh/endpoint.h"
#include "nodes/logger.h"
#include "nodes/tools.h"

/* libwebsockets sizes its tables by the limit and gives up beyond ten million ("infinity" in
 * containers), so more is not asked for. */
#define FILES_MAX 1048576u

static void raise_file_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    rlim_t wanted = limit.rlim_max > FILES_MAX ? FILES_MAX : limit.rlim_max;
    if (limit.rlim_cur == wanted)
        return;
    limit.rlim_cur = wanted;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        log_warn("file_limit", "the limit of open files could not be raised to %lu",
                 (unsigned long)wanted);
}

int node_start_process(const struct config *c)
{
    if (c->id == NULL)
        return tools_fail(EXIT_MISTAKE,
                          "--id names the node: 1 to %u of [A-Za-z0-9_-], unique in the cluster",
                          LIMIT_NODE_ID_SIZE_MAX);
    prctl(PR_SET_NAME, "chatmesh"); /* Started by dev it would be called "exe". */
    logger_start(c->id, c->log_level, c->log_format);
    raise_file_limit();
    return EXIT_FINE;
}

/* Without a key the mesh is plain text. */
static int check_plain(const struct config *c, enum config_option option, const char *endpoint)
{
    if (endpoint_is_loopback(slice_string(endpoint)))
        return EXIT_FINE;
    return tools_fail(EXIT_MISTAKE,
                      "%s: without a key file the mesh is plain text, so %s is refused: give --key "
                      "FILE, or use 127.0.0.1",
                      config_where(c, option), endpoint);
}

int node_start_check_key(const struct config *c)
{
    struct sentence sentence;
    struct keyfile key;
    if (c->key == NULL)
        return EXIT_FINE;
    if (keyfile_load(c->key, &key, &sentence) != RC_OK)
        return tools_fail(EXIT_MISTAKE, "%s: %s", config_where(c, CONFIG_OPTION_key),
                          sentence.text);
    keyfile_wipe(&key);
    return EXIT_FINE;
}

int node_start_check(const struct config *c, const char *listen)
{
    struct endpoint at;
    int code = node_start_check_key(c);
    if (code == EXIT_FINE && c->key == NULL && listen != NULL)
        code = check_plain(c, CONFIG_OPTION_listen, listen);
    for (uint32_t i = 0; code == EXIT_FINE && c->key == NULL && i < c->join.count; i++)
        code = check_plain(c, CONFIG_OPTION_join, c->join.items[i]);
    if (code == EXIT_FINE && listen != NULL && c->advertise == NULL &&
        endpoint_parse(slice_string(listen), &at) == RC_OK && at.is_wildcard)
        code = tools_fail(EXIT_MISTAKE,
                          "%s: %s is every address of this machine: say with --advertise which one "
                          "the others are to use",
                          config_where(c, CONFIG_OPTION_listen), listen);
    return code;
}

int node_start_bus(const struct node_start_bus *start, const struct config *c, struct env *env,
                   struct zmq_bus **ret_bus)
{
    struct sentence sentence;
    struct keyfile key;
    if (start->key != NULL && keyfile_load(start->key, &key, &sentence) != RC_OK)
        return tools_fail(EXIT_MISTAKE, "%s", sentence.text);
    struct zmq_bus_options options = {
        .node = start->node,
        .role = start->role,
        .incarnation = start->incarnation,
        .cluster = start->cluster,
        .zone = c->zone,
        .http = start->http,
        .listen = start->listen,
        .advertise = c->advertise,
        .join_count = c->join.count,
        .key = start->key != NULL ? &key : NULL,
    };
    for (uint32_t i = 0; i < c->join.count; i++)
        options.joins[i] = c->join.items[i];
    enum rc rc = zmq_bus_new(&options, NULL, env, ret_bus, &sentence);
    if (start->key != NULL)
        keyfile_wipe(&key);
    if (rc == RC_OK)
        return EXIT_FINE;
    return tools_fail(rc == RC_CONFIG || rc == RC_IN_USE ? EXIT_MISTAKE : EXIT_FAILED, "%s",
                      sentence.text);
}

void node_start_reload(const struct config *fresh, const char *node, struct zmq_bus *bus)
{
    logger_start(node, fresh->log_level, fresh->log_format);
    if (fresh->key != NULL) {
        struct sentence sentence;
        struct keyfile key;
        if (keyfile_load(fresh->key, &key, &sentence) == RC_OK) {
            zmq_bus_set_accepted(bus, &key);
            keyfile_wipe(&key);
        } else {
            log_error("reload_refused", "reason=\"%s\"", sentence.text);
        }
    }
    log_info("reloaded", "level=%s", fresh->log_level);
}
