#include "nodes/router/rates.h"

#include "mesh/base/check.h"
#include "mesh/base/limits.h"
#include "mesh/base/log.h"
#include "mesh/base/mem.h"
#include "mesh/base/metrics.h"

struct rate {
    uint32_t count;
    uint32_t conv_size;
    char conv[];
};

static struct slice key_of(const void *thing)
{
    const struct rate *rate = thing;
    return slice_of(rate->conv, rate->conv_size);
}

void rates_init(struct rates *rates, uint32_t shards, uint32_t messages_max, uint64_t now_ms)
{
    *rates = (struct rates){
        .messages_max = messages_max,
        .second_ms = now_ms,
        .sample_ms = now_ms,
        .shard_count = shards,
        .shards = mem_zero(shards * sizeof(struct rates_shard)),
    };
    map_init(&rates->convs, key_of);
}

static void empty(struct rates *rates)
{
    struct rate *rate;
    for (size_t at = 0; (rate = map_next(&rates->convs, &at)) != NULL;)
        mem_free(rate);
    map_fini(&rates->convs);
    map_init(&rates->convs, key_of);
}

void rates_fini(struct rates *rates)
{
    empty(rates);
    mem_free(rates->shards);
    rates->shards = NULL;
    rates->shard_count = 0;
}

uint32_t rates_take(struct rates *rates, uint64_t now_ms, struct slice conv)
{
    if (rates->messages_max == 0)
        return 0;
    if (now_ms >= rates->second_ms + 1000) {
        empty(rates);
        rates->second_ms = now_ms;
    }
    struct rate *rate = map_get(&rates->convs, conv);
    if (rate == NULL) {
        if (rates->convs.count >= RATES_CONVS_MAX)
            return 0; /* Whoever is one of so many does not send much. */
        CHECK(conv.size <= LIMIT_CONV_SIZE_MAX);
        rate = mem_zero(sizeof(*rate) + conv.size);
        rate->conv_size = (uint32_t)conv.size;
        memcpy(rate->conv, conv.base, conv.size);
        map_put(&rates->convs, rate);
    }
    if (rate->count < rates->messages_max) {
        rate->count++;
        return 0;
    }
    return (uint32_t)(rates->second_ms + 1000 - now_ms);
}

/* ---- Hot shards ---- */

static void judge(struct rates_shard *shard, uint32_t number, uint64_t average)
{
    bool is_above = shard->rate >= RATES_HOT_MIN && shard->rate > RATES_HOT_FACTOR * average;
    shard->samples = is_above ? shard->samples + 1 : 0;
    if (shard->samples >= RATES_HOT_SAMPLES && !shard->is_hot) {
        shard->is_hot = true;
        log_warn("shard_hot", "shard=%u messages_per_second=%u average=%lu", number, shard->rate,
                 (unsigned long)average);
    } else if (!is_above && shard->is_hot) {
        shard->is_hot = false;
        log_info("shard_cooled", "shard=%u messages_per_second=%u", number, shard->rate);
    }
}

void rates_turn(struct rates *rates, uint64_t now_ms,
                bool (*is_led)(const void *context, uint32_t shard), const void *context)
{
    uint64_t elapsed_ms = now_ms - rates->sample_ms;
    if (elapsed_ms < RATES_SAMPLE_MS)
        return;
    rates->sample_ms = now_ms;
    uint64_t sum = 0;
    uint64_t led = 0;
    uint64_t hot = 0;
    for (uint32_t i = 0; i < rates->shard_count; i++) {
        struct rates_shard *shard = &rates->shards[i];
        bool counts = is_led(context, i);
        shard->rate = counts ? (uint32_t)(shard->counted * 1000 / elapsed_ms) : 0;
        shard->counted = 0;
        sum += shard->rate;
        led += counts ? 1 : 0;
    }
    for (uint32_t i = 0; i < rates->shard_count; i++) {
        judge(&rates->shards[i], i, led > 0 ? sum / led : 0);
        hot += rates->shards[i].is_hot ? 1 : 0;
    }
    metric_set(shards_hot, hot);
}
