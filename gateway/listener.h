/* listener - a listening TCP socket at a numeric address; names are not looked up, since what they
 * lead to may change while a node runs. */
#ifndef GATEWAY_LISTENER_H
#define GATEWAY_LISTENER_H

#include <stddef.h>
#include <stdint.h>

struct listener_options {
    const char *address; /* IPv4 or IPv6; "::" takes both. */
    uint16_t port;       /* 0: one that is free. */
    int backlog;
    void (*tune)(int fd); /* Options that accepted sockets inherit; NULL: none. */
};

/* 0: *ret_fd listens, closed over exec and without blocking, at *ret_port. Else the errno, EINVAL
 * where the address is none; nothing is open then. */
int listener_open(const struct listener_options *options, int *ret_fd, uint16_t *ret_port);

/* The sentence for an operator. */
void listener_describe(const char *address, uint16_t port, int error, char *reason, size_t size);

#endif
