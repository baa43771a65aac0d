/* Tokens from the servers' development endpoint, by the least of HTTP/1.1. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/bench/load/load.h"

#define QUERY_SIZE_MAX 9000u

static int kept = -1; /* The connection of the last answer, if the server keeps it. */
static const struct target *kept_target;

void load_fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("bench-load: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(1);
}

static void drop(void)
{
    if (kept >= 0)
        close(kept);
    kept = -1;
}

static bool dial(const struct target *target)
{
    if (kept >= 0 && kept_target == target)
        return true;
    drop();
    kept_target = target;
    kept = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (kept >= 0 &&
        connect(kept, (const struct sockaddr *)&target->address, sizeof(target->address)) == 0)
        return true;
    drop();
    return false;
}

/* Is the answer all there? Without a length it ends with the connection. */
static bool is_whole(const char *text)
{
    const char *blank = strstr(text, "\r\n\r\n");
    const char *length = strcasestr(text, "\r\ncontent-length:");
    return blank != NULL && length != NULL && length < blank &&
           strlen(blank + 4) >= strtoul(length + 17, NULL, 10);
}

/* One request and its answer; false where the connection was lost on the way. */
static bool ask(const char *request, size_t size, char *answer, size_t answer_size)
{
    size_t got = 0;
    if (send(kept, request, size, MSG_NOSIGNAL) != (ssize_t)size)
        return false;
    while (got < answer_size - 1) {
        ssize_t count = recv(kept, answer + got, answer_size - 1 - got, 0);
        if (count < 0)
            return false;
        got += (size_t)count;
        answer[got] = 0;
        if (count == 0) {
            drop();
            return got > 0;
        }
        if (is_whole(answer)) {
            if (strcasestr(answer, "connection: close") != NULL)
                drop();
            return true;
        }
    }
    return false;
}

void token_get(const struct target *target, const char *user, char *token, size_t size)
{
    char request[512];
    char answer[QUERY_SIZE_MAX + 1024] = "";
    char body[256];
    snprintf(body, sizeof(body), "{\"user\":\"%s\"}", user);
    int request_size = snprintf(request, sizeof(request),
                                "POST /v1/dev/token HTTP/1.1\r\nHost: %s\r\nContent-Type: "
                                "application/json\r\nContent-Length: %zu\r\n\r\n%s",
                                target->host, strlen(body), body);
    bool is_answered = false;
    for (int attempt = 0; attempt < 2 && !is_answered; attempt++) {
        is_answered = dial(target) && ask(request, (size_t)request_size, answer, sizeof(answer));
        if (!is_answered)
            drop();
    }
    const char *found = is_answered ? strstr(answer, "\"token\":\"") : NULL;
    size_t token_size = found != NULL ? strcspn(found + 9, "\"") : 0;
    if (token_size == 0 || token_size >= size)
        load_fail("no token for %s: %.200s", user, answer);
    memcpy(token, found + 9, token_size);
    token[token_size] = 0;
}

void load_query(const struct options *options, uint32_t url, const char *user, char *query,
                size_t size)
{
    char token[QUERY_SIZE_MAX];
    token_get(&options->urls[url % options->url_count], user, token, sizeof(token));
    if ((size_t)snprintf(query, size, "?token=%s&device=load%s", token,
                         options->batch ? "&batch=1" : "") >= size)
        load_fail("the token is too long");
}

void load_connect(struct conn *conn, struct loop *loop, const struct options *options, uint32_t url,
                  const char *user)
{
    char query[QUERY_SIZE_MAX];
    load_query(options, url, user, query, sizeof(query));
    if (!conn_open(conn, loop, &options->urls[url % options->url_count], 0, query))
        load_fail("no socket for %s", user);
}
