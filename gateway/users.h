/* users - who has sessions here, and what routers say about their lists of conversations.
 *
 * While a user has a session here, his shard's leader publishes changes to his list to this
 * gateway. Where such an event may have been missed, the list is asked for again and compared.
 *
 * Loop thread only. */
#ifndef GATEWAY_USERS_H
#define GATEWAY_USERS_H

#include "gateway/core.h"

#define USERS_RATE_WINDOW_US 60000000u

struct user {
    struct list sessions;
    struct list in_shard; /* On its shard's list, once shards are known. */
    struct list node;     /* On the gateway's stale_users or past_users, or on itself. */
    struct request *call; /* user_open in flight for a stale list. */
    uint64_t window_us;   /* When the minute of the connection rate began. */
    uint64_t status_us;   /* When he set his status. */
    uint32_t window_count;
    uint32_t session_count;
    uint8_t status; /* enum presence_status; PRESENCE_OFFLINE: he set none. */
    uint8_t name_size;
    char name[]; /* name_size bytes. */
};

static inline struct slice user_name(const struct user *user)
{
    return slice_of(user->name, user->name_size);
}

void users_init(struct gateway *gateway);
void users_fini(struct gateway *gateway);

/* Count one more connection of `name`; *ret_user is valid on RC_OK, until the user has no sessions.
 * RC_RATE_LIMITED: too many within a minute. */
MUST_CHECK enum rc users_connect(struct gateway *gateway, struct slice name,
                                 struct user **ret_user);
void users_add(struct gateway *gateway, struct user *user, struct session *session);
void users_remove(struct gateway *gateway, struct session *session);

/* What he wants to be shown as, until his last session here is gone. */
void users_set_status(struct gateway *gateway, struct user *user, enum presence_status status);

/* Send a user_open for the page after `after`. `request` has its on_done and whether it may wait;
 * taken on RC_OK only. `opener`, where not NULL, is a session that begins: others of its device
 * will be replaced. */
MUST_CHECK enum rc users_call_open(struct gateway *gateway, struct request *request,
                                   struct slice user, struct slice after,
                                   const struct session *opener);

/* From routers.c: the number of shards is known; events of these users may have been missed; an
 * event. */
void users_on_shards(struct gateway *gateway);
void users_on_missed(struct gateway *gateway, struct list *shard_users);
void users_on_event(struct gateway *gateway, const struct msg_event_user *event);
void users_on_device(struct gateway *gateway, const struct msg_event_device *event);

void users_turn(struct gateway *gateway);  /* Forgets users whose window has passed. */
void users_retry(struct gateway *gateway); /* Asks again for stale lists. */

#endif
