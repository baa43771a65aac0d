/* book - the oracle: what every log holds, as seen by anyone, and what was promised to whom.
 *
 * Checks of FAULTS: C1 durability, C2 exactly once, C3 agreement, C4 contiguity, C5 no phantom. Any
 * contradiction ends the run at the event that shows it. */
#ifndef TESTS_SIM_BOOK_H
#define TESTS_SIM_BOOK_H

#include "mesh/base/map.h"
#include "mesh/base/slice.h"
#include "tests/sim/world.h"

struct book {
    struct world *world;
    struct map convs; /* struct book_conv */
    struct map sends; /* struct book_send */
    uint64_t acked, delivered;
};

void book_init(struct book *b, struct world *world);
void book_fini(struct book *b);

/* `sender` is about to send `cid` to `conv` for the first time. */
void book_invoked(struct book *b, struct slice conv, struct slice sender, struct slice cid);
/* `sent` came: this cid stands at seq. */
void book_acked(struct book *b, struct slice conv, struct slice sender, struct slice cid,
                uint64_t seq);
/* Somebody was shown the entry at seq. `raw` is what must be the same for everyone. */
void book_seen(struct book *b, struct slice conv, uint64_t seq, struct slice sender,
               struct slice cid, struct slice raw);
/* The highest seq anyone saw. */
uint64_t book_head(struct book *b, struct slice conv);
/* All is quiet: every acknowledged send was seen where it was promised, and no log has a hole. */
void book_close(struct book *b);

#endif
