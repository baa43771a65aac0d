/* rates - how much is sent to whom: the limit of messages a second of each conversation, and which
 * shards are hot.
 *
 * A conversation's second is a window of the clock, begun anew for all at once, so that counting a
 * message is one look into a table that is emptied as a whole. A shard is hot where it takes more
 * than RATES_HOT_FACTOR times the average of the shards led here for RATES_HOT_SAMPLES samples in a
 * row: `status` shows it, a metric counts them, and the log says when it begins and ends.
 *
 * Loop thread only. */
#ifndef NODES_ROUTER_RATES_H
#define NODES_ROUTER_RATES_H

#include <stdbool.h>
#include <stdint.h>

#include "mesh/base/map.h"
#include "mesh/base/rc.h"

#define RATES_SAMPLE_MS   10000u
#define RATES_HOT_SAMPLES 30u /* Five minutes. */
#define RATES_HOT_FACTOR  2u
#define RATES_HOT_MIN     10u    /* Messages a second; below, no shard is hot. */
#define RATES_CONVS_MAX   65536u /* Conversations counted in one second. */

struct rates_shard {
    uint64_t counted; /* Messages since the last sample. */
    uint32_t rate;    /* A second, over the last sample. */
    uint32_t samples; /* In a row above the threshold. */
    bool is_hot;
};

struct rates {
    struct map convs;      /* Those sent to within this second. */
    uint64_t second_ms;    /* When it began. */
    uint32_t messages_max; /* A second and conversation; 0: no limit. */
    uint64_t sample_ms;    /* When the running sample began. */
    uint32_t shard_count;
    struct rates_shard *shards;
};

void rates_init(struct rates *rates, uint32_t shards, uint32_t messages_max, uint64_t now_ms);
void rates_fini(struct rates *rates);

/* Count a message to be sent to `conv`. 0, or where it has had its share of this second the ms
 * until the next one begins. */
MUST_CHECK uint32_t rates_take(struct rates *rates, uint64_t now_ms, struct slice conv);

/* A message of this shard, led here, was applied. */
static inline void rates_count(struct rates *rates, uint32_t shard)
{
    if (shard < rates->shard_count)
        rates->shards[shard].counted++;
}

/* Once a turn: ends the sample where it is over. `is_led` says of each shard whether it is led
 * here. */
void rates_turn(struct rates *rates, uint64_t now_ms,
                bool (*is_led)(const void *context, uint32_t shard), const void *context);

#endif
