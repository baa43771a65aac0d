/* left - conversations whose user was removed while the session was there.
 *
 * Where the session stood in each, so that, added again, it goes on from there; and what it was
 * told, so that late news of the same are not told again. The newest LEFT_MAX are remembered; of
 * one that is forgotten the session hears from the beginning, and perhaps twice that it ended.
 *
 * Loop thread only. */
#ifndef GATEWAY_LEFT_H
#define GATEWAY_LEFT_H

#include <stdbool.h>
#include <stdint.h>

#include "mesh/base/slice.h"

#define LEFT_MAX 32u

struct session;

void left_put(struct session *session, struct slice conv, uint64_t cursor);
bool left_has(const struct session *session, struct slice conv);
/* Where it stood; 0: from the beginning. */
uint64_t left_cursor(const struct session *session, struct slice conv);
/* The same; forgets it. */
uint64_t left_take(struct session *session, struct slice conv);
/* The session was told that it is gone, by the removal at `seq`. */
void left_note_told(struct session *session, struct slice conv, uint64_t seq);
/* The last removal that it was told of so; 0: of none. */
uint64_t left_told(const struct session *session, struct slice conv);
void left_forget_all(struct session *session);

#endif
