#include "mesh/hub.h"

#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>
#include <zmq.h>

#include "mesh/base/check.h"
#include "mesh/base/limits.h"
#include "mesh/base/mem.h"
#include "mesh/zap.h"

#define SOCKETS_MAX         16384 /* A gateway has three for each router. */
#define HANDSHAKE_MS        5000
#define RECONNECT_MS        100
#define RECONNECT_MS_MAX    1000
#define CONNECT_MS          1500 /* A SYN that a partition swallowed is sent anew, by a new try. */
#define BACKLOG             1024 /* All gateways come at once after a router's restart. */
#define EVENTS_MAX          64
#define ADMISSIONS_MAX      64 /* Handshakes answered in one gather. */
#define ROUTING_ID_SIZE_MAX 256
/* Bytes that a peer's kernel does not take for so long end the connection. Else TCP would send them
 * again ever more slowly: after a partition of 5 s nodes found each other 25 s later, and then
 * carried out requests that had been given up long ago. */
#define UNANSWERED_MS      3000
#define OPTION_ZAP_ENFORCE 93 /* ZMQ_ZAP_ENFORCE_DOMAIN: there, but declared for drafts only. */

struct hub {
    void *context;
    void *zap; /* NULL in plain text. */
    int zap_fd;
    int epoll_fd;
    bool is_encrypted;
    bool admits_again; /* ADMISSIONS_MAX were answered, and more may wait. */
    struct keyfile key;
    struct list news;      /* Sockets to look at. */
    uint32_t socket_count; /* Still to be freed. */
    zmq_msg_t body;        /* What was received last. */
    char id[ROUTING_ID_SIZE_MAX];
};

struct hub_socket {
    struct list news; /* On the hub's list, or alone. */
    struct hub *hub;
    void *handle;
    int fd;
    enum hub_kind kind;
    hub_on_news on_news;
    void *context;
};

/* ---- Life ---- */

static int watch(struct hub *hub, void *handle, void *data, int *ret_fd)
{
    size_t size = sizeof(*ret_fd);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = data};
    if (zmq_getsockopt(handle, ZMQ_FD, ret_fd, &size) != 0)
        return -1;
    return epoll_ctl(hub->epoll_fd, EPOLL_CTL_ADD, *ret_fd, &event);
}

enum rc hub_new(const struct keyfile *key, struct hub **ret_hub, struct sentence *sentence)
{
    struct hub *hub = mem_new(struct hub);
    list_init(&hub->news);
    zmq_msg_init(&hub->body);
    hub->is_encrypted = key != NULL;
    if (key != NULL)
        hub->key = *key;
    hub->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    hub->context = zmq_ctx_new();
    if (hub->epoll_fd < 0 || hub->context == NULL ||
        zmq_ctx_set(hub->context, ZMQ_MAX_SOCKETS, SOCKETS_MAX) != 0)
        goto fail;
    if (hub->is_encrypted) {
        hub->zap = zap_open(hub->context);
        if (hub->zap == NULL || watch(hub, hub->zap, NULL, &hub->zap_fd) != 0)
            goto fail;
    }
    *ret_hub = hub;
    return RC_OK;
fail:
    sentence_write(sentence, RC_IO, "the mesh cannot start: %s", zmq_strerror(errno));
    hub_free(&hub);
    return RC_IO;
}

void hub_free(struct hub **hub_at)
{
    struct hub *hub = *hub_at;
    if (hub == NULL)
        return;
    *hub_at = NULL;
    CHECK(hub->socket_count == 0);
    zmq_msg_close(&hub->body);
    if (hub->epoll_fd >= 0)
        close(hub->epoll_fd);
    if (hub->zap != NULL)
        zmq_close(hub->zap);
    if (hub->context != NULL)
        while (zmq_ctx_term(hub->context) != 0 && errno == EINTR)
            continue;
    keyfile_wipe(&hub->key);
    mem_free(hub);
}

bool hub_is_encrypted(const struct hub *hub)
{
    return hub->is_encrypted;
}

uint32_t hub_key_count(const struct hub *hub)
{
    return hub->is_encrypted ? hub->key.accepted_count : 1;
}

