#include "nodes/config_rule.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#include "mesh/endpoint.h"
#include "mesh/wire/key.h"
#include "nodes/vitals_server.h"
#include "nodes/webhook.h"

#define LOWER  "abcdefghijklmnopqrstuvwxyz"
#define UPPER  "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS "0123456789"

/* ---- The rules ---- */

static bool is_name(const char *text)
{
    return key_node_is_valid(slice_string(text));
}

/* No name: what it leads to may change while the gateway runs. */
static bool is_address(const char *text)
{
    struct in6_addr address;
    return inet_pton(AF_INET, text, &address) == 1 || inet_pton(AF_INET6, text, &address) == 1;
}

/* The two sockets beside it need room as well (mesh/listen.h): the next two ports, and paths that
 * end in -request and -publish. */
static bool is_listen(const char *text)
{
    struct endpoint e;
    if (endpoint_parse(slice_string(text), &e) != RC_OK)
        return false;
    if (e.is_ipc)
        return strlen(e.host) + sizeof("-request") <= sizeof(((struct sockaddr_un *)0)->sun_path);
    return e.is_loopback || e.port <= UINT16_MAX - 2;
}

static bool is_join(const char *text)
{
    return endpoint_is_reachable(slice_string(text));
}

static bool is_advertise(const char *text)
{
    char endpoint[ENDPOINT_SIZE_MAX + 1];
    const char *form = strchr(text, ':') != NULL ? "tcp://[%s]:65535" : "tcp://%s:65535";
    int size = snprintf(endpoint, sizeof(endpoint), form, text);
    return size > 0 && size < (int)sizeof(endpoint) &&
           endpoint_is_reachable(slice_string(endpoint));
}

static bool is_http(const char *text)
{
    struct vitals_address address;
    return vitals_address_parse(text, &address) == RC_OK;
}

/* An even number of voters tolerates no more failures than the odd one below it. */
static bool is_odd(const char *text)
{
    size_t size = strlen(text);
    return size > 0 && strchr("13579", text[size - 1]) != NULL;
}

/* ":" and 1 to 65535, or nothing. */
static bool is_port_or_nothing(const char *text)
{
    if (*text == '\0')
        return true;
    size_t size = strspn(text + 1, DIGITS);
    if (*text != ':' || size == 0 || size > 5 || text[1 + size] != '\0')
        return false;
    uint32_t port = 0;
    for (size_t i = 1; i <= size; i++)
        port = port * 10 + (uint32_t)(text[i] - '0');
    return port > 0 && port <= UINT16_MAX;
}

/* As browsers send it, since origins are compared byte for byte: in small letters, and no slash
 * after it (RFC 6454, section 6.2). */
static bool is_origin(const char *text)
{
    if (strcmp(text, "*") == 0)
        return true;
    size_t scheme = strspn(text, LOWER DIGITS "+-.");
    if (scheme == 0 || strchr(LOWER, text[0]) == NULL || strncmp(text + scheme, "://", 3) != 0)
        return false;
    const char *host = text + scheme + 3;
    if (*host != '[') {
        size_t size = strspn(host, LOWER DIGITS "-._");
        return size > 0 && is_port_or_nothing(host + size);
    }
    char address[INET6_ADDRSTRLEN];
    struct in6_addr parsed;
    size_t size = strcspn(host + 1, "]");
    if (host[1 + size] != ']' || size >= sizeof(address))
        return false;
    memcpy(address, host + 1, size);
    address[size] = '\0';
    return inet_pton(AF_INET6, address, &parsed) == 1 && is_port_or_nothing(host + size + 2);
}

/* Clients parse it too; but what is no address to any of them is the operator's mistake. */
static bool is_client_url(const char *text)
{
    char origin[256];
    size_t scheme = strncmp(text, "wss://", 6) == 0 ? 6 : 5;
    if (strncmp(text, "ws://", 5) != 0 && scheme == 5)
        return false;
    const char *path = strchr(text + scheme, '/');
    if (path == NULL || (size_t)(path - text) >= sizeof(origin))
        return false;
    memcpy(origin, text, (size_t)(path - text));
    origin[path - text] = '\0';
    return is_origin(origin) && path[strspn(path, LOWER UPPER DIGITS "/-._~%")] == '\0';
}

static bool is_claim(const char *text)
{
    _Static_assert(sizeof(((struct auth *)0)->issuer) == sizeof(((struct auth *)0)->audience),
                   "one rule serves both");
    return strlen(text) < sizeof(((struct auth *)0)->issuer);
}

static bool is_api_key(const char *text)
{
    struct api_key key;
    return api_key_parse(slice_string(text), &key) == RC_OK;
}

/* ---- Which option has which ---- */

static const struct {
    enum config_option option;
    bool (*is_valid)(const char *text);
    const char *mistake;
} rules[] = {
    {CONFIG_OPTION_id, is_name, "is 1 to 15 of [A-Za-z0-9_-]"},
    {CONFIG_OPTION_zone, is_name, "is 1 to 15 of [A-Za-z0-9_-]"},
    {CONFIG_OPTION_replicas, is_odd, "is an odd number"},
    {CONFIG_OPTION_listen, is_listen,
     "is tcp://HOST:PORT, with room for the next two ports, or ipc://PATH of up to 99 characters"},
    {CONFIG_OPTION_advertise, is_advertise, "is a host that others can reach, without a port"},
    {CONFIG_OPTION_http, is_http,
     "is a port, or a numeric address and a port: 7480, 10.0.0.1:7480 or [::1]:7480"},
    {CONFIG_OPTION_webhook, webhook_url_is_valid, "is a URL of http or https with a host"},
    {CONFIG_OPTION_join, is_join, "is where a router listens, tcp://HOST:PORT or ipc://PATH"},
    {CONFIG_OPTION_bind, is_address, "is a numeric IPv4 or IPv6 address"},
    {CONFIG_OPTION_origin, is_origin,
     "is scheme://host or scheme://host:port, in small letters and without a slash after it, or *"},
    {CONFIG_OPTION_url, is_client_url,
     "is ws://HOST:PORT/ws or wss://HOST:PORT/ws, with the host in small letters"},
    {CONFIG_OPTION_issuer, is_claim, "is at most 128 bytes"},
    {CONFIG_OPTION_audience, is_claim, "is at most 128 bytes"},
    {CONFIG_OPTION_api_key, is_api_key,
     "is NAME:SHA256, a line that chatmesh apikey NAME prints; never the key itself"},
};

const char *config_rule_mistake(enum config_option option, const char *text)
{
    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++)
        if (rules[i].option == option && !rules[i].is_valid(text))
            return rules[i].mistake;
    return NULL;
}
