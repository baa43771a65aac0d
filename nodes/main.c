/* chatmesh - the one binary: finds the command, reads its options, runs it. */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "mesh/base/crypto.h"
#include "mesh/base/map.h"
#include "nodes/config.h"
#include "nodes/dev.h"
#include "nodes/gateway_node.h"
#include "nodes/operate.h"
#include "nodes/options.h"
#include "nodes/router_node.h"
#include "nodes/status.h"
#include "nodes/tools.h"

struct command {
    const char *name;
    enum config_command options; /* 0: the command has none. */
    const char *operands;        /* As the synopsis names them. */
    uint32_t operand_count;
    const char *purpose;  /* One line. */
    const char *more;     /* The paragraph below it. */
    const char *examples; /* Lines, each indented. */
    int (*run)(struct config *c, const char **operands);
};

static int run_dev(struct config *c, const char **operands)
{
    (void)operands;
    return dev_run(c);
}

static int run_router(struct config *c, const char **operands)
{
    (void)operands;
    return router_node_run(c);
}

static int run_gateway(struct config *c, const char **operands)
{
    (void)operands;
    return gateway_node_run(c);
}

static int run_status(struct config *c, const char **operands)
{
    (void)operands;
    return status_run(c);
}

static int run_drain(struct config *c, const char **operands)
{
    return operate_run(c, OPERATE_DRAIN, operands[0]);
}

static int run_undrain(struct config *c, const char **operands)
{
    return operate_run(c, OPERATE_UNDRAIN, operands[0]);
}

static int run_remove(struct config *c, const char **operands)
{
    return operate_run(c, OPERATE_REMOVE, operands[0]);
}

static int run_token(struct config *c, const char **operands)
{
    (void)operands;
    return tools_token(c);
}

static int run_keygen(struct config *c, const char **operands)
{
    (void)c;
    return tools_keygen(operands[0]);
}

static int run_apikey(struct config *c, const char **operands)
{
    (void)c;
    return tools_apikey(operands[0]);
}

static int run_config(struct config *c, const char **operands)
{
    (void)c;
    if (strcmp(operands[0], "check") != 0)
        return tools_fail(EXIT_MISTAKE, "config %s: the only subcommand is config check FILE",
                          operands[0]);
    return tools_config_check(operands[1]);
}

static int run_version(struct config *c, const char **operands)
{
    (void)c;
    (void)operands;
    printf("chatmesh %s\n", CHATMESH_VERSION);
    return EXIT_FINE;
}

