/* chatmesh-sim - routers, gateways and their clients through any night, by its number.
 *
 *   chatmesh-sim --seeds 300 [--from 1]      run seeds, end at the first that fails
 *   chatmesh-sim --seed 17 --verbose         replay one, event by event
 *   chatmesh-sim --check-determinism …       each seed twice: both runs must leave the same trace
 *
 * A seed that takes longer than a minute of real time hangs: that ends the run too. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "mesh/base/crypto.h"
#include "tests/sim/plan.h"

#define SEED_SECONDS_MAX 60u
#define PROGRESS_SECONDS 5.0

static volatile uint64_t seed_running;

/* A CHECK that fails or a hang is a finding like any other: its seed must be known. */
static void on_signal(int number)
{
    char text[96] = "seed ";
    char digits[24];
    size_t size = strlen(text);
    size_t count = 0;
    for (uint64_t seed = seed_running; seed > 0 || count == 0; seed /= 10)
        digits[count++] = (char)('0' + seed % 10);
    while (count > 0)
        text[size++] = digits[--count];
    const char *rest = number == SIGALRM ? " hangs\n" : " crashes\n";
    memcpy(text + size, rest, strlen(rest));
    size += strlen(rest);
    if (write(STDERR_FILENO, text, size) < 0)
        _exit(3);
    signal(number, SIG_DFL);
    raise(number);
}

static double seconds_since(const struct timespec *begin)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - begin->tv_sec) + (double)(now.tv_nsec - begin->tv_nsec) / 1e9;
}

struct options {
    uint64_t from, count;
    bool verbose;
    bool check_determinism;
};

static int usage(void)
{
    fprintf(stderr, "usage: chatmesh-sim [--seeds N] [--from SEED] [--check-determinism] | "
                    "--seed SEED [--verbose]\n");
    return 2;
}

static bool parse(int argc, char **argv, struct options *options)
{
    *options = (struct options){.from = 1, .count = 100};
    for (int i = 1; i < argc; i++) {
        bool has_value = i + 1 < argc;
        if (strcmp(argv[i], "--verbose") == 0) {
            options->verbose = true;
        } else if (strcmp(argv[i], "--check-determinism") == 0) {
            options->check_determinism = true;
        } else if (strcmp(argv[i], "--seeds") == 0 && has_value) {
            options->count = strtoull(argv[++i], NULL, 10);
        } else if (strcmp(argv[i], "--from") == 0 && has_value) {
            options->from = strtoull(argv[++i], NULL, 10);
        } else if (strcmp(argv[i], "--seed") == 0 && has_value) {
            options->from = strtoull(argv[++i], NULL, 10);
            options->count = 1;
        } else {
            return false;
        }
    }
    return true;
}

static void run_seed(uint64_t seed, const struct options *options, struct plan_totals *totals)
{
    seed_running = seed;
    if (options->verbose) {
        printf("seed %lu\n", seed);
        fflush(stdout);
    }
    alarm(SEED_SECONDS_MAX);
    plan_run(seed, options->verbose, totals);
    if (!options->check_determinism)
        return;
    struct plan_totals again = {0};
    plan_run(seed, false, &again);
    if (again.trace != totals->trace) {
        fprintf(stderr, "seed %lu leaves trace %016lx, then %016lx\n", seed, totals->trace,
                again.trace);
        exit(1);
    }
}

static void print_totals(const struct plan_totals *t)
{
    printf("clients   %lu sends acknowledged, %lu refused, %lu memberships changed, %lu entries "
           "shown, %lu of them given again, %lu activities\n",
           t->acked, t->refused, t->changes, t->delivered, t->again, t->activities);
    printf("operator  %lu conversations ended, %lu of them in parts, %lu begun again; %lu users "
           "erased, %lu entries blanked by that; asked for %lu times; %lu sends repeated\n",
           t->ends, t->parted, t->begins, t->erasures, t->blanks, t->end_tries, t->repeats);
    printf(
        "chat      %lu messages edited, deleted or reacted to, %lu times trimmed; told %lu times "
        "of presence, %lu of typing\n",
        t->rewrites, t->trims, t->presences, t->typings);
    printf("faults    %lu crashes, %lu of the disk, %lu partitions, %lu packets lost, %lu wiped "
           "directories, %lu gateways drained\n",
           t->crashes, t->disk_failures, t->partitions, t->losses, t->wipes, t->drains);
    printf("routers   %lu: %lu joined, %lu removed, %lu ended in order; %lu leaderships won under "
           "load, %lu steps of placement, %lu states transferred\n",
           t->routers, t->joins, t->removals, t->hand_overs, t->elections, t->moves, t->transfers);
    printf("judged    %lu reads, %lu with a bound (C9); %lu sends behind an acknowledged one, %lu "
           "across routers (C7); %lu configurations stored (C13)\n",
           t->reads, t->reads_bound, t->orders, t->orders_across, t->confs);
}

int main(int argc, char **argv)
{
    struct options options;
    if (!parse(argc, argv, &options))
        return usage();
    const int signals[] = {SIGALRM, SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL};
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        signal(signals[i], on_signal);
    crypto_start();
    struct plan_totals totals = {0};
    struct timespec begin;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    double told = 0;
    for (uint64_t done = 0; done < options.count; done++) {
        run_seed(options.from + done, &options, &totals);
        double seconds = seconds_since(&begin);
        if (seconds - told < PROGRESS_SECONDS)
            continue;
        told = seconds;
        fprintf(stderr, "%lu of %lu seeds, %.1f a second\n", done + 1, options.count,
                (double)(done + 1) / seconds);
    }
    printf("%lu seeds from %lu clean, %.1f a second (last trace %016lx)\n", options.count,
           options.from, (double)options.count / seconds_since(&begin), totals.trace);
    print_totals(&totals);
    return 0;
}
