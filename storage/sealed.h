/* sealed - a row that knows its version and notices when it is damaged or in the wrong place.
 *
 *   version u8 | CRC-32C u32, big endian | body
 *
 * The checksum covers the row's key, the version and the body, so that a row found under a key that
 * is not its own fails as well. RocksDB has block checksums; this one is ours from memory to
 * memory, and travels with the row when a shard is shipped. */
#ifndef STORAGE_SEALED_H
#define STORAGE_SEALED_H

#include "mesh/base/buf.h"
#include "mesh/base/rc.h"
#include "mesh/base/slice.h"

#define SEALED_HEAD_SIZE 5u

/* Begin a row at the end of `row` and return where: the body is appended next, then sealed_end().
 */
size_t sealed_begin(struct buf *row, uint8_t version);
void sealed_end(struct buf *row, size_t begin, struct slice key);

/* Check a row and find its body. RC_CORRUPT: too short, another version, or a checksum that fails.
 */
MUST_CHECK enum rc sealed_open(struct slice key, struct slice row, uint8_t version,
                               struct slice *ret_body);

#endif
