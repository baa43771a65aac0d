#include "gateway/listener.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "mesh/base/check.h"

static bool parse_address(const char *text, uint16_t port, struct sockaddr_storage *ret_address,
                          socklen_t *ret_size)
{
    memset(ret_address, 0, sizeof(*ret_address));
    struct sockaddr_in *v4 = (struct sockaddr_in *)(void *)ret_address;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)(void *)ret_address;
    if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(port);
        *ret_size = sizeof(*v4);
        return true;
    }
    if (inet_pton(AF_INET6, text, &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(port);
        *ret_size = sizeof(*v6);
        return true;
    }
    return false;
}

static uint16_t port_of(int fd)
{
    struct sockaddr_storage address;
    socklen_t size = sizeof(address);
    CHECK(getsockname(fd, (struct sockaddr *)&address, &size) == 0);
    return ntohs(address.ss_family == AF_INET
                     ? ((struct sockaddr_in *)(void *)&address)->sin_port
                     : ((struct sockaddr_in6 *)(void *)&address)->sin6_port);
}

int listener_open(const struct listener_options *options, int *ret_fd, uint16_t *ret_port)
{
    struct sockaddr_storage address;
    socklen_t size;
    const int on = 1, off = 0;
    if (!parse_address(options->address, options->port, &address, &size))
        return EINVAL;
    int fd = socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return errno;
    /* Both only make things better; neither is worth not starting for. */
    (void)!setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (address.ss_family == AF_INET6)
        (void)!setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
    if (options->tune != NULL)
        options->tune(fd);
    if (bind(fd, (struct sockaddr *)&address, size) != 0 || listen(fd, options->backlog) != 0) {
        int error = errno;
        close(fd);
        return error;
    }
    *ret_fd = fd;
    *ret_port = port_of(fd);
    return 0;
}

void listener_describe(const char *address, uint16_t port, int error, char *reason, size_t size)
{
    snprintf(reason, size, "cannot listen on %s port %u: %s", address, port,
             error == EINVAL ? "the address is not a numeric one" : strerror(error));
}
