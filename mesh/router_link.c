#include "mesh/router_link.h"

#define REFUSED_US       5000000u /* A router that stalls for less keeps its connection. */
#define SILENT_US        6000000u /* Longer than a gateway's lease. */
#define DEALER_QUEUE_MAX 4096u
#define SUB_QUEUE_MAX    100000u /* As much as the router's PUB holds for us. */

bool router_link_is_current(const struct router_link *l, const struct msg_node *node)
{
    return l->dealer != NULL && l->incarnation == node->incarnation &&
           slice_equals(node->request, l->request) && slice_equals(node->publish, l->publish);
}

static void copy_endpoint(char to[ENDPOINT_SIZE_MAX + 1], struct slice from)
{
    memcpy(to, from.base, from.size); /* A record's endpoint was judged when it came. */
    to[from.size] = '\0';
}

void router_link_set(struct router_link *l, const struct msg_node *node)
{
    copy_endpoint(l->request, node->request);
    copy_endpoint(l->publish, node->publish);
    l->incarnation = node->incarnation;
}

static enum rc open_socket(struct hub *hub, const struct hub_options *options, const char *endpoint,
                           uint32_t key_index, struct hub_socket **ret_socket)
{
    enum rc rc = hub_socket_new(hub, options, ret_socket);
    if (rc == RC_OK)
        rc = hub_socket_connect(*ret_socket, slice_string(endpoint), key_index);
    return rc;
}

static bool may_open(const struct router_link *l, const struct hub *hub)
{
    return hub_is_encrypted(hub) || (endpoint_is_loopback(slice_string(l->request)) &&
                                     endpoint_is_loopback(slice_string(l->publish)));
}

void router_link_open(struct router_link *l, struct hub *hub,
                      const struct router_link_options *options, uint64_t now_us)
{
    struct hub_options dealer = {.kind = HUB_DEALER,
                                 .id = options->node,
                                 .send_max = DEALER_QUEUE_MAX,
                                 .receive_max = DEALER_QUEUE_MAX,
                                 .on_news = options->on_dealer_news,
                                 .context = options->context};
    struct hub_options sub = {.kind = HUB_SUB,
                              .id = options->topic,
                              .send_max = DEALER_QUEUE_MAX,
                              .receive_max = SUB_QUEUE_MAX,
                              .on_news = options->on_sub_news,
                              .context = options->context};
    router_link_close(l);
    l->tried_us = l->heard_us = now_us;
    l->refused_us = 0;
    enum rc rc = may_open(l, hub) ? RC_OK : RC_CONFIG;
    if (rc == RC_OK)
        rc = open_socket(hub, &dealer, l->request, l->key_index, &l->dealer);
    if (rc == RC_OK && options->topic.base != NULL)
        rc = open_socket(hub, &sub, l->publish, l->key_index, &l->sub);
    if (rc != RC_OK)
        router_link_close(l);
}

enum rc router_link_send(struct router_link *l, struct slice packet, uint64_t now_us)
{
    if (!l->is_connected)
        return RC_NOT_FOUND;
    enum rc rc = hub_socket_send(l->dealer, packet);
    if (rc == RC_OK)
        l->refused_us = 0;
    else if (l->refused_us == 0)
        l->refused_us = now_us;
    return rc;
}

bool router_link_is_stuck(const struct router_link *l, uint64_t now_us)
{
    if (!l->is_connected)
        return now_us - l->tried_us >= HUB_STUCK_US;
    if (l->sub != NULL && now_us - l->heard_us >= SILENT_US)
        return true;
    return l->refused_us != 0 && now_us - l->refused_us >= REFUSED_US;
}

void router_link_close(struct router_link *l)
{
    hub_socket_free(&l->dealer);
    hub_socket_free(&l->sub);
    l->is_connected = false;
}