static const struct command commands[] = {
    {"dev", CONFIG_DEV, "", 0, "a whole small cluster on this machine",
     "Every node is a process of its own. DIR holds each node's data, log (NODE.log) and process\n"
     "id (NODE.pid), the cluster key, and auth.zpl with the key that signs tokens; the same DIR\n"
     "continues the same cluster. Gateway i listens on port + i - 1. Prints one line beginning\n"
     "with \"ready\" once every router has joined, /health of every gateway is UP and every shard "
     "has\n"
     "all its replicas, after 30 s at most: from then on any one of three routers may die. Ctrl-C\n"
     "stops all.\n",
     "  chatmesh dev --routers 3 --gateways 2 --port 8080 --data ./data\n"
     "  chatmesh token --user alice --data ./data\n",
     run_dev},
    {"router", CONFIG_ROUTER, "--id ID --data DIR", 0, "a node that orders and stores messages",
     "With an empty data directory it begins a new cluster, or, with --join, is taken into one "
     "and\n"
     "waits until it is. SIGTERM hands over what it leads and stops it, a second one stops it at\n"
     "once; what was acknowledged is on disk at any moment. SIGHUP reads log level and format\n"
     "again. With --http it answers GET /health (200 UP, or 503 DOWN and a reason) and /metrics\n"
     "(Prometheus) on a port of its own, to anybody who reaches it.\n",
     "  chatmesh router --id r1 --data /var/lib/chatmesh --listen tcp://10.0.0.1:7400 \\\n"
     "      --key /etc/chatmesh/cluster.key\n"
     "  chatmesh router --id r2 --data /var/lib/chatmesh --listen tcp://10.0.0.2:7400 \\\n"
     "      --join tcp://10.0.0.1:7400 --key /etc/chatmesh/cluster.key --http 10.0.0.2:7480\n",
     run_router},
    {"gateway", CONFIG_GATEWAY, "--id ID --join ENDPOINT", 0, "a node that clients connect to",
     "Keeps nothing on disk. SIGTERM sends its clients away over --drain-ms, a second one at\n"
     "once. SIGHUP reads the token keys and the log level again.\n",
     "  chatmesh gateway --id g1 --port 8080 --join tcp://10.0.0.1:7400 \\\n"
     "      --key /etc/chatmesh/cluster.key --config /etc/chatmesh/chatmesh.zpl\n",
     run_gateway},
    {"status", CONFIG_STATUS, "", 0, "what a cluster consists of and how it is",
     "Asks the cluster over its mesh: by --join and --key, or those of the dev cluster in "
     "--data.\n",
     "  chatmesh status --data ./data\n"
     "  chatmesh status --json --join tcp://10.0.0.1:7400 --key /etc/chatmesh/cluster.key\n",
     run_status},
    {"drain", CONFIG_OPERATE | CONFIG_DRAIN, "NODE", 1,
     "moves everything off a router, before it is taken away",
     "Its replicas go to the other routers, and new ones come to it no more; it serves until the\n"
     "last has moved. Waits and tells how far it is, unless --wait=false. The last active router "
     "is\n"
     "not drained. Asks as status does.\n",
     "  chatmesh drain r2 --data ./data\n"
     "  chatmesh drain r2 --wait=false --join tcp://10.0.0.1:7400 --key "
     "/etc/chatmesh/cluster.key\n",
     run_drain},
    {"undrain", CONFIG_OPERATE, "NODE", 1, "takes a drain back",
     "The router takes part again, and replicas are moved to it.\n",
     "  chatmesh undrain r2 --data ./data\n", run_undrain},
    {"remove", CONFIG_OPERATE, "NODE", 1, "takes a router off the list, for good",
     "One that is drained and says that it holds nothing, or that was silent for --grace: what it\n"
     "held is then held elsewhere. Its name does not come back: a new machine joins under a new\n"
     "--id.\n",
     "  chatmesh remove r2 --data ./data\n", run_remove},
    {"token", CONFIG_TOKEN, "--user NAME", 0, "a token (JWT) for a user, on stdout",
     "Signed with the first key in the config that can sign, or, where none is given, the key of\n"
     "the dev cluster in --data.\n",
     "  chatmesh token --user alice --data ./data\n"
     "  chatmesh token --user bob --device phone --ttl 7d --config /etc/chatmesh/chatmesh.zpl\n",
     run_token},
    {"keygen", 0, "FILE", 1, "makes the cluster key file",
     "All nodes of a cluster need the same file. It is made readable by its owner alone, and one\n"
     "that exists is never overwritten.\n",
     "  chatmesh keygen /etc/chatmesh/cluster.key\n", run_keygen},
    {"apikey", 0, "NAME", 1, "a key for the HTTP API, on stdout",
     "With it a server of yours may do everything under /v1/ on behalf of the operator. Prints "
     "the\n"
     "key, and the line of the gateways' config that lets it in: its digest, so that no config\n"
     "holds the key. Several may be good at a time, which is how one is replaced.\n",
     "  chatmesh apikey billing\n", run_apikey},
    {"config", 0, "check FILE", 2, "checks a config file",
     "Prints \"FILE: ok\", or file, line, key and what is wrong with it. Files that it names (the\n"
     "cluster key, secrets) are read as they are at start. What flags and variables add is not\n"
     "known to it.\n",
     "  chatmesh config check /etc/chatmesh/chatmesh.zpl\n", run_config},
    {"version", 0, "", 0, "the version", "", "  chatmesh version\n", run_version},
};

