#include "mesh/base/metrics.h"

#include <inttypes.h>

_Atomic int64_t metrics_values[METRIC_COUNT];

void metrics_print(struct buf *out, const char *node, const char *role)
{
    static const struct {
        const char *name, *kind, *help;
    } rows[METRIC_COUNT] = {
#define METRIC(name, kind, help) {#name, #kind, help},
#include "mesh/base/metrics.tbl.h"
#undef METRIC
    };
    for (unsigned i = 0; i < METRIC_COUNT; i++)
        buf_append_format(out,
                          "# HELP chatmesh_%s %s\n# TYPE chatmesh_%s %s\n"
                          "chatmesh_%s{node=\"%s\",role=\"%s\"} %" PRId64 "\n",
                          rows[i].name, rows[i].help, rows[i].name, rows[i].kind, rows[i].name,
                          node, role,
                          atomic_load_explicit(&metrics_values[i], memory_order_relaxed));
}
