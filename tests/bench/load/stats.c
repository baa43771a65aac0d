#include "tests/bench/load/stats.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* ---- Histogram ---- */

static uint32_t bucket_of(uint64_t us)
{
    if (us < HISTOGRAM_STEPS)
        return (uint32_t)us;
    uint32_t power = 63 - (uint32_t)__builtin_clzll(us) - 5; /* 2^5 steps. */
    uint32_t bucket = (power + 1) * HISTOGRAM_STEPS + (uint32_t)(us >> power) - HISTOGRAM_STEPS;
    return bucket < HISTOGRAM_BUCKETS ? bucket : HISTOGRAM_BUCKETS - 1;
}

static uint64_t bucket_end(uint32_t bucket)
{
    if (bucket < HISTOGRAM_STEPS)
        return bucket;
    uint32_t power = bucket / HISTOGRAM_STEPS - 1;
    return ((uint64_t)(bucket % HISTOGRAM_STEPS + HISTOGRAM_STEPS + 1) << power) - 1;
}

void histogram_add(struct histogram *h, uint64_t us)
{
    h->counts[bucket_of(us)]++;
    h->count++;
    if (us > h->max_us)
        h->max_us = us;
}

void histogram_merge(struct histogram *into, const struct histogram *from)
{
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++)
        into->counts[i] += from->counts[i];
    into->count += from->count;
    if (from->max_us > into->max_us)
        into->max_us = from->max_us;
}

double histogram_quantile_ms(const struct histogram *h, double quantile)
{
    uint64_t wanted = (uint64_t)(quantile * (double)h->count + 0.5);
    uint64_t seen = 0;
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += h->counts[i];
        if (seen >= wanted && seen > 0) {
            uint64_t end = bucket_end(i);
            return (double)(end < h->max_us ? end : h->max_us) / 1000.0;
        }
    }
    return 0;
}

/* ---- Processes ---- */

bool pids_parse(struct pids *pids, const char *text)
{
    pids->count = 0;
    while (*text != 0) {
        char *end;
        long pid = strtol(text, &end, 10);
        if (end == text || pid <= 0 || pids->count == PIDS_MAX)
            return false;
        pids->pids[pids->count++] = (int)pid;
        text = *end == ',' ? end + 1 : end;
        if (*end != ',' && *end != 0)
            return false;
    }
    return true;
}

struct cpu cpu_of(int pid)
{
    struct cpu cpu = {0, 0};
    char path[64];
    char line[1024];
    unsigned long user, sys;
    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return cpu;
    size_t size = fread(line, 1, sizeof(line) - 1, file);
    fclose(file);
    line[size] = 0;
    const char *at = strrchr(line, ')'); /* Behind the name, which may hold anything. */
    if (at != NULL &&
        sscanf(at + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &sys) == 2) {
        double ticks = (double)sysconf(_SC_CLK_TCK);
        cpu.user_s = (double)user / ticks;
        cpu.sys_s = (double)sys / ticks;
    }
    return cpu;
}

struct cpu cpu_self(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (struct cpu){
        .user_s = (double)usage.ru_utime.tv_sec + (double)usage.ru_utime.tv_usec / 1e6,
        .sys_s = (double)usage.ru_stime.tv_sec + (double)usage.ru_stime.tv_usec / 1e6,
    };
}

void cpu_sample(const struct pids *pids, struct cpu samples[PIDS_MAX])
{
    for (uint32_t i = 0; i < pids->count; i++)
        samples[i] = cpu_of(pids->pids[i]);
}

uint64_t rss_kib(int pid)
{
    char path[64];
    char line[256];
    uint64_t kib = 0;
    snprintf(path, sizeof(path), "/proc/%d/status", pid);
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return 0;
    while (fgets(line, sizeof(line), file) != NULL)
        if (strncmp(line, "VmRSS:", 6) == 0)
            kib = strtoull(line + 6, NULL, 10);
    fclose(file);
    return kib;
}

/* ---- Report ---- */

static bool is_json;

void report_begin(bool json, const char *mode)
{
    is_json = json;
    printf(is_json ? "{\"mode\":\"%s\"" : "%s\n", mode);
}

void report_number(const char *name, double value)
{
    printf(is_json ? ",\"%s\":%.6g" : "  %-26s %.6g\n", name, value);
}

void report_text(const char *name, const char *value)
{
    printf(is_json ? ",\"%s\":\"%s\"" : "  %-26s %s\n", name, value);
}

void report_latency(const char *name, const struct histogram *h)
{
    static const struct {
        const char *name;
        double quantile;
    } rows[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}};
    char label[64];
    for (int i = 0; i < 3; i++) {
        snprintf(label, sizeof(label), "%s_%s_ms", name, rows[i].name);
        report_number(label, histogram_quantile_ms(h, rows[i].quantile));
    }
    snprintf(label, sizeof(label), "%s_max_ms", name);
    report_number(label, (double)h->max_us / 1000.0);
}

double report_cpu(const struct pids *pids, const struct cpu *before, const struct cpu *after)
{
    double sum = 0;
    for (uint32_t i = 0; i < pids->count; i++) {
        char label[64];
        double user = after[i].user_s - before[i].user_s;
        double sys = after[i].sys_s - before[i].sys_s;
        snprintf(label, sizeof(label), "cpu_%d_user_s", pids->pids[i]);
        report_number(label, user);
        snprintf(label, sizeof(label), "cpu_%d_sys_s", pids->pids[i]);
        report_number(label, sys);
        sum += user + sys;
    }
    return sum;
}

void report_end(void)
{
    if (is_json)
        printf("}\n");
    fflush(stdout);
}
