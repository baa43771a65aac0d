#include "mesh/beacon.h"

#include <czmq.h>
#include <stdio.h>

#include "mesh/base/crypto.h"
#include "mesh/base/mem.h"

#define BEACON_SIZE 14u /* "CMB1", the port (big-endian), 8 random bytes. */
#define BEACON_MS   1000
#define HEARD_MAX   64 /* Looked at in one call. */
static const char beacon_magic[4] = "CMB1";

struct beacon {
    zactor_t *actor;
};

enum rc beacon_new(uint16_t port, uint16_t gossip_port, struct beacon **ret_beacon)
{
    zsys_handler_set(NULL); /* Signals belong to nodes/. */
    struct beacon *b = mem_new(struct beacon);
    b->actor = zactor_new(zbeacon, NULL);
    if (b->actor == NULL || zsock_send(b->actor, "si", "CONFIGURE", (int)port) != 0)
        goto fail;
    char *host = zstr_recv(b->actor); /* Our address, or "" where nothing broadcasts. */
    bool is_running = host != NULL && host[0] != '\0';
    zstr_free(&host);
    if (!is_running)
        goto fail;
    byte shout[BEACON_SIZE];
    memcpy(shout, beacon_magic, sizeof(beacon_magic));
    shout[4] = (byte)(gossip_port >> 8);
    shout[5] = (byte)(gossip_port & 0xff);
    /* zbeacon discards what looks like our own shout, and ports are often the same everywhere. */
    crypto_random(shout + 6, sizeof(shout) - 6);
    if (gossip_port != 0 &&
        zsock_send(b->actor, "sbi", "PUBLISH", shout, sizeof(shout), BEACON_MS) != 0)
        goto fail;
    if (zsock_send(b->actor, "sb", "SUBSCRIBE", beacon_magic, sizeof(beacon_magic)) != 0)
        goto fail;
    zsock_set_rcvtimeo(b->actor, 0);
    *ret_beacon = b;
    return RC_OK;
fail:
    beacon_free(&b);
    return RC_IO;
}

void beacon_free(struct beacon **beacon)
{
    if (*beacon == NULL)
        return;
    zactor_destroy(&(*beacon)->actor);
    mem_free(*beacon);
    *beacon = NULL;
}

static bool heard(const char *host, zframe_t *shout, char endpoint[ENDPOINT_SIZE_MAX + 1])
{
    if (zframe_size(shout) != BEACON_SIZE ||
        memcmp(zframe_data(shout), beacon_magic, sizeof(beacon_magic)) != 0)
        return false;
    const byte *bytes = zframe_data(shout);
    unsigned port = (unsigned)bytes[4] << 8 | bytes[5];
    const char *form = strchr(host, ':') != NULL ? "tcp://[%s]:%u" : "tcp://%s:%u";
    snprintf(endpoint, ENDPOINT_SIZE_MAX + 1, form, host, port);
    return endpoint_is_reachable(slice_string(endpoint));
}

enum rc beacon_next(struct beacon *b, char endpoint[ENDPOINT_SIZE_MAX + 1])
{
    for (int i = 0; i < HEARD_MAX; i++) {
        char *host = zstr_recv(b->actor);
        if (host == NULL)
            return RC_AGAIN;
        zframe_t *shout = zframe_recv(b->actor);
        bool is_good = shout != NULL && heard(host, shout, endpoint);
        zframe_destroy(&shout);
        zstr_free(&host);
        if (is_good)
            return RC_OK;
    }
    return RC_AGAIN;
}
