/* metrics - numbers with their prose, all in metrics.tbl.h.
 *
 * Plain counters of one process, written by the loop thread; the few that other threads touch are
 * atomic adds all the same, since an uncontended one costs a nanosecond. */
#ifndef MESH_BASE_METRICS_H
#define MESH_BASE_METRICS_H

#include <stdatomic.h>
#include <stdint.h>

#include "mesh/base/buf.h"

enum metric {
#define METRIC(name, kind, help) METRIC_##name,
#include "mesh/base/metrics.tbl.h"
#undef METRIC
    METRIC_COUNT,
};

extern _Atomic int64_t metrics_values[METRIC_COUNT];

#define metric_add(name, amount)                                                                   \
    atomic_fetch_add_explicit(&metrics_values[METRIC_##name], (int64_t)(amount),                   \
                              memory_order_relaxed)
#define metric_set(name, value)                                                                    \
    atomic_store_explicit(&metrics_values[METRIC_##name], (int64_t)(value), memory_order_relaxed)
#define metric_get(name) atomic_load_explicit(&metrics_values[METRIC_##name], memory_order_relaxed)

/* Append the Prometheus text exposition format, version 0.0.4, with node and role as labels. */
void metrics_print(struct buf *out, const char *node, const char *role);

#endif
