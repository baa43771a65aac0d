#include "mesh/listen.h"

#include <stdio.h>

#define GOSSIP_QUEUE_MAX  16u
#define REQUEST_QUEUE_MAX 4096u
#define PUBLISH_QUEUE_MAX 100000u /* libzmq's 1000 drops for healthy subscribers in a burst. */

/* The endpoint of a socket beside the one given. `port` 0: as zmq_bus.h says. */
static enum rc endpoint_beside(const struct endpoint *given, uint16_t port, unsigned distance,
                               const char *suffix, struct endpoint *ret_endpoint,
                               struct sentence *sentence)
{
    struct endpoint e = *given;
    if (e.is_ipc) {
        size_t size = strlen(e.host);
        if (size + strlen(suffix) >= sizeof(e.host) - strlen("ipc://"))
            return sentence_write(sentence, RC_CONFIG, "the path %s is too long", given->host);
        memcpy(e.host + size, suffix, strlen(suffix) + 1);
    } else if (port != 0 || given->is_loopback || given->port == 0) {
        e.port = port; /* On loopback there is no firewall to know ports: any is as good. */
    } else {
        if (given->port + distance > UINT16_MAX)
            return sentence_write(sentence, RC_CONFIG,
                                  "port %u leaves no room for the two ports after it", given->port);
        e.port = (uint16_t)(given->port + distance);
    }
    *ret_endpoint = e;
    return RC_OK;
}

static enum rc parse_advertise(const char *advertise, struct endpoint *ret_endpoint,
                               struct sentence *sentence)
{
    char text[ENDPOINT_SIZE_MAX + 1];
    const char *form = strchr(advertise, ':') != NULL ? "tcp://[%s]:1" : "tcp://%s:1";
    int size = snprintf(text, sizeof(text), form, advertise);
    if (size < 0 || size >= (int)sizeof(text) || !endpoint_is_reachable(slice_string(text)) ||
        endpoint_parse(slice_string(text), ret_endpoint) != RC_OK)
        return sentence_write(sentence, RC_CONFIG,
                              "advertise: %s is not a host that others can reach", advertise);
    return RC_OK;
}

static enum rc check_given(const struct hub *hub, const struct listen_options *options,
                           struct endpoint *ret_given, struct sentence *sentence)
{
    if (endpoint_parse(slice_string(options->listen), ret_given) != RC_OK)
        return sentence_write(sentence, RC_CONFIG,
                              "listen: %s is neither tcp://HOST:PORT nor ipc://PATH",
                              options->listen);
    if (!hub_is_encrypted(hub) && !ret_given->is_loopback)
        return sentence_write(
            sentence, RC_CONFIG,
            "listen: without a key file the mesh is plain text, so %s is refused: "
            "give a key, or listen on 127.0.0.1",
            options->listen);
    if (ret_given->is_wildcard && options->advertise == NULL)
        return sentence_write(sentence, RC_CONFIG,
                              "listen: %s is every address of this machine: say with advertise "
                              "which one the others are to use",
                              options->listen);
    return RC_OK;
}

static enum rc open_one(struct hub *hub, const struct hub_options *options,
                        const struct endpoint *at, const char *advertise,
                        struct listen_socket *ret_socket, struct sentence *sentence)
{
    struct endpoint bound;
    struct endpoint told;
    enum rc rc = hub_socket_new(hub, options, &ret_socket->socket);
    if (rc != RC_OK)
        return sentence_write(sentence, rc, "libzmq refuses a socket");
    rc = hub_socket_bind(ret_socket->socket, at, &bound, sentence);
    if (rc == RC_OK && advertise != NULL && !bound.is_ipc) {
        rc = parse_advertise(advertise, &told, sentence);
        told.port = bound.port;
    } else {
        told = bound;
    }
    if (rc != RC_OK)
        return rc;
    endpoint_print(&told, ret_socket->endpoint);
    return RC_OK;
}

enum rc listen_open(struct hub *hub, const struct listen_options *options,
                    struct listen_set *ret_set, struct sentence *sentence)
{
    struct listen_set set = {0};
    struct endpoint gossip;
    struct endpoint request;
    struct endpoint publish;
    struct hub_options gossip_options = {
        .kind = HUB_ROUTER, .send_max = GOSSIP_QUEUE_MAX, .receive_max = GOSSIP_QUEUE_MAX};
    struct hub_options request_options = {
        .kind = HUB_ROUTER, .send_max = REQUEST_QUEUE_MAX, .receive_max = REQUEST_QUEUE_MAX};
    struct hub_options publish_options = {
        .kind = HUB_PUB, .send_max = PUBLISH_QUEUE_MAX, .receive_max = REQUEST_QUEUE_MAX};
    enum rc rc = check_given(hub, options, &gossip, sentence);
    if (rc == RC_OK)
        rc = endpoint_beside(&gossip, options->request_port, 1, "-request", &request, sentence);
    if (rc == RC_OK)
        rc = endpoint_beside(&gossip, options->publish_port, 2, "-publish", &publish, sentence);
    if (rc == RC_OK)
        rc = open_one(hub, &gossip_options, &gossip, options->advertise, &set.gossip, sentence);
    if (rc == RC_OK)
        rc = open_one(hub, &request_options, &request, options->advertise, &set.request, sentence);
    if (rc == RC_OK)
        rc = open_one(hub, &publish_options, &publish, options->advertise, &set.publish, sentence);
    if (rc != RC_OK) {
        listen_close(&set);
        return rc;
    }
    *ret_set = set;
    return RC_OK;
}

void listen_close(struct listen_set *set)
{
    hub_socket_free(&set->gossip.socket);
    hub_socket_free(&set->request.socket);
    hub_socket_free(&set->publish.socket);
}
