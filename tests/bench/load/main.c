/* bench-load MODE --url ws://HOST:PORT/ws[,ws://…] [options]: see tests/bench/README.md. */
#include <arpa/inet.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "tests/bench/load/load.h"

static const struct option long_options[] = {
    {"url", required_argument, NULL, 'u'},
    {"pairs", required_argument, NULL, 'p'},
    {"inflight", required_argument, NULL, 'f'},
    {"size", required_argument, NULL, 's'},
    {"seconds", required_argument, NULL, 't'},
    {"warmup", required_argument, NULL, 'w'},
    {"rate", required_argument, NULL, 'r'},
    {"threads", required_argument, NULL, 'T'},
    {"conns", required_argument, NULL, 'c'},
    {"rounds", required_argument, NULL, 'R'},
    {"hold", required_argument, NULL, 'H'},
    {"from-ips", required_argument, NULL, 'i'},
    {"members", required_argument, NULL, 'm'},
    {"clients", required_argument, NULL, 'C'},
    {"missed", required_argument, NULL, 'M'},
    {"pids", required_argument, NULL, 'P'},
    {"slow", required_argument, NULL, 'S'},
    {"kill", required_argument, NULL, 'K'},
    {"run", required_argument, NULL, 'n'},
    {"json", no_argument, NULL, 'j'},
    {"batch", no_argument, NULL, 'b'},
    {"open", no_argument, NULL, 'o'},
    {"dev", no_argument, NULL, 'd'},
    {NULL, 0, NULL, 0},
};

static uint32_t number(const char *text)
{
    char *end;
    unsigned long value = strtoul(text, &end, 10);
    if (end == text || *end != 0 || value == 0 || value > 10000000)
        load_fail("%s is not a number from 1 to 10000000", text);
    return (uint32_t)value;
}

static void read_urls(struct options *options, char *text)
{
    char *rest = NULL;
    for (char *url = strtok_r(text, ",", &rest); url != NULL; url = strtok_r(NULL, ",", &rest))
        if (options->url_count == URLS_MAX ||
            !target_parse(&options->urls[options->url_count++], url))
            load_fail("%s is not ws://ADDRESS:PORT/PATH", url);
}

/* FIRST+COUNT: COUNT addresses from FIRST on, or just FIRST. */
static void read_sources(struct options *options, char *text)
{
    struct in_addr first;
    char *plus = strchr(text, '+');
    options->source_count = plus != NULL ? number(plus + 1) : 1;
    if (plus != NULL)
        *plus = 0;
    if (inet_pton(AF_INET, text, &first) != 1)
        load_fail("%s is not an address", text);
    options->source = ntohl(first.s_addr);
}

static void read_option(struct options *o, int option)
{
    switch (option) {
    case 'u':
        read_urls(o, optarg);
        break;
    case 'p':
        o->pairs = number(optarg);
        break;
    case 'f':
        o->inflight = number(optarg);
        break;
    case 's':
        o->size = number(optarg);
        break;
    case 't':
        o->seconds = number(optarg);
        break;
    case 'w':
        o->warmup = number(optarg);
        break;
    case 'r':
        o->rate = number(optarg);
        break;
    case 'T':
        o->threads = number(optarg);
        break;
    case 'c':
        o->conns = number(optarg);
        break;
    case 'R':
        o->rounds = number(optarg);
        break;
    case 'H':
        o->hold = number(optarg);
        break;
    case 'i':
        read_sources(o, optarg);
        break;
    case 'm':
        o->members = number(optarg);
        break;
    case 'C':
        o->clients = number(optarg);
        break;
    case 'M':
        o->missed = number(optarg);
        break;
    case 'P':
        if (!pids_parse(&o->pids, optarg))
            load_fail("--pids takes numbers with commas between them");
        break;
    case 'S':
        o->slow = number(optarg);
        break;
    case 'K':
        o->kill = number(optarg);
        break;
    case 'n':
        snprintf(o->run, sizeof(o->run), "%s", optarg);
        break;
    case 'j':
        o->is_json = true;
        break;
    case 'b':
        o->batch = true;
        break;
    case 'o':
        o->open = true;
        break;
    case 'd':
        break; /* Tokens always come from the development endpoint. */
    default:
        exit(2);
    }
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(const struct options *options);
    } modes[] = {{"pairs", pairs_run}, {"idle", idle_run},   {"fanout", fanout_run},
                 {"storm", storm_run}, {"crowd", crowd_run}, {"flap", flap_run}};
    struct options options = {.pairs = 100,
                              .inflight = 16,
                              .size = 128,
                              .seconds = 10,
                              .warmup = 2,
                              .threads = 1,
                              .conns = 1000,
                              .rounds = 1,
                              .hold = 5,
                              .members = 1000,
                              .clients = 1000,
                              .missed = 100};
    struct rlimit files;
    snprintf(options.run, sizeof(options.run), "b%llx", (unsigned long long)now_ns() / 1000000);
    for (int option; (option = getopt_long(argc, argv, "", long_options, NULL)) != -1;)
        read_option(&options, option);
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
        if (optind < argc && strcmp(argv[optind], modes[i].name) == 0 && options.url_count > 0)
            return modes[i].run(&options);
    fputs("usage: bench-load pairs|idle|fanout|storm|crowd|flap --url ws://ADDRESS:PORT/ws[,…] "
          "[options]\n",
          stderr);
    return 2;
}
