#include "mesh/base/metrics.h"

#include <inttypes.h>

#define G METRICS_GATEWAY
#define R METRICS_ROUTER

_Atomic int64_t metrics_values[METRIC_COUNT];

static const struct {
    const char *name, *kind, *help;
    unsigned roles; /* enum metrics_role bits. */
} rows[METRIC_COUNT] = {
#define METRIC(name_, kind_, roles_, help_)                                                        \
    {.name = #name_, .kind = #kind_, .roles = (roles_), .help = (help_)},
#include "mesh/base/metrics.tbl.h"
#undef METRIC
};

const char *metrics_role_name(enum metrics_role role)
{
    return role == METRICS_ROUTER ? "router" : "gateway";
}

void metrics_print(struct buf *out, const char *node, enum metrics_role role)
{
    for (unsigned i = 0; i < METRIC_COUNT; i++) {
        if ((rows[i].roles & role) == 0)
            continue;
        buf_append_format(out,
                          "# HELP chatmesh_%s %s\n# TYPE chatmesh_%s %s\n"
                          "chatmesh_%s{node=\"%s\",role=\"%s\"} %" PRId64 "\n",
                          rows[i].name, rows[i].help, rows[i].name, rows[i].kind, rows[i].name,
                          node, metrics_role_name(role),
                          atomic_load_explicit(&metrics_values[i], memory_order_relaxed));
    }
}
