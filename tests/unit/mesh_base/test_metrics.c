/* metrics: what a node of either kind tells, in the form that Prometheus reads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "mesh/base/metrics.h"

/* Of a node of this role, NUL-terminated. */
static struct buf *print(enum metrics_role role)
{
    struct buf *text = buf_new(0);
    metrics_print(text, "n1", role);
    buf_append_byte(text, '\0');
    return text;
}

static bool tells(const struct buf *text, const char *part)
{
    return strstr((const char *)text->bytes, part) != NULL;
}

/* A number of another kind of node would be 0 for ever, and be taken for an answer. */
static void a_node_tells_its_own_metrics_and_the_common_ones(void **state)
{
    (void)state;
    struct buf *gateway = print(METRICS_GATEWAY), *router = print(METRICS_ROUTER);
    assert_true(tells(gateway, "chatmesh_sessions_open{node=\"n1\",role=\"gateway\"} "));
    assert_true(tells(gateway, "chatmesh_packets_in_total{node=\"n1\",role=\"gateway\"} "));
    assert_false(tells(gateway, "chatmesh_shards_led"));
    assert_false(tells(gateway, "chatmesh_push_posts_total"));
    assert_true(tells(router, "chatmesh_shards_led{node=\"n1\",role=\"router\"} "));
    assert_true(tells(router, "chatmesh_packets_in_total{node=\"n1\",role=\"router\"} "));
    assert_false(tells(router, "chatmesh_sessions_open"));
    assert_false(tells(router, "chatmesh_connections_active"));
    buf_unref(&gateway);
    buf_unref(&router);
}

/* HELP, TYPE and the sample, of one name; a counter's ends in _total, a gauge's does not. */
static void expect_metric(const char *help, const char *type, const char *sample)
{
    char name[64], again[64], kind[16], labelled[64], expected[128];
    int64_t value;
    assert_int_equal(sscanf(help, "# HELP %63s %63s", name, again), 2);
    assert_int_equal(sscanf(type, "# TYPE %63s %15s", again, kind), 2);
    assert_string_equal(again, name);
    assert_int_equal(sscanf(sample, "%63[^{]{%*[^}]} %ld", labelled, &value), 2);
    assert_string_equal(labelled, name);
    snprintf(expected, sizeof(expected), "%s{node=\"n1\",role=\"router\"} %ld", name, value);
    assert_string_equal(sample, expected);
    size_t size = strlen(name);
    bool is_total = size > 6 && strcmp(name + size - 6, "_total") == 0;
    assert_string_equal(kind, is_total ? "counter" : "gauge");
}

/* Three lines each, and nothing that would have to be escaped. */
static void every_metric_is_told_as_prometheus_reads_it(void **state)
{
    (void)state;
    struct buf *text = print(METRICS_ROUTER);
    char *lines[3], *rest = NULL;
    uint32_t count = 0;
    assert_false(tells(text, "\\"));
    for (char *line = strtok_r((char *)text->bytes, "\n", &rest); line != NULL;
         line = strtok_r(NULL, "\n", &rest)) {
        lines[count % 3] = line;
        if (++count % 3 == 0)
            expect_metric(lines[0], lines[1], lines[2]);
    }
    assert_int_equal(count % 3, 0);
    assert_true(count > 60);
    buf_unref(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_node_tells_its_own_metrics_and_the_common_ones),
        cmocka_unit_test(every_metric_is_told_as_prometheus_reads_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
