/* stats - what is measured: latencies, processes, and the report.
 *
 * Latencies go into a histogram of 32 steps per power of two, so a quantile is at most 3 % too
 * high. */
#ifndef TESTS_BENCH_LOAD_STATS_H
#define TESTS_BENCH_LOAD_STATS_H

#include <stdbool.h>
#include <stdint.h>

#define HISTOGRAM_STEPS   32u
#define HISTOGRAM_BUCKETS (40u * HISTOGRAM_STEPS)

struct histogram {
    uint64_t counts[HISTOGRAM_BUCKETS];
    uint64_t count;
    uint64_t max_us;
};

void histogram_add(struct histogram *h, uint64_t us);
void histogram_merge(struct histogram *into, const struct histogram *from);
double histogram_quantile_ms(const struct histogram *h, double quantile);

#define PIDS_MAX 64

/* The servers' processes. */
struct pids {
    int pids[PIDS_MAX];
    uint32_t count;
};

struct cpu {
    double user_s, sys_s;
};

bool pids_parse(struct pids *pids, const char *text);
struct cpu cpu_of(int pid); /* Zeros where it is gone. */
struct cpu cpu_self(void);
uint64_t rss_kib(int pid);

/* One report: lines for people, or one JSON object. */
void report_begin(bool is_json, const char *mode);
void report_number(const char *name, double value);
void report_text(const char *name, const char *value);
void report_latency(const char *name, const struct histogram *h);
/* CPU of each process between two samples; returns their sum. */
double report_cpu(const struct pids *pids, const struct cpu *before, const struct cpu *after);
void report_end(void);

void cpu_sample(const struct pids *pids, struct cpu samples[PIDS_MAX]);

#endif
