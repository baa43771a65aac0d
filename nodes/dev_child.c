#include "nodes/dev_child.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "mesh/base/check.h"
#include "mesh/base/crypto.h"
#include "mesh/base/mem.h"
#include "nodes/options.h"

#define ARGUMENTS_MAX      256u
#define HEALTH_TIMEOUT_MS  300u
#define CLUSTER_TIMEOUT_MS 2000u
#define CLUSTER_SIZE_MAX   33554432u /* Of an answer: 4096 shards of 9 routers fit. */
#define STATUS_OK          "HTTP/1.1 200"
#define MESH_PORT_LEAST    10000u
#define MESH_PORT_COUNT    9900u
#define MESH_PORT_TRIES    100u

/* ---- Ports ---- */

static struct sockaddr_in address_of(const char *host, uint32_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    if (inet_pton(AF_INET, host, &address.sin_addr) != 1)
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

/* Bind for a moment. Returns the port that was bound (any free one for 0), or 0 where it is taken.
 */
static uint32_t try_port(const char *host, uint32_t port)
{
    struct sockaddr_in address = address_of(host, port);
    socklen_t size = sizeof(address);
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return 0;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    uint32_t bound = 0;
    if (bind(fd, (struct sockaddr *)&address, size) == 0 && listen(fd, 1) == 0 &&
        getsockname(fd, (struct sockaddr *)&address, &size) == 0)
        bound = ntohs(address.sin_port);
    close(fd);
    return bound;
}

/* Are as many ports free as there are routers? */
static bool try_mesh_ports(uint32_t first, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (try_port("127.0.0.1", first + i) == 0)
            return false;
    return true;
}

/* Drawn below the range from which the kernel takes the ports of connections: between here and a
 * router's own bind, and while it is down, nobody is given its port by chance. Who asks for it all
 * the same has that router say so. */
static enum rc choose_mesh_ports(struct dev_child_setup *setup, struct sentence *sentence)
{
    uint32_t count = setup->config->routers;
    uint32_t first = setup->config->mesh_port;
    bool is_free = first != 0 && try_mesh_ports(first, count);
    for (uint32_t i = 0; first == 0 && !is_free && i < MESH_PORT_TRIES; i++) {
        uint32_t drawn = MESH_PORT_LEAST + (uint32_t)(crypto_random_u64() % MESH_PORT_COUNT);
        is_free = try_mesh_ports(drawn, count);
        if (is_free)
            first = drawn;
    }
    if (!is_free)
        return sentence_write(sentence, RC_IN_USE,
                              "mesh port %u or one of the %u after it is in use; give another "
                              "--mesh-port",
                              first, count - 1);
    setup->joins.count = count;
    for (uint32_t i = 0; i < count; i++)
        snprintf(setup->joins.endpoints[i], sizeof(setup->joins.endpoints[i]), "tcp://127.0.0.1:%u",
                 first + i);
    return RC_OK;
}

enum rc dev_child_setup(struct dev_child_setup *setup, const struct config *c,
                        const struct dev_files_path *folder, struct sentence *sentence)
{
    struct in_addr parsed;
    setup->config = c;
    setup->folder = folder;
    setup->bind = c->source[CONFIG_OPTION_bind] != CONFIG_DEFAULT ? c->bind : "127.0.0.1";
    if (inet_pton(AF_INET, setup->bind, &parsed) != 1)
        return sentence_write(sentence, RC_CONFIG, "--bind is an IPv4 address, not \"%s\"",
                              setup->bind);
    setup->host = strcmp(setup->bind, "0.0.0.0") == 0 ? "127.0.0.1" : setup->bind;
    for (uint32_t i = 0; i < c->gateways; i++)
        if (try_port(setup->bind, c->port + i) == 0)
            return sentence_write(sentence, RC_IN_USE,
                                  "port %u on %s is in use or not allowed: %s; give another "
                                  "--port",
                                  c->port + i, setup->bind, strerror(errno));
    return choose_mesh_ports(setup, sentence);
}

/* ---- Start ---- */

struct arguments {
    char *items[ARGUMENTS_MAX + 1]; /* NULL-terminated for execv(). */
    uint32_t count;
};

static void add(struct arguments *a, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void add(struct arguments *a, const char *format, ...)
{
    char text[DEV_FILES_PATH_MAX + 256];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    CHECK(a->count < ARGUMENTS_MAX); /* The table of options and LIMIT_SEEDS_MAX bound it. */
    a->items[a->count++] = mem_string(text, strlen(text));
}

/* What was set for dev and means something to the node is handed on, whatever its source. */
static void add_option(struct arguments *a, const struct config *c, enum config_option option)
{
    const struct option_row *row = &option_rows[option];
    const char *at = (const char *)c + row->offset;
    if (row->kind == OPTION_list) {
        const struct config_list *list = (const struct config_list *)(const void *)at;
        for (uint32_t i = 0; i < list->count; i++)
            add(a, "--%s=%s", row->flag, list->items[i]);
    } else if (row->kind == OPTION_number || row->kind == OPTION_duration) {
        add(a, "--%s=%u", row->flag, *(const uint32_t *)(const void *)at);
    } else if (row->kind == OPTION_text || row->kind == OPTION_choice) {
        add(a, "--%s=%s", row->flag, *(char *const *)(const void *)at);
    }
}

/* Handed on in the environment, which others do not see: a URL may hold a password as well. */
static bool is_private(enum config_option option)
{
    return option == CONFIG_OPTION_webhook || option == CONFIG_OPTION_webhook_secret ||
           option == CONFIG_OPTION_webhook_secret_file;
}

static bool is_dev_business(enum config_option option)
{
    return is_private(option) || option == CONFIG_OPTION_config || option == CONFIG_OPTION_data ||
           option == CONFIG_OPTION_bind || option == CONFIG_OPTION_port ||
           option == CONFIG_OPTION_api_key;
}

static void add_joins(struct arguments *a, const struct dev_files_joins *joins, uint32_t without)
{
    for (uint32_t i = 0; i < joins->count; i++)
        if (i != without)
            add(a, "--join=%s", joins->endpoints[i]);
}

/* The first router begins the cluster: until all were up once it joins nobody. From then on all
 * join each other, so that any of them may be the one that is away. */
static void collect_router(struct arguments *a, const struct dev_child_setup *setup,
                           const char *node, uint32_t router)
{
    uint32_t zones = setup->config->zones;
    add(a, "--data=%s/%s", setup->folder->text, node);
    add(a, "--listen=%s", setup->joins.endpoints[router - 1]);
    if (router > 1 || setup->is_born)
        add_joins(a, &setup->joins, router - 1);
    if (zones > 0)
        add(a, "--zone=z%u", (router - 1) % zones + 1);
}

/* In a file like the others, so that at SIGHUP the keys are those of all files; what was given as
 * flags or in the environment goes before files, and then so does this one. */
static void add_api_keys(struct arguments *a, const struct dev_child_setup *setup)
{
    if (setup->config->source[CONFIG_OPTION_api_key] <= CONFIG_FILE) {
        add(a, "--config=%s/api.zpl", setup->folder->text);
        return;
    }
    add_option(a, setup->config, CONFIG_OPTION_api_key);
    add(a, "--api-key=%s", setup->api_key);
}

/* The pages of all gateways are one site, by either name of this machine. */
static void add_origins(struct arguments *a, const struct config *c)
{
    uint32_t left = LIMIT_SEEDS_MAX - c->origin.count;
    for (uint32_t i = 0; i < c->gateways && left >= 2; i++, left -= 2) {
        add(a, "--origin=http://127.0.0.1:%u", c->port + i);
        add(a, "--origin=http://localhost:%u", c->port + i);
    }
}

/* Only to who is on this machine: elsewhere these would be addresses of another. */
static void add_urls(struct arguments *a, const struct dev_child_setup *setup)
{
    const struct config *c = setup->config;
    if (c->source[CONFIG_OPTION_url] != CONFIG_DEFAULT || strcmp(setup->bind, "127.0.0.1") != 0)
        return;
    for (uint32_t i = 0; i < c->gateways && i < LIMIT_SEEDS_MAX; i++)
        add(a, "--url=ws://127.0.0.1:%u/ws", c->port + i);
}

static void collect_gateway(struct arguments *a, const struct dev_child_setup *setup, uint32_t port)
{
    const struct config *c = setup->config;
    add_joins(a, &setup->joins, UINT32_MAX);
    add(a, "--bind=%s", setup->bind);
    add(a, "--port=%u", port);
    add(a, "--dev-tokens");
    add_origins(a, c);
    add_urls(a, setup);
    add_api_keys(a, setup);
    for (uint32_t i = 0; i < c->config.count; i++)
        add(a, "--config=%s", c->config.items[i]);
    add(a, "--config=%s/auth.zpl", setup->folder->text);
}

/* --no-limits lifts those that were not set by themselves. */
static void lift_limits(struct arguments *a, const struct config *c, uint32_t command)
{
    static const enum config_option lifted[] = {
        CONFIG_OPTION_connections_per_user,  CONFIG_OPTION_connections_per_ip,
        CONFIG_OPTION_reconnects_per_minute, CONFIG_OPTION_frames_per_second,
        CONFIG_OPTION_bytes_per_second,      CONFIG_OPTION_messages_per_second,
    };
    for (size_t i = 0; i < sizeof(lifted) / sizeof(lifted[0]); i++)
        if ((option_rows[lifted[i]].commands & command) != 0 &&
            c->source[lifted[i]] == CONFIG_DEFAULT)
            add(a, "--%s=0", option_rows[lifted[i]].flag);
}

static void collect(struct arguments *a, const struct dev_child_setup *setup, const char *node,
                    uint32_t router, uint32_t port)
{
    const struct config *c = setup->config;
    uint32_t both = (router != 0 ? CONFIG_ROUTER : CONFIG_GATEWAY) | CONFIG_DEV;
    add(a, "chatmesh");
    add(a, "%s", router != 0 ? "router" : "gateway");
    add(a, "--id=%s", node);
    add(a, "--key=%s/cluster.key", setup->folder->text);
    for (uint32_t i = 0; i < CONFIG_OPTION_COUNT; i++)
        if ((option_rows[i].commands & both) == both && c->source[i] != CONFIG_DEFAULT &&
            !is_dev_business((enum config_option)i))
            add_option(a, c, (enum config_option)i);
    if (c->no_limits)
        lift_limits(a, c, router != 0 ? CONFIG_ROUTER : CONFIG_GATEWAY);
    if (router != 0)
        collect_router(a, setup, node, router);
    else
        collect_gateway(a, setup, port);
}

/* The variables were meant for dev, which has handed on as flags what it should; but what is
 * private stays, for routers. */
static void set_environment(const struct config *c, bool is_router)
{
    for (uint32_t i = 0; i < CONFIG_OPTION_COUNT; i++) {
        const struct option_row *row = &option_rows[i];
        char variable[OPTION_VARIABLE_SIZE];
        option_variable(row, variable);
        unsetenv(variable);
        if (!is_router || !is_private((enum config_option)i))
            continue;
        const char *text = *(char *const *)(const void *)((const char *)c + row->offset);
        if (text != NULL)
            setenv(variable, text, 1);
    }
}

/* In the child, between fork and exec. */
_Noreturn static void become(const struct dev_child_setup *setup, const char *node, bool is_router,
                             struct arguments *a, pid_t supervisor)
{
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != supervisor)
        _exit(1); /* It died before the line above. */
    set_environment(setup->config, is_router);
    setenv("NOTIFY_SOCKET", setup->notify, 1);
    struct dev_files_path path = dev_files_join(setup->folder, node, "log");
    int log = open(path.text, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (log < 0 || null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(log, STDOUT_FILENO) < 0 ||
        dup2(log, STDERR_FILENO) < 0)
        _exit(1);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    execv("/proc/self/exe", a->items);
    _exit(1);
}

pid_t dev_child_start(const struct dev_child_setup *setup, const char *node, uint32_t router,
                      uint32_t port)
{
    struct arguments a = {.count = 0};
    collect(&a, setup, node, router, port);
    pid_t supervisor = getpid();
    pid_t pid = fork();
    if (pid == 0)
        become(setup, node, router != 0, &a, supervisor);
    for (uint32_t i = 0; i < a.count; i++)
        mem_free(a.items[i]);
    return pid;
}

/* ---- Questions ---- */

/* Connect and ask. Returns the connection, or -1. */
static int ask(const struct dev_child_setup *setup, uint32_t port, const char *path,
               uint32_t timeout_ms)
{
    char request[128];
    int size = snprintf(request, sizeof(request),
                        "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", path);
    struct sockaddr_in address = address_of(setup->host, port);
    struct timeval timeout = {.tv_sec = timeout_ms / 1000, .tv_usec = timeout_ms % 1000 * 1000};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0 &&
        send(fd, request, (size_t)size, MSG_NOSIGNAL) > 0)
        return fd;
    close(fd);
    return -1;
}

bool dev_child_is_healthy(const struct dev_child_setup *setup, uint32_t port)
{
    char answer[16] = "";
    int fd = ask(setup, port, "/health", HEALTH_TIMEOUT_MS);
    if (fd < 0)
        return false;
    bool is_healthy = recv(fd, answer, sizeof(answer) - 1, MSG_WAITALL) > 0 &&
                      strncmp(answer, STATUS_OK, sizeof(STATUS_OK) - 1) == 0;
    close(fd);
    return is_healthy;
}

struct slice dev_child_cluster(const struct dev_child_setup *setup, uint32_t port, struct buf *text)
{
    static const char end_of_head[] = "\r\n\r\n";
    char part[16384];
    ssize_t size = 0;
    int fd = ask(setup, port, "/v1/cluster", CLUSTER_TIMEOUT_MS);
    if (fd < 0)
        return slice_of("", 0);
    buf_clear(text);
    while (text->size < CLUSTER_SIZE_MAX && (size = recv(fd, part, sizeof(part), 0)) > 0)
        buf_append(text, part, (size_t)size);
    close(fd);
    const char *bytes = (const char *)text->bytes;
    const char *head_end =
        text->size > 0 ? memmem(bytes, text->size, end_of_head, sizeof(end_of_head) - 1) : NULL;
    if (size != 0 || head_end == NULL || strncmp(bytes, STATUS_OK, sizeof(STATUS_OK) - 1) != 0)
        return slice_of("", 0); /* Cut short, or refused. */
    const char *body = head_end + sizeof(end_of_head) - 1;
    return slice_of(body, text->size - (size_t)(body - bytes));
}