void hub_set_accepted(struct hub *hub, const struct keyfile *key)
{
    CHECK(hub->is_encrypted);
    memcpy(hub->key.accepted, key->accepted, sizeof(key->accepted));
    memcpy(hub->key.accepted_text, key->accepted_text, sizeof(key->accepted_text));
    hub->key.accepted_count = key->accepted_count;
}

/* ---- News ---- */

static void mark(struct hub_socket *s)
{
    if (list_is_empty(&s->news))
        list_append(&s->hub->news, &s->news);
}

int hub_fd(const struct hub *hub)
{
    return hub->epoll_fd;
}

bool hub_has_news(const struct hub *hub)
{
    return !list_is_empty(&hub->news) || hub->admits_again;
}

static void admit(struct hub *hub)
{
    uint32_t count = 0;
    while (count < ADMISSIONS_MAX && zap_answer(hub->zap, &hub->key) == RC_OK)
        count++;
    hub->admits_again = count == ADMISSIONS_MAX;
}

void hub_gather(struct hub *hub)
{
    struct epoll_event events[EVENTS_MAX];
    int count = epoll_wait(hub->epoll_fd, events, EVENTS_MAX, 0);
    for (int i = 0; i < count; i++) {
        if (events[i].data.ptr == NULL)
            admit(hub);
        else
            mark(events[i].data.ptr);
    }
    if (hub->admits_again)
        admit(hub);
}

/* Events of a socket, and on the way libzmq handles what its I/O thread told it. */
static int events_of(struct hub_socket *s)
{
    int events = 0;
    size_t size = sizeof(events);
    return zmq_getsockopt(s->handle, ZMQ_EVENTS, &events, &size) == 0 ? events : 0;
}

bool hub_dispatch(struct hub *hub)
{
    struct hub_socket *s = LIST_FIRST(&hub->news, struct hub_socket, news);
    if (s == NULL)
        return false;
    list_remove(&s->news);
    if (s->kind == HUB_PUB) {
        (void)events_of(s); /* Subscriptions came: nothing to receive. */
        return true;
    }
    list_append(&hub->news, &s->news); /* Last, until a receive finds it empty. */
    s->on_news(s->context, s);
    return true;
}

/* ---- Sockets ---- */

static bool set_number(struct hub_socket *s, int option, int value)
{
    return zmq_setsockopt(s->handle, option, &value, sizeof(value)) == 0;
}

static bool set_limits(struct hub_socket *s, const struct hub_options *options)
{
    int64_t size_max = LIMIT_PACKET_SIZE_MAX + 4096; /* Topic and gossip's wrapping. */
    return zmq_setsockopt(s->handle, ZMQ_MAXMSGSIZE, &size_max, sizeof(size_max)) == 0 &&
           set_number(s, ZMQ_LINGER, (int)options->linger_ms) &&
           set_number(s, ZMQ_SNDHWM, (int)options->send_max) &&
           set_number(s, ZMQ_RCVHWM, (int)options->receive_max) &&
           set_number(s, ZMQ_BACKLOG, BACKLOG) && set_number(s, ZMQ_HANDSHAKE_IVL, HANDSHAKE_MS) &&
           set_number(s, ZMQ_CONNECT_TIMEOUT, CONNECT_MS) &&
           set_number(s, ZMQ_TCP_MAXRT, UNANSWERED_MS) &&
           set_number(s, ZMQ_RECONNECT_IVL, RECONNECT_MS) &&
           set_number(s, ZMQ_RECONNECT_IVL_MAX, RECONNECT_MS_MAX) &&
           set_number(s, ZMQ_TCP_KEEPALIVE, 1) && set_number(s, ZMQ_TCP_KEEPALIVE_IDLE, 15) &&
           set_number(s, ZMQ_TCP_KEEPALIVE_INTVL, 5) && set_number(s, ZMQ_TCP_KEEPALIVE_CNT, 3);
}

