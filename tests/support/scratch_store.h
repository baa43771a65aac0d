/* scratch_store - a store for one test: in memory, or a real one in a directory of its own. */
#ifndef TESTS_SUPPORT_SCRATCH_STORE_H
#define TESTS_SUPPORT_SCRATCH_STORE_H

#include "storage/kv.h"

struct scratch_store {
    struct kv *kv;
    struct kv_batch *batch; /* For the test to fill. */
    char dir[32];           /* Empty: in memory. */
};

void scratch_store_open(struct scratch_store *s, bool is_on_disk);
void scratch_store_close(struct scratch_store *s); /* Removes the directory too. */
void scratch_store_write(struct scratch_store *s); /* The batch. */

/* Close and open again. RocksDB reads its log and begins new memtables, so that all that was
 * written lies in tables afterwards. In memory: nothing happens. */
void scratch_store_reopen(struct scratch_store *s);

#endif
