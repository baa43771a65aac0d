#include "mesh/endpoint.h"

#include <arpa/inet.h>
#include <stdio.h>

#include "mesh/base/check.h"

static bool is_name_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '-' || c == '_';
}

static bool is_path_byte(char c)
{
    return is_name_byte(c) || c == '/' || c == '@' || c == '+' || c == '~' || c == ':';
}

static bool slice_starts(struct slice text, const char *prefix)
{
    size_t size = strlen(prefix);
    return text.size > size && memcmp(text.base, prefix, size) == 0;
}

static bool all_bytes(struct slice text, bool (*is_allowed)(char))
{
    for (uint32_t i = 0; i < text.size; i++)
        if (!is_allowed(text.base[i]))
            return false;
    return true;
}

static enum rc parse_port(struct slice text, uint16_t *ret_port)
{
    if (slice_equals(text, "*")) {
        *ret_port = 0;
        return RC_OK;
    }
    uint32_t port = 0;
    if (text.size < 1 || text.size > 5)
        return RC_BAD_REQUEST;
    for (uint32_t i = 0; i < text.size; i++) {
        if (text.base[i] < '0' || text.base[i] > '9')
            return RC_BAD_REQUEST;
        port = port * 10 + (uint32_t)(text.base[i] - '0');
    }
    if (port > UINT16_MAX)
        return RC_BAD_REQUEST;
    *ret_port = (uint16_t)port;
    return RC_OK;
}

/* Name, IPv4 or IPv6 address: what it means for who may reach it. */
static enum rc judge_host(struct endpoint *e)
{
    struct in_addr v4;
    struct in6_addr v6;
    if (e->is_ipv6) {
        if (inet_pton(AF_INET6, e->host, &v6) != 1)
            return RC_BAD_REQUEST;
        e->is_loopback = IN6_IS_ADDR_LOOPBACK(&v6);
        e->is_wildcard = IN6_IS_ADDR_UNSPECIFIED(&v6);
        return RC_OK;
    }
    if (strcmp(e->host, "*") == 0) {
        e->is_wildcard = true;
        return RC_OK;
    }
    if (inet_pton(AF_INET, e->host, &v4) == 1) {
        e->is_loopback = ntohl(v4.s_addr) >> 24 == 127;
        e->is_wildcard = v4.s_addr == 0;
        return RC_OK;
    }
    return all_bytes(slice_string(e->host), is_name_byte) ? RC_OK : RC_BAD_REQUEST;
}

static enum rc parse_tcp(struct slice text, struct endpoint *e)
{
    const char *colon = memrchr(text.base, ':', text.size);
    if (colon == NULL || colon == text.base)
        return RC_BAD_REQUEST;
    struct slice host = slice_of(text.base, (size_t)(colon - text.base));
    struct slice port = slice_of(colon + 1, text.size - host.size - 1);
    if (host.base[0] == '[') {
        if (host.size < 4 || host.base[host.size - 1] != ']')
            return RC_BAD_REQUEST;
        host = slice_of(host.base + 1, host.size - 2);
        e->is_ipv6 = true;
    }
    memcpy(e->host, host.base, host.size);
    enum rc rc = parse_port(port, &e->port);
    return rc == RC_OK ? judge_host(e) : rc;
}

enum rc endpoint_parse(struct slice text, struct endpoint *ret_endpoint)
{
    struct endpoint e = {0};
    if (text.size > ENDPOINT_SIZE_MAX || (text.size > 0 && memchr(text.base, 0, text.size) != NULL))
        return RC_BAD_REQUEST;
    enum rc rc = RC_BAD_REQUEST;
    if (slice_starts(text, "tcp://")) {
        rc = parse_tcp(slice_of(text.base + 6, text.size - 6), &e);
    } else if (slice_starts(text, "ipc://")) {
        struct slice path = slice_of(text.base + 6, text.size - 6);
        memcpy(e.host, path.base, path.size);
        e.is_ipc = e.is_loopback = true;
        rc = all_bytes(path, is_path_byte) ? RC_OK : RC_BAD_REQUEST;
    }
    if (rc == RC_OK)
        *ret_endpoint = e;
    return rc;
}

void endpoint_print(const struct endpoint *e, char text[ENDPOINT_SIZE_MAX + 1])
{
    char port[8] = "*";
    if (e->port != 0)
        snprintf(port, sizeof(port), "%u", e->port);
    int size;
    if (e->is_ipc)
        size = snprintf(text, ENDPOINT_SIZE_MAX + 1, "ipc://%s", e->host);
    else
        size = snprintf(text, ENDPOINT_SIZE_MAX + 1, e->is_ipv6 ? "tcp://[%s]:%s" : "tcp://%s:%s",
                        e->host, port);
    CHECK(size > 0);
}

bool endpoint_is_reachable(struct slice text)
{
    struct endpoint e;
    return endpoint_parse(text, &e) == RC_OK && !e.is_wildcard && (e.is_ipc || e.port != 0);
}

bool endpoint_is_loopback(struct slice text)
{
    struct endpoint e;
    return endpoint_parse(text, &e) == RC_OK && e.is_loopback;
}
