#include "mesh/zap.h"

#include <stdio.h>
#include <string.h>
#include <zmq.h>

#include "mesh/base/log.h"

enum zap_frame { /* Of a request: RFC 27, section "Authentication". */
                 ZAP_VERSION,
                 ZAP_REQUEST_ID,
                 ZAP_DOMAIN_NAME,
                 ZAP_ADDRESS,
                 ZAP_ROUTING_ID,
                 ZAP_MECHANISM,
                 ZAP_CLIENT_KEY,
                 ZAP_FRAMES,
};

uint32_t zap_judge(const struct keyfile *key, const struct zap_request *request)
{
    const struct slice *frames = request->frames;
    if (request->frame_count != ZAP_FRAMES || !slice_equals(frames[ZAP_VERSION], "1.0") ||
        !slice_equals(frames[ZAP_DOMAIN_NAME], ZAP_DOMAIN) ||
        !slice_equals(frames[ZAP_MECHANISM], "CURVE") ||
        frames[ZAP_CLIENT_KEY].size != KEYFILE_KEY_SIZE)
        return 400;
    const uint8_t *public_key = (const uint8_t *)frames[ZAP_CLIENT_KEY].base;
    return keyfile_accepts(key, public_key) ? 200 : 400;
}

void *zap_open(void *zmq_context)
{
    void *socket = zmq_socket(zmq_context, ZMQ_REP);
    int linger = 0;
    if (socket == NULL)
        return NULL;
    if (zmq_setsockopt(socket, ZMQ_LINGER, &linger, sizeof(linger)) == 0 &&
        zmq_bind(socket, "inproc://zeromq.zap.01") == 0)
        return socket;
    zmq_close(socket);
    return NULL;
}

static void send_part(void *socket, const void *bytes, size_t size, bool more)
{
    /* A reply that cannot be queued is a handshake that times out: the client tries again. */
    (void)zmq_send(socket, bytes, size, ZMQ_DONTWAIT | (more ? ZMQ_SNDMORE : 0));
}

static void send_reply(void *socket, struct slice request_id, bool accepted, const char *user_id)
{
    send_part(socket, "1.0", 3, true);
    send_part(socket, request_id.base, request_id.size, true);
    send_part(socket, accepted ? "200" : "400", 3, true);
    send_part(socket, accepted ? "OK" : "no", 2, true);
    send_part(socket, user_id, accepted ? strlen(user_id) : 0, true);
    send_part(socket, "", 0, false);
}

/* Receive all parts; those that are kept stay open in `parts`, for the caller to close. */
static enum rc receive(void *socket, zmq_msg_t parts[ZAP_FRAMES_MAX], struct zap_request *request)
{
    int more = 1;
    request->frame_count = 0;
    while (more) {
        zmq_msg_t spare;
        uint32_t at = request->frame_count;
        zmq_msg_t *part = at < ZAP_FRAMES_MAX ? &parts[at] : &spare;
        zmq_msg_init(part);
        if (zmq_msg_recv(part, socket, ZMQ_DONTWAIT) < 0)
            return RC_AGAIN; /* Only ever the first: parts come together. */
        more = zmq_msg_more(part);
        if (at < ZAP_FRAMES_MAX)
            request->frames[at] = slice_of(zmq_msg_data(part), zmq_msg_size(part));
        else
            zmq_msg_close(part);
        request->frame_count = at + 1;
    }
    return RC_OK;
}

enum rc zap_answer(void *zap_socket, const struct keyfile *key)
{
    zmq_msg_t parts[ZAP_FRAMES_MAX];
    struct zap_request request = {0};
    enum rc rc = receive(zap_socket, parts, &request);
    if (rc != RC_OK)
        return rc;
    bool accepted = zap_judge(key, &request) == 200;
    if (!accepted && request.frame_count > ZAP_ADDRESS)
        log_warn("mesh_peer_refused", "address=%.*s", SLICE_ARGS(request.frames[ZAP_ADDRESS]));
    /* A request without an id cannot be answered, but REP wants an answer before the next request.
     */
    send_reply(zap_socket, request.frames[ZAP_REQUEST_ID], accepted, key->id);
    uint32_t kept = request.frame_count < ZAP_FRAMES_MAX ? request.frame_count : ZAP_FRAMES_MAX;
    for (uint32_t i = 0; i < kept; i++)
        zmq_msg_close(&parts[i]);
    return RC_OK;
}
