/* How a session gets its user: from the token of its HTTP request, or from `connect`. */
#include "gateway/session.h"

#include "mesh/base/crypto.h"
#include "mesh/base/mem.h"
#include "mesh/wire/key.h"

#include <stdio.h>

#define DEVICE_DEFAULT "default"

static struct session *find_device(struct user *user, const char *device)
{
    LIST_EACH(node, &user->sessions)
    {
        struct session *session = LIST_ENTRY(node, struct session, in_user);
        if (strcmp(session->device, device) == 0)
            return session;
    }
    return NULL;
}

/* The device a session says it is: the token's claim binds; else the request's word; else one name
 * for all that say nothing. Absent: what they say disagrees. */
static struct slice choose_device(struct slice claimed, struct slice said)
{
    if (claimed.size > 0 && said.base != NULL && !slice_equal(claimed, said))
        return (struct slice){0};
    if (said.base != NULL)
        return said;
    return claimed.size > 0 ? claimed : slice_string(DEVICE_DEFAULT);
}

bool session_identify(struct session *session, const struct auth_identity *identity,
                      struct slice device)
{
    struct gateway *gateway = session->gateway;
    struct slice chosen = choose_device(slice_string(identity->device), device);
    if (chosen.base == NULL || !key_device_is_valid(chosen) ||
        !key_user_is_valid(slice_string(identity->user))) {
        session_close(session, CLOSE_TOKEN, "the token is for another device");
        return false;
    }
    struct user *user;
    if (users_connect(gateway, slice_string(identity->user), &user) != RC_OK) {
        session_close(session, CLOSE_TOO_MANY, "too many connections within a minute");
        return false;
    }
    char *name = mem_string(chosen.base, chosen.size);
    mem_free(session->device);
    session->device = name;
    struct session *older = find_device(user, name);
    uint32_t max = gateway->options.connections_per_user_max;
    if (older == NULL && max != 0 && user->session_count >= max) {
        session_close(session, CLOSE_TOO_MANY, "too many connections of this user");
        return false;
    }
    /* The user must not be without a session in between: the new one comes before the old one goes.
     */
    users_add(gateway, user, session);
    session->state = SESSION_GREETED;
    if (older != NULL)
        session_close(older, CLOSE_REPLACED, "a newer connection of this device");
    return true;
}

void session_welcome(struct session *session, struct slice id)
{
    struct gateway *gateway = session->gateway;
    if (!routers_are_known(gateway))
        return; /* session_on_cluster() comes when they are. */
    char name[17];
    char epoch[9];
    snprintf(name, sizeof(name), "%016lx", (unsigned long)session->id);
    crypto_hex(gateway->routers.cluster, 4, epoch);
    struct client_welcome welcome = {.id = id,
                                     .session = slice_string(name),
                                     .user = session_user(session),
                                     .device = slice_string(session->device),
                                     .gateway = slice_string(gateway->node),
                                     .epoch = slice_string(epoch),
                                     .ping_ms = gateway->options.ping_ms,
                                     .max_frame = gateway->options.frame_size_max,
                                     .ts = env_wall_ms(gateway->env)};
    session->is_greeted = true;
    buf_clear(gateway->text);
    client_put_welcome(gateway->text, &welcome);
    session_put(session);
}

void session_on_cluster(struct session *session)
{
    if (session->user != NULL && !session->is_greeted)
        session_welcome(session, (struct slice){0});
}

static void refuse(struct session *session, struct slice id, const char *reason)
{
    session_put_error(session, id, RC_UNAUTHORIZED, reason, 0);
    session_close(session, CLOSE_TOKEN, reason);
}

/* The token in `connect` of a session that has a user: a new one for the same user is fine. */
static bool agrees(const struct session *session, const struct client_request *request,
                   const struct auth_identity *identity)
{
    if (request->token.base != NULL && !slice_equals(session_user(session), identity->user))
        return false;
    return request->device.base == NULL || slice_equals(request->device, session->device);
}

void session_on_connect(struct session *session, const struct client_request *request)
{
    struct gateway *gateway = session->gateway;
    struct auth_identity identity;
    const char *reason = "the token is missing";
    if (session->has_connected) {
        session_put_error(session, request->id, RC_CONFLICT, "connect came before", 0);
        return;
    }
    if (request->token.base != NULL) {
        enum rc rc = auth_verify(gateway->auth, request->token, env_wall_ms(gateway->env) / 1000,
                                 &identity, &reason);
        if (rc != RC_OK) {
            refuse(session, request->id, reason);
            return;
        }
    } else if (session->state == SESSION_NEW) {
        refuse(session, request->id, reason);
        return;
    }
    if (session->state == SESSION_NEW) {
        struct slice device = request->device;
        char said[LIMIT_DEVICE_SIZE_MAX + 1];
        if (device.base == NULL && session->device != NULL) { /* Of the HTTP request. */
            snprintf(said, sizeof(said), "%s", session->device);
            device = slice_string(said);
        }
        if (!session_identify(session, &identity, device))
            return;
    } else if (!agrees(session, request, &identity)) {
        refuse(session, request->id, "connect names another user or device");
        return;
    }
    session->has_connected = true;
    if (request->has_batch)
        session->batch = request->batch;
    session_welcome(session, request->id);
    if (session->state != SESSION_CLOSED)
        session_resume(session, request);
}