static bool set_kind(struct hub_socket *s, const struct hub_options *options)
{
    switch (options->kind) {
    case HUB_ROUTER: /* An unknown id is told, not dropped; a reconnecting peer takes its id over.
                      */
        return set_number(s, ZMQ_ROUTER_MANDATORY, 1) && set_number(s, ZMQ_ROUTER_HANDOVER, 1);
    case HUB_DEALER: /* Queue for live peers only, so that silence is noticed as such. */
        return set_number(s, ZMQ_IMMEDIATE, 1) &&
               (options->id.base == NULL ||
                zmq_setsockopt(s->handle, ZMQ_ROUTING_ID, options->id.base, options->id.size) == 0);
    case HUB_PUB: /* Its receive side holds subscriptions only, so here a heartbeat is safe. */
        return set_number(s, ZMQ_HEARTBEAT_IVL, 1000) && set_number(s, ZMQ_HEARTBEAT_TIMEOUT, 3000);
    case HUB_SUB:
        return zmq_setsockopt(s->handle, ZMQ_SUBSCRIBE, options->id.base, options->id.size) == 0;
    }
    return false;
}

enum rc hub_socket_new(struct hub *hub, const struct hub_options *options,
                       struct hub_socket **ret_socket)
{
    static const int types[] = {ZMQ_ROUTER, ZMQ_DEALER, ZMQ_PUB, ZMQ_SUB};
    struct hub_socket *s = mem_new(struct hub_socket);
    list_init(&s->news);
    s->hub = hub;
    s->kind = options->kind;
    s->fd = -1;
    hub_socket_handle(s, options->on_news, options->context);
    hub->socket_count++;
    s->handle = zmq_socket(hub->context, types[options->kind]);
    if (s->handle == NULL || !set_limits(s, options) || !set_kind(s, options) ||
        watch(hub, s->handle, s, &s->fd) != 0) {
        hub_socket_free(&s);
        return RC_IO;
    }
    *ret_socket = s;
    return RC_OK;
}

void hub_socket_free(struct hub_socket **socket)
{
    struct hub_socket *s = *socket;
    if (s == NULL)
        return;
    *socket = NULL;
    list_remove(&s->news);
    s->hub->socket_count--;
    if (s->fd >= 0)
        epoll_ctl(s->hub->epoll_fd, EPOLL_CTL_DEL, s->fd, NULL);
    if (s->handle != NULL)
        zmq_close(s->handle);
    mem_free(s);
}

void hub_socket_handle(struct hub_socket *s, hub_on_news on_news, void *context)
{
    s->on_news = on_news;
    s->context = context;
}

static bool secure_server(struct hub_socket *s)
{
    const struct keyfile *key = &s->hub->key;
    return !s->hub->is_encrypted ||
           (set_number(s, ZMQ_CURVE_SERVER, 1) && set_number(s, OPTION_ZAP_ENFORCE, 1) &&
            zmq_setsockopt(s->handle, ZMQ_CURVE_SECRETKEY, key->secret_text, KEYFILE_TEXT_SIZE) ==
                0 &&
            zmq_setsockopt(s->handle, ZMQ_ZAP_DOMAIN, ZAP_DOMAIN, sizeof(ZAP_DOMAIN) - 1) == 0);
}

static bool secure_client(struct hub_socket *s, uint32_t key_index)
{
    const struct keyfile *key = &s->hub->key;
    if (!s->hub->is_encrypted)
        return true;
    const char *server = key->accepted_text[key_index % key->accepted_count];
    return zmq_setsockopt(s->handle, ZMQ_CURVE_SERVERKEY, server, KEYFILE_TEXT_SIZE) == 0 &&
           zmq_setsockopt(s->handle, ZMQ_CURVE_PUBLICKEY, key->public_text, KEYFILE_TEXT_SIZE) ==
               0 &&
           zmq_setsockopt(s->handle, ZMQ_CURVE_SECRETKEY, key->secret_text, KEYFILE_TEXT_SIZE) == 0;
}

enum rc hub_socket_bind(struct hub_socket *s, const struct endpoint *endpoint,
                        struct endpoint *ret_bound, struct sentence *sentence)
{
    char text[ENDPOINT_SIZE_MAX + 1];
    char bound[ENDPOINT_SIZE_MAX + 1] = "";
    size_t bound_size = sizeof(bound);
    endpoint_print(endpoint, text);
    if (!set_number(s, ZMQ_IPV6, endpoint->is_ipv6) || !secure_server(s))
        return sentence_write(sentence, RC_IO, "the mesh cannot be encrypted: %s",
                              zmq_strerror(errno));
    if (zmq_bind(s->handle, text) != 0) {
        enum rc rc = errno == EADDRINUSE                         ? RC_IN_USE
                     : errno == EADDRNOTAVAIL || errno == ENODEV ? RC_CONFIG
                                                                 : RC_IO;
        return sentence_write(sentence, rc, "cannot listen on %s: %s", text, zmq_strerror(errno));
    }
    if (zmq_getsockopt(s->handle, ZMQ_LAST_ENDPOINT, bound, &bound_size) != 0 ||
        endpoint_parse(slice_string(bound), ret_bound) != RC_OK)
        return sentence_write(sentence, RC_IO, "cannot tell where %s listens", text);
    return RC_OK;
}

