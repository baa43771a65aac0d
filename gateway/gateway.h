/* gateway - the core of a gateway node: sessions on one side, routers on the other.
 *
 * Pure: env for time, bus for routers, links for clients. The edge (gateway/edge.c) turns
 * connections into links and calls in; the node (nodes/gateway_node.c) turns the loop and calls
 * gateway_turn().
 *
 * The turn: everything that came in since the last one has been decoded into sessions; now requests
 * to each router leave as one packet, and what sessions have to say leaves as one write a client.
 *
 * Loop thread only; one gateway may have several identical loops later, sharing nothing. */
#ifndef GATEWAY_GATEWAY_H
#define GATEWAY_GATEWAY_H

#include <stdbool.h>

#include "gateway/auth.h"
#include "gateway/link.h"
#include "mesh/base/env.h"
#include "mesh/wire/bus.h"

/* What an operator may set (nodes/options.tbl.h); zero is not a default: gateway_options_init(). */
struct gateway_options {
    const char *node;        /* Node id. */
    const char *address;     /* http://HOST:PORT, as others are told; "" where that is nobody's. */
    const char *const *urls; /* Where clients find gateways of this cluster. Borrowed. */
    uint32_t url_count;
    uint64_t incarnation;
    uint32_t ping_ms;
    uint32_t idle_ms;
    uint32_t connect_ms;
    uint32_t frame_size_max;
    uint32_t outbox_bytes_max;
    uint32_t connections_per_user_max;  /* 0: no limit. */
    uint32_t connections_per_ip_max;    /* Enforced by the edge. */
    uint32_t reconnects_per_minute_max; /* Per user; 0: no limit. */
    uint32_t connections_max;           /* Of this gateway; 0: no limit. */
    uint32_t frames_per_second_max;     /* Per session; 0: no limit. */
    uint32_t bytes_per_second_max;      /* Likewise. */
    uint32_t request_ms;
    uint32_t gather_us;
    uint32_t fanout_members; /* In larger conversations entries go to who has them open. */
    uint32_t redeliver_ms;   /* What is not acknowledged for so long is given again. */
};

void gateway_options_init(struct gateway_options *options);

struct gateway;
struct session;

/* `auth`, `env` and `bus` are borrowed. `options` is copied. */
struct gateway *gateway_new(const struct gateway_options *options, const struct auth *auth,
                            struct env *env, struct bus *bus);
void gateway_free(struct gateway **gateway); /* Sessions must be gone. */

/* Plug this into the bus: packets and peers come in here. */
struct bus_handler gateway_bus_handler(struct gateway *gateway);

/* ---- The edge calls these ---- */

/* A WebSocket is up. `identity` where the request bore a token (already verified), else NULL: then
 * `connect` must come. `device` and `batch` as the request said them, device may be absent. The
 * link is borrowed until session_on_closed(). Never fails: a session that may not be is closed by
 * its link. */
struct session *gateway_accept(struct gateway *gateway, struct link *link,
                               const struct auth_identity *identity, struct slice device,
                               bool batch);
void session_on_frame(struct session *session, struct slice text); /* One whole text message. */
void session_on_pong(struct session *session, struct slice payload);
void session_on_writable(struct session *session); /* The link has room again. */
void session_on_bad(struct session *session);      /* A binary frame: counts as malformed. */
void session_on_closed(struct session **session);  /* The link is gone. Takes and nulls. */

/* ---- The node calls these ---- */

void gateway_turn(struct gateway *gateway);
uint64_t gateway_due_us(struct gateway *gateway); /* When a turn is due though nothing comes in. */

/* SIGTERM: tell every client `server_restart`, spread over drain_ms, then close with 1012. */
void gateway_drain(struct gateway *gateway, uint32_t drain_ms);
bool gateway_is_drained(const struct gateway *gateway); /* No session is left. */

#define GATEWAY_MISSING_SIZE 256u

struct gateway_health {
    bool up;            /* Every shard has a leader that we hear. */
    const char *reason; /* Why not, for people; static. */
    uint64_t connections;
    uint64_t users;
    uint32_t shards_total; /* 0 while no router was heard. */
    uint32_t shards_led;
    uint32_t routers_up; /* Routers that we hear. */
    /* Names of those of the cluster that nobody hears, by spaces; some of them where many are. */
    char missing[GATEWAY_MISSING_SIZE];
};
struct gateway_health gateway_health(const struct gateway *gateway);

#endif
