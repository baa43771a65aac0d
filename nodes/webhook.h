/* webhook - the push port in the real world: posts to the operator's URL, by libcurl on the loop.
 *
 * One post at a time, on a connection that is kept. Each bears
 *
 *     Chatmesh-Signature: t=<unix s>,v1=<hex HMAC-SHA-256 of "t.body" under the secret>
 *
 * so that the receiver knows who speaks, and by t that it is no replay. http and https only,
 * certificates verified, no redirect followed (it would carry messages to whom nobody named), no
 * proxy from the environment, connect within 5 s, all within 15 s. What is answered besides the
 * status is dropped, and the connection with it beyond WEBHOOK_ANSWER_BYTES.
 *
 * Loop thread only; libcurl resolves names in a thread of its own, for which nobody waits. */
#ifndef NODES_WEBHOOK_H
#define NODES_WEBHOOK_H

#include <stdbool.h>

#include "mesh/base/env.h"
#include "nodes/router/push.h"

#define WEBHOOK_CONNECT_MS   5000
#define WEBHOOK_TOTAL_MS     15000
#define WEBHOOK_ANSWER_BYTES 65536u

struct uv_loop_s;
struct webhook;

struct webhook_options {
    const char *url; /* webhook_url_is_valid() */
    const char *secret;
    uint32_t total_ms; /* WEBHOOK_TOTAL_MS, in tests less. */
    /* How a post went: its HTTP status, or 0 and why there was no answer. From the loop. */
    void (*on_posted)(void *context, uint32_t status, const char *reason);
    void *context;
};

/* Is it a URL of http or https with a host? */
bool webhook_url_is_valid(const char *url);

struct webhook *webhook_new(const struct webhook_options *options, struct uv_loop_s *uv,
                            struct env *env);
/* A post on its way is cut off and not told of. Its handles end with the loop. */
void webhook_free(struct webhook **webhook);

struct push_port webhook_port(struct webhook *webhook);

/* The value of the header, NUL-terminated, for `signed_text`: the time, a dot, the body. */
#define WEBHOOK_SIGNATURE_SIZE 96u
void webhook_sign(struct slice secret, uint64_t unix_s, struct slice signed_text,
                  char signature[WEBHOOK_SIGNATURE_SIZE]);

#endif