#define COMMAND_COUNT (sizeof(commands) / sizeof(commands[0]))

static void print_help(FILE *out)
{
    fprintf(out, "chatmesh - a self-contained real-time messaging cluster\n\n"
                 "Usage: chatmesh COMMAND [options]\n\nCommands:\n");
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        fprintf(out, "  %-8s  %s\n", commands[i].name, commands[i].purpose);
    fprintf(out, "  %-8s  %s\n\n", "help", "this, or the help of a command: chatmesh help dev");
    fprintf(out, "Options come from defaults < config files < environment < flags.\n"
                 "Exit codes: 0 fine, 1 failed, 2 a mistake in how it was called or set up.\n");
}

static void print_command_help(FILE *out, const struct command *command)
{
    fprintf(out, "chatmesh %s - %s\n\nUsage: chatmesh %s%s%s%s\n", command->name, command->purpose,
            command->name, command->operands[0] != '\0' ? " " : "", command->operands,
            command->options != 0 ? " [options]" : "");
    if (command->more[0] != '\0')
        fprintf(out, "\n%s", command->more);
    if (command->options != 0) {
        fprintf(out, "\n");
        option_print_help(out, command->options);
    }
    fprintf(out, "\nExamples:\n%s", command->examples);
    fprintf(out, "\nExit codes: 0 fine, 1 failed, 2 a mistake in how it was called or set up.\n");
}

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

static int unknown_command(const char *name)
{
    const char *nearest = NULL;
    uint32_t least = UINT32_MAX;
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        if (option_is_near(name, commands[i].name, &least))
            nearest = commands[i].name;
    if (nearest == NULL)
        return tools_fail(EXIT_MISTAKE, "unknown command \"%s\"; chatmesh help lists them", name);
    return tools_fail(EXIT_MISTAKE, "unknown command \"%s\"; did you mean %s?", name, nearest);
}

static bool is_help(const char *argument)
{
    return strcmp(argument, "--help") == 0 || strcmp(argument, "-h") == 0;
}

static bool asks_for_help(const char *name)
{
    return is_help(name) || strcmp(name, "help") == 0;
}

/* chatmesh help [COMMAND], however it is spelled: help of help is this as well. */
static int help(const char *name)
{
    const struct command *about = name != NULL ? find_command(name) : NULL;
    if (name != NULL && about == NULL && !asks_for_help(name))
        return unknown_command(name);
    if (about != NULL)
        print_command_help(stdout, about);
    else
        print_help(stdout);
    return EXIT_FINE;
}

static int run_command(const struct command *command, int argc, char **argv)
{
    for (int i = 0; i < argc; i++) {
        if (is_help(argv[i])) {
            print_command_help(stdout, command);
            return EXIT_FINE;
        }
    }
    const char *operands[2] = {NULL, NULL};
    uint32_t operand_count = 0;
    struct config config;
    struct sentence error;
    config_init(&config);
    int code;
    if (config_read(&config, command->options, argc, argv, operands, command->operand_count,
                    &operand_count, &error) != RC_OK)
        code = tools_fail(EXIT_MISTAKE, "%s", error.text);
    else if (operand_count != command->operand_count)
        code = tools_fail(EXIT_MISTAKE, "usage: chatmesh %s %s", command->name, command->operands);
    else
        code = command->run(&config, operands);
    config_fini(&config);
    return code;
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN);
    crypto_start();
    uint8_t seed[16];
    crypto_random(seed, sizeof(seed));
    map_seed(seed);

    if (argc < 2) {
        print_help(stderr);
        return EXIT_MISTAKE;
    }
    const char *name = argv[1];
    if (strcmp(name, "--version") == 0)
        name = "version";
    if (asks_for_help(name))
        return help(argc > 2 ? argv[2] : NULL);
    const struct command *command = find_command(name);
    if (command == NULL)
        return unknown_command(name);
    return run_command(command, argc - 2, argv + 2);
}
