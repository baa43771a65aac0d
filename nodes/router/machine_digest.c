/* machine_digest - one number for all that applying has brought about.
 *
 * A chain of SipHash: the digest so far is one half of the next key, the cluster's secret the
 * other. Folded in is what a command brings about, when it does:
 *
 *   an entry of Raft's log   its index; of a batch also the log time
 *   a command                its result and conversation, after what it brought about:
 *   an entry made or changed its record
 *   entries trimmed          up to where
 *   rules of a conversation  history, retention; that it was dropped; a name that was erased
 *   a cursor moved           the receipt; the device's own cursor
 *   a list changed           the user, seq, gone; what a list was told
 *   a user was seen          when, and who
 *   a router, the cluster    the row
 *
 * Rows that follow from these (heads, members, deduplication) are not folded in themselves, for
 * they are put once a turn, and the digest must not know where a turn ended or what was in memory.
 * Whoever adds a kind of row that does not follow must fold it in. */
#include <endian.h>

#include "mesh/base/check.h"
#include "mesh/base/crypto.h"
#include "nodes/router/machine_parts.h"

#define NUMBERS_MAX 4u

void machine_digest_init(struct machine *m, const uint8_t cluster[16])
{
    uint8_t digest[16];
    struct slice parts[2] = {slice_string("chatmesh state"), slice_of(cluster, 16)};
    crypto_digest(digest, sizeof(digest), parts, 2);
    memcpy(m->digest_key, digest, sizeof(m->digest_key));
}

void machine_digest_bytes(struct machine *m, struct slice bytes)
{
    uint8_t key[16];
    uint64_t before = htole64(m->applied.digest);
    memcpy(key, &before, sizeof(before));
    memcpy(key + sizeof(before), m->digest_key, sizeof(m->digest_key));
    m->applied.digest = crypto_hash64(key, bytes);
}

void machine_digest_numbers(struct machine *m, const uint64_t *numbers, size_t count)
{
    uint64_t little[NUMBERS_MAX];
    CHECK(count <= NUMBERS_MAX);
    for (size_t i = 0; i < count; i++)
        little[i] = htole64(numbers[i]);
    machine_digest_bytes(m, slice_of(little, count * sizeof(*little)));
}

/* By its CRC-32C, at a quarter of what SipHash takes: replicas differ by accident, and an accident
 * does not look for two records of one checksum. */
void machine_digest_record(struct machine *m, struct slice record)
{
    const uint64_t numbers[] = {record.size, crypto_crc32c(0, record.base, record.size)};
    machine_digest_numbers(m, numbers, 2);
}

void machine_digest_result(struct machine *m, const struct machine_result *result)
{
    const uint64_t numbers[] = {result->rc, result->seq, result->ts, result->dup};
    machine_digest_numbers(m, numbers, 4);
    machine_digest_bytes(m, result->conv);
}

uint64_t machine_digest(const struct machine *m)
{
    return m->applied.digest;
}
