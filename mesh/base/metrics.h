/* metrics - numbers with their prose, all in metrics.tbl.h.
 *
 * A process is one node, so each metric has one value; the table says which kind of node has it,
 * and the others do not tell it: a number that is always 0 would be taken for an answer.
 *
 * Plain counters of one process, written by the loop thread; the few that other threads touch are
 * atomic adds all the same, since an uncontended one costs a nanosecond. */
#ifndef MESH_BASE_METRICS_H
#define MESH_BASE_METRICS_H

#include <stdatomic.h>
#include <stdint.h>

#include "mesh/base/buf.h"

enum metric {
#define METRIC(name, kind, roles, help) METRIC_##name,
#include "mesh/base/metrics.tbl.h"
#undef METRIC
    METRIC_COUNT,
};

enum metrics_role { METRICS_GATEWAY = 1, METRICS_ROUTER = 2 };

extern _Atomic int64_t metrics_values[METRIC_COUNT];

#define metric_add(name, amount)                                                                   \
    atomic_fetch_add_explicit(&metrics_values[METRIC_##name], (int64_t)(amount),                   \
                              memory_order_relaxed)
#define metric_set(name, value)                                                                    \
    atomic_store_explicit(&metrics_values[METRIC_##name], (int64_t)(value), memory_order_relaxed)
#define metric_get(name) atomic_load_explicit(&metrics_values[METRIC_##name], memory_order_relaxed)

/* "gateway" or "router". */
const char *metrics_role_name(enum metrics_role role);

/* Append what a node of this role has, in the Prometheus text exposition format, version 0.0.4,
 * with node and role as labels. */
void metrics_print(struct buf *out, const char *node, enum metrics_role role);

#endif
