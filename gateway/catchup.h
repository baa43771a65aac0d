/* catchup - a pair's way from where it stands into the live stream.
 *
 * What a session may have on the way is bounded: CATCHUP_SESSION_CALLS requests at a time, and none
 * while half of its outbox waits for the client. So a client catches up at its own pace, however
 * far it is behind.
 *
 * Loop thread only. */
#ifndef GATEWAY_CATCHUP_H
#define GATEWAY_CATCHUP_H

#include "gateway/pair.h"

#define CATCHUP_SESSION_CALLS 16u   /* Of one session in flight. */
#define CATCHUP_CALLS_MAX     4096u /* Of all. */

/* Let waiting pairs go on, as far as bounds and leaders allow. */
void catchup_pump(struct session *session);

#endif
