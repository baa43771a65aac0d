/* How a session gets its user: from the token of its HTTP request, or from `connect`. */
#include "gateway/session.h"

#include "mesh/base/crypto.h"
#include "mesh/base/mem.h"
#include "mesh/wire/key.h"

#include <stdio.h>

#define DEVICE_DEFAULT "default"

/* The session of its user that has its device already, or NULL; and how many have one. */
static struct session *find_other(const struct session *session, bool *ret_is_newer,
                                  uint32_t *ret_count)
{
    struct session *found = NULL;
    bool is_past = false;
    *ret_is_newer = false;
    *ret_count = 0;
    LIST_EACH(node, &session->user->sessions)
    {
        struct session *other = LIST_ENTRY(node, struct session, in_user);
        is_past |= other == session;
        if (other == session || other->awaits_device)
            continue;
        (*ret_count)++;
        if (strcmp(other->device, session->device) != 0)
            continue;
        found = other;
        *ret_is_newer = is_past;
    }
    return found;
}

bool session_settle_device(struct session *session)
{
    bool is_newer;
    uint32_t count;
    struct session *other = find_other(session, &is_newer, &count);
    uint32_t max = session->gateway->options.connections_per_user_max;
    session->awaits_device = false;
    if (other == NULL && max != 0 && count >= max)
        session_close(session, CLOSE_TOO_MANY, "too many connections of this user");
    else if (other != NULL) /* The one that had its user later stays. */
        session_close(is_newer ? session : other, CLOSE_REPLACED,
                      "a newer connection of this device");
    return session->state != SESSION_CLOSED;
}

#define NOT_HIS_DEVICE "the token is for another device"

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

/* Whether the token's user may be, as the device that the request says. */
static bool is_usable(const struct auth_identity *identity, struct slice device)
{
    struct slice chosen = choose_device(slice_string(identity->device), device);
    return chosen.base != NULL && key_device_is_valid(chosen) &&
           key_user_is_valid(slice_string(identity->user));
}

static void set_device(struct session *session, struct slice device)
{
    char *name = mem_string(device.base, device.size);
    mem_free(session->device);
    session->device = name;
}

bool session_identify(struct session *session, const struct auth_identity *identity,
                      struct slice device)
{
    struct gateway *gateway = session->gateway;
    if (!is_usable(identity, device)) {
        session_close(session, CLOSE_TOKEN, NOT_HIS_DEVICE);
        return false;
    }
    struct user *user;
    if (users_connect(gateway, slice_string(identity->user), &user) != RC_OK) {
        session_close(session, CLOSE_TOO_MANY, "too many connections within a minute");
        return false;
    }
    set_device(session, choose_device(slice_string(identity->device), device));
    /* The user must not be without a session in between: the new one comes before the old one goes.
     */
    users_add(gateway, user, session);
    session->state = SESSION_GREETED;
    session_set_expiry(session, identity->expires_s);
    session->device_is_asked =
        !session->has_connected && identity->device[0] == '\0' && device.base == NULL;
    session->awaits_device = session->device_is_asked;
    return session->awaits_device || session_settle_device(session);
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
                                     .ts = env_wall_ms(gateway->env),
                                     .urls = gateway->options.urls,
                                     .url_count = gateway->options.url_count};
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

/* Take the token and the device in `connect` of a session that has a user: a new token for the same
 * user is fine, and any device where nothing named one yet. False: they are another's. */
static bool adopt(struct session *session, const struct client_request *request,
                  const struct auth_identity *identity)
{
    bool has_token = request->token.base != NULL;
    if (has_token && !slice_equals(session_user(session), identity->user))
        return false;
    if (has_token)
        session_set_expiry(session, identity->expires_s);
    if (!session->device_is_asked)
        return request->device.base == NULL || slice_equals(request->device, session->device);
    struct slice claimed = slice_string(has_token ? identity->device : "");
    struct slice chosen = choose_device(claimed, request->device);
    if (chosen.base == NULL || !key_device_is_valid(chosen))
        return false;
    /* Another than was assumed since: it replaces as if it came now. */
    session->awaits_device |= !slice_equals(chosen, session->device);
    set_device(session, chosen);
    return true;
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
    session->has_connected = true;
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
        if (!is_usable(&identity, device)) {
            refuse(session, request->id, NOT_HIS_DEVICE);
            return;
        }
        if (!session_identify(session, &identity, device))
            return;
    } else if (!adopt(session, request, &identity)) {
        refuse(session, request->id, "connect names another user or device");
        return;
    } else if (session->awaits_device && !session_settle_device(session)) {
        return;
    }
    if (request->has_batch)
        session->batch = request->batch;
    session_welcome(session, request->id);
    if (session->state != SESSION_CLOSED)
        session_resume(session, request);
}
