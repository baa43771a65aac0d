/* direct - who the two of a direct conversation are that somebody creates, and its id.
 *
 * He names the other one, and may name himself beside him, as in a group; who names only himself
 * makes his notes. The operator, who is none of them, names both. */
#ifndef GATEWAY_DIRECT_H
#define GATEWAY_DIRECT_H

#include "mesh/base/buf.h"
#include "mesh/wire/key.h"

struct direct {
    struct slice from; /* Who counts as its creator: of the operator's, whom he names first. */
    struct slice other;
    char conv[KEY_DIRECT_SIZE];
};

/* `members` are a sequence of names, `from` is whose creation it is, absent where it is the
 * operator's, and `conv` the id that was asked for, mostly absent. The names point into what was
 * given. NULL, or what is wrong, for him who asks. */
MUST_CHECK const char *direct_choose(struct direct *direct, struct slice from, struct slice members,
                                     struct slice conv);

/* The members as the command wants them: the other one. */
struct buf *direct_members(const struct direct *direct);

#endif