enum rc hub_socket_connect(struct hub_socket *s, struct slice endpoint, uint32_t key_index)
{
    struct endpoint parsed;
    char text[ENDPOINT_SIZE_MAX + 1];
    if (endpoint_parse(endpoint, &parsed) != RC_OK)
        return RC_IO;
    endpoint_print(&parsed, text);
    if (!set_number(s, ZMQ_IPV6, parsed.is_ipv6) || !secure_client(s, key_index) ||
        zmq_connect(s->handle, text) != 0)
        return RC_IO;
    return RC_OK;
}

/* ---- Messages ---- */

bool hub_socket_can_send(struct hub_socket *s)
{
    mark(s); /* Asking may swallow the edge of a message that came. */
    return (events_of(s) & ZMQ_POLLOUT) != 0;
}

static enum rc sent(struct hub_socket *s, int result)
{
    if (s->kind != HUB_PUB)
        mark(s); /* Likewise. */
    if (result >= 0)
        return RC_OK;
    return errno == EHOSTUNREACH ? RC_NOT_FOUND : RC_FULL;
}

enum rc hub_socket_send(struct hub_socket *s, struct slice body)
{
    return sent(s, zmq_send(s->handle, body.base, body.size, ZMQ_DONTWAIT));
}

enum rc hub_socket_send_to(struct hub_socket *s, struct slice id, struct slice body)
{
    int result = zmq_send(s->handle, id.base, id.size, ZMQ_DONTWAIT | ZMQ_SNDMORE);
    if (result >= 0) /* The queue was chosen with the id: what follows always finds room. */
        result = zmq_send(s->handle, body.base, body.size, ZMQ_DONTWAIT);
    return sent(s, result);
}

enum rc hub_socket_publish(struct hub_socket *s, struct slice topic, struct slice body)
{
    zmq_msg_t message;
    CHECK(zmq_msg_init_size(&message, topic.size + body.size) == 0);
    char *at = zmq_msg_data(&message);
    memcpy(at, topic.base, topic.size);
    memcpy(at + topic.size, body.base, body.size);
    int result = zmq_msg_send(&message, s->handle, ZMQ_DONTWAIT);
    if (result < 0)
        zmq_msg_close(&message);
    return sent(s, result);
}

/* The rest of a message that has too many parts. All of it is here: parts come together. */
static void drop_parts(struct hub_socket *s)
{
    while (zmq_msg_more(&s->hub->body))
        if (zmq_msg_recv(&s->hub->body, s->handle, ZMQ_DONTWAIT) < 0)
            return;
}

enum rc hub_socket_receive(struct hub_socket *s, struct slice *ret_id, struct slice *ret_body)
{
    struct hub *hub = s->hub;
    if (zmq_msg_recv(&hub->body, s->handle, ZMQ_DONTWAIT) < 0) {
        if (errno == EAGAIN)
            list_remove(&s->news);
        return RC_AGAIN;
    }
    *ret_id = (struct slice){0};
    if (s->kind == HUB_ROUTER) { /* The first part is the sender's id. */
        size_t size = zmq_msg_size(&hub->body);
        if (size > sizeof(hub->id) || !zmq_msg_more(&hub->body)) {
            drop_parts(s);
            return RC_CORRUPT;
        }
        memcpy(hub->id, zmq_msg_data(&hub->body), size);
        *ret_id = slice_of(hub->id, size);
        if (zmq_msg_recv(&hub->body, s->handle, ZMQ_DONTWAIT) < 0)
            return RC_CORRUPT;
    }
    if (zmq_msg_more(&hub->body)) {
        drop_parts(s);
        return RC_CORRUPT;
    }
    *ret_body = slice_of(zmq_msg_data(&hub->body), zmq_msg_size(&hub->body));
    return RC_OK;
}
