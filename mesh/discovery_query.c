#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "mesh/discovery.h"

/* What one question needs. */
struct query {
    struct hub *hub;
    struct buf *answer; /* Empty until it came. */
    struct slice gossip;
    bool is_asked;
};

static uint64_t clock_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static void on_query_news(void *context, struct hub_socket *socket)
{
    struct query *q = context;
    struct slice id;
    struct slice body;
    if (!q->is_asked && hub_socket_can_send(socket))
        q->is_asked = hub_socket_send(socket, q->gossip) == RC_OK;
    while (q->answer->size == 0) {
        enum rc rc = hub_socket_receive(socket, &id, &body);
        if (rc == RC_AGAIN)
            return;
        if (rc == RC_OK)
            buf_append_slice(q->answer, body);
    }
}

/* Wait for the answer until `until_ms`, expecting the server key of that index. */
static enum rc ask(struct query *q, struct slice from, struct slice endpoint, uint32_t key_index,
                   uint64_t until_ms)
{
    struct hub_options options = {.kind = HUB_DEALER,
                                  .id = from,
                                  .send_max = 2,
                                  .receive_max = 2,
                                  .on_news = on_query_news,
                                  .context = q};
    struct hub_socket *socket = NULL;
    enum rc rc = hub_socket_new(q->hub, &options, &socket);
    if (rc == RC_OK)
        rc = hub_socket_connect(socket, endpoint, key_index);
    q->is_asked = false;
    while (rc == RC_OK && q->answer->size == 0) {
        uint64_t now_ms = clock_ms();
        if (now_ms >= until_ms) {
            rc = RC_TIMEOUT;
            break;
        }
        struct pollfd fd = {.fd = hub_fd(q->hub), .events = POLLIN};
        if (poll(&fd, 1, (int)(until_ms - now_ms)) < 0 && errno != EINTR)
            rc = RC_IO;
        hub_gather(q->hub);
        while (q->answer->size == 0 && hub_dispatch(q->hub))
            continue;
    }
    hub_socket_free(&socket);
    return rc;
}

static enum rc read_answer(const struct buf *answer,
                           void (*on_node)(void *context, const struct msg_node *node),
                           void *context)
{
    struct record_reader r = record_reader_of(buf_slice(answer));
    struct msg_gossip gossip;
    if (record_decode(&r, &msg_gossip_desc, &gossip) != RC_OK || gossip.nodes.size == 0)
        return RC_CORRUPT;
    r = record_reader_of(gossip.nodes);
    while (!record_reader_at_end(&r)) {
        struct msg_node node;
        if (record_decode(&r, &msg_node_desc, &node) != RC_OK || !membership_record_is_valid(&node))
            return RC_CORRUPT;
        if (!node.leaving)
            on_node(context, &node);
    }
    return RC_OK;
}

static enum rc check_endpoint(const char *endpoint, const struct keyfile *key,
                              struct sentence *sentence)
{
    if (!endpoint_is_reachable(slice_string(endpoint)))
        return sentence_write(sentence, RC_CONFIG,
                              "join: %s is neither tcp://HOST:PORT nor ipc://PATH", endpoint);
    if (key == NULL && !endpoint_is_loopback(slice_string(endpoint)))
        return sentence_write(sentence, RC_CONFIG,
                              "join: without a key file only loopback is asked, not %s", endpoint);
    return RC_OK;
}

enum rc discovery_query(const char *endpoint, const struct keyfile *key, uint32_t timeout_ms,
                        void (*on_node)(void *context, const struct msg_node *node), void *context,
                        struct sentence *sentence)
{
    char from[LIMIT_NODE_ID_SIZE_MAX + 1];
    struct query q = {0};
    struct buf *gossip = buf_new(64);
    snprintf(from, sizeof(from), "status-%u", (unsigned)getpid() % 100000000u);
    struct msg_gossip question = {.from = slice_string(from)};
    record_encode(gossip, &msg_gossip_desc, &question);
    q.gossip = buf_slice(gossip);
    q.answer = buf_new(4096);
    enum rc rc = check_endpoint(endpoint, key, sentence);
    if (rc == RC_OK)
        rc = hub_new(key, &q.hub, sentence);
    if (rc == RC_OK) {
        uint32_t keys = hub_key_count(q.hub);
        uint64_t start_ms = clock_ms();
        rc = RC_TIMEOUT;
        for (uint32_t i = 0; i < keys && rc == RC_TIMEOUT; i++)
            rc = ask(&q, question.from, slice_string(endpoint), i,
                     start_ms + (uint64_t)timeout_ms * (i + 1) / keys);
        if (rc == RC_OK)
            rc = read_answer(q.answer, on_node, context);
        if (rc != RC_OK)
            sentence_write(sentence, rc, "%s does not answer as a router would: %s", endpoint,
                           rc_sentence(rc));
    }
    hub_free(&q.hub);
    buf_unref(&q.answer);
    buf_unref(&gossip);
    return rc;
}
