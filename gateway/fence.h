/* fence - keeps the order of one session's sends to one conversation across a refusal.
 *
 * A client sends A, B, C without waiting. A is refused ("rate_limited", "unavailable"); were B
 * taken now, A's retry would come after it, though one device's sends to one conversation enter the
 * log in the order sent. So the refusal of A puts up a fence: further sends to that conversation
 * are refused in the same way until A comes again, or until FENCE_US have passed and A was
 * evidently given up. What waits in the gateway for a leader is not refused, so it needs no fence:
 * it keeps its place (calls.h), and only when it fails after all those behind it fail with it.
 *
 * Loop thread only. */
#ifndef GATEWAY_FENCE_H
#define GATEWAY_FENCE_H

#include "mesh/base/list.h"
#include "mesh/base/rc.h"
#include "mesh/base/slice.h"

#include <stdint.h>

#define FENCE_US        2000000u /* Beyond the time that the client was told to wait. */
#define FENCE_COUNT_MAX 16u      /* Of one session; the oldest goes first. */

/* `fences` is a list of the session's own, empty at first. `id` orders the sends: of several that
 * are refused the first has to come first, in whichever order they are told. */
void fence_put_up(struct list *fences, struct slice conv, struct slice cid, uint64_t id, enum rc rc,
                  uint64_t retry_ms, uint64_t now_us);
/* May this send pass? RC_OK, or what the refusal before it was. The send that was refused passes
 * and takes its fence down. */
MUST_CHECK enum rc fence_check(struct list *fences, struct slice conv, struct slice cid,
                               uint64_t now_us);
/* Does the send of this id stand behind one that was refused? RC_OK, or what the refusal was.
 * Changes nothing. */
MUST_CHECK enum rc fence_look(const struct list *fences, struct slice conv, uint64_t id);
void fence_fini(struct list *fences);

#endif
